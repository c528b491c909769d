"""The plan of the house: floors, no circles, one door to each heavy library, thin notebooks."""

import ast
import re
import subprocess
import sys

import house
import pytest

import gadkit

ROOT = house.Path(gadkit.__file__).parents[1]
MODULES = house.find_modules(ROOT)
IMPORTS = house.read_imports(MODULES)
FLOORS = [  # a room imports only from rooms below its own floor
    {"graph"},
    {"store", "evaluation"},
    {"ops", "plot"},
    {"ingest", "published"},
    {"datasets"},
    {"network", "trees"},
    {"audit", "explain", "match", "recommend"},
    {"report"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {
    "cupy": "gadkit.ops._cuda",
    "duckdb": "gadkit.store.tables",
    "matplotlib": "gadkit.plot",
    "xlsxwriter": "gadkit.store.sheets",
}
MOST_LOADED = {"02_sanitize_csr": (9, 4_000), "06_evaluate_auc": (38, 10_000)}  # modules, lines
VAGUE = {
    "found",
    "own",
    "one",
    "at",
    "of",
    "known",
    "without",
}  # words that do not say what is held
NOTEBOOK = re.compile(r"notebook \d|\b0\d_[a-z]+_[a-z]+")


def assigned_names(tree):
    """Yield the names that functions longer than ten lines bind, with their lines."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        if function.end_lineno - function.lineno < 10:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, node.lineno
            elif isinstance(node, ast.arg):
                yield node.arg, node.lineno


def load(code):
    """Run code in a fresh interpreter, and return the modules that it has loaded."""
    code = f"{code}\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_every_room_stands_on_a_floor():
    assert set(house.room_arrows(IMPORTS)) == set(FLOOR_OF)
    assert set(gadkit.ROOMS) == set(FLOOR_OF) - {"cli", "__main__"}


def test_rooms_import_from_the_floors_below():
    upward = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in sorted(targets)
        if house.room_of(target) not in (house.room_of(module), house.PACKAGE)
        and FLOOR_OF[house.room_of(target)] >= FLOOR_OF[house.room_of(module)]
    ]
    assert upward == []


def test_there_is_no_circle():
    assert house.find_circle(IMPORTS) == []


def test_a_circle_would_be_seen():
    planted = IMPORTS | {"gadkit.graph.csr": {"gadkit.graph"}}
    assert {*house.find_circle(planted)} == {"gadkit.graph", "gadkit.graph.csr"}


@pytest.mark.parametrize("library", DOORS)
def test_one_module_imports_a_heavy_library(library):
    doors = [name for name, path in MODULES.items() if library in house.packages_of(path)]
    assert doors == [DOORS[library]]


def test_gadkit_alone_loads_nothing():
    loaded = load("import gadkit")
    assert [name for name in loaded if name.startswith("gadkit")] == ["gadkit"]
    assert not {"torch", "numpy", "numba"} & {*loaded}


@pytest.mark.slow
def test_rooms_load_when_they_are_named():
    code = """
import sys
import gadkit
for room in gadkit.ROOMS:
    loaded_before = f"gadkit.{room}" in sys.modules
    assert dir(getattr(gadkit, room)) and room in dir(gadkit), room
    assert f"gadkit.{room}" in sys.modules, room
print(loaded_before)
"""
    assert load(code)[0] == "False"  # nothing has loaded the last room, before it was named


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="'gadkit' has no attribute 'rooms'"):
        _ = gadkit.rooms


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_LOADED)
def test_notebooks_load_little(name):
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    modules, lines = house.loaded_by(notebook, ROOT, MODULES)
    assert 3 < modules <= MOST_LOADED[name][0]
    assert 1_000 < lines <= MOST_LOADED[name][1]


def test_functions_take_a_dozen_arguments_at_most():
    functions = house.find_functions(MODULES)
    assert len(functions) > 900
    long = {function.place for function in functions if function.arguments > 12}
    assert long == {"gadkit.ops._cpu.kernel"}  # compiled by Numba, it takes its arrays one by one


def test_variables_say_what_they_hold():
    vague = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in MODULES.values()
        for name, line in assigned_names(ast.parse(path.read_text()))
        if name in VAGUE
    ]
    assert vague == []


def test_the_package_names_no_notebook():
    naming = {
        str(path.relative_to(ROOT)): NOTEBOOK.findall(path.read_text())
        for path in MODULES.values()
        if NOTEBOOK.search(path.read_text())
    }
    assert naming == {}


def test_benchmarks_and_tools_do_without_the_tests():
    helpers = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    for folder in ("benchmarks", "tools"):
        for path in (ROOT / folder).glob("*.py"):
            tree = ast.parse(path.read_text())
            imported = {
                alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
            }
            imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            assert not imported & helpers, path
