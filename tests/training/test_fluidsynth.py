import pytest

from fastddsp.training.fluidsynth import find_fluidsynth, find_soundfont, render_midi


def test_what_is_missing_is_said_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install fluidsynth fluidr3mono-gm-soundfont"):
        find_fluidsynth()
    monkeypatch.setattr("fastddsp.training.fluidsynth.SOUNDFONTS", ())
    with pytest.raises(FileNotFoundError, match=r"no SoundFont was found: apt-get install .*, or give soundfont=PATH"):
        find_soundfont()
    with pytest.raises(FileNotFoundError, match=r"no such SoundFont: .*absent\.sf2"):
        find_soundfont(tmp_path / "absent.sf2")


def test_a_file_that_is_no_soundfont_is_refused(tmp_path):
    (tmp_path / "a.sf2").write_bytes(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(ValueError, match="is no SoundFont"):
        find_soundfont(tmp_path / "a.sf2")
    (tmp_path / "a.sf2").write_bytes(b"RIFF\0\0\0\0sfbk")
    assert find_soundfont(tmp_path / "a.sf2") == tmp_path / "a.sf2"


def test_what_fluidsynth_says_of_a_failure_is_passed_on(monkeypatch, tmp_path):
    program = tmp_path / "fluidsynth"
    program.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(RuntimeError, match=r"fluidsynth failed \(3\): no such luck"):
        render_midi(b"", "a.sf2", 16000)
