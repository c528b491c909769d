"""Find fraud in marketplace graphs.

Importing gadkit loads nothing else. A room is loaded when it is first named, and loads only what it
needs: `import gadkit as gk; gk.store.load_graph("mine")`, or `from gadkit import store`.
"""

import importlib
import os

__version__ = "0.1.0"

# OpenMP threads that wait for one another spin for some milliseconds before they sleep, by default.
# Where another job shares the cores, they spin while the thread they wait for has no core, at each
# of the many short parallel loops of boosted trees, which then take many times as long. Sleeping at
# once changes neither the number of threads nor any result. The libraries read this when they are
# loaded, so it holds if gadkit is imported before them; where a notebook imports torch first, its
# kernel inherits it from `gadkit run` or `make lab`.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOMS = (  # from the ground up
    "graph",
    "store",
    "evaluation",
    "ops",
    "plot",
    "ingest",
    "published",
    "datasets",
    "network",
    "trees",
    "audit",
    "explain",
    "recommend",
    "report",
)


def __getattr__(name: str):
    if name not in ROOMS:
        raise AttributeError(f"module 'gadkit' has no attribute {name!r}")
    return importlib.import_module(f"gadkit.{name}")


def __dir__() -> list[str]:
    return [*globals(), *ROOMS]
