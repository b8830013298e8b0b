"""The tiny instrument (0.23 M weights) against the solo instrument (4.8 M) on the same phrases and steps.

And once more at the same seconds of training, which the tiny one turns into more steps.
"""

from pathlib import Path

from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, Training, main
from fastddsp.benchmarks.experiments.phrases import violin_phrases
from fastddsp.benchmarks.experiments.trainings import train
from fastddsp.models.presets import load_preset
from fastddsp.training.evaluate import Evaluation, evaluate

MINUTES = 11
STEPS = 250
TEXT = f"""Both presets without their reverb, since the phrases are dry, learnt {MINUTES - 2} minutes of a violin's
rendered phrases, {STEPS} steps of batches of 8 windows of 1 s at the same learning rate (1e-3, falling to a
twentieth). The tiny one then had the seconds that the solo one took. Measured on two more minutes. That is early in
a training: the paper's steps are tens of thousands, and there the larger model has time to show what it can hold."""
REMARKS: tuple[str, ...] = ()


def run(work: Path, quick: bool) -> Outcome:
    """Train and measure."""
    data, held_out = violin_phrases(work, 3 if quick else MINUTES)
    steps = 3 if quick else STEPS
    trainings = [_train(work, data, name, name, steps) for name in ("solo_instrument", "tiny_instrument")]
    same_seconds = round(steps * trainings[0].seconds / trainings[1].seconds)
    trainings.append(_train(work, data, "tiny_instrument", "tiny_instrument_same_seconds", same_seconds))
    found = {t.name: evaluate(work / t.name, held_out, examples=0, seed=SEED, progress=False) for t in trainings}
    return Outcome("The tiny instrument against the solo instrument", TEXT, rows_of(found), trainings, REMARKS)


def _train(work: Path, data: Path, preset: str, name: str, steps: int) -> Training:
    return train(work / name, data, load_preset(preset, reverb_length=0), steps, learning_rate=1e-3)


def rows_of(found: dict[str, Evaluation]) -> list[Row]:
    """Ratios of spectral distance to the first one's, and what else tells them apart."""
    first, *others = found
    distance = {name: evaluation.overall["spectral_distance"] for name, evaluation in found.items()}
    frames = int(distance[first]["frames"])
    rows = [
        Row(
            f"{_said(name)} over {_said(first)}: spectral distance",
            distance[name]["frame_mean"] / distance[first]["frame_mean"],
            "x",
            frames,
            "frames",
        )
        for name in others
    ]
    for name, evaluation in found.items():
        of = evaluation.overall
        l1, outliers, louder = (of[m] for m in ("paper_f0_l1_semitones", "strict_f0_outliers", "loudness_l1_db"))
        said = _said(name)
        rows += [
            Row(f"{said}: spectral distance", distance[name]["frame_mean"], "", frames, "frames"),
            Row(f"{said}: loudness L1", louder["frame_mean"], "dB", int(louder["frames"]), "frames"),
            Row(f"{said}: f0 L1", l1["frame_mean"], "semitones", int(l1["frames"]), "frames"),
            Row(
                f"{said}: f0 outliers, or more than 50 cents off",
                100.0 * outliers["frame_mean"],
                "%",
                int(outliers["frames"]),
                "frames",
            ),
        ]
    return rows


def _said(name: str) -> str:
    return name.replace("_instrument", "", 1).replace("_", ", ", 1).replace("_", " ")


if __name__ == "__main__":
    main(run)
