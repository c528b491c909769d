"""Scores of the first stage, which ranks a graph without labels."""

import math

import pytest
import torch

from gadkit import network, store
from gadkit.graph import CSR, HeteroGraph
from gadkit.network import score
from gadkit.network.gae import GAE


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
    error = score.reconstruction_error(graph, model, z)
    torch.testing.assert_close(error, torch.tensor(expected))
    torch.nn.init.constant_(model.bias, 50.0)  # a decoder that expects every edge
    assert score.reconstruction_error(graph, model, z).abs().max() < 1e-6


def test_scores_of_a_loaded_model_are_those_of_the_trained_one(graph, tmp_path):
    with pytest.raises(FileNotFoundError, match="graph autoencoder leaves"):
        store.load_array(tmp_path, store.GAE_SCORES)
    pretrained = network.train_gae(graph, epochs=2, progress=False)
    store.save_checkpoint(tmp_path / store.GAE_CHECKPOINT, pretrained.best)
    model = network.load_gae(tmp_path / store.GAE_CHECKPOINT)
    scores = network.reconstruction_error(graph, pretrained.model, pretrained.z)
    assert torch.equal(scores, network.reconstruction_error(graph, model, pretrained.z))
    store.save_array(tmp_path, store.GAE_SCORES, scores)
    assert torch.equal(store.load_array(tmp_path, store.GAE_SCORES, rows=4), scores)
    with pytest.raises(ValueError, match="rows"):
        store.load_array(tmp_path, store.GAE_SCORES, rows=5)
