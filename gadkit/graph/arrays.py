"""Arrays, tables and lists of other libraries, brought into a form that torch takes.

Arrays come in by DLPack (https://dmlc.github.io/dlpack/latest/), which hands over an address, a
shape, strides and a dtype: NumPy, CuPy and JAX speak it, nothing is copied. What cannot be handed
over so, but holds numbers, is copied: arrays that run backwards or are in the byte order of another
machine, columns of tables, and lists.
"""

import array
import operator
from decimal import Decimal
from numbers import Integral, Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

FILL = "fill it, or leave its row out"
PASS_NUMBERS = "pass rows of numbers, for example .astype(float)"
PASS_IDS = "pass whole numbers: .astype('int64'), or of names what pandas.factorize() makes of them"
LISTS = list | tuple | range | array.array | memoryview
COLUMNS = 32  # of a part of a table


class SupportsDLPack(Protocol):
    """An array that can be handed over, such as one of NumPy, CuPy or JAX."""

    def __dlpack__(self, **options) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


Array = Tensor | SupportsDLPack


def as_tensor(x: Array, name: str, *, remedy: str = PASS_NUMBERS) -> Tensor:
    """Return a tensor as it is, and the array of another library as a tensor.

    It is in the same memory where that can be. A tensor has no mark for read-only memory. gadkit
    only reads what it is given; whoever writes into such a tensor writes into an array that was
    meant to stay, or into a page that is mapped for reading, which ends the process.

    Args:
        x: the tensor or array, on any device; a column or table of pandas, Arrow or polars; a list.
        name: what the caller calls it.
        remedy: what to pass instead of what holds no numbers, for the message.

    Raises:
        TypeError: x is no array, does not hold numbers, is sparse, or hides values behind a mask.
        ValueError: an integer is 2^63 or more.
    """
    if isinstance(x, Tensor):  # first, so that torch.compile sees nothing else
        _check_plain(x, name)
        return x
    is_table = not hasattr(x, "__dlpack__") and hasattr(x, "__array__") and np.ndim(x) > 0
    has_gaps = getattr(x, "null_count", 0) != 0  # Arrow does not hand these over
    is_ours_to_copy = is_table or has_gaps or isinstance(x, LISTS)
    if is_ours_to_copy or (isinstance(x, np.ndarray) and not _can_be_shared(x)):
        return numbers(x, name, if_missing=FILL, remedy=remedy)
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
    except (BufferError, RuntimeError, TypeError) as error:
        raise TypeError(
            f"{name}, a {kind} of {getattr(x, 'dtype', 'unknown dtype')}, cannot be handed over: "
            f"{str(error).splitlines()[0]}; convert it to a dtype of torch in native byte order"
        ) from error


def _check_plain(x: Tensor, name: str) -> None:
    """Check that a tensor is one block of numbers that all count."""
    if x.layout != torch.strided:
        raise TypeError(f"{name} is a {x.layout} tensor; pass it .to_dense()")
    if x.is_nested or x.is_quantized:
        how = "nested" if x.is_nested else "quantized"
        as_rows = "torch.nested.to_padded_tensor()" if x.is_nested else ".dequantize()"
        raise TypeError(f"{name} is a {how} tensor; pass what {as_rows} makes of it")
    if type(x).__name__ == "MaskedTensor":
        raise TypeError(
            f"{name} is a masked tensor, and a mask cannot be kept; fill or drop it first"
        )


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
        ValueError: an id is 2^63 or more.
    """
    ids = as_tensor(x, name, remedy=PASS_IDS)
    if ids.dtype in (torch.uint16, torch.uint32, torch.uint64):
        if (ids.long() < 0).any():
            raise ValueError(f"{name} holds an integer of 2^63 or more; number its values")
        return ids.long()
    if ids.dtype == torch.bool:
        raise TypeError(
            f"{name} must be integer, not {ids.dtype}; of a mask pass where it is true, "
            ".nonzero().flatten() (NumPy: np.flatnonzero())"
        )
    if ids.is_floating_point() and ids.numel() == 0:  # as NumPy makes of an empty list
        return ids.long()
    if ids.is_floating_point() or ids.is_complex():
        raise TypeError(f"{name} must be integer{_why_not_whole(ids)}")
    return ids


def _why_not_whole(ids: Tensor) -> str:
    """Say what stands in the way of taking numbers that are no integers, and what to do."""
    if ids.is_complex():
        return f", not {ids.dtype}; convert it with .real.long()"
    values = ids.detach().double().flatten()
    exact = 2 / torch.finfo(ids.dtype).eps  # from there on a dtype has no odd numbers
    checks = (
        # as pandas keeps integers with a gap
        (values.isnan(), f", but is missing at row {{row}}; {FILL}"),
        (
            values != values.trunc(),
            f", not {ids.dtype}, and is {{value}} at row {{row}}; correct it",
        ),
        (
            values.abs() > exact,
            f", not {ids.dtype}, which cannot tell ids beyond {exact:.0f} apart, as {{value:.0f}} "
            "at row {row}; read them as integers",
        ),
    )
    for bad, why in checks:
        if bad.any():
            place = int(bad.nonzero()[0])
            row = place // max(1, ids[:1].numel()) if ids.dim() else place
            return why.format(row=row, value=float(values[place]))
    return f", not {ids.dtype}; convert it with .long()"


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


def numbers(values: object, name: str, *, if_missing: str, remedy: str = PASS_NUMBERS) -> Tensor:
    """Return numbers in whatever a library keeps them as a tensor, in the same memory if it can be.

    Args:
        values: a tensor; or what NumPy reads: an array of any layout, a Series or a DataFrame, a
            list. Rows are taken in their order, whatever an index calls them.
        name: what the caller calls it, for the message.
        if_missing: what to do where a value is missing, for the message.
        remedy: what to pass instead of what holds no numbers, for the message.

    Raises:
        TypeError: it is sparse, masked, complex, or holds something else than numbers; the message
            says of which type it is and what to pass.
        ValueError: an integer is 2^63 or more.
    """
    if isinstance(values, Tensor):
        _check_plain(values, name)
        if values.is_complex():
            raise TypeError(f"{name} must hold real numbers, not {values.dtype}; take .abs()")
        return values
    if hasattr(values, "__cuda_array_interface__"):
        return torch.as_tensor(values)
    kind = f"{type(values).__module__.split('.')[0]}.{type(values).__qualname__}"
    if np.ma.is_masked(values):
        raise TypeError(f"{name} is a masked array, and a mask cannot be kept; {if_missing}")
    if hasattr(values, "toarray"):
        raise TypeError(f"{name} is sparse, a {kind}; pass it dense, as .toarray() makes it")
    try:
        if isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
            return numbers(torch.stack([*values]), name, if_missing=if_missing)
        table = np.asarray(values)
        is_foreign = hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray)
        if table.dtype.kind == "V" and is_foreign:  # bfloat16 of JAX
            return as_tensor(values, name)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"{name}, a {kind}, is no array of numbers: {error}") from error
    if table.dtype.kind == "O":
        if table.ndim == 0:
            raise TypeError(f"{name} is a {kind}; pass an array, a list or a tensor")
        table = _unboxed(table, f"{name}, a {kind},", if_missing, remedy)
    if table.dtype.kind not in "biuf" or table.ndim == 0:
        remedy = {
            "c": "take .real or abs()",
            "M": "pass seconds: .astype('datetime64[s]').astype('int64')",
            "m": "pass seconds: / np.timedelta64(1, 's')",
        }.get(table.dtype.kind, remedy)
        remedy = "pass an array with an axis" if table.ndim == 0 else remedy
        raise TypeError(f"{name}, a {kind}, is of {table.dtype} and shape {table.shape}; {remedy}")
    try:
        return as_tensor(native(table), name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def as_features(x: Tensor, name: str) -> Tensor:
    """Return features as float32, in the same memory where they are.

    Args:
        x: real numbers of any dtype, columns last.
        name: what the caller calls them.

    Raises:
        TypeError: they are complex.
        ValueError: a number is beyond float32, or a column is so far from 0, as times in seconds
            since 1970 of one day are, that float32 cannot tell its values apart.
    """
    if x.is_complex():
        raise TypeError(f"{name} must hold real numbers, not {x.dtype}; take .abs()")
    # They are given, and not learned: nothing is ever differentiated by them.
    x = x.detach() if x.requires_grad else x
    narrow = x.float()
    if narrow is not x and x.dtype in (torch.float64, torch.int64) and x.numel():
        wide = x.double()
        if (narrow.isinf() & wide.isfinite()).any():
            raise ValueError(
                f"{name} goes up to {float(wide[wide.isfinite()].abs().max()):g}, beyond float32; "
                "take logarithms or scale"
            )
        if x.dim() == 2 and wide.isfinite().all():
            _check_told_apart(wide, narrow, name)
    return narrow


def _check_told_apart(wide: Tensor, narrow: Tensor, name: str) -> None:
    """Check that float32 leaves most values of a column different that float64 has so."""
    low, high = wide.min(0).values, wide.max(0).values
    range_over_size = (high - low) / torch.maximum(low.abs(), high.abs()).clamp(min=1e-300)
    # Between what is left of a constant after rounding in float64, and 256 steps of float32.
    doubtful = (range_over_size > 1e-12) & (range_over_size < 256 * torch.finfo(torch.float32).eps)
    for column in doubtful.nonzero().flatten().tolist():
        values, left = (len(part[:, column].unique()) for part in (wide, narrow))
        if 2 * left <= values:
            raise ValueError(
                f"{name}, column {column}: of {values:,} different values from "
                f"{float(low[column]):.17g} to {float(high[column]):.17g} float32 keeps {left:,} "
                "apart; take the difference from the smallest, as x - x.min(0) does"
            )


def _unboxed(table: np.ndarray, name: str, if_missing: str, remedy: str) -> np.ndarray:
    """Return an array of objects that are all numbers as float64, or int64 if all are whole."""
    is_whole = True
    for place, value in np.ndenumerate(table):
        where = f" at row {place[0]}" if place else ""
        if is_missing(value):
            raise TypeError(f"{name} holds {value!r}{where}; {if_missing}")
        if not isinstance(value, Real | Decimal | np.bool_):
            raise TypeError(f"{name} holds {value!r}{where}, a {type(value).__name__}; {remedy}")
        is_whole &= isinstance(value, Integral | np.bool_)
    try:
        return table.astype(np.int64 if is_whole else np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} holds an integer beyond 64 bits; number its values") from error


def is_missing(value: object) -> bool:
    """Whether a value says that there is none: None, NaN, or what pandas has for it."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def distinct(keys: Tensor) -> Tensor:
    """Return `torch.unique(keys)`; integers on the CPU are sorted in place, and `keys` given up.

    NumPy sorts them with vector instructions, and without a copy.
    """
    if keys.is_cuda:
        return torch.unique(keys)
    ascending = keys.numpy()
    ascending.sort()
    is_first = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=is_first[1:])
    return torch.from_numpy(ascending[is_first])


def column_parts(x: Tensor) -> tuple[Tensor, ...]:
    """Cut a table (n, dim) into views of up to `COLUMNS` columns, of about equal width.

    What is computed of each in float64 takes little beside the table. No part is a single column,
    which torch adds up in another order, unless the table is.
    """
    return x.tensor_split(max(1, -(-x.shape[1] // COLUMNS)), 1)
