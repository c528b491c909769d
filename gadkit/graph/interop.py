"""Graphs from and to other libraries: PyTorch Geometric, NetworkX, SciPy.

In all three an edge leads from its source to its destination: `edge_index[0]` is the source, an
edge (u, v) of a DiGraph starts at u, and the rows of a matrix are its sources. `CSR` has
destinations as its rows, and each function turns relations round as needed.

A `HeteroGraph` holds edges, features and labels, and nothing else. Edge weights, masks and the like
are never dropped unasked: they are an error, unless the caller says that they may go.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.arrays import (
    PASS_IDS,
    as_count,
    as_features,
    as_ids,
    as_tensor,
    is_missing,
    numbers,
)

if TYPE_CHECKING:
    import networkx
    import scipy.sparse
    from torch_geometric.data import Data, HeteroData
    from torch_geometric.data.storage import EdgeStorage, NodeStorage

NODE, TO = "node", "to"  # type and relation of a graph that knows only one of each
UNKNOWN = -1  # label of a node that was not looked at
FILL_X = "fill it with numbers, such as 0 or the mean"
FILL_LABELS = "write -1 where a label is unknown"

# What `from_pyg` reads, and what else it may be called.
KEPT = {
    "x": ("feat", "feats", "feature", "features", "node_features"),
    "y": ("label", "labels", "y_true", "target", "targets", "is_fraud"),
    "num_nodes": (),
    "edge_index": (),
    "adj_t": ("adj", "adj_matrix"),
}
ELSEWHERE = {
    "tf": "tf is a table of PyTorch Frame, whose columns of numbers x may be: "
    "x = tf.feat_dict[torch_frame.stype.numerical]",
    "time": "times are kept beside a graph, by store.save_time()",
}
OFTEN_LEFT = ("edge_attr", "edge_weight", "edge_type", "node_type", "batch", "ptr", "pos")
_ROW = "label_row"  # where a label stands in `HeteroGraph.labels`, if not in the order of nodes


def _pyg() -> ModuleType:
    try:
        from torch_geometric import data
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; install PyTorch Geometric: pip install -e .[pyg]") from error
    return data


def to_pyg(graph: HeteroGraph) -> "HeteroData":
    """Return the same graph for PyTorch Geometric; features are shared, not copied.

    Every node type has `num_nodes` and, where known, `x` and `y` (int64: 1 = anomaly, 0 = normal,
    -1 = unknown). Every relation has an `edge_index`, (2, num_edges) int64 [source, destination],
    in the order of its rows; reverses are not added, `T.ToUndirected()` does so. `from_pyg` gives
    the same graph back.

    Raises:
        ImportError: PyTorch Geometric is not installed.
    """
    data = _pyg().HeteroData()
    for node_type, count in graph.num_nodes.items():
        data[node_type].num_nodes = count
        if graph.x is not None:
            data[node_type].x = graph.x[node_type]
    for edge_type, csr in graph.edges.items():
        data[edge_type].edge_index = torch.stack(csr.pairs())
    if graph.labels is not None:
        _add_labels(data, graph)
    return data


def _add_labels(data: "HeteroData", graph: HeteroGraph) -> None:
    ids, values = graph.labels.unbind(1)
    y, row = ids.new_full((2, graph.total), UNKNOWN)
    y[ids], row[ids] = values, torch.arange(len(ids), device=ids.device)
    ascending = bool((ids.diff() > 0).all())
    for node_type in graph.labelled_types:
        data[node_type].y = y[graph.span(node_type)]
        if not ascending:
            data[node_type][_ROW] = row[graph.span(node_type)]


def from_pyg(data: "HeteroData | Data", *, ignore: Collection[str] = ()) -> HeteroGraph:
    """Take over a graph of PyTorch Geometric; features are shared, not copied.

    Edges that are grouped by ascending destination stay in their order; others are sorted by
    destination and source. A reverse is left out, since every relation is read in both directions
    anyway: the relation `rev_<name>` that `T.ToUndirected()` adds, and of two relations of one name
    the second, if its edges are those of the first, turned round. A name that is left between
    several pairs of types, such as "to", becomes <source type>_<name>_<destination type>, and
    `to_pyg` keeps it so. A `Data` becomes one node type, "node", with one relation, "to".

    Args:
        data: `edge_index` of every relation, integers, or the sparse `adj_t` that
            `T.ToSparseTensor()` makes of it, whose rows are destinations; of every node type
            `num_nodes`, `x` or `y` to tell its size; `x` (num_nodes, dim) for all types or for
            none, which becomes float32; `y` (num_nodes,) of 1 = anomaly, 0 = normal, -1 = unknown,
            where known.
        ignore: attributes that may be left behind, such as "edge_attr" or "train_mask", or "x" and
            "y" themselves; with "edge_weight", also the values of `adj_t`.

    Raises:
        ImportError: PyTorch Geometric is not installed.
        TypeError: it is another class, or an array holds no numbers, or is sparse.
        ValueError: there is an attribute that a graph cannot keep and that `ignore` does not name,
            a relation `rev_<name>` is not the reverse of <name>, or the graph does not fit; the
            message says where and how to mend it.
    """
    pyg, ignore = _pyg(), (ignore,) if isinstance(ignore, str) else ignore
    if isinstance(data, pyg.Data):
        node_stores, edge_stores = {NODE: data.stores[0]}, {(NODE, TO, NODE): data.stores[0]}
    elif isinstance(data, pyg.HeteroData):
        node_stores = dict(zip(data.node_types, data.node_stores, strict=True))
        edge_stores = dict(zip(data.edge_types, data.edge_stores, strict=True))
    else:
        raise TypeError(f"expected a HeteroData or Data, got {type(data).__name__}")
    _check_attributes(data, ignore)
    sizes = _sizes_of_matrices(edge_stores)
    num_nodes = {
        name: _num_nodes(name, store, sizes.get(name)) for name, store in node_stores.items()
    }
    edges = {
        edge_type: _csr_of(edge_type, store, num_nodes, ignore)
        for edge_type, store in edge_stores.items()
    }

    def of_nodes(attribute: str) -> dict[str, object]:
        is_read = attribute not in ignore
        named = {name: store.get(attribute) for name, store in node_stores.items() if is_read}
        return {name: values for name, values in named.items() if values is not None}

    x = {name: _floats(values, f"x of {name!r}") for name, values in of_nodes("x").items()}
    y = {
        name: numbers(values, f"y of {name!r}", if_missing=FILL_LABELS)
        for name, values in of_nodes("y").items()
    }
    labels = _labels(num_nodes, y)
    if labels is not None and any(_ROW in store for store in node_stores.values()):
        labels = labels[_rows_of(labels[:, 0], num_nodes, node_stores).argsort(stable=True)]
    edges = _named_apart(_without_reverses(edges))
    return HeteroGraph(num_nodes, edges, x or None, labels)


def _check_attributes(data: "HeteroData | Data", ignore: Collection[str]) -> None:
    every = {
        f"data.{name}" if store._key is None else f"data[{store._key!r}].{name}": name
        for store in data.stores
        for name in [*store.keys()]
    }
    left = {where: name for where, name in every.items() if name not in {*KEPT, _ROW, *ignore}}
    if left:
        absent = sorted({*ignore} - {*every.values()})
        names = sorted({*ignore, *left.values()} - {*absent})
        raise ValueError(
            f"a HeteroGraph keeps x, y and edge_index, but cannot keep {', '.join(left)}"
            + "".join(_suggestion(name) for name in dict.fromkeys(left.values()))
            + (f"; there is no {', '.join(absent)} that `ignore` names" if absent else "")
            + f"; to leave that behind, say from_pyg(data, ignore={names})"
        )


def _suggestion(name: str) -> str:
    """Say what an attribute may have been meant to be, if it is called nearly so."""
    if name in ELSEWHERE:
        return f"; {ELSEWHERE[name]}"
    words = {word: kept for kept, words in KEPT.items() for word in (kept, *words)}
    words |= {word: word for word in OFTEN_LEFT}
    near = get_close_matches(name.lower(), words, n=1, cutoff=0.75)
    is_other = bool(near) and words[near[0]] != name
    return f"; is {name} meant to be {words[near[0]]}?" if is_other else ""


def _sizes_of_matrices(edge_stores: dict[EdgeType, "EdgeStorage"]) -> dict[str, int]:
    """Return how many nodes of a type the shapes of its `adj_t` say that there are."""
    sizes = {}
    for edge_type, store in edge_stores.items():
        if "adj_t" in store:
            for axis, name in enumerate(edge_type[::-2]):
                size = int(store["adj_t"].size(axis))
                if sizes.setdefault(name, size) != size:
                    raise ValueError(
                        f"adj_t of {edge_type} has {size} {('rows', 'columns')[axis]}, but there "
                        f"are {sizes[name]} nodes of type {name!r} so far; rows are destinations "
                        "and columns sources"
                    )
    return sizes


def _num_nodes(node_type: str, store: "NodeStorage", of_matrix: int | None) -> int:
    """Take what is said, and never PyG's guess from the largest id in use."""
    said = {name: np.shape(store[name])[0] for name in ("x", "y") if np.ndim(store.get(name)) > 0}
    if "tf" in store:  # the table of PyTorch Frame
        said["tf"] = len(store["tf"])
    if store.get("num_nodes") is not None:
        said = {"num_nodes": as_count(store["num_nodes"], f"num_nodes of {node_type!r}")} | said
    if of_matrix is not None:
        said["adj_t"] = of_matrix
    if not said:
        raise ValueError(
            f"nothing says how many nodes of type {node_type!r} there are; set their num_nodes"
        )
    what, count = next(iter(said.items()))
    if of_matrix not in (None, count):
        raise ValueError(
            f"there are {count} nodes of type {node_type!r} by {what}, but {of_matrix} by the "
            "shape of adj_t; delete or correct one of them"
        )
    return count


def _csr_of(
    edge_type: EdgeType, store: "EdgeStorage", num_nodes: dict[str, int], ignore: Collection[str]
) -> CSR:
    src, dst = _edge_index_of(edge_type, store, ignore)
    csr = _csr(edge_type, src, dst, num_nodes)
    grouped = bool((dst.diff() >= 0).all())
    return CSR(csr.indptr, src.contiguous(), csr.num_src) if grouped else csr


def _edge_index_of(edge_type: EdgeType, store: "EdgeStorage", ignore: Collection[str]) -> Tensor:
    """Return (2, num_edges) integers [source, destination], of `edge_index` or else of `adj_t`."""
    edge_index = store.get("edge_index", None)
    if edge_index is None and "adj_t" in store:
        if "adj_t" in ignore:
            raise ValueError(
                f"adj_t holds the edges of {edge_type}, and there is no edge_index; take 'adj_t' "
                "out of `ignore`"
            )
        return _edges_of_matrix(edge_type, store["adj_t"], ignore)
    if edge_index is None:
        raise ValueError(
            f"edge_index of {edge_type} must be (2, num_edges) int64, got None; pass a tensor, "
            "such as torch_geometric.utils.dense_to_sparse makes of a dense matrix"
        )
    edge_index = as_tensor(edge_index, f"edge_index of {edge_type}", remedy=PASS_IDS)
    got = tuple(edge_index.shape)
    if len(got) != 2 or got[0] != 2:
        how = ": turn it round, .t()" if len(got) == 2 and got[1] == 2 else ""
        if len(set(got)) == 1 < len(got):
            how = "; of a dense matrix pass what torch_geometric.utils.dense_to_sparse makes"
        raise ValueError(
            f"edge_index of {edge_type} must be (2, num_edges) int64, got {got}; a row is one end "
            f"of all edges{how}"
        )
    edge_index = as_ids(edge_index, f"edge_index of {edge_type}").as_subclass(Tensor)
    if edge_index.dtype != torch.int32:
        edge_index = edge_index.long()
    if "adj_t" in store and "adj_t" not in ignore:
        _check_same_edges(edge_type, edge_index, store["adj_t"])
    return edge_index


def _edges_of_matrix(edge_type: EdgeType, adj_t: object, ignore: Collection[str]) -> Tensor:
    """Return the edges of a sparse matrix, rows destinations, whose values are all 1."""
    dst, src, value = _entries(edge_type, adj_t)
    if "edge_weight" not in ignore and (value != 1).any():
        edge = int((value != 1).nonzero()[0, 0])
        raise ValueError(
            f"adj_t of {edge_type} holds {value[edge].tolist()} for the edge from {int(src[edge])} "
            f"to {int(dst[edge])}, and a graph keeps no weights; to leave them behind, say "
            f"from_pyg(data, ignore={sorted({*ignore, 'edge_weight'})})"
        )
    return torch.stack([src, dst])


def _entries(edge_type: EdgeType, adj_t: object) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, column and value of every entry of a sparse tensor of torch or torch_sparse."""
    from torch_geometric.utils import is_sparse, to_edge_index

    if not is_sparse(adj_t):
        raise TypeError(
            f"adj_t of {edge_type} must be a sparse tensor, got {type(adj_t).__name__}; give the "
            "edges as edge_index, (2, num_edges) int64"
        )
    if not isinstance(adj_t, Tensor):
        (row, column), value = to_edge_index(adj_t)
        return row, column, value
    coo = adj_t if adj_t.layout == torch.sparse_coo else adj_t.to_sparse_coo()
    row, column = coo._indices()  # also of a tensor whose repeated entries are not merged
    return row, column, coo._values()


def _check_same_edges(edge_type: EdgeType, edge_index: Tensor, adj_t: object) -> None:
    dst, src, _ = _entries(edge_type, adj_t)
    pairs = [edge_index.long(), torch.stack([src, dst]).long()]
    base = 1 + max(int(ends.max()) if ends.numel() else 0 for ends in pairs)
    keys = [(ends[0] * base + ends[1]).sort().values for ends in pairs]
    if not torch.equal(*keys):
        raise ValueError(
            f"edge_index and adj_t of {edge_type} hold different edges; delete the one that is "
            "out of date"
        )


def _csr(edge_type: EdgeType, src: Tensor, dst: Tensor, num_nodes: dict[str, int]) -> CSR:
    ends = edge_type[::2]
    missing = [name for name in ends if name not in num_nodes]
    if missing:
        raise ValueError(
            f"relation {edge_type} names the node type {missing[0]!r}, but there are "
            f"{list(num_nodes)}; set its num_nodes, data[{missing[0]!r}].num_nodes"
        )
    num_src, num_dst = (num_nodes[name] for name in ends)
    try:
        return CSR.from_edges(src, dst, num_src=num_src, num_dst=num_dst)
    except ValueError as error:
        raise ValueError(f"relation {edge_type}: {error}") from error


def _rows_of(ids: Tensor, num_nodes: dict[str, int], node_stores: dict) -> Tensor:
    """Return where each label stood; labels that came later come first."""
    rows = [
        store[_ROW] if _ROW in store else ids.new_full((num_nodes[name],), UNKNOWN)
        for name, store in node_stores.items()
    ]
    return torch.cat(rows)[ids]


def _labels(num_nodes: dict[str, int], y: dict[str, Tensor], what: str = "y") -> Tensor | None:
    """Join labels by type to rows [global id, 1 = anomaly]; None where all are unknown.

    `what` is what the caller calls them.
    """
    offset, rows = 0, []
    for node_type, count in num_nodes.items():
        if node_type in y:
            values = _checked_y(f"{what} of {node_type!r}", y[node_type], count)
            labelled = (values != UNKNOWN).nonzero().flatten()
            rows.append(torch.stack([labelled + offset, values[labelled].long()], 1))
        offset += count
    labels = torch.cat(rows) if rows else None
    return None if labels is None or len(labels) == 0 else labels


def _checked_y(name: str, y: Tensor, count: int) -> Tensor:
    if tuple(y.shape) != (count,):
        column = "; take the column itself, as .reshape(-1) does" if y.numel() == count else ""
        if y.dim() == 2 and len(y) == count and y.numel() > count:
            column = "; of a column for each class take that of the anomaly, such as y[:, 1]"
        raise ValueError(f"{name} must have shape ({count},), got {tuple(y.shape)}{column}")
    values = y.double()
    wrong = (values != 0) & (values != 1) & (values != UNKNOWN)
    if wrong.any():
        node = int(wrong.nonzero()[0])
        how = "so say which class is the anomaly: y = (y == 2).long()"
        if values[node].isnan():
            how = f"so {FILL_LABELS}"
        raise ValueError(
            f"{name} is {y[node].item()} at node {node}; it must be 1 (anomaly), 0 (normal) or -1 "
            f"(unknown), {how}"
        )
    return values.long()


def _without_reverses(edges: dict[EdgeType, CSR]) -> dict[EdgeType, CSR]:
    """Leave out relations whose edges are those of another, turned round: see `from_pyg`."""
    kept: dict[EdgeType, CSR] = {}
    for (src, name, dst), csr in edges.items():
        namesake = kept.get((dst, name, src))
        if namesake is not None and _is_reverse(csr, namesake):
            continue
        forward = edges.get((dst, name.removeprefix("rev_"), src))
        if not name.startswith("rev_") or forward is None:
            kept[src, name, dst] = csr
        elif not _is_reverse(csr, forward):
            raise ValueError(
                f"relation {(src, name, dst)} is not the exact reverse of "
                f"{(dst, name.removeprefix('rev_'), src)}; delete it if it should be, since every "
                "relation is read in both directions, or give it a name without rev_"
            )
    return kept


def _named_apart(edges: dict[EdgeType, CSR]) -> dict[EdgeType, CSR]:
    """Put the node types into the names that several relations share."""
    count = Counter(name for _, name, _ in edges)
    return {
        (src, f"{src}_{name}_{dst}" if count[name] > 1 else name, dst): csr
        for (src, name, dst), csr in edges.items()
    }


def _is_reverse(csr: CSR, forward: CSR) -> bool:
    """Whether the edges are the same pairs, equally often, in any order."""
    turned, sorted_ = csr.transpose(), forward.transpose().transpose()
    same_rows = torch.equal(turned.indptr, sorted_.indptr)
    return same_rows and torch.equal(turned.indices, sorted_.indices)


def from_scipy(
    matrices: "dict[EdgeType, scipy.sparse.sparray | scipy.sparse.spmatrix]",
    *,
    x: dict[str, np.ndarray | Tensor] | None = None,
    labels: dict[str, np.ndarray | Tensor] | None = None,
) -> HeteroGraph:
    """Make a graph of sparse matrices, one per relation.

    Features and labels may be what NumPy reads as numbers: arrays of any layout, a pandas Series or
    DataFrame (by the order of its rows, whatever its index), lists.

    Args:
        matrices: `(src, relation, dst)` to a sparse matrix or array of any format,
            (nodes of src, nodes of dst): rows are sources, columns destinations. An edge is a
            stored 1 or True; types are numbered in the order in which they are named.
        x: by node type (num_nodes, dim) numbers; for all types or for none.
        labels: by node type (num_nodes,) of 1 = anomaly, 0 = normal, -1 = unknown.

    Raises:
        TypeError: something is not a sparse matrix, or features or labels are no numbers.
        ValueError: two relations disagree about the number of nodes, an entry is stored twice or is
            not 1, or features or labels do not fit.
    """
    num_nodes: dict[str, int] = {}
    _check_by_name("matrices", matrices, "(source, relation, destination)")
    for edge_type, matrix in matrices.items():
        _count_nodes(edge_type, matrix, num_nodes)
    edges = {}
    for edge_type, matrix in matrices.items():
        src, dst = _edges_of(edge_type, matrix)
        edges[edge_type] = _csr(edge_type, src, dst, num_nodes)
    x, labels = {} if x is None else x, {} if labels is None else labels
    _check_types("x", x, num_nodes)
    _check_types("labels", labels, num_nodes)
    features = {name: _floats(values, f"x of {name!r}") for name, values in x.items()}
    y = {
        name: numbers(values, f"labels of {name!r}", if_missing=FILL_LABELS)
        for name, values in labels.items()
    }
    return HeteroGraph(num_nodes, edges, features or None, _labels(num_nodes, y, "labels"))


def _count_nodes(edge_type: EdgeType, matrix, num_nodes: dict[str, int]) -> None:
    if not (isinstance(edge_type, tuple) and len(edge_type) == 3):
        raise ValueError(f"a relation is named (source, relation, destination), not {edge_type!r}")
    if not all(isinstance(name, str) for name in edge_type):
        raise TypeError(f"the names of a relation are texts, not as in {edge_type!r}; use str()")
    if not hasattr(matrix, "tocoo"):
        raise TypeError(
            f"relation {edge_type} must be a SciPy sparse matrix, got {type(matrix).__name__}; "
            "convert it with scipy.sparse.csr_array()"
        )
    if len(matrix.shape) != 2:
        raise ValueError(f"relation {edge_type} must have two axes, got shape {matrix.shape}")
    for end, count, axis in zip(edge_type[::2], matrix.shape, ("rows", "columns"), strict=True):
        if num_nodes.setdefault(end, int(count)) != count:
            raise ValueError(
                f"relation {edge_type} has {count} {axis}, but there are {num_nodes[end]} nodes of "
                f"type {end!r} so far; rows are sources and columns destinations"
            )


def _edges_of(edge_type: EdgeType, matrix) -> tuple[Tensor, Tensor]:
    """Return sources and destinations, sorted by destination and source."""
    try:
        coo = matrix.tocoo()
    except ValueError as error:
        raise ValueError(f"relation {edge_type} is no sound matrix: {error}") from error
    order = np.lexsort((coo.row, coo.col))
    src, dst = (ids[order].astype(np.int64) for ids in (coo.row, coo.col))
    value = coo.data[order]
    repeated = np.append(False, (np.diff(src) == 0) & (np.diff(dst) == 0))
    bad = np.flatnonzero((value != 1) | repeated)
    if len(bad):
        edge = bad[0]
        what = "is stored more than once" if repeated[edge] else f"is {value[edge]}"
        raise ValueError(
            f"relation {edge_type}: the entry at row {src[edge]}, column {dst[edge]} {what}; an "
            "edge is a 1 that is stored once, and other weights cannot be kept: pass matrix != 0"
        )
    return torch.from_numpy(src), torch.from_numpy(dst)


def _check_by_name(what: str, given: object, names: str) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a dict from {names} to values, got {type(given).__name__}")


def _check_types(what: str, by_type: dict, num_nodes: dict[str, int]) -> None:
    _check_by_name(what, by_type, "node type")
    unknown = sorted(set(by_type) - set(num_nodes))
    if unknown:
        raise ValueError(f"{what} has node types {unknown}, which are not in {list(num_nodes)}")


def _floats(values: object, name: str) -> Tensor:
    return as_features(numbers(values, name, if_missing=FILL_X), name)


def from_networkx(
    network: "networkx.Graph",
    *,
    node_type: str | None = None,
    relation: str | None = None,
    x: str | None = None,
    label: str | None = None,
) -> tuple[HeteroGraph, dict[str, list]]:
    """Make a graph of a NetworkX Graph, DiGraph, MultiGraph or MultiDiGraph.

    The arguments name the attributes to read; no other is taken over. Edges without direction lead
    both ways between two nodes of one type, and otherwise from the type that comes first among the
    nodes; gadkit reads every relation in both directions anyway. Parallel edges are all kept.

    Args:
        network: nodes may be any objects.
        node_type: node attribute with the type; without, every node is a "node".
        relation: edge attribute with the name of the relation, which gets the node types around it
            where several pairs of them share it; without, it is "to" in a graph of one node type,
            and else <source type>_to_<destination type>.
        x: node attribute with the features: a number, or as many for every node of the type.
        label: node attribute with 1 = anomaly or 0 = normal; absent, None or -1 where unknown.

    Returns:
        The graph, and by node type the nodes: node i of the type is the i-th of the list.

    Raises:
        ValueError: a node or an edge lacks an attribute, no node has features or labels of that
            name, features have several lengths, or the relations do not make a graph; the message
            says where.
    """
    if not all(hasattr(network, name) for name in ("nodes", "edges", "is_directed")):
        raise TypeError(
            f"expected a NetworkX graph, got {type(network).__name__}; of adjacency lists "
            "networkx.Graph() makes one, of a graph of igraph its .to_networkx(), and from_scipy() "
            "reads matrices"
        )
    for name in (x, label):
        _check_attribute(network, name)
    ids: dict[str, list] = {}
    for node, attributes in network.nodes(data=True):
        ids.setdefault(_attribute(attributes, node_type, NODE, f"node {node!r}"), []).append(node)
    place = {node: (name, i) for name, nodes in ids.items() for i, node in enumerate(nodes)}
    num_nodes = {name: len(nodes) for name, nodes in ids.items()}
    edges = {
        edge_type: _csr(edge_type, *torch.tensor(pairs).unbind(1), num_nodes)
        for edge_type, pairs in _pairs_of(network, place, relation, list(ids)).items()
    }
    edges = _named_apart(edges)
    features = x and {name: _features(network, nodes, x) for name, nodes in ids.items()}
    y = {name: _node_labels(network, nodes, label) for name, nodes in ids.items()} if label else {}
    return HeteroGraph(num_nodes, edges, features, _labels(num_nodes, y)), ids


def _check_attribute(network: "networkx.Graph", name: str | None) -> None:
    """Check that a node has it: a name that none has is misspelt, and no way to say "unknown"."""
    every = [attributes for _, attributes in network.nodes(data=True)]
    if name is not None and every and not any(name in attributes for attributes in every):
        names = sorted({str(key) for attributes in every for key in attributes})
        raise ValueError(f"no node has the attribute {name!r}; they have {names}")


def _attribute(attributes: dict, name: str | None, default: str, where: str) -> str:
    if name is None:
        return default
    if name not in attributes:
        raise ValueError(f"{where} has no attribute {name!r}; it has {[*attributes]}")
    if is_missing(attributes[name]) or str(attributes[name]).strip() == "":
        raise ValueError(f"{name!r} of {where} is {attributes[name]!r}; give it a name")
    value = attributes[name]
    # A column of a table that has gaps holds 1 as 1.0.
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value) if is_whole else value)


def _pairs_of(
    network: "networkx.Graph",
    place: dict,
    relation: str | None,
    node_types: list[str],
) -> dict[EdgeType, list[tuple[int, int]]]:
    """Return by relation the pairs (source, destination), numbered within their types."""
    directed, pairs = network.is_directed(), {}
    for source, target, attributes in network.edges(data=True):
        (src, i), (dst, j) = place[source], place[target]
        if not directed and node_types.index(src) > node_types.index(dst):
            (src, i), (dst, j) = (dst, j), (src, i)
        default = TO if len(node_types) == 1 else f"{src}_to_{dst}"
        if isinstance(attributes.get(relation), tuple):  # as PyTorch Geometric's to_networkx
            attributes = {relation: _name_of(attributes[relation], (src, dst), source, target)}
        name = _attribute(attributes, relation, default, f"edge {(source, target)!r}")
        edges = pairs.setdefault((src, name, dst), [])
        edges.append((i, j))
        if not directed and src == dst and i != j:
            edges.append((j, i))
    return pairs


def _name_of(triple: tuple, types: tuple[str, str], source: object, target: object) -> str:
    """Return the relation of (source type, relation, destination type), which has to fit."""
    if len(triple) != 3 or {str(triple[0]), str(triple[2])} != {*types}:
        raise ValueError(
            f"the relation of edge {(source, target)!r} is {triple!r}, which is no name, and no "
            f"(source type, relation, destination type) between {types[0]!r} and {types[1]!r}: say "
            "with node_type which attribute of a node holds its type"
        )
    return triple[1]


def _features(network: "networkx.Graph", nodes: list, name: str) -> Tensor:
    rows: list[np.ndarray] = []
    for node in nodes:
        value = _plain(network.nodes[node].get(name))
        try:
            row = np.atleast_1d(np.asarray(value))
        except (RuntimeError, TypeError, ValueError):  # lists of several lengths, a GPU's tensor
            row = np.empty((0, 0))
        is_row = row.dtype.kind in "biuf" and row.ndim == 1 and not np.ma.is_masked(value)
        if not is_row or len(row) != len((rows or [row])[0]):
            raise ValueError(
                f"{name!r} of node {node!r} must be a number or a list of numbers, as many as for "
                f"node {nodes[0]!r} of the same type, got {value!r}"
            )
        rows.append(row)
    return _floats(np.stack(rows), f"{name!r} of the nodes")


def _node_labels(network: "networkx.Graph", nodes: list, name: str) -> Tensor:
    values = [_plain(network.nodes[node].get(name)) for node in nodes]
    for node, value in zip(nodes, values, strict=True):
        if not _is_label(value):
            raise ValueError(
                f"{name!r} of node {node!r} is {value!r}; it must be 1 (anomaly), 0 (normal), "
                "or -1, None or absent (unknown)"
            )
    return torch.tensor([UNKNOWN if value is None else int(value) for value in values])


def _plain(value: object) -> object:
    """Return a tensor as what NumPy reads, and anything else as it is."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return value
    value = value.detach().cpu()
    return (value.double() if value.is_floating_point() else value).numpy()


def _is_label(value: object) -> bool:
    if np.ndim(value) > 0 or (value is not None and is_missing(value)) or np.iscomplexobj(value):
        return False
    return value in (None, 0, 1, UNKNOWN)
