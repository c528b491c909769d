"""`match` against the reference numbers, plain NumPy, brute force, and itself."""

from pathlib import Path

import numpy as np
import plain
import pytest
import torch

from gadkit.match import AttributedGraph, Pattern, beliefs, match
from gadkit.match.result import IGNORED

DATA = np.load(Path(__file__).parent / "data" / "small.npz")
AS_IS = {"scale": None, "tol": 0}
MEDIAN = "mu_levchuk_median"
REFERENCE = {
    "mu_pnnl": {"mode": "pnnl"},
    "mu_pnnl_iter1": {"mode": "pnnl", "max_iter": 1},
    "mu_pnnl_iter2": {"mode": "pnnl", "max_iter": 2},
    "mu_levchuk_auto": {"null_cost": "auto"},
    MEDIAN: {},
    f"{MEDIAN}_iter1": {"max_iter": 1},
    f"{MEDIAN}_not_one_to_one": {"one_to_one": False},
    f"{MEDIAN}_damp05": {"damping": 0.5},
}


@pytest.fixture(scope="module")
def small():
    names = ("node_feats", "srcs", "dsts", "edge_feats")
    graph, pattern = ([DATA[f"{kind}_{name}"] for name in names] for kind in ("data", "patt"))
    return AttributedGraph(*graph), Pattern(*pattern)


def close(result, expected, atol=1e-9):
    np.testing.assert_allclose(result.log_belief, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_numbers(small, name):
    result = match(*small, **AS_IS, **REFERENCE[name])
    close(result, DATA[name])
    assert result.log_belief.dtype == np.float64
    rounds = REFERENCE[name].get("max_iter", 4)
    assert result.history.shape == (rounds, 4)


@pytest.mark.parametrize("rule", ["auto", "median"])
def test_costs_of_missing_edges(small, rule):
    result = match(*small, **AS_IS, null_cost=rule)
    np.testing.assert_allclose(result.null_cost, DATA[f"null_{rule}"], rtol=1e-12)
    close(match(*small, **AS_IS, null_cost=result.null_cost), result.log_belief, 1e-12)


SIZES = [
    (30, 120, 4, 5),
    (50, 40, 6, 9),
    (7, 60, 7, 12),
    (40, 0, 3, 3),
    (20, 50, 3, 0),
    (1, 2, 1, 1),
]


@pytest.mark.parametrize("v, e, k, p", SIZES)
@pytest.mark.parametrize("options", [{}, {"one_to_one": False}, {"damping": 0.3}], ids=str)
def test_max_sum_is_as_defined(drawn, asked, v, e, k, p, options):
    graph, pattern = drawn(v, e), asked(k, p)
    null = np.random.default_rng(3).random(p)
    result = match(graph, pattern, null_cost=null, max_iter=5, **AS_IS, **options)
    close(result, plain.max_sum(graph, pattern, null[pattern.rows], rounds=5, **options), 1e-11)


@pytest.mark.parametrize("v, e, k, p", SIZES)
def test_published_is_as_defined(drawn, asked, v, e, k, p):
    graph, pattern = drawn(v, e), asked(k, p)
    result = match(graph, pattern, mode="pnnl", max_iter=5, **AS_IS)
    close(result, plain.published(graph, pattern, rounds=5), 1e-11)


def test_types_are_a_constraint(drawn, asked):
    graph, pattern = drawn(40, 160, types=3), asked(4, 6, types=3)
    null = np.full(6, 0.4)
    result = match(graph, pattern, null_cost=null, max_iter=4, **AS_IS)
    expected = plain.max_sum(graph, pattern, null, rounds=4)
    is_other = graph.node_type[:, None] != pattern.node_type
    assert (np.isneginf(result.log_belief) == is_other).all()
    np.testing.assert_allclose(result.log_belief[~is_other], expected[~is_other], atol=1e-11)


@pytest.mark.parametrize("tree", [[(0, 1), (1, 2), (2, 3)], [(1, 0), (0, 2), (3, 0)]], ids=str)
@pytest.mark.parametrize("null", [0.1, 0.5, 2.0])
def test_trees_are_exact(drawn, tree, null):
    graph = drawn(7, 25)
    generator = np.random.default_rng(1)
    pattern = Pattern(generator.random((4, 3)), *np.array(tree).T, generator.random((3, 2)))
    result = match(graph, pattern, null_cost=null, one_to_one=False, **AS_IS)
    close(result, plain.best_of_all(graph, pattern, np.full(3, null)), 1e-12)


@pytest.mark.parametrize("mode", beliefs.MODES)
def test_beliefs_add_up_to_one(drawn, asked, mode):
    result = match(drawn(20_000, 60_000), asked(5, 8), mode=mode)
    np.testing.assert_allclose(np.exp(result.log_belief).sum(0), 1, rtol=0, atol=1e-12)
    assert 0 <= result.null_share <= 1
    assert ((result.history >= 0) & (result.history <= 1 + 1e-6)).all()


@pytest.mark.parametrize("mode", beliefs.MODES)
def test_numbers_of_nodes_and_order_of_edges_do_not_matter(drawn, asked, mode):
    graph, pattern = drawn(200, 900), asked(4, 6)
    result = match(graph, pattern, mode=mode)
    generator = np.random.default_rng(5)
    order = generator.permutation(900)
    again = AttributedGraph(
        graph.x, graph.src[order], graph.dst[order], graph.edge_attr[order], graph.node_type
    )
    same = match(again, pattern, mode=mode)
    assert (same.log_belief == result.log_belief).all()  # to the last bit
    name = generator.permutation(200)
    x = np.empty_like(graph.x)
    x[name] = graph.x
    renamed = AttributedGraph(x, name[graph.src], name[graph.dst], graph.edge_attr)
    close(match(renamed, pattern, mode=mode), result.log_belief[np.argsort(name)], 1e-11)


def test_order_of_the_patterns_edges_does_not_matter(drawn, asked):
    graph, pattern = drawn(100, 400), asked(4, 6)
    costs, order = np.linspace(0.1, 0.6, 6), np.array([3, 1, 5, 0, 2, 4])
    other = Pattern(
        pattern.x, pattern.src[order], pattern.dst[order], pattern.edge_attr[order]
    )  # which was given in the order of the links, but shuffled
    result = match(graph, other, null_cost=costs[order])
    np.testing.assert_array_equal(result.null_cost, costs[order])
    expected = match(graph, pattern, null_cost=pattern.as_given(costs))
    np.testing.assert_array_equal(result.log_belief, expected.log_belief)


@pytest.mark.parametrize("mode", beliefs.MODES)
def test_threads_give_the_same_bits(drawn, asked, mode, monkeypatch, with_threads):
    graph, pattern = drawn(3_000, 9_000), asked(5, 9)
    monkeypatch.setattr(beliefs, "SMALL", 0)
    results = [with_threads(n, lambda: match(graph, pattern, mode=mode)) for n in (1, 2, 3)]
    for result in results[1:]:
        assert (result.log_belief == results[0].log_belief).all()
        assert (result.history == results[0].history).all()
        assert result.null_share == results[0].null_share


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_numbers_of_other_types(drawn, asked, dtype):
    graph, pattern = drawn(50, 200), asked(3, 4)
    x, attr = (9 * graph.x).astype(dtype), (9 * graph.edge_attr).astype(dtype)
    result = match(AttributedGraph(torch.from_numpy(x), graph.src, graph.dst, attr), pattern)
    again = match(
        AttributedGraph(x.astype(float), graph.src, graph.dst, attr.astype(float)), pattern
    )
    close(result, again.log_belief, 1e-12)


@pytest.mark.parametrize("mode", beliefs.MODES)
def test_wide_attributes_are_no_trouble(drawn, asked, mode):
    graph, pattern = drawn(60, 300), asked(4, 5)
    wide = AttributedGraph(1e6 * graph.x, graph.src, graph.dst, 1e5 * graph.edge_attr)
    result = match(wide, pattern, mode=mode, scale=None)
    assert np.isfinite(result.log_belief).all()
    np.testing.assert_allclose(np.exp(result.log_belief).sum(0), 1, atol=1e-12)


def test_robust_scale_takes_the_unit_out(drawn, asked):
    graph, pattern = drawn(60, 300), asked(4, 5)
    cents = AttributedGraph(graph.x * [1, 100, 1e4], graph.src, graph.dst, graph.edge_attr)
    same = Pattern(pattern.x * [1, 100, 1e4], pattern.src, pattern.dst, pattern.edge_attr)
    close(match(cents, same), match(graph, pattern).log_belief, 1e-9)


def test_missing_edges_cost_something_where_edges_tell_nothing(drawn, asked):
    graph, pattern = drawn(40, 100, edge_dim=0), asked(3, 3, edge_dim=0)
    apart = plain.distances(graph.x, pattern.x)
    result = match(graph, pattern, scale=None)
    np.testing.assert_allclose(result.null_cost, np.median(apart))
    bare = match(graph, Pattern.ring(3))
    assert bare.null_cost.tolist() == [1, 1, 1]


def test_stops_when_nothing_moves(planted_once):
    graph, pattern, _ = planted_once
    result = match(graph, pattern, max_iter=50)
    assert result.converged and len(result.history) < 10
    assert result.history[-1].max() <= 1e-4 < result.history[-2].max()
    assert result.null_share < 0.1 and result.notes == ()
    longer = match(graph, pattern, max_iter=50, tol=0)
    assert len(longer.history) == 50 and not longer.converged
    np.testing.assert_allclose(np.exp(longer.log_belief), np.exp(result.log_belief), atol=1e-3)


def test_published_mode_is_seen_to_ignore_structure(planted_once):
    graph, pattern, _ = planted_once
    result = match(graph, pattern, mode="pnnl", scale=None)
    assert result.null_share > 0.8 > 8 * match(graph, pattern).null_share
    with pytest.raises(ValueError, match="no price for missing edges"):
        result.subgraphs(1)


def test_ignored_structure_is_noted(drawn, asked):
    graph, pattern = drawn(100, 50), asked(4, 6)
    result = match(graph, pattern, null_cost=1e-6)
    assert result.null_share > IGNORED
    assert any("Structure is being ignored: 100%" in note for note in result.notes)


def test_top_tells_ties():
    twins = AttributedGraph(np.array([[0.0], [1], [0], [2], [0]]), [], [])
    top = match(twins, Pattern([[0.0]], [], [])).top(4)
    assert top.nodes[:, 0].tolist() == [0, 2, 4, 1]
    assert top.group[:, 0].tolist() == [0, 0, 0, 1]
    assert top.group_size[:, 0].tolist() == [3, 3, 3, 1]
    cut = match(twins, Pattern([[0.0]], [], [])).top(2)
    assert cut.nodes[:, 0].tolist() == [0, 2] and cut.group_size[:, 0].tolist() == [3, 3]
    assert match(twins, Pattern([[0.0]], [], [])).top(99).nodes.shape == (5, 1)


def test_results_cannot_be_written_to(drawn, asked):
    result = match(drawn(9, 20), asked(2, 2))
    with pytest.raises(ValueError, match="read-only"):
        result.log_belief[0, 0] = 1
    with pytest.raises(AttributeError):
        result.converged = True


WRONG = {
    "mode is 'best'": {"mode": "best"},
    "scale is 'minmax'": {"scale": "minmax"},
    "damping is 0;": {"damping": 0},
    "damping is 1.5;": {"damping": 1.5},
    "damping is nan": {"damping": float("nan")},
    "the published program has none": {"mode": "pnnl", "damping": 0.5},
    "tol is -1;": {"tol": -1},
    "tol is nan": {"tol": float("nan")},
    "max_iter is 0;": {"max_iter": 0},
    "null_cost is 'mean'; give": {"null_cost": "mean"},
    "null_cost is inf at edge 0; it must be finite": {"null_cost": float("inf")},
    "null_cost is -1.0 at edge 1": {"null_cost": [1.0, -1.0]},
    r"null_cost must be one number, or \(2,\)": {"null_cost": [1.0, 1.0, 1.0]},
    "null_cost is nan at edge 0": {"null_cost": float("nan")},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(drawn, asked, message):
    with pytest.raises(ValueError, match=message):
        match(drawn(9, 20), asked(2, 2), **WRONG[message])


def test_graph_and_pattern_must_fit(drawn, asked):
    with pytest.raises(ValueError, match="the pattern has 4 nodes, but the graph has 3"):
        match(drawn(3, 5), asked(4, 4))
    with pytest.raises(ValueError, match="2 nodes of type 1, but the graph has 1"):
        match(drawn(3, 5, types=2), asked(4, 4, types=2))
    with pytest.raises(ValueError, match="x of the pattern has 2 columns, that of the graph 3"):
        match(drawn(9, 5), asked(4, 4, dim=2))
    with pytest.raises(ValueError, match="edge_attr of the pattern has 1 columns"):
        match(drawn(9, 5), asked(4, 4, edge_dim=1))
    with pytest.raises(TypeError, match="null_cost"):
        match(drawn(9, 5), asked(4, 4), null_cost=["cheap"] * 4)
    with pytest.raises(ValueError, match="k is 0"):
        match(drawn(9, 5), asked(2, 2)).top(0)
