"""The places of a graph that fit a pattern best: who plays which part, and what does not fit.

Beliefs say of each pattern node who is likely, but not who goes together: where the pattern is
there several times, most of the belief lies on one copy. So mappings are grown from the likeliest
nodes of every pattern node, one pattern node at a time, among the neighbors of those placed, and
the cheapest are kept (beam search).
"""

from dataclasses import dataclass

import numpy as np

from gadkit.graph.arrays import as_count
from gadkit.match import _search
from gadkit.match._cpu import Asked
from gadkit.match.attributed import AttributedGraph
from gadkit.match.pattern import Pattern
from gadkit.ops.threads import num_threads, share_out

WIDTH = 12  # mappings of a starting point that are kept at each step
STARTS, STARTS_PER_PLACE = 40, 2  # of each pattern node: at least, and for each place asked for
LIKELY = 6  # nodes tried for a pattern node although no edge leads there
EQUAL = 9  # decimals to which mismatches are compared


@dataclass(frozen=True, eq=False)
class Subgraph:
    """One place of the graph that looks like the pattern, K nodes and P edges.

    Attributes:
        nodes: (K,) int64; the node that plays each pattern node.
        mismatch: what does not fit, in all: the sum of the two below. 0 is a perfect copy.
        node_mismatch: (K,) float64 distance of each node's attributes.
        edge_mismatch: (P,) float64; distance of each edge's attributes, or the price of a missing
            one; like all below, in the order that the pattern's edges were given.
        edges: (P,) int64; place, among the edges given to the graph, of the closest one between
            the two nodes; -1 if there is none.
        missing: (P,) bool; whether there is no edge, or only one that fits worse than none.
    """

    nodes: np.ndarray
    mismatch: float
    node_mismatch: np.ndarray
    edge_mismatch: np.ndarray
    edges: np.ndarray
    missing: np.ndarray

    def __repr__(self) -> str:
        return (
            f"Subgraph(mismatch {self.mismatch:.4g}, nodes {self.nodes.tolist()}, "
            f"{int(self.missing.sum())} of {len(self.missing)} edges missing)"
        )


def best(
    graph: AttributedGraph,
    pattern: Pattern,
    terms: _search.Terms,
    asked: Asked,
    k: int,
    *,
    max_overlap: float,
) -> list[Subgraph]:
    """Return the places that fit best; see `Match.subgraphs`."""
    if as_count(k, "k") < 1:
        raise ValueError(f"k is {k}; it must be 1 or more")
    if not 0 <= max_overlap <= 1:
        raise ValueError(f"max_overlap is {max_overlap}; it is a share, from 0 to 1")
    count = max(STARTS, STARTS_PER_PLACE * k)
    places, costs = _grown(graph, pattern, terms, asked, count)
    chosen = _apart(places, costs, k, max_overlap)
    belief = terms.belief.copy() if 0 < len(chosen) < k else terms.belief
    while 0 < len(chosen) < k:  # look again, at the nodes that are left
        belief[:, places[chosen].reshape(-1)] = -np.inf
        more = _grown(graph, pattern, terms._replace(belief=belief), asked, count)
        places, costs = np.concatenate([places, more[0]]), np.concatenate([costs, more[1]])
        before, chosen = len(chosen), _apart(places, costs, k, max_overlap)
        if len(chosen) <= before:
            break
    return [_explained(graph, pattern, terms, asked, nodes) for nodes in places[chosen]]


def _grown(
    graph: AttributedGraph, pattern: Pattern, terms: _search.Terms, asked: Asked, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Grow mappings from the `count` likeliest nodes of each part; return them and their costs."""
    seeds = _seeds(terms.belief, count)
    likely = np.zeros((pattern.num_nodes, LIKELY), np.int64)
    for k in range(pattern.num_nodes):
        nodes = seeds[seeds[:, 0] == k, 1][:LIKELY]
        likely[k, : len(nodes)] = nodes
        likely[k, len(nodes) :] = nodes[0] if len(nodes) else 0
    terms = terms._replace(likely=likely)
    shape = len(seeds), WIDTH, pattern.num_nodes
    places, costs = np.empty(shape, np.int64), np.empty(shape[:2])
    cuts = np.linspace(0, len(seeds), 1 + min(len(seeds), 8 * num_threads())).astype(int)
    rest = graph.links, asked, terms, seeds, places, costs
    share_out(_search.grow, [(*cut, *rest) for cut in zip(cuts, cuts[1:], strict=False)])
    is_whole = np.isfinite(costs)
    return places[is_whole], costs[is_whole]


def orders(pattern: Pattern) -> np.ndarray:
    """Return an order to place pattern nodes in from each of them, (K, K) int64."""
    return np.stack([_order(pattern, k) for k in range(pattern.num_nodes)])


def _order(pattern: Pattern, root: int) -> np.ndarray:
    """Order pattern nodes from a root: next is the one with the most edges to those before."""
    ties = np.zeros((pattern.num_nodes, pattern.num_nodes))
    np.add.at(ties, (pattern.src, pattern.dst), 1)
    ties += ties.T
    order = [root]
    while len(order) < pattern.num_nodes:
        left = [k for k in range(pattern.num_nodes) if k not in order]
        order.append(max(left, key=lambda k: (ties[k, order].sum(), ties[k].sum(), -k)))
    return np.array(order)


def _seeds(belief: np.ndarray, count: int) -> np.ndarray:
    """List the likeliest nodes of each pattern node, (num_seeds, 2): pattern node and node."""
    seeds = []
    for k, column in enumerate(belief):
        n = min(count, len(column))
        least = np.partition(column, len(column) - n)[len(column) - n]
        nodes = np.flatnonzero((column >= least) & (column > -np.inf))
        nodes = nodes[np.lexsort([nodes, -column[nodes]])][:n]
        seeds.append(np.stack([np.full(len(nodes), k), nodes], axis=1))
    return np.concatenate(seeds)


def _apart(places: np.ndarray, costs: np.ndarray, k: int, max_overlap: float) -> list[int]:
    """Return which are the k cheapest mappings that are no more alike than `max_overlap` allows.

    Of mappings onto the same nodes, as symmetries of the pattern give, the first one stands for
    all: the cheapest, and of several the one with the lowest ids.
    """
    order = np.lexsort([*places.T[::-1], costs.round(EQUAL)])
    sets = np.sort(places, axis=1)
    chosen: list[int] = []
    for number in order.tolist():
        if len(chosen) == k:
            break
        shared = np.isin(sets[chosen], sets[number]).sum(1)
        size = sets.shape[1]
        if not chosen or (shared.max() <= max_overlap * size and shared.max() < size):
            chosen.append(number)
    return chosen


def _explained(
    graph: AttributedGraph,
    pattern: Pattern,
    terms: _search.Terms,
    asked: Asked,
    nodes: np.ndarray,
) -> Subgraph:
    """Work out what of a mapping fits how well."""
    gaps = terms.wanted - terms.node_weight * graph.x[nodes][:, : len(terms.node_weight)]
    node_mismatch = np.sqrt((gaps**2).sum(1))
    edges = np.full(pattern.num_edges, -1)
    distances = np.full(pattern.num_edges, np.inf)
    for m in range(pattern.num_edges):
        i, j = nodes[asked.src[m]], nodes[asked.dst[m]]
        edge, distances[m] = _search.closest_edge(graph.links, asked, m, i, j)
        edges[m] = graph.rows[edge] if edge >= 0 else -1
    missing = distances > terms.null
    edge_mismatch = np.minimum(distances, terms.null)
    return Subgraph(
        nodes=nodes,
        mismatch=float(node_mismatch.sum() + edge_mismatch.sum()),
        node_mismatch=node_mismatch,
        edge_mismatch=pattern.as_given(edge_mismatch),
        edges=pattern.as_given(edges),
        missing=pattern.as_given(missing),
    )
