"""Reads what students hand in, whatever it is: folders, archives of three kinds, bare notebooks.

Nothing is unpacked to disk, and nothing is trusted: sizes are limited while reading, and a
notebook's chapter is known by its tasks, not by its name.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seghw.assignment.notebooks import Cell, read_cells, statements, tasks
from seghw.errors import BadInput

_LARGEST = 20 << 20  # bytes of one notebook
_TOTAL = 400 << 20  # bytes that an archive may unpack to, in all that is read
_MEMBERS = 2000  # files of a submission
_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2")
_SKIPPED = ("__macosx", ".ipynb_checkpoints")


@dataclass
class Submission:
    """A student's cells by chapter, and what a teacher should know about them."""

    chapters: dict[str, list[Cell]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # those that count


def read(path: Path) -> Submission:
    """What somebody handed in.

    A chapter's notebook counts once: of several the one that lies least deep, and has the
    chapter's own name; the remarks name those that do not count.

    Raises:
        BadInput: there is no notebook with a task in it.
    """
    submission, names = Submission(), {task.notebook for task in tasks()}
    files = sorted(
        _notebooks(path), key=lambda f: (f[0].count("/"), Path(f[0]).name not in names, f[0])
    )
    for name, data in files:
        try:
            cells = read_cells(data)
            chapter = _chapter(cells)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            submission.remarks.append(f"{name} is damaged ({type(error).__name__})")
            continue
        if chapter is None:
            submission.remarks.append(f"{name} has no task of the assignment")
        elif chapter in submission.chapters:
            submission.remarks.append(f"{name} does not count: {chapter[:2]} is there already")
        else:
            submission.chapters[chapter] = cells
            submission.files.append(name)
    if not submission.chapters:
        raise BadInput(
            "; ".join([f"{path.name} holds no notebook of the assignment", *submission.remarks])
        )
    if missing := sorted(name[:2] for name in names - submission.chapters.keys()):
        submission.remarks.append(f"without chapter {', '.join(missing)}")
    return submission


def _chapter(cells: Sequence[Cell]) -> str | None:
    """The file name of the chapter that most tasks of these cells belong to."""
    marked = {cell.about.get("grade_id") for cell in cells}
    counts: dict[str, int] = {}
    for task in tasks():
        if task.name in marked or statements(task.name, cells):
            counts[task.notebook] = counts.get(task.notebook, 0) + 1
    return max(counts, key=lambda name: counts[name]) if counts else None


def _notebooks(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every notebook in a folder, an archive, an archive in a folder."""
    if path.is_dir():
        files = (p for p in sorted(path.rglob("*")) if p.is_file() and not p.is_symlink())
        for count, file in enumerate(files):
            if count >= _MEMBERS:
                raise BadInput(f"{path.name} holds more than {_MEMBERS} files")
            yield from _of(file.relative_to(path).as_posix(), file.open, path.name)
    elif path.is_file():
        yield from _of(path.name, path.open, path.name)


def _of(name: str, opened, owner: str, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    parts = name.replace("\\", "/").lower().split("/")
    if any(part in _SKIPPED for part in parts) or parts[-1].startswith("._"):
        return
    if not parts[-1].endswith((".ipynb", *_ARCHIVES)):
        return
    with opened(*(("rb",) if depth == 0 else ())) as file:
        data = file.read(_LARGEST + 1)
        if parts[-1].endswith(".ipynb"):
            if len(data) > _LARGEST:
                raise BadInput(f"{name} is over {_LARGEST >> 20} MB; clear its outputs")
            yield name.replace("\\", "/"), data
        elif depth < 2:
            data += file.read(_TOTAL)
            yield from _archived(name, io.BytesIO(data), depth + 1)


def _archived(name: str, file: io.BytesIO, depth: int) -> Iterator[tuple[str, bytes]]:
    inside = f"{name}/" if depth > 1 else ""
    if name.lower().endswith(".zip"):
        with zipfile.ZipFile(file) as archive:
            for member in _limited(name, archive.infolist()):
                yield from _of(
                    inside + member.filename, lambda m=member: archive.open(m), name, depth
                )
        return
    with tarfile.open(fileobj=file) as archive:
        for member in _limited(name, archive):
            if member.isfile():
                yield from _of(
                    inside + member.name, lambda m=member: archive.extractfile(m), name, depth
                )


def _limited(name: str, members) -> Iterator:
    total = 0
    for count, member in enumerate(members):
        total += getattr(member, "file_size", 0) or getattr(member, "size", 0)
        if total > _TOTAL or count >= _MEMBERS:
            raise BadInput(f"{name} unpacks to over {_TOTAL >> 20} MB or {_MEMBERS} files")
        yield member


def student(path: Path) -> tuple[str, str]:
    """A student's name as the file or folder gives it, and the identifier of the course's system.

    Moodle names folders "Ada Lovelace_123_assignsubmission_file_", Canvas names files
    "lovelaceada_123_456_submission.zip".
    """
    name = path.name.encode("utf-8", "replace").decode()
    for suffix in (*_ARCHIVES, ".ipynb"):
        if name.lower().endswith(suffix) and not path.is_dir():
            name = name[: -len(suffix)]
            break
    if moodle := re.fullmatch(r"(.+)_(\d+)_assignsubmission_.*", name):
        return moodle[1], f"Participant {moodle[2]}"
    if canvas := re.fullmatch(r"([^\W\d_]+)_(?:LATE_)?(\d+)_\d+_.*", name):
        return canvas[1], canvas[2]
    return name.removeprefix("submission-"), ""
