"""What a submission's tasks are worth: its statements looked at, run, asked, and judged."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from seghw.assignment.judge import IN_QUESTIONS, Question, Verdict, judge
from seghw.assignment.notebooks import Task, chapter, forbidden, statements, tasks
from seghw.assignment.runner import SECONDS, Sandbox
from seghw.assignment.submissions import Submission, read
from seghw.errors import BadInput
from seghw.io import atomic_write

LOOK = "not graded, look at it"
VISIBLE = Path(__file__).with_name("visible.pt")  # in an edition, which has no questions.py


@dataclass(frozen=True)
class Result:
    """What came of one task of one student."""

    task: Task
    verdict: Verdict
    parts: Sequence[str] = ()  # statements of the student's; the last one is the function

    def points(self, partial: bool = False) -> float:
        """All or nothing; ``partial`` gives halves: none for half of the ideas or fewer."""
        if self.verdict.fault is None:
            return self.task.points
        share = max(0.0, 2 * self.verdict.share - 1) if partial else 0.0
        return int(2 * share * self.task.points) / 2


def visible(name: str) -> list[Question]:
    """The questions that students may see, with their answers."""
    if VISIBLE.is_file():
        return of_edition()[name]
    from seghw.assignment import questions

    return questions.questions(name, questions.VISIBLE)


@cache
def of_edition() -> dict[str, list[Question]]:
    """The visible questions of every task, as an edition's file has them."""
    with torch.serialization.safe_globals(list(IN_QUESTIONS)):
        return torch.load(VISIBLE, weights_only=True)


def all_questions(name: str) -> list[Question]:
    """The visible questions and those that only the grader asks."""
    from seghw.assignment.questions import HIDDEN, questions

    return [*visible(name), *(question for seed in HIDDEN for question in questions(name, seed))]


def assess(
    submission: Submission,
    questions: Mapping[str, Sequence[Question]],
    sandbox: Sandbox,
    seconds: float = SECONDS,
) -> list[Result]:
    """Every coded task of the assignment, in order."""
    results, jobs = {}, {}
    for task in tasks():
        parts, verdict = _parts(task, submission)
        results[task.name] = Result(task, verdict, parts)
        if verdict.fault is None:
            jobs[task.name] = "\n".join(parts), [q.asked() for q in questions[task.name]]
    for name, answers in sandbox.run(jobs, seconds).items():
        verdict = judge(questions[name], answers)
        results[name] = replace(results[name], verdict=verdict)
    return list(results.values())


def _parts(task: Task, submission: Submission) -> tuple[list[str], Verdict]:
    """A task's source, and why it is not run, if so."""
    if task.notebook not in submission.chapters:
        return [], Verdict("not handed in")
    coded = {task.name for task in tasks()}  # no solution is taken from the chapter
    known = {k: v for k, v in chapter(task.notebook).items() if k not in coded}
    parts = statements(task.name, known | submission.chapters[task.notebook])
    if not parts:
        return [], Verdict(f"the notebook does not define {task.name}")
    if line := forbidden(parts):
        return parts, Verdict(LOOK, f"in the line: {line}\nA solution does not need this.")
    return parts, Verdict(None)


def submit(name: str, notebooks: Path) -> Path:
    """Run a student's tasks as the grader will, say which pass, and write the zip to hand in.

    Raises:
        BadInput: no name, or no notebooks there.
    """
    slug = re.sub(r"\W+", "-", name).strip("-")
    if not slug:
        raise BadInput(f'a submission needs your name, got {name!r}: NAME="Ada Lovelace"')
    submission = read(notebooks)
    print(*submission.remarks, sep="\n", end="\n" if submission.remarks else "")
    with Sandbox() as sandbox:
        asked = {task.name: visible(task.name) for task in tasks()}
        results = assess(submission, asked, sandbox)
    for result in results:
        said = result.verdict.fault or "solved"
        print(f"{result.task.notebook[:2]} {result.task.name:22} {said}")
    target = notebooks.parent / f"submission-{slug}.zip"
    with atomic_write(target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in submission.files.items():
            archive.writestr(file, data)
    return target
