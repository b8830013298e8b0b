"""The tiny instrument (0.23 M weights) against the solo instrument (4.8 M) on the same phrases and steps."""

from pathlib import Path

from fastddsp.benchmarks.experiments.common import SEED, Outcome, Row, main
from fastddsp.benchmarks.experiments.phrases import violin_phrases
from fastddsp.benchmarks.experiments.trainings import train
from fastddsp.models.presets import load_preset
from fastddsp.training.evaluate import Evaluation, evaluate

MINUTES = 11
STEPS = 1200
RATES = {"solo_instrument": 3e-4, "tiny_instrument": 1e-3}  # of the first step, by preset
TEXT = f"""Both presets without their reverb, since the phrases are dry, learnt {MINUTES - 2} minutes of a violin's
rendered phrases: {STEPS} steps of batches of 8 windows of 1 s, measured on two more minutes. Each had a learning rate
at which it learns, falling to a twentieth: {RATES["solo_instrument"]:g} (magenta/ddsp's) for the solo instrument,
{RATES["tiny_instrument"]:g} (the default here) for the tiny one. A step of the larger model costs a CPU core several
times as many seconds, and these steps are the beginning of a training: the paper's are tens of thousands, where the
larger model has time to show what it can hold."""
REMARKS = (
    "After as many steps neither is nearer to the recordings than the other, and the larger one took 7.5 times the "
    "seconds of a CPU core. So few steps do not say what either can reach.",
    "At 1e-3 for both, the solo instrument still played noise without a pitch after 350 steps, its loss hardly moved "
    "since step 150: too high a rate turns the harmonics down until they are gone. At 3e-4 its loss is below that "
    "after 100 steps. No other rates were tried, and one seed each.",
)


def run(work: Path, quick: bool) -> Outcome:
    """Train and measure."""
    data, held_out = violin_phrases(work, 3 if quick else MINUTES)
    steps = 3 if quick else STEPS
    trainings = [
        train(work / name, data, load_preset(name, reverb_length=0), steps, learning_rate=rate)
        for name, rate in RATES.items()
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
