import pytest

from fastddsp.training.files import atomic_folder, atomic_path, write_json


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


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(KeyError), atomic_folder(tmp_path / "other") as folder:
        (folder / "a").write_text("1")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_not_empty_or_a_file_is_not_replaced(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("1")
    for path, message in ((tmp_path / "full", "is not empty"), (tmp_path / "full" / "a", "is a file")):
        with pytest.raises(FileExistsError, match=message), atomic_folder(path):
            pass
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "empty" / "a").exists()
