"""edge_dot: by hand, then a dense product, then plain torch, then the kernel; each against the one
before."""

import pytest
import torch
from torch.library import opcheck

from gadkit.ops import _cpu, edge_dot, edge_dot_reference
from gadkit.ops.sddmm import PAIRS, _edge_dot, _edge_dot_backward

DIMS = (1, 20, 33, 128, 300)  # below and above the columns of a task of the backward
BOTH = [edge_dot_reference, edge_dot]
NUM_PAIRS = 2 * PAIRS + 5  # three tasks, the last a short one


@pytest.fixture(scope="module")
def pairs():
    """Many pairs of few nodes, so that most are repeated and node 0 has none."""
    generator = torch.Generator().manual_seed(0)
    src = torch.randint(1, 50, (NUM_PAIRS,), generator=generator)
    dst = torch.randint(1, 70, (NUM_PAIRS,), generator=generator)
    return src, dst


@pytest.mark.parametrize("dot", BOTH)
def test_by_hand(dot):
    z_src = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    z_dst = torch.tensor([[10.0, 0.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True)
    out = dot(z_src, z_dst, torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 2, 2]))
    assert out.tolist() == [10, 30, 7, 7]
    out.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert z_src.grad.tolist() == [[10, 0], [27, 7]]
    assert z_dst.grad.tolist() == [[7, 10], [0, 0], [21, 28]]


@pytest.mark.parametrize("dot", BOTH)
def test_is_the_dense_product(dot, pairs, randn, close):
    src, dst = pairs
    z_src = randn(50, 20, dtype=torch.float64).requires_grad_()
    z_dst = randn(70, 20, dtype=torch.float64, seed=1).requires_grad_()
    g = randn(NUM_PAIRS, dtype=torch.float64, seed=2)
    out = dot(z_src, z_dst, src, dst)
    close(out, (z_src @ z_dst.T)[src, dst])
    matrix = torch.zeros(50, 70, dtype=torch.float64).index_put((src, dst), g, accumulate=True)
    d_src, d_dst = torch.autograd.grad(out, (z_src, z_dst), g)
    close(d_src, matrix @ z_dst)
    close(d_dst, matrix.T @ z_src)


@pytest.mark.parametrize("num_rows", [1, 50, _cpu.BUCKETS, _cpu.BUCKETS + 1, 5 * _cpu.BUCKETS])
def test_pairs_are_put_into_rows_in_their_order(num_rows):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(num_rows, (3_000,), generator=generator)
    columns, weight = torch.arange(3_000), torch.rand(3_000, generator=generator)
    indptr, indices, weights = _cpu.rows_of_pairs(
        rows.numpy(), columns.numpy(), weight.numpy(), num_rows
    )
    order = torch.sort(rows, stable=True).indices
    assert indptr.tolist() == [0, *rows.bincount(minlength=num_rows).cumsum(0).tolist()]
    assert indices.tolist() == columns[order].tolist()
    assert weights.tolist() == weight[order].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(dtype, pairs, randn):
    z_src, z_dst = randn(50, 33).to(dtype), randn(70, 33, seed=1).to(dtype)
    g = randn(NUM_PAIRS, seed=2).to(dtype)
    narrow = [z.clone().requires_grad_() for z in (z_src, z_dst)]
    wide = [z.float().requires_grad_() for z in (z_src, z_dst)]
    out, expected = edge_dot(*narrow, *pairs), edge_dot(*wide, *pairs)
    assert torch.equal(out, expected.to(dtype))
    gradients = torch.autograd.grad(out, narrow, g)
    for d, e in zip(gradients, torch.autograd.grad(expected, wide, g.float()), strict=True):
        assert torch.equal(d, e.to(dtype))


@pytest.mark.parametrize("dim", DIMS)
def test_kernel_agrees_in_float32(dim, pairs, randn, close):
    narrow = [randn(50, dim).requires_grad_(), randn(70, dim, seed=1).requires_grad_()]
    wide = [z.detach().double().requires_grad_() for z in narrow]
    g = randn(NUM_PAIRS, seed=2)
    out, expected = edge_dot(*narrow, *pairs), edge_dot_reference(*wide, *pairs)
    close(out / dim**0.5, expected / dim**0.5)
    gradients = torch.autograd.grad(out, narrow, g)
    for d, e in zip(gradients, torch.autograd.grad(expected, wide, g.double()), strict=True):
        close(d / 100, e / 100)  # 160 pairs a node


def test_one_matrix_for_both_ends(pairs, randn, close):
    """The decoder of a graph: its gradient is that of both ends together."""
    z = randn(70, 20, dtype=torch.float64).requires_grad_()
    out, expected = edge_dot(z, z, *pairs), edge_dot_reference(z, z, *pairs)
    close(out, expected)
    close(*[torch.autograd.grad(x.sigmoid().sum(), z)[0] for x in (out, expected)])


def test_no_pairs_and_no_nodes():
    none = torch.empty(0, dtype=torch.int64)
    for sizes in ((3, 2), (0, 0)):
        z_src, z_dst = (torch.ones(size, 20, requires_grad=True) for size in sizes)
        out = edge_dot(z_src, z_dst, none, none)
        assert out.shape == (0,)
        out.sum().backward()
        assert z_src.grad.shape == z_src.shape and not z_src.grad.any()
        assert z_dst.grad.shape == z_dst.shape and not z_dst.grad.any()


def test_order_of_pairs_does_not_matter(pairs, randn, close):
    z_src, z_dst = randn(50, 20).requires_grad_(), randn(70, 20).requires_grad_()
    order = torch.randperm(NUM_PAIRS, generator=torch.Generator().manual_seed(0))
    out = edge_dot(z_src, z_dst, *pairs)
    other = edge_dot(z_src, z_dst, *[ids[order] for ids in pairs])
    assert torch.equal(other, out[order])
    first, second = (torch.autograd.grad(x.sum(), z_src)[0] for x in (out, other))
    close(first / 100, second.double() / 100)


def test_strided_ids_are_taken(pairs, randn):
    """A (num_pairs, 2) array of pairs is unbound into columns that are not contiguous."""
    z_src, z_dst = randn(50, 20).requires_grad_(), randn(70, 20)
    src, dst = torch.stack(pairs, 1).unbind(1)
    assert not src.is_contiguous()
    out, expected = edge_dot(z_src, z_dst, src, dst), edge_dot(z_src, z_dst, *pairs)
    assert torch.equal(out, expected)
    assert torch.equal(*[torch.autograd.grad(x.sum(), z_src)[0] for x in (out, expected)])


def test_bits_do_not_depend_on_the_threads(pairs, randn, with_threads):
    z_src, z_dst = randn(50, 128).requires_grad_(), randn(70, 128).requires_grad_()

    def step():
        out = edge_dot(z_src, z_dst, *pairs)
        return [out, *torch.autograd.grad(out.sigmoid().sum(), (z_src, z_dst))]

    one, two, again = (with_threads(threads, step) for threads in (1, 2, 2))
    for a, b, c in zip(one, two, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(b, c)


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_gradient_for_one_end_only(wanted, pairs, randn):
    both = [randn(50, 20).requires_grad_(), randn(70, 20).requires_grad_()]
    every = torch.autograd.grad(edge_dot(*both, *pairs).sum(), both)
    one = [z.detach().requires_grad_(i == wanted) for i, z in enumerate(both)]
    (gradient,) = torch.autograd.grad(edge_dot(*one, *pairs).sum(), one[wanted])
    assert torch.equal(gradient, every[wanted])


def test_touches_no_memory_behind_its_inputs(pairs, fenced, randn, in_child):
    ids = [fenced(side) for side in pairs]
    for dim in (33, 300):
        z_src, z_dst = (fenced(randn(size, dim)).requires_grad_() for size in (50, 70))
        g = fenced(randn(NUM_PAIRS))

        def step(z_src=z_src, z_dst=z_dst, g=g):
            torch.autograd.grad(edge_dot(z_src, z_dst, *ids), (z_src, z_dst), g)

        in_child(step)


def test_gradcheck(pairs, randn):
    z_src, z_dst = (randn(size, 3, dtype=torch.float64).requires_grad_() for size in (50, 70))
    few = [ids[:200] for ids in pairs]
    assert torch.autograd.gradcheck(lambda *z: edge_dot(*z, *few), (z_src, z_dst))


def test_opcheck(pairs, randn):
    z_src, z_dst = randn(50, 20).requires_grad_(), randn(70, 20).requires_grad_()
    src, dst = pairs
    opcheck(_edge_dot, (z_src, z_dst, src, dst))
    opcheck(_edge_dot_backward, (randn(NUM_PAIRS), z_dst.detach(), src, dst, 50))


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (
            {"z_src": torch.ones(3, 2).int()},
            TypeError,
            "z_src must be float32, float64, float16 or",
        ),
        ({"z_src": torch.ones(3, 2).half()}, TypeError, "z_dst is torch.float32, but z_src is"),
        ({"z_src": torch.ones(3)}, ValueError, r"z_src must have shape \(any, any\), got \(3,\)"),
        ({"z_src": torch.ones(3, 0)}, ValueError, "shape"),
        ({"z_src": torch.ones(2, 3).T}, ValueError, "z_src is not contiguous"),
        ({"z_src": torch.ones(3, 2, device="meta")}, ValueError, "z_src is on meta"),
        ({"z_dst": torch.ones(4, 2).double()}, TypeError, "z_dst is torch.float64"),
        ({"z_dst": torch.ones(4, 3)}, ValueError, r"z_dst must have shape \(any, 2\), got"),
        ({"z_dst": torch.ones(2, 4).T}, ValueError, "z_dst is not contiguous"),
        ({"z_dst": torch.ones(4, 2, device="meta")}, ValueError, "z_dst is on meta"),
        ({"src": torch.tensor([0, 3])}, ValueError, r"src\[1\] is 3, outside \[0, 3\)"),
        ({"src": torch.tensor([-1, 0])}, ValueError, r"src\[0\] is -1, outside \[0, 3\)"),
        ({"dst": torch.tensor([0, 4])}, ValueError, r"dst\[1\] is 4, outside \[0, 4\)"),
        ({"src": torch.tensor([0, 1, 2])}, ValueError, "src and dst must be 1-D of equal length"),
        ({"src": torch.zeros(2, 1)}, ValueError, "src and dst must be 1-D of equal length"),
        ({"src": torch.zeros(2)}, TypeError, "src must be int64, not torch.float32"),
        ({"dst": torch.zeros(2).int()}, TypeError, "dst must be int64, not torch.int32"),
        ({"src": torch.zeros(2, device="meta").long()}, ValueError, "src is on meta"),
    ],
)
def test_wrong_input(wrong, error, message):
    good = {"z_src": torch.ones(3, 2), "z_dst": torch.ones(4, 2)}
    good |= {name: torch.tensor([0, 1]) for name in ("src", "dst")}
    with pytest.raises(error, match=message):
        edge_dot(**good | wrong)
