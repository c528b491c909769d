"""spmm: by hand, then a dense matrix, then plain torch, then the kernel; each against the one
before."""

import pytest
import torch
from torch.library import opcheck

from gadkit.graph import CHUNK, CSR
from gadkit.ops import _cpu, spmm, spmm_reference
from gadkit.ops._arguments import pack
from gadkit.ops.matmul import _spmm

DIMS = (1, 20, 33, 128, 300)  # below a vector, whole and broken vectors, two overlapping tiles
BOTH = [spmm_reference, spmm]


def three_nodes() -> CSR:
    """0 -> 1, 0 -> 2, 1 -> 2."""
    return CSR.from_edges(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), num_src=3, num_dst=3)


def scales(csr: CSR, which: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Positive numbers, different for every node, for the ends that `which` names."""
    sizes = {"dst": csr.num_dst, "src": csr.num_src}
    return {
        f"scale_{end}": torch.linspace(0.5, 1.5, sizes[end], dtype=dtype) for end in which.split()
    }


@pytest.mark.parametrize("multiply", BOTH)
def test_by_hand(multiply):
    x = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]], requires_grad=True)
    out = multiply(three_nodes(), x)
    assert out.tolist() == [[0, 0], [1, 10], [3, 30]]
    out.backward(torch.tensor([[100.0, 0.0], [1.0, 2.0], [10.0, 20.0]]))
    assert x.grad.tolist() == [[11, 22], [10, 20], [0, 0]]


@pytest.mark.parametrize("multiply", BOTH)
def test_scales_by_hand(multiply):
    x = torch.tensor([[1.0], [2.0], [4.0]], requires_grad=True)
    scale_dst, scale_src = torch.tensor([7.0, 3.0, 0.5]), torch.tensor([2.0, 5.0, 9.0])
    out = multiply(three_nodes(), x, scale_dst=scale_dst, scale_src=scale_src)
    assert out.tolist() == [[0], [6], [6]]  # 3 * 2 * 1, and (2 * 1 + 5 * 2) / 2
    out.sum().backward()
    assert x.grad.tolist() == [[7], [2.5], [0]]  # 2 * (3 + 0.5), 5 * 0.5


@pytest.mark.parametrize("multiply", BOTH)
def test_the_mean_of_no_neighbors_is_zero(multiply):
    """1 / degree is infinite for node 0, which no edge reaches, and for source 2 turned round."""
    csr, x = three_nodes(), torch.ones(3, 2, requires_grad=True)
    out = multiply(csr, x, scale_dst=1 / csr.degrees().float())
    assert out.tolist() == [[0, 0], [1, 1], [1, 1]]
    out = multiply(csr, x, scale_src=1 / csr.transpose().degrees().float())
    assert out.tolist() == [[0, 0], [0.5, 0.5], [1.5, 1.5]]


@pytest.mark.parametrize("multiply", BOTH)
@pytest.mark.parametrize("which", ["", "dst", "src", "dst src"])
def test_is_the_dense_product(multiply, which, mixed, counts, randn, close):
    x = randn(mixed.num_src, 20, dtype=torch.float64).requires_grad_()
    g = randn(mixed.num_dst, 20, dtype=torch.float64, seed=1)
    given = scales(mixed, which, torch.float64)
    matrix = counts(mixed) * given.get("scale_src", torch.ones(1, dtype=torch.float64))
    matrix = matrix * given.get("scale_dst", torch.ones(1, dtype=torch.float64))[:, None]
    out = multiply(mixed, x, **given)
    close(out, matrix @ x)
    out.backward(g)
    close(x.grad, matrix.T @ g)


@pytest.mark.parametrize("which", ["", "dst src"])
@pytest.mark.parametrize("dim", DIMS)
def test_kernel_agrees_in_float32(dim, which, mixed, randn, close):
    x = randn(mixed.num_src, dim).requires_grad_()
    wide = x.detach().double().requires_grad_()
    g = randn(mixed.num_dst, dim, seed=1)
    out = spmm(mixed, x, **scales(mixed, which))
    expected = spmm_reference(mixed, wide, **scales(mixed, which, torch.float64))
    per_edge = 1 / mixed.degrees().clamp(min=1)[:, None]  # roundings grow with the length of a sum
    close(out * per_edge, expected * per_edge)
    out.backward(g)
    expected.backward(g.double())
    per_edge = 1 / mixed.transpose().degrees().clamp(min=1)[:, None]
    close(x.grad * per_edge, wide.grad * per_edge)


def test_several_tasks_agree(large, randn, close):
    assert len(large.plan.task_ptr) > 3
    x = randn(large.num_src, 20)
    per_edge = 1 / large.degrees().clamp(min=1)[:, None]
    close(spmm(large, x) * per_edge, spmm_reference(large, x.double()) * per_edge)


def test_order_of_edges_does_not_matter(mixed, shuffled, randn, close):
    x = randn(mixed.num_src, 20, dtype=torch.float64)
    other = shuffled(mixed)
    assert not torch.equal(other.indices, mixed.indices)
    close(spmm(other, x), spmm(mixed, x))


def test_a_long_row_is_summed_like_many_short_ones(randn):
    """A row of k chunks is, bit for bit, the sum in order of k rows of a chunk each."""
    num_edges = 2 * CHUNK + 5
    src = torch.randint(50, (num_edges,), generator=torch.Generator().manual_seed(0))
    x = randn(50, 20)
    whole = spmm(CSR(torch.tensor([0, num_edges]), src.int(), 50), x)
    cuts = torch.tensor([0, CHUNK, 2 * CHUNK, num_edges])
    a, b, c = spmm(CSR(cuts, src.int(), 50), x)
    assert torch.equal(whole[0], (a + b) + c)


def test_empty_graphs(empties):
    for csr in empties:
        x = torch.ones(csr.num_src, 20, requires_grad=True)
        out = spmm(csr, x)
        assert out.tolist() == [[0.0] * 20] * csr.num_dst
        out.sum().backward()
        assert x.grad.tolist() == [[0.0] * 20] * csr.num_src


def test_bits_do_not_depend_on_the_threads(mixed, large, randn, with_threads):
    for csr in (mixed, large):
        x = randn(csr.num_src, 20)
        one, two, again = (with_threads(n, lambda c=csr, x=x: spmm(c, x)) for n in (1, 2, 2))
        assert torch.equal(one, two)
        assert torch.equal(two, again)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", DIMS)
def test_halves_are_summed_in_float32(dim, dtype, mixed, randn):
    """Read as they are stored, and rounded once, as torch rounds."""
    x, scale = randn(mixed.num_src, dim).to(dtype), {"scale_src": randn(mixed.num_src, seed=1)}
    assert torch.equal(spmm(mixed, x, **scale), spmm(mixed, x.float(), **scale).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_comes_back_as_it_was(dtype):
    """All 65,536 of them, infinite and subnormal ones too; NaN stays NaN."""
    x = torch.arange(-(1 << 15), 1 << 15).short().view(dtype).view(-1, 32)
    nodes = torch.arange(len(x))
    out = spmm(CSR.from_edges(nodes, nodes, num_src=len(x), num_dst=len(x)), x)
    assert torch.equal(out.isnan(), x.isnan())
    assert torch.equal(out.nan_to_num(0), x.nan_to_num(0) + 0)  # -0 is added to 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_rounded_as_torch_rounds(dtype):
    """Halfway between two halves, a bit beside it, and too large for one."""
    ties = torch.tensor([1.0, 1.5, 1e-5, 1e-39, 3e38, 65_519.0, 65_520.0, -7.0])
    around = torch.stack([ties, ties.nextafter(ties * 2), ties.nextafter(ties / 2)]).view(-1, 1)
    factor = 1 + torch.finfo(dtype).eps / 2 * torch.arange(1, 8)
    ones = torch.ones(len(around), len(factor), dtype=dtype)
    nodes = torch.arange(len(around))
    csr = CSR.from_edges(nodes, nodes, num_src=len(around), num_dst=len(around))
    for column in factor:
        scale = around[:, 0] * column
        expected = scale[:, None].expand_as(ones).to(dtype)
        assert torch.equal(spmm(csr, ones, scale_dst=scale), expected)


@pytest.mark.parametrize("best", _cpu.AHEADS)
def test_bits_do_not_depend_on_the_prefetch(best, mixed, randn, monkeypatch):
    x = randn(mixed.num_src, 33)
    expected = spmm(mixed, x)
    monkeypatch.setattr(_cpu, "CACHED", 0)
    monkeypatch.setattr(_cpu, "_best_ahead", dict.fromkeys(range(64), best))
    assert torch.equal(spmm(mixed, x), expected)


def test_the_prefetch_is_measured_on_a_large_table(monkeypatch, randn):
    monkeypatch.setattr(_cpu, "_best_ahead", {})
    small = randn(300, 7)
    assert _cpu.ahead(small) == _cpu.AHEAD and not _cpu._best_ahead
    monkeypatch.setattr(_cpu, "CACHED", 1_000)
    assert _cpu.ahead(small) in _cpu.AHEADS
    assert _cpu.ahead(small.bfloat16()) in _cpu.AHEADS  # half as large
    assert _cpu._best_ahead.keys() == {small.nbytes.bit_length(), small.nbytes.bit_length() - 1}
    assert _cpu.ahead(small) == _cpu._best_ahead[small.nbytes.bit_length()]


@pytest.mark.parametrize("threads", [1, 3])
def test_every_task_runs_once(threads, with_threads):
    """All numbers of tasks around those of blocks and threads."""
    for num_tasks in (0, 1, 2, 3, 8, 9, 23, 24, 25, 100):
        begins = torch.zeros(num_tasks, dtype=torch.int64)

        def kernel(first, last, ran):
            ran[first:last] += 1

        with_threads(threads, lambda k=kernel, n=num_tasks, b=begins: _cpu.run(k, n, b))
        assert begins.tolist() == [1] * num_tasks


def test_an_error_in_a_thread_reaches_the_caller(with_threads):
    def kernel(first, last):
        raise RuntimeError(f"tasks from {first}")

    with pytest.raises(RuntimeError, match="tasks from 0"):
        with_threads(2, lambda: _cpu.run(kernel, 10))


@pytest.mark.parametrize("dim", [1, 255, 256, 257, 300, 512, 513, 1_000])
def test_tiles_cover_every_column(dim):
    width, count = _cpu.tiles(dim)
    assert width <= _cpu.REGISTERS
    starts = [min(tile * width, dim - width) for tile in range(count)]
    assert {s + i for s in starts for i in range(width)} == set(range(dim))


def test_a_forked_child_computes_too(large, randn, with_threads, in_child):
    """The threads of the parent do not exist in the child; waiting for them would hang."""
    x = randn(large.num_src, 20)
    expected = with_threads(2, lambda: spmm(large, x))

    def compute():
        # Compared by NumPy: torch's own threads (OpenMP) hang here, with or without gadkit.
        assert (spmm(large, x).numpy() == expected.numpy()).all()

    in_child(compute, threads=2)


def test_touches_no_memory_behind_its_inputs(mixed, fenced, randn, in_child):
    csr = CSR(mixed.indptr, fenced(mixed.indices), mixed.num_src)  # the plan keeps its own copies
    for dim in (33, 300):
        x, given = fenced(randn(mixed.num_src, dim)), scales(mixed, "dst src")
        given = {name: fenced(scale) for name, scale in given.items()}
        in_child(lambda x=x, given=given: spmm(csr, x, **given))


def test_gradcheck(mixed, randn):
    x = randn(mixed.num_src, 1, dtype=torch.float64).requires_grad_()
    given = scales(mixed, "dst src", torch.float64)
    assert torch.autograd.gradcheck(lambda x: spmm(mixed, x, **given), x)
    few = x[:3].detach().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: spmm(three_nodes(), x) ** 2, few)


def test_opcheck(mixed, randn):
    x = randn(mixed.num_src, 20).requires_grad_()
    csr, csr_t = pack(mixed), pack(mixed.transpose())
    opcheck(_spmm, (csr, csr_t, x, *scales(mixed, "dst src").values()))
    opcheck(_spmm, (csr, [], x.detach(), None, None))


@pytest.mark.parametrize(
    "x, error, message",
    [
        (torch.ones(3, 2, dtype=torch.int64), TypeError, "x must be float32, float64, float16 or"),
        (torch.ones(4, 2), ValueError, r"x must have shape \(3, any\), got \(4, 2\)"),
        (torch.ones(3), ValueError, r"x must have shape \(3, any\), got \(3,\)"),
        (torch.ones(3, 0), ValueError, r"x has no columns: shape \(3, 0\)"),
        (torch.ones(2, 3).T, ValueError, r"x is not contiguous \(strides \(1, 3\)\)"),
        (torch.ones(3, 2, device="meta"), ValueError, "x is on meta"),
    ],
)
def test_wrong_features(x, error, message):
    with pytest.raises(error, match=message):
        spmm(three_nodes(), x)


@pytest.mark.parametrize("name", ["scale_src", "scale_dst"])
def test_wrong_scales(name):
    x = torch.ones(3, 2)
    for scale, error, message in [
        (torch.ones(3, dtype=torch.float64), TypeError, f"{name} is torch.float64"),
        (torch.ones(2), ValueError, rf"{name} must have shape \(3\), got \(2,\)"),
        (torch.ones(6)[::2], ValueError, f"{name} is not contiguous"),
        (torch.ones(3, device="meta"), ValueError, f"{name} is on meta"),
        (torch.ones(3, requires_grad=True), ValueError, f"{name} requires a gradient"),
    ]:
        with pytest.raises(error, match=message):
            spmm(three_nodes(), x, **{name: scale})
