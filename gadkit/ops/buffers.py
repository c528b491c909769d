"""Large outputs on the CPU whose memory is used again, step after step of a training.

An operating system hands out memory page by page as it is first written, and zeroes it before: of
an output of 768 MB that takes longer than to compute it, and a step at 1.5 million nodes makes some
twenty. Freed memory goes back to the system, and torch keeps none of it on a CPU. So what trains
runs under `reused`: what one step frees, the next is given.
"""

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

LEAST = 1 << 22  # bytes; below, the allocator of the C library keeps what is freed


class _Pool:
    """Freed memory, in blocks of a few sizes. It never makes more bytes held than were once in use.

    Attributes:
        freed: blocks, the one that was freed first at the head.
        in_use: bytes of the blocks that are tensors now.
        most: bytes that were in use at once.
    """

    def __init__(self):
        # Whoever holds the lock may come to give memory back: the garbage collector runs at any
        # allocation, and may let go of a tensor then.
        self.is_open, self.lock = True, threading.RLock()
        self.freed: list[Tensor] = []
        self.in_use = self.most = 0

    def take(self, size: int) -> Tensor:
        """Return a block of `size` bytes or up to an eighth more."""
        step = max(1, 1 << size.bit_length() - 4)  # outputs of nearly one size share blocks
        size = -(-size // step) * step
        with self.lock:
            self.in_use += size
            self.most = max(self.most, self.in_use)
            for number in reversed(range(len(self.freed))):  # the last one is warm in the cache
                if len(self.freed[number]) == size:
                    return self.freed.pop(number)
            self._drop()
        return torch.empty(size, dtype=torch.uint8)

    def give_back(self, block: Tensor) -> None:
        with self.lock:
            self.in_use -= len(block)
            if self.is_open:
                self.freed.append(block)

    def close(self) -> None:
        with self.lock:
            self.is_open = False
            self.freed.clear()

    def _drop(self) -> None:
        while self.freed and self.in_use + sum(map(len, self.freed)) > self.most:
            del self.freed[0]


_pool: _Pool | None = None


@contextmanager
def reused() -> Iterator[None]:
    """Keep what large outputs leave behind for others of about the same size, and free it at the
    end.

    A context or a decorator; it may be nested.
    """
    global _pool
    if _pool is not None:
        yield
        return
    pool = _pool = _Pool()
    try:
        yield
    finally:
        _pool = None
        pool.close()


def empty(like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor to be written to: contiguous, of this shape, on the device of another.

    Args:
        like: a tensor on the device and, if no dtype is given, of the dtype wanted.
        shape: of the result.
        dtype: of the result.
    """
    dtype, pool = dtype or like.dtype, _pool
    count = torch.Size(shape).numel()
    size = count * dtype.itemsize
    if pool is None or size < LEAST or type(like) is not Tensor or like.device.type != "cpu":
        return like.new_empty(shape, dtype=dtype)
    block = pool.take(size)
    # Torch lets go of an array when the last tensor on it is gone, and then the memory is free.
    array = block.numpy()
    weakref.finalize(array, pool.give_back, block).atexit = False
    return torch.from_numpy(array)[:size].view(dtype).view(shape)


def empty_like(x: Tensor) -> Tensor:
    """Return a tensor to be written to, contiguous, of the shape, dtype and device of another."""
    return empty(x, x.shape)
