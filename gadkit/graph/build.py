"""Build graphs: of events, and of relations, features and labels that a table or an archive gives.

`event_graph` makes a node of every event. `assemble` joins the structural features to what is given
and numbers the labels globally. `name_columns` names the columns that both have made.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.arrays import native
from gadkit.graph.structure import statistics, structural_features, structural_names


def event_graph(
    entities: dict[str, np.ndarray],
    values: dict[str, np.ndarray],
    *,
    time: np.ndarray | None = None,
    y: np.ndarray | None = None,
    event: str = "transaction",
    verbs: dict[str, str] | None = None,
    types: dict[str, str] | None = None,
) -> HeteroGraph:
    """Make events nodes of their own, linked to the entities that they have in common.

    An event knows its values, compressed as sign(v) log1p(|v|); and where there is a time, for each
    role log1p of the time since the entity's previous event in it, and whether it is the first. An
    entity knows mean, standard deviation, maximum and minimum of its events' compressed values.
    `event_features` names these columns. Structural features are joined to both.

    Args:
        entities: (num_events,) integers by role; whom the event concerns, numbered from 0 in each
            node type, -1 = nobody.
        values: (num_events,) numbers by name.
        time: (num_events,) numbers, in seconds.
        y: (num_events,) labels: 1 = anomaly, 0 = normal, -1 = unknown.
        event: node type of the events, the first of the graph.
        verbs: name of the relation from an entity to its events, by role; `<role>_of` by default.
        types: node type of a role, where several share one as sender and receiver are both
            accounts; by default each role is a type of its own.

    Raises:
        ValueError: a length differs, a value is not finite, or no event concerns anybody.
    """
    num, types = len(next(iter(entities.values()))), types or {}
    ids = {role: _per_event(column, role, num, "iu").long() for role, column in entities.items()}
    amounts = [
        _compressed(_per_event(column, name, num, "iufb")) for name, column in values.items()
    ]
    time = None if time is None else _per_event(time, "time", num, "iuf").double()
    num_nodes, edges, x = {event: num}, {}, {event: list(amounts)}
    for role, who in ids.items():
        node_type = types.get(role, role)
        num_nodes[node_type] = max(num_nodes.get(node_type, 0), num_of(who))
    for role, who in ids.items():
        node_type, verb = types.get(role, role), (verbs or {}).get(role, f"{role}_of")
        concerned = (who >= 0).nonzero().flatten()  # events that have somebody in this role
        csr = CSR.from_edges(who[concerned], concerned, num_src=num_nodes[node_type], num_dst=num)
        edges[node_type, verb, event] = csr
        events_of = csr.transpose()
        x.setdefault(node_type, []).extend(statistics(events_of, amount) for amount in amounts)
        if time is not None:
            x[event] += _since_previous(events_of, time)
    features = {name: _columns(parts, num_nodes[name]) for name, parts in x.items()}
    return assemble(num_nodes, edges, features, y, event)


def _columns(parts: list[Tensor], num_nodes: int) -> Tensor:
    parts = [part[:, None] if part.dim() == 1 else part for part in parts]
    return torch.cat(parts, dim=1) if parts else torch.empty(num_nodes, 0)


def _per_event(column: np.ndarray, name: str, num: int, kinds: str) -> Tensor:
    if column.shape != (num,) or column.dtype.kind not in kinds:
        raise ValueError(
            f"column {name!r} must be ({num},) {'integers' if kinds == 'iu' else 'numbers'}, "
            f"got {column.shape} {column.dtype}"
        )
    return torch.from_numpy(native(column))


def _compressed(value: Tensor) -> Tensor:
    value = value.double()
    return (value.sign() * value.abs().log1p()).float()


def event_features(
    roles: Iterable[str],
    values: Iterable[str],
    *,
    timed: bool,
    event: str = "transaction",
    types: dict[str, str] | None = None,
) -> dict[str, list[str]]:
    """Name the columns that `event_graph` makes, by node type, without the structural ones."""
    roles, values, types = list(roles), list(values), types or {}
    names = {event: [f"log_{value}" for value in values]}
    for role in roles:
        prefix = f"{role}_" if role in types else ""
        names.setdefault(types.get(role, role), []).extend(
            f"{prefix}{what}_log_{value}"
            for value in values
            for what in ("mean", "sd", "max", "min")
        )
        if timed:
            names[event] += [f"log_seconds_since_{role}_before", f"is_first_of_{role}"]
    return names


def _since_previous(csr: CSR, time: Tensor) -> list[Tensor]:
    """Measure the time since the previous source of the same row; looks back only.

    Sources of the same time follow each other in the order of their ids.

    Returns:
        log1p of the time, 0 for the first source of a row; and 1 where it is the first, else 0.
        Both are (num_src,) float32, and 0 for sources of no row.
    """
    # The edges are sorted by row and, within a row, by time: by time first, then by row with a
    # stable sort. So the row of an account that paid in the events 2 (at 4 s) and 0 (at 10 s) reads
    # [2, 0], a source's previous event is the one to its left, and `gap` is [., 6]. Where the row
    # changes, the one to the left is of somebody else and the gap is 0.
    source, row = csr.pairs()
    by_time = torch.argsort(time[source], stable=True)
    order = by_time[torch.argsort(row[by_time], stable=True)]
    row, source = row[order], source[order]
    is_first = torch.ones(len(row), dtype=torch.bool)
    is_first[1:] = row[1:] != row[:-1]
    gap = time[source].diff(prepend=time.new_zeros(1)).masked_fill(is_first, 0)
    since, first = torch.zeros(len(time)), torch.zeros(len(time))
    since[source], first[source] = gap.log1p().float(), is_first.float()
    return [since, first]


def assemble(
    num_nodes: dict[str, int],
    edges: dict[EdgeType, CSR],
    x: dict[str, Tensor],
    y: np.ndarray | None,
    labelled: str,
) -> HeteroGraph:
    """Make a graph: without what has no edges, with structural features, labels by global id.

    Args:
        num_nodes: by node type, in the order of the graph.
        edges: rows are destinations.
        x: (num_nodes[type], dim) float32 of the types that have features of their own.
        y: (num_nodes[labelled],) 1 = anomaly, 0 = normal, -1 = unknown; or None.
        labelled: the node type that `y` is about.

    Raises:
        ValueError: the labelled nodes have no edges, a label is none, or the graph is not sound.
    """
    edges = {edge_type: csr for edge_type, csr in edges.items() if csr.num_edges}
    connected = {node_type for src, _, dst in edges for node_type in (src, dst)}
    if labelled not in connected:
        raise ValueError(f"the {labelled} nodes have no edges")
    num_nodes = {node_type: num for node_type, num in num_nodes.items() if node_type in connected}
    bare = HeteroGraph(num_nodes, edges)
    structure = structural_features(bare)
    x = {
        name: torch.cat([x[name], columns], dim=1) if name in x else columns
        for name, columns in structure.items()
    }
    labels = None if y is None else _labels(y, num_nodes[labelled], bare.offset(labelled))
    return HeteroGraph(num_nodes, edges, x, labels)


def _labels(y: np.ndarray, num_nodes: int, offset: int) -> Tensor:
    if y.shape != (num_nodes,):
        raise ValueError(f"array 'y' must be ({num_nodes},), one label per node, got {y.shape}")
    wrong = np.flatnonzero(~np.isin(y, (-1, 0, 1)))
    if len(wrong):
        raise ValueError(
            f"array 'y' is {y[wrong[0]]} at node {wrong[0]}; "
            "labels are -1 (unknown), 0 (normal) or 1 (anomaly)"
        )
    labelled = np.flatnonzero(y >= 0)
    return torch.from_numpy(np.stack([labelled + offset, y[labelled].astype(np.int64)], axis=1))


def name_columns(
    graph: HeteroGraph, own_names: dict[str, list[str]] | None = None
) -> dict[str, list[str]]:
    """Name every column of x, by node type, for about.json; `structure.feature_names` reads it.

    Args:
        graph: as `assemble` makes it.
        own_names: names of the columns before the structural ones, by node type; `x_0`, `x_1`, ...
            where the authors give none.
    """
    names = {}
    for node_type, structural in structural_names(graph).items():
        num_own = graph.x[node_type].shape[1] - len(structural)
        numbered = [f"x_{k}" for k in range(num_own)]
        names[node_type] = (own_names or {}).get(node_type, numbered) + structural
    return names


def num_of(ids: Tensor) -> int:
    """Return how many nodes there are if the last one is among the ids; -1 is nobody."""
    return int(ids.max()) + 1 if len(ids) else 0
