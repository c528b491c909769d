"""The number types that the operations take, and what each is computed in."""

import torch

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
