"""Metrics agree with hand counts, with scikit-learn, and with themselves under repetition."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest
import sklearn.metrics
import torch

from gadkit import metrics
from gadkit.metrics import (
    Interval,
    average_precision,
    bootstrap_interval,
    paired_interval,
    precision_at_k,
    precision_recall_band,
    precision_recall_curve,
    recall_at_k,
    roc_auc,
    roc_band,
    roc_curve,
)

SCALARS = [roc_auc, average_precision, partial(recall_at_k, k=17), partial(precision_at_k, k=17)]
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


@pytest.mark.parametrize("metric", SCALARS + CURVES)
@pytest.mark.parametrize("tied", [False, True])
def test_weight_is_repetition(metric, tied):
    y_true, y_score = sample(num=200)
    y_score = y_score.round() if tied else y_score
    weight = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))
    repeated = metric(y_true.repeat_interleave(weight), y_score.repeat_interleave(weight))
    torch.testing.assert_close(metric(y_true, y_score, weight=weight), repeated, rtol=0, atol=0)


def test_interval_prints():
    interval = Interval(0.8734, 0.8512, 0.8931)
    assert str(interval) == f"{interval}" == "0.873 [0.851, 0.893]"
    assert f"{Interval(0.05, -0.01, 0.1):+.2f}" == "+0.05 [-0.01, +0.10]"


@pytest.mark.parametrize("metric", SCALARS)
def test_same_seed_gives_same_bits(metric):
    y_true, y_score = sample()
    state = torch.get_rng_state()
    first = bootstrap_interval(metric, y_true, y_score, repeats=50, seed=7)
    assert first == bootstrap_interval(metric, y_true, y_score, repeats=50, seed=7)
    if metric in (roc_auc, average_precision):  # the others take few values, which may coincide
        assert first != bootstrap_interval(metric, y_true, y_score, repeats=50, seed=8)
    assert torch.equal(state, torch.get_rng_state())
    assert first.value == metric(y_true, y_score)
    assert first.low < first.value < first.high


def test_resamples_equal_an_explicit_bootstrap():
    y_true, y_score = sample(num=60)
    generator = torch.Generator().manual_seed(5)
    values = []
    for _ in range(40):
        drawn = []
        for label in (0, 1):
            members = (y_true == label).nonzero().squeeze(1)
            drawn.append(members[torch.randint(len(members), members.shape, generator=generator)])
        drawn = torch.cat(drawn)
        values.append(roc_auc(y_true[drawn], y_score[drawn]))
    interval = bootstrap_interval(roc_auc, y_true, y_score, repeats=40, level=0.8, seed=5)
    assert interval[1:] == pytest.approx(np.quantile(values, [0.1, 0.9]), rel=1e-12)


def test_resamples_keep_the_class_counts():
    y_true, y_score = sample()
    seen = []

    def metric(y, s, weight=None):
        if weight is not None:
            seen.append((int(weight[y == 1].sum()), int(weight[y == 0].sum()), int(weight.max())))
        return 0.0

    bootstrap_interval(metric, y_true, y_score, repeats=20)
    positives = int(y_true.sum())
    assert {counts[:2] for counts in seen} == {(positives, len(y_true) - positives)}
    assert all(counts[2] > 1 for counts in seen)


def test_interval_covers_the_truth():
    # Scores N(0, 1) and N(1, 1): the true area is Phi(1 / sqrt(2)). 200 data sets of 200 samples at
    # 90 %: the count of hits is about Binomial(200, 0.9), whose SD is 4.2.
    truth = 0.5 * (1 + float(torch.erf(torch.tensor(0.5))))
    hits = 0
    for seed in range(200):
        y_true, y_score = sample(num=200, seed=seed)
        interval = bootstrap_interval(roc_auc, y_true, y_score, repeats=100, level=0.9, seed=seed)
        hits += interval.low <= truth <= interval.high
    assert 160 <= hits <= 195


def test_wider_level_and_fewer_samples_give_wider_intervals():
    y_true, y_score = sample(num=1000)
    width = {}
    for num, level in [(1000, 0.95), (1000, 0.5), (100, 0.95)]:
        interval = bootstrap_interval(
            roc_auc, y_true[:num], y_score[:num], repeats=200, level=level
        )
        width[num, level] = interval.high - interval.low
    assert width[1000, 0.5] < width[1000, 0.95] < width[100, 0.95]


def test_paired_interval():
    y_true, y_score = sample(num=2000)
    noise = torch.randn(2000, generator=torch.Generator().manual_seed(9))
    worse = y_score + noise
    interval = paired_interval(roc_auc, y_true, y_score, worse, repeats=200)
    assert interval.value == roc_auc(y_true, y_score) - roc_auc(y_true, worse)
    assert 0 < interval.low < interval.value < interval.high
    turned = paired_interval(roc_auc, y_true, worse, y_score, repeats=200)
    assert turned == pytest.approx((-interval.value, -interval.high, -interval.low))
    single = bootstrap_interval(roc_auc, y_true, y_score, repeats=200)
    assert interval.high - interval.low < single.high - single.low  # pairing cancels what is shared


def test_paired_interval_of_equal_models_is_zero():
    y_true, y_score = sample()
    # An increasing map keeps the ranking, so every resample must agree exactly.
    interval = paired_interval(
        roc_auc, y_true, y_score.double(), y_score.double().exp(), repeats=30
    )
    assert interval == (0, 0, 0)


def test_bands_by_hand():
    # Perfect separation: every resample has the same curve.
    y_true, y_score = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 3, 4])
    for band in (roc_band, precision_recall_band):
        grid, low, high = band(y_true, y_score, points=5, repeats=10)
        assert grid.tolist() == [0, 0.25, 0.5, 0.75, 1]
        assert low.tolist() == high.tolist() == [1] * 5
    # All tied: the chance diagonal, and the base rate.
    grid, low, high = roc_band(y_true, torch.ones(4), points=5, repeats=10)
    torch.testing.assert_close(low, grid)
    torch.testing.assert_close(high, grid)
    _, low, high = precision_recall_band(y_true, torch.ones(4), points=5, repeats=10)
    assert low.tolist() == high.tolist() == [0.5] * 5


@pytest.mark.parametrize("tied", [False, True])
def test_curves_on_the_grid(tied):
    y_true, y_score = sample()
    y_score = y_score.round() if tied else y_score
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    fpr, tpr, _ = roc_curve(y_true, y_score)
    on_grid = metrics._tpr_at(y_true, y_score, grid)
    for share, value in zip(grid.tolist(), on_grid.tolist(), strict=True):
        # Upper end of an upright stretch, so the last point at or left of the grid's.
        left = int((fpr <= share + 1e-12).sum()) - 1
        right = min(left + 1, len(fpr) - 1)
        expected = np.interp(share, fpr[[left, right]], tpr[[left, right]])
        assert value == pytest.approx(float(expected) if right > left else 1.0, abs=1e-9)
    precision, recall, _ = precision_recall_curve(y_true, y_score)
    on_grid = metrics._precision_at(y_true, y_score, grid)
    for share, value in zip(grid.tolist(), on_grid.tolist(), strict=True):
        reached = ((recall >= share - 1e-12) & (recall > 0)).nonzero().squeeze(1)
        assert value == pytest.approx(float(precision[reached[-1]]))


def test_bands_hold_the_curve_and_repeat():
    y_true, y_score = sample(num=1000)
    for band, at in [(roc_band, metrics._tpr_at), (precision_recall_band, metrics._precision_at)]:
        grid, low, high = band(y_true, y_score, points=21, repeats=200, seed=1)
        curve = at(y_true, y_score, grid)
        inside = (low <= curve) & (curve <= high)
        assert inside.double().mean() > 0.9
        assert (high - low).max() > 0.02
        again = band(y_true, y_score, points=21, repeats=200, seed=1)
        assert torch.equal(low, again[1]) and torch.equal(high, again[2])


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
    "list": ([0, 1], S[:2], TypeError, "y_true must be a tensor .* not list; torch.as_tensor"),
    "complex": (Y, S.to(torch.complex64), TypeError, "y_score must be .* not torch.complex64"),
}


@pytest.mark.parametrize(("y_true", "y_score", "error", "match"), BAD_INPUT.values(), ids=BAD_INPUT)
@pytest.mark.parametrize(
    "call",
    [
        *CURVES,
        roc_auc,
        average_precision,
        partial(recall_at_k, k=1),
        partial(precision_at_k, k=1),
        partial(bootstrap_interval, roc_auc, repeats=2),
        lambda y, s: paired_interval(roc_auc, y, s, s, repeats=2),
        partial(roc_band, repeats=2),
        partial(precision_recall_band, repeats=2),
    ],
)
def test_bad_input_is_named(call, y_true, y_score, error, match):
    with pytest.raises(error, match=match):
        call(y_true, y_score)


def test_one_class_is_refused_for_any_metric():
    with pytest.raises(ValueError, match="one class only"):
        bootstrap_interval(lambda y, s, weight=None: 0.0, torch.zeros(4), S, repeats=2)


@pytest.mark.parametrize("metric", [recall_at_k, precision_at_k])
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


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="repeats must be at least 1, but is 0"):
        bootstrap_interval(roc_auc, Y, S, repeats=0)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=f"level must .* but is {level}"):
            bootstrap_interval(roc_auc, Y, S, repeats=2, level=level)
    with pytest.raises(ValueError, match="points must be at least 2"):
        roc_band(Y, S, points=1)
