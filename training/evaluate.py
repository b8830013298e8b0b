"""`fastddsp evaluate`: how close an instrument's resynthesis comes to recordings (see training/metrics.py).

    recording of a data set -> the model, as in training (its f0, loudness and z) -> audio -> tracker, loudness
                            -> against the recording's own

A folder of results holds

    metrics.json             what was measured with what; overall; every recording
    metrics.csv              a row for every recording
    distributions.png        how the recordings spread
    examples/NNN_NAME.png    spectrograms, f0 and loudness of recording and resynthesis, with both as .wav

and appears whole or not at all. A data set whose f0 is labelled says nothing of how audible that f0 is: there a frame
counts where the label has a pitch and the tracker, too, hears one in the recording.

An unsupervised instrument hears f0 itself; what its encoder heard is measured too, as encoder_f0_l1_semitones and
encoder_raw_pitch_accuracy and encoder_raw_chroma_accuracy.
"""

import os
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, Literal

import numpy as np
import torch

from fastddsp.models.presets import ModelConfig
from fastddsp.training.audio import write_audio
from fastddsp.training.dataset import (
    Part,
    Settings,
    Sound,
    load_features,
    part_of,
    read_manifest,
    sound_path,
)
from fastddsp.training.extras import needs_extra
from fastddsp.training.figures import comparison_figure, distribution_figure, save_figure
from fastddsp.training.files import atomic_folder, write_json
from fastddsp.training.instrument import Instrument, level_name, listen, load_instrument, play, power
from fastddsp.training.labels import Labels, Selection
from fastddsp.training.metrics import (
    hz_to_semitones,
    loudness_l1_db,
    paper_loudness,
    pitch_accuracy,
    pitch_metrics,
    spectral_distance,
)
from fastddsp.training.pitch import get_tracker, track_pitch
from fastddsp.training.prepare import extract_features
from fastddsp.training.tables import rounded, summarize, summary_table, write_csv

with needs_extra():
    from tqdm import tqdm

# Every metric, and the column that counts the frames behind it.
FRAMES_BEHIND = {
    "paper_f0_l1_semitones": "heard_frames",
    "paper_f0_outliers": "pitched_frames",
    "strict_f0_outliers": "pitched_frames",
    "magenta_f0_l1_semitones": "pitched_frames",
    "magenta_f0_outliers": "pitched_frames",
    "raw_pitch_accuracy": "pitched_frames",
    "raw_chroma_accuracy": "pitched_frames",
    "loudness_l1_db": "frames",
    "paper_loudness_l1": "frames",
    "spectral_distance": "frames",
}
OF_ENCODER = {
    "encoder_f0_l1_semitones": "pitched_frames",
    "encoder_raw_pitch_accuracy": "pitched_frames",
    "encoder_raw_chroma_accuracy": "pitched_frames",
}


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Args:
      recordings: a row for every recording: name, frames, pitched_frames (those that count), heard_frames (of them,
        those in which the tracker heard a pitch in the resynthesis), and the metrics; NaN where no frame counts.
      overall: what fastddsp.training.tables.summarize makes of them.
      about: what was measured, with which settings and versions.
    """

    recordings: list[dict[str, Any]]
    overall: dict[str, dict[str, float]]
    about: dict[str, Any]

    def __str__(self) -> str:
        return summary_table(self.overall)


def measure(target: Mapping[str, np.ndarray], audio: np.ndarray, settings: Settings) -> dict[str, Any]:
    """All metrics of `audio` against a target with known pitch.

    Args:
      target: audio [n_samples], and f0_hz, f0_confidence and loudness_db [n_frames], n_frames = ceil(n_samples / hop).
      audio: [n_samples] at settings.sample_rate.
      settings: rates, and the tracker that listens to `audio`.

    Returns:
      The metrics of training/metrics.py, after the frames behind them: frames, pitched_frames and heard_frames.

    Raises:
      ValueError: the lengths differ.
    """
    if len(target["audio"]) != len(audio):
        raise ValueError(f"audio must be as long as the target's, {len(target['audio'])} samples, got {len(audio)}")
    threshold = get_tracker(settings.tracker).threshold
    ours = extract_features(audio, settings)
    f0_hz, confidence = target["f0_hz"], target["f0_confidence"]
    pitch = pitch_metrics(f0_hz, confidence, ours["f0_hz"], ours["f0_confidence"], threshold)
    if pitch["magenta_f0_outliers"]:
        pitch["magenta_f0_l1_semitones"] = float("nan")  # magenta's mean is over the recordings that are no outliers
    asked = confidence >= threshold
    scale = {"sample_rate": settings.sample_rate, "hop_size": settings.hop_size}
    paper = [paper_loudness(x, **scale) for x in (audio, target["audio"])]
    return {
        "frames": len(f0_hz),
        "pitched_frames": int(asked.sum()),
        "heard_frames": int((asked & (ours["f0_confidence"] >= threshold)).sum()),
        **pitch,
        **pitch_accuracy(f0_hz, confidence, ours["f0_hz"], threshold),
        "loudness_l1_db": loudness_l1_db(target["loudness_db"], ours["loudness_db"]),
        "paper_loudness_l1": float(np.abs(paper[0] - paper[1]).mean()),
        "spectral_distance": spectral_distance(target["audio"], audio),
    }


@torch.inference_mode()
def reconstruct(
    instrument: Instrument, target: Mapping[str, np.ndarray], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A recording through the model, as in training.

    Args:
      instrument: what plays.
      target: audio [n_samples], a whole number of frames, and f0_hz, f0_confidence and loudness_db [n_frames].
      seed: of the noise.

    Returns:
      Audio [n_samples], and the f0_hz [n_frames] that was played: the target's, or what the model heard.
    """
    config, level = instrument.config, level_name(instrument)
    if isinstance(config, ModelConfig):
        features = {name: torch.from_numpy(np.array(x, dtype=np.float32))[None] for name, x in target.items()}
        if config.level == "power":
            features["power_db"] = power(features["audio"], config)
        outputs = instrument.model(features, seed=seed)
        return outputs["audio_synth"][0].numpy(), outputs["f0_hz"].flatten().numpy()
    heard: dict[str, Any] = listen(instrument, target["audio"]) if level is None else {"f0_hz": target["f0_hz"]}
    curves = heard if level is None else {**heard, level: target[level]}
    frames = np.arange(len(target["f0_hz"])) * (len(target["audio"]) / len(target["f0_hz"]) / config.hop_size)
    played_hz = np.exp(np.interp(frames, np.arange(len(heard["f0_hz"])), np.log(np.maximum(heard["f0_hz"], 1.0))))
    return play(instrument, **curves, seed=seed)[: len(target["audio"])], played_hz


def load_target(folder: str | os.PathLike, sound: Sound, first: int = 0, last: int | None = None) -> dict[str, Any]:
    """Frames `first` to `last` of a recording of a data set: audio [n_samples] and features [n_frames], float32."""
    rows = np.load(sound_path(folder, sound.key), mmap_mode="r")[first:last]
    features = {name: x[first:last] for name, x in load_features(folder, sound).items()}
    hop_size = rows.shape[1] - len(features)
    return {"audio": np.array(rows[:, :hop_size]).reshape(-1), **features}


def evaluate(
    run: str | os.PathLike | Instrument,
    data: str | os.PathLike,
    out: str | os.PathLike | None = None,
    *,
    select: Selection | None = None,
    part: Part = "all",
    valid_share: float = 0.1,
    target_f0: Literal["stored", "tracked"] = "stored",
    examples: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Measure how close an instrument's resynthesis comes to the recordings of a data set.

    Args:
      run: folder of the run that trained the instrument, or the instrument.
      data: data set made by `prepare`, or by anything else that labels its pitch, at the rates of the instrument.
      out: folder for the results, new or empty; None: nothing is written.
      select: measure only recordings with these labels; all if None.
      part: "train", "valid" or "all" of every recording; a recording that has no such part is left out.
      valid_share: share of every recording, at its end, that is "valid"; give what the training was given.
      target_f0: "stored": the data set's own pitch, which is nominal where the set is labelled; "tracked": what the
        tracker hears in the recording, as the paper does. The model plays the stored one in either case.
      examples: recordings, evenly spread over the set, that are drawn and written as sound.
      seed: of the noise.
      progress: show a progress bar.

    Returns:
      The measurements. `print(evaluation)` shows a table.

    Raises:
      FileExistsError: `out` holds something already.
      FileNotFoundError: there is no such run or data set.
      ValueError: the data set's rates are not the instrument's, or no recording has such labels or such a part.
    """
    instrument = run if isinstance(run, Instrument) else load_instrument(run)
    settings, sounds, _ = read_manifest(data)
    _check_rates(instrument, settings)
    chosen = [sound for sound in sounds if select is None or select.accepts(sound.labels)]
    if not chosen:
        raise ValueError(f"none of the {len(sounds)} recordings of {data} has {select}")
    spans = [(sound, *part_of(sound.n_frames, part, valid_share)) for sound in chosen]
    spans = [(sound, first, last) for sound, first, last in spans if first < last]
    if not spans:
        raise ValueError(f"the '{part}' part of {data} is empty: valid_share is {valid_share}")
    drawn = set(np.linspace(0, len(spans) - 1, min(examples, len(spans))).round().astype(int).tolist())
    label_names = [name for name in asdict(Labels()) if any(getattr(sound.labels, name) for sound, _, _ in spans)]
    weights = FRAMES_BEHIND | ({} if instrument.config.f0_encoder == "none" else OF_ENCODER)

    rows = []
    with nullcontext() if out is None else atomic_folder(out) as folder:
        for i, (sound, first, last) in enumerate(tqdm(spans, unit="recording", disable=not progress)):
            target = load_target(data, sound, first, last)
            audio, played_hz = reconstruct(instrument, target, seed)
            target |= _target_pitch(target, settings, target_f0)
            labels = {name: getattr(sound.labels, name) for name in label_names}
            rows.append({"name": sound.name, **labels, **measure(target, audio, settings)})
            if instrument.config.f0_encoder != "none":
                rows[-1] |= _measure_encoder(target, played_hz, settings)
            if folder is not None and i in drawn:
                _write_example(folder / "examples" / f"{i:03d}_{_plain_name(sound.name)}", target, audio, settings)
        about = {
            "run": None if isinstance(run, Instrument) else str(run),
            "data": str(data),
            "select": None if select is None else str(select),
            "part": part,
            "valid_share": None if part == "all" else valid_share,
            "target_f0": target_f0,
            "seed": seed,
            **_about(settings),
        }
        found = Evaluation(rows, summarize(rows, weights), about)
        if folder is not None:
            _write(folder, found)
    return found


def _about(settings: Settings) -> dict[str, Any]:
    return {
        "settings": asdict(settings),
        "confident_from": get_tracker(settings.tracker).threshold,
        "definitions": "fastddsp.training.metrics; mean and median are over recordings, frame_mean over frames",
        "versions": {name: version(name) for name in ("fastddsp", "numpy", "torch")} | {"python": python_version()},
    }


def _write(folder: Path, found: Evaluation) -> None:
    write_csv(folder / "metrics.csv", found.recordings)
    columns = {name: [row[name] for row in found.recordings] for name in found.overall}
    save_figure(distribution_figure(columns), folder / "distributions.png")
    report = {**found.about, "overall": found.overall, "recordings": found.recordings}
    write_json(folder / "metrics.json", rounded(report))


def _check_rates(instrument: Instrument, settings: Settings) -> None:
    # The frames of inverse synthesis are its encoder's.
    for name in ("sample_rate",) if level_name(instrument) is None else ("sample_rate", "frame_rate"):
        ours, theirs = getattr(instrument.config, name), getattr(settings, name)
        if ours != theirs:
            raise ValueError(f"{name} of the data set must be the instrument's, {ours}, got {theirs}")


def _target_pitch(
    target: Mapping[str, np.ndarray], settings: Settings, target_f0: Literal["stored", "tracked"]
) -> dict[str, np.ndarray]:
    """The f0 and confidence that the resynthesis is measured against."""
    if target_f0 == "stored" and settings.f0 == "tracker":
        return {}
    f0_hz, confidence = track_pitch(
        target["audio"],
        settings.sample_rate,
        settings.frame_rate,
        tracker=settings.tracker,
        fmin=settings.fmin,
        fmax=settings.fmax,
    )
    if target_f0 == "tracked":
        return {"f0_hz": f0_hz, "f0_confidence": confidence}
    return {"f0_confidence": np.minimum(target["f0_confidence"], confidence)}


def _measure_encoder(target: Mapping[str, np.ndarray], heard_hz: np.ndarray, settings: Settings) -> dict[str, float]:
    threshold = get_tracker(settings.tracker).threshold
    asked = target["f0_confidence"] >= threshold
    distance = np.abs(hz_to_semitones(heard_hz) - hz_to_semitones(target["f0_hz"]))[asked]
    accuracy = pitch_accuracy(target["f0_hz"], target["f0_confidence"], heard_hz, threshold)
    return {
        "encoder_f0_l1_semitones": float(distance.mean()) if distance.size else float("nan"),
        **{f"encoder_{name}": value for name, value in accuracy.items()},
    }


def _write_example(stem: Path, target: Mapping[str, np.ndarray], audio: np.ndarray, settings: Settings) -> None:
    threshold = get_tracker(settings.tracker).threshold
    ours = extract_features(audio, settings)
    sides = {"recording": target, "resynthesis": {"audio": audio, **ours}}
    figure = comparison_figure(sides, settings.sample_rate, settings.frame_rate, threshold)
    save_figure(figure, stem.with_name(f"{stem.name}.png"))
    for name, side in sides.items():
        write_audio(stem.with_name(f"{stem.name}_{name}.wav"), side["audio"], settings.sample_rate)


def _plain_name(name: str) -> str:
    """The stem of a path, with nothing in it that a file system could mind."""
    return re.sub(r"[^\w-]+", "_", Path(name).stem)
