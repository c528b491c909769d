"""CPU kernels in Numba: the same arithmetic as the CUDA ones, over tasks of equal numbers of edges.

Three things keep the loops at the speed of the memory: the dimension is a compile-time constant (a
kernel is made per dimension and cached on disk), a row's sum stays in registers (`_lanes`), and the
rows of the edges `AHEAD` places further on are prefetched. A row longer than a chunk is summed in
pieces that are merged in order, so one popular product uses every thread and the result does not
depend on their number.
"""

import functools
import zlib
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.graph import CHUNK
from gadkit.ops import _lanes
from gadkit.ops._arguments import Packed
from gadkit.ops._lanes import VECTOR, axpy, exp, lowest, prefetch, store, zeros
from gadkit.ops.threads import num_threads, share_out

AHEAD = 16  # edges; fewer leaves the memory idle, more evicts rows before they are used
TILE = 256  # numbers of a row summed at once: they fit the registers of a machine with AVX-512
JIT = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
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
    args = [arg.detach().view(-1).numpy() if isinstance(arg, Tensor) else arg for arg in args]
    threads = num_threads()
    blocks = min(num_tasks, 8 * threads)
    if threads == 1 or blocks < 2:
        kernel(0, num_tasks, *args)
        return
    cuts = [num_tasks * i // blocks for i in range(blocks + 1)]
    share_out(kernel, [(*cut, *args) for cut in zip(cuts, cuts[1:], strict=False)])


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


@njit(**JIT)
def kept_columns(begins, ends, rows, first, last, indices, chunk, drop_below, key, rows_are_dst):
    """Compact the columns that DropEdge keeps in the pieces [first, last), and say where each piece
    begins and ends.

    Dropping before gathering keeps the prefetch distance and the vector loops full.
    """
    room = 0
    for piece in range(first, last):
        room += ends[piece] - begins[piece] if ends[piece] - begins[piece] <= chunk else 0
    columns = np.empty(room, indices.dtype)
    pointer = np.zeros(last - first + 1, np.int64)
    count = 0
    for piece in range(first, last):
        row = rows[piece] if len(rows) else piece
        if ends[piece] - begins[piece] <= chunk:
            for e in range(begins[piece], ends[piece]):
                column = indices[e]
                src, dst = (column, row) if rows_are_dst else (row, column)
                if keeps(src, dst, drop_below, key):
                    columns[count] = column
                    count += 1
        pointer[piece - first + 1] = count
    return columns, pointer[:-1], pointer[1:]


@njit(forceinline=True, **JIT)
def weighted_sum(total, weight, columns, begin, end, x, stride, offset):
    """Add weight[k - begin] * x[columns[k] * stride + offset : + width] for begin <= k < end."""
    last = len(columns) - 1
    for k in range(begin, end):
        prefetch(total, x, np.int64(columns[min(k + AHEAD, last)]) * stride + offset)
        total = axpy(total, weight[k - begin], x, np.int64(columns[k]) * stride + offset)
    return total


@njit(forceinline=True, **JIT)
def weighted_sums(total, total_pos, weight, weight_pos, columns, begin, end, x, stride, offset):
    """Two such sums of the same rows under two weights; the rows are read once."""
    last = len(columns) - 1
    for k in range(begin, end):
        prefetch(total, x, np.int64(columns[min(k + AHEAD, last)]) * stride + offset)
        source = np.int64(columns[k]) * stride + offset
        total = axpy(total, weight[k - begin], x, source)
        total_pos = axpy(total_pos, weight_pos[k - begin], x, source)
    return total, total_pos


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


def tiles(dim: int) -> tuple[int, int]:
    """Return (width, count) of equal tiles covering `dim` columns; the last two may overlap."""
    count = -(-dim // TILE)
    return -(-dim // count), count


@functools.cache
def spmm_kernel(dim: int):
    """Make the kernel of diag(scale_dst) A diag(scale_src) x, where edges may have weights.

    An empty weight or scale stands for ones.
    """
    width, count, chunk, sources = *tiles(dim), CHUNK, SOURCES

    @njit(cache=True, **FAST)
    def kernel(
        first, last, task_ptr, begins, ends, rows, indices,
        x, edge_weight, scale_dst, scale_src, out,
    ):  # fmt: skip
        if sources < 0:
            return
        weight = np.ones(chunk, x.dtype)
        for piece in range(task_ptr[first], task_ptr[last]):
            begin, end = begins[piece], ends[piece]
            if end - begin > chunk:
                end = begin
            for k in range(begin, end if len(edge_weight) or len(scale_src) else begin):
                weight[k - begin] = edge_weight[k] if len(edge_weight) else x.dtype.type(1)
                if len(scale_src):
                    weight[k - begin] *= scale_src[indices[k]]
            scale = scale_dst[piece] if len(scale_dst) else x.dtype.type(1)
            if end == begin:  # 0, also where the scale is 1 / degree and so infinite
                scale = x.dtype.type(0)
            for tile in range(count):
                offset = min(tile * width, dim - width)
                total = weighted_sum(zeros(width, x), weight, indices, begin, end, x, dim, offset)
                store(total, scale, out, piece * dim + offset)

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
    # How to read it. For every piece and head there are three passes over the piece's edges:
    #   1. weight[k] = the logit of edge k, counted from the piece's begin; top = the largest;
    #   2. weight[k] = exp(logit - top), at most 1, so nothing overflows; mass = their sum;
    #   3. the rows of h, times the weights, a tile of `width` columns at a time; dividing by mass
    #      once at the end (`scale`) makes a softmax of the weights.
    # An example: logits 0 and log 3 give top = log 3, weights 1/3 and 1, mass 4/3, alpha 1/4 and
    # 3/4. weight_pos is weight where the logit is positive and 0 elsewhere: 0 and 1.
    # With DropEdge, `columns` holds the kept edges of the whole task, and begins and ends index it.
    width, count, chunk, sources = *tiles(dim), CHUNK, SOURCES

    @njit(cache=True, **FAST)
    def kernel(
        first, last, task_ptr, begins, ends, rows, indices,
        h, score_src, score_dst, slope, drop_below, key, out, norms, a_pos, c,
    ):  # fmt: skip
        if sources < 0:
            return
        weight, weight_pos = np.empty(chunk, h.dtype), np.empty(chunk, h.dtype)
        for task in range(first, last):
            start, stop = task_ptr[task], task_ptr[task + 1]
            columns, piece_begins, piece_ends = indices, begins[start:stop], ends[start:stop]
            if drop_below:
                columns, piece_begins, piece_ends = kept_columns(
                    begins, ends, rows, start, stop, indices, chunk, drop_below, key, True
                )
            for piece in range(start, stop):
                begin, end = piece_begins[piece - start], piece_ends[piece - start]
                if end - begin > chunk:
                    end = begin
                for head in range(heads):
                    entry = piece * heads + head
                    top = lowest(h)
                    for k in range(begin, end):
                        source = np.int64(columns[k]) * heads + head
                        logit = logit_of(score_dst[entry], score_src[source], slope)
                        weight[k - begin] = logit
                        top = max(top, logit)
                    mass, mass_pos = h.dtype.type(0), h.dtype.type(0)
                    for k in range(end - begin):
                        positive = weight[k] > 0
                        weight[k] = exp(below_top(weight[k], top))
                        weight_pos[k] = weight[k] if positive else 0
                        mass += weight[k]
                        mass_pos += weight_pos[k]
                    scale = 1 / mass if end > begin else h.dtype.type(0)
                    norms[2 * entry], norms[2 * entry + 1] = top, scale
                    for tile in range(count):
                        offset = head * dim + min(tile * width, dim - width)
                        target = piece * heads * dim + offset
                        total, total_pos = zeros(width, h), zeros(width, h)
                        if keep:
                            total, total_pos = weighted_sums(
                                total,
                                total_pos,
                                weight,
                                weight_pos,
                                columns,
                                begin,
                                end,
                                h,
                                heads * dim,
                                offset,
                            )
                            store(total_pos, scale, c, target)
                        else:
                            total = weighted_sum(
                                total, weight, columns, begin, end, h, heads * dim, offset
                            )
                        store(total, scale, out, target)
                    if keep:
                        a_pos[entry] = mass_pos * scale
                        for d in range(entry * dim, (entry + 1) * dim):
                            c[d] -= a_pos[entry] * out[d]

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
    # edge, so the first loop computes alpha again from what facts says of the destination. The
    # largest logit and the sum are two numbers there: their joint log-sum-exp would lose the sum
    # beside a large logit. `dots` is S_j there, and `dots_pos` S_pos_j. The tiles then add up
    # acc_j, which is d_h itself, and acc_pos_j, which lies in the scratch row `pos`. The last loop
    # takes their products with h_j, and the last line is dL/dscore_src[j].
    width, count, chunk, sources = *tiles(dim), CHUNK, SOURCES

    @njit(cache=True, **FAST)
    def kernel(
        first, last, task_ptr, begins, ends, rows, indices,
        g, h, score_src, facts, slope, drop_below, key, d_h, d_score_src,
    ):  # fmt: skip
        if sources < 0:
            return
        weight, weight_pos = np.empty(chunk, g.dtype), np.empty(chunk, g.dtype)
        pos = np.empty(dim, g.dtype)
        for task in range(first, last):
            start, stop = task_ptr[task], task_ptr[task + 1]
            columns, piece_begins, piece_ends = indices, begins[start:stop], ends[start:stop]
            if drop_below:
                columns, piece_begins, piece_ends = kept_columns(
                    begins, ends, rows, start, stop, indices, chunk, drop_below, key, False
                )
            for piece in range(start, stop):
                begin, end = piece_begins[piece - start], piece_ends[piece - start]
                if end - begin > chunk:
                    end = begin
                row = rows[piece] if len(rows) else piece
                for head in range(heads):
                    dots, dots_pos = g.dtype.type(0), g.dtype.type(0)  # sums of alpha <g, out>
                    for k in range(begin, end):
                        fact = (np.int64(columns[k]) * heads + head) * 4
                        logit = logit_of(facts[fact], score_src[row * heads + head], slope)
                        alpha = exp(below_top(logit, facts[fact + 1])) * facts[fact + 2]
                        weight[k - begin] = alpha
                        weight_pos[k - begin] = alpha if logit > 0 else 0
                        dots += alpha * facts[fact + 3]
                        dots_pos += weight_pos[k - begin] * facts[fact + 3]
                    for tile in range(count):
                        offset = min(tile * width, dim - width)
                        total, total_pos = weighted_sums(
                            zeros(width, g), zeros(width, g), weight, weight_pos,
                            columns, begin, end, g, heads * dim, head * dim + offset,
                        )  # fmt: skip
                        store(total, g.dtype.type(1), d_h, (piece * heads + head) * dim + offset)
                        store(total_pos, g.dtype.type(1), pos, offset)
                    h_acc, h_acc_pos = g.dtype.type(0), g.dtype.type(0)
                    for d in range(dim):
                        h_acc += (
                            h[(row * heads + head) * dim + d]
                            * d_h[(piece * heads + head) * dim + d]
                        )
                        h_acc_pos += h[(row * heads + head) * dim + d] * pos[d]
                    d_score = slope * (h_acc - dots) + (1 - slope) * (h_acc_pos - dots_pos)
                    if end == begin:  # 0, also where h is NaN
                        d_score = g.dtype.type(0)
                    d_score_src[piece * heads + head] = d_score

    return kernel


@njit(cache=True, **FAST)
def row_dots(first, last, dim, block, x, y, z, xy, xz):
    """Write <x, y> and <x, z> of every row, `block` rows a task; a stream, nothing is gathered."""
    for row in range(first * block, min(last * block, len(xy))):
        total_y, total_z = x.dtype.type(0), x.dtype.type(0)
        for d in range(row * dim, (row + 1) * dim):
            total_y += x[d] * y[d]
            total_z += x[d] * z[d]
        xy[row], xz[row] = total_y, total_z


@njit(forceinline=True, **JIT)
def _prefetch_row(x, at, dim):
    for d in range(0, dim, VECTOR):
        prefetch(zeros(1, x), x, at + d)


@njit(cache=True, **FAST)
def edge_dot_kernel(first, last, dim, block, z_src, z_dst, src, dst, out):
    """Write <z_src[src], z_dst[dst]> of every pair, `block` pairs a task."""
    for e in range(first * block, min(last * block, len(out))):
        ahead = min(e + AHEAD // 2, len(out) - 1)
        _prefetch_row(z_src, src[ahead] * dim, dim)
        _prefetch_row(z_dst, dst[ahead] * dim, dim)
        a, b = src[e] * dim, dst[e] * dim
        total = z_src.dtype.type(0)
        for d in range(dim):
            total += z_src[a + d] * z_dst[b + d]
        out[e] = total
