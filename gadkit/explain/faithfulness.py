"""Tests of explanations: planted edges found, and the fall of scores when edges are deleted.

`hit_rate` counts how many of the edges that an explainer puts first were planted by the generator;
`faithfulness` measures how far the score falls when those edges are deleted and the node is scored
again, against as many at random.

Sources: S. Rao et al., xFraud: Explainable Fraud Transaction Detection, VLDB 2022 (an explainer's
top k edges against those that people name); S. Jain and B. Wallace, Attention is not Explanation,
NAACL 2019 (attention must be tested before it is believed).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from gadkit.explain.edges import Edges, parallel
from gadkit.graph import CSR, EdgeType, HeteroGraph, indptr_of
from gadkit.graph.arrays import Array, as_ids, numbers
from gadkit.store import Planted
from gadkit.trees.recipe import Committee


def planted_edges(graph: HeteroGraph, edges: Edges, planted: Planted) -> Tensor:
    """Say which edges the generator planted to make their node a fraud, (num_edges,) bool.

    Of those that a fraud owns, the ones that it touches: what shills buy of a colluding seller is
    an edge between them and the product, not into the seller.
    """
    # An edge becomes one number, (relation, node, other end) as digits of base `total`, so that
    # membership is one `isin`. Of node 7 with neighbor 2 over relation 1 in a graph of 10 nodes it
    # is 172; the key holds 172 if fraud 7 owns that edge and is one of its ends, whichever way the
    # generator wrote it down.
    first = planted.edge_ptr[:-1]
    owner = np.repeat(planted.node, np.diff(np.append(first, planted.edge_ptr[-1])))
    other_end = np.where(planted.edge_src == owner, planted.edge_dst, planted.edge_src)
    touches = (planted.edge_src == owner) | (planted.edge_dst == owner)
    number = {name: i for i, name in enumerate(planted.relation_names)}
    relation = [number[stream.relation] for stream in graph.streams]
    key = (planted.edge_relation.astype(np.int64) * graph.total + owner) * graph.total + other_end
    asked = torch.tensor(relation)[edges.stream] * graph.total + edges.nodes[edges.owner]
    asked = asked * graph.total + edges.neighbor
    return torch.from_numpy(np.isin(asked.numpy(), key[touches]))


def hit_rate(edges: Edges, scores: Array, planted: Array, k: int) -> Tensor:
    """Return how many of the edges that an explainer puts first were planted.

    For each node: the number of planted edges among its k highest, over the most there could be,
    min(k, number of its planted edges). Edges of equal score stand in random order, and the
    expectation over it is returned; so an explainer that scores all alike is chance. The measure
    is the overlap of xFraud (section 5), with planted edges in place of those people named, where
    the number of planted edges is left as it is. Edges that are repeated count once, with the
    highest of their scores.

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
    scores = numbers(scores, "scores of edges", if_missing="give edges without one the lowest")
    planted = numbers(planted, "planted", if_missing="write False").bool()
    if not torch.isfinite(scores).all():
        raise ValueError("scores of edges must be finite; give edges without one the lowest")
    rates = torch.full((len(edges.nodes),), torch.nan, dtype=torch.float64)
    first = parallel(edges)
    scores, is_first = _highest(scores, first), first == torch.arange(len(first))
    planted = _highest(planted.long(), first).bool()
    for position in range(len(edges.nodes)):
        row = edges.slice_of(position)
        score, is_planted = scores[row][is_first[row]], planted[row][is_first[row]]
        if is_planted.any():
            # Those above the k-th score are read for certain; those level with it share the places
            # that are left: two places for four of them is half a hit for each that was planted.
            least = score.topk(min(k, len(score))).values[-1]
            above, level = score > least, score == least
            share = (min(k, len(score)) - int(above.sum())) / int(level.sum())
            hits = int((is_planted & above).sum()) + share * int((is_planted & level).sum())
            rates[position] = hits / min(k, int(is_planted.sum()))
    return rates


def _highest(scores: Tensor, first: Tensor) -> Tensor:
    """Give each edge the highest score of those that repeat it; `first` is of `parallel`."""
    return scores.scatter_reduce(0, first, scores, "amax")[first]


def top_edges(edges: Edges, scores: Array, k: int) -> Tensor:
    """Return the positions of the k highest edges of each node, ties in the order of the edges.

    They lead to k different neighbors, or to one over several relations: of edges that are
    repeated, the first stands for all of them, with the highest of their scores.

    Raises:
        ValueError: there are not as many scores as edges, or one is NaN.
    """
    scores = numbers(scores, "scores of edges", if_missing="give edges without one the lowest")
    if scores.shape != edges.neighbor.shape or scores.isnan().any():
        raise ValueError(
            f"scores of edges must be ({len(edges.neighbor)},) numbers, got {tuple(scores.shape)} "
            f"with {int(scores.isnan().sum())} NaN; give edges without one the lowest"
        )
    first = parallel(edges)
    order = _highest(scores, first).argsort(descending=True, stable=True)
    order = order[first[order] == order]
    order = order[edges.owner[order].argsort(stable=True)]
    ptr = indptr_of(edges.owner[order].bincount(minlength=len(edges.nodes)))
    rank = torch.arange(len(order)) - ptr[edges.owner[order]]
    return order[rank < k]


def without_edges(graph: HeteroGraph, edges: Edges, chosen: Tensor) -> HeteroGraph:
    """Return the graph without some edges, in both directions; features and labels stay.

    With an edge go those that repeat it, and those that lead back over the same relation.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        chosen: (num_chosen,) int64 positions in `edges`.

    Raises:
        ValueError: a relation would have no edge left.
    """
    first, relations_left = parallel(edges), {}
    chosen = as_ids(chosen, "chosen").long()
    chosen = torch.isin(first, first[chosen]).nonzero().flatten()
    for (src, name, dst), csr in graph.edges.items():
        ends = _ends_in(graph, edges, chosen, (src, name, dst))
        sources = torch.cat([s for s, _ in ends]) - graph.offset(src)
        rows = torch.cat([d for _, d in ends]) - graph.offset(dst)
        left, counts = torch.ones(csr.num_edges, dtype=torch.bool), csr.degrees().long()
        gone, of_row = _places_of(csr, sources, rows)
        left[gone] = False
        counts -= of_row.bincount(minlength=csr.num_dst)
        relations_left[src, name, dst] = CSR(indptr_of(counts), csr.indices[left], csr.num_src)
    return HeteroGraph(graph.num_nodes, relations_left, graph.x, graph.labels)


def _places_of(csr: CSR, sources: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return where in a CSR all edges between some ends stand, and the row of each."""
    touched = rows.unique()
    part = csr.select(touched)
    source, row = part.pairs()
    row = touched[row]
    is_asked = torch.isin(row * csr.num_src + source, rows * csr.num_src + sources)
    before = csr.indptr[touched] - part.indptr[:-1]
    place = torch.arange(part.num_edges) + before.repeat_interleave(part.degrees())
    return place[is_asked], row[is_asked]


def _ends_in(
    graph: HeteroGraph, edges: Edges, chosen: Tensor, edge_type: EdgeType
) -> list[tuple[Tensor, Tensor]]:
    """Return global source and destination of chosen edges as they stand in `graph.edges`.

    An edge into a node is listed by the stream that it came over, which is the relation itself or
    its reverse; of a reverse the ends change places. A relation that is its own reverse holds an
    edge both ways.
    """
    node, neighbor = edges.nodes[edges.owner[chosen]], edges.neighbor[chosen]
    relations = [stream.relation for stream in graph.streams]
    ends = []
    for number, stream in enumerate(graph.streams):
        if stream.relation == edge_type[1]:
            over = edges.stream[chosen] == number
            pair = neighbor[over], node[over]
            ends.append(pair if stream.edge_type == edge_type else pair[::-1])
            if relations.count(stream.relation) == 1:
                ends.append(pair[::-1])
    return ends


def rescored_by(fitted: Committee, nodes: Tensor) -> Callable[[HeteroGraph], Tensor]:
    """Return what scores some nodes of another graph by a detector on tables, for `faithfulness`.

    The tables are made again from that graph; the learners stay as they are.
    """

    def rescore(graph: HeteroGraph) -> Tensor:
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[nodes] = fitted.on(graph).score(nodes)
        return scores

    return rescore


def faithfulness(
    graph: HeteroGraph,
    edges: Edges,
    explainers: Mapping[str, Tensor],
    models: Mapping[str, Callable[[HeteroGraph], Tensor]],
    *,
    k: int = 5,
    draws: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, dict[str, Tensor]]:
    """Measure how far scores fall when the edges that an explainer puts first are deleted.

    The k first edges of every node are deleted together, in both directions and with those that
    repeat them; all that a model makes of the graph is made again, and the nodes are scored by the
    model as it was trained. The same is done with k edges of each node at random.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        explainers: by name (num_edges,) scores of edges.
        models: by name what returns (total,) scores of the nodes of a graph, by the trained model.
        k: edges deleted per node; all where it has no more.
        draws: random deletions, whose mean is taken.
        seed: of the random deletions.
        progress: whether to show a bar.

    Returns:
        By model, then by explainer and for "random", (num_nodes,) float64: score before minus score
        after.
    """
    from tqdm import tqdm

    generator, first = torch.Generator().manual_seed(seed), parallel(edges)
    tried = {name: [scores] for name, scores in explainers.items()}
    tried["random"] = [
        torch.rand(len(edges.neighbor), generator=generator)[first] for _ in range(draws)
    ]
    before = {name: rescore(graph)[edges.nodes].double() for name, rescore in models.items()}
    falls = {name: {} for name in models}
    for by, rankings in tqdm(tried.items(), "edges deleted", disable=not progress):
        total = {name: torch.zeros(len(edges.nodes), dtype=torch.float64) for name in models}
        for scores in rankings:
            pruned = without_edges(graph, edges, top_edges(edges, scores, k))
            for name, rescore in models.items():
                total[name] += before[name] - rescore(pruned)[edges.nodes].double()
            del pruned  # before the next one is made
        for name in models:
            falls[name][by] = total[name] / len(rankings)
    return falls
