"""Folders of parts, and zip files, read as one table."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from gadkit.store import parts, tables


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def stage(path, work, columns=None, **said):
    """Columns, rows, and for each row the part it is of and its line there."""
    layout = tables.Layout(**said)
    columns = columns or tables.columns_of(path, layout=layout)
    with tables.database(work) as con:
        staged = tables.stage(con, path, "t", columns, folder=work, layout=layout)
        rows = con.execute("SELECT * FROM t ORDER BY rowid").fetchall()
        assert con.execute("SELECT min(rowid), max(rowid) FROM t").fetchone() == (0, len(rows) - 1)
    numbers = np.arange(len(rows))
    names = [staged.parts[k].name for k in staged.part_of(numbers)]
    places = list(zip(names, staged.line_of(numbers).tolist(), strict=True))
    return columns, [row[:-1] for row in rows], places, staged


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_parts_with_and_without_a_header_follow_each_other(tmp_path):
    folder = write(tmp_path / "e.csv", {
        "part-00000.csv": "user,item,n\nu1,p1,1\nu2,p2,2\n",
        "part-00001.csv": "u3,p3,3\nbad\nu4,p4,4\n",
        "part-00002.csv": "n,user,item\n5,u5,p5\n",  # in another order
        "part-00003.csv": "u6,p6,6\n",
        "part-00004.csv": "user,item,n\n",
        "part-00005.csv": "",
        "_SUCCESS": "", ".part-00000.csv.crc": "crc", "_temporary/0/part-9.csv": "x,y\n1,2\n",
    })  # fmt: skip
    columns, rows, places, staged = stage(folder, tmp_path / "w")
    assert columns == ["user", "item", "n"]
    assert rows == [(f"u{k}", f"p{k}", str(k)) for k in range(1, 7)]
    part = "part-0000{}.csv".format
    assert places == [
        (part(0), 2),
        (part(0), 3),
        (part(1), 1),
        (part(1), 3),
        (part(2), 2),
        (part(3), 1),
    ]
    assert [(bad.line, bad.reason) for bad in staged.parts[1].bad] == [(2, "too few fields")]
    assert staged.notes == ["5 files are parts of one table"]


def test_numbers_in_names_order_parts(tmp_path):
    folder = write(tmp_path / "e", {f"part-{k}.csv": f"a,b\n{k},x\n" for k in (10, 9, 1)})
    assert [row[0] for row in stage(folder, tmp_path / "w")[1]] == ["1", "9", "10"]


def test_names_of_folders_are_columns(tmp_path):
    folder = write(tmp_path / "e", {
        "day=2024-01-02/country=A%20B/part-0.csv": "user,item\nu1,p1\n",
        "day=2024-01-01/country=__HIVE_DEFAULT_PARTITION__/part-0.csv.gz":
            gzip.compress(b"user,item\nu0,p0\n"),
    })  # fmt: skip
    columns, rows, places, _ = stage(folder, tmp_path / "w")
    assert columns == ["user", "item", "day", "country"]
    assert rows == [("u0", "p0", "2024-01-01", None), ("u1", "p1", "2024-01-02", "A B")]
    assert places[1] == ("day=2024-01-02/country=A%20B/part-0.csv", 2)
    assert tables.columns_of(folder / "day=2024-01-02/country=A%20B/part-0.csv") == ["user", "item"]


def test_parquet_and_json_come_in_parts(tmp_path):
    for number, names in enumerate((["u0", "u1"], ["u2"])):
        columns = {"user": np.array(names, object), "n": np.arange(len(names))}
        columns |= {"late": np.array(["x"], object)} if number else {}
        tables.write(tmp_path / "e.parquet" / "year=24" / f"part-{number}.parquet", columns)
    columns, rows, places, _ = stage(tmp_path / "e.parquet", tmp_path / "w")
    assert columns == ["user", "n", "late", "year"]
    assert rows == [("u0", "0", None, "24"), ("u1", "1", None, "24"), ("u2", "0", "x", "24")]
    assert places[2] == ("year=24/part-1.parquet", 1)
    folder = write(tmp_path / "e.json", {
        "part-0.json": '{"user": "u0", "n": 1}\nno\n', "y=1/part-1": '{"user": "u1", "m": 2}\n',
    })  # fmt: skip
    columns, rows, places, staged = stage(folder, tmp_path / "w")
    assert columns == ["user", "n", "m", "y"]
    assert rows == [("u0", "1", None, None), ("u1", None, "2", "1")]
    assert places == [("part-0.json", 1), ("y=1/part-1", 1)] and len(staged.bad) == 1


def test_parts_without_a_header_and_without_a_suffix(tmp_path):
    folder = write(
        tmp_path / "t",
        {"000000_0": "u1\x01p1\x015\nu2\x01p2\x016\n", "000001_0": "u3\x01p3\x017\n"},
    )
    columns, rows, _, _ = stage(folder, tmp_path / "w")
    assert columns == ["column 1", "column 2", "column 3"] and rows[2] == ("u3", "p3", "7")
    said = tables.Layout(columns=("user", "item", "n"))
    named = tables.columns_of(folder, layout=said)
    assert named == ["user", "item", "n"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "u,i\nu,p\n", "b.csv": "u,n\nu,2\n"}, "a.csv has the columns u, i, but b.csv"),
        ({"a.csv": "u,i\nu,p\n", "b.jsonl": "{}\n"}, "several kinds, such as a.csv and b.jsonl"),
        ({"a.csv": "user,item\nu,p\n", "notes.docx": "x"}, "'notes.docx' in it is no table"),
        ({"_SUCCESS": "", "x.csv": ""}, "a folder without a table in it"),
        ({"a.csv": " \n"}, "is empty"),
        ({"a.parquet": "PAR1", "_delta_log/0.json": "{}"}, "a table of Delta"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_table_is_refused(tmp_path, files, message):
    folder = write(tmp_path / "e", files)
    with pytest.raises(ValueError, match=message) as error:
        tables.columns_of(folder)
    assert str(error.value).startswith(str(folder))


def test_a_bad_part_is_named(tmp_path):
    folder = write(
        tmp_path / "e", {"a.csv": "x,y\n1,2\n", "b.csv.gz": gzip.compress(b"x,y\n1,2\n")[:-9]}
    )
    with pytest.raises(ValueError, match="b.csv.gz: not a readable gzip"):
        tables.columns_of(folder)


@pytest.mark.parametrize("name", ["e.zip", "e.csv.zip", "e.csv"])
def test_a_zip_file_of_one_table_is_read(tmp_path, name):
    litter = {"__MACOSX/._e.csv": b"x", ".DS_Store": b"x"}
    text = b"user,item\nu1,p1\nbad\nu2,p2\n"
    path = write(tmp_path, {name: zipped({"folder/e.csv": text, **litter})}) / name
    columns, rows, places, staged = stage(path, tmp_path / "w")
    assert (columns, rows) == (["user", "item"], [("u1", "p1"), ("u2", "p2")])
    assert places == [("", 2), ("", 4)] and staged.notes == []
    packed = zipped({"e.csv.gz": gzip.compress(text)})
    assert stage(write(tmp_path, {"f.zip": packed}) / "f.zip", tmp_path / "w")[1] == rows
    packed = zipped({"e.jsonl": b'{"user": "u1"}\n'})
    assert stage(write(tmp_path, {"g.zip": packed}) / "g.zip", tmp_path / "w")[1] == [("u1",)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "x,y\n", "b.csv": "x,y\n"}, "2 files are in it: a.csv, b.csv; unpack it"),
        ({}, "0 files are in it: nothing|not a readable"),
        ({"a.parquet": "PAR1"}, "holds a.parquet; Parquet is not read within a zip file"),
        ({"a.docx": "x"}, "a table ends in one of"),
    ],
)
def test_a_zip_file_that_is_no_table_is_refused(tmp_path, files, message):
    path = write(tmp_path, {"e.zip": zipped(files)}) / "e.zip"
    with pytest.raises(ValueError, match=message):
        tables.columns_of(path)


def test_a_zip_file_that_is_cut_off_is_refused(tmp_path):
    packed = zipped({"e.csv": b"a,b\n" + np.random.default_rng(0).bytes(5000)})
    for content in (packed[:-50], packed[:3000], b"PK\x03\x04" + b"\0" * 50):
        path = write(tmp_path, {"e.zip": content}) / "e.zip"
        with pytest.raises(ValueError, match="not a readable gzip, bzip2, xz or zip file"):
            tables.columns_of(path)


def test_options_for_text_are_refused_elsewhere(tmp_path):
    tables.write(tmp_path / "e.parquet", {"a": np.arange(2)})
    with pytest.raises(
        ValueError, match="--skip-lines is for text with delimiters; this is parquet"
    ):
        tables.columns_of(tmp_path / "e.parquet", layout=tables.Layout(skip_lines=1))


def test_the_sample_has_the_columns_of_the_table(tmp_path):
    folder = write(tmp_path / "e", {"y=1/a.csv": '# made\nuser,"n\nm"\n"u,1",2\nbad\n,3\n'})
    with tables.sample(folder) as (con, name_of):
        assert list(name_of) == ["user", "n\nm", "y"]
        rows = con.execute(f"SELECT {', '.join(name_of.values())} FROM sample").fetchall()
    assert rows == [("u,1", "2", "1"), (None, "3", "1")]
    path = (
        write(tmp_path, {"e.jsonl": '{"a": {"b": 1}, "A": null}\n[1]\n{"a": true}\n'}) / "e.jsonl"
    )
    with tables.sample(path) as (con, name_of):
        assert con.execute("SELECT c0, c1 FROM sample").fetchall() == [
            ('{"b": 1}', None),
            ("true", None),
        ]
    assert parts.kind_of(path) == parts.JSON
