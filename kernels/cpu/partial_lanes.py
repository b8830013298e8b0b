"""Vectors whose lanes are partials: phases in 64 bits beside samples in 32. Their rows end in load_some (see simd).

A block (fastddsp.kernels.cpu.blocks) gives the number of lanes, whatever the element type:

    like(array)                        a block of zeros of array's element type
    to_double(v), to_element(v, array) floating-point numbers as float64, and as those of array's element type
    to_phases(v)                       turns, float64, as 64-bit fractions of a turn; 0 where not finite
"""

import llvmlite.ir as ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.blocks import block_lanes
from fastddsp.kernels.cpu.simd import Vector, _constant


@intrinsic
def like(typingctx, array):
    """A block of zeros of array's element type."""
    vector = Vector(array.dtype, block_lanes(array.dtype))

    def codegen(context, builder, signature, args):
        return context.get_constant_null(vector)

    return vector(array), codegen


@intrinsic
def to_double(typingctx, a):
    """Floating-point numbers as float64."""
    vector = Vector(types.float64, a.lanes)

    def codegen(context, builder, signature, args):
        return args[0] if a.element == types.float64 else builder.fpext(args[0], context.get_value_type(vector))

    return vector(a), codegen


@intrinsic
def to_element(typingctx, a, array):
    """float64 numbers as those of array's element type."""
    vector = Vector(array.dtype, a.lanes)

    def codegen(context, builder, signature, args):
        return args[0] if array.dtype == types.float64 else builder.fptrunc(args[0], context.get_value_type(vector))

    return vector(a, array), codegen


@intrinsic
def to_phases(typingctx, turns):
    """Turns, float64, as 64-bit fractions of a turn, rounded to 2^-63: whole turns dropped, 0 where not finite."""
    vector = Vector(types.int64, turns.lanes)

    def codegen(context, builder, signature, args):
        kind, integer = args[0].type, context.get_value_type(vector)
        rint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.rint.v{kind.count}f64"
        )
        rest = builder.fsub(args[0], builder.call(rint, [args[0]]))
        finite = builder.fcmp_ordered("ord", rest, rest)  # infinity - infinity is not
        rest = builder.select(finite, rest, context.get_constant_null(turns))
        scaled = builder.fptosi(builder.fmul(rest, _constant(kind, [2.0**63] * kind.count)), integer)
        return builder.shl(scaled, _constant(integer, [1] * kind.count))

    return vector(turns), codegen
