"""From answers to a sentence: which questions are right, and which idea was missed."""

import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from seghw.assignment.harness import encode


@dataclass(frozen=True)
class Verdict:
    """What came of a task."""

    fault: str | None  # the missed idea in one sentence; None where it is solved
    detail: str = ""  # the student's line and the whole error, or what came and what was expected
    share: float = 0.0  # of the ideas that are right, 0..1


def same(want: Any, got: Any, tolerance: float = 1e-5) -> bool:
    """Equal in plain data: numbers up to rounding; arrays, tensors and lists of numbers alike."""
    numbers = _array(want)
    if numbers is not None:
        theirs = _array(got)
        if theirs is None or theirs.shape != numbers.shape:
            return False
        if isinstance(want, dict) and numbers.dtype == bool and theirs.dtype != bool:
            return False
        pair = theirs.astype(float), numbers.astype(float)
        return np.allclose(*pair, rtol=1e-4, atol=tolerance, equal_nan=True)
    if isinstance(want, dict) and isinstance(got, dict) and want.keys() == got.keys():
        return all(same(want[key], got[key], tolerance) for key in want)
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        return all(same(*pair, tolerance) for pair in zip(want, got, strict=True))
    return type(want) is type(got) and want == got


def _array(value: Any) -> np.ndarray | None:
    """A number, array or nested list of numbers; None if it is no such thing."""
    try:
        array = np.asarray(_decoded(value))
    except (ValueError, TypeError, OverflowError):
        return None
    return array if array.dtype.kind in "biuf" else None


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if isinstance(value, dict) and value.keys() == {"dtype", "values"}:
        if not re.fullmatch(r"bool|u?int\d\d?|float\d\d", value["dtype"]):
            raise ValueError(f"no array is of type {value['dtype']!r}")
        return np.asarray(value["values"], value["dtype"])
    return value


# -- when an answer is right: True, False, or a sentence that says why not -------------------------


def equal(question: "Question", got: Any) -> bool | str:
    """What the chapter's solution answers."""
    return same(question.want["value"], got, question.tolerance)


def number(question: "Question", got: Any) -> bool | str:
    """The same, and no tensor."""
    plain = not any(isinstance(v, dict) for v in (got if isinstance(got, list) else [got]))
    return equal(question, got) and (plain or "return a number: item() makes one of a tensor")


def ragged(question: "Question", got: Any) -> bool | str:
    """The same mask; on the edge of what is no box pixels may differ, for rules do."""
    if len(question.arguments[0][0]) == 8:
        return equal(question, got)
    mask, theirs = _array(question.want["value"]), _array(got)
    edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    return theirs.dtype == bool and bool((theirs == mask)[~edge].all())


def deepest(question: "Question", got: Any) -> bool | str:
    """x and y of any of the pixels that lie deepest inside the mask."""
    depth = ndimage.distance_transform_edt(np.pad(question.arguments[0], 1))[1:-1, 1:-1]
    x, y = (int(v) for v in _array(got))
    return x >= 0 <= y and bool(depth[y, x] > depth.max() - 1e-9)


def dense(question: "Question", got: Any) -> bool | str:
    """Whether an output layer treats all pixels alike.

    It was asked about an image, and about the image with one position changed, for each position;
    then which positions a pixel sees is where the output differs.
    """
    height, width = question.arguments[2].shape[2:]
    size = _array(question.want["value"]["maps"]).shape
    if not isinstance(got, dict) or "maps" not in got:
        return "return a layer (an nn.Module), not its output"
    out = _array(got["maps"])
    if out.shape != size:
        wanted = f"{height} x {width} positions become {size[1:]} (classes, 2 H, 2 W)"
        return f"{wanted}, got {out.shape[1:]}"
    sees = np.abs(out[1:] - out[0]).max(1) > 1e-7 * np.abs(out).max()  # (positions, 2 H, 2 W)
    if not sees.any(0).all():
        return f"{1 - sees.any(0).mean():.0%} of the pixels are constant: they do not see the image"
    if sees.all(0).any() or np.ptp(out[0], (1, 2)).min() < 1e-6:
        return "every pixel is predicted alike: a pixel must see its own place, not the whole image"
    if any(np.allclose(out[:, 0], out[:, c]) for c in range(1, size[1])):
        return "every class needs a map of its own"
    taps = sees.sum(0)[4:-4, 4:-4]
    if (taps != taps[0, 0]).any():
        return "some pixels get more taps than others: the stride must divide the kernel"
    y, x = np.indices(size[2:])[:, 4:-4, 4:-4]
    own = sees.reshape(height, width, *size[2:])[y // 2, x // 2, y, x]
    return bool(own.all()) or "a pixel must see the position that it lies in"


@dataclass
class Question:
    """What a function is asked, and beside it, never sent to the student's side, what is right."""

    idea: str  # the sentence to say where the answer is wrong
    arguments: tuple
    how: str = ""  # one of the harness's ways
    agree: Callable[["Question", Any], bool | str] = equal
    tolerance: float = 1e-5  # how far numbers may lie apart
    hidden: bool = False  # only the grader asks it, so what came is not shown
    want: dict = field(default_factory=dict)  # the answer of the chapter's own solution
    traps: dict = field(default_factory=dict)  # sentence to the answer that a mistake gives

    def asked(self) -> tuple[str, bytes]:
        """What the student's side gets."""
        return self.how, pickle.dumps(self.arguments)


#: What questions are made of beside plain data: all that an edition's file of them may name.
IN_QUESTIONS = (
    *(Question, equal, number, ragged, dense, deepest, partial, defaultdict, dict),
    *(nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Linear, nn.Sequential, torch.optim.SGD),
    *(F.mse_loss, F.binary_cross_entropy_with_logits, np.ndarray, np.dtype),
    np._core.multiarray._reconstruct,
    *(type(np.dtype(name)) for name in ("bool", "uint8", "int64", "float32", "float64")),
)


# -- judging ---------------------------------------------------------------------------------------


def judge(questions: Sequence[Question], answers: Any) -> Verdict:
    """Hold a task's answers against what is wanted.

    Args:
        answers: of the harness, one per question; or a dict that says why there are none.
    """
    readable = isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers)
    if not readable or len(answers) != len(questions):
        return Verdict(*_stopped(answers))
    pairs = list(zip(questions, answers, strict=True))
    faults = [(*pair, fault) for pair in pairs if (fault := _fault(*pair))]
    if not faults:
        return Verdict(None, "", 1.0)
    missed = {question.idea for question, _, _ in faults}
    share = 1 - len(missed) / len({question.idea for question in questions})
    question, answer, fault = faults[0]
    if "error" in answer:
        stopped, detail = _stopped(answer)
        return Verdict(f"{fault}: {stopped}" if share else stopped, detail, share)
    if fault == question.idea:
        fault = _typical(pairs) or _kind(question.want["value"], answer.get("value")) or fault
    return Verdict(fault, _compared(question, answer), share)


def _stopped(answer: Any) -> tuple[str, str]:
    answer = answer if isinstance(answer, dict) else {}
    error = answer.get("error")
    if not isinstance(error, dict):
        return str(answer.get("why", "its answers cannot be read")), ""
    kind, text, line = (str(error.get(key, "")) for key in ("type", "text", "line"))
    if kind == "NotImplementedError":
        return "not solved yet", ""
    whole = f"{kind}: {text}"
    place = f"in the line: {line}\n" if line else ""
    return f"it stopped with {' '.join(whole.split())[:200]}", place + whole


def _fault(question: Question, answer: Any) -> str | None:
    """What is wrong with one answer, which may be anything; None if nothing is."""
    want = question.want
    try:
        if "error" in answer:
            return question.idea
        if answer["changed"].keys() - want["changed"].keys():
            return "it changes its arguments: work on a copy"
        right = question.agree(question, answer["value"])
        if right is not True:
            return right or question.idea
        return None if same(want["changed"], answer["changed"]) else question.idea
    except Exception:  # an answer may be anything
        return question.idea


def _typical(pairs: Sequence[tuple[Question, dict]]) -> str | None:
    """The typical mistake whose answers these are, to all questions that students may see."""
    shown = [pair for pair in pairs if not pair[0].hidden]
    for sentence in shown[0][0].traps:
        if all(same(q.traps[sentence], answer, q.tolerance) for q, answer in shown):
            return sentence
    return None


def _kind(want: Any, got: Any) -> str | None:
    """The sentence for a result of another kind than the one wanted."""
    if got is None:
        return "it returns nothing: return the result"
    if isinstance(got, dict) and "slope" in got and got["slope"] is None:
        return "the result cannot be differentiated: no item(), no detach()"
    wanted, dtype = (v.get("dtype") if isinstance(v, dict) else None for v in (want, got))
    return f"return bool, not {dtype}" if wanted == "bool" and dtype not in ("bool", None) else None


def _compared(question: Question, answer: dict) -> str:
    """What was given, what came, and what was expected."""
    if question.hidden:
        return "on inputs that only the grader asks about"
    given = ", ".join(map(show, question.arguments))
    came, expected = show(answer.get("value")), show(question.want["value"])
    return f"given     {given}\ncame      {came}\nexpected  {expected}"


def show(value: Any) -> str:
    """A value for people: small ones whole, large ones by their shape and dtype."""
    plain = encode(value)
    array = _array(plain) if isinstance(plain, dict) else None
    if array is not None:
        if array.size > 12:
            return f"{array.dtype} {array.shape}"
        value = plain = (array.round(5) if array.dtype.kind == "f" else array).tolist()
    if isinstance(value, list | tuple):
        text = f"[{', '.join(map(show, value))}]"
    elif isinstance(value, dict) and "other" not in value:
        text = "{" + ", ".join(f"{key}: {show(part)}" for key, part in value.items()) + "}"
    elif isinstance(plain, dict):
        text = f"a {getattr(value, '__name__', plain.get('other') or type(value).__name__)}"
    else:
        text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) < 200 else text[:197] + "..."
