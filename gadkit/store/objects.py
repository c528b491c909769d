"""Objects of JSON: one a line, one after another, in one array, or as columns of one object.

The array may be the value of a key of an object around it, as `{"count": 2, "orders": [...]}`.
Of one object, the layouts of pandas are read: columns, `index` and `split`.
"""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gadkit.store import lines, packed
from gadkit.store.lines import Lines

_LOOKED_AT = 1000  # objects whose keys are columns
_ARRAY = re.compile(r"\s*\[\s*\{")
_ARRAYS = re.compile(r"\s*\[\s*\[")
_KEY = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')
_BETWEEN = re.compile(r"[\s,]*")
_LINE_END = re.compile(r"\r\n|\r|\n")
_DECODER = json.JSONDecoder()
_DEEPEST = 3  # objects around an array


class Array(NamedTuple):
    """Where objects begin that do not stand one a line.

    Attributes:
        begin: characters before the array, or before the first object.
        key: of the array, with dots; "" where nothing is around.
        is_bare: whether the objects follow each other without brackets around them.
    """

    begin: int
    key: str
    is_bare: bool = False


def find_array(head: str) -> Array | None:
    """Find the array of objects that a file is, or that is in the one object that it is.

    Args:
        head: how the file begins, without a byte order mark.

    Returns:
        Where it is, or None where objects stand one a line.

    Raises:
        ValueError: there are several in the object.
    """
    if _ARRAY.match(head):
        return Array(head.index("["), "")
    if not head.lstrip().startswith("{"):
        return None
    begin = head.index("{")
    try:
        _, end = _DECODER.raw_decode(head, begin)
    except ValueError:  # it is longer than what is looked at
        return next(_arrays_in(head, begin), None)
    following = _BETWEEN.match(head, end).end()
    if head[following:]:
        is_line = "," not in head[end:following] and "\n" in head[end:following].replace("\r", "\n")
        is_line = is_line and not _LINE_END.search(head, begin, end)
        return None if is_line or head[following] != "{" else Array(begin, "", True)
    arrays = list(_arrays_in(head, begin))
    if len(arrays) > 1:
        keys = ", ".join(array.key for array in arrays)
        raise ValueError(
            f"is an object that holds several tables, {keys}; write the one that is meant as a "
            "file of its own"
        )
    if not arrays and _LINE_END.search(head, begin, end) and not rows_of_whole(head):
        return Array(begin, "", True)
    return next(iter(arrays), None)


def _arrays_in(head: str, begin: int, within: str = "") -> Iterator[Array]:
    """Yield the arrays of objects among the values of an object, as far as it is whole.

    Where there is none, those of the objects among its values are looked for.
    """
    place, deeper, is_here = begin + 1, [], False
    while match := _KEY.match(head, place):
        place = match.end()
        key = f"{within}{json.loads(match[1])}"
        if _ARRAY.match(head, place):
            is_here = True
            yield Array(place, key)
        elif head[place : place + 1] == "{" and within.count(".") < _DEEPEST:
            deeper.append((place, f"{key}."))
        try:
            _, place = _DECODER.raw_decode(head, place)
        except ValueError:  # cut off, or damaged
            break
    if not is_here:
        for place, key in deeper:
            yield from _arrays_in(head, place, key)


def is_one_object(head: str, array: Array | None) -> bool:
    """Whether a file is one object without an array of objects, as far as its beginning says."""
    text = head.lstrip()
    if array or not text.startswith("{"):
        return False
    try:
        _, end = _DECODER.raw_decode(text)
    except ValueError:
        return not _LINE_END.search(text) or not any(map(_is_object, text.splitlines()[:2]))
    return not text[end:].strip()


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def rows_of_whole(text: str) -> list[dict]:
    """Read the rows of one object that holds columns, or rows by their names; [] of no such one.

    Columns are `{"user": {"0": "ann"}}` or `{"user": ["ann"]}`, rows `{"0": {"user": "ann"}}`, and
    both `{"columns": ["user"], "index": [0], "data": [["ann"]]}`: what pandas writes with the
    orients columns, list, index and split. Names of rows that do not count them are `index`.

    Raises:
        ValueError: it is cut off or damaged.
    """
    whole = json.loads(text)
    if not isinstance(whole, dict) or not whole:
        return []
    columns, data = whole.get("columns"), whole.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
            raise ValueError("'data' should hold an array for each row, as long as 'columns'")
        rows = [dict(zip(map(str, columns), row, strict=True)) for row in data]
        return _with_index(rows, whole.get("index") or range(len(rows)))
    values = list(whole.values())
    if all(isinstance(value, list) for value in values) and len({*map(len, values)}) == 1:
        return [dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True)]
    if not all(isinstance(value, dict) for value in values):
        return []
    if _count(whole) or (len(values) > 1 and not _count(values[0])):
        return _with_index(values, list(whole)) if _are_alike(values) else []
    index = list(dict.fromkeys(name for column in values for name in column))
    rows = [{name: column.get(key) for name, column in whole.items()} for key in index]
    return _with_index(rows, index) if _count(values[0]) else []


def _are_alike(rows: list[dict]) -> bool:
    """Whether most keys of each object are those of the first one, as where they are rows."""
    first = set(rows[0])
    return (
        len(rows) > 1
        and len(first) > 1
        and all(2 * len(first & set(row)) > len(first | set(row)) for row in rows)
    )


def _count(names: dict) -> bool:
    """Whether the keys of an object are numbers, as of rows."""
    return all(name.isdigit() for name in names)


def _with_index(rows: list[dict], index: Sequence) -> list[dict]:
    if [*map(str, index)] == [*map(str, range(len(rows)))]:
        return rows
    return [{"index": name} | row for name, row in zip(index, rows, strict=True)]


def copy_whole(text: str, out: Path) -> Lines:
    r"""Copy the rows of one object, one a line, as UTF-8; the lines are the numbers of the rows.

    Raises:
        ValueError: as for `rows_of_whole`.
    """
    rows = rows_of_whole(text)
    with open(out, "w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    none = np.zeros(1, np.int64)
    return Lines(len(rows), [], none, none)


def keys_of(head: str) -> list[str]:
    """List the keys of the first objects; those of an object within as `order.user`.

    A key under which nothing but objects stand is none itself; those of MongoDB, such as
    `{"$oid": "..."}`, are values.

    Raises:
        ValueError: there is none.
    """
    keys: dict[str, bool] = {}  # whether a value stands there that is no object
    literal: set[str] = set()  # of the objects themselves, dots and all: Account.1 of pandas
    for row in objects_of(head, _LOOKED_AT):
        _add_keys(row, "", keys)
        literal.update(row)
    inner = {name.rpartition(".")[0] for name in keys}
    keys = {
        name: True for name, is_value in keys.items()
        if (is_value or name not in inner)
        and (name in literal or not any(map(keys.get, _around(name))))
    }  # fmt: skip
    if not keys:
        what = (
            "holds arrays, which do not name the columns"
            if _ARRAYS.match(head)
            else ("none of its first lines is a JSON object")
        )
        raise ValueError(
            f"{what}; it begins with {head.strip()[: lines.SHOWN]!r}; expected one object a line, "
            'as {"user": "ann", "product": 7}, or an array of them (pandas: orient=\'records\', '
            "lines=True); a table with delimiters should be called .csv"
        )
    return list(keys)


def _add_keys(row: dict, within: str, keys: dict[str, bool]) -> None:
    for key, value in row.items():
        name = f"{within}{key}"
        is_nested = isinstance(value, dict) and not any(map(_is_operator, value))
        is_nested = is_nested and within.count(".") < _DEEPEST
        keys[name] = keys.get(name, False) or not (is_nested or value is None)
        if is_nested:
            _add_keys(value, f"{name}.", keys)


def _around(name: str) -> list[str]:
    """List the keys of the objects in which a key stands, if dots part them."""
    return [name[:place] for place, letter in enumerate(name) if letter == "."]


def _is_operator(key: str) -> bool:
    return key.startswith("$")


def pointers(name: str) -> list[str]:
    """Return where the value of a column may stand in an object, as RFC 6901 writes it."""
    escaped = name.replace("~", "~0").replace("/", "~1")
    return [f"/{escaped}", f"/{escaped.replace('.', '/')}"]


def value_of(row: dict, name: str) -> object:
    """Return the value of a column in an object; None where there is none."""
    if name in row:
        return row[name]
    value: object = row
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def objects_of(head: str, most: int) -> list[dict]:
    """Read the first objects; lines that are none are named when the table is read."""
    rows = []
    array = find_array(head)
    texts = _elements(head, array) if array else head.splitlines()
    for text, _ in zip(texts, range(most), strict=False):
        try:
            row = json.loads(text)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _elements(head: str, array: Array) -> Iterator[str]:
    """Yield the elements of an array that are whole."""
    place = _BETWEEN.match(head, array.begin + (not array.is_bare)).end()
    while place < len(head) and head[place] != "]":
        try:
            _, end = _DECODER.raw_decode(head, place)
        except ValueError:  # cut off, or damaged
            return
        yield head[place:end]
        place = _BETWEEN.match(head, end).end()


def copy_array(path: Path, out: Path, encoding: str, array: Array) -> Lines:
    r"""Copy an array, one element a line, as UTF-8 with \n.

    Args:
        path: the file.
        out: file to write.
        encoding: of the file.
        array: where it begins.

    Raises:
        ValueError: it is damaged; the message names the line where an element begins.
    """
    reader = _Reader(path, encoding)
    starts = []
    with open(out, "w", encoding="utf-8", newline="") as file:
        for line, text in reader.elements(array):
            starts.append(line)
            file.write(_LINE_END.sub(" ", text) + "\n")
    records = np.arange(len(starts))
    shift = np.array(starts, np.int64) - records
    changed = np.flatnonzero(np.diff(shift, prepend=0))
    record = np.concatenate([np.zeros(1, np.int64), records[changed]])
    return Lines(len(starts), [], record, np.concatenate([np.zeros(1, np.int64), shift[changed]]))


class _Reader:
    """Reads the elements of an array, a block of the file at a time.

    Attributes:
        text: what has been read and not gone past.
        place: where in it the reader is; line: the line of the file there, from 0.
    """

    def __init__(self, path: Path, encoding: str):
        self.path, self.decode = path, codecs.getincrementaldecoder(encoding)().decode
        self.text, self.place, self.line, self.is_end, self.after_return = "", 0, 0, False, False

    def elements(self, array: Array) -> Iterator[tuple[int, str]]:
        """Yield the line, from 0, on which each element begins, and the element.

        Args:
            array: as for `copy_array`.
        """
        with packed.open_text(self.path) as file:
            while not self.text and not self.is_end:
                self._read(file)
            self.text = self.text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
            opening = "{" if array.is_bare else "["
            while opening not in self.text[array.begin :]:
                self._read(file)
            self._go_to(self.text.index(opening, array.begin) + (not array.is_bare))
            while True:
                self._go_to(_BETWEEN.match(self.text, self.place).end())
                end = self._end_of_element()
                if end is not None and (end < len(self.text) or self.is_end):
                    yield self.line, self.text[self.place : end]
                    self._go_to(end)
                elif self.text[self.place : self.place + 1] == "]" and not array.is_bare:
                    self._refuse_more(array, file)
                    return
                elif array.is_bare and self.is_end and self.place == len(self.text):
                    return
                elif self.is_end or len(self.text) - self.place > 4 * lines.LONGEST:
                    self._refuse()
                else:
                    self._read(file)

    def _end_of_element(self) -> int | None:
        try:
            return _DECODER.raw_decode(self.text, self.place)[1]
        except ValueError:  # not whole yet, or not at all
            return None

    def _refuse_more(self, array: Array, file) -> None:
        """Refuse an array that another one follows: its objects would be lost."""
        self._go_to(self.place + 1)
        while not self.is_end and len(self.text) - self.place < lines.SHOWN:
            self._read(file)
        rest = self.text[_BETWEEN.match(self.text, self.place).end() :]
        if rest and not array.key:
            raise ValueError(
                f"line {self.line + 1}: the array ends, but more follows: {rest[: lines.SHOWN]!r}; "
                "write one array, or one object a line"
            )

    def _refuse(self) -> None:
        shown = self.text[self.place : self.place + lines.SHOWN]
        raise ValueError(
            f"line {self.line + 1}: what begins here is no element of a JSON array, or the file is "
            f"cut off: {shown!r}; mend that line, or write one object a line: then a damaged one "
            "costs itself alone"
        )

    def _read(self, file) -> None:
        block = file.read(lines.BLOCK)
        self.is_end = not block
        try:
            text = self.decode(block, self.is_end)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"is not in the encoding that was said, after line {self.line + 1}: {error}"
            ) from error
        self.text, self.place = self.text[self.place :] + text, 0

    def _go_to(self, place: int) -> None:
        """Go past some text, and count its lines."""
        passed = self.text[self.place : place]
        is_same_end = self.after_return and passed[:1] == "\n"  # \r\n, and a block ends within
        self.line += len(_LINE_END.findall(passed)) - is_same_end
        self.after_return = passed[-1:] == "\r" if passed else self.after_return
        self.place = place
