"""Checks of the data and the split: who is in which part, and what a label can be told by.

Sources: S. Kaufman et al., Leakage in data mining, TKDD 6, 2012; S. Kapoor and A. Narayanan,
Leakage and the reproducibility crisis in machine-learning-based science, Patterns 4, 2023; D. Katz
et al., Obtaining confidence intervals for the risk ratio, Biometrics 34, 1978.
"""

import math

import torch
from torch import Tensor

from gadkit.audit.finding import (
    CHANCE,
    FAILED,
    LEVEL,
    PASSED,
    QUANTILE,
    SHUFFLED_MAY_REACH,
    WARNING,
    Finding,
    skipped,
)
from gadkit.evaluation.bootstrap import bootstrap_interval
from gadkit.evaluation.metrics import Interval, roc_auc
from gadkit.evaluation.splits import Split, protocols
from gadkit.graph import HeteroGraph

TWINS_FAIL = 0.05  # share of the test nodes
TWINS_AT_MOST = 5  # nodes of one type that may share a row before it counts as common
EXPOSED_SHARE = 0.05  # of the test nodes
# A neighbor that many labelled nodes share is a category, as a country is, and no entity.
ENTITY_SHARE = 0.05  # of the labelled nodes; where one has more, all are categories
ENTITY_SIZE = 20  # labelled nodes each; where there are more on average, they are categories


def overlap(graph: HeteroGraph, split: Split) -> Finding:
    """Look for nodes in two parts, without a label, or with another label than the graph's."""
    ids, split_label = torch.cat(list(split)).unbind(1)
    graph_label = graph.label_of_nodes()[ids]
    is_labelled = graph_label >= 0
    counts = {
        "in two parts, or twice in one": len(ids) - len(ids.unique()),
        "without a label in the graph": int((~is_labelled).sum()),
        "with another label than the graph's": int(
            (is_labelled & (graph_label != split_label)).sum()
        ),
    }
    wrong = sum(counts.values())
    faults = {name: f"{count:,}" for name, count in counts.items() if count}
    sizes = {name: f"{len(p):,} nodes" for name, p in zip(Split._fields, split, strict=True)}
    verdict, summary, remedy = PASSED, "none wrong", ""
    if wrong:
        verdict, summary = FAILED, ", ".join(f"{count} {name}" for name, count in faults.items())
        remedy = "Make the split again with evaluation.splits, of the graph's own labels."
    return Finding(
        check="overlap",
        verdict=verdict,
        measure="nodes wrong",
        value=wrong,
        expected=0,
        detail=f"Of {len(ids):,} nodes in the split: {summary}.",
        remedy=remedy,
        evidence=faults | sizes,
    )


def base_rates(split: Split) -> Finding:
    """Compare the share of anomalies among the parts."""
    rates = [float(part[:, 1].double().mean()) for part in split]
    ratio = _risk_ratio(split.test[:, 1], split.train[:, 1])
    verdict, detail, remedy = PASSED, "Test holds about the same share.", ""
    if not ratio.low <= 1 <= ratio.high:
        verdict = WARNING
        detail = "Test holds a share of anomalies unlike that of train."
        remedy = (
            "AUPRC and precision depend on the base rate: compare AUROC or lift across parts, and "
            "do not choose models by a validation AUPRC alone."
        )
    return Finding(
        check="base rates",
        verdict=verdict,
        measure="base rate of test over that of train",
        value=ratio,
        expected=1,
        detail=detail,
        remedy=remedy,
        evidence={name: f"{rate:.2%}" for name, rate in zip(Split._fields, rates, strict=True)},
    )


def _risk_ratio(exposed: Tensor, others: Tensor) -> Interval:
    """Ratio of two shares of ones with Katz's interval; half a case is added to each cell."""
    a, n = float(exposed.sum()) + 0.5, len(exposed) + 1.0
    b, m = float(others.sum()) + 0.5, len(others) + 1.0
    ratio = (a / n) / (b / m)
    spread = QUANTILE * math.sqrt(1 / a - 1 / n + 1 / b - 1 / m)
    return Interval(ratio, ratio * math.exp(-spread), ratio * math.exp(spread))


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
        if rate in (0, 1):
            pure.append(name)
    area = bootstrap_interval(roc_auc, y_true, score, level=LEVEL)
    verdict, detail, remedy = PASSED, "Rates differ little.", ""
    if len(rates) == 1:
        detail = "All labelled nodes are of one type."
    elif pure or area.low > SHUFFLED_MAY_REACH:
        one_class = f"; {', '.join(pure)} is of one class throughout" if pure else ""
        verdict, detail = WARNING, f"The type alone reaches {area} AUROC{one_class}."
        remedy = "Judge within one type: leave the labels of the others out of the split."
    return Finding(
        check="node types",
        verdict=verdict,
        measure="AUROC of the type alone",
        value=area,
        expected=CHANCE,
        detail=detail,
        remedy=remedy,
        evidence=rates,
    )


def duplicates(
    graph: HeteroGraph, split: Split, *, own_dims: dict[str, int] | None = None, seed: int = 0
) -> Finding:
    """Look for test nodes whose own features are the very row of a training node.

    Rows that are constant, or that more than `TWINS_AT_MOST` nodes share, are passed over. Coarse
    columns agree by chance: what that gives is measured on the same columns, each shuffled on its
    own. And twins give something away only if their labels agree more often than those of any two
    nodes.

    Args:
        graph, split, own_dims: as in `audit`.
        seed: of the shuffling.
    """
    check = "duplicates"
    if graph.x is None:
        return skipped(check, "the nodes have no features")
    pairs, by_chance = _twins_of_test(graph, split, own_dims, seed)
    twin_rate, y_true = pairs.unbind(1)
    base_rate = torch.full_like(twin_rate, float(split.train[:, 1].double().mean()))
    agree = torch.where(y_true == 1, twin_rate, 1 - twin_rate)
    by_any = torch.where(y_true == 1, base_rate, 1 - base_rate)
    share = len(pairs) / len(split.test)
    detail = (
        f"{len(pairs):,} of {len(split.test):,} test nodes have the own features of a training "
    )
    detail += f"node, to the last bit; {by_chance:,} would by chance."
    verdict, remedy, evidence = PASSED, "", {}
    if len(pairs) > 2 * by_chance + 2:
        evidence["labels of twins agree"] = f"{float(agree.mean()):.1%}"
        evidence["labels of any two agree"] = f"{float(by_any.mean()):.1%}"
        if _mean_interval(agree - by_any).low > 0:
            verdict = FAILED if share >= TWINS_FAIL else WARNING
            remedy = (
                "Find out whether they are one account or event entered twice; remove the copies, "
                "or keep them in one part with splits.by_group."
            )
        else:
            detail += " But their labels agree no more often than any."
    return Finding(
        check=check,
        verdict=verdict,
        measure="share of test nodes with a twin in train",
        value=share,
        expected=by_chance / len(split.test),
        detail=detail,
        remedy=remedy,
        evidence=evidence,
    )


def _twins_of_test(
    graph: HeteroGraph, split: Split, own_dims: dict[str, int] | None, seed: int
) -> tuple[Tensor, int]:
    """Find the test nodes that have twins in train, type by type.

    Returns:
        (n, 2) rows [mean label of the twins, own label], and how many have twins by chance.
    """
    draw = torch.Generator().manual_seed(seed)
    label = graph.label_of_nodes(split.train)
    pairs, by_chance = [torch.empty(0, 2)], 0
    for name in graph.node_types:
        x = graph.x[name][:, : None if own_dims is None else own_dims[name]]
        span = graph.span(name)
        tested = split.test[(split.test[:, 0] >= span.start) & (split.test[:, 0] < span.stop)]
        if x.shape[1] == 0 or len(tested) == 0:
            continue
        row = tested[:, 0] - span.start
        twin_rate = _twin_rates(x, label[span])[row]
        pairs.append(torch.stack([twin_rate, tested[:, 1].double()], 1)[twin_rate >= 0])
        mixed = torch.stack([c[torch.randperm(len(c), generator=draw)] for c in x.T], 1)
        by_chance += int((_twin_rates(mixed, label[span])[row] >= 0).sum())
    return torch.cat(pairs), by_chance


def _twin_rates(x: Tensor, label: Tensor) -> Tensor:
    """Mean training label of the rows equal to each, -1 where there are none or too many.

    Args:
        x: (n, dim).
        label: (n,) 0 or 1 of training nodes, -1 of others.
    """
    # Equal rows have one group: x of rows a, b, a gives group 0, 1, 0 and count 2, 1.
    _, group, count = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    in_train = (label >= 0).double()
    taught = torch.zeros(len(count), dtype=torch.float64).index_add(0, group, in_train)
    frauds = torch.zeros_like(taught).index_add(0, group, in_train * label)
    rate = (frauds / taught.clamp(min=1))[group]
    is_constant = (x == x[:, :1]).all(1)
    usable = (taught[group] > 0) & (count[group] <= TWINS_AT_MOST) & ~is_constant
    return torch.where(usable, rate, -1.0)


def _mean_interval(values: Tensor) -> Interval:
    mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    return Interval(mean, mean - QUANTILE * error, mean + QUANTILE * error)


def same_entity(graph: HeteroGraph, split: Split) -> Finding:
    """Ask how many test nodes belong to somebody known from train, and what that gives away.

    An entity is the one neighbor that a labelled node has in a relation, as the author of a review.
    """
    check = "same entity"
    judged, entity_of = torch.cat(list(split))[:, 0], entities(graph)
    exposure = {
        relation: _exposure(entity, split)
        for relation, entity in entity_of.items()
        if not _is_category(entity[judged])
    }
    if not exposure:
        return skipped(check, "no relation gives the labelled nodes one entity each")
    worst = max(exposure, key=lambda name: exposure[name][1].low)
    share, lift = exposure[worst]
    owner = graph.node_types[int(graph.node_type_of(entity_of[worst].max()[None]))]
    verdict, remedy = PASSED, ""
    if share > EXPOSED_SHARE and lift.low > 1:
        verdict = WARNING
        protocol = f"new_{owner}"
        apart = f"protocol {protocol}" if protocol in protocols(graph) else "splits.by_group"
        remedy = (
            f"Say that the number is for a {owner} known already, and report {apart} beside it, "
            "where every one is new."
        )
    return Finding(
        check=check,
        verdict=verdict,
        measure="fraud of test nodes whose entity had some in train, over that of the others",
        value=lift,
        expected=1,
        detail=f"By {worst}, {share:.0%} of the test nodes are of a {owner} that train knows.",
        remedy=remedy,
        evidence={
            name: f"{share:.0%} known, lift {lift:.2f}" for name, (share, lift) in exposure.items()
        },
    )


def entities(graph: HeteroGraph) -> dict[str, Tensor]:
    """Return by relation whom the labelled nodes belong to, where each has one neighbor at most.

    Returns:
        relation: (total,) int64 global id of the neighbor, -1 without one.
    """
    entity_of = {}
    for _, (src, name, dst), csr in graph.streams:
        if dst in graph.labelled_types and src != dst and int(csr.degrees().max()) == 1:
            neighbor, node = csr.pairs()
            entity = torch.full((graph.total,), -1)
            entity[graph.offset(dst) + node] = graph.offset(src) + neighbor
            entity_of[name] = entity
    return entity_of


def _is_category(entity: Tensor) -> bool:
    """Whether the entities of the labelled nodes, (n,) ids or -1, are so large or so few."""
    members = entity[entity >= 0]
    if len(members) == 0:
        return True
    sizes = members.bincount()
    sizes = sizes[sizes > 0]
    largest = max(2, ENTITY_SHARE * len(entity))
    return bool(sizes.max() > largest or sizes.double().mean() > ENTITY_SIZE)


def _exposure(entity: Tensor, split: Split) -> tuple[float, Interval]:
    """Share of test nodes of known entities, and the lift of a fraud of theirs in train."""
    (ids, y), (tested, y_true) = split.train.unbind(1), split.test.unbind(1)
    in_train, in_test = entity[ids], entity[tested]
    is_known = torch.isin(in_test, in_train[in_train >= 0])
    is_marked = torch.isin(in_test, in_train[(y == 1) & (in_train >= 0)])
    return float(is_known.double().mean()), _risk_ratio(y_true[is_marked], y_true[~is_marked])
