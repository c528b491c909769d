"""What the registry says of the published data sets, and that it can be so."""

import dataclasses
import inspect
import re
from urllib.parse import urlsplit

import pytest

from gadkit.published import fetch, library, readers
from gadkit.published.registry import KINDS, PUBLISHED, published

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
    assert entry.name not in ("small", "demo", "full", library.DOWNLOADS)


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
    page = (library.DATA.parent / "README.md").read_text(encoding="utf-8")
    assert f"names {len(PUBLISHED)} published graphs" in page


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match="no published data set 'toloker'; there are yelpchi, "):
        published("toloker")
