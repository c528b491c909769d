"""Readers: from the files of a published data set, as its authors wrote them, to `Converted`.

A reader takes the authors' file, or the folder it was extracted to. It raises FileNotFoundError
where a file is missing, and ValueError, naming file and place, where the content does not fit. The
readers of data sets with classes also take `positive`, the class to find (`layout.one_class`).
Where the authors' file holds masks of a split into train, val and test nodes, they are read; but
not those of PyGOD's Cora, which were made for the topics of papers.

Here are the graphs that are published as arrays. Of those published as tables, `payments` reads
payments, which become nodes, and `networks` nodes and edges.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from gadkit import store
from gadkit.graph import CSR, HeteroGraph
from gadkit.graph.build import assemble
from gadkit.published import edge_index, networks, payments, pickles
from gadkit.published.fields import find
from gadkit.published.layout import (
    AMAZON_UNLABELLED,
    AMAZON_USERS,
    Arrays,
    Converted,
    described,
    distinct_edges,
    from_arrays,
    one_class,
    published_masks,
    row_counts,
)
from gadkit.published.matlab import Sparse, read_mat

_HELPFUL = {
    "meaning": "fewer than 20 % of the votes call the user's reviews helpful",
    "kind": "proxy",
}
_FILTERED = {"meaning": "Yelp's own filter hides the review", "kind": "proxy"}
_VIOLATIONS = {
    "meaning": "regulators disclosed more than three violations in financial statements",
    "kind": "adjudicated",
}
_REPEATED, _LOOP = "repeats another edge", "leads from a node to itself"


def npz(path: Path, *, positive: int | str | None = None) -> Converted:
    """Read an .npz in the import layout; where `y` holds classes, `positive` must say which.

    A relation is taken as it is stored: repeated entries and loops are kept. A file with
    `edge_index` is read by `edge_index.read`.
    """
    path = find(path, "*.npz")
    with store.errors_about(path):
        arrays = store.read_npz(path)
        if edge_index.EDGES in arrays:
            return edge_index.read(arrays, positive=positive)
        about, y = {}, arrays.get("y")
        if y is not None and positive is not None:
            arrays["y"], about["labels"] = one_class(y, positive)
        elif y is not None and y.dtype.kind in "iuf" and y.size and y.max() > 1:
            node = int(np.flatnonzero(y > 1)[0])
            raise ValueError(
                f"array 'y' is {y[node]:g} at node {node}; labels are -1 (unknown), 0 (normal) or "
                "1 (anomaly). Where they are classes, say which one to find, by its number or as "
                f"the rarest: gadkit data add npz {path} --positive rarest"
            )
        return from_arrays(arrays, about)


def care_gnn_mat(path: Path) -> Converted:
    """Read YelpChi.mat, Amazon.mat, or another .mat with sparse `net_<relation>`.

    YelpChi becomes reviews, users and products; Amazon users, of whom the first 3,305 have no label
    in the published protocol, although the file holds zeros. An entry is an edge whatever its
    value, save 0.
    """
    path = find(path, "*.mat")
    with store.errors_about(path):
        arrays = _mat_arrays(read_mat(path))
        return from_arrays(arrays, _care_gnn_about(arrays))


def _mat_arrays(content: dict) -> Arrays:
    """Lay the sparse `net_<relation>`, `features` and `label` of CARE-GNN out as arrays."""
    arrays = {}
    for key in sorted(content):
        if key.startswith("net_"):
            csr = _net(content[key], key)
            name = key.removeprefix("net_")
            arrays[f"{name}_row_ptr"] = csr.indptr.numpy()
            arrays[f"{name}_col_idx"] = csr.indices.numpy()
    if not arrays:
        raise ValueError(f"no sparse matrix named net_<relation>; found {sorted(content)}")
    features, label = content.get("features"), content.get("label")
    if features is not None:
        arrays["x"] = features.dense() if isinstance(features, Sparse) else features
    if label is not None:
        arrays["y"] = (label.dense() if isinstance(label, Sparse) else label).ravel()
    return arrays


def _net(matrix: object, key: str) -> CSR:
    """Read a relation; its rows stay rows."""
    if not isinstance(matrix, Sparse) or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"array {key!r} must be a square sparse matrix")
    rows, columns, _ = matrix.entries()
    num = matrix.shape[0]
    return distinct_edges(columns, rows, num_src=num, num_dst=num)[0]


def _care_gnn_about(arrays: Arrays) -> dict:
    if "rur_row_ptr" in arrays:
        return {"labels": _FILTERED}
    if "upu_row_ptr" not in arrays:
        return {}
    if len(arrays.get("y", ())) != AMAZON_USERS:
        return {"labels": _HELPFUL}
    unlabelled = f"; the first {AMAZON_UNLABELLED:,} users have no label in the published protocol"
    return {"labels": _HELPFUL | {"meaning": _HELPFUL["meaning"] + unlabelled}}


def heterophilous_npz(path: Path) -> Converted:
    """Read tolokers.npz or questions.npz: `node_features`, `node_labels`, `edges`, ten splits.

    Edges are undirected and become one entry in each direction.
    """
    path = find(path, "*.npz")
    with store.errors_about(path):
        arrays = store.read_npz(path)
        x, y = _needed(arrays, "node_features", 2), _needed(arrays, "node_labels", 1)
        pairs = _needed(arrays, "edges", 2, width=2)
        both_ways = np.concatenate([pairs, pairs[:, ::-1]])
        csr, repeats = _distinct(both_ways[:, 0], both_ways[:, 1], len(x), "edges")
        graph = _one_type(x, y, {"edge": csr})
        about = {"rows": row_counts(len(both_ways), {_REPEATED: repeats})}
        return described(graph, about, masks=published_masks(arrays, "node", len(x)))


def _needed(arrays: Arrays, name: str, ndim: int, *, width: int | None = None) -> np.ndarray:
    array = arrays.get(name)
    if array is None or array.ndim != ndim or array.dtype.kind not in "iufb":
        got = "nothing" if array is None else f"{array.shape} {array.dtype}"
        raise ValueError(f"array {name!r} must be {ndim}-D numbers, got {got}; found {[*arrays]}")
    if width is not None and array.shape[1] != width:
        raise ValueError(f"array {name!r} must have {width} columns, got {array.shape}")
    return array


def _distinct(src: np.ndarray, dst: np.ndarray, num_nodes: int, what: str) -> tuple[CSR, int]:
    if src.dtype.kind not in "iu":
        raise ValueError(f"array {what!r} must be integers, got {src.dtype}")
    with store.errors_about(f"array {what!r}"):
        return distinct_edges(
            src.astype(np.int64), dst.astype(np.int64), num_src=num_nodes, num_dst=num_nodes
        )


def _one_type(
    x: np.ndarray, y: np.ndarray, relations: dict[str, CSR], node_type: str = "node"
) -> HeteroGraph:
    """Assemble a graph of one type of node."""
    num = next(iter(relations.values())).num_dst
    if not len(x) == len(y) == num:
        raise ValueError(f"there are {num} nodes, {len(x)} rows of features and {len(y)} labels")
    x_by_type = {node_type: torch.from_numpy(np.asarray(x, np.float32))}
    edges = {(node_type, name, node_type): csr for name, csr in relations.items()}
    return assemble({node_type: num}, edges, x_by_type, y, node_type)


def pygod_pt(path: Path) -> Converted:
    """Read one of PyGOD's .pt files, without PyTorch Geometric and without running its pickle.

    Organic sets have y in {0, 1}. Where anomalies were injected, y holds bits (1 contextual, 2
    structural), and any of them counts as 1. Edges keep their direction, and loops are kept.
    """
    path = find(path, "*.pt")
    arrays = pickles.read_pyg(path)
    with store.errors_about(path):
        x, y = _needed(arrays, "x", 2), _needed(arrays, "y", 1)
        edge_index = _needed(arrays, "edge_index", 2)
        if len(edge_index) != 2:
            raise ValueError(f"array 'edge_index' must have 2 rows, got {edge_index.shape}")
        csr, repeats = _distinct(*edge_index, len(x), "edge_index")
        y, labels = _planted(y)
        graph = _one_type(x, y, {"edge": csr})
        about = {"rows": row_counts(edge_index.shape[1], {_REPEATED: repeats}), "labels": labels}
        return described(graph, about)


def _planted(y: np.ndarray) -> tuple[np.ndarray, dict | None]:
    """Read the bits of injected anomalies."""
    wrong = np.flatnonzero(~np.isin(y, (0, 1, 2, 3)))
    if len(wrong):
        raise ValueError(
            f"array 'y' is {y[wrong[0]]} at node {wrong[0]}; labels are 0 (normal) or the bits "
            "1 (contextual) and 2 (structural)"
        )
    y = y.astype(np.int8)
    if y.max(initial=0) <= 1:
        return y, None
    meaning = f"planted: {(y & 1).sum():,} contextual, {(y >> 1).sum():,} structural"
    return (y > 0).astype(np.int8), {"meaning": meaning, "kind": "injected"}


def fdcompcn(path: Path) -> Converted:
    """Read FDCompCN: comp.dgl with relations of companies, `feature`, `label` and masks.

    The authors gave every company an edge to itself in each relation; such loops and repeated
    edges are left out, and so is `homo`, the union of the other relations. Edges keep their
    direction.
    """
    path = find(path, "*.dgl")
    edges, nodes = pickles.read_dgl(path)
    with store.errors_about(path):
        if len(nodes) != 1:
            raise ValueError(f"expected one node type, found {', '.join(nodes)}")
        num, arrays = next(iter(nodes.values()))
        x, y = _needed(arrays, "feature", 2), _needed(arrays, "label", 1)
        relations, loops, repeats, read = {}, 0, 0, 0
        for (_, name, _), (src, dst) in edges.items():
            if name == "homo" and len(edges) > 1:
                continue
            straight = src != dst
            csr, num_repeats = _distinct(src[straight], dst[straight], num, name)
            relations[name] = csr
            read, loops, repeats = read + len(src), loops + (~straight).sum(), repeats + num_repeats
        graph = _one_type(x, y, relations, "company")
        rows = row_counts(read, {_LOOP: loops, _REPEATED: repeats})
        masks = published_masks(arrays, "company", num)
        return described(graph, {"labels": _VIOLATIONS, "rows": rows}, masks=masks)


def reddit(path: Path, *, positive: int | str | None = None) -> Converted:
    """Read Reddit's posts: reddit_data.npz and reddit_graph.npz (233 thousand nodes, 115 million
    edges, 41 communities, of which `positive` is taken for the anomaly).

    Repeated edges are merged. `node_types` says who is in train, val and test. It needs about 12 GB
    of memory.
    """
    data, links = find(path, "reddit_data.npz"), find(path, "reddit_graph.npz")
    with store.errors_about(data):
        arrays = store.read_npz(data)
        x, y = _needed(arrays, "feature", 2), _needed(arrays, "label", 1)
        y, labels = one_class(y, "rarest" if positive is None else positive)
        ids = {"post": arrays["node_ids"].astype(str)} if "node_ids" in arrays else {}
        masks = published_masks(_masks_of(arrays), "post", len(x))
    with store.errors_about(links):
        src, dst = _sparse_pairs(store.read_npz(links))
        csr, repeats = _distinct(src, dst, len(x), "row, col")
    with store.errors_about(data):
        graph = _one_type(x, y, {"shares_commenter": csr}, "post")
    about = {"labels": labels, "rows": row_counts(len(src), {_REPEATED: repeats})}
    return described(graph, about, ids=ids, masks=masks)


def _masks_of(arrays: Arrays) -> Arrays:
    """Part the numbers of `node_types`, where there are any: 1 train, 2 val, 3 test."""
    numbered = enumerate(("train", "val", "test"), start=1) if "node_types" in arrays else ()
    return {f"{part}_mask": arrays["node_types"] == number for number, part in numbered}


def _sparse_pairs(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Take rows and columns of what scipy.sparse.save_npz has written as COO or CSR."""
    if "row" in arrays:
        return _needed(arrays, "row", 1), _needed(arrays, "col", 1)
    indptr, indices = (_needed(arrays, name, 1) for name in ("indptr", "indices"))
    for name, array in (("indptr", indptr), ("indices", indices)):
        if array.dtype.kind not in "iu":
            raise ValueError(f"array {name!r} must be integers, got {array.dtype}")
    indptr, indices = (torch.from_numpy(array.astype(np.int64)) for array in (indptr, indices))
    csr = CSR(indptr, indices, len(indptr) - 1)
    return csr.dst().numpy(), indices.numpy()


_PLANETOID = ("x", "tx", "allx", "y", "ty", "ally", "graph")


def planetoid(path: Path, *, positive: int | str | None = None) -> Converted:
    """Read Cora, CiteSeer or PubMed: ind.NAME.{x,tx,allx,y,ty,ally,graph,test.index}.

    One class of papers is taken for the anomaly. Citations go both ways; repeated ones are merged,
    and loops left out. Papers that are in no part of the files (CiteSeer has 15) have features of
    0 and no label.
    """
    index = find(path, "ind.*.test.index")
    stem = index.name.removesuffix("test.index")
    content = {part: pickles.read_pickle(find(index.parent, stem + part)) for part in _PLANETOID}
    with store.errors_about(index):
        order = np.loadtxt(index, dtype=np.int64, ndmin=1)
    with store.errors_about(index.parent / stem.rstrip(".")):
        trained, tested = _dense(content, "allx"), _dense(content, "tx")
        if len(order) != len(tested) or order.min(initial=len(trained)) < len(trained):
            raise ValueError(
                f"test.index has {len(order)} nodes from {order.min()}, "
                f"but tx has {len(tested)} rows and allx {len(trained)}"
            )
        num = max(len(trained), int(order.max(initial=-1)) + 1)
        x, y = np.zeros((num, trained.shape[1]), np.float32), np.full(num, -1)
        x[: len(trained)], x[order] = trained, tested
        y[: len(trained)], y[order] = _classes(content, "ally"), _classes(content, "ty")
        y, labels = one_class(y, "rarest" if positive is None else positive)
        src, dst = _adjacency(content["graph"])
        straight = src != dst
        src, dst = src[straight], dst[straight]
        both_ways = np.concatenate([src, dst]), np.concatenate([dst, src])
        csr, repeats = _distinct(*both_ways, num, "graph")
        graph = _one_type(x, y, {"cites": csr}, "paper")
    unused = {_LOOP: 2 * (~straight).sum(), _REPEATED: repeats}
    return described(graph, {"labels": labels, "rows": row_counts(2 * len(straight), unused)})


def _dense(content: dict, part: str) -> np.ndarray:
    """Make a sparse matrix, held as its parts, dense."""
    matrix = content[part]
    state = vars(matrix) if isinstance(matrix, pickles.Held) else {}
    arrays = [state.get(name) for name in ("indptr", "indices", "data")]
    shape = state.get("_shape")
    if not all(isinstance(array, pickles.HeldArray) for array in arrays) or not _is_shape(shape):
        raise ValueError(f"{part} must be a sparse matrix, got {type(matrix).__name__}")
    with store.errors_about(part):
        indptr, indices, data = (array.array() for array in arrays)
        csr = CSR(torch.from_numpy(indptr).long(), torch.from_numpy(indices), shape[1])
        if (csr.num_dst, csr.num_edges) != (shape[0], len(data)):
            raise ValueError(f"a matrix of {csr.num_dst} rows says that it has {shape[0]}")
        dense = np.zeros(shape, np.float32)
        dense[csr.dst().numpy(), csr.indices.numpy()] = data
    return dense


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) == 2
        and all(isinstance(n, int) and 0 <= n < 1 << 24 for n in shape)
    )


def _classes(content: dict, part: str) -> np.ndarray:
    """Read one-hot rows; a row of zeros has no class."""
    matrix = content[part]
    if not isinstance(matrix, pickles.HeldArray):
        raise ValueError(f"{part} must be a matrix of numbers, got {type(matrix).__name__}")
    with store.errors_about(part):
        one_hot = matrix.array()
        if one_hot.ndim != 2 or not one_hot.shape[1]:
            raise ValueError(f"expected one row a node, got {one_hot.shape}")
    return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)


def _adjacency(graph: object) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(graph, defaultdict | dict) or not all(
        isinstance(neighbors, list) for neighbors in graph.values()
    ):
        raise ValueError("graph must be a dictionary of lists")
    degrees = np.fromiter(map(len, graph.values()), np.int64, len(graph))
    try:
        src = np.fromiter(graph, np.int64, len(graph)).repeat(degrees)
        dst = np.fromiter(chain.from_iterable(graph.values()), np.int64, degrees.sum())
    except TypeError as error:
        raise ValueError(f"graph must hold node numbers: {error}") from error
    return src, dst


READERS: dict[str, Callable[..., Converted]] = {
    "care_gnn_mat": care_gnn_mat,
    "heterophilous_npz": heterophilous_npz,
    "pygod_pt": pygod_pt,
    "fdcompcn": fdcompcn,
    "planetoid": planetoid,
    "reddit": reddit,
    "npz": npz,
    "s_ffsd": payments.s_ffsd,
    "elliptic": networks.elliptic,
    "amlsim": networks.amlsim,
    "amlworld": payments.amlworld,
    "bitcoin": networks.bitcoin,
    "tabformer": payments.tabformer,
    "ogbn_mag": networks.ogbn_mag,
    "rcdd": networks.rcdd,
}
