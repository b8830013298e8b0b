"""Trainings of experiments: Lightning's loop over a data set, done once for a folder and then remembered.

The learning rate falls to a twentieth by the last step, when it steadies what a high rate has found fast. One thread,
so that the processor's seconds, which another process does not stretch, are those of a quiet machine.
"""

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastddsp.benchmarks.experiments.common import SEED, Training
from fastddsp.models.presets import ModelConfig
from fastddsp.training.datamodule import InstrumentData
from fastddsp.training.extras import needs_extra
from fastddsp.training.files import write_json
from fastddsp.training.module import DECAY_STEPS, InstrumentModule
from fastddsp.training.train import TRAINER_DEFAULTS, quiet_lightning, run_parts

with needs_extra():
    import lightning.pytorch as pl

RECORD = "training.json"
LAST_RATE = 0.05
LEAST_STEPS = 100  # for fewer, the decay over 10000 steps is no float any more


def train(
    run: Path,
    data: Path,
    config: ModelConfig,
    steps: int,
    *,
    learning_rate: float = 3e-3,
    batch_size: int = 8,
    window_seconds: float = 1.0,
    hop_seconds: float = 0.25,
    module_type: Callable[..., InstrumentModule] = InstrumentModule,
) -> Training:
    """Train an instrument, or find it trained.

    Args:
        run: Folder of the run, for `load_instrument`; its name is the training's.
        data: Data set made by `prepare`, all of which is trained on.
        config: Of the model.
        steps: Of training.
        learning_rate: Of the first step.
        batch_size: Windows a step.
        window_seconds: Of a window.
        hop_seconds: From the start of one window to the start of the next.
        module_type: Makes the module: InstrumentModule, or a function or class like it.

    Returns:
        What it took. A run with the same settings in the folder is taken as it is, one with others replaced.
    """
    settings: dict[str, Any] = {
        "steps": steps,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "window_seconds": window_seconds,
        "hop_seconds": hop_seconds,
        "model": config.to_dict(),
    }
    record = run / RECORD
    if record.is_file():
        done = json.loads(record.read_text(encoding="utf-8"))
        # Settings that models had not yet when it was trained have their defaults.
        known = {**done["settings"], "model": ModelConfig(**done["settings"]["model"]).to_dict()}
        if known == settings:
            return Training(**done)
    if run.exists():
        shutil.rmtree(run)
    quiet_lightning()
    pl.seed_everything(SEED, verbose=False)
    decay = LAST_RATE ** (DECAY_STEPS / max(steps, LEAST_STEPS))
    module = module_type(config, learning_rate=learning_rate, decay=decay, seed=SEED)
    windows = InstrumentData(
        str(data), batch_size, window_seconds=window_seconds, hop_seconds=hop_seconds, valid_share=0.0, seed=SEED
    )
    parts = run_parts(run, checkpoint_every=500)
    trainer = pl.Trainer(
        **{**TRAINER_DEFAULTS, **parts, "max_steps": steps, "enable_progress_bar": sys.stderr.isatty()}
    )
    started = time.process_time()
    trainer.fit(module, datamodule=windows)
    seconds = time.process_time() - started
    weights = sum(p.numel() for p in module.parameters() if p.requires_grad)
    loss = float(trainer.callback_metrics["train/total_loss"])
    done = Training(run.name, trainer.global_step, round(seconds, 1), weights, round(loss, 4), settings)
    write_json(record, dataclasses.asdict(done))
    return done
