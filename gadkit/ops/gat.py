"""Softmax attention over in-neighbors, fused: one gather forward and one backward.

Velickovic et al., Graph Attention Networks, ICLR 2018, eqs. 1 to 4. For destination i and its
sources j, with score_dst[i] = <a_dst, W h_i> and score_src[j] = <a_src, W h_j> given by the caller,

    logit_ij = LeakyReLU(score_dst[i] + score_src[j])
    alpha_i. = softmax_j logit_ij
    out_i    = sum_j alpha_ij h_j

The backward keeps no number per edge. LeakyReLU is piecewise linear, so the gradient of a row's
logits is one part over all its edges, which the softmax makes vanish when summed, and one over
those with a positive logit. With g = dL/dout, s = negative_slope, a_pos_i = sum_j alpha_ij over
positive logits, and c_i = (the same sum of alpha_ij h_j) - a_pos_i out_i, both from the forward's
own gather:

    dL/dscore_dst[i] = (1 - s) <g_i, c_i>
    alpha_ij again from log-sum-exp, D_i = <g_i, out_i>;  over the destinations i of j
    acc_j = sum alpha_ij g_i,  S_j = sum alpha_ij D_i,  and acc_pos_j, S_pos_j over positive logits
    dL/dh_j = acc_j
    dL/dscore_src[j] = s (<h_j, acc_j> - S_j) + (1 - s) (<h_j, acc_pos_j> - S_pos_j)
"""

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CSR
from gadkit.ops import _cpu
from gadkit.ops._check import check_columns, check_tensor, transpose_if_needed

ROWS = 4096  # a task of the streaming pass
MASK = (1 << 64) - 1


def gat_aggregate(
    csr: CSR,
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    *,
    negative_slope: float = 0.2,
    drop_edge: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Sum the sources of every destination under softmax attention.

    The same kernel serves training and inference. DropEdge (Rong et al., ICLR 2020) is a coin per
    edge, hashed from (source, destination, seed) inside the kernels: nothing is stored, forward and
    backward agree, and dropped edges are not gathered. Repeated edges share one coin.

    Args:
        csr: num_dst x num_src.
        h: (num_src, dim) or (num_src, heads, dim) float32 or float64, contiguous; projected source
            features.
        score_src: (num_src,) or (num_src, heads); source half of the attention logits.
        score_dst: (num_dst,) or (num_dst, heads); destination half.
        negative_slope: slope of the LeakyReLU below zero, in [0, 1].
        drop_edge: probability in [0, 1) that an edge is left out.
        seed: of the coins.

    Returns:
        (num_dst, dim) or (num_dst, heads, dim); rows without (kept) edges are zero.

    Raises:
        TypeError: a dtype is not supported.
        ValueError: a shape, a device, the memory layout or a probability is wrong.
    """
    heads = h.shape[1:-1]
    check_tensor(h, "h", (csr.num_src, *heads[:1], None))
    check_columns(h, "h")
    check_tensor(score_src, "score_src", (csr.num_src, *heads), like=h)
    check_tensor(score_dst, "score_dst", (csr.num_dst, *heads), like=h)
    if not 0 <= drop_edge < 1:
        raise ValueError(f"drop_edge must be in [0, 1), got {drop_edge}")
    if not 0 <= negative_slope <= 1:
        raise ValueError(f"negative_slope must be in [0, 1], got {negative_slope}")
    csr_t = transpose_if_needed(csr, h, score_src, score_dst)
    out, _, _ = _gat_aggregate(
        _cpu.pack(csr),
        _cpu.pack(csr_t) if csr_t else [],
        h if heads else h[:, None],
        score_src if heads else score_src[:, None],
        score_dst if heads else score_dst[:, None],
        negative_slope,
        drop_edge,
        seed,
    )
    return out if heads else out[:, 0]


def keep_mask(csr: CSR, drop_edge: float, seed: int) -> Tensor:
    """Return which edges DropEdge keeps, (num_edges,) bool: the kernels' coins in plain torch."""
    z = (csr.indices.long() << 32) | csr.dst()
    z ^= _signed(_key(seed))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z = (z ^ ((z >> shift) & (MASK >> shift))) * _signed(factor)
    return ((z >> 32) & 0xFFFFFFFF) >= _drop_below(drop_edge)


def attention(
    csr: CSR,
    score_src: Tensor,
    score_dst: Tensor,
    *,
    negative_slope: float = 0.2,
    keep: Tensor | None = None,
) -> Tensor:
    """Return the attention weights of all edges, in plain torch: for reading, not for training.

    Args:
        csr: num_dst x num_src.
        score_src: (num_src,) or (num_src, heads).
        score_dst: (num_dst,) or (num_dst, heads).
        negative_slope: slope of the LeakyReLU below zero.
        keep: (num_edges,) bool; edges that take part, or None for all.

    Returns:
        alpha, (num_edges,) or (num_edges, heads); sums to one over the kept edges of a row.
    """
    dst = csr.dst()
    logits = torch.nn.functional.leaky_relu(
        score_src[csr.indices.long()] + score_dst[dst], negative_slope
    )
    if keep is not None:
        logits = logits.masked_fill(~keep.view(-1, *[1] * (logits.dim() - 1)), -torch.inf)
    index = dst.view(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    top = logits.new_full(score_dst.shape, -torch.inf).scatter_reduce(
        0, index, logits.detach(), "amax"
    )
    weight = (
        logits - top.nan_to_num(neginf=0.0)[dst]
    ).exp()  # a row that lost all its edges has no maximum
    mass = logits.new_zeros(score_dst.shape).index_add(0, dst, weight)
    return weight / mass.clamp(min=torch.finfo(mass.dtype).tiny)[dst]


def gat_aggregate_reference(
    csr: CSR,
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    *,
    negative_slope: float = 0.2,
    drop_edge: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Define `gat_aggregate` in plain torch, differentiated by autograd."""
    keep = keep_mask(csr, drop_edge, seed)
    alpha = attention(csr, score_src, score_dst, negative_slope=negative_slope, keep=keep)
    out = h.new_zeros(csr.num_dst, *h.shape[1:])
    return out.index_add(0, csr.dst(), alpha[..., None] * h[csr.indices.long()])


def _drop_below(drop_edge: float) -> int:
    return round(drop_edge * 2**32)


def _key(seed: int) -> int:
    """Scramble the seed as an edge is scrambled, so that seeds 0, 1, 2 give unrelated coins."""
    z = (seed + 0x9E3779B97F4A7C15) & MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z = ((z ^ (z >> shift)) * factor) & MASK
    return z


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


@torch.library.custom_op("gadkit::gat_aggregate", mutates_args=(), device_types="cpu")
def _gat_aggregate(
    csr: list[Tensor],
    csr_t: list[Tensor],
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    negative_slope: float,
    drop_edge: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    packed, keep = _cpu.Packed(*csr), len(csr_t) > 0
    _, heads, dim = h.shape
    kernel = _cpu.gat_forward_kernel(heads, dim, keep)
    scalars = _scalars(h, negative_slope, drop_edge, seed)

    def outputs(count):
        kept = count if keep else 0
        return (
            h.new_empty(count, heads, dim),
            *h.new_empty(2, count, heads),
            h.new_empty(kept, heads, dim),
        )

    out, lse, a_pos, c = outputs(len(packed.indptr) - 1)
    packed.run_rows(kernel, h, score_src, score_dst, *scalars, out, lse, a_pos, c)
    if len(packed.long_row):
        partial = outputs(len(packed.chunk_row))
        packed.run_chunks(kernel, h, score_src, score_dst[packed.chunk_row], *scalars, *partial)
        merged = _merge(packed, *partial, keep)
        for whole, long in zip((out, lse, c), merged, strict=True):
            if len(whole):
                whole[packed.long_row] = long
    return out, lse, c


def _merge(packed, out, lse, a_pos, c, keep: bool):
    """Combine the normalized results of a row's chunks, weighted by their softmax mass."""
    # Not repeat_interleave: it wakes all of torch's threads even for two numbers.
    owner = torch.searchsorted(packed.long_row, packed.chunk_row)
    top = torch.segment_reduce(lse, "max", offsets=packed.chunk_ptr, axis=0)
    mass = (lse - top[owner]).exp()
    total = packed.sum_chunks(mass)
    share = mass / total[owner]
    merged = packed.sum_chunks(share[..., None] * out)
    if not keep:
        return merged, top + total.log(), c
    out_pos = packed.sum_chunks(share[..., None] * (c + a_pos[..., None] * out))
    return merged, top + total.log(), out_pos - packed.sum_chunks(share * a_pos)[..., None] * merged


def _scalars(h: Tensor, negative_slope: float, drop_edge: float, seed: int):
    number = {torch.float32: np.float32, torch.float64: np.float64}[h.dtype]
    return number(negative_slope), np.uint64(_drop_below(drop_edge)), np.uint64(_key(seed))


@_gat_aggregate.register_fake
def _(csr, csr_t, h, score_src, score_dst, negative_slope, drop_edge, seed):
    num_dst, heads, dim = score_dst.shape[0], h.shape[1], h.shape[2]
    return (
        h.new_empty(num_dst, heads, dim),
        h.new_empty(num_dst, heads),
        h.new_empty(num_dst if csr_t else 0, heads, dim),
    )


@torch.library.custom_op("gadkit::gat_aggregate_backward", mutates_args=(), device_types="cpu")
def _gat_aggregate_backward(
    csr_t: list[Tensor],
    g: Tensor,
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    out: Tensor,
    lse: Tensor,
    c: Tensor,
    negative_slope: float,
    drop_edge: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    packed = _cpu.Packed(*csr_t)
    _, heads, dim = h.shape
    slope, *coins = _scalars(h, negative_slope, drop_edge, seed)

    dots, d_score_dst = torch.empty_like(lse), torch.empty_like(lse)
    _cpu.run(_cpu.row_dots, -(-lse.numel() // ROWS), dim, ROWS, g, out, c, dots, d_score_dst)
    facts = torch.stack([score_dst, lse, dots], dim=2)

    kernel = _cpu.gat_backward_kernel(heads, dim)
    d_h, d_score_src = torch.empty_like(h), torch.empty_like(score_src)
    packed.run_rows(kernel, g, h, score_src, facts, slope, *coins, d_h, d_score_src)
    if len(packed.long_row):
        count = len(packed.chunk_row)
        partial = h.new_empty(count, heads, dim), h.new_empty(count, heads)
        packed.run_chunks(kernel, g, h, score_src, facts, slope, *coins, *partial)
        d_h[packed.long_row], d_score_src[packed.long_row] = map(packed.sum_chunks, partial)
    return d_h, d_score_src, d_score_dst.mul_(1 - negative_slope)


@_gat_aggregate_backward.register_fake
def _(csr_t, g, h, score_src, score_dst, out, lse, c, negative_slope, drop_edge, seed):
    return torch.empty_like(h), torch.empty_like(score_src), torch.empty_like(score_dst)


def _save(ctx, inputs, output):
    ctx.csr, ctx.csr_t, h, score_src, score_dst, *ctx.scalars = inputs
    ctx.save_for_backward(h, score_src, score_dst, *output)
    ctx.set_materialize_grads(False)


def _backward(ctx, g, _g_lse, _g_c):
    none = [None] * len(ctx.csr), [None] * len(ctx.csr_t)
    if g is None:
        return *none, *[None] * 6
    gradients = _gat_aggregate_backward(ctx.csr_t, g.contiguous(), *ctx.saved_tensors, *ctx.scalars)
    return *none, *gradients, None, None, None


_gat_aggregate.register_autograd(_backward, setup_context=_save)
