"""The autoencoder: its formulas, the pairs it is shown, and what it learns."""

import pytest
import torch
from dense import BUYS, CO_BUYS, FOLLOWS, SELLS, WIDTHS, dense_network, graph_of
from torch.nn.functional import elu
from trainings import GAE_OPTIONS, assert_identical, generator

from gadkit.evaluation.metrics import roc_auc
from gadkit.graph import CSR, HeteroGraph
from gadkit.network.gae import GAE, sample_pairs, train_gae


@pytest.mark.parametrize("edge_types", [(BUYS,), (FOLLOWS,), (BUYS, SELLS, CO_BUYS)])
def test_encoder_is_two_normalized_propagations(edge_types):
    graph = graph_of(*edge_types)
    model = GAE({name: WIDTHS[name] for name in graph.node_types}, 6, 4).double()
    x = {name: value.double() for name, value in graph.x.items()}
    adjacency = dense_network(graph)
    scale = torch.diag(adjacency.sum(1) ** -0.5)
    propagation = scale @ adjacency @ scale
    h = elu(propagation @ torch.cat([x[name] @ model.weight_in[name] for name in x]))
    expected = propagation @ h @ model.weight_out
    torch.testing.assert_close(model.encode(graph.homogeneous, x), expected)


def test_decoder_is_a_dot_product_and_a_bias(randn):
    model = GAE({"node": 3}, 6, 4).double()
    torch.nn.init.constant_(model.bias, 0.25)
    z = randn(9, 4, dtype=torch.float64)
    src, dst = torch.tensor([0, 8, 3]), torch.tensor([1, 8, 5])
    expected = (z @ z.T)[src, dst] + 0.25
    torch.testing.assert_close(model.decode(z, src, dst), expected)


def test_gradients_reach_every_parameter_of_the_autoencoder():
    graph = graph_of(BUYS, SELLS, CO_BUYS)
    model = GAE(WIDTHS, 6, 4)
    z = model.encode(graph.homogeneous, graph.x)
    model.decode(z, torch.tensor([0, 3, 13]), torch.tensor([8, 9, 11])).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_sampled_pairs(market):
    src, dst, target = sample_pairs(market, 3_000, generator(0))
    csr = market.homogeneous
    assert torch.equal(csr.contains(src, dst), target.bool())
    assert (src != dst).all()
    positive, negative = target == 1, target == 0
    assert 0.9 < negative.sum() / positive.sum() <= 1
    # The other pairs follow the edges, source by source, and end at the same type.
    of_type = market.node_type_of(src) * 3 + market.node_type_of(dst)
    counts = torch.stack([of_type[mask].bincount(minlength=9) for mask in (positive, negative)])
    assert torch.equal(counts[0] > 0, counts[1] > 0)
    assert (counts[0] >= counts[1]).all()
    assert set(src[negative].tolist()) <= set(src[positive].tolist())


def test_sampled_pairs_depend_on_the_generator_alone(market):
    one, again, other = (sample_pairs(market, 500, generator(seed)) for seed in (1, 1, 2))
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one[0], other[0])


def test_no_pairs_to_sample():
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    loops = torch.arange(4)
    complete = CSR.from_edges(*every.T, num_src=3, num_dst=4)
    graphs = [
        HeteroGraph({"user": 3, "product": 4}, {BUYS: complete}),
        HeteroGraph({"user": 4}, {FOLLOWS: CSR.from_edges(loops, loops, num_src=4, num_dst=4)}),
    ]
    for graph in graphs:
        with pytest.raises(ValueError, match="50 draws gave .* not one pair that is none"):
            sample_pairs(graph, 50, generator(0))


def test_autoencoder_learns_the_links(market):
    result = train_gae(market, epochs=30, **GAE_OPTIONS)
    first, last = result.history[0], result.history[-1]
    assert [record["epoch"] for record in result.history] == list(range(1, 31))
    assert last["loss"] < first["loss"] - 0.1
    assert last["auc"] > first["auc"] + 0.02
    assert result.z.shape == (market.total, 16) and not result.z.requires_grad
    src, dst, target = sample_pairs(market, 1_500, generator(99))  # pairs it was not trained on
    assert roc_auc(target, result.model.decode(result.z, src, dst).detach()) > 0.8


def test_autoencoder_depends_on_the_seed_alone(planted):
    one, again, other = (
        train_gae(planted, epochs=3, seed=seed, **GAE_OPTIONS) for seed in (1, 1, 2)
    )
    assert_identical(one, again)
    assert not torch.equal(one.z, other.z)


def test_autoencoder_without_features(planted):
    with pytest.raises(ValueError, match="the graph has no features x; give it some"):
        train_gae(HeteroGraph(planted.num_nodes, planted.edges), epochs=1)


def test_autoencoder_untrained(planted):
    result = train_gae(planted, epochs=0, **GAE_OPTIONS)
    assert result.history == [] and result.z.shape == (planted.total, 16)
