import json
import pickle
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from gadkit import store
from gadkit.graph import CSR, HeteroGraph
from gadkit.store import outputs

# Users 0 1 2, products 3 4, seller 5. Every row starts with the self-loop of its own global id,
# which in epu and eps points to the wrong type; user 2 buys nothing, product 3 has no seller.
NUM_NODES = {"user": 3, "product": 2, "seller": 1}
RELATIONS = {
    "epu": ([0, 3, 5, 6], [0, 3, 4, 1, 4, 2]),
    "eps": ([0, 1, 3], [3, 4, 5]),
    "euu": ([0, 2, 4, 5], [0, 1, 1, 0, 2]),
}
LABELS = torch.tensor([[0, 0], [2, 1], [5, 1]])


def features() -> torch.Tensor:
    return torch.arange(6 * 128, dtype=torch.float32).reshape(6, 128)


def relations(dtype=torch.int32) -> dict:
    return {
        name: (torch.tensor(indptr), torch.tensor(indices, dtype=dtype))
        for name, (indptr, indices) in RELATIONS.items()
    }


def write(folder, dtype=torch.int32):
    store.write_raw(folder, NUM_NODES, relations(dtype), features(), LABELS)
    return folder


def small_graph() -> HeteroGraph:
    """Two accounts and three payments, of other feature widths than a marketplace."""
    edges = {
        ("account", "pays", "payment"): CSR(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1]), 2),
        ("account", "knows", "account"): CSR(
            torch.tensor([0, 1, 2]), torch.tensor([1, 0], dtype=torch.int32), 2
        ),
    }
    x = {"account": torch.ones(2, 3), "payment": torch.arange(3.0)[:, None]}
    labels = torch.tensor([[2, 1], [4, 0]])
    return HeteroGraph({"account": 2, "payment": 3}, edges, x, labels)


def assert_equal(one: HeteroGraph, other: HeteroGraph):
    assert one.num_nodes == other.num_nodes
    assert list(one.num_nodes) == list(other.num_nodes)
    assert one.edge_types == other.edge_types
    for edge_type, csr in one.edges.items():
        assert torch.equal(csr.indptr, other.edges[edge_type].indptr)
        assert torch.equal(csr.indices, other.edges[edge_type].indices)
        assert csr.num_src == other.edges[edge_type].num_src
    for part in ("x", "labels"):
        assert (getattr(one, part) is None) == (getattr(other, part) is None)
    if one.x is not None:
        assert all(torch.equal(one.x[name], other.x[name]) for name in one.node_types)
    if one.labels is not None:
        assert torch.equal(one.labels, other.labels)


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_marketplace_by_hand(tmp_path):
    graph, reports = store.read_raw(write(tmp_path)).sanitize()
    assert graph.num_nodes == NUM_NODES
    buys = graph.edges["user", "buys", "product"]
    assert (buys.indptr.tolist(), buys.indices.tolist()) == ([0, 1, 3], [0, 0, 1])
    sells = graph.edges["seller", "sells", "product"]
    assert (sells.indptr.tolist(), sells.indices.tolist()) == ([0, 0, 1], [0])
    co_buys = graph.edges["user", "co_buys", "user"]  # keeps its self-loops, which are users
    assert (co_buys.indptr.tolist(), co_buys.indices.tolist()) == ([0, 2, 4, 5], [0, 1, 0, 1, 2])
    assert torch.equal(graph.x["product"], features()[3:5])
    assert torch.equal(graph.labels, LABELS)
    assert [(r.relation, r.kept, r.dropped["self_loop"], r.rows_emptied) for r in reports] == [
        ("buys", 3, 3, 1),
        ("sells", 1, 2, 1),
        ("co_buys", 5, 0, 0),
    ]


def test_int32_and_int64_files_give_equal_graphs(tmp_path):
    narrow, wide = write(tmp_path / "32", torch.int32), write(tmp_path / "64", torch.int64)
    size = (narrow / "epu_col_idx.bin").stat().st_size
    assert (wide / "epu_col_idx.bin").stat().st_size == 2 * size
    assert_equal(store.load_graph(narrow), store.load_graph(wide))


def test_rows_come_out_sorted(tmp_path):
    raw = relations()
    raw["euu"][1][0:2] = raw["euu"][1][0:2].flip(0)
    store.write_raw(tmp_path, NUM_NODES, raw, features(), LABELS)
    graph = store.load_graph(tmp_path)
    assert all(csr.is_sorted for csr in graph.edges.values())
    assert_equal(graph, store.load_graph(write(tmp_path / "sorted")))


def test_reading_never_writes(tmp_path):
    before = files(write(tmp_path))
    raw = store.read_raw(tmp_path)
    raw.x.add_(1)
    raw.relations["epu"][1].zero_()
    assert files(tmp_path) == before


def test_raw_files_are_the_same_bytes_twice(tmp_path):
    assert files(write(tmp_path / "a")) == files(write(tmp_path / "b"))
    assert sorted(files(tmp_path / "a")) == sorted(store.raw_files())


def overwrite(name, array):
    return lambda folder: np.asarray(array).tofile(folder / name)


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def counts(**changes):
    content = {"users": 3, "products": 2, "sellers": 1, "total": 6} | changes
    return lambda folder: (folder / store.COUNTS).write_text(json.dumps(content))


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def labels(rows):
    return lambda folder: np.save(folder / store.LABELS, np.array(rows))


def bad_feature(folder):
    x = features().numpy()
    x[4, 7] = np.nan
    x.tofile(folder / store.FEATURES)


DAMAGE = {
    "counts-total": (counts(total=7), r"node_counts.json: 'total' is 7, but .* add up to 6"),
    "counts-negative": (counts(users=-3), r"node_counts.json: 'users' is -3"),
    "counts-fraction": (counts(users=3.0), r"node_counts.json: expected an object with the whole"),
    "counts-text": (text(store.COUNTS, "{3"), r"node_counts.json: Expecting property name"),
    "counts-list": (text(store.COUNTS, "[]"), r"node_counts.json: expected an object"),
    "no-nodes": (
        counts(users=0, products=0, sellers=0, total=0),
        r"node_counts.json: the graph has no nodes",
    ),
    "other-counts": (
        counts(users=2, products=3),
        r"epu_row_ptr.bin: has 32 bytes, but \(3,\) int64 takes 24",
    ),
    "row_ptr-cut": (cut("eps_row_ptr.bin", 20), r"eps_row_ptr.bin: has 20 bytes, but \(3,\) int64"),
    "row_ptr-empty": (cut("eps_row_ptr.bin", 0), r"eps_row_ptr.bin: has 0 bytes"),
    "row_ptr-start": (
        overwrite("eps_row_ptr.bin", [1, 2, 3]),
        r"eps_row_ptr.bin: row_ptr must start at 0, but row_ptr\[0\] is 1",
    ),
    "row_ptr-decreases": (
        overwrite("epu_row_ptr.bin", [0, 5, 3, 6]),
        r"epu_row_ptr.bin: row_ptr decreases at row 1: 5 is followed by 3",
    ),
    "row_ptr-negative-end": (
        overwrite("eps_row_ptr.bin", [0, 1, -3]),
        r"eps_row_ptr.bin: row_ptr decreases at row 1: 1 is followed by -3",
    ),
    "col_idx-cut": (
        cut("epu_col_idx.bin", 20),
        r"epu_col_idx.bin has 20 bytes; .* ends at 6 .* 24 bytes as int32 or 48 as int64",
    ),
    "col_idx-odd": (cut("euu_col_idx.bin", 7), r"euu_col_idx.bin has 7 bytes"),
    "col_idx-past-total": (
        overwrite("eps_col_idx.bin", np.array([3, 6, 5], np.int32)),
        r"eps_col_idx.bin: sells col_idx has 1 ids outside \[0, 6\); first at entry 1: 6",
    ),
    "col_idx-negative": (
        overwrite("euu_col_idx.bin", np.array([0, 1, -1, 0, -2])),
        r"euu_col_idx.bin: co_buys col_idx has 2 ids outside \[0, 6\); first at entry 2: -1",
    ),
    "nothing-left": (
        overwrite("eps_col_idx.bin", np.array([3, 4, 0], np.int32)),
        r"eps_col_idx.bin: no edge between a product and a seller is left after sanitizing; "
        r"dropped \{'self_loop': 2, 'wrong_type': 1\}",
    ),
    "features-cut": (
        cut(store.FEATURES, 3000),
        r"X_combined.memmap: has 3000 bytes, but \(6, 128\) float32 takes 3072",
    ),
    "features-nan": (bad_feature, r"X_combined.memmap: x is nan at row 4, column 7"),
    "labels-value": (labels([[0, 0], [1, 2]]), r"labels.npy: labels row 1 is \[1, 2\]: a value"),
    "labels-id": (labels([[0, 0], [6, 1]]), r"labels.npy: labels row 1 is \[6, 1\]: a node id"),
    "labels-twice": (labels([[1, 0], [1, 1]]), r"labels.npy: node 1 is labelled more than once"),
    "labels-one-class": (labels([[1, 0], [2, 0]]), r"labels.npy: all 2 labels are 0"),
    "labels-none": (labels(np.zeros((0, 2), np.int64)), r"labels.npy.*there are no labels"),
    "labels-shape": (labels([0, 1]), r"labels.npy: labels must be \(num_labels, 2\) int64"),
    "labels-pickled": (labels([[0, None], [1, 1]]), r"labels.npy is no .npy array of numbers"),
    "labels-cut": (cut(store.LABELS, 140), r"labels.npy is no .npy array .* or is cut off"),
    "labels-empty": (cut(store.LABELS, 0), r"labels.npy is no .npy array"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_marketplace(tmp_path, damage):
    apply, message = DAMAGE[damage]
    apply(write(tmp_path))
    with pytest.raises(ValueError, match=message):
        store.load_graph(tmp_path)


def test_labels_may_be_absent(tmp_path):
    (write(tmp_path) / store.LABELS).unlink()
    assert store.load_graph(tmp_path).labels is None


def test_labels_of_normal_nodes_alone_are_mended_as_the_message_says(tmp_path):
    cleared, fraud = torch.tensor([[0, 0], [2, 0]]), torch.tensor([[1, 1]])
    store.save_array(write(tmp_path), store.LABELS, cleared)
    message = "labels.npy: all 2 labels are 0 .*confirmed.*remove the labels .file.* rank without"
    with pytest.raises(ValueError, match=message):
        store.load_graph(tmp_path)
    store.save_array(tmp_path, store.LABELS, torch.cat([cleared, fraud]))
    assert len(store.load_graph(tmp_path).labels) == 3
    store.save_array(tmp_path, store.LABELS, fraud)  # frauds alone are enough
    assert store.load_graph(tmp_path).labels.tolist() == [[1, 1]]


@pytest.mark.parametrize("name", [name for name in store.raw_files() if name != store.LABELS])
def test_missing_file(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{name}.* is missing; a marketplace folder holds"
    ):
        store.read_raw(tmp_path)


def no_sellers(**changed):
    """Return the example without its seller, and relations in place of its own."""
    raw = relations() | {"eps": (torch.tensor([0, 1, 2]), torch.tensor([3, 4]))} | changed
    return NUM_NODES | {"seller": 0}, raw, features()[:5], LABELS[:2]


@pytest.mark.parametrize("eps", [([0, 1, 2], [3, 4]), ([0, 0, 0], [])])
def test_marketplace_without_sellers(tmp_path, eps):
    eps = torch.tensor(eps[0]), torch.tensor(eps[1], dtype=torch.int32)
    store.write_raw(tmp_path, *no_sellers(eps=eps))
    graph, reports = store.load_with_reports(tmp_path)
    assert graph.num_nodes == {"user": 3, "product": 2}
    assert list(graph.x) == ["user", "product"]
    assert [name for _, name, _ in graph.edge_types] == ["buys", "co_buys"]
    dropped = {"self_loop": len(eps[1]), "wrong_type": 0}
    assert [(r.relation, r.kept, r.dropped) for r in reports][1] == ("sells", 0, dropped)


@pytest.mark.parametrize("euu", [([0, 1, 2, 3], [0, 1, 2]), ([0, 0, 0, 0], [])])
def test_marketplace_without_co_purchases(tmp_path, euu):
    euu = torch.tensor(euu[0]), torch.tensor(euu[1], dtype=torch.int32)
    store.write_raw(tmp_path, NUM_NODES, relations() | {"euu": euu}, features(), LABELS)
    graph, reports = store.load_with_reports(tmp_path)
    assert [name for _, name, _ in graph.edge_types] == ["buys", "sells"]
    loops = {"self_loop": len(euu[1]), "wrong_type": 0}
    assert (reports[2].kept, reports[2].dropped, reports[2].rows_emptied) == (0, loops, len(euu[1]))


def test_a_type_with_nodes_needs_edges(tmp_path):
    raw = relations() | {"eps": (torch.tensor([0, 1, 2]), torch.tensor([3, 4]))}
    store.write_raw(tmp_path, NUM_NODES, raw, features(), LABELS)
    with pytest.raises(ValueError, match="no edge between a product and a seller is left"):
        store.load_graph(tmp_path)


def test_edges_to_a_type_without_nodes_are_an_error(tmp_path):
    eps = torch.tensor([0, 1, 2]), torch.tensor([3, 0])  # product 4 is sold by a user
    store.write_raw(tmp_path, *no_sellers(eps=eps))
    with pytest.raises(ValueError, match=r"eps_col_idx.bin: no edge .* 'wrong_type': 1"):
        store.load_graph(tmp_path)


def test_unknown_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither node_counts.json .* nor graph.npz"):
        store.load_graph(tmp_path)
    assert not store.is_dataset(tmp_path)
    assert not store.is_dataset(tmp_path / "nowhere")


def test_killed_write_is_not_taken_for_a_dataset(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="could not convert"):  # half of the files are there
        store.write_raw(tmp_path, NUM_NODES, relations(), "no features", LABELS)
    assert not store.is_dataset(tmp_path)


def test_graph_round_trip(tmp_path):
    graph = small_graph()
    store.save_graph(tmp_path, graph)
    assert_equal(store.load_graph(tmp_path), graph)


@pytest.mark.parametrize(
    ("node_types", "edge_types"),
    [
        (["a", "a__b", "d"], [("a", "b__c", "d"), ("a__b", "c", "d")]),
        (["x", "b", "_r__b_indptr"], [("x", "r", "b"), ("b", "s", "_r__b_indptr")]),
    ],
)
def test_names_with_underscores_overwrite_nothing(tmp_path, node_types, edge_types):
    edges = {
        edge_type: CSR.from_edges(torch.tensor([k]), torch.tensor([0]), num_src=3, num_dst=3)
        for k, edge_type in enumerate(edge_types)
    }
    x = {name: torch.full((3, 1), float(k)) for k, name in enumerate(node_types)}
    graph = HeteroGraph(dict.fromkeys(node_types, 3), edges, x)
    store.save_graph(tmp_path, graph)
    assert_equal(store.load_graph(tmp_path), graph)


def test_graph_without_features_and_labels(tmp_path):
    graph = small_graph()
    bare = HeteroGraph(graph.num_nodes, graph.edges)
    store.save_graph(tmp_path, bare)
    assert_equal(store.load_graph(tmp_path), bare)


def test_graph_is_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        store.save_graph(tmp_path / name, small_graph())
    assert files(tmp_path / "a") == files(tmp_path / "b")


BAD_ARRAYS = {
    "missing-types": ({"node_types": None}, r"graph.npz: array 'node_types' is missing; found"),
    "missing-indices": (
        {"account__pays__payment_indices": None},
        r"graph.npz: array 'account__pays__payment_indices' is missing",
    ),
    "decreasing": (
        {"account__pays__payment_indptr": np.array([0, 2, 1, 3])},
        r"graph.npz, account__pays__payment: indptr decreases at row 1",
    ),
    "id": (
        {"account__knows__account_indices": np.array([0, 7])},
        r"graph.npz, account__knows__account: indices has 1 entries .* first at edge 1: 7",
    ),
    "rows": (
        {"account__knows__account_indptr": np.array([0, 2])},
        r"graph.npz: relation \('account', 'knows', 'account'\) is 1 x 2",
    ),
    "counts": ({"num_nodes": np.array([2])}, r"graph.npz: node_types .* as many counts"),
    "float-counts": ({"num_nodes": np.array([2.0, 3])}, r"array 'num_nodes' must have 1 axes"),
    "types": (
        {"node_types": np.array(["acc", "payment"])},
        r"graph.npz: relation account__pays__payment starts at a node type that is not in",
    ),
    "nan": (
        {"x_payment": np.array([[0], [np.nan], [1]], np.float32)},
        r"graph.npz: x\['payment'\] is nan at row 1, column 0",
    ),
    "one-x": ({"x_payment": None}, r"graph.npz: x\['payment'\] must have shape"),
    "double-x": (
        {"x_payment": np.zeros((3, 1))},
        r"array 'x_payment' must have 2 axes of kind 'f4'",
    ),
    "labels": ({"labels": np.array([[0, 0], [5, 1]])}, r"graph.npz: labels row 1 is \[5, 1\]"),
    "pickled": ({"labels": np.array([None])}, r"graph.npz: array 'labels' cannot be read: Object"),
    "text": (
        {"labels": np.array([["0", "1"]])},
        r"graph.npz: array 'labels' must be .* got \(1, 2\)",
    ),
    "misspelt": (
        {"label": np.array([[0, 1]])},
        r"graph.npz: array 'label' is none of those .* labels, .*: rename or remove it",
    ),
    "newer": (
        {"format": np.array(2)},
        r"graph.npz: it is of format 2, which a newer gadkit has written; .*: update gadkit",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_in_graph(tmp_path, case):
    changes, message = BAD_ARRAYS[case]
    store.save_graph(tmp_path, small_graph())
    arrays = store.read_npz(tmp_path / store.GRAPH) | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(tmp_path / store.GRAPH, **arrays)
    with pytest.raises(ValueError, match=message):
        store.load_graph(tmp_path)


def test_truncated_and_foreign_graph_files(tmp_path):
    store.save_graph(tmp_path, small_graph())
    path = tmp_path / store.GRAPH
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-40])
    with pytest.raises(ValueError, match="graph.npz: no .npz file, or cut off"):
        store.load_graph(tmp_path)
    content[content.find(b"p\0\0\0a") + 4] ^= 1  # a bit flips in the node types
    path.write_bytes(content)
    with pytest.raises(ValueError, match="graph.npz: array 'node_types' cannot be read: Bad CRC"):
        store.load_graph(tmp_path)


def test_atomic_path_replaces(tmp_path):
    path = tmp_path / "deep" / "scores.csv"
    with store.atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".csv"
        temporary.write_text("new")
        assert not path.exists()
    assert files(path.parent) == {"scores.csv": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_path_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(error), store.atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert files(tmp_path) == {"scores.csv": b"old"}


@pytest.mark.parametrize("shape", [(3, 2), (4,), (0, 2)])
def test_array_round_trip(tmp_path, shape):
    name = store.GAT_EMBEDDINGS if len(shape) == 2 else store.GAT_SCORES
    array = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for folder in ("a", "b"):
        store.save_array(tmp_path / folder, name, array.requires_grad_())
    assert files(tmp_path / "a") == files(tmp_path / "b")
    loaded = store.load_array(tmp_path / "a", name, rows=shape[0])
    assert torch.equal(loaded, array)
    loaded += 1
    assert torch.equal(store.load_array(tmp_path / "a", name), array)


def test_array_errors(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="Z_stage2.npy is missing, .* attention network leaves; run its notebook",
    ):
        store.load_array(tmp_path, store.GAT_EMBEDDINGS)
    store.save_array(tmp_path, store.GAT_EMBEDDINGS, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="Z_stage2.npy has 3 rows, but the graph has 4 nodes"):
        store.load_array(tmp_path, store.GAT_EMBEDDINGS, rows=4)
    cut(store.GAT_EMBEDDINGS, 150)(tmp_path)
    with pytest.raises(ValueError, match="Z_stage2.npy is no .npy array of numbers, or is cut off"):
        store.load_array(tmp_path, store.GAT_EMBEDDINGS)
    (tmp_path / store.GAT_EMBEDDINGS).write_text("hello, this is text")
    with pytest.raises(ValueError, match="cut off: it does not begin as one; make it again"):
        store.load_array(tmp_path, store.GAT_EMBEDDINGS)


@pytest.mark.parametrize(
    "array", [np.zeros(4, int), np.zeros((4, 2), "f4"), np.float32(1), np.zeros(4, complex)]
)
def test_scores_are_one_row_of_numbers(tmp_path, array):
    np.save(tmp_path / store.GAT_SCORES, array)
    with pytest.raises(ValueError, match="must have 1 axes of floating-point numbers; make it aga"):
        store.load_array(tmp_path, store.GAT_SCORES)


@pytest.mark.parametrize("save", ["array", "npz", "checkpoint", "json"])
def test_a_disk_without_room_leaves_what_was_there(tmp_path, save):
    path, zeros = tmp_path / "kept.npy", np.zeros(100_000)
    path.write_text("old")
    writers = {
        "array": lambda: store.save_array(tmp_path, path.name, zeros),
        "npz": lambda: store.write_npz(path, {"zeros": zeros}),
        "checkpoint": lambda: store.save_checkpoint(path, {"zeros": torch.from_numpy(zeros)}),
        "json": lambda: store.write_json(path, {"zeros": "0" * 100_000}),
    }
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="kept.npy could not be written .*: make room"):
            writers[save]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


def test_time_and_masks_round_trip(tmp_path):
    store.save_graph(tmp_path, small_graph())
    assert store.load_time(tmp_path) is None and store.load_masks(tmp_path) is None
    store.save_time(tmp_path, small_graph(), {"payment": np.array([5, 3, 4])})
    store.save_masks(tmp_path, small_graph(), {"payment": np.array([[1, 0], [2, 3], [3, 1]])})
    time, masks = store.load_time(tmp_path), store.load_masks(tmp_path)
    assert time.isnan().tolist() == [True, True, False, False, False]
    assert time[2:].tolist() == [5, 3, 4] and time.dtype == torch.float64
    assert masks.tolist() == [[0, 0], [0, 0], [1, 0], [2, 3], [3, 1]]
    assert masks.dtype == torch.int8


def test_time_and_masks_beside_a_marketplace(tmp_path):
    graph = store.load_graph(write(tmp_path))
    store.save_time(tmp_path, graph, {"seller": np.array([7.0])})
    store.save_masks(tmp_path, graph, {"user": np.ones((3, 1))})
    assert store.load_time(tmp_path)[5] == 7
    assert store.load_masks(tmp_path).flatten().tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (store.TIME, np.zeros(4), r"node_time.npy is \(4,\) torch.float64, but .* \(5,\) float64"),
        (store.TIME, np.zeros(5, np.float32), r"is \(5,\) torch.float32"),
        (store.TIME, np.array([0, 1, -np.inf, 2, 3]), "node 2 has an infinite time"),
        (store.MASKS, np.zeros((4, 1), np.int8), r"split_masks.npy is \(4, 1\) .* \(5, splits\)"),
        (store.MASKS, np.zeros(5, np.int8), r"split_masks.npy is \(5,\)"),
        (store.MASKS, np.zeros((5, 0), np.int8), r"split_masks.npy is \(5, 0\)"),
        (store.MASKS, np.zeros((5, 1)), "torch.float64, but the graph needs .* int8"),
        (store.MASKS, np.eye(5, dtype=np.int8) * 4, "node 0 is 4 in split 0; expected 0"),
        (store.MASKS, -np.eye(5, 6, k=1, dtype=np.int8), "node 0 is -1 in split 1"),
    ],
)
def test_bad_time_and_masks(tmp_path, name, array, message):
    store.save_graph(tmp_path, small_graph())
    store.save_array(tmp_path, name, array)
    with pytest.raises(ValueError, match=message):
        store.load_time(tmp_path) if name == store.TIME else store.load_masks(tmp_path)


def test_what_is_there_is_set_aside(tmp_path):
    for number in range(3):
        with store.appearing(tmp_path / "a", aside=True) as partial:
            (partial / "number").write_text(str(number))
    assert {path.name: (path / "number").read_text() for path in tmp_path.iterdir()} == {
        "a": "2",
        "a.old1": "0",
        "a.old2": "1",
    }
    with pytest.raises(KeyError), store.appearing(tmp_path / "a", aside=True):
        raise KeyError
    assert (tmp_path / "a" / "number").read_text() == "2"


def write_number(folder, number):
    (folder / "number").write_text(str(number))
    (folder / f"only of {number}").write_text("")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "a"
    for number in range(2):
        with store.replacing(target) as partial:
            write_number(partial, number)
            assert target.exists() == (number > 0)
    assert sorted(path.name for path in target.iterdir()) == ["number", "only of 1"]
    with pytest.raises(KeyboardInterrupt), store.replacing(target) as partial:
        write_number(partial, 2)
        raise KeyboardInterrupt
    rename = Path.rename

    def fail_to_appear(path, new):
        if new == target and (path / "only of 3").exists():
            raise OSError("no more names")
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", fail_to_appear)
    with pytest.raises(OSError, match="no more names"), store.replacing(target) as partial:
        write_number(partial, 3)
    assert (target / "number").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_whose_replacement_was_killed_is_put_back(tmp_path):
    with store.replacing(tmp_path / "a") as partial:
        write_number(partial, 0)
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    (tmp_path / "a").rename(tmp_path / f".{dead}-.a")
    (tmp_path / f".{dead}.a").mkdir()
    with pytest.raises(KeyError), store.replacing(tmp_path / "a"):
        raise KeyError
    assert (tmp_path / "a" / "number").read_text() == "0"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("make", [store.appearing, store.replacing])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, make):
    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(OSError, match=r"nothing can be written to .*file \(File exists\); make it"),
        make(tmp_path / "file" / "new"),
    ):
        pytest.fail("there is no such folder")
    assert (tmp_path / "file").read_text() == "old"


def test_a_place_is_tried(tmp_path):
    store.check_place(tmp_path / "new" / "place", room=1_000)
    assert [*(tmp_path / "new" / "place").iterdir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"nothing can be written to .*file.* make it writable"):
        store.check_place(tmp_path / "file" / "place")
    with pytest.raises(OSError, match=r"MB free, but some 1,000,000,000,000 MB will be written"):
        store.check_place(tmp_path, room=10**18)


def state() -> dict:
    weight = torch.arange(6.0).reshape(2, 3)
    return {"model": {"weight": weight}, "epoch": 7, "history": [{"loss": 0.5}], "seed": None}


def test_about_round_trip(tmp_path):
    assert store.read_about(tmp_path) == {}
    about = {"title": "Ünïcode ☃", "rows": {"read": 3, "unused": {"user id is missing": 1}}}
    store.write_about(tmp_path, about)
    assert store.read_about(tmp_path) == about
    (tmp_path / store.ABOUT).write_text('{"title": "of Windows"}', encoding="utf-8-sig")
    assert store.read_about(tmp_path) == {"title": "of Windows"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected a JSON object, got .*; mend or delete it"),
        ("", "it is no JSON: .*; mend it, or delete it"),
        ("{" * 100_000, "it is no JSON: .*; mend it, or delete it"),
        ('{"format": 2}', "it is of format 2, which a newer gadkit has written; .*: update gadkit"),
        ('{"format": "1"}', "its format is '1', and not a number"),
        ('{"time": "yesterday"}', "'time' must hold a value for each name, got 'yesterday'; mend"),
        ('{"features": {"user": "abc"}}', "'features' must hold a list of names for 'user'"),
        ('{"features": {"user": [1, 2]}}', "'features' must hold a list of names for 'user'"),
        ('{"read": {"user": 3}}', "'read' must hold an object for 'user', got '3'"),
    ],
)
def test_what_is_said_of_a_dataset_is_checked(tmp_path, text, message):
    (tmp_path / store.ABOUT).write_text(text)
    with pytest.raises(ValueError, match=rf"about.json: {message}"):
        store.read_about(tmp_path)


def test_checkpoint_round_trip(tmp_path):
    store.save_checkpoint(tmp_path / "one.pt", state())
    loaded = store.load_checkpoint(tmp_path / "one.pt")
    assert torch.equal(loaded.pop("model")["weight"], state()["model"]["weight"])
    assert loaded == {"epoch": 7, "history": [{"loss": 0.5}], "seed": None}
    store.save_checkpoint(tmp_path / "another_name.pt", state())
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another_name.pt").read_bytes()


def test_damaged_and_foreign_checkpoints(tmp_path):
    path = tmp_path / store.GAT_CHECKPOINT
    store.save_checkpoint(path, state())
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(torch.arange(6.0).numpy().tobytes()) + 5] ^= 1
    foreign = [b"", b"hello", content[:100], content[:-30], pickle.dumps(print), pickle.dumps({1})]
    for other in [flipped, *foreign]:
        path.write_bytes(other)
        with pytest.raises(
            ValueError, match="gat_stage2_best.pt is damaged, cut off or no checkpoint"
        ):
            store.load_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="holds a list, not a checkpoint; delete it"):
        store.load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        store.load_checkpoint(tmp_path / "none.pt")


def test_a_checkpoint_of_a_newer_gadkit_is_refused_and_kept(tmp_path, monkeypatch):
    path = tmp_path / store.GAT_RUN
    monkeypatch.setattr(outputs, "FORMAT", 7)
    store.save_checkpoint(path, state())
    content = path.read_bytes()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="run.pt: it is of format 7, which a newer .*: update gad"):
        store.load_checkpoint(path)
    assert path.read_bytes() == content
    torch.save(state(), path)  # as before there were formats
    assert store.load_checkpoint(path)["epoch"] == 7
