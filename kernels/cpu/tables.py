"""Tables of harmonics in float32: fill them from amplitudes, read them at samples' phases, and the transposes of both.

    stage, transform, mirror, interpolate       amplitudes -> tables -> samples
    spread, fold, transform, collect            samples -> tables -> inner products with harmonics

See fastddsp.kernels.nufft for the mathematics. A table is a row of N cells with PAD more on either side: its images,
odd for sines, even for cosines. Two samples share a register, eight taps each (fastddsp.kernels.cpu.taps).
"""

import numpy as np
import scipy.fft

from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.simd import fma, lane_count, load_register, register_width, store
from fastddsp.kernels.cpu.taps import add_to_cells, load_pair, splat_pair, sum_taps
from fastddsp.kernels.nufft import TAPS

PAD = TAPS // 2
ROW_GROUP = 16
"""Tables are transformed in multiples of this: pocketfft takes whole vectors of rows, and what is left one by one."""


# ------------------------------------------------------------------------------------------------ amplitudes and tables


def empty_tables(n_rows: int, n_cells: int) -> np.ndarray:
    """Room for n_rows tables, or a few more."""
    return np.empty((-(-n_rows // ROW_GROUP) * ROW_GROUP, n_cells + 2 * PAD), np.float32)


def first_cell(odd: bool) -> int:
    """Where the first harmonic stands before the transform; the cosine transform starts with a constant."""
    return PAD if odd else PAD + 1


@kernel
def stage(amplitudes, first, counts, scale, by_harmonic, start, tables):
    """Rows of tables = what their transform starts from; amplitudes: one item's, start: cell of the first harmonic."""
    tables[:] = 0
    for r in range(counts.size):
        row, cell = amplitudes[first + r], tables[r, start:]
        for k in range(counts[r]):
            cell[k] = row[k] * scale[k] * (np.float32(k + 1) if by_harmonic else np.float32(1))


@kernel
def collect(tables, first, counts, scale, start, out):
    """The transpose of stage: add transformed tables to out, one item's."""
    for r in range(counts.size):
        row, cell = out[first + r], tables[r, start:]
        for k in range(counts[r]):
            row[k] += cell[k] * scale[k]


@helper
def mirror(tables, odd):
    """Fill the padding with the tables' images."""
    n_cells = tables.shape[1] - 2 * PAD
    sign = np.float32(-1 if odd else 1)
    for r in range(tables.shape[0]):
        for m in range(PAD):
            tables[r, PAD - 1 - m] = sign * tables[r, PAD + m]
            tables[r, PAD + n_cells + m] = sign * tables[r, PAD + n_cells - 1 - m]


@helper
def fold(tables, odd):
    """The transpose of mirror."""
    n_cells = tables.shape[1] - 2 * PAD
    sign = np.float32(-1 if odd else 1)
    for r in range(tables.shape[0]):
        for m in range(PAD):
            tables[r, PAD + m] += sign * tables[r, PAD - 1 - m]
            tables[r, PAD + n_cells - 1 - m] += sign * tables[r, PAD + n_cells + m]


def transform(tables, kind: int, odd: bool) -> None:
    """Sine or cosine transform of every table, in place."""
    cells = tables[:, PAD:-PAD]
    result = (scipy.fft.dst if odd else scipy.fft.dct)(cells, kind, axis=1, overwrite_x=True)
    if not np.may_share_memory(result, cells):
        cells[:] = result


# --------------------------------------------------------------------------------------------------- samples and tables


@helper(forceinline=True)
def _coefficients(taps):
    """The kernel's polynomials, for two samples, in registers."""
    c0, c1, c2, c3 = load_pair(taps, 0, 0), load_pair(taps, 8, 8), load_pair(taps, 16, 16), load_pair(taps, 24, 24)
    c4, c5, c6, c7 = load_pair(taps, 32, 32), load_pair(taps, 40, 40), load_pair(taps, 48, 48), load_pair(taps, 56, 56)
    return c0, c1, c2, c3, c4, c5, c6, c7


@helper(forceinline=True)
def _weigh(c, x):
    """Weights of the cells around two samples."""
    k = fma(x, c[7], c[6])
    k = fma(x, k, c[5])
    k = fma(x, k, c[4])
    k = fma(x, k, c[3])
    k = fma(x, k, c[2])
    k = fma(x, k, c[1])
    return fma(x, k, c[0])


@helper
def place(phases, n_cells, odd, lanes, cells, x, signs):
    """Samples' places in a table: first of 8 cells, counted from the padding's start, and frac(p) - 1/2; their signs.

    Phases beyond a half turn are mirrored into it. p has 32 fractional bits.
    """
    half = np.int64(1) << np.int64(31)
    for l in range(lanes):
        phase = np.int64(phases[l])
        p = abs(phase) * (2 * n_cells) - half
        cells[l] = (p >> np.int64(32)) + (PAD - (TAPS // 2 - 1))
        x[l] = np.float32((p & np.int64(0xFFFFFFFF)) - half) * np.float32(2.0**-32)
        signs[l] = np.float32(-1 if odd and phase < 0 else 1)


@helper
def interpolate(places, taps, table0, table1, w0, w1, y):
    """y += signs (w0 table0 + w1 table1) at a tile's places."""
    cells, x, signs, products = places
    lanes, width = lane_count(y), register_width(y)
    c = _coefficients(taps)
    for l in range(0, lanes, 2):
        m = l + 1
        s = splat_pair(w0[l], w0[m]) * load_pair(table0, cells[l], cells[m])
        s = fma(splat_pair(w1[l], w1[m]), load_pair(table1, cells[l], cells[m]), s)
        store(products, TAPS * l, s * _weigh(c, splat_pair(x[l], x[m])))
    for l in range(0, lanes, width):
        store(y, l, fma(load_register(signs, l), sum_taps(products, TAPS * l), load_register(y, l)))


@helper
def spread(places, taps, g, w0, w1, table0, table1):
    """The transpose of interpolate: tables += kernel signs w g.

    Neighbours' cells overlap, and a load waits until an earlier store to a part of it has left the core: samples go in
    an order that keeps neighbours 8 apart (1.8 ns a sample; 6.5 in their own order).
    """
    cells, x, signs, _ = places
    half = lane_count(g) // 2
    c = _coefficients(taps)
    for n in range(half):
        l = n % 4 * (half // 4) + n // 4
        m = l + half
        k = _weigh(c, splat_pair(x[l], x[m])) * splat_pair(signs[l] * g[l], signs[m] * g[m])
        add_to_cells(table0, cells[l], cells[m], k * splat_pair(w0[l], w0[m]))
        add_to_cells(table1, cells[l], cells[m], k * splat_pair(w1[l], w1[m]))
