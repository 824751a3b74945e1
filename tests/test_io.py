"""Files and folders appear whole or not at all, and never in place of what is no plain file."""

import os
import socket
import sys
from unittest.mock import Mock

import pytest

from seghw import io
from seghw.errors import BadInput
from seghw.io import atomic_folder, atomic_write


def test_a_file_appears_whole_and_an_error_leaves_the_old_one(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with atomic_write(target) as path:
        path.write_text("new")
        assert not target.exists()
    with pytest.raises(ZeroDivisionError), atomic_write(target) as path:
        path.write_text(f"half {1 / 0}")
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_appears_whole_in_an_empty_place_only(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "set") as folder:
        (folder / "part").write_text(f"half {1 / 0}")
    assert list(tmp_path.iterdir()) == []
    place = tmp_path / "set"
    place.mkdir()
    with atomic_folder(place) as folder:
        (folder / "part").write_text("whole")
    with pytest.raises(FileExistsError, match="set already exists"), atomic_folder(place):
        pass
    assert (place / "part").read_text() == "whole"


def test_a_rename_that_is_refused_for_a_moment_is_tried_again_on_windows(monkeypatch):
    held = Mock(**{"replace.side_effect": [PermissionError, PermissionError, None]})
    monkeypatch.setattr(io, "os", type("Windows", (), {"name": "nt"}))
    io._move(held, "there")
    assert held.replace.call_count == 3


PLACES = {
    "a device": lambda path: os.devnull,
    "a pipe": lambda path: os.mkfifo(path),
    "a link": lambda path: path.symlink_to(path.with_name("mine")),
    "a link to itself": lambda path: path.symlink_to(path),
    "a folder": os.mkdir,
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and sockets are files elsewhere only")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("place", PLACES)
def test_only_a_plain_file_is_replaced(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    (tmp_path / "mine").write_text("mine")
    path = PLACES[place](tmp_path.joinpath("t")) or tmp_path / "t"
    before = os.lstat(path)
    with pytest.raises(BadInput, match="not a plain file"), atomic_write(path) as temporary:
        temporary.write_text("new")
    after = os.lstat(path)
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert (tmp_path / "mine").read_text() == "mine"
    assert {each.name for each in tmp_path.iterdir()} <= {"mine", "t"}
    (tmp_path / "l").symlink_to(tmp_path / "disk")  # a folder may lie on another disk
    with atomic_folder(tmp_path / "l") as folder:
        (folder / "part").touch()
    assert (tmp_path / "disk" / "part").exists()
    assert (tmp_path / "l").is_symlink()
