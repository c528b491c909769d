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
    alpha_ij again as exp(logit_ij - top_i) / mass_i, D_i = <g_i, out_i>;  over the destinations
    i of j
    acc_j = sum alpha_ij g_i,  S_j = sum alpha_ij D_i,  and acc_pos_j, S_pos_j over positive logits
    dL/dh_j = acc_j
    dL/dscore_src[j] = s (<h_j, acc_j> - S_j) + (1 - s) (<h_j, acc_pos_j> - S_pos_j)

top_i is the largest logit of row i and mass_i the sum of exp(logit_ij - top_i). They are kept as
two numbers, top and 1 / mass: as log-sum-exp = top + log(mass), the logarithm would be lost beside
a large logit (of two that are 1e10 in float32, alpha would be 1 each).

A logit of minus infinity masks its edge, which then takes no part, as if it were not there. Any
other logit that is not finite makes its row NaN, as a softmax has it, and with the row the
gradients of all that takes part in it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CHUNK, CSR, indptr_of
from gadkit.graph.arrays import Array, as_count, as_ids, as_tensor
from gadkit.ops import _cpu, _cuda, buffers
from gadkit.ops._arguments import (
    Packed,
    check_columns,
    check_dense,
    check_number,
    check_tensor,
    is_batched_gradient,
    one_by_one,
    pack,
    transpose_if_needed,
    wants_gradient,
    wants_plain_torch,
    wide,
)
from gadkit.ops.matmul import sum_chunks

ROWS = 4096  # a task of the streaming pass
MASK = (1 << 64) - 1


def gat_aggregate(
    csr: CSR,
    h: Array,
    score_src: Array,
    score_dst: Array,
    *,
    negative_slope: float = 0.2,
    drop_edge: float = 0.0,
    seed: int | Array = 0,
) -> Tensor:
    """Sum the sources of every destination under softmax attention.

    The same kernel serves training and inference. DropEdge (Rong et al., ICLR 2020) is a coin per
    edge, hashed from (source, destination, seed) inside the kernels: nothing is stored, forward and
    backward agree, and dropped edges are not gathered. Repeated edges share one coin. An edge whose
    logit is minus infinity takes no part, as if it were not there; where one is plus infinity or
    NaN, its row of the output is NaN, and so are the gradients of that row's sources and of its
    destination.
    Tensors may be arrays of other libraries, see `graph.as_tensor`.

    Args:
        csr: num_dst x num_src.
        h: (num_src, dim) or (num_src, heads, dim), contiguous; projected source features. float32,
            float64, or float16 or bfloat16, which are summed in float32.
        score_src: (num_src,) or (num_src, heads); source half of the attention logits, of the dtype
            of h or of its sums.
        score_dst: (num_dst,) or (num_dst, heads); destination half.
        negative_slope: slope of the LeakyReLU below zero, in [0, 1].
        drop_edge: probability in [0, 1) that an edge is left out.
        seed: of the coins; a number, or a one-element int64 tensor beside h, which a CUDA graph
            reads anew in every replay.

    Returns:
        (num_dst, dim) or (num_dst, heads, dim); rows without (kept, unmasked) edges are zero.

    Raises:
        TypeError: a dtype is not supported, or an option is a tensor.
        ValueError: a shape, a device, the memory layout or a probability is wrong.
        ImportError: the tensors are on a GPU and CuPy is not installed.
    """
    h = as_tensor(h, "h")
    check_dense(h, "h")
    heads = h.shape[1:-1]
    check_tensor(h, "h", (csr.num_src, *heads[:1], None), csr.device)
    check_columns(h, "h")
    if heads and not 1 <= heads[0] <= _cuda.MAX_HEADS:
        raise ValueError(f"h has {heads[0]} heads; there may be 1 to {_cuda.MAX_HEADS}")
    score_src, score_dst = _check_scores(csr, h, heads, score_src, score_dst, negative_slope)
    check_number(drop_edge, "drop_edge")
    if not 0 <= drop_edge < 1:
        raise ValueError(f"drop_edge must be in [0, 1), got {drop_edge}")
    seed = _checked_seed(seed, csr.device)
    if wants_plain_torch():
        options = {"negative_slope": negative_slope, "drop_edge": drop_edge, "seed": int(seed)}
        features = h.to(wide(h.dtype))
        return gat_aggregate_reference(csr, features, score_src, score_dst, **options).to(h.dtype)
    out, _, _ = _gat_aggregate(
        pack(csr),
        pack(transpose_if_needed(csr, h, score_src, score_dst)),
        h if heads else h[:, None],
        score_src if heads else score_src[:, None],
        score_dst if heads else score_dst[:, None],
        negative_slope,
        drop_edge,
        *((0, seed) if isinstance(seed, Tensor) else (seed, None)),
    )
    return out if heads else out[:, 0]


def _checked_seed(seed: int | Array, device: torch.device) -> int | Tensor:
    """Return a seed as a number of 64 bits with a sign, or as the tensor that holds it."""
    if isinstance(seed, np.generic) or not hasattr(seed, "__dlpack__"):
        return _signed(as_count(seed, "seed") & MASK)
    seed = as_tensor(seed, "seed")
    if seed.dtype != torch.int64 or seed.numel() != 1:
        raise TypeError(f"seed must hold one int64, not {tuple(seed.shape)} {seed.dtype}")
    if seed.device != device:
        raise ValueError(f"seed is on {seed.device}, but the graph is on {device}")
    return seed


def _check_scores(
    csr: CSR,
    features: Tensor,
    heads: tuple,
    score_src: Array,
    score_dst: Array,
    negative_slope: float,
) -> tuple[Tensor, Tensor]:
    """Check both halves of the logits and return them in the dtype that they are computed in."""
    score_src = as_tensor(score_src, "score_src")
    score_dst = as_tensor(score_dst, "score_dst")
    check_tensor(score_src, "score_src", (csr.num_src, *heads), csr.device, like=features)
    check_tensor(score_dst, "score_dst", (csr.num_dst, *heads), csr.device, like=features)
    check_number(negative_slope, "negative_slope")
    if not 0 <= negative_slope <= 1:
        raise ValueError(f"negative_slope must be in [0, 1], got {negative_slope}")
    dtype = wide(features.dtype)
    return score_src.to(dtype), score_dst.to(dtype)


def keep_mask(csr: CSR, drop_edge: float, seed: int) -> Tensor:
    """Return which edges DropEdge keeps, (num_edges,) bool: the kernels' coins in plain torch."""
    return coins(csr.indices.long(), csr.dst(), drop_edge, seed)


def coins(src: Tensor, dst: Tensor, drop_edge: float, seed: int) -> Tensor:
    z = (src << 32) | dst
    z ^= _signed(_key(seed))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        z = (z ^ ((z >> shift) & (MASK >> shift))) * _signed(factor)
    return ((z >> 32) & 0xFFFFFFFF) >= _drop_below(drop_edge)


def attention(
    csr: CSR,
    score_src: Array,
    score_dst: Array,
    *,
    negative_slope: float = 0.2,
    rows: Array | None = None,
) -> Tensor:
    """Return attention weights, for reading; by the definition where a gradient is wanted.

    Tensors may be arrays of other libraries, see `graph.as_tensor`.

    Args:
        csr: num_dst x num_src.
        score_src: (num_src,) or (num_src, heads).
        score_dst: (num_dst,) or (num_dst, heads).
        negative_slope: slope of the LeakyReLU below zero, in [0, 1].
        rows: (num_rows,) int64; destinations of interest, whose edges are those of
            `csr.select(rows)`. None for all.

    Returns:
        alpha, (num_edges,) or (num_edges, heads), of the dtype that the scores are computed in;
        sums to one over a row, and to zero where minus infinity masks all of its edges. In a row
        with a logit that is plus infinity or NaN, it is NaN wherever it is not masked.

    Raises:
        As `gat_aggregate`.
    """
    score_src = as_tensor(score_src, "score_src")
    check_dense(score_src, "score_src")
    heads = score_src.shape[1:]
    score_src, score_dst = _check_scores(
        csr, score_src, heads, score_src, score_dst, negative_slope
    )
    if rows is not None:
        rows = as_ids(rows, "rows").long()
        csr, score_dst = csr.select(rows), score_dst.index_select(0, rows)
    if wants_plain_torch() or wants_gradient(score_src, score_dst):
        return attention_reference(csr, score_src, score_dst, negative_slope=negative_slope)
    return _attention(csr.indptr, csr.indices, score_src, score_dst, negative_slope)


@torch.library.custom_op("gadkit::attention", mutates_args=(), device_types="cpu")
def _attention(
    indptr: Tensor, indices: Tensor, score_src: Tensor, score_dst: Tensor, negative_slope: float
) -> Tensor:
    csr = CSR(indptr, indices, len(score_src))
    return attention_reference(csr, score_src, score_dst, negative_slope=negative_slope)


@_attention.register_kernel("cuda")
def _attention_cuda(indptr, indices, score_src, score_dst, negative_slope):
    heads = score_src.shape[1:]
    alpha = score_src.new_empty(len(indices), *heads)
    _cuda.launch(
        "gat", _cuda.instance("attention", alpha.dtype), len(score_dst), _cuda.WARPS * _cuda.WARP,
        indptr, indices, score_src, score_dst, alpha,
        np.int32(heads.numel()), _cuda.scalar(alpha, negative_slope),
    )  # fmt: skip
    return alpha


@_attention.register_fake
def _(indptr, indices, score_src, score_dst, negative_slope):
    return score_src.new_empty(indices.shape[0], *score_src.shape[1:])


def attention_reference(
    csr: CSR,
    score_src: Tensor,
    score_dst: Tensor,
    *,
    negative_slope: float = 0.2,
    keep: Tensor | None = None,
) -> Tensor:
    """Define `attention` in plain torch, differentiated by autograd.

    `keep`, (num_edges,) bool, says which edges take part; None for all.
    """
    logits, masked = _logits(csr, score_src, score_dst, negative_slope, keep)
    return _softmax(csr, logits, masked)


def _logits(
    csr: CSR, score_src: Tensor, score_dst: Tensor, negative_slope: float, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the logits of all edges, and which take no part; both (num_edges, *heads)."""
    # Not score_src[indices], whose gradient torch adds up in an order that threads decide.
    total = score_src.index_select(0, csr.indices.long()) + score_dst.index_select(0, csr.dst())
    masked = total == -torch.inf
    if keep is not None:
        masked = masked | ~keep.view(-1, *[1] * (total.dim() - 1))
    logits = torch.nn.functional.leaky_relu(total, negative_slope)
    return logits.masked_fill(masked, -torch.inf), masked


def _softmax(csr: CSR, logits: Tensor, masked: Tensor) -> Tensor:
    dst, shape = csr.dst(), (csr.num_dst, *logits.shape[1:])
    index = dst.view(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    top = logits.new_full(shape, -torch.inf).scatter_reduce(0, index, logits.detach(), "amax")
    top = top.masked_fill(top == -torch.inf, 0.0)  # of a row in which nothing takes part
    weight = (logits - top.index_select(0, dst)).exp()
    mass = logits.new_zeros(shape).index_add(0, dst, weight)
    mass = mass.clamp(min=torch.finfo(mass.dtype).tiny)
    return (weight / mass.index_select(0, dst)).masked_fill(masked, 0.0)


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
    logits, masked = _logits(csr, score_src, score_dst, negative_slope, keep)
    alpha = _softmax(csr, logits, masked)
    out = h.new_zeros(csr.num_dst, *h.shape[1:])
    return out.index_add(0, csr.dst(), alpha[..., None] * _sources(csr, h, masked))


def _sources(csr: CSR, h: Tensor, masked: Tensor) -> Tensor:
    """Return the sources of all edges, zeros where masked: 0 times what is masked may be NaN."""
    rows = h.flatten(0, -2)
    heads = torch.arange(masked[:1].numel(), device=h.device)
    row = csr.indices.long()[:, None] * len(heads) + heads
    row = torch.where(masked.view_as(row), len(rows), row)
    rows = torch.cat([rows, rows.new_zeros(1, h.shape[-1])])
    return rows.index_select(0, row.flatten()).view(*masked.shape, h.shape[-1])


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
    device_seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, and for the backward norms and c; these only if csr_t is not empty.

    norms, (num_dst, heads, 2): the largest logit of a row, and 1 / the sum of exp(logit - largest);
    0 without edges.
    """
    options = negative_slope, drop_edge, seed, device_seed
    keep = len(csr_t) > 0
    if _logits_are_finite(score_src, score_dst):
        return _forward(Packed(*csr), keep, h, score_src, score_dst, *options)
    heads = [
        _forward_of_any(csr, keep, *inputs, *options)
        for inputs in _by_head(h, score_src, score_dst)
    ]
    return tuple(torch.cat(parts, 1) for parts in zip(*heads, strict=True))


def _forward(rows: Packed, keep: bool, h: Tensor, score_src: Tensor, score_dst: Tensor, *options):
    """Aggregate where all logits are finite, which is what the kernels are compiled for."""
    _, heads, dim = h.shape
    kernel = _cpu.gat_forward_kernel(heads, dim, keep)
    scalars = _scalars(h, *options)

    def outputs(count, features):
        return (
            buffers.empty(features, (count, heads, dim)),
            score_dst.new_empty(count, heads, 2),
            score_dst.new_empty(count, heads),
            buffers.empty(features, (count if keep else 0, heads, dim)),
        )

    out, norms, a_pos, c = outputs(len(rows.indptr) - 1, h)
    _cpu.run_rows(rows, kernel, h, score_src, score_dst, *scalars, out, norms, a_pos, c)
    if len(rows.long_row):
        partial = outputs(len(rows.chunk_row), score_dst)
        chunk_score = score_dst[rows.chunk_row]
        _cpu.run_chunks(rows, kernel, h, score_src, chunk_score, *scalars, *partial)
        merged = _merge(rows, *partial, keep)
        for whole, long in zip((out, norms, c), merged, strict=True):
            if len(whole):
                whole[rows.long_row] = long.to(whole.dtype)
    return out, norms if keep else norms[:0].clone(), c


def _logits_are_finite(*scores: Tensor) -> bool:
    """Whether every pair of scores has a finite sum; any two may meet at an edge."""
    if any(score.numel() == 0 for score in scores):
        return True  # there are no edges
    lowest, highest = zip(*(score.aminmax() for score in scores), strict=True)  # NaN if one is
    return bool(sum(lowest).isfinite() & sum(highest).isfinite())


def _by_head(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the tensors of each head, whose axis, the second, stays."""
    for head in range(tensors[0].shape[1]):
        yield tuple(tensor[:, head : head + 1].contiguous() for tensor in tensors)


def _forward_of_any(
    csr: list[Tensor],
    keep: bool,
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    negative_slope: float,
    drop_edge: float,
    seed: int,
    device_seed: Tensor | None,
):
    """Aggregate one head where logits may be infinite or NaN: the rows of those are NaN."""
    src, dst = csr[1].long(), _row_of_edge(csr)
    logits = score_dst[dst, 0] + score_src[src, 0]
    takes_part = ~logits.isneginf() & coins(src, dst, drop_edge, _seed(seed, device_seed))
    rows, spoiled = _without(csr, len(h), takes_part, ~logits.isfinite())
    outputs = _forward(rows, keep, h, score_src, score_dst, negative_slope, 0.0, 0, None)
    for output in outputs if keep else outputs[:1]:
        output[spoiled] = torch.nan
    return outputs


def _row_of_edge(csr: list[Tensor]) -> Tensor:
    return torch.arange(len(csr[0]) - 1).repeat_interleave(csr[0].diff())


def _without(
    csr: list[Tensor], num_columns: int, takes_part: Tensor, spoils: Tensor
) -> tuple[Packed, Tensor]:
    """Return the CSR of the edges that take part and spoil nothing, and which rows are spoiled.

    As in `store.raw.sanitize`, the new row pointer is the running count of kept edges read at the
    old offsets.
    """
    indptr, indices = csr[:2]
    kept = takes_part & ~spoils
    spoiled = indptr_of(takes_part & spoils)[indptr].diff() > 0
    return Packed(*pack(CSR(indptr_of(kept)[indptr], indices[kept], num_columns))), spoiled


def _merge(rows: Packed, out, norms, a_pos, c, keep: bool):
    """Combine the normalized results of a row's chunks, weighted by their softmax mass."""
    # Not repeat_interleave: it wakes all of torch's threads even for two numbers.
    owner = torch.searchsorted(rows.long_row, rows.chunk_row)
    chunk_top, chunk_scale = (part.contiguous() for part in norms.unbind(2))
    top = torch.segment_reduce(chunk_top, "max", offsets=rows.chunk_ptr, axis=0)
    mass = (chunk_top - top[owner]).exp() * _reciprocal(chunk_scale)
    scale = _reciprocal(_cpu.sum_chunks(rows, mass))
    share, norms = mass * scale[owner], torch.stack([top, scale], 2)
    merged = _cpu.sum_chunks(rows, share[..., None] * out)
    if not keep:
        return merged, norms, c
    out_pos = _cpu.sum_chunks(rows, share[..., None] * (c + a_pos[..., None] * out))
    return merged, norms, out_pos - _cpu.sum_chunks(rows, share * a_pos)[..., None] * merged


def _reciprocal(x: Tensor) -> Tensor:
    """Return 1 / x, and 0 for the 0 of a chunk or a row that DropEdge left without edges."""
    return x.reciprocal().masked_fill(x == 0, 0.0)


def _scalars(h: Tensor, negative_slope: float, drop_edge: float, seed: int, device_seed):
    number = np.float64 if h.dtype == torch.float64 else np.float32
    key = np.uint64(_key(_seed(seed, device_seed)))
    return number(negative_slope), np.uint64(_drop_below(drop_edge)), key, _cpu.ahead(h)


def _seed(seed: int, device_seed: Tensor | None) -> int:
    return seed if device_seed is None else int(device_seed)


@_gat_aggregate.register_kernel("cuda")
def _gat_aggregate_cuda(csr, csr_t, h, score_src, score_dst, *options):
    rows, train, (_, heads, dim) = Packed(*csr), len(csr_t) > 0, h.shape
    num_rows, num_chunks = len(rows.indptr) - 1, len(rows.chunk_row)
    kept = num_rows if train else 0
    out, c = h.new_empty(num_rows, heads, dim), h.new_empty(kept, heads, dim)
    norms = score_src.new_empty(kept, heads, 2)
    partial = score_src.new_empty(num_chunks, 1 + train, heads, dim)
    state = score_src.new_empty(num_chunks, heads, 3)
    graph, sizes = _cuda.row_arguments(rows)
    width, lanes = _cuda.layout(dim, heads * dim, h, out, c, partial)
    _cuda.launch_warps(
        "gat", _cuda.instance("gat_forward", h.dtype, width, train, options[1] > 0),
        num_chunks + num_rows, *graph, h, score_src, score_dst, out, norms, c, partial, state,
        *sizes, *map(np.int32, (heads, dim, lanes)), *_cuda_scalars(h, *options),
    )  # fmt: skip
    _cuda.launch_mergers(
        "gat", _cuda.instance("gat_merge", h.dtype, train), rows, heads * dim,
        partial, state, out, norms, c, *map(np.int32, (CHUNK, heads, dim)),
    )  # fmt: skip
    return out, norms, c


def _cuda_scalars(h: Tensor, negative_slope: float, drop_edge: float, seed: int, device_seed):
    below = np.uint64(_drop_below(drop_edge))
    return _cuda.scalar(h, negative_slope), below, np.int64(_signed(seed & MASK)), device_seed


@_gat_aggregate.register_fake
def _(csr, csr_t, h, score_src, score_dst, negative_slope, drop_edge, seed, device_seed):
    num_dst, heads, dim = score_dst.shape[0], h.shape[1], h.shape[2]
    kept = num_dst if csr_t else 0
    return (
        h.new_empty(num_dst, heads, dim),
        score_dst.new_empty(kept, heads, 2),
        h.new_empty(kept, heads, dim),
    )


@torch.library.custom_op("gadkit::gat_aggregate_backward", mutates_args=(), device_types="cpu")
def _gat_aggregate_backward(
    csr_t: list[Tensor],
    g: Tensor,
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    out: Tensor,
    norms: Tensor,
    c: Tensor,
    negative_slope: float,
    drop_edge: float,
    seed: int,
    device_seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of h, score_src and score_dst."""
    options = negative_slope, drop_edge, seed, device_seed
    inputs = g, h, score_src, score_dst, out, norms, c
    if _logits_are_finite(score_src, score_dst):
        return _backward_rows(Packed(*csr_t), *inputs, *options)
    heads = [_backward_of_any(csr_t, *of_head, *options) for of_head in _by_head(*inputs)]
    return tuple(torch.cat(parts, 1) for parts in zip(*heads, strict=True))


def _backward_rows(
    rows: Packed, g, h, score_src, score_dst, out, norms, c, negative_slope: float, *coins
):
    """Return the gradients where all logits are finite; the rows are those of the transpose."""
    _, heads, dim = h.shape
    scalars = _scalars(h, negative_slope, *coins)

    dots, d_score_dst = torch.empty_like(score_dst), torch.empty_like(score_dst)
    kernel = _cpu.row_dots_kernel(dim)
    _cpu.run(kernel, -(-dots.numel() // ROWS), ROWS, g, out, c, dots, d_score_dst)
    facts = torch.stack([score_dst, *norms.unbind(2), dots], dim=2)

    kernel = _cpu.gat_backward_kernel(heads, dim)
    d_h, d_score_src = buffers.empty_like(h), torch.empty_like(score_src)
    _cpu.run_rows(rows, kernel, g, h, score_src, facts, *scalars, d_h, d_score_src)
    if len(rows.long_row):
        count = len(rows.chunk_row)
        partial = score_src.new_empty(count, heads, dim), score_src.new_empty(count, heads)
        _cpu.run_chunks(rows, kernel, g, h, score_src, facts, *scalars, *partial)
        for whole, parts in zip((d_h, d_score_src), partial, strict=True):
            whole[rows.long_row] = _cpu.sum_chunks(rows, parts).to(whole.dtype)
    return d_h, d_score_src, d_score_dst.mul_(1 - negative_slope)


def _backward_of_any(
    csr_t, g, h, score_src, score_dst, out, norms, c, negative_slope: float, drop_edge: float, *seed
):
    """Return the gradients of one head where logits may be infinite or NaN."""
    src, dst = _row_of_edge(csr_t), csr_t[1].long()
    logits = score_dst[dst, 0] + score_src[src, 0]
    takes_part = ~logits.isneginf() & coins(src, dst, drop_edge, _seed(*seed))
    spoiled_dst = norms[:, 0, 1].isnan()
    rows, spoiled_src = _without(csr_t, len(out), takes_part, spoiled_dst[dst])
    inputs = g, h, score_src, score_dst, out, norms, c
    gradients = _backward_rows(rows, *inputs, negative_slope, 0.0, 0, None)
    for gradient, spoiled in zip(gradients, (spoiled_src, spoiled_src, spoiled_dst), strict=True):
        gradient[spoiled] = torch.nan
    return gradients


@_gat_aggregate_backward.register_kernel("cuda")
def _gat_aggregate_backward_cuda(csr_t, g, h, score_src, score_dst, out, norms, c, *options):
    rows, (_, heads, dim) = Packed(*csr_t), h.shape
    num_rows, num_chunks = len(rows.indptr) - 1, len(rows.chunk_row)
    facts, d_score_dst = score_dst.new_empty(*score_dst.shape, 4), torch.empty_like(score_dst)
    slope, *coins = _cuda_scalars(h, *options)
    width, lanes = _cuda.layout(dim, dim, g, out, c)
    _cuda.launch_warps(
        "gat", _cuda.instance("gat_backward_dst", h.dtype, width),
        -(-score_dst.numel() * lanes // _cuda.WARP),
        g, out, c, score_dst, norms, facts, d_score_dst,
        np.int64(score_dst.numel()), np.int32(dim), np.int32(lanes), slope,
    )  # fmt: skip
    d_h, d_score_src = torch.empty_like(h), torch.empty_like(score_src)
    partial = score_src.new_empty(num_chunks, heads, dim)
    partial_score = score_src.new_empty(num_chunks, heads)
    graph, sizes = _cuda.row_arguments(rows)
    width, lanes = _cuda.layout(dim, heads * dim, g, h, d_h, partial)
    _cuda.launch_warps(
        "gat", _cuda.instance("gat_backward_src", h.dtype, width, options[1] > 0),
        num_chunks + num_rows,
        *graph, g, h, score_src, facts, d_h, d_score_src, partial, partial_score,
        *sizes, *map(np.int32, (heads, dim, lanes)), slope, *coins,
    )  # fmt: skip
    sum_chunks(rows, partial, d_h)
    sum_chunks(rows, partial_score, d_score_src)
    return d_h, d_score_src, d_score_dst


@_gat_aggregate_backward.register_fake
def _(csr_t, g, h, score_src, score_dst, *others):
    return torch.empty_like(h), torch.empty_like(score_src), torch.empty_like(score_dst)


def _save(ctx, inputs, output):
    ctx.csr, ctx.csr_t, h, score_src, score_dst, *ctx.scalars, device_seed = inputs
    ctx.save_for_backward(h, score_src, score_dst, *output, device_seed)
    ctx.set_materialize_grads(False)


def _backward(ctx, g, _g_norms, _g_c):
    none = [None] * len(ctx.csr), [None] * len(ctx.csr_t)
    if g is None:
        return *none, *[None] * 7
    *saved, device_seed = ctx.saved_tensors
    if torch.is_grad_enabled() or is_batched_gradient(g):
        gradients = _differentiable(ctx.csr, g, *saved[:3], *ctx.scalars, device_seed)
    else:
        gradients = _gat_aggregate_backward(
            ctx.csr_t, g.contiguous(), *saved, *ctx.scalars, device_seed
        )
    return *none, *gradients, None, None, None, None


def _differentiable(
    csr: list[Tensor],
    g: Tensor,
    h: Tensor,
    score_src: Tensor,
    score_dst: Tensor,
    negative_slope: float,
    drop_edge: float,
    seed: int,
    device_seed: Tensor | None,
) -> list[Tensor | None]:
    """Return the gradients by the definition, where derivatives of them may be asked for."""
    options = {"negative_slope": negative_slope, "drop_edge": drop_edge}
    options["seed"] = _seed(seed, device_seed)
    inputs = h, score_src, score_dst
    wanted = [x for x in inputs if x.requires_grad]
    rows = CSR(csr[0], csr[1], len(h))
    with torch.enable_grad():
        out = gat_aggregate_reference(rows, h.to(wide(h.dtype)), score_src, score_dst, **options)
    create_graph = torch.is_grad_enabled()
    gradients = iter(torch.autograd.grad(out.to(h.dtype), wanted, g, create_graph=create_graph))
    return [next(gradients) if x.requires_grad else None for x in inputs]


_gat_aggregate.register_autograd(_backward, setup_context=_save)
_gat_aggregate.register_vmap(one_by_one(_gat_aggregate))
_gat_aggregate_backward.register_vmap(one_by_one(_gat_aggregate_backward))
_attention.register_vmap(one_by_one(_attention))
