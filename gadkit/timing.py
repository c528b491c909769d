"""How fast the operations are, and how fast the memory of this machine would let them be.

A sparse operation does little arithmetic per byte, so its ceiling is the memory system (Williams,
Waterman and Patterson, Roofline: An Insightful Visual Performance Model for Multicore
Architectures, CACM 2009). Two rates bound it: that of a copy, which reads and writes in order, and
that of a gather, which reads whole rows in random order, as edges do. `traffic` counts the bytes an
operation has to move, so that its time becomes a rate which can be set against the two.
"""

import functools
import statistics
import time
from collections.abc import Callable

import torch
from numba import njit

from gadkit.graph import CSR
from gadkit.ops import _cpu
from gadkit.ops._lanes import axpy, prefetch, store, zeros

FLOAT = 4  # bytes
BLOCK = 16_384  # rows a task of the gather adds up, as many as edges in a task of the operations


def measure(
    functions: dict[str, Callable[[], object]], *, repeats: int = 7, warmup: int = 1
) -> dict[str, float]:
    """Time functions in turn (a, b, c, a, b, c, ...), so that noise hits all of them alike.

    Args:
        functions: what to call, by name.
        repeats: timed rounds.
        warmup: rounds before them, which compile kernels and touch memory.

    Returns:
        The median of each function in seconds, in the order given.

    Raises:
        ValueError: there is no timed round.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(
            f"repeats must be at least 1 and warmup at least 0, got {repeats} and {warmup}"
        )
    seconds = {name: [] for name in functions}
    for round_number in range(warmup + repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if round_number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(rounds) for name, rounds in seconds.items()}


def copy_rate(*, num_bytes: int = 1 << 29, repeats: int = 7) -> float:
    """Measure a copy in memory with as many threads as torch uses.

    Args:
        num_bytes: size of the source; several times the caches to measure memory and not them.
        repeats: timed rounds.

    Returns:
        GB/s (10^9 bytes), bytes read plus bytes written.

    Raises:
        ValueError: there is nothing to copy.
    """
    if num_bytes < 1:
        raise ValueError(f"num_bytes must be positive, got {num_bytes}")
    source = torch.ones(num_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = measure({"copy": lambda: target.copy_(source)}, repeats=repeats)["copy"]
    return 2 * num_bytes / seconds / 1e9


def gather_rate(
    *,
    num_rows: int = 1_000_000,
    row_bytes: int = 512,
    num_gathers: int = 4_000_000,
    ahead: int = _cpu.AHEAD,
    seed: int = 0,
    repeats: int = 7,
) -> float:
    """Measure reading whole rows at random: a loop that does nothing else, with prefetch.

    Args:
        num_rows: rows to choose from; as many as the graph has nodes, since a smaller table sits in
            a faster cache.
        row_bytes: size of a row of float32, a multiple of 4 up to 1024 (more does not fit in
            registers).
        num_gathers: rows read in a round.
        ahead: gathers between the prefetch of a row and its use; 0 leaves it to the processor.
        seed: of the random order.
        repeats: timed rounds.

    Returns:
        GB/s (10^9 bytes) of rows and of the int32 ids that name them.

    Raises:
        ValueError: a size is not positive or the row does not fit.
    """
    if row_bytes % FLOAT or not 0 < row_bytes <= FLOAT * _cpu.TILE:
        raise ValueError(
            f"row_bytes must be a multiple of {FLOAT} in [{FLOAT}, {FLOAT * _cpu.TILE}], "
            f"got {row_bytes}"
        )
    if num_rows < 1 or num_gathers < 1 or ahead < 0:
        raise ValueError(
            "num_rows and num_gathers must be positive and ahead not negative, "
            f"got {num_rows}, {num_gathers} and {ahead}"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(num_rows, (num_gathers,), generator=generator, dtype=torch.int32)
    x = torch.ones(num_rows, row_bytes // FLOAT)
    seconds = measure({"gather": lambda: _gather(x, rows, ahead)}, repeats=repeats)["gather"]
    return num_gathers * (row_bytes + rows.element_size()) / seconds / 1e9


def _gather(x: torch.Tensor, rows: torch.Tensor, ahead: int) -> torch.Tensor:
    """Add up the rows of each block, (num_blocks, dim), so that no read can be left out."""
    num_blocks = -(-len(rows) // BLOCK)
    sums = x.new_empty(num_blocks, x.shape[1])
    _cpu.run(_gather_kernel(x.shape[1], ahead), num_blocks, rows, x, sums)
    return sums


@functools.cache
def _gather_kernel(width: int, ahead: int):
    @njit(cache=True, **_cpu.FAST)
    def kernel(first, last, rows, x, sums):
        one = x.dtype.type(1)
        for block in range(first, last):
            total = zeros(width, x)
            for k in range(block * BLOCK, min((block + 1) * BLOCK, len(rows))):
                if ahead:
                    prefetch(total, x, int(rows[min(k + ahead, len(rows) - 1)]) * width)
                total = axpy(total, one, x, int(rows[k]) * width)
            store(total, one, sums, block * width)

    return kernel


def traffic(
    csr: CSR, dim: int, *, heads: int = 1, itemsize: int = FLOAT, kept: float = 1.0
) -> dict[str, int]:
    """Count the bytes that the operations move on a graph if every edge reads its row from memory.

    Caches can only lower the count: a popular node's row stays in them, so a rate computed from it
    may exceed `gather_rate`. Reading what was just written or read within a row is not counted.

    Args:
        csr: num_dst x num_src.
        dim: numbers of a row and head.
        heads: of the attention; `spmm` has none.
        itemsize: bytes of a number, 4 for float32.
        kept: share of the edges that DropEdge leaves to `gat_aggregate`.

    Returns:
        Bytes of "spmm" (without scales), "gat_inference", "gat_forward" (in training) and
        "gat_backward".
    """
    edges, rows, sources = csr.num_edges, csr.num_dst, csr.num_src
    index = csr.indices.element_size()
    row, score = heads * dim * itemsize, heads * itemsize  # of one node
    left = round(kept * edges)

    structure = 8 * (rows + 1) + index * edges  # row pointers, and every index once
    spmm = structure
    spmm += edges * dim * itemsize  # the source row of every edge
    spmm += rows * dim * itemsize  # the output, written

    inference = structure  # dropped edges are read too: their ids decide
    inference += left * (row + score)  # the source row and score of every kept edge
    inference += rows * (score + row + score)  # score_dst read; out and log-sum-exp written

    forward = inference + rows * (row + score)  # c and a_pos written

    backward = rows * 3 * row  # g, out and c in order
    backward += rows * 2 * score  # <g, out> and d_score_dst written
    backward += rows * (3 + 3) * score  # score_dst, log-sum-exp, <g, out> read and put together
    backward += 8 * (sources + 1) + index * edges  # the transpose
    backward += left * (row + 3 * score)  # the row of g and the three facts of every kept edge
    backward += sources * 2 * (row + score)  # h and score_src read, their gradients written
    return {
        "spmm": spmm,
        "gat_inference": inference,
        "gat_forward": forward,
        "gat_backward": backward,
    }
