"""Delay of variable length on the CPU.

    y(n) = p x(n - c) + q x(n - c - 1)      c, p, q: cell and weights of phi(n) among L steps of delay (cpu.lookup)

x is 0 before its first sample; with `wrap`, x(n) stands in the place of x(n - L). The adjoint, with the cotangent g(n):

    dL/dx(n - c) += g p,   dL/dx(n - c - 1) += g q,   dL/dphi(n) = g (p' x(n - c) + q' x(n - c - 1))

The loop. Two numbers are gathered a sample, whatever L is. The scatter uses no atomics: every chunk of samples adds up
its gradient in room of its own, from L samples before its first, and these are summed in the chunks' order. Chunks
depend on the length alone.
"""

import numpy as np

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.lookup import TILE, place_given, workspace
from fastddsp.kernels.cpu.simd import pointer

SAMPLES_PER_CHUNK = 2**14  # 50 us: long beside the 5 us of a call


@helper
def _ago(step, max_length, wrap):
    """How many samples ago a step of the delay looks. Steps beyond the last have no weight."""
    if step >= max_length:
        return 0 if wrap else max_length
    return step


@helper(fastmath={"contract"})
def _read(audio, n, max_length, wrap, size, cells, low, high, out):
    """out = low audio[n - cell] + high audio[n - cell - 1]; all but n, max_length and wrap are pointers."""
    for l in range(size):
        here, there = n + l - _ago(cells[l], max_length, wrap), n + l - _ago(cells[l] + 1, max_length, wrap)
        first = audio[max(here, 0)] if here >= 0 else 0.0
        second = audio[max(there, 0)] if there >= 0 else 0.0
        out[l] = low[l] * first + high[l] * second


@helper(fastmath={"contract"})
def _write(target, n, max_length, wrap, size, cells, low, high, g):
    """The adjoint of _read: target has room for max_length samples before its sample 0."""
    for l in range(size):
        here, there = n + l - _ago(cells[l], max_length, wrap), n + l - _ago(cells[l] + 1, max_length, wrap)
        target[here + max_length] += low[l] * g[l]
        target[there + max_length] += high[l] * g[l]


@kernel
def _render(phase, audio, max_length, wrap, order, b, n, end, work, out):
    """out[b, n:end]."""
    n_samples, c, low = audio.shape[1], pointer(work[1], 0), pointer(work[2], 0)
    x, high = pointer(audio, b * n_samples), pointer(low, TILE)
    while n < end:
        size, at = min(end - n, TILE), b * n_samples + n
        place_given(pointer(phase, at), order, max_length, 1.0, size, c, low)
        _read(x, n, max_length, wrap, size, c, low, high, pointer(out, at))
        n += size


@kernel
def _pull_back(g, phase, audio, max_length, wrap, order, b, n, end, work, d_phase, own):
    """Adjoint of _render for the samples n to end: d_phase [batch, samples] of them, and own, from max_length before n.

    Either may be None.
    """
    n_samples, c, low, first = audio.shape[1], pointer(work[1], 0), pointer(work[2], 0), n
    x, high = pointer(audio, b * n_samples), pointer(low, TILE)
    d_low, d_high = pointer(low, 2 * TILE), pointer(low, 3 * TILE)
    if own is not None:
        own[:] = 0
    while n < end:
        size, at = min(end - n, TILE), b * n_samples + n
        place_given(pointer(phase, at), order, max_length, 1.0, size, c, low)
        if d_phase is not None:
            target, cotangent = pointer(d_phase, at), pointer(g, at)
            _read(x, n, max_length, wrap, size, c, d_low, d_high, target)
            for l in range(size):
                target[l] *= cotangent[l]
        if own is not None:
            _write(pointer(own, 0), n - first, max_length, wrap, size, c, low, high, pointer(g, at))
        n += size


@kernel
def _add_up(own, max_length, d_audio):
    """d_audio [batch, samples] = the sum of what the chunks have: own [batch, chunks, max_length + chunk]."""
    n_samples, chunk = d_audio.shape[1], own.shape[2] - max_length
    d_audio[:] = 0
    for b in range(own.shape[0]):
        for k in range(own.shape[1]):
            first = k * chunk - max_length
            target = d_audio[b]
            for n in range(max(first, 0), min(first + own.shape[2], n_samples)):
                target[n] += own[b, k, n - first]


class Delay:
    """Delays of one length for given phases.

    Args:
      phase: [batch, samples] of the delay's length: 0 to 1, float32 or float64, contiguous like all arrays here.
      max_length: samples.
      wrap: whether the last step of the delay turns back to no delay.
      order: 0, or 1 for the derivative in the phase.
      n_threads: at most so many threads.
    """

    def __init__(self, phase, max_length, wrap, order=0, n_threads=1):
        self.phase, self.settings, self.n_threads = phase, (max_length, wrap, order), n_threads
        self.n_chunks = -(-phase.shape[1] // SAMPLES_PER_CHUNK)

    def render(self, audio, out) -> None:
        """out [batch, samples] = the delayed audio [batch, samples]."""

        def work(b: int, k: int, n: int, end: int) -> None:
            _render(self.phase, audio, *self.settings, b, n, end, workspace(audio.dtype), out)

        self._run(work)

    def gradients(self, g, audio, d_phase=None, d_audio=None) -> None:
        """The adjoint of `render` applied to g [batch, samples]; results to write, or None."""
        room, max_length = None, self.settings[0]
        if d_audio is not None:
            longest = min(SAMPLES_PER_CHUNK, g.shape[1])
            room = np.empty((g.shape[0], self.n_chunks, max_length + longest), g.dtype)

        def work(b: int, k: int, n: int, end: int) -> None:
            own = None if room is None else room[b, k]
            _pull_back(g, self.phase, audio, *self.settings, b, n, end, workspace(audio.dtype), d_phase, own)

        self._run(work)
        if room is not None:
            _add_up(room, max_length, d_audio)

    def _run(self, work) -> None:
        """Call work(b, k, first sample, end) for every chunk k of every batch item b."""

        def call(place: int) -> None:
            b, k = divmod(place, self.n_chunks)
            work(b, k, k * SAMPLES_PER_CHUNK, min((k + 1) * SAMPLES_PER_CHUNK, self.phase.shape[1]))

        threads.run(call, self.phase.shape[0] * self.n_chunks, self.n_threads)
