"""Products of polynomials, one in every lane: the transform behind fastddsp.kernels.cpu.fir.

A row is one register: lane j of row i is number i of polynomial j. So nothing ever moves between lanes, and the
transform of all lanes' polynomials is that of one, with registers for numbers and twiddles that all lanes share.

A convolution is a product of polynomials, and right modulo t^N + 1 where it has no more than N coefficients. Over
complex numbers t^N + 1 = (t^M - i)(t^M + i), M = N / 2, and modulo one factor a real polynomial is the conjugate of
what it is modulo the other. So N real numbers a are M complex ones, a[e] + i a[e + M] (a right-angle convolution), and
no row moves: the first half of the rows is the real part, the second the imaginary part. From t^M - i on, roots are
drawn, R of them a step, in place:

    t^(R m) - c = prod_j (t^m - u_j),   u_j = c^(1/R) exp(2 pi i j / R),   R = 2, 3, 4, 6, 8 or 12

    b_j[e] = sum_k u_j^k a[e + k m],   e < m,   j < R         R blocks of m numbers for the one of R m

until blocks are single numbers: the polynomials' values at M points of the unit circle, in an order that does not
matter. Products of values are values of products; with one factor's conjugates, of correlations. The way back undoes
every step but its factor R: the product comes back M times as large, which the caller's window makes good.

One factor is always a response, taps from lag -(M - 1) to M - 1, whose values fastddsp.kernels.cpu.fir_response makes:
real where taps are symmetric. What it filters begins at row 0, so what sounds begins at negative rows. They would come
back at the end, negative, as t^N = -1; the product with i, which is t^M and costs nothing, moves all M rows up instead:

    forward      numbers -> values
    filtered     numbers of x -> numbers of the filtered x, M rows up
    unfiltered   values of g, M rows up -> numbers of its correlation with the response
    correlated   numbers of x, values of g, M rows up -> response of the taps' gradients, one step on the way back

The last step there, the product and the first step back are one, so that its values never leave the registers. Steps
are written in LLVM's language: as functions of Numba they would take several times as long to compile.

Source: Crandall, Fagin, Discrete weighted transforms and large-integer arithmetic, Math. Comp. 62, 1994; Bernstein,
Multidigit multiplication for mathematicians, 2001, on transforms as reductions modulo x^m - c.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.registers import Complexes, Registers, choose
from fastddsp.kernels.cpu.simd import out_of_line, pointer

SMALLEST = 16
"""M at least: a row of N numbers, laid out in one lane's order, is then whole registers."""
FIRSTS = 2, 3, 4, 6, 8, 12
"""R of the first step, which leaves a power of LAST."""
REAL = 8, 12
"""The R of first steps that have code for numbers whose second half is zeros: they gain most, and compile slowly."""
LAST = 8
"""R of all others. The last, with the product and the first step back, has its own code."""


@helper(forceinline=True)
def has_real_step(first):
    """Whether this R is one of REAL."""
    return first == REAL[0] or first == REAL[1]


class Transform(NamedTuple):
    """Of N = 2 half numbers."""

    half: int  # M
    first: int  # R of the first step
    twiddles: object  # pointer; see make_transform


def transform_sizes(least: int) -> list[int]:
    """The smallest N of at least so many numbers, of the forms 2^p and 3 2^p."""
    found = []
    for half in (1, 3):
        while half < SMALLEST or 2 * half < least:
            half *= 2
        found.append(2 * half)
    return found


@lru_cache
def make_transform(size: int) -> tuple[int, np.ndarray]:
    """R of the first step; and the twiddles: cos and sin of c^(k/R), k = 1..R - 1, block by block, step by step."""
    first = size // 2 // LAST
    while first > max(FIRSTS):
        first //= LAST
    radix, turns, twiddles = first, np.array([0.25]), []  # turns: the angles of all blocks' c, at first i
    while len(turns) < size // 2:
        angles = 2 * np.pi / radix * np.outer(turns, np.arange(1, radix))
        twiddles.append(np.stack([np.cos(angles), np.sin(angles)], -1).ravel())
        turns, radix = ((turns[:, None] + np.arange(radix)) / radix).ravel(), LAST
    return first, np.concatenate(twiddles)


@helper(forceinline=True)
def twiddles_of(transform, n_blocks):
    """Those of the step that starts from so many blocks."""
    at, blocks, radix = 0, 1, transform.first
    while blocks < n_blocks:
        at += 2 * (radix - 1) * blocks
        blocks, radix = blocks * radix, LAST
    return pointer(transform.twiddles, at)


@helper(forceinline=True)
def response_rows(half):
    """Rows of a response on its way, or of its values: blocks of LAST + 2 rows (see fir_response)."""
    return half // LAST * (LAST + 2)


@intrinsic
def n_parts(typingctx, odd):
    """1 for None, of responses that are real, else 2."""
    parts = 1 if isinstance(odd, types.NoneType) else 2
    return types.intp(odd), lambda context, *_: context.get_constant(types.intp, parts)


# ------------------------------------------------------------------------------------------ a step, in LLVM's language


def load_twiddles(registers: Registers, block, radix: int) -> list:
    """(cos, sin) of k = 1..R - 1, of a block whose first is at this address.

    Called in the loop over a block's numbers: so they are operands in memory, not registers that are spilled.
    """
    numbers = [registers.spread(registers.at(block, i)) for i in range(2 * (radix - 1))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _make_step(radices: tuple[int, ...], sign: int, is_real: bool = False):
    """A step on all blocks of `size` numbers, for R among `radices`, there (sign 1) or back (-1).

    is_real: imaginary parts are taken for 0, and on the way back not written.
    """

    @intrinsic
    def step(typingctx, z, half, size, radix, twiddles):
        def codegen(context, builder, signature, args):
            registers = Registers(context, builder, signature, args)
            half, size, which = map(registers.index, (1, 2, 3))
            choose(builder, which, radices, lambda radix: _step(registers, half, size, radix, sign, is_real))
            return context.get_dummy_value()

        return types.void(z, half, size, radix, twiddles), codegen

    return step


def _step(registers: Registers, half, size, radix: int, sign: int, is_real: bool) -> None:
    """The code of such a step; z and twiddles: arguments 0 and 4."""
    builder, numbers, at = registers.builder, Complexes(registers), registers.at
    m = builder.udiv(size, size.type(radix))
    strides = [builder.mul(m, m.type(k)) for k in range(radix)]
    with cgutils.for_range(builder, builder.udiv(half, size)) as blocks:
        block = at(registers.rows(0), builder.mul(blocks.index, size))
        of_block = at(registers.arguments[4][1], builder.mul(blocks.index, size.type(2 * (radix - 1))))
        with cgutils.for_range(builder, m) as elements:
            real = at(block, elements.index)
            imaginary = at(real, half)
            places = [(at(real, stride), at(imaginary, stride)) for stride in strides]
            w = load_twiddles(registers, of_block, radix)
            if sign > 0:
                a: list[Any] = [(registers.load(x), None if is_real else registers.load(y)) for x, y in places]
                a[1:] = [numbers.times(x, twiddle, 1) for x, twiddle in zip(a[1:], w, strict=True)]
                a = numbers.transform(a, 1)
            else:
                a = numbers.transform([tuple(map(registers.load, pair)) for pair in places], -1)
                a[1:] = [numbers.times(x, twiddle, -1) for x, twiddle in zip(a[1:], w, strict=True)]
            for (x, y), (to_x, to_y) in zip(a, places, strict=True):
                registers.save(x, to_x)
                if sign > 0 or not is_real:
                    registers.save(y, to_y)


_first_there, _first_back = (_make_step(FIRSTS, sign) for sign in (1, -1))
_first_there_real, _first_back_real = (_make_step(REAL, sign, is_real=True) for sign in (1, -1))
_step_there, _step_back = (_make_step((LAST,), sign) for sign in (1, -1))


class Last:
    """What the intrinsics below do with a block of the last step: (z, values, odd, half, twiddles, other)."""

    def __init__(self, registers: Registers, block):
        self.registers, self.builder, self.numbers = registers, registers.builder, Complexes(registers)
        self.block, self.half = block, registers.index(3)
        blocks = self.builder.udiv(self.half, self.half.type(LAST))
        has_odd = not isinstance(registers.arguments[2][0], types.NoneType)
        self.parts = [self.half.type(0), self.builder.mul(blocks, blocks.type(LAST + 2))][: 1 + has_odd]  # of responses
        place = self.builder.mul(block, block.type(2 * (LAST - 1)))
        self.twiddles = load_twiddles(registers, registers.at(registers.arguments[4][1], place), LAST)

    def rows(self, which: int, first, stride: int = LAST) -> list:
        """Addresses of the block's rows, `stride` of them, of what begins at row `first`."""
        begin = self.builder.add(first, self.builder.mul(self.block, self.block.type(stride)))
        row = self.registers.at(self.registers.rows(which), begin)
        return [self.registers.at(row, k) for k in range(stride)]

    def places(self, which: int) -> list:
        """Addresses of real and imaginary parts."""
        return list(zip(self.rows(which, self.half.type(0)), self.rows(which, self.half), strict=True))

    def complexes(self, which: int) -> list:
        """The numbers there."""
        return [tuple(map(self.registers.load, pair)) for pair in self.places(which)]

    def responses(self, which: int) -> list:
        """The response's values: real, or complex."""
        return list(zip(*(map(self.registers.load, self.rows(which, part)) for part in self.parts), strict=True))

    def there(self, a: list) -> list:
        """The last step on the way there."""
        turned = [self.numbers.times(x, w, 1) for x, w in zip(a[1:], self.twiddles, strict=True)]
        return self.numbers.transform([a[0], *turned], 1)

    def back(self, a: list, which: int) -> None:
        """The first step on the way back."""
        a = self.numbers.transform(a, -1)
        a[1:] = [self.numbers.times(x, w, -1) for x, w in zip(a[1:], self.twiddles, strict=True)]
        for x, pair in zip(a, self.places(which), strict=True):
            for value, place in zip(x, pair, strict=True):
                self.registers.save(value, place)

    def product(self, a: list, responses: list, sign: int) -> list:
        """i^sign times the product with the response, or with its conjugate where sign is negative."""

        def times(x, h):
            return self.numbers.times(x, h, sign) if len(h) == 2 else [self.builder.fmul(part, h[0]) for part in x]

        return [self.numbers.turned(times(x, h), sign) for x, h in zip(a, responses, strict=True)]


def for_blocks(act):
    """An intrinsic that does this with every block of the last step."""

    @intrinsic
    def product(typingctx, z, values, odd, half, twiddles, other):
        def codegen(context, builder, signature, args):
            registers = Registers(context, builder, signature, args)
            half = registers.index(3)
            with cgutils.for_range(builder, builder.udiv(half, half.type(LAST))) as blocks:
                act(Last(registers, blocks.index))
            return context.get_dummy_value()

        return types.void(z, values, odd, half, twiddles, other), codegen

    return product


@for_blocks
def _filtered(last):
    """z: numbers, filtered in place; values: a response's."""
    last.back(last.product(last.there(last.complexes(0)), last.responses(1), 1), 0)


@for_blocks
def _unfiltered(last):
    """z: numbers of the result; values: a response's; other: values of what is correlated with it."""
    last.back(last.product(last.complexes(5), last.responses(1), -1), 0)


@for_blocks
def _correlated(last):
    """z: numbers; values: of what is correlated with it; other: the result, as blocks of LAST + 2 rows."""
    numbers = last.numbers
    pairs = zip(last.complexes(1), last.there(last.complexes(0)), strict=True)
    products = [numbers.turned(numbers.times(g, x, -1), -1) for g, x in pairs]
    for part, values in zip(last.parts, zip(*products, strict=True), strict=False):
        sums = numbers.half_sums(list(values))
        sums[1:] = [numbers.times(x, w, 1) for x, w in zip(sums[1:], last.twiddles[: LAST // 2], strict=True)]
        rows = last.rows(5, part, LAST + 2)
        for k, x in enumerate(sums):
            for value, row in zip(x, (rows[k], rows[LAST + 1 - k]), strict=True):
                last.registers.save(value, row)


# ------------------------------------------------------------------------------------------------------ there and back


@helper
def there(z, is_real, transform):
    """The steps before the last one."""
    out_of_line()
    half, first = transform.half, transform.first
    if is_real:
        _first_there_real(z, half, half, first, transform.twiddles)
    else:
        _first_there(z, half, half, first, transform.twiddles)
    size = half // first
    while size > LAST:
        _step_there(z, half, size, LAST, twiddles_of(transform, half // size))
        size //= LAST


@helper
def back(z, is_real, transform):
    """The same steps undone."""
    out_of_line()
    half, first = transform.half, transform.first
    size = LAST * LAST
    while size <= half // first:
        _step_back(z, half, size, LAST, twiddles_of(transform, half // size))
        size *= LAST
    if is_real:
        _first_back_real(z, half, half, first, transform.twiddles)
    else:
        _first_back(z, half, half, first, transform.twiddles)


@helper
def last_twiddles(transform):
    """Those of the last step."""
    return twiddles_of(transform, transform.half // LAST)


@njit(inline="always")
def forward(z, is_real, transform):
    """From rows of numbers to values, in place. is_real: see `filtered`."""
    there(z, is_real, transform)
    _step_there(z, transform.half, LAST, LAST, last_twiddles(transform))


@njit(inline="always")
def filtered(x, is_real, h, odd, transform):
    """From rows of numbers to those of h x, M rows up, M times as large, in place; h: the response's values.

    is_real: the second half of the rows counts as zeros, whatever is there. odd: None where taps are symmetric.
    """
    there(x, is_real, transform)
    _filtered(x, h, odd, transform.half, last_twiddles(transform), x)
    back(x, False, transform)


@njit(inline="always")
def unfiltered(g, h, odd, is_real, transform, x):
    """x = rows of M sum_l h[l] g[n + l] from the values of g, whose number 0 is at row M. is_real: the first half."""
    _unfiltered(x, h, odd, transform.half, last_twiddles(transform), g)
    back(x, is_real, transform)


@njit(inline="always")
def correlated(x, is_real, g, odd, transform, h):
    """h = response of the sums, sums over n of x[n] g[n + l], in blocks (see fir_response). Overwrites x."""
    there(x, is_real, transform)
    _correlated(x, g, odd, transform.half, last_twiddles(transform), h)
