"""Oscillators with controls for every sample on CUDA tensors: what fastddsp.kernels.cpu.oscillator_bank does.

One launch of oscillator_bank.cu forward, and a small one that adds up groups of partials where there are more than
WIDTH; one backward. Nothing waits for the device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.launch import Queue

FILE = "oscillator_bank.cu"
WIDTH = 8  # partials of a block
THREADS = 512


class Bank:
    """The oscillators for one set of frequencies; the arguments are those of the CPU's Bank.

    Args:
      frequencies: [batch, samples, partials] Hz.
      sample_rate: samples a second.
      nyquist: oscillators are silent from this frequency on, Hz; infinity for never.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      queue: device and stream.
    """

    def __init__(self, frequencies: Any, sample_rate: float, nyquist: float, quarter_turns: int, queue: Queue):
        self.frequencies, self.queue = frequencies, queue
        self.batch, self.n_samples, n_partials = frequencies.shape
        self.n_groups = -(-n_partials // WIDTH)
        rates = np.float64(1 / sample_rate), np.float64(nyquist)
        self.settings = np.int64(self.n_samples), *rates, np.int32(n_partials), np.int32(quarter_turns % 4)

    def render(self, amplitudes: Any, out: Any) -> None:
        """Write out [batch, samples, partials]: every oscillator for amplitudes [batch, samples, partials]."""
        self._walk("oscillator_bank", (self.frequencies, amplitudes, out), each=True)

    def render_sum(self, amplitudes: Any, out: Any) -> None:
        """Write out [batch, samples], their sum."""
        sums = out if self.n_groups == 1 else out.new_empty((self.n_groups, self.batch, self.n_samples))
        self._walk("oscillator_bank", (self.frequencies, amplitudes, sums), each=False)
        if self.n_groups > 1:
            n = self.batch * self.n_samples
            args = sums, out, np.int64(n), np.int32(self.n_groups)
            self._launch("oscillator_sum", -(-n // THREADS), args)

    def gradient(self, g: Any, amplitudes: Any, d_frequencies: Any = None, d_amplitudes: Any = None) -> None:
        """Write the adjoint of `render`, or of `render_sum`, of g [batch, samples, partials] or [batch, samples].

        d_frequencies, d_amplitudes: [batch, samples, partials] to write, or None.
        """
        tensors = g, self.frequencies, amplitudes, d_frequencies, d_amplitudes
        self._walk("oscillator_gradients", tensors, each=g.ndim == 3)

    def _walk(self, kernel: str, tensors: tuple, each: bool) -> None:
        self._launch(kernel, self.batch * self.n_groups, (*tensors, *self.settings, np.int32(each)))

    def _launch(self, kernel: str, n_blocks: int, args: tuple) -> None:
        float64 = self.frequencies.element_size() == 8
        launch.launch(FILE, kernel, n_blocks, THREADS, args, self.queue, float64=float64)
