"""Averages of several trainings, and the recipe that needs no choice by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gadkit.evaluation.metrics import auprc_error, average_precision
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph
from gadkit.network.finetune import Finetuned, Recipe, Schedule, finetune_gat
from gadkit.network.gae import train_gae
from gadkit.network.gat import Architecture
from gadkit.ops.threads import evenly, same_bits

RECIPE = Recipe(
    Architecture(
        hidden_dim=64,
        residual=True,
        features=True,
        transform="quantile",
        degrees=True,
        label_input=True,
        dropout=0.3,
    ),
    Schedule(
        epochs=200,
        lr=1e-2,
        weight_decay=1e-3,
        smoothness=0.0,
        label_share=0.5,
        drop_edge=0.5,
        keep_edges=8.0,
        eval_every=5,
        patience=60,
    ),
)
VARIANTS = (  # which `train_network` trains
    RECIPE,
    # long, hardly held back
    RECIPE.replace(embeddings=False, weight_decay=1e-4, epochs=400),
    # slow, held back
    RECIPE.replace(embeddings=False, weight_decay=5e-3, dropout=0.5, lr=4e-3),
)


@dataclass
class Ensemble:
    """What several trainings found together; it has what `Finetuned` has, but for the one model.

    Attributes:
        members: the trainings.
        z: (total, members * hidden_dim) their embeddings, side by side.
        logits: (total,) the mean of theirs.
        scores: (total,) in [0, 1], the sigmoid of it, the higher the more suspicious.
        history: their records, each with the number of its "member".
        best: "val_auprc" of the mean, and the checkpoints of the members under "members".
    """

    members: list[Finetuned]
    z: Tensor
    logits: Tensor
    scores: Tensor
    history: list[dict]
    best: dict


@same_bits()
def train_ensemble(
    graph: HeteroGraph,
    z: Tensor,
    split: Split,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    checkpoint: Path | str | None = None,
    **options,
) -> Ensemble:
    """Train the same network from several seeds and average the logits.

    Seeds change the first weights and every draw of training, never the split, so the mean has less
    of what chance put into each (Lakshminarayanan et al., NeurIPS 2017).

    Args:
        graph, z, split: as in `finetune_gat`.
        seeds: one training each.
        checkpoint: file to resume from; every training adds its seed to the name.
        options: of `finetune_gat`, the same for all.

    Raises:
        ValueError: there are no seeds, or what `finetune_gat` raises.
    """
    if len(seeds) == 0:
        raise ValueError("an ensemble needs at least one seed, got none")
    members = []
    for seed in seeds:
        path = None if checkpoint is None else Path(checkpoint)
        path = path and path.with_name(f"{path.stem}_{seed}{path.suffix}")
        members.append(finetune_gat(graph, z, split, seed=seed, checkpoint=path, **options))
    return _average(members, split)


def _average(members: list[Finetuned], split: Split) -> Ensemble:
    logits = torch.stack([member.logits for member in members]).mean(0)
    ids, y_true = split.val.cpu().unbind(1)
    best = {
        "val_auprc": average_precision(y_true, logits[ids]),
        "members": [member.best for member in members],
    }
    history = [
        record | {"member": number}
        for number, member in enumerate(members)
        for record in member.history
    ]
    embedding = torch.cat([member.z for member in members], 1)
    return Ensemble(members, embedding, logits, evenly(torch.sigmoid, logits), history, best)


@same_bits()
def train_network(
    graph: HeteroGraph,
    split: Split,
    *,
    z: Tensor | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Ensemble:
    """Train both stages with options that need no choice by hand.

    No single training is best everywhere. Where nodes have many neighbors, the embeddings of the
    first stage help; where they have one or two, they invite learning by heart. And some graphs ask
    for a tighter hold on the weights than others. So the second stage is trained in the three
    `VARIANTS` of `RECIPE`, and those that validate within a standard error of the best, see
    `metrics.auprc_error`, are averaged.

    Args:
        graph: with features; on the device to train on.
        split: labels to train on and to choose by; `split.test` is not touched.
        z: (total, dim) embeddings of the first stage; None trains it.
        seed: of both stages.
        progress: whether to show bars.

    Raises:
        ValueError: the graph has no features, or what `finetune_gat` raises.
    """
    if z is None:
        z = train_gae(graph, seed=seed, progress=progress).z
    candidates = [
        finetune_gat(graph, z, split, **variant._asdict(), seed=seed, progress=progress)
        for variant in VARIANTS
    ]
    best = max(member.best["val_auprc"] for member in candidates)
    threshold = best - auprc_error(best, int(split.val[:, 1].sum()))
    members = [member for member in candidates if member.best["val_auprc"] >= threshold]
    return _average(members, split)
