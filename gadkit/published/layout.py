"""From plain arrays to a graph: the import layout, the shapes it recognizes, structural features.

The layout (`<relation>_row_ptr`, `<relation>_col_idx`, `x`, `y`) is described in data/README.md.

    YelpChi   Rayana and Akoglu, "Collective Opinion Spam Detection", KDD 2015; as the graph of
              Dou et al., "Enhancing Graph Neural Network-based Fraud Detectors against Camouflaged
              Fraudsters", CIKM 2020
    S-FFSD    Xiang et al., "Semi-supervised Credit Card Fraud Detection via Attribute-driven Graph
              Representation", AAAI 2023
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gadkit import store
from gadkit.graph import CSR, EdgeType, HeteroGraph
from gadkit.graph.structure import statistics, structural_features, structural_names

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
    own: dict[str, list[str]] | None = None,
    ids: dict[str, np.ndarray] | None = None,
) -> Converted:
    """Make a graph of arrays; features from `structural_features` are joined to its own.

    Args:
        arrays: the relations of YelpChi (users, reviews, products) or Amazon (users), the columns
            of S-FFSD (transactions and four entity types), or any in the import layout; with any of
            them, masks of the nodes that `y` is about (`published_masks`).
        about, own, ids: as for `described`.

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
    return described(graph, about, own=own, ids=ids, time=time, masks=masks)


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
    names = [[key for key in arrays if re.fullmatch(f"({part})_masks?", key)] for part in _PARTS]
    found = sum(names, [])
    if not found:
        return None
    if [len(keys) for keys in names] != [1, 1, 1]:
        raise ValueError(
            "a published split takes one array for train, one for val and one for test, but found "
            f"{', '.join(found)}; add what is missing, or leave all of them out"
        )
    masks = [_mask(arrays[key], key, num_nodes) for key in found]
    if len({mask.shape for mask in masks}) > 1:
        widths = ", ".join(str(mask.shape[1]) for mask in masks)
        raise ValueError(f"arrays {', '.join(found)} are of {widths} splits; expected as many each")
    shared = np.argwhere(sum(masks) > 1)
    if len(shared):
        raise ValueError(
            f"arrays {', '.join(found)}: node {shared[0, 0]} is in more than one part of split "
            f"{shared[0, 1]}"
        )
    return {node_type: sum(number * mask for number, mask in enumerate(masks, start=1))}


def _mask(mask: np.ndarray, name: str, num_nodes: int) -> np.ndarray:
    """Read one or more masks as (num_nodes, num_splits) int8."""
    given = mask
    if mask.ndim == 2 and mask.shape[1] == num_nodes:
        mask = mask.T
    elif mask.ndim == 1:
        mask = mask[:, None]
    if mask.ndim != 2 or len(mask) != num_nodes or not mask.size or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"array {name!r} must be ({num_nodes},) or (splits, {num_nodes}) of 0 and 1, one value "
            f"per node, got {given.shape} {given.dtype}"
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
    num_nodes = {"user": _count(user), "review": num_reviews, "product": _count(product)}
    of_product = {"rtr": ("posted_in", "product_month"), "rsr": ("gives", "product_stars")}
    for relation, (verb, node_type) in of_product.items():
        if f"{relation}_row_ptr" in arrays:
            group = _components([_relation(arrays, relation)])
            num_nodes[node_type] = _count(group)
            edges["review", verb, node_type] = _link(review, group)
    x = _features(arrays, "x", num_reviews)
    x = {} if x is None else {"review": x}
    return assemble(num_nodes, edges, x, arrays.get("y"), "review")


def _link(src: Tensor, dst: Tensor) -> CSR:
    return CSR.from_edges(src, dst, num_src=_count(src), num_dst=_count(dst))


def _count(ids: Tensor) -> int:
    return int(ids.max()) + 1 if len(ids) else 0


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
    own = [_compressed(_per_event(column, name, num, "iufb")) for name, column in values.items()]
    about_values, x = list(own), {event: own}
    time = None if time is None else _per_event(time, "time", num, "iuf").double()
    num_nodes, edges = {event: num}, {}
    for role, who in ids.items():
        node_type = types.get(role, role)
        num_nodes[node_type] = max(num_nodes.get(node_type, 0), _count(who))
    for role, who in ids.items():
        node_type, verb = types.get(role, role), (verbs or {}).get(role, f"{role}_of")
        known = (who >= 0).nonzero().flatten()
        csr = CSR.from_edges(who[known], known, num_src=num_nodes[node_type], num_dst=num)
        edges[node_type, verb, event] = csr
        back = csr.transpose()
        x.setdefault(node_type, []).extend(statistics(back, value) for value in about_values)
        if time is not None:
            own += _since_previous(back, time)
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
    return torch.from_numpy(np.ascontiguousarray(column))


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
        Both are 0 for sources of no row.
    """
    row, source = csr.dst(), csr.indices.long()
    by_time = torch.argsort(time[source], stable=True)
    order = by_time[torch.argsort(row[by_time], stable=True)]
    row, source = row[order], source[order]
    is_first = torch.ones(len(row), dtype=torch.bool)
    is_first[1:] = row[1:] != row[:-1]
    gap = time[source].diff(prepend=time.new_zeros(1)).masked_fill(is_first, 0)
    since, first = torch.zeros(len(time)), torch.zeros(len(time))
    since[source], first[source] = gap.log1p().float(), is_first.float()
    return [since, first]


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
    x = {name: own for name, own in x.items() if own is not None}
    y = arrays.get("y")
    labelled = _labelled_type(y, num_nodes)
    return assemble(num_nodes, edges, x, y, labelled), labelled


def _labelled_type(y: np.ndarray | None, num_nodes: dict[str, int]) -> str:
    """Return the first type, or where it has another number of nodes, the only type that fits."""
    first, *others = num_nodes
    fitting = [name for name in others if y is not None and y.shape == (num_nodes[name],)]
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
    for key in (f"{name}_row_ptr", f"{name}_col_idx"):
        if key not in arrays or arrays[key].ndim != 1 or arrays[key].dtype.kind != "i":
            raise ValueError(f"array {key!r} must be 1-D integers, got {arrays.get(key)}")
    row_ptr, col_idx = arrays[f"{name}_row_ptr"], arrays[f"{name}_col_idx"]
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


def assemble(
    num_nodes: dict[str, int],
    edges: dict[EdgeType, CSR],
    x: dict[str, Tensor],
    y: np.ndarray | None,
    labelled: str,
) -> HeteroGraph:
    """Leave out what has no edges, add the structural features, and number the labels globally.

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
        name: torch.cat([x[name], new], dim=1) if name in x else new
        for name, new in structure.items()
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
    known = np.flatnonzero(y >= 0)
    return torch.from_numpy(np.stack([known + offset, y[known].astype(np.int64)], axis=1))


def described(
    graph: HeteroGraph,
    about: dict,
    *,
    own: dict[str, list[str]] | None = None,
    ids: dict[str, np.ndarray] | None = None,
    time: dict[str, np.ndarray] | None = None,
    masks: dict[str, np.ndarray] | None = None,
) -> Converted:
    """Put a graph, names of its own features, ids and what else is known together.

    Entries of `about` that are None, and ids of types that are not in the graph, are left out.
    """
    about = {key: value for key, value in about.items() if value is not None}
    ids = {name: own_ids for name, own_ids in (ids or {}).items() if name in graph.num_nodes}
    return Converted(graph, ids, {"features": feature_names(graph, own)} | about, time, masks)


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
    found = np.flatnonzero(classes.astype(str) == str(positive))
    found = found if len(found) else np.flatnonzero([f"{c:g}" == str(positive) for c in classes])
    if not len(found):
        raise ValueError(
            f"there is no class {positive!r}; found {', '.join(f'{c:g}' for c in classes)}, "
            "or say rarest"
        )
    return int(found[0])


def distinct_edges(
    src: np.ndarray, dst: np.ndarray, *, num_src: int, num_dst: int
) -> tuple[CSR, int]:
    """Build a relation in which every pair comes once; also return how many repeats that drops."""
    csr = CSR.from_edges(
        torch.from_numpy(src), torch.from_numpy(dst), num_src=num_src, num_dst=num_dst
    )
    row, keep = csr.dst(), torch.ones(csr.num_edges, dtype=torch.bool)
    keep[1:] = (row[1:] != row[:-1]) | (csr.indices[1:] != csr.indices[:-1])
    kept_before = torch.cat([torch.zeros(1, dtype=torch.int64), keep.cumsum(0)])
    return CSR(kept_before[csr.indptr], csr.indices[keep], num_src), int((~keep).sum())


def feature_names(
    graph: HeteroGraph, own: dict[str, list[str]] | None = None
) -> dict[str, list[str]]:
    """Name every column of x, by node type.

    Args:
        graph: as `assemble` makes it.
        own: names of the columns before the structural ones, by node type; `x_0`, `x_1`, ... where
            the authors give none.
    """
    names = {}
    for node_type, structural in structural_names(graph).items():
        num_own = graph.x[node_type].shape[1] - len(structural)
        numbered = [f"x_{k}" for k in range(num_own)]
        names[node_type] = (own or {}).get(node_type, numbered) + structural
    return names
