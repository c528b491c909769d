"""Explanations: how attention is spread, which edges of a suspect count, and whether that is true.

An explainer gives every edge into a suspect a number, the higher the more the edge has to do with
the suspicion. Two measures tell a good one from a tale: how many of the edges that it puts first
were planted by the generator (`hit_rate`), and how far the score falls when those edges are deleted
and the node is scored again, against as many at random (`faithfulness`).

Sources: S. Rao et al., xFraud: Explainable Fraud Transaction Detection, VLDB 2022 (an explainer's
top k edges against those that people name); S. Jain and B. Wallace, Attention is not Explanation,
NAACL 2019 (attention must be tested before it is believed).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.bootstrap import Interval
from gadkit.graph import CSR, HeteroGraph, Stream
from gadkit.marketplace import Planted
from gadkit.nn import NEGATIVE_SLOPE, HeteroGAT
from gadkit.ops import attention
from gadkit.store import RELATIONS

if TYPE_CHECKING:
    from gadkit.detect import Fitted

BATCH = 1 << 20  # edges that occlusion scores nodes over at a time


# How attention is spread


def effective_neighbors(csr: CSR, alpha: Tensor) -> Tensor:
    """Return how many neighbors share a node's attention: 1 / sum of alpha squared, mean of heads.

    It is the degree where attention is uniform and 1 where a single neighbor has it all (Hill,
    Diversity and Evenness, Ecology 1973, number of order 2).

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row, as `HeteroGAT.attention`.

    Returns:
        (num_dst,); 0 for nodes without edges.
    """
    squares = alpha.square().view(csr.num_edges, -1)
    concentration = squares.new_zeros(csr.num_dst, squares.shape[1])
    concentration.index_add_(0, csr.dst(), squares)
    return torch.where(concentration > 0, 1 / concentration, 0.0).mean(1)


def attention_spread(csr: CSR, alpha: Tensor) -> Tensor:
    """Return effective neighbors over degree of every node with at least two neighbors."""
    degrees = csr.degrees()
    return (effective_neighbors(csr, alpha) / degrees)[degrees >= 2]


def attention_entropy(csr: CSR, alpha: Tensor) -> Tensor:
    """Return the entropy of a node's attention over that of uniform attention, mean of heads.

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row.

    Returns:
        (num_chosen,) in [0, 1] of every node with at least two neighbors, in the order of the rows;
        1 is a plain mean, 0 a single neighbor.
    """
    alpha = alpha.view(csr.num_edges, -1)
    entropy = alpha.new_zeros(csr.num_dst, alpha.shape[1])
    entropy.index_add_(0, csr.dst(), torch.special.entr(alpha))
    degrees = csr.degrees()
    return (entropy.mean(1) / degrees.log())[degrees >= 2]


def mass_on(csr: CSR, alpha: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention that falls on some of the sources, and what a plain mean would give.

    Args:
        csr: num_dst x num_src.
        alpha: (num_edges,) or (num_edges, heads); sums to one per row.
        chosen: (num_src,) bool, such as the frauds among the training labels.

    Returns:
        mass, uniform: (num_found,) in [0, 1], mean of heads, of every row with a chosen source and
        one that is not, in the order of the rows.
    """
    on = chosen[csr.indices.long()].to(alpha.dtype)
    weight = torch.stack([alpha.view(csr.num_edges, -1).mean(1) * on, on], 1)
    mass, count = weight.new_zeros(csr.num_dst, 2).index_add(0, csr.dst(), weight).unbind(1)
    uniform = count / csr.degrees().clamp(min=1)
    mixed = (uniform > 0) & (uniform < 1)
    return mass[mixed], uniform[mixed]


def principal_components(z: Tensor, count: int = 2) -> Tensor:
    """Project on the directions of largest variance, (num_nodes, count), largest first."""
    centered = (z - z.mean(0)).double()
    _, directions = torch.linalg.eigh(centered.T @ centered)  # ascending
    return (centered @ directions[:, -count:].flip(1)).to(z.dtype)


# Edges, and what gives each of them a number


class Edges(NamedTuple):
    """The edges into some nodes, over all streams, self-loops left out.

    Attributes:
        nodes: (num_nodes,) int64 global ids.
        ptr: (num_nodes + 1,) int64; nodes[i] has the edges ptr[i]:ptr[i + 1].
        stream: (num_edges,) int64; position in `HeteroGraph.streams`, ascending within a node.
        neighbor: (num_edges,) int64 global id of the other end.
    """

    nodes: Tensor
    ptr: Tensor
    stream: Tensor
    neighbor: Tensor

    @property
    def owner(self) -> Tensor:
        """Position in `nodes` of each edge, (num_edges,) int64."""
        return torch.arange(len(self.nodes)).repeat_interleave(self.ptr.diff())

    def of(self, position: int) -> slice:
        """Return the edges of nodes[position]."""
        return slice(int(self.ptr[position]), int(self.ptr[position + 1]))


def edges_into(graph: HeteroGraph, nodes: Tensor) -> Edges:
    """List the edges into some nodes.

    Args:
        graph: on the CPU.
        nodes: (num_nodes,) int64 global ids, each once.

    Raises:
        ValueError: a node is repeated or is none.
    """
    if len(nodes) and (nodes.min() < 0 or nodes.max() >= graph.total):
        raise ValueError(f"nodes must be in [0, {graph.total}), got up to {int(nodes.max())}")
    if len(nodes.unique()) < len(nodes):
        raise ValueError("a node is asked for twice; list each once")
    return _edges(graph, nodes, loops=False)


def _edges(graph: HeteroGraph, nodes: Tensor, *, loops: bool) -> Edges:
    owner, stream, neighbor = [], [], []
    for number, (_, (src, _, dst), csr) in enumerate(graph.streams):
        own, ids = _in_edges(graph, nodes, csr, src, dst)
        kept = (ids != nodes[own]) | loops
        owner.append(own[kept])
        neighbor.append(ids[kept])
        stream.append(torch.full((int(kept.sum()),), number))
    owner, stream, neighbor = map(torch.cat, (owner, stream, neighbor))
    order = owner.argsort(stable=True)
    ptr = torch.cat([owner.new_zeros(1), owner.bincount(minlength=len(nodes)).cumsum(0)])
    return Edges(nodes, ptr, stream[order], neighbor[order])


def _in_edges(graph: HeteroGraph, nodes: Tensor, csr: CSR, src: str, dst: str):
    """Return position in `nodes` and global id of the source of every edge of one stream."""
    at = _of_type(graph, nodes, dst)
    rows = csr.select(nodes[at] - graph.offset(dst))
    return at[rows.dst()], rows.indices.long() + graph.offset(src)


def _of_type(graph: HeteroGraph, nodes: Tensor, node_type: str) -> Tensor:
    return (graph.node_type_of(nodes) == graph.node_types.index(node_type)).nonzero().flatten()


def by_rarity(graph: HeteroGraph, edges: Edges) -> Tensor:
    """Put neighbors with few edges first: a control, which knows nothing of suspicion.

    Returns:
        (num_edges,) float64, minus the degree of the neighbor over all relations.
    """
    return -graph.homogeneous.degrees()[edges.neighbor].double()


@torch.no_grad()
def by_attention(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges) -> Tensor:
    """Give each edge its share of the attention of its node: mean of layers and heads.

    A node averages its streams, so that the shares of a node sum to one (but for self-loops).

    Args:
        model: the network.
        graph: the graph.
        inputs: of `model.inputs`.
        edges: of `edges_into`.

    Returns:
        (num_edges,) float64 in [0, 1].
    """
    shares = torch.zeros(len(edges.neighbor), dtype=torch.float64)
    for layer, h in zip(model.layers, _entering(model, graph, inputs), strict=True):
        for number, stream in enumerate(graph.streams):
            at = (edges.stream == number).nonzero().flatten()
            shares[at] += _attention_share(layer, graph, h, stream, edges, at)
    return shares / len(model.layers)


def _attention_share(layer, graph: HeteroGraph, h: dict, stream: Stream, edges: Edges, at: Tensor):
    """Return the attention of some edges of one stream, over the streams of their type."""
    relation, (src, _, dst), csr = stream
    nodes = edges.nodes[edges.owner[at].unique()]
    rows = nodes - graph.offset(dst)
    score_dst, _ = layer.attention_scores(relation, h[dst])
    _, score_src = layer.attention_scores(relation, h[src])
    alpha = attention(csr, score_src, score_dst, negative_slope=NEGATIVE_SLOPE, rows=rows)
    own, ids = _in_edges(graph, nodes, csr, src, dst)
    alpha = alpha.double().mean(1)[ids != nodes[own]]  # rows keep the order of `edges`
    return alpha / sum(other.edge_type[2] == dst for other in graph.streams)


@torch.no_grad()
def _entering(model: HeteroGAT, graph: HeteroGraph, inputs: dict) -> list[dict[str, Tensor]]:
    """Return what enters each layer, (num_nodes, width) per node type."""
    entering = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: entering.append(args[1]))
        for layer in model.layers
    ]
    try:
        model(graph, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return entering


class _Stars(NamedTuple):
    """Nodes of one type and their in-edges as a graph, for the layers of a network to run on.

    A node comes in variants that hear different sets of its edges, and every edge has a copy of its
    source, so that what flows over it can be told from what flows over the others. What the sources
    hear themselves is not part of it.
    """

    node_types: list[str]
    streams: list[Stream]


def _stars(graph: HeteroGraph, heard: Edges, copies: dict, of: Tensor, without: Tensor) -> _Stars:
    """Build it: the variants first among the nodes of their type, then the copies.

    Args:
        graph: the graph.
        heard: all in-edges of the nodes, which are of one type.
        copies: by node type (num_copies,) int64 positions of the edges whose sources are copied.
        of: (num_variants,) int64 position in `heard.nodes`.
        without: (num_variants,) int64 position in `heard` of the edge not heard; -1 for none.
    """
    degrees = heard.ptr.diff()[of]
    variant = torch.arange(len(of)).repeat_interleave(degrees)
    edge = torch.arange(len(variant))
    edge += (heard.ptr[of] - degrees.cumsum(0) + degrees).repeat_interleave(degrees)
    heeded = edge != without[variant]
    variant, edge = variant[heeded], edge[heeded]
    own_type = graph.node_types[int(graph.node_type_of(heard.nodes[:1]))]
    loops = heard.neighbor == heard.nodes[heard.owner]  # over which a variant hears itself
    streams = []
    for number, stream in enumerate(graph.streams):
        src, _, dst = stream.edge_type
        before = {name: len(of) if name == own_type else 0 for name in (src, dst)}
        place = torch.zeros(len(heard.neighbor), dtype=torch.int64)
        place[copies[src]] = before[src] + torch.arange(len(copies[src]))
        mine = heard.stream[edge] == number
        counts = variant[mine].bincount(minlength=before[dst] + len(copies[dst]))
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        source = torch.where(loops[edge[mine]], variant[mine], place[edge[mine]])
        csr = CSR(indptr, source, before[src] + len(copies[src]))
        streams.append(stream._replace(csr=csr))
    return _Stars(graph.node_types, streams)


def _copies(graph: HeteroGraph, heard: Edges) -> dict[str, Tensor]:
    """Return by type the edges whose sources are copied: one at least, for layers want some."""
    copies = {name: _of_type(graph, heard.neighbor, name) for name in graph.node_types}
    return {name: at if len(at) else torch.zeros(1).long() for name, at in copies.items()}


def _sent(graph: HeteroGraph, heard: Edges, copies: dict, entering: list) -> list[dict]:
    """Return by layer and type what enters the layer of the copies, (num_copies, width)."""
    rows = {
        name: (heard.neighbor[at] - graph.offset(name)).clamp(0, graph.num_nodes[name] - 1)
        for name, at in copies.items()
    }
    return [{name: h[name][of_type] for name, of_type in rows.items()} for h in entering]


def _logits(model: HeteroGAT, stars: _Stars, own_type: str, own: Tensor, sent: list) -> Tensor:
    """Return the logit of every variant; `own` is what enters the first layer of the variants."""
    for layer, copies in zip(model.layers, sent, strict=True):
        h = {name: torch.cat([own, x]) if name == own_type else x for name, x in copies.items()}
        own = layer(stars, h)[own_type][: len(own)]
    return model.classify(own)


def _by_type(graph: HeteroGraph, edges: Edges):
    """Yield a node type, all in-edges of the nodes of that type, and where they stand in `edges`.

    Self-loops, which are heard but not explained, stand at -1.
    """
    for node_type in graph.node_types:
        chosen = _of_type(graph, edges.nodes, node_type)
        heard = _edges(graph, edges.nodes[chosen], loops=True)
        if len(heard.neighbor):
            at = torch.full((len(heard.neighbor),), -1)
            explained = heard.neighbor != heard.nodes[heard.owner]
            at[explained] = torch.isin(edges.owner, chosen).nonzero().flatten()
            yield node_type, heard, at


@torch.no_grad()
def by_occlusion(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges) -> Tensor:
    """Give each edge the fall of its node's logit when the node no longer hears that neighbor.

    The attention of what is left is normalized again; what the neighbors hear stays as it is, and
    so do the inputs (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV
    2014, who cover parts of an image).

    Args:
        model: the network.
        graph: the graph.
        inputs: of `model.inputs`.
        edges: of `edges_into`.

    Returns:
        (num_edges,) float64, positive where the edge adds to the suspicion.
    """
    entering = _entering(model, graph, inputs)
    falls = torch.zeros(len(edges.neighbor), dtype=torch.float64)
    for own_type, heard, at in _by_type(graph, edges):
        copies = _copies(graph, heard)
        sent = _sent(graph, heard, copies, entering)
        rows = heard.nodes - graph.offset(own_type)
        nodes, others = torch.arange(len(rows)), (at >= 0).nonzero().flatten()
        of = torch.cat([nodes, heard.owner[others]])
        without = torch.cat([torch.full_like(nodes, -1), others])
        batch = heard.ptr.diff()[of].cumsum(0) // BATCH
        logits = torch.empty(len(of), dtype=torch.float64)
        for part in (batch == number for number in batch.unique()):
            stars = _stars(graph, heard, copies, of[part], without[part])
            own = entering[0][own_type][rows[of[part]]]
            logits[part] = _logits(model, stars, own_type, own, sent).double()
        falls[at[others]] = logits[heard.owner[others]] - logits[len(nodes) :]
    return falls


def by_gradient(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges) -> Tensor:
    """Give each edge gradient times input of what flows over it.

    What the neighbor sends into a layer, times the gradient of the node's logit with respect to it
    by way of this edge alone, summed over the layers (A. Shrikumar et al., Not Just a Black Box,
    2016, for the inputs of a network).

    Args:
        model: the network.
        graph: the graph.
        inputs: of `model.inputs`.
        edges: of `edges_into`.

    Returns:
        (num_edges,) float64, positive where the edge adds to the suspicion.
    """
    entering = _entering(model, graph, inputs)
    products = torch.zeros(len(edges.neighbor), dtype=torch.float64)
    for own_type, heard, at in _by_type(graph, edges):
        copies, nodes = _copies(graph, heard), torch.arange(len(heard.nodes))
        sent = _sent(graph, heard, copies, entering)
        leaves = [(name, x.requires_grad_()) for of_layer in sent for name, x in of_layer.items()]
        stars = _stars(graph, heard, copies, nodes, torch.full_like(nodes, -1))
        own = entering[0][own_type][heard.nodes - graph.offset(own_type)]
        logit = _logits(model, stars, own_type, own, sent).sum()  # no two nodes share a copy
        gradients = torch.autograd.grad(logit, [x for _, x in leaves], allow_unused=True)
        product = torch.zeros(len(at), dtype=torch.float64)
        for (name, x), gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                product[copies[name]] += (gradient * x).detach().double().sum(1)
        products[at[at >= 0]] = product[at >= 0]
    return products


def by_suspicion(graph: HeteroGraph, edges: Edges, scores: Tensor) -> Tensor:
    """Give each edge the score of its neighbor, or where that has none, the mean of those around.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        scores: (total,) in [0, 1]; NaN for nodes without one.

    Returns:
        (num_edges,) float64.
    """
    own = scores.double()[edges.neighbor]
    around = _around_neighbors(graph, edges, scores, tied=False)
    return torch.where(own.isnan(), around, own)


def by_company(graph: HeteroGraph, edges: Edges, scores: Tensor | None = None) -> Tensor:
    """Give each edge the suspects whom the node meets there, the more so the closer they are tied.

    Mean over the other neighbors b of the neighbor of tie(node, b) * score(b). A tie is the sum
    over all neighbors a that both have of 1 / degree(a): the resource allocation index (Zhou, Lü
    and Zhang, Predicting Missing Links via Local Information, European Physical Journal B 2009). So
    an edge counts that leads to where few others go, and these others are suspects who also share
    the node's other neighbors: what marks the targets of a group that acts in concert.

    Args:
        graph: the graph; seen without types, each pair of neighbors once.
        edges: of `edges_into`.
        scores: (total,) in [0, 1]; NaN counts as 0. None counts all nodes alike: ties alone.

    Returns:
        (num_edges,) float64, at least 0.
    """
    scores = torch.ones(graph.total) if scores is None else scores
    return _around_neighbors(graph, edges, scores, tied=True)


def meetings(graph: HeteroGraph, node: int, neighbor: int, scores: Tensor, count: int) -> list[int]:
    """Return whom a node meets at a neighbor: the most tied and suspicious of its other neighbors.

    Args:
        graph: the graph.
        node: global id.
        neighbor: global id.
        scores: (total,) in [0, 1]; NaN counts as 0.
        count: how many to return at most.

    Returns:
        Global ids by tie times score, as `by_company` adds up, the highest first; zeros left out.
    """
    csr, ties = graph.homogeneous, np.zeros(graph.total)
    _tie(csr.indptr.numpy(), csr.indices.numpy(), node, ties, True)
    there = csr.indices[csr.indptr[neighbor] : csr.indptr[neighbor + 1]].long()
    there = there[(there != node) & (there != neighbor)]
    value = torch.from_numpy(ties)[there] * scores.double().nan_to_num(0.0)[there]
    order = value.argsort(descending=True, stable=True)[:count]
    return there[order[value[order] > 0]].tolist()


def _around_neighbors(graph: HeteroGraph, edges: Edges, scores: Tensor, *, tied: bool) -> Tensor:
    csr = graph.homogeneous
    out = _company(
        csr.indptr.numpy(), csr.indices.numpy(), edges.nodes.numpy(), edges.ptr.numpy(),
        edges.neighbor.numpy(), scores.double().nan_to_num(0.0).numpy(), tied,
    )  # fmt: skip
    return torch.from_numpy(out)


@njit(cache=True)
def _company(indptr, indices, nodes, ptr, neighbors, scores, tied):
    """Average score, or tie times score, over the neighbors of each neighbor but the node."""
    out = np.zeros(len(neighbors))
    tie = np.zeros(len(scores)) if tied else np.ones(len(scores))
    for i in range(len(nodes)):
        if tied:
            _tie(indptr, indices, nodes[i], tie, True)
        for e in range(ptr[i], ptr[i + 1]):
            count, total = 0, 0.0
            for at in range(indptr[neighbors[e]], indptr[neighbors[e] + 1]):
                b = indices[at]
                if b != nodes[i] and b != neighbors[e]:
                    count += 1
                    total += tie[b] * scores[b]
            out[e] = total / max(count, 1)
        if tied:
            _tie(indptr, indices, nodes[i], tie, False)
    return out


@njit(cache=True)
def _tie(indptr, indices, node, tie, add):
    """Add to the ties of all within two steps of a node, or set them back to zero."""
    for at in range(indptr[node], indptr[node + 1]):
        a = indices[at]
        if a == node:
            continue
        share = 1.0 / (indptr[a + 1] - indptr[a] - 1)  # the row holds a self-loop, which is no edge
        for to in range(indptr[a], indptr[a + 1]):
            b = indices[to]
            if not add:
                tie[b] = 0.0
            elif b != a:
                tie[b] += share


def by_trees(
    graph: HeteroGraph,
    edges: Edges,
    contributions: Tensor,
    names: list[str],
    *,
    x_names: dict[str, list[str]],
    train: Tensor,
) -> Tensor:
    """Share out what the trees see in a node's neighborhood among the neighbors it is made of.

    The contribution of a column such as "hops: mean of price of products" (its SHAP value:
    Lundberg et al., From Local Explanations to Global Understanding, Nature Machine Intelligence
    2020) goes to the neighbors that pull the mean to the side where it lies, in proportion to how
    far. Columns of the blocks hops, relations and labels are shared out; others are of no neighbor.

    Args:
        graph: with the features of the columns.
        edges: of `edges_into`.
        contributions: (num_nodes, dim) float64 in logits, a row for each of `edges.nodes`; a last
            column for the bias is passed over.
        names: of the columns, as `views.Views.names`.
        x_names: names of the columns of x by node type.
        train: (num_train, 2) int64 rows [global id, 1 = anomaly]; the only labels looked at.

    Returns:
        (num_edges,) float64, positive where the neighbor adds to the suspicion.
    """
    column = {name: number for number, name in enumerate(names)}
    total = torch.zeros(len(edges.neighbor), dtype=torch.float64)
    for at, wanted, values in _brought(graph, edges, x_names, train):
        present = [number for number, name in enumerate(wanted) if name in column]
        if len(at) and present:
            of_node = contributions[:, [column[wanted[number]] for number in present]].double()
            total[at] += _shared_out(edges.owner[at], values[:, present].double(), of_node)
    return total


def _shared_out(owner: Tensor, values: Tensor, contributions: Tensor) -> Tensor:
    """Divide each node's contributions by how far its edges' values pull the node's mean."""
    centered = values - values.mean(0)
    mean = torch.zeros_like(contributions).index_add_(0, owner, centered)
    pull = (centered * mean.sign()[owner]).clamp(min=0)
    whole = torch.zeros_like(contributions).index_add_(0, owner, pull)
    return (contributions[owner] * pull / whole.clamp(min=1e-12)[owner]).sum(1)


def _brought(graph: HeteroGraph, edges: Edges, x_names: dict, train: Tensor):
    """Yield the edges of one path, the columns made of them, and what each edge brings to each."""
    own_types = graph.node_type_of(edges.nodes)[edges.owner]
    sources = graph.node_type_of(edges.neighbor)
    for middle_number, middle in enumerate(graph.node_types):
        for own_number, own in enumerate(graph.node_types):
            at = ((sources == middle_number) & (own_types == own_number)).nonzero().flatten()
            rows = edges.neighbor[at] - graph.offset(middle)
            via = "neighbors" if middle == own else f"{middle}s"
            means = [f"hops: mean of {name} of {via}" for name in x_names[middle]]
            yield at, means, graph.x[middle][rows, : len(means)]
            for far in dict.fromkeys(s.edge_type[0] for s in graph.streams
                                     if s.edge_type[2] == middle):  # fmt: skip
                means = [f"hops: mean of {name} of {far}s of {via}" for name in x_names[far]]
                yield at, means, _mean_around(graph, far, middle, rows)[:, : len(means)]
    for number, stream in enumerate(graph.streams):
        yield from _brought_over(graph, edges, number, stream, x_names, train)


def _brought_over(graph, edges: Edges, number: int, stream: Stream, x_names: dict, train: Tensor):
    """The same for the columns of one stream: means of features, and what is known of frauds."""
    src, name, dst = stream.edge_type
    at = (edges.stream == number).nonzero().flatten()
    rows = edges.neighbor[at] - graph.offset(src)
    means = [f"relations: mean of {of} over {name}" for of in x_names[src]]
    yield at, means, graph.x[src][rows, : len(means)]
    known = torch.zeros(graph.total, 2)
    known[train[:, 0]] = torch.stack([train[:, 1].float(), torch.ones(len(train))], 1)
    ends = stream.csr.transpose().select(rows)
    back = known.new_zeros(len(rows), 2)
    back.index_add_(0, ends.dst(), known[graph.span(dst)][ends.indices.long()])
    for path, (anomalies, labels) in (
        (name, known[edges.neighbor[at]].unbind(1)), (f"{name} and back", back.unbind(1)),
    ):  # fmt: skip
        columns = [f"labels: {what} over {path}" for what in ("rate", "log anomalies")]
        yield at, columns, anomalies[:, None].expand(-1, 2)
        yield at, [f"labels: log labels over {path}"], labels[:, None]
    rate = back[:, :1] / back[:, 1:].clamp(min=1)
    yield at, [f"labels: mean rate of {name}"], rate


def _mean_around(graph: HeteroGraph, source: str, node_type: str, rows: Tensor) -> Tensor:
    """Return the mean features of the neighbors of one type, (num_rows, dim)."""
    total, count = torch.zeros(len(rows), graph.x[source].shape[1]), torch.zeros(len(rows), 1)
    for _, (src, _, dst), csr in graph.streams:
        if (src, dst) == (source, node_type):
            near = csr.select(rows)
            total.index_add_(0, near.dst(), graph.x[source][near.indices.long()].float())
            count += near.degrees()[:, None]
    return total / count.clamp(min=1)


def every_explainer(
    graph: HeteroGraph,
    edges: Edges,
    *,
    model: HeteroGAT,
    inputs: dict,
    fitted: "Fitted",
    x_names: dict[str, list[str]],
) -> dict[str, Tensor]:
    """Return by name what each explainer here says of some edges, (num_edges,) each.

    The first two are controls: chance (all alike) and the rarity of the neighbor.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        model: the network.
        inputs: of `model.inputs`.
        fitted: a detector on tables, for its contributions and its scores.
        x_names: names of the columns of x by node type.
    """
    network, scores = (model, graph, inputs, edges), fitted.scores
    contributions = fitted.contributions(edges.nodes)
    return {
        "chance": torch.zeros(len(edges.neighbor), dtype=torch.float64),
        "rare neighbor": by_rarity(graph, edges),
        "attention": by_attention(*network),
        "gradient x input": by_gradient(*network),
        "occlusion": by_occlusion(*network),
        "tree contributions": by_trees(
            graph, edges, contributions, fitted.names, x_names=x_names, train=fitted.split.train
        ),
        "suspicion": by_suspicion(graph, edges, scores),
        "ties": by_company(graph, edges),
        "company": by_company(graph, edges, scores),
    }


def rescored_by(fitted: "Fitted", nodes: Tensor) -> Callable[[HeteroGraph], Tensor]:
    """Return what scores some nodes of another graph by a detector on tables, for `faithfulness`.

    The tables are made again from that graph; the learners stay as they are.
    """

    def rescore(graph: HeteroGraph) -> Tensor:
        seen = replace(fitted, views=fitted.views.with_graph(graph))
        scores = torch.full((graph.total,), torch.nan, dtype=torch.float64)
        scores[nodes] = seen.score(nodes)
        return scores

    return rescore


# Is it true?


def planted_edges(graph: HeteroGraph, edges: Edges, planted: Planted) -> Tensor:
    """Say which edges the generator planted to make their node a fraud, (num_edges,) bool.

    Of those that a fraud owns, the ones that it touches: what shills buy of a colluding seller is
    an edge between them and the product, not into the seller.
    """
    names = [edge_type[1] for edge_type, *_ in RELATIONS.values()]
    first = planted.edge_ptr[:-1]
    owner = np.repeat(planted.node, np.diff(np.append(first, planted.edge_ptr[-1])))
    other = np.where(planted.edge_src == owner, planted.edge_dst, planted.edge_src)
    touches = (planted.edge_src == owner) | (planted.edge_dst == owner)
    number = {name: i for i, name in enumerate(names)}
    relation = [number[stream.relation] for stream in graph.streams]
    key = (planted.edge_relation.astype(np.int64) * graph.total + owner) * graph.total + other
    mine = torch.tensor(relation)[edges.stream] * graph.total + edges.nodes[edges.owner]
    mine = mine * graph.total + edges.neighbor
    return torch.from_numpy(np.isin(mine.numpy(), key[touches]))


def hit_rate(edges: Edges, scores: Tensor, planted: Tensor, k: int) -> Tensor:
    """Return how many of the edges that an explainer puts first were planted.

    For each node: the number of planted edges among its k highest, over the most there could be,
    min(k, number of its planted edges). Edges of equal score stand in random order, and the
    expectation over it is returned; so an explainer that scores all alike is chance. The measure
    is the overlap of xFraud (section 5), with planted edges in place of those people named, where
    the number of planted edges is left as it is.

    Args:
        edges: of `edges_into`.
        scores: (num_edges,) of an explainer, finite.
        planted: (num_edges,) bool.
        k: edges read per node; at least 1.

    Returns:
        (num_nodes,) float64 in [0, 1]; NaN for nodes without planted edges.

    Raises:
        ValueError: k is below 1, or a score is not finite.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores of edges must be finite; give edges without one the lowest")
    rates = torch.full((len(edges.nodes),), torch.nan, dtype=torch.float64)
    for position in range(len(edges.nodes)):
        own, found = scores[edges.of(position)], planted[edges.of(position)]
        if found.any():
            least = own.topk(min(k, len(own))).values[-1]
            above, level = own > least, own == least
            share = (min(k, len(own)) - int(above.sum())) / int(level.sum())
            hits = int((found & above).sum()) + share * int((found & level).sum())
            rates[position] = hits / min(k, int(found.sum()))
    return rates


def top_edges(edges: Edges, scores: Tensor, k: int) -> Tensor:
    """Return the positions of the k highest edges of each node, ties in the order of the edges."""
    order = scores.argsort(descending=True, stable=True)
    order = order[edges.owner[order].argsort(stable=True)]
    rank = torch.arange(len(order)) - edges.ptr[edges.owner[order]]
    return order[rank < k]


def without_edges(graph: HeteroGraph, edges: Edges, chosen: Tensor) -> HeteroGraph:
    """Return the graph without some edges, in both directions; features and labels stay.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        chosen: (num_chosen,) int64 positions in `edges`.

    Raises:
        ValueError: a relation would have no edge left.
    """
    node, neighbor = edges.nodes[edges.owner[chosen]], edges.neighbor[chosen]
    forward = {stream.edge_type: number for number, stream in enumerate(graph.streams)}
    relations = [stream.relation for stream in graph.streams]
    kept = {}
    for (src, name, dst), csr in graph.edges.items():
        gone = []
        for number, relation in enumerate(relations):
            if relation == name:
                one, other = (part[edges.stream[chosen] == number] for part in (neighbor, node))
                is_forward = number == forward[src, name, dst]
                gone.append((one, other) if is_forward else (other, one))
                if relations.count(name) == 1:  # its own reverse
                    gone.append((other, one))
        keys = [(d - graph.offset(dst)) * csr.num_src + s - graph.offset(src) for s, d in gone]
        rows, sources = csr.dst(), csr.indices.long()
        left = ~torch.isin(rows * csr.num_src + sources, torch.cat(keys))
        counts = torch.zeros(csr.num_dst, dtype=torch.int64).index_add_(0, rows, left.long())
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        kept[src, name, dst] = CSR(indptr, csr.indices[left], csr.num_src)
    return HeteroGraph(graph.num_nodes, kept, graph.x, graph.labels)


def faithfulness(
    graph: HeteroGraph,
    edges: Edges,
    explainers: Mapping[str, Tensor],
    rescore: Callable[[HeteroGraph], Tensor],
    *,
    k: int = 5,
    draws: int = 3,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Measure how far scores fall when the edges that an explainer puts first are deleted.

    The k first edges of every node are deleted together, in both directions; all that the model
    makes of the graph is made again, and the nodes are scored by the model as it was trained. The
    same is done with k edges of each node at random.

    Args:
        graph: the graph.
        edges: of `edges_into`.
        explainers: by name (num_edges,) scores of edges.
        rescore: returns (total,) scores of the nodes of a graph, by the trained model.
        k: edges deleted per node; all where it has no more.
        draws: random deletions, whose mean is taken.
        seed: of the random deletions.

    Returns:
        By explainer, and for "random", (num_nodes,) float64: score before minus score after.
    """
    before = rescore(graph)[edges.nodes].double()

    def fall(scores: Tensor) -> Tensor:
        pruned = without_edges(graph, edges, top_edges(edges, scores, k))
        return before - rescore(pruned)[edges.nodes].double()

    generator = torch.Generator().manual_seed(seed)
    chance = [torch.rand(len(edges.neighbor), generator=generator) for _ in range(draws)]
    falls = {name: fall(scores) for name, scores in explainers.items()}
    return falls | {"random": torch.stack([fall(scores) for scores in chance]).mean(0)}


def mean_interval(
    values: Tensor, *, repeats: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return a mean with its bootstrap interval: the middle of the means of resampled values.

    For a paired difference, give the differences of the same nodes.

    Args:
        values: (n,) float; NaN are left out.
        repeats: resamples.
        level: share of the resampled means that the interval holds.
        seed: of the resamples.

    Raises:
        ValueError: there is no value.
    """
    values = values[~values.isnan()].double()
    if len(values) == 0:
        raise ValueError("there is no value to take the mean of")
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(values), (repeats, len(values)), generator=generator)
    low, high = values[picks].mean(1).quantile(
        torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=torch.float64)
    ).tolist()  # fmt: skip
    return Interval(values.mean().item(), low, high)
