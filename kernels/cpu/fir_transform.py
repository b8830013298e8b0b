"""Products of polynomials, one in every lane: the transform behind fastddsp.kernels.cpu.fir.

A row is one register: lane j of row i is number i of polynomial j. So nothing ever moves between lanes, and the
transform of all lanes' polynomials is that of one, with registers for numbers and twiddles that all lanes share.

A convolution is a product of polynomials, and right modulo x^N + 1 where it has no more than N coefficients. Over
complex numbers x^N + 1 = (x^M - i)(x^M + i), M = N / 2, and modulo one factor a real polynomial is the conjugate of
what it is modulo the other. So N real numbers a are M complex ones, a[e] + i a[e + M] (a right-angle convolution), and
no row moves: the first half of the rows is the real part, the second the imaginary part. From x^M - i on, roots are
drawn, R of them a step, in place:

    x^(R m) - c = prod_j (x^m - u_j),   u_j = c^(1/R) exp(2 pi i j / R),   R = 3, 4 or 8

    b_j[e] = sum_k u_j^k a[e + k m],   e < m,   j < R         R blocks of m numbers for the one of R m

until blocks are single numbers: the polynomials' values at M points of the unit circle, in an order that does not
matter. Products of values are values of products; with one factor's conjugates, of correlations. The way back undoes
every step but its factor R: the product comes back M times as large, which the caller's window makes good.

    forward      numbers -> values
    multiply     numbers of z and values of another -> numbers of the product; the last step there, the product and the
                 first step back are one, so that its values never leave the registers

Steps are written in LLVM's language: as functions of Numba they would take several times as long to compile.

Source: Crandall, Fagin, Discrete weighted transforms and large-integer arithmetic, Math. Comp. 62, 1994; Bernstein,
Multidigit multiplication for mathematicians, 2001, on transforms as reductions modulo x^m - c.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.simd import Vector, _broadcast, _fma, _pointer, pointer, width_of

SMALLEST = 16
"""M at least: a row of N numbers, laid out in one lane's order, is then whole registers."""


class Transform(NamedTuple):
    """Of N = 2 half numbers."""

    half: int  # M
    n_steps: int
    radices: object  # pointer to int64 [n_steps]
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
def make_transform(size: int) -> tuple[tuple[int, ...], np.ndarray]:
    """R of every step; and the twiddles: cos and sin of c^(k/R), k = 1..R - 1, block after block, step after step."""
    half = size // 2
    radices = [3] if half % 3 == 0 else []
    bits = (half // 3 if radices else half).bit_length() - 1
    fours = -bits % 3
    radices += [8] * ((bits - 2 * fours) // 3) + [4] * fours  # the last has the most to keep in registers
    turns, twiddles = np.array([0.25]), []  # turns: the angles of all blocks' c, at first i
    for radix in radices:
        angles = 2 * np.pi / radix * np.outer(turns, np.arange(1, radix))
        twiddles.append(np.stack([np.cos(angles), np.sin(angles)], -1).ravel())
        turns = ((turns[:, None] + np.arange(radix)) / radix).ravel()
    return tuple(radices), np.concatenate(twiddles)


# ------------------------------------------------------------------------------------------ a step, in LLVM's language


class Registers:
    """What the code of an intrinsic reads and writes: its arguments that are pointers, by address and by number."""

    def __init__(self, context, builder, signature, args):
        self.context, self.builder = context, builder
        self.arrays = list(zip(signature.args, args, strict=True))
        self.row_type = next(
            Vector(kind.dtype, width_of(kind.dtype)) for kind in signature.args if hasattr(kind, "dtype")
        )
        self.lanes, self.align = self.row_type.lanes, self.row_type.element.bitwidth // 8
        self.kind = context.get_value_type(self.row_type)

    def index(self, which: int):
        """The argument `which`, an integer, as an index."""
        return self.context.cast(self.builder, self.arrays[which][1], self.arrays[which][0], types.intp)

    def splat(self, which: int):
        """The argument `which`, a number, in every lane."""
        kind, value = self.arrays[which]
        return _broadcast(self.context, self.builder, value, kind, self.row_type)

    def address(self, which: int, index):
        """Address of number `index` of the argument `which`."""
        array_type, array = self.arrays[which]
        return _pointer(self.context, self.builder, array_type, array, index, self.kind.element)[0]

    def number(self, which: int, index):
        """Number `index` of the argument `which`, in every lane."""
        value = self.builder.load(self.address(which, index), align=self.align)
        return _broadcast(self.context, self.builder, value, self.row_type.element, self.row_type)

    def load(self, address):
        """The register from a number's address on."""
        return self.builder.load(self.builder.bitcast(address, ir.PointerType(self.kind)), align=self.align)

    def save(self, value, address) -> None:
        """The same, written."""
        self.builder.store(value, self.builder.bitcast(address, ir.PointerType(self.kind)), align=self.align)

    def constant(self, value: float):
        """The same number in every lane."""
        return ir.Constant(self.kind, [ir.Constant(self.kind.element, value)] * self.lanes)


class Complexes:
    """Arithmetic of pairs (real part, imaginary part) of registers."""

    def __init__(self, registers: Registers):
        self.registers, self.builder = registers, registers.builder

    def add(self, a, b):
        """The sum."""
        return tuple(self.builder.fadd(x, y) for x, y in zip(a, b, strict=True))

    def sub(self, a, b):
        """The difference."""
        return tuple(self.builder.fsub(x, y) for x, y in zip(a, b, strict=True))

    def add_times(self, a, factor: float, b):
        """Of a and a real multiple of b, the sum."""
        factor = self.registers.constant(factor)
        return tuple(_fma(self.builder, y, factor, x) for x, y in zip(a, b, strict=True))

    def turned(self, a, sign: int):
        """The product with i, or with -i."""
        real, imaginary = a
        return (self.builder.fneg(imaginary), real) if sign > 0 else (imaginary, self.builder.fneg(real))

    def times(self, a, twiddle, sign: int):
        """The product with a twiddle (cos, sin), or with its conjugate; `a` may be a real number alone."""
        if len(a) == 1:
            return tuple(self.builder.fmul(a[0], part) for part in twiddle)
        (real, imaginary), (c, s) = a, twiddle
        to_real, to_imaginary = (self._minus, self._plus) if sign > 0 else (self._plus, self._minus)
        return to_real(real, c, imaginary, s), to_imaginary(imaginary, c, real, s)

    def _plus(self, a, b, c, d):
        return _fma(self.builder, c, d, self.builder.fmul(a, b))

    def _minus(self, a, b, c, d):
        product = self.builder.fmul(c, d, flags=("contract",))
        return self.builder.fsub(self.builder.fmul(a, b), product, flags=("contract",))  # fused, like _plus

    def transform(self, b: list, sign: int) -> list:
        """The sums over k of b_k exp(sign 2 pi i j k / R), for j = 0..R - 1."""
        add, sub, add_times, turned = self.add, self.sub, self.add_times, self.turned
        if len(b) == 2:
            return [add(*b), sub(*b)]
        if len(b) == 3:
            total, turn = add(b[1], b[2]), turned(sub(b[1], b[2]), sign)
            middle = add_times(b[0], -0.5, total)
            return [add(b[0], total), add_times(middle, 0.75**0.5, turn), add_times(middle, -(0.75**0.5), turn)]
        even, odd = self.transform(b[::2], sign), self.transform(b[1::2], sign)
        if len(b) == 4:
            odd = [odd[0], turned(odd[1], sign)]
            return [combine(e, o) for combine in (add, sub) for e, o in zip(even, odd, strict=True)]
        # odd[j] by exp(sign 2 pi i j / 8): by (1 +- i) / sqrt 2, +-i, (-1 +- i) / sqrt 2
        by_i = [turned(o, sign) for o in odd]
        odd = [odd[0], add(odd[1], by_i[1]), by_i[2], sub(by_i[3], odd[3])]
        factors = [1.0, 0.5**0.5, 1.0, 0.5**0.5]
        return [
            combine(e, o) if factor == 1.0 else add_times(e, factor if combine is add else -factor, o)
            for combine in (add, sub)
            for e, o, factor in zip(even, odd, factors, strict=True)
        ]


def _make_step(radix: int, sign: int, is_real: bool = False):
    """A step on all blocks of R m numbers, there (sign 1) or back (-1); there, to the product, and back (0).

    is_real: the imaginary parts are not read, but taken for 0.
    """

    @intrinsic
    def step(typingctx, z, half, m, twiddles, values, direction):
        def codegen(context, builder, signature, args):
            registers = Registers(context, builder, signature, args)
            numbers, lanes = Complexes(registers), registers.lanes
            half, m = registers.index(1), registers.index(2)
            size = builder.mul(m, m.type(radix))
            to_imaginary = builder.mul(half, m.type(lanes))
            strides = [builder.mul(m, m.type(k * lanes)) for k in range(radix)]

            def parts_of(which: int, e):  # addresses, of two pointers and strides that all blocks share
                real = registers.address(which, builder.mul(e, m.type(lanes)))
                bases = real, builder.gep(real, [to_imaginary])
                return [[builder.gep(base, [stride]) for base in bases] for stride in strides]

            with cgutils.for_range(builder, builder.udiv(half, size)) as blocks:
                at, first = builder.mul(blocks.index, m.type(2 * (radix - 1))), builder.mul(blocks.index, size)
                with cgutils.for_range(builder, m) as elements:
                    e = builder.add(first, elements.index)
                    parts = parts_of(0, e)
                    # Here and not once a block: they are operands in memory then, not registers that are spilled.
                    w = [
                        [registers.number(3, builder.add(at, at.type(2 * k + part))) for part in (0, 1)]
                        for k in range(radix - 1)
                    ]
                    a: list[Any] = [[registers.load(part) for part in pair[: 1 if is_real else 2]] for pair in parts]
                    if is_real:
                        a[0].append(registers.constant(0.0))
                    if sign >= 0:
                        a[1:] = [numbers.times(x, twiddle, 1) for x, twiddle in zip(a[1:], w, strict=True)]
                        a = numbers.transform(a, 1)
                    if sign == 0:
                        factor = registers.splat(5)
                        a = [(real, builder.fmul(imaginary, factor)) for real, imaginary in a]
                        v = [[registers.load(part) for part in pair] for pair in parts_of(4, e)]
                        a = [numbers.times(x, y, 1) for x, y in zip(v, a, strict=True)]
                    if sign <= 0:
                        a = numbers.transform(a, -1)
                        a[1:] = [numbers.times(x, twiddle, -1) for x, twiddle in zip(a[1:], w, strict=True)]
                    for x, pair in zip(a, parts, strict=True):
                        for value, part in zip(x, pair, strict=True):
                            registers.save(value, part)
            return context.get_dummy_value()

        return types.void(z, half, m, twiddles, values, direction), codegen

    return step


_forward_3, _forward_4, _forward_8 = (_make_step(radix, 1) for radix in (3, 4, 8))
_forward_3_real, _forward_4_real, _forward_8_real = (_make_step(radix, 1, is_real=True) for radix in (3, 4, 8))
_product_4, _product_8 = (_make_step(radix, 0) for radix in (4, 8))
_backward_3, _backward_4, _backward_8 = (_make_step(radix, -1) for radix in (3, 4, 8))


# ------------------------------------------------------------------------------------------------------ there and back


@helper
def _forward(z, transform, last, is_real):
    """The steps before step `last`; then, numbers in its blocks, and where its twiddles begin."""
    half, m, at = transform.half, transform.half, 0
    for step in range(last):
        radix, w = transform.radices[step], pointer(transform.twiddles, at)
        at += 2 * (radix - 1) * (half // m)
        m //= radix
        if is_real and step == 0:
            if radix == 8:
                _forward_8_real(z, half, m, w, w, 0)
            elif radix == 4:
                _forward_4_real(z, half, m, w, w, 0)
            else:
                _forward_3_real(z, half, m, w, w, 0)
        elif radix == 8:
            _forward_8(z, half, m, w, w, 0)
        elif radix == 4:
            _forward_4(z, half, m, w, w, 0)
        else:
            _forward_3(z, half, m, w, w, 0)
    return m, at


@helper
def forward(z, transform):
    """From rows of numbers to values, in place."""
    _forward(z, transform, transform.n_steps, False)


@helper
def multiply(z, is_real, values, direction, transform):
    """From rows of numbers to those of the product, half times as large, in place.

    is_real: the second half of the rows counts as zeros, whatever is there.
    direction: 1 for the product with the polynomial of the values, -1 for its correlation with z, sum_l z[l] v[n + l].
    """
    half, last = transform.half, transform.n_steps - 1
    m, at = _forward(z, transform, last, is_real)
    radix, w = transform.radices[last], pointer(transform.twiddles, at)
    if radix == 8:
        _product_8(z, half, 1, w, values, direction)
    else:
        _product_4(z, half, 1, w, values, direction)
    for step in range(last - 1, -1, -1):
        radix = transform.radices[step]
        at -= 2 * (radix - 1) * (half // (m * radix))
        w = pointer(transform.twiddles, at)
        if radix == 8:
            _backward_8(z, half, m, w, w, 0)
        elif radix == 4:
            _backward_4(z, half, m, w, w, 0)
        else:
            _backward_3(z, half, m, w, w, 0)
        m *= radix
