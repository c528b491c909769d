"""Explanations: which edges of a suspect count.

An explainer gives every edge into a suspect a number, the higher the more the edge has to do with
the suspicion. Whether it is true is asked in `faithfulness`.
"""

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.graph import CSR, HeteroGraph, Stream
from gadkit.network.gat import NEGATIVE_SLOPE, HeteroGAT
from gadkit.ops import attention
from gadkit.trees.recipe import Fitted

BATCH = 1 << 20  # edges that occlusion scores nodes over at a time


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


class _Neighborhoods(NamedTuple):
    """All nodes of one type whose edges are explained, and what flows over these edges.

    Every edge has a copy of its source, so that what flows over it can be told from what flows over
    the others. What the sources hear themselves is not part of it.

    Attributes:
        node_type: of the nodes.
        heard: the edges into the nodes, self-loops among them.
        at: (num_heard,) int64; position of each edge among those explained, -1 for self-loops.
        copies: by node type (num_copies,) int64 positions of the edges whose sources are copied.
        own: (num_nodes, width) of the nodes; what enters the first layer.
        sent: by layer and node type (num_copies, width) of the copies; what enters the layer.
    """

    node_type: str
    heard: Edges
    at: Tensor
    copies: dict[str, Tensor]
    own: Tensor
    sent: list[dict[str, Tensor]]


def _neighborhoods(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges):
    """Yield what is around the nodes of `edges`, a node type at a time."""
    entering = _entering(model, graph, inputs)
    for node_type in graph.node_types:
        chosen = _of_type(graph, edges.nodes, node_type)
        heard = _edges(graph, edges.nodes[chosen], loops=True)
        if len(heard.neighbor):
            at = torch.full((len(heard.neighbor),), -1)
            explained = heard.neighbor != heard.nodes[heard.owner]
            at[explained] = torch.isin(edges.owner, chosen).nonzero().flatten()
            copies = _copies(graph, heard)
            own = entering[0][node_type][heard.nodes - graph.offset(node_type)]
            sent = _sent(graph, heard, copies, entering)
            yield _Neighborhoods(node_type, heard, at, copies, own, sent)


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


class _Stars(NamedTuple):
    """Nodes in variants that hear different sets of their edges, as a graph for a network's layers.

    Of each type there are the variants first, where it is theirs, then the copies.
    """

    node_types: list[str]
    streams: list[Stream]


def _stars(graph: HeteroGraph, around: _Neighborhoods, of: Tensor, without: Tensor) -> _Stars:
    """Build it; arguments as of `_logits`."""
    heard, copies = around.heard, around.copies
    degrees = heard.ptr.diff()[of]
    variant = torch.arange(len(of)).repeat_interleave(degrees)
    edge = torch.arange(len(variant))
    edge += (heard.ptr[of] - degrees.cumsum(0) + degrees).repeat_interleave(degrees)
    heeded = edge != without[variant]
    variant, edge = variant[heeded], edge[heeded]
    loops = heard.neighbor == heard.nodes[heard.owner]  # over which a variant hears itself
    streams = []
    for number, stream in enumerate(graph.streams):
        src, _, dst = stream.edge_type
        before = {name: len(of) if name == around.node_type else 0 for name in (src, dst)}
        place = torch.zeros(len(heard.neighbor), dtype=torch.int64)
        place[copies[src]] = before[src] + torch.arange(len(copies[src]))
        mine = heard.stream[edge] == number
        counts = variant[mine].bincount(minlength=before[dst] + len(copies[dst]))
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        source = torch.where(loops[edge[mine]], variant[mine], place[edge[mine]])
        csr = CSR(indptr, source, before[src] + len(copies[src]))
        streams.append(stream._replace(csr=csr))
    return _Stars(graph.node_types, streams)


def _logits(
    model: HeteroGAT, graph: HeteroGraph, around: _Neighborhoods, of: Tensor, without: Tensor
) -> Tensor:
    """Return the logit of every variant of a node, (num_variants,).

    Args:
        model: the network.
        graph: the graph.
        around: the nodes and what flows to them.
        of: (num_variants,) int64 position in `around.heard.nodes`.
        without: (num_variants,) int64 position in `around.heard` of the edge not heard; -1 for
            none.
    """
    stars, own = _stars(graph, around, of, without), around.own[of]
    for layer, sent in zip(model.layers, around.sent, strict=True):
        h = sent | {around.node_type: torch.cat([own, sent[around.node_type]])}
        own = layer(stars, h)[around.node_type][: len(own)]
    return model.classify(own)


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
    falls = torch.zeros(len(edges.neighbor), dtype=torch.float64)
    for around in _neighborhoods(model, graph, inputs, edges):
        heard, explained = around.heard, (around.at >= 0).nonzero().flatten()
        nodes = torch.arange(len(heard.nodes))
        of = torch.cat([nodes, heard.owner[explained]])
        without = torch.cat([torch.full_like(nodes, -1), explained])
        batch = heard.ptr.diff()[of].cumsum(0) // BATCH
        logits = torch.empty(len(of), dtype=torch.float64)
        for part in (batch == number for number in batch.unique()):
            logits[part] = _logits(model, graph, around, of[part], without[part]).double()
        falls[around.at[explained]] = logits[heard.owner[explained]] - logits[len(nodes) :]
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
    products = torch.zeros(len(edges.neighbor), dtype=torch.float64)
    for around in _neighborhoods(model, graph, inputs, edges):
        leaves = [(name, x.requires_grad_()) for sent in around.sent for name, x in sent.items()]
        nodes = torch.arange(len(around.heard.nodes))
        logits = _logits(model, graph, around, nodes, torch.full_like(nodes, -1))
        total = logits.sum()  # no two nodes share a copy
        gradients = torch.autograd.grad(total, [x for _, x in leaves], allow_unused=True)
        product = torch.zeros(len(around.at), dtype=torch.float64)
        for (name, x), gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                product[around.copies[name]] += (gradient * x).detach().double().sum(1)
        explained = around.at >= 0
        products[around.at[explained]] = product[explained]
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
    fitted: Fitted,
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
