"""Contributions of boosted trees, shared out among the neighbors that a column is made of."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gadkit.explain.edges import Edges, together
from gadkit.graph import HeteroGraph, Stream


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
    Edges that are repeated are each given what they have together.

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
    for chosen, wanted, values in _brought(graph, edges, x_names, train):
        present = [number for number, name in enumerate(wanted) if name in column]
        if len(chosen) and present:
            of_node = contributions[:, [column[wanted[number]] for number in present]].double()
            total[chosen] += _shared_out(edges.owner[chosen], values[:, present].double(), of_node)
    return together(edges, total)


def _shared_out(owner: Tensor, values: Tensor, contributions: Tensor) -> Tensor:
    """Divide each node's contributions by how far its edges' values pull the node's mean.

    Args:
        owner: (num_edges,) int64; the node of each edge, a row of `contributions`.
        values: (num_edges, num_columns) float64; what each edge brings to each column.
        contributions: (num_nodes, num_columns) float64.

    Returns:
        (num_edges,) float64, summed over the columns.
    """
    # A column at a time: say the mean over all edges is 4 and a node has edges of 1, 5 and 9, which
    # lie -3, +1 and +5 from it. Together they lie +3, so the node is above; the edge of -3 pulls
    # the other way and counts 0. The pulls are 0, 1 and 5, and of a contribution of 0.6 the edges
    # get 0, 0.1 and 0.5.
    centered = values - values.mean(0)
    side = torch.zeros_like(contributions).index_add_(0, owner, centered).sign()
    pull = (centered * side[owner]).clamp(min=0)
    whole = torch.zeros_like(contributions).index_add_(0, owner, pull)
    return (contributions[owner] * pull / whole.clamp(min=1e-12)[owner]).sum(1)


def _brought(
    graph: HeteroGraph, edges: Edges, x_names: dict[str, list[str]], train: Tensor
) -> Iterator[tuple[Tensor, list[str], Tensor]]:
    """Yield what edges bring to the columns of the trees' table, a kind of column at a time.

    Yields:
        (num_chosen,) int64 positions in `edges`; names of columns; (num_chosen, num_columns).
    """
    owner_types = graph.node_type_of(edges.nodes)[edges.owner]
    sources = graph.node_type_of(edges.neighbor)
    for middle_number, middle in enumerate(graph.node_types):
        for owner_number, owner_type in enumerate(graph.node_types):
            chosen = (sources == middle_number) & (owner_types == owner_number)
            chosen = chosen.nonzero().flatten()
            rows = edges.neighbor[chosen] - graph.offset(middle)
            via = "neighbors" if middle == owner_type else f"{middle}s"
            means = [f"hops: mean of {name} of {via}" for name in x_names[middle]]
            yield chosen, means, graph.x[middle][rows, : len(means)]
            for far in dict.fromkeys(s.edge_type[0] for s in graph.streams
                                     if s.edge_type[2] == middle):  # fmt: skip
                means = [f"hops: mean of {name} of {far}s of {via}" for name in x_names[far]]
                yield chosen, means, _mean_around(graph, far, middle, rows)[:, : len(means)]
    for number, stream in enumerate(graph.streams):
        yield from _brought_over(graph, edges, number, stream, x_names, train)


def _brought_over(
    graph: HeteroGraph, edges: Edges, number: int, stream: Stream, x_names: dict, train: Tensor
) -> Iterator[tuple[Tensor, list[str], Tensor]]:
    """Yield the same for the columns of one stream: means of features, rates of known frauds."""
    src, name, dst = stream.edge_type
    chosen = (edges.stream == number).nonzero().flatten()
    rows = edges.neighbor[chosen] - graph.offset(src)
    means = [f"relations: mean of {feature} over {name}" for feature in x_names[src]]
    yield chosen, means, graph.x[src][rows, : len(means)]
    counts = torch.zeros(graph.total, 2)  # of each node, or about it: known frauds, and labels
    counts[train[:, 0]] = torch.stack([train[:, 1].float(), torch.ones(len(train))], 1)
    ends = stream.csr.transpose().select(rows)
    back = counts.new_zeros(len(rows), 2)
    back.index_add_(0, ends.dst(), counts[graph.span(dst)][ends.indices.long()])
    for path, (anomalies, labels) in (
        (name, counts[edges.neighbor[chosen]].unbind(1)), (f"{name} and back", back.unbind(1)),
    ):  # fmt: skip
        columns = [f"labels: {what} over {path}" for what in ("rate", "log anomalies")]
        yield chosen, columns, anomalies[:, None].expand(-1, 2)
        yield chosen, [f"labels: log labels over {path}"], labels[:, None]
    rate = back[:, :1] / back[:, 1:].clamp(min=1)
    yield chosen, [f"labels: mean rate of {name}"], rate


def _mean_around(graph: HeteroGraph, source: str, node_type: str, rows: Tensor) -> Tensor:
    """Return the mean features of the neighbors of one type, (num_rows, dim)."""
    total = torch.zeros(len(rows), graph.x[source].shape[1], dtype=torch.float64)
    count = torch.zeros(len(rows), 1, dtype=torch.float64)
    for _, (src, _, dst), csr in graph.streams:
        if (src, dst) == (source, node_type):
            near = csr.select(rows)
            total.index_add_(0, near.dst(), graph.x[source][near.indices.long()].double())
            count += near.degrees()[:, None]
    return total / count.clamp(min=1)
