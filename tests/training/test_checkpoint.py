import pickle

import pytest
import torch

from fastddsp.training.checkpoint import CONFIG, LAST, AtomicCheckpointIO, SaveLast, load_checkpoint, open_run


class Unwritable:
    def __reduce__(self):
        raise RuntimeError("stopped in the middle")


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path):
    files = AtomicCheckpointIO()
    files.save_checkpoint({"config": {}}, tmp_path / LAST)
    with pytest.raises(RuntimeError, match="in the middle"):
        files.save_checkpoint({"big": torch.zeros(1000), "bad": Unwritable()}, tmp_path / LAST)
    assert load_checkpoint(tmp_path) == {"config": {}}
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"code": Unwritable}, protocol=2)])
def test_what_is_no_checkpoint_or_holds_code_is_not_loaded(tmp_path, content):
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt is not a checkpoint"):
        load_checkpoint(tmp_path)


def test_another_program_s_checkpoint_is_told_apart(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / LAST)
    with pytest.raises(ValueError, match="holds no model settings"):
        load_checkpoint(tmp_path)


def test_a_run_is_never_overwritten_silently(tmp_path):
    run = tmp_path / "run"
    assert open_run(run, resume=False) is None
    assert open_run(run, resume=False) is None  # still empty
    (run / CONFIG).write_text("")
    with pytest.raises(FileExistsError, match="is not empty: resume the run in it"):
        open_run(run, resume=False)
    assert open_run(run, resume=True) is None  # stopped before its first checkpoint
    (run / LAST).write_bytes(b"")
    assert open_run(run, resume=True) == run / LAST


def test_there_must_be_something_to_resume_or_to_load(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .* to resume"):
        open_run(tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="no trained instrument"):
        load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="at least 1 step apart"):
        SaveLast(tmp_path, 0)
