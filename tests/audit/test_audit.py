"""The whole audit: honest work raises no alarm, and the page says what was found."""

import html
import json

import pytest
import torch
from leaks import FRACTIONS, make_detector, make_features, market, verdicts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gadkit import audit, plot
from gadkit.audit.checks import CHECKS
from gadkit.audit.finding import FAILED, PASSED, SKIPPED, WARNING, Finding, skipped
from gadkit.evaluation import splits
from gadkit.evaluation.metrics import Interval
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph
from gadkit.report import pages

NAMES = [check.name for check in CHECKS]


def audit_of_market(labels, seed):
    graph, features = market(seed), make_features(labels=labels)
    split = splits.stratified(graph.labels, fractions=FRACTIONS, seed=seed)
    detector = make_detector(features)
    return audit.audit(
        graph, split, features=features, detector=detector, permutations=4, seed=seed
    )


@pytest.fixture(scope="module")
def clean():
    """The findings of one clean run."""
    return audit_of_market("", 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labels", ["", "out of fold"])
def test_a_clean_run_raises_no_alarm(labels, seed, clean):
    findings = clean if (labels, seed) == ("", 0) else audit_of_market(labels, seed)
    assert list(verdicts(findings)) == NAMES
    expected = dict.fromkeys(NAMES, PASSED)
    expected |= dict.fromkeys(["same entity", "future in features"], SKIPPED)
    assert verdicts(findings) == expected, [
        finding for finding in findings if finding.verdict != expected[finding.check]
    ]


def test_audit_without_features_or_detector(bought):
    verdict_of = verdicts(audit.audit(*bought))
    assert list(verdict_of) == NAMES
    assert [name for name in verdict_of if verdict_of[name] == SKIPPED] == NAMES[4:]


def test_what_checks_share_is_made_once():
    graph, made, fitted = market(users=300, products=40), [], []
    split = splits.stratified(graph.labels)

    def features(graph, split, ids):
        made.append(len(ids))
        return graph.x["user"][ids], list("abcd")

    def detector(graph, split):
        fitted.append(graph)
        return torch.cat([graph.x["user"].sum(1), torch.zeros(40)])

    audit.audit(graph, split, features=features, detector=detector, permutations=3)
    train, test = len(split.train), len(split.test)
    # For the columns; with training labels permuted and not; with test labels turned over and not.
    assert made == [train, test, train, train, train, train, 300, 300]
    assert len(fitted) == 1 + 1 + 3 + 3  # as it is, turned over, permuted, on each control


def test_audit_is_repeatable():
    graph, features = market(users=400, products=40), make_features(labels="out of fold")
    split = splits.stratified(graph.labels)
    options = {"features": features, "detector": make_detector(features), "permutations": 2}
    assert audit.audit(graph, split, **options) == audit.audit(graph, split, **options)


def test_audit_refuses_what_it_cannot_judge(bought):
    graph, split = bought
    bare = HeteroGraph(graph.num_nodes, graph.edges, graph.x)
    with pytest.raises(ValueError, match="the graph has no labels"):
        audit.audit(bare, split)
    with pytest.raises(ValueError, match="at least 2, but is 1"):
        audit.audit(graph, split, permutations=1)
    with pytest.raises(ValueError, match="is it of another graph"):
        audit.audit(graph, Split(*(part + 5000 for part in split)))
    with pytest.raises(ValueError, match="test nodes without a finite score; first node"):
        audit.audit(graph, split, detector=lambda g, s: torch.full((g.total,), torch.nan))
    with pytest.raises(ValueError, match="scores of shape \\(3,\\), but there are 1,650 nodes"):
        audit.audit(graph, split, detector=lambda g, s: torch.zeros(3))


def test_write(clean, tmp_path):
    page = pages.write_audit(clean, tmp_path / "new" / "audit.html", subject="a <market>")
    text = page.read_text()
    assert "a &lt;market&gt;" in text
    assert "http" not in text  # needs no other file, and no network
    for finding in clean:
        assert finding.question and html.escape(finding.question).replace("&#x27;", "&#39;") in text
        assert finding.number in text
    kept = json.loads(page.with_suffix(".json").read_text())
    assert kept["verdicts"] == {"failed": 0, "warning": 0, "passed": 15, "not run": 2}
    by_name = {row["check"]: row for row in kept["findings"]}
    assert by_name["overlap"]["value"] == 0
    assert set(by_name["permuted labels"]["value"]) == {"value", "low", "high"}
    assert by_name["future in features"]["detail"] == "Not run: the nodes have no times."


def test_plot():
    findings = [
        Finding(check="overlap", verdict=PASSED, measure="nodes wrong", value=0, expected=0),
        Finding(check="base rates", verdict=FAILED, value=Interval(3.0, 2.0, 5.0), expected=1),
        Finding(
            check="permuted labels", verdict=WARNING, value=Interval(0.4, 0.3, 0.5), expected=0.5
        ),
        skipped("future in features", "no times"),
    ]
    ax = Figure(layout="constrained").add_subplot()
    assert plot.audit(ax, findings) is ax
    drawn = [line.get_xydata().tolist() for line in ax.lines]  # a count and a ratio are not
    assert drawn == [[[0.3, 2], [0.5, 2]], [[0.4, 2]]]
    assert ax.collections[0].get_segments()[0][:, 0].tolist() == [0.5, 0.5]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        finding.check for finding in findings
    ]
    texts = [text.get_text() for text in ax.texts]
    assert texts[1] == "failed   3.000 [2.000, 5.000]"
    assert texts[3].strip() == "not run"
    assert ax.texts[1].get_color() == plot.VERDICTS["failed"]
    FigureCanvasAgg(ax.figure).draw()
    with pytest.raises(ValueError, match="is empty"):
        plot.audit(ax, [])
