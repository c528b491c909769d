"""Baselines: what a network is compared with, and what is made of the difference."""

import math

import pytest
import torch

from gadkit import store
from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import stratified
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import GAE, load_gae, train_gae
from gadkit.trees import baselines
from gadkit.trees.views import Views


@pytest.fixture
def graph() -> HeteroGraph:
    """Two users; user 0 bought products 0 and 1, user 1 product 1."""
    buys = CSR.from_edges(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), num_src=2, num_dst=2)
    x = {"user": torch.tensor([[1.0], [3.0]]), "product": torch.tensor([[10.0, 5.0], [20.0, 7.0]])}
    return HeteroGraph({"user": 2, "product": 2}, {("user", "buys", "product"): buys}, x)


def test_reconstruction_error_is_the_mean_surprise_of_a_nodes_edges(graph):
    z = torch.tensor([[1.0], [2.0], [0.5], [-1.0]])
    surprise = {
        pair: math.log1p(math.exp(-z[pair[0]] * z[pair[1]])) for pair in ((0, 2), (0, 3), (1, 3))
    }
    expected = [
        (surprise[0, 2] + surprise[0, 3]) / 2,
        surprise[1, 3],
        surprise[0, 2],
        (surprise[0, 3] + surprise[1, 3]) / 2,
    ]
    model = GAE({"user": 1, "product": 2}, 1, 1)
    error = baselines.reconstruction_error(graph, model, z)
    torch.testing.assert_close(error, torch.tensor(expected))
    torch.nn.init.constant_(model.bias, 50.0)  # a decoder that expects every edge
    assert baselines.reconstruction_error(graph, model, z).abs().max() < 1e-6


def test_stage_1_ranks_a_folder_as_it_has_left_it(graph, tmp_path):
    with pytest.raises(FileNotFoundError):
        baselines.stage1_scores(graph, tmp_path)
    found = train_gae(graph, epochs=2, progress=False)
    store.save_checkpoint(tmp_path / store.GAE_CHECKPOINT, found.best)
    store.save_array(tmp_path, store.GAE_EMBEDDINGS, found.z)
    scores = baselines.stage1_scores(graph, tmp_path)
    model = load_gae(tmp_path / store.GAE_CHECKPOINT)
    assert torch.equal(scores, baselines.reconstruction_error(graph, model, found.z))
    store.save_array(tmp_path, store.GAE_EMBEDDINGS, found.z[:2])
    with pytest.raises(ValueError, match="rows"):
        baselines.stage1_scores(graph, tmp_path)


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
    return baselines.baselines(*arguments, **options)


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
    found = baselines.baselines(Views(graph))
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
