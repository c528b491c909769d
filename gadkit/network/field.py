"""What a layer needs to know of a graph to compute some of its rows: their edges and sources.

Labels are few beside the nodes of a large marketplace, and the last layer is asked about labelled
nodes alone: of 1.5 million nodes with 16,400 labels, about a twentieth of the edges. The layer
before it is asked about their sources alone, and so on.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph import CSR, HeteroGraph, Stream, indptr_of
from gadkit.ops.gat import coins

SMALL = 8  # a part of the edges that is worth the trouble is one in so many, or less
LESS = 2  # and of a layer below one of which few rows are asked, one in so many


class Field(NamedTuple):
    """Some rows of a graph, their edges, and the sources of these.

    Attributes:
        node_types: of the graph.
        streams: of the graph; a csr's rows are those asked for of its destination's type, and its
            sources are positions in `needed`.
        numbers: which streams of the graph these are; those that reach no row are left out.
        needed: (num_needed,) int64 by type, ascending ids within it: rows and sources.
        rows: (num_rows,) int64 by type, positions in `needed` of the rows asked for.
    """

    node_types: list[str]
    streams: list[Stream]
    numbers: list[int]
    needed: dict[str, Tensor]
    rows: dict[str, Tensor]

    def select(self, h: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is needed of tensors whose rows are all nodes of a type."""
        return {name: h[name].index_select(0, needed) for name, needed in self.needed.items()}


def is_small(graph: HeteroGraph, nodes: Tensor) -> bool:
    """Whether few enough of a graph's edges lead to some nodes, given as global ids."""
    return _are_one_in(SMALL, graph, nodes)


def _are_one_in(part: int, graph: HeteroGraph, nodes: Tensor) -> bool:
    """Whether the edges that lead to some nodes are one in `part` of all, or less."""
    edges_into = sum(
        int(csr.degrees()[nodes[_are_of(graph, nodes, dst)] - graph.offset(dst)].sum())
        for _, (_, _, dst), csr in graph.streams
    )
    return part * edges_into <= sum(stream.csr.num_edges for stream in graph.streams)


def fields_of(
    graph: HeteroGraph, nodes: Tensor | None, drop_edge: dict[int, float], seeds: list[int]
) -> list[Field | None]:
    """Return the field of every layer, the first one first: each has the rows that the next needs.

    From the last layer back to the first, a field needs more and more nodes. From where their edges
    are more than one in `LESS`, or where no nodes are given, it is None: all are computed.

    Args:
        graph, nodes, drop_edge: as in `field_of`; or nodes None, for all.
        seeds: of each layer.
    """
    fields = []
    for seed in reversed(seeds):
        if nodes is not None and (fields and not _are_one_in(LESS, graph, nodes)):
            nodes = None
        if nodes is None:
            fields.append(None)
            continue
        fields.append(field_of(graph, nodes, drop_edge, seed))
        needed = fields[-1].needed
        nodes = torch.cat([needed[name] + graph.offset(name) for name in graph.node_types])
    return fields[::-1]


def field_of(graph: HeteroGraph, nodes: Tensor, drop_edge: dict[int, float], seed: int) -> Field:
    """Return the field of some nodes, without the edges that DropEdge leaves out.

    Args:
        graph: the graph.
        nodes: (n,) int64 global ids, ascending, each once.
        drop_edge: probability that an edge is left out, by number of the stream.
        seed: of the edges left out; stream k tosses the coins of `gat_aggregate` with seed + k.
    """
    asked = {
        name: nodes[_are_of(graph, nodes, name)] - graph.offset(name) for name in graph.node_types
    }
    edges = {}
    is_needed = {
        name: rows.new_zeros(graph.num_nodes[name], dtype=bool) for name, rows in asked.items()
    }
    for name, rows in asked.items():
        is_needed[name][rows] = True
    for number, (_, (src, _, dst), csr) in enumerate(graph.streams):
        if len(asked[dst]):
            edges[number] = _edges_into(csr, asked[dst], drop_edge[number], seed + number)
            is_needed[src][edges[number][0]] = True
            is_needed[src][0] = True  # so that there is a source where every edge is left out
    needed = {name: each.nonzero().squeeze(1) for name, each in is_needed.items()}
    place = {name: each.cumsum(0).int() - 1 for name, each in is_needed.items()}  # in `needed`
    streams = []
    for number, (ids, row) in edges.items():
        relation, (src, name, dst), _ = graph.streams[number]
        indptr = indptr_of(row.bincount(minlength=len(asked[dst])))
        indices = place[src].index_select(0, ids)
        streams.append(Stream(relation, (src, name, dst), CSR(indptr, indices, len(needed[src]))))
    rows = {name: place[name].index_select(0, ids).long() for name, ids in asked.items()}
    return Field(graph.node_types, streams, [*edges], needed, rows)


def _are_of(graph: HeteroGraph, nodes: Tensor, node_type: str) -> Tensor:
    return graph.node_type_of(nodes) == graph.node_types.index(node_type)


def _edges_into(csr: CSR, rows: Tensor, drop_edge: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the sources of the edges that are kept, and the position in `rows` of their ends."""
    source, row = csr.select(rows).pairs()
    if drop_edge:
        kept = coins(source, rows[row], drop_edge, seed)
        source, row = source[kept], row[kept]
    return source, row
