"""The bytes of a text file as it lies: packed or not; and what is no text at all, by its name.

gzip, bzip2 and xz are unpacked, and a zip file with one table in it. How a file begins says what it
is, whatever it is called.
"""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

TEXT = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".ndjson", ".psv", ".tab", ".dat")  # suffixes
PARQUET_MAGIC = b"PAR1"

# What reading a damaged file raises, or a zip file with a password.
_DAMAGE = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError,
    NotImplementedError,
)  # fmt: skip
_DAMAGED = "not a readable gzip, bzip2, xz or zip file, or cut off"
_ZIP = b"PK\x03\x04"
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_WORKBOOK = "an Excel workbook; save the sheet as CSV UTF-8, and name that file"
_NO_TEXT = {
    b"\xd0\xcf\x11\xe0": _WORKBOOK,
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it with zstd -d",
    b"7z\xbc\xaf": "packed by 7-Zip; unpack it",
    b"Rar!": "packed by RAR; unpack it",
    PARQUET_MAGIC: "a Parquet file; let its name end in .parquet",
    b"SQLite format 3": "a database of SQLite; write the table with sqlite3 -csv -header",
    b"Obj\x01": "a file of Avro; write it as CSV, JSON lines or Parquet",
    b"ORC": "a file of ORC; write it as CSV, JSON lines or Parquet",
    b"ARROW1": "a file of Arrow; write it as CSV, JSON lines or Parquet",
    b"\x89HDF": "a file of HDF5; write it as CSV, JSON lines or Parquet",
    b"\xff\xff\xff\xff": "a stream of Arrow; write it as CSV, JSON lines or Parquet",
    b"FEA1": "a file of Feather; write it as CSV, JSON lines or Parquet",
    b"<stata_dta>": "a file of Stata; write it as CSV, JSON lines or Parquet",
    b"$FL2": "a file of SPSS; write it as CSV, JSON lines or Parquet",
    b"\x04\x22\x4d\x18": "packed by LZ4; unpack it with lz4 -d",
    b"\x1f\x9d": "packed by compress; unpack it with uncompress",
    b"\x80\x04\x95": "a pickle, which may run code; write it as CSV, JSON lines or Parquet",
    b"\x80\x05\x95": "a pickle, which may run code; write it as CSV, JSON lines or Parquet",
    b"RDX3": "a file of R; write it as CSV, JSON lines or Parquet",
    b"%PDF": "a PDF; write it as CSV, JSON lines or Parquet",
}
_TAR = (257, b"ustar")  # where it stands
_SHOWN = 100  # characters of a name


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip files do, whatever its name."""
    return beginning(path, len(_ZIP)) == _ZIP


def beginning(path: Path, size: int) -> bytes:
    """Return the first bytes of a file as it lies."""
    with open(path, "rb") as file:
        return file.read(size)


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, unpacked where it is packed.

    Raises:
        ValueError: it is damaged, no text, or a zip of several tables, or of none.
    """
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive, archive.open(_only_entry(archive)) as file:
                is_packed = file.peek(2)[:2] == b"\x1f\x8b"
                yield gzip.GzipFile(fileobj=file) if is_packed else file
            return
        head = beginning(path, _TAR[0] + len(_TAR[1]))
        unpack = next((opens for magic, opens in _OPENERS.items() if head.startswith(magic)), open)
        with unpack(path, "rb") as file:
            _refuse_no_text(file.peek(_TAR[0] + len(_TAR[1])))
            yield file
    except _DAMAGE as error:
        raise ValueError(f"{_DAMAGED}: {error}") from error


def _refuse_no_text(head: bytes) -> None:
    """Refuse what is no text, by how it begins."""
    what = next((what for magic, what in _NO_TEXT.items() if head.startswith(magic)), None)
    place, magic = _TAR
    if head[place : place + len(magic)] == magic:
        what = "an archive of tar; unpack it, and name the table in it"
    if what:
        raise ValueError(f"is {what}")


def name_in_zip(path: Path) -> str:
    """Return what the one table in a zip file is called.

    Raises:
        ValueError: as for `open_text`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return PurePosixPath(_only_entry(archive).filename).name
    except _DAMAGE as error:
        raise ValueError(f"{_DAMAGED}: {error}") from error


def _only_entry(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file of an archive, or the one that is called like a table.

    What macOS and Windows put beside it is none.
    """
    entries = [entry for entry in archive.infolist() if not _is_litter(entry)]
    if any(entry.filename == "[Content_Types].xml" for entry in entries):
        raise ValueError(f"is {_WORKBOOK}")
    called = [entry for entry in entries if _suffix(entry) in TEXT]
    if len(entries) != 1 and len(called) == 1:
        return called[0]
    if len(entries) != 1:
        names = ", ".join(entry.filename[:_SHOWN] for entry in entries[:5]) or "nothing"
        raise ValueError(
            f"a zip file must hold one table, but {len(entries)} files are in it: {names}; "
            "unpack it, and name the table, or a folder of parts of one table"
        )
    return entries[0]


def _suffix(entry: zipfile.ZipInfo) -> str:
    name = PurePosixPath(entry.filename.lower())
    return PurePosixPath(name.stem).suffix if name.suffix == ".gz" else name.suffix


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    return entry.is_dir() or path.name[:1] in ("", ".") or path.parts[0] == "__MACOSX"
