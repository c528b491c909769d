"""Protocols: which labelled nodes teach a detector, choose its settings, and judge it.

A part that judges must not have taught, and must stand for what the detector will meet. So there
are several protocols: at random, with few labels, the authors' own split, later events than those
learned from, or accounts never seen. Nodes without labels are in no part; they stay in the graph.

Sources: J. Tang et al., GADBench, NeurIPS 2023 (40/20/40, and 20 + 80 labels); I. Weber et al.,
Anti-Money Laundering in Bitcoin, KDD 2019 workshop (the past teaches, the future judges).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.arrays import Array, as_ids, numbers

SEEDS = tuple(3407 + 10 * i for i in range(10))  # of the ten splits a result is reported over
FULL = (0.4, 0.2, 0.4)  # train, val and test, where labels are plenty
TENTH = (0.1, 0.1, 0.8)  # the same, where little is labelled
FEW_POSITIVES, FEW_NEGATIVES = 20, 80  # in train, and in val, where they are not
ENOUGH = 5  # labels of each kind, so that some teach, some choose and some judge


class Split(NamedTuple):
    """Labelled nodes by purpose; each (n, 2) int64 rows [global id, 1 = anomaly], sorted by id."""

    train: Tensor
    val: Tensor
    test: Tensor


# (graph, split) -> (total,) scores, higher = more suspicious; NaN for nodes it does not score. A
# detector learns from split.train, may choose by split.val, and never reads labels of split.test.
Detector = Callable[[HeteroGraph, Split], Tensor]


def too_few(labels: Tensor) -> str | None:
    """Say why labels are too few to be parted, and with that for any measure of quality.

    Args:
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly].

    Returns:
        The reason, or None where they are enough: `ENOUGH` of each kind.
    """
    normal, frauds = _checked_labels(labels)[:, 1].bincount(minlength=2).tolist()
    if min(normal, frauds) >= ENOUGH:
        return None
    confirmed = "1 confirmed fraud" if frauds == 1 else f"{frauds:,} confirmed frauds"
    cleared = "nobody" if normal == 0 else f"{normal:,}"
    return (
        f"the dataset has {confirmed} and {cleared} cleared as normal, where {ENOUGH} of each are "
        "needed"
    )


def stratified(
    labels: Tensor, *, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Split:
    """Split labelled nodes at random, with the same share of anomalies in each part.

    Args:
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly].
        fractions: of train, val and test; positive, summing to 1.
        seed: of the draw.

    Raises:
        ValueError: there are no labels, the fractions do not sum to 1, or a class is too small to
            be in every part.
    """
    labels = _checked_labels(labels)
    _check_fractions(fractions)
    cuts = []
    for value, size in enumerate(labels[:, 1].bincount(minlength=2).tolist()):
        first, second = (round(size * sum(fractions[:i])) for i in (1, 2))
        if not 0 < first < second < size:
            raise ValueError(
                f"{size} nodes labelled {value} are too few to split {fractions}; "
                "every part needs at least one of each class: label more of them, or rank by "
                "`gadkit recommend`, for which one confirmed fraud is enough"
            )
        cuts.append((first, second))
    return _drawn(labels, cuts, seed)


def _drawn(labels: Tensor, cuts: list[tuple[int, int]], seed: int) -> Split:
    """Shuffle each class, and cut it at its two positions."""
    generator = torch.Generator().manual_seed(seed)
    parts = ([], [], [])
    for value, positions in enumerate(cuts):
        of_class = labels[labels[:, 1] == value]
        shuffled = of_class[torch.randperm(len(of_class), generator=generator)]
        for part, chosen in zip(parts, shuffled.tensor_split(positions), strict=True):
            part.append(chosen)
    return Split(*(_by_id(torch.cat(part)) for part in parts))


def _by_id(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]


def _checked_labels(labels: Array | None) -> Tensor:
    """Return labels as (num_labels, 2) int64; they may be an array or a table."""
    if labels is None:
        raise ValueError("the graph has no labels; stage 2 needs some nodes known as 0 and as 1")
    labels = as_ids(labels, "labels").long()
    if labels.dim() != 2 or labels.shape[1] != 2:
        raise ValueError(
            f"labels must be (num_labels, 2), got {tuple(labels.shape)}; a row is [global id, 0 "
            "or 1]"
        )
    ids, values = labels.unbind(1)
    wrong = ((values != 0) & (values != 1)).nonzero().flatten()
    if len(wrong):
        raise ValueError(
            f"labels row {int(wrong[0])} is {labels[wrong[0]].tolist()}: a value that is neither 0 "
            "nor 1; leave out nodes that are not known"
        )
    repeated, counts = ids.unique(return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"node {int(repeated[counts > 1][0])} is labelled more than once")
    return labels


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and sum to 1, got {fractions}")


def few_label(
    labels: Tensor,
    *,
    positives: int = FEW_POSITIVES,
    negatives: int = FEW_NEGATIVES,
    seed: int = 0,
) -> Split:
    """Teach with a handful of labels, choose with as many, judge on all others.

    Args:
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly].
        positives: anomalies in train, and in val.
        negatives: normal nodes in train, and in val.
        seed: of the draw.

    Raises:
        ValueError: there are no labels, or a class is too small to leave a node for test.
    """
    labels = _checked_labels(labels)
    if min(positives, negatives) < 1:
        raise ValueError(f"train needs both classes, got {positives} positives, {negatives} others")
    counts = (negatives, positives)
    for value, size in enumerate(labels[:, 1].bincount(minlength=2).tolist()):
        if size <= 2 * counts[value]:
            raise ValueError(
                f"{size} nodes labelled {value} are too few for {counts[value]} in train, "
                f"{counts[value]} in val and some in test; ask for fewer"
            )
    return _drawn(labels, [(count, 2 * count) for count in counts], seed)


def temporal(labels: Array, time: Array, *, fractions: tuple[float, float, float] = FULL) -> Split:
    """Teach with the earliest labelled nodes, choose with later ones, judge on the latest.

    Nodes of the same time are never parted: those at a cut go to the later part. What is known of a
    node at its time is for its features to say; this parts nodes only.

    Args:
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly].
        time: (total,) float64, of every node; NaN where it has none.
        fractions: of the labelled nodes in train, val and test.

    Raises:
        ValueError: there are no labels, the fractions do not sum to 1, a labelled node has no time,
            or a part would hold one class only.
    """
    labels = _checked_labels(labels)
    _check_fractions(fractions)
    time = numbers(time, "time", if_missing="write NaN").double()
    when = _of_labelled(time, "time", labels)
    if when.isnan().any():
        node = int(labels[when.isnan().nonzero()[0, 0], 0])
        raise ValueError(f"node {node} is labelled but has no time; split at random instead")
    last = len(when) - 1
    cuts = [min(round(len(when) * sum(fractions[:i])), last) for i in (1, 2)]
    part_of = torch.bucketize(when, when.sort().values[cuts], right=True)
    return _checked_parts(labels, part_of, "time")


def _of_labelled(values: Tensor, name: str, labels: Tensor) -> Tensor:
    """Take what labelled nodes have of what there is for every node, (num_labels,)."""
    least = int(labels[:, 0].max()) + 1 if len(labels) else 0
    if values.dim() != 1 or len(values) < least:
        raise ValueError(
            f"{name} must be (total,), one number for each node, with {least:,} nodes at least by "
            f"the labels, got {tuple(values.shape)}"
        )
    return values[labels[:, 0]]


def _checked_parts(labels: Tensor, part_of: Tensor, by: str) -> Split:
    parts = [_by_id(labels[part_of == number]) for number in range(3)]
    for name, part in zip(Split._fields, parts, strict=True):
        positives = int(part[:, 1].sum())
        if positives in (0, len(part)):
            raise ValueError(
                f"split by {by}, {name} holds {positives:,} anomalies and "
                f"{len(part) - positives:,} normal nodes; it needs both: use other fractions, or "
                "another protocol"
            )
    return Split(*parts)


def by_group(
    labels: Tensor,
    group: Tensor,
    *,
    fractions: tuple[float, float, float] = FULL,
    seed: int = 0,
) -> Split:
    """Split so that no group is in two parts: what is judged comes from accounts never seen.

    Groups are lined up in random order, and each goes to the part in which its middle node falls.
    So a part misses its fraction by no more than half of the group at either end of it; the share
    of anomalies is left to chance.

    Args:
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly].
        group: (total,) int64, such as `groups` gives; a node of group -1 is its own group.
        fractions: of the labelled nodes in train, val and test.
        seed: of the draw.

    Raises:
        ValueError: there are no labels, the fractions do not sum to 1, or a part would hold one
            class only, as when all nodes are of one group.
    """
    labels = _checked_labels(labels)
    _check_fractions(fractions)
    group = as_ids(group, "group").long()
    of_label = _of_labelled(group, "group", labels)
    alone = torch.arange(len(labels)) + group.max() + 1
    of_label = torch.where(of_label < 0, alone, of_label)
    _, of_label, sizes = of_label.unique(return_inverse=True, return_counts=True)
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
    middle = torch.empty(len(sizes), dtype=torch.float64)
    middle[order] = sizes[order].cumsum(0) - sizes[order].double() / 2
    cuts = middle.new_tensor(fractions[:2]).cumsum(0) * len(labels)
    return _checked_parts(labels, torch.bucketize(middle, cuts)[of_label], "group")


def groups(graph: HeteroGraph, relation: str) -> Tensor:
    """Return whose a node is: its source in a relation that gives it one at most.

    Args:
        graph: with the relation, such as "writes" from users to reviews.
        relation: its name.

    Returns:
        (total,) int64 global id of the source, -1 for nodes without one.

    Raises:
        ValueError: no relation is called so, or several are, or a node has several sources in it.
    """
    called = {edge_type: csr for edge_type, csr in graph.edges.items() if edge_type[1] == relation}
    if len(called) != 1:
        names = ", ".join(name for _, name, _ in graph.edges)
        raise ValueError(f"{len(called)} relations are called {relation!r}; there are {names}")
    ((edge_type, csr),) = called.items()
    degrees = csr.degrees()
    if degrees.max() > 1:
        node = int(degrees.argmax())
        raise ValueError(
            f"{edge_type[2]} {node} has {int(degrees[node])} sources in {relation!r}; nodes can be "
            "grouped by a relation only where each has one"
        )
    return _sources(graph, edge_type, csr)


def _sources(graph: HeteroGraph, edge_type: EdgeType, csr: CSR) -> Tensor:
    src, _, dst = edge_type
    source = torch.full((graph.total,), -1, dtype=torch.int64)
    source[graph.offset(dst) + csr.dst()] = graph.offset(src) + csr.indices.long()
    return source


def official(labels: Tensor, masks: Tensor, number: int = 0) -> Split:
    """Take a split that the authors of a data set have published.

    Args:
        labels: (num_labels, 2) integer rows [global id, 1 = anomaly].
        masks: (total, num_splits) int8: 1 train, 2 val, 3 test, 0 none of them.
        number: which of the splits.

    Raises:
        ValueError: there are no labels, no split of that number, or a part holds one class only.
    """
    labels = _checked_labels(labels)
    masks = as_ids(masks, "masks")
    if masks.dim() != 2:
        raise ValueError(
            f"masks must be (total, num_splits), got {tuple(masks.shape)}; give one split as "
            "masks[:, None]"
        )
    if not 0 <= number < masks.shape[1]:
        raise ValueError(f"no split {number}: there are {masks.shape[1]}, counted from 0")
    part_of = _of_labelled(masks[:, number], "masks", labels).long()
    return _checked_parts(labels, part_of - 1, f"the authors' masks ({number})")


def protocols(
    graph: HeteroGraph, *, time: Tensor | None = None, masks: Tensor | None = None
) -> dict[str, Callable[[int], Split]]:
    """Return the protocols that a graph allows, by name; each makes a split of a seed.

    demo      60/20/20 at random, stratified
    full      40/20/40 at random, stratified
    tenth     10/10/80 at random, stratified
    few       20 anomalies and 80 normal nodes in train, as many in val
    official  the authors' masks, by the position of the seed in `SEEDS`, from the first again where
              they are fewer; so the seed must be one of these
    temporal  the past teaches, whatever the seed: there is one such split
    new_TYPE  no source of a labelled node is in two parts, for each type of which every labelled
              node has one source at most: reviews of users never seen. Not where one of them has
              more labelled nodes than val should get, or where none has two.

    Args:
        graph: with labels.
        time: (total,) float64, as `store.load_time`, or None.
        masks: (total, num_splits) int8, as `store.load_masks`, or None.

    Raises:
        ValueError: the graph has no labels.
    """
    labels = graph.labels
    labels = _checked_labels(labels)
    makers = {
        "demo": lambda seed: stratified(labels, seed=seed),
        "full": lambda seed: stratified(labels, fractions=FULL, seed=seed),
        "tenth": lambda seed: stratified(labels, fractions=TENTH, seed=seed),
    }
    negatives, positives = labels[:, 1].bincount(minlength=2).tolist()
    if negatives > 2 * FEW_NEGATIVES and positives > 2 * FEW_POSITIVES:
        makers["few"] = lambda seed: few_label(labels, seed=seed)
    if masks is not None:
        makers["official"] = lambda seed: official(labels, masks, _number(seed, masks.shape[1]))
    if time is not None and not time[labels[:, 0]].isnan().any():
        makers["temporal"] = lambda seed: temporal(labels, time)
    return makers | _by_source(graph)


def draw(
    graph: HeteroGraph,
    protocol: str,
    seed: int,
    *,
    time: Tensor | None = None,
    masks: Tensor | None = None,
) -> Split:
    """Split the labels of a graph under one of the `protocols` that it allows.

    Raises:
        ValueError: the graph has no labels, or does not allow the protocol.
    """
    makers = protocols(graph, time=time, masks=masks)
    if protocol not in makers:
        raise ValueError(f"no protocol {protocol!r} for this graph; there are {', '.join(makers)}")
    return makers[protocol](seed)


def _number(seed: int, num_splits: int) -> int:
    if seed not in SEEDS:
        raise ValueError(f"the seed of an official split must be one of {SEEDS}, got {seed}")
    return SEEDS.index(seed) % num_splits


def _by_source(graph: HeteroGraph) -> dict[str, Callable[[int], Split]]:
    """Return a protocol for each relation that says whose a labelled node is."""
    makers = {}
    for edge_type, csr in graph.edges.items():
        src, relation, dst = edge_type
        if src == dst or dst not in graph.labelled_types or csr.degrees().max() > 1:
            continue  # within a type, a source is itself a node to be parted
        group = _sources(graph, edge_type, csr)
        sources = group[graph.labels[:, 0]]
        sizes = sources[sources >= 0].bincount()
        if len(sizes) and 1 < sizes.max() <= min(FULL) * len(sources):
            name = f"new_{src}" if f"new_{src}" not in makers else f"new_{src}_by_{relation}"
            makers[name] = _split_by(graph.labels, group)
    return makers


def _split_by(labels: Tensor, group: Tensor) -> Callable[[int], Split]:
    return lambda seed: by_group(labels, group, seed=seed)
