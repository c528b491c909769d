"""The notebooks are executed in order, again only when needed, and gathered into one page."""

import base64
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gadkit import cli, store
from gadkit.audit import checks, finding
from gadkit.audit.finding import PASSED, WARNING, Finding
from gadkit.explain import cases
from gadkit.graph import CSR, HeteroGraph
from gadkit.report import index, notebooks, pages, queue, suspects

PNG = base64.b64encode(b"\x89PNG first").decode()
KEY_PNG = base64.b64encode(b"\x89PNG key").decode()


def write_notebook(path, *sources):
    cells = [new_markdown_cell("# 1. Explore data\n\nWho buys what?", id="head")]
    cells += [new_code_cell(source, id=f"cell{i}") for i, source in enumerate(sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


@pytest.fixture
def workspace(tmp_path):
    """A dataset folder and two notebooks, of which the second reads what the first wrote."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "labels.npy").write_bytes(b"labels")
    paths = "import os\nfrom pathlib import Path\ndata = Path(os.environ['GADKIT_DATASET'])"
    write = "(data / 'scores.npy').write_text('0.5')"
    suspects = "(Path(os.environ['GADKIT_OUT']) / 'suspects.csv').write_text('rank\\n1\\n');"
    write_notebook(tmp_path / "notebooks" / "01_write.ipynb", paths, write)
    write_notebook(
        tmp_path / "notebooks" / "02_read.ipynb",
        paths,
        "print((data / 'scores.npy').read_text(), Path.cwd().name)",
        suspects,
    )
    return tmp_path


def run(workspace, **options):
    """Run the notebooks of a workspace; returns the names of those that were kept as they were."""
    unchanged = []
    notebooks.run_notebooks(
        workspace / "demo",
        notebooks=workspace / "notebooks",
        out=workspace / "build",
        log=lambda line: unchanged.append(re.search(r"\w+_\w+", line).group()),
        **options,
    )
    return unchanged


@pytest.fixture
def without_kernel(monkeypatch):
    """Let a notebook's execution be noted and write one result; nothing is executed."""
    executed = []

    def execute(notebook, folder, *, dataset, out, label):
        executed.append(label.split()[-1])
        (dataset / f"{executed[-1]}.npy").write_text(f"result {len(executed)}")

    monkeypatch.setattr(notebooks, "_execute", execute)
    return executed


def test_notebooks_run_in_order_and_find_their_folders(workspace):
    assert run(workspace) == []
    notebook = nbformat.read(workspace / "build/notebooks/02_read.ipynb", as_version=4)
    assert notebook.cells[2].outputs[0].text == "0.5 notebooks\n"
    assert (workspace / "build/suspects.csv").is_file()
    assert "0.5 notebooks" in (workspace / "build/pages/02_read.html").read_text()
    executed = (workspace / "build/notebooks/02_read.ipynb").read_bytes()
    assert run(workspace) == ["01_write", "02_read"]
    assert run(workspace, force=True) == []
    assert (workspace / "build/notebooks/02_read.ipynb").read_bytes() == executed


def test_kernels_inherit_how_threads_wait(workspace, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    policy = "import os\nprint(os.environ['OMP_WAIT_POLICY'])"
    write_notebook(workspace / "notebooks" / "01_write.ipynb", policy)
    (workspace / "notebooks" / "02_read.ipynb").unlink()
    run(workspace)
    notebook = nbformat.read(workspace / "build/notebooks/01_write.ipynb", as_version=4)
    assert notebook.cells[1].outputs[0].text == "active\n"


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    code = "import gadkit, os; print(os.environ['OMP_WAIT_POLICY'])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"{expected}\n"


def test_notebook_that_needs_labels_is_skipped_without(workspace, without_kernel):
    second = workspace / "notebooks" / "02_read.ipynb"
    notebook = nbformat.read(second, as_version=4)
    notebook.cells[1].metadata["tags"] = ["parameters", "needs-labels"]
    nbformat.write(notebook, second)
    assert notebooks.needing_labels(workspace / "notebooks") == [second]
    assert run(workspace) == []
    lines = []
    executed = notebooks.run_notebooks(
        workspace / "demo",
        notebooks=workspace / "notebooks",
        out=workspace / "build",
        labelled=False,
        log=lines.append,
    )
    assert lines == [
        "[1/2] 01_write  unchanged, kept",
        "[2/2] 02_read  skipped: it needs labels, and the dataset has none",
    ]
    assert [path.name for path in executed] == ["01_write.ipynb"]
    left = sorted(path.name for path in (workspace / "build" / "pages").iterdir())
    assert left == ["01_write.html"]  # the page of an earlier run, with labels, is gone
    page = index.write_report(workspace / "build", executed, dataset="demo", skipped=[second])
    page = page.read_text()
    assert page.count("Skipped: it needs labels") == 1
    assert 'href="01_write.html"' in page and 'href="02_read.html"' not in page


def test_failing_cell_is_reported_and_earlier_results_stay(workspace):
    failing = workspace / "notebooks" / "02_read.ipynb"
    cells = ["1 + 1", "x = 3\nraise ValueError(f'edge {x} is outside')", "2 + 2"]
    write_notebook(failing, *cells)
    with pytest.raises(notebooks.NotebookError) as error:
        run(workspace)
    message = str(error.value)
    assert message.startswith("02_read, code cell 2 of 3 raised:\n\n    x = 3\n    raise Val")
    assert "ValueError: edge 3 is outside" in message
    assert "\x1b" not in message
    partial = nbformat.read(workspace / "build/failed/02_read.ipynb", as_version=4)
    assert [len(cell.outputs) for cell in partial.cells[1:]] == [1, 1, 0]
    assert (workspace / "build/pages/01_write.html").is_file()
    assert not (workspace / "build/notebooks/02_read.ipynb").exists()
    write_notebook(failing, "1 + 1")
    assert run(workspace) == ["01_write"]
    assert not (workspace / "build/failed").exists()


def test_kernel_that_dies_is_reported(workspace):
    write_notebook(workspace / "notebooks/01_write.ipynb", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(notebooks.NotebookError, match="code cell 1 of 1 ended its kernel"):
        run(workspace)


def test_last_words_of_a_kernel_are_reported(workspace):
    words = "import os\nos.write(2, b'no memory left on the device')\nos.kill(os.getpid(), 9)"
    write_notebook(workspace / "notebooks/01_write.ipynb", words)
    with pytest.raises(notebooks.NotebookError, match="no memory left on the device"):
        run(workspace)


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    """A signal that is handled as in a terminal, wherever the tests run."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield request.param
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped_by_its_cell(workspace, number):
    stop = f"import os, time\nos.kill(os.getppid(), {int(number)})\ntime.sleep(5)"
    write_notebook(workspace / "notebooks/01_write.ipynb", stop)


def test_a_run_that_is_stopped_raises_no_other_error(workspace, number):
    run(workspace)
    before = (workspace / "build/notebooks/01_write.ipynb").read_bytes()
    stopped_by_its_cell(workspace, number)
    with pytest.raises(KeyboardInterrupt) as stopped, cli._stopped_by(signal.SIGTERM):
        run(workspace)
    assert stopped.value.args == (number,)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (workspace / "build/notebooks/01_write.ipynb").read_bytes() == before
    assert not (workspace / "build/failed").exists()


def test_a_signal_that_is_ignored_stays_so(workspace, number):
    (workspace / "notebooks/02_read.ipynb").unlink()
    stopped_by_its_cell(workspace, number)
    signal.signal(number, signal.SIG_IGN)
    assert run(workspace) == []
    assert (workspace / "build/notebooks/01_write.ipynb").exists()
    assert signal.getsignal(number) is signal.SIG_IGN


def change_dataset(workspace):
    (workspace / "demo/labels.npy").write_bytes(b"others")


def change_about(workspace):
    store.write_about(workspace / "demo", {"title": "another"})


def change_ids(workspace):
    (workspace / "demo/ids_user.parquet").write_bytes(b"others")


def change_second_notebook(workspace):
    write_notebook(workspace / "notebooks/02_read.ipynb", "3")


def change_first_notebook(workspace):
    write_notebook(workspace / "notebooks/01_write.ipynb", "3")


def delete_first_result(workspace):
    (workspace / "demo/01_write.npy").unlink()


def delete_second_page(workspace):
    (workspace / "build/pages/02_read.html").unlink()


def save_again_with_outputs(workspace):
    """What JupyterLab does to a notebook that is run by hand and not edited."""
    path = workspace / "notebooks/01_write.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [new_output("stream", text="seen by hand")]
    notebook.cells[1].execution_count = 7
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)
    (workspace / "demo/labels.npy").touch()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (change_dataset, ["01_write", "02_read"]),
        (change_about, ["01_write", "02_read"]),
        (change_ids, ["01_write", "02_read"]),
        (change_first_notebook, ["01_write", "02_read"]),
        (change_second_notebook, ["02_read"]),
        (delete_first_result, ["01_write"]),
        (delete_second_page, ["02_read"]),
        (save_again_with_outputs, []),
    ],
)
def test_only_what_a_change_reaches_is_executed_again(workspace, without_kernel, change, again):
    run(workspace)
    without_kernel.clear()
    change(workspace)
    run(workspace)
    assert without_kernel == again
    assert run(workspace) == ["01_write", "02_read"]


def test_setting_and_package_count_as_changes(workspace, without_kernel, monkeypatch):
    run(workspace)
    monkeypatch.setenv("GADKIT_SCALE", "other")
    assert run(workspace) == []
    (workspace / "kernels").mkdir()
    (workspace / "kernels" / "gat.cu").write_text("// changed")
    monkeypatch.setattr(notebooks, "ROOT", workspace)
    assert run(workspace) == []


def test_every_library_of_the_results_counts():
    project = tomllib.loads((notebooks.ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["lab"]
    names = {re.match(r"[\w.-]+", line)[0] for line in needed}
    assert names - set(notebooks.LIBRARIES) == {"jupyterlab"}  # which makes no output
    counted = notebooks._libraries()
    for name in ("scipy", "duckdb", "nbclient", "ipykernel", "ipython", "matplotlib-inline"):
        assert f"{name} {importlib.metadata.version(name)}" in counted


def test_a_library_of_another_version_counts_as_a_change(workspace, without_kernel, monkeypatch):
    run(workspace)
    version = property(lambda library: "0.0.1")
    monkeypatch.setattr(importlib.metadata.PathDistribution, "version", version)
    run(workspace)
    assert len(without_kernel) == 4


def test_another_place_leaves_the_same_bytes(workspace, without_kernel, tmp_path, monkeypatch):
    monkeypatch.setenv("GADKIT_DATASET", "/somewhere/else")  # each kernel is told its own
    run(workspace)
    there = tmp_path / "moved"
    shutil.copytree(workspace, there)
    executed = "build/notebooks/02_read.ipynb"
    run(there)
    assert len(without_kernel) == 2  # nothing again
    monkeypatch.delenv("GADKIT_DATASET")
    without_kernel.clear()  # its results are numbered
    run(there, force=True)
    assert (there / executed).read_bytes() == (workspace / executed).read_bytes()


def test_interrupted_run_is_not_taken_for_finished(workspace, without_kernel, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            pages, "notebook_page", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        run(workspace)
    assert run(workspace) == []


def saved_by_an_editor(workspace, **metadata):
    path = workspace / "notebooks/01_write.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.update(metadata)
    path.write_text(nbformat.writes(notebook))


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "python311", "display_name": "?", "language": "python"}},
        {"kernelspec": {"name": "conda-env-x-py", "display_name": "Python [conda env:x]"}},
        {"language_info": {"name": "python", "version": "3.9"}, "vscode": {"interpreter": {}}},
    ],
)
def test_what_an_editor_leaves_in_a_notebook_is_no_matter(workspace, without_kernel, metadata):
    run(workspace)
    executed = (workspace / "build/notebooks/01_write.ipynb").read_bytes()
    saved_by_an_editor(workspace, **metadata)
    assert run(workspace) == ["01_write", "02_read"]  # unchanged
    without_kernel.clear()
    run(workspace, force=True)
    assert (workspace / "build/notebooks/01_write.ipynb").read_bytes() == executed


UNREADABLE = {
    "text": b"hello",
    "empty": b"",
    "list": b"[]",
    "object": b"{}",
    "cut off": b'{"cells": [{"cell_type": "code"',
    "merged": b"<<<<<<< HEAD\n{}",
    "latin-1": '{"cells": [], "metadata": {"title": "ü"}}'.encode("latin-1"),
    "newer": b'{"cells": [], "metadata": {}, "nbformat": 5, "nbformat_minor": 0}',
    "cell": b'{"cells": [{"cell_type": "film", "id": "a", "metadata": {}, "source": ""}],'
    b' "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_notebook_is_named_before_any_is_executed(workspace, without_kernel, kind):
    (workspace / "notebooks/02_read.ipynb").write_bytes(UNREADABLE[kind])
    with pytest.raises(notebooks.NotebookError) as error:
        run(workspace)
    said = str(error.value)
    assert "02_read.ipynb is no notebook that can be read (" in said and "\n" not in said
    assert "open it in JupyterLab and save it again" in said and without_kernel == []


def test_a_notebook_of_another_language_is_named(workspace, without_kernel):
    kernel = {"name": "julia-1.9", "display_name": "Julia 1.9", "language": "julia"}
    saved_by_an_editor(workspace, kernelspec=kernel)
    with pytest.raises(notebooks.NotebookError, match="is of julia, .* choose a Python kernel"):
        run(workspace)
    assert without_kernel == []


def test_cells_without_an_id_get_the_same_one_each_time(workspace, without_kernel):
    path = workspace / "notebooks/01_write.ipynb"
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        cell["id"] = "twice"
    del content["cells"][2]["id"]
    path.write_text(json.dumps(content))
    run(workspace)
    executed = nbformat.read(workspace / "build/notebooks/01_write.ipynb", as_version=4)
    assert [cell.id for cell in executed.cells] == ["twice", "cell-1", "cell-2"]


@pytest.mark.parametrize("content", ["", "[]", '{"metadata": {"gadkit": 3}}', '{"metadata": '])
def test_a_damaged_result_is_made_again(workspace, without_kernel, content):
    run(workspace)
    without_kernel.clear()
    (workspace / "build/notebooks/02_read.ipynb").write_text(content)
    assert run(workspace) == ["01_write"] and without_kernel == ["02_read"]


def test_missing_dataset_or_notebooks_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no dataset folder .*absent"):
        notebooks.run_notebooks(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        notebooks.run_notebooks(tmp_path, notebooks=tmp_path)


def executed_notebook(path, summary):
    """Write a notebook as if executed: two figures, of which the second is the key figure."""
    head = "# 3. Train <GAE>\n\nWhat does structure\nsay?\n\nMore."
    cells = [new_markdown_cell(head), new_markdown_cell("## Loss\n\nIt falls.")]
    for png, tags in ((PNG, []), (KEY_PNG, ["key-figure"])):
        figure = new_output("display_data", {"image/png": png, "text/plain": "<Figure>"})
        cells.append(new_code_cell("plot", outputs=[figure], metadata={"tags": tags}))
    cells.append(new_code_cell("show", outputs=summary, metadata={"tags": ["summary"]}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def index_of(tmp_path, *summary, **options):
    notebook = executed_notebook(tmp_path / "notebooks/03_train_gae.ipynb", list(summary))
    return index.write_report(tmp_path, [notebook], dataset="a & b", **options).read_text()


def test_index_shows_title_question_figure_and_numbers(tmp_path):
    table = "<table><tr><td class='numeric'>0.97</td></tr></table>"
    data = {"text/html": table, "text/plain": "plain"}
    page = index_of(tmp_path, new_output("display_data", data))
    assert '<span class="number">3</span>Train &lt;GAE&gt;' in page
    assert "What does structure say?" in page and "More." not in page
    assert KEY_PNG in page and PNG not in page
    assert '<td class="numeric">0.97</td>' in page and "plain" not in page
    assert 'href="03_train_gae.html"' in page and (tmp_path / "report/03_train_gae.html").is_file()
    assert "a &amp; b" in page
    assert 'id="suspects' not in page
    assert page == index_of(tmp_path, new_output("display_data", data))


def test_index_takes_markdown_and_text_for_numbers(tmp_path):
    markdown = new_output("display_data", {"text/markdown": "| a |\n|--:|\n| 1 |\n\n**bold**"})
    page = index_of(tmp_path, markdown, new_output("stream", text="AUC 0.97 <0.98\n"))
    assert '<td class="numeric">1</td>' in page
    assert "<strong>bold</strong>" in page
    assert "<pre>AUC 0.97 &lt;0.98\n</pre>" in page


def test_index_lets_no_script_through(tmp_path):
    html = "<table onclick='x()'><tr><td><script>alert(1)</script><img src=x></td></tr></table>"
    page = index_of(tmp_path, new_output("display_data", {"text/html": html}))
    assert not re.search(r"<script|onclick|<img src=x", page)
    names = ["<script>alert(2)</script>"] * 60
    page = index_of(tmp_path, listing=listing(names=names))
    assert "&lt;script&gt;alert(2)" in page and "<script" not in page


def test_index_makes_do_with_a_bare_notebook(tmp_path):
    path = tmp_path / "notebooks" / "01_bare.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), path)
    page = index.write_report(tmp_path, [path], dataset="demo").read_text()
    assert "01_bare</h2>" in page and "<img" not in page


def listing(*, names=None, labels=((30, 1), (31, 0)), learned=(), **changes):
    """Queues and their table of fifty users, the first of them most suspicious, and ten shops."""
    visits = CSR.from_edges(torch.arange(4), torch.zeros(4).long(), num_src=50, num_dst=10)
    graph = HeteroGraph(
        {"user": 50, "shop": 10}, {("user", "visits", "shop"): visits}, labels=torch.tensor(labels)
    )
    known = {
        "scores": torch.linspace(0.9123456789, 0.1, 60),
        "types": ["user"],
        "learned_from": torch.tensor([30]),
        "held_out": torch.tensor([[0.8, 1], [0.2, 0], [0.1, 0]], dtype=torch.float64),
    }
    evidence = queue.Evidence(**known | changes)
    queues = queue.queues(graph, evidence, size=12)
    names = [f"u{node}" for node in range(60)] if names is None else names
    table = suspects.table_of(graph, evidence, queues, names=np.array(names, dtype=object))
    return index.Listing(queues=queues, table=table, learned=learned)


def test_index_lists_the_first_suspects_of_each_type(tmp_path):
    content = listing()
    page = index_of(tmp_path, listing=content)
    assert 'The first 20 of 48 new user accounts in\n      <a href="../suspects.csv">' in page
    assert '<td class="name">u19</td>' in page and "u20<" not in page
    assert '<td class="numeric">0.9123</td>' in page
    assert "2 whose label is known are left out." in page
    frauds = content.queues[0].budget.frauds
    assert f"Among the first 12, expect <strong>{frauds.value:.0f} frauds</strong>" in page
    assert f"({frauds.low:.0f} to {frauds.high:.0f} in 95% of such lists)" in page
    assert "score of 0.7609 is where they end" in page
    assert (tmp_path / "suspects.csv").read_text().count("\n") == 49
    assert content.queues[0].group[:5].tolist() == [1, 1, 1, 1, 0]  # a shop of their own
    both = listing(types=["shop", "user"])
    page = index_of(tmp_path, listing=both)
    assert page.index('id="suspects-shop"') < page.index('id="suspects-user"')


def test_index_says_how_the_data_were_read(tmp_path):
    about = {"rows": {"read": 10, "used": 8, "unused": {"account is missing": 2}}}
    page = index_of(tmp_path, about=about)
    assert "<summary>How the data were read</summary>" in page
    assert "account is missing</strong>: 2 20.00%" in page
    assert "How the data were read" not in index_of(tmp_path)
    labels = {"meaning": "confirmed", "values": [], "frauds": 3, "normal": 7, "kind": "both"}
    about |= {"read": {}, "no_links": {"card": "nobody shares it"}, "labels": labels}
    page = index_of(tmp_path, about=about)
    assert "<strong>link</strong>: card is no link: nobody shares it" in page
    assert "<strong>labels</strong>: 3 labelled fraud, 7 normal" in page


def test_index_says_what_stands_behind_the_list(tmp_path):
    nothing = torch.empty(0, 2, dtype=torch.float64)
    page = index_of(tmp_path, listing=listing(unlabelled=True, held_out=nothing))
    assert "<strong>No label was used.</strong>" in page
    assert '<th scope="col" class="numeric">score without labels</th>' in page
    page = index_of(tmp_path, listing=listing(held_out=nothing))
    assert "No label was used" not in page and "cannot be said" in page
    assert "only an order" not in page
    page = index_of(tmp_path, listing=listing(is_order=True, learned=["1 confirmed fraud"]))
    assert "no probability, only an order.</strong> 1 confirmed fraud.</p>" in page
    assert "cannot be said" in page and "frauds</strong>" not in page
    everybody = [(node, node % 2) for node in range(50)]
    page = index_of(tmp_path, listing=listing(labels=everybody))
    assert "Nobody is new." in page and '<th scope="col" class="numeric">label</th>' in page


def test_report_is_whole_until_the_next_is(tmp_path, monkeypatch):
    first = index_of(tmp_path, listing=listing())
    old = (tmp_path / "suspects.csv").read_text()
    changed = listing(names=["changed"] * 60)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            pages, "notebook_page", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        index_of(tmp_path, listing=changed)
    assert (tmp_path / "report/index.html").read_text() == first
    assert (tmp_path / "suspects.csv").read_text() == old
    (tmp_path / "report/08_gone.html").write_text("of a notebook that is no more")
    assert "changed" in index_of(tmp_path, listing=changed)
    assert "changed" in (tmp_path / "suspects.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notebooks",
        "report",
        "suspects.csv",
    ]
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["03_train_gae.html", "index.html"]


CARD = {"node": 1, "rank": 2, "type": "user", "name": "u1", "score": 0.9, "low": 0.8, "high": 0.95}
CARD |= {"features": [{"name": "age", "value": 3.0, "percentile": 0.9, "contribution": 1.0}]}
CARD |= {"neighbors": [], "confirmed": [], "why": []}


def test_index_shows_cards_and_audit_of_this_run_only(workspace, without_kernel, monkeypatch):
    concern = Finding(check="single column", verdict=WARNING, detail="age alone reaches 0.99.")

    def execute(notebook, folder, *, dataset, out, label):
        if label.endswith("02_read"):
            cases.save(out / cases.FILE, [CARD])
            store.write_json(out / finding.FILE, finding.as_json([concern]))

    out = workspace / "build"
    run(workspace)
    executed = sorted((out / "notebooks").iterdir())
    cases.save(out / cases.FILE, [CARD])  # of somebody else, or of an earlier run
    index.write_report(out, executed, dataset="demo", listing=listing())
    assert not (out / "report/cases.html").exists()
    monkeypatch.setattr(notebooks, "_execute", execute)
    run(workspace, force=True)
    wrote = notebooks.written_by(executed[1])
    assert wrote == [out / cases.FILE, out / finding.FILE]
    page = index.write_report(out, executed, dataset="demo", listing=listing()).read_text()
    assert 'id="case-1"' in (out / "report/cases.html").read_text()
    assert '<td class="numeric"><a href="cases.html#case-1">2</a></td>' in page  # rank 2 is user 1
    assert "raised most by <strong>age</strong>" in page
    header, lists = page.split('<section id="suspects-user">')
    for part in (header, lists.split("</section>")[0]):  # the warning stands where the list does
        assert 'The <a href="#audit">audit</a> has 1 warning</strong>:' in part
        assert "Do not act on a card for a column that it names" in part
    assert "age alone reaches 0.99." in page.split('<section id="audit">')[1]
    index.write_report(out, executed[:1], dataset="demo", listing=listing())
    assert not (out / "report/cases.html").exists()


def test_report_has_the_order_of_an_analyst(workspace, without_kernel, monkeypatch):
    def execute(notebook, folder, *, dataset, out, label):
        if label.endswith("02_read"):
            notebook.cells[1].metadata["tags"] = [index.EVALUATION]
            cases.save(out / cases.FILE, [CARD])
            store.write_json(out / finding.FILE, finding.as_json([]))
            passed = Finding(check="overlap", verdict=PASSED)
            store.write_json(out / finding.FILE, finding.as_json([passed]))

    monkeypatch.setattr(notebooks, "_execute", execute)
    run(workspace)
    executed = sorted((workspace / "build/notebooks").iterdir())
    page = index.write_report(
        workspace / "build", executed, dataset="demo", listing=listing()
    ).read_text()
    order = re.findall(r'<(?:header|section id="[^"]*"|h2 class="workshop")', page)
    assert [re.sub('.*(id|class)=|"', "", part) for part in order] == [
        "<header", "suspects-user", "cards", "02_read", "audit", "workshop", "01_write",
    ]  # fmt: skip


def test_every_check_of_the_audit_means_something_for_the_cards():
    assert set(index.MEANING) == {check.name for check in checks.CHECKS}


def test_pages_fetch_nothing_and_figures_have_alt_texts(tmp_path):
    summary = index_of(tmp_path)
    notebook = nbformat.read(tmp_path / "notebooks/03_train_gae.ipynb", as_version=4)
    page = pages.notebook_page(notebook, name="03_train_gae")
    fetching = re.compile(r"""(src|href)=["'](https?:)?//|<script|@import|url\(["']?http""")
    for html in (summary, page):
        assert not fetching.search(html)
        assert all("alt=" in image for image in re.findall(r"<img[^>]*>", html))
    assert page.count('alt="Figure: Loss"') == 2
