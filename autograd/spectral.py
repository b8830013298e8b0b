"""Short-time spectra of audio, and the levels and features that come from them.

    S(t, k) = sum_{n < frame_size} w(n) x(t hop_size + n) exp(-2 pi i k n / fft_size)

Audio x is [batch, samples] or [samples], w a Hann window (periodic for an even frame_size), fft_size the next power of
two. Results have frames in place of samples and bins behind them. All is differentiable, and the gradients of exact
silence are 0.

`overlap` sets hop_size = int(frame_size * (1 - overlap)). Features that follow a frame rate have a hop of
sample_rate // frame_rate samples, and pad the audio first:

    center   frame_size // 2 zeros at both ends: frame t is centered at t * hop_size
    same     zeros at the end: as many frames as hops
    valid    no padding
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fastddsp.autograd import checks
from fastddsp.autograd.convolution import get_fft_size
from fastddsp.autograd.fourier import magnitude, rfft
from fastddsp.autograd.frequency_scaling import hz_to_mel
from fastddsp.autograd.resampling import pad_axis
from fastddsp.autograd.scaling import DB_RANGE, power_to_db, safe_log

__all__ = [
    "compute_logmag",
    "compute_logmel",
    "compute_loudness",
    "compute_mag",
    "compute_mel",
    "compute_mfcc",
    "compute_power",
    "compute_rms_energy",
    "get_framed_lengths",
    "pad",
    "pad_or_trim_to_expected_length",
    "stft",
]

PADDINGS = ("center", "same", "valid")


def stft(audio: Tensor, frame_size: int = 2048, overlap: float = 0.75, pad_end: bool = True) -> Tensor:
    """Short-time Fourier transform, with the first frame at the first sample.

    Args:
        audio: [batch, samples], [samples], or [batch, samples, 1].
        frame_size: samples of the Hann window.
        overlap: of neighbouring frames, as a fraction of `frame_size` in [0, 1).
        pad_end: append zeros so that every hop begins a frame; otherwise only whole frames count.

    Returns:
        Complex [batch, frames, fft_size // 2 + 1] or [frames, fft_size // 2 + 1].

    Raises:
        ValueError: the audio has another shape or is shorter than one frame without `pad_end`, or `overlap` leaves no
            hop.
    """
    if audio.ndim == 3 and audio.shape[-1] == 1:
        audio = audio.squeeze(-1)
    if not 1 <= audio.ndim <= 2:
        raise ValueError(f"audio must be [batch, samples], [samples] or [batch, samples, 1], got {list(audio.shape)}")
    hop_size = int(frame_size * (1.0 - overlap))
    if hop_size < 1:
        raise ValueError(f"overlap must leave a hop of at least one sample of {frame_size}, got {overlap}")
    if pad_end:
        n_frames = -(-audio.shape[-1] // hop_size)
        audio = F.pad(audio, (0, max((n_frames - 1) * hop_size + frame_size - audio.shape[-1], 0)))
    return _stft(audio, frame_size, hop_size)


def _stft(audio: Tensor, frame_size: int, hop_size: int) -> Tensor:
    window = torch.hann_window(frame_size, periodic=frame_size % 2 == 0, dtype=audio.dtype, device=audio.device)
    return rfft(_frames(audio, frame_size, hop_size) * window, get_fft_size(frame_size, 1))


def _frames(audio: Tensor, frame_size: int, hop_size: int) -> Tensor:
    """All whole frames [..., frames, frame_size] of audio [..., samples]."""
    if audio.shape[-1] < frame_size:
        raise ValueError(f"audio must have at least one frame of {frame_size} samples, got {audio.shape[-1]} samples")
    return audio.unfold(-1, frame_size, hop_size)


def compute_mag(audio: Tensor, size: int = 2048, overlap: float = 0.75, pad_end: bool = True) -> Tensor:
    """Magnitude spectrogram.

    Args:
        audio: [batch, samples] or [samples].
        size: of the frames, in samples.
        overlap: as for `stft`.
        pad_end: as for `stft`.

    Returns:
        |S|, [batch, frames, bins].
    """
    return magnitude(stft(audio, frame_size=size, overlap=overlap, pad_end=pad_end))


def compute_logmag(audio: Tensor, size: int = 2048, overlap: float = 0.75, pad_end: bool = True) -> Tensor:
    """Natural logarithm of `compute_mag`, with log(1e-5) where a bin is exactly 0."""
    return safe_log(compute_mag(audio, size, overlap, pad_end))


def compute_mel(
    audio: Tensor,
    lo_hz: float = 0.0,
    hi_hz: float = 8000.0,
    bins: int = 64,
    fft_size: int = 2048,
    overlap: float = 0.75,
    pad_end: bool = True,
    sample_rate: int = 16000,
) -> Tensor:
    """Magnitude spectrogram in triangular bands, evenly spaced on the mel scale.

    Args:
        audio: [batch, samples] or [samples].
        lo_hz: lower end of the first band in Hz.
        hi_hz: upper end of the last band in Hz.
        bins: number of bands.
        fft_size: size of the frames, in samples.
        overlap: as for `stft`.
        pad_end: as for `stft`.
        sample_rate: in Hz.

    Returns:
        [batch, frames, bins]. A band so narrow that no bin of the FFT falls into it is 0.
    """
    mag = compute_mag(audio, fft_size, overlap, pad_end)
    return _matmul(mag, mel_matrix(mag.shape[-1], bins, sample_rate, lo_hz, hi_hz, mag.device))


def _matmul(x: Tensor, weights: Tensor) -> Tensor:
    """Product x @ weights in the dtype of x, also under autocast: the logarithms that follow need it."""
    with torch.autocast(x.device.type, enabled=False):
        return x @ weights.to(x.dtype)


def mel_matrix(
    n_freqs: int, bins: int, sample_rate: int, lo_hz: float, hi_hz: float, device: torch.device | None = None
) -> Tensor:
    """Weights of FFT bins in mel bands: triangles of height 1 over the mel axis, nothing from 0 Hz.

    Args:
        n_freqs: bins of the spectrum, from 0 Hz to Nyquist.
        bins: number of bands.
        sample_rate: in Hz.
        lo_hz: lower end of the first band in Hz.
        hi_hz: upper end of the last band in Hz.
        device: where to make it.

    Returns:
        float64 [n_freqs, bins].

    Source: Young et al., The HTK Book, section 5.4.
    """
    hz = torch.linspace(0.0, sample_rate / 2.0, n_freqs, dtype=torch.float64, device=device)
    edges = torch.linspace(hz_to_mel(lo_hz), hz_to_mel(hi_hz), bins + 2, dtype=torch.float64, device=device)
    mel = hz_to_mel(hz).unsqueeze(1)
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0) * (hz > 0.0).unsqueeze(1)


def compute_logmel(
    audio: Tensor,
    lo_hz: float = 80.0,
    hi_hz: float = 7600.0,
    bins: int = 64,
    fft_size: int = 2048,
    overlap: float = 0.75,
    pad_end: bool = True,
    sample_rate: int = 16000,
) -> Tensor:
    """Natural logarithm of `compute_mel`, with log(1e-5) where a band is exactly 0."""
    return safe_log(compute_mel(audio, lo_hz, hi_hz, bins, fft_size, overlap, pad_end, sample_rate))


def compute_mfcc(
    audio: Tensor,
    lo_hz: float = 20.0,
    hi_hz: float = 8000.0,
    fft_size: int = 1024,
    mel_bins: int = 128,
    mfcc_bins: int = 13,
    overlap: float = 0.75,
    pad_end: bool = True,
    sample_rate: int = 16000,
) -> Tensor:
    """Mel-frequency cepstral coefficients: the cosine transform of log mel bands.

        c(q) = sqrt(2 / M) sum_m logmel(m) cos(pi q (m + 1/2) / M)

    Args:
        audio: [batch, samples] or [samples].
        lo_hz: as for `compute_mel`, as are the arguments that are not listed.
        hi_hz: in Hz.
        fft_size: size of the frames, in samples.
        mel_bins: number M of mel bands.
        mfcc_bins: number of coefficients, at most `mel_bins`.
        overlap: as for `stft`.
        pad_end: as for `stft`.
        sample_rate: in Hz.

    Returns:
        [batch, frames, mfcc_bins].
    """
    logmel = compute_logmel(audio, lo_hz, hi_hz, mel_bins, fft_size, overlap, pad_end, sample_rate)
    m = torch.arange(mel_bins, dtype=torch.float64, device=logmel.device).unsqueeze(1)
    q = torch.arange(min(mfcc_bins, mel_bins), dtype=torch.float64, device=logmel.device)
    basis = math.sqrt(2.0 / mel_bins) * torch.cos(math.pi / mel_bins * q * (m + 0.5))
    return _matmul(logmel, basis)


def get_framed_lengths(input_length: int, frame_size: int, hop_size: int, padding: str = "center") -> tuple[int, int]:
    """Count the frames of a padded signal.

    Args:
        input_length: samples before padding.
        frame_size: in samples.
        hop_size: in samples.
        padding: "center", "same" or "valid".

    Returns:
        Number of frames, and samples after padding. As in magenta, "center" counts frame_size samples of padding,
        one more than `pad` adds for an odd frame_size.

    Raises:
        ValueError: no such padding.
    """
    checks.one_of("padding", padding, PADDINGS)
    if padding == "same":
        n_frames = -(-input_length // hop_size)
        return n_frames, (n_frames - 1) * hop_size + frame_size
    padded_length = input_length + (frame_size if padding == "center" else 0)
    return (padded_length - frame_size) // hop_size + 1, padded_length


def pad(
    x: Tensor,
    frame_size: int,
    hop_size: int,
    padding: str = "center",
    axis: int = 1,
    mode: str = "constant",
    constant_values: float = 0.0,
) -> Tensor:
    """Pad a signal so that it can be cut into frames.

    Args:
        x: tensor of any shape.
        frame_size: in samples, at least `hop_size`.
        hop_size: in samples.
        padding: "center", "same" or "valid".
        axis: of time; 0 when x has only one.
        mode: "constant", "reflect" or "symmetric".
        constant_values: what to pad with in mode "constant".

    Returns:
        x, longer along the axis.

    Raises:
        ValueError: no such padding, or frames that leave gaps.
    """
    checks.one_of("padding", padding, PADDINGS)
    if padding == "valid":
        return x
    if hop_size > frame_size:
        raise ValueError(f"hop_size must be at most the frame_size of {frame_size}, got {hop_size}")
    axis = 0 if x.ndim <= 1 else axis
    if padding == "center":
        amounts = (frame_size // 2, frame_size // 2)
    else:
        _, padded_length = get_framed_lengths(x.shape[axis], frame_size, hop_size, padding)
        amounts = (0, max(padded_length - x.shape[axis], 0))
    return pad_axis(x, amounts, axis, mode=mode, constant_values=constant_values)


def compute_rms_energy(
    audio: Tensor, sample_rate: int = 16000, frame_rate: int = 250, frame_size: int = 512, padding: str = "center"
) -> Tensor:
    """Root mean square of the samples of each frame.

    Args:
        audio: [batch, samples] or [samples].
        sample_rate: in Hz.
        frame_rate: in Hz.
        frame_size: in samples.
        padding: "center", "same" or "valid".

    Returns:
        [batch, frames] or [frames]. The gradient of a silent frame is 0 (magenta's is NaN).
    """
    power = _mean_square(audio, sample_rate, frame_rate, frame_size, padding)
    silent = power == 0.0
    return torch.where(silent, 0.0, torch.sqrt(torch.where(silent, 1.0, power)))


def compute_power(
    audio: Tensor,
    sample_rate: int = 16000,
    frame_rate: int = 250,
    frame_size: int = 512,
    ref_db: float = 0.0,
    range_db: float = DB_RANGE,
    padding: str = "center",
) -> Tensor:
    """Power of each frame in decibels.

    Args:
        audio: [batch, samples] or [samples].
        sample_rate: in Hz.
        frame_rate: in Hz.
        frame_size: in samples.
        ref_db: level that becomes 0, in dB.
        range_db: the lowest level is -range_db.
        padding: "center", "same" or "valid".

    Returns:
        [batch, frames] or [frames], in dB. The gradient of a silent frame is 0 (magenta's is NaN).
    """
    return power_to_db(_mean_square(audio, sample_rate, frame_rate, frame_size, padding), ref_db, range_db)


def _mean_square(audio: Tensor, sample_rate: int, frame_rate: int, frame_size: int, padding: str) -> Tensor:
    hop_size = sample_rate // frame_rate
    return _frames(pad(audio, frame_size, hop_size, padding), frame_size, hop_size).square().mean(dim=-1)


def compute_loudness(
    audio: Tensor,
    sample_rate: int = 16000,
    frame_rate: int = 250,
    n_fft: int = 512,
    range_db: float = DB_RANGE,
    ref_db: float = 0.0,
    padding: str = "center",
) -> Tensor:
    """A-weighted power of each frame in decibels: its mean over the bins of the spectrum.

    Args:
        audio: [batch, samples] or [samples].
        sample_rate: in Hz.
        frame_rate: in Hz.
        n_fft: size of the frames, in samples.
        range_db: the lowest level is -range_db.
        ref_db: level that becomes 0, in dB.
        padding: "center", "same" or "valid".

    Returns:
        [batch, frames] or [frames], in dB.
    """
    hop_size = sample_rate // frame_rate
    spectrum = _stft(pad(audio, n_fft, hop_size, padding), n_fft, hop_size)
    power = torch.view_as_real(spectrum).square().sum(dim=-1)
    hz = torch.linspace(0.0, sample_rate / 2.0, power.shape[-1], dtype=torch.float64, device=audio.device)
    return power_to_db((power * a_weighting(hz).to(power.dtype)).mean(dim=-1), ref_db, range_db)


def a_weighting(hz: Tensor) -> Tensor:
    """A-weighting of powers at frequencies in Hz: a gain of 1 at 1 kHz, and never below -80 dB.

    Source: IEC 61672-1:2013, annex E; 2 dB there stand for the gain that makes 1 at 1 kHz.
    """
    f2 = hz.square()
    gain = (
        12194.217**2
        * f2.square()
        / ((f2 + 20.598997**2) * (f2 + 12194.217**2) * torch.sqrt((f2 + 107.65265**2) * (f2 + 737.86223**2)))
    )
    return (10.0**0.2 * gain.square()).clamp(min=1e-8)


def pad_or_trim_to_expected_length(
    vector: Tensor, expected_len: int, pad_value: float = 0.0, len_tolerance: int = 20
) -> Tensor:
    """Bring a feature that is a few frames short or long to the length of the others.

    Args:
        vector: [..., frames].
        expected_len: wanted number of frames.
        pad_value: what to append.
        len_tolerance: by how many frames the length may be off.

    Returns:
        [..., expected_len].

    Raises:
        ValueError: the length is off by more.
    """
    missing = int(expected_len) - vector.shape[-1]
    if abs(missing) > len_tolerance:
        raise ValueError(
            f"vector must have {expected_len} frames, give or take {len_tolerance}, got {vector.shape[-1]}"
        )
    return F.pad(vector, (0, missing), value=pad_value)
