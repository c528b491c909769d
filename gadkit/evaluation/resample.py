"""One ranking under many weights: how metrics of resampled cases are counted.

Drawing m out of m cases with replacement is the same as counting how often each is drawn. So a
resample is a weight, the ranking stays as it is, and each score is sorted once. The metrics that
results are reported in are counted under many weights at a time, in whole numbers as in `metrics`;
any other metric is called once for each.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from gadkit.evaluation.metrics import (
    average_precision,
    checked,
    precision_at_k,
    recall_at_k,
    recall_at_positives,
    refuse_one_class,
    roc_auc,
)

Metric = Callable[..., float]
BLOCK = 1 << 20  # weights held at a time


class Ranking:
    """Cases by descending score, and what many resamples of them have in common.

    Attributes:
        column: (n,) int64; which of all nodes that are resampled each case is.
        y_true, y_score: (n,) int64 and float64.
        first, last: (n,) int64; ranks at which the tie of each case begins and ends.
        positive: (positives,) int64; their ranks.
        positives_until: (n + 1,) int64; how many positives have a lower rank.
    """

    def __init__(self, y_true: Tensor, y_score: Tensor, column: Tensor):
        y_true, y_score = checked(y_true, y_score)
        order = y_score.argsort(descending=True)
        self.y_true, self.y_score, self.column = y_true[order], y_score[order], column[order]
        begins = torch.ones(len(order), dtype=torch.bool)
        begins[1:] = self.y_score[1:] != self.y_score[:-1]
        starts = begins.nonzero().squeeze(1)
        ends = torch.cat([starts[1:], starts.new_tensor([len(order)])]) - 1
        tie = begins.cumsum(0) - 1
        self.first, self.last = starts[tie], ends[tie]
        self.positive = self.y_true.nonzero().squeeze(1)
        self.positives_until = torch.cat([tie.new_zeros(1), self.y_true.cumsum(0)])


class Counted:
    """A ranking under many weights at once, (resamples, n) int32: what the metrics read."""

    def __init__(self, ranking: Ranking, weight: Tensor):
        self.ranking, self.weight = ranking, weight
        self.seen = weight.cumsum(1, dtype=torch.int32)  # (resamples, n), up to each rank
        self.hits = weight.index_select(1, ranking.positive)  # (resamples, positives)
        hits_until = self.hits.cumsum(1, dtype=torch.int32)
        # (resamples, positives + 1): how many positives are among the first k of them
        self.hits_of_first = torch.cat([hits_until.new_zeros(len(weight), 1), hits_until], dim=1)
        self.positives = self.hits_of_first[:, -1].contiguous()
        self.negatives = self.seen[:, -1] - self.positives

    def _above(self, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """Count positives and samples above (m,) ranks, those where ties begin."""
        seen = self.seen.index_select(1, ranks) - self.weight.index_select(1, ranks)
        return self.hits_of_first.index_select(1, self.ranking.positives_until[ranks]), seen

    def _down_to(self, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """Count positives and samples down to (m,) ranks, those where ties end."""
        seen = self.seen.index_select(1, ranks)
        return self.hits_of_first.index_select(1, self.ranking.positives_until[ranks + 1]), seen

    def average_precision(self) -> Tensor:
        hits, seen = self._down_to(self.ranking.last[self.ranking.positive])
        precision = hits.double() / seen.clamp(min=1)
        return (self.hits * precision).sum(1) / self.positives

    def roc_auc(self) -> Tensor:
        hits, seen = self._down_to(self.ranking.last[self.ranking.positive])
        hits_before, seen_before = self._above(self.ranking.first[self.ranking.positive])
        twice_above = (seen - hits) + (seen_before - hits_before)  # negatives, ties counted once
        twice_pairs = (self.hits.long() * (2 * self.negatives[:, None] - twice_above)).sum(1)
        return twice_pairs / (2 * self.positives.double() * self.negatives)

    def expected_found(self, k: Tensor) -> Tensor:
        """Expected number of positives among the k highest, ties at the cut broken at random.

        Args:
            k: (resamples,) int32, from 1 to the number of samples.
        """
        rank = torch.searchsorted(self.seen, k[:, None])
        first, last = self.ranking.first[rank], self.ranking.last[rank]  # (resamples, 1)
        before = self.seen.gather(1, first) - self.weight.gather(1, first)
        hits_before = self.hits_of_first.gather(1, self.ranking.positives_until[first])
        hits = self.hits_of_first.gather(1, self.ranking.positives_until[last + 1]) - hits_before
        share = (k[:, None] - before).double() / (self.seen.gather(1, last) - before)
        return (hits_before + hits * share).squeeze(1)

    def recall_at_positives(self) -> Tensor:
        return self.expected_found(self.positives) / self.positives

    def recall_at_k(self, k: int) -> Tensor:
        return self.expected_found(self._checked_k(k)) / self.positives

    def precision_at_k(self, k: int) -> Tensor:
        return self.expected_found(self._checked_k(k)) / k

    def _checked_k(self, k: int) -> Tensor:
        num_samples = int(self.seen[:, -1].min())
        if not 1 <= k <= num_samples:
            raise ValueError(
                f"k must be in [1, {num_samples}], the samples of the smallest resample, but is {k}"
            )
        return self.positives.new_full(self.positives.shape, k)


_COUNTED = {
    average_precision: Counted.average_precision,
    roc_auc: Counted.roc_auc,
    recall_at_positives: Counted.recall_at_positives,
}
_COUNTED_AT = {recall_at_k: Counted.recall_at_k, precision_at_k: Counted.precision_at_k}


def _counted(metric: Metric) -> Callable[[Counted], Tensor] | None:
    """Return how to count a metric under many weights; None where it must be called for each."""
    if isinstance(metric, partial):
        is_counted = metric.func in _COUNTED_AT and not metric.args and {*metric.keywords} == {"k"}
        return partial(_COUNTED_AT[metric.func], **metric.keywords) if is_counted else None
    return _COUNTED.get(metric)


def _values(metric: Metric, ranking: Ranking, weight: Tensor) -> Tensor:
    """Evaluate a metric under each weight: (resamples, ...) float64.

    NaN where a resample holds one class only, which has no metric.
    """
    weight = weight.index_select(1, ranking.column)
    num_positives = weight.index_select(1, ranking.positive).sum(1)
    has_both = (num_positives > 0) & (num_positives < weight.sum(1))
    count = _counted(metric)
    if count is not None:
        return count(Counted(ranking, weight)).masked_fill(~has_both, torch.nan)
    values = [
        metric(ranking.y_true, ranking.y_score, weight=row) if both else torch.nan
        for row, both in zip(weight, has_both.tolist(), strict=True)
    ]
    return torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values])


def _draw(strata: list[Tensor], generator: torch.Generator) -> Tensor:
    """How often each node occurs in one resample: (num_nodes,) int32."""
    drawn = [
        stratum.index_select(0, torch.randint(len(stratum), stratum.shape, generator=generator))
        for stratum in strata
    ]
    return torch.cat(drawn).bincount(minlength=sum(map(len, strata))).int()


def resampled(
    metric: Metric, y_true: Tensor, rankings: Sequence[Ranking], repeats: int, seed: int
) -> Tensor:
    """Evaluate a metric of each ranking on the same stratified resamples of all nodes.

    Args:
        y_true: (num_nodes,) int64, of all nodes.

    Returns:
        (repeats, rankings, ...) float64.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, but is {repeats}")
    refuse_one_class(int(y_true.sum()), len(y_true))
    strata = [(y_true == label).nonzero().squeeze(1) for label in (0, 1)]
    generator = torch.Generator().manual_seed(seed)
    rows, size = [], max(1, BLOCK // len(y_true))
    for start in range(0, repeats, size):
        block = range(start, min(start + size, repeats))
        weight = torch.stack([_draw(strata, generator) for _ in block])
        rows.append(torch.stack([_values(metric, ranking, weight) for ranking in rankings], dim=1))
    return torch.cat(rows)


def percentiles(values: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """The central `level` of the values along axis 0."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1 (0.95 = 95 %), but is {level}")
    tail = (1 - level) / 2
    low, high = values.quantile(values.new_tensor([tail, 1 - tail]), dim=0)
    return low, high
