import re

import numpy as np
import pytest

from fastddsp.training.curves import n_frames_of, pitch_at_frames, read_curve, values_at_frames


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    ["0,1\n0.5,2\n", "time,value\n0,1\n0.5,2", "\ufefft,v,confidence\n0, 1,0.9\n\n0.5, 2,0.8\n"],
    ids=["bare", "named", "blank lines, a third column, a mark of UTF-8"],
)
def test_a_curve_is_two_columns(tmp_path, text):
    times, values = read_curve(write(tmp_path / "curve.csv", text), "f0_csv")
    assert times.tolist() == [0.0, 0.5] and values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "loudness_csv: curve.csv holds no line with a time and a value"),
        ("time,value\n", "loudness_csv: curve.csv holds no line"),
        ("0,1\n1\n", "loudness_csv: line 2 of curve.csv must hold a time and a value, got '1'"),
        ("0,1\n\n1,nan\n", "loudness_csv: line 3 of curve.csv must hold a time and a value, got '1,nan'"),
        ("0,1\n0,2\n", "loudness_csv: the times in curve.csv must rise from 0 s or later"),
        ("-1,1\n0,2\n", "loudness_csv: the times in curve.csv must rise from 0 s or later"),
    ],
)
def test_a_file_that_holds_no_curve_is_refused_with_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "curve.csv", text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_curve("curve.csv", "loudness_csv")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "curve.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="is not a CSV file"):
        read_curve(tmp_path / "curve.csv", "f0_csv")


def test_values_are_linear_between_points_and_stay_beyond_them():
    curve = values_at_frames(np.array([0.1, 0.3]), np.array([-40.0, -20.0]), 5, 10.0)
    np.testing.assert_allclose(curve, [-40, -40, -30, -20, -20])


def test_pitch_is_linear_in_semitones():
    curve = pitch_at_frames(np.array([0.0, 0.4]), np.array([100.0, 400.0]), 6, 10.0)
    np.testing.assert_allclose(curve, 100.0 * 2.0 ** np.array([0, 0.5, 1, 1.5, 2, 2]), rtol=1e-6)


def test_pitch_ends_halfway_to_a_point_without_one_and_stays_until_there():
    times, f0_hz = np.array([0.0, 0.2, 0.6, 1.0, 1.2]), np.array([100.0, 200.0, 0.0, 0.0, 300.0])
    curve = pitch_at_frames(times, f0_hz, 13, 10.0)
    np.testing.assert_allclose(curve[:4], [100, 141.42136, 200, 200], rtol=1e-6)
    np.testing.assert_array_equal(curve[5:11], 0.0)
    np.testing.assert_array_equal(curve[12:], 300.0)


def test_one_point_is_a_constant():
    np.testing.assert_array_equal(pitch_at_frames(np.array([3.0]), np.array([220.0]), 4, 10.0), 220.0)


def test_pitch_needs_a_frame_with_one():
    for f0_hz in ([0.0, 0.0], [100.0, -1.0]):
        with pytest.raises(ValueError, match="f0 must be above 0 Hz somewhere"):
            pitch_at_frames(np.array([0.0, 1.0]), np.array(f0_hz), 4, 10.0)


@pytest.mark.parametrize(("last", "frames"), [(0.0, 1), (0.99, 25), (1.0, 26), (0.3, 8)])
def test_frames_go_up_to_the_last_time(last, frames):
    assert n_frames_of(np.array([0.0, last]), 25) == frames
