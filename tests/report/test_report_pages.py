"""Pages of case cards, made by hand."""

from pathlib import Path

import pytest

from gadkit import report
from gadkit.report import pages


@pytest.fixture
def card():
    """A card with every part; every name is one that must be escaped."""
    account = {"node": 7, "type": "user", "name": "<b>7</b>"}
    met = {"node": 9, "type": "user", "name": "<b>9</b>", "score": 0.5, "known": 1}
    shop = {"node": 205, "type": "product", "name": "<b>205</b>", "score": None, "known": None}
    return account | {
        "rank": 1,
        "score": 0.75,
        "low": 0.5,
        "high": 0.875,
        "why": ["shares <b>205</b> with 3 accounts"],
        "features": [{"name": "<i>x</i>", "value": 2.0, "percentile": 0.5, "contribution": 1.5}],
        "neighbors": [
            shop
            | {"relation": "co_buys", "share": 0.25, "meets": [met, met]}
            | {"reason": "shares <b>205</b>", "degree": 3, "others": 3, "frauds": 2, "cleared": 0}
        ],
        "confirmed": [{"node": 8, "type": "user", "name": "<b>8</b>", "distance": 0.5}],
    }


def test_case_page_escapes_every_text_and_needs_no_other_file(card):
    page = pages.case_page([card, card | {"rank": 2}], dataset="a & b", back="index.html")
    assert page.count("<section") == 2
    assert "a &amp; b" in page
    for name in ("<b>7", "<b>8", "<b>9", "<b>205", "<i>x"):
        assert name not in page
        assert name.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "http" not in page
    assert "<script" not in page
    frame = pages.case_frame([card], dataset="x")
    assert 'srcdoc="' in frame
    assert "<section" not in frame


def test_case_page_shows_the_numbers_of_a_card(card):
    page = " ".join(pages.case_page([card], dataset="x").split())
    assert "<strong>0.750</strong>" in page and "[0.500, 0.875]" in page
    assert '<p class="why">Shares &lt;b&gt;205&lt;/b&gt; with 3 accounts.</p>' in page
    assert "weight 25 %" in page and "and 1 more" in page
    assert page.count("confirmed fraud</span>") == 2  # whom it meets, twice
    assert "distance 0.50" in page and "+1.50" in page


def test_case_page_of_a_suspect_without_neighbors(card):
    page = pages.case_page([card | {"neighbors": [], "confirmed": []}], dataset="x")
    assert "meets no suspect anywhere" in page
    assert "Fewer than two of this type are known" in page
    assert "Report" not in page


def test_a_name_that_a_template_wants_must_be_given():
    with pytest.raises(Exception, match="dataset"):
        pages.render("cases.html", cases=[], back=None, level=0.9)


def test_the_room_hands_on_its_names_and_none_hides_a_module():
    for name in report.__all__:
        assert getattr(report, name).__module__.startswith("gadkit.report.")
        assert not Path(report.__file__).with_name(f"{name}.py").exists()
