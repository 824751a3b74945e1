"""The student's side: runs the cells of tasks, asks their functions, answers in plain data.

It knows no right answer, and imports nothing of the package: the grader runs this file by itself,
in a process that cannot see the project. Arguments come pickled from the grader; what goes back
is JSON, one line a task.
"""

import ast
import contextlib
import ctypes
import faulthandler
import gc
import json
import linecache
import os
import pickle
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import Pipe
from typing import Any

import numpy as np
import torch
from torch import nn

_LARGEST = 1 << 18  # values of one array in an answer
LINE = 16 << 20  # bytes of a task's answers
END = b"end\n"  # of a submission's
LAST = b"last\n"  # no END follows: students' code may reach the grader's descriptors


def encode(value: Any) -> Any:
    """A value as JSON knows it; what is no number, text, array or container of these by its type.

    Exact types are asked for, so that an object that pretends to be a number is none.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple | range):
        return [encode(part) for part in value]
    if isinstance(value, nn.Module):
        value = {"state": dict(value.state_dict()), "training": value.training}
    if isinstance(value, torch.optim.Optimizer):
        value = value.state_dict()
    if isinstance(value, dict):
        return {str(key): encode(part) for key, part in value.items()}
    if isinstance(value, torch.Tensor):
        value = (value.float() if value.dtype is torch.bfloat16 else value).numpy(force=True)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size <= _LARGEST:
        return {"dtype": value.dtype.name, "values": value.tolist()}
    return {"other": type(value).__name__}


# -- ways to ask a function ------------------------------------------------------------------------


def slope(function: Callable, pred: torch.Tensor, *rest: Any) -> Any:
    """A loss and its gradient at the prediction."""
    leaf = pred.clone().requires_grad_(True)
    loss = function(leaf, *rest)
    if loss is None:
        return None
    smooth = isinstance(loss, torch.Tensor) and loss.requires_grad
    gradient = torch.autograd.grad(loss.sum(), leaf, allow_unused=True)[0] if smooth else None
    return {"loss": loss, "slope": gradient}


def by_hand(function: Callable, *arguments: Any) -> Any:
    """Without PyTorch's differentiation."""
    with torch.inference_mode():
        return function(*arguments)


def feed(function: Callable, channels: int, classes: int, images: torch.Tensor) -> Any:
    """What the layer that is returned makes of images."""
    layer = function(channels, classes)
    if not isinstance(layer, nn.Module):
        return layer
    with torch.no_grad():
        return {"maps": layer.eval()(images)}


def turns(function: Callable, model: Any, optimizer: Any, loss: Any, batches: list) -> list:
    """Several calls with the same objects."""
    for weights in model.parameters():
        weights.grad = torch.ones_like(weights)  # as an earlier step may leave it
    return [function(model, optimizer, loss, *batch) for batch in batches]


def draw(function: Callable, scores: np.ndarray, seed: int, resamples: int) -> dict:
    """With a generator; and whether it was used."""
    rng, fresh = (np.random.default_rng(seed) for _ in range(2))
    interval = function(scores, rng, resamples)
    return {"interval": interval, "drawn": rng.bit_generator.state != fresh.bit_generator.state}


_WAYS: dict[str, Callable] = {w.__name__: w for w in (slope, by_hand, feed, turns, draw)}


def ask(function: Callable, how: str, arguments: bytes) -> dict:
    """Put one question to a function; the answer in plain data.

    Returns:
        ``value``, and the arguments that were ``changed`` by their number; or ``error``.
    """
    try:
        # Layers begin at random; a notebook goes on as before.
        with torch.random.fork_rng(devices=[]):
            given = pickle.loads(arguments)
            before = [_trace(argument) for argument in given]
            value = encode(_WAYS[how](function, *given) if how else function(*given))
            after = [_trace(argument) for argument in given]
    except BaseException as error:  # whatever a student's code raises is an answer
        code = getattr(function, "__code__", None)
        return {"error": describe(error, getattr(code, "co_filename", ""))}
    changed = {str(k): new for k, new in enumerate(after) if new != before[k]}
    return {"value": value, "changed": changed}


def _trace(value: Any) -> Any:
    leaf = isinstance(value, torch.Tensor) and [value.requires_grad, value.grad is None]
    return [encode(value), leaf]


def describe(error: BaseException, file: str) -> dict:
    """An error's type, text, and the line of the student's that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.line for frame in frames if frame.filename == file]
    line = [getattr(error, "text", None), *own][-1]
    try:
        text = str(error)
    except Exception:  # an error of the student's own that cannot say what it is
        text = ""
    return {"type": type(error).__name__, "text": text[:2000], "line": (line or "").strip()[:200]}


def answers(name: str, source: str, questions: Sequence[tuple[str, bytes]]) -> Any:
    """The answers to all questions; or, as a dict, the error that came before the first."""
    file, space = f"<{name}>", {"__name__": "__main__"}
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    try:
        exec(compile(source, file, "exec"), space)
        function = space[name.split()[0]]  # tests ask several of one name
    except BaseException as error:  # SystemExit and KeyboardInterrupt as well
        return {"error": describe(error, file)}
    return [ask(function, *question) for question in questions]


# -- processes of their own ------------------------------------------------------------------------


def _limit(seconds: float) -> None:
    """Memory, file size, processor time and processes."""
    import resource  # which Windows lacks

    limits = {"DATA": 4 << 30, "CORE": 0, "FSIZE": 1 << 20, "CPU": int(seconds) + 5, "NPROC": 0}
    for name, most in limits.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not on this system
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def _without_compiler(job: tuple) -> None:
    """PyTorch's optimizers import its compiler, which takes longer than all tasks together."""
    if b"torch.optim" not in pickle.dumps(job):
        return
    compiler = types.SimpleNamespace(disable=lambda f, *_, **__: f, graph_break=lambda: None)
    sys.modules["torch._dynamo"] = torch._dynamo = compiler  # type: ignore[assignment]


def _apart(job: tuple, seconds: float, channel: int) -> Any:
    """A task's answers from a copy of this process, which ends with them."""
    ours, theirs = Pipe(duplex=False)
    child = os.fork()
    if not child:
        os.close(channel)
        _limit(seconds)
        _without_compiler(job)
        theirs.send_bytes(json.dumps(answers(*job)).encode())
        os._exit(0)
    theirs.close()
    os.setpgid(child, child)  # so that all that it starts ends with it
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return json.loads(ours.recv_bytes(LINE))
    except KeyboardInterrupt:
        return {"why": f"it ran longer than {seconds:g} s"}
    except (EOFError, OSError, ValueError, RecursionError):
        return {"why": "it ended its process"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for end in (os.kill, os.killpg):  # it may have left its group
            with contextlib.suppress(OSError):  # macOS refuses it to one that has ended
                end(child, signal.SIGKILL)
        os.waitpid(child, 0)


def imports(source: str) -> list[str]:
    """The import statements of a task, which the grader has seen; none of what is no Python."""
    try:
        nodes = ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def _import(lines: Iterable[str]) -> None:
    """Once for all copies of this process; what cannot be imported, its own task says."""
    for line in lines:
        with contextlib.suppress(BaseException):
            exec(line, {})
    gc.freeze()  # collecting would copy what the copies share


def _submission(seconds: float, jobs: Sequence[tuple], channel: int) -> None:
    """Answer for every task; where the system can, each in a copy of this process."""
    _import(line for _, source, _ in jobs for line in imports(source))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no task can trace this process
    for job in jobs:
        if hasattr(os, "fork"):
            answer = _apart(job, seconds, channel)
        else:  # Windows, where this is the only job
            _without_compiler(job)
            faulthandler.dump_traceback_later(seconds, exit=True)
            answer = answers(*job)
        os.write(channel, json.dumps([job[0], answer]).encode() + b"\n")
    os._exit(1)  # whatever a task left running; not 0, for a relay that comes here is the last


def _alone(seconds: float, jobs: Sequence[tuple], *grader: int) -> None:
    """One of many submissions, in Linux' namespaces of its own (man 7 namespaces).

    Nothing in them can see, end or trace a process of another submission, or this one, which
    relays the answers; nor is a file left for the next. Where namespaces are not allowed, this
    submission is the last. ``grader``: descriptors to it and from it, out of reach as well.
    """
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: it reaps grandchildren
    ours, theirs = os.pipe()
    between = os.fork()
    if not between:
        for descriptor in (ours, *grader):
            os.close(descriptor)
        os.setsid()  # a process group can be signalled from within
        _enter_namespaces()
        if os.fork():  # the other is the first in them: when it is ended, all are
            os._exit(0)
        _submission(seconds, jobs, theirs)
    os.close(theirs)
    if os.waitpid(between, 0)[1]:
        os.write(grader[0], LAST)
        _submission(seconds, jobs, grader[0])
    with os.fdopen(ours, "rb") as lines:
        for line in (lines.readline(LINE) for _ in jobs):
            if line[:1] + line[-1:] != b"[\n":  # the end, or no answer
                break
            os.write(grader[0], line)
        os.killpg(between, signal.SIGKILL)  # in its group is no other
        os.wait()
    os.write(grader[0], END)


def _enter_namespaces() -> None:
    """Of users, files, processes, messages and the network; ends the process if it may not.

    There /tmp/own, the current folder, is of its own and the one place to write to; /proc is
    empty, for the outer one shows other processes.
    """
    system, user, group = ctypes.CDLL(None), os.getuid(), os.getgid()
    maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
    users_and_files, others = 0x10000000 | 0x20000, 0x20000000 | 0x8000000 | 0x40000000
    here = os.open("/proc/self", os.O_PATH)
    # Twice: what is mounted in the first, the second cannot take away.
    for kinds in (users_and_files, users_and_files | others):
        if system.unshare(kinds):
            os._exit(1)
        for name, text in maps.items():
            to = os.open(name, os.O_WRONLY, dir_fd=here)
            os.write(to, text.encode())
            os.close(to)
        for place in (b"/tmp/own", b"/proc"):
            if system.mount(b"none", place, b"tmpfs", 0, b"size=64m"):
                os._exit(1)
    os.close(here)
    os.chdir("/tmp/own")  # else the current folder is the outer one


def main() -> None:
    """Answer for one submission; told what to import first, for one after another.

    The latter only imports and copies itself: a request or an answer that it had held would be in
    the memory of the next submission.
    """
    sys.modules["seghw"] = None  # type: ignore[assignment]  # where the project can be seen
    requests, channel = os.fdopen(os.dup(0), "rb"), os.dup(1)
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    torch.set_num_threads(1)
    _import(sys.argv[1:])
    while len(sys.argv) > 1:
        if not (relay := os.fork()):
            _alone(*pickle.load(requests), channel, requests.fileno())
            os._exit(0)
        if os.waitpid(relay, 0)[1]:  # the grader needs no more, or this was the last
            os._exit(0)
    os.write(channel, LAST)
    _submission(*pickle.load(requests), channel)


if __name__ == "__main__":
    main()
