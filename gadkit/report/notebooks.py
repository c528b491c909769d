"""Execute the notebooks headless, each only if something that it depends on has changed.

A notebook is executed again only if something it depends on changed: its cells, the package, the
kernels, the dataset, the interpreter and libraries, or a notebook before it (each reads what the
last one saved). What is compared are contents, never times of modification, so that a fresh
checkout, a copied dataset, or a generated one made again with the same seed counts as unchanged.

Everything under `out` is written to a temporary file first and renamed, the executed notebook
last: it carries the stamp, so an interrupted run never looks finished.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import gadkit
from gadkit import store
from gadkit.ops.timing import RESULTS
from gadkit.report import client, kernel, outputs, pages

ROOT = Path(gadkit.__file__).parents[1]
# Names, and patterns of them; the rest are results.
DATASET_INPUTS = [
    *store.raw_files(), store.GRAPH, store.ABOUT, store.IDS.format("*"), store.PLANTED,
]  # fmt: skip
# What the notebooks and their pages are made with, and all that it stands on. Only some of the
# names are installed at a time.
LIBRARIES = (
    "torch", "numpy", "numba", "matplotlib", "tqdm", "duckdb", "xlsxwriter", "pandas", "scipy",
    "scikit-learn", "xgboost", "xgboost-cpu", "ipykernel", "nbconvert",
)  # fmt: skip
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELL_TIMEOUT = 6 * 3600  # seconds; a guard against a kernel that hangs, not a limit on training
_SET_HERE = ("GADKIT_DATASET", "GADKIT_OUT")  # for the kernels, whatever they are outside
_NAME = re.compile(r"[\w.-]+")  # at the head of a requirement
NEEDS_LABELS = "needs-labels"  # tag of a notebook's parameters, where nothing is left without any


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message says which cell and why."""


def run_notebooks(
    dataset: Path,
    *,
    notebooks: Path | None = None,
    out: Path = Path("build"),
    force: bool = False,
    labelled: bool = True,
    why: str = "the dataset has none",
    log: Callable[[str], None] | None = None,
) -> list[Path]:
    """Execute the notebooks in the order of their numbers, each in a fresh kernel.

    The kernels find the dataset in the environment variable GADKIT_DATASET and the folder for
    other results in GADKIT_OUT (both absolute), and run in the folder of the notebooks.

    Args:
        dataset: the dataset folder.
        notebooks: folder of the notebooks `NN_*.ipynb`; by default the ones of this repository.
        out: receives notebooks/NN_*.ipynb (executed), pages/NN_*.html, and failed/ for the
            notebook that raised.
        force: execute even what is up to date.
        labelled: whether the dataset has labels enough to learn and to judge by; without, the
            notebooks that need some are skipped, and what an earlier run left of them is deleted.
        why: they are skipped, in words.
        log: receives a line for each notebook that is not executed; by default it goes to stdout.

    Returns:
        The executed notebooks, in order.

    Raises:
        FileNotFoundError: there is no such dataset folder, or there are no notebooks.
        NotebookError: a notebook cannot be read, or a cell raised, hung, or took its kernel down.
            Earlier results stay.
    """
    dataset, out = Path(dataset).resolve(), Path(out).resolve()
    if not dataset.is_dir():
        raise FileNotFoundError(f"there is no dataset folder {dataset}")
    sources = _sources(notebooks)
    cells = [_cells_of(source) for source in sources]  # all, before the first of them is executed
    log = log or _log
    executed = []
    stamp = _hash_surroundings(dataset)
    for number, source in enumerate(sources, start=1):
        label = f"[{number}/{len(sources)}] {source.stem}"
        stamp = _hash(stamp, cells[number - 1])
        target = out / "notebooks" / source.name
        if not labelled and _needs_labels(source):
            log(f"{label}  skipped: it needs labels, and {why}")
            for stale in (target, page_of(target), out / "failed" / source.name):
                stale.unlink(missing_ok=True)
            continue
        if not force and _is_up_to_date(target, dataset, stamp):
            log(f"{label}  unchanged, kept")
        else:
            _run_one(source, target, dataset=dataset, stamp=stamp, label=label)
        executed.append(target)
    return executed


def written_by(executed: Path) -> list[Path]:
    """Return the files that a notebook wrote into the folder of results when it was executed."""
    out = executed.parents[1]
    return [out / name for name in _mark_of(executed).get("wrote", {}).get("out", {})]


def needing_labels(notebooks: Path | None = None) -> list[Path]:
    """Return the notebooks whose parameters are tagged `needs-labels`, in order."""
    return [path for path in _sources(notebooks) if _needs_labels(path)]


def _sources(notebooks: Path | None) -> list[Path]:
    folder = Path(notebooks or ROOT / "notebooks").resolve()
    sources = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not sources:
        raise FileNotFoundError(f"{folder} holds no notebook named like NN_verb_object.ipynb")
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
        outputs.tidy(notebook)
        pages.write(failed, nbformat.writes(notebook))
        raise NotebookError(f"{source.stem}, {error}\n\nThe notebook so far: {failed}") from None
    outputs.tidy(notebook)
    wrote = sorted(path for path, _ in _list_results(dataset, out).items() - before.items())
    # By name, so that the same dataset in another place leaves the same bytes.
    digests = {
        key: {path.name: _hash_file(path) for path in wrote if path.parent == folder}
        for key, folder in (("dataset", dataset), ("out", out))
    }
    notebook.metadata["gadkit"] = {"stamp": stamp, "wrote": digests}
    failed.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in it, or it is not there
        failed.parent.rmdir()
    pages.write(page_of(target), pages.notebook_page(notebook, name=source.stem))
    pages.write(target, nbformat.writes(notebook))


def _execute(notebook, folder: Path, *, dataset: Path, out: Path, label: str) -> None:
    """Fill in the notebook's outputs, in a kernel that reads no settings of this user."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    with (
        tempfile.TemporaryDirectory(prefix="gadkit") as private,
        client.Progress(label, code) as bar,
    ):
        private = Path(private)
        runner = client.client_of(bar)(
            notebook,
            timeout=CELL_TIMEOUT,
            record_timing=False,
            kernel_name="python3",
            kernel_manager_class=kernel.manager_class(folder),
            config=Config({"KernelManager": kernel.connection(private)}),
            on_cell_execute=bar.enter_cell,
        )
        paths = dict(zip(_SET_HERE, (str(dataset), str(out)), strict=True))
        start = private if kernel.has_settings(folder) else folder
        surroundings = {"cwd": str(start), "env": kernel.environment(private, **paths)}
        said = private / "kernel.log"  # what the process says beside the outputs of its cells
        try:
            with said.open("wb") as log, runner.stoppable():
                runner.execute(**surroundings, stdout=log, stderr=log)
        except CellExecutionError:
            raise NotebookError(_explain(bar, "raised")) from None
        except CellTimeoutError:
            raise NotebookError(_explain(bar, f"ran for over {CELL_TIMEOUT} s")) from None
        except DeadKernelError:
            last = said.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            why = _explain(bar, "ended its kernel (out of memory?)")
            raise NotebookError("\n".join([why, *last])) from None


def _explain(bar: client.Progress, what: str) -> str:
    """Return the failing cell's number, its source and the last lines of its traceback."""
    from nbconvert.filters import strip_ansi

    errors = [output for output in bar.cell.outputs if output.output_type == "error"]
    trace = "\n".join(strip_ansi("\n".join(error.traceback)) for error in errors)
    if not errors:  # as of a magic that there is not, which is said on stderr alone
        trace = "".join(output.get("text", "") for output in bar.cell.outputs)[-2_000:]
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
    settings = sorted(item for item in os.environ.items() if item[0].startswith("GADKIT_"))
    settings = [f"{name}={value}" for name, value in settings if name not in _SET_HERE]
    return _hash(sys.version, *digests, *_libraries(), *settings)


def _libraries() -> list[str]:
    """Return name and version of each of the `LIBRARIES`, and of what they require."""
    versions, waiting = {}, set(LIBRARIES)
    while waiting:
        name = waiting.pop()
        versions[name] = ""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # an option, as a rule
            library = importlib.metadata.distribution(name)
            versions[name] = library.version
            lines = [line for line in library.requires or [] if "extra ==" not in line]
            waiting |= {_NAME.match(line)[0].lower().replace("_", "-") for line in lines}
            waiting -= set(versions)
    return [f"{name} {version}" for name, version in sorted(versions.items()) if version]


def _cells_of(source: Path) -> str:
    """Return what of a notebook is executed and shown, without outputs and editor's traces."""
    cells = _read_stripped(source).cells
    return json.dumps([(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in cells])


def _is_up_to_date(target: Path, dataset: Path, stamp: str) -> bool:
    if not (target.is_file() and page_of(target).is_file()):
        return False
    mark = _mark_of(target)
    if mark.get("stamp") != stamp:
        return False
    folders = {"dataset": dataset, "out": target.parents[1]}
    return all(
        (folders[key] / name).is_file() and _hash_file(folders[key] / name) == digest
        for key, digests in mark["wrote"].items()
        for name, digest in digests.items()
    )


def _mark_of(executed: Path) -> dict:
    """Return what `_run_one` has left in an executed notebook; empty if it is anything else."""
    try:
        mark = json.loads(executed.read_text(encoding="utf-8"))["metadata"].get("gadkit", {})
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged: it is executed again
        return {}
    return mark if isinstance(mark, dict) and isinstance(mark.get("wrote"), dict) else {}


def _list_results(*folders: Path) -> dict[Path, int]:
    """Return the time of modification (ns) of every file that stands directly in the folders."""
    files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return {path: path.stat().st_mtime_ns for path in files if path.is_file()}


def _read_stripped(source: Path):
    """Read a notebook without outputs and what editors leave: names of kernels, states of cells.

    Raises:
        NotebookError: it is none, or not of Python; the message says how to mend that.
    """
    import nbformat

    wrong = (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError)
    try:
        content = json.loads(source.read_text(encoding="utf-8-sig"))
        ids = _ids(content)
        notebook = nbformat.reads(json.dumps(content), as_version=4)
        language = _language(notebook)
        _strip(notebook, ids)
        nbformat.validate(notebook)
    except (*wrong, nbformat.ValidationError) as error:
        reason = str(error).strip().split("\n")[0]
        raise NotebookError(
            f"{source} is no notebook that can be read ({reason}); open it in JupyterLab and save "
            "it again, or restore it"
        ) from error
    if language != "python":
        raise NotebookError(
            f"{source} is of {language}, by the kernel that it was saved under, but gadkit runs "
            "Python; choose a Python kernel in JupyterLab and save it again"
        )
    return notebook


def _ids(content: dict) -> list[str]:
    """Number the cells of a notebook that lack an id of their own, which would get a random one."""
    cells, ids = content.get("cells", []), []
    for number, cell in enumerate(cells):
        known = cell.get("id")
        ids.append(known if known and known not in ids else f"cell-{number}")
        if (content.get("nbformat"), content.get("nbformat_minor", 0)) >= (4, 5):  # older have none
            cell["id"] = ids[-1]
    return ids


def _strip(notebook, ids: list[str]) -> None:
    """Take from a notebook what is not executed and shown, and give its cells their ids."""
    import nbformat

    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell.id = ids[number] if number < len(ids) else f"cell-{number}"  # of an old layout
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _language(notebook) -> str:
    """Return the language of a notebook, in lower case; Python where it does not say."""
    metadata = notebook.metadata
    said = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get(
        "name"
    )
    return str(said or "python").lower()


def page_of(executed: Path) -> Path:
    """Return the path of the page of an executed notebook, which the report copies."""
    return executed.parents[1] / "pages" / f"{executed.stem}.html"


def _log(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)
