"""From a folder of submissions to points: a CSV with a row for each, and a page of feedback.

Every file and folder gets a row, whatever it is. The table is written anew after each submission,
so that an interruption leaves what is graded so far.
"""

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import jinja2
import pandas as pd

from seghw.assignment.assess import LOOK, Result, all_questions, assess
from seghw.assignment.notebooks import outline, tasks
from seghw.assignment.runner import SECONDS, Sandbox
from seghw.assignment.submissions import Submission, read, student
from seghw.errors import BadInput, reason, whole_number
from seghw.io import atomic_write, write_csv

_LONG = 60  # nodes of a function that two people do not write alike by chance
_PAGE = Path(__file__).with_name("feedback.html")


@dataclass(frozen=True)
class Graded:
    """One row: who, what came of each task, and what to know about it."""

    name: str
    identifier: str
    results: list[Result]
    remark: str
    words: dict[str, str]

    def points(self, partial: bool) -> float:
        return sum(result.points(partial) for result in self.results)


def grade(
    submissions: Path,
    out: Path,
    *,
    seconds: float = SECONDS,
    jobs: int = 1,
    partial: bool = False,
) -> Path:
    """Grade everything in a folder.

    Args:
        out: where ``grades.csv`` goes, with the pages and the other tables.
        seconds: that a task may take.
        jobs: submissions side by side.
        partial: whether a task counts in part; see ``Result.points``.

    Returns:
        The table.

    Raises:
        BadInput: there is nothing to grade.
    """
    if not submissions.is_dir():
        raise BadInput(f"{str(submissions)!r} is no folder with submissions: SUBMISSIONS=folder")
    entries = sorted(p for p in submissions.iterdir() if not p.name.startswith("."))
    if not entries:
        raise BadInput(f"{submissions} is empty: put one zip or folder per student into it")
    whole_number("--jobs", jobs, 1)
    if not seconds > 0:
        raise BadInput(f"--seconds must be positive, got {seconds:g}")
    students = _students(entries)
    keys = {path: identifier or _clean(name) for path, (name, identifier) in students.items()}
    before = _before(out / "grades.csv", {*keys.values()})
    out.mkdir(parents=True, exist_ok=True)  # the sandbox hides only what is there
    questions = {task.name: all_questions(task.name) for task in tasks()}
    table = {path: before[key] for path, key in keys.items() if key in before}
    rows: dict[Path, Graded] = {}
    with ThreadPoolExecutor(jobs) as pool, Sandbox(submissions, out) as sandbox:
        if not sandbox.command:
            _say("bubblewrap is missing or not allowed: no sandbox; see notebooks/TEACHING.md")
        try:
            work = {
                pool.submit(_graded, path, who, questions, sandbox, seconds): path
                for path, who in students.items()
            }
            for future in as_completed(work):
                path, newest = work[future], future.result()
                rows[path] = newest
                table[path] = _row(newest, before.get(keys[path], {}), partial)
                with atomic_write(out / "grades.csv") as temporary:
                    lines = pd.DataFrame([table[path] for path in entries if path in table])
                    lines.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8-sig")
                _write_pages(out, newest, partial)
                _say(f"{newest.name}: {newest.points(partial):g} points. {newest.remark}")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    for page in [*out.glob("feedback/*.html"), *out.glob("gradescope/*.json")]:
        if page.stem not in {_slug(row.name) for row in rows.values()}:  # of an earlier grading
            page.unlink()
    _write_statistics(out, [rows[path] for path in entries])
    return out / "grades.csv"


def _graded(
    path: Path, who: tuple[str, str], questions: Mapping, sandbox: Sandbox, seconds: float
) -> Graded:
    """One submission's row; whatever is the matter with it stays in that row."""
    submission, results = Submission(), assess(Submission(), questions, sandbox)
    try:
        submission = read(path)
        results = assess(submission, questions, sandbox, seconds)
    except BadInput as error:
        submission.remarks.append(reason(error))
    except Exception as error:  # an archive is damaged in one of many ways, say
        submission.remarks.append(f"cannot be read or graded: {reason(error)}")
    look = [f"look at {result.task.name}" for result in results if result.verdict.fault == LOOK]
    remark = _clean("; ".join([*look, *submission.remarks]))
    return Graded(*who, results, remark, submission.words)


def _students(entries: Iterable[Path]) -> dict[Path, tuple[str, str]]:
    """Names and identifiers; equal names are numbered, so that no row takes another's place."""
    taken: set[str] = set()
    students = {}
    for path in entries:
        name, identifier = student(path)
        numbered = chain([name], (f"{name} ({k})" for k in count(2)))
        name = next(each for each in numbered if _slug(each) not in taken)
        taken.add(_slug(name))
        students[path] = name, identifier
    return students


def _slug(name: str) -> str:
    name = re.sub(r"[^\w-]+", "-", name).encode("utf-8", "replace")[-200:].decode(errors="ignore")
    return name.strip("-").lower() or "nameless"  # no longer than a file's name may be


def _clean(text: str) -> str:
    """One line that every table takes: no lone surrogate, no formula."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _say(text: str) -> None:
    """Print; a narrow or closed terminal does not end the grading."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


# -- tables and pages ------------------------------------------------------------------------------


def _before(table: Path, now: Set[str]) -> dict[str, dict]:
    """Students' rows of an earlier grading, with the points that were given by hand.

    By identifier, or name where there is none. ``BadInput`` where they cannot be read, or are of
    somebody who is not graded ``now``, before anything is written over them.
    """
    if not table.is_file():
        return {}
    try:
        records = pd.read_csv(table, dtype=str, na_filter=False).to_dict("records")
        rows = {row["ID"] or row["Student"]: row for row in records}
    except (KeyError, ValueError) as error:
        how = "save it with commas and in UTF-8, or move it away"
        raise BadInput(f"{table} is no table of an earlier grading ({error!r}); {how}") from error
    by_hand = {k for k, row in rows.items() if any(row[c] for c in row if "(by hand" in c)}
    if gone := sorted(by_hand - now):
        whose = f"{table} has points by hand of {gone[0]!r}, who has no submission here"
        raise BadInput(f"{whose}: give another --out")
    return rows


def _row(graded: Graded, before: dict, partial: bool) -> dict[str, str]:
    points, most = graded.points(partial), sum(task.points for task in tasks())
    by_hand = [f"{task.name} (by hand, of {task.points})" for task in tasks("markdown")]
    return {
        "Student": _clean(graded.name),
        "ID": graded.identifier,
        "Points": f"{points:g}",
        "Maximum": f"{most:g}",
        "Percent": f"{100 * points / most:.1f}",
        "Before": before.get("Points", ""),
        **{result.task.name: f"{result.points(partial):g}" for result in graded.results},
        **{column: before.get(column, "") for column in by_hand},
        "Remark": graded.remark,
    }


def _write_pages(out: Path, row: Graded, partial: bool) -> None:
    """What the student reads, and Gradescope's ``results.json``."""
    template = jinja2.Environment(autoescape=True).from_string(_PAGE.read_text(encoding="utf-8"))
    most = sum(result.task.points for result in row.results)
    words = tasks("markdown")
    total = row.points(partial)
    page = template.render(row=row, partial=partial, most=most, total=total, words=words)
    tests = [
        {
            "name": f"{result.task.notebook[:2]} {result.task.title}",
            "score": result.points(partial),
            "max_score": result.task.points,
            "output": _clean(result.verdict.fault or "solved"),
        }
        for result in row.results
    ]
    scores = json.dumps({"score": total, "tests": tests}, indent=1)
    for place, text in (("feedback/{}.html", page), ("gradescope/{}.json", scores)):
        with atomic_write(out / place.format(_slug(row.name))) as path:
            path.write_text(text, encoding="utf-8", errors="replace")


def _write_statistics(out: Path, rows: Sequence[Graded]) -> None:
    """Per task how many solved it and which ideas were missed; who wrote alike."""
    lines, alike = [], []
    for task, *results in zip(tasks(), *(row.results for row in rows), strict=True):
        missed = Counter(r.verdict.fault for r in results if r.verdict.fault)
        first = [task.notebook[:2], task.name, len(rows) - missed.total(), len(rows)]
        lines += [[*first, _clean(idea), count] for idea, count in missed.most_common()] or [first]
        wrote = defaultdict(list, {outline(task.parts[-1]): ["the chapter"]})
        for row, result in zip(rows, results, strict=True):
            if result.parts:
                wrote[outline(result.parts[-1])].append(_clean(row.name))
        alike += [
            [*first[:2], length, ", ".join(names)]
            for (_, length), names in wrote.items()
            if length >= _LONG and len(names) > 1
        ]
    head = ["chapter", "task", "solved", "of", "idea missed", "by"]
    write_csv(out / "tasks.csv", head, lines)
    write_csv(out / "alike.csv", ["chapter", "task", "length", "equal up to names"], alike)
