"""The two models: a graph autoencoder and a heterogeneous graph attention network.

Modules hold weights and say how numbers flow; loops, losses and files are elsewhere. Nothing
depends on `.train()` or `.eval()`: what training does differently (dropping edges and activations,
showing labels) is an argument.
"""

from collections.abc import Iterable, Iterator
from math import factorial

import torch
from torch import Tensor, nn

from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.ops import attention, edge_dot, gat_aggregate, spmm

NEGATIVE_SLOPE = 0.2  # of the LeakyReLU (Velickovic et al., ICLR 2018, section 3.3)
MAX_DEVIATIONS = 5.0  # where standardized features are clipped, lest an outlier drown its neighbors
KNOTS = 512  # quantiles kept of every feature
UNKNOWN, NORMAL, ANOMALY = 0, 1, 2  # what `HeteroGAT.embed` is told of a node


def glorot(*shape: int, generator: torch.Generator) -> nn.Parameter:
    """Return a weight drawn as in Glorot and Bengio (AISTATS 2010), uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(*shape), generator=generator))


class ByName(nn.Module):
    """Weights or modules by node type or relation, in the order given.

    Torch's `ParameterDict` sorts its names and its `ModuleDict` refuses some, such as "type".

    Args:
        items: name to module, or name to parameter.
    """

    def __init__(self, items: dict[str, nn.Module] | dict[str, nn.Parameter]):
        super().__init__()
        self.names, values = list(items), list(items.values())
        parameters = all(isinstance(value, nn.Parameter) for value in values)
        self.held = nn.ParameterList(values) if parameters else nn.ModuleList(values)

    def __getitem__(self, name: str):
        return self.held[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)

    def items(self) -> Iterator[tuple]:
        """Return pairs of name and what is held under it."""
        return zip(self.names, self.held, strict=True)


class Standardize(nn.Module):
    """Scale features to mean 0 and deviation 1, with the statistics of the data it was fitted on.

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def fit(self, x: Tensor) -> "Standardize":
        """Take the statistics of x, (num_nodes, dim); a constant feature is left at zero."""
        deviation, mean = torch.std_mean(x.double(), 0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(
            torch.where(deviation > 1e-6 * mean.abs() + 1e-12, deviation, torch.inf)
        )
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return standardized features, (num_nodes, dim), in the dtype of the weights."""
        scaled = ((x - self.mean) / self.deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        return scaled.to(self.mean.dtype)


class QuantileNormal(nn.Module):
    """Map every feature to a normal distribution by its ranks among the data it was fitted on.

    Skewed counts and amounts, of which fraud graphs are full, get the same spread as any other
    feature. Equal values share their middle rank, values between two quantiles are interpolated,
    and values outside all that was seen get the rank of the nearest.

    Args:
        dim: number of features.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("knots", torch.zeros(KNOTS, dim))

    def fit(self, x: Tensor) -> "QuantileNormal":
        """Take the quantiles of x, (num_nodes, dim); a constant feature is left at zero."""
        rows = torch.linspace(0, len(x) - 1, KNOTS, dtype=torch.float64).round().long()
        for column in range(x.shape[1]):
            ascending = x[:, column].to(self.knots.dtype).sort().values
            self.knots[:, column] = ascending[rows.to(x.device)]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return normal scores, (num_nodes, dim), in the dtype of the weights."""
        rank = torch.empty(x.shape, dtype=self.knots.dtype, device=x.device)
        for column in range(x.shape[1]):
            values = x[:, column].to(self.knots.dtype).contiguous()
            rank[:, column] = _rank(values, self.knots[:, column].contiguous())
        return torch.special.ndtri((rank + 0.5) / KNOTS)


def _rank(x: Tensor, knots: Tensor) -> Tensor:
    """Return where each value lies among ascending knots, from 0 to one less than their number."""
    below, through = torch.searchsorted(knots, x), torch.searchsorted(knots, x, right=True)
    low = knots[(below - 1).clamp(min=0)]
    gap = knots[below.clamp(max=len(knots) - 1)] - low
    between = below - 1 + torch.where(gap > 0, (x - low) / gap, 0.0)
    rank = torch.where(below == through, between, (below + through - 1) / 2)
    return rank.clamp(0, len(knots) - 1)


TRANSFORMS = {"standard": Standardize, "quantile": QuantileNormal}


def beta_wavelets(csr: CSR, x: Tensor, order: int) -> list[Tensor]:
    """Split signals on a graph into frequency bands.

    With L = I - D^-1/2 A D^-1/2 and p + q = order, a band is

        W_pq x = (L/2)^p (I - L/2)^q x / (2 B(p + 1, q + 1))

    (Tang et al., Rethinking Graph Neural Networks for Anomaly Detection, ICML 2022, eq. 6; B is
    Euler's beta function). Anomalies shift energy to high frequencies, which a mean over neighbors
    removes.

    Args:
        csr: `HeteroGraph.homogeneous`: symmetric, with a self-loop per node.
        x: (total, dim) float.
        order: the number of propagations, 1 or more.

    Returns:
        order + 1 tensors (total, dim), from the lowest frequencies (p = 0) to the highest.
    """
    scale = csr.degrees().to(x.dtype).rsqrt()

    def halved(h: Tensor, sign: int) -> Tensor:  # (I + S) h / 2 = (I - L/2) h, or (I - S) h / 2
        return (h + sign * spmm(csr, h, scale_dst=scale, scale_src=scale)) / 2

    bands = []
    for p in range(order + 1):
        band = x.contiguous()
        for step in range(order):
            band = halved(band, -1 if step < p else 1)
        bands.append(band * (factorial(order + 1) / (2 * factorial(p) * factorial(order - p))))
    return bands


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
    """

    def __init__(
        self, in_dims: dict[str, int], hidden_dim: int = 128, out_dim: int = 128, *, seed: int = 0
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.scale = ByName({name: Standardize(dim) for name, dim in in_dims.items()})
        self.weight_in = ByName(
            {name: glorot(dim, hidden_dim, generator=generator) for name, dim in in_dims.items()}
        )
        self.weight_out = glorot(hidden_dim, out_dim, generator=generator)
        self.bias = nn.Parameter(torch.zeros(1))

    def standardize(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features of every type as the encoder wants them."""
        return {name: scale(x[name]) for name, scale in self.scale.items()}

    def encode(self, csr: CSR, x: dict[str, Tensor]) -> Tensor:
        """Embed all nodes.

        Args:
            csr: `HeteroGraph.homogeneous`: symmetric, with a self-loop per node.
            x: (num_nodes, in_dim) standardized features per node type.

        Returns:
            z, (total, out_dim).
        """
        scale = csr.degrees().to(self.weight_out.dtype).rsqrt()
        h = torch.cat([x[name] @ weight for name, weight in self.weight_in.items()])
        h = nn.functional.elu(spmm(csr, h, scale_dst=scale, scale_src=scale))
        return spmm(csr, h @ self.weight_out, scale_dst=scale, scale_src=scale)

    def decode(self, z: Tensor, src: Tensor, dst: Tensor) -> Tensor:
        """Return the logit of an edge between each pair, (num_pairs,)."""
        return edge_dot(z, z, src, dst) + self.bias


class GATLayer(nn.Module):
    """One round of attention over every stream of a heterogeneous graph.

    A relation and its reverse share one weight matrix and one attention vector. A node type
    averages the streams that reach it, then ELU.

    Args:
        relations: names of the relations.
        in_dim: width of the input, the same for all types.
        out_dim: width of the output over all heads.
        heads: number of attention heads; divides out_dim.
        residual: whether a node also adds a projection of itself.
        generator: of the initial weights.

    Raises:
        ValueError: heads does not divide out_dim.
    """

    def __init__(
        self,
        relations: Iterable[str],
        in_dim: int,
        out_dim: int,
        *,
        heads: int = 1,
        residual: bool = False,
        generator: torch.Generator,
    ):
        super().__init__()
        if heads < 1 or out_dim % heads:
            raise ValueError(f"heads must divide out_dim, got {heads} heads for {out_dim}")
        relations, dim = list(relations), out_dim // heads
        self.weight = ByName(
            {name: glorot(in_dim, out_dim, generator=generator) for name in relations}
        )
        self.attn = ByName(
            {name: glorot(2 * dim, heads, generator=generator) for name in relations}
        )
        self.residual = glorot(in_dim, out_dim, generator=generator) if residual else None

    def attention_scores(self, relation: str, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return each node's part of a logit as destination and as source, (num_nodes, heads)."""
        weight, attn = self.weight[relation], self.attn[relation]
        dim, heads = attn.shape[0] // 2, attn.shape[1]
        # <a, W h> for both halves as one narrow product: the vector is folded into the matrix
        # first.
        folded = torch.einsum("ihd,tdh->ith", weight.view(-1, heads, dim), attn.view(2, dim, heads))
        score_dst, score_src = (h @ folded.reshape(-1, 2 * heads)).view(-1, 2, heads).unbind(1)
        return score_dst.contiguous(), score_src.contiguous()

    def forward(
        self,
        graph: HeteroGraph,
        h: dict[str, Tensor],
        *,
        drop_edge: float = 0.0,
        keep_edges: float = 0.0,
        seed: int = 0,
    ):
        """Aggregate all streams.

        Args:
            graph: the graph.
            h: (num_nodes, in_dim) per node type.
            drop_edge: probability that an edge is left out.
            keep_edges: how many edges every stream keeps on average for a destination that has any;
                where there are few, fewer are left out.
            seed: of the edges left out; each stream derives its own.

        Returns:
            (num_nodes, out_dim) per node type.
        """
        projected, scores = {}, {}
        for relation, (src, _, dst), _ in graph.streams:
            for node_type in (src, dst):
                if (relation, node_type) not in scores:
                    scores[relation, node_type] = self.attention_scores(relation, h[node_type])
            if (relation, src) not in projected:
                heads = self.attn[relation].shape[1]
                projected[relation, src] = (h[src] @ self.weight[relation]).view(
                    len(h[src]), heads, -1
                )
        received = {node_type: [] for node_type in graph.node_types}
        for number, (relation, (src, _, dst), csr) in enumerate(graph.streams):
            out = gat_aggregate(
                csr,
                projected[relation, src],
                scores[relation, src][1],
                scores[relation, dst][0],
                negative_slope=NEGATIVE_SLOPE,
                drop_edge=_dropped_share(csr, drop_edge, keep_edges),
                seed=seed * len(graph.streams) + number,
            )
            received[dst].append(out.flatten(1))
        return {
            node_type: self._combine(h[node_type], outs) for node_type, outs in received.items()
        }

    def _combine(self, h: Tensor, outs: list[Tensor]) -> Tensor:
        total = sum(outs) / len(outs)
        if self.residual is not None:
            total = total + h @ self.residual
        return nn.functional.elu(total)


def _dropped_share(csr: CSR, drop_edge: float, keep_edges: float) -> float:
    reached = int((csr.degrees() > 0).sum())
    return min(drop_edge, max(0.0, 1 - keep_edges * reached / max(1, csr.num_edges)))


class HeteroGAT(nn.Module):
    """Two attention layers and a linear head: one anomaly logit per node.

    Args:
        relations: names of the relations, as in the graph.
        in_dim: width of the input embeddings z; 0 leaves them out, which takes features.
        hidden_dim: width of both layers.
        feature_dims: number of features of each node type, if nodes also enter with their features:
            z knows who is connected, but need not remember how a node itself behaves. Then every
            type has its own input weights. None feeds z to the first layer as it is.
        heads: attention heads per layer.
        residual: whether a node also sees itself directly; without it, it only sees neighbors and
            its self-loop where it has one.
        transform: "standard" or "quantile", what is done to z and features before they enter; with
            features only.
        degree_dims: number of streams into each node type, if nodes also enter with the logarithm
            of their degrees, which attention averages away; with features only.
        bands: order of the `beta_wavelets` of the features that also enter, 0 for none; with
            features only.
        label_input: whether nodes also enter with their label where it is shown.
        dropout: share of the activations after each layer that training sets to zero.
        seed: of the initial weights.

    Raises:
        ValueError: heads does not divide hidden_dim, transform is another word, or an option needs
            features and there are none.
    """

    def __init__(
        self,
        relations: Iterable[str],
        in_dim: int = 128,
        hidden_dim: int = 128,
        *,
        feature_dims: dict[str, int] | None = None,
        heads: int = 1,
        residual: bool = False,
        transform: str = "standard",
        degree_dims: dict[str, int] | None = None,
        bands: int = 0,
        label_input: bool = False,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        if transform not in TRANSFORMS:
            raise ValueError(f"transform must be one of {list(TRANSFORMS)}, got {transform!r}")
        if not feature_dims and (bands or degree_dims or transform != "standard"):
            raise ValueError("transform, degrees and bands change the features; ask for features")
        if not feature_dims and in_dim == 0:
            raise ValueError("nodes must enter with embeddings or features; there are neither")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        generator = torch.Generator().manual_seed(seed)
        self.in_dim, self.dropout = in_dim, dropout
        self.bands, self.degrees = bands, degree_dims is not None
        in_dims = {name: in_dim + dim for name, dim in (feature_dims or {}).items()}
        for name in in_dims:
            in_dims[name] += (bands + 1) * sum(feature_dims.values()) if bands else 0
            in_dims[name] += degree_dims[name] if degree_dims else 0
        self.scale = ByName({name: TRANSFORMS[transform](dim) for name, dim in in_dims.items()})
        of_bands = feature_dims if bands else {}
        self.band_scale = ByName({name: Standardize(dim) for name, dim in of_bands.items()})
        self.weight_in = ByName(
            {name: glorot(dim, hidden_dim, generator=generator) for name, dim in in_dims.items()}
        )
        options = {"heads": heads, "residual": residual, "generator": generator}
        first_dim = hidden_dim if feature_dims else in_dim
        self.layers = nn.ModuleList(
            [GATLayer(relations, dim, hidden_dim, **options) for dim in (first_dim, hidden_dim)]
        )
        self.head = glorot(hidden_dim, 1, generator=generator)
        self.bias = nn.Parameter(torch.zeros(1))
        self.label_weight = glorot(2, first_dim, generator=generator) if label_input else None

    def inputs(self, graph: HeteroGraph, z: Tensor, *, fit: bool = False) -> dict[str, Tensor]:
        """Return what enters the network, (num_nodes, width) per node type.

        Args:
            graph: the graph, with features if the network takes them.
            z: (total, in_dim) embeddings; of any width if they are left out.
            fit: whether to take the statistics that scale the inputs from these.
        """
        z = z.to(self.head.dtype) if self.in_dim else z.new_empty(len(z), 0)
        inputs = {name: z[graph.span(name)] for name in graph.node_types}
        if len(self.scale) == 0:
            return inputs
        columns = {name: [inputs[name], graph.x[name]] for name in graph.node_types}
        for band in self._bands_of(graph, fit=fit) if self.bands else ():
            for name in columns:
                columns[name].append(band[graph.span(name)])
        if self.degrees:
            for _, (_, _, dst), csr in graph.streams:
                columns[dst].append(csr.degrees().to(z.dtype).log1p()[:, None])
        for name, scale in self.scale.items():
            joined = torch.cat(columns[name], 1)
            inputs[name] = (scale.fit(joined) if fit else scale)(joined)
        return inputs

    def _bands_of(self, graph: HeteroGraph, *, fit: bool) -> list[Tensor]:
        """Return the bands of all features; every type has columns of its own, 0 elsewhere."""
        blocks = []
        for name, scale in self.band_scale.items():
            x = graph.x[name]
            block = torch.zeros(graph.total, x.shape[1], dtype=scale.mean.dtype, device=x.device)
            block[graph.span(name)] = (scale.fit(x) if fit else scale)(x)
            blocks.append(block)
        return beta_wavelets(graph.homogeneous, torch.cat(blocks, 1), self.bands)

    def embed(
        self,
        graph: HeteroGraph,
        inputs: dict[str, Tensor],
        *,
        shown: Tensor | None = None,
        drop_edge: float = 0.0,
        keep_edges: float = 0.0,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Return the embeddings after both layers, (total, hidden_dim).

        Args:
            graph: the graph.
            inputs: what `inputs` returned.
            shown: (total,) int64, `UNKNOWN`, `NORMAL` or `ANOMALY`; None where all are unknown.
            drop_edge: probability that an edge is left out.
            keep_edges: as in `GATLayer.forward`.
            generator: of the activations that are dropped, on the device of the graph; none are
                dropped without.
            seed: of the edges left out.
        """
        h = self._enter(graph, inputs, shown)
        for number, layer in enumerate(self.layers):
            dropping = {"drop_edge": drop_edge, "keep_edges": keep_edges}
            h = layer(graph, h, **dropping, seed=seed * len(self.layers) + number)
            if generator is not None and self.dropout:
                h = {name: _dropped(value, self.dropout, generator) for name, value in h.items()}
        return torch.cat([h[name] for name in graph.node_types])

    def _enter(
        self, graph: HeteroGraph, inputs: dict[str, Tensor], shown: Tensor | None
    ) -> dict[str, Tensor]:
        weights = self.weight_in
        h = {name: x @ weights[name] if name in weights else x for name, x in inputs.items()}
        if shown is None or self.label_weight is None:
            return h
        shift = torch.cat([torch.zeros_like(self.label_weight[:1]), self.label_weight])
        return {name: value + shift[shown[graph.span(name)]] for name, value in h.items()}

    def forward(self, graph: HeteroGraph, inputs: dict[str, Tensor], **options) -> Tensor:
        """Return the anomaly logit of every node, (total,); the options are those of `embed`."""
        return self.classify(self.embed(graph, inputs, **options))

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits of embeddings from `embed`."""
        return (embedding @ self.head).squeeze(1) + self.bias

    @torch.no_grad()
    def attention(
        self, graph: HeteroGraph, inputs: dict[str, Tensor], *, shown: Tensor | None = None
    ) -> dict[EdgeType, Tensor]:
        """Return alpha of the first layer, (num_edges, heads) per edge type."""
        layer, h, alpha = self.layers[0], self._enter(graph, inputs, shown), {}
        for relation, edge_type, csr in graph.streams:
            src, _, dst = edge_type
            score_dst, _ = layer.attention_scores(relation, h[dst])
            _, score_src = layer.attention_scores(relation, h[src])
            alpha[edge_type] = attention(csr, score_src, score_dst, negative_slope=NEGATIVE_SLOPE)
        return alpha


def _dropped(h: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a share of the activations to zero, and scale the others to the same mean."""
    kept = torch.empty_like(h).bernoulli_(1 - share, generator=generator)
    return h * kept / (1 - share)
