"""How much memory a call takes beside what is held already, and how much it may take.

On a GPU it is the highest that torch's allocator has reached. On a CPU it is the highest resident
memory of this process, which Linux forgets on demand: so what NumPy, Numba and MKL allocate counts
as torch's tensors do, whereas torch's profiler would see the tensors alone. What is free in the
heap is given back first, else a call could take it without growing. Linux counts pages of 4 KiB,
and not all of them at once: the peak of a call of 48 MiB was seen 0.2 MB short.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gadkit.graph import CSR
from gadkit.store import memory

FORGET = Path("/proc/self/clear_refs")  # what 5, written into it, does to the peak


def sync(cuda: bool) -> None:
    """Wait until a GPU has done its work."""
    if cuda:
        torch.cuda.synchronize()


def free(cuda: bool) -> None:
    """Give back memory that nobody holds, so that the next finds it in one piece."""
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        if "cupy" in sys.modules:
            sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    else:
        trim_heap()


def trim_heap() -> None:
    """Give back what is free in the heap, where the C library can do it: glibc's can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def extra(function: Callable[[], object], cuda: bool) -> tuple[int | None, object]:
    """Call a function; return how many bytes it took at most, and what it made.

    The bytes are those beside what was held before, the result's own among them; None where
    nothing tells, as on a Mac.
    """
    if cuda:
        sync(cuda)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        made = function()
        sync(cuda)
        return (torch.cuda.max_memory_allocated() - before) or None, made
    trim_heap()
    if not os.access(FORGET, os.W_OK):
        return None, function()
    FORGET.write_text("5")  # man 5 proc: the peak is set to what is resident now
    before = memory.peak_of(os.getpid())
    made = function()
    return memory.peak_of(os.getpid()) - before, made


def left(cuda: bool) -> tuple[int, str] | None:
    """Return how many bytes may still be taken, and of what; None where nothing says it."""
    if cuda:
        return torch.cuda.mem_get_info()[0], "of the GPU"
    return memory.available()


def num_bytes(graph: CSR) -> int:
    """Return the bytes of all tensors that a graph keeps, those of its transpose included."""
    tensors, seen, todo = {}, set(), [graph]
    while todo:
        item = todo.pop()
        if isinstance(item, Tensor):
            tensors[item.data_ptr()] = item.nbytes
        elif isinstance(item, CSR) and id(item) not in seen:
            seen.add(id(item))
            todo += vars(item).values()
        elif isinstance(item, list | tuple):
            todo += item
    return sum(tensors.values())


def bound(csr: CSR, row_bytes: int) -> int:
    """Return what a training step may take: the graph both ways and 6 rows of features a node."""
    pointers = (csr.num_dst + 1 + csr.num_src + 1) * csr.indptr.element_size()
    indices = 2 * csr.num_edges * csr.indices.element_size()
    return pointers + indices + 3 * (csr.num_dst + csr.num_src) * row_bytes
