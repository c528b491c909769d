"""Arrays, tables and lists of other libraries, brought into a form that torch takes.

Arrays come in by DLPack (https://dmlc.github.io/dlpack/latest/), which hands over an address, a
shape, strides and a dtype: NumPy, CuPy and JAX speak it, nothing is copied. What cannot be handed
over so, but holds numbers, is copied: arrays that run backwards or are in the byte order of another
machine, and columns of tables.
"""

import operator
from decimal import Decimal
from numbers import Integral, Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

FILL = "fill it, or leave its row out"


class SupportsDLPack(Protocol):
    """An array that can be handed over, such as one of NumPy, CuPy or JAX."""

    def __dlpack__(self, **options) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


Array = Tensor | SupportsDLPack


def as_tensor(x: Array, name: str) -> Tensor:
    """Return a tensor as it is, and the array of another library as a tensor.

    It is in the same memory where that can be. A tensor has no mark for read-only memory. gadkit
    only reads what it is given; whoever writes into such a tensor writes into an array that was
    meant to stay, or into a page that is mapped for reading, which ends the process.

    Args:
        x: the tensor or array, on any device; or a column or table of pandas.
        name: what the caller calls it.

    Raises:
        TypeError: x is no array, does not hold numbers, or hides values behind a mask.
        ValueError: an integer is 2^63 or more.
    """
    if isinstance(x, Tensor):  # first, so that torch.compile sees nothing else
        return x
    is_table = not hasattr(x, "__dlpack__") and hasattr(x, "__array__") and np.ndim(x) > 0
    if is_table or (isinstance(x, np.ndarray) and not _can_be_shared(x)):
        return numbers(x, name, if_missing=FILL)
    kind = f"{type(x).__module__}.{type(x).__qualname__}"
    if not hasattr(x, "__dlpack__"):
        raise TypeError(
            f"{name} is a {kind}; give a torch tensor or an array that speaks DLPack (NumPy, CuPy, "
            "JAX), for example torch.as_tensor(...)"
        )
    if np.ma.is_masked(x):  # the mask would be lost, and what it hides come in
        raise TypeError(
            f"{name} is a masked array, and a mask cannot be kept; fill or drop it first"
        )
    # Looked at first, since torch.from_dlpack (2.13) does not raise where a tensor cannot be made.
    if any(stride < 0 for stride in getattr(x, "strides", None) or ()):
        raise ValueError(
            f"{name} has negative strides {x.strides}, which torch has not; give a copy"
        )
    try:
        return torch.from_dlpack(x)
    except (BufferError, RuntimeError) as error:
        raise TypeError(
            f"{name}, a {kind} of {getattr(x, 'dtype', 'unknown dtype')}, cannot be handed over: "
            f"{str(error).splitlines()[0]}; convert it to a dtype of torch in native byte order"
        ) from error


def _can_be_shared(array: np.ndarray) -> bool:
    """Whether torch can look at the same memory; if not, or without numbers, it is copied."""
    dtype = array.dtype
    has_dtype = dtype.kind in "biufc" and dtype.isnative and dtype != np.longdouble
    return has_dtype and all(stride >= 0 for stride in array.strides)


def native(array: np.ndarray) -> np.ndarray:
    """Return the same numbers without gaps, in this machine's byte order, of a dtype torch has.

    What is so already is returned as it is. Unsigned integers of more than one byte become int64
    and long doubles float64; what holds no numbers stays.

    Raises:
        ValueError: an unsigned integer is 2^63 or more.
    """
    dtype = array.dtype
    if dtype.kind not in "biufc":
        return array
    dtype = dtype.newbyteorder("=")
    if dtype.kind == "u" and dtype.itemsize > 1:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{array.max()} does not fit into int64, the largest integers here")
        dtype = np.dtype(np.int64)
    elif dtype.kind == "f" and dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    return np.asarray(array, dtype, order="C")


def as_ids(x: Array, name: str) -> Tensor:
    """Return whole numbers as a tensor of a signed dtype, or of uint8.

    Args:
        x: the tensor or array, on any device.
        name: what the caller calls it.

    Raises:
        TypeError: it does not hold integers. Ids that were floats once, as a table with gaps keeps
            them, may have lost their last digits, so none are taken.
    """
    ids = as_tensor(x, name)
    if ids.dtype in (torch.uint16, torch.uint32, torch.uint64):
        return ids.long()
    if ids.is_floating_point() and ids.isnan().any():  # as pandas keeps integers with a gap
        row = ids.isnan().nonzero()[0].tolist()
        raise TypeError(f"{name} must be integer, but is missing at row {row[0]}; {FILL}")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{name} must be integer, not {ids.dtype}; convert it with .long()")
    return ids


def as_count(count: int, name: str) -> int:
    """Return a whole number as an int.

    Raises:
        TypeError: it is none.
    """
    try:
        return operator.index(count)
    except TypeError:
        raise TypeError(
            f"{name} must be a whole number, not {count!r}; convert it with int()"
        ) from None


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
    """Return an array of objects that are all numbers as float64, or int64 if all are whole."""
    is_whole = True
    for place, value in np.ndenumerate(array):
        where = f" at row {place[0]}" if place else ""
        if is_missing(value):
            raise TypeError(f"{name} holds {value!r}{where}; {if_missing}")
        if not isinstance(value, Real | Decimal | np.bool_):
            raise TypeError(
                f"{name} holds {value!r}{where}, a {type(value).__name__}; pass numbers alone"
            )
        is_whole &= isinstance(value, Integral | np.bool_)
    try:
        return array.astype(np.int64 if is_whole else np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} holds an integer beyond 64 bits; number its values") from error


def is_missing(value: object) -> bool:
    """Whether a value says that there is none: None, NaN, or what pandas has for it."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")
