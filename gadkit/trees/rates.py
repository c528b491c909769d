"""Rates of known anomalies around a node, made so that a node's row never tells its own label.

Rates are out of fold: the labelled nodes are dealt into `FOLDS` folds, and a node's rates leave out
the labels of its whole fold. Leaving out its own label alone would not do, as a tree can tell it
from the rest of its group (the sum without me is smaller if I am one).
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from gadkit.graph import CSR
from gadkit.ops import spmm
from gadkit.trees.blocks import Columns, joined, mean
from gadkit.trees.neighbors import Neighbors

FOLDS = 10
PRIOR_WEIGHT = 3.0  # labels; a rate over fewer is drawn to the rate of all


class LabelRates:
    """Rates of the labels of one training part, over every path of one or two relations.

    Args:
        neighbors: of the graph.
        types: node types that labels are about; neighbors of others have none to count.
        train: (num_train, 2) int64 rows [global id, 1 = anomaly]; the only labels looked at.
        prior: the rate of all labels that a detector has learned from, where these are others, on
            another graph; the columns are then made over every path, also where a path says nothing
            on this graph that another has not said. None takes the rate of `train`.

    Attributes:
        prior: the rate where nothing is known.
        has_labels: whether there are any; all counts are 0 without.
        fold: (total,) int64 in [0, FOLDS]; FOLDS for nodes that are not in `train`.
        label_counts: (total, 2 * (FOLDS + 1)) float32 counts, see `_counts_by_reader`.
    """

    def __init__(
        self,
        neighbors: Neighbors,
        types: list[str],
        train: Tensor,
        *,
        prior: float | None = None,
    ):
        self.neighbors, self.types, self.every_path = neighbors, types, prior is not None
        self.prior = rate_of_all(train) if prior is None else prior
        self.has_labels, total = len(train) > 0, neighbors.graph.total
        self.fold = _dealt(train, total)
        self.label_counts = _counts_by_reader(train, self.fold, total)
        self._around_ends: dict[tuple[str, str], Tensor] = {}  # by (node type, relation)
        self._rates_of_ends: dict[tuple[str, str], Tensor] = {}

    def columns(self, node_type: str, rows: Tensor) -> Columns:
        """Return the rates around some nodes of a type, each without the labels of its fold.

        Args:
            node_type: of the rows.
            rows: (n,) int64, from 0 in the type.
        """
        ids = rows + self.neighbors.graph.offset(node_type)
        fold, parts = self.fold[ids], []
        for path, counts in self._counts_by_path(node_type, rows):
            parts.append(rate_columns(path, _of_fold(counts, fold), self.prior))
        for name, values in self._mean_rates(node_type, rows):
            parts.append(([name], values.gather(1, fold[:, None]).float()))
        # No rows are asked for where only the names are needed: no walk then.
        walk = self._walked[ids] if len(ids) and self.has_labels else self.label_counts[ids]
        parts.append(rate_columns("walks", _of_fold(walk, fold), self.prior, weight=1e-3))
        return joined(parts, rows)

    @cached_property
    def _walked(self) -> Tensor:
        return self.neighbors.walk(self.label_counts, outward=False)

    def _counts_by_path(self, node_type: str, rows: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield by path the anomalies and labels at its ends, (n, 2 * (FOLDS + 1))."""
        for _, (source, name, _), csr in self.neighbors.streams_into(node_type):
            chosen = csr.select(rows)
            if source in self.types:
                span = self.neighbors.graph.span(source)
                yield name, spmm(chosen, self.label_counts[span].contiguous())
            yield f"{name} and back", spmm(chosen, self._around(node_type, name, csr))

    def _mean_rates(self, node_type: str, rows: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield by path the mean over neighbors of the rate that each of them has around it.

        Unlike the sums over "and back", where one popular product drowns the others, every neighbor
        has one voice here. A rate is made for each end of the relation and each fold that may read
        it, (num_ends, FOLDS + 1), and then averaged over the ends that a row is connected with.
        Where each row has one end at most, this would say the same as the sums: it is left out.
        """
        for _, (_, name, _), csr in self.neighbors.streams_into(node_type):
            if self.every_path or (len(csr.degrees()) and csr.degrees().max() > 1):
                rate = self._rate_of_ends(node_type, name, csr)
                yield f"mean rate of {name}", mean(csr.select(rows), rate)

    def _around(self, node_type: str, name: str, csr: CSR) -> Tensor:
        """Count the anomalies and labels around the other ends of a relation into a type."""
        key = node_type, name
        if not self.has_labels:  # as where only the names of the columns are asked for
            return self.label_counts.new_zeros(csr.num_src, self.label_counts.shape[1])
        if key not in self._around_ends:
            span = self.neighbors.graph.span(node_type)
            self._around_ends[key] = spmm(csr.transpose(), self.label_counts[span].contiguous())
        return self._around_ends[key]

    def _rate_of_ends(self, node_type: str, name: str, csr: CSR) -> Tensor:
        """Return what each reader sees around the other ends, (num_ends, FOLDS + 1); kept, as a
        table is made some rows at a time."""
        key = node_type, name
        if key not in self._rates_of_ends:
            counts = self._around(node_type, name, csr).view(-1, 2, FOLDS + 1)
            anomalies, labels = counts.unbind(1)
            rate = (anomalies + PRIOR_WEIGHT * self.prior) / (labels + PRIOR_WEIGHT)
            self._rates_of_ends[key] = rate
        return self._rates_of_ends[key]


def _dealt(train: Tensor, total: int) -> Tensor:
    """Deal the labelled nodes into folds: (total,) int64 in [0, FOLDS], FOLDS if not labelled.

    Each class is shuffled and dealt like cards, 0, 1, ..., FOLDS - 1, 0, 1, ..., so that every fold
    gets the same number of anomalies, give or take one. Were it not so, the rate without a fold
    would tell how many anomalies are in it, and with that something of its labels. The seed is
    fixed: the same labels make the same columns.
    """
    fold = torch.full((total,), FOLDS)
    for value in (0, 1):
        ids = train[train[:, 1] == value, 0]
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(value))
        fold[ids[order]] = torch.arange(len(ids)) % FOLDS
    return fold


def _counts_by_reader(train: Tensor, fold: Tensor, total: int) -> Tensor:
    """Say what each fold may read of each node: (total, 2 * (FOLDS + 1)) float32.

    Seen as (total, 2, FOLDS + 1): entry [node, 0, reader] is 1 if the node is a known anomaly,
    [node, 1, reader] if it is labelled at all, and both are 0 if node and reader are in one fold.
    With 3 folds, an anomaly of fold 1 is [[1, 0, 1, 1], [1, 0, 1, 1]]; the last reader is all those
    without a fold, who may read everything. Sums over edges then make all variants of a count at
    once, of which `_of_fold` picks each row's own.
    """
    counts = torch.zeros(total, 2, FOLDS + 1)
    ids, y = train.unbind(1)
    readable = (fold[ids, None] != torch.arange(FOLDS + 1)).float()
    counts[ids, 0], counts[ids, 1] = readable * y[:, None], readable
    return counts.flatten(1)


def _of_fold(counts: Tensor, fold: Tensor) -> Tensor:
    """Pick each row's own variant out of (rows, 2 * (FOLDS + 1)): (rows, 2)."""
    return counts.view(-1, 2, FOLDS + 1).gather(2, fold.view(-1, 1, 1).expand(-1, 2, 1))[:, :, 0]


def rate_of_all(train: Tensor) -> float:
    """Return the share of anomalies among labels (n, 2) int64; 0 without labels."""
    return float(train[:, 1].double().mean()) if len(train) else 0.0


def rate_columns(path: str, counts: Tensor, prior: float, weight: float = PRIOR_WEIGHT) -> Columns:
    """Make three columns of counts: the rate, drawn to the prior, and the logs of both counts.

    Args:
        path: what was counted over.
        counts: (n, 2) anomalies and labels.
        prior: the rate where nothing is known.
        weight: of the prior, in labels.
    """
    anomalies, labels = counts.unbind(1)
    rate = (anomalies + weight * prior) / (labels + weight)
    columns = [rate, (anomalies / weight).log1p(), (labels / weight).log1p()]
    names = [f"rate over {path}", f"log anomalies over {path}", f"log labels over {path}"]
    return names, torch.stack(columns, 1).float()
