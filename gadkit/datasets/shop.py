"""A made-up shop as a dataset: its export through the front door, with the answers beside it."""

import csv
import tempfile
from pathlib import Path

import numpy as np

from gadkit import ingest, store
from gadkit.datasets import export
from gadkit.graph import HeteroGraph
from gadkit.ingest import links
from gadkit.store import node_ids


def generate(folder: Path | str, *, num_buyers: int = 9_700, seed: int = 0, progress: bool = True):
    """Make a dataset folder of the orders of a made-up shop, and planted.npz beside.

    What makes a fraud one: the relation to the device, card or address that its ring shares, and
    of a bursting ring the products agreed on and the co-purchases of its members.

    Args:
        folder: where to write; must not exist, or be empty.
        num_buyers, seed: as `export.write_export`.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        ValueError, FileExistsError: as `export.write_export`.
    """
    with tempfile.TemporaryDirectory() as temporary, store.appearing(folder) as partial:
        files = export.write_export(Path(temporary) / "files", num_buyers=num_buyers, seed=seed)
        labels = files / export.REVIEWED
        ingest.ingest(files / export.ORDERS, partial, labels=labels, progress=progress)
        about = store.read_about(partial)
        about |= {
            "title": "Generated shop",
            "description": "Users buy products of sellers, and share devices, cards and addresses. "
            "Fraud of three kinds is planted among users.",
            "source": "gadkit.datasets.shop.generate",
            "license": "none is needed: made by gadkit",
        }
        about["labels"] |= {"meaning": "a fraud that was planted", "kind": "injected"}
        store.write_about(partial, about)
        planted = _answers(partial, _rows(files / export.TRUTH))
        store.save_planted(partial, planted)
    return Path(folder)


def _answers(folder: Path, truth: list[dict]) -> store.Planted:
    """Find what was planted among the nodes and edges of the folder."""
    graph = store.load_graph(folder)
    kind, ring = np.zeros(graph.total, np.int8), np.full(graph.total, -1)
    agreed = {}  # by user, names of products
    user_of = {name.upper(): node for node, name in enumerate(_names(folder, graph, "user"))}
    for row in truth:
        user = user_of.get(row["customer_id"])
        if user is not None:
            kind[user], ring[user] = export.KINDS.index(row["kind"]), int(row["ring"])
            agreed[user] = row["agreed"].split()
    products = _names(folder, graph, "product")
    parts = []  # owner, source, destination, relation
    for number, (edge_type, csr) in enumerate(graph.edges.items()):
        src, dst = (ends.numpy() for ends in csr.pairs())
        if edge_type == ("user", "buys", "product"):
            keep = [products[p] in agreed.get(u, ()) for u, p in zip(src, dst, strict=True)]
        elif edge_type[1].startswith(links.relation("")):
            keep = _shared_by_rings(ring[src], dst)
        elif edge_type[0] == edge_type[2]:
            keep = (ring[src] >= 0) & (ring[src] == ring[dst]) & (kind[src] == export.BURSTING)
        else:
            continue
        src, dst = src[keep], dst[keep] + graph.offset(edge_type[2])
        parts.append((src, src, dst, np.full(len(src), number)))
    owner, src, dst, relation = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((dst, src, relation, owner))
    node = np.flatnonzero(kind)
    edge_ptr = np.searchsorted(owner[order], np.append(node, graph.total))
    names = tuple(edge_type[1] for edge_type in graph.edges)
    columns = src[order], dst[order], relation[order].astype(np.int8), names
    return store.Planted(kind, export.KINDS, node, edge_ptr, *columns)


def _shared_by_rings(ring: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Say of every pair whether its value is of members of one ring alone; ring -1 is of none."""
    order = np.lexsort((ring, value))
    first = np.searchsorted(value[order], value)
    last = np.searchsorted(value[order], value, side="right") - 1
    return (ring >= 0) & (ring[order][first] == ring[order][last])


def _names(folder: Path, graph: HeteroGraph, node_type: str) -> list[str]:
    return node_ids.load(folder, node_type, rows=graph.num_nodes[node_type])


def _rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
