"""Batches of windows, in an order that depends on the step alone.

Step s of process r of R reads the windows at positions (s R + r) B ... + B - 1 of an endless row: one random
permutation of all windows after the other, permutation e drawn from (seed, e); or, of several data sets in given
proportions, a draw of the set at every position and a row of permutations for each. Nothing has to be remembered to
resume: a run that was killed sees from step s on what it would have seen.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import DataLoader, Sampler

from fastddsp.training.dataset import Part, Settings, SoundWindows, read_sets
from fastddsp.training.extras import needs_extra
from fastddsp.training.labels import EVERYTHING, Selection

with needs_extra():
    import lightning.pytorch as pl


class Shuffle:
    """One random permutation of the numbers below `size` after the other: an endless row, read at any position."""

    def __init__(self, size: int, *seed: int) -> None:
        self.size, self.seed = size, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((*self.seed, epoch)).permutation(self.size)
        return int(self._order[place])


class Mixture:
    """Windows of several sets that follow each other: an endless row in which each has its share, read at any position.

    The set of a position is drawn from (seed, position); the k-th position of a set reads its k-th window, shuffled.

    Args:
      sizes: windows of each set.
      proportions: of each set, in any unit.
      seed: of the draws.
    """

    BLOCK = 4096  # positions drawn at once

    def __init__(self, sizes: Sequence[int], proportions: Sequence[float], seed: int) -> None:
        if len(sizes) != len(proportions):
            raise ValueError(
                f"proportions must be as many as the data sets, {len(sizes)}, got {len(proportions)}: {proportions}"
            )
        if not all(math.isfinite(share) and share >= 0 for share in proportions) or not any(proportions):
            raise ValueError(f"proportions must be 0 or more, and not all 0, got {list(proportions)}")
        empty = [i for i, (size, share) in enumerate(zip(sizes, proportions, strict=True)) if share and not size]
        if empty:
            raise ValueError(f"data set {empty[0] + 1} has a proportion, but no window to give")
        self.odds = np.asarray(proportions, dtype=np.float64) / sum(proportions)
        self.first = np.cumsum([0, *sizes[:-1]])
        self.orders = [Shuffle(size, seed, i) for i, size in enumerate(sizes)]
        self.seed = seed
        self._before = [np.zeros(len(sizes), dtype=np.int64)]  # how often each set came before each block
        self._block, self._sets, self._counts = -1, np.empty(0, np.int64), np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        block, place = divmod(position, self.BLOCK)
        if block != self._block:
            self._turn_to(block)
        which = int(self._sets[place])
        return int(self.first[which]) + self.orders[which][int(self._counts[place])]

    def _draw(self, block: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, len(self.odds), block))
        return rng.choice(len(self.odds), size=self.BLOCK, p=self.odds)

    def _turn_to(self, block: int) -> None:
        """Count from the beginning: a million positions take a few hundredths of a second."""
        while len(self._before) <= block:
            drawn = np.bincount(self._draw(len(self._before) - 1), minlength=len(self.odds))
            self._before.append(self._before[-1] + drawn)
        self._block, self._sets = block, self._draw(block)
        came = (self._sets[:, None] == np.arange(len(self.odds))).cumsum(axis=0) - 1 + self._before[block]
        self._counts = came[np.arange(self.BLOCK), self._sets]


class StepSampler(Sampler[list[int]]):
    """Window indices of each step of a run.

    Args:
      windows: the endless row that they are taken from.
      batch_size: windows per step and process.
      n_steps: steps of the whole run.
      first_step: the step to begin with.
      rank: this process.
      n_ranks: all processes.
    """

    def __init__(
        self,
        windows: Shuffle | Mixture,
        batch_size: int,
        n_steps: int,
        first_step: int = 0,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self.windows, self.batch_size, self.n_steps, self.first_step = windows, batch_size, n_steps, first_step
        self.rank, self.n_ranks = rank, n_ranks

    def __len__(self) -> int:
        """Steps of the whole run, those before first_step too, as Lightning counts batches."""
        return self.n_steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.n_steps):
            first = (step * self.n_ranks + self.rank) * self.batch_size
            yield [self.windows[position] for position in range(first, first + self.batch_size)]


class StepLoader(DataLoader):
    """A DataLoader whose sampler knows its step, so that there is no state to save: Lightning asks for the methods."""

    def state_dict(self) -> dict:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Nothing to do."""


class InstrumentData(pl.LightningDataModule):
    """Training and validation windows of a data set made by `fastddsp prepare`, or of several, mixed.

    What is held out is never trained on. By default that is the end of every recording, or, where recordings belong to
    splits, those of the split "valid"; those of "test" are then used for neither, unless a selection names them.

    Args:
      folder: the data set, or several.
      batch_size: windows per step and process.
      window_seconds: length of a window.
      hop_seconds: from the start of one window to the start of the next.
      valid_share: share of every recording, at its end, that is held out for validation; 0 for none. Counts only where
        no whole recordings are held out.
      select: train on recordings with these labels; on all if not given.
      valid_select: hold out recordings with these labels.
      proportions: of windows that each of several data sets gives to training; if not given, every window comes once
        before any comes twice.
      scores: add the notes to batches, see SoundWindows.
      num_workers: processes that read windows ahead; 0 reads in the training process, fast enough for mapped files.
      seed: of the order of windows.
    """

    def __init__(
        self,
        folder: list[str] | str,
        batch_size: int = 16,
        window_seconds: float = 4.0,
        hop_seconds: float = 1.0,
        valid_share: float = 0.1,
        select: Selection | None = None,
        valid_select: Selection | None = None,
        proportions: list[float] | None = None,
        scores: bool = False,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        select, without = select or EVERYTHING, []
        if select.split is None:
            without = [Selection(split=["valid", "test"])]
            held_out = replace(select, split=["valid"])
            if valid_select is None and any(
                held_out.accepts(sound.labels) for sounds in read_sets(folder)[1].values() for sound in sounds
            ):
                valid_select = held_out

        def windows(hop: float, part: Part, share: float, selection: Selection, *others: Selection) -> SoundWindows:
            return SoundWindows(folder, window_seconds, hop, part, share, selection, others, scores)

        self.valid_windows: SoundWindows | None = None
        if valid_select is not None:
            self.train_windows = windows(hop_seconds, "all", 0.0, select, *without, valid_select)
            self.valid_windows = windows(window_seconds, "all", 0.0, valid_select)
        else:
            self.train_windows = windows(hop_seconds, "train", valid_share, select, *without)
            if valid_share:
                self.valid_windows = windows(window_seconds, "valid", valid_share, select, *without)
        self.order: Shuffle | Mixture = Shuffle(len(self.train_windows), seed)
        if proportions is not None:
            self.order = Mixture(self.train_windows.set_sizes, proportions, seed)

    @property
    def settings(self) -> Settings:
        """How the data set was prepared; the first, of several."""
        return self.train_windows.settings

    @property
    def instruments(self) -> list[str]:
        """Names of the instruments, whose numbers batches hold."""
        return self.train_windows.instruments

    def train_dataloader(self) -> StepLoader:
        """Batches from the trainer's present step to its last."""
        sampler = StepSampler(
            self.order,
            self.batch_size,
            self.trainer.max_steps,
            self.trainer.global_step,
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
