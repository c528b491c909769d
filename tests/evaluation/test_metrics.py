"""Metrics agree with hand counts, with scikit-learn, and with themselves under repetition."""

from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch

from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import (
    average_precision,
    calibration_error,
    precision_at_k,
    precision_at_recall,
    precision_recall_curve,
    recall_at_false_positive_rate,
    recall_at_k,
    recall_at_positives,
    roc_auc,
    roc_curve,
    tie_at_k,
)

SCALARS = [
    roc_auc,
    average_precision,
    recall_at_positives,
    partial(recall_at_k, k=17),
    partial(precision_at_k, k=17),
]
CURVES = [roc_curve, precision_recall_curve]


def sample(num=400, seed=0, shift=1.0):
    """Labels with about 10 % positives, and scores that rank them somewhat higher."""
    generator = torch.Generator().manual_seed(seed)
    y_true = (torch.rand(num, generator=generator) < 0.1).long()
    return y_true, torch.randn(num, generator=generator) + shift * y_true


SCORES = {
    "distinct": lambda s: s.double(),
    "float32": lambda s: s,
    "half": lambda s: s.sigmoid().half(),
    "four levels": lambda s: (s.clamp(-1, 2) + 0.5).floor(),
    "constant": torch.zeros_like,
    "integer": lambda s: (3 * s).round().long(),
    "huge": lambda s: s.double() * 1e307,
    "tiny": lambda s: s.double() * 1e-320,  # denormal, so close that a difference test may fail
    "two zeros": lambda s: torch.where(s > 0, 0.0, -0.0),
}


@pytest.mark.parametrize("transform", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_scikit_learn(transform, seed):
    y_true, y_score = sample(seed=seed)
    y_score = transform(y_score)
    y, s = y_true.numpy(), y_score.double().numpy()
    expected = sklearn.metrics.roc_curve(y, s, drop_intermediate=False)
    for ours, theirs in zip(roc_curve(y_true, y_score), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    expected = sklearn.metrics.precision_recall_curve(y, s)
    for ours, theirs in zip(precision_recall_curve(y_true, y_score), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    auc, ap = sklearn.metrics.roc_auc_score(y, s), sklearn.metrics.average_precision_score(y, s)
    assert roc_auc(y_true, y_score) == pytest.approx(auc, rel=1e-13)
    assert average_precision(y_true, y_score) == pytest.approx(ap, rel=1e-13)


def test_by_hand():
    # Ranked: 0.9 positive | 0.7 one of each, tied | 0.2 negative.
    y_true, y_score = torch.tensor([0, 1, 0, 1]), torch.tensor([0.2, 0.7, 0.7, 0.9])
    fpr, tpr, thresholds = roc_curve(y_true, y_score.double())
    assert fpr.tolist() == [0, 0, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 1, 1]
    assert thresholds.tolist() == [torch.inf, *y_score.double()[[3, 1, 0]].tolist()]
    assert roc_auc(y_true, y_score) == 3.5 / 4  # of 4 pairs 3 are in order and 1 is tied
    precision, recall, thresholds = precision_recall_curve(y_true, y_score)
    assert precision.tolist() == [0.5, 2 / 3, 1, 1]
    assert recall.tolist() == [1, 1, 0.5, 0]
    assert len(thresholds) == 3 and thresholds.tolist() == sorted(thresholds.tolist())
    assert average_precision(y_true, y_score) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert [recall_at_k(y_true, y_score, k) for k in (1, 2, 3, 4)] == [0.5, 0.75, 1, 1]
    assert [precision_at_k(y_true, y_score, k) for k in (1, 2, 4)] == [1, 0.75, 0.5]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_recall_at_k_is_the_mean_over_tie_breaks(k):
    y_true, y_score = torch.tensor([1, 0, 0, 1, 1, 0]), torch.tensor([2, 2, 1, 2, 1, 0])
    shares = []
    for order in permutations(range(6)):
        ranked = sorted(order, key=lambda i: -int(y_score[i]))  # stable: ties as in the order
        shares.append(sum(int(y_true[i]) for i in ranked[:k]) / 3)
    assert recall_at_k(y_true, y_score, k) == pytest.approx(np.mean(shares), rel=1e-12)
    assert precision_at_k(y_true, y_score, k) == pytest.approx(np.mean(shares) * 3 / k, rel=1e-12)


def test_recall_at_positives():
    y_true, y_score = sample(num=300)
    for scores in (y_score, y_score.round()):
        k = int(y_true.sum())
        assert recall_at_positives(y_true, scores) == recall_at_k(y_true, scores, k)
        assert recall_at_positives(y_true, scores) == precision_at_k(y_true, scores, k)


def test_tie_at_k():
    y_true, y_score = torch.tensor([1, 0, 0, 1, 1, 0]), torch.tensor([2, 2, 1, 2, 1, 0])
    assert [tie_at_k(y_true, y_score, k) for k in range(1, 7)] == [3, 3, 3, 2, 2, 1]


def test_calibration_by_hand():
    # By probability: two at .1, none positive | .2 and .4, one positive | two at .8, both positive.
    probability = torch.tensor([0.8, 0.1, 0.4, 0.1, 0.2, 0.8], dtype=torch.float64)
    y_true = torch.tensor([1, 0, 1, 0, 0, 1])
    gaps = [2 * 0.1, 1 - 0.6, 2 - 1.6]
    assert calibration_error(y_true, probability, bins=3) == pytest.approx(sum(gaps) / 6)
    assert calibration_error(y_true, probability, bins=1) == pytest.approx((3 - 2.4) / 6)
    # As many bins as samples: each tie is one bin, since its samples stay together.
    gaps = [2 * 0.1, 0.2, 0.6, 2 - 1.6]
    assert calibration_error(y_true, probability, bins=6) == pytest.approx(sum(gaps) / 6)
    assert calibration_error(torch.zeros(3), torch.full((3,), 0.25), bins=15) == 0.25


def test_calibration_against_numpy():
    """Without ties, and where the bins divide the samples, they are the rows of a matrix."""
    y_true, y_score = sample(num=300)
    probability = y_score.double().sigmoid()
    order = np.argsort(probability.numpy())
    of_bin = (v.double().numpy()[order].reshape(15, 20) for v in (y_true, probability))
    shares, means = (rows.mean(axis=1) for rows in of_bin)
    expected = np.abs(shares - means).mean()
    assert calibration_error(y_true, probability) == pytest.approx(expected, rel=1e-12)


def test_calibrated_probabilities_err_by_noise_alone():
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(20_000, generator=generator, dtype=torch.float64).square()
    y_true = torch.rand(20_000, generator=generator, dtype=torch.float64) < probability
    # Per bin of 1,333 the share has an SD of at most .5 / sqrt(1333) = .014.
    assert 0 < calibration_error(y_true, probability) < 0.014
    assert calibration_error(y_true, probability.sqrt()) > 0.1


def test_bad_calibration_input_is_named():
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"probability has 1 values outside \[0, 1\]"):
            calibration_error(torch.tensor([0, 1]), torch.tensor([0.5, wrong]))
    with pytest.raises(ValueError, match="bins must be at least 1, but is 0"):
        calibration_error(Y, S, bins=0)
    with pytest.raises(ValueError, match="weight is 0 for every sample"):
        calibration_error(Y, S, weight=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="y_true has 1 values outside"):
        calibration_error(torch.tensor([0, 1, 1, 2]), S)


@pytest.mark.parametrize("metric", SCALARS)
def test_order_of_samples_does_not_matter(metric):
    y_true, y_score = sample()
    y_score = y_score.round()
    order = torch.randperm(len(y_true), generator=torch.Generator().manual_seed(3))
    assert metric(y_true, y_score) == metric(y_true[order], y_score[order])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float32])
def test_dtype_of_labels_does_not_matter(dtype):
    y_true, y_score = sample()
    assert roc_auc(y_true.to(dtype), y_score) == roc_auc(y_true, y_score)


def test_scores_may_require_grad():
    y_true, y_score = sample()
    assert roc_auc(y_true, y_score.clone().requires_grad_()) == roc_auc(y_true, y_score)


def of_probabilities(y_true, y_score, weight=None):
    return calibration_error(y_true, y_score.sigmoid(), bins=4, weight=weight)


@pytest.mark.parametrize("metric", [*SCALARS, *CURVES, partial(tie_at_k, k=17), of_probabilities])
@pytest.mark.parametrize("tied", [False, True])
def test_weight_is_repetition(metric, tied):
    y_true, y_score = sample(num=200)
    y_score = y_score.round() if tied else y_score
    weight = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))
    repeated = metric(y_true.repeat_interleave(weight), y_score.repeat_interleave(weight))
    torch.testing.assert_close(metric(y_true, y_score, weight=weight), repeated, rtol=0, atol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_curves_on_the_grid(tied):
    y_true, y_score = sample()
    y_score = y_score.round() if tied else y_score
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    fpr, tpr, _ = roc_curve(y_true, y_score)
    on_grid = recall_at_false_positive_rate(y_true, y_score, grid)
    for share, value in zip(grid.tolist(), on_grid.tolist(), strict=True):
        # Upper end of an upright stretch, so the last point at or left of the grid's.
        left = int((fpr <= share + 1e-12).sum()) - 1
        right = min(left + 1, len(fpr) - 1)
        expected = np.interp(share, fpr[[left, right]], tpr[[left, right]])
        assert value == pytest.approx(float(expected) if right > left else 1.0, abs=1e-9)
    precision, recall, _ = precision_recall_curve(y_true, y_score)
    on_grid = precision_at_recall(y_true, y_score, grid)
    for share, value in zip(grid.tolist(), on_grid.tolist(), strict=True):
        reached = ((recall >= share - 1e-12) & (recall > 0)).nonzero().squeeze(1)
        assert value == pytest.approx(float(precision[reached[-1]]))


Y, S = torch.tensor([0, 1, 0, 1]), torch.tensor([0.1, 0.2, 0.3, 0.4])
BAD_INPUT = {
    "all 0": (torch.zeros(4), S, ValueError, "one class only: 0 of 4"),
    "all 1": (torch.ones(4), S, ValueError, "one class only: 4 of 4"),
    "label 2": (torch.tensor([0, 1, 2, 5]), S, ValueError, "2 values outside .* position 2: 2;"),
    "label -1": (torch.tensor([0, 1, 1, -1]), S, ValueError, "first at position 3: -1"),
    "label 0.5": (torch.tensor([0.5, 1, 0, 1]), S, ValueError, "first at position 0: 0.5"),
    "label nan": (torch.tensor([0, 1, torch.nan, 1]), S, ValueError, "first at position 2: nan"),
    "nan": (Y, torch.tensor([0, torch.nan, 1, 1]), ValueError, "first at position 1: nan"),
    "inf": (Y, torch.tensor([0, 1, 1, -torch.inf]), ValueError, "first at position 3: -inf"),
    "lengths": (Y, S[:3], ValueError, "4 samples but y_score 3"),
    "2-D score": (Y, S[:, None], ValueError, r"y_score must be 1-D.* \(4, 1\)"),
    "2-D label": (Y[None], S, ValueError, r"y_true must be 1-D.* \(1, 4\)"),
    "0-D": (Y[0], S[0], ValueError, "y_true must be 1-D"),
    "empty": (Y[:0], S[:0], ValueError, "empty"),
    "texts": (["a", "b"], S[:2], TypeError, "y_true, a builtins.list, is of <U1 .*; pass rows of"),
    "None": ([0, None], S[:2], TypeError, "y_true, a .*, holds None at row 1; leave such samples"),
    "a mask": (Y, np.ma.masked_array(S, [0, 0, 1, 0]), TypeError, "y_score is a masked array"),
    "complex": (Y, S.to(torch.complex64), TypeError, "y_score must .* not torch.complex64"),
    "beyond float64": (Y, 2**53 + torch.arange(4), ValueError, "y_score has 3 values beyond 2.53"),
}


KINDS = {
    "array": lambda x: x,
    "list": np.ndarray.tolist,
    "Series": lambda x: pd.Series(x, index=[3, 2, 1, 0]),
    "nullable": lambda x: pd.Series(x).convert_dtypes(),
    "backwards": lambda x: x[::-1].copy()[::-1],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "objects": lambda x: x.astype(object),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_arrays_columns_and_lists_are_taken(kind):
    y_true, y_score = kind(np.array([0, 1, 0, 1])), kind(np.array([0.1, 0.2, 0.3, 0.4]))
    weight = kind(np.array([1, 2, 1, 1]))
    assert roc_auc(y_true, y_score) == 0.75
    assert roc_auc(y_true, y_score, weight=weight) == pytest.approx(4 / 6)
    grid = kind(np.array([0.0, 0.5, 0.9, 1.0]))
    assert recall_at_false_positive_rate(y_true, y_score, grid).tolist() == [0.5, 1, 1, 1]
    interval = bootstrap_interval(roc_auc, y_true, y_score, repeats=20)
    assert interval.value == 0.75


@pytest.mark.parametrize(("y_true", "y_score", "error", "match"), BAD_INPUT.values(), ids=BAD_INPUT)
@pytest.mark.parametrize(
    "call",
    [
        *CURVES,
        roc_auc,
        average_precision,
        partial(recall_at_k, k=1),
        partial(precision_at_k, k=1),
        recall_at_positives,
        partial(tie_at_k, k=1),
        partial(recall_at_false_positive_rate, grid=torch.zeros(1)),
        partial(precision_at_recall, grid=torch.zeros(1)),
    ],
)
def test_bad_input_is_named(call, y_true, y_score, error, match):
    with pytest.raises(error, match=match):
        call(y_true, y_score)


@pytest.mark.parametrize("metric", [recall_at_k, precision_at_k, tie_at_k])
def test_k_out_of_range(metric):
    for k in (0, -1, 5):
        with pytest.raises(ValueError, match=rf"\[1, 4\].* but is {k}"):
            metric(Y, S, k)
    with pytest.raises(TypeError):
        metric(Y, S, 1.5)


def test_bad_weight_is_named():
    with pytest.raises(ValueError, match="first at position 2: -1"):
        roc_auc(Y, S, weight=torch.tensor([1, 1, -1, 1]))
    with pytest.raises(ValueError, match=r"shape \(3,\), but there are 4"):
        roc_auc(Y, S, weight=torch.ones(3, dtype=torch.int64))
    with pytest.raises(TypeError, match="weight is torch.float32"):
        roc_auc(Y, S, weight=torch.ones(4))
    with pytest.raises(ValueError, match="one class only: 0 of 2"):
        roc_auc(Y, S, weight=torch.tensor([1, 0, 1, 0]))


@pytest.mark.parametrize("count", [2**24 + 1, 49_999_999, 2**31 - 1])
@pytest.mark.parametrize("steps", [3, 7, 11])
def test_metrics_of_billions_are_those_of_a_few(steps, count):
    """Where counts are beyond float32, the pairs beyond int64, and a grid is rounded by more."""
    y, s = [1, 0] * steps, range(2 * steps, 0, -1)
    grid = [k / steps for k in range(steps + 1)]
    few, many = [3, 3] * steps, [count, count] * steps
    assert roc_auc(y, s, weight=many) == roc_auc(y, s, weight=few)
    for curve in (recall_at_false_positive_rate, precision_at_recall):
        values = curve(y, s, grid, weight=many)
        assert torch.allclose(values, curve(y, s, grid, weight=few), rtol=0, atol=1e-9)
