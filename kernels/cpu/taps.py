"""Taps: the eight cells of a table around each sample, two samples in a vector.

Lanes are taps: 0 to 7 belong to one sample, 8 to 15 to the next. Neighbouring cells are one load where lanes = samples
would gather them one by one. What is left is a sum over groups of eight lanes (sum_taps: 7 sums of registers, 3
instructions each, for a register of samples).

    load_pair(array, i, j)      16 lanes: array[i : i + 8] and array[j : j + 8]
    splat_pair(a, b)            16 lanes: a eight times and b eight times
    add_to_cells(array, i, j, v)    array[i : i + 8] += v[:8], then array[j : j + 8] += v[8:]; the two may overlap
    sum_taps(array, i)          one register: lane s is the sum of array[i + 8 s : i + 8 s + 8]

Arrays may be pointers, as in fastddsp.kernels.cpu.simd.
"""

import llvmlite.ir as ir
from numba.core import types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.simd import Vector, _pointer, width_of
from fastddsp.kernels.nufft import TAPS

PAIR = 2 * TAPS


def _cells(context, builder, kinds, args, position: int, lanes: int):
    """Pointer to `lanes` elements of the array args[0] from index args[position] on, and its alignment."""
    index = context.cast(builder, args[position], kinds[position], types.intp)
    kind = ir.VectorType(context.get_value_type(kinds[0].dtype), lanes)
    return _pointer(context, builder, kinds[0], args[0], index, kind)


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


@intrinsic
def load_pair(typingctx, array, i, j):
    """16 lanes: array[i : i + 8] and array[j : j + 8]."""

    def codegen(context, builder, signature, args):
        halves = []
        for position in (1, 2):
            pointer, align = _cells(context, builder, signature.args, args, position, TAPS)
            halves.append(builder.load(pointer, align=align))
        return _shuffle(builder, halves[0], halves[1], range(PAIR))

    return Vector(array.dtype, PAIR)(array, i, j), codegen


@intrinsic
def splat_pair(typingctx, a, b):
    """16 lanes: a eight times and b eight times."""
    vector = Vector(a, PAIR)

    def codegen(context, builder, signature, args):
        both = ir.Constant(ir.VectorType(args[0].type, 2), ir.Undefined)
        for lane, value in enumerate(args):
            both = builder.insert_element(both, value, ir.Constant(ir.IntType(32), lane))
        return _shuffle(builder, both, both, [lane // TAPS for lane in range(PAIR)])

    return vector(a, a), codegen


@intrinsic
def add_to_cells(typingctx, array, i, j, value):
    """array[i : i + 8] += value[:8], then array[j : j + 8] += value[8:]; the two may overlap."""

    def codegen(context, builder, signature, args):
        for position in (1, 2):
            pointer, align = _cells(context, builder, signature.args, args, position, TAPS)
            half = _shuffle(builder, args[3], args[3], range((position - 1) * TAPS, position * TAPS))
            builder.store(builder.fadd(builder.load(pointer, align=align), half), pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, i, j, value), codegen


@intrinsic
def sum_taps(typingctx, array, i):
    """One register: lane s is the sum of array[i + 8 s : i + 8 s + 8], neighbours first."""
    width = width_of(array.dtype)

    def codegen(context, builder, signature, args):
        pointer, align = _cells(context, builder, signature.args, args, 1, TAPS * width)
        total = builder.load(pointer, align=align)
        while total.type.count > width:
            even, odd = (_shuffle(builder, total, total, range(start, total.type.count, 2)) for start in (0, 1))
            total = builder.fadd(even, odd)
        return total

    return Vector(array.dtype, width)(array, i), codegen
