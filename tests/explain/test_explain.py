"""Edges and explainers, by hand and against slow definitions."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gadkit import explain
from gadkit.explain import network
from gadkit.explain.edges import parallel, together
from gadkit.explain.faithfulness import hit_rate, top_edges, without_edges
from gadkit.graph import CSR, HeteroGraph, Stream
from gadkit.network import Architecture, HeteroGAT


def untrained(graph: HeteroGraph):
    """A network of two heads in float64, and its inputs."""
    generator = torch.Generator().manual_seed(1)
    dims = {name: x.shape[1] for name, x in graph.x.items()}
    architecture = Architecture(hidden_dim=8, heads=2, residual=True, features=True)
    model = HeteroGAT(["buys", "alike"], 5, architecture, feature_dims=dims, seed=2)
    z = torch.randn(graph.total, 5, generator=generator)
    return model.double(), model.inputs(graph, z, fit=True)


def test_edges_into_lists_all_streams_and_no_self_loop(small_shop):
    edges = explain.edges_into(small_shop, torch.tensor([3, 0, 4]))
    names = [stream.edge_type[1] for stream in small_shop.streams]
    nodes, streams = edges.nodes[edges.owner].tolist(), [names[s] for s in edges.stream.tolist()]
    listed = [*zip(nodes, streams, edges.neighbor.tolist(), strict=True)]
    assert listed == [
        (3, "rev_buys", 6), (3, "alike", 2),
        (0, "rev_buys", 4), (0, "rev_buys", 5), (0, "alike", 1),
        (4, "buys", 0), (4, "buys", 1), (4, "buys", 2),
    ]  # fmt: skip
    assert edges.ptr.tolist() == [0, 2, 5, 8]


@pytest.mark.parametrize("nodes", [[0, 0], [7], [-1]])
def test_edges_into_refuses_what_is_no_list_of_nodes(small_shop, nodes):
    with pytest.raises(ValueError, match="node"):
        explain.edges_into(small_shop, torch.tensor(nodes))


def test_attention_of_a_node_sums_to_one_less_what_its_self_loop_gets(small_shop):
    model, inputs = untrained(small_shop)
    edges = explain.edges_into(small_shop, torch.arange(7))
    shares = explain.by_attention(model, small_shop, inputs, edges)
    total = torch.zeros(7, dtype=torch.float64).index_add(0, edges.owner, shares)
    assert torch.allclose(total[[0, 1, 2, 4, 5, 6]], torch.ones(6, dtype=torch.float64))
    assert 0 < total[3] < 1


def test_occlusion_is_the_logit_without_one_entry_of_one_row(small_shop, monkeypatch):
    model, inputs = untrained(small_shop)
    edges = explain.edges_into(small_shop, torch.tensor([0, 3, 4]))
    falls = explain.by_occlusion(model, small_shop, inputs, edges)
    whole = model(small_shop, inputs)
    for e, owner in enumerate(edges.owner.tolist()):
        node, neighbor = int(edges.nodes[owner]), int(edges.neighbor[e])
        streams = list(small_shop.streams)
        relation, (src, name, dst), csr = streams[edges.stream[e]]
        keep = (csr.dst() != node - small_shop.offset(dst)) | (
            csr.indices != neighbor - small_shop.offset(src)
        )
        pruned = CSR.from_edges(
            csr.indices[keep].long(), csr.dst()[keep], num_src=csr.num_src, num_dst=csr.num_dst
        )
        streams[edges.stream[e]] = Stream(relation, (src, name, dst), pruned)
        heard = SimpleNamespace(node_types=small_shop.node_types, streams=streams)
        assert falls[e].item() == pytest.approx((whole - model(heard, inputs))[node].item())
    monkeypatch.setattr(network, "BATCH", 2)  # edges at a time
    assert torch.allclose(explain.by_occlusion(model, small_shop, inputs, edges), falls)


def repeated(times: int) -> HeteroGraph:
    """User 0 buys product 0 so many times, and products 1 and 2 once; user 1 buys the first two."""
    pairs = torch.tensor([[0, 0]] * times + [[0, 1], [0, 2], [1, 0], [1, 1]])
    buys = CSR.from_edges(*pairs.T, num_src=2, num_dst=3)
    generator = torch.Generator().manual_seed(3)
    x = {"user": torch.randn(2, 4, generator=generator)}
    x["product"] = torch.randn(3, 4, generator=generator)
    return HeteroGraph({"user": 2, "product": 3}, {("user", "buys", "product"): buys}, x)


def test_occlusion_leaves_out_a_neighbor_with_all_edges_that_lead_to_it():
    architecture = Architecture(hidden_dim=8, features=True, embeddings=False)
    model = HeteroGAT(["buys"], 0, architecture, feature_dims={"user": 4, "product": 4}, seed=2)
    for times in (1, 2, 5):
        graph = repeated(times)
        inputs = model.inputs(graph, torch.empty(5, 0), fit=True)
        edges = explain.edges_into(graph, torch.tensor([0]))
        falls = explain.by_occlusion(model, graph, inputs, edges)
        assert edges.neighbor.tolist() == [2] * times + [3, 4]
        csr = graph.streams[1].csr  # from the products to the users
        keep = (csr.dst() != 0) | (csr.indices != 0)
        pruned = CSR.from_edges(
            csr.indices[keep], csr.dst()[keep], num_src=csr.num_src, num_dst=csr.num_dst
        )
        streams = [graph.streams[0], graph.streams[1]._replace(csr=pruned)]
        heard = SimpleNamespace(node_types=graph.node_types, streams=streams)
        fall = (model(graph, inputs) - model(heard, inputs))[0].item()
        assert falls[:times].tolist() == pytest.approx([fall] * times, abs=1e-6)
        assert abs(fall) > 1e-3


def test_what_repeated_edges_have_is_added_up():
    """Ten orders at a tenth of the attention each are one neighbor, who has all of it."""
    architecture = Architecture(hidden_dim=8, features=True, embeddings=False)
    model = HeteroGAT(["buys"], 0, architecture, feature_dims={"user": 4, "product": 4}, seed=2)
    for times in (1, 3, 10):
        graph = repeated(times)
        inputs = model.inputs(graph, torch.empty(5, 0), fit=True)
        edges = explain.edges_into(graph, torch.tensor([0, 1]))
        is_first = parallel(edges) == torch.arange(len(edges.neighbor))
        counted = is_first & (edges.owner == 0)
        attention = explain.by_attention(model, graph, inputs, edges)
        assert float(attention[counted].sum()) == pytest.approx(1, abs=1e-6)
        gradient = explain.by_gradient(model, graph, inputs, edges)
        names = [f"x_{k}" for k in range(4)]
        columns = [f"hops: mean of {name} of products" for name in names]
        trees = explain.by_trees(
            graph, edges, torch.tensor([[0.5, 0.25, 1.0, 0.125]] * 2), columns,
            x_names={"user": names, "product": names}, train=torch.tensor([[0, 1]]),
        )  # fmt: skip
        assert float(trees[counted].sum()) == pytest.approx(1.875)
        for shares in (attention, gradient, trees):
            assert len(shares[:times].unique()) == 1
        alone = edges._replace(ptr=torch.tensor([0, 3, 5]), stream=edges.stream[is_first],
                               neighbor=edges.neighbor[is_first])  # fmt: skip
        assert torch.equal(together(alone, gradient[is_first]), gradient[is_first])
        assert together(edges, torch.ones(times + 4)).tolist() == [times] * times + [1] * 4


def test_edges_that_repeat_another_are_known_by_the_first():
    graph = repeated(3)
    edges = explain.edges_into(graph, torch.tensor([2, 0]))  # bought by 0 three times, and by 1
    assert edges.neighbor.tolist() == [0, 0, 0, 1, 2, 2, 2, 3, 4]
    assert parallel(edges).tolist() == [0, 0, 0, 3, 4, 4, 4, 7, 8]
    nobody = explain.edges_into(graph, torch.empty(0, dtype=torch.int64))
    assert parallel(nobody).tolist() == []


def test_gradient_is_the_slope_of_the_logit_in_what_an_edge_carries(small_shop):
    model, inputs = untrained(small_shop)
    edges = explain.edges_into(small_shop, torch.tensor([3, 0]))
    products = explain.by_gradient(model, small_shop, inputs, edges)
    around, step = next(network._neighborhoods(model, small_shop, inputs, edges)), 1e-6
    incoming, nodes = around.incoming, torch.arange(2)

    def logits(edge, factor):
        sent = [{name: x.clone() for name, x in of_layer.items()} for of_layer in around.sent]
        for of_layer in sent:
            for name, x in of_layer.items():
                x[around.copies[name] == edge] *= factor
        changed, none = around._replace(sent=sent), torch.full_like(nodes, -1)
        return network._logits(model, small_shop, changed, nodes, none)[incoming.owner[edge]]

    whole = model(small_shop, inputs)[incoming.nodes[0]].item()
    assert logits(0, 1.0).item() == pytest.approx(whole)
    for edge in (around.position >= 0).nonzero().flatten().tolist():
        slope = (logits(edge, 1 + step) - logits(edge, 1 - step)) / (2 * step)
        assert products[around.position[edge]].item() == pytest.approx(slope.item(), abs=1e-7)


def test_company_is_the_mean_of_tie_times_score_over_the_neighbors_others(small_shop):
    edges = explain.edges_into(small_shop, torch.arange(4))
    scores = torch.tensor([0.5, 0.25, 1.0, 0.75, torch.nan, torch.nan, torch.nan])
    csr, value = small_shop.homogeneous, scores.nan_to_num(0.0)
    near = [set(csr.indices[csr.indptr[v] : csr.indptr[v + 1]].tolist()) - {v} for v in range(7)]
    company = explain.by_company(small_shop, edges, scores)
    ties = explain.by_company(small_shop, edges)
    suspicion = explain.by_suspicion(small_shop, edges, scores)
    for e, owner in enumerate(edges.owner.tolist()):
        neighbor = int(edges.neighbor[e])
        others = near[neighbor] - {owner}
        tie = {b: sum(1 / len(near[a]) for a in near[owner] & near[b]) for b in others}
        count = max(len(others), 1)
        assert ties[e].item() == pytest.approx(sum(tie.values()) / count)
        of_all = sum(tie[b] * float(value[b]) for b in others) / count
        assert company[e].item() == pytest.approx(of_all)
        mean = sum(float(value[b]) for b in others) / count
        expected = float(scores[neighbor]) if neighbor < 4 else mean
        assert suspicion[e].item() == pytest.approx(expected)


def test_trees_share_a_column_among_the_neighbors_that_pull_it(small_shop):
    edges = explain.edges_into(small_shop, torch.tensor([0, 2]))  # buy 4, 5 and 4, 6; alike 1 and 3
    names = ["own: a", "hops: mean of price of products", "labels: rate over alike"]
    contributions = torch.tensor([[9.0, -2.0, 3.0], [9.0, 4.0, 5.0]])
    x_names = {"user": ["a", "b", "c"], "product": ["price"]}
    options = {"x_names": x_names, "train": small_shop.labels}
    shared = explain.by_trees(small_shop, edges, contributions, names, **options)
    # Prices 0, 1 and 0, 2, of mean 0.75: node 0 is below it for 4 alone, node 2 above it for 6.
    # Node 1 is a known fraud, which node 0 has for a neighbor, and pulls up; node 3 pulls down.
    assert shared.tolist() == pytest.approx([-2, 0, 3, 0, 4, 5])


def test_the_room_hands_on_its_names_and_none_hides_a_module():
    for name in explain.__all__:
        assert getattr(explain, name).__module__.startswith("gadkit.explain.")
        assert not Path(explain.__file__).with_name(f"{name}.py").exists()


def test_who_reads_out_attention_loads_no_explainer():
    code = "import sys; from gadkit.explain import inspection; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name for name in done.stdout.split() if name.startswith("gadkit.")}
    assert "gadkit.explain.inspection" in modules
    rooms = ("explain.network", "explain.company", "explain.trees", "explain.cases", "trees")
    assert not {f"gadkit.{name}" for name in rooms} & modules


def test_edges_into_takes_ids_of_any_library(small_shop):
    expected = explain.edges_into(small_shop, torch.tensor([3, 0]))
    for nodes in (np.array([3, 0], np.uint8), torch.tensor([3, 0]).int(), np.array([0, 3])[::-1]):
        made = explain.edges_into(small_shop, np.ascontiguousarray(nodes))
        assert torch.equal(made.neighbor, expected.neighbor)
    with pytest.raises(TypeError, match="nodes must be integer"):
        explain.edges_into(small_shop, torch.tensor([1.0]))
    with pytest.raises(ValueError, match="nodes must be 1-D"):
        explain.edges_into(small_shop, torch.tensor([[1]]))


def test_edges_without_a_score_are_not_the_first(small_shop):
    edges = explain.edges_into(small_shop, torch.tensor([3, 0]))
    scores = torch.ones(len(edges.neighbor))
    scores[1] = torch.nan
    for bad in (scores, scores[:1]):
        with pytest.raises(ValueError, match=r"scores of edges must be \(5,\) numbers"):
            top_edges(edges, bad, 1)


def multigraph(times: int) -> HeteroGraph:
    """User 0 buys product 0 often, pays user 1 and is paid by that one, and meets others once."""
    src, dst = [0] * times + [0] * 5 + [1, 2, 3], [0] * times + [1, 2, 3, 4, 5] + [0, 0, 1]
    buys = CSR.from_edges(src, dst, num_src=4, num_dst=6)
    src, dst = [0] * times + [1] * times + [0, 0, 2], [1] * times + [0] * times + [0, 0, 0]
    pays = CSR.from_edges(src, dst, num_src=4, num_dst=4)
    rates = CSR.from_edges([0] * times + [3], [0] * times + [5], num_src=4, num_dst=6)
    generator = torch.Generator().manual_seed(0)
    return HeteroGraph(
        {"user": 4, "product": 6},
        {
            ("user", "buys", "product"): buys,
            ("user", "pays", "user"): pays,
            ("user", "rates", "product"): rates,
        },
        {
            "user": torch.randn(4, 4, generator=generator),
            "product": torch.randn(6, 4, generator=generator),
        },
    )


@pytest.mark.parametrize("times", [1, 2, 4, 100])
def test_a_relation_and_a_neighbor_are_one_piece_of_evidence(times):
    """However often it is stored, over whichever direction, beside loops and other relations."""
    graph = multigraph(times)
    architecture = Architecture(hidden_dim=8, features=True, embeddings=False)
    dims = {"user": 4, "product": 4}
    model = HeteroGAT(["buys", "pays", "rates"], 0, architecture, feature_dims=dims, seed=2)
    inputs = model.inputs(graph, torch.empty(10, 0), fit=True)
    edges = explain.edges_into(graph, torch.tensor([0]))
    relations = [stream.relation for stream in graph.streams]
    pieces = [
        (relations[stream], neighbor)
        for stream, neighbor in zip(edges.stream.tolist(), edges.neighbor.tolist(), strict=True)
    ]
    different = [("buys", 4 + k) for k in range(6)] + [("pays", 1), ("pays", 2), ("rates", 4)]
    assert sorted({*pieces}) == different and len(pieces) == 4 * times + 6
    for explainer in (explain.by_attention, explain.by_occlusion, explain.by_gradient):
        shares = explainer(model, graph, inputs, edges)
        by_piece = {piece: {s for p, s in zip(pieces, shares.tolist(), strict=True) if p == piece}
                    for piece in different}  # fmt: skip
        assert all(len(values) == 1 for values in by_piece.values())
        top = top_edges(edges, shares, 5)
        assert len({pieces[edge] for edge in top.tolist()}) == len(top) == 5
        pruned = without_edges(graph, edges, top)
        left = explain.edges_into(pruned, torch.tensor([0]))
        names = [stream.relation for stream in pruned.streams]
        left = zip(left.stream.tolist(), left.neighbor.tolist(), strict=True)
        still = {(names[stream], neighbor) for stream, neighbor in left}
        assert still == {*different} - {pieces[edge] for edge in top.tolist()}


def test_planted_edges_that_lead_the_other_way_are_found_too():
    """A transfer that was planted and one back, which was not, are one piece of evidence."""
    graph = multigraph(1)
    edges = explain.edges_into(graph, torch.tensor([0]))
    is_back = torch.tensor([graph.streams[s].edge_type[1] == "rev_pays" for s in edges.stream])
    planted = is_back & (edges.neighbor == 1)
    scores = (edges.neighbor == 1).double()
    assert hit_rate(edges, scores, planted, 1).tolist() == [1]
    assert hit_rate(edges, 1 - scores, planted, 1).tolist() == [0]


def test_scores_of_edges_and_nodes_may_be_arrays_and_lists():
    graph = multigraph(2)
    edges = explain.edges_into(graph, [0])
    scores = np.linspace(0, 1, len(edges.neighbor))
    for convert in (torch.tensor, np.flip, list, np.float32):
        given = np.flip(np.flip(scores).copy()) if convert is np.flip else convert(scores)
        assert torch.equal(top_edges(edges, given, 3), top_edges(edges, torch.tensor(scores), 3))
        assert hit_rate(edges, given, scores > 0.5, 3).tolist() == [1]
    suspicion = np.linspace(0, 1, graph.total)
    for explainer in (explain.by_company, explain.by_suspicion):
        want = explainer(graph, edges, torch.tensor(suspicion))
        assert torch.equal(explainer(graph, edges, suspicion.tolist()), want)
        with pytest.raises(
            ValueError, match=r"^scores must be \(10,\), one for each node, got \(9,\)"
        ):
            explainer(graph, edges, suspicion[:9])
