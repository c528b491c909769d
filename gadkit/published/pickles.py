"""Pickles, PyTorch archives and DGL files, read without running anything that is in them.

Pickles and PyTorch archives may name any function to be called while they are read. Here they can
name only what a graph is made of, and most of that is replaced by stand-ins that just hold values.
"""

import io
import math
import pickle
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from gadkit import store
from gadkit.graph import check_indptr
from gadkit.published.layout import Arrays

_PICKLE_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
)


class Held:
    """Stand-in for an object of another program: keeps the state it was saved with."""

    def __setstate__(self, state):
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


class HeldStorage(Held):
    """Stand-in for a storage of PyTorch Geometric."""


class HeldType:
    """Stand-in for the data type of a NumPy array: a kind and a size, such as f8."""

    def __init__(self, code: object = "", *_: object):
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: tuple):
        self.order = str(state[1])


class HeldArray:
    """Stand-in for a NumPy array, whose own unpickling trusts what it reads."""

    def __setstate__(self, state: tuple):
        _, self.shape, self.dtype, self.is_fortran, self.content = state

    def array(self) -> np.ndarray:
        """Make the array.

        Raises:
            ValueError: it is no array of numbers, or its parts do not fit.
        """
        state = vars(self)
        dtype, content, shape = (state.get(name) for name in ("dtype", "content", "shape"))
        if isinstance(content, str):  # bytes of Python 2
            content = content.encode("latin1", errors="replace")
        is_numeric = isinstance(dtype, HeldType) and dtype.code in _NUMBERS
        sizes = shape if isinstance(shape, tuple) else (-1,)
        if not is_numeric or dtype.order not in "<>|=" or not isinstance(content, bytes):
            raise ValueError("an array is not of numbers")
        if not all(isinstance(n, int) and n >= 0 for n in sizes):
            raise ValueError(f"an array has shape {shape}")
        order = dtype.order if dtype.order != "|" else "="
        flat = np.frombuffer(content, np.dtype(dtype.code).newbyteorder(order))
        if len(flat) != math.prod(sizes):
            raise ValueError(f"an array of shape {shape} has {len(flat)} numbers")
        flat = flat.astype(flat.dtype.newbyteorder("="))
        return flat.reshape(sizes, order="F" if self.is_fortran else "C")


_NUMBERS = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} - {"f1"} | {"b1"}


def _held(cls: type, base: type, state: object) -> object:
    """Stand in for what protocol 0 calls to make an object."""
    return cls.__new__(cls)


def _held_array(*_: object) -> HeldArray:
    """Stand in for what NumPy calls to make an array, which gets its state afterwards."""
    return HeldArray()


def _encoded(text: str, _: str = "latin1") -> bytes:
    """Stand in for what Python 3 calls to make bytes in a pickle for Python 2."""
    return text.encode("latin1")


_PLAIN = {
    ("scipy.sparse.csr", "csr_matrix"): Held,
    ("scipy.sparse._csr", "csr_matrix"): Held,
    ("numpy", "ndarray"): HeldArray,
    ("numpy", "dtype"): HeldType,
    ("numpy.core.multiarray", "_reconstruct"): _held_array,
    ("numpy._core.multiarray", "_reconstruct"): _held_array,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("copy_reg", "_reconstructor"): _held,
    ("copyreg", "_reconstructor"): _held,
    ("_codecs", "encode"): _encoded,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, and only NumPy arrays, sparse matrices, lists and "
                "dictionaries are taken from a pickle"
            )
        return _PLAIN[module, name]


def read_pickle(path: Path) -> object:
    """Read a pickle of arrays, sparse matrices, lists and dictionaries, also one of Python 2.

    Returns:
        The object; an array is a `HeldArray`, and a sparse matrix a `Held` that has `data`,
        `indices`, `indptr` and `_shape`.

    Raises:
        ValueError: it is damaged, or names anything else, which is then not called.
    """
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _PICKLE_DAMAGE as error:
        raise ValueError(f"{path}: not a pickle that can be read safely: {error}") from error


_PYG = "torch_geometric.data"
_PYG_NAMES = {
    f"{_PYG}.data.Data": Held,
    f"{_PYG}.data.DataEdgeAttr": Held,
    f"{_PYG}.data.DataTensorAttr": Held,
    f"{_PYG}.storage.GlobalStorage": HeldStorage,
    f"{_PYG}.storage.BaseStorage": HeldStorage,
}


def read_pyg(path: Path) -> Arrays:
    """Read a homogeneous graph that PyTorch Geometric has saved, which need not be installed.

    Returns:
        Its tensors, by name, such as `x`, `edge_index` and `y`.

    Raises:
        ValueError: it is damaged or no such graph, or names anything else, which is then not
            called.
    """
    allowed = [(stand_in, name) for name, stand_in in _PYG_NAMES.items()]
    try:
        with _only(allowed):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, *_PICKLE_DAMAGE) as error:
        raise ValueError(
            f"{path}: not a PyTorch Geometric graph that can be read safely: {_reason(error)}"
        ) from error
    if not isinstance(saved, Held):
        raise ValueError(f"{path}: holds a {type(saved).__name__}, not a graph")
    content = vars(saved)
    storage = content.get("_store")
    if isinstance(storage, HeldStorage):
        content = vars(storage).get("_mapping", {})
    return {k: v.numpy() for k, v in content.items() if isinstance(v, torch.Tensor)}


@contextmanager
def _only(allowed: list[tuple[type, str]]) -> Iterator[None]:
    """Allow these names alone: PyTorch Geometric, once imported, has its own classes allowed."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _reason(error: Exception) -> str:
    """Say what was wrong, without PyTorch's advice on how to run the file's code all the same."""
    text = " ".join(str(error.__context__ or error).split())
    return text.split(" Please use ")[0][:200]


# The binary format of DGL, version 2: little-endian, each part begins with a number of its own.
_DGL_FILE = 0xDD2E4FF046B4A13F
_DGL_GRAPH = 0xDD589FBE35224ABF
_DGL_META = 0xDD3C5FFE20046ABF
_DGL_RELATION = 0xDD2E60F0F6B4A127
_DGL_CSR = 0xDD6CD31205DFF127
_DGL_COO = 0xDD61FFD305DFF127
_DGL_ARRAY = 0xDD5E40F096B4A13F
_DGL_HEADER = 4096  # bytes
_DGL_TYPES = {(0, 8, 1): "i1", (0, 16, 1): "<i2", (0, 32, 1): "<i4", (0, 64, 1): "<i8"}
_DGL_TYPES |= {(1, 8, 1): "u1", (2, 16, 1): "<f2", (2, 32, 1): "<f4", (2, 64, 1): "<f8"}
_AS_COO, _AS_CSR, _AS_CSC = 1, 2, 4


class _Dgl:
    """Where the reading of a .dgl file stands."""

    def __init__(self, content: bytes):
        self.content, self.at = content, 0

    def take(self, dtype: str, count: int = 1) -> np.ndarray:
        size = np.dtype(dtype).itemsize * count
        if count < 0 or self.at + size > len(self.content):
            raise ValueError(f"byte {self.at}: the file ends inside of {size:,} bytes; cut off?")
        values = np.frombuffer(self.content, dtype, count, self.at)
        self.at += size
        return values

    def number(self) -> int:
        return int(self.take("<u8")[0])

    def expect(self, number: int, what: str) -> None:
        begin, value = self.at, self.number()
        if value != number:
            raise ValueError(f"byte {begin}: expected {what}, found {value:#x}")

    def text(self) -> str:
        return self.take("u1", self.number()).tobytes().decode("utf-8", errors="replace")

    def array(self) -> np.ndarray:
        self.expect(_DGL_ARRAY, "an array")
        self.take("<u8")  # reserved
        _, _, num_dims = self.take("<i4", 3).tolist()  # device type and id come first
        code, bits = self.take("u1", 2).tolist()
        lanes = int(self.take("<u2")[0])
        shape = tuple(self.take("<i8", num_dims).tolist())
        unknown = (code, bits, lanes) not in _DGL_TYPES
        if unknown or any(length < 0 for length in shape):
            raise ValueError(
                f"byte {self.at}: an array of unknown type ({code}, {bits}, {lanes}) "
                f"or shape {shape}"
            )
        size, count = self.number(), math.prod(shape)
        if size != count * (bits // 8):
            raise ValueError(f"byte {self.at}: an array of shape {shape} has {size:,} bytes")
        return self.take(_DGL_TYPES[code, bits, lanes], count).reshape(shape)

    def pairs(self, as_csr: bool) -> tuple[np.ndarray, np.ndarray]:
        """Read a sparse matrix as rows and columns, by edge."""
        self.expect(_DGL_CSR if as_csr else _DGL_COO, "a sparse matrix")
        self.take("<i8", 2)  # columns and rows
        first, second, edge_id = self.array(), self.array(), self.array()
        self.take("u1", 1 if as_csr else 2)  # whether it is sorted
        if any(part.dtype.kind != "i" or part.ndim != 1 for part in (first, second, edge_id)):
            raise ValueError(f"byte {self.at}: the edges are no lists of integers")
        if as_csr:
            with store.errors_about(f"byte {self.at}"):
                check_indptr(torch.from_numpy(first.astype(np.int64)), len(second), "indptr")
            first = np.repeat(np.arange(len(first) - 1), np.diff(first))
            if len(edge_id) and len(edge_id) == len(second):
                order = np.argsort(edge_id, kind="stable")
                first, second = first[order], second[order]
        return first, second

    def meta(self) -> tuple[np.ndarray, np.ndarray]:
        """Read source and destination type of every relation."""
        self.expect(_DGL_META, "a graph of node types")
        return self.pairs(as_csr=True)

    def relation(self) -> tuple[np.ndarray, np.ndarray]:
        """Read source and destination of every edge; of several layouts, the last one."""
        self.expect(_DGL_RELATION, "a relation")
        layouts, _ = self.take("<i8", 2).tolist()
        codes = layouts & 0xFF
        if not layouts >> 32:  # older files number the layouts
            codes = {1: _AS_COO, 2: _AS_CSR, 3: _AS_CSC}.get(codes, 0)
        src = dst = None
        for code in (_AS_COO, _AS_CSR, _AS_CSC):
            if codes & code:
                self.meta()
                src, dst = self.pairs(as_csr=code != _AS_COO)
                src, dst = (dst, src) if code == _AS_CSC else (src, dst)
        if src is None:
            raise ValueError(f"byte {self.at}: a relation in no known layout ({layouts:#x})")
        return src, dst

    def tensors(self) -> list[dict[str, np.ndarray]]:
        return [
            {self.text(): self.array() for _ in range(self.number())} for _ in range(self.number())
        ]


def read_dgl(path: Path) -> tuple[dict, dict]:
    """Read the first graph that `dgl.save_graphs` has written; DGL need not be installed.

    Returns:
        edges: `(src, dst)`, two (num_edges,) integer arrays, by (source type, relation,
            destination type).
        nodes: number and arrays of each node type, `(num_nodes, {name: array})`.

    Raises:
        ValueError: it is no such file, or damaged; the message names the byte.
    """
    with store.errors_about(path):
        file = _Dgl(path.read_bytes())
        file.expect(_DGL_FILE, "a file of DGL")
        version, kind, num_graphs = file.take("<u8", 3).tolist()
        if (version, kind) != (2, 2) or num_graphs < 1:
            raise ValueError(f"version {version}, kind {kind}: only graphs of DGL 0.5 or newer")
        file.at = _DGL_HEADER
        file.at = file.number()
        return _dgl_graph(file)


def _dgl_graph(file: _Dgl) -> tuple[dict, dict]:
    file.expect(_DGL_GRAPH, "a graph")
    src_types, dst_types = file.meta()
    relations = [file.relation() for _ in range(file.number())]
    num_nodes = file.take("<i8", file.number()).tolist()
    node_arrays, _ = file.tensors(), file.tensors()
    node_names = [file.text() for _ in range(file.number())]
    edge_names = [file.text() for _ in range(file.number())]
    type_ids = set(range(len(node_names)))
    if not type_ids.issuperset([*src_types.tolist(), *dst_types.tolist()]):
        raise ValueError(f"a relation is between none of the node types {', '.join(node_names)}")
    ends = zip(src_types.tolist(), dst_types.tolist(), strict=True)
    edges = {
        (node_names[src], name, node_names[dst]): pairs
        for (src, dst), name, pairs in zip(ends, edge_names, relations, strict=True)
    }
    nodes = zip(node_names, num_nodes, node_arrays, strict=True)
    return edges, {name: (num, arrays) for name, num, arrays in nodes}
