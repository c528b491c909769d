"""Inspection of a trained network: how attention is spread, and the map of an embedding."""

import torch
from torch import Tensor

from gadkit.graph import CSR, indptr_of
from gadkit.ops.threads import same_bits


def effective_neighbors(csr: CSR, alpha: Tensor) -> Tensor:
    """Return how many neighbors share a node's attention: 1 / sum of alpha squared, mean of heads.

    Edges that are repeated are one neighbor, with what they have together. It is the number of
    neighbors where attention is uniform and 1 where a single one has it all (Hill, Diversity and
    Evenness, Ecology 1973, number of order 2).

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row, as `HeteroGAT.attention`.

    Returns:
        (num_dst,); 0 for nodes without edges.
    """
    csr, alpha = _by_neighbor(csr, alpha)
    squares = alpha.square()
    concentration = squares.new_zeros(csr.num_dst, squares.shape[1])
    concentration.index_add_(0, csr.dst(), squares)
    return torch.where(concentration > 0, 1 / concentration, 0.0).mean(1)


def attention_spread(csr: CSR, alpha: Tensor) -> Tensor:
    """Return effective neighbors over degree of every node with at least two neighbors."""
    csr, alpha = _by_neighbor(csr, alpha)
    degrees = csr.degrees()
    return (effective_neighbors(csr, alpha) / degrees)[degrees >= 2]


def _by_neighbor(csr: CSR, alpha: Tensor) -> tuple[CSR, Tensor]:
    """Add up what repeated edges have: each pair of nodes once, alpha (num_pairs, heads)."""
    src, dst = csr.pairs()
    keys, pair = (dst * csr.num_src + src).unique(return_inverse=True)
    alpha = alpha.view(csr.num_edges, -1)
    if len(keys) == csr.num_edges:
        return csr, alpha
    counts = (keys // csr.num_src).bincount(minlength=csr.num_dst)
    together = alpha.new_zeros(len(keys), alpha.shape[1]).index_add_(0, pair, alpha)
    return CSR(indptr_of(counts), keys % csr.num_src, csr.num_src), together


def attention_entropy(csr: CSR, alpha: Tensor) -> Tensor:
    """Return the entropy of a node's attention over that of uniform attention, mean of heads.

    Edges that are repeated are one neighbor, with what they have together.

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row.

    Returns:
        (num_chosen,) in [0, 1] of every node with at least two neighbors, in the order of the rows;
        1 is a plain mean, 0 a single neighbor.
    """
    csr, alpha = _by_neighbor(csr, alpha)
    entropy = alpha.new_zeros(csr.num_dst, alpha.shape[1])
    entropy.index_add_(0, csr.dst(), torch.special.entr(alpha))
    degrees = csr.degrees()
    return (entropy.mean(1) / degrees.log())[degrees >= 2]


def mass_on(csr: CSR, alpha: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention that falls on some of the sources, and what a plain mean would give.

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row.
        chosen: (num_src,) bool, such as the frauds among the training labels.

    Returns:
        mass, uniform: (num_found,) in [0, 1], mean of heads, of every row with a chosen source and
        one that is not, in the order of the rows.
    """
    is_on = chosen[csr.indices.long()].to(alpha.dtype)
    weight = torch.stack([alpha.view(csr.num_edges, -1).mean(1) * is_on, is_on], 1)
    mass, count = weight.new_zeros(csr.num_dst, 2).index_add(0, csr.dst(), weight).unbind(1)
    uniform = count / csr.degrees().clamp(min=1)
    mixed = (uniform > 0) & (uniform < 1)
    return mass[mixed], uniform[mixed]


@same_bits()
def principal_components(z: Tensor, count: int = 2) -> Tensor:
    """Project on the directions of largest variance, (num_nodes, count), largest first."""
    dtype, z = (
        z.dtype,
        z.double(),
    )  # before the mean is taken: of float32 far from 0 it is not in the middle
    centered = z - z.mean(0)
    _, directions = torch.linalg.eigh(centered.T @ centered)  # ascending
    return (centered @ directions[:, -count:].flip(1)).to(dtype)
