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
import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from seghw.assignment import harness
from seghw.assignment.notebooks import tasks
from seghw.config import ROOT

SECONDS = 10.0  # a task may take; a right solution takes a fraction of one
_START = 120.0  # seconds to import everything, on a busy machine
_HARNESS = Path(__file__).with_name("harness.py")


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
    if os.geteuid() == 0:  # its powers go, but for what a namespace inside asks (Linux 5.12)
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETFCAP"]
    places = (Path("/run"), Path.home(), ROOT, *hidden)  # /run: sockets of the system
    covered = {str(p.resolve()) for p in places if p.is_dir() and p.resolve() != Path("/")}
    for place in sorted({*covered, sys.prefix, sys.base_prefix}):  # what lies deeper comes later
        command += ["--tmpfs", place] if place in covered else ["--ro-bind", place, place]
    command += ["--ro-bind", str(_HARNESS), "/tmp/harness.py"]
    command += ["--tmpfs", "/tmp/own", "--chdir", "/tmp/own"]
    for place in (*covered, "/dev", "/tmp"):
        command += ["--remount-ro", place]
    works = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, check=False)
    return tuple(command) if works.returncode == 0 else ()


class Sandbox:
    """Processes that ask tasks; on leaving it they end, with all that they started.

    In bubblewrap one process serves many submissions, for its imports take longer than most
    submissions: each is asked in namespaces of its own, where the system allows it. Elsewhere each
    has a process of its own.

    Args:
        hidden: folders that the students' code must not see.
    """

    def __init__(self, *hidden: Path) -> None:
        self.command = guard(*hidden)
        self._folder = tempfile.TemporaryDirectory()
        self._running: set[subprocess.Popen] = set()
        self._idle: list[subprocess.Popen] = []
        self._closed = False

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for child in list(self._running):
            self._end(child)
        self._folder.cleanup()

    def run(self, jobs: Mapping[str, tuple[str, Sequence]], seconds: float = SECONDS) -> dict:
        """Ask every task of a submission; each may take so many seconds of wall time.

        Args:
            jobs: task to its source and its questions; see ``harness.answers``.

        Returns:
            Task to its answers as plain data, one per question, or to a dict with ``why`` not.
        """
        answers: dict[str, Any] = {}
        while left := {name: job for name, job in jobs.items() if name not in answers}:
            # Without copies of a process, one task may spoil it for those after it.
            batch = left if hasattr(os, "fork") else dict([*left.items()][:1])
            done, why = self._ask(batch, seconds)
            first = next((name for name in batch if name not in done), None)
            answers |= done | ({first: {"why": why}} if first else {})
        return answers

    def _ask(self, jobs: Mapping, seconds: float) -> tuple[dict[str, Any], str]:
        """The answers that came, and why there are no more."""
        child = self._idle_child() or self._start()
        answers, is_ready, is_last, limit = {}, False, False, _START + seconds * len(jobs)
        timer, latest = threading.Timer(limit, child.kill), time.monotonic() + limit
        try:
            timer.start()
            if self._closed:  # which has not seen this child
                raise InterruptedError("the grading was interrupted")
            with contextlib.suppress(OSError):  # it has ended
                pickle.dump((seconds, [(name, *job) for name, job in jobs.items()]), child.stdin)
                child.stdin.flush()
            for line in iter(lambda: child.stdout.readline(2 * harness.LINE), b""):
                is_last |= line == harness.LAST
                if is_ready := line == harness.END and not is_last:
                    break
                with contextlib.suppress(ValueError, TypeError, RecursionError):  # a task wrote it
                    name, answer = json.loads(line)
                    if name in jobs:
                        answers[name] = answer
        finally:
            timer.cancel()
            if is_ready:
                self._idle.append(child)
            else:
                self._end(child)
        # Where nothing forks, the harness's own watch over a task ends the process with 1.
        late = time.monotonic() > latest or (not hasattr(os, "fork") and child.returncode == 1)
        return answers, f"it ran longer than {seconds:g} s" if late else "it ended its process"

    def _idle_child(self) -> subprocess.Popen | None:
        with contextlib.suppress(IndexError):  # there is none
            while (child := self._idle.pop()).poll() is not None:
                self._end(child)
            return child
        return None

    def _start(self) -> subprocess.Popen:
        place = "/tmp/harness.py" if self.command else str(_HARNESS)
        # Of the chapters' solutions the imports alone: where /proc can be seen, so can a command.
        parts = (part for task in tasks() for part in task.parts) if self.command else ()
        lines = sorted({*chain(*map(harness.imports, parts))})
        child = subprocess.Popen(
            [*self.command, sys.executable, "-s", "-P", "-W", "ignore", place, *lines],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL},
            cwd=self._folder.name,
            env=_environment("/tmp/own" if self.command else self._folder.name),
            start_new_session=True,
        )
        self._running.add(child)
        return child

    def _end(self, child: subprocess.Popen) -> None:
        with contextlib.suppress(OSError, AttributeError):  # gone; or Windows, without groups
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()
        with contextlib.suppress(OSError):  # what could not be sent to it
            child.stdin.close()
        child.stdout.close()
        self._running.discard(child)


def _environment(folder: str) -> dict[str, str]:
    """What a library needs, and nothing of what else the grader's own environment holds."""
    passed = ("PATH", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    settings = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg"}
    settings["CUDA_VISIBLE_DEVICES"] = ""  # autograd starts a thread a GPU, which limits refuse
    places = {"HOME": folder, "TMPDIR": folder, "TEMP": folder, "MPLCONFIGDIR": folder}
    return {k: os.environ[k] for k in passed if k in os.environ} | settings | places
