"""Protocols: which labelled nodes teach a detector, choose its settings, and judge it.

A part that judges must not have taught, and must stand for what the detector will meet. So there
are several protocols: at random, with few labels, the authors' own split, later events than those
learned from, or accounts never seen. Nodes without labels are in no part; they stay in the graph.

Sources: J. Tang et al., GADBench, NeurIPS 2023 (40/20/40, and 20 + 80 labels); I. Weber et al.,
Anti-Money Laundering in Bitcoin, KDD 2019 workshop (the past teaches, the future judges).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph import HeteroGraph

SEEDS = tuple(3407 + 10 * i for i in range(10))  # of the ten splits a result is reported over


class Split(NamedTuple):
    """Labelled nodes by purpose; each (n, 2) int64 rows [global id, 1 = anomaly], sorted by id."""

    train: Tensor
    val: Tensor
    test: Tensor


def stratified(
    labels: Tensor, *, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Split:
    """Split labelled nodes at random, with the same share of anomalies in each part.

    Args:
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly].
        fractions: of train, val and test; positive, summing to 1.
        seed: of the draw.

    Raises:
        ValueError: there are no labels, the fractions do not sum to 1, or a class is too small to
            be in every part.
    """
    _check(labels, fractions)
    generator = torch.Generator().manual_seed(seed)
    parts = ([], [], [])
    for value in (0, 1):
        of_class = labels[labels[:, 1] == value]
        order = torch.randperm(len(of_class), generator=generator)
        first, second = (round(len(order) * sum(fractions[:i])) for i in (1, 2))
        for part, chosen in zip(parts, order.tensor_split((first, second)), strict=True):
            if len(chosen) == 0:
                raise ValueError(
                    f"{len(of_class)} nodes labelled {value} are too few to split {fractions}; "
                    "every part needs at least one of each class: label more of them, or take all "
                    "labels out to rank without any"
                )
            part.append(of_class[chosen])
    return Split(*(_by_id(torch.cat(part)) for part in parts))


def _by_id(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]


def _check(labels: Tensor | None, fractions: tuple[float, float, float]) -> None:
    if labels is None:
        raise ValueError("the graph has no labels; stage 2 needs some nodes known as 0 and as 1")
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and sum to 1, got {fractions}")


def few_label(labels: Tensor, *, positives: int = 20, negatives: int = 80, seed: int = 0) -> Split:
    """Teach with a handful of labels, choose with as many, judge on all others.

    Args:
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly].
        positives: anomalies in train, and in val.
        negatives: normal nodes in train, and in val.
        seed: of the draw.

    Raises:
        ValueError: a class is too small to leave a node for test.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = ([], [], [])
    for value, count in ((0, negatives), (1, positives)):
        of_class = labels[labels[:, 1] == value]
        if len(of_class) <= 2 * count:
            raise ValueError(
                f"{len(of_class)} nodes labelled {value} are too few for {count} in train, {count} "
                "in val and some in test; ask for fewer"
            )
        order = torch.randperm(len(of_class), generator=generator)
        for part, chosen in zip(parts, order.tensor_split((count, 2 * count)), strict=True):
            part.append(of_class[chosen])
    return Split(*(_by_id(torch.cat(part)) for part in parts))


def temporal(
    labels: Tensor, time: Tensor, *, fractions: tuple[float, float, float] = (0.4, 0.2, 0.4)
) -> Split:
    """Teach with the earliest labelled nodes, choose with later ones, judge on the latest.

    Nodes of the same time are never parted: those at a cut go to the later part.

    Args:
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly].
        time: (total,) float64, of every node; NaN where it has none.
        fractions: of the labelled nodes in train, val and test.

    Raises:
        ValueError: a labelled node has no time, or a part would hold one class only.
    """
    _check(labels, fractions)
    when = time[labels[:, 0]]
    if when.isnan().any():
        node = int(labels[when.isnan().nonzero()[0, 0], 0])
        raise ValueError(f"node {node} is labelled but has no time; split at random instead")
    ascending = when.sort().values
    cuts = [ascending[round(len(when) * sum(fractions[:i]))] for i in (1, 2)]
    part_of = sum((when >= cut).long() for cut in cuts)
    return _checked_parts(labels, part_of, "time")


def _checked_parts(labels: Tensor, part_of: Tensor, by: str) -> Split:
    parts = [_by_id(labels[part_of == number]) for number in range(3)]
    for name, part in zip(Split._fields, parts, strict=True):
        if len(part[:, 1].unique()) < 2:
            raise ValueError(
                f"split by {by}, {name} holds {len(part):,} nodes of one class; every part needs "
                "both: choose other fractions, or split at random"
            )
    return Split(*parts)


def by_group(
    labels: Tensor,
    group: Tensor,
    *,
    fractions: tuple[float, float, float] = (0.4, 0.2, 0.4),
    seed: int = 0,
) -> Split:
    """Split so that no group is in two parts: what is judged comes from accounts never seen.

    Groups are drawn in random order, each to the part that lacks most of its share of nodes; so the
    parts come near their fractions, and the share of anomalies is left to chance.

    Args:
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly].
        group: (total,) int64, such as `groups` gives; a node of group -1 is its own group.
        fractions: of the labelled nodes in train, val and test.
        seed: of the draw.

    Raises:
        ValueError: a part would hold one class only, as when all nodes are of one group.
    """
    _check(labels, fractions)
    of_label = group[labels[:, 0]]
    alone = of_label < 0
    of_label[alone] = group.max() + 1 + torch.arange(int(alone.sum()))
    _, of_label, sizes = of_label.unique(return_inverse=True, return_counts=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(sizes), generator=generator)
    order = order[sizes[order].argsort(descending=True, stable=True)].tolist()
    missing = [len(labels) * fraction for fraction in fractions]
    part_of_group = torch.empty(len(sizes), dtype=torch.int64)
    chance = torch.rand(len(sizes), generator=generator, dtype=torch.float64).tolist()
    for group_id, size in zip(order, sizes[order].tolist(), strict=True):
        part = _draw_part(missing, chance[group_id])
        part_of_group[group_id] = part
        missing[part] -= size
    return _checked_parts(labels, part_of_group[of_label], "group")


def _draw_part(missing: list[float], chance: float) -> int:
    """Draw a part with a chance in proportion to the nodes it still lacks."""
    weights = [max(0.0, count) for count in missing]
    cut = chance * sum(weights)
    for part, weight in enumerate(weights):
        if cut < weight:
            return part
        cut -= weight
    return max(range(len(missing)), key=missing.__getitem__)


def groups(graph: HeteroGraph, relation: str) -> Tensor:
    """Return whose a node is: its source in a relation that gives it one at most.

    Args:
        graph: with the relation, such as "writes" from users to reviews.
        relation: its name.

    Returns:
        (total,) int64 global id of the source, -1 for nodes without one.

    Raises:
        ValueError: there is no such relation, or a node has several sources in it.
    """
    by_name = {name: (edge_type, csr) for edge_type, csr in graph.edges.items() for name in
               (edge_type[1],)}  # fmt: skip
    if relation not in by_name:
        raise ValueError(f"no relation {relation!r}; there are {', '.join(by_name)}")
    (src, _, dst), csr = by_name[relation]
    degrees = csr.degrees()
    if degrees.max() > 1:
        node = int(degrees.argmax())
        raise ValueError(
            f"{dst} {node} has {int(degrees[node])} sources in {relation!r}; nodes can be grouped "
            "by a relation only where each has one"
        )
    group = torch.full((graph.total,), -1, dtype=torch.int64)
    group[graph.offset(dst) + csr.dst()] = graph.offset(src) + csr.indices.long()
    return group


def official(labels: Tensor, masks: Tensor, number: int = 0) -> Split:
    """Take a split that the authors of a data set have published.

    Args:
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly].
        masks: (total, num_splits) int8: 1 train, 2 val, 3 test, 0 none of them.
        number: which of the splits.

    Raises:
        ValueError: there is no split of that number, or a part holds one class only.
    """
    if not 0 <= number < masks.shape[1]:
        raise ValueError(f"no split {number}: there are {masks.shape[1]}, counted from 0")
    part_of = masks[labels[:, 0], number].long()
    return _checked_parts(labels, part_of - 1, f"the authors' masks ({number})")
