"""Tables of any size through DuckDB: read strictly or tolerantly, and write Parquet.

The only module that imports duckdb. Work that does not fit in memory spills to a temporary folder.
"""

import codecs
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gadkit import store
from gadkit.store import lines, typed
from gadkit.store.lines import BadLine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".ndjson", ".parquet")  # or with .gz
ENCODINGS = ("utf-8", "windows-1252", "latin-1", "utf-16")
WHOLE = "hash of the whole row"  # a column of every staged table
NUMBER = "number of the row"  # a column of what is made of one
MEMORY = "2GB"  # DuckDB's own limit; beyond it, it spills

_DELIMITERS = (",", "\t", ";", "|")
_HEAD = 1 << 20  # bytes looked at to find the header or the keys
_SHOWN = 300  # characters kept of a line of an error


class Staged(NamedTuple):
    """A table that was read tolerantly.

    Attributes:
        num_rows: rows of the database table.
        bad: the lines that are no rows.
        text_lines: on which lines the records of a text file stand; None for Parquet.
        records: (num_rows,) the record that each row is, or None where it is the next one.
    """

    num_rows: int
    bad: list[BadLine]
    text_lines: lines.Lines | None = None
    records: np.ndarray | None = None

    def line_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the line, from 1, of rows (from 0); of Parquet the row, from 1."""
        if self.text_lines is None:
            return rows + 1
        return self.text_lines.line_of(rows if self.records is None else self.records[rows])


@contextmanager
def database(folder: Path | str) -> Iterator["DuckDBPyConnection"]:
    """Open an empty database in a new folder, and remove the folder at the end.

    Nothing is fetched from the network, rows keep the order of the file, and times are in UTC.

    Raises:
        OSError: the disk is full, or more memory would be needed than `MEMORY`.
    """
    import duckdb

    folder = Path(folder)
    folder.mkdir()
    try:
        with _connect(folder) as con:
            yield con
    except RuntimeError as error:
        if "interrupt" in str(error).lower():  # what becomes of Ctrl-C within a query
            raise KeyboardInterrupt from error
        raise
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise OSError(f"no more room on disk or in memory: {_first_lines(error)}") from error
    finally:
        shutil.rmtree(folder)


def _connect(folder: Path | None = None) -> "DuckDBPyConnection":
    """Open a database in a folder, or in memory."""
    import duckdb

    config = {
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if folder:
        config["temp_directory"] = str(folder)
    con = duckdb.connect(folder / "tables.db" if folder else ":memory:", config=config)
    con.execute("SET TimeZone = 'UTC'")
    return con


def stage(
    con: "DuckDBPyConnection",
    path: Path | str,
    table: str,
    columns: list[str],
    *,
    folder: Path,
    encoding: str = "utf-8",
) -> Staged:
    """Read some columns of a file into a table of the database, as they are written: all VARCHAR.

    A line that cannot be read is left out and named; nothing else is lost. Row i has rowid i,
    and beside its columns `WHOLE`, a hash of the row with all columns of the file.
    Empty fields are NULL.

    Args:
        con: a `database`.
        path: one of `SUFFIXES`, text also gzipped.
        table: name of the table to make.
        columns: some of `columns_of(path)`.
        folder: for a temporary copy, as large as the file unpacked.
        encoding: of a text file; one of `ENCODINGS`.

    Raises:
        ValueError: the file is damaged, no line of it is a row, or a column is called rowid.
    """
    path, copied = Path(path), Path(folder) / "lines.txt"
    kind = _kind(path)
    with store.errors_about(path):
        _check_names(columns)
        if kind == "parquet":
            whole = _whole_row(columns_of(path))
            texts = _parquet_texts(con, path, columns)
            source = f"SELECT {', '.join(texts)}, {whole} FROM {_parquet(path)}"
            staged = Staged(_create(con, table, source), [])
        elif kind == "json":
            staged = _stage_json(con, path, table, columns, copied, encoding)
        else:
            staged = _stage_csv(con, path, table, columns, copied, encoding)
        if staged.num_rows == 0:
            first = f"; line {staged.bad[0].line}: {staged.bad[0].reason}" if staged.bad else ""
            raise ValueError(f"holds no row that can be read{first}")
    return staged


def _parquet_texts(con, path: Path, columns: list[str]) -> list[str]:
    import duckdb

    try:
        return typed.as_text(con, _parquet(path), columns)
    except duckdb.Error as error:
        raise ValueError(f"cannot be read: {_first_lines(error)}") from error


def _stage_csv(con, path, table, columns, copied, encoding) -> Staged:
    delimiter, names = _header(_head(path, encoding))
    scanned = lines.copy(
        path, copied, delimiter=delimiter, num_fields=len(names), quotes=True, encoding=encoding
    )
    _check_header(scanned)
    types = dict.fromkeys(names, "VARCHAR")
    source = _read_csv(copied, types, delimiter=delimiter, header=True)
    num_rows = _create(con, table, f"SELECT {_listed(columns)}, {_whole_row(names)} FROM {source}")
    copied.unlink()
    # A header is a record that is no row. Whatever the copy let through, the reader must accept.
    if num_rows != scanned.num_records - 1:
        raise ValueError(f"{scanned.num_records - 1} rows were found, but {num_rows} could be read")
    return Staged(num_rows, scanned.bad, scanned, np.arange(1, num_rows + 1))


def _check_header(scanned: lines.Lines) -> None:
    """Refuse a table whose header cannot be read; else its first row would be taken for one."""
    first = scanned.line_of(np.zeros(1, np.int64))[0] if scanned.num_records else np.inf
    if scanned.bad and scanned.bad[0].line < first:
        line, reason, text = scanned.bad[0]
        raise ValueError(
            f"line {line} should name the columns, but cannot be read: {reason}: {text!r}"
        )


def _stage_json(con, path, table, columns, copied, encoding) -> Staged:
    scanned = lines.copy(path, copied, delimiter=",", num_fields=1, quotes=False, encoding=encoding)
    source = _read_csv(copied, {"line": "VARCHAR"}, delimiter="\x01", quote="", header=False)
    pointers = (name.replace("~", "~0").replace("/", "~1") for name in columns)  # RFC 6901
    paths = ", ".join(sql_text(f"/{name}") for name in pointers)
    num_rows = _create(
        con,
        "parsed",
        f"SELECT if(is_row, json_extract_string(line, [{paths}]), NULL) AS fields, "
        f"hash(line) AS {sql_name(WHOLE)}, "
        f"if(is_row, NULL, left(line, {lines.SHOWN})) AS bad FROM (SELECT line, "
        f"if(json_valid(line), json_type(line) = 'OBJECT', false) AS is_row FROM {source})",
    )
    copied.unlink()
    bad = con.execute("SELECT rowid, bad FROM parsed WHERE bad IS NOT NULL ORDER BY 1").fetchall()
    records = np.arange(num_rows)
    bad_lines = scanned.line_of(np.array([row for row, _ in bad], np.int64)).tolist()
    reason = "no JSON object"
    refused = [BadLine(line, reason, text) for line, (_, text) in zip(bad_lines, bad, strict=True)]
    fields = ", ".join(f"fields[{i}] AS {sql_name(name)}" for i, name in enumerate(columns, 1))
    kept = _create(con, table, f"SELECT {fields}, {sql_name(WHOLE)} FROM parsed WHERE bad IS NULL")
    con.execute("DROP TABLE parsed")
    records = np.delete(records, [row for row, _ in bad])
    return Staged(kept, sorted(scanned.bad + refused), scanned, records)


def _check_names(columns: list[str]) -> None:
    """Refuse names that would be taken for another column: the database ignores case."""
    taken = {"", "rowid", WHOLE, NUMBER}
    for name in columns:
        if name.lower() in taken:
            raise ValueError(
                f"a column that is used cannot be called {name!r}: the name is taken, or differs "
                "from another one by case only; rename it"
            )
        taken.add(name.lower())


def _whole_row(names: list[str]) -> str:
    return f"hash({', '.join(map(sql_name, names))}) AS {sql_name(WHOLE)}"


def _create(con, table: str, query: str) -> int:
    import duckdb

    try:
        con.execute(f"CREATE TABLE {table} AS {query}")
    except duckdb.Error as error:
        raise ValueError(f"cannot be read: {_first_lines(error)}") from error
    return con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def load(
    path: Path | str,
    columns: dict[str, str] | None = None,
    *,
    header: bool = True,
    delimiter: str | None = None,
) -> dict[str, np.ndarray]:
    """Read a table that is meant to be whole, such as a published one.

    Args:
        path: .csv, .tsv, .txt (also .gz) or .parquet.
        columns: name and SQL type ("BIGINT", "DOUBLE", "VARCHAR") of those wanted; all, as
            VARCHAR, by default. Without a header they name all columns in the order of the file.
            The second column of one name is called `<name>.1`.
        header: whether the first line names the columns.
        delimiter: of the fields; by default the one of comma, tab, semicolon and bar that is most
            frequent in the first line.

    Returns:
        One array per column, in the order of `columns`; VARCHAR as objects, "" where empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or a value is missing or not of its type; the message says
            where.
    """
    import duckdb

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with store.errors_about(path), _connect() as con:
        source, types = _strict_source(path, columns, header, delimiter)
        wanted = ", ".join(_cast(name, kind) for name, kind in types.items())
        try:
            content = con.execute(f"SELECT {wanted} FROM {source}").fetchnumpy()
        except duckdb.Error as error:
            raise ValueError(f"cannot be read: {_first_lines(error)}") from error
        first = 1 if _kind(path) == "parquet" or not header else 2
        return {name: _whole(content[name], name, kind, first) for name, kind in types.items()}


def _strict_source(path, columns, header, delimiter) -> tuple[str, dict[str, str]]:
    """Say in SQL where the rows come from, and of what type the wanted columns are."""
    kind = _kind(path)
    if kind == "json":
        raise ValueError("JSON lines are not read here; expected .csv, .tsv, .txt or .parquet")
    if kind == "parquet":
        names, source = columns_of(path), _parquet(path)
    else:
        delimiter_used, names = _header(_head(path), delimiter)
        names = names if header else list(columns or {})
        typed = {name: (columns or {}).get(name, "VARCHAR") for name in names}
        source = _read_whole_numbers(path, typed, delimiter=delimiter_used, header=header)
    missing = [name for name in columns or {} if name not in names]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; found {', '.join(names)}")
    return source, columns or dict.fromkeys(names, "VARCHAR")


def _read_whole_numbers(path: Path, types: dict[str, str], **options) -> str:
    """Say in SQL how to read a CSV file, no fraction rounded: it is no BIGINT, and so missing."""
    whole = [name for name, kind in types.items() if kind == "BIGINT"]
    source = _read_csv(path, types | dict.fromkeys(whole, "VARCHAR"), **options)
    read = ", ".join(
        f"CASE WHEN NOT contains({value}, '.') OR regexp_full_match({value}, '[^.]*\\.0*') "
        f"THEN TRY_CAST({value} AS BIGINT) END AS {value}"
        for value in map(sql_name, whole)
    )
    return f"(SELECT * REPLACE ({read}) FROM {source})" if whole else source


def _whole(column: np.ndarray, name: str, kind: str, first: int) -> np.ndarray:
    missing = np.flatnonzero(np.ma.getmaskarray(column))
    values = np.ma.getdata(column)
    if kind == "VARCHAR":
        values = np.array(values, dtype=object)
        values[missing] = ""
    elif len(missing):
        what = "whole number" if kind == "BIGINT" else "value"
        raise ValueError(f"line {missing[0] + first} has no {what} for {name!r}")
    return values


def _read_csv(
    path: Path, types: dict[str, str], *, delimiter: str, header: bool, quote: str = '"'
) -> str:
    """Say in SQL how to read a CSV file, leaving nothing for the reader to guess."""
    columns = ", ".join(f"{sql_text(name)}: {sql_text(kind)}" for name, kind in types.items())
    return (
        f"read_csv({_literal(path)}, auto_detect = false, columns = {{{columns}}}, "
        f"header = {header}, delim = {sql_text(delimiter)}, quote = {sql_text(quote)}, "
        f"escape = {sql_text(quote)}, max_line_size = {2 * lines.LONGEST})"
    )


def write(path: Path | str, columns: dict[str, np.ndarray]) -> None:
    """Write columns of equal length as .parquet or .csv (by the suffix), atomically.

    What is masked or NaN is written as missing. Columns of a memory-mapped array are not read at
    once. Equal columns give equal bytes.

    Raises:
        ValueError: the path has another suffix, columns differ in length, or a text is no Unicode.
    """
    import duckdb

    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{path} must end in .parquet or .csv")
    form = "FORMAT parquet, COMPRESSION zstd" if path.suffix == ".parquet" else "FORMAT csv, HEADER"
    content = {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }
    texts = [name for name, values in content.items() if values.dtype.kind == "O"]
    with store.atomic_path(path) as temporary, _connect() as con:
        con.execute("SET threads = 1")  # how threads share the work would show in the bytes
        try:
            con.register("content", content)
            con.execute(f"COPY (SELECT {_listed(content, texts)} FROM content) "
                        f"TO {sql_text(temporary)} ({form})")  # fmt: skip
        except duckdb.Error as error:
            raise ValueError(f"{path} cannot be written: {_first_lines(error)}") from error


def columns_of(path: Path | str, *, encoding: str = "utf-8") -> list[str]:
    """List the columns of a table: its header, its schema, or the keys of its first JSON objects.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, damaged or of no known kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with store.errors_about(path):
        kind = _kind(path)
        if kind == "parquet":
            return _parquet_columns(path)
        head = _head(path, encoding)
        return _json_keys(head) if kind == "json" else _header(head)[1]


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = "".join(suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:])
    if suffix not in SUFFIXES:
        raise ValueError(
            f"a table ends in one of {', '.join(SUFFIXES)}, text also in .gz after it; rename it"
        )
    if suffix == ".parquet":
        return "parquet"
    return "json" if suffix in (".jsonl", ".json", ".ndjson") else "csv"


def _head(path: Path, encoding: str = "utf-8") -> str:
    try:
        with lines.open_text(path) as file:
            head = file.read(_HEAD)
    except lines.DAMAGE as error:
        raise ValueError(f"not a readable gzip file, or cut off: {error}") from error
    if encoding == "utf-8" and head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("is encoded in UTF-16; say so with --encoding utf-16")
    text = head.removeprefix(codecs.BOM_UTF8).decode(encoding, errors="replace")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _header(head: str, delimiter: str | None = None) -> tuple[str, list[str]]:
    """Read delimiter and names; columns of one name are told apart as `name`, `name.1`, ...

    In SQL, upper and lower case make no difference.
    """
    head = re.sub(r"\A( *[\r\n])+", "", head)  # blank lines, as `lines` has it
    first = re.match(r"[^\r\n]*", head)[0]
    delimiter = delimiter or max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", first).count)
    records = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        fields = next(records)
    except csv.Error as error:
        raise ValueError(f"line 1 should name the columns, but cannot be read: {error}") from error
    names: dict[str, str] = {}
    for position, field in enumerate(fields, 1):
        name = base = field.strip() or f"column {position}"
        repeat = 0
        while name.lower() in names:
            repeat += 1
            name = f"{base}.{repeat}"
        names[name.lower()] = name
    return delimiter, list(names.values())


def _json_keys(head: str) -> list[str]:
    keys: dict[str, None] = {}
    for line in head.splitlines()[:1000]:
        try:
            row = json.loads(line)
        except ValueError:  # bad lines are named when the table is read
            continue
        if isinstance(row, dict):
            keys |= dict.fromkeys(row)
    if not keys:
        raise ValueError("none of its first lines is a JSON object; expected one object a line")
    return list(keys)


def _parquet_columns(path: Path) -> list[str]:
    import duckdb

    try:
        with _connect() as con:
            rows = con.execute(f"DESCRIBE FROM {_parquet(path)}").fetchall()
    except duckdb.Error as error:
        raise ValueError(f"not a readable Parquet file: {_first_lines(error)}") from error
    return [row[0] for row in rows]


def _parquet(path: Path) -> str:
    """Say in SQL how to read a Parquet file: what its folder is called is no column."""
    return f"read_parquet({_literal(path)}, hive_partitioning = false)"


def _literal(path: Path) -> str:
    """Write a path in SQL that is no pattern for the names of other files."""
    return sql_text(re.sub(r"[*?\[]", r"[\g<0>]", str(path)))


def _listed(names, as_text=None) -> str:
    """List columns in SQL, some of them (by default all) cast to VARCHAR."""
    as_text = names if as_text is None else as_text
    return ", ".join(
        _cast(name, "VARCHAR") if name in as_text else sql_name(name) for name in names
    )


def _cast(name: str, kind: str) -> str:
    return f"CAST({sql_name(name)} AS {kind}) AS {sql_name(name)}"


def check_time_format(con: "DuckDBPyConnection", time_format: str) -> None:
    """Raise a ValueError if a format is none that strptime knows."""
    import duckdb

    try:
        con.execute("SELECT try_strptime('', ?)", [time_format])
    except duckdb.Error as error:
        raise ValueError(f"{time_format!r} is no time format: {_first_lines(error)}") from error


def sql_name(name: str) -> str:
    """Write a column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(value: object) -> str:
    """Write a text in SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def _first_lines(error: Exception) -> str:
    shown = (line.strip()[:_SHOWN] for line in str(error).splitlines()[:4])
    return "; ".join(filter(None, shown))
