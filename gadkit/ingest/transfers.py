"""Transfers: accounts that pay one another, as one node type `account` and the relation `pays`.

An account that is paid and pays on is one node, so chains and cycles are in the graph. Direction is
kept; payments from one account to another are one edge, however many they are, and their number is
among the features. Payments of an account to itself are edges too.

Features of accounts look at the whole table, past and future, as those of `features` do.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gadkit import store
from gadkit.graph import CSR, EdgeType, build
from gadkit.ingest import columns, ends, features, links
from gadkit.ingest import edges as edges_of
from gadkit.ingest.columns import ACCOUNT, ENDS, NODE_TYPES, Roles
from gadkit.ingest.features import DAY, Events, Groups

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from gadkit.ingest.source import Source

PAYS = "pays"
TYPES = dict.fromkeys(ENDS, ACCOUNT)  # node type of each role, for `build.event_graph`
SHARED = 0.05  # of the ids of the column that has fewer; from there on two columns hold one kind

_SIDES = {"out": "source", "in": "target"}
_OF_SIDE = ("log_payments", "log_partners", "repeat_share", "partner_log_payments")
_OF_VALUE = ("log_sum", "log_mean", "log_sd", "log_max")
_ONWARD = ("wait_log_mean", "wait_log_min", "passed_on_within_day_share")


def choose(
    present: Sequence[str], given: dict[str, Sequence[str]] | None
) -> tuple[Roles, Roles | None]:
    """Guess roles, where events may be transfers.

    Args:
        present: the columns there are.
        given: columns by role, as the user says.

    Returns:
        The roles; and those to take instead if a guessed source and target share no ids, or None
        where there is no doubt.

    Raises:
        ValueError: see `columns.guess_roles`.
    """
    roles = columns.guess_roles(present, given)
    if not columns.unsure(present, given, roles):
        return roles, None
    try:
        return roles, columns.guess_roles(present, (given or {}) | dict.fromkeys(ENDS, ()))
    except ValueError:  # nothing looks like a user and a product either
        return roles, None


def settle(con: "DuckDBPyConnection", roles: Roles, instead: Roles) -> tuple[Roles, str]:
    """Let the values decide whether two columns hold accounts, or users and products.

    Args:
        con: the database; its table `events` has the columns of both.
        roles: with a source and a target.
        instead: with a user and a product.

    Returns:
        The roles that are right, and why, in words that name the options which decide.
    """
    source, target = (roles[role] for role in ENDS)
    num_source, num_target, num_both = _overlap(con, source, target)
    names = [" + ".join(end) for end in (source, target)]
    both = (
        f"{num_both:,} of {num_source:,} ids of {names[0]!r} are among the {num_target:,} of "
        f"{names[1]!r}"
    )
    if num_both and num_both >= SHARED * min(num_source, num_target):
        options = " ".join(
            f"--{role} {name!r}" for role in NODE_TYPES[:2] for name in instead[role]
        )
        return roles, f"{both}: taken for accounts that pay one another; {options} takes two kinds"
    options = " ".join(f"--{role} {name!r}" for role in ENDS for name in roles[role])
    return instead, f"{both}: taken for two kinds; {options} takes accounts that pay one another"


def _overlap(con, source: Sequence[str], target: Sequence[str]) -> tuple[int, int, int]:
    """Count the ids of two lists of columns, and those that are in both."""
    ids = [
        f"(SELECT DISTINCT {columns.id_of(names)} AS id FROM {columns.cleaned('events', names)} "
        f"WHERE {columns.id_of(names)} IS NOT NULL)"
        for names in (source, target)
    ]
    counts = [f"(SELECT count(*) FROM {part})" for part in ids]
    counts.append(f"(SELECT count(*) FROM {ids[0]} JOIN {ids[1]} USING (id))")
    return con.execute(f"SELECT {', '.join(counts)}").fetchone()


def split_accounts(source: "Source") -> list[str]:
    """Warn where the user takes both ends of a transfer for users and products."""
    user, product = (source.roles[role] for role in NODE_TYPES[:2])
    if len(user) != 1 or len(product) != 1 or not ends.is_pair(user[0], product[0]):
        return []
    if source.settled is not None:
        return []
    both = source.con.execute(
        "SELECT count(*) FROM ids_user JOIN ids_product USING (id)"
    ).fetchone()[0]
    if not both:
        return []
    return [
        f"{both:,} ids are in {user[0]!r} and in {product[0]!r}, and each is two nodes, so that no "
        f"chain of payments is in the graph; --source {user[0]!r} --target {product[0]!r} makes it "
        "one account"
    ]


def link_candidates(names: Sequence[str]) -> list[str]:
    """Leave out columns that are about the account that is paid, or about a bank."""
    return [
        name
        for name in names
        if not ends.is_of_target(name) and "bank" not in ends.plain(name) and name != ACCOUNT
    ]


def write_accounts(
    folder: Path, source: "Source", linked: Sequence[links.Linked], about: dict
) -> None:
    """Write accounts and who pays whom as a graph; name the features in `about`.

    Args:
        folder: to write to.
        source: with the roles source and target.
        linked: what links accounts; each is a node type more.
        about: what about.json is to say.
    """
    num_accounts = len(source.ids[ACCOUNT])
    payer, payee = _pairs(source.events)
    num_nodes = {ACCOUNT: num_accounts}
    edges: dict[EdgeType, CSR] = {
        (ACCOUNT, PAYS, ACCOUNT): edges_of.relation(payer, payee, num_accounts, num_accounts)
    }
    values, names, filled = describe(source.events, num_accounts)
    if "text" in source.roles:
        values, names = _add_topics(source, values, names)
    x, own_names = {ACCOUNT: torch.from_numpy(values)}, {ACCOUNT: names}
    about["missing_x"] = {ACCOUNT: filled}
    for link in linked:
        num_nodes[link.column], source.ids[link.column] = len(link.ids), link.ids
        edges[ACCOUNT, links.relation(link.column), link.column] = edges_of.relation(
            link.user, link.value, num_accounts, len(link.ids)
        )
        values, own_names[link.column] = links.features(link)
        x[link.column] = torch.from_numpy(values)
    y = None
    if source.verdicts is not None:
        y = np.full(num_accounts, -1)
        y[source.verdicts[1][:, 0]] = source.verdicts[1][:, 1]
    graph = build.assemble(num_nodes, edges, x, y, ACCOUNT)
    about["features"] = build.name_columns(graph, own_names)
    store.save_graph(folder, graph)


def _pairs(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Return payer and payee of each pair of accounts once, ascending."""
    keys = np.unique(events.nodes["source"] << 32 | events.nodes["target"])
    return keys >> 32, keys & 0xFFFFFFFF


def _add_topics(source: "Source", values: np.ndarray, names: list[str]):
    """Join the hashed words of payments, those in and those out, in the columns that are left."""
    first = values.shape[1]
    out = np.zeros((len(values), max(store.FEATURE_DIM, first + 16)), np.float32)
    out[:, :first] = values
    outs = [(source.events.nodes[role], out) for role in ENDS]
    features.add_topics(source.texts(), outs, first)
    return out, names + [f"topic_{k}" for k in range(first, out.shape[1])]


def facts(source: "Source") -> dict:
    """Say what about.json keeps of transfers: what became edges, and what to warn of."""
    nodes = source.events.nodes
    payer, payee = _pairs(source.events)
    num_accounts = len(source.ids[ACCOUNT])
    pays, is_paid = np.zeros((2, num_accounts), bool)
    other = payer != payee
    pays[payer[other]] = is_paid[payee[other]] = True
    num_both = int((pays & is_paid).sum())
    about = {
        "payments": len(nodes["source"]),
        "accounts": num_accounts,
        "edges": len(payer),
        "to_self": int((nodes["source"] == nodes["target"]).sum()),
        "pay_and_are_paid": num_both,
        "warnings": [],
    }
    about |= {"settled": source.settled} if source.settled else {}
    names = [" + ".join(source.roles[role]) for role in ENDS]
    if not num_both:
        about["warnings"].append(
            "no account both pays and is paid, so there are no chains of payments; if "
            f"{names[0]!r} and {names[1]!r} are of two kinds, name them with --user and --product"
        )
    if num_accounts == 2 * about["payments"] > 2:
        about["warnings"].append(
            "every account is met once, so nothing links their payments; --source and --target "
            "name other columns"
        )
    return about


def lines(about: dict) -> list[str]:
    """Say in lines what `facts` and `settle` have said; empty where there is nothing."""
    told = about.get("transfers", {})
    text = [told["settled"]] if "settled" in told else []
    if "accounts" not in told:
        return text
    return [
        *text,
        f"{told['payments']:,} payments between {told['accounts']:,} accounts, of which "
        f"{told['pay_and_are_paid']:,} both pay and are paid: {told['edges']:,} edges, one for "
        f"each pair and direction; {told['to_self']:,} payments go to the account itself (kept)",
    ]


def describe(events: Events, num_accounts: int) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Describe accounts by what they pay (`out`) and receive (`in`).

    A statistic of an account for which there is nothing is the mean over those that have one.

    Args:
        events: with source and target among its nodes.
        num_accounts: every one of them is in an event.

    Returns:
        (num_accounts, num_features) float32, their names, and for how many accounts each was
        filled.
    """
    named = dict(_features(events, num_accounts))
    filled = {}
    for name, value in named.items():
        is_unknown = ~np.isfinite(value)
        if is_unknown.any():
            filled[name] = int(is_unknown.sum())
            value[is_unknown] = value[~is_unknown].mean() if not is_unknown.all() else 0.0
    return np.stack(list(named.values()), axis=1).astype(np.float32), list(named), filled


def _features(events: Events, num_accounts: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and (num_accounts,) float64 of each feature, NaN where nothing is known."""
    for side, role in _SIDES.items():
        accounts, number = np.unique(events.nodes[role], return_inverse=True)
        groups = Groups(Events({role: number}, events.time, {}), role, len(accounts))
        for name, value in _of_side(events, role, groups):
            spread = np.full(num_accounts, 0.0 if name.startswith("log_") else np.nan)
            spread[accounts] = value
            yield f"{side}_{name}", spread
    yield from _balances(events, num_accounts)
    if events.time is not None:
        yield from zip(_ONWARD, _passed_on(events, num_accounts), strict=True)


def _of_side(events: Events, role: str, groups: Groups) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and value of the features of the accounts on one side of payments."""
    partner = events.nodes["target" if role == "source" else "source"]
    popularity = np.log1p(np.bincount(partner))[partner]
    pairs = np.sort(groups.key << 32 | partner[groups.order])
    is_new = np.concatenate([[True], pairs[1:] != pairs[:-1]])
    distinct = groups.sum(is_new)
    counts = (
        np.log1p(groups.count),
        np.log1p(distinct),
        1 - distinct / groups.count,
        groups.mean(popularity[groups.order]),
    )
    yield from zip(_OF_SIDE, counts, strict=True)
    for name, value in events.values.items():
        mean, sd = groups.moments(features.signed_log(value[groups.order]))
        total = features.signed_log(groups.sum(np.nan_to_num(value[groups.order])))
        top = groups.top(features.signed_log(value[groups.order]))
        for what, column in zip(_OF_VALUE, (total, mean, sd, top), strict=True):
            yield f"{name}_{what}", column
    if events.time is not None:
        yield from zip(features.TIMED, features.timed(groups, events.time), strict=True)
        yield "busiest_day_log_partners", np.log1p(_busiest_partners(events.time, partner, groups))


def _busiest_partners(time: np.ndarray, partner: np.ndarray, groups: Groups) -> np.ndarray:
    """Return with how many different partners each account deals on its busiest day."""
    day = np.floor(time[groups.order] / DAY)
    is_dated = np.isfinite(day)
    most = np.zeros(len(groups.starts))
    if is_dated.any():
        account, partner = groups.key[is_dated], partner[groups.order][is_dated]
        order = np.lexsort((partner, day[is_dated], account))
        account, day, partner = account[order], day[is_dated][order], partner[order]
        begins_day = np.concatenate([[True], (np.diff(account) != 0) | (np.diff(day) != 0)])
        is_new = begins_day | np.concatenate([[True], np.diff(partner) != 0])
        first = np.flatnonzero(begins_day)
        np.maximum.at(most, account[first], np.add.reduceat(is_new, first, dtype=np.int64))
    return np.where(most > 0, most, np.nan)


def _balances(events: Events, num_accounts: int) -> Iterator[tuple[str, np.ndarray]]:
    """Compare what comes in with what goes out: from -1 (all out) to 1 (all in)."""
    payer, payee = (events.nodes[role] for role in ENDS)
    is_self = payer == payee
    paid = np.bincount(payer, minlength=num_accounts).astype(float)
    received = np.bincount(payee, minlength=num_accounts)
    yield "self_share", np.bincount(payer[is_self], minlength=num_accounts) / np.maximum(paid, 1)
    yield "payments_balance", (received - paid) / (received + paid)
    if "amount" in events.values:
        amount = np.abs(np.nan_to_num(events.values["amount"])).astype(float)
        paid = np.bincount(payer, amount, minlength=num_accounts)
        received = np.bincount(payee, amount, minlength=num_accounts)
        total, larger = received + paid, np.maximum(received, paid)
        with np.errstate(invalid="ignore", divide="ignore"):
            yield "amount_balance", np.where(total > 0, (received - paid) / total, 0)
            yield "passed_on_share", np.where(total > 0, np.minimum(received, paid) / larger, 0)


def _passed_on(events: Events, num_accounts: int) -> Iterator[np.ndarray]:
    """Measure how soon an account pays after it was last paid, payments to itself apart.

    Yields:
        (num_accounts,) float64: mean and least of log1p of the seconds, NaN for those that never
        paid after they were paid; and for which share of what they pay it is within a day.
    """
    payer, payee = (events.nodes[role] for role in ENDS)
    counts = np.isfinite(events.time) & (payer != payee)
    time, payer, payee = events.time[counts], payer[counts], payee[counts]
    # One list of what accounts receive (0) and pay (1), by account and time, receipts first: for
    # [in at 4 s, out at 4 s, out at 9 s] the waits are [., 0, 5].
    account, when = np.concatenate([payee, payer]), np.concatenate([time, time])
    is_paying = np.repeat([False, True], len(time))
    order = np.lexsort((is_paying, when, account))
    account, when, is_paying = account[order], when[order], is_paying[order]
    last = np.maximum.accumulate(np.where(is_paying, -1, np.arange(len(order))))
    follows = is_paying & (last >= 0) & (account[last] == account)
    who, wait = account[follows], (when - when[last])[follows]
    num = np.bincount(who, minlength=num_accounts)
    least = np.full(num_accounts, np.inf)
    np.minimum.at(least, who, np.log1p(wait))
    with np.errstate(invalid="ignore", divide="ignore"):
        yield np.bincount(who, np.log1p(wait), minlength=num_accounts) / num
    yield np.where(num > 0, least, np.nan)
    soon = np.bincount(who[wait <= DAY], minlength=num_accounts)
    yield soon / np.maximum(np.bincount(payer, minlength=num_accounts), 1)
