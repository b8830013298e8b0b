"""Batches of windows, in an order that depends on the step alone.

Step s of process r of R reads the windows at positions (s R + r) B ... + B - 1 of an endless stream: one random
permutation of all windows after the other, permutation e drawn from (seed, e). Nothing has to be remembered to
resume: a run that was killed sees from step s on what it would have seen.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Sampler

from fastddsp.training.dataset import Settings, SoundWindows, read_manifest
from fastddsp.training.extras import needs_extra
from fastddsp.training.labels import Selection

with needs_extra():
    import lightning.pytorch as pl


class StepSampler(Sampler[list[int]]):
    """Window indices of each step of a run.

    Args:
      n_windows: windows in the data set.
      batch_size: windows per step and process.
      n_steps: steps of the whole run.
      first_step: the step to begin with.
      seed: of the permutations.
      rank: this process.
      n_ranks: all processes.
    """

    def __init__(
        self,
        n_windows: int,
        batch_size: int,
        n_steps: int,
        first_step: int = 0,
        seed: int = 0,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self.n_windows, self.batch_size, self.n_steps, self.first_step = n_windows, batch_size, n_steps, first_step
        self.seed, self.rank, self.n_ranks = seed, rank, n_ranks

    def __len__(self) -> int:
        """Steps of the whole run, those before first_step too, as Lightning counts batches."""
        return self.n_steps

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.first_step, self.n_steps):
            first = (step * self.n_ranks + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                if position // self.n_windows != epoch:
                    epoch = position // self.n_windows
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.n_windows)
                batch.append(int(order[position % self.n_windows]))
            yield batch


class StepLoader(DataLoader):
    """A DataLoader whose sampler knows its step, so that there is no state to save: Lightning asks for the methods."""

    def state_dict(self) -> dict:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Nothing to do."""


class InstrumentData(pl.LightningDataModule):
    """Training and validation windows of a data set made by `fastddsp prepare`.

    What is trained on and what is held out, by default: recordings of the split "train" and those of the split "valid",
    where the data set has splits; otherwise all, and the end of each. What is held out is never trained on.

    Args:
      folder: the data set.
      batch_size: windows per step and process.
      window_seconds: length of a window.
      hop_seconds: from the start of one window to the start of the next.
      valid_share: share of every recording, at its end, that is held out for validation; 0 for none. Counts only where
        no whole recordings are held out.
      select: train on recordings with these labels.
      valid_select: hold out recordings with these labels.
      num_workers: processes that read windows ahead; 0 reads in the training process, fast enough for mapped files.
      seed: of the order of windows.
    """

    def __init__(
        self,
        folder: str,
        batch_size: int = 16,
        window_seconds: float = 4.0,
        hop_seconds: float = 1.0,
        valid_share: float = 0.1,
        select: Selection | None = None,
        valid_select: Selection | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        splits = {sound.labels.split for sound in read_manifest(folder)[1]}
        if select is None and "train" in splits:
            select = Selection(split=["train"])
        if valid_select is None and "valid" in splits:
            valid_select = Selection(split=["valid"])
        share, part = (valid_share, "train") if valid_select is None else (0.0, "all")
        self.train_windows = SoundWindows(folder, window_seconds, hop_seconds, part, share, select, valid_select)
        self.valid_windows = None
        if valid_select is not None:
            self.valid_windows = SoundWindows(folder, window_seconds, window_seconds, select=valid_select)
        elif valid_share:
            self.valid_windows = SoundWindows(folder, window_seconds, window_seconds, "valid", share, select)

    @property
    def settings(self) -> Settings:
        """How the data set was prepared."""
        return self.train_windows.settings

    def train_dataloader(self) -> StepLoader:
        """Batches from the trainer's present step to its last."""
        sampler = StepSampler(
            len(self.train_windows),
            self.batch_size,
            self.trainer.max_steps,
            self.trainer.global_step,
            self.seed,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return StepLoader(
            self.train_windows,
            batch_sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader | list:
        """The held-out windows, each once, in order."""
        if self.valid_windows is None:
            return []
        return DataLoader(self.valid_windows, batch_size=self.batch_size, num_workers=0)
