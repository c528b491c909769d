"""Threads: what torch is told, and products and elementwise functions that do not show it."""

import pytest
import torch

from gadkit.ops import threads
from gadkit.ops.threads import evenly, num_threads, product, products, same_bits


def test_torch_keeps_to_one_thread_and_the_kernels_to_what_it_was_told(with_threads):
    def inside():
        with same_bits():
            with same_bits():
                counts = torch.get_num_threads(), num_threads()
            return *counts, torch.get_num_threads()

    assert with_threads(3, inside) == (1, 3, 1)
    assert torch.get_num_threads() == num_threads() == 3


def test_an_error_leaves_the_threads_as_they_were(with_threads):
    @same_bits()
    def fail():
        raise KeyError("it fails")

    with pytest.raises(KeyError):
        with_threads(2, fail)
    assert torch.get_num_threads() == num_threads() == 2


@pytest.mark.parametrize("num_rows", [1, 7, 8, 9, 16, 21])
def test_products_in_blocks(randn, close, with_threads, monkeypatch, num_rows):
    monkeypatch.setattr(threads, "ROWS", 8)
    x, weight, g = randn(num_rows, 5), randn(5, 3, seed=1), randn(num_rows, 3, seed=2)

    def step():
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        with same_bits():
            out = product(*leaves)
            return out.detach(), *torch.autograd.grad(out, leaves, g)

    expected = x.double() @ weight.double(), g.double() @ weight.double().t()
    expected = *expected, x.double().t() @ g.double()
    rows = torch.stack([x[0]] * num_rows)
    with same_bits():
        assert len(product(rows, weight[:, :1].contiguous()).unique()) == 1
    single, double, triple = (with_threads(count, step) for count in (1, 2, 3))
    for k, value in enumerate(expected):
        close(single[k], value)
        assert torch.equal(single[k], double[k]) and torch.equal(single[k], triple[k])


@pytest.mark.parametrize("num_rows", [0, 5, 21])
def test_several_products_of_the_same_rows(randn, close, with_threads, monkeypatch, num_rows):
    monkeypatch.setattr(threads, "ROWS", 8)
    x, weights = randn(num_rows, 5), [randn(5, columns, seed=columns) for columns in (3, 1, 4)]
    grads = [randn(num_rows, columns, seed=-columns) for columns in (3, 1, 4)]

    def step():
        leaves = [leaf.clone().requires_grad_() for leaf in (x, *weights)]
        with same_bits():
            outs = products(leaves[0], leaves[1:])
            return *(out.detach() for out in outs), *torch.autograd.grad(outs, leaves, grads)

    doubles = [weight.double() for weight in weights]
    expected = [x.double() @ weight for weight in doubles]
    back = [g.double() @ weight.t() for g, weight in zip(grads, doubles, strict=True)]
    expected += [sum(back), *(x.double().t() @ g.double() for g in grads)]
    single, double, triple = (with_threads(count, step) for count in (1, 2, 3))
    for k, value in enumerate(expected):
        close(single[k], value)
        assert torch.equal(single[k], double[k]) and torch.equal(single[k], triple[k])
    leaves = [leaf.clone().requires_grad_() for leaf in (x, *weights)]
    with same_bits():  # of one of them alone, and without that of x
        outs = products(leaves[0].detach(), leaves[1:])
        close(*torch.autograd.grad(outs[2], leaves[3:], grads[2]), expected[-1])
    assert list(products(x, [])) == []


def test_products_have_second_derivatives_and_go_through_torch_func(randn, monkeypatch):
    monkeypatch.setattr(threads, "ROWS", 4)
    x, weight = randn(9, 3, dtype=torch.float64), randn(3, 2, dtype=torch.float64, seed=1)
    with same_bits():
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
        assert torch.autograd.gradgradcheck(product, leaves)
        gradient = torch.func.grad(lambda w: product(x, w).square().sum())(weight)
        torch.testing.assert_close(gradient, 2 * x.t() @ (x @ weight))


def test_large_products_and_losses_have_the_same_bits_on_every_number(randn, with_threads):
    """A product over 36,000 rows and the sum of a loss, where torch's own follow the number."""
    x, weight, bias = randn(36_000, 40), randn(40, 16, seed=1), randn(1, seed=2)

    def step(times):
        leaves = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        loss = torch.nn.functional.elu(times(x, leaves[0]) + leaves[1]).sigmoid().mean()
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    plain = [with_threads(count, lambda: step(torch.mm)) for count in (1, 2, 3)]
    assert any(not torch.equal(*pair) for pair in zip(plain[0], plain[1], strict=True))
    kept = [with_threads(count, lambda: same_bits()(step)(product)) for count in (1, 2, 3)]
    for other in kept[1:]:
        assert all(torch.equal(*pair) for pair in zip(kept[0], other, strict=True))


@pytest.mark.parametrize("function", [torch.nn.functional.elu, torch.sigmoid])
@pytest.mark.parametrize("shape", [(1,), (67,), (13, 7), (0, 4)])
def test_equal_numbers_get_equal_results(function, shape):
    x = torch.full(shape, -0.3713).requires_grad_()
    out = evenly(function, x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert out.shape == shape
    torch.testing.assert_close(out, function(x))
    for values in (out, gradient):
        assert len(values.unique()) <= 1
