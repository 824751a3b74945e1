"""The assignment: tasks of the chapters, checked while a student works and again when graded."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from seghw import losses
from seghw.assignment import assess, harness, judge, notebooks

__all__ = ["check", "solved"]

#: What later cells use while the student's own does not pass, where the package has the same.
_PACKAGE = {"printed_dice": losses.report_dice_loss, "dice": losses.dice_loss}
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
    _given[name] = function
    verdict = _verdict(function, assess.visible(name))
    if verdict.fault is None:
        print(f"{name}: solved")
        return function
    print("\n".join(filter(None, [f"{name}: {verdict.fault}", verdict.detail])))

    def waiting(*_: Any, **__: Any) -> None:
        raise Waiting(f"This cell waits for the task `{name}` above.")

    return _PACKAGE.get(name, waiting)


def solved(name: str) -> None:
    """For nbgrader: raise ``AssertionError`` unless the checked function passes all questions."""
    verdict = _verdict(_given[name], assess.all_questions(name))
    assert verdict.fault is None, verdict.fault


def _verdict(function: Callable, questions: Sequence[judge.Question]) -> judge.Verdict:
    try:
        line = notebooks.forbidden([inspect.getsource(function)])
    except (OSError, TypeError, IndentationError):  # not of a cell, so not to be had
        line = None
    if line:
        return judge.Verdict("a solution does not need this, so a teacher will look at it", line)
    answers = []
    for question in questions:
        answers.append(harness.ask(function, *question.asked()))
        if answers[-1].get("error", {}).get("type") == "KeyboardInterrupt":
            raise KeyboardInterrupt
    return judge.judge(questions, answers)
