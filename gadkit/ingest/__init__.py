"""Ingest: make a dataset folder of a table of events, and account for every row.

An event is a purchase, a review, a payment: who, what, perhaps from whom, when, and what was said.
Where events have no labels of their own, they become edges of a marketplace (users, products,
sellers, and co-purchases of users), or of accounts that pay one another (`transfers`). Where they
have, each event becomes a node that is to be found out (`graph.build.event_graph`).

A row is used, or it is listed in `unused_rows.csv` with its line and the reason.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gadkit import store
from gadkit.graph import HeteroGraph, build
from gadkit.ingest import columns, features, guesses, said, transfers
from gadkit.ingest import edges as edges_of
from gadkit.ingest import links as links_of
from gadkit.ingest.account import UNUSED, Account
from gadkit.ingest.columns import NODE_TYPES, Roles
from gadkit.ingest.features import Events
from gadkit.ingest.ids import SAME_ID
from gadkit.ingest.labels import NOTHING_SAID, LabelOptions, check_options
from gadkit.ingest.links import GUESSED, LinkOptions
from gadkit.ingest.source import Source
from gadkit.store import node_ids, tables
from gadkit.store.layouts import UNSAID, Layout

EVENT = "event"
CO_PURCHASE_CAP = 2

_STEPS = 6
_DESCRIBED = {False: "Users, what they bought, and of whom.", True: "Accounts, and who pays whom."}


def ingest(
    events: Path | str,
    out: Path | str,
    *,
    roles: dict[str, Sequence[str]] | None = None,
    products: Path | str | None = None,
    labels: Path | str | None = None,
    label_options: LabelOptions = NOTHING_SAID,
    links: LinkOptions = GUESSED,
    co_purchase_cap: int = CO_PURCHASE_CAP,
    time_format: str | None = None,
    same_id: str = "guess",
    layout: Layout = UNSAID,
    progress: bool = True,
) -> Path:
    """Make a dataset folder of a table of events; nothing appears before all of it is there.

    Users are linked that bought the same product (co-purchase): each purchase with the
    `co_purchase_cap` purchases of the product before it and after it in time. So a popular product
    makes no more links per purchase than any other, and those between users who came together.

    Args:
        events: .csv, .tsv, .txt, .jsonl, .json, .ndjson (also .gz, .zip) or .parquet, or a folder
            of such files that are parts of one table; a row an event.
        out: the folder; must not exist, or be empty.
        roles: columns by role (`columns.ROLES`), several where an id or a time is spread over
            them; the rest is guessed by name (`columns.guess_roles`), an empty list leaves out.
        products: a table with the seller of each product; its columns are found by name.
        labels: a table of ids and verdicts, on users, products, sellers or accounts; the name of
            its id column says which. Labels in `events` itself are then not used. Frauds alone
            are enough: whoever is not labelled is then not looked at yet.
        label_options: which columns of it are meant, and which values say what.
        links: columns, such as a device or a card, whose values several users share: each becomes
            a node type, and a relation of users to it. By default those whose names and values say
            so.
        co_purchase_cap: see above; 0 links nobody by purchases.
        time_format: how times are written, in the terms of strptime, or what a number counts (one
            of `times.UNITS`, or excel), where the guess is wrong.
        same_id: whether ids that differ only in case are one: "casefold" or "exact"; "guess" joins
            them where the spelling leaves no doubt (`spelling.join`).
        layout: how the table of events is written, where that is not to be seen from it; its
            encoding is of all text files.
        progress: show a progress bar.

    Returns:
        The folder. It holds the marketplace layout, or graph.npz where events are nodes;
        `ids_<type>.parquet`, `about.json` and `unused_rows.csv`.

    Raises:
        FileNotFoundError: a table is missing.
        FileExistsError: the folder holds something already.
        ValueError: a file is damaged, a column is not there or makes no sense, or nothing is left.
    """
    from tqdm import tqdm

    if co_purchase_cap < 0:
        raise ValueError(f"co_purchase_cap must be 0 or more, got {co_purchase_cap}")
    if same_id not in SAME_ID:
        raise ValueError(f"same_id must be one of {', '.join(SAME_ID)}, got {same_id!r}")
    layout.check()
    guess = guesses.guess(events, roles, layout)
    roles, instead = guess.roles, guess.instead
    with store.errors_about(events):
        taken = (instead or {}) | roles
        links_of.check(links, guess.columns, taken)
        if products is not None and "source" in roles:
            if instead is None:
                raise ValueError("transfers have no products; leave --products out, or --source")
            roles, instead = instead, None
    if labels is not None:
        roles.pop("label", None)
        (instead or {}).pop("label", None)
    named = _links_of_roles(guess.columns, taken, roles) if links.columns is None else links.columns
    has = {"has_table": labels is not None, "has_column": "label" in roles}
    check_options(label_options, **has)
    with (
        store.appearing(out) as partial,
        tables.database(partial / ".work") as con,
        tqdm(total=_STEPS, disable=not progress, desc="ingest") as bar,
    ):

        def done(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        account = Account(con, partial / ".work", guess.layout)
        options = {"products": products, "labels": labels, "time_format": time_format}
        options |= {"same_id": same_id, "links": named, "label_options": label_options}
        options["instead"] = instead
        source = Source(account, Path(events), roles, done, **options)
        for note in guess.notes:
            account.note("events", note)
        about = _about(source, Path(events), co_purchase_cap)
        with store.errors_about(events):
            linked, refused = links_of.read(source, links)
        about |= {"links": {link.column: link.about for link in linked}} if linked else {}
        about |= {"no_links": refused} if refused else {}
        if "label" in source.roles:
            _write_event_graph(partial, source, linked, Path(events), about)
        elif source.is_transfers:
            transfers.write_accounts(partial, source, linked, about)
        else:
            _write_marketplace(partial, source, linked, co_purchase_cap, about)
        done("graph")
        _write_names(partial, source, account, about)
        done("files")
    return Path(out)


def _links_of_roles(present: list[str], taken: Roles, roles: Roles) -> list[str]:
    """List the columns that may be links, for all that the names say."""
    if columns.layout_of(present):
        return []  # what each column holds is known, and none of them is shared by few
    names = links_of.candidates(present, taken)
    return transfers.link_candidates(names) if "source" in roles else names


def _write_names(folder: Path, source: Source, account: Account, about: dict) -> None:
    """Write what stands beside the graph: ids, what is known of it, and what was not used."""
    node_ids.save(folder, {role: names for role, names in source.ids.items() if len(names)})
    accounts = account.summary()
    about["rows"] = accounts[0][1]
    if source.about_labels is not None:
        about["labels"] = source.about_labels
    if len(accounts) > 1:
        about["tables"] = dict(accounts[1:])
    about |= {"notes": account.notes} if account.notes else {}
    store.write_about(folder, about)
    account.write(folder / UNUSED)


def _about(source: Source, path: Path, cap: int) -> dict:
    """Say what is known of the dataset; see `store.write_about`."""
    events, roles = source.events, source.roles
    is_node = "label" in roles
    about = {
        "title": f"Events of {path.name}",
        "description": "Each event is a node." if is_node else _DESCRIBED[source.is_transfers],
        "source": path.name,
        "roles": roles,
        "written": source.written,
        "read": source.read,
        "missing": {name: int(np.isnan(value).sum()) for name, value in events.values.items()},
    }
    if source.is_transfers:
        about["transfers"] = transfers.facts(source)
    else:
        about["transfers"] = {"settled": source.settled} if source.settled else {}
        about["transfers"] |= {"warnings": transfers.split_accounts(source)}
        if not is_node:
            about["co_purchase_cap"] = cap
    if events.time is not None:
        about["missing"]["time"] = int(np.isnan(events.time).sum())
        low, high = source.read["time"]["low"], source.read["time"]["high"]
        if low is not None:
            is_counter = source.read["time"]["counter"]
            ends = [f"day {end / 86_400:g}" for end in (low, high)] if is_counter else [low, high]
            about["time"] = {"column": " ".join(roles["time"]), "first": ends[0], "last": ends[1]}
    about["warnings"] = said.warnings(about)
    return about


def _write_marketplace(
    folder: Path, source: Source, linked: list[links_of.Linked], cap: int, about: dict
) -> None:
    """Write users, products and sellers, and what links users; say in `about` what features are.

    Without links it is the marketplace layout, with them a graph of any schema.
    """
    num_nodes = {role: len(source.ids[role]) for role in NODE_TYPES}
    first = np.cumsum([0, *num_nodes.values()])[:-1]
    offset = dict(zip(NODE_TYPES, first.tolist(), strict=True))
    labels = None
    if source.verdicts is not None:
        node_type, verdicts = source.verdicts
        labels = torch.from_numpy(verdicts + [offset[node_type], 0])
    nodes = source.events.nodes
    low, high = co_purchases(source.events, cap)
    pairs = {
        "epu": _distinct(nodes["user"], nodes["product"]),
        "eps": _distinct(nodes["product"], nodes.get("seller")),
        "euu": (np.concatenate([low, high]), np.concatenate([high, low])),
    }
    partners = {"user": pairs["euu"][0], "product": pairs["eps"][0], "seller": pairs["eps"][1]}
    partners = {role: np.bincount(who, minlength=num_nodes[role]) for role, who in partners.items()}
    x = torch.from_numpy(_features(source, partners, about))
    if linked:
        _write_linked(folder, source, linked, pairs, x, labels, about)
        return
    relations = {}
    for name, (rows, columns_of_rows) in pairs.items():
        _, row_type, column_type = store.RELATIONS[name]
        relations[name] = store.raw_csr(
            rows, columns_of_rows + offset[column_type], num_nodes[row_type], offset[row_type]
        )
    store.write_raw(folder, num_nodes, relations, x, labels)


def _write_linked(
    folder: Path,
    source: Source,
    linked: list[links_of.Linked],
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
    x: torch.Tensor,
    labels: torch.Tensor | None,
    about: dict,
) -> None:
    """Write the marketplace as a graph with a node type more for each link.

    Args:
        folder, source, about: as for `_write_marketplace`.
        linked: the links; empty are none of them.
        pairs: by name of a raw relation, row and column nodes within their types.
        x: (num_users + num_products + num_sellers, 128) float32.
        labels: (n, 2) rows [global id, 0 or 1]; links come after all labelled types.
    """
    num_nodes = {role: len(source.ids[role]) for role in NODE_TYPES if len(source.ids[role])}
    x_by_type = dict(zip(num_nodes, x.split(list(num_nodes.values())), strict=True))
    edges = {}
    for name, (rows, partners) in pairs.items():
        edge_type, row_type, _ = store.RELATIONS[name]
        src, dst = (rows, partners) if edge_type[0] == row_type else (partners, rows)
        if len(src):
            edges[edge_type] = edges_of.relation(
                src, dst, num_nodes[edge_type[0]], num_nodes[edge_type[2]]
            )
    for link in linked:
        values, names = links_of.features(link)
        num_nodes[link.column] = len(link.ids)
        x_by_type[link.column] = torch.from_numpy(values)
        about["features"][link.column] = names
        source.ids[link.column] = link.ids
        edge_type = ("user", links_of.relation(link.column), link.column)
        edges[edge_type] = edges_of.relation(
            link.user, link.value, num_nodes["user"], len(link.ids)
        )
    store.save_graph(folder, HeteroGraph(num_nodes, edges, x_by_type, labels))


def _features(source: Source, links: dict[str, np.ndarray], about: dict) -> np.ndarray:
    """Describe all nodes: (total, 128) float32."""
    events, has_text = source.events, "text" in source.roles
    counts = [len(source.ids[role]) for role in NODE_TYPES]
    x = np.zeros((sum(counts), store.FEATURE_DIM), np.float32)
    x_by_type = dict(zip(NODE_TYPES, np.split(x, np.cumsum(counts)[:-1]), strict=True))
    names = features.names(events, text=has_text)
    about["features"] = dict.fromkeys(events.nodes, names)
    about["missing_x"] = {
        role: features.describe(events, role, links[role], x_by_type[role]) for role in events.nodes
    }
    if has_text:
        first = next(i for i, name in enumerate(names) if name.startswith("topic"))
        outs = [(events.nodes[role], x_by_type[role]) for role in events.nodes]
        features.add_topics(source.texts(), outs, first)
    return x


def _write_event_graph(
    folder: Path, source: Source, linked: list[links_of.Linked], path: Path, about: dict
) -> None:
    """Make events nodes, and what links users one more end of them.

    A value or time that is missing is the mean of those there are.
    """
    events = source.events
    with store.errors_about(path):
        y = source.labels_of_events()
    about["missing"]["label"] = int((y < 0).sum())
    time = None if events.time is None else _filled(events.time)
    values = {name: _filled(value) for name, value in events.values.items()}
    nodes = events.nodes | {link.column: links_of.of_events(source, link) for link in linked}
    types = transfers.TYPES if source.is_transfers else {}
    graph = build.event_graph(nodes, values, time=time, y=y, event=EVENT, types=types)
    own_names = build.event_features(
        nodes, values, timed=time is not None, event=EVENT, types=types
    )
    about["features"] = build.name_columns(graph, own_names)
    missing = {f"log_{name}": about["missing"][name] for name in values}
    about["missing_x"] = {EVENT: {name: count for name, count in missing.items() if count}}
    source.ids = {EVENT: source.names_of_events()} | source.ids
    source.ids |= {link.column: link.ids for link in linked}
    store.save_graph(folder, graph)
    if events.time is not None:
        store.save_time(folder, graph, {EVENT: events.time})


def co_purchases(events: Events, cap: int) -> tuple[np.ndarray, np.ndarray]:
    """Link the users of each purchase and the `cap` purchases of its product that follow it.

    Purchases follow each other in time, or in the order of the table where there is none.

    Returns:
        low and high: (num_links,) int64 users, low < high, in ascending order, each pair once.
    """
    product, user = events.nodes["product"], events.nodes["user"]
    if events.time is None:
        order = np.argsort(product, kind="stable")
    else:
        order = np.lexsort((events.time, product))
    product, user = product[order], user[order]
    # Purchases are sorted by product, and those of a product by time. Compared with itself moved by
    # `step`, the list pairs each purchase with the one `step` places later, which counts where both
    # are of one product. A pair of users is one number: the lower in the upper 32 bits.
    keys = [np.empty(0, np.int64)]
    for step in range(1, min(cap, len(product) - 1) + 1):
        together = (product[step:] == product[:-step]) & (user[step:] != user[:-step])
        earlier, later = user[:-step][together], user[step:][together]
        keys.append(np.minimum(earlier, later) << 32 | np.maximum(earlier, later))
    keys = np.unique(np.concatenate(keys))
    return keys >> 32, keys & 0xFFFFFFFF


def _distinct(rows: np.ndarray, columns: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair once, ascending, without pairs of nobody (-1)."""
    if columns is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    is_pair = columns >= 0
    keys = np.unique(rows[is_pair] << 32 | columns[is_pair])
    return keys >> 32, keys & 0xFFFFFFFF


def _filled(values: np.ndarray) -> np.ndarray:
    is_known = np.isfinite(values)
    return np.where(is_known, values, values[is_known].mean() if is_known.any() else 0)
