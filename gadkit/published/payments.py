"""Readers of payments that are published as one table; a payment becomes a node.

`readers` says what a reader is. Tables are read column by column, never row by row.
"""

from pathlib import Path

import numpy as np

from gadkit import store
from gadkit.graph.build import event_features, event_graph
from gadkit.published.fields import (
    coded,
    find,
    find_table,
    joined,
    numbered,
    one_numbering,
    parsed,
    seconds_range,
    step_range,
    texts,
)
from gadkit.published.layout import (
    ENTITIES,
    Converted,
    described,
    from_arrays,
)
from gadkit.store import tables

_FRAUD = {"meaning": "the transaction is fraud", "kind": "injected"}


def s_ffsd(path: Path) -> Converted:
    """Read S-FFSD.csv: Time, Source, Target, Amount, Location, Type, Labels (2 = unlabelled)."""
    path = find_table(path, "*.csv")
    names = [name.title() for name in ENTITIES]
    expected = ("Time", *names, "Amount", "Labels")
    with store.errors_about(path):
        present = tables.columns_of(path)
        if not set(expected) <= set(present):
            raise ValueError(
                f"the columns are {', '.join(present)}; S-FFSD.csv has {', '.join(expected)}, "
                f"and any other table of events comes in by: gadkit ingest {path} --out FOLDER"
            )
        types = dict.fromkeys(names, "VARCHAR") | dict.fromkeys(("Time", "Amount"), "DOUBLE")
        table = tables.load(path, types | {"Labels": "DOUBLE"})
        ids = {role: numbered(table[role.title()]) for role in ENTITIES}
        arrays = {role: numbers for role, (numbers, _) in ids.items()}
        arrays["x"] = np.stack([table["Time"], table["Amount"]], axis=1)
        arrays["y"] = np.where(table["Labels"] == 2, -1, table["Labels"])
        own_names = event_features(ENTITIES, ["amount"], timed=True)
        names = {role: role_names for role, (_, role_names) in ids.items()}
        converted = from_arrays(arrays, {"labels": _FRAUD}, own_names=own_names, ids=names)
    converted.about["time"] = step_range("Time", table["Time"])
    return converted


_AMLWORLD_LABELS = {"meaning": "the transfer is laundering", "kind": "injected"}
_AMLWORLD_TYPES = {"sender": "account", "receiver": "account"}
_AMLWORLD_TYPES |= {"paid_in": "currency", "received_in": "currency"}


# What the second of two columns Account is called by `tables.load` and pandas, DuckDB, and polars.
_SECOND = ("Account.1", "Account_1", "Account_duplicated_0")


def amlworld(path: Path) -> Converted:
    """Read one of AMLworld's tables of transactions, such as HI-Small_Trans.csv, also saved again.

    Transactions are nodes. An account is a bank's number and the account's, since account numbers
    are the bank's own. HI-Small (5 million rows) needs about 6 GB of memory, HI-Medium about 40 GB.
    """
    path = find(path, "*_Trans.csv", "*_Trans.csv.gz", "*_Trans.parquet")
    with store.errors_about(path):
        second = next(filter(set(tables.columns_of(path)).__contains__, _SECOND), _SECOND[0])
        accounts = [
            numbered(joined(path, bank, account))
            for bank, account in (("From Bank", "Account"), ("To Bank", second))
        ]
        sender, receiver, account_ids = one_numbering(*accounts)
        paid, received, currencies = one_numbering(
            *(texts(path, name) for name in ("Payment Currency", "Receiving Currency"))
        )
        formats, format_names = texts(path, "Payment Format")
        seconds = parsed(path, "Timestamp", _timestamps)
        types = {"Amount Paid": "DOUBLE", "Amount Received": "DOUBLE", "Is Laundering": "BIGINT"}
        table = tables.load(path, types)
        roles = {"sender": sender, "receiver": receiver, "paid_in": paid, "received_in": received}
        roles["payment_format"] = formats
        values = {"paid": table["Amount Paid"], "received": table["Amount Received"]}
        graph = event_graph(
            roles, values, time=seconds, y=table["Is Laundering"], types=_AMLWORLD_TYPES
        )
    own_names = event_features(roles, values, timed=True, types=_AMLWORLD_TYPES)
    about = {"labels": _AMLWORLD_LABELS, "time": seconds_range("Timestamp", seconds)}
    ids = {"account": account_ids, "currency": currencies, "payment_format": format_names}
    return described(graph, about, own_names=own_names, ids=ids, time={"transaction": seconds})


def _timestamps(stamps: np.ndarray) -> np.ndarray:
    return np.strings.replace(stamps, "/", "-").astype("datetime64[s]").astype(np.int64)


_TABFORMER_DATE = ("Year", "Month", "Day")


def tabformer(path: Path) -> Converted:
    """Read card_transaction.v1.csv: 24 million card payments of 2,000 simulated users.

    Payments are nodes, linked to card (numbered within its user), merchant, merchant category,
    channel, and error where there is one. Names of places are not read. It needs about 30 GB of
    memory.
    """
    path = find_table(path, "card_transaction*.csv")
    with store.errors_about(path):
        entities = {
            "card": numbered(joined(path, "User", "Card")),
            "merchant": texts(path, "Merchant Name"),
            "category": texts(path, "MCC"),
            "channel": texts(path, "Use Chip"),
            "error": _present(*texts(path, "Errors?")),
        }
        roles = {role: numbers for role, (numbers, _) in entities.items()}
        amount = parsed(path, "Amount", _dollars)
        seconds = _tabformer_seconds(path)
        fraud = tables.load(path, {"Is Fraud?": "VARCHAR"})["Is Fraud?"]
        y = coded(fraud, {"Yes": 1, "No": 0}, path, "Is Fraud?")
        graph = event_graph(roles, {"amount": amount}, time=seconds, y=y)
    own_names = event_features(roles, ["amount"], timed=True)
    about = {"labels": _FRAUD, "time": seconds_range("Year, Month, Day, Time", seconds)}
    ids = {role: names for role, (_, names) in entities.items()}
    return described(graph, about, own_names=own_names, ids=ids, time={"transaction": seconds})


def _present(numbers: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take an empty text, which is sorted first, for nobody."""
    empty = int(len(names) > 0 and names[0] == "")
    return numbers - empty, names[empty:]


def _dollars(amounts: np.ndarray) -> np.ndarray:
    return np.strings.replace(amounts, "$", "").astype(float)


def _minutes(clocks: np.ndarray) -> np.ndarray:
    return np.strings.add("1970-01-01T", clocks).astype("datetime64[m]").astype(np.int64)


def _tabformer_seconds(path: Path) -> np.ndarray:
    """Put year, month, day and time of day together, in seconds since 1970."""
    table = tables.load(path, dict.fromkeys(_TABFORMER_DATE, "BIGINT"))
    year, month, day = table.values()
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    wrong = np.flatnonzero((month < 1) | (month > 12) | (days.astype("datetime64[M]") != months))
    if len(wrong):
        row = wrong[0]
        raise ValueError(f"line {row + 2}: {year[row]}-{month[row]}-{day[row]} is no date")
    minutes = parsed(path, "Time", _minutes)
    return days.astype("datetime64[s]").astype(np.int64) + 60 * minutes
