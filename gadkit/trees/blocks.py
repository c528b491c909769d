"""The blocks that a table is made of: each is a function that returns named columns of some nodes.

A block takes the views, a node type, rows of that type ((n,) int64, from 0 in each type) and the
training labels, which only three blocks read. What it returns may depend on a node's row alone,
never on which other rows are asked for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gadkit.graph import CHUNK, CSR
from gadkit.ops import spmm
from gadkit.ops.threads import share_out

if TYPE_CHECKING:
    from gadkit.trees.views import Views

PARTS, EDGES = 32, 65_536  # of a mean over all rows that threads take, and edges of each at least
CANCELS = 1e-3  # of a variance in float32 that is so much smaller, less than four digits are left

Columns = tuple[list[str], Tensor]  # names, and (num_rows, dim) float32
Block = Callable[["Views", str, Tensor, Tensor | None], Columns]


def named(pattern: str, names: list[str], values: Tensor) -> Columns:
    """Name columns by a pattern such as "mean of {}"."""
    return [pattern.format(name) for name in names], values


def joined(parts: list[Columns], rows: Tensor) -> Columns:
    """Put columns beside each other; `rows` says how many there are if there are no parts."""
    names = [name for part_names, _ in parts for name in part_names]
    if not names:
        return [], torch.empty(len(rows), 0)
    return names, torch.cat([values for _, values in parts], 1)


def mean(csr: CSR, x: Tensor) -> Tensor:
    """Average x (num_src, dim) over the edges into each row, (num_dst, dim); 0 without edges.

    Summed in float64: the mean of thousands of amounts that are nearly alike would else be off by
    more than they differ.
    """
    means = x.new_empty(csr.num_dst, x.shape[1])
    arrays = [tensor.contiguous().numpy() for tensor in (csr.indptr, csr.indices, x)]
    # Every row is added up by itself, so where they are cut does not show.
    parts = min(PARTS, 1 + csr.num_edges // EDGES)
    ends = torch.arange(1, parts) * csr.num_edges // parts
    cuts = [0, *torch.searchsorted(csr.indptr, ends).tolist(), csr.num_dst]
    tasks = [(*cut, *arrays, means.numpy()) for cut in zip(cuts, cuts[1:], strict=False)]
    share_out(_fill_means, tasks)
    return means


@njit(cache=True, nogil=True)
def _fill_means(first, last, indptr, indices, x, means):
    """Write the means of the rows [first, last); a long row is added up in chunks of edges."""
    dim = x.shape[1]
    total, part = np.empty(dim), np.empty(dim)
    for row in range(first, last):
        begin, end = indptr[row], indptr[row + 1]
        total[:] = 0.0
        for chunk in range(begin, end, CHUNK):
            part[:] = 0.0
            for e in range(chunk, min(chunk + CHUNK, end)):
                source = x[indices[e]]
                for d in range(dim):
                    part[d] += source[d]
            for d in range(dim):
                total[d] += part[d]
        share = 1.0 / max(end - begin, 1)
        for d in range(dim):
            means[row, d] = total[d] * share


def own_features(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """Features of the node itself, and its type where the table has several."""
    neighbors = views.neighbors
    names, values = neighbors.x_names[node_type], neighbors.x[node_type][rows]
    if len(views.types) > 1:
        number = views.graph.node_types.index(node_type)
        values = torch.cat([values, torch.full((len(rows), 1), float(number))], 1)
        names = [*names, "node type"]
    return names, values


def hops(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """Mean features one and two hops away, over every path of types."""
    parts, neighbors = [], views.neighbors
    for middle in neighbors.sources(node_type):
        csr = neighbors.between(middle, node_type).select(rows)
        via = f"{middle}s" if middle != node_type else "neighbors"
        near = mean(csr, neighbors.x[middle])
        parts.append(named(f"mean of {{}} of {via}", neighbors.x_names[middle], near))
        for far in neighbors.sources(middle):
            values = mean(csr, neighbors.mean_of(far, middle))
            parts.append(named(f"mean of {{}} of {far}s of {via}", neighbors.x_names[far], values))
    return joined(parts, rows)


def spread(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """Standard deviation of the neighbors' features, by type."""
    parts, neighbors = [], views.neighbors
    for source in neighbors.sources(node_type):
        csr, x = neighbors.between(source, node_type).select(rows), neighbors.x[source]
        deviation = standard_deviation(csr, x)
        parts.append(named(f"sd of {{}} of {source}s", neighbors.x_names[source], deviation))
    return joined(parts, rows)


def standard_deviation(csr: CSR, x: Tensor) -> Tensor:
    """Return how x (num_src, dim) float32 spreads over the edges into each row, (num_dst, dim).

    The mean of the squares less the square of the mean; where that leaves less than `CANCELS` of
    the squares, their digits have cancelled, and the deviations are squared edge by edge.
    """
    centered = x - x.mean(0) if len(x) else x
    squares = mean(csr, centered.square())
    variance = squares - mean(csr, centered).square()
    deviation = variance.clamp(min=0).sqrt()
    # One neighbor alone has no spread, whatever its value.
    lost = ~(variance >= CANCELS * squares) | squares.isinf()
    lost &= (csr.degrees() > 1)[:, None]
    chosen = lost.any(1).nonzero().flatten()
    if len(chosen):
        inexact = csr.select(chosen)
        exact = _deviations(inexact.indptr.numpy(), inexact.indices.numpy(), x.numpy())
        deviation[chosen] = torch.where(lost[chosen], torch.from_numpy(exact), deviation[chosen])
    return deviation.nan_to_num(nan=0.0)


@njit(cache=True)
def _deviations(indptr, indices, x):
    """Compute the standard deviation of x over each row's edges, (num_dst, dim) float32.

    Twice over the edges, in float64: their mean, then the squares of what they are from it.
    """
    num_dst, dim = len(indptr) - 1, x.shape[1]
    deviation = np.zeros((num_dst, dim), np.float32)
    average, squares = np.zeros(dim), np.zeros(dim)
    for row in range(num_dst):
        begin, end = indptr[row], indptr[row + 1]
        count = max(end - begin, 1)
        average[:], squares[:] = 0.0, 0.0
        for e in range(begin, end):
            for d in range(dim):
                average[d] += x[indices[e], d]
        for d in range(dim):
            average[d] /= count
        for e in range(begin, end):
            for d in range(dim):
                squares[d] += (x[indices[e], d] - average[d]) ** 2
        for d in range(dim):
            deviation[row, d] = np.sqrt(squares[d] / count)
    return deviation


def relations(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """Mean features over each relation, where several come from the same type."""
    parts, neighbors = [], views.neighbors
    streams = neighbors.streams_into(node_type)
    sources = [stream.edge_type[0] for stream in streams]
    for stream in streams:
        source, name, _ = stream.edge_type
        if sources.count(source) > 1:
            values = mean(stream.csr.select(rows), neighbors.x[source])
            parts.append(named(f"mean of {{}} over {name}", neighbors.x_names[source], values))
    return joined(parts, rows)


def structure(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """Degrees of the node and of those around it, the same of its likes, and its PageRank."""
    neighbors = views.neighbors
    names, values = neighbors.structural_names[node_type], neighbors.structural[node_type]
    rank = neighbors.page_rank[views.graph.span(node_type)][rows, None]
    parts = [(names, values[rows]), (["log PageRank"], rank)]
    for middle in neighbors.sources(node_type):
        csr = neighbors.between(middle, node_type).select(rows)
        if middle == node_type:
            parts.append(named("mean of {} of neighbors", names, mean(csr, values)))
        likes = mean(csr, neighbors.mean_structure(node_type, middle))
        parts.append(named(f"mean of {{}} of {node_type}s by {middle}", names, likes))
    return joined(parts, rows)


def bands(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """Three Beta wavelets of order 2 (Tang et al., Rethinking Graph Neural Networks for Anomaly
    Detection, ICML 2022, eq. 6), of the features and degrees of the node's own type.

    With L = I - P, P = D^-1/2 A D^-1/2, the bands are x + 2 Px + PPx, x - PPx and x - 2 Px + PPx,
    over 4. Only the last step is made for the rows asked for.
    """
    neighbors = views.neighbors
    names, x = neighbors.scaled(node_type)
    once = neighbors.propagated(node_type)
    ids = rows + views.graph.offset(node_type)
    scale = neighbors.rsqrt_degree
    csr = views.graph.homogeneous.select(ids)
    x, px, ppx = x[rows], once[ids], spmm(csr, once, scale_dst=scale[ids], scale_src=scale)
    values = {"low": x + 2 * px + ppx, "middle": x - ppx, "high": x - 2 * px + ppx}
    return joined([named(f"{band} band of {{}}", names, v / 4) for band, v in values.items()], rows)


def labels(views: "Views", node_type: str, rows: Tensor, train: Tensor) -> Columns:
    """Rates of known anomalies around the node, see `LabelRates`."""
    return views.label_rates(train).columns(node_type, rows)


def history(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """What came before the node, by the entities it concerns, see `History`."""
    names, values = views.history.values(node_type)
    return names, values[rows]


def lately(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """The last few events before the node, by the entities it concerns, see `History`."""
    names, values = views.history.lately(node_type)
    return names, values[rows]


def label_history(views: "Views", node_type: str, rows: Tensor, train: Tensor) -> Columns:
    """Rates of known anomalies among what came before the node, see `History`."""
    names, values = views.history.label_rates(node_type, train)
    return names, values[rows]


def late_labels(views: "Views", node_type: str, rows: Tensor, train: Tensor) -> Columns:
    """The same of labels that took a while to be known, see `History.label_rates`."""
    names, values = views.history.label_rates(node_type, train, late=True)
    return names, values[rows]


def embedding(views: "Views", node_type: str, rows: Tensor, _: Tensor | None) -> Columns:
    """The embedding that was given.

    Raises:
        ValueError: none was.
    """
    if views.z is None:
        raise ValueError("block 'embedding' needs embeddings: pass z=")
    names = [f"z_{k}" for k in range(views.z.shape[1])]
    return names, views.z[rows + views.graph.offset(node_type)]


BLOCKS: dict[str, Block] = {
    "own": own_features,
    "hops": hops,
    "spread": spread,
    "relations": relations,
    "structure": structure,
    "bands": bands,
    "labels": labels,
    "history": history,
    "lately": lately,
    "label_history": label_history,
    "late_labels": late_labels,
    "embedding": embedding,
}
LABELLED = ("labels", "label_history", "late_labels")  # blocks that read the training labels
