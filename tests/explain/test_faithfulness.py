"""Tests of explanations, by hand and on the answer key of a generated marketplace."""

import pytest
import torch

from gadkit import explain, store
from gadkit.datasets import marketplace
from gadkit.explain import faithfulness
from gadkit.graph import CSR, HeteroGraph


def test_planted_edges_are_those_of_the_answer_key_that_touch_the_node(tmp_path):
    folder = marketplace.generate(tmp_path / "small", size="small", progress=False)
    graph, planted = store.load_graph(folder), store.load_planted(folder)
    edges = explain.edges_into(graph, torch.from_numpy(planted.node))
    is_planted = faithfulness.planted_edges(graph, edges, planted)
    count = torch.zeros(len(planted.node)).long().index_add(0, edges.owner, is_planted.long())
    for i, node in enumerate(planted.node):
        key = slice(planted.edge_ptr[i], planted.edge_ptr[i + 1])
        touching = (planted.edge_src[key] == node) | (planted.edge_dst[key] == node)
        assert count[i] == touching.sum()
    assert 0.1 < is_planted.float().mean() < 0.5


def test_hit_rate_counts_planted_edges_among_the_first_and_averages_over_ties():
    ptr = torch.tensor([0, 4, 6, 8])
    edges = explain.Edges(torch.arange(3), ptr, torch.zeros(8).long(), torch.arange(8))
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    planted = torch.tensor([1, 0, 1, 1, 1, 0, 0, 0]).bool()
    assert faithfulness.hit_rate(edges, scores, planted, 1).tolist()[:2] == [1.0, 0.5]
    two = faithfulness.hit_rate(edges, scores, planted, 2).tolist()
    assert two[:2] == [0.5, 1.0]
    assert torch.tensor(two[2]).isnan()
    assert faithfulness.hit_rate(edges, scores, planted, 9).tolist()[:2] == [1.0, 1.0]
    with pytest.raises(ValueError, match="at least 1"):
        faithfulness.hit_rate(edges, scores, planted, 0)
    with pytest.raises(ValueError, match="finite"):
        faithfulness.hit_rate(edges, scores / 0, planted, 1)


def test_edges_that_are_repeated_are_read_once():
    pairs = torch.tensor([[0, 0]] * 6 + [[0, 1], [0, 2], [0, 3], [1, 0], [1, 3]])
    buys = CSR.from_edges(*pairs.T, num_src=2, num_dst=4)
    graph = HeteroGraph({"user": 2, "product": 4}, {("user", "buys", "product"): buys})
    edges = explain.edges_into(graph, torch.tensor([1, 0]))
    assert edges.neighbor.tolist() == [2, 5, *[2] * 6, 3, 4, 5]
    scores = torch.tensor([0.1, 0.2, *[0.9] * 5, 0.95, 0.5, 0.3, 0.7])
    top = faithfulness.top_edges(edges, scores, 3)
    assert edges.neighbor[top].tolist() == [5, 2, 2, 5, 3]  # two of user 1, three of user 0
    planted = (edges.neighbor == 5) & (edges.owner == 1)
    assert faithfulness.hit_rate(edges, scores, planted, 2).tolist()[1] == 1.0
    assert faithfulness.hit_rate(edges, scores, planted, 1).tolist()[1] == 0.0
    left = faithfulness.without_edges(graph, edges, top)
    assert [*zip(*(ids.tolist() for ids in next(iter(left.edges.values())).pairs()), strict=True)]\
        == [(0, 2)]  # fmt: skip


def test_without_edges_deletes_both_directions_and_nothing_else(small_shop):
    edges = explain.edges_into(small_shop, torch.tensor([0, 6]))  # 4, 5, alike 1; bought by 2, 3
    left = faithfulness.without_edges(small_shop, edges, torch.tensor([1, 2, 4]))
    buys, alike = left.edges.values()
    pairs = [*zip(buys.indices.tolist(), (buys.dst() + 4).tolist(), strict=True)]
    assert pairs == [(0, 4), (1, 4), (2, 4), (1, 5), (2, 6)]
    assert [*zip(alike.indices.tolist(), alike.dst().tolist(), strict=True)] == [
        (3, 2), (2, 3), (3, 3),
    ]  # fmt: skip
    assert all(left.x[name] is small_shop.x[name] for name in small_shop.x)
    assert left.labels is small_shop.labels


def test_faithfulness_tells_an_explainer_that_knows_from_chance():
    generator = torch.Generator().manual_seed(0)
    src, dst = torch.randint(40, (400,), generator=generator), torch.arange(400) % 20
    csr = CSR.from_edges(src, dst, num_src=40, num_dst=20)
    graph = HeteroGraph({"item": 20, "user": 40}, {("user", "buys", "item"): csr})

    def rescore(graph):  # an item's score is the number of its buyers below 10
        rows = graph.edges["user", "buys", "item"]
        below = (rows.indices < 10).double()
        return torch.zeros(60, dtype=torch.float64).index_add(0, rows.dst(), below)

    edges = explain.edges_into(graph, torch.arange(20))
    right = -(edges.neighbor).double()
    models = {"buyers": rescore, "twice": lambda graph: 2 * rescore(graph)}
    all_falls = faithfulness.faithfulness(graph, edges, {"right": right}, models, k=2, draws=5)
    falls = all_falls["buyers"]
    assert falls["right"].min() > 0
    assert falls["random"].mean() < 0.6 * falls["right"].mean()
    assert all(torch.equal(all_falls["twice"][by], 2 * fall) for by, fall in falls.items())
    repeated = faithfulness.faithfulness(graph, edges, {"right": right}, models, k=2, draws=5)
    assert torch.equal(falls["random"], repeated["buyers"]["random"])
