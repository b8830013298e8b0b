"""Between sequences that lie in memory one after the other, and rows: one lane a sequence (see fir_transform).

    load_lanes      row i, lane j = number starts[j] + i of an array; 0 where that is before lows[j] or from highs[j] on
    load_overlaps   the same where sequences start `block` numbers after each other, all inside of the array
    store_lanes     number i of sequence j = row i, lane j; sequences that start `stride` numbers after each other
    add_lanes       number starts[j] + i of an array += row i, lane j
    overlap_lanes   the same where sequences start `block` numbers after each other, within the rows

Squares of as many numbers a side as a register has lanes are turned in registers: within pieces of 128 bits and then
piece by piece, with one instruction a register and step. General permutations cost twice that.
"""

import llvmlite.ir as ir
from numba.core import types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.copies import copy_window
from fastddsp.kernels.cpu.simd import (
    Vector,
    _pointer,
    load_register,
    moved_down,
    moved_up,
    out_of_line,
    pointer,
    register_width,
    store,
    width_of,
)


def _turned(builder, square: list) -> list:
    """Registers whose lane j of number i is lane i of number j of the given ones."""
    lanes, index = len(square), ir.IntType(32)
    piece = 4 if isinstance(square[0].type.element, ir.FloatType) else 2  # lanes of 128 bits
    pieces = [range(at, at + piece) for at in range(0, lanes, piece)]

    def pick(a, b, order):
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(index, lanes), [*order]))

    def interleaved(half, run):  # runs of a's and b's in turn, of every piece's first or second half
        for lane in pieces:
            for k in range(half * piece // 2, (half + 1) * piece // 2, run):
                yield from (lane[k] + which * lanes + r for which in (0, 1) for r in range(run))

    def alternate(odd):  # every other piece of a, then of b
        return (which * lanes + lane for which in (0, 1) for lanes_of in pieces[odd::2] for lane in lanes_of)

    run = 1
    while run < piece:
        pairs = [(g + i, g + i + run) for g in range(0, lanes, piece) for i in range(piece) if not i & run]
        square = [pick(square[i], square[j], interleaved(half, run)) for i, j in pairs for half in (0, 1)]
        run *= 2
    columns = [square[q::piece] for q in range(piece)]  # of squares of pieces
    for _ in range(len(pieces).bit_length() - 1):
        columns = [
            [pick(a, b, alternate(odd)) for odd in (0, 1) for a, b in zip(c[::2], c[1::2], strict=True)]
            for c in columns
        ]
    return [columns[i % piece][i // piece] for i in range(lanes)]


def _square_at(context, builder, array_type, array, indices) -> list:
    """Addresses of registers from these indices on, each with the alignment of a number."""
    kind = context.get_value_type(Vector(array_type.dtype, width_of(array_type.dtype)))
    return [_pointer(context, builder, array_type, array, index, kind) for index in indices]


def _rows_at(context, builder, array_type, array, first) -> list:
    """The same, of as many rows as a square has, one after the other from number `first` on."""
    width = width_of(array_type.dtype)
    rows = (builder.add(first, first.type(i * width)) for i in range(width))
    return _square_at(context, builder, array_type, array, rows)


def _starts_at(builder, starts, shift, width: int) -> list:
    """starts[j] + shift of every lane."""
    return [builder.add(builder.load(builder.gep(starts, [ir.IntType(64)(j)])), shift) for j in range(width)]


def _turn(builder, sources, targets, adds: bool = False) -> None:
    """Load a square, and store it turned, or add it to what is there, one register after the other."""
    square = _turned(builder, [builder.load(address, align=align) for address, align in sources])
    for value, (address, align) in zip(square, targets, strict=True):
        value = builder.fadd(builder.load(address, align=align), value) if adds else value
        builder.store(value, address, align=align)


@intrinsic
def _load_square(typingctx, array, starts, shift, rows, at):
    """rows[at :], WIDTH rows of them: of lane j the numbers array[starts[j] + shift :]."""

    def codegen(context, builder, signature, args):
        shift, at = (context.cast(builder, args[i], signature.args[i], types.intp) for i in (2, 4))
        starts = _starts_at(builder, args[1], shift, width_of(array.dtype))
        sources = _square_at(context, builder, array, args[0], starts)
        _turn(builder, sources, _rows_at(context, builder, rows, args[3], at))
        return context.get_dummy_value()

    return types.void(array, starts, shift, rows, at), codegen


@intrinsic
def _store_square(typingctx, rows, at, room, first, stride):
    """room[first + j stride :][:WIDTH] = lane j of the rows rows[at :]."""

    def codegen(context, builder, signature, args):
        at, first, stride = (context.cast(builder, args[i], signature.args[i], types.intp) for i in (1, 3, 4))
        places = [builder.add(first, builder.mul(stride, stride.type(j))) for j in range(width_of(rows.dtype))]
        targets = _square_at(context, builder, room, args[2], places)
        _turn(builder, _rows_at(context, builder, rows, args[0], at), targets)
        return context.get_dummy_value()

    return types.void(rows, at, room, first, stride), codegen


@intrinsic
def _add_square(typingctx, rows, at, array, starts, shift):
    """array[starts[j] + shift :][:WIDTH] += lane j of the rows rows[at :], one lane after the other."""

    def codegen(context, builder, signature, args):
        at, shift = (context.cast(builder, args[i], signature.args[i], types.intp) for i in (1, 4))
        targets = _square_at(
            context, builder, array, args[2], _starts_at(builder, args[3], shift, width_of(array.dtype))
        )
        _turn(builder, _rows_at(context, builder, rows, args[0], at), targets, adds=True)
        return context.get_dummy_value()

    return types.void(rows, at, array, starts, shift), codegen


@helper
def load_lanes(array, lanes, n_rows, stage, rows):
    """Fill n_rows rows; n_rows: a multiple of a register's lanes. array, stage and rows: pointers.

    lanes: pointer to int64 starts, lows and highs, one of each a lane; starts may be changed. stage: room for as many
    numbers as the rows have, by way of which they go where a lane has zeros.
    """
    out_of_line()
    width, inside, source = register_width(rows), True, array
    for j in range(width):
        inside &= lanes[width + j] <= lanes[j] and lanes[j] + n_rows <= lanes[2 * width + j]
    if not inside:
        source = stage
        for j in range(width):
            start, staged = lanes[j], pointer(stage, j * n_rows)
            copy_window(array, lanes[width + j], lanes[2 * width + j], start, start + n_rows, staged)
            lanes[j] = j * n_rows
    for i in range(0, n_rows, width):
        _load_square(source, lanes, i, rows, i * width)


@helper
def load_overlaps(array, starts, block, n_rows, rows):
    """Fill n_rows rows from where numbers follow: starts[j] = starts[0] + j block; block: whole registers.

    Rows from `block` on are what lies that much before them, a lane further: no more squares to turn.
    """
    width = register_width(rows)
    for i in range(0, min(block, n_rows), width):
        _load_square(array, starts, i, rows, i * width)
    following = pointer(array, starts[width - 1])
    for i in range(block, n_rows):
        store(rows, i * width, moved_down(load_register(rows, (i - block) * width), following[i]))


@helper
def store_lanes(rows, n_rows, sequences, stride):
    """Lanes of n_rows rows, at least as many as a register has lanes, as sequences."""
    out_of_line()
    width = register_width(rows)
    for i in range(0, n_rows, width):
        i = min(i, n_rows - width)  # the last square overlaps the one before
        _store_square(rows, i * width, sequences, i, stride)


@helper
def add_lanes(rows, n_rows, array, starts):
    """Lanes of n_rows rows, and of those that follow up to whole registers, added to an array from starts[j] on."""
    width = register_width(rows)
    for i in range(0, n_rows, width):
        _add_square(rows, i * width, array, starts, i)


@helper
def overlap_lanes(rows, block, n_rows, n_lanes, tail):
    """Add to row i, lane j what reaches it of the lanes before: their rows i + block, i + 2 block, ...

    Rows `block` and on of a lane lie beside the next lane's first ones. tail: what reaches lane 0 in this way, n_rows -
    block numbers; overwritten with what reaches the lane after the first n_lanes.
    """
    width = register_width(rows)
    for i in range(n_rows - 1, block - 1, -1):
        at = (i - block) * width
        store(rows, at, load_register(rows, at) + moved_up(load_register(rows, i * width), tail[i - block]))
    for i in range(n_rows - block):
        tail[i] = rows[(block + i) * width + n_lanes - 1]
