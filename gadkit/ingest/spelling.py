"""Join ids that differ only in case, where the user says so or their spelling leaves no doubt."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Of the ids, that must have several spellings before they are taken for the same. In orders of a
# single week, 3 % of which are typed in lower case, so many are met in both: 2.8 %.
_SHARE = 0.02
_REGULAR = 0.9  # of those, in how many each spelling must be upper, lower or Title case


def join(
    con: "DuckDBPyConnection", node_type: str, same_id: str, roles: Sequence[str]
) -> dict | None:
    """Look for ids that differ only in case, and make one of them where that is right.

    By a guess they are one where many ids have a twin, and the twins are written all in one case,
    with one capital in front, or as addresses of mail: `B7` and `b7`. Ids that mix cases within,
    such as `aB7x` of random characters, are kept apart.

    Where ids are joined, the table `ids_<node_type>` has them in lower case, and so have the
    columns of `typed` (and of `offers_seller`) that are called like the roles. Its column `name`
    is the spelling that occurs first.

    Args:
        con: holds `typed`, and `ids_<node_type>` with columns id and node.
        node_type: whose ids they are.
        same_id: one of `ids.SAME_ID`.
        roles: in which events name them.

    Returns:
        ids: how many have several spellings; total: of how many; joined: whether they are one
        now; example: two spellings of one. None where there are none.
    """
    variants, total, regular, example = con.execute(
        "SELECT count(*) FILTER (n > 1), count(*), count(*) FILTER (n > 1 AND is_regular), "
        "min([lowest, highest]) FILTER (n > 1) FROM (SELECT count(*) AS n, min(id) AS lowest, "
        "max(id) AS highest, bool_and(length(id) > 1 AND (id = lower(id) OR id = upper(id) "
        "OR id = upper(id[1]) || lower(id[2:]) OR contains(id, '@'))) AS is_regular "
        f"FROM ids_{node_type} GROUP BY lower(id))"
    ).fetchone()
    if not variants and same_id != "casefold":  # a table of labels may still write them otherwise
        return None
    is_clear = variants >= _SHARE * total and regular >= _REGULAR * variants
    is_joined = same_id == "casefold" or (same_id == "guess" and is_clear)
    if is_joined:
        _join(con, node_type, roles)
    return {"ids": variants, "total": total, "joined": is_joined, "example": example}


def _join(con, node_type: str, roles: Sequence[str]) -> None:
    con.execute(
        f"ALTER TABLE ids_{node_type} RENAME TO spelled_{node_type}; "
        f"CREATE TABLE ids_{node_type} AS SELECT lower(id) AS id, arg_min(id, node) AS name, "
        "row_number() OVER (ORDER BY min(node)) - 1 AS node "
        f"FROM spelled_{node_type} GROUP BY lower(id)"
    )
    tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    for table in ("typed", "offers_seller"):
        columns = con.execute(
            "SELECT column_name FROM duckdb_columns() WHERE table_name = ?", [table]
        ).fetchall()
        for role in roles:
            if (table,) in tables and (role,) in columns:
                con.execute(f'UPDATE {table} SET "{role}" = lower("{role}")')
