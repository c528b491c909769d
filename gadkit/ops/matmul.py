"""Sparse matrix times dense matrix, with the matrix given by its edges and two scales.

A GCN layer multiplies by D^-1/2 (A + I) D^-1/2 (Kipf and Welling, Semi-Supervised Classification
with Graph Convolutional Networks, ICLR 2017, eq. 2). The weight of an edge is the product of one
number per end, so no value array is stored or read.
"""

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CHUNK, CSR
from gadkit.graph.arrays import Array, as_tensor
from gadkit.ops import _cpu, buffers
from gadkit.ops._arguments import (
    Packed,
    check_columns,
    check_tensor,
    is_batched_gradient,
    one_by_one,
    pack,
    requires_grad,
    transpose_if_needed,
    wants_plain_torch,
    wide,
)


def spmm(
    csr: CSR, x: Array, *, scale_dst: Array | None = None, scale_src: Array | None = None
) -> Tensor:
    """Compute diag(scale_dst) A diag(scale_src) x, where A[i, j] counts the edges j -> i.

    Sums neighbors with no scales, averages them with scale_dst = 1 / degree, and is a GCN
    propagation with both scales D^-1/2. The gradient with respect to x is the same product on the
    transpose.

    Args:
        csr: num_dst x num_src.
        x: (num_src, dim), contiguous; float32, float64, or float16 or bfloat16, which are summed in
            float32. It and the scales may be arrays of other libraries, see `graph.as_tensor`.
        scale_dst: (num_dst,) of the dtype of x or of its sums, or None for ones; not
            differentiated.
        scale_src: (num_src,) likewise.

    Returns:
        (num_dst, dim); rows without edges are zero.

    Raises:
        TypeError: a dtype is not supported.
        ValueError: a shape, a device or the memory layout is wrong.
        ImportError: the tensors are on a GPU and CuPy is not installed.
    """
    x = as_tensor(x, "x")
    check_tensor(x, "x", (csr.num_src, None), csr.device)
    check_columns(x, "x")
    scales = []
    for name, scale, size in (
        ("scale_dst", scale_dst, csr.num_dst),
        ("scale_src", scale_src, csr.num_src),
    ):
        if scale is not None:
            scale = as_tensor(scale, name)
            check_tensor(scale, name, (size,), csr.device, like=x)
            if requires_grad(scale):
                raise ValueError(
                    f"{name} requires a gradient, which spmm does not compute; pass {name}.detach()"
                )
            scale = scale.to(wide(x.dtype))
        scales.append(scale)
    if wants_plain_torch():
        options = dict(zip(("scale_dst", "scale_src"), scales, strict=True))
        return spmm_reference(csr, x.to(wide(x.dtype)), **options).to(x.dtype)
    return _spmm(pack(csr), pack(transpose_if_needed(csr, x)), x, *scales)


def spmm_reference(
    csr: CSR, x: Tensor, *, scale_dst: Tensor | None = None, scale_src: Tensor | None = None
) -> Tensor:
    """Define `spmm` in plain torch: gather every edge's source, add it to its destination."""
    scaled = x if scale_src is None else x * scale_src[:, None]
    # Not scaled[indices], whose gradient torch adds up in an order that threads decide.
    sources = scaled.index_select(0, csr.indices.long())
    out = x.new_zeros(csr.num_dst, x.shape[1]).index_add(0, csr.dst(), sources)
    if scale_dst is None:
        return out
    # Without edges 0, also where the scale is 1 / degree and so infinite.
    return out * torch.where(csr.degrees() > 0, scale_dst, 0.0)[:, None]


@torch.library.custom_op("gadkit::spmm", mutates_args=(), device_types="cpu")
def _spmm(
    csr: list[Tensor],
    csr_t: list[Tensor],
    x: Tensor,
    scale_dst: Tensor | None,
    scale_src: Tensor | None,
) -> Tensor:
    return weighted_sum_cpu(Packed(*csr), x, None, scale_dst, scale_src)


def weighted_sum_cpu(
    rows: Packed,
    x: Tensor,
    edge_weight: Tensor | None,
    scale_dst: Tensor | None = None,
    scale_src: Tensor | None = None,
) -> Tensor:
    """Compute diag(scale_dst) A diag(scale_src) x, where the edges may have weights.

    Args:
        rows: a CSR.
        x: (num_src, dim).
        edge_weight: (num_edges,) of the dtype that x is summed in, like the scales.
        scale_dst: (num_dst,).
        scale_src: (num_src,).
    """
    ones = x.new_empty(0, dtype=wide(x.dtype))
    kernel = _cpu.spmm_kernel(x.shape[1])
    edge_weight, scale, scale_src = (
        ones if factor is None else factor for factor in (edge_weight, scale_dst, scale_src)
    )
    out = buffers.empty(x, (len(rows.indptr) - 1, x.shape[1]))
    _cpu.run_rows(rows, kernel, x, edge_weight, scale, scale_src, _cpu.ahead(x), out)
    if len(rows.long_row):
        partial = ones.new_empty(len(rows.chunk_row), x.shape[1])
        _cpu.run_chunks(rows, kernel, x, edge_weight, ones, scale_src, _cpu.ahead(x), partial)
        long = _cpu.sum_chunks(rows, partial)
        long = long if scale_dst is None else long * scale_dst[rows.long_row, None]
        out[rows.long_row] = long.to(out.dtype)
    return out


@_spmm.register_kernel("cuda")
def _spmm_cuda(csr, csr_t, x, scale_dst, scale_src):
    return weighted_sum_cuda(Packed(*csr), x, None, scale_dst, scale_src)


def weighted_sum_cuda(
    rows: Packed,
    x: Tensor,
    edge_weight: Tensor | None,
    scale_dst: Tensor | None = None,
    scale_src: Tensor | None = None,
) -> Tensor:
    """Compute what `weighted_sum_cpu` does; a chunk_row of -1 marks a chunk that is none."""
    from gadkit.ops import _cuda  # where there is no GPU, nothing of it is loaded

    num_chunks, dim = len(rows.chunk_row), x.shape[1]
    out = x.new_empty(len(rows.indptr) - 1, dim)
    partial = x.new_empty(num_chunks, dim, dtype=wide(x.dtype))
    graph, sizes = _cuda.row_arguments(rows)
    width, lanes = _cuda.layout(dim, dim, x, out, partial)
    _cuda.launch_warps(
        "spmm", _cuda.instance("spmm", x.dtype, width), num_chunks + len(out),
        *graph, x, edge_weight, scale_dst, scale_src, out, partial,
        *sizes, np.int32(dim), np.int32(lanes),
    )  # fmt: skip
    sum_chunks(rows, partial, out, scale_dst)
    return out


def sum_chunks(rows: Packed, partial: Tensor, out: Tensor, scale_dst: Tensor | None = None) -> None:
    """Add up the chunks of long rows on a GPU: (num_chunks, columns) into (num_rows, columns)."""
    from gadkit.ops import _cuda

    columns = partial[0].numel() if len(partial) else 0
    _cuda.launch_mergers(
        "spmm", _cuda.instance("sum_chunks", out.dtype), rows, columns,
        partial, scale_dst, out, np.int32(CHUNK), np.int32(columns),
    )  # fmt: skip


@_spmm.register_fake
def _(csr, csr_t, x, scale_dst, scale_src):
    return x.new_empty(csr[0].shape[0] - 1, x.shape[1])


def _save(ctx, inputs, output):
    csr, csr_t, _, scale_dst, scale_src = inputs
    ctx.csr, ctx.csr_t = csr, csr_t
    ctx.save_for_backward(scale_dst, scale_src)


def _backward(ctx, g):
    scale_dst, scale_src = ctx.saved_tensors
    if is_batched_gradient(g):
        rows = CSR(ctx.csr_t[0], ctx.csr_t[1], len(ctx.csr[0]) - 1)
        scales = {"scale_dst": scale_src, "scale_src": scale_dst}
        d_x = spmm_reference(rows, g.to(wide(g.dtype)), **scales).to(g.dtype)
    else:
        d_x = _spmm(ctx.csr_t, ctx.csr, g.contiguous(), scale_src, scale_dst)
    return [None] * len(ctx.csr), [None] * len(ctx.csr_t), d_x, None, None


_spmm.register_autograd(_backward, setup_context=_save)
_spmm.register_vmap(one_by_one(_spmm))
