import json
import os
import signal
import subprocess
import sys
import time

import pytest
import soundfile
import yaml

from fastddsp import __version__
from fastddsp.cli import COMMANDS, main
from fastddsp.training.checkpoint import CONFIG, LAST, load_checkpoint
from fastddsp.training.dataset import read_manifest
from tests.training.models import SIZES, instrument, save_run, two_tones
from tests.training.sounds import write_tone

TINY = [f"--model.config.{name}={json.dumps(value)}" for name, value in SIZES.items()]
QUICK = ["--preset", "tiny", "--data.batch_size", "2", "--data.hop-seconds", "0.2", *TINY]
SHORT = [*QUICK, "--trainer.max_steps=4", "--checkpoint_every=2", "--trainer.enable_progress_bar=false"]


def fastddsp(*arguments, **options):
    """The command line in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "fastddsp.cli", *map(str, arguments)], env=environment, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(two_tones(tmp_path_factory.mktemp("tones")))


def test_help_comes_at_once():
    code = "import sys; from fastddsp.cli import main; main(['--help']); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    text, _, modules = printed.rstrip().rpartition("\n")
    assert all(f"  {name} " in text for name in COMMANDS)
    assert not {"torch", "numpy", "lightning", "jsonargparse"} & set(modules.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_options(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: fastddsp {command}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "there is no command 'bogus'; there are dataset, "),
        (["prepare"], "arguments are required"),
        (["prepare", "absent.wav", "--out", "data"], "no such file or folder: absent.wav"),
        (["prepare", "absent.wav", "--out", "data", "--fmin", "low"], "fmin"),
        (["prepare", "absent.wav", "--out", "data", "--bogus", "1"], "unrecognized arguments: --bogus"),
        (["prepare", "absent.wav", "--out", "data", "--select.max_pitch", "high"], "max_pitch"),
        (["dataset", "bogus"], "there is no 'bogus'; there are render"),
        (["dataset", "render", "bogus"], "there is no 'bogus'; there are phrases, notes"),
        (["dataset", "render", "notes", "--out", "data", "--instrument", "flut"], "did you mean flute or pan_flute?"),
        (["dataset", "render", "phrases", "--out", "data"], "arguments are required"),
        (["train", "--data", "absent", "--out", "run"], "absent is not a complete data set"),
        (["train", "--data"], "expected one argument"),
        (["train", "--data", "a", "--data", "a", "--out", "run"], "must name data sets, each once, got ['a', 'a']"),
        (["train", "--data", "absent", "--out", "run", "--preset", "bogus"], "no preset and no file 'bogus'"),
        (["train", "--data", "absent", "--out", "run", "--model.config.n_harmonics", "many"], "n_harmonics"),
        (["train", "--out", "absent", "--resume"], "no run in absent to resume"),
        (["resynthesize", "absent", "absent.wav", "--out", "a.wav"], "no trained instrument in absent"),
        (["resynthesize", "absent", "absent.wav", "--out", "a.txt"], "must end in the name of a sound format"),
        (["resynthesize", "absent", "--f0-csv", "f0.csv", "--out", "a.wav"], "no trained instrument in absent"),
        (["dereverb", "absent", "absent.wav", "--out", "a.wav"], "no trained instrument in absent"),
        (["room", "bogus"], "fastddsp room: there is no 'bogus'; there are extract, apply"),
        (["room", "extract", "absent", "--out", "a.mp3"], "must end in the name of a format of 32-bit floats"),
        (["room", "apply", "absent.wav", "tune.wav", "--out", "a.wav"], "no such sound file: tune.wav"),
        (["transfer", "absent", "absent.wav", "--out", "a.wav"], "no trained instrument in absent"),
        (["transfer", "absent", "absent.wav", "--out", "a.wav", "--autotune", "2"], "autotune must be from 0 to 1"),
        (["transfer", "absent", "absent.wav", "--out", "a.wav", "--scale", "minor"], "scale"),
        (["evaluate", "absent", "--out", "results"], "arguments are required"),
        (["evaluate", "absent", "--data", "absent", "--out", "results"], "no trained instrument in absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.startswith("fastddsp")
    assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_where_an_error_was_raised(monkeypatch):
    monkeypatch.setenv("FASTDDSP_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["resynthesize", "absent", "absent.wav", "--out", "a.wav"])


def test_from_recordings_to_a_tune_on_the_new_instrument(tmp_path, capsys):
    for f0 in (300.0, 400.0):
        write_tone(tmp_path / "tones" / f"{f0:g}.wav", f0, 1.0, 44100)
    (tmp_path / "tones" / "broken.wav").write_bytes(b"")
    paths = {name: str(tmp_path / name) for name in ("tones", "data", "run", "out.wav", "results")}
    assert main(["prepare", paths["tones"], "--out", paths["data"], "--fmin", "100"]) == 0
    assert "2 recordings, 0.0 minutes; 0 were already there, 1 skipped" in capsys.readouterr().out
    assert read_manifest(paths["data"])[0].fmin == 100.0

    assert main(["train", "--data", paths["data"], "--out", paths["run"], *SHORT]) == 0
    assert load_checkpoint(paths["run"])["global_step"] == 4
    assert list((tmp_path / "run" / "logs").glob("events*"))

    tune = str(write_tone(tmp_path / "tune.wav", 350.0, 0.5))
    options = ["--pitch-shift", "-12", "--loudness-shift=-3", "--n-harmonics", "3", "--sample-rate", "24000"]
    assert main(["resynthesize", paths["run"], tune, "--out", paths["out.wav"], *options]) == 0
    assert os.path.getsize(paths["out.wav"]) == 44 + 2 * 12000

    capsys.readouterr()
    options = ["--octave", "1", "--loudness-shift=-3", "--autotune", "0.5", "--scale", "major"]
    assert main(["transfer", paths["run"], tune, "--out", paths["out.wav"], *options]) == 0
    assert "moved by +1 octaves" in capsys.readouterr().out  # from between the training data's two tones
    assert main(["transfer", paths["run"], tune, "--out", paths["out.wav"], "--no-adjust"]) == 0
    assert "moved by +0 octaves and +0.0 dB" in capsys.readouterr().out

    options = ["--data", paths["data"], "--part", "valid", "--valid-share", "0.5", "--examples", "1"]
    assert main(["evaluate", paths["run"], *options, "--out", paths["results"]]) == 0
    assert "| raw_pitch_accuracy |" in capsys.readouterr().out
    overall = json.loads((tmp_path / "results" / "metrics.json").read_text())["overall"]
    assert overall["loudness_l1_db"]["frames"] == 250
    assert main(["evaluate", paths["run"], *options, "--out", paths["results"]]) == 2


def test_a_room_is_left_out_written_down_and_put_on_another_recording(tmp_path, capsys):
    run, names = str(save_run(instrument(reverb_length=800), tmp_path / "run")), ("dry.wav", "room.wav", "wet.wav")
    dry, room, wet = (str(tmp_path / name) for name in names)
    tune = str(write_tone(tmp_path / "tune.wav", 350.0, 0.5, 22050))
    assert main(["dereverb", run, tune, "--out", dry, "--sample-rate", "24000"]) == 0
    assert main(["room", "extract", run, "--out", room, "--normalize", "true", "--sample-rate=8000"]) == 0
    assert main(["room", "apply", room, tune, "--out", wet, "--mix", "0.5", "--tail", "false"]) == 0
    assert capsys.readouterr().out.split() == [dry, room, wet]
    infos = [soundfile.info(path) for path in (dry, room, wet)]
    assert [info.samplerate for info in infos] == [24000, 8000, 22050]
    assert [info.frames for info in infos] == [12000, 400, 11025]
    for part in ([], ["extract"], ["apply"]):
        with pytest.raises(SystemExit) as end:
            main(["room", *part, "--help"])
        assert end.value.code == 0
        assert f"usage: fastddsp {' '.join(['room', *part])}" in capsys.readouterr().out


def test_curves_are_played_without_a_recording(tmp_path):
    run, out = str(save_run(instrument(), tmp_path / "run")), str(tmp_path / "out.wav")
    (tmp_path / "f0.csv").write_text("0,220\n1,440\n")
    (tmp_path / "loudness.csv").write_text("0,-20\n")
    curves = ["--f0-csv", str(tmp_path / "f0.csv"), f"--loudness-csv={tmp_path / 'loudness.csv'}"]
    assert main(["resynthesize", run, "--out", out, *curves]) == 0
    assert soundfile.info(out).frames == 251 * 64


SMALL = {  # settings at first, and when the run goes on
    "inverse_synthesis": (
        {"n_sinusoids": 5, "n_harmonics": 6, "size": "tiny", "n_samples": 3072, "finetune": False},
        {"finetune": True},
    ),
    "midi_autoencoder": ({"ch": 4, "n_harmonics": 4, "n_noise_bands": 5, "n_samples": 3200}, {"n_samples": 6400}),
}


@pytest.mark.parametrize("preset", SMALL)
def test_other_models_are_trained_resumed_and_played_by_the_same_commands(data, tmp_path, preset):
    run, out = str(tmp_path / "run"), str(tmp_path / "out.wav")
    sizes, changed = SMALL[preset]
    options = [f"--model.config.{name}={str(value).lower()}" for name, value in sizes.items()]
    options += ["--data.batch_size=2", "--trainer.max_steps=2", "--trainer.enable_progress_bar=false"]
    assert main(["train", "--data", data, "--out", run, "--preset", preset, *options]) == 0
    again = [f"--model.config.{name}={str(value).lower()}" for name, value in changed.items()]
    assert main(["train", "--out", run, "--resume", "--trainer.max_steps=3", *again]) == 0
    checkpoint = load_checkpoint(run)
    assert checkpoint["global_step"] == 3
    assert checkpoint["config"].items() >= (sizes | changed | {"model": preset}).items()
    tune = str(write_tone(tmp_path / "tune.wav", 350.0, 0.4))
    assert main(["resynthesize", run, tune, "--out", out, "--pitch-shift", "-12"]) == 0
    assert soundfile.info(out).duration == pytest.approx(0.4, abs=0.032)


def test_settings_come_from_the_command_line_before_a_file_before_the_preset(data, tmp_path):
    settings = {"model": {"config": {"n_harmonics": 7, "n_noise_bands": 9}, "learning_rate": 0.002}}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(settings))
    arguments = [option for option in SHORT if "n_noise_bands" not in option and "n_harmonics" not in option]
    arguments += ["--config", str(tmp_path / "my.yaml"), "--model.config.n_harmonics=3"]
    assert main(["train", "--data", data, "--out", str(tmp_path / "run"), *arguments]) == 0
    kept = yaml.safe_load((tmp_path / "run" / CONFIG).read_text())
    assert kept["model"]["config"]["n_harmonics"] == 3
    assert kept["model"]["config"]["n_noise_bands"] == 9
    assert kept["model"]["config"]["frame_rate"] == 250
    assert kept["model"]["learning_rate"] == 0.002
    assert kept["trainer"]["gradient_clip_val"] == 3.0
    assert load_checkpoint(tmp_path / "run")["config"]["n_harmonics"] == 3


def test_several_data_sets_are_mixed_and_a_resumed_run_goes_on_mixing(data, tmp_path):
    other = tmp_path / "other"
    assert main(["prepare", str(write_tone(tmp_path / "c.wav", 350.0, 1.0)), "--out", str(other)]) == 0
    mixed = ["--data", data, f"--data={other}", "--data.proportions", "[3, 1]"]
    assert main(["train", *mixed, "--out", str(tmp_path / "run"), *SHORT]) == 0
    kept = yaml.safe_load((tmp_path / "run" / CONFIG).read_text())["data"]
    assert (kept["folder"], kept["proportions"]) == ([data, str(other)], [3.0, 1.0])
    assert main(["train", "--out", str(tmp_path / "run"), "--resume", "--trainer.max_steps", "5"]) == 0
    assert load_checkpoint(tmp_path / "run")["global_step"] == 5


def test_a_file_may_name_the_preset_and_a_runs_file_starts_another_like_it(data, tmp_path):
    (tmp_path / "my.yaml").write_text("preset: tiny\n")
    arguments = [option for option in SHORT if option not in ("--preset", "tiny") and "rnn_channels" not in option]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", "--data", data, "--out", str(first), "-c", str(tmp_path / "my.yaml"), *arguments]) == 0
    assert load_checkpoint(first)["config"]["rnn_channels"] == 256
    assert main(["train", "--config", str(first / CONFIG), "--out", str(second)]) == 0
    kept = [yaml.safe_load((run / CONFIG).read_text()) for run in (first, second)]
    assert kept[1] == {**kept[0], "out": str(second)}


def test_a_run_is_not_overwritten_but_resumed_with_its_own_settings(data, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "--data", data, "--out", run, *SHORT]) == 0
    assert main(["train", "--data", data, "--out", run, *SHORT]) == 2
    assert "is not empty: resume the run in it" in capsys.readouterr().err
    assert main(["train", "--out", run, "--resume", "--trainer.max_steps", "6"]) == 0
    assert "resuming" in capsys.readouterr().err
    checkpoint = load_checkpoint(run)
    assert checkpoint["global_step"] == 6
    assert checkpoint["config"]["n_harmonics"] == SIZES["n_harmonics"]


def test_a_killed_run_resumes_from_its_last_checkpoint(data, tmp_path):
    run = tmp_path / "run"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    steps = ["--trainer.max_steps=1000000", "--checkpoint_every=5"]
    process = fastddsp("train", "--data", data, "--out", run, *QUICK, *steps, **quiet)
    deadline = time.monotonic() + 120
    while not (run / LAST).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)  # into the middle of steps and of checkpoints being written
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = load_checkpoint(run)["global_step"]
    assert killed_at % 5 == 0

    resumed = fastddsp(
        "train", "--out", run, "--resume", f"--trainer.max_steps={killed_at + 7}", stderr=subprocess.PIPE, text=True
    )
    _, said = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, said
    assert f"from step {killed_at}" in said
    assert load_checkpoint(run)["global_step"] == killed_at + 7
    assert not list(run.glob("*partial*"))
