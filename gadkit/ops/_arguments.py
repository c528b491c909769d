"""What the operations take: number types, the tensors of a graph, and what is asked of inputs."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gadkit.graph import CSR

# By dtype, the C++ name of the type in kernels/gadkit.cuh.
TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "half_t",
    torch.bfloat16: "bfloat16_t",
}
HALVES = (torch.float16, torch.bfloat16)  # stored only: computed in float32, and rounded


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return what a dtype is computed in: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def wants_plain_torch() -> bool:
    """Whether a derivative is taken that kernels cannot give, so that the definition is computed.

    These are derivatives carried forward (`torch.func.jvp`, `jacfwd`, `forward_ad.dual_level`), of
    which kernels know nothing and would answer zero; and those of `torch.func.grad`, `vjp` and
    `jacrev`, which torch (2.13) refuses for operations that are not its own.
    """
    return torch.autograd.forward_ad._current_level >= 0 or _is_inside_func_grad()


def _is_inside_func_grad() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(level.key() == torch._C._functorch.TransformType.Grad for level in stack)


# torch.compile cannot look at the stack; its guards do. This is all that
# `torch.compiler.assume_constant_result` does after it has imported the compiler, for 1.4 seconds.
_is_inside_func_grad._dynamo_marked_constant = True


def is_batched_gradient(g: Tensor) -> bool:
    """Whether a gradient is many at once, of `torch.autograd.grad(is_grads_batched=True)`.

    `torch.autograd.functional.jacobian(vectorize=True)` asks so too. An operation that is not
    torch's own cannot take such a tensor if others of its arguments are lists.
    """
    return torch._C._functorch.is_legacy_batchedtensor(g)


class Packed(NamedTuple):
    """A CSR and its plan, see `graph.RowPlan`; torch's operators know no `CSR`, but tensors."""

    indptr: Tensor
    indices: Tensor
    task_ptr: Tensor
    long_row: Tensor
    chunk_ptr: Tensor
    chunk_row: Tensor
    chunk_begin: Tensor
    chunk_end: Tensor


def pack(csr: CSR | None) -> list[Tensor]:
    """Return the tensors of a CSR and its plan in the order of `Packed`; none for None."""
    return [] if csr is None else [csr.indptr, csr.indices, *csr.plan]


def check_tensor(
    x: Tensor,
    name: str,
    shape: tuple[int | None, ...],
    device: torch.device,
    like: Tensor | None = None,
) -> None:
    """Check dtype, device, shape and layout of a floating-point input.

    Args:
        x: the input.
        name: what the caller calls it.
        shape: expected sizes; None for any.
        device: where the graph, or the first input, is.
        like: the features that x goes with: x has their dtype, or the one they are computed in.

    Raises:
        TypeError: the dtype is not supported, or does not go with `like`; or x is sparse or nested.
        ValueError: the device, the shape or the memory layout is wrong.
    """
    check_dense(x, name)
    if x.dtype not in TYPES:
        remedy = "" if x.dtype.is_complex else "; convert it with .float()"
        raise TypeError(
            f"{name} must be float32, float64, float16 or bfloat16, not {x.dtype}{remedy}"
        )
    if like is not None and x.dtype not in (like.dtype, wide(like.dtype)):
        raise TypeError(
            f"{name} is {x.dtype}, but the features are {like.dtype}; give both the same dtype"
        )
    if x.device != device:
        raise ValueError(
            f"{name} is on {x.device}, but the other tensors are on {device}; "
            f"move all to one device, for example with .to({str(device)!r})"
        )
    if x.device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"{name} is on {x.device}; gadkit's operations run on CPU and CUDA tensors"
        )
    if x.dim() != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, x.shape, strict=True)
    ):
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({want}), got {tuple(x.shape)}")
    if not x.is_contiguous():
        raise ValueError(
            f"{name} is not contiguous (strides {x.stride()}); call .contiguous() on it first "
            "(NumPy: numpy.ascontiguousarray)"
        )


def check_dense(x: Tensor, name: str) -> None:
    """Check that a tensor is neither sparse nor nested; of such ones one cannot even ask the shape.

    Raises:
        TypeError: it is.
    """
    if x.layout != torch.strided or x.is_nested:
        kind = "a nested tensor" if x.is_nested else f"of layout {x.layout}"
        raise TypeError(f"{name} is {kind}; give a dense one, for example {name}.to_dense()")


def check_number(number: float, name: str) -> None:
    """Check that an option is a number, not a tensor whose derivative would be lost.

    Raises:
        TypeError: it is a tensor.
    """
    if isinstance(number, Tensor):
        raise TypeError(
            f"{name} is a tensor, but it is not differentiated; give a number: float({name})"
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
    return csr.transpose() if wants_gradient(*inputs) else None


def wants_gradient(*inputs: Tensor) -> bool:
    """Whether a gradient of an input may be asked for."""
    return torch.is_grad_enabled() and any(requires_grad(x) for x in inputs)


def requires_grad(x: Tensor) -> bool:
    """Whether x, or what `torch.vmap` wraps in it, requires a gradient."""
    if not torch.compiler.is_compiling():
        while torch._C._functorch.is_batchedtensor(x):
            x = torch._C._functorch.get_unwrapped(x)
    return x.requires_grad


def one_by_one(operation: Callable) -> Callable:
    """Return a rule of `torch.vmap` for an operation of torch's: call it once for each entry.

    The graph is the same for all entries. `torch.func.jacrev` needs such a rule of the backward.
    """

    def rule(info, in_dims: tuple, *args):
        count = info.batch_size
        entry = _entry if count else _zeros  # which say what shape the entries would have
        outputs = [
            operation(*(entry(arg, dim, k) for arg, dim in zip(args, in_dims, strict=True)))
            for k in range(max(1, count))
        ]
        if isinstance(outputs[0], Tensor):
            return torch.stack(outputs)[:count], 0
        stacked = tuple(torch.stack(parts)[:count] for parts in zip(*outputs, strict=True))
        return stacked, (0,) * len(stacked)

    return rule


def _entry(arg: object, dim: int | None, k: int) -> object:
    return arg.select(dim, k).contiguous() if isinstance(arg, Tensor) and dim is not None else arg


def _zeros(arg: object, dim: int | None, k: int) -> object:
    if not isinstance(arg, Tensor) or dim is None:
        return arg
    return arg.new_zeros(*arg.shape[:dim], *arg.shape[dim + 1 :])
