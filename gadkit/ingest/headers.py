"""What the names of columns mean, less case and punctuation; Neo4j's import headers understood."""

import re
from collections.abc import Collection, Sequence

from gadkit.store.layouts import plain

# `name:ID(space)`, and `name:type`: https://neo4j.com/docs/operations-manual, "CSV header format".
_END = re.compile(r"(.*):(ID|START_ID|END_ID|LABEL|TYPE|IGNORE)(?:\(([^)]*)\))?(?:\{.*\})?", re.S)
_TYPED = re.compile(
    r"(.+):(?:int|long|float|double|boolean|byte|short|char|string|point|date|localtime|time|"
    r"localdatetime|datetime|duration|vector)(?:\[\])?(?:\{.*\})?",
    re.S | re.I,
)
_OTHERS = {"LABEL": "nodelabel", "TYPE": "relationtype", "IGNORE": "ignored"}


def meanings(columns: Sequence[str], usual: Collection[str] = ()) -> dict[str, str]:
    """Say what each column is called, as `layouts.plain` has it.

    Of Neo4j's relationships, the ends are `user` and `product`, or what the groups of their ids are
    called where that is usual; `source` and `target` where both are of one group. Its `:LABEL` is
    the type of a node, and no label of a fraud.

    Args:
        columns: the columns of one table.
        usual: names that say a role, as `layouts.plain` has it.
    """
    ends = {name: match for name in columns if (match := _END.fullmatch(name))}
    spaces = {match[2]: match[3] or "" for match in ends.values()}
    is_within = spaces.get("START_ID", "") == spaces.get("END_ID", "")
    result = {}
    for name in columns:
        typed = _TYPED.fullmatch(name)
        if name in ends:
            result[name] = _end(ends[name], is_within, usual)
        else:
            result[name] = plain(typed[1] if typed else name)
    return result | _without_prefixes(result, usual)


def _without_prefixes(meaning: dict[str, str], usual: Collection[str]) -> dict[str, str]:
    """Say what columns mean whose names say first in what they stand: `orders.user_id`.

    What stands before a dot, or before a `_` in the names of all columns, is left out where the
    rest is usual and no other column means it; but not where it says whose the rest is, as in
    `user.created_at`.
    """
    shared = next(iter(meaning), "").partition("_")[0] + "_"
    are_alike = len(meaning) > 1 and all(name.startswith(shared) for name in meaning)
    result, taken = {}, set(meaning.values())
    for name, whole in meaning.items():
        cuts = [k + 1 for k, letter in enumerate(name) if letter == "."]
        cuts += [len(shared)] if are_alike else []
        for cut in cuts if whole not in usual else []:
            before, rest = name[: cut - 1].rpartition(".")[2], plain(name[cut:])
            says_whose = plain(before) in usual and not before.startswith("_")
            if rest in usual and rest not in taken and not says_whose:
                result[name] = rest
                taken.add(rest)
                break
    return result


def ends_of(columns: Sequence[str]) -> tuple[tuple[str, str] | None, bool]:
    """Return the two ends of Neo4j's relationships, where both may be nodes of one group.

    Returns:
        The columns START_ID and END_ID, or None where there are none, or of two groups; and whether
        the group is named, so that there is no doubt.
    """
    ends = {match[2]: name for name in columns if (match := _END.fullmatch(name))}
    if not {"START_ID", "END_ID"} <= set(ends):
        return None, False
    pair = ends["START_ID"], ends["END_ID"]
    spaces = [_END.fullmatch(name)[3] or "" for name in pair]
    return (pair if spaces[0] == spaces[1] else None), bool(spaces[0])


def _end(match: re.Match, is_within: bool, usual: Collection[str]) -> str:
    name, kind, space = (plain(text or "") for text in match.groups())
    kind = match[2]
    if kind in _OTHERS:
        return _OTHERS[kind]
    if kind == "ID":
        return name if name in usual else space or name or "id"
    if is_within:
        return "source" if kind == "START_ID" else "target"
    if space in usual:
        return space
    return "user" if kind == "START_ID" else "product"
