"""Weights in and out of a model."""

import numpy as np
import pytest
import torch

from fastddsp.models.presets import ModelConfig, build
from fastddsp.models.weights import load_magenta_arrays, load_weights, save_weights, to_magenta_arrays

SMALL = {"rnn_channels": 3, "fc_channels": 2, "layers_per_stack": 1, "n_harmonics": 4, "reverb_length": 5}


@pytest.fixture
def model():
    return build(ModelConfig(**SMALL, z_dims=2, z_rnn_channels=3))


def test_magenta_arrays_survive_the_round_trip(model):
    random = np.random.RandomState(0)
    arrays = {name: random.randn(*x.shape).astype(np.float32) for name, x in to_magenta_arrays(model).items()}
    load_magenta_arrays(model, arrays)
    for name, array in to_magenta_arrays(model).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_names_are_magentas(model):
    names = set(to_magenta_arrays(model))
    assert {"encoder.z_norm.scale", "decoder.rnn.recurrent_kernel", "decoder.input_stacks.2.0.norm.gamma"} <= names
    assert "reverb.ir" in names


def test_missing_unknown_and_misshapen_arrays_are_named_and_nothing_is_loaded(model):
    arrays, before = to_magenta_arrays(model), to_magenta_arrays(model)
    with pytest.raises(ValueError, match=r"must hold \['reverb.ir'\]"):
        load_magenta_arrays(model, {k: v for k, v in arrays.items() if k != "reverb.ir"})
    with pytest.raises(ValueError, match=r"the model has no \['decoder.rnn.kernle'\]"):
        load_magenta_arrays(model, {**arrays, "decoder.rnn.kernle": np.zeros(1)})
    misshapen = {name: np.zeros_like(x) for name, x in arrays.items()} | {"reverb.ir": np.zeros(6)}
    with pytest.raises(ValueError, match=r"reverb.ir must be \[5\], got \[6\]"):
        load_magenta_arrays(model, misshapen)
    after = to_magenta_arrays(model)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_a_processors_own_weight_may_keep_magentas_underscore(model):
    arrays = to_magenta_arrays(model)
    arrays["reverb._ir"] = arrays.pop("reverb.ir") + 1
    load_magenta_arrays(model, arrays)
    np.testing.assert_array_equal(model.processor_group.reverb.ir.detach().numpy(), arrays["reverb._ir"])


def test_a_weight_file_keeps_weights_and_metadata(model, tmp_path):
    pytest.importorskip("safetensors")
    save_weights(model, tmp_path / "violin.safetensors", {"instrument": "violin"})
    other = build(ModelConfig(**SMALL, z_dims=2, z_rnn_channels=3))
    assert load_weights(other, tmp_path / "violin.safetensors") == {"instrument": "violin"}
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_file_of_another_kind_version_or_model_is_refused(model, tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "file.safetensors"
    safetensors.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="must hold fastddsp weights"):
        load_weights(model, path)
    save_weights(build(ModelConfig(**SMALL)), path)
    with pytest.raises(ValueError, match="weights of another model"):
        load_weights(model, path)
    monkeypatch.setattr("fastddsp.models.weights.FORMAT_VERSION", "2")
    with pytest.raises(ValueError, match="must be of format version 2, got 1"):
        load_weights(model, path)
