"""Baselines: tables by hand on a small graph, scores that learn from the training part alone."""

import math

import pytest
import torch

from gadkit import baselines
from gadkit.graph import CSR, HeteroGraph
from gadkit.metrics import roc_auc
from gadkit.nn import GAE
from gadkit.splits import stratified


@pytest.fixture
def graph() -> HeteroGraph:
    """Two users; user 0 bought products 0 and 1, user 1 product 1."""
    buys = CSR.from_edges(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), num_src=2, num_dst=2)
    x = {"user": torch.tensor([[1.0], [3.0]]), "product": torch.tensor([[10.0, 5.0], [20.0, 7.0]])}
    return HeteroGraph({"user": 2, "product": 2}, {("user", "buys", "product"): buys}, x)


def test_own_features_name_the_type_and_pad(graph):
    expected = [[0, 1, 0], [0, 3, 0], [1, 10, 5], [1, 20, 7]]
    assert baselines.own_features(graph, torch.arange(4)).tolist() == expected
    assert baselines.own_features(graph, torch.tensor([3, 0])).tolist() == [
        expected[3],
        expected[0],
    ]


def test_neighbor_features_are_means_per_stream(graph):
    table = baselines.neighbor_features(graph, torch.arange(4))[:, 3:]
    one = baselines.neighbor_features(graph, torch.tensor([2]))
    assert one[0, 3:].tolist() == table[2].tolist()
    buyers, bought = table[:, :2], table[:, 2:]
    assert buyers.tolist() == [[0, 0], [0, 0], [1, 1], [2, 2]]  # degree, mean of the users
    assert bought.tolist() == [[2, 15, 6], [1, 20, 7], [0, 0, 0], [0, 0, 0]]


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


def test_forest_learns_and_repeats_itself():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.stack([torch.arange(400), (x[:, 1] > 0.5).long()], 1)
    split = stratified(labels)
    scores = baselines.forest_scores(x.__getitem__, split, seed=1)
    assert scores.shape == (len(split.test),)
    assert roc_auc(split.test[:, 1], scores) > 0.95
    assert torch.equal(scores, baselines.forest_scores(x.__getitem__, split, seed=1))


def test_forest_does_not_see_the_test_labels():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.stack([torch.arange(200), (x[:, 0] > 0).long()], 1)
    split = stratified(labels)
    test = split.test.clone()
    test[:, 1] = 1 - test[:, 1]
    flipped = split._replace(test=test)
    assert torch.equal(
        baselines.forest_scores(x.__getitem__, split),
        baselines.forest_scores(x.__getitem__, flipped),
    )
