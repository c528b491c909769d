"""Baselines: what a network is compared with, and what is made of the difference."""

import pytest
import torch

from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import stratified
from gadkit.graph import CSR, HeteroGraph
from gadkit.trees import baselines
from gadkit.trees.views import Views


def market(x: bool = True) -> HeteroGraph:
    """Users of whom those that bought the first product are the anomalies."""
    num = 120
    y = (torch.arange(num) % 3 == 0).long()
    buys = CSR.from_edges(torch.arange(num), 1 - y, num_src=num, num_dst=2)
    values = {
        "user": torch.randn(num, 2, generator=torch.Generator().manual_seed(0)),
        "product": torch.tensor([[1.0], [0.0]]),
    }
    labels = torch.stack([torch.arange(num), y], 1)
    edges = {("user", "buys", "product"): buys}
    return HeteroGraph({"user": num, "product": 2}, edges, values if x else None, labels)


def seen_by(monkeypatch, *arguments, **options) -> dict[str, tuple]:
    """The blocks, the learner and the seed of every baseline."""
    patch = lambda views, blocks, learner, *, seed: (blocks, learner, seed)  # noqa: E731
    monkeypatch.setattr(baselines, "table_detector", patch)
    return baselines.baseline_detectors(*arguments, **options)


def test_what_a_network_is_compared_with(monkeypatch):
    graph = market()
    found = seen_by(monkeypatch, Views(graph, z=torch.zeros(122, 3)), seed=5)
    assert found == {
        "features, boosted trees": (("own",), "boosted trees", 5),
        "features, random forest": (("own",), "random forest", 5),
        "features and two hops, boosted trees": (("own", "hops"), "boosted trees", 5),
        "features and two hops, random forest": (("own", "hops"), "random forest", 5),
        "features and stage 1, boosted trees": (("own", "embedding"), "boosted trees", 5),
        "features, perceptron": (("own",), "perceptron", 5),
    }
    assert len(seen_by(monkeypatch, Views(graph))) == 5  # no stage 1


def test_neighbors_and_embeddings_know_the_future(monkeypatch):
    found = seen_by(monkeypatch, Views(market(), z=torch.zeros(122, 3)), past_only=True)
    assert {blocks for blocks, _, _ in found.values()} == {("own",)}
    assert len(found) == 3


def test_degrees_stand_in_for_features(monkeypatch):
    found = seen_by(monkeypatch, Views(market(x=False), z=torch.zeros(122, 3)))
    assert {blocks for blocks, _, _ in found.values()} == {
        ("structure",), ("structure", "embedding"),
    }  # fmt: skip


def test_baselines_are_detectors():
    graph = market()
    split = stratified(graph.labels)
    found = baselines.baseline_detectors(Views(graph))
    y = split.test[:, 1]
    for name in ("features, random forest", "features and two hops, random forest"):
        scores = found[name](graph, split)
        assert scores.shape == (122,) and scores[120:].isnan().all()
        assert (roc_auc(y, scores[split.test[:, 0]]) > 0.95) == ("hops" in name)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (
            Interval(0.02, 0.01, 0.03),
            "The network earns its keep: AUPRC 0.020 [+0.010, +0.030] above trees.",
        ),
        (
            Interval(0.01, -0.01, 0.03),
            "The network and trees cannot be told apart: their difference of AUPRC, "
            "+0.010 [-0.010, +0.030], may be zero, so the simpler one should be used.",
        ),
    ],
)
def test_verdict(interval, expected):
    assert baselines.verdict("network", "trees", interval) == expected


def test_verdict_on_a_network_that_is_behind():
    text = baselines.verdict("network", "trees", Interval(-0.02, -0.03, -0.01), measure="AUROC")
    assert text.endswith("ahead in AUROC by 0.020 [+0.010, +0.030].")
    assert text.startswith("The network does not earn its keep: trees is ahead in AUROC by 0.020 [")
