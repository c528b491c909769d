"""Graphs with attributes, patterns, and where they come from: marketplaces and text files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from gadkit.match import (
    AttributedGraph,
    Pattern,
    _cpu,
    from_hetero,
    match,
    named,
    read_hive,
    write_beliefs,
)
from gadkit.match.attributed import robust_weight
from gadkit.match.pattern import nodes_around

DATA = Path(__file__).parent / "data"


def pairs(graph):
    return list(zip(graph.src.tolist(), graph.dst.tolist(), strict=True))


def test_edges_are_sorted_and_know_their_rows():
    src, dst, attr = [2, 0, 2, 0, 2], [1, 2, 0, 0, 1], [[5.0], [1], [2], [3], [4]]
    graph = AttributedGraph(np.zeros((3, 1)), src, dst, attr)
    assert pairs(graph) == [(0, 0), (0, 2), (2, 0), (2, 1), (2, 1)]
    assert graph.edge_attr[:, 0].tolist() == [3, 1, 2, 4, 5]
    assert graph.rows.tolist() == [3, 1, 2, 4, 0]
    links = graph.links
    assert links.in_ptr.tolist() == [0, 2, 4, 5]
    assert links.in_src.tolist() == [0, 2, 2, 2, 0] and links.in_edge.tolist() == [0, 2, 3, 4, 1]
    assert {links.ptr.dtype, links.dst.dtype, links.in_edge.dtype} == {np.dtype(np.int32)}
    assert graph.degree.tolist() == [4, 2, 4]
    assert graph.neighbors(2).tolist() == [0, 1]
    assert repr(graph) == "AttributedGraph(3 nodes x 1, 5 edges x 1)"


@pytest.mark.parametrize("n", [1, 2, 5, 3_000, 3_001, 200_000, 200_001])
@pytest.mark.parametrize("decimals", [0, 17])
def test_select_and_median(n, decimals):
    values = (10 * np.random.default_rng(n).standard_normal(n)).round(decimals)
    ends = values.min(), values.max()
    assert _cpu.median(values, *ends) == np.median(values)
    for rank in {0, n // 3, n - 1}:
        assert _cpu.select(values, rank, *ends) == np.sort(values)[rank]


@pytest.mark.parametrize("n", [300_000, 300_001])
def test_a_sample_may_mislead_about_the_median(n):
    values = np.random.default_rng(0).random(n)
    values[:: n // _cpu.SAMPLE] += 1  # all that the sample sees
    assert _cpu.median(values, values.min(), values.max()) == np.median(values)
    values = np.sort(values) * (np.arange(n) % 3 > 0)
    assert _cpu.median(values, 0, values.max()) == np.median(values)


def test_robust_weight():
    generator = np.random.default_rng(0)
    normal = generator.standard_normal(20_001)
    outlier = np.where(np.arange(20_001) < 20, 1e9, 3 * normal)
    rare = (np.arange(20_001) < 30).astype(float)
    columns = [normal, outlier, rare, np.full(20_001, 7.0), 5 * rare]
    weight = robust_weight(np.stack(columns, axis=1))
    np.testing.assert_allclose(weight, [1, 1 / 3, 1, 1, 1 / (5 * rare).std()], rtol=0.03)
    assert robust_weight(np.empty((0, 2))).tolist() == [1, 1]


WRONG = {
    "x is nan at row 1, column 0; a distance": ([[0.0], [float("nan")]], [], []),
    r"x must be \(num_nodes, dim\), got \(2,\); give one column as x\[:, None\]": (
        [0.0, 1],
        [],
        [],
    ),
    "x has no rows": (np.empty((0, 2)), [], []),
    "src has 1 entries, dst 2": ([[0.0]] * 3, [0], [1, 2]),
    r"dst\[1\] is 3, outside \[0, 3\)": ([[0.0]] * 3, [0, 1], [1, 3]),
    "src must be 1-D": ([[0.0]] * 3, [[0, 1]], [1, 2]),
    r"edge_attr must be \(2, dim\)": ([[0.0]] * 3, [0, 1], [1, 2], [[1.0]]),
    "edge_attr is inf at row 0, column 1": ([[0.0]] * 3, [0], [1], [[1.0, float("inf")]]),
    r"node_type must be \(3,\)": ([[0.0]] * 3, [0], [1], [[1.0]], [0, 1]),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_graphs_are_named(message):
    with pytest.raises(ValueError, match=message):
        AttributedGraph(*WRONG[message])


def test_ids_must_be_whole():
    with pytest.raises(TypeError, match="src must be integer"):
        AttributedGraph([[0.0]] * 2, [0.5], [1])


def test_shapes_of_patterns():
    assert pairs(Pattern.ring(3)) == [(0, 1), (1, 2), (2, 0)]
    assert pairs(Pattern.star(3)) == [(1, 0), (2, 0)]
    assert pairs(Pattern.biclique(2, 2)) == [(0, 2), (0, 3), (1, 2), (1, 3)]
    ring = Pattern.ring(3, x=np.eye(3), edge_attr=[[1], [2], [3]])
    assert ring.x.shape == (3, 3) and ring.edge_attr[:, 0].tolist() == [1, 2, 3]
    for make in (lambda: Pattern.ring(1), lambda: Pattern.star(1), lambda: Pattern.biclique(0, 2)):
        with pytest.raises(ValueError, match="or more, got"):
            make()
    with pytest.raises(ValueError, match=r"x must be \(3, dim\)"):
        Pattern.ring(3, x=np.eye(4))
    with pytest.raises(ValueError, match=r"edge_attr must be \(3, dim\)"):
        Pattern.ring(3, edge_attr=[[1.0]])


def test_from_subgraph_takes_all_edges_between(drawn):
    graph = drawn(20, 150, types=3)
    nodes = np.array([7, 3, 11, 0])
    pattern = Pattern.from_subgraph(graph, nodes)
    inside = [(s, d) for s, d in pairs(graph) if s in nodes and d in nodes]
    assert sorted((nodes[s], nodes[d]) for s, d in pairs(pattern)) == sorted(inside)
    np.testing.assert_array_equal(pattern.x, graph.x[nodes])
    np.testing.assert_array_equal(pattern.node_type, graph.node_type[nodes])
    rows = {(s, d, *a) for (s, d), a in zip(pairs(graph), graph.edge_attr.tolist(), strict=True)}
    for (s, d), attr in zip(pairs(pattern), pattern.edge_attr.tolist(), strict=True):
        assert (nodes[s], nodes[d], *attr) in rows
    for bad, message in (([], "hold a node"), ([1, 1], "twice"), ([20], "must be in")):
        with pytest.raises(ValueError, match=message):
            Pattern.from_subgraph(graph, np.array(bad, int))


def test_around_takes_who_is_tied_most_and_rarest_first():
    # 0 and 3 buy the rare 1 and 2; all but 1 and 2 buy the popular 9; 8 buys only what 0 buys too.
    bought = [(0, 1), (0, 2), (3, 1), (3, 2)] + [(user, 9) for user in (0, 3, 4, 5, 6, 7)]
    bought += [(8, 10), (0, 10)]
    graph = AttributedGraph(np.zeros((11, 1)), *np.array(bought).T)
    # 1 and 2 are the first of three rare ones, who lead to 3, and 9 is next to 0 and 3.
    assert nodes_around(graph, 0, max_nodes=5).tolist() == [0, 1, 2, 3, 9]
    assert nodes_around(graph, 0, hops=1).tolist() == [0, 1, 2, 10, 9]
    assert nodes_around(graph, 0, hops=2).tolist()[0] == 0
    assert len(nodes_around(graph, 0, hops=2)) == 11
    assert Pattern.around(graph, 0, max_nodes=5).num_edges == 6
    for options, message in (({"hops": 0}, "hops is 0"), ({"max_nodes": 0}, "max_nodes 0")):
        with pytest.raises(ValueError, match=message):
            Pattern.around(graph, 0, **options)
    with pytest.raises(ValueError, match="node is 11; ids are in"):
        Pattern.around(graph, 11)
    with pytest.raises(TypeError, match="node must be a whole number"):
        Pattern.around(graph, 0.5)


def test_marketplaces_keep_their_ids(small_shop):
    graph = from_hetero(small_shop)
    assert graph.node_type.tolist() == [0, 0, 0, 0, 1, 1, 1]
    # Both relations; the first has 7 edges from users to products, the second 5 among users.
    assert graph.num_edges == 12 and graph.edge_attr.sum(0).tolist() == [7, 5]
    is_first = graph.edge_attr[:, 0] == 1
    assert (graph.dst[is_first] >= 4).all() and (graph.dst[~is_first] < 4).all()
    np.testing.assert_allclose(np.expm1(graph.x[:, 0]), [0, 0, 0, 0, 3, 2, 2], rtol=1e-6)
    assert named(small_shop, [0, 4, 6]) == [("user", 0), ("product", 0), ("product", 2)]
    with pytest.raises(ValueError, match="must be in"):
        named(small_shop, [7])


def test_marketplaces_take_scores_and_embeddings(small_shop):
    scores, wide = torch.arange(7.0), {"user": torch.ones(4, 3), "product": torch.ones(3, 2)}
    graph = from_hetero(small_shop, scores, wide)
    assert graph.x.shape == (7, 4) and graph.x[:, 0].tolist() == list(range(7))
    assert graph.x[4:, 3].tolist() == [0, 0, 0] and graph.x[:4, 3].tolist() == [1, 1, 1, 1]
    best = match(graph, Pattern.around(graph, 0, max_nodes=4)).subgraphs(1)[0]
    assert best.nodes[0] == 0 and best.mismatch == 0
    with pytest.raises(ValueError, match="scores must have 7 rows"):
        from_hetero(small_shop, scores[:6])
    with pytest.raises(ValueError, match="no values for 'product'"):
        from_hetero(small_shop, embeddings={"user": torch.ones(4, 3)})


def read_small():
    graph = read_hive(DATA / "small.Vertex.csv", DATA / "small.Edges.csv")
    pattern = read_hive(DATA / "small.pattern.Vertex.csv", DATA / "small.pattern.Edges.csv")
    return graph, Pattern.from_subgraph(pattern, np.arange(pattern.num_nodes))


def test_text_files_go_in_and_out_as_published(tmp_path):
    result = match(*read_small(), mode="pnnl", scale=None)
    write_beliefs(tmp_path / "out.txt", result.log_belief)
    written = (tmp_path / "out.txt").read_bytes()
    assert written == (DATA / "small.expected_pnnl.txt").read_bytes()
    expected = str(np.load(DATA / "small.npz")["md5_text_pnnl"])
    assert hashlib.md5(written).hexdigest() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_text_files_may_end_lines_as_windows_does(tmp_path):
    for name in ("small.Vertex.csv", "small.Edges.csv"):
        text = (DATA / name).read_text()
        (tmp_path / name).write_text(text.replace("\n", "\r\n"), newline="")
    graph = read_hive(tmp_path / "small.Vertex.csv", tmp_path / "small.Edges.csv")
    np.testing.assert_array_equal(graph.x, read_small()[0].x)


def test_no_edges_in_a_text_file(tmp_path):
    (tmp_path / "edges").write_text("0 4\n")
    graph = read_hive(DATA / "small.Vertex.csv", tmp_path / "edges")
    assert (graph.num_nodes, graph.num_edges, graph.edge_attr.shape[1]) == (12, 0, 2)


@pytest.mark.parametrize(
    "vertices, edges, message",
    [
        ("2 3\n0 1 1\n2 1 1\n", "0 2\n", "v, line 3: the id is 2, but must be 1"),
        ("2\n0 1\n1 1\n", "0 2\n", "v, line 1: expected `rows columns`"),
        ("2 2\n0 1\n", "0 2\n", "v: line 1 says 2 rows of 2 columns, but there are 1 of 2"),
        ("1 2\n0 1\n1 1\n", "0 2\n", "but there are 1 of 2 and more"),
        ("1 2\n0 x\n", "0 2\n", "v: could not convert"),
        ("1 2\n0 1\n", "1 2\n0 1\n", "e, line 2: 1 is no node, of which there are 1"),
        ("1 2\n0 1\n", "1 2\n0 0.5\n", "e, line 2: 0.5 is no node"),
        ("1 2\n0 1\n", "1 1\n0\n", "e, line 1: there must be 2 columns"),
    ],
)
def test_wrong_text_files_are_named(tmp_path, vertices, edges, message):
    (tmp_path / "v").write_text(vertices)
    (tmp_path / "e").write_text(edges)
    with pytest.raises(ValueError, match=message):
        read_hive(tmp_path / "v", tmp_path / "e")
