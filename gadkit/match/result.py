"""What `match` answers: beliefs, how they came about, and what can be asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gadkit.graph.arrays import as_count
from gadkit.match import _search, subgraphs
from gadkit.match.attributed import AttributedGraph
from gadkit.match.pattern import Pattern

TIE = 1e-9  # log beliefs that are closer are equal
IGNORED = 0.9  # a larger `null_share` says that structure is being ignored


class Top(NamedTuple):
    """The likeliest nodes of each pattern node, in the columns; the lowest id first among equals.

    Attributes:
        nodes: (k, num_pattern_nodes) int64 ids.
        log_belief: (k, num_pattern_nodes) float64.
        group: (k, num_pattern_nodes) int64 from 0; nodes of one group are equally likely.
        group_size: (k, num_pattern_nodes) int64; how many nodes of the graph are in the group, the
            ones below the first k among them.
    """

    nodes: np.ndarray
    log_belief: np.ndarray
    group: np.ndarray
    group_size: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Match:
    """How likely every node of a graph is to play each node of a pattern.

    Attributes:
        graph: what was searched, V nodes.
        pattern: what was looked for, K nodes and P edges.
        mode: as asked for.
        log_belief: (V, K) float64, not in C order; exp of a column adds up to 1. -inf where a node
            is of another type.
        history: (iterations, K) float64; how far each column moved, in total variation: the
            probability, from 0 to 1, that changed its place.
        converged: whether no column moved by more than `tol` in the last iteration.
        null_share: from 0 to 1; of what the likely nodes are told about the pattern's edges, the
            share that says "it is missing".
        null_cost: (P,) float64, what each missing edge cost, in the order that the pattern's edges
            were given; in the published mode nothing.
        weights: (dim,) and (edge_dim,), what attributes of nodes and edges were multiplied by.
        settings: the arguments of `match` by name.
    """

    graph: AttributedGraph
    pattern: Pattern
    mode: str
    log_belief: np.ndarray
    history: np.ndarray
    converged: bool
    null_share: float
    null_cost: np.ndarray
    weights: tuple[np.ndarray, np.ndarray]
    settings: Mapping[str, object]

    def __post_init__(self):
        for array in (self.log_belief, self.history, self.null_cost, *self.weights):
            array.flags.writeable = False

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What to know before believing it, a sentence each; empty if there is nothing."""
        notes = []
        if not self.converged:
            notes.append(
                f"The beliefs did not settle: in the last of {len(self.history)} iterations a "
                f"column moved by {self.history[-1].max():.2g}. Often nothing fits well; see "
                "significance(), or try max_iter and damping."
            )
        if self.null_share > IGNORED:
            notes.append(
                f"Structure is being ignored: {self.null_share:.0%} of what likely nodes are told "
                "says that an edge of the pattern is missing, so attributes of nodes decide. Try "
                "a higher null_cost, or a pattern that is in the graph."
            )
        return tuple(notes)

    def top(self, k: int = 10) -> Top:
        """Return the k likeliest nodes of each pattern node, or all there are.

        Raises:
            TypeError, ValueError: k is no whole number from 1 on.
        """
        if as_count(k, "k") < 1:
            raise ValueError(f"k is {k}; it must be 1 or more")
        columns = [_top_of(column, min(k, len(column))) for column in self.log_belief.T]
        return Top(*(np.stack(part, axis=1) for part in zip(*columns, strict=True)))

    def subgraphs(self, k: int = 10, *, max_overlap: float = 0.5) -> list[subgraphs.Subgraph]:
        """Return the k places of the graph that fit the pattern best, see `subgraphs.Subgraph`.

        Args:
            k: how many at most.
            max_overlap: the share of its nodes, from 0 to 1, that a place may have in common with
                a better one.

        Raises:
            TypeError, ValueError: an argument is out of its range, or the mode is "pnnl".
        """
        if self.mode != "maxsum":
            raise ValueError(
                "the published mode has no price for missing edges, so nothing tells how well a "
                "place fits; match with mode='maxsum'"
            )
        node_weight, edge_weight = self.weights
        terms = _search.Terms(
            x=self.graph.x,
            node_weight=node_weight,
            wanted=node_weight * self.pattern.x,
            null=self.null_cost[self.pattern.rows],
            belief=self.log_belief.T,
            likely=np.empty((0, 0), np.int64),
            orders=subgraphs.orders(self.pattern),
        )
        asked = self.pattern.asked(edge_weight)
        return subgraphs.best(self.graph, self.pattern, terms, asked, k, max_overlap=max_overlap)

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        return (
            f"Match({self.pattern!r} in {self.graph!r}, {self.mode}, {state} after "
            f"{len(self.history)} iterations, null_share {self.null_share:.2f})"
        )


def _top_of(column: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """Return nodes, log beliefs, groups and their sizes of the k likeliest of a column."""
    least = np.partition(column, len(column) - k)[len(column) - k]
    nodes = np.flatnonzero(column >= least - TIE)
    nodes = nodes[np.lexsort([nodes, -column[nodes]])]
    values = column[nodes]
    # Of a run of values that are equal but for rounding, the lowest id comes first as well.
    group = np.zeros(len(nodes), np.int64)
    with np.errstate(invalid="ignore"):  # -inf beside -inf, which is no step
        group[1:] = np.cumsum(np.nan_to_num(values[:-1] - values[1:]) > TIE)
    order = np.lexsort([nodes, group])[:k]
    size = np.bincount(group)[group]
    return nodes[order], values[order], group[order], size[order]
