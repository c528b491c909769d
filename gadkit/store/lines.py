"""Copy a text table so that every line is one whole record, and say which lines are none.

CSV readers trust a quote: one that is never closed swallows the rows after it, and a file with two
kinds of line ends may come out empty. Here a record that does not parse costs its own line and no
other, and the number of every line is kept.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from gadkit.store.packed import open_text

BLOCK = 1 << 24  # bytes read at a time
LONGEST = 1 << 22  # bytes of a record
_MOST_LINES = 1000  # of a record
SHOWN = 100  # characters kept of a line that is no record

REASONS = (
    "",
    "too few fields",
    "too many fields",
    "text after a closing quote",
    "a quote that is not closed",
    "not in the encoding of the file",
    f"longer than {LONGEST >> 20} MiB",
    "a comment",
    "the header again",
)
NO_ROWS = REASONS[7:]  # lines that are no rows, though nothing is wrong with them
FOREIGN = REASONS[5]  # in another encoding
_FEW, _MANY, _AFTER_QUOTE, _OPEN_QUOTE, _ENCODING, _LONG, _COMMENT, _HEADER = range(1, 9)
# Where in a field the reader is. Before a quote it allows one space, after it any number.
_START, _SPACED, _PLAIN, _QUOTED, _CLOSED, _ENDED, _WRONG = range(7)


class BadLine(NamedTuple):
    """A line that is no record: its number in the file, from 1; why; and how it begins."""

    line: int
    reason: str
    text: str


class Lines(NamedTuple):
    """What `copy` found.

    Attributes:
        num_records: records written.
        bad: the lines that are none.
        record, shift: (n,) int64 each; from record[i] on, a record is found on the line after
            shift[i] plus its own number (both from 0).
        num_escaped: of the bad lines, how many hold a backslash before a quote or a delimiter.
    """

    num_records: int
    bad: list[BadLine]
    record: np.ndarray
    shift: np.ndarray
    num_escaped: int = 0

    def line_of(self, records: np.ndarray) -> np.ndarray:
        """Return the line, from 1, on which each record (from 0) begins."""
        part = np.searchsorted(self.record, records, side="right") - 1
        return records + self.shift[part] + 1


class Form(NamedTuple):
    r"""How the records of a text table are written.

    Attributes:
        delimiter: of the fields; one ASCII character.
        num_fields: that a record has.
        quotes: whether fields may be quoted; without it a line is a record of one field, in which
            control characters become spaces.
        encoding: "utf-8", "windows-1252", "latin-1" or "utf-16".
        skip_lines: lines before the first record.
        escape: an ASCII character which takes its meaning from a quote, a delimiter or another one
            of itself that follows, or "" for none.
        comment: a line that begins so is none, or "" for none.
        header: a line that is this one is none, or "" for none.
    """

    delimiter: str
    num_fields: int
    quotes: bool = True
    encoding: str = "utf-8"
    skip_lines: int = 0
    escape: str = ""
    comment: str = ""
    header: str = ""


def copy(path: Path, out: Path, form: Form) -> Lines:
    r"""Copy the records of a text table, one a line, as UTF-8 with \n, and without escapes.

    A line end within quotes becomes a space. Empty lines are left out, and so are lines that are no
    record: with another number of fields, an unclosed quote, bytes that are no text, or too many;
    comments, and a header that comes again.

    Args:
        path: the table; packed files are unpacked.
        out: file to write.
        form: how it is written.

    Raises:
        ValueError: the file is cut off (gzip), or a line has no end for 16 MiB.
    """
    progress = _Progress(form)
    with open(out, "wb") as file:
        rest = np.empty(0, np.uint8)
        for block, is_last in _blocks(path, form.encoding):
            bytes_in = np.concatenate([rest, np.frombuffer(block, np.uint8)])
            done = progress.take(bytes_in, file, is_last)
            rest = bytes_in[done:]
            if len(rest) > 4 * LONGEST:
                raise ValueError(
                    f"line {progress.line + 1} is longer than {4 * LONGEST >> 20} MiB; "
                    "is this a table with one row a line?"
                )
    return progress.lines()


def fault_of(text: str, form: Form) -> tuple[str, str]:
    """Say why the first record of a text is none, and how its first line begins; "" for no fault.

    Bytes that are no text are in it as lone surrogates.
    """
    content = _bytes(text)
    delimiter, escape = ord(form.delimiter), ord(form.escape or "\0")
    reason, end, _, _ = _record(content, 0, delimiter, form.num_fields, True, escape, True)
    shown = content[:end].tobytes()
    try:
        shown.decode()
    except UnicodeDecodeError:
        reason = reason or _ENCODING
    return REASONS[reason], _shown(content[:end])


def decoded(content: bytes, encoding: str) -> str:
    """Read bytes as text; what is none becomes lone surrogates."""
    return content.removeprefix(codecs.BOM_UTF8).decode(encoding, errors=_TO_SURROGATES)


_TO_SURROGATES = "gadkit.store.lines"  # a lone surrogate is no UTF-8 either: its line is refused
codecs.register_error(_TO_SURROGATES, lambda error: ("\udcff", error.end))


def _blocks(path: Path, encoding: str) -> Iterator[tuple[bytes, bool]]:
    r"""Yield the file in UTF-8, without byte order mark, and whether a block is the last one."""
    decode = codecs.getincrementaldecoder(encoding)(errors=_TO_SURROGATES).decode
    with open_text(path) as file:
        block = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
        block += file.read(BLOCK)
        while block:
            following, text = file.read(BLOCK), block
            if encoding != "utf-8":
                text = decode(block, not following).encode(errors="surrogatepass")
            yield text, not following
            block = following


def _bytes(text: str) -> np.ndarray:
    return np.array([*text.encode(errors="surrogatepass")], np.uint8)


def _shown(text: np.ndarray) -> str:
    return text[: 4 * SHOWN].tobytes().decode(errors="replace")[:SHOWN]


class _Progress:
    """How far a copy is: lines read, records written, lines refused."""

    def __init__(self, form: Form):
        self.form = form
        self.line = self.records = self.escaped = 0  # lines read, records written, lines refused
        self.bad: list[BadLine] = []
        self.record, self.shift = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]

    def take(self, content, file, is_last) -> int:
        """Write the records of a block; return how much of it is done with."""
        form, skipped = self.form, 0
        if self.line < form.skip_lines:
            skipped, num_lines = _skip(content, form.skip_lines - self.line, is_last)
            self.line += num_lines
            content = content[skipped:]
        if self.line < form.skip_lines:
            return skipped
        out = np.empty((3 if form.escape else 1) * len(content) + 1, np.uint8)
        capacity = int(np.count_nonzero((content == 10) | (content == 13))) + 2
        starts = np.empty((capacity, 3), np.int64)  # of records: line, begin in out, end in out
        bad = np.empty((capacity, 4), np.int64)  # line, reason, begin, end in content
        delimiter, escape = ord(form.delimiter), ord(form.escape or "\0")
        no_rows = _bytes(form.comment), _bytes(form.header)
        mark = _bytes("\N{ZERO WIDTH NO-BREAK SPACE}")
        scanned = _scan(
            content, delimiter, form.num_fields, form.quotes, escape, no_rows, mark, is_last,
            self.line, out, starts, bad,
        )  # fmt: skip
        done, self.line, num_starts, num_bad = scanned
        starts, bad = starts[:num_starts], bad[:num_bad]
        for line, reason, begin, end in bad.tolist():
            self._refuse(line, reason, content[begin:end])
        self._write(file, out, starts)
        return skipped + done

    def _refuse(self, line: int, reason: int, text: np.ndarray) -> None:
        self.bad.append(BadLine(line + 1, REASONS[reason], _shown(text)))
        if reason < _ENCODING:
            refused = text.tobytes()
            escapes = (b'\\"', b"\\" + self.form.delimiter.encode())
            self.escaped += any(escape in refused for escape in escapes)

    def _write(self, file, out: np.ndarray, starts: np.ndarray) -> None:
        if not len(starts):
            return
        text = out[: starts[-1, 2]].tobytes()
        try:
            text.decode()
        except UnicodeDecodeError:
            keep = np.array([self._is_text(*start, out) for start in starts.tolist()])
            starts = starts[keep]
            text = b"".join(text[begin:end] for _, begin, end in starts.tolist())
        file.write(text)
        number = np.arange(self.records, self.records + len(starts))
        shift = starts[:, 0] - number
        changed = np.flatnonzero(np.diff(shift, prepend=self.shift[-1][-1]))
        if len(changed):
            self.record.append(number[changed])
            self.shift.append(shift[changed])
        self.records += len(starts)

    def _is_text(self, line: int, begin: int, end: int, out: np.ndarray) -> bool:
        try:
            out[begin:end].tobytes().decode()
        except UnicodeDecodeError:
            self._refuse(line, _ENCODING, out[begin : end - 1])
            return False
        return True

    def lines(self) -> Lines:
        record, shift = np.concatenate(self.record), np.concatenate(self.shift)
        return Lines(self.records, sorted(self.bad), record, shift, self.escaped)


@njit(cache=True, nogil=True)
def _skip(content, num_lines, is_last):
    """Go over some lines: the bytes that they take, and how many there are in this block."""
    begin = skipped = 0
    while skipped < num_lines and begin < len(content):
        _, following = _end_of_line(content, begin, is_last)
        if following < 0:
            break
        begin, skipped = following, skipped + 1
    return begin, skipped


@njit(cache=True, nogil=True)
def _scan(
    content, delimiter, num_fields, quotes, escape, no_rows, mark, is_last, line, out, starts, bad
):
    """Find the records in a block; stop before one that may go on in the next block.

    Args:
        content: (num_bytes,) uint8, a block of the file; it begins where a line does.
        delimiter, num_fields, quotes, escape, is_last: as for `_record`.
        no_rows: how comments begin, and the header, as uint8; empty where there is none.
        mark: the byte order mark, as uint8.
        line: number of the line at its beginning, from 0.
        out: (num_bytes + 1,) uint8, with escapes thrice as long; the records are written to it.
        starts: (capacity, 3) int64; of each record the line, and begin and end in `out`.
        bad: (capacity, 4) int64; of each line that is none the line, why, begin and end in content.

    Returns:
        The bytes of the block that are done with, the line that comes next, the number of records
        and the number of bad lines.
    """
    # One step of an example, with two fields: `begin` is at the a of
    #     a,"b␤c"␤d␤
    # `_record` answers (0, end = the place of the ␤ after the quote, following = end + 1, 2 lines).
    # The bytes from begin to end go to `out` with the ␤ within quotes as a space, and a ␤ after
    # them; `starts` gets (line, 0, 8). Then begin is at the d, two lines further on, which has one
    # field: its reason is "too few fields", and it goes to `bad` instead.
    begin = written = num_starts = num_bad = 0
    comment, header = no_rows
    while begin < len(content):
        if _has(content, begin, mark):  # where a file with one was put behind another
            begin += len(mark)
        if len(comment) and _has(content, begin, comment):
            reason, num_lines = _COMMENT, 1
            end, following = _end_of_line(content, begin, is_last)
            if end < 0:
                break
        else:
            reason, end, following, num_lines = _record(
                content, begin, delimiter, num_fields, quotes, escape, is_last
            )
            if reason < 0:
                break
            if reason == 0 and len(header) == end - begin > 0 and _has(content, begin, header):
                reason = _HEADER
        if reason > 0:
            bad[num_bad] = line, reason, begin, end
            num_bad += 1
        elif not _is_blank(content, begin, end):
            first = written
            if escape:
                written = _write_unescaped(content, begin, end, delimiter, escape, out, written)
            else:
                for i in range(begin, end):
                    byte = content[i]
                    is_space = byte == 10 or byte == 13 or (byte < 32 and not quotes)
                    out[written] = 32 if is_space else byte
                    written += 1
            out[written] = 10
            written += 1
            starts[num_starts] = line, first, written
            num_starts += 1
        begin, line = following, line + num_lines
    return begin, line, num_starts, num_bad


@njit(cache=True, nogil=True)
def _has(content, begin, text):
    """Whether a text stands here."""
    if begin + len(text) > len(content):
        return False
    i = 0
    while i < len(text) and content[begin + i] == text[i]:
        i += 1
    return i == len(text)


@njit(cache=True, nogil=True)
def _write_unescaped(content, begin, end, delimiter, escape, out, written):
    """Write a record with every field in quotes, and quotes within doubled; return where it ends.

    One step of an example: of  "2\\" seam",a\\,b,  becomes  "2"" seam","a,b",
    """
    i = begin
    while True:
        first = written
        out[written] = 34
        written += 1
        state = _START
        while i < end and (state == _QUOTED or content[i] != delimiter):
            byte, i = content[i], i + 1
            following = content[i] if i < end else 0
            if state == _START and (byte == 34 or (byte == 32 and following == 34)):
                state, i = _QUOTED, i if byte == 34 else i + 1
                continue
            if state == _CLOSED:  # spaces may follow a quote
                continue
            if byte == escape and i < end and _is_escaped(following, escape, delimiter):
                byte, i = following, i + 1
            elif byte == 34 and state == _QUOTED:
                if following != 34:
                    state = _CLOSED
                    continue
                i += 1
            if state == _START:
                state = _PLAIN
            if byte == 34:
                out[written] = 34
                written += 1
            out[written] = 32 if byte == 10 or byte == 13 else byte
            written += 1
        if written == first + 1:
            written = first  # nothing is in it, so nothing is written
        else:
            out[written] = 34
            written += 1
        if i == end:
            return written
        out[written] = delimiter
        written, i = written + 1, i + 1


@njit(cache=True, nogil=True)
def _is_escaped(byte, escape, delimiter):
    """Whether an escape means something before this byte: the one in C:\\new does not."""
    return byte in (10, 13, 34, escape, delimiter)


@njit(cache=True, nogil=True)
def _record(content, begin, delimiter, num_fields, quotes, escape, is_last):
    """Read the record that begins here, or after a mistake its first line.

    Args:
        content: (num_bytes,) uint8.
        begin: where a line begins.
        delimiter: of the fields, a byte.
        num_fields: that a record has.
        quotes: whether a field may be quoted; if not, every line is a record.
        escape: a byte that takes its meaning from the one that follows, or 0.
        is_last: whether the file ends with `content`.

    Returns:
        reason (0: none, -1: the block ends before the record), its end, begin of what follows, and
        the number of lines read.
    """
    first_end, first_following = _end_of_line(content, begin, is_last)
    if first_end < 0:
        return -1, 0, 0, 0
    if first_end - begin > LONGEST:
        return _LONG, first_end, first_following, 1
    if not quotes or _is_blank(content, begin, first_end):
        return 0, first_end, first_following, 1
    # A record is one line, unless a quote is open where the line ends: then the next line is read
    # as more of it, until one ends outside of quotes. Lines that were joined so must make a whole
    # record. If they do not, or if no line closes the quote, the quote was a mistake of the first
    # line: that one alone is refused, and the second line is read again as the beginning of a
    # record. So a stray quote costs one line, whatever follows. Where the block ends first, the
    # answer is -1, and the record is read again with the next block behind it.
    state, fields = _fields_of(content, begin, first_end, delimiter, escape, _START, 1)
    end, following, num_lines = first_end, first_following, 1
    while state == _QUOTED:
        end, following_next = _end_of_line(content, following, is_last)
        num_lines += 1
        if end < 0 and not is_last and len(content) - begin <= LONGEST and num_lines <= _MOST_LINES:
            return -1, 0, 0, 0
        if end < 0 or end - begin > LONGEST or num_lines > _MOST_LINES:
            break
        state, fields = _fields_of(content, following, end, delimiter, escape, _QUOTED, fields)
        following = following_next
    if num_lines > 1 and (state in (_QUOTED, _WRONG) or fields != num_fields):
        return _OPEN_QUOTE, first_end, first_following, 1
    reason = 0
    if state == _WRONG:
        reason = _AFTER_QUOTE
    elif fields != num_fields:
        reason = _FEW if fields < num_fields else _MANY
    return reason, end, following, num_lines


@njit(cache=True, nogil=True)
def _fields_of(content, begin, end, delimiter, escape, state, fields):
    """Read on to the end of a line, as `_fields`, past what is escaped."""
    if not escape:
        return _fields(content, begin, end, delimiter, state, fields)
    while begin < end:
        stop = begin
        while stop < end and content[stop] != escape:
            stop += 1
        state, fields = _fields(content, begin, stop, delimiter, state, fields)
        if stop == end or state == _WRONG:
            break
        if state in (_CLOSED, _ENDED):
            return _WRONG, fields
        if state != _QUOTED:
            state = _PLAIN
        begin = stop + 2
    return state, fields


@njit(cache=True, nogil=True)
def _fields(content, begin, end, delimiter, state, fields):
    """Read on to the end of a line: the state there, and the number of fields so far."""
    for i in range(begin, end):
        byte = content[i]
        if state == _QUOTED:
            if byte == 34:
                state = _CLOSED
        elif byte == delimiter:
            state, fields = _START, fields + 1
        elif byte == 34 and state in (_START, _SPACED, _CLOSED):
            state = _QUOTED
        elif byte == 32 and state in (_CLOSED, _ENDED):
            state = _ENDED
        elif state in (_CLOSED, _ENDED):
            return _WRONG, fields
        elif byte == 32 and state == _START:
            state = _SPACED
        else:
            state = _PLAIN
    return state, fields


@njit(cache=True, nogil=True)
def _end_of_line(content, begin, is_last):
    """Find where a line ends and the next begins; -1 where that cannot be told yet."""
    for i in range(begin, len(content)):
        if content[i] == 10:
            return i, i + 1
        if content[i] == 13:
            if i + 1 < len(content):
                return i, i + (2 if content[i + 1] == 10 else 1)
            return (i, i + 1) if is_last else (-1, -1)
    return (len(content), len(content)) if is_last and begin < len(content) else (-1, -1)


@njit(cache=True, nogil=True)
def _is_blank(content, begin, end):
    i = begin
    while i < end and content[i] == 32:
        i += 1
    return i == end
