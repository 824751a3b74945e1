"""Files and folders that are replaced whole or left as they were.

Everything is written beside its place under a temporary name and then renamed, so that a
reader, a crash or a full disk never meets a half-written file.
"""

import csv
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seghw.errors import BadInput

_MARK = "-unfinished-"  # part of every temporary name


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` unless an exception comes.

    Missing parent folders are made.

    Raises:
        BadInput: ``path`` is a folder, a link, a device or a pipe: these are never replaced.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise BadInput(f"{path} is not a plain file and stays as it is; give another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        _move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path``, or its link's end.

    Raises:
        FileExistsError: ``path`` is there already and is not an empty folder.
    """
    path = require_free(path)
    temporary = _beside(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():  # an empty folder, which may be somebody's current one
            for child in sorted(temporary.iterdir()):
                _move(child, path / child.name)
        else:
            _move(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_free(path: str | Path) -> Path:
    """Where ``path`` leads; ``FileExistsError`` unless nothing or an empty folder is there."""
    path = Path(os.path.realpath(path))
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path} already exists; remove it or choose another folder")
    return path


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left unfinished in ``folder``, which no other may write to."""
    for path in folder.glob(f".*{_MARK}*"):
        path.unlink(missing_ok=True)


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table whole: UTF-8, Unix line ends on every system."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _move(source: Path, target: Path) -> None:
    """Rename; on Windows a scanner that has a file open may refuse it for a moment."""
    for wait in (0.1, 0.3, 1.0, 3.0) if os.name == "nt" else ():
        with suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(wait)
    source.replace(target)


def _beside(path: Path) -> Path:
    # The suffix stays last, because image and array writers choose their format by it.
    return path.with_name(f".{path.stem}{_MARK}{uuid.uuid4().hex[:8]}{path.suffix}")
