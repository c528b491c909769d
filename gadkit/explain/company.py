"""Explainers that ask whom a node meets at a neighbor: suspicion, ties, and company."""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.explain.edges import Edges
from gadkit.graph import HeteroGraph
from gadkit.graph.arrays import Array, numbers


def by_suspicion(graph: HeteroGraph, edges: Edges, scores: Array) -> Tensor:
    """Give each edge the score of its neighbor, or where that has none, the mean of those around.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        scores: (total,) in [0, 1]; NaN for nodes without one.

    Returns:
        (num_edges,) float64.
    """
    scores = _checked(graph, scores)
    direct = scores[edges.neighbor]
    around = _around_neighbors(graph, edges, scores, tied=False)
    return torch.where(direct.isnan(), around, direct)


def by_company(graph: HeteroGraph, edges: Edges, scores: Array | None = None) -> Tensor:
    """Give each edge the suspects whom the node meets there, the more so the closer they are tied.

    Mean over the other neighbors b of the neighbor of tie(node, b) * score(b). A tie is the sum
    over all neighbors a that both have of 1 / degree(a): the resource allocation index (Zhou, Lü
    and Zhang, Predicting Missing Links via Local Information, European Physical Journal B 2009). So
    an edge counts that leads to where few others go, and these others are suspects who also share
    the node's other neighbors: what marks the targets of a group that acts in concert.

    Args:
        graph: the graph; seen without types, each pair of neighbors once.
        edges: of `edges_into`.
        scores: (total,) in [0, 1]; NaN counts as 0. None counts all nodes alike: ties alone.

    Returns:
        (num_edges,) float64, at least 0.
    """
    scores = torch.ones(graph.total) if scores is None else _checked(graph, scores)
    return _around_neighbors(graph, edges, scores, tied=True)


def _checked(graph: HeteroGraph, scores: Array) -> Tensor:
    scores = numbers(scores, "scores", if_missing="write NaN").detach().double()
    if scores.shape != (graph.total,):
        raise ValueError(
            f"scores must be ({graph.total},), one for each node, got {tuple(scores.shape)}; write "
            "NaN for nodes without one"
        )
    return scores


def meetings(graph: HeteroGraph, node: int, neighbor: int, scores: Tensor, count: int) -> list[int]:
    """Return whom a node meets at a neighbor: the most tied and suspicious of its other neighbors.

    Args:
        graph: the graph.
        node: global id.
        neighbor: global id.
        scores: (total,) in [0, 1]; NaN counts as 0.
        count: how many to return at most.

    Returns:
        Global ids by tie times score, as `by_company` adds up, the highest first; zeros left out.
    """
    csr, ties = graph.homogeneous, np.zeros(graph.total)
    _tie(csr.indptr.numpy(), csr.indices.numpy(), node, ties, True)
    others = csr.indices[csr.indptr[neighbor] : csr.indptr[neighbor + 1]].long()
    others = others[(others != node) & (others != neighbor)]
    value = torch.from_numpy(ties)[others] * scores.double().nan_to_num(0.0)[others]
    order = value.argsort(descending=True, stable=True)[:count]
    return others[order[value[order] > 0]].tolist()


def _around_neighbors(graph: HeteroGraph, edges: Edges, scores: Tensor, *, tied: bool) -> Tensor:
    """Average over the other neighbors of each edge's neighbor: of scores, or of ties times them.

    Args and shapes are those of `by_company`; `tied` says which.
    """
    csr = graph.homogeneous
    means = _company(
        csr.indptr.numpy(), csr.indices.numpy(), edges.nodes.numpy(), edges.ptr.numpy(),
        edges.neighbor.numpy(), scores.double().nan_to_num(0.0).numpy(), tied,
    )  # fmt: skip
    return torch.from_numpy(means)


@njit(cache=True)
def _company(indptr, indices, nodes, ptr, neighbors, scores, tied):
    """Average score, or tie times score, over the neighbors of each neighbor but the node."""
    # indptr, indices: the graph without types. nodes, ptr, neighbors: the edges asked about, those
    # of nodes[i] at ptr[i]:ptr[i + 1]. `tie` holds a number for every node of the graph, all zeros
    # but for those within two steps of nodes[i] while its edges are read; setting only these back
    # costs no more than setting them did.
    means = np.zeros(len(neighbors))
    tie = np.zeros(len(scores)) if tied else np.ones(len(scores))
    for i in range(len(nodes)):
        if tied:
            _tie(indptr, indices, nodes[i], tie, True)
        for e in range(ptr[i], ptr[i + 1]):
            count, total = 0, 0.0
            for entry in range(indptr[neighbors[e]], indptr[neighbors[e] + 1]):
                b = indices[entry]
                if b != nodes[i] and b != neighbors[e]:
                    count += 1
                    total += tie[b] * scores[b]
            means[e] = total / max(count, 1)
        if tied:
            _tie(indptr, indices, nodes[i], tie, False)
    return means


@njit(cache=True)
def _tie(indptr, indices, node, tie, add):
    """Add to the ties of all within two steps of a node, or set them back to zero."""
    for first in range(indptr[node], indptr[node + 1]):
        a = indices[first]
        if a == node:
            continue
        share = 1.0 / (indptr[a + 1] - indptr[a] - 1)  # the row holds a self-loop, which is no edge
        for second in range(indptr[a], indptr[a + 1]):
            b = indices[second]
            if not add:
                tie[b] = 0.0
            elif b != a:
                tie[b] += share
