"""How close resynthesized audio is to its target, in pitch and in loudness. Definitions differ, so names say whose.

With m the pitch in MIDI semitones (69 + 12 log2(f0 / 440)), c the tracker's confidence, T its threshold, * the target:

    paper_f0_l1_semitones    mean |m - m*| over frames with c* >= T and c >= T
    paper_f0_outliers        share of frames with c < T, among those with c* >= T
    strict_f0_outliers       share of frames with c < T or |m - m*| > 0.5, among those with c* >= T
    magenta_f0_l1_semitones  mean |m - m*| over frames with c* >= T, whatever c is
    magenta_f0_outliers      1 if that mean is above 12 semitones, else 0 (over many examples: the share of those)
    raw_pitch_accuracy       share of frames with |m - m*| < 0.5, among those with c* >= T, whatever c is (mir_eval)
    raw_chroma_accuracy      the same with octaves forgiven (mir_eval)
    loudness_l1_db           mean |L - L*| over all frames, L the A-weighted loudness in dB, not below -80 dB
    paper_loudness_l1        mean |P - P*| over all frames, P = (ln(A + 1e-4) + 4.0599) / 3.5105, A the mean over bins
                             of the A-weighted magnitudes of an STFT of 2048 points: 1 is 30.5 dB, and 0.07 is 2.1 dB
    spectral_distance        sum over FFT sizes 2048, 1024, ..., 64 of the mean differences of magnitudes and of their
                             logarithms: the loss of the paper, weight 1 each

"paper": Engel et al., ICLR 2020, table 1 and its appendix (T = 0.85 with CREPE); its scale of loudness is that of the
metrics in the first public commit of magenta/ddsp (November 2019), the code next to the paper in time: later ones
measure dB. 4.0599 and 3.5105 are the mean (but for its sign) and the standard deviation of ln(A + 1e-4) over NSynth.
"magenta": the code of magenta/ddsp 3. Both sides of a comparison are tracked in the same way; T belongs to the tracker.
"""

import numpy as np
import torch

from fastddsp.autograd.spectral import a_weighting
from fastddsp.models.losses import SpectralLoss
from fastddsp.training.dataset import Settings
from fastddsp.training.extras import needs_extra
from fastddsp.training.pitch import get_tracker
from fastddsp.training.prepare import extract_features

MAGENTA_OUTLIER_SEMITONES = 12.0
STRICT_SEMITONES = 0.5
ACCURATE_CENTS = 50.0
PAPER_FFT_SIZE = 2048
PAPER_NOISE_FLOOR = 1e-4
PAPER_LOUDNESS_MEAN, PAPER_LOUDNESS_STD = -4.0599, 3.5105
FRAMES_AT_ONCE = 4000


def hz_to_semitones(f0_hz: np.ndarray) -> np.ndarray:
    """MIDI pitch of frequencies; f0 below 1 Hz counts as 1 Hz."""
    return 69.0 + 12.0 * np.log2(np.maximum(np.asarray(f0_hz, dtype=np.float64), 1.0) / 440.0)


def pitch_metrics(
    target_f0_hz: np.ndarray,
    target_confidence: np.ndarray,
    f0_hz: np.ndarray,
    confidence: np.ndarray,
    threshold: float,
) -> dict[str, float]:
    """The f0 metrics above.

    Args:
      target_f0_hz: f0 of the target, [n_frames].
      target_confidence: the tracker's confidence in it, [n_frames].
      f0_hz: f0 of the resynthesis, [n_frames].
      confidence: the tracker's confidence in it, [n_frames].
      threshold: confidence from which a frame counts as pitched.

    Returns:
      Metrics by name; NaN where no frame counts.

    Raises:
      ValueError: the arrays differ in length.
    """
    lengths = {len(x) for x in (target_f0_hz, target_confidence, f0_hz, confidence)}
    if len(lengths) != 1:
        raise ValueError(f"f0 and confidence of both sides must have the same length, got {sorted(lengths)}")
    asked = np.asarray(target_confidence) >= threshold
    heard = np.asarray(confidence)[asked] >= threshold
    distance = np.abs(hz_to_semitones(f0_hz) - hz_to_semitones(target_f0_hz))[asked]
    return {
        "paper_f0_l1_semitones": _mean(distance[heard]),
        "paper_f0_outliers": _mean(~heard),
        "strict_f0_outliers": _mean(~heard | (distance > STRICT_SEMITONES)),
        "magenta_f0_l1_semitones": _mean(distance),
        "magenta_f0_outliers": float(_mean(distance) > MAGENTA_OUTLIER_SEMITONES),
    }


def loudness_l1_db(target_db: np.ndarray, loudness_db: np.ndarray) -> float:
    """Mean absolute difference of two loudness curves in dB, [n_frames] each."""
    if len(target_db) != len(loudness_db):
        raise ValueError(
            f"loudness must have the same length on both sides, got {len(target_db)} and {len(loudness_db)}"
        )
    return _mean(np.abs(np.asarray(loudness_db, dtype=np.float64) - np.asarray(target_db, dtype=np.float64)))


def pitch_accuracy(
    target_f0_hz: np.ndarray, target_confidence: np.ndarray, f0_hz: np.ndarray, threshold: float
) -> dict[str, float]:
    """Raw pitch accuracy and raw chroma accuracy within 50 cents, as mir_eval defines them.

    Args:
      target_f0_hz: f0 of the target, [n_frames].
      target_confidence: confidence in it, [n_frames]; frames below `threshold` do not count.
      f0_hz: f0 of the resynthesis, [n_frames]; 0 Hz is never right.
      threshold: confidence from which a frame counts as pitched.

    Returns:
      raw_pitch_accuracy and raw_chroma_accuracy, 0 to 1; NaN where no frame counts.

    Source: Poliner et al., Melody transcription from music audio, IEEE TASLP 2007; mir_eval.melody.
    """
    with needs_extra():
        from mir_eval import melody  # 1.5 s

    asked = np.asarray(target_confidence) >= threshold
    if not asked.any():
        return {"raw_pitch_accuracy": float("nan"), "raw_chroma_accuracy": float("nan")}
    target_cents, cents = (melody.hz2cents(np.asarray(x, dtype=np.float64)) for x in (target_f0_hz, f0_hz))
    sides = (asked, target_cents, asked, cents)
    return {
        "raw_pitch_accuracy": float(melody.raw_pitch_accuracy(*sides, cent_tolerance=ACCURATE_CENTS)),
        "raw_chroma_accuracy": float(melody.raw_chroma_accuracy(*sides, cent_tolerance=ACCURATE_CENTS)),
    }


@torch.inference_mode()
def paper_loudness(audio: np.ndarray, sample_rate: int = 16000, hop_size: int = 64) -> np.ndarray:
    """Loudness on the scale of the paper's table 1: standard deviations of log loudness over NSynth, around its mean.

    Args:
      audio: mono, [n_samples], full scale 1.
      sample_rate: its rate in Hz.
      hop_size: samples from one frame to the next.

    Returns:
      float64 [ceil(n_samples / hop_size)], frame t centred on sample t * hop_size.
    """
    padded = np.pad(np.asarray(audio, dtype=np.float32), PAPER_FFT_SIZE // 2)
    frames = torch.from_numpy(padded).unfold(0, PAPER_FFT_SIZE, hop_size)[: -(-len(audio) // hop_size)]
    window = torch.hann_window(PAPER_FFT_SIZE)
    hz = torch.linspace(0.0, 0.5 * sample_rate, PAPER_FFT_SIZE // 2 + 1, dtype=torch.float64)
    gains = a_weighting(hz).sqrt().float()  # of magnitudes; a_weighting is of power
    amplitudes = [(torch.fft.rfft(part * window).abs() @ gains) / len(gains) for part in frames.split(FRAMES_AT_ONCE)]
    amplitude = torch.cat(amplitudes).double().numpy()
    return (np.log(amplitude + PAPER_NOISE_FLOOR) - PAPER_LOUDNESS_MEAN) / PAPER_LOUDNESS_STD


@torch.inference_mode()
def spectral_distance(target: np.ndarray, audio: np.ndarray) -> float:
    """Multi-scale spectral distance of two sounds, [n_samples] each: the paper's spectral loss."""
    sounds = (torch.from_numpy(np.array(x, dtype=np.float32))[None] for x in (target, audio))
    return float(SpectralLoss(logmag_weight=1.0)(*sounds))


def compare_audio(target: np.ndarray, audio: np.ndarray, settings: Settings) -> dict[str, float]:
    """All metrics of `audio` against `target`, both [n_samples] at settings.sample_rate, with settings' tracker."""
    ours, theirs = extract_features(audio, settings), extract_features(target, settings)
    threshold = get_tracker(settings.tracker).threshold
    pitch = pitch_metrics(theirs["f0_hz"], theirs["f0_confidence"], ours["f0_hz"], ours["f0_confidence"], threshold)
    return {**pitch, "loudness_l1_db": loudness_l1_db(theirs["loudness_db"], ours["loudness_db"])}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")
