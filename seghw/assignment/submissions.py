"""Reads what students hand in, whatever it is: folders, archives of three kinds, bare notebooks.

Nothing is unpacked to disk, and nothing is trusted: sizes are limited while reading, and a
notebook's chapter is known by its tasks, not by its name.
"""

import io
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from seghw.assignment.notebooks import definitions, read_cells, tasks
from seghw.errors import BadInput

_LARGEST = 20 << 20  # bytes of one notebook
_TOTAL = 400 << 20  # bytes that the archives of a submission may unpack to
_MEMBERS = 2000  # files of a submission, those in archives as well
_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2")
_SKIPPED = re.compile(r"(^|/)(__macosx|\.ipynb_checkpoints|\._[^/]*)(/|$)")


@dataclass
class Submission:
    """What a student defines by chapter, and what a teacher should know about it."""

    chapters: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)  # those that count
    words: dict[str, str] = field(default_factory=dict)  # answers to the questions in words


def read(path: Path) -> Submission:
    """What somebody handed in.

    A chapter's notebook counts once: of several the one that lies least deep, and has the
    chapter's own name; the remarks name those that do not count.

    Raises:
        BadInput: there is no notebook with a task in it.
    """
    submission, names = Submission(), {task.notebook for task in tasks()}
    for name, data in sorted(
        _notebooks(path.name, _on_disk(path), Counter()),
        key=lambda file: (file[0].count("/"), Path(file[0]).name not in names, file[0]),
    ):
        if len(data) > _LARGEST:
            submission.remarks.append(f"{name} is over {_LARGEST >> 20} MB; clear its outputs")
            continue
        try:
            cells = read_cells(data)
            known = definitions(cells)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            submission.remarks.append(f"{name} is damaged ({type(error).__name__})")
            continue
        there = Counter(task.notebook for task in tasks() if task.name in known)
        chapter = max(there, key=there.__getitem__, default=None)
        if chapter is None:
            submission.remarks.append(f"{name} has no task of the assignment")
        elif chapter in submission.chapters:
            submission.remarks.append(f"{name} does not count: {chapter[:2]} is there already")
        else:
            submission.chapters[chapter] = known
            submission.files[name] = data
            answers = (c for c in cells if c.kind == "markdown" and c.about.get("grade"))
            submission.words |= {str(c.about.get("grade_id")): c.source for c in answers}
    if not submission.chapters:
        none = f"{path.name} holds no notebook of the assignment"
        raise BadInput("; ".join([none, *submission.remarks]))
    if missing := sorted(name[:2] for name in names - submission.chapters.keys()):
        submission.remarks.append(f"without chapter {', '.join(missing)}")
    return submission


# -- files in folders and archives, as (name, bytes unpacked, how to open) -------------------------

_Member = tuple[str, int, Callable[[], BinaryIO]]


def _on_disk(path: Path) -> Iterator[_Member]:
    """A file, or those of a folder but for links, which may lead anywhere."""
    root = path if path.is_dir() else path.parent
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and (file == path or not file.is_symlink()):
            yield file.relative_to(root).as_posix(), 0, partial(file.open, "rb")


def _in_archive(name: str, data: bytes) -> Iterator[_Member]:
    if name.lower().endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield member.filename, member.file_size, partial(archive.open, member)
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isfile():
                yield member.name, member.size, partial(archive.extractfile, member)


def _notebooks(
    owner: str, members: Iterator[_Member], seen: Counter, depth: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every notebook, those in archives among the files as well."""
    for name, size, opened in members:
        name = name.replace("\\", "/")
        seen.update(bytes=size, files=1)
        if seen["bytes"] > _TOTAL or seen["files"] > _MEMBERS:
            raise BadInput(f"{owner} unpacks to over {_TOTAL >> 20} MB or {_MEMBERS} files")
        if _SKIPPED.search(name.lower()):
            continue
        if name.lower().endswith(".ipynb"):
            with opened() as file:
                data = file.read(_LARGEST + 1)
            yield name, data
        elif name.lower().endswith(_ARCHIVES) and depth < 2:
            with opened() as file:
                data = file.read(_TOTAL)
            for inside, notebook in _notebooks(owner, _in_archive(name, data), seen, depth + 1):
                yield f"{name}/{inside}", notebook


def student(path: Path) -> tuple[str, str]:
    """A student's name as the file or folder gives it, and the identifier of the course's system.

    Moodle names folders "Ada Lovelace_123_assignsubmission_file_", Canvas names files
    "lovelaceada_123_456_submission.zip".
    """
    name = path.name.encode("utf-8", "replace").decode()
    ends = [s for s in (*_ARCHIVES, ".ipynb") if name.lower().endswith(s) and not path.is_dir()]
    name = name[: -len(ends[0])] if ends else name
    if moodle := re.fullmatch(r"(.+)_(\d+)_assignsubmission_.*", name):
        return moodle[1], f"Participant {moodle[2]}"
    if canvas := re.fullmatch(r"([^\W\d_]+)_(?:LATE_)?(\d+)_\d+_.*", name):
        return canvas[1], canvas[2]
    return name.removeprefix("submission-"), ""
