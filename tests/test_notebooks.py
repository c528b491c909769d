"""The notebooks are short, stripped and numbered, define nothing, and run from first to last."""

import copy
import os
import re
import sys
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib import pyplot as plt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.config import Config

from gadkit import cli, store
from gadkit.datasets import marketplace
from gadkit.graph import CSR, HeteroGraph
from gadkit.report import notebooks, queue, suspects
from gadkit.store import node_ids

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
NAMES = [
    "01_explore_data",
    "02_sanitize_csr",
    "03_train_gae",
    "04_finetune_gat",
    "05_profile_kernels",
    "06_evaluate_auc",
    "07_explain_suspects",
    "08_test_explanations",
    "09_match_patterns",
]
NEED_LABELS = [
    "04_finetune_gat",
    "06_evaluate_auc",
    "07_explain_suspects",
    "08_test_explanations",
]
CELL_LINES, CODE_LINES, CELLS = 15, 150, 40
TIMES = "05_profile_kernels"  # what it shows is never the same twice
QUICK = {
    "EPOCHS": 10,
    "PAIRS": 20_000,
    "REPEATS": 20,
    "PERMUTATIONS": 2,
    "DRAWS": 2,
    "SUSPECTS": 20,
}
SHOP = {"num_users": 600, "num_products": 240, "num_sellers": 60, "base_rate": 0.2}
SHOP |= {"label_rate": 0.5}
FORBIDDEN = re.compile(r"^\s*((async def|def|class)\b|[!%])", flags=re.MULTILINE)
STRIP = "run `make strip`"


def cell_faults(cell, where):
    """Return what is wrong with one cell."""
    faults = [] if cell.get("id") else [f"{where} has no id"]
    if set(cell.metadata) - {"tags"}:
        faults.append(f"{where} has metadata other than tags: {STRIP}")
    if cell.cell_type != "code":
        return faults
    if cell.outputs or cell.execution_count is not None:
        faults.append(f"{where} has outputs: {STRIP}")
    if len(cell.source.splitlines()) > CELL_LINES:
        faults.append(f"{where} has more than {CELL_LINES} lines: move code to gadkit")
    if found := FORBIDDEN.search(cell.source):
        faults.append(f"{where} has {found.group().strip()!r}: move it to gadkit")
    return faults


def notebook_faults(notebook, name):
    """Return what is wrong with a notebook; `name` is its file name without the suffix."""
    cells = notebook.cells
    faults = [f for i, cell in enumerate(cells, start=1) for f in cell_faults(cell, f"cell {i}")]
    code = [cell for cell in cells if cell.cell_type == "code"]
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", [])]
    number = name[:2].lstrip("0")
    if set(notebook.metadata) != {"kernelspec"}:
        faults.append(f"metadata is not the kernelspec alone: {STRIP}")
    if not re.match(rf"# {number}\. \S.*\n+[^#\s]", cells[0].source):
        faults.append(f"the first cell is not '# {number}. Title' and the question under it")
    if cells[1].cell_type != "code" or "parameters" not in cells[1].metadata.get("tags", []):
        faults.append("the second cell is not code tagged parameters")
    if cells[-1].cell_type != "markdown":
        faults.append("the last cell does not say what was seen")
    if len(cells) > CELLS:
        faults.append(f"more than {CELLS} cells")
    if sum(len(cell.source.splitlines()) for cell in code) > CODE_LINES:
        faults.append(f"more than {CODE_LINES} lines of code")
    if len(code) > 2 * (len(cells) - len(code)):
        faults.append("less than one Markdown cell per two code cells")
    for tag in ("key-figure", "summary"):
        if tags.count(tag) != 1:
            faults.append(f"{tags.count(tag)} cells are tagged {tag}")
    return faults


def good_notebook():
    cells = [
        new_markdown_cell("# 3. Train the autoencoder\n\nWhat does structure alone say?"),
        new_code_cell("SEED = 0", metadata={"tags": ["parameters"]}),
        new_code_cell("from gadkit import plot"),
        new_markdown_cell("## Loss"),
        new_code_cell("history = []"),
        new_code_cell("fig, ax = plt.subplots()"),
        new_code_cell("plot.loss(ax, history);", metadata={"tags": ["key-figure"]}),
        new_code_cell("history[-1]", metadata={"tags": ["summary"]}),
        new_markdown_cell("The loss falls to 0.4."),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def output(notebook):
    notebook.cells[2].outputs = [new_output("stream", text="done")]


def source(index, text):
    return lambda notebook: notebook.cells[index].update(source=text)


def tags(index, *names):
    return lambda notebook: notebook.cells[index].metadata.update(tags=list(names))


PLANTED = {
    "cell 3 has outputs": output,
    "cell 3 has outputs: run": lambda notebook: notebook.cells[2].update(execution_count=4),
    "cell 4 has no id": lambda notebook: notebook.cells[3].pop("id"),
    "cell 4 has metadata": lambda notebook: notebook.cells[3].metadata.update(scrolled=True),
    "metadata is not": lambda notebook: notebook.metadata.update(language_info={"name": "python"}),
    "first cell is not": source(0, "# Train the autoencoder\n\nWhat does structure alone say?"),
    "first cell is not '# 3.": source(0, "# 2. Train the autoencoder\n\nWhat?"),
    "first cell is not '# 3. Title' and the question": source(0, "# 3. Train\n\n## Loss"),
    "second cell is not": tags(1),
    "cell 3 has 'def'": source(2, "x = 1\ndef double(x):\n    return 2 * x"),
    "cell 3 has 'class'": source(2, "class Model: pass"),
    "cell 3 has '!'": source(2, "!pip install torch"),
    "cell 3 has '%'": source(2, "%%writefile kernel.cu"),
    "cell 3 has more than 15 lines": source(2, "x = 1\n" * 16),
    "more than 150 lines": lambda notebook: notebook.cells.extend(
        cell for _ in range(11) for cell in (new_code_cell("x\n" * 14), new_markdown_cell("x"))
    ),
    "more than 40 cells": lambda notebook: notebook.cells.extend([new_markdown_cell("x")] * 34),
    "less than one Markdown cell": lambda notebook: notebook.cells.insert(3, new_code_cell("x")),
    "0 cells are tagged key-figure": tags(6),
    "2 cells are tagged summary": tags(6, "key-figure", "summary"),
    "last cell": lambda notebook: notebook.cells.insert(3, notebook.cells.pop()),
}


def test_good_notebook_has_no_faults():
    assert notebook_faults(good_notebook(), "03_train_gae") == []


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_is_found_and_no_other(fault):
    notebook = copy.deepcopy(good_notebook())
    PLANTED[fault](notebook)
    (found,) = notebook_faults(notebook, "03_train_gae")
    assert fault in found


def test_notebooks_are_numbered_without_gaps():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_keeps_the_rules(name):
    # Read as JSON first: nbformat.read would give missing ids out itself.
    text = (Path(__file__).parents[1] / "notebooks" / f"{name}.ipynb").read_text()
    notebook = nbformat.from_dict(nbformat.reader.parse_json(text))
    nbformat.validate(notebook)
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    assert notebook_faults(notebook, name) == []


def shortened(path, parameters):
    """Read a notebook and set those of its parameters that are given."""
    notebook = nbformat.read(path, as_version=4)
    for name, value in parameters.items():
        assignment = re.compile(rf"^{name} = .*$", re.MULTILINE)
        notebook.cells[1].source = assignment.sub(f"{name} = {value}", notebook.cells[1].source)
    return notebook


def write_shortened(folder):
    """Write the notebooks to folder/notebooks with parameters that take little time."""
    (folder / "notebooks").mkdir()
    for path in NOTEBOOKS:
        nbformat.write(shortened(path, QUICK), folder / "notebooks" / path.name)


class Shell(InteractiveShell):
    """IPython without a terminal, a kernel or a window."""

    def enable_gui(self, gui=None):
        """Figures are shown inline: there is no event loop to run."""


@pytest.fixture(scope="module")
def shell():
    """IPython in this process, which imports everything once; kernels begin anew each time."""
    with matplotlib.rc_context():
        shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        shell.enable_matplotlib("inline")
        yield shell
        plt.close("all")
    Shell.clear_instance()


def execute_here(shell, notebook):
    """Execute a notebook's code cells; return for each what it printed and what it showed."""
    shell.reset()
    # As in a kernel that has just begun; a terminal, for which pandas would take this, has another
    # number of columns.
    options = "display.max_colwidth", 50, "display.max_columns", 20
    with pd.option_context(*options):
        return [
            execute_cell(shell, cell.source) for cell in notebook.cells if cell.cell_type == "code"
        ]


def execute_cell(shell, source):
    with capture_output() as captured:
        capturing = sys.displayhook
        is_quiet = source.rstrip().endswith(";")
        shell.display_trap.hook = (lambda shown: None) if is_quiet else capturing
        result = shell.run_cell(source)
    result.raise_error()
    return captured.stdout, [shown_as(output.data) for output in captured.outputs]


def shown_as(data):
    """Return an output by kind, the plain text only where it is all: it knows how wide a terminal
    is. A notebook's file ends pictures in a new line."""
    kinds = [kind for kind in data if kind != "text/plain"] or list(data)
    return {kind: data[kind].strip() if "image" in kind else data[kind] for kind in kinds}


def said_by(notebook):
    """Return the same of a notebook that was executed in a kernel."""
    said = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            streams = [output for output in cell.outputs if output.output_type == "stream"]
            text = "".join(output.text for output in streams if output.name == "stdout")
            shown = [output for output in cell.outputs if output.output_type != "stream"]
            said.append((text, [shown_as(output.data) for output in shown]))
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory, shell):
    """Return two folders with results of the same small marketplace, generated twice.

    The first is left by `gadkit run`. In the second the notebooks are executed in this process, but
    for the one that shows times, and the list is written; that notebook leaves nothing in the
    dataset. Both with parameters that take little time. Beside the folders, what the notebooks of
    the second say, by name.
    """
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name.startswith("GADKIT_")]:
            monkeypatch.delenv(name)
        for folder in (first, second):
            marketplace.generate(folder / "data" / "shop", **SHOP, progress=False)
        dataset = first / "data" / "shop"
        write_shortened(first)
        monkeypatch.setattr(notebooks, "ROOT", first)
        assert cli.main(["run", str(dataset), "--out", str(first / "build")]) == 0
        dataset, out = second / "data" / "shop", second / "build"
        monkeypatch.setenv("GADKIT_DATASET", str(dataset))
        monkeypatch.setenv("GADKIT_OUT", str(out))
        said = {
            path.stem: execute_here(shell, shortened(path, QUICK))
            for path in NOTEBOOKS
            if path.stem != TIMES
        }
        graph = store.load_graph(dataset)
        evidence = suspects.evidence_of_run(dataset, graph)
        table = suspects.table_in(dataset, graph, evidence, queue.queues(graph, evidence))
        suspects.write_suspects(out / "suspects.csv", table)
    return first, second, said


def test_notebooks_run_headless_to_figures_and_numbers(runs):
    build = runs[0] / "build"
    assert [path.stem for path in sorted((build / "notebooks").glob("*.ipynb"))] == NAMES
    page = (build / "report" / "index.html").read_text()
    assert page.count('<div class="figure">') == len(NAMES)
    assert page.count('aria-label="Numbers of') == len(NAMES)
    header, *rows = (build / "suspects.csv").read_text().splitlines()
    assert header == "rank,node,type,id,score,probability,group,planted"
    assert len(rows) == 330  # half of users and sellers are new; products have no labels
    types = [row.split(",")[2] for row in rows]
    assert types == sorted(types, key=["user", "seller"].index)
    for name in ("user", "seller"):
        assert f'id="suspects-{name}"' in page
    links = set(re.findall(r'href="cases.html#(case-\d+)"', page))
    anchors = set(re.findall(r'id="(case-\d+)"', (build / "report" / "cases.html").read_text()))
    assert len(links) == 27 and links <= anchors  # twenty users, a quarter of thirty sellers
    assert 'id="audit"' in page and "How good is it?" in page
    assert page.index("06_evaluate_auc") < page.index('id="workshop"') < page.index("01_explore")


def test_two_runs_give_the_same_bytes(runs):
    folders = runs[:2]
    files = [sorted((folder / "data" / "shop").iterdir()) for folder in folders]
    assert len(files[0]) == len(files[1]) == 21
    for one, other in zip(*files, strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes(), one.name
    lists = [(folder / "build" / "suspects.csv").read_bytes() for folder in folders]
    assert lists[0] == lists[1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != TIMES])
def test_two_runs_show_the_same_numbers_and_figures(runs, name):
    first, _, said = runs
    executed = nbformat.read(first / "build" / "notebooks" / f"{name}.ipynb", as_version=4)
    assert said_by(executed) == said[name]


def test_the_notebooks_that_need_labels_say_so():
    assert [path.stem for path in notebooks.needing_labels()] == NEED_LABELS


ABOUT = {
    "title": "Accounts",
    "labels": {"meaning": "closed by the bank", "kind": "adjudicated"},
    "features": {"account": ["age", "country", "payments"]},
    "rows": {"read": 10, "used": 8, "unused": {"account is missing": 2}},
    "missing": {"at": 0, "amount": 2},
    "missing_x": {"account": {"age": 3}},
}
SHORT = {"EPOCHS": 2, "PAIRS": 500, "REPEATS": 20, "DRAWS": 2}  # in place of parameters


def write_accounts(folder, *, x=True, labels=True, about=None):
    """Write a graph of one node type and one relation."""
    generator = torch.Generator().manual_seed(0)
    src, dst = torch.randint(60, (2, 200), generator=generator)
    knows = CSR.from_edges(src, dst, num_src=60, num_dst=60)
    features = {"account": torch.randn(60, 3, generator=generator)} if x else None
    known = torch.stack([torch.arange(40), torch.arange(40) % 4 == 0], 1).long()
    edges = {("account", "knows", "account"): knows}
    store.save_graph(
        folder, HeteroGraph({"account": 60}, edges, features, known if labels else None)
    )
    if about:
        store.write_about(folder, about)
        names = np.array([f"IBAN {i}" for i in range(60)], dtype=object)
        node_ids.save(folder, {"account": names})


def write_marketplace(folder):
    """Write a marketplace of users and products, without sellers, co-purchases and labels."""
    generator = torch.Generator().manual_seed(0)
    products = 30 + torch.randint(20, (30, 4), generator=generator).sort().values.flatten()
    bought = torch.arange(31) * 4, products.int()
    none = {"eps": 21, "euu": 31}
    none = {name: (torch.zeros(n).long(), torch.empty(0).int()) for name, n in none.items()}
    x = torch.randn(50, store.FEATURE_DIM, generator=generator)
    counts = {"user": 30, "product": 20, "seller": 0}
    store.write_raw(folder, counts, {"epu": bought} | none, x, torch.tensor([[0, 0], [1, 1]]))
    (folder / store.LABELS).unlink()


ODD = {
    "bare": lambda folder: write_accounts(folder, x=False, labels=False),
    "no-features": lambda folder: write_accounts(folder, x=False),
    "no-labels": lambda folder: write_accounts(folder, labels=False),
    "one-relation": lambda folder: write_accounts(folder, about=ABOUT),
    "no-sellers": write_marketplace,
}


@pytest.mark.parametrize("graph", ODD)
def test_notebooks_work_on_odd_graphs(tmp_path, monkeypatch, shell, graph):
    ODD[graph](tmp_path)
    loaded = store.load_graph(tmp_path)
    names = [*NAMES[:2], *(NAMES[2:3] if loaded.x else [])]
    names += NEED_LABELS if loaded.x and loaded.labels is not None else []
    monkeypatch.setenv("GADKIT_DATASET", str(tmp_path))
    said = ""
    for path in NOTEBOOKS:
        if path.stem in names:
            said += str(execute_here(shell, shortened(path, SHORT)))
    assert ("This dataset has no labels" in said) == (loaded.labels is None)
    assert ("1 of 3 columns looked at are complete" in said) == (graph == "one-relation")
    assert ("Nobody has counted" in said) == (graph != "one-relation")
