"""Measure how the package is laid out: rooms, floors, arrows, circles, functions, notebooks.

    python tools/house.py [ROOT] [--picture house.png]

A room is a folder of the package or a file beside them; an arrow says that one room imports from
another, anywhere in its files; a room stands one floor above the highest room that it imports from.
Imports are read, not run, but for the notebooks: what each loads is counted in a fresh interpreter,
after its imports and after looking up every `room.name` that its code says. ROOT is the checkout,
by default this one.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

PACKAGE = "gadkit"

# Reads a notebook's code on stdin; prints the modules of the package that it has loaded.
_LOAD = """
import ast, sys
tree = ast.parse(sys.stdin.read())
imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
names = {}
exec(compile(ast.Module(imports, []), "imports", "exec"), names)
rooms = {name for name, value in names.items() if str(value).startswith(f"<module '{PACKAGE}")}
for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in rooms:
        getattr(names[node.value.id], node.attr)
print(*(name for name in sys.modules if name.split(".")[0] == PACKAGE))
"""


class Function(NamedTuple):
    """A function of the package: its place, its lines without the docstring, its arguments."""

    place: str
    lines: int
    arguments: int


def find_modules(root: Path) -> dict[str, Path]:
    """Return the package's modules by dotted name."""
    modules = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def read_imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Return by module the modules of the package that it imports, at its top or in a function."""
    return {name: set(_imported(path, modules)) - {name} for name, path in modules.items()}


def packages_of(path: Path) -> set[str]:
    """Return the packages that a file imports from, its own included."""
    names = [name.name for node in _imports(path) for name in getattr(node, "names", ())]
    modules = [node.module or "" for node in _imports(path) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names + modules}


def _imports(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    for node in nodes:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for_types = {*ast.walk(node)}  # which are not loaded
            nodes = [other for other in nodes if other not in for_types]
    yield from (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def _imported(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    for node in _imports(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif node.module in modules:
            for alias in node.names:
                part = f"{node.module}.{alias.name}"
                yield part if part in modules else node.module


def room_of(module: str) -> str:
    """Return the room of a module; the package itself is one, of the version alone."""
    return module.split(".")[1] if "." in module else PACKAGE


def room_arrows(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return by room the rooms that it imports from."""
    arrows: dict[str, set[str]] = {}
    for module, targets in imports.items():
        above = arrows.setdefault(room_of(module), set())
        above |= {room_of(target) for target in targets} - {room_of(module), PACKAGE}
    arrows.pop(PACKAGE, None)
    return arrows


def find_circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return one circle of imports, empty where there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def find_floors(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms of each floor, from the ground, without the arrows that close circles."""
    arrows = {room: set(targets) for room, targets in arrows.items()}
    while circle := find_circle(arrows):
        arrows[circle[1]].discard(circle[0])
    floor_of: dict[str, int] = {}
    for room in TopologicalSorter(arrows).static_order():
        floor_of[room] = 1 + max((floor_of[target] for target in arrows.get(room, ())), default=-1)
    floors: list[list[str]] = [[] for _ in range(1 + max(floor_of.values()))]
    for room, floor in sorted(floor_of.items()):
        floors[floor].append(room)
    return floors


def find_functions(modules: dict[str, Path]) -> list[Function]:
    """Return all functions and methods of the package."""
    functions = []
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                count = sum(argument.arg not in ("self", "cls") for argument in given)
                lines = node.end_lineno - first.lineno + 1
                functions.append(Function(f"{name}.{node.name}", lines, count))
    return functions


def count_lines(paths: list[Path]) -> int:
    """Count the lines of some files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def loaded_by(notebook: Path, root: Path, modules: dict[str, Path]) -> tuple[int, int]:
    """Return how many modules of the package, and how many lines, a notebook loads."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    command = [sys.executable, "-c", f"PACKAGE = {PACKAGE!r}\n{_LOAD}"]
    ran = subprocess.run(command, input=code, cwd=root, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{notebook.name} does not load:\n{ran.stderr}")
    names = ran.stdout.split()
    return len(names), count_lines([modules[name] for name in names])


def draw(floors: list[list[str]], arrows: dict[str, set[str]], path: Path) -> None:
    """Draw the rooms on their floors, with an arrow to each room that one imports from."""
    from matplotlib.figure import Figure

    place = {
        room: ((position + 0.5) / len(rooms), floor)
        for floor, rooms in enumerate(floors)
        for position, room in enumerate(rooms)
    }
    figure = Figure(figsize=(12, 1.1 * len(floors) + 0.5), layout="constrained")
    ax = figure.subplots()
    for room, targets in arrows.items():
        for target in targets:
            line = {"arrowstyle": "->", "color": "#8899aa", "lw": 0.7, "shrinkA": 12, "shrinkB": 12}
            ax.annotate("", xy=place[target], xytext=place[room], arrowprops=line)
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "#223344"}
        ax.text(x, y, room, ha="center", va="center", fontsize=9, bbox=box)
    ax.set(xlim=(0, 1), ylim=(-0.5, len(floors) - 0.5), ylabel="floor", xticks=[])
    ax.set_yticks(range(len(floors)))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("root", nargs="?", type=Path, default=here, help="a checkout")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the rooms as well")
    options = parser.parse_args()
    root = options.root.resolve()
    modules = find_modules(root)
    imports = read_imports(modules)
    arrows = room_arrows(imports)
    floors = find_floors(arrows)
    for floor, rooms in reversed([*enumerate(floors)]):
        print(f"floor {floor:2}  {'  '.join(rooms)}")
    count = sum(map(len, arrows.values()))
    print(f"\n{len(arrows)} rooms on {len(floors)} floors, {count} arrows between them")
    circle = find_circle(imports)
    print(f"circle    {' -> '.join(circle) or 'none'}")
    print(f"package   {len(modules)} modules, {count_lines([*modules.values()]):,} lines\n")
    functions = find_functions(modules)
    for what in ("lines", "arguments"):
        values = [getattr(function, what) for function in functions]
        most = max(functions, key=lambda function: getattr(function, what))
        tenth = quantiles(values, n=10)[-1]
        print(f"{what:9} of {len(values):,} functions: median {median(values):g}, p90 {tenth:g}, "
              f"most {getattr(most, what)} ({most.place})")  # fmt: skip
    print(f"\n{'notebook':24} modules  lines")
    for notebook in sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        number, lines = loaded_by(notebook, root, modules)
        print(f"{notebook.stem:24} {number:7}  {lines:,}")
    if options.picture:
        draw(floors, arrows, options.picture)


if __name__ == "__main__":
    main()
