"""What a table looks like before it is read: its files, the columns of each, its first rows."""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gadkit import store
from gadkit.store import layouts, lines, objects, packed, parts
from gadkit.store.layouts import Layout, Seen
from gadkit.store.parts import CSV, JSON, PARQUET, Part

_HEAD = 1 << 20  # bytes looked at to find the header or the keys
_NAMED = 50  # characters kept of the name of a column
_BARE = 64  # bytes that tell UTF-16
_SHARE_FOREIGN = 0.01  # of the first lines that are no UTF-8, before another encoding is guessed
_SQL_SHOWN = 60  # characters of a statement
_SQL = re.compile(r"\s*(INSERT\s+INTO|CREATE\s+TABLE|DROP\s+TABLE|COPY\s+\S+\s*\()", re.IGNORECASE)
_MARKUP = re.compile(r"\s*<(!doctype|html|head|body|table|meta|\?xml)\b", re.IGNORECASE)


class File(NamedTuple):
    """A file of a table, its columns (without those of its folders), and what text looks like."""

    part: Part
    columns: list[str]
    seen: Seen | None = None

    def name_of(self, column: str) -> str | None:
        """Return what a column of the whole table is called in this file; None if it has none."""
        alike = (name for name in self.columns if name.lower() == column.lower())
        return column if column in self.columns else next(alike, None)


def understand(
    path: Path, layout: Layout, parquet_columns: Callable[[list[Part]], list[list[str]]]
) -> list[File]:
    """See what the files of a table are; those without content are left out.

    Args:
        path: a file, or a folder of parts.
        layout: what is known of it.
        parquet_columns: says what the columns of Parquet files are.

    Raises:
        FileNotFoundError, ValueError: as for `tables.columns_of`.
    """
    layout.check()
    files = parts.parts_of(path)
    kind = files[0].kind
    if kind != CSV and layout.said():
        raise ValueError(f"{layout.said()[0]} is for text with delimiters; this is {kind}")
    if kind == PARQUET:
        understood = list(map(File, files, parquet_columns(files)))
    elif kind == JSON:
        understood = [File(part, _json_keys(part, layout)) for part in files]
    else:
        understood = _see_parts(files, layout)
    for file in understood[1:]:
        _check_alike(understood[0], file)
    return understood


def _see_parts(files: list[Part], layout: Layout) -> list[File]:
    """See what text files look like; of the parts of a folder, each may have the header or not."""
    understood: list[File] = []
    for part in files:
        with store.errors_about(part.path):
            head = head_of(part.path, layout, may_be_empty=bool(part.name))
            if not head.strip():
                continue
            _refuse_no_delimited(head, part.path)
            first = understood[0].seen if understood else None
            seen = _see_like(head, first, layout) if first else layouts.see(head, layout)
            notes = notes_on_encoding(part.path, layout) + seen.notes
        understood.append(File(part, seen.columns, seen._replace(notes=notes)))
    if not understood:
        raise ValueError("is empty")
    return understood


def _refuse_no_delimited(head: str, path: Path) -> None:
    """Refuse JSON and SQL that are called like a table with delimiters."""
    first = head.lstrip().partition("\n")[0]
    if first.startswith('{"') and objects.objects_of(first, 1):
        raise ValueError(f"holds objects of JSON; rename it, such as to {path.stem}.jsonl")
    if _SQL.match(head):
        raise ValueError(
            f"holds statements of SQL, such as {first[:_SQL_SHOWN]!r}; load it into a database, "
            "and write the table as CSV"
        )


def _see_like(head: str, first: Seen, layout: Layout) -> Seen:
    """See what another part looks like: it has the columns of the first, named or in its order."""
    layout = layout._replace(delimiter=first.delimiter)
    if not first.named:
        return layouts.see(head, layout._replace(header=False))
    usual = layout.names | {*map(layouts.plain, first.columns)}
    seen = layouts.see(head, layout._replace(names=usual))
    if layout.columns or {*map(str.lower, seen.columns)} & {*map(str.lower, first.columns)}:
        return seen
    if len(seen.columns) == len(first.columns):
        return layouts.see(head, layout._replace(columns=tuple(first.columns), header=None))
    return seen


def _check_alike(first: File, file: File) -> None:
    """Refuse a part of another table; one may have columns that the other has not."""
    ours, theirs = ({name.lower() for name in each.columns} for each in (first, file))
    alike = ours & theirs if first.part.kind == JSON else ours <= theirs or theirs <= ours
    if not alike:
        raise ValueError(
            f"{first.part.name} has the columns {_some(first.columns)}, but {file.part.name} has "
            f"{_some(file.columns)}; a folder must hold the parts of one table: name one file, or "
            "move the others away"
        )


def _some(names: list[str]) -> str:
    return ", ".join([name[:_NAMED] for name in names[:10]] + ["..."] * (len(names) > 10))


def all_columns(understood: list[File]) -> list[str]:
    """List the columns of a table: those of its files, then those of its folders."""
    is_json = understood[0].part.kind == JSON  # whose keys may differ in case
    named = [name for file in understood for name in file.columns]
    named += [name for file in understood for name in file.part.partitions]
    names: dict[str, str] = {}
    for name in named:
        names.setdefault(name if is_json else name.lower(), name)
    return list(names.values())


def first_rows(file: File, layout: Layout, most: int) -> list[list[str | None]]:
    """Read the first rows of a text file, None where nothing is; what is no row is left out."""
    is_json = file.part.kind == JSON
    head = json_head(file.part.path, layout) if is_json else head_of(file.part.path, layout)
    head = _cleaned(head)
    num_fields = len(file.columns)
    if is_json:
        rows = objects.objects_of(head, most)
        return [[_json_text(objects.value_of(row, name)) for name in file.columns] for row in rows]
    ends = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", head))]
    text = head[ends[min(file.seen.skip_lines, len(ends) - 1)] :]
    escape = layout.escape or None
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=file.seen.delimiter, skipinitialspace=True,
        escapechar=escape,
    )  # fmt: skip
    rows = []
    try:
        for row in islice(reader, most):
            if len(row) == num_fields:
                rows.append([value or None for value in row])
    except csv.Error:  # a field of more than 128 KiB; what comes before it is sample enough
        pass
    return rows


def _json_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def head_of(path: Path, layout: Layout, *, may_be_empty: bool = False) -> str:
    """Read how a text file begins, 1 MiB; what is no text in it are lone surrogates."""
    with packed.open_text(path) as file:
        head = file.read(_HEAD)
    if layout.encoding == "utf-8" and _is_bare_utf_16(head):
        raise ValueError("seems to be encoded in UTF-16; say so with --encoding utf-16")
    text = lines.decoded(head, encoding_of(path, layout))
    if not text.strip() and not may_be_empty:
        raise ValueError("is empty")
    if _MARKUP.match(text):
        raise ValueError("is HTML or XML, whatever it is called; save it as CSV UTF-8")
    return text


def encoding_of(path: Path, layout: Layout) -> str:
    """Say how a text file is encoded: as its first bytes say, as the user does, or as it seems.

    What is no UTF-8 is taken for windows-1252 where several of the first lines are none, and none
    of them needs UTF-8. Another table than the events is UTF-8 where it can be, whatever was said.
    """
    with packed.open_text(path) as file:
        head = file.read(_HEAD)
    marked = _marked(head)
    if marked:
        return marked
    said = layout.encoding
    if said not in ("utf-8", "windows-1252", "latin-1"):
        return said
    rows = head.splitlines()[: None if len(head) < _HEAD else -1]
    foreign = [row for row in rows if not row.isascii()]
    num_utf_8 = sum(map(_is_utf_8, foreign))
    if said != "utf-8":
        return "utf-8" if layout.is_other and foreign and num_utf_8 == len(foreign) else said
    is_foreign = not num_utf_8 and len(foreign) > max(1, _SHARE_FOREIGN * len(rows))
    return "windows-1252" if is_foreign else "utf-8"


def notes_on_encoding(path: Path, layout: Layout) -> tuple[str, ...]:
    """Say how a file is encoded where that is not what was said."""
    encoding = encoding_of(path, layout)
    if encoding == layout.encoding:
        return ()
    if encoding == "windows-1252":
        why = "several lines are no UTF-8, and none needs it; --encoding latin-1 or another if not"
        return (f"is taken for windows-1252: {why}",)
    return (f"is encoded in {encoding.upper()}, as can be seen from its bytes",)


def _marked(head: bytes) -> str | None:
    """Return the encoding that a byte order mark names."""
    if head[:4] in (codecs.BOM_UTF32_BE, codecs.BOM_UTF32_LE):
        raise ValueError("is encoded in UTF-32; save it as UTF-8")
    if head.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        return "utf-16"
    return "utf-8" if head.startswith(codecs.BOM_UTF8) else None


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_bare_utf_16(head: bytes) -> bool:
    """Whether every other byte is zero, as in UTF-16 of plain letters without a mark in front."""
    start = head[:_BARE]
    return len(start) > 3 and 0 not in start[::2] and not any(start[1::2])


def _json_keys(part: Part, layout: Layout) -> list[str]:
    with store.errors_about(part.path):
        return objects.keys_of(_cleaned(json_head(part.path, layout)))


def json_head(path: Path, layout: Layout) -> str:
    """Read how a file of JSON begins; of one object that holds columns, its rows, one a line."""
    head = head_of(path, layout)
    text = whole_object(path, head, layout)
    rows = objects.rows_of_whole(text) if text else []
    return "\n".join(map(json.dumps, rows)) if rows else head


def whole_object(path: Path, head: str, layout: Layout) -> str | None:
    """Read a file of JSON that is one object of columns or rows by name; None if it is not.

    Raises:
        ValueError: it is cut off or damaged.
    """
    if not objects.is_one_object(head, objects.find_array(head)):
        return None
    with packed.open_text(path) as file:
        text = lines.decoded(file.read(), encoding_of(path, layout))
    try:
        return text if objects.rows_of_whole(text) else None
    except json.JSONDecodeError:  # no object: its lines are looked at one by one
        return None


def _cleaned(text: str) -> str:
    """Put a question mark in place of what is no text."""
    return text.encode(errors="replace").decode()
