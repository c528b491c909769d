"""Typed nodes and their relations: `HeteroGraph`, over one `CSR` for each relation.

Nodes of all types are also numbered through, type after type: the global ids of files and labels.
"""

import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph.arrays import Array, as_count, as_features, as_tensor, distinct
from gadkit.graph.csr import (
    CHUNK,
    CSR,
    TASK,
    EdgeType,
    RowPlan,
    check_indptr,
    checksum,
    indptr_of,
)


class Stream(NamedTuple):
    """One direction of one relation, as message passing sees it.

    Attributes:
        relation: name shared by both directions, which share their weights.
        edge_type: (source type, name, destination type); `rev_` marks the reverse.
        csr: rows of the destination type.
    """

    relation: str
    edge_type: EdgeType
    csr: CSR


class HeteroGraph:
    """Typed nodes, one `CSR` per relation, node features and a few labels.

    Nodes also have a global id: types follow one another in the order of `num_nodes`.

    Args:
        num_nodes: number of nodes of each type, in global order.
        edges: the relations; `(src, name, dst)` has `num_nodes[dst]` rows and `num_nodes[src]`
            sources.
        x: (num_nodes[type], dim of that type) float32 for every type, or None. Other numbers
            become so.
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly], or None. Like x these may be
            arrays of other libraries, see `graph.as_tensor`.

    Raises:
        TypeError: a number of nodes is no whole number, or x or labels are no arrays.
        ValueError: sizes disagree, a relation or the graph is empty, a type has no edges, a feature
            is not finite, or a label is wrong; the message says where.
    """

    def __init__(
        self,
        num_nodes: dict[str, int],
        edges: dict[EdgeType, CSR],
        x: dict[str, Array] | None = None,
        labels: Array | None = None,
    ):
        self.num_nodes = {
            kind: as_count(count, f"the number of {kind} nodes")
            for kind, count in num_nodes.items()
        }
        self.edges, self.x, self.labels = dict(edges), x, labels
        if x is not None:
            if not isinstance(x, Mapping):
                raise TypeError(
                    f"x must be a dict from node type to features, got {type(x).__name__}; there "
                    f"are the types {list(num_nodes)}"
                )
            rows_of = {f"x[{kind!r}]": (kind, rows) for kind, rows in x.items()}
            self.x = {
                kind: as_features(as_tensor(rows, name), name)
                for name, (kind, rows) in rows_of.items()
            }
        if labels is not None:
            labels = as_tensor(labels, "labels")
            inexact = labels.is_floating_point() or labels.is_complex()
            is_integer = not inexact and labels.dtype != torch.bool
            self.labels = labels.long() if is_integer else labels
        self._check_edges()
        self._check_features()
        if labels is not None:
            check_labels(self.labels, self.total)

    def _check_edges(self) -> None:
        if self.total == 0:
            raise ValueError("the graph has no nodes")
        connected, names = set(), [name for _, name, _ in self.edges]
        for (src, name, dst), csr in self.edges.items():
            if not isinstance(csr, CSR):
                raise TypeError(
                    f"relation {(src, name, dst)} must be a CSR, got {type(csr).__name__}; make "
                    "one with CSR.from_edges(), or the graph with graph.interop"
                )
            if names.count(name) > 1 or f"rev_{name}" in names:
                raise ValueError(
                    f"relation names must be unique, and a reverse is made where it is needed: "
                    f"rename or leave out one of {names.count(name)} {name!r} and "
                    f"{names.count(f'rev_{name}')} {f'rev_{name}'!r}"
                )
            if src not in self.num_nodes or dst not in self.num_nodes:
                raise ValueError(
                    f"relation {(src, name, dst)} names a node type that is not in "
                    f"{self.node_types}"
                )
            if (csr.num_src, csr.num_dst) != (self.num_nodes[src], self.num_nodes[dst]):
                raise ValueError(
                    f"relation {(src, name, dst)} is {csr.num_dst} x {csr.num_src} "
                    f"(destinations x sources), but there are {self.num_nodes[dst]} {dst} and "
                    f"{self.num_nodes[src]} {src} nodes"
                )
            if csr.num_edges == 0:
                raise ValueError(
                    f"relation {(src, name, dst)} has no edges; leave it out of the graph"
                )
            connected |= {src, dst}
        lonely = [node_type for node_type in self.num_nodes if node_type not in connected]
        if lonely:
            raise ValueError(
                f"node type {lonely[0]!r} has no edges in any relation; "
                "leave it out or add its relation"
            )

    def _check_features(self) -> None:
        if self.x is None:
            return
        unknown = [node_type for node_type in self.x if node_type not in self.num_nodes]
        if unknown:
            raise ValueError(
                f"x has the node type {unknown[0]!r}, which is not in {self.node_types}"
            )
        for node_type, count in self.num_nodes.items():
            x = self.x.get(node_type)
            if x is None or x.dim() != 2 or len(x) != count:
                got = None if x is None else tuple(x.shape)
                column = "; give one column as x[:, None]" if got == (count,) else ""
                raise ValueError(
                    f"x[{node_type!r}] must have shape ({count}, dim), got {got}{column}"
                )
            check_finite(x, f"x[{node_type!r}]")

    @property
    def node_types(self) -> list[str]:
        """Node types in global order."""
        return list(self.num_nodes)

    @property
    def edge_types(self) -> list[EdgeType]:
        """Relations as given, without their reverses."""
        return list(self.edges)

    @property
    def total(self) -> int:
        """Number of nodes of all types."""
        return sum(self.num_nodes.values())

    @property
    def device(self) -> torch.device:
        """Where the edges live."""
        return next(iter(self.edges.values())).device

    def to(self, device: torch.device | str) -> "HeteroGraph":
        """Return the same graph with its edges, features and labels on `device`."""
        edges = {edge_type: csr.to(device) for edge_type, csr in self.edges.items()}
        if all(edges[edge_type] is csr for edge_type, csr in self.edges.items()):
            return self  # with all that has been computed
        x = self.x and {node_type: self.x[node_type].to(device) for node_type in self.node_types}
        labels = None if self.labels is None else self.labels.to(device)
        return HeteroGraph(self.num_nodes, edges, x, labels)

    def offset(self, node_type: str) -> int:
        """Return the global id of the first node of a type."""
        before = self.node_types[: self.node_types.index(node_type)]
        return sum(self.num_nodes[name] for name in before)

    def span(self, node_type: str) -> slice:
        """Return the slice of global ids of a type."""
        start = self.offset(node_type)
        return slice(start, start + self.num_nodes[node_type])

    @property
    def labelled_types(self) -> list[str]:
        """Node types that have labels; empty without labels."""
        if self.labels is None:
            return []
        return [self.node_types[i] for i in self.node_type_of(self.labels[:, 0]).unique()]

    def label_of_nodes(self, labels: Tensor | None = None, *, unknown: float = -1) -> Tensor:
        """Lay labels out over all nodes, (total,) int64; a float `unknown` makes it float32.

        Args:
            labels: (n, 2) int64 rows [global id, label]; those of the graph if None.
            unknown: what nodes without a label get.
        """
        labels = self.labels if labels is None else labels
        out = torch.full((self.total,), unknown, device=self.device)
        if labels is not None:
            out[labels[:, 0]] = labels[:, 1].to(out.dtype)
        return out

    def node_type_of(self, ids: Tensor) -> Tensor:
        """Return the position in `node_types` of each global id, int64 of the same shape."""
        ends = torch.tensor(list(self.num_nodes.values()), device=ids.device).cumsum(0)
        return torch.searchsorted(ends, ids.contiguous(), right=True)

    @cached_property
    def streams(self) -> list[Stream]:
        """Both directions of every relation; a symmetric one is its own reverse and comes once."""
        streams = []
        for (src, name, dst), csr in self.edges.items():
            streams.append(Stream(name, (src, name, dst), csr))
            if not (src == dst and csr.is_symmetric):
                streams.append(Stream(name, (dst, f"rev_{name}", src), csr.transpose()))
        return streams

    @cached_property
    def homogeneous(self) -> CSR:
        """One symmetric CSR over all nodes: relations, their reverses and self-loops, each once."""
        parts = [self._rows_without_types(node_type) for node_type in self.node_types]
        counts, indices = (torch.cat(part) for part in zip(*parts, strict=True))
        csr = CSR(indptr_of(counts), indices, self.total)
        csr.__dict__.update(is_sorted=True, is_symmetric=True, _transpose=csr)
        return csr

    def _rows_without_types(self, node_type: str) -> tuple[Tensor, Tensor]:
        """Return the rows of `homogeneous` of a type: the number of entries of each, and what they
        are, int32, ascending within a row."""
        start, count = self.offset(node_type), self.num_nodes[node_type]
        row = torch.arange(count, device=self.device)
        keys = [row * self.total + (row + start)]  # as one number, the row in front
        for (src_type, _, dst_type), csr in self.edges.items():
            src, dst = csr.pairs()
            if dst_type == node_type:
                keys.append(dst * self.total + (src + self.offset(src_type)))
            if src_type == node_type:
                keys.append(src * self.total + (dst + self.offset(dst_type)))
        keys = distinct(torch.cat(keys))  # sorted, so rows come out sorted too
        counts = torch.bincount(keys // self.total, minlength=count)
        return counts, keys.remainder_(self.total).int()

    @cached_property
    def fingerprint(self) -> list[int]:
        """Checksums of everything the graph holds: equal for equal graphs, in any process."""
        tensors = [tensor for csr in self.edges.values() for tensor in (csr.indptr, csr.indices)]
        tensors += [self.x[name] for name in self.node_types] if self.x is not None else []
        tensors += [self.labels] if self.labels is not None else []
        names = zlib.crc32(repr((self.num_nodes, self.edge_types)).encode())
        return [names, *map(checksum, tensors)]

    def __repr__(self) -> str:
        nodes = ", ".join(f"{count:,} {name}" for name, count in self.num_nodes.items())
        edges = ", ".join(f"{csr.num_edges:,} {name}" for (_, name, _), csr in self.edges.items())
        return f"HeteroGraph(nodes: {nodes}; edges: {edges})"


def check_finite(x: Tensor, name: str) -> None:
    """Check that features hold no NaN and no infinity.

    Raises:
        ValueError: they do; the message names the first row and column.
    """
    for start in range(0, len(x), 1 << 16):  # in blocks, so that a memory map is never read whole
        bad = (~torch.isfinite(x[start : start + (1 << 16)])).nonzero()
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            raise ValueError(
                f"{name} is {float(x[row, column])} at row {row}, column {column}; "
                "features must be finite"
            )


def check_labels(labels: Tensor, total: int) -> None:
    """Check rows [global id, 0 or 1]: ids in range and unique, an anomaly among them.

    Anomalies alone are enough to rank by (`gadkit.recommend`); what learns from both kinds, or
    measures how well it tells them apart, asks for both by itself.

    Raises:
        ValueError: they are not; the message names the first bad row.
    """
    if labels.dim() != 2 or labels.shape[1] != 2 or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be (num_labels, 2) int64, got {tuple(labels.shape)} {labels.dtype}; "
            "a row is [global id, 0 or 1], and ids are integers: .long()"
        )
    ids, values = labels.unbind(1)
    checks = {
        f"a node id outside [0, {total})": (ids < 0) | (ids >= total),
        "a value that is neither 0 nor 1": (values != 0) & (values != 1),
    }
    for what, bad in checks.items():
        if bad.any():
            row = int(bad.nonzero()[0])
            raise ValueError(f"labels row {row} is {labels[row].tolist()}: {what}")
    repeated, counts = ids.unique(return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"node {int(repeated[counts > 1][0])} is labelled more than once")
    remove = "or remove the labels (file, array or argument) to rank without any"
    if len(labels) == 0:
        raise ValueError(
            f"there are no labels; add some, 1 (anomaly) and where possible 0 (normal), {remove}"
        )
    if not values.any():
        raise ValueError(
            f"all {len(values)} labels are 0 (normal); add confirmed anomalies (1), {remove}"
        )
