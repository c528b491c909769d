"""Lists of edges in .npz, laid out as DGraph-Fin is."""

import numpy as np
import pytest

from gadkit import datasets, store
from gadkit.published import library

NODE = "node"


def dgraph():
    """Eight users, ten edges of two types (one comes twice), two background users."""
    src = [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]
    dst = [1, 2, 3, 4, 5, 6, 7, 0, 2, 1]
    return {
        "x": np.arange(8 * 17, dtype=np.float64).reshape(8, 17),
        "y": np.array([0, 1, 0, 2, 0, 3, 1, 0]),
        "edge_index": np.array([src, dst]).T,
        "edge_type": np.array([1, 1, 1, 1, 1, 11, 11, 11, 11, 1]),
        "edge_timestamp": np.array([5, 4, 3, 9, 8, 7, 6, 2, 1, 9]),
        "train_mask": np.array([0, 1, 2]),
        "valid_mask": np.array([4]),
        "test_mask": np.array([6, 7]),
    }


def read(folder, arrays, **options):
    path = folder / "g.npz"
    np.savez(path, **arrays)
    made = library.add("npz", path, root=folder / "data", **options)
    return made, store.load_graph(made)


def pairs(graph, relation):
    csr = graph.edges[NODE, relation, NODE]
    return sorted(zip(csr.indices.tolist(), csr.dst().tolist(), strict=True))


def test_dgraph_becomes_a_relation_of_each_type(tmp_path):
    folder, graph = read(tmp_path, dgraph())
    assert graph.num_nodes == {NODE: 8}
    assert pairs(graph, "type_1") == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert pairs(graph, "type_11") == [(0, 2), (5, 6), (6, 7), (7, 0)]
    assert graph.label_of_nodes().tolist() == [0, 1, 0, -1, 0, -1, 1, 0]
    assert graph.x[NODE][:, :17].tolist() == dgraph()["x"].tolist()
    about = store.read_about(folder)
    assert about["rows"] == {"read": 10, "used": 9, "unused": {"repeats another edge": 1}}
    assert "2 and 3" in about["labels"]["meaning"]
    assert store.load_masks(folder).flatten().tolist() == [1, 1, 1, 0, 2, 0, 3, 3]
    time = store.load_time(folder)
    assert time.tolist() == [1, 4, 1, 3, 8, 7, 6, 2]


def test_a_file_is_a_dataset_by_its_name(tmp_path):
    np.savez(tmp_path / "dgraphfin.npz", **dgraph())
    folder = datasets.prepare(tmp_path / "dgraphfin.npz", root=tmp_path / "data")
    assert folder.name == "dgraphfin" and store.load_graph(folder).total == 8


def test_edges_alone_are_enough_and_lie_either_way(tmp_path):
    edges = np.array([[0, 1, 2], [1, 2, 4]])
    for name, array in (("a", edges), ("b", edges.T)):
        (tmp_path / name).mkdir()
        _, graph = read(tmp_path / name, {"edge_index": array})
        assert graph.num_nodes == {NODE: 5} and pairs(graph, "edge") == [(0, 1), (1, 2), (2, 4)]
        assert graph.labels is None


def test_classes_take_a_choice(tmp_path):
    arrays = {
        "edge_index": dgraph()["edge_index"],
        "y": np.array([0, 1, 2, 2, 2, 1, 0, 2])[:, None],
    }
    with pytest.raises(ValueError, match="'y' is 2 at node 2.*--positive"):
        read(tmp_path, arrays)
    _, graph = read(tmp_path, arrays, positive="1")
    assert graph.label_of_nodes().tolist() == [0, 1, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("edge_index", np.zeros((3, 3), int), "must be .num_edges, 2. or .2, num_edges"),
        ("edge_index", np.zeros((9, 2)), "must be .num_edges, 2.* float64"),
        ("edge_index", np.array([[0, 1], [1, 2]]), "may be read by rows or by columns"),
        ("edge_index", np.array([[0, 1], [1, 2], [-1, 0]]), "edge 2 is .-1, 0."),
        ("edge_index", np.array([[0, 1], [1, 2], [8, 0]]), "names node 8, but there are 8 nodes"),
        ("edge_type", np.zeros(3, int), "'edge_type' must be .10,. numbers, one per edge"),
        ("edge_timestamp", np.zeros(3), "'edge_timestamp' must be .10,. numbers"),
        ("x", np.zeros(8), "array 'x' must be .8, dim. numbers"),
        ("y", np.zeros((8, 2)), "array 'y' must be .8,. numbers"),
        ("train_mask", np.array([9]), "'train_mask': names node 9"),
        ("train_mask", np.array([4]), "node 4 is in more than one part"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, name, array, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, dgraph() | {name: array})
