"""Guess what the columns of a table of events mean, and write SQL that reads their values.

Everything here is SQL or makes SQL: a value is cleaned where it lies, whatever its number.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gadkit.store.tables import NUMBER, check_time_format, sql_name, sql_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Roles = dict[str, list[str]]

ROLES = (
    "user", "product", "seller", "time", "rating", "verified", "votes", "amount", "text", "label",
)  # fmt: skip
NODE_TYPES = ROLES[:3]
JOINED = (*NODE_TYPES, "time")  # roles that several columns may play together

# Names that columns have in the wild, less case and punctuation; the first one that is there wins.
_NAMES = {
    "user": (
        "user", "userid", "reviewerid", "customer", "customerid", "buyer", "buyerid", "account",
        "accountid", "member", "memberid", "client", "clientid", "author", "authorid", "source",
    ),
    "product": (
        "product", "productid", "parentasin", "asin", "item", "itemid", "sku", "article",
        "articleid", "listing", "listingid", "merchant", "merchantid", "business", "businessid",
        "target",
    ),
    "seller": (
        "seller", "sellerid", "vendor", "vendorid", "shop", "shopid", "store", "storeid", "brand",
    ),
    "time": (
        "timestamp", "unixreviewtime", "time", "datetime", "date", "eventtime", "createdat",
        "reviewtime", "reviewdate", "orderdate", "purchasedat",
    ),
    "rating": ("rating", "overall", "stars", "starrating"),
    "verified": ("verified", "verifiedpurchase", "isverified"),
    "votes": ("vote", "votes", "helpfulvote", "helpfulvotes"),
    "amount": ("amount", "price", "total", "paid"),
    "text": ("text", "reviewtext", "reviewbody", "comment"),
    "label": ("label", "labels", "isfraud", "fraud", "islaundering", "isspam"),
}  # fmt: skip
# Layouts in which a role takes more than one column; recognized by all the columns they name.
_LAYOUTS = (
    {  # TabFormer, card transactions
        "user": ["User", "Card"], "product": ["Merchant Name"], "seller": ["MCC"],
        "time": ["Year", "Month", "Day", "Time"], "amount": ["Amount"], "label": ["Is Fraud?"],
    },
)  # fmt: skip

_MISSING = ("", "null", "nan", "none", "n/a", "na", "nil", r"\n")
_YES = (
    "1", "1.0", "true", "t", "yes", "y", "fraud", "fraudulent", "spam", "anomaly", "illicit",
    "bad", "confirmed",
)  # fmt: skip
_NO = (
    "0", "0.0", "false", "f", "no", "n", "normal", "legit", "legitimate", "genuine", "licit",
    "ok", "good", "cleared",
)  # fmt: skip
_FORMATS = (
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y",
    "%d/%m/%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y%m%d", "%Y %m %d %H:%M", "%m %d, %Y", "%b %d, %Y",
    "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%a, %d %b %Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y",
)  # fmt: skip
PLACE = sql_name(NUMBER)
_LEAVE_OUT = "; name another column, or '' for none"
_EARLIEST = -2_208_988_800  # 1900, in seconds since 1970
_SAMPLE = 5000  # values looked at to tell how a column is written
_SHOWN, _LISTED = 100, 30  # characters of a value, and columns, that an error shows
_LARGEST = 1e30  # features are float32, and differences of values must fit
_LATEST = 253_402_300_800  # seconds; where the year 10000 begins


class Reading(NamedTuple):
    """How a column is read.

    Attributes:
        sql: an expression that gives DOUBLE, NULL where there is no readable value.
        written: how the values are written, in words.
    """

    sql: str
    written: str


def guess_roles(columns: Sequence[str], given: dict[str, Sequence[str]] | None = None) -> Roles:
    """Say which columns play which role.

    Args:
        columns: the columns there are.
        given: columns by role, as the user says; an empty list leaves a role out.

    Returns:
        Columns by role, in the order of `ROLES`; roles for which there is nothing are left out.

    Raises:
        ValueError: a given column is not there, a role is unknown or takes no more than one, or no
            column looks like a user or a product.
    """
    given = {role: list(names) for role, names in (given or {}).items()}
    for role, names in given.items():
        if role not in ROLES:
            raise ValueError(f"{role!r} is no role; expected one of {', '.join(ROLES)}")
        if len(names) > 1 and role not in JOINED:
            raise ValueError(f"{role} is one column, got {_list(names)}; name one of them")
        for name in names:
            if name not in columns:
                raise ValueError(f"there is no column {name!r} for {role}; found {_list(columns)}")
    taken = {name for names in given.values() for name in names}
    layout = next((pattern for pattern in _LAYOUTS if _all_names(pattern) <= set(columns)), {})
    roles = {}
    for role in ROLES:
        chosen = given.get(role, layout.get(role) or _named_like(role, columns, taken))
        if chosen:
            roles[role] = list(chosen)
            taken |= set(chosen)
    for role in ("user", "product"):
        if role not in roles:
            raise ValueError(
                f"no column is called like a {role}; found {_list(columns)}; "
                f"say which one it is with --{role} COLUMN"
            )
    return roles


def _all_names(layout: Roles) -> set[str]:
    return {name for names in layout.values() for name in names}


def _named_like(role: str, columns: Sequence[str], taken: set[str]) -> list[str]:
    plain = {_plain(name): name for name in reversed(columns) if name not in taken}
    return next(([plain[name]] for name in _NAMES[role] if name in plain), [])


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _list(columns: Sequence[str]) -> str:
    shown = [name[:_SHOWN] for name in columns[:_LISTED]]
    return ", ".join(shown + ["..."] * (len(columns) > _LISTED))


def find_id(columns: Sequence[str], node_type: str, roles: Roles) -> list[str]:
    """Return the columns that name a node type in another table: as in the events, or as usual."""
    names = roles.get(node_type, [])
    if names and set(names) <= set(columns):
        return names
    return _named_like(node_type, columns, set())


def cleaned(table: str, names: Sequence[str], where: str = "true") -> str:
    """Take some columns of a table, values stripped, NULL where they only say that there is none.

    What this module makes of columns is for such a table. A database is free to change the order
    of rows, so each carries its number in the staged table, as the column `PLACE`.
    """
    listed = ", ".join(map(_cleaned, names))
    return f"(SELECT rowid AS {PLACE}, {listed} FROM {table} WHERE {where})"


def _cleaned(name: str) -> str:
    value = f"trim({sql_name(name)}, ' ' || chr(9) || chr(160))"
    longest = max(map(len, _MISSING))
    return (
        f"CASE WHEN length({value}) > {longest} OR NOT {_is_one(f'lower({value})', _MISSING)} "
        f"THEN {value} END AS {sql_name(name)}"
    )


def id_of(names: Sequence[str]) -> str:
    """Read an id, of several columns joined by `-`; `12.0` is the id 12."""
    if len(names) == 1:
        return _id_of(names[0])
    # What joins must not be taken for part of what is joined: a-b and c are not a and b-c.
    parts = (rf"replace(replace({_id_of(name)}, '\', '\\'), '-', '\-')" for name in names)
    return " || '-' || ".join(parts)


def _id_of(name: str) -> str:
    value = sql_name(name)
    return (
        rf"CASE WHEN contains({value}, '.') THEN regexp_replace({value}, '^(\d+)\.0+$', '\1') "
        f"ELSE {value} END"
    )


def flag_of(con: "DuckDBPyConnection", table: str, name: str) -> Reading:
    """Read yes or no as 1 or 0.

    Raises:
        ValueError: there are values, and none is yes or no.
    """
    value = f"lower({sql_name(name)})"
    yes, no = _is_one(value, _YES), _is_one(value, _NO)
    flag = Reading(f"CASE WHEN {yes} THEN 1 WHEN {no} THEN 0 END", "flag")
    return _best(con, table, [name], [flag], "yes or no", _LEAVE_OUT)


def number_of(con: "DuckDBPyConnection", table: str, name: str) -> Reading:
    """Read numbers as people write them: currency signs, thousands separators, decimal commas.

    Raises:
        ValueError: there are values, and none is a number.
    """
    value = sql_name(name)
    bare = rf"regexp_replace({value}, '[$€£¥%\s\xa0\x{{202f}}'']', '', 'g')"
    grouped = rf"""CASE WHEN regexp_matches({bare}, '^[+-]?[1-9]\d{{0,2}}(,\d{{3}})+(\.\d*)?$')
        THEN TRY_CAST(replace({bare}, ',', '') AS DOUBLE) ELSE TRY_CAST({bare} AS DOUBLE) END"""
    decimal = r"'^[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d+)?$'"
    with_comma = rf"""CASE WHEN regexp_matches({bare}, {decimal})
        THEN TRY_CAST(replace(replace({bare}, '.', ''), ',', '.') AS DOUBLE)
        ELSE TRY_CAST({bare} AS DOUBLE) END"""
    plain = f"TRY_CAST({value} AS DOUBLE)"  # is enough for most, and quick
    with_point = f"CASE WHEN {plain} IS NULL THEN {grouped} ELSE {plain} END"
    readings = [
        Reading(_within(_LARGEST, with_point), "numbers"),
        Reading(_within(_LARGEST, with_comma), "numbers with a decimal comma"),
    ]
    return _best(con, table, [name], readings, "number", _LEAVE_OUT)


def time_of(
    con: "DuckDBPyConnection", table: str, names: Sequence[str], time_format: str | None = None
) -> Reading:
    """Read times as seconds since 1970, UTC where no zone is given.

    Several columns are joined by spaces first. The way that reads most of a sample is taken; the
    first one listed where two read the same, so that 03/04/2019 is March 4 unless a day is over 12.
    Numbers count seconds, or by their size milli-, micro- or nanoseconds.

    Args:
        con: the database.
        table: the table in it.
        names: the columns.
        time_format: how times are written, as strptime has it, where that is known.

    Raises:
        ValueError: there are values, and none is a time; or `time_format` is none.
    """
    if time_format:
        check_time_format(con, time_format)
    value = " || ' ' || ".join(map(sql_name, names))
    zoned = Reading(_dated(f"epoch(TRY_CAST({value} AS TIMESTAMPTZ))"), "ISO 8601")
    since = _since_1970(con, table, names, f"TRY_CAST({value} AS DOUBLE)")
    written = [
        Reading(_dated(f"epoch(try_strptime({value}, {sql_text(date_format)}))"), date_format)
        for date_format in ((time_format,) if time_format else _FORMATS)
    ]
    readings = written if time_format else [zoned, *written]
    # Eight digits that make a date are one: numbers are for columns that hold few dates.
    last = None if time_format else since
    best = _best(con, table, names, readings, "time", "; say how with --time-format", last)
    if best in (zoned, *written[: bool(time_format)]):
        return best
    with_zones = f"CASE WHEN ({best.sql}) IS NULL THEN {zoned.sql} ELSE {best.sql} END"
    return Reading(with_zones, best.written)


def _since_1970(con, table, names, number: str) -> Reading:
    """Read numbers in the unit that the middle one of a column suggests."""
    sample = _sample(con, table, names)
    middle = con.execute(f"SELECT median(abs({number})) FROM {sample}").fetchone()[0] or 0
    units = (("seconds", 1e11, 1), ("milliseconds", 1e14, 1e3), ("microseconds", 1e17, 1e6))
    fitting = (unit for unit in units if middle < unit[1])
    name, _, per_second = next(fitting, ("nanoseconds", None, 1e9))
    return Reading(_within(_LATEST, f"{number} / {per_second}"), f"{name} since 1970")


def _sample(con, table, names) -> str:
    """Take some values that are spread over the table."""
    total = con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    step = max(1, total // _SAMPLE)
    is_given = " AND ".join(f"{sql_name(name)} IS NOT NULL" for name in names)
    return f"(FROM {cleaned(table, names, f'rowid % {step} = 0')} WHERE {is_given})"


def _best(
    con, table, names, readings, what: str, hint: str, last: Reading | None = None
) -> Reading:
    """Choose the reading that makes sense of most values in a sample.

    The last resort is chosen only if it makes sense of more than twice as many as the others.
    """
    sample = _sample(con, table, names)
    readings = [*readings, last] if last else readings
    counted = ", ".join(f"count({reading.sql})" for reading in readings)
    counts = con.execute(f"SELECT {counted}, count(*) FROM {sample}").fetchone()
    worth = [
        count / 2 if reading is last else count
        for reading, count in zip(readings, counts[:-1], strict=True)
    ]
    best = worth.index(max(worth))
    if counts[-1] and not counts[best]:
        columns = ", ".join(map(sql_name, names))
        joined = f"left(concat_ws(' ', {columns}), {_SHOWN})"
        value = con.execute(f"SELECT {joined} FROM {sample} LIMIT 1").fetchone()[0]
        raise ValueError(
            f"no value of {' '.join(names)!r} can be read as a {what}; one is {value!r}{hint}"
        )
    return readings[best]


def _within(limit: float, sql: str) -> str:
    """Take a number for none if it is beyond a limit, infinite or NaN."""
    return f"CASE WHEN abs({sql}) < {limit} THEN {sql} END"


def _dated(sql: str) -> str:
    """Take a date for none before 1900: the year 23 is one that was written with two digits."""
    return _within(_LATEST, f"CASE WHEN {sql} >= {_EARLIEST} THEN {sql} END")


def _is_one(value: str, words: Sequence[str]) -> str:
    # IN with a long list becomes a join, which shuffles the rows.
    return f"list_contains([{', '.join(map(sql_text, words))}], {value})"
