"""Graphs in an .npz file as a list of edges: `edge_index`, `x` and `y`, as DGraph-Fin has them.

DGraph-Fin  Huang et al., "DGraph: A Large-Scale Financial Dataset for Graph Anomaly Detection",
            NeurIPS 2022, Datasets and Benchmarks
"""

import re

import numpy as np

from gadkit import store
from gadkit.graph import CSR
from gadkit.graph.build import assemble
from gadkit.published.fields import step_range
from gadkit.published.layout import (
    Arrays,
    Converted,
    described,
    distinct_edges,
    one_class,
    published_masks,
    row_counts,
)

EDGES = "edge_index"

_X, _Y = ("x", "features", "feat", "node_features"), ("y", "label", "labels", "node_labels")
_TYPE, _TIME = "edge_type", "edge_timestamp"
_PART = re.compile("(train|val|valid|test)_(mask|idx|index)")
_DGRAPH_LABELS = {
    "meaning": "the user did not pay a loan back for a long time; users of the classes 2 and 3, "
    "who took none, have no label",
    "kind": "adjudicated",
}
_BACKGROUND = (2, 3)  # classes of DGraph-Fin that say nothing about fraud


def read(arrays: Arrays, *, positive: int | str | None = None) -> Converted:
    """Make a graph of edges between nodes of one type; repeated edges of one type are merged.

    Args:
        arrays: `edge_index` (num_edges, 2) or (2, num_edges) integers, from source to destination;
            if there, `edge_type` (num_edges,) integers, which make a relation each,
            `edge_timestamp` (num_edges,) numbers (a node is as old as its first edge), `x`
            (num_nodes, dim), `y` (num_nodes,): 1 anomaly, 0 normal, -1 unknown, or classes; masks
            of train, val and test, as `published_masks` takes them, or the numbers of their nodes.
        positive: where `y` holds classes, the one to take for the anomaly. Those of DGraph-Fin
            need no choice: 0 normal, 1 fraud, 2 and 3 unknown.

    Raises:
        ValueError: an array does not fit; the message names it.
    """
    src, dst = _ends(arrays)
    num_nodes = _num_nodes(arrays, src, dst)
    relations, repeats = _relations(arrays, src, dst, num_nodes)
    y, labels = _labels(arrays, num_nodes, positive)
    x = _first_of(arrays, _X)
    if x is not None:
        _check_rows(x, "x", num_nodes, ndim=2)
        x = np.asarray(x, np.float32)
    graph = assemble(
        {"node": num_nodes}, relations, {} if x is None else {"node": _tensor(x)}, y, "node"
    )
    about = {
        "labels": labels,
        "rows": row_counts(len(src), {"repeats another edge": repeats}),
    }
    time = None
    if _TIME in arrays:
        times = _per_edge(arrays, _TIME, len(src), "iuf").astype(np.float64)
        time = {"node": _first_times(src, dst, times, num_nodes)}
        about["time"] = step_range(_TIME, times) if len(times) else None
    masks = published_masks(_masks(arrays, num_nodes), "node", num_nodes)
    return described(graph, about, time=time, masks=masks)


def _tensor(x: np.ndarray):
    import torch

    return torch.from_numpy(x)


def _first_of(arrays: Arrays, names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _ends(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Take sources and destinations; two edges, which fit both ways, are rows of pairs."""
    edges = arrays[EDGES]
    if edges.ndim != 2 or 2 not in edges.shape or edges.dtype.kind not in "iu":
        raise ValueError(
            f"array {EDGES!r} must be (num_edges, 2) or (2, num_edges) integers, got {edges.shape} "
            f"{edges.dtype}"
        )
    if edges.shape == (2, 2):
        raise ValueError(
            f"array {EDGES!r} is (2, 2), which may be read by rows or by columns; add an edge"
        )
    pairs = edges if edges.shape[1] == 2 else edges.T
    if pairs.size and pairs.min() < 0:
        edge = int(pairs.min(axis=1).argmin())
        raise ValueError(f"array {EDGES!r}: edge {edge} is {pairs[edge].tolist()}; nodes are >= 0")
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


def _num_nodes(arrays: Arrays, src: np.ndarray, dst: np.ndarray) -> int:
    """Return how many nodes there are: rows of x or y, else one more than the last of an edge."""
    last = int(max(src.max(initial=-1), dst.max(initial=-1)))
    described_by = next((a for a in (_first_of(arrays, _X), _first_of(arrays, _Y)) if a is not None
                         and a.ndim), None)  # fmt: skip
    num_nodes = last + 1 if described_by is None else len(described_by)
    if last >= num_nodes:
        raise ValueError(f"array {EDGES!r} names node {last}, but there are {num_nodes:,} nodes")
    return num_nodes


def _relations(arrays: Arrays, src, dst, num_nodes: int) -> tuple[dict, int]:
    """Build a relation of each type of edge; also return how many repeats were left out."""
    types = np.zeros(len(src), np.int64)
    if _TYPE in arrays:
        types = _per_edge(arrays, _TYPE, len(src), "iu")
    relations: dict[tuple[str, str, str], CSR] = {}
    repeats = 0
    for number in np.unique(types).tolist():
        of_type = types == number
        csr, num = distinct_edges(src[of_type], dst[of_type], num_src=num_nodes, num_dst=num_nodes)
        name = f"type_{number}" if _TYPE in arrays else "edge"
        relations["node", name, "node"] = csr
        repeats += num
    if not relations:
        raise ValueError(f"array {EDGES!r} holds no edge")
    return relations, repeats


def _per_edge(arrays: Arrays, name: str, num_edges: int, kinds: str) -> np.ndarray:
    values = arrays[name]
    if values.shape not in ((num_edges,), (num_edges, 1)) or values.dtype.kind not in kinds:
        raise ValueError(
            f"array {name!r} must be ({num_edges},) numbers, one per edge, got {values.shape} "
            f"{values.dtype}"
        )
    return values.reshape(-1)


def _check_rows(array: np.ndarray, name: str, num_nodes: int, *, ndim: int) -> None:
    if array.ndim != ndim or len(array) != num_nodes or array.dtype.kind not in "iufb":
        shape = f"({num_nodes}, dim)" if ndim == 2 else f"({num_nodes},)"
        raise ValueError(f"array {name!r} must be {shape} numbers, got {array.shape} {array.dtype}")


def _labels(arrays: Arrays, num_nodes: int, positive) -> tuple[np.ndarray | None, dict | None]:
    y = _first_of(arrays, _Y)
    if y is None:
        return None, None
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    _check_rows(y, "y", num_nodes, ndim=1)
    if positive is not None:
        return one_class(y, positive)
    if _TIME in arrays and _TYPE in arrays and np.isin(y, (0, 1, *_BACKGROUND)).all():
        if np.isin(y, _BACKGROUND).any():
            return np.where(np.isin(y, _BACKGROUND), -1, y), _DGRAPH_LABELS
        return y, None
    if y.size and y.max() > 1:
        node = int(np.flatnonzero(y > 1)[0])
        raise ValueError(
            f"array 'y' is {y[node]:g} at node {node}; labels are -1 (unknown), 0 (normal) or 1 "
            "(anomaly). Where they are classes, say which one to find, by its number or as the "
            "rarest: gadkit data add npz FILE --positive rarest"
        )
    return y, None


def _first_times(src, dst, times: np.ndarray, num_nodes: int) -> np.ndarray:
    """Return when each node has its first edge, (num_nodes,) float64, NaN where it has none."""
    first = np.full(num_nodes, np.inf)
    for ends in (src, dst):
        np.minimum.at(first, ends, times)
    return np.where(np.isinf(first), np.nan, first)


def _masks(arrays: Arrays, num_nodes: int) -> Arrays:
    """Make masks of lists of nodes, which DGraph-Fin calls masks too."""
    masks = {}
    for name, values in arrays.items():
        match = _PART.fullmatch(name)
        if not match:
            continue
        is_list = values.ndim == 1 and values.dtype.kind in "iu" and len(values) != num_nodes
        if is_list:
            with store.errors_about(f"array {name!r}"):
                values = _mask_of(values, num_nodes)
        masks[f"{match[1]}_mask"] = values
    return masks


def _mask_of(nodes: np.ndarray, num_nodes: int) -> np.ndarray:
    if len(nodes) and not 0 <= nodes.min() <= nodes.max() < num_nodes:
        raise ValueError(f"names node {nodes.max()}, but there are {num_nodes:,} nodes")
    mask = np.zeros(num_nodes, np.int8)
    mask[nodes] = 1
    return mask
