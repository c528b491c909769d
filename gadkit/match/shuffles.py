"""Whether a fit is more than chance: the same search in the graph with its edges dealt anew.

A pattern is always somewhere more or less. What it is worth to have found it is told by graphs with
the same nodes, and the same degrees, whose edges mean nothing (the configuration model).
"""

from typing import NamedTuple

import numpy as np

from gadkit.graph.arrays import as_count
from gadkit.match.attributed import AttributedGraph
from gadkit.match.beliefs import match
from gadkit.match.pattern import Pattern
from gadkit.match.result import Match
from gadkit.match.subgraphs import Subgraph

ROUNDS = 20  # of mending edges that a shuffle has doubled, or made a loop


class Significance(NamedTuple):
    """How often chance fits as well.

    Attributes:
        subgraphs: the places looked at, best first.
        share: (num_subgraphs,) float64 in (0, 1]; (1 + shuffles whose best place fits at least as
            well) / (1 + shuffles). The less, the more it means.
        best: (shuffles,) float64, mismatch of the best place in each shuffled graph.
    """

    subgraphs: list[Subgraph]
    share: np.ndarray
    best: np.ndarray


def significance(
    graph: AttributedGraph,
    pattern: Pattern,
    result: Match,
    shuffles: int = 20,
    seed: int = 0,
    *,
    k: int = 10,
) -> Significance:
    """Compare the places that fit best with the best ones of graphs with shuffled edges.

    Args:
        graph: as given to `match`.
        pattern: as given to `match`.
        result: what it returned, in the max-sum mode.
        shuffles: number of shuffled graphs; with 20 the share is never below 1 / 21.
        seed: of the shuffles.
        k: number of places to look at.

    Raises:
        TypeError: shuffles is no whole number.
        ValueError: shuffles is less than 1, the result is that of other graphs, or see
            `Match.subgraphs`.
    """
    if as_count(shuffles, "shuffles") < 1:
        raise ValueError(f"shuffles is {shuffles}; it must be 1 or more")
    if result.graph is not graph or result.pattern is not pattern:
        raise ValueError("result is that of another graph or pattern; give those that it is of")
    places = result.subgraphs(k)
    best = np.full(shuffles, np.inf)
    for number in range(shuffles):
        again = match(
            shuffled(graph, seed=seed + number),
            pattern,
            **{**result.settings, "null_cost": result.null_cost},
        )
        fitting = again.subgraphs(1)
        best[number] = fitting[0].mismatch if fitting else np.inf
    as_good = [(best <= place.mismatch + 1e-9).sum() for place in places]
    return Significance(places, (1 + np.array(as_good, float)) / (1 + shuffles), best)


def shuffled(graph: AttributedGraph, *, seed: int = 0) -> AttributedGraph:
    """Return the graph with its edges dealt anew: the destinations of all edges change hands.

    They do so among edges between the same two types, and attributes stay with the source: every
    node keeps its number of edges, out and in, to and from each type. Loops and doubled edges that
    were not there before are dealt again, some times; where few nodes have most edges, some stay.

    Args:
        graph: what to shuffle; it is not changed.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    src, dst = graph.src.astype(np.int64), graph.dst.astype(np.int64)
    had_loops, had_doubles = (src == dst).any(), _doubled(src, dst, graph.num_nodes).any()
    num_types = 1 + int(graph.node_type.max() - graph.node_type.min())
    kind = graph.node_type[src].astype(np.int64) * num_types + graph.node_type[dst]
    groups = [np.flatnonzero(kind == value) for value in np.unique(kind)]
    for group in groups:
        dst[group] = dst[generator.permutation(group)]
    for _ in range(ROUNDS):
        bad = np.zeros(len(src), bool)
        if not had_loops:
            bad |= src == dst
        if not had_doubles:
            bad |= _doubled(src, dst, graph.num_nodes)
        if not bad.any():
            break
        for group in groups:
            wrong = group[bad[group]]
            # Each wrong edge, and as many others, exchange destinations among themselves.
            others = generator.choice(group, min(len(wrong), len(group)), replace=False)
            both = np.union1d(wrong, others)
            dst[both] = dst[generator.permutation(both)]
    return AttributedGraph(graph.x, src, dst, graph.edge_attr, graph.node_type)


def _doubled(src: np.ndarray, dst: np.ndarray, num_nodes: int) -> np.ndarray:
    """Say which edges repeat another one before them, (num_edges,) bool."""
    key = src * num_nodes + dst
    first = np.unique(key, return_index=True)[1]
    doubled = np.ones(len(key), bool)
    doubled[first] = False
    return doubled
