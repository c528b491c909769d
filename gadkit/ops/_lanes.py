"""Vector registers for Numba: an accumulator that stays in registers while rows are added to it.

A NumPy scratch array would do, but LLVM cannot prove that it does not overlap the features, so it
would be loaded and stored on every edge. `Lanes` is a plain value instead: the row as vectors of 16
numbers. With a prefetch some edges ahead, the loop over edges becomes one load and one multiply-add
per vector.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

VECTOR = 16  # numbers per register: 64 bytes of float32, a cache line
LINE = 64  # bytes
INT32 = ir.IntType(32)
CHAINS = 4  # vectors that a dot product adds up apart

# Half precision arrives as 16 bits without a meaning, since Numba's arrays know no bfloat16.
FLOAT16, BFLOAT16 = types.int16, types.uint16
HALVES = (FLOAT16, BFLOAT16)

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


def summed_in(array: types.Array) -> types.Type:
    """Return the dtype that numbers of an array are summed in: float32 for halves."""
    return types.float32 if array.dtype in HALVES else array.dtype


@intrinsic(prefer_literal=True)
def zeros(typing, width, like):
    """zeros(width, like): `width`, a compile-time constant, zeros of the dtype `like` sums in."""
    lanes = Lanes(summed_in(like), width.literal_value)

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(lanes), None)

    return lanes(width, like), codegen


# Lanes may hold the row of several heads, with a factor each. So a factor is given as an array and
# where it stands there: factor[k] for the first `dim` columns, factor[k + stride] for the next
# `dim`, and so on. `dim` is a compile-time constant; with several heads, a multiple of `VECTOR`.


@intrinsic(prefer_literal=True)
def axpy(typing, lanes, factor, k, stride, dim, x, offset):
    """axpy(lanes, factor, k, stride, dim, x, a): lanes + factor * x[a : a + width]."""

    def codegen(context, builder, signature, args):
        total, *place, x, offset = args
        x_type, factors = signature.args[5], _Factors(context, builder, signature, place)
        for i, (column, _) in enumerate(lanes.parts()):
            old = builder.extract_value(total, i)
            row = _load(context, builder, x_type, x, offset, column, old.type)
            product = builder.fmul(factors.of(column, old.type), row, flags=["contract"])
            total = builder.insert_value(total, builder.fadd(old, product, flags=["contract"]), i)
        return total

    return lanes(lanes, factor, types.intp, types.intp, dim, x, types.intp), codegen


@intrinsic(prefer_literal=True)
def add_times(typing, lanes, factor, k, stride, dim, other):
    """add_times(lanes, factor, k, stride, dim, other): lanes + factor * other, of other lanes."""

    def codegen(context, builder, signature, args):
        total, *place, other = args
        factors = _Factors(context, builder, signature, place)
        for i, (column, _) in enumerate(lanes.parts()):
            old, more = builder.extract_value(total, i), builder.extract_value(other, i)
            product = builder.fmul(factors.of(column, old.type), more, flags=["contract"])
            total = builder.insert_value(total, builder.fadd(old, product, flags=["contract"]), i)
        return total

    return lanes(lanes, factor, types.intp, types.intp, dim, lanes), codegen


@intrinsic(prefer_literal=True)
def store(typing, lanes, factor, k, stride, dim, out, offset):
    """store(lanes, factor, k, stride, dim, out, a): round factor * lanes to out[a : a + width]."""

    def codegen(context, builder, signature, args):
        total, *place, out, offset = args
        out_type, factors = signature.args[5], _Factors(context, builder, signature, place)
        for i, (column, _) in enumerate(lanes.parts()):
            vector = builder.extract_value(total, i)
            vector = builder.fmul(factors.of(column, vector.type), vector)
            vector = _narrow(builder, vector, out_type.dtype)
            address = _vector_at(context, builder, out_type, out, offset, column, vector.type)
            builder.store(vector, address).align = out_type.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(lanes, factor, types.intp, types.intp, dim, out, types.intp), codegen


class _Factors:
    """The factors of lanes, each loaded once and put into all places of a vector."""

    def __init__(self, context, builder, signature, place):
        factor, self.k, self.stride, _ = place
        self.builder, self.dim = builder, signature.args[4].literal_value
        self.data = context.make_array(signature.args[1])(context, builder, factor).data
        self.vectors = {}

    def of(self, column: int, vector):
        head, builder = column // self.dim, self.builder
        if (head, vector.count) not in self.vectors:
            entry = builder.mul(self.stride, ir.Constant(self.stride.type, head))
            factor = builder.load(builder.gep(self.data, [builder.add(self.k, entry)]))
            self.vectors[head, vector.count] = _splat(builder, factor, vector)
        return self.vectors[head, vector.count]


@intrinsic
def sum_between(typing, x, begin, end):
    """sum_between(x, begin, end): the sum of x[begin : end], in whole vectors.

    Up to `VECTOR` numbers after the end are read and not used. The order of the sum depends on its
    length alone, and is the same on every processor.
    """

    def codegen(context, builder, signature, args):
        x_type, index = signature.args[:2]
        x, begin, end = args
        vector = ir.VectorType(context.get_value_type(x_type.dtype), VECTOR)
        places = ir.Constant(ir.VectorType(end.type, VECTOR), list(range(VECTOR)))
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, None))
        step = context.get_constant(index, VECTOR)
        with cgutils.for_range_slice(builder, begin, end, step, end.type) as (k, _):
            row = _load(context, builder, x_type, x, k, 0, vector)
            left = _splat(builder, builder.sub(end, k), places.type)
            inside = builder.icmp_signed("<", places, left)
            row = builder.select(inside, row, ir.Constant(vector, None))
            builder.store(builder.fadd(builder.load(total), row), total)
        return _sum_of(builder, [builder.load(total)], vector.element)

    return x.dtype(x, types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def dot(typing, width, x, x_offset, y, y_offset):
    """dot(width, x, a, y, b): the sum of x[a : a + width] * y[b : b + width].

    Four vectors are summed apart, so that one addition need not wait for the one before, and then
    their halves, so the order is the same on every processor.
    """
    lanes = Lanes(summed_in(x), width.literal_value)

    def codegen(context, builder, signature, args):
        _, x, x_offset, y, y_offset = args
        _, x_type, _, y_type, _ = signature.args
        scalar = context.get_value_type(lanes.dtype)
        sums = []
        for i, (column, length) in enumerate(lanes.parts()):
            vector = ir.VectorType(scalar, length)
            left = _load(context, builder, x_type, x, x_offset, column, vector)
            right = _load(context, builder, y_type, y, y_offset, column, vector)
            product = builder.fmul(left, right, flags=["contract"])
            if i < CHAINS or length < VECTOR:
                sums.append(product)
            else:
                sums[i % CHAINS] = builder.fadd(sums[i % CHAINS], product, flags=["contract"])
        return _sum_of(builder, sums, scalar)

    arguments = width, x, types.intp, y, types.intp
    return lanes.dtype(*arguments), codegen


def _sum_of(builder, vectors: list, scalar):
    """Add up vectors, the longer ones first, by halves; lengths are powers of two."""
    if not vectors:
        return ir.Constant(scalar, 0.0)
    while vectors[0].type.count > 1:
        length = vectors[0].type.count
        whole = _sum_of_equals(builder, [v for v in vectors if v.type.count == length])
        halves = [_part(builder, whole, first, length // 2) for first in (0, length // 2)]
        vectors = [builder.fadd(*halves), *(v for v in vectors if v.type.count < length)]
    return builder.extract_element(_sum_of_equals(builder, vectors), INT32(0))


def _sum_of_equals(builder, vectors: list):
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=False)
        left_over = vectors[len(vectors) // 2 * 2 :]
        vectors = [*(builder.fadd(*pair) for pair in pairs), *left_over]
    return vectors[0]


def _part(builder, vector, first: int, length: int):
    places = ir.Constant(ir.VectorType(INT32, length), list(range(first, first + length)))
    return builder.shuffle_vector(vector, vector, places)


def _load(context, builder, array_type, array, offset, column, vector):
    """Load floats, widened to `vector` if they are stored as halves."""
    stored = array_type.dtype
    kind = vector
    if stored in HALVES:
        kind = ir.VectorType(ir.IntType(16), vector.count)
    row = builder.load(_vector_at(context, builder, array_type, array, offset, column, kind))
    row.align = stored.bitwidth // 8
    if stored == FLOAT16:
        return builder.fpext(
            builder.bitcast(row, ir.VectorType(ir.HalfType(), vector.count)), vector
        )
    if stored == BFLOAT16:  # the upper half of a float32
        words = ir.VectorType(INT32, vector.count)
        return builder.bitcast(builder.shl(builder.zext(row, words), _words(16, words)), vector)
    return row


def _narrow(builder, vector, stored):
    """Round floats to how they are stored, ties to even."""
    bits = ir.VectorType(ir.IntType(16), vector.type.count)
    if stored == FLOAT16:
        halves = ir.VectorType(ir.HalfType(), vector.type.count)
        return builder.bitcast(builder.fptrunc(vector, halves), bits)
    if stored != BFLOAT16:
        return vector
    words = ir.VectorType(INT32, vector.type.count)
    word = builder.bitcast(vector, words)
    is_odd = builder.and_(builder.lshr(word, _words(16, words)), _words(1, words))
    rounded = builder.add(word, builder.add(is_odd, _words(0x7FFF, words)))
    magnitude = builder.and_(word, _words(0x7FFFFFFF, words))
    is_nan = builder.icmp_unsigned(">", magnitude, _words(0x7F800000, words))
    rounded = builder.select(is_nan, _words(0x7FC00000, words), rounded)
    return builder.trunc(builder.lshr(rounded, _words(16, words)), bits)


def _words(number: int, words):
    return ir.Constant(words, [number] * words.count)


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

    def exp32(x):
        k, y = _reduced(x)
        return (y + np.float32(1)) * _power_of_two(k)

    return exp32


def expm1(x):
    """Return e to a non-positive power, minus 1; likewise. Near 0 no digits are lost."""
    return np.expm1(x)


@overload(expm1, jit_options={"fastmath": {"contract"}, "forceinline": True})
def _expm1(x):
    if x != types.float32:
        return lambda x: np.expm1(x)

    def expm1_32(x):
        k, y = _reduced(x)
        power = _power_of_two(k)
        return y * power + (power - np.float32(1))

    return expm1_32


@njit(fastmath={"contract"}, forceinline=True)
def _reduced(x):
    """Return k and exp(r) - 1 such that exp(x) = 2^k exp(r) with |r| <= ln(2) / 2.

    r is made in two steps (Cody and Waite), exp(r) by its series.
    """
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
    return np.int32(k), y * r


def lowest(x):
    """lowest(x): the lowest number of the dtype of the array x; finite, as fastmath assumes."""
    return np.finfo(x.dtype).min


@overload(lowest)
def _lowest(x):
    number = np.finfo(np.float64 if x.dtype == types.float64 else np.float32).min
    return lambda x: number
