"""One number per pair of nodes: the decoder of a graph autoencoder.

p(edge i - j) = sigmoid(<z_i, z_j>) (Kipf and Welling, Variational Graph Auto-Encoders, 2016,
section 1).
"""

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CHUNK, CSR
from gadkit.graph.arrays import Array, as_tensor
from gadkit.ops import _cpu, _cuda
from gadkit.ops._arguments import (
    Packed,
    check_columns,
    check_tensor,
    one_by_one,
    pack,
    wants_plain_torch,
    wide,
)
from gadkit.ops.matmul import weighted_sum_cpu, weighted_sum_cuda

PAIRS = 4096  # a task of the forward on a CPU
DEPTH = 4  # pairs that a group of lanes has in flight on a GPU; as in gadkit.cuh


def edge_dot(z_src: Array, z_dst: Array, src: Array, dst: Array) -> Tensor:
    """Compute <z_src[src], z_dst[dst]> for every pair.

    The gradient adds the pairs of a node in their order, so it is the same in every run. All
    arguments may be arrays of other libraries, see `graph.as_tensor`.

    Args:
        z_src: (num_src, dim), contiguous; float32, float64, or float16 or bfloat16, which are
            summed in float32.
        z_dst: (num_dst, dim) of the same dtype; may be z_src itself.
        src: (num_pairs,) int64 in [0, num_src).
        dst: (num_pairs,) int64 in [0, num_dst).

    Returns:
        (num_pairs,). In a CUDA graph, where ids cannot be checked, NaN for an id out of range.

    Raises:
        TypeError: a dtype is not supported.
        ValueError: a shape, a device or the memory layout is wrong, or an id is out of range.
        ImportError: the tensors are on a GPU and CuPy is not installed.
    """
    z_src, z_dst = as_tensor(z_src, "z_src"), as_tensor(z_dst, "z_dst")
    src, dst = as_tensor(src, "src"), as_tensor(dst, "dst")
    check_tensor(z_src, "z_src", (None, None), z_src.device)
    check_tensor(z_dst, "z_dst", (None, z_src.shape[1]), z_src.device)
    if z_dst.dtype != z_src.dtype:
        raise TypeError(
            f"z_dst is {z_dst.dtype}, but z_src is {z_src.dtype}; give both the same dtype"
        )
    check_columns(z_src, "z_src")
    if src.shape != dst.shape or src.dim() != 1:
        raise ValueError(
            "src and dst must be 1-D of equal length, "
            f"got {tuple(src.shape)} and {tuple(dst.shape)}"
        )
    for name, ids in (("src", src), ("dst", dst)):
        if ids.device != z_src.device:
            raise ValueError(
                f"{name} is on {ids.device}, but the features are on {z_src.device}; "
                f"move it with .to({str(z_src.device)!r})"
            )
    if wants_plain_torch():
        _check_ids(src, "src", len(z_src))
        _check_ids(dst, "dst", len(z_dst))
        ends = (z.to(wide(z.dtype)) for z in (z_src, z_dst))
        return edge_dot_reference(*ends, src, dst).to(z_src.dtype)
    return _edge_dot(z_src, z_dst, src, dst)


def edge_dot_reference(z_src: Tensor, z_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """Define `edge_dot` in plain torch."""
    # Not z_src[src], whose gradient torch adds up in an order that threads decide.
    return (z_src.index_select(0, src) * z_dst.index_select(0, dst)).sum(1)


def _check_ids(ids: Tensor, name: str, count: int) -> None:
    if ids.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, not {ids.dtype}; convert it with .long()")
    if ids.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # reading one number would stop the capture; the kernel answers with NaN
    outside = (ids < 0) | (ids >= count)
    if outside.any():
        pair = int(outside.nonzero()[0])
        raise ValueError(f"{name}[{pair}] is {int(ids[pair])}, outside [0, {count})")


@torch.library.custom_op("gadkit::edge_dot", mutates_args=(), device_types="cpu")
def _edge_dot(z_src: Tensor, z_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    _check_ids(src, "src", len(z_src))  # here, where ids are known even under torch.compile
    _check_ids(dst, "dst", len(z_dst))
    out = z_src.new_empty(len(src), dtype=wide(z_src.dtype))
    ids = src.contiguous(), dst.contiguous()
    kernel = _cpu.edge_dot_kernel(z_src.shape[1])
    _cpu.run(kernel, -(-len(src) // PAIRS), PAIRS, z_src, z_dst, *ids, _cpu.ahead(z_src), out)
    return out.to(z_src.dtype)


@_edge_dot.register_kernel("cuda")
def _edge_dot_cuda(z_src, z_dst, src, dst):
    _check_ids(src, "src", len(z_src))
    _check_ids(dst, "dst", len(z_dst))
    out, dim = z_src.new_empty(len(src)), z_src.shape[1]
    width, lanes = _cuda.layout(dim, dim, z_src, z_dst)
    sizes = map(np.int64, (len(src), len(z_src), len(z_dst)))
    _cuda.launch_warps(
        "sddmm", _cuda.instance("edge_dot", z_src.dtype, width),
        -(-len(src) * lanes // (DEPTH * _cuda.WARP)),
        z_src, z_dst, src.contiguous(), dst.contiguous(), out,
        *sizes, np.int32(dim), np.int32(lanes),
    )  # fmt: skip
    return out


@_edge_dot.register_fake
def _(z_src, z_dst, src, dst):
    return z_src.new_empty(src.shape[0])


@torch.library.custom_op("gadkit::edge_dot_backward", mutates_args=(), device_types="cpu")
def _edge_dot_backward(
    g: Tensor, z: Tensor, row_ids: Tensor, column_ids: Tensor, num_rows: int
) -> Tensor:
    """Return, for each of num_rows rows, the sum of g * z[column] over the pairs of that row."""
    pairs = row_ids.numpy(), column_ids.numpy(), g.to(wide(z.dtype)).numpy()
    indptr, columns, weight = map(torch.from_numpy, _cpu.rows_of_pairs(*pairs, num_rows))
    return weighted_sum_cpu(Packed(*pack(CSR(indptr, columns, len(z)))), z, weight)


@_edge_dot_backward.register_kernel("cuda")
def _edge_dot_backward_cuda(g, z, row_ids, column_ids, num_rows):
    indptr, columns, weight = _by_row(g, row_ids, column_ids, num_rows)
    columns = columns.clamp(0, max(0, len(z) - 1))  # ids of a CUDA graph are unchecked
    return weighted_sum_cuda(_packed_on_device(indptr, columns), z, weight.to(wide(z.dtype)))


def _by_row(
    g: Tensor, row_ids: Tensor, column_ids: Tensor, num_rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sort pairs into the rows of a CSR, in their order; return indptr, indices and weights."""
    row_ids, order = torch.sort(row_ids, stable=True)
    rows = torch.arange(num_rows + 1, device=row_ids.device)
    return torch.searchsorted(row_ids, rows), column_ids[order].int(), g[order]


def _packed_on_device(indptr: Tensor, indices: Tensor) -> Packed:
    """Cut rows into chunks as `CSR.plan` does, but without asking the GPU how many there are.

    A row longer than a chunk fills more than half of its chunks, which bounds their number; those
    too many get the row -1.
    """
    degrees = indptr.diff()
    chunks = torch.where(degrees > CHUNK, -(-degrees // CHUNK), 0).cumsum(0)
    chunk = torch.arange(2 * len(indices) // CHUNK, device=indptr.device)
    row = torch.searchsorted(chunks, chunk, right=True)
    real = row < len(degrees)
    row = row.clamp(max=len(degrees) - 1)
    before = torch.where(row > 0, chunks[row - 1], 0)
    begin = indptr[row] + CHUNK * (chunk - before)
    end = torch.minimum(begin + CHUNK, indptr[row + 1])
    none = indptr[:0]
    return Packed(indptr, indices, none, none, none, torch.where(real, row, -1), begin, end)


@_edge_dot_backward.register_fake
def _(g, z, row_ids, column_ids, num_rows):
    return z.new_empty(num_rows, z.shape[1])


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, g):
    z_src, z_dst, src, dst = ctx.saved_tensors
    # The kernel has no derivatives itself; where they may be asked for, plain torch does the same.
    add = _add_by_row if torch.is_grad_enabled() else _edge_dot_backward
    d_src = d_dst = None
    if ctx.needs_input_grad[0]:
        d_src = add(g.contiguous(), z_dst, src, dst, z_src.shape[0])
    if ctx.needs_input_grad[1]:
        d_dst = add(g.contiguous(), z_src, dst, src, z_dst.shape[0])
    return d_src, d_dst, None, None


def _add_by_row(g: Tensor, z: Tensor, row_ids: Tensor, column_ids: Tensor, num_rows: int) -> Tensor:
    """Define `_edge_dot_backward` in plain torch."""
    dtype = wide(z.dtype)
    terms = g.to(dtype)[:, None] * z.to(dtype).index_select(0, column_ids)
    return terms.new_zeros(num_rows, z.shape[1]).index_add(0, row_ids, terms).to(z.dtype)


_edge_dot.register_autograd(_backward, setup_context=_save)
_edge_dot.register_vmap(one_by_one(_edge_dot))
_edge_dot_backward.register_vmap(one_by_one(_edge_dot_backward))
