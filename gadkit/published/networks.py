"""Readers of networks that are published as tables of nodes and edges.

`readers` says what a reader is. Tables are read column by column, never row by row.
"""

from pathlib import Path

import numpy as np
import torch

from gadkit import store
from gadkit.graph import CSR
from gadkit.graph.build import assemble
from gadkit.graph.structure import statistics
from gadkit.published.fields import coded, find, find_table, places, seconds_range, step_range
from gadkit.published.layout import Converted, described, one_class, row_counts
from gadkit.store import tables

_ELLIPTIC_OWN = [f"local_{k}" for k in range(1, 94)] + [f"aggregate_{k}" for k in range(1, 73)]
_ELLIPTIC_CLASSES = {"unknown": -1, "1": 1, "2": 0}


def elliptic(path: Path) -> Converted:
    """Read Elliptic's three tables elliptic_txs_{features,classes,edgelist}.csv.

    Payments keep their direction. The time step of a transaction, of 49, is its time and no
    feature. The first 93 features are about the transaction, the other 72 aggregated over its
    neighbors.
    """
    features, classes, edges = (
        find_table(path, f"elliptic_txs_{part}.csv") for part in ("features", "classes", "edgelist")
    )
    types = {"txId": "BIGINT", "time step": "BIGINT"} | dict.fromkeys(_ELLIPTIC_OWN, "FLOAT")
    nodes = tables.load(features, types, header=False)
    labels = tables.load(classes, {"txId": "BIGINT", "class": "VARCHAR"})
    pairs = tables.load(edges, {"txId1": "BIGINT", "txId2": "BIGINT"})
    num = len(nodes["txId"])
    with store.errors_about(features):
        where = places(nodes["txId"], labels["txId"], where=str(classes), column="txId")
        src, dst = (
            places(nodes["txId"], pairs[name], where=str(edges), column=name) for name in pairs
        )
    y = np.full(num, -1)
    y[where] = coded(labels["class"], _ELLIPTIC_CLASSES, classes, "class")
    x = torch.from_numpy(np.stack([nodes[name] for name in _ELLIPTIC_OWN], axis=1))
    with store.errors_about(features):
        csr = _relation(src, dst, num, num)
        payments = {("transaction", "pays", "transaction"): csr}
        graph = assemble({"transaction": num}, payments, {"transaction": x}, y, "transaction")
    about = {
        "labels": {"meaning": "sent by an entity known as illicit", "kind": "adjudicated"},
        "time": step_range("time step", nodes["time step"]),
    }
    return described(
        graph,
        about,
        own_names={"transaction": _ELLIPTIC_OWN},
        ids={"transaction": nodes["txId"].astype(str)},
        time={"transaction": nodes["time step"]},
    )


def _relation(src: np.ndarray, dst: np.ndarray, num_src: int, num_dst: int) -> CSR:
    return CSR.from_edges(
        torch.from_numpy(src), torch.from_numpy(dst), num_src=num_src, num_dst=num_dst
    )


# Columns of AMLSim's tables: its own output, its converted output, and the packed samples.
_AMLSIM = (
    {"account": "ACCOUNT_ID", "balance": "INIT_BALANCE", "label": "IS_FRAUD"},
    {"account": "acct_id", "balance": "initial_deposit", "label": "prior_sar_count"},
    {"account": "nodeid", "balance": "init_balance", "label": "isFraud"},
)
_AMLSIM_TX = (
    ("SENDER_ACCOUNT_ID", "RECEIVER_ACCOUNT_ID", "TX_AMOUNT", "TIMESTAMP"),
    ("orig_acct", "bene_acct", "base_amt", "tran_timestamp"),
    ("sourceNodeId", "targetNodeId", "value", "time"),
)


def amlsim(path: Path) -> Converted:
    """Read a sample of AMLSim: accounts.csv (or nodes.csv) and transactions.csv, in any schema.

    Accounts are labelled, and every transaction is an edge from sender to receiver, repeated pairs
    and transfers to oneself included. An account knows its first balance and the amounts that it
    has sent and received. The tables of alerts are not read: accounts say whether they are in one.
    """
    accounts = find(path, "accounts.csv", "accounts.csv.gz", "nodes.csv", "nodes.csv.gz")
    transfers = find_table(path, "transactions.csv")
    names, sent = _schema(accounts, _AMLSIM), _schema(transfers, _AMLSIM_TX)
    kinds = {"account": "VARCHAR", "balance": "DOUBLE", "label": "BOOLEAN"}
    nodes = tables.load(accounts, {names[key]: kind for key, kind in kinds.items()})
    src_name, dst_name, amount_name, time_name = sent
    types = {src_name: "VARCHAR", dst_name: "VARCHAR", amount_name: "DOUBLE", time_name: "VARCHAR"}
    table = tables.load(transfers, types)
    account = nodes[names["account"]]
    with store.errors_about(accounts):
        src, dst = (
            places(account, table[name], where=str(transfers), column=name)
            for name in (src_name, dst_name)
        )
    amount = np.log1p(np.abs(table[amount_name])) * np.sign(table[amount_name])
    x = _account_features(nodes[names["balance"]], src, dst, amount)
    with store.errors_about(transfers):
        csr = _relation(src, dst, len(account), len(account))
        edges = {("account", "pays", "account"): csr}
        y = nodes[names["label"]].astype(np.int8)
        graph = assemble({"account": len(account)}, edges, {"account": x}, y, "account")
    about = {
        "labels": {
            "meaning": "the account takes part in a planted laundering pattern",
            "kind": "injected",
        },
        "time": _amlsim_time(time_name, table[time_name]),
        "rows": row_counts(len(src)),
    }
    return described(graph, about, own_names={"account": _ACCOUNT}, ids={"account": account})


_ACCOUNT = ["log_balance"] + [
    f"{what}_log_amount_{way}"
    for way in ("sent", "received")
    for what in ("mean", "sd", "max", "min")
]


def _schema(path: Path, schemas: tuple) -> dict | tuple:
    """Return the schema that a table is in."""
    present = set(tables.columns_of(path))
    for schema in schemas:
        columns = set(schema.values() if isinstance(schema, dict) else schema)
        if columns <= present:
            return schema
    raise ValueError(
        f"{path}: the columns are {', '.join(sorted(present))}; expected "
        + ", or ".join(", ".join(s.values() if isinstance(s, dict) else s) for s in schemas)
    )


def _account_features(balance, src, dst, amount) -> torch.Tensor:
    """Describe accounts by balance and amounts, (num_accounts, 9) float32."""
    num, value = len(balance), torch.from_numpy(amount)
    log_balance = torch.from_numpy(np.sign(balance) * np.log1p(np.abs(balance))).float()
    transfer = np.arange(len(src))
    by_account = [_relation(transfer, who, len(transfer), num) for who in (src, dst)]
    return torch.cat([log_balance[:, None], *(statistics(csr, value) for csr in by_account)], dim=1)


def _amlsim_time(column: str, texts: np.ndarray) -> dict:
    """Describe the range: steps in the samples, dates in later versions."""
    texts = np.array(sorted(set(texts.tolist())))
    try:
        return step_range(column, texts.astype(float))
    except ValueError:
        return {"column": column, "first": str(texts[0]), "last": str(texts[-1])}


def bitcoin(path: Path) -> Converted:
    """Read who rated whom at Bitcoin OTC or Alpha, with labels where there are any.

    Takes soc-sign-bitcoinotc.csv or soc-sign-bitcoinalpha.csv (ratings from -10 to 10, no labels),
    or the otc_network.csv or alpha_network.csv of REV2 (-1 to 1) with otc_gt.csv or alpha_gt.csv
    beside it: -1 there is a fraud, 1 is none, other users are unlabelled. Ratings above 0 are the
    relation `trusts`, below 0 `distrusts`, from rater to rated; ratings of 0 are neither.
    """
    path = find(path, "*_network.csv", "*_network.csv.gz", "soc-sign-*.csv", "soc-sign-*.csv.gz")
    types = {"SOURCE": "BIGINT", "TARGET": "BIGINT", "RATING": "DOUBLE", "TIME": "DOUBLE"}
    table = tables.load(path, types, header=False)
    with store.errors_about(path):
        users, ends = np.unique(np.stack([table["SOURCE"], table["TARGET"]]), return_inverse=True)
        src, dst = ends.reshape(2, -1)
        num, rating = len(users), table["RATING"]
        edges = {}
        for verb, chosen in {"trusts": rating > 0, "distrusts": rating < 0}.items():
            edges["user", verb, "user"] = _relation(src[chosen], dst[chosen], num, num)
        x = _mean_ratings(src, dst, rating, num)
        y = _bitcoin_labels(path, users)
        graph = assemble({"user": num}, edges, {"user": x}, y, "user")
    about = {
        "time": seconds_range("TIME", table["TIME"]),
        "rows": row_counts(len(src), {"the rating is 0": (rating == 0).sum()}),
    }
    if y is not None:
        meaning = "the founder, or a user the founder trusts, rated the user as low as can be"
        about["labels"] = {"meaning": meaning, "kind": "proxy"}
    own_names = {"user": ["mean_rating_given", "mean_rating_received"]}
    return described(graph, about, own_names=own_names, ids={"user": users.astype(str)})


def _mean_ratings(src, dst, rating, num: int) -> torch.Tensor:
    means = [
        np.bincount(who, rating, num) / np.bincount(who, minlength=num).clip(1)
        for who in (src, dst)
    ]
    return torch.from_numpy(np.stack(means, axis=1)).float()


def _bitcoin_labels(path: Path, users: np.ndarray) -> np.ndarray | None:
    """Read the labels beside a network of REV2; who neither rated nor was rated is no node."""
    if "_network.csv" not in path.name:
        return None
    truth = path.with_name(path.name.replace("_network.csv", "_gt.csv"))
    if not truth.is_file():
        return None
    labels = tables.load(truth, {"user": "BIGINT", "label": "BIGINT"}, header=False)
    wrong = np.flatnonzero(~np.isin(labels["label"], (-1, 1)))
    if len(wrong):
        raise ValueError(
            f"{truth}: line {wrong[0] + 1}: the label is {labels['label'][wrong[0]]}; expected -1 "
            "(fraud) or 1"
        )
    y, place = np.full(len(users), -1), np.searchsorted(users, labels["user"])
    place = place.clip(max=len(users) - 1)
    is_node = users[place] == labels["user"]
    y[place[is_node]] = labels["label"][is_node] == -1
    return y


def ogbn_mag(path: Path, *, positive: int | str | None = None) -> Converted:
    """Read the folder mag/ of OGB: papers, authors, institutions, fields of study.

    Relations keep the direction of their names, and repeated edges are kept. The venue of a paper
    is its class, of which one is taken for the anomaly. Names of papers and authors are read where
    the folder `mapping` is there. It needs about 12 GB of memory.
    """
    counts = find(path, "num-node-dict.csv.gz", "num-node-dict.csv")
    raw = counts.parent
    with store.errors_about(counts):
        num_nodes = {name: int(n[0]) for name, n in tables.load(counts, _bigints(counts)).items()}
    edges = dict(_ogb_relation(file, num_nodes) for file in sorted(_edge_files(raw)))
    if not edges:
        raise FileNotFoundError(f"{raw} holds no relations/<triplet>/edge.csv.gz")
    feat = find(raw / "node-feat" / "paper", "node-feat.csv.gz", "node-feat.csv")
    columns = {f"x_{k}": "FLOAT" for k in range(len(tables.columns_of(feat)))}
    x = np.stack([*tables.load(feat, columns, header=False).values()], axis=1)
    label = find(raw / "node-label" / "paper", "node-label.csv.gz", "node-label.csv")
    y = tables.load(label, {"venue": "BIGINT"}, header=False)["venue"]
    with store.errors_about(label):
        y, labels = one_class(y, "rarest" if positive is None else positive)
        if not len(x) == len(y) == num_nodes.get("paper"):
            raise ValueError(
                f"there are {num_nodes.get('paper')} papers, but {len(x)} rows of features and "
                f"{len(y)} labels"
            )
        graph = assemble(num_nodes, edges, {"paper": torch.from_numpy(x)}, y, "paper")
    num_edges = sum(csr.num_edges for csr in edges.values())
    about = {"labels": labels, "rows": row_counts(num_edges)}
    return described(graph, about, ids=_ogb_ids(raw.parent / "mapping", num_nodes))


def _bigints(path: Path) -> dict[str, str]:
    return dict.fromkeys(tables.columns_of(path), "BIGINT")


def _edge_files(raw: Path) -> list[Path]:
    return [*raw.glob("relations/*/edge.csv.gz"), *raw.glob("relations/*/edge.csv")]


def _ogb_relation(path: Path, num_nodes: dict[str, int]) -> tuple[tuple[str, str, str], CSR]:
    src_type, name, dst_type = path.parent.name.split("___")
    pairs = tables.load(path, {"src": "BIGINT", "dst": "BIGINT"}, header=False)
    with store.errors_about(path):
        missing = {src_type, dst_type} - num_nodes.keys()
        if missing:
            raise ValueError(f"there are no {missing.pop()!r} nodes, only {', '.join(num_nodes)}")
        csr = _relation(pairs["src"], pairs["dst"], num_nodes[src_type], num_nodes[dst_type])
    return (src_type, name, dst_type), csr


def _ogb_ids(mapping: Path, num_nodes: dict[str, int]) -> dict[str, np.ndarray]:
    ids = {}
    for node_type, num in num_nodes.items():
        path = mapping / f"{node_type}_entidx2name.csv.gz"
        if not path.is_file():
            continue
        table = tables.load(path, {"ent idx": "BIGINT", "ent name": "VARCHAR"})
        if not np.array_equal(np.sort(table["ent idx"]), np.arange(num)):
            raise ValueError(f"{path}: column 'ent idx' does not name the {num} nodes once each")
        ids[node_type] = np.empty(num, dtype=object)
        ids[node_type][table["ent idx"]] = table["ent name"]
    return ids


_RCDD_NODES = ("item", "a", "b", "c", "d", "e", "f")
_RCDD_EDGES = [f"{letter}{back}" for letter in "ABCDEFGH" for back in ("", "_1")]
_RCDD_DIM = 256
_RCDD_LABELS = {
    "meaning": "the platform found the item to be fake or forbidden",
    "kind": "adjudicated",
}


def rcdd(path: Path) -> Converted:
    """Read Alibaba's risk commodity graph: AliRCD_ICDM_{nodes,edges,train_labels,test_labels}.csv.

    13.8 million nodes of 7 types, each with 256 features, and 157.8 million edges; items are
    labelled. Each relation is published with its reverse as `<name>_1`; a reverse that is exactly
    that is left out, since the graph goes both ways. It needs about 64 GB of memory.
    """
    nodes, edges, train, test = (
        find_table(path, f"AliRCD*_{part}.csv")
        for part in ("nodes", "edges", "train_labels", "test_labels")
    )
    node_id, node_type, x = _rcdd_nodes(nodes)
    with store.errors_about(nodes):
        local, num_nodes, place = _within_types(node_id, node_type)
    relations, rows = _rcdd_edges(edges, node_type, local, num_nodes, place)
    y = np.full(num_nodes.get("item", 0), -1)
    for labels in (train, test):
        table = tables.load(labels, {"id": "BIGINT", "label": "BIGINT"}, header=False)
        who = _looked_up(table["id"], place, labels)
        wrong = np.flatnonzero(node_type[who] != "item")
        if len(wrong):
            raise ValueError(f"{labels}: line {wrong[0] + 1}: {table['id'][wrong[0]]} is no item")
        y[local[who]] = table["label"]
    with store.errors_about(nodes.parent):
        x_by_type = {name: torch.from_numpy(x[node_type == name]) for name in num_nodes}
        graph = assemble(num_nodes, relations, x_by_type, y, "item")
    ids = {name: node_id[node_type == name].astype(str) for name in num_nodes}
    return described(graph, {"labels": _RCDD_LABELS, "rows": rows}, ids=ids)


def _rcdd_nodes(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read ids, types and features, `id,type,number:number:...`, as columns between the colons."""
    names = [f"x_{k}" for k in range(1, _RCDD_DIM)]
    types = {"head": "VARCHAR"} | dict.fromkeys(names, "FLOAT")
    table = tables.load(path, types, header=False, delimiter=":")
    heads = table["head"].astype(str)
    wrong = np.flatnonzero(np.strings.count(heads, ",") != 2)
    if len(wrong):
        raise ValueError(f"{path}: line {wrong[0] + 1} is not id,type,features")
    node_id, _, rest = np.strings.partition(heads, ",")
    node_type, _, first = np.strings.partition(rest, ",")
    unknown = np.flatnonzero(~np.isin(node_type, _RCDD_NODES))
    if len(unknown):
        type_name = str(node_type[unknown[0]])
        raise ValueError(
            f"{path}: line {unknown[0] + 1}: the node type is {type_name!r}, not one of "
            f"{', '.join(_RCDD_NODES)}"
        )
    x = np.empty((len(heads), _RCDD_DIM), np.float32)
    with store.errors_about(path):
        node_id, x[:, 0] = node_id.astype(np.int64), first.astype(np.float32)
    for k, name in enumerate(names, start=1):
        x[:, k] = table.pop(name)
    return node_id, node_type, x


def _within_types(node_id: np.ndarray, node_type: np.ndarray):
    """Number nodes within their type; also return where each id stands, -1 where it is none."""
    if len(node_id) and node_id.min() < 0:
        raise ValueError(f"line {int(node_id.argmin()) + 1}: the id is {node_id.min()}")
    place = np.full(int(node_id.max(initial=-1)) + 1, -1)
    place[node_id] = np.arange(len(node_id))
    repeated = np.flatnonzero(place[node_id] != np.arange(len(node_id)))
    if len(repeated):
        raise ValueError(f"line {repeated[0] + 1}: id {node_id[repeated[0]]} comes again later")
    local, num_nodes = np.empty(len(node_id), np.int64), {}
    for name in _RCDD_NODES:
        is_of_type = node_type == name
        if is_of_type.any():
            num_nodes[name] = int(is_of_type.sum())
            local[is_of_type] = np.arange(num_nodes[name])
    return local, num_nodes, place


def _looked_up(ids: np.ndarray, place: np.ndarray, path: Path) -> np.ndarray:
    inside = (ids >= 0) & (ids < len(place))
    position = np.where(inside, place[np.where(inside, ids, 0)], -1)
    missing = np.flatnonzero(position < 0)
    if len(missing):
        raise ValueError(f"{path}: line {missing[0] + 1}: {ids[missing[0]]} is no node")
    return position


def _rcdd_edges(path: Path, node_type, local, num_nodes, place) -> tuple[dict, dict]:
    """Read the relations, without those that are the reverse of another one."""
    node_kind, edge_kind = (
        "ENUM(" + ", ".join(f"'{name}'" for name in names) + ")"
        for names in (_RCDD_NODES, _RCDD_EDGES)
    )
    types = {"src": "BIGINT", "dst": "BIGINT", "src_type": node_kind, "dst_type": node_kind}
    table = tables.load(path, types | {"relation": edge_kind}, header=False)
    src, dst = (_looked_up(table.pop(end), place, path) for end in ("src", "dst"))
    for end, who in (("src_type", src), ("dst_type", dst)):
        wrong = np.flatnonzero(node_type[who] != table.pop(end).astype(node_type.dtype))
        if len(wrong):
            raise ValueError(f"{path}: line {wrong[0] + 1}: {end} is not the type of that node")
    edges: dict[tuple[str, str, str], CSR] = {}
    for name in _RCDD_EDGES:
        rows = np.flatnonzero(table["relation"] == name)
        if not len(rows):
            continue
        ends = [np.unique(node_type[who[rows]]) for who in (src, dst)]
        if any(len(names) != 1 for names in ends):
            raise ValueError(f"{path}: relation {name!r} is between more than two types of node")
        src_type, dst_type = (str(names[0]) for names in ends)
        with store.errors_about(path):
            edges[src_type, name, dst_type] = _relation(
                local[src[rows]], local[dst[rows]], num_nodes[src_type], num_nodes[dst_type]
            )
    kept = {key: csr for key, csr in edges.items() if not _is_reverse(key, csr, edges)}
    read, used = len(src), sum(csr.num_edges for csr in kept.values())
    return kept, row_counts(read, {"is the reverse of another edge": read - used})


def _is_reverse(key: tuple[str, str, str], csr: CSR, edges: dict) -> bool:
    """Whether a relation `<name>_1` holds the edges of `<name>`, turned around."""
    src_type, name, dst_type = key
    forward = edges.get((dst_type, name.removesuffix("_1"), src_type))
    if not name.endswith("_1") or forward is None:
        return False
    reverse = forward.transpose()
    return torch.equal(reverse.indptr, csr.indptr) and torch.equal(reverse.indices, csr.indices)
