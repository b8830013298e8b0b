"""Convolutions and correlations of short pieces, in registers: the inner loops of fastddsp.kernels.cpu.fir.

    convolve     y[q]  += sum_n x[n] h[q - n]
    correlate    dh[q] += sum_n x[n] g[n + q],   dx[n] += sum_l h[l] g[n + l]

A tile is A registers of samples x and C registers of taps h, A and C of a few fixed sizes; its sums are in registers,
lanes are samples or taps in the order in which they lie in memory, and nothing is transposed. With W lanes to a
register and n = W a + b, or l = W c + b: for one b, x[n] and h[l] are A and C numbers, each multiplied with whole
registers h[W c - b :][:W] or g[W r + b :][:W], and every one of these serves all pairs that meet in it. So 13 loads,
9 of them unaligned, do for 36 multiply-adds forward, and 23 for 64 backward, where both sums share g.

Every tile is a loop over b, written once, in LLVM's language: as functions of Numba they take 14 s to compile, not 2.

Source: the blocking of matrix products into registers (Goto and van de Geijn, Anatomy of high-performance matrix
multiplication, ACM TOMS 34, 2008), applied to the Toeplitz matrix of a filter.
"""

from collections.abc import Callable
from itertools import product

import llvmlite.ir as ir
from numba import njit
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.simd import Vector, _broadcast, _fma, _pointer, register_width, width_of

SAMPLES = (1, 2, 3, 4)
"""Registers of samples in a tile."""
TAPS = (2, 4, 8)
"""Registers of taps in a tile. 4 and 8 make 12 sums, and leave AVX-512 20 registers for their factors."""


class Registers:
    """What the code of an intrinsic reads and writes: its arguments that are pointers, by register and by number."""

    def __init__(self, context, builder, signature, args):
        self.context, self.builder = context, builder
        self.arrays = [(kind, value) for kind, value in zip(signature.args, args, strict=True)]
        self.row_type = next(
            Vector(kind.dtype, width_of(kind.dtype)) for kind in signature.args if hasattr(kind, "dtype")
        )
        self.lanes = self.row_type.lanes
        self.kind = context.get_value_type(self.row_type)

    def _address(self, which: int, index, shift: int, kind):
        array_type, array = self.arrays[which]
        index = self.builder.add(index, index.type(shift))
        return _pointer(self.context, self.builder, array_type, array, index, kind)

    def index(self, which: int):
        """The argument `which`, an integer, as an index."""
        return self.context.cast(self.builder, self.arrays[which][1], self.arrays[which][0], types.intp)

    def number(self, which: int, index, shift: int):
        """The number at `index` + `shift` of the argument `which`, in every lane."""
        address, align = self._address(which, index, shift, self.kind.element)
        value = self.builder.load(address, align=align)
        return _broadcast(self.context, self.builder, value, self.row_type.element, self.row_type)

    def row(self, which: int, index, shift: int):
        """The register from number `index` + `shift` of the argument `which` on."""
        address, align = self._address(which, index, shift, self.kind)
        return self.builder.load(address, align=align)

    def store(self, value, which: int, index, shift: int) -> None:
        """The same, written."""
        address, align = self._address(which, index, shift, self.kind)
        self.builder.store(value, address, align=align)

    def add(self, sums: list, which: int, index) -> None:
        """Registers added to the argument `which`, from `index` on."""
        for s, value in enumerate(sums):
            self.store(self.builder.fadd(self.row(which, index, s * self.lanes), value), which, index, s * self.lanes)

    def sums(self, count: int, n_steps, step: Callable[..., None]) -> list:
        """`count` registers, zeros at first, after n_steps calls of step(b, sums), which changes the list `sums`."""
        zero = ir.Constant(self.kind, [ir.Constant(self.kind.element, 0.0)] * self.lanes)
        slots = [cgutils.alloca_once_value(self.builder, zero) for _ in range(count)]
        with cgutils.for_range(self.builder, n_steps) as loop:
            sums = [self.builder.load(slot) for slot in slots]
            step(loop.index, sums)
            for slot, value in zip(slots, sums, strict=True):
                self.builder.store(value, slot)
        return [self.builder.load(slot) for slot in slots]


def _one_of_the_tiles(write: Callable[..., None], context, builder, signature, args):
    """Branch by args[0] to the code of one of the tiles; `write` writes it for a number of samples and of taps."""
    registers = Registers(context, builder, signature, args)
    end = builder.append_basic_block("end")
    switch = builder.switch(registers.index(0), end)
    for number, (n_samples, n_taps) in enumerate(product(SAMPLES, TAPS)):
        with builder.goto_block(builder.append_basic_block(f"tile{number}")):
            switch.add_case(number, builder.block)
            write(registers, n_samples, n_taps)
            builder.branch(end)
    builder.position_at_end(end)
    return context.get_dummy_value()


@intrinsic
def _convolve_tile(typingctx, number, x, h, l, y):
    """y[l + W (a + c) :] += sum over b of x[W a + b] h[l + W c - b :], a < n_samples, c <= n_taps."""

    def write(registers, n_samples, n_taps):
        builder, lanes, first = registers.builder, registers.lanes, registers.index(3)

        def step(b, sums):
            samples = [registers.number(1, b, a * lanes) for a in range(n_samples)]
            for c in range(n_taps + 1):
                row = registers.row(2, builder.sub(first, b), c * lanes)
                for a in range(n_samples):
                    sums[a + c] = _fma(builder, samples[a], row, sums[a + c])

        registers.add(registers.sums(n_samples + n_taps, first.type(lanes), step), 4, first)

    return types.void(number, x, h, l, y), lambda *code: _one_of_the_tiles(write, *code)


def _make_correlate_tile(of_audio: bool):
    @intrinsic
    def tile(typingctx, number, x, h, l, g, dh, dx):
        """dh[l + W c :] += sum over b of x[W a + b] g_r, dx[W a :] += sum over b of h[l + W c + b] g_r.

        g_r = g[l + W r + b :], r = a + c, a < n_samples, c < n_taps.
        """

        def write(registers, n_samples, n_taps):
            builder, lanes, first = registers.builder, registers.lanes, registers.index(3)

            def step(b, sums):
                at = builder.add(first, b)
                samples = [registers.number(1, b, a * lanes) for a in range(n_samples)]
                taps = [registers.number(2, at, c * lanes) for c in range(n_taps)] if of_audio else []
                for r in range(n_samples + n_taps - 1):
                    row = registers.row(4, at, r * lanes)
                    for a in range(max(0, r - n_taps + 1), min(n_samples, r + 1)):
                        sums[r - a] = _fma(builder, samples[a], row, sums[r - a])
                        if of_audio:
                            sums[n_taps + a] = _fma(builder, taps[r - a], row, sums[n_taps + a])

            sums = registers.sums(n_taps + n_samples * of_audio, first.type(lanes), step)
            registers.add(sums[:n_taps], 5, first)
            registers.add(sums[n_taps:], 6, first.type(0))

        return types.void(number, x, h, l, g, dh, dx), lambda *code: _one_of_the_tiles(write, *code)

    return tile


_correlate_tile, _correlate_taps_tile = _make_correlate_tile(True), _make_correlate_tile(False)


@njit(forceinline=True, error_model="numpy")
def _tile_for(samples, taps):
    """The tile of so many registers of samples and, or the largest, of taps; and its registers of taps."""
    which = 0 if taps <= 2 else 1 if taps <= 4 else 2
    return (samples - 1) * 3 + which, 2 << which


@njit(error_model="numpy")
def convolve(x, size, h, n_taps, y):
    """y[q] += sum_n x[n] h[q - n], n < size, l < n_taps.

    x, h and y are pointers; zeros follow x up to a whole register, and h, one register before it, and to whole tiles
    after it.
    """
    width = register_width(x)
    samples, rest, l = (size + width - 1) // width, (n_taps + width - 1) // width + 1, 0
    while rest > 0:  # registers: one more than the taps fill, since they move by up to W - 1
        tile, taps = _tile_for(samples, rest - 1)
        _convolve_tile(tile, x, h, l, y)
        rest -= taps + 1
        l += (taps + 1) * width


@njit(error_model="numpy")
def correlate(x, size, h, n_taps, g, of_audio, dh, dx):
    """dh[q] += sum_n x[n] g[n + q], and if `of_audio` dx[n] += sum_l h[l] g[n + l]; x and h as above.

    Written are whole tiles of dh and whole registers of dx; read is as much of g as they reach.
    """
    width = register_width(x)
    samples, rest, l = (size + width - 1) // width, (n_taps + width - 1) // width, 0
    while rest > 0:
        tile, taps = _tile_for(samples, rest)
        if of_audio:
            _correlate_tile(tile, x, h, l, g, dh, dx)
        else:
            _correlate_taps_tile(tile, x, h, l, g, dh, dx)
        rest -= taps
        l += taps * width


def reach(n_taps: int, width: int) -> int:
    """Numbers after the first tap that the tiles of `n_taps` taps may touch, in registers `width` lanes wide."""
    return n_taps + 6 * width
