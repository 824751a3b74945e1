"""Files and folders that appear whole or not at all.

Everything is written beside its place under a temporary name and then renamed, so that a
reader, a crash or a full disk never meets a half-written file.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Part of every temporary name, so that leftovers are known.
_MARK = "-unfinished-"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` on success.

    An existing file at ``path`` is replaced only at the very end; on an exception it stays as
    it was and the temporary file is removed. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because image and array writers choose their format by it.
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}{_MARK}", suffix=path.suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _give_usual_mode(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` on success.

    Raises:
        FileExistsError: ``path`` is there already and is not an empty folder.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path} already exists; remove it or choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}{_MARK}", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():  # an empty folder; only POSIX renames over one
            path.rmdir()
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left in ``folder``.

    Only for a folder that no other process is writing to.
    """
    for path in folder.glob(f".*{_MARK}*"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _give_usual_mode(path: Path) -> None:
    """mkstemp makes files private (0600); give them the mode any new file would have."""
    path.chmod(0o666 & ~_umask())
