"""Control graphs: a graph with its edges rewired, thinned, dealt to other nodes or cut off in time.

A control changes edges only: nodes, their own features, times and labels stay where they are. So a
detector can be run on both graphs with the same split, and the difference is what the edges say.

Sources: M. Molloy and B. Reed, A critical point for random graphs with a given degree sequence,
Random Structures and Algorithms 6, 1995 (the model behind a rewiring); R. Milo et al., Network
Motifs, Science 298, 2002 (rewired networks as controls).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.structure import structural_features

ROUNDS = 100  # of repairing repeated pairs; what is left then cannot easily be avoided


def rewired(
    graph: HeteroGraph, *, own_dims: dict[str, int] | None = None, seed: int = 0
) -> HeteroGraph:
    """Connect every node at random, with as many edges in each relation as it has.

    Sources are dealt out anew among the edges of a relation; a symmetric one stays symmetric.
    Repeated pairs and self-loops that come up are mended by swaps with other edges; a few may stay
    where nodes are connected with nearly all others.

    Args:
        graph: on the CPU.
        own_dims: how many of the first columns of x are the authors' own, by node type; the others
            are made again from the new edges. None leaves x as it is.
        seed: of the draw; the same seed gives the same graph.

    Returns:
        The graph with the same degrees, relation by relation.

    Raises:
        ValueError: x does not have `own_dims` and the structural columns.
    """
    return _changed(graph, _rewire, own_dims, seed)


def thinned(
    graph: HeteroGraph,
    share: float = 0.5,
    *,
    own_dims: dict[str, int] | None = None,
    seed: int = 0,
) -> HeteroGraph:
    """Drop a share of the edges of each relation, but never the last one of a relation.

    Args:
        graph: on the CPU.
        share: of the edges dropped, in (0, 1); both directions of a symmetric relation together.
        own_dims, seed: as in `rewired`.

    Raises:
        ValueError: share is not in (0, 1), or as in `rewired`.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie strictly between 0 and 1, but is {share}")
    return _changed(graph, lambda edge_type, csr, draw: _thin(csr, share, draw), own_dims, seed)


def shuffled(
    graph: HeteroGraph, *, own_dims: dict[str, int] | None = None, seed: int = 0
) -> HeteroGraph:
    """Keep the structure, but deal out its places at random among the nodes of each type.

    Args:
        graph: on the CPU.
        own_dims, seed: as in `rewired`.

    Returns:
        A graph whose structure is the same, and says nothing of features and labels.
    """
    draw = torch.Generator().manual_seed(seed)
    place = {name: torch.randperm(n, generator=draw) for name, n in graph.num_nodes.items()}

    def move(edge_type: EdgeType, csr: CSR, draw: torch.Generator) -> CSR:
        src, dst = csr.pairs()
        src, dst = place[edge_type[0]][src], place[edge_type[2]][dst]
        return CSR.from_edges(src, dst, num_src=csr.num_src, num_dst=csr.num_dst)

    return _changed(graph, move, own_dims, seed)


def _changed(
    graph: HeteroGraph,
    change: Callable[[EdgeType, CSR, torch.Generator], CSR],
    own_dims: dict[str, int] | None,
    seed: int,
) -> HeteroGraph:
    """Apply a change to each relation, and make structural columns again."""
    draw = torch.Generator().manual_seed(seed)
    edges = {edge_type: change(edge_type, csr, draw) for edge_type, csr in graph.edges.items()}
    changed = HeteroGraph(graph.num_nodes, edges, graph.x, graph.labels)
    if own_dims is None or graph.x is None:
        return changed
    structural = structural_features(changed)
    x = {name: _renewed(x, own_dims[name], structural[name], name) for name, x in graph.x.items()}
    return HeteroGraph(graph.num_nodes, edges, x, graph.labels)


def _renewed(x: Tensor, own_dim: int, structural: Tensor, name: str) -> Tensor:
    """Put other structural columns behind the authors' own, where x has structural columns."""
    if own_dim == x.shape[1]:
        return x
    if own_dim + structural.shape[1] != x.shape[1]:
        raise ValueError(
            f"x[{name!r}] has {x.shape[1]} columns, but {own_dim} of the authors and "
            f"{structural.shape[1]} structural ones were expected; correct `own_dims`"
        )
    return torch.cat([x[:, :own_dim], structural.to(x.dtype)], 1)


def _rewire(edge_type: EdgeType, csr: CSR, draw: torch.Generator) -> CSR:
    src, dst = csr.pairs()
    same_type = edge_type[0] == edge_type[2]
    sizes = {"num_src": csr.num_src, "num_dst": csr.num_dst}
    if same_type and csr.is_symmetric:
        # One edge of each pair of directions; all their ends are shuffled and paired anew, so each
        # node has as many as before. Loops stay.
        is_loop, is_forward = src == dst, src < dst
        ends = torch.cat([src[is_forward], dst[is_forward]])
        ends = ends[torch.randperm(len(ends), generator=draw)]
        a, b = _repaired(*ends.chunk(2), csr.num_dst, draw, undirected=True)
        src, dst = torch.cat([a, b, src[is_loop]]), torch.cat([b, a, dst[is_loop]])
        return CSR.from_edges(src, dst, **sizes)
    src = src[torch.randperm(len(src), generator=draw)]
    loops_allowed = not same_type or bool((csr.indices == dst).any())
    src, dst = _repaired(src, dst, csr.num_src, draw, loops_allowed=loops_allowed)
    return CSR.from_edges(src, dst, **sizes)


def _repaired(
    src: Tensor,
    dst: Tensor,
    num_src: int,
    draw: torch.Generator,
    *,
    undirected: bool = False,
    loops_allowed: bool = False,
) -> tuple[Tensor, Tensor]:
    """Swap the sources of repeated pairs and loops with other edges, wherever that mends them.

    Args:
        src, dst: (n,) int64 ends of the edges.
        num_src: nodes that can be sources; all nodes if undirected.
        draw: of the edges to swap with.
        undirected: whether (a, b) and (b, a) are the same pair.
        loops_allowed: whether a node may be connected with itself.

    Returns:
        The ends, with every node as many times a source, and a destination, as before.
    """

    def key_of(src: Tensor, dst: Tensor) -> Tensor:  # the same for the same pair
        if undirected:
            src, dst = torch.minimum(src, dst), torch.maximum(src, dst)
        return dst * num_src + src

    src = src.clone()
    for _ in range(ROUNDS):
        key = key_of(src, dst)
        bad = _is_repeated(key)
        if not loops_allowed:
            bad |= src == dst
        if not bad.any():
            break
        # Each bad edge gets a spare partner, a good edge at random. Of bad edges [8, 9] with the
        # spares [1, 4], `position` is [8, 9, 1, 4] and `swapped` the sources of [1, 4, 8, 9]:
        # entry i of both halves together is one swap. It is made if neither of its two new pairs
        # exists already, is made by another swap of this round, or is a loop.
        mended, spare = _partners(bad, draw)
        position = torch.cat([mended, spare])
        swapped = torch.cat([src[spare], src[mended]])
        new_key = key_of(swapped, dst[position])
        wrong = torch.isin(new_key, key) | _is_repeated(new_key)
        if not loops_allowed:
            wrong |= swapped == dst[position]
        accepted = ~wrong.view(2, -1).any(0).repeat(2)
        src[position[accepted]] = swapped[accepted]
    return src, dst


def _partners(bad: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pair bad edges with others at random; as many of each, without repeats."""
    mended, spare = bad.nonzero().flatten(), (~bad).nonzero().flatten()
    spare = spare[torch.randperm(len(spare), generator=draw)[: len(mended)]]
    mended = mended[torch.randperm(len(mended), generator=draw)[: len(spare)]]
    return mended, spare


def _is_repeated(key: Tensor) -> Tensor:
    """Mark all but the first of equal keys."""
    order = torch.argsort(key, stable=True)
    repeated = torch.zeros_like(key, dtype=torch.bool)
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeated


def _thin(csr: CSR, share: float, draw: torch.Generator) -> CSR:
    src, dst = csr.pairs()
    pair = torch.arange(csr.num_edges)
    if csr.is_symmetric:  # an edge and its reverse stay or go together
        key = torch.minimum(src, dst) * csr.num_dst + torch.maximum(src, dst)
        _, pair = key.unique(return_inverse=True)
    kept = (torch.rand(int(pair.max()) + 1, generator=draw) >= share)[pair]
    if not kept.any():
        kept[0] = True
    return CSR.from_edges(src[kept], dst[kept], num_src=csr.num_src, num_dst=csr.num_dst)


def without_later(graph: HeteroGraph, later: Tensor) -> HeteroGraph:
    """Take later events out of a graph: their edges, their values and what was said of them.

    Their nodes stay, so that ids keep their meaning: they have no edges, features of 0, and the
    other label. A relation that would be empty keeps its first edge, as a graph must have some.

    Args:
        graph: on the CPU.
        later: (total,) bool; True for the nodes that had not happened yet.
    """
    edges = {}
    for edge_type, csr in graph.edges.items():
        src, dst = csr.pairs()
        kept = ~(later[src + graph.offset(edge_type[0])] | later[dst + graph.offset(edge_type[2])])
        if not kept.any():
            kept[0] = True
        sizes = {"num_src": csr.num_src, "num_dst": csr.num_dst}
        edges[edge_type] = CSR.from_edges(src[kept], dst[kept], **sizes)
    x = graph.x and {
        name: torch.where(later[graph.span(name)][:, None], 0, values)
        for name, values in graph.x.items()
    }
    labels = graph.labels
    if labels is not None:
        labels = torch.stack([labels[:, 0], labels[:, 1] ^ later[labels[:, 0]].long()], 1)
    return HeteroGraph(graph.num_nodes, edges, x, labels)
