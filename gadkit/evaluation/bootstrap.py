"""How sure a metric is: intervals from resampled cases, and from resampled splits.

How a metric is evaluated on a thousand resamples stands in `resample`.

Sources: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile
intervals); T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006
(vertical bands); A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007 (rows
and columns of a table, here splits and nodes, resampled independently).
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from gadkit.evaluation.metrics import (
    LEFT_OUT,
    Interval,
    checked,
    precision_at_recall,
    recall_at_false_positive_rate,
)
from gadkit.evaluation.resample import Metric, Ranking, percentiles, resampled
from gadkit.graph.arrays import Array, as_ids, numbers


def _of_cases(
    metric: Metric, y_true: Tensor, y_scores: Sequence[Tensor], repeats: int, seed: int
) -> Tensor:
    """Evaluate a metric of each score on the same resamples: (repeats, scores, ...) float64."""
    everyone = torch.arange(len(y_true))
    rankings = [Ranking(y_true, y_score, everyone) for y_score in y_scores]
    return resampled(metric, checked(y_true, y_scores[0])[0], rankings, repeats, seed)


def bootstrap_interval(
    metric: Metric,
    y_true: Tensor,
    y_score: Tensor,
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute a metric with its percentile bootstrap interval, stratified by class.

    Positives and negatives are resampled separately, so every resample keeps the base rate and none
    lacks a class. The interval speaks of the samples drawn, not of retraining the model. The same
    seed on the same y_true draws the same resamples, whatever the score.

    Args:
        metric: called as `metric(y_true, y_score, weight=weight)`, such as `metrics.roc_auc` or
            `functools.partial(metrics.recall_at_k, k=100)`.
        y_true, y_score: as in `metrics.roc_curve`.
        repeats: number of resamples.
        level: share of resamples inside the interval.
        seed: of the resamples; the same seed gives the same bits.

    Returns:
        The metric on the samples as they are, and the ends of its interval.

    Raises:
        ValueError: as `metrics.roc_curve`, repeats below 1, or level outside (0, 1).
        TypeError: as `metrics.roc_curve`.
    """
    value = metric(y_true, y_score)
    low, high = percentiles(_of_cases(metric, y_true, (y_score,), repeats, seed)[:, 0], level)
    return Interval(value, float(low), float(high))


def paired_interval(
    metric: Metric,
    y_true: Tensor,
    y_score_a: Tensor,
    y_score_b: Tensor,
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute the difference of a metric between two models, a - b, with its bootstrap interval.

    Both models are evaluated on identical resamples, so what makes a resample easy or hard for both
    cancels: the interval is narrower than two separate ones suggest.

    Args:
        metric: as in `bootstrap_interval`.
        y_true: (n,) as in `metrics.roc_curve`.
        y_score_a, y_score_b: (n,) real; the scores of the two models for the same samples.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        The difference and the ends of its interval; an interval above 0 favors a.

    Raises:
        ValueError, TypeError: as `bootstrap_interval`.
    """
    value = metric(y_true, y_score_a) - metric(y_true, y_score_b)
    values = _of_cases(metric, y_true, (y_score_a, y_score_b), repeats, seed)
    low, high = percentiles(values[:, 0] - values[:, 1], level)
    return Interval(value, float(low), float(high))


def nested_interval(
    metric: Metric,
    cases: Sequence[tuple[Tensor, Tensor, Tensor]],
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute the mean of a metric over splits, and how sure it is of other splits and other nodes.

    Each resample draws the splits with replacement; the trainings of a drawn split, where there are
    several; and, frauds and others separately, the labelled nodes. These are drawn once for all
    splits: ten test parts of 40 % overlap, so a node is judged in about four of them, and must
    count equally often in each. To resample every test part by itself would take these four for
    independent nodes, and make that part of the interval which is due to nodes less than half as
    wide. Splits overlap in what they train on, too, which no resampling can undo: the interval is
    about this graph.

    Args:
        metric: as in `bootstrap_interval`.
        cases: for each split the test part: (n,) int64 global ids, (n,) y_true, and y_score, (n,)
            or (trainings, n) where the same split was trained on several times, by other seeds;
            as many times for every split.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        The mean over splits (and trainings), and the ends of its interval. In a resample, a split
        that is left without frauds, or without others, is left out of the mean.

    Raises:
        ValueError: as `bootstrap_interval`; there are no splits, a node is twice in one, has two
            labels, or scores do not fit; or there are so few frauds that a resample leaves every
            split without one.
        TypeError: as `bootstrap_interval`.
    """
    return _nested(metric, cases, (1,), repeats, level, seed)


def nested_paired_interval(
    metric: Metric,
    cases: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    *,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute the mean difference between two models over splits, a - b, with its nested interval.

    Both models are evaluated on the same resamples of splits and nodes. Where there are several
    trainings, those of a and of b are drawn separately: none of one belongs to one of the other.

    Args:
        metric: as in `bootstrap_interval`.
        cases: as in `nested_interval`, with the scores of both models: ids, y_true, y_score_a,
            y_score_b. The models may differ in their number of trainings.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        The difference and the ends of its interval; an interval above 0 favors a.

    Raises:
        ValueError, TypeError: as `nested_interval`.
    """
    return _nested(metric, cases, (1, -1), repeats, level, seed)


def _nested(
    metric: Metric,
    cases: Sequence[tuple[Tensor, ...]],
    signs: tuple[int, ...],
    repeats: int,
    level: float,
    seed: int,
) -> Interval:
    """Add up what each model reaches over the splits, times its sign."""
    cases = [_as_tensors(*case) for case in cases]
    y_true, columns = _all_nodes(cases)
    models = [_runs(cases, columns, position) for position in range(2, 2 + len(signs))]
    counts = [len(runs) for runs in models]
    values = resampled(metric, y_true, sum(models, []), repeats, seed).split(counts, dim=1)
    drawn = _draw_runs(len(cases), [count // len(cases) for count in counts], repeats, seed)
    value, totals = 0.0, torch.zeros(repeats, dtype=torch.float64)
    for sign, runs, of_model, how_often in zip(signs, models, values, drawn, strict=True):
        value += sign * sum(metric(run.y_true, run.y_score) for run in runs) / len(runs)
        totals += sign * _mean_of_drawn(of_model, how_often)
    low, high = percentiles(totals, level)
    return Interval(value, float(low), float(high))


def _as_tensors(ids: Array, y_true: Array, *y_scores: Array) -> tuple[Tensor, ...]:
    scores = (numbers(y_score, "y_score", if_missing=LEFT_OUT) for y_score in y_scores)
    return as_ids(ids, "ids"), numbers(y_true, "y_true", if_missing=LEFT_OUT), *scores


def _runs(
    cases: Sequence[tuple[Tensor, ...]], columns: list[Tensor], position: int
) -> list[Ranking]:
    """Rank what a model says in each split, training by training."""
    trainings = [_trainings(case[position], len(case[1])) for case in cases]
    if len({len(y_scores) for y_scores in trainings}) > 1:
        raise ValueError("the number of trainings differs between splits; give as many for each")
    return [
        Ranking(case[1], y_score, column)
        for case, column, y_scores in zip(cases, columns, trainings, strict=True)
        for y_score in y_scores
    ]


def _trainings(y_score: Tensor, num_cases: int) -> Tensor:
    """Return scores as (trainings, n)."""
    if y_score.dim() not in (1, 2) or y_score.shape[-1] != num_cases or not y_score.numel():
        raise ValueError(
            f"y_score must be ({num_cases},) or (trainings, {num_cases}), got "
            f"{tuple(y_score.shape)}"
        )
    return y_score.reshape(-1, num_cases)


def _all_nodes(cases: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, list[Tensor]]:
    """Return the labels of all nodes, by ascending id, and where those of each split are."""
    if len(cases) == 0:
        raise ValueError("there are no splits; give the cases of one at least")
    for ids, y_true, *_ in cases:
        if ids.shape != y_true.shape or ids.dim() != 1:
            raise ValueError(
                f"ids must be one integer for each case, got {tuple(ids.shape)} {ids.dtype} for "
                f"{tuple(y_true.shape)} labels"
            )
        if len(ids.unique()) < len(ids):
            raise ValueError(f"a split judges {len(ids):,} cases of {len(ids.unique()):,} nodes")
    labels = torch.cat([y_true.cpu().long() for _, y_true, *_ in cases])
    ids, column = torch.cat([ids.cpu() for ids, *_ in cases]).unique(return_inverse=True)
    y_true = torch.empty(len(ids), dtype=torch.int64).index_put((column,), labels)
    differs = (y_true[column] != labels).nonzero()
    if len(differs):
        node = int(ids[column[differs[0, 0]]])
        raise ValueError(f"node {node} is labelled 0 in one split and 1 in another")
    return y_true, list(column.split([len(ids) for ids, *_ in cases]))


def _draw_runs(num_splits: int, num_trainings: list[int], repeats: int, seed: int) -> list[Tensor]:
    """Say how often each run is drawn: for each model (repeats, splits * trainings) float64."""
    nodes = torch.Generator().manual_seed(seed)  # so that its numbers are not used twice
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=nodes)))
    split = torch.randint(num_splits, (repeats, num_splits, 1), generator=generator)
    counts = []
    for trainings in num_trainings:
        shape = (repeats, num_splits, trainings)
        run = (split * trainings + torch.randint(trainings, shape, generator=generator)).flatten(1)
        count = torch.zeros(repeats, num_splits * trainings, dtype=torch.float64)
        counts.append(count.scatter_add(1, run, torch.ones_like(run, dtype=torch.float64)))
    return counts


def _mean_of_drawn(values: Tensor, drawn: Tensor) -> Tensor:
    """Average the runs of each resample, (repeats, runs), save those that have no value."""
    drawn = drawn.masked_fill(values.isnan(), 0)
    total = drawn.sum(1)
    if not total.all():
        raise ValueError(
            f"{int((total == 0).sum()):,} of {len(total):,} resamples leave every split drawn with "
            "one class only; there are too few nodes of the other for an interval"
        )
    return (values.nan_to_num() * drawn).sum(1) / total


def _band(
    curve: Callable[..., Tensor],
    y_true: Tensor,
    y_score: Tensor,
    points: int,
    repeats: int,
    level: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    if points < 2:
        raise ValueError(f"points must be at least 2, both ends of the grid, but is {points}")
    grid = torch.linspace(0, 1, points, dtype=torch.float64)
    curve = partial(curve, grid=grid)
    curve(y_true, y_score)  # bad input is an error before it is resampled
    values = _of_cases(curve, y_true, (y_score,), repeats, seed)[:, 0]
    return grid, *percentiles(values, level)


def roc_band(
    y_true: Tensor,
    y_score: Tensor,
    *,
    points: int = 101,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute a pointwise bootstrap band around the ROC curve, for plots.

    Pointwise: at each false positive rate alone, the band holds `level` of the resampled curves;
    the whole curve leaves it more often than that.

    Args:
        y_true, y_score: as in `metrics.roc_curve`.
        points: number of false positive rates, evenly spaced from 0 to 1.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        grid, low, high: (points,) float64; false positive rate, and true positive rates.

    Raises:
        ValueError, TypeError: as `bootstrap_interval`, or points below 2.
    """
    return _band(recall_at_false_positive_rate, y_true, y_score, points, repeats, level, seed)


def precision_recall_band(
    y_true: Tensor,
    y_score: Tensor,
    *,
    points: int = 101,
    repeats: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute a pointwise bootstrap band around the precision-recall curve, for plots.

    Pointwise as in `roc_band`. Precision at a recall is that of the highest threshold which reaches
    it, the step whose area is `metrics.average_precision`; at recall 0, that of the first positive
    found.

    Args:
        y_true, y_score: as in `metrics.roc_curve`.
        points: number of recalls, evenly spaced from 0 to 1.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        grid, low, high: (points,) float64; recall, and precisions.

    Raises:
        ValueError, TypeError: as `bootstrap_interval`, or points below 2.
    """
    return _band(precision_at_recall, y_true, y_score, points, repeats, level, seed)


def mean_interval(
    values: Tensor, *, repeats: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return a mean with its bootstrap interval: the middle of the means of resampled values.

    For a paired difference, give the differences of the same nodes.

    Args:
        values: (n,) float; NaN are left out.
        repeats: resamples.
        level: share of the resampled means that the interval holds.
        seed: of the resamples.

    Raises:
        ValueError: there is no value.
    """
    values = numbers(values, "values", if_missing="write NaN").double()
    values = values[~values.isnan()]
    if len(values) == 0:
        raise ValueError("there is no value to take the mean of")
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(values), (repeats, len(values)), generator=generator)
    low, high = values[picks].mean(1).quantile(
        torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=torch.float64)
    ).tolist()  # fmt: skip
    return Interval(values.mean().item(), low, high)
