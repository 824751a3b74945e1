"""From answers to a sentence: which questions are right, and which idea was missed.

A question is what the harness is asked (see there), and beside it, never sent to the student's
side:

- ``idea``: the sentence to say where the answer is wrong;
- ``want``: the answer of the chapter's own solution;
- ``traps``: sentence to the answer that a typical mistake gives;
- ``tolerance``: how far numbers may lie apart, where that is more than rounding;
- ``any_of``: bool (H, W): every pixel (x, y) in which it is true is right;
- ``ragged``: pixels on the mask's edge may differ, for rules at a slanted edge differ;
- ``number``: the result is a number, no tensor;
- ``hidden``: only the grader asks it, so what came is not shown;
- ``dense``: a layer was asked; what counts is which cells each output pixel sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from seghw.assignment.harness import decode

_ASKED = ("calls", "objects", "look", "feed", "slope", "no_autograd")


@dataclass(frozen=True)
class Verdict:
    """What came of a task."""

    fault: str | None  # the missed idea in one sentence; None where it is solved
    detail: str = ""  # the student's line and the whole error, or what came and what was expected
    share: float = 0.0  # of the ideas that are right, 0..1


def asked(questions: Sequence[dict]) -> list[dict]:
    """The questions without what is known about their answers."""
    return [{key: question[key] for key in _ASKED if key in question} for question in questions]


def judge(questions: Sequence[dict], answers: Any) -> Verdict:
    """Hold a task's answers against what is wanted.

    Args:
        answers: of the harness, one per question; or a dict that says why there are none.
    """
    if not isinstance(answers, list) or len(answers) != len(questions):
        return Verdict(*_stopped(answers))
    faults = [_fault(*pair) for pair in zip(questions, answers, strict=True)]
    ideas = {question["idea"] for question in questions}
    missed = {q["idea"] for q, fault in zip(questions, faults, strict=True) if fault}
    if not missed:
        return Verdict(None, "", 1.0)
    first = next(k for k, fault in enumerate(faults) if fault)
    share = 1 - len(missed) / len(ideas)
    fault = faults[first]
    if "error" in answers[first]:
        stopped, detail = _stopped(answers[first])
        return Verdict(f"{fault}: {stopped}" if share else stopped, detail, share)
    if fault == questions[first]["idea"]:
        fault = _trap(questions, answers) or fault
    return Verdict(fault, _compared(questions[first], answers[first]), share)


def _stopped(answer: Any) -> tuple[str, str]:
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        known = isinstance(answer, dict) and isinstance(answer.get("why"), str)
        return (answer["why"] if known else "its answers cannot be read"), ""
    kind, text, line = (str(error.get(key, "")) for key in ("type", "text", "line"))
    if kind == "NotImplementedError":
        return "not solved yet", ""
    whole = f"{kind}: {text}"
    short = " ".join(whole.split())
    place = f"in the line: {line}\n" if line else ""
    return f"it stopped with {short[:200]}", place + whole


def _fault(question: dict, answer: Any) -> str | None:
    """What is wrong with one answer; None if nothing is. An answer may be anything."""
    try:
        return _judged(question, answer)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return question["idea"]


def _judged(question: dict, answer: dict) -> str | None:
    want = question["want"]
    if "error" in answer:
        return question["idea"]
    if answer["changed"] and not want["changed"]:
        return "it changes its arguments: work on a copy"
    if question.get("dense"):
        return _dense(question, answer)
    pairs = zip(want["values"], answer["values"], strict=True)
    if not all(_agree(*pair, question) for pair in pairs):
        return _kind(want["values"][0], answer["values"][0]) or question["idea"]
    if question.get("number") and any(isinstance(v, dict) for v in answer["values"]):
        return "return a number: item() makes one of a scalar tensor"
    rest = all(same(want[key], answer.get(key)) for key in ("slope", "objects") if want.get(key))
    return None if rest else question["idea"]


def _kind(want: Any, got: Any) -> str | None:
    """The sentence for a result of another kind than the one wanted."""
    if got is None:
        return "it returns nothing: return the result"
    dtypes = [value.get("dtype") if isinstance(value, dict) else None for value in (want, got)]
    if dtypes[0] == "bool" and dtypes[1] not in ("bool", None):
        return f"return bool, not {dtypes[1]}"
    return None


def _agree(want: Any, got: Any, question: dict) -> bool:
    if "any_of" in question:
        x, y = (int(v) for v in _numbers(got))
        allowed = decode(question["any_of"])
        return 0 <= y < len(allowed) and 0 <= x < allowed.shape[1] and bool(allowed[y, x])
    if question.get("ragged"):
        mask = decode(want)
        edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
        theirs = np.asarray(decode(got))
        return theirs.dtype == bool and bool((theirs == mask)[~edge].all())
    return same(want, got, question.get("tolerance", 1e-5))


def same(want: Any, got: Any, tolerance: float = 1e-5) -> bool:
    """Equal in plain data: numbers up to rounding; arrays, tensors and lists of numbers alike."""
    numbers = _numbers(want)
    if numbers is None:
        if isinstance(want, dict) and "dict" in want and isinstance(got, dict) and "dict" in got:
            pairs = [sorted(value["dict"], key=str) for value in (want, got)]
            return len(pairs[0]) == len(pairs[1]) and all(
                a[0] == b[0] and same(a[1], b[1], tolerance) for a, b in zip(*pairs, strict=True)
            )
        parts = [_parts(value) for value in (want, got)]
        if None in parts:
            return type(want) is type(got) and want == got
        return len(parts[0]) == len(parts[1]) and all(
            same(*pair, tolerance) for pair in zip(*parts, strict=True)
        )
    theirs = _numbers(got)
    if theirs is None or theirs.shape != numbers.shape:
        return False
    if isinstance(want, dict) and want.get("dtype") == "bool" and _dtype(got) != "bool":
        return False
    return bool(np.allclose(theirs, numbers, rtol=1e-4, atol=tolerance, equal_nan=True))


def _parts(value: Any) -> list | None:
    """The elements of a list or tuple, or of a dict of an answer's parts."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "tuple" in value:
        return value["tuple"]
    if isinstance(value, dict) and not {"dict", "array", "tensor", "other"} & value.keys():
        return [part for pair in sorted(value.items()) for part in pair]
    return None


def _dtype(value: Any) -> str | None:
    return np.asarray(decode(value)).dtype.name


def _numbers(value: Any) -> np.ndarray | None:
    """A number, array or nested list of numbers as float64; None if it is no such thing."""
    if value is None or isinstance(value, str):
        return None
    try:
        return np.asarray(decode(value)).astype(np.float64, casting="same_kind")
    except (ValueError, TypeError, KeyError):
        return None


def _trap(questions: Sequence[dict], answers: Sequence[dict]) -> str | None:
    """The typical mistake whose answers these are, to all questions that students may see."""
    shown = [pair for pair in zip(questions, answers, strict=True) if not pair[0].get("hidden")]
    for sentence in questions[0]["traps"]:
        if all(_same_answer(question, sentence, answer) for question, answer in shown):
            return sentence
    return None


def _same_answer(question: dict, sentence: str, answer: dict) -> bool:
    trap = question["traps"][sentence]
    try:
        theirs = {key: answer[key] for key in trap}
        return same(trap, theirs, question.get("tolerance", 1e-5))
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _dense(question: dict, answer: dict) -> str | None:
    """Whether an output layer treats all pixels alike.

    It was asked about an image, and about the image with one cell changed, for each cell; then
    which cells a pixel sees is where the output differs.
    """
    images, [got], [want] = decode(question["feed"]), answer["values"], question["want"]["values"]
    if not isinstance(got, list):
        return "return a layer (an nn.Module), not its output"
    size, (height, width) = decode(want[0]).shape, images[0].shape[2:]
    if any(np.shape(decode(out)) != size for out in got):
        shapes = np.shape(decode(got[0]))[1:], size[1:]
        return f"{height} x {width} cells become {shapes[1]} (classes, 2 H, 2 W), got {shapes[0]}"
    out = np.asarray(decode(got[0]), float)
    sees = np.abs(out[1:] - out[0]).max(1) > 1e-7 * np.abs(out).max()  # (cells, 2 H, 2 W)
    if not sees.any(0).all():
        return f"{1 - sees.any(0).mean():.0%} of the pixels are constant: they do not see the image"
    if sees.all(0).any() or np.ptp(out[0], (1, 2)).min() < 1e-6:
        return "every pixel is predicted alike: a pixel must see its own place, not the whole image"
    if any(np.allclose(out[:, 0], out[:, c]) for c in range(1, size[1])):
        return "every class needs a map of its own"
    taps = sees.sum(0)[4:-4, 4:-4]
    if (taps != taps[0, 0]).any():
        return "some pixels get more taps than others: the stride must divide the kernel"
    own = sees.reshape(height, width, *size[2:])
    rows, columns = (np.arange(n) for n in size[2:])
    own = own[rows[:, None] // 2, columns // 2, rows[:, None], columns]
    return None if own[4:-4, 4:-4].all() else "a pixel must see the cell that it lies in"


# -- what to show ------------------------------------------------------------------------------


def _compared(question: dict, answer: dict) -> str:
    """What was given, what came, and what was expected."""
    if question.get("hidden"):
        return "on inputs that only the grader asks about"
    if question.get("dense"):
        return ""
    lines = [f"given     {', '.join(map(show, question['calls'][0]))}"]
    pairs = zip(answer.get("values", ()), question["want"]["values"], strict=False)
    for got, want in list(pairs)[-1:]:
        lines += [f"came      {show(got)}", f"expected  {show(want)}"]
    return "\n".join(lines)


def show(plain: Any) -> str:
    """A value for people: small ones whole, large ones by their shape and dtype."""
    if isinstance(plain, dict) and "make" in plain:
        name = plain.get("name") or [layer[0] for layer in plain.get("layers", ())]
        return f"{plain['make']} {name or ''}".strip()
    if isinstance(plain, dict) and ("get" in plain or "other" in plain):
        return f"a {plain.get('get') or plain['other']}"
    if isinstance(plain, dict) and plain.keys() & {"array", "tensor"}:
        value = np.asarray(decode(plain))
        if value.size > 12:
            return f"{value.dtype} {value.shape}"
        plain = value.astype(float).round(5).tolist() if value.dtype.kind == "f" else value.tolist()
    parts = _parts(plain)
    if parts is not None:
        inside = ", ".join(map(show, parts))
        text = f"[{inside}]" if isinstance(plain, list) else f"({inside})"
    elif isinstance(plain, dict) and "dict" in plain:
        text = "{" + ", ".join(f"{show(k)}: {show(v)}" for k, v in plain["dict"]) + "}"
    else:
        text = f"{plain:.6g}" if isinstance(plain, float) else repr(plain)
    return text if len(text) < 200 else text[:197] + "..."
