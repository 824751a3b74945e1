"""What a submission's tasks are worth: its statements looked at, run, asked, and judged."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from seghw.assignment.judge import Verdict, asked, judge
from seghw.assignment.notebooks import NOTEBOOKS, Task, forbidden, read_cells, statements, tasks
from seghw.assignment.runner import SECONDS, run
from seghw.assignment.submissions import Submission

LOOK = "not graded, look at it"
VISIBLE = Path(__file__).with_name("visible.json")  # in an edition, which has no questions.py


@dataclass(frozen=True)
class Result:
    """What came of one task of one student."""

    task: Task
    verdict: Verdict
    code: str = ""

    def points(self, partial: bool = False) -> float:
        """All or nothing; ``partial`` gives halves: none for half of the ideas or fewer."""
        if self.verdict.fault is None:
            return self.task.points
        share = max(0.0, 2 * self.verdict.share - 1) if partial else 0.0
        return int(2 * share * self.task.points) / 2


@cache
def visible(name: str) -> list[dict]:
    """The questions that students may see, with their answers."""
    if VISIBLE.is_file():
        return json.loads(VISIBLE.read_text(encoding="utf-8"))[name]
    from seghw.assignment.questions import questions

    return questions(name, 0)


def all_questions(name: str) -> list[dict]:
    """The visible questions and those that only the grader asks."""
    from seghw.assignment.questions import HIDDEN, questions

    more = [{**question, "hidden": True} for seed in HIDDEN for question in questions(name, seed)]
    return [*visible(name), *more]


def assess(
    submission: Submission,
    questions: Mapping[str, Sequence[dict]],
    seconds: float = SECONDS,
    hidden: Sequence[Path] = (),
) -> list[Result]:
    """Every coded task of the assignment, in order."""
    results, jobs = {}, {}
    for task in tasks():
        parts, verdict = _parts(task, submission)
        results[task.name] = Result(task, verdict, "\n\n".join(parts))
        if verdict.fault is None:
            jobs[task.name] = parts, asked(questions[task.name])
    for name, answers in run(jobs, seconds, hidden).items():
        verdict = judge(questions[name], answers)
        results[name] = replace(results[name], verdict=verdict)
    return list(results.values())


def _parts(task: Task, submission: Submission) -> tuple[list[str], Verdict]:
    """A task's source, and why it is not run, if so."""
    if task.notebook not in submission.chapters:
        return [], Verdict("not handed in")
    chapter = read_cells((NOTEBOOKS / task.notebook).read_bytes())
    parts = statements(task.name, submission.chapters[task.notebook], chapter)
    if not parts:
        return [], Verdict(f"the notebook does not define {task.name}")
    if line := forbidden(parts):
        return parts, Verdict(LOOK, f"in the line: {line}\nA solution does not need this.")
    return parts, Verdict(None)
