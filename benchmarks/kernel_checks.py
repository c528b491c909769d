"""What the CUDA kernels must do, as plain functions that need no pytest.

They run where a kernel can: on a GPU, and on the CPU through whatever runs a kernel there, which
the caller hands in (see `on_the_host`). `CHECKS` lists them; each takes the device of its tensors
and raises AssertionError. The float64 references that they compare with have tests of their own.

    python benchmarks/kernel_checks.py [WORDS]    on a GPU, those whose name has the words
"""

import contextlib
import functools
import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # a bare checkout will do

from gadkit import network, ops
from gadkit.evaluation import splits
from gadkit.graph import CHUNK, CSR, HeteroGraph
from gadkit.ops import _cuda
from gadkit.ops.gat import (
    _attention,
    _attention_cuda,
    _gat_aggregate,
    _gat_aggregate_backward,
    _gat_aggregate_backward_cuda,
    _gat_aggregate_cuda,
)
from gadkit.ops.matmul import _spmm, _spmm_cuda
from gadkit.ops.sddmm import (
    _edge_dot,
    _edge_dot_backward,
    _edge_dot_backward_cuda,
    _edge_dot_cuda,
)

LAUNCH_ON_GPU = _cuda.launch  # as long as this is there, CPU tensors go to the CPU's own kernels
# Around a warp and around a chunk; a row of three chunks; first and last row empty. The rows of 40
# edges all point to one source, which is so a long row of the transpose.
DEGREES = (0, 1, 31, 32, 33, 200, CHUNK, CHUNK + 1, 2 * CHUNK + 5, *[40] * 40, 0)
NUM_SRC, HUB = 128, 1
DIMS = (1, 20, 33, 64, 100, 128, 256)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Largest difference from float64, as a share of the largest number: roundings of inputs are not
# counted, those of the output and of what the backward keeps are.
TOLERANCE = {
    torch.float32: 5e-6,
    torch.float64: 1e-13,
    torch.float16: 1e-3,
    torch.bfloat16: 5e-3,
}


@functools.cache
def graph(device: str) -> CSR:
    """Every kind of row, in both directions, with repeated edges."""
    generator = torch.Generator().manual_seed(0)
    degrees = torch.tensor(DEGREES)
    dst = torch.arange(len(DEGREES)).repeat_interleave(degrees)
    src = torch.randint(1, NUM_SRC - 1, (len(dst),), generator=generator)  # 0 and the last: no edge
    src[degrees[dst] == 40] = HUB
    return CSR.from_edges(src, dst, num_src=NUM_SRC, num_dst=len(DEGREES)).to(device)


def randn(*shape: int, dtype=torch.float32, device="cpu", seed: int = 0) -> torch.Tensor:
    """Draw normal numbers, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)


def close(
    actual: torch.Tensor, expected: torch.Tensor, what: str, dtype=None, slack: float = 1.0
) -> None:
    """Compare with float64, relative to the largest number; to 0.01 where all terms cancel."""
    assert actual.shape == expected.shape, f"{what}: {actual.shape}, not {expected.shape}"
    if actual.numel():
        actual, expected = actual.detach(), expected.detach()
        error = (actual.double() - expected).abs().max() / expected.abs().max().clamp(min=0.01)
        limit = slack * TOLERANCE[dtype or actual.dtype]
        assert error <= limit, f"{what}: relative error {float(error):.1e} above {limit:.0e}"


def same(first, second, what: str) -> None:
    """Compare bit by bit."""
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b), f"{what}: bits differ"


def wide(x: torch.Tensor) -> torch.Tensor:
    """Return a float64 copy that wants a gradient if x does."""
    return x.detach().double().requires_grad_(x.requires_grad)


def detached(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return inputs that want no gradient: of such scores the kernel computes the attention."""
    return [x.detach() for x in inputs]


def per_edge(csr: CSR) -> torch.Tensor:
    """Return one over the in-degree: errors are judged per term of a sum."""
    return 1 / csr.degrees().clamp(min=1).double()


def spmm(device: str, dim: int, dtype: torch.dtype, scaled: bool) -> None:
    """spmm and its gradient against the reference."""
    csr = graph(device)
    x = randn(NUM_SRC, dim, dtype=dtype, device=device).requires_grad_()
    g = randn(csr.num_dst, dim, dtype=dtype, device=device, seed=1)
    scales = {}
    if scaled:
        sizes = {"scale_dst": csr.num_dst, "scale_src": csr.num_src}
        scales = {
            k: torch.linspace(0.5, 1.5, n, dtype=torch.float64, device=device)
            for k, n in sizes.items()
        }
    narrow = {k: s.to(dtype if dtype.itemsize > 2 else torch.float32) for k, s in scales.items()}
    out = ops.spmm(csr, x, **narrow)
    expected = ops.spmm_reference(csr, xw := wide(x), **scales)
    close(out * per_edge(csr)[:, None], expected * per_edge(csr)[:, None], "out", dtype)
    (d_x,), (d_xw,) = torch.autograd.grad(out, x, g), torch.autograd.grad(expected, xw, g.double())
    share = per_edge(csr.transpose())[:, None]
    close(d_x * share, d_xw * share, "gradient of x", dtype)


def edge_dot(device: str, dim: int, dtype: torch.dtype) -> None:
    """edge_dot and its gradients, with nodes in many pairs, one in most of them, and in none."""
    generator = torch.Generator().manual_seed(0)
    src = torch.randint(1, 50, (3_000,), generator=generator).to(device)
    dst = torch.randint(1, 70, (3_000,), generator=generator).to(device)
    src[::2] = 7
    z = [randn(50, dim, dtype=dtype, device=device), randn(71, dim, dtype=dtype, device=device)]
    z = [x.requires_grad_() for x in z]
    g = randn(3_000, dtype=dtype, device=device, seed=1)
    out, expected = (
        ops.edge_dot(*z, src, dst),
        ops.edge_dot_reference(*(w := list(map(wide, z))), src, dst),
    )
    close(out, expected, "out")
    d = torch.autograd.grad(out, z, g)
    for a, b, name in zip(
        d, torch.autograd.grad(expected, w, g.double()), ("z_src", "z_dst"), strict=True
    ):
        close(a, b, f"gradient of {name}")


def gat_inputs(csr: CSR, heads: int, dim: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Draw h, score_src and score_dst; the scores of halves are float32."""
    scores = dtype if dtype.itemsize > 2 else torch.float32
    h = randn(csr.num_src, heads, dim, dtype=dtype, device=csr.device, seed=1)
    score_src = randn(csr.num_src, heads, dtype=scores, device=csr.device, seed=2)
    score_dst = randn(csr.num_dst, heads, dtype=scores, device=csr.device, seed=3)
    return [x.requires_grad_() for x in (h, score_src, score_dst)]


def gat(device: str, heads: int, dim: int, dtype: torch.dtype, drop_edge: float) -> None:
    """gat_aggregate in training and inference, and its gradients."""
    csr, options = graph(device), {"drop_edge": drop_edge, "seed": 5}
    inputs = gat_inputs(csr, heads, dim, dtype)
    g = randn(csr.num_dst, heads, dim, dtype=dtype, device=device)
    out = ops.gat_aggregate(csr, *inputs, **options)
    expected = ops.gat_aggregate_reference(csr, *(w := list(map(wide, inputs))), **options)
    close(out, expected, "out")
    with torch.no_grad():
        same([out], [ops.gat_aggregate(csr, *inputs, **options)], "training and inference")
    gradients = torch.autograd.grad(out, inputs, g)
    by_edge = per_edge(csr.transpose())
    shares = by_edge[:, None, None], by_edge[:, None], torch.ones(1, 1, device=device)
    names = "h", "score_src", "score_dst"
    for d, e, share, name in zip(
        gradients, torch.autograd.grad(expected, w, g.double()), shares, names, strict=True
    ):
        # That of a score is a dot product, whose terms are larger than their sum.
        slack = 1 if name == "h" else 3
        close(d * share, e * share, f"gradient of {name}", dtype, slack)


def slopes(device: str, slope: float) -> None:
    """The bounds of negative_slope, and logits of zero, which take the slope as in torch."""
    csr, inputs = graph(device), gat_inputs(graph(device), 1, 20, torch.float64)
    with torch.no_grad():
        inputs[1].round_(), inputs[2].round_()
    out = ops.gat_aggregate(csr, *inputs, negative_slope=slope)
    expected = ops.gat_aggregate_reference(
        csr, *(w := list(map(wide, inputs))), negative_slope=slope
    )
    close(out, expected, "out")
    g = randn(*out.shape, dtype=torch.float64, device=device)
    for d, e in zip(
        torch.autograd.grad(out, inputs, g), torch.autograd.grad(expected, w, g), strict=True
    ):
        close(d, e, "gradient", slack=100)  # not per edge


def huge_logits(device: str) -> None:
    """Logits in the thousands overflow an exp that is not centered."""
    csr, inputs = graph(device), gat_inputs(graph(device), 4, 20, torch.float32)
    with torch.no_grad():
        inputs[1].mul_(1_000)
        inputs[2].mul_(1_000).add_(1e4)
    out = ops.gat_aggregate(csr, *inputs)
    gradients = torch.autograd.grad(out.sum(), inputs)
    assert all(x.isfinite().all() for x in (out, *gradients)), "not finite"
    # The logits themselves are rounded to 1e-3 here, so the reference rounds them the same way.
    assert (out - ops.gat_aggregate_reference(csr, *inputs)).abs().max() < 0.02, "wrong"


def large_logits(device: str, shift: float, dtype: torch.dtype, drop_edge: float) -> None:
    """Ties, neighbors of an ulp and far ones beside a large score, forward and backward."""
    csr, inputs = graph(device), gat_inputs(graph(device), 2, 20, dtype)
    ulp = 2.0 ** (math.floor(math.log2(abs(shift))) - 23)
    steps = torch.randint(3, inputs[1].shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        inputs[1].copy_(steps * ulp)  # with a slope of 1 / 4 float32 has all logits exactly
        inputs[1][::9] = round(0.5 * shift / ulp) * ulp
        inputs[2].fill_(shift)
    options = {"negative_slope": 0.25, "drop_edge": drop_edge, "seed": 5}
    out = ops.gat_aggregate(csr, *inputs, **options)
    expected = ops.gat_aggregate_reference(csr, *(w := list(map(wide, inputs))), **options)
    close(out, expected, "out", dtype)
    g = randn(*out.shape, dtype=dtype, device=device)
    d, e = torch.autograd.grad(out, inputs, g), torch.autograd.grad(expected, w, g.double())
    for actual, wanted in zip(d, e, strict=True):
        close(actual, wanted, "gradient", dtype, slack=100)  # not per edge
    alpha = ops.attention(csr, *detached(inputs[1:]), negative_slope=0.25)
    definition = ops.attention_reference(csr, *w[1:], negative_slope=0.25)
    close(alpha, definition, "attention", alpha.dtype)


def spoiled_rows(device: str, dtype: torch.dtype, drop_edge: float) -> None:
    """Logits of plus infinity and NaN make their row NaN, and nothing else."""
    csr, inputs = graph(device), gat_inputs(graph(device), 2, 20, dtype)
    with torch.no_grad():
        inputs[0][4] = torch.nan  # a source that is masked everywhere
        inputs[1][4] = -torch.inf
        inputs[1][::3, 0] = -torch.inf
        inputs[1][50, 1] = torch.inf  # long rows hear it too
        inputs[2][3] = torch.inf
        inputs[2][5, 0] = torch.nan
        inputs[2][20, 0] = torch.inf  # hears the long row of the transpose alone
        inputs[2][7, 0] = -torch.inf  # a row of two chunks
    options = {"drop_edge": drop_edge, "seed": 5}
    out = ops.gat_aggregate(csr, *inputs, **options)
    expected = ops.gat_aggregate_reference(csr, *(w := list(map(wide, inputs))), **options)
    g = randn(*out.shape, dtype=dtype, device=device)
    made = [out, *torch.autograd.grad(out, inputs, g), ops.attention(csr, *detached(inputs[1:]))]
    defined = [expected, *torch.autograd.grad(expected, w, g.double())]
    defined.append(ops.attention_reference(csr, *w[1:]))
    names = "out", "gradient of h", "of score_src", "of score_dst", "attention"
    for name, actual, wanted in zip(names, made, defined, strict=True):
        assert torch.equal(actual.isnan(), wanted.isnan()), f"{name}: NaN elsewhere"
        assert wanted.isnan().any() and not wanted.isnan().all(), f"{name}: nothing to see"
        close(actual.nan_to_num(), wanted.nan_to_num(), name, dtype, slack=100)


def lost_rows(device: str) -> None:
    """Rows, and chunks of a long row, that DropEdge leaves without an edge."""
    src = torch.zeros(3 * CHUNK, dtype=torch.int64)
    src[: CHUNK + 10] = 1
    csr = CSR.from_edges(src, torch.zeros_like(src), num_src=2, num_dst=1).to(device)
    inputs = gat_inputs(csr, 2, 20, torch.float64)
    for seed in range(8):
        out = ops.gat_aggregate(csr, *inputs, drop_edge=0.5, seed=seed)
        w = list(map(wide, inputs))
        expected = ops.gat_aggregate_reference(csr, *w, drop_edge=0.5, seed=seed)
        close(out, expected, "out")
        g = randn(*out.shape, dtype=torch.float64, device=device)
        for d, e in zip(
            torch.autograd.grad(out, inputs, g), torch.autograd.grad(expected, w, g), strict=True
        ):
            close(d, e, "gradient", slack=1000)  # sums of 2,000 terms that cancel


def masked_rows(device: str, dtype: torch.dtype, slope: float) -> None:
    """Scores of minus infinity: edges that take no part, in rows of every kind, with gradients."""
    csr, inputs = graph(device), gat_inputs(graph(device), 2, 20, dtype)
    with torch.no_grad():
        inputs[1][::3, 0] = -torch.inf  # a third of the sources, in one head
        inputs[1][HUB] = -torch.inf  # the only source of the rows of 40 edges
        inputs[2][6:8] = -torch.inf  # rows of one chunk, and of two
    out = ops.gat_aggregate(csr, *inputs, negative_slope=slope)
    w = list(map(wide, inputs))
    expected = ops.gat_aggregate_reference(csr, *w, negative_slope=slope)
    assert expected.isfinite().all() and not out[6:8].any() and not out[10:20].any()
    close(out, expected, "out", dtype)
    g = randn(*out.shape, dtype=dtype, device=device)
    d, e = torch.autograd.grad(out, inputs, g), torch.autograd.grad(expected, w, g.double())
    for actual, wanted in zip(d, e, strict=True):
        assert actual.isfinite().all(), "a gradient is not finite"
        close(actual, wanted, "gradient", dtype, slack=100)  # not per edge
    alpha = ops.attention(csr, *detached(inputs[1:]), negative_slope=slope)
    definition = ops.attention_reference(csr, *w[1:], negative_slope=slope)
    close(alpha, definition, "attention", alpha.dtype)


def seed_in_memory(device: str) -> None:
    """A seed may lie in a tensor, of which every launch reads what is there."""
    csr, inputs = graph(device), gat_inputs(graph(device), 1, 20, torch.float32)
    seed = torch.tensor(-1, device=device)
    for value in (-1, 0, 2**62):
        seed.fill_(value)
        out = [ops.gat_aggregate(csr, *inputs, drop_edge=0.5, seed=s) for s in (seed, value)]
        same([out[0]], [out[1]], "seed in memory")
        same(*(torch.autograd.grad(o.sum(), inputs) for o in out), "seed in memory, backward")


def misaligned(device: str) -> None:
    """Features that begin in the middle of 16 bytes are read number by number."""
    csr = graph(device)
    h, *scores = gat_inputs(csr, 1, 64, torch.float32)
    flat = torch.empty(h.numel() + 1, device=device)[1:].view_as(h).copy_(h)
    assert flat.data_ptr() % 16 and flat.is_contiguous()
    close(ops.gat_aggregate(csr, flat, *scores), ops.gat_aggregate(csr, h, *scores).double(), "gat")
    x = flat.view(len(h), -1)
    close(ops.spmm(csr, x), ops.spmm(csr, h.view_as(x)).double(), "spmm")


def attention(device: str, heads: int, dtype: torch.dtype) -> None:
    """Attention weights of all edges and of chosen rows."""
    csr = graph(device)
    score_src = randn(csr.num_src, heads, dtype=dtype, device=device, seed=1)
    score_dst = randn(csr.num_dst, heads, dtype=dtype, device=device, seed=2)
    alpha = ops.attention(csr, score_src, score_dst)
    expected = ops.attention_reference(csr, score_src.double(), score_dst.double())
    close(alpha, expected, "all rows")
    rows = torch.tensor([8, 0, 4, 8, 3], device=device)  # the longest twice, an empty one
    chosen = ops.attention(csr, score_src, score_dst, rows=rows)
    edges = [alpha[csr.indptr[r] : csr.indptr[r + 1]] for r in rows.tolist()]
    same([chosen], [torch.cat(edges)], "chosen rows")


def empty(device: str) -> None:
    """No edges; no destinations; no sources; nothing at all; no pairs."""
    none = torch.empty(0, dtype=torch.int64, device=device)
    for num_src, num_dst in ((5, 3), (5, 0), (0, 3), (0, 0)):
        csr = CSR.from_edges(none, none, num_src=num_src, num_dst=num_dst)
        inputs = gat_inputs(csr, 4, 20, torch.float32)
        for out in (
            ops.gat_aggregate(csr, *inputs, drop_edge=0.5),
            ops.spmm(csr, inputs[0].flatten(1)),
            ops.edge_dot(inputs[0].flatten(1), inputs[0].flatten(1), none, none),
        ):
            assert not out.any(), "not zero"
            (d,) = torch.autograd.grad(out.sum(), inputs[:1])
            assert d.shape == inputs[0].shape and not d.any(), "gradient not zero"
        assert len(ops.attention(csr, *detached(inputs[1:]))) == 0


def repeats(device: str) -> None:
    """Two runs give the same bits, forward and backward."""
    csr, inputs = graph(device), gat_inputs(graph(device), 4, 64, torch.float32)
    x, src = inputs[0].flatten(1), torch.arange(2_000, device=device) % 13

    def run():
        out = ops.gat_aggregate(csr, *inputs, drop_edge=0.2, seed=1)
        outs = out, ops.spmm(csr, x), ops.edge_dot(x, x, src, src.flip(0))
        return [*outs, *torch.autograd.grad(sum(o.square().sum() for o in outs), inputs)]

    same(run(), run(), "two runs")


def gradcheck(device: str) -> None:
    """torch.autograd.gradcheck in float64."""
    csr = CSR.from_edges(
        torch.tensor([0, 1, 2, 0, 3, 3]), torch.tensor([0, 0, 0, 1, 1, 3]), num_src=4, num_dst=4
    ).to(device)
    inputs = gat_inputs(csr, 2, 2, torch.float64)
    assert torch.autograd.gradcheck(lambda *x: ops.gat_aggregate(csr, *x), inputs)
    x = inputs[0].detach().flatten(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.spmm(csr, x), x)
    pairs = torch.tensor([0, 1, 1], device=device), torch.tensor([3, 3, 0], device=device)
    assert torch.autograd.gradcheck(lambda x: ops.edge_dot(x, x.flip(0), *pairs), x)


def autocast(device: str) -> None:
    """Mixed precision: features as autocast makes them, gradients as GradScaler takes them."""
    csr, kind = graph(device), torch.float16
    x = randn(csr.num_src, 32, device=device)
    weights = [randn(32, size, device=device, seed=size) / 6 for size in (64, 2)]

    def step(enabled: bool):
        leaves = [w.clone().requires_grad_() for w in weights]
        with torch.autocast(device, dtype=kind, enabled=enabled):
            h, scores = (x @ w for w in leaves)
            out = ops.gat_aggregate(
                csr, h.view(-1, 2, 32), scores.contiguous(), scores[: csr.num_dst].contiguous()
            )
            z = ops.spmm(csr, h, scale_dst=per_edge(csr).float()) + out.flatten(1)
            pairs = torch.arange(csr.num_dst, device=device)
            loss = ops.edge_dot(z, z, pairs, pairs.flip(0)).float().square().mean()
        scaler = torch.amp.GradScaler(device, init_scale=2.0**-4, enabled=enabled)
        optimizer = torch.optim.SGD(leaves, lr=1.0)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        assert not enabled or h.dtype == z.dtype == kind
        return [loss.detach().double(), *(w.grad.double() for w in leaves)]

    for mixed, full in zip(step(True), step(False), strict=True):
        error = (mixed - full).abs().max() / full.abs().max()
        assert error < 0.05, f"mixed precision is off by {float(error):.1%}"


def training(device: str) -> None:
    """Both stages on a small marketplace go as they do by the CPU's own kernels."""
    for got, want in zip(_losses(device), cpu_losses(), strict=True):
        assert abs(got - want) < 1e-3, f"loss {got:.5f}, not {want:.5f}"


@functools.cache
def _marketplace(device: str):
    generator = torch.Generator().manual_seed(0)
    num_nodes = {"user": 200, "product": 100, "seller": 10}
    edges = {}
    for src, name, dst, count in (
        ("user", "buys", "product", 1_500),
        ("seller", "sells", "product", 100),
        ("user", "co_buys", "user", 600),
    ):
        ends = [torch.randint(num_nodes[t], (count,), generator=generator) for t in (src, dst)]
        edges[src, name, dst] = CSR.from_edges(
            *ends, num_src=num_nodes[src], num_dst=num_nodes[dst]
        )
    x = {t: torch.randn(n, 16, generator=generator) for t, n in num_nodes.items()}
    labels = torch.stack([torch.arange(200), torch.arange(200) % 5 == 0], 1).long()
    return HeteroGraph(num_nodes, edges, x, labels).to(device)


def _losses(device: str) -> list[float]:
    """Return the losses of a few epochs of both stages."""
    graph = _marketplace(device)
    gae = network.train_gae(graph, num_pairs=500, epochs=3, progress=False)
    split = splits.stratified(graph.labels)
    gat = network.finetune_gat(
        graph,
        gae.z,
        split,
        architecture=network.Architecture(heads=2, features=True),
        schedule=network.Schedule(epochs=3),
        progress=False,
    )
    return [record["loss"] for record in gae.history + gat.history]


@functools.cache
def cpu_losses() -> list[float]:
    """Return those of the CPU's own kernels; to be called before `on_the_host` replaces them."""
    assert _cuda.launch is LAUNCH_ON_GPU, "cpu_losses() came too late: the kernels are replaced"
    return _losses("cpu")


def capture(device: str) -> None:
    """A training step in a CUDA graph; replays drop other edges when the seed has changed."""
    csr, inputs = graph(device).prepare(), gat_inputs(graph(device), 2, 64, torch.float32)
    seed, pairs = torch.tensor(1, device=device), torch.arange(2_000, device=device) % 13

    def step():
        out = ops.gat_aggregate(csr, *inputs, drop_edge=0.5, seed=seed)
        x = inputs[0].flatten(1)
        outs = out, ops.spmm(csr, x), ops.edge_dot(x, x, pairs, pairs.flip(0))
        return [*outs, *torch.autograd.grad(sum(o.square().sum() for o in outs), inputs)]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    cuda_graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(cuda_graph, stream=stream):
        captured = step()
    kept = []
    for value in (7, 8):
        seed.fill_(value)
        cuda_graph.replay()
        kept.append([x.clone() for x in captured])
        same(kept[-1], step(), f"replay with seed {value}")
    assert not torch.equal(kept[0][0], kept[1][0]), "the replay did not read the new seed"


def streams(device: str) -> None:
    """Kernels run on torch's current stream, after what was put there before them."""
    csr, h = graph(device), randn(NUM_SRC, 256, device=device)
    expected = ops.spmm(csr, h)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        late = torch.zeros_like(h)
        torch.cuda._sleep(20_000_000)
        late.copy_(h)
        out = ops.spmm(csr, late)
        same([out], [expected], "on a side stream")


def compiled(device: str) -> None:
    """torch.compile(fullgraph=True) through all operations."""
    csr, inputs = graph(device).prepare(), gat_inputs(graph(device), 1, 32, torch.float32)
    src, dst = csr.indices.long(), csr.dst()

    def model(h, score_src, score_dst):
        z = ops.gat_aggregate(csr, h, score_src, score_dst, drop_edge=0.5, seed=4)[:, 0]
        return ops.edge_dot(z + ops.spmm(csr, h[:, 0]).tanh(), h[:, 0], dst, src)

    eager, traced = (
        f(*inputs) for f in (model, torch.compile(model, fullgraph=True, backend="aot_eager"))
    )
    same([eager, *torch.autograd.grad(eager.sum(), inputs)],
         [traced, *torch.autograd.grad(traced.sum(), inputs)], "compiled")  # fmt: skip


def long_offsets(device: str) -> None:
    """Features of more than 2^31 numbers."""
    num_src = 2**31 // 256 + 1_000
    last = torch.arange(num_src - 64, num_src)
    csr = CSR.from_edges(last, last % 7, num_src=num_src, num_dst=7).to(device)
    x = torch.zeros(num_src, 256, dtype=torch.bfloat16, device=device)
    x[-64:] = randn(64, 256, dtype=torch.bfloat16, device=device)
    few = CSR.from_edges(last - last[0], last % 7, num_src=64, num_dst=7).to(device)
    same([ops.spmm(csr, x)], [ops.spmm(few, x[-64:].contiguous())], "far rows")


def devices(device: str) -> None:
    """Tensors on two devices, and ids out of range, are errors."""
    csr = graph(device)
    for wrong in (
        lambda: ops.spmm(csr, torch.ones(NUM_SRC, 4)),
        lambda: ops.edge_dot(*[torch.ones(3, 4, device=device)] * 2, *torch.tensor([[0], [1]])),
        lambda: ops.edge_dot(
            *[torch.ones(3, 4, device=device)] * 2, *torch.tensor([[0], [3]], device=device)
        ),
    ):
        try:
            wrong()
        except ValueError:
            continue
        raise AssertionError("no error")


@contextlib.contextmanager
def on_the_host(launch: Callable[..., None]) -> Iterator[None]:
    """Treat CPU tensors as if they were on a GPU, with kernels run by `launch`.

    Args:
        launch: does on CPU tensors what `gadkit.ops._cuda.launch` does on a GPU.
    """
    bodies = [
        (_spmm, _spmm_cuda),
        (_edge_dot, _edge_dot_cuda),
        (_edge_dot_backward, _edge_dot_backward_cuda),
        (_gat_aggregate, _gat_aggregate_cuda),
        (_gat_aggregate_backward, _gat_aggregate_backward_cuda),
        (_attention, _attention_cuda),
    ]
    launch_on_gpu, _cuda.launch = _cuda.launch, launch
    for op, body in bodies:
        op.register_kernel("cpu")(body)
    try:
        yield
    finally:
        _cuda.launch = launch_on_gpu
        for op, _ in bodies:
            op.register_kernel("cpu")(op._init_fn)


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill memory that torch allocates with NaN, so that a number which nobody writes shows."""
    # Torch offers that in this mode alone. It also warns of what is not deterministic on a GPU;
    # the references may be so.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(False)


def _checks() -> Iterator[tuple]:
    """Yield (name, function of a device)."""
    for dim, dtype in itertools.product(DIMS, DTYPES):
        kind = f"dim {dim}, {str(dtype).removeprefix('torch.')}"
        for scaled in (False, True):
            name = f"spmm, {kind}{', scaled' if scaled else ''}"
            yield name, functools.partial(spmm, dim=dim, dtype=dtype, scaled=scaled)
        yield f"edge_dot, {kind}", functools.partial(edge_dot, dim=dim, dtype=dtype)
        for heads, drop_edge in itertools.product((1, 4), (0.0, 0.85)):
            name = f"gat_aggregate, heads {heads}, {kind}, DropEdge {drop_edge}"
            options = {"heads": heads, "dim": dim, "dtype": dtype, "drop_edge": drop_edge}
            yield name, functools.partial(gat, **options)
    for heads, dim in ((8, 20), (3, 33), (32, 4)):
        name = f"gat_aggregate, heads {heads}, dim {dim}"
        options = {"heads": heads, "dim": dim, "dtype": torch.float32, "drop_edge": 0.0}
        yield name, functools.partial(gat, **options)
    options = {"heads": 8, "dim": 128, "dtype": torch.bfloat16, "drop_edge": 0.5}
    yield "gat_aggregate, heads 8, dim 128, bfloat16", functools.partial(gat, **options)
    yield "spmm, dim 1024", functools.partial(spmm, dim=1024, dtype=torch.float32, scaled=True)
    yield "edge_dot, dim 1024", functools.partial(edge_dot, dim=1024, dtype=torch.float32)
    for slope in (0.0, 1.0):
        yield f"negative_slope {slope}", functools.partial(slopes, slope=slope)
    for dtype, slope in ((torch.float32, 0.2), (torch.float64, 0.0), (torch.bfloat16, 0.2)):
        kind = f"masked rows, {str(dtype).removeprefix('torch.')}"
        yield kind, functools.partial(masked_rows, dtype=dtype, slope=slope)
    for shift, dtype, drop_edge in (
        (1e5, torch.float32, 0.0), (-1e10, torch.bfloat16, 0.0), (1e10, torch.float32, 0.5),
        (-1e10, torch.float32, 0.0),
    ):  # fmt: skip
        kind = f"large logits, {shift:g}, {str(dtype).removeprefix('torch.')}"
        options = {"shift": shift, "dtype": dtype, "drop_edge": drop_edge}
        yield kind, functools.partial(large_logits, **options)
    for dtype, drop_edge in ((torch.float32, 0.0), (torch.float64, 0.5)):
        kind = f"spoiled rows, {str(dtype).removeprefix('torch.')}"
        yield kind, functools.partial(spoiled_rows, dtype=dtype, drop_edge=drop_edge)
    for heads, dtype in itertools.product((1, 4), (torch.float32, torch.float64)):
        kind = f"heads {heads}, {str(dtype).removeprefix('torch.')}"
        yield f"attention, {kind}", functools.partial(attention, heads=heads, dtype=dtype)
    for check in (
        huge_logits, lost_rows, seed_in_memory, misaligned, empty, repeats, gradcheck, autocast,
        training,
    ):  # fmt: skip
        yield check.__name__.replace("_", " "), check


CHECKS = dict(_checks())
GPU_CHECKS = {
    check.__name__.replace("_", " "): check
    for check in (streams, compiled, devices, long_offsets, capture)
}


def run(device: str, words: str = "", *, launch: Callable[..., None] | None = None) -> dict:
    """Run the checks whose name has the words; say what fails.

    Args:
        device: "cuda", or "cpu" with something that runs kernels there.
        words: part of the names.
        launch: on a CPU, see `on_the_host`.

    Returns:
        "run", how many; "failed", a line for each.
    """
    cuda = device == "cuda"
    checks = CHECKS | GPU_CHECKS if cuda else CHECKS
    chosen = {name: check for name, check in checks.items() if words in name}
    failed, start = [], time.perf_counter()
    if "training" in chosen:
        cpu_losses()
    with contextlib.nullcontext() if cuda else on_the_host(launch), poisoned_memory():
        for name, check in chosen.items():
            try:
                check(device)
            except Exception as error:
                failed.append(f"{name}: {type(error).__name__}: {str(error).strip()[:500]}")
                print(f"FAILED {failed[-1]}", flush=True)
    seconds = time.perf_counter() - start
    where = "the GPU" if cuda else "the CPU, emulated"
    print(f"kernel checks on {where}: {len(chosen)} run, {len(failed)} failed, {seconds:.0f} s")
    return {"run": len(chosen), "failed": failed}


if __name__ == "__main__":
    sys.exit(bool(run("cuda", " ".join(sys.argv[1:]))["failed"]))
