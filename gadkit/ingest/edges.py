"""Pairs of nodes, as a relation: sorted as numbers, which takes a fraction of what `CSR` needs."""

import numpy as np
import torch

from gadkit.graph import CSR, indptr_of


def relation(src: np.ndarray, dst: np.ndarray, num_src: int, num_dst: int) -> CSR:
    """Build what `CSR.from_edges` builds of the same pairs.

    Args:
        src, dst: (num_edges,) int64; both ends of each edge, below 2^31.
        num_src, num_dst: numbers of nodes.
    """
    key = dst << 32 | src
    key.sort()
    counts = np.bincount(key >> 32, minlength=num_dst)
    indices = torch.from_numpy((key & 0xFFFFFFFF).astype(np.int32))
    return CSR(indptr_of(torch.from_numpy(counts)), indices, num_src)
