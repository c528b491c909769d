"""The last layer for a few nodes: the same numbers as for all, and the same gradients."""

import pytest
import torch

from gadkit.graph import CSR, HeteroGraph
from gadkit.network import Architecture, HeteroGAT, Schedule, field, finetune_gat
from gadkit.network.field import field_of, fields_of, is_small


def options_of(graph, **changed):
    """Arguments of a network for a graph."""
    destinations = [dst for _, (_, _, dst), _ in graph.streams]
    return {
        "architecture": Architecture(hidden_dim=16, features=True, residual=True, **changed),
        "feature_dims": {name: graph.x[name].shape[1] for name in graph.node_types},
        "degree_dims": {name: destinations.count(name) for name in graph.node_types},
    }


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("drop_edge", [0.0, 0.6])
@pytest.mark.parametrize("less", [1, 10**9])  # the first layer for a part, and for all nodes
def test_logits_and_gradients_of_some_nodes_are_those_of_all(
    market, heads, drop_edge, less, monkeypatch
):
    monkeypatch.setattr(field, "LESS", less)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(market.total, 8, generator=generator)
    relations = [name for _, name, _ in market.edge_types]
    model = HeteroGAT(relations, 8, **options_of(market, heads=heads, degrees=True))
    inputs = model.inputs(market, z, fit=True)
    users = torch.arange(0, 600, 37)
    sellers = torch.tensor([market.offset("seller"), market.total - 1])
    gradients = []
    for nodes in (None, torch.cat([users, sellers])):
        logits = model(market, inputs, drop_edge=drop_edge, seed=3, nodes=nodes)
        asked = logits[torch.cat([users, sellers])]
        gradients.append([asked, *torch.autograd.grad(asked.square().sum(), [*model.parameters()])])
    assert logits.shape == (market.total,)
    assert logits[1] == 0  # is not asked for
    whole, some = gradients
    assert torch.equal(whole[0], some[0])
    for expected, got in zip(whole[1:], some[1:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_without_gradients_the_numbers_are_the_same(market, heads):
    z = torch.randn(market.total, 8, generator=torch.Generator().manual_seed(0))
    relations = [name for _, name, _ in market.edge_types]
    model = HeteroGAT(relations, 8, **options_of(market, heads=heads))
    inputs = model.inputs(market, z, fit=True)
    with torch.no_grad():
        alone = model(market, inputs, drop_edge=0.3, seed=1)
    assert torch.equal(model(market, inputs, drop_edge=0.3, seed=1), alone)


def test_a_field_has_the_rows_and_their_kept_sources():
    pairs = torch.tensor([[0, 1, 2, 2, 4], [0, 0, 1, 2, 2]])
    buys = CSR.from_edges(*pairs, num_src=5, num_dst=3)
    graph = HeteroGraph({"user": 5, "product": 3}, {("user", "buys", "product"): buys})
    asked = field_of(graph, torch.tensor([7]), {0: 0.0, 1: 0.0}, seed=0)
    assert asked.needed["user"].tolist() == [0, 2, 4]  # 0 always
    assert asked.needed["product"].tolist() == [2]
    ((relation, edge_type, csr),) = asked.streams
    assert (relation, edge_type) == ("buys", ("user", "buys", "product"))
    assert (csr.indptr.tolist(), csr.indices.tolist()) == ([0, 2], [1, 2])
    assert asked.rows["product"].tolist() == [0]
    assert len(asked.rows["user"]) == 0


def test_a_layer_has_the_rows_that_the_next_one_needs(market, monkeypatch):
    nodes, dropped = torch.tensor([3, 40]), dict.fromkeys(range(len(market.streams)), 0.5)
    monkeypatch.setattr(field, "LESS", 1)
    first, last = fields_of(market, nodes, dropped, [0, 9])
    for name, rows in first.rows.items():
        assert torch.equal(first.needed[name][rows], last.needed[name])
    expected = field_of(market, nodes, dropped, 9)
    assert all(torch.equal(last.needed[name], ids) for name, ids in expected.needed.items())
    monkeypatch.setattr(field, "LESS", 10**9)
    first, last = fields_of(market, nodes, dropped, [0, 9])
    assert first is None and last is not None
    assert fields_of(market, None, dropped, [0, 9]) == [None, None]


def test_few_is_few_edges():
    csr = CSR.from_edges(torch.arange(16), torch.arange(16) // 15, num_src=16, num_dst=2)
    graph = HeteroGraph({"user": 16, "product": 2}, {("user", "buys", "product"): csr})
    assert is_small(graph, torch.tensor([0, 3, 17]))  # 1 + 1 + 1 of 32
    assert not is_small(graph, torch.tensor([16]))  # 15 of 32


def test_training_asks_for_the_nodes_of_the_loss_alone(market, split_of_few, monkeypatch):
    z = torch.randn(market.total, 8, generator=torch.Generator().manual_seed(1))
    schedule = Schedule(epochs=4, eval_every=2, smoothness=0.0, drop_edge=0.3)
    asked, trained = [], {}
    forward = HeteroGAT.forward

    def watched(self, graph, inputs, **options):
        asked.append(options.get("nodes"))
        return forward(self, graph, inputs, **options)

    monkeypatch.setattr(HeteroGAT, "forward", watched)
    for small in (8, 10**9):  # the second takes any part of the edges for too much
        monkeypatch.setattr(field, "SMALL", small)
        trained[small] = finetune_gat(market, z, split_of_few, schedule=schedule, progress=False)
    few = [nodes for nodes in asked if nodes is not None]
    assert len(few) == 6
    assert torch.equal(few[0], split_of_few.train[:, 0].sort().values)
    assert torch.equal(few[2], split_of_few.val[:, 0].sort().values)
    few, all_nodes = (trained[small].scores for small in (8, 10**9))
    torch.testing.assert_close(few, all_nodes, rtol=1e-3, atol=1e-4)


@pytest.fixture
def split_of_few(market):
    """Ten labels to learn from, four to choose by."""
    from gadkit.evaluation.splits import Split

    frauds, others = (market.labels[market.labels[:, 1] == value] for value in (1, 0))
    parts = [torch.cat([frauds[a:b], others[a:b]]) for a, b in ((0, 5), (5, 7), (7, 9))]
    return Split(*parts)
