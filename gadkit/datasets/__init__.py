"""What a dataset name, folder or file means, and how published fraud graphs become dataset folders.

The authors' files are read by `readers`, as arrays made a graph by `layout`. A file is converted
where the user has put it; `registry` knows the published ones, `library` gets them by `fetch`.
"""

import hashlib
import os
from pathlib import Path

from gadkit import store
from gadkit.datasets import marketplace
from gadkit.graph import HeteroGraph
from gadkit.published import library, readers
from gadkit.published.layout import Converted
from gadkit.published.library import DATA, FORMAT, add, get
from gadkit.published.registry import PUBLISHED

__all__ = [
    "DATA",
    "PUBLISHED",
    "add",
    "convert",
    "get",
    "open_dataset",
    "planted_names",
    "prepare",
]

_SUFFIXES = {".mat": "care_gnn_mat", ".csv": "s_ffsd", ".npz": "npz"}  # whose reader takes a file


def open_dataset() -> Path:
    """Prepare what the environment variable GADKIT_DATASET names, "demo" by default."""
    return prepare(os.environ.get("GADKIT_DATASET", "demo"))


def prepare(source: str | Path, *, root: Path | str | None = None, progress: bool = True) -> Path:
    """Make a dataset ready for `store.load_graph`; what is there already is not made again.

    Args:
        source: "small", "demo" or "full" (a generated marketplace), a dataset folder or its name
            under `root`, or a file to convert (.mat, .csv or .npz, see `convert`).
        root: where new folders go; by default data/ of this repository.
        progress: show a progress bar while generating.

    Returns:
        The dataset folder. A converted file gets the folder `root/<stem>`; when the file has
        changed, the folder made from the old one is set aside as `<stem>.old1` and so on, with all
        that was trained on it.

    Raises:
        ValueError: `source` is none of these, or its content is not what it should be.
    """
    root, path = Path(root or DATA), Path(source)
    if str(source) in marketplace.SIZES:
        return _generated(root / path, progress)
    for folder in (path, root / path):
        if store.is_dataset(folder):
            return folder
    if path.is_file() and path.suffix.lower() in _SUFFIXES:
        if path.stem in marketplace.SIZES:
            raise ValueError(
                f"{path} would take the name of the generated {path.stem!r}; rename it"
            )
        return _converted(path, root / path.stem)
    if str(source) in PUBLISHED:
        raise ValueError(f"{source} is published but not here: gadkit data get {source}")
    raise ValueError(
        f"{str(source)!r} is no dataset; expected {', '.join(marketplace.SIZES)} (generated), "
        f"a folder holding {store.COUNTS} or {store.GRAPH}, here or under {root}, "
        f"or a file ending in {', '.join(_SUFFIXES)}; a table of events comes in by gadkit ingest"
    )


def _generated(folder: Path, progress: bool) -> Path:
    if not store.is_dataset(folder):
        marketplace.generate(folder, size=folder.name, progress=progress)
    return folder


def _converted(path: Path, folder: Path) -> Path:
    made_from = _origin_of(path)
    origin = library.read_origin(folder)
    if not origin and not store.is_free(folder):
        raise ValueError(f"{folder} exists and was not converted from a file; rename it, or {path}")
    if not store.is_dataset(folder) or origin != made_from | {"format": FORMAT}:
        library.write(folder, lambda _: _read(path), made_from)
    return folder


def _origin_of(path: Path) -> dict:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "size": path.stat().st_size, "sha256": digest}


def convert(path: Path | str) -> HeteroGraph:
    """Read a published file as a graph; features from `structural_features` are joined to its own.

    Args:
        path: YelpChi.mat or an .npz with the same relations (users, reviews, products); S-FFSD.csv
            or an .npz with its columns (transactions and four entity types); or any .npz in
            gadkit's import layout, which another .mat with `net_*` matrices is read as.

    Raises:
        ValueError: the content does not fit; the message names file and array.
    """
    return _read(Path(path)).graph


def _read(path: Path) -> Converted:
    converted = readers.READERS[_SUFFIXES[path.suffix.lower()]](path)
    converted.about = {"name": path.stem, "source": path.name} | converted.about
    return converted


def planted_names(folder: Path | str) -> list[str] | None:
    """Return what each node of a generated marketplace really is, by global id; None elsewhere."""
    if not (Path(folder) / marketplace.PLANTED).is_file():
        return None
    planted = marketplace.load_planted(folder)
    return [planted.kind_names[kind] for kind in planted.kind]
