"""Tables of any size through DuckDB: read strictly or tolerantly, and write Parquet.

The only module that imports duckdb. Work that does not fit in memory spills to a temporary folder.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gadkit import store
from gadkit.store import layouts, lines, looks, objects, packed, parts, sheets, typed
from gadkit.store.layouts import ENCODINGS, UNSAID, Layout, Seen
from gadkit.store.lines import BadLine
from gadkit.store.parts import CSV, JSON, PARQUET, SUFFIXES, Part

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["ENCODINGS", "SUFFIXES", "Layout"]  # of what is read; they stand in files below

WHOLE = "hash of the whole row"  # a column of every staged table
NUMBER = "number of the row"  # a column of what is made of one
MEMORY = "2GB"  # DuckDB's own limit; beyond it, it spills

_HEAD = 1 << 20  # bytes looked at to find the header or the keys
_SAMPLED = 2000  # rows of a sample
_SHOWN, _NAMED = 300, 50  # characters kept of a line of an error, and of a name of a column


class StagedPart(NamedTuple):
    """A file that was read tolerantly.

    Attributes:
        name: its path within the folder of the table; "" for a table that is one file.
        num_rows: how many of its records are rows of the database table.
        bad: the lines that are no rows.
        text_lines: on which lines the records of a text file stand; None for Parquet.
        records: (num_rows,) the record that each row is, or None where it is the next one.
        notes: what is unusual about it, in words.
    """

    name: str
    num_rows: int
    bad: list[BadLine]
    text_lines: lines.Lines | None = None
    records: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def line_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the line, from 1, of rows of this file (from 0); of Parquet the row, from 1."""
        if self.text_lines is None:
            return rows + 1
        return self.text_lines.line_of(rows if self.records is None else self.records[rows])


class Staged(NamedTuple):
    """A table that was read tolerantly: its files, whose rows follow each other in the database."""

    parts: list[StagedPart]

    @property
    def num_rows(self) -> int:
        """Rows of the database table."""
        return sum(part.num_rows for part in self.parts)

    @property
    def bad(self) -> list[BadLine]:
        """The lines of all files that are no rows."""
        return [bad for part in self.parts for bad in part.bad]

    @property
    def notes(self) -> list[str]:
        """What is unusual about the files, each note once."""
        notes = dict.fromkeys(note for part in self.parts for note in part.notes)
        if self.parts[0].name:
            return [f"{len(self.parts):,} files are parts of one table", *notes]
        return list(notes)

    def part_of(self, rows: np.ndarray) -> np.ndarray:
        """Return in which of the files rows (from 0) stand, (num_rows,) int64."""
        ends = np.cumsum([part.num_rows for part in self.parts])
        return np.searchsorted(ends, rows, side="right")

    def line_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the line of its file, from 1, of each row (from 0); of Parquet the row, from 1."""
        begins = np.cumsum([0] + [part.num_rows for part in self.parts])
        where, line = self.part_of(rows), np.empty(len(rows), np.int64)
        for number in np.unique(where).tolist():
            which = where == number
            line[which] = self.parts[number].line_of(rows[which] - begins[number])
        return line


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
    con.execute("SET force_compression = 'uncompressed'")  # to compress takes longer than to write
    return con


def stage(
    con: "DuckDBPyConnection",
    path: Path | str,
    table: str,
    columns: list[str],
    *,
    folder: Path,
    layout: Layout = UNSAID,
) -> Staged:
    """Read some columns of a table into one of the database, as they are written: all VARCHAR.

    A line that cannot be read is left out and named; nothing else is lost. Row i has rowid i,
    and beside its columns `WHOLE`, a hash of the row with all columns of the table.
    Empty fields are NULL, and so is what a part of a folder has no column for.

    Args:
        con: a `database`.
        path: a file, one of `SUFFIXES`, text also gzipped or alone in a zip file; or a folder of
            such files, whose names, where they are such as `country=DE`, are columns too.
        table: name of the table to make.
        columns: some of `columns_of(path)`.
        folder: for a temporary copy, as large as the file unpacked.
        layout: how the table is written.

    Raises:
        ValueError: a file is damaged, no line is a row, or a column is called rowid.
    """
    path = Path(path)
    with store.errors_about(path):
        _check_names(columns)
        understood = looks.understand(path, layout, _parquet_columns)
        every = looks.all_columns(understood)
        staged = []
        for number, file in enumerate(understood):
            with store.errors_about(file.part.path):
                loader = _Loader(con, table, columns, every, file, is_first=number == 0)
                staged.append(loader.load(Path(folder) / "lines.txt", layout))
        staged = Staged(staged)
        if staged.num_rows == 0:
            first = f"; line {staged.bad[0].line}: {staged.bad[0].reason}" if staged.bad else ""
            raise ValueError(f"holds no row that can be read{first}")
    return staged


class _Loader(NamedTuple):
    """Reads a file into a table of the database, behind the files that are there."""

    con: "DuckDBPyConnection"
    table: str
    columns: list[str]
    every: list[str]
    file: looks.File
    is_first: bool

    def load(self, copied: Path, layout: Layout) -> StagedPart:
        part = self.file.part
        if part.kind == PARQUET:
            source = _parquet(part.path)
            num_rows = self._add(self._selected(source, self._typed(source)))
            return StagedPart(part.name, num_rows, [])
        if part.kind == JSON:
            return self._load_json(copied, layout)
        return self._load_csv(copied, layout)

    def _selected(self, source: str, texts: dict[str, str] | None = None) -> str:
        """Select the wanted columns, and the hash of all there are.

        Args:
            source: SQL of the rows of the file.
            texts: SQL of wanted columns as text, under their names in the file, where a cast of
                their values is not enough.
        """
        wanted = ", ".join(
            (texts or {}).get(self.file.name_of(name))
            or f"CAST({_expression(self.file, name)} AS VARCHAR) AS {sql_name(name)}"
            for name in self.columns
        )
        values = ", ".join(_expression(self.file, name) for name in self.every)
        return f"SELECT {wanted}, hash({values}) AS {sql_name(WHOLE)} FROM {source}"

    def _typed(self, source: str) -> dict[str, str]:
        """Write columns that have a type as text."""
        import duckdb

        names = [name for name in map(self.file.name_of, self.columns) if name is not None]
        try:
            texts = typed.as_text(self.con, source, names) if names else []
        except duckdb.Error as error:
            raise ValueError(f"cannot be read: {_first_lines(error)}") from error
        return dict(zip(names, texts, strict=True))

    def _add(self, query: str) -> int:
        """Put rows into the table, and return how many."""
        if self.is_first:
            return _create(self.con, self.table, query)
        before = _count(self.con, self.table)
        _execute(self.con, f"INSERT INTO {self.table} {query}")
        return _count(self.con, self.table) - before

    def _load_csv(self, copied: Path, layout: Layout) -> StagedPart:
        part, names, seen = self.file
        scanned, notes = _copy(part.path, copied, seen, layout)
        types = dict.fromkeys(names, "VARCHAR")
        source = _read_csv(copied, types, delimiter=seen.delimiter, header=False)
        num_rows = self._add(self._selected(source))
        copied.unlink()
        if num_rows != scanned.num_records:  # what the copy lets through, the reader must accept
            raise ValueError(f"{scanned.num_records} rows were there, but {num_rows} could be read")
        return StagedPart(part.name, num_rows, scanned.bad, scanned, notes=seen.notes + notes)

    def _load_json(self, copied: Path, layout: Layout) -> StagedPart:
        con, part = self.con, self.file.part
        head = looks.head_of(part.path, layout)
        array, whole = objects.find_array(head), looks.whole_object(part.path, head, layout)
        encoding = looks.encoding_of(part.path, layout)
        if whole:
            scanned = objects.copy_whole(whole, copied)
        elif array:
            scanned = objects.copy_array(part.path, copied, encoding, array)
        else:
            scanned = lines.copy(part.path, copied, lines.Form(",", 1, False, encoding))
        source = _read_csv(copied, {"line": "VARCHAR"}, delimiter="\x01", quote="", header=False)
        in_file = [
            name for name in self.columns
            if name in self.file.columns or name not in part.partitions
        ]  # fmt: skip
        pointers = [pointer for name in in_file for pointer in objects.pointers(name)]
        paths = ", ".join(map(sql_text, pointers)) or "''"
        num_lines = _create(
            con,
            "parsed",
            f"SELECT if(is_row, json_extract_string(line, [{paths}]), NULL) AS fields, "
            f"hash(line) AS {sql_name(WHOLE)}, "
            f"if(is_row, NULL, left(line, {lines.SHOWN})) AS bad FROM (SELECT line, "
            f"if(json_valid(line), json_type(line) = 'OBJECT', false) AS is_row FROM {source})",
        )
        copied.unlink()
        bad = con.execute("SELECT rowid, bad FROM parsed WHERE bad IS NOT NULL ORDER BY 1")
        bad = bad.fetchall()
        numbers = [row for row, _ in bad]
        bad_lines = scanned.line_of(np.array(numbers, np.int64)).tolist()
        refused = [
            BadLine(line, "no JSON object", text)
            for line, (_, text) in zip(bad_lines, bad, strict=True)
        ]
        if 2 * len(refused) > num_lines:
            raise ValueError(
                f"{len(refused):,} of {num_lines:,} lines are no JSON object, such as line "
                f"{refused[0].line}: {refused[0].text!r}; write one object a line, or one array"
            )
        place = {
            name: f"COALESCE(fields[{2 * k + 1}], fields[{2 * k + 2}])"
            for k, name in enumerate(in_file)
        }
        fields = ", ".join(
            f"{place.get(name) or _expression(self.file, name)} AS {sql_name(name)}"
            for name in self.columns
        )
        kept = self._add(f"SELECT {fields}, {sql_name(WHOLE)} FROM parsed WHERE bad IS NULL")
        con.execute("DROP TABLE parsed")
        records = np.delete(np.arange(num_lines), numbers)
        notes = looks.notes_on_encoding(part.path, layout)
        notes += (f"the rows are what {array.key!r} holds",) if array and array.key else ()
        notes += ("is one JSON object of all rows: lines are the numbers of rows",) if whole else ()
        return StagedPart(part.name, kept, sorted(scanned.bad + refused), scanned, records, notes)


def _expression(file: looks.File, column: str) -> str:
    """Say in SQL what a column of the whole table is in one of its files."""
    name, value = file.name_of(column), file.part.partitions.get(column)
    if name is not None:
        return sql_name(name)
    return "NULL" if value is None else sql_text(value)


def _copy(
    path: Path, copied: Path, seen: Seen, layout: Layout
) -> tuple[lines.Lines, tuple[str, ...]]:
    """Copy the rows of a CSV file; read its escapes where that makes more of them, and say so."""
    form = lines.Form(
        seen.delimiter, len(seen.columns), True, looks.encoding_of(path, layout),
        seen.skip_lines, layout.escape or "", seen.comment, seen.header,
    )  # fmt: skip
    scanned, notes = _unescaped(path, copied, form, layout)
    num_foreign = sum(bad.reason == lines.FOREIGN for bad in scanned.bad)
    if num_foreign:
        others = " or ".join(name for name in ENCODINGS[:3] if name != form.encoding)
        notes += (
            f"{num_foreign:,} lines are not encoded in {form.encoding} as the others are; if the "
            f"file is not, --encoding {others} says so",
        )
    return scanned, notes


def _unescaped(
    path: Path, copied: Path, form: lines.Form, layout: Layout
) -> tuple[lines.Lines, tuple[str, ...]]:
    scanned = lines.copy(path, copied, form)
    if layout.escape is not None or not scanned.num_escaped:
        return scanned, ()
    other = copied.with_name("escaped.txt")
    unescaped = lines.copy(path, other, form._replace(escape="\\"))
    if len(unescaped.bad) >= len(scanned.bad):
        other.unlink()
        return scanned, ()
    other.replace(copied)
    note = (
        f"a backslash before a quote or delimiter escapes it: {scanned.num_escaped:,} lines make "
        "no sense otherwise (--escape '' if not)"
    )
    return unescaped, (note,)


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


def _create(con, table: str, query: str) -> int:
    _execute(con, f"CREATE TABLE {table} AS {query}")
    return _count(con, table)


def _execute(con, statement: str) -> None:
    import duckdb

    try:
        con.execute(statement)
    except duckdb.Error as error:
        raise ValueError(f"cannot be read: {_first_lines(error)}") from error


def _count(con, table: str) -> int:
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
        first = 1 if parts.kind_of(path) == PARQUET or not header else 2
        return {name: _whole(content[name], name, kind, first) for name, kind in types.items()}


def _strict_source(path, columns, header, delimiter) -> tuple[str, dict[str, str]]:
    """Say in SQL where the rows come from, and of what type the wanted columns are."""
    kind = parts.kind_of(path)
    if kind == JSON or packed.is_zip(path):
        what = "JSON lines are" if kind == JSON else "a zip file is"
        raise ValueError(f"{what} not read here; expected .csv, .tsv, .txt or .parquet")
    if kind == PARQUET:
        names, source = columns_of(path), _parquet(path)
    else:
        head = looks.head_of(path, UNSAID)
        first = re.match(r"(?: *[\r\n])*([^\r\n]*)", head)[1]
        delimiter = delimiter or layouts.usual_delimiter(first)
        plainly = Layout(delimiter=delimiter, skip_lines=0, header=True, comment="")
        names = layouts.see(head, plainly).columns if header else list(columns or {})
        typed = {name: (columns or {}).get(name, "VARCHAR") for name in names}
        source = _read_whole_numbers(path, typed, delimiter=delimiter, header=header)
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
    """Write columns of equal length as .parquet, .csv or .xlsx (by the suffix), atomically.

    What is masked or NaN is written as missing. Columns of a memory-mapped array are not read at
    once. Equal columns give equal bytes. In .xlsx texts stay texts, also those like =1+1.

    Raises:
        ValueError: the path has another suffix, columns differ in length, or a text is no Unicode.
    """
    import duckdb

    path = Path(path)
    if path.suffix == ".xlsx":
        return sheets.write(path, columns)
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{path} must end in .parquet, .csv or .xlsx")
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
            raise ValueError(
                f"{path} cannot be written: {_first_lines(error)}; make room, or choose another "
                "place"
            ) from error


def columns_of(path: Path | str, *, layout: Layout = UNSAID) -> list[str]:
    """List the columns of a table: its header, its schema, or the keys of its first JSON objects.

    Those of a folder of parts are those of its files, and after them those that the names of its
    folders give. Where a file has no header, they are `column 1`, `column 2`, ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, damaged or of no known kind, or parts are not of one table.
    """
    return look(path, layout=layout).columns


class Looks(NamedTuple):
    """What a table looks like before it is read.

    Attributes:
        columns: as `columns_of` lists them.
        notes: what is unusual about it, in words, each note once.
        is_delimited: whether it is text with delimiters.
        is_named: whether the file or the user names the columns.
    """

    columns: list[str]
    notes: list[str]
    is_delimited: bool
    is_named: bool


def look(path: Path | str, *, layout: Layout = UNSAID) -> Looks:
    """See what a table looks like; as for `columns_of`."""
    path = Path(path)
    with store.errors_about(path):
        understood = looks.understand(path, layout, _parquet_columns)
        notes = [note for file in understood if file.seen for note in file.seen.notes]
        is_delimited = understood[0].part.kind == CSV
        is_named = not is_delimited or understood[0].seen.named
        columns = looks.all_columns(understood)
        return Looks(columns, list(dict.fromkeys(notes)), is_delimited, is_named)


@contextmanager
def sample(
    path: Path | str, layout: Layout = UNSAID
) -> Iterator[tuple["DuckDBPyConnection", dict[str, str]]]:
    """Open a database with the first rows of a table, at most 2,000 of its first file.

    Yields:
        The database, which holds the table `sample`, all VARCHAR; and what each column of
        `columns_of(path)` is called in it.
    """
    path = Path(path)
    with store.errors_about(path), _connect() as con:
        understood = looks.understand(path, layout, _parquet_columns)
        file, names = understood[0], looks.all_columns(understood)
        name_of = {name: f"c{number}" for number, name in enumerate(names)}
        value_of = {name: _expression(file, name) for name in names}
        source = _parquet(file.part.path)
        if file.part.kind != PARQUET:
            rows, source = looks.first_rows(file, layout, _SAMPLED), "content"
            columns = [*zip(*rows, strict=True)] or [()] * len(file.columns)
            arrays = [np.array([*column, None], object)[:-1] for column in columns]
            # Numbered, since the database would not tell names apart that differ by case.
            con.register("content", {f"f{k}": array for k, array in enumerate(arrays)})
            value_of |= {name: f"f{k}" for k, name in enumerate(file.columns)}
        selected = ", ".join(
            f"CAST({value_of[name]} AS VARCHAR) AS {alias}" for name, alias in name_of.items()
        )
        _execute(con, f"CREATE TABLE sample AS SELECT {selected} FROM {source} LIMIT {_SAMPLED}")
        yield con, name_of


def _parquet_columns(files: list[Part]) -> list[list[str]]:
    """List the columns of Parquet files, of each."""
    with _connect() as con:
        return [_schema(con, part.path) for part in files]


def _schema(con, path: Path) -> list[str]:
    import duckdb

    with store.errors_about(path):
        try:
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
