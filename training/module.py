"""The training loop's view of a model: loss, optimizer, logs.

Adam with epsilon 1e-7 and the learning rate r(step) = learning_rate * decay ^ (step / 10000); the norm of the whole
gradient is clipped at 3.0 by the trainer. The defaults are those of magenta/ddsp, but for learning_rate (there 3e-4).

The noise of step s is drawn from (seed, s, process): a resumed run repeats what it would have done.
"""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from fastddsp.models.decoders import RnnFcDecoder
from fastddsp.models.inverse_synthesis import InverseConfig
from fastddsp.models.midi_autoencoder import MidiConfig
from fastddsp.models.notes import pianoroll_of_pitch
from fastddsp.models.presets import AnyConfig, ModelConfig, build
from fastddsp.training.extras import needs_extra
from fastddsp.training.figures import spectrogram_figure
from fastddsp.training.instrument import power
from fastddsp.training.metrics import compare_audio
from fastddsp.training.synthetic import RandomNotes

with needs_extra():
    import lightning.pytorch as pl

ADAM_EPSILON = 1e-7
DECAY_STEPS = 10_000
# Held-out examples that are tracked, drawn and played in the logs at every validation.
N_EXAMPLES = 2
SYNTHETIC_KEYS = (28.0, 84.0)  # the highest is within the 1200 Hz up to which `ddsp_inv` finds a pitch


def tilt_harmonics(decoder: RnnFcDecoder, slope: float) -> None:
    """Set the biases of the harmonic distribution so that, all else 0, harmonic k weighs k^-slope of the first.

    A weight is proportional to sigmoid(x)^ln(10) (see exp_sigmoid), so x = logit(k^(-slope / ln 10) / 2).
    """
    sizes = dict(decoder.output_splits)
    first = list(sizes).index("harmonic_distribution")
    start = sum(list(sizes.values())[:first])
    harmonic = torch.arange(1, sizes["harmonic_distribution"] + 1, dtype=torch.float64)
    bias = torch.logit(0.5 * harmonic ** (-slope / math.log(10.0)))
    with torch.no_grad():
        decoder.dense_out.bias[start : start + len(bias)] = bias


def at_speed(audio: torch.Tensor, speed: float, multiple: int = 1) -> torch.Tensor:
    """A recording played faster or slower, as a tape: higher or lower with it.

    Args:
      audio: [..., n_samples].
      speed: factor of pitch and tempo.
      multiple: the length out is one of this, so that spectra are of a size that is fast to transform.

    Returns:
      [..., n_samples / speed], to the nearest multiple, at least one. What comes above Nyquist is left out.
    """
    n_samples = audio.shape[-1]
    length = multiple * max(round(n_samples / speed / multiple), 1)
    return torch.fft.irfft(torch.fft.rfft(audio), n=length) * (length / n_samples)


class ModelModule(pl.LightningModule):
    """What training any model has in common; subclasses say what the model reads of a batch.

    Args:
      config: settings of the model.
      learning_rate: of the first step.
      decay: factor of the learning rate per 10000 steps.
      seed: of the noise.
    """

    # What the settings of the model and those of the data set must agree in.
    RATES: tuple[str, ...] = ("sample_rate", "frame_rate")

    def __init__(self, config: AnyConfig, learning_rate: float, decay: float, seed: int) -> None:
        super().__init__()
        self.config: Any = config
        self.model = build(config)
        self.learning_rate, self.decay, self.seed = learning_rate, decay, seed

    def outputs_and_losses(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Outputs of the model and losses for a batch, "total_loss" among them."""
        raise NotImplementedError(f"{type(self).__name__} must define outputs_and_losses")

    def setup(self, stage: str) -> None:
        """Check that the data set has the rates of the model."""
        settings = self.trainer.datamodule.settings
        for name in self.RATES:
            if getattr(settings, name) != getattr(self.config, name):
                raise ValueError(
                    f"{name} of the data set is {getattr(settings, name)}, of the model {getattr(self.config, name)}: "
                    f"set config.{name} or prepare the data set again"
                )

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam and its decay."""
        rates = self.learning_rates()
        groups: dict[str, list[torch.nn.Parameter]] = {prefix: [] for prefix in rates}
        for name, parameter in self.model.named_parameters():
            groups[max((prefix for prefix in rates if name.startswith(prefix)), key=len)].append(parameter)
        optimizer = torch.optim.Adam(
            [{"params": groups[prefix], "lr": rate} for prefix, rate in rates.items()], eps=ADAM_EPSILON
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rates(self) -> dict[str, float]:
        """Learning rate of the first step, by the beginning of a parameter's name; the longest that fits holds."""
        return {"": self.learning_rate}

    def _rate_factor(self, step: int) -> float:
        return self.decay ** (step / DECAY_STEPS)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A learning rate that is given anew replaces the checkpoint's."""
        rates = list(self.learning_rates().values())
        for state in checkpoint["optimizer_states"]:
            for group, rate in zip(state["param_groups"], rates, strict=True):
                group["initial_lr"] = rate
                group["lr"] = rate * self._rate_factor(checkpoint["global_step"])
        for schedule in checkpoint["lr_schedulers"]:
            schedule["base_lrs"] = rates

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draw this step's noise from its number."""
        torch.manual_seed(np.random.SeedSequence((self.seed, self.global_step, self.global_rank)).generate_state(1)[0])

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Loss of a batch."""
        _, losses = self.outputs_and_losses(batch)
        total = losses["total_loss"]
        if not math.isfinite(total.item()):
            raise RuntimeError(
                f"the loss is {total.item()} at step {self.global_step}: resume from the last checkpoint with a lower "
                f"learning_rate"
            )
        self.log("loss", total, prog_bar=True, logger=False)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return total

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Losses of a held-out batch; measures, sounds and pictures of its first examples."""
        outputs, losses = self.outputs_and_losses(batch)
        self.log_dict({f"valid/{name}": value for name, value in losses.items()}, batch_size=len(batch["audio"]))
        if batch_idx == 0 and self.trainer.is_global_zero:
            synthesized = self.model.get_audio_from_outputs(outputs)
            self._log_examples(batch["audio"][:N_EXAMPLES], synthesized[:N_EXAMPLES])

    def _log_examples(self, targets: torch.Tensor, synthesized: torch.Tensor) -> None:
        writer = getattr(self.logger, "experiment", None)
        if writer is None:
            return
        measured = []
        for i, (target, synth) in enumerate(zip(targets.cpu().numpy(), synthesized.cpu().numpy(), strict=True)):
            measured.append(compare_audio(target, synth, self.trainer.datamodule.settings))
            sounds = {"recording": target, "resynthesis": synth}
            writer.add_figure(f"example {i}", spectrogram_figure(sounds, self.config.sample_rate), self.global_step)
            for name, audio in sounds.items():
                writer.add_audio(f"example {i}/{name}", audio[None], self.global_step, self.config.sample_rate)
        for name in measured[0]:
            values = [m[name] for m in measured if math.isfinite(m[name])]
            if values:
                writer.add_scalar(f"examples/{name}", np.mean(values), self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint an instrument of its own: settings of the model and of the features it was trained on."""
        checkpoint["config"] = self.config.to_dict()
        checkpoint["settings"] = asdict(self.trainer.datamodule.settings)


class InstrumentModule(ModelModule):
    """Trains an instrument to resynthesize windows of a data set from their f0 and loudness.

    Args:
      config: settings of the model.
      learning_rate: of the first step.
      decay: factor of the learning rate per 10000 steps.
      initial_slope: harmonic k starts with k^-initial_slope of the first one's weight; 0 starts with all alike, as
        magenta/ddsp does, which leaves those too loud that few notes of the data set have below Nyquist.
      seed: of the noise.
      room_learning_rate: of the reverb in the first step; None: that of the rest.
      context_seconds: beginning of every window that is played and does not count in the loss: what it leaves in the
        room is heard in the rest. As long as the room to be learnt; 0 for none.
      warmup_steps: in which the learning rates rise from 0. Harmonics are far too loud at first, in a room above all;
        a high rate turns them down until they are gone for good, and noise is played instead. 0 for none.
      z_semitones: in training, the encoder of z hears every other batch, drawn at random, faster or slower, as a tape,
        and so higher or lower by up to so many semitones; f0, loudness and the sound to be made stay. z then says who
        plays rather than which note, and means something for notes that were not in training; 0 for none.

    Raises:
      ValueError: context_seconds leaves nothing of a window, warmup_steps is negative, or z_semitones finds no encoder
        of z alone.
    """

    def __init__(
        self,
        config: ModelConfig,
        learning_rate: float = 1e-3,
        decay: float = 0.98,
        initial_slope: float = 2.0,
        seed: int = 0,
        room_learning_rate: float | None = None,
        context_seconds: float = 0.0,
        warmup_steps: int = 0,
        z_semitones: float = 0.0,
    ) -> None:
        # The data set holds the loudness of the whole recording, which a window's own audio gives wrongly at its ends.
        super().__init__(replace(config, compute_loudness=False), learning_rate, decay, seed)
        self.loss_from = round(context_seconds * config.sample_rate)
        if not 0 <= self.loss_from < config.n_samples:
            raise ValueError(
                f"context_seconds must be at least 0 and less than a window, {config.n_samples / config.sample_rate:g} "
                f"s, got {context_seconds:g}"
            )
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
        tilt_harmonics(self.model.decoder, initial_slope)
        self.room_learning_rate, self.warmup_steps = room_learning_rate, warmup_steps
        self.z_semitones = z_semitones
        if z_semitones < 0:
            raise ValueError(f"z_semitones must not be negative, got {z_semitones:g}")
        if z_semitones:
            if not config.z_dims or config.f0_encoder != "none":
                raise ValueError("z_semitones needs a model with z and without an f0_encoder, which would hear it too")
            self.model.encoder.register_forward_pre_hook(self._change_speed)

    def _change_speed(self, encoder: torch.nn.Module, inputs: tuple[dict[str, Any]]) -> tuple[dict[str, Any]] | None:
        """What the encoder is to hear in place of a batch of training; None for the batch as it is."""
        if not self.training:
            return None
        drawn, place = torch.rand(2).tolist()
        if drawn < 0.5:
            return None
        speed = 2.0 ** ((2.0 * place - 1.0) * self.z_semitones / 12.0)
        return ({**inputs[0], "audio": at_speed(inputs[0]["audio"], speed, self.config.hop_size)},)

    def learning_rates(self) -> dict[str, float]:
        """A rate for the reverb, if it has one of its own."""
        if self.room_learning_rate is None:
            return super().learning_rates()
        return {"": self.learning_rate, "processor_group.reverb.": self.room_learning_rate}

    def _rate_factor(self, step: int) -> float:
        return super()._rate_factor(step) * min(1.0, (step + 1) / max(1, self.warmup_steps))

    def features(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the model reads of a batch, at the frames of its f0: power too, for models that read it."""
        return {**batch, "power_db": power(batch["audio"], self.config)} if self.config.level == "power" else batch

    def outputs_and_losses(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Outputs and losses of the resynthesis."""
        return self.model(self.features(batch), return_losses=True, loss_from=self.loss_from)


class MidiModule(ModelModule):
    """Trains a MIDI autoencoder: f0 and loudness of a data set are played, and played again from notes.

    Without an encoder the notes are the scores of the data set (`InstrumentData(scores=True)`), or those that
    `pianoroll_of_pitch` reads off f0 and loudness.

    Args:
      config: settings of the model.
      learning_rate: of the first step.
      decay: factor of the learning rate per 10000 steps.
      seed: of the noise.
    """

    def __init__(self, config: MidiConfig, learning_rate: float = 1e-3, decay: float = 0.98, seed: int = 0) -> None:
        super().__init__(replace(config, compute_loudness=False), learning_rate, decay, seed)

    def outputs_and_losses(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Outputs and losses of both resyntheses."""
        if not self.config.encoder and "note_active_velocities" not in batch:
            roll = pianoroll_of_pitch(batch["f0_hz"], batch["loudness_db"], self.config.frame_rate)
            batch = {**batch, "note_active_velocities": roll}
        return self.model(batch, return_losses=True)


class InverseModule(ModelModule):
    """Trains inverse synthesis: from random synthetic sounds, and with config.finetune from a data set's audio besides.

    Args:
      config: settings of the model.
      learning_rate: of the first step.
      decay: factor of the learning rate per 10000 steps.
      seed: of the noise and of the synthetic sounds.
    """

    RATES = ("sample_rate",)  # its frames are its encoder's, and f0 is not read

    def __init__(self, config: InverseConfig, learning_rate: float = 3e-4, decay: float = 0.98, seed: int = 0) -> None:
        super().__init__(config, learning_rate, decay, seed)
        self.draw = RandomNotes(
            config.sample_rate, config.hop_size, config.n_harmonics, config.n_noise_bands, SYNTHETIC_KEYS
        )

    def outputs_and_losses(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Outputs and losses: of synthetic sounds and recordings in training, of recordings in validation."""
        recording = {"audio": batch["audio"]}
        if not self.training:
            return self.model(recording, return_losses=True)
        synthetic = self.draw(len(batch["audio"]), self.config.n_samples // self.config.hop_size)
        if not self.config.finetune:
            return self.model(synthetic, return_losses=True)
        return self.model(recording, synthetic, return_losses=True)


MODULES: dict[type, type[ModelModule]] = {
    ModelConfig: InstrumentModule,
    InverseConfig: InverseModule,
    MidiConfig: MidiModule,
}
