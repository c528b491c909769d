"""What the user calls the nodes: one Parquet file per node type, beside the graph."""

from pathlib import Path

import numpy as np

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


def _ids_path(folder: Path | str, node_type: str) -> Path:
    name = IDS.format(node_type)
    if Path(name).name != name:
        raise ValueError(f"node type {node_type!r} cannot be part of a file name; rename it")
    return Path(folder) / name
