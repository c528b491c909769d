"""Files as people have them: each row is used or listed by file and line; what is seen is said."""

import csv
import io
import zipfile

import numpy as np
import pytest

from gadkit import cli, ingest, store
from gadkit.store import node_ids, tables
from gadkit.store.layouts import Layout

ROWS = [f"u{k % 9},p{k % 6},{k}.5,2022-01-{k % 28 + 1:02} 0{k % 10}:04:57" for k in range(40)]
NAMES = "user,product,amount,timestamp"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def take(path, out, **options):
    folder = ingest.ingest(path, out, progress=False, **options)
    about = store.read_about(folder)
    with open(folder / ingest.UNUSED, newline="", encoding="utf-8") as file:
        unused = [row[:3] for row in csv.reader(file)][1:]
    return about, unused


def names_in(folder, node_type):
    rows = store.load_graph(folder).num_nodes[node_type]
    return node_ids.load(folder, node_type, rows=rows).tolist()


def same_rows(delimiter=","):
    return "\n".join(row.replace(",", delimiter) for row in ROWS) + "\n"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sep=;\n" + NAMES.replace(",", ";") + "\n" + same_rows(";"), 3),
        (f"Account: Shop 12,,,\nRange: 1/1-11/2,,,\n,,,\n{NAMES}\n{same_rows()}", 5),
        (f"Account: Shop 12\n\n{NAMES}\n{same_rows()}", 4),
        (f"# made today\n# by us\n{NAMES}\n{same_rows()}", 4),
        (f"#{NAMES}\n{same_rows()}", 2),
    ],
)
def test_what_stands_before_the_rows_is_seen_and_said(tmp_path, text, first):
    text = text.rstrip("\n") + "\nbad\n"
    about, unused = take(write(tmp_path / "e.csv", text), tmp_path / "out")
    assert about["rows"]["read"] == 41 and about["rows"]["used"] == 40
    assert unused == [["e.csv", str(first + 40), "cannot be read: too few fields"]]
    assert about["roles"] == {
        "user": ["user"], "product": ["product"], "time": ["timestamp"], "amount": ["amount"],
    }  # fmt: skip
    assert len(about["notes"]["e.csv"]) == 1


def test_a_table_without_a_header(tmp_path, capsys):
    path = write(tmp_path / "e.csv", same_rows())
    with pytest.raises(
        ValueError, match="line 1 is a row, .*so the columns are called column 1"
    ) as error:
        take(path, tmp_path / "out")
    assert "--columns" in str(error.value) and "--header" in str(error.value)
    layout = Layout(columns=tuple(NAMES.split(",")))
    about, unused = take(path, tmp_path / "out", layout=layout)
    assert about["rows"] == {"read": 40, "used": 40, "unused": {}} and unused == []
    argv = ["ingest", str(path), "--out", str(tmp_path / "by"), "--no-header"]
    for role, column in (("user", 1), ("product", 2), ("amount", 3), ("time", 4)):
        argv += [f"--{role}", f"column {column}"]
    assert cli.main(argv) == 0
    assert store.read_about(tmp_path / "by")["rows"] == about["rows"]
    assert names_in(tmp_path / "by", "user") == names_in(tmp_path / "out", "user")
    assert "user      column 1\n" in capsys.readouterr().out


def test_the_error_names_the_options_for_layouts(tmp_path, capsys):
    path = write(tmp_path / "e.csv", "Wer,Was\nann,tea\nbob,cup\n")
    assert cli.main(["ingest", str(path), "--out", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    for option in ("--user", "--skip-lines", "--no-header", "--columns"):
        assert option in message


def test_backslashes_before_quotes_are_read(tmp_path, capsys):
    rows = [
        f'u{k % 9},p{k % 6},{k % 5 + 1},2022-01-{k % 28 + 1:02},"{k}\\" seam, x"' for k in range(30)
    ]
    path = write(tmp_path / "e.csv", "user,product,rating,timestamp,text\n" + "\n".join(rows))
    assert cli.main(["ingest", str(path), "--out", str(tmp_path / "out")]) == 0
    about = store.read_about(tmp_path / "out")
    assert about["rows"] == {"read": 30, "used": 30, "unused": {}}
    assert "--escape ''" in capsys.readouterr().out
    argv = ["ingest", str(path), "--out", str(tmp_path / "raw"), "--escape", ""]
    assert cli.main(argv) == 1


def test_a_folder_of_parts_is_accounted_by_file(tmp_path):
    half = len(ROWS) // 2
    folder = tmp_path / "events"
    write(folder / "day=1" / "part-0.csv", f"{NAMES}\n" + "\n".join(ROWS[:half]) + "\nbad\n")
    write(folder / "day=2" / "part-1.csv", "\n".join(ROWS[half:]) + "\n,p1,1,2022-01-01\n")
    write(folder / "_SUCCESS", "")
    about, unused = take(folder, tmp_path / "out")
    assert about["rows"]["read"] == 42 and about["rows"]["used"] == 40
    assert unused == [
        ["events/day=1/part-0.csv", "22", "cannot be read: too few fields"],
        ["events/day=2/part-1.csv", "21", "user id is missing"],
    ]
    assert about["notes"]["events"] == ["2 files are parts of one table"]
    whole = write(tmp_path / "whole.csv", f"{NAMES}\n{same_rows()}")
    take(whole, tmp_path / "other")
    for name in ("ids_user.parquet", store.FEATURES):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_parts_of_parquet_name_their_events(tmp_path):
    for number in range(2):
        columns = {
            "user": np.array([f"u{k % 5}" for k in range(10)], object), "item": np.arange(10) % 3,
            "label": np.arange(10) % 2,
        }  # fmt: skip
        tables.write(tmp_path / "e.parquet" / f"part-{number}.parquet", columns)
    take(tmp_path / "e.parquet", tmp_path / "out")
    names = names_in(tmp_path / "out", "event")
    assert names[0] == "e.parquet/part-0.parquet line 1"
    assert names[-1] == "e.parquet/part-1.parquet line 10" and len(set(names)) == 20


def test_a_zip_file_is_read_like_the_table_in_it(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("e.csv", f"{NAMES}\n{same_rows()}")
    about, _ = take(write(tmp_path / "e.zip", packed.getvalue()), tmp_path / "out")
    assert about["rows"]["used"] == 40


def test_relationships_of_neo4j(tmp_path):
    text = ":START_ID(Customer),amount:double,when:datetime,:END_ID(Article),:TYPE\n"
    text += "".join(
        f"c{k % 5},{k}.5,2024-01-02T0{k % 9}:00:00Z,a{k % 7},BOUGHT\n" for k in range(20)
    )
    about, _ = take(write(tmp_path / "e.csv", text), tmp_path / "out")
    assert about["roles"]["user"] == [":START_ID(Customer)"]
    assert about["roles"]["product"] == [":END_ID(Article)"]
    assert about["roles"]["amount"] == ["amount:double"]
    assert about["roles"]["time"] == ["when:datetime"]


COPIES = "user,product,amount,date\nann,tea,5,{0}\nann,tea,5,{0}\nbob,tea,5,{1}\nbob,cup,6,{1}\n"


@pytest.mark.parametrize(
    ("first", "second", "copies", "used"),
    [
        ("2024-01-02", "2024-01-03", None, 4),
        ("2024-01-02 00:00:00", "2024-01-03 00:00:00", None, 4),
        ("2024-01-02T00:00:00+05:30", "2024-01-03T00:00:00+05:30", None, 4),
        ("2024-01-02 10:00:05", "2024-01-03 00:00:00", None, 3),
        ("2024-01-02", "2024-01-03", "drop", 3),
        ("2024-01-02 10:00:05", "2024-01-03 00:00:00", "keep", 4),
    ],
)
def test_equal_rows_of_one_day_are_events_of_their_own(tmp_path, first, second, copies, used):
    path = write(tmp_path / "e.csv", COPIES.format(first, second))
    about, unused = take(path, tmp_path / "out", layout=Layout(copies=copies))
    assert about["rows"]["used"] == used
    assert unused == [["e.csv", "3", "copy of an earlier row"]] * (4 - used)
    note = about["notes"]["e.csv"][0]
    assert note.startswith("1 rows repeat an earlier one in every column, and are ")
    assert ("kept" if used == 4 else "left out") in note and "--copies" in note


def test_reviews_of_one_day_with_the_same_text_are_copies(tmp_path):
    rows = ["ann,tea,2024-01-02,fine"] * 2 + ["bob,tea,2024-01-02,no"]
    text = "\n".join(["user,product,date,text", *rows])
    about, _ = take(write(tmp_path / "e.csv", text), tmp_path / "out")
    assert about["rows"]["unused"] == {"copy of an earlier row": 1}


def guessed(tmp_path, names, rows, **options):
    text = "\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)])
    about, _ = take(write(tmp_path / "e.csv", text), tmp_path / "out", **options)
    return about["roles"], about.get("notes", {}).get("e.csv", [])


def test_the_column_whose_values_fit_is_taken(tmp_path):
    names = ("user", "customer_id", "product", "date", "created_at", "price", "amount")
    rows = [
        ("shop", f"c{k % 9}", f"p{k % 7}", "Monday", f"2024-01-02 10:{k:02}:01", "n/a", k + 1)
        for k in range(40)
    ]
    roles, notes = guessed(tmp_path, names, rows)
    assert roles["user"] == ["customer_id"] and roles["time"] == ["created_at"]
    assert roles["amount"] == ["amount"] and len(notes) == 2
    assert "'customer_id' is taken for the user" in notes[0] and "--user" in notes[0]
    assert "'created_at' is taken for the time" in notes[1]


def test_the_only_column_of_dates_is_the_time(tmp_path):
    names = ("user", "product", "moved", "birthday", "size")
    rows = [
        (f"u{k % 9}", f"p{k % 7}", f"2024-01-{k % 28 + 1:02}", "1990-01-01", "1/2")
        for k in range(40)
    ]
    roles, notes = guessed(tmp_path, names, rows)
    assert roles["time"] == ["moved"] and "by its values" in " ".join(notes)


def test_a_column_that_alone_is_called_so_stays(tmp_path):
    names, rows = ("user", "product", "date"), [("u", "p", "Monday"), ("v", "p", "Friday")]
    with pytest.raises(ValueError, match="no value of 'date' can be read as a time"):
        guessed(tmp_path, names, rows)
    roles, _ = guessed(tmp_path, ("user", "product"), [("shop", f"p{k}") for k in range(40)])
    assert roles["user"] == ["user"]


def test_what_the_user_says_is_not_judged(tmp_path):
    names, rows = ("user", "buyer", "product"), [("shop", f"b{k}", f"p{k}") for k in range(40)]
    roles, _ = guessed(tmp_path, names, rows, roles={"user": ["user"]})
    assert roles["user"] == ["user"]
