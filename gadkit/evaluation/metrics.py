"""Metrics for rare positives: how well scores rank them, and how true probabilities are.

Labels are 0 or 1 (1 = anomaly), a larger score is more suspicious. Everything is counted on the
host, in int64 and float64, from one table: how many positives and negatives score at least as high
as each distinct score. Samples with equal scores therefore share one point, and no metric depends
on the order in which ties happen to lie (half-precision sigmoids tie by the thousand).

`weight` counts how often a sample occurs; a metric with weights equals the metric on the samples so
repeated. That is how `bootstrap` resamples without copying or sorting anything again.

Sources: T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006 (curve,
ties); J. Davis and M. Goadrich, The relationship between precision-recall and ROC curves, ICML 2006
(no straight lines between the points of a precision-recall curve); F. McSherry and M. Najork,
Computing information retrieval performance measures efficiently in the presence of tied scores,
ECIR 2008 (expectation at a cut); M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining well
calibrated probabilities using Bayesian binning, AAAI 2015 (calibration error). Conventions of the
curves are scikit-learn's.
"""

from operator import index
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph.arrays import Array, numbers

# Far below the distance of two shares of counts, far above the rounding of grid * count: of counts
# up to a million, and beyond them as their digits allow.
_ROUNDING = 1e-9
_EXACT = 1 << 53  # until there float64 has every integer
LEFT_OUT = "leave such samples out"


class _Counts(NamedTuple):
    """Positives and negatives (int64) that score at least each distinct score, descending."""

    positives: Tensor
    negatives: Tensor
    thresholds: Tensor


def _check_pair(y_true: Tensor, y_score: Tensor, name_of_score: str) -> None:
    for name, values in (("y_true", y_true), (name_of_score, y_score)):
        if values.dim() != 1:
            raise ValueError(
                f"{name} must be 1-D, one value a sample, but has shape "
                f"{tuple(values.shape)}; flatten it, or pick one column"
            )
    if len(y_true) != len(y_score):
        raise ValueError(
            f"y_true has {len(y_true):,} samples but {name_of_score} {len(y_score):,}; "
            "index both by the same nodes"
        )
    if len(y_true) == 0:
        raise ValueError(
            f"y_true and {name_of_score} are empty; a metric needs at least one sample per class"
        )


def _refuse(name: str, values: Tensor, bad: Tensor, what: str, remedy: str) -> None:
    """Raise if any value is bad, naming the first."""
    if bad.any():
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"{name} has {int(bad.sum()):,} values {what}; first at position {first}: "
            f"{values[first].item()}; {remedy}"
        )


def checked(y_true: Array, y_score: Array, name: str = "y_score") -> tuple[Tensor, Tensor]:
    """Return labels as int64 and scores as float64, on the host.

    They may be tensors, or what NumPy reads: arrays, Series by the order of their rows, lists.
    `name` is what the caller calls the scores.

    Raises:
        ValueError, TypeError: as `roc_curve`, but one class alone will do.
    """
    y_true = numbers(y_true, "y_true", if_missing=LEFT_OUT)
    y_score = numbers(y_score, name, if_missing=LEFT_OUT)
    _check_pair(y_true, y_score, name)
    y_true, y_score = y_true.detach().cpu(), y_score.detach().cpu()
    _refuse(
        "y_true",
        y_true,
        (y_true != 0) & (y_true != 1),
        "outside {0, 1}",
        "map labels to 1 = anomaly and leave unlabeled samples out",
    )
    wide = y_score.double()
    _refuse(
        name,
        wide,
        ~wide.isfinite(),
        "that are not finite",
        "look at the model's logits, a NaN has no rank",
    )
    if not y_score.is_floating_point():
        lost = (y_score.long() > _EXACT) | (y_score.long() < -_EXACT)
        _refuse(name, y_score, lost, "beyond 2^53, which float64 rounds", "rank them first")
    return y_true.long(), wide


def _checked_weight(weight: Tensor | None, num_samples: int) -> Tensor:
    if weight is None:
        return torch.ones(num_samples, dtype=torch.int64)
    weight = numbers(weight, "weight", if_missing="write 0 where a sample does not occur")
    if weight.is_floating_point() or weight.is_complex():
        raise TypeError(f"weight is {weight.dtype}, but counts repetitions; give integers")
    if weight.shape != (num_samples,):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, but there are {num_samples:,} samples"
        )
    weight = weight.cpu().long()
    _refuse("weight", weight, weight < 0, "below 0", "a sample occurs 0 times or more")
    return weight


def refuse_one_class(num_positives: int, num_samples: int) -> None:
    """Raise ValueError where all or none of the samples are positive."""
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
    y_true, y_score = checked(y_true, y_score)
    weight = _checked_weight(weight, len(y_true))
    y_true, y_score, weight = _take(weight.nonzero().squeeze(1), y_true, y_score, weight)
    if (y_score[:-1] < y_score[1:]).any():  # the bootstrap hands in samples already ranked
        y_true, y_score, weight = _take(y_score.argsort(descending=True), y_true, y_score, weight)
    positive = weight * y_true
    refuse_one_class(int(positive.sum()), int(weight.sum()))
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
        TypeError: y_true or y_score holds no real numbers, or weight is not integer.
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
    at_score, twice = _from_zero(counts.negatives).diff(), above + until
    most = 2 * int(counts.positives[-1]) * int(counts.negatives[-1])
    if most < 1 << 63:
        return int((at_score * twice).sum()) / most
    # Billions of each, which weights can say: integers of Python have no end.
    pairs = zip(at_score.tolist(), twice.tolist(), strict=True)
    return sum(negatives * positives for negatives, positives in pairs) / most


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


class _Cut(NamedTuple):
    """The tie that holds the k-th sample: how many score higher, and how many at least as high."""

    positives_before: int
    positives_until: int
    before: int
    until: int

    def expected_found(self, k: int) -> float:
        """Expected number of positives among the k highest, the tie broken at random."""
        share = (k - self.before) / (self.until - self.before)
        positives_in = self.positives_until - self.positives_before
        return self.positives_before + positives_in * share


def _cut(counts: _Counts, k: int) -> _Cut:
    total = _from_zero(counts.positives + counts.negatives)
    k, num_samples = index(k), int(total[-1])
    if not 1 <= k <= num_samples:
        raise ValueError(f"k must be in [1, {num_samples}], the number of samples, but is {k}")
    tie = int(torch.searchsorted(total, k))  # the tie in which the k-th case stands
    positives = _from_zero(counts.positives)
    return _Cut(*positives[tie - 1 : tie + 1].tolist(), *total[tie - 1 : tie + 1].tolist())


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
    return _cut(counts, k).expected_found(k) / int(counts.positives[-1])


def recall_at_positives(y_true: Tensor, y_score: Tensor, *, weight: Tensor | None = None) -> float:
    """Compute recall at as many samples as there are positives, where it equals precision.

    The field writes Rec@K; information retrieval calls it R-precision. Expected under random
    tie-breaking at the cut, as in `recall_at_k`.

    Args:
        y_true, y_score, weight: as in `roc_curve`.

    Returns:
        Recall in [0, 1]; the base rate = chance.

    Raises:
        ValueError, TypeError: as `roc_curve`.
    """
    counts = _count(y_true, y_score, weight)
    k = int(counts.positives[-1])
    return _cut(counts, k).expected_found(k) / k


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
    return _cut(_count(y_true, y_score, weight), k).expected_found(k) / index(k)


def tie_at_k(y_true: Tensor, y_score: Tensor, k: int, *, weight: Tensor | None = None) -> int:
    """Count the samples that share the k-th highest score.

    1 where it is nobody else's. Else which of them are among the k highest is left to chance, and
    `recall_at_k` and `precision_at_k` are expectations: large ties mean that the scores cannot say
    where to stop looking.

    Args:
        y_true, y_score, weight, k: as in `recall_at_k`.

    Raises:
        ValueError, TypeError: as `recall_at_k`.
    """
    cut = _cut(_count(y_true, y_score, weight), k)
    return cut.until - cut.before


def auprc_error(auprc: float, positives: int) -> float:
    """Return roughly the standard error of an AUPRC: as if it were a share of the positives.

    What lies within it of the best on a validation part cannot be told apart there (the rule of one
    standard error: Breiman et al., Classification and Regression Trees, 1984).
    """
    return (auprc * (1 - auprc) / positives) ** 0.5


def calibration_error(
    y_true: Tensor, probability: Tensor, *, bins: int = 15, weight: Tensor | None = None
) -> float:
    """Compute the expected calibration error, over bins of equally many samples.

    That is the mean over samples of |share of positives - mean probability| in their bin, of those
    that follow from cutting the samples, by ascending probability, into bins of equal size. Samples
    of equal probability stay together, in the bin where the middle one of them falls; so there may
    be fewer bins. With as few positives as fraud has, bins of equal width would leave most of them
    empty.

    Args:
        y_true: as in `roc_curve`, but one class alone will do.
        probability: (n,) real in [0, 1], of being positive.
        bins: number of bins.
        weight: as in `roc_curve`.

    Returns:
        Error in [0, 1]; 0 = calibrated. It is biased upwards: a calibrated model too has some,
        about the noise of a bin's share of positives.

    Raises:
        ValueError: as `roc_curve`, a probability is outside [0, 1], or bins is below 1.
        TypeError: as `roc_curve`.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, but is {bins}")
    y_true, probability = checked(y_true, probability, "probability")
    outside = (probability < 0) | (probability > 1)
    _refuse("probability", probability, outside, "outside [0, 1]", "take the sigmoid of logits")
    weight = _checked_weight(weight, len(y_true))
    y_true, probability, weight = _take(weight.nonzero().squeeze(1), y_true, probability, weight)
    if len(weight) == 0:
        raise ValueError("weight is 0 for every sample; a metric needs at least one")
    values, of_value = probability.unique(return_inverse=True)
    count, positives = (
        values.new_zeros(len(values)).index_add(0, of_value, w.double())
        for w in (weight, weight * y_true)
    )
    middle = count.cumsum(0) - count / 2  # exact: whole numbers and halves
    of_bin = (middle * bins / count.sum()).long()
    surplus = values.new_zeros(bins).index_add(0, of_bin, positives - count * values)
    return float(surplus.abs().sum() / count.sum())


def recall_at_false_positive_rate(
    y_true: Tensor, y_score: Tensor, grid: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """Read the ROC curve at given false positive rates; its upper end where it is upright.

    Args:
        y_true, y_score, weight: as in `roc_curve`.
        grid: (points,) float64 in [0, 1].

    Returns:
        (points,) float64 true positive rates.

    Raises:
        ValueError, TypeError: as `roc_curve`.
    """
    counts = _count(y_true, y_score, weight)
    fps, tps = _from_zero(counts.negatives), _from_zero(counts.positives)
    wanted = _grid(grid) * fps[-1]
    left = torch.searchsorted(fps.double(), wanted + _rounding(fps[-1])) - 1
    right = (left + 1).clamp(max=len(fps) - 1)
    share = ((wanted - fps[left]) / (fps[right] - fps[left]).clamp(min=1)).clamp(min=0)
    return (tps[left] + share * (tps[right] - tps[left])) / tps[-1]


def precision_at_recall(
    y_true: Tensor, y_score: Tensor, grid: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """Compute precision at the highest threshold that reaches each recall.

    These are the steps whose area is `average_precision`.

    Args:
        y_true, y_score, weight: as in `roc_curve`.
        grid: (points,) float64 in [0, 1]; at 0, the first positive found counts.

    Returns:
        (points,) float64.

    Raises:
        ValueError, TypeError: as `roc_curve`.
    """
    counts = _count(y_true, y_score, weight)
    rounding = _rounding(counts.positives[-1])
    needed = (_grid(grid) * counts.positives[-1] - rounding).ceil().clamp(min=1)
    rank = torch.searchsorted(counts.positives, needed.long())
    return counts.positives[rank].double() / (counts.positives + counts.negatives)[rank]


def _rounding(count: Tensor) -> float:
    return max(_ROUNDING, 4 * torch.finfo(torch.float64).eps * int(count))


def _grid(grid: Tensor) -> Tensor:
    return numbers(grid, "grid", if_missing="leave it out").detach().cpu().double()


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
