"""Describe a dataset folder in tables: where it is from, what is missing, nodes, edges, labels.

`about` is what `store.read_about` returns. Any of its keys may be missing: a graph may come with
or without a history, labels, features and names, and what is not known is said to be so.
"""

import torch
from torch import Tensor

from gadkit.evaluation.metrics import roc_auc
from gadkit.graph import HeteroGraph
from gadkit.ingest import said

_ONLY_FRAUDS = (
    "Only frauds are labelled: the others are no cleared accounts, but nobody has looked at them. "
    "A list can be made of that; how precise it is cannot be known."
)
KINDS = {  # of labels, and what that is worth
    "adjudicated": "Somebody decided each labelled case, so a label is a verdict, with the errors "
    "and the habits of those who judge.",
    "proxy": "This is a stand-in for fraud and not a verdict: a model that finds it well need not "
    "find fraud well.",
    "injected": "These anomalies were planted by a program: they show whether a method works, not "
    "how much real fraud it would find.",
}


def provenance(about: dict) -> dict[str, str]:
    """Return where the data come from, as rows of a table, and how they became a graph.

    Name, description, source, license and citation are always there, as "not stated" where the
    folder does not say; what follows is there where it is known.
    """
    rows = {"name": about.get("title") or about.get("name")}
    rows |= {key: about.get(key) for key in ("description", "source", "license", "citation")}
    rows = {key: str(value or "not stated") for key, value in rows.items()}
    time = about.get("time", {})
    if time.get("first") and time.get("last"):
        rows["time range"] = f"{time['first']} to {time['last']}"
        rows["time range"] += f" ({time['column']})" if time.get("column") else ""
    if about.get("roles"):
        roles = (
            f"{role}: {', '.join(map(str, columns))}" for role, columns in about["roles"].items()
        )
        rows["columns used"] = "; ".join(roles)
    if "co_purchase_cap" in about:
        cap = about["co_purchase_cap"]
        rows["co-purchases"] = f"each purchase is linked with the next {cap} of its product"
    return rows


def rows_read(about: dict) -> dict[str, tuple[str, str]]:
    """Return the rows of the source tables read, used and left out by reason, with their shares.

    Returns:
        name of the row: (count, share of the rows read); empty where the folder keeps no count.
        The table of events comes first, others with their names in front.
    """
    rows = _account("", about.get("rows", {}))
    for name, account in about.get("tables", {}).items():
        rows |= _account(f"{name}: ", account)
    return rows


def values_read(about: dict) -> dict[str, list[str]]:
    """Return how each column of the source was understood.

    Returns:
        role: [columns, how values are written, range, missing, cannot be read]; empty where the
        folder does not say.
    """
    rows = {}
    for role, read in about.get("read", {}).items():
        written = "; ".join(filter(None, (read.get("written"), read.get("note"))))
        missing = f"{read['missing']:,}" if read.get("missing") else ""
        extent = said.extent(role, read)
        rows[role] = [", ".join(read["columns"]), written, extent, missing, said.unreadable(read)]
    return rows


def _account(prefix: str, account: dict) -> dict[str, tuple[str, str]]:
    counts = {name: account[name] for name in ("read", "used") if name in account}
    counts |= {f"not used: {reason}": count for reason, count in account.get("unused", {}).items()}
    whole = account.get("read", 0)
    return {
        prefix + name: (f"{n:,}", f"{n / whole:.2%}" if whole else "") for name, n in counts.items()
    }


def missing_values(about: dict, graph: HeteroGraph) -> dict[str, tuple[int, int]]:
    """Count the values that the source did not have.

    Returns:
        column: (missing, of how many), the most incomplete first: columns of the events of all
        used rows, and features as "type: feature" of all nodes of the type, where the graph holds
        a fill instead. Columns of events are left out where nobody counted the rows used.
    """
    used = about.get("rows", {}).get("used", 0)
    missing = {column: (n, used) for column, n in about.get("missing", {}).items() if used}
    for node_type, columns in about.get("missing_x", {}).items():
        whole = graph.num_nodes[node_type]
        missing |= {f"{node_type}: {name}": (n, whole) for name, n in columns.items()}
    return dict(sorted(missing.items(), key=lambda item: -item[1][0] / item[1][1]))


def label_meaning(about: dict, graph: HeteroGraph) -> str:
    """Return in words what a label of this dataset is, and what it is not."""
    if graph.labels is None:
        return (
            "This dataset has no labels: nothing here says what is fraud. Stage 1 can rank its "
            "nodes by how unusual they are; stage 2 and every measure of quality need labels."
        )
    labels = about.get("labels", {})
    says = "The folder does not say what label 1, called fraud here, means: ask who made it."
    if labels.get("meaning"):
        says = f"Label 1, called fraud here, means: {labels['meaning'].rstrip('.')}."
    only_frauds = bool(graph.labels[:, 1].all())
    return f"{says} {_ONLY_FRAUDS if only_frauds else KINDS.get(labels.get('kind'), '')}".strip()


def relation_table(graph: HeteroGraph) -> dict[str, list[str]]:
    """Describe every relation: ends, edges, and how many nodes at each end have none.

    Returns:
        relation: the columns [source, destination, edges, self-loops, sources without,
        destinations without]; a self-loop is counted apart and leaves its node without.
    """
    rows = {}
    for (src, name, dst), csr in graph.edges.items():
        is_link = (csr.indices != csr.dst()) | (src != dst)
        ends = (csr.indices[is_link], csr.num_src), (csr.dst()[is_link], csr.num_dst)
        degrees = (torch.bincount(ids, minlength=count) for ids, count in ends)
        isolated = [int((degree == 0).sum()) for degree in degrees]
        edges = int(is_link.sum())
        numbers = edges, csr.num_edges - edges, *isolated
        rows[name] = [src, dst, *map("{:,}".format, numbers)]
    return rows


def node_table(graph: HeteroGraph) -> dict[str, list[str]]:
    """Describe every node type, and what is known of it.

    Returns:
        type: the columns [nodes, features, labelled, fraud, fraud rate among labelled].
    """
    empty = torch.empty(0, 2, dtype=torch.int64)
    ids, y_true = (empty if graph.labels is None else graph.labels).unbind(1)
    type_number = graph.node_type_of(ids)
    rows = {}
    for number, (name, count) in enumerate(graph.num_nodes.items()):
        verdicts = y_true[type_number == number]
        is_rate = len(verdicts) and not graph.labels[:, 1].all()  # else of frauds among frauds
        rate = f"{verdicts.double().mean():.2%}" if is_rate else ""
        width = 0 if graph.x is None else graph.x[name].shape[1]
        numbers = count, width, len(verdicts), int(verdicts.sum())
        rows[name] = [*map("{:,}".format, numbers), rate]
    return rows


def single_feature_areas(graph: HeteroGraph) -> tuple[str | None, Tensor]:
    """Measure how well each feature alone, high or low, tells fraud.

    Returns:
        The node type with most known frauds, and (dim,) the area under the ROC curve of each of
        its features, from 0.5 to 1. None and no areas without labels, without features, or where
        the labels of that type are all alike.
    """
    nothing = None, torch.empty(0)
    if graph.labels is None or graph.x is None:
        return nothing
    ids, y_true = graph.labels.unbind(1)
    type_number = graph.node_type_of(ids)
    number = int(type_number[y_true == 1].mode().values)
    node_type, chosen = graph.node_types[number], type_number == number
    if bool(y_true[chosen].all()):
        return nothing
    x = graph.x[node_type][ids[chosen] - graph.offset(node_type)]
    areas = torch.tensor([roc_auc(y_true[chosen], column) for column in x.T])
    return node_type, torch.maximum(areas, 1 - areas)


def fraud_beside(graph: HeteroGraph) -> dict[str, list[str]]:
    """Say how often a labelled neighbor of a cleared node, and of a fraud, is a fraud.

    Returns:
        stream: the two rates; without the streams that join no labelled nodes of both kinds, and
        empty without labels.
    """
    if graph.labels is None:
        return {}
    label = graph.label_of_nodes(unknown=torch.nan)
    rows = {}
    for _, (src, name, dst), csr in graph.streams:
        ends = label[csr.indices + graph.offset(src)], label[csr.dst() + graph.offset(dst)]
        between = (csr.indices != csr.dst()) | (src != dst)  # not a self-loop
        rates = [ends[0][between & (ends[1] == value)].nanmean() for value in (0, 1)]
        if not any(map(torch.isnan, rates)):
            rows[f"{src} → {dst} ({name})"] = [f"{float(rate):.1%}" for rate in rates]
    return rows
