"""Products of dense matrices: right, and the same bits on any number of threads."""

import pytest
import torch

from gadkit.ops import products as blocks
from gadkit.ops.products import product, products, stacked_products
from gadkit.ops.threads import same_bits


@pytest.mark.parametrize("num_rows", [1, 7, 8, 9, 16, 21])
def test_products_in_blocks(randn, close, with_threads, monkeypatch, num_rows):
    monkeypatch.setattr(blocks, "ROWS", 8)
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
    monkeypatch.setattr(blocks, "ROWS", 8)
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


@pytest.mark.parametrize("columns", [1, 2, 6, 15, 16, 17, 130])
def test_equal_rows_have_equal_products_wherever_they_lie(randn, columns):
    row, weight = randn(1, 128), randn(128, columns, seed=1)
    with same_bits():
        outs = [product(row.repeat(count, 1), weight) for count in (1, 67, 4096 + 131)]
    assert all(torch.equal(out, outs[0].expand_as(out)) for out in outs)


def test_products_of_several_matrices_one_under_the_other(randn, close, with_threads, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 8)
    xs = [randn(rows, dim, seed=rows) for rows, dim in ((9, 5), (0, 3), (42, 4))]
    weights = [randn(x.shape[1], 20, seed=k) for k, x in enumerate(xs)]
    g = randn(51, 20, seed=9)

    def step():
        leaves = [leaf.clone().requires_grad_() for leaf in (*xs, *weights)]
        with same_bits():
            out = stacked_products(leaves[:3], leaves[3:])
            return out.detach(), *torch.autograd.grad(out, leaves, g)

    def plain():
        leaves = [leaf.double().requires_grad_() for leaf in (*xs, *weights)]
        out = stacked_products(leaves[:3], leaves[3:])
        return out.detach(), *torch.autograd.grad(out, leaves, g.double())

    single, double, expected = with_threads(1, step), with_threads(2, step), plain()
    for ours, again, value in zip(single, double, expected, strict=True):
        close(ours, value)
        assert torch.equal(ours, again)
    with same_bits():
        first = leaves = [leaf.double().requires_grad_() for leaf in (xs[0][:3], weights[0][:, :2])]
        assert torch.autograd.gradgradcheck(lambda x, w: stacked_products([x], [w]), first)
        assert torch.autograd.grad(stacked_products(*([leaf] for leaf in leaves)).sum(), leaves[1:])


@pytest.mark.parametrize("asked", [[], [3], [0, 2, 8, 9, 17, 20]])
@pytest.mark.parametrize("others", [0, 1])
def test_products_of_some_rows(randn, close, with_threads, monkeypatch, asked, others):
    monkeypatch.setattr(blocks, "ROWS", 4)
    rows = [torch.tensor(asked, dtype=torch.int64), *[None] * others]
    x, weights = randn(21, 5), [randn(5, 3, seed=k) for k in range(1 + others)]
    grads = [randn(len(asked), 3, seed=8), randn(21, 3, seed=9)][: 1 + others]

    def step(kind=torch.Tensor.float):
        leaves = [kind(leaf).clone().requires_grad_() for leaf in (x, *weights)]
        outs = products(leaves[0], leaves[1:], rows=rows)
        gradients = torch.autograd.grad(outs, leaves, [kind(g) for g in grads])
        return *(out.detach() for out in outs), *gradients

    single, double = (with_threads(count, same_bits()(step)) for count in (1, 2))
    for ours, again, expected in zip(single, double, step(torch.Tensor.double), strict=True):
        close(ours, expected)
        assert torch.equal(ours, again)
    with same_bits():
        leaves = [leaf.double().requires_grad_() for leaf in (x, weights[0])]
        assert torch.autograd.gradgradcheck(lambda x, w: product(x, w, rows=rows[0]), leaves)


def test_products_have_second_derivatives_and_go_through_torch_func(randn, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 4)
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
