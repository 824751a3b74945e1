"""The student's edition: a project of its own, with the chapters less their solutions.

It is set up by the same commands as this project. What it lacks: the solutions, the questions that
only the grader asks, and what grades. The visible questions come with their answers as data.
"""

import json
import re
import shutil
from pathlib import Path

import torch

from seghw.assignment.notebooks import NOTEBOOKS, names, parsed, tasks
from seghw.assignment.questions import VISIBLE, questions
from seghw.config import ROOT
from seghw.io import atomic_folder

STUB = "    # YOUR CODE HERE\n    raise NotImplementedError()"  # nbgrader's own
_SOLUTION = re.compile(r"^ *### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.M | re.S)
_HIDDEN = re.compile(r"\n?^### BEGIN HIDDEN TESTS\n.*?^### END HIDDEN TESTS$", re.M | re.S)
_STUDENT = Path(__file__).with_name("student")  # its own README, Makefile, page for assistants
_COPIED = ("LICENSE", "pyproject.toml", "constraints.txt", "environment.yml")
_FOLDERS = ("seghw", "data", "figures", "notebooks/.lab")
_LEFT_OUT = shutil.ignore_patterns(
    *("__pycache__", "*.egg-info", "cache", "bench", "retrained", "student", "mistakes.toml"),
    *("questions.py", "edition.py", "grade.py", "feedback.html"),
    *("coco3", "own+*", "*.gz", "checkpoint.pt", "evaluation-*", ".lock"),  # nobody's to publish
)


def make_edition(out: str | Path) -> Path:
    """Write the project that students get.

    Args:
        out: folder; missing or empty, for a student may have worked in it.

    Raises:
        FileExistsError: it holds something.
    """
    out, every = Path(out), tasks()
    with atomic_folder(out) as folder:
        for name in _FOLDERS:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=_LEFT_OUT)
        for path in [*(ROOT / name for name in _COPIED), *_STUDENT.iterdir()]:
            shutil.copy(path, folder / path.name)
        for path in sorted(NOTEBOOKS.glob("0*.ipynb")):
            text = json.dumps(student_notebook(path), indent=1, ensure_ascii=False)
            (folder / "notebooks" / path.name).write_text(text + "\n", encoding="utf-8")
        lab = shutil.ignore_patterns(".lab", "*.md")
        shutil.copytree(folder / "notebooks", folder / "seghw/assignment/chapters", ignore=lab)
        listed = sorted([*every, *tasks("markdown")], key=lambda task: task.notebook)
        rows = [f"| {Path(t.notebook).stem} | {t.title} | {t.points} |" for t in listed]
        page = (_STUDENT / "README.md").read_text(encoding="utf-8")
        page = page.format(
            tasks=len(every), points=sum(t.points for t in every), table="\n".join(rows)
        )
        (folder / "README.md").write_text(page, encoding="utf-8")
        shutil.copy(folder / "README.md", folder / "notebooks/README.md")  # where the lab opens
        asked = {task.name: questions(task.name, VISIBLE) for task in every}
        torch.save(asked, folder / "seghw/assignment/visible.pt")
    return out


def student_notebook(path: Path) -> dict:
    """A chapter as students get it; cells that need a task do not stop the others."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    waiting = {task.name for task in tasks() if task.notebook == path.name}
    cells = []
    for cell in filter(None, map(_student_cell, notebook["cells"])):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "nbgrader" not in cell["metadata"]:
            bound, used = names(parsed(source)[0])
            if used & waiting:
                waiting |= bound
                tags = [*cell["metadata"].get("tags", ()), "raises-exception"]
                cell["metadata"] = {**cell["metadata"], "tags": tags}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _student_cell(cell: dict) -> dict | None:
    """A cell without solution, hidden test and output; None to leave it out."""
    text = "".join(cell["source"])
    hidden = cell["metadata"].get("jupyter", {}).get("source_hidden")
    if cell["cell_type"] == "markdown" and "nbgrader" in cell["metadata"]:
        return {**cell, "source": ["YOUR ANSWER HERE"]}  # nbgrader's own
    if cell["cell_type"] == "markdown":
        # The exercises' answers, which fold away in the chapters.
        text = re.sub(r"<details><summary>Solution.*?</details>", "", text, flags=re.S)
        text = re.sub(r"The solutions are in .*? below\.", "", text).rstrip()
        return {**cell, "source": text.splitlines(True)} if text else None
    if hidden and "plt.show()" not in text:  # the check of an exercise; a drawing stays
        return None
    text = _HIDDEN.sub("", _SOLUTION.sub(STUB, text))
    return {**cell, "source": text.splitlines(True), "outputs": [], "execution_count": None}
