"""The marketplace's files: read as they lie on disk, repaired (`sanitize`), written.

The names on disk and the global ids in the files are given; data/README.md describes the format.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import (
    CSR,
    EdgeType,
    HeteroGraph,
    check_finite,
    check_indptr,
    check_labels,
    indptr_of,
)
from gadkit.store.files import atomic_path, errors_about, load_npy, save_array, write_json

COUNTS, FEATURES, LABELS = "node_counts.json", "X_combined.memmap", "labels.npy"
FEATURE_DIM = 128  # columns of X_combined.memmap, which has no header to say so
NODE_TYPES = {"users": "user", "products": "product", "sellers": "seller"}  # in global order


class RawRelation(NamedTuple):
    """What a pair of files `<name>_row_ptr.bin`, `<name>_col_idx.bin` holds.

    Attributes:
        edge_type: the relation in memory.
        rows: node type of the rows on disk.
        columns: node type of the column ids on disk, once sanitized.
    """

    edge_type: EdgeType
    rows: str
    columns: str


RELATIONS = {
    "epu": RawRelation(("user", "buys", "product"), "user", "product"),
    "eps": RawRelation(("seller", "sells", "product"), "product", "seller"),
    "euu": RawRelation(("user", "co_buys", "user"), "user", "user"),
}


@dataclass
class SanitizeReport:
    """What `sanitize` did to one relation.

    Attributes:
        relation: its name.
        num_rows: rows of the relation.
        kept: edges kept.
        dropped: edges dropped, by reason: "self_loop" (a row's own global id, of the wrong type) or
            "wrong_type".
        rows_emptied: rows that had edges and have none left.
    """

    relation: str
    num_rows: int
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    rows_emptied: int = 0


def sanitize(
    indptr: Tensor,
    indices: Tensor,
    *,
    row_offset: int,
    valid_min: int,
    valid_max: int,
    total: int,
    name: str,
) -> tuple[Tensor, Tensor, SanitizeReport]:
    """Keep the column ids of the right node type and number them from 0.

    The new row pointer is the running count of kept edges read at the old offsets, so there is no
    loop over rows.

    Args:
        indptr: (num_rows + 1,) int64.
        indices: (num_edges,) int32 or int64; global node ids.
        row_offset: global id of row 0, which tells a self-loop.
        valid_min: smallest global id of the column type.
        valid_max: largest global id of the column type.
        total: number of nodes of all types.
        name: what to call the relation in the report and in errors.

    Returns:
        indptr, int32 indices in [0, valid_max - valid_min], and a report.

    Raises:
        ValueError: a pointer decreases or does not fit, or a column id is no node at all.
    """
    check_indptr(indptr, len(indices), f"{name} row_ptr")
    nowhere = (indices < 0) | (indices >= total)
    if nowhere.any():
        edge = int(nowhere.nonzero()[0])
        raise ValueError(
            f"{name} col_idx has {int(nowhere.sum()):,} ids outside [0, {total}); "
            f"first at entry {edge}: {int(indices[edge])}"
        )
    keep = (indices >= valid_min) & (indices <= valid_max)
    new_indptr = indptr_of(keep)[indptr]
    dropped = (~keep).nonzero().flatten()
    rows = torch.searchsorted(indptr, dropped, right=True) - 1
    self_loops = int((indices[dropped] == rows + row_offset).sum())
    report = SanitizeReport(
        relation=name,
        num_rows=len(indptr) - 1,
        kept=int(new_indptr[-1]),
        dropped={"self_loop": self_loops, "wrong_type": len(dropped) - self_loops},
        rows_emptied=int(((indptr.diff() > 0) & (new_indptr.diff() == 0)).sum()),
    )
    return new_indptr, (indices[keep] - valid_min).int(), report


@dataclass(frozen=True)
class RawMarketplace:
    """A marketplace as it lies on disk, self-loops and all; large arrays are memory-mapped.

    Attributes:
        folder: where it was read from.
        num_nodes: number of nodes of each type, in global order.
        relations: by name on disk (`RELATIONS`): indptr (rows + 1,) int64 and global column ids
            (num_edges,) int32 or int64.
        x: (total, 128) float32.
        labels: (num_labels, 2) int64 rows [global id, 1 = anomaly], or None where there are none.
    """

    folder: Path
    num_nodes: dict[str, int]
    relations: dict[str, tuple[Tensor, Tensor]]
    x: Tensor
    labels: Tensor | None

    @property
    def total(self) -> int:
        """Number of nodes of all types."""
        return sum(self.num_nodes.values())

    def span(self, node_type: str) -> slice:
        """Return the slice of global ids of a type."""
        types = list(self.num_nodes)
        start = sum(self.num_nodes[name] for name in types[: types.index(node_type)])
        return slice(start, start + self.num_nodes[node_type])

    def sanitize(self) -> tuple[HeteroGraph, list[SanitizeReport]]:
        """Drop what points to the wrong node type; see `graph.sanitize`.

        A type without nodes is left out together with its relation, and so are co-purchases where
        there are none: no entry, or the users' self-loops alone, which are then dropped as well.

        Returns:
            The strict graph, rows sorted, and one report per relation.

        Raises:
            ValueError: a column id is no node at all, or a relation between two types that have
                nodes has no edge left.
        """
        edges, reports = {}, []
        for name in RELATIONS:
            csr, report = self._sanitize(name)
            if report.kept:
                edges[RELATIONS[name].edge_type] = csr
            reports.append(report)
        num_nodes = {node_type: count for node_type, count in self.num_nodes.items() if count}
        x = {node_type: self.x[self.span(node_type)] for node_type in num_nodes}
        with errors_about(self.folder):
            return HeteroGraph(num_nodes, edges, x, self.labels), reports

    def _sanitize(self, name: str) -> tuple[CSR, SanitizeReport]:
        edge_type, rows, columns = RELATIONS[name]
        valid = self.span(columns)
        path = self.folder / f"{name}_col_idx.bin"
        with errors_about(path):
            indptr, indices, report = sanitize(
                *self.relations[name],
                row_offset=self.span(rows).start,
                valid_min=valid.start,
                valid_max=valid.stop - 1,
                total=self.total,
                name=edge_type[1],
            )
        csr = CSR(indptr, indices, self.num_nodes[columns])
        if rows == columns and torch.equal(csr.indices.long(), csr.dst()):
            report = _without_loops(csr, report)
        if report.kept == 0 and not self._may_be_empty(rows, columns, report):
            raise ValueError(
                f"{path}: no edge between a {rows} and a {columns} is left after sanitizing; "
                f"dropped {report.dropped}"
            )
        if rows != edge_type[2]:
            return csr.transpose(), report
        return csr if csr.is_sorted else csr.transpose().transpose(), report

    def _may_be_empty(self, rows: str, columns: str, report: SanitizeReport) -> bool:
        """Whether nothing but self-loops was dropped from a relation that need not have edges."""
        absent = 0 in (self.num_nodes[rows], self.num_nodes[columns])
        return (absent or rows == columns) and report.dropped["wrong_type"] == 0


def _without_loops(csr: CSR, report: SanitizeReport) -> SanitizeReport:
    """Report a relation of legal self-loops alone as one that holds nothing."""
    emptied = report.rows_emptied + int((csr.degrees() > 0).sum())
    dropped = report.dropped | {"self_loop": report.dropped["self_loop"] + csr.num_edges}
    return replace(report, kept=0, dropped=dropped, rows_emptied=emptied)


def read_raw(folder: Path | str) -> RawMarketplace:
    """Read the marketplace layout as it is; `RawMarketplace.sanitize` makes it a graph.

    Labels may be absent: a graph can be scored without any.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: counts do not add up, a file has the wrong size, row pointers decrease, a
            feature is not finite or a label is wrong; the message names the file and the first bad
            position.
    """
    folder = Path(folder)
    for name in raw_files():
        if name != LABELS and not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; a marketplace folder holds {', '.join(raw_files())}"
            )
    with errors_about(folder / COUNTS):
        num_nodes = parse_counts((folder / COUNTS).read_text(encoding="utf-8"))
    total = sum(num_nodes.values())
    relations = {
        name: _read_relation(folder, name, num_nodes[raw.rows]) for name, raw in RELATIONS.items()
    }
    with errors_about(folder / FEATURES):
        x = torch.from_numpy(_map(folder / FEATURES, "float32", (total, FEATURE_DIM)))
        check_finite(x, "x")
    labels = None
    if (folder / LABELS).is_file():
        labels = load_npy(folder / LABELS)
        with errors_about(folder / LABELS):
            check_labels(labels, total)
    return RawMarketplace(folder, num_nodes, relations, x, labels)


def raw_files() -> list[str]:
    """Return the file names of the marketplace layout."""
    binaries = [f"{name}_{part}.bin" for name in RELATIONS for part in ("row_ptr", "col_idx")]
    return [COUNTS, *binaries, FEATURES, LABELS]


def parse_counts(text: str) -> dict[str, int]:
    counts = json.loads(text)
    keys = [*NODE_TYPES, "total"]
    if not isinstance(counts, dict) or any(type(counts.get(key)) is not int for key in keys):
        raise ValueError(
            f"expected an object with the whole numbers {', '.join(keys)}, got {text.strip()[:200]}"
        )
    for key in keys:
        if counts[key] < 0:
            raise ValueError(f"{key!r} is {counts[key]}; a count cannot be negative")
    num_nodes = {node_type: counts[key] for key, node_type in NODE_TYPES.items()}
    total = sum(num_nodes.values())
    if counts["total"] != total:
        raise ValueError(
            f"'total' is {counts['total']}, but users, products and sellers add up to {total}"
        )
    if total == 0:
        raise ValueError("the graph has no nodes")
    return num_nodes


def _read_relation(folder: Path, name: str, num_rows: int) -> tuple[Tensor, Tensor]:
    path = folder / f"{name}_row_ptr.bin"
    with errors_about(path):
        indptr = torch.from_numpy(_map(path, "int64", (num_rows + 1,)))
        num_edges = int(indptr[-1])
        check_indptr(indptr, num_edges, "row_ptr")
    path = folder / f"{name}_col_idx.bin"
    size = path.stat().st_size
    if size not in (4 * num_edges, 8 * num_edges):
        raise ValueError(
            f"{path} has {size} bytes; {name}_row_ptr.bin ends at {num_edges} column ids, "
            f"which take {4 * num_edges} bytes as int32 or {8 * num_edges} as int64"
        )
    dtype = "int32" if size == 4 * num_edges else "int64"
    return indptr, torch.from_numpy(_map(path, dtype, (num_edges,)))


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Map a headerless file; copy-on-write is writable for torch and never reaches the file."""
    size, expected = path.stat().st_size, np.dtype(dtype).itemsize * int(np.prod(shape))
    if size != expected:
        raise ValueError(
            f"has {size} bytes, but {shape} {dtype} takes {expected}; "
            "is it cut off, or from another run?"
        )
    return np.memmap(path, dtype, "c", shape=shape) if size else np.empty(shape, dtype)


def write_raw(
    folder: Path | str,
    num_nodes: dict[str, int],
    relations: dict[str, tuple[Tensor, Tensor]],
    x: Tensor,
    labels: Tensor | None,
) -> None:
    """Write the marketplace layout; arguments as the attributes of `RawMarketplace`.

    An older node_counts.json goes first and the new one comes last, so that the folder left by a
    killed run is not taken for a dataset.
    """
    folder = Path(folder)
    (folder / COUNTS).unlink(missing_ok=True)
    for name, (indptr, indices) in relations.items():
        _write_binary(folder / f"{name}_row_ptr.bin", np.asarray(indptr, np.int64))
        _write_binary(folder / f"{name}_col_idx.bin", np.asarray(indices))
    _write_binary(folder / FEATURES, np.asarray(x, np.float32))
    if labels is not None:
        save_array(folder, LABELS, labels)
    counts = {key: num_nodes[node_type] for key, node_type in NODE_TYPES.items()}
    write_json(folder / COUNTS, counts | {"total": sum(counts.values())})


def raw_csr(
    rows: np.ndarray, columns: np.ndarray, num_rows: int, row_offset: int
) -> tuple[Tensor, Tensor]:
    """Build one relation of `write_raw`: columns ascending, and a self-loop in every row.

    Args:
        rows: (num_edges,) integers from 0.
        columns: (num_edges,) integers; global ids.
        num_rows: number of rows.
        row_offset: global id of row 0.

    Returns:
        (num_rows + 1,) int64 row pointers and (num_edges + num_rows,) int32 global ids.
    """
    loops = np.arange(num_rows)
    key = np.concatenate([rows << 32 | columns, loops << 32 | loops + row_offset])
    key.sort()
    indptr = indptr_of(torch.from_numpy(key >> 32).bincount(minlength=num_rows))
    return indptr, torch.from_numpy((key & 0xFFFFFFFF).astype(np.int32))


def _write_binary(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        array.tofile(temporary)
