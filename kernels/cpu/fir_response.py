"""Responses: taps of a filter to its values at the points of fir_transform, and the adjoint, one filter in every lane.

Taps from lag -(M - 1) to M - 1 are a symmetric and an antisymmetric part, s[-m] = s[m] and o[-m] = -o[m], and at the
points t = exp(i theta) of t^M = i their values are S + i O, all real:

    S(theta) = s[0] + 2 sum_{0<m<M} s[m] cos(m theta)
    O(theta) = 2 sum_{0<m<M} o[m] sin(m theta) = 2 sum_{0<m<M} o[m] cos((M - m) theta),    as M theta is pi / 2 mod 2 pi

So O is S of the reverse, s[M - m] = o[m]; and with a window as long as the response there is no O. Numbers p with real
values are half as many as they seem. Modulo t^m - c, |c| = 1, coefficients of t^-k are conjugates of those of t^k:

    p[-k] = conj(p[k])

so k = 0..m / 2 are all, and the steps of fir_transform take half of the time: b_j[e] for e <= m / 2 only, from
p[e + k m] as they are, and conj(p[k m - e]) for what lies at e - k m. Modulo t^M + i, where values are the same,
p[k] = s[k] + i s[M - k]: rows of s are real parts in order, and imaginary parts in reverse order. Blocks of later steps
are laid out in the same way, m + 2 rows for one of m numbers: real parts of 0..m / 2, then imaginary parts of m / 2..0.

    response_of_taps    M + 1 rows s[0], ..., s[M - 1], 0 -> M rows of values
    taps_of_response    blocks of LAST + 2 rows (see fir_transform.correlated) -> M rows, sums of values V cos(m theta)
"""

from numba import njit
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.fir_transform import FIRSTS, LAST, load_twiddles, twiddles_of
from fastddsp.kernels.cpu.registers import Complexes, Registers, choose

# ------------------------------------------------------------------------------------------ a step, in LLVM's language


def _make_step(radices: tuple[int, ...], there: bool):
    """A step from all blocks of `size` numbers to R times as many, for R among `radices`, or back.

    large: blocks `stride` rows apart, whose imaginary part of number 0 is in row `top`; small: as in the module's text.
    """

    @intrinsic
    def step(typingctx, large, stride, top, small, size, n_blocks, radix, twiddles):
        def codegen(context, builder, signature, args):
            registers = Registers(context, builder, signature, args)
            stride, top, size, n_blocks, which = map(registers.index, (1, 2, 4, 5, 6))
            choose(builder, which, radices, lambda radix: _step(registers, stride, top, size, n_blocks, radix, there))
            return context.get_dummy_value()

        return types.void(large, stride, top, small, size, n_blocks, radix, twiddles), codegen

    return step


def _step(registers: Registers, stride, top, size, n_blocks, radix: int, there: bool) -> None:
    """The code of such a step; large, small and twiddles: arguments 0, 3 and 7."""
    builder, numbers, at = registers.builder, Complexes(registers), registers.at
    add, sub, mul, zero = builder.add, builder.sub, builder.mul, size.type(0)
    m = builder.udiv(size, size.type(radix))
    small_stride, multiples = add(m, m.type(2)), [mul(m, m.type(k)) for k in range(radix)]
    small_strides = [mul(small_stride, m.type(j)) for j in range(radix)]

    def turned(x, power, sign):
        return numbers.times(x, w[power - 1], sign) if power else x

    def load(pair):
        return tuple(map(registers.load, pair))

    def save(x, pair):
        for value, row in zip(x, pair, strict=True):
            registers.save(value, row)

    with cgutils.for_range(builder, n_blocks) as blocks:
        of_block = at(registers.arguments[7][1], mul(blocks.index, size.type(2 * (radix - 1))))
        large_block = at(registers.rows(0), mul(blocks.index, stride))
        small_block = at(registers.rows(3), mul(blocks.index, mul(small_stride, m.type(radix))))
        with cgutils.for_range(builder, add(builder.udiv(m, m.type(2)), m.type(1))) as elements:
            e, w = elements.index, load_twiddles(registers, of_block, radix)
            real, imaginary = at(small_block, e), at(small_block, sub(add(m, m.type(1)), e))
            small = [(at(real, j), at(imaginary, j)) for j in small_strides]
            up, down = (
                (at(large_block, e), at(large_block, sub(top, e))),
                (at(large_block, sub(zero, e)), at(large_block, add(top, e))),
            )
            large = []
            for k in range(radix):
                mirrored = 2 * k >= radix
                power, (real, imaginary) = (radix - k, down) if mirrored else (k, up)
                place = at(real, multiples[power]), at(imaginary, sub(zero, multiples[power]))
                large.append((place, power, mirrored))
            if there:
                a = [(turned(load(pair), power, -1), mirrored) for pair, power, mirrored in large]
                a = numbers.transform([numbers.conjugate(x) if mirrored else x for x, mirrored in a], -1)
                for x, pair in zip(a, small, strict=True):
                    save(x, pair)
            else:
                a = numbers.transform([load(pair) for pair in small], 1)
                for x, (pair, power, mirrored) in zip(a, large, strict=True):
                    save(turned(numbers.conjugate(x) if mirrored else x, power, 1), pair)


_first_there, _first_back = (_make_step(FIRSTS, there) for there in (True, False))
_step_there, _step_back = (_make_step((LAST,), there) for there in (True, False))


@intrinsic
def _last(typingctx, blocks, n_blocks, twiddles, values):
    """The last step there: values, LAST rows a block, from blocks of LAST numbers. May be done in place."""

    def codegen(context, builder, signature, args):
        registers = Registers(context, builder, signature, args)
        numbers, at = Complexes(registers), registers.at
        with cgutils.for_range(builder, registers.index(1)) as loop:

            def times(number):
                return builder.mul(loop.index, loop.index.type(number))

            w = load_twiddles(registers, at(args[2], times(2 * (LAST - 1))), LAST)
            block, target = at(registers.rows(0), times(LAST + 2)), at(registers.rows(3), times(LAST))
            rows = [registers.load(at(block, k)) for k in range(LAST + 2)]
            p = [(rows[k], rows[LAST + 1 - k]) for k in range(LAST // 2 + 1)]
            p[1:] = [numbers.times(x, twiddle, -1) for x, twiddle in zip(p[1:], w[: LAST // 2], strict=True)]
            for k, value in enumerate(numbers.real_sums(p)):
                registers.save(value, at(target, k))
        return context.get_dummy_value()

    return types.void(blocks, n_blocks, twiddles, values), codegen


# ------------------------------------------------------------------------------------------------------ there and back


@helper(forceinline=True)
def stays(transform):
    """Whether a response ends where its taps begin, and the other way round: else in the other room."""
    size, even = transform.half // transform.first, False
    while size > LAST:
        size, even = size // LAST, not even
    return even


@njit(inline="always")
def response_of_taps(s, other, transform):
    """Values from rows of taps, in one of two rooms (see stays) of response_rows."""
    half, first = transform.half, transform.first
    _first_there(s, half, half, other, half, 1, first, transform.twiddles)
    s, other, size = other, s, half // first
    while size > LAST:
        n_blocks = half // size
        _step_there(s, size + 2, size + 1, other, size, n_blocks, LAST, twiddles_of(transform, n_blocks))
        s, other, size = other, s, size // LAST
    n_blocks = half // LAST
    _last(s, n_blocks, twiddles_of(transform, n_blocks), s)


@njit(inline="always")
def taps_of_response(blocks, other, transform):
    """Rows of taps from blocks of LAST + 2 rows, M times as large, in one of two rooms."""
    half, first = transform.half, transform.first
    size = LAST * LAST
    while size <= half // first:
        n_blocks = half // size
        _step_back(other, size + 2, size + 1, blocks, size, n_blocks, LAST, twiddles_of(transform, n_blocks))
        blocks, other, size = other, blocks, size * LAST
    _first_back(other, half, half, blocks, half, 1, first, transform.twiddles)
