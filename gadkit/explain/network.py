"""Explainers that ask a graph attention network: attention, occlusion, gradient times input."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.explain.edges import (
    Edges,
    incoming_edges,
    parallel,
    positions_of_type,
    rows_of_stream,
    together,
)
from gadkit.graph import CSR, HeteroGraph, Stream, indptr_of
from gadkit.network.gat import NEGATIVE_SLOPE, HeteroGAT
from gadkit.ops import attention
from gadkit.ops.threads import same_bits

BATCH = 1 << 20  # edges that occlusion scores nodes over at a time


@same_bits()
@torch.no_grad()
def by_attention(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges) -> Tensor:
    """Give each edge its share of the attention of its node: mean of layers and heads.

    A node averages its streams, so that the shares of a node sum to one, less what self-loops get
    and the part of streams in which it has no edge. Edges that are repeated are each given what
    they have together, of which the sum counts one.

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
            chosen = (edges.stream == number).nonzero().flatten()
            shares[chosen] += _attention_share(layer, graph, h, stream, edges, chosen)
    return together(edges, shares / len(model.layers))


def _attention_share(
    layer, graph: HeteroGraph, h: dict, stream: Stream, edges: Edges, chosen: Tensor
) -> Tensor:
    """Return the attention of some edges of one stream, over the streams of their type."""
    relation, (src, _, dst), csr = stream
    nodes = edges.nodes[edges.owner[chosen].unique()]
    rows = nodes - graph.offset(dst)
    score_dst, _ = layer.attention_scores(relation, h[dst])
    _, score_src = layer.attention_scores(relation, h[src])
    alpha = attention(csr, score_src, score_dst, negative_slope=NEGATIVE_SLOPE, rows=rows)
    owner, neighbor = rows_of_stream(graph, nodes, csr, src, dst)
    alpha = alpha.double().mean(1)[neighbor != nodes[owner]]  # rows keep the order of `edges`
    return alpha / sum(each.edge_type[2] == dst for each in graph.streams)


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
        incoming: the edges into the nodes, self-loops among them.
        position: (num_incoming,) int64; where each edge stands among those explained, -1 for
            self-loops.
        copies: by node type (num_copies,) int64; the edges, positions in `incoming`, whose sources
            of this type are copied.
        h: (num_nodes, width) of the nodes; what enters the first layer.
        sent: by layer and node type (num_copies, width) of the copies; what enters the layer.
    """

    node_type: str
    incoming: Edges
    position: Tensor
    copies: dict[str, Tensor]
    h: Tensor
    sent: list[dict[str, Tensor]]


def _neighborhoods(
    model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges
) -> Iterator[_Neighborhoods]:
    """Yield what is around the nodes of `edges`, a node type at a time."""
    entering = _entering(model, graph, inputs)
    for node_type in graph.node_types:
        chosen = positions_of_type(graph, edges.nodes, node_type)
        incoming = incoming_edges(graph, edges.nodes[chosen], loops=True)
        if len(incoming.neighbor):
            # `incoming` holds the edges of `edges` whose nodes are of this type, in the same order,
            # and self-loops between them, which `edges` leaves out. So the k-th that is no loop is
            # the k-th of `edges` with an owner among `chosen`: if the edges 0, 1 and 4 of `edges`
            # are of this type and a loop stands second, position is [0, -1, 1, 4].
            position = torch.full((len(incoming.neighbor),), -1)
            is_explained = incoming.neighbor != incoming.nodes[incoming.owner]
            position[is_explained] = torch.isin(edges.owner, chosen).nonzero().flatten()
            copies = _copies(graph, incoming)
            h = entering[0][node_type][incoming.nodes - graph.offset(node_type)]
            sent = _sent(graph, incoming, copies, entering)
            yield _Neighborhoods(node_type, incoming, position, copies, h, sent)


def _copies(graph: HeteroGraph, incoming: Edges) -> dict[str, Tensor]:
    """Return by node type the edges whose sources are of it and get a copy, (num_copies,)."""
    # With sources [user 3, product 5, user 3] it is {"user": [0, 2], "product": [1]}: user 3 has
    # two copies, one for each edge. A layer cannot do with no row at all for a type, so a type
    # that no source has gets a copy in the name of edge 0. No stream of `_stars` leads there, and
    # `_sent` clamps the id, which is of another type, so what that row holds does not matter.
    copies = {name: positions_of_type(graph, incoming.neighbor, name) for name in graph.node_types}
    return {name: e if len(e) else torch.zeros(1).long() for name, e in copies.items()}


def _sent(
    graph: HeteroGraph, incoming: Edges, copies: dict[str, Tensor], entering: list
) -> list[dict[str, Tensor]]:
    """Return by layer and type what enters the layer of the copies, (num_copies, width)."""
    rows = {
        name: (incoming.neighbor[e] - graph.offset(name)).clamp(0, graph.num_nodes[name] - 1)
        for name, e in copies.items()
    }
    return [{name: h[name][row] for name, row in rows.items()} for h in entering]


class _Stars(NamedTuple):
    """Nodes in variants that hear different sets of their edges, as a graph for a network's layers.

    Of each type there are the variants first, where it is theirs, then the copies.
    """

    node_types: list[str]
    streams: list[Stream]


def _stars(graph: HeteroGraph, around: _Neighborhoods, center: Tensor, left_out: Tensor) -> _Stars:
    """Build the graph of stars: a variant in the middle, copies of its neighbors around it.

    Args and their shapes are those of `_logits`.
    """
    incoming, copies = around.incoming, around.copies
    # One entry for each edge that a variant could hear: `variant` says whose it is, `edge` which
    # of `incoming`. If node 0 has the edges 0 to 2 and node 1 the edges 3 and 4, the variants
    # center = [0, 1, 1], left_out = [-1, 3, -1] begin with variant = [0, 0, 0, 1, 1, 2, 2] and
    # edge = [0, 1, 2, 3, 4, 3, 4]: a count from 0 within each variant, plus where its node's edges
    # begin. Then the entry of variant 1 and edge 3 goes.
    degrees = incoming.ptr.diff()[center]
    variant = torch.arange(len(center)).repeat_interleave(degrees)
    edge = torch.arange(len(variant))
    edge += (incoming.ptr[center] - degrees.cumsum(0) + degrees).repeat_interleave(degrees)
    first = parallel(incoming)  # with an edge, those go that repeat it
    left_out = torch.where(left_out >= 0, first[left_out], -1)
    is_heard = first[edge] != left_out[variant]
    variant, edge = variant[is_heard], edge[is_heard]
    is_loop = incoming.neighbor == incoming.nodes[incoming.owner]  # a variant hears itself there
    streams = []
    for number, stream in enumerate(graph.streams):
        # Rows of each end: `first` variants, then its copies; `place` is the row of an edge's copy.
        src, _, dst = stream.edge_type
        first = {name: len(center) if name == around.node_type else 0 for name in (src, dst)}
        place = torch.zeros(len(incoming.neighbor), dtype=torch.int64)
        place[copies[src]] = first[src] + torch.arange(len(copies[src]))
        chosen = incoming.stream[edge] == number
        counts = variant[chosen].bincount(minlength=first[dst] + len(copies[dst]))
        source = torch.where(is_loop[edge[chosen]], variant[chosen], place[edge[chosen]])
        csr = CSR(indptr_of(counts), source, first[src] + len(copies[src]))
        streams.append(stream._replace(csr=csr))
    return _Stars(graph.node_types, streams)


def _logits(
    model: HeteroGAT, graph: HeteroGraph, around: _Neighborhoods, center: Tensor, left_out: Tensor
) -> Tensor:
    """Return the logit of every variant of a node, (num_variants,).

    Args:
        model: the network.
        graph: the graph.
        around: the nodes and what flows to them.
        center: (num_variants,) int64; the node of each variant, position in
            `around.incoming.nodes`.
        left_out: (num_variants,) int64; the edge that it does not hear, nor those that repeat it,
            position in `around.incoming`; -1 for none.
    """
    stars, h = _stars(graph, around, center, left_out), around.h[center]
    for layer, sent in zip(model.layers, around.sent, strict=True):
        entering = sent | {around.node_type: torch.cat([h, sent[around.node_type]])}
        h = layer(stars, entering)[around.node_type][: len(h)]
    return model.classify(h)


@same_bits()
@torch.no_grad()
def by_occlusion(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges) -> Tensor:
    """Give each edge the fall of its node's logit when the node no longer hears that neighbor.

    Edges that are repeated go together, and each is given the fall. The attention of what is left
    is normalized again; what the neighbors hear stays as it is, and so do the inputs (Zeiler and
    Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, who cover parts of an
    image).

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
        incoming = around.incoming
        is_first = parallel(incoming) == torch.arange(len(incoming.neighbor))
        explained = ((around.position >= 0) & is_first).nonzero().flatten()
        nodes = torch.arange(len(incoming.nodes))  # each as it is, then once without each edge
        center = torch.cat([nodes, incoming.owner[explained]])
        left_out = torch.cat([torch.full_like(nodes, -1), explained])
        batch = incoming.ptr.diff()[center].cumsum(0) // BATCH
        logits = torch.empty(len(center), dtype=torch.float64)
        for part in (batch == number for number in batch.unique()):
            logits[part] = _logits(model, graph, around, center[part], left_out[part]).double()
        whole = logits[incoming.owner[explained]]
        falls[around.position[explained]] = whole - logits[len(nodes) :]
    return falls[parallel(edges)]


@same_bits()
def by_gradient(model: HeteroGAT, graph: HeteroGraph, inputs: dict, edges: Edges) -> Tensor:
    """Give each edge gradient times input of what flows over it.

    What the neighbor sends into a layer, times the gradient of the node's logit with respect to it
    by way of this edge alone, summed over the layers (A. Shrikumar et al., Not Just a Black Box,
    2016, for the inputs of a network). Edges that are repeated are each given what they have
    together.

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
        nodes = torch.arange(len(around.incoming.nodes))
        logits = _logits(model, graph, around, nodes, torch.full_like(nodes, -1))
        total = logits.sum()  # no two nodes share a copy
        gradients = torch.autograd.grad(total, [x for _, x in leaves], allow_unused=True)
        product = torch.zeros(len(around.position), dtype=torch.float64)
        for (name, x), gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                product[around.copies[name]] += (gradient * x).detach().double().sum(1)
        is_explained = around.position >= 0
        products[around.position[is_explained]] = product[is_explained]
    return together(edges, products)
