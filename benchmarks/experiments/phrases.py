"""Phrases of one instrument that experiments share: rendered, tracked, the last two held out."""

from pathlib import Path

from fastddsp.benchmarks.experiments.common import SEED
from fastddsp.training.prepare import prepare
from fastddsp.training.render import render_phrases

HELD_OUT_MINUTES = 2
VIOLIN_HZ = (150.0, 1800.0)  # its range, half an octave beyond on both sides for the tracker


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
