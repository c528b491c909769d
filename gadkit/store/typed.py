"""Columns that have a type, as those of Parquet, made text: bytes decoded, nested ones refused."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NESTED = ("STRUCT", "MAP", "UNION")  # how the names of their types begin; lists end in brackets


def as_text(con: "DuckDBPyConnection", source: str, names: Sequence[str]) -> list[str]:
    """Write in SQL each of some columns as text, under its own name.

    Bytes are text where all of the column are; else those of 16 bytes are UUIDs, and others are
    written in hexadecimal digits.

    Args:
        con: the database.
        source: SQL of the table.
        names: some of its columns.

    Raises:
        ValueError: a column holds structs, maps or lists.
    """
    listed = ", ".join(map(_quoted, names))
    types = dict(
        row[:2] for row in con.execute(f"DESCRIBE SELECT {listed} FROM {source}").fetchall()
    )
    _refuse_nested(types)
    texts = {name: f"CAST({_quoted(name)} AS VARCHAR)" for name in names}
    for name in names:
        if types[name] == "BLOB":
            texts[name] = _bytes_as_text(con, source, _quoted(name))
    return [f"{text} AS {_quoted(name)}" for name, text in texts.items()]


def _refuse_nested(types: dict[str, str]) -> None:
    for name, kind in types.items():
        if kind.startswith(_NESTED) or kind.endswith("]"):
            kind = "lists" if kind.endswith("]") else f"{kind.partition('(')[0].lower()}s"
            raise ValueError(
                f"column {name!r} holds {kind}, and one value is needed in a row: write the field "
                "that is meant as a column of its own, or name another column"
            )


def _bytes_as_text(con, source: str, value: str) -> str:
    # A zero byte, or one of the other control characters, is in no text that people write.
    text = f"TRY(decode({value}))"
    is_text = con.execute(
        f"SELECT bool_and({text} IS NOT NULL AND NOT regexp_matches({text}, "
        f"'[\\x00-\\x08\\x0e-\\x1f]')) FROM {source} WHERE {value} IS NOT NULL"
    ).fetchone()[0]
    if is_text:
        return f"decode({value})"
    uuid = f"CAST(CAST(hex({value}) AS UUID) AS VARCHAR)"
    return f"CASE WHEN octet_length({value}) = 16 THEN {uuid} ELSE lower(hex({value})) END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
