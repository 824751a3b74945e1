"""The student's side: runs the cells of tasks, asks their functions, answers in plain data.

It knows no right answer, and imports nothing of the package: the grader runs this file by itself,
in a process that cannot see the project. Questions come as JSON on standard input, one line of JSON
goes back for each task. A question is a dict:

- ``calls``: lists of arguments, one list a call;
- ``objects``: what is built once and shared by the calls, by name: layers, models, optimizers;
- ``look``: names of objects whose state is part of the answer;
- ``feed``: arrays that the returned layer is asked about, in evaluation mode;
- ``slope``: whether the gradient of the result at the first argument is part of the answer;
- ``no_autograd``: whether PyTorch's differentiation is switched off.
"""

import ast
import base64
import importlib
import json
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

_LARGEST = 4 << 20  # bytes of one array in an answer
_DTYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)}
_DTYPES |= {"bool"}
#: What stands in for a loss in a question; none is the answer to a task.
_LOSSES = {
    "mse": F.mse_loss,
    "squares": lambda pred, target: (pred - target).square().sum(),
    "overlap": lambda pred, target: 1 - (pred.square() * target).mean(),
    "nothing": lambda pred, target: (0 * pred * target).sum(),
}


# -- plain data --------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """A value as JSON knows it; what is no number, text, array or container of these by its type.

    Exact types are asked for, so that an object that pretends to be a number is none.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, range):
        return list(value)
    if type(value) is list:
        return [encode(part) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(part)] for key, part in value.items()]}
    kind = "tensor" if isinstance(value, torch.Tensor) else "array"
    if kind == "tensor":
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray) and value.dtype.name in _DTYPES and value.nbytes <= _LARGEST:
        data = base64.b64encode(np.ascontiguousarray(value)).decode()
        return {kind: data, "dtype": value.dtype.name, "shape": list(value.shape)}
    return {"other": type(value).__name__}


def decode(plain: Any) -> Any:
    """The value that ``encode`` was given.

    Raises:
        ValueError, TypeError, KeyError: it is not what ``encode`` makes.
    """
    if isinstance(plain, list):
        return [decode(part) for part in plain]
    if not isinstance(plain, dict):
        return plain
    if "tuple" in plain:
        return tuple(decode(part) for part in plain["tuple"])
    if "dict" in plain:
        return {decode(key): decode(part) for key, part in plain["dict"]}
    kind = "tensor" if "tensor" in plain else "array"
    if plain["dtype"] not in _DTYPES:
        raise ValueError(f"no array is of type {plain['dtype']!r}")
    flat = np.frombuffer(base64.b64decode(plain[kind]), plain["dtype"])
    array = flat.reshape(plain["shape"]).copy()
    return torch.from_numpy(array) if kind == "tensor" else array


def build(plain: Any, objects: dict[str, Any]) -> Any:
    """A value, or what a dict with ``make`` describes, or with ``get`` one of the objects."""
    if isinstance(plain, list):
        return [build(part, objects) for part in plain]
    if isinstance(plain, dict) and "get" in plain:
        return objects[plain["get"]]
    if isinstance(plain, dict) and "make" in plain:
        return _MAKERS[plain["make"]](plain, objects)
    return decode(plain)


def _layer(plain: dict, objects: dict) -> nn.Module:
    layers = [getattr(nn, name)(*sizes, **more) for name, sizes, more in plain["layers"]]
    layer = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    layer.load_state_dict(decode(plain["state"]))
    for weights in layer.parameters() if plain.get("stale") else ():
        weights.grad = torch.ones_like(weights)  # as an earlier step may leave it
    return layer.train(plain["training"])


class _Momentum:
    """Gradient descent with momentum, to be used as those of ``torch.optim``.

    Those import PyTorch's compiler when first used, which takes longer than all tasks together.
    """

    def __init__(self, parameters, lr: float, momentum: float):
        self.param_groups = [{"params": list(parameters), "lr": lr, "momentum": momentum}]
        self.state: dict[torch.Tensor, dict] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        for weights in self.param_groups[0]["params"]:
            weights.grad = None

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        group = self.param_groups[0]
        for weights in group["params"]:
            if weights.grad is not None:
                old = self.state.get(weights, {"momentum_buffer": torch.zeros_like(weights)})
                speed = group["momentum"] * old["momentum_buffer"] + weights.grad
                self.state[weights] = {"momentum_buffer": speed}
                weights -= group["lr"] * speed

    def state_dict(self) -> dict:
        group = dict(self.param_groups[0])
        places = {weights: k for k, weights in enumerate(group["params"])}
        group["params"] = list(places.values())
        state = {places[weights]: dict(parts) for weights, parts in self.state.items()}
        return {"state": state, "param_groups": [group]}

    def load_state_dict(self, saved: dict) -> None:
        weights = self.param_groups[0]["params"]
        self.state = {weights[k]: dict(parts) for k, parts in saved["state"].items()}
        self.param_groups = [{**saved["param_groups"][0], "params": weights}]


def _optimizer(plain: dict, objects: dict) -> _Momentum:
    return _Momentum(objects[plain["of"]].parameters(), plain["lr"], plain["momentum"])


_MAKERS: dict[str, Callable[[dict, dict], Any]] = {
    "layer": _layer,
    "optimizer": _optimizer,
    "loss": lambda plain, _: _LOSSES[plain["name"]],
    "rng": lambda plain, _: np.random.default_rng(plain["seed"]),
    "leaf": lambda plain, _: decode(plain["value"]).requires_grad_(True),
}


# -- asking ------------------------------------------------------------------------------------


def ask(function: Callable, question: dict) -> dict:
    """Put one question to a function; the answer in plain data.

    Returns:
        ``values`` of the calls, numbers of the arguments that were ``changed``, and where asked for
        the ``slope`` and the state of ``objects``; or ``error``.
    """
    try:
        with torch.random.fork_rng(
            devices=[]
        ):  # layers begin at random; a notebook goes on as before
            return _ask(function, question)
    except BaseException as error:  # whatever a student's code raises is an answer
        return {"error": describe(error, getattr(function, "__code__", None))}


def _ask(function: Callable, question: dict) -> dict:
    objects: dict[str, Any] = {}
    for name, plain in question.get("objects", {}).items():
        objects[name] = build(plain, objects)
    answer: dict[str, Any] = {"values": [], "changed": []}
    for call in question["calls"]:
        given = build(call, objects)
        if question.get("slope"):
            given[0].requires_grad_(True)
        before = [_trace(value) for value in given]
        mode = torch.inference_mode if question.get("no_autograd") else torch.enable_grad
        with mode():
            value = function(*given)
        if question.get("slope"):
            answer["slope"] = _slope(value, given[0])
        if "feed" in question and isinstance(value, nn.Module):
            with torch.no_grad():
                value = [value.eval()(decode(images)) for images in question["feed"]]
        answer["values"].append(encode(value))
        after = [_trace(value) for value in given]
        answer["changed"] += [
            k for k, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]
        ]
    answer["objects"] = {name: _state(objects[name]) for name in question.get("look", ())}
    return answer


def _trace(value: Any) -> Any:
    """What is compared before and after a call."""
    if isinstance(value, torch.Tensor):
        return encode(value), value.requires_grad, value.grad is None
    return encode(value) if isinstance(value, np.ndarray | list | dict) else None


def _slope(value: Any, leaf: torch.Tensor) -> Any:
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return None
    return encode(torch.autograd.grad(value.sum(), leaf, allow_unused=True)[0])


def _state(item: Any) -> Any:
    if isinstance(item, np.random.Generator):
        return {"used": item.bit_generator.seed_seq is not None and item.random() != _fresh(item)}
    if isinstance(item, nn.Module):
        return {"state": encode(dict(item.state_dict())), "training": item.training}
    return encode(item.state_dict())


def _fresh(rng: np.random.Generator) -> float:
    return np.random.default_rng(rng.bit_generator.seed_seq.entropy).random()


def describe(error: BaseException, code: Any = None, file: str = "") -> dict:
    """An error's type, text, and the line of the student's that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    file = file or getattr(code, "co_filename", "")
    own = [frame for frame in frames if frame.filename == file]
    line = own[-1].line if own else getattr(error, "text", None)
    try:
        text = str(error)
    except Exception:  # an error of the student's own that cannot say what it is
        text = ""
    return {"type": type(error).__name__, "text": text[:2000], "line": (line or "").strip()[:200]}


# -- a process of its own ----------------------------------------------------------------------


def _limit(seconds: float) -> None:
    """Memory, file size, processor time and processes; Windows knows none of these."""
    try:
        import resource
    except ImportError:
        return
    limits = {"DATA": 4 << 30, "CORE": 0, "FSIZE": 1 << 20, "CPU": int(seconds) + 5, "NPROC": 0}
    for name, most in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
        except (OSError, ValueError, AttributeError):  # not on this system
            continue


def answers(name: str, parts: list[str], questions: list[dict]) -> Any:
    """The answers to all questions; or, as a dict, the error that came before the first."""
    file, space = f"<{name}>", {"__name__": "__main__"}
    source = "\n".join(parts)
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    try:
        exec(compile(source, file, "exec"), space)
        function = space[name.split()[0]]  # tests ask several of one name
    except BaseException as error:  # SystemExit and KeyboardInterrupt as well
        return {"error": describe(error, file=file)}
    return [ask(function, question) for question in questions]


def _send(channel: int, line: Any) -> None:
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(channel, data) :]


def _import_ahead(jobs: list) -> None:
    """What the cells import, once for all: the grader has seen that it is on the short list."""
    for _, parts, _ in jobs:
        for node in ast.walk(ast.parse("\n".join(parts))):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            inside = [f"{node.module}."] if isinstance(node, ast.ImportFrom) else [""]
            for module in [*inside, *(inside[0] + alias.name for alias in node.names)]:
                try:
                    importlib.import_module(module.strip("."))
                except Exception:  # no module but a name in one; else the cell itself will say so
                    continue


def main() -> None:
    """Answer for every task; where the system can, each in a copy of this process."""
    sys.modules["seghw"] = None  # type: ignore[assignment]  # where the project can be seen
    request = json.load(sys.stdin)
    channel, silent = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    torch.set_num_threads(1)
    _import_ahead(request["jobs"])
    _send(channel, "ready")
    for name, parts, questions in request["jobs"]:
        child = os.fork() if hasattr(os, "fork") else 0
        if not child:
            if hasattr(os, "fork"):
                _limit(request["seconds"])
            _send(channel, [name, answers(name, parts, questions)])
            if hasattr(os, "fork"):
                os._exit(0)
        else:
            os.waitpid(child, 0)
            _send(channel, [name, {"ended": True}])  # read only if no answer came before it
    os._exit(0)  # what a task left running does not hold the process


if __name__ == "__main__":
    main()
