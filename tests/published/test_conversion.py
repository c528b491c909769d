"""Files of published data sets, converted: YelpChi, S-FFSD, .mat and the import layout."""

import json

import numpy as np
import pytest
import torch

from gadkit import datasets, store
from gadkit.graph import HeteroGraph
from gadkit.published import library, matlab
from gadkit.store import node_ids


def csr_arrays(name: str, rows: list[list[int]], num_columns: int | None = None) -> dict:
    """Lay out a relation, given as the columns of each row, the way published files do."""
    arrays = {
        f"{name}_row_ptr": np.cumsum([0, *map(len, rows)]),
        f"{name}_col_idx": np.array(sum(rows, []), np.int32),
    }
    if num_columns is not None:
        arrays[f"{name}_shape"] = np.array([len(rows), num_columns])
    return arrays


# Five reviews: 0, 1 and 2 are of one user (0-2 only through 1), 3 and 4 of another each;
# 0 and 3 are of one product (same month), 1, 2 and 4 of another (2-4 same stars, 1-4 same month).
RUR = [[1], [0, 2], [1], [], []]
RTR = [[3], [4], [], [0], [1]]
RSR = [[], [], [4], [], [2]]
SPAM = np.array([1, 0, 0, 1, 0])
USER, PRODUCT = [0, 0, 0, 1, 2], [0, 1, 1, 0, 1]


def yelp_mat(path, **changes):
    """Write the authors' layout: scipy matrices, dense label (1, n), sparse features."""
    from scipy.io import savemat
    from scipy.sparse import csc_matrix

    content = {}
    for name, rows in {"rur": RUR, "rtr": RTR, "rsr": RSR}.items():
        dense = np.zeros((5, 5))
        for row, columns in enumerate(rows):
            dense[row, columns] = 1
        content[f"net_{name}"] = csc_matrix(dense)
    content["homo"] = sum(content.values())
    content["features"] = csc_matrix(np.arange(10.0).reshape(5, 2))
    content["label"] = SPAM[None]
    savemat(path, {key: value for key, value in (content | changes).items() if value is not None})
    return path


def assert_is_yelp(graph: HeteroGraph, own_features: int, *, grouped: bool = True):
    groups = {"product_month": 3, "product_stars": 4} if grouped else {}
    assert graph.num_nodes == {"user": 3, "review": 5, "product": 2} | groups
    if grouped:
        posted = graph.edges["review", "posted_in", "product_month"].transpose()
        assert posted.indices.tolist() == [0, 1, 2, 0, 1]
        gives = graph.edges["review", "gives", "product_stars"].transpose()
        assert gives.indices.tolist() == [0, 1, 2, 3, 2]
    writes = graph.edges["user", "writes", "review"]
    assert (writes.degrees() == 1).all()
    assert writes.indices.tolist() == USER
    rates = graph.edges["review", "rates", "product"]
    assert rates.transpose().indices.tolist() == PRODUCT
    assert graph.labels.tolist() == [[3, 1], [4, 0], [5, 0], [6, 1], [7, 0]]
    assert graph.x["review"].shape == (5, own_features + (20 if grouped else 10))
    assert graph.x["user"].shape == (3, 5)


def test_yelpchi_mat(tmp_path):
    graph = library.convert(yelp_mat(tmp_path / "YelpChi.mat"))
    assert_is_yelp(graph, own_features=2)
    assert graph.x["review"][:, :2].tolist() == np.arange(10.0).reshape(5, 2).tolist()


def test_yelpchi_npz(tmp_path):
    arrays = csr_arrays("rur", RUR) | csr_arrays("rtr", RTR) | csr_arrays("rsr", RSR)
    np.savez(tmp_path / "relations.npz", **arrays, y=SPAM.astype(np.int8))
    assert_is_yelp(library.convert(tmp_path / "relations.npz"), own_features=0)
    ids = {"user_id": np.array([4, 4, 4, 7, 9]), "product_component": np.array([2, 5, 5, 2, 5])}
    np.savez(tmp_path / "ids.npz", **ids, y=SPAM)
    assert_is_yelp(library.convert(tmp_path / "ids.npz"), own_features=0, grouped=False)


def test_other_mat_is_read_as_plain_relations(tmp_path):
    nets = {"net_rur": None, "net_rtr": None}
    graph = library.convert(yelp_mat(tmp_path / "Amazon.mat", **nets))
    assert graph.edge_types == [("node", "rsr", "node")]
    assert graph.x["node"].shape == (5, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"net_rur": None, "net_rtr": None, "net_rsr": None},
            r"bad.mat: no sparse matrix named net_<relation>; found \['features', 'homo', 'lab",
        ),
        ({"label": np.array([[1, 0, 0, 1]])}, r"bad.mat: array 'y' must be \(5,\), .* got \(4,\)"),
        ({"label": np.array([[1, 0, 3, 1, 0]])}, r"array 'y' is 3 at node 2; labels are -1"),
        ({"features": np.ones((4, 2))}, r"array 'x' must be \(5, dim\) numbers, got \(4, 2\)"),
    ],
)
def test_bad_mat(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        library.convert(yelp_mat(tmp_path / "bad.mat", **changes))


def test_compressed_mat_is_the_same(tmp_path):
    from scipy.io import loadmat, savemat

    path = yelp_mat(tmp_path / "YelpChi.mat")
    content = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    savemat(tmp_path / "packed.mat", content | {"note": "text"}, do_compression=True)
    assert_is_yelp(library.convert(tmp_path / "packed.mat"), own_features=2)


def test_mat_whose_sparse_matrix_points_outside(tmp_path):
    path = yelp_mat(tmp_path / "bad.mat")
    rows = np.array([1, 0, 2, 1], "<i4").tobytes()  # of net_rur, by columns
    assert path.read_bytes().count(rows) == 1
    path.write_bytes(path.read_bytes().replace(rows, np.array([1, 0, 9, 1], "<i4").tobytes()))
    with pytest.raises(ValueError, match=r"bad.mat: .*'net_rur': a row index is missing, or outsi"):
        library.convert(path)


@pytest.mark.parametrize("seed", range(3))
def test_any_damage_to_a_mat_file_is_a_value_error(tmp_path, seed):
    path = yelp_mat(tmp_path / "YelpChi.mat")
    whole, generator = path.read_bytes(), np.random.default_rng(seed)
    for _ in range(100):
        damaged = bytearray(whole)
        for at in generator.integers(128, len(whole), 3):
            damaged[at] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            matlab.read_mat(path)
        except ValueError as error:
            assert str(error).startswith(str(path))


def test_mat_that_is_none(tmp_path):
    path = yelp_mat(tmp_path / "YelpChi.mat")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="YelpChi.mat: not a readable MATLAB 5 file, or cut off"):
        library.convert(path)


CARDS = """\
Time,Source,Target,Amount,Location,Type,Labels
0,S10,T1,3.0,L1,TP1,0
1,S10,T1,0.0,L2,TP1,1
1,S20,T2,8.0,L1,TP1,2
9,S10,T1,7.0,L1,TP2,0
"""


def test_s_ffsd_csv_by_hand(tmp_path):
    (tmp_path / "S-FFSD.csv").write_text(CARDS)
    graph = library.convert(tmp_path / "S-FFSD.csv")
    assert graph.num_nodes == {"transaction": 4, "source": 2, "target": 2, "location": 2, "type": 2}
    assert [name for _, name, _ in graph.edge_types] == ["sends", "receives", "hosts", "classifies"]
    assert graph.edges["source", "sends", "transaction"].indices.tolist() == [0, 0, 1, 0]
    assert graph.edges["type", "classifies", "transaction"].indices.tolist() == [0, 0, 0, 1]
    assert graph.labels.tolist() == [[0, 0], [1, 1], [3, 0]]
    # log1p of amount; then per entity log1p of the time since its previous transaction, is-first
    log = np.log1p
    torch.testing.assert_close(
        graph.x["transaction"][:, :3],
        torch.tensor([[log(3), 0, 1], [0, log(1), 0], [log(8), 0, 1], [log(7), log(8), 0]]).float(),
    )
    amounts = log([3.0, 0.0, 7.0])
    torch.testing.assert_close(
        graph.x["source"][:, :4],
        torch.tensor(
            [[amounts.mean(), amounts.std(), log(7), 0], [log(8), 0, log(8), log(8)]]
        ).float(),
    )
    assert graph.x["source"].shape == (2, 4 + 5)
    assert graph.x["transaction"].shape == (4, 1 + 4 * 2 + 4 * 5)


def test_s_ffsd_npz_gives_the_same_graph(tmp_path):
    (tmp_path / "S-FFSD.csv").write_text(CARDS)
    ids = {
        "source": [0, 0, 1, 0],
        "target": [0, 0, 1, 0],
        "location": [0, 1, 0, 0],
        "type": [0, 0, 0, 1],
    }
    np.savez(
        tmp_path / "cards.npz",
        x=np.array([[0, 3], [1, 0], [1, 8], [9, 7]], np.float32),
        y=np.array([0, 1, -1, 0], np.int8),
        **{name: np.array(values, np.int32) for name, values in ids.items()},
    )
    folders = [
        datasets.prepare(tmp_path / name, root=tmp_path / "data")
        for name in ("S-FFSD.csv", "cards.npz")
    ]
    assert len({(folder / store.GRAPH).read_bytes() for folder in folders}) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Amount", "Sum", r"S.csv: the columns are Time, Source, Target, Sum, .*gadkit ingest"),
        ("1,S20,T2,8.0,L1,TP1,2", "1,S20,T2,8.0", "S.csv: .*Line: 4;.* Columns: 7 Found: 4"),
        ("9,S10", "late,S10", 'S.csv: .*Line: 5;.*column "Time"'),
        ("TP1,2", "TP1,5", "array 'y' is 5.0 at node 2"),
        ("8.0", "nan", r"x\['transaction'\] is nan at row 2, column 0"),
        (CARDS[47:], "", "the transaction nodes have no edges"),
        (CARDS, "", "S.csv: is empty"),
    ],
)
def test_bad_csv(tmp_path, old, new, message):
    (tmp_path / "S.csv").write_text(CARDS.replace(old, new))
    with pytest.raises(ValueError, match=message):
        library.convert(tmp_path / "S.csv")


def test_plain_homogeneous(tmp_path):
    arrays = csr_arrays("sale", [[1], [], [0]]) | csr_arrays("invest", [[], [], []])
    arrays |= csr_arrays("homo", [[1], [], [0]])
    np.savez(tmp_path / "firms.npz", **arrays, x=np.ones((3, 2)), y=np.array([-1, 1, 0]))
    graph = library.convert(tmp_path / "firms.npz")
    assert graph.edge_types == [("node", "sale", "node")]  # not the empty one, not the union
    sale = graph.edges["node", "sale", "node"]
    assert list(zip(sale.indices.tolist(), sale.dst().tolist(), strict=True)) == [(2, 0), (0, 1)]
    assert graph.labels.tolist() == [[1, 1], [2, 0]]
    assert graph.x["node"].shape == (3, 2 + 2 * 5)  # both directions of sale


def test_plain_bipartite(tmp_path):
    arrays = csr_arrays("user__rates__item", [[1], [0, 1], []], num_columns=2)
    arrays |= csr_arrays("item__shop", [[0], [0]], num_columns=1)
    arrays |= csr_arrays("x_item", [[2], [0]], num_columns=3)
    arrays |= {"x_item_val": np.array([5, 7], np.float32)}
    np.savez(tmp_path / "shop.npz", **arrays, x=np.ones((3, 1), np.int8))
    graph = library.convert(tmp_path / "shop.npz")
    assert graph.num_nodes == {"user": 3, "item": 2, "shop": 1}
    assert graph.edge_types == [("user", "rates", "item"), ("item", "item__shop", "shop")]
    assert graph.x["item"][:, :3].tolist() == [[0, 0, 5], [7, 0, 0]]
    assert graph.x["user"][:, 0].tolist() == [1, 1, 1]
    assert graph.labels is None


@pytest.mark.parametrize("integer", [">i4", ">i8", "<u4", ">u8", "i2", "u1"])
def test_plain_arrays_of_any_byte_order_and_size(tmp_path, integer):
    arrays = csr_arrays("sale", [[1], [2], [0]])
    plain = arrays | {"x": np.arange(6.0).reshape(3, 2), "y": np.array([-1, 1, 0])}
    other = {name: array.astype(integer) for name, array in arrays.items()}
    other |= {"x": plain["x"].astype(">f4"), "y": plain["y"].astype(">i2")}
    graphs = []
    for name, content in (("plain", plain), ("other", other)):
        np.savez(tmp_path / f"{name}.npz", **content)
        graphs.append(library.convert(tmp_path / f"{name}.npz"))
    assert graphs[0].fingerprint == graphs[1].fingerprint


SQUARE = csr_arrays("edge", [[1], [0]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((2, 2))}, r"plain.npz: no array <relation>_row_ptr; found x"),
        (
            {"edge_row_ptr": np.array([0, 1])},
            r"array 'edge_col_idx' must be 1-D integers, got nothing; save it with",
        ),
        (
            SQUARE | {"edge_col_idx": np.array([1.0, 0.0])},
            r"'edge_col_idx' must be 1-D integers, got \(2,\) float64; save it with .astype",
        ),
        (
            SQUARE | {"edge_col_idx": np.array([1, 2**63], np.uint64)},
            "array 'edge_col_idx' cannot be read: 9223372036854775808 does not fit into int64",
        ),
        (csr_arrays("a__b", [[0]]), r"array 'a__b_shape' is missing"),
        (
            csr_arrays("a__b__c__d", [[0]], 1),
            "relation 'a__b__c__d' must be named <relation>, <source>",
        ),
        (SQUARE | {"edge_shape": np.array([3, 2])}, "'edge_shape' says 3 rows, but .* has 2"),
        (
            SQUARE | {"edge_col_idx": np.array([1, 2])},
            r"relation 'edge': indices has 1 entries outside",
        ),
        (
            SQUARE | {"edge_row_ptr": np.array([0, 2, 1])},
            r"relation 'edge': indptr decreases at row 1",
        ),
        (
            SQUARE | csr_arrays("more", [[1]], 2),
            r"relation 'more' has 1 nodes of type 'node', .* 2",
        ),
        (SQUARE | {"x": np.ones((2, 2), complex)}, r"array 'x' must be \(2, dim\) numbers"),
        (SQUARE | {"x": np.array([[0], [np.inf]])}, r"x\['node'\] is inf at row 1, column 0"),
        (SQUARE | {"y": np.array([-1, -1])}, "there are no labels"),
        (csr_arrays("edge", [[], []]), "the node nodes have no edges"),
        (
            {"user_id": np.zeros(2), "product_component": np.zeros(2)},
            "'user_id' must be .* integers",
        ),
    ],
)
def test_bad_plain(tmp_path, arrays, message):
    np.savez(tmp_path / "plain.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        library.convert(tmp_path / "plain.npz")


@pytest.fixture
def plain_file(tmp_path):
    path = tmp_path / "ring.npz"
    np.savez(path, **csr_arrays("edge", [[1], [2], [0]]), y=np.array([0, 1, -1]))
    return path


def test_prepare_converts_once(tmp_path, plain_file, monkeypatch):
    root = tmp_path / "data"
    folder = datasets.prepare(plain_file, root=root)
    assert folder == root / "ring"
    assert json.loads((folder / "source.json").read_text())["file"] == "ring.npz"
    assert store.load_graph(folder).total == 3
    monkeypatch.setattr(library, "_read", None)  # not called again
    assert datasets.prepare(str(plain_file), root=root) == folder
    assert datasets.prepare(folder) == folder
    assert datasets.prepare("ring", root=root) == folder


def test_prepare_converts_a_changed_file_again(tmp_path, plain_file):
    root = tmp_path / "data"
    folder = datasets.prepare(plain_file, root=root)
    (folder / store.GAT_CHECKPOINT).write_text("trained on the old graph")
    np.savez(plain_file, **csr_arrays("edge", [[1], [0]]))
    assert datasets.prepare(plain_file, root=root) == folder
    assert store.load_graph(folder).total == 2
    assert not (folder / store.GAT_CHECKPOINT).exists()
    assert (root / "ring.old1" / store.GAT_CHECKPOINT).exists()
    assert store.load_graph(root / "ring.old1").total == 3


def test_prepare_finishes_an_interrupted_conversion(tmp_path, plain_file, monkeypatch):
    root = tmp_path / "data"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "save_graph", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        datasets.prepare(plain_file, root=root)
    assert store.load_graph(datasets.prepare(plain_file, root=root)).total == 3
    assert [path.name for path in root.iterdir()] == ["ring"]


def test_prepare_keeps_a_folder_that_is_not_its_own(tmp_path, plain_file):
    folder = datasets.prepare(plain_file, root=tmp_path / "data")
    (folder / "source.json").unlink()
    with pytest.raises(ValueError, match="ring exists and was not converted from a file; rename"):
        datasets.prepare(plain_file, root=tmp_path / "data")


def test_prepare_keeps_ids_and_what_is_known(tmp_path):
    (tmp_path / "S-FFSD.csv").write_text(CARDS)
    folder = datasets.prepare(tmp_path / "S-FFSD.csv", root=tmp_path / "data")
    assert node_ids.load(folder, "source", rows=2).tolist() == ["S10", "S20"]
    assert node_ids.load(folder, "transaction", rows=4) is None
    time = store.load_time(folder)
    assert time[:4].tolist() == [0, 1, 1, 9] and time[4:].isnan().all()
    assert store.load_masks(folder) is None
    about = store.read_about(folder)
    assert (about["name"], about["source"]) == ("S-FFSD", "S-FFSD.csv")
    assert about["features"]["transaction"][0] == "log_amount"


def test_prepare_keeps_the_authors_splits(tmp_path):
    masks = {f"{name}_mask": np.arange(5) == k for k, name in enumerate(("train", "val", "test"))}
    arrays = csr_arrays("rur", RUR) | csr_arrays("rtr", RTR) | csr_arrays("rsr", RSR)
    np.savez(tmp_path / "yelp.npz", **arrays, **masks, y=SPAM)
    folder = datasets.prepare(tmp_path / "yelp.npz", root=tmp_path / "data")
    assert store.load_masks(folder).flatten().tolist() == [0] * 3 + [1, 2, 3, 0, 0] + [0] * 9
    assert store.load_time(folder) is None


def test_prepare_converts_again_what_an_older_version_made(tmp_path, plain_file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(library, "FORMAT", library.FORMAT - 1)
        datasets.prepare(plain_file, root=tmp_path / "data")
    folder = datasets.prepare(plain_file, root=tmp_path / "data")
    assert library.read_origin(folder)["format"] == library.FORMAT
    assert store.load_graph(tmp_path / "data" / "ring.old1").total == 3


def test_conversion_gives_the_same_bytes_twice(tmp_path):
    (tmp_path / "S-FFSD.csv").write_text(CARDS)
    folders = [
        datasets.prepare(tmp_path / "S-FFSD.csv", root=tmp_path / name) for name in ("a", "b")
    ]
    names = [{path.name for path in folder.iterdir()} for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
