"""gadkit: find fraud in large heterogeneous marketplace graphs."""

import os

__version__ = "0.1.0"

# OpenMP threads that wait for one another spin for some milliseconds before they sleep, by default.
# Where another job shares the cores, they spin while the thread they wait for has no core, at each
# of the many short parallel loops of boosted trees: one busy core beside them made these take 20
# times as long. Sleeping at once changes neither the number of threads nor any result. The
# libraries read this when they are loaded, so it holds if gadkit is imported before them; where a
# notebook imports torch first, its kernel inherits it from `gadkit run` or `make lab`.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
