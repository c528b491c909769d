"""Stage 2: training of the graph attention network, which learns fraud from a few labels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gadkit.evaluation.metrics import average_precision
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph, check_finite, checksum
from gadkit.network.field import is_small
from gadkit.network.gat import Architecture, HeteroGAT, shown_labels
from gadkit.network.run import (
    Checkpoint,
    code_checksum,
    epoch_generator,
    epoch_seed,
    feature_dims,
    remaining_epochs,
)
from gadkit.ops.buffers import reused
from gadkit.ops.threads import evenly, same_bits

SMOOTHNESS_EDGES = 500  # sampled per relation and epoch for that term of the loss


@dataclass(frozen=True)
class Schedule:
    """How the attention network is trained: steps, loss, what is left out, and when to stop.

    Attributes:
        epochs: full-graph steps of Adam.
        lr: learning rate.
        weight_decay: of Adam, on all weights.
        smoothness: weight of the smoothness term of the loss, for all relations or by relation
            name. It assumes that neighbors are alike, which fraudsters who hide among honest users
            contradict: then give it per relation, or set it to 0.
        pos_weight: how much a training anomaly counts, where a normal node counts 1.
        focal_gamma: exponent of the focal loss, which lets nodes already told apart count less (Lin
            et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 4); 0 is cross-entropy.
        label_share: share of the training labels, drawn anew, that every step shows to a network
            with `Architecture.label_input`; its loss is then on the others. Validation and scores
            are made with all training labels shown, and no other.
        drop_edge: share of edges left out of every step.
        keep_edges: how many edges of a stream every step keeps, on average, for a destination that
            has any: a review that loses its only author half of the time learns little from it.
        eval_every: epochs between validations, on all edges.
        patience: epochs without a better validation after which training ends; None trains to the
            last epoch.

    Raises:
        ValueError: an option is out of its range.
    """

    epochs: int = 100
    lr: float = 1e-3
    weight_decay: float = 0.0
    smoothness: float | dict[str, float] = 0.5
    pos_weight: float = 1.0
    focal_gamma: float = 0.0
    label_share: float = 0.5
    drop_edge: float = 0.85
    keep_edges: float = 0.0
    eval_every: int = 10
    patience: int | None = None

    def __post_init__(self):
        if self.epochs < 1 or self.eval_every < 1:
            raise ValueError(
                f"epochs and eval_every must be at least 1, got {self.epochs} and {self.eval_every}"
            )
        if self.patience is not None and self.patience < self.eval_every:
            raise ValueError(
                "patience must be at least eval_every, or it ends before it could see a gain; got "
                f"{self.patience} and {self.eval_every}"
            )
        for name in ("lr", "weight_decay", "focal_gamma", "keep_edges"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        is_named = isinstance(self.smoothness, dict)
        weights = self.smoothness.values() if is_named else [self.smoothness]
        if not all(weight >= 0 for weight in weights):
            raise ValueError(f"smoothness must not be negative, got {self.smoothness}")
        if not 0 < self.pos_weight < float("inf"):
            raise ValueError(f"pos_weight must be positive, got {self.pos_weight}")
        if not 0 < self.label_share < 1:
            raise ValueError(f"label_share must be in (0, 1), got {self.label_share}")
        if not 0 <= self.drop_edge < 1:
            raise ValueError(f"drop_edge must be in [0, 1), got {self.drop_edge}")


class Recipe(NamedTuple):
    """A network and its training, by the names of `finetune_gat`: pass `**recipe._asdict()`."""

    architecture: Architecture = Architecture()
    schedule: Schedule = Schedule()

    def replace(self, **options) -> "Recipe":
        """Return a recipe that differs in some fields of `Architecture` or `Schedule`.

        Raises:
            TypeError: neither has such a field.
            ValueError: an option is out of its range.
        """
        names = [field.name for field in fields(Architecture) if field.name in options]
        parts = {name: options.pop(name) for name in names}
        return Recipe(replace(self.architecture, **parts), replace(self.schedule, **options))


PUBLISHED = Recipe()  # what gadkit started from


@dataclass
class Finetuned:
    """What `finetune_gat` found: the model of the epoch with the best validation AUPRC, on the CPU.

    Attributes:
        model: the network.
        z: (total, hidden_dim) its embeddings.
        logits: (total,) of every node, with all training labels shown if it takes labels as input.
        scores: (total,) in [0, 1], the sigmoid of them, the higher the more suspicious.
        history: one record per epoch; "val_auprc" only in the epochs that were validated.
        best: the checkpoint of that epoch: "epoch", "val_auprc", "architecture", "model" and
            "learned_from", the ids of the nodes whose labels it has seen; see `load_gat`.
    """

    model: HeteroGAT
    z: Tensor
    logits: Tensor
    scores: Tensor
    history: list[dict]
    best: dict


@same_bits()
@reused()
def finetune_gat(
    graph: HeteroGraph,
    z: Tensor,
    split: Split,
    *,
    architecture: Architecture = PUBLISHED.architecture,
    schedule: Schedule = PUBLISHED.schedule,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    progress: bool = True,
    callback: Callable[[dict], None] | None = None,
) -> Finetuned:
    """Train the heterogeneous GAT on the labelled nodes; the unlabelled take part as neighbors.

    Loss: binary cross-entropy on the training labels, plus `Schedule.smoothness` times the mean
    squared difference of the scores at the ends of sampled edges, per relation.

    The defaults are those of the `PUBLISHED` recipe; `train_network` has the one that scores best.

    Args:
        graph: the graph, on the device to train on.
        z: (total, dim) input embeddings, such as those of `train_gae`.
        split: labels to train on and to choose the best epoch by; `split.test` is not touched.
        architecture: what the network is made of.
        schedule: how it is trained.
        seed: of weights, dropped edges and sampled edges.
        checkpoint: file to resume from and to save to every few epochs.
        progress: whether to show a bar.
        callback: called with each epoch's record {"epoch", "loss", and at validations "val_auprc"}.

    Raises:
        ValueError: z does not fit the graph or is not finite, smoothness names no relation, or
            features are wanted but there are none.
    """
    _check_embeddings(graph, z)
    schedule = replace(schedule, smoothness=_smoothness_weights(graph, schedule.smoothness))
    split = Split(*(part.cpu() for part in split))
    model = _new_model(graph, z.shape[1], architecture, seed)
    inputs = model.inputs(graph, z.to(graph.device), fit=True)
    adam = {"lr": schedule.lr, "weight_decay": schedule.weight_decay}
    optimizer = torch.optim.Adam(model.parameters(), **adam)
    config = {
        "architecture": model.config, "schedule": asdict(schedule), "graph": graph.fingerprint,
        "device": graph.device.type, "code": code_checksum(), "z": checksum(z),
        "split": [checksum(part) for part in split],
    }  # fmt: skip
    run = Checkpoint(checkpoint, config, model, optimizer)
    train, epochs = split.train.to(graph.device), schedule.epochs
    all_shown = shown_labels(graph, train) if architecture.label_input else None
    options = {"progress": progress, "patience": schedule.patience}
    for epoch, record in remaining_epochs(run, epochs, "heterogeneous GAT", **options):
        optimizer.zero_grad()
        loss = _loss(model, graph, inputs, train, schedule, seed, epoch)
        loss.backward()
        optimizer.step()
        record["loss"] = loss.item()
        if epoch % schedule.eval_every == 0 or epoch == epochs:
            record["val_auprc"] = _validate(model, graph, inputs, all_shown, split.val)
            if record["val_auprc"] > run.best.get("val_auprc", -1):
                run.best = _snapshot(model, graph, split) | record
        if callback:
            callback(record)
    return _with_best_weights(model, graph, inputs, all_shown, run)


def _check_embeddings(graph: HeteroGraph, z: Tensor) -> None:
    if z.dim() != 2 or len(z) != graph.total:
        raise ValueError(f"z must have shape ({graph.total}, dim), got {tuple(z.shape)}")
    check_finite(z, "z")


def _smoothness_weights(
    graph: HeteroGraph, smoothness: float | dict[str, float]
) -> dict[str, float]:
    """Return the weight of the smoothness term of every relation."""
    relations = [name for _, name, _ in graph.edge_types]
    if not isinstance(smoothness, dict):
        smoothness = dict.fromkeys(relations, smoothness)
    unknown = set(smoothness) - set(relations)
    if unknown:
        raise ValueError(f"smoothness names {sorted(unknown)}, but the relations are {relations}")
    return {name: float(smoothness.get(name, 0.0)) for name in relations}


def _new_model(graph: HeteroGraph, in_dim: int, architecture: Architecture, seed: int) -> HeteroGAT:
    """Return an untrained network for a graph, on its device."""
    destinations = [dst for _, (_, _, dst), _ in graph.streams]
    degree_dims = {name: destinations.count(name) for name in graph.node_types}
    return HeteroGAT(
        [name for _, name, _ in graph.edge_types],
        in_dim,
        architecture,
        feature_dims=feature_dims(graph) if architecture.features else None,
        degree_dims=degree_dims if architecture.degrees else None,
        seed=seed,
    ).to(graph.device)


def _snapshot(model: HeteroGAT, graph: HeteroGraph, split: Split) -> dict:
    """Return a copy of the model as it is, with what it has learned from."""
    return {
        "model": {name: value.cpu().clone() for name, value in model.state_dict().items()},
        "architecture": model.config,
        "learned_from": torch.cat([split.train[:, 0], split.val[:, 0]]),
        "labelled_types": graph.labelled_types,
    }


@torch.no_grad()
def _with_best_weights(
    model: HeteroGAT, graph: HeteroGraph, inputs: dict, shown: Tensor | None, run: Checkpoint
) -> Finetuned:
    """Put the weights of the best epoch back and say what they make of the graph."""
    model.load_state_dict(run.best["model"])
    z = model.embed(graph, inputs, shown=shown)
    logits = model.classify(z).cpu()
    return Finetuned(
        model.cpu(), z.cpu(), logits, evenly(torch.sigmoid, logits), run.history, run.best
    )


def _loss(
    model: HeteroGAT,
    graph: HeteroGraph,
    inputs: dict[str, Tensor],
    train: Tensor,
    schedule: Schedule,
    seed: int,
    epoch: int,
) -> Tensor:
    """Return the loss of one step; all that it draws is decided by seed and epoch."""
    generator, number = epoch_generator(seed, epoch), epoch_seed(seed, epoch)
    shown, rest = None, train
    if model.architecture.label_input:
        shown, rest = _show_some(graph, train, schedule.label_share, generator)
    pairs = _sample_ends(graph, schedule.smoothness, generator)
    logits = model(
        graph,
        inputs,
        shown=shown,
        drop_edge=schedule.drop_edge,
        keep_edges=schedule.keep_edges,
        generator=torch.Generator(graph.device).manual_seed(number),
        seed=number,
        nodes=_if_few(graph, rest[:, 0], *(ids for _, *ends in pairs for ids in ends)),
    )
    loss = _label_loss(logits, rest, schedule.pos_weight, schedule.focal_gamma)
    return loss + _smoothness(logits.sigmoid(), pairs)


def _if_few(graph: HeteroGraph, *ids: Tensor) -> Tensor | None:
    """Return nodes, ascending and each once; None where they have so many edges that all may be
    computed as well."""
    nodes = torch.cat(ids).unique()
    return nodes if is_small(graph, nodes) else None


def _show_some(
    graph: HeteroGraph, train: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the training labels to show in a step; return them, and those left for the loss."""
    order = torch.randperm(len(train), generator=generator).to(train.device)
    count = int(share * len(train))  # fewer than all
    return shown_labels(graph, train[order[:count]]), train[order[count:]]


def _label_loss(logits: Tensor, labels: Tensor, pos_weight: float, gamma: float) -> Tensor:
    """Return the mean loss of labelled nodes; labels are (n, 2) rows [global id, 1 = anomaly]."""
    ids, y_true = labels.unbind(1)
    logits, target = logits[ids], y_true.to(logits.dtype)
    loss = binary_cross_entropy_with_logits(logits, target, reduction="none")
    if gamma:
        missed = torch.where(y_true == 1, -logits, logits).sigmoid()  # 1 - p of the right class
        loss = loss * missed**gamma
    return torch.where(y_true == 1, pos_weight * loss, loss).mean()


def _sample_ends(
    graph: HeteroGraph, weights: dict[str, float], generator: torch.Generator
) -> list[tuple[float, Tensor, Tensor]]:
    """Sample the edges that the smoothness term is about: weight and global ids of both ends."""
    pairs = []
    for (src_type, name, dst_type), csr in graph.edges.items():
        if weights[name] > 0:
            src, dst = csr.sample(SMOOTHNESS_EDGES, generator)
            pairs.append(
                (weights[name], src + graph.offset(src_type), dst + graph.offset(dst_type))
            )
    return pairs


def _smoothness(scores: Tensor, pairs: list[tuple[float, Tensor, Tensor]]) -> Tensor | float:
    """Return the weighted sum over relations of how much the ends of sampled edges differ."""
    total = 0.0
    for weight, src, dst in pairs:
        is_edge = src != dst  # a self-loop is smooth by itself
        # Not scores[...], whose gradient adds up repeated nodes as threads come by.
        ends = (scores.index_select(0, ids[is_edge]) for ids in (src, dst))
        difference = torch.sub(*ends)
        total = total + weight * difference.square().sum() / max(1, int(is_edge.sum()))
    return total


@torch.no_grad()
def _validate(
    model: HeteroGAT, graph: HeteroGraph, inputs: dict, shown: Tensor | None, labels: Tensor
) -> float:
    nodes = _if_few(graph, labels[:, 0].to(graph.device))
    logits = model(graph, inputs, shown=shown, nodes=nodes).cpu()
    return average_precision(labels[:, 1], logits[labels[:, 0]])
