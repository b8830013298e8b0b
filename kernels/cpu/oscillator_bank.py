"""Oscillators on the CPU whose frequencies and amplitudes are given for every sample.

    o_k(n) = m_k(n) A[n, k] sin(theta_k(n) + psi),    theta_k(n) = 2 pi / sample_rate sum_{m <= n} f[m, k]
    y(n)   = sum_k o_k(n)

m_k(n): 1 where f[n, k] < nyquist, else 0; psi: 0 to 3 quarter turns. The adjoint, with cotangents g_k(n) of o_k(n), one
g for all k where they are summed:

    dL/dA[n, k] = g_k(n) m_k(n) sin(theta_k(n) + psi)
    dL/df[n, k] = 2 pi / sample_rate sum_{m >= n} g_k(m) m_k(m) A[m, k] cos(theta_k(m) + psi)

The loop. Controls are samples x partials here, and reading them costs as much as computing with them: so lanes are
partials, in the order of memory, and nothing else of that size exists. A phase is a sum of 64-bit fractions of a turn
(fastddsp.kernels.phase). The backward pass walks from the last sample to the first, taking steps off the phases and
adding up the reverse prefix sum in float64.

Cost, in vector instructions per sample and register of partials: 27 for the phase, which goes through float64 and
64-bit integers at half the lanes, 15 for the sine; gradient 27 more for the last phases, 6 for the cosine, 11 for sums.

Threads share groups of partials of a batch item; sums of groups are added in their order, so that the number of threads
changes no bit.
"""

import numpy as np
from numba import from_dtype

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.blocks import block_count, top_bits
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.partial_lanes import like, to_double, to_element, to_phases
from fastddsp.kernels.cpu.partial_phases import signed_quarter_turns
from fastddsp.kernels.cpu.simd import (
    dot_fold,
    fma,
    lane_count,
    load_register,
    load_some,
    register_width,
    select_ge,
    store,
    store_some,
    sum_rows,
    width_of,
)
from fastddsp.kernels.cpu.sine import sin_ahead, sin_cos_ahead

GROUP = 64
"""Partials of one piece of work: a few cache lines in a row of memory."""


@helper(forceinline=True)
def _audible(a, f, nyquist):
    """Amplitudes where the frequencies are below Nyquist, else 0; NaN where they are not finite."""
    return fma(f, 0.0, select_ge(f, nyquist, 0.0, a))


@helper(forceinline=True)
def _lanes(array):
    return lane_count(array) // block_count(array)


@kernel
def _render(frequencies, amplitudes, rates, b, k_lo, k_hi, phases, rows, y, out):
    """Oscillators k_lo <= k < k_hi of batch item b: their sum y [samples], or each in out [batch, samples, partials].

    The other one is None. phases: int64, one for each partial; rows: WIDTH + 1 registers, the last of zeros.
    """
    per_sample, nyquist, ahead = rates
    n_samples, n_partials = frequencies.shape[1:]
    lanes, width, blank = _lanes(frequencies), register_width(frequencies), like(frequencies)
    zeros = load_register(rows, width * width)
    phases[:] = ahead
    for n in range(n_samples):
        row, total = (b * n_samples + n) * n_partials, blank
        for k in range(k_lo, k_hi, lanes):
            f = load_some(frequencies, row + k, k_hi - k, blank)
            a = load_some(amplitudes, row + k, k_hi - k, blank)
            phase = load_some(phases, k - k_lo, lanes, blank) + to_phases(to_double(f) * per_sample)
            store_some(phases, k - k_lo, lanes, phase)
            o = _audible(a, f, nyquist) * sin_ahead(top_bits(phase, frequencies))
            if out is not None:
                store_some(out, row + k, k_hi - k, o)
            total = total + o
        if y is not None:
            store(rows, n % width * width, dot_fold(total, blank + 1.0, zeros))
            if n % width == width - 1:
                store(y, n - width + 1, sum_rows(rows, 0))
    if y is not None and n_samples % width:
        store(rows, 0, sum_rows(rows, 0))
        rest = n_samples % width
        y[n_samples - rest :] = rows[:rest]


@kernel
def _pull_back(g, frequencies, amplitudes, rates, b, k_lo, k_hi, phases, sums, d_frequencies, d_amplitudes):
    """Adjoint of _render for partials k_lo <= k < k_hi of batch item b.

    g: [batch, samples, 1] where the oscillators are summed, else [batch, samples, partials]. d_frequencies and
    d_amplitudes are None where not asked for. sums: float64, one for each partial.
    """
    per_sample, nyquist, ahead = rates
    n_samples, n_partials = frequencies.shape[1:]
    lanes, blank = _lanes(frequencies), like(frequencies)
    phases[:] = ahead
    sums[:] = 0
    for n in range(n_samples):
        row = (b * n_samples + n) * n_partials
        for k in range(k_lo, k_hi, lanes):
            f = load_some(frequencies, row + k, k_hi - k, blank)
            phase = load_some(phases, k - k_lo, lanes, blank) + to_phases(to_double(f) * per_sample)
            store_some(phases, k - k_lo, lanes, phase)
    for n in range(n_samples - 1, -1, -1):
        row = (b * n_samples + n) * n_partials
        for k in range(k_lo, k_hi, lanes):
            f = load_some(frequencies, row + k, k_hi - k, blank)
            a = load_some(amplitudes, row + k, k_hi - k, blank)
            v = load_some(g, row + k, k_hi - k, blank) if g.shape[2] == n_partials else blank + g[b, n, 0]
            v = _audible(v, f, nyquist)
            phase = load_some(phases, k - k_lo, lanes, blank)
            store_some(phases, k - k_lo, lanes, phase - to_phases(to_double(f) * per_sample))
            s, c = sin_cos_ahead(top_bits(phase, frequencies))
            if d_amplitudes is not None:
                store_some(d_amplitudes, row + k, k_hi - k, v * s)
            if d_frequencies is not None:
                later = load_some(sums, k - k_lo, lanes, blank) + to_double(v * a * c)
                store_some(sums, k - k_lo, lanes, later)
                d_f = to_element(later * (2 * np.pi * per_sample), frequencies)
                store_some(d_frequencies, row + k, k_hi - k, d_f)


class Bank:
    """The oscillators for one set of frequencies.

    Args:
      frequencies: [batch, samples, partials] Hz, float32 or float64, contiguous like all arrays here.
      sample_rate: samples a second.
      nyquist: oscillators are silent from this frequency on, Hz; infinity for never.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      n_threads: at most so many threads.
    """

    def __init__(self, frequencies, sample_rate, nyquist, quarter_turns=0, n_threads=1):
        self.frequencies = frequencies
        self.rates = (1.0 / sample_rate, float(nyquist), signed_quarter_turns(quarter_turns + 1))
        self.n_threads = n_threads
        self.n_groups = -(-frequencies.shape[2] // GROUP)

    def render(self, amplitudes, out) -> None:
        """out [batch, samples, partials] = every oscillator for amplitudes [batch, samples, partials]."""

        def work(b: int, group: int, k_lo: int, k_hi: int) -> None:
            phases = np.empty(GROUP, np.int64)
            _render(self.frequencies, amplitudes, self.rates, b, k_lo, k_hi, phases, self._rows(), None, out)

        self._run(work)

    def render_sum(self, amplitudes, out) -> None:
        """out [batch, samples] = their sum."""
        sums = np.empty((self.n_groups, *out.shape), out.dtype)

        def work(b: int, group: int, k_lo: int, k_hi: int) -> None:
            phases = np.empty(GROUP, np.int64)
            y = sums[group, b]
            _render(self.frequencies, amplitudes, self.rates, b, k_lo, k_hi, phases, self._rows(), y, None)

        self._run(work)
        sums.sum(0, out=out)

    def gradient(self, g, amplitudes, d_frequencies=None, d_amplitudes=None) -> None:
        """The adjoint of `render`, or of `render_sum`, applied to g [batch, samples, partials or 1].

        d_frequencies, d_amplitudes: [batch, samples, partials] to write, or None.
        """

        def work(b: int, group: int, k_lo: int, k_hi: int) -> None:
            phases, sums = np.empty(GROUP, np.int64), np.empty(GROUP)
            _pull_back(
                g, self.frequencies, amplitudes, self.rates, b, k_lo, k_hi, phases, sums, d_frequencies, d_amplitudes
            )

        self._run(work)

    def _rows(self) -> np.ndarray:
        width = width_of(from_dtype(self.frequencies.dtype))
        return np.zeros((width + 1) * width, self.frequencies.dtype)

    def _run(self, work) -> None:
        """Call work(b, group, k_lo, k_hi) for all groups of partials of the batch."""
        batch, _, n_partials = self.frequencies.shape

        def call(chunk: int) -> None:
            b, group = divmod(chunk, self.n_groups)
            work(b, group, group * GROUP, min((group + 1) * GROUP, n_partials))

        threads.run(call, batch * self.n_groups, self.n_threads)
