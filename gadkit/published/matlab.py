"""Matrices of MATLAB 5 files (.mat, versions 5 to 7), read with every length checked.

"MAT-File Format", The MathWorks: a header of 128 bytes, then elements, each with its type and its
length in bytes; a matrix is an element that holds flags, dimensions, name and numbers.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gadkit import store

_HEADER = 128  # bytes
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_MATRIX, _COMPRESSED = 14, 15
_SPARSE, _NUMERIC = 5, range(6, 16)  # classes of matrices
_COMPLEX = 0x800


@dataclass
class Sparse:
    """A sparse matrix by columns.

    Attributes:
        shape: rows and columns.
        indptr: (columns + 1,) int64.
        indices: (entries,) int64; the row of each entry.
        data: (entries,) numbers.
    """

    shape: tuple[int, int]
    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return row, column and value of every entry that is not 0."""
        columns = np.repeat(np.arange(self.shape[1]), np.diff(self.indptr))
        kept = self.data != 0
        return self.indices[kept], columns[kept], self.data[kept]

    def dense(self) -> np.ndarray:
        """Return the matrix, (rows, columns) float32."""
        rows, columns, values = self.entries()
        matrix = np.zeros(self.shape, np.float32)
        matrix[rows, columns] = values
        return matrix


def read_mat(path: Path) -> dict[str, Sparse | np.ndarray | None]:
    """Read the variables of a file; those that are no real matrix come as None.

    Raises:
        ValueError: it is no MATLAB 5 file, or damaged; the message names the byte or the variable.
    """
    with store.errors_about(path):
        content = path.read_bytes()
        if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
            raise ValueError("not a readable MATLAB 5 file, or cut off: it has no such header")
        order = "<" if content[126:128] == b"IM" else ">"
        if int(np.frombuffer(content, f"{order}u2", 1, 124)[0]) != 0x0100:
            raise ValueError("not a MATLAB 5 file; save it with -v7, as -v7.3 is another format")
        try:
            return dict(_variables(content, order))
        except (ValueError, zlib.error) as error:
            raise ValueError(f"not a readable MATLAB 5 file, or cut off: {error}") from error


def _variables(content: bytes, order: str):
    offset = _HEADER
    while offset < len(content):
        kind, body, offset = _element(content, offset, order)
        if kind == _COMPRESSED:
            kind, body, _ = _element(zlib.decompress(body), 0, order)
        if kind == _MATRIX:
            yield _matrix(body, order)


def _element(content: bytes, offset: int, order: str) -> tuple[int, bytes, int]:
    """Return type and bytes of the element at a place, and where the next one begins."""
    if offset + 8 > len(content):
        raise ValueError(f"byte {offset}: an element without type and length")
    kind, size = np.frombuffer(content, f"{order}u4", 2, offset).tolist()
    start, end = offset + 8, offset + 8 + size
    following = end if kind == _COMPRESSED else end + -size % 8
    if kind >> 16:  # a short one: the length is in the upper half, four bytes hold all
        kind, size = kind & 0xFFFF, kind >> 16
        start, end, following = offset + 4, offset + 4 + size, offset + 8
        if size > 4:
            raise ValueError(f"byte {offset}: a short element of {size} bytes")
    if end > len(content):
        raise ValueError(f"byte {offset}: an element of {size:,} bytes ends after the file")
    return kind, content[start:end], following


def _numbers(body: bytes, offset: int, order: str) -> tuple[np.ndarray, int]:
    kind, content, following = _element(body, offset, order)
    dtype = _TYPES.get(kind)
    if dtype is None or len(content) % int(dtype[1]):
        raise ValueError(f"an element of type {kind} with {len(content)} bytes is no numbers")
    return np.frombuffer(content, order + dtype).astype(dtype), following


def _matrix(body: bytes, order: str) -> tuple[str, Sparse | np.ndarray | None]:
    flags, offset = _numbers(body, 0, order)
    shape, offset = _numbers(body, offset, order)
    letters, offset = _numbers(body, offset, order)
    name = letters.astype("u1").tobytes().decode("latin1")
    if len(flags) != 2 or len(shape) < 2 or shape.dtype.kind != "i" or shape.min() < 0:
        raise ValueError(f"variable {name!r} has no class or no dimensions")
    kind, shape = int(flags[0]) & 0xFF, tuple(shape.tolist())
    if int(flags[0]) & _COMPLEX or not (kind == _SPARSE or kind in _NUMERIC):
        return name, None
    with store.errors_about(f"variable {name!r}"):
        return name, (_sparse if kind == _SPARSE else _full)(body, offset, shape, order)


def _full(body: bytes, offset: int, shape: tuple[int, ...], order: str) -> np.ndarray:
    values, _ = _numbers(body, offset, order)
    if len(values) != math.prod(shape):
        raise ValueError(f"a matrix of shape {shape} has {len(values)} numbers")
    return values.reshape(shape, order="F")


def _sparse(body: bytes, offset: int, shape: tuple[int, ...], order: str) -> Sparse:
    rows, offset = _numbers(body, offset, order)
    indptr, offset = _numbers(body, offset, order)
    data, _ = _numbers(body, offset, order)
    indptr, num = indptr.astype(np.int64), len(data)
    if len(shape) != 2 or len(indptr) != shape[1] + 1 or indptr[0] != 0:
        raise ValueError(f"its {len(indptr)} pointers do not fit the shape {shape}")
    if (np.diff(indptr) < 0).any() or indptr[-1] != num:
        raise ValueError(f"its pointers decrease, or do not end at the {num} entries")
    indices = rows[:num].astype(np.int64)  # MATLAB may leave room for more
    if len(indices) != num or (num and not 0 <= indices.min() <= indices.max() < shape[0]):
        raise ValueError(f"a row index is missing, or outside of the shape {shape}")
    return Sparse(shape, indptr, indices, data)
