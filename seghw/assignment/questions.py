"""What each task is asked: a function of the task's name yields ideas and arguments.

They are drawn, so that every seed asks about other numbers and sizes. What is right is what the
chapter's own solution answers; what typical mistakes answer is found by making them in it.
Students get the questions of seed 0 with their answers; an edition does not contain this file.
"""

import math
import tomllib
import warnings
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from seghw.assignment.harness import answers
from seghw.assignment.judge import Question, deepest, dense, number, ragged
from seghw.assignment.notebooks import tasks

VISIBLE, HIDDEN = 0, (1, 2)  # seeds
_AT_HAND = "import numpy as np\nimport torch\nfrom torch.nn import functional as F\n"  # in mistakes
#: How a task is asked and judged, where that is not a plain call with one right answer.
_HOW = {
    "dense_head": {"how": "feed", "agree": dense},
    "printed_dice": {"how": "slope"},
    "dice": {"how": "slope"},
    "gradient_norm": {"agree": number},
    "combined": {"how": "slope"},
    "dice_gradient": {"how": "by_hand"},
    "learning_rate": {"tolerance": 1e-7},
    "training_step": {"how": "turns", "agree": number},
    "polygon_mask": {"agree": ragged},
    "bootstrap": {"how": "draw", "tolerance": 0.012},  # what two draws may lie apart
    "first_click": {"agree": deepest},
}
#: Task to sentence to the change of the chapter's solution.
MISTAKES = tomllib.loads(Path(__file__).with_name("mistakes.toml").read_text(encoding="utf-8"))
_squares = partial(F.mse_loss, reduction="sum")
_lopsided = F.binary_cross_entropy_with_logits  # which tensor comes first makes a difference


@cache
def questions(name: str, seed: int) -> list[Question]:
    """A task's questions, what is wanted, and to the visible ones what mistakes answer."""
    rng = np.random.default_rng([seed, *name.encode()])
    with torch.random.fork_rng(devices=[]):
        drawn = [
            Question(idea, tuple(arguments), hidden=seed != VISIBLE, **_HOW.get(name, {}))
            for idea, *arguments in globals()[name](rng)
        ]
    *before, solution = next(task for task in tasks() if task.name == name).parts
    asked = [question.asked() for question in drawn]
    changes = {"": ("", ""), **(MISTAKES.get(name, {}) if seed == VISIBLE else {})}
    with warnings.catch_warnings(action="ignore"):  # of a mistake that divides by zero, say
        given = {
            sentence: answers(
                name, "\n".join([_AT_HAND, *before, solution.replace(*change)]), asked
            )
            for sentence, change in changes.items()
        }
    for k, question in enumerate(drawn):
        question.traps = {sentence: answer[k] for sentence, answer in given.items()}
        question.want = question.traps.pop("")
    return drawn


def _floats(rng, *shape):
    return torch.from_numpy(rng.uniform(0, 1, shape).astype(np.float32))


def _pair(rng, *shape):
    """A prediction and a target; the last class of the last image is absent."""
    pred, target = _floats(rng, *shape), (_floats(rng, *shape) > 0.7).float()
    target[..., 0, 0] = 1
    target[-1, -1] = 0
    return pred, target


def _fill(rng, layer):
    """The layer, in evaluation mode, with weights and statistics that are drawn."""
    for values in layer.state_dict().values():
        if values.is_floating_point():  # variances as well, so all are positive or small
            drawn = rng.uniform(0.2, 1, values.shape) - 0.6 * (values.ndim > 1)
            values.copy_(torch.from_numpy(drawn))
    return layer.eval()


# -- chapter 1 -------------------------------------------------------------------------------------


def residual(rng):
    for n, c, h, w, size in ((2, 4, 6, 6, 3), (1, int(rng.integers(2, 6)), 5, 8, 5)):
        halves = [(nn.Conv2d(c, c, size, padding="same"), nn.BatchNorm2d(c)) for _ in range(2)]
        layers = [_fill(rng, layer) for half in halves for layer in half]
        idea = "order: convolution, normalization, ReLU, twice; then the input is added"
        yield idea, _floats(rng, n, c, h, w) - 0.5, *layers


def reach(rng):
    kernel, rate = (int(rng.integers(*ends)) for ends in ((4, 9), (7, 12)))
    yield "a 3 x 3 kernel of rate 1 spans 3 positions", 3, 1
    yield "between neighboring taps lie rate - 1 positions: rate 6 spans 13", 3, 6
    yield f"other kernels: {kernel} taps at rate {rate}", kernel, rate
    yield "a kernel of an even number of taps", 2, rate
    yield "a kernel of one tap spans one position at any rate", 1, rate


def aspp_forward(rng):
    many = range(1, int(rng.integers(5, 7)))
    for n, c, h, w, rates in ((2, 4, 9, 9, (1, 2, 3)), (1, 3, 7, 10, (2,)), (2, 2, 6, 8, many)):
        branches = [_fill(rng, nn.Conv2d(c, c, 3, padding=r, dilation=r)) for r in rates]
        point, merge = (_fill(rng, nn.Conv2d(k * c, c, 1)) for k in (1, 1 + len(rates)))
        idea = (
            f"{len(rates)} dilated branches: each sees x; their maps are stacked, the 1 x 1 first"
        )
        yield idea, _floats(rng, n, c, h, w), point, branches, merge


def taps_on_map(rng):
    for side, rate in ((8, 2), (8, 6), (int(rng.integers(20, 40)), 6), (4, 5), (9, 1), (6, 6)):
        yield f"a map of {side} x {side} positions at rate {rate}", side, rate


def written_rows(rng):
    stride, dilation, padding = (int(rng.integers(*ends)) for ends in ((1, 4), (2, 5), (1, 3)))
    drawn = 5, 3, stride, dilation, padding, 5 * stride + 4
    few = (4, 3, 2, 1, 1, 8), (4, 3, 2, 2, 2, 8), drawn
    wide = (3, 2, 4, 3, 0, 30), (40, 2, 3, 5, 2, 100), (5, 2, 45, 3, 1, 230)
    for sizes in (*few, *wide):
        names = zip(("positions", "kernel", "stride", "dilation", "padding"), sizes, strict=False)
        given = ", ".join(f"{name} {size}" for name, size in names)
        yield f"{given}: the rows from 0 to {sizes[-1] - 1} that a tap writes, sorted", *sizes


def dense_head(rng):
    for channels, classes, height, width in ((4, 3, 6, 7), (int(rng.integers(2, 6)), 2, 7, 6)):
        image = rng.normal(size=(1, channels, height, width)).astype(np.float32)
        images = np.repeat(image, 1 + height * width, 0)
        for cell in range(height * width):
            images[1 + cell, :, cell // width, cell % width] += rng.normal(size=channels)
        idea = "a layer that takes (N, channels, H, W) to (N, classes, 2 H, 2 W)"
        yield idea, channels, classes, torch.from_numpy(images)


# -- chapter 2 -------------------------------------------------------------------------------------


def printed_dice(rng):
    pred, target = _pair(rng, 2, 3, 8, 8)
    absent, tiny = target[1:, 2:], 1e-3 * pred[:1, :1, :1, :2]
    yield "a perfect class costs one half: there is no factor 2", target[:1], target[:1]
    yield "one pair: 1 - ab / (aa + bb + epsilon), sums over pixels", pred[:1, :1], target[:1, :1]
    yield "an absent class adds exactly 1", pred[1:, 2:], absent
    yield "nothing predicted of an absent class: epsilon makes it 1", absent, absent
    yield "epsilon is 1e-6, in the denominator alone", tiny, tiny
    for shape in ((2, 3, 8, 8), (3, 2, 5, int(rng.integers(6, 10)))):
        idea = "the sum over all images and classes of each pair's loss, to be differentiated"
        yield idea, *_pair(rng, *shape)


def dice(rng):
    pred, target = _pair(rng, 2, 3, 8, 8)
    one, there, absent = pred[:1, :1], target[:1, :1], target[1:, 2:]
    yield "a perfect prediction of present classes costs nothing", target[:1], target[:1]
    yield "a present class: 1 - 2 ab / (aa + bb), to be differentiated", one, there
    yield "an absent class costs aa / (aa + 0.3 x pixels), and has a gradient", pred[1:, 2:], absent
    idea = "nothing predicted of an absent class costs 0, and its gradient is a number, not NaN"
    yield idea, absent, absent
    yield "a present class that is missed costs 1", 0 * one, there
    for shape in ((2, 3, 8, 8), (3, 2, 5, int(rng.integers(6, 10)))):
        yield "sums per image and class first, then the mean over the pairs", *_pair(rng, *shape)


def gradient_norm(rng):
    losses = (F.mse_loss, (2, 3, 8, 8)), (_squares, (1, 2, 5, 7)), (_lopsided, (2, 2, 4, 6))
    for loss, shape in losses:
        idea = "the Euclidean norm over all values of the gradient of the loss that is handed in"
        yield idea, loss, *_pair(rng, *shape)
    pred, target = _pair(rng, 1, 2, 5, 6)
    yield "a loss without a gradient has norm 0", F.mse_loss, target, target
    idea = "the caller's tensor stays as it was, its grad as well: work on a copy"
    yield idea, _squares, pred.requires_grad_(True), target


def combined(rng):
    drawn = float(rng.integers(20, 60))
    for coefficient, loss in ((0.0, _lopsided), (1.0, _lopsided), (drawn, _squares)):
        idea = f"MSE + {coefficient:g} x the Dice that is handed in, to be differentiated"
        yield idea, *_pair(rng, 2, 3, 5, int(rng.integers(6, 9))), coefficient, loss


def dice_gradient(rng):
    for shape in ((8, 8), (5, int(rng.integers(6, 10)))):
        pred, target = (tensor[0, 0] for tensor in _pair(rng, 2, 2, *shape))
        idea = "the derivative of ab is t, that of s is 2 p: - 2 t / s + 4 ab p / s², by hand"
        yield idea, pred, target
        yield "a prediction three times too strong", 3 * target, target
    yield "at the target the slope is 0", target, target


# -- chapter 3 -------------------------------------------------------------------------------------


def learning_rate(rng):
    peak = 0.001 * float(rng.integers(2, 8))
    for steps in (200, int(rng.integers(300, 900))):
        for part in (0.005, 0.05, 0.1, 0.105, 0.5, 0.75, 1.0):
            step = round(part * steps)
            yield f"step {step} of {steps}: peak x warm-up x cosine", step, steps, peak


def training_step(rng):
    for turns, loss in ((1, F.mse_loss), (3, F.mse_loss), (2, _lopsided)):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        optimizer = torch.optim.SGD(_fill(rng, model).parameters(), lr=0.05, momentum=0.9)
        batches = [(_floats(rng, 8, 3), _floats(rng, 8, 2)) for _ in range(turns)]
        idea = "in training mode, one step along this batch's gradient; the loss as a float"
        idea = idea if turns == 1 else f"{turns} steps, one after the other"
        yield idea, model, optimizer, loss, batches


def to_train(rng):
    for names in (list("dbac"), [f"run {k}" for k in rng.permutation(16)]):
        ends = ["finished", "failed", "diverged", None] * 4
        records = {name: end for name, end in zip(names, ends, strict=False) if end}
        idea = "those without a record and those that failed, in the order of the sweep"
        yield idea, names, {**records, "x": "failed"}
    yield "without any record everything is to be trained", list("cab"), {}


def resume(rng):
    for epoch in (2, int(rng.integers(4, 9))):
        fresh, other = (_fill(rng, nn.Linear(3, 2)) for _ in range(2))
        optimizer, used = (
            torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
            for model, rate in ((fresh, 0.1), (other, 0.03))
        )
        other(_floats(rng, 4, 3)).square().mean().backward()
        used.step()
        saved = {"model": dict(other.state_dict()), "optimizer": used.state_dict(), "epoch": epoch}
        idea = "weights and optimizer come from the checkpoint; the epoch after the last whole one"
        yield idea, fresh, optimizer, saved


def best_run(rng):
    def run(k, ious):
        epochs = [{"validation_iou": float(iou)} for iou in ious or [0.95]]
        status = "finished" if ious else "diverged"
        return {"run_id": f"run {k}", "status": status, "loss": 1 / (k + 1), "epochs": epochs}

    many = [list(rng.uniform(0, 1, rng.integers(2, 5))) for _ in range(8)]
    cases = {
        "the IoU after the last epoch, not the loss": [[0.1, 0.5], [0.2, 0.3]],
        "at the end, not at its best epoch": [[0.9, 0.1], [0.2, 0.3]],
        "a diverged run is worse than any finished one": [None, [0.01]],
        "a finished run with IoU 0 is better than a diverged one": [None, [0.0], None],
        "the best of many": [*many, None],
    }
    for idea, runs in cases.items():
        yield idea, [run(k, ious) for k, ious in enumerate(runs)]


# -- chapter 4 -------------------------------------------------------------------------------------


def balancing_coefficient(rng):
    for steps in (31, 12, int(rng.integers(40, 90))):
        idea = f"{steps} steps: the median of MSE's norm over Dice's"
        yield idea, rng.uniform(1, 50, steps), rng.uniform(0.1, 1, steps)


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
    for idea, ends in cases.items():
        for by in (1.0, scale):
            low, high, margin = (by * value for value in (*ends, 0.01))
            yield f"{idea}: [{low:.3g}, {high:.3g}], margin {margin:.3g}", low, high, margin


def paired_interval(rng):
    for seeds, gone in ((6, 1), (4, 0), (int(rng.integers(8, 14)), 3)):
        base = rng.uniform(0, 1, seeds)
        a = {k: float(base[k] + 0.02 + 0.01 * rng.exponential()) for k in range(seeds)}
        b = {int(k): float(base[k]) for k in rng.permutation(seeds)[gone:]} | {50: 0.5}
        yield f"{seeds - gone} seeds in both: mean ± t x deviation / √n of their differences", a, b


# -- chapter 5 -------------------------------------------------------------------------------------


def iou_from_counts(rng):
    tp, fp, fn = (int(v) for v in rng.integers(1, 50, 3))
    yield "IoU is tp / (tp + fp + fn)", 6, 2, 2
    yield "nothing to find and nothing predicted: IoU is undefined (NaN)", 0, 0, 0
    yield "a false positive on an absent class scores 0", 0, 3, 0
    yield "an object that is missed scores 0", 0, 0, 4
    yield f"{tp} pixels right, {fp} too many, {fn} missed", tp, fp, fn
    yield "all right", tp, 0, 0


def decode_bands(rng):
    bands = ((25.0, 85.0), (65.0, 135.0), (115.0, math.inf))
    levels = torch.tensor([20.0, 25.0, 50.0, 65.0, 75.0, 85.0, 120.0, 135.0, 400.0])
    for n, chosen in ((1, bands), (2, bands), (3, bands[:2]), (2, (*bands, (0.0, 10.0)))):
        ramp = levels[torch.from_numpy(rng.integers(9, size=(n, len(chosen), 4, 6)))]
        ramp[0, :, 0, :] = levels[:6]  # every end of a band, in every channel
        ramp[-1, :, 1, :3] = levels[6:]
        yield "bool (N, C, H, W): channel c is true between low and high of band c", ramp, chosen


def wanted(rng):
    def thing(category, width, height, crowd=0):
        box = [10.0, 230.0, float(width), float(height)]
        return {"category_id": category, "bbox": box, "iscrowd": crowd}

    pizza, names, side = thing(1, 300, 300), {1: "pizza", 17: "cat"}, int(rng.integers(230, 400))
    cases = {
        "one pizza of 220 x 200 is what the rule asks for": [thing(1, 220, 200)],
        "a box that is wide enough but too low": [thing(1, 220, 199)],
        "a box that is high enough but too narrow": [thing(17, 150, 300)],
        "a box that is wide enough and very low": [thing(17, 250, 100)],
        "a box is x, y, width, height": [thing(17, 500, 450)],
        "a dog is none of the wanted classes": [thing(3, 300, 300)],
        "exactly ONE wanted object, however small the second": [pizza, thing(17, 20, 20)],
        "exactly ONE wanted object, of two large ones": [pizza, thing(17, 400, 300)],
        "other classes do not count": [thing(3, 90, 90), thing(1, side, side)],
        "crowds do not count": [thing(1, 300, 300, 1), thing(1, side, 300)],
        "a crowd is no object": [thing(1, 300, 300, 1)],
        "an image without annotations is not wanted": [],
    }
    for idea, things in cases.items():
        yield idea, things, names, 200
    yield "the least side is an argument", [thing(1, 120, 110)], names, 100


def polygon_mask(rng):
    box, second, over = (
        [float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]
        for x0, y0, x1, y1 in ((2, 1, 6, 4), (7, 5, 9, 7), (4, 2, 8, 7))
    )
    yield "a polygon is x, y, x, y, ...: x is the column", [box], 8, 10
    yield "an object in two parts has two polygons: fill both", [box, second], 8, 10
    yield "parts may overlap: inside any of the polygons", [box, over], 9, 12
    angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
    star = np.stack([30 + 24 * np.cos(angles), 22 + 18 * np.sin(angles)], 1).ravel().tolist()
    for slanted in ([2.0, 40.0, 2.0, 4.0, 40.0, 40.0], star):
        yield "the pixels inside the polygon, not its box", [slanted], 44, 60


def boundary_f(rng):
    square, far = (np.zeros((12, 14), dtype=bool) for _ in range(2))
    square[3:8, 3:8] = far[10:, 11:] = True
    yield "equal masks have F = 1", square, square, 1
    yield "an outline one pixel away is within a tolerance of 1", square, np.roll(square, 1, 1), 1
    yield "0 if both shares are 0, not NaN", square, far, 1
    for tolerance, *size in ((1, 24, 24), (2, 20, 31), (1.5, 24, int(rng.integers(20, 30)))):
        noise = ndimage.gaussian_filter(rng.normal(size=(2, *size)), (0, 3, 3))
        a, b = noise > np.quantile(noise, 0.45, axis=(1, 2), keepdims=True)
        yield "harmonic mean of the near shares of both outlines", a, b, tolerance


def bootstrap(rng):
    idea = "draw with the generator that is handed in; equal scores have no width"
    yield idea, np.full(6, 0.25), int(rng.integers(1000)), 50
    skewed = np.array([0.02, 0.03, 0.05, 0.06, 0.08, 0.1, 0.9])
    for scores in (skewed * rng.uniform(0.5, 1), rng.uniform(0, 1, 40)):
        idea = "2.5 % and 97.5 % quantile of the means of draws with replacement"
        yield idea, scores, int(rng.integers(1000)), 5000


# -- chapter 6 -------------------------------------------------------------------------------------


def box_of(rng):
    x, y = (int(v) for v in rng.integers(4, 9, 2))
    mask, dot = np.zeros((20, 30), dtype=bool), np.zeros((9, 28), dtype=bool)
    mask[y : y + 4, x : x + 9] = dot[4, 5 + x] = True
    diamond = np.abs(np.arange(18)[:, None] - 9) + np.abs(np.arange(25) - 12 + x // 4) <= 5
    yield "the smallest box that holds every pixel, x first", mask
    yield "a diamond: its first row is not as wide as its box", diamond
    yield "one pixel has a box of one pixel", dot
    yield "two parts have one box", mask[::-1] | np.roll(mask, (5, 9), (0, 1))
    yield "a slanted line", np.fliplr(np.eye(11, 17, 2, dtype=bool))


def first_click(rng):
    bent, edge = np.zeros((30, 40), dtype=bool), np.zeros((9, 13), dtype=bool)
    bent[2:9, 3 : 30 + int(rng.integers(5))] = bent[2:28, 3:8] = edge[:, :5] = True
    far = np.hypot(*np.ogrid[-14:15, -16:17])
    ring = (far < 13) & (far > 5 + rng.integers(3))
    yield "the pixel that is deepest inside, on the object, x first", bent
    yield "beyond the image is outside: the edge of the picture is no middle", edge
    yield "the center of mass may lie beside the object", ring


#: First and last column of masks and of objects, of which the best pairs are others if the overlap
#: is divided by the mask or by the object; in the second, others again by each.
_BY_UNION = [[(14, 25), (15, 19)], [(15, 20), (5, 19)]]
_BY_NEITHER = [[(3, 25), (7, 24), (7, 18)], [(8, 21), (14, 23), (14, 16)]]


def match(rng):
    objects = np.zeros((3, 10, 12), dtype=bool)
    objects[0, :4, :4] = objects[1, :4, 5:9] = objects[2, 7:, 7:] = True
    yield "object k gets the index of its mask, or -1", objects[[1, 0]], objects
    apart = np.flip(objects[:1], axis=(1, 2)).copy()
    yield "a mask that does not overlap its object is no match", apart, objects[:1]
    column = np.arange(24)
    first, last = np.array([(0, 10), (2, 12), (1, 11), (0, 6), (0, 24)]).T[..., None]
    lines = ((column >= first) & (column < last))[:, None]
    yield "the assignment with the largest sum of IoU, no mask twice", lines[2:4], lines[:2]
    idea = "a large mask holds every object, but overlaps it less than it seems"
    yield idea, lines[[4, 2]], lines[[1, 3]]
    for ends in (_BY_UNION, _BY_UNION[::-1], _BY_NEITHER):
        first, last = np.moveaxis(np.array(ends), -1, 0)[..., None]
        rows = (np.arange(26) >= first) & (np.arange(26) < last)
        yield "IoU divides by the union", *rows[:, :, None]
    for k, m in ((3, 5), (5, 3)):
        many = ndimage.gaussian_filter(rng.normal(size=(k + m, 12, 14)), (0, 2, 2)) > 0
        yield f"{m} masks for {k} objects", many[:m], many[m:]
