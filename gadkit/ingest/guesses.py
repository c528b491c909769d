"""Guess what the columns of a table of events mean: by their names, and by what is in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gadkit import store
from gadkit.ingest import columns, elliptic, labels, transfers, vocabulary
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
_LINES = 20  # products of an order, numbered: a column of no greater number may be that
_VALUES_OF_LABEL = 3  # different ones, of a column that is not called a label outright
_OTHER_DATES = (
    "birth", "geburt", "naiss", "nacim", "nascim", "nascita", "urodz", "geboort", "dob", "expir",
    "ablauf", "regist", "signup", "joined", "updated", "modified",
)  # fmt: skip


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

    A column whose name only has words that say a role is left out instead, and that is said.

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
        with store.errors_about(path):
            judge.check_last(looks.columns, roles)
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
        for role in (*NODE_TYPES, "time", *_NUMBERS, "label"):
            names = roles.get(role, [])
            if role in self.given or (names and self._is_right(role, present, names, roles)):
                continue
            better = self._better(role, present, roles) if names else []
            if role == "time" and not better:
                better = self._only_dates(present, roles)
            if better:
                roles[role] = better
                shown, instead = " ".join(better), " ".join(names)
                why = f", since {self._wrong(role, instead)}" if names else " by its values"
                notes.append(f"{shown!r} is taken for the {role}{why} (--{role} says another one)")
            elif names and role not in NODE_TYPES and not self._is_sure(role, present, names):
                del roles[role]
                shown = " ".join(names)
                if not _is_last(role, present, names):  # such as `note`, which is often none
                    notes.append(
                        f"{shown!r} is called like a {role}, but its values make none: it is not "
                        f"used (--{role} {shown!r} takes it)"
                    )
        notes += self._zoned(present, roles) + self._said_of_last(present, roles)
        return {role: roles[role] for role in columns.ROLES if role in roles}, notes

    def _is_sure(self, role: str, present: list[str], names: list[str]) -> bool:
        return columns.is_usual(role, present, names)

    def _is_right(self, role: str, present: list[str], names: list[str], roles: Roles) -> bool:
        """Whether values fit a role; of users and products, whether no other column fits better."""
        if role == "label":
            return self._is_sure(role, present, names) or self._is_verdict(names[0])
        if not self.fits(role, names):
            return False
        doubtful = {"user": self._is_met_once, "product": self._is_line_number}.get(role)
        if not doubtful or not doubtful(names):
            return True
        better = self._better(role, present, roles, vocabulary.USUAL)
        return not better or doubtful(better)

    def _wrong(self, role: str, name: str) -> str:
        """Say what is wrong with the values of a column."""
        if role in NODE_TYPES and self.fits(role, [name]):
            if role == "product":
                return f"{name!r} holds small numbers only, like those of the lines of an order"
            return f"{name!r} is another one in every row"
        return f"the values of {name!r} make none"

    def _is_met_once(self, names: list[str]) -> bool:
        """Whether each of many rows has an id of its own, as the number of an order is."""
        given, different, _ = self._counts(names)
        return given >= _FEW and different == given

    def _is_line_number(self, names: list[str]) -> bool:
        """Whether there is nothing but the numbers 1, 2, ... of the lines of an order."""
        given, different, most = self._counts(names)
        return given >= _FEW and most is not None and 0 < most <= _LINES and different <= _LINES

    def _counts(self, names: list[str]) -> tuple[int, int, float | None]:
        """Count rows and different values of columns; their greatest, if all are whole numbers."""
        names = [self.name_of[name] for name in names]
        whole = f"regexp_full_match({names[0]}, '\\d+')"
        given, different, most, num_whole = self.con.execute(
            f"SELECT count({names[0]}), count(DISTINCT ({', '.join(names)})) "
            f"FILTER ({names[0]} IS NOT NULL), max(TRY_CAST({names[0]} AS DOUBLE)), "
            f"count(*) FILTER ({whole}) FROM {columns.cleaned('sample', names)}"
        ).fetchone()
        return given, different, most if num_whole == given else None

    def _is_verdict(self, name: str) -> bool:
        """Whether a column holds yes and no, in two or three ways to write them."""
        given, different, _ = self._counts([name])
        if not given or different > _VALUES_OF_LABEL:
            return False
        column = self.name_of[name]
        try:
            sql = labels.read_verdicts(self.con, "sample", column, labels.NOTHING_SAID).sql
        except ValueError:  # no value says fraud, as may well be in the first rows; or two may
            if "fraud" not in vocabulary.words(name):
                return False
            try:
                sql = columns.flag_of(self.con, "sample", column).sql
            except ValueError:  # no value says yes or no
                return False
        read = self.con.execute(
            f"SELECT count(*) FILTER (({sql}) >= 0) FROM {columns.cleaned('sample', [column])}"
        ).fetchone()[0]
        return read >= _NEARLY_ALL * given

    def check_last(self, present: list[str], roles: Roles) -> None:
        """Refuse a product that is a guess from what people may share, if nobody shares it.

        Raises:
            ValueError: its values do not repeat; the message names the option.
        """
        names = roles.get("product", [])
        if "product" in self.given or not names or not _is_last("product", present, names):
            return
        given, different, _ = self._counts(names)
        if given >= _FEW and not 1 < different < given:
            raise ValueError(
                f"no column is called like a product; found {', '.join(present)}; {names[0]!r} is "
                "none either, as its values do not repeat; say which one it is with "
                "--product COLUMN"
            )

    def _said_of_last(self, present: list[str], roles: Roles) -> list[str]:
        """Say which users and products are taken for want of a better one."""
        return [
            f"{' '.join(roles[role])!r} is taken for the {role}, as no column is called like one "
            f"(--{role} says another one)"
            for role in NODE_TYPES[:2]
            if role not in self.given and _is_last(role, present, roles.get(role, []))
        ]

    def _zoned(self, present: list[str], roles: Roles) -> list[str]:
        """Add the column of zones to the time, in place; or say which zone is left out."""
        names = roles.get("time", [])
        if not names or "time" in self.given:
            return []
        taken = {name for others in roles.values() for name in others}
        for zone in vocabulary.zones(name for name in present if name not in taken):
            read, _ = self._times(names)
            zoned, _ = self._times([*names, zone])
            if read and zoned >= _NEARLY_ALL * read:
                roles["time"] = [*names, zone]
                return []
            example = self._example(zone)
            if example:
                return [
                    f"times are read as UTC: {zone!r} holds zones, such as {example!r}, that are "
                    "not understood beside them"
                ]
        named = next(filter(None, map(vocabulary.zone_in, names)), "UTC")
        if named.lower() in vocabulary.UTC:
            return []
        return [f"times are read as UTC, though {' '.join(names)!r} says {named}"]

    def _times(self, names: list[str]) -> tuple[int, float | None]:
        """Count the rows of which columns make a time, and return the last one."""
        names = [self.name_of[name] for name in names]
        try:
            reading = columns.time_of(self.con, "sample", names)
        except ValueError:  # no value can be read
            return 0, None
        return self.con.execute(
            f"SELECT count(({reading.sql})), max(({reading.sql})) "
            f"FROM {columns.cleaned('sample', names)}"
        ).fetchone()

    def _example(self, name: str) -> str | None:
        column = self.name_of[name]
        return self.con.execute(
            f"SELECT min({column}) FROM {columns.cleaned('sample', [column])}"
        ).fetchone()[0]

    def _better(
        self, role: str, present: list[str], roles: Roles, least: str = vocabulary.LAST
    ) -> list[str]:
        """Return the next columns called like a role whose values fit; none if there are none."""
        taken = {name for names in roles.values() for name in names}
        while names := self._named_like(role, present, taken, least):
            if self._is_verdict(names[0]) if role == "label" else self.fits(role, names):
                return names
            taken |= set(names)
        return []

    def _named_like(self, role: str, present: list[str], taken: set[str], least: str) -> list[str]:
        names = columns.named_like(role, present, taken, least)
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


def _is_last(role: str, present: list[str], names: list[str]) -> bool:
    """Whether a column is taken only because no other one is called like its role."""
    if len(names) != 1 or columns.is_usual(role, present, names):
        return False
    return not columns.named_like(role, names, set(), vocabulary.USUAL)


def _are_given(names: list[str]) -> list[str]:
    return [f"{name} IS NOT NULL" for name in names]
