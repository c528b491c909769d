"""Execute the notebooks headless and gather them into one page.

A notebook is executed again only if something it depends on changed: its cells, the package, the
kernels, the dataset, the interpreter and libraries, or a notebook before it (each reads what the
last one saved). What is compared are contents, never times of modification, so that a fresh
checkout, a copied dataset, or a generated one made again with the same seed counts as unchanged.

Everything under `out` is written to a temporary file first and renamed, the executed notebook
last: it carries the stamp, so an interrupted run never looks finished.
"""

import asyncio
import csv
import hashlib
import importlib.metadata
import itertools
import json
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import gadkit
from gadkit import __version__, store
from gadkit.explain import cases
from gadkit.ops.timing import RESULTS
from gadkit.report import suspects

ROOT = Path(gadkit.__file__).parents[1]
# Names, and patterns of them; the rest are results.
DATASET_INPUTS = [
    *store.raw_files(), store.GRAPH, store.ABOUT, store.IDS.format("*"), store.PLANTED,
]  # fmt: skip
LIBRARIES = ("torch", "numpy", "numba", "matplotlib", "pandas", "scikit-learn")
CELL_TIMEOUT = 6 * 3600  # seconds; a guard against a kernel that hangs, not a limit on training
SUSPECTS_SHOWN = 20
EXPLAINED = "07_explain_suspects"  # the notebook that leaves case cards
NEEDS_LABELS = "needs-labels"  # tag of a notebook's parameters, where nothing is left without any
SUMMARY_TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td"}
SUMMARY_TAGS |= {"p", "ul", "ol", "li", "strong", "b", "em", "i", "code", "pre", "br"}

# JupyterLab's own look, less the scripts it would fetch from elsewhere (require.js, MathJax,
# Mermaid), with the figures' alt texts, which that template ignores, and links between the pages.
PAGE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block body_header -%}{{ super() }}
<p style="margin: 1rem; font: 14px sans-serif">
<a href="index.html">&larr; All notebooks</a></p>{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output"><img
 alt="{{ output | get_metadata('alt', 'image/png') | escape_html_keep_quotes }}"
 src="data:image/png;base64,{{ output.data['image/png'] }}"></div>{%- endblock -%}
"""


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message says which cell and why."""


def run_notebooks(
    dataset: Path,
    *,
    notebooks: Path | None = None,
    out: Path = Path("build"),
    force: bool = False,
    labelled: bool = True,
    log: Callable[[str], None] | None = None,
) -> list[Path]:
    """Execute the notebooks in the order of their numbers, each in a fresh kernel.

    The kernels find the dataset in the environment variable GADKIT_DATASET and the folder for
    other results in GADKIT_OUT (both absolute), and run in the folder of the notebooks.

    Args:
        dataset: the dataset folder.
        notebooks: folder of the notebooks `NN_*.ipynb`; by default the ones of this repository.
        out: receives notebooks/NN_*.ipynb (executed), report/NN_*.html, and failed/ for the
            notebook that raised.
        force: execute even what is up to date.
        labelled: whether the dataset has labels; without, the notebooks that need some are skipped,
            and what an earlier run left of them is deleted.
        log: receives a line for each notebook that is not executed; by default it goes to stdout.

    Returns:
        The executed notebooks, in order.

    Raises:
        FileNotFoundError: there is no such dataset folder, or there are no notebooks.
        NotebookError: a cell raised, hung, or took its kernel down. Earlier results stay.
    """
    dataset, out = Path(dataset).resolve(), Path(out).resolve()
    if not dataset.is_dir():
        raise FileNotFoundError(f"there is no dataset folder {dataset}")
    sources = _sources(notebooks)
    log = log or _log
    executed = []
    stamp = _hash_surroundings(dataset)
    for number, source in enumerate(sources, start=1):
        label = f"[{number}/{len(sources)}] {source.stem}"
        stamp = _hash(stamp, _cells_of(source))
        target = out / "notebooks" / source.name
        if not labelled and _needs_labels(source):
            log(f"{label}  skipped: it needs labels, and the dataset has none")
            for stale in (target, _page_of(target), out / "failed" / source.name):
                stale.unlink(missing_ok=True)
            continue
        if not force and _is_up_to_date(target, _page_of(target), stamp):
            log(f"{label}  unchanged, kept")
        else:
            _run_one(source, target, dataset=dataset, stamp=stamp, label=label)
        executed.append(target)
    return executed


def needing_labels(notebooks: Path | None = None) -> list[Path]:
    """Return the notebooks whose parameters are tagged `needs-labels`, in order."""
    return [path for path in _sources(notebooks) if _needs_labels(path)]


def write_index(
    out: Path, executed: Sequence[Path], *, dataset: str, skipped: Sequence[Path] = ()
) -> Path:
    """Write out/report/index.html: the suspects, and a card for each executed notebook.

    A card shows the notebook's first heading, the sentence under it, the figure of the cell tagged
    `key-figure` (else the first figure), and the output of the cell tagged `summary` (an HTML
    table, Markdown or text). The suspects are the first rows of out/suspects.csv, if that exists;
    where its column of scores says that no label was used, so does the page. Beside it stands
    cases.html, if the notebook that makes case cards was executed. The pages need no other file and
    no network, and are the same for the same results.

    Args:
        out: the folder given to `run_notebooks`.
        executed: executed notebooks, in the order of the page.
        dataset: its name, the title of the page.
        skipped: notebooks that were not executed, for want of labels.

    Returns:
        The page's path.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    cards = [_card(path) for path in executed]
    cards += [_card(path) | {"skipped": True} for path in skipped]
    page = environment.get_template("report.html").render(
        dataset=dataset,
        cards=sorted(cards, key=lambda card: card["name"]),
        executed=[Path(path).stem for path in executed],
        suspects=_read_suspects(Path(out) / "suspects.csv"),
        num_cases=_write_cases(Path(out), executed, dataset),
        version=__version__,
    )
    return _write(Path(out) / "report" / "index.html", page)


def _write_cases(out: Path, executed: Sequence[Path], dataset: str) -> int:
    """Write out/report/cases.html, or delete it where nobody made cards; return their number."""
    page = out / "report" / "cases.html"
    if all(Path(path).stem != EXPLAINED for path in executed) or not (out / cases.FILE).is_file():
        page.unlink(missing_ok=True)
        return 0
    cards = cases.load(out / cases.FILE)
    _write(page, cases.page(cards, dataset=dataset, back="index.html"))
    return len(cards)


def _sources(notebooks: Path | None) -> list[Path]:
    folder = Path(notebooks or ROOT / "notebooks").resolve()
    sources = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not sources:
        raise FileNotFoundError(f"{folder} holds no notebook named like 01_explore_data.ipynb")
    return sources


def _needs_labels(source: Path) -> bool:
    cells = _read_stripped(source).cells
    return any(NEEDS_LABELS in cell.metadata.get("tags", []) for cell in cells)


def _run_one(source: Path, target: Path, *, dataset: Path, stamp: str, label: str) -> None:
    """Execute one notebook and write it, or its partial copy and a NotebookError."""
    import nbformat

    out = target.parents[1]
    failed = out / "failed" / source.name
    notebook = _read_stripped(source)
    before = _list_results(dataset, out)
    try:
        _execute(notebook, source.parent, dataset=dataset, out=out, label=label)
    except NotebookError as error:
        _write(failed, nbformat.writes(notebook))
        raise NotebookError(f"{source.stem}, {error}\n\nThe notebook so far: {failed}") from None
    wrote = sorted(path for path, _ in _list_results(dataset, out).items() - before.items())
    digests = {path: _hash_file(Path(path)) for path in wrote}
    notebook.metadata["gadkit"] = {"stamp": stamp, "wrote": digests}
    failed.unlink(missing_ok=True)
    _write(_page_of(target), _as_html(notebook, name=source.stem))
    _write(target, nbformat.writes(notebook))


def _execute(notebook, folder: Path, *, dataset: Path, out: Path, label: str) -> None:
    """Fill in the notebook's outputs, in a kernel that reads no settings of this user."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    # A short folder, for the name of a Unix socket may not exceed some 100 bytes.
    with tempfile.TemporaryDirectory(prefix="gadkit") as private, _Progress(label, code) as bar:
        connection = {"transport": "ipc", "connection_file": os.path.join(private, "kernel.json")}
        client = _client_of(bar)(
            notebook,
            timeout=CELL_TIMEOUT,
            record_timing=False,
            config=Config({"KernelManager": connection}),
            on_cell_start=_heed_interrupts,
            on_cell_execute=bar.enter_cell,
        )
        paths = {"GADKIT_DATASET": str(dataset), "GADKIT_OUT": str(out), "IPYTHONDIR": private}
        try:
            client.execute(cwd=str(folder), env={**os.environ, **paths})
        except CellExecutionError:
            raise NotebookError(_explain(bar, "raised")) from None
        except CellTimeoutError:
            raise NotebookError(_explain(bar, f"ran for over {CELL_TIMEOUT} s")) from None
        except DeadKernelError:
            raise NotebookError(_explain(bar, "ended its kernel (out of memory?)")) from None


def _client_of(bar: "_Progress") -> type:
    """Return a client that shows what cells say of their progress, and keeps it from the results.

    Progress bars write to stderr, and tell the time: no two runs would leave the same bytes.
    """
    from nbclient import NotebookClient

    class Client(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] == "stream" and msg["content"]["name"] == "stderr":
                bar.note(msg["content"]["text"])
                return None
            return super().process_message(msg, cell, cell_index)

    return Client


def _heed_interrupts(**_) -> None:
    """Let Ctrl-C raise KeyboardInterrupt; nbclient would end the kernel and fail on its absence."""
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


class _Progress:
    """A bar over the code cells of one notebook, whose clock goes on while a cell runs."""

    def __init__(self, label: str, cells: list):
        from tqdm import tqdm

        self.cells = cells
        self.bar = tqdm(
            total=len(cells),
            desc=label,
            bar_format="{desc}  cell {n_fmt}/{total_fmt} |{bar:20}| {elapsed_s:.0f} s{postfix}",
        )
        self.done = threading.Event()
        self.clock = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        # Where the output is kept in a file, each refresh adds to it.
        while not self.done.wait(1 if sys.stderr.isatty() else 30):
            self.bar.refresh()

    def enter_cell(self, cell, cell_index: int) -> None:
        self.bar.n += 1
        self.bar.set_postfix_str("")

    def note(self, text: str) -> None:
        """Show the last line that a cell wrote about its progress."""
        lines = text.replace("\r", "\n").split("\n")
        said = [" ".join(line.split()) for line in lines if line.strip()]
        if said:
            self.bar.set_postfix_str(said[-1], refresh=sys.stderr.isatty())

    @property
    def cell(self):
        return self.cells[max(self.bar.n, 1) - 1]

    def __enter__(self) -> "_Progress":
        self.clock.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.clock.join()
        self.bar.close()


def _explain(bar: _Progress, what: str) -> str:
    """Return the failing cell's number, its source and the last lines of its traceback."""
    from nbconvert.filters import strip_ansi

    errors = [output for output in bar.cell.outputs if output.output_type == "error"]
    trace = "\n".join(strip_ansi("\n".join(error.traceback)) for error in errors)
    source = "\n".join(f"    {line}" for line in bar.cell.source.splitlines())
    lines = [f"code cell {bar.bar.n} of {len(bar.cells)} {what}:", "", source, ""]
    return "\n".join(lines + trace.rstrip().splitlines()[-15:]).rstrip()


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_surroundings(dataset: Path) -> str:
    """Hash what all notebooks depend on: dataset, package, kernels, libraries, settings, and the
    committed results, which one of them shows."""
    package = Path(gadkit.__file__).parent
    files = [path for name in DATASET_INPUTS for path in dataset.glob(name)]
    files += [*package.rglob("*.py"), *(ROOT / "kernels").glob("*"), *RESULTS.glob("*.json")]
    digests = []
    for path in sorted(path for path in files if path.is_file()):
        digests.append(f"{path.name} {_hash_file(path)}")
    libraries = [importlib.metadata.version(name) for name in LIBRARIES]
    settings = sorted(item for item in os.environ.items() if item[0].startswith("GADKIT_"))
    return _hash(str(dataset), sys.version, *digests, *libraries, *map("=".join, settings))


def _cells_of(source: Path) -> str:
    """Return what of a notebook is executed and shown, without outputs and editor's traces."""
    cells = _read_stripped(source).cells
    return json.dumps([(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in cells])


def _is_up_to_date(target: Path, page: Path, stamp: str) -> bool:
    if not (target.is_file() and page.is_file()):
        return False
    mark = json.loads(target.read_text(encoding="utf-8"))["metadata"].get("gadkit", {})
    if mark.get("stamp") != stamp:
        return False
    wrote = {Path(path): digest for path, digest in mark["wrote"].items()}
    return all(path.is_file() and _hash_file(path) == digest for path, digest in wrote.items())


def _list_results(*folders: Path) -> dict[str, int]:
    """Return the time of modification (ns) of every file that stands directly in the folders."""
    files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


def _read_stripped(source: Path):
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _page_of(target: Path) -> Path:
    return target.parents[1] / "report" / f"{target.stem}.html"


def _as_html(notebook, *, name: str) -> str:
    """Render an executed notebook as one page without scripts or external addresses."""
    from nbconvert import HTMLExporter

    heading = name
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = _first_match(r"^#+ +(.+)$", cell.source) or heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata["image/png"] = {"alt": f"Figure: {heading}"}
    resources = {"metadata": {"name": name}}
    return HTMLExporter(raw_template=PAGE).from_notebook_node(notebook, resources=resources)[0]


def _card(path: Path) -> dict:
    """Return what the page shows of one executed notebook."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heading = _first_match(r"^# +(.+)$", text) or path.stem
    number, title = re.fullmatch(r"(?:(\d+)\. +)?(.*)", heading).groups()
    paragraph = _first_match(r"\A\s*# .+\n+([^#\n](?:.|\n(?!\n))*)", text) or ""
    figures = _figures(_outputs(cells, "key-figure")) or _figures(_outputs(cells))
    return {
        "name": path.stem,
        "skipped": False,
        "number": number,
        "title": title,
        "question": " ".join(paragraph.split()),
        "figure": figures[0] if figures else None,
        "numbers": _numbers(_outputs(cells, "summary")),
    }


def _first_match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, flags=re.MULTILINE)
    return found.group(1).strip() if found else None


def _outputs(cells: Sequence, tag: str | None = None) -> list[dict]:
    """Return the output of the cells with a tag, or of all, as dicts from MIME type to content."""
    tagged = [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]
    outputs = [output for cell in tagged for output in cell.get("outputs", [])]
    return [output.get("data", {"text/plain": output.get("text", "")}) for output in outputs]


def _figures(outputs: Sequence[dict]) -> list[str]:
    return [data["image/png"].replace("\n", "") for data in outputs if "image/png" in data]


def _numbers(outputs: Sequence[dict]) -> str:
    """Return outputs as HTML that is known to hold text and tables only."""
    import bleach
    from markupsafe import Markup
    from nbconvert.filters import markdown2html

    html = ""
    for data in outputs:
        if "text/html" in data:
            html += re.sub(r"(?s)<style.*?</style>", "", data["text/html"])
        elif "text/markdown" in data:
            html += markdown2html(data["text/markdown"])
        elif "image/png" not in data:
            html += f"<pre>{bleach.clean(data['text/plain'], tags=[])}</pre>"
    html = re.sub(r'style="text-align: *right;?"', 'class="numeric"', html)
    attributes = ["class", "colspan", "rowspan", "scope"]
    return Markup(bleach.clean(html, tags=SUMMARY_TAGS, attributes=attributes, strip=True).strip())


def _read_suspects(path: Path) -> dict:
    """Return the first suspects as text, in columns of numbers and others.

    Cases that the model has learned from are passed over: nobody need look at them.
    """
    if not path.is_file():
        return {"columns": [], "rows": [], "href": "", "filtered": False, "unlabelled": False}
    with path.open(newline="", encoding="utf-8") as file:
        names, *first = itertools.islice(csv.reader(file), SUSPECTS_SHOWN + 1)
        at = names.index(suspects.LEARNED) if suspects.LEARNED in names else None
        if at is not None:
            rest = (row for row in itertools.chain(first, csv.reader(file)) if row[at] != "1")
            first = [*itertools.islice(rest, SUSPECTS_SHOWN)]
    unlabelled = suspects.UNLABELLED_SCORE in names
    keep = [i for i, name in enumerate(names) if i != at and not (unlabelled and name == "label")]
    names, rows = [names[i] for i in keep], [[row[i] for i in keep] for row in first]
    columns = [
        {"name": name.replace("_", " "), "numeric": all(_is_number(row[i]) for row in rows)}
        for i, name in enumerate(names)
    ]
    scores = [name in (suspects.SCORE, suspects.UNLABELLED_SCORE) for name in names]
    rows = [
        [_shorten(value) if score else value for value, score in zip(row, scores, strict=True)]
        for row in rows
    ]
    return {
        "columns": columns,
        "rows": rows,
        "href": f"../{path.name}",
        "filtered": at is not None,
        "unlabelled": unlabelled,
    }


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text) is not None


def _shorten(text: str) -> str:
    """Round a number with many decimals such that a column of them lines up."""
    return f"{float(text):.6f}" if re.fullmatch(r"-?\d+\.\d{7,}", text) else text


def _log(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)


def _write(path: Path, text: str) -> Path:
    with store.atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
