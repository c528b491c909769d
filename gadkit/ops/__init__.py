"""Sparse graph operations on torch tensors, each differentiable and with a plain-torch oracle
beside it.

`spmm` multiplies by a (scaled) adjacency matrix, `edge_dot` takes one dot product per pair,
`gat_aggregate` sums neighbors under softmax attention. Torch's dispatcher picks the kernel by the
device of the tensors.
"""

from gadkit.ops.gat import (
    attention,
    attention_reference,
    gat_aggregate,
    gat_aggregate_reference,
)
from gadkit.ops.sddmm import edge_dot, edge_dot_reference
from gadkit.ops.spmm import spmm, spmm_reference

__all__ = [
    "attention",
    "attention_reference",
    "edge_dot",
    "edge_dot_reference",
    "gat_aggregate",
    "gat_aggregate_reference",
    "spmm",
    "spmm_reference",
]
