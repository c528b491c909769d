"""A table of events becomes a dataset folder, and no row is lost without a reason.

An event is a purchase, a review, a payment: who, what, perhaps from whom, when, and what was said.
Where events have no labels of their own, they become edges of a marketplace (users, products,
sellers, and co-purchases of users). Where they have, each event becomes a node that is to be found
out (`datasets.layout.event_graph`).

A row is used, or it is listed in `unused_rows.csv` with its line and the reason.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gadkit import columns, features, store, tables
from gadkit.columns import NODE_TYPES, Roles
from gadkit.datasets import layout
from gadkit.features import Events
from gadkit.tables import sql_name

UNUSED = "unused_rows.csv"
EVENT = "event"
CO_PURCHASE_CAP = 3

_STAGES = 6
_WORK = ".work"
_VALUES = ("rating", "verified", "votes", "amount", "text_length")
_PIECE = 50_000  # texts held in memory at a time
_SHOWN = 100  # characters kept of a row that is not used

Ids = dict[str, np.ndarray]  # (num_nodes,) str objects by node type
Nodes = dict[str, np.ndarray]  # (num_rows,) int64 by node type, -1 = none


def ingest(
    events: Path | str,
    out: Path | str,
    *,
    roles: dict[str, Sequence[str]] | None = None,
    products: Path | str | None = None,
    labels: Path | str | None = None,
    co_purchase_cap: int = CO_PURCHASE_CAP,
    time_format: str | None = None,
    encoding: str = "utf-8",
    progress: bool = True,
) -> Path:
    """Make a dataset folder of a table of events; nothing appears before all of it is there.

    Users are linked that bought the same product (co-purchase): each purchase with the
    `co_purchase_cap` purchases of the product before it and after it in time. So a popular product
    makes no more links per purchase than any other, and those between users who came together.

    Args:
        events: .csv, .tsv, .txt, .jsonl, .json, .ndjson (also .gz) or .parquet; a row an event.
        out: the folder; must not exist, or be empty.
        roles: columns by role (`columns.ROLES`), several where an id or a time is spread over
            them; the rest is guessed by name (`columns.guess_roles`), an empty list leaves out.
        products: a table with the seller of each product; its columns are found by name.
        labels: a table of ids and verdicts, on users, products or sellers; the name of its id
            column says which. Labels in `events` itself are then not used.
        co_purchase_cap: see above; 0 makes no links.
        time_format: how times are written, in the terms of strptime, where the guess is wrong.
        encoding: of text files: "utf-8", "latin-1" or "utf-16".
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
    if encoding not in tables.ENCODINGS:
        raise ValueError(f"encoding must be one of {', '.join(tables.ENCODINGS)}, got {encoding!r}")
    found = tables.columns_of(events, encoding=encoding)
    with store.errors_about(events):
        roles = columns.guess_roles(found, roles)
    if labels is not None:
        roles.pop("label", None)
    with (
        store.appearing(out) as partial,
        tables.database(partial / _WORK) as con,
        tqdm(total=_STAGES, disable=not progress, desc="ingest") as bar,
    ):
        run = _Ingestion(con, partial, encoding, roles)
        for stage in run.stages(Path(events), products, labels, co_purchase_cap, time_format):
            bar.set_postfix_str(stage)
            bar.update()
    return Path(out)


class _Unused(NamedTuple):
    file: str
    line: np.ndarray
    reason: str
    text: np.ndarray


class _Ingestion:
    """The tables in the database, and the account of the rows that are not used."""

    def __init__(self, con, folder: Path, encoding: str, roles: Roles):
        self.con, self.folder, self.encoding, self.roles = con, folder, encoding, roles
        self.unused: list[_Unused] = []
        self.num_read: dict[str, int] = {}
        self.file, self.lines_of = "", None  # of the table that was staged last
        self.written: dict[str, str] = {}  # how columns are written, by role

    def stages(self, path, products, labels, cap, time_format) -> Iterator[str]:
        """Do the work, and name each stage when it is done."""
        self._read_events(path, time_format)
        yield "rows"
        keep = self._keep_events(path)
        yield "account"
        ids, nodes = self._number(("user", "product"))
        if products is not None:
            self._read_offers(Path(products))
        self._number_sellers(ids, nodes, with_offers=products is not None)
        verdicts = None if labels is None else self._read_labels(Path(labels), ids)
        yield "ids"
        events = self._events(keep, nodes)
        about = self._about(path, events, cap)
        yield "values"
        if "label" in self.roles:
            graph, names = self._event_graph(path, keep, events, about)
            ids = {EVENT: names} | ids
            store.save_graph(self.folder, graph)
        else:
            self._write_marketplace(keep, events, ids, verdicts, cap, about)
        yield "graph"
        store.save_ids(self.folder, {role: names for role, names in ids.items() if len(names)})
        self._write_account(about, path)
        yield "files"

    # What is read, and what is not used.

    def _stage(self, path: Path, name: str, wanted: list[str]) -> None:
        """Read columns of a file into the table `name`; account for lines that are no rows."""
        staged = tables.stage(
            self.con, path, name, wanted, folder=self.folder / _WORK, encoding=self.encoding
        )
        self.file = path.name if path.name not in self.num_read else f"{path.name} ({name})"
        self.num_read[self.file] = staged.num_rows + len(staged.bad)
        self.lines_of = staged.line_of
        for reason in sorted({bad.reason for bad in staged.bad}):
            bad = [bad for bad in staged.bad if bad.reason == reason]
            lines, texts = np.array([one.line for one in bad]), [one.text for one in bad]
            self._refuse(lines, f"cannot be read: {reason}", texts)

    def _refuse(self, lines: np.ndarray, reason: str, texts) -> None:
        self.unused.append(_Unused(self.file, lines, reason, np.asarray(texts, object)))

    def _judge(self, name: str, wanted: list[str], fates: str) -> np.ndarray:
        """Account for the rows that have a fate, and say which have none: (num_rows,) bool.

        Args:
            name: the table that was staged last.
            wanted: its columns.
            fates: SQL of a table that says row for row why it is not used, or NULL.
        """
        self.con.execute(f"CREATE TABLE {name}_fate AS {fates}")
        text = f"left(concat_ws(',', {_listed(name, wanted)}), {_SHOWN})"
        found = self.con.execute(
            f"SELECT judged.rowid AS row, judged.fate, {text} AS text FROM {name}_fate AS judged "
            f"JOIN {name} ON {name}.rowid = judged.rowid WHERE judged.fate IS NOT NULL ORDER BY 1"
        ).fetchnumpy()
        rows, reasons, texts = (np.ma.getdata(found[key]) for key in ("row", "fate", "text"))
        for reason in sorted(set(reasons)):
            which = reasons == reason
            self._refuse(self.lines_of(rows[which].astype(np.int64)), reason, texts[which])
        keep = np.ones(self._count(name), bool)
        keep[rows.astype(np.int64)] = False
        return keep

    def _count(self, name: str) -> int:
        return self.con.execute(f"SELECT count(*) FROM {name}").fetchone()[0]

    def _read_events(self, path: Path, time_format: str | None) -> None:
        """Stage the events, and read what is written in them: the table `typed`, row for row."""
        roles = self.roles
        self._stage(path, "events", self._used_columns())
        self.event_line = self.lines_of
        listed = {
            role: columns.id_of(roles[role]) if role in roles else "NULL::VARCHAR"
            for role in NODE_TYPES
        }
        with store.errors_about(path):
            readings = {
                role: columns.number_of(self.con, "events", *roles[role])
                for role in ("rating", "votes", "amount")
                if role in roles
            }
            if "time" in roles:
                readings["time"] = columns.time_of(self.con, "events", roles["time"], time_format)
        if "verified" in roles:
            readings["verified"] = columns.flag_of(*roles["verified"])
        self.written = {role: reading.written for role, reading in readings.items()}
        listed |= {role: f"({reading.sql})::DOUBLE" for role, reading in readings.items()}
        if "text" in roles:
            listed["text_length"] = f"length({sql_name(*roles['text'])})::DOUBLE"
        if "label" in roles:
            listed["label"] = columns.verdict_of(*roles["label"])
        selected = ", ".join(f"{sql} AS {sql_name(role)}" for role, sql in listed.items())
        cleaned = columns.cleaned("events", self._used_columns())
        self.con.execute(f"CREATE TABLE typed AS SELECT {selected} FROM {cleaned}")

    def _used_columns(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.roles.values() for name in names))

    def _keep_events(self, path: Path) -> np.ndarray:
        """Leave out rows that name no user or no product, or repeat an earlier row.

        Without a time, two rows that are equal may well be two events.
        """
        copies = ""
        if "time" in self.roles:
            listed = _listed("events", self._used_columns())
            self.con.execute(
                "CREATE TABLE twins AS SELECT rowid AS row, row_number() OVER "
                f"(PARTITION BY {listed} ORDER BY rowid) AS nth FROM events WHERE hash({listed}) "
                f"IN (SELECT hash({listed}) FROM events GROUP BY 1 HAVING count(*) > 1)"
            )
            copies = (
                "WHEN rowid IN (SELECT row FROM twins WHERE nth > 1) THEN 'copy of an earlier row' "
            )
        keep = self._judge(
            "events", self._used_columns(),
            "SELECT CASE WHEN \"user\" IS NULL THEN 'user id is missing' "
            f"WHEN product IS NULL THEN 'product id is missing' {copies}END AS fate FROM typed",
        )  # fmt: skip
        if not keep.any():
            raise ValueError(f"{path}: no row names both a user and a product")
        return keep

    # Ids.

    def _number(self, node_types: Sequence[str]) -> tuple[Ids, Nodes]:
        """Number the ids of used events, in the order in which they first occur."""
        ids, nodes = {}, {}
        for role in node_types:
            ids[role] = self._create_ids(
                role, f"SELECT {sql_name(role)} AS id, typed.rowid AS place FROM typed "
                "JOIN events_fate AS fate ON fate.rowid = typed.rowid WHERE fate IS NULL"
            )  # fmt: skip
            nodes[role] = self._look_up(role)
        return ids, nodes

    def _create_ids(self, role: str, places: str) -> np.ndarray:
        self.con.execute(
            f"CREATE TABLE ids_{role} AS SELECT id FROM ({places}) WHERE id IS NOT NULL "
            "GROUP BY id ORDER BY min(place)"
        )
        ids = self.con.execute(f"SELECT id FROM ids_{role} ORDER BY rowid").fetchnumpy()["id"]
        return np.asarray(np.ma.getdata(ids), object)

    def _look_up(self, role: str) -> np.ndarray:
        """Return the node of every row of `typed`, -1 = none."""
        found = self.con.execute(
            f"SELECT typed.rowid AS row, ids.rowid AS node FROM typed "
            f"JOIN ids_{role} AS ids ON typed.{sql_name(role)} = ids.id"
        ).fetchnumpy()
        nodes = np.full(self._count("typed"), -1)
        nodes[found["row"]] = found["node"]
        return nodes

    def _read_offers(self, path: Path) -> None:
        """Read which seller a table of products names, the first one of each: `offers_seller`."""
        found = tables.columns_of(path, encoding=self.encoding)
        product, seller = (columns.find_id(found, role, self.roles) for role in NODE_TYPES[1:])
        if not product or not seller:
            raise ValueError(
                f"{path}: no column is called like a {'seller' if product else 'product'}; "
                f"found {', '.join(found)}; rename it to {'seller' if product else 'product'}"
            )
        self._stage(path, "offers", product + seller)
        known = (
            "product IS NOT NULL AND seller IS NOT NULL AND product IN (SELECT id FROM ids_product)"
        )
        self.con.execute(
            f"CREATE TABLE offered AS SELECT {columns.id_of(product)} AS product, "
            f"{columns.id_of(seller)} AS seller "
            f"FROM {columns.cleaned('offers', product + seller)}; "
            "CREATE TABLE offers_seller AS SELECT product, arg_min(seller, rowid) AS seller, "
            f"min(rowid) AS place FROM offered WHERE {known} GROUP BY product"
        )
        self._judge(
            "offers", product + seller,
            "SELECT CASE WHEN offered.product IS NULL THEN 'product id is missing' "
            "WHEN offered.product NOT IN (SELECT id FROM ids_product) THEN 'product has no event' "
            "WHEN offered.seller IS NULL THEN 'seller is missing' "
            "WHEN offered.seller <> first.seller THEN 'product has another seller already' END "
            "AS fate FROM offered LEFT JOIN offers_seller AS first "
            "ON offered.product = first.product ORDER BY offered.rowid",
        )  # fmt: skip

    def _number_sellers(self, ids: Ids, nodes: Nodes, *, with_offers: bool) -> None:
        """Number the sellers that events name, and for the others those of their products."""
        places = (
            "SELECT seller AS id, typed.rowid AS place FROM typed "
            "JOIN events_fate AS fate ON fate.rowid = typed.rowid WHERE fate IS NULL"
        )
        if with_offers:  # after those of the events
            places += f" UNION ALL SELECT seller, {1 << 60} + place FROM offers_seller"
        names, own = self._create_ids("seller", places), self._look_up("seller")
        if with_offers:
            found = self.con.execute(
                "SELECT p.rowid AS product, s.rowid AS seller FROM offers_seller AS o "
                "JOIN ids_product AS p ON o.product = p.id JOIN ids_seller AS s ON o.seller = s.id"
            ).fetchnumpy()
            offered = np.full(len(ids["product"]) + 1, -1)  # the last is for rows without a product
            offered[found["product"]] = found["seller"]
            own = np.where(own >= 0, own, offered[nodes["product"]])
        seen = np.unique(own[own >= 0])  # all products of a seller may have another one in events
        number = np.full(len(names) + 1, -1)
        number[seen] = np.arange(len(seen))
        ids["seller"], nodes["seller"] = names[seen], number[own]

    def _read_labels(self, path: Path, ids: Ids) -> tuple[str, np.ndarray]:
        """Read verdicts: the node type, and (n, 2) int64 rows [node, 1 = anomaly], by node."""
        found = tables.columns_of(path, encoding=self.encoding)
        named = ((role, columns.find_id(found, role, self.roles)) for role in NODE_TYPES)
        role, names = next(((role, names) for role, names in named if names), ("user", []))
        label = columns.find_label(found, names)
        if not names or not label:
            raise ValueError(
                f"{path}: expected a column called like a user, product or seller (or as in the "
                f"events), and one called label; found {', '.join(found)}"
            )
        self._stage(path, "labels", names + label)
        self.con.execute(
            f"CREATE TABLE verdicts AS SELECT {columns.id_of(names)} AS id, "
            f"{columns.verdict_of(*label)} AS label "
            f"FROM {columns.cleaned('labels', names + label)}; "
            "CREATE TABLE disputed AS SELECT id FROM verdicts WHERE id IS NOT NULL AND label >= 0 "
            "GROUP BY id HAVING min(label) < max(label)"
        )
        self._judge(
            "labels", names + label,
            f"SELECT CASE WHEN id IS NULL THEN '{role} id is missing' "
            "WHEN label IS NULL THEN 'label is missing or unknown' "
            "WHEN label < 0 THEN 'label is neither yes nor no' "
            f"WHEN id NOT IN (SELECT id FROM ids_{role}) THEN '{role} has no event' "
            f"WHEN id IN (SELECT id FROM disputed) THEN '{role} is labelled both yes and no' END "
            "AS fate FROM verdicts",
        )  # fmt: skip
        used = self.con.execute(
            f"SELECT DISTINCT ids.rowid AS node, label FROM verdicts JOIN ids_{role} AS ids "
            "ON verdicts.id = ids.id WHERE label >= 0 AND ids.id NOT IN (SELECT id FROM disputed) "
            "ORDER BY 1"
        ).fetchnumpy()
        normal, anomalies = (int((used["label"] == label).sum()) for label in (0, 1))
        if not normal or not anomalies:
            raise ValueError(
                f"{path}: of the labels of a {role} that has events, {anomalies:,} say yes and "
                f"{normal:,} say no; both are needed"
            )
        return role, np.stack([used["node"], used["label"]], axis=1).astype(np.int64)

    # Values.

    def _events(self, keep: np.ndarray, nodes: Nodes) -> Events:
        """Take what used events hold into memory."""
        present = [name for name in _VALUES if (name == "text_length" and "text" in self.roles)
                   or name in self.roles]  # fmt: skip
        listed = [f"COALESCE({name}, 'nan')::FLOAT AS {name}" for name in present]
        if "time" in self.roles:
            listed.append("COALESCE(time, 'nan')::DOUBLE AS time")
        found = {}
        if listed:
            found = self.con.execute(f"SELECT {', '.join(listed)} FROM typed").fetchnumpy()
        found = {name: np.ma.getdata(value)[keep] for name, value in found.items()}
        if "votes" in found and not (found["votes"] == 0).any():
            # Where nobody ever writes a 0, as in Amazon's reviews of 2018, nothing written is one.
            np.nan_to_num(found["votes"], copy=False)
            self.written["votes"] += ", 0 where there is none"
        kept = {role: node[keep] for role, node in nodes.items()}
        if (kept["seller"] < 0).all():
            del kept["seller"]
        return Events(kept, found.pop("time", None), found)

    def _texts(self, keep: np.ndarray) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield the numbers of used events and their texts, piece by piece."""
        rows = self.con.execute(f"SELECT COALESCE({sql_name(*self.roles['text'])}, '') FROM events")
        first = number = 0
        while piece := rows.fetchmany(_PIECE):
            used = np.flatnonzero(keep[first : first + len(piece)])
            yield number + np.arange(len(used)), [piece[row][0] for row in used]
            first, number = first + len(piece), number + len(used)

    # What is written.

    def _write_marketplace(self, keep, events: Events, ids: Ids, verdicts, cap, about) -> None:
        num_nodes = {role: len(ids[role]) for role in NODE_TYPES}
        first = np.cumsum([0, *num_nodes.values()])
        labels = None
        if verdicts is not None:
            labels = torch.from_numpy(verdicts[1])
            labels[:, 0] += int(first[NODE_TYPES.index(verdicts[0])])
        low, high = co_purchases(events, cap)
        pairs = {
            "epu": _distinct(events.nodes["user"], events.nodes["product"]),
            "eps": _distinct(events.nodes["product"], events.nodes.get("seller")),
            "euu": (np.concatenate([low, high]), np.concatenate([high, low])),
        }
        x = self._features(keep, events, num_nodes, pairs, about)
        offset = dict(zip(NODE_TYPES, first.tolist(), strict=False))
        relations = {}
        for name, (rows, cols) in pairs.items():
            _, row_type, column_type = store.RELATIONS[name]
            relations[name] = store.raw_csr(
                rows, cols + offset[column_type], num_nodes[row_type], offset[row_type]
            )
        store.write_raw(self.folder, num_nodes, relations, torch.from_numpy(x), labels)

    def _features(self, keep, events, num_nodes, pairs, about) -> np.ndarray:
        """Describe all nodes: (total, 128) float32, and say in `about` what was filled in."""
        x = np.zeros((sum(num_nodes.values()), store.FEATURE_DIM), np.float32)
        ends = np.cumsum(list(num_nodes.values()))[:-1]
        of_type = dict(zip(NODE_TYPES, np.split(x, ends), strict=True))
        links = {"user": pairs["euu"][0], "product": pairs["eps"][0], "seller": pairs["eps"][1]}
        about["features"], about["missing_x"] = {}, {}
        names = features.names(events, text="text" in self.roles)
        for role in events.nodes:
            count = np.bincount(links[role], minlength=num_nodes[role])
            filled = features.describe(events, role, count, of_type[role])
            about["features"][role], about["missing_x"][role] = names, filled
        if "text" in self.roles:
            first = next(i for i, name in enumerate(names) if name.startswith("topic"))
            outs = [(events.nodes[role], of_type[role]) for role in events.nodes]
            features.add_topics(self._texts(keep), outs, first)
        return x

    def _event_graph(self, path: Path, keep, events: Events, about):
        """Make events nodes; a value or time that is missing is the mean of those there are."""
        label = self.con.execute("SELECT COALESCE(label, -1) AS label FROM typed").fetchnumpy()
        y = label["label"][keep].astype(np.int64)
        if not {0, 1} <= set(np.unique(y).tolist()):
            raise ValueError(
                f"{path}: of the labels in {self.roles['label'][0]!r}, {int((y == 1).sum()):,} say "
                f"yes and {int((y == 0).sum()):,} say no; both are needed"
            )
        time = None if events.time is None else _filled(events.time)
        values = {name: _filled(value) for name, value in events.values.items()}
        graph = layout.event_graph(events.nodes, values, time=time, y=y, event=EVENT)
        own = layout.event_features(events.nodes, values, timed=time is not None, event=EVENT)
        about["features"] = layout.feature_names(graph, own)
        missing = {f"log_{name}": int(n) for name, n in about["missing"].items() if name in values}
        about["missing_x"] = {EVENT: {name: n for name, n in missing.items() if n}}
        lines = self.event_line(np.flatnonzero(keep))
        return graph, np.char.add("line ", lines.astype(str)).astype(object)

    def _about(self, path: Path, events: Events, cap: int) -> dict:
        """Say what is known of the dataset; see `store.write_about`."""
        is_edge = "label" not in self.roles
        about = {
            "title": f"Events of {path.name}",
            "description": (
                "Users, what they bought, and of whom." if is_edge else "Each event is a node."
            ),
            "source": path.name,
            "roles": self.roles,
            "written": self.written,
            "missing": {name: int(np.isnan(value).sum()) for name, value in events.values.items()},
        }
        if is_edge:
            about["co_purchase_cap"] = cap
        if events.time is not None:
            about["missing"]["time"] = int(np.isnan(events.time).sum())
            if not np.isnan(events.time).all():
                ends = np.array([np.nanmin(events.time), np.nanmax(events.time)])
                first, last = (f"{end}Z" for end in ends.astype("datetime64[s]"))
                column = " ".join(self.roles["time"])
                about["time"] = {"column": column, "first": first, "last": last}
        return about

    def _write_account(self, about: dict, path: Path) -> None:
        """Write what was used and what was not, for every file."""
        accounts = {}
        for name, num_read in self.num_read.items():
            unused = {one.reason: len(one.line) for one in self.unused if one.file == name}
            used = num_read - sum(unused.values())
            accounts[name] = {"read": num_read, "used": used, "unused": unused}
        about["rows"] = accounts.pop(path.name)
        if accounts:
            about["tables"] = accounts
        store.write_about(self.folder, about)
        lengths = [len(one.line) for one in self.unused]
        listed = {
            "file": np.repeat(np.array([one.file for one in self.unused], object), lengths),
            "line": np.concatenate([np.empty(0, np.int64), *(one.line for one in self.unused)]),
            "reason": np.repeat(np.array([one.reason for one in self.unused], object), lengths),
            "text": np.concatenate([np.empty(0, object), *(one.text for one in self.unused)]),
        }
        order = np.lexsort((listed["line"], listed["file"].astype(str)))
        tables.write(self.folder / UNUSED, {name: values[order] for name, values in listed.items()})


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
    keys = [np.empty(0, np.int64)]
    for step in range(1, cap + 1):
        together = (product[step:] == product[:-step]) & (user[step:] != user[:-step])
        one, other = user[:-step][together], user[step:][together]
        keys.append(np.minimum(one, other) << 32 | np.maximum(one, other))
    keys = np.unique(np.concatenate(keys))
    return keys >> 32, keys & 0xFFFFFFFF


def _listed(table: str, names: Sequence[str]) -> str:
    return ", ".join(f"{table}.{sql_name(name)}" for name in names)


def _distinct(rows: np.ndarray, columns: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair once, ascending, without pairs of nobody (-1)."""
    if columns is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    both = columns >= 0
    keys = np.unique(rows[both] << 32 | columns[both])
    return keys >> 32, keys & 0xFFFFFFFF


def _filled(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(known, values, values[known].mean() if known.any() else 0)
