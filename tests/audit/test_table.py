"""Columns that are the label, the time or a mark of the simulator are found."""

import pytest
import torch
from leaks import FRACTIONS, findings, make_features

from gadkit.audit import table
from gadkit.audit.checks import CHECKS, Context
from gadkit.audit.finding import PASSED, WARNING
from gadkit.evaluation import splits
from gadkit.evaluation.metrics import Interval
from gadkit.graph import CSR, HeteroGraph


@pytest.mark.parametrize("is_known", [True, False])
def test_raw_time_is_found(paid, is_known):
    graph, time, at_random = paid
    in_time = splits.temporal(graph.labels, time, fractions=FRACTIONS)
    raw = make_features(extra=lambda graph, split: time[: graph.num_nodes["event"]].exp())
    given = {"time": time if is_known else None}
    for split in (in_time, *[at_random] * is_known):
        finding = findings(graph, split, "time column", features=raw, **given)["time column"]
        assert finding.verdict == WARNING
    options = given | {"features": make_features()}
    finding = findings(graph, in_time, "time column", **options)["time column"]
    assert finding.verdict == PASSED


def test_a_column_that_is_nearly_the_label_is_found(paid):
    graph, _, split = paid
    noise = torch.rand(graph.num_nodes["event"], generator=torch.Generator().manual_seed(1))
    extra = lambda graph, split: -(graph.labels[:, 1] + 1.2 * noise)  # noqa: E731
    features = make_features(extra=extra)
    finding = findings(graph, split, "single column", features=features)["single column"]
    assert finding.verdict == WARNING
    assert next(iter(finding.evidence)) == "planted: 0"
    assert finding.value.low < finding.value.value < finding.value.high
    assert finding.value.value > table.DECIDES


def test_a_column_as_good_as_the_detector_is_found():
    y = torch.tensor([0, 1] * 50)
    part = torch.stack([y + torch.linspace(0, 2, 100), torch.linspace(-1, 1, 100)], 1), y
    weak, strong = Interval(0.7, 0.66, 0.74), Interval(0.99, 0.98, 1.0)
    finding = table.single_column(["a", "b"], part, part, weak)
    assert finding.verdict == WARNING and "one column does the work" in finding.remedy
    assert table.single_column(["a", "b"], part, part, strong).verdict == PASSED
    finding = table.single_column(["a", "b"], part, part)
    assert (finding.verdict, list(finding.evidence)) == (PASSED, ["a", "b"])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_that_does_not_carry_over_is_found(sign):
    y = torch.tensor([0, 1] * 50)
    column = sign * (y + torch.linspace(0, 2, 100))[:, None]
    finding = table.single_column(["a"], (column, y), (column * 0, y))
    assert finding.verdict == WARNING and "does not carry over" in finding.remedy
    assert finding.evidence["a"].endswith("on test 0.500")


def test_missing_values_can_be_the_label():
    y = torch.tensor([0, 1] * 50)
    values = torch.where(y == 1, torch.nan, torch.linspace(0, 1, 100))[:, None]
    assert table.single_column(["a"], (values, y), (values, y)).value.value == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_artefact_is_found(sign):
    """As in a simulation of money laundering, whose ordinary payments are never below 100."""
    draw = torch.Generator().manual_seed(0)
    y = (torch.rand(3000, generator=draw) < 0.1).long()
    amount = 100.04 + 50 * torch.rand(3000, generator=draw)
    small = (y == 1) & (torch.rand(3000, generator=draw) < 0.25)
    amount[small] = 100 * torch.rand(int(small.sum()), generator=draw)
    other = torch.randn(3000, generator=draw) + y
    finding = table.value_artefact(["amount", "other"], torch.stack([sign * amount, other], 1), y)
    assert (finding.verdict, finding.value) == (WARNING, 1)
    assert list(finding.evidence) == ["amount"]
    where = "below 100.04" if sign == 1 else "above -100.04"
    assert finding.evidence["amount"].startswith(f"all {int(small.sum())} {where}")
    rows = amount[:, None], y
    area = table.single_column(["amount"], rows, rows).value
    assert area.high < 0.7  # one number does not show it


def test_a_rate_of_labels_is_no_artefact():
    """Where rings share nothing with others, their rate of known fraud is 1, and nobody else's."""
    draw = torch.Generator().manual_seed(0)
    user = torch.arange(600)
    y = (user < 120).long()
    buys = CSR.from_edges(user, user // 6, num_src=600, num_dst=100)
    x = {"user": torch.randn(600, 4, generator=draw), "product": torch.randn(100, 4)}
    sizes = {"user": 600, "product": 100}
    edges = {("user", "buys", "product"): buys}
    graph = HeteroGraph(sizes, edges, x, torch.stack([user, y], 1))
    split = splits.stratified(graph.labels, fractions=FRACTIONS)
    context = Context(graph=graph, split=split, features=make_features(labels="out of fold"))
    assert table.value_artefact(context.names, *context.train).verdict == WARNING
    names, _ = context.apart_from_labels
    assert 0 < len(names) < len(context.names)
    (check,) = (check for check in CHECKS if check.name == "value artefact")
    assert check.finding(context).verdict == PASSED


@pytest.mark.parametrize("shift", [0.5, 1, 2, 3, 4])
def test_a_real_signal_is_no_artefact(shift):
    for seed in range(10):
        draw = torch.Generator().manual_seed(seed)
        y = (torch.rand(1000, generator=draw) < 0.15).long()
        normal = torch.randn(1000, generator=draw) + shift * y
        values = torch.stack([normal, normal.exp(), (2 * normal).round(), -normal], 1)
        assert table.value_artefact(list("abcd"), values, y).verdict == PASSED
