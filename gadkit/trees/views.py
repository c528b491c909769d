"""What a tree may see of a node: tables of named columns, made of blocks.

A forest that sees a node's own features, and parameter-free summaries of those around it, is hard
to beat on fraud (Tang et al., GADBench, NeurIPS 2023). Every block here is such a summary, over
typed relations, on `ops.spmm`: means one and two hops away, degrees, band-pass filters, rates of
known fraud, and for events the history of whom they concern.

Two blocks read labels, and only those of the training part. A node's own label never reaches its
own row: rates are made without the labels of its fold. Leaving out its own label alone would not
do, as a tree can tell it from the rest of its group (the sum without me is smaller if I am one).
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit import store
from gadkit.graph import CSR, EdgeType, HeteroGraph, Stream, checksum
from gadkit.graph.structure import (
    feature_names,
    own_columns,
    structural_features,
    structural_names,
)
from gadkit.ops import spmm

FOLDS = 10
PRIOR_WEIGHT = 3.0  # labels; a rate over fewer is drawn to the rate of all
BACK = (0, 2, 9)  # events back, of which a history tells how long ago they were
RESTART = 0.15  # of the random walks (Page et al., The PageRank Citation Ranking, 1999)
WALK_STEPS = 20  # after which 4 % of a walk is still under way

BLOCKS = (
    "own", "hops", "spread", "relations", "structure", "bands", "labels", "history",
    "label_history", "embedding",
)  # fmt: skip

Columns = tuple[list[str], Tensor]  # names, and (num_rows, dim) float32


class Views:
    """Feature tables of the nodes of some types.

    Args:
        graph: on the CPU.
        own: how many of the first columns of x are the authors' own, by node type; all of them if
            None. The others are structural and are made again here, from the edges.
        names: of the columns of x, by node type; `x_0`, ... if None.
        time: (total,) float64, NaN where a node has none; needed by "history".
        z: (total, dim) float32 embeddings made without labels; needed by "embedding".
        types: node types of the rows; by default those with labels.
    """

    def __init__(
        self,
        graph: HeteroGraph,
        *,
        own: dict[str, int] | None = None,
        names: dict[str, list[str]] | None = None,
        time: Tensor | None = None,
        z: Tensor | None = None,
        types: Iterable[str] | None = None,
    ):
        self.graph, self.time, self.z = graph, time, z
        self.types = list(types or graph.labelled_types or graph.node_types[:1])
        self._x, self._x_names = {}, {}
        for name in graph.node_types:
            given = torch.empty(graph.num_nodes[name], 0) if graph.x is None else graph.x[name]
            count = given.shape[1] if own is None else own[name]
            self._x[name] = given[:, :count].float().contiguous()
            of_x = (names or {}).get(name) or [f"x_{k}" for k in range(given.shape[1])]
            self._x_names[name] = list(of_x)[:count]
        self._cache: dict = {}

    def with_graph(self, graph: HeteroGraph) -> "Views":
        """Return the same views of another graph of the same nodes, such as one rewired."""
        own = {name: x.shape[1] for name, x in self._x.items()}
        given = {"names": self._x_names, "time": self.time, "z": self.z, "types": self.types}
        return Views(graph, own=own, **given)

    def table(self, blocks: Iterable[str], ids: Tensor, train: Tensor | None = None) -> Tensor:
        """Return the columns of some blocks for some nodes.

        Args:
            blocks: names out of `BLOCKS`.
            ids: (n,) int64 global ids, of `types`.
            train: (num_train, 2) int64 rows [global id, 1 = anomaly]; the only labels looked at.

        Returns:
            (n, dim) float32; NaN where a column means nothing for a node's type.

        Raises:
            ValueError: a block is unknown, needs labels or times that were not given, or an id is
                of another type.
        """
        return self._columns(tuple(blocks), ids, train)[1]

    def names(self, blocks: Iterable[str]) -> list[str]:
        """Return the names of the columns of `table`, each starting with its block."""
        key = ("names", *blocks)
        if key not in self._cache:
            none, kept = torch.empty(0, dtype=torch.int64), dict(self._cache)
            found = self._columns(tuple(blocks), none, none.view(0, 2))[0]
            self._cache |= kept | {key: found}  # what was made of other labels stays
        return self._cache[key]

    def _columns(self, blocks: tuple[str, ...], ids: Tensor, train: Tensor | None) -> Columns:
        types, numbers = self.graph.node_type_of(ids), map(self.graph.node_types.index, self.types)
        outside = ~torch.isin(types, torch.tensor(list(numbers)))
        if outside.any():
            node = int(ids[outside.nonzero()[0, 0]])
            raise ValueError(
                f"node {node} is a {self.graph.node_types[types[outside][0]]}, but these views are "
                f"of {', '.join(self.types)}"
            )
        found = []
        for node_type in self.types:
            chosen = (types == self.graph.node_types.index(node_type)).nonzero().flatten()
            rows = ids[chosen] - self.graph.offset(node_type)
            parts = [self._block(block, node_type, rows, train) for block in blocks]
            found.append((chosen, *_joined(parts, rows)))
        for _, of_type, _ in found:
            if len(set(of_type)) < len(of_type):
                name = next(name for name in of_type if of_type.count(name) > 1)
                raise ValueError(f"two columns are called {name!r}; rename a feature or a relation")
        names = list(dict.fromkeys(name for _, of_type, _ in found for name in of_type))
        place_of = {name: place for place, name in enumerate(names)}
        out = torch.full((len(ids), len(names)), torch.nan)
        for chosen, of_type, values in found:
            places = torch.tensor([place_of[name] for name in of_type], dtype=torch.int64)
            out[chosen[:, None], places] = values
        return names, out

    def _block(self, block: str, node_type: str, rows: Tensor, train: Tensor | None) -> Columns:
        if block not in BLOCKS:
            raise ValueError(f"no block {block!r}; there are {', '.join(BLOCKS)}")
        if block in ("labels", "label_history"):
            if train is None:
                raise ValueError(f"block {block!r} needs the training labels: pass train=")
            names, values = getattr(self, f"_{block}")(node_type, rows, train)
        else:
            names, values = getattr(self, f"_{block}")(node_type, rows)
        return [f"{block}: {name}" for name in names], values

    @property
    def has_history(self) -> bool:
        """Whether every type of the rows has times, and entities whose history it is part of."""
        return self.time is not None and all(
            not self.time[self.graph.span(name)].isnan().any() and bool(self._entities(name))
            for name in self.types
        )

    # Blocks: each returns its names and, for the rows of one type, its values.

    def _own(self, node_type: str, rows: Tensor) -> Columns:
        names, values = self._x_names[node_type], self._x[node_type][rows]
        if len(self.types) > 1:
            number = self.graph.node_types.index(node_type)
            values = torch.cat([values, torch.full((len(rows), 1), float(number))], 1)
            names = [*names, "node type"]
        return names, values

    def _hops(self, node_type: str, rows: Tensor) -> Columns:
        parts = []
        for middle in self._sources(node_type):
            csr = self._between(middle, node_type).select(rows)
            via = f"{middle}s" if middle != node_type else "neighbors"
            parts.append(
                _named(f"mean of {{}} of {via}", self._x_names[middle], _mean(csr, self._x[middle]))
            )
            for far in self._sources(middle):
                mean = _mean(csr, self._mean_of(far, middle))
                parts.append(_named(f"mean of {{}} of {far}s of {via}", self._x_names[far], mean))
        return _joined(parts, rows)

    def _spread(self, node_type: str, rows: Tensor) -> Columns:
        parts = []
        for source in self._sources(node_type):
            csr, x = self._between(source, node_type).select(rows), self._x[source]
            centered = x - x.mean(0) if len(x) else x
            variance = _mean(csr, centered.square()) - _mean(csr, centered).square()
            parts.append(
                _named(
                    f"sd of {{}} of {source}s", self._x_names[source], variance.clamp(min=0).sqrt()
                )
            )
        return _joined(parts, rows)

    def _relations(self, node_type: str, rows: Tensor) -> Columns:
        parts, streams = [], self._streams_into(node_type)
        sources = [stream.edge_type[0] for stream in streams]
        for stream in streams:
            source, name, _ = stream.edge_type
            if sources.count(source) > 1:
                mean = _mean(stream.csr.select(rows), self._x[source])
                parts.append(_named(f"mean of {{}} over {name}", self._x_names[source], mean))
        return _joined(parts, rows)

    def _structure(self, node_type: str, rows: Tensor) -> Columns:
        """Degrees of the node and of those around it, the same of its likes, and its PageRank."""
        names, own = self._structural_names[node_type], self._structural[node_type]
        rank = self._page_rank[self.graph.span(node_type)][rows, None]
        parts = [(names, own[rows]), (["log PageRank"], rank)]
        for middle in self._sources(node_type):
            csr = self._between(middle, node_type).select(rows)
            if middle == node_type:
                parts.append(_named("mean of {} of neighbors", names, _mean(csr, own)))
            key = ("structure", middle, node_type)
            if key not in self._cache:
                self._cache[key] = _mean(self._between(node_type, middle), own)
            likes = _mean(csr, self._cache[key])
            parts.append(_named(f"mean of {{}} of {node_type}s by {middle}", names, likes))
        return _joined(parts, rows)

    def _bands(self, node_type: str, rows: Tensor) -> Columns:
        """Three Beta wavelets of order 2 (Tang et al., Rethinking Graph Neural Networks for Anomaly
        Detection, ICML 2022, eq. 6), of the features and degrees of the node's own type."""
        names, once = self._propagated(node_type)
        ids = rows + self.graph.offset(node_type)
        csr, scale = self.graph.homogeneous, self._rsqrt_degree
        x, one = self._band_input(node_type)[1][rows], once[ids]
        two = spmm(csr.select(ids), once, scale_dst=scale[ids], scale_src=scale)
        bands = {"low": x + 2 * one + two, "middle": x - two, "high": x - 2 * one + two}
        return _joined(
            [_named(f"{band} band of {{}}", names, v / 4) for band, v in bands.items()], rows
        )

    def _labels(self, node_type: str, rows: Tensor, train: Tensor) -> Columns:
        known, fold = self._folds(train)
        ids = rows + self.graph.offset(node_type)
        of_row, prior = fold[ids], _prior(train)
        parts = []
        for name, counts in self._label_counts(node_type, rows, known):
            parts.append(_rates(name, _of_fold(counts, of_row), prior))
        for name, rates in self._mean_rates(node_type, rows, known, prior):
            parts.append(([name], rates.gather(1, of_row[:, None]).float()))
        walk = self._walked(known)[ids]
        parts.append(_rates("walks", _of_fold(walk, of_row), prior, weight=1e-3))
        return _joined(parts, rows)

    def _history(self, node_type: str, rows: Tensor) -> Columns:
        names, values = self._past(node_type, None)
        return names, values[rows]

    def _label_history(self, node_type: str, rows: Tensor, train: Tensor) -> Columns:
        names, values = self._past(node_type, train)
        return names, values[rows]

    def _embedding(self, node_type: str, rows: Tensor) -> Columns:
        if self.z is None:
            raise ValueError("block 'embedding' needs embeddings: pass z=")
        names = [f"z_{k}" for k in range(self.z.shape[1])]
        return names, self.z[rows + self.graph.offset(node_type)]

    # What blocks are made of, computed once.

    def _streams_into(self, node_type: str) -> list[Stream]:
        return [stream for stream in self._bare.streams if stream.edge_type[2] == node_type]

    @cached_property
    def _bare(self) -> HeteroGraph:
        """The graph without self-loops: nobody is a neighbor of itself."""
        edges = {
            edge_type: _without_loops(edge_type, csr) for edge_type, csr in self.graph.edges.items()
        }
        if all(edges[edge_type] is csr for edge_type, csr in self.graph.edges.items()):
            return self.graph
        return HeteroGraph(self.graph.num_nodes, edges)

    def _sources(self, node_type: str) -> list[str]:
        return list(dict.fromkeys(stream.edge_type[0] for stream in self._streams_into(node_type)))

    def _between(self, source: str, node_type: str) -> CSR:
        """All relations from one type to another as one; repeated edges count repeatedly."""
        key = ("between", source, node_type)
        if key not in self._cache:
            found = [s.csr for s in self._streams_into(node_type) if s.edge_type[0] == source]
            self._cache[key] = found[0] if len(found) == 1 else _union(found)
        return self._cache[key]

    def _mean_of(self, source: str, node_type: str) -> Tensor:
        key = ("mean", source, node_type)
        if key not in self._cache:
            self._cache[key] = _mean(self._between(source, node_type), self._x[source])
        return self._cache[key]

    @cached_property
    def _structural(self) -> dict[str, Tensor]:
        return structural_features(self._bare)

    @cached_property
    def _structural_names(self) -> dict[str, list[str]]:
        return structural_names(self._bare)

    @cached_property
    def _rsqrt_degree(self) -> Tensor:
        return self.graph.homogeneous.degrees().float().rsqrt()

    @cached_property
    def _page_rank(self) -> Tensor:
        """log of the PageRank relative to the mean, (total,) float32."""
        start = torch.ones(self.graph.total, 1)
        return self._walk(start, outward=True)[:, 0].log()

    def _walk(self, start: Tensor, *, outward: bool) -> Tensor:
        """Spread `start` by random walks with restart; outward conserves its sum, else its mean."""
        csr, share = self.graph.homogeneous, self._rsqrt_degree.square()
        scales = {"scale_src": share} if outward else {"scale_dst": share}
        x = start
        for _ in range(WALK_STEPS):
            x = RESTART * start + (1 - RESTART) * spmm(csr, x, **scales)
        return x

    def _band_input(self, node_type: str) -> Columns:
        key = ("band input", node_type)
        if key not in self._cache:
            x, csr = self._x[node_type], self.graph.homogeneous
            degree = csr.degrees()[self.graph.span(node_type)].float().log()[:, None]
            x = torch.cat([x, degree], 1)
            deviation, mean = torch.std_mean(x.double(), 0)
            x = ((x - mean) / deviation.clamp(min=1e-6)).clamp(-10, 10).float()
            self._cache[key] = [*self._x_names[node_type], "log degree"], x.contiguous()
        return self._cache[key]

    def _propagated(self, node_type: str) -> Columns:
        key = ("propagated", node_type)
        if key not in self._cache:
            names, x = self._band_input(node_type)
            padded = torch.zeros(self.graph.total, x.shape[1])
            padded[self.graph.span(node_type)] = x
            scale = self._rsqrt_degree
            once = spmm(self.graph.homogeneous, padded, scale_dst=scale, scale_src=scale)
            self._cache[key] = names, once
        return self._cache[key]

    def _folds(self, train: Tensor) -> tuple[Tensor, Tensor]:
        key = checksum(train)
        if self._cache.get("folds", (None,))[0] != key:
            self._cache["folds"] = key, self._dealt(train)
        return self._cache["folds"][1]

    def _dealt(self, train: Tensor) -> tuple[Tensor, Tensor]:
        """Count what each fold may know: its own labels are hidden from it.

        Returns:
            known: (total, 2 * (FOLDS + 1)) float32; anomalies known to each fold, then labels.
                The last column of each is for nodes that are in no fold.
            fold: (total,) int64 in [0, FOLDS].
        """
        fold = torch.full((self.graph.total,), FOLDS)
        for value in (0, 1):  # stratified, so that a fold's rate does not tell its labels
            ids = train[train[:, 1] == value, 0]
            order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(value))
            fold[ids[order]] = torch.arange(len(ids)) % FOLDS
        known = torch.zeros(self.graph.total, 2, FOLDS + 1)
        ids, y = train.unbind(1)
        seen = (fold[ids, None] != torch.arange(FOLDS + 1)).float()
        known[ids, 0], known[ids, 1] = seen * y[:, None], seen
        return known.flatten(1), fold

    def _label_counts(self, node_type: str, rows: Tensor, known: Tensor):
        """Yield by path the anomalies and labels at its ends, (rows, 2 * (FOLDS + 1))."""
        graph = self.graph
        for _, (source, name, _), csr in self._streams_into(node_type):
            chosen = csr.select(rows)
            if source in self.types:
                yield name, spmm(chosen, known[graph.span(source)].contiguous())
            yield f"{name} and back", spmm(chosen, self._known_to(node_type, name, csr, known))

    def _mean_rates(self, node_type: str, rows: Tensor, known: Tensor, prior: float):
        """Yield by path the mean over neighbors of the rate that each of them has around it."""
        for _, (_, name, _), csr in self._streams_into(node_type):
            if len(csr.degrees()) and csr.degrees().max() > 1:
                ends = self._known_to(node_type, name, csr, known)
                anomalies, labels = ends.view(-1, 2, FOLDS + 1).unbind(1)
                rate = (anomalies + PRIOR_WEIGHT * prior) / (labels + PRIOR_WEIGHT)
                yield f"mean rate of {name}", _mean(csr.select(rows), rate)

    def _known_to(self, node_type: str, name: str, csr: CSR, known: Tensor) -> Tensor:
        """Count the anomalies and labels around the other ends of a relation."""
        own = known[self.graph.span(node_type)].contiguous()
        return self._of_labels(
            ("known to", node_type, name), known, lambda: spmm(csr.transpose(), own)
        )

    def _walked(self, known: Tensor) -> Tensor:
        return self._of_labels("walked", known, lambda: self._walk(known, outward=False))

    def _of_labels(self, slot, known: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """Keep what was made of the last labels only."""
        if self._cache.get(slot, (None,))[0] is not known:
            self._cache[slot] = known, make()
        return self._cache[slot][1]

    def _past(self, node_type: str, train: Tensor | None) -> Columns:
        """Summarize for every node what came strictly before it, by the entity it concerns."""
        key = checksum(train) if train is not None else None
        slot = ("past", node_type, train is None)
        if self._cache.get(slot, (-1,))[0] != key:
            self._cache[slot] = key, self._summarized(node_type, train)
        return self._cache[slot][1]

    def _summarized(self, node_type: str, train: Tensor | None) -> Columns:
        if self.time is None:
            raise ValueError("the nodes have no time, which a history needs")
        time = self.time[self.graph.span(node_type)].double()
        if time.isnan().any():
            node = int(time.isnan().nonzero()[0]) + self.graph.offset(node_type)
            raise ValueError(f"{node_type} {node} has no time, which a history needs of all")
        entities, parts = self._entities(node_type), []
        if not entities:
            raise ValueError(f"no relation gives a {node_type} one entity, whose history it has")
        for name, events in entities.items():
            order = _by_time(events, time)
            if train is None:
                before = self._before(events, order, time, self._x[node_type].double())
                parts += _past_values(name, before, self._x[node_type], self._x_names[node_type])
            else:
                values = self._train_values(node_type, train)
                parts.append(_past_labels(name, self._before(events, order, time, values), train))
        return _joined(parts, time)

    @staticmethod
    def _before(events: CSR, order: Tensor, time: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        arrays = (one.numpy() for one in (events.indptr, order, time, values))
        return tuple(map(torch.from_numpy, _before(*arrays)))

    def _entities(self, node_type: str) -> dict[str, CSR]:
        """Return the events of every entity by relation, and of every pair of entities."""
        key = ("entities", node_type)
        if key not in self._cache:
            self._cache[key] = self._found_entities(node_type)
        return self._cache[key]

    def _found_entities(self, node_type: str) -> dict[str, CSR]:
        found = {
            name: csr.transpose()
            for _, (source, name, _), csr in self._streams_into(node_type)
            # A link between two events may be one that the later of them has made.
            if source != node_type and csr.degrees().max() <= 1
        }
        num = self.graph.num_nodes[node_type]
        entity_of = {}
        for name, csr in found.items():
            entity_of[name] = torch.full((num,), -1)
            entity_of[name][csr.indices.long()] = csr.dst()
        for one, other in combinations(entity_of, 2):
            key = entity_of[one] * (entity_of[other].max() + 1) + entity_of[other]
            both = ((entity_of[one] >= 0) & (entity_of[other] >= 0)).nonzero().flatten()
            pairs, pair = key[both].unique(return_inverse=True)
            found[f"{one} and {other}"] = CSR.from_edges(
                both, pair, num_src=num, num_dst=len(pairs)
            )
        return found

    def _train_values(self, node_type: str, train: Tensor) -> Tensor:
        values = torch.zeros(self.graph.total, 2, dtype=torch.float64)
        values[train[:, 0], 0], values[train[:, 0], 1] = train[:, 1].double(), 1.0
        return values[self.graph.span(node_type)].contiguous()


def _named(pattern: str, names: list[str], values: Tensor) -> Columns:
    return [pattern.format(name) for name in names], values


def _joined(parts: list[Columns], rows: Tensor) -> Columns:
    names = [name for found, _ in parts for name in found]
    if not names:
        return [], torch.empty(len(rows), 0)
    return names, torch.cat([values for _, values in parts], 1)


def _mean(csr: CSR, x: Tensor) -> Tensor:
    if x.shape[1] == 0:
        return x.new_empty(csr.num_dst, 0)
    return spmm(csr, x, scale_dst=csr.degrees().clamp(min=1).to(x.dtype).reciprocal())


def _without_loops(edge_type: EdgeType, csr: CSR) -> CSR:
    src, dst = csr.indices.long(), csr.dst()
    others = src != dst
    if edge_type[0] != edge_type[2] or others.all() or not others.any():
        return csr
    return CSR.from_edges(src[others], dst[others], num_src=csr.num_src, num_dst=csr.num_dst)


def _union(relations: list[CSR]) -> CSR:
    src = torch.cat([csr.indices.long() for csr in relations])
    dst = torch.cat([csr.dst() for csr in relations])
    return CSR.from_edges(src, dst, num_src=relations[0].num_src, num_dst=relations[0].num_dst)


def _prior(train: Tensor) -> float:
    return float(train[:, 1].double().mean()) if len(train) else 0.0


def _of_fold(counts: Tensor, fold: Tensor) -> Tensor:
    """Pick each row's own variant out of (rows, 2 * (FOLDS + 1)): (rows, 2)."""
    return counts.view(-1, 2, FOLDS + 1).gather(2, fold.view(-1, 1, 1).expand(-1, 2, 1))[:, :, 0]


def _rates(name: str, counts: Tensor, prior: float, weight: float = PRIOR_WEIGHT) -> Columns:
    anomalies, labels = counts.unbind(1)
    rate = (anomalies + weight * prior) / (labels + weight)
    columns = [rate, (anomalies / weight).log1p(), (labels / weight).log1p()]
    names = [f"rate over {name}", f"log anomalies over {name}", f"log labels over {name}"]
    return names, torch.stack(columns, 1).float()


def _by_time(events: CSR, time: Tensor) -> Tensor:
    """Return the events of every entity in the order of their time, (num_edges,) int64."""
    entity, event = events.dst(), events.indices.long()
    by_time = torch.argsort(time[event], stable=True)
    return event[by_time[torch.argsort(entity[by_time], stable=True)]]


def _past_values(name: str, before: tuple[Tensor, ...], x: Tensor, names: list[str]):
    count, total, squares, top, since = before
    seen = count.clamp(min=1)
    mean = total / seen
    sd = (squares / seen - mean.square()).clamp(min=0).sqrt()
    yield [f"{name}: log events before"], count.log1p().float()
    yield [f"{name}: log time since the last but {k}" for k in BACK], since.log1p().float()
    if " and " not in name:
        columns = {"mean of {}": mean, "sd of {}": sd, "max of {}": top, "{} above mean": x - mean}
        for what, values in columns.items():
            yield _named(f"{name}: {what} before", names, values.float())


def _past_labels(name: str, before: tuple[Tensor, ...], train: Tensor) -> Columns:
    anomalies, labels = before[1].unbind(1)
    return _rates(f"{name} before", torch.stack([anomalies, labels], 1), _prior(train))


@njit(cache=True)
def _before(indptr, order, time, values):
    """Count, sum, sum of squares and maximum of the values of an entity's strictly earlier events,
    and the time since the last of them and some further back (-0.5 where there is none).

    Events of the same time do not see each other.
    """
    num, dim = values.shape
    count, since = np.zeros((num, 1)), np.full((num, len(BACK)), -0.5)
    total, squares, top = np.zeros((num, dim)), np.zeros((num, dim)), np.zeros((num, dim))
    for entity in range(len(indptr) - 1):
        begin, end = indptr[entity], indptr[entity + 1]
        s, q, m = np.zeros(dim), np.zeros(dim), np.zeros(dim)
        done = begin  # events before `done` are in the sums
        for at in range(begin, end):
            event = order[at]
            while time[order[done]] < time[event]:
                for k in range(dim):
                    value = values[order[done], k]
                    s[k] += value
                    q[k] += value * value
                    m[k] = value if done == begin else max(m[k], value)
                done += 1
            count[event, 0] = done - begin
            total[event], squares[event], top[event] = s, q, m
            for k in range(len(BACK)):
                if done - 1 - BACK[k] >= begin:
                    since[event, k] = time[event] - time[order[done - 1 - BACK[k]]]
    return count, total, squares, top, since


def of_folder(folder: Path | str, graph: HeteroGraph, *, z: Tensor | None = None) -> Views:
    """Make the views of a dataset folder, with the names and times it knows.

    Args:
        folder: a dataset folder.
        graph: the graph loaded from it.
        z: (total, dim) float32 embeddings, for the block "embedding".
    """
    about = store.read_about(folder)
    return Views(
        graph,
        own=None if graph.x is None else own_columns(graph, about),
        names=None if graph.x is None else feature_names(about, graph),
        time=store.load_time(folder),
        z=z,
    )
