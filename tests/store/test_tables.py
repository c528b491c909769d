import csv
import gzip
import json
import warnings

import numpy as np
import pytest

from gadkit.store import tables

ODD = [
    'say "hi"', "a,b", "a\nb", "a\rb", "a\r\nb", "naïve", "日本", "😀", "'", " x ", "NULL", "\\N",
    '"', "a\0b", "1.0", "null;|\t",
]  # fmt: skip


def stage(folder, name, content, columns=None, *, encoding="utf-8", **said):
    """Columns, rows, the line of each row, and the bad lines of a file."""
    path = folder / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    layout = tables.Layout(encoding=encoding, **said)
    columns = columns or tables.columns_of(path, layout=layout)
    with tables.database(folder / "work") as con:
        staged = tables.stage(con, path, "t", columns, folder=folder / "work", layout=layout)
        rows = con.execute("SELECT * FROM t ORDER BY rowid").fetchall()
        rows = [row[:-1] for row in rows]  # the last column is `tables.WHOLE`
        assert con.execute("SELECT min(rowid), max(rowid) FROM t").fetchone() == (0, len(rows) - 1)
        assert [one.name for one in (folder / "work").iterdir() if one.suffix == ".txt"] == []
    assert not (folder / "work").exists() and staged.num_rows == len(rows)
    bad = [(one.line, one.reason) for one in staged.bad]
    return columns, rows, staged.line_of(np.arange(len(rows))).tolist(), bad


def refused(folder, name, content, message, **options):
    path = folder / name
    with pytest.raises(ValueError, match=message) as error:
        stage(folder, name, content, **options)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < 2000
    assert not (folder / "work").exists()


# Tolerant reading.


def test_bad_lines_cost_themselves(tmp_path):
    text = 'a,b\n1,x\nfew\n2,"y\nz"\n\n3,"open\n4,,\n"5"6,\n6,"say ""hi"""\n,\n'
    columns, rows, lines, bad = stage(tmp_path, "t.csv", text)
    assert columns == ["a", "b"]
    assert rows == [("1", "x"), ("2", "y z"), ("6", 'say "hi"'), (None, None)]
    assert lines == [2, 4, 10, 11]
    assert bad == [
        (3, "too few fields"),
        (7, "a quote that is not closed"),
        (8, "too many fields"),
        (9, "text after a closing quote"),
    ]


def test_bad_lines_of_json_cost_themselves(tmp_path):
    text = (
        '{"a": 1, "b": "x"}\n[1, 2]\n\n{"b": null, "a": true}\r\nno\n{"a": {"c": [1]}}\n"{"\n'
        '{"a": "x\\ty\\n\\"z\\u00e9", "d": 0}\n{"a": 1\n5\n{"a": 12345678901234567890123, "b": 1.0}'
    )
    columns, rows, lines, bad = stage(tmp_path, "t.jsonl", text)
    assert columns == ["a", "b", "d"]
    assert rows == [
        ("1", "x", None),
        ("true", None, None),
        ('{"c":[1]}', None, None),
        ('x\ty\n"zé', None, "0"),
        ("12345678901234567890123", "1.0", None),
    ]
    assert lines == [1, 4, 6, 8, 11]
    assert bad == [(line, "no JSON object") for line in (2, 5, 7, 9, 10)]


def test_keys_of_json_may_be_any_text(tmp_path):
    keys = ['say "hi"', "a/b", "~0", "*", "0", "$.x", "it's", "日本", "a.b", "~1/"]
    row = {key: str(number) for number, key in enumerate(keys)}
    columns, rows, _, _ = stage(tmp_path, "t.ndjson", json.dumps(row))
    assert columns == keys and rows == [tuple(row.values())]


def test_parquet_comes_as_text_with_the_numbers_of_its_rows(tmp_path):
    path = tmp_path / "t.parquet"
    tables.write(path, {
        "id": np.array(ODD, object),
        "n": np.ma.array(np.arange(len(ODD)), mask=[True] + [False] * (len(ODD) - 1)),
        "x": np.linspace(0, 1, len(ODD)),
    })  # fmt: skip
    columns, rows, lines, bad = stage(tmp_path, "t.parquet", None, ["n", "id"])
    assert [row[1] for row in rows] == ODD and rows[0][0] is None and rows[3][0] == "3"
    assert lines == list(range(1, len(ODD) + 1)) and bad == []
    assert tables.columns_of(path) == ["id", "n", "x"]


def test_parquet_of_any_type_comes_as_text(tmp_path):
    tables.write(tmp_path / "t.parquet", {
        "id": np.array([12.0, np.nan, 1e20]),
        "when": np.array(["2019-03-14T15:09:26", "NaT", "1969-12-31"], "datetime64[us]"),
        "yes": np.array([True, False, True]),
        "small": np.array([0.1, 1, 1e-9], np.float32),
    })  # fmt: skip
    _, rows, _, _ = stage(tmp_path, "t.parquet", None)
    assert rows == [
        ("12.0", "2019-03-14 15:09:26", "true", "0.1"),
        (None, None, "false", "1.0"),  # NaN is missing
        ("1e+20", "1969-12-31 00:00:00", "true", "1e-09"),
    ]


def test_what_folders_are_called_is_no_column(tmp_path):
    path = tmp_path / "year=2019" / "t.parquet"
    tables.write(path, {"id": np.arange(2)})
    assert tables.columns_of(path) == ["id"] and list(tables.load(path)) == ["id"]


@pytest.mark.parametrize("name", ["[1].csv", "it's.csv", "a b?.csv", "*.csv", "é.csv"])
def test_a_name_is_no_pattern(tmp_path, name):
    for other in ("1.csv", "a bc.csv"):
        (tmp_path / other).write_text("a,b\n3,4\n")
    assert stage(tmp_path, name, "a,b\n1,2\n")[1] == [("1", "2")]
    assert tables.load(tmp_path / name, {"b": "BIGINT"})["b"].tolist() == [2]
    folder = tmp_path / name.replace("?", "[!x]")  # a folder of such a name
    (tmp_path / name).unlink()
    tables.write(folder / "t.parquet", {"a": np.arange(3)})
    assert len(stage(folder, "t.parquet", None)[1]) == 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_encodings(tmp_path, encoding):
    columns, rows, lines, bad = stage(tmp_path, "t.txt", "é;b\rü;1\n\nñ;2", encoding=encoding)
    assert (columns, rows) == (["é", "b"], [("ü", "1"), ("ñ", "2")])
    assert lines == [2, 4] and bad == []


def test_the_encoding_is_said_or_seen(tmp_path):
    assert stage(tmp_path, "t.csv", "a,b\n1,2".encode("utf-16"))[1] == [("1", "2")]
    refused(tmp_path, "t.csv", "a,b\n1,2".encode("utf-16-le"), "say so with --encoding utf-16")
    _, rows, _, bad = stage(tmp_path, "t.csv", "a,b\nü,1\nx,2\n".encode("latin-1"))
    assert rows == [("x", "2")] and bad == [(2, "not in the encoding of the file")]


def test_packed_text_is_known_by_its_content(tmp_path):
    text = b"a,b\n1,2\n" + b"3,4\n" * 500
    for name in ("t.csv.gz", "t.csv"):
        assert len(stage(tmp_path, name, gzip.compress(text))[1]) == 501
    assert stage(tmp_path, "t.tsv.gz", b"a\tb\n1\t2\n")[1] == [("1", "2")]
    refused(tmp_path, "t.csv.gz", gzip.compress(text)[:-9], "gzip")


# Headers.


@pytest.mark.parametrize(
    "header, columns",
    [
        ("a,b", ["a", "b"]),
        (" a , b ", ["a", "b"]),
        ('"a,x", "b"', ["a,x", "b"]),
        ("a,a,A", ["a", "a.1", "A.2"]),
        ("a,a.1,a", ["a", "a.1", "a.2"]),
        (",b,", ["column 1", "b", "column 3"]),
        ("\ufeffa,b", ["a", "b"]),
        ("\n  \r\na;b;c,d", ["a", "b", "c,d"]),
        ("a\tb", ["a", "b"]),
        ("a|b", ["a", "b"]),
        ('"Price\r\n(EUR)",b', ["Price\r\n(EUR)", "b"]),
        ("a\x0cx,b\x85", ["a\x0cx", "b"]),
        ("\t\t", ["column 1", "column 2", "column 3"]),
        ("é\0,😀", ["é\0", "😀"]),
    ],
)
def test_a_header_and_the_rows_after_it(tmp_path, header, columns):
    delimiter = next((one for one in "\t;|" if one in header), ",")
    row = delimiter.join("1" * len(columns))
    found, rows, _, bad = stage(tmp_path, "t.csv", f"{header}\n{row}\n")
    assert (found, rows, bad) == (columns, [("1",) * len(columns)], [])


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xe4,b\n1,2\n3,4\n", "line 1 should name the columns.* not in the encoding"),
        (b'\n"a,b\n1,2\n3,4\n', "line 2 should name the columns.* quote"),
        (b'"a"x,b\n1,2\n3,4\n', "line 1 should name the columns.* after a closing quote"),
        (b"x" * 200_000 + b",b\n1,2\n", "should name the columns.* field limit"),
        (b"a,b\n", "holds no row"),
        (b"a,b\n1\n2\n", "holds no row that can be read; line 2: too few fields"),
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"\xc2\xa0\n", "is empty"),
    ],
)
def test_a_table_without_header_or_rows_is_refused(tmp_path, content, message):
    refused(tmp_path, "t.csv", content, message)


def test_what_is_no_table_is_refused(tmp_path):
    refused(tmp_path, "t.xlsx", b"x", "is a workbook; save the sheet as CSV")
    refused(tmp_path, "t.doc", b"x", "a table ends in one of .csv")
    refused(tmp_path, "t.jsonl", b"[1]\nx\n", "none of its first lines is a JSON object")
    for content in (b"", b"PAR1", b"a,b\n1,2\n" * 9):
        refused(tmp_path, "t.parquet", content, "not a readable Parquet file")
    refused(tmp_path, "u.csv", b"rowid,b\n1,2\n", "cannot be called .rowid")
    for call, path in (
        (tables.columns_of, tmp_path / "none.csv"),
        (tables.load, tmp_path / "none.csv"),
        (tables.load, tmp_path),
    ):
        with pytest.raises(FileNotFoundError, match="is missing"):
            call(path)


# Strict reading.


def load(folder, content, columns=None, name="t.csv", **options):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return {
        name: values.tolist()
        for name, values in tables.load(folder / name, columns, **options).items()
    }


def test_columns_come_in_the_order_and_type_that_is_asked_for(tmp_path):
    text = 'a,b,a\n1,"x,y",0.5\n9007199254740993,,1e3\n'
    kinds = {"a.1": "DOUBLE", "b": "VARCHAR", "a": "BIGINT"}
    found = load(tmp_path, text, kinds)
    assert found == {"a.1": [0.5, 1000.0], "b": ["x,y", ""], "a": [1, 9007199254740993]}
    assert list(found) == list(kinds)
    assert load(tmp_path, text)["a"] == ["1", "9007199254740993"]
    text = "a,b\n1.0,x\n -2,y\n+3.,z\n"
    assert load(tmp_path, text, {"a": "BIGINT"}) == {"a": [1, -2, 3]}
    assert load(tmp_path, gzip.compress(text.encode()), {"a": "BIGINT"}, name="t.csv.gz")["a"][0]
    nothing = tables.load(tmp_path / "t.csv", {"b": "VARCHAR"})["b"]
    assert nothing.dtype == object


def test_without_a_header_columns_are_named_by_position(tmp_path):
    columns = {"x": "BIGINT", "y": "VARCHAR"}
    assert load(tmp_path, "1,2\n3,4\n", columns, header=False) == {"x": [1, 3], "y": ["2", "4"]}
    assert load(tmp_path, "1:2\n3:4\n", columns, header=False, delimiter=":")["y"] == ["2", "4"]


@pytest.mark.parametrize(
    "text, where",
    [
        ("a,b\n1,x\n,y\n", "line 3 has no whole number for 'a'"),
        ('a,b\n1,x\n"",y\n', "line 3 has no whole number for 'a'"),
        ("a,b\n1,x\nz,y\n", "line 3 has no whole number for 'a'"),
        ("a,b\n1,x\n2.5,y\n", "line 3 has no whole number for 'a'"),
        ("a,b\n1,x\n2\n3,y\n", "Line: 3; .* Expected Number of Columns: 2 Found: 1"),
        ("a,b\n1,x\n2,y,z\n", "Line: 3; .* Expected Number of Columns: 2 Found: 3"),
        ('a,b\n1,x\n2,"y\n3,z\n', "Line: 3"),
        ("a,b\n1,x\n99999999999999999999,y\n", "line 3 has no whole number for 'a'"),
        ("b,c\n1,2\n", "there is no column 'a'; found b, c"),
        ("", "is empty"),
    ],
)
def test_what_is_not_whole_is_refused_by_its_line(tmp_path, text, where):
    with pytest.raises(ValueError, match=where) as error:
        load(tmp_path, text, {"a": "BIGINT"})
    assert str(error.value).startswith(str(tmp_path / "t.csv"))


def test_strict_reading_has_its_kinds_of_files(tmp_path):
    with pytest.raises(ValueError, match="line 2 has no value for 'y'"):
        load(tmp_path, "1,2\n3,\n", {"x": "BIGINT", "y": "DOUBLE"}, header=False)
    with pytest.raises(ValueError, match="Line: 3; .* \"z\" to 'DOUBLE'"):
        load(tmp_path, "a,b\n1,x\nz,y\n", {"a": "DOUBLE"})
    with pytest.raises(ValueError, match="not utf-8 encoded"):
        load(tmp_path, b"a,b\n1,\xff\n")
    with pytest.raises(ValueError, match="JSON lines are not read here"):
        load(tmp_path, '{"a": 1}\n', name="t.jsonl")
    with pytest.raises(ValueError, match="gzip"):
        load(tmp_path, gzip.compress(b"a,b\n1,2\n" * 99)[:-9], name="t.csv.gz")
    path = tmp_path / "t.parquet"
    tables.write(path, {"a": np.ma.array([1, 2], mask=[False, True]), "b": np.array(["x", "y"])})
    with pytest.raises(ValueError, match="line 2 has no whole number for 'a'"):
        tables.load(path, {"a": "BIGINT"})
    with pytest.raises(ValueError, match="Could not convert string 'x'"):
        tables.load(path, {"b": "BIGINT"})
    with pytest.raises(ValueError, match="there is no column 'c'; found a, b"):
        tables.load(path, {"c": "BIGINT"})


# Writing.


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    columns = {
        "id": np.array(ODD, object),
        "n": np.arange(len(ODD)) - (1 << 60),
        "x": np.linspace(0, 1 / 3, len(ODD)),
        "name": np.array([f"n{i}" for i in range(len(ODD))]),
    }
    tables.write(path, columns)
    kinds = {"id": "VARCHAR", "n": "BIGINT", "x": "DOUBLE", "name": "VARCHAR"}
    found = tables.load(path, kinds)
    for name, values in columns.items():
        assert found[name].tolist() == values.tolist()
    if suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            assert [row[0] for row in csv.reader(file)] == ["id", *ODD]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_equal_columns_give_equal_bytes(tmp_path, suffix):
    rng = np.random.default_rng(0)
    columns = {"n": rng.integers(0, 99, 200_000), "id": rng.integers(0, 9, 200_000).astype(str)}
    for name in "ab":
        tables.write(tmp_path / (name + suffix), columns)
    one, other = ((tmp_path / (name + suffix)).read_bytes() for name in "ab")
    assert one == other


def test_writing_leaves_nothing_behind_that_is_not_whole(tmp_path):
    path = tmp_path / "t.csv"
    tables.write(path, {"id": np.empty(0, object), "n": np.empty(0, np.int64)})
    assert path.read_text() == "id,n\n"
    for columns in (
        {"a": np.arange(2), "b": np.arange(3)},
        {"a": np.array(["\ud800"], object)},
    ):
        with pytest.raises(ValueError, match="cannot be written"):
            tables.write(path, columns)
    with pytest.raises(ValueError, match=r"must end in \.parquet, \.csv or \.xlsx"):
        tables.write(tmp_path / "t.txt", {"a": np.arange(2)})
    assert path.read_text() == "id,n\n" and list(tmp_path.iterdir()) == [path]


def test_masked_and_memory_mapped_columns(tmp_path):
    mapped = np.memmap(tmp_path / "m", np.float32, "w+", shape=(3, 2))
    mapped[:] = np.arange(6).reshape(3, 2)
    path = tmp_path / "t.csv"
    tables.write(path, {"x": mapped[:, 1], "n": np.ma.array([1, 2, 3], mask=[0, 1, 0])})
    assert path.read_text() == "x,n\n1.0,1\n3.0,\n5.0,3\n"


def test_a_database_goes_with_its_folder_whatever_happens(tmp_path):
    with pytest.raises(KeyError), tables.database(tmp_path / "db") as con:
        con.execute("CREATE TABLE t AS SELECT 1")
        assert any((tmp_path / "db").iterdir())
        raise KeyError
    assert not (tmp_path / "db").exists()
    with tables.database(tmp_path / "db") as con:
        tables.check_time_format(con, "%d.%m.%Y")
        with pytest.raises(ValueError, match="'%Q' is no time format"):
            tables.check_time_format(con, "%Q")
        assert con.execute("SELECT epoch('1970-01-02'::TIMESTAMPTZ)").fetchone() == (86400.0,)


def test_quoting_in_sql(tmp_path):
    assert tables.sql_name('a"b') == '"a""b"' and tables.sql_text("it's") == "'it''s'"
    name = "x'; DROP TABLE t; --\""
    assert stage(tmp_path, "t.csv", f'a,"{name.replace(chr(34), chr(34) * 2)}"\n1,2\n')[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables.write(tmp_path / "u.parquet", {name: np.arange(2)})
    assert tables.load(tmp_path / "u.parquet", {name: "BIGINT"})[name].tolist() == [0, 1]


@pytest.mark.parametrize("field", [' "6"', '"6"  ', '  "6"', '"6" "7"', ' "6', '"6""7" ', '   "a'])
def test_quotes_beside_spaces_cost_their_own_line_at_most(tmp_path, field):
    content = f"a,b\n1,{field}\n{field},2\n3,4\n"
    _, rows, line, bad = stage(tmp_path, "t.csv", content)
    assert rows[-1] == ("3", "4") and line[-1] == 4
    assert len(rows) + len(bad) == 3


# Layouts.


def test_lines_before_the_header_keep_their_numbers(tmp_path):
    text = "Shop,\nof: 12,\n\nuser,item\nu1,p1\nbad\nu2,p2\n"
    said = {"names": frozenset({"user", "item"})}
    columns, rows, lines, bad = stage(tmp_path, "t.csv", text, **said)
    assert (columns, rows) == (["user", "item"], [("u1", "p1"), ("u2", "p2")])
    assert lines == [5, 7] and bad == [(6, "too few fields")]
    assert stage(tmp_path, "t.csv", text, skip_lines=3)[1:] == (rows, lines, bad)
    for text in ("sep=;\nuser;item\nu1;p1\n", "# x\n\nuser,item\nu1,p1\n"):
        columns, rows, lines, _ = stage(tmp_path, "t.csv", text, **said)
        assert (columns, rows) == (["user", "item"], [("u1", "p1")])
        assert lines == [text.count("\n")]


def test_a_table_without_a_header_loses_no_row(tmp_path):
    columns, rows, lines, bad = stage(tmp_path, "t.tsv", "900\t0\t\n\n901\t1\tx\n", header=False)
    assert columns == ["column 1", "column 2", "column 3"]
    assert (rows, lines, bad) == ([("900", "0", None), ("901", "1", "x")], [1, 3], [])


def test_comments_and_headers_that_come_again_are_no_rows(tmp_path):
    text = "# made today\nuser,item\nu1,p1\n# more, and more\nuser,item\nu2,p2\n"
    _, rows, lines, bad = stage(tmp_path, "t.csv", text)
    assert (rows, lines) == ([("u1", "p1"), ("u2", "p2")], [3, 6])
    assert bad == [(4, "a comment"), (5, "the header again")]
    _, rows, _, bad = stage(tmp_path, "t.csv", "user,item\n#1,p1\n#2,p2\n")  # order numbers
    assert rows == [("#1", "p1"), ("#2", "p2")] and bad == []
    _, rows, _, bad = stage(tmp_path, "t.csv", "user,item\n//1,p1\n2,p2\n", comment="//")
    assert rows == [("2", "p2")] and bad == [(2, "a comment")]


def test_backslashes_escape_quotes_where_that_makes_sense(tmp_path):
    text = (
        'user,item,text\nu1,p1,"2\\" seam, 1"\nu2,p2,plain\nu3,"a\\\\",say \\"hi\\"\n'
        'u4,a\\,b,"\\"x\\""\n"u5",p5,"two\nlines\\""\nu6,C:\\new,\n'
    )
    _, rows, lines, bad = stage(tmp_path, "t.csv", text)
    assert rows == [
        ("u1", "p1", '2" seam, 1'),
        ("u2", "p2", "plain"),
        ("u3", "a\\", 'say "hi"'),
        ("u4", "a,b", '"x"'),
        ("u5", "p5", 'two lines"'),
        ("u6", "C:\\new", None),
    ]
    assert (lines, bad) == ([2, 3, 4, 5, 6, 8], [])
    assert stage(tmp_path, "t.csv", text, escape="\\")[1:] == (rows, lines, bad)
    assert len(stage(tmp_path, "t.csv", text, escape="")[3]) > 2
    paths = 'user,item,path\nu1,p1,"C:\\new\\"\nu2,p2,"D:\\"\nu3,p3,"a\\"b"\n'
    _, rows, _, bad = stage(tmp_path, "t.csv", paths)  # backslashes that escape nothing
    assert rows == [("u1", "p1", "C:\\new\\"), ("u2", "p2", "D:\\")] and len(bad) == 1


def test_blank_and_single_lines_are_seen_for_what_they_are(tmp_path):
    refused(tmp_path, "t.csv", "a,b\n1,2\n", "no line that names the columns after 9", skip_lines=9)
    refused(tmp_path, "t.csv", "a,b\n", "holds no row", header=True)
