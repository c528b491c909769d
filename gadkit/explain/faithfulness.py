"""Is an explanation true? Planted edges that it finds, and scores that fall without its edges.

Two measures tell a good explainer from a tale: how many of the edges that it puts first were
planted by the generator (`hit_rate`), and how far the score falls when those edges are deleted and
the node is scored again, against as many at random (`faithfulness`).

Sources: S. Rao et al., xFraud: Explainable Fraud Transaction Detection, VLDB 2022 (an explainer's
top k edges against those that people name); S. Jain and B. Wallace, Attention is not Explanation,
NAACL 2019 (attention must be tested before it is believed).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from gadkit.datasets.marketplace import Planted
from gadkit.explain import Edges
from gadkit.graph import CSR, HeteroGraph
from gadkit.store import RELATIONS
from gadkit.trees.recipe import Committee


def planted_edges(graph: HeteroGraph, edges: Edges, planted: Planted) -> Tensor:
    """Say which edges the generator planted to make their node a fraud, (num_edges,) bool.

    Of those that a fraud owns, the ones that it touches: what shills buy of a colluding seller is
    an edge between them and the product, not into the seller.
    """
    names = [edge_type[1] for edge_type, *_ in RELATIONS.values()]
    first = planted.edge_ptr[:-1]
    owner = np.repeat(planted.node, np.diff(np.append(first, planted.edge_ptr[-1])))
    other = np.where(planted.edge_src == owner, planted.edge_dst, planted.edge_src)
    touches = (planted.edge_src == owner) | (planted.edge_dst == owner)
    number = {name: i for i, name in enumerate(names)}
    relation = [number[stream.relation] for stream in graph.streams]
    key = (planted.edge_relation.astype(np.int64) * graph.total + owner) * graph.total + other
    mine = torch.tensor(relation)[edges.stream] * graph.total + edges.nodes[edges.owner]
    mine = mine * graph.total + edges.neighbor
    return torch.from_numpy(np.isin(mine.numpy(), key[touches]))


def hit_rate(edges: Edges, scores: Tensor, planted: Tensor, k: int) -> Tensor:
    """Return how many of the edges that an explainer puts first were planted.

    For each node: the number of planted edges among its k highest, over the most there could be,
    min(k, number of its planted edges). Edges of equal score stand in random order, and the
    expectation over it is returned; so an explainer that scores all alike is chance. The measure
    is the overlap of xFraud (section 5), with planted edges in place of those people named, where
    the number of planted edges is left as it is.

    Args:
        edges: of `edges_into`.
        scores: (num_edges,) of an explainer, finite.
        planted: (num_edges,) bool.
        k: edges read per node; at least 1.

    Returns:
        (num_nodes,) float64 in [0, 1]; NaN for nodes without planted edges.

    Raises:
        ValueError: k is below 1, or a score is not finite.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores of edges must be finite; give edges without one the lowest")
    rates = torch.full((len(edges.nodes),), torch.nan, dtype=torch.float64)
    for position in range(len(edges.nodes)):
        own, found = scores[edges.of(position)], planted[edges.of(position)]
        if found.any():
            least = own.topk(min(k, len(own))).values[-1]
            above, level = own > least, own == least
            share = (min(k, len(own)) - int(above.sum())) / int(level.sum())
            hits = int((found & above).sum()) + share * int((found & level).sum())
            rates[position] = hits / min(k, int(found.sum()))
    return rates


def top_edges(edges: Edges, scores: Tensor, k: int) -> Tensor:
    """Return the positions of the k highest edges of each node, ties in the order of the edges."""
    order = scores.argsort(descending=True, stable=True)
    order = order[edges.owner[order].argsort(stable=True)]
    rank = torch.arange(len(order)) - edges.ptr[edges.owner[order]]
    return order[rank < k]


def without_edges(graph: HeteroGraph, edges: Edges, chosen: Tensor) -> HeteroGraph:
    """Return the graph without some edges, in both directions; features and labels stay.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        chosen: (num_chosen,) int64 positions in `edges`.

    Raises:
        ValueError: a relation would have no edge left.
    """
    node, neighbor = edges.nodes[edges.owner[chosen]], edges.neighbor[chosen]
    forward = {stream.edge_type: number for number, stream in enumerate(graph.streams)}
    relations = [stream.relation for stream in graph.streams]
    kept = {}
    for (src, name, dst), csr in graph.edges.items():
        gone = []
        for number, relation in enumerate(relations):
            if relation == name:
                one, other = (part[edges.stream[chosen] == number] for part in (neighbor, node))
                is_forward = number == forward[src, name, dst]
                gone.append((one, other) if is_forward else (other, one))
                if relations.count(name) == 1:  # its own reverse
                    gone.append((other, one))
        keys = [(d - graph.offset(dst)) * csr.num_src + s - graph.offset(src) for s, d in gone]
        rows, sources = csr.dst(), csr.indices.long()
        left = ~torch.isin(rows * csr.num_src + sources, torch.cat(keys))
        counts = torch.zeros(csr.num_dst, dtype=torch.int64).index_add_(0, rows, left.long())
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        kept[src, name, dst] = CSR(indptr, csr.indices[left], csr.num_src)
    return HeteroGraph(graph.num_nodes, kept, graph.x, graph.labels)


def rescored_by(fitted: Committee, nodes: Tensor) -> Callable[[HeteroGraph], Tensor]:
    """Return what scores some nodes of another graph by a detector on tables, for `faithfulness`.

    The tables are made again from that graph; the learners stay as they are.
    """

    def rescore(graph: HeteroGraph) -> Tensor:
        seen = fitted.on(graph)
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[nodes] = seen.score(nodes)
        return scores

    return rescore


def faithfulness(
    graph: HeteroGraph,
    edges: Edges,
    explainers: Mapping[str, Tensor],
    rescore: Callable[[HeteroGraph], Tensor],
    *,
    k: int = 5,
    draws: int = 3,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Measure how far scores fall when the edges that an explainer puts first are deleted.

    The k first edges of every node are deleted together, in both directions; all that the model
    makes of the graph is made again, and the nodes are scored by the model as it was trained. The
    same is done with k edges of each node at random.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        explainers: by name (num_edges,) scores of edges.
        rescore: returns (total,) scores of the nodes of a graph, by the trained model.
        k: edges deleted per node; all where it has no more.
        draws: random deletions, whose mean is taken.
        seed: of the random deletions.

    Returns:
        By explainer, and for "random", (num_nodes,) float64: score before minus score after.
    """
    before = rescore(graph)[edges.nodes].double()

    def fall(scores: Tensor) -> Tensor:
        pruned = without_edges(graph, edges, top_edges(edges, scores, k))
        return before - rescore(pruned)[edges.nodes].double()

    generator = torch.Generator().manual_seed(seed)
    chance = [torch.rand(len(edges.neighbor), generator=generator) for _ in range(draws)]
    falls = {name: fall(scores) for name, scores in explainers.items()}
    return falls | {"random": torch.stack([fall(scores) for scores in chance]).mean(0)}
