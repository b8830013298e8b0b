"""Settings of whole models."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastddsp.models.inverse_synthesis import InverseConfig
from fastddsp.models.midi_autoencoder import MidiConfig
from fastddsp.models.presets import ModelConfig, build, config_of, load_preset, preset_names
from fastddsp.models.weights import load_weights, save_weights, to_magenta_arrays
from tests.models.test_crepe import needs_weights


def count(module):
    return sum(p.numel() for p in module.parameters())


PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
# Rows of the page's table: preset, then weights of encoder, decoder and reverb, and their sum.
NUMBER = r" +\| +([\d,]+)"
TABLE = {
    name: [int(n.replace(",", "")) for n in row] for name, *row in re.findall(rf"^\| `(\w+)`{NUMBER * 4} ", PAGE, re.M)
}


def fc(n_inputs, ch):
    """Linear layer and LayerNorm."""
    return n_inputs * ch + ch + 2 * ch


def gru(n_inputs, units):
    return 3 * units * (n_inputs + units + 2)


def rnn_fc_decoder(inputs, units, ch, layers, n_out):
    """Weights of an RnnFcDecoder, layer by layer."""
    first = [fc(n, ch) + (layers - 1) * fc(ch, ch) if layers else 0 for n in inputs]
    n_latents = len(inputs) * ch if layers else sum(inputs)
    last = fc(n_latents + units, ch) + (layers - 1) * fc(ch, ch) if layers else 0
    width = ch if layers else n_latents + units
    return sum(first) + gru(n_latents, units) + last + width * n_out + n_out


def mfcc_encoder(units, z_dims):
    return 2 * 30 + gru(30, units) + units * z_dims + z_dims


def resnet(ch, blocks):
    """Weights of a ResNet: convolutions of 7, 1 and 3 taps each way with biases, normalizations of 2 a channel."""
    total, n = 64 * (49 + 1), 64
    for width, n_layers in ((ch, blocks[0]), (2 * ch, blocks[1]), (4 * ch, blocks[2]), (8 * ch, 3)):
        for i in range(n_layers):
            total += 2 * n + (n + 1) * width + 2 * width + (9 * width + 1) * width + 2 * width + (width + 1) * 4 * width
            total += (n + 1) * 4 * width if i == 0 else 0
            n = 4 * width
        total += 2 * n if width >= 4 * ch else 0
    return total


RESNET_F0 = resnet(32, (2, 3, 4)) + 8 * 1024 * 128 + 128
EXPECTED = {  # encoder, decoder, reverb
    "nsynth_ae": (mfcc_encoder(512, 16), rnn_fc_decoder((1, 1, 16), 512, 512, 3, 166), 0),
    "nsynth_unsupervised": (RESNET_F0 + mfcc_encoder(512, 16), rnn_fc_decoder((1, 1, 16), 512, 512, 3, 166), 0),
    "solo_instrument": (0, rnn_fc_decoder((1, 1), 512, 512, 3, 126), 48_000),
    "tiny_instrument": (0, rnn_fc_decoder((1, 1), 256, 512, 0, 126), 48_000),
    "vst_16k": (0, rnn_fc_decoder((1, 1), 512, 256, 1, 126), 500 * 32),
    "vst_32k": (0, rnn_fc_decoder((1, 1), 512, 256, 1, 199), 500 * 32),
    "vst_48k": (0, rnn_fc_decoder((1, 1), 512, 256, 1, 199), 500 * 32),
    "violin_48k": (0, rnn_fc_decoder((1, 1), 512, 512, 3, 530), 96_000),
    "high_harmonic": (0, rnn_fc_decoder((1, 1), 512, 512, 3, 1130), 96_000),
}
AUTOENCODERS = list(EXPECTED)


def rnn_sandwich(n_inputs):
    return fc(n_inputs, 256) + fc(256, 256) + gru(256, 512) + fc(512, 256) + fc(256, 256)


def conv_stack(n_inputs, layers):
    return 3 * n_inputs * 128 + 128 + layers * (3 * 128 * 128 + 128 + 2 * 128)


SINUSOIDS = resnet(32, (2, 3, 4)) + (8 * 1024 + 1) * (100 * 64 + 100 + 65)
HARMONICS = rnn_sandwich(2 * 100) + (256 + 1) * (1 + 100 + 64)
NOTES = conv_stack(127, 20) + 2 * 128 + 129 * 2
SYNTHCODER, OF_NOTES = conv_stack(2, 18) + 129 * 126, conv_stack(1, 20) + 2 * 128 + 129 * 127
EXPECTED |= {
    "inverse_synthesis": (SINUSOIDS + HARMONICS, 0, 0),
    "midi_autoencoder": (NOTES, SYNTHCODER + OF_NOTES, 500 * 32),
}
PARTS = {
    ModelConfig: (("encoder",), ("decoder",), ("processor_group",)),
    InverseConfig: (("sinusoidal_encoder", "harmonic_encoder"), (), ("processor_group",)),
    MidiConfig: (("midi_encoder",), ("synthcoder", "midi_decoder"), ("processor_group",)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_presets_have_the_weights_that_their_layers_and_the_page_say(name):
    model = build(load_preset(name, **({"perceptual_weight": 0.0} if name in AUTOENCODERS else {})))
    named = PARTS[type(load_preset(name))]
    parts = [sum(count(getattr(model, part)) for part in names if getattr(model, part)) for names in named]
    assert parts == list(EXPECTED[name])
    assert [*parts, count(model)] == TABLE[name]


def test_the_networks_of_the_paper_have_the_size_that_it_gives():
    millions = {name: sum(row[:2]) / 1e6 for name, row in TABLE.items()}
    assert round(millions["nsynth_ae"]) == 7
    assert millions["tiny_instrument"] == pytest.approx(0.24, abs=0.01)
    assert millions["solo_instrument"] == pytest.approx(4.80, abs=0.005)  # the paper's 6 M: see the page


def test_presets_are_listed_and_some_have_short_names():
    assert preset_names() == sorted(TABLE) == sorted(EXPECTED)
    for short, name in {"tiny": "tiny_instrument", "solo": "solo_instrument", "vst": "vst_16k"}.items():
        assert load_preset(short) == load_preset(name)


def test_the_defaults_are_the_solo_instrument():
    assert load_preset("solo_instrument") == ModelConfig()


def test_a_setting_is_given_once_and_reaches_every_part():
    config = load_preset("tiny", sample_rate=48000, frame_rate=50, n_samples=9600, n_harmonics=7, n_noise_bands=9)
    assert (config.hop_size, config.n_frames) == (960, 10)
    model = build(config)
    outputs = model({"f0_hz": torch.full((1, 10), 4000.0), "loudness_db": torch.zeros(1, 10)})
    assert outputs["audio_synth"].shape == (1, 9600)
    assert outputs["noise_magnitudes"].shape == (1, 10, 9)
    distribution = outputs["harmonic"]["controls"]["harmonic_distribution"]
    assert distribution[..., :5].gt(0).all() and not distribution[..., 5:].any()  # 6 x 4000 Hz is Nyquist
    assert model.preprocessor.sample_rate == 48000


def test_a_config_survives_plain_values(tmp_path):
    yaml = pytest.importorskip("yaml")
    config = load_preset("nsynth_ae", fft_sizes=[64, 32])
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config.to_dict()))
    assert load_preset(path) == config == ModelConfig(**config.to_dict())


def test_the_noise_of_a_preset_may_glide():
    assert build(load_preset("tiny", noise_overlap=True)).processor_group.filtered_noise.overlap
    assert not build(load_preset("tiny")).processor_group.filtered_noise.overlap


@pytest.mark.parametrize("name", ["inverse_synthesis", "midi_autoencoder"])
def test_other_models_are_presets_too_and_their_settings_survive_plain_values(name):
    config = load_preset(name, n_harmonics=7)
    assert config.to_dict()["model"] == name and config.n_harmonics == 7
    assert config_of(config.to_dict()) == config
    assert config.n_samples % config.hop_size == 0


def test_a_reverb_may_begin_as_a_room():
    silent, room = (build(ModelConfig(reverb_rt60=rt60)).processor_group.reverb for rt60 in (0.0, 0.5))
    assert silent.decay is None and room.decay[8000] == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="reverb_rt60 must not be negative"):
        ModelConfig(reverb_rt60=-1.0)


def test_a_room_may_learn_the_decay_of_every_octave():
    room = build(ModelConfig(reverb_rt60=0.5, reverb_octaves=6)).processor_group.reverb
    assert room.octave_decay.shape == (6,)
    with pytest.raises(ValueError, match="reverb_octaves must not be negative"):
        ModelConfig(reverb_rt60=0.5, reverb_octaves=-1)
    with pytest.raises(ValueError, match="reverb_octaves needs a reverb_rt60"):
        ModelConfig(reverb_octaves=6)


def test_without_reverb_the_sum_is_the_output():
    model = build(load_preset("tiny", reverb_length=0))
    assert model.processor_group.module_names == ["harmonic", "filtered_noise", "add"]


SMALL = {"rnn_channels": 8, "fc_channels": 8, "z_rnn_channels": 4, "conv_channels": 8, "conv_layers": 2}
SMALL_SOUND = {"n_harmonics": 12, "n_noise_bands": 9, "reverb_length": 40, "reverb_frames": 10, "reverb_bands": 8}


def recording(config, frames=10):
    generator = torch.Generator().manual_seed(0)
    n_samples = frames * config.hop_size
    return {
        "audio": 0.1 * torch.randn(2, n_samples, generator=generator),
        "f0_hz": torch.full((2, frames), 100.0),
        "loudness_db": torch.full((2, frames), -30.0),
    }


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_every_autoencoder_trains(name):
    config = load_preset(name, **SMALL, **SMALL_SOUND, fft_sizes=(128, 64), perceptual_weight=0.0)
    model, given = build(config), recording(config)
    outputs, losses = model(given, return_losses=True)
    losses["total_loss"].backward()
    assert outputs["audio_synth"].shape == given["audio"].shape
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad.any() for p in model.parameters() if p.dim() > 1 and p.shape[-1] > 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "dilated_conv", "z_dims": 3, "z_encoder": "global"},
        {"decoder": "dilated_conv", "level": "power", "frame_rate": 50, "n_samples": 3200},
        {"delta_time_weight": 1.0, "delta_freq_weight": 1.0, "cumsum_freq_weight": 0.1, "loss_type": "L2"},
        {"noise_overlap": True, "reverb_type": "filtered_noise"},
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_other_settings_train(settings):
    config = load_preset("tiny", **{**SMALL, **SMALL_SOUND, "fft_sizes": (128, 64), **settings})
    model = build(config)
    _, losses = model(recording(config), return_losses=True)
    losses["total_loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_48_khz_violin_with_gliding_noise_and_2_s_of_reverb_is_a_yaml_file(tmp_path):
    pytest.importorskip("yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{sample_rate: 48000, n_samples: 192000, n_harmonics: 400, noise_overlap: true, reverb_length: 96000}"
    )
    model = build(load_preset(path))
    group = model.processor_group
    assert group.harmonic.sample_rate == 48000 and dict(model.decoder.output_splits)["harmonic_distribution"] == 400
    assert group.filtered_noise.overlap and group.reverb.ir.shape == (2 * 48000,)


def test_the_unsupervised_model_hears_f0_in_the_audio_and_not_in_the_features():
    config = load_preset("nsynth_unsupervised", **SMALL, **SMALL_SOUND, perceptual_weight=0.0)
    model, given = build(config), recording(config)
    outputs = model(given)
    assert not torch.equal(outputs["f0_hz"], given["f0_hz"][..., None])
    without = {name: x for name, x in given.items() if name != "f0_hz"}
    assert torch.equal(model(without)["f0_hz"], outputs["f0_hz"])
    outputs["audio_synth"].square().sum().backward()
    assert model.encoder[0].dense_out.weight.grad.any()


@needs_weights
def test_a_perceptual_loss_is_added_and_its_network_is_neither_trained_nor_saved(tmp_path):
    config = load_preset("tiny", **SMALL, **SMALL_SOUND, fft_sizes=(128,), perceptual_weight=0.5)
    model = build(config)
    _, losses = model(recording(config, frames=20), return_losses=True)
    assert losses.keys() == {"spectral_loss", "pretrained_crepe_embedding_loss", "total_loss"}
    losses["total_loss"].backward()
    assert all(p.grad is None for p in model.loss_objs.parameters())
    assert not any(name.startswith("loss_objs") for name in to_magenta_arrays(model))
    pytest.importorskip("safetensors")
    save_weights(model, tmp_path / "weights.safetensors")
    player = build(load_preset("tiny", **SMALL, **SMALL_SOUND))
    load_weights(player, tmp_path / "weights.safetensors")
    load_weights(model, tmp_path / "weights.safetensors")
    assert torch.equal(player.decoder.dense_out.weight, model.decoder.dense_out.weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_harmonic": 3}, "no setting 'n_harmonic': did you mean 'n_harmonics'?"),
        ({"banana": 3}, "no setting 'banana': there are sample_rate"),
        ({"n_harmonics": 0}, "n_harmonics must be at least 1, got 0"),
        ({"reverb_length": -1}, "reverb_length must not be negative, got -1"),
        ({"n_noise_bands": 1}, "n_noise_bands must be at least 2, got 1"),
        ({"frame_rate": 300}, r"frame_rate must divide sample_rate \(16000\), got 300"),
        ({"n_samples": 100}, "n_samples must be a multiple of the hop, 64 samples, got 100"),
        ({"level": "volume"}, r"level must be one of \['loudness', 'power'\], got 'volume'"),
        ({"f0_encoder": "huge"}, "f0_encoder must be one of"),
        ({"f0_encoder": "small", "level": "power"}, 'level must be "loudness" with an f0_encoder'),
        ({"perceptual_weight": 1.0, "sample_rate": 48000, "n_samples": 192}, "must be 16000, which CREPE hears"),
    ],
)
def test_wrong_settings_are_explained(settings, message):
    with pytest.raises(ValueError, match=message):
        load_preset("tiny", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "oracle"}, r"model must be one of \['autoencoder', 'inverse_synthesis', 'midi_autoencoder'\], got"),
        ({"model": "inverse_synthesis", "rnn_channels": 3}, "a model has no setting 'rnn_channels'"),
        ({"model": "inverse_synthesis", "size": "huge"}, "size must be one of"),
        ({"model": "inverse_synthesis", "n_noise_bands": 1}, "n_noise_bands must be at least 2, got 1"),
        ({"model": "inverse_synthesis", "n_samples": 700}, "n_samples must be a multiple of the encoder's hop, 512"),
        ({"model": "midi_autoencoder", "reverb_length": -1}, "reverb_length must be at least 0, got -1"),
        ({"model": "midi_autoencoder", "frame_rate": 300}, r"frame_rate must divide sample_rate \(16000\), got 300"),
        ({"model": "midi_autoencoder", "n_samples": 100}, "n_samples must be a multiple of the hop, 64 samples, got"),
    ],
)
def test_wrong_settings_of_other_models_are_explained(settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(settings)


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match="presets are high_harmonic, inverse_synthesis"):
        load_preset("tuba")


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1")
    with pytest.raises(ValueError, match="must hold a mapping of settings, got list"):
        load_preset(path)


def test_without_pyyaml_the_extra_is_named_and_keywords_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r'pip install "fastddsp\[train\]"'):
        load_preset("tiny")
    assert count(build(ModelConfig(rnn_channels=2, layers_per_stack=0))) > 0


def test_models_need_no_extra_to_import():
    code = "import sys, fastddsp.models.presets; assert not {'yaml', 'safetensors', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
