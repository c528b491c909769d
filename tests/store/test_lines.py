"""Compared with Python's csv module on well-formed text, with regular expressions on any."""

import csv
import gzip
import io
import re

import numpy as np
import pytest

from gadkit.store import lines
from gadkit.store.lines import BadLine

# A record, as a regular expression; what `lines` reads in one pass.
QUOTED = r' ?"(?:[^"]|"")*" *'
FIELD = rf'(?:{QUOTED}| ?[^", \r\n][^,\r\n]*|  [^,\r\n]*| ?)'
RECORD = re.compile(rf"({FIELD}(?:,{FIELD})*)(\r\n|\r|\n|\Z)")
FIRST_FIELDS = re.compile(rf"{FIELD}(?:,{FIELD})*\Z")
STILL_OPEN = re.compile(rf'(?:{FIELD},)* ?"(?:[^"]|"")*\Z')
LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")


def copy(folder, content, num_fields=2, *, delimiter=",", quotes=True, encoding="utf-8", **options):
    """The records that `lines.copy` writes, each with its line; and the bad lines."""
    path, out = folder / "in", folder / "out"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    form = lines.Form(delimiter, num_fields, quotes, encoding, **options)
    found = lines.copy(path, out, form)
    records = out.read_bytes().decode().split("\n")
    assert records.pop() == "" and len(records) == found.num_records
    numbers = found.line_of(np.arange(found.num_records)).tolist()
    return list(zip(numbers, records, strict=True)), found.bad


def expected(text, num_fields=2):
    """The same, one record at a time."""
    at, line, records, bad = 0, 1, [], []
    while at < len(text):
        first = LINE.match(text, at)
        found = RECORD.match(text, at)
        many = found and re.search(r"[\r\n]", found[1])
        fields = found and len(re.findall(rf"(?:\A|,){FIELD}", found[1]))
        if not first[1].strip(" "):
            reason, found = "", first
        elif found and fields == num_fields:
            reason = ""
            records.append((line, re.sub(r"[\r\n]", " ", found[1])))
        elif many or (not found and STILL_OPEN.match(first[1])):
            reason = "a quote that is not closed"
        elif not found:
            reason = "text after a closing quote"
        else:
            reason = f"too {'few' if fields < num_fields else 'many'} fields"
        if reason:
            bad.append(BadLine(line, reason, first[1]))
            found = first
        line += len(re.findall(r"\r\n|\r|\n", found[0])) or 1
        at = found.end()
    return records, bad


def test_the_expression_says_what_a_record_is():
    assert FIRST_FIELDS.match('a, "b,""c" ,') and not FIRST_FIELDS.match('"a"b')
    assert expected('a,"b\nc"\n\nd\n"e\n"f"g,\n1,2') == (
        [(1, 'a,"b c"'), (7, "1,2")],
        [
            BadLine(4, "too few fields", "d"),
            BadLine(5, "a quote that is not closed", '"e'),
            BadLine(6, "text after a closing quote", '"f"g,'),
        ],
    )


@pytest.mark.parametrize("seed", range(4))
def test_any_short_text_is_read_as_the_expression_reads_it(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    for _ in range(400):
        text = "".join(rng.choice(list('ab,,""" \n\n\r'), rng.integers(1, 24)))
        monkeypatch.setattr(lines, "BLOCK", int(rng.integers(1, 21)))
        assert copy(tmp_path, text) == expected(text), repr(text)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_well_formed_text_is_read_as_the_csv_module_reads_it(tmp_path, end):
    rng = np.random.default_rng(0)
    alphabet = ["a", "é", "😀", ",", '"', "\n", "\r\n", " x", ""]
    rows = [["".join(rng.choice(alphabet, 4)) for _ in range(3)] for _ in range(500)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    reader = csv.reader(io.StringIO(text.getvalue(), newline=""))
    begins, before = [], 0
    for _ in reader:
        begins.append(before + 1)
        before = reader.line_num
    found, bad = copy(tmp_path, text.getvalue(), 3)
    assert [line for line, _ in found] == begins and bad == []
    flat = [[re.sub(r"[\r\n]", " ", field) for field in row] for row in rows]
    assert list(csv.reader([record for _, record in found])) == flat


def test_each_reason_costs_one_line(tmp_path):
    good = ['1,"a"', "2,b"]
    for bad, reason in [
        ("x", "too few fields"),
        ("x,y,z", "too many fields"),
        ('x,"y"z', "text after a closing quote"),
        ('"x,y', "a quote that is not closed"),
        ("x,\xff", "not in the encoding of the file"),
    ]:
        content = "\n".join([good[0], bad, good[1]]).encode("latin-1")
        found = copy(tmp_path, content)
        shown = bad.replace("\xff", "\ufffd")
        assert found == ([(1, good[0]), (3, good[1])], [BadLine(2, reason, shown)])


def test_every_size_of_block_gives_the_same(tmp_path, monkeypatch):
    content = b'\xef\xbb\xbfa,b\r\n\r\n1,"x\r\ny"\r\rfew\r\n2,\xff\n"open,\n3,"z""z"\r\n4,"'
    for encoding in ("utf-8", "latin-1"):
        whole = copy(tmp_path, content, encoding=encoding)
        for block in range(1, 21):
            monkeypatch.setattr(lines, "BLOCK", block)
            assert copy(tmp_path, content, encoding=encoding) == whole
        monkeypatch.undo()
    text = "a,b\r\n1,ä😀\r2,\n\n3"
    whole = copy(tmp_path, text)
    for block in range(1, 21):
        monkeypatch.setattr(lines, "BLOCK", block)
        assert copy(tmp_path, text.encode("utf-16"), encoding="utf-16") == whole


def test_encodings(tmp_path):
    assert copy(tmp_path, "é,b".encode("latin-1"), encoding="latin-1") == ([(1, "é,b")], [])
    big = b"\xfe\xff" + "é,😀\n1,2".encode("utf-16-be")
    assert copy(tmp_path, big, encoding="utf-16") == ([(1, "é,😀"), (2, "1,2")], [])
    assert copy(tmp_path, b"\xef\xbb\xbfa,b\n") == ([(1, "a,b")], [])
    assert copy(tmp_path, b"\xef\xbb\xbf") == ([], [])
    with pytest.raises(ValueError, match="does not start with BOM"):
        copy(tmp_path, "a,b".encode("utf-16-le"), encoding="utf-16")


def test_what_utf_16_cannot_mean_costs_its_line(tmp_path):
    content = "a,b\n1,\ud800\n3,4\n5,6".encode("utf-16", "surrogatepass") + b"x"  # and half a unit
    found, bad = copy(tmp_path, content, encoding="utf-16")
    assert found == [(1, "a,b"), (3, "3,4")]
    assert [one[:2] for one in bad] == [
        (line, "not in the encoding of the file") for line in (2, 4)
    ]


def test_blank_lines_are_left_out_and_counted(tmp_path):
    assert copy(tmp_path, "\n  \r\n\ra,b\n \n\n1,2\n\n") == ([(4, "a,b"), (7, "1,2")], [])
    assert copy(tmp_path, "") == copy(tmp_path, "\n \n") == ([], [])
    tabs = copy(tmp_path, "\t\n1\t2\n", delimiter="\t")
    assert tabs == ([(1, "\t"), (2, "1\t2")], [])  # two empty fields are a record


def test_a_quote_left_open_swallows_nothing(tmp_path):
    rows = [f"{i},x" for i in range(3000)]
    rows[500], rows[-1] = '500,"x', '2999,"x'
    found, bad = copy(tmp_path, "\n".join(rows))
    assert [one[:2] for one in bad] == [
        (line, "a quote that is not closed") for line in (501, 3000)
    ]
    kept = [i for i in range(3000) if i not in (500, 2999)]
    assert found == [(i + 1, rows[i]) for i in kept]


def test_a_record_may_have_a_thousand_lines_and_no_more(tmp_path):
    for num_lines in (1000, 1001):
        text = '1,"' + "\n" * (num_lines - 1) + '"\n2,3\n'
        found, bad = copy(tmp_path, text)
        assert found[-1] == (num_lines + 1, "2,3")
        assert len(found) == (2 if num_lines == 1000 else 1)
        assert [one.line for one in bad] == ([] if num_lines == 1000 else [1, 1001])


def test_zero_bytes_are_text(tmp_path):
    assert copy(tmp_path, b"a\0b,c\n\0,\0") == ([(1, "a\0b,c"), (2, "\0,\0")], [])


def test_without_quotes_a_line_is_a_record(tmp_path):
    text = '{"a": "x,\ty"}\r\n\n"\x01\x00\n\xa0'
    found = copy(tmp_path, text, 1, quotes=False)
    assert found == ([(1, '{"a": "x, y"}'), (3, '"  '), (4, "\xa0")], [])


def test_a_line_that_is_too_long_costs_itself(tmp_path, monkeypatch):
    long = "1," + "x" * lines.LONGEST
    for quotes, fields in ((True, 2), (False, 1)):
        found, bad = copy(tmp_path, f"a,b\n{long}\n{long[:-2]}\n3,4", fields, quotes=quotes)
        assert [line for line, _ in found] == [1, 3, 4]
        assert bad == [BadLine(2, "longer than 4 MiB", long[: lines.SHOWN])]
    monkeypatch.setattr(lines, "BLOCK", 1 << 22)
    with pytest.raises(ValueError, match=r"line 2 is longer than 16 MiB; .* one row a line"):
        copy(tmp_path, "a,b\n" + "x" * (5 * lines.LONGEST))


def test_gzip_is_known_by_its_content(tmp_path):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    assert len(copy(tmp_path, packed)[0]) == 1001
    for damaged in (packed[:-9], packed[:20], packed[:-4] + b"abcd", packed[:2] + b"\0" * 30):
        with pytest.raises(
            ValueError, match="not a readable gzip, bzip2, xz or zip file, or cut off"
        ):
            copy(tmp_path, damaged)


def test_long_lines_are_shown_by_their_beginning(tmp_path):
    (bad,) = copy(tmp_path, "😀" * 300)[1]
    assert bad.text == "😀" * lines.SHOWN


@pytest.mark.parametrize("seed", range(3))
def test_escapes_are_read_as_the_csv_module_reads_them(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        monkeypatch.setattr(lines, "BLOCK", int(rng.integers(1, 30)))
        rows = [
            ["".join(rng.choice(list('ab,"\\ é'), rng.integers(0, 6))) for _ in range(3)]
            for _ in range(rng.integers(1, 5))
        ]
        text = io.StringIO()
        csv.writer(
            text, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL, lineterminator="\n"
        ).writerows(rows)
        records, bad = copy(tmp_path, text.getvalue(), 3, escape="\\")
        assert bad == []
        assert list(csv.reader(record for _, record in records)) == rows


@pytest.mark.parametrize("block", [1, 2, 7, 100])
def test_skipped_lines_and_comments_in_any_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lines, "BLOCK", block)
    content = 'x\r\n"y\r\n\r\n//c,d\n1,2\n//\n3,4\n/5,6\nh,k\n'
    records, bad = copy(tmp_path, content, skip_lines=3, comment="//", header="h,k")
    assert records == [(5, "1,2"), (7, "3,4"), (8, "/5,6")]
    assert [(one.line, one.reason) for one in bad] == [
        (4, "a comment"), (6, "a comment"), (9, "the header again"),
    ]  # fmt: skip
    assert copy(tmp_path, content, skip_lines=99) == ([], [])
