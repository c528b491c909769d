"""gat_aggregate: by hand, then a dense softmax, then plain torch, then the kernel; each against the
one before."""

import math

import numpy as np
import pytest
import torch
from numba import njit
from torch.library import opcheck

from gadkit.graph import CHUNK, CSR
from gadkit.ops import (
    attention,
    attention_reference,
    edge_dot,
    gat_aggregate,
    gat_aggregate_reference,
    spmm,
)
from gadkit.ops._arguments import pack
from gadkit.ops._lanes import exp
from gadkit.ops.gat import _gat_aggregate, _gat_aggregate_backward, _key, keep_mask

# Heads and dim: below a vector, whole and broken vectors, two overlapping tiles.
SHAPES = [(1, 1), (1, 33), (1, 128), (4, 20), (4, 300)]
BOTH = [gat_aggregate_reference, gat_aggregate]


def three_nodes() -> CSR:
    """0 -> 1, 0 -> 2, 1 -> 2."""
    return CSR.from_edges(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), num_src=3, num_dst=3)


@pytest.fixture
def inputs(randn):
    """inputs(csr, heads, dim, dtype=float32): h, score_src and score_dst that want gradients."""

    def draw(csr, heads, dim, dtype=torch.float32):
        h = randn(csr.num_src, heads, dim, seed=1)
        score_src = randn(csr.num_src, heads, seed=2)
        score_dst = randn(csr.num_dst, heads, seed=3)
        return [x.to(dtype).requires_grad_() for x in (h, score_src, score_dst)]

    return draw


def gradients(out, g, inputs) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(out, inputs, g)


@pytest.mark.parametrize("aggregate", BOTH)
def test_by_hand(aggregate):
    log3 = math.log(3)
    h = torch.tensor([[10.0], [20.0], [99.0]], dtype=torch.float64)
    score_src = torch.tensor([-3 * log3, 0.0, 7.0], dtype=torch.float64)
    score_dst = torch.tensor([7.0, 5.0, log3], dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (h, score_src, score_dst)]
    out = aggregate(three_nodes(), *inputs, negative_slope=0.5)
    # Into node 2: logits -2 log 3 times 0.5, and log 3; weights 1/3 : 3, so alpha 0.1 and 0.9.
    assert out.squeeze().tolist() == pytest.approx([0, 10, 19])
    d_h, d_src, d_dst = gradients(out, torch.tensor([[5.0], [1.0], [1.0]]).double(), inputs)
    assert d_h.squeeze().tolist() == pytest.approx([1.1, 0.9, 0])
    # alpha (h - out): 0.1 (10 - 19) through the slope 0.5, and 0.9 (20 - 19).
    assert d_src.tolist() == pytest.approx([-0.45, 0.9, 0])
    assert d_dst.tolist() == pytest.approx([0, 0, 0.45])


def dense_attention(counts, score_src, score_dst, slope) -> torch.Tensor:
    """Softmax over the rows of a matrix of edge counts, (heads, num_dst, num_src)."""
    logits = score_dst.T[:, :, None] + score_src.T[:, None, :]
    logits = torch.where(logits > 0, logits, slope * logits) + counts.log()
    return logits.softmax(2).nan_to_num(0.0)  # a row without edges is 0 / 0


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_reference_is_the_dense_softmax(drop_edge, slope, mixed, counts, inputs, close):
    h, score_src, score_dst = inputs(mixed, 4, 20, torch.float64)
    keep = keep_mask(mixed, drop_edge, 3).double()
    coins = torch.zeros_like(counts(mixed)).index_put(
        (mixed.dst(), mixed.indices.long()), keep
    )  # repeated edges share a coin, so it does not matter which is written last
    alpha = dense_attention(counts(mixed) * coins, score_src, score_dst, slope)
    expected = torch.einsum("hij,jhd->ihd", alpha, h)
    out = gat_aggregate_reference(
        mixed, h, score_src, score_dst, negative_slope=slope, drop_edge=drop_edge, seed=3
    )
    close(out, expected)


def assert_agrees(csr, inputs, g, close, **options):
    """Compare the kernel with the float64 reference, forward and backward.

    Sums of a gradient grow with a row; they are compared per edge.
    """
    wide = [x.detach().double().requires_grad_() for x in inputs]
    out = gat_aggregate(csr, *inputs, **options)
    expected = gat_aggregate_reference(csr, *wide, **options)
    close(out, expected)
    per_edge = 1 / csr.transpose().degrees().clamp(min=1)[:, None]
    d_h, d_src, d_dst = gradients(out, g, inputs)
    e_h, e_src, e_dst = gradients(expected, g.double(), wide)
    close(d_h * per_edge[..., None], e_h * per_edge[..., None])
    terms = math.sqrt(g.shape[-1])  # of the dot products inside
    close(d_src * per_edge / terms, e_src * per_edge / terms)
    close(d_dst / terms, e_dst / terms)


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("heads, dim", SHAPES)
def test_kernel_agrees_in_float32(heads, dim, drop_edge, mixed, inputs, randn, close):
    g = randn(mixed.num_dst, heads, dim)
    assert_agrees(mixed, inputs(mixed, heads, dim), g, close, drop_edge=drop_edge, seed=5)


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_kernel_agrees_in_float64(slope, drop_edge, mixed, inputs, randn, close):
    g = randn(mixed.num_dst, 4, 20, dtype=torch.float64)
    drawn = inputs(mixed, 4, 20, torch.float64)
    options = {"negative_slope": slope, "drop_edge": drop_edge, "seed": 5}
    assert_agrees(mixed, drawn, g, close, **options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(dtype, mixed, inputs, randn):
    """On the CPU: the features are widened, the output and the gradients are rounded."""
    h, score_src, score_dst = inputs(mixed, 4, 20)
    h = h.detach().to(dtype).requires_grad_()
    wide = h.detach().float().requires_grad_()
    g = randn(mixed.num_dst, 4, 20, dtype=dtype)
    out = gat_aggregate(mixed, h, score_src, score_dst)
    expected = gat_aggregate(mixed, wide, score_src, score_dst)
    assert out.dtype == dtype and torch.equal(out, expected.to(dtype))
    d_h, d_src, d_dst = gradients(out, g, (h, score_src, score_dst))
    e_h, e_src, e_dst = gradients(expected, g.float(), (wide, score_src, score_dst))
    assert torch.equal(d_h, e_h.to(dtype))
    for d, e in ((d_src, e_src), (d_dst, e_dst)):  # out and c are rounded before they are kept
        assert d.dtype == torch.float32 and (d - e).abs().max() < 0.02 * e.abs().max()


@pytest.mark.parametrize("drop_edge", [0.0, 0.5])
@pytest.mark.parametrize("heads, dim", [(4, 32), (6, 16), (3, 64), (2, 128), (5, 20)])
def test_heads_taken_together_are_as_each_alone(heads, dim, drop_edge, mixed, inputs, randn):
    """Two or four at once as fits the registers, or one by one; to the last bit."""
    drawn, g = inputs(mixed, heads, dim), randn(mixed.num_dst, heads, dim)
    out = gat_aggregate(mixed, *drawn, drop_edge=drop_edge, seed=5)
    together = out, *gradients(out, g, drawn)
    for head in range(heads):
        single = [x.detach()[:, head].contiguous().requires_grad_() for x in drawn]
        alone = gat_aggregate(mixed, *single, drop_edge=drop_edge, seed=5)
        alone = alone, *gradients(alone, g[:, head], single)
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a[:, head], b)


def test_scores_may_be_halves_too(mixed, inputs):
    """As autocast makes them."""
    narrow = [x.detach().bfloat16() for x in inputs(mixed, 4, 20)]
    wide = narrow[0], narrow[1].float(), narrow[2].float()
    assert torch.equal(gat_aggregate(mixed, *narrow), gat_aggregate(mixed, *wide))


def test_the_seed_may_be_a_tensor(mixed, inputs):
    drawn = inputs(mixed, 1, 33)
    outs = [gat_aggregate(mixed, *drawn, drop_edge=0.5, seed=s) for s in (-3, torch.tensor(-3))]
    assert torch.equal(*outs)
    for a, b in zip(*(gradients(out.sum(), None, drawn) for out in outs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
def test_several_tasks_agree(drop_edge, large, inputs, randn, close):
    assert len(large.plan.task_ptr) > 3
    g = randn(large.num_dst, 1, 33)
    assert_agrees(large, inputs(large, 1, 33), g, close, drop_edge=drop_edge, seed=6)


def test_one_head_may_go_without_its_axis(mixed, inputs):
    h, score_src, score_dst = inputs(mixed, 1, 33)
    whole = gat_aggregate(mixed, h, score_src, score_dst)
    flat = gat_aggregate(mixed, h[:, 0], score_src[:, 0], score_dst[:, 0])
    assert torch.equal(whole[:, 0], flat)
    by_hand = attention(mixed, score_src[:, 0], score_dst[:, 0])
    assert torch.equal(by_hand, attention(mixed, score_src, score_dst)[:, 0])


def test_attention_of_chosen_rows(mixed, inputs):
    _, score_src, score_dst = inputs(mixed, 4, 1)
    alpha, rows = attention(mixed, score_src, score_dst), torch.tensor([5, 0, 8, 5])
    chosen = attention(mixed, score_src, score_dst, rows=rows)
    edges = [alpha[mixed.indptr[row] : mixed.indptr[row + 1]] for row in rows]
    assert torch.equal(chosen, torch.cat(edges))
    assert torch.equal(alpha, attention_reference(mixed, score_src, score_dst))


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
def test_order_of_edges_does_not_matter(drop_edge, mixed, shuffled, inputs, randn, close):
    g, drawn = randn(mixed.num_dst, 4, 20, dtype=torch.float64), inputs(mixed, 4, 20, torch.float64)
    outs = [
        gat_aggregate(csr, *drawn, drop_edge=drop_edge, seed=1) for csr in (mixed, shuffled(mixed))
    ]
    close(*outs)
    for first, second in zip(*[gradients(out, g, drawn) for out in outs], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
def test_alpha_sums_to_one(drop_edge, mixed, inputs, close):
    h, score_src, score_dst = inputs(mixed, 4, 20)
    keep = keep_mask(mixed, drop_edge, 0)
    kept = torch.zeros(mixed.num_dst).index_add(0, mixed.dst(), keep.float()) > 0
    assert kept.any() and not kept.all()
    expected = kept[:, None].float().expand(-1, 4)
    alpha = attention_reference(mixed, score_src, score_dst, keep=keep)
    close(torch.zeros(mixed.num_dst, 4).index_add(0, mixed.dst(), alpha), expected)
    out = gat_aggregate(mixed, torch.ones_like(h), score_src, score_dst, drop_edge=drop_edge)
    close(out, expected[..., None].expand_as(out))


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_huge_logits_stay_finite_and_right(shift, mixed, inputs, randn, close):
    """Times 1,000 the softmax is nearly a maximum; shifted, exp overflows unless it is centered."""
    h, score_src, score_dst = inputs(mixed, 4, 20)
    with torch.no_grad():
        score_src.mul_(1_000)
        score_dst.mul_(1_000).add_(shift)
    out = gat_aggregate(mixed, h, score_src, score_dst)
    d_inputs = gradients(out, randn(mixed.num_dst, 4, 20), (h, score_src, score_dst))
    assert all(x.isfinite().all() for x in (out, *d_inputs))
    # The logits themselves are rounded to 1e-3 here, so the reference rounds them the same way.
    assert (out - gat_aggregate_reference(mixed, h, score_src, score_dst)).abs().max() < 0.02


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("shift", [0.0, 1e5, 1e10, -1e5, -1e10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_logits_weigh_the_same_in_the_backward(
    dtype, shift, drop_edge, mixed, inputs, randn, close
):
    """Ties, neighbors of an ulp and far ones, in rows of one edge up to three chunks.

    All logits are exact, so float64 computes with the same ones.
    """
    h, score_src, score_dst = inputs(mixed, 2, 20, dtype)
    ulp = float(np.spacing(np.float32(abs(shift)))) if shift else 0.5
    steps = torch.randint(3, score_src.shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        score_src.copy_(steps * ulp)
        score_src[::9] = round(0.5 * shift / ulp) * ulp
        score_dst.fill_(shift)
    exact = score_src.double()[:, None] + score_dst.double()
    assert torch.equal((score_src[:, None] + score_dst).double(), exact)
    g = randn(mixed.num_dst, 2, 20, dtype=dtype)
    options = {"negative_slope": 0.25, "drop_edge": drop_edge, "seed": 5}
    assert_agrees(mixed, (h, score_src, score_dst), g, close, **options)
    alpha = attention(mixed, score_src, score_dst, negative_slope=0.25)
    wide = score_src.double(), score_dst.double()
    close(alpha, attention_reference(mixed, *wide, negative_slope=0.25).detach())


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.2, 0.3, 1.0])
def test_ties_share_whatever_their_size(slope, close):
    """The backward's logit must be the forward's to the last bit, also where it was rounded."""
    scores = torch.tensor([1e-30, 1.0, 12_345.678, 3e7, 1.234567e10, 3e37])
    scores = torch.cat([scores, -scores])
    num_dst, fans = len(scores), 7
    dst = torch.arange(num_dst).repeat_interleave(fans)
    csr = CSR.from_edges(torch.arange(len(dst)), dst, num_src=len(dst), num_dst=num_dst)
    h = torch.ones(len(dst), 3, requires_grad=True)
    out = gat_aggregate(csr, h, scores[dst] / 3, scores.clone(), negative_slope=slope)
    (d_h,) = gradients(out, torch.ones_like(out), [h])
    close(d_h, torch.full_like(d_h, 1 / fans))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_large_logits_of_halves(kind, mixed, inputs, randn):
    h, score_src, score_dst = (x.detach() for x in inputs(mixed, 1, 20))
    score_src, score_dst = score_src.mul(30_000).clamp(-3e4, 3e4), score_dst.mul(0).add(3e4)
    narrow = [x.to(kind).requires_grad_() for x in (h, score_src, score_dst)]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    g = randn(mixed.num_dst, 1, 20, dtype=kind)
    d = gradients(gat_aggregate(mixed, *narrow), g, narrow)
    e = gradients(gat_aggregate_reference(mixed, *wide), g.double(), wide)
    for actual, expected in zip(d, e, strict=True):
        assert (actual.double() - expected).abs().max() < 0.02 * expected.abs().max().clamp(0.01)


@pytest.mark.parametrize("aggregate", BOTH)
def test_minus_infinity_masks_an_edge_by_hand(aggregate):
    """Sources 2 and 3 are masked: destination 0 hears 0 and 1, destination 1 nobody, 2 source 0."""
    src, dst = torch.tensor([0, 1, 2, 2, 3, 0]), torch.tensor([0, 0, 0, 1, 1, 2])
    csr = CSR.from_edges(src, dst, num_src=4, num_dst=3)
    h = torch.tensor([[1.0], [2.0], [100.0], [200.0]], requires_grad=True)
    score_src = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf], requires_grad=True)
    score_dst = torch.zeros(3, requires_grad=True)
    out = aggregate(csr, h, score_src, score_dst)
    assert out.flatten().tolist() == [1.5, 0, 1]
    alpha = attention(csr, score_src, score_dst)
    assert alpha.tolist() == [0.5, 0.5, 0, 0, 0, 1]
    d_h, d_src, d_dst = gradients(out, torch.ones(3, 1), (h, score_src, score_dst))
    assert d_h.flatten().tolist() == [1.5, 0.5, 0, 0]
    assert d_src[2:].tolist() == [0, 0] and d_src.isfinite().all() and d_dst.isfinite().all()


@pytest.mark.parametrize("aggregate", BOTH)
def test_a_score_that_is_no_number_spoils_its_own_rows_alone(aggregate):
    """Destination 0 hears the NaN; 1 hears one masked source and one other; 2 masked ones alone."""
    src, dst = torch.tensor([0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 2])
    csr = CSR.from_edges(src, dst, num_src=3, num_dst=3)
    h = torch.tensor([[1.0], [2.0], [100.0]], requires_grad=True)
    score_src = torch.tensor([torch.nan, 0.0, -torch.inf], requires_grad=True)
    out = aggregate(csr, h, score_src, torch.zeros(3))
    assert out[0].isnan() and out[1:].flatten().tolist() == [2, 0]
    (d_h,) = gradients(out[1:], torch.ones(2, 1), (h,))
    assert d_h[2] == 0


INF, NAN = torch.inf, torch.nan
# Scores of the sources of one row, and that of the row.
LOGITS = {
    "one edge": ([5.0], 0.0),
    "one edge, plus infinity": ([INF], 0.0),
    "one plus infinity": ([0.0, INF, 1.0], 0.0),
    "two plus infinities": ([INF, INF], 0.0),
    "one minus infinity": ([-INF, 0.0, 1.0], 0.0),
    "all minus infinity": ([-INF, -INF], 0.0),
    "both infinities": ([-INF, INF, 1.0], 0.0),
    "not a number": ([NAN, 0.0, 1.0], 0.0),
    "not a number, and masked": ([NAN, -INF, 1.0], 0.0),
    "a masked row": ([1.0, 2.0, INF], -INF),
    "an infinite row": ([1.0, -INF, 2.0], INF),
    "a row that is not a number": ([1.0, -INF], NAN),
    "a sum that overflows": ([3e38, 1.0], 3e38),
    "a sum that overflows downwards": ([-3e38, 1.0], -3e38),
    "the largest numbers": ([3e38, 3e38, -3e38], 0.0),
    "far apart": ([1e10, -1e10, 1e10, 0.0], 1.0),
}


def by_hand(h, score_src, score_dst, slope):
    """Output, gradients and weights of a row of one head, by the softmax of what takes part."""
    total = (score_src + score_dst).double()  # added up in the dtype of the scores
    steep = torch.where(total > 0, 1.0, slope)
    logits, part = total * steep, total != -INF
    alpha = torch.zeros_like(logits)
    alpha[part] = logits[part].softmax(0)
    out = (alpha * h.double()).nan_to_num(nan=NAN)[part].sum()
    d_src = torch.zeros_like(logits)
    d_src[part] = (steep * alpha * (h - out))[part]
    return out, alpha, d_src, d_src[part].sum()


@pytest.mark.parametrize("masked_feature", [0.5, NAN, INF])
@pytest.mark.parametrize("aggregate", BOTH)
@pytest.mark.parametrize("kind", LOGITS)
def test_what_is_not_finite_by_hand(kind, aggregate, masked_feature):
    """Row 0 has the logits, in head 0 of two; its other head and row 1 know nothing of them."""
    scores, row_score = torch.tensor(LOGITS[kind][0]), LOGITS[kind][1]
    count = len(scores)
    src = torch.cat([torch.arange(count), torch.arange(count, count + 3)])
    csr = CSR.from_edges(src, (src >= count).long(), num_src=count + 3, num_dst=2)
    score_src = torch.stack([torch.cat([scores, torch.zeros(3)]), torch.zeros(count + 3)], 1)
    score_dst = torch.tensor([[row_score, 0.0], [0.0, 0.0]])
    h = torch.arange(2.0 * count + 6).view(-1, 2, 1)
    h[:count, 0][scores + row_score == -INF] = masked_feature
    leaves = [x.requires_grad_() for x in (h, score_src, score_dst)]
    out = aggregate(csr, *leaves)
    d_h, d_src, d_dst = gradients(out, torch.ones_like(out), leaves)

    row = h.detach()[:count, 0, 0]
    expected, alpha, e_src, e_dst = by_hand(row, scores, torch.tensor(row_score), 0.2)
    same = {"equal_nan": True, "rtol": 1e-5, "atol": 1e-6}
    weights = attention(csr, score_src, score_dst)
    for actual, wanted in (
        (out[0, 0, 0], expected), (d_h[:count, 0, 0], alpha), (d_src[:count, 0], e_src),
        (d_dst[0, 0], e_dst), (weights[:count, 0], alpha),
    ):  # fmt: skip
        torch.testing.assert_close(actual.double(), wanted, **same)
    torch.testing.assert_close(out[0, 1, 0], h[:count, 1, 0].mean())
    torch.testing.assert_close(out[1, :, 0], h[count:, :, 0].mean(0))
    torch.testing.assert_close(d_h[:count, 1, 0], torch.full((count,), 1 / count))
    torch.testing.assert_close(d_h[count:, :, 0], torch.full((3, 2), 1 / 3))
    assert d_src[:, 1].isfinite().all() and d_src[count:].isfinite().all()
    assert d_dst[1].isfinite().all() and d_dst[0, 1].isfinite()


def spoil(score_src, score_dst):
    """Put infinities and NaN into some sources and rows, in head 0 or both."""
    with torch.no_grad():
        score_src[::3, 0] = -INF
        score_src[4] = NAN if len(score_src) > 1_000 else -INF
        score_src[7, 1] = INF if len(score_src) > 1_000 else 0.0
        score_dst[3] = INF
        score_dst[5, 0] = NAN
        score_dst[20, 1] = INF  # of `mixed`: hears the long row of the transpose alone
        score_dst[-1, 0] = INF  # the long row of `large`
        score_dst[7, 0] = -INF  # a row of two chunks of `mixed`


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", ["mixed", "large"])
def test_spoiled_rows_of_every_kind(size, dtype, drop_edge, mixed, large, inputs, randn):
    """Where the definition in float64 is NaN, and there alone, the kernel is."""
    csr = {"mixed": mixed, "large": large}[size]
    drawn = inputs(csr, 2, 5, dtype)
    spoil(*drawn[1:])
    with torch.no_grad():
        drawn[0][6, 0] = NAN  # of a source that is masked
    wide = [x.detach().double().requires_grad_() for x in drawn]
    g = randn(csr.num_dst, 2, 5, dtype=dtype)
    options = {"drop_edge": drop_edge, "seed": 5}
    out = gat_aggregate(csr, *drawn, **options)
    expected = gat_aggregate_reference(csr, *wide, **options)
    assert 0 < out.isnan().sum() < out.numel() / 2
    with torch.no_grad():
        assert torch.equal(gat_aggregate(csr, *drawn, **options).nan_to_num(7), out.nan_to_num(7))
    pairs = [(out, expected)]
    pairs += zip(gradients(out, g, drawn), gradients(expected, g.double(), wide), strict=True)
    for actual, wanted in pairs:
        assert torch.equal(actual.isnan(), wanted.isnan())
        actual, wanted = actual.double().nan_to_num(), wanted.nan_to_num()
        tolerance = {torch.float32: 1e-5, torch.float64: 1e-13, torch.bfloat16: 0.02}[dtype]
        assert (actual - wanted).abs().max() < tolerance * wanted.abs().max()


def test_a_feature_that_is_not_a_number_spoils_the_rows_that_hear_it(mixed, inputs, randn):
    drawn = inputs(mixed, 2, 20, torch.float64)
    with torch.no_grad():
        drawn[0][50, 1, 3] = NAN
    g = randn(mixed.num_dst, 2, 20, dtype=torch.float64)
    outs = [aggregate(mixed, *drawn) for aggregate in BOTH]
    assert 0 < outs[0].isnan().sum() <= mixed.num_dst
    for a, b in zip(*([out, *gradients(out, g, drawn)] for out in outs), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("drop_edge", [0.0, 0.5])
def test_bits_of_spoiled_rows_do_not_depend_on_the_threads(
    drop_edge, large, inputs, randn, with_threads
):
    drawn, g = inputs(large, 2, 33), randn(large.num_dst, 2, 33)
    with torch.no_grad():
        drawn[1][::2, 0] = -INF
        drawn[1][7] = NAN

    def step():
        out = gat_aggregate(large, *drawn, drop_edge=drop_edge, seed=9)
        return [out, *gradients(out, g, drawn), attention(large, *drawn[1:])]

    runs = [with_threads(threads, step) for threads in (1, 2, 3)]
    for first, *others in zip(*runs, strict=True):
        assert first.isnan().any() and not first.isnan().all()
        for other in others:
            assert torch.equal(first.nan_to_num(7), other.nan_to_num(7))


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_rows_of_every_kind(dtype, slope, drop_edge, mixed, inputs, randn, close):
    """Short rows and chunks, some in part and some whole, in one head or in both."""
    drawn = inputs(mixed, 2, 20, dtype)
    with torch.no_grad():
        drawn[1][::3, 0] = -torch.inf
        drawn[1][1] = -torch.inf  # the only source of the rows of 55 edges
        drawn[2][6:8] = -torch.inf  # a row of one chunk, and one of two
    g = randn(mixed.num_dst, 2, 20, dtype=dtype)
    options = {"negative_slope": slope, "drop_edge": drop_edge, "seed": 5}
    out = gat_aggregate(mixed, *drawn, **options)
    assert not out[6:8].any() and not out[9:49].any() and out[5].all()
    assert_agrees(mixed, drawn, g, close, **options)


def test_the_lowest_number_is_no_mask_in_any_dtype(mixed, inputs, close):
    """With the usual slope its logits are far from the lowest: all alike, so a plain mean."""
    for dtype in (torch.float32, torch.float64):
        h, score_src, score_dst = (x.detach() for x in inputs(mixed, 1, 33, dtype))
        score_src.fill_(torch.finfo(dtype).min)
        mean = spmm(mixed, h[:, 0].contiguous()) / mixed.degrees().clamp(min=1)[:, None]
        out = gat_aggregate(mixed, h, score_src, score_dst)
        close(out[:, 0], mean.double())


def test_a_logit_of_zero_takes_the_slope(mixed, inputs, randn, close):
    """As torch has it; rounded scores make a quarter of the logits such ones."""
    g, (h, score_src, score_dst) = randn(mixed.num_dst, 1, 33), inputs(mixed, 1, 33)
    with torch.no_grad():
        score_src.round_()
        score_dst.round_()
    assert_agrees(mixed, (h, score_src, score_dst), g, close)


def test_exp_is_right_to_two_roundings():
    @njit
    def exp_all(x, y):
        for i in range(len(x)):
            y[i] = exp(x[i])

    x = np.linspace(-86.9, 0, 100_001).astype(np.float32)
    y = np.empty_like(x)
    exp_all(x, y)
    np.testing.assert_allclose(y, np.exp(x.astype(np.float64)), rtol=2.4e-7)
    exp_all(np.float32([0, -87, -88, -1e4, -3e38]), y[:5])
    assert y[0] == 1 and (y[1:5] >= 0).all() and (y[1:5] < 2e-38).all()


def test_empty_graphs(empties):
    for csr in empties:
        for drop_edge in (0.0, 0.85):
            h = torch.ones(csr.num_src, 4, 20, requires_grad=True)
            score_src = torch.ones(csr.num_src, 4, requires_grad=True)
            score_dst = torch.ones(csr.num_dst, 4, requires_grad=True)
            out = gat_aggregate(csr, h, score_src, score_dst, drop_edge=drop_edge)
            assert out.shape == (csr.num_dst, 4, 20) and not out.any()
            for d in gradients(out, torch.ones_like(out), (h, score_src, score_dst)):
                assert not d.any()


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
@pytest.mark.parametrize("heads, dim", [(1, 33), (4, 300)])
def test_training_and_inference_give_the_same_bits(heads, dim, drop_edge, mixed, inputs):
    drawn = inputs(mixed, heads, dim)
    training = gat_aggregate(mixed, *drawn, drop_edge=drop_edge)
    with torch.no_grad():
        inference = gat_aggregate(mixed, *drawn, drop_edge=drop_edge)
    assert training.requires_grad and not inference.requires_grad
    assert torch.equal(training, inference)


@pytest.mark.parametrize("drop_edge", [0.0, 0.85])
def test_bits_do_not_depend_on_the_threads(drop_edge, mixed, large, inputs, randn, with_threads):
    for csr in (mixed, large):
        drawn, g = inputs(csr, 1, 33), randn(csr.num_dst, 1, 33)

        def step(csr=csr, drawn=drawn, g=g):
            out = gat_aggregate(csr, *drawn, drop_edge=drop_edge, seed=9)
            return [out, *gradients(out, g, drawn)]

        one, two, again = (with_threads(threads, step) for threads in (1, 2, 2))
        for a, b, c in zip(one, two, again, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(b, c)


def split_mix(state: int) -> int:
    """SplitMix64 as published: the next number after `state`."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def test_coins_by_hand(mixed, inputs):
    assert _key(0) == split_mix(0) == 0xE220A8397B1DCDAF  # the first number of the published stream
    for seed in (0, 1, 2**62, -1):
        key = split_mix(seed & (1 << 64) - 1)
        expected = []
        for src, dst in zip(mixed.indices.tolist(), mixed.dst().tolist(), strict=True):
            edge = (src << 32 | dst) ^ key
            bits = split_mix(edge - 0x9E3779B97F4A7C15) >> 32
            expected.append(bits >= 0.85 * 2**32)
        assert keep_mask(mixed, 0.85, seed).tolist() == expected


@pytest.mark.parametrize("seed", [0, 1, -1])
def test_kernel_tosses_the_same_coins(seed, mixed, counts, inputs):
    """With one-hot sources the output is alpha, and the gradient of h says what was kept."""
    _, score_src, score_dst = inputs(mixed, 1, 1)
    h = torch.eye(mixed.num_src)[:, None].requires_grad_()
    out = gat_aggregate(mixed, h, score_src, score_dst, drop_edge=0.85, seed=seed)
    keep = keep_mask(mixed, 0.85, seed)
    kept = counts(mixed).zero_().index_put((mixed.dst(), mixed.indices.long()), keep.double())
    assert torch.equal(out[:, 0] > 0, kept > 0)

    to = torch.eye(mixed.num_dst, mixed.num_src)[:, None]  # d_h[j, i] is then alpha_ij
    (d_h,) = gradients(out, to, [h])
    assert torch.equal(d_h[:, 0, : mixed.num_dst] > 0, kept.T > 0)


def test_coins_are_fair_and_independent(large):
    """All within 5 standard deviations of a binomial."""

    def near(coins: torch.Tensor, expected: float) -> bool:
        deviation = math.sqrt(expected * (1 - expected) / len(coins))
        return abs(float(coins.double().mean()) - expected) < 5 * deviation

    edges = torch.stack([large.dst(), large.indices.long()])
    distinct = torch.cat([torch.ones(1).bool(), (edges.diff() != 0).any(0)])  # repeats share a coin
    for drop_edge in (0.1, 0.5, 0.85, 0.99):
        first, second = (keep_mask(large, drop_edge, seed)[distinct] for seed in (0, 1))
        kept = 1 - drop_edge
        assert near(first, kept)
        assert near(first & second, kept**2)  # of one edge under two seeds
        assert near(first[1:] & first[:-1], kept**2)  # of neighbors
    assert keep_mask(large, 0.0, 0).all()
    fewer, more = keep_mask(large, 0.9, 0), keep_mask(large, 0.5, 0)
    assert (more | ~fewer).all()  # one coin, so what survives a high rate survives a low one


def test_a_direction_has_its_own_coins():
    square = CSR.from_edges(
        torch.arange(40).repeat(40), torch.arange(40).repeat_interleave(40), num_src=40, num_dst=40
    )
    keep = keep_mask(square, 0.5, 0).view(40, 40)
    off_diagonal = ~torch.eye(40, dtype=torch.bool)
    same = float((keep == keep.T)[off_diagonal].double().mean())
    assert abs(same - 0.5) < 0.1


def test_the_seed_decides(mixed, inputs):
    drawn = inputs(mixed, 1, 33)
    out, same, other = (gat_aggregate(mixed, *drawn, drop_edge=0.5, seed=s) for s in (1, 1, 2))
    assert torch.equal(out, same)
    assert not torch.equal(out, other)


def test_a_row_may_lose_every_edge(inputs, randn, close):
    """Also chunks of a long row, and all of them."""
    src = torch.zeros(3 * CHUNK, dtype=torch.int64)
    src[: CHUNK + 10] = 1
    csr = CSR.from_edges(src, torch.zeros_like(src), num_src=2, num_dst=1)
    seen = set()
    for seed in range(8):
        keep = keep_mask(csr, 0.5, seed)
        seen.add((bool(keep[-1]), bool(keep[0])))
        g = randn(1, 4, 20, dtype=torch.float64)
        drawn = inputs(csr, 4, 20, torch.float64)
        assert_agrees(csr, drawn, g, close, drop_edge=0.5, seed=seed)
    assert len(seen) == 4


def test_a_gradient_for_some_inputs_only(mixed, inputs, randn):
    drawn, g = inputs(mixed, 1, 33), randn(mixed.num_dst, 1, 33)
    every = gradients(gat_aggregate(mixed, *drawn), g, drawn)
    for wanted in range(3):
        some = [x.detach().requires_grad_(i == wanted) for i, x in enumerate(drawn)]
        (gradient,) = gradients(gat_aggregate(mixed, *some), g, [some[wanted]])
        assert torch.equal(gradient, every[wanted])


def test_a_broadcast_gradient(mixed, inputs):
    """sum() hands back one number with strides of zero."""
    drawn = inputs(mixed, 1, 33)
    out = gat_aggregate(mixed, *drawn)
    summed = torch.autograd.grad(out.sum(), drawn, retain_graph=True)
    for a, b in zip(summed, gradients(out, torch.ones_like(out), drawn), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("drop_edge", [0.0, 0.5])
def test_gradcheck(drop_edge, mixed, inputs):
    drawn = inputs(mixed, 1, 1, torch.float64)
    assert torch.autograd.gradcheck(
        lambda *x: gat_aggregate(mixed, *x, drop_edge=drop_edge, seed=2), drawn
    )


def test_opcheck(mixed, inputs, randn):
    drawn, scalars = inputs(mixed, 4, 20), (0.2, 0.85, 1, None)
    csr, csr_t = pack(mixed), pack(mixed.transpose())
    opcheck(_gat_aggregate, (csr, csr_t, *drawn, *scalars))
    detached = [x.detach() for x in drawn]
    opcheck(_gat_aggregate, (csr, [], *detached, *scalars))
    outputs = [x.detach() for x in _gat_aggregate(csr, csr_t, *drawn, *scalars)]
    g = randn(mixed.num_dst, 4, 20)
    opcheck(_gat_aggregate_backward, (csr_t, g, *detached, *outputs, *scalars))


def test_all_operations_compile_into_one_graph(mixed, inputs, randn):
    """Tracing, fakes and autograd; "inductor" would add half a minute of C++ that is not ours."""
    h, score_src, score_dst = inputs(mixed, 1, 33)
    mixed.prepare()
    src, dst = mixed.indices.long(), mixed.dst()

    def model(h, score_src, score_dst):
        z = gat_aggregate(mixed, h, score_src, score_dst, drop_edge=0.85, seed=4)[:, 0]
        z = z + spmm(mixed, h[:, 0]).tanh()
        return edge_dot(z, h[:, 0], dst, src)

    def step(function):
        out = function(h, score_src, score_dst)
        return [out, *gradients(out, randn(mixed.num_edges), (h, score_src, score_dst))]

    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for a, b in zip(step(model), step(compiled), strict=True):
        assert torch.equal(a, b)


def test_touches_no_memory_behind_its_inputs(mixed, fenced, inputs, randn, in_child):
    csr = CSR(mixed.indptr, fenced(mixed.indices), mixed.num_src)
    csr.__dict__["_transpose"] = CSR(
        mixed.transpose().indptr, fenced(mixed.transpose().indices), mixed.num_dst
    )
    for heads, dim in ((1, 33), (4, 300)):
        drawn = [fenced(x.detach()).requires_grad_() for x in inputs(mixed, heads, dim)]
        g = fenced(randn(mixed.num_dst, heads, dim))

        def step(drawn=drawn, g=g):
            for drop_edge in (0.0, 0.85):
                gradients(gat_aggregate(csr, *drawn, drop_edge=drop_edge), g, drawn)

        in_child(step)


GOOD = {"h": (3, 2), "score_src": (3,), "score_dst": (3,)}


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        ({"h": torch.ones(3, 2).int()}, TypeError, "h must be float32, float64, float16 or bf"),
        ({"h": torch.ones(3, 33, 2)}, ValueError, "h has 33 heads; there may be 1 to 32"),
        ({"seed": torch.ones(1)}, TypeError, r"seed must hold one int64, not \(1,\) torch.float32"),
        ({"seed": torch.ones(1, device="meta").long()}, ValueError, "seed is on meta, but the gr"),
        ({"h": torch.ones(4, 2)}, ValueError, r"h must have shape \(3, any\), got \(4, 2\)"),
        ({"h": torch.ones(3)}, ValueError, r"h must have shape \(3, any\), got \(3,\)"),
        ({"h": torch.ones(3, 1, 1, 2)}, ValueError, r"h must have shape \(3, 1, any\), got"),
        ({"h": torch.ones(3, 0)}, ValueError, "h has no columns"),
        ({"h": torch.ones(2, 3).T}, ValueError, "h is not contiguous"),
        ({"h": torch.ones(3, 2, device="meta")}, ValueError, "h is on meta, but the other tensors"),
        ({"score_src": torch.ones(3).double()}, TypeError, "score_src is torch.float64"),
        ({"score_src": torch.ones(2)}, ValueError, r"score_src must have shape \(3\), got"),
        ({"score_src": torch.ones(3, 1)}, ValueError, r"score_src must have shape \(3\), got"),
        ({"h": torch.ones(3, 2, 2)}, ValueError, r"score_src must have shape \(3, 2\), got"),
        ({"score_src": torch.ones(6)[::2]}, ValueError, "score_src is not contiguous"),
        ({"score_dst": torch.ones(3).double()}, TypeError, "score_dst is torch.float64"),
        ({"score_dst": torch.ones(4)}, ValueError, r"score_dst must have shape \(3\), got"),
        ({"score_dst": torch.ones(6)[::2]}, ValueError, "score_dst is not contiguous"),
        ({"score_dst": torch.ones(3, device="meta")}, ValueError, "score_dst is on meta"),
        ({"drop_edge": 1.0}, ValueError, r"drop_edge must be in \[0, 1\), got 1.0"),
        ({"drop_edge": -0.1}, ValueError, r"drop_edge must be in \[0, 1\), got -0.1"),
        ({"drop_edge": math.nan}, ValueError, r"drop_edge must be in \[0, 1\), got nan"),
        ({"negative_slope": -0.1}, ValueError, r"negative_slope must be in \[0, 1\], got -0.1"),
        ({"negative_slope": 1.1}, ValueError, r"negative_slope must be in \[0, 1\], got 1.1"),
    ],
)
def test_wrong_input(wrong, error, message):
    good = {name: torch.ones(shape) for name, shape in GOOD.items()}
    with pytest.raises(error, match=message):
        gat_aggregate(three_nodes(), **good | wrong)
