"""Spans: vectors of 16 lanes that are loaded and stored by part, for short runs of numbers at any place.

    load_span(array, i, first, last)      lane l: array[i + l] where first <= i + l < last, else 0
    store_span(array, i, first, last, v)  array[i + l] = lane l where first <= i + l < last; the rest is left alone
    reverse(v)                            lane 15 first
    numbers(array, x)                     lane l: x + l, as array's element type

Outside first..last no memory is touched, so i may lie before the array's beginning.
"""

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.simd import Vector, _broadcast, _constant, _pointer

SPAN = 16


def _masked(context, builder, signature, args, name: str, before: list, after: list, result):
    """Call llvm.masked.`name`; args begin with the array, i, first and last."""
    vector = Vector(signature.args[0].dtype, SPAN)
    kind = context.get_value_type(vector)
    index, first, last = (context.cast(builder, args[k], signature.args[k], types.intp) for k in (1, 2, 3))
    pointer, align = _pointer(context, builder, signature.args[0], args[0], index, kind)
    lane = Vector(types.int32, SPAN)
    numbers = _constant(context.get_value_type(lane), range(SPAN))
    low, high = (_broadcast(context, builder, builder.sub(end, index), types.intp, lane) for end in (first, last))
    mask = builder.and_(builder.icmp_signed(">=", numbers, low), builder.icmp_signed("<", numbers, high))
    arguments = [*before, pointer, ir.Constant(ir.IntType(32), align), mask, *after]
    name = f"llvm.masked.{name}.v{SPAN}f{vector.element.bitwidth}.p0"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


@intrinsic
def load_span(typingctx, array, i, first, last):
    """Lane l: array[i + l] where first <= i + l < last, else 0."""
    vector = Vector(array.dtype, SPAN)

    def codegen(context, builder, signature, args):
        zeros = context.get_constant_null(vector)
        return _masked(context, builder, signature, args, "load", [], [zeros], zeros.type)

    return vector(array, i, first, last), codegen


@intrinsic
def store_span(typingctx, array, i, first, last, vector):
    """array[i + l] = lane l where first <= i + l < last."""

    def codegen(context, builder, signature, args):
        _masked(context, builder, signature, args, "store", [args[4]], [], ir.VoidType())
        return context.get_dummy_value()

    return types.void(array, i, first, last, vector), codegen


@intrinsic
def reverse(typingctx, vector):
    """The lanes in reverse order."""

    def codegen(context, builder, signature, args):
        mask = _constant(ir.VectorType(ir.IntType(32), vector.lanes), range(vector.lanes - 1, -1, -1))
        return builder.shuffle_vector(args[0], args[0], mask)

    return vector(vector), codegen


@intrinsic
def numbers(typingctx, array, x):
    """Lane l: x + l, as array's element type."""
    vector = Vector(array.dtype, SPAN)

    def codegen(context, builder, signature, args):
        lanes = _constant(context.get_value_type(vector), range(SPAN))
        return builder.fadd(lanes, _broadcast(context, builder, args[1], signature.args[1], vector))

    return vector(array, x), codegen
