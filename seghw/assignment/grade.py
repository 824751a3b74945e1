"""From submissions to points: a CSV with one row per student, and a page of feedback for each.

Only the task cells of a submission are run, against the checks of this package, never its own test
cells. Each student's tasks run in a process of their own, which is ended when a task takes too
long; the others then go on in a new one.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from seghw.assignment.edition import EDITION, Task, read_notebook, task_sources, tasks
from seghw.errors import BadInput
from seghw.io import atomic_write, write_csv

SECONDS = 10.0  # a task may take; a right solution takes a fraction of one
_START = 120.0  # seconds to import everything, on a busy machine
_LARGEST = 20 << 20  # bytes of one notebook in a zip
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Feedback for {{ name }}</title>
<style>body { font: 1rem/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .5rem;
border-bottom: 1px solid #999; vertical-align: top; } .lost { color: #9c2b12; }</style></head>
<body><h1>Feedback for {{ name }}</h1><p><b>{{ total }} of {{ most }} points.</b></p>
<table><thead><tr><th>notebook</th><th>task</th><th>points</th><th>what to look at</th></tr></thead>
<tbody>{% for task, fault in rows %}<tr><td>{{ task.notebook[:2] }}</td><td>{{ task.title }}</td>
<td>{{ 0 if fault else task.points }} of {{ task.points }}</td>
<td{% if fault %} class="lost"{% endif %}>{{ fault or "solved" }}</td></tr>
{% endfor %}</tbody></table></body></html>
"""

#: Task name to the idea that was missed, None where it is solved.
Faults = dict[str, str | None]


def read_submission(path: str | Path) -> dict[str, str]:
    """The task cells of a folder with notebooks, or of a zip with them: task name to source.

    Names of folders in a zip are ignored, and nothing is unpacked.

    Raises:
        BadInput: it holds no notebook of the assignment, or one is damaged or too large.
    """
    path = Path(path)
    known = {task.notebook for task in tasks()}
    found: dict[str, str] = {}
    if path.is_dir():
        files = sorted(p for p in path.rglob("*.ipynb") if p.name in known)
        notebooks = [read_notebook(p) for p in files]
    else:
        notebooks = _read_zip(path, known)
    if not notebooks:
        raise BadInput(f"{path} holds no notebook of the assignment ({', '.join(sorted(known))})")
    try:
        for notebook in notebooks:
            found |= task_sources(notebook)
    except (TypeError, AttributeError, KeyError) as error:
        raise BadInput(f"{path} holds a damaged notebook ({type(error).__name__})") from error
    return found


def _read_zip(path: Path, known: set[str]) -> list[dict]:
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = [m for m in archive.infolist() if Path(m.filename).name in known]
            if any(member.file_size > _LARGEST for member in chosen):
                raise BadInput(f"{path}: a notebook is over {_LARGEST >> 20} MB; clear its outputs")
            notebooks = [json.loads(archive.read(member)) for member in chosen]
        return [{**n, "cells": list(n["cells"])} for n in notebooks]
    except (
        *(zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError),
        *(RuntimeError, NotImplementedError),  # encrypted, or compressed in an unknown way
    ) as error:
        raise BadInput(f"{path} is no zip with notebooks ({type(error).__name__})") from error


def run_tasks(sources: Mapping[str, str], seconds: float = SECONDS) -> Faults:
    """Run the tasks, each for so many seconds at most, and say what each misses.

    Args:
        sources: as ``read_submission`` gives them; tasks that are missing count as not solved.
        seconds: of wall time per task.
    """
    faults: Faults = {task.name: "not handed in" for task in tasks()}
    left = [(name, sources[name]) for name in faults if name in sources]
    while left:
        done, why = _run(left, seconds)
        faults |= dict(done)
        if len(done) < len(left):
            faults[left[len(done)][0]] = why
        left = left[len(done) + 1 :]
    return faults


def _run(jobs: Sequence[tuple[str, str]], seconds: float) -> tuple[list, str]:
    """Results of the first tasks, up to one that never answered, and what became of that one."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        results.touch()
        command = [sys.executable, "-m", "seghw.assignment.runner", str(results)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=folder, env=environment)
        try:
            child.stdin.write(json.dumps(jobs).encode())
            child.stdin.close()
            seen, since = 0, time.monotonic()
            while True:
                ended = child.poll() is not None  # asked first: then nothing more can come
                lines = _answers(results, [None, *(name for name, _ in jobs)])
                if len(lines) > seen:
                    seen, since = len(lines), time.monotonic()
                if ended or seen > len(jobs):
                    return lines[1:], "it ended its process"
                if time.monotonic() - since > (seconds if seen else _START):
                    return lines[1:], f"it ran longer than {seconds:g} s"
                time.sleep(0.02)
        finally:
            child.kill()
            child.wait()


def _answers(results: Path, expected: Sequence[str | None]) -> list:
    """The whole lines so far, up to one that is not the answer expected next.

    A task that writes into the file itself ends the list, and so costs its own points.
    """
    text = results.read_bytes()
    found: list = []
    for line, name in zip(text[: text.rfind(b"\n") + 1].splitlines(), expected, strict=False):
        try:
            task, answer = json.loads(line)
        except (ValueError, TypeError):
            break
        if task != name or not isinstance(answer, str | None):
            break
        found.append([task, answer])
    return found


def grade(submissions: str | Path, out: str | Path, seconds: float = SECONDS) -> Path:
    """Grade every zip and folder in a folder.

    Args:
        submissions: one zip, or one folder with notebooks, per student; its name is the student's.
        out: ``grades.csv`` and ``feedback/<student>.html`` go here.

    Returns:
        The CSV: student, points in all, points per task, and what was wrong with the submission.

    Raises:
        BadInput: there is nothing to grade.
    """
    submissions, out = Path(submissions), Path(out)
    found = sorted(p for p in submissions.glob("*") if p.is_dir() or p.suffix == ".zip")
    if not found:
        raise BadInput(f"{submissions} holds no zip and no folder to grade")
    every = tasks()
    rows = []
    for path in found:
        name, remark = path.stem, ""
        try:
            faults = run_tasks(read_submission(path), seconds)
        except BadInput as error:
            faults, remark = {task.name: "not handed in" for task in every}, str(error)
        points = [0 if faults[task.name] else task.points for task in every]
        rows.append([name, sum(points), *points, remark])
        print(f"{name}: {sum(points)} points{f' ({remark})' if remark else ''}", flush=True)
        with atomic_write(out / "feedback" / f"{name}.html") as page:
            page.write_text(feedback(name, every, faults), encoding="utf-8")
    head = ["student", "points", *(task.name for task in every), "remark"]
    write_csv(out / "grades.csv", head, rows)
    return out / "grades.csv"


def feedback(name: str, every: Sequence[Task], faults: Faults) -> str:
    """A student's page: points per task, and the idea that was missed; no hidden test."""
    template = jinja2.Environment(autoescape=True).from_string(_PAGE)
    return template.render(
        name=name,
        rows=[(task, faults[task.name]) for task in every],
        total=sum(task.points for task in every if not faults[task.name]),
        most=sum(task.points for task in every),
    )


def submit(name: str, edition: str | Path = EDITION) -> Path:
    """Run an edition's tasks in a clean process, say which pass, and zip its notebooks.

    Raises:
        BadInput: no name, or no notebooks there.
    """
    edition = Path(edition)
    slug = re.sub(r"\W+", "-", name).strip("-")
    if not slug:
        raise BadInput(f'a submission needs your name, got {name!r}: NAME="Ada Lovelace"')
    faults = run_tasks(read_submission(edition))
    for task in tasks():
        print(f"{task.notebook[:2]} {task.name:22} {faults[task.name] or 'solved'}")
    target = edition.parent / f"submission-{slug}.zip"
    with atomic_write(target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for notebook in sorted(edition.glob("0*.ipynb")):
            archive.write(notebook, notebook.name)
    return target
