"""Account for the rows of the ingested tables: which are used, and for the others why not."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gadkit.ingest.columns import PLACE
from gadkit.store import lines, tables
from gadkit.store.layouts import Layout
from gadkit.store.tables import sql_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

UNUSED = "unused_rows.csv"

_SHOWN = 100  # characters kept of a row that is not used


class _Unused(NamedTuple):
    file: str
    place: np.ndarray  # the file each line is of: `file`, or a part of it
    line: np.ndarray
    reason: str
    text: np.ndarray


class Account:
    """Reads tables into a database, and keeps the rows that are not used.

    Args:
        con: a `tables.database`.
        folder: for temporary copies.
        layout: how the table of events is written, and in part (`Layout.of_other_tables`) others.

    Attributes:
        notes: what is unusual about the files, in words, by file.
        layouts: of other tables than the events, by the name they have in the database, where more
            is known of them.
    """

    def __init__(self, con: "DuckDBPyConnection", folder: Path, layout: Layout):
        self.con, self.folder, self.layout = con, folder, layout
        self.notes: dict[str, list[str]] = {}
        self.layouts: dict[str, Layout] = {}
        self._unused: list[_Unused] = []
        self._num_read: dict[str, int] = {}
        self._staged: dict[str, tuple[str, tables.Staged]] = {}  # by table: file, where rows stand

    def expect(self, events: Path) -> None:
        """Keep the first place in the summary for the events, whatever is read before them."""
        self._num_read[events.name] = 0

    def stage(self, path: Path, name: str, wanted: list[str]) -> None:
        """Read columns of a file into the table `name`, and account for lines that are no rows."""
        layout = self.layout_of(name)
        staged = tables.stage(self.con, path, name, wanted, folder=self.folder, layout=layout)
        is_taken = path.name in self._num_read and name != "events"
        file = f"{path.name} ({name})" if is_taken else path.name
        self._num_read[file] = staged.num_rows + len(staged.bad)
        self._staged[name] = file, staged
        if staged.notes:
            self.notes[file] = staged.notes
        for part in staged.parts:
            self._refuse_lines(file, part)

    def note(self, name: str, text: str) -> None:
        """Add what is to be said of a table that was staged."""
        notes = self.notes.setdefault(self._staged[name][0], [])
        if text not in notes:
            notes.append(text)

    def layout_of(self, name: str) -> Layout:
        """Return how the table that is to be `name` is written."""
        others = self.layouts.get(name, self.layout.of_other_tables())
        return self.layout if name == "events" else others

    def _refuse_lines(self, file: str, part: tables.StagedPart) -> None:
        for reason in sorted({bad.reason for bad in part.bad}):
            bad = [bad for bad in part.bad if bad.reason == reason]
            fate = reason if reason in lines.NO_ROWS else f"cannot be read: {reason}"
            place = np.full(len(bad), _place(file, part), object)
            numbers = np.array([bad_line.line for bad_line in bad])
            texts = np.array([bad_line.text for bad_line in bad], object)
            self._unused.append(_Unused(file, place, numbers, fate, texts))

    def judge(self, name: str, wanted: list[str], fates: str) -> np.ndarray:
        """Account for the rows that have a fate, and say which have none: (num_rows,) bool.

        Args:
            name: a table that was staged.
            wanted: its columns.
            fates: SQL of a table of each row's `PLACE` and `fate`: why it is not used, or NULL.
        """
        self.con.execute(f"CREATE TABLE {name}_fate AS {fates}")
        text = f"left(concat_ws(',', {listed(name, wanted)}), {_SHOWN})"
        refused = self.con.execute(
            f"SELECT judged.{PLACE} AS row, judged.fate, {text} AS text FROM {name}_fate AS judged "
            f"JOIN {name} ON {name}.rowid = judged.{PLACE} WHERE judged.fate IS NOT NULL ORDER BY 1"
        ).fetchnumpy()
        rows, reasons, texts = (np.ma.getdata(refused[key]) for key in ("row", "fate", "text"))
        rows = rows.astype(np.int64)
        for reason in sorted(set(reasons)):
            which = reasons == reason
            places, numbers = self.places_of(name, rows[which]), self.line_of(name, rows[which])
            file = self._staged[name][0]
            self._unused.append(_Unused(file, places, numbers, reason, texts[which]))
        keep = np.ones(self._staged[name][1].num_rows, bool)
        keep[rows] = False
        return keep

    def num_rows(self, name: str) -> int:
        """Return how many rows a staged table has."""
        return self._staged[name][1].num_rows

    def line_of(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the line of the file, from 1, of rows of a staged table, from 0."""
        return self._staged[name][1].line_of(rows)

    def places_of(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the file of each row of a staged table, from 0: of a folder, the part."""
        file, staged = self._staged[name]
        places = np.array([_place(file, part) for part in staged.parts], object)
        return places[staged.part_of(rows)]

    def summary(self) -> list[tuple[str, dict]]:
        """Return for each file, in the order of staging, what `about.json` keeps of its rows."""
        summaries = []
        for file, num_read in self._num_read.items():
            unused = {part.reason: len(part.line) for part in self._unused if part.file == file}
            used = num_read - sum(unused.values())
            summaries.append((file, {"read": num_read, "used": used, "unused": unused}))
        return summaries

    def write(self, path: Path) -> None:
        """List every row that is not used, by file and line."""
        unused = self._unused
        lengths = [len(part.line) for part in unused]
        content = {
            "file": np.concatenate([np.empty(0, object), *(part.place for part in unused)]),
            "line": np.concatenate([np.empty(0, np.int64), *(part.line for part in unused)]),
            "reason": np.repeat(np.array([part.reason for part in unused], object), lengths),
            "text": np.concatenate([np.empty(0, object), *(part.text for part in unused)]),
        }
        order = np.lexsort((content["line"], content["file"].astype(str)))
        tables.write(path, {name: values[order] for name, values in content.items()})


def _place(file: str, part: tables.StagedPart) -> str:
    return f"{file}/{part.name}" if part.name else file


def listed(table: str, names: list[str]) -> str:
    """List columns of a table in SQL."""
    return ", ".join(f"{table}.{sql_name(name)}" for name in names)
