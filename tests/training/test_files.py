import pytest

from fastddsp.training.files import atomic_path, write_json


def test_the_file_appears_only_when_the_block_has_ended(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    with atomic_path(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
        assert partial.suffix == ".txt"
    assert path.read_text() == "whole"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half of")
        raise RuntimeError
    assert '"old": 1' in path.read_text()
    assert list(tmp_path.iterdir()) == [path]
