"""Every reader on a small file that the test writes the way the authors write theirs."""

import gzip
import os
import pickle
import struct
import sys

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gadkit.published import pickles, readers
from gadkit.published.fields import find
from gadkit.published.layout import AMAZON_USERS, Converted


def read(reader: str, path, **options) -> Converted:
    """Read, and check what must hold of every conversion."""
    converted = readers.READERS[reader](path, **options)
    graph, about = converted.graph, converted.about
    widths = {name: x.shape[1] for name, x in graph.x.items()}
    assert {name: len(names) for name, names in about["features"].items()} == widths
    assert all(len(set(names)) == len(names) for names in about["features"].values())
    for name, time in (converted.time or {}).items():
        assert time.shape == (graph.num_nodes[name],)
    for name, masks in (converted.masks or {}).items():
        assert masks.shape[0] == graph.num_nodes[name] and set(masks.flat) <= {0, 1, 2, 3}
    for name, ids in converted.ids.items():
        assert len(ids) == graph.num_nodes[name]
        assert all(type(one) is str for one in ids.tolist())
    if "rows" in about:
        assert about["rows"]["read"] == about["rows"]["used"] + sum(
            about["rows"]["unused"].values()
        )
    return converted


def labels_of(converted: Converted, node_type: str) -> dict[int, int]:
    """Return the labels by number within the type."""
    offset = converted.graph.offset(node_type)
    return {node - offset: label for node, label in converted.graph.labels.tolist()}


def own(converted: Converted, node_type: str, *names: str) -> np.ndarray:
    """Return the columns of x with these names."""
    columns = [converted.about["features"][node_type].index(name) for name in names]
    return converted.graph.x[node_type][:, columns].numpy()


def pairs(converted: Converted, relation: str) -> list[tuple[int, int]]:
    """Return source and destination of every edge, sorted."""
    csr = next(csr for (_, name, _), csr in converted.graph.edges.items() if name == relation)
    return sorted(zip(csr.indices.tolist(), csr.dst().tolist(), strict=True))


def write_table(path, *lines: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def test_find(tmp_path):
    below = write_table(tmp_path / "a" / "b" / "x.csv", "1")
    write_table(tmp_path / "__MACOSX" / "a" / "x.csv", "1")
    assert find(tmp_path, "x.csv") == find(below, "*.csv") == below
    assert find(below, "y.csv", "x.csv") == below
    with pytest.raises(FileNotFoundError, match="b holds no y.csv or z.csv"):
        find(below, "y.csv", "z.csv")
    write_table(tmp_path / "c" / "x.csv", "1")
    with pytest.raises(ValueError, match=r"holds 2 files x.csv: a/b/x.csv, c/x.csv; choose one"):
        find(tmp_path, "x.csv")


# Arrays


def test_npz_with_classes(tmp_path):
    edge = {"edge_row_ptr": np.arange(6), "edge_col_idx": np.array([1, 2, 3, 4, 0])}
    np.savez(tmp_path / "c.npz", **edge, y=np.array([2, 0, 0, 1, -1]))
    with pytest.raises(
        ValueError,
        match=r"c.npz: array 'y' is 2 at node 0; .*data add npz .*c.npz --positive rarest",
    ):
        read("npz", tmp_path / "c.npz")
    rarest = read("npz", tmp_path / "c.npz", positive="rarest")
    assert labels_of(rarest, "node") == {0: 0, 1: 0, 2: 0, 3: 1}  # of two rarest, the first
    assert rarest.about["labels"] == {
        "meaning": "class 1 of 3 (1 of 4 labelled nodes, the rarest), not fraud",
        "kind": "proxy",
    }
    for positive in (0, "0"):
        chosen = read("npz", tmp_path / "c.npz", positive=positive)
        assert labels_of(chosen, "node") == {0: 0, 1: 1, 2: 1, 3: 0}
    with pytest.raises(ValueError, match=r"c.npz: there is no class 7; found 0, 1, 2, or say"):
        read("npz", tmp_path / "c.npz", positive=7)
    np.savez(tmp_path / "one.npz", **edge, y=np.array([3, 3, 3, -1, 3]))
    with pytest.raises(ValueError, match=r"one.npz: array 'y' holds 1 class; at least 2"):
        read("npz", tmp_path / "one.npz", positive="rarest")


def test_npz_whose_labels_are_of_another_type(tmp_path):
    arrays = {
        "paper__author_row_ptr": np.arange(4),
        "paper__author_col_idx": np.array([0, 1, 1]),
        "paper__author_shape": np.array([3, 2]),
        "author__knows__author_row_ptr": np.array([0, 1, 1]),  # square, so without a shape
        "author__knows__author_col_idx": np.array([1]),
    }
    np.savez(tmp_path / "p.npz", **arrays, y=np.array([0, 1]))
    assert labels_of(read("npz", tmp_path / "p.npz"), "author") == {0: 0, 1: 1}
    np.savez(tmp_path / "p.npz", **arrays, y=np.array([0, 1, 0, 1]))
    with pytest.raises(ValueError, match=r"array 'y' must be \(3,\), one label per node"):
        read("npz", tmp_path / "p.npz")


RING = {"edge_row_ptr": np.arange(4), "edge_col_idx": np.array([1, 2, 0])}
TRAIN, VAL, TEST = (np.eye(3, 4, k, dtype=bool)[:, :3] for k in range(3))


@pytest.mark.parametrize(
    "masks",
    [
        {"train_masks": TRAIN[:2], "val_masks": VAL[:2], "test_masks": TEST[:2]},
        {"train_masks": TRAIN[:2].T, "val_mask": VAL[:2].T * 1.0, "test_masks": TEST[:2].T * 1},
    ],
)
def test_npz_with_several_splits(tmp_path, masks):
    np.savez(tmp_path / "m.npz", **RING, y=np.array([0, 1, -1]), **masks)
    converted = read("npz", tmp_path / "m.npz")
    assert converted.masks["node"].tolist() == [[1, 0], [2, 1], [3, 2]]
    assert converted.time is None


def test_npz_with_one_split_or_none(tmp_path):
    masks = {"train_mask": TRAIN[0], "valid_mask": VAL[0], "test_mask": np.zeros(3)}
    np.savez(tmp_path / "m.npz", **RING, **masks)
    assert read("npz", tmp_path / "m.npz").masks["node"].tolist() == [[1], [2], [0]]
    np.savez(tmp_path / "m.npz", **RING, note_mask=np.ones(7))
    assert read("npz", tmp_path / "m.npz").masks is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_mask": None}, "m.npz: .* found train_mask, val_mask; add what is missing"),
        ({"val_masks": VAL[0]}, "found train_mask, val_mask, val_masks, test_mask"),
        ({"test_mask": np.ones(4)}, r"'test_mask' must be \(3,\) or .* got \(4,\) float64"),
        ({"test_mask": np.full(3, 2)}, r"'test_mask' must be .* of 0 and 1"),
        ({"test_mask": np.ones((3, 2, 1))}, r"got \(3, 2, 1\)"),
        ({"test_mask": np.ones((3, 2))}, "test_mask are of 1, 1, 2 splits"),
        ({"val_mask": np.array([0, 1, 1])}, "node 2 is in more than one part of split 0"),
    ],
)
def test_bad_masks(tmp_path, change, message):
    masks = {"train_mask": TRAIN[0], "val_mask": VAL[0], "test_mask": TEST[0]} | change
    masks = {name: mask for name, mask in masks.items() if mask is not None}
    np.savez(tmp_path / "m.npz", **RING, **masks)
    with pytest.raises(ValueError, match=message):
        read("npz", tmp_path / "m.npz")


def amazon_mat(path, num: int):
    from scipy.io import savemat
    from scipy.sparse import csc_matrix

    ring = csc_matrix((np.ones(num), (np.arange(num), (np.arange(num) + 1) % num)))
    label = np.zeros((1, num))
    label[0, [0, -1]] = 1
    path.parent.mkdir(exist_ok=True)
    nets = dict.fromkeys(("net_upu", "net_usu", "net_uvu", "homo"), ring)
    savemat(path, nets | {"features": np.ones((num, 1)), "label": label})


@pytest.mark.parametrize(("num", "labelled"), [(AMAZON_USERS, AMAZON_USERS - 3305), (20, 20)])
def test_amazon_mat_leaves_the_first_users_unlabelled(tmp_path, num, labelled):
    amazon_mat(tmp_path / "Amazon" / "Amazon.mat", num)
    converted = read("care_gnn_mat", tmp_path)
    assert converted.graph.num_nodes == {"user": num}
    assert [name for _, name, _ in converted.graph.edge_types] == ["upu", "usu", "uvu"]
    labels = labels_of(converted, "user")
    assert (len(labels), min(labels), labels[num - 1]) == (labelled, num - labelled, 1)
    assert converted.about["labels"]["kind"] == "proxy"
    assert ("first 3,305 users have no label" in str(converted.about)) == (labelled < num)


TOLOKERS = {
    "node_features": np.arange(8, dtype=np.float32).reshape(4, 2),
    "node_labels": np.array([0, 1, 0, 1]),
    "edges": np.array([[0, 1], [1, 2], [2, 1], [3, 0]]),
    "train_masks": np.arange(4) == np.array([[0], [3]]),
    "val_masks": np.arange(4) == np.array([[1], [2]]),
    "test_masks": np.arange(4) == np.array([[2], [1]]),
}


def test_heterophilous_npz(tmp_path):
    np.savez(tmp_path / "tolokers.npz", **TOLOKERS)
    converted = read("heterophilous_npz", tmp_path / "tolokers.npz")
    assert pairs(converted, "edge") == [(0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (3, 0)]
    assert converted.about["rows"]["unused"] == {"repeats another edge": 2}
    assert labels_of(converted, "node") == {0: 0, 1: 1, 2: 0, 3: 1}
    assert own(converted, "node", "x_0", "x_1").tolist() == TOLOKERS["node_features"].tolist()
    assert converted.masks["node"].tolist() == [[1, 0], [2, 3], [3, 2], [0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.array([[0, 4]])}, r"t.npz: array 'edges': src has ids outside \[0, 4\)"),
        ({"edges": np.array([0, 1])}, r"t.npz: array 'edges' must be 2-D numbers, got \(2,\)"),
        ({"edges": np.ones((2, 3), int)}, r"array 'edges' must have 2 columns, got \(2, 3\)"),
        ({"edges": np.ones((2, 2))}, r"array 'edges' must be integers, got float64"),
        ({"node_labels": np.array([0, 1])}, "there are 4 nodes, 4 rows of features and 2 labels"),
        ({"node_labels": np.array([0, 1, 2, 1])}, "array 'y' is 2 at node 2"),
        ({"val_masks": np.ones((2, 5))}, r"t.npz: array 'val_masks' must be \(4,\) or"),
    ],
)
def test_bad_heterophilous_npz(tmp_path, change, message):
    np.savez(tmp_path / "t.npz", **TOLOKERS | change)
    with pytest.raises(ValueError, match=message):
        read("heterophilous_npz", tmp_path / "t.npz")


def save_pyg(path, **tensors):
    torch.save(Data(**{name: torch.tensor(value) for name, value in tensors.items()}), path)
    return path


PYG = {"x": [[1.0], [2.0], [3.0]], "edge_index": [[0, 1, 0, 2], [1, 2, 1, 2]]}


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        ([0, 1, 0], None),
        ([False, True, False], None),
        ([0.0, 1.0, 0.0], None),
        ([0, 3, 0], "1 contextual, 1 structural"),
    ],
)
def test_pygod_pt(tmp_path, y, labels):
    path = save_pyg(tmp_path / "inj.pt", **PYG, y=y)
    converted = read("pygod_pt", path)
    assert pairs(converted, "edge") == [(0, 1), (1, 2), (2, 2)]
    assert converted.about["rows"]["unused"] == {"repeats another edge": 1}
    assert labels_of(converted, "node") == {0: 0, 1: 1, 2: 0}
    found = converted.about.get("labels")
    assert found == (labels and {"meaning": f"planted: {labels}", "kind": "injected"})


def test_pygod_pt_leaves_alone_what_others_have_allowed(tmp_path):
    path = save_pyg(tmp_path / "a.pt", **PYG, y=[0, 1, 0])
    before = set(torch.serialization.get_safe_globals())
    read("pygod_pt", path)
    assert set(torch.serialization.get_safe_globals()) == before
    assert Data in before  # as PyTorch Geometric itself, once imported, has it


def test_pygod_pt_needs_no_torch_geometric(tmp_path, monkeypatch):
    path = save_pyg(tmp_path / "a.pt", **PYG, y=[0, 1, 0])
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_geometric"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert read("pygod_pt", path).graph.total == 3


class Hostile:
    """Pickled, it runs a command when it is read."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_hostile_pt_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"x": Hostile(f"touch {marker}")}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad.pt: not a PyTorch Geometric graph .*system") as info:
        read("pygod_pt", tmp_path / "bad.pt")
    assert "weights_only" not in str(info.value)  # no hint at how to have it run
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1, 4]}, "b.pt: array 'y' is 4 at node 2; labels are 0"),
        ({"x": [1.0, 2.0, 3.0]}, r"b.pt: array 'x' must be 2-D numbers, got \(3,\)"),
        ({"edge_index": [[0, 1]]}, r"b.pt: array 'edge_index' must have 2 rows, got \(1, 2\)"),
        ({"edge_index": [[0], [3]]}, r"b.pt: array 'edge_index': dst has ids outside \[0, 3\)"),
    ],
)
def test_bad_pt(tmp_path, change, message):
    path = save_pyg(tmp_path / "b.pt", **PYG | {"y": [0, 1, 0]} | change)
    with pytest.raises(ValueError, match=message):
        read("pygod_pt", path)


def test_cut_pt(tmp_path):
    path = save_pyg(tmp_path / "cut.pt", **PYG, y=[0, 1, 0])
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="cut.pt: not a PyTorch Geometric graph that can be read"):
        read("pygod_pt", path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="list.pt: holds a list, not a graph"):
        read("pygod_pt", tmp_path / "list.pt")


def dgl_array(array) -> bytes:
    array = np.asarray(array)
    code = {"i": 0, "u": 1, "f": 2}[array.dtype.kind]
    head = struct.pack("<QQiii", 0xDD5E40F096B4A13F, 0, 1, 0, array.ndim)
    kind = struct.pack("<BBH", code, 8 * array.itemsize, 1)
    shape = struct.pack(f"<{array.ndim}q", *array.shape)
    return head + kind + shape + struct.pack("<q", array.nbytes) + array.tobytes()


def dgl_csr(num_dst: int, indptr, indices) -> bytes:
    head = struct.pack("<Qqq", 0xDD6CD31205DFF127, num_dst, len(indptr) - 1)
    arrays = (np.array(indptr), np.array(indices), np.arange(len(indices)))
    return head + b"".join(map(dgl_array, arrays)) + b"\0"


def dgl_relation(num: int, src, dst) -> bytes:
    """Write a relation as pairs, the way DGL writes it."""
    meta = struct.pack("<Q", 0xDD3C5FFE20046ABF) + dgl_csr(1, [0, 1], [0])
    coo = struct.pack("<Qqq", 0xDD61FFD305DFF127, num, num)
    coo += b"".join(map(dgl_array, (np.array(src), np.array(dst), np.array([], int)))) + b"\0\0"
    return struct.pack("<Qqq", 0xDD2E60F0F6B4A127, 1 << 32 | 1, 1 << 32 | 7) + meta + coo


def dgl_text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def dgl_file(num: int, relations: dict, arrays: dict) -> bytes:
    """Write one type of node, `c`, as dgl.save_graphs does."""
    count = struct.Struct("<Q").pack
    out = (
        struct.pack("<4Q", 0xDD2E4FF046B4A13F, 2, 2, 1).ljust(4096, b"\0") + count(4112) + count(0)
    )
    out += count(0xDD589FBE35224ABF) + count(0xDD3C5FFE20046ABF)
    out += dgl_csr(1, [0, len(relations)], [0] * len(relations))
    out += count(len(relations)) + b"".join(dgl_relation(num, *e) for e in relations.values())
    out += count(1) + struct.pack("<q", num)
    tensors = b"".join(dgl_text(name) + dgl_array(array) for name, array in arrays.items())
    out += count(1) + count(len(arrays)) + tensors
    out += count(len(relations)) + count(0) * len(relations)
    return (
        out + count(1) + dgl_text("c") + count(len(relations)) + b"".join(map(dgl_text, relations))
    )


COMP = {
    "homo": ([0, 1, 2, 3], [1, 2, 2, 3]),
    "invest": ([0, 1, 0, 1, 2, 3], [0, 1, 1, 2, 2, 3]),  # with the loops of DGL
    "sale": ([3, 3, 2], [0, 0, 2]),
}
COMP_ARRAYS = {
    "feature": np.arange(8.0).reshape(4, 2),
    "label": np.array([0, 1, 0, 1]),
    "train_mask": np.array([1, 0, 1, 0], np.uint8),
    "valid_mask": np.array([0, 1, 0, 0], np.uint8),
    "test_mask": np.array([0, 0, 0, 1], np.uint8),
}


def test_fdcompcn(tmp_path):
    (tmp_path / "comp.dgl").write_bytes(dgl_file(4, COMP, COMP_ARRAYS))
    converted = read("fdcompcn", tmp_path)
    assert pairs(converted, "invest") == [(0, 1), (1, 2)]
    assert pairs(converted, "sale") == [(3, 0)]
    assert len(converted.graph.edges) == 2  # not the union
    assert converted.about["rows"] == {
        "read": 9,
        "used": 3,
        "unused": {"leads from a node to itself": 5, "repeats another edge": 1},
    }
    assert labels_of(converted, "company") == {0: 0, 1: 1, 2: 0, 3: 1}
    assert own(converted, "company", "x_1").ravel().tolist() == [1, 3, 5, 7]
    assert converted.masks["company"].ravel().tolist() == [1, 2, 1, 3]


def test_bad_dgl(tmp_path):
    whole = dgl_file(4, COMP, COMP_ARRAYS)
    path = tmp_path / "comp.dgl"
    for damaged, message in [
        (whole[:-5], "comp.dgl: byte .*: the file ends inside of .*cut off"),
        (b"PK\3\4" + bytes(5000), "comp.dgl: byte 0: expected a file of DGL, found"),
        (dgl_file(4, COMP, {"label": COMP_ARRAYS["label"]}), "array 'feature' must be 2-D"),
        (dgl_file(2, {"sale": ([0], [2])}, {}), "comp.dgl: array 'feature'"),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            read("fdcompcn", path)


@pytest.mark.parametrize("seed", range(3))
def test_any_damage_to_a_dgl_file_is_a_value_error(tmp_path, seed):
    whole, path = dgl_file(4, COMP, COMP_ARRAYS), tmp_path / "comp.dgl"
    generator = np.random.default_rng(seed)
    for _ in range(100):
        damaged = bytearray(whole)
        for at in generator.integers(4096, len(whole), 3):
            damaged[at] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            pickles.read_dgl(path)
        except ValueError as error:
            assert str(error).startswith(str(path))


def test_reddit(tmp_path):
    from scipy.sparse import coo_matrix, save_npz

    data = {"feature": np.ones((4, 3)), "label": np.array([0, 0, 1, 2])}
    parts = {"node_types": np.array([1, 3, 2, 1]), "node_ids": np.array([7, 8, 9, 6])}
    np.savez(tmp_path / "reddit_data.npz", **data, **parts)
    edges = coo_matrix((np.ones(3), ([0, 1, 2], [1, 2, 3])), shape=(4, 4))
    for matrix in (edges, edges.tocsr()):
        save_npz(tmp_path / "reddit_graph.npz", matrix)
        converted = read("reddit", tmp_path)
        assert pairs(converted, "shares_commenter") == [(0, 1), (1, 2), (2, 3)]
        assert labels_of(converted, "post") == {0: 0, 1: 0, 2: 1, 3: 0}
        assert converted.ids["post"].tolist() == ["7", "8", "9", "6"]
        assert converted.masks["post"].ravel().tolist() == [1, 3, 2, 1]
    np.savez(tmp_path / "reddit_data.npz", **data)
    converted = read("reddit", tmp_path, positive=2)
    assert labels_of(converted, "post") == {0: 0, 1: 0, 2: 0, 3: 1}
    assert converted.masks is None and not converted.ids
    np.savez(tmp_path / "reddit_graph.npz", row=np.array([0]), col=np.array([4]))
    with pytest.raises(ValueError, match=r"reddit_graph.npz: array 'row, col': dst has ids outsid"):
        read("reddit", tmp_path)


class Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 did: as str, without saying that they are bytes."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, obj):
        self.write(b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def write_planetoid(folder, content: dict, order: str = "4\n3\n6\n"):
    (folder / "ind.tiny.test.index").write_text(order)
    for part, value in content.items():
        with open(folder / f"ind.tiny.{part}", "wb") as file:
            Python2Pickler(file, protocol=2).dump(value)
        path = folder / f"ind.tiny.{part}"  # modules were elsewhere then
        written = path.read_bytes().replace(b"scipy.sparse._csr", b"scipy.sparse.csr")
        path.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


def planetoid_parts() -> dict:
    from collections import defaultdict

    from scipy.sparse import csr_matrix

    graph = defaultdict(list, {0: [1, 1, 0], 1: [2], 2: [3, 1], 3: [4], 4: [6], 5: [0], 6: []})
    known, tested = np.eye(3), np.array([[0, 0, 4.0], [0, 3, 0], [5, 0, 0]])
    one_hot = np.eye(2, dtype=np.int32)
    return {
        "x": csr_matrix(known[:1]),
        "tx": csr_matrix(tested),
        "allx": csr_matrix(known),
        "y": one_hot[[0]],
        "ty": one_hot[[0, 1, 0]],
        "ally": one_hot[[0, 0, 1]],
        "graph": graph,
    }


def test_planetoid(tmp_path):
    """Nodes 4, 3 and 6 are tested, in this order; node 5 is in no part."""
    write_planetoid(tmp_path, planetoid_parts())
    converted = read("planetoid", tmp_path)
    assert own(converted, "paper", "x_0", "x_1", "x_2").tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 3, 0],
        [0, 0, 4],
        [0, 0, 0],
        [5, 0, 0],
    ]
    assert labels_of(converted, "paper") == {0: 0, 1: 0, 2: 1, 3: 1, 4: 0, 6: 0}
    cites = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 6), (0, 5)]
    assert pairs(converted, "cites") == sorted(cites + [(b, a) for a, b in cites])
    assert converted.about["rows"]["unused"] == {
        "leads from a node to itself": 2,
        "repeats another edge": 4,
    }
    assert "class 1 of 2 (2 of 6 labelled nodes" in converted.about["labels"]["meaning"]


def test_hostile_planetoid_runs_nothing(tmp_path):
    marker = tmp_path / "ran"
    write_planetoid(tmp_path, planetoid_parts() | {"graph": Hostile(f"touch {marker}")})
    with pytest.raises(ValueError, match=r"ind.tiny.graph: .*it names posix.system, and only"):
        read("planetoid", tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "order", "message"),
    [
        ({"tx": [1, 2]}, "4\n3\n6\n", "ind.tiny: tx must be a sparse matrix, got list"),
        ({"ally": [1]}, "4\n3\n6\n", "ind.tiny: ally must be a matrix of numbers, got list"),
        ({"graph": [1]}, "4\n3\n6\n", "ind.tiny: graph must be a dictionary of lists"),
        ({"graph": {0: ["a"]}}, "4\n3\n6\n", "ind.tiny: .*'a'"),
        ({"graph": {0: [9]}}, "4\n3\n6\n", "ind.tiny: array 'graph': src has ids outside"),
        ({}, "4\n3\n", "ind.tiny: test.index has 2 nodes from 3, but tx has 3 rows"),
        ({}, "4\n3\n1\n", "ind.tiny: test.index has 3 nodes from 1, .* allx 3"),
        ({}, "4\nx\n6\n", "ind.tiny.test.index: .*'x'"),
    ],
)
def test_bad_planetoid(tmp_path, change, order, message):
    write_planetoid(tmp_path, planetoid_parts() | change, order)
    with pytest.raises(ValueError, match=message):
        read("planetoid", tmp_path)


def test_cut_planetoid(tmp_path):
    write_planetoid(tmp_path, planetoid_parts())
    path = tmp_path / "ind.tiny.allx"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="ind.tiny.allx: not a pickle that can be read safely"):
        read("planetoid", tmp_path)


# Tables

CARDS = ("Time,Source,Target,Amount,Location,Type,Labels", "0,S10,T1,3.0,L1,TP1,0")
CARDS += ("1,S10,T1,0.0,L2,TP1,1", "1,S20,T2,8.0,L1,TP1,2")


def test_s_ffsd(tmp_path):
    write_table(tmp_path / "S-FFSD" / "S-FFSD.csv", *CARDS)
    converted = read("s_ffsd", tmp_path)
    assert labels_of(converted, "transaction") == {0: 0, 1: 1}
    assert converted.ids["source"].tolist() == ["S10", "S20"]
    assert converted.about["time"] == {"column": "Time", "first": "step 0", "last": "step 1"}
    assert own(converted, "source", "max_log_amount").ravel() == pytest.approx(np.log1p([3, 8]))
    first = own(converted, "transaction", "is_first_of_location").ravel()
    assert first.tolist() == [1, 1, 0]
    assert converted.time["transaction"].tolist() == [0, 1, 1]


def write_elliptic(folder, **changes):
    features = [
        f"{tx},{step}," + ",".join([str(tx)] * 165) for tx, step in ((9, 1), (5, 1), (7, 2))
    ]
    tables = {
        "features": features,
        "classes": ["txId,class", "5,1", "7,2", "9,unknown"],
        "edgelist": ["txId1,txId2", "9,5", "5,7"],
    }
    for part, lines in (tables | changes).items():
        write_table(folder / "elliptic" / f"elliptic_txs_{part}.csv", *lines)


def test_elliptic(tmp_path):
    write_elliptic(tmp_path)
    converted = read("elliptic", tmp_path)
    assert pairs(converted, "pays") == [(0, 1), (1, 2)]
    assert labels_of(converted, "transaction") == {1: 1, 2: 0}
    assert converted.ids["transaction"].tolist() == ["9", "5", "7"]
    assert converted.graph.x["transaction"].shape == (3, 165 + 10)
    assert own(converted, "transaction", "aggregate_72").ravel().tolist() == [9, 5, 7]
    assert converted.about["time"] == {"column": "time step", "first": "step 1", "last": "step 2"}
    assert converted.time["transaction"].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edgelist": ["txId1,txId2", "9,5", "5,8"]}, "edgelist.csv: line 3: txId2 8 is no node"),
        ({"classes": ["txId,class", "5,3"]}, "classes.csv: line 2: class is '3', not one of unkn"),
        ({"classes": ["txId,kind", "5,3"]}, "classes.csv: there is no column 'class'; found"),
        ({"features": ["9,1,2"]}, "features.csv: .*Line: 1"),
        ({"features": ["9,1" + ",0" * 165] * 2}, "features.csv: 9 comes more than once"),
    ],
)
def test_bad_elliptic(tmp_path, change, message):
    write_elliptic(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        read("elliptic", tmp_path)


AMLSIM = (
    ("ACCOUNT_ID,CUSTOMER_ID,INIT_BALANCE,COUNTRY,ACCOUNT_TYPE,IS_FRAUD,TX_BEHAVIOR_ID",)
    + ("3,C_3,184.44,US,I,false,1", "4,C_4,10.0,US,I,true,1", "5,C_5,0,US,I,false,1"),
    ("TX_ID,SENDER_ACCOUNT_ID,RECEIVER_ACCOUNT_ID,TX_TYPE,TX_AMOUNT,TIMESTAMP,IS_FRAUD,ALERT_ID",)
    + ("1,3,4,TRANSFER,465.05,0,False,-1", "2,3,4,TRANSFER,1,7,False,-1")
    + ("3,5,3,TRANSFER,2,199,True,1",),
)
AMLSIM_LATER = (
    ("acct_id,dsply_nm,type,prior_sar_count,initial_deposit,bank_id",)
    + ("3,n3,SAV,false,184.44,b", "4,n4,SAV,true,10,b", "5,n5,SAV,false,0,b"),
    ("tran_id,orig_acct,bene_acct,tx_type,base_amt,tran_timestamp,is_sar,alert_id",)
    + ("1,3,4,X,465.05,2017-01-01T00:00:00Z,False,-1", "2,3,4,X,1,2017-01-08T00:00:00Z,False,-1")
    + ("3,5,3,X,2,2017-07-19T00:00:00Z,True,1",),
)


@pytest.mark.parametrize(
    ("accounts", "transfers", "last"),
    [(*AMLSIM, "step 199"), (*AMLSIM_LATER, "2017-07-19T00:00:00Z")],
)
def test_amlsim(tmp_path, accounts, transfers, last):
    write_table(tmp_path / "20K" / "accounts.csv", *accounts)
    write_table(tmp_path / "20K" / "transactions.csv", *transfers)
    converted = read("amlsim", tmp_path)
    assert pairs(converted, "pays") == [(0, 1), (0, 1), (2, 0)]
    assert labels_of(converted, "account") == {0: 0, 1: 1, 2: 0}
    assert converted.ids["account"].tolist() == ["3", "4", "5"]
    sent = own(converted, "account", "log_balance", "mean_log_amount_sent", "max_log_amount_sent")
    expected = [np.log1p(184.44), np.log1p([465.05, 1]).mean(), np.log1p(465.05)]
    assert sent[0] == pytest.approx(expected, rel=1e-6)
    assert own(converted, "account", "sd_log_amount_received")[2] == 0
    assert converted.about["time"]["last"] == last


def test_bad_amlsim(tmp_path):
    accounts = write_table(tmp_path / "accounts.csv", *AMLSIM[0])
    with pytest.raises(FileNotFoundError, match="holds no transactions.csv"):
        read("amlsim", accounts)
    transfers = write_table(tmp_path / "transactions.csv", *AMLSIM[1], "4,6,3,T,2,3,True,1")
    with pytest.raises(ValueError, match=r"transactions.csv: line 5: SENDER_ACCOUNT_ID 6 is no no"):
        read("amlsim", tmp_path)
    write_table(transfers, *AMLSIM[1], "4,5,3,T,much,3,True,1")
    with pytest.raises(ValueError, match="transactions.csv: .*Line: 5"):
        read("amlsim", tmp_path)
    write_table(accounts, "id,balance", "3,1")
    with pytest.raises(ValueError, match="accounts.csv: the columns are balance, id; expected ACC"):
        read("amlsim", tmp_path)


AML_HEADER = "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,"
AML_HEADER += "Amount Paid,Payment Currency,Payment Format,Is Laundering"
AML_ROWS = (
    "2022/09/01 00:20,10,8000E,10,8000E,3.0,US Dollar,3.0,US Dollar,Reinvestment,0",
    "2022/09/01 00:22,10,8000E,12,8000F,7.0,Euro,8.0,US Dollar,Wire,1",
    "2022/09/02 00:20,12,8000F,10,8000E,1.0,US Dollar,1.0,Euro,Wire,0",
)


def test_amlworld(tmp_path):
    write_table(tmp_path / "HI-Small_Trans.csv", AML_HEADER, *AML_ROWS)
    converted = read("amlworld", tmp_path / "HI-Small_Trans.csv")
    assert converted.graph.num_nodes == {
        "transaction": 3,
        "account": 2,
        "currency": 2,
        "payment_format": 2,
    }
    assert converted.ids["account"].tolist() == ["10:8000E", "12:8000F"]
    assert pairs(converted, "sender_of") == [(0, 0), (0, 1), (1, 2)]
    assert pairs(converted, "receiver_of") == [(0, 0), (0, 2), (1, 1)]
    assert labels_of(converted, "transaction") == {0: 0, 1: 1, 2: 0}
    since = own(converted, "transaction", "log_seconds_since_sender_before").ravel()
    assert since == pytest.approx([0, np.log1p(120), 0])
    assert own(converted, "account", "receiver_max_log_paid").ravel() == pytest.approx(
        np.log1p([3, 8])
    )
    assert converted.about["time"] == {
        "column": "Timestamp",
        "first": "2022-09-01T00:20:00Z",
        "last": "2022-09-02T00:20:00Z",
    }
    assert (converted.time["transaction"] - 1661991600).tolist() == [0, 120, 86400]


@pytest.mark.parametrize("second", ["Account.1", "Account_1", "Account_duplicated_0"])
def test_amlworld_saved_again(tmp_path, second):
    """pandas, DuckDB and polars rename the second of two columns `Account` in their own way."""
    write_table(tmp_path / "a" / "HI-Small_Trans.csv", AML_HEADER, *AML_ROWS)
    before, _, after = AML_HEADER.rpartition("Account")
    write_table(tmp_path / "b" / "HI-Small_Trans.csv", before + second + after, *AML_ROWS)
    first, again = (read("amlworld", tmp_path / folder) for folder in "ab")
    assert again.graph.fingerprint == first.graph.fingerprint
    assert again.ids["account"].tolist() == first.ids["account"].tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2022/09/02", "2022/19/02", "Trans.csv: line 4: Timestamp is '2022/19/02 00:20', which"),
        ("Wire,1", "Wire,7", "Trans.csv: array 'y' is 7 at node 1"),
        (",1.0,Euro", ",,Euro", "Trans.csv: line 4 has no value for 'Amount Paid'"),
        ("Payment Format", "Format", "Trans.csv: there is no column 'Payment Format'"),
    ],
)
def test_bad_amlworld(tmp_path, old, new, message):
    lines = (line.replace(old, new) for line in (AML_HEADER, *AML_ROWS))
    write_table(tmp_path / "X_Trans.csv", *lines)
    with pytest.raises(ValueError, match=message):
        read("amlworld", tmp_path)


def test_bitcoin_without_labels(tmp_path):
    lines = ("6,2,4,1289241911.72836", "6,5,-2,1289241941.5", "1,6,10,1289243140.4", "1,2,0,1e9")
    write_table(tmp_path / "soc-sign-bitcoinotc.csv.gz", *lines)
    converted = read("bitcoin", tmp_path / "soc-sign-bitcoinotc.csv.gz")
    assert converted.ids["user"].tolist() == ["1", "2", "5", "6"]
    assert pairs(converted, "trusts") == [(0, 3), (3, 1)]
    assert pairs(converted, "distrusts") == [(3, 2)]
    assert converted.graph.labels is None
    assert "labels" not in converted.about
    assert own(converted, "user", "mean_rating_received").ravel().tolist() == [0, 2, -2, 10]
    assert converted.about["rows"]["unused"] == {"the rating is 0": 1}
    assert converted.about["time"]["last"] == "2010-11-08T19:05:40Z"


def test_bitcoin_of_rev2(tmp_path):
    write_table(tmp_path / "otc" / "otc_network.csv", "1,2,0.5,1407470400", "2,3,-1,1376539200")
    truth = write_table(tmp_path / "otc" / "otc_gt.csv", "2,1", "3,-1", "99,1")
    assert labels_of(read("bitcoin", tmp_path), "user") == {1: 0, 2: 1}
    write_table(truth, "2,1", "3,0")
    with pytest.raises(ValueError, match=r"otc_gt.csv: line 2: the label is 0; expected -1"):
        read("bitcoin", tmp_path)
    write_table(tmp_path / "otc" / "otc_network.csv", "1,2,0.5,1407470400", "2,3,-1,when")
    with pytest.raises(ValueError, match=r"otc_network.csv: .*Line: 2.*\"TIME\""):
        read("bitcoin", tmp_path)


TAB_HEADER = "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,"
TAB_HEADER += "Merchant State,Zip,MCC,Errors?,Is Fraud?"
TAB_ROWS = (
    "0,0,2002,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No",
    "0,0,2002,9,1,06:42,$-38.48,Swipe Transaction,-727612092139916043,Monterey,CA,91754.0,5411,"
    '"Bad PIN,Insufficient Balance",Yes',
    "1,0,2002,9,2,06:22,$120.34,Online Transaction,-727612092139916043,ONLINE,,,5411,,No",
)


def test_tabformer(tmp_path):
    write_table(tmp_path / "card_transaction.v1.csv", TAB_HEADER, *TAB_ROWS)
    converted = read("tabformer", tmp_path)
    assert converted.ids["card"].tolist() == ["0:0", "1:0"]
    assert converted.ids["error"].tolist() == ["Bad PIN,Insufficient Balance"]
    assert pairs(converted, "error_of") == [(0, 1)]
    assert pairs(converted, "merchant_of") == [(0, 1), (0, 2), (1, 0)]
    assert labels_of(converted, "transaction") == {0: 0, 1: 1, 2: 0}
    amount = own(converted, "transaction", "log_amount").ravel()
    assert amount == pytest.approx([np.log1p(134.09), -np.log1p(38.48), np.log1p(120.34)])
    since = own(converted, "transaction", "log_seconds_since_card_before").ravel()
    assert since == pytest.approx([0, np.log1p(21 * 60), 0])
    assert converted.about["time"]["first"] == "2002-09-01T06:21:00Z"
    assert np.diff(converted.time["transaction"]).tolist() == [21 * 60, 86400 - 20 * 60]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("$-38.48", "38,48", "v1.csv: .*Line: 3"),
        ("$-38.48", "much", "v1.csv: line 3: Amount is 'much', which cannot be read"),
        ("9,2,06", "2,30,06", "v1.csv: line 4: 2002-2-30 is no date"),
        ("06:42", "26:42", "v1.csv: line 3: Time is '26:42', which cannot be read"),
        ("Yes", "Maybe", "v1.csv: line 3: Is Fraud.? is 'Maybe', not one of Yes, No"),
    ],
)
def test_bad_tabformer(tmp_path, old, new, message):
    lines = (line.replace(old, new) for line in (TAB_HEADER, *TAB_ROWS))
    write_table(tmp_path / "card_transaction.v1.csv", *lines)
    with pytest.raises(ValueError, match=message):
        read("tabformer", tmp_path)


def write_mag(folder):
    raw, relations = folder / "mag" / "raw", folder / "mag" / "raw" / "relations"
    write_table(raw / "num-node-dict.csv.gz", "author,field_of_study,institution,paper", "2,1,1,3")
    for name, lines in {
        "author___writes___paper": ("0,0", "1,2"),
        "author___affiliated_with___institution": ("0,0", "1,0"),
        "paper___cites___paper": ("0,1", "0,1"),
        "paper___has_topic___field_of_study": ("2,0",),
    }.items():
        write_table(relations / name / "edge.csv.gz", *lines)
        write_table(relations / name / "num-edge-list.csv.gz", str(len(lines)))
    write_table(raw / "node-feat" / "paper" / "node-feat.csv.gz", "0.5,-1", "1e-3,2", "0,0")
    write_table(raw / "node-label" / "paper" / "node-label.csv.gz", "0", "3", "0")
    names = ("ent idx,ent name", "1,P2", "0,P1", "2,P3")
    write_table(folder / "mag" / "mapping" / "paper_entidx2name.csv.gz", *names)
    return raw


def test_ogbn_mag(tmp_path):
    write_mag(tmp_path)
    converted = read("ogbn_mag", tmp_path)
    assert pairs(converted, "writes") == [(0, 0), (1, 2)]
    assert pairs(converted, "cites") == [(0, 1), (0, 1)]
    assert converted.graph.edges["paper", "has_topic", "field_of_study"].num_edges == 1
    assert labels_of(converted, "paper") == {0: 0, 1: 1, 2: 0}
    assert converted.ids["paper"].tolist() == ["P1", "P2", "P3"]
    assert own(converted, "paper", "x_1").ravel().tolist() == [-1, 2, 0]
    assert labels_of(read("ogbn_mag", tmp_path, positive="0"), "paper") == {0: 1, 1: 0, 2: 1}


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        ("relations/author___writes___paper/edge.csv.gz", ("0,9",), "writes.*edge.csv.gz: dst has"),
        ("relations/a___of___b/edge.csv.gz", ("0,0",), "a___of___b.*: there are no '[ab]' nodes"),
        (
            "node-label/paper/node-label.csv.gz",
            ("0", "1"),
            "label.csv.gz: there are 3 papers, but 3",
        ),
        ("node-feat/paper/node-feat.csv.gz", ("1,x",), "node-feat.csv.gz: .*Line: 1"),
        ("../mapping/paper_entidx2name.csv.gz", ("ent idx,ent name", "0,P"), "does not name the 3"),
    ],
)
def test_bad_ogbn_mag(tmp_path, file, lines, message):
    write_table(write_mag(tmp_path) / file, *lines)
    with pytest.raises(ValueError, match=message):
        read("ogbn_mag", tmp_path)


def write_rcdd(folder, **changes):
    nodes = [(0, "f"), (3, "item"), (1, "item"), (2, "b"), (4, "item")]
    features = ":".join(f"{k / 8}" for k in range(1, 256))
    content = {
        "nodes": [f"{node},{kind},{node}:{features}" for node, kind in nodes],
        "edges": [
            "0,1,f,item,B",
            "0,3,f,item,B",
            "1,0,item,f,B_1",
            "3,0,item,f,B_1",
            "3,2,item,b,A",
            "2,4,b,item,A_1",
        ],
        "train_labels": ["3,1"],
        "test_labels": ["4\t0"],
    }
    for part, lines in (content | changes).items():
        write_table(folder / "AliRCD_ICDM" / f"AliRCD_ICDM_{part}.csv", *lines)


def test_rcdd(tmp_path):
    write_rcdd(tmp_path)
    converted = read("rcdd", tmp_path)
    assert converted.graph.num_nodes == {"item": 3, "b": 1, "f": 1}
    assert converted.ids["item"].tolist() == ["3", "1", "4"]
    assert pairs(converted, "B") == [(0, 0), (0, 1)]
    assert pairs(converted, "A") == [(0, 0)]
    assert pairs(converted, "A_1") == [(0, 2)]  # not the reverse of A
    assert converted.about["rows"]["unused"] == {"is the reverse of another edge": 2}
    assert labels_of(converted, "item") == {0: 1, 2: 0}
    assert own(converted, "item", "x_0", "x_255").tolist() == [[n, 255 / 8] for n in (3, 1, 4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": ["0,9,f,item,B"]}, "edges.csv: line 1: 9 is no node"),
        ({"edges": ["0,2,f,item,B"]}, "edges.csv: line 1: dst_type is not the type of that node"),
        ({"edges": ["0,1,f,item,Q"]}, "edges.csv: .*Line: 1"),
        ({"train_labels": ["2,1"]}, "train_labels.csv: line 1: 2 is no item"),
        ({"nodes": ["0,item,1:2"]}, "nodes.csv: .*Line: 1"),
        ({"nodes": ["0,g,1" + ":1" * 255]}, "nodes.csv: line 1: the node type is 'g', not one"),
        ({"nodes": ["0;item,1" + ":1" * 255]}, "nodes.csv: line 1 is not id,type,features"),
        ({"nodes": ["0,b,1" + ":1" * 255] * 2}, "nodes.csv: line 1: id 0 comes again later"),
    ],
)
def test_bad_rcdd(tmp_path, change, message):
    write_rcdd(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        read("rcdd", tmp_path)


def test_every_reader_names_a_missing_file(tmp_path):
    for reader in readers.READERS.values():
        with pytest.raises(FileNotFoundError, match="holds no "):
            reader(tmp_path)
