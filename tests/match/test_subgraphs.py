"""The places that fit best, against planting and against all mappings; what chance makes of it."""

import numpy as np
import plain
import pytest

from gadkit.match import AttributedGraph, Pattern, match, planting, shuffles, significance


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_every_planted_copy_is_among_the_top_ten(copies, seed):
    graph, pattern, planted, _ = planting.plant(copies=copies, seed=seed)
    places = match(graph, pattern).subgraphs(10, max_overlap=0.75)
    first = [place.nodes.tolist() for place in places[:copies]]
    assert sorted(first) == sorted(planted.tolist())
    assert all(not place.missing.any() for place in places[:copies])
    shares = planting.recovered(places, planted)
    assert (shares[:copies] == 1).all() and (shares[copies:] < 1).all()
    mismatches = [place.mismatch for place in places]
    assert mismatches == sorted(mismatches)
    assert mismatches[copies - 1] < 0.5 * mismatches[copies]


def test_most_belief_lies_on_planted_nodes(planted_once):
    graph, pattern, planted = planted_once
    top = match(graph, pattern).top(1)
    assert top.nodes[0].tolist() == planted[0].tolist()
    published = match(graph, pattern, mode="pnnl", scale=None).top(1)
    assert np.isin(published.nodes, planted).mean() < 0.5  # decoys look the same


@pytest.mark.parametrize("seed", range(6))
def test_the_best_place_is_the_best_of_all_mappings(drawn, asked, seed):
    graph, pattern = drawn(9, 40, types=2, seed=seed), asked(4, 6, types=2, seed=seed + 50)
    result = match(graph, pattern, null_cost=0.4, scale=None)
    (place,) = result.subgraphs(1)
    null = np.full(6, 0.4)
    costs = {nodes: c for nodes, c in plain.mappings(graph, pattern, null, one_to_one=True)}
    assert place.mismatch == pytest.approx(min(costs.values()), abs=1e-12)
    assert costs[tuple(place.nodes.tolist())] == pytest.approx(place.mismatch, abs=1e-12)


def test_a_place_adds_up(planted_once):
    graph, pattern, _ = planted_once
    result = match(graph, pattern)
    weight, edge_weight = result.weights
    for place in result.subgraphs(5):
        gaps = weight * (graph.x[place.nodes] - pattern.x)
        np.testing.assert_allclose(place.node_mismatch, np.linalg.norm(gaps, axis=1))
        total = place.node_mismatch.sum() + place.edge_mismatch.sum()
        assert place.mismatch == pytest.approx(total)
        np.testing.assert_array_equal(
            place.edge_mismatch[place.missing], result.null_cost[place.missing]
        )
        for m, edge in enumerate(place.edges):
            if edge < 0:
                assert place.missing[m]
                continue
            (e,) = np.flatnonzero(graph.rows == edge)  # the edge that was given at this place
            ends = place.nodes[[pattern.as_given(pattern.src)[m], pattern.as_given(pattern.dst)[m]]]
            assert [graph.src[e], graph.dst[e]] == ends.tolist()
            gap = edge_weight * (
                graph.edge_attr[e] - pattern.edge_attr[np.argsort(pattern.rows)[m]]
            )
            if not place.missing[m]:
                assert place.edge_mismatch[m] == pytest.approx(np.linalg.norm(gap))


def test_symmetries_are_merged_and_places_lie_apart():
    # Two rings of three that share nothing, and one node beside them.
    graph = AttributedGraph(np.empty((7, 0)), [0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3])
    result = match(graph, Pattern.ring(3))
    places = result.subgraphs(10, max_overlap=1)
    sets = [tuple(sorted(place.nodes.tolist())) for place in places]
    assert len(set(sets)) == len(sets)
    assert sets[:2] == [(0, 1, 2), (3, 4, 5)] and [p.mismatch for p in places[:3]] == [0, 0, 2]
    assert places[0].nodes.tolist() == [0, 1, 2]  # of three that are alike, the lowest ids
    apart = result.subgraphs(10, max_overlap=0)
    assert [sorted(place.nodes.tolist()) for place in apart] == [[0, 1, 2], [3, 4, 5]]


def test_missing_edges_are_named():
    graph = AttributedGraph(np.empty((4, 0)), [0, 1, 2], [1, 2, 3])
    (place,) = match(graph, Pattern.ring(4)).subgraphs(1)
    assert place.nodes.tolist() == [0, 1, 2, 3] and place.mismatch == 1
    assert place.missing.tolist() == [False, False, False, True]
    assert place.edges.tolist() == [0, 1, 2, -1]
    assert "1 of 4 edges missing" in repr(place)


def test_a_pattern_taken_from_the_graph_is_found_again(drawn):
    graph = drawn(500, 2_500, types=2)
    for node in range(5):
        pattern = Pattern.around(graph, node, max_nodes=6)
        best = match(graph, pattern).subgraphs(1)[0]
        assert best.nodes[0] == node and best.mismatch == 0, node


def test_more_threads_find_the_same_places(planted_once, with_threads):
    graph, pattern, _ = planted_once
    result = match(graph, pattern)
    one, two = (with_threads(n, lambda: result.subgraphs(5)) for n in (1, 2))
    assert [place.nodes.tolist() for place in one] == [place.nodes.tolist() for place in two]


@pytest.mark.parametrize(
    "message, options",
    [
        ("k is 0", {"k": 0}),
        ("max_overlap is 2", {"max_overlap": 2}),
        ("max_overlap is nan", {"max_overlap": float("nan")}),
    ],
)
def test_wrong_arguments_are_named(planted_once, message, options):
    graph, pattern, _ = planted_once
    with pytest.raises(ValueError, match=message):
        match(graph, pattern).subgraphs(**options)


def test_shuffles_keep_degrees_and_types(drawn):
    graph = drawn(200, 900, types=3)
    again = shuffles.shuffled(graph, seed=1)
    assert (again.src == shuffles.shuffled(graph, seed=1).src).all()
    assert (again.dst != graph.dst).mean() > 0.5
    for kind in range(3):
        for ends, others in (("src", "dst"), ("dst", "src")):
            counts = []
            for each in (graph, again):
                at_kind = each.node_type[getattr(each, others)] == kind
                counts.append(np.bincount(getattr(each, ends)[at_kind], minlength=200))
            np.testing.assert_array_equal(*counts)


def test_shuffles_make_no_loops_and_no_doubles():
    generator = np.random.default_rng(0)
    src, dst = np.unique(generator.integers(300, size=(1_500, 2)), axis=0).T
    kept = src != dst
    again = shuffles.shuffled(AttributedGraph(np.zeros((300, 1)), src[kept], dst[kept]), seed=0)
    assert (again.src != again.dst).all()
    assert len(np.unique(np.stack([again.src, again.dst]), axis=1).T) == kept.sum()


def test_what_is_planted_is_no_chance(planted_once):
    graph, pattern, planted = planted_once
    told = significance(graph, pattern, match(graph, pattern), shuffles=9, k=3)
    assert told.subgraphs[0].nodes.tolist() == planted[0].tolist()
    assert told.share[0] == 0.1  # 1 of 10, the least there is
    assert told.best.shape == (9,) and (told.best > told.subgraphs[0].mismatch).all()
    as_good = (told.best[:, None] <= [place.mismatch for place in told.subgraphs]).sum(0)
    np.testing.assert_allclose(told.share, (1 + as_good) / 10)


def test_significance_names_wrong_arguments(planted_once):
    graph, pattern, _ = planted_once
    result = match(graph, pattern)
    with pytest.raises(ValueError, match="shuffles is 0"):
        significance(graph, pattern, result, shuffles=0)
    with pytest.raises(ValueError, match="that of another graph or pattern"):
        significance(graph, Pattern.ring(3), result)
