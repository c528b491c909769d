"""Training: stage 1 learns the graph's structure without labels, stage 2 learns fraud from a few.

Every epoch draws from generators seeded by (seed, epoch) alone. So a run that was killed and
resumed from its checkpoint meets the same random numbers as one that was not, and ends at the same
bytes.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import gadkit
from gadkit import store
from gadkit.evaluation.metrics import auprc_error, average_precision, roc_auc
from gadkit.evaluation.splits import Split, stratified
from gadkit.graph import HeteroGraph, check_finite, checksum
from gadkit.network.layers import GAE, NORMAL, UNKNOWN, HeteroGAT
from gadkit.ops._cuda import KERNELS

LEARNING_RATE = 1e-3
SMOOTHNESS = 0.5  # weight of the smoothness term
SMOOTHNESS_EDGES = 5_000  # sampled per relation and epoch for that term
DROP_EDGE = 0.85
CHECKPOINT_EVERY = 10  # epochs
RECIPE = {  # of `network`
    "hidden_dim": 64,
    "residual": True,
    "features": True,
    "transform": "quantile",
    "degrees": True,
    "smoothness": 0.0,
    "drop_edge": 0.5,
    "keep_edges": 8.0,
    "dropout": 0.3,
    "weight_decay": 1e-3,
    "label_input": 0.5,
    "epochs": 200,
    "lr": 1e-2,
    "eval_every": 5,
    "patience": 60,
}
VARIANTS = (  # of it, which `network` trains
    {},
    {"embeddings": False, "weight_decay": 1e-4, "epochs": 400},  # long, hardly held back
    {"embeddings": False, "weight_decay": 5e-3, "dropout": 0.5, "lr": 4e-3},  # slow, held back
)


def _code() -> int:
    """Return a checksum of the code that decides a training, which a checkpoint must match."""
    package = Path(gadkit.__file__).parent
    rooms = [path for room in ("graph", "network", "ops") for path in (package / room).glob("*.py")]
    files = sorted([*rooms, *KERNELS.glob("*.cu*")])
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


def check_trainable(graph: HeteroGraph) -> None:
    """Check that the stages can be trained: features, and where there are labels, enough to split.

    A graph without labels is one for stage 1 alone.

    Raises:
        ValueError: they cannot; the message says what is missing.
    """
    _feature_dims(graph)
    if graph.labels is not None:
        stratified(graph.labels)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def sample_pairs(
    graph: HeteroGraph, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw edges, and as many pairs that are none but join nodes of the same two types.

    Args:
        graph: the graph; pairs are over its homogeneous view, by global id.
        count: number of edges to draw; self-loops among them are left out.
        generator: of the draw.

    Returns:
        src, dst, target: (num_pairs,) int64, int64 and float32, 1 for edges. A source for whom no
        partner was found in a few tries gets no second pair.

    Raises:
        ValueError: only self-loops were drawn, or no partner was found for any source.
    """
    csr = graph.homogeneous
    src, dst = csr.sample(count, generator)
    src, dst = src[src != dst], dst[src != dst]
    node_type = graph.node_type_of(dst)
    first = src.new_tensor([graph.offset(name) for name in graph.node_types])[node_type]
    size = src.new_tensor([graph.num_nodes[name] for name in graph.node_types])[node_type]
    partner = torch.empty_like(dst)
    open_ = torch.arange(len(src), device=src.device)  # pairs still without a partner
    for _ in range(4):
        # Drawn on the CPU, so that every device gets the same pairs.
        chance = torch.rand(len(open_), generator=generator, dtype=torch.float64).to(src.device)
        partner[open_] = first[open_] + (chance * size[open_]).long()
        open_ = open_[csr.contains(src[open_], partner[open_])]
    found = torch.ones_like(src, dtype=torch.bool)
    found[open_] = False
    if not found.any():
        raise ValueError(
            f"{count} draws gave {len(src)} edges and not one pair that is none; draw more, "
            "unless the graph has self-loops alone or joins every pair of nodes"
        )
    src, dst = torch.cat([src, src[found]]), torch.cat([dst, partner[found]])
    target = (torch.arange(len(src), device=src.device) < len(found)).float()
    return src, dst, target


class Checkpoint:
    """Where a training run stands, on disk.

    Args:
        path: the file, or None to keep nothing.
        config: everything that decides the result; a file made under another config is ignored.
        model: its weights are saved and restored.
        optimizer: likewise.
    """

    def __init__(self, path: Path | str | None, config: dict, model, optimizer):
        self.path = None if path is None else Path(path)
        self.config, self.model, self.optimizer = config, model, optimizer
        self.history: list[dict] = []
        self.best: dict = {}

    def restore(self) -> int:
        """Take up a saved run; return the number of epochs it has done, 0 if there is none."""
        if self.path is None or not self.path.exists():
            return 0
        state = store.load_checkpoint(self.path)
        if state.get("config") != self.config:
            return 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.best = state["history"], state["best"]
        return len(self.history)

    def save(self) -> None:
        """Write the run as it stands, atomically."""
        if self.path is not None:
            state = {
                "config": self.config,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
                "best": self.best,
            }
            store.save_checkpoint(self.path, state)


def _epochs(
    checkpoint: Checkpoint, epochs: int, name: str, progress: bool, patience: int | None = None
) -> Iterator[tuple[int, dict]]:
    """Yield (epoch, record to fill) for the epochs not done yet; show a bar, save now and then.

    With patience, end as soon as the best epoch lies that many back.
    """
    done = checkpoint.restore()
    with _bar(total=epochs, initial=done, desc=name) if progress else nullcontext() as bar:
        for epoch in range(done + 1, epochs + 1):
            if patience and epoch > checkpoint.best.get("epoch", epoch) + patience:
                checkpoint.save()
                break
            record = {"epoch": epoch}
            yield epoch, record
            checkpoint.history.append(record)
            if epoch % CHECKPOINT_EVERY == 0 or epoch == epochs:
                checkpoint.save()
            if bar:
                shown = {key: f"{value:.4f}" for key, value in record.items() if key != "epoch"}
                bar.set_postfix(shown, refresh=False)
                bar.update()


def _bar(**options):
    from tqdm import tqdm

    return tqdm(unit="epoch", **options)


@dataclass
class Pretrained:
    """What `train_gae` found; on the CPU, wherever it was trained.

    Attributes:
        model: the autoencoder.
        z: (total, out_dim) its embeddings.
        history: one record per epoch.
        best: the checkpoint of the model, "architecture" and "model"; see `load_gae`.
    """

    model: GAE
    z: Tensor
    history: list[dict]
    best: dict


def train_gae(
    graph: HeteroGraph,
    *,
    hidden_dim: int = 128,
    out_dim: int = 128,
    epochs: int = 60,
    lr: float = 1e-2,
    num_pairs: int = 131_072,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    progress: bool = True,
    callback: Callable[[dict], None] | None = None,
) -> Pretrained:
    """Train the graph autoencoder to tell edges from pairs that are none; no label is used.

    Kipf and Welling, Variational Graph Auto-Encoders, 2016, the non-probabilistic model, with
    sampled pairs in place of the full reconstruction.

    Args:
        graph: with features; on the device to train on.
        hidden_dim: width between the two propagations.
        out_dim: width of the embeddings.
        epochs: full-graph steps of Adam.
        lr: learning rate.
        num_pairs: edges drawn per epoch, and as many pairs that are none.
        seed: of weights and pairs.
        checkpoint: file to resume from and to save to every few epochs.
        progress: whether to show a bar.
        callback: called with each epoch's record {"epoch", "loss", "auc"}.

    Raises:
        ValueError: the graph has no features.
    """
    in_dims = _feature_dims(graph)
    architecture = {"in_dims": in_dims, "hidden_dim": hidden_dim, "out_dim": out_dim, "seed": seed}
    model = GAE(**architecture).to(graph.device)
    for name, scale in model.scale.items():
        scale.fit(graph.x[name])
    x, csr = model.standardize(graph.x), graph.homogeneous
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    config = {
        "architecture": architecture, "epochs": epochs, "lr": lr, "num_pairs": num_pairs,
        "graph": graph.fingerprint, "device": graph.device.type,
        "code": _code(),
    }  # fmt: skip
    run = Checkpoint(checkpoint, config, model, optimizer)
    for epoch, record in _epochs(run, epochs, "graph autoencoder", progress):
        src, dst, target = sample_pairs(graph, num_pairs, _generator(seed, epoch))
        optimizer.zero_grad()
        logits = model.decode(model.encode(csr, x), src, dst)
        loss = binary_cross_entropy_with_logits(logits, target)
        loss.backward()
        optimizer.step()
        record |= {"loss": loss.item(), "auc": roc_auc(target.cpu(), logits.detach().cpu())}
        if callback:
            callback(record)
    with torch.no_grad():
        z = model.encode(csr, x).cpu()
    best = {"architecture": architecture, "model": model.cpu().state_dict()}
    return Pretrained(model, z, run.history, best)


def _feature_dims(graph: HeteroGraph) -> dict[str, int]:
    if graph.x is None:
        raise ValueError(
            "the graph has no features x; give it some: docs/interop.md shows how to add those of "
            "structure.structural_features(graph), made of degrees, and to save it again"
        )
    return {name: graph.x[name].shape[1] for name in graph.node_types}


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
            "learned_from", the ids of the nodes whose labels it has seen; see
            `load_gat`.
    """

    model: HeteroGAT
    z: Tensor
    logits: Tensor
    scores: Tensor
    history: list[dict]
    best: dict


def finetune_gat(
    graph: HeteroGraph,
    z: Tensor,
    split: Split,
    *,
    hidden_dim: int = 128,
    heads: int = 1,
    residual: bool = False,
    features: bool = False,
    embeddings: bool = True,
    transform: str = "standard",
    degrees: bool = False,
    bands: int = 0,
    label_input: float = 0.0,
    epochs: int = 100,
    lr: float = LEARNING_RATE,
    smoothness: float | dict[str, float] = SMOOTHNESS,
    pos_weight: float = 1.0,
    focal_gamma: float = 0.0,
    drop_edge: float = DROP_EDGE,
    keep_edges: float = 0.0,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    eval_every: int = 10,
    patience: int | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    progress: bool = True,
    callback: Callable[[dict], None] | None = None,
) -> Finetuned:
    """Train the heterogeneous GAT on the labelled nodes; the unlabelled take part as neighbors.

    Loss: binary cross-entropy on the training labels, plus `smoothness` times the mean squared
    difference of the scores at the ends of sampled edges, per relation. The second term assumes
    that neighbors are alike, which fraudsters who hide among honest users contradict; give it per
    relation or set it to 0.

    The defaults are the recipe that gadkit started from; `network` has the one that scores best.

    Args:
        graph: the graph, on the device to train on.
        z: (total, dim) input embeddings, such as those of `train_gae`.
        split: labels to train on and to choose the best epoch by; `split.test` is not touched.
        hidden_dim: width of both layers.
        heads: attention heads per layer.
        residual: whether nodes also see themselves directly.
        features: whether nodes enter with their features beside z.
        embeddings: whether they enter with z at all. Where a node has few neighbors, z tells each
            apart from all others, and a network may learn the training labels by heart.
        transform: of z and features, "standard" or "quantile"; see `nn.QuantileNormal`.
        degrees: whether nodes also enter with the logarithm of their degree in every stream.
        bands: order of the `nn.beta_wavelets` of the features that also enter, 0 for none.
        label_input: share of the training labels that every step shows to the network as input,
            drawn anew; its loss is then on the others. Validation and scores are made with all
            training labels shown, and no other (masked label prediction: Shi et al., IJCAI 2021).
        epochs: full-graph steps of Adam.
        lr: learning rate.
        smoothness: weight of the smoothness term, for all relations or by relation name.
        pos_weight: how much a training anomaly counts, where a normal node counts 1.
        focal_gamma: exponent of the focal loss, which lets nodes already told apart count less (Lin
            et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 4); 0 is cross-entropy.
        drop_edge: share of edges left out of every training step.
        keep_edges: how many edges of a stream every step keeps, on average, for a destination that
            has any: a review that loses its only author half of the time learns little from it.
        dropout: share of the activations set to zero in every training step.
        weight_decay: of Adam, on all weights.
        eval_every: epochs between validations, on all edges.
        patience: epochs without a better validation after which training ends; None trains to the
            last epoch.
        seed: of weights, dropped edges and sampled edges.
        checkpoint: file to resume from and to save to every few epochs.
        progress: whether to show a bar.
        callback: called with each epoch's record {"epoch", "loss", and at validations "val_auprc"}.

    Raises:
        ValueError: z does not fit the graph or is not finite, smoothness is negative or names no
            relation, features are wanted but there are none, or any other option is out of its
            range.
    """
    _check_schedule(epochs, eval_every, patience)
    _check_loss(label_input, pos_weight, focal_gamma)
    _check_not_negative(keep_edges=keep_edges, weight_decay=weight_decay)
    if z.dim() != 2 or len(z) != graph.total:
        raise ValueError(f"z must have shape ({graph.total}, dim), got {tuple(z.shape)}")
    check_finite(z, "z")
    split = Split(*(part.cpu() for part in split))
    weights = _per_relation(graph, smoothness)
    architecture = {
        "relations": list(weights),
        "in_dim": z.shape[1] if embeddings else 0,
        "hidden_dim": hidden_dim,
        "feature_dims": _feature_dims(graph) if features else None,
        "heads": heads,
        "residual": residual,
        "transform": transform,
        "degree_dims": _degree_dims(graph) if degrees else None,
        "bands": bands,
        "label_input": label_input > 0,
        "dropout": dropout,
        "seed": seed,
    }
    model = HeteroGAT(**architecture).to(graph.device)
    inputs = model.inputs(graph, z.to(graph.device), fit=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    config = {
        "architecture": architecture, "epochs": epochs, "lr": lr, "smoothness": weights,
        "weight_decay": weight_decay, "keep_edges": keep_edges,
        "label_input": label_input, "pos_weight": pos_weight, "focal_gamma": focal_gamma,
        "drop_edge": drop_edge, "eval_every": eval_every, "patience": patience,
        "graph": graph.fingerprint, "device": graph.device.type, "code": _code(),
        "z": checksum(z), "split": [checksum(part) for part in split],
    }  # fmt: skip
    run = Checkpoint(checkpoint, config, model, optimizer)
    train = split.train.to(graph.device)
    everything = _shown(graph, train) if label_input else None
    for epoch, record in _epochs(run, epochs, "heterogeneous GAT", progress, patience):
        number, generator = seed * 1_000_003 + epoch, _generator(seed, epoch)
        shown, hidden = _masked(graph, train, label_input, generator)
        dropping = torch.Generator(graph.device).manual_seed(number)
        optimizer.zero_grad()
        options = {"drop_edge": drop_edge, "keep_edges": keep_edges, "generator": dropping}
        logits = model(graph, inputs, shown=shown, seed=number, **options)
        loss = _label_loss(logits, hidden, pos_weight, focal_gamma)
        loss = loss + _smoothness(graph, logits.sigmoid(), weights, generator)
        loss.backward()
        optimizer.step()
        record["loss"] = loss.item()
        if epoch % eval_every == 0 or epoch == epochs:
            record["val_auprc"] = _validate(model, graph, inputs, everything, split.val)
            if record["val_auprc"] > run.best.get("val_auprc", -1):
                weights_now = {
                    name: value.cpu().clone() for name, value in model.state_dict().items()
                }
                run.best = {
                    "model": weights_now,
                    "architecture": architecture,
                    "learned_from": torch.cat([split.train[:, 0], split.val[:, 0]]),
                    "labelled_types": graph.labelled_types,
                    **record,
                }
        if callback:
            callback(record)
    model.load_state_dict(run.best["model"])
    with torch.no_grad():
        embedding = model.embed(graph, inputs, shown=everything)
        logits = model.classify(embedding).cpu()
    return Finetuned(model.cpu(), embedding.cpu(), logits, logits.sigmoid(), run.history, run.best)


def _check_schedule(epochs: int, eval_every: int, patience: int | None) -> None:
    if epochs < 1 or eval_every < 1:
        raise ValueError(f"epochs and eval_every must be at least 1, got {epochs} and {eval_every}")
    if patience is not None and patience < eval_every:
        raise ValueError(
            f"patience must be at least eval_every, or it ends before it could see a gain; got "
            f"{patience} and {eval_every}"
        )


def _check_loss(label_input: float, pos_weight: float, focal_gamma: float) -> None:
    if not 0 <= label_input < 1:
        raise ValueError(f"label_input must be in [0, 1), got {label_input}")
    if not 0 < pos_weight < float("inf"):
        raise ValueError(f"pos_weight must be positive, got {pos_weight}")
    _check_not_negative(focal_gamma=focal_gamma)


def _check_not_negative(**options: float) -> None:
    for name, value in options.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be 0 or more, got {value}")


def _degree_dims(graph: HeteroGraph) -> dict[str, int]:
    into = [dst for _, (_, _, dst), _ in graph.streams]
    return {name: into.count(name) for name in graph.node_types}


def _shown(graph: HeteroGraph, labels: Tensor) -> Tensor:
    """Return what the network is told of every node, (total,) int64, when these labels are."""
    shown = torch.full((graph.total,), UNKNOWN, device=graph.device)
    shown[labels[:, 0]] = NORMAL + labels[:, 1]
    return shown


def _masked(
    graph: HeteroGraph, train: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor | None, Tensor]:
    """Draw the training labels to show in a step; return them, and those left for the loss."""
    if share == 0:
        return None, train
    order = torch.randperm(len(train), generator=generator).to(train.device)
    count = int(share * len(train))  # fewer than all
    return _shown(graph, train[order[:count]]), train[order[count:]]


def _label_loss(logits: Tensor, labels: Tensor, pos_weight: float, gamma: float) -> Tensor:
    ids, y_true = labels.unbind(1)
    logits, target = logits[ids], y_true.to(logits.dtype)
    loss = binary_cross_entropy_with_logits(logits, target, reduction="none")
    if gamma:
        missed = torch.where(y_true == 1, -logits, logits).sigmoid()  # 1 - p of the right class
        loss = loss * missed**gamma
    return torch.where(y_true == 1, pos_weight * loss, loss).mean()


def _per_relation(graph: HeteroGraph, smoothness: float | dict[str, float]) -> dict[str, float]:
    relations = [name for _, name, _ in graph.edge_types]
    if not isinstance(smoothness, dict):
        smoothness = dict.fromkeys(relations, smoothness)
    unknown = set(smoothness) - set(relations)
    if unknown:
        raise ValueError(f"smoothness names {sorted(unknown)}, but the relations are {relations}")
    if not all(weight >= 0 for weight in smoothness.values()):
        raise ValueError(f"smoothness must not be negative, got {smoothness}")
    return {name: float(smoothness.get(name, 0.0)) for name in relations}


def _smoothness(graph: HeteroGraph, scores: Tensor, weights: dict, generator: torch.Generator):
    total = 0.0
    for (src_type, name, dst_type), csr in graph.edges.items():
        if weights[name] > 0:
            src, dst = csr.sample(SMOOTHNESS_EDGES, generator)
            src, dst = src + graph.offset(src_type), dst + graph.offset(dst_type)
            others = src != dst  # a self-loop is smooth by itself
            difference = scores[src[others]] - scores[dst[others]]
            total = total + weights[name] * difference.square().sum() / max(1, int(others.sum()))
    return total


@torch.no_grad()
def _validate(
    model: HeteroGAT, graph: HeteroGraph, inputs: dict, shown: Tensor | None, labels: Tensor
) -> float:
    logits = model(graph, inputs, shown=shown).cpu()
    return average_precision(labels[:, 1], logits[labels[:, 0]])


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


def ensemble(
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
    return _together(members, split)


def _together(members: list[Finetuned], split: Split) -> Ensemble:
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
    return Ensemble(members, embedding, logits, logits.sigmoid(), history, best)


def network(
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
    found = [
        finetune_gat(graph, z, split, seed=seed, progress=progress, **(RECIPE | options))
        for options in VARIANTS
    ]
    best = max(member.best["val_auprc"] for member in found)
    enough = best - auprc_error(best, int(split.val[:, 1].sum()))
    return _together([member for member in found if member.best["val_auprc"] >= enough], split)


@torch.no_grad()
def score(graph: HeteroGraph, models: Path | str, *, known: Tensor | None = None) -> Tensor:
    """Score every node of a graph with the two trained stages; the graph may be one never seen.

    Args:
        graph: with the node types, relations and features that the models were trained on.
        models: folder holding `store.GAT_CHECKPOINT`, with the first stage under "gae".
        known: (n, 2) int64 rows [global id, 1 = anomaly] of nodes whose labels are known, to show
            them to a network that takes labels as input; None shows it none.

    Returns:
        (total,) scores in [0, 1], the higher the more suspicious.

    Raises:
        FileNotFoundError: the folder lacks the checkpoint.
        ValueError: the graph has other types, relations or numbers of features than the models.
    """
    path = Path(models) / store.GAT_CHECKPOINT
    state = store.load_checkpoint(path)
    gae = _restore(GAE, state.get("gae"), path).to(graph.device)
    gat = _restore(HeteroGAT, state, path).to(graph.device)
    wanted = {name: scale.mean.numel() for name, scale in gae.scale.items()}
    got = {name: graph.x[name].shape[1] for name in graph.node_types} if graph.x else {}
    relations = [name for _, name, _ in graph.edge_types]
    if list(got.items()) != list(wanted.items()) or relations != list(gat.layers[0].weight):
        raise ValueError(
            f"the models in {models} were trained on features {wanted} and relations "
            f"{list(gat.layers[0].weight)}, but the graph has {got} and {relations}"
        )
    z = gae.encode(graph.homogeneous, gae.standardize(graph.x))
    shown = None if known is None else _shown(graph, known.to(graph.device))
    return gat(graph, gat.inputs(graph, z), shown=shown).sigmoid().cpu()


def load_gae(path: Path | str) -> GAE:
    """Read the autoencoder of a checkpoint such as `Pretrained.best`."""
    return _restore(GAE, store.load_checkpoint(path), path)


def load_gat(path: Path | str) -> HeteroGAT:
    """Read the network of a checkpoint such as `Finetuned.best`."""
    return _restore(HeteroGAT, store.load_checkpoint(path), path)


def _restore(kind: type, state: dict | None, path: Path | str):
    try:
        model = kind(**state["architecture"])
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} holds no {kind.__name__}: {error}") from error
    return model
