"""Guess what the columns of a table of events mean; read verdicts, and yes or no.

Ids are read in `ids`, numbers in `numbers`, times in `times`; `readings` holds what they share.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gadkit.ingest import ends, readings, vocabulary
from gadkit.ingest.ends import ENDS
from gadkit.ingest.headers import meanings
from gadkit.ingest.ids import id_of as id_of
from gadkit.ingest.numbers import number_of as number_of
from gadkit.ingest.readings import PLACE as PLACE
from gadkit.ingest.readings import Reading
from gadkit.ingest.readings import cleaned as cleaned
from gadkit.ingest.readings import is_word as _is_one
from gadkit.ingest.times import partner_of
from gadkit.ingest.times import time_of as time_of
from gadkit.store.layouts import plain
from gadkit.store.tables import sql_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Roles = dict[str, list[str]]

ROLES = (
    "user", "product", "seller", *ENDS, "time", "rating", "verified", "votes", "amount", "text",
    "label",
)  # fmt: skip
NODE_TYPES = ROLES[:3]
ACCOUNT = "account"  # the node type of both ends of a transfer
ID_ROLES = (*NODE_TYPES, *ENDS)
JOINED = (*ID_ROLES, "time", "amount")  # roles that several columns may play together

# Names that columns have in the wild, less case and punctuation; the first one that is there wins.
# Others are known by their words (`vocabulary`).
_NAMES = {
    "user": (
        "user", "userid", "reviewerid", "customer", "customerid", "buyer", "buyerid", "account",
        "accountid", "member", "memberid", "client", "clientid", "author", "authorid", "uid",
    ),
    "product": (
        "product", "productid", "parentasin", "asin", "item", "itemid", "sku", "article",
        "articleid", "listing", "listingid", "iid",
    ),
    "seller": (
        "seller", "sellerid", "vendor", "vendorid", "shop", "shopid", "store", "storeid",
        "merchant", "merchantid", "brand",
    ),
    "time": (
        "timestamp", "unixreviewtime", "time", "datetime", "date", "eventtime", "createdat",
        "reviewtime", "reviewdate", "orderdate", "purchasedat", "orderedat", "ordertime",
        "transactiontime", "transactiondate", "transdate", "trandate", "txntime", "txndate",
        "createdate", "datecreated", "createtime", "purchasedate", "purchasetime", "paymentdate",
        "invoicedate", "eventdate", "transdatetranstime",
        "trantimestamp", "txtimestamp", "ts", "when", "transactiondt", "timestep", "step",
    ),
    "rating": ("rating", "overall", "stars", "starrating", "rate"),
    "verified": ("verified", "verifiedpurchase", "isverified"),
    "votes": ("vote", "votes", "helpfulvote", "helpfulvotes"),
    "amount": (
        "amount", "amountpaid", "paidamount", "transactionamount", "transactionamt", "tranamount",
        "txamount", "amt", "baseamt", "transferamount", "price", "total", "paid", "amountreceived",
        "sales",
    ),
    "text": ("text", "reviewtext", "reviewbody", "comment"),
    "label": ("label", "labels", "isfraud", "fraud", "islaundering", "issar", "isspam"),
}  # fmt: skip
# The same, of what is taken where no words say more.
_WEAK_NAMES = {
    "user": ("source",),
    "product": ("merchant", "merchantid", "business", "businessid", "target"),
}
_DEBIT_AND_CREDIT = (
    ("debit", "credit"), ("debitamount", "creditamount"), ("withdrawal", "deposit"),
    ("withdrawalamt", "depositamt"), ("withdrawals", "deposits"), ("paidout", "paidin"),
    ("moneyout", "moneyin"),
)  # fmt: skip
# Layouts in which a role takes more than one column; recognized by all the columns they name.
_LAYOUTS = (
    {  # TabFormer, card transactions
        "user": ["User", "Card"], "product": ["Merchant Name"], "seller": ["MCC"],
        "time": ["Year", "Month", "Day", "Time"], "amount": ["Amount"], "label": ["Is Fraud?"],
    },
    {  # IEEE-CIS, card transactions: card1 is never missing, and card2 to card6 rarely say more
        "user": ["card1"], "product": ["ProductCD"], "time": ["TransactionDT"],
        "amount": ["TransactionAmt"],
    },
    # Elliptic++, who pays into a transaction, and whom it pays
    {"user": ["input_address"], "product": ["txId"]},
    {"user": ["output_address"], "product": ["txId"]},
)  # fmt: skip

_YES = (
    "1", "1.0", "true", "t", "yes", "y", "fraud", "fraudulent", "spam", "anomaly", "illicit",
    "bad", "confirmed",
)  # fmt: skip
_NO = (
    "0", "0.0", "false", "f", "no", "n", "normal", "legit", "legitimate", "genuine", "licit",
    "ok", "good", "cleared",
)  # fmt: skip
_SHOWN, _LISTED = 100, 30  # characters of a value, and columns, that an error shows


def guess_roles(columns: Sequence[str], given: dict[str, Sequence[str]] | None = None) -> Roles:
    """Say which columns play which role.

    Args:
        columns: the columns there are.
        given: columns by role, as the user says; an empty list leaves a role out.

    Returns:
        Columns by role, in the order of `ROLES`; roles for which there is nothing are left out.
        Either a user and a product, or a source and a target that are accounts.

    Raises:
        ValueError: a given column is not there, a role is unknown or takes no more than one, roles
            do not go together, or no column looks like a user or a product, or like a target.
    """
    given = {role: list(names) for role, names in (given or {}).items()}
    for role, names in given.items():
        if role not in ROLES:
            raise ValueError(f"{role!r} is no role; expected one of {', '.join(ROLES)}")
        if len(names) > 1 and role not in JOINED:
            raise ValueError(f"{role} is one column, got {_list(names)}; name one of them")
        for name in names:
            if name not in columns:
                raise ValueError(f"there is no column {name!r} for {role}; found {_list(columns)}")
    taken = {name for names in given.values() for name in names}
    layout = layout_of(columns)
    given |= {} if layout and not _ends_given(given) else _ends(columns, given)
    taken |= {name for names in given.values() for name in names}
    roles = {}
    for role in ROLES:
        chosen = given.get(role, layout.get(role) or named_like(role, columns, taken))
        if role == "seller" and role not in given and _sells_itself(roles.get("product", ())):
            chosen = layout.get(role, ())
        if role not in given:
            chosen = with_partner(role, chosen, [name for name in columns if name not in taken])
        if chosen:
            roles[role] = list(chosen)
            taken |= set(chosen)
    for role in ENDS if _ends_given(given) else NODE_TYPES[:2]:
        if role not in roles:
            raise ValueError(
                f"no column is called like a {role}; found {_list(columns)}; "
                f"say which one it is with --{role} COLUMN"
            )
    return roles


def _sells_itself(product: Sequence[str]) -> bool:
    """Whether what is bought is called like a seller, as where a card pays a merchant."""
    return any(
        plain(name) in _NAMES["seller"] or "seller" in vocabulary.words(name)
        for name in product
        if "product" not in vocabulary.words(name)
    )


def _ends_given(given: Roles) -> bool:
    return any(given.get(role) for role in ENDS)


def _ends(columns: Sequence[str], given: Roles) -> Roles:
    """Say whether events are transfers, by roles that are given or else by names.

    Returns:
        Columns of source and target, and no others for users, products and sellers; or {}.
    """
    others = {role: given[role] for role in NODE_TYPES if given.get(role)}
    if not _ends_given(given):
        if others or any(role in given for role in ENDS):
            return {}
        guessed, _ = ends.guess(columns)
        taken = {name for names in guessed.values() for name in names}
        if all(_called(role, columns, taken, (_NAMES, _WEAK_NAMES)) for role in NODE_TYPES[:2]):
            return {}  # what a user and a product have is a purchase, whoever sends the parcel
        by_mail = any("email" in vocabulary.words(name) for name in taken)
        if by_mail and named_like("product", columns, set(), vocabulary.USUAL):
            return {}
        return guessed and guessed | dict.fromkeys(NODE_TYPES, [])
    if others:
        raise ValueError(
            "events are transfers (--source, --target) or purchases (--user, --product, "
            f"--seller), not both; leave --{next(iter(others))} out"
        )
    chosen = {role: given.get(role, []) for role in ENDS}
    for role, other in (ENDS, ENDS[::-1]):
        if role not in given:
            chosen[role] = ends.partner(columns, other, chosen[other][0])
    return chosen | dict.fromkeys(NODE_TYPES, [])


def unsure(columns: Sequence[str], given: dict[str, Sequence[str]] | None, roles: Roles) -> bool:
    """Say whether only the values can tell if a guessed source and target are accounts."""
    return "source" in roles and not _ends_given(given or {}) and not ends.guess(columns)[1]


def layout_of(columns: Sequence[str]) -> Roles:
    """Return the columns by role of a published table, or {} where it is none that is known."""
    return next((layout for layout in _LAYOUTS if _all_names(layout) <= set(columns)), {})


def _all_names(layout: Roles) -> set[str]:
    return {name for names in layout.values() for name in names}


def named_like(
    role: str, columns: Sequence[str], taken: set[str], least: str = vocabulary.LAST
) -> list[str]:
    """Return the column that is called most like a role; none if none is.

    Args:
        role: one of `ROLES`.
        columns: the columns there are.
        taken: those that play another role.
        least: how sure it has to be, one of `vocabulary.RANKS`.
    """
    usual = _called(role, columns, taken, (_NAMES,))
    free = [name for name in columns if name not in taken]
    ranks = vocabulary.RANKS[: vocabulary.RANKS.index(least) + 1]
    for rank in ranks:
        if usual:
            break
        has_target = "target" in meanings(columns, usual_names()).values()
        if rank == vocabulary.LAST and (role != "user" or has_target):
            usual = _called(role, columns, taken, (_WEAK_NAMES,))
        usual = usual or vocabulary.named_like(role, free, rank)[:1]
    return usual


def is_usual(role: str, columns: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a column has a name that says a role whatever its values are."""
    if layout_of(columns).get(role) == list(names):
        return True
    others = set(columns) - set(names)
    return _called(role, columns, others, (_NAMES, _WEAK_NAMES)) == list(names[:1])


def _called(
    role: str, columns: Sequence[str], taken: set[str], lists: Sequence[dict[str, tuple[str, ...]]]
) -> list[str]:
    """Return the first column whose whole name is one of some names of a role."""
    meaning = meanings(columns, usual_names())
    by_name = {meaning[name]: name for name in reversed(columns) if name not in taken}
    names = (name for names in lists for name in names.get(role, ()))
    return next(([by_name[name]] for name in names if name in by_name), [])


def with_partner(role: str, chosen: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Add what the chosen column needs: to a date the time of day; to nothing debit and credit."""
    if role == "time" and len(chosen) == 1:
        return _date_and_clock(chosen[0], columns)
    if role == "amount" and not chosen:
        by_name = {plain(name): name for name in reversed(columns)}
        pairs = ([by_name[name] for name in pair if name in by_name] for pair in _DEBIT_AND_CREDIT)
        return next((pair for pair in pairs if len(pair) == 2), [])
    return list(chosen)


def _date_and_clock(name: str, columns: Sequence[str]) -> list[str]:
    """Return date and time of day, by their names or by their words in other languages."""
    names, words = partner_of(name, columns), set(vocabulary.words(name))
    if len(names) > 1 or "date" not in words or "clock" in words:
        return names
    wanted = words - {"date"} | {"clock"}
    return [name, *[other for other in columns if set(vocabulary.words(other)) == wanted][:1]]


def usual_names(given: dict[str, Sequence[str]] | None = None) -> frozenset[str]:
    """Return what columns are called that play a role, as `layouts.plain` has it.

    Args:
        given: columns by role, as the user says, whose names are added.
    """
    usual = {name for lists in (_NAMES, _WEAK_NAMES) for names in lists.values() for name in names}
    usual |= {name for pair in _DEBIT_AND_CREDIT for name in pair}
    layouts = (name for layout in _LAYOUTS for name in _all_names(layout))
    named = (name for names in (given or {}).values() for name in names)
    return frozenset(usual | {plain(name) for name in (*layouts, *named)})


def _list(columns: Sequence[str]) -> str:
    shown = [name[:_SHOWN] for name in columns[:_LISTED]]
    return ", ".join(shown + ["..."] * (len(columns) > _LISTED))


def find_id(columns: Sequence[str], node_type: str, roles: Roles) -> list[str]:
    """Return the columns that name a node type in another table: as in the events, or as usual."""
    names = roles.get(node_type, [])
    if names and set(names) <= set(columns):
        return names
    if node_type == ACCOUNT:
        return ends.find_account(columns, roles)
    sure = named_like(node_type, columns, set(), vocabulary.STRONG)
    return sure or _called(node_type, columns, set(), (_WEAK_NAMES,))


def types_of(roles: Roles) -> tuple[str, ...]:
    """Return the node types of which a table of labels may be."""
    return (ACCOUNT,) if "source" in roles else NODE_TYPES


def flag_of(con: "DuckDBPyConnection", table: str, name: str) -> Reading:
    """Read yes or no as 1 or 0.

    Raises:
        ValueError: there are values, and none is yes or no.
    """
    value = f"lower({sql_name(name)})"
    yes, no = _is_one(value, _YES), _is_one(value, _NO)
    flag = Reading(f"CASE WHEN {yes} THEN 1 WHEN {no} THEN 0 END", "flag")
    return readings.best(con, table, [name], [flag], "yes or no")
