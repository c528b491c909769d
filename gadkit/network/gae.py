"""Stage 1: a graph autoencoder, which learns the graph's structure without labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from gadkit.evaluation.metrics import roc_auc
from gadkit.graph import CSR, HeteroGraph
from gadkit.network.layers import ByName, Standardize, glorot
from gadkit.network.run import (
    Checkpoint,
    code_checksum,
    epoch_generator,
    feature_dims,
    remaining_epochs,
)
from gadkit.ops import edge_dot, spmm
from gadkit.ops.activation import mean_elu
from gadkit.ops.buffers import reused
from gadkit.ops.products import product, stacked_products
from gadkit.ops.threads import same_bits

TRIES = 4  # draws of a partner for each source


class GAE(nn.Module):
    """Graph autoencoder (Kipf and Welling, 2016) over the nodes of all types, seen as one graph.

    Two propagations D^-1/2 A D^-1/2 with an ELU between (edges of the demo: AUC 0.942 after 60
    epochs, with a ReLU 0.933); every node type has its own input weights, because its features mean
    something else. An edge's logit is the dot product of its ends plus a bias.

    Args:
        in_dims: number of features of each node type, in global order.
        hidden_dim: width between the propagations.
        out_dim: width of the embeddings.
        seed: of the initial weights.

    Attributes:
        config: the arguments as a dict of numbers and dicts; see `from_config`.
    """

    def __init__(
        self, in_dims: dict[str, int], hidden_dim: int = 128, out_dim: int = 128, *, seed: int = 0
    ):
        super().__init__()
        self.config = {
            "in_dims": in_dims, "hidden_dim": hidden_dim, "out_dim": out_dim, "seed": seed
        }  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        self.scale = ByName({name: Standardize(dim) for name, dim in in_dims.items()})
        self.weight_in = ByName(
            {name: glorot(dim, hidden_dim, generator=generator) for name, dim in in_dims.items()}
        )
        self.weight_out = glorot(hidden_dim, out_dim, generator=generator)
        self.bias = nn.Parameter(torch.zeros(1))

    @classmethod
    def from_config(cls, config: dict) -> "GAE":
        """Return an autoencoder with the arguments of another, and its own initial weights."""
        return cls(**config)

    @same_bits()
    def standardize(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features of every type as the encoder wants them."""
        return {name: scale(x[name]) for name, scale in self.scale.items()}

    @same_bits()
    def encode(self, csr: CSR, x: dict[str, Tensor]) -> Tensor:
        """Embed all nodes.

        Args:
            csr: `HeteroGraph.homogeneous`: symmetric, with a self-loop per node.
            x: (num_nodes, in_dim) standardized features per node type.

        Returns:
            z, (total, out_dim).
        """
        scale = csr.degrees().to(self.weight_out.dtype).rsqrt()
        h = stacked_products([x[name] for name in self.weight_in], [*self.weight_in.held])
        h = mean_elu([spmm(csr, h, scale_dst=scale, scale_src=scale)])
        return spmm(csr, product(h, self.weight_out), scale_dst=scale, scale_src=scale)

    def decode(self, z: Tensor, src: Tensor, dst: Tensor) -> Tensor:
        """Return the logit of an edge between each pair, (num_pairs,)."""
        return edge_dot(z, z, src, dst) + self.bias


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
    src, dst = graph.homogeneous.sample(count, generator)
    src, dst = src[src != dst], dst[src != dst]
    partner, has_partner = _draw_partners(graph, src, dst, generator)
    if not has_partner.any():
        raise ValueError(
            f"{count} draws gave {len(src)} edges and not one pair that is none; draw more, "
            "unless the graph has self-loops alone or joins every pair of nodes"
        )
    num_edges = len(src)
    src, dst = torch.cat([src, src[has_partner]]), torch.cat([dst, partner[has_partner]])
    target = (torch.arange(len(src), device=src.device) < num_edges).float()
    return src, dst, target


def _draw_partners(
    graph: HeteroGraph, src: Tensor, dst: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw for each edge another destination of the same type, which its source has no edge with.

    Returns:
        (num_edges,) int64 global ids, and bool, whether there is one.
    """
    node_type = graph.node_type_of(dst)
    first = src.new_tensor([graph.offset(name) for name in graph.node_types])[node_type]
    size = src.new_tensor([graph.num_nodes[name] for name in graph.node_types])[node_type]
    partner = torch.empty_like(dst)
    # Positions of the edges still without a partner. Each try draws one for all of them, and keeps
    # for the next those that hit an edge: of sources [7, 8, 9] of which 8 met a neighbor, [1].
    unpaired = torch.arange(len(src), device=src.device)
    for _ in range(TRIES):
        # Drawn on the CPU, so that every device gets the same pairs.
        chance = torch.rand(len(unpaired), generator=generator, dtype=torch.float64).to(src.device)
        partner[unpaired] = first[unpaired] + (chance * size[unpaired]).long()
        unpaired = unpaired[graph.homogeneous.contains(src[unpaired], partner[unpaired])]
    has_partner = torch.ones_like(src, dtype=torch.bool)
    has_partner[unpaired] = False
    return partner, has_partner


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


@same_bits()
@reused()
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
    model = GAE(feature_dims(graph), hidden_dim, out_dim, seed=seed).to(graph.device)
    for name, scale in model.scale.items():
        scale.fit(graph.x[name])
    x, csr = model.standardize(graph.x), graph.homogeneous
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    config = {
        "architecture": model.config, "epochs": epochs, "lr": lr, "num_pairs": num_pairs,
        "graph": graph.fingerprint, "device": graph.device.type, "code": code_checksum(),
    }  # fmt: skip
    run = Checkpoint(checkpoint, config, model, optimizer)
    for epoch, record in remaining_epochs(run, epochs, "graph autoencoder", progress=progress):
        src, dst, target = sample_pairs(graph, num_pairs, epoch_generator(seed, epoch))
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
    best = {"architecture": model.config, "model": model.cpu().state_dict()}
    return Pretrained(model, z, run.history, best)
