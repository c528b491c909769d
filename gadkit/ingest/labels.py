"""Labels: which value says fraud and which says normal, in a table of labels or with the events.

Words such as yes, fraud, 0 or cleared are read as what they say. What is written by two opposite
conventions, as -1 and 1 or 1 and 2, is never guessed: an error names the values and the options
that decide. Labels may be of confirmed frauds alone; whoever has none is then not looked at yet.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gadkit import store
from gadkit.ingest import columns
from gadkit.ingest import ids as ids_of
from gadkit.ingest.account import Account
from gadkit.ingest.columns import PLACE, Roles
from gadkit.ingest.headers import meanings
from gadkit.ingest.readings import is_word as _is_one
from gadkit.store import tables
from gadkit.store.tables import sql_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

POSITIVE_ONLY = "positive only"  # kind of labels, in about.json
FRAUD, NORMAL, UNKNOWN, NEITHER = "fraud", "normal", "not known", "neither yes nor no"

# Names of columns less case and punctuation, and values less case and joined by spaces.
_VALUE_NAMES = (
    "label", "labels", "isfraud", "fraud", "isfraudulent", "fraudulent", "fraudlabel",
    "isfraudster", "verdict", "finalverdict", "decision", "disposition", "outcome", "resolution",
    "chargeback", "ischargeback", "islaundering", "isspam", "isillicit", "isanomaly", "isoutlier",
    "anomaly", "class", "target", "y", "result", "status", "flag",
)  # fmt: skip
_ID_NAMES = (
    "id", "uid", "key", "node", "nodeid", "entity", "entityid", "name", "username", "txid",
)  # fmt: skip
_YES = (
    "1", "true", "t", "yes", "y", "fraud", "fraudulent", "spam", "anomaly", "illicit", "bad",
    "confirmed", "fraudster", "confirmed fraud", "fraud confirmed", "is fraud", "true fraud",
    "scam", "scammer", "spammer", "anomalous", "outlier", "illegal", "malicious", "abuse",
    "abusive", "abuser", "fake", "laundering", "money laundering", "positive", "pos",
    "true positive", "wahr", "ja", "vrai", "oui", "verdadero", "verdadeiro", "sí", "si", "sim",
    "vero", "sì", "waar", "x", "✓", "✔", "betrug", "fraude", "frode", "betrüger", "tp",
    "confirmed abuse", "confirmed abuser", "confirmed scam", "confirmed fraudulent",
    "confirmed positive", "confirmed bad", "confirmed laundering", "substantiated", "guilty",
    "proven", "sar filed",
)  # fmt: skip
_NO = (
    "0", "false", "f", "no", "n", "normal", "legit", "legitimate", "genuine", "licit", "ok", "good",
    "cleared", "not fraud", "no fraud", "non fraud", "nonfraud", "not a fraud", "not fraudulent",
    "clean", "benign", "honest", "safe", "innocent", "inlier", "legal", "ham", "not spam",
    "non spam", "real", "negative", "neg", "false positive", "falsch", "nein", "faux", "non",
    "falso", "não", "nao", "onwaar", "nee", "kein betrug", "pas de fraude", "sin fraude",
    "sem fraude", "geen fraude", "no fraude", "legitim", "légitime", "legítimo", "legitimate user",
    "dismissed", "fp", "confirmed legit", "confirmed legitimate", "confirmed genuine",
    "confirmed normal", "confirmed good", "confirmed not fraud", "confirmed false positive",
    "legit user", "unsubstantiated", "unfounded", "not guilty", "no issue", "no issues",
    "no violation", "no abuse", "not abuse", "no chargeback", "no scam", "not scam", "exonerated",
    "in good standing", "good standing", "reinstated", "no sar",
)  # fmt: skip
_UNKNOWN = (
    "-1", "unknown", "?", "unlabeled", "unlabelled", "pending", "open", "in review", "under review",
    "to review", "not reviewed", "unreviewed", "undecided", "undetermined", "inconclusive", "tbd",
    "suspected", "suspected fraud", "escalated", "investigating", "in progress",
    "under investigation", "being investigated", "needs review", "review", "on hold", "ongoing",
    "not sure", "unsure", "unclear", "maybe", "indeterminate", "not determined",
)  # fmt: skip
# Words that say nothing of fraud, beside one that does: `Closed - confirmed`, `Chargeback - fraud`.
_BESIDE = (
    "closed", "case closed", "resolved", "completed", "complete", "done", "reviewed", "final",
    "manual review", "chargeback", "dispute", "account takeover", "ato", "card testing",
    "stolen card", "identity theft", "friendly fraud", "promo abuse", "refund abuse", "no action",
    "no action taken",
)  # fmt: skip
# A chargeback is a fraud to some shops and a complaint to others: a word of last resort, read where
# no other value of the column says yes.
_CHARGEBACK = ("chargeback", "charge back", "chargebacked", "charged back", "cb")
# So is what was done to an account, which may have had other reasons; who stands against it is not.
_SANCTIONS = (
    "banned",
    "suspended",
    "terminated",
    "permanently banned",
    "account banned",
    "account suspended",
)
_NO_SANCTION = ("active", "not banned", "not suspended")
_SCORE = re.compile(r"[01]?\.\d*[1-9]\d*|[1-9]\d*(\.\d+)?e-\d+")  # a number that is not whole
_DATED = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?([ t].*)?|\d\d?[-/.]\d\d?[-/.]\d{4}([ t].*)?")
_BARE = ("1", "0", "true", "false", "t", "f", "yes", "no", "y", "n")  # say nothing without a name
_OF_GOOD = re.compile(
    r"genuine|(?<!il)legit|(?<!il)licit|(?<!ab)normal|trusted|cleared|innocent|benign|no[nt]fraud"
)
_CONVENTIONS = (  # two values that mean one thing here and the reverse there; the second is plain
    ("-1", "1", "an outlier is -1 in scikit-learn and a filtered review is -1 in Yelp's, while "
     "others write 1 for a fraud"),
    ("2", "1", "1 is illicit and 2 licit in Elliptic, while others count normal as 1"),
)  # fmt: skip
# Elliptic, and Elliptic++ with more columns: github.com/git-disl/EllipticPlusPlus
_ELLIPTIC = {"1": FRAUD, "2": NORMAL, "3": UNKNOWN, "unknown": UNKNOWN}
_MOST = 100_000  # distinct values looked at
_SHOWN, _LISTED, _LONGEST = 6, 30, 100  # values, columns, and characters that a message shows


class LabelOptions(NamedTuple):
    """What the user says of labels.

    Attributes:
        id: columns of a table of labels that name whom it is about; found by name if empty.
        value: its column of verdicts; found if None, and "" if whoever is listed is a fraud.
        positive: values that say fraud; if nothing else is given, every other value says normal,
            but for words such as unknown.
        negative: values that say normal; [""] for none, where all labels are of frauds.
    """

    id: Sequence[str] = ()
    value: str | None = None
    positive: Sequence[str] = ()
    negative: Sequence[str] = ()


NOTHING_SAID = LabelOptions()


class Value(NamedTuple):
    """A value of a column of labels: how it is written, in how many rows, and how it is read."""

    text: str
    rows: int
    read_as: str


class Verdicts(NamedTuple):
    """How a column of labels is read.

    Attributes:
        sql: gives 1 for fraud, 0 for normal, NULL where nobody knows, and -1 for anything else.
        values: all there are, the most frequent first.
    """

    sql: str
    values: list[Value]


def check_options(options: LabelOptions, *, has_table: bool, has_column: bool) -> None:
    """Check that there is what the options are about.

    Raises:
        ValueError: they are about a table of labels, or values, and there is none.
    """
    if not has_table and (options.id or options.value is not None):
        raise ValueError("--label-id and --label-value name columns of a table: add --labels TABLE")
    if options.value == "" and (options.positive or options.negative):
        raise ValueError(
            "--label-value '' says that whoever is listed is a fraud, so there are no values for "
            "--positive or --negative; leave one out"
        )
    if not has_table and not has_column and (options.positive or options.negative):
        raise ValueError(
            "--positive and --negative say what labels mean, and there are none: add --labels "
            "TABLE, or name the column of the events with --label COLUMN"
        )


def read_verdicts(
    con: "DuckDBPyConnection",
    table: str,
    name: str,
    options: LabelOptions,
    published: dict[str, str] | None = None,
) -> Verdicts:
    """Decide how the values of a column are read.

    Args:
        con: the database.
        table: in it, as staged.
        name: the column.
        options: values that the user names.
        published: what the values say in the published table that this one seems to be.

    Raises:
        ValueError: the values can be read in two ways, none says fraud, or one that the user names
            is not there; the message lists those that are.
    """
    counts = con.execute(
        f"SELECT lower({sql_name(name)}) AS value, min({sql_name(name)}), count(*) "
        f"FROM {columns.cleaned(table, [name])} WHERE {sql_name(name)} IS NOT NULL "
        f"GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {_MOST}"
    ).fetchall()
    if published and all(lowered in published for lowered, _, _ in counts):
        read_as = published
    else:
        read_as = read_values({lowered: rows for lowered, _, rows in counts}, options, name)
    values = [Value(text, rows, read_as[lowered]) for lowered, text, rows in counts]
    if not any(value.read_as == FRAUD for value in values):
        raise ValueError(
            f"no value of {name!r} says fraud: {_listed(values)}; name those that do with "
            "--positive VALUE, or another column"
        )
    value, cases = f"lower({sql_name(name)})", [f"WHEN {sql_name(name)} IS NULL THEN NULL"]
    for meaning, code in ((UNKNOWN, "NULL"), (FRAUD, "1"), (NORMAL, "0")):
        words = [lowered for lowered, _, _ in counts if read_as[lowered] == meaning]
        if words and not (meaning == NORMAL and _others_are_normal(options)):
            cases.append(f"WHEN {_is_one(value, words)} THEN {code}")
    other = 0 if _others_are_normal(options) else -1
    return Verdicts(f"CASE {' '.join(cases)} ELSE {other} END", values)


def read_values(rows: dict[str, int], options: LabelOptions, name: str) -> dict[str, str]:
    """Say how each value is read.

    Args:
        rows: in how many rows each value stands, in lower case.
        options: values that the user names.
        name: of the column.

    Returns:
        value: FRAUD, NORMAL, UNKNOWN or NEITHER.

    Raises:
        ValueError: they can be read in two ways, or one that the user names is not there.
    """
    plain = {value: _plain(value) for value in rows}
    said = {word: FRAUD for word in map(_plain, options.positive)}
    said |= {word: NORMAL for word in map(_plain, filter(None, options.negative))}
    listed = _listed([Value(value, count, "") for value, count in rows.items()])
    _check_given(options, set(plain.values()), f"the values of {name!r} are {listed}")
    if not said:
        _refuse_two_ways(set(plain.values()), name, listed)
        _refuse_no_verdicts(set(plain.values()), name, listed)
    by_word = _words(set(plain.values()) - set(said))
    if options.positive:
        rest = NORMAL if _others_are_normal(options) else NEITHER
        unknown = {word for word, meaning in by_word.items() if meaning == UNKNOWN}
        if said.get("1") == FRAUD and "0" not in plain.values() and not options.negative:
            unknown -= {"-1"}  # then it is what stands against 1
        by_word = dict.fromkeys(set(by_word) - unknown, rest) | dict.fromkeys(unknown, UNKNOWN)
    return {value: (said | by_word)[word] for value, word in plain.items()}


def _others_are_normal(options: LabelOptions) -> bool:
    return bool(options.positive) and not options.negative


def _words(plain: set[str]) -> dict[str, str]:
    """Read values by what they usually mean."""
    meaning = dict.fromkeys(plain, NEITHER)
    for words, says in ((_YES, FRAUD), (_NO, NORMAL), (_UNKNOWN, UNKNOWN)):
        meaning |= dict.fromkeys(plain & set(words), says)
    for value in plain:
        if meaning[value] == NEITHER:
            meaning[value] = _of_parts(value)
    if FRAUD not in meaning.values():
        meaning |= dict.fromkeys(plain & set(_CHARGEBACK), FRAUD)
    if FRAUD not in meaning.values() and plain & set(_SANCTIONS):
        meaning |= dict.fromkeys(plain & set(_SANCTIONS), FRAUD)
        meaning |= dict.fromkeys(plain & set(_NO_SANCTION), NORMAL)
    return meaning


def _of_parts(value: str) -> str:
    """Read `closed - confirmed` or `resolved (legit)`: one part says it, the others say nothing."""
    parts = [part.strip() for part in re.split(r"\s-\s|[:;,/|()]", value) if part.strip()]
    says = {
        meaning
        for words, meaning in ((_YES, FRAUD), (_NO, NORMAL), (_UNKNOWN, UNKNOWN), (_BESIDE, ""))
        for part in parts
        if part in words and part not in _BARE
    }
    if len(parts) < 2 or any(part not in (*_YES, *_NO, *_UNKNOWN, *_BESIDE) for part in parts):
        return NEITHER
    return next(iter(says - {""})) if len(says - {""}) == 1 else NEITHER


def _plain(value: str) -> str:
    """Write a value in lower case, words joined by a space and whole numbers without a point."""
    value = value.strip().lower().replace("\N{MINUS SIGN}", "-")
    value = re.sub(r"(?<=[^\W\d_])(?!\s-\s)[\s_-]+(?=[^\W\d_])", " ", value)
    return re.sub(r"^\+?(-?\d+)(\.0+)?$", r"\1", value)


def _check_given(options: LabelOptions, present: set[str], there_are: str) -> None:
    for option in ("positive", "negative"):
        for value in filter(None, getattr(options, option)):
            if _plain(value) not in present:
                raise ValueError(f"no row says {value!r}, as --{option} does: {there_are}")
    both = set(map(_plain, options.positive)) & set(map(_plain, options.negative))
    if both:
        raise ValueError(f"{min(both)!r} cannot be both --positive and --negative")


def _refuse_two_ways(plain: set[str], name: str, listed: str) -> None:
    """Refuse values that opposite conventions share."""
    for odd, usual, why in _CONVENTIONS:
        if {odd, usual} <= plain and not plain & {"0", "0.0"}:
            raise ValueError(
                f"the values of {name!r} can be read in two ways: {listed}; {why}: say which one "
                f"is fraud with --positive={odd} or --positive={usual} (the other is then normal; "
                f"where it is not, add --negative VALUE, or --negative '' if all labels are of "
                "frauds)"
            )
    if _OF_GOOD.search(plain_name(name)) and plain & set(_BARE):
        raise ValueError(
            f"the column {name!r} seems to say who is no fraud; its values are {listed}: say which "
            "one is fraud with --positive VALUE"
        )


def _refuse_no_verdicts(plain: set[str], name: str, listed: str) -> None:
    """Refuse scores and dates: what of them is a fraud is for the user to say."""
    if any(map(_SCORE.fullmatch, plain)):
        raise ValueError(
            f"{name!r} holds numbers that are not whole, as scores do: {listed}; write a column of "
            "1 and 0 by a threshold of your own, or name the values that say fraud with "
            "--positive VALUE"
        )
    if plain and all(map(_DATED.fullmatch, plain)):
        raise ValueError(
            f"{name!r} holds dates, which say when and not what: {listed}; name a column of "
            "verdicts with --label-value COLUMN; if whoever has a date is a fraud, keep those rows "
            "alone and say --label-value '', or write 1 in a column for them and 0 for the cleared"
        )


def _listed(values: Sequence[Value]) -> str:
    """List values with their rows and, where they have been read, as what."""
    shown = [
        f"{value.text[:_LONGEST]!r} ({_rows(value.rows)}{value.read_as and ': '}{value.read_as})"
        for value in values[:_SHOWN]
    ]
    more = [f"and {len(values) - _SHOWN:,} more"] * (len(values) > _SHOWN)
    return ", ".join(shown + more) or "there is none"


def _columns(present: Sequence[str]) -> str:
    shown = [name[:_LONGEST] for name in present[:_LISTED]]
    return ", ".join(shown + ["..."] * (len(present) > _LISTED))


def _published(present: Sequence[str]) -> dict[str, str]:
    """Return what the values of a published table say, by its columns; {} where it is none."""
    names = set(map(plain_name, present))
    has_both = "class" in names and not names.isdisjoint({"txid", "address"})
    return _ELLIPTIC if has_both and (len(names) == 2 or "timestep" in names) else {}


def plain_name(name: str) -> str:
    """Write the name of a column in lower case without punctuation."""
    return "".join(filter(str.isalnum, name.lower()))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


class LabelTable:
    """A table of ids and verdicts, staged and read before anything else.

    Args:
        account: of the ingestion.
        path: the table.
        roles: columns of the events by role: ids are looked for by the same names.
        options: what the user says.

    Attributes:
        ids: the columns that name whom a verdict is about.
        node_type: whom, or None to find out from who is there.
        column: of verdicts; None if whoever is listed is a fraud.
        values: of that column, and how they are read.

    Raises:
        ValueError: the table has no such columns, or its values cannot be read.
    """

    def __init__(self, account: Account, path: Path, roles: Roles, options: LabelOptions):
        self.account, self.con, self.path = account, account.con, path
        present, is_named = self._look(roles, options)
        is_bare = not is_named and len(present) <= 2 and not options.id
        with store.errors_about(path):
            if is_bare:  # without a header: whom, and perhaps the verdict
                others = [name for name in present if name != options.value]
                options = options._replace(id=others[:1])
            self.node_type, self.ids = find_ids(present, roles, options)
            candidates = find_values(present, self.ids, options)
        account.stage(path, "labels", [*dict.fromkeys(self.ids + candidates)])
        with store.errors_about(path):
            if is_bare and options.value is None and self._holds_verdicts(self.ids[0]):
                self.ids, candidates = candidates, self.ids
            self.column = self._choose(candidates, options)
            said = options.positive or options.negative
            self._read(options, {} if said else _published(present))

    def _look(self, roles: Roles, options: LabelOptions) -> tuple[list[str], bool]:
        """List the columns, and say whether the table names them."""
        layout = self.account.layout.of_other_tables()
        usual = {plain_name(name) for name in (*options.id, options.value or "")}
        usual |= {plain_name(name) for names in roles.values() for name in names}
        usual |= layout.names | {*_VALUE_NAMES, *_ID_NAMES}
        layout = layout._replace(names=frozenset(usual - {*_YES, *_NO, *_CHARGEBACK, ""}))
        seen = tables.look(self.path, layout=layout)
        if seen.is_delimited and len(seen.columns) == 1:
            layout = layout._replace(header=plain_name(seen.columns[0]) in usual)
            seen = tables.look(self.path, layout=layout)
        self.account.layouts["labels"] = layout
        return seen.columns, seen.is_named

    def _choose(self, candidates: list[str], options: LabelOptions) -> str | None:
        """Return the only candidate, or the only one whose values are verdicts throughout."""
        if len(candidates) < 2:
            return next(iter(candidates), None)
        fitting = [name for name in candidates if self._holds_verdicts(name)]
        if len(fitting) != 1:
            raise ValueError(
                f"which column holds the verdicts? {', '.join(fitting or candidates)} may: say it "
                "with --label-value COLUMN, or --label-value '' if whoever is listed is a fraud"
            )
        return fitting[0]

    def _holds_verdicts(self, name: str) -> bool:
        values = self.con.execute(
            f"SELECT DISTINCT lower({sql_name(name)}) FROM {columns.cleaned('labels', [name])} "
            f"WHERE {sql_name(name)} IS NOT NULL LIMIT {_MOST}"
        ).fetchall()
        meanings = _words({_plain(value) for (value,) in values}).values()
        return FRAUD in meanings and NEITHER not in meanings

    def _read(self, options: LabelOptions, published: dict[str, str]) -> None:
        sql, self.values = "1", []
        if self.column is not None:
            sql, self.values = read_verdicts(self.con, "labels", self.column, options, published)
        self.con.execute(
            f"CREATE TABLE verdicts AS SELECT {PLACE}, {columns.id_of(self.ids)} AS id, "
            f"{sql} AS label, {ids_of.is_inexact(self.ids)} AS is_inexact "
            f"FROM {columns.cleaned('labels', self._used)}"
        )
        if not self._count("SELECT count(*) FROM verdicts WHERE label = 1 AND id IS NOT NULL"):
            raise ValueError(f"no row says of a {' '.join(self.ids)} that it is a fraud")

    def _list_disputed(self) -> None:
        self.con.execute(
            "CREATE TABLE disputed AS SELECT id FROM verdicts WHERE id IS NOT NULL AND label >= 0 "
            "GROUP BY id HAVING min(label) < max(label)"
        )

    @property
    def _used(self) -> list[str]:
        names = self.ids + [self.column] * (self.column is not None)
        return [*dict.fromkeys(names)]

    def match(
        self, ids: dict[str, np.ndarray], *, folded: Collection[str] = ()
    ) -> tuple[str, np.ndarray, dict]:
        """Join the verdicts with the nodes: tables `ids_<type>` of `id` and `node`.

        Args:
            ids: by node type (num_nodes,) str.
            folded: the node types whose ids are in lower case in those tables.

        Returns:
            The node type that has labels; (n, 2) int64 rows [node, 1 = anomaly], by node; and what
            about.json says of it.

        Raises:
            ValueError: no fraud has an event, or all nodes of the type are frauds.
        """
        is_folded = self.node_type in folded if self.node_type in ids else bool(folded)
        if is_folded:
            self.con.execute("UPDATE verdicts SET id = lower(id)")
        self._list_disputed()
        matched = {name: self._num_matched(name) for name in ids}
        role = self.node_type if self.node_type in ids else max(matched, key=matched.get)
        self._judge(role)
        used = self.con.execute(
            f"SELECT DISTINCT node, label FROM verdicts JOIN ids_{role} AS ids "
            "ON verdicts.id = ids.id WHERE label >= 0 AND ids.id NOT IN (SELECT id FROM disputed) "
            "ORDER BY 1"
        ).fetchnumpy()
        rows = np.stack([used["node"], used["label"]], axis=1).astype(np.int64)
        about = summary(self.column, self.path.name, self.values, rows[:, 1], role)
        if not about["frauds"]:
            raise ValueError(f"{self.path}: {self._no_match(role)}")
        if about["frauds"] == len(ids[role]):
            raise ValueError(f"{self.path}: {_all_are_frauds(about)}")
        about["matched"] = self._matching(role)
        also = [f"{count:,} {name}s" for name, count in matched.items() if count and name != role]
        if also and self.node_type is None:
            about["matched"] += (
                f"; they are ids of {' and '.join(also)} as well: call the column of ids by the "
                "type that is meant"
            )
        return role, rows, about

    def _num_matched(self, role: str) -> int:
        return self._count(
            f"SELECT count(DISTINCT id) FROM verdicts WHERE id IN (SELECT id FROM ids_{role})"
        )

    def _judge(self, role: str) -> None:
        self.account.judge(
            "labels", self._used,
            f"SELECT {PLACE}, CASE WHEN id IS NULL THEN '{role} id is missing' "
            "WHEN label IS NULL THEN 'label is missing or unknown' "
            "WHEN label < 0 THEN 'label is neither yes nor no' "
            f"WHEN id NOT IN (SELECT id FROM ids_{role}) THEN '{role} has no event' "
            f"WHEN id IN (SELECT id FROM disputed) THEN '{role} is labelled both yes and no' END "
            "AS fate FROM verdicts",
        )  # fmt: skip

    def _no_match(self, role: str) -> str:
        disputed = self._count("SELECT count(*) FROM disputed")
        both = f", {disputed:,} are labelled both yes and no" * (disputed > 0)
        there = f"SELECT id FROM ids_{role}"
        same = self._count(
            f"SELECT count(DISTINCT id) FROM verdicts WHERE id NOT IN ({there}) "
            f"AND lower(id) IN (SELECT lower(id) FROM ({there}))"
        )
        both += f"; {same:,} differ only in case: --same-id casefold joins them" * (same > 0)
        return (
            f"no {role} that is labelled fraud has an event: {self._matching(role)}{both}; "
            f"{self._read_as()}; name the column of ids with --label-id, or mend the ids"
        )

    def _matching(self, role: str) -> str:
        """Say how many labelled ids have events, and name one of each side that has no partner."""
        total = self._count("SELECT count(DISTINCT id) FROM verdicts")
        parts = [f"{self._num_matched(role):,} of {total:,} labelled ids are {role}s with events"]
        missing = f"id NOT IN (SELECT id FROM ids_{role})"
        strange = self._first(f"SELECT id FROM verdicts WHERE {missing} ORDER BY {PLACE}")
        parts += [f"{strange!r} is labelled and has no event"] if strange is not None else []
        bare = "id NOT IN (SELECT id FROM verdicts WHERE id IS NOT NULL)"
        unlabelled = self._first(f"SELECT id FROM ids_{role} WHERE {bare} ORDER BY node")
        parts += [f"{unlabelled!r} has events and no label"] if unlabelled is not None else []
        return ", ".join(parts + self._mangled(role))

    def _mangled(self, role: str) -> list[str]:
        """Say how many labelled ids have no event because a spreadsheet has changed them."""
        there, parts = f"SELECT id FROM ids_{role}", []
        bare = "ltrim(id, '0')"
        shorter = self.con.execute(
            f"SELECT count(DISTINCT id), min(id) FROM verdicts WHERE id NOT IN ({there}) "
            f"AND {bare} IN (SELECT {bare} FROM ({there}) WHERE {bare} != '')"
        ).fetchone()
        if shorter[0]:
            parts.append(
                f"{shorter[0]:,} such as {shorter[1][:_LONGEST]!r} differ only in zeros at the "
                "front, which spreadsheets drop: write the ids as text on both sides, equally long"
            )
        rounded = self.con.execute(
            f"SELECT count(*), min(id) FROM verdicts WHERE is_inexact AND id NOT IN ({there})"
        ).fetchone()
        if rounded[0]:
            parts.append(
                f"{rounded[0]:,} rows have ids that lost their last digits in a spreadsheet, such "
                f"as {rounded[1][:_LONGEST]!r} (written like 1.23E+11): export the labels again "
                "with that column as text"
            )
        return parts

    def _read_as(self) -> str:
        if self.column is None:
            return "whoever is listed is a fraud"
        return f"values of {self.column!r}: {_listed(self.values)}"

    def _count(self, query: str) -> int:
        return self.con.execute(query).fetchone()[0]

    def _first(self, query: str) -> str | None:
        row = self.con.execute(f"{query} LIMIT 1").fetchone()
        return None if row is None else row[0][:_LONGEST]


def find_ids(
    present: Sequence[str], roles: Roles, options: LabelOptions
) -> tuple[str | None, list[str]]:
    """Find the columns of a table of labels that name whom it is about.

    Returns:
        The node type, or None where the name does not say, and the columns.

    Raises:
        ValueError: there is none, or the one that the user names is not there.
    """
    all_types = columns.types_of(roles)
    if options.id:
        names = list(options.id)
        _check_present(present, names, "--label-id")
        types = (role for role in all_types if columns.find_id(names, role, roles) == names)
        return next(types, None), names
    as_in_events = {name for names in roles.values() for name in names}
    may_name = [
        name for name in present if name in as_in_events or plain_name(name) not in _VALUE_NAMES
    ]
    for role in all_types:
        names = columns.find_id(may_name, role, roles)
        if names:
            return role, names
    others = [name for name in present if plain_name(name) in _ID_NAMES]
    if not others and len(present) == 2 and len(may_name) == 1:
        others = may_name
    if not others:
        whom = " or ".join(", ".join(all_types).rsplit(", ", 1))
        raise ValueError(
            f"expected a column called like a {whom} (or as in the events); found "
            f"{_columns(present)}; say which one names whom a label is about with "
            "--label-id COLUMN, or write the table with commas between its fields and a first line "
            "that names the columns"
        )
    return None, others[:1]


def find_values(present: Sequence[str], ids: Sequence[str], options: LabelOptions) -> list[str]:
    """Find the columns of a table of labels that may hold the verdicts.

    Returns:
        The column that the user names or that is called like one, else all that are left. None if
        the user says so.

    Raises:
        ValueError: there is none, or the one that the user names is not there.
    """
    if options.value == "":
        return []
    if options.value is not None:
        _check_present(present, [options.value], "--label-value")
        return [options.value]
    others = [name for name in present if name not in ids]
    meaning = meanings(others, _VALUE_NAMES)
    plain = {meaning[name]: name for name in reversed(others)}
    called = [plain[name] for name in _VALUE_NAMES if name in plain]
    if not others:
        raise ValueError(
            f"there is no column of verdicts beside {', '.join(ids)}; name the column with "
            "--label-value COLUMN, or say --label-value '' if whoever is listed is a fraud, or "
            "write the table with commas between its fields"
        )
    return called[:1] or others


def _check_present(present: Sequence[str], names: Iterable[str], option: str) -> None:
    for name in names:
        if name not in present:
            raise ValueError(
                f"there is no column {name!r}, as {option} says; found {_columns(present)}"
            )


def summary(
    column: str | None, where: str, values: Sequence[Value], y: np.ndarray, node_type: str
) -> dict:
    """Say what about.json keeps of labels.

    Args:
        column: of verdicts; None if whoever is listed is a fraud.
        where: the name of the file it stands in.
        values: how each is read.
        y: (n,) 1, 0, or -1 where unknown, of the nodes that are used.
        node_type: of the nodes.
    """
    frauds, normal = int((y == 1).sum()), int((y == 0).sum())
    says = [value.text for value in values if value.read_as == FRAUD]
    meaning = f"{node_type} called {' or '.join(map(repr, says))} by {column!r} in {where}"
    about = {
        "meaning": f"{node_type} listed in {where}" if column is None else meaning,
        "column": column,
        "frauds": frauds,
        "normal": normal,
        "values": [list(value) for value in values[:_SHOWN]],
    }
    strange = [value for value in values if value.read_as == NEITHER]
    if strange:
        about["neither"] = {
            "rows": sum(value.rows for value in strange), "such_as": strange[0].text
        }  # fmt: skip
    return about | ({} if normal else {"kind": POSITIVE_ONLY})


def check_kinds(y: np.ndarray, about: dict) -> None:
    """Check the labels of events: (num_events,) int64 1, 0, or -1 where unknown.

    Raises:
        ValueError: no event is a fraud, or all are.
    """
    if not about["frauds"]:
        raise ValueError(
            f"no event that is used is a fraud; {'; '.join(said(about))}; name the value that is "
            "with --positive VALUE, or leave the column out with --label ''"
        )
    if about["frauds"] == len(y):
        raise ValueError(_all_are_frauds(about))


def _all_are_frauds(about: dict) -> str:
    return (
        f"all {about['frauds']:,} there are are frauds, so that nobody is left to rank; "
        f"{'; '.join(said(about)[:2])}; add the others, or say with --positive VALUE which value "
        "is fraud"
    )


def said(about: dict) -> list[str]:
    """Say in lines what `summary` holds."""
    values = [Value(*value) for value in about["values"]]
    lines = [f"fraud is: {about['meaning']}"] + [f"read as: {_listed(values)}"] * bool(values)
    if "neither" in about:
        neither = about["neither"]
        plural = "value is" if neither["rows"] == 1 else "values are"
        lines.append(
            f"{about['column']}: {neither['rows']:,} {plural} neither yes nor no, such as "
            f"{neither['such_as']!r}; name what they mean with --positive or --negative"
        )
    lines += [about["matched"]] if "matched" in about else []
    if about.get("kind") == POSITIVE_ONLY:
        lines.append(
            f"{about['frauds']:,} confirmed as fraud and nobody as normal: the others are taken as "
            "not looked at; the list can be made, but how good it is cannot be measured"
        )
    else:
        lines.append(f"{about['frauds']:,} labelled fraud, {about['normal']:,} normal")
    return lines
