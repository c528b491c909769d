"""The files that a table is made of: one, or a folder of parts as Spark and Hive write them."""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gadkit.store import packed

SUFFIXES = (*packed.TEXT, ".parquet")  # text also packed
CSV, JSON, PARQUET = "csv", "json", "parquet"

_PACKED = (".gz", ".bz2", ".xz", ".zip")
_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")
_DATABASES = (".db", ".sqlite", ".sqlite3", ".db3")
_CURES = {  # what makes a table that is read of a file that is not, by its suffix
    (".zst", ".zstd"): "is packed by zstd; unpack it with zstd -d",
    (".lz4",): "is packed by LZ4; unpack it with lz4 -d",
    (".z",): "is packed by compress; unpack it with uncompress",
    (".br",): "is packed by Brotli; unpack it with brotli -d",
    (".snappy",): "is packed by Snappy; unpack it, or write it with gzip",
    (".7z", ".rar"): "is an archive; unpack it, and name the table in it",
    (".tar", ".tgz"): "is an archive of tar; unpack it with tar -xf, and name the table in it",
    (".feather", ".arrow", ".ipc"): "is a file of Arrow; write it as Parquet with python -c "
    "\"import pandas; pandas.read_feather('NAME').to_parquet('events.parquet')\"",
    (".arrows",): "is a stream of Arrow; write it as Parquet",
    (".parq", ".pq"): "may be Parquet; let its name end in .parquet",
    (".dta",): "is a file of Stata; write it as CSV with python -c "
    "\"import pandas; pandas.read_stata('NAME').to_csv('events.csv', index=False)\"",
    (".sav", ".zsav", ".por"): "is a file of SPSS; save it as CSV, or with pandas.read_spss",
    (".sas7bdat", ".xpt"): "is a file of SAS; write it as CSV with python -c "
    "\"import pandas; pandas.read_sas('NAME').to_csv('events.csv', index=False)\"",
    (".rds", ".rda", ".rdata"): "is a file of R; write it as CSV with write.csv(table, "
    "'events.csv', row.names=FALSE)",
    (".pkl", ".pickle"): "is a pickle, which may run code when it is read, and so is not; write "
    "the table with to_csv('events.csv', index=False) or to_parquet",
    (".h5", ".hdf", ".hdf5"): "is a file of HDF5; write the table as CSV with pandas.read_hdf",
    (".avro",): "is a file of Avro; write it as CSV, JSON lines or Parquet",
    (".orc",): "is a file of ORC; write it as Parquet with python -c "
    "\"import pandas; pandas.read_orc('NAME').to_parquet('events.parquet')\"",
    (".duckdb",): "is a database of DuckDB; write the table with COPY table TO 'events.parquet'",
    (".sql",): "holds statements of SQL; load it into a database, and write the table as CSV",
    (".mdb", ".accdb"): "is a database of Access; export the table as text with commas",
    (".xml", ".html", ".htm"): "is HTML or XML; save it as CSV UTF-8",
    (".yaml", ".yml"): "is YAML; write it as CSV or JSON lines",
    (".npz", ".npy", ".mat"): "holds arrays and no table; write CSV or Parquet of named columns",
}
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
    _refuse_with_cure(place)
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
    _refuse_with_cure(path)
    if path.suffix.lower() == ".zip" or (path.is_file() and packed.is_zip(path)):
        name = Path(packed.name_in_zip(path))
    suffix = _suffix(name)
    if not suffix and name is path and path.is_file():
        return _kind_of_content(path)
    if suffix not in SUFFIXES:
        raise ValueError(
            f"a table ends in one of {', '.join(SUFFIXES)}, text also in one of "
            f"{', '.join(_PACKED)} after it; rename it"
        )
    if suffix == ".parquet" and name is not path:
        raise ValueError(f"holds {name.name}; Parquet is not read within a zip file: unpack it")
    if suffix == ".parquet":
        return PARQUET
    return JSON if suffix in (".jsonl", ".json", ".ndjson") else CSV


def _refuse_with_cure(path: Path) -> None:
    """Refuse a file that another program can make a table of, and say how."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith((".tar.gz", ".tar.bz2", ".tar.xz")):
        suffix = ".tar"
    if suffix in _DATABASES:
        raise ValueError(
            f"is a database; write the table with sqlite3 -csv -header {path.name} "
            "'SELECT * FROM orders' > orders.csv"
        )
    cure = next((cure for suffixes, cure in _CURES.items() if suffix in suffixes), None)
    if cure:
        raise ValueError(cure.replace("NAME", path.name))


def _suffix(path: Path) -> str:
    """Return the suffix in lower case, without that of a packed file after it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:-1] if suffixes[-1:] and suffixes[-1] in _PACKED else suffixes[-1:])
