"""Single notes of eight instruments through one autoencoder: keys that it never heard, inside its range and above it.

Training: every key from 48 to 72 but each fifth. Tested on the fifths, and on the keys from 73 to 84.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, main
from fastddsp.benchmarks.experiments.trainings import train
from fastddsp.models.presets import ModelConfig, load_preset
from fastddsp.training.dataset import read_manifest
from fastddsp.training.evaluate import FRAMES_BEHIND, load_target, measure, reconstruct
from fastddsp.training.extras import needs_extra
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.module import InstrumentModule
from fastddsp.training.pitch import get_tracker, track_pitch
from fastddsp.training.prepare import prepare
from fastddsp.training.render import render_notes
from fastddsp.training.resynthesize import Instrument, load_instrument
from fastddsp.training.tables import summarize

with needs_extra():
    from matplotlib.figure import Figure

INSTRUMENTS = ("violin", "cello", "trumpet", "trombone", "alto_sax", "oboe", "clarinet", "flute")
LOWEST, TOP_TRAINED, HIGHEST = 48, 72, 84
HELD_OUT = (50, 55, 60, 65, 70)
PARTS = ("trained", "held out", "above")
SECONDS, HELD_SECONDS = 2.0, 1.5
# Where the tracker listens: the keys of a part, and some semitones more. It doubles some notes near key 73 if it may.
RANGE_HZ = {"trained": (100.0, 1200.0), "held out": (100.0, 1200.0), "above": (400.0, 1100.0)}
STEPS = 2600
LEARNING_RATE = 1e-3  # at 3e-3 it stood after 500 steps where 1e-3 comes in 60
LOUDNESS_WEIGHT = 0.05  # of 1 dB; at 0.2 the spectrum is learnt more slowly
Z_SEMITONES = 12.0
NOTES = 300  # measured of each part, evenly spread over its files
TEXT = f"""One autoencoder learnt notes of {", ".join(name.replace("_", " ") for name in INSTRUMENTS)}: {SECONDS:g}
s each, held for {HELD_SECONDS:g} s, MIDI keys {LOWEST} to {TOP_TRAINED} at velocities 50, 85 and 120, without the
keys {", ".join(map(str, HELD_OUT))}, which no instrument played at any velocity. *Held out* are those keys, *above*
the keys {TOP_TRAINED + 1} to {HIGHEST}. It plays from f0, loudness, and a z that changes in time, heard in the
note's own MFCCs: it is `nsynth_ae`, made small enough for one CPU core (192 recurrent and fully connected channels
instead of 512, 2 layers instead of 3, 60 harmonics instead of 100, batches of 8 whole notes). Its loss is the
paper's and {LOUDNESS_WEIGHT:g} for each dB of A-weighted loudness, so that quiet releases count. In every other step,
at random, the encoder of z heard the notes faster or slower, as a tape, and so up to {Z_SEMITONES:g} semitones higher
or lower, while the decoder played them as they are: z is to say who plays and not which key. Targets are what the
tracker hears in the recording (swift-f0 from {RANGE_HZ["trained"][0]:g} to {RANGE_HZ["trained"][1]:g} Hz, above
from {RANGE_HZ["above"][0]:g} to {RANGE_HZ["above"][1]:g} Hz, confident from 0.5, octaves settled), and the
resynthesis is tracked in the same way; *nominal* compares with the key instead, from which a sampled instrument is
off itself. {NOTES} notes of each part at most are measured, evenly spread; figures are means over frames, the
spectral distance is the loss of the paper, a mean over notes. The paper's figures are from NSynth, with CREPE, and
pitches of training."""


def part_of(key: int) -> str:
    """Which of PARTS a key belongs to."""
    return "above" if key > TOP_TRAINED else "held out" if key in HELD_OUT else "trained"


def note_of(name: str) -> tuple[str, int]:
    """Instrument and MIDI key of a rendered note's file."""
    found = re.search(r"_(?:acoustic|electronic|synthetic)_(\w+)-(\d{3})-\d{3}", name)
    if not found:
        raise ValueError(f"a note's file must be named FAMILY_SOURCE_INSTRUMENT-KEY-VELOCITY, got {name}")
    return found[1], int(found[2])


class HearingOtherKeys(InstrumentModule):
    """Makes z of notes at other keys, too."""

    def __init__(self, config: ModelConfig, **settings: Any) -> None:
        super().__init__(config, z_semitones=Z_SEMITONES, **settings)


def run(work: Path, quick: bool) -> Outcome:
    """Train and measure."""
    sounds = work / "notes/sounds"
    if not sounds.exists():
        fewer: dict[str, Any] = {"instrument": INSTRUMENTS[:2], "key_step": 4, "velocities": (85,)} if quick else {}
        render_notes(
            sounds,
            **{"instrument": INSTRUMENTS, **fewer},
            keys=(LOWEST, HIGHEST),
            seconds=SECONDS,
            held_seconds=HELD_SECONDS,
            valid_share=0.0,
            test_share=0.0,
            seed=SEED,
            progress=False,
        )
    files = sorted(sounds.rglob("*.wav"))
    folders = {part: work / "notes" / part.replace(" ", "_") for part in PARTS}
    for part, folder in folders.items():
        chosen = [file for file in files if part_of(note_of(file.name)[1]) == part]
        fmin, fmax = RANGE_HZ[part]
        prepare(chosen, folder, fmin=fmin, fmax=fmax, workers=1, overwrite=True, progress=False)
    config = load_preset(
        "nsynth_ae",
        rnn_channels=192,
        fc_channels=192,
        layers_per_stack=2,
        z_rnn_channels=128,
        n_harmonics=60,
        loudness_weight=LOUDNESS_WEIGHT,
    )
    training = train(
        work / "small_nsynth_ae",
        folders["trained"],
        config,
        20 if quick else STEPS,
        learning_rate=LEARNING_RATE,
        window_seconds=SECONDS,
        hop_seconds=SECONDS,
        module_type=HearingOtherKeys,
    )
    instrument = load_instrument(work / "small_nsynth_ae")
    measured = {part: listen_to(instrument, folder, 8 if quick else NOTES) for part, folder in folders.items()}
    return Outcome(
        "Single notes of eight instruments",
        TEXT,
        rows_of(measured),
        [training],
        REMARKS,
        {"notes": (figure_of(measured), "Every key, all instruments and velocities; held out and above: never heard.")},
        {part: by_instrument(rows) for part, rows in measured.items()},
    )


REMARKS = (
    "Without loudness in the loss, and with z of the notes as they are, 0.80 % of the held-out keys' frames were "
    "outliers, and the spectral distance above was 1.59 times that held out (8.1 to 5.1), after as many steps. After "
    "1500 these were 0.74 % and 1.503.",
    "Both settings were chosen on keys of training alone: models learnt 48 to 67 without 52, 57 and 62, and were "
    "tested on these three (inner held out) and on 68, 69, 71 and 72 (inner above). After 1200 steps without either "
    "setting, inner held out had 0.70 % of outliers and a distance of 5.41, inner above 7.89, 1.46 times that.",
    "Of its 201 outliers inner held out, 146 lay in releases and 24 in the first 0.1 s. The tracker hears nothing "
    "that is softer than some level, and releases were 1 to 4 dB too soft there: 36 of 147 frames stayed lost with "
    "the whole sound raised by 3 dB, but 220 were without its noise, so noise hides no tone. Hence the loudness. At a "
    "weight of 0.2 it holds up the rest: after 800 steps, with notes faster or slower for z, 0.39 % were outliers, but "
    "the distances were 6.4 held out and 8.2 above.",
    "What is above came out wrong since its z did: played with the z of their instrument's key 67, the notes of inner "
    "above came to 6.1 instead of 7.9, though f0 and loudness were their own. After 300 more steps from the same "
    "weights, every second of them was at 7.7, 1.55 times held out; with notes faster or slower for z, at 6.7 and "
    "1.31; with half of the MFCCs left out at random, at 7.2 and 1.40; with noise of 0.5 on z, at 7.5 and 1.48; with "
    "notes faster or slower and loudness at 0.05, at 6.8 and 1.25, with 0.49 % of outliers held out.",
    "No help, from the start: MFCCs normalized over the data instead of over each note (8.1 above, 1.57 times held "
    "out); z exchanged between notes of an instrument, with loudness at 0.2 (8.1, but 6.1 held out); no fully "
    "connected layers, with loudness at 0.1 (8.4, but 6.0 held out).",
    "Through the tape the encoder hears notes of training at other pitches too, those of keys held out and above "
    "among them. No recording of these keys was in training, and the decoder played every note as it was.",
    "The tracker doubles some notes near key 73. Listening up to 1200 Hz above too, an earlier model had 0.131 "
    "semitones there instead of 0.071, since a doubled pitch is then also what is played; up to 1100 Hz it "
    "doubles key 73 alone.",
    "At a learning rate of 3e-3, at which a smaller model without z learns a violin, the loss after 500 steps was "
    "that of 1e-3 after 60.",
)


def listen_to(instrument: Instrument, folder: Path, at_most: int) -> list[dict[str, Any]]:
    """Notes of a data set through the model, measured against their recordings, and in pitch against their keys."""
    settings, sounds, _ = read_manifest(folder)
    threshold = get_tracker(settings.tracker).threshold
    rows = []
    for sound in sounds[:: -(-len(sounds) // at_most)]:
        name, key = note_of(sound.name)
        target = load_target(folder, sound)
        audio, _ = reconstruct(instrument, target, SEED)
        f0_hz, confidence = track_pitch(audio, settings.sample_rate, fmin=settings.fmin, fmax=settings.fmax)
        asked = target["f0_confidence"] >= threshold
        ours, own = (np.abs(hz_to_semitones(f0) - key) for f0 in (f0_hz, target["f0_hz"]))
        rows.append(
            {
                "instrument": name,
                "key": key,
                **measure(target, audio, settings),
                "nominal_f0_l1_semitones": _mean(ours[asked & (confidence >= threshold)]),
                "recording_nominal_f0_l1_semitones": _mean(own[asked]),
            }
        )
    return rows


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means of all measures over notes and over frames."""
    more = {"nominal_f0_l1_semitones": "heard_frames", "recording_nominal_f0_l1_semitones": "pitched_frames"}
    return summarize(rows, FRAMES_BEHIND | more)


def rows_of(measured: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """The figures of the page."""
    found = {part: summary(rows) for part, rows in measured.items()}
    asked: dict[str, dict[str, Any]] = {
        "held out": {"f0": {"at_most": 0.05, "paper": "0.02"}, "outliers": {"at_most": 0.5, "paper": "0.3 %"}},
        "above": {"f0": {"at_most": 0.1}, "outliers": {}},
    }
    rows = []
    for part, bounds in asked.items():
        of = found[part]
        rows += [
            _row(part, "f0 L1", of["paper_f0_l1_semitones"], "semitones", **bounds["f0"]),
            _row(part, "f0 outliers, paper's rule", of["paper_f0_outliers"], "%", **bounds["outliers"]),
            _row(part, "f0 outliers, or more than 50 cents off", of["strict_f0_outliers"], "%"),
            _row(part, "loudness L1, paper's scale", of["paper_loudness_l1"], ""),
            _row(part, "loudness L1", of["loudness_l1_db"], "dB"),
            _row(part, "f0 L1 from the nominal key", of["nominal_f0_l1_semitones"], "semitones"),
            _row(part, "the same of the recordings", of["recording_nominal_f0_l1_semitones"], "semitones"),
        ]
    distance = {part: of["spectral_distance"] for part, of in found.items()}
    rows += [
        Row(f"{part}: spectral distance", distance[part]["mean"], "", int(distance[part]["rows"]), "notes")
        for part in PARTS
    ]
    ratio = distance["above"]["mean"] / distance["held out"]["mean"]
    n_notes = int(distance["above"]["rows"] + distance["held out"]["rows"])
    return [*rows, Row("above over held out: spectral distance", ratio, "x", n_notes, "notes", at_most=1.5)]


def _row(part: str, what: str, found: dict[str, float], unit: str, **more: Any) -> Row:
    factor = 100.0 if unit == "%" else 1.0
    return Row(f"{part}: {what}", factor * found["frame_mean"], unit, int(found["frames"]), "frames", **more)


def by_instrument(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Every instrument's f0 L1 in semitones, loudness L1 in dB, and spectral distance."""
    names = sorted({row["instrument"] for row in rows})
    found = {name: summary([row for row in rows if row["instrument"] == name]) for name in names}
    return {
        name: {
            "f0_l1_semitones": of["paper_f0_l1_semitones"]["frame_mean"],
            "strict_f0_outliers": of["strict_f0_outliers"]["frame_mean"],
            "loudness_l1_db": of["loudness_l1_db"]["frame_mean"],
            "spectral_distance": of["spectral_distance"]["mean"],
        }
        for name, of in found.items()
    }


def figure_of(measured: dict[str, list[dict[str, Any]]]) -> Figure:
    """f0 L1, loudness L1 and spectral distance against the key."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = {
        "paper_f0_l1_semitones": "f0 L1 / semitones",
        "loudness_l1_db": "loudness L1 / dB",
        "spectral_distance": "spectral distance",
    }
    axes = figure.subplots(len(panels), 1, sharex=True)
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        for part, marker in zip(PARTS, ".os", strict=True):
            points = mean_by_key(measured[part], name)
            axis.plot(points.keys(), points.values(), marker, label=part, markersize=5)
        axis.set(ylabel=label, ylim=(0, None))
        axis.axvline(TOP_TRAINED + 0.5, color="gray", linewidth=0.8)
    axes[0].legend(ncols=3)
    axes[-1].set_xlabel("MIDI key")
    return figure


def mean_by_key(rows: Iterable[dict[str, Any]], name: str) -> dict[int, float]:
    """Mean over notes of a measure at every key."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if np.isfinite(row[name]):
            values.setdefault(row["key"], []).append(row[name])
    return {key: float(np.mean(values[key])) for key in sorted(values)}


if __name__ == "__main__":
    main(run)
