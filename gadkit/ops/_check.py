"""What every operation asks of its tensors; a graph was checked when it was built."""

import torch
from torch import Tensor

from gadkit.graph import CSR


def check_tensor(
    x: Tensor, name: str, shape: tuple[int | None, ...], like: Tensor | None = None
) -> None:
    """Check dtype, device, shape and layout of a floating-point input.

    Args:
        x: the input.
        name: what the caller calls it.
        shape: expected sizes; None for any.
        like: a tensor whose dtype and device must be the same.

    Raises:
        TypeError: the dtype is not float32 or float64, or not that of `like`.
        ValueError: the device, the shape or the memory layout is wrong.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, not {x.dtype}")
    if like is not None and x.dtype != like.dtype:
        raise TypeError(
            f"{name} is {x.dtype}, but the features are {like.dtype}; give both the same dtype"
        )
    if x.device.type != "cpu":
        raise ValueError(
            f"{name} is on {x.device}; gadkit's operations run on CPU tensors, move it with .cpu()"
        )
    if x.dim() != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, x.shape, strict=True)
    ):
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({want}), got {tuple(x.shape)}")
    if not x.is_contiguous():
        raise ValueError(
            f"{name} is not contiguous (strides {x.stride()}); call .contiguous() on it first"
        )


def check_columns(x: Tensor, name: str) -> None:
    """Check that rows are not empty.

    Raises:
        ValueError: they are.
    """
    if x.shape[-1] == 0:
        raise ValueError(f"{name} has no columns: shape {tuple(x.shape)}")


def transpose_if_needed(csr: CSR, *inputs: Tensor) -> CSR | None:
    """Return the transpose where a gradient will be wanted, and spare its cost where not."""
    return (
        csr.transpose()
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        else None
    )
