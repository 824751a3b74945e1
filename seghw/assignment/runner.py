"""Runs the harness in a process that cannot see the project, and reads what it answers.

On Linux bubblewrap makes the whole disk read-only, hides the project, the submissions and the home
folder, and leaves no network; all that a submission starts ends with it. Elsewhere the system's
limits hold (see ``harness``). Time is kept here: a task that answers too late ends the process, and
the others go on in a new one.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from seghw.config import ROOT

SECONDS = 10.0  # a task may take; a right solution takes a fraction of one
_START = 120.0  # seconds to import everything, on a busy machine
_LINE = 16 << 20  # bytes of a task's answers
_HARNESS = Path(__file__).with_name("harness.py")
_running: set[subprocess.Popen] = set()

#: A task's source: the statements that it needs, then the one that defines it.
Jobs = Mapping[str, tuple[Sequence[str], Sequence[dict]]]


@cache
def guard(*hidden: Path) -> tuple[str, ...]:
    """The command that a process is run by, so that it cannot change or see anything.

    Returns:
        Nothing where bubblewrap is missing or not allowed.
    """
    bubblewrap = shutil.which("bwrap")
    if sys.platform != "linux" or not bubblewrap:
        return ()
    command = [bubblewrap, "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--dev", "/dev"]
    command += ["--proc", "/proc", "--unshare-all", "--die-with-parent", "--new-session"]
    for place in (Path.home(), ROOT, *hidden):
        if place.is_dir() and place.resolve() != Path("/"):
            command += ["--tmpfs", str(place.resolve())]
    for place in {sys.prefix, sys.base_prefix}:
        command += ["--ro-bind", place, place]
    command += ["--ro-bind", str(_HARNESS), "/tmp/harness.py", "--chdir", "/tmp"]
    works = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, check=False)
    return tuple(command) if works.returncode == 0 else ()


def run(jobs: Jobs, seconds: float = SECONDS, hidden: Sequence[Path] = ()) -> dict[str, Any]:
    """Ask every task; each may take so many seconds of wall time.

    Args:
        jobs: task to its source and its questions.
        hidden: folders that the students' code must not see.

    Returns:
        Task to its answers as plain data, one per question, or to a dict with ``why`` not.
    """
    answers: dict[str, Any] = {}
    left = dict(jobs)
    while left:
        done, why = _run(left, seconds, guard(*map(Path, hidden)))
        answers |= done
        left = {name: job for name, job in left.items() if name not in done}
        if left:
            name = next(iter(left))
            answers[name] = {"why": why}
            del left[name]
    return answers


def _run(jobs: Jobs, seconds: float, command: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Answers of the first tasks, up to one that gave none, and what became of that one."""
    with tempfile.TemporaryDirectory() as folder:
        harness = "/tmp/harness.py" if command else str(_HARNESS)
        child = subprocess.Popen(
            [*command, sys.executable, "-s", "-P", "-W", "ignore", harness],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL},
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        _running.add(child)
        try:
            lines: queue.Queue = queue.Queue(100)
            threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
            listed = [[name, list(parts), list(asked)] for name, (parts, asked) in jobs.items()]
            with contextlib.suppress(OSError):  # it ended already; that shows below
                child.stdin.write(json.dumps({"jobs": listed, "seconds": seconds}).encode())
                child.stdin.close()
            return _collect(list(jobs), lines, seconds)
        finally:
            end(child)
            _running.discard(child)


def _collect(names: list[str], lines: queue.Queue, seconds: float) -> tuple[dict[str, Any], str]:
    answers: dict[str, Any] = {}
    deadline, expected = time.monotonic() + _START, ["", *names]
    while len(answers) < len(names):
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            return answers, f"it ran longer than {seconds:g} s"
        if line is None:
            return answers, "it ended its process"
        name, answer = _parsed(line)
        if name != expected[0]:  # what a task wrote there itself
            continue
        if answer == {"ended": True}:
            answer = {"why": "it ended its process"}
        if expected.pop(0):
            answers[name] = answer
        deadline = time.monotonic() + seconds
    return answers, ""


def _parsed(line: bytes) -> tuple[Any, Any]:
    try:
        found = json.loads(line)
        return ("", None) if found == "ready" else tuple(found)[:2]
    except (ValueError, TypeError, RecursionError):
        return None, None


def _read(stream: Any, lines: queue.Queue) -> None:
    with contextlib.suppress(OSError, ValueError):  # the stream was closed meanwhile
        while (line := stream.readline(_LINE)).endswith(b"\n"):
            lines.put(line)
    lines.put(None)


def _environment(folder: str) -> dict[str, str]:
    """What a library needs, and nothing of what else the grader's own environment holds."""
    passed = ("PATH", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    settings = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg"}
    places = {"HOME": folder, "TMPDIR": folder, "TEMP": folder, "MPLCONFIGDIR": folder}
    return {k: os.environ[k] for k in passed if k in os.environ} | settings | places


def end(child: subprocess.Popen) -> None:
    """End a process and what it started."""
    with contextlib.suppress(OSError, AttributeError):  # gone; or Windows, which has no groups
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()
    child.stdout.close()


def end_all() -> None:
    """End whatever runs, when the grading itself is interrupted."""
    for child in list(_running):
        end(child)
