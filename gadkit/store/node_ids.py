"""What the user calls the nodes: one Parquet file per node type, beside the graph."""

from pathlib import Path

import numpy as np
import torch

from gadkit.graph import HeteroGraph
from gadkit.store import IDS, tables


def save(folder: Path | str, ids: dict[str, np.ndarray]) -> None:
    """Keep what the user calls the nodes: one file `ids_<type>.parquet` per node type.

    Args:
        folder: dataset folder.
        ids: by node type (num_nodes,) str; row i is node i of the type. Types may be left out.

    Raises:
        ValueError: an id is no string, or a node type cannot be part of a file name.
    """
    for node_type, names in ids.items():
        path = _ids_path(folder, node_type)
        names = np.asarray(names, dtype=object)
        odd = next((i for i, name in enumerate(names) if not isinstance(name, str)), None)
        if odd is not None:
            raise ValueError(
                f"ids of {node_type!r} must be strings, but row {odd} is {names[odd]!r}; "
                "convert them with .astype(str)"
            )
        tables.write(path, {"id": names})


def load(folder: Path | str, node_type: str, *, rows: int) -> np.ndarray | None:
    """Read what the user calls the nodes of a type.

    Args:
        folder: dataset folder.
        node_type: whose nodes.
        rows: number of nodes of the type.

    Returns:
        (rows,) str objects; row i is node i of the type. None where the folder keeps none.

    Raises:
        ValueError: the file is damaged, or holds another number of ids.
    """
    path = _ids_path(folder, node_type)
    if not path.is_file():
        return None
    ids = tables.load(path, {"id": "VARCHAR"})["id"]
    if len(ids) != rows:
        raise ValueError(
            f"{path} has {len(ids)} ids, but the graph has {rows} nodes of type {node_type!r}; "
            "make the dataset again, or delete the file to do without"
        )
    return ids


def of_nodes(folder: Path | str, graph: HeteroGraph) -> np.ndarray | None:
    """Read what the user calls the nodes, see `load`, as one array.

    Returns:
        (total,) str objects, by global id, "" for the types without; None where the folder keeps
        no ids at all.
    """
    ids = {
        node_type: load(folder, node_type, rows=count)
        for node_type, count in graph.num_nodes.items()
    }
    if all(values is None for values in ids.values()):
        return None
    names = np.full(graph.total, "", dtype=object)
    for node_type, values in ids.items():
        if values is not None:
            names[graph.span(node_type)] = values
    return names


def node_called(
    graph: HeteroGraph, ids: np.ndarray | None, name: str, *, node_type: str | None = None
) -> int:
    """Return the global id of the node that the user calls by a name.

    Args:
        graph: whose nodes.
        ids: of `of_nodes`; None where there are no ids, and the name is a global id.
        name: the user's.
        node_type: of the node; needed where nodes of two types have the name.

    Raises:
        ValueError: there is none, or more than one.
    """
    if node_type is not None and node_type not in graph.node_types:
        raise ValueError(f"there is no node type {node_type!r}; there are {graph.node_types}")
    span = graph.span(node_type) if node_type else slice(0, graph.total)
    if ids is None:
        if not name.isdecimal() or not span.start <= int(name) < span.stop:
            raise ValueError(
                f"{name!r} is no node: the dataset keeps no ids, so give a number in "
                f"[{span.start}, {span.stop})"
            )
        return int(name)
    nodes = span.start + np.flatnonzero(ids[span] == name)
    if len(nodes) == 0:
        raise ValueError(
            f"no node is called {name!r}; ids are those of the events, letter by letter"
        )
    if len(nodes) > 1:
        kinds = sorted({graph.node_types[int(graph.node_type_of(torch.tensor(n)))] for n in nodes})
        raise ValueError(
            f"{len(nodes)} nodes are called {name!r}, of types {kinds}; say which type"
        )
    return int(nodes[0])


def _ids_path(folder: Path | str, node_type: str) -> Path:
    name = IDS.format(node_type)
    if Path(name).name != name:
        raise ValueError(f"node type {node_type!r} cannot be part of a file name; rename it")
    return Path(folder) / name
