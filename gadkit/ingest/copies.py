"""Rows that repeat an earlier one in every column: copies, or events that are alike."""

from typing import TYPE_CHECKING

from gadkit.ingest.account import listed
from gadkit.ingest.columns import PLACE, Roles
from gadkit.store.tables import WHOLE, sql_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DAY, _ZONE = 86_400, 900  # seconds; of zones, what their offsets are multiples of


def number_twins(con: "DuckDBPyConnection", used: list[str], *, timed: bool) -> int:
    """Make the table `twins` of the rows that repeat an earlier one, and count them.

    Args:
        con: holds the tables `events` and `typed`.
        used: columns of the events.
        timed: leave out rows without a time, which may be events of their own.
    """
    whole = sql_name(WHOLE)
    con.execute(
        "CREATE TABLE twins AS SELECT row FROM (SELECT rowid AS row, row_number() OVER "
        f"(PARTITION BY {whole}, {listed('events', used)} ORDER BY rowid) AS nth FROM events "
        f"WHERE {whole} IN (SELECT {whole} FROM events GROUP BY 1 HAVING count(*) > 1)) "
        "WHERE nth > 1"
        + (f" AND row IN (SELECT {PLACE} FROM typed WHERE time IS NOT NULL)" if timed else "")
    )
    return con.execute("SELECT count(*) FROM twins").fetchone()[0]


def are_dropped(con: "DuckDBPyConnection", roles: Roles, choice: str | None) -> tuple[bool, str]:
    """Whether rows that repeat an earlier one are left out, and why.

    They are copies where the time of an event is given more closely than by its day, or a text is
    repeated with all else: nobody does the same thing twice in a second. Of one day, or without
    a time, two equal purchases may well be two.

    Args:
        con: holds the table `typed`.
        roles: columns by role.
        choice: what the user says: "drop", "keep", or None to decide by the rows.
    """
    if choice:
        return choice == "drop", "as --copies says"
    if "time" not in roles:
        return False, "there is no time, so they may be events of their own"
    if "text" in roles:
        return True, "they have the same time and text"
    if _are_whole_days(con):
        return False, "times are whole days, so they may be events of one day"
    return True, "they have the same time"


def _are_whole_days(con: "DuckDBPyConnection") -> bool:
    """Whether all times are of one hour, which is midnight in some zone."""
    first, last = con.execute(
        f"SELECT min(time % {_DAY}), max(time % {_DAY}) FROM typed WHERE time IS NOT NULL"
    ).fetchone()
    return first is not None and first == last and first % _ZONE == 0


def fate(dropped: bool) -> str:
    """Write in SQL, for a CASE, what becomes of the rows in `twins`."""
    return (
        f"WHEN {PLACE} IN (SELECT row FROM twins) THEN 'copy of an earlier row' " if dropped else ""
    )


def note(num_twins: int, dropped: bool, why: str) -> str:
    """Say what became of the rows, and which option decides otherwise."""
    what = "left out" if dropped else "kept"
    other = "keep keeps them" if dropped else "drop leaves them out"
    said = why if why.startswith("as ") else f"{why} (--copies {other})"
    return f"{num_twins:,} rows repeat an earlier one in every column, and are {what}: {said}"
