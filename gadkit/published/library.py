"""Published data sets become dataset folders: download, check, extract, read and write.

`get` takes the files from the authors' servers, `add` from the user, and `convert_to` takes one
file as it lies there, whatever its name.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gadkit import published, store
from gadkit.graph import HeteroGraph
from gadkit.published import fetch, readers
from gadkit.published.layout import Converted
from gadkit.published.registry import KINDS, OWN, PUBLISHED, File, Published, entry_of
from gadkit.store import node_ids

DOWNLOADS = "downloads"  # folder beside the dataset folders; what the authors' servers sent
ORIGIN = "source.json"  # what a folder was converted from
FORMAT = 4  # of the conversion; to be raised when the same file gives another folder

SUFFIXES = {".mat": "care_gnn_mat", ".csv": "s_ffsd", ".npz": "npz"}  # and whose reader takes them
_USER_SUFFIXES = (".npz", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz")  # of a file in no data set


@dataclass(frozen=True)
class _Source:
    """What to convert: files with the entry of the registry each one is, or an extracted folder."""

    files: tuple[tuple[Path, File | None], ...] = ()
    folder: Path | None = None

    def origin(self) -> dict:
        """Return what tells this source from another one."""
        if self.folder is not None:
            return {"folder": str(self.folder.resolve())}
        return {"files": {_plain_name(path): fetch.checksum(path) for path, _ in self.files}}


def get(
    name: str,
    *,
    root: Path | str | None = None,
    progress: bool = True,
    positive: int | str | None = None,
) -> Path:
    """Download a published data set from its authors and convert it; what is there is kept.

    Args:
        name: one of `registry.PUBLISHED`.
        root: where folders go; by default data/ of this repository. The files as downloaded stay
            in `root/downloads/<name>/`.
        progress: show progress bars.
        positive: of a data set with classes, the one to take for the anomaly; by default the
            rarest.

    Returns:
        The dataset folder, `root/<name>`.

    Raises:
        ValueError: there is no such data set, it cannot be downloaded by a program, a file is not
            the published one, or the folder is there and holds something else.
        OSError: a server failed; the same call goes on from there.
    """
    entry, positive = _entry(name, positive)
    root = Path(root or published.DATA)
    if _is_there(root / name, {"dataset": name, "positive": positive}):
        return root / name
    if not entry.files:
        raise ValueError(
            f"{name} cannot be downloaded by a program. {entry.by_hand} Then: "
            f"gadkit data add {name} FILE"
        )
    source = _Source(
        tuple((_downloaded(entry, file, root, progress), file) for file in entry.files)
    )
    _convert(entry, source, root / name, positive, where=", ".join(f.url for f in entry.files))
    return root / name


def add(
    name: str,
    path: Path | str,
    *,
    root: Path | str | None = None,
    positive: int | str | None = None,
    as_name: str | None = None,
    unchecked: bool = False,
) -> Path:
    """Convert a published data set from a file or folder of the user, which stays as it is.

    Args:
        name: one of `registry.PUBLISHED`, or "npz" for a file in the import layout.
        path: the authors' file, an archive of theirs, or a folder with either or with what an
            archive was extracted to.
        root, positive: as for `get`.
        as_name: the dataset folder is `root/<as_name>`, by default `root/<name>`; for "npz" by
            default it is called like the file.
        unchecked: take a file whose checksum is not the published one.

    Returns:
        The dataset folder. One that was made from the same file is kept.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: as for `get`.
    """
    (entry, positive), path = _entry(name, positive), Path(path)
    if entry is OWN and path.is_file() and path.suffix.lower() not in _USER_SUFFIXES:
        raise ValueError(f"{path} is no .npz file, nor an archive of one")
    as_name = as_name or (path.stem if entry is OWN else name)
    if Path(as_name).name != as_name:
        raise ValueError(f"{as_name!r} must be the name of a folder, not a path")
    folder = Path(root or published.DATA) / as_name
    source = _local(entry, path)
    if not unchecked:
        _check_local(entry, source)
    made_from = {"dataset": name, "positive": positive} | source.origin()
    if not _is_there(folder, made_from):
        _convert(entry, source, folder, positive, where=path.name)
    return folder


def convert_to(folder: Path, path: Path) -> Path:
    """Convert a file to a folder, which is kept where it was made from the same file.

    Raises:
        ValueError: the folder holds something that was not converted from a file, or the content of
            the file does not fit.
    """
    made_from = {"file": path.name, "size": path.stat().st_size, "sha256": fetch.checksum(path)}
    origin = read_origin(folder)
    if not origin and not store.is_free(folder):
        raise ValueError(f"{folder} exists and was not converted from a file; rename it, or {path}")
    if not store.is_dataset(folder) or origin != made_from | {"format": FORMAT}:
        write(folder, lambda _: _read(path), made_from)
    return folder


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
    converted = readers.READERS[SUFFIXES[path.suffix.lower()]](path)
    converted.about = {"name": path.stem, "source": path.name} | converted.about
    return converted


def table(root: Path | str | None = None) -> list[list[str]]:
    """Return the rows of an overview: header, then name, nodes, edges, labels, here, license."""
    rows = [["name", "nodes", "edges", "labels", "here", "license"]]
    for entry in PUBLISHED.values():
        nodes, edges = (f"{sum(counts.values()):,}" for counts in (entry.nodes, entry.edges))
        here = "yes" if store.is_dataset(Path(root or published.DATA) / entry.name) else "no"
        rows.append([entry.name, nodes, edges, entry.kind, here, entry.license])
    return rows


def describe(name: str) -> list[list[str]]:
    """Return all that is known of a data set, as rows of a label and a text."""
    entry = entry_of(name)
    files = [f"{file.url} ({file.check or 'no checksum known'})" for file in entry.files]
    rows = [
        ["name", f"{entry.name}: {entry.title}"],
        ["what", entry.description],
        ["nodes", _listed(entry.nodes)],
        ["edges", _listed(entry.edges)],
        ["label 1", entry.labels],
        ["labels", f"{entry.kind}: {KINDS[entry.kind]}"],
        ["license", entry.license],
        ["cite", entry.citation],
        ["page", entry.page],
        *(["file", file] for file in files),
    ]
    return [*rows, ["by hand", entry.by_hand]] if entry.by_hand else rows


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _entry(name: str, positive: int | str | None) -> tuple[Published, int | str | None]:
    """Return a data set and its class, a number where it is one."""
    entry = entry_of(name)
    if positive is not None and not entry.has_classes:
        raise ValueError(
            f"{name} says itself what an anomaly is ({entry.labels}); no class can be chosen"
        )
    is_number = isinstance(positive, str) and positive.isdecimal()
    return entry, int(positive) if is_number else positive


def _is_there(folder: Path, made_from: dict) -> bool:
    """Whether a folder was made from this; anything else that is there is an error.

    What an older version made from the same, in another format, is to be replaced.
    """
    if store.is_free(folder):
        return False
    origin = read_origin(folder)
    if store.is_dataset(folder) and origin | made_from == origin:
        return origin.get("format") == FORMAT
    raise ValueError(
        f"{folder} is there and was not made from the same file in the same way: delete or rename "
        "it, or choose another folder with `gadkit data add ... --as FOLDER`"
    )


def _downloaded(entry: Published, file: File, root: Path, progress: bool) -> Path:
    path = root / DOWNLOADS / entry.name / file.name
    try:
        return fetch.download(file.url, path, check=file.check, progress=progress)
    except fetch.WrongChecksum as error:
        aside = path.with_name(path.name + fetch.WRONG)
        raise ValueError(f"{error}. {_unchecked_hint(entry, aside)}") from error


def _unchecked_hint(entry: Published, path: Path) -> str:
    return (
        "If its authors have changed it and you trust it: "
        f"gadkit data add {entry.name} {path} --unchecked"
    )


def _local(entry: Published, path: Path) -> _Source:
    if path.is_file():
        return _Source(((path, _published_file(entry, path)),))
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is neither a file nor a folder")
    places = {file: path / file.name for file in entry.files}
    missing = [file.name for file, place in places.items() if not place.is_file()]
    if len(missing) == len(places):  # not as downloaded, so as extracted
        return _Source(folder=path)
    if missing:
        raise ValueError(f"{path} holds a part of {entry.name}: {', '.join(missing)} is missing")
    return _Source(tuple((place, file) for file, place in places.items()))


def _published_file(entry: Published, path: Path) -> File | None:
    """Return which file of a data set this is: by its name, or the only one that ends like it."""
    name = _plain_name(path)
    for file in entry.files:
        if file.name == name:
            return file
    ends_alike = [file for file in entry.files if Path(file.name).suffix == Path(name).suffix]
    return ends_alike[0] if len(ends_alike) == len(entry.files) == 1 else None


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(fetch.WRONG)


def _check_local(entry: Published, source: _Source) -> None:
    for path, file in source.files:
        if file is not None and file.check is not None:
            try:
                fetch.verify(path, file.check)
            except fetch.WrongChecksum as error:
                raise ValueError(f"{error}. {_unchecked_hint(entry, path)}") from error


def _convert(
    entry: Published, source: _Source, folder: Path, positive: int | str | None, *, where: str
) -> None:
    """Make the dataset folder in one step; `where` is what about.json calls the source."""
    options = {} if positive is None else {"positive": positive}

    def read(work: Path) -> Converted:
        converted = readers.READERS[entry.reader](_content(source, work), **options)
        registered = _about(entry, converted.about, where)
        # What the registry says comes first, also in the order of the keys, and holds.
        converted.about = registered | converted.about | registered
        return converted

    write(folder, read, {"dataset": entry.name, "positive": positive} | source.origin())


def write(folder: Path, read: Callable[[Path], Converted], made_from: dict) -> None:
    """Make a dataset folder in one step; the one that is there is set aside, see `appearing`.

    Args:
        folder: what to make.
        read: called with a path to work at, which is removed afterwards; returns what to write.
        made_from: what is read; `read_origin` returns it, and the format of the conversion.
    """
    with store.appearing(folder, aside=True) as partial:
        converted = read(partial / "content")
        shutil.rmtree(partial / "content", ignore_errors=True)
        store.save_graph(partial, converted.graph)
        node_ids.save(partial, converted.ids)
        store.write_about(partial, converted.about)
        if converted.time is not None:
            store.save_time(partial, converted.graph, converted.time)
        if converted.masks is not None:
            store.save_masks(partial, converted.graph, converted.masks)
        store.write_json(partial / ORIGIN, made_from | {"format": FORMAT})


def read_origin(folder: Path) -> dict:
    """Read what `write` made a folder from; {} where it was made in another way."""
    path = folder / ORIGIN
    with store.errors_about(path):
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _content(source: _Source, folder: Path) -> Path:
    """Return what the reader reads: the one file, or a folder with all files extracted."""
    if source.folder is not None:
        return source.folder
    for path, file in source.files:
        name = _plain_name(path)
        if fetch.is_archive(name):
            fetch.extract(path, folder / f"{name}.d", only=file.only if file else "*")
        elif len(source.files) == 1 and name == path.name:
            return path  # so that messages name the user's own file
        else:
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to(path.resolve())
    return folder


def _about(entry: Published, read: dict, where: str) -> dict:
    """Return what the registry says of a data set; `read` is what its reader says."""
    if entry is OWN:
        return {"source": where}
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "source": where,
        "license": entry.license,
        "citation": entry.citation,
        "labels": {"meaning": entry.labels, "kind": entry.kind} | read.get("labels", {}),
    }
