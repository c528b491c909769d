"""Names that a package hands on from its modules, loaded when they are first used."""

import importlib
from collections.abc import Callable, Mapping


def lazy(
    package: str, home: Mapping[str, str], here: Mapping[str, object] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make the `__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    Nothing is kept in the package: a name that a test patches where it is defined is patched here
    as well.

    Args:
        package: its `__name__`.
        home: by public name the module of the package that defines it.
        here: the `globals()` of a package that also holds names of its own.
    """

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    def public() -> list[str]:
        return sorted([*home, *(name for name in here or () if not name.startswith("_"))])

    return load, public, sorted(home)
