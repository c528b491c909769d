"""What was understood of each column of the events: how it is read, its range, what cannot be read.

`facts` are kept in `about.json` under `read`; `lines` and `warnings` say them aloud.
"""

import datetime
from typing import TYPE_CHECKING

import numpy as np

from gadkit.ingest.columns import ACCOUNT, ENDS, ID_ROLES, PLACE
from gadkit.store.tables import sql_name

if TYPE_CHECKING:
    from gadkit.ingest.source import Source

MOST_UNREADABLE = 0.05  # of the values of a column; more is worth a warning

_SHOWN = 60  # characters of a value
_YEAR = 365 * 86_400  # seconds
_OPTION = {"time": "--time-format says how it is written"}  # else the role's own


def given(role: str) -> str:
    """Name the column of `typed` that says whether there is a value at all."""
    return f"{role} is given"


def inexact(role: str) -> str:
    """Name the column of `typed` that says whether an id has lost digits."""
    return f"{role} is inexact"


def facts(source: "Source") -> dict[str, dict]:
    """Count what was read, by role, in one pass over the events.

    Returns:
        by role: columns; written (how, in words); rows; missing; unreadable, and of those an
        example {value, line}; of numbers low and high, of times the same as text, or as numbers
        where they are no dates (counter); of ids different, and inexact with an example, and
        case (see `spelling.join`) where some differ only in case; of labels yes and no; note.
    """
    roles, con = source.roles, source.con
    asked = {"rows": "count(*)"}
    for role in roles:
        asked |= {
            f"{role} {key}": sql for key, sql in _questions(role, source.id_roles[:2]).items()
        }
    listed = ", ".join(f"{sql} AS {sql_name(key)}" for key, sql in asked.items())
    row = con.execute(f"SELECT {listed} FROM typed").fetchall()[0]
    counts = dict(zip(asked, row, strict=True))
    read = {}
    for role, names in roles.items():
        own_keys = [key for key in counts if key.startswith(f"{role} ")]
        read[role] = {"columns": list(names), "rows": counts["rows"]}
        read[role] |= {key.removeprefix(f"{role} "): counts[key] for key in own_keys}
        _complete(read[role], role, source)
    return read


def _questions(role: str, ends: tuple[str, ...]) -> dict[str, str]:
    """Say in SQL what is asked of a role; a range is that of events that have both ends."""
    value = sql_name(role)
    if role in ID_ROLES:
        is_inexact = sql_name(inexact(role))
        return {
            "missing": f"count(*) FILTER ({value} IS NULL)",
            "inexact": f"count(*) FILTER ({is_inexact})",
            "place": f"min({PLACE}) FILTER ({is_inexact})",
        }
    if role == "label":
        return {
            "missing": f"count(*) FILTER ({value} IS NULL)",
            "unreadable": f"count(*) FILTER ({value} < 0)",
            "place": f"min({PLACE}) FILTER ({value} < 0)",
            "yes": f"count(*) FILTER ({value} = 1)",
            "no": f"count(*) FILTER ({value} = 0)",
        }
    if role == "text":
        return {"missing": "count(*) FILTER (text_length IS NULL)"}
    is_unread = f"{sql_name(given(role))} AND {value} IS NULL"
    has_ends = " AND ".join(f"{sql_name(end)} IS NOT NULL" for end in ends)
    return {
        "missing": f"count(*) FILTER (NOT {sql_name(given(role))})",
        "unreadable": f"count(*) FILTER ({is_unread})",
        "place": f"min({PLACE}) FILTER ({is_unread})",
        "low": f"min({value}) FILTER ({has_ends})",
        "high": f"max({value}) FILTER ({has_ends})",
    }


def _complete(read: dict, role: str, source: "Source") -> None:
    """Add what SQL does not know: words, dates, and the line of an example."""
    place = read.pop("place", None)
    if place is not None:
        shown = ", ".join(map(sql_name, read["columns"]))
        value = source.con.execute(
            f"SELECT concat_ws(' ', {shown}) FROM events WHERE rowid = ?", [place]
        ).fetchone()[0]
        line = int(source.account.line_of("events", np.array([place]))[0])
        read["example"] = {"value": value[:_SHOWN], "line": line}
    if role in ID_ROLES:
        read["different"] = source.num_different(role)
        used = int(source.keep.sum())
        read["once"] = role == "user" and read["different"] == used > 1
        node_type = ACCOUNT if role in ENDS else role
        if node_type in source.spellings and role != ENDS[1]:  # said once of both ends
            read["case"] = source.spellings[node_type]
        if not read["inexact"]:
            del read["inexact"]
    reading = source.readings.get(role)
    if reading:
        read["written"] = source.written[role]
        read |= {"note": reading.note} if reading.note else {}
        if role == "time":
            _date(read, reading)


def _date(read: dict, reading) -> None:
    """Write the range of times as dates, or as steps where they are none."""
    read["counter"] = reading.is_counter
    if read["low"] is not None and not reading.is_counter:
        for end in ("low", "high"):
            moment = np.array(read[end]).astype("datetime64[s]")
            read[end] = f"{moment}Z"


def lines(about: dict) -> list[str]:
    """Say of every role in one line how it was read, its range, and what is missing.

    Args:
        about: `store.read_about` of a folder that was ingested; empty for others.
    """
    return [f"{role:9} {', '.join(read['columns'])}: {'; '.join(parts(role, read))}"
            for role, read in about.get("read", {}).items()]  # fmt: skip


def parts(role: str, read: dict) -> list[str]:
    """Return the parts of one line: how it was read, its range, what is missing, a remark."""
    said = [read.get("written"), extent(role, read)]
    if read.get("missing"):
        said.append(f"{_share(read['missing'], read['rows'])} missing")
    said += [unreadable(read), read.get("note")]
    return [part for part in said if part] or ["complete"]


def extent(role: str, read: dict) -> str:
    """Say what there is: how many ids, from when to when, from which number to which."""
    if role in ID_ROLES:
        return f"{read['different']:,} different"
    if role == "label":
        return f"{read['yes']:,} yes, {read['no']:,} no"
    if read.get("low") is None:
        return "" if role == "text" else "no value"
    if role != "time":
        return f"{read['low']:,.10g} to {read['high']:,.10g}"
    if read["counter"]:
        return f"over {(read['high'] - read['low']) / 86_400:,.4g} days"
    first, last = (read[end].removesuffix("Z").replace("T", " ") for end in ("low", "high"))
    if first[:10] != last[:10]:
        first, last = first[:10], last[:10]
    return f"{first} to {last}"


def unreadable(read: dict) -> str:
    """Say how many values cannot be read, with one of them; empty where all can be."""
    if not read.get("unreadable"):
        return ""
    example = read["example"]
    return (
        f"{_share(read['unreadable'], read['rows'])} cannot be read, such as "
        f"{example['value']!r} on line {example['line']:,}"
    )


def _share(count: int, rows: int) -> str:
    return f"{count:,} of {rows:,} ({100 * count / rows:.2f} %)"


def warnings(about: dict, today: datetime.date | None = None) -> list[str]:
    """Say what is probably not as it was meant, and which option decides.

    Args:
        about: as for `lines`.
        today: to tell times that are yet to come; None leaves these out.
    """
    said = []
    for role, read in about.get("read", {}).items():
        name = f"{role} ({', '.join(read['columns'])})"
        said += [f"{name}: {text}" for text in _doubts(role, read)]
        if role == "time" and today and read["high"] and not read["counter"]:
            said += [f"{name}: {text}" for text in _to_come(read, today)]
    return said + about.get("transfers", {}).get("warnings", [])


def _doubts(role: str, read: dict) -> list[str]:
    said = []
    values = read["rows"] - read.get("missing", 0)
    if read.get("unreadable", 0) > MOST_UNREADABLE * values:
        option = _OPTION.get(role, f"--{role} names another column, or '' for none")
        said.append(f"{unreadable(read)}; {option}")
    if role == "time" and not read["counter"] and _is_near_1970(read):
        said.append(
            f"all events lie from {read['low'][:10]} to {read['high'][:10]}, as if it were no "
            "date; --time-format hours (or days, milliseconds, excel, ...) says what is counted"
        )
    if read.get("once"):
        said.append(
            "every user is met once, so nothing links their events; "
            "is it the number of an order? --user names another column"
        )
    if read.get("inexact"):
        example = read["example"]
        said.append(
            f"{_share(read['inexact'], read['rows'])} are numbers whose last digits are lost, such "
            f"as {example['value']!r} on line {example['line']:,}, so that different ids may have "
            f"become one; export them as text, or name another column with --{role}"
        )
    return said + _by_case(role, read.get("case"))


def _by_case(role: str, case: dict | None) -> list[str]:
    if not case or not case["ids"]:
        return []
    first, last = case["example"]
    differ = (
        f"{case['ids']:,} of {case['total']:,} differ only in case, such as {first!r} and {last!r}"
    )
    if case["joined"]:
        return [f"{differ}: taken for the same; --same-id exact keeps them apart"]
    return [f"{differ}: taken for different ones; --same-id casefold joins them"]


def _is_near_1970(read: dict) -> bool:
    if read["low"] is None:
        return False
    ends = (np.datetime64(read[end][:-1]).astype(np.int64) for end in ("low", "high"))
    return all(-_YEAR < end < _YEAR for end in ends)


def _to_come(read: dict, today: datetime.date) -> list[str]:
    """Warn of times after next year."""
    end = f"{today.year + 1}-12-31"
    first, last = read["low"][:10], read["high"][:10]
    if last <= end:
        return []
    which = "all events lie" if first > end else "some events lie"
    return [f"{which} after {end}, the last one on {last}; --time-format says how it is written"]
