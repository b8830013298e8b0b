import numpy as np
import pytest

from fastddsp.training.figures import (
    HOP,
    N_FFT,
    comparison_figure,
    distribution_figure,
    save_figure,
    spectrogram_db,
    spectrogram_figure,
)
from tests.training.sounds import tone


def test_a_full_scale_sine_is_at_zero_decibels_in_its_bin():
    bin_of_sine = 64
    sine = np.sin(2 * np.pi * bin_of_sine * np.arange(16000) / N_FFT).astype(np.float32)
    level = spectrogram_db(sine)
    assert level.shape == (N_FFT // 2 + 1, 16000 // HOP + 1)
    middle = level[:, 20:-20]
    assert (middle.argmax(axis=0) == bin_of_sine).all()
    assert middle[bin_of_sine] == pytest.approx(0.0, abs=0.01)


def test_a_figure_has_one_panel_per_sound_and_becomes_a_picture(tmp_path):
    figure = spectrogram_figure({"one": tone(), "two": tone(300.0)}, 16000)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["one", "two"]
    save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_comparison_draws_pitch_only_where_it_is_confident():
    confidence = np.repeat([1.0, 0.0], 125)
    curves = {"f0_hz": np.full(250, 440.0), "f0_confidence": confidence, "loudness_db": np.linspace(-40, -20, 250)}
    sides = {"recording": {"audio": tone(440.0), **curves}, "resynthesis": {"audio": tone(440.0), **curves}}
    figure = comparison_figure(sides, 16000, 250, threshold=0.5)
    pitch, loudness = figure.axes[2:4]
    for axis in (pitch, loudness):
        assert [line.get_label() for line in axis.lines] == ["recording", "resynthesis"]
    drawn = pitch.lines[0].get_ydata()
    np.testing.assert_allclose(drawn[:125], 69.0)
    assert np.isnan(drawn[125:]).all()
    np.testing.assert_array_equal(loudness.lines[0].get_xdata()[[0, -1]], [0.0, 249 / 250])


def test_distributions_have_a_panel_each_and_leave_out_what_is_not_known():
    figure = distribution_figure({"a": [1.0, 2.0, np.nan], "b": [np.nan], "c": [0.5], "d": [1.0, 1.0]})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", "d", "", ""]
    counts = [sum(patch.get_height() for patch in axis.patches) for axis in figure.axes[:4]]
    assert counts == [2, 0, 1, 2]
