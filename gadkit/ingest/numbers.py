"""Read numbers as people write them: currencies, separators of every kind, brackets for a loss."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gadkit.ingest import readings
from gadkit.ingest.readings import Reading
from gadkit.store.tables import sql_name, sql_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LARGEST = 1e30  # features are float32, and differences of values must fit
_FEW = 0.005  # a currency in fewer of the values is a slip, and not worth a remark
# Codes of ISO 4217 that are money today, and signs that are letters.
_SIDE = r"(?i:\d\s*cr[.]?)$"
_DEBIT = r"^(.*\d)\s*(?i:dr[.]?)$"
_CODES = (
    "USDT|USDC|"
    "AED|AFN|ALL|AMD|AOA|ARS|AUD|AWG|AZN|BAM|BBD|BDT|BGN|BHD|BIF|BMD|BND|BOB|BRL|BSD|BTN|BWP|"
    "BYN|BZD|CAD|CDF|CHF|CLP|CNY|COP|CRC|CUP|CVE|CZK|DJF|DKK|DOP|DZD|EGP|ERN|ETB|EUR|FJD|FKP|"
    "GBP|GEL|GHS|GIP|GMD|GNF|GTQ|GYD|HKD|HNL|HTG|HUF|IDR|ILS|INR|IQD|IRR|ISK|JMD|JOD|JPY|KES|"
    "KGS|KHR|KMF|KPW|KRW|KWD|KYD|KZT|LAK|LBP|LKR|LRD|LSL|LYD|MAD|MDL|MGA|MKD|MMK|MNT|MOP|MRU|"
    "MUR|MVR|MWK|MXN|MYR|MZN|NAD|NGN|NIO|NOK|NPR|NZD|OMR|PAB|PEN|PGK|PHP|PKR|PLN|PYG|QAR|RON|"
    "RSD|RUB|RWF|SAR|SBD|SCR|SDG|SEK|SGD|SHP|SLE|SOS|SRD|SSP|STN|SVC|SYP|SZL|THB|TJS|TMT|TND|"
    "TOP|TRY|TTD|TWD|TZS|UAH|UGX|USD|UYU|UZS|VES|VND|VUV|WST|XAF|XCD|XOF|XPF|YER|ZAR|ZMW|ZWL|"
    "BTC|ETH|USDT|USDC|HRK"
)
_SIGNS = "kr[.]?|zł|Kč|Ft|Rs[.]?|руб[.]?|лв[.]?|lei|Fr[.]?|RM|Rp[.]?|元|円"
_MONEY = rf"(?i:[A-Z]{{0,3}}\p{{Sc}}|{_CODES}|{_SIGNS})"
_SHORT = {"k": 3, "m": 6, "mn": 6, "mio": 6, "bn": 9, "lakhs?": 5, "lacs?": 5, "crores?": 7}
_POINTED = r"₫|(?i:VND|IDR|Rp)"  # have no decimals today, and points between thousands
_SPACES = r"[\s\x{a0}\x{2009}\x{202f}'’%]"


def number_of(con: "DuckDBPyConnection", table: str, *names: str) -> Reading:
    """Read numbers with currency signs, thousands separators, decimal commas or a sign behind.

    `(12.00)` and `12.00-` are negative. Two columns are money that went out and came in
    (`_signed`).

    Raises:
        ValueError: there are values, and none is a number.
    """
    if len(names) > 1:
        return _signed(con, table, names)
    (name,) = names
    value = sql_name(name)
    values = readings.sample(con, table, names)
    is_pointed, has_sides, num_dr = con.execute(
        f"SELECT count(*) FILTER (regexp_matches({value}, {sql_text(_POINTED)})) > 0, "
        f"count(*) FILTER (regexp_matches({value}, {sql_text(_SIDE)})) > 0, "
        f"count(*) FILTER (regexp_matches({value}, {sql_text(_DEBIT)})) FROM {values}"
    ).fetchone()
    bare = _bare(value, pointed=is_pointed)
    styles = {"numbers": _with_point, "numbers with a decimal comma": _with_comma}
    # Whatever the column, 1.234,50 is read; but it is no sign of how the others are written.
    alone, beside = (
        [
            Reading(readings.let("let_bare", bare, read("let_bare", foreign=foreign)), written)
            for written, read in styles.items()
        ]
        for foreign in (False, True)
    )
    alone = [reading._replace(sql=readings.within(_LARGEST, reading.sql)) for reading in alone]
    chosen = readings.best(con, table, names, alone, "number").written
    sql = next(reading.sql for reading in beside if reading.written == chosen)
    quick = ""
    if chosen == "numbers":
        plain = f"TRY_CAST({value} AS DOUBLE)"
        sql, quick = f"COALESCE({plain}, {sql})", readings.within(_LARGEST, plain)
    note = _currencies(con, table, name)
    if has_sides:
        sides = "CR is taken for money in" + (
            ", DR for money out" if num_dr else ", not for crores"
        )
        note = "; ".join(filter(None, (note, sides)))
    return Reading(readings.within(_LARGEST, sql), chosen, note, quick=quick)


def _bare(value: str, *, pointed: bool = False) -> str:
    """Write a number with digits, separators and a leading minus alone, in SQL.

    Args:
        value: the SQL of a text.
        pointed: the column has money without decimals, whose points stand between thousands.
    """
    bare = f"regexp_replace({value}, {sql_text(_SPACES)}, '', 'g')"
    bare = f"regexp_replace({bare}, {sql_text('[–—−]')}, '-', 'g')"
    bare = f"regexp_replace({bare}, {sql_text(_DEBIT)}, '-\\1')"
    bare = f"regexp_replace({bare}, {sql_text(r'(?i:cr[.]?)$|[+]$|[.]-+$')}, '')"
    bare = f"regexp_replace({bare}, ',-+$', ',00')"
    bare = f"regexp_replace({bare}, {sql_text(f'^([(+-]*){_MONEY}')}, '\\1')"
    bare = f"regexp_replace({bare}, {sql_text(f'{_MONEY}([)-]*)$')}, '\\1')"
    bare = f"regexp_replace({bare}, {sql_text(r'^(?:[(]([^()+-]+)[)]|([^()+-]+)-)$')}, '-\\1\\2')"
    for word, zeros in _SHORT.items():
        bare = f"regexp_replace({bare}, {sql_text(rf'^(-?[0-9.,]+)(?i:{word})$')}, '\\1e{zeros}')"
    if not pointed:
        return bare
    is_such = (
        f"regexp_matches({value}, {sql_text(_POINTED)}) AND "
        rf"regexp_matches({bare}, '^-?[1-9]\d{{0,2}}(\.\d{{3}})+$')"
    )
    return f"CASE WHEN {is_such} THEN replace({bare}, '.', '') ELSE {bare} END"


def _cast(bare: str, pattern: str, remove: str, point: str = ".") -> str:
    """Read numbers of a pattern, after removal of one sign and with another for the point."""
    number = f"replace({bare}, {sql_text(remove)}, '')"
    number = number if point == "." else f"replace({number}, {sql_text(point)}, '.')"
    is_such = f"regexp_matches({bare}, {sql_text(pattern)})"
    return f"CASE WHEN {is_such} THEN TRY_CAST({number} AS DOUBLE) END"


def _with_point(bare: str, *, foreign: bool) -> str:
    """Read 1,234.5, and 1,23,456.7 as India writes; beside them what is clear in any column."""
    grouped = r"^[+-]?[1-9](\d{0,2}(,\d{3})+|\d?(,\d{2})*,\d{3})(\.\d*)?$"
    read = [f"TRY_CAST({bare} AS DOUBLE)", _cast(bare, grouped, ",")]
    if foreign:  # both signs, or one that repeats: 1.234,50 and 1.234.567
        pattern = r"^[+-]?[1-9]\d{0,2}((\.\d{3})+,\d+|(\.\d{3}){2,})$"
        read.append(_cast(bare, pattern, ".", ","))
    return f"COALESCE({', '.join(read)})"


def _with_comma(bare: str, *, foreign: bool) -> str:
    """Read 1.234,5; beside it what is clear in any column."""
    decimal = r"^[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d+)?([eE][+-]?\d+)?$"
    read = [_cast(bare, decimal, ".", ","), f"TRY_CAST({bare} AS DOUBLE)"]
    if foreign:  # 1,234.50 and 1,234,567 and 1,23,456
        pattern = r"^[+-]?[1-9](\d{0,2}((,\d{3})+\.\d+|(,\d{3}){2,})|\d?(,\d{2})+,\d{3}(\.\d*)?)$"
        read.append(_cast(bare, pattern, ","))
    return f"COALESCE({', '.join(read)})"


def _signed(con, table: str, names: Sequence[str]) -> Reading:
    """Read what came in less what went out, in two columns of which one is given."""
    parts = [number_of(con, table, name) for name in names]
    amounts = [f"COALESCE({part.sql}, 0)" for part in parts]
    debits = [_is_debit(name) for name in names]
    written = f"{' plus '.join(names)}; {parts[0].written}"
    total = " + ".join(amounts)
    if len(names) == 2 and debits[0] != debits[1]:
        out, into = (0, 1) if debits[0] else (1, 0)
        total = f"{amounts[into]} - abs({amounts[out]})"
        written = f"{names[into]} less {names[out]}; {parts[0].written}"
    given = " OR ".join(f"({part.sql}) IS NOT NULL" for part in parts)
    notes = list(dict.fromkeys(part.note for part in parts if part.note))
    return Reading(f"CASE WHEN {given} THEN {total} END", written, "; ".join(notes))


def _is_debit(name: str) -> bool:
    return bool(re.search(r"debit|withdraw|out$|out\b|spent|^dr$", name.lower()))


def _currencies(con, table: str, name: str) -> str:
    """Say which currencies a sample of the values is in, if they are several."""
    value = sql_name(name)
    bare = f"regexp_replace({value}, {sql_text(_SPACES + '|[0-9.,()+-]')}, '', 'g')"
    values = readings.sample(con, table, [name])
    counts = con.execute(
        f"SELECT upper({bare}) AS currency, count(*) AS n FROM {values} "
        f"WHERE regexp_full_match({bare}, {sql_text(_MONEY)}) GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    total = sum(count for _, count in counts)
    shown = [
        f"{currency} ({count / total:.0%})" for currency, count in counts if count > _FEW * total
    ]
    if len(shown) < 2:
        return ""
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return f"several currencies: {', '.join(shown[:5])}{more}; nothing is converted"
