"""Scaling of features and band-pass filters, by hand and from the formulas."""

import pytest
import torch
from dense import BUYS, FOLLOWS, SELLS, dense_network, graph_of

from gadkit.network.layers import (
    KNOTS,
    MAX_DEVIATIONS,
    QuantileNormal,
    Standardize,
    beta_wavelets,
)


def test_standardized_features(randn):
    x = randn(500, 4) * torch.tensor([1.0, 1e-3, 1e4, 0]) + torch.tensor([0.0, 5, -1e5, 7])
    x[3, 0] = 1e6  # an outlier
    scale = Standardize(4).fit(x)
    out = scale(x)
    torch.testing.assert_close(out[:, 1:3].mean(0), torch.zeros(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(out[:, 1:3].std(0), torch.ones(2), rtol=0, atol=0.02)
    assert out[3, 0] == MAX_DEVIATIONS
    assert not out[:, 3].any()  # a constant tells nothing
    assert torch.equal(scale(x[:10]), out[:10])  # the statistics are those of the fit


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_features_of_any_dtype_become_that_of_the_weights(randn, dtype):
    x = (10 * randn(50, 3)).to(dtype)
    out = Standardize(3).fit(x)(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, Standardize(3).fit(x.float())(x.float()))


def test_quantile_normal_is_the_middle_rank_as_a_normal_score(randn):
    x = torch.stack([randn(512).exp(), torch.arange(512) // 128 * 1.0, torch.full((512,), 7.0)], 1)
    scale = QuantileNormal(3).fit(x)
    out = scale(x)
    rank = x[:, 0].argsort().argsort()
    torch.testing.assert_close(out[:, 0], torch.special.ndtri((rank + 0.5) / 512))
    middle = torch.tensor([64, 192, 320, 448]) / 512  # of four groups of equal values
    torch.testing.assert_close(out[::128, 1], torch.special.ndtri(middle))
    assert not out[:, 2].any()  # a constant tells nothing
    low, high = scale(x.min(0).values[None] - 1), scale(x.max(0).values[None] + 1)
    torch.testing.assert_close(low[0, 0], out[:, 0].min())
    torch.testing.assert_close(high[0, 0], out[:, 0].max())
    assert torch.equal(scale(x[:10]), out[:10])  # the ranks are those of the fit


def test_quantile_normal_between_its_quantiles():
    scale = QuantileNormal(1).fit(torch.arange(KNOTS)[:, None] * 2)
    between = scale(torch.tensor([[100.0], [101.0], [101.5]])).flatten()
    expected = torch.special.ndtri((torch.tensor([50, 50.5, 50.75]) + 0.5) / KNOTS)
    torch.testing.assert_close(between, expected)
    few = QuantileNormal(1).fit(torch.tensor([[3.0], [1.0], [2.0]]))(
        torch.tensor([[1.0], [2], [3]])
    )
    torch.testing.assert_close(few[0], -few[2])
    assert few[1].abs() < 0.01 and few[2] > 0.9


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_quantiles_of_any_dtype(randn, dtype):
    x = (10 * randn(50, 3)).to(dtype)
    out = QuantileNormal(3).fit(x)(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, QuantileNormal(3).fit(x.float())(x.float()))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_beta_wavelets_are_polynomials_of_the_laplacian(randn, order):
    graph = graph_of(BUYS, SELLS, FOLLOWS)
    adjacency = dense_network(graph)
    scale = torch.diag(adjacency.sum(1) ** -0.5)
    half = (torch.eye(graph.total, dtype=torch.float64) - scale @ adjacency @ scale) / 2
    x = randn(graph.total, 3, dtype=torch.float64)
    bands = beta_wavelets(graph.homogeneous, x, order)
    assert len(bands) == order + 1
    for p, band in enumerate(bands):
        q = order - p
        beta = torch.tensor([p + 1.0, q + 1.0], dtype=torch.float64).lgamma().sum()
        beta = (beta - torch.tensor(order + 2.0, dtype=torch.float64).lgamma()).exp()
        rest = torch.eye(graph.total, dtype=torch.float64) - half
        matrix = torch.linalg.matrix_power(half, p) @ torch.linalg.matrix_power(rest, q)
        torch.testing.assert_close(band, matrix @ x / (2 * beta))


def test_a_smooth_signal_is_in_the_lowest_band_alone():
    graph = graph_of(BUYS)
    smooth = graph.homogeneous.degrees().double().sqrt()[:, None]
    low, middle, high = beta_wavelets(graph.homogeneous, smooth, 2)
    torch.testing.assert_close(low, 1.5 * smooth)
    torch.testing.assert_close(middle, torch.zeros_like(middle))
    torch.testing.assert_close(high, torch.zeros_like(high))
