"""Fundamental frequency of a recording, frame by frame, with the tracker's confidence.

A tracker takes mono audio at 16 kHz and a pitch range, and gives times [s], f0 [Hz] and confidence (0 to 1) at its own
rate. `track_pitch` brings that to the model's frames, frame t standing at t / frame_rate seconds:

    f0 of an unpitched frame   = f0 of the last pitched frame before it (a note's release keeps its pitch, and silence
                                 has none of its own), or of the first pitched frame of all
    a frame an octave off      = brought back where the sound's partials say so (fastddsp.training.octaves)
    between two tracker frames = linear in log f0

| tracker    | what                                       | pitched from | range           |
| ---------- | ------------------------------------------ | ------------ | --------------- |
| swift-f0   | small convolutional network, ONNX; default | 0.5          | 47 to 2094 Hz   |
| crepe      | CREPE, full network (Kim et al., 2018)     | 0.85         | 32 to 1975 Hz   |
| crepe-tiny | CREPE, smallest network                    | 0.85         | 32 to 1975 Hz   |

swift-f0's confidence is calibrated so that 0.5 separates pitched from unpitched; 0.85 is the threshold of the DDSP
paper. swift-f0 doubles some notes near 520 Hz: give the instrument's `fmin` and `fmax` where they are known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from fastddsp.models import crepe, crepe_pitch
from fastddsp.training.audio import resample_audio
from fastddsp.training.extras import needs_extra
from fastddsp.training.octaves import settle_octaves

TRACKER_RATE = 16000

Detection = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tracker:
    """`detect(audio at 16 kHz, fmin, fmax)` -> times_s, f0_hz, confidence; a frame is pitched from `threshold` on."""

    detect: Callable[[np.ndarray, float | None, float | None], Detection]
    threshold: float
    package: str


@cache
def _swift_network():
    with needs_extra():
        import swift_f0
    return swift_f0.SwiftF0(threads=1)


def _swift(audio: np.ndarray, fmin: float | None, fmax: float | None) -> Detection:
    found = _swift_network().detect(audio, TRACKER_RATE, fmin, fmax)
    return found.timestamps, found.pitch_hz, found.confidence


CREPE_HOP = 160  # every 10 ms
_crepe_network = cache(crepe.load_crepe)


@torch.inference_mode()
def _crepe(audio: np.ndarray, fmin: float | None, fmax: float | None, *, size: str) -> Detection:
    network = _crepe_network(size)
    samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    padded = torch.nn.functional.pad(samples, (crepe.FRAME_SIZE // 2, crepe.FRAME_SIZE // 2))
    frames = padded.unfold(0, crepe.FRAME_SIZE, CREPE_HOP)
    parts = frames.split(crepe_pitch.FRAMES_AT_ONCE)
    activations = torch.cat([network(crepe.normalize_frames(part)) for part in parts]).double()
    f0_hz, confidence = (x.numpy() for x in crepe_pitch.decode(activations, fmin=fmin, fmax=fmax))
    return np.arange(len(f0_hz)) * (CREPE_HOP / TRACKER_RATE), f0_hz, confidence


TRACKERS = {
    "swift-f0": Tracker(_swift, 0.5, "swift-f0"),
    "crepe": Tracker(partial(_crepe, size="full"), 0.85, "torchcrepe"),
    "crepe-tiny": Tracker(partial(_crepe, size="tiny"), 0.85, "torchcrepe"),
}


def get_tracker(name: str) -> Tracker:
    """The tracker called `name`; ValueError with the known names otherwise."""
    if name not in TRACKERS:
        raise ValueError(f"tracker must be one of {', '.join(TRACKERS)}, got '{name}'")
    return TRACKERS[name]


def track_pitch(
    audio: np.ndarray,
    sample_rate: int,
    frame_rate: int = 250,
    *,
    tracker: str = "swift-f0",
    fmin: float | None = None,
    fmax: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Track the fundamental frequency of a recording.

    Args:
      audio: mono audio, [n_samples].
      sample_rate: its rate in Hz.
      frame_rate: wanted frames a second.
      tracker: "swift-f0", "crepe" or "crepe-tiny".
      fmin: lowest pitch of the instrument in Hz; the tracker's own limit if None.
      fmax: highest pitch in Hz.

    Returns:
      f0_hz, above 0 in every frame unless no frame is pitched, and confidence, in 0 to 1; both float32 [n_frames],
      n_frames = ceil(n_samples * frame_rate / sample_rate).

    Raises:
      ValueError: unknown tracker, or a range that is empty.
      ImportError: the tracker's package is not installed.
    """
    chosen = get_tracker(tracker)
    if fmin is not None and fmax is not None and not 0 < fmin < fmax:
        raise ValueError(f"fmin and fmax must be rising and above 0 Hz, got {fmin} and {fmax}")
    n_frames = -(-len(audio) * frame_rate // sample_rate)
    audio = resample_audio(audio, sample_rate, TRACKER_RATE)
    times, f0_hz, confidence = chosen.detect(audio, fmin, fmax)
    f0_hz = settle_octaves(audio, TRACKER_RATE, times, f0_hz, fmin or 0.0, fmax or np.inf)
    frame_times = np.arange(n_frames) / frame_rate
    f0_hz = bridge_unpitched(f0_hz, confidence >= chosen.threshold)
    f0_hz = np.exp(np.interp(frame_times, times, np.log(f0_hz))) if f0_hz.any() else np.zeros(n_frames)
    return f0_hz.astype(np.float32), np.interp(frame_times, times, confidence).astype(np.float32)


def bridge_unpitched(f0_hz: np.ndarray, pitched: np.ndarray) -> np.ndarray:
    """Give unpitched frames the f0 of the last pitched frame before them, or of the first one; zeros if none is."""
    if not pitched.any():
        return np.zeros_like(f0_hz)
    last_pitched = np.maximum.accumulate(np.where(pitched, np.arange(len(pitched)), 0))
    return f0_hz[np.maximum(last_pitched, pitched.argmax())]
