"""Cosine transforms of few rows, written out (see fir_design for what they are parts of).

    r        r[m] = sum''_{k <= n} X_k cos(pi k m / n), m <= n
    odd      O[m] = sum_{i < n} x_i cos(pi (2 i + 1) m / 2n), m < n
    quarter  D[p] = sum_{i < K} d_i cos(pi (2 i + 1) (2 p + 1) / 4K), p < K

The first two are halved until nothing is left, as in fir_design, and have transposes. The last one, whose matrix is
symmetric, is a Fourier transform of K / 2 complex numbers between two turns:

    z_m = d_{2 m} + i d_{K - 1 - 2 m},   u = exp(-2 pi i / 8K)
    Z_p = u^(4 p) sum_m u^(4 m + 1) z_m exp(-2 pi i m p / (K / 2)),   D[2 p] = Re Z_p,   D[K - 1 - 2 p] = -Im Z_p

For K = 16 that is 112 operations, 45 of them additions, for which AMD has pipes of their own, where a product with the
matrix is 256 multiply-adds. r of n = 64 takes 513; in loops over rows, half of its time went into stores of sums.

Source: Plonka, Tasche, Fast and numerically stable algorithms for discrete cosine transforms, Linear Algebra Appl. 394,
2005.
"""

import math

from numba.core import types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.registers import Complexes, Registers, choose

WHOLE = 16, 32, 64
"""n of r."""
SIZE = 16
"""n of odd, and K: as many rows as registers hold, in and out."""


@helper(forceinline=True)
def is_whole(n):
    """Whether this n is one of WHOLE."""
    return n == WHOLE[0] or n == WHOLE[1] or n == WHOLE[2]


class _Cosines:
    """Code of the sums, of lists of registers."""

    def __init__(self, registers: Registers):
        self.registers, self.builder, self.numbers = registers, registers.builder, Complexes(registers)

    def _pairs(self, x: list) -> tuple[list, list]:
        """Sums and differences of the first half and the second half in reverse."""
        pairs = list(zip(x[: len(x) // 2], x[::-1], strict=False))
        return [self.builder.fadd(*pair) for pair in pairs], [self.builder.fsub(*pair) for pair in pairs]

    def r(self, x: list) -> list:
        """r of X_0..X_n."""
        if len(x) == 2:
            return self._ends(x)
        even, odd = self.r(x[::2]), self.odd(x[1::2])
        total, difference = ([f(e, o) for e, o in zip(even, odd, strict=False)] for f in self._adds)
        return [*total, even[-1], *difference[::-1]]

    def r_transposed(self, r: list) -> list:
        """The transpose."""
        if len(r) == 2:
            return self._ends(r)
        even, odd = self._pairs(r)
        x = [None] * len(r)
        x[::2], x[1::2] = self.r_transposed([*even, r[len(r) // 2]]), self.odd_transposed(odd)
        return x

    def odd(self, x: list) -> list:
        """O of x_0..x_(N - 1)."""
        if len(x) == 1:
            return x
        sums, differences = self._pairs(x)
        o = [None] * len(x)
        o[::2], o[1::2] = self.odd(sums), self.quarter(differences)
        return o

    def odd_transposed(self, o: list) -> list:
        """The transpose."""
        if len(o) == 1:
            return o
        even, odd = self.odd_transposed(o[::2]), self.quarter(o[1::2])
        total, difference = ([f(e, o) for e, o in zip(even, odd, strict=True)] for f in self._adds)
        return [*total, *difference[::-1]]

    def quarter(self, d: list) -> list:
        """D of d_0..d_(K - 1)."""
        size = len(d)
        if size == 1:
            return [self._scaled(d[0], math.cos(math.pi / 4))]
        z = [self._turned((d[2 * i], d[size - 1 - 2 * i]), (4 * i + 1) / (8 * size)) for i in range(size // 2)]
        z = self.numbers.transform(z, -1) if len(z) > 1 else z
        turned = [self._turned(x, 4 * p / (8 * size)) for p, x in enumerate(z)]
        sums = [None] * size
        sums[::2] = [x for x, _ in turned]
        sums[::-2] = [self.builder.fneg(y) for _, y in turned]
        return sums

    @property
    def _adds(self):
        return self.builder.fadd, self.builder.fsub

    def _ends(self, x: list) -> list:
        halves = [self._scaled(part, 0.5) for part in x]
        return [f(*halves) for f in self._adds]

    def _scaled(self, x, factor: float):
        return self.builder.fmul(x, self.registers.constant(factor))

    def _turned(self, x, turns: float):
        """x exp(-2 pi i turns)."""
        if turns == 0:
            return x
        cos, sin = (self.registers.constant(f(2 * math.pi * turns)) for f in (math.cos, math.sin))
        return self.numbers.times(x, (cos, sin), -1)


def _make_sums(sizes: list[int], name: str):
    """An intrinsic for these sizes: rows of out, `out_step` apart, from `size` rows of x, `step` apart.

    out may be x. weights: None, or a pointer to numbers that rows of out are multiplied by.
    """

    @intrinsic
    def sums(typingctx, x, step, size, out, out_step, weights):
        def codegen(context, builder, signature, args):
            registers = Registers(context, builder, signature, args)
            step, number, out_step = map(registers.index, (1, 2, 4))

            def row(which, stride, i):
                return registers.at(registers.rows(which), builder.mul(stride, stride.type(i)))

            def act(size):
                rows = [registers.load(row(0, step, i)) for i in range(size)]
                for i, value in enumerate(getattr(_Cosines(registers), name)(rows)):
                    if not isinstance(weights, types.NoneType):
                        value = builder.fmul(value, registers.spread(registers.at(args[5], i)))
                    registers.save(value, row(3, out_step, i))

            choose(builder, number, sizes, act)
            return context.get_dummy_value()

        return types.void(x, step, size, out, out_step, weights), codegen

    return sums


r, r_transposed = (_make_sums([n + 1 for n in WHOLE], name) for name in ("r", "r_transposed"))
odd, odd_transposed = (_make_sums([SIZE], name) for name in ("odd", "odd_transposed"))
quarter = _make_sums([SIZE], "quarter")
