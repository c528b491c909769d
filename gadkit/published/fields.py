"""Helpers of the readers of tables: find a file, number texts, look ids up, read dates."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path

import numpy as np

from gadkit.store import tables


def find(path: Path | str, *patterns: str) -> Path:
    """Return the one file of a data set that has this name.

    Args:
        path: the file itself, another file of the same folder, or a folder that holds it, also
            further down.
        patterns: names, with * for any text; of several, the first that there is.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several.
    """
    path = Path(path)
    if path.is_file() and any(path.match(pattern) for pattern in patterns):
        return path
    folder = path if path.is_dir() else path.parent
    for pattern in patterns:
        matches = sorted(p for p in folder.rglob(pattern) if p.is_file() and not _is_litter(p))
        if len(matches) > 1:
            names = ", ".join(str(p.relative_to(folder)) for p in matches[:5])
            raise ValueError(f"{folder} holds {len(matches)} files {pattern}: {names}; choose one")
        if matches:
            return matches[0]
    raise FileNotFoundError(f"{folder} holds no {' or '.join(patterns)}")


def _is_litter(path: Path) -> bool:
    return "__MACOSX" in path.parts or path.name.startswith("._")


def find_table(path: Path | str, name: str) -> Path:
    return find(path, name, f"{name}.gz")


def numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the different values from 0 in their sorted order; return numbers and values."""
    if values.dtype.kind != "O":
        names, numbers = np.unique(values, return_inverse=True)
        return numbers, names.astype(str)
    names = sorted(set(values.tolist()))
    number_of = dict(zip(names, range(len(names)), strict=True))
    numbers = np.fromiter(map(number_of.__getitem__, values.tolist()), np.int64, len(values))
    return numbers, np.array(names, dtype=object)


def places(node_ids: np.ndarray, wanted: np.ndarray, *, where: str, column: str) -> np.ndarray:
    """Return the place of each wanted id among those of the nodes, (num_wanted,) int64.

    Args:
        node_ids: (num_nodes,) numbers or texts, all different.
        wanted: (num_wanted,) of the same.
        where, column: file and column of the wanted ones, for the message.

    Raises:
        ValueError: two nodes have one id, or no node has a wanted one; names the line, which
            supposes a header.
    """
    place_of = dict(zip(node_ids.tolist(), range(len(node_ids)), strict=True))
    if len(place_of) != len(node_ids):
        ids, counts = np.unique(node_ids.astype(str), return_counts=True)
        raise ValueError(f"{ids[counts > 1][0]} comes more than once among the nodes")
    position = np.fromiter(map(place_of.get, wanted.tolist(), repeat(-1)), np.int64, len(wanted))
    missing = np.flatnonzero(position < 0)
    if len(missing):
        raise ValueError(
            f"{where}: line {missing[0] + 2}: {column} {wanted[missing[0]]} is no node"
        )
    return position


def texts(path: Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one column of texts as numbers and what they stand for."""
    return numbered(tables.load(path, {column: "VARCHAR"})[column])


def joined(path: Path, *columns: str) -> np.ndarray:
    """Read columns and join them by a colon."""
    table = tables.load(path, dict.fromkeys(columns, "VARCHAR"))
    return np.array([*map(":".join, zip(*table.values(), strict=True))], dtype=object)


def one_numbering(first, second) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the values of two columns in one sequence.

    Args:
        first, second: numbers and names of a column each, as `numbered` returns them.

    Returns:
        The numbers of the first column, those of the second, and what they stand for.
    """
    names = np.array(sorted({*first[1].tolist(), *second[1].tolist()}), dtype=object)
    place_of = dict(zip(names.tolist(), range(len(names)), strict=True))
    places = [
        np.fromiter(map(place_of.__getitem__, values.tolist()), np.int64, len(values))[numbers]
        for numbers, values in (first, second)
    ]
    return *places, names


def coded(values: np.ndarray, codes: dict[str, int], path: Path, column: str) -> np.ndarray:
    """Translate texts to their codes, (num_rows,) int8.

    Raises:
        ValueError: a text has no code; names the line of the first.
    """
    numbers, names = numbered(values)
    unknown = [k for k, name in enumerate(names) if name not in codes]
    if unknown:
        line = int(np.isin(numbers, unknown).argmax()) + 2
        raise ValueError(
            f"{path}: line {line}: {column} is {values[line - 2]!r}, not one of {', '.join(codes)}"
        )
    return np.array([codes[name] for name in names], np.int8)[numbers]


def parsed(path: Path, column: str, parse: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Read a column through `parse`, which takes an array of different texts.

    Raises:
        ValueError: a text cannot be parsed; names the line of the first.
    """
    numbers, different = texts(path, column)
    try:
        return parse(different.astype(str))[numbers]
    except ValueError as error:
        bad = [k for k in range(len(different)) if not _can(parse, different[k : k + 1])]
        line = int(np.isin(numbers, bad).argmax()) + 2
        raise ValueError(
            f"line {line}: {column} is {different[numbers[line - 2]]!r}, which cannot be read"
        ) from error


def _can(parse: Callable[[np.ndarray], np.ndarray], different: np.ndarray) -> bool:
    try:
        parse(different.astype(str))
    except ValueError:
        return False
    return True


def seconds_range(column: str, seconds: np.ndarray) -> dict:
    """Describe the range of seconds since 1970."""
    ends = [datetime.fromtimestamp(float(end), UTC) for end in (seconds.min(), seconds.max())]
    first, last = (end.strftime("%Y-%m-%dT%H:%M:%SZ") for end in ends)
    return {"column": column, "first": first, "last": last}


def step_range(column: str, steps: np.ndarray) -> dict:
    """Describe the range of steps that have no date."""
    return {"column": column, "first": f"step {steps.min():g}", "last": f"step {steps.max():g}"}
