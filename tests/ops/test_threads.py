"""Threads: what torch is told, and elementwise functions that do not show it."""

import pytest
import torch

from gadkit.ops.threads import evenly, num_threads, same_bits


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
