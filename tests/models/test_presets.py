"""Settings of whole models."""

import subprocess
import sys

import pytest
import torch

from fastddsp.models.presets import ModelConfig, build, load_preset, preset_names


def count(module):
    return sum(p.numel() for p in module.parameters())


# The networks of magenta/ddsp's configurations, to the weight; models_full_size.npz lists the shapes of the first one.
@pytest.mark.parametrize(
    ("name", "network", "reverb"),
    [("solo_instrument", 4_801_150, 48_000), ("tiny_instrument", 232_314, 48_000), ("nsynth_ae", 7_251_186, 0)],
)
def test_presets_have_the_reference_number_of_weights(name, network, reverb):
    model = build(load_preset(name))
    assert count(model) == network + reverb
    assert count(model.processor_group) == reverb


def test_presets_are_listed_and_tiny_has_a_short_name():
    assert preset_names() == ["nsynth_ae", "solo_instrument", "tiny_instrument"]
    assert load_preset("tiny") == load_preset("tiny_instrument")


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


def test_without_reverb_the_sum_is_the_output():
    model = build(load_preset("tiny", reverb_length=0))
    assert model.processor_group.module_names == ["harmonic", "filtered_noise", "add"]


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
    ],
)
def test_wrong_settings_are_explained(settings, message):
    with pytest.raises(ValueError, match=message):
        load_preset("tiny", **settings)


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match="presets are nsynth_ae, solo_instrument, tiny_instrument"):
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
