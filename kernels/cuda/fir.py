"""Frequency-sampled filters on CUDA tensors: what fastddsp.kernels.cpu.fir does, as launches of fir.cu.

One launch forward and one backward. With overlap, or where a frame is longer than PIECE samples, a second one backward
adds up what a row of the magnitudes' gradient is made of. Nothing waits for the device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any, NamedTuple

import numpy as np

from fastddsp.kernels import fir
from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.launch import Queue

FILE = "fir.cu"
SAMPLES, STEPS, FRAMES, BANDS = 9, 8, 8, 72  # of fir.cu
SEEN = SAMPLES + STEPS - 1
THREADS = 128
ENOUGH_BLOCKS = 264
"""Two for each processor of the largest GPU: smaller blocks are made where there would be fewer, down to a warp's."""
MOST_FRAMES = 24
"""That a block has at hand."""
OWN = 16
"""Rows of taps' gradients in a block, backward: two for each thread of the transform."""
PIECE = 1024
"""Samples of a block, backward, 512 in float64; longer frames are cut."""
TAPS = 512
"""In shared memory at a time, of each frame."""
SHARED_BYTES = 46 * 1024
"""What a launch has, less what the kernels declare for themselves."""
MAX_BANDS = 2**16 + 1
"""Bands times lags are 32-bit numbers."""


class Source(NamedTuple):
    """What is filtered: audio [batch, samples], or the noise of seeds, int64 [batch], or [1] for all rows."""

    audio: Any = None
    seeds: Any = None
    offset: int = 0  # of the first sample in the noise's stream


class Filter:
    """Both operations for one shape of a problem.

    Args:
      source: what is filtered.
      shape: batch, frames, bands.
      n_samples: of a row.
      window_size: samples of the Hann window.
      overlap: glide from filter to filter.
      like: a tensor of the results' type and device.
      queue: device and stream.
    """

    def __init__(
        self, source: Source, shape: tuple[int, int, int], n_samples: int, window_size: int, overlap: bool, like: Any,
        queue: Queue,
    ):  # fmt: skip
        self.batch, self.n_frames, self.n_bands = shape
        if self.n_bands > MAX_BANDS:
            raise ValueError(f"magnitudes must have at most {MAX_BANDS} bands on CUDA, got {self.n_bands}")
        self.source, self.n_samples, self.overlap, self.queue = source, n_samples, int(overlap), queue
        self.like, self.float64 = like, like.element_size() == 8
        self.n_taps = fir.n_taps(self.n_bands, window_size)
        self.tile = min(self.n_taps, TAPS)
        hop = -(-n_samples // self.n_frames)
        is_even = -(-n_samples // hop) != self.n_frames  # see frame_borders in kernels/fir.py
        self.longest, self.shortest = hop, n_samples // self.n_frames if is_even else hop
        seed_stride = int(source.seeds is not None and source.seeds.shape[0] > 1)
        self.lies = np.int64(seed_stride), np.int64(source.offset), np.int64(n_samples)
        self.hop = np.int64(0 if is_even else hop)
        self.units, self.design = _design(self.n_bands, window_size)

    def render(self, magnitudes: Any, out: Any) -> None:
        """Write out [batch, n_out], the source filtered by magnitudes [batch, frames, bands], after the delay."""
        n_out, threads = out.shape[1], THREADS
        while threads > 32 and self.batch * -(-n_out // (threads * SAMPLES)) < ENOUGH_BLOCKS:
            threads //= 2
        size = threads * SAMPLES
        reach = size + self.tile - 1  # samples that a block's outputs hear, of one tile of taps
        seen = reach // max(self.shortest, 1) + 2 if self.shortest else self.n_frames
        group = min(seen, self.n_frames, MOST_FRAMES - self.overlap)
        while self._bytes(group + self.overlap, self._staged(reach, group)) > SHARED_BYTES:
            group -= 1
        staged = self._staged(reach, group)
        numbers = np.int32(group), np.int32(staged)
        self._launch(
            "fir_forward", self.batch * -(-n_out // size), threads,
            (magnitudes, self.source.audio, self.source.seeds, out, *self._settings(n_out), *numbers),
            self._bytes(group + self.overlap, staged),
        )  # fmt: skip

    def gradients(self, g: Any, magnitudes: Any, d_audio: Any, d_magnitudes: Any) -> None:
        """Write the adjoint of `render`, in the audio and in the magnitudes, of g [batch, n_out].

        Either may be None; magnitudes only where d_audio is.
        """
        phases = 1 + self.overlap
        piece = min(self.longest, PIECE // (1 + self.float64))
        pieces = -(-self.longest // piece)
        own = 1 if pieces > 1 else min(OWN // phases, PIECE // (1 + self.float64) // piece, self.n_frames)
        while self._backward_bytes(own, piece) > SHARED_BYTES:
            own -= 1
        parts = d_magnitudes
        if d_magnitudes is not None and pieces * phases > 1:
            parts = self.like.new_empty((self.batch, self.n_frames, pieces, phases, self.n_bands))
        numbers = (np.int32(n) for n in (own, pieces, piece, self._staged(own * piece, own)))
        tensors = magnitudes, self.source.audio, self.source.seeds, g, d_audio, parts
        n_blocks = self.batch * -(-self.n_frames // own) * pieces
        self._launch(
            "fir_backward", n_blocks, THREADS, (*tensors, *self._settings(g.shape[1]), *numbers),
            self._backward_bytes(own, piece),
        )  # fmt: skip
        if parts is not d_magnitudes:
            numbers = (np.int32(n) for n in (self.n_frames, self.n_bands, pieces, phases))
            self._launch("sum_parts", self.batch * self.n_frames, THREADS, (parts, d_magnitudes, *numbers))

    def _staged(self, n_samples: int, n_frames: int) -> int:
        """Room for samples with zeros after each frame."""
        return n_samples + STEPS * n_frames

    def _bytes(self, n_rows: int, staged: int, heard: int = 0) -> int:
        """Shared memory of a block: bands, rows of taps, weights, samples, and what they are heard with."""
        bands = (-(-n_rows // FRAMES) * FRAMES + 4) * BANDS
        rows = n_rows * (self.tile + SEEN - 1 + SAMPLES - 1)
        return (bands + rows + self.tile + (1 + self.overlap) * staged + heard) * self.like.element_size()

    def _backward_bytes(self, own: int, piece: int) -> int:
        heard = own * piece + self.tile + SEEN
        return self._bytes(own * (1 + self.overlap), self._staged(own * piece, own), heard)

    def _settings(self, n_out: int) -> tuple:
        numbers = self.n_frames, *self.design, fir.delay(self.n_taps), self.overlap, self.tile
        return *self.lies, np.int64(n_out), self.hop, *self.units, *(np.int32(n) for n in numbers)

    def _launch(self, kernel: str, n_blocks: int, n_threads: int, args: tuple, shared_bytes: int = 0) -> None:
        queue, float64 = self.queue, self.float64
        launch.launch(FILE, kernel, n_blocks, n_threads, args, queue, float64=float64, shared_bytes=shared_bytes)


def _design(n_bands: int, window_size: int) -> tuple[tuple[np.uint64, np.uint64], tuple[int, ...]]:
    """(64-bit turns of pi / n, of half a period of the window), (n, taps, first lag, the window's centre and samples).

    The window of `taps` in kernels/fir.py, as a formula: at the lag m it is sin^2(pi i / period), i = m + half modulo
    2 n, and 0 from i = window_size on.
    """
    n = n_bands - 1
    first_lag, window = fir.taps(2 * n, window_size)
    size = window_size if 0 < window_size < 2 * n else 2 * n
    period = max(size - size % 2, 1)
    units = np.uint64(2**64 // (2 * n)), np.uint64(2**64 // (2 * period))
    return units, (n, len(window), first_lag, (size + 1) // 2, size)
