"""`fastddsp demo`: learn a violin from three bundled phrases, then play it.

The phrases are recordings of the FluidR3 soundfont (MIT, data/FLUIDR3_LICENCE.txt): a violin playing four
random melodies of 30 s, of which the last is held out, and a flute. OUT holds, in the end, the sounds to listen to,
their spectrograms, metrics.json, the data set and the run.
"""

import math
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastddsp import __version__
from fastddsp.models.presets import load_preset
from fastddsp.training.audio import read_audio, write_audio
from fastddsp.training.datamodule import InstrumentData
from fastddsp.training.dataset import Settings, load_features, read_manifest
from fastddsp.training.extras import needs_extra
from fastddsp.training.figures import save_figure, spectrogram_figure
from fastddsp.training.files import write_json
from fastddsp.training.metrics import compare_audio
from fastddsp.training.module import DECAY_STEPS, InstrumentModule
from fastddsp.training.pitch import get_tracker
from fastddsp.training.prepare import extract_features, prepare
from fastddsp.training.resynthesize import load_instrument, play, shift_loudness
from fastddsp.training.train import TRAINER_DEFAULTS, quiet_lightning, run_parts

TRAINING_PHRASES = ("violin_0.flac", "violin_1.flac", "violin_2.flac")
HELD_OUT_PHRASE = "violin_3.flac"
FLUTE_PHRASE = "flute.flac"
# A violin's range; half an octave is left on both sides for the tracker.
VIOLIN_HZ = (150.0, 1800.0)


def demo(out: str = "demo_output", steps: int = 1200, minutes: float = 5.0, seed: int = 0) -> dict[str, Any]:
    """Train a small violin on bundled phrases and play it.

    Args:
      out: folder for the results; new or empty.
      steps: training steps.
      minutes: training stops here, whatever the step.
      seed: of weights, windows and noise.

    Returns:
      What metrics.json holds.

    Raises:
      FileExistsError: `out` holds something already.
    """
    started = time.perf_counter()
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: choose another folder with --out")
    quiet_lightning()
    with as_file(files("fastddsp") / "data") as data, _one_thread():
        _say("1/3 pitch and loudness of three violin phrases")
        prepare([data / name for name in TRAINING_PHRASES], folder / "data", fmin=VIOLIN_HZ[0], fmax=VIOLIN_HZ[1])
        _say(f"2/3 training on them, at most {minutes:g} minutes")
        training = _train(folder, steps, minutes, seed)
        _say("3/3 playing")
        report = _play(folder, data) | {"training": training, "seconds": round(time.perf_counter() - started, 1)}
    write_json(folder / "metrics.json", report)
    _say(_what_to_hear(folder, report))
    return report


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: two took two thirds of the time on idle cores, ten times as long on busy ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(folder: Path, steps: int, minutes: float, seed: int) -> dict[str, Any]:
    with needs_extra():
        import lightning.pytorch as pl

    pl.seed_everything(seed)
    # Half the tiny preset's recurrent channels, with two layers before and after: after 1200 steps of the same cost the
    # loss was 4.87 instead of 5.00 and 0.5 % of the held-out frames lost their pitch instead of 1.1 %. No reverb: the
    # phrases are dry.
    config = load_preset("tiny", reverb_length=0, rnn_channels=128, fc_channels=128, layers_per_stack=2)
    # The rate falls to a twentieth by the last step, when it steadies what a high rate has found fast.
    decay = 0.05 ** (DECAY_STEPS / steps)
    module = InstrumentModule(config, learning_rate=3e-3, decay=decay, seed=seed)
    # One second per window: a note and its attack fit, and the recurrent layer, whose time grows with the length of
    # windows and hardly with their number, takes a quarter of what it takes for four.
    data = InstrumentData(
        str(folder / "data"), batch_size=8, window_seconds=1.0, hop_seconds=0.25, valid_share=0.0, seed=seed
    )
    limits = {"max_steps": steps, "max_time": {"seconds": round(minutes * 60)}}
    parts = run_parts(folder / "run", checkpoint_every=100)
    trainer = pl.Trainer(**{**TRAINER_DEFAULTS, **limits, **parts})
    started = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = time.perf_counter() - started
    loss = float(trainer.callback_metrics["train/total_loss"])
    return {"steps": trainer.global_step, "seconds": round(seconds, 1), "last_loss": round(loss, 3)}


def _play(folder: Path, data: Path) -> dict[str, Any]:
    violin = load_instrument(folder / "run")
    settings, rate = violin.settings, violin.settings.sample_rate
    target = read_audio(data / HELD_OUT_PHRASE, rate)
    curves = extract_features(target, settings)
    copy = play(violin, curves["f0_hz"], curves["loudness_db"])[: len(target)]
    low = play(violin, curves["f0_hz"] / 2, curves["loudness_db"])
    flute = read_audio(data / FLUTE_PHRASE, rate)
    flute_curves = extract_features(flute, settings)
    flute_level = _median_level(flute_curves["f0_confidence"], flute_curves["loudness_db"], settings)
    shift_db = _training_level(folder / "data") - flute_level
    on_violin = play(violin, flute_curves["f0_hz"], shift_loudness(flute_curves["loudness_db"], shift_db))

    sounds = {
        "held_out_recording": target,
        "held_out_resynthesized": copy,
        "held_out_octave_down": low,
        "flute_recording": flute,
        "flute_played_by_violin": on_violin,
    }
    for name, audio in sounds.items():
        write_audio(folder / f"{name}.wav", audio, rate)
    _draw(
        folder / "held_out.png", sounds, ("held_out_recording", "held_out_resynthesized", "held_out_octave_down"), rate
    )
    _draw(folder / "flute.png", sounds, ("flute_recording", "flute_played_by_violin"), rate)
    return {
        "held_out": {name: _plain(value) for name, value in compare_audio(target, copy, settings).items()},
        "definitions": "fastddsp.training.metrics; the tracker on the resynthesis against the tracker on the recording",
        "tracker": f"{settings.tracker}, octaves settled by fastddsp.training.octaves",
        "confident_from": get_tracker(settings.tracker).threshold,
        "flute_loudness_shift_db": round(shift_db, 2),
        "versions": {"fastddsp": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def _median_level(confidence: np.ndarray, loudness_db: np.ndarray, settings: Settings) -> float:
    """Median loudness in dB of the pitched frames."""
    return float(np.median(loudness_db[confidence >= get_tracker(settings.tracker).threshold]))


def _training_level(folder: Path) -> float:
    settings, sounds, _ = read_manifest(folder)
    features = [load_features(folder, sound) for sound in sounds]
    confidence, loudness_db = (np.concatenate([f[name] for f in features]) for name in ("f0_confidence", "loudness_db"))
    return _median_level(confidence, loudness_db, settings)


def _draw(path: Path, sounds: Mapping[str, np.ndarray], names: tuple[str, ...], rate: int) -> None:
    save_figure(spectrogram_figure({name.replace("_", " "): sounds[name] for name in names}, rate), path)


def _plain(value: float) -> float | None:
    """Four decimals; None, which JSON has, for NaN, which it has not."""
    return round(value, 4) if math.isfinite(value) else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _what_to_hear(folder: Path, report: Mapping[str, Any]) -> str:
    held_out = {name: math.nan if value is None else value for name, value in report["held_out"].items()}
    return f"""
Listen to these, in {folder}/:
  held_out_recording.wav       a violin phrase that was not in training
  held_out_resynthesized.wav   the same tune and dynamics, every sample made by what was learnt in \
{report["training"]["seconds"]:.0f} s
  held_out_octave_down.wav     the same an octave down, where this violin never played
  flute_recording.wav          a flute ...
  flute_played_by_violin.wav   ... and its phrase on the violin
and look at held_out.png and flute.png.
Pitch is off by {held_out["paper_f0_l1_semitones"]:.3f} semitones on average, lost in \
{100 * held_out["paper_f0_outliers"]:.2f} % of the pitched frames; loudness is off by \
{held_out["loudness_l1_db"]:.2f} dB (metrics.json)."""
