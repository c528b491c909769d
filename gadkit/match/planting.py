"""Noisy copies of a pattern, planted among decoys that look like its nodes: to try matching on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gadkit.match.attributed import AttributedGraph
from gadkit.match.pattern import Pattern
from gadkit.match.subgraphs import Subgraph

# A ring of five accounts, a hub that pays each of them, and a sink that each of them pays.
RING = [(k, (k + 1) % 5) for k in range(5)]
COLLUSION = RING + [(5, k) for k in range(5)] + [(k, 6) for k in range(5)]
NODES = 7
SPREAD = 3.0  # of the pattern's attributes; those of the graph are of 1


class Planted(NamedTuple):
    """A graph with a pattern in it.

    Attributes:
        graph: an R-MAT graph with attributes, copies and decoys in it.
        pattern: what is planted, 7 nodes and 15 edges.
        copies: (num_copies, 7) int64; the node that plays each pattern node, in each copy.
        decoys: (num_decoys, 7) int64; nodes that look like them, but are not tied to one another.
    """

    graph: AttributedGraph
    pattern: Pattern
    copies: np.ndarray
    decoys: np.ndarray


def plant(
    *,
    copies: int = 3,
    decoys: int = 20,
    noise: float = 0.3,
    num_nodes: int = 3_000,
    num_edges: int = 24_000,
    dim: int = 3,
    edge_dim: int = 2,
    seed: int = 0,
) -> Planted:
    """Plant copies of a ring with a hub and a sink, of nodes that decoys look like.

    Args:
        copies: how many.
        decoys: how many times seven nodes get the attributes of the pattern, and none of its edges.
        noise: deviation of what is added to the attributes of copies and decoys.
        num_nodes: of the graph, at least 7 for each copy and decoy.
        num_edges: of the graph, without those of the copies.
        dim: attributes of a node.
        edge_dim: attributes of an edge.
        seed: of all draws.
    """
    generator = np.random.default_rng(seed)
    src, dst = np.array(COLLUSION).T
    wanted = generator.normal(0, SPREAD, (NODES, dim))
    pattern = Pattern(wanted, src, dst, generator.normal(0, SPREAD, (len(src), edge_dim)))
    links = [
        (*_rmat(num_nodes, num_edges, generator), generator.normal(size=(num_edges, edge_dim)))
    ]
    x = generator.normal(size=(num_nodes, dim))
    chosen = generator.choice(num_nodes, (copies + decoys, NODES), replace=False)
    for nodes in chosen:
        x[nodes] = wanted + generator.normal(0, noise, wanted.shape)
    for nodes in chosen[:copies]:
        attr = pattern.edge_attr + generator.normal(0, noise, pattern.edge_attr.shape)
        links.append((nodes[pattern.src], nodes[pattern.dst], attr))
    src, dst, attr = (np.concatenate(part) for part in zip(*links, strict=True))
    graph = AttributedGraph(x, src, dst, attr)
    return Planted(graph, pattern, chosen[:copies], chosen[copies:])


def recovered(places: Sequence[Subgraph], copies: np.ndarray) -> np.ndarray:
    """Return for each place the share of its nodes that play their part in one planted copy.

    Args:
        places: of `Match.subgraphs`.
        copies: (num_copies, num_pattern_nodes) of `Planted`.
    """
    nodes = np.stack([place.nodes for place in places])
    return (nodes[:, None] == copies[None]).mean(2).max(1)


def _rmat(
    num_nodes: int, num_edges: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw ends of edges (Chakrabarti, Zhan and Faloutsos, R-MAT, SDM 2004), ids shuffled."""
    bits = int(np.ceil(np.log2(num_nodes)))
    src, dst = np.zeros((2, num_edges), np.int64)
    for _ in range(bits):  # every bit of the two ids picks a quadrant: .57, .19, .19, .05
        draw = generator.random(num_edges)
        src = 2 * src + (draw > 0.76)
        dst = 2 * dst + (((draw > 0.57) & (draw <= 0.76)) | (draw > 0.95))
    names = generator.permutation(1 << bits) % num_nodes
    return names[src], names[dst]
