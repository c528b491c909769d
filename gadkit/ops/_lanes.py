"""Vector registers for Numba: an accumulator that stays in registers while rows are added to it.

A NumPy scratch array would do, but LLVM cannot prove that it does not overlap the features, so it
would be loaded and stored on every edge. `Lanes` is a plain value instead: the row as vectors of 16
numbers. With a prefetch some edges ahead, the loop over edges becomes one load and one multiply-add
per vector.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

VECTOR = 16  # numbers per register: 64 bytes of float32, a cache line
LINE = 64  # bytes
INT32 = ir.IntType(32)

LOG2E, LN2_HIGH, LN2_LOW = (
    np.float32(1.44269504),
    np.float32(0.693145752),
    np.float32(1.42860677e-06),
)
TAYLOR = tuple(
    np.float32(1 / f) for f in (5040, 720, 120, 24, 6, 2)
)  # of exp around 0, degree 7 first


class Lanes(types.Type):
    """`width` numbers of `dtype` held in registers."""

    def __init__(self, dtype: types.Type, width: int):
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Lanes({dtype}, {width})")

    def parts(self) -> list[tuple[int, int]]:
        """Return (first column, length) of each vector: whole ones, then powers of two."""
        whole, rest = divmod(self.width, VECTOR)
        parts = [(VECTOR * i, VECTOR) for i in range(whole)]
        for length in (8, 4, 2, 1):
            if rest & length:
                parts.append((self.width - (rest & (2 * length - 1)), length))
        return parts


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        scalar = manager.lookup(lanes.dtype).get_value_type()
        vectors = [ir.VectorType(scalar, length) for _, length in lanes.parts()]
        super().__init__(manager, lanes, ir.LiteralStructType(vectors))


def _address(context, builder, array_type, array, offset, column):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [builder.add(offset, ir.Constant(offset.type, column))])


def _vector_at(context, builder, array_type, array, offset, column, vector):
    address = _address(context, builder, array_type, array, offset, column)
    return builder.bitcast(address, vector.as_pointer())


def _splat(builder, scalar, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(INT32, vector.count), None)
    )


@intrinsic(prefer_literal=True)
def zeros(typing, width, like):
    """zeros(width, like): `width`, a compile-time constant, zeros of the dtype of `like`."""
    lanes = Lanes(like.dtype, width.literal_value)

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(lanes), None)

    return lanes(width, like), codegen


@intrinsic
def axpy(typing, lanes, a, x, offset):
    """axpy(lanes, a, x, offset): lanes + a * x[offset : offset + width]."""

    def codegen(context, builder, signature, args):
        total, a, x, offset = args
        for i, (column, _) in enumerate(signature.args[0].parts()):
            old = builder.extract_value(total, i)
            row = builder.load(
                _vector_at(context, builder, signature.args[2], x, offset, column, old.type)
            )
            row.align = signature.args[0].dtype.bitwidth // 8
            product = builder.fmul(_splat(builder, a, old.type), row, flags=["contract"])
            total = builder.insert_value(total, builder.fadd(old, product, flags=["contract"]), i)
        return total

    return lanes(lanes, x.dtype, x, types.intp), codegen


@intrinsic
def store(typing, lanes, a, out, offset):
    """store(lanes, a, out, offset): out[offset : offset + width] = a * lanes."""

    def codegen(context, builder, signature, args):
        total, a, out, offset = args
        for i, (column, _) in enumerate(signature.args[0].parts()):
            vector = builder.extract_value(total, i)
            address = _vector_at(
                context, builder, signature.args[2], out, offset, column, vector.type
            )
            written = builder.store(builder.fmul(_splat(builder, a, vector.type), vector), address)
            written.align = signature.args[0].dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(lanes, out.dtype, out, types.intp), codegen


@intrinsic
def prefetch(typing, lanes, x, offset):
    """prefetch(lanes, x, offset): ask for x[offset : offset + width] before it is needed."""
    columns = range(0, lanes.width, LINE // (x.dtype.bitwidth // 8))

    def codegen(context, builder, signature, args):
        byte_pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for column in columns:
            address = _address(context, builder, signature.args[1], args[1], args[2], column)
            pointer = builder.bitcast(address, byte_pointer)
            builder.call(function, [pointer, INT32(0), INT32(3), INT32(1)])  # read, keep, data
        return context.get_dummy_value()

    return types.void(lanes, x, types.intp), codegen


@intrinsic
def _power_of_two(typing, exponent):
    """2.0 ** exponent as float32, by writing the exponent's bits."""

    def codegen(context, builder, signature, args):
        bits = builder.shl(builder.add(args[0], INT32(127)), INT32(23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), codegen


def exp(x):
    """Return e to a non-positive power; in float32 without a call, so that loops vectorize."""
    return np.exp(x)


@overload(exp, jit_options={"fastmath": {"contract"}, "forceinline": True})
def _exp(x):
    if x != types.float32:
        return lambda x: np.exp(x)

    # exp(x) = 2^k exp(r) with |r| <= ln(2) / 2; r in two steps (Cody and Waite), exp(r) by its
    # series.
    def exp32(x):
        x = max(x, np.float32(-87.0))  # below, 2^k would leave the normal range
        k = np.floor(x * LOG2E + np.float32(0.5))
        r = (x - k * LN2_HIGH) - k * LN2_LOW
        y = TAYLOR[0]
        y = y * r + TAYLOR[1]
        y = y * r + TAYLOR[2]
        y = y * r + TAYLOR[3]
        y = y * r + TAYLOR[4]
        y = y * r + TAYLOR[5]
        y = y * r + np.float32(1)
        y = y * r + np.float32(1)
        return y * _power_of_two(np.int32(k))

    return exp32


def lowest(x):
    """lowest(x): the lowest number of the dtype of the array x; finite, as fastmath assumes."""
    return np.finfo(x.dtype).min


@overload(lowest)
def _lowest(x):
    number = np.finfo(np.float64 if x.dtype == types.float64 else np.float32).min
    return lambda x: number
