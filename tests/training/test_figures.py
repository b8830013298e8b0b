import numpy as np
import pytest

from fastddsp.training.figures import HOP, N_FFT, save_figure, spectrogram_db, spectrogram_figure
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
