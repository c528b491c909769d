"""What of the outputs of cells is kept, and that kernels are the same whoever starts them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from gadkit.report import index, kernel, notebooks, outputs, pages

BAR = "\r 50%|##5  | 5/10 [00:00<00:00, 12.31it/s]"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def kept(*pieces: str) -> str:
    stderr = outputs.Stderr()
    return "".join(map(stderr.keep, pieces))


def test_bars_go_and_what_else_is_said_stays():
    assert kept(BAR, BAR, "\n") == ""
    assert kept("a warning\n") == "a warning\n"
    assert kept("first\n" + BAR, "second\n", BAR, "\n", "third\n\nfourth") == (
        "first\nsecond\nthird\n\nfourth"
    )
    assert kept(BAR + "\nafter it\n") == "after it\n"
    assert kept(BAR, "\n" + BAR + "\x1b[A", BAR, "\n\n", "after two\n") == "\nafter two\n"
    wiped = "\r" + " " * 30 + "\r"  # as tqdm.write makes room for a line
    assert kept(BAR, wiped + "a line\n", BAR, wiped) == "a line\n"
    assert kept("\r3it [00:01,  2.00it/s]\n") == ""
    assert kept("of Windows\r\nand so on\r\n") == "of Windows\nand so on\n"


def stream(text: str, name: str = "stdout"):
    return new_output("stream", name=name, text=text)


def tidied(*cells: list) -> list[list]:
    notebook = new_notebook(cells=[new_code_cell("1", outputs=list(cell)) for cell in cells])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    outputs.tidy(notebook)
    assert "widgets" not in notebook.metadata
    return [cell.outputs for cell in notebook.cells]


def test_what_is_printed_is_joined_up_to_the_next_figure():
    figure = new_output("display_data", {"image/png": "AAAA"})
    cell = [
        stream("a\n"), stream("w", "stderr"), stream("b\n"), figure, stream("c"), stream("d"),
        stream("x", "stderr"), stream("y", "stderr"),
    ]  # fmt: skip
    (kept_outputs,) = tidied(cell)
    said = [(out.get("name"), out.get("text")) for out in kept_outputs]
    assert said == [
        ("stdout", "a\nb\n"), ("stderr", "w"), (None, None), ("stdout", "cd"), ("stderr", "xy"),
    ]  # fmt: skip


def test_widgets_leave_what_a_page_can_show():
    view = {outputs.WIDGET: {"model_id": "1f"}}
    with_figure = new_output("display_data", view | {"image/png": "AAAA", "text/plain": "slider"})
    alone = new_output("display_data", view)
    ((first, second),) = tidied([with_figure, alone])
    assert first.data == {"image/png": "AAAA", "text/plain": "slider"}
    assert "widget" in second.data["text/plain"] and len(second.data) == 1


def test_bars_that_widgets_draw_go_and_what_widgets_catch_stays():
    drawn = {outputs.WIDGET: {"model_id": "1f"}, "text/plain": "  0%|          | 0/3 [00:00<?]"}
    catching = {outputs.WIDGET: {"model_id": "2e"}, "text/plain": "Output()"}
    caught = [stream("within\n")]
    states = {"2e": {"state": {"outputs": caught}}, "1f": {"state": {}}}
    cell = new_code_cell("1", outputs=[new_output("display_data", d) for d in (drawn, catching)])
    notebook = new_notebook(cells=[cell])
    notebook.metadata["widgets"] = {outputs._STATES: {"state": states}}
    outputs.tidy(notebook)
    assert cell.outputs == caught


def test_random_ids_of_widgets_and_scripts_are_numbered():
    uuid, other = "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "4f2504e0-4f89-11d3-9a0c-0305e82c3301"
    widget = {
        outputs.WIDGET: {"model_id": "1f"},
        "text/plain": f"FigureWidget({{'uid': '{uuid}'}})",
    }
    script = {
        "application/javascript": f'run(document.getElementById("{other}"), "account {uuid}")'
    }
    ((first, second),) = tidied([new_output("display_data", data) for data in (widget, script)])
    assert (
        first.data["text/plain"] == "FigureWidget({'uid': '00000001-0000-4000-8000-000000000000'})"
    )
    assert 'getElementById("00000002-0000' in second.data["application/javascript"]
    plain = new_output("display_data", {"text/plain": f"{{'uid': '{uuid}'}}"})  # of the data
    (((same,),)) = tidied([plain])
    assert uuid in same.data["text/plain"]


def test_long_lines_take_no_long_time():
    begin = time.process_time()
    (((said,),)) = tidied([stream("x" * 3_000_000 + "\n" + "1" * 3_000_000)])
    assert len(said.text) == 6_000_001 and kept("\r" + "1" * 3_000_000 + "\n")
    assert time.process_time() - begin < 20  # the square of it would take hours


def test_addresses_and_places_of_cells_say_nothing():
    said = "<object at 0x7f3c2a1b4d60> /tmp/ipykernel_4711/1234.py:2: UserWarning: at 0x10\n"
    thread = "Exception in thread Thread-7 (work):\n"
    assert tidied([stream(thread)])[0][0].text == "Exception in thread Thread (work):\n"
    shown = new_output("execute_result", {"text/plain": "[<Line2D at 0x7f3c2a1b4d60>]"})
    ((first, second),) = tidied([stream(said), shown])
    assert first.text == "<object at 0x...> <cell>:2: UserWarning: at 0x10\n"
    assert second.data["text/plain"] == "[<Line2D at 0x...>]"


def test_errors_that_a_cell_is_meant_to_raise_lose_addresses():
    said = "no <object at 0x7f3c2a1b4d60>"
    error = new_output("error", ename="ValueError", evalue=said, traceback=["Cell In[1]", said])
    (((first,),)) = tidied([error])
    assert first.evalue == "no <object at 0x...>" == first.traceback[1]


def test_random_ids_are_numbered_and_other_text_is_left():
    uuid = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
    account = "aaaabbbb-0000-11d3-9a0c-0305e82c3301"  # of the data, which looks like an id
    table = f'<style>#T_3f2a1_row0_col0 {{}}</style><table id="T_3f2a1"><td>{account}</td></table>'
    chart = f'<div id="{uuid}"></div><script>plot("{uuid}")</script>'
    html = [new_output("display_data", {"text/html": text}) for text in (table, chart, table)]
    ((first, second, third),) = tidied(html)
    assert first.data["text/html"] == table.replace("T_3f2a1", "T_00001")
    assert second.data["text/html"] == chart.replace(uuid, "00000002-0000-4000-8000-000000000000")
    assert third.data == first.data
    named = '<table id="T_suspects"><td id="face">T_face0</td></table>'
    (((same,),)) = tidied([new_output("display_data", {"text/html": named})])
    assert same.data["text/html"] == named


def test_pages_show_figures_of_any_format(tmp_path):
    cells = [new_markdown_cell("# 1. Figures\n\nWhich?")]
    for kind, content in (("image/svg+xml", SVG), ("image/jpeg", "AAAA")):
        figure = new_output("display_data", {kind: content, "text/plain": "<Figure>"})
        cells.append(new_code_cell("plot", outputs=[figure], metadata={"tags": ["key-figure"]}))
    path = tmp_path / "01_figures.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    card = index._card(path)
    assert card["figure"].startswith("data:image/svg+xml;base64,")
    page = pages.notebook_page(nbformat.read(path, as_version=4), name="01_figures")
    assert page.count('alt="Figure: 1. Figures"') == 2 and "<script" not in page
    assert 'src="data:image/jpeg;base64,AAAA"' in page


CDN = "https://cdn.example.com/plot.js"
ACTIVE = {
    "script": ({"text/html": f'<div id="a"></div><script src="{CDN}"></script>'}, pages._STILL),
    "inline": ({"text/html": "<p>Total: 7</p><script>alert(1)</script>"}, "<p>Total: 7</p>"),
    "frame": ({"text/html": f'<iframe src="{CDN}"></iframe>', "text/plain": "IFrame"}, "IFrame"),
    "image": ({"text/html": f'<img src="{CDN}"/>', "text/plain": "Image"}, "Image"),
    "style": ({"text/html": f"<style>@import '{CDN}';</style><b>x</b>"}, "<b>x</b>"),
    "javascript": ({"application/javascript": f"load('{CDN}')"}, pages._STILL),
    "json": ({"application/vnd.plotly.v1+json": {"data": []}}, pages._STILL),
    "markdown": ({"text/markdown": f"![a]({CDN})"}, "(a figure elsewhere)"),
}


@pytest.mark.parametrize("kind", ACTIVE)
@pytest.mark.parametrize("with_figure", [False, True])
def test_pages_run_no_script_and_fetch_nothing(kind, with_figure):
    data, shown = ACTIVE[kind]
    data = data | ({"image/png": "AAAA"} if with_figure else {})
    cell = new_code_cell("1", outputs=[new_output("display_data", data)])
    notebook = new_notebook(cells=[cell, new_markdown_cell(f"![b]({CDN})")])
    page = pages.notebook_page(notebook, name="01_case")
    assert "<script" not in page and "<iframe" not in page
    assert not re.search(rf"""(src=|@import|url\()["' ]*{CDN}""", page)
    assert ("data:image/png;base64,AAAA" in page) == (with_figure and kind != "markdown")
    assert with_figure or shown in page
    assert cell.outputs[0].data == data  # the notebook keeps it


def test_templates_of_the_user_are_not_taken(tmp_path, monkeypatch):
    other = tmp_path / "nbconvert" / "templates" / "lab"
    other.mkdir(parents=True)
    (other / "index.html.j2").write_text("mine")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = new_notebook(cells=[new_code_cell("print(1)")])
    assert "jp-Notebook" in pages.notebook_page(notebook, name="01_case")


def test_kernels_take_no_settings_of_the_user(tmp_path, monkeypatch):
    settings = {
        "MPLBACKEND": "Agg", "MATPLOTLIBRC": "/home/somebody", "PYTHONSTARTUP": "/home/x/.pythonrc",
        "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "7", "PYTHONOPTIMIZE": "1",
        "PYTHONVERBOSE": "1", "PYTHONIOENCODING": "ascii", "COLUMNS": "40", "NO_COLOR": "1",
        "TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LC_NUMERIC": "de_DE",
        "IPYTHONDIR": "/home/somebody/.ipython", "SOURCE_DATE_EPOCH": "7",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    made = kernel.environment(tmp_path, GADKIT_OUT="out")
    assert made.items() >= kernel.FIXED.items() and made["MPLBACKEND"] == kernel.INLINE
    assert not {name for name, value in settings.items() if made.get(name) == value}
    assert made["OMP_NUM_THREADS"] == "3" and made["GADKIT_OUT"] == "out"
    assert made["PYTHONPATH"] == "/somewhere"
    assert (tmp_path / "matplotlibrc").samefile(made["MATPLOTLIBRC"])


def test_what_matplotlib_refuses_here_is_no_matter_to_kernels(tmp_path, monkeypatch):
    def refuse(name):
        raise ValueError("Key backend: 'nonsense' is not a valid value")

    monkeypatch.setattr(kernel.importlib, "import_module", refuse)
    assert kernel.environment(tmp_path)["MPLCONFIGDIR"] == str(tmp_path)


def test_kernels_are_reached_from_a_folder_with_a_long_name(tmp_path, monkeypatch):
    assert kernel.connection(Path("/tmp/gadkit1"))["transport"] == "ipc"
    long, folder = tmp_path / ("scratch" * 15), tmp_path / "notebooks"
    for place in (long, folder, tmp_path / "data"):
        place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), folder / "01_case.ipynb")
    (path,) = notebooks.run_notebooks(tmp_path / "data", notebooks=folder, out=tmp_path / "build")
    assert nbformat.read(path, 4).cells[0].outputs[0].data["text/plain"] == "2"


def test_kernels_are_of_this_interpreter_whatever_is_installed(tmp_path, monkeypatch):
    other = tmp_path / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "other"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    manager = kernel.manager_class(tmp_path)(kernel_name="python3")
    assert manager.kernel_spec.argv[0] == sys.executable


CELLS = [
    "import time\nfor k in range(4):\n    print('epoch', k)\n    time.sleep(0.08)",
    "import warnings\nfrom tqdm import tqdm\nfor k in tqdm(range(3)):\n"
    "    warnings.warn('half of the labels are gone')",
    "import logging\nlogging.warning('stage 1 did not converge')",
    "print({'ann', 'bob', 'eve', 'mallory', 'trent'}, object())",
    "import datetime, os, sys\n"
    "print(datetime.datetime.fromtimestamp(0), os.getcwd(), 'ü', sys.path)",
    "import pandas as pd\npd.DataFrame({'score': [0.9, 0.1]}).style.bar()",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "%config InlineBackend.figure_formats = ['svg']\nplt.plot([1, 2]);",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One notebook, executed by two users: its bytes, those of its page, and the notebook."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "data").mkdir()
    (folder / "notebooks").mkdir()
    cells = [new_markdown_cell("# 1. Case\n\nA case.", id="head")]
    cells += [new_code_cell(source, id=f"cell{k}") for k, source in enumerate(CELLS)]
    other = {"name": "of_another_editor", "display_name": "?", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": other})
    nbformat.write(notebook, folder / "notebooks" / "01_case.ipynb")
    (folder / "matplotlibrc").write_text("axes.xmargin: 0.3\nlines.solid_capstyle: butt\n")
    settings = {"MPLBACKEND": "Agg", "PYTHONHASHSEED": "7", "PYTHONWARNINGS": "ignore"}
    settings |= {"MATPLOTLIBRC": str(folder / "matplotlibrc"), "HOME": str(folder / "home")}
    settings |= {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "40"}
    startup = folder / "home" / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('of the user')")
    results = []
    for variables in ({}, settings):
        if variables:
            shutil.copy(folder / "matplotlibrc", folder / "notebooks")
        with pytest.MonkeyPatch.context() as patch:
            for name in settings:
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            options = {"notebooks": folder / "notebooks", "out": folder / "build", "force": True}
            (path,) = notebooks.run_notebooks(folder / "data", **options)
        page = (folder / "build" / "pages" / "01_case.html").read_bytes()
        results.append((path.read_bytes(), page, nbformat.read(path, as_version=4)))
    return results


def test_two_users_get_the_same_bytes(runs):
    (notebook, page, _), (other_notebook, other_page, _) = runs
    assert notebook == other_notebook
    assert page == other_page


def test_warnings_and_figures_reach_the_page(runs):
    notebook, page = runs[1][2], runs[1][1].decode()
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert [len(cell) for cell in cells] == [1] * 8
    assert cells[0][0].text == "".join(f"epoch {k}\n" for k in range(4))
    assert cells[1][0].name == "stderr" and "it/s" not in cells[1][0].text
    assert re.search(r"^<cell>:4: UserWarning: half of the labels are gone", cells[1][0].text)
    assert cells[2][0].text == "WARNING:root:stage 1 did not converge\n"
    assert "object at 0x..." in cells[3][0].text
    assert cells[4][0].text.startswith("1970-01-01 00:00:00 ")
    assert "image/png" in cells[6][0].data and "image/svg+xml" in cells[7][0].data
    for shown in ("half of the labels are gone", "did not converge", "data:image/png;base64"):
        assert shown in page
    assert "<script" not in page


def test_without_a_home_that_can_be_written_kernels_start(tmp_path):
    code = """
import tempfile, sys
from pathlib import Path
import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from gadkit.report import notebooks
folder = Path(sys.argv[1])
(folder / "data").mkdir()
cell = "import matplotlib.pyplot as plt\\nplt.plot([1, 2]);"
nbformat.write(new_notebook(cells=[new_code_cell(cell)]), folder / "01_case.ipynb")
path, = notebooks.run_notebooks(folder / "data", notebooks=folder, out=folder / "build")
print(*(output.output_type for output in nbformat.read(path, 4).cells[0].outputs))
"""
    hidden = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "IPYTHONDIR")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["HOME"] = "/dev/null"  # not even root can make a folder there
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["display_data"]  # a figure, and no word of where fonts lie
