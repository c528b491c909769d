"""Lists and tables that leave: suspects, scores and embeddings, with the user's own ids.

The columns are described in data/README.md.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import HeteroGraph
from gadkit.store import atomic_path, tables

LEARNED = "learned_from"  # columns of the list of suspects
SCORE, UNLABELLED_SCORE = "score", "score_without_labels"


def write_suspects(
    path: Path | str,
    graph: HeteroGraph,
    scores: Tensor,
    *,
    node_types: list[str] | None = None,
    top: int | None = None,
    names: np.ndarray | None = None,
    learned_from: Tensor | None = None,
    planted: Sequence[str] | None = None,
    score: str = SCORE,
) -> None:
    """Write the ranked list of suspects, as Parquet where `path` ends in .parquet and else as CSV.

    The columns are rank, node (global id), type, id within the type, score and label, which is
    empty where unknown. The highest score comes first, equal scores in the order of node ids.
    Three more columns are written where known: name, what the user calls the node; learned_from, 1
    for the nodes whose labels trained the model or chose its epoch (their rank says nothing about
    the model); and planted, what a node of a generated marketplace really is.

    Args:
        path: file to write.
        graph: where node types and labels come from.
        scores: (total,) float; anomaly score of every node, by global id.
        node_types: list these types only; all by default.
        top: list this many only; all by default.
        names: what the user calls each node, by global id; see `node_ids.of_nodes`.
        learned_from: (n,) int64 global ids of the nodes whose labels the model has seen.
        planted: name of what each node really is, by global id.
        score: name of the score's column; `UNLABELLED_SCORE` says that no label was used.

    Raises:
        ValueError: there is not one score per node, a score is NaN, or a type is not in the graph.
    """
    scores = scores.detach().cpu()
    if scores.shape != (graph.total,) or scores.isnan().any():
        raise ValueError(
            f"scores must be ({graph.total},) without NaN, got {tuple(scores.shape)} "
            f"with {int(scores.isnan().sum())} NaN"
        )
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[_is_of(graph, order, node_types)]
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    order = order[:top]
    columns = {"rank": np.arange(1, len(order) + 1), **_node_columns(graph, order, names)}
    columns |= {score: scores[order].numpy(), "label": _label_of(graph, order)}
    if learned_from is not None:
        columns[LEARNED] = torch.isin(order, learned_from.cpu()).byte().numpy()
    if planted is not None:
        columns["planted"] = np.array([planted[node] for node in order.tolist()], dtype=object)
    if Path(path).suffix == ".parquet":
        tables.write(path, columns)
    else:
        _write_csv(path, columns)


def _is_of(graph: HeteroGraph, nodes: Tensor, node_types: list[str] | None) -> Tensor:
    """Say which of the given global ids are of the given types."""
    node_types = graph.node_types if node_types is None else node_types
    unknown = set(node_types) - set(graph.node_types)
    if unknown:
        raise ValueError(f"node types {sorted(unknown)} are not in {graph.node_types}")
    wanted = torch.tensor([graph.node_types.index(name) for name in node_types])
    return torch.isin(graph.node_type_of(nodes), wanted)


def _node_columns(
    graph: HeteroGraph, nodes: Tensor, names: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the columns that say which nodes are meant, of global ids."""
    types = graph.node_type_of(nodes)
    offsets = torch.tensor([graph.offset(name) for name in graph.node_types])
    columns = {
        "node": nodes.numpy(),
        "type": np.array(graph.node_types, dtype=object)[types.numpy()],
        "id": (nodes - offsets[types]).numpy(),
    }
    return columns if names is None else columns | {"name": names[nodes.numpy()]}


def _label_of(graph: HeteroGraph, nodes: Tensor) -> np.ndarray:
    """Return 0 or 1 of each global id, masked where unknown."""
    label = torch.full((graph.total,), -1, dtype=torch.int8)
    if graph.labels is not None:
        labels = graph.labels.cpu()
        label[labels[:, 0]] = labels[:, 1].to(torch.int8)
    return np.ma.masked_less(label[nodes].numpy(), 0)


def _write_csv(path: Path | str, columns: dict[str, np.ndarray]) -> None:
    values = [
        map("{:.9g}".format, column.tolist())  # nine digits tell any two float32 apart
        if column.dtype.kind == "f"
        else column.tolist()
        for column in columns.values()
    ]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*values, strict=True))


def write_nodes(
    path: Path | str,
    graph: HeteroGraph,
    values: dict[str, Tensor],
    *,
    node_types: list[str] | None = None,
    names: np.ndarray | None = None,
) -> None:
    """Write a number or a vector of every node as .parquet or .csv, in the order of global ids.

    The columns are node (global id), type, id within the type, name where known, and the values: a
    vector `z` becomes columns z0, z1, ... Floats are FLOAT or DOUBLE in Parquet, and in CSV have
    the digits that tell them from any other. What is memory-mapped is not read at once.

    Args:
        path: file to write.
        graph: where node types come from.
        values: by column name (total,) or (total, dim), by global id.
        node_types: write these types only; all by default.
        names: what the user calls each node, by global id; see `node_ids.of_nodes`.

    Raises:
        ValueError: there is not one value per node, a type is not in the graph, or `path` has
            another suffix.
    """
    for name, value in values.items():
        if len(value) != graph.total or value.dim() > 2:
            raise ValueError(
                f"{name} must be ({graph.total},) or ({graph.total}, dim), got {tuple(value.shape)}"
            )
    nodes = _is_of(graph, torch.arange(graph.total), node_types).nonzero().flatten()
    columns = _node_columns(graph, nodes, names)
    adjacent = len(nodes) > 0 and bool(nodes[-1] - nodes[0] == len(nodes) - 1)
    rows = slice(int(nodes[0]), int(nodes[-1]) + 1) if adjacent else nodes.numpy()
    for name, value in values.items():
        array = value.numpy(force=True)[rows]
        single = array.ndim == 1
        columns |= {name: array} if single else {f"{name}{i}": v for i, v in enumerate(array.T)}
    tables.write(path, columns)
