"""The files that a table is made of: one, or a folder of parts as Spark and Hive write them."""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gadkit.store import packed

SUFFIXES = (*packed.TEXT, ".parquet")  # text also packed
CSV, JSON, PARQUET = "csv", "json", "parquet"

_PACKED = (".gz", ".bz2", ".xz", ".zip")
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
_ARCHIVES = (".zst", ".7z", ".rar", ".tar", ".tgz")
_NOBODY = "__HIVE_DEFAULT_PARTITION__"
_OTHER_FORMATS = {"_delta_log": "Delta", "metadata/*.metadata.json": "Iceberg", ".hoodie": "Hudi"}


class Part(NamedTuple):
    """A file of a table.

    Attributes:
        path: where it is.
        name: its path within the folder, with /; "" for a table that is one file.
        partitions: columns that the names of its folders give, as `country=DE` does; None for
            nothing.
        kind: `CSV`, `JSON` or `PARQUET`.
    """

    path: Path
    name: str
    partitions: dict[str, str | None]
    kind: str


def parts_of(path: Path) -> list[Part]:
    """List the files of a table in the order of their names, numbers in them by size.

    In a folder, what begins with a dot or an underscore is no part, nor is an empty file.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: a file is of no known kind, or the parts of a folder are of several kinds.
    """
    if path.is_file():
        return [Part(path, "", {}, kind_of(path))]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is missing")
    for pattern, made_by in _OTHER_FORMATS.items():
        if next(path.glob(pattern), None):
            raise ValueError(
                f"is a table of {made_by}, of which some files may be out of date; write it as "
                "plain Parquet, or unload it to CSV"
            )
    places = sorted(
        (place for place in path.rglob("*") if _is_part(place, path)),
        key=lambda place: _order(place.relative_to(path)),
    )
    if not places:
        raise ValueError("is a folder without a table in it; expected parts such as part-00000.csv")
    return _of_one_kind([_part(place, path) for place in places])


def _is_part(place: Path, folder: Path) -> bool:
    names = place.relative_to(folder).parts
    is_hidden = any(name[0] in "._" and not _partition(name) for name in names)
    is_list = place.name.endswith("manifest")  # Redshift lists what it has unloaded
    return not is_hidden and not is_list and place.is_file() and place.stat().st_size > 0


def _order(place: Path) -> tuple[list, str]:
    """Sort part-10 after part-9."""
    name = place.as_posix()
    texts = re.split(r"(\d+)", name)
    return [(int(text), "") if k % 2 else (0, text) for k, text in enumerate(texts)], name


def _part(place: Path, folder: Path) -> Part:
    relative = place.relative_to(folder)
    named = dict(filter(None, map(_partition, relative.parts[:-1])))
    return Part(place, relative.as_posix(), named, _kind_in_folder(place))


def _partition(name: str) -> tuple[str, str | None] | None:
    """Read the name of a folder as Hive has it, `column=value`; None where it is not so."""
    column, equals, value = name.partition("=")
    if not column or not equals:
        return None
    return unquote(column), None if value == _NOBODY else unquote(value)


def _kind_in_folder(place: Path) -> str:
    """Return the kind of a part, whose name may have no suffix, as those of Hive."""
    suffix = _suffix(place)
    if suffix and suffix not in SUFFIXES and not re.fullmatch(r"\.[\d-]+", suffix):
        raise ValueError(
            f"{place.name!r} in it is no table: parts end in one of {', '.join(SUFFIXES)}, or in "
            "nothing; move it away, or name one file"
        )
    return kind_of(place) if suffix in SUFFIXES else _kind_of_content(place)


def _kind_of_content(path: Path) -> str:
    if packed.beginning(path, len(packed.PARQUET_MAGIC)) == packed.PARQUET_MAGIC:
        return PARQUET
    with packed.open_text(path) as file:
        return JSON if file.read(1) == b"{" else CSV


def _of_one_kind(parts: list[Part]) -> list[Part]:
    first = parts[0]
    other = next((part for part in parts if part.kind != first.kind), None)
    if other:
        raise ValueError(
            f"holds files of several kinds, such as {first.name} and {other.name}; a folder must "
            "hold the parts of one table: name one file, or move the others away"
        )
    return parts


def kind_of(path: Path) -> str:
    """Return the kind of a file by its suffix, of a zip file by that of what is in it.

    A name without a suffix, as databases give to what they unload, says nothing; the content does.

    Raises:
        ValueError: there is no such kind.
    """
    name = path
    if path.suffix.lower() in _WORKBOOKS:
        raise ValueError("is a workbook; save the sheet as CSV UTF-8, and name that file")
    if path.suffix.lower() == ".zip" or (path.is_file() and packed.is_zip(path)):
        name = Path(packed.name_in_zip(path))
    suffix = _suffix(name)
    if not suffix and name is path and path.is_file():
        return _kind_of_content(path)
    if suffix not in SUFFIXES:
        raise ValueError(
            f"a table ends in one of {', '.join(SUFFIXES)}, text also in one of "
            f"{', '.join(_PACKED)} after it; rename it{_hint(path)}"
        )
    if suffix == ".parquet" and name is not path:
        raise ValueError(f"holds {name.name}; Parquet is not read within a zip file: unpack it")
    if suffix == ".parquet":
        return PARQUET
    return JSON if suffix in (".jsonl", ".json", ".ndjson") else CSV


def _hint(path: Path) -> str:
    return ", once it is unpacked" if path.suffix.lower() in _ARCHIVES else ""


def _suffix(path: Path) -> str:
    """Return the suffix in lower case, without that of a packed file after it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:-1] if suffixes[-1:] and suffixes[-1] in _PACKED else suffixes[-1:])
