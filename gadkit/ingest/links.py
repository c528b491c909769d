"""Links: columns such as a device, a card or an address that several users have in common.

Each becomes a node type, and the relation of users to its values. A value that one user alone has
says nothing of anybody else and is no node. A value that very many have (the address of a mobile
carrier's gateway, a gift card) joins strangers, so it is left out beyond a cap, and that is said.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gadkit.ingest import columns, vocabulary
from gadkit.ingest.columns import NODE_TYPES, PLACE
from gadkit.store.tables import sql_name, sql_text

if TYPE_CHECKING:
    from gadkit.ingest.source import Source

CAP = 100  # users of a value; more are strangers
_SHOWN = 60  # characters of a value
_KEPT = 1000  # values over the cap that are written down, for the tables of a later time
MOST_CUT = (
    0.5  # of the rows with a value; a column is not taken by a guess if more are over the cap
)

# A guess is no link if hardly any values are shared by most users, as types of devices are.
_FEW_VALUES, _MANY_USERS, _STRANGERS = 20, 10, 5

# Words, as `vocabulary.words` has them, in the names of columns that people share.
_WORDS = {
    "device", "fingerprint", "cookie", "card", "iban", "account", "bank", "wallet", "phone",
    "email", "ip", "address", "passport", "taxid", "instrument", "visitor",
}  # fmt: skip
_OF_ONE = {"id", "fingerprint", "cookie"}  # a browser's are as good as a device's
# Words that make it a kind of device, card or address, which strangers have in common too; or
# something of the seller.
_OF_KIND = {
    "type", "kind", "brand", "network", "scheme", "issuer", "model", "os", "browser", "vendor",
    "category", "class", "level", "tier", "status", "state", "country", "region", "province",
    "city", "domain", "provider", "bin", "last", "zip", "currency", "language", "risk", "score",
    "age", "days", "count", "balance", "limit", "date", "clock", "at", "made", "changed", "month",
    "year", "expiry", "exp", "flag", "has", "verified", "confirmed", "valid", "match", "present",
    "name", "funding", "distinct", "free", "similarity", "amount", "price", "fraud", "agent",
    "holder", "cvv", "cvc", "seller", "company", "bancaria",
}  # fmt: skip
_DIGITS = {"card", "iban", "phone", "taxid"}
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

    A type of device, or the country of a card, is shared by strangers as well and is none of them.

    Whether they do share them is for `read` to find.
    """
    taken = {name for names in roles.values() for name in names}
    return [name for name in present if name not in taken and _is_shared_by_name(name)]


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
    """Return the words of a name; `visitor`, who is a person elsewhere, as well."""
    words = set(vocabulary.words(name))
    return words | {"visitor"} if "visitor" in name.lower() else words


def _is_shared_by_name(name: str) -> bool:
    words = _words(name)
    if "browser" in words and words & _OF_ONE:
        words = words - {"browser"} | {"device"}
    return bool(_WORDS & words) and not _OF_KIND & words


def normalised(name: str) -> tuple[str, str]:
    """Return SQL that writes equal values of a column in one way, and that way in words."""
    value, words = f"lower({sql_name(name)})", _words(name)
    if words & _DIGITS:
        bare = f"regexp_replace({value}, '[^a-z0-9*]', '', 'g')"
        return f"nullif({bare}, '')", "letters and digits only, lower case"
    plain = rf"trim(regexp_replace({value}, '\s+', ' ', 'g'))"
    if "address" not in words or words & {"ip", "email"}:
        return f"nullif({plain}, '')", "lower case, spaces collapsed"
    spoken = rf"trim(regexp_replace({value}, '[^\p{{L}}\p{{N}}]+', ' ', 'g'))"
    pairs = ", ".join(f"{sql_text(long)}: {sql_text(short)}" for long, short in _SHORT.items())
    short = (
        f"list_transform(string_split({spoken}, ' '), lambda w: COALESCE(MAP {{{pairs}}}[w], w))"
    )
    return (
        f"nullif(array_to_string({short}, ' '), '')",
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
        elif guessed and _is_kind(link, source.num_different(source.who[0])):
            refused[name] = _few(link)
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


def _is_kind(link: Linked, num_users: int) -> bool:
    """Whether a few values are shared by most users: a type of device, or the shop's own mail."""
    num_values, linked = len(link.ids) + link.about["cut"]["values"], link.about["users"]
    many = _STRANGERS if num_values == 1 else _MANY_USERS * num_values
    return num_values <= _FEW_VALUES and linked > max(many, num_users / 2)


def _few(link: Linked) -> str:
    values = "one value" if len(link.ids) == 1 else f"only {len(link.ids):,} values"
    return (
        f"{link.about['users']:,} users have {values}, such as {link.ids[0][:_SHOWN]!r}, as "
        f"strangers do (--link {link.column!r} takes it)"
    )


def _common(cut: dict) -> str:
    """Describe the values that are over the cap."""
    values = "one value" if cut["values"] == 1 else f"{cut['values']:,} values"
    return (
        f"{values} of more than {cut['cap']} users, the most common {cut['example'][:_SHOWN]!r} of "
        f"{cut['most']:,}"
    )


def _read(source: "Source", name: str, table: str, cap: int) -> Linked:
    con = source.con
    written = _spell(con, name, table)
    rows = con.execute(
        f"SELECT events.rowid AS place, code FROM events JOIN {table}_codes AS spelled "
        f"ON events.{sql_name(name)} = spelled.{sql_name(name)}"
    ).fetchnumpy()
    con.execute(f"DROP TABLE {table}_codes")
    place, code = rows.pop("place"), rows.pop("code")
    is_used = source.keep[place]
    given = int(is_used.sum())
    is_used &= code >= 0
    shared = _shared(place[is_used], code[is_used], _person_of(source, place[is_used]))
    cut = _cut(con, table, shared, cap)
    is_taken = (shared.users > 1) & (shared.users <= cap)
    taken = np.flatnonzero(is_taken)[np.argsort(shared.place[is_taken])]
    ids = _name(con, table, taken)
    node = np.full(len(shared.users), -1)
    node[taken] = np.arange(len(taken))
    is_pair = node[shared.code] >= 0
    pairs = np.sort(shared.person[is_pair] << 32 | node[shared.code[is_pair]])
    user = pairs >> 32
    about = {
        "written": written,
        "given": given,
        "values": len(ids),
        "users": len(np.unique(user)),
        "cut": cut | {"cap": cap},
    }
    events = shared.events[taken]
    return Linked(name, ids, user, pairs & 0xFFFFFFFF, events, f"{table}_ids", about)


def _spell(con, name: str, table: str) -> str:
    """Number the values of a column, and return how they are written, in words.

    Each spelling is normalised once, however many rows have it. A value of one row is shared by
    nobody, and has no number.

    Makes the tables `<table>_values` of value, by number, and `<table>_codes` of spelling and
    code; -1 for what nobody shares.
    """
    sql, written = normalised(name)
    spelling = sql_name(name)
    con.execute(
        f"CREATE TABLE {table} AS SELECT {spelling}, count(*) AS num FROM events "
        f"WHERE {spelling} IS NOT NULL GROUP BY 1; "
        f"CREATE TABLE {table}_cleaned AS SELECT {PLACE} AS place, {sql} AS value "
        f"FROM {columns.cleaned(table, [name])} WHERE value IS NOT NULL; "
        f"CREATE TABLE {table}_values AS SELECT value FROM {table}_cleaned AS c "
        f"JOIN {table} AS s ON c.place = s.rowid GROUP BY value HAVING sum(num) > 1; "
        f"CREATE TABLE {table}_codes AS SELECT s.{spelling}, COALESCE(v.rowid, -1) AS code "
        f"FROM {table}_cleaned AS c JOIN {table} AS s ON c.place = s.rowid "
        f"LEFT JOIN {table}_values AS v ON c.value = v.value; "
        f"DROP TABLE {table}; DROP TABLE {table}_cleaned"
    )
    return written


class _Shared(NamedTuple):
    """Who has the values of a column.

    Attributes:
        person, code: (num_pairs,) int64, each pair of a person and the number of a value once.
        users, events: (num_values,) int64; of each value the persons and the rows that have it.
        place: (num_values,) int64; the first row that has it.
    """

    person: np.ndarray
    code: np.ndarray
    users: np.ndarray
    events: np.ndarray
    place: np.ndarray


def _shared(place: np.ndarray, code: np.ndarray, person: np.ndarray) -> _Shared:
    """Count who has what, of rows: (num_rows,) int64 where each is, its value, and whose it is."""
    num_values = int(code.max(initial=-1)) + 1
    first = np.full(num_values, np.iinfo(np.int64).max)
    np.minimum.at(first, code, place)
    pairs = np.unique(code << 32 | person)
    code_of_pair = pairs >> 32
    users, events = (np.bincount(codes, minlength=num_values) for codes in (code_of_pair, code))
    return _Shared(pairs & 0xFFFFFFFF, code_of_pair, users, events, first)


def _person_of(source: "Source", rows: np.ndarray) -> np.ndarray:
    """Return whose event each of some rows is that are used."""
    role, _ = source.who
    return source.events.nodes[role][(np.cumsum(source.keep) - 1)[rows]]


def _cut(con, table: str, shared: _Shared, cap: int) -> dict:
    """Say what is over the cap: how many values, their rows, and which most users have."""
    over = np.flatnonzero(shared.users > cap)
    over = over[np.lexsort((shared.place[over], -shared.users[over]))]
    cut = {"values": len(over), "rows": int(shared.events[over].sum()), "most": 0, "example": None}
    if not len(over):
        return cut
    query = f"SELECT rowid, value FROM {table}_values WHERE list_contains(?, rowid)"
    value_of = dict(con.execute(query, [over[:_KEPT].tolist()]).fetchall())
    names = [value_of[code] for code in over[:_KEPT].tolist()]
    return cut | {"most": int(shared.users[over[0]]), "example": names[0], "names": names}


def _name(con, table: str, codes: np.ndarray) -> np.ndarray:
    """Make the table `<table>_ids` of values and their nodes, 0, 1, ... in the order of `codes`."""
    con.register("taken", {"code": codes, "node": np.arange(len(codes))})
    con.execute(
        f"CREATE TABLE {table}_ids AS SELECT value, node FROM {table}_values AS v "
        "JOIN taken ON v.rowid = taken.code"
    )
    con.unregister("taken")
    con.execute(f"DROP TABLE {table}_values")
    values = con.execute(f"SELECT value FROM {table}_ids ORDER BY node").fetchnumpy()["value"]
    return np.asarray(np.ma.getdata(values), object)


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
