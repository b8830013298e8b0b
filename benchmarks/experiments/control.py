"""Pitch and loudness of a violin moved one at a time: does the sound follow, and does the other one stay?

With m the tracked pitch in semitones and L the loudness of the sound, primes for the shifted one, a shift (s, d) gives

    m'(t) - m(t) = s        L'(t) - L(t) = d
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, main
from fastddsp.benchmarks.experiments.phrases import violin_phrases
from fastddsp.benchmarks.experiments.trainings import train
from fastddsp.models.presets import load_preset
from fastddsp.training.dataset import load_features, read_manifest
from fastddsp.training.extras import needs_extra
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.pitch import get_tracker
from fastddsp.training.prepare import extract_features
from fastddsp.training.resynthesize import Instrument, load_instrument, play, shift_loudness

with needs_extra():
    from matplotlib.figure import Figure

MINUTES = 11
STEPS = 5000
SWEEP = (-12.0, -8.0, -4.0, 4.0, 8.0, 12.0)  # semitones, or dB; the rows are of the outermost two
LISTEN_HZ = (80.0, 2000.0)  # an octave below the violin's lowest note, and the tracker's limit
QUANTILES = (0.01, 0.99)  # of the training frames: what lies between counts as the range trained on


TEXT = f"""A small violin (`tiny_instrument` with 128 recurrent channels, 2 layers before and after, no reverb)
learnt {MINUTES - 2} minutes of rendered phrases. The pitch and loudness of two more minutes were moved, one at a
time, by an octave and by {max(SWEEP):g} dB down and up, and played; every sound was tracked (swift-f0 from
{LISTEN_HZ[0]:g} to {LISTEN_HZ[1]:g} Hz). A figure is the median over frames of how far the sound's change from the
unshifted playing is from what was asked. Frames count in which a pitch is played and heard, in both
sounds, and whose shifted pitch the tracker can hear. *In
range* are those whose shifted pitch and loudness lie between the 1st and 99th percentile of the training's frames;
*anywhere* are all, also where this violin was never heard."""
CAPTION = (
    "Medians over all frames, bars from the 5th to the 95th percentile: pitch moved on the left, loudness on the right."
)
REMARKS: tuple[str, ...] = ()

Curves = dict[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """What a shift did to a sound, frame by frame.

    Args:
        pitch_cents: How much more the pitch rose than it should, [n_frames].
        loudness_db: How much more the loudness rose than it should, [n_frames].
        in_range: Whether the frame's shifted pitch and loudness were trained on, [n_frames].
        lost: Share of the frames pitched before that have no pitch any more.
    """

    pitch_cents: np.ndarray
    loudness_db: np.ndarray
    in_range: np.ndarray
    lost: float


def run(work: Path, quick: bool) -> Outcome:
    """Train and measure."""
    data, held_out = violin_phrases(work, 3 if quick else MINUTES)
    config = load_preset("tiny", reverb_length=0, rnn_channels=128, fc_channels=128, layers_per_stack=2)
    training = train(work / "small_violin", data, config, 30 if quick else STEPS)
    violin = load_instrument(work / "small_violin")
    ranges = trained_range(data)
    curves = [load_features(held_out, sound) for sound in read_manifest(held_out)[1]]
    before = [sound_of(violin, phrase) for phrase in curves]
    pitch = {s: change(violin, curves, before, ranges, s, 0.0) for s in SWEEP}
    loudness = {d: change(violin, curves, before, ranges, 0.0, d) for d in SWEEP}
    return Outcome(
        "Pitch and loudness, one without the other",
        TEXT,
        [*rows_of("pitch", pitch), *rows_of("loudness", loudness)],
        [training],
        REMARKS,
        {"control": (figure_of(pitch, loudness), CAPTION)},
        {"trained_range": ranges, "pitch_moved": summaries(pitch), "loudness_moved": summaries(loudness)},
    )


def trained_range(data: Path) -> dict[str, tuple[float, float]]:
    """QUANTILES of pitch in semitones and loudness in dB over the pitched frames of a data set."""
    settings, sounds, _ = read_manifest(data)
    features = [load_features(data, sound) for sound in sounds]
    f0_hz, confidence, loudness_db = (
        np.concatenate([f[name] for f in features]) for name in ("f0_hz", "f0_confidence", "loudness_db")
    )
    pitched = confidence >= get_tracker(settings.tracker).threshold
    quantities = {"pitch": hz_to_semitones(f0_hz[pitched]), "loudness": loudness_db[pitched]}
    return {name: tuple(np.quantile(values, QUANTILES).tolist()) for name, values in quantities.items()}


def sound_of(violin: Instrument, phrase: Curves, semitones: float = 0.0, db: float = 0.0) -> Curves:
    """The features of what the violin makes of shifted curves."""
    f0_hz = phrase["f0_hz"] * np.float32(2.0 ** (semitones / 12.0))
    audio = play(violin, f0_hz, shift_loudness(phrase["loudness_db"], db).astype(np.float32), seed=SEED)
    return extract_features(audio, replace(violin.settings, fmin=LISTEN_HZ[0], fmax=LISTEN_HZ[1]))


def change(
    violin: Instrument,
    curves: Sequence[Curves],
    before: Sequence[Curves],
    ranges: dict[str, tuple[float, float]],
    semitones: float,
    db: float,
) -> Change:
    """Play the curves shifted, and compare with the sounds before."""
    threshold = get_tracker(violin.settings.tracker).threshold
    found = []
    for phrase, old in zip(curves, before, strict=True):
        new = sound_of(violin, phrase, semitones, db)
        found.append(errors(phrase, old, new, semitones, db, ranges, threshold))
    pitch, loudness, in_range, lost = zip(*found, strict=True)
    return Change(
        *(np.concatenate(x) for x in (pitch, loudness, in_range)),
        lost=sum(map(np.sum, lost)) / max(1, sum(map(len, lost))),
    )


def errors(
    asked: Curves,
    old: Curves,
    new: Curves,
    semitones: float,
    db: float,
    ranges: dict[str, tuple[float, float]],
    threshold: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of a Change for one phrase, and whether each frame that had a pitch lost it.

    Args:
        asked: The curves before they were shifted.
        old: The sound of them.
        new: The sound of the shifted ones.
        semitones: Their shift in pitch. Frames that it moves to where the tracker does not listen do not count.
        db: Their shift in loudness.
        ranges: Of pitch and loudness, that count as trained on.
        threshold: Confidence from which a frame counts as pitched.
    """
    played = {"pitch": hz_to_semitones(asked["f0_hz"]) + semitones, "loudness": asked["loudness_db"] + db}
    lowest, highest = hz_to_semitones(np.array(LISTEN_HZ))
    audible = (played["pitch"] > lowest) & (played["pitch"] < highest)
    pitched = (asked["f0_confidence"] >= threshold) & (old["f0_confidence"] >= threshold) & audible
    heard = new["f0_confidence"] >= threshold
    count = pitched & heard
    rise = hz_to_semitones(new["f0_hz"]) - hz_to_semitones(old["f0_hz"])
    louder = new["loudness_db"].astype(np.float64) - old["loudness_db"]
    in_range = np.logical_and.reduce([(x >= ranges[name][0]) & (x <= ranges[name][1]) for name, x in played.items()])
    return 100.0 * (rise - semitones)[count], (louder - db)[count], in_range[count], ~heard[pitched]


def rows_of(moved: str, found: dict[float, Change]) -> list[Row]:
    """The figures of the largest shifts, both ways together."""
    both = [found[min(found)], found[max(found)]]
    pitch, loudness, in_range = (
        np.concatenate([getattr(c, name) for c in both]) for name in ("pitch_cents", "loudness_db", "in_range")
    )
    shift = "± 1 octave" if moved == "pitch" else f"± {max(found):g} dB"
    bounds = {"pitch": 20.0, "loudness": 2.0 if moved == "loudness" else 1.0}
    rows = []
    for where, chosen in (("in range", in_range), ("anywhere", np.ones_like(in_range))):
        for name, errors_of, unit in (("pitch", pitch, "cents"), ("loudness", loudness, "dB")):
            off = np.abs(errors_of[chosen])
            what = f"{moved} moved by {shift}, {where}: {name} off by"
            rows.append(_median_row(what, off, unit, bounds[name]))
    lost = 100.0 * float(np.mean([c.lost for c in both]))
    return [*rows, Row(f"{moved} moved by {shift}: frames that lost their pitch", lost, "%", len(pitch), "frames")]


def _median_row(what: str, off: np.ndarray, unit: str, at_most: float) -> Row:
    if not off.size:
        return Row(what, None, unit, 0, "frames", at_most)
    low, median, high = np.quantile(off, (0.05, 0.5, 0.95)).tolist()
    return Row(what, median, unit, len(off), "frames", at_most, spread=(low, high))


def summaries(found: dict[float, Change]) -> dict[str, dict[str, list[float]]]:
    """5th, 50th and 95th percentile of the signed errors at every shift."""
    return {
        f"{shift:+g}": {
            "pitch_cents": np.quantile(c.pitch_cents, (0.05, 0.5, 0.95)).tolist(),
            "loudness_db": np.quantile(c.loudness_db, (0.05, 0.5, 0.95)).tolist(),
            "lost": [c.lost],
        }
        for shift, c in found.items()
        if c.pitch_cents.size
    }


def figure_of(pitch: dict[float, Change], loudness: dict[float, Change]) -> Figure:
    """Errors of pitch (above) and loudness (below) against the shift asked for."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    for column, (label, found) in enumerate((("semitones asked for", pitch), ("dB asked for", loudness))):
        for axis, (name, unit) in zip(axes[:, column], (("pitch_cents", "cents"), ("loudness_db", "dB")), strict=True):
            heard = {shift: getattr(c, name) for shift, c in found.items() if c.pitch_cents.size}
            low, middle, high = np.array([np.quantile(x, (0.05, 0.5, 0.95)) for x in heard.values()]).reshape(-1, 3).T
            axis.errorbar(list(heard), middle, (middle - low, high - middle), fmt="o", capsize=3)
            axis.axhline(0.0, color="gray", linewidth=0.8)
            axis.set(ylabel=f"{name.split('_')[0]} too high by / {unit}" if column == 0 else "")
        axes[1, column].set_xlabel(label)
    return figure


if __name__ == "__main__":
    main(run)
