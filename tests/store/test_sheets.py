"""Workbooks, read back through the XML that they hold."""

import re
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from gadkit.store import sheets, tables

NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def cells(path):
    """Return the cells by their place: ("s", text) or ("n", number)."""
    with zipfile.ZipFile(path) as archive:
        shared = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        texts = ["".join(t.text or "" for t in item.iter(f"{NS}t")) for item in shared]
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    assert not list(sheet.iter(f"{NS}f")) and not list(sheet.iter(f"{NS}hyperlink"))
    content = {}
    for cell in sheet.iter(f"{NS}c"):
        value = cell.find(f"{NS}v").text
        kind = cell.get("t", "n")
        content[cell.get("r")] = ("s", texts[int(value)]) if kind == "s" else (kind, float(value))
    return content


def test_texts_stay_texts_and_numbers_numbers(tmp_path):
    path = tmp_path / "t.xlsx"
    tables.write(path, {
        "id": np.array(["=1+1", "007", "https://example.org", "-2", "<é & ü>"], object),
        "name": np.array(["@SUM(A1)", "+1", "", "12.0", " x "]),
        "n": np.array([1, 2, 3, 1 << 53, (1 << 60) + 1]),
        "label": np.ma.array([0, 1, 0, 1, 1], mask=[0, 0, 1, 0, 1], dtype=np.int8),
        "score": np.array([0.1, np.nan, 1e-9, 0.5, 1], np.float32),
        "known": np.array([True, False, True, False, True]),
    })  # fmt: skip
    content = cells(path)
    assert [content[f"{c}1"] for c in "ABCDEF"] == [
        ("s", name) for name in ("id", "name", "n", "label", "score", "known")
    ]
    texts = [content[f"A{row}"] for row in range(2, 7)]
    assert texts == [("s", t) for t in ("=1+1", "007", "https://example.org", "-2", "<é & ü>")]
    assert [content.get(f"B{row}", ("s", ""))[1] for row in range(2, 7)] == [
        "@SUM(A1)", "+1", "", "12.0", " x ",
    ]  # fmt: skip
    assert [content[f"C{row}"] for row in range(2, 7)] == [
        ("n", 1), ("n", 2), ("n", 3), ("n", 1 << 53), ("s", "1152921504606846977"),
    ]  # fmt: skip
    assert [content.get(f"D{row}") for row in range(2, 7)] == [
        ("n", 0),
        ("n", 1),
        None,
        ("n", 1),
        None,
    ]
    assert [content.get(f"E{row}") for row in range(2, 7)] == [
        ("n", 0.1), None, ("n", 1e-9), ("n", 0.5), ("n", 1),
    ]  # fmt: skip
    assert content["F2"] == ("b", 1) and content["F3"] == ("b", 0)


def test_equal_columns_give_equal_bytes(tmp_path):
    columns = {"id": np.array(["a", "b"], object), "x": np.array([1.5, 2])}
    for name in ("a", "b"):
        tables.write(tmp_path / f"{name}.xlsx", columns)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        created = archive.read("docProps/core.xml").decode()
    assert set(re.findall(r"\d{4}-\d\d-\d\d", created)) == {"1980-01-01"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.arange(2), "b": np.arange(3)}, r"columns have \[2, 3\] rows"),
        ({"a": np.zeros(sheets.MOST_ROWS, bool)}, "a sheet has room for 1,048,575 rows"),
        ({"a": np.array(["x", "y" * 40_000], object)}, "a text of row 2 is longer than 32,767"),
        ({"a": np.array([1.0, np.inf])}, "row 2 holds a number that is infinite"),
    ],
)
def test_what_no_sheet_can_hold_is_refused_and_nothing_is_left(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        tables.write(tmp_path / "t.xlsx", columns)
    assert list(tmp_path.iterdir()) == []
