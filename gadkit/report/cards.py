"""Case cards of a list that was made in one step, by `gadkit recommend` or `gadkit score`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gadkit.explain import cases
from gadkit.recommend import Scored
from gadkit.report.queue import Queue
from gadkit.store import node_ids
from gadkit.trees.recipe import Committee

SHOWN = 20  # of each queue
DRAWS = 10  # bootstrap samples behind the interval of a score


def of_fitted(folder: Path, fitted: Committee, queues: Sequence[Queue]) -> list[dict]:
    """Make the cards of the first of each queue, by the detector that has made the list.

    Those of a bag, which is no detector whose columns could be asked, say whom suspects meet.

    Args:
        folder: the dataset folder.
        fitted: of `recommend`.
        queues: of its scores.
    """
    graph, suspects = fitted.views.graph, _heads(queues)
    names = node_ids.of_nodes(folder, graph)
    if fitted.is_calibrated:
        return cases.of_suspects(graph, suspects, fitted, names=names, draws=DRAWS)
    return cases.of_company(graph, suspects, fitted.scores, fitted.split.train, names=names)


def of_scored(folder: Path, scored: Scored, queues: Sequence[Queue], *, models: Path) -> list[dict]:
    """Make the cards of the first of each queue, with whom they meet of those known before.

    Args:
        folder: the dataset folder.
        scored: what a saved recipe says of it.
        queues: of its scores.
        models: the dataset folder in which the recipe was saved.
    """
    graph, suspects, memory = scored.graph, _heads(queues), scored.memory
    names = node_ids.of_nodes(folder, graph)
    if memory is None:  # the graph that the recipe was fitted on, or a copy of it
        nobody = torch.empty(0, 2, dtype=torch.int64)
        labels = nobody if graph.labels is None else graph.labels
        labels = labels[torch.isin(labels[:, 0], scored.known)]
        return cases.of_company(graph, suspects, scored.scores, labels, names=names)
    place, joined = _places(scored), memory.graph
    is_there = place >= 0
    scores = torch.full((joined.total,), torch.nan, dtype=torch.float64)
    scores[place[is_there]] = scored.scores[is_there]
    names = _joined_names(scored, place, names, models)
    cards = cases.of_company(joined, place[suspects], scores, memory.labels, names=names)
    for card, node in zip(cards, suspects.tolist(), strict=True):
        card["node"] = node  # of the folder, as in the list
    return cards


def _heads(queues: Sequence[Queue]) -> Tensor:
    return torch.cat([queue.nodes[: min(SHOWN, queue.size)] for queue in queues])


def _places(scored: Scored) -> Tensor:
    """Return (total,) int64 where each node stands in the graph with those known before, or -1."""
    place = torch.full((scored.graph.total,), -1)
    aligned, joined = scored.aligned.graph, scored.memory.graph
    for node_type in aligned.node_types:
        ids = scored.aligned.ids[aligned.span(node_type)]
        place[ids] = joined.offset(node_type) + torch.arange(len(ids))
    return place


def _joined_names(
    scored: Scored, place: Tensor, names: np.ndarray | None, models: Path
) -> np.ndarray | None:
    """Return what the user calls the nodes of the graph with those known before."""
    if names is None:
        return None
    joined, is_there = scored.memory.graph, (place >= 0).numpy()
    out = np.full(joined.total, "", dtype=object)
    out[place.numpy()[is_there]] = names[is_there]
    for node_type, nodes in scored.memory.beside.items():
        before = node_ids.load(models, node_type, rows=scored.memory.old_num_nodes[node_type])
        if before is not None:
            start = joined.offset(node_type) + scored.aligned.graph.num_nodes[node_type]
            out[start : start + len(nodes)] = before[nodes.numpy()]
    return out
