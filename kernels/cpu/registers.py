"""Words for intrinsics that compute on registers, a row of numbers each: reading, writing, complex arithmetic.

What loops over such rows, in LLVM's language, says it with these: fastddsp.kernels.cpu.fir_transform, fir_response, ...
"""

import llvmlite.ir as ir
from numba.core import types

from fastddsp.kernels.cpu.simd import Vector, _broadcast, _fma, _moved, width_of


def choose(builder, number, choices, act):
    """act(choice), for the one of these numbers that `number` is."""
    end = builder.append_basic_block("end")
    cases = builder.switch(number, end)
    for choice in choices:
        block = builder.append_basic_block(f"case_{choice}")
        cases.add_case(number.type(choice), block)
        builder.position_at_end(block)
        act(choice)
        builder.branch(end)
    builder.position_at_end(end)


class Registers:
    """What the code of an intrinsic reads and writes: its arguments that are pointers, by address."""

    def __init__(self, context, builder, signature, args):
        self.context, self.builder = context, builder
        self.arguments = list(zip(signature.args, args, strict=True))
        self.row_type = next(
            Vector(kind.dtype, width_of(kind.dtype)) for kind in signature.args if hasattr(kind, "dtype")
        )
        self.align = self.row_type.element.bitwidth // 8
        self.kind = context.get_value_type(self.row_type)

    def index(self, which: int):
        """The argument `which`, an integer, as an index."""
        kind, value = self.arguments[which]
        return self.context.cast(self.builder, value, kind, types.intp)

    def rows(self, which: int):
        """Address of row 0 of the argument `which`."""
        return self.builder.bitcast(self.arguments[which][1], ir.PointerType(self.kind))

    def at(self, address, index):
        """Address of what lies `index` rows after a row, or numbers after a number."""
        return self.builder.gep(address, [ir.IntType(64)(index) if isinstance(index, int) else index])

    def load(self, address):
        """The row there."""
        return self.builder.load(address, align=self.align)

    def save(self, value, address) -> None:
        """The same, written."""
        self.builder.store(value, address, align=self.align)

    def spread(self, address):
        """The number there, in every lane."""
        value = self.builder.load(address, align=self.align)
        return _broadcast(self.context, self.builder, value, self.row_type.element, self.row_type)

    def moved_up(self, value, address):
        """Every lane in the next one, the number there in lane 0."""
        return _moved(self.builder, value, self.spread(address), up=True)

    def moved_down(self, value, address):
        """Every lane in the one before, the number there in the last lane."""
        return _moved(self.builder, value, self.spread(address), up=False)

    def save_lane(self, value, lane: int, address) -> None:
        """Write one lane of a row."""
        self.builder.store(self.builder.extract_element(value, ir.IntType(32)(lane)), address, align=self.align)

    def constant(self, value: float):
        """The same number in every lane."""
        return ir.Constant(self.kind, [ir.Constant(self.kind.element, value)] * self.kind.count)


class Complexes:
    """Arithmetic of pairs (real part, imaginary part) of registers; None stands for zeros, and costs nothing."""

    def __init__(self, registers: Registers):
        self.registers, self.builder = registers, registers.builder

    def _add(self, x, y):
        return y if x is None else x if y is None else self.builder.fadd(x, y)

    def _sub(self, x, y):
        return self._negative(y) if x is None else x if y is None else self.builder.fsub(x, y)

    def _negative(self, x):
        return x if x is None else self.builder.fneg(x)

    def _add_times(self, x, factor, y):
        return x if y is None else self.builder.fmul(y, factor) if x is None else _fma(self.builder, y, factor, x)

    def add(self, a, b):
        """The sum."""
        return tuple(map(self._add, a, b))

    def sub(self, a, b):
        """The difference."""
        return tuple(map(self._sub, a, b))

    def add_times(self, a, factor: float, b):
        """Of a and a real multiple of b, the sum."""
        constant = self.registers.constant(factor)
        return tuple(self._add_times(x, constant, y) for x, y in zip(a, b, strict=True))

    def conjugate(self, a):
        """The conjugate."""
        return a[0], self._negative(a[1])

    def turned(self, a, sign: int):
        """The product with i, or with -i."""
        real, imaginary = a
        return (self._negative(imaginary), real) if sign > 0 else (imaginary, self._negative(real))

    def times(self, a, b, sign: int):
        """The product with b, or with its conjugate."""
        (real, imaginary), (c, s) = a, b
        if imaginary is None:
            return tuple(self.builder.fmul(real, part) for part in (b if sign > 0 else self.conjugate(b)))
        to_real, to_imaginary = (self.minus, self.plus) if sign > 0 else (self.plus, self.minus)
        return to_real(real, c, imaginary, s), to_imaginary(imaginary, c, real, s)

    def plus(self, a, b, c, d):
        """a b + c d, of registers."""
        return _fma(self.builder, c, d, self.builder.fmul(a, b))

    def minus(self, a, b, c, d):
        """a b - c d."""
        product = self.builder.fmul(c, d, flags=("contract",))
        return self.builder.fsub(self.builder.fmul(a, b), product, flags=("contract",))  # fused, like plus

    def transform(self, b: list, sign: int) -> list:
        """The sums over k of b_k exp(sign 2 pi i j k / R), for j = 0..R - 1; R = 2, 3, 4, 6, 8, 12."""
        add, sub, add_times, turned = self.add, self.sub, self.add_times, self.turned
        if len(b) == 2:
            return [add(*b), sub(*b)]
        if len(b) == 3:
            total, turn = add(b[1], b[2]), turned(sub(b[1], b[2]), sign)
            middle = add_times(b[0], -0.5, total)
            return [add(b[0], total), add_times(middle, 0.75**0.5, turn), add_times(middle, -(0.75**0.5), turn)]
        if len(b) % 3 == 0:  # jk = 3 a j + q c j for k = 3 a + q c: transforms of 3 and of q, and no twiddles
            q = len(b) // 3
            threes = [self.transform([b[(3 * a + q * c) % len(b)] for c in range(3)], sign) for a in range(q)]
            columns = [self.transform([three[j] for three in threes], sign) for j in range(3)]
            return [columns[j % 3][j % q] for j in range(len(b))]
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

    def real_sums(self, q: list) -> list:
        """The sums over k of q_k exp(-2 pi i j k / 8), j < 8, real as q_(8 - k) is q_k's conjugate. q: of k <= 4."""
        (q0, _), q1, q2, q3, (q4, _) = q
        add, sub = self.builder.fadd, self.builder.fsub

        def four(first, second, factor: float, third):
            even = [self.add_times([first], 2 * sign, [third])[0] for sign in (1, -1)]
            return [self.add_times([e], s * factor, [o])[0] for s in (1, -1) for e, o in zip(even, second, strict=True)]

        total, turned = self.add(q1, self.conjugate(q3)), self.sub(q1, self.conjugate(q3))
        turned = add(*turned), sub(*turned[::-1])  # by (1 - i), which is exp(-2 pi i / 8) times sqrt 2
        halves = four(add(q0, q4), total, 2, q2[0]), four(sub(q0, q4), turned, 2**0.5, q2[1])
        return [value for pair in zip(*halves, strict=True) for value in pair]

    def half_sums(self, v: list) -> list:
        """The sums over j of v_j exp(2 pi i j k / 8), k <= 4, of eight real numbers: those of 8 - k are conjugates."""
        add, sub = self.builder.fadd, self.builder.fsub
        (s0, s1, s2, s3), (d0, d1, d2, d3) = ([f(v[j], v[j + 4]) for j in range(4)] for f in (add, sub))
        even, odd, zero = add(s0, s2), add(s1, s3), self.registers.constant(0.0)
        turned = sub(d1, d3), add(d1, d3)  # d1 + i d3, by exp(2 pi i / 8) times sqrt 2
        first, third = (self.add_times((d0, d2), factor, turned) for factor in (0.5**0.5, -(0.5**0.5)))
        return [
            (add(even, odd), zero),
            first,
            (sub(s0, s2), sub(s1, s3)),
            self.conjugate(third),
            (sub(even, odd), zero),
        ]
