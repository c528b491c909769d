"""Who works on how many threads, such that no number of them shows in a result.

Torch shares out sums, and the inner sums of a matrix product, among its threads, and rounds the
last numbers of a thread's part of an ELU or a sigmoid in another way than the rest. So what trains
or scores runs under `same_bits`: torch's operations on one thread each, gadkit's kernels, whose
work is cut by the graph alone, on as many as torch was told, and large matrix products in blocks of
rows, on those threads too.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor

from gadkit.ops._arguments import wants_plain_torch

ROWS = 4096  # of a block of a matrix product; part of the arithmetic, as blocks are added up

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


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight, (num_rows, columns), of two matrices.

    Under `same_bits`, blocks of rows are computed apart, and equal rows get equal results, wherever
    they lie; the gradient of `weight` is the sum over blocks of what each contributes, in order.
    """
    return products(x, [weight])[0]


def products(x: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return x @ weight for several weights, as `product` does, (num_rows, columns) each.

    Under `same_bits`, a block of rows meets all weights while it is in the cache, and its gradient
    is added up there.
    """
    if _told.get() is None or x.is_cuda or is_transformed():
        return [x @ weight for weight in weights]
    return _Products.apply(x, *weights)


def is_transformed() -> bool:
    """Whether torch.compile or torch.func look at what is computed."""
    if wants_plain_torch() or torch.compiler.is_compiling():
        return True
    return bool(torch._C._functorch.get_interpreter_stack())


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *weights)
        outs = [x.new_empty(len(x), weight.shape[1]) for weight in weights]
        share_out(_fill_rows, [(block, blocks, weights) for block, *blocks in _blocks(x, *outs)])
        return tuple(outs)

    @staticmethod
    @same_bits()
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        wants_x, *wants = ctx.needs_input_grad
        if torch.is_grad_enabled():  # derivatives of this may be asked for
            d_x = sum(g @ weight.t() for g, weight in zip(grads, weights, strict=True))
            return d_x if wants_x else None, *(x.t() @ g for g in grads)
        d_x = torch.empty_like(x) if wants_x else None
        if wants_x:
            back = [weight.t() for weight in weights]
            tasks = [(block, blocks, back) for block, *blocks in _blocks(d_x, *grads)]
            share_out(_fill_sum, tasks)
        d_weights = [
            _sum_of_products(x, g) if wanted else None
            for g, wanted in zip(grads, wants, strict=True)
        ]
        return d_x, *d_weights


def _sum_of_products(x: Tensor, g: Tensor) -> Tensor:
    """Compute x.t() @ g, (columns of x, columns of g), as a sum over blocks of rows."""
    parts = x.new_empty(max(1, -(-len(x) // ROWS)), x.shape[1], g.shape[1])
    tasks = [(*block, part) for block, part in zip(_blocks(x, g), parts, strict=True)]
    share_out(_fill_part, tasks)
    return parts.sum(0)


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(ROWS) for tensor in tensors), strict=True)


@torch.no_grad()
def _fill_rows(x: Tensor, outs: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Write x @ weight into each of `outs`."""
    _keep_to_one_thread()
    missing = -len(x) % VECTOR
    if missing:  # where a weight has one column, the last few rows would be rounded in another way
        x = torch.nn.functional.pad(x, (0, 0, 0, missing))
    for out, weight in zip(outs, weights, strict=True):
        if missing:
            out.copy_(torch.mm(x, weight)[: len(out)])
        else:
            torch.mm(x, weight, out=out)


@torch.no_grad()
def _fill_sum(out: Tensor, factors: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Write the sum of factor @ weight into `out`."""
    _keep_to_one_thread()
    missing = -len(out) % VECTOR
    total = torch.nn.functional.pad(out, (0, 0, 0, missing)) if missing else out
    for number, (factor, weight) in enumerate(zip(factors, weights, strict=True)):
        if missing:
            factor = torch.nn.functional.pad(factor, (0, 0, 0, missing))
        if number:
            total.addmm_(factor, weight)
        else:
            torch.mm(factor, weight, out=total)
    if missing:
        out.copy_(total[: len(out)])


@torch.no_grad()
def _fill_part(x: Tensor, g: Tensor, out: Tensor) -> None:
    """Write x.t() @ g into `out`."""
    _keep_to_one_thread()
    torch.mm(x.t(), g, out=out)


def _keep_to_one_thread() -> None:
    if torch.get_num_threads() > 1:  # the number is each thread's own, once it has used torch
        torch.set_num_threads(1)
