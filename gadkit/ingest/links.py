"""Links: columns such as a device, a card or an address that several users have in common.

Each becomes a node type, and the relation of users to its values. A value that one user alone has
says nothing of anybody else and is no node. A value that very many have (the address of a mobile
carrier's gateway, a gift card) joins strangers, so it is left out beyond a cap, and that is said.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gadkit.ingest import columns
from gadkit.ingest.columns import NODE_TYPES, PLACE
from gadkit.store.tables import sql_name, sql_text

if TYPE_CHECKING:
    from gadkit.ingest.source import Source

CAP = 100  # users of a value; more are strangers
_SHOWN = 60  # characters of a value
MOST_CUT = (
    0.5  # of the rows with a value; a column is not taken by a guess if more are over the cap
)

# Words in the names of columns that people share; a name is split at whatever is no letter, and
# where a capital follows a small letter.
_WORDS = {
    "device", "fingerprint", "imei", "cookie", "card", "pan", "iban", "account", "bank", "wallet",
    "phone", "mobile", "tel", "telephone", "email", "mail", "ip", "ipaddress", "address", "addr",
    "passport", "ssn", "deviceid", "cardid", "cardhash", "emailaddress", "phonenumber",
}  # fmt: skip
_ADDRESS = {"address", "addr", "street"}
_DIGITS = {"card", "pan", "iban", "phone", "mobile", "tel", "telephone", "phonenumber", "ssn"}
_SHORT = {
    "street": "st", "avenue": "ave", "road": "rd", "boulevard": "blvd", "drive": "dr",
    "lane": "ln", "court": "ct", "place": "pl", "square": "sq", "highway": "hwy",
    "apartment": "apt", "suite": "ste", "floor": "fl", "north": "n", "south": "s", "east": "e",
    "west": "w", "strasse": "str", "straße": "str",
}  # fmt: skip


class LinkOptions(NamedTuple):
    """What the user says of links.

    Attributes:
        columns: those to take; None takes those whose names and values say so, () none.
        cap: the most users that a value may have; others are left out.
    """

    columns: Sequence[str] | None = None
    cap: int = CAP


GUESSED = LinkOptions()


class Linked(NamedTuple):
    """What one column links.

    Attributes:
        column: its name, which is also that of the node type.
        ids: (num_values,) the values as they are normalised, in the order of first occurrence.
        user, value: (num_pairs,) int64, each pair of a user and a value once, ascending.
        num_events: (num_values,) int64 rows that have the value.
        table: of the database, with the columns value and node.
        about: users, values and rows that are linked, how values are written, and what was cut.
    """

    column: str
    ids: np.ndarray
    user: np.ndarray
    value: np.ndarray
    num_events: np.ndarray
    table: str
    about: dict


def relation(column: str) -> str:
    """Name the relation from users to the values of a column."""
    return f"has_{column}"


def candidates(present: Sequence[str], roles: columns.Roles) -> list[str]:
    """List the columns whose names say that people may share their values, less those with a role.

    Whether they do share them is for `read` to find.
    """
    taken = {name for names in roles.values() for name in names}
    return [name for name in present if name not in taken and _WORDS & _words(name)]


def check(options: LinkOptions, present: Sequence[str], roles: columns.Roles) -> None:
    """Check what the user says.

    Raises:
        ValueError: a column is not there, plays a role, or cannot be the name of a node type; or
            the cap is below 2.
    """
    links, cap = options.columns or (), options.cap
    if cap < 2:
        raise ValueError(f"--link-cap must be 2 or more, for a link has two ends, got {cap}")
    taken = {name: role for role, names in roles.items() for name in names}
    for name in links:
        if name not in present:
            raise ValueError(f"there is no column {name!r} for --link; found {', '.join(present)}")
        if name in taken:
            raise ValueError(f"{name!r} is the {taken[name]} already, and cannot be a link as well")
        is_type = name in columns.types_of(roles) or ("user" in roles and name in NODE_TYPES)
        if is_type or "__" in name or "/" in name:
            raise ValueError(
                f"a link cannot be called {name!r}, as a node type is named after it; rename it"
            )
    repeated = {name for name in links if list(links).count(name) > 1}
    if repeated:
        raise ValueError(f"the link {min(repeated)!r} is named twice; leave one out")


def _words(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return set(re.split(r"[^a-z]+", spaced.lower())) | {re.sub("[^a-z]", "", name.lower())}


def normalised(name: str) -> tuple[str, str]:
    """Return SQL that writes equal values of a column in one way, and that way in words."""
    value, words = f"lower({sql_name(name)})", _words(name)
    if words & _DIGITS:
        bare = f"regexp_replace({value}, '[^a-z0-9*]', '', 'g')"
        return f"nullif({bare}, '')", "letters and digits only, lower case"
    plain = rf"trim(regexp_replace({value}, '\s+', ' ', 'g'))"
    if not words & _ADDRESS or "ip" in words or "email" in words or "mail" in words:
        return f"nullif({plain}, '')", "lower case, spaces collapsed"
    spoken = rf"trim(regexp_replace({value}, '[^\p{{L}}\p{{N}}]+', ' ', 'g'))"
    for long, short in _SHORT.items():
        spoken = rf"regexp_replace({spoken}, '\b{long}\b', {sql_text(short)}, 'g')"
    return (
        f"nullif({spoken}, '')",
        "lower case, without punctuation, street and the like abbreviated",
    )


def read(source: "Source", options: LinkOptions) -> tuple[list[Linked], dict[str, str]]:
    """Find who shares which values of some columns.

    Args:
        source: its `links` are the columns, which its table `events` has; `ids_user` (or
            `ids_account`) those whom they link.
        options: what the user says. A column that he names must link somebody; of a guess, those
            that link nobody, or that are over the cap in most rows, are left out.

    Returns:
        What is linked; and why columns of a guess are not taken, by name.

    Raises:
        ValueError: a column that the user named links nobody.
    """
    guessed, cap = options.columns is None, options.cap
    linked, refused = [], {}
    for number, name in enumerate(source.links):
        link = _read(source, name, f"link_{number}", cap)
        if not len(link.ids):
            refused[name] = _why(link.about)
        elif guessed and link.about["cut"]["rows"] > MOST_CUT * link.about["given"]:
            refused[name] = f"most rows have {_common(link.about['cut'])}"
        else:
            linked.append(link)
    if refused and not guessed:
        name, why = next(iter(refused.items()))
        raise ValueError(
            f"no value of {name!r} is shared by 2 to {cap} users: {why}; leave --link out for it, "
            "or raise --link-cap"
        )
    return linked, refused


def _why(about: dict) -> str:
    if not about["given"]:
        return "it is empty"
    if about["cut"]["values"]:
        return f"what is shared is {_common(about['cut'])}"
    return "nobody shares a value"


def _common(cut: dict) -> str:
    """Describe the values that are over the cap."""
    values = "one value" if cut["values"] == 1 else f"{cut['values']:,} values"
    return (
        f"{values} of more than {cut['cap']} users, the most common {cut['example'][:_SHOWN]!r} of "
        f"{cut['most']:,}"
    )


def _read(source: "Source", name: str, table: str, cap: int) -> Linked:
    con = source.con
    sql, written = normalised(name)
    role, node_type = source.who
    con.execute(
        f"CREATE TABLE {table} AS SELECT {sql} AS value, ids.node AS person, {PLACE} AS place "
        f"FROM {columns.cleaned('events', [name])} JOIN events_fate USING ({PLACE}) "
        f'JOIN typed USING ({PLACE}) JOIN ids_{node_type} AS ids ON typed."{role}" = ids.id '
        f"WHERE fate IS NULL AND {sql} IS NOT NULL; "
        f"CREATE TABLE {table}_values AS SELECT value, count(DISTINCT person) AS users, "
        f"count(*) AS num_events, min(place) AS place FROM {table} GROUP BY value "
        "HAVING users > 1; "
        f"CREATE TABLE {table}_ids AS SELECT value, num_events, "
        f"row_number() OVER (ORDER BY place) - 1 AS node FROM {table}_values WHERE users <= {cap}"
    )
    given = con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    cut = con.execute(
        "SELECT count(*), COALESCE(sum(num_events), 0)::BIGINT, COALESCE(max(users), 0), "
        f"arg_max(value, (users, -place)) FROM {table}_values WHERE users > {cap}"
    ).fetchone()
    ids = con.execute(f"SELECT value, num_events FROM {table}_ids ORDER BY node").fetchnumpy()
    pairs = con.execute(
        f"SELECT DISTINCT person, node FROM {table} JOIN {table}_ids USING (value) ORDER BY 1, 2"
    ).fetchnumpy()
    con.execute(f"DROP TABLE {table}; DROP TABLE {table}_values")
    user, value = (pairs[key].astype(np.int64) for key in ("person", "node"))
    about = {
        "written": written,
        "given": given,
        "values": len(ids["value"]),
        "users": len(np.unique(user)),
        "cut": dict(zip(("values", "rows", "most", "example"), cut, strict=True)) | {"cap": cap},
    }
    values = np.asarray(np.ma.getdata(ids["value"]), object)
    return Linked(
        name, values, user, value, ids["num_events"].astype(np.int64), f"{table}_ids", about
    )


def of_events(source: "Source", link: Linked) -> np.ndarray:
    """Return the value of every used event: (num_events,) int64, -1 where it links nobody."""
    sql, _ = normalised(link.column)
    matched = source.con.execute(
        f"SELECT place AS row, node FROM (SELECT {PLACE} AS place, {sql} AS value "
        f"FROM {columns.cleaned('events', [link.column])}) JOIN {link.table} USING (value)"
    ).fetchnumpy()
    nodes = np.full(len(source.keep), -1)
    nodes[matched["row"]] = matched["node"]
    return nodes[source.keep]


def lines(about: dict) -> list[str]:
    """Say of each link what it joins and what was cut, and of others why they are none."""
    said = []
    for name, link in about.get("links", {}).items():
        line = (
            f"{name} is shared by {link['users']:,} users in {link['values']:,} values: taken as a "
            f"link ({link['written']})"
        )
        left_out = f"; left out: {_common(link['cut'])}" if link["cut"]["values"] else ""
        said.append(line + left_out)
    for name, why in about.get("no_links", {}).items():
        said.append(f"{name} is no link: {why}")
    return said


def features(link: Linked) -> tuple[np.ndarray, list[str]]:
    """Describe the values of a link: (num_values, 2) float32, and the names of the columns."""
    users = np.bincount(link.value, minlength=len(link.ids))
    return (
        np.stack([np.log1p(users), np.log1p(link.num_events)], axis=1).astype(np.float32),
        ["log_users", "log_events"],
    )
