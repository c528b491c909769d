"""The tables of one ingestion, in a database: the values of the events, and ids made numbers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gadkit import store
from gadkit.ingest import columns, copies, readings, said, spelling, transfers
from gadkit.ingest.account import Account
from gadkit.ingest.columns import ACCOUNT, ENDS, NODE_TYPES, PLACE, Roles
from gadkit.ingest.features import Events
from gadkit.ingest.ids import is_inexact
from gadkit.ingest.labels import (
    NOTHING_SAID,
    LabelOptions,
    LabelTable,
    check_kinds,
    read_verdicts,
    summary,
)
from gadkit.store import tables
from gadkit.store.tables import sql_name, sql_text

Ids = dict[str, np.ndarray]  # (num_nodes,) str objects by node type
Nodes = dict[str, np.ndarray]  # (num_rows,) int64 by role, -1 = none

_VALUES = ("rating", "verified", "votes", "amount", "text_length")
_SHOWN = 100  # characters of a value
_PIECE = 50_000  # texts held in memory at a time
_LAST = 3  # rows at the end of a table that may be totals
_TOTALS = ("total", "totals", "grand total", "sum", "subtotal", "total:", "sum:", "summe", "gesamt")


class Source:
    """Events, and the tables of products and labels that belong to them.

    Args:
        account: of the ingestion; its database receives the tables.
        path: the table of events.
        roles: its columns by role.
        done: is told of each step that is done.
        products: a table with the seller of each product, or None.
        labels: a table of ids and verdicts, or None.
        label_options: what the user says of labels.
        time_format: as strptime has it, or None to find out.
        same_id: which spellings are one id; one of `ids.SAME_ID`.
        links: more columns of the events to stage, for `links.read`.
        instead: roles to take where source and target share no id; see `transfers.settle`.

    Attributes:
        written: how columns are written, by role.
        read: what was understood of each role; see `said.facts`.
        settled: what the values of source and target have decided, in words; None if nothing.
        keep: (num_rows,) bool; the rows that are used.
        ids: what the user calls the nodes, by node type, in the order in which they first occur.
        verdicts: the node type that has labels, and (n, 2) int64 rows [node, 1 = anomaly]; or None.
        about_labels: what about.json says of labels; None without any.
        events: the rows used, in the order of the file.
    """

    def __init__(
        self,
        account: Account,
        path: Path,
        roles: Roles,
        done: Callable[[str], None],
        *,
        products: Path | None = None,
        labels: Path | None = None,
        label_options: LabelOptions = NOTHING_SAID,
        time_format: str | None = None,
        same_id: str = "guess",
        links: Sequence[str] = (),
        instead: Roles | None = None,
    ):
        self.links = list(links)
        self.account, self.con, self.roles = account, account.con, roles
        self.instead, self.settled = instead, None
        self.same_id, self.spellings = same_id, {}
        self.readings: dict[str, columns.Reading] = {}
        self.written: dict[str, str] = {}
        self.about_labels, self.label_options, self.file = None, label_options, path.name
        account.expect(path)
        table = None
        if labels is not None and instead is None:
            # Before the events, which may take minutes: an error in them is then said at once.
            table = LabelTable(account, Path(labels), roles, label_options)
        self._read_events(path, time_format)
        if labels is not None and table is None:  # the values have said whose labels they may be
            table = LabelTable(account, Path(labels), self.roles, label_options)
        done("rows")
        self.keep = self._keep_events(path)
        done("account")
        self.ids, nodes = self._number_accounts() if self.is_transfers else self._number_users()
        if products is not None:
            self._read_offers(Path(products))
        if not self.is_transfers:
            self._number_sellers(self.ids, nodes, with_offers=products is not None)
        self.verdicts = None
        if table is not None:
            node_type, rows, self.about_labels = table.match(
                self.ids, folded=[role for role, how in self.spellings.items() if how["joined"]]
            )
            self.verdicts = node_type, rows
        done("ids")
        self.events = self._events(nodes)
        self.read = said.facts(self)
        done("values")

    @property
    def is_transfers(self) -> bool:
        """Whether the events are transfers between accounts."""
        return "source" in self.roles

    @property
    def id_roles(self) -> tuple[str, ...]:
        """The roles that are ids; the first two have to be there in every event."""
        return ENDS if self.is_transfers else NODE_TYPES

    @property
    def who(self) -> tuple[str, str]:
        """Whose an event is, by role, and the node type of that."""
        return ("source", ACCOUNT) if self.is_transfers else ("user", "user")

    def num_different(self, role: str) -> int:
        """Count the ids of a role in events that are used."""
        if role not in ENDS:
            return len(self.ids[role])
        return len(np.unique(self.events.nodes[role]))

    def _read_events(self, path: Path, time_format: str | None) -> None:
        """Stage the events, and read what is written in them: the table `typed`, row for row."""
        self.account.stage(path, "events", self._used_columns())
        if self.instead is not None:
            self.roles, self.settled = transfers.settle(self.con, self.roles, self.instead)
            self.instead = None
        roles = self.roles
        read = {
            role: columns.id_of(roles[role]) if role in roles else "NULL::VARCHAR"
            for role in self.id_roles
        }
        with store.errors_about(path):
            self.readings = self._choose_readings(time_format)
        self.written = {role: reading.written for role, reading in self.readings.items()}
        table, carried = self._read_values()
        read |= {column: sql_name(value) for column, value in carried.items()}
        for role in self.id_roles:
            if role in roles:
                read[said.inexact(role)] = is_inexact(roles[role])
        if "text" in roles:
            read["text_length"] = f"length({sql_name(*roles['text'])})::DOUBLE"
        if "label" in roles:
            read["label"] = self._label_of_events(path)
        selected = ", ".join(f"{sql} AS {sql_name(role)}" for role, sql in read.items())
        cleaned = columns.cleaned(table, self._used_columns(), carried=[*carried.values()])
        self.con.execute(f"CREATE TABLE typed AS SELECT {PLACE}, {selected} FROM {cleaned}")
        for role in self.readings:
            self.con.execute(f"DROP TABLE {readings.spelled(role)}")

    def _read_values(self) -> tuple[str, dict[str, str]]:
        """Read what is no id: SQL of the events with it, and its columns in that.

        Of each role there is the value and, as `said.given` names it, whether there is one.
        """
        joins, values, carried = [], [], {}
        for role, reading in self.readings.items():
            names = self.roles[role]
            some = " OR " if role == "amount" else " AND "  # of debit and credit, one is enough
            given = some.join(f"{sql_name(name)} IS NOT NULL" for name in names)
            read = readings.read_spellings(
                self.con, "events", names, reading, role=role, given=given
            )
            joins.append(read.join)
            for column, sql in ((role, read.value), (said.given(role), read.given)):
                carried[column] = f"{column}, as it is read"
                values.append(f"{sql} AS {sql_name(carried[column])}")
        used = (f"events.{sql_name(name)}" for name in self._used_columns())
        listed = ", ".join(["events.rowid AS rowid", *used, *values])
        return f"(SELECT {listed} FROM events {' '.join(joins)})", carried

    def _choose_readings(self, time_format: str | None) -> dict[str, columns.Reading]:
        """Say how values are read, by role; of a time, which of its columns."""
        roles = self.roles
        chosen = {
            role: columns.number_of(self.con, "events", *roles[role])
            for role in ("rating", "votes", "amount")
            if role in roles
        }
        if "time" in roles:
            time = columns.time_of(self.con, "events", roles["time"], time_format)
            roles["time"] = list(time.names or roles["time"])
            chosen["time"] = time
        if "verified" in roles:
            chosen["verified"] = columns.flag_of(self.con, "events", *roles["verified"])
        return chosen

    def _label_of_events(self, path: Path) -> str:
        """Decide how the labels of the events are read, in SQL."""
        (name,) = self.roles["label"]
        with store.errors_about(path):
            verdicts = read_verdicts(self.con, "events", name, self.label_options)
        self.label_values = verdicts.values
        return verdicts.sql

    def _check_ids(self, path: Path) -> None:
        """Refuse JSON objects and lists as ids: in one of them a price would make a new node."""
        for role in self.id_roles:
            name = sql_name(role)
            example = self.con.execute(
                f"SELECT {name} FROM typed WHERE {name}[1] IN ('{{', '[') AND json_valid({name}) "
                "LIMIT 1"
            ).fetchone()
            if example:
                raise ValueError(
                    f"{path}: the {role} is {example[0][:_SHOWN]!r} in a row of column "
                    f"{' '.join(self.roles[role])!r}; an id must be one value: write it as a "
                    f"column of its own, or name another one with --{role}"
                )

    def _used_columns(self) -> list[str]:
        all_roles = [*self.roles.values(), *(self.instead or {}).values()]
        names = [name for names in all_roles for name in names]
        return list(dict.fromkeys(names + self.links))

    def _keep_events(self, path: Path) -> np.ndarray:
        """Leave out rows that do not name both ends, or repeat a whole earlier row."""
        dropped, why = copies.are_dropped(self.con, self.roles, self.account.layout.copies)
        timed = dropped and "time" in self.roles
        num_twins = copies.number_twins(self.con, self._used_columns(), timed=timed)
        if num_twins:
            self.account.note("events", copies.note(num_twins, dropped, why))
        self._check_ids(path)
        first, last = self.id_roles[:2]
        keep = self.account.judge(
            "events", self._used_columns(),
            f"SELECT {PLACE}, CASE WHEN {sql_name(first)} IS NULL THEN '{first} id is missing' "
            f"WHEN {sql_name(last)} IS NULL THEN '{last} id is missing' "
            f"{self._no_events(self.account.num_rows('events'))}"
            f"{copies.fate(dropped)}END AS fate FROM typed",
        )  # fmt: skip
        if not keep.any():
            raise ValueError(f"{path}: no row names both a {first} and a {last}")
        return keep

    def _no_events(self, num_rows: int) -> str:
        """Write in SQL, for a CASE, which rows are none: the header again, and totals at the end.

        A line of totals has a word for it in place of an id, and no time where others have one.
        """
        first, last = self.id_roles[:2]
        is_header = [f"{sql_name(role)} = {sql_text(*self.roles[role])}" for role in (first, last)
                     if len(self.roles[role]) == 1]  # fmt: skip
        cases = f"WHEN {' AND '.join(is_header)} THEN 'the header again' " if is_header else ""
        if "time" not in self.roles:
            return cases
        words = " OR ".join(
            readings.is_word(f"lower({sql_name(role)})", _TOTALS) for role in (first, last)
        )
        is_total = f"{PLACE} >= {num_rows - _LAST} AND time IS NULL AND ({words})"
        return cases + f"WHEN {is_total} THEN 'totals' "

    def _number_users(self) -> tuple[Ids, Nodes]:
        """Number users and products of used events, in the order in which they first occur."""
        ids, nodes = {}, {}
        for role in NODE_TYPES[:2]:
            ids[role] = self._create_ids(
                role, f"SELECT {sql_name(role)} AS id, {PLACE} AS place FROM typed "
                f"JOIN events_fate USING ({PLACE}) WHERE fate IS NULL"
            )  # fmt: skip
            nodes[role] = self._look_up(role)
        return ids, nodes

    def _number_accounts(self) -> tuple[Ids, Nodes]:
        """Number the accounts of used events, in the order of rows, in a row the source first."""
        places = " UNION ALL ".join(
            f"SELECT {role} AS id, 2 * {PLACE} + {later} AS place FROM typed "
            f"JOIN events_fate USING ({PLACE}) WHERE fate IS NULL"
            for later, role in enumerate(ENDS)
        )
        ids = {ACCOUNT: self._create_ids(ACCOUNT, places, ENDS)}
        return ids, {role: self._look_up(role, ACCOUNT) for role in ENDS}

    def _create_ids(self, role: str, places: str, roles: Sequence[str] = ()) -> np.ndarray:
        self.con.execute(
            f"CREATE TABLE ids_{role} AS SELECT id, row_number() OVER (ORDER BY min(place)) - 1 "
            f"AS node FROM ({places}) WHERE id IS NOT NULL "
            "GROUP BY id"
        )
        spellings = spelling.join(self.con, role, self.same_id, roles or (role,))
        if spellings:
            self.spellings[role] = spellings
        name = "name" if spellings and spellings["joined"] else "id"
        ids = self.con.execute(f"SELECT {name} FROM ids_{role} ORDER BY node").fetchnumpy()[name]
        return np.asarray(np.ma.getdata(ids), object)

    def _id_of(self, role: str, names: Sequence[str]) -> str:
        """Read the ids of a node type in another table than the events."""
        is_joined = self.spellings.get(role, {}).get("joined", False)
        return columns.id_of(names, fold=is_joined)

    def _look_up(self, role: str, node_type: str | None = None) -> np.ndarray:
        """Return the node of every row of `typed`, -1 = none."""
        matched = self.con.execute(
            f"SELECT {PLACE} AS row, node FROM typed "
            f"JOIN ids_{node_type or role} AS ids ON typed.{sql_name(role)} = ids.id"
        ).fetchnumpy()
        nodes = np.full(len(self.keep), -1)
        nodes[matched["row"]] = matched["node"]
        return nodes

    def _read_offers(self, path: Path) -> None:
        """Read which seller a table of products names, the first one of each: `offers_seller`."""
        looks = tables.look(path, layout=self.account.layout_of("offers"))
        product, seller = (
            columns.find_id(looks.columns, role, self.roles) for role in NODE_TYPES[1:]
        )
        is_bare = not looks.is_named and len(looks.columns) == 2
        if is_bare:
            product, seller = ([name] for name in looks.columns)
        if not product or not seller:
            raise ValueError(
                f"{path}: no column is called like a {'seller' if product else 'product'}; "
                f"found {', '.join(looks.columns)}; rename it to "
                f"{'seller' if product else 'product'}, in a first line that names the columns"
            )
        self.account.stage(path, "offers", product + seller)
        if is_bare and self._num_products(seller) > self._num_products(product):
            product, seller = seller, product
        read = {"product": self._id_of("product", product), "seller": self._id_of("seller", seller)}
        ids = ", ".join(f"{sql} AS {role}" for role, sql in read.items())
        is_used = (
            "product IS NOT NULL AND seller IS NOT NULL AND product IN (SELECT id FROM ids_product)"
        )
        self.con.execute(
            f"CREATE TABLE offered AS SELECT {PLACE}, {ids} "
            f"FROM {columns.cleaned('offers', product + seller)}; "
            f"CREATE TABLE offers_seller AS SELECT product, arg_min(seller, {PLACE}) AS seller, "
            f"min({PLACE}) AS place FROM offered WHERE {is_used} GROUP BY product"
        )
        self.account.judge(
            "offers", product + seller,
            f"SELECT {PLACE}, CASE WHEN offered.product IS NULL THEN 'product id is missing' "
            "WHEN offered.product NOT IN (SELECT id FROM ids_product) THEN 'product has no event' "
            "WHEN offered.seller IS NULL THEN 'seller is missing' "
            "WHEN offered.seller <> first.seller THEN 'product has another seller already' END "
            "AS fate FROM offered LEFT JOIN offers_seller AS first "
            "ON offered.product = first.product",
        )  # fmt: skip

    def _num_products(self, names: Sequence[str]) -> int:
        """Count the rows of a table of products in which a column names one that was bought."""
        return self.con.execute(
            f"SELECT count(*) FROM {columns.cleaned('offers', names)} "
            f"WHERE {self._id_of('product', names)} IN (SELECT id FROM ids_product)"
        ).fetchone()[0]

    def _number_sellers(self, ids: Ids, nodes: Nodes, *, with_offers: bool) -> None:
        """Number the sellers that events name, and for the others those of their products."""
        places = (
            f"SELECT seller AS id, {PLACE} AS place FROM typed "
            f"JOIN events_fate USING ({PLACE}) WHERE fate IS NULL"
        )
        if with_offers:  # after those of the events
            places += f" UNION ALL SELECT seller, {1 << 60} + place FROM offers_seller"
        names, sellers = self._create_ids("seller", places), self._look_up("seller")
        if with_offers:
            offers = self.con.execute(
                "SELECT p.node AS product, s.node AS seller FROM offers_seller AS o "
                "JOIN ids_product AS p ON o.product = p.id JOIN ids_seller AS s ON o.seller = s.id"
            ).fetchnumpy()
            offered = np.full(len(ids["product"]) + 1, -1)  # the last is for rows without a product
            offered[offers["product"]] = offers["seller"]
            sellers = np.where(sellers >= 0, sellers, offered[nodes["product"]])
        # All products of a seller may have another one in the events that are used.
        seen = np.unique(sellers[self.keep & (sellers >= 0)])
        number = np.full(len(names) + 1, -1)
        number[seen] = np.arange(len(seen))
        ids["seller"], nodes["seller"] = names[seen], number[sellers]
        self.con.execute(
            "CREATE OR REPLACE TABLE ids_seller AS SELECT id, row_number() OVER (ORDER BY node) "
            "- 1 AS node FROM ids_seller JOIN (SELECT unnest(?::BIGINT[]) AS node) USING (node)",
            [seen.tolist()],
        )

    def _events(self, nodes: Nodes) -> Events:
        """Take what used events hold into memory."""
        present = [name for name in _VALUES if (name == "text_length" and "text" in self.roles)
                   or name in self.roles]  # fmt: skip
        wanted = {name: f"COALESCE({name}, 'nan')::FLOAT" for name in present}
        if "time" in self.roles:
            wanted["time"] = "COALESCE(time, 'nan')::DOUBLE"
        content = self._typed(wanted)
        if "votes" in content and not (content["votes"] == 0).any():
            # Where nobody ever writes a 0, as in Amazon's reviews of 2018, nothing written is one.
            np.nan_to_num(content["votes"], copy=False)
            self.written["votes"] += ", 0 where there is none"
        kept = {role: node[self.keep] for role, node in nodes.items()}
        if "seller" in kept and (kept["seller"] < 0).all():
            del kept["seller"]
        return Events(kept, content.pop("time", None), content)

    def _typed(self, wanted: dict[str, str]) -> dict[str, np.ndarray]:
        """Fetch expressions of `typed` for every used event, in the order of the file."""
        listed = "".join(f", {sql} AS {name}" for name, sql in wanted.items())
        fetched = self.con.execute(f"SELECT {PLACE} AS row{listed} FROM typed").fetchnumpy()
        order = np.empty(len(self.keep), np.int64)
        order[fetched["row"]] = np.arange(len(order))
        order = order[self.keep]
        return {name: np.ma.getdata(fetched[name])[order] for name in wanted}

    def texts(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Yield the numbers of used events and their texts, piece by piece."""
        rows = self.con.execute(f"SELECT COALESCE({sql_name(*self.roles['text'])}, '') FROM events")
        first = number = 0
        while piece := rows.fetchmany(_PIECE):
            used = np.flatnonzero(self.keep[first : first + len(piece)])
            yield number + np.arange(len(used)), [piece[row][0] for row in used]
            first, number = first + len(piece), number + len(used)

    def labels_of_events(self) -> np.ndarray:
        """Return the label of every used event: (num_events,) int64, 1, 0, or -1 where unknown.

        Raises:
            ValueError: no used event is a fraud, or all are.
        """
        y = self._typed({"label": "COALESCE(label, -1)"})["label"].astype(np.int64)
        (name,) = self.roles["label"]
        self.about_labels = summary(name, self.file, self.label_values, y, "event")
        check_kinds(y, self.about_labels)
        return y

    def names_of_events(self) -> np.ndarray:
        """Name every used event by where it stands, (num_events,) str objects.

        It is `line 5`, or of a folder of parts `folder/part.csv line 5`.
        """
        rows = np.flatnonzero(self.keep)
        lines = np.char.add("line ", self.account.line_of("events", rows).astype(str))
        places = self.account.places_of("events", rows)
        names = lines.astype(object)
        return names if len(np.unique(places)) < 2 else places + " " + names
