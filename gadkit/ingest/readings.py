"""What all readings of columns share: values stripped, words for nothing, and a choice by a sample.

Everything here is SQL or makes SQL: a value is cleaned where it lies, whatever its number.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gadkit.store.tables import NUMBER, sql_name, sql_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PLACE = sql_name(NUMBER)
LEAVE_OUT = "; name another column, or '' for none"

_MISSING = (
    "", "null", "nan", "none", "n/a", "na", "nil", r"\n", "nat", "<na>", "<null>", "<none>",
    "(null)", "(none)", "(na)", "(blank)", "(empty)", "(not set)", "[null]", "n.a.", "n.a", "#n/a",
    "#n/a n/a", "#na", "#null!", "#ref!", "#value!", "#div/0!", "#name?", "#num!", "-nan", "+nan",
    "nan(ind)", "-nan(ind)", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "undefined", "missing",
    "not available", "not applicable", "-", "--", "\N{EN DASH}", "\N{EM DASH}", ".",
)  # fmt: skip
_SPACES = ("' '", "chr(9)", "chr(13)")  # around a value, in SQL
_SAMPLE = 5000  # values looked at to tell how a column is written
_SHOWN = 100  # characters of a value that an error shows
# A pair of quotes, or Excel's ="00123" and '00123, around a value that holds none itself.
_QUOTED = (('"', r'^=?"\s*([^"]*?)\s*"$'), ("'", r"^'\s*([^']*?)\s*'$"), ("'", r"^'(\d+)$"))


# What looks like another character: digits and signs of full width, spaces of any width, minus.
_ODD = "".join(map(chr, (*range(0xFF10, 0xFF1A), 0xFF0E, 0xFF0C, 0xFF1A, 0xFF0F, 0xFF0D, 0x2212)))
_PLAIN = "0123456789.,:/--"
_WIDE = "".join(map(chr, (0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)))
_UNSEEN = "".join(map(chr, (0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xAD)))
# One value, as MongoDB's tools, its shell, Microsoft's JSON and names of UUIDs wrap it. Extended
# JSON: https://www.mongodb.com/docs/manual/reference/mongodb-extended-json
_WRAPPED = (
    (r'^\{\s*"\$[a-zA-Z]+"\s*:\s*(\{.*\})\s*\}$', "{"),
    (r'^\{\s*"\$[a-zA-Z]+"\s*:\s*"?([^"{}]*)"?\s*\}$', "{"),
    (r"^(?:ObjectId|ISODate|NumberDecimal|NumberLong|NumberInt|UUID)[(][\"']?([^\"'()]*)[\"']?[)]$",
     "OINU"),
    (r"^/Date[(](-?\d+)(?:[+-]\d{4})?[)]/$", "/"),
    (r"^urn:uuid:(.*)$", "u"),
)  # fmt: skip


class Reading(NamedTuple):
    """How a column is read.

    Attributes:
        sql: an expression that gives DOUBLE, NULL where there is no readable value.
        written: how the values are written, in words.
        note: what else is to be said of them, such as several currencies; or empty.
        is_counter: of a time: it counts steps from a start that nobody names, and is no date.
        names: the columns that are read where they are not all that were given; else empty.
        quick: an expression of the column as it is staged, not `cleaned`: gives what `sql` does or
            NULL, and costs little; empty if there is none.
    """

    sql: str
    written: str
    note: str = ""
    is_counter: bool = False
    names: tuple[str, ...] = ()
    quick: str = ""


def cleaned(
    table: str, names: Sequence[str], where: str = "true", *, carried: Sequence[str] = ()
) -> str:
    """Take some columns of a table, values stripped, NULL where they only say that there is none.

    Spaces around a value go, and so do quotes around it, and what is not seen; full-width digits,
    wide spaces and a minus sign become plain ones, and accents one character with their letter
    (Unicode's form C). What is made of columns is for such a table. A database is free to change
    the order of rows, so each carries its number in the staged table, as the column `PLACE`.

    Args:
        table: has the columns.
        names: those to clean.
        where: which rows.
        carried: columns that are taken as they are.
    """
    stripped, unquoted, given = (
        ", ".join(f"{change(sql_name(name))} AS {sql_name(name)}" for name in names)
        for change in (_stripped, _unquoted, _given)
    )
    beside = ", ".join([PLACE, *map(sql_name, carried)])
    inner = f"SELECT rowid AS {beside}, {stripped} FROM {table} WHERE {where}"
    return f"(SELECT {beside}, {given} FROM (SELECT {beside}, {unquoted} FROM ({inner})))"


def _stripped(value: str) -> str:
    odd, plain = sql_text(_ODD + _WIDE + _UNSEEN), sql_text(_PLAIN + " " * len(_WIDE))
    # To trim costs more than to see that there is nothing to trim.
    ends = " OR ".join(f"ends_with({value}, {space})" for space in _SPACES)
    trimmed, untranslated = (
        f"trim({text}, {' || '.join(_SPACES)})"
        for text in (f"translate(nfc_normalize({value}), {odd}, {plain})", value)
    )
    # As many bytes as characters: nothing but ASCII.
    return (
        f"CASE WHEN strlen({value}) <> length({value}) THEN {trimmed} "
        f"WHEN ascii({value}) <= 32 OR {ends} THEN {untranslated} ELSE {value} END"
    )


def _unquoted(value: str) -> str:
    bare = value
    for _, pattern in _QUOTED:
        bare = rf"regexp_replace({bare}, {sql_text(pattern)}, '\1')"
    starts = " OR ".join(f"starts_with({value}, {sql_text(sign)})" for sign in ("'", '"', '="'))
    inner = value
    for pattern, _ in _WRAPPED:
        inner = rf"regexp_replace({inner}, {sql_text(pattern)}, '\1')"
    first = sql_text("".join(signs for _, signs in _WRAPPED))
    is_wrapped = (
        f"contains({first}, left({value}, 1)) AND (contains({value}, '(') "
        f"OR starts_with({value}, '{{') OR starts_with({value}, 'urn:'))"
    )
    return (
        f"CASE WHEN {starts} THEN {bare} WHEN {value} <> '' AND {is_wrapped} THEN {inner} "
        f"ELSE {value} END"
    )


def _given(value: str) -> str:
    """Take for NULL what only says that there is nothing; most values show it by their length."""
    longest = max(map(len, _MISSING))
    first = sql_text("".join(sorted({letter for word in _MISSING for letter in word[:1]})))
    return (
        f"CASE WHEN length({value}) > {longest} OR NOT contains({first}, lower(left({value}, 1))) "
        f"OR NOT {is_word(f'lower({value})', _MISSING)} THEN {value} END"
    )


class Read(NamedTuple):
    """Columns that were read, in SQL for a query of the staged table.

    Attributes:
        join: joins what was read to the table.
        value: DOUBLE, as a reading's `sql`.
        given: whether there is a value at all, readable or not.
    """

    join: str
    value: str
    given: str


def spelled(role: str) -> str:
    """Name the table of what is read of each spelling."""
    return f"spelled_{role}"


def read_spellings(
    con: "DuckDBPyConnection",
    table: str,
    names: Sequence[str],
    reading: Reading,
    *,
    role: str,
    given: str,
) -> Read:
    """Read each spelling in some columns once, however many rows have it.

    What `reading.quick` reads is left out of that, so that of clean columns next to nothing is
    left. Makes the table `spelled(role)`.

    Args:
        con: holds the table.
        table: as it is staged.
        names: the columns.
        reading: how they are read.
        role: names what is made.
        given: SQL that says of cleaned columns whether there is a value at all.
    """
    spellings_read = spelled(role)
    key_of = {name: f"{role} spelled {number}" for number, name in enumerate(names)}
    keys = ", ".join(f"{sql_name(name)} AS {sql_name(key)}" for name, key in key_of.items())
    is_left = f"({reading.quick}) IS NULL" if reading.quick else "true"
    # One number for all of them: nobody asks where a spelling stands.
    spellings = (
        f"(SELECT DISTINCT 0 AS rowid, {', '.join(map(sql_name, names))}, {keys} "
        f"FROM {table} WHERE {is_left})"
    )
    value, is_given = sql_name(f"{role} spelled so"), sql_name(f"{role} spelled at all")
    listed = ", ".join(map(sql_name, key_of.values()))
    con.execute(
        f"CREATE TABLE {spellings_read} AS SELECT {listed}, ({reading.sql})::DOUBLE AS {value}, "
        f"{given} AS {is_given} FROM {cleaned(spellings, names, carried=[*key_of.values()])}"
    )
    same = " AND ".join(
        f"{table}.{sql_name(name)} IS NOT DISTINCT FROM {sql_name(key)}"
        for name, key in key_of.items()
    )
    return Read(
        f"LEFT JOIN {spellings_read} ON {same}",
        f"COALESCE({reading.quick}, {value})" if reading.quick else value,
        f"COALESCE({is_given}, true)",  # all others were read quickly
    )


def is_word(value: str, words: Sequence[str]) -> str:
    """Say in SQL that a value is one of some words."""
    # IN with a long list becomes a join, which shuffles the rows.
    return f"list_contains([{', '.join(map(sql_text, words))}], {value})"


def joined(names: Sequence[str]) -> str:
    """Join columns by spaces in SQL; NULL where one is."""
    return " || ' ' || ".join(map(sql_name, names))


def let(name: str, value: str, sql: str) -> str:
    """Give a value a name in SQL, so that it is worked out once however often it is used.

    Args:
        name: begins with `let_`, so that it is taken for no column.
        value: what it stands for.
        sql: what is made of it.
    """
    return f"list_transform([{value}], lambda {name}: {sql})[1]"


def within(limit: float, sql: str) -> str:
    """Take a number for none if it is beyond a limit, infinite or NaN."""
    return let("let_sum", sql, f"CASE WHEN abs(let_sum) < {limit} THEN let_sum END")


def sample(con: "DuckDBPyConnection", table: str, names: Sequence[str]) -> str:
    """Take some values that are spread over the table; rows that lack one are left out."""
    total = con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    step = max(1, total // _SAMPLE)
    is_given = " AND ".join(f"{sql_name(name)} IS NOT NULL" for name in names)
    return f"(FROM {cleaned(table, names, f'rowid % {step} = 0')} WHERE {is_given})"


def best(
    con: "DuckDBPyConnection",
    table: str,
    names: Sequence[str],
    readings: Sequence[Reading],
    what: str,
    hint: str = LEAVE_OUT,
) -> Reading:
    """Choose the reading that makes sense of most values in a sample, the first one of equals.

    Raises:
        ValueError: there are values, and no reading makes sense of any.
    """
    values = sample(con, table, names)
    counted = ", ".join(f"count({reading.sql})" for reading in readings)
    *counts, total = con.execute(f"SELECT {counted}, count(*) FROM {values}").fetchone()
    chosen = counts.index(max(counts))
    if total and not counts[chosen]:
        refuse(con, values, names, what, hint)
    return readings[chosen]


def refuse(con, values: str, names: Sequence[str], what: str, hint: str) -> None:
    """Raise a ValueError which shows a value that cannot be read."""
    shown = f"left({joined(names)}, {_SHOWN})"
    value = con.execute(f"SELECT {shown} FROM {values} LIMIT 1").fetchone()[0]
    raise ValueError(
        f"no value of {' '.join(names)!r} can be read as a {what}; one is {value!r}{hint}"
    )
