"""The CUDA kernels, run on the CPU (host.py) and, where there is one, on a GPU.

benchmarks/kernel_checks.py says what they must do. Here the same sources also run in a shuffled
order of threads, under sanitizers, and with planted mistakes, which must not survive.
"""

import subprocess
import sys

import host
import kernel_checks
import numpy as np
import pytest
import torch
from kernel_checks import CHECKS, GPU_CHECKS, on_the_host, poisoned_memory

from gadkit import ops
from gadkit.graph import CHUNK, CSR
from gadkit.ops import _cuda
from gadkit.ops.sddmm import _edge_dot_cuda, _packed_on_device


@pytest.fixture(autouse=True)
def poison():
    with poisoned_memory():
        yield


@pytest.fixture(scope="module")
def cpu_losses():
    """What the CPU's own kernels give, kept before the emulated ones take their place."""
    kernel_checks.cpu_losses()


@pytest.mark.parametrize("name", CHECKS)
def test_on_the_host(name, cpu_losses):
    with on_the_host(host.launch):
        CHECKS[name]("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CHECKS | GPU_CHECKS)
def test_on_the_gpu(name):
    (CHECKS | GPU_CHECKS)[name]("cuda")


def results() -> list[torch.Tensor]:
    """Return what every kernel computes for one input."""
    csr = kernel_checks.graph("cpu")
    inputs = kernel_checks.gat_inputs(csr, 4, 20, torch.float32)
    x, pairs = inputs[0].flatten(1), torch.arange(3_000) % 13
    outs = [
        ops.gat_aggregate(csr, *inputs, drop_edge=0.5, seed=1),
        ops.spmm(csr, x),
        ops.edge_dot(x, x, pairs, pairs.flip(0)),
    ]
    total = sum(out.square().sum() for out in outs)
    return [
        *outs,
        *torch.autograd.grad(total, inputs),
        ops.attention(csr, *kernel_checks.detached(inputs[1:])),
    ]


def test_the_order_of_threads_does_not_matter(monkeypatch):
    with on_the_host(host.launch):
        expected = results()
        for seed in (1, 2, 3):
            monkeypatch.setattr(host, "lane_seed", seed)
            kernel_checks.same(results(), expected, f"lane seed {seed}")


SANITIZED = ("dim 33, float32", "dim 64, bfloat16", "attention")


@pytest.fixture(scope="module")
def sanitized():
    """The lines of one Python that runs these checks under sanitizers."""
    done = subprocess.run(
        [sys.executable, host.__file__, *SANITIZED],
        env=host.sanitizer_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("words", SANITIZED)
def test_under_sanitizers(words, sanitized):
    """Reads out of bounds, misaligned vectors, overflows: nothing of it in any kernel."""
    line, count = sanitized[SANITIZED.index(words)], sum(words in name for name in CHECKS)
    assert f" {count} run, 0 failed" in line and count > 3


def test_ids_out_of_range_give_nan_where_they_cannot_be_checked(monkeypatch):
    """In a CUDA graph; the kernel must not read what is not there."""
    monkeypatch.setattr("gadkit.ops.sddmm._check_ids", lambda *_: None)
    monkeypatch.setattr(_cuda, "launch", host.launch)
    z = torch.ones(3, 8)
    src, dst = torch.tensor([0, 3, -1, 2]), torch.tensor([2, 0, 0, 2**40])
    out = _edge_dot_cuda(z, z, src, dst)
    assert out[0] == 8 and out[1:].isnan().all()


@pytest.mark.parametrize("longest", [0, 5, CHUNK, CHUNK + 1, 3 * CHUNK, 10 * CHUNK + 7])
def test_a_plan_made_on_the_device_covers_every_edge(longest):
    degrees = torch.tensor([3, longest, 0, CHUNK + 2, 1, longest])
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    packed = _packed_on_device(indptr, torch.zeros(int(indptr[-1]), dtype=torch.int32))
    plan = CSR(indptr, packed.indices, 1).plan
    real = packed.chunk_row >= 0
    for made, planned in zip(packed[5:], plan[3:], strict=True):
        assert torch.equal(made[real], planned)
    assert not real[len(plan.chunk_row) :].any()  # the spare ones come last


def test_layout():
    x = torch.empty(4, 256)
    assert _cuda.layout(256, 256, x) == (4, 32)
    assert _cuda.layout(64, 64, x) == (4, 16)
    assert _cuda.layout(20, 20, x) == (4, 8)
    assert _cuda.layout(33, 33, x) == (1, 32)
    assert _cuda.layout(3, 3, x) == (1, 4)
    assert _cuda.layout(2, 8, x) == (1, 8)  # 16 bytes would reach into the next head
    assert _cuda.layout(64, 64, x.bfloat16()) == (8, 8)
    assert _cuda.layout(64, 64, x.flatten()[1:]) == (1, 32)


def test_instances_are_what_is_asked_for():
    """Every instance is used by a check, so none is compiled, or trusted, for nothing."""
    asked = {"spmm": set(), "sddmm": set(), "gat": set()}

    def launch(file, name, *args):
        asked[file].add(name)
        host.launch(file, name, *args)

    with on_the_host(launch):
        for name, check in CHECKS.items():
            if "dim 33," in name or "dim 64," in name or "attention" in name:
                check("cpu")
    for file, names in asked.items():
        assert names == set(_cuda.instances(file))


def test_cuda_tensors_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    _cuda.cupy.cache_clear()
    with pytest.raises(ImportError, match=r"need CuPy.*pip install 'cupy-cuda13x>=14.2'"):
        _cuda.cupy()


# A mistake each, planted in a copy of the sources: (file, what is there, what is put in its place).
MISTAKES = {
    "the last edge of a window is left out": (
        "gadkit.cuh", "column = lane < count ? next[lane]", "column = lane < count - 1 ? next[lane]"
    ),
    "a row of exactly a chunk is left out": (
        "gadkit.cuh", "return count <= chunk;", "return count < chunk;"
    ),
    "an edge hashes its ends in the wrong order in the backward": (
        "gadkit.cuh", "coins.keep(row, column)", "coins.keep(column, row)"
    ),
    "another bit decides about a coin": ("gadkit.cuh", ">> 32 >= below", ">> 31 >= below"),
    "a mask lacks a lane": (
        "gadkit.cuh", "__ballot_sync(FULL, lane", "__ballot_sync(FULL >> 1, lane"
    ),
    "bfloat16 is cut off, not rounded": ("gadkit.cuh", "(bits + 0x7fffu + ", "(bits + 0 * "),
    "a merge takes every row for its own": (
        "gadkit.cuh", "blockIdx.x > 0 && chunk_row", "blockIdx.x > 1 && chunk_row"
    ),
    "the sum is not rescaled when the maximum rises": (
        "gat.cu", "        mass *= factor;\n        mass_pos", "        mass_pos"
    ),
    "c is not centered": ("gat.cu", "sum_pos[i] -= mass_pos * sum[i];", "sum_pos[i] *= 1;"),
    "a logit of zero counts as positive": (
        "gat.cu", "const A weight_pos = logit > 0", "const A weight_pos = logit >= 0"
    ),
    "the slope is applied to all": (
        "gadkit.cuh", "return larger(x, slope * x);", "return slope * x;"
    ),
    "a head reads its neighbor's score": (
        "gat.cu", "row_at(score_src + head, from", "row_at(score_src, from"
    ),
    "groups of lanes are merged too late": (
        "gat.cu", "int offset = lanes; offset < 32; offset *= 2) softmax",
        "int offset = 2 * lanes; offset < 32; offset *= 2) softmax",
    ),
    "the dots are counted once a tile": (
        "gat.cu", "if (column == head * dim) part = -dots", "part = -dots"
    ),
    "the second tile overwrites the first": (
        "gat.cu", "if (lane == of) d_score += total", "if (lane == of) d_score = total"
    ),
    "the gradient of the slope is left out": (
        "gat.cu", "alpha_tilted = steepness * alpha;", "alpha_tilted = alpha;"
    ),
    "the backward forgets the maximum": (
        "gat.cu", "pair[2] = {top, one_over_mass()}", "pair[2] = {0, one_over_mass()}"
    ),
    "the backward forgets the mass": (
        "gat.cu", "pair[2] = {top, one_over_mass()}", "pair[2] = {top, 1}"
    ),
    "a masked row is divided by nothing": (
        "gat.cu", "is_masked(logit) ? A(0) : weight / softmax.mass", "weight / softmax.mass"
    ),
    "a masked edge is multiplied by zero in the forward": (
        "gat.cu", "count && !is_masked(logit[u]))", "count)"
    ),
    "a masked edge is multiplied by zero in the backward": (
        "gat.cu", "count && !is_masked(fact[u].at[0] + own_score))", "count)"
    ),
    "plus infinity is taken for no edges": (
        "gat.cu", "return mass == 0 ? A(0) : 1 / mass;", "return mass > 0 ? 1 / mass : A(0);"
    ),
    "a barrier is missing": (
        "gat.cu", "    __syncthreads();\n    if (warp > 0", "    if (warp > 0"
    ),
    "a warp's chunks are merged twice": (
        "gat.cu", "for (int other = 1; other < MERGERS", "for (int other = 0; other < MERGERS"
    ),
    "the partial sums of two chunks share a slot": (
        "spmm.cu", "partial + (long long)piece.chunk * columns", "partial + 0 * columns"
    ),
    "the scale of a long row is forgotten": (
        "spmm.cu", "narrow<T>(scale_dst ? scale_dst[row] * sum : sum)", "narrow<T>(sum)"
    ),
    "every group of lanes writes its own sum": (
        "gadkit.cuh", "offset = lanes; offset < 32", "offset = lanes; offset < 16"
    ),
    "a pair's lanes are added up halfway": ("gadkit.cuh", "offset < lanes;", "offset < lanes / 2;"),
    "the last pairs are left out": (
        "sddmm.cu", "groups.count >= num_pairs)", "groups.count + 8 >= num_pairs)"
    ),
}  # fmt: skip
# In the order in which they are tried: the cheap ones that catch most come first.
CATCHERS = [
    "gat_aggregate, heads 4, dim 20, float32, DropEdge 0.0",
    "spmm, dim 20, float32, scaled",
    "edge_dot, dim 20, float32",
    "gat_aggregate, heads 1, dim 33, float32, DropEdge 0.85",
    "gat_aggregate, heads 1, dim 256, float32, DropEdge 0.0",
    "negative_slope 0.0",
    "spmm, dim 64, bfloat16",
    "lost rows",
    "masked rows, float32",
    "large logits, 1e+10, float32",
    "spoiled rows, float32",
]


@pytest.fixture(scope="module")
def needed():
    """needed[check][file]: the kernels that a check of CATCHERS asks for."""
    names = {check: {} for check in CATCHERS}
    for check in CATCHERS:

        def launch(file, name, *args, files=names[check]):
            files.setdefault(file, {})[name] = None
            host.launch(file, name, *args)

        with on_the_host(launch), poisoned_memory():
            CHECKS[check]("cpu")
    return {check: {f: list(n) for f, n in files.items()} for check, files in names.items()}


@pytest.fixture
def run_mistaken(needed, tmp_path):
    """run_mistaken(file, old, new): run CATCHERS on a copy of the sources with one change.

    Each compiles no more than the kernels that it asks for and that were not compiled before it.
    """

    def run(file: str, old: str, new: str) -> None:
        for source in _cuda.KERNELS.iterdir():
            (tmp_path / source.name).write_text(source.read_text())
        text = (_cuda.KERNELS / file).read_text()
        assert text.count(old) >= 1, f"{file} no longer has {old!r}"
        (tmp_path / file).write_text(text.replace(old, new, 1))
        modules = {}

        def launch(file, name, *args):
            if (file, name) not in modules:
                names = [n for n in needed[check][file] if (file, n) not in modules]
                module = host.HostModule(tmp_path / f"{file}.cu", names)
                modules.update({(file, n): module for n in names})
            modules[file, name].launch(name, *args)

        with on_the_host(launch):
            for check in CATCHERS:
                CHECKS[check]("cpu")

    return run


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistakes_are_caught(mistake, run_mistaken, monkeypatch):
    monkeypatch.setattr(host, "lane_seed", 2)  # in order, a missing barrier would not show
    with pytest.raises((AssertionError, RuntimeError)) as caught:
        run_mistaken(*MISTAKES[mistake])
    assert "does not compile" not in str(caught.value) and "no longer has" not in str(caught.value)


def test_no_mistake_no_alarm(run_mistaken):
    run_mistaken("gat.cu", "// Forward.", "// forward")


def test_arguments_by_value_have_the_size_that_kernels_expect():
    with pytest.raises(
        TypeError, match="argument 8 of edge_dot<float, 4> is a int64, the kernel wants i4"
    ):
        x = torch.ones(4, 4)
        none = torch.empty(0, dtype=torch.int64)
        host.launch("sddmm", "edge_dot<float, 4>", 1, 128, x, x, none, none, x[0],
                    *map(np.int64, (0, 4, 4)), np.int64(4), np.int32(1))  # fmt: skip
