"""Graphs of plain arrays: gadkit's import layout, and the data sets whose arrays it recognizes.

The layout (`<relation>_row_ptr`, `<relation>_col_idx`, `x`, `y`) is described in data/README.md.

    YelpChi   Rayana and Akoglu, "Collective Opinion Spam Detection", KDD 2015; as the graph of
              Dou et al., "Enhancing Graph Neural Network-based Fraud Detectors against Camouflaged
              Fraudsters", CIKM 2020
    S-FFSD    Xiang et al., "Semi-supervised Credit Card Fraud Detection via Attribute-driven Graph
              Representation", AAAI 2023
"""

import re
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gadkit import store
from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.arrays import native
from gadkit.graph.build import assemble, event_graph, name_columns, num_of

Arrays = dict[str, np.ndarray]

_YELPCHI = (
    {"user_id", "product_component"},
    {"rur_row_ptr", "rtr_row_ptr", "rsr_row_ptr"},
)
_AMAZON = {"upu_row_ptr", "usu_row_ptr", "uvu_row_ptr"}
AMAZON_USERS, AMAZON_UNLABELLED = 11_944, 3305  # of the whole graph; the first have no label
# Relations of S-FFSD: an entity and what it does to a transaction.
ENTITIES = {"source": "sends", "target": "receives", "location": "hosts", "type": "classifies"}
_PARTS = ("train", "val|valid", "test")  # what arrays of masks are called, before `_mask(s)`


@dataclass
class Converted:
    """A published data set as gadkit keeps it.

    Attributes:
        graph: what to learn from.
        ids: the authors' names of the nodes, by node type; row i is node i. Types without are left
            out.
        about: what is known of it, as `store.write_about` takes it.
        time: when nodes came to be, as `store.save_time` takes it, or None.
        masks: splits that the authors have published, as `store.save_masks` takes them, or None.
    """

    graph: HeteroGraph
    ids: dict[str, np.ndarray] = field(default_factory=dict)
    about: dict = field(default_factory=dict)
    time: dict[str, np.ndarray] | None = None
    masks: dict[str, np.ndarray] | None = None


def from_arrays(
    arrays: Arrays,
    about: dict,
    *,
    own_names: dict[str, list[str]] | None = None,
    ids: dict[str, np.ndarray] | None = None,
) -> Converted:
    """Make a graph of arrays; features from `structural_features` are joined to its own.

    Args:
        arrays: the relations of YelpChi (users, reviews, products) or Amazon (users), the columns
            of S-FFSD (transactions and four entity types), or any in the import layout; with any of
            them, masks of the nodes that `y` is about (`published_masks`).
        about, own_names, ids: as for `described`.

    Raises:
        ValueError: they do not fit; the message names the array.
    """
    time = None
    if any(names <= arrays.keys() for names in _YELPCHI):
        graph, labelled = _yelpchi(arrays), "review"
    elif ENTITIES.keys() <= arrays.keys():
        graph, labelled = _s_ffsd(arrays), "transaction"
        time = {labelled: arrays["x"][:, 0]}
    elif arrays.keys() >= _AMAZON:
        graph, labelled = _amazon(arrays)
    else:
        graph, labelled = _plain(arrays)
    masks = published_masks(arrays, labelled, graph.num_nodes[labelled])
    return described(graph, about, own_names=own_names, ids=ids, time=time, masks=masks)


def published_masks(arrays: Arrays, node_type: str, num_nodes: int) -> dict[str, np.ndarray] | None:
    """Read the splits that come with a data set, as `store.save_masks` takes them.

    Args:
        arrays: `train_mask`, `val_mask` (or `valid_mask`) and `test_mask`, each (num_nodes,) of
            0 and 1; or `train_masks` and so on, (num_splits, num_nodes) or (num_nodes, num_splits).
            Others are not looked at.
        node_type: of the nodes that are split.
        num_nodes: how many there are.

    Returns:
        The masks by node type; None where no array is called so.

    Raises:
        ValueError: one of the three is missing, does not fit, or shares a node with another.
    """
    by_part = [[key for key in arrays if re.fullmatch(f"({part})_masks?", key)] for part in _PARTS]
    names = sum(by_part, [])
    if not names:
        return None
    if [len(keys) for keys in by_part] != [1, 1, 1]:
        raise ValueError(
            "a published split takes one array for train, one for val and one for test, but found "
            f"{', '.join(names)}; add what is missing, or leave all of them out"
        )
    masks = [_mask(arrays[key], key, num_nodes) for key in names]
    if len({mask.shape for mask in masks}) > 1:
        widths = ", ".join(str(mask.shape[1]) for mask in masks)
        raise ValueError(f"arrays {', '.join(names)} are of {widths} splits; expected as many each")
    shared = np.argwhere(sum(masks) > 1)
    if len(shared):
        raise ValueError(
            f"arrays {', '.join(names)}: node {shared[0, 0]} is in more than one part of split "
            f"{shared[0, 1]}"
        )
    return {node_type: sum(number * mask for number, mask in enumerate(masks, start=1))}


def _mask(mask: np.ndarray, name: str, num_nodes: int) -> np.ndarray:
    """Read one or more masks as (num_nodes, num_splits) int8."""
    shape = mask.shape
    if mask.ndim == 2 and mask.shape[1] == num_nodes:
        mask = mask.T
    elif mask.ndim == 1:
        mask = mask[:, None]
    if mask.ndim != 2 or len(mask) != num_nodes or not mask.size or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"array {name!r} must be ({num_nodes},) or (splits, {num_nodes}) of 0 and 1, one value "
            f"per node, got {shape} {mask.dtype}"
        )
    return mask.astype(np.int8)


def _yelpchi(arrays: Arrays) -> HeteroGraph:
    """Undo the projection of YelpChi onto reviews.

    The reviews of one user are a component of rur (same user), those of one product and month one
    of rtr, those of one product and number of stars one of rsr, and those of one product one of
    rtr and rsr together. Month and stars are nodes of each product, where the relations are there.
    """
    if _YELPCHI[0] <= arrays.keys():
        num_reviews = len(arrays["user_id"])
        user = _ids(arrays, "user_id", num_reviews)
        product = _ids(arrays, "product_component", num_reviews)
    else:
        user = _components([_relation(arrays, "rur")])
        product = _components([_relation(arrays, name) for name in ("rtr", "rsr")])
        num_reviews = len(user)
    review = torch.arange(num_reviews)
    edges = {
        ("user", "writes", "review"): _link(user, review),
        ("review", "rates", "product"): _link(review, product),
    }
    num_nodes = {"user": num_of(user), "review": num_reviews, "product": num_of(product)}
    groupings = {"rtr": ("posted_in", "product_month"), "rsr": ("gives", "product_stars")}
    for relation, (verb, node_type) in groupings.items():
        if f"{relation}_row_ptr" in arrays:
            group = _components([_relation(arrays, relation)])
            num_nodes[node_type] = num_of(group)
            edges["review", verb, node_type] = _link(review, group)
    x = _features(arrays, "x", num_reviews)
    x = {} if x is None else {"review": x}
    return assemble(num_nodes, edges, x, arrays.get("y"), "review")


def _link(src: Tensor, dst: Tensor) -> CSR:
    return CSR.from_edges(src, dst, num_src=num_of(src), num_dst=num_of(dst))


def _ids(arrays: Arrays, name: str, length: int) -> Tensor:
    """Take one id per node and number the ids that occur from 0."""
    ids = arrays[name]
    if ids.shape != (length,) or ids.dtype.kind not in "iu" or (length and ids.min() < 0):
        raise ValueError(
            f"array {name!r} must be ({length},) integers >= 0, got {ids.shape} {ids.dtype}"
        )
    return torch.from_numpy(np.unique(ids, return_inverse=True)[1])


def _components(relations: list[CSR]) -> Tensor:
    """Number the connected components over all relations, (num_nodes,) int64 from 0."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    shape = (relations[0].num_dst,) * 2
    matrices = [
        csr_matrix((np.ones(csr.num_edges, bool), csr.indices, csr.indptr), shape)
        for csr in relations
    ]
    return torch.from_numpy(connected_components(sum(matrices), directed=False)[1]).long()


def _s_ffsd(arrays: Arrays) -> HeteroGraph:
    """Make transactions nodes of their own, linked to the four entities they have in common."""
    if "x" not in arrays or arrays["x"].ndim != 2 or arrays["x"].shape[1] != 2:
        raise ValueError("array 'x' must be (num_transactions, 2): time and amount")
    time, amount = arrays["x"].T
    entities = {name: _ids(arrays, name, len(time)).numpy() for name in ENTITIES}
    return event_graph(entities, {"amount": amount}, time=time, y=arrays.get("y"), verbs=ENTITIES)


def _amazon(arrays: Arrays) -> tuple[HeteroGraph, str]:
    """Call the nodes users, and take no label of those that the published protocol leaves out."""
    y = arrays.get("y")
    if y is not None and len(y) == AMAZON_USERS:
        y = np.where(np.arange(AMAZON_USERS) < AMAZON_UNLABELLED, -1, y)
        arrays = arrays | {"y": y}
    return _plain(arrays, node_type="user")


def _plain(arrays: Arrays, *, node_type: str = "node") -> tuple[HeteroGraph, str]:
    """Read the import layout, and say which type `y` is about.

    Rows of a relation are its sources, columns its destinations.
    """
    num_nodes: dict[str, int] = {}
    edges = {}
    for name in _relation_names(arrays):
        csr, edge_type = _relation(arrays, name), _edge_type(name, node_type)
        for end, num in ((edge_type[0], csr.num_dst), (edge_type[2], csr.num_src)):
            if num_nodes.setdefault(end, num) != num:
                raise ValueError(
                    f"relation {name!r} has {num} nodes of type {end!r}, "
                    f"another one has {num_nodes[end]}"
                )
        edges[edge_type] = csr.transpose()
    first = next(iter(num_nodes))
    x = {name: _features(arrays, f"x_{name}", num) for name, num in num_nodes.items()}
    x[first] = _features(arrays, "x", num_nodes[first]) if x[first] is None else x[first]
    x = {name: features for name, features in x.items() if features is not None}
    y = arrays.get("y")
    labelled = _labelled_type(y, num_nodes)
    return assemble(num_nodes, edges, x, y, labelled), labelled


def _labelled_type(y: np.ndarray | None, num_nodes: dict[str, int]) -> str:
    """Return the first type, or where it has another number of nodes, the only type that fits."""
    first, *later_types = num_nodes
    fitting = [name for name in later_types if y is not None and y.shape == (num_nodes[name],)]
    if y is None or y.shape == (num_nodes[first],) or len(fitting) != 1:
        return first
    return fitting[0]


def _relation_names(arrays: Arrays) -> list[str]:
    names = [key.removesuffix("_row_ptr") for key in arrays if key.endswith("_row_ptr")]
    names = [name for name in names if f"{name}_val" not in arrays]  # those are sparse features
    if not names:
        raise ValueError(f"no array <relation>_row_ptr; found {', '.join(arrays) or 'nothing'}")
    if len(names) > 1 and "homo" in names:  # the published name for the union of the others
        names.remove("homo")
    return names


def _edge_type(name: str, node_type: str) -> EdgeType:
    parts = name.split("__")
    if len(parts) > 3 or not all(parts):
        raise ValueError(
            f"relation {name!r} must be named <relation>, <source>__<destination> or "
            "<source>__<relation>__<destination>"
        )
    if len(parts) == 1:
        return node_type, name, node_type
    return parts[0], parts[1] if len(parts) == 3 else name, parts[-1]


def _relation(arrays: Arrays, name: str) -> CSR:
    """Take `<name>_row_ptr`, `_col_idx` and, where not square, `_shape`; rows stay rows."""
    row_ptr, col_idx = (_integers(arrays, f"{name}_{part}") for part in ("row_ptr", "col_idx"))
    num_rows = len(row_ptr) - 1
    ends = name.split("__")
    if ends[0] != ends[-1] and f"{name}_shape" not in arrays:
        raise ValueError(
            f"array '{name}_shape' is missing; a relation between two types needs (rows, columns)"
        )
    rows, columns = arrays.get(f"{name}_shape", (num_rows, num_rows))
    if rows != num_rows:
        raise ValueError(
            f"array '{name}_shape' says {rows} rows, but '{name}_row_ptr' has {num_rows}"
        )
    with store.errors_about(f"relation {name!r}"):
        return CSR(torch.from_numpy(row_ptr).long(), torch.from_numpy(col_idx), int(columns))


def _integers(arrays: Arrays, key: str) -> np.ndarray:
    """Take a 1-D array of integers of any kind, as int32 or int64."""
    array = arrays.get(key)
    if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
        got = "nothing" if array is None else f"{array.shape} {array.dtype}"
        raise ValueError(
            f"array {key!r} must be 1-D integers, got {got}; save it with .astype(numpy.int64)"
        )
    array = native(array)
    return array if array.dtype.itemsize >= 4 else array.astype(np.int64)


def _features(arrays: Arrays, name: str, num_nodes: int) -> Tensor | None:
    """Take `name`, or the same as CSR (`<name>_row_ptr`, `_col_idx`, `_val`, `_shape`), or None."""
    if name not in arrays and f"{name}_val" in arrays:
        shape = tuple(int(n) for n in arrays[f"{name}_shape"])
        csr = _relation(arrays, name)
        x = np.zeros(shape, np.float32)
        x[csr.dst().numpy(), csr.indices.numpy()] = arrays[f"{name}_val"]
    elif name in arrays:
        x = arrays[name]
    else:
        return None
    if x.shape[:1] != (num_nodes,) or x.ndim != 2 or x.dtype.kind not in "fiub":
        raise ValueError(
            f"array {name!r} must be ({num_nodes}, dim) numbers, got {x.shape} {x.dtype}"
        )
    return torch.from_numpy(x.astype(np.float32))


def described(
    graph: HeteroGraph,
    about: dict,
    *,
    own_names: dict[str, list[str]] | None = None,
    ids: dict[str, np.ndarray] | None = None,
    time: dict[str, np.ndarray] | None = None,
    masks: dict[str, np.ndarray] | None = None,
) -> Converted:
    """Put together a graph and what is known of it, with the names of its features.

    Args:
        graph: as `build.assemble` makes it.
        about: as `store.write_about` takes it, without the features.
        own_names: names of the authors' columns of x by node type, as for `build.name_columns`.
        ids, time, masks: see `Converted`.

    Entries of `about` that are None, and ids of types that are not in the graph, are left out.
    """
    about = {key: value for key, value in about.items() if value is not None}
    ids = {name: strings for name, strings in (ids or {}).items() if name in graph.num_nodes}
    about = {"features": name_columns(graph, own_names)} | about
    return Converted(graph, ids, about, time, masks)


def row_counts(read: int, unused: dict[str, int] | None = None) -> dict:
    """Say how many rows or edges were read and used, and why others were not."""
    unused = {why: int(count) for why, count in (unused or {}).items() if count}
    return {"read": int(read), "used": int(read) - sum(unused.values()), "unused": unused}


def one_class(y: np.ndarray, positive: int | str = "rarest") -> tuple[np.ndarray, dict]:
    """Make one class the anomaly and all others normal.

    Args:
        y: (num_nodes,) integers; the class of each node, negative = unknown.
        positive: the class to find, by its number; or "rarest", of equally rare ones the first.

    Returns:
        y in {-1, 0, 1}, and what about.json says of it.

    Raises:
        ValueError: there are fewer than two classes, or the one named is not among them.
    """
    if y.ndim != 1 or y.dtype.kind not in "iuf":
        raise ValueError(
            f"array 'y' must be 1-D numbers, one class a node, got {y.shape} {y.dtype}"
        )
    classes, counts = np.unique(y[y >= 0], return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"array 'y' holds {len(classes)} class; at least 2 are needed")
    chosen = counts.argmin() if positive == "rarest" else _place_of(positive, classes)
    meaning = (
        f"class {classes[chosen]:g} of {len(classes)} ({counts[chosen]:,} of {counts.sum():,} "
        f"labelled nodes{', the rarest' if positive == 'rarest' else ''}), not fraud"
    )
    binary = np.where(y < 0, -1, y == classes[chosen]).astype(np.int8)
    return binary, {"meaning": meaning, "kind": "proxy"}


def _place_of(positive: int | str, classes: np.ndarray) -> int:
    places = np.flatnonzero(classes.astype(str) == str(positive))
    if not len(places):
        places = np.flatnonzero([f"{c:g}" == str(positive) for c in classes])
    if not len(places):
        raise ValueError(
            f"there is no class {positive!r}; found {', '.join(f'{c:g}' for c in classes)}, "
            "or say rarest"
        )
    return int(places[0])


def distinct_edges(
    src: np.ndarray, dst: np.ndarray, *, num_src: int, num_dst: int
) -> tuple[CSR, int]:
    """Build a relation in which every pair comes once; also return how many repeats that drops."""
    csr = CSR.from_edges(
        torch.from_numpy(src), torch.from_numpy(dst), num_src=num_src, num_dst=num_dst
    )
    row, keep = csr.dst(), torch.ones(csr.num_edges, dtype=torch.bool)
    keep[1:] = (row[1:] != row[:-1]) | (csr.indices[1:] != csr.indices[:-1])
    # kept_before[i]: how many of the first i edges are kept, so its values at the old pointers are
    # the new ones.
    kept_before = torch.cat([torch.zeros(1, dtype=torch.int64), keep.cumsum(0)])
    return CSR(kept_before[csr.indptr], csr.indices[keep], num_src), int((~keep).sum())
