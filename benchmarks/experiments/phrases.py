"""Phrases of one instrument that experiments share: rendered, tracked, the last two held out; and a violin of them."""

from pathlib import Path

from fastddsp.benchmarks.experiments.common import SEED, Training
from fastddsp.benchmarks.experiments.trainings import train
from fastddsp.models.presets import load_preset
from fastddsp.training.prepare import prepare
from fastddsp.training.render import render_phrases

HELD_OUT_MINUTES = 2
VIOLIN_HZ = (150.0, 1800.0)  # its range, half an octave beyond on both sides for the tracker
SMALL_VIOLIN = "small_violin"  # its folder and the name of its training
MINUTES = 11  # of its phrases, with those held out
STEPS = 5000
LOUDNESS_WEIGHT = 0.1  # a dB of loudness counts for less than a dB in every bin does, 6 ln(10) / 20


def violin_phrases(work: Path, minutes: int) -> tuple[Path, Path]:
    """A violin's phrases of a minute each as two data sets.

    Args:
        work: Folder for them.
        minutes: Of all phrases, more than HELD_OUT_MINUTES.

    Returns:
        Folders of the data sets: what is trained on, and the last HELD_OUT_MINUTES.
    """
    folder = work / "violin"
    sounds = folder / "sounds"
    if not sounds.exists():
        render_phrases(sounds, instrument=("violin",), minutes=minutes, seed=SEED, progress=False)
    files = sorted(sounds.glob("*.wav"))
    parts = {"trained": files[:-HELD_OUT_MINUTES], "held_out": files[-HELD_OUT_MINUTES:]}
    for name, chosen in parts.items():
        prepare(chosen, folder / name, fmin=VIOLIN_HZ[0], fmax=VIOLIN_HZ[1], workers=1, progress=False)
    return folder / "trained", folder / "held_out"


def small_violin(work: Path, quick: bool) -> tuple[Training, Path, Path]:
    """Train the violin that is controlled and that plays a flute's tune, or find it trained.

    Args:
        work: Folder for it, SMALL_VIOLIN, and for its data sets.
        quick: Whether a minute must do.

    Returns:
        Its training, and the folders of the data sets that `violin_phrases` makes.
    """
    data, held_out = violin_phrases(work, HELD_OUT_MINUTES + 1 if quick else MINUTES)
    sizes = {"rnn_channels": 128, "fc_channels": 128, "layers_per_stack": 2}
    config = load_preset("tiny", reverb_length=0, loudness_weight=LOUDNESS_WEIGHT, **sizes)
    return train(work / SMALL_VIOLIN, data, config, 30 if quick else STEPS), data, held_out
