"""The heterogeneous graph attention network, what it is made of, and how labels are shown to it.

Nothing depends on `.train()` or `.eval()`: what training does differently (dropping edges and
activations, showing labels) is an argument.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from gadkit.graph import CSR, EdgeType, HeteroGraph, Stream
from gadkit.network.field import Field, fields_of
from gadkit.network.layers import TRANSFORMS, ByName, Standardize, beta_wavelets, glorot
from gadkit.ops import attention, gat_aggregate
from gadkit.ops.activation import mean_elu
from gadkit.ops.products import product, products
from gadkit.ops.threads import same_bits

NEGATIVE_SLOPE = 0.2  # of the LeakyReLU (Velickovic et al., ICLR 2018, section 3.3)
UNKNOWN, NORMAL, ANOMALY = 0, 1, 2  # what the network is told of a node


def shown_labels(graph: HeteroGraph, labels: Tensor) -> Tensor:
    """Return what the network is told of every node when it is shown these labels.

    Args:
        graph: the graph.
        labels: (n, 2) int64 rows [global id, 1 = anomaly], on the device of the graph.

    Returns:
        (total,) int64: `NORMAL` or `ANOMALY` where there is a label, `UNKNOWN` elsewhere.
    """
    return graph.label_of_nodes(labels) + NORMAL  # -1 becomes UNKNOWN


@dataclass(frozen=True)
class Architecture:
    """What the attention network is made of.

    Attributes:
        hidden_dim: width of both layers.
        heads: attention heads per layer; divides hidden_dim.
        residual: whether a node also sees itself directly; without it, it only sees neighbors, and
            its self-loop where it has one.
        embeddings: whether nodes enter with the embeddings z of the first stage: who is connected.
            Where a node has few neighbors, z tells each apart from all others, and a network may
            learn the training labels by heart.
        features: whether they enter with their features: how they themselves behave, which z need
            not remember. Then every node type has its own input weights.
        transform: "standard" (`layers.Standardize`) or "quantile" (`layers.QuantileNormal`): what
            is done to z and features before they enter. Needs features, as the next two do.
        degrees: whether they also enter with the logarithm of their degree in every stream, which
            attention averages away.
        bands: order of the `layers.beta_wavelets` of the features that also enter, 0 for none.
        label_input: whether they also enter with their label where it is shown (masked label
            prediction: Shi et al., IJCAI 2021).
        dropout: share of the activations after each layer that a training step sets to zero.

    Raises:
        ValueError: heads does not divide hidden_dim, transform is another word, dropout is not in
            [0, 1), or nothing enters; or an option needs features and they are off.
    """

    hidden_dim: int = 128
    heads: int = 1
    residual: bool = False
    embeddings: bool = True
    features: bool = False
    transform: str = "standard"
    degrees: bool = False
    bands: int = 0
    label_input: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        if self.heads < 1 or self.hidden_dim % self.heads:
            raise ValueError(
                f"heads must divide hidden_dim, got {self.heads} heads for {self.hidden_dim}"
            )
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform must be one of {list(TRANSFORMS)}, got {self.transform!r}")
        if not self.features and (self.bands or self.degrees or self.transform != "standard"):
            raise ValueError("transform, degrees and bands change the features; ask for features")
        if not self.features and not self.embeddings:
            raise ValueError("nodes must enter with embeddings or features; there are neither")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


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
        return self._halves(product(h, self._folded(relation)))

    def _folded(self, relation: str) -> Tensor:
        """Return what h is multiplied by for its parts of the logits, (in_dim, 2 * heads)."""
        weight, attn = self.weight[relation], self.attn[relation]
        dim, heads = attn.shape[0] // 2, attn.shape[1]
        # The logit of an edge is <a, [W h_dst, W h_src]>: the upper half of a for the destination,
        # the lower half for the source. As <a, W h> = <W^T a, h>, W and a are multiplied first,
        # into (in_dim, 2 halves, heads); then h takes one product with 2 * heads columns, not one
        # with out_dim. Letters: i input, t half, h head, d position within a head.
        folded = torch.einsum("ihd,tdh->ith", weight.view(-1, heads, dim), attn.view(2, dim, heads))
        return folded.reshape(-1, 2 * heads)

    @staticmethod
    def _halves(scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts of a logit as destination and as source, from (num_nodes, 2 * heads)."""
        score_dst, score_src = scores.view(len(scores), 2, -1).unbind(1)
        return score_dst.contiguous(), score_src.contiguous()

    def forward(
        self,
        graph: HeteroGraph,
        h: dict[str, Tensor],
        *,
        drop_edge: float = 0.0,
        keep_edges: float = 0.0,
        seed: int = 0,
    ) -> dict[str, Tensor]:
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
        dropped = _dropped_shares(graph, drop_edge, keep_edges)
        # Gradients of a node type's products are added up together, so all are made at once. Where
        # none is wanted, what a stream sends is made when it is its turn, which takes less memory.
        at_once = torch.is_grad_enabled()
        projected, scores, residual = self._project(
            graph.streams, h, dict.fromkeys(h), with_sent=at_once
        )
        received = {node_type: [] for node_type in graph.node_types}
        for number, (relation, (src, _, dst), csr) in enumerate(graph.streams):
            if at_once:
                sent = projected[relation, src]
            else:
                sent = self._by_head(relation, product(h[src], self.weight[relation]))
            out = gat_aggregate(
                csr,
                sent,
                scores[relation, src][1],
                scores[relation, dst][0],
                negative_slope=NEGATIVE_SLOPE,
                drop_edge=dropped[number],
                seed=seed * len(graph.streams) + number,
            )
            received[dst].append(out.flatten(1))
            del sent, out
        return {
            node_type: mean_elu(outs, residual[node_type]) for node_type, outs in received.items()
        }

    def of_field(self, field: Field, h: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what `forward` does for some nodes, (num_rows, out_dim) per node type.

        Args:
            field: of these nodes, with the edges that are kept.
            h: (num_needed, in_dim) per node type, of what the field needs.
        """
        projected, scores, residual = self._project(field.streams, h, field.rows)
        received = {node_type: [] for node_type in field.node_types}
        for relation, (src, _, dst), csr in field.streams:
            score_dst = scores[relation, dst][0].index_select(0, field.rows[dst])
            out = gat_aggregate(
                csr, projected[relation, src], scores[relation, src][1], score_dst,
                negative_slope=NEGATIVE_SLOPE,
            )  # fmt: skip
            received[dst].append(out.flatten(1))
        width = next(weight.shape[1] for _, weight in self.weight.items())
        return {
            name: mean_elu(outs, residual[name]) if outs else h[name].new_empty(0, width)
            for name, outs in received.items()
        }

    def _by_head(self, relation: str, sent: Tensor) -> Tensor:
        return sent.view(len(sent), self.attn[relation].shape[1], -1)

    def _project(
        self,
        streams: Iterable[Stream],
        h: dict[str, Tensor],
        rows: dict[str, Tensor | None],
        *,
        with_sent: bool = True,
    ) -> tuple[dict, dict, dict]:
        """Return all products of a node type's h, which are computed together.

        A relation and its reverse are two streams over the same two types, and share both.

        Args:
            streams: of the graph, or of a field.
            h: (num_nodes, in_dim) per node type.
            rows: by node type, the ascending positions of the nodes whose own projection is asked
                for; None for all.
            with_sent: whether to make W h, too.

        Returns:
            W h, (num_nodes, heads, dim), and `attention_scores`, by relation and node type, and the
            projection of a node itself by type, None where nodes do not see themselves.
        """
        ends = [(relation, edge_type[0], edge_type[2]) for relation, edge_type, _ in streams]
        folded = {relation: self._folded(relation) for relation, _, _ in ends}
        with_self = self.residual is not None
        projected, scores, selves = {}, {}, {}
        for name, x in h.items():
            sends = dict.fromkeys(
                relation for relation, src, _ in ends if src == name and with_sent
            )
            meets = dict.fromkeys(relation for relation, *both in ends if name in both)
            weights = [self.weight[relation] for relation in sends]
            weights += [folded[relation] for relation in meets]
            weights += [self.residual] if with_self else []
            met = [None] * len(weights)
            if with_self:
                met[-1] = rows[name]
            outs = iter(products(x, weights, rows=met))
            for relation in sends:
                projected[relation, name] = self._by_head(relation, next(outs))
            for relation in meets:
                scores[relation, name] = self._halves(next(outs))
            selves[name] = next(outs) if with_self else None
        return projected, scores, selves


def _dropped_shares(graph: HeteroGraph, drop_edge: float, keep_edges: float) -> dict[int, float]:
    """Return `_dropped_share` by number of the stream."""
    return {
        number: _dropped_share(stream.csr, drop_edge, keep_edges)
        for number, stream in enumerate(graph.streams)
    }


def _dropped_share(csr: CSR, drop_edge: float, keep_edges: float) -> float:
    """Return the share of edges to leave out, such that enough are kept.

    With 300 edges into 100 destinations that have any, keep_edges = 2 keeps 200 of them on average:
    at most a third is left out.
    """
    num_reached = int((csr.degrees() > 0).sum())
    return min(drop_edge, max(0.0, 1 - keep_edges * num_reached / max(1, csr.num_edges)))


class HeteroGAT(nn.Module):
    """Two attention layers and a linear head: one anomaly logit per node.

    Args:
        relations: names of the relations, as in the graph.
        in_dim: width of the embeddings z.
        architecture: what it is made of.
        feature_dims: number of features of each node type, where features enter.
        degree_dims: number of streams into each node type, where degrees enter.
        seed: of the initial weights.

    Attributes:
        config: the arguments as a dict of numbers, strings, lists and dicts; see `from_config`.

    Raises:
        ValueError: features or degrees enter but their numbers are not given, or embeddings enter
            alone and have no width.
    """

    def __init__(
        self,
        relations: Iterable[str],
        in_dim: int = 128,
        architecture: Architecture = Architecture(),
        *,
        feature_dims: dict[str, int] | None = None,
        degree_dims: dict[str, int] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        relations = list(relations)
        _check_dims(architecture, in_dim, feature_dims, degree_dims)
        self.architecture = architecture
        self.config = {
            "relations": relations, "in_dim": in_dim, "architecture": asdict(architecture),
            "feature_dims": feature_dims, "degree_dims": degree_dims, "seed": seed,
        }  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        hidden_dim = architecture.hidden_dim
        in_dims = _input_dims(architecture, in_dim, feature_dims, degree_dims)
        transform = TRANSFORMS[architecture.transform]
        self.scale = ByName({name: transform(dim) for name, dim in in_dims.items()})
        band_dims = feature_dims if architecture.bands else {}
        self.band_scale = ByName({name: Standardize(dim) for name, dim in band_dims.items()})
        self.weight_in = ByName(
            {name: glorot(dim, hidden_dim, generator=generator) for name, dim in in_dims.items()}
        )
        first_dim = hidden_dim if architecture.features else in_dim
        options = {"heads": architecture.heads, "residual": architecture.residual}
        self.layers = nn.ModuleList(
            GATLayer(relations, dim, hidden_dim, **options, generator=generator)
            for dim in (first_dim, hidden_dim)
        )
        self.head = glorot(hidden_dim, 1, generator=generator)
        self.bias = nn.Parameter(torch.zeros(1))
        takes_labels = architecture.label_input
        self.label_weight = glorot(2, first_dim, generator=generator) if takes_labels else None

    @classmethod
    def from_config(cls, config: dict) -> "HeteroGAT":
        """Return a network with the arguments of another, and its own initial weights."""
        return cls(**config | {"architecture": Architecture(**config["architecture"])})

    @same_bits()
    def inputs(self, graph: HeteroGraph, z: Tensor, *, fit: bool = False) -> dict[str, Tensor]:
        """Return what enters the network, (num_nodes, width) per node type.

        Args:
            graph: the graph, with features if the network takes them.
            z: (total, in_dim) embeddings; of any width if they are left out.
            fit: whether to take the statistics that scale the inputs from these.
        """
        z = z.to(self.head.dtype) if self.architecture.embeddings else z.new_empty(len(z), 0)
        inputs = {name: z[graph.span(name)] for name in graph.node_types}
        if not self.architecture.features:
            return inputs
        columns = {name: [inputs[name], graph.x[name]] for name in graph.node_types}
        for band in self._bands(graph, fit=fit) if self.architecture.bands else ():
            for name in columns:
                columns[name].append(band[graph.span(name)])
        if self.architecture.degrees:
            for _, (_, _, dst), csr in graph.streams:
                columns[dst].append(csr.degrees().to(z.dtype).log1p()[:, None])
        for name, scale in self.scale.items():
            joined = torch.cat(columns[name], 1)
            inputs[name] = (scale.fit(joined) if fit else scale)(joined)
        return inputs

    def _bands(self, graph: HeteroGraph, *, fit: bool) -> list[Tensor]:
        """Return the bands of all features; every type has columns of its own, 0 elsewhere."""
        blocks = []
        for name, scale in self.band_scale.items():
            x = graph.x[name]
            block = torch.zeros(graph.total, x.shape[1], dtype=scale.mean.dtype, device=x.device)
            block[graph.span(name)] = (scale.fit(x) if fit else scale)(x)
            blocks.append(block)
        return beta_wavelets(graph.homogeneous, torch.cat(blocks, 1), self.architecture.bands)

    @same_bits()
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
        nodes: Tensor | None = None,
    ) -> Tensor:
        """Return the embeddings after both layers, (total, hidden_dim).

        Args:
            graph: the graph.
            inputs: what `inputs` returned.
            shown: (total,) int64 of `shown_labels`; None where all are unknown.
            drop_edge: probability that an edge is left out.
            keep_edges: as in `GATLayer.forward`.
            generator: of the activations that are dropped, on the device of the graph; none are
                dropped without.
            seed: of the edges left out.
            nodes: (n,) int64 global ids, ascending, each once, of those to embed alone, (n,
                hidden_dim): the last layer looks at their edges and no other, and a layer before
                it at those of its sources, where they are few enough. All nodes if None.
        """
        dropped = _dropped_shares(graph, drop_edge, keep_edges)
        seeds = [seed * len(self.layers) + number for number in range(len(self.layers))]
        fields = fields_of(graph, nodes, dropped, [len(graph.streams) * seed for seed in seeds])
        h, dropout = self._enter(graph, inputs, shown, fields[0]), self.architecture.dropout
        is_whole = fields[0] is None  # whether h is of all nodes, or of what the next field needs
        for layer, layer_seed, field in zip(self.layers, seeds, fields, strict=True):
            if field is None:
                h = layer(graph, h, drop_edge=drop_edge, keep_edges=keep_edges, seed=layer_seed)
            else:
                h, is_whole = layer.of_field(field, field.select(h) if is_whole else h), False
            if generator is not None and dropout:
                h = {name: _drop(value, dropout, generator) for name, value in h.items()}
        return torch.cat([h[name] for name in graph.node_types])

    def _enter(
        self,
        graph: HeteroGraph,
        inputs: dict[str, Tensor],
        shown: Tensor | None,
        field: Field | None = None,
    ) -> dict[str, Tensor]:
        """Return what enters the first layer, (num_nodes, width) per node type; of a field, what it
        needs alone."""
        rows = dict.fromkeys(inputs) if field is None else field.needed
        if not len(self.weight_in):
            h = inputs if field is None else field.select(inputs)
        else:
            h = {
                name: product(x, self.weight_in[name], rows=rows[name])
                for name, x in inputs.items()
            }
        if shown is None or self.label_weight is None:
            return h
        shown = {name: shown[graph.span(name)] for name in h}
        if field is not None:
            shown = field.select(shown)
        # One row to add for each of UNKNOWN, NORMAL and ANOMALY; that of UNKNOWN is 0. The gradient
        # of `embedding` adds up the nodes in their order; that of an index, shift[shown], would add
        # them as threads happen to come by.
        shift = torch.cat([torch.zeros_like(self.label_weight[:1]), self.label_weight])
        return {
            name: value + nn.functional.embedding(shown[name], shift) for name, value in h.items()
        }

    @same_bits()
    def forward(self, graph: HeteroGraph, inputs: dict[str, Tensor], **options) -> Tensor:
        """Return the anomaly logit of every node, (total,); the options are those of `embed`.

        With `nodes`, it is 0 for all others.
        """
        logits, nodes = self.classify(self.embed(graph, inputs, **options)), options.get("nodes")
        if nodes is None:
            return logits
        return logits.new_zeros(graph.total).index_copy(0, nodes, logits)

    @same_bits()
    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits of embeddings from `embed`."""
        return product(embedding, self.head).squeeze(1) + self.bias

    @same_bits()
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


def _check_dims(
    architecture: Architecture, in_dim: int, feature_dims: dict | None, degree_dims: dict | None
) -> None:
    if architecture.features and not feature_dims:
        raise ValueError("features enter; give feature_dims, their number by node type")
    if architecture.degrees and not degree_dims:
        raise ValueError("degrees enter; give degree_dims, the number of streams by node type")
    if not architecture.features and in_dim < 1:
        raise ValueError("nodes must enter with embeddings or features; there are neither")


def _input_dims(
    architecture: Architecture, in_dim: int, feature_dims: dict | None, degree_dims: dict | None
) -> dict[str, int]:
    """Return how many numbers a node enters with, by type; empty if it is z as it is.

    Every type enters with the bands of all features: neighbors send theirs into those of others.
    """
    if not architecture.features:
        return {}
    shared = in_dim if architecture.embeddings else 0
    if architecture.bands:
        shared += (architecture.bands + 1) * sum(feature_dims.values())
    degrees = degree_dims if architecture.degrees else dict.fromkeys(feature_dims, 0)
    return {name: shared + dim + degrees[name] for name, dim in feature_dims.items()}


def _drop(h: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a share of the activations to zero, and scale the others to the same mean."""
    is_kept = torch.empty_like(h).bernoulli_(1 - share, generator=generator)
    return h * is_kept / (1 - share)
