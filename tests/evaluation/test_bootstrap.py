"""Intervals: of cases, of differences, of curves, and of results over several splits."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from gadkit.evaluation import bootstrap, resample
from gadkit.evaluation.bootstrap import (
    Interval,
    bootstrap_interval,
    nested_interval,
    nested_paired_interval,
    paired_interval,
    precision_recall_band,
    roc_band,
)
from gadkit.evaluation.metrics import (
    average_precision,
    calibration_error,
    precision_at_k,
    precision_at_recall,
    recall_at_false_positive_rate,
    recall_at_k,
    recall_at_positives,
    roc_auc,
)

SCALARS = [
    roc_auc,
    average_precision,
    recall_at_positives,
    partial(recall_at_k, k=17),
    partial(precision_at_k, k=17),
]


def sample(num=400, seed=0, shift=1.0):
    """Labels with about 10 % positives, and scores that rank them somewhat higher."""
    generator = torch.Generator().manual_seed(seed)
    y_true = (torch.rand(num, generator=generator) < 0.1).long()
    return y_true, torch.randn(num, generator=generator) + shift * y_true


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


def test_bands_hold_the_curve_and_repeat():
    y_true, y_score = sample(num=1000)
    of_bands = {
        roc_band: recall_at_false_positive_rate,
        precision_recall_band: precision_at_recall,
    }
    for band, at in of_bands.items():
        grid, low, high = band(y_true, y_score, points=21, repeats=200, seed=1)
        curve = at(y_true, y_score, grid)
        inside = (low <= curve) & (curve <= high)
        assert inside.double().mean() > 0.9
        assert (high - low).max() > 0.02
        again = band(y_true, y_score, points=21, repeats=200, seed=1)
        assert torch.equal(low, again[1]) and torch.equal(high, again[2])


def called(metric):
    """The same metric, in a form that is not counted under many weights at once."""
    return lambda y_true, y_score, weight=None: metric(y_true, y_score, weight=weight)


@pytest.mark.parametrize("levels", [0, 3, 1], ids=["distinct", "tied", "constant"])
@pytest.mark.parametrize("metric", SCALARS)
def test_counted_at_once_equals_counted_one_by_one(metric, levels):
    y_true, y_score = sample(num=120)
    y_score = (y_score.sigmoid() * levels).floor() if levels else y_score
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(0, 4, (40, 120), generator=generator, dtype=torch.int32)
    weight[0, y_true == 1], weight[1, y_true == 0] = 0, 0  # no metric: one class only
    weight[2, y_score.argsort(descending=True)[:60]] = 0  # the highest are never drawn
    weight[2, y_true.nonzero()[0]] = 1
    ranking = resample.Ranking(y_true, y_score, torch.arange(120))
    found = resample._values(metric, ranking, weight)
    expected = [metric(y_true, y_score, weight=one) for one in weight[2:]]
    torch.testing.assert_close(found[2:].tolist(), expected, rtol=1e-13, atol=0)
    assert found[:2].isnan().all()
    one_by_one = resample._values(called(metric), ranking, weight)
    torch.testing.assert_close(found, one_by_one, rtol=1e-13, atol=0, equal_nan=True)


def test_blocks_of_resamples_do_not_matter(monkeypatch):
    y_true, y_score = sample()
    whole = bootstrap_interval(roc_auc, y_true, y_score, repeats=50)
    monkeypatch.setattr(resample, "BLOCK", 1000)
    assert bootstrap_interval(roc_auc, y_true, y_score, repeats=50) == whole
    monkeypatch.setattr(resample, "BLOCK", 1)
    assert bootstrap_interval(roc_auc, y_true, y_score, repeats=50) == whole


def test_k_beyond_the_smallest_resample_is_named():
    ids, (y_true, y_score) = torch.arange(20), sample(num=20, seed=3)
    cases = [(ids[:10], y_true[:10], y_score[:10]), (ids[10:], y_true[10:], y_score[10:])]
    with pytest.raises(
        ValueError, match=r"k must be in \[1, \d\], .* smallest resample, but is 10"
    ):
        nested_interval(partial(precision_at_k, k=10), cases, repeats=50)


def overlapping(splits=5, num=1000, share=0.4, noise=0.0, seed=0):
    """Test parts drawn from the same nodes, in no order; each split scores them by itself."""
    y_true, base = sample(num=num, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    cases = []
    for _ in range(splits):
        ids = torch.randperm(num, generator=generator)[: int(share * num)]
        score = base[ids] + noise * torch.randn(len(ids), generator=generator)
        cases.append((ids * 7 + 1, y_true[ids], score))
    return cases


def width(interval):
    return interval.high - interval.low


@pytest.mark.parametrize("metric", [*SCALARS, called(roc_auc)])
def test_one_split_is_the_stratified_bootstrap(metric):
    y_true, y_score = sample()
    single = bootstrap_interval(metric, y_true, y_score, repeats=60, seed=4)
    nested = nested_interval(metric, [(torch.arange(400), y_true, y_score)], repeats=60, seed=4)
    assert nested == single
    # Equal splits: whichever are drawn, their mean is the same.
    cases = [(torch.arange(400), y_true, torch.stack([y_score, y_score]))] * 3
    nested = nested_interval(metric, cases, repeats=60, seed=4)
    assert nested == pytest.approx(single, rel=1e-12)


def test_one_split_in_another_order_has_the_same_distribution():
    y_true, y_score = sample(num=800)
    order = torch.randperm(800, generator=torch.Generator().manual_seed(2))
    single = bootstrap_interval(roc_auc, y_true, y_score, repeats=2000)
    nested = nested_interval(roc_auc, [(order, y_true, y_score)], repeats=2000, seed=1)
    # The ends of 95 % intervals of 2,000 resamples have an SD of about a twelfth of the half width.
    assert nested == pytest.approx(single, abs=0.2 * width(single))
    assert nested != single


def test_a_node_counts_equally_often_in_every_split():
    seen = []

    def metric(y_true, y_score, weight=None):
        if weight is not None:
            seen.append(weight[y_score.argsort()])
        return 0.0

    y_true, score = sample(num=100)
    ids = torch.arange(100)  # the score says which node it is
    cases = [
        (ids[:80], y_true[:80], ids[:80]),
        (ids[20:].flip(0), y_true[20:].flip(0), ids[20:].flip(0)),
    ]
    nested_interval(metric, cases, repeats=20)
    one, other = torch.stack(seen).chunk(2)
    assert torch.equal(one[:, 20:], other[:, :60])
    assert (one.sum(1) != 80).any()  # of all nodes as many are drawn as there are, not of a part


def test_splits_and_trainings_are_drawn():
    """Right in some splits, the wrong way round in others, whichever nodes are drawn."""
    ids, y_true = torch.arange(40), torch.tensor([0, 1] * 20)
    right, wrong = y_true.double(), -y_true.double()
    cases = [(ids, y_true, right)] * 3 + [(ids, y_true, wrong)]
    interval = nested_interval(roc_auc, cases, repeats=2000, level=0.9)
    assert interval == (0.75, 0.25, 1)  # of four draws at 3/4, 5 % are at most 1, and 32 % are 4
    assert nested_interval(roc_auc, cases[:3], repeats=50) == (1, 1, 1)
    trainings = [(ids, y_true, torch.stack([right, right, right, wrong]))]
    assert nested_interval(roc_auc, trainings, repeats=2000, level=0.9) == interval
    both = [(ids, y_true, right, torch.stack([right, wrong]))] * 2
    assert nested_paired_interval(roc_auc, both, repeats=500) == (0.5, 0, 1)


@pytest.mark.parametrize("metric", [roc_auc, average_precision])
def test_overlap_of_splits_widens_the_interval(metric):
    cases = overlapping(splits=10)
    nested = nested_interval(metric, cases, repeats=500)
    apart = [(ids + 10_000 * k, y, s) for k, (ids, y, s) in enumerate(cases)]
    assert width(nested) > 1.3 * width(nested_interval(metric, apart, repeats=500))
    assert nested.value == pytest.approx(np.mean([metric(y, s) for _, y, s in cases]))
    assert nested.low < nested.value < nested.high


def test_nested_interval_repeats():
    cases, state = overlapping(), torch.get_rng_state()
    first = nested_interval(roc_auc, cases, repeats=50, seed=7)
    assert first == nested_interval(roc_auc, cases, repeats=50, seed=7)
    assert first != nested_interval(roc_auc, cases, repeats=50, seed=8)
    assert torch.equal(state, torch.get_rng_state())


def test_nested_interval_covers_the_truth():
    # As in `test_interval_covers_the_truth`: 100 data sets at 90 %, SD 3. To resample splits and
    # nodes counts what they share twice, so more than 90 may be hit (Owen 2007).
    truth = 0.5 * (1 + float(torch.erf(torch.tensor(0.5))))
    hits = 0
    for seed in range(100):
        cases = overlapping(num=300, splits=6, seed=seed)
        interval = nested_interval(roc_auc, cases, repeats=100, level=0.9, seed=seed)
        hits += interval.low <= truth <= interval.high
    assert 82 <= hits <= 99


def test_nested_paired_interval():
    cases = overlapping(noise=1.0)
    better = overlapping()
    both = [(ids, y, a, b) for (ids, y, a), (_, _, b) in zip(better, cases, strict=True)]
    interval = nested_paired_interval(roc_auc, both, repeats=200)
    one, other = nested_interval(roc_auc, better), nested_interval(roc_auc, cases)
    assert interval.value == pytest.approx(one.value - other.value)
    assert 0 < interval.low < interval.value < interval.high
    assert width(interval) < width(one)  # pairing cancels what is shared
    turned = [(ids, y, b, a) for ids, y, a, b in both]
    turned = nested_paired_interval(roc_auc, turned, repeats=200)
    assert turned == pytest.approx((-interval.value, -interval.high, -interval.low))
    equal = [(ids, y, a, a.double().exp()) for ids, y, a, _ in both]
    assert nested_paired_interval(average_precision, equal, repeats=30) == (0, 0, 0)


def test_one_split_is_the_paired_bootstrap():
    y_true, y_score = sample()
    other = y_score.round()
    for metric in (average_precision, partial(calibration_error, bins=5)):
        a, b = y_score.sigmoid(), other.sigmoid()
        paired = paired_interval(metric, y_true, a, b, repeats=40)
        cases = [(torch.arange(400), y_true, a, b)]
        assert nested_paired_interval(metric, cases, repeats=40) == paired


def test_bad_cases_are_named():
    ids, y, s = torch.arange(4), torch.tensor([0, 1, 0, 1]), torch.arange(4.0)
    for message, cases in {
        "there are no splits": [],
        r"one integer for each case, got \(3,\) torch.int64 for \(4,\)": [(ids[:3], y, s)],
        "a split judges 4 cases of 3 nodes": [(torch.tensor([1, 2, 2, 3]), y, s)],
        "node 1 is labelled 0 in one split and 1 in another": [(ids, y, s), (ids + 1, y, s)],
        r"y_score must be \(4,\) or \(trainings, 4\), got \(4, 2\)": [(ids, y, s.expand(2, 4).T)],
        r"got \(0, 4\)": [(ids, y, s[None][:0])],
        "number of trainings differs": [(ids, y, s.expand(n, 4)) for n in (2, 1, 3)],
    }.items():
        with pytest.raises(ValueError, match=message):
            nested_interval(roc_auc, cases, repeats=2)
    with pytest.raises(ValueError, match="y_true must be|outside .0, 1."):
        nested_interval(roc_auc, [(ids, y * 2, s)], repeats=2)
    with pytest.raises(TypeError, match="^ids must be integer, not torch.float32"):
        nested_interval(roc_auc, [(s, y, s)], repeats=2)


def test_cases_may_be_tables_arrays_and_lists():
    ids, y, s = np.array([5, 2, 9, 4]), np.array([0, 1, 0, 1]), np.array([0.2, 0.9, 0.4, 0.3])
    want = nested_interval(roc_auc, [tuple(map(torch.tensor, (ids, y, s)))], repeats=9)
    for convert in (list, pd.Series, np.flip, lambda column: column.astype(object)):
        case = [convert(column) for column in (ids, y, s)]
        if convert is np.flip:  # backwards in memory
            case = [np.flip(np.flip(column).copy()) for column in (ids, y, s)]
        assert nested_interval(roc_auc, [tuple(case)], repeats=9) == want


def test_too_few_positives_are_named():
    ids, (_, s) = torch.arange(20), sample(num=20)
    y = torch.zeros(20).index_fill(0, torch.tensor([3, 13]), 1)
    halves = [(ids[:10], y[:10], s[:10]), (ids[10:], y[10:], s[10:])]
    with pytest.raises(
        ValueError, match=r"\d+ of 100 resamples leave every split drawn with one cl"
    ):
        nested_interval(roc_auc, halves, repeats=100)


Y, S = torch.tensor([0, 1, 0, 1]), torch.tensor([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    "call",
    [
        partial(bootstrap_interval, roc_auc, repeats=2),
        lambda y, s: paired_interval(roc_auc, y, s, s, repeats=2),
        lambda y, s: nested_interval(roc_auc, [(torch.arange(4), y, s)], repeats=2),
        partial(roc_band, repeats=2),
        partial(precision_recall_band, repeats=2),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(ValueError, match="one class only: 0 of 4"):
        call(torch.zeros(4), S)
    with pytest.raises(ValueError, match="first at position 1: nan"):
        call(Y, torch.tensor([0, torch.nan, 1, 1]))


def test_one_class_is_refused_for_any_metric():
    with pytest.raises(ValueError, match="one class only"):
        bootstrap_interval(lambda y, s, weight=None: 0.0, torch.zeros(4), S, repeats=2)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="repeats must be at least 1, but is 0"):
        bootstrap_interval(roc_auc, Y, S, repeats=0)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=f"level must .* but is {level}"):
            bootstrap_interval(roc_auc, Y, S, repeats=2, level=level)
    with pytest.raises(ValueError, match="points must be at least 2"):
        roc_band(Y, S, points=1)


def test_mean_interval_holds_the_mean_and_leaves_out_nan():
    values = torch.tensor([0.0, 1.0, torch.nan, 2.0, 3.0])
    interval = bootstrap.mean_interval(values, repeats=500)
    assert interval.value == 1.5
    assert 0 < interval.low < 1.5 < interval.high < 3
    assert bootstrap.mean_interval(values, repeats=500) == interval
    with pytest.raises(ValueError, match="no value"):
        bootstrap.mean_interval(values[2:3])
