"""Tiles made of blocks: a tile of samples as a few blocks of 16, each with scalars of its own.

A quantity that is a different scalar for each block, or the same pattern in every block, fills a tile without any
arithmetic: a broadcast or a renaming of registers.

    load_block(array, i)           one block of lanes: array[i : i + block_lanes]
    repeat(v)                      the tile whose blocks are all v
    each_block(array, i, stride)   the tile whose block j is array[i + j stride] in every lane
    top_bits(v, array)             int64 phases rounded to as many top bits as array's element type has, as integers

A block has 16 lanes on every CPU, so that what is computed once a block does not depend on the CPU. Where a tile is
shorter than that it is one block, a part of 16.
"""

import llvmlite.ir as ir
from numba.core import types
from numba.core.extending import intrinsic, overload

from fastddsp.kernels.cpu.simd import Vector, _broadcast, _constant, _pointer, lanes_of

BLOCK = 16


def block_lanes(element: types.Type) -> int:
    """Lanes of one block of `element`."""
    return min(BLOCK, lanes_of(element))


def block_count(array):
    """Blocks in a tile of array's element type, inside a kernel."""


@overload(block_count, inline="always")
def _block_count(array):
    count = lanes_of(array.dtype) // block_lanes(array.dtype)
    return lambda array: count


@intrinsic
def load_block(typingctx, array, index):
    """One block of lanes: array[index : index + block_lanes]."""
    vector = Vector(array.dtype, block_lanes(array.dtype))

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        kind = context.get_value_type(vector)
        pointer, align = _pointer(context, builder, signature.args[0], args[0], index, kind)
        return builder.load(pointer, align=align)

    return vector(array, index), codegen


def _tile_of(builder, blocks):
    """The blocks (LLVM vectors of one length) one after another."""
    index = ir.IntType(32)
    while len(blocks) > 1:
        lanes = 2 * blocks[0].type.count
        mask = _constant(ir.VectorType(index, lanes), range(lanes))
        blocks = [builder.shuffle_vector(blocks[i], blocks[i + 1], mask) for i in range(0, len(blocks), 2)]
    return blocks[0]


@intrinsic
def repeat(typingctx, block):
    """The tile whose blocks are all `block`."""
    vector = Vector(block.element, lanes_of(block.element))

    def codegen(context, builder, signature, args):
        return _tile_of(builder, [args[0]] * (vector.lanes // block.lanes))

    return vector(block), codegen


@intrinsic
def each_block(typingctx, array, index, stride):
    """The tile whose block j is array[index + j * stride] in every lane."""
    vector = Vector(array.dtype, lanes_of(array.dtype))
    block = Vector(array.dtype, block_lanes(array.dtype))

    def codegen(context, builder, signature, args):
        at, stride = (context.cast(builder, args[i], signature.args[i], types.intp) for i in (1, 2))
        element = context.get_value_type(array.dtype)
        blocks = []
        for _ in range(vector.lanes // block.lanes):
            pointer, align = _pointer(context, builder, signature.args[0], args[0], at, element)
            scalar = builder.load(pointer, align=align)
            blocks.append(_broadcast(context, builder, scalar, array.dtype, block))
            at = builder.add(at, stride)
        return _tile_of(builder, blocks)

    return vector(array, index, stride), codegen


@intrinsic
def top_bits(typingctx, phases, array):
    """The phases, 64-bit fractions of a turn, rounded to as many top bits as array's element type has, as integers."""
    bits = array.dtype.bitwidth
    shift = 64 - bits

    def codegen(context, builder, signature, args):
        if shift == 0:
            return args[0]
        kind = args[0].type
        half, shifts = (ir.Constant(kind, [kind.element(x)] * kind.count) for x in (1 << (shift - 1), shift))
        rounded = builder.lshr(builder.add(args[0], half), shifts)
        return builder.trunc(rounded, ir.VectorType(ir.IntType(bits), kind.count))

    return Vector({32: types.int32, 64: types.int64}[bits], phases.lanes)(phases, array), codegen
