"""One number per pair of nodes: the decoder of a graph autoencoder.

p(edge i - j) = sigmoid(<z_i, z_j>) (Kipf and Welling, Variational Graph Auto-Encoders, 2016,
section 1).
"""

import torch
from torch import Tensor

from gadkit.ops import _cpu
from gadkit.ops._check import check_columns, check_tensor

PAIRS = 4096  # a task of the forward
COLUMNS = (
    32  # a task of the backward: two cache lines of float32, which the hardware fetches together
)


def edge_dot(z_src: Tensor, z_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """Compute <z_src[src], z_dst[dst]> for every pair.

    The gradient adds the pairs of a node in their order, so it is the same in every run.

    Args:
        z_src: (num_src, dim) float32 or float64, contiguous.
        z_dst: (num_dst, dim) of the same dtype; may be z_src itself.
        src: (num_pairs,) int64 in [0, num_src).
        dst: (num_pairs,) int64 in [0, num_dst).

    Returns:
        (num_pairs,).

    Raises:
        TypeError: a dtype is not supported.
        ValueError: a shape, a device or the memory layout is wrong, or an id is out of range.
    """
    check_tensor(z_src, "z_src", (None, None))
    check_tensor(z_dst, "z_dst", (None, z_src.shape[1]), like=z_src)
    check_columns(z_src, "z_src")
    if src.shape != dst.shape or src.dim() != 1:
        raise ValueError(
            "src and dst must be 1-D of equal length, "
            f"got {tuple(src.shape)} and {tuple(dst.shape)}"
        )
    for name, ids in (("src", src), ("dst", dst)):
        if ids.device != z_src.device:
            raise ValueError(
                f"{name} is on {ids.device}, but the features are on {z_src.device}; "
                f"move it with .to({str(z_src.device)!r})"
            )
    return _edge_dot(z_src, z_dst, src, dst)


def edge_dot_reference(z_src: Tensor, z_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """Define `edge_dot` in plain torch."""
    return (z_src[src] * z_dst[dst]).sum(1)


def _check_ids(ids: Tensor, name: str, count: int) -> None:
    if ids.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, not {ids.dtype}; convert it with .long()")
    outside = (ids < 0) | (ids >= count)
    if outside.any():
        pair = int(outside.nonzero()[0])
        raise ValueError(f"{name}[{pair}] is {int(ids[pair])}, outside [0, {count})")


@torch.library.custom_op("gadkit::edge_dot", mutates_args=(), device_types="cpu")
def _edge_dot(z_src: Tensor, z_dst: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    _check_ids(src, "src", len(z_src))  # here, where ids are known even under torch.compile
    _check_ids(dst, "dst", len(z_dst))
    out = z_src.new_empty(len(src))
    tasks = -(-len(src) // PAIRS)
    ids = src.contiguous(), dst.contiguous()
    _cpu.run(_cpu.edge_dot_kernel, tasks, z_src.shape[1], PAIRS, z_src, z_dst, *ids, out)
    return out


@_edge_dot.register_fake
def _(z_src, z_dst, src, dst):
    return z_src.new_empty(src.shape[0])


@torch.library.custom_op("gadkit::edge_dot_backward", mutates_args=(), device_types="cpu")
def _edge_dot_backward(g: Tensor, z: Tensor, to: Tensor, of: Tensor, num_rows: int) -> Tensor:
    d_z = z.new_zeros(num_rows, z.shape[1])
    tasks = -(-z.shape[1] // COLUMNS)
    ids = to.contiguous(), of.contiguous()
    _cpu.run(_cpu.edge_dot_backward_kernel, tasks, z.shape[1], COLUMNS, g, z, *ids, d_z)
    return d_z


@_edge_dot_backward.register_fake
def _(g, z, to, of, num_rows):
    return z.new_empty(num_rows, z.shape[1])


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, g):
    z_src, z_dst, src, dst = ctx.saved_tensors
    d_src = d_dst = None
    if ctx.needs_input_grad[0]:
        d_src = _edge_dot_backward(g.contiguous(), z_dst, src, dst, z_src.shape[0])
    if ctx.needs_input_grad[1]:
        d_dst = _edge_dot_backward(g.contiguous(), z_src, dst, src, z_dst.shape[0])
    return d_src, d_dst, None, None


_edge_dot.register_autograd(_backward, setup_context=_save)
