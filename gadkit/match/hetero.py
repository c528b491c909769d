"""A marketplace as a graph to match in: all node types in one numbering, relations on the edges."""

from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import HeteroGraph
from gadkit.graph.arrays import Array, as_ids, as_tensor
from gadkit.match.attributed import AttributedGraph
from gadkit.match.beliefs import match
from gadkit.match.pattern import Pattern, nodes_around
from gadkit.match.result import Match
from gadkit.match.subgraphs import Subgraph


def from_hetero(
    graph: HeteroGraph,
    scores: Array | Mapping[str, Array] | None = None,
    embeddings: Array | Mapping[str, Array] | None = None,
) -> AttributedGraph:
    """Return a marketplace as a graph with attributes.

    Nodes keep their global ids; `named` tells type and number of them. A pattern node is matched by
    nodes of its type alone. An edge has a column for each relation, 1 in that of its own.

    Args:
        graph: on the CPU.
        scores: one number a node: (total,) by global id, or by type (num_nodes,) each.
        embeddings: (total, dim) by global id, or by type (num_nodes, dim) each; narrower types are
            filled up with zeros. Where neither is given, the attributes are log(1 + degree) in each
            relation.

    Raises:
        TypeError: scores or embeddings are no numbers.
        ValueError: a type is left out, or a shape is wrong.
    """
    given = {"scores": scores, "embeddings": embeddings}
    columns = [
        _laid_out(graph, values, name) for name, values in given.items() if values is not None
    ]
    x = torch.cat(columns, 1) if columns else _log_degrees(graph)
    ends, relation = [], []
    for number, ((src_type, _, dst_type), csr) in enumerate(graph.edges.items()):
        src, dst = csr.pairs()
        src, dst = src + graph.offset(src_type), dst + graph.offset(dst_type)
        ends.append(torch.stack([src, dst]))
        relation.append(torch.full((len(src),), number))
    src, dst = torch.cat(ends, 1)
    attr = torch.nn.functional.one_hot(torch.cat(relation), len(graph.edges))
    node_type = graph.node_type_of(torch.arange(graph.total))
    return AttributedGraph(x, src, dst, attr.float(), node_type)


class LookAlikes(NamedTuple):
    """Where else the surroundings of a node are found.

    Attributes:
        nodes: (K,) int64; global ids of the node and of those around it: the pattern.
        result: what `match` says of the pattern.
        places: those that fit best; the first is mostly the surroundings themselves.
    """

    nodes: np.ndarray
    result: Match
    places: list[Subgraph]


def look_alikes(
    graph: HeteroGraph,
    node: int,
    *,
    scores: Array | None = None,
    hops: int = 2,
    max_nodes: int = 12,
    k: int = 20,
) -> LookAlikes:
    """Search a marketplace for places that look like the surroundings of a node.

    Attributes are log degrees, see `from_hetero`, and log odds of fraud where there are scores; for
    others, take the steps one by one.

    Args:
        graph: on the CPU.
        node: global id.
        scores: (total,) probabilities by global id, NaN where a node has none, which then counts as
            a typical one. Surroundings of suspects look alike in them, too.
        hops: as of `Pattern.around`.
        max_nodes: as of `Pattern.around`.
        k: number of places.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    x = [_log_degrees(graph)]
    if scores is not None:
        x.append(_log_odds(_rows(scores, "scores", graph.total)))
    attributed = from_hetero(graph, embeddings=torch.cat(x, 1))
    nodes = nodes_around(attributed, node, hops=hops, max_nodes=max_nodes)
    result = match(attributed, Pattern.from_subgraph(attributed, nodes))
    return LookAlikes(nodes, result, result.subgraphs(k))


def named(graph: HeteroGraph, nodes: Array) -> list[tuple[str, int]]:
    """Return the type of each node, and its number within the type.

    Args:
        graph: the marketplace.
        nodes: (n,) integer global ids, as of `Subgraph.nodes`.

    Raises:
        TypeError: the ids are no integers.
        ValueError: an id is out of range.
    """
    nodes = as_ids(nodes, "nodes").long()
    if len(nodes) and not 0 <= int(nodes.min()) <= int(nodes.max()) < graph.total:
        raise ValueError(f"nodes must be in [0, {graph.total}), got {nodes.tolist()}")
    kinds = graph.node_type_of(nodes).tolist()
    starts = [0, *accumulate(graph.num_nodes.values())]
    return [
        (graph.node_types[kind], node - starts[kind])
        for kind, node in zip(kinds, nodes.tolist(), strict=True)
    ]


def _laid_out(graph: HeteroGraph, values: Array | Mapping[str, Array], name: str) -> Tensor:
    """Return values of all nodes as (total, dim) float32."""
    if isinstance(values, Mapping):
        absent = [kind for kind in graph.node_types if kind not in values]
        if absent:
            raise ValueError(f"{name} has no values for {absent[0]!r}; give some, or zeros")
        parts = [
            _rows(values[kind], f"{name}[{kind!r}]", count)
            for kind, count in graph.num_nodes.items()
        ]
        width = max(part.shape[1] for part in parts)
        pad = torch.nn.functional.pad
        return torch.cat([pad(part, (0, width - part.shape[1])) for part in parts])
    return _rows(values, name, graph.total)


def _rows(values: Array, name: str, count: int) -> Tensor:
    rows = as_tensor(values, name).detach().cpu().float()
    rows = rows[:, None] if rows.dim() == 1 else rows
    if rows.dim() != 2 or len(rows) != count:
        raise ValueError(
            f"{name} must have {count} rows, one for each node, got shape {tuple(rows.shape)}"
        )
    return rows


def _log_odds(scores: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of probabilities, (total, 1); their median where there is none."""
    odds = scores.double().clamp(1e-6, 1 - 1e-6).logit()
    return torch.where(odds.isnan(), odds.nanmedian(), odds).nan_to_num(0.0).float()


def _log_degrees(graph: HeteroGraph) -> Tensor:
    """Return log(1 + degree) of every node in every relation, there and back; (total, dim)."""
    columns = []
    for _, (_, _, dst_type), csr in graph.streams:
        column = torch.zeros(graph.total)
        column[graph.span(dst_type)] = csr.degrees().float().log1p()
        columns.append(column)
    return torch.stack(columns, 1)
