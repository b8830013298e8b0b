"""Preprocessors against the reference."""

import pytest
import torch

from fastddsp.models import preprocessing
from tests.golden import compare, load
from tests.models.test_crepe import needs_weights, tone

CASES = load("preproc.npz")


@pytest.mark.parametrize("case", [case for case in CASES if "Preprocessor" in case.function], ids=str)
def test_preprocessors_agree_with_the_reference(case):
    preprocessor = getattr(preprocessing, case.function.split(".")[-1])(**case.meta["init"])
    compare.check(case, lambda *inputs: preprocessor(dict(zip(case.inp, inputs, strict=True))))


@pytest.mark.golden
def test_scalings_agree_with_the_reference_and_invert_each_other():
    case = next(case for case in CASES if case.name == "scalings")

    def scalings(u):
        return {
            "inv_scale_db": preprocessing.inv_scale_db(u),
            "inv_scale_f0_hz": preprocessing.inv_scale_f0_hz(u),
            "scale_db": preprocessing.scale_db(-80 * u),
            "scale_f0_hz": preprocessing.scale_f0_hz(4000 * u),
        }

    compare.check(case, scalings)
    f0_hz, db = torch.tensor([55.0, 440.0]), torch.tensor([-70.0, 0.0])
    restored = preprocessing.F0LoudnessPreprocessor.invert_scaling(
        preprocessing.scale_f0_hz(f0_hz), preprocessing.scale_db(db)
    )
    torch.testing.assert_close(restored, (f0_hz, db))


def test_inputs_may_be_tensors_as_in_the_reference():
    preprocessor = preprocessing.F0LoudnessPreprocessor(time_steps=4, compute_loudness=False)
    out = preprocessor(torch.zeros(2, 8), torch.full((2, 8), 440.0))
    assert {key: list(x.shape) for key, x in out.items()} == {key: [2, 4, 1] for key in out}


def test_without_time_steps_frames_follow_the_audio_or_else_f0():
    preprocessor = preprocessing.F0LoudnessPreprocessor(time_steps=None)
    f0_hz, audio = torch.full((1, 26), 440.0), torch.randn(1, 1601)
    assert preprocessor({"f0_hz": f0_hz, "audio": audio})["ld_scaled"].shape == (1, 26, 1)
    assert preprocessor({"f0_hz": f0_hz, "audio": audio[:, :1600]})["f0_scaled"].shape == (1, 25, 1)
    assert preprocessor({"f0_hz": f0_hz, "loudness_db": torch.zeros(1, 9)})["ld_scaled"].shape == (1, 26, 1)


def test_a_missing_feature_is_named():
    preprocessor = preprocessing.F0LoudnessPreprocessor()
    with pytest.raises(ValueError, match="loudness_db, or audio to compute it from, must be given"):
        preprocessor({"f0_hz": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="f0_hz must be given"):
        preprocessor({"loudness_db": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="power_db, or audio"):
        preprocessing.F0PowerPreprocessor()({"f0_hz": torch.zeros(1, 3)})


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 1)])
def test_at_least_3d_adds_time_then_batch_then_channel(shape):
    expected = (1,) * (2 - len(shape)) + shape + (1,) if len(shape) < 3 else shape
    assert preprocessing.at_least_3d(torch.zeros(shape)).shape == expected


def test_features_that_are_given_must_have_the_frames_of_the_audio():
    preprocessor = preprocessing.OnlineF0PowerPreprocessor(frame_rate=50, compute_f0=False)
    features = {"audio": torch.randn(1, 3200), "f0_hz": torch.ones(1, 10), "f0_confidence": torch.ones(1, 11)}
    with pytest.raises(ValueError, match=r"f0_hz must have 11 frames, as 3200 samples .* padding 'center', got 10"):
        preprocessor(features)
    with pytest.raises(ValueError, match="f0_hz, f0_confidence and pw_db must be given where"):
        preprocessor({"audio": features["audio"], "f0_hz": torch.ones(1, 11)})
    with pytest.raises(ValueError, match="crepe_saved_model_path must be given with compute_f0"):
        preprocessing.OnlineF0PowerPreprocessor(crepe_saved_model_path=None)


def test_audio_at_16_khz_goes_before_audio_at_another_rate():
    preprocessor = preprocessing.OnlineF0PowerPreprocessor(frame_rate=50, compute_f0=False)
    audio, f0 = torch.randn(1, 3200), torch.ones(1, 11)
    features = {"audio_16k": audio, "f0_hz": f0, "f0_confidence": f0}
    actual = preprocessor({**features, "audio": torch.randn(1, 9600)})
    torch.testing.assert_close(actual, preprocessor({**features, "audio": audio}))


@needs_weights
@pytest.mark.parametrize("padding", ["center", "same", "valid"])
def test_f0_and_power_come_from_the_audio(padding):
    preprocessor = preprocessing.OnlineF0PowerPreprocessor(
        frame_rate=100, padding=padding, crepe_saved_model_path="tiny", viterbi=True
    )
    audio = tone(220.0, 0.3)[None].requires_grad_()
    features = preprocessor(audio)
    inside = features["f0_hz"][0, 4:-7, 0]
    assert ((inside / 220.0).log2().abs() < 20 / 1200).all()
    assert not features["f0_hz"].requires_grad
    assert features["pw_db"].requires_grad
