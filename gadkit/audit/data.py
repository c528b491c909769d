"""Checks of what lies there: the data, the split, and the table that a detector learns from.

A check returns a `Finding`. *Failed* means that the result is not what it claims to be; *warning*,
that somebody has to look, and say so beside the number; *passed*, that this check found nothing,
which does not prove that there is nothing. `canaries` has the checks that change something and run
again; `gadkit.audit` runs them all.

Sources: S. Kaufman et al., Leakage in data mining, TKDD 6, 2012; S. Kapoor and A. Narayanan,
Leakage and the reproducibility crisis in machine-learning-based science, Patterns 4, 2023; D. Katz
et al., Obtaining confidence intervals for the risk ratio, Biometrics 34, 1978.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import torch
from torch import Tensor

from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import Split, protocols
from gadkit.graph import HeteroGraph

PASSED, WARNING, FAILED, SKIPPED = "passed", "warning", "failed", "not run"
LEVEL = 0.99  # of every interval: a score of checks at 95 % would raise an alarm in most audits
CHANCE = 0.5  # AUROC

DECIDES = 0.95  # AUROC from which one column alone is suspected to be the label
SHUFFLED_MAY_REACH = 0.55  # AUROC after learning from shuffled labels
# Out-of-fold rates tell a little of the labels of a small group (0.57 at worst in trials); rates
# that leave out only the own label tell nearly all (0.8 and more).
DECODED_MAY_REACH = 0.6
CONCORDANCE_MARGIN = 0.1  # around 0.5
TELLS_PART = 0.95  # AUROC of one column telling train from test; correlation with the time
TWINS_FAIL = 0.05  # share of the test nodes
RARE = 5  # nodes of one type that may share a row before it counts as common
SMALL_ENTITY = 0.05  # share of the labelled nodes; where one has more, it is a category
MANY = 20  # labelled nodes an entity; where there are more on average, they are categories
CARRIED = 0.1  # AUROC that a column may lose from train to test
EXPOSED = 0.05  # share of the test nodes
CLIFF_SHARE = 0.05  # of the frauds of the training part
ENOUGH = 10  # frauds or nodes to say anything of a column
SHOWN = 10  # rows of evidence

QUESTIONS = {
    "overlap": "Is every node in one part only, with the label that the graph gives it?",
    "base rates": "Is fraud as frequent in test as in train?",
    "node types": "Does the type of a node alone tell its label?",
    "duplicates": "Do test nodes have the own features of training nodes, to the last bit?",
    "same entity": "Do test nodes belong to somebody whose label train has told?",
    "single column": "Does one column alone decide?",
    "value artefact": "Is there a threshold beyond which all is fraud, and short of it nothing?",
    "time column": "Does a column tell when a node is from, or in which part?",
    "test labels in features": "Do features stay the same when all test labels are turned over?",
    "own label in features": "Does the row of a training node move with its own label?",
    "label decoded from features": "Can trees work a row's own label out of its label features?",
    "future in features": "Do features stay the same when later events are taken away?",
    "test labels in scores": "Do scores stay the same when all test labels are turned over?",
    "permuted labels": "Does the detector find nothing once labels mean nothing?",
    "rewired edges": "Is the graph better than one at random with the same degrees?",
    "half the edges": "Is the graph better than one with half of its edges?",
    "shuffled nodes": "Is it better than the same structure, dealt out at random among the nodes?",
}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name, a key of `QUESTIONS`.
        verdict: PASSED, WARNING, FAILED or SKIPPED.
        measure: what `value` is; "" without one.
        value: the number, with its interval (of `LEVEL`) where it has one.
        expected: what the number is where nothing is wrong, or what it should stay on one side of.
        detail: what was found, in words.
        remedy: how to mend it; "" where nothing need be.
        evidence: rows of names and numbers, the most telling first.
    """

    check: str
    verdict: str
    measure: str = ""
    value: Interval | float | None = None
    expected: float | None = None
    detail: str = ""
    remedy: str = ""
    evidence: dict[str, str] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """What was looked at."""
        return QUESTIONS[self.check]

    @property
    def number(self) -> str:
        """The value as text: `0.873 [0.851, 0.893]`, a count, or nothing."""
        if self.value is None:
            return ""
        if isinstance(self.value, Interval):
            return str(self.value)
        return f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:.3f}"


def skipped(check: str, reason: str) -> Finding:
    """Say why a check was not run."""
    return Finding(check, SKIPPED, detail=f"Not run: {reason}.")


# Data and split.


def overlap(graph: HeteroGraph, split: Split) -> Finding:
    """Look for nodes in two parts, without a label, or with another label than the graph's."""
    ids = torch.cat([part[:, 0] for part in split])
    value = torch.full((graph.total,), -1)
    value[graph.labels[:, 0]] = graph.labels[:, 1]
    said, known = torch.cat([part[:, 1] for part in split]), value[ids]
    repeated = len(ids) - len(ids.unique())
    counts = {
        "in two parts, or twice in one": repeated,
        "without a label in the graph": int((known < 0).sum()),
        "with another label than the graph's": int(((known >= 0) & (known != said)).sum()),
    }
    evidence = {name: f"{count:,}" for name, count in counts.items() if count}
    evidence |= {name: f"{len(p):,} nodes" for name, p in zip(Split._fields, split, strict=True)}
    wrong = sum(counts.values())
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return Finding(
        "overlap",
        FAILED if wrong else PASSED,
        "nodes wrong",
        wrong,
        0,
        f"Of {len(ids):,} nodes in the split: {found or 'none wrong'}.",
        "Make the split again with evaluation.splits, of the graph's own labels." if wrong else "",
        evidence,
    )


def base_rates(split: Split) -> Finding:
    """Compare the share of anomalies among the parts."""
    rates = [float(part[:, 1].double().mean()) for part in split]
    ratio = _risk_ratio(split.test[:, 1], split.train[:, 1])
    shifted = not ratio.low <= 1 <= ratio.high
    return Finding(
        "base rates",
        WARNING if shifted else PASSED,
        "base rate of test over that of train",
        ratio,
        1,
        "Test holds {}.".format(
            "a share of anomalies unlike that of train" if shifted else "about the same share"
        ),
        "AUPRC and precision depend on the base rate: compare AUROC or lift across parts, and do "
        "not choose models by a validation AUPRC alone."
        if shifted
        else "",
        {name: f"{rate:.2%}" for name, rate in zip(Split._fields, rates, strict=True)},
    )


def node_types(graph: HeteroGraph, split: Split) -> Finding:
    """Ask how well the type of a node alone tells its label, as where one type is never fraud."""
    ids, y_true = torch.cat(list(split)).unbind(1)
    types = graph.node_type_of(ids)
    rates, pure = {}, []
    score = torch.zeros(len(ids), dtype=torch.float64)
    for number in types.unique().tolist():
        chosen, name = types == number, graph.node_types[number]
        score[chosen] = rate = float(y_true[chosen].double().mean())
        rates[name] = f"{rate:.2%} of {int(chosen.sum()):,}"
        pure += [name] if rate in (0, 1) else []
    area = bootstrap_interval(roc_auc, y_true, score, level=LEVEL)
    telling = len(rates) > 1 and bool(pure or area.low > SHUFFLED_MAY_REACH)
    detail = "All labelled nodes are of one type." if len(rates) == 1 else "Rates differ little."
    if telling:
        detail = f"The type alone reaches {area} AUROC" + (
            f"; {', '.join(pure)} is of one class throughout." if pure else "."
        )
    return Finding(
        "node types",
        WARNING if telling else PASSED,
        "AUROC of the type alone",
        area,
        CHANCE,
        detail,
        "Judge within one type: leave the labels of the others out of the split." * telling,
        rates,
    )


def duplicates(
    graph: HeteroGraph, split: Split, *, own: dict[str, int] | None = None, seed: int = 0
) -> Finding:
    """Look for test nodes whose own features are the very row of a training node.

    Rows that are constant, or that more than `RARE` nodes share, are passed over. Coarse columns
    agree by chance: what that gives is measured on the same columns, each shuffled on its own. And
    twins give something away only if their labels agree more often than those of any two nodes.
    """
    check = "duplicates"
    if graph.x is None:
        return skipped(check, "the nodes have no features")
    generator = torch.Generator().manual_seed(seed)
    label = torch.full((graph.total,), -1)
    label[split.train[:, 0]] = split.train[:, 1]
    pairs, by_chance = [], 0
    for name in graph.node_types:
        x = graph.x[name][:, : None if own is None else own[name]]
        span = graph.span(name)
        tested = split.test[(split.test[:, 0] >= span.start) & (split.test[:, 0] < span.stop)]
        if x.shape[1] == 0 or len(tested) == 0:
            continue
        twin = _twins(x, label[span])[tested[:, 0] - span.start]
        pairs.append(torch.stack([twin, tested[:, 1].double()], 1)[twin >= 0])
        mixed = torch.stack([c[torch.randperm(len(c), generator=generator)] for c in x.T], 1)
        by_chance += int((_twins(mixed, label[span])[tested[:, 0] - span.start] >= 0).sum())
    twin, y_true = torch.cat([*pairs, torch.empty(0, 2)]).unbind(1)
    share = len(twin) / len(split.test)
    rate = float(split.train[:, 1].double().mean())
    agree, expected = (torch.where(y_true == 1, one, 1 - one) for one in (twin, twin * 0 + rate))
    many = len(twin) > 2 * by_chance + 2
    telling = many and _mean_interval(agree - expected).low > 0
    detail = f"{len(twin):,} of {len(split.test):,} test nodes have the own features of a training "
    detail += f"node, to the last bit; {by_chance:,} would by chance."
    evidence = {}
    if many:
        detail += "" if telling else " But their labels agree no more often than any."
        evidence["labels of twins agree"] = f"{float(agree.mean()):.1%}"
        evidence["labels of any two agree"] = f"{float(expected.mean()):.1%}"
    return Finding(
        check,
        PASSED if not telling else FAILED if share >= TWINS_FAIL else WARNING,
        "share of test nodes with a twin in train",
        share,
        by_chance / len(split.test),
        detail,
        "Find out whether they are one account or event entered twice; remove the copies, or keep "
        "them in one part with splits.by_group."
        if telling
        else "",
        evidence,
    )


def _mean_interval(values: Tensor) -> Interval:
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    width = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    return Interval(mean, mean - width, mean + width)


def _twins(x: Tensor, label: Tensor) -> Tensor:
    """Mean training label of the rows equal to each, -1 where there are none or too many.

    Args:
        x: (n, dim).
        label: (n,) 0 or 1 of training nodes, -1 of others.
    """
    _, row, count = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    taught = (label >= 0).double()
    known = torch.zeros(len(count), dtype=torch.float64).index_add(0, row, taught)
    total = known.new_zeros(len(count)).index_add(0, row, taught * label)
    constant = (x == x[:, :1]).all(1)
    mean = (total / known.clamp(min=1))[row]
    usable = (known[row] > 0) & (count[row] <= RARE) & ~constant
    return torch.where(usable, mean, -1.0)


def same_entity(graph: HeteroGraph, split: Split) -> Finding:
    """Ask how many test nodes belong to somebody known from train, and what that gives away.

    An entity is the one neighbor that a labelled node has in a relation, as the author of a review.
    """
    check = "same entity"
    judged, entity_of = torch.cat(list(split))[:, 0], entities(graph)
    found = {
        relation: _exposure(entity, split)
        for relation, entity in entity_of.items()
        if not _is_category(entity[judged])
    }
    if not found:
        return skipped(check, "no relation gives the labelled nodes one entity each")
    worst = max(found, key=lambda name: found[name][1].low)
    share, lift = found[worst]
    exposed = share > EXPOSED and lift.low > 1
    owner = graph.node_types[int(graph.node_type_of(entity_of[worst].max()[None]))]
    apart = f"protocol new_{owner}" if f"new_{owner}" in protocols(graph) else "splits.by_group"
    return Finding(
        check,
        WARNING if exposed else PASSED,
        "fraud of test nodes whose entity had some in train, over that of the others",
        lift,
        1,
        f"By {worst}, {share:.0%} of the test nodes are of a {owner} that train knows.",
        f"Say that the number is for a {owner} known already, and report {apart} beside it, where "
        "every one is new."
        if exposed
        else "",
        {name: f"{share:.0%} known, lift {lift:.2f}" for name, (share, lift) in found.items()},
    )


def entities(graph: HeteroGraph) -> dict[str, Tensor]:
    """Return by relation whom the labelled nodes belong to, where each has one neighbor at most.

    Returns:
        relation: (total,) int64 global id of the neighbor, -1 without one.
    """
    found = {}
    for _, (src, name, dst), csr in graph.streams:
        if dst in graph.labelled_types and src != dst and int(csr.degrees().max()) == 1:
            entity = torch.full((graph.total,), -1)
            entity[graph.offset(dst) + csr.dst()] = graph.offset(src) + csr.indices.long()
            found[name] = entity
    return found


def _is_category(entity: Tensor) -> bool:
    known = entity[entity >= 0]
    if len(known) == 0:
        return True
    sizes = known.bincount()
    sizes = sizes[sizes > 0]
    return bool(sizes.max() > max(2, SMALL_ENTITY * len(entity)) or sizes.double().mean() > MANY)


def _exposure(entity: Tensor, split: Split) -> tuple[float, Interval]:
    """Share of test nodes of known entities, and the lift of a fraud of theirs in train."""
    (ids, y), (tested, y_true) = split.train.unbind(1), split.test.unbind(1)
    of_train, of_test = entity[ids], entity[tested]
    known = torch.isin(of_test, of_train[of_train >= 0])
    frauds = of_train[(y == 1) & (of_train >= 0)]
    marked = torch.isin(of_test, frauds)
    return float(known.double().mean()), _risk_ratio(y_true[marked], y_true[~marked])


def _risk_ratio(exposed: Tensor, others: Tensor) -> Interval:
    """Ratio of two shares of ones with Katz's interval; half a case is added to each cell."""
    a, n = float(exposed.sum()) + 0.5, len(exposed) + 1.0
    b, m = float(others.sum()) + 0.5, len(others) + 1.0
    ratio = (a / n) / (b / m)
    spread = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(1 / a - 1 / n + 1 / b - 1 / m)
    return Interval(ratio, ratio * math.exp(-spread), ratio * math.exp(spread))


# Features.


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
    best = order[0]
    in_test = {i: roc_auc(test[1], sign[i] * _filled(test[0][:, [i]])[:, 0]) for i in order}
    area = bootstrap_interval(roc_auc, y_true, sign[best] * table[:, best], level=LEVEL)
    detail = f"{names[best]!r} alone reaches {area} on train, {in_test[best]:.3f} on test"
    detail += "." if detector is None else f"; the whole detector reaches {detector} on test."
    remedy = ""
    if area.low - in_test[best] > CARRIED:
        remedy = (
            "It does not carry over: what it says of training nodes is not there for others. Leave "
            "it out, or make it for training nodes as it will be for those that are judged."
        )
    elif area.value > DECIDES or (
        detector is not None and in_test[best] > max(detector.low, SHUFFLED_MAY_REACH)
    ):
        remedy = (
            "Ask how this column came to be: what follows from the verdict, or was noted for the "
            "labelled alone, is no feature. If it is genuine, say that one column does the work."
        )
    return Finding(
        check,
        WARNING if remedy else PASSED,
        "AUROC of the best column alone, on train",
        area,
        DECIDES,
        detail,
        remedy,
        {names[i]: f"{float(areas[i]):.3f}, on test {in_test[i]:.3f}" for i in order},
    )


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
    check = "value artefact"
    cliffs = {}
    for column, name in zip(_filled(table).T, names, strict=True):
        (above, top), (below, bottom) = (_cliff(one, y_true) for one in (column, -column))
        if max(above, below):
            where = f"above {top:.6g}" if above >= below else f"below {-bottom:.6g}"
            cliffs[name] = max(above, below), f"all {max(above, below):,} {where}"
    order = sorted(cliffs, key=lambda name: -cliffs[name][0])
    frauds = int(y_true.sum())
    detail = "No column has a threshold beyond which all is fraud at once."
    if order:
        share = cliffs[order[0]][0] / frauds
        detail = f"{order[0]!r}: {share:.0%} of the frauds lie where nothing else does."
    return Finding(
        check,
        WARNING if order else PASSED,
        "columns with such a threshold",
        len(order),
        0,
        detail,
        "Look at how these values came about. In a simulation it is an artefact of the simulator; "
        "in real data, often a code for missing or for closed accounts. Leave the column out."
        if order
        else "",
        {name: cliffs[name][1] for name in order[:SHOWN]},
    )


def _cliff(column: Tensor, y_true: Tensor) -> tuple[int, float]:
    """Count the frauds above all other values, if there is an edge and no slope; 0 if not.

    Returns:
        the number of frauds, and the largest value of a node that is none.
    """
    frauds, normal = int(y_true.sum()), column[y_true == 0].sort(descending=True).values
    beyond = column > normal[0]
    count = int(beyond.sum())
    if count < max(ENOUGH, CLIFF_SHARE * frauds) or count == frauds:
        return 0, 0.0
    rest, y_rest = column[~beyond], y_true[~beyond].double()
    nearest = rest.sort(descending=True).values[min(2 * count, len(rest)) - 1]
    nearby, rate = y_rest[rest >= nearest], float(y_rest.mean())
    fades = float(nearby.mean()) > rate + 3 * math.sqrt(rate * (1 - rate) / len(nearby))
    is_code = len(column[beyond].unique()) == 1 and len(normal.unique()) > len(normal) / 2
    edge = not fades and (is_code or _ends_abruptly(normal))
    return (count, float(normal[0])) if edge else (0, 0.0)


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
        times: of the training and of the test nodes, if they have some.
    """
    check = "time column"
    part = torch.cat([torch.zeros(len(train)), torch.ones(len(test))]).long()
    table = _filled(torch.cat([train, test]))
    when = None if times is None else torch.cat(times)
    known = None if when is None or when.isnan().any() else ranks(when)
    marks = {}
    for column, name in zip(table.T, names, strict=True):
        area = roc_auc(part, column)
        area = max(area, 1 - area)
        along = abs(_correlation(ranks(column), known)) if known is not None else 0.0
        marks[name] = max(area, along), area, along
    order = sorted(marks, key=lambda name: -marks[name][0])[:SHOWN]
    most = marks[order[0]][0] if order else 0.0
    telling = most > TELLS_PART
    detail = f"{order[0]!r} does most to tell train from test." if order else "No column."
    return Finding(
        check,
        WARNING if telling else PASSED,
        "AUROC of a column for being in test, or its correlation with the time",
        most,
        TELLS_PART,
        detail,
        "Leave it out, or replace it by a difference of times: what a tree learns of a period says "
        "nothing of the next."
        if telling
        else "",
        {
            name: f"tells test {area:.3f}" + (f", time {along:.3f}" if known is not None else "")
            for name, (_, area, along) in ((name, marks[name]) for name in order)
        },
    )


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value from 0, ties given their mean rank; (n,) float64."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count + 1) / 2)[place]


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else 0.0
