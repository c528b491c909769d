"""Ranking metrics for rare positives, and how sure they are.

Labels are 0 or 1 (1 = anomaly), a larger score is more suspicious. Everything is counted on the
host, in int64 and float64, from one table: how many positives and negatives score at least as high
as each distinct score. Samples with equal scores therefore share one point, and no metric depends
on the order in which ties happen to lie (half-precision sigmoids tie by the thousand).

`weight` counts how often a sample occurs; a metric with weights equals the metric on the samples so
repeated. That is how the bootstrap resamples without copying or sorting anything again.

Sources: T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006 (curve,
ties, vertical bands); J. Davis and M. Goadrich, The relationship between precision-recall and ROC
curves, ICML 2006 (no straight lines between the points of a precision-recall curve); F. McSherry
and M. Najork, Computing information retrieval performance measures efficiently in the presence of
tied scores, ECIR 2008 (expectation at a cut); B. Efron and R. Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13 (percentile intervals). Conventions of the curves are scikit-learn's.
"""

from collections.abc import Callable
from functools import partial
from operator import index
from typing import NamedTuple

import torch
from torch import Tensor

# Far below the distance of two shares of counts, far above the rounding of grid * count.
_ROUNDING = 1e-9


class Interval(NamedTuple):
    """A number and its interval; prints as `0.873 [0.851, 0.893]`, or by a format as `{:+.2f}`."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self, "")


class _Counts(NamedTuple):
    """Positives and negatives (int64) that score at least each distinct score, descending."""

    positives: Tensor
    negatives: Tensor
    thresholds: Tensor


def _check_pair(y_true: Tensor, y_score: Tensor) -> None:
    for name, values in (("y_true", y_true), ("y_score", y_score)):
        if not isinstance(values, Tensor) or values.is_complex():
            kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise TypeError(
                f"{name} must be a tensor of real numbers, not {kind}; "
                "torch.as_tensor converts arrays and lists"
            )
        if values.dim() != 1:
            raise ValueError(
                f"{name} must be 1-D, one value a sample, but has shape "
                f"{tuple(values.shape)}; flatten it, or pick one column"
            )
    if len(y_true) != len(y_score):
        raise ValueError(
            f"y_true has {len(y_true):,} samples but y_score {len(y_score):,}; "
            "index both by the same nodes"
        )
    if len(y_true) == 0:
        raise ValueError(
            "y_true and y_score are empty; a metric needs at least one sample per class"
        )


def _refuse(name: str, values: Tensor, bad: Tensor, what: str, remedy: str) -> None:
    """Raise if any value is bad, naming the first."""
    if bad.any():
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"{name} has {int(bad.sum()):,} values {what}; first at position {first}: "
            f"{values[first].item()}; {remedy}"
        )


def _checked(y_true: Tensor, y_score: Tensor) -> tuple[Tensor, Tensor]:
    """Labels as int64 and scores as float64, on the host."""
    _check_pair(y_true, y_score)
    y_true, y_score = y_true.detach().cpu(), y_score.detach().cpu()
    _refuse(
        "y_true",
        y_true,
        (y_true != 0) & (y_true != 1),
        "outside {0, 1}",
        "map labels to 1 = anomaly and leave unlabeled samples out",
    )
    _refuse(
        "y_score",
        y_score,
        ~y_score.isfinite(),
        "that are not finite",
        "look at the model's logits, a NaN has no rank",
    )
    return y_true.long(), y_score.double()


def _checked_weight(weight: Tensor | None, num_samples: int) -> Tensor:
    if weight is None:
        return torch.ones(num_samples, dtype=torch.int64)
    if weight.is_floating_point() or weight.is_complex():
        raise TypeError(f"weight is {weight.dtype}, but counts repetitions; give integers")
    if weight.shape != (num_samples,):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, but there are {num_samples:,} samples"
        )
    weight = weight.cpu().long()
    _refuse("weight", weight, weight < 0, "below 0", "a sample occurs 0 times or more")
    return weight


def _refuse_one_class(num_positives: int, num_samples: int) -> None:
    if num_positives in (0, num_samples):
        raise ValueError(
            f"y_true holds one class only: {num_positives:,} of {num_samples:,} samples are 1; "
            "ranking needs both, so stratify the split or widen the sample"
        )


def _take(positions: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Read each column at the positions.

    By `index_select`, which is serial: `column[positions]` starts every thread for a few thousand
    samples, and a thousand resamples then wait seconds for threads whenever the cores are shared.
    """
    return tuple(column.index_select(0, positions) for column in columns)


def _count(y_true: Tensor, y_score: Tensor, weight: Tensor | None) -> _Counts:
    """Validate, rank and cumulate: the table that every metric reads."""
    y_true, y_score = _checked(y_true, y_score)
    weight = _checked_weight(weight, len(y_true))
    y_true, y_score, weight = _take(weight.nonzero().squeeze(1), y_true, y_score, weight)
    if (y_score[:-1] < y_score[1:]).any():  # the bootstrap hands in samples already ranked
        y_true, y_score, weight = _take(y_score.argsort(descending=True), y_true, y_score, weight)
    positive = weight * y_true
    _refuse_one_class(int(positive.sum()), int(weight.sum()))
    is_last_of_tie = torch.cat([y_score[:-1] != y_score[1:], torch.ones(1, dtype=torch.bool)])
    last_of_tie = is_last_of_tie.nonzero().squeeze(1)
    return _Counts(*_take(last_of_tie, positive.cumsum(0), (weight - positive).cumsum(0), y_score))


def _from_zero(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts])


def roc_curve(
    y_true: Tensor, y_score: Tensor, *, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the ROC curve, one point for each distinct score.

    Ties share a point, so that a straight line, and not the order of the ties, leads over them.

    Args:
        y_true: (n,) int, bool or float in {0, 1}; 1 = anomaly.
        y_score: (n,) real; larger is more suspicious.
        weight: (n,) int; how often each sample occurs, once if None.

    Returns:
        fpr, tpr, thresholds: (points,) float64 each, from (0, 0) at threshold inf to (1, 1).
        A sample counts as found if `score >= threshold`. No point is dropped, as with
        scikit-learn's `drop_intermediate=False`.

    Raises:
        ValueError: one class only, labels outside {0, 1}, scores not finite, unequal lengths, not
            1-D, or empty. The message names the first offending value and its position.
        TypeError: y_true or y_score is no tensor of real numbers, or weight is not integer.
    """
    counts = _count(y_true, y_score, weight)
    fpr = _from_zero(counts.negatives).double() / counts.negatives[-1]
    tpr = _from_zero(counts.positives).double() / counts.positives[-1]
    return fpr, tpr, torch.cat([counts.thresholds.new_tensor([torch.inf]), counts.thresholds])


def roc_auc(y_true: Tensor, y_score: Tensor, *, weight: Tensor | None = None) -> float:
    """Compute the area under the ROC curve.

    It is the chance that a random positive outranks a random negative, ties counted half. The pairs
    are counted in integers, so the area is exact but for one division.

    Args:
        y_true, y_score, weight: as in `roc_curve`.

    Returns:
        Area in [0, 1]; 0.5 = chance.

    Raises:
        ValueError, TypeError: as `roc_curve`.
    """
    counts = _count(y_true, y_score, weight)
    above, until = _from_zero(counts.positives)[:-1], counts.positives
    twice_pairs = (_from_zero(counts.negatives).diff() * (above + until)).sum()
    return int(twice_pairs) / (2 * int(counts.positives[-1]) * int(counts.negatives[-1]))


def precision_recall_curve(
    y_true: Tensor, y_score: Tensor, *, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute precision and recall at each distinct score, in scikit-learn's order.

    Args:
        y_true, y_score, weight: as in `roc_curve`.

    Returns:
        precision, recall: (points + 1,) float64; recall falls from 1 to 0, and the last point is
        (precision 1, recall 0), which belongs to no threshold.
        thresholds: (points,) float64, ascending.

    Raises:
        ValueError, TypeError: as `roc_curve`.
    """
    counts = _count(y_true, y_score, weight)
    precision = counts.positives.double() / (counts.positives + counts.negatives)
    recall = counts.positives.double() / counts.positives[-1]
    end = precision.new_tensor([1.0, 0.0])
    return (
        torch.cat([precision.flip(0), end[:1]]),
        torch.cat([recall.flip(0), end[1:]]),
        counts.thresholds.flip(0),
    )


def average_precision(y_true: Tensor, y_score: Tensor, *, weight: Tensor | None = None) -> float:
    """Compute average precision, the sum over thresholds of precision times the gain in recall.

    This is the area under the step curve; straight lines between the points would flatter the
    model.

    Args:
        y_true, y_score, weight: as in `roc_curve`.

    Returns:
        Area in (0, 1]; the base rate (share of positives) = chance.

    Raises:
        ValueError, TypeError: as `roc_curve`.
    """
    counts = _count(y_true, y_score, weight)
    precision = counts.positives.double() / (counts.positives + counts.negatives)
    gained = _from_zero(counts.positives).diff()
    return float((precision * gained).sum() / counts.positives[-1])


def _expected_found(counts: _Counts, k: int) -> float:
    """Expected number of positives among the k highest, ties at the cut broken at random."""
    total = _from_zero(counts.positives + counts.negatives)
    k, num_samples = index(k), int(total[-1])
    if not 1 <= k <= num_samples:
        raise ValueError(f"k must be in [1, {num_samples}], the number of samples, but is {k}")
    cut = int(torch.searchsorted(total, k))  # the tie group that holds the k-th sample
    before, until = _from_zero(counts.positives)[cut - 1 : cut + 1].tolist()
    begin, end = total[cut - 1 : cut + 1].tolist()
    return before + (until - before) * (k - begin) / (end - begin)


def recall_at_k(y_true: Tensor, y_score: Tensor, k: int, *, weight: Tensor | None = None) -> float:
    """Compute the expected share of all positives found among the k highest scores.

    Expected under random tie-breaking at the cut: if the k-th score is shared, each sample of the
    tie is equally likely to be among the k, so the value does not depend on the order of the
    samples.

    Args:
        y_true, y_score, weight: as in `roc_curve`.
        k: number of samples an analyst can look at, 1 to n (the sum of the weights, if given).

    Returns:
        Recall in [0, 1]; k / n = chance.

    Raises:
        ValueError: as `roc_curve`, or k out of range.
        TypeError: as `roc_curve`, or k is no integer.
    """
    counts = _count(y_true, y_score, weight)
    return _expected_found(counts, k) / int(counts.positives[-1])


def precision_at_k(
    y_true: Tensor, y_score: Tensor, k: int, *, weight: Tensor | None = None
) -> float:
    """Compute the expected share of positives among the k highest scores.

    Expected under random tie-breaking at the cut, as in `recall_at_k`.

    Args:
        y_true, y_score, weight, k: as in `recall_at_k`.

    Returns:
        Precision in [0, 1]; the base rate = chance.

    Raises:
        ValueError, TypeError: as `recall_at_k`.
    """
    return _expected_found(_count(y_true, y_score, weight), k) / index(k)


def _draw(strata: list[Tensor], generator: torch.Generator) -> Tensor:
    """How often each sample occurs in one resample: (n,) int64."""
    drawn = [
        stratum.index_select(0, torch.randint(len(stratum), stratum.shape, generator=generator))
        for stratum in strata
    ]
    return torch.cat(drawn).bincount(minlength=sum(map(len, strata)))


def _resampled(
    statistic: Callable, y_true: Tensor, y_scores: tuple[Tensor, ...], repeats: int, seed: int
) -> Tensor:
    """Evaluate a statistic of each score on the same stratified resamples: (repeats, scores, ...).

    Drawing m out of m with replacement is the same as counting how often each is drawn, so a
    resample is a weight. The ranking stays as it is, and each score is sorted once.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, but is {repeats}")
    checked = [_checked(y_true, y_score) for y_score in y_scores]
    y_true = checked[0][0]
    orders = [y_score.argsort(descending=True) for _, y_score in checked]
    ranked = [_take(order, *pair) for order, pair in zip(orders, checked, strict=True)]
    _refuse_one_class(int(y_true.sum()), len(y_true))
    strata = [(y_true == label).nonzero().squeeze(1) for label in (0, 1)]
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(repeats):
        weight = _draw(strata, generator)
        values = [
            statistic(y, s, weight=weight.index_select(0, order))
            for (y, s), order in zip(ranked, orders, strict=True)
        ]
        rows.append(torch.stack([torch.as_tensor(v, dtype=torch.float64) for v in values]))
    return torch.stack(rows)


def _percentiles(values: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """The central `level` of the values along axis 0."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1 (0.95 = 95 %), but is {level}")
    tail = (1 - level) / 2
    low, high = values.quantile(values.new_tensor([tail, 1 - tail]), dim=0)
    return low, high


def bootstrap_interval(
    metric: Callable[..., float],
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
        metric: called as `metric(y_true, y_score, weight=weight)`, such as `roc_auc` or
            `functools.partial(recall_at_k, k=100)`.
        y_true, y_score: as in `roc_curve`.
        repeats: number of resamples.
        level: share of resamples inside the interval.
        seed: of the resamples; the same seed gives the same bits.

    Returns:
        The metric on the samples as they are, and the ends of its interval.

    Raises:
        ValueError: as `roc_curve`, repeats below 1, or level outside (0, 1).
        TypeError: as `roc_curve`.
    """
    value = metric(y_true, y_score)
    low, high = _percentiles(_resampled(metric, y_true, (y_score,), repeats, seed)[:, 0], level)
    return Interval(value, float(low), float(high))


def paired_interval(
    metric: Callable[..., float],
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
        y_true: (n,) as in `roc_curve`.
        y_score_a, y_score_b: (n,) real; the scores of the two models for the same samples.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        The difference and the ends of its interval; an interval above 0 favors a.

    Raises:
        ValueError, TypeError: as `bootstrap_interval`.
    """
    value = metric(y_true, y_score_a) - metric(y_true, y_score_b)
    values = _resampled(metric, y_true, (y_score_a, y_score_b), repeats, seed)
    low, high = _percentiles(values[:, 0] - values[:, 1], level)
    return Interval(value, float(low), float(high))


def _tpr_at(
    y_true: Tensor, y_score: Tensor, grid: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """True positive rate at false positive rates; the upper end where the curve is upright."""
    counts = _count(y_true, y_score, weight)
    fps, tps = _from_zero(counts.negatives), _from_zero(counts.positives)
    wanted = grid * fps[-1]
    left = torch.searchsorted(fps.double(), wanted + _ROUNDING) - 1
    right = (left + 1).clamp(max=len(fps) - 1)
    share = ((wanted - fps[left]) / (fps[right] - fps[left]).clamp(min=1)).clamp(min=0)
    return (tps[left] + share * (tps[right] - tps[left])) / tps[-1]


def _precision_at(
    y_true: Tensor, y_score: Tensor, grid: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """Precision at the highest threshold that reaches each recall: `average_precision`'s steps."""
    counts = _count(y_true, y_score, weight)
    needed = (grid * counts.positives[-1] - _ROUNDING).ceil().clamp(min=1)
    at = torch.searchsorted(counts.positives, needed.long())
    return counts.positives[at].double() / (counts.positives + counts.negatives)[at]


def _band(
    statistic: Callable,
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
    statistic = partial(statistic, grid=grid)
    statistic(y_true, y_score)  # bad input is an error before it is resampled
    values = _resampled(statistic, y_true, (y_score,), repeats, seed)[:, 0]
    return grid, *_percentiles(values, level)


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
        y_true, y_score: as in `roc_curve`.
        points: number of false positive rates, evenly spaced from 0 to 1.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        grid, low, high: (points,) float64; false positive rate, and true positive rates.

    Raises:
        ValueError, TypeError: as `bootstrap_interval`, or points below 2.
    """
    return _band(_tpr_at, y_true, y_score, points, repeats, level, seed)


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
    it, the step whose area is `average_precision`; at recall 0, that of the first positive found.

    Args:
        y_true, y_score: as in `roc_curve`.
        points: number of recalls, evenly spaced from 0 to 1.
        repeats, level, seed: as in `bootstrap_interval`.

    Returns:
        grid, low, high: (points,) float64; recall, and precisions.

    Raises:
        ValueError, TypeError: as `bootstrap_interval`, or points below 2.
    """
    return _band(_precision_at, y_true, y_score, points, repeats, level, seed)
