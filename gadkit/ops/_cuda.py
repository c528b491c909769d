"""CUDA kernels: compiled from kernels/*.cu by CuPy when first needed, launched on torch's stream.

Arrays of other libraries become torch tensors by DLPack where an operation begins, see
`graph.as_tensor`. From there on, memory is allocated by torch, in the operation that launches, and
a kernel gets the addresses of tensors, not CuPy's DLPack views of them. An address is what a view
hands over too. torch's half of making a view, tensor.__dlpack__(), took 20 microseconds of a busy
CPU (torch 2.13, CPU tensors), making an address half of one, and a gather of attention has thirteen
tensors. CuPy's half cannot run without a GPU, where no kernel has been launched yet:
benchmarks/launches.py measures both ways there, and until it has, this one stays.
"""

import functools
import zlib
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gadkit.graph import CHUNK
from gadkit.ops._arguments import TYPES, Packed

KERNELS = Path(__file__).parents[2] / "kernels"
# CuPy keeps a compiled kernel under its source and options, so the header's checksum is one.
HEADER = zlib.crc32((KERNELS / "gadkit.cuh").read_bytes())
OPTIONS = ("-std=c++17", f"-I{KERNELS}", f"-DGADKIT_HEADER={HEADER}")
WARP = 32  # lanes
WARPS = 4  # of a block; as in gadkit.cuh
MERGERS = 8  # warps of a block that merges chunks; as in gadkit.cuh
MAX_HEADS = WARP  # a lane keeps the sum of one


def scalar(x: Tensor, value: float):
    """Return a number as the kernels of a dtype take it."""
    return (np.float64 if x.dtype == torch.float64 else np.float32)(value)


def instance(kernel: str, *parameters) -> str:
    """Return the C++ name of a kernel template: instance("spmm", torch.float32, 4) and the like."""
    words = [
        TYPES[p] if isinstance(p, torch.dtype) else str(p).lower()  # true, false and numbers
        for p in parameters
    ]
    return f"{kernel}<{', '.join(words)}>"


def instances(file: str) -> list[str]:
    """Return the names of all kernels of a file that an operation may ask for."""
    wides, flags = (torch.float32, torch.float64), (False, True)
    widths = [(dtype, width) for dtype in TYPES for width in (16 // dtype.itemsize, 1)]
    names = {
        "spmm": [
            *(instance("spmm", *w) for w in widths),
            *(instance("sum_chunks", dtype) for dtype in TYPES),
        ],
        "sddmm": [instance("edge_dot", *w) for w in widths],
        "gat": [
            *(instance("gat_forward", *w, *f) for w, *f in product(widths, flags, flags)),
            *(instance("gat_merge", dtype, train) for dtype, train in product(TYPES, flags)),
            *(instance("gat_backward_dst", *w) for w in widths),
            *(instance("gat_backward_src", *w, drop) for w, drop in product(widths, flags)),
            *(instance("attention", dtype) for dtype in wides),
        ],
        "probe": ["copy", "gather"],
    }
    return names[file]


class Layout(NamedTuple):
    """How a warp covers a row of features.

    Attributes:
        width: numbers a lane reads at once: 16 bytes, or 1 if a row is not made of whole ones.
        lanes: lanes per row; the rest of the warp works on other rows.
    """

    width: int
    lanes: int


def layout(dim: int, columns: int, *tensors: Tensor) -> Layout:
    """Choose the layout for rows of `columns` numbers, of which a head has `dim`."""
    width = 16 // tensors[0].element_size()
    if dim % width or any(x.data_ptr() % 16 for x in tensors):
        width = 1
    lanes = 1
    while lanes < WARP and lanes * width < columns:
        lanes *= 2
    return Layout(width, lanes)


def row_arguments(rows: Packed) -> tuple[tuple, tuple]:
    """Return what kernels that work on pieces of rows take first, and their numbers of pieces."""
    graph = rows.indptr, rows.indices, rows.chunk_row, rows.chunk_begin, rows.chunk_end
    return graph, tuple(map(np.int32, (len(rows.indptr) - 1, len(rows.chunk_row), CHUNK)))


def launch_warps(file: str, name: str, num_warps: int, *args) -> None:
    """Launch a kernel whose warps work for themselves."""
    launch(file, name, -(-num_warps // WARPS), WARPS * WARP, *args)


def launch_mergers(file: str, name: str, rows: Packed, columns: int, *args) -> None:
    """Launch a kernel that merges the chunks of long rows."""
    blocks = len(rows.chunk_row), -(-columns // WARP)
    launch(file, name, blocks, MERGERS * WARP, rows.indptr, rows.chunk_row, *args)


def launch(file: str | Path, name: str, blocks: int | tuple, threads: int, *args) -> None:
    """Launch a kernel on the current stream of the device of its tensors.

    Args:
        file: of kernels/, without suffix; or the path of another file.
        name: C++ name of the kernel, see `instance`.
        blocks: of the grid, one number or two; with none of them nothing happens.
        threads: of a block.
        args: tensors, handed over as their address; None, for a null pointer; NumPy scalars, which
            must have the size that the kernel expects.

    Raises:
        ImportError: CuPy is not installed.
    """
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    if 0 in grid:
        return
    device = next(arg.device for arg in args if isinstance(arg, Tensor))
    kernel = _kernel(str(file), name)
    with torch.cuda.device(device):  # which is the runtime's, and so CuPy's as well
        # Asked for at every launch: a stream kept from another call would be missed by a capture.
        stream = _Stream(torch.cuda.current_stream(device).cuda_stream)
        kernel(grid, (threads,), tuple(map(_argument, args)), stream=stream)


class _Stream(NamedTuple):
    """What CuPy wants of a stream."""

    ptr: int


def _argument(arg):
    if isinstance(arg, Tensor):
        return np.uint64(arg.data_ptr())
    return np.uint64(0) if arg is None else arg


@functools.cache
def _kernel(file: str, name: str):
    """Return a kernel, which CuPy compiles at its first launch on a device and caches on disk."""
    path = Path(file) if file.endswith(".cu") else KERNELS / f"{file}.cu"
    names = (name,) if "<" in name else None
    module = cupy().RawModule(code=path.read_text(), options=OPTIONS, name_expressions=names)
    return module.get_function(name)


@functools.cache
def cupy():
    """Import CuPy.

    Raises:
        ImportError: it is not installed; the message says which package to install.
    """
    try:
        import cupy
    except ImportError as error:
        major = (torch.version.cuda or "13").split(".")[0]
        raise ImportError(
            "gadkit's operations on CUDA tensors need CuPy, which is not installed: "
            f"pip install 'cupy-cuda{major}x>=14.2', or move the tensors with .cpu()"
        ) from error
    return cupy
