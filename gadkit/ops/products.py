"""Dense matrix products in blocks of rows: the same bits on any number of threads.

Torch shares out the inner sum of x.t() @ g among its threads. Here blocks of rows are computed
apart and added up in order, and what is done with a block is done while it is in the cache.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gadkit.ops import buffers
from gadkit.ops.threads import VECTOR, is_shared_out, keep_to_one_thread, same_bits, share_out

ROWS = 4096  # of a block; part of the arithmetic, as blocks are added up

NARROW = 16  # columns, below which libraries want a factor the other way round, or take five times


def product(x: Tensor, weight: Tensor, *, rows: Tensor | None = None) -> Tensor:
    """Return x @ weight, (num_rows, columns), of two matrices; see `products`."""
    return products(x, [weight], rows=[rows])[0]


def products(
    x: Tensor, weights: Sequence[Tensor], *, rows: Sequence[Tensor | None] | None = None
) -> Sequence[Tensor]:
    """Return x @ weight for several weights, (num_rows, columns) each.

    Under `same_bits`, a block of rows meets all weights while it is in the cache, and its gradient
    is added up there. Equal rows get equal results, wherever they lie; the gradient of a weight is
    the sum over blocks of what each contributes, in order.

    Args:
        x: (num_rows, dim).
        weights: (dim, columns) each.
        rows: (n,) int64 for each weight, ascending, each once: the rows of x that it meets, which
            are fetched block by block; or None for all.
    """
    rows = [None] * len(weights) if rows is None else list(rows)
    if not is_shared_out(x):
        parts = [x if ids is None else x.index_select(0, ids) for ids in rows]
        return [part @ weight for part, weight in zip(parts, weights, strict=True)]
    return _Products.apply(rows, x, *weights)


def stacked_products(xs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Return x @ weight of every pair, one under the other, (rows of all x, columns).

    Under `same_bits` as `products`, each written where it belongs.

    Args:
        xs: one or more (num_rows, dim), each with its own numbers of both.
        weights: as many (dim, columns).
    """
    if not is_shared_out(xs[0]):
        return torch.cat([x @ weight for x, weight in zip(xs, weights, strict=True)])
    return _StackedProducts.apply(len(xs), *xs, *weights)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: list, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.rows = rows
        ctx.save_for_backward(x, *weights)
        counts = [len(x) if ids is None else len(ids) for ids in rows]
        outs = [
            buffers.empty(x, (count, weight.shape[1]))
            for count, weight in zip(counts, weights, strict=True)
        ]
        weights = [_narrow_last(weight) for weight in weights]
        whole = [k for k, ids in enumerate(rows) if ids is None]
        factors = [weights[k] for k in whole]
        tasks = [
            (block, blocks, factors) for block, *blocks in _blocks(x, *(outs[k] for k in whole))
        ]
        share_out(_fill_rows, tasks if whole else [])
        for ids, out, weight in zip(rows, outs, weights, strict=True):
            if ids is not None:
                share_out(_fetch_and_fill, [(x, *block, weight) for block in _blocks(ids, out)])
        return tuple(outs)

    @staticmethod
    @same_bits()
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, *weights), rows = ctx.saved_tensors, ctx.rows
        _, wants_x, *wants = ctx.needs_input_grad
        if torch.is_grad_enabled():  # derivatives of this may be asked for
            return None, *_plain_gradients(x, weights, rows, grads, wants_x)
        d_x = _gradient_of_rows(x, weights, rows, grads) if wants_x else None
        d_weights = [
            _sum_of_products(x, g, ids) if wanted else None
            for g, ids, wanted in zip(grads, rows, wants, strict=True)
        ]
        return None, d_x, *d_weights


def _gradient_of_rows(x: Tensor, weights: list, rows: list, grads: tuple) -> Tensor:
    """Return the gradient of x, (num_rows, dim), with respect to all products."""
    whole = [k for k, ids in enumerate(rows) if ids is None]
    back = [weight.t() for weight in weights]
    if whole:
        d_x, factors = buffers.empty_like(x), [back[k] for k in whole]
        blocks = _blocks(d_x, *(grads[k] for k in whole))
        share_out(_fill_sum, [(block, others, factors) for block, *others in blocks])
    else:
        d_x = torch.zeros_like(x)
    for ids, g, weight in zip(rows, grads, back, strict=True):
        if ids is not None:  # blocks of ids that are there once write to different rows
            share_out(_add_to_rows, [(d_x, *block, weight) for block in _blocks(ids, g)])
    return d_x


def _plain_gradients(
    x: Tensor, weights: list, rows: list, grads: tuple, wants_x: bool
) -> tuple[Tensor | None, ...]:
    """Define the gradients in plain torch, which has derivatives of them."""
    d_x, d_weights = x.new_zeros(x.shape) if wants_x else None, []
    for weight, ids, g in zip(weights, rows, grads, strict=True):
        part = x if ids is None else x.index_select(0, ids)
        d_weights.append(part.t() @ g)
        if wants_x:
            back = g @ weight.t()
            d_x = d_x + back if ids is None else d_x.index_add(0, ids, back)
    return d_x, *d_weights


class _StackedProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, count: int, *xs_and_weights: Tensor) -> Tensor:
        ctx.save_for_backward(*xs_and_weights)
        xs, weights = xs_and_weights[:count], xs_and_weights[count:]
        sizes = [len(x) for x in xs]
        out = buffers.empty(xs[0], (sum(sizes), weights[0].shape[1]))
        tasks = [
            (block, [rows], [_narrow_last(weight)])
            for x, weight, part in zip(xs, weights, out.split(sizes), strict=True)
            for block, rows in _blocks(x, part)
        ]
        share_out(_fill_rows, tasks)
        return out

    @staticmethod
    @same_bits()
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        xs, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        wanted, parts = ctx.needs_input_grad[1:], g.split([len(x) for x in xs])
        d_xs = [
            product(part, weight.t()) if wants else None
            for part, weight, wants in zip(parts, weights, wanted[:count], strict=True)
        ]
        # The kernel has no derivatives itself; where they may be asked for, plain torch does it.
        of_weight = (lambda x, g: x.t() @ g) if torch.is_grad_enabled() else _sum_of_products
        d_weights = [
            of_weight(x, part) if wants else None
            for x, part, wants in zip(xs, parts, wanted[count:], strict=True)
        ]
        return None, *d_xs, *d_weights


def _sum_of_products(x: Tensor, g: Tensor, rows: Tensor | None = None) -> Tensor:
    """Compute x.t() @ g, (columns of x, columns of g), as a sum over blocks of rows.

    With `rows`, of these rows of x alone.
    """
    parts = x.new_empty(max(1, -(-len(g) // ROWS)), x.shape[1], g.shape[1])
    blocks = zip(_blocks(x if rows is None else rows, g), parts, strict=True)
    if rows is None:
        share_out(_fill_part, [(*block, part) for block, part in blocks])
    else:
        share_out(_fetch_and_fill_part, [(x, *block, part) for block, part in blocks])
    return parts.sum(0)


def _narrow_last(weight: Tensor) -> Tensor:
    """Return a weight as products with it are fast: of few columns, each in one piece."""
    return weight.t().contiguous().t() if weight.shape[1] < NARROW else weight


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(ROWS) for tensor in tensors), strict=True)


@torch.no_grad()
def _fill_rows(x: Tensor, outs: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Write x @ weight into each of `outs`."""
    keep_to_one_thread()
    missing = -len(x) % VECTOR
    if missing:  # where a weight has one column, the last few rows would be rounded in another way
        x = torch.nn.functional.pad(x, (0, 0, 0, missing))
    for out, weight in zip(outs, weights, strict=True):
        if missing:
            out.copy_(torch.mm(x, weight)[: len(out)])
        else:
            torch.mm(x, weight, out=out)


@torch.no_grad()
def _fetch_and_fill(x: Tensor, rows: Tensor, out: Tensor, weight: Tensor) -> None:
    """Write x[rows] @ weight into `out`."""
    keep_to_one_thread()
    _fill_rows(x.index_select(0, rows), [out], [weight])


@torch.no_grad()
def _fetch_and_fill_part(x: Tensor, rows: Tensor, g: Tensor, out: Tensor) -> None:
    """Write x[rows].t() @ g into `out`."""
    keep_to_one_thread()
    _fill_part(x.index_select(0, rows), g, out)


@torch.no_grad()
def _add_to_rows(total: Tensor, rows: Tensor, factor: Tensor, weight: Tensor) -> None:
    """Add factor @ weight to some rows of `total`."""
    keep_to_one_thread()
    total.index_add_(0, rows, torch.mm(factor, weight))


@torch.no_grad()
def _fill_sum(out: Tensor, factors: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Write the sum of factor @ weight into `out`."""
    keep_to_one_thread()
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
    keep_to_one_thread()
    if g.shape[1] < NARROW:
        out.copy_(torch.mm(g.t(), x).t())
    else:
        torch.mm(x.t(), g, out=out)
