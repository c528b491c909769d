"""Guess from the names of columns which of them are the two ends of a transfer: who pays whom.

A name is a side, such as sender or dest, with words around it that say nothing of the side, such
as account, id or name. Words such as sender and beneficiary are clear. Others, such as source and
target, are used of transfers and of purchases alike; there the values decide (`transfers.settle`).
"""

import re
from collections.abc import Sequence

from gadkit.ingest.headers import ends_of, meanings
from gadkit.store.layouts import plain as plain

ENDS = ("source", "target")  # roles

# Longer words first, as a pattern takes the first one that fits.
_SIDES = (
    (
        "originator", "origination", "origin", "orig", "sender", "payer", "payor", "remitter",
        "debtor", "debitor", "dbtr", "debitaccount", "debitacct", "ordering", "source",
        "src", "from", "input",
    ),
    (
        "beneficiary", "benef", "bene", "receiver", "recipient", "payee", "creditor", "cdtr",
        "creditaccount", "creditacct",
        "destination", "dest", "target", "tgt", "dst", "to", "output",
    ),
)  # fmt: skip
_UNSURE = {"source", "src", "from", "input", "target", "tgt", "dst", "to", "output"}
_OF_MONEY = ("account", "acct", "acc", "iban", "wallet", "address", "addr")
_AROUND = (
    *_OF_MONEY, "identifier", "id", "number", "num", "nr", "no", "customer", "client", "party",
    "user", "node", "hash", "key", "name", "email",
)  # fmt: skip
_WORDS = "|".join(_AROUND)
_FORMS = [
    re.compile(rf"(?P<before>(?:{_WORDS})*)(?P<side>{'|'.join(side)})(?P<after>(?:{_WORDS})*)")
    for side in _SIDES
]
_BANKS = [re.compile(rf"(?:{'|'.join(side)})bank(?:id|code|bic)?") for side in _SIDES]
_NUMBERED = re.compile(r"((?:account|acct|tx|txn|node|user|address|wallet)(?:id)?)([12])")
# AMLworld calls both of them Account; pandas makes the second one Account.1, DuckDB Account_1, and
# polars Account_duplicated_0.
_BARE_ACCOUNT = re.compile(r"account(?:duplicated)?\d*")
_ACCOUNT_NAMES = (
    "account", "accountid", "acct", "acctid", "acc", "accountnumber", "accountno", "accountname",
    "iban", "wallet", "walletid", "address", "node", "nodeid", "user", "userid", "customer",
    "customerid", "client", "clientid", "party", "partyid", "entity", "entityid", "txid", "name",
    "id",
)  # fmt: skip
_BANK_NAMES = ("bank", "bankid", "bankcode")


def guess(columns: Sequence[str]) -> tuple[dict[str, list[str]], bool]:
    """Find the two ends of a transfer.

    Returns:
        Columns by role, `source` and `target`, or {} where there are none; and whether the names
        leave no doubt.
    """
    pair, is_one_group = ends_of(columns)
    if pair:
        return dict(zip(ENDS, ([name] for name in pair), strict=True)), is_one_group
    banks = [[name for name in columns if form.fullmatch(plain(name))] for form in _BANKS]
    pairs = _pairs(columns)
    if pairs:
        pair = min(pairs, key=lambda pair: (not is_clear(pair), _rank(pair[0])))
        names = [[pair[0]], [pair[1]]]
    else:
        bare = [name for name in columns if _BARE_ACCOUNT.fullmatch(plain(name))]
        if len(bare) != 2 or not all(banks):
            return {}, False
        pair, names = (bare[0], bare[1]), [[bare[0]], [bare[1]]]
    if all(banks) and any(word in plain(pair[0]) for word in _OF_MONEY):
        # Numbers of accounts are a bank's own.
        names = [[bank[0], *end] for bank, end in zip(banks, names, strict=True)]
        return dict(zip(ENDS, names, strict=True)), True
    return dict(zip(ENDS, names, strict=True)), is_clear(pair)


def partner(columns: Sequence[str], role: str, name: str) -> list[str]:
    """Find the other end of a transfer of which one is given; [] where there is none."""
    position = ENDS.index(role)
    for pair in _pairs(columns):
        if pair[position] == name:
            return [pair[1 - position]]
    other = _FORMS[1 - position]
    return next(([column] for column in columns if other.fullmatch(plain(column))), [])


def is_pair(source: str, target: str) -> bool:
    """Say whether two columns are called like the ends of a transfer."""
    return (source, target) in _pairs((source, target))


def is_clear(pair: tuple[str, str]) -> bool:
    """Say whether the names of two ends are used of transfers only."""
    forms = [form.fullmatch(plain(name)) for form, name in zip(_FORMS, pair, strict=True)]
    if not all(forms):
        return False
    if any(form["side"] not in _UNSURE for form in forms):
        return True
    return any(word in form["before"] + form["after"] for form in forms for word in _OF_MONEY)


def is_of_target(name: str) -> bool:
    """Say whether a column is about the account that is paid, by one of its words."""
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
    return not words.isdisjoint(_SIDES[1])


def find_account(columns: Sequence[str], roles: dict[str, list[str]]) -> list[str]:
    """Return the columns that name an account in another table: as in the events, or as usual."""
    for role in ENDS:
        names = roles.get(role, [])
        if names and set(names) <= set(columns):
            return names
    by_meaning = meanings(columns)
    by_plain = {by_meaning[name]: name for name in reversed(columns)}
    account = next((by_plain[name] for name in _ACCOUNT_NAMES if name in by_plain), None)
    if len(roles.get("source", [])) == 2:  # a bank and its account
        bank = next((by_plain[name] for name in _BANK_NAMES if name in by_plain), None)
        return [bank, account] if bank and account else []
    if account is None:
        sides = (name for form in _FORMS for name in columns if form.fullmatch(plain(name)))
        account = next(sides, None)
    return [] if account is None else [account]


def _pairs(columns: Sequence[str]) -> list[tuple[str, str]]:
    """List columns that are called alike but for the side."""
    by_side = []
    for form in _FORMS:
        forms = ((name, form.fullmatch(plain(name))) for name in columns)
        by_side.append([(name, form["before"], form["after"]) for name, form in forms if form])
    pairs = [
        (source, target)
        for source, *words in by_side[0]
        for target, *others in by_side[1]
        if words == others
    ]
    numbered = {plain(name): name for name in columns}
    for name, column in numbered.items():
        form = _NUMBERED.fullmatch(name)
        if form and form[2] == "1" and f"{form[1]}2" in numbered:
            pairs.append((column, numbered[f"{form[1]}2"]))
    return pairs


def _rank(name: str) -> int:
    """Prefer numbers of accounts to ids, and those to names."""
    words = plain(name)
    if any(word in words for word in _OF_MONEY):
        return 0
    return 2 if "name" in words else 1
