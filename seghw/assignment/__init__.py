"""The assignment: what a task asks, checked while a student works and again when it is graded."""

from collections.abc import Callable
from typing import Any

from seghw.assignment import reference
from seghw.assignment.checks import CHECKS

__all__ = ["CHECKS", "SEEDS", "check", "fault", "solved"]

#: Of the inputs that a task is graded on.
SEEDS = (0, 1, 2)
_given: dict[str, Callable] = {}


def fault(name: str, function: Callable, seed: int = 0) -> str | None:
    """The idea that a solution misses, in one sentence; None if there is none.

    Args:
        name: of the task, a key of ``CHECKS``.
        function: the student's.
        seed: of the made-up inputs.
    """
    try:
        for right, idea in CHECKS[name](function, seed):
            if not right:
                return idea
    except NotImplementedError:
        return "not solved yet"
    except Exception as error:  # whatever a student's code raises is an answer to the task
        return f"it stopped with {type(error).__name__}: {error}".splitlines()[0]
    return None


def check(name: str, function: Callable) -> Any:
    """Say whether a task is solved, and return the function that later cells use.

    That is the student's own if it passes, else the package's version, so that the notebook can
    be read to its end.
    """
    _given[name] = function
    found = fault(name, function)
    if found is None:
        print(f"{name}: solved")
        return function
    print(f"{name}: {found}. Until then, later cells use the package's version.")
    return getattr(reference, name)


def solved(name: str) -> None:
    """For grading: raise ``AssertionError`` unless the checked function passes on other inputs."""
    for seed in SEEDS:
        found = fault(name, _given[name], seed)
        assert found is None, found
