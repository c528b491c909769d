"""The text files of the published program: attributed graphs in, log beliefs out."""

from pathlib import Path

import numpy as np

from gadkit.match.attributed import AttributedGraph
from gadkit.store.files import atomic_path

LINES = 1 << 16  # written at a time


def read_hive(vertex_file: Path | str, edge_file: Path | str) -> AttributedGraph:
    """Read a graph, or with `Pattern(...)` in mind a pattern, from two text files.

    Fields are separated by blanks, whatever the files are called. The first line of each says how
    many rows and columns follow. A vertex is a line `id f_0 f_1 ...`, id being its place, from 0;
    an edge is `src dst g_0 g_1 ...`, in any order.

    Args:
        vertex_file: the nodes.
        edge_file: the edges.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not so; the message says which, and where.
    """
    return AttributedGraph(*_read_both(vertex_file, edge_file))


def _read_both(vertex_file: Path | str, edge_file: Path | str) -> tuple[np.ndarray, ...]:
    vertices, edges = _read_table(vertex_file, 1), _read_table(edge_file, 2)
    wrong = np.flatnonzero(vertices[:, 0] != np.arange(len(vertices)))
    if len(wrong):
        raise ValueError(
            f"{vertex_file}, line {wrong[0] + 2}: the id is {vertices[wrong[0], 0]:g}, but must be "
            f"{wrong[0]}; number the rows from 0"
        )
    ends = edges[:, :2]
    wrong = np.argwhere((ends != np.floor(ends)) | (ends < 0) | (ends >= len(vertices)))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{edge_file}, line {row + 2}: {ends[row, column]:g} is no node, of which there are "
            f"{len(vertices)}, from 0"
        )
    src, dst = ends.T.astype(np.int64)
    return vertices[:, 1:], src, dst, edges[:, 2:]


def _read_table(path: Path | str, fewest: int) -> np.ndarray:
    """Read a header `rows cols` and as many numbers, float64."""
    with open(path, encoding="ascii", errors="replace") as file:
        header = file.readline().split()
        if len(header) != 2 or not all(field.isdecimal() for field in header):
            raise ValueError(f"{path}, line 1: expected `rows columns`, got {' '.join(header)!r}")
        rows, columns = map(int, header)
        if columns < fewest:
            raise ValueError(f"{path}, line 1: there must be {fewest} columns or more")
        if rows == 0:
            return np.empty((0, columns))
        try:
            table = np.loadtxt(file, ndmin=2, comments=None, max_rows=rows)
            rest = file.read().split()
        except ValueError as error:
            raise ValueError(f"{path}: {error}; line numbers there begin after line 1") from error
    if table.shape != (rows, columns) or rest:
        raise ValueError(
            f"{path}: line 1 says {rows} rows of {columns} columns, but there are "
            f"{len(table)} of {table.shape[1]}{' and more' if rest else ''}"
        )
    return table


def write_beliefs(path: Path | str, log_belief: np.ndarray) -> None:
    """Write log beliefs, node by node, one number a line with six digits as C prints `%e`.

    Args:
        path: file; it is replaced in one step.
        log_belief: (num_nodes, num_pattern_nodes) of `Match`.

    Raises:
        OSError: it cannot be written.
    """
    rows = max(1, LINES // max(1, log_belief.shape[1]))
    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii") as file:
        for start in range(0, len(log_belief), rows):
            values = log_belief[start : start + rows].reshape(-1)
            file.write("%e\n" * len(values) % tuple(values.tolist()))
