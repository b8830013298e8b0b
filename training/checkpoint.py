"""Checkpoints that are whole or absent, and the folder of a run.

    RUN/config.yaml       every setting of the run
    RUN/last.ckpt         weights, optimizer, step and settings; replaced in one step, so it is always loadable
    RUN/logs/             TensorBoard

A killed run continues from RUN/last.ckpt: it loses the steps since then, and nothing else.
"""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from fastddsp.training.extras import needs_extra
from fastddsp.training.files import PARTIAL, atomic_path

with needs_extra():
    import lightning.pytorch as pl
    from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST = "last.ckpt"
CONFIG = "config.yaml"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside their final name and then renamed, on the same disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; a kill at any moment leaves the previous file as it was."""
        with atomic_path(path) as partial:
            torch.save(checkpoint, partial)


class SaveLast(pl.Callback):
    """Writes RUN/last.ckpt every `every_n_steps` steps and at the end of training.

    Args:
      run: folder of the run.
      every_n_steps: steps that a kill may cost.
    """

    def __init__(self, run: str | os.PathLike, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise ValueError(f"checkpoints must be at least 1 step apart, got {every_n_steps}")
        self.path = Path(run) / LAST
        self.every_n_steps = every_n_steps
        self.saved_step = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Clear away what a killed run left half-written."""
        if trainer.is_global_zero:
            for leftover in self.path.parent.glob(f"*{PARTIAL}*"):
                leftover.unlink()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save when it is time."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the last step."""
        self._save(trainer)

    def _save(self, trainer: Any) -> None:
        if trainer.global_step == self.saved_step:
            return
        for name, value in trainer.lightning_module.named_parameters():
            if not value.isfinite().all():
                raise RuntimeError(f"{name} is not finite at step {trainer.global_step}: {self.path} stays as it was")
        trainer.save_checkpoint(self.path)
        self.saved_step = trainer.global_step


def open_run(run: str | os.PathLike, resume: bool) -> Path | None:
    """Make the folder of a run, or find the checkpoint to go on from.

    Args:
      run: folder.
      resume: go on with the run that it holds.

    Returns:
      The checkpoint to resume from; None to start from the beginning.

    Raises:
      FileExistsError: the folder holds something and `resume` is False.
      FileNotFoundError: `resume` is True and there is no run.
    """
    run = Path(run)
    if resume:
        if not (run / CONFIG).is_file():
            raise FileNotFoundError(f"there is no run in {run} to resume: it has no {CONFIG}")
        return run / LAST if (run / LAST).is_file() else None
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise FileExistsError(f"{run} is not empty: resume the run in it, or choose another folder")
    run.mkdir(parents=True, exist_ok=True)
    return None


def load_checkpoint(run: str | os.PathLike) -> dict[str, Any]:
    """The content of RUN/last.ckpt, tensors on the CPU; only plain data is read, no code.

    Args:
      run: folder of a run, or a checkpoint file.

    Raises:
      FileNotFoundError: there is no checkpoint yet.
      ValueError: the file is none of ours.
    """
    path = Path(run)
    path = path / LAST if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no trained instrument in {run}: {path} does not exist")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is not a checkpoint: {error}") from error
    if "config" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of an instrument: it holds no model settings")
    return checkpoint
