"""Find fraud in marketplace graphs.

Importing gadkit loads nothing else. A room is loaded when it is first named, and loads only what it
needs: `import gadkit as gk; gk.store.load_graph("mine")`, or `from gadkit import store`.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping

__version__ = "0.1.0"

# OpenMP threads that wait for one another spin for some milliseconds before they sleep, by default.
# Where another job shares the cores, they spin while the thread they wait for has no core, at each
# of the many short parallel loops of boosted trees, which then take many times as long. Sleeping at
# once changes neither the number of threads nor any result. The libraries read this when they are
# loaded, so it holds if gadkit is imported before them; where a notebook imports torch first, its
# kernel inherits it from `gadkit run` or `make lab`.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Torch asks Linux for pages of 2 MiB then, where an array is large; written for the first time, one
# of pages of 4 KiB takes twice as long, and a training makes many. Torch reads this at its first
# array, so gadkit may be imported after it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

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
    "match",
    "recommend",
    "report",
)


def _is_writable(folder: str) -> bool:
    """Whether files can be made in a folder, or the folder itself in the nearest one there is."""
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def _has_cache_folder() -> bool:
    """Whether Numba finds a place for compiled kernels: where it is told, beside each file, or in
    the cache of the user."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    if told and _is_writable(os.path.abspath(told)):
        return True
    package = os.path.dirname(os.path.abspath(__file__))
    rooms = [os.path.join(package, room) for room in ROOMS]
    if all(_is_writable(os.path.join(room, "__pycache__")) for room in rooms):
        return True
    caches = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return _is_writable(
        os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(caches), "numba")
    )


def _set_cache_folder() -> None:
    """Give Numba a folder for compiled kernels where it would find none and refuse to compile.

    So it is for a user without a home who may not write beside the package, as in many containers.
    What lies in the folder is run, so it must be this user's own.
    """
    import stat
    import tempfile

    try:
        folder = os.path.join(tempfile.gettempdir(), f"gadkit-{os.getuid()}")
    except FileNotFoundError:  # nothing can be written anywhere; the command says so if it must
        return
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        state = os.lstat(folder)
        is_own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
        if not is_own or state.st_mode & 0o022:
            folder = tempfile.mkdtemp(prefix="gadkit-")
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:  # which has read the variable already
        sys.modules["numba"].config.CACHE_DIR = folder


if os.name == "posix" and not _has_cache_folder():
    _set_cache_folder()


def lazy(
    package: str, home: Mapping[str, str], here: Mapping[str, object] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make the `__getattr__`, `__dir__` and `__all__` of a package that hands names on (PEP 562).

    A module is loaded when one of its names is first used. Nothing is kept in the package: a name
    that a test patches where it is defined is patched here as well.

    Args:
        package: its `__name__`.
        home: by public name the module of the package that defines it; the name itself for a
            module that is handed on whole.
        here: the `globals()` of a package that also holds names of its own.
    """

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{home[name]}")
        return module if home[name] == name else getattr(module, name)

    def public() -> list[str]:
        return sorted([*home, *(name for name in here or () if not name.startswith("_"))])

    return load, public, sorted(home)


__getattr__, __dir__, _ = lazy(__name__, {room: room for room in ROOMS}, globals())
