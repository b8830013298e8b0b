"""Rows: many small problems side by side, one in each lane of a register.

A block of rows is a one-dimensional array that holds row after row of WIDTH numbers; lane p of every row belongs to
problem p. An algorithm over rows is written like its scalar form, needs no shuffles, wastes no lanes on odd sizes, and
all its loads are aligned. The price is the way in and out: a transposition.

    gather_rows(block, i, source, starts, at)   QUAD rows from i on: lane p gets source[starts[p] + at :][:QUAD]
    add_rows(block, i, target, starts, at)      the reverse, added to what is there, lane by lane
    accumulator(block)                          TILE_ROWS rows of zeros, in registers
    slide(acc, a, i, b, j)                      acc[r] += sum_{c < TAPS} a[i + c] b[j + r + c]: a step of a correlation
    spread(acc, x, i, coefficients, j)          acc[r] += coefficients[j + r] x[i]: a step of a matrix product

i and j count rows. Blocks are pointers (simd.pointer) and begin at a multiple of REGISTER_BYTES.
"""

import llvmlite.ir as ir
from numba.core import types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.simd import (
    REGISTER_BYTES,
    Vector,
    _broadcast,
    _fma,
    _pointer,
    _registers,
    width_of,
)

TILE_ROWS = 16 if REGISTER_BYTES == 64 else 8
"""Rows of an accumulator: with TAPS factors and one row in flight they fill the registers without spilling."""
TAPS = 4
"""Rows of the shorter factor that one step of `slide` consumes: 0.36 loads a multiply-add, where 1 is the limit."""
QUAD = 4
"""Rows that are transposed at a time."""


def _row_address(context, builder, signature, args, which: int, row: int, lanes: int):
    """Pointer to `lanes` numbers at row `args[which + 1] + row` of the block `args[which]`."""
    array_type = signature.args[which]
    n = width_of(array_type.dtype)
    index = context.cast(builder, args[which + 1], signature.args[which + 1], types.intp)
    index = builder.add(builder.mul(index, index.type(n)), index.type(row * n))
    kind = ir.VectorType(context.get_value_type(array_type.dtype), lanes)
    return _pointer(context, builder, array_type, args[which], index, kind)[0]


def _load_row(context, builder, signature, args, which: int, row: int):
    pointer = _row_address(context, builder, signature, args, which, row, width_of(signature.args[which].dtype))
    return builder.load(pointer, align=REGISTER_BYTES)


def _join(builder, parts):
    """Vectors of equal length as one: a renaming of registers where each fills one."""
    while len(parts) > 1:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
        parts = [builder.shuffle_vector(parts[i], parts[i + 1], mask) for i in range(0, len(parts), 2)]
    return parts[0]


@intrinsic
def accumulator(typingctx, block):
    """TILE_ROWS rows of zeros, in registers."""
    vector = Vector(block.dtype, TILE_ROWS * width_of(block.dtype))

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(vector)
        return ir.Constant(kind, [ir.Constant(kind.element, 0.0)] * vector.lanes)

    return vector(block), codegen


@intrinsic
def slide(typingctx, acc, a, i, b, j):
    """acc[r] += sum_{c < TAPS} a[i + c] b[j + r + c], r < TILE_ROWS."""

    def codegen(context, builder, signature, args):
        sums = list(_registers(builder, args[0], width_of(acc.element)))
        factors = [_load_row(context, builder, signature, args, 1, c) for c in range(TAPS)]
        for s in range(TILE_ROWS + TAPS - 1):
            row = _load_row(context, builder, signature, args, 3, s)
            for c in range(TAPS):
                if 0 <= s - c < TILE_ROWS:
                    sums[s - c] = _fma(builder, factors[c], row, sums[s - c])
        return _join(builder, sums)

    return acc(acc, a, i, b, j), codegen


@intrinsic
def spread(typingctx, acc, x, i, coefficients, j):
    """acc[r] += coefficients[j + r] x[i], r < TILE_ROWS; `coefficients` are numbers, not rows."""
    row_type = Vector(acc.element, width_of(acc.element))

    def codegen(context, builder, signature, args):
        row = _load_row(context, builder, signature, args, 1, 0)
        start = context.cast(builder, args[4], signature.args[4], types.intp)
        sums = []
        for r, total in enumerate(_registers(builder, args[0], row_type.lanes)):
            index = builder.add(start, start.type(r))
            kind = context.get_value_type(acc.element)
            pointer, _ = _pointer(context, builder, signature.args[3], args[3], index, kind)
            number = _broadcast(context, builder, builder.load(pointer), acc.element, row_type)
            sums.append(_fma(builder, number, row, total))
        return _join(builder, sums)

    return acc(acc, x, i, coefficients, j), codegen


def _transpose_squares(builder, vectors):
    """n vectors of squares of n x n numbers, each transposed: a butterfly."""
    n, lanes = len(vectors), vectors[0].type.count
    half = n // 2
    while half:
        mixed = list(vectors)
        for low in (r for r in range(n) if not r & half):
            for high in (0, 1):
                mask = [(lane & ~half) + high * half + (lanes if lane & half else 0) for lane in range(lanes)]
                constant = ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask)
                mixed[low + high * half] = builder.shuffle_vector(vectors[low], vectors[low + half], constant)
        vectors = mixed
        half //= 2
    return vectors


def _lane_addresses(context, builder, signature, args, shift: int, count: int):
    """For every lane the pointer to `count` numbers of array[starts[lane] + at + shift], and its alignment."""
    array_type, starts_type, at_type = signature.args[2:]
    element = array_type.dtype
    kind = ir.VectorType(context.get_value_type(element), count)
    at = context.cast(builder, args[4], at_type, types.intp)
    for lane in range(width_of(element)):
        start, _ = _pointer(context, builder, starts_type, args[3], at.type(lane), at.type)
        index = builder.add(builder.add(builder.load(start), at), at.type(shift))
        yield _pointer(context, builder, array_type, args[2], index, kind)


def _square(element) -> int:
    """Side of the squares that are transposed inside a register: 16 bytes, which move without a shuffle."""
    return 128 // element.bitwidth


@intrinsic
def gather_rows(typingctx, block, i, source, starts, at):
    """block[i + e][lane] = source[starts[lane] + at + e], e < QUAD."""
    n = _square(block.dtype)

    def codegen(context, builder, signature, args):
        for shift in range(0, QUAD, n):
            addresses = _lane_addresses(context, builder, signature, args, shift, n)
            pieces = [builder.load(pointer, align=align) for pointer, align in addresses]
            vectors = _transpose_squares(builder, [_join(builder, pieces[e::n]) for e in range(n)])
            for e, vector in enumerate(vectors):
                pointer = _row_address(context, builder, signature, args, 0, shift + e, vector.type.count)
                builder.store(vector, pointer, align=REGISTER_BYTES)
        return context.get_dummy_value()

    return types.void(block, i, source, starts, at), codegen


@intrinsic
def add_rows(typingctx, block, i, target, starts, at):
    """target[starts[lane] + at + e] += block[i + e][lane], e < QUAD; lanes may overlap."""
    n = _square(block.dtype)

    def codegen(context, builder, signature, args):
        for shift in range(0, QUAD, n):
            loaded = [_load_row(context, builder, signature, args, 0, shift + e) for e in range(n)]
            vectors = _transpose_squares(builder, loaded)
            pieces = [list(_registers(builder, vector, n)) for vector in vectors]
            addresses = _lane_addresses(context, builder, signature, args, shift, n)
            for lane, (pointer, align) in enumerate(addresses):
                total = builder.fadd(builder.load(pointer, align=align), pieces[lane % n][lane // n])
                builder.store(total, pointer, align=align)
        return context.get_dummy_value()

    return types.void(block, i, target, starts, at), codegen
