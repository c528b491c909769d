"""Who works on how many threads, such that no number of them shows in a result.

Torch shares out sums, and the inner sums of a matrix product, among its threads, and rounds the
last numbers of a thread's part of an ELU or a sigmoid in another way than the rest. So what trains
or scores runs under `same_bits`: torch's operations on one thread each, gadkit's kernels, whose
work is cut by the graph alone, on as many as torch was told, and large matrix products in blocks of
rows, on those threads too.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor

from gadkit.ops._arguments import wants_plain_torch

VECTOR = 64  # a multiple of how many numbers vector loops, and rows a product, take at a time

_told: ContextVar[int | None] = ContextVar("threads that torch was told to use", default=None)


def num_threads() -> int:
    """Return how many threads gadkit's kernels use: as many as torch was told."""
    return _told.get() or torch.get_num_threads()


@contextmanager
def same_bits() -> Iterator[None]:
    """Keep torch's operations to one thread each, as a context or a decorator; it may be nested.

    A Python thread that first uses torch meanwhile keeps to one thread afterwards too.
    """
    if _told.get() is not None:
        yield
        return
    threads = torch.get_num_threads()
    token = _told.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _told.reset(token)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def share_out(function: Callable, tasks: list[tuple]) -> None:
    """Call `function(*task)` for all tasks, on `num_threads` threads.

    Each must write where no other does; they are handed out as threads become free.
    """
    threads = num_threads()
    if threads == 1 or len(tasks) < 2:
        for task in tasks:
            function(*task)
        return
    pool = _pool(os.getpid(), threads)  # threads do not survive a fork, so a child starts its own
    for future in [pool.submit(function, *task) for task in tasks]:
        future.result()


def evenly(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise function so that equal numbers get equal results, wherever they lie.

    Torch computes the last numbers of a tensor one by one, and there it rounds an ELU or a sigmoid
    in another way than in whole vectors; here they are filled up to one.
    """
    missing = -x.numel() % VECTOR
    if not missing:
        return function(x)
    return function(torch.nn.functional.pad(x.reshape(-1), (0, missing)))[: x.numel()].view(x.shape)


def is_shared_out(x: Tensor) -> bool:
    """Whether what is done with a tensor is cut into parts here, and not left to torch."""
    return _told.get() is not None and not x.is_cuda and not is_transformed()


def is_transformed() -> bool:
    """Whether torch.compile or torch.func look at what is computed."""
    if wants_plain_torch() or torch.compiler.is_compiling():
        return True
    return bool(torch._C._functorch.get_interpreter_stack())


def keep_to_one_thread() -> None:
    if torch.get_num_threads() > 1:  # the number is each thread's own, once it has used torch
        torch.set_num_threads(1)
