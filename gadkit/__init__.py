"""Find fraud in marketplace graphs.

Importing gadkit loads nothing else. A room is loaded when it is first named, and loads only what it
needs: `import gadkit as gk; gk.store.load_graph("mine")`, or `from gadkit import store`.
"""

import importlib

__version__ = "0.1.0"

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
