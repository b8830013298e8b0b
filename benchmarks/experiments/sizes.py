"""The tiny instrument (0.23 M weights) against the solo instrument (4.8 M) on the same phrases and steps."""

from pathlib import Path

from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, main
from fastddsp.benchmarks.experiments.phrases import violin_phrases
from fastddsp.benchmarks.experiments.trainings import train
from fastddsp.models.presets import load_preset
from fastddsp.training.evaluate import Evaluation, evaluate

MINUTES = 11
STEPS = 350
PRESETS = ("solo_instrument", "tiny_instrument")
TEXT = f"""Both presets without their reverb, since the phrases are dry, learnt {MINUTES - 2} minutes of a violin's
rendered phrases: {STEPS} steps of batches of 8 windows of 1 s at the same learning rate (1e-3, falling to a
twentieth), measured on two more minutes. A step of the larger model costs a CPU core several times as many seconds,
and so few steps are the very beginning of a training: the paper's steps are tens of thousands, where the larger
model has time to show what it can hold."""
REMARKS = (
    "This says only who learns sooner. After these steps the solo instrument still plays noise without a pitch "
    "(its loss had hardly moved since step 150), while the tiny one plays the tune: the larger network, with "
    "three layers in each stack, needs more steps, or a lower learning rate than 1e-3, which was not tried. A "
    "comparison of what both can reach takes hours of a CPU core.",
)


def run(work: Path, quick: bool) -> Outcome:
    """Train and measure."""
    data, held_out = violin_phrases(work, 3 if quick else MINUTES)
    steps = 3 if quick else STEPS
    trainings = [
        train(work / name, data, load_preset(name, reverb_length=0), steps, learning_rate=1e-3) for name in PRESETS
    ]
    found = {t.name: evaluate(work / t.name, held_out, examples=0, seed=SEED, progress=False) for t in trainings}
    return Outcome("The tiny instrument against the solo instrument", TEXT, rows_of(found), trainings, REMARKS)


def rows_of(found: dict[str, Evaluation]) -> list[Row]:
    """The ratio of their spectral distances, and what else tells them apart."""
    first, second = found
    distance = {name: evaluation.overall["spectral_distance"] for name, evaluation in found.items()}
    frames = int(distance[first]["frames"])
    ratio = distance[second]["frame_mean"] / distance[first]["frame_mean"]
    rows = [Row(f"{_said(second)} over {_said(first)}: spectral distance", ratio, "x", frames, "frames")]
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
    return name.removesuffix("_instrument")


if __name__ == "__main__":
    main(run)
