"""`match`: how likely every node of a graph is to play each node of a pattern.

The default is the inventors' max-sum recursion (see `gadkit.match`), exact on patterns that are
trees, with a price for missing edges. `mode="pnnl"` is the program of Pacific Northwest National
Laboratory that was ported to GPUs as "application classification"; it is kept to reproduce its
numbers, and hardly looks at edges: a missing one is free there.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from gadkit.graph.arrays import Array, as_count, numbers
from gadkit.match import _cpu, _maxsum, _published
from gadkit.match.attributed import AttributedGraph
from gadkit.match.pattern import Pattern
from gadkit.match.result import Match
from gadkit.ops.threads import num_threads, share_out

MODES = ("maxsum", "pnnl")
SCALES = ("robust", None)
RULES = {"median": _cpu.MEDIAN, "auto": _cpu.LARGEST}
SMALL = 2_000_000  # (nodes + edges) * columns, below which threads cost more than they save


def match(
    graph: AttributedGraph,
    pattern: Pattern,
    *,
    mode: str = "maxsum",
    null_cost: str | float | Array = "median",
    one_to_one: bool = True,
    max_iter: int | None = None,
    tol: float = 1e-4,
    damping: float = 1.0,
    scale: str | None = "robust",
) -> Match:
    """Say how likely each node of a graph is to play each node of a pattern.

    What does not fit is measured as a distance: of the attributes of a node, and of an edge, from
    those of the pattern, Euclidean. Beliefs add up to 1 over the nodes of the graph, also where
    nothing fits well: ask `significance`. All computing is in float64, and on any number of threads
    the result is the same, bit by bit. The method's inventors hold the patents US 9917739 B2 and
    US 11627048 B2.

    Args:
        graph: what to search, V nodes.
        pattern: what to look for, K nodes and P edges, with as many attributes as the graph, or
            with none, which then do not count.
        mode: "maxsum", or "pnnl", which with scale=None computes what the published program
            computes; it has its own rule for missing edges, heeds neither one_to_one nor null_cost
            nor, other than for `converged`, tol, and takes no damping.
        null_cost: what a missing edge costs, on the scale of the distances. "median" takes for each
            pattern edge the median distance of the graph's edges from it; where that tells nothing,
            as where edges have no attributes, or most of them fit exactly, the median distance of
            nodes; and 1 where that is 0 too. "auto" takes the largest distance, or that of no
            attributes, zeros, if it is larger. A number, or (P,) in the order that the pattern's
            edges were given, is taken as it is: 0 or more.
        one_to_one: whether two pattern nodes may not be one node of the graph; loops of the graph
            then count for nothing.
        max_iter: rounds of messages; the number of pattern nodes if None.
        tol: stop when no column has moved by more, in total variation between 0 and 1; 0 never
            stops.
        damping: the part of a new message that is taken, in (0, 1].
        scale: "robust" divides every attribute by its spread in the graph, see
            `attributed.robust_weight`; None takes attributes as they are.

    Returns:
        The beliefs, and what can be asked of them, see `Match`.

    Raises:
        TypeError: null_cost holds no numbers.
        ValueError: an argument is out of its range, the pattern has more nodes of a type than the
            graph, or their attributes are not of one width.
    """
    settings = MappingProxyType(
        {
            "mode": mode,
            "null_cost": null_cost,
            "one_to_one": one_to_one,
            "max_iter": max_iter,
            "tol": tol,
            "damping": damping,
            "scale": scale,
        }
    )
    _check(graph, pattern, mode, max_iter, tol, damping, scale)
    rounds = pattern.num_nodes if max_iter is None else max_iter
    problem = _Problem.of_graphs(graph, pattern, scale)
    if mode == "pnnl":
        messages = _Published(problem)
    else:
        messages = _MaxSum(problem, _price(null_cost, pattern), bool(one_to_one), float(damping))
    history, converged = [], False
    for _ in range(rounds):
        messages.send()
        history.append(problem.update(messages.damping))
        converged = bool(history[-1].max() <= tol) and tol > 0
        if converged and mode == "maxsum":
            break
    return Match(
        graph=graph,
        pattern=pattern,
        mode=mode,
        log_belief=problem.belief.T,
        history=np.array(history),
        converged=converged,
        null_share=problem.null_share(messages.floors()),
        null_cost=pattern.as_given(messages.null),
        weights=(problem.node_weight.copy(), problem.asked.weight.copy()),
        settings=settings,
    )


def _check(
    graph: AttributedGraph,
    pattern: Pattern,
    mode: str,
    max_iter: int | None,
    tol: float,
    damping: float,
    scale: str | None,
) -> None:
    """Check the arguments of `match`, other than null_cost."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it must be one of {MODES}")
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; it must be one of {SCALES}")
    if not 0 < damping <= 1:
        raise ValueError(f"damping is {damping}; it must be above 0 and at most 1, which is none")
    if mode == "pnnl" and damping != 1:
        raise ValueError(f"damping is {damping}, but the published program has none; leave it 1")
    if not tol >= 0:
        raise ValueError(f"tol is {tol}; it must be 0, which never stops early, or more")
    if max_iter is not None and as_count(max_iter, "max_iter") < 1:
        raise ValueError(f"max_iter is {max_iter}; it must be 1 or more, or None")
    kinds, counts = np.unique(pattern.node_type, return_counts=True)
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        there = int((graph.node_type == kind).sum())
        if there < count:
            among = f" of type {kind}" if len(kinds) > 1 or there < graph.num_nodes else ""
            raise ValueError(
                f"the pattern has {count} nodes{among}, but the graph has {there}; each must be "
                "another one, so look for a smaller pattern, or check node_type of both"
            )
    _weight(graph, pattern, "x", None)
    _weight(graph, pattern, "edge_attr", None)


def _weight(graph: AttributedGraph, pattern: Pattern, name: str, scale: str | None) -> np.ndarray:
    """Return what each column of attributes is multiplied by, none where the pattern has none."""
    asked, there = (getattr(each, name).shape[1] for each in (pattern, graph))
    if asked not in (0, there):
        raise ValueError(
            f"{name} of the pattern has {asked} columns, that of the graph {there}; give both the "
            "same columns, or the pattern none, which then do not count"
        )
    if asked == 0 or scale is None:
        return np.ones(asked)
    return graph.node_weight if name == "x" else graph.edge_weight


def _price(null_cost: str | float | Array, pattern: Pattern) -> tuple[int, np.ndarray]:
    """Return the rule for the cost of missing edges, and the costs in the order of the links."""
    if isinstance(null_cost, str):
        if null_cost not in RULES:
            raise ValueError(
                f"null_cost is {null_cost!r}; give 'median', 'auto', a number, or one for each "
                "edge of the pattern"
            )
        return RULES[null_cost], np.empty(pattern.num_edges)
    if isinstance(null_cost, int | float):
        null_cost = np.full(pattern.num_edges, null_cost, np.float64)
    costs = numbers(null_cost, "null_cost", if_missing="give every edge a cost").double().numpy()
    if costs.shape != (pattern.num_edges,):
        raise ValueError(
            f"null_cost must be one number, or ({pattern.num_edges},), one for each edge of the "
            f"pattern, got {costs.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(costs) & (costs >= 0)))
    if len(bad):
        raise ValueError(
            f"null_cost is {costs[bad[0]]} at edge {bad[0]}; it must be finite and 0 or more: a "
            "large number, such as 1e6, forbids an edge to be missing"
        )
    return _cpu.GIVEN, costs[pattern.rows]


class _Problem(NamedTuple):
    """The arrays that all kernels work on, see `_cpu`; belief and messages are written to."""

    graph: AttributedGraph
    asked: _cpu.Asked
    node_weight: np.ndarray
    distances: np.ndarray
    belief: np.ndarray
    chance: np.ndarray
    forward: np.ndarray
    backward: np.ndarray

    @classmethod
    def of_graphs(cls, graph: AttributedGraph, pattern: Pattern, scale: str | None) -> "_Problem":
        node_weight = _weight(graph, pattern, "x", scale)
        num_edges, num_nodes = pattern.num_edges, graph.num_nodes
        asked = pattern.asked(_weight(graph, pattern, "edge_attr", scale))
        problem = cls(
            graph,
            asked,
            node_weight,
            np.empty((pattern.num_nodes, num_nodes)),
            np.full((pattern.num_nodes, num_nodes), -np.log(num_nodes)),
            np.full((pattern.num_nodes, num_nodes), 1 / num_nodes, np.float32),
            np.empty((num_edges, num_nodes)),
            np.empty((num_edges, num_nodes)),
        )
        problem.share(
            _cpu.node_distances, pattern.num_nodes, graph.x, node_weight,
            node_weight * pattern.x, graph.node_type, pattern.node_type,
            problem.distances,
        )  # fmt: skip
        return problem

    def share(self, kernel: Callable, columns: int, *args) -> None:
        """Call a kernel for all columns: at once, or each by itself, on several threads."""
        work = columns * (self.graph.num_nodes + self.graph.num_edges)
        if work < SMALL or num_threads() == 1:
            kernel(0, columns, *args)
        else:
            share_out(kernel, [(column, column + 1, *args) for column in range(columns)])

    def update(self, damping: float) -> np.ndarray:
        """Renew the beliefs; return how far each column moved, (num_pattern_nodes,)."""
        moved = np.zeros(len(self.belief))
        self.share(
            _cpu.update_beliefs, len(self.belief), self.distances, self.asked, self.belief,
            self.chance, self.forward, self.backward, damping, moved,
        )  # fmt: skip
        return moved

    def null_share(self, floors: np.ndarray) -> float:
        """Return the share of what nodes are told, by their belief, that an edge is missing."""
        weights = np.zeros((2, len(self.forward)))
        self.share(
            _cpu.null_weights, len(self.forward), self.asked, self.belief, self.forward,
            self.backward, floors, weights,
        )  # fmt: skip
        return float(weights.mean()) if weights.size else 0.0


class _MaxSum:
    """The messages of the max-sum mode; `price` is a rule and the costs it starts from."""

    def __init__(
        self, problem: _Problem, price: tuple[int, np.ndarray], one_to_one: bool, damping: float
    ):
        self.problem, self.one_to_one, self.damping = problem, one_to_one, damping
        self.has_first = True  # the messages of flat beliefs are there already
        rule, self.null = price
        self.near = np.empty((2, *problem.forward.shape), np.float32)
        fallback = self._fallback() if rule == _cpu.MEDIAN else 0.0
        problem.share(
            _maxsum.first_messages, len(self.null), problem.graph.links, problem.asked,
            problem.forward, problem.backward, self.null, self.near, (rule, fallback), one_to_one,
        )  # fmt: skip

    def _fallback(self) -> float:
        """Return the median distance of nodes that may be matched, 1 if it is 0."""
        distances = self.problem.distances.reshape(-1)
        if len(np.unique(self.problem.graph.node_type)) > 1:
            distances = distances[np.isfinite(distances)]
        return _cpu.median(distances, distances.min(), distances.max()) or 1.0

    def send(self) -> None:
        """Send messages by the beliefs."""
        if self.has_first:
            self.has_first = False
            if self.damping != 1:  # before the first, messages are 0
                self.problem.forward[:] *= self.damping
                self.problem.backward[:] *= self.damping
            return
        problem = self.problem
        problem.share(
            _maxsum.messages, len(self.null), problem.graph.links, problem.asked, problem.belief,
            problem.forward, problem.backward, self.null, self.near, self.one_to_one, self.damping,
        )  # fmt: skip

    def floors(self) -> np.ndarray:
        """Return what messages are where an edge is missing, (2, num_edges), with room to round."""
        return np.stack([1e-9 - self.null] * 2)


class _Published:
    """The messages of the published mode."""

    damping = 1.0

    def __init__(self, problem: _Problem):
        self.problem, num_edges = problem, len(problem.forward)
        self.null, self._floors = np.zeros(num_edges), np.empty((2, num_edges))
        self.spread = np.empty_like(problem.forward)
        self.near = np.empty(problem.forward.shape, np.float32)
        for k, column in enumerate(problem.belief):
            column[:] = -problem.distances[k]
            column -= _cpu.log_sum_exp(column)
        self._run(_published.first_published)

    def send(self) -> None:
        """Send messages by the beliefs."""
        self._run(_published.published)

    def _run(self, kernel: Callable) -> None:
        problem = self.problem
        problem.share(
            kernel, len(self.null), problem.graph.links, problem.asked, problem.belief,
            problem.forward, problem.backward, self.spread, self.near, self._floors,
        )  # fmt: skip

    def floors(self) -> np.ndarray:
        """Return what messages are where an edge is missing, (2, num_edges)."""
        return self._floors
