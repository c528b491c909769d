"""Read times, however they are written: as seconds since 1970, UTC where no zone is given.

A column is looked at in a sample. Each style in which times are written is tried on it, and the one
that reads most is taken; what it leaves is given to a second and a third one, where they leave no
doubt.
"""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
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
_ISO = "ISO 8601"
_HALF = 0.5  # numbers are for columns that hold few dates: eight digits that make one are one
_HINT = "; say how with --time-format"
_EARLIEST = -2_208_988_800  # 1900, in seconds since 1970
_LATEST = 253_402_300_800  # where the year 10000 begins
_FAR = 4_133_980_800  # 2101: a number that is later must count something shorter than seconds
_PLAUSIBLE = (631_152_000, _FAR)  # 1990: numbers beside dates are times from here on
_EXCEL_1970 = 25_569  # the day 1970-01-01 in Excel
_EXCEL_DAYS = (32_874, 54_789)  # 1990 to 2050
_DAYS_SINCE_1970 = (10_957, 24_837)  # 2000 to 2038
_COUNTED = 137_000_000  # seconds, four years: what is counted does not go further than that
_MOST_STEPS = 20_000  # a counter of steps does not go further: two years of hours do
_TICK = "tenths of a microsecond since the year 1, as .NET counts"
_TICKS_1970 = 621_355_968_000_000_000
_TICKS = (630_000_000_000_000_000, 662_000_000_000_000_000)  # 1997 to 2098; 1990 in nanoseconds
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
_FIELDS = {  # what stands for a part of a format, with 0 for each digit and A for each letter
    "%Y": "0{1,4}", "%b": "A{3}", "%a": "A{3}", "%B": "A{3,9}", "%A": "A{6,9}", "%p": "AA",
    "T": "A", " ": r"\s*", **dict.fromkeys(("%y", "%m", "%d", "%H", "%I", "%M", "%S"), "0{1,2}"),
}  # fmt: skip
_DIGITS = {  # digits alone that are a date, and what they look like
    "%Y%m%d": r"(19|20)\d{6}", "%Y%m%d%H%M": r"(19|20)\d{10}", "%Y%m%d%H%M%S": r"(19|20)\d{12}",
    "%Y%m%d%H%M%S%g": r"(19|20)\d{15}",
}  # fmt: skip
_DIGITS_THROUGHOUT = {  # the same where a number might mean something else: no row may differ
    "%y%m%d": r"\d{6}", "%Y%m": r"(19|20)\d{4}", "%Y%m%d%H": r"(19|20)\d{8}",
    "%d%m%Y": r"\d{4}(19|20)\d\d", "%m%d%Y": r"\d{4}(19|20)\d\d", "%Y": r"(199|20[0-4])\d",
    "%y%m%d%H%M%S": r"\d{12}",
}  # fmt: skip

# Hours that clocks are ahead of UTC. IST is left out: it is India's, Ireland's and Israel's.
_ZONES = {
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8, "HST": -10, "BRT": -3, "WET": 0, "WEST": 1, "BST": 1, "CET": 1,
    "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3, "SGT": 8, "HKT": 8, "JST": 9,
    "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
}  # fmt: skip
_MONTHS = {  # in English, German, French, Spanish, Portuguese, Italian and Dutch
    "Jan": "jan|january|januar|jänner|janvier|janv|enero|ene|janeiro|gennaio|gen|januari",
    "Feb": "feb|february|februar|février|fevrier|févr|fevr|fév|fev|febrero|fevereiro|febbraio"
           "|februari",
    "Mar": "mar|march|märz|maerz|mär|mrz|mars|marzo|março|marco|maart|mrt",
    "Apr": "apr|april|avril|avr|abril|abr|aprile", "May": "may|mai|mayo|maio|maggio|mag|mei",
    "Jun": "jun|june|juni|juin|junio|junho|giugno|giu",
    "Jul": "jul|july|juli|juillet|juil|julio|julho|luglio|lug",
    "Aug": "aug|august|août|aout|agosto|ago|augustus",
    "Sep": "sep|sept|september|septembre|septiembre|setembro|set|settembre",
    "Oct": "oct|october|oktober|okt|octobre|octubre|outubro|out|ottobre|ott",
    "Nov": "nov|november|novembre|noviembre|novembro",
    "Dec": "dec|december|dezember|dez|décembre|decembre|déc|diciembre|dic|dezembro|dicembre",
}  # fmt: skip
_TIDY = (  # what is written otherwise than a format can say, and what is put in its place
    (r"\[[A-Za-z_/+-]+\]$", ""),  # the name of a zone beside its offset
    (r"(?i)\b([ap])\.\s?m\.?", r"\1m"),
    (r"(\d)(?:st|nd|rd|th|er)\b", r"\1"),
    (r"(\d)\s+d[ei]l?\s+(\p{L})", r"\1 \2"),
    (r"(\p{L})\s+d[ei]l?\s+(\d)", r"\1 \2"),
    (r"^\p{L}{2,10}\.?,?\s+(\d{1,2}\.?\s+\p{L})", r"\1"),  # the day of the week
    *((rf"(?i)(^|[^\p{{L}}])(?:{words})($|[^\p{{L}}])", rf"\1{month}\2")
      for month, words in _MONTHS.items()),
    (r"([A-Z][a-z]{2})\.", r"\1"),
    (r"(\d)\.\s*([A-Z][a-z]{2})\b", r"\1 \2"),
    (r"^([A-Z][a-z]{2})-(\d{1,2})-(\d{2,4})", r"\2-\1-\3"),
    (r"^(\d{4})\s?[年년]\s?(\d{1,2})\s?[月월]\s?(\d{1,2})\s?[日일]?", r"\1-\2-\3"),
    (r"([ T]\d{1,2})\s?h\s?(\d\d)\b", r"\1:\2"),
    (r"([ T]\d{1,2})\.(\d\d)\.(\d\d)", r"\1:\2:\3"),
    (r"([ T]\d{1,2})\.(\d\d)(\s*[APap][Mm])?$", r"\1:\2\3"),
)  # fmt: skip

# What stands behind a time of day: a fraction, AM or PM, a zone, a remark in brackets, a year.
_BEHIND = (
    r"^(.*?(?:(?:^|\D)\d\d?:\d\d(?::\d\d)?|\dT\d{{4}}(?:\d\d)?))([.,:]\d+)?"
    r"(\s?[AaPp][Mm])?\s*"
    r"(?i:(Z|UTC|UT|GMT|{zones}))?\s*([+-]\d{{1,2}}(?::?\d\d)?)?"
    r"(?:\s*[(][^()]*[)])?(\s\d{{4}})?$"
).format(zones="|".join(_ZONES))


def _shape_of(form: str) -> re.Pattern:
    """Compile what a format reads, with 0 for each digit and A for each letter."""
    parts = (_FIELDS.get(part) or re.escape(part) for part in re.findall("%.|.", form))
    return re.compile("".join(parts))


_SHAPES = {form: _shape_of(form) for form in FORMATS}


class _Style(NamedTuple):
    """A way to write times.

    Attributes:
        written: in words.
        read: makes SQL that gives seconds since 1970, NULL for what is not written so; of the SQL
            of a value, and of what `_split` makes of it.
        test: the same, NULL also where the style does not fit a sample; `read` if None.
        is_split: whether `read` looks at the second.
        throughout: the style is taken only if it reads every number of the sample.
        weight: what a value that is read counts in the choice.
        is_counter: see `Reading`.
        quick: makes SQL of a value that gives what `read` does, or NULL, and costs little; `read`
            itself if None, where that does not look at the second.
    """

    written: str
    read: Callable[[str, str], str]
    test: Callable[[str, str], str] | None = None
    is_split: bool = False
    throughout: bool = False
    weight: float = 1.0
    is_counter: bool = False
    quick: Callable[[str], str] | None = None

    def tested(self) -> str:
        """Return the SQL of `test` for the table `time_column`."""
        return (self.test or self.read)("value", "split")

    def quickly(self, value: str) -> str:
        """Return the SQL of `quick`; empty where there is none."""
        if self.quick:
            return self.quick(value)
        return "" if self.is_split else self.read(value, "")


def _sql_of(styles: Sequence[_Style], value: str) -> str:
    """Read a value in the first style that fits; it is split once for those that follow another."""
    read = []
    for is_split, following in groupby(styles, key=lambda style: style.is_split):
        sql = _first_of([style.read(value, "let_split") for style in following])
        read.append(readings.let("let_split", _split(value), sql) if is_split else sql)
    return _first_of(read)


def _first_of(expressions: Sequence[str]) -> str:
    return f"COALESCE({', '.join(expressions)})" if len(expressions) > 1 else expressions[0]


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
        chosen = _best_of(con, joined(names), total)
        if len(names) == 2:
            chosen = _pair(con, names, chosen, total)
        if total and not chosen:
            readings.refuse(con, "time_sample", names, "time", _HINT)
        return chosen or Reading(_iso(joined(names)), _ISO)
    finally:
        con.execute("DROP TABLE IF EXISTS time_column; DROP TABLE time_sample")


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


def _best_of(con, value: str, total: int) -> Reading | None:
    """Read a column as it is, or tidied (`_TIDY`) where that reads more of its sample."""
    chosen = _column(con, value)
    most = _count(con, chosen.sql) if chosen else 0
    if most >= total:
        return chosen
    tidied = _tidied(value)
    tidy = _column(con, tidied, "let_tidy")
    if not tidy:
        return chosen
    quick = tidy.quick and readings.let("let_tidy", value, tidy.quick)
    quick = quick and f"CASE WHEN NOT {_may_be_untidy(value)} THEN {quick} END"
    tidy = tidy._replace(
        sql=readings.let("let_tidy", tidied, tidy.sql),
        quick=quick,
        written=f"{tidy.written}, with months and signs as other languages have them",
    )
    return tidy if _count(con, tidy.sql) > most else chosen


def _tidied(value: str) -> str:
    tidied = value
    for pattern, instead in _TIDY:
        tidied = f"regexp_replace({tidied}, {sql_text(pattern)}, {sql_text(instead)})"
    return f"CASE WHEN {_may_be_untidy(value)} THEN {tidied} ELSE {value} END"


def _may_be_untidy(value: str) -> str:
    """Say in SQL that a value may have what `_TIDY` changes: letters, points in a clock."""
    return rf"regexp_matches({value}, '\p{{L}}|\[|[ T]\d\d?[.]')"


def _given(con, names: Sequence[str], time_format: str) -> Reading:
    """Read as the user says: in a unit, or in a format; ISO 8601 is read beside a format."""
    value, word = joined(names), time_format.lower()
    if word == EXCEL:
        reading = Reading(_excel(value), _EXCEL_STYLE, quick=_excel(value))
    elif word in UNITS:
        counted = _counted(value, word)
        reading = Reading(counted, f"{word} since 1970", quick=counted)
        late = f"CASE WHEN {reading.sql} > {_COUNTED} THEN 1 END"
        if not _count(con, late):
            reading = reading._replace(written=f"a counter of {word}, not dates", is_counter=True)
    else:
        check_time_format(con, time_format)
        _fill_column(con, value)
        plain, split = _formatted(time_format)
        counts = _counts(con, [style.tested() for style in (plain, split)], "time_column")
        best = split if counts[1] > counts[0] else plain
        sql = _first_of([_sql_of([best], value), _iso(value)])
        reading = Reading(sql, time_format, quick=best.quickly(value))
    if not _count(con, reading.sql) and _count(con, value):
        readings.refuse(con, "time_sample", names, "time", _HINT)
    return reading


def _counted(value: str, unit: str) -> str:
    """Read a number in a unit."""
    number, seconds = _number(value), UNITS[unit]
    sql = f"{number} * {seconds:.0f}" if seconds >= 1 else f"{number} / {1 / seconds:.0f}"
    return readings.within(_LATEST, f"({sql})")


def _fill_column(con, value: str) -> None:
    """Make the table `time_column` of the values of the sample, and what `_split` makes of them."""
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE time_column AS SELECT {value} AS value, "
        f"{_split(value)} AS split FROM time_sample"
    )


def _column(con, value: str, name: str = "") -> Reading | None:
    """Choose how a column, or several that are joined, is read; None where nothing fits.

    Args:
        con: holds `time_sample`.
        value: SQL of what is read.
        name: what `value` is called in the SQL that reads it; `value` itself by default.
    """
    _fill_column(con, value)
    styles = _styles(con)
    numbers = _count(con, _number("value"), "time_column")
    counts = _counts(con, [style.tested() for style in styles], "time_column")
    worth = [
        0 if style.throughout and count < numbers else count * style.weight
        for style, count in zip(styles, counts, strict=True)
    ]
    if not max(worth):
        return None
    chosen = [styles[worth.index(max(worth))]]
    while len(chosen) < _MOST_STYLES and not chosen[0].is_counter:
        further = _further(con, styles, chosen)
        if not further:
            break
        chosen.append(further)
    written = list(dict.fromkeys(style.written for style in chosen))
    is_counter, quick = chosen[0].is_counter, chosen[0].quickly(name or value)
    if _ISO not in written and not chosen[0].throughout:
        chosen.append(styles[0])
    sql = _sql_of(chosen, name or value)
    return Reading(sql, ", or ".join(written), is_counter=is_counter, quick=quick)


def _styles(con) -> list[_Style]:
    """List the styles to try, those that are taken first where two read the same."""
    has_more = _count(con, "CASE WHEN split.body <> value THEN 1 END", "time_column")
    styles = [
        _Style(_ISO, lambda value, _: _iso(value)),
        _Style(_ISO, lambda _, split: _dated(
            f"(epoch(TRY_CAST({split}.body AS TIMESTAMP)) - {split}.shift)"
        ), is_split=True, quick=_iso_away),
    ]  # fmt: skip
    for written in _fitting(con):
        styles += _formatted(written)
    if not has_more:
        styles = [style for style in styles if not style.is_split]
    for written, pattern in (_DIGITS | _DIGITS_THROUGHOUT).items():
        is_throughout = written in _DIGITS_THROUGHOUT
        styles.append(_Style(written, _digits(written, pattern), throughout=is_throughout))
    return styles + _numbers(con)


def _fitting(con) -> list[str]:
    """Return the formats that the sample may be written in, by where its digits and letters are."""
    shape = "regexp_replace(regexp_replace({}, '[0-9]', '0', 'g'), '[A-Za-z]', 'A', 'g')"
    rows = con.execute(
        f"SELECT DISTINCT {shape.format('value')} FROM time_column "
        f"UNION SELECT DISTINCT {shape.format('split.body')} FROM time_column"
    ).fetchall()
    return [form for form in FORMATS if any(map(_SHAPES[form].fullmatch, (row[0] for row in rows)))]


def _formatted(written: str) -> list[_Style]:
    """Read a format of strptime, as it is and with what `_split` takes off."""
    form = sql_text(written)
    return [
        _Style(written, lambda value, _: _dated(f"epoch(try_strptime({value}, {form}))")),
        _Style(written, lambda _, split: _dated(
            f"(epoch(try_strptime({split}.body, {form})) - {split}.shift)"
        ), is_split=True),
    ]  # fmt: skip


def _numbers(con) -> list[_Style]:
    """List the ways in which a number may be a time."""

    def between(ends: tuple[int, int], *, whole: bool, read: Callable[[str], str]):
        is_whole = "AND let_number = floor(let_number)" if whole else ""
        is_within = f"let_number BETWEEN {ends[0]} AND {ends[1]} {is_whole}"
        return lambda value, _: (
            f"CASE WHEN {readings.let('let_number', _number(value), is_within)} "
            f"THEN {read(value)} END"
        )

    days, hours = ("days", "hours")
    counter = "a counter of steps, not dates; each taken for an hour"
    return [
        _Style(_EXCEL_STYLE, lambda value, _: _excel(value),
               between(_EXCEL_DAYS, whole=False, read=_excel), throughout=True),
        _Style("days since 1970", lambda value, _: _counted(value, days),
               between(_DAYS_SINCE_1970, whole=True, read=_number), throughout=True),
        _Style(counter, lambda value, _: _counted(value, hours),
               between((0, _MOST_STEPS), whole=True, read=_number),
               throughout=True, is_counter=True),
        _Style(_units(con), lambda value, _: _since_1970(value), weight=_HALF),
    ]  # fmt: skip


def _further(con, styles: list[_Style], chosen: list[_Style]) -> _Style | None:
    """Find a style for what those that are chosen leave unread, if there is no doubt about it."""
    left = " AND ".join(f"({style.read('value', 'split')}) IS NULL" for style in chosen)
    order = next(filter(None, (_order(style.written) for style in chosen)), "")
    candidates = [
        _plausible(style)
        for style in styles
        if (not style.throughout or style.written == _EXCEL_STYLE)
        and (not order or _order(style.written) in ("", order))
    ]
    tests = [style.tested() for style in candidates]
    counts = _counts(con, tests, f"(FROM time_column WHERE {left})")
    if not max(counts):
        return None
    best = candidates[counts.index(max(counts))]
    if _order(best.written) and not order:
        other = {"%m": "%d", "%d": "%m"}
        swapped = re.sub("%[md]", lambda part: other[part[0]], best.written)
        rivals = [
            count
            for style, count in zip(candidates, counts, strict=True)
            if style.written == swapped
        ]
        if max(counts) in rivals:
            return None
    return best


def _plausible(style: _Style) -> _Style:
    """Let numbers be times only within a lifetime: beside dates, 20240231 is no second of 1970."""
    if style.throughout:
        return style._replace(read=style.test)
    if style.weight == _HALF:
        low, high = _PLAUSIBLE
        is_within = f"CASE WHEN let_time BETWEEN {low} AND {high} THEN let_time END"
        return style._replace(
            read=lambda value, split: readings.let("let_time", style.read(value, split), is_within)
        )
    return style


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


def _iso_away(value: str) -> str:
    """Read 2024-05-31 19:00:04 -0500, which has no colon or a space more than the cast knows."""
    pattern = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d ?[+-]\d\d:?\d\d"
    zone = f"right(replace({value}, ':', ''), 5)"
    moment = f"left({value}, 19) || left({zone}, 3) || ':' || right({zone}, 2)"
    return f"CASE WHEN regexp_full_match({value}, '{pattern}') THEN {_iso(moment)} END"


def _split(value: str) -> str:
    """Split a time into `body`, and `shift`: seconds that zone and fraction take from it."""
    parts = "['head', 'fraction', 'half', 'zone', 'away', 'year']"
    named = " ".join(f"WHEN '{zone}' THEN {hours * 3600}" for zone, hours in _ZONES.items())
    digits = "replace(let_part.away[2:], ':', '')"
    hours = f"TRY_CAST(if(length({digits}) > 2, {digits}[:-3], {digits}) AS INTEGER)"
    minutes = f"TRY_CAST(if(length({digits}) > 2, {digits}[-2:], '0') AS INTEGER)"
    # East of Greenwich clocks are ahead: +02:00 is two hours less in UTC.
    shift = (
        "CASE WHEN let_part.away <> '' THEN if(let_part.away[1] = '-', -1, 1) * "
        f"({hours} * 3600 + {minutes} * 60) "
        f"WHEN let_part.zone <> '' THEN CASE upper(let_part.zone) {named} ELSE 0 END ELSE 0 END "
        "- CASE WHEN let_part.fraction <> '' "
        "THEN COALESCE(TRY_CAST('0.' || let_part.fraction[2:] AS DOUBLE), 0) ELSE 0 END"
    )
    body = f"if(let_part.head = '', {value}, let_part.head || let_part.half || let_part.year)"
    return readings.let(
        "let_part",
        f"regexp_extract({value}, {sql_text(_BEHIND)}, {parts})",
        f"struct_pack(body := {body}, shift := ({shift})::DOUBLE)",
    )


def _digits(written: str, pattern: str) -> Callable[[str, str], str]:
    """Read digits alone, which doubles write with a point and zeros behind."""
    read = (
        f"CASE WHEN regexp_full_match(let_bare, '{pattern}') "
        f"THEN {_dated(f'epoch(try_strptime(let_bare, {sql_text(written)}))')} END"
    )
    return lambda value, _: readings.let("let_bare", rf"regexp_replace({value}, '\.0+$', '')", read)


def _number(value: str) -> str:
    return f"TRY_CAST(replace({value}, ',', '.') AS DOUBLE)"


def _by_unit(choose: Callable[[str], str]) -> str:
    """Choose by the unit that `let_number` counts, as its size says."""
    low, high = _TICKS
    units = ("seconds", "milliseconds", "microseconds")
    cases = " ".join(
        f"WHEN abs(let_number) < {_FAR / UNITS[unit]:.0f} THEN {choose(unit)}" for unit in units
    )
    ticks = f"WHEN let_number BETWEEN {low} AND {high} THEN {choose(_TICK)} "
    return f"CASE {cases} {ticks}ELSE {choose('nanoseconds')} END"


def _since_1970(value: str) -> str:
    """Read a number in seconds, or in what is shorter where that would be after `_FAR`."""

    def read(unit: str) -> str:
        if unit == _TICK:
            return f"(let_number - {_TICKS_1970}) / 10000000"
        return f"let_number / {1 / UNITS[unit]:.0f}"

    seconds = _by_unit(read)
    return readings.within(_LATEST, readings.let("let_number", _number(value), seconds))


def _units(con) -> str:
    """Name the units in which the numbers of the sample count."""
    unit = _by_unit(sql_text)
    large = _FAR // 1000  # a smaller number may be a time in any unit, and says nothing
    rows = con.execute(
        f"SELECT DISTINCT {unit} FROM (SELECT {_number('value')} AS let_number FROM time_column) "
        f"WHERE abs(let_number) > {large}"
    ).fetchall()
    seen = [unit for unit in reversed(UNITS) if (unit,) in rows]
    if (_TICK,) in rows:
        return " and ".join([*seen, f"{_TICK} (--time-format nanoseconds: since 1970)"])
    return f"{' and '.join(seen or ['seconds'])} since 1970"


def _excel(value: str) -> str:
    """Read days since 1899-12-30, to the second."""
    read = (
        f"CASE WHEN let_number > {_EXCEL_1970 - 25_000} AND let_number < 100000 "
        f"THEN round((let_number - {_EXCEL_1970}) * {DAY}) END"
    )
    return readings.let("let_number", _number(value), read)


def _dated(sql: str) -> str:
    """Take a date for none before 1900: the year 23 is one that was written with two digits."""
    is_date = f"let_second >= {_EARLIEST} AND let_second < {_LATEST}"
    return readings.let("let_second", sql, f"CASE WHEN {is_date} THEN let_second END")


def _count(con, sql: str, table: str = "time_sample") -> int:
    return _counts(con, [sql], table)[0]


def _counts(con, expressions: Sequence[str], table: str) -> list[int]:
    counted = ", ".join(f"count({sql})" for sql in expressions)
    return list(con.execute(f"SELECT {counted} FROM {table}").fetchone())
