"""The same graph without what makes it real: what a detector gains from edges is lost on these.

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


def rewired(graph: HeteroGraph, *, own: dict[str, int] | None = None, seed: int = 0) -> HeteroGraph:
    """Connect every node at random, with as many edges in each relation as it has.

    Sources are dealt out anew among the edges of a relation; a symmetric one stays symmetric.
    Repeated pairs and self-loops that come up are mended by swaps with other edges; a few may stay
    where nodes are connected with nearly all others.

    Args:
        graph: on the CPU.
        own: how many of the first columns of x are the authors' own, by node type; the others are
            made again from the new edges. None leaves x as it is.
        seed: of the draw; the same seed gives the same graph.

    Returns:
        The graph with the same degrees, relation by relation.
    """
    return _changed(graph, _rewire, own, seed)


def thinned(
    graph: HeteroGraph, share: float = 0.5, *, own: dict[str, int] | None = None, seed: int = 0
) -> HeteroGraph:
    """Drop a share of the edges of each relation, but never the last one of a relation.

    Args:
        graph: on the CPU.
        share: of the edges dropped, in (0, 1); both directions of a symmetric relation together.
        own, seed: as in `rewired`.

    Raises:
        ValueError: share is not in (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie strictly between 0 and 1, but is {share}")
    return _changed(graph, lambda edge_type, csr, draw: _thin(csr, share, draw), own, seed)


def shuffled(
    graph: HeteroGraph, *, own: dict[str, int] | None = None, seed: int = 0
) -> HeteroGraph:
    """Keep the structure, but deal out its places at random among the nodes of each type.

    Args:
        graph: on the CPU.
        own, seed: as in `rewired`.

    Returns:
        A graph whose structure is the same, and says nothing of features and labels.
    """
    draw = torch.Generator().manual_seed(seed)
    place = {name: torch.randperm(n, generator=draw) for name, n in graph.num_nodes.items()}

    def move(edge_type: EdgeType, csr: CSR, draw: torch.Generator) -> CSR:
        src, dst = place[edge_type[0]][csr.indices.long()], place[edge_type[2]][csr.dst()]
        return CSR.from_edges(src, dst, num_src=csr.num_src, num_dst=csr.num_dst)

    return _changed(graph, move, own, seed)


def _changed(
    graph: HeteroGraph,
    change: Callable[[EdgeType, CSR, torch.Generator], CSR],
    own: dict[str, int] | None,
    seed: int,
) -> HeteroGraph:
    """Apply a change to each relation, and make structural columns again."""
    draw = torch.Generator().manual_seed(seed)
    edges = {edge_type: change(edge_type, csr, draw) for edge_type, csr in graph.edges.items()}
    changed = HeteroGraph(graph.num_nodes, edges, graph.x, graph.labels)
    if own is None or graph.x is None:
        return changed
    structural = structural_features(changed)
    x = {name: _renewed(x, own[name], structural[name], name) for name, x in graph.x.items()}
    return HeteroGraph(graph.num_nodes, edges, x, graph.labels)


def _renewed(x: Tensor, own: int, structural: Tensor, name: str) -> Tensor:
    if own == x.shape[1]:
        return x
    if own + structural.shape[1] != x.shape[1]:
        raise ValueError(
            f"x[{name!r}] has {x.shape[1]} columns, but {own} of the authors and "
            f"{structural.shape[1]} structural ones were expected; correct `own`"
        )
    return torch.cat([x[:, :own], structural.to(x.dtype)], 1)


def _rewire(edge_type: EdgeType, csr: CSR, draw: torch.Generator) -> CSR:
    src, dst = csr.indices.long(), csr.dst()
    same_type = edge_type[0] == edge_type[2]
    sizes = {"num_src": csr.num_src, "num_dst": csr.num_dst}
    if same_type and csr.is_symmetric:
        loops, once = src == dst, src < dst
        ends = torch.cat([src[once], dst[once]])
        ends = ends[torch.randperm(len(ends), generator=draw)]
        a, b = _repaired(*ends.chunk(2), csr.num_dst, draw, undirected=True)
        src, dst = torch.cat([a, b, src[loops]]), torch.cat([b, a, dst[loops]])
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
    """Swap the sources of repeated pairs and loops with other edges, wherever that mends them."""

    def key_of(src: Tensor, dst: Tensor) -> Tensor:
        if undirected:
            src, dst = torch.minimum(src, dst), torch.maximum(src, dst)
        return dst * num_src + src

    src = src.clone()
    for _ in range(ROUNDS):
        key = key_of(src, dst)
        bad = _is_repeated(key)
        if not loops_allowed:
            bad |= src == dst
        mended = bad.nonzero().flatten()
        if len(mended) == 0:
            break
        spare = (~bad).nonzero().flatten()
        spare = spare[torch.randperm(len(spare), generator=draw)[: len(mended)]]
        mended = mended[torch.randperm(len(mended), generator=draw)[: len(spare)]]
        swapped = torch.cat([src[spare], src[mended]])
        at = torch.cat([mended, spare])
        new = key_of(swapped, dst[at])
        wrong = torch.isin(new, key) | _is_repeated(new)
        if not loops_allowed:
            wrong |= swapped == dst[at]
        accepted = ~wrong.view(2, -1).any(0).repeat(2)
        src[at[accepted]] = swapped[accepted]
    return src, dst


def _is_repeated(key: Tensor) -> Tensor:
    """Mark all but the first of equal keys."""
    order = torch.argsort(key, stable=True)
    repeated = torch.zeros_like(key, dtype=torch.bool)
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeated


def _thin(csr: CSR, share: float, draw: torch.Generator) -> CSR:
    src, dst = csr.indices.long(), csr.dst()
    tie = torch.arange(csr.num_edges)
    if csr.is_symmetric:  # an edge and its reverse stay or go together
        pair = torch.minimum(src, dst) * csr.num_dst + torch.maximum(src, dst)
        _, tie = pair.unique(return_inverse=True)
    kept = (torch.rand(int(tie.max()) + 1, generator=draw) >= share)[tie]
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
        src, dst = csr.indices.long(), csr.dst()
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
