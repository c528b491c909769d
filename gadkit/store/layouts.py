"""What a text table looks like: where it begins, what parts its fields, what they are called.

What the user does not say is seen in the first lines, and what was seen is said in words.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import NamedTuple

from gadkit.store import lines

DELIMITERS = (",", "\t", ";", "|", "\x01")  # the last one is Hive's
_RARE = ("~", "^", "\x1f", "\x1e", "\x02")  # taken where none of them is in the first line
ENCODINGS = ("utf-8", "windows-1252", "latin-1", "utf-16")
COPIES = ("drop", "keep")

_COMMENTS = "#%"
_LOOKED_AT = 200  # lines, from the first one on
_PREAMBLE = 50  # lines that may stand before a header that is looked for
_GAP = re.compile(r"\S {2,}\S")
_PARTED = re.compile(r"\w[^\w\s.-]+\w")
_FEWEST = 3  # rows below a header, before the first one of them can be told from the others
_NOTHING = ("n/a", "na", "nan", "nat", "null", "none", "-", "\\n", "?")
_NUMBER = re.compile(r"[-+(]?[$€£]?\s?[-+]?\d[\d.,' ]*(e[-+]?\d+)?%?\)?", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d\d(:\d\d.*)?")


class Layout(NamedTuple):
    """How the user says that a table is to be read; None and "": to be seen from the file.

    Attributes:
        encoding: of text; one of `ENCODINGS`.
        delimiter: of fields of text, one ASCII character.
        skip_lines: lines before the header, or before the first row.
        header: whether a line names the columns.
        columns: what the columns are called, of a table that does not say it.
        escape: an ASCII character before a quote or delimiter that means itself; "" for none.
        comment: how lines begin that are none; "" for none.
        copies: whether to "drop" or to "keep" rows that repeat an earlier one; of events.
        names: what columns are usually called, as `plain` has it; a header is known by them.
        is_other: whether it is another table than the one of which the user has said all this.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    skip_lines: int | None = None
    header: bool | None = None
    columns: tuple[str, ...] = ()
    escape: str | None = None
    comment: str | None = None
    copies: str | None = None
    names: frozenset[str] = frozenset()
    is_other: bool = False

    def of_other_tables(self) -> "Layout":
        """Return what is said of all tables, and not of the events alone."""
        return Layout(encoding=self.encoding, names=self.names, is_other=True)

    def check(self) -> None:
        """Raise a ValueError if there can be no such layout."""
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"encoding must be one of {', '.join(ENCODINGS)}, got {self.encoding!r}"
            )
        if self.copies not in (None, *COPIES):
            raise ValueError(f"copies must be one of {', '.join(COPIES)}, got {self.copies!r}")
        for option, text in (("--delimiter", self.delimiter), ("--escape", self.escape or None)):
            if text is not None and (len(text) != 1 or not text.isascii() or text in '"\r\n'):
                raise ValueError(f"{option} must be one ASCII character and no quote, got {text!r}")
        if self.skip_lines is not None and self.skip_lines < 0:
            raise ValueError(f"--skip-lines must be 0 or more, got {self.skip_lines}")
        if self.columns and self.header:
            raise ValueError("--columns names the columns of a table without a header; leave one")

    def said(self) -> list[str]:
        """List the options given that only text has a use for."""
        options = {
            "--delimiter": self.delimiter, "--skip-lines": self.skip_lines, "--header": self.header,
            "--columns": self.columns or None, "--escape": self.escape, "--comment": self.comment,
        }  # fmt: skip
        return [option for option, value in options.items() if value is not None]


UNSAID = Layout()


class Seen(NamedTuple):
    """What a text table looks like.

    Attributes:
        delimiter: of the fields.
        columns: what they are called; all different, whatever the case.
        skip_lines: lines before the first row, the header included.
        header: the line that names the columns; "" where none does, or more than one line.
        comment: how lines begin that are none, or "".
        named: whether the file or the user names the columns.
        notes: what is unusual about it, in words.
    """

    delimiter: str
    columns: list[str]
    skip_lines: int
    header: str
    comment: str
    named: bool = True
    notes: tuple[str, ...] = ()


def names_in(text: str | None) -> tuple[str, ...]:
    """Read names of columns that are written with commas between them."""
    return tuple(name.strip() for name in next(csv.reader([text]))) if text else ()


def plain(name: str) -> str:
    """Return a name without case and punctuation."""
    return "".join(filter(str.isalnum, name.lower()))


def see(head: str, layout: Layout = UNSAID) -> Seen:
    """See what a text table looks like.

    The header is the first line, unless another one within the first 50 lines fits better: from
    there on most lines have as many fields, and it names two columns as usual, or (where the lines
    before have fewer fields that are filled) all columns by words, above a column of numbers.
    A first line that holds a number above numbers, or that says nothing new, is a row.

    Args:
        head: how the file begins; 200 lines are looked at.
        layout: what is known.

    Raises:
        ValueError: the header cannot be read, or there is none where it should be.
    """
    view = _View(head, layout)
    view.skip_comments()
    header = view.header_in_comment()
    header = view.find_header() if header is None else header
    if layout.columns:
        return view.named_by_user(header)
    names = view.record(header)
    if len(names) == 1 and _PARTED.search(names[0]):
        view.notes.append(
            f"line {header + 1} is one field, {names[0][: lines.SHOWN]!r}; if something parts its "
            "fields, say it with --delimiter CHARACTER, and if whole lines are quoted, take the "
            "quotes away"
        )
    if header == view.commented:
        return view.seen(names, header + 1, "")
    is_header = not view.is_row(header, names) if layout.header is None else layout.header
    if not is_header:
        if layout.header is None:
            shown = view.delimiter.join(names)[: lines.SHOWN]
            view.notes.append(
                f"line {header + 1} is a row, {shown!r}, so the columns are called column 1, "
                "column 2, ... (--columns user,product,... names them, --header takes them from "
                "that line)"
            )
        return view.seen([""] * len(names), header, "")._replace(named=False)
    view.check_header(header, names)
    text = view.lines[header] if view.num_lines == 1 else ""
    skip_lines = header + view.num_lines + view.num_unit_lines(header, len(names))
    return view.seen(view.widened(header, names), skip_lines, text)


class _View:
    """The first lines of a table, and what has been seen in them so far.

    Attributes:
        lines: without their ends.
        first: the first one that may be a header.
        delimiter: of the fields.
        comment: how lines begin that are none, or "".
        commented: the comment that may be the header; -1 for none.
        num_lines: that the record read last has taken.
        notes: what is unusual.
    """

    def __init__(self, head: str, layout: Layout):
        ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", head[: 1 << 20])]
        ends = ends[:_LOOKED_AT] or [len(head)]
        if len(ends) < _LOOKED_AT and ends[-1] < len(head):
            ends.append(len(head))
        self.head, self.layout = head, layout
        self.begins = [0, *ends[:-1]]
        self.lines = [
            head[begin:end].rstrip("\r\n") for begin, end in zip(self.begins, ends, strict=True)
        ]
        self.notes: list[str] = []
        self.commented, self.comment, self.num_lines = -1, layout.comment or "", 1
        self.first = self._filled(layout.skip_lines or 0)
        self.delimiter = layout.delimiter or ""
        self._read_sep()

    def _filled(self, index: int) -> int:
        """Return the first line from here on that is not blank."""
        filled = (k for k in range(index, len(self.lines)) if self.lines[k].strip(" "))
        place = next(filled, None)
        if place is None:
            skipped = f" after {index} lines; --skip-lines says how many there are" if index else ""
            raise ValueError(f"there is no line that names the columns{skipped}")
        return place

    def _read_sep(self) -> None:
        """Take the delimiter from a first line `sep=;`, which Excel writes and reads."""
        match = re.fullmatch(r'"?sep=(.)"?[,;\t| ]*', self.lines[self.first], re.IGNORECASE)
        if match:
            self.delimiter = self.delimiter or match[1]
            self.notes.append(f"line {self.first + 1} says that {match[1]!r} parts the fields")
            self.first = self._filled(self.first + 1)

    def skip_comments(self) -> None:
        """Go past the comments before the table."""
        begin = self.lines[self.first][0]
        comment = begin if self.layout.comment is None and begin in _COMMENTS else self.comment
        if not comment or not self.lines[self.first].startswith(comment):
            return
        block = [
            k for k in range(self.first, len(self.lines))
            if self.lines[k].strip(" ") and not self.lines[k].startswith(comment)
        ]  # fmt: skip
        if block and self._is_index_name(block[0]):
            return
        if block:
            self.commented = max(k for k in range(block[0]) if self.lines[k].startswith(comment))
            self.comment, self.first = comment, block[0]
            self.notes.append(
                f"lines that begin with {comment!r} are comments (--comment '' if not)"
            )

    def _is_index_name(self, row: int) -> bool:
        """Whether the first line is a header whose first column is called `#`."""
        delimiter = self.delimiter or self._usual(self.first)
        fields = self._split(self.first, delimiter)
        return (
            len(fields) > 1
            and len(fields[0]) == 1
            and len(fields) == len(self._split(row, delimiter))
        )

    def header_in_comment(self) -> int | None:
        """Return the last comment before the rows, if that is where the columns are named."""
        self.delimiter = self.delimiter or self._usual(self.first)
        if self.commented < 0 or self.layout.header is not None or self.layout.columns:
            return None
        names = self.record(self.commented)
        row = self._split(self.first, self.delimiter)
        is_named = len(names) == len(row) > 1 and all(names) and self._num_usual(row) == 0
        if is_named and (self._num_usual(names) or self.is_row(self.first, row)):
            return self.commented
        self.commented = -1
        return None

    def find_header(self) -> int:
        """Return the line that names the columns, or would; choose the delimiter by it."""
        said = self.layout
        usual = self.layout.delimiter or self.delimiter or self._usual(self.first)
        self.delimiter = usual
        if said.skip_lines is not None or said.columns or said.header is False:
            return self.first
        fields = self.record(self.first)
        following = self.first + self.num_lines
        is_long = 1 < self.num_lines < len(self.lines) - self.first  # a name holds a line end
        if self._num_usual(fields) > 1 or (
            is_long and len(self._split(following, usual)) == len(fields)
        ):
            return self.first
        choices = [said.delimiter] if said.delimiter else [usual, *DELIMITERS]
        last = min(len(self.lines), self.first + _PREAMBLE)
        later = range(self.first + 1, last)
        for fits in (self._is_usual_header, self._is_header_by_words):
            for index in later:
                for delimiter in choices:
                    if fits(index, delimiter):
                        self.delimiter = delimiter
                        self.notes.append(
                            f"line {index + 1} names the columns, and what stands before it is "
                            f"left out (--skip-lines {self.first} if line {self.first + 1} does)"
                        )
                        return index
        return self.first

    def _is_usual_header(self, index: int, delimiter: str) -> bool:
        """Whether a line names two columns as usual, and the first line none or not all."""
        fields = self._split(index, delimiter)
        if self._num_usual(fields) < 2 or not self._is_regular(index, delimiter, 0.5):
            return False
        if any(map(_is_value, fields)):  # a row whose words, such as `paid`, are names elsewhere
            return False
        first = self._split(self.first, delimiter)
        return self._num_usual(first) == 0 or self._num_filled(first) < self._num_filled(fields)

    def _is_header_by_words(self, index: int, delimiter: str) -> bool:
        """Whether a line has a word for every column, above numbers, and no line before it has."""
        fields = self._split(index, delimiter)
        is_named = (
            len(fields) > 1 and all(map(str.strip, fields)) and len(set(fields)) == len(fields)
        )
        if not is_named or any(map(_is_value, fields)):
            return False
        before = [self._split(k, delimiter) for k in range(self.first, index)]
        most = max(map(self._num_filled, before))
        is_padded = len(before[0]) == len(fields)
        if most >= len(fields) or (is_padded and self._num_filled(before[0]) * 3 > len(fields)):
            return False
        rows = self._rows(index, delimiter, len(fields))
        above_values = any(_most_are_values(column) for column in zip(*rows, strict=True))
        return above_values and self._is_regular(index, delimiter, 0.9)

    def _is_regular(self, index: int, delimiter: str, share: float) -> bool:
        """Whether enough of the lines after one have as many fields."""
        num_fields = len(self._split(index, delimiter))
        after = self._after(index)
        same = len(self._rows(index, delimiter, num_fields))
        return num_fields > 1 and same > 0 and same >= share * len(after)

    def _after(self, index: int) -> list[int]:
        after = range(index + 1, len(self.lines))
        return [k for k in after if self.lines[k].strip(" ") and not self._is_comment(k)]

    def _is_comment(self, index: int) -> bool:
        return bool(self.comment) and self.lines[index].startswith(self.comment)

    def _rows(self, index: int, delimiter: str, num_fields: int) -> list[list[str]]:
        rows = (self._split(k, delimiter) for k in self._after(index))
        return [row for row in rows if len(row) == num_fields]

    def _usual(self, index: int) -> str:
        """Return the delimiter that is most frequent in a line, outside of quotes.

        It is a space only where there is no other one, and all lines after it have as many, of
        which one may be behind the name of the row.
        """
        line = self.lines[index]
        usual = usual_delimiter(line)
        if usual in line:
            return usual
        after = self._after(index)
        for rare in sorted(filter(line.__contains__, _RARE), key=line.count, reverse=True):
            if {len(self._split(k, rare)) for k in after} == {len(self._split(index, rare))}:
                return rare
        if " " not in line:
            return usual
        num_fields = len(self._split(index, " "))
        widths = {len(self._split(k, " ")) for k in after}
        self._refuse_fixed_places(index, after)
        return " " if widths in ({num_fields}, {num_fields + 1}) else usual

    def _refuse_fixed_places(self, index: int, after: list[int]) -> None:
        """Refuse a table whose columns stand at fixed places, padded with spaces."""
        padded = [k for k in (index, *after) if _GAP.search(self.lines[k].strip())]
        if index in padded and len(padded) > max(_FEWEST, 0.9 * len(after)):
            raise ValueError(
                f"line {index + 1} and those after it have no delimiter, but columns at fixed "
                f"places: {self.lines[index][: lines.SHOWN]!r}; write commas between them, as "
                "python -c \"import pandas; pandas.read_fwf('NAME').to_csv('events.csv', "
                'index=False)" does, or say --delimiter CHARACTER'
            )

    def _split(self, index: int, delimiter: str) -> list[str]:
        try:
            return next(self._reader([self.lines[index]], delimiter), [])
        except csv.Error:  # a field of more than 128 KiB is no name
            return []

    def _reader(self, text: Iterable[str], delimiter: str):
        escape = self.layout.escape or None
        return csv.reader(text, delimiter=delimiter, skipinitialspace=True, escapechar=escape)

    def record(self, index: int) -> list[str]:
        """Read the record that begins on a line, which may take more than one."""
        text = self.head[self.begins[index] :]
        if index == self.commented:
            text = self.lines[index].lstrip(self.comment)
        reader = self._reader(io.StringIO(text, newline=""), self.delimiter)
        try:
            fields = next(reader)
        except csv.Error as error:
            raise ValueError(
                f"line {index + 1} should name the columns, but cannot be read: {error}"
            ) from error
        self.num_lines = reader.line_num
        return [field.strip() for field in fields]

    def is_row(self, index: int, fields: list[str]) -> bool:
        """Whether a line is one of the rows: it has a number or date above others, or comes again.

        Words that come again must do so in two columns, or in two rows: a name might be a value.
        """
        rows = self._rows(index, self.delimiter, len(fields))
        if self._num_usual(fields) or not rows or len(fields) < 2:
            return False
        columns = [[value.strip() for value in column] for column in zip(*rows, strict=True)]
        pairs = list(zip(fields, columns, strict=True))
        if any(_is_value(field) and _most_are_values(column) for field, column in pairs):
            return True
        again = sum(column.count(field) for field, column in pairs if field)
        header_again = any([value.strip() for value in row] == fields for row in rows)
        return again > 1 and not header_again

    def _num_usual(self, fields: list[str]) -> int:
        return len({plain(field) for field in fields} & self.layout.names)

    @staticmethod
    def _num_filled(fields: list[str]) -> int:
        return sum(bool(field.strip()) for field in fields)

    def check_header(self, index: int, names: list[str]) -> None:
        """Refuse a header that cannot be read; else columns would have wrong names."""
        form = lines.Form(self.delimiter, len(names), escape=self.layout.escape or "")
        reason, text = lines.fault_of(self.head[self.begins[index] :], form)
        if reason:
            raise ValueError(
                f"line {index + 1} should name the columns, but cannot be read: {reason}: {text!r}"
            )

    def widened(self, index: int, names: list[str]) -> list[str]:
        """Add a column where all rows have one more than the header names.

        It is the last one if nothing is in it, or the first if it counts the rows, as R does.
        """
        after = self._after(index + self.num_lines - 1)
        rows = [self._split(k, self.delimiter) for k in after]
        wide = [row for row in rows if len(row) == len(names) + 1]
        if len(wide) < 2 or len(wide) < 0.9 * len(rows) or any(len(r) == len(names) for r in rows):
            return names
        if not any(row[-1].strip() for row in wide):
            self.notes.append("rows end in a delimiter that the header has not")
            return [*names, ""]
        if [row[0].strip() for row in wide] != [str(k + 1) for k in range(len(wide))]:
            return names
        self.notes.append(
            f"rows have {len(names) + 1} fields and the header {len(names)}: the first "
            "counts the rows (--skip-lines and --columns say otherwise)"
        )
        return ["", *names]

    def num_unit_lines(self, header: int, num_fields: int) -> int:
        """Return 1 where the line below the header holds units or types, and 0 where it is a row.

        Above the numbers and dates of two columns or more it has words, and else nothing that
        comes again; above those of one column alone, it has nothing else.
        """
        after = self._after(header + self.num_lines - 1)
        if self.layout.skip_lines is not None or not after:
            return 0
        rows = self._rows(header + self.num_lines - 1, self.delimiter, num_fields)
        line = [field.strip() for field in self._split(after[0], self.delimiter)]
        if len(line) != num_fields or len(rows) < _FEWEST or line == self.record(header):
            return 0
        columns = [[row[k].strip() for row in rows[1:]] for k in range(num_fields)]
        num_words = num_others = 0
        for field, column in zip(line, columns, strict=True):
            if not field:
                continue
            if _is_value(field) or field in column or field.lower() in _NOTHING:
                return 0
            num_words += _most_are_values(column, 0.9)
            num_others += not _most_are_values(column, 0.9)
        if not num_words or (num_words == 1 and num_others):
            return 0
        self.notes.append(
            f"line {after[0] + 1} holds units or types of the columns, and is no row "
            f"(--skip-lines {header} if it is one)"
        )
        return after[0] + 1 - header - self.num_lines

    def named_by_user(self, index: int) -> Seen:
        """Call the columns as the user says; a line that says the same is no row."""
        fields, names = self.record(index), list(self.layout.columns)
        if len(fields) != len(names):
            raise ValueError(
                f"--columns names {len(names)} columns, but line {index + 1} has {len(fields)} "
                f"fields: {self.lines[index][: lines.SHOWN]!r}"
            )
        is_header = [*map(plain, fields)] == [*map(plain, names)]
        return self.seen(names, index + is_header, self.lines[index] if is_header else "")

    def seen(self, names: list[str], skip_lines: int, header: str) -> Seen:
        names, notes = distinct(names), tuple(self.notes)
        return Seen(self.delimiter, names, skip_lines, header, self.comment, notes=notes)


def usual_delimiter(line: str) -> str:
    """Return the one of `DELIMITERS` that is most frequent in a line, outside of quotes."""
    return max(DELIMITERS, key=re.sub(r'"[^"]*"', "", line).count)


def distinct(fields: list[str]) -> list[str]:
    """Tell columns of one name apart as `name`, `name.1`, ..., and name those without.

    In SQL, upper and lower case make no difference.
    """
    names: dict[str, str] = {}
    for position, field in enumerate(fields, 1):
        name = base = field.strip() or f"column {position}"
        repeat = 0
        while name.lower() in names:
            repeat += 1
            name = f"{base}.{repeat}"
        names[name.lower()] = name
    return list(names.values())


def _is_value(field: str) -> bool:
    """Whether a field is a number, a date or a time, and so no name."""
    return bool(_NUMBER.fullmatch(field.strip()) or _DATE.fullmatch(field.strip()))


def _most_are_values(column: Iterable[str], share: float = 0.5) -> bool:
    filled = [value for value in column if value.strip()]
    return bool(filled) and sum(map(_is_value, filled)) > share * len(filled)
