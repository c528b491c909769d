"""ELU of a mean: as plain torch defines it, on any number of threads, and for what is no number."""

import pytest
import torch

from gadkit.ops.activation import NUMBERS, mean_elu
from gadkit.ops.threads import same_bits

LARGE = NUMBERS // 3 + 7, 3  # more than a task


def defined(summands, addend=None):
    total = sum(summands) / len(summands)
    return torch.nn.functional.elu(total if addend is None else total + addend)


def leaves(randn, count, shape, dtype):
    return [randn(*shape, seed=seed).to(dtype).requires_grad_() for seed in range(count)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("with_addend", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (5, 7), LARGE])
def test_agrees_with_its_definition(randn, with_threads, dtype, with_addend, count, shape):
    inputs = leaves(randn, count + with_addend, shape, dtype)
    g = randn(*shape, seed=9).to(dtype)

    def step():
        with same_bits():
            out = mean_elu(inputs[:count], *inputs[count:])
            return out.detach(), *torch.autograd.grad(out, inputs, g)

    doubles = [x.detach().double().requires_grad_() for x in inputs]
    out = defined(doubles[:count], *doubles[count:])
    expected = out.detach(), *torch.autograd.grad(out, doubles, g.double())
    single, *others = (with_threads(threads, step) for threads in (1, 2, 3))
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 0.03}[dtype]
    for k, value in enumerate(expected):
        assert single[k].dtype == dtype
        torch.testing.assert_close(single[k].double(), value, rtol=tolerance, atol=tolerance)
        assert all(torch.equal(single[k], other[k]) for other in others)


def test_no_digits_are_lost_near_zero():
    x = -torch.logspace(-30, 1.9, 4001)[:, None]
    exact = torch.expm1(x.double())
    assert ((mean_elu([x]) - exact) / exact).abs().max() < 3e-7
    assert mean_elu([torch.tensor([[-200.0, -0.0]])]).tolist() == [[-1.0, 0.0]]


def test_what_is_not_finite_stays_where_it_is():
    x = torch.tensor([[torch.nan, torch.inf, -torch.inf, 2.0]]).requires_grad_()
    out = mean_elu([x])
    (gradient,) = torch.autograd.grad(out.sum(), x)
    for numbers, expected in ((out, [torch.inf, -1.0, 2.0]), (gradient, [1.0, 0.0, 1.0])):
        assert numbers[0, 0].isnan() and numbers[0, 1:].tolist() == expected


@pytest.mark.parametrize("shape", [(1, 1), (67, 1), (13, 7), LARGE])
def test_equal_numbers_get_equal_results(shape):
    x = torch.full(shape, -0.3713).requires_grad_()
    out = mean_elu([x, x])
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert len(out.unique()) == len(gradient.unique()) == 1


def test_columns_of_a_table_are_taken_as_they_lie(randn):
    table = randn(6, 10)
    summands = [table[:, :4], table[:, 4:8]]
    assert not summands[0].is_contiguous()
    torch.testing.assert_close(mean_elu(summands), defined(summands))
    torch.testing.assert_close(mean_elu([table.t()]), defined([table.t()]))


def test_has_second_derivatives_and_goes_through_torch_func(randn):
    inputs = leaves(randn, 3, (4, 3), torch.float64)
    assert torch.autograd.gradgradcheck(lambda a, b, c: mean_elu([a, b], c), inputs)
    x, y = (value.detach() for value in inputs[:2])
    gradient = torch.func.grad(lambda x: mean_elu([x], y).square().sum())(x)
    expected = torch.func.grad(lambda x: defined([x], y).square().sum())(x)
    torch.testing.assert_close(gradient, expected)
