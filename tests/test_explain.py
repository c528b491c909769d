"""Read-outs and explainers, by hand and against slow definitions."""

from types import SimpleNamespace

import pytest
import torch

from gadkit import explain, marketplace, store
from gadkit.graph import CSR, HeteroGraph, Stream
from gadkit.nn import HeteroGAT

# Row 0 has no edge, row 1 one, row 2 four.
CSR_ = CSR(torch.tensor([0, 0, 1, 5]), torch.tensor([3, 0, 1, 2, 3]), num_src=4)


def test_effective_neighbors():
    uniform = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    single = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert explain.effective_neighbors(CSR_, uniform).tolist() == [0, 1, 4]
    assert explain.effective_neighbors(CSR_, single).tolist() == [0, 1, 1]
    both = torch.stack([uniform, single], 1)
    assert explain.effective_neighbors(CSR_, both).tolist() == [0, 1, 2.5]


def test_attention_spread_leaves_out_nodes_without_a_choice():
    alpha = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    assert explain.attention_spread(CSR_, alpha).tolist() == [1.0]


def test_principal_components_find_the_long_axis():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(500, 5, generator=generator) * torch.tensor([0.1, 9.0, 1.0, 0.1, 3.0])
    xy = explain.principal_components(z + 100)
    assert xy.shape == (500, 2)
    for component, axis in ((0, 1), (1, 4)):
        assert torch.corrcoef(torch.stack([xy[:, component], z[:, axis]]))[0, 1].abs() > 0.99
    assert xy.mean(0).abs().max() < 1e-3


def test_entropy_is_one_where_attention_is_uniform_and_zero_on_a_single_neighbor():
    uniform = torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25])
    single = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert explain.attention_entropy(CSR_, uniform).tolist() == [1.0]
    assert explain.attention_entropy(CSR_, torch.stack([uniform, single], 1)).tolist() == [0.5]


def test_mass_on_chosen_sources_beside_what_a_mean_would_give():
    alpha = torch.tensor([1.0, 0.5, 0.25, 0.125, 0.125])
    mass, uniform = explain.mass_on(CSR_, alpha, torch.tensor([True, False, False, True]))
    assert (mass.tolist(), uniform.tolist()) == ([0.625], [0.5])  # row 1 has nothing else


@pytest.fixture(scope="module")
def small_market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    return marketplace.generate(folder, size="small", progress=False)


def shop() -> HeteroGraph:
    """Users 0 to 3, products 4 to 6. User 3 also stands in a relation with itself."""
    bought = torch.tensor([[0, 4], [0, 5], [1, 4], [1, 5], [2, 4], [2, 6], [3, 6]])
    buys = CSR.from_edges(bought[:, 0], bought[:, 1] - 4, num_src=4, num_dst=3)
    pairs = torch.tensor([[0, 1], [1, 0], [2, 3], [3, 2], [3, 3]])
    alike = CSR.from_edges(pairs[:, 0], pairs[:, 1], num_src=4, num_dst=4)
    generator = torch.Generator().manual_seed(0)
    x = {"user": torch.randn(4, 3, generator=generator), "product": torch.arange(3.0)[:, None]}
    edges = {("user", "buys", "product"): buys, ("user", "alike", "user"): alike}
    return HeteroGraph({"user": 4, "product": 3}, edges, x, torch.tensor([[1, 1], [2, 0]]))


def network(graph: HeteroGraph):
    """A network of two heads in float64, and its inputs."""
    generator = torch.Generator().manual_seed(1)
    dims = {name: x.shape[1] for name, x in graph.x.items()}
    model = HeteroGAT(["buys", "alike"], 5, 8, feature_dims=dims, heads=2, residual=True, seed=2)
    z = torch.randn(graph.total, 5, generator=generator)
    return model.double(), model.inputs(graph, z, fit=True)


def test_edges_into_lists_all_streams_and_no_self_loop():
    edges = explain.edges_into(shop(), torch.tensor([3, 0, 4]))
    names = [stream.edge_type[1] for stream in shop().streams]
    nodes, streams = edges.nodes[edges.owner].tolist(), [names[s] for s in edges.stream.tolist()]
    found = [*zip(nodes, streams, edges.neighbor.tolist(), strict=True)]
    assert found == [
        (3, "rev_buys", 6), (3, "alike", 2),
        (0, "rev_buys", 4), (0, "rev_buys", 5), (0, "alike", 1),
        (4, "buys", 0), (4, "buys", 1), (4, "buys", 2),
    ]  # fmt: skip
    assert edges.ptr.tolist() == [0, 2, 5, 8]


@pytest.mark.parametrize("nodes", [[0, 0], [7], [-1]])
def test_edges_into_refuses_what_is_no_list_of_nodes(nodes):
    with pytest.raises(ValueError, match="node"):
        explain.edges_into(shop(), torch.tensor(nodes))


def test_attention_of_a_node_sums_to_one_less_what_its_self_loop_gets():
    graph = shop()
    model, inputs = network(graph)
    edges = explain.edges_into(graph, torch.arange(7))
    shares = explain.by_attention(model, graph, inputs, edges)
    total = torch.zeros(7, dtype=torch.float64).index_add(0, edges.owner, shares)
    assert torch.allclose(total[[0, 1, 2, 4, 5, 6]], torch.ones(6, dtype=torch.float64))
    assert 0 < total[3] < 1


def test_occlusion_is_the_logit_without_one_entry_of_one_row(monkeypatch):
    graph = shop()
    model, inputs = network(graph)
    edges = explain.edges_into(graph, torch.tensor([0, 3, 4]))
    falls = explain.by_occlusion(model, graph, inputs, edges)
    whole = model(graph, inputs)
    for e, owner in enumerate(edges.owner.tolist()):
        node, neighbor = int(edges.nodes[owner]), int(edges.neighbor[e])
        streams = list(graph.streams)
        relation, (src, name, dst), csr = streams[edges.stream[e]]
        keep = (csr.dst() != node - graph.offset(dst)) | (
            csr.indices != neighbor - graph.offset(src)
        )
        pruned = CSR.from_edges(
            csr.indices[keep].long(), csr.dst()[keep], num_src=csr.num_src, num_dst=csr.num_dst
        )
        streams[edges.stream[e]] = Stream(relation, (src, name, dst), pruned)
        heard = SimpleNamespace(node_types=graph.node_types, streams=streams)
        assert falls[e].item() == pytest.approx((whole - model(heard, inputs))[node].item())
    monkeypatch.setattr(explain, "BATCH", 2)  # edges at a time
    assert torch.allclose(explain.by_occlusion(model, graph, inputs, edges), falls)


def test_gradient_is_the_slope_of_the_logit_in_what_an_edge_carries():
    graph = shop()
    model, inputs = network(graph)
    edges = explain.edges_into(graph, torch.tensor([3, 0]))
    products = explain.by_gradient(model, graph, inputs, edges)
    entering = explain._entering(model, graph, inputs)
    (own_type, heard, at), step = next(explain._by_type(graph, edges)), 1e-6
    copies, nodes = explain._copies(graph, heard), torch.arange(2)
    stars = explain._stars(graph, heard, copies, nodes, torch.full_like(nodes, -1))

    def logits(edge, factor):
        sent = explain._sent(graph, heard, copies, entering)
        for of_layer in sent:
            for name, x in of_layer.items():
                x[copies[name] == edge] *= factor
        own = entering[0][own_type][heard.nodes]
        return explain._logits(model, stars, own_type, own, sent)[heard.owner[edge]]

    assert logits(0, 1.0).item() == pytest.approx(model(graph, inputs)[heard.nodes[0]].item())
    for edge in (at >= 0).nonzero().flatten().tolist():
        slope = (logits(edge, 1 + step) - logits(edge, 1 - step)) / (2 * step)
        assert products[at[edge]].item() == pytest.approx(slope.item(), abs=1e-7)


def test_company_is_the_mean_of_tie_times_score_over_the_neighbors_others():
    graph = shop()
    edges = explain.edges_into(graph, torch.arange(4))
    scores = torch.tensor([0.5, 0.25, 1.0, 0.75, torch.nan, torch.nan, torch.nan])
    csr, value = graph.homogeneous, scores.nan_to_num(0.0)
    near = [set(csr.indices[csr.indptr[v] : csr.indptr[v + 1]].tolist()) - {v} for v in range(7)]
    company = explain.by_company(graph, edges, scores)
    ties, suspicion = explain.by_company(graph, edges), explain.by_suspicion(graph, edges, scores)
    for e, owner in enumerate(edges.owner.tolist()):
        neighbor = int(edges.neighbor[e])
        others = near[neighbor] - {owner}
        tie = {b: sum(1 / len(near[a]) for a in near[owner] & near[b]) for b in others}
        count = max(len(others), 1)
        assert ties[e].item() == pytest.approx(sum(tie.values()) / count)
        of_all = sum(tie[b] * float(value[b]) for b in others) / count
        assert company[e].item() == pytest.approx(of_all)
        mean = sum(float(value[b]) for b in others) / count
        own = float(scores[neighbor]) if neighbor < 4 else mean
        assert suspicion[e].item() == pytest.approx(own)


def test_trees_share_a_column_among_the_neighbors_that_pull_it():
    graph = shop()
    edges = explain.edges_into(graph, torch.tensor([0, 2]))  # buy 4, 5 and 4, 6; alike 1 and 3
    names = ["own: a", "hops: mean of price of products", "labels: rate over alike"]
    contributions = torch.tensor([[9.0, -2.0, 3.0], [9.0, 4.0, 5.0]])
    x_names = {"user": ["a", "b", "c"], "product": ["price"]}
    options = {"x_names": x_names, "train": graph.labels}
    shared = explain.by_trees(graph, edges, contributions, names, **options)
    # Prices 0, 1 and 0, 2, of mean 0.75: node 0 is below it for 4 alone, node 2 above it for 6.
    # Node 1 is a known fraud, which node 0 has for a neighbor, and pulls up; node 3 pulls down.
    assert shared.tolist() == pytest.approx([-2, 0, 3, 0, 4, 5])


def test_hit_rate_counts_planted_edges_among_the_first_and_averages_over_ties():
    ptr = torch.tensor([0, 4, 6, 8])
    edges = explain.Edges(torch.arange(3), ptr, torch.zeros(8).long(), torch.arange(8))
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    planted = torch.tensor([1, 0, 1, 1, 1, 0, 0, 0]).bool()
    assert explain.hit_rate(edges, scores, planted, 1).tolist()[:2] == [1.0, 0.5]
    two = explain.hit_rate(edges, scores, planted, 2).tolist()
    assert two[:2] == [0.5, 1.0]
    assert torch.tensor(two[2]).isnan()
    assert explain.hit_rate(edges, scores, planted, 9).tolist()[:2] == [1.0, 1.0]
    with pytest.raises(ValueError, match="at least 1"):
        explain.hit_rate(edges, scores, planted, 0)
    with pytest.raises(ValueError, match="finite"):
        explain.hit_rate(edges, scores / 0, planted, 1)


def test_planted_edges_are_those_of_the_answer_key_that_touch_the_node(small_market):
    graph, planted = store.load_graph(small_market), marketplace.load_planted(small_market)
    edges = explain.edges_into(graph, torch.from_numpy(planted.node))
    found = explain.planted_edges(graph, edges, planted)
    count = torch.zeros(len(planted.node)).long().index_add(0, edges.owner, found.long())
    for i, node in enumerate(planted.node):
        key = slice(planted.edge_ptr[i], planted.edge_ptr[i + 1])
        touching = (planted.edge_src[key] == node) | (planted.edge_dst[key] == node)
        assert count[i] == touching.sum()
    assert 0.1 < found.float().mean() < 0.5


def test_without_edges_deletes_both_directions_and_nothing_else():
    graph = shop()
    edges = explain.edges_into(graph, torch.tensor([0, 6]))  # 4, 5, alike 1; bought by 2, 3
    left = explain.without_edges(graph, edges, torch.tensor([1, 2, 4]))
    buys, alike = left.edges.values()
    pairs = [*zip(buys.indices.tolist(), (buys.dst() + 4).tolist(), strict=True)]
    assert pairs == [(0, 4), (1, 4), (2, 4), (1, 5), (2, 6)]
    assert [*zip(alike.indices.tolist(), alike.dst().tolist(), strict=True)] == [
        (3, 2), (2, 3), (3, 3),
    ]  # fmt: skip
    assert left.x is graph.x
    assert left.labels is graph.labels


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
    falls = explain.faithfulness(graph, edges, {"right": right}, rescore, k=2, draws=5)
    assert falls["right"].min() > 0
    assert falls["random"].mean() < 0.6 * falls["right"].mean()
    again = explain.faithfulness(graph, edges, {"right": right}, rescore, k=2, draws=5)
    assert torch.equal(falls["random"], again["random"])


def test_mean_interval_holds_the_mean_and_leaves_out_nan():
    values = torch.tensor([0.0, 1.0, torch.nan, 2.0, 3.0])
    interval = explain.mean_interval(values, repeats=500)
    assert interval.value == 1.5
    assert 0 < interval.low < 1.5 < interval.high < 3
    assert explain.mean_interval(values, repeats=500) == interval
    with pytest.raises(ValueError, match="no value"):
        explain.mean_interval(values[2:3])
