"""The student's edition of the notebooks, and what a teacher takes out of them: the tasks.

The chapters in ``notebooks/`` are the one source. Their task cells carry nbgrader's metadata and
its marks (``### BEGIN SOLUTION``, ``### BEGIN HIDDEN TESTS``), so that nbgrader reads them too.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seghw.config import ROOT
from seghw.errors import BadInput
from seghw.io import atomic_folder

NOTEBOOKS = ROOT / "notebooks"
EDITION = ROOT / "dist/assignment"
STUB = "    # YOUR CODE HERE\n    raise NotImplementedError()"  # nbgrader's own
_SOLUTION = re.compile(r"^ *### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.M | re.S)
_HIDDEN = re.compile(r"\n?^### BEGIN HIDDEN TESTS\n.*?^### END HIDDEN TESTS$", re.M | re.S)

README = """# Semantic segmentation: the assignment

Six notebooks with {tasks} tasks, {points} points. Work through them in order.

1. **Set up** the project as its README says (`make lab`), and open these notebooks in JupyterLab.
2. **Work.** A task says what is wanted, with shapes and an example. Write the function, run the
   cell below it, and read its one sentence. A hint unfolds. While a task is unsolved, later cells
   go on with the package's version, so that you can read on.
3. **Check** everything before you hand in: restart the kernel and run all cells, then
   `make submission NAME="your name"` in the project's folder.
4. **Hand in** the zip that it writes. Only the task cells are graded.

| notebook | task | points |
|---|---|---|
{table}
"""


@dataclass(frozen=True)
class Task:
    """One graded task of a notebook."""

    notebook: str  # file name
    name: str  # of the function, and of the task
    title: str
    points: int
    source: str  # of the solution cell


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


def read_notebook(path: Path) -> dict:
    """A notebook as JSON.

    Raises:
        BadInput: it is missing or no notebook.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "cells": list(found["cells"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a notebook ({type(error).__name__})") from error


def task_sources(notebook: dict) -> dict[str, str]:
    """The source of each solution cell by its task's name."""
    found = {}
    for cell in notebook["cells"]:
        about = cell.get("metadata", {}).get("nbgrader", {})
        if cell.get("cell_type") == "code" and about.get("solution"):
            found[str(about.get("grade_id"))] = source_of(cell)
    return found


def tasks(folder: Path = NOTEBOOKS) -> list[Task]:
    """Every task of the notebooks, in order."""
    return [task for path in sorted(folder.glob("0*.ipynb")) for task in _tasks_of(path)]


def _tasks_of(path: Path) -> Iterator[Task]:
    notebook = read_notebook(path)
    sources, title = task_sources(notebook), ""
    for cell in notebook["cells"]:
        heading = re.match(r"### Task: (.*?) \(", source_of(cell))
        title = heading[1] if heading else title
        about = cell["metadata"].get("nbgrader", {})
        if about.get("grade"):
            name = about["grade_id"].removesuffix("_check")
            yield Task(path.name, name, title, about["points"], sources[name])


def student_cell(cell: dict) -> dict | None:
    """A cell as students get it: without solution, hidden test and output; None to leave it out."""
    text = source_of(cell)
    hidden = cell["metadata"].get("jupyter", {}).get("source_hidden")
    if cell["cell_type"] == "markdown":
        # The exercises' answers, which fold away in the chapters.
        text = re.sub(r"<details><summary>Solution.*?</details>", "", text, flags=re.S)
        text = re.sub(r"The solutions are in .*? below\.", "", text).rstrip()
        for here, there in (("../dist/report/", "../report/"), ("../figures/", "../../figures/")):
            text = text.replace(here, there)  # seen from dist/assignment
        return {**cell, "source": text.splitlines(True)} if text else None
    if hidden and "plt.show()" not in text:  # the check of an exercise; a drawing stays
        return None
    text = _HIDDEN.sub("", _SOLUTION.sub(STUB, text))
    return {**cell, "source": text.splitlines(True), "outputs": [], "execution_count": None}


def make_edition(out: str | Path = EDITION) -> Path:
    """Write the notebooks without solutions, and a page that says how to work and hand in.

    Args:
        out: folder; it must not be there, for a student may have worked in it.

    Raises:
        FileExistsError: it is there and not empty.
    """
    out, found = Path(out), tasks()
    with atomic_folder(out) as folder:
        for path in sorted(NOTEBOOKS.glob("0*.ipynb")):
            notebook = read_notebook(path)
            cells = [made for cell in notebook["cells"] if (made := student_cell(cell))]
            text = json.dumps({**notebook, "cells": cells}, indent=1, ensure_ascii=False)
            (folder / path.name).write_text(text + "\n", encoding="utf-8")
        rows = [f"| {Path(t.notebook).stem} | {t.title} | {t.points} |" for t in found]
        points = sum(task.points for task in found)
        page = README.format(tasks=len(found), points=points, table="\n".join(rows))
        (folder / "README.md").write_text(page, encoding="utf-8")
    return out
