"""A database in which values are read as in an ingestion."""

import pytest

from gadkit.ingest import ids, numbers, readings, times
from gadkit.store import tables


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with tables.database(tmp_path_factory.mktemp("database") / "work") as con:
        yield con


@pytest.fixture
def fill(database):
    """Make the table `t` of text from rows, or single values; return the names of its columns."""

    def fill_table(rows, names="abcd"):
        rows = [row if isinstance(row, tuple) else (row,) for row in rows]
        names = list(names[: len(rows[0])])
        columns = ", ".join(f'"{name}" VARCHAR' for name in names)
        database.execute(f"CREATE OR REPLACE TABLE t ({columns})")
        database.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(names))})", rows)
        return names

    return fill_table


@pytest.fixture
def select(database):
    """Evaluate an expression in every row of the table `t`, cleaned."""

    def select_column(sql, names):
        table = readings.cleaned("t", names)
        return [row[0] for row in database.execute(f"SELECT {sql} FROM {table}").fetchall()]

    return select_column


@pytest.fixture
def check_spellings(database):
    """Check that the ways to read the table `t` agree: cleaned, quickly, and a spelling once."""

    def check(reading, names):
        given = " AND ".join(f'"{name}" IS NOT NULL' for name in names)
        read = readings.read_spellings(database, "t", names, reading, role="tested", given=given)
        cleaned = readings.cleaned("t", names)
        expected, values = (
            database.execute(f"{sql} ORDER BY 1").fetchall()
            for sql in (
                f"SELECT {readings.PLACE}, {reading.sql}, {given} FROM {cleaned}",
                f"SELECT t.rowid, {read.value}, {read.given} FROM t {read.join}",
            )
        )
        database.execute("DROP TABLE spelled_tested")
        assert values == expected

    return check


@pytest.fixture
def read_times(database, fill, select, check_spellings):
    """Read rows as times: the reading, and the seconds of every row."""

    def read(*rows, names="abcd", time_format=None):
        columns = fill(rows, names)
        reading = times.time_of(database, "t", columns, time_format)
        check_spellings(reading, list(reading.names) or columns)
        return reading, select(reading.sql, columns)

    return read


@pytest.fixture
def read_numbers(database, fill, select, check_spellings):
    """Read rows as numbers: the reading, and the number of every row."""

    def read(*rows, names="abcd"):
        columns = fill(rows, names)
        reading = numbers.number_of(database, "t", *columns)
        check_spellings(reading, columns)
        return reading, select(reading.sql, columns)

    return read


@pytest.fixture
def read_ids(fill, select):
    """Read rows as ids."""

    def read(*rows, fold=False):
        columns = fill(rows)
        return select(ids.id_of(columns, fold=fold), columns)

    return read
