import json

import pytest
import soundfile

from fastddsp.demo import demo


def test_the_demo_writes_sounds_pictures_and_measures(tmp_path, capsys):
    out = tmp_path / "demo"
    report = demo(str(out), steps=3)
    assert report == json.loads((out / "metrics.json").read_text())
    assert report["training"]["steps"] == 3
    assert report["held_out"]["loudness_l1_db"] > 0
    assert 0 <= report["held_out"]["paper_f0_outliers"] <= 1
    seconds = {path.stem: soundfile.info(path).duration for path in out.glob("*.wav")}
    assert seconds.keys() == {
        "held_out_recording",
        "held_out_resynthesized",
        "held_out_octave_down",
        "flute_recording",
        "flute_played_by_violin",
    }
    assert seconds["held_out_resynthesized"] == seconds["held_out_recording"] > 29
    assert seconds["flute_played_by_violin"] == pytest.approx(seconds["flute_recording"], abs=0.004)  # a frame
    assert {path.stem for path in out.glob("*.png")} == {"held_out", "flute"}
    said = capsys.readouterr().err
    assert all(f"{name}.wav" in said for name in seconds)
    with pytest.raises(FileExistsError, match="is not empty: choose another folder with --out"):
        demo(str(out))
