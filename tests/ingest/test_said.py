"""What an ingestion says of each column, and what it warns of."""

import datetime as dt

import numpy as np
import pytest

from gadkit import cli, ingest, store
from gadkit.datasets import describe
from gadkit.ingest import said

TODAY = dt.date(2026, 11, 28)


def take(folder, text, **options):
    path = folder / "events.csv"
    path.write_text(text, encoding="utf-8")
    return store.read_about(ingest.ingest(path, folder / "out", progress=False, **options))


def events(header, rows):
    return f"user,item,{header}\n" + "".join(
        f"u{n % 5},p{n % 3},{row}\n" for n, row in enumerate(rows)
    )


def test_a_line_a_role(tmp_path):
    rows = [f"{1_614_556_800 + 3_600 * n},{n}.5,{n % 2},{n % 5 + 1},hello {n}" for n in range(200)]
    rows[15] = "31/02/2021,,x,5,"
    about = take(tmp_path, events("timestamp,price,verified,rating,text", rows))
    assert said.lines(about) == [
        "user      user: 5 different",
        "product   item: 3 different",
        "time      timestamp: seconds since 1970; 2021-03-01 to 2021-03-09; "
        "1 of 200 (0.50 %) cannot be read, such as '31/02/2021' on line 17",
        "rating    rating: numbers; 1 to 5",
        "verified  verified: flag; 0 to 1; "
        "1 of 200 (0.50 %) cannot be read, such as 'x' on line 17",
        "amount    price: numbers; 0.5 to 199.5; 1 of 200 (0.50 %) missing",
        "text      text: 1 of 200 (0.50 %) missing",
    ]
    assert about["warnings"] == said.warnings(about, TODAY) == []
    read = about["read"]["time"]
    assert (read["rows"], read["missing"], read["unreadable"]) == (200, 0, 1)
    assert read["example"] == {"value": "31/02/2021", "line": 17}
    assert (read["low"], read["high"]) == ("2021-03-01T00:00:00Z", "2021-03-09T07:00:00Z")
    shown = describe.values_read(about)
    assert shown["time"][1:3] == ["seconds since 1970", "2021-03-01 to 2021-03-09"]
    assert shown["time"][4].endswith("on line 17") and shown["amount"][3] == "1"
    assert describe.values_read({}) == {} and said.lines({}) == said.warnings({}) == []


def test_a_line_of_totals_is_in_no_range(tmp_path):
    about = take(tmp_path, events("price", range(1, 41)) + ",,820\n")
    assert about["read"]["amount"]["high"] == 40


def test_the_line_is_that_of_the_file(tmp_path):
    text = 'user,item,price\n\na,p,1\n"b\nc",p,2\nd,p,cheap\n'
    assert take(tmp_path, text)["read"]["amount"]["example"] == {"value": "cheap", "line": 6}


def test_labels_that_are_neither_are_said(tmp_path):
    labels = ["Yes", "No", "perhaps", "", "No"] * 4
    about = take(tmp_path, events("is_fraud", labels))
    read = about["read"]["label"]
    assert (read["yes"], read["no"], read["missing"], read["unreadable"]) == (4, 8, 4, 4)
    assert said.lines(about)[-1] == (
        "label     is_fraud: 4 yes, 8 no; 4 of 20 (20.00 %) missing; "
        "4 of 20 (20.00 %) cannot be read, such as 'perhaps' on line 4"
    )
    assert about["warnings"] == [
        "label (is_fraud): 4 of 20 (20.00 %) cannot be read, such as 'perhaps' on line 4; "
        "--label names another column, or '' for none"
    ]


@pytest.mark.parametrize(("bad", "warned"), [(5, False), (6, True)])
def test_more_than_five_in_a_hundred_are_a_warning(tmp_path, bad, warned):
    rows = ["soon"] * bad + [f"2022-01-{n % 28 + 1:02}" for n in range(100 - bad)] + [""] * 20
    about = take(tmp_path, events("date", rows))
    assert about["read"]["time"]["unreadable"] == bad and about["read"]["time"]["missing"] == 20
    text = "time (date): 6 of 120 (5.00 %) cannot be read, such as 'soon' on line 2; "
    text += "--time-format says how it is written"
    assert about["warnings"] == ([text] if warned else [])


def test_times_near_1970_and_to_come(tmp_path):
    about = take(tmp_path, events("timestamp", [str(86_400 + 9_000_00 * n) for n in range(30)]))
    (warning,) = about["warnings"]
    assert "all events lie from 1970-01-02 to 1970-10-31" in warning
    assert "--time-format hours" in warning
    read = {"columns": ["date"], "rows": 9, "counter": False, "low": "2026-01-01T00:00:00Z"}
    for last, which in (("2027-12-31", None), ("2028-01-01", "some"), ("9999-01-01", "some")):
        warnings = said.warnings({"read": {"time": read | {"high": f"{last}T00:00:00Z"}}}, TODAY)
        assert len(warnings) == bool(which) and all("some events lie after" in w for w in warnings)
    late = {"low": "2610-10-01T00:00:00Z", "high": "2610-10-02T00:00:00Z"}
    (warning,) = said.warnings({"read": {"time": read | late}}, TODAY)
    assert "all events lie after 2027-12-31" in warning and "--time-format" in warning
    assert said.warnings({"read": {"time": read | late}}) == []  # nothing saved asks the clock


def test_users_that_are_all_met_once(tmp_path):
    text = "user,item\n" + "".join(f"order{n},p{n % 3}\n" for n in range(30))
    (warning,) = take(tmp_path, text)["warnings"]
    assert "every user is met once" in warning and "--user" in warning


def test_the_command_says_it_and_warns_on_stderr(tmp_path, capsys):
    path = tmp_path / "events.csv"
    path.write_text(events("date", ["2022-01-01", "sometime"] * 10))
    assert cli.main(["ingest", str(path), "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    line = "time      date: ISO 8601; 2022-01-01 00:00:00 to 2022-01-01 00:00:00; 10 of 20"
    assert line in out
    assert "warning: time (date): 10 of 20 (50.00 %) cannot be read, such as 'sometime'" in err


def test_counts_are_numbers_of_python(tmp_path):
    about = take(tmp_path, events("price,date", [f"{n},2022-01-0{n % 9 + 1}" for n in range(40)]))
    values = [value for read in about["read"].values() for value in read.values()]
    assert not any(isinstance(value, np.generic) for value in values)
