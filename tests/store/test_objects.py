"""Arrays of JSON, read as tables."""

import gzip
import json

import numpy as np
import pytest

from gadkit.store import lines, objects, tables


def stage(folder, text, name="t.json", **said):
    path, layout = folder / name, tables.Layout(**said)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(layout.encoding))
    columns = tables.columns_of(path, layout=layout)
    with tables.database(folder / "w") as con:
        staged = tables.stage(con, path, "t", columns, folder=folder / "w", layout=layout)
        rows = [row[:-1] for row in con.execute("SELECT * FROM t ORDER BY rowid").fetchall()]
    numbers = staged.line_of(np.arange(len(rows))).tolist()
    return columns, rows, numbers, [(bad.line, bad.reason) for bad in staged.bad]


@pytest.mark.parametrize("block", [1, 3, 1 << 24])
def test_an_array_is_a_table_of_its_objects(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lines, "BLOCK", block)
    text = (
        '[{"a": 1.50, "b": "x\\n]"},\r\n {"a": 12345678901234567890,\n  "b": "é"}\n'
        ', 78, {"c": null}\n]\n'
    )
    columns, rows, numbers, bad = stage(tmp_path, text)
    assert columns == ["a", "b", "c"]
    assert rows == [("1.5", "x\n]", None), ("12345678901234567890", "é", None), (None, None, None)]
    assert (numbers, bad) == ([1, 2, 4], [(4, "no JSON object")])


def test_an_array_may_be_indented_packed_or_in_utf_16(tmp_path):
    table = [{"user": f"u{k}", "item": {"id": k}} for k in range(50)]
    expected = [(f"u{k}", str(k)) for k in range(50)]
    for text in (
        json.dumps(table),
        json.dumps(table, indent=2),
        "\ufeff" + json.dumps(table, indent=0),
    ):
        assert stage(tmp_path, text)[1] == expected
    assert stage(tmp_path, json.dumps(table), encoding="utf-16")[1] == expected
    packed = gzip.compress(json.dumps(table).encode())
    assert stage(tmp_path, packed, "t.json.gz")[1] == expected


def test_the_first_keys_are_columns_also_where_an_array_is_cut_off():
    assert objects.keys_of('[{"a": 1}, {"b": [1, 2]}, {"c": ') == ["a", "b"]
    # A dot may stand in a key itself, as pandas names the second column of one name.
    assert objects.keys_of('{"a": 1, "a.1": 2}') == ["a", "a.1"]
    assert objects.keys_of('{"a": 1}\n{"a": {"b": 2}}') == ["a"]
    assert objects.find_array('{"a": 1}\n') is None and objects.find_array("[1, 2]") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n{"a": 2}', "line 2: what begins here is no element|cut off"),
        ('[{"a": 1},\n{"a": }]', "line 2: what begins here is no element of a JSON array"),
        (b'[{"a": "\xe9"},{"b": 1}]', "is not in the encoding"),
        ("[{}]", "none of its first lines is a JSON object"),
    ],
)
def test_a_damaged_array_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        stage(tmp_path, text)


RECORDS = [{"user": f"u{k % 9}", "amount": k} for k in range(60)]
LINES = [*map(json.dumps, RECORDS)]
COLUMNS = {name: [row[name] for row in RECORDS] for name in ("user", "amount")}
VALUES = [[*row.values()] for row in RECORDS]


@pytest.mark.parametrize(
    "text",
    [
        ",\n".join(LINES),
        ",\r\n".join(LINES) + ",\r\n",
        "".join(LINES),
        " ".join(LINES),
        "\n".join(json.dumps(row, indent=2) for row in RECORDS),
        json.dumps({"data": {"orders": RECORDS, "count": 60}, "errors": []}),
        json.dumps({"schema": {"fields": [{"name": "user"}]}, "data": RECORDS}),
        json.dumps(COLUMNS),
        json.dumps({name: dict(enumerate(column)) for name, column in COLUMNS.items()}),
        json.dumps(dict(enumerate(RECORDS))),
        json.dumps(dict(enumerate(RECORDS)), indent=1),
        json.dumps({"columns": [*COLUMNS], "index": [*range(60)], "data": VALUES}),
    ],
)
def test_all_objects_are_read_however_they_follow_each_other(tmp_path, text):
    expected = [(row["user"], str(row["amount"])) for row in RECORDS]
    columns, rows, _, bad = stage(tmp_path, text)
    assert (columns, rows, bad) == (["user", "amount"], expected, [])


def test_names_of_rows_that_do_not_count_them_are_a_column(tmp_path):
    text = json.dumps({"columns": ["a"], "index": ["x", "y"], "data": [[1], [2]]})
    assert stage(tmp_path, text)[:2] == (["index", "a"], [("x", "1"), ("y", "2")])
    assert objects.rows_of_whole('{"user": {"id": 1}, "item": {"id": 2}}') == []


def test_an_object_within_gives_columns_with_dots(tmp_path):
    text = (
        '{"order": {"user": {"id": "ann"}, "at": null}, "a.b": 1, "_id": {"$oid": "7"}}\n'
        '{"order": {"user": {"id": "bob"}, "at": 5, "x/y": "z"}}\n'
    )
    columns, rows, _, _ = stage(tmp_path, text)
    assert columns == ["order.user.id", "order.at", "a.b", "_id", "order.x/y"]
    assert rows == [("ann", None, "1", '{"$oid":"7"}', None), ("bob", "5", None, None, "z")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(VALUES), "holds arrays, which do not name the columns; .*orient='records'"),
        (f"[{LINES[0]}]\n[{LINES[1]}]", "line 1: the array ends, but more follows: .*one array"),
        (
            "\n".join([LINES[0], *["no"] * 5]),
            "5 of 6 lines are no JSON object, such as line 2: 'no'",
        ),
        (",\n".join([*LINES[:2], '{"user"']), "line 3: what begins here is no element.*mend that"),
        ("user,amount\nu1,5", ".*begins with 'user,amount.*should be called .csv"),
    ],
)
def test_json_of_which_rows_would_be_lost_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"t\.json: " + message):
        stage(tmp_path, text)
