"""The edges into some nodes, which explainers give numbers to; and the rarity of a neighbor."""

from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph import CSR, HeteroGraph, indptr_of
from gadkit.graph.arrays import Array, as_ids


class Edges(NamedTuple):
    """The edges into some nodes, over all streams, self-loops left out.

    Attributes:
        nodes: (num_nodes,) int64 global ids.
        ptr: (num_nodes + 1,) int64; nodes[i] has the edges ptr[i]:ptr[i + 1].
        stream: (num_edges,) int64; position in `HeteroGraph.streams`, ascending within a node.
        neighbor: (num_edges,) int64 global id of the other end.
        relations: (num_streams,) int64; the relation of each stream, the same number for both
            directions of one. Every stream is a relation of its own if None.
    """

    nodes: Tensor
    ptr: Tensor
    stream: Tensor
    neighbor: Tensor
    relations: Tensor | None = None

    @property
    def owner(self) -> Tensor:
        """Position in `nodes` of each edge, (num_edges,) int64."""
        return torch.arange(len(self.nodes)).repeat_interleave(self.ptr.diff())

    def slice_of(self, position: int) -> slice:
        """Return where the edges of nodes[position] stand."""
        return slice(int(self.ptr[position]), int(self.ptr[position + 1]))


def edges_into(graph: HeteroGraph, nodes: Array) -> Edges:
    """List the edges into some nodes.

    Args:
        graph: on the CPU.
        nodes: (num_nodes,) integers, global ids, each once.

    Raises:
        TypeError: ids are not integers.
        ValueError: a node is repeated or is none, or there is more than one axis.
    """
    nodes = as_ids(nodes, "nodes").long()
    if nodes.dim() != 1:
        raise ValueError(f"nodes must be 1-D, got shape {tuple(nodes.shape)}; .flatten() them")
    if len(nodes) and (nodes.min() < 0 or nodes.max() >= graph.total):
        raise ValueError(f"nodes must be in [0, {graph.total}), got up to {int(nodes.max())}")
    if len(nodes.unique()) < len(nodes):
        raise ValueError("a node is asked for twice; list each once")
    return incoming_edges(graph, nodes, loops=False)


def incoming_edges(graph: HeteroGraph, nodes: Tensor, *, loops: bool) -> Edges:
    """List the edges into some nodes as `edges_into` does, unchecked, self-loops too if `loops`."""
    owners, streams, neighbors = [], [], []
    for number, (_, (src, _, dst), csr) in enumerate(graph.streams):
        owner, neighbor = rows_of_stream(graph, nodes, csr, src, dst)
        is_listed = (neighbor != nodes[owner]) | loops
        owners.append(owner[is_listed])
        neighbors.append(neighbor[is_listed])
        streams.append(torch.full((int(is_listed.sum()),), number))
    owner, stream, neighbor = map(torch.cat, (owners, streams, neighbors))
    order = owner.argsort(stable=True)
    ptr = indptr_of(owner.bincount(minlength=len(nodes)))
    names = [each.relation for each in graph.streams]
    relations = torch.tensor([names.index(name) for name in names], dtype=torch.int64)
    return Edges(nodes, ptr, stream[order], neighbor[order], relations)


def rows_of_stream(
    graph: HeteroGraph, nodes: Tensor, csr: CSR, src: str, dst: str
) -> tuple[Tensor, Tensor]:
    """Read the rows of some nodes in one stream, csr from type src to type dst.

    Returns:
        Position in `nodes` and global id of the source of every edge, (num_edges,) int64 each.
    """
    position = positions_of_type(graph, nodes, dst)
    rows = csr.select(nodes[position] - graph.offset(dst))
    source, row = rows.pairs()
    return position[row], source + graph.offset(src)


def positions_of_type(graph: HeteroGraph, nodes: Tensor, node_type: str) -> Tensor:
    """Return the positions in `nodes`, global ids, of those of one type, ascending."""
    return (graph.node_type_of(nodes) == graph.node_types.index(node_type)).nonzero().flatten()


def parallel(edges: Edges) -> Tensor:
    """Return for each edge the first that leads from the same neighbor over the same relation.

    Edges that are repeated, as orders of one product may be, or that lead both ways, as payments
    between two accounts may, are one piece of evidence to whoever reads an explanation.

    Returns:
        (num_edges,) int64 positions in `edges`; an edge that is not repeated is its own first.
    """
    # An edge becomes one number, (owner, relation, neighbor) as digits. The stable sort keeps equal
    # numbers in the order of the edges, so the first of a run stands for all of it: of the keys
    # [7, 3, 7] the order is [1, 0, 2], the runs [1] and [0, 2], and the answer [0, 1, 0].
    relation = edges.stream if edges.relations is None else edges.relations[edges.stream]
    digits = torch.stack([edges.owner, relation, edges.neighbor])
    sizes = [1 + int(row.max()) if row.numel() else 1 for row in digits]
    key = (digits[0] * sizes[1] + digits[1]) * sizes[2] + digits[2]
    key, order = key.sort(stable=True)
    starts = torch.ones_like(key, dtype=torch.bool)
    starts[1:] = key.diff() != 0
    first = torch.empty_like(order)
    first[order] = order[starts][starts.cumsum(0) - 1]
    return first


def together(edges: Edges, shares: Tensor) -> Tensor:
    """Give each edge what the edges that repeat it have together, (num_edges,)."""
    first = parallel(edges)
    return torch.zeros_like(shares).index_add_(0, first, shares)[first]


def by_rarity(graph: HeteroGraph, edges: Edges) -> Tensor:
    """Put neighbors with few edges first: a control, which knows nothing of suspicion.

    Returns:
        (num_edges,) float64, minus the degree of the neighbor over all relations.
    """
    return -graph.homogeneous.degrees()[edges.neighbor].double()
