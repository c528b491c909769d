"""Graphs in compressed sparse row form: one relation (`CSR`) and many of them (`HeteroGraph`)."""

from gadkit.graph.hetero import (
    CHUNK,
    CSR,
    TASK,
    EdgeType,
    HeteroGraph,
    RowPlan,
    SanitizeReport,
    Stream,
    check_finite,
    check_indptr,
    check_labels,
    checksum,
    indptr_of,
    sanitize,
)

__all__ = [
    "CHUNK",
    "CSR",
    "TASK",
    "EdgeType",
    "HeteroGraph",
    "RowPlan",
    "SanitizeReport",
    "Stream",
    "check_finite",
    "check_indptr",
    "check_labels",
    "checksum",
    "indptr_of",
    "sanitize",
]
