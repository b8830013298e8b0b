"""Vectors for Numba: a value that is `lanes` numbers wide and lives in registers.

A loop whose state must stay in vector registers across iterations (a recurrence over harmonics, lanes = samples)
is beyond the auto-vectorizer: it keeps the state in memory, 9 loads and stores for 24 multiply-adds. With the few
operations below the kernel says what it means, and LLVM legalizes the width: 64 float32 lanes are four registers
with AVX-512, eight with AVX2.

    load(array, i)          lanes array[i : i + LANES]; the array must be contiguous and long enough (pad it)
    store(array, i, v)      the reverse
    splat(array, x)         x in every lane, of array's element type
    splat_register(array, x)                    the same, one register
    pointer(array, i)       address of array[i]; wherever an array is asked for here, a pointer will do, and pointer[j]
                            reads an element. Inner functions take pointers: an array argument costs two atomic
                            reference counts a call (half the time of a 64-sample tile of 18 harmonics) and tests for
                            negative indices. The array must outlive its pointers: keep it in the caller.
    cache_line(a, i, like)  pointer to numbers like those of `like`, at the first cache line from a[i] on
    integers(pointer)       the same address, as a pointer to integers of as many bits
    keep(array)             nothing; said where an array's pointers are used no more (Numba frees what nobody names)
    borrowed(arrays)        the same arrays, whose references nobody counts (see there)
    + - * and fma(a, b, c)  lane by lane; a scalar stands for its splat; a*b +- c is contracted to one instruction
    select_ge(a, b, x, y)   lane by lane: x where a >= b, else y
    to_float(v)             integers as floating-point numbers
    absolute(v)             |v| of integers; the most negative one stays as it is
    with_sign(v, i)         v >= 0 with the signs of the integers i
    dot_fold(a, b, c)       c + the registers of a*b, added up: one register
    dot(a, b)               the sum over all lanes of a*b, a scalar
    ramp(array)             lane l holds l, as array's element type
    load_register(array, i) one register of lanes: array[i : i + WIDTH]
    load_some(array, i, n, v)                   as many lanes as v has: array[i : i + n], then zeros
    store_some(array, i, n, v)                  array[i : i + n] = the first lanes of v
    moved_up(v, x)          lane j holds lane j - 1 of v, lane 0 holds x
    moved_down(v, x)        lane j holds lane j + 1 of v, the last lane holds x
    claim(array, i)         ask for the cache line of array[i], to write there soon; it may lie outside
    sum_rows(array, i)      the sums of WIDTH rows of WIDTH lanes each (a transposing sum)
    out_of_line()           said inside a function: it is never inlined, so what it needs does not crowd its callers
    lane_count(array), register_width(array)    LANES and WIDTH of array's element type, as constants

Element types: float32, float64, and int32 / int64 for phases.
"""

import operator

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic, lower_builtin, models, register_model, type_callable
from numba.core.registry import cpu_target


def _register_bytes() -> int:
    """Bytes in one vector register of the CPU that Numba compiles for (it is part of Numba's cache key)."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return 64 if "+avx512f" in features else 32 if "+avx2" in features else 16


REGISTER_BYTES = _register_bytes()
# 32 vector registers with AVX-512, 16 elsewhere: a bank keeps five vectors alive in its inner loop.
TILE_REGISTERS = 4 if REGISTER_BYTES == 64 else 2
TILE_BYTES = TILE_REGISTERS * REGISTER_BYTES


class Vector(types.Type):
    """Numba type of a vector: `lanes` numbers of type `element`."""

    def __init__(self, element: types.Type, lanes: int):
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        element = dmm.lookup(fe_type.element).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.lanes))


def lanes_of(element: types.Type) -> int:
    """Lanes of a tile of `element`."""
    return TILE_BYTES * 8 // element.bitwidth


def width_of(element: types.Type) -> int:
    """Lanes of one register of `element`."""
    return REGISTER_BYTES * 8 // element.bitwidth


@intrinsic
def lane_count(typingctx, array):
    """LANES of array's element type, inside a kernel."""
    lanes = lanes_of(array.dtype)
    return types.intp(array), lambda context, *_: context.get_constant(types.intp, lanes)


@intrinsic
def register_width(typingctx, array):
    """WIDTH of array's element type, inside a kernel."""
    width = width_of(array.dtype)
    return types.intp(array), lambda context, *_: context.get_constant(types.intp, width)


def _is_int(vector: Vector) -> bool:
    return isinstance(vector.element, types.Integer)


def _constant(kind: ir.VectorType, values) -> ir.Constant:
    return ir.Constant(kind, [ir.Constant(kind.element, v) for v in values])


def _broadcast(context, builder, value, scalar_type, vector: Vector):
    """`value` itself if it is a vector, else its splat, cast to the vector's element type."""
    if isinstance(scalar_type, Vector):
        return value
    value = context.cast(builder, value, scalar_type, vector.element)
    kind = context.get_value_type(vector)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        one, one, ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    )


def _pointer(context, builder, array_type, array, index, kind):
    """Address of array[index] as a pointer to `kind`, and the alignment that an element guarantees."""
    if not isinstance(array_type, types.CPointer):
        array = context.make_array(array_type)(context, builder, array).data
    address = builder.gep(array, [index])
    return builder.bitcast(address, ir.PointerType(kind)), array_type.dtype.bitwidth // 8


@intrinsic
def pointer(typingctx, array, index):
    """Address of element `index` of a contiguous array (axes flattened) or of a pointer; the array must outlive it."""
    kind = types.CPointer(array.dtype)

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        element = context.get_value_type(array.dtype)
        return _pointer(context, builder, signature.args[0], args[0], index, element)[0]

    return kind(array, index), codegen


@intrinsic
def cache_line(typingctx, array, index, like):
    """Pointer to numbers like those of `like`, at the first cache line that begins at array[index] or after it."""
    kind = types.CPointer(like.dtype)

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        address, _ = _pointer(context, builder, signature.args[0], args[0], index, ir.IntType(8))
        number = builder.ptrtoint(address, ir.IntType(64))
        line = builder.and_(builder.add(number, number.type(63)), number.type(-64))
        return builder.inttoptr(line, context.get_value_type(kind))

    return kind(array, index, like), codegen


@intrinsic
def integers(typingctx, pointer):
    """The same address, as a pointer to integers of as many bits."""
    kind = types.CPointer({32: types.int32, 64: types.int64}[pointer.dtype.bitwidth])

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(kind))

    return kind(pointer), codegen


@intrinsic
def keep(typingctx, array):
    """Name an array where its pointers are used no more: Numba frees it after the last place that does."""
    return types.void(array), lambda context, *_: context.get_dummy_value()


@intrinsic
def borrowed(typingctx, arrays):
    """A tuple of arrays without their owners: nobody counts their references. What is no array stays as it is.

    The arrays must outlive these: keep them in the caller.
    """

    def codegen(context, builder, signature, args):
        result = args[0]
        for i, kind in enumerate(arrays):
            if isinstance(kind, types.Array):
                view = context.make_array(kind)(context, builder, builder.extract_value(args[0], i))
                view.meminfo = ir.Constant(view.meminfo.type, None)
                result = builder.insert_value(result, view._getvalue(), i)
        return result

    return arrays(arrays), codegen


def _common(*kinds) -> Vector:
    return next(kind for kind in kinds if isinstance(kind, Vector))


def _fma(builder, a, b, c):
    """llvm.fma of vectors (llvmlite's own builder.fma takes scalars only)."""
    name = f"llvm.fma.v{a.type.count}f{64 if isinstance(a.type.element, ir.DoubleType) else 32}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


@intrinsic
def load(typingctx, array, index):
    """A tile of lanes: array[index : index + LANES]."""
    vector = Vector(array.dtype, lanes_of(array.dtype))

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        pointer, align = _pointer(context, builder, signature.args[0], args[0], index, context.get_value_type(vector))
        return builder.load(pointer, align=align)

    return vector(array, index), codegen


@intrinsic
def store(typingctx, array, index, value):
    """array[index : index + lanes] = value."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        pointer, align = _pointer(context, builder, signature.args[0], args[0], index, args[2].type)
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


def _splat(vector: Vector, array, scalar):
    """Typing and code of a scalar in every lane."""
    return vector(array, scalar), lambda context, builder, signature, args: _broadcast(
        context, builder, args[1], signature.args[1], vector
    )


@intrinsic
def splat(typingctx, array, scalar):
    """`scalar` in every lane of a tile of array's element type."""
    return _splat(Vector(array.dtype, lanes_of(array.dtype)), array, scalar)


@intrinsic
def splat_register(typingctx, array, scalar):
    """The same, of one register."""
    return _splat(Vector(array.dtype, width_of(array.dtype)), array, scalar)


def _lanewise(op, float_op: str, int_op: str) -> None:
    """The operator `op` for vector with vector or vector with scalar, without a function to compile for each pair."""

    @type_callable(op)
    def operation(context):
        return lambda a, b: _common(a, b) if isinstance(a, Vector) or isinstance(b, Vector) else None

    def lower(context, builder, signature, args):
        vector = signature.return_type
        x, y = (_broadcast(context, builder, v, t, vector) for v, t in zip(args, signature.args, strict=True))
        if _is_int(vector):
            return getattr(builder, int_op)(x, y)
        return getattr(builder, float_op)(x, y, flags=("contract", "nsz"))

    for kinds in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(op, *kinds)(lower)


_lanewise(operator.add, "fadd", "add")
_lanewise(operator.sub, "fsub", "sub")
_lanewise(operator.mul, "fmul", "mul")


@intrinsic
def fma(typingctx, a, b, c):
    """a*b + c, lane by lane, rounded once; scalars are splat."""
    vector = _common(a, b, c)

    def codegen(context, builder, signature, args):
        x, y, z = (_broadcast(context, builder, v, t, vector) for v, t in zip(args, signature.args, strict=True))
        return _fma(builder, x, y, z)

    return vector(a, b, c), codegen


@intrinsic
def select_ge(typingctx, a, b, yes, no):
    """Lane by lane: yes where a >= b, else no (signed for integers, false on NaN)."""
    condition, vector = _common(a, b), _common(yes, no)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        x, y = (_broadcast(context, builder, args[i], kinds[i], condition) for i in (0, 1))
        u, v = (_broadcast(context, builder, args[i], kinds[i], vector) for i in (2, 3))
        compare = builder.icmp_signed if _is_int(condition) else builder.fcmp_ordered
        return builder.select(compare(">=", x, y), u, v)

    return vector(a, b, yes, no), codegen


@intrinsic
def to_float(typingctx, a):
    """Signed integers as floating-point numbers of the same width."""
    vector = Vector({32: types.float32, 64: types.float64}[a.element.bitwidth], a.lanes)

    def codegen(context, builder, signature, args):
        return builder.sitofp(args[0], context.get_value_type(vector))

    return vector(a), codegen


@intrinsic
def absolute(typingctx, a):
    """Absolute values of signed integers, modulo their range: the most negative one stays as it is."""

    def codegen(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.abs.v{kind.count}i{kind.element.width}"
        flag = ir.IntType(1)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, flag]), name)
        return builder.call(function, [args[0], flag(0)])

    return a(a), codegen


@intrinsic
def with_sign(typingctx, magnitude, integers):
    """Lane by lane: magnitude, which is not negative, or minus it where the integer is negative."""

    def codegen(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.copysign.v{kind.count}f{signature.args[0].element.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, kind]), name)
        return builder.call(function, [args[0], builder.bitcast(args[1], kind)])

    return magnitude(magnitude, integers), codegen


def _registers(builder, value, width: int):
    """The vector cut into pieces of `width` lanes: a renaming of registers, no instruction."""
    index = ir.IntType(32)
    for start in range(0, value.type.count, width):
        mask = ir.Constant(ir.VectorType(index, width), list(range(start, start + width)))
        yield builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


@intrinsic
def dot_fold(typingctx, a, b, c):
    """One register of partial sums: c + the registers of a*b, added by a chain of multiply-adds."""
    width = width_of(a.element)

    def codegen(context, builder, signature, args):
        total = args[2]
        for x, y in zip(_registers(builder, args[0], width), _registers(builder, args[1], width), strict=True):
            total = _fma(builder, x, y, total)
        return total

    return c(a, b, c), codegen


@intrinsic
def dot(typingctx, a, b):
    """The sum over all lanes of a*b, in a fixed order: registers by multiply-adds, then halves of one."""
    width = width_of(a.element)

    def codegen(context, builder, signature, args):
        factors = (list(_registers(builder, arg, width)) for arg in args)
        first, *others = zip(*factors, strict=True)
        total = builder.fmul(*first)
        for x, y in others:
            total = _fma(builder, x, y, total)
        while total.type.count > 1:
            total = builder.fadd(*_registers(builder, total, total.type.count // 2))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return a.element(a, b), codegen


@intrinsic
def out_of_line(typingctx):
    """Keep the function that says this out of its callers: a rare path whose constants would be hoisted there, what
    they need several times, or a loop that LLVM vectorizes in a function of its own only.
    """

    def codegen(context, builder, signature, args):
        attributes = builder.function.attributes
        attributes.discard("alwaysinline")  # which a function inherits from a caller that is forceinline
        attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def ramp(typingctx, array):
    """0, 1, 2, ... in the lanes of a tile of array's element type."""
    vector = Vector(array.dtype, lanes_of(array.dtype))

    def codegen(context, builder, signature, args):
        return _constant(context.get_value_type(vector), range(vector.lanes))

    return vector(array), codegen


@intrinsic
def load_register(typingctx, array, index):
    """One register of lanes: array[index : index + WIDTH]."""
    vector = Vector(array.dtype, width_of(array.dtype))

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        pointer, align = _pointer(context, builder, signature.args[0], args[0], index, context.get_value_type(vector))
        return builder.load(pointer, align=align)

    return vector(array, index), codegen


def _masked(context, builder, signature, args, name: str, vector: Vector, before: list, after: list, result):
    """Call llvm.masked.`name` on array, index, count = args[:3]."""
    kind = context.get_value_type(vector)
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    pointer, align = _pointer(context, builder, signature.args[0], args[0], index, kind)
    lane = Vector(types.int64, vector.lanes)
    count = _broadcast(context, builder, args[2], signature.args[2], lane)
    mask = builder.icmp_signed("<", _constant(context.get_value_type(lane), range(vector.lanes)), count)
    arguments = [*before, pointer, ir.Constant(ir.IntType(32), align), mask, *after]
    letter = "i" if isinstance(vector.element, types.Integer) else "f"
    name = f"llvm.masked.{name}.v{vector.lanes}{letter}{vector.element.bitwidth}.p0"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


@intrinsic
def load_some(typingctx, array, index, count, vector):
    """As many lanes as `vector` has, of array's element type: array[index : index + count], then zeros."""
    loaded = Vector(array.dtype, vector.lanes)

    def codegen(context, builder, signature, args):
        zeros = context.get_constant_null(loaded)
        return _masked(context, builder, signature, args, "load", loaded, [], [zeros], zeros.type)

    return loaded(array, index, count, vector), codegen


@intrinsic
def store_some(typingctx, array, index, count, vector):
    """array[index : index + count] = the first lanes of `vector`."""

    def codegen(context, builder, signature, args):
        kind = signature.args[3]
        _masked(context, builder, signature, args, "store", kind, [args[3]], [], ir.VoidType())
        return context.get_dummy_value()

    return types.void(array, index, count, vector), codegen


def _moved(builder, vector, other, up: bool):
    """Every lane in the next one, or in the one before; what is missing then is in every lane of `other`."""
    lanes = vector.type.count
    order = [lanes, *range(lanes - 1)] if up else [*range(1, lanes + 1)]
    return builder.shuffle_vector(vector, other, ir.Constant(ir.VectorType(ir.IntType(32), lanes), order))


def _move(vector, scalar, up: bool):
    """Typing and code of the same."""

    def codegen(context, builder, signature, args):
        return _moved(builder, args[0], _broadcast(context, builder, args[1], signature.args[1], vector), up)

    return vector(vector, scalar), codegen


@intrinsic
def moved_up(typingctx, vector, first):
    """Every lane in the next one, `first` in lane 0."""
    return _move(vector, first, up=True)


@intrinsic
def moved_down(typingctx, vector, last):
    """Every lane in the one before, `last` in the last lane."""
    return _move(vector, last, up=False)


@intrinsic
def claim(typingctx, array, index):
    """Ask for the cache line of array[index], to write there soon; the element may lie outside of the array."""

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        address, _ = _pointer(context, builder, signature.args[0], args[0], index, ir.IntType(8))
        write, keep, data = map(ir.IntType(32), (1, 3, 1))
        kind = ir.FunctionType(ir.VoidType(), [address.type, *[write.type] * 3])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, write, keep, data])
        return context.get_dummy_value()

    return types.void(array, index), codegen


@intrinsic
def sum_rows(typingctx, array, index):
    """One register: lane r is the sum of row r of the WIDTH x WIDTH block that starts at array[index].

    A butterfly: each step interleaves pairs of vectors and adds, halving their number, 3 instructions a pair instead of
    the 8 that a sum across the lanes of every row costs. Only one port can shuffle, so few of them do: the first step
    is interleaved by loads of half rows, the others by a blend and one shuffle. The order of additions is fixed.
    """
    width = width_of(array.dtype)
    vector = Vector(array.dtype, width)
    mask = ir.VectorType(ir.IntType(32), width)

    def codegen(context, builder, signature, args):
        start = context.cast(builder, args[1], signature.args[1], types.intp)
        half_kind = ir.VectorType(context.get_value_type(array.dtype), width // 2)

        def half_row(r, which):
            at = builder.add(start, ir.Constant(start.type, r * width + which * (width // 2)))
            address, align = _pointer(context, builder, signature.args[0], args[0], at, half_kind)
            return builder.load(address, align=align)

        def interleave(a, b, lanes):
            return builder.shuffle_vector(a, b, ir.Constant(mask, lanes))

        half = width // 2
        join = list(range(width))
        rows = [
            builder.fadd(*(interleave(half_row(r, which), half_row(r + half, which), join) for which in (0, 1)))
            for r in range(half)
        ]
        while half > 1:
            half //= 2
            blend = [lane + width if lane & half else lane for lane in range(width)]
            shuffle = [lane ^ half for lane in blend]
            rows = [
                builder.fadd(interleave(a, b, blend), interleave(a, b, shuffle))
                for a, b in zip(rows[:half], rows[half:], strict=True)
            ]
        return rows[0]

    return vector(array, index), codegen
