"""Read ids, so that one of them is one text in every table, whatever wrote it."""

from collections.abc import Sequence

from gadkit.store.tables import sql_name, sql_text

SAME_ID = ("guess", "exact", "casefold")  # which spellings are one id

EXACT = 1 << 53  # whole doubles from here on may stand for their neighbors too
_NIL = "00000000-0000-0000-0000-000000000000"  # stands for no UUID at all
_UUID = r"^[{(]?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}[)}]?$"


def id_of(names: Sequence[str], *, fold: bool = False) -> str:
    """Read an id, of several columns joined by `-`; `12.0` is the id 12.

    A UUID is written in lower case and without brackets, and the one of zeros is nobody; `1.5e+16`
    and `1.5E9`, as doubles are printed, are written in digits.

    Args:
        names: the columns.
        fold: write all ids in lower case, so that those which differ only in case are one.
    """
    if len(names) == 1:
        value = _id_of(names[0])
    else:
        # What joins must not be taken for part of what is joined: a-b and c are not a and b-c.
        parts = (rf"replace(replace({_id_of(name)}, '\', '\\'), '-', '\-')" for name in names)
        value = " || '-' || ".join(parts)
    return f"lower({value})" if fold else value


def _id_of(name: str) -> str:
    value = sql_name(name)
    return (
        rf"CASE WHEN contains({value}, '.') AND regexp_matches({value}, '^-?\d+\.0+$') "
        f"THEN regexp_extract({value}, '^[^.]*') WHEN {_is_double(value)} "
        f"THEN COALESCE(TRY_CAST(TRY_CAST({value} AS DOUBLE) AS HUGEINT)::VARCHAR, {value}) "
        f"WHEN length({value}) BETWEEN 36 AND 38 AND regexp_matches({value}, {sql_text(_UUID)}) "
        f"THEN NULLIF(lower(trim({value}, '{{}}()')), '{_NIL}') ELSE {value} END"
    )


def _is_double(value: str) -> str:
    """Say in SQL that a value is a number as floating point is printed: 1.5e+16."""
    return (
        f"((contains({value}, '+') OR contains({value}, '.')) AND "
        rf"regexp_matches({value}, '^-?\d(\.\d+[eE]\+?\d+|[eE]\+\d+)$'))"
    )


def is_inexact(names: Sequence[str]) -> str:
    """Say in SQL that an id was a number whose last digits are lost: a double of 2^53 or more."""
    return " OR ".join(
        f"CASE WHEN contains({value}, '.') OR contains({value}, '+') "
        f"THEN COALESCE((contains({value}, '+') AND {_is_double(value)}) "
        f"OR (contains({value}, '.') AND abs(TRY_CAST({value} AS DOUBLE)) >= {EXACT}), false) "
        "ELSE false END"
        for value in map(sql_name, names)
    )
