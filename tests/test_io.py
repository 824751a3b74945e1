"""Whole or not at all."""

import pytest

from seghw.io import atomic_folder, atomic_write


def test_a_file_appears_whole(tmp_path):
    with atomic_write(tmp_path / "deep" / "a.txt") as path:
        path.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as path:
        path.write_text(f"half {1 / 0}")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "set") as folder:
        (folder / "part").write_text(f"half {1 / 0}")
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_not_replaced(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("mine")
    with (
        pytest.raises(FileExistsError, match="set already exists"),
        atomic_folder(tmp_path / "set"),
    ):
        pass
    assert (tmp_path / "set" / "mine").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "part").write_text("whole")
    assert (tmp_path / "set" / "part").read_text() == "whole"
