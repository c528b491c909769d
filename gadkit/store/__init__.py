"""The dataset folder: read it, write it, replace its files one atomic step at a time.

Two layouts hold a graph: the marketplace layout (`raw`, whose names and global ids are given) and
`graph.npz` (any other schema). data/README.md describes the formats. The room hands on what `raw`,
`files`, `outputs` and `planted` have for others.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gadkit import __version__, lazy
from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.store.files import (
    appearing,
    atomic_path,
    check_format,
    check_place,
    errors_about,
    is_free,
    load_npy,
    read_npz,
    replacing,
    save_array,
    write_json,
    write_npz,
)
from gadkit.store.raw import (
    COUNTS,
    FEATURE_DIM,
    FEATURES,
    LABELS,
    NODE_TYPES,
    RELATIONS,
    RawMarketplace,
    RawRelation,
    SanitizeReport,
    parse_counts,
    raw_csr,
    raw_files,
    read_raw,
    sanitize,
    write_raw,
)

_OUTPUTS = [
    "GAE_EMBEDDINGS",
    "GAE_CHECKPOINT",
    "GAE_RUN",
    "GAE_SCORES",
    "GAT_EMBEDDINGS",
    "GAT_SCORES",
    "GAT_CHECKPOINT",
    "GAT_RUN",
    "RECIPE",
    "RECIPE_NETWORK",
    "RECIPE_SCORES",
    "load_array",
    "load_checkpoint",
    "save_checkpoint",
]
_PLANTED = ["PLANTED", "Planted", "load_planted", "planted_names", "save_planted"]
_HOME = dict.fromkeys(_OUTPUTS, "outputs") | dict.fromkeys(_PLANTED, "planted")
__getattr__, __dir__, _ = lazy(__name__, _HOME, globals())

GRAPH = "graph.npz"
ABOUT = "about.json"
TIME = "node_time.npy"  # when each node came to be
MASKS = "split_masks.npy"  # the splits that the authors have published
IDS = "ids_{}.parquet"  # of a node type; read and written by `gadkit.store.node_ids`
FORMAT = 1  # of `graph.npz` and `about.json`, and what a file is of that does not say
_MAKE_AGAIN = "make or convert the dataset again"
_TABLES = ("time", "rows", "labels", "missing", "transfers", "written")  # keys of `about.json`
_TABLES_OF_TABLES = ("missing_x", "tables", "read", "links")
_TABLES_OF_LISTS = ("features", "roles", "notes")


def is_dataset(folder: Path | str) -> bool:
    """Whether a folder holds one of the two layouts."""
    return any((Path(folder) / name).is_file() for name in (COUNTS, GRAPH))


def load_graph(folder: Path | str) -> HeteroGraph:
    """Read the graph of a dataset folder: the marketplace layout, sanitized, or `graph.npz`.

    Raises:
        FileNotFoundError: the folder holds neither, or a file of the marketplace layout is missing.
        ValueError: what it holds is damaged; the message names the file, the array and the first
            bad position.
    """
    return load_with_reports(folder)[0]


def load_with_reports(folder: Path | str) -> tuple[HeteroGraph, list[SanitizeReport]]:
    """Read the graph as `load_graph`, and what the sanitizer did to each relation.

    `graph.npz` is written sanitized, and refused where it is not: its relations come out whole.
    """
    folder = Path(folder)
    if (folder / COUNTS).is_file():
        return read_raw(folder).sanitize()
    if (folder / GRAPH).is_file():
        graph = _read_graph(folder / GRAPH)
        whole = {"self_loop": 0, "wrong_type": 0}
        return graph, [
            SanitizeReport(name, csr.num_dst, csr.num_edges, dict(whole))
            for (_, name, _), csr in graph.edges.items()
        ]
    raise FileNotFoundError(
        f"{folder} holds no graph: neither {COUNTS} (the marketplace layout) nor {GRAPH} is there; "
        "make a demo with gadkit.datasets.prepare('demo')"
    )


def save_graph(folder: Path | str, graph: HeteroGraph) -> None:
    """Write a graph of any schema to `graph.npz`; equal graphs give equal bytes."""
    arrays = {
        "node_types": np.array(graph.node_types),
        "num_nodes": np.array(list(graph.num_nodes.values()), dtype=np.int64),
        "edge_types": np.array(graph.edge_types),
    }
    names = _names_of_relations(graph.edge_types, graph.node_types)
    for name, csr in zip(names, graph.edges.values(), strict=True):
        arrays[f"{name}_indptr"] = csr.indptr.numpy(force=True)
        arrays[f"{name}_indices"] = csr.indices.numpy(force=True)
    if graph.x is not None:
        arrays |= {f"x_{name}": graph.x[name].numpy(force=True) for name in graph.node_types}
    if graph.labels is not None:
        arrays["labels"] = graph.labels.numpy(force=True)
    write_npz(Path(folder) / GRAPH, arrays)


def _names_of_relations(edge_types: list[EdgeType], node_types: list[str]) -> list[str]:
    """Say what the arrays of each relation are called after.

    By its types and its own name; by its number, if two arrays would have one name.
    """
    names = ["__".join(edge_type) for edge_type in edge_types]
    arrays = [f"{name}_{part}" for name in names for part in ("indptr", "indices")]
    arrays += ["node_types", "num_nodes", "edge_types", "labels"]
    arrays += [f"x_{node_type}" for node_type in node_types]
    if len(set(arrays)) == len(arrays):
        return names
    return [f"relation_{number}" for number in range(len(names))]


def _read_graph(path: Path) -> HeteroGraph:
    arrays = read_npz(path)
    with errors_about(path):
        if "format" in arrays:
            check_format(arrays.pop("format").tolist(), FORMAT, _MAKE_AGAIN)
        node_types = _typed(arrays, "node_types", "U", 1).tolist()
        counts = _typed(arrays, "num_nodes", "i", 1).tolist()
        edge_types = _typed(arrays, "edge_types", "U", 2)
        if (
            len(set(node_types)) != len(counts)
            or min(counts, default=0) < 0
            or edge_types.shape[1] != 3
        ):
            raise ValueError(
                f"node_types {node_types}, num_nodes {counts} and edge_types {edge_types.shape} "
                "must be distinct names, as many counts >= 0, and (num_relations, 3) names"
            )
        num_nodes = dict(zip(node_types, counts, strict=True))
    edge_types = edge_types.tolist()
    names = _names_of_relations(edge_types, node_types)
    edges = {
        tuple(edge_type): _read_csr(path, arrays, name, edge_type[0], num_nodes)
        for edge_type, name in zip(edge_types, names, strict=True)
    }
    with errors_about(path):
        _refuse_unknown(arrays, names, node_types)
        x = {
            name: _typed(arrays, f"x_{name}", "f4", 2)
            for name in node_types
            if f"x_{name}" in arrays
        }
        x = {name: torch.from_numpy(values) for name, values in x.items()} or None
        labels = torch.from_numpy(_labels(arrays)) if "labels" in arrays else None
        return HeteroGraph(num_nodes, edges, x, labels)


def _refuse_unknown(arrays: dict[str, np.ndarray], names: list[str], node_types: list[str]) -> None:
    """Refuse arrays that nothing would read, as labels under another name."""
    expected = {"node_types", "num_nodes", "edge_types", "labels"}
    expected |= {f"{name}_{part}" for name in names for part in ("indptr", "indices")}
    expected |= {f"x_{node_type}" for node_type in node_types}
    unknown = sorted({*arrays} - expected)
    if unknown:
        raise ValueError(
            f"array {unknown[0]!r} is none of those of this graph, which are "
            f"{', '.join(sorted(expected))}: rename or remove it, or update gadkit (this is "
            f"{__version__}) if a newer one has written the file"
        )


def _labels(arrays: dict[str, np.ndarray]) -> np.ndarray:
    labels = arrays["labels"]
    if labels.dtype.kind not in "iufb":
        raise ValueError(
            f"array 'labels' must be (num_labels, 2) int64, got {labels.shape} {labels.dtype}; a "
            "row is [global id, 0 or 1]"
        )
    return labels


def _read_csr(
    path: Path, arrays: dict[str, np.ndarray], name: str, src_type: str, num_nodes: dict[str, int]
) -> CSR:
    if src_type not in num_nodes:
        raise ValueError(
            f"{path}: relation {name} starts at a node type that is not in {list(num_nodes)}"
        )
    with errors_about(path):
        indptr = torch.from_numpy(_typed(arrays, f"{name}_indptr", "i8", 1))
        indices = torch.from_numpy(_typed(arrays, f"{name}_indices", "i", 1))
    with errors_about(f"{path}, {name}"):
        return CSR(indptr, indices, num_nodes[src_type])


def _typed(arrays: dict[str, np.ndarray], name: str, kind: str, ndim: int) -> np.ndarray:
    """Take an array; check its axes and its dtype, by the start of numpy's short name for it."""
    if name not in arrays:
        raise ValueError(
            f"array {name!r} is missing; found {', '.join(sorted(arrays)) or 'nothing'}; "
            f"{_MAKE_AGAIN}"
        )
    array = arrays[name]
    if not array.dtype.str[1:].startswith(kind) or array.ndim != ndim:
        raise ValueError(
            f"array {name!r} must have {ndim} axes of kind {kind!r}, "
            f"got {array.shape} {array.dtype}; convert it, or {_MAKE_AGAIN}"
        )
    return array


def save_time(folder: Path | str, graph: HeteroGraph, time: dict[str, np.ndarray]) -> None:
    """Write when nodes came to be, in any unit that grows with time.

    Args:
        folder: dataset folder.
        graph: whose nodes they are.
        time: by node type (num_nodes[type],) numbers, NaN where there is no time; nodes of a type
            that is left out have none.
    """
    save_array(folder, TIME, _over_all(graph, time, (), np.nan, np.float64))


def save_masks(folder: Path | str, graph: HeteroGraph, masks: dict[str, np.ndarray]) -> None:
    """Write the splits that the authors of a data set have published.

    Args:
        folder: dataset folder.
        graph: whose nodes are split.
        masks: by node type (num_nodes[type], num_splits) integers: 1 train, 2 val, 3 test, 0 none
            of them; nodes of a type that is left out are in none.
    """
    num_splits = next(iter(masks.values())).shape[1]
    save_array(folder, MASKS, _over_all(graph, masks, (num_splits,), 0, np.int8))


def _over_all(
    graph: HeteroGraph, by_type: dict[str, np.ndarray], shape: tuple[int, ...], fill, dtype
) -> np.ndarray:
    """Lay what is known of the nodes of some types out over all of them: (total, *shape)."""
    out = np.full((graph.total, *shape), fill, dtype)
    for node_type, values in by_type.items():
        start = graph.offset(node_type)
        out[start : start + graph.num_nodes[node_type]] = values
    return out


def load_time(folder: Path | str) -> Tensor | None:
    """Read when nodes came to be: (total,) float64, NaN = unknown; None where nobody knows.

    Raises:
        ValueError: the file is damaged, of another graph, or holds an infinite time.
    """
    path = Path(folder) / TIME
    if not path.is_file():
        return None
    time, total = load_npy(path), _total(folder)
    if time.dtype != torch.float64 or time.shape != (total,):
        raise ValueError(
            f"{path} is {tuple(time.shape)} {time.dtype}, but the graph needs ({total},) float64; "
            "delete it, or convert the data set again"
        )
    if time.isinf().any():
        raise ValueError(
            f"{path}: node {int(time.isinf().nonzero()[0])} has an infinite time; unknown is NaN"
        )
    return time


def load_masks(folder: Path | str) -> Tensor | None:
    """Read the authors' splits: (total, num_splits) int8, as `save_masks`; None where none are.

    Raises:
        ValueError: the file is damaged, of another graph, or holds another number.
    """
    path = Path(folder) / MASKS
    if not path.is_file():
        return None
    masks, total = load_npy(path), _total(folder)
    if masks.dtype != torch.int8 or masks.dim() != 2 or len(masks) != total or not masks.shape[1]:
        raise ValueError(
            f"{path} is {tuple(masks.shape)} {masks.dtype}, but the graph needs ({total}, splits) "
            "int8; delete it, or convert the data set again"
        )
    wrong = ((masks < 0) | (masks > 3)).nonzero()
    if len(wrong):
        node, number = wrong[0].tolist()
        raise ValueError(
            f"{path}: node {node} is {int(masks[node, number])} in split {number}; expected 0 "
            "(none), 1 (train), 2 (val) or 3 (test)"
        )
    return masks


def _total(folder: Path | str) -> int:
    """Count the nodes of a dataset folder without reading its graph."""
    folder = Path(folder)
    if (folder / COUNTS).is_file():
        with errors_about(folder / COUNTS):
            return sum(parse_counts((folder / COUNTS).read_text(encoding="utf-8")).values())
    arrays = read_npz(folder / GRAPH, only="num_nodes")
    with errors_about(folder / GRAPH):
        return int(_typed(arrays, "num_nodes", "i", 1).sum())


def write_about(folder: Path | str, about: dict) -> None:
    """Write what is known of a dataset besides its numbers; data/README.md lists the keys."""
    write_json(Path(folder) / ABOUT, about)


def read_about(folder: Path | str) -> dict:
    """Read what `write_about` wrote; nothing ({}) where the folder does not say.

    Raises:
        ValueError: the file is no JSON object, one of its keys holds something else than that page
            says, or a newer gadkit has written it; the message says how to mend that.
    """
    path = Path(folder) / ABOUT
    if not path.exists():
        return {}
    with errors_about(path):
        try:
            about = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}; mend it, or delete it") from error
        if not isinstance(about, dict):
            raise ValueError(f"expected a JSON object, got {str(about)[:60]!r}; mend or delete it")
        check_format(about.get("format", FORMAT), FORMAT, "delete it to do without")
        for key in [*_TABLES, *_TABLES_OF_TABLES, *_TABLES_OF_LISTS]:
            _check_key(about, key)
    return about


def _check_key(about: dict, key: str) -> None:
    """Check that a key of `about.json`, if it is there, holds what its readers expect."""
    kind = dict if key in _TABLES_OF_TABLES else list if key in _TABLES_OF_LISTS else object
    expected = {dict: "an object", list: "a list", object: "a value"}[kind]
    value = about.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(
            f"{key!r} must hold {expected} for each name, got {str(value)[:60]!r}; mend it, or "
            "delete the key"
        )
    for name, item in value.items():
        texts = item if key == "features" and isinstance(item, list) else ()
        if not (isinstance(item, kind) and all(isinstance(text, str) for text in texts)):
            raise ValueError(
                f"{key!r} must hold {expected}{' of names' * (key == 'features')} for {name!r}, "
                f"got {str(item)[:60]!r}; mend it, or delete the key"
            )
