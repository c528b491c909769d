"""The history of events: what came strictly before a node, by the entity that both concern.

A payment is an event; its card and its shop are entities, and so is the pair of the two. For every
event, the earlier events of the same entity are summarized: how many, how long ago, their features
and the rate of known anomalies among them. Events of the same time do not see each other.

Two summaries of the same past are for two uses. All of it, evenly, says most of events that lie
among those learned from. But counts, maxima and means of all of it grow old: they drift as long as
events come in, so later events look like none that was learned from. Of lately there is never more
than a few events' worth, at the beginning as at the end.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.graph import CSR, checksum
from gadkit.trees.blocks import Columns, joined, named
from gadkit.trees.neighbors import Neighbors
from gadkit.trees.rates import rate_columns, rate_of_all

BACK = (0, 2, 9)  # events back, of which a history tells how long ago they were
HALF_LIVES = (3, 30)  # events, after which one counts half in what was usual lately
LATE = 1 / 4  # of the time over which labels are known: how long one takes to be known, if it does


class History:
    """Summaries of the past of every event.

    Args:
        neighbors: of the graph, with the features that are summarized.
        time: (total,) float64, NaN where a node has none; None if no node has one.
        prior: the rate of anomalies where nothing is known; None takes that of the labels.
    """

    def __init__(self, neighbors: Neighbors, time: Tensor | None, prior: float | None = None):
        self.neighbors, self.time, self.prior = neighbors, time, prior
        # Kept by node type; of label rates those of the last labels, by their checksum.
        self._entities: dict[str, dict[str, CSR]] = {}
        self._values: dict[str, Columns] = {}
        self._lately: dict[str, Columns] = {}
        self._label_rates: dict[tuple[str, bool], tuple[int, Columns]] = {}

    def covers(self, node_type: str) -> bool:
        """Say whether all nodes of a type have a time, and entities whose history they are in."""
        if self.time is None or self.time[self.neighbors.graph.span(node_type)].isnan().any():
            return False
        return bool(self.entities(node_type))

    def values(self, node_type: str) -> Columns:
        """Summarize number, times and features of earlier events, for all nodes of a type.

        Raises:
            ValueError: a node has no time, or the type no entities.
        """
        if node_type not in self._values:
            time, parts = self._times(node_type), []
            x, x_names = self.neighbors.x[node_type], self.neighbors.x_names[node_type]
            for name, past in self._summaries(node_type, time, x.double()):
                parts += _past_values(name, past, x, x_names)
            self._values[node_type] = joined(parts, time)
        return self._values[node_type]

    def lately(self, node_type: str) -> Columns:
        """Summarize when earlier events were, and the features of the last few, for all of a type.

        An event counts half as much after another three, or thirty, of its entity.

        Raises:
            ValueError: a node has no time, or the type no entities.
        """
        if node_type not in self._lately:
            time, parts = self._times(node_type), []
            x, x_names = self.neighbors.x[node_type].double(), self.neighbors.x_names[node_type]
            fade = np.exp2(-1 / np.array(HALF_LIVES))
            for name, events in self.entities(node_type).items():
                order = _by_time(events, time).numpy()
                arrays = events.indptr.numpy(), order, time.numpy()
                *_, since = _before(*arrays, x[:, :0].numpy(), 0.0)
                parts.append(_since_columns(name, torch.from_numpy(since)))
                if " and " not in name:
                    usual = _fading(*arrays, x.numpy(), fade)
                    parts += _lately_values(name, torch.from_numpy(usual), x, x_names)
            self._lately[node_type] = joined(parts, time)
        return self._lately[node_type]

    def label_rates(self, node_type: str, train: Tensor, *, late: bool = False) -> Columns:
        """Return rates of known anomalies among earlier events, for all nodes of a type.

        An event's own label is no part of its past, so no folds are needed.

        Args:
            node_type: of the events.
            train: (num_train, 2) int64 rows [global id, 1 = anomaly]; the only labels looked at.
            late: whether labels take a while to be known, `LATE` of the time that they cover. Those
                that follow later than all labels know only old ones; where what is learned from
                knows the very last, it teaches to trust labels more than can be done then.

        Raises:
            ValueError: a node has no time, or the type no entities.
        """
        key = checksum(train)
        kept_for, columns = self._label_rates.get((node_type, late), (None, None))
        if columns is not None and kept_for == key:
            return columns
        time, parts = self._times(node_type), []
        prior = rate_of_all(train) if self.prior is None else self.prior
        values = self._anomaly_and_label(node_type, train)
        delay = LATE * self._span(train) if late else 0.0
        for name, (_, sums, *_) in self._summaries(node_type, time, values, delay):
            parts.append(rate_columns(f"{name} before", sums, prior))
        columns = joined(parts, time)
        if len(train):  # without labels only the names are asked for: what was kept stays
            self._label_rates[node_type, late] = key, columns
        return columns

    def _span(self, train: Tensor) -> float:
        """Return the time between the first and the last of some labels."""
        time = self.time[train[:, 0]].double()
        time = time[~time.isnan()]
        return float(time.max() - time.min()) if len(time) else 0.0

    def entities(self, node_type: str) -> dict[str, CSR]:
        """Return the events of every entity by relation, and of every pair of entities.

        A relation gives entities if each event has at most one: rows are then entities, and their
        neighbors the events.
        """
        if node_type not in self._entities:
            single = {
                name: csr.transpose()
                for _, (source, name, _), csr in self.neighbors.streams_into(node_type)
                # A link between two events may be one that the later of them has made.
                if source != node_type and csr.degrees().max() <= 1
            }
            num_events = self.neighbors.graph.num_nodes[node_type]
            self._entities[node_type] = single | _pairs_of_entities(single, num_events)
        return self._entities[node_type]

    def _times(self, node_type: str) -> Tensor:
        if self.time is None:
            raise ValueError("the nodes have no time, which a history needs")
        time = self.time[self.neighbors.graph.span(node_type)].double()
        if time.isnan().any():
            node = int(time.isnan().nonzero()[0]) + self.neighbors.graph.offset(node_type)
            raise ValueError(f"{node_type} {node} has no time, which a history needs of all")
        if not self.entities(node_type):
            raise ValueError(f"no relation gives a {node_type} one entity, whose history it has")
        return time

    def _summaries(
        self, node_type: str, time: Tensor, values: Tensor, delay: float = 0.0
    ) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
        """Yield by entity what `_before` makes of the values (num_events, dim) float64."""
        for name, events in self.entities(node_type).items():
            arrays = events.indptr, _by_time(events, time), time, values
            past = _before(*(array.numpy() for array in arrays), delay)
            yield name, tuple(map(torch.from_numpy, past))

    def _anomaly_and_label(self, node_type: str, train: Tensor) -> Tensor:
        """Return 1 for a known anomaly and 1 for a known label, (num_events, 2) float64."""
        graph = self.neighbors.graph
        values = torch.zeros(graph.total, 2, dtype=torch.float64)
        values[train[:, 0], 0], values[train[:, 0], 1] = train[:, 1].double(), 1.0
        return values[graph.span(node_type)].contiguous()


def _pairs_of_entities(single: dict[str, CSR], num_events: int) -> dict[str, CSR]:
    """Return the events of every pair of entities, such as one card at one shop."""
    pairs_of = {}
    entity_of = {}  # by relation (num_events,): the entity of each event, or -1
    for name, csr in single.items():
        entity_of[name] = torch.full((num_events,), -1)
        event, entity = csr.pairs()
        entity_of[name][event] = entity
    for first, second in combinations(entity_of, 2):
        key = entity_of[first] * (entity_of[second].max() + 1) + entity_of[second]
        has_both = (entity_of[first] >= 0) & (entity_of[second] >= 0)
        events = has_both.nonzero().flatten()
        pairs, pair = key[events].unique(return_inverse=True)
        pairs_of[f"{first} and {second}"] = CSR.from_edges(
            events, pair, num_src=num_events, num_dst=len(pairs)
        )
    return pairs_of


def _by_time(events: CSR, time: Tensor) -> Tensor:
    """Return the events of every entity in the order of their time, (num_edges,) int64."""
    event, entity = events.pairs()
    by_time = torch.argsort(time[event], stable=True)
    return event[by_time[torch.argsort(entity[by_time], stable=True)]]


def _past_values(
    name: str, past: tuple[Tensor, ...], x: Tensor, x_names: list[str]
) -> Iterator[Columns]:
    count, _, average, squares, top, since = past
    sd = (squares / count.clamp(min=1)).sqrt()
    yield [f"{name}: log events before"], count.log1p().float()
    yield _since_columns(name, since)
    if " and " not in name:
        columns = {
            "mean of {}": average, "sd of {}": sd, "max of {}": top, "{} above mean": x - average,
        }  # fmt: skip
        for what, values in columns.items():
            yield named(f"{name}: {what} before", x_names, values.float())


def _since_columns(name: str, since: Tensor) -> Columns:
    return [f"{name}: log time since the last but {k}" for k in BACK], since.log1p().float()


def _lately_values(name: str, usual: Tensor, x: Tensor, x_names: list[str]) -> Iterator[Columns]:
    for k, half_life in enumerate(HALF_LIVES):
        average = usual[:, k]
        for what, values in {"mean of {}": average, "{} above mean": x - average}.items():
            pattern = f"{name}: {what} lately, half-life {half_life}"
            yield named(pattern, x_names, values.float())


@njit(cache=True)
def _fading(indptr, order, time, values, fade):
    """Average the strictly earlier events of an entity, the later the more.

    Args:
        indptr, order, time, values: as for `_before`.
        fade: (num_fades,) float64, what is left of an event's weight when another one comes.

    Returns:
        (num_events, num_fades, dim) float64, 0 for events without a past.
    """
    num, dim = values.shape
    out = np.zeros((num, len(fade), dim))
    weight, average = np.zeros(len(fade)), np.zeros((len(fade), dim))
    for entity in range(len(indptr) - 1):
        weight[:], average[:] = 0, 0
        done = indptr[entity]
        for position in range(indptr[entity], indptr[entity + 1]):
            event = order[position]
            while done < position and time[order[done]] < time[event]:
                past = order[done]
                for k in range(len(fade)):
                    weight[k] = weight[k] * fade[k] + 1
                    for j in range(dim):
                        average[k, j] += (values[past, j] - average[k, j]) / weight[k]
                done += 1
            out[event] = average
    return out


@njit(cache=True)
def _before(indptr, order, time, values, delay):
    """Summarize for every event the strictly earlier events of its entity.

    Args:
        indptr: (num_entities + 1,) the events of entity e are `order[indptr[e] : indptr[e + 1]]`.
        order: (num_edges,) events, by entity and then by time.
        time: (num_events,) float64.
        values: (num_events, dim) float64 to be summarized.
        delay: how long an event takes to be known, at least 0; only those earlier by more are in.

    Returns:
        count (num_events, 1); sum and mean of the values, sum of the squares of their distances
        from it, and maximum, each (num_events, dim); and the time since the last earlier event and
        some further back, (num_events, len(BACK)), -0.5 where there is none. All float64, 0 for
        events without a past.
    """
    # Two pointers run over the events of one entity: `position` is the event that asks, and all
    # before `done` are in the sums. `done` waits as long as its event is not strictly earlier, so
    # events of one time ask before any of them is added. Of times 10, 20, 20, 30 the first has no
    # past; both at 20 find `done` at the second, so a count of 1; the one at 30 adds both: 3.
    # `done` never passes `position`, whose own time is not earlier than itself.
    # Mean and squares follow each value as it comes in (Welford, Note on a Method for Calculating
    # Corrected Sums of Squares and Products, 1962): a plain sum of squares would lose what sets
    # large values apart, and leave something of values that are equal.
    num, dim = values.shape
    count, since = np.zeros((num, 1)), np.full((num, len(BACK)), -0.5)
    total, average = np.zeros((num, dim)), np.zeros((num, dim))
    squares, top = np.zeros((num, dim)), np.zeros((num, dim))
    for entity in range(len(indptr) - 1):
        begin, end = indptr[entity], indptr[entity + 1]
        s, a, q, m = np.zeros(dim), np.zeros(dim), np.zeros(dim), np.zeros(dim)
        done = begin
        for position in range(begin, end):
            event = order[position]
            while time[order[done]] + delay < time[event]:
                for k in range(dim):
                    value = values[order[done], k]
                    s[k] += value
                    away = value - a[k]
                    a[k] += away / (done - begin + 1)
                    q[k] += away * (value - a[k])
                    m[k] = value if done == begin else max(m[k], value)
                done += 1
            count[event, 0] = done - begin
            total[event], average[event], squares[event], top[event] = s, a, q, m
            for k in range(len(BACK)):
                if done - 1 - BACK[k] >= begin:
                    since[event, k] = time[event] - time[order[done - 1 - BACK[k]]]
    return count, total, average, squares, top, since
