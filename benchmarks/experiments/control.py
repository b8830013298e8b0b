"""Pitch and loudness of a violin moved one at a time: does the sound follow, and does the other one stay?

With m the tracked pitch in semitones and L the loudness of the sound, primes for the shifted one, a shift (s, d) gives

    m'(t) - m(t) = s        L'(t) - L(t) = d
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, main
from fastddsp.benchmarks.experiments.phrases import LOUDNESS_WEIGHT, MINUTES, SMALL_VIOLIN, small_violin
from fastddsp.training.dataset import load_features, read_manifest
from fastddsp.training.extras import needs_extra
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.pitch import get_tracker, track_pitch
from fastddsp.training.prepare import loudness
from fastddsp.training.resynthesize import Instrument, load_instrument, play, shift_loudness

with needs_extra():
    from matplotlib.figure import Figure

SWEEP = (-12.0, -6.0, 6.0, 12.0)  # semitones, or dB; the rows are of the outermost two
LISTEN_HZ = (80.0, 2000.0)  # an octave below the violin's lowest note, and the tracker's limit
MOST_CORRECTED_DB = 6.0
QUANTILES = (0.01, 0.99)  # of the training frames: what lies between counts as the range trained on


TEXT = f"""A small violin (`tiny_instrument` with 128 recurrent channels, 2 layers before and after, no reverb)
learnt {MINUTES - 2} minutes of rendered phrases, with a `loudness_weight` of {LOUDNESS_WEIGHT:g} in its loss. The
pitch and loudness of two more minutes were moved, one at a time, by an octave and by {max(SWEEP):g} dB down and up,
and played; the tracker (swift-f0 from {LISTEN_HZ[0]:g} to {LISTEN_HZ[1]:g} Hz) heard each sound with its gain undone,
since its confidence follows level. A figure is the median over frames of how far the sound's change from the
unshifted playing is from what was asked. Frames count in which a pitch is played and heard, in both sounds, and whose
shifted pitch the tracker can hear. *Up* and *down* count those frames whose shifted pitch and loudness lie between the
1st and 99th percentile of the training's; *anywhere* counts all, also where this violin was never heard. *Corrected
once*: each sound was played a second time, with the loudness curve raised by what the first one lacked."""
CAPTION = (
    "Medians over all frames, bars from the 5th to the 95th percentile: pitch moved on the left, loudness on the right."
)
REMARKS = (
    "Without a `loudness_weight` the same violin was 1.27 dB off an octave up, over the bound of 1 dB, and 0.77 dB an "
    "octave down: the spectral loss asks for no loudness. No other weight was tried; this one was chosen by a training "
    "of 1000 steps, moved on two of the phrases it was trained on. It costs 1.6 times the seconds. Playing twice, the "
    "second time with the loudness curve raised by what the first one lacked, leaves 0.01 dB.",
    "Tracked at its own level, a sound 12 dB down of that first violin lost its pitch in 16 % of the frames; but so "
    "did 14 % of the frames of a recording that was simply turned down by as much. With the gain undone before the "
    "tracker hears it, hardly any lose it.",
)

Curves = dict[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """What a shift did to a sound, frame by frame.

    Args:
        pitch_cents: How much more the pitch rose than it should, [n_frames].
        loudness_db: How much more the loudness rose than it should, [n_frames].
        in_range: Whether the frame's shifted pitch and loudness were trained on, [n_frames].
        n_asked: Frames that were pitched before.
        n_lost: Those of them that have no pitch any more.
    """

    pitch_cents: np.ndarray
    loudness_db: np.ndarray
    in_range: np.ndarray
    n_asked: int
    n_lost: int


def run(work: Path, quick: bool) -> Outcome:
    """Train and measure."""
    training, data, held_out = small_violin(work, quick)
    violin = load_instrument(work / SMALL_VIOLIN)
    ranges = trained_range(data)
    curves = [load_features(held_out, sound) for sound in read_manifest(held_out)[1]]
    before = [sound_of(violin, phrase) for phrase in curves]
    pitch = {s: change(violin, curves, before, ranges, s, 0.0) for s in SWEEP}
    corrected = octave_corrected(violin, curves, ranges)
    louder = {d: change(violin, curves, before, ranges, 0.0, d) for d in SWEEP}
    return Outcome(
        "Pitch and loudness, one without the other",
        TEXT,
        [*rows_of("pitch", pitch), *corrected, *rows_of("loudness", louder)],
        [training],
        REMARKS,
        {"control": (figure_of(pitch, louder), CAPTION)},
        {"trained_range": ranges, "pitch_moved": summaries(pitch), "loudness_moved": summaries(louder)},
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


def sound_of(
    violin: Instrument, phrase: Curves, semitones: float = 0.0, db: float = 0.0, corrected: bool = False
) -> Curves:
    """The features of what the violin makes of shifted curves; the tracker hears it with the gain undone.

    Args:
        violin: What plays.
        phrase: The curves.
        semitones: Their shift in pitch.
        db: Their shift in loudness.
        corrected: Play twice, the second time asking for more loudness where the first had too little.
    """
    settings = violin.settings
    f0_hz = phrase["f0_hz"] * np.float32(2.0 ** (semitones / 12.0))
    asked_db = shift_loudness(phrase["loudness_db"], db).astype(np.float32)
    audio = play(violin, f0_hz, asked_db, seed=SEED)
    if corrected:
        missing_db = np.clip(asked_db - loudness(audio, settings), -MOST_CORRECTED_DB, MOST_CORRECTED_DB)
        audio = play(violin, f0_hz, shift_loudness(asked_db, missing_db).astype(np.float32), seed=SEED)
    heard_hz, confidence = track_pitch(
        audio * np.float32(10.0 ** (-db / 20.0)),
        settings.sample_rate,
        settings.frame_rate,
        fmin=LISTEN_HZ[0],
        fmax=LISTEN_HZ[1],
    )
    return {"f0_hz": heard_hz, "f0_confidence": confidence, "loudness_db": loudness(audio, settings)}


def change(
    violin: Instrument,
    curves: Sequence[Curves],
    before: Sequence[Curves],
    ranges: dict[str, tuple[float, float]],
    semitones: float,
    db: float,
    corrected: bool = False,
) -> Change:
    """Play the curves shifted, and compare with the sounds before."""
    threshold = get_tracker(violin.settings.tracker).threshold
    found = []
    for phrase, old in zip(curves, before, strict=True):
        new = sound_of(violin, phrase, semitones, db, corrected)
        found.append(errors(phrase, old, new, semitones, db, ranges, threshold))
    pitch_cents, loudness_db, in_range, lost = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return Change(pitch_cents, loudness_db, in_range, len(lost), int(lost.sum()))


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
    """The figures of the largest shifts: each way within the range trained on, both ways wherever they lead."""
    bounds = {"pitch": 20.0, "loudness": 2.0 if moved == "loudness" else 1.0}
    down, up = found[min(found)], found[max(found)]
    shift = "1 octave" if moved == "pitch" else f"{max(found):g} dB"
    rows = []
    for said, changes in ((f"up {shift}", [up]), (f"down {shift}", [down]), (f"± {shift}, anywhere", [down, up])):
        anywhere = len(changes) > 1
        for name, unit in (("pitch", "cents"), ("loudness", "dB")):
            off = [np.abs(getattr(c, f"{name}_{unit.lower()}")[c.in_range | anywhere]) for c in changes]
            rows.append(_median_row(f"{moved} {said}: {name} off by", np.concatenate(off), unit, bounds[name]))
        n_frames = sum(c.n_asked for c in changes)
        if anywhere:
            lost = 100.0 * sum(c.n_lost for c in changes) / max(1, n_frames)
            rows.append(Row(f"{moved} {said}: frames that lost their pitch", lost, "%", n_frames, "frames"))
    return rows


def octave_corrected(violin: Instrument, curves: Sequence[Curves], ranges: dict[str, tuple[float, float]]) -> list[Row]:
    """How far loudness is off an octave up and down, where every sound was corrected once."""
    before = [sound_of(violin, phrase, corrected=True) for phrase in curves]
    found = {
        "up": change(violin, curves, before, ranges, max(SWEEP), 0.0, corrected=True),
        "down": change(violin, curves, before, ranges, min(SWEEP), 0.0, corrected=True),
    }
    return [
        _median_row(
            f"pitch {way} 1 octave, corrected once: loudness off by", np.abs(c.loudness_db[c.in_range]), "dB", 1.0
        )
        for way, c in found.items()
    ]


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
            "lost": [c.n_lost / c.n_asked],
        }
        for shift, c in found.items()
        if c.pitch_cents.size
    }


def figure_of(pitch: dict[float, Change], louder: dict[float, Change]) -> Figure:
    """Errors of pitch (above) and loudness (below) against the shift asked for."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    for column, (label, found) in enumerate((("semitones asked for", pitch), ("dB asked for", louder))):
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
