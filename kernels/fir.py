"""Frequency-sampled filters: what every backend must agree on.

Magnitudes X_k at the frequencies k nyquist / n, k = 0..n, are a zero-phase impulse response of 2 n samples,

    r[m] = 1/n sum''_k X_k cos(pi k m / n)         sum'': the first and the last term count half

which is symmetric in the lag m. A window w shortens it; tap l of the filter has the lag m(l) = l - centre:

    h[l] = w[l] r[|m(l)|],  l = 0..n_taps-1

Audio of N samples is cut into frames; frame t filters its samples on its own and the results add up, as if played by
one filter after another:

    y_full[p] = sum_t sum_{n in frame t} x[n] h_t[p - n],   y[p] = y_full[p + delay]

With overlap the filter moves from h_t to h_{t+1} while frame t, of N_t samples from n_t on, goes by; the last is held:

    y_full[p] = sum_t sum_{n in frame t} x[n] ((1 - w(n)) h_t[p - n] + w(n) h_{t+1}[p - n]),
    w(n) = sin^2(pi (n - n_t) / 2 N_t)

Frames are then windows that overlap by half: h_t is heard with a Hann window's weight around the start of frame t, and
the weights of all frames add up to one.
"""

from functools import lru_cache

import numpy as np


def hann(size: int) -> np.ndarray:
    """Hann window: periodic if its size is even, symmetric if odd, as in the reference."""
    if size == 1:
        return np.ones(1)
    period = size if size % 2 == 0 else size - 1
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / period)


@lru_cache(maxsize=64)
def taps(ir_size: int, window_size: int) -> tuple[int, np.ndarray]:
    """Lag of the first tap, and the window's weight of every tap, of a zero-phase response of `ir_size` samples.

    A window as long as the response (also if `window_size` is 0 or too large) keeps its `ir_size` taps. A shorter one
    keeps 2 ((window_size + 1) // 2) - 1 of them (2 for window sizes 1 and 2). The reference centres an odd window one
    sample early, at lag -1; so does this, for the same sound. A window of 1 sample then leaves nothing.
    """
    if window_size <= 0 or window_size >= ir_size:
        window = np.roll(hann(ir_size), -(ir_size % 2))
        return -(ir_size // 2), _frozen(window)
    half = (window_size + 1) // 2
    first = -max(half - 2, 0)
    window = np.concatenate([hann(window_size), np.zeros(ir_size - window_size)])
    return first, _frozen(window[(np.arange(first, half + 1) + half) % ir_size])


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)  # shared by all callers of a cached function
    return array


def n_taps(n_bands: int, window_size: int) -> int:
    """Taps of the filter that `n_bands` magnitudes and a window make."""
    return len(taps(2 * (n_bands - 1), window_size)[1])


def delay(n_taps: int) -> int:
    """Samples cut from the start of the filtered audio, for the filter's group delay.

    The reference's rule: exact for a window shorter than the response; 2 samples short of the centre for a full one.
    -1 for 1 or 2 taps, where the reference returns nothing: audio then starts one sample late.
    """
    return (n_taps - 1) // 2 - 1


def fade_in(size: int) -> np.ndarray:
    """Weights of a frame's samples in the next frame's filter: sin^2(pi i / 2 size), half a Hann window, from 0 on."""
    return np.sin(np.pi / 2 * np.arange(size) / max(size, 1)) ** 2


def frame_borders(n_samples: int, n_frames: int) -> np.ndarray:
    """Where frames begin, and the end of the last: int64 [n_frames + 1].

    Frames are ceil(n_samples / n_frames) samples long and the last one takes what is left, as in the reference. Where
    fewer frames would use up the audio, and the reference raises, it is divided evenly.
    """
    frames = np.arange(n_frames + 1, dtype=np.int64)
    hop = -(-n_samples // max(n_frames, 1))
    if hop and -(-n_samples // hop) == n_frames:
        return np.minimum(frames * hop, n_samples)
    return -(-frames * n_samples // max(n_frames, 1))
