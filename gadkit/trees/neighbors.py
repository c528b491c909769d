"""The neighborhoods that blocks of columns are made of: relations, means and walks, computed once.

Everything here follows from the graph and its features; no label is read. `Neighbors` works a thing
out when a block first asks for it, and keeps it for the other blocks and for later tables.
"""

from functools import cached_property

import torch
from torch import Tensor

from gadkit.graph import CSR, EdgeType, HeteroGraph, Stream, indptr_of
from gadkit.graph.arrays import column_parts
from gadkit.graph.structure import structural_features, structural_names
from gadkit.ops import spmm
from gadkit.ops.threads import same_bits
from gadkit.trees.blocks import Columns, mean

RESTART = 0.15  # of the random walks (Page et al., The PageRank Citation Ranking, 1999)
ROWS = 1 << 17  # of what is propagated, made at a time
WALK_STEPS = 20  # after which 4 % of a walk is still under way


class Neighbors:
    """A graph, its features, and what is made of the two.

    Attributes:
        graph: on the CPU.
        x: (num_nodes, dim) float32 features by node type; dim may be 0.
        x_names: of the columns of x, by node type.
        standards: by node type the mean and the deviation, (dim + 1,) float64 each, by which
            features and log degree are standardized; those of this graph where none were given.
    """

    def __init__(
        self,
        graph: HeteroGraph,
        x: dict[str, Tensor],
        x_names: dict[str, list[str]],
        standards: dict[str, tuple[Tensor, Tensor]] | None = None,
    ):
        self.graph, self.x, self.x_names = graph, x, x_names
        self.standards = dict(standards or {})
        # Kept by (source, target) of the relations, or by node type.
        self._between: dict[tuple[str, str], CSR] = {}
        self._mean_of: dict[tuple[str, str], Tensor] = {}
        self._mean_structure: dict[tuple[str, str], Tensor] = {}
        self._scaled: dict[str, Columns] = {}
        self._propagated: dict[str, Tensor] = {}

    @cached_property
    def without_loops(self) -> HeteroGraph:
        """The graph without self-loops: nobody is a neighbor of itself."""
        edges = {
            edge_type: _without_loops(edge_type, csr) for edge_type, csr in self.graph.edges.items()
        }
        if all(edges[edge_type] is csr for edge_type, csr in self.graph.edges.items()):
            return self.graph
        return HeteroGraph(self.graph.num_nodes, edges)

    def streams_into(self, node_type: str) -> list[Stream]:
        """Return the relations, there and back, that end at a type."""
        streams = self.without_loops.streams
        return [stream for stream in streams if stream.edge_type[2] == node_type]

    def sources(self, node_type: str) -> list[str]:
        """Return the types that a type has neighbors of."""
        return list(dict.fromkeys(stream.edge_type[0] for stream in self.streams_into(node_type)))

    def between(self, source: str, node_type: str) -> CSR:
        """Return all relations from one type to another as one; repeated edges count repeatedly."""
        key = source, node_type
        if key not in self._between:
            relations = [s.csr for s in self.streams_into(node_type) if s.edge_type[0] == source]
            self._between[key] = relations[0] if len(relations) == 1 else _union(relations)
        return self._between[key]

    def mean_of(self, source: str, node_type: str) -> Tensor:
        """Average the features of a node's neighbors of type `source`: (num_nodes, dim)."""
        key = source, node_type
        if key not in self._mean_of:
            self._mean_of[key] = mean(self.between(source, node_type), self.x[source])
        return self._mean_of[key]

    @cached_property
    def structural(self) -> dict[str, Tensor]:
        """Degrees of every node and the like, (num_nodes, dim) float32 by type."""
        return structural_features(self.without_loops)

    @cached_property
    def structural_names(self) -> dict[str, list[str]]:
        """Names of the columns of `structural`."""
        return structural_names(self.without_loops)

    def mean_structure(self, source: str, node_type: str) -> Tensor:
        """Average the structural columns of the neighbors of type `source`: (num_nodes, dim)."""
        key = source, node_type
        if key not in self._mean_structure:
            csr = self.between(source, node_type)
            self._mean_structure[key] = mean(csr, self.structural[source])
        return self._mean_structure[key]

    @cached_property
    def rsqrt_degree(self) -> Tensor:
        """1 / sqrt(degree) in the homogeneous graph, (total,) float32."""
        return self.graph.homogeneous.degrees().float().rsqrt()

    @cached_property
    def page_rank(self) -> Tensor:
        """log of the PageRank relative to the mean, (total,) float32.

        Who has no neighbor hands out what it has to all alike (Page et al.), so that it keeps the
        least rank there is and not, by its own loop, as much as the mean.
        """
        start = torch.ones(self.graph.total, 1)
        rank = self.walk(start, outward=True)[:, 0]
        is_alone = self.graph.homogeneous.degrees() == 1  # with its own loop
        handed_out = (1 - RESTART) * float(is_alone.double().mean())
        return (rank.masked_fill(is_alone, RESTART) / (1 - handed_out)).log()

    def walk(self, start: Tensor, *, outward: bool) -> Tensor:
        """Spread values by random walks with restart.

        Args:
            start: (total, dim) float32.
            outward: whether a node hands out what it has, which conserves the sum; if not, it takes
                the mean of its neighbors.
        """
        csr, share = self.graph.homogeneous, self.rsqrt_degree.square()
        scales = {"scale_src": share} if outward else {"scale_dst": share}
        x = start
        for _ in range(WALK_STEPS):
            x = RESTART * start + (1 - RESTART) * spmm(csr, x, **scales)
        return x

    def spread(self, start: Tensor) -> Tensor:
        """Spread values over every relation by itself.

        x <- 0.15 start + 0.85 S x, where S is the mean over the relations into a node's type, there
        and back, of D^-1/2 A D^-1/2 (Zhou et al., Learning with Local and Global Consistency, NIPS
        2003). Each relation is divided by degrees of its own, so that a card that two users share
        counts as much for somebody who buys a lot as for somebody who does not.

        Args:
            start: (total, dim) float32.

        Returns:
            (total, dim) float32.
        """
        span, x = self.without_loops.span, start
        for _ in range(WALK_STEPS):
            spread = torch.zeros_like(x)
            for node_type in self.graph.node_types:
                streams = self.streams_into(node_type)
                for _, (source, _, _), csr in streams:
                    scale, scale_src = (
                        degrees.float().clamp(min=1).rsqrt()
                        for degrees in (csr.degrees(), csr.transpose().degrees())
                    )
                    values = x[span(source)].contiguous()
                    values = spmm(csr, values, scale_dst=scale, scale_src=scale_src)
                    spread[span(node_type)] += values / len(streams)
            x = RESTART * start + (1 - RESTART) * spread
        return x

    def scaled(self, node_type: str) -> Columns:
        """Features and log degree of a type's nodes, standardized and cut off at 10."""
        if node_type not in self._scaled:
            x, csr = self.x[node_type], self.graph.homogeneous
            degree = csr.degrees()[self.graph.span(node_type)].float().log()[:, None]
            x = torch.cat([x, degree], 1)
            parts = column_parts(x)
            if node_type not in self.standards:
                with same_bits():  # of one column, torch's would follow the number of threads
                    moments = [torch.std_mean(part.double(), 0) for part in parts]
                deviation, average = (torch.cat(values) for values in zip(*moments, strict=True))
                self.standards[node_type] = average, deviation.clamp(min=1e-6)
            cuts = [moment.tensor_split(len(parts)) for moment in self.standards[node_type]]
            for part, average, deviation in zip(parts, *cuts, strict=True):  # views of x, in place
                part.copy_(part.double().sub_(average).div_(deviation).clamp_(-10, 10))
            self._scaled[node_type] = [*self.x_names[node_type], "log degree"], x
        return self._scaled[node_type]

    def propagated(self, node_type: str) -> Tensor:
        """Propagate `scaled`, 0 for other types, one step by D^-1/2 A D^-1/2: (total, dim)."""
        if node_type not in self._propagated:
            _, x = self.scaled(node_type)
            padded = torch.zeros(self.graph.total, x.shape[1])
            padded[self.graph.span(node_type)] = x
            out, scale = torch.zeros_like(padded), self.rsqrt_degree
            # Rows of types that it has no neighbors of stay what they are, and take no memory.
            for reached in self._reached_from(node_type):
                span = self.graph.span(reached)
                for rows in torch.arange(span.start, span.stop).split(ROWS):
                    csr = self.graph.homogeneous.select(rows)
                    values = spmm(csr, padded, scale_dst=scale[rows], scale_src=scale)
                    out[rows[0] : rows[-1] + 1] = values
            self._propagated[node_type] = out
        return self._propagated[node_type]

    def _reached_from(self, node_type: str) -> list[str]:
        """Return the types that have neighbors of a type, ascending."""
        ends = {end for edge in self.graph.edges if node_type in edge[::2] for end in edge[::2]}
        return [name for name in self.graph.node_types if name in ends]


def _without_loops(edge_type: EdgeType, csr: CSR) -> CSR:
    if edge_type[0] != edge_type[2]:
        return csr
    kept = csr.indices != csr.dst()
    if kept.all() or not kept.any():
        return csr
    left = CSR(indptr_of(kept)[csr.indptr], csr.indices[kept], csr.num_src)
    return left if csr.is_sorted else left.transpose().transpose()


def _union(relations: list[CSR]) -> CSR:
    src, dst = (torch.cat(ends) for ends in zip(*(csr.pairs() for csr in relations), strict=True))
    return CSR.from_edges(src, dst, num_src=relations[0].num_src, num_dst=relations[0].num_dst)
