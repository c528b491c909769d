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
from gadkit.report.queue import Evidence, Queue, held_out
from gadkit.store import atomic_path, node_ids, tables
from gadkit.trees.recipe import Committee

LEARNED = "learned_from"  # columns of the list of suspects
SCORE, UNLABELLED_SCORE = "score", "score_without_labels"
AGAINST_REST = "score_against_the_rest"  # by frauds and others nobody has looked at: no probability
SCORES = {"scores": store.RECIPE_SCORES, "network": store.GAT_SCORES}
EMBEDDINGS = {"embeddings": store.GAT_EMBEDDINGS, "stage1": store.GAE_EMBEDDINGS}
EXPORTS = [*SCORES, *EMBEDDINGS]  # what of a dataset folder can be had by node


def write_suspects(path: Path | str, table: dict[str, np.ndarray]) -> None:
    """Write the list of suspects, as Parquet or Excel where `path` ends so and else as CSV.

    Args:
        path: file to write.
        table: of `table_of`.
    """
    if Path(path).suffix in (".parquet", ".xlsx"):
        tables.write(path, table)
    else:
        _write_csv(path, table)


def table_of(
    graph: HeteroGraph,
    evidence: Evidence,
    listed: Sequence[Queue],
    *,
    names: np.ndarray | None = None,
    planted: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Return the columns of the list of suspects, one queue below the other.

    They are rank (from 1 in each queue), node (global id), type, id within the type, name (what the
    user calls the node), score, probability (of fraud) and group (the rank of the first member of a
    node's group). Each is left out where nothing is known of it. Where nodes with a label are
    listed, it follows in label, and learned_from is 1 for those whose label trained the model or
    chose what is used of it: their rank says nothing about the model. planted is what a node of a
    generated marketplace really is.

    Args:
        graph: where types and labels come from.
        evidence: scores of all nodes.
        listed: queues of `queue.queues`.
        names: what the user calls each node, by global id; see `node_ids.of_nodes`.
        planted: name of what each node really is, by global id.
    """
    nodes = torch.cat([queue.nodes for queue in listed])
    ranks = [np.arange(1, len(queue.nodes) + 1) for queue in listed]
    columns = {"rank": np.concatenate(ranks), **_node_columns(graph, nodes, names)}
    columns[_score_name(evidence)] = evidence.scores.detach().cpu()[nodes].numpy()
    probability = torch.cat([queue.probability for queue in listed]).numpy()
    if not np.isnan(probability).all():
        columns["probability"] = np.ma.masked_invalid(probability)
    columns["group"] = np.ma.masked_equal(torch.cat([queue.group for queue in listed]).numpy(), 0)
    label = _label_of(graph, nodes)
    if label.count():
        learned = torch.isin(nodes, evidence.learned_from.cpu())
        columns |= {"label": label, LEARNED: learned.byte().numpy()}
    if planted is not None:
        columns["planted"] = np.array([planted[node] for node in nodes.tolist()], dtype=object)
    return columns


def _score_name(evidence: Evidence) -> str:
    if evidence.unlabelled:
        return UNLABELLED_SCORE
    return AGAINST_REST if evidence.is_order else SCORE


def table_in(
    folder: Path, graph: HeteroGraph, evidence: Evidence, listed: Sequence[Queue]
) -> dict[str, np.ndarray]:
    """Return `table_of`, with the names and the answer key that a dataset folder keeps."""
    names, planted = node_ids.of_nodes(folder, graph), store.planted_names(folder)
    return table_of(graph, evidence, listed, names=names, planted=planted)


def evidence_of_run(folder: Path, graph: HeteroGraph) -> Evidence:
    """Read what a run has left in a dataset folder: scores of the recipe, or of the first stage.

    Without labels these are the autoencoder's, for the first node type, as other types have other
    levels of that score.
    """
    if graph.labels is None:
        nobody = torch.empty(0, dtype=torch.int64)
        return Evidence(
            scores=store.load_array(folder, store.GAE_SCORES, rows=graph.total),
            types=graph.node_types[:1],
            learned_from=nobody,
            held_out=held_out(nobody, None, nobody),
            unlabelled=True,
        )
    scores = store.load_array(folder, store.RECIPE_SCORES, rows=graph.total)
    return evidence_of_models(folder, graph, scores, models=folder)


def evidence_of_models(
    folder: Path, graph: HeteroGraph, scores: Tensor, *, models: Path
) -> Evidence:
    """Say what scores by trained models are worth.

    Args:
        folder: the dataset folder.
        graph: of the folder.
        scores: (total,) float by global id.
        models: the dataset folder with the checkpoint of the models. If it is `folder`, the labels
            that they have not learned from say what a score is worth; else all labels of `folder`.
    """
    best = store.load_checkpoint(models / store.GAT_CHECKPOINT)
    same = models.resolve() == folder.resolve()
    learned_from = best["learned_from"] if same else torch.empty(0, dtype=torch.int64)
    return Evidence(
        scores=scores,
        types=best["labelled_types"],
        learned_from=learned_from,
        held_out=held_out(scores, graph.labels, learned_from),
    )


def evidence_of_recipe(fitted: Committee) -> Evidence:
    """Say what the scores of a fitted recipe are worth, by the test part of its split.

    Those of a bag, which has learned from all labels, are an order alone.
    """
    scores = fitted.scores.nan_to_num(0.0)
    learned_from = torch.cat([part[:, 0] for part in fitted.split[:2]])
    return Evidence(
        scores=scores,
        types=fitted.views.types,
        learned_from=learned_from,
        held_out=held_out(scores, fitted.split.test, learned_from),
        is_order=not fitted.is_calibrated,
    )


def evidence_of_scored(scored: Scored) -> Evidence:
    """Say what the scores by a saved recipe are worth.

    Only labels of the folder itself that the recipe has not seen say so. Those of the folder that
    it learned from do not: there the same score was given to accounts with more events, or fewer.

    Args:
        scored: what the recipe says of a folder.
    """
    scores = scored.scores.nan_to_num(0.0)
    return Evidence(
        scores=scores,
        types=scored.types,
        learned_from=scored.known,
        held_out=held_out(scores, scored.graph.labels, scored.known),
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
        map(_digits, column.tolist()) if column.dtype.kind == "f" else column.tolist()
        for column in columns.values()
    ]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*values, strict=True))


def _digits(value: float | None) -> str:
    """Write a number with nine digits, which tell any two float32 apart; nothing for None."""
    return "" if value is None else f"{value:.9g}"


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
