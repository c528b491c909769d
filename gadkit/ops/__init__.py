"""Sparse graph operations on torch tensors, each differentiable and with a plain-torch oracle
beside it.

`spmm` multiplies by a (scaled) adjacency matrix, `edge_dot` takes one dot product per pair,
`gat_aggregate` sums neighbors under softmax attention, `attention` reads its weights out. Torch's
dispatcher picks the kernel by the device of the tensors. An operation's module, and Numba with it,
is loaded when the operation is first used.
"""

from gadkit import lazy

# No module may have the name of an operation: once imported, it would take the operation's place.
_HOME = {
    "attention": "gat",
    "attention_reference": "gat",
    "edge_dot": "sddmm",
    "edge_dot_reference": "sddmm",
    "gat_aggregate": "gat",
    "gat_aggregate_reference": "gat",
    "spmm": "matmul",
    "spmm_reference": "matmul",
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
