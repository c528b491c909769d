"""A graph as torch's operators take it: they know tensors and lists of tensors, not `CSR`."""

from typing import NamedTuple

from torch import Tensor

from gadkit.graph import CSR


class Packed(NamedTuple):
    """A CSR and its plan; see `graph.RowPlan`."""

    indptr: Tensor
    indices: Tensor
    task_ptr: Tensor
    long_row: Tensor
    chunk_ptr: Tensor
    chunk_row: Tensor
    chunk_begin: Tensor
    chunk_end: Tensor


def pack(csr: CSR | None) -> list[Tensor]:
    """Return the tensors of a CSR and its plan in the order of `Packed`; none for None."""
    return [] if csr is None else [csr.indptr, csr.indices, *csr.plan]
