"""The dataset folder: read it, write it, replace its files one atomic step at a time.

Two layouts hold a graph: the marketplace layout (raw files whose names and global ids are given)
and `graph.npz` (any other schema). This is the only module that knows the names on disk;
data/README.md describes the formats.
"""

import glob
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import (
    CSR,
    EdgeType,
    HeteroGraph,
    SanitizeReport,
    check_finite,
    check_indptr,
    check_labels,
    sanitize,
)

COUNTS, FEATURES, LABELS = "node_counts.json", "X_combined.memmap", "labels.npy"
GRAPH = "graph.npz"
ABOUT = "about.json"
TIME = "node_time.npy"  # when each node came to be
MASKS = "split_masks.npy"  # the splits that the authors have published
IDS = "ids_{}.parquet"  # of a node type; read and written by `gadkit.store.node_ids`
GAE_EMBEDDINGS = "Z_embeddings_stage1.npy"
GAT_EMBEDDINGS = "Z_stage2.npy"
GAT_SCORES = "anomaly_scores_stage2.npy"
RECIPE_SCORES = "anomaly_scores_recipe.npy"  # of `gadkit.trees.recipe`; 0 for types without labels
GAE_CHECKPOINT = "gae_stage1.pt"
GAT_CHECKPOINT = "gat_stage2_best.pt"
GAE_RUN, GAT_RUN = "gae_stage1_run.pt", "gat_stage2_run.pt"  # where a training stands
MADE_BY = {
    GAE_EMBEDDINGS: "03_train_gae",
    GAE_CHECKPOINT: "03_train_gae",
    GAT_EMBEDDINGS: "04_finetune_gat",
    GAT_SCORES: "04_finetune_gat",
    GAT_CHECKPOINT: "04_finetune_gat",
    RECIPE_SCORES: "06_evaluate_auc",
}

FEATURE_DIM = 128  # columns of X_combined.memmap, which has no header to say so
NODE_TYPES = {"users": "user", "products": "product", "sellers": "seller"}  # in global order

# What readers of zip files and pickles raise when bytes are not what they should be.
_DAMAGE = (
    ValueError,
    RuntimeError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)


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


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it replaces `path` if the block ends well.

    After an error, or a kill at any moment, `path` is what it was before. The sibling keeps the
    suffix, because writers such as `savefig` choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_free(folder: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


@contextmanager
def appearing(folder: Path | str, *, aside: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling, which becomes `folder` in one step if the block ends well.

    Args:
        folder: what is to appear.
        aside: rename what is there already to `<name>.old1`, or the next number that is free.

    Raises:
        FileExistsError: the folder holds something already, and that may not be set aside.
    """
    folder = Path(folder)
    if not aside and not is_free(folder):
        raise FileExistsError(f"{folder} exists already: delete it or choose another folder")
    target = folder.resolve()
    partial = target.with_name(f".{os.getpid()}.{target.name}")
    _clear_abandoned(target)
    partial.mkdir(parents=True)
    try:
        yield partial
        _sync(partial)
        if not is_free(target):
            names = (target.with_name(f"{target.name}.old{number}") for number in count(1))
            target.rename(next(name for name in names if not name.exists()))
        partial.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _clear_abandoned(target: Path) -> None:
    """Remove the temporary siblings of processes that were killed, and so could not."""
    for sibling in target.parent.glob(f".*.{glob.escape(target.name)}"):
        pid = sibling.name[1 : -len(target.name) - 1]
        if pid.isdigit() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            shutil.rmtree(sibling, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _sync(folder: Path) -> None:
    """Make the names in a folder durable; `store` has done so for the content of its files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def errors_about(where: Path | str) -> Iterator[None]:
    """Put the file or array that a block reads in front of its ValueErrors and TypeErrors."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if str(error).startswith(str(where)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {error}") from error


def write_json(path: Path | str, content: dict) -> None:
    """Write a dict as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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
        num_nodes = _parse_counts((folder / COUNTS).read_text(encoding="utf-8"))
    total = sum(num_nodes.values())
    relations = {
        name: _read_relation(folder, name, num_nodes[raw.rows]) for name, raw in RELATIONS.items()
    }
    with errors_about(folder / FEATURES):
        x = torch.from_numpy(_map(folder / FEATURES, "float32", (total, FEATURE_DIM)))
        check_finite(x, "x")
    labels = None
    if (folder / LABELS).is_file():
        labels = _load_npy(folder / LABELS)
        with errors_about(folder / LABELS):
            check_labels(labels, total)
    return RawMarketplace(folder, num_nodes, relations, x, labels)


def raw_files() -> list[str]:
    """Return the file names of the marketplace layout."""
    binaries = [f"{name}_{part}.bin" for name in RELATIONS for part in ("row_ptr", "col_idx")]
    return [COUNTS, *binaries, FEATURES, LABELS]


def _parse_counts(text: str) -> dict[str, int]:
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
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(key >> 32, minlength=num_rows), out=indptr[1:])
    return torch.from_numpy(indptr), torch.from_numpy((key & 0xFFFFFFFF).astype(np.int32))


def _write_binary(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        array.tofile(temporary)


def is_dataset(folder: Path | str) -> bool:
    """Whether a folder holds one of the two layouts."""
    return any((Path(folder) / name).is_file() for name in (COUNTS, GRAPH))


def load_graph(folder: Path | str) -> HeteroGraph:
    """Read the graph of a dataset folder: the marketplace layout, sanitized, or `graph.npz`.

    Raises:
        FileNotFoundError: the folder holds neither, or a file of the marketplace layout is missing.
        ValueError: what it holds is damaged; the message names the file, the array and the first
            bad position.
    """
    return load_with_reports(folder)[0]


def load_with_reports(folder: Path | str) -> tuple[HeteroGraph, list[SanitizeReport]]:
    """Read the graph as `load_graph`, and what the sanitizer did to each relation.

    `graph.npz` is written sanitized, and refused where it is not: its relations come out whole.
    """
    folder = Path(folder)
    if (folder / COUNTS).is_file():
        return read_raw(folder).sanitize()
    if (folder / GRAPH).is_file():
        graph = _read_graph(folder / GRAPH)
        whole = {"self_loop": 0, "wrong_type": 0}
        return graph, [
            SanitizeReport(name, csr.num_dst, csr.num_edges, dict(whole))
            for (_, name, _), csr in graph.edges.items()
        ]
    raise FileNotFoundError(
        f"{folder} holds no graph: neither {COUNTS} (the marketplace layout) nor {GRAPH} is there; "
        "make a demo with gadkit.datasets.prepare('demo')"
    )


def save_graph(folder: Path | str, graph: HeteroGraph) -> None:
    """Write a graph of any schema to `graph.npz`; equal graphs give equal bytes."""
    arrays = {
        "node_types": np.array(graph.node_types),
        "num_nodes": np.array(list(graph.num_nodes.values()), dtype=np.int64),
        "edge_types": np.array(graph.edge_types),
    }
    for edge_type, csr in graph.edges.items():
        arrays[f"{'__'.join(edge_type)}_indptr"] = csr.indptr.numpy(force=True)
        arrays[f"{'__'.join(edge_type)}_indices"] = csr.indices.numpy(force=True)
    if graph.x is not None:
        arrays |= {f"x_{name}": graph.x[name].numpy(force=True) for name in graph.node_types}
    if graph.labels is not None:
        arrays["labels"] = graph.labels.numpy(force=True)
    with atomic_path(Path(folder) / GRAPH) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        # As np.savez does it, but with a fixed date in every header.
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def _read_graph(path: Path) -> HeteroGraph:
    arrays = read_npz(path)
    with errors_about(path):
        node_types = _typed(arrays, "node_types", "U", 1).tolist()
        counts = _typed(arrays, "num_nodes", "i", 1).tolist()
        edge_types = _typed(arrays, "edge_types", "U", 2)
        if (
            len(set(node_types)) != len(counts)
            or min(counts, default=0) < 0
            or edge_types.shape[1] != 3
        ):
            raise ValueError(
                f"node_types {node_types}, num_nodes {counts} and edge_types {edge_types.shape} "
                "must be distinct names, as many counts >= 0, and (num_relations, 3) names"
            )
        num_nodes = dict(zip(node_types, counts, strict=True))
    edges = {
        tuple(edge_type): _read_csr(path, arrays, edge_type, num_nodes)
        for edge_type in edge_types.tolist()
    }
    with errors_about(path):
        x = {
            name: _typed(arrays, f"x_{name}", "f4", 2)
            for name in node_types
            if f"x_{name}" in arrays
        }
        x = {name: torch.from_numpy(values) for name, values in x.items()} or None
        labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
        return HeteroGraph(num_nodes, edges, x, labels)


def _read_csr(
    path: Path, arrays: dict[str, np.ndarray], edge_type: list[str], num_nodes: dict[str, int]
) -> CSR:
    name = "__".join(edge_type)
    if edge_type[0] not in num_nodes:
        raise ValueError(
            f"{path}: relation {name} starts at a node type that is not in {list(num_nodes)}"
        )
    with errors_about(path):
        indptr = torch.from_numpy(_typed(arrays, f"{name}_indptr", "i8", 1))
        indices = torch.from_numpy(_typed(arrays, f"{name}_indices", "i", 1))
    with errors_about(f"{path}, {name}"):
        return CSR(indptr, indices, num_nodes[edge_type[0]])


def _typed(arrays: dict[str, np.ndarray], name: str, kind: str, ndim: int) -> np.ndarray:
    """Take an array; check its axes and its dtype, by the start of numpy's short name for it."""
    if name not in arrays:
        raise ValueError(
            f"array {name!r} is missing; found {', '.join(sorted(arrays)) or 'nothing'}"
        )
    array = arrays[name]
    if not array.dtype.str[1:].startswith(kind) or array.ndim != ndim:
        raise ValueError(
            f"array {name!r} must have {ndim} axes of kind {kind!r}, "
            f"got {array.shape} {array.dtype}"
        )
    return array


def read_npz(path: Path | str, only: str | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file, all or the one of a name, never unpickling.

    Raises:
        ValueError: it is no .npz file, or an array is damaged or pickled; the message names it.
    """
    arrays, what = {}, "no .npz file, or cut off"
    with open(path, "rb") as file:
        try:
            archive = np.lib.npyio.NpzFile(file, allow_pickle=False)
            for name in archive.files if only is None else {only} & {*archive.files}:
                what = f"array {name!r} cannot be read"
                arrays[name] = archive[name]
        except _DAMAGE as error:
            raise ValueError(f"{path}: {what}: {error}; make or download it again") from error
    return arrays


def save_time(folder: Path | str, graph: HeteroGraph, time: dict[str, np.ndarray]) -> None:
    """Write when nodes came to be, in any unit that grows with time.

    Args:
        folder: dataset folder.
        graph: whose nodes they are.
        time: by node type (num_nodes[type],) numbers, NaN where there is no time; nodes of a type
            that is left out have none.
    """
    save_array(folder, TIME, _over_all(graph, time, (), np.nan, np.float64))


def save_masks(folder: Path | str, graph: HeteroGraph, masks: dict[str, np.ndarray]) -> None:
    """Write the splits that the authors of a data set have published.

    Args:
        folder: dataset folder.
        graph: whose nodes are split.
        masks: by node type (num_nodes[type], num_splits) integers: 1 train, 2 val, 3 test, 0 none
            of them; nodes of a type that is left out are in none.
    """
    num_splits = next(iter(masks.values())).shape[1]
    save_array(folder, MASKS, _over_all(graph, masks, (num_splits,), 0, np.int8))


def _over_all(
    graph: HeteroGraph, by_type: dict[str, np.ndarray], shape: tuple[int, ...], fill, dtype
) -> np.ndarray:
    """Lay what is known of the nodes of some types out over all of them: (total, *shape)."""
    out = np.full((graph.total, *shape), fill, dtype)
    for node_type, values in by_type.items():
        start = graph.offset(node_type)
        out[start : start + graph.num_nodes[node_type]] = values
    return out


def load_time(folder: Path | str) -> Tensor | None:
    """Read when nodes came to be: (total,) float64, NaN = unknown; None where nobody knows.

    Raises:
        ValueError: the file is damaged, of another graph, or holds an infinite time.
    """
    path = Path(folder) / TIME
    if not path.is_file():
        return None
    time, total = _load_npy(path), _total(folder)
    if time.dtype != torch.float64 or time.shape != (total,):
        raise ValueError(
            f"{path} is {tuple(time.shape)} {time.dtype}, but the graph needs ({total},) float64; "
            "delete it, or convert the data set again"
        )
    if time.isinf().any():
        raise ValueError(
            f"{path}: node {int(time.isinf().nonzero()[0])} has an infinite time; unknown is NaN"
        )
    return time


def load_masks(folder: Path | str) -> Tensor | None:
    """Read the authors' splits: (total, num_splits) int8, as `save_masks`; None where none are.

    Raises:
        ValueError: the file is damaged, of another graph, or holds another number.
    """
    path = Path(folder) / MASKS
    if not path.is_file():
        return None
    masks, total = _load_npy(path), _total(folder)
    if masks.dtype != torch.int8 or masks.dim() != 2 or len(masks) != total or not masks.shape[1]:
        raise ValueError(
            f"{path} is {tuple(masks.shape)} {masks.dtype}, but the graph needs ({total}, splits) "
            "int8; delete it, or convert the data set again"
        )
    wrong = ((masks < 0) | (masks > 3)).nonzero()
    if len(wrong):
        node, number = wrong[0].tolist()
        raise ValueError(
            f"{path}: node {node} is {int(masks[node, number])} in split {number}; expected 0 "
            "(none), 1 (train), 2 (val) or 3 (test)"
        )
    return masks


def _total(folder: Path | str) -> int:
    """Count the nodes of a dataset folder without reading its graph."""
    folder = Path(folder)
    if (folder / COUNTS).is_file():
        with errors_about(folder / COUNTS):
            return sum(_parse_counts((folder / COUNTS).read_text(encoding="utf-8")).values())
    arrays = read_npz(folder / GRAPH, only="num_nodes")
    with errors_about(folder / GRAPH):
        return int(_typed(arrays, "num_nodes", "i", 1).sum())


def write_about(folder: Path | str, about: dict) -> None:
    """Write what is known of a dataset besides its numbers; data/README.md lists the keys."""
    write_json(Path(folder) / ABOUT, about)


def read_about(folder: Path | str) -> dict:
    """Read what `write_about` wrote; nothing ({}) where the folder does not say.

    Raises:
        ValueError: the file is no JSON object.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        return {}
    with errors_about(path):
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise ValueError(f"expected a JSON object, got {str(about)[:60]!r}; mend or delete it")
    return about


def save_array(folder: Path | str, name: str, array: Tensor | np.ndarray) -> None:
    """Write one output, such as `GAE_EMBEDDINGS`, as .npy."""
    array = array.numpy(force=True) if isinstance(array, Tensor) else array
    with atomic_path(Path(folder) / name) as temporary, open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def load_array(folder: Path | str, name: str, *, rows: int | None = None) -> Tensor:
    """Read one output, memory-mapped; writing to the tensor does not change the file.

    Args:
        folder: dataset folder.
        name: file name, such as `GAE_EMBEDDINGS`.
        rows: number of rows it must have, if given: the nodes of the graph it is used with.

    Raises:
        FileNotFoundError: it was not made yet.
        ValueError: it is damaged, or made from a graph of another size.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise _missing(path)
    array = _load_npy(path)
    if rows is not None and len(array) != rows:
        raise ValueError(
            f"{path} has {len(array)} rows, but the graph has {rows} nodes; make it again"
        )
    return array


def _missing(path: Path) -> FileNotFoundError:
    maker = MADE_BY.get(path.name)
    step = f"notebook {maker}.ipynb, or `gadkit run`," if maker else "the step that makes it"
    return FileNotFoundError(f"{path} is missing; run {step} first")


def _load_npy(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is no .npy array of numbers, or is cut off: {error}") from error


def save_checkpoint(path: Path | str, state: dict) -> None:
    """Write nested dicts and lists of tensors, numbers, strings; same content, same bytes."""
    buffer = io.BytesIO()  # torch.save to a path would write the file's name into the archive
    torch.save(_canonical(state), buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _canonical(value):
    """Copy nested dicts, lists and tuples, with equal strings made one object.

    A pickle refers back to an object it has met, so its bytes would tell a string that was loaded
    from one that was not, and a resumed run from an uninterrupted one.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_canonical, value))
    return value


def load_checkpoint(path: Path | str) -> dict:
    """Read a checkpoint onto the CPU; only what `save_checkpoint` writes is unpickled, never code.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, cut off, or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise _missing(path)
    with open(path, "rb") as file:
        try:
            damaged = zipfile.ZipFile(file).testzip()  # torch does not look at the checksums
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
        except _DAMAGE as error:
            raise ValueError(
                f"{path} is damaged, cut off or no checkpoint; delete it to start again"
            ) from error
    if not isinstance(state, dict):
        raise ValueError(
            f"{path} holds a {type(state).__name__}, not a checkpoint; delete it to start again"
        )
    return state
