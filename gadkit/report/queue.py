"""Whom to look at next: new accounts of a type, what they have in common, frauds to expect.

A queue holds the accounts of one node type, most suspicious first. Those with a label are left out
of it, since nobody need look at them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.cluster import hierarchy
from torch import Tensor

from gadkit.evaluation import budget
from gadkit.evaluation.metrics import Interval
from gadkit.graph import HeteroGraph

BUDGET = 50  # accounts that somebody can look at
GROUPED = 4  # times the budget: the accounts among which groups are looked for
GROUPED_OF = 10  # but no more than one in so many, if the budget is not more
MOST_GROUPED = 4_000  # accounts among which groups are looked for: every pair is compared
JOINED = 0.18  # what two accounts of a group share on average, at least; see `groups`
NEW, JUDGED = "new", "judged"  # accounts without label; or, where all have one, not learned from


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the scores of a graph.

    Attributes:
        scores: (total,) in [0, 1], by global id.
        types: node types that have scores worth a list.
        learned_from: (n,) int64 global ids of nodes whose labels the detector has seen, here or in
            the graph it was trained on.
        held_out: (n, 2) float64 rows [score, 1 = fraud] of labelled nodes that it has not learned
            from, of this graph or of the one it was trained on; none are no rows.
        unlabelled: whether the scores were made without any label, and are no probabilities.
        is_order: whether they were made by too few labels to be probabilities, and only order.
    """

    scores: Tensor
    types: Sequence[str]
    learned_from: Tensor
    held_out: Tensor
    unlabelled: bool = False
    is_order: bool = False


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What to expect of the first accounts of a queue.

    Attributes:
        size: how many they are.
        threshold: score of the last of them.
        frauds: how many frauds among them, with the interval of `budget.LEVEL`; None if no
            label says what a score is worth.
        share: of frauds among the labelled accounts that say so.
        elsewhere: of frauds among all of the queue, if labels were given by verdict
            (`budget.share_elsewhere`).
        by_verdict: frauds among the first accounts in that case.
        labelled: frauds among them, and in the whole queue, by the labels that all of it has.
    """

    size: int
    threshold: float
    frauds: Interval | None = None
    share: float | None = None
    elsewhere: float | None = None
    by_verdict: float | None = None
    labelled: tuple[int, int] | None = None

    @property
    def is_shifted(self) -> bool:
        """Whether scores of the queue fit another share of fraud, by more than a factor of two."""
        return self.elsewhere is not None and not 0.5 < self.elsewhere / self.share < 2


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The accounts of one node type in the order in which to look at them.

    Attributes:
        node_type: their type.
        listed: `NEW`, or `JUDGED` where every account of the type has a label.
        size: how many of these there are, on top of the list.
        left_out: how many others of the type have a label.
        nodes: (n,) int64 global ids: the listed ones, or the first of them; then the others, if
            they were asked for.
        probability: (n,) float64 of being a fraud, NaN where nothing says so.
        group: (n,) int64 rank of the first member of a node's group, 0 for those alone.
        budget: what to expect; None of an empty list.
    """

    node_type: str
    listed: str
    size: int
    left_out: int
    nodes: Tensor
    probability: Tensor
    group: Tensor
    budget: Budget | None

    @property
    def summary(self) -> str:
        """One line: how many accounts, and what to expect of the first."""
        many = f"{self.node_type:9} {self.size:,} {'' if self.listed == JUDGED else 'new '}accounts"
        if self.budget is None:
            return f"{many}, all that there are have a label"
        first, frauds = f"the first {self.budget.size:,}", self.budget.frauds
        if self.budget.labelled is not None:
            there, all_of_them = self.budget.labelled
            return f"{many}; by their labels {there} of {first} are frauds, of {all_of_them} in all"
        if frauds is None:
            return f"{many}; {first} end at a score of {self.budget.threshold:.4g}"
        return (
            f"{many}; among {first} some {frauds.value:.0f} frauds ({frauds.low:.0f} to "
            f"{frauds.high:.0f}), down to a score of {self.budget.threshold:.4g}"
        )


def queues(
    graph: HeteroGraph,
    evidence: Evidence,
    *,
    size: int = BUDGET,
    top: int | None = None,
    with_known: bool = False,
) -> list[Queue]:
    """Make a queue for each node type that has scores.

    Args:
        graph: with the labels that are known by now.
        evidence: of its nodes.
        size: how many accounts somebody can look at, per type.
        top: list this many of a type only; all by default.
        with_known: whether to list accounts that are known below those to look at.

    Raises:
        ValueError: there is not one score per node, a score is NaN, a type is not in the graph, or
            a number of accounts is below 1.
    """
    _check(graph, evidence, size, top)
    calibration = _calibration(evidence)
    options = {"size": size, "top": top, "with_known": with_known}
    return [_queue(graph, evidence, name, calibration, **options) for name in evidence.types]


def first_of(graph: HeteroGraph, scores: Tensor, learned_from: Tensor, count: int) -> Tensor:
    """Return whom to look at first: the head of the queue of each type with labels.

    Args:
        graph: with labels.
        scores: (total,) float; NaN counts as 0.
        learned_from: (n,) int64 global ids of nodes whose labels the detector has seen.
        count: how many of each type, but no more than a quarter of those there are.

    Returns:
        (n,) int64 global ids, type by type.
    """
    scores, heads = scores.nan_to_num(0.0), []
    for node_type in graph.labelled_types:
        nodes = _parted(graph, scores, learned_from, node_type)[1]
        heads.append(nodes[: max(1, min(count, len(nodes) // 4))])
    return torch.cat(heads)


def held_out(scores: Tensor, labels: Tensor | None, learned_from: Tensor) -> Tensor:
    """Return (n, 2) float64 rows [score, label] of labelled nodes that were not learned from."""
    if labels is None:
        return torch.empty(0, 2, dtype=torch.float64)
    rest = labels[~torch.isin(labels[:, 0], learned_from)]
    return torch.stack([scores[rest[:, 0]].double(), rest[:, 1].double()], 1)


def _check(graph: HeteroGraph, evidence: Evidence, size: int, top: int | None) -> None:
    scores, strange = evidence.scores, set(evidence.types) - set(graph.node_types)
    if scores.shape != (graph.total,) or scores.isnan().any():
        raise ValueError(
            f"scores must be ({graph.total},) without NaN, got {tuple(scores.shape)} "
            f"with {int(scores.isnan().sum())} NaN"
        )
    if strange:
        raise ValueError(f"node types {sorted(strange)} are not in {graph.node_types}")
    for name, number in (("the budget", size), ("top", top)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def _calibration(evidence: Evidence) -> budget.Calibration | None:
    """Fit what a score is worth; None where labels of one class or none could say so."""
    score, y_true = evidence.held_out.unbind(1)
    if evidence.unlabelled or evidence.is_order or int(y_true.sum()) in (0, len(y_true)):
        return None
    return budget.platt(score, y_true)


def _parted(
    graph: HeteroGraph, scores: Tensor, learned_from: Tensor, node_type: str
) -> tuple[str, Tensor, Tensor]:
    """Part the nodes of a type, each part in the order of scores: those to look at, and the rest.

    Returns:
        `NEW` or `JUDGED`, and the global ids of both parts.
    """
    span = graph.span(node_type)
    nodes = torch.arange(span.start, span.stop)
    nodes = nodes[scores[nodes].argsort(descending=True, stable=True)]
    is_learned, listed = torch.isin(nodes, learned_from.cpu()), NEW
    is_new = (graph.label_of_nodes().cpu()[nodes] < 0) & ~is_learned
    if len(nodes) and not is_new.any():
        is_new, listed = ~is_learned, JUDGED
    return listed, nodes[is_new], nodes[~is_new]


def _queue(
    graph: HeteroGraph,
    evidence: Evidence,
    node_type: str,
    calibration: budget.Calibration | None,
    *,
    size: int,
    top: int | None,
    with_known: bool,
) -> Queue:
    scores = evidence.scores.detach().cpu()
    listed, nodes, others = _parted(graph, scores, evidence.learned_from, node_type)
    head = max(size, min(GROUPED * size, len(nodes) // GROUPED_OF))
    head = nodes[: min(head, MOST_GROUPED)]
    group = torch.zeros(len(nodes), dtype=torch.int64)
    group[: len(head)] = groups(graph, head)
    probability = torch.full((len(nodes),), torch.nan, dtype=torch.float64)
    if calibration is not None and listed == NEW:
        probability = calibration(scores[nodes])
    rows = torch.cat([nodes[:top], others if with_known else others[:0]])
    padding = len(rows) - len(nodes[:top])
    return Queue(
        node_type=node_type,
        listed=listed,
        size=len(nodes),
        left_out=len(others),
        nodes=rows,
        probability=torch.nn.functional.pad(probability[:top], (0, padding), value=torch.nan),
        group=torch.nn.functional.pad(group[:top], (0, padding)),
        budget=_budget(graph, evidence, nodes, probability, listed, size),
    )


def _budget(
    graph: HeteroGraph,
    evidence: Evidence,
    nodes: Tensor,
    probability: Tensor,
    listed: str,
    size: int,
) -> Budget | None:
    """Say what to expect of the first of a queue's nodes."""
    size = min(size, len(nodes))
    if size == 0:
        return None
    scores = evidence.scores.detach().cpu()[nodes]
    asked = {"size": size, "threshold": float(scores[size - 1])}
    if listed == JUDGED:
        is_fraud = graph.label_of_nodes().cpu()[nodes] == 1
        return Budget(**asked, labelled=(int(is_fraud[:size].sum()), int(is_fraud.sum())))
    if probability.isnan().all():
        return Budget(**asked)
    frauds = budget.expected_frauds(scores[:size], probability[:size], evidence.held_out)
    share = float(evidence.held_out[:, 1].mean())
    elsewhere = budget.share_elsewhere(probability, share)
    mean = torch.tensor(frauds.value / size, dtype=torch.float64)
    by_verdict = size * float(budget.with_share(mean, share, elsewhere))
    return Budget(**asked, frauds=frauds, share=share, elsewhere=elsewhere, by_verdict=by_verdict)


def groups(graph: HeteroGraph, suspects: Tensor, *, joined: float = JOINED) -> Tensor:
    """Part suspects into groups that meet where few go, and most of these are suspects.

    Two suspects are tied by every node that both are linked to (each counts as linked to itself),
    the more, the larger the share of suspects among those who go there, and the fewer these are:
    see `_ties`. Groups are joined one by one, the closest two first, as long as the mean tie
    between their members is `joined` at least (average linkage: Sokal and Michener, A Statistical
    Method for Evaluating Systematic Relationships, 1958). So a single account between two rings
    does not make one of them.

    Args:
        graph: seen without types.
        suspects: (n,) int64 global ids, the most suspicious first.
        joined: the least mean.

    Returns:
        (n,) int64: the position, from 1, of the first member of a node's group; 0 if it is alone.
    """
    count = len(suspects)
    if count < 2:
        return torch.zeros(count, dtype=torch.int64)
    ties = _ties(graph, suspects)
    top = max(float(ties.max()), joined)
    apart = (top - ties)[np.triu_indices(count, 1)]
    tree = hierarchy.linkage(apart, "average")
    member = hierarchy.fcluster(tree, top - joined + 1e-9, "distance") - 1
    first, members = np.full(count, count), np.bincount(member, minlength=count)
    np.minimum.at(first, member, np.arange(count))
    return torch.from_numpy(np.where(members[member] > 1, first[member] + 1, 0))


def _ties(graph: HeteroGraph, suspects: Tensor) -> np.ndarray:
    """Return what ties each two suspects, (n, n) float64.

    A node counts s / sqrt(k) if k + 1 suspects are linked to it: s is k over all that are linked to
    it, less what chance would give. A device of two suspects counts 1/2 where suspects are few, one
    of five 4/5 / sqrt(4), a product of which 3 of 20 buyers are suspects 2/20 / sqrt(2).
    """
    csr, count = graph.homogeneous, len(suspects)
    rows = [csr.indices[csr.indptr[node] : csr.indptr[node + 1]] for node in suspects.tolist()]
    columns = torch.cat(rows).long().numpy()
    degree = csr.degrees().numpy()[columns] - 1  # less the self-loop
    others = np.bincount(columns, minlength=graph.total)[columns] - 1
    types = graph.node_type_of(suspects).unique().tolist()
    accounts = sum(graph.num_nodes[graph.node_types[number]] for number in types)
    share = np.maximum(others / np.maximum(degree, 1) - count / max(accounts, 1), 0)
    share = share / np.sqrt(np.maximum(others, 1))
    indptr, shape = np.cumsum([0, *map(len, rows)]), (count, graph.total)
    linked = sparse.csr_array((np.ones(len(columns)), columns, indptr), shape)
    return (sparse.csr_array((share, columns, indptr), shape) @ linked.T).toarray()
