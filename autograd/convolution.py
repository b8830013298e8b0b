"""Convolution of audio with impulse responses by FFT, and the windowed-sinc filters built on it.

    y(n) = sum_m h_t(m) x(n - m),   t = the frame of x that the sample n - m belongs to

Audio x is [batch, samples]; h is one impulse response for all of it, [batch, ir_size], or one for each of F frames of
ceil(samples / F) samples, [batch, F, ir_size]. Each frame is convolved on its own and the tails overlap and add. With
`overlap` h_t gives way to h_{t+1} within frame t; without it they take turns, and a filter that changes much clicks:

    y(n) = sum_m (h_t(m) + w(n - m) (h_{t+1}(m) - h_t(m))) x(n - m),   w: sin^2(pi i / 2 size) at sample i of a frame

A single response is applied in blocks in the same way, so that memory grows with the length of the
audio and not faster. The adjoints are convolutions too, with the audio or the response reversed in time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fastddsp.autograd import checks
from fastddsp.autograd.fourier import rfft

__all__ = [
    "crop_and_compensate_delay",
    "fft_convolve",
    "get_fft_size",
    "sinc",
    "sinc_filter",
    "sinc_impulse_response",
]

# A block's FFT is at least this long, and at least this many times the impulse response. Whole-signal FFTs were 2 to 4
# times slower, forward and backward, for 60 s at 48 kHz with responses of 257 and 48000 samples on two cores.
MIN_BLOCK_FFT = 4096
BLOCK_FFT_PER_IR = 4


def get_fft_size(frame_size: int, ir_size: int, power_of_2: bool = True) -> int:
    """Choose an efficient FFT size for the convolution of a frame with an impulse response.

    Args:
        frame_size: samples of the frame, at least 1.
        ir_size: samples of the impulse response, at least 1.
        power_of_2: the next power of two; otherwise the next product of powers of 2, 3 and 5, which is closer.

    Returns:
        A size of at least frame_size + ir_size - 1.
    """
    wanted = frame_size + ir_size - 1
    power_of_two = 1 << (wanted - 1).bit_length()
    if power_of_2:
        return power_of_two
    best = power_of_two
    for fives in range(wanted.bit_length()):
        for threes in range(wanted.bit_length()):
            odd = 5**fives * 3**threes
            if odd >= best:
                break
            best = min(best, odd << (-(-wanted // odd) - 1).bit_length())
    return best


def crop_and_compensate_delay(
    audio: Tensor, audio_size: int, ir_size: int, padding: str, delay_compensation: int
) -> Tensor:
    """Cut the wanted part out of a convolution, with zeros where it reaches beyond its ends.

    Args:
        audio: [batch, samples], the result of the convolution from its first sample on.
        audio_size: samples before the convolution.
        ir_size: samples of the impulse response.
        padding: "same" for audio_size samples, "valid" for audio_size + ir_size - 1.
        delay_compensation: first sample to keep. Below 0: (ir_size - 1) // 2 - 1, one less than the delay of a
            symmetric response of odd length, as in magenta.

    Returns:
        [batch, wanted samples].

    Raises:
        ValueError: no such padding.
    """
    checks.one_of("padding", padding, ("same", "valid"))
    wanted = audio_size if padding == "same" else audio_size + ir_size - 1
    start = (ir_size - 1) // 2 - 1 if delay_compensation < 0 else delay_compensation
    # In magenta the result is empty where the convolution does not reach beyond the wanted part, or start is negative.
    missing_before, missing_after = max(-start, 0), max(start + wanted - audio.shape[-1], 0)
    return F.pad(audio, (missing_before, missing_after)).narrow(-1, max(start, 0), wanted)


def fft_convolve(
    audio: Tensor,
    impulse_response: Tensor,
    padding: str = "same",
    delay_compensation: int = -1,
    *,
    overlap: bool = False,
) -> Tensor:
    """Filter audio with one impulse response, or with one for each frame.

    Args:
        audio: [batch, samples].
        impulse_response: [batch, ir_size], or [batch, frames, ir_size] for a filter that varies in time. A batch of 1
            serves all audio.
        padding: "same" keeps the number of samples, "valid" adds the tail of ir_size - 1 samples.
        delay_compensation: samples to take off at the front. Below 0: what suits the linear-phase filters of
            `frequency_impulse_response`. 0 for a causal response such as a room's.
        overlap: glide from each frame's response to the next one's, as `frequency_filter` does, instead of jumping.

    Returns:
        [batch, samples], or [batch, samples + ir_size - 1].

    Raises:
        ValueError: shapes do not fit, there is no such padding, or the audio cannot be cut into that many frames of
            equal size.
        TypeError: dtypes differ, or are not float32 or float64.
    """
    impulse_response = _checked_impulse_response(audio, impulse_response)
    audio_size, (n_frames, ir_size) = audio.shape[1], impulse_response.shape[1:]
    if audio.shape[0] == 0:
        convolved = audio  # torch's FFT refuses an empty batch
    elif n_frames == 1:
        convolved = _convolve_blocks(audio, impulse_response)
    else:
        frame_size = -(-audio_size // n_frames)
        if -(-audio_size // max(frame_size, 1)) != n_frames:
            raise ValueError(
                f"impulse_response must have as many frames as audio can be cut into, got {n_frames} frames for "
                f"{audio_size} samples, which frames of {frame_size} fill with {-(-audio_size // max(frame_size, 1))}"
            )
        fft_size = get_fft_size(frame_size, ir_size, power_of_2=False)
        convolved = _convolve_frames(audio, impulse_response, frame_size, fft_size, overlap)
    return crop_and_compensate_delay(convolved, audio_size, ir_size, padding, delay_compensation)


def _checked_impulse_response(audio: Tensor, impulse_response: Tensor) -> Tensor:
    """The impulse response as [batch or 1, frames, ir_size], after all checks of shapes and dtypes."""
    if audio.ndim != 2:
        raise ValueError(f"audio must be [batch, samples], got {list(audio.shape)}")
    if impulse_response.ndim not in (2, 3) or 0 in impulse_response.shape[1:]:
        raise ValueError(
            "impulse_response must be [batch, ir_size] or [batch, frames, ir_size], none of them empty, "
            f"got {list(impulse_response.shape)}"
        )
    if impulse_response.shape[0] not in (1, audio.shape[0]):
        raise ValueError(
            f"impulse_response must have a batch of 1 or of audio's {audio.shape[0]}, got {impulse_response.shape[0]}"
        )
    checks.same_kind(audio=audio, impulse_response=impulse_response)
    return impulse_response if impulse_response.ndim == 3 else impulse_response.unsqueeze(1)


def _convolve_blocks(audio: Tensor, impulse_response: Tensor) -> Tensor:
    """Convolve with a single response [batch or 1, 1, ir_size]: whole when short, else in blocks."""
    audio_size, ir_size = audio.shape[1], impulse_response.shape[-1]
    block_fft = get_fft_size(max(BLOCK_FFT_PER_IR * ir_size, MIN_BLOCK_FFT), 1)
    block_size = block_fft - ir_size + 1
    if audio_size <= 2 * block_size:
        audio_size = max(audio_size, 1)  # an empty signal is convolved as one of silence
        return _convolve_frames(audio, impulse_response, audio_size, get_fft_size(audio_size, ir_size, False))
    return _convolve_frames(audio, impulse_response, block_size, block_fft)


def _convolve_frames(
    audio: Tensor, impulse_response: Tensor, frame_size: int, fft_size: int, overlap: bool = False
) -> Tensor:
    """Convolve frames of `frame_size` samples with their responses [batch or 1, frames or 1, ir_size], and add up."""
    batch, audio_size = audio.shape
    n_frames = max(-(-audio_size // frame_size), 1)
    frames = F.pad(audio, (0, n_frames * frame_size - audio_size)).view(batch, n_frames, frame_size)
    response = rfft(impulse_response, fft_size)
    spectrum = rfft(frames, fft_size) * response
    if overlap:
        change = torch.cat([response[:, 1:], response[:, -1:]], dim=1) - response
        position = torch.arange(frame_size, dtype=audio.dtype, device=audio.device)
        fade_in = torch.sin(math.pi / 2 / frame_size * position).square()
        spectrum = spectrum + rfft(frames * fade_in, fft_size) * change
    return _overlap_and_add(torch.fft.irfft(spectrum, fft_size), frame_size)


def _overlap_and_add(frames: Tensor, hop_size: int) -> Tensor:
    """Sum of frames [batch, n_frames, frame_size], each `hop_size` samples after the one before.

    Frames are cut into segments of one hop. Segment s of frame t belongs to hop t + s: rows of segments that are one
    longer than the output's, laid end to end and read with the output's row length, are skewed by just that. (fold
    takes 2 to 5 times as long.)
    """
    batch, n_frames, frame_size = frames.shape
    if n_frames == 1:
        return frames[:, 0]
    n_segments = -(-frame_size // hop_size)
    n_hops = n_frames + n_segments - 1
    segments = F.pad(frames, (0, n_segments * hop_size - frame_size)).view(batch, n_frames, n_segments, hop_size)
    rows = F.pad(segments.transpose(1, 2), (0, 0, 0, n_segments))  # [batch, n_segments, n_hops + 1, hop_size]
    skewed = rows.flatten(1, 2)[:, :-n_segments].view(batch, n_segments, n_hops, hop_size)
    return skewed.sum(dim=1).flatten(1)


def sinc(x: Tensor, threshold: float = 1e-20) -> Tensor:
    """sin(pi x) / (pi x), with 1 and no gradient where |x| < threshold."""
    return torch.sinc(torch.where(torch.abs(x) < threshold, 0.0, x))


def sinc_impulse_response(
    cutoff_frequency: Tensor, window_size: int = 512, sample_rate: float | None = None, high_pass: bool = False
) -> Tensor:
    """Impulse responses of windowed-sinc filters, linear in phase and with a gain of 1 where they pass.

    Args:
        cutoff_frequency: [batch, frames, 1], in Hz, or as a fraction of Nyquist in [0, 1] without a sample rate.
        window_size: taps of the Hamming window; made odd by adding one.
        sample_rate: in Hz.
        high_pass: pass what is above the cutoff instead of below.

    Returns:
        [batch, frames, 2 * (window_size // 2) + 1].

    Source: Smith, The Scientist and Engineer's Guide to Digital Signal Processing, chapter 16.
    """
    if sample_rate is not None:
        cutoff_frequency = cutoff_frequency * (2.0 / sample_rate)
    half_size = window_size // 2
    taps = torch.arange(-half_size, half_size + 1, dtype=cutoff_frequency.dtype, device=cutoff_frequency.device)
    window = 0.54 + 0.46 * torch.cos(math.pi / max(half_size, 1) * taps)
    impulse_response = sinc(cutoff_frequency * taps) * window
    impulse_response = impulse_response / impulse_response.sum(dim=-1, keepdim=True).abs()
    return (taps == 0).to(impulse_response) - impulse_response if high_pass else impulse_response


def sinc_filter(
    audio: Tensor,
    cutoff_frequency: Tensor,
    window_size: int = 512,
    sample_rate: float | None = None,
    padding: str = "same",
    high_pass: bool = False,
    *,
    overlap: bool = False,
) -> Tensor:
    """Low-pass or high-pass audio with a cutoff that varies from frame to frame.

    Args:
        audio: [batch, samples].
        cutoff_frequency: [batch, frames, 1]; see `sinc_impulse_response` for this and the other arguments.
        window_size: taps.
        sample_rate: in Hz.
        padding: as for `fft_convolve`.
        high_pass: pass what is above the cutoff instead of below.
        overlap: as for `fft_convolve`: a cutoff that moves makes no clicks.

    Returns:
        [batch, samples], or with the tail added for padding "valid".

    Raises:
        ValueError: as `fft_convolve`.
    """
    impulse_response = sinc_impulse_response(cutoff_frequency, window_size, sample_rate, high_pass)
    return fft_convolve(audio, impulse_response, padding=padding, overlap=overlap)
