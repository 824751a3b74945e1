"""What each task is asked: inputs, the idea that each tests, and what typical mistakes give.

A task's entry is a function that makes its questions from a random generator, so that every seed
asks about other numbers and sizes, and the mistakes: a sentence, and the change of the chapter's
solution that makes it. What is right is what the chapter's own solution answers. Students get the
questions of seed 0 with their answers; an edition does not contain this file.
"""

import math
import tomllib
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from seghw.assignment import harness
from seghw.assignment.harness import answers, encode
from seghw.assignment.notebooks import tasks

VISIBLE, HIDDEN = (0,), (1, 2)  # seeds
_AT_HAND = "import numpy as np\nimport torch\nfrom torch.nn import functional as F"  # for mistakes
_MAKERS: dict[str, Callable[[np.random.Generator], Iterator[dict]]] = {}


@cache
def mistakes() -> dict[str, dict[str, tuple[str, str]]]:
    """Task to sentence to the change of the chapter's solution."""
    text = Path(__file__).with_name("mistakes.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def questions(name: str, seed: int) -> list[dict]:
    """A task's questions, what is wanted, and to the visible ones what mistakes answer."""
    with torch.random.fork_rng(devices=[]):
        asked = list(_MAKERS[name](np.random.default_rng([seed, *name.encode()])))
    *before, solution = next(task for task in tasks() if task.name == name).parts
    before = [_AT_HAND, *before]
    right = answers(name, [*before, solution], asked)
    with warnings.catch_warnings(action="ignore"):  # of a mistake that divides by zero, say
        wrong = {
            sentence: answers(name, [*before, solution.replace(*change)], asked)
            for sentence, change in mistakes().get(name, {}).items()
            if seed in VISIBLE
        }
    for k, question in enumerate(asked):
        question["want"], parts = right[k], right[k].keys() - {"changed"}
        question["traps"] = {
            sentence: {part: given[k].get(part) for part in parts}
            for sentence, given in wrong.items()
        }
    return asked


def _task(make: Callable) -> Callable:
    _MAKERS[make.__name__] = make
    return make


def _q(idea: str, *arguments: Any, **more: Any) -> dict:
    """One question of one call; what is no plain description yet is encoded."""
    return {"idea": idea, "calls": [[_plain(argument) for argument in arguments]], **more}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if isinstance(value, dict) and value.keys() & {"make", "get"} else encode(value)


def _layer(rng: np.random.Generator, *layers: tuple, training: bool = False, **more: Any) -> dict:
    """A layer, or several in sequence, each (class, sizes) or (class, sizes, keywords)."""
    described = [(name, sizes, dict(*keywords)) for name, sizes, *keywords in layers]
    made = [getattr(nn, name)(*sizes, **keywords) for name, sizes, keywords in described]
    state = (made[0] if len(made) == 1 else nn.Sequential(*made)).state_dict()
    for values in state.values():
        if values.is_floating_point():  # variances as well, so all are positive or small
            values.copy_(
                torch.from_numpy(rng.uniform(0.2, 1, values.shape) - 0.6 * (values.ndim > 1))
            )
    plain = {"make": "layer", "layers": described, "state": encode(dict(state))}
    return {**plain, "training": training, **more}


def _optimizer(of: str, rate: float) -> dict:
    return {"make": "optimizer", "of": of, "lr": rate, "momentum": 0.9}


def _loss(name: str) -> dict:
    return {"make": "loss", "name": name}


def _floats(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(0, 1, shape).astype(np.float32))


# -- chapter 1 ---------------------------------------------------------------------------------


@_task
def residual(rng):
    idea = "order: convolution, normalization, ReLU, twice; then the input is added"
    for n, c, h, w, kernel in ((2, 4, 6, 6, 3), (1, int(rng.integers(2, 6)), 5, 8, 5)):
        conv, norm = ("Conv2d", (c, c, kernel), {"padding": kernel // 2}), ("BatchNorm2d", (c,))
        layers = [_layer(rng, conv), _layer(rng, norm), _layer(rng, conv), _layer(rng, norm)]
        yield _q(idea, _floats(rng, n, c, h, w) - 0.5, *layers)


@_task
def reach(rng):
    kernel, rate = (int(rng.integers(*ends)) for ends in ((4, 9), (7, 12)))
    yield _q("a 3 x 3 kernel of rate 1 spans 3 cells", 3, 1)
    yield _q("between neighboring taps lie rate - 1 cells: rate 6 spans 13", 3, 6)
    yield _q(f"other kernels: {kernel} taps at rate {rate}", kernel, rate)
    yield _q("a kernel of an even number of taps", 2, rate)
    yield _q("a kernel of one tap spans one cell at any rate", 1, rate)


@_task
def aspp_forward(rng):
    more = int(rng.integers(4, 6))
    for n, c, h, w, rates in (
        (2, 4, 9, 9, (1, 2, 3)),
        (1, 3, 7, 10, (2,)),
        (2, 2, 6, 8, range(1, 1 + more)),
    ):
        point, merge = (("Conv2d", (c * times, c, 1)) for times in (1, 1 + len(rates)))
        wide = [("Conv2d", (c, c, 3), {"padding": r, "dilation": r}) for r in rates]
        branches = [_layer(rng, layer) for layer in wide]
        idea = (
            f"{len(rates)} dilated branches: each sees x; their maps are stacked, the 1 x 1 first"
        )
        yield _q(idea, _floats(rng, n, c, h, w), _layer(rng, point), branches, _layer(rng, merge))


@_task
def taps_on_map(rng):
    for side, rate in ((8, 2), (8, 6), (int(rng.integers(20, 40)), 6), (4, 5), (9, 1), (6, 6)):
        yield _q(f"a map of {side} x {side} cells at rate {rate}", side, rate)


@_task
def written_rows(rng):
    stride, dilation, padding = (int(rng.integers(*ends)) for ends in ((1, 4), (2, 5), (1, 3)))
    for sizes in (
        (4, 3, 2, 1, 1, 8),
        (4, 3, 2, 2, 2, 8),
        (5, 3, stride, dilation, padding, 5 * stride + 4),
        (3, 2, 4, 3, 0, 30),
        (40, 2, 3, 5, 2, 100),
        (5, 2, 45, 3, 1, 230),
    ):
        cells, kernel, stride, dilation, padding, rows = sizes
        yield _q(
            f"{cells} cells, kernel {kernel}, stride {stride}, dilation {dilation}, padding "
            f"{padding}: the rows from 0 to {rows - 1} that a tap writes, sorted",
            *sizes,
        )


@_task
def dense_head(rng):
    for channels, classes, height, width in ((4, 3, 6, 7), (int(rng.integers(2, 6)), 2, 7, 6)):
        image = rng.normal(size=(1, channels, height, width)).astype(np.float32)
        images = np.repeat(image, 1 + height * width, 0)
        for cell in range(height * width):
            images[1 + cell, :, cell // width, cell % width] += rng.normal(size=channels)
        idea = "a layer that takes (N, channels, H, W) to (N, classes, 2 H, 2 W)"
        yield _q(idea, channels, classes, feed=encode([torch.from_numpy(images)]), dense=True)


# -- chapter 2 ---------------------------------------------------------------------------------


def _pair(rng: np.random.Generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction and a target; the last class of the last image is absent."""
    pred, target = _floats(rng, *shape), (_floats(rng, *shape) > 0.7).float()
    target[..., 0, 0] = 1
    target[-1, -1] = 0
    return pred, target


@_task
def printed_dice(rng):
    pred, target = _pair(rng, 2, 3, 8, 8)
    yield _q("a perfect class costs one half: there is no factor 2", target[:1], target[:1])
    yield _q(
        "one pair: 1 - ab / (aa + bb + epsilon), sums over the pixels", pred[:1, :1], target[:1, :1]
    )
    yield _q("an absent class adds exactly 1", pred[1:, 2:], target[1:, 2:])
    yield _q("nothing predicted of an absent class: epsilon makes it 1", *[target[1:, 2:]] * 2)
    tiny = 1e-3 * pred[:1, :1, :1, :2]
    yield _q("epsilon is 1e-6, in the denominator alone", tiny, tiny)
    for shape in ((2, 3, 8, 8), (3, 2, 5, int(rng.integers(6, 10)))):
        idea = "the sum over all images and classes of each pair's loss, to be differentiated"
        yield _q(idea, *_pair(rng, *shape), slope=True)


@_task
def dice(rng):
    pred, target = _pair(rng, 2, 3, 8, 8)
    yield _q("a perfect prediction of present classes costs nothing", target[:1], target[:1])
    idea = "a present class: 1 - 2 ab / (aa + bb), to be differentiated"
    yield _q(idea, pred[:1, :1], target[:1, :1], slope=True)
    idea = "an absent class costs aa / (aa + 0.3 x pixels), and has a gradient"
    yield _q(idea, pred[1:, 2:], target[1:, 2:], slope=True)
    idea = "nothing predicted of an absent class costs 0, and its gradient is a number, not NaN"
    yield _q(idea, *[target[1:, 2:]] * 2, slope=True)
    yield _q("a present class that is missed costs 1", 0 * pred[:1, :1], target[:1, :1], slope=True)
    for shape in ((2, 3, 8, 8), (3, 2, 5, int(rng.integers(6, 10)))):
        idea = "sums per image and class first, then the mean over the pairs"
        yield _q(idea, *_pair(rng, *shape), slope=True)


@_task
def gradient_norm(rng):
    for loss, shape in (
        ("mse", (2, 3, 8, 8)),
        ("squares", (1, 2, 5, 7)),
        ("overlap", (2, 2, 4, 6)),
    ):
        idea = "the Euclidean norm over all values of the gradient of the loss that is handed in"
        yield _q(idea, _loss(loss), *_pair(rng, *shape), number=True)
    pred, target = _pair(rng, 1, 2, 5, 6)
    yield _q("a loss without a gradient has norm 0", _loss("nothing"), pred, target, number=True)
    idea = "the caller's tensor stays as it was, its grad as well: work on a copy"
    yield _q(idea, _loss("squares"), {"make": "leaf", "value": encode(pred)}, target, number=True)


@_task
def combined(rng):
    for coefficient, loss in (
        (0.0, "overlap"),
        (1.0, "overlap"),
        (float(rng.integers(20, 60)), "squares"),
    ):
        idea = f"MSE + {coefficient:g} x the Dice that is handed in, to be differentiated"
        pair = _pair(rng, 2, 3, 5, int(rng.integers(6, 9)))
        yield _q(idea, *pair, coefficient, _loss(loss), slope=True)


@_task
def dice_gradient(rng):
    for shape in ((8, 8), (5, int(rng.integers(6, 10)))):
        pred, target = (tensor[0, 0] for tensor in _pair(rng, 2, 2, *shape))
        idea = "the derivative of ab is t, that of s is 2 p: - 2 t / s + 4 ab p / s², by hand"
        yield _q(idea, pred, target, no_autograd=True)
        yield _q("a prediction three times too strong", 3 * target, target, no_autograd=True)
    yield _q("at the target the slope is 0", target, target, no_autograd=True)


# -- chapter 3 ---------------------------------------------------------------------------------


@_task
def learning_rate(rng):
    peak = 0.001 * float(rng.integers(2, 8))
    for steps in (200, int(rng.integers(300, 900))):
        for part in (0.005, 0.05, 0.1, 0.105, 0.5, 0.75, 1.0):
            step = round(part * steps)
            idea = f"step {step} of {steps}: peak x warm-up x cosine"
            yield _q(idea, step, steps, peak, tolerance=1e-7)


@_task
def training_step(rng):
    for turns, loss in ((1, "mse"), (3, "mse"), (2, "overlap")):
        layers = ("Linear", (3, 4)), ("BatchNorm1d", (4,)), ("Linear", (4, 2))
        objects = {
            "model": _layer(rng, *layers, stale=True),
            "optimizer": _optimizer("model", 0.05),
        }
        plain = [{"get": "model"}, {"get": "optimizer"}, _loss(loss)]
        batches = [[_floats(rng, 8, 3), _floats(rng, 8, 2)] for _ in range(turns)]
        idea = "in training mode, one step along this batch's gradient; the loss as a float"
        question = {
            "idea": idea if turns == 1 else f"{turns} steps, one after the other",
            "number": True,
        }
        calls = [[*plain, *map(encode, batch)] for batch in batches]
        yield {**question, "calls": calls, "objects": objects, "look": ["model"]}


@_task
def to_train(rng):
    states = ["finished", "failed", "diverged", None]
    for names in (list("dbac"), [f"run {k}" for k in rng.permutation(16)]):
        ends = [states[k % 4] for k in range(len(names))]
        records = {name: end for name, end in zip(names, ends, strict=True) if end} | {
            "x": "failed"
        }
        idea = "those without a record and those that failed, in the order of the sweep"
        yield _q(idea, names, records)
    yield _q("without any record everything is to be trained", list("cab"), {})


@_task
def resume(rng):
    for epoch in (2, int(rng.integers(4, 9))):
        fresh, other = (_layer(rng, ("Linear", (3, 2))) for _ in range(2))
        model = harness.build(other, {})
        optimizer = harness.build(_optimizer("model", 0.03), {"model": model})
        model(_floats(rng, 4, 3)).square().mean().backward()
        optimizer.step()
        states = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict()}
        objects = {"model": fresh, "optimizer": _optimizer("model", 0.1)}
        idea = "weights and optimizer come from the checkpoint; the epoch after the last whole one"
        arguments = {"get": "model"}, {"get": "optimizer"}, {**states, "epoch": epoch}
        yield _q(idea, *arguments, objects=objects, look=["model", "optimizer"])


@_task
def best_run(rng):
    cases = {
        "the IoU after the last epoch, not the loss": [[0.1, 0.5], [0.2, 0.3]],
        "at the end, not at its best epoch": [[0.9, 0.1], [0.2, 0.3]],
        "a diverged run is worse than any finished one": [None, [0.01]],
        "a finished run with IoU 0 is better than a diverged one": [None, [0.0], None],
        "the best of many": [list(rng.uniform(0, 1, rng.integers(2, 5))) for _ in range(8)]
        + [None],
    }
    for idea, scores in cases.items():
        runs = [
            {
                "run_id": f"run {k}",
                "status": "finished" if s else "diverged",
                "loss": 1.0 / (k + 1),
                "epochs": [{"validation_iou": float(v)} for v in s or [0.95]],
            }
            for k, s in enumerate(scores)
        ]
        yield _q(idea, runs)


# -- chapter 4 ---------------------------------------------------------------------------------


@_task
def balancing_coefficient(rng):
    for steps in (31, 12, int(rng.integers(40, 90))):
        idea = f"{steps} steps: the median of MSE's norm over Dice's"
        yield _q(idea, rng.uniform(1, 50, steps), rng.uniform(0.1, 1, steps))


@_task
def verdict(rng):
    cases = {
        "the whole interval is above 0": (0.02, 0.05),
        "the whole interval is below 0": (-0.05, -0.02),
        "the whole interval lies within the margin": (-0.005, 0.008),
        "above 0, but too small to matter": (0.001, 0.009),
        "below 0, but too small to matter": (-0.009, -0.001),
        "the interval holds 0 and is wider than the margin": (-0.02, 0.03),
        "it holds 0, and one end is beyond the margin": (-0.004, 0.03),
        "it holds 0, and the lower end is beyond the margin": (-0.03, 0.004),
        "above 0, from within the margin to beyond it": (0.004, 0.03),
        "below 0, from within the margin to beyond it": (-0.03, -0.004),
        "an interval that touches 0 does not lie above it": (0.0, 0.05),
        "an interval that touches 0 does not lie below it": (-0.05, 0.0),
    }
    scale = float(rng.uniform(0.5, 2))
    for idea, (low, high) in cases.items():
        for by in (1.0, scale):
            yield _q(
                f"{idea}: [{low * by:.3g}, {high * by:.3g}], margin {0.01 * by:.3g}",
                low * by,
                high * by,
                0.01 * by,
            )


@_task
def paired_interval(rng):
    for seeds, gone in ((6, 1), (4, 0), (int(rng.integers(8, 14)), 3)):
        base = rng.uniform(0, 1, seeds)
        a = {k: float(base[k] + 0.02 + 0.01 * rng.exponential()) for k in range(seeds)}
        b = {int(k): float(base[k]) for k in rng.permutation(seeds)[gone:]} | {50: 0.5}
        idea = f"{seeds - gone} seeds in both: mean ± t x deviation / √n of their differences"
        yield _q(idea, a, b)


# -- chapter 5 ---------------------------------------------------------------------------------


@_task
def iou_from_counts(rng):
    yield _q("IoU is tp / (tp + fp + fn)", 6, 2, 2)
    yield _q("nothing to find and nothing predicted: IoU is undefined (NaN)", 0, 0, 0)
    yield _q("a false positive on an absent class scores 0", 0, 3, 0)
    yield _q("an object that is missed scores 0", 0, 0, 4)
    tp, fp, fn = (int(v) for v in rng.integers(1, 50, 3))
    yield _q(f"{tp} pixels right, {fp} too many, {fn} missed", tp, fp, fn)
    yield _q("all right", tp, 0, 0)


@_task
def decode_bands(rng):
    bands = ((25.0, 85.0), (65.0, 135.0), (115.0, math.inf))
    levels = torch.tensor([20.0, 25.0, 50.0, 65.0, 75.0, 85.0, 120.0, 135.0, 400.0])
    for n, chosen in ((1, bands), (2, bands), (3, bands[:2]), (2, (*bands, (0.0, 10.0)))):
        ramp = levels[torch.from_numpy(rng.integers(9, size=(n, len(chosen), 4, 6)))]
        ramp[0, :, 0, :] = levels[:6]  # every end of a band, in every plane
        ramp[-1, :, 1, :3] = levels[6:]
        idea = "bool (N, C, H, W): plane c is true where low < output < high for band c"
        yield _q(idea, ramp, chosen)


@_task
def wanted(rng):
    names = {1: "pizza", 17: "cat"}

    def thing(category, width, height, crowd=0):
        box = [10.0, 230.0, float(width), float(height)]
        return {"category_id": category, "bbox": box, "iscrowd": crowd}

    large = int(rng.integers(230, 400))
    cases = {
        "one pizza of 220 x 200 is what the rule asks for": [thing(1, 220, 200)],
        "a box that is wide enough but too low": [thing(1, 220, 199)],
        "a box that is high enough but too narrow": [thing(17, 150, 300)],
        "a box that is wide enough and very low": [thing(17, 250, 100)],
        "a box is x, y, width, height": [thing(17, 500, 450)],
        "a dog is none of the wanted classes": [thing(3, 300, 300)],
        "exactly ONE wanted object, however small the second": [
            thing(1, 300, 300),
            thing(17, 20, 20),
        ],
        "exactly ONE wanted object, of two large ones": [thing(1, 300, 300), thing(17, 400, 300)],
        "other classes do not count": [thing(3, 90, 90), thing(1, large, large)],
        "crowds do not count": [thing(1, 300, 300, 1), thing(1, large, 300)],
        "a crowd is no object": [thing(1, 300, 300, 1)],
        "an image without annotations is not wanted": [],
    }
    for idea, things in cases.items():
        yield _q(idea, things, names, 200)
    yield _q("the least side is an argument", [thing(1, 120, 110)], names, 100)


@_task
def polygon_mask(rng):
    box = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
    second = [7.0, 5.0, 9.0, 5.0, 9.0, 7.0, 7.0, 7.0]
    over = [4.0, 2.0, 8.0, 2.0, 8.0, 7.0, 4.0, 7.0]
    yield _q("a polygon is x, y, x, y, ...: x is the column", [box], 8, 10)
    yield _q("an object in two parts has two polygons: fill both", [box, second], 8, 10)
    yield _q("parts may overlap: inside any of the polygons", [box, over], 9, 12)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
    star = np.stack([30 + 24 * np.cos(angles), 22 + 18 * np.sin(angles)], 1).ravel().tolist()
    corner = [2.0, 40.0, 2.0, 4.0, 40.0, 40.0]
    for parts in ([corner], [star]):
        idea = "the pixels inside the polygon, not its box"
        yield _q(idea, parts, 44, 60, ragged=True)


@_task
def boundary_f(rng):
    square = np.zeros((12, 14), dtype=bool)
    square[3:8, 3:8] = True
    moved, far = np.roll(square, 1, axis=1), np.zeros((12, 14), dtype=bool)
    yield _q("equal masks have F = 1", square, square, 1)
    yield _q("an outline one pixel away is within a tolerance of 1", square, moved, 1)
    far[10:, 11:] = True
    yield _q("0 if both shares are 0, not NaN", square, far, 1)
    for tolerance, height, width in (
        (1, 24, 24),
        (2, 20, 31),
        (1.5, 24, int(rng.integers(20, 30))),
    ):
        noise = ndimage.gaussian_filter(rng.normal(size=(2, height, width)), (0, 3, 3))
        a, b = noise > np.quantile(noise, 0.45, axis=(1, 2), keepdims=True)
        yield _q(
            "harmonic mean of the near shares of both outlines", a, b & (noise[1] > -1), tolerance
        )


@_task
def bootstrap(rng):
    def ask(idea, scores, resamples, tolerance):
        seeded = {"make": "rng", "seed": int(rng.integers(1000))}
        more = {"tolerance": tolerance, "objects": {"rng": seeded}, "look": ["rng"]}
        return _q(idea, np.asarray(scores), {"get": "rng"}, resamples, **more)

    skewed = np.array([0.02, 0.03, 0.05, 0.06, 0.08, 0.1, 0.9])
    yield ask(
        "draw with the generator that is handed in; equal scores have no width",
        np.full(6, 0.25),
        50,
        1e-6,
    )
    for scores in (skewed * rng.uniform(0.5, 1), rng.uniform(0, 1, 40)):
        wide = float(scores.std() / math.sqrt(len(scores)))
        idea = "2.5 % and 97.5 % quantile of the means of draws with replacement"
        yield ask(idea, scores, 5000, 0.25 * wide)


# -- chapter 6 ---------------------------------------------------------------------------------


@_task
def box_of(rng):
    x, y = (int(v) for v in rng.integers(4, 9, 2))
    mask = np.zeros((20, 30), dtype=bool)
    mask[y : y + 4, x : x + 9] = True
    yield _q("the smallest box that holds every pixel, x first", mask)
    grid = np.abs(np.arange(18)[:, None] - 9) + np.abs(np.arange(25) - 12 + x // 4) <= 5
    yield _q("a diamond: its first row is not as wide as its box", grid)
    yield _q(
        "one pixel has a box of one pixel",
        np.eye(1, 28, 5 + x, dtype=bool).repeat(9, 0) & (np.arange(9) == 4)[:, None],
    )
    yield _q("two parts have one box", mask[::-1] | np.roll(mask, (5, 9), (0, 1)))
    yield _q("a slanted line", np.fliplr(np.eye(11, 17, 2, dtype=bool)))


@_task
def first_click(rng):
    bent = np.zeros((30, 40), dtype=bool)
    bent[2:9, 3 : 30 + int(rng.integers(5))] = True
    bent[2:28, 3:8] = True
    edge = np.zeros((9, 13), dtype=bool)
    edge[:, :5] = True
    ring = np.hypot(*np.ogrid[-14:15, -16:17])
    ring = (ring < 13) & (ring > 5 + rng.integers(3))
    ideas = {
        "the pixel that is deepest inside, on the object, x first": bent,
        "beyond the image is outside: the edge of the picture is no middle": edge,
        "the center of mass may lie beside the object": ring,
    }
    for idea, mask in ideas.items():
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        yield _q(idea, mask, any_of=encode(depth > depth.max() - 1e-9))


#: First and last column of masks and of objects, of which the best pairs are others if the overlap
#: is divided by the mask or by the object; in the second, others again by each.
_BY_UNION = [[(14, 25), (15, 19)], [(15, 20), (5, 19)]]
_BY_NEITHER = [[(3, 25), (7, 24), (7, 18)], [(8, 21), (14, 23), (14, 16)]]


@_task
def match(rng):
    objects = np.zeros((3, 10, 12), dtype=bool)
    objects[0, :4, :4] = objects[1, :4, 5:9] = objects[2, 7:, 7:] = True
    yield _q("object k gets the index of its mask, or -1", objects[[1, 0]], objects)
    apart = np.flip(objects[:1], axis=(1, 2)).copy()
    yield _q("a mask that does not overlap its object is no match", apart, objects[:1])
    lines = np.zeros((4, 1, 24), dtype=bool)
    lines[0, 0, :10] = lines[1, 0, 2:12] = lines[2, 0, 1:11] = lines[3, 0, :6] = True
    yield _q("the assignment with the largest sum of IoU, no mask twice", lines[2:], lines[:2])
    lines[0, 0, :] = True
    yield _q(
        "a large mask holds every object, but overlaps it less than it seems",
        lines[[0, 2]],
        lines[[1, 3]],
    )
    for ends in (_BY_UNION, _BY_UNION[::-1], _BY_NEITHER):
        rows = (np.arange(26) >= np.array(ends)[..., :1]) & (
            np.arange(26) < np.array(ends)[..., 1:]
        )
        yield _q("IoU divides by the union", *rows[:, :, None])
    for k, m in ((3, 5), (5, 3)):
        many = ndimage.gaussian_filter(rng.normal(size=(k + m, 12, 14)), (0, 2, 2)) > 0
        yield _q(f"{m} masks for {k} objects", many[:m], many[m:])
