"""What a layer does last: the mean of what the streams brought, plus the node itself, and ELU.

Clevert et al., Fast and Accurate Deep Network Learning by Exponential Linear Units, ICLR 2016.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gadkit.ops import _cpu, buffers
from gadkit.ops.threads import evenly, is_transformed, same_bits

NUMBERS = 1 << 14  # of a task


def mean_elu(summands: Sequence[Tensor], addend: Tensor | None = None) -> Tensor:
    """Return elu(mean of the summands + addend).

    On a CPU, float32 and float64 pass through memory once, on all threads, and equal numbers get
    equal results, wherever they lie.

    Args:
        summands: one or more tensors of one shape, dtype and device.
        addend: another, or None for 0.
    """
    x = summands[0]
    if x.is_cuda or x.dtype not in (torch.float32, torch.float64) or is_transformed():
        return _plain(summands, addend)
    return _MeanElu.apply(addend, *summands)


def _plain(summands: Sequence[Tensor], addend: Tensor | None) -> Tensor:
    total = sum(summands[1:], summands[0]) / len(summands)
    return evenly(torch.nn.functional.elu, total if addend is None else total + addend)


class _MeanElu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, addend: Tensor | None, *summands: Tensor) -> Tensor:
        out = buffers.empty_like(summands[0])
        flat = tuple(_cpu.flat(summand.contiguous()) for summand in summands)
        addend = out[:0] if addend is None else addend.contiguous()
        _run(_cpu.elu_kernels()[0], out, addend, flat)
        ctx.count = len(summands)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @same_bits()
    def backward(ctx, g: Tensor) -> tuple[Tensor | None, ...]:
        (out,), count, wants_sum = ctx.saved_tensors, ctx.count, ctx.needs_input_grad[0]
        if torch.is_grad_enabled():  # derivatives of this may be asked for
            d_sum = g * torch.where(out > 0, torch.ones_like(out), out + 1)
            return d_sum if wants_sum else None, *([d_sum / count] * count)
        d_mean = buffers.empty_like(out)
        d_sum = buffers.empty_like(out) if wants_sum and count > 1 else out[:0]
        _run(_cpu.elu_kernels()[1], d_mean, d_sum, g.contiguous(), out, count)
        if count == 1:
            d_sum = d_mean
        return d_sum if wants_sum else None, *([d_mean] * count)


def _run(kernel, out: Tensor, *args) -> None:
    _cpu.run(kernel, -(-out.numel() // NUMBERS), NUMBERS, out, *args)
