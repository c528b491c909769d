"""The ranked list of suspects, and tables of scores and embeddings, with the user's own ids.

The columns are described in data/README.md.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gadkit import store
from gadkit.graph import HeteroGraph
from gadkit.recommend import Scored
from gadkit.store import atomic_path, node_ids, tables
from gadkit.trees.recipe import Committee

LEARNED = "learned_from"  # columns of the list of suspects
SCORE, UNLABELLED_SCORE = "score", "score_without_labels"
AGAINST_REST = "score_against_the_rest"  # by frauds and others nobody has looked at: no probability
SCORE_NAMES = (SCORE, UNLABELLED_SCORE, AGAINST_REST)
SCORES = {"scores": store.RECIPE_SCORES, "network": store.GAT_SCORES}
EMBEDDINGS = {"embeddings": store.GAT_EMBEDDINGS, "stage1": store.GAE_EMBEDDINGS}
EXPORTS = [*SCORES, *EMBEDDINGS]  # what of a dataset folder can be had by node


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
    """Write the ranked list of suspects, as Parquet or Excel where `path` ends so and else as CSV.

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
        score: name of the score's column; `UNLABELLED_SCORE` says that no label was used,
            `AGAINST_REST` that the score only gives an order.

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
    order = order[_are_of_types(graph, order, node_types)]
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    order = order[:top]
    columns = {"rank": np.arange(1, len(order) + 1), **_node_columns(graph, order, names)}
    columns |= {score: scores[order].numpy(), "label": _label_of(graph, order)}
    if learned_from is not None:
        columns[LEARNED] = torch.isin(order, learned_from.cpu()).byte().numpy()
    if planted is not None:
        columns["planted"] = np.array([planted[node] for node in order.tolist()], dtype=object)
    if Path(path).suffix in (".parquet", ".xlsx"):
        tables.write(path, columns)
    else:
        _write_csv(path, columns)


def write_labelled(
    path: Path | str,
    folder: Path,
    graph: HeteroGraph,
    scores: Tensor,
    *,
    models: Path,
    top: int | None = None,
) -> None:
    """Write the list of the node types that trained models were taught about.

    Args:
        path: file to write, as `write_suspects`.
        folder: the dataset folder, for names and the answer key of a generated one.
        graph: of the folder.
        scores: (total,) float by global id.
        models: the dataset folder with the checkpoint of the models; if it is `folder`, the list
            says which nodes were learned from.
        top: list this many only; all by default.
    """
    best = store.load_checkpoint(models / store.GAT_CHECKPOINT)
    write_suspects(
        path,
        graph,
        scores,
        node_types=best["labelled_types"],
        top=top,
        names=node_ids.of_nodes(folder, graph),
        learned_from=best["learned_from"] if models == folder else None,
        planted=store.planted_names(folder),
    )


def write_unlabelled(path: Path | str, folder: Path, graph: HeteroGraph) -> None:
    """Write the list of the first node type by the autoencoder alone, which needs no labels."""
    write_suspects(
        path,
        graph,
        store.load_array(folder, store.GAE_SCORES, rows=graph.total),
        node_types=graph.node_types[:1],
        names=node_ids.of_nodes(folder, graph),
        planted=store.planted_names(folder),
        score=UNLABELLED_SCORE,
    )


def write_recommended(
    path: Path | str, folder: Path, fitted: Committee, *, top: int | None = None
) -> None:
    """Write the list of what `gadkit.recommend` has made of a folder."""
    graph = fitted.views.graph
    write_suspects(
        path,
        graph,
        fitted.scores.nan_to_num(0.0),
        node_types=fitted.views.types,
        top=top,
        names=node_ids.of_nodes(folder, graph),
        learned_from=torch.cat([part[:, 0] for part in fitted.split[:2]]),
        planted=store.planted_names(folder),
        score=SCORE if fitted.is_calibrated else AGAINST_REST,
    )


def write_scored(path: Path | str, folder: Path, scored: Scored, *, top: int | None = None) -> None:
    """Write the list of what a saved recipe says of a folder, see `gadkit.recommend.score`."""
    write_suspects(
        path,
        scored.graph,
        scored.scores.nan_to_num(0.0),
        node_types=scored.types,
        top=top,
        names=node_ids.of_nodes(folder, scored.graph),
        learned_from=scored.known if len(scored.known) else None,
        planted=store.planted_names(folder),
    )


def check_same_features(folder: Path, models: Path) -> None:
    """Refuse models that learned from other columns; as many of them is not enough.

    Raises:
        ValueError: the folders name a feature of a node type differently.
    """
    ours, theirs = (store.read_about(path).get("features", {}) for path in (folder, models))
    for node_type in ours.keys() & theirs.keys():
        for column, pair in enumerate(zip(ours[node_type], theirs[node_type], strict=False)):
            if pair[0] != pair[1]:
                raise ValueError(
                    f"feature {column} of a {node_type} is {pair[0]} in {folder}, but the models "
                    f"in {models} have learned from {pair[1]}; make both of tables with the same "
                    "roles"
                )


def exported(folder: Path, graph: HeteroGraph, what: str) -> dict[str, Tensor]:
    """Read scores or embeddings of a dataset folder, for `write_nodes`.

    Args:
        folder: the dataset folder.
        graph: of the folder; if it has no labels, scores are those made without any.
        what: one of `EXPORTS`.

    Returns:
        By column name (total,) or (total, dim).
    """
    if what in EMBEDDINGS:
        return {"z": store.load_array(folder, EMBEDDINGS[what], rows=graph.total)}
    if graph.labels is not None:
        return {SCORE: store.load_array(folder, SCORES[what], rows=graph.total)}
    return {UNLABELLED_SCORE: store.load_array(folder, store.GAE_SCORES, rows=graph.total)}


def _are_of_types(graph: HeteroGraph, nodes: Tensor, node_types: list[str] | None) -> Tensor:
    """Say which of the given global ids are of the given types."""
    node_types = graph.node_types if node_types is None else node_types
    strange = set(node_types) - set(graph.node_types)
    if strange:
        raise ValueError(f"node types {sorted(strange)} are not in {graph.node_types}")
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
    label = graph.label_of_nodes().cpu()[nodes].to(torch.int8)
    return np.ma.masked_less(label.numpy(), 0)


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
    """Write a number or a vector of every node as .parquet, .csv or .xlsx, by global id.

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
    nodes = _are_of_types(graph, torch.arange(graph.total), node_types).nonzero().flatten()
    columns = _node_columns(graph, nodes, names)
    adjacent = len(nodes) > 0 and bool(nodes[-1] - nodes[0] == len(nodes) - 1)
    rows = slice(int(nodes[0]), int(nodes[-1]) + 1) if adjacent else nodes.numpy()
    for name, value in values.items():
        array = value.numpy(force=True)[rows]
        single = array.ndim == 1
        columns |= {name: array} if single else {f"{name}{i}": v for i, v in enumerate(array.T)}
    tables.write(path, columns)
