"""Graphs from and to PyTorch Geometric, NetworkX, SciPy, and tensors through DLPack."""

import re
import sys

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.utils import to_networkx

from gadkit.graph import CSR, HeteroGraph, interop, structure
from gadkit.network import check_trainable

BUYS = ("user", "buys", "product")
FOLLOWS = ("user", "follows", "user")


def make_graph(**changes) -> HeteroGraph:
    """Three users, two products: a repeated edge, an unsorted row, an isolated user."""
    parts = {
        "num_nodes": {"user": 3, "product": 2},
        "edges": {
            BUYS: CSR(torch.tensor([0, 3, 4]), torch.tensor([1, 0, 1, 0]), 3),
            FOLLOWS: CSR(torch.tensor([0, 0, 1, 1]), torch.tensor([0]), 3),
        },
        "x": {"user": torch.randn(3, 4), "product": torch.arange(2.0)[:, None]},
        "labels": torch.tensor([[0, 0], [2, 1], [4, 0]]),
    }
    return HeteroGraph(**parts | changes)


def assert_same(one: HeteroGraph, other: HeteroGraph):
    assert one.num_nodes == other.num_nodes and one.node_types == other.node_types
    assert one.edge_types == other.edge_types
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"x": None},
        {"labels": None},
        {"labels": torch.tensor([[3, 1], [4, 0]])},  # products alone
        {"labels": torch.tensor([[4, 0], [0, 1], [3, 1]])},  # in an order of their own
    ],
    ids=["all", "no x", "no labels", "one type", "order"],
)
def test_pyg_round_trip(changes):
    graph = make_graph(**changes)
    data = interop.to_pyg(graph)
    assert data.validate()
    back = interop.from_pyg(data)
    assert_same(back, graph)
    again = interop.to_pyg(back)
    assert again.node_types == data.node_types and again.edge_types == data.edge_types
    for one, other in zip(data.stores, again.stores, strict=True):
        assert [*one.keys()] == [*other.keys()]
        for name in one.keys():  # noqa: SIM118
            same = one[name] == other[name]
            assert same if isinstance(same, bool) else same.all()


def test_pyg_by_hand():
    data = interop.to_pyg(make_graph())
    assert data[BUYS].edge_index.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]  # sources, destinations
    assert data[FOLLOWS].edge_index.tolist() == [[0], [1]]
    assert data["user"].y.tolist() == [0, -1, 1]
    assert data["product"].y.tolist() == [-1, 0]
    assert (data["user"].num_nodes, data["product"].num_nodes) == (3, 2)


def test_pyg_convolution_gives_the_sums_of_the_rows():
    graph = make_graph()
    convs = {
        edge_type: SAGEConv((4, 1), 5, aggr="sum", root_weight=False, bias=False)
        for edge_type in (BUYS, FOLLOWS)
    }
    data = interop.to_pyg(graph)
    out = HeteroConv(convs)(data.x_dict, data.edge_index_dict)["product"]
    csr = graph.edges[BUYS]
    rows = [csr.indices[csr.indptr[i] : csr.indptr[i + 1]].long() for i in range(csr.num_dst)]
    sums = torch.stack([graph.x["user"][row].sum(0) for row in rows])
    torch.testing.assert_close(out, convs[BUYS].lin_l(sums))


def test_pyg_edges_in_any_order_come_out_sorted():
    data = interop.to_pyg(make_graph())
    data[BUYS].edge_index = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]])
    csr = interop.from_pyg(data).edges[BUYS]
    assert (csr.indptr.tolist(), csr.indices.tolist()) == ([0, 3, 4], [0, 1, 1, 0])


@pytest.mark.parametrize("merge", [True, False])
def test_pyg_reverses_are_left_out(merge):
    graph = make_graph()
    data = T.ToUndirected(merge=merge)(interop.to_pyg(graph))
    assert ("product", "rev_buys", "user") in data.edge_types
    back = interop.from_pyg(data)
    assert back.edge_types == graph.edge_types
    assert torch.equal(back.edges[BUYS].indices, graph.edges[BUYS].indices)
    if not merge:
        assert_same(back, graph)


def test_pyg_reverse_must_be_exact():
    data = T.ToUndirected(merge=False)(interop.to_pyg(make_graph()))
    reverse = ("product", "rev_buys", "user")
    data[reverse].edge_index = data[reverse].edge_index[:, 1:]
    with pytest.raises(ValueError, match="'rev_buys'.* is not the exact reverse of .*delete it"):
        interop.from_pyg(data)
    del data[BUYS]
    assert reverse in interop.from_pyg(data).edge_types  # with nothing to be the reverse of


def several_to(*relations) -> HeteroData:
    """Two nodes of each type; relations as (src, dst, edges), all named "to"."""
    data = HeteroData()
    for src, dst, edges in relations:
        data[src].num_nodes = data[dst].num_nodes = 2
        data[src, "to", dst].edge_index = torch.tensor(edges).T
    return data


def test_pyg_relations_of_one_name_get_their_types():
    data = several_to(
        ("user", "item", [(0, 1)]), ("user", "shop", [(1, 0)]), ("user", "user", [(0, 1)])
    )
    graph = interop.from_pyg(data)
    names = ["user_to_item", "user_to_shop", "user_to_user"]
    assert [name for _, name, _ in graph.edge_types] == names
    assert graph.edges["user", "user_to_shop", "shop"].indptr.tolist() == [0, 1, 1]
    assert interop.to_pyg(graph).edge_types == graph.edge_types
    assert_same(interop.from_pyg(interop.to_pyg(graph)), graph)
    for merge in (True, False):
        undirected = interop.from_pyg(T.ToUndirected(merge=merge)(data.clone()))
        assert [name for _, name, _ in undirected.edge_types] == names


def test_pyg_reverse_of_one_name_is_left_out():
    there, back = [(0, 0), (0, 1), (1, 1)], [(1, 1), (1, 0), (0, 0)]
    data = several_to(("paper", "term", there), ("term", "paper", back))
    assert interop.from_pyg(data).edge_types == [("paper", "to", "term")]
    graph = interop.from_pyg(several_to(("paper", "term", there), ("term", "paper", back[1:])))
    assert [name for _, name, _ in graph.edge_types] == ["paper_to_term", "term_to_paper"]


def test_pyg_name_that_is_taken():
    data = several_to(("user", "item", [(0, 1)]), ("user", "shop", [(1, 0)]))
    data["user", "user_to_shop", "item"].edge_index = torch.tensor([[0], [0]])
    with pytest.raises(ValueError, match="rename or leave out one of 2 'user_to_shop'"):
        interop.from_pyg(data)


def test_pyg_is_named_where_it_is_missing(monkeypatch):
    data = interop.to_pyg(make_graph())
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_geometric"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(ImportError, match=r"torch_geometric.*pip install -e \.\[pyg\]"):
        interop.to_pyg(make_graph())
    with pytest.raises(ImportError, match=r"torch_geometric.*pip install -e \.\[pyg\]"):
        interop.from_pyg(data)


def test_pyg_homogeneous():
    data = Data(
        x=torch.randn(3, 2),
        edge_index=torch.tensor([[0, 2], [1, 0]]),
        y=torch.tensor([1, 0, -1]),
    )
    graph = interop.from_pyg(data)
    assert graph.edge_types == [("node", "to", "node")]
    assert graph.labels.tolist() == [[0, 1], [1, 0]]
    assert graph.edges["node", "to", "node"].indices.tolist() == [2, 0]
    assert_same(interop.from_pyg(interop.to_pyg(graph)), graph)


def test_pyg_says_what_it_cannot_keep():
    data = interop.to_pyg(make_graph())
    data[BUYS].edge_attr = torch.ones(4, 1)
    data["user"].train_mask = torch.ones(3, dtype=torch.bool)
    data.name = "mine"
    with pytest.raises(ValueError) as error:
        interop.from_pyg(data)
    for part in ("data.name", "data['user'].train_mask", "data[('user', 'buys', 'product')].edge"):
        assert part in str(error.value)
    assert "ignore=['edge_attr', 'name', 'train_mask'])" in str(error.value)
    ignored = interop.from_pyg(data, ignore=["edge_attr", "name", "train_mask"])
    assert ignored.edge_types == [BUYS, FOLLOWS]
    flat = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2, edge_weight=torch.ones(1))
    with pytest.raises(ValueError, match=r"cannot keep data.edge_weight; .*ignore=\['edge_weight"):
        interop.from_pyg(flat)


@pytest.mark.filterwarnings("ignore:Sparse (invariant checks|CSR|CSC)")
@pytest.mark.parametrize("layout", [None, torch.sparse_coo, torch.sparse_csr])
def test_pyg_reads_a_sparse_matrix_whose_rows_are_destinations(layout):
    graph = make_graph()
    data = T.ToSparseTensor(layout=layout)(interop.to_pyg(graph))  # merges what is repeated
    assert "edge_index" not in data[BUYS] and data[BUYS].adj_t.shape == (2, 3)
    back = interop.from_pyg(data)
    buys = back.edges[BUYS]
    assert (buys.indptr.tolist(), buys.indices.tolist()) == ([0, 2, 3], [0, 1, 0])
    assert torch.equal(back.edges[FOLLOWS].indices, graph.edges[FOLLOWS].indices)
    flat = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=4)
    flat = T.ToSparseTensor(layout=layout)(flat)
    del flat.num_nodes  # the matrix says it
    flat.adj_t = flat.adj_t.to_sparse_csc() if layout is None else flat.adj_t
    back = interop.from_pyg(flat)
    assert back.num_nodes == {"node": 4}
    assert back.edges["node", "to", "node"].indptr.tolist() == [0, 0, 1, 2, 2]


@pytest.mark.filterwarnings("ignore:Sparse (invariant checks|CSR|CSC)")
def test_pyg_sparse_matrix_with_weights_or_beside_edges():
    edge_index = torch.tensor([[0, 1], [1, 2]])
    weighted = Data(edge_index=edge_index, edge_weight=torch.tensor([1.0, 0.5]), num_nodes=3)
    weighted = T.ToSparseTensor()(weighted)
    with pytest.raises(ValueError, match=r"holds 0.5 for the edge from 1 to 2, .*'edge_weight'\]"):
        interop.from_pyg(weighted)
    assert interop.from_pyg(weighted, ignore=["edge_weight"]).edges["node", "to", "node"]
    with pytest.raises(ValueError, match="adj_t holds the edges of .*take 'adj_t' out of `ignore`"):
        interop.from_pyg(weighted, ignore=["adj_t"])
    both = T.ToSparseTensor(remove_edge_index=False)(Data(edge_index=edge_index, num_nodes=3))
    assert interop.from_pyg(both).edges["node", "to", "node"].indices.tolist() == [0, 1]
    both.edge_index = edge_index.flip(0)
    with pytest.raises(ValueError, match="edge_index and adj_t of .* hold different edges"):
        interop.from_pyg(both)
    assert interop.from_pyg(both, ignore=["adj_t"]).edges["node", "to", "node"].num_edges == 2
    dense = Data(adj_t=torch.eye(3), num_nodes=3)
    with pytest.raises(TypeError, match="adj_t of .* must be a sparse tensor, got Tensor"):
        interop.from_pyg(dense)


def _y_of_three_classes(data):
    data["user"].y = torch.tensor([0, 2, 1])


def _y_of_another_length(data):
    data["user"].y = torch.tensor([0, 1])


def _y_that_is_nan(data):
    data["user"].y = torch.tensor([0.0, 1.0, torch.nan])


def _x_that_is_sparse(data):
    data["user"].x = data["user"].x.to_sparse()


def _x_of_one_type(data):
    del data["product"].x


def _x_not_finite(data):
    data["user"].x = torch.full((3, 1), torch.inf)


def _size_unknown(data):
    del data["product"].num_nodes, data["product"].x, data["product"].y


def _edge_outside(data):
    data[BUYS].edge_index = torch.tensor([[0, 3], [0, 0]])


def _edge_index_of_floats(data):
    data[BUYS].edge_index = torch.zeros(2, 1)


def _edge_index_turned(data):
    data[BUYS].edge_index = torch.zeros(4, 2, dtype=torch.long)


def _edge_index_dense(data):
    data[BUYS].edge_index = torch.eye(3)


def _y_of_columns(data):
    data["user"].y = torch.tensor([[0], [1], [0]])


def _no_edge_index(data):
    del data[BUYS].edge_index


def _no_edges(data):
    data[BUYS].edge_index = torch.empty(2, 0, dtype=torch.long)


def _edge_to_nowhere(data):
    data["user", "rates", "movie"].edge_index = torch.tensor([[0], [0]])


def _reverse_of_another_name(data):
    data["product", "rev_follows", "user"].edge_index = torch.tensor([[0], [0]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_y_of_three_classes, "y of 'user' is 2 at node 1; .*which class is the anomaly"),
        (_y_of_another_length, r"y of 'user' must have shape \(3,\), got \(2,\)"),
        (_y_that_is_nan, "y of 'user' is nan at node 2"),
        (_x_that_is_sparse, "x of 'user' is a torch.sparse_coo tensor; pass it .to_dense"),
        (_x_of_one_type, r"x\['product'\] must have shape \(2, dim\), got None"),
        (_x_not_finite, r"x\['user'\] is inf at row 0"),
        (_size_unknown, "nothing says how many nodes of type 'product' there are; set their num"),
        (_edge_outside, r"'buys', 'product'\): src has ids outside \[0, 3\)"),
        (_edge_index_of_floats, "edge_index of .*'buys'.* must be integer, not torch.float32"),
        (_edge_index_turned, r"must be \(2, num_edges\) int64, got \(4, 2\)"),
        (_edge_index_dense, r"got \(3, 3\); .*; of a dense matrix pass what .*dense_to_sparse"),
        (_y_of_columns, r"must have shape \(3,\), got \(3, 1\); take the column itself"),
        (_no_edge_index, r"must be \(2, num_edges\) int64, got None"),
        (_no_edges, "has no edges; leave it out"),
        (_edge_to_nowhere, "'movie'"),
        (_reverse_of_another_name, "relation names must be unique"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pyg_errors(damage, message):
    data = interop.to_pyg(make_graph())
    damage(data)
    with pytest.raises((ValueError, TypeError), match=message):
        interop.from_pyg(data)


@pytest.mark.parametrize(
    "convert",
    [
        torch.Tensor.double,
        torch.Tensor.numpy,
        torch.Tensor.tolist,
        lambda x: x.numpy().astype(">f8"),
        lambda x: x.clone().requires_grad_(),
    ],
    ids=["float64", "NumPy", "list", "big-endian", "learned"],
)
def test_pyg_features_of_any_kind(convert):
    graph = make_graph()
    data = interop.to_pyg(graph)
    for node_type in data.node_types:
        data[node_type].x = convert(data[node_type].x)
    assert interop.from_pyg(data).fingerprint == graph.fingerprint


@pytest.mark.parametrize(
    "convert",
    [torch.Tensor.int, torch.Tensor.byte, torch.Tensor.numpy, torch.Tensor.tolist],
    ids=["int32", "uint8", "NumPy", "list"],
)
def test_pyg_edges_of_any_kind(convert):
    graph = make_graph()
    data = interop.to_pyg(graph)
    for edge_type in data.edge_types:
        data[edge_type].edge_index = convert(data[edge_type].edge_index)
    assert interop.from_pyg(data).fingerprint == graph.fingerprint


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lables", "; is lables meant to be y?; to leave"),
        ("feats", "; is feats meant to be x?; to leave"),
        ("edge_atr", "; is edge_atr meant to be edge_attr?; to leave"),
        ("node_tpye", "; is node_tpye meant to be node_type?; to leave"),
        ("edge_idx", "; is edge_idx meant to be edge_index?; to leave"),
        ("edge_attr", "cannot keep data.edge_attr; to leave"),
        ("weather", "cannot keep data.weather; to leave"),
    ],
)
def test_pyg_attributes_that_are_misspelt(name, said):
    data = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2, **{name: torch.zeros(2)})
    with pytest.raises(ValueError, match=re.escape(f"{said} that behind, say from_pyg(data")):
        interop.from_pyg(data)
    with pytest.raises(ValueError, match=r"; there is no wheather that `ignore` names; to leave"):
        interop.from_pyg(data, ignore=["wheather"])


class Table:
    """As many rows as a table of PyTorch Frame has."""

    def __len__(self):
        return 3


def test_pyg_graphs_of_relational_tables():
    """As relbench's make_pkey_fkey_graph makes them: tables, times and reverses."""
    data = HeteroData()
    data["users"].tf, data["orders"].tf = Table(), Table()
    data["users"].time = data["orders"].time = torch.tensor([5, 6, 7])
    edge_index = torch.tensor([[0, 2], [1, 0]])
    data["orders", "f2p_user_id", "users"].edge_index = edge_index
    data["users", "rev_f2p_user_id", "orders"].edge_index = edge_index.flip(0)
    with pytest.raises(ValueError, match="tf is a table of PyTorch Frame.*; times are kept beside"):
        interop.from_pyg(data)
    graph = interop.from_pyg(data, ignore=["tf", "time"])
    assert graph.num_nodes == {"users": 3, "orders": 3}
    ((edge_type, csr),) = graph.edges.items()
    assert edge_type == ("orders", "f2p_user_id", "users") and csr.indices.tolist() == [2, 0]


def test_pyg_features_and_labels_may_be_left_behind_too():
    data = interop.to_pyg(make_graph())
    graph = interop.from_pyg(data, ignore=["x", "y", "label_row"])
    assert graph.x is None and graph.labels is None
    assert graph.num_nodes == make_graph().num_nodes


def test_pyg_refuses_another_class():
    with pytest.raises(TypeError, match="expected a HeteroData or Data, got dict"):
        interop.from_pyg({})


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([1, 0, 1], dtype=torch.uint8),
        torch.tensor([True, False, True]),
        torch.tensor([1.0, 0.0, 1.0]),
    ],
    ids=str,
)
def test_pyg_labels_of_any_dtype(y):
    data = Data(y=y, edge_index=torch.tensor([[0, 2], [1, 0]]))
    assert interop.from_pyg(data).labels.tolist() == [[0, 1], [1, 0], [2, 1]]


MATRIX = np.array([[0, 1], [1, 1], [0, 1]])  # three users, two products


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"])
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_scipy_of_any_format(form, kind):
    matrix = getattr(sp, f"{form}_{kind}")(sp.coo_array(MATRIX))
    matrix = matrix != 0 if form == "bsr" else matrix  # stores whole blocks, zeros and all
    graph = interop.from_scipy({BUYS: matrix})
    assert graph.num_nodes == {"user": 3, "product": 2}
    csr = graph.edges[BUYS]  # rows are products
    assert (csr.indptr.tolist(), csr.indices.tolist()) == ([0, 1, 4], [1, 0, 1, 2])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("values", [bool, np.int8, np.float64])
def test_scipy_index_and_value_types(dtype, values):
    matrix = sp.csr_array(MATRIX.astype(values))
    matrix.indptr, matrix.indices = matrix.indptr.astype(dtype), matrix.indices.astype(dtype)
    follows = sp.coo_array((np.ones(1, values), ([2], [0])), shape=(3, 3))
    x = {"user": np.arange(6).reshape(3, 2), "product": torch.ones(2, 1, dtype=torch.float64)}
    labels = {"product": np.array([1, -1]), "user": np.array([-1, 0, -1])}
    graph = interop.from_scipy({BUYS: matrix, FOLLOWS: follows}, x=x, labels=labels)
    assert graph.edges[BUYS].indices.tolist() == [1, 0, 1, 2]
    assert graph.edges[FOLLOWS].indptr.tolist() == [0, 1, 1, 1]
    assert graph.x["user"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert graph.x["product"].dtype == torch.float32
    assert graph.labels.tolist() == [[1, 0], [3, 1]]


def _explicit_zero():
    return {BUYS: sp.coo_array(([1, 0], ([0, 2], [0, 1])), shape=(3, 2))}


def _stored_twice():
    return {BUYS: sp.coo_array(([1, 1, 1], ([0, 2, 2], [0, 1, 1])), shape=(3, 2))}


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (_explicit_zero(), r"row 2, column 1 is 0; .*pass matrix != 0"),
        (_stored_twice(), r"row 2, column 1 is stored more than once; .*pass matrix != 0"),
        ({BUYS: sp.csr_array(MATRIX * 2.5)}, r"is 2.5; .*other weights cannot be kept"),
        ({BUYS: MATRIX}, "must be a SciPy sparse matrix, got ndarray; convert"),
        ({"buys": sp.csr_array(MATRIX)}, r"is named \(source, relation, destination\)"),
        ({BUYS: sp.coo_array(np.ones(3))}, r"must have two axes, got shape \(3,\)"),
        (
            {BUYS: sp.csr_array(MATRIX), FOLLOWS: sp.csr_array(np.eye(2))},
            "has 2 rows, but there are 3 nodes of type 'user' so far; rows are sources",
        ),
        ({BUYS: sp.csr_array((3, 2))}, "has no edges; leave it out"),
        ({}, "the graph has no nodes"),
    ],
)
def test_scipy_errors(matrices, message):
    with pytest.raises((ValueError, TypeError), match=message):
        interop.from_scipy(matrices)


@pytest.mark.parametrize("make", [_explicit_zero, _stored_twice])
def test_scipy_errors_are_mended_as_they_say(make):
    matrix = make()[BUYS]
    assert interop.from_scipy({BUYS: matrix != 0}).edges[BUYS].num_edges == (matrix != 0).sum()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": {"user": np.ones((3, 1))}}, r"x\['product'\] must have shape"),
        ({"x": {"shop": np.ones((3, 1))}}, r"x has node types \['shop'\], which are not in"),
        ({"labels": {"shop": np.ones(3)}}, r"labels has node types \['shop'\]"),
        ({"labels": {"user": np.ones(2)}}, r"labels of 'user' must have shape \(3,\), got \(2"),
        ({"labels": {"user": np.zeros(3)}}, "all 3 labels are 0"),
    ],
)
def test_scipy_parts_must_fit(parts, message):
    with pytest.raises(ValueError, match=message):
        interop.from_scipy({BUYS: sp.csr_array(MATRIX)}, **parts)


TABLE = pd.DataFrame({"a": [1.0, 2, 3], "b": [True, False, True], "y": [0, 1, -1]}, index=[7, 5, 6])
WHOLE = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    "x",
    [
        TABLE[["a", "b"]],
        TABLE[["a"]].astype("Float64"),
        TABLE.a.to_frame().to_numpy(),
        [[1, 2], [3, 4], [5, 6]],
        WHOLE.astype(">f8"),
        WHOLE[::-1],
        WHOLE[:, ::-1],
        np.asfortranarray(WHOLE),
        WHOLE.astype(np.longdouble),
        WHOLE.astype(np.uint32),
        WHOLE.astype(object),
        np.ma.masked_array(WHOLE, np.zeros((3, 2))),
    ],
    ids=lambda x: type(x).__name__,
)
def test_scipy_features_of_any_kind_and_layout(x):
    eye = {FOLLOWS: sp.eye_array(3).tocsr()}
    graph = interop.from_scipy(eye, x={"user": x})
    assert graph.x["user"].dtype == torch.float32
    assert graph.x["user"].tolist() == np.asarray(x).astype(float).tolist()


@pytest.mark.parametrize(
    "labels",
    [
        TABLE.y,
        TABLE.y.astype("Int64"),
        TABLE.y.tolist(),
        TABLE.y.to_numpy().astype(">i8"),
        TABLE.y.to_numpy()[::-1][::-1],
        TABLE.y.astype(object).to_numpy(),
        TABLE.y.astype(float),
    ],
    ids=lambda x: type(x).__name__,
)
def test_scipy_labels_of_any_kind_and_layout(labels):
    graph = interop.from_scipy({FOLLOWS: sp.eye_array(3).tocsr()}, labels={"user": labels})
    assert graph.labels.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"labels": {"user": pd.Series([0, 1, None], dtype="Int64")}},
            "^labels of 'user' is nan at node 2; .* so write -1 where a label is unknown",
        ),
        (
            {"labels": {"user": np.array([0, 1, None])}},
            "^labels of 'user', a numpy.ndarray, holds None at row 2; write -1",
        ),
        ({"labels": {"user": np.array([0, 1, np.nan])}}, "^labels of 'user' is nan at node 2"),
        ({"labels": {"user": ["0", "1", "0"]}}, "^labels of 'user', a builtins.list, is of <U1"),
        ({"labels": {"user": {0: 1}}}, "^labels of 'user' is a builtins.dict; pass an array"),
        ({"labels": np.zeros(3)}, "^labels must be a dict from node type to values, got ndarray"),
        ({"x": np.zeros((3, 1))}, "^x must be a dict from node type to values, got ndarray"),
        (
            {"x": {"user": np.ma.masked_array(np.ones((3, 2)), [[1, 0]] * 3)}},
            "^x of 'user' is a masked array, and a mask cannot be kept; fill it",
        ),
        (
            {"x": {"user": TABLE.assign(a=["u", "v", "w"])}},
            "^x of 'user', a pandas.DataFrame, holds 'u' at row 0, a str; pass rows of numbers,",
        ),
        ({"x": {"user": sp.eye_array(3)}}, "^x of 'user' is sparse, a scipy.dia_array; pass it de"),
        ({"x": {"user": torch.eye(3).to_sparse()}}, "^x of 'user' is a torch.sparse_coo tensor"),
        ({"x": {"user": [[1, 2], [3]] * 2}}, "^x of 'user', a builtins.list, is no array of numb"),
        (
            {"x": {"user": np.array(["2026-01-01"] * 3, "M8[D]")}},
            r"is of datetime64\[D\] and shape",
        ),
        ({"x": {"user": np.full((3, 1), 1e300)}}, r"^x of 'user' goes up to 1e\+300, beyond float"),
        ({"x": {"user": np.ones((3, 1), complex)}}, "^x of 'user', a numpy.ndarray, is of complex"),
    ],
)
def test_scipy_names_what_holds_no_numbers(parts, message):
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_scipy({FOLLOWS: sp.eye_array(3).tocsr()}, **parts)


def test_scipy_matrices_are_named():
    with pytest.raises(TypeError, match="^matrices must be a dict from .source, relation, dest"):
        interop.from_scipy(sp.eye_array(3))


def test_features_of_structure_make_a_bare_graph_trainable():
    bare = interop.from_scipy({BUYS: sp.csr_array(MATRIX)})
    with pytest.raises(ValueError, match="no features x; .*docs/interop.md"):
        check_trainable(bare)
    x = structure.structural_features(bare)
    check_trainable(HeteroGraph(bare.num_nodes, bare.edges, x, bare.labels))


def network(kind=nx.DiGraph):
    made = kind()
    made.add_node("p1", kind="product", age=[1.0], fraud=0)
    made.add_node(7, kind="user", age=[1, 2], fraud=1)
    made.add_node(("u", 2), kind="user", age=np.array([3.0, 4.5]), fraud=None)
    made.add_node("p2", kind="product", age=2)
    made.add_edge(7, "p2", does="buys")
    made.add_edge(7, "p1", does="buys")
    made.add_edge(("u", 2), "p1", does="buys")
    made.add_edge(7, ("u", 2), does="knows")
    return made


NAMES = {"node_type": "kind", "relation": "does"}


def test_networkx_directed():
    graph, ids = interop.from_networkx(network(), **NAMES, x="age", label="fraud")
    assert ids == {"product": ["p1", "p2"], "user": [7, ("u", 2)]}
    assert graph.num_nodes == {"product": 2, "user": 2}
    assert graph.edge_types == [("user", "buys", "product"), ("user", "knows", "user")]
    buys, knows = graph.edges.values()
    assert (buys.indptr.tolist(), buys.indices.tolist()) == ([0, 2, 3], [0, 1, 0])
    assert (knows.indptr.tolist(), knows.indices.tolist()) == ([0, 0, 1], [0])
    assert graph.x["user"].tolist() == [[1, 2], [3, 4.5]]
    assert graph.x["product"].tolist() == [[1], [2]]
    assert graph.labels.tolist() == [[0, 0], [2, 1]]


def test_networkx_without_direction_leads_both_ways():
    graph, _ = interop.from_networkx(network(nx.Graph), **NAMES)
    assert graph.edge_types == [("product", "buys", "user"), ("user", "knows", "user")]
    buys, knows = graph.edges.values()
    assert (buys.indptr.tolist(), buys.indices.tolist()) == ([0, 2, 3], [0, 1, 0])
    assert knows.is_symmetric and knows.num_edges == 2
    loop = nx.Graph([(0, 0), (0, 1)])
    graph, ids = interop.from_networkx(loop)
    assert graph.edge_types == [("node", "to", "node")] and ids == {"node": [0, 1]}
    assert graph.edges["node", "to", "node"].indices.tolist() == [0, 1, 0]  # the loop once


@pytest.mark.parametrize(("kind", "count"), [(nx.MultiDiGraph, 2), (nx.MultiGraph, 4)])
def test_networkx_parallel_edges_are_kept(kind, count):
    made = kind([(0, 1), (0, 1)])
    assert interop.from_networkx(made)[0].edges["node", "to", "node"].num_edges == count


def test_networkx_names_relations_by_their_types():
    graph, _ = interop.from_networkx(network(), node_type="kind")
    assert [name for _, name, _ in graph.edge_types] == ["user_to_product", "user_to_user"]


def test_networkx_relations_of_one_name_get_their_types():
    made = network()
    nx.set_edge_attributes(made, "meets", "does")
    graph, _ = interop.from_networkx(made, **NAMES)
    assert [name for _, name, _ in graph.edge_types] == ["user_meets_product", "user_meets_user"]


def _set(node, name, value):
    def damage(made):
        made.nodes[node][name] = value

    return damage


def _drop_kind(made):
    del made.nodes["p1"]["kind"]


def _drop_does(made):
    del made.edges[7, "p1"]["does"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_kind, r"node 'p1' has no attribute 'kind'; it has \['age', 'fraud'\]"),
        (_drop_does, r"edge \(7, 'p1'\) has no attribute 'does'"),
        (_set("p2", "age", [1, 2]), "'age' of node 'p2' must be a number or a list of numbers, as"),
        (_set("p2", "age", "3"), "'age' of node 'p2' must be .* got '3'"),
        (_set("p2", "age", None), "'age' of node 'p2' must be .* got None"),
        (_set("p2", "age", [[1], [2, 3]]), "'age' of node 'p2' must be"),
        (_set("p2", "age", np.nan), r"x\['product'\] is nan at row 1"),
        (_set("p2", "fraud", 2), "'fraud' of node 'p2' is 2; it must be 1"),
        (_set("p2", "fraud", "yes"), "'fraud' of node 'p2' is 'yes'"),
        (_set("p2", "fraud", pd.NA), "'fraud' of node 'p2' is <NA>; it must be 1"),
        (_set("p2", "fraud", np.array([0, 1])), "'fraud' of node 'p2' is array"),
        (_set("p2", "kind", None), "'kind' of node 'p2' is None; give it a name"),
        (_set("p2", "kind", np.nan), "'kind' of node 'p2' is nan; give it a name"),
        (_set("p2", "kind", " "), "'kind' of node 'p2' is ' '; give it a name"),
    ],
)
def test_networkx_errors(damage, message):
    made = network()
    damage(made)
    with pytest.raises(ValueError, match=message):
        interop.from_networkx(made, **NAMES, x="age", label="fraud")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"label": "is_fraud"},
            r"no node has the attribute 'is_fraud'; they have \['age', 'fraud'",
        ),
        ({"label": "Fraud"}, "no node has the attribute 'Fraud'"),
        ({"x": "ages"}, "no node has the attribute 'ages'"),
        ({"node_type": "type"}, r"node 'p1' has no attribute 'type'; it has \['kind', 'age'"),
        ({"relation": "do"}, r"edge .* has no attribute 'do'; it has \['does'\]"),
    ],
)
def test_networkx_names_that_are_misspelt(names, message):
    with pytest.raises(ValueError, match=message):
        interop.from_networkx(network(), **NAMES | {"x": "age", "label": "fraud"} | names)


def test_networkx_that_pyg_has_made_of_several_types():
    """`to_networkx` keeps node types under "type", and under "type" of an edge the whole triple."""
    graph = make_graph()
    data = interop.to_pyg(graph)
    network = to_networkx(data, node_attrs=["x", "y"], to_multi=True)
    back, nodes = interop.from_networkx(
        network, node_type="type", relation="type", x="x", label="y"
    )
    assert back.edge_types == graph.edge_types and back.num_nodes == graph.num_nodes
    for edge_type, csr in graph.edges.items():
        assert (
            back.edges[edge_type].indices.tolist() == csr.transpose().transpose().indices.tolist()
        )
    assert all(torch.equal(back.x[name], graph.x[name]) for name in graph.node_types)
    assert sorted(back.labels.tolist()) == sorted(graph.labels.tolist())
    assert nodes["product"] == [3, 4]


@pytest.mark.parametrize(
    "convert",
    [
        lambda value: torch.tensor(float(value), requires_grad=True),
        lambda value: torch.tensor(value).bfloat16(),
        lambda value: np.array(value, ">f4"),
        lambda value: np.float16(value),
        lambda value: bool(value),
    ],
    ids=["learned", "bfloat16", "big-endian", "float16", "bool"],
)
def test_networkx_numbers_of_any_kind(convert):
    network = nx.DiGraph([(0, 1)])
    for node in (0, 1):
        network.nodes[node].update(age=convert(node), fraud=convert(1 - node))
    graph, _ = interop.from_networkx(network, x="age", label="fraud")
    assert graph.x["node"].tolist() == [[0], [1]] and graph.labels.tolist() == [[0, 1], [1, 0]]


def test_networkx_of_nothing():
    with pytest.raises(ValueError, match="the graph has no nodes"):
        interop.from_networkx(nx.Graph())


def test_dlpack_shares_memory():
    csr = make_graph().edges[BUYS]
    for name in ("indptr", "indices"):
        tensor = getattr(csr, name)
        array = np.from_dlpack(tensor)
        assert array.__array_interface__["data"][0] == tensor.data_ptr()
        assert torch.from_dlpack(array).data_ptr() == tensor.data_ptr()
        capsule = torch.utils.dlpack.to_dlpack(tensor)
        assert torch.utils.dlpack.from_dlpack(capsule).tolist() == tensor.tolist()
    indptr, indices = (torch.from_dlpack(np.from_dlpack(t)) for t in (csr.indptr, csr.indices))
    assert CSR(indptr, indices, csr.num_src).indices.data_ptr() == csr.indices.data_ptr()


def test_shapes_of_adj_t_agree_with_what_else_is_said():
    pyg = pytest.importorskip("torch_geometric.data")
    wide = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).to_sparse_coo()
    with pytest.raises(ValueError, match="has 3 columns, but there are 2 nodes of type 'node'"):
        interop.from_pyg(pyg.Data(adj_t=wide))
    square = torch.eye(3).to_sparse_coo()
    with pytest.raises(ValueError, match="there are 5 nodes of type 'node' by num_nodes, but 3 by"):
        interop.from_pyg(pyg.Data(adj_t=square, num_nodes=5))
    edges = torch.tensor([[0, 1], [1, 2], [2, 0]])
    with pytest.raises(ValueError, match=r"got \(3, 2\); .*turn it round, .t\(\)"):
        interop.from_pyg(pyg.Data(edge_index=edges, num_nodes=3))
    weighted = pyg.Data(edge_index=edges.t(), num_nodes=3, edge_weight=torch.ones(3))
    assert interop.from_pyg(weighted, ignore="edge_weight").edge_types == [("node", "to", "node")]
    with pytest.raises(TypeError, match="num_nodes of 'node' must be a whole number, not 3.7"):
        interop.from_pyg(pyg.Data(edge_index=edges.t(), num_nodes=3.7))


def test_types_of_a_column_with_gaps_and_features_that_do_not_fit():
    networkx = pytest.importorskip("networkx")
    network = networkx.Graph([("a", "b"), ("b", "c")])
    networkx.set_node_attributes(network, {"a": 1, "b": 1.0, "c": 2}, "kind")
    graph, _ = interop.from_networkx(network, node_type="kind")
    assert graph.num_nodes == {"1": 2, "2": 1}
    for values, message in (
        ({"a": 1e300, "b": 1.0, "c": 2.0}, "goes up to 1e"),
        (dict.fromkeys("abc", np.ma.array([1, 2], mask=[False, True])), "must be a number or a"),
    ):
        networkx.set_node_attributes(network, values, "x")
        with pytest.raises(ValueError, match=message):
            interop.from_networkx(network, x="x")
    networkx.set_node_attributes(network, dict.fromkeys("abc", 1 + 0j), "fraud")
    with pytest.raises(ValueError, match="'fraud' of node 'a' is"):
        interop.from_networkx(network, label="fraud")
    with pytest.raises(TypeError, match="expected a NetworkX graph, got dict"):
        interop.from_networkx({0: [1]})
