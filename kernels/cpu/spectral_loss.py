"""Multi-scale spectral loss on the CPU: value and gradients of every row in one pass; no spectrogram is ever whole.

    L = sum over scales of 1 / (frames bins) sum_{t,k} a d(|X|, |Y|) + c d(log |X|, log |Y|)
    d(u, v) = |u - v| (L1) or (u - v)^2 (L2);   X, Y: short-time spectra of audio x and target y
    dL/dx = sum over scales and frames of w(n) Re sum_k X / |X| dL/d|X| exp(2 pi i k n / N), at each frame's place

(fastddsp.kernels.reference.spectral_loss is the specification.) A chunk is the frames that begin in one stretch of a
row. Scale by scale they are framed, transformed (by the FFT that the caller brings), turned from spectra into gradients
of spectra in place, transformed back and added up, so that what passes from step to step stays in the second cache.
What reaches past a chunk's stretch is its tail. Tails, and the losses of chunks in float64, are added in order once all
chunks are done, so that results do not depend on threads.

Squares leave the range of float32 where magnitudes do not. So a chunk is computed on samples times a power of two: it
rounds nothing and brings the largest to about 2^LEVEL. Squares stay finite, and magnitudes down to 2^-74 of the largest
sample (2^-82 where that is below 2^-8) are told from 0.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numba import types
from numba.core.extending import intrinsic, overload

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.copies import add_tails
from fastddsp.kernels.fir import hann
from fastddsp.kernels.spectral_loss import EPS, Scale, scale

STRETCH = 2**14  # samples: two signals' frames of one scale fill 512 kB, and an FFT call is worth its fixed cost
LEVEL = 24  # 2^24 times the 2^11 or so that an FFT makes of it, squared and added up, is well inside float32
MAX_SHIFT = 32  # so that slopes, which have its inverse square, times 1 / magnitude, stay normal numbers
ZERO = 2.0**-100  # powers up to this count as 0, so that 1 / power times a slope does not overflow
LOG_2 = math.log(2.0)
PIECE = 2**11  # bins that are compared at a time: their sums are of float32, the sums of these of float64
ALONE = 2**14  # samples that one thread does sooner than two
FFT = Callable[[np.ndarray], np.ndarray]  # real [.., N] -> complex [.., N / 2 + 1]
InverseFFT = Callable[[np.ndarray, int], np.ndarray]  # back to N samples, N times the signal


# ------------------------------------------------------------------------------------------------------ the logarithm


@intrinsic
def _bits(typingctx, x):
    """A number as the integer of the same bits, and back."""
    kind = {types.float32: types.int32, types.int32: types.float32}[x]

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(kind))

    return kind(x), codegen


# log(1 + f) = f - f^2/2 + f^3 P(f) for sqrt(1/2) <= 1 + f < sqrt(2), minimax: relative error 6e-9, a tenth of eps.
_P = tuple(
    np.float32(p)
    for p in (
        0.33333331707700176,
        -0.25000821034345333,
        0.20001226876369602,
        -0.16623357343719963,
        0.14201757999241524,
        -0.13160182395766154,
        0.12761577044352101,
        -0.07634496527800415,
    )
)
_SQRT_HALF = np.int32(np.float32(math.sqrt(0.5)).view(np.int32))
_23, _MANTISSA = np.int32(23), np.int32(0x7FFFFF)


def _log(x):
    """(e, r) with log x = e log 2 + r, of a positive normal number.

    Apart, because differences of e are exact. Of float32 without a call, so that loops over it are vectors; float64 has
    digits to spare, and e = 0.
    """


@overload(_log)
def _log_of(x):
    if x != types.float32:
        return lambda x: (0.0, math.log(x))

    def log(x):
        above = np.int32(_bits(x) - _SQRT_HALF)
        exponent = np.int32(above >> _23)
        f = _bits(np.int32((above & _MANTISSA) + _SQRT_HALF)) - np.float32(1.0)
        p = _P[7]
        p = p * f + _P[6]
        p = p * f + _P[5]
        p = p * f + _P[4]
        p = p * f + _P[3]
        p = p * f + _P[2]
        p = p * f + _P[1]
        p = p * f + _P[0]
        square = f * f
        return np.float32(exponent), f + square * (p * f - np.float32(0.5))

    return log


# ------------------------------------------------------------------------------------------------------------ kernels


@kernel
def _frame(signals, window, hop_size, offset, scale, frames):
    """frames[s, t] = scale window signals[s, offset + t hop : ...], zeros after the window."""
    size = len(window)
    for s in range(frames.shape[0]):
        for t in range(frames.shape[1]):
            begin = offset + t * hop_size
            row, source = frames[s, t], signals[s, begin : begin + size]
            for n in range(size):
                row[n] = scale * window[n] * source[n]
            row[size:] = 0


# reassoc: sums as vectors. A function of its own, for LLVM to see that x and y do not overlap: as the inner of two
# loops it takes 7.5 ns a bin instead of 1.3.
@helper(fastmath={"reassoc", "contract", "nsz"})
def _compare(y, x, logs, squared, slopes, log_power_of_zero):
    """Sums of d of magnitudes and of their logarithms; x becomes the gradient with respect to it."""
    mag_slope, log_slope = slopes
    number = type(mag_slope)
    zero, one, half, nothing, log_2 = number(0), number(1), number(0.5), number(ZERO), number(LOG_2)
    mag_sum, log_sum = zero, zero
    for k in range(len(x)):
        re, im = x[k].real, x[k].imag
        x_power = re * re + im * im
        y_power = y[k].real * y[k].real + y[k].imag * y[k].imag
        x_mag = math.sqrt(x_power)
        inverse = one / x_mag if x_power > nothing else zero
        d = x_mag - math.sqrt(y_power)
        sign = math.copysign(one, d) if d != zero else zero
        mag_sum += d * d if squared else abs(d)
        slope = mag_slope * (d if squared else sign)
        if logs is not None:
            (x_exponent, x_rest), (y_exponent, y_rest) = _log(x_power), _log(y_power)
            if x_power <= nothing:
                x_exponent, x_rest = zero, log_power_of_zero
            if y_power <= nothing:
                y_exponent, y_rest = zero, log_power_of_zero
            d = half * ((x_exponent - y_exponent) * log_2 + (x_rest - y_rest))
            sign = math.copysign(one, d) if d != zero else zero
            log_sum += d * d if squared else abs(d)
            slope += log_slope * (d if squared else sign) * inverse
        slope *= inverse
        x[k] = complex(re * slope, im * slope)
    return mag_sum, log_sum


@kernel
def _differentiate(spectra, n_bins, logs, squared, slopes, log_power_of_zero, both, spare, sums):
    """Add the sums of d to `sums`; turn spectra [2, frames * bins] into gradients of spectra.

    They come doubled in the first and last bin, as the inverse real FFT wants its adjoint. The first of the two is left
    as it is unless `both`; then there are PIECE spare numbers. logs: None for d of magnitudes alone, another kernel.
    """
    size = spectra.shape[1]
    for begin in range(0, size, PIECE):
        y, x = spectra[0, begin : begin + PIECE], spectra[1, begin : begin + PIECE]
        old = spare[: len(x)]
        if both:
            for k in range(len(x)):  # `old[:] = x` would take 1.5 s to compile
                old[k] = x[k]
        of_mag, of_log = _compare(y, x, logs, squared, slopes, log_power_of_zero)
        sums[0] += of_mag
        sums[1] += of_log
        if both:
            _compare(old, y, logs, squared, slopes, log_power_of_zero)
    for s in range(0 if both else 1, 2):
        for first in range(0, size, n_bins):  # a product of complex numbers would take 0.3 s to compile
            spectra[s, first] += spectra[s, first]
            spectra[s, first + n_bins - 1] += spectra[s, first + n_bins - 1]


@kernel
def _overlap_add(frames, window, hop_size, offset, factor, out):
    """out[s, offset + t hop + n] += factor window[n] frames[s, t, n]."""
    size = len(window)
    for s in range(frames.shape[0]):
        for t in range(frames.shape[1]):
            begin = offset + t * hop_size
            row, place = frames[s, t], out[s, begin : begin + size]
            for n in range(size):
                place[n] += factor * window[n] * row[n]


# --------------------------------------------------------------------------------------------------- public functions


def losses(
    target: np.ndarray,
    audio: np.ndarray,
    frame_sizes: Sequence[int],
    squared: bool,
    weights: tuple[float, float],
    rfft: FFT,
    irfft: InverseFFT,
    loss: np.ndarray,
    d_target: np.ndarray | None,
    d_audio: np.ndarray | None,
    n_threads: int = 1,
) -> None:
    """loss [batch] = L of every row of two signals [batch, n_samples], and its gradients, None for one not needed.

    weights: a and c. The two FFTs may be called on several threads at once.
    """
    batch, n_samples = audio.shape
    scales = [scale(size, n_samples) for size in frame_sizes]
    results = [d for d in (d_target, d_audio) if d is not None]
    stretches = -(-n_samples // STRETCH)
    parts = np.zeros((batch, stretches))
    reach = max((s.frame_size for s in scales), default=0)
    tails = np.empty((len(results), batch, stretches, reach), audio.dtype)

    def work(chunks: Iterable[int]) -> None:
        job = _Job(scales, squared, weights, (d_target is not None, d_audio is not None), rfft, irfft, audio.dtype)
        for chunk in chunks:
            b, i = divmod(chunk, stretches)
            begin = i * STRETCH
            end = min(begin + STRETCH, n_samples)
            parts[b, i] = job.run(target[b], audio[b], begin, end)
            for d, tail, gradient in zip(results, tails, job.gradients, strict=True):
                d[b, begin:end] = gradient[: end - begin]
                tail[b, i] = gradient[end - begin : end - begin + reach]

    threads.share(work, batch * stretches, n_threads if batch * n_samples > ALONE else 1)
    loss[:] = parts.sum(axis=1)
    for d, tail in zip(results, tails, strict=True):
        add_tails(tail, STRETCH * np.arange(1, stretches + 1), d)


class _Job:
    """What a thread keeps from chunk to chunk: settings and buffers."""

    def __init__(self, scales: list[Scale], squared, weights, needs, rfft: FFT, irfft: InverseFFT, dtype):
        self.scales, self.squared, self.weights, self.needs = scales, squared, weights, needs
        self.rfft, self.irfft, self.dtype = rfft, irfft, np.dtype(dtype)
        self.windows = [hann(s.frame_size).astype(dtype) for s in scales]
        length = STRETCH + max((s.frame_size for s in scales), default=0)
        self.signals = np.empty((2, length), dtype)
        self.gradients = np.empty((sum(needs), length), dtype)
        size = max((2 * (STRETCH // s.hop_size + 1) * s.fft_size for s in scales), default=0)
        self.frames = _aligned(size, self.dtype)
        self.spare = np.empty(PIECE if needs[0] else 0, np.result_type(dtype, np.complex64))

    def run(self, target: np.ndarray, audio: np.ndarray, begin: int, end: int) -> float:
        """The loss of the frames that begin in [begin, end); leaves its gradients in `gradients`."""
        for signal, source in zip(self.signals, (target, audio), strict=True):
            n = min(len(source) - begin, len(signal))
            signal[:n] = source[begin : begin + n]
            signal[n:] = 0
        self.gradients[:] = 0
        shift = _shift(max(self.signals.max(), -self.signals.min()))
        return sum(
            self._run_scale(s, window, begin, end, shift) for s, window in zip(self.scales, self.windows, strict=True)
        )

    def _run_scale(self, s: Scale, window: np.ndarray, begin: int, end: int, shift: float) -> float:
        first, last = -(-begin // s.hop_size), -(-end // s.hop_size)
        if first == last:
            return 0.0
        offset, number = first * s.hop_size - begin, self.dtype.type
        frames = self.frames[: 2 * (last - first) * s.fft_size].reshape(2, last - first, s.fft_size)
        _frame(self.signals, window, s.hop_size, offset, number(shift), frames)
        spectra = self.rfft(frames)
        # In units of `shift`: d of magnitudes (or its square) and slopes of magnitudes shrink, logarithms stay.
        unit = (1 / shift) ** (2 if self.squared else 1)
        count = s.n_frames * s.n_bins
        a, c = self.weights[0] * unit / count, self.weights[1] / count
        slopes = tuple(number((2 if self.squared else 1) * slope) for slope in (a, c))
        sums, log_power_of_zero = np.zeros(2), number(2 * math.log(EPS * shift))
        logs = True if c > 0 else None
        flat = spectra.reshape(2, -1)
        _differentiate(
            flat, s.n_bins, logs, self.squared, slopes, log_power_of_zero, self.needs[0], self.spare, sums
        )  # fmt: skip
        if any(self.needs):
            wanted = spectra[0 if self.needs[0] else 1 : 2 if self.needs[1] else 1]
            back = self.irfft(wanted, s.fft_size)
            _overlap_add(back, window, s.hop_size, offset, number(shift / 2), self.gradients)
        of_mag, of_log = sums.tolist()
        return a * of_mag + c * of_log


def _shift(largest: float) -> float:
    """The power of two by which a chunk's samples are multiplied; 1 for NaN, infinity and silence."""
    if not 0 < largest < math.inf:
        return 1.0
    return 2.0 ** min(LEVEL - math.frexp(largest)[1], MAX_SHIFT)


def _aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Uninitialized numbers that begin a cache line: FFTs may choose their instructions by it, and so their bits."""
    bytes_ = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -bytes_.ctypes.data % 64
    return bytes_[start : start + size * dtype.itemsize].view(dtype)
