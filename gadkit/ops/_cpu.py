"""CPU kernels in Numba: the same arithmetic as the CUDA ones, over tasks of equal numbers of edges.

Three things keep the loops at the speed of the memory: the dimension is a compile-time constant (a
kernel is made per dimension and cached on disk), a row's sum stays in registers (`_lanes`), and the
rows of the edges `AHEAD` places further on are prefetched. A row longer than a chunk is summed in
pieces that are merged in order, so one popular product uses every thread and the result does not
depend on their number.
"""

import functools
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.graph import CHUNK
from gadkit.ops import _lanes
from gadkit.ops._arguments import Packed
from gadkit.ops._lanes import (
    VECTOR,
    add_times,
    axpy,
    dot,
    exp,
    expm1,
    lowest,
    prefetch,
    store,
    sum_between,
    zeros,
)
from gadkit.ops.threads import num_threads, share_out

AHEAD = 16  # edges that rows are prefetched ahead, where all rows fit a cache; else see `ahead`
AHEADS = (8, 16, 32)  # fewer leaves the memory idle, more evicts rows before they are used
CACHED = 1 << 25  # bytes; a table that is not larger may lie in a cache
REGISTERS = 256  # numbers summed at once: half of what the registers of AVX-512 hold
PROBE_ROW, PROBE_READS, PROBE_ROUNDS = 512, 8_192, 3  # bytes, rows of a measurement, repetitions
BUCKETS = 1024  # of rows, when pairs are sorted
BLOCK = 4096  # edges and rows that are weighted at once; at least CHUNK
JIT = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
EXACT = {**JIT, "fastmath": {"contract"}}
FAST = {**JIT, "fastmath": {"nnan", "ninf", "nsz", "arcp", "contract", "reassoc"}}

# Numba keeps a compiled kernel on disk under the date of this file and the values of the variables
# that the kernel's closure mentions. It looks neither at _lanes.py, whose code is compiled into
# every kernel, nor at CHUNK. So each kernel mentions `sources`, the checksum of that file, in a
# test of two constants that is never true (`if sources < 0: return`), and takes CHUNK as `chunk`: a
# change of either is a new value in the closure, and the kernel is compiled again.
SOURCES = zlib.crc32(Path(_lanes.__file__).read_bytes())


def run(kernel, num_tasks: int, *args) -> None:
    """Call `kernel(begin, end, *args)` for blocks of tasks on as many threads as torch uses.

    Tensors are passed as flat arrays. Kernels release the GIL. Blocks are handed out as threads
    become free; every task writes its own output, so the schedule does not show in the result.
    """
    args = [flat(arg) if isinstance(arg, Tensor) else arg for arg in args]
    threads = num_threads()
    blocks = min(num_tasks, 8 * threads)
    if threads == 1 or blocks < 2:
        kernel(0, num_tasks, *args)
        return
    cuts = [num_tasks * i // blocks for i in range(blocks + 1)]
    share_out(kernel, [(*cut, *args) for cut in zip(cuts, cuts[1:], strict=False)])


def flat(x: Tensor) -> np.ndarray:
    """Return the numbers of a tensor; halves as the 16 bits that `_lanes` takes them for."""
    bits = {torch.float16: torch.int16, torch.bfloat16: torch.uint16}.get(x.dtype, x.dtype)
    return x.detach().view(-1).view(bits).numpy()


def ahead(x: Tensor) -> int:
    """Return how many edges ahead rows of `x` are best prefetched. No result depends on it.

    It differs by processor (measured: 8 on one with AVX2, 16 to 32 on ones with AVX-512) and by how
    much of a table lies in caches, so the first large table of a process that is of some size, to a
    factor of two, is read at random for some milliseconds with each of `AHEADS`.
    """
    if x.nbytes <= CACHED:
        return AHEAD
    size = x.nbytes.bit_length()
    if size not in _best_ahead:
        _best_ahead[size] = _measured_ahead(x)
    return _best_ahead[size]


_best_ahead: dict[int, int] = {}  # by the number of binary digits of a table's bytes


def _measured_ahead(x: Tensor) -> int:
    table = flat(x).view(np.uint8)
    table = table[: table.nbytes // PROBE_ROW * PROBE_ROW].view(np.float32)
    num_rows = table.nbytes // PROBE_ROW
    rounds = np.random.default_rng(0).integers(
        num_rows, size=(PROBE_ROUNDS, len(AHEADS), PROBE_READS), dtype=np.int32
    )
    kernel, sums = gather_kernel(PROBE_ROW // 4), np.empty(PROBE_ROW // 4, np.float32)
    kernel(0, 1, PROBE_READS, rounds[0, 0], table, AHEAD, sums)  # compiled, if it was not
    seconds = np.full((PROBE_ROUNDS, len(AHEADS)), np.inf)
    for round_number, lists in enumerate(rounds):
        for candidate, rows in enumerate(lists):
            start = time.perf_counter()
            kernel(0, 1, PROBE_READS, rows, table, AHEADS[candidate], sums)
            seconds[round_number, candidate] = time.perf_counter() - start
    return AHEADS[int(seconds.min(0).argmin())]


# A kernel works on pieces, and there are two kinds of them (graph.RowPlan says how they are cut):
#
#   a whole row    of at most CHUNK edges. Piece i is row i, and `rows` is empty. A longer row is
#                  treated as if it had no edges: its output is zero, and is replaced afterwards.
#   a chunk        of a longer row, such as a super-node's. Piece i is chunk i, and `rows[i]` is the
#                  row it is cut from.
#
# With CHUNK = 4 and rows of 2, 9 and 3 edges: run_rows computes row 0, zero for row 1, and row 2.
# run_chunks computes the edges [2, 6), [6, 10) and [10, 11), three pieces with rows = [1, 1, 1],
# into an output with one entry a chunk. sum_chunks adds these up in order, which gives row 1.
# The cut depends on the graph alone, so one thread and many give the same bits.


def run_rows(packed: Packed, kernel, *args) -> None:
    """Run a kernel on the rows; it leaves those longer than a chunk empty."""
    run(
        kernel,
        len(packed.task_ptr) - 1,
        packed.task_ptr,
        packed.indptr[:-1],
        packed.indptr[1:],
        packed.chunk_row[:0],
        packed.indices,
        *args,
    )


def run_chunks(packed: Packed, kernel, *args) -> None:
    """Run a kernel on the chunks of the longer rows, one task each."""
    run(
        kernel,
        len(packed.chunk_row),
        torch.arange(len(packed.chunk_row) + 1),
        packed.chunk_begin,
        packed.chunk_end,
        packed.chunk_row,
        packed.indices,
        *args,
    )


def sum_chunks(packed: Packed, partial: Tensor) -> Tensor:
    """Add up the chunks of each long row in order: (num_chunks, ...) to (num_long, ...)."""
    return torch.segment_reduce(partial, "sum", offsets=packed.chunk_ptr, axis=0)


@njit(forceinline=True, **JIT)
def mix(z):
    """Scramble 64 bits (the finalizer of SplitMix64, Steele, Lea and Flood, OOPSLA 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(forceinline=True, **JIT)
def keeps(src, dst, drop_below, key):
    """Toss the coin of one edge; 32 bits of the hash against the drop rate in units of 2^-32."""
    edge = (np.uint64(src) << np.uint64(32)) | np.uint64(dst)
    return (mix(edge ^ key) >> np.uint64(32)) >= drop_below


@njit(forceinline=True, **JIT)
def fill_block(
    begins, ends, rows, piece, stop, indices, chunk, drop_below, key, rows_are_dst, columns, pointer
):
    """Copy the columns of the pieces from `piece` on that DropEdge keeps, as many as fit a block.

    Piece number i of the block has the columns [pointer[i], pointer[i + 1]). Dropping before
    gathering keeps the prefetch distance and the vector loops full.

    Returns:
        The piece that the next block begins with.
    """
    count, number = 0, 0
    pointer[0] = 0
    while piece < stop and number < BLOCK:
        begin, end = begins[piece], ends[piece]
        if end - begin > chunk:
            end = begin
        if count + end - begin > BLOCK:
            break
        if drop_below:
            row = rows[piece] if len(rows) else piece
            for e in range(begin, end):
                column = indices[e]
                src, dst = (column, row) if rows_are_dst else (row, column)
                columns[count] = column
                count += keeps(src, dst, drop_below, key)
        else:
            for e in range(begin, end):
                columns[count + e - begin] = indices[e]
            count += end - begin
        number, piece = number + 1, piece + 1
        pointer[number] = count
    return piece


# Both sums take the columns of a row of x, `width` numbers, from `offset` on. Where x has several
# heads there, the weights of the next head lie `stride` further on, see `axpy`. `edges` are where
# they begin and end, the last one whose row may be prefetched, and how many edges ahead that is.


@njit(forceinline=True, **JIT)
def weighted_sum(total, weight, shift, stride, dim, columns, edges, x, width, offset):
    """Add weight[k - shift] times row columns[k] of x for every edge k."""
    begin, end, last, ahead = edges
    for k in range(begin, end):
        prefetch(total, x, np.int64(columns[min(k + ahead, last)]) * width + offset)
        source = np.int64(columns[k]) * width + offset
        total = axpy(total, weight, k - shift, stride, dim, x, source)
    return total


@njit(forceinline=True, **JIT)
def weighted_sums(first, second, weight, other, stride, dim, columns, edges, x, width, offset):
    """Two such sums of the same rows under two weights; the rows are read once."""
    begin, end, last, ahead = edges
    for k in range(begin, end):
        prefetch(first, x, np.int64(columns[min(k + ahead, last)]) * width + offset)
        source = np.int64(columns[k]) * width + offset
        first = axpy(first, weight, k, stride, dim, x, source)
        second = axpy(second, other, k, stride, dim, x, source)
    return first, second


# The backward computes a logit again and subtracts what the forward kept as the largest. The two
# have to agree to the last bit, which is 1,024 where logits are 1e10. So these two functions are
# plain arithmetic, not to be contracted (slope * total - top in one rounding) or reordered.


@njit(forceinline=True, **JIT)
def logit_of(score_dst, score_src, slope):
    """Return LeakyReLU(score_dst + score_src)."""
    total = score_dst + score_src
    return total if total > 0 else slope * total


@njit(forceinline=True, **JIT)
def below_top(logit, top):
    """Return logit - top, at most 0."""
    return logit - top


def tiles(dim: int, sums: int = 1) -> tuple[int, int]:
    """Return (width, count) of equal tiles covering `dim` columns; the last two may overlap.

    Args:
        dim: number of columns.
        sums: how many are kept of each at once.
    """
    most = REGISTERS // sums
    count = -(-dim // most)
    width = -(-dim // count)
    return min(dim, width + -width % VECTOR), count


def heads_at_once(heads: int, dim: int) -> int:
    """Return how many heads' sums of two kinds fit the registers, so that one gather serves them.

    They divide the number of heads. Columns that do not fill whole vectors are taken head by head.
    """
    if dim % VECTOR:
        return 1
    most = max(1, REGISTERS // (2 * dim))
    return max(n for n in range(1, heads + 1) if heads % n == 0 and n <= most)


@functools.cache
def gather_kernel(width: int):
    """Make the kernel that adds up rows of x in the order of `rows`, `block` of them a task."""
    sources = SOURCES

    @njit(cache=True, **FAST)
    def kernel(first, last, block, rows, x, ahead, sums):
        if sources < 0:
            return
        factor = np.ones(1, x.dtype)
        for task in range(first, last):
            total, end = zeros(width, x), min((task + 1) * block, len(rows))
            for k in range(task * block, end):
                prefetch(total, x, np.int64(rows[min(k + ahead, end - 1)]) * width)
                total = axpy(total, factor, 0, 0, width, x, np.int64(rows[k]) * width)
            store(total, factor, 0, 0, width, sums, task * width)

    return kernel


@functools.cache
def spmm_kernel(dim: int):
    """Make the kernel of diag(scale_dst) A diag(scale_src) x, where edges may have weights.

    An empty weight or scale stands for ones.
    """
    width, count, chunk, sources = *tiles(dim), CHUNK, SOURCES

    @njit(cache=True, **FAST)
    def kernel(
        first, last, task_ptr, begins, ends, rows, indices,
        x, edge_weight, scale_dst, scale_src, ahead, out,
    ):  # fmt: skip
        if sources < 0:
            return
        weight, scale = np.ones(chunk, edge_weight.dtype), np.ones(1, edge_weight.dtype)
        for piece in range(task_ptr[first], task_ptr[last]):
            begin, end = begins[piece], ends[piece]
            if end - begin > chunk:
                end = begin
            for k in range(begin, end if len(edge_weight) or len(scale_src) else begin):
                weight[k - begin] = edge_weight[k] if len(edge_weight) else weight.dtype.type(1)
                if len(scale_src):
                    weight[k - begin] *= scale_src[indices[k]]
            scale[0] = scale_dst[piece] if len(scale_dst) else 1
            if end == begin:  # 0, also where the scale is 1 / degree and so infinite
                scale[0] = 0
            for tile in range(count):
                offset = min(tile * width, dim - width)
                total = weighted_sum(
                    zeros(width, x), weight, begin, 0, width,
                    indices, (begin, end, len(indices) - 1, ahead), x, dim, offset,
                )  # fmt: skip
                store(total, scale, 0, 0, width, out, piece * dim + offset)

    return kernel


@functools.cache
def gat_forward_kernel(heads: int, dim: int, keep: bool):
    """Make the kernel of one gather: attention logits, their softmax, and the weighted sum of the
    sources.

    With `keep` it also writes what the backward needs: a_pos = sum of alpha over positive logits,
    and c = (sum of alpha h over positive logits) - a_pos out.

    The kernel's arguments, flat: h (num_src, heads, dim); score_src (num_src, heads); score_dst and
    a_pos (num_pieces, heads); norms (num_pieces, heads, 2), the largest logit and 1 / the sum of
    exp(logit - largest), 0 for a piece without edges; out and c (num_pieces, heads, dim).
    """
    # How to read it. The pieces are taken in blocks, whose kept edges lie together in `columns`.
    # For every head:
    #   1. weight = the logit less top, the largest of its piece; other = whether it is positive;
    #   2. weight = exp(logit - top), at most 1, so nothing overflows, and other the same where the
    #      logit is positive: over all edges of the block at once, as pieces are short;
    #   3. mass, the sum of a piece's weights, gives scale = 1 / mass.
    # Then the rows of h are added up under both weights, for as many heads at once as fit the
    # registers, or else a tile of `width` columns at a time; the scale makes a softmax of the
    # weights.
    # An example: logits 0 and log 3 give top = log 3, weights 1/3 and 1, mass 4/3, alpha 1/4 and
    # 3/4. Only the second is positive: other is 0 and 1, and a_pos = 3/4.
    group = heads_at_once(heads, dim)
    span = group * dim
    width, count = tiles(span, 1 + keep) if group == 1 else (span, 1)
    columns_of_head = dim if group > 1 else width
    chunk, sources = CHUNK, SOURCES

    @njit(cache=True, **FAST)
    def kernel(
        first, last, task_ptr, begins, ends, rows, indices,
        h, score_src, score_dst, slope, drop_below, key, ahead, out, norms, a_pos, c,
    ):  # fmt: skip
        if sources < 0:
            return
        weight, other = np.empty((2, group * BLOCK + VECTOR), score_dst.dtype)
        scale, minus_pos = np.empty((2, group * BLOCK), score_dst.dtype)
        columns, pointer = np.empty(BLOCK, indices.dtype), np.empty(BLOCK + 1, np.int64)
        start, stop = task_ptr[first], task_ptr[last]
        while start < stop:
            following = fill_block(
                begins, ends, rows, start, stop, indices, chunk, drop_below, key, True,
                columns, pointer,
            )  # fmt: skip
            num = following - start
            for head in range(heads):
                shift = head % group * BLOCK
                for i in range(num):
                    entry = (start + i) * heads + head
                    top, score = lowest(score_dst), score_dst[entry]
                    for k in range(pointer[i], pointer[i + 1]):
                        source = np.int64(columns[k]) * heads + head
                        logit = logit_of(score, score_src[source], slope)
                        weight[shift + k] = logit
                        top = max(top, logit)
                    norms[2 * entry] = top
                    for k in range(shift + pointer[i], shift + pointer[i + 1]):
                        other[k] = weight[k] > 0
                        weight[k] = below_top(weight[k], top)
                for k in range(shift, shift + pointer[num]):
                    weight[k] = exp(weight[k])
                    other[k] *= weight[k]
                for i in range(num):
                    entry = (start + i) * heads + head
                    begin, end = shift + pointer[i], shift + pointer[i + 1]
                    mass = sum_between(weight, begin, end)
                    scale[shift + i] = 1 / mass if end > begin else 0
                    a_pos[entry] = sum_between(other, begin, end) * scale[shift + i]
                    minus_pos[shift + i] = -a_pos[entry]
                    norms[2 * entry + 1] = scale[shift + i]
                if head % group < group - 1:
                    continue
                for i in range(num):
                    edges = pointer[i], pointer[i + 1], pointer[num] - 1, ahead
                    for tile in range(count):
                        offset = (head - group + 1) * dim + min(tile * width, span - width)
                        target = (start + i) * heads * dim + offset
                        if keep:
                            total, total_pos = weighted_sums(
                                zeros(width, h), zeros(width, h), weight, other, BLOCK,
                                columns_of_head, columns, edges,
                                h, heads * dim, offset,
                            )  # fmt: skip
                            c_row = add_times(
                                total_pos, minus_pos, i, BLOCK, columns_of_head, total
                            )
                            store(c_row, scale, i, BLOCK, columns_of_head, c, target)
                        else:
                            total = weighted_sum(
                                zeros(width, h), weight, 0, BLOCK, columns_of_head,
                                columns, edges, h, heads * dim, offset,
                            )  # fmt: skip
                        store(total, scale, i, BLOCK, columns_of_head, out, target)
            start = following

    return kernel


@functools.cache
def gat_backward_kernel(heads: int, dim: int):
    """Make the kernel of the source pass: one gather of the output's gradient over the transpose.

    `facts` holds (score_dst, the largest logit, 1 / the sum of exp(logit - largest), <g, out>) per
    destination and head, together so that an edge reads one line.

    The kernel's arguments, flat: g (num_dst, heads, dim); h (num_src, heads, dim); score_src
    (num_src, heads); facts (num_dst, heads, 4); d_h (num_pieces, heads, dim); d_score_src
    (num_pieces, heads). The graph is the transpose: a row is a source, its columns are the
    destinations that the source has edges to.
    """
    # How to read it, beside the formulas at the top of gat.py. Nothing of the forward was kept per
    # edge, so alpha is computed again from what facts says of the destination. The largest logit
    # and the sum are two numbers there: their joint log-sum-exp would lose the sum beside a large
    # logit. `weight` is alpha, and `other` alpha times the slope of the LeakyReLU at its logit.
    # Under weight, g adds up to acc_j, which is d_h. Under other, g adds up to
    # s acc_j + (1 - s) acc_pos_j, whose product with h_j is one part of dL/dscore_src[j], and D to
    # s S_j + (1 - s) S_pos_j, which is taken away from it.
    group = heads_at_once(heads, dim)
    span = group * dim
    width, count = tiles(span, 2) if group == 1 else (span, 1)
    columns_of_head = dim if group > 1 else width
    chunk, sources = CHUNK, SOURCES

    @njit(cache=True, **FAST)
    def kernel(
        first, last, task_ptr, begins, ends, rows, indices,
        g, h, score_src, facts, slope, drop_below, key, ahead, d_h, d_score_src,
    ):  # fmt: skip
        if sources < 0:
            return
        unit = np.ones(1, score_src.dtype)
        weight, other = np.empty((2, group * BLOCK), score_src.dtype)
        scale, dots = np.empty((2, BLOCK + VECTOR), score_src.dtype)
        columns, pointer = np.empty(BLOCK, indices.dtype), np.empty(BLOCK + 1, np.int64)
        sums = np.empty(span, score_src.dtype)
        start, stop = task_ptr[first], task_ptr[last]
        while start < stop:
            following = fill_block(
                begins, ends, rows, start, stop, indices, chunk, drop_below, key, False,
                columns, pointer,
            )  # fmt: skip
            num = following - start
            for head in range(heads):
                shift = head % group * BLOCK
                for i in range(num):
                    row = rows[start + i] if len(rows) else start + i
                    score = score_src[row * heads + head]
                    for k in range(pointer[i], pointer[i + 1]):
                        fact = (np.int64(columns[k]) * heads + head) * 4
                        logit = logit_of(facts[fact], score, slope)
                        weight[shift + k] = below_top(logit, facts[fact + 1])
                        other[shift + k] = unit[0] if logit > 0 else slope
                        scale[k], dots[k] = facts[fact + 2], facts[fact + 3]
                for k in range(pointer[num]):
                    alpha = exp(weight[shift + k]) * scale[k]
                    weight[shift + k] = alpha
                    other[shift + k] *= alpha
                    dots[k] *= other[shift + k]
                for i in range(num):
                    subtracted = sum_between(dots, pointer[i], pointer[i + 1])
                    d_score_src[(start + i) * heads + head] = -subtracted
                if head % group < group - 1:
                    continue
                begin_head = head - group + 1
                for i in range(num):
                    edges = pointer[i], pointer[i + 1], pointer[num] - 1, ahead
                    target = ((start + i) * heads + begin_head) * dim
                    for tile in range(count):
                        offset = min(tile * width, span - width)
                        total, total_slope = weighted_sums(
                            zeros(width, g), zeros(width, g), weight, other, BLOCK,
                            columns_of_head, columns, edges,
                            g, heads * dim, begin_head * dim + offset,
                        )  # fmt: skip
                        store(total, unit, 0, 0, columns_of_head, d_h, target + offset)
                        store(total_slope, unit, 0, 0, columns_of_head, sums, offset)
                    if pointer[i] == pointer[i + 1]:  # d_score_src is 0, also where h is NaN
                        continue
                    row = rows[start + i] if len(rows) else start + i
                    for member in range(group):
                        entry = (start + i) * heads + begin_head + member
                        source = (row * heads + begin_head + member) * dim
                        d_score_src[entry] += dot(dim, h, source, sums, member * dim)
            start = following

    return kernel


@functools.cache
def row_dots_kernel(dim: int):
    """Make the kernel of <x, y> and <x, z> of every row, `block` rows a task, in a stream."""
    sources = SOURCES

    @njit(cache=True, **FAST)
    def kernel(first, last, block, x, y, z, xy, xz):
        if sources < 0:
            return
        for row in range(first * block, min(last * block, len(xy))):
            xy[row] = dot(dim, x, row * dim, y, row * dim)
            xz[row] = dot(dim, x, row * dim, z, row * dim)

    return kernel


@functools.cache
def edge_dot_kernel(dim: int):
    """Make the kernel of <z_src[src], z_dst[dst]> of every pair, `block` pairs a task."""
    sources = SOURCES

    @njit(cache=True, **FAST)
    def kernel(first, last, block, z_src, z_dst, src, dst, ahead, out):
        if sources < 0:
            return
        for e in range(first * block, min(last * block, len(out))):
            later = min(e + ahead, len(out) - 1)
            prefetch(zeros(dim, z_src), z_src, src[later] * dim)
            prefetch(zeros(dim, z_dst), z_dst, dst[later] * dim)
            out[e] = dot(dim, z_src, src[e] * dim, z_dst, dst[e] * dim)

    return kernel


@functools.cache
def elu_kernels():
    """Make the kernels of elu(mean of summands + addend) and of its gradients.

    An empty addend is zero, and an empty gradient of it is not wanted. Both go through blocks that
    stay in a cache; the derivative of ELU is 1, or e^x = out + 1. What is not a number stays so.
    """
    sources = SOURCES

    @njit(cache=True, **EXACT)
    def forward(first, last, block, out, addend, summands):
        if sources < 0:
            return
        zero, count = out.dtype.type(0), out.dtype.type(len(summands))
        for start in range(first * block, min(last * block, len(out)), block):
            # Slices, as only loops from 0 on are known to be without negative places.
            here = out[start : start + block]
            there = summands[0][start : start + block]
            for i in range(len(here)):
                here[i] = there[i]
            for number in range(1, len(summands)):
                there = summands[number][start : start + block]
                for i in range(len(here)):
                    here[i] += there[i]
            for i in range(len(here)):
                here[i] /= count
            there = addend[start : start + block]
            for i in range(len(there)):
                here[i] += there[i]
            for i in range(len(here)):
                below = expm1(min(here[i], zero))
                here[i] = below if here[i] <= zero else here[i]

    @njit(cache=True, **EXACT)
    def backward(first, last, block, d_mean, d_sum, g, out, count):
        if sources < 0:
            return
        zero, unit, share = g.dtype.type(0), g.dtype.type(1), g.dtype.type(count)
        for start in range(first * block, min(last * block, len(out)), block):
            here, there = d_mean[start : start + block], d_sum[start : start + block]
            g_here, out_here = g[start : start + block], out[start : start + block]
            for i in range(len(here)):
                slope = unit if out_here[i] > zero else out_here[i] + unit
                here[i] = g_here[i] * slope
            for i in range(len(there)):
                there[i] = here[i]
            for i in range(len(here)):
                here[i] /= share

    return forward, backward


@njit(cache=True, **JIT)
def rows_of_pairs(row_ids, column_ids, weight, num_rows):
    """Sort pairs into the rows of a CSR, in their order: counted, and then put in their places.

    They are first put into buckets of rows that follow one another, so that the places of those of
    a bucket, which come next, lie near each other and in a cache.

    Returns:
        indptr (num_rows + 1,) int64, indices int32 and weights.
    """
    count, shift = len(row_ids), 0
    while num_rows >> shift >= BUCKETS:
        shift += 1
    next_of_bucket, indptr = np.zeros(BUCKETS + 1, np.int64), np.zeros(num_rows + 2, np.int64)
    for row in row_ids:
        next_of_bucket[(row >> shift) + 1] += 1
        indptr[row + 2] += 1
    next_of_bucket, indptr = np.cumsum(next_of_bucket), np.cumsum(indptr)
    rows, columns = np.empty(count, np.int32), np.empty(count, np.int32)
    weights = np.empty(count, weight.dtype)
    for e in range(count):
        bucket = row_ids[e] >> shift
        place = next_of_bucket[bucket]
        next_of_bucket[bucket] = place + 1
        rows[place], columns[place], weights[place] = row_ids[e], column_ids[e], weight[e]
    sorted_columns, sorted_weights = np.empty(count, np.int32), np.empty(count, weight.dtype)
    for e in range(count):  # indptr[row + 1] is where the next pair of a row goes
        place = indptr[rows[e] + 1]
        indptr[rows[e] + 1] = place + 1
        sorted_columns[place], sorted_weights[place] = columns[e], weights[e]
    return indptr[:-1], sorted_columns, sorted_weights
