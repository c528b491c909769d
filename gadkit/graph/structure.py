"""What the edges alone tell of a node: degrees, and numbers of those around it.

Graphs that come without features, or with few, are given these when they are converted; `views`
makes them again for a graph whose edges have changed.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CSR, HeteroGraph


def structural_features(graph: HeteroGraph) -> dict[str, Tensor]:
    """Describe every node by its degree and the degrees around it.

    Five columns for each stream that reaches a node's type, in the order of `graph.streams`: log1p
    of the degree; mean, max and min over the neighbors of log1p of theirs (in the same relation,
    seen from their side); and the mean over the neighbors of that mean seen from their side, which
    is what lies two hops away. All are 0 without neighbors.

    The whole graph is looked at, so where edges have a date these features know the future of every
    node: use them with a random split, not to report how well the future is predicted.

    Returns:
        (num_nodes[type], 5 * streams into the type) float32 for every node type.
    """
    columns: dict[str, list[Tensor]] = {node_type: [] for node_type in graph.node_types}
    for _, (_, _, dst), csr in graph.streams:
        columns[dst] += _around(csr)
    return {node_type: torch.stack(parts, dim=1) for node_type, parts in columns.items()}


def structural_names(graph: HeteroGraph) -> dict[str, list[str]]:
    """Name the columns of `structural_features`, by node type."""
    names: dict[str, list[str]] = {node_type: [] for node_type in graph.node_types}
    for _, (_, name, dst), _ in graph.streams:
        names[dst] += [
            f"{name}_log_degree",
            f"{name}_mean_log_degree_of_neighbors",
            f"{name}_max_log_degree_of_neighbors",
            f"{name}_min_log_degree_of_neighbors",
            f"{name}_mean_log_degree_two_hops_away",
        ]
    return names


def feature_names(about: dict, graph: HeteroGraph) -> dict[str, list[str]]:
    """Name the columns of x by node type, `x_0`, `x_1`, ... where the folder does not say.

    Args:
        about: as `store.read_about` gives it.
        graph: with x.

    Raises:
        ValueError: the folder names more or fewer features than a type has.
    """
    named, names = about.get("features", {}), {}
    for node_type, x in graph.x.items():
        width = x.shape[1]
        numbered = [f"x_{k}" for k in range(width)]
        names[node_type] = list(named.get(node_type, numbered))
        if len(names[node_type]) != width:
            raise ValueError(
                f"about.json names {len(names[node_type])} features of {node_type}, but x has "
                f"{width} columns: is it from another graph? Correct or delete it"
            )
    return names


def own_columns(graph: HeteroGraph, about: dict) -> dict[str, int]:
    """Say how many leading columns of x are the authors' own; structural ones follow.

    Args:
        graph: with x.
        about: as `store.read_about` gives it. Only its `features` tell whether the last columns of
            a type are structural; all columns are own where it does not name them.

    Returns:
        The number of columns by node type.

    Raises:
        ValueError: `features` names more or fewer columns than a type has.
    """
    names, own_dims = feature_names(about, graph), {}
    for node_type, structural in structural_names(graph).items():
        width = len(names[node_type])
        own_dim = width - len(structural)
        ends_with_ours = names[node_type][own_dim:] == structural
        own_dims[node_type] = own_dim if ends_with_ours else width
    return own_dims


def statistics(csr: CSR, value: Tensor) -> Tensor:
    """Compute mean, sd, max and min of the values of each row's sources, (num_dst, 4) float32."""
    value = value[csr.indices].double()
    mean = _mean(value, csr)
    sd = _mean((value - mean[csr.dst()]).square(), csr).sqrt()
    top, bottom = (_segment(value, csr, reduce) for reduce in (np.maximum, np.minimum))
    return torch.stack([mean, sd, top, bottom], dim=1).float()


def _around(csr: CSR) -> Iterator[Tensor]:
    back = csr.transpose()
    degree, degree_back = (rows.degrees().double().log1p() for rows in (csr, back))
    seen = degree_back[csr.indices]  # (num_edges,)
    mean_back = _mean(degree[back.indices], back)
    yield degree.float()
    yield _mean(seen, csr).float()
    yield _segment(seen, csr, np.maximum).float()
    yield _segment(seen, csr, np.minimum).float()
    yield _mean(mean_back[csr.indices], csr).float()


def _mean(value: Tensor, csr: CSR) -> Tensor:
    return _segment(value, csr, np.add) / csr.degrees().clamp(min=1)


def _segment(value: Tensor, csr: CSR, reduce: np.ufunc) -> Tensor:
    """Reduce the values of each row's edges, (num_dst,) float64; 0 for empty rows.

    `reduceat` lets a segment end where the next one starts: right once empty rows are left out.
    """
    out = value.new_zeros(csr.num_dst)
    filled = csr.degrees() > 0
    if filled.any():
        out[filled] = torch.from_numpy(
            reduce.reduceat(value.numpy(), csr.indptr[:-1][filled].numpy())
        )
    return out
