"""Checks a student's notebooks as the grader will read them, and zips them."""

import re
import zipfile
from pathlib import Path

from seghw.assignment.assess import assess, visible
from seghw.assignment.notebooks import tasks
from seghw.assignment.submissions import read
from seghw.errors import BadInput
from seghw.io import atomic_write


def submit(name: str, notebooks: Path) -> Path:
    """Run the tasks in a clean process, say which pass, and write the zip to hand in.

    Raises:
        BadInput: no name, or no notebooks there.
    """
    slug = re.sub(r"\W+", "-", name).strip("-")
    if not slug:
        raise BadInput(f'a submission needs your name, got {name!r}: NAME="Ada Lovelace"')
    submission = read(notebooks)
    print(*submission.remarks, sep="\n", end="\n" if submission.remarks else "")
    questions = {task.name: visible(task.name) for task in tasks()}
    for result in assess(submission, questions):
        print(
            f"{result.task.notebook[:2]} {result.task.name:22} {result.verdict.fault or 'solved'}"
        )
    target = notebooks.parent / f"submission-{slug}.zip"
    with atomic_write(target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for notebook in submission.files:
            archive.write(notebooks / notebook, notebook)
    return target
