"""`fastddsp train`: Lightning's command line over a module of fastddsp.training.module and InstrumentData.

    fastddsp train --data DIR --out RUN --preset tiny --trainer.max_steps 5000 --model.config.n_harmonics 100
    fastddsp train --data DIR --data DIR --data.proportions '[0.8, 0.2]' --out RUN
    fastddsp train --out RUN --resume

Every setting is a field: `--model.*` of the module (with `--model.config.*` of the model), `--data.*` of
InstrumentData, `--trainer.*` of Lightning's Trainer. `--print_config` prints them all as YAML, and `--config FILE`
reads such a file. A preset gives defaults below a file, and a file stands below what is said on the command line.
RUN/config.yaml keeps what was chosen, and `--resume` starts from there.

The preset says what is trained: an instrument (InstrumentModule), inverse synthesis (InverseModule, preset
inverse_synthesis) or a MIDI autoencoder (MidiModule, preset midi_autoencoder).
"""

import json
import logging
import os
import sys
import warnings
from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from fastddsp.models.presets import load_preset
from fastddsp.training.checkpoint import CONFIG, AtomicCheckpointIO, SaveLast, open_run
from fastddsp.training.datamodule import InstrumentData
from fastddsp.training.extras import needs_extra
from fastddsp.training.files import atomic_path
from fastddsp.training.module import MODULES
from fastddsp.training.statistics import KeepStatistics

with needs_extra():
    import yaml
    from lightning.pytorch.cli import LightningCLI
    from lightning.pytorch.loggers import TensorBoardLogger

DEFAULT_PRESET = "solo_instrument"
# Lightning's own settings for every run; steps are the only unit of length, and one epoch is the whole run.
TRAINER_DEFAULTS = {
    "accelerator": "cpu",  # where this version has kernels
    "max_steps": 30_000,
    "gradient_clip_val": 3.0,
    "val_check_interval": 1000,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 50,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


def run_parts(run: str | os.PathLike, checkpoint_every: int) -> dict[str, Any]:
    """What ties a Trainer to the folder of its run: logger, checkpoint writer, statistics of the data, atomic files.

    Args:
      run: folder of the run.
      checkpoint_every: steps from one checkpoint to the next.

    Returns:
      Arguments of lightning's Trainer.
    """
    logger = TensorBoardLogger(run, name="logs", version="")
    callbacks = [KeepStatistics(), SaveLast(run, checkpoint_every)]
    return {"logger": logger, "callbacks": callbacks, "plugins": [AtomicCheckpointIO()]}


def quiet_lightning() -> None:
    """Leave out Lightning's announcements and its advice on reader processes, which mapped files do not need."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "does not have many workers",
        "LightningCLI's args parameter",
        "LeafSpec",
        "Total length of `list`",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}.*")


class TrainCLI(LightningCLI):
    """Lightning's command line with --out, --resume, --preset and --checkpoint_every."""

    def __init__(self, preset: str, args: list[str]) -> None:
        self.preset, self.preset_config = preset, load_preset(preset)
        super().__init__(
            MODULES[type(self.preset_config)],
            InstrumentData,
            args=args,
            run=False,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            parser_kwargs={
                "prog": "fastddsp train",
                "description": "Train an instrument on a prepared data set.",
                "exit_on_error": False,
            },
        )

    def add_arguments_to_parser(self, parser: Any) -> None:
        """The options that are not fields of the module, the data or the trainer."""
        parser.add_argument("--out", required=True, help="folder of the run")
        parser.add_argument("--preset", default=self.preset, help="model settings to start from: a name or a YAML file")
        parser.add_argument("--resume", action="store_true", help="go on with the run in --out after an interruption")
        parser.add_argument("--checkpoint_every", type=int, default=300, help="steps that an interruption may cost")
        config = self.preset_config
        parser.set_defaults({f"model.config.{f.name}": getattr(config, f.name) for f in fields(config)})
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments(
            ("model.config.n_samples", "model.config.sample_rate"),
            "data.window_seconds",
            compute_fn=lambda n_samples, sample_rate: n_samples / sample_rate,
        )

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer, tied to the folder of the run."""
        parts = run_parts(self.config.out, self.config.checkpoint_every)
        trainer = super().instantiate_trainer(logger=parts["logger"], plugins=parts["plugins"], **kwargs)
        trainer.callbacks += parts["callbacks"]
        return trainer


def main(argv: list[str]) -> None:
    """Train, or resume, as the arguments say.

    Args:
      argv: what follows `fastddsp train`.

    Raises:
      SystemExit: help was asked for.
      ArgumentError: an argument is wrong.
      FileExistsError: --out holds something and --resume was not given.
      FileNotFoundError: there is no data set, or nothing to resume.
    """
    quiet_lightning()
    argv = _shorthands(argv)
    early = _early_options(argv)
    if early.resume and early.out:
        open_run(early.out, resume=True)
        argv = ["--config", str(Path(early.out) / CONFIG), *argv]
        early = _early_options(argv)
    cli = TrainCLI(_preset(early), argv)
    checkpoint = open_run(cli.config.out, cli.config.resume)
    with atomic_path(Path(cli.config.out) / CONFIG) as partial:
        partial.write_text(cli.parser.dump(cli.config, skip_none=False), encoding="utf-8")
    if cli.config.resume:
        where = (
            f"step {_step_of(checkpoint)}"
            if checkpoint
            else "the beginning: it was stopped before its first checkpoint"
        )
        print(f"resuming {cli.config.out} from {where}", file=sys.stderr)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)


def _shorthands(argv: list[str]) -> list[str]:
    """`--data DIR` is `--data.folder DIR`; several, `--data DIR --data DIR`, are a list."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--data", action="append", default=[])
    given, others = parser.parse_known_args(argv)
    if not given.data:
        return others
    return [f"--data.folder={given.data[0] if len(given.data) == 1 else json.dumps(given.data)}", *others]


def _early_options(argv: list[str]) -> Any:
    """The options that decide how the others are read."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    parser.add_argument("-c", "--config", action="append", default=[], type=Path)
    parser.add_argument("--out")
    parser.add_argument("--resume", action="store_true")
    return parser.parse_known_args(argv)[0]


def _preset(early: Any) -> str:
    """The preset that the command line names, or the last configuration file that names one."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in early.config if path.is_file()]
    named = [file["preset"] for file in files if isinstance(file, dict) and "preset" in file]
    return early.preset or (named or [DEFAULT_PRESET])[-1]


def _step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])
