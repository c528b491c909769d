"""Graphs in compressed sparse row form: one relation (`CSR`) and many of them (`HeteroGraph`).

Rows are destinations and `indices` their sources, so an aggregation over in-neighbors reads one
row. What a kernel needs besides the rows (the transpose, the degrees, the plan that cuts them into
equal work) is computed once and kept on the graph object.
"""

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

EdgeType = tuple[str, str, str]

CHUNK = 1024  # edges; a longer row is cut into chunks, whose partial results are merged in order
TASK = 16_384  # edges a thread takes at a time: large against a task's cost, small against a graph


class RowPlan(NamedTuple):
    """How the rows of a CSR are cut into work of equal size; independent of the number of threads.

    Attributes:
        task_ptr: (num_tasks + 1,) int64; task t computes the rows [task_ptr[t], task_ptr[t + 1]),
            save long ones.
        long_row: (num_long,) int64; rows with more than `CHUNK` edges.
        chunk_ptr: (num_long + 1,) int64; long_row[r] is cut into the chunks
            [chunk_ptr[r], chunk_ptr[r + 1]).
        chunk_row: (num_chunks,) int64; the row that a chunk is cut from.
        chunk_begin: (num_chunks,) int64; its first edge.
        chunk_end: (num_chunks,) int64; one past its last edge.
    """

    task_ptr: Tensor
    long_row: Tensor
    chunk_ptr: Tensor
    chunk_row: Tensor
    chunk_begin: Tensor
    chunk_end: Tensor


class CSR:
    """The edges of one relation.

    Args:
        indptr: (num_dst + 1,) int64; the edges into row i are [indptr[i], indptr[i + 1]).
        indices: (num_edges,) int32 or int64; the source of each edge. Kept as int32, which is half
            of what a kernel has to read.
        num_src: number of source nodes, less than 2^31.

    Raises:
        TypeError: a dtype is none of the above.
        ValueError: a pointer decreases or does not fit the edges, a source is outside
            [0, num_src), there are too many of them, or the tensors are on two devices.
    """

    def __init__(self, indptr: Tensor, indices: Tensor, num_src: int):
        self.indptr, self.indices, self.num_src = indptr, indices, int(num_src)
        self._check()
        self.indices = indices.int()

    def _check(self) -> None:
        if self.indptr.dtype != torch.int64:
            raise TypeError(
                f"indptr must be int64, not {self.indptr.dtype}; convert it with .long()"
            )
        if self.indices.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"indices must be int32 or int64, not {self.indices.dtype}")
        if self.indptr.device != self.indices.device:
            raise ValueError(
                f"indptr is on {self.indptr.device}, but indices are on {self.indices.device}; "
                "move one of them with .to()"
            )
        if self.num_src >= 2**31:
            raise ValueError(f"num_src is {self.num_src:,}; source ids must fit 31 bits")
        check_indptr(self.indptr, len(self.indices), "indptr")
        outside = (self.indices < 0) | (self.indices >= self.num_src)
        if outside.any():
            edge = int(outside.nonzero()[0])
            raise ValueError(
                f"indices has {int(outside.sum()):,} entries outside [0, {self.num_src}); "
                f"first at edge {edge}: {int(self.indices[edge])}"
            )

    @classmethod
    def from_edges(cls, src: Tensor, dst: Tensor, *, num_src: int, num_dst: int) -> "CSR":
        """Build from pairs; rows come out sorted by source, repeated pairs are kept.

        Args:
            src: (num_edges,) integer; source of each edge.
            dst: (num_edges,) integer; destination of each edge.
            num_src: number of source nodes.
            num_dst: number of destination nodes.

        Raises:
            ValueError: lengths differ or an id is out of range.
        """
        if src.shape != dst.shape or src.dim() != 1:
            raise ValueError(
                f"src and dst must be 1-D of equal length, got {tuple(src.shape)} and "
                f"{tuple(dst.shape)}"
            )
        for name, ids, count in (("src", src, num_src), ("dst", dst, num_dst)):
            if len(ids) and (ids.min() < 0 or ids.max() >= count):
                raise ValueError(
                    f"{name} has ids outside [0, {count}): "
                    f"from {int(ids.min())} to {int(ids.max())}"
                )
        by_src = torch.argsort(src, stable=True)
        order = by_src[torch.argsort(dst[by_src], stable=True)]
        counts = torch.bincount(dst, minlength=num_dst)
        return cls(indptr_of(counts), src[order].int(), num_src)

    @property
    def num_dst(self) -> int:
        """Number of destination nodes (rows)."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """Number of stored edges."""
        return len(self.indices)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.indices.device

    def __repr__(self) -> str:
        return f"CSR({self.num_dst:,} x {self.num_src:,}, {self.num_edges:,} edges)"

    def degrees(self) -> Tensor:
        """Return the in-degree of every destination, (num_dst,) int64."""
        return self.indptr.diff()

    def dst(self) -> Tensor:
        """Return the destination of every edge, (num_edges,) int64."""
        rows = torch.arange(self.num_dst, device=self.device)
        return rows.repeat_interleave(self.degrees(), output_size=self.num_edges)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return source and destination of every edge, each (num_edges,) int64."""
        return self.indices.long(), self.dst()

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw edges with replacement; return their sources and destinations, (count,) int64.

        Args:
            count: number of edges to draw.
            generator: of the draw, on the CPU, so that every device gets the same edges.
        """
        edges = torch.randint(self.num_edges, (count,), generator=generator).to(self.device)
        dst = torch.searchsorted(self.indptr, edges, right=True) - 1
        return self.indices[edges].long(), dst

    @cached_property
    def _transpose(self) -> "CSR":
        order = torch.argsort(self.indices, stable=True)
        dst = self.dst().to(self.indices.dtype)[order]
        counts = torch.bincount(self.indices, minlength=self.num_src)
        transposed = CSR(indptr_of(counts), dst, self.num_dst)
        if self.is_sorted:  # only then does transposing twice give back the same order of edges
            transposed.__dict__["_transpose"] = self
        transposed.__dict__["is_sorted"] = True  # the stable sort keeps destinations ascending
        return transposed

    def transpose(self) -> "CSR":
        """Return the reversed relation, rows sorted; computed once."""
        return self._transpose

    @cached_property
    def is_sorted(self) -> bool:
        """Whether the sources ascend within every row."""
        if self.num_edges < 2:
            return True
        descends = self.indices[1:] < self.indices[:-1]
        starts = self.indptr[1:-1]
        starts = starts[(starts > 0) & (starts < self.num_edges)]
        descends[starts - 1] = False  # a new row may start lower
        return not bool(descends.any())

    @cached_property
    def is_symmetric(self) -> bool:
        """Whether every edge is stored in both directions (equally often)."""
        if self.num_src != self.num_dst:
            return False
        transposed = self.transpose()
        rows = self if self.is_sorted else transposed.transpose()
        return torch.equal(rows.indptr, transposed.indptr) and torch.equal(
            rows.indices, transposed.indices
        )

    def contains(self, src: Tensor, dst: Tensor) -> Tensor:
        """Say which of the given pairs are edges, by bisection in the row of `dst`.

        Args:
            src: (num_pairs,) integer.
            dst: (num_pairs,) integer.

        Returns:
            (num_pairs,) bool.

        Raises:
            ValueError: the rows are not sorted.
        """
        if not self.is_sorted:
            raise ValueError(
                "contains() bisects sorted rows; build the CSR with from_edges() or transpose()"
            )
        if self.num_edges == 0:
            return torch.zeros_like(src, dtype=torch.bool)
        low, end = self.indptr[dst], self.indptr[dst + 1]
        high = end
        for _ in range(int(self.degrees().max()).bit_length()):
            middle = (low + high) // 2
            before = (low < high) & (self.indices[middle.clamp(max=self.num_edges - 1)] < src)
            low, high = (
                torch.where(before, middle + 1, low),
                torch.where(before, high, torch.minimum(high, middle)),
            )
        return (low < end) & (self.indices[low.clamp(max=self.num_edges - 1)] == src)

    @cached_property
    def plan(self) -> RowPlan:
        """The cut into equal work, see `RowPlan`."""
        degrees = self.degrees()
        short = torch.where(degrees > CHUNK, 0, degrees)
        # A row counts one more than its edges, so that a million empty rows are shared out as well.
        work = indptr_of(short + 1)
        num_tasks = max(1, -(-int(work[-1]) // TASK))
        targets = torch.arange(1, num_tasks, device=self.device) * TASK
        inner = torch.searchsorted(work, targets)
        task_ptr = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), self.num_dst)])
        long_row = (degrees > CHUNK).nonzero().flatten()
        chunks = (degrees[long_row] + CHUNK - 1) // CHUNK
        chunk_ptr = indptr_of(chunks)
        chunk_row = long_row.repeat_interleave(chunks)
        within = torch.arange(len(chunk_row), device=self.device) - chunk_ptr[
            :-1
        ].repeat_interleave(chunks)
        chunk_begin = self.indptr[chunk_row] + CHUNK * within
        chunk_end = torch.minimum(chunk_begin + CHUNK, self.indptr[chunk_row + 1])
        return RowPlan(task_ptr, long_row, chunk_ptr, chunk_row, chunk_begin, chunk_end)

    def prepare(self) -> "CSR":
        """Compute now what is otherwise computed at first use (plan, transpose), and return self.

        `torch.compile` wants this done before it traces an operation on the graph.
        """
        _ = self.plan, self.transpose().plan
        return self

    def select(self, rows: Tensor) -> "CSR":
        """Return the given rows as a relation of their own, in that order.

        Args:
            rows: (num_rows,) int64 in [0, num_dst); may repeat.

        Raises:
            TypeError: rows are not int64.
            ValueError: a row is out of range.
        """
        if rows.dtype != torch.int64 or rows.dim() != 1:
            raise TypeError(f"rows must be 1-D int64, not {tuple(rows.shape)} {rows.dtype}")
        outside = (rows < 0) | (rows >= self.num_dst)
        if outside.any():
            at = int(outside.nonzero()[0])
            raise ValueError(f"rows[{at}] is {int(rows[at])}, outside [0, {self.num_dst})")
        degrees = self.degrees()[rows]
        indptr = indptr_of(degrees)
        edges = torch.arange(int(indptr[-1]), device=self.device)
        edges += (self.indptr[rows] - indptr[:-1]).repeat_interleave(degrees)
        return CSR(indptr, self.indices[edges], self.num_src)

    def to(self, device: torch.device | str) -> "CSR":
        """Return the same relation with its tensors on `device`, and what is known of it."""
        indices = self.indices.to(device)
        if indices is self.indices:
            return self
        moved = CSR(self.indptr.to(device), indices, self.num_src)
        known = {name: value for name, value in self.__dict__.items() if name.startswith("is_")}
        moved.__dict__.update(known)
        if self.__dict__.get("_transpose") is self:  # symmetric, so that one copy serves as both
            moved.__dict__["_transpose"] = moved
        return moved


def indptr_of(counts: Tensor) -> Tensor:
    """Return the row pointers of rows that hold so many entries each: (rows + 1,), from 0."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def check_indptr(indptr: Tensor, num_edges: int, name: str) -> None:
    """Check that row pointers start at 0, never decrease and end at `num_edges`.

    Raises:
        ValueError: they do not; the message names the first bad row.
    """
    if indptr.dim() != 1 or len(indptr) == 0:
        raise ValueError(
            f"{name} must be 1-D with rows + 1 entries, got shape {tuple(indptr.shape)}"
        )
    if indptr[0] != 0:
        raise ValueError(f"{name} must start at 0, but {name}[0] is {int(indptr[0])}")
    decreases = (indptr.diff() < 0).nonzero()
    if len(decreases):
        row = int(decreases[0])
        raise ValueError(
            f"{name} decreases at row {row}: "
            f"{int(indptr[row])} is followed by {int(indptr[row + 1])}"
        )
    if indptr[-1] != num_edges:
        raise ValueError(f"{name} ends at {int(indptr[-1])}, but there are {num_edges} column ids")


@dataclass
class SanitizeReport:
    """What `sanitize` did to one relation.

    Attributes:
        relation: its name.
        num_rows: rows of the relation.
        kept: edges kept.
        dropped: edges dropped, by reason: "self_loop" (a row's own global id, of the wrong type) or
            "wrong_type".
        rows_emptied: rows that had edges and have none left.
    """

    relation: str
    num_rows: int
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    rows_emptied: int = 0


def sanitize(
    indptr: Tensor,
    indices: Tensor,
    *,
    row_offset: int,
    valid_min: int,
    valid_max: int,
    total: int,
    name: str,
) -> tuple[Tensor, Tensor, SanitizeReport]:
    """Keep the column ids of the right node type and number them from 0.

    The new row pointer is the running count of kept edges read at the old offsets, so there is no
    loop over rows.

    Args:
        indptr: (num_rows + 1,) int64.
        indices: (num_edges,) int32 or int64; global node ids.
        row_offset: global id of row 0, which tells a self-loop.
        valid_min: smallest global id of the column type.
        valid_max: largest global id of the column type.
        total: number of nodes of all types.
        name: what to call the relation in the report and in errors.

    Returns:
        indptr, int32 indices in [0, valid_max - valid_min], and a report.

    Raises:
        ValueError: a pointer decreases or does not fit, or a column id is no node at all.
    """
    check_indptr(indptr, len(indices), f"{name} row_ptr")
    nowhere = (indices < 0) | (indices >= total)
    if nowhere.any():
        edge = int(nowhere.nonzero()[0])
        raise ValueError(
            f"{name} col_idx has {int(nowhere.sum()):,} ids outside [0, {total}); "
            f"first at entry {edge}: {int(indices[edge])}"
        )
    keep = (indices >= valid_min) & (indices <= valid_max)
    new_indptr = indptr_of(keep)[indptr]
    dropped = (~keep).nonzero().flatten()
    rows = torch.searchsorted(indptr, dropped, right=True) - 1
    self_loops = int((indices[dropped] == rows + row_offset).sum())
    report = SanitizeReport(
        relation=name,
        num_rows=len(indptr) - 1,
        kept=int(new_indptr[-1]),
        dropped={"self_loop": self_loops, "wrong_type": len(dropped) - self_loops},
        rows_emptied=int(((indptr.diff() > 0) & (new_indptr.diff() == 0)).sum()),
    )
    return new_indptr, (indices[keep] - valid_min).int(), report


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
        x: (num_nodes[type], dim of that type) float32 for every type, or None.
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly], or None.

    Raises:
        ValueError: sizes disagree, a relation or the graph is empty, a type has no edges, a feature
            is not finite, or a label is wrong; the message says where.
    """

    def __init__(
        self,
        num_nodes: dict[str, int],
        edges: dict[EdgeType, CSR],
        x: dict[str, Tensor] | None = None,
        labels: Tensor | None = None,
    ):
        self.num_nodes, self.edges, self.x, self.labels = dict(num_nodes), dict(edges), x, labels
        self._check_edges()
        self._check_features()
        if labels is not None:
            check_labels(labels, self.total)

    def _check_edges(self) -> None:
        if self.total == 0:
            raise ValueError("the graph has no nodes")
        connected, names = set(), [name for _, name, _ in self.edges]
        for (src, name, dst), csr in self.edges.items():
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
        for node_type, count in self.num_nodes.items():
            x = self.x.get(node_type)
            if x is None or x.dim() != 2 or len(x) != count:
                got = None if x is None else tuple(x.shape)
                raise ValueError(f"x[{node_type!r}] must have shape ({count}, dim), got {got}")
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
        loops = torch.arange(self.total, device=self.device)
        keys = [loops * self.total + loops]
        for (src_type, _, dst_type), csr in self.edges.items():
            src, dst = csr.pairs()
            src, dst = src + self.offset(src_type), dst + self.offset(dst_type)
            keys += [dst * self.total + src, src * self.total + dst]
        keys = torch.unique(torch.cat(keys))  # sorted, so rows come out sorted too
        counts = torch.bincount(keys // self.total, minlength=self.total)
        csr = CSR(indptr_of(counts), (keys % self.total).int(), self.total)
        csr.__dict__.update(is_sorted=True, is_symmetric=True, _transpose=csr)
        return csr

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


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of a tensor's bytes."""
    # torch calls a single element contiguous whatever its stride, and then cannot view its bytes.
    flat = tensor.contiguous().as_strided((tensor.numel(),), (1,))
    return zlib.crc32(flat.view(torch.uint8).numpy(force=True))


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
    """Check rows [global id, 0 or 1]: ids in range and unique, both classes present.

    Raises:
        ValueError: they are not; the message names the first bad row.
    """
    if labels.dim() != 2 or labels.shape[1] != 2 or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be (num_labels, 2) int64, got {tuple(labels.shape)} {labels.dtype}"
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
            f"there are no labels; add some, both 0 (normal) and 1 (anomaly), {remove}"
        )
    if values.min() == values.max():
        value = int(values[0])
        missing = "nodes that were cleared (0)" if value else "confirmed anomalies (1)"
        raise ValueError(
            f"all {len(values)} labels are {value}; both 0 (normal) and 1 (anomaly) are needed: "
            f"add {missing}, {remove}"
        )
