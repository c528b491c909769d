"""Checks of the table that a detector learns from: what one column alone can tell.

Sources: S. Kaufman et al., Leakage in data mining, TKDD 6, 2012.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gadkit.audit.finding import (
    CHANCE,
    ENOUGH,
    LEVEL,
    PASSED,
    SHOWN,
    SHUFFLED_MAY_REACH,
    WARNING,
    Finding,
    skipped,
)
from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import Interval, roc_auc

DECIDES = 0.95  # AUROC from which one column alone is suspected to be the label
LOSS = 0.1  # AUROC that a column may lose from train to test
TELLS_PART = 0.95  # AUROC of one column telling train from test; correlation with the time
CLIFF_SHARE = 0.05  # of the frauds of the training part


def single_column(
    names: Sequence[str],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    detector: Interval | None = None,
) -> Finding:
    """Measure how far each column alone, high or low, tells the labels, and if it does so in test.

    Args:
        names: of the columns.
        train: (n, dim) table of the training nodes, and their (n,) labels.
        test: the same of the test nodes.
        detector: AUROC of the whole detector on test, which one column should not reach.
    """
    check = "single column"
    if len(names) == 0:
        return skipped(check, "the table has no columns")
    table, y_true = _filled(train[0]), train[1]
    areas = torch.tensor([roc_auc(y_true, column) for column in table.T])
    sign = torch.where(areas < CHANCE, -1.0, 1.0)
    areas = torch.maximum(areas, 1 - areas)
    order = areas.argsort(descending=True, stable=True)[:SHOWN].tolist()
    in_test = {i: roc_auc(test[1], sign[i] * _filled(test[0][:, [i]])[:, 0]) for i in order}
    best = order[0]
    area = bootstrap_interval(roc_auc, y_true, sign[best] * table[:, best], level=LEVEL)
    detail = f"{names[best]!r} alone reaches {area} on train, {in_test[best]:.3f} on test"
    detail += "." if detector is None else f"; the whole detector reaches {detector} on test."
    remedy = _remedy_for_column(area, in_test[best], detector)
    return Finding(
        check=check,
        verdict=WARNING if remedy else PASSED,
        measure="AUROC of the best column alone, on train",
        value=area,
        expected=DECIDES,
        detail=detail,
        remedy=remedy,
        evidence={names[i]: f"{float(areas[i]):.3f}, on test {in_test[i]:.3f}" for i in order},
    )


def _remedy_for_column(in_train: Interval, in_test: float, detector: Interval | None) -> str:
    """Say what to do about a column of these AUROCs; "" where nothing need be done."""
    if in_train.low - in_test > LOSS:
        return (
            "It does not carry over: what it says of training nodes is not there for others. Leave "
            "it out, or make it for training nodes as it will be for those that are judged."
        )
    beats_detector = detector is not None and in_test > max(detector.low, SHUFFLED_MAY_REACH)
    if in_train.value > DECIDES or beats_detector:
        return (
            "Ask how this column came to be: what follows from the verdict, or was noted for the "
            "labelled alone, is no feature. If it is genuine, say that one column does the work."
        )
    return ""


def _filled(table: Tensor) -> Tensor:
    """Give missing values a level of their own, below all others, column by column."""
    lowest = torch.where(table.isnan(), torch.inf, table).amin(0) - 1
    lowest = torch.where(lowest.isfinite(), lowest, 0.0)
    return torch.where(table.isnan(), lowest, table)


def value_artefact(names: Sequence[str], table: Tensor, y_true: Tensor) -> Finding:
    """Look for a threshold beyond which all is fraud, and short of which nothing is special.

    A real signal fades: next to the region that is all fraud lies one that is mostly fraud. Where
    the rate falls to that of the whole table at once, a generator, a filter or the labelling has
    left a mark.

    Args:
        names: of the columns.
        table: (n, dim) of the training nodes.
        y_true: (n,) their labels.
    """
    cliffs = {}  # name: number of frauds beyond the threshold, and where that is
    for column, name in zip(_filled(table).T, names, strict=True):
        above, top = _cliff(column, y_true)
        below, bottom = _cliff(-column, y_true)
        if max(above, below):
            where = f"above {top:.6g}" if above >= below else f"below {-bottom:.6g}"
            cliffs[name] = max(above, below), f"all {max(above, below):,} {where}"
    order = sorted(cliffs, key=lambda name: -cliffs[name][0])
    verdict, remedy = PASSED, ""
    detail = "No column has a threshold beyond which all is fraud at once."
    if order:
        share = cliffs[order[0]][0] / int(y_true.sum())
        verdict = WARNING
        detail = f"{order[0]!r}: {share:.0%} of the frauds lie where nothing else does."
        remedy = (
            "Look at how these values came about. In a simulation it is an artefact of the "
            "simulator; in real data, often a code for missing or for closed accounts. Leave the "
            "column out."
        )
    return Finding(
        check="value artefact",
        verdict=verdict,
        measure="columns with such a threshold",
        value=len(order),
        expected=0,
        detail=detail,
        remedy=remedy,
        evidence={name: cliffs[name][1] for name in order[:SHOWN]},
    )


def _cliff(column: Tensor, y_true: Tensor) -> tuple[int, float]:
    """Count the frauds above all other values, if there is an edge and no slope; 0 if not.

    Returns:
        the number of frauds, and the largest value of a node that is none.
    """
    num_frauds, normal = int(y_true.sum()), column[y_true == 0].sort(descending=True).values
    beyond = column > normal[0]
    count = int(beyond.sum())
    if count < max(ENOUGH, CLIFF_SHARE * num_frauds) or count == num_frauds:
        return 0, 0.0
    # A slope: of the 2 * count values just short of the threshold, more are frauds than the rate
    # of all that are left explains, by three standard errors.
    rest, y_rest = column[~beyond], y_true[~beyond].double()
    nearest = rest.sort(descending=True).values[min(2 * count, len(rest)) - 1]
    nearby, rate = y_rest[rest >= nearest], float(y_rest.mean())
    fades = float(nearby.mean()) > rate + 3 * math.sqrt(rate * (1 - rate) / len(nearby))
    # An edge: the frauds beyond it share one value, such as a code, which stands out where other
    # values hardly repeat; or the other values do not thin out towards their end.
    is_code = len(column[beyond].unique()) == 1 and len(normal.unique()) > len(normal) / 2
    is_edge = not fades and (is_code or _ends_abruptly(normal))
    return (count, float(normal[0])) if is_edge else (0, 0.0)


def _ends_abruptly(descending: Tensor) -> bool:
    """Whether values lie as densely at their upper end as in their middle."""
    step = max(5, len(descending) // 50)
    if len(descending) <= 2 * step:
        return False
    widths = descending[:-step] - descending[step:]
    return bool(widths[0] <= 2 * widths.median())


def time_column(
    names: Sequence[str],
    train: Tensor,
    test: Tensor,
    times: tuple[Tensor, Tensor] | None = None,
) -> Finding:
    """Look for columns that are the time in disguise, or otherwise tell train from test.

    Args:
        names: of the columns.
        train: (n, dim) table of the training nodes.
        test: (m, dim) table of the test nodes.
        times: (n,) and (m,) of the training and of the test nodes, if they have some.
    """
    in_test = torch.cat([torch.zeros(len(train)), torch.ones(len(test))]).long()
    table = _filled(torch.cat([train, test]))
    time = None if times is None else torch.cat(times)
    time_rank = None if time is None or time.isnan().any() else ranks(time)
    marks = {}  # name: (AUROC for being in test, correlation with the time)
    for column, name in zip(table.T, names, strict=True):
        area = roc_auc(in_test, column)
        along = 0.0 if time_rank is None else abs(_correlation(ranks(column), time_rank))
        marks[name] = max(area, 1 - area), along
    order = sorted(marks, key=lambda name: -max(marks[name]))[:SHOWN]
    highest, detail, evidence = 0.0, "No column.", {}
    if order:
        highest, detail = max(marks[order[0]]), f"{order[0]!r} does most to tell train from test."
    for name in order:
        area, along = marks[name]
        evidence[name] = f"tells test {area:.3f}"
        evidence[name] += "" if time_rank is None else f", time {along:.3f}"
    verdict, remedy = PASSED, ""
    if highest > TELLS_PART:
        verdict = WARNING
        remedy = (
            "Leave it out, or replace it by a difference of times: what a tree learns of a period "
            "says nothing of the next."
        )
    return Finding(
        check="time column",
        verdict=verdict,
        measure="AUROC of a column for being in test, or its correlation with the time",
        value=highest,
        expected=TELLS_PART,
        detail=detail,
        remedy=remedy,
        evidence=evidence,
    )


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value from 0, ties given their mean rank; (n,) float64."""
    # Values 7, 5, 7: groups 1, 0, 1 of counts 1, 2; ranks end before 1 and 3, and the mean rank of
    # a group lies (count + 1) / 2 before its end: 0 and 1.5.
    _, group, count = values.unique(return_inverse=True, return_counts=True)
    end = count.cumsum(0).double()
    return (end - (count + 1) / 2)[group]


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else 0.0
