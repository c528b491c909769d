"""A directed graph whose nodes and edges have attributes: what is searched, and what is looked for.

Edges may be given in any order. They are kept sorted by source, destination and attributes, so that
no result depends on how they came, and listed a second time by destination.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from gadkit.graph.arrays import Array, as_ids, numbers
from gadkit.match import _cpu

NORMAL_QUARTILES = 1.349  # distance of the quartiles of a normal distribution, in deviations


class Links(NamedTuple):
    """The edges as kernels take them. Edge e is the e-th by (source, destination, attributes).

    Attributes:
        ptr: (num_nodes + 1,); the edges out of node i are ptr[i]:ptr[i + 1].
        dst: (num_edges,) their destinations, ascending within a node.
        in_ptr: (num_nodes + 1,); the entries of the edges into node j are in_ptr[j]:in_ptr[j + 1].
        in_src: (num_edges,) source of each entry.
        in_edge: (num_edges,) the edge that an entry is.
        attr: (num_edges, edge_dim) float32 or float64.
    """

    ptr: np.ndarray
    dst: np.ndarray
    in_ptr: np.ndarray
    in_src: np.ndarray
    in_edge: np.ndarray
    attr: np.ndarray


class AttributedGraph:
    """Nodes and directed edges with attributes; loops and repeated edges may be among them.

    Args:
        x: (num_nodes, dim) real, finite; attributes of the nodes. float32 and float64 are kept as
            they are, other numbers become float64. dim may be 0.
        src: (num_edges,) integer source of each edge, in any order.
        dst: (num_edges,) integer destination of each edge.
        edge_attr: (num_edges, edge_dim) as x; attributes of the edges. None are no columns.
        node_type: (num_nodes,) integer; a pattern node is matched by nodes of its type alone. None
            is one type, 0.

    Attributes:
        links: the edges, see `Links`; pointers and ids are int32 where they fit, else int64.
        rows: (num_edges,) int64; the place of each edge of `links` among those given.

    Raises:
        TypeError: something holds no numbers, or ids are no integers.
        ValueError: shapes disagree, an id is out of range, an attribute is not finite, or there are
            no nodes; the message says where.
    """

    def __init__(
        self,
        x: Array,
        src: Array,
        dst: Array,
        edge_attr: Array | None = None,
        node_type: Array | None = None,
    ):
        self.x = _attributes(x, "x", None)
        if not len(self.x):
            raise ValueError("x has no rows, so there are no nodes; give a row for each node")
        src, dst = (_node_ids(ids, name, len(self.x)) for ids, name in ((src, "src"), (dst, "dst")))
        if len(src) != len(dst):
            raise ValueError(
                f"src has {len(src):,} entries, dst {len(dst):,}; an edge has one in each"
            )
        attr = np.empty((len(src), 0)) if edge_attr is None else edge_attr
        self.links, self.rows = _sorted(
            src, dst, _attributes(attr, "edge_attr", len(src)), len(self.x)
        )
        if node_type is None:
            node_type = np.zeros(len(self.x), np.int32)
        self.node_type = as_ids(node_type, "node_type").numpy().astype(np.int32)
        if self.node_type.shape != (len(self.x),):
            raise ValueError(
                f"node_type must be ({len(self.x)},), one for each row of x, got "
                f"{self.node_type.shape}"
            )

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.x)

    @property
    def num_edges(self) -> int:
        """Number of edges, repeated ones counted."""
        return len(self.links.dst)

    @property
    def edge_attr(self) -> np.ndarray:
        """Attributes of the edges in the order of `links`, (num_edges, edge_dim)."""
        return self.links.attr

    @property
    def src(self) -> np.ndarray:
        """Source of every edge in the order of `links`, (num_edges,) int32 or int64."""
        ids = np.arange(self.num_nodes, dtype=self.links.dst.dtype)
        return np.repeat(ids, np.diff(self.links.ptr))

    @property
    def dst(self) -> np.ndarray:
        """Destination of every edge in the order of `links`, (num_edges,) int32 or int64."""
        return self.links.dst

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of edges at every node, in and out, (num_nodes,) int64."""
        return np.diff(self.links.ptr).astype(np.int64) + np.diff(self.links.in_ptr)

    @cached_property
    def node_weight(self) -> np.ndarray:
        """What makes a typical difference in each column of x about 1, (dim,); see `robust`."""
        return robust_weight(self.x)

    @cached_property
    def edge_weight(self) -> np.ndarray:
        """The same for the attributes of the edges, (edge_dim,)."""
        return robust_weight(self.edge_attr)

    def neighbors(self, node: int) -> np.ndarray:
        """Return the other ends of a node's edges, in and out, ascending and each once."""
        links = self.links
        out = links.dst[links.ptr[node] : links.ptr[node + 1]]
        into = links.in_src[links.in_ptr[node] : links.in_ptr[node + 1]]
        ends = np.unique(np.concatenate([out, into]))
        return ends[ends != node]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.num_nodes:,} nodes x {self.x.shape[1]}, "
            f"{self.num_edges:,} edges x {self.edge_attr.shape[1]})"
        )


def robust_weight(x: np.ndarray) -> np.ndarray:
    """Return 1 / spread of each column, (dim,) float64.

    The spread is the distance of the quartiles, as if it were that of a normal distribution in
    standard deviations; where these are equal, the standard deviation. Columns of zeros and ones,
    as of a one-hot code, and columns that are constant keep the weight 1.
    """
    weight = np.ones(x.shape[1])
    for k in range(x.shape[1] if len(x) else 0):
        column = np.ascontiguousarray(x[:, k], np.float64)
        if ((column == 0) | (column == 1)).all():
            continue
        rank = (len(column) - 1) // 4
        ends = column.min(), column.max()
        low, high = (_cpu.select(column, r, *ends) for r in (rank, len(column) - 1 - rank))
        spread = (high - low) / NORMAL_QUARTILES or column.std()
        weight[k] = 1 / spread if spread > 0 else 1.0
    return weight


def _attributes(x: Array, name: str, rows: int | None) -> np.ndarray:
    """Check attributes; return them as float32 or float64 rows without gaps."""
    values = numbers(x, name, if_missing="fill it, or leave the column out").detach().cpu().numpy()
    if values.ndim != 2 or (rows is not None and len(values) != rows):
        wanted = "num_nodes" if rows is None else f"{rows}"
        column = f"; give one column as {name}[:, None]" if values.ndim == 1 else ""
        raise ValueError(f"{name} must be ({wanted}, dim), got {values.shape}{column}")
    dtype = values.dtype if values.dtype in (np.float32, np.float64) else np.float64
    values = np.ascontiguousarray(values, dtype)
    for start in range(0, len(values), 1 << 16):  # in blocks, which need no mask of all of it
        bad = np.argwhere(~np.isfinite(values[start : start + (1 << 16)]))
        if len(bad):
            row, column = bad[0][0] + start, bad[0][1]
            raise ValueError(
                f"{name} is {values[row, column]} at row {row}, column {column}; a distance to it "
                "is none: fill it, or leave the row or the column out"
            )
    return values


def _node_ids(ids: Array, name: str, num_nodes: int) -> np.ndarray:
    ids = as_ids(ids, name).detach().cpu().numpy()
    if ids.ndim != 1:
        raise ValueError(f"{name} must be 1-D, one node an edge, not {ids.shape}; .flatten() it")
    if len(ids) and (ids.min() < 0 or ids.max() >= num_nodes):
        edge = int(np.argmax((ids < 0) | (ids >= num_nodes)))
        raise ValueError(
            f"{name}[{edge}] is {ids[edge]}, outside [0, {num_nodes}); number the nodes by the "
            "rows of x"
        )
    return ids.astype(np.int32 if num_nodes < 2**31 else np.int64)


def _sorted(
    src: np.ndarray, dst: np.ndarray, attr: np.ndarray, num_nodes: int
) -> tuple[Links, np.ndarray]:
    """Sort edges by (source, destination, attributes); return them and where each came from."""
    dtype = np.int32 if len(src) < 2**31 else np.int64
    by_dst = _cpu.sorted_by(dst, num_nodes)[1]
    ptr, order = _cpu.sorted_by(src[by_dst], num_nodes)
    rows = by_dst[order]
    del by_dst, order
    src, dst = src[rows], dst[rows]
    rows = _tied_by_attributes(src, dst, attr, rows)
    in_ptr, in_edge = _cpu.sorted_by(dst, num_nodes)
    links = Links(
        ptr.astype(dtype), dst, in_ptr.astype(dtype), src[in_edge], in_edge.astype(dtype),
        np.ascontiguousarray(attr[rows]),
    )  # fmt: skip
    return links, rows


def _tied_by_attributes(
    src: np.ndarray, dst: np.ndarray, attr: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Put edges between the same two nodes, which follow one another, into order by attributes."""
    repeats = (src[1:] == src[:-1]) & (dst[1:] == dst[:-1])
    if not repeats.any() or not attr.shape[1]:
        return rows
    in_run = np.zeros(len(src), bool)
    in_run[1:] = repeats
    run = np.cumsum(~in_run)
    in_run[:-1] |= repeats
    place = np.flatnonzero(in_run)
    keys = [*attr[rows[place]].T[::-1], run[place]]
    rows[place] = rows[place[np.lexsort(keys)]]
    return rows
