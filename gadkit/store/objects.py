"""Objects of JSON: one a line, or all of them in one array, which may spread over lines.

The array may be the value of a key of an object around it, as `{"count": 2, "orders": [...]}`.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gadkit.store import lines, packed
from gadkit.store.lines import Lines

_LOOKED_AT = 1000  # objects whose keys are columns
_ARRAY = re.compile(r"\s*\[\s*\{")
_KEY = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')
_BETWEEN = re.compile(r"[\s,]*")
_LINE_END = re.compile(r"\r\n|\r|\n")
_DECODER = json.JSONDecoder()


class Array(NamedTuple):
    """Where an array of objects begins in a text, and the key of it; "" where nothing is around."""

    begin: int
    key: str


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
    try:
        _, end = _DECODER.raw_decode(head, head.index("{"))
    except ValueError:  # it is longer than what is looked at
        return next(_arrays_in(head), None)
    if head[end:].strip():
        return None
    arrays = list(_arrays_in(head))
    if len(arrays) > 1:
        keys = ", ".join(array.key for array in arrays)
        raise ValueError(
            f"is an object that holds several tables, {keys}; write the one that is meant as a "
            "file of its own"
        )
    return next(iter(arrays), None)


def _arrays_in(head: str) -> Iterator[Array]:
    """Yield the arrays of objects among the values of an object, as far as it is whole."""
    place = head.index("{") + 1
    while match := _KEY.match(head, place):
        place = match.end()
        if _ARRAY.match(head, place):
            yield Array(place, json.loads(match[1]))
        try:
            _, place = _DECODER.raw_decode(head, place)
        except ValueError:  # cut off, or damaged
            return


def keys_of(head: str) -> list[str]:
    """List the keys of the first objects.

    Raises:
        ValueError: there is none.
    """
    keys: dict[str, None] = {}
    for row in objects_of(head, _LOOKED_AT):
        keys |= dict.fromkeys(row)
    if not keys:
        raise ValueError(
            "none of its first lines is a JSON object; expected one object a line, or an array"
        )
    return list(keys)


def objects_of(head: str, most: int) -> list[dict]:
    """Read the first objects; lines that are none are named when the table is read."""
    rows = []
    array = find_array(head)
    texts = _elements(head, array.begin) if array else head.splitlines()
    for text, _ in zip(texts, range(most), strict=False):
        try:
            row = json.loads(text)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _elements(head: str, begin: int) -> Iterator[str]:
    """Yield the elements of an array that are whole."""
    place = _BETWEEN.match(head, begin + 1).end()
    while place < len(head) and head[place] != "]":
        try:
            _, end = _DECODER.raw_decode(head, place)
        except ValueError:  # cut off, or damaged
            return
        yield head[place:end]
        place = _BETWEEN.match(head, end).end()


def copy_array(path: Path, out: Path, encoding: str, begin: int = 0) -> Lines:
    r"""Copy an array, one element a line, as UTF-8 with \n.

    Args:
        path: the file.
        out: file to write.
        encoding: of the file.
        begin: characters of the file before the array, or within the space before it.

    Raises:
        ValueError: it is damaged; the message names the line where an element begins.
    """
    reader = _Reader(path, encoding)
    starts = []
    with open(out, "w", encoding="utf-8", newline="") as file:
        for line, text in reader.elements(begin):
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

    def elements(self, begin: int) -> Iterator[tuple[int, str]]:
        """Yield the line, from 0, on which each element begins, and the element.

        Args:
            begin: as for `copy_array`.
        """
        with packed.open_text(self.path) as file:
            while not self.text and not self.is_end:
                self._read(file)
            self.text = self.text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
            while "[" not in self.text[begin:]:
                self._read(file)
            self._go_to(self.text.index("[", begin) + 1)
            while True:
                self._go_to(_BETWEEN.match(self.text, self.place).end())
                end = self._end_of_element()
                if end is not None and (end < len(self.text) or self.is_end):
                    yield self.line, self.text[self.place : end]
                    self._go_to(end)
                elif self.text[self.place : self.place + 1] == "]":
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

    def _refuse(self) -> None:
        shown = self.text[self.place : self.place + lines.SHOWN]
        raise ValueError(
            f"line {self.line + 1}: what begins here is no element of a JSON array, or the file is "
            f"cut off: {shown!r}"
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
