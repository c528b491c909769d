"""Vector registers in Numba: sums and products of every length, by NumPy."""

import numpy as np
import pytest
from numba import njit

from gadkit.ops._lanes import VECTOR, dot, sum_between

LENGTHS = (1, 2, 7, 15, 16, 17, 31, 33, 64, 100, 150)


@pytest.mark.parametrize("length", LENGTHS)
def test_dot_is_the_product_of_two_slices(length):
    @njit
    def product(x, y):
        return dot(length, x, 3, y, 5)

    x, y = np.arange(200.0), np.arange(200.0)[::-1].copy()
    assert product(x, y) == x[3 : 3 + length] @ y[5 : 5 + length]
    single = product(x.astype(np.float32), y.astype(np.float32))
    assert np.isclose(single, x[3 : 3 + length] @ y[5 : 5 + length], rtol=1e-6)


def test_sum_between_takes_what_lies_between():
    @njit
    def total(x, begin, end):
        return sum_between(x, begin, end)

    x = np.full(200, np.nan)
    for length in (0, *LENGTHS):
        x[:] = np.nan
        x[3 : 3 + length] = np.arange(1, length + 1)
        assert total(x, 3, 3 + length) == length * (length + 1) / 2
    assert len(x) >= 3 + max(LENGTHS) + VECTOR  # which is what may be read behind the end
