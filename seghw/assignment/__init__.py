"""The assignment: tasks of the chapters, checked while a student works and again when graded."""

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["check", "solved"]

_given: dict[str, Callable] = {}


class Waiting(Exception):
    """A cell waits for a task that is not solved yet; shown in one line."""

    def _render_traceback_(self) -> list[str]:  # as IPython asks an exception
        return [str(self)]


def check(name: str, function: Callable) -> Any:
    """Say whether a task is solved, and return the function that later cells use.

    That is the student's own if it passes; else the package's where it has the same, or a function
    that says what the cell waits for.
    """
    from seghw import losses
    from seghw.assignment.assess import visible

    _given[name] = function
    verdict = _verdict(function, visible(name))
    if verdict.fault is None:
        print(f"{name}: solved")
        return function
    print("\n".join(filter(None, [f"{name}: {verdict.fault}", verdict.detail])))

    def waiting(*_: Any, **__: Any) -> None:
        raise Waiting(f"This cell waits for the task `{name}` above.")

    package = {"printed_dice": losses.report_dice_loss, "dice": losses.dice_loss}
    return package.get(name, waiting)


def solved(name: str) -> None:
    """For nbgrader: raise ``AssertionError`` unless the checked function passes all questions."""
    from seghw.assignment.assess import all_questions

    verdict = _verdict(_given[name], all_questions(name))
    assert verdict.fault is None, verdict.fault


def _verdict(function: Callable, questions: list):
    from seghw.assignment.harness import ask
    from seghw.assignment.judge import Verdict, judge
    from seghw.assignment.notebooks import forbidden

    try:
        line = forbidden([inspect.getsource(function)])
    except (OSError, TypeError, IndentationError):  # not of a cell, so not to be had
        line = None
    if line:
        return Verdict("a solution does not need this, so a teacher will look at it", line)
    return judge(questions, [ask(function, *question.asked()) for question in questions])
