"""Arrays, tables and lists of other libraries, brought into a form that torch takes."""

from decimal import Decimal
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from gadkit.graph.csr import as_tensor, native


def numbers(values: object, name: str, *, if_missing: str) -> Tensor:
    """Return numbers in whatever a library keeps them as a tensor, in the same memory if it can be.

    Args:
        values: a tensor; or what NumPy reads: an array of any layout, a Series or a DataFrame, a
            list. Rows are taken in their order, whatever an index calls them.
        name: what the caller calls it, for the message.
        if_missing: what to do where a value is missing, for the message.

    Raises:
        TypeError: it is sparse, masked, or holds something else than numbers; the message says of
            which type it is and what to pass.
    """
    if isinstance(values, Tensor):
        if values.layout != torch.strided:
            raise TypeError(f"{name} is a {values.layout} tensor; pass it .to_dense()")
        return values
    if hasattr(values, "__cuda_array_interface__"):
        return torch.as_tensor(values)
    kind = f"{type(values).__module__.split('.')[0]}.{type(values).__qualname__}"
    if np.ma.is_masked(values):
        raise TypeError(f"{name} is a masked array, and a mask cannot be kept; {if_missing}")
    if hasattr(values, "toarray"):
        raise TypeError(f"{name} is sparse, a {kind}; pass it dense, as .toarray() makes it")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}, a {kind}, is no array of numbers: {error}") from error
    if array.dtype.kind == "O":
        array = _unboxed(array, f"{name}, a {kind},", if_missing)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise TypeError(
            f"{name}, a {kind}, is of {array.dtype} and shape {array.shape}; pass rows of numbers, "
            "for example .astype(float)"
        )
    try:
        return as_tensor(native(array), name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _unboxed(array: np.ndarray, name: str, if_missing: str) -> np.ndarray:
    """Return an array of objects that are all numbers as float64."""
    for place, value in np.ndenumerate(array):
        where = f" at row {place[0]}" if place else ""
        if is_missing(value):
            raise TypeError(f"{name} holds {value!r}{where}; {if_missing}")
        if not isinstance(value, Real | Decimal | np.bool_):
            raise TypeError(
                f"{name} holds {value!r}{where}, a {type(value).__name__}; pass numbers alone"
            )
    return array.astype(np.float64)


def is_missing(value: object) -> bool:
    """Whether a value says that there is none: None, NaN, or what pandas has for it."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")
