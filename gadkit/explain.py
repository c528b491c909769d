"""Read-outs: how attention is spread, and where the embeddings lie."""

import torch
from torch import Tensor

from gadkit.graph import CSR


def effective_neighbors(csr: CSR, alpha: Tensor) -> Tensor:
    """Return how many neighbors share a node's attention: 1 / sum of alpha squared, mean of heads.

    It is the degree where attention is uniform and 1 where a single neighbor has it all (Hill,
    Diversity and Evenness, Ecology 1973, number of order 2).

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row, as `HeteroGAT.attention`.

    Returns:
        (num_dst,); 0 for nodes without edges.
    """
    squares = alpha.square().view(csr.num_edges, -1)
    concentration = squares.new_zeros(csr.num_dst, squares.shape[1])
    concentration.index_add_(0, csr.dst(), squares)
    return torch.where(concentration > 0, 1 / concentration, 0.0).mean(1)


def attention_spread(csr: CSR, alpha: Tensor) -> Tensor:
    """Return effective neighbors over degree of every node with at least two neighbors."""
    degrees = csr.degrees()
    return (effective_neighbors(csr, alpha) / degrees)[degrees >= 2]


def principal_components(z: Tensor, count: int = 2) -> Tensor:
    """Project on the directions of largest variance, (num_nodes, count), largest first."""
    centered = (z - z.mean(0)).double()
    _, directions = torch.linalg.eigh(centered.T @ centered)  # ascending
    return (centered @ directions[:, -count:].flip(1)).to(z.dtype)
