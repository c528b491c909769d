"""Read times, however they are written: as seconds since 1970, UTC where no zone is given.

A column is looked at in a sample. Each style in which times are written is tried on it, and the one
that reads most is taken; what it leaves is given to a second and a third one, where they leave no
doubt.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gadkit.ingest import readings
from gadkit.ingest.readings import Reading, joined
from gadkit.store.tables import check_time_format, sql_name, sql_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DAY = 86_400
UNITS = {  # words for --time-format, beside the formats of strptime: seconds in one of each
    "nanoseconds": 1e-9, "microseconds": 1e-6, "milliseconds": 1e-3, "seconds": 1.0,
    "minutes": 60.0, "hours": 3600.0, "days": float(DAY),
}  # fmt: skip
EXCEL = "excel"  # the same for days since 1899-12-30

_EXCEL_STYLE = "days as Excel counts them"
_HINT = "; say how with --time-format"
_EARLIEST = -2_208_988_800  # 1900, in seconds since 1970
_LATEST = 253_402_300_800  # where the year 10000 begins
_FAR = 4_133_980_800  # 2101: a number that is later must count something shorter than seconds
_PLAUSIBLE = (631_152_000, _FAR)  # 1990: numbers beside dates are times from here on
_EXCEL_1970 = 25_569  # the day 1970-01-01 in Excel
_EXCEL_DAYS = (32_874, 54_789)  # 1990 to 2050
_DAYS_SINCE_1970 = (10_957, 24_837)  # 2000 to 2038
_MOST_STEPS = 20_000  # a counter of steps does not go further: two years of hours do
_MOST_STYLES = 3  # in one column

_DATES = (
    "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d",
    "%Y %m %d", "%m %d, %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d %b %Y", "%d %B %Y",
    "%d-%b-%Y", "%d/%b/%Y", "%a, %d %b %Y", "%a %b %d %Y", "%a %d %b %Y", "%A, %B %d, %Y",
    "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%y", "%Y-%m-%d",
)  # fmt: skip
_CLOCKS = (
    "",
    " %H:%M:%S",
    " %H:%M",
    " %I:%M:%S %p",
    " %I:%M %p",
    " %I:%M%p",
    ", %H:%M:%S",
    ", %H:%M",
)
FORMATS = (
    *(date + clock for date in _DATES for clock in _CLOCKS if date + clock != "%Y%m%d"),
    "%Y%m%dT%H%M%S", "%Y%m%dT%H%M", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S", "%d%b%Y",
    "%d%b%Y:%H:%M:%S", "%m/%d/%Y, %I:%M:%S %p", "%m/%d/%Y, %I:%M %p", "%b %d, %Y, %I:%M:%S %p",
    "%b %d, %Y, %I:%M %p", "%Y-%m", "%H:%M:%S %d/%m/%Y", "%H:%M %d/%m/%Y",
)  # fmt: skip
_DIGITS = {  # digits alone that are a date, and what they look like
    "%Y%m%d": r"(19|20)\d{6}", "%Y%m%d%H%M": r"(19|20)\d{10}", "%Y%m%d%H%M%S": r"(19|20)\d{12}",
    "%Y%m%d%H%M%S%g": r"(19|20)\d{15}",
}  # fmt: skip
_DIGITS_THROUGHOUT = {  # the same where a number might mean something else: no row may differ
    "%y%m%d": r"\d{6}", "%Y%m": r"(19|20)\d{4}", "%Y%m%d%H": r"(19|20)\d{8}",
    "%d%m%Y": r"\d{4}(19|20)\d\d", "%m%d%Y": r"\d{4}(19|20)\d\d", "%Y": r"(199|20[0-4])\d",
    "%y%m%d%H%M%S": r"\d{12}",
}  # fmt: skip

# What stands behind a time of day: a fraction, AM or PM, a zone, a remark in brackets, a year.
_BEHIND = (
    r"^(.*?(?:\d:\d\d(?::\d\d)?|\dT\d{4}(?:\d\d)?))([.,:]\d+)?(\s?[AaPp][Mm])?\s*"
    r"(?i:(Z|UTC|UT|GMT|EST|EDT|CST|CDT|MST|MDT|PST|PDT))?\s*([+-]\d{1,2}(?::?\d\d)?)?"
    r"(?:\s*[(][^()]*[)])?(\s\d{4})?$"
)
_ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}


class _Style(NamedTuple):
    """A way to write times.

    Attributes:
        written: in words.
        sql: gives seconds since 1970, NULL for what is not written so.
        test: of a sample: gives NULL where the style does not fit; `sql` by default.
        throughout: the style is taken only if it reads every number of the sample.
        weight: what a value that is read counts in the choice.
        is_counter: see `Reading`.
    """

    written: str
    sql: str
    test: str
    throughout: bool = False
    weight: float = 1.0
    is_counter: bool = False


def time_of(
    con: "DuckDBPyConnection", table: str, names: Sequence[str], time_format: str | None = None
) -> Reading:
    """Read times as seconds since 1970, UTC where no zone is given.

    Several columns are joined by spaces first; of two, one may be a date and the other a time of
    day. 03/04/2019 is March 4 unless a day of the column is over 12. A number counts seconds,
    milli-, micro- or nanoseconds, as its size says.

    Args:
        con: the database.
        table: the table in it.
        names: the columns.
        time_format: how times are written, as strptime has it, or one of `UNITS` or `EXCEL`, where
            that is known.

    Raises:
        ValueError: there are values, and none is a time; or `time_format` is none.
    """
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE time_sample AS FROM {readings.sample(con, table, names)}"
    )
    try:
        if time_format:
            return _given(con, names, time_format)
        total = con.execute("SELECT count(*) FROM time_sample").fetchone()[0]
        chosen = _column(con, joined(names))
        if len(names) == 2:
            chosen = _pair(con, names, chosen, total)
        if total and not chosen:
            readings.refuse(con, "time_sample", names, "time", _HINT)
        return chosen or Reading(_iso(joined(names)), "ISO 8601")
    finally:
        con.execute("DROP TABLE time_sample")


def partner_of(name: str, columns: Sequence[str]) -> list[str]:
    """Return date and time of day where a column is one of the two and another one is the other.

    They are told by their names: Date and Time, order_date and order_time.
    """
    plain = {"".join(filter(str.isalnum, column.lower())): column for column in reversed(columns)}
    word = "".join(filter(str.isalnum, name.lower()))
    stem = word[:-4]
    if word.endswith("date") and stem + "time" in plain:
        return [name, plain[stem + "time"]]
    if word.endswith("time") and stem + "date" in plain:
        return [plain[stem + "date"], name]
    return [name]


def _given(con, names: Sequence[str], time_format: str) -> Reading:
    """Read as the user says: in a unit, or in a format; ISO 8601 is read beside a format."""
    value = joined(names)
    number = _number(value)
    if time_format.lower() in (*UNITS, EXCEL):
        word = time_format.lower()
        if word == EXCEL:
            reading = Reading(_excel(number), _EXCEL_STYLE)
        else:
            seconds = f"{number} * {UNITS[word]}" if UNITS[word] >= 1 else (
                f"{number} / {round(1 / UNITS[word])}"
            )  # fmt: skip
            reading = Reading(readings.within(_LATEST, seconds), f"{word} since 1970")
            if _count(con, f"CASE WHEN {number} > {_FAR / 30 / UNITS[word]} THEN 1 END") == 0:
                reading = reading._replace(
                    written=f"a counter of {word}, not dates", is_counter=True
                )
    else:
        check_time_format(con, time_format)
        style = _formatted(value, time_format)
        if _count(con, style) < _count(con, _behind(value, time_format)):
            style = _behind(value, time_format)
        reading = Reading(f"COALESCE({style}, {_iso(value)})", time_format)
    if not _count(con, reading.sql) and _count(con, value):
        readings.refuse(con, "time_sample", names, "time", _HINT)
    return reading


def _column(con, value: str) -> Reading | None:
    """Choose how a column, or several that are joined, is read; None where nothing fits."""
    styles = _styles(con, value)
    numbers = _count(con, _number(value))
    counts = _counts(con, [style.test for style in styles])
    worth = [
        0 if style.throughout and count < numbers else count * style.weight
        for style, count in zip(styles, counts, strict=True)
    ]
    if not max(worth):
        return None
    chosen = [styles[worth.index(max(worth))]]
    while len(chosen) < _MOST_STYLES and not chosen[0].is_counter:
        further = _further(con, value, styles, chosen)
        if not further:
            break
        chosen.append(further)
    read = [style.sql for style in chosen]
    if not any(style.written == "ISO 8601" for style in chosen) and not chosen[0].throughout:
        read.append(_iso(value))
    written = list(dict.fromkeys(style.written for style in chosen))
    sql = f"COALESCE({', '.join(read)})" if len(read) > 1 else read[0]
    return Reading(sql, ", or ".join(written), is_counter=chosen[0].is_counter)


def _styles(con, value: str) -> list[_Style]:
    """List the styles to try, those that are taken first where two read the same."""
    forms = [_formatted]
    if _count(con, f"CASE WHEN {_body(value)} <> {value} THEN 1 END"):
        forms.append(_behind)
    styles = [_Style("ISO 8601", sql, sql) for sql in (_iso(value), _iso_behind(value))]
    for written in FORMATS:
        styles += [_Style(written, sql, sql) for sql in (form(value, written) for form in forms)]
    for written, pattern in (_DIGITS | _DIGITS_THROUGHOUT).items():
        sql = _digits(value, written, pattern)
        styles.append(_Style(written, sql, sql, throughout=written in _DIGITS_THROUGHOUT))
    return styles + _numbers(con, value)


def _numbers(con, value: str) -> list[_Style]:
    """List the ways in which a number may be a time."""
    number = _number(value)
    excel, days = (
        f"CASE WHEN {number} BETWEEN {low} AND {high} THEN {read} END"
        for (low, high), read in ((_EXCEL_DAYS, _excel(number)), (_DAYS_SINCE_1970, number))
    )
    whole = f"{number} >= 0 AND {number} = floor({number})"
    step = f"CASE WHEN {whole} AND {number} < {_MOST_STEPS} THEN {number} END"
    day = f"CASE WHEN {whole} THEN {days} END"
    since_1970 = readings.within(_LATEST, f"({number} * {DAY})")
    steps = readings.within(_LATEST, f"({number} * {UNITS['hours']:.0f})")
    counter = "a counter of steps, not dates; each taken for an hour"
    return [
        _Style(_EXCEL_STYLE, _excel(number), excel, throughout=True),
        _Style("days since 1970", since_1970, day, throughout=True),
        _Style(counter, steps, step, throughout=True, is_counter=True),
        _Style(_units(con, number), _since_1970(number), _since_1970(number), weight=0.5),
    ]


def _further(con, value: str, styles: list[_Style], chosen: list[_Style]) -> _Style | None:
    """Find a style for what those that are chosen leave unread, if there is no doubt about it."""
    left = " AND ".join(f"({style.sql}) IS NULL" for style in chosen)
    order = next(filter(None, (_order(style.written) for style in chosen)), "")
    low, high = _PLAUSIBLE
    candidates = []
    for style in styles:
        if style in chosen or (style.throughout and style.written != _EXCEL_STYLE):
            continue
        if _order(style.written) and order and _order(style.written) != order:
            continue
        if style.throughout:
            style = style._replace(sql=style.test)
        if style.weight < 1:  # of numbers
            within = f"CASE WHEN {style.sql} BETWEEN {low} AND {high} THEN {style.sql} END"
            style = style._replace(sql=within, test=within)
        candidates.append(style)
    counts = _counts(con, [style.test for style in candidates], left)
    if not candidates or not max(counts):
        return None
    best = candidates[counts.index(max(counts))]
    if _order(best.written) and not order:
        other = {"%m": "%d", "%d": "%m"}
        swapped = re.sub("%[md]", lambda part: other[part[0]], best.written)
        count = max((n for style, n in zip(candidates, counts, strict=True)
                     if style.written == swapped), default=0)  # fmt: skip
        if count == max(counts):
            return None
    return best


def _order(written: str) -> str:
    """Return "md" or "dm" where both are numbers between slashes or dashes, before the year."""
    order = re.match("%([md])[/-]%([md])[/-]%[yY]", written)
    return "".join(order.groups()) if order else ""


def _pair(con, names: Sequence[str], chosen: Reading | None, total: int) -> Reading | None:
    """Read two columns as a date and a time of day, where that reads more than the two joined.

    Where one of them holds the whole time, the other one is left alone.
    """
    best, most = chosen, _count(con, chosen.sql) if chosen else 0
    if most >= total:
        return best
    alone = {}
    for name, other in (tuple(names), tuple(names[::-1])):
        date = _column(con, sql_name(name))
        if not date or date.is_counter:
            continue
        alone[name] = date
        sql = f"floor(({date.sql}) / {DAY}) * {DAY} + {_clock(con, sql_name(other))}"
        count = _count(con, f"CASE WHEN ({date.sql}) % {DAY} = 0 THEN {sql} END")
        if count > most:
            best, most = Reading(sql, f"{date.written}, and the time of day of {other!r}"), count
    for name, reading in alone.items():
        if most < total / 2 and (count := _count(con, reading.sql)) > most:
            best, most = reading._replace(names=(name,)), count
    return best


def _clock(con, value: str) -> str:
    """Read a time of day in seconds: 12:34, 12:34:56, 12:34 PM, 1234, 123456, half a day as 0.5."""
    bare = (
        rf"regexp_replace(regexp_replace({value}, '^(1899|1900)-\d\d-\d\d[ T]', ''), '[.]\d+$', '')"
    )
    clocks = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p")
    read = [f"epoch(try_strptime({bare}, '{clock}')) - {_EARLIEST}" for clock in clocks]
    number = _number(value)
    longest, largest = con.execute(
        rf"SELECT max(length({value})) FILTER (regexp_full_match({value}, '\d+')), "
        f"max({number}) FROM time_sample"
    ).fetchone()
    if longest and longest <= 2 and largest < 24:
        read.append(f"CASE WHEN {number} BETWEEN 0 AND 23 THEN {number} * 3600 END")
    elif longest:
        width = 6 if longest > 4 else 4
        digits = f"lpad({value}, {width}, '0')"
        pattern = r"([01]\d|2[0-3])[0-5]\d" + r"[0-5]\d" * (width == 6)
        form = "%H%M%S" if width == 6 else "%H%M"
        read.append(
            f"CASE WHEN length({value}) <= {width} AND regexp_full_match({digits}, '{pattern}') "
            f"THEN epoch(try_strptime({digits}, '{form}')) - {_EARLIEST} END"
        )
    read.append(f"CASE WHEN {number} >= 0 AND {number} < 1 THEN round({number} * {DAY}) END")
    return f"COALESCE({', '.join(read)})"


def _iso(value: str) -> str:
    return _dated(f"epoch(TRY_CAST({value} AS TIMESTAMPTZ))")


def _iso_behind(value: str) -> str:
    """Read ISO 8601 with what `_BEHIND` takes off: a space before the zone, a comma."""
    return _dated(f"(epoch(TRY_CAST({_body(value)} AS TIMESTAMP)) - {_shift(value)})")


def _formatted(value: str, written: str) -> str:
    return _dated(f"epoch(try_strptime({value}, {sql_text(written)}))")


def _behind(value: str, written: str) -> str:
    """Read a format, with what `_BEHIND` takes off."""
    return _dated(f"(epoch(try_strptime({_body(value)}, {sql_text(written)})) - {_shift(value)})")


def _body(value: str) -> str:
    """Take off fraction, zone and remark."""
    return rf"regexp_replace({value}, {sql_text(_BEHIND)}, '\1\3\6')"


def _shift(value: str) -> str:
    """Return the seconds that zone and fraction take from a time: east of Greenwich it is less."""
    fraction, zone, offset = (
        f"regexp_extract({value}, {sql_text(_BEHIND)}, {group})" for group in (2, 4, 5)
    )
    digits = f"replace({offset}[2:], ':', '')"
    hours = f"TRY_CAST(if(length({digits}) > 2, {digits}[:-3], {digits}) AS INTEGER)"
    minutes = f"TRY_CAST(if(length({digits}) > 2, {digits}[-2:], '0') AS INTEGER)"
    named = " ".join(f"WHEN '{name}' THEN {hour * 3600}" for name, hour in _ZONES.items())
    return (
        f"(CASE WHEN {offset} = '' THEN CASE upper({zone}) {named} ELSE 0 END "
        f"ELSE if({offset}[1] = '-', -1, 1) * ({hours} * 3600 + {minutes} * 60) END "
        f"- COALESCE(TRY_CAST('0.' || {fraction}[2:] AS DOUBLE), 0))"
    )


def _digits(value: str, written: str, pattern: str) -> str:
    bare = rf"regexp_replace({value}, '\.0+$', '')"
    return (
        f"CASE WHEN regexp_full_match({bare}, '{pattern}') "
        f"THEN {_dated(f'epoch(try_strptime({bare}, {sql_text(written)}))')} END"
    )


def _number(value: str) -> str:
    return f"TRY_CAST(replace({value}, ',', '.') AS DOUBLE)"


def _unit(number: str, choose: Callable[[str], str]) -> str:
    """Choose by the unit that a number counts, as its size says."""
    units = list(UNITS)[3::-1]  # from seconds to nanoseconds
    limits = (_FAR / UNITS[unit] for unit in units)
    cases = " ".join(
        f"WHEN abs({number}) < {limit:.0f} THEN {choose(unit)}"
        for unit, limit in zip(units[:-1], limits, strict=False)
    )
    return f"CASE {cases} ELSE {choose(units[-1])} END"


def _since_1970(number: str) -> str:
    """Read a number in seconds, or in what is shorter where that would be after `_FAR`."""
    seconds = _unit(number, lambda unit: f"{number} / {round(1 / UNITS[unit])}")
    return readings.within(_LATEST, f"({seconds})")


def _units(con, number: str) -> str:
    """Name the units in which the numbers of the sample count."""
    unit = _unit(number, sql_text)
    large = _FAR // 1000  # a smaller number may be a time in any unit, and says nothing
    counts = dict(
        con.execute(
            f"SELECT {unit}, count(*) FROM time_sample WHERE abs({number}) > {large} GROUP BY 1"
        ).fetchall()
    )
    seen = [unit for unit in reversed(UNITS) if counts.get(unit)] or ["seconds"]
    return f"{' and '.join(seen)} since 1970"


def _excel(number: str) -> str:
    """Read days since 1899-12-30, to the second."""
    is_day = f"{number} > {_EXCEL_1970 - 25_000} AND {number} < 100000"
    return f"CASE WHEN {is_day} THEN round(({number} - {_EXCEL_1970}) * {DAY}) END"


def _dated(sql: str) -> str:
    """Take a date for none before 1900: the year 23 is one that was written with two digits."""
    return readings.within(_LATEST, f"CASE WHEN {sql} >= {_EARLIEST} THEN {sql} END")


def _count(con, sql: str, where: str = "true") -> int:
    return _counts(con, [sql], where)[0]


def _counts(con, expressions: Sequence[str], where: str = "true") -> list[int]:
    counted = ", ".join(f"count({sql})" for sql in expressions)
    return list(con.execute(f"SELECT {counted} FROM time_sample WHERE {where}").fetchone())
