"""Sparse matrix times dense matrix, with the matrix given by its edges and two scales.

A GCN layer multiplies by D^-1/2 (A + I) D^-1/2 (Kipf and Welling, Semi-Supervised Classification
with Graph Convolutional Networks, ICLR 2017, eq. 2). The weight of an edge is the product of one
number per end, so no value array is stored or read.
"""

import torch
from torch import Tensor

from gadkit.graph import CSR
from gadkit.ops import _cpu
from gadkit.ops._check import check_columns, check_tensor, transpose_if_needed


def spmm(
    csr: CSR, x: Tensor, *, scale_dst: Tensor | None = None, scale_src: Tensor | None = None
) -> Tensor:
    """Compute diag(scale_dst) A diag(scale_src) x, where A[i, j] counts the edges j -> i.

    Sums neighbors with no scales, averages them with scale_dst = 1 / degree, and is a GCN
    propagation with both scales D^-1/2. The gradient with respect to x is the same product on the
    transpose.

    Args:
        csr: num_dst x num_src.
        x: (num_src, dim) float32 or float64, contiguous.
        scale_dst: (num_dst,) of the dtype of x, or None for ones; not differentiated.
        scale_src: (num_src,) of the dtype of x, or None for ones; not differentiated.

    Returns:
        (num_dst, dim); rows without edges are zero.

    Raises:
        TypeError: a dtype is not supported.
        ValueError: a shape, a device or the memory layout is wrong.
    """
    check_tensor(x, "x", (csr.num_src, None))
    check_columns(x, "x")
    for name, scale, size in (
        ("scale_dst", scale_dst, csr.num_dst),
        ("scale_src", scale_src, csr.num_src),
    ):
        if scale is not None:
            check_tensor(scale, name, (size,), like=x)
            if scale.requires_grad:
                raise ValueError(
                    f"{name} requires a gradient, which spmm does not compute; pass {name}.detach()"
                )
    csr_t = transpose_if_needed(csr, x)
    return _spmm(_cpu.pack(csr), _cpu.pack(csr_t) if csr_t else [], x, scale_dst, scale_src)


def spmm_reference(
    csr: CSR, x: Tensor, *, scale_dst: Tensor | None = None, scale_src: Tensor | None = None
) -> Tensor:
    """Define `spmm` in plain torch: gather every edge's source, add it to its destination."""
    scaled = x if scale_src is None else x * scale_src[:, None]
    out = x.new_zeros(csr.num_dst, x.shape[1]).index_add(0, csr.dst(), scaled[csr.indices.long()])
    return out if scale_dst is None else out * scale_dst[:, None]


@torch.library.custom_op("gadkit::spmm", mutates_args=(), device_types="cpu")
def _spmm(
    csr: list[Tensor],
    csr_t: list[Tensor],
    x: Tensor,
    scale_dst: Tensor | None,
    scale_src: Tensor | None,
) -> Tensor:
    packed, kernel, ones = _cpu.Packed(*csr), _cpu.spmm_kernel(x.shape[1]), x.new_empty(0)
    scale_src = ones if scale_src is None else scale_src
    out = x.new_empty(len(packed.indptr) - 1, x.shape[1])
    packed.run_rows(kernel, x, ones if scale_dst is None else scale_dst, scale_src, out)
    if len(packed.long_row):
        partial = x.new_empty(len(packed.chunk_row), x.shape[1])
        packed.run_chunks(kernel, x, ones, scale_src, partial)
        long = packed.sum_chunks(partial)
        out[packed.long_row] = (
            long if scale_dst is None else long * scale_dst[packed.long_row, None]
        )
    return out


@_spmm.register_fake
def _(csr, csr_t, x, scale_dst, scale_src):
    return x.new_empty(csr[0].shape[0] - 1, x.shape[1])


def _save(ctx, inputs, output):
    csr, csr_t, _, scale_dst, scale_src = inputs
    ctx.csr, ctx.csr_t = csr, csr_t
    ctx.save_for_backward(scale_dst, scale_src)


def _backward(ctx, g):
    scale_dst, scale_src = ctx.saved_tensors
    none = [None] * len(ctx.csr)
    return (
        none,
        [None] * len(ctx.csr_t),
        _spmm(ctx.csr_t, ctx.csr, g.contiguous(), scale_src, scale_dst),
        None,
        None,
    )


_spmm.register_autograd(_backward, setup_context=_save)
