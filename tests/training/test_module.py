import math
from dataclasses import replace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fastddsp.autograd.scaling import exp_sigmoid
from fastddsp.models.presets import ModelConfig, load_preset
from fastddsp.training.checkpoint import LAST, load_checkpoint
from fastddsp.training.datamodule import InstrumentData
from fastddsp.training.dataset import SoundWindows
from fastddsp.training.instrument import listen, load_instrument, play
from fastddsp.training.module import MODULES, InstrumentModule, InverseModule, MidiModule, at_speed
from fastddsp.training.prepare import prepare
from fastddsp.training.train import TRAINER_DEFAULTS, run_parts
from tests.training.models import SIZES, SMALLEST, SMALLEST_INVERSE, SMALLEST_MIDI, two_tones
from tests.training.sounds import tone, write_tone


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(two_tones(tmp_path_factory.mktemp("tones")))


class Spoil(pl.Callback):
    """Puts NaN into the weights before a step, or into the gradients of one."""

    def __init__(self, weights_at=-1, gradients_at=-1):
        self.weights_at, self.gradients_at = weights_at, gradients_at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.weights_at:
            next(pl_module.parameters()).data.fill_(math.nan)

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == self.gradients_at:
            next(pl_module.parameters()).grad.fill_(math.nan)


def fit(
    run,
    data,
    max_steps,
    config=SMALLEST,
    ckpt_path=None,
    valid_share=0.0,
    val_check_interval=1000,
    spoil=None,
    **settings,
):
    torch.manual_seed(0)
    module = MODULES[type(config)](config, **settings)
    window_seconds = config.n_samples / config.sample_rate
    batches = InstrumentData(data, 2, window_seconds=window_seconds, hop_seconds=0.2, valid_share=valid_share)
    parts = run_parts(run, checkpoint_every=3)
    options = {"max_steps": max_steps, "enable_progress_bar": False, "log_every_n_steps": 1}
    options["val_check_interval"] = val_check_interval
    parts["callbacks"] += [spoil or Spoil()]
    trainer = pl.Trainer(**{**TRAINER_DEFAULTS, **options}, **parts)
    trainer.fit(module, datamodule=batches, ckpt_path=ckpt_path, weights_only=True)
    return module, trainer


def test_the_loss_falls(tmp_path, data):
    fit(tmp_path / "run", data, 30, learning_rate=1e-2)
    log = EventAccumulator(str(tmp_path / "run" / "logs")).Reload()
    losses = [event.value for event in log.Scalars("train/total_loss")]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, data):
    whole, _ = fit(tmp_path / "whole", data, 8)
    fit(tmp_path / "part", data, 5)
    resumed, trainer = fit(tmp_path / "part", data, 8, ckpt_path=tmp_path / "part" / LAST)
    assert trainer.global_step == 8
    for (name, expected), value in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=name)


def test_adam_its_decay_and_clipping_are_magentas(tmp_path, data):
    _, trainer = fit(tmp_path / "run", data, 4, learning_rate=2e-3)
    optimizer = trainer.optimizers[0]
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["eps"] == 1e-7
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3 * 0.98 ** (4 / 10_000), rel=1e-12)
    assert trainer.gradient_clip_val == 3.0


def test_validation_logs_losses_measures_sounds_and_pictures(tmp_path, data):
    fit(tmp_path / "run", data, 2, valid_share=0.3, val_check_interval=2)
    tags = EventAccumulator(str(tmp_path / "run" / "logs")).Reload().Tags()
    assert {"valid/total_loss", "examples/loudness_l1_db", "examples/paper_f0_outliers"} <= set(tags["scalars"])
    assert {"example 0/recording", "example 0/resynthesis"} <= set(tags["audio"])
    assert "example 0" in tags["images"]


OTHER_MODELS = {
    "notes read off f0": SMALLEST_MIDI,
    "notes learnt": replace(SMALLEST_MIDI, encoder=True, reverb_length=500),
    "synthetic sounds": replace(SMALLEST_INVERSE, finetune=False),
    "synthetic sounds and recordings": SMALLEST_INVERSE,
}


@pytest.mark.parametrize("config", OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_other_models_train_validate_resume_and_play(tmp_path, data, config):
    whole, _ = fit(tmp_path / "whole", data, 2, config=config, valid_share=0.3, val_check_interval=2)
    log = EventAccumulator(str(tmp_path / "whole" / "logs")).Reload()
    assert "valid/total_loss" in log.Tags()["scalars"] and "example 0/resynthesis" in log.Tags()["audio"]
    fit(tmp_path / "part", data, 1, config=config, valid_share=0.3)
    fit(tmp_path / "part", data, 2, config=config, valid_share=0.3, ckpt_path=tmp_path / "part" / LAST)
    loaded = load_instrument(tmp_path / "part")
    assert loaded.config == whole.config
    for (name, expected), value in zip(whole.model.named_parameters(), loaded.model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, msg=name)
    audio = play(loaded, **listen(loaded, tone(330.0, 0.4)))
    assert len(audio) == -(-6400 // config.hop_size) * config.hop_size and math.isfinite(audio.sum())


SMALL = {"rnn_channels": 8, "fc_channels": 8, "z_rnn_channels": 4, "n_harmonics": 6, "n_noise_bands": 5}


@pytest.mark.parametrize("preset", ["vst_16k", "vst_32k", "vst_48k", "violin_48k", "nsynth_ae", "nsynth_unsupervised"])
def test_presets_of_every_kind_train_on_a_data_set_of_their_rates_and_play(tmp_path, preset):
    config = load_preset(preset, **SMALL, fft_sizes=(256,), perceptual_weight=0.0)
    if config.f0_encoder != "none":
        config = replace(config, f0_encoder="tiny")
    room = {"reverb_length": 500, "reverb_frames": 5} if config.reverb_length else {}
    config = replace(config, n_samples=config.sample_rate // 5, **room)
    sound = write_tone(tmp_path / "tone.wav", 330.0, 0.4)
    prepare([sound], tmp_path / "data", sample_rate=config.sample_rate, frame_rate=config.frame_rate, progress=False)
    fit(tmp_path / "run", str(tmp_path / "data"), 2, config=config)
    loaded = load_instrument(tmp_path / "run")
    heard = listen(loaded, tone(440.0, 0.2, config.sample_rate))
    assert ("power_db" in heard) == preset.startswith("vst") and ("z" in heard) == preset.startswith("nsynth")
    audio = play(loaded, **heard)
    assert len(audio) == config.n_samples and np.abs(audio).max() > 1e-6


def test_a_midi_autoencoder_learns(tmp_path, data):
    fit(tmp_path / "run", data, 16, config=SMALLEST_MIDI, learning_rate=1e-2)
    log = EventAccumulator(str(tmp_path / "run" / "logs")).Reload()
    for name in ("spectral_loss_synth", "f0_reconstruction"):
        losses = [event.value for event in log.Scalars(f"train/{name}")]
        assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_scores_of_a_data_set_go_before_notes_that_are_read_off_its_pitch(data):
    module = MidiModule(SMALLEST_MIDI)
    batch = {name: x[None] for name, x in SoundWindows(data, 0.2)[0].items()}
    assert module.outputs_and_losses(batch)[0]["q_pitch"].eq(62).any()  # 300 Hz
    score = torch.zeros(1, 50, 128)
    score[..., 50] = 1.0
    assert module.outputs_and_losses({**batch, "note_active_velocities": score})[0]["q_pitch"].eq(50).all()


def test_inverse_synthesis_learns_from_recordings_only_when_told_to(tmp_path, data):
    for finetune in (False, True):
        module = InverseModule(replace(SMALLEST_INVERSE, finetune=finetune)).train()
        windows = SoundWindows(data, 0.192)
        batch = {name: x[None] for name, x in windows[0].items()}
        totals = []
        for audio in (batch["audio"], 0.5 * batch["audio"]):
            torch.manual_seed(0)
            _, losses = module.outputs_and_losses({**batch, "audio": audio})
            totals.append(losses["total_loss"].item())
        assert (totals[0] != totals[1]) == finetune


def test_rates_of_model_and_data_must_agree(tmp_path, data):
    with pytest.raises(ValueError, match="sample_rate of the data set is 16000, of the model 48000"):
        fit(tmp_path / "run", data, 1, config=ModelConfig(**{**SIZES, "sample_rate": 48000, "n_samples": 9600}))


def test_a_loss_that_is_not_finite_stops_training(tmp_path, data):
    with pytest.raises(RuntimeError, match=r"the loss is nan at step 1: resume .* with a lower learning_rate"):
        fit(tmp_path / "run", data, 8, spoil=Spoil(weights_at=1))


def test_weights_that_are_not_finite_never_replace_a_checkpoint(tmp_path, data):
    fit(tmp_path / "run", data, 3)
    with pytest.raises(RuntimeError, match=r"is not finite at step 4: .*last\.ckpt stays as it was"):
        fit(tmp_path / "run", data, 4, ckpt_path=tmp_path / "run" / LAST, spoil=Spoil(gradients_at=3))
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint["global_step"] == 3
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


def test_a_resumed_run_takes_a_new_learning_rate(tmp_path, data):
    fit(tmp_path / "run", data, 3, learning_rate=1e-3)
    _, trainer = fit(tmp_path / "run", data, 5, ckpt_path=tmp_path / "run" / LAST, learning_rate=1e-4)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4 * 0.98 ** (5 / 10_000), rel=1e-12)


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_harmonics_start_with_the_given_slope(slope):
    decoder = InstrumentModule(SMALLEST, initial_slope=slope).model.decoder
    with torch.no_grad():
        decoder.dense_out.weight.zero_()
    ones = torch.ones(1, 3, 1)
    weights = exp_sigmoid(decoder({"ld_scaled": ones, "f0_scaled": ones})["harmonic_distribution"])[0, 0]
    expected = torch.arange(1, 5) ** -slope
    torch.testing.assert_close(weights / weights[0], expected, rtol=1e-5, atol=0)


def test_the_context_of_a_window_does_not_count_in_the_loss(data):
    def loss_of(audio, **settings):
        torch.manual_seed(0)
        module = InstrumentModule(SMALLEST, **settings)
        module.log = module.log_dict = lambda *args, **kwargs: None
        torch.manual_seed(0)
        return module.training_step({**batch, "audio": audio}, 0).item()

    windows = SoundWindows(data, 0.2)
    batch = {name: torch.stack([windows[i][name] for i in range(2)]) for name in windows[0]}
    other = batch["audio"].clone()
    other[:, :1600] += 0.1
    assert loss_of(other, context_seconds=0.1) == loss_of(batch["audio"], context_seconds=0.1)
    assert loss_of(other) != loss_of(batch["audio"])


@pytest.mark.parametrize("context_seconds", [-0.1, 0.2])
def test_a_context_that_leaves_nothing_to_learn_from_is_refused(context_seconds):
    with pytest.raises(ValueError, match=r"less than a window, 0\.2 s, got"):
        InstrumentModule(SMALLEST, context_seconds=context_seconds)


IN_ROOM = replace(SMALLEST, reverb_length=1600)


def test_a_room_may_have_a_learning_rate_of_its_own(tmp_path, data):
    rates = {"learning_rate": 1e-3, "room_learning_rate": 1e-2, "decay": 0.5}
    module, _ = fit(tmp_path / "run", data, 4, config=IN_ROOM, **rates)
    groups = module.optimizers().param_groups
    assert [len(group["params"]) for group in groups] == [len(list(module.parameters())) - 1, 1]
    assert [group["lr"] for group in groups] == pytest.approx([rate * 0.5**4e-4 for rate in (1e-3, 1e-2)])
    resumed, _ = fit(tmp_path / "run", data, 6, config=IN_ROOM, ckpt_path=tmp_path / "run" / LAST, **rates)
    whole, _ = fit(tmp_path / "whole", data, 6, config=IN_ROOM, **rates)
    for expected, value in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_rates_rise_from_0_while_warming_up():
    module = InstrumentModule(SMALLEST, decay=0.5, warmup_steps=4)
    assert [module._rate_factor(step) for step in (0, 1, 3, 4)] == pytest.approx([0.25, 0.5, 1.0, 1.0], rel=1e-3)
    assert module._rate_factor(10_000) == 0.5
    assert InstrumentModule(SMALLEST, decay=0.5)._rate_factor(0) == 1.0
    with pytest.raises(ValueError, match="warmup_steps must not be negative, got -1"):
        InstrumentModule(SMALLEST, warmup_steps=-1)


WITH_Z = replace(SMALLEST, z_dims=2, z_rnn_channels=3)


def noises(count):
    """A batch of as many different sounds."""
    generator = torch.Generator().manual_seed(0)
    return {
        "audio": torch.rand(count, WITH_Z.n_samples, generator=generator) - 0.5,
        "f0_hz": torch.full((count, WITH_Z.n_frames), 440.0),
        "loudness_db": torch.full((count, WITH_Z.n_frames), -20.0),
    }


@pytest.mark.parametrize("semitones", [-12.0, -5.0, 3.0, 12.0])
def test_a_tape_that_runs_faster_sounds_higher(semitones):
    speed = 2.0 ** (semitones / 12.0)
    played = at_speed(torch.from_numpy(tone(300.0, 0.4)), speed, 64)
    assert len(played) % 64 == 0 and len(played) == pytest.approx(6400 / speed, abs=32)
    spectrum = torch.fft.rfft(played * torch.hann_window(len(played))).abs()
    assert spectrum.argmax() * 16000 / len(played) == pytest.approx(300.0 * speed, rel=0.01)
    level = torch.from_numpy(tone(300.0, 0.4)).square().mean()
    assert played.square().mean().item() == pytest.approx(level.item(), rel=0.01)


def test_only_the_encoder_hears_batches_at_another_speed_and_only_in_training():
    module = InstrumentModule(WITH_Z, z_semitones=12.0)
    heard = []
    module.model.encoder.register_forward_pre_hook(lambda encoder, inputs: heard.append(inputs[0]["audio"].shape[-1]))
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = [module.model(noises(2)) for _ in range(40)]
    n_samples = WITH_Z.n_samples
    assert 10 < heard.count(n_samples) < 30
    assert n_samples // 2 <= min(heard) < 0.7 * n_samples and 1.5 * n_samples < max(heard) <= 2 * n_samples
    assert all(out["z"].shape == (2, WITH_Z.n_frames, 2) for out in outputs)
    assert all(torch.equal(out["audio"], noises(2)["audio"]) for out in outputs)
    heard.clear()
    module.eval().model(noises(2))
    assert heard == [n_samples]


@pytest.mark.parametrize(
    ("config", "semitones", "message"),
    [
        (SMALLEST, 12.0, "z_semitones needs a model with z"),
        (replace(WITH_Z, f0_encoder="tiny"), 12.0, "without an f0_encoder"),
        (WITH_Z, -1.0, "z_semitones must not be negative, got -1"),
    ],
)
def test_a_speed_that_no_encoder_of_z_could_hear_is_refused(config, semitones, message):
    with pytest.raises(ValueError, match=message):
        InstrumentModule(config, z_semitones=semitones)
