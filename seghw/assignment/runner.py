"""Runs the harness in a process that cannot see the project, and reads what it answers.

On Linux bubblewrap makes the whole disk read-only, hides the project, the submissions and the home
folder, and leaves no network; all that a submission starts ends with it. Elsewhere the system's
limits hold (see ``harness``).
"""

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from seghw.config import ROOT

SECONDS = 10.0  # a task may take; a right solution takes a fraction of one
_START = 120.0  # seconds to import everything, on a busy machine
_HARNESS = Path(__file__).with_name("harness.py")
_running: set[subprocess.Popen] = set()
stopped = threading.Event()  # the grading is interrupted: start nothing more


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
    for place in (Path("/run"), Path.home(), ROOT, *hidden):  # /run: sockets of the system
        if place.is_dir() and place.resolve() != Path("/"):
            command += ["--tmpfs", str(place.resolve())]
    for place in {sys.prefix, sys.base_prefix}:
        command += ["--ro-bind", place, place]
    command += ["--ro-bind", str(_HARNESS), "/tmp/harness.py", "--chdir", "/tmp"]
    works = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, check=False)
    return tuple(command) if works.returncode == 0 else ()


def run(
    jobs: Mapping[str, tuple[str, Sequence]], seconds: float = SECONDS, hidden: Sequence[Path] = ()
) -> dict[str, Any]:
    """Ask every task; each may take so many seconds of wall time.

    Args:
        jobs: task to its source and its questions; see ``harness.answers``.
        hidden: folders that the students' code must not see.

    Returns:
        Task to its answers as plain data, one per question, or to a dict with ``why`` not.
    """
    answers: dict[str, Any] = {}
    while left := {name: job for name, job in jobs.items() if name not in answers}:
        # Without copies of a process, one task may spoil it for those after it.
        batch = left if hasattr(os, "fork") else dict([*left.items()][:1])
        done, why = _run(batch, seconds, guard(*map(Path, hidden)))
        first = next((name for name in batch if name not in done), None)
        answers |= done | ({first: {"why": why}} if first else {})
    return answers


def _run(jobs: Mapping, seconds: float, command: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The answers that came, and why there are no more."""
    harness = "/tmp/harness.py" if command else str(_HARNESS)
    why = "it ended its process"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out:
        child = subprocess.Popen(
            [*command, sys.executable, "-s", "-P", "-W", "ignore", harness],
            **{"stdin": subprocess.PIPE, "stdout": out, "stderr": subprocess.DEVNULL},
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        _running.add(child)
        try:
            if stopped.is_set():  # asked for last: ``end_all`` has not seen this child
                raise InterruptedError("the grading was interrupted")
            request = pickle.dumps((seconds, [(name, *job) for name, job in jobs.items()]))
            child.communicate(request, timeout=_START + seconds * len(jobs))
        except subprocess.TimeoutExpired:
            why = f"it ran longer than {seconds:g} s"
        finally:
            end(child)
            _running.discard(child)
        out.seek(0)
        answers = {}
        for line in out:
            with contextlib.suppress(ValueError, TypeError, RecursionError):  # a task wrote it
                name, answer = json.loads(line)
                if name in jobs:
                    answers[name] = answer
        return answers, why


def _environment(folder: str) -> dict[str, str]:
    """What a library needs, and nothing of what else the grader's own environment holds."""
    passed = ("PATH", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    settings = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg"}
    settings["CUDA_VISIBLE_DEVICES"] = ""  # autograd starts a thread a GPU, which limits refuse
    places = {"HOME": folder, "TMPDIR": folder, "TEMP": folder, "MPLCONFIGDIR": folder}
    return {k: os.environ[k] for k in passed if k in os.environ} | settings | places


def end(child: subprocess.Popen) -> None:
    """End a process and what it started."""
    with contextlib.suppress(OSError, AttributeError):  # gone; or Windows, which has no groups
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


def end_all() -> None:
    """End whatever runs, when the grading itself is interrupted."""
    stopped.set()
    for child in list(_running):
        end(child)
