"""One relation in compressed sparse row form: `CSR`, its transpose, and the plan of its work.

Rows are destinations and `indices` their sources, so an aggregation over in-neighbors reads one
row. What a kernel needs besides the rows (the transpose, the degrees, the plan that cuts them into
equal work) is computed once and kept on the graph object.
"""

import zlib
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph.arrays import Array, as_count, as_ids, as_tensor

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

    The tensors may also be arrays of other libraries, see `as_tensor`.

    Args:
        indptr: (num_dst + 1,) int64; the edges into row i are [indptr[i], indptr[i + 1]).
        indices: (num_edges,) int32 or int64; the source of each edge. Kept as int32, which is half
            of what a kernel has to read.
        num_src: number of source nodes, less than 2^31.

    Raises:
        TypeError: a dtype is none of the above, or num_src is no whole number.
        ValueError: a pointer decreases or does not fit the edges, a source is outside
            [0, num_src), there are too many of them, or the tensors are on two devices.
    """

    def __init__(self, indptr: Array, indices: Array, num_src: int):
        self.indptr, self.indices = as_tensor(indptr, "indptr"), as_tensor(indices, "indices")
        self.num_src = as_count(num_src, "num_src")
        self._check()
        self.indices = self.indices.int()

    def _check(self) -> None:
        if self.indptr.dtype != torch.int64:
            raise TypeError(
                f"indptr must be int64, not {self.indptr.dtype}; convert it with .long() "
                "(NumPy: .astype('int64'))"
            )
        if self.indices.dtype not in (torch.int32, torch.int64):
            raise TypeError(
                f"indices must be int32 or int64, not {self.indices.dtype}; "
                "convert them with .long() (NumPy: .astype('int64'))"
            )
        if self.indptr.device != self.indices.device:
            raise ValueError(
                f"indptr is on {self.indptr.device}, but indices are on {self.indices.device}; "
                "move one of them with .to()"
            )
        if self.num_src < 0:
            raise ValueError(f"num_src is {self.num_src}; it must be 0 or more")
        if self.num_src >= 2**31:
            raise ValueError(f"num_src is {self.num_src:,}; source ids must fit 31 bits")
        if self.indices.dim() != 1:
            raise ValueError(
                f"indices must be 1-D, one source an edge, not {tuple(self.indices.shape)}; "
                ".flatten() them"
            )
        check_indptr(self.indptr, len(self.indices), "indptr")
        outside = (self.indices < 0) | (self.indices >= self.num_src)
        if outside.any():
            edge = int(outside.nonzero()[0])
            raise ValueError(
                f"indices has {int(outside.sum()):,} entries outside [0, {self.num_src}); "
                f"first at edge {edge}: {int(self.indices[edge])}"
            )

    @classmethod
    def from_edges(cls, src: Array, dst: Array, *, num_src: int, num_dst: int) -> "CSR":
        """Build from pairs; rows come out sorted by source, repeated pairs are kept.

        Args:
            src: (num_edges,) integer; source of each edge.
            dst: (num_edges,) integer; destination of each edge.
            num_src: number of source nodes.
            num_dst: number of destination nodes.

        Raises:
            TypeError: ids are not integers, or a number of nodes is none.
            ValueError: lengths differ or an id is out of range.
        """
        src, dst = as_ids(src, "src"), as_ids(dst, "dst")
        num_src, num_dst = as_count(num_src, "num_src"), as_count(num_dst, "num_dst")
        if num_dst < 0:
            raise ValueError(f"num_dst is {num_dst}; it must be 0 or more")
        if src.shape != dst.shape or src.dim() != 1:
            raise ValueError(
                f"src and dst must be 1-D of equal length, got {tuple(src.shape)} and "
                f"{tuple(dst.shape)}"
            )
        for name, ids, count in (("src", src, num_src), ("dst", dst, num_dst)):
            _check_range(name, ids, count)
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

    def contains(self, src: Array, dst: Array) -> Tensor:
        """Say which of the given pairs are edges, by bisection in the row of `dst`.

        Args:
            src: (num_pairs,) integer.
            dst: (num_pairs,) integer.

        Returns:
            (num_pairs,) bool.

        Raises:
            TypeError: ids are not integers.
            ValueError: the rows are not sorted, or an id of `dst` is out of range.
        """
        if not self.is_sorted:
            raise ValueError(
                "contains() bisects sorted rows; build the CSR with from_edges() or transpose()"
            )
        # As int64, since torch takes uint8 for a mask.
        src, dst = as_ids(src, "src").long(), as_ids(dst, "dst").long()
        if src.shape != dst.shape:
            raise ValueError(
                f"src and dst must be of one shape, got {tuple(src.shape)} and {tuple(dst.shape)}"
            )
        _check_range("dst", dst, self.num_dst)
        if self.num_edges == 0:
            return torch.zeros_like(src, dtype=torch.bool)
        low, end = self.indptr[dst], self.indptr[dst + 1]
        high = end
        # All pairs at once: [low, high) is where the source of a pair may still stand in its row.
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

    def select(self, rows: Array) -> "CSR":
        """Return the given rows as a relation of their own, in that order.

        Args:
            rows: (num_rows,) integer in [0, num_dst); may repeat.

        Raises:
            TypeError: rows are not integers.
            ValueError: a row is out of range, or there is more than one axis.
        """
        rows = as_ids(rows, "rows").long()
        if rows.dim() != 1:
            raise ValueError(f"rows must be 1-D, not {tuple(rows.shape)}; .flatten() them")
        outside = (rows < 0) | (rows >= self.num_dst)
        if outside.any():
            first = int(outside.nonzero()[0])
            raise ValueError(f"rows[{first}] is {int(rows[first])}, outside [0, {self.num_dst})")
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
        properties = [name for name in self.__dict__ if name.startswith("is_")]
        moved.__dict__.update({name: self.__dict__[name] for name in properties})
        if self.__dict__.get("_transpose") is self:  # symmetric, so that one copy serves as both
            moved.__dict__["_transpose"] = moved
        return moved


def _check_range(name: str, ids: Tensor, count: int) -> None:
    # As numbers of Python: an int8 tensor would be compared with what is left of 300 in 8 bits.
    low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, count - 1)
    if low < 0 or high >= count:
        raise ValueError(f"{name} has ids outside [0, {count}): from {low} to {high}")


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


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32 of a tensor's bytes."""
    # torch calls a single element contiguous whatever its stride, and then cannot view its bytes.
    flat = tensor.contiguous().as_strided((tensor.numel(),), (1,))
    return zlib.crc32(flat.view(torch.uint8).numpy(force=True))
