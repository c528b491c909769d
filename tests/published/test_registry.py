"""What the registry says of the published data sets, and that it can be so."""

import dataclasses
import inspect
import re
from urllib.parse import urlsplit

import pytest

from gadkit import published
from gadkit.published import fetch, library, readers
from gadkit.published.registry import KINDS, PUBLISHED, File, entry_of, load

ENTRIES = pytest.mark.parametrize("entry", PUBLISHED.values(), ids=PUBLISHED)


@ENTRIES
def test_entry_says_everything(entry):
    assert re.fullmatch(r"[a-z0-9_]+", entry.name) and PUBLISHED[entry.name] is entry
    for field in dataclasses.fields(entry):
        if field.type is str and field.name != "by_hand":
            assert getattr(entry, field.name).strip(), field.name
    assert entry.kind in KINDS
    assert entry.description.endswith(".") and not entry.labels.endswith(".")
    assert re.search(r"\b(19|20)\d\d\b", entry.citation), "the year of the paper"
    for counts in (entry.nodes, entry.edges):
        assert counts and all(type(count) is int and count > 0 for count in counts.values())
    assert entry.name not in ("small", "demo", "full", "demo_shop", library.DOWNLOADS)


@ENTRIES
def test_entry_can_be_fetched(entry):
    assert bool(entry.files) != bool(entry.by_hand)
    assert len({file.name for file in entry.files}) == len(entry.files)
    for url in (entry.page, *(file.url for file in entry.files)):
        parts = urlsplit(url)
        assert parts.scheme == "https" and parts.hostname and " " not in url and "//" not in url[8:]
    for file in entry.files:
        assert re.fullmatch(r"[\w.-]+\.\w+", file.name)
        assert file.check is None or fetch._CHECK.fullmatch(file.check)


@ENTRIES
def test_entry_has_a_reader(entry):
    reader = readers.READERS[entry.reader]
    takes_class = "positive" in inspect.signature(reader).parameters
    assert takes_class == entry.has_classes
    assert entry.has_classes == ("no fraud" in entry.labels)


def test_the_page_counts_right():
    page = (published.DATA.parent / "README.md").read_text(encoding="utf-8")
    assert f"names {len(PUBLISHED)} published graphs" in page


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match="no published data set 'toloker'; there are yelpchi, "):
        entry_of("toloker")


FAMILY = """
[family.shops]
kind = "proxy"
license = "MIT"
citation = "{paper}"
page = "https://shops.org"
reader = "npz"

[family.shops.texts]
paper = "A. Author: Shops. 2020"
data = "https://shops.org/data"
"""
DATASET = """
[dataset.tea]
family = "shops"
title = "Tea"
description = "Who buys tea."
nodes = { user = 2 }
edges = { buys = 3 }
labels = "the user is a fraud"
license = "GPL"
files = [{ url = "{data}/tea.npz", check = "git:00" }, { url = "{data}/{paper}", only = "*.csv" }]
"""


def load_text(tmp_path, text: str):
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_a_data_set_has_the_keys_and_texts_of_its_family(tmp_path):
    tea = load_text(tmp_path, FAMILY + DATASET)["tea"]
    assert (tea.name, tea.kind, tea.reader) == ("tea", "proxy", "npz")
    assert tea.license == "GPL"  # its own goes before the family's
    assert tea.citation == "A. Author: Shops. 2020"
    assert tea.files == (
        File("https://shops.org/data/tea.npz", "git:00"),
        File("https://shops.org/data/A. Author: Shops. 2020", only="*.csv"),
    )
    assert tea.by_hand == "" and tea.has_classes is False


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Tea"', 'titel = "Tea"', r"\[dataset.tea\]: unknown key 'titel'; expected some"),
        ('title = "Tea"', "", r"\[dataset.tea\]: key 'title' is missing"),
        ('title = "Tea"', "title = 3", r"\[dataset.tea\]: key 'title' must be a text, got 3"),
        ("buys = 3", "buys = 3.5", r"\[dataset.tea\]: key 'edges' must be a table of counts"),
        ("buys = 3", "buys = true", r"\[dataset.tea\]: key 'edges' must be a table of counts"),
        ('license = "GPL"', "has_classes = 1", r"key 'has_classes' must be true or false, got 1"),
        ('"shops"', '"shop"', r"\[dataset.tea\]: there is no family 'shop'"),
        ("{paper}", "{book}", r"\[dataset.tea\]: key 'citation': the family has no text 'book'"),
        ("[dataset.tea]", "[data.tea]", r"the file: unknown key 'data'; expected some of dataset"),
        ('page = "', 'pages = "', r"\[family.shops\]: unknown key 'pages'"),
        (
            'paper = "A. Author: Shops. 2020"',
            "paper = 2020",
            r"\[family.shops.texts\]: key 'paper'",
        ),
        (
            '"proxy"',
            '"sure"',
            r"\[dataset.tea\]: key 'kind' must be one of adjudicated, proxy, inj",
        ),
        ("check = ", "sum = ", r"\[dataset.tea\]: key 'files': unknown key 'sum'"),
        (
            '{ url = "{data}/tea.npz", check = "git:00" }',
            '"tea.npz"',
            "tables with a url, got 'tea",
        ),
        ("files = [", "files = 3 #", r"key 'files' must be a list, got 3"),
        ("[dataset.tea]", "[dataset.tea", r"r.toml: Expected ']' .* line"),
        ("[dataset.tea]", "[family.shops]", r"r.toml: Cannot declare .*shops"),
    ],
)
def test_mistakes_in_the_file_name_table_and_key(tmp_path, old, new, message):
    text = FAMILY + DATASET
    assert old in text
    with pytest.raises(ValueError, match=message):
        load_text(tmp_path, text.replace(old, new, 1))
