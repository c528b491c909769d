"""A small graph of every kind of relation, and its dense matrices."""

import torch

from gadkit.graph import CSR, HeteroGraph

BUYS, SELLS = ("user", "buys", "product"), ("seller", "sells", "product")
FOLLOWS, CO_BUYS = ("user", "follows", "user"), ("user", "co_buys", "user")
NUM_NODES = {"user": 7, "product": 5, "seller": 2}
WIDTHS = {"user": 3, "product": 4, "seller": 1}
PAIRS = {  # (source, destination); user 6 has no product, nobody follows user 0
    BUYS: [(0, 0), (0, 1), (1, 1), (2, 1), (2, 4), (3, 2), (4, 0), (4, 3), (5, 4), (5, 1)],
    SELLS: [(0, 0), (0, 1), (0, 2), (1, 2), (1, 3), (1, 4)],
    FOLLOWS: [(0, 1), (0, 2), (1, 2), (2, 1), (3, 3), (5, 4), (4, 6), (1, 6)],
    CO_BUYS: [(0, 1), (1, 0), (1, 2), (2, 1), (3, 3), (6, 0), (0, 6)],
}


def graph_of(*edge_types) -> HeteroGraph:
    """The relations of `PAIRS` asked for, with features of another width per type."""
    types = [name for name in NUM_NODES if any(name in (s, d) for s, _, d in edge_types)]
    edges = {}
    for src_type, name, dst_type in edge_types:
        src, dst = torch.tensor(PAIRS[src_type, name, dst_type]).unbind(1)
        sizes = {"num_src": NUM_NODES[src_type], "num_dst": NUM_NODES[dst_type]}
        edges[src_type, name, dst_type] = CSR.from_edges(src, dst, **sizes)
    generator = torch.Generator().manual_seed(5)
    x = {name: torch.randn(NUM_NODES[name], WIDTHS[name], generator=generator) for name in types}
    return HeteroGraph({name: NUM_NODES[name] for name in types}, edges, x)


def dense_of(csr: CSR) -> torch.Tensor:
    """(num_dst, num_src) float64 of zeros and ones."""
    matrix = torch.zeros(csr.num_dst, csr.num_src, dtype=torch.float64)
    matrix[csr.dst(), csr.indices.long()] = 1
    return matrix


def dense_network(graph: HeteroGraph) -> torch.Tensor:
    """All relations both ways and self-loops, (total, total)."""
    matrix = torch.eye(graph.total, dtype=torch.float64)
    for (src, _, dst), csr in graph.edges.items():
        matrix[graph.span(dst), graph.span(src)] += dense_of(csr)
        matrix[graph.span(src), graph.span(dst)] += dense_of(csr).T
    return matrix.clamp(max=1)
