"""Guess what the columns of a table of events mean: by their names, and by what is in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gadkit import store
from gadkit.ingest import columns, elliptic, transfers
from gadkit.ingest.columns import NODE_TYPES, Roles
from gadkit.store import tables
from gadkit.store.layouts import UNSAID, Layout

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NUMBERS = ("rating", "votes", "amount")
_FEW = 20  # rows of one value that may well be of one user
_MOST = 0.5  # of the values must make sense, where another column may be meant
_NEARLY_ALL = 0.95  # and where a column is chosen by its values alone
_YEAR = 366 * 86_400
_OTHER_DATES = ("birth", "dob", "expir", "regist", "signup", "joined", "updated", "modified")


class Guess(NamedTuple):
    """What a table of events holds.

    Attributes:
        columns: all there are.
        roles: those that play a role.
        instead: the roles if a guessed source and target share no id; None where there is no
            doubt. See `transfers.settle`.
        layout: how the table is to be read.
        notes: what is unusual about the file or the guess, in words.
    """

    columns: list[str]
    roles: Roles
    instead: Roles | None
    layout: Layout
    notes: list[str]


def guess(
    path: Path | str, given: dict[str, Sequence[str]] | None = None, layout: Layout = UNSAID
) -> Guess:
    """Say which columns of a file play which role.

    A column is chosen by its name (`transfers.choose`). Where its first values make no sense as
    what it is called, another one whose name fits too is taken, and for the time the only column
    of dates; where there is none, it stays, and reading it says what is wrong.

    Args:
        path: the table of events.
        given: columns by role, as the user says; an empty list leaves a role out.
        layout: how the table is written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or as for `columns.guess_roles`; the message names the
            options that say how the file is laid out.
    """
    given = dict(given or {})
    layout = layout._replace(names=columns.usual_names(given))
    looks = tables.look(path, layout=layout)
    with store.errors_about(path):
        try:
            roles, instead = transfers.choose(looks.columns, given)
        except ValueError as error:
            raise ValueError(f"{error}{elliptic.hint(looks.columns) or _hint(looks)}") from error
    if set(given) >= set(columns.ROLES):
        return Guess(looks.columns, roles, instead, layout, looks.notes)
    with tables.sample(path, layout) as (con, name_of):
        judge = _Judge(con, name_of, set(given))
        roles, notes = judge.revised(looks.columns, roles)
        if instead is not None:
            instead, more = judge.revised(looks.columns, instead)
            notes += [note for note in more if note not in notes]
    return Guess(looks.columns, roles, instead, layout, looks.notes + notes)


def _hint(looks: tables.Looks) -> str:
    """Name the options that say how a file is laid out, where that may be what is wrong."""
    if not looks.is_delimited:
        return ""
    if looks.notes:
        return "; " + "; ".join(looks.notes)
    return (
        "; if other lines stand before the header, --skip-lines N; if the first line is a row, "
        "--no-header or --columns user,product,..."
    )


class _Judge:
    """Looks at the first rows of a table.

    Args:
        con: holds the table `sample`.
        name_of: what columns are called in it.
        given: roles that the user has decided.
    """

    def __init__(self, con: "DuckDBPyConnection", name_of: dict[str, str], given: set[str]):
        self.con, self.name_of, self.given = con, name_of, given

    def revised(self, present: list[str], roles: Roles) -> tuple[Roles, list[str]]:
        """Return the roles with other columns where the values speak for them, and say so."""
        roles, notes = dict(roles), []
        for role in (*NODE_TYPES, "time", *_NUMBERS):
            names = roles.get(role, [])
            if role in self.given or (names and self.fits(role, names)):
                continue
            better = self._better(role, present, roles) if names else []
            if role == "time" and not better:
                better = self._only_dates(present, roles)
            if better:
                roles[role] = better
                shown, instead = " ".join(better), " ".join(names)
                why = f", since the values of {instead!r} make none" if names else " by its values"
                notes.append(f"{shown!r} is taken for the {role}{why} (--{role} says another one)")
        return {role: roles[role] for role in columns.ROLES if role in roles}, notes

    def _better(self, role: str, present: list[str], roles: Roles) -> list[str]:
        """Return the next columns called like a role whose values fit; none if there are none."""
        taken = {name for names in roles.values() for name in names}
        while names := self._named_like(role, present, taken):
            if self.fits(role, names):
                return names
            taken |= set(names)
        return []

    def _named_like(self, role: str, present: list[str], taken: set[str]) -> list[str]:
        names = columns.named_like(role, present, taken)
        rest = [name for name in present if name not in taken]
        return columns.with_partner(role, names, rest) if names else []

    def fits(self, role: str, names: list[str], most: float = _MOST) -> bool:
        """Whether the values in the first rows make sense as what a role is.

        Ids must not all be the same, numbers be numbers, and times be later than 1970.
        """
        names = [self.name_of[name] for name in names]
        source = columns.cleaned("sample", names)
        is_given = " OR ".join(_are_given(names))
        num_given, num_values = self.con.execute(
            f"SELECT count(*), count(DISTINCT ({', '.join(names)})) FROM {source} WHERE {is_given}"
        ).fetchone()
        if not num_given:
            return False
        if role in NODE_TYPES:
            return num_values > 1 or num_given < _FEW
        try:
            if role == "time":
                reading = columns.time_of(self.con, "sample", names)
            else:
                reading = columns.number_of(self.con, "sample", *names)
        except ValueError:  # no value can be read
            return False
        num_read, latest = self.con.execute(
            f"SELECT count(({reading.sql})), max(({reading.sql})) FROM {source} WHERE {is_given}"
        ).fetchone()
        is_early = role == "time" and (latest or 0) < _YEAR
        return num_read >= most * num_given and not is_early

    def _only_dates(self, present: list[str], roles: Roles) -> list[str]:
        """Return the one column that holds dates, and whose name does not say of what else."""
        taken = {name for names in roles.values() for name in names}
        dated = [
            name for name in present
            if name not in taken
            and not any(word in name.lower() for word in _OTHER_DATES)
            and self._is_written_out(name)
            and self.fits("time", [name], _NEARLY_ALL)
        ]  # fmt: skip
        return dated if len(dated) == 1 else []

    def _is_written_out(self, name: str) -> bool:
        """Whether values have the separators of dates: a number might mean anything."""
        column = self.name_of[name]
        pattern = r"'\d[-/.:]\d'"
        written, given = self.con.execute(
            f"SELECT count(*) FILTER (regexp_matches({column}, {pattern}) "
            f"AND TRY_CAST({column} AS DOUBLE) IS NULL), count({column}) FROM sample"
        ).fetchone()
        return given > 0 and written >= _NEARLY_ALL * given


def _are_given(names: list[str]) -> list[str]:
    return [f"{name} IS NOT NULL" for name in names]
