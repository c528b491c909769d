"""Arrays of other libraries as torch tensors, without a copy, by the DLPack protocol.

The protocol (https://dmlc.github.io/dlpack/latest/) hands over an address, a shape, strides and a
dtype; NumPy, CuPy and JAX speak it. The tensor keeps the array alive and shares its memory.
"""

from typing import Protocol

import torch
from torch import Tensor


class SupportsDLPack(Protocol):
    """An array that can be handed over, such as one of NumPy, CuPy or JAX."""

    def __dlpack__(self, **options) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


Array = Tensor | SupportsDLPack


def as_tensor(x: Array, name: str) -> Tensor:
    """Return a tensor as it is, and the array of another library as a tensor in the same memory.

    A tensor has no mark for read-only memory. gadkit only reads what it is given; whoever writes
    into such a tensor writes into an array that was meant to stay, or into a page that is mapped
    for reading, which ends the process.

    Args:
        x: the tensor or array, on any device.
        name: what the caller calls it.

    Raises:
        TypeError: x does not speak DLPack, or has a dtype that DLPack or torch does not know.
        ValueError: x runs backwards through memory, which no tensor can.
    """
    if isinstance(x, Tensor):  # first, so that torch.compile sees nothing else
        return x
    kind = f"{type(x).__module__}.{type(x).__qualname__}"
    if not hasattr(x, "__dlpack__"):
        raise TypeError(
            f"{name} is a {kind}; give a torch tensor or an array that speaks DLPack (NumPy, CuPy, "
            "JAX), for example torch.as_tensor(...)"
        )
    # torch.from_dlpack (2.13) does not raise on negative strides: it ends the process.
    if any(stride < 0 for stride in getattr(x, "strides", None) or ()):
        raise ValueError(
            f"{name} has negative strides {x.strides}, which torch has not; "
            "give a copy, for example numpy.ascontiguousarray(...)"
        )
    try:
        return torch.from_dlpack(x)
    except (BufferError, RuntimeError) as error:
        raise TypeError(
            f"{name}, a {kind} of {getattr(x, 'dtype', 'unknown dtype')}, cannot be handed over: "
            f"{str(error).splitlines()[0]}; convert it to a dtype of torch in native byte order"
        ) from error
