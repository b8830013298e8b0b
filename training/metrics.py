"""How close resynthesized audio is to its target, in pitch and in loudness. Definitions differ, so names say whose.

With m the pitch in MIDI semitones (69 + 12 log2(f0 / 440)), c the tracker's confidence, T its threshold, * the target:

    paper_f0_l1_semitones    mean |m - m*| over frames with c* >= T and c >= T
    paper_f0_outliers        share of frames with c < T, among those with c* >= T
    strict_f0_outliers       share of frames with c < T or |m - m*| > 0.5, among those with c* >= T
    magenta_f0_l1_semitones  mean |m - m*| over frames with c* >= T, whatever c is
    magenta_f0_outliers      1 if that mean is above 12 semitones, else 0 (over many examples: the share of those)
    loudness_l1_db           mean |L - L*| over all frames, L the A-weighted loudness in dB, not below -80 dB

"paper": Engel et al., ICLR 2020, table 1 and its appendix (T = 0.85 with CREPE; its loudness is on another scale).
"magenta": the code of magenta/ddsp 3. Both sides of a comparison are tracked in the same way; T belongs to the tracker.
"""

import numpy as np

from fastddsp.training.dataset import Settings
from fastddsp.training.pitch import get_tracker
from fastddsp.training.prepare import extract_features

MAGENTA_OUTLIER_SEMITONES = 12.0
STRICT_SEMITONES = 0.5


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


def compare_audio(target: np.ndarray, audio: np.ndarray, settings: Settings) -> dict[str, float]:
    """All metrics of `audio` against `target`, both [n_samples] at settings.sample_rate, with settings' tracker."""
    ours, theirs = extract_features(audio, settings), extract_features(target, settings)
    threshold = get_tracker(settings.tracker).threshold
    pitch = pitch_metrics(theirs["f0_hz"], theirs["f0_confidence"], ours["f0_hz"], ours["f0_confidence"], threshold)
    return {**pitch, "loudness_l1_db": loudness_l1_db(theirs["loudness_db"], ours["loudness_db"])}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")
