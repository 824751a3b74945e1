"""What a solved task must do: for each task a few questions, each with the idea that it tests.

A check is a generator. It calls the student's function on small inputs and yields, one after the
other, whether the answer is right and the sentence to say if it is not. Where the package has
the function, it is the reference; elsewhere the answer is worked out on the spot, another way than
the solution in the chapter does it. ``CHECKS`` holds them by the name of the function.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import ndimage, stats
from torch import nn
from torch.nn import functional as F

from seghw import losses, metrics
from seghw.network import ASPP

Question = tuple[bool, str]
Check = Callable[[Callable[..., Any], int], Iterator[Question]]
CHECKS: dict[str, Check] = {}


def _check(check: Check) -> Check:
    CHECKS[check.__name__] = check
    return check


def _close(a: Any, b: Any) -> bool:
    """Equal up to rounding; tensors, arrays, numbers; other shapes or kinds are not equal."""
    a, b = (torch.as_tensor(v).detach().double() for v in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


# -- chapter 1 --------------------------------------------------------------------------------


@_check
def residual(f, seed):
    torch.manual_seed(seed)
    x = torch.randn(2, 4, 6, 6)
    conv = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)]
    norm = [nn.BatchNorm2d(4).eval() for _ in range(2)]
    for layer in norm:
        nn.init.uniform_(layer.weight)
        nn.init.uniform_(layer.running_mean)
    y = f(x, conv[0], norm[0], conv[1], norm[1])
    yield y.shape == x.shape, "a residual block returns a map of the shape it was given"
    inner = F.relu(norm[0](conv[0](x)))
    inner = F.relu(norm[1](conv[1](inner)))
    yield not _close(y, inner), "the input is not added: without the shortcut it is a plain block"
    yield _close(y - x, inner), "order: convolution, normalization, ReLU, twice; then the shortcut"


@_check
def aspp_forward(f, seed):
    torch.manual_seed(seed)
    aspp, x = ASPP(4, (1, 2, 3)), torch.randn(2, 4, 9, 9)
    y = f(x, aspp.point, aspp.atrous, aspp.merge)
    yield y.shape == x.shape, "the merge has not run: the result must have as many channels as x"
    chain = x
    for branch in aspp.atrous:
        chain = branch(chain)
    first = aspp.merge(torch.cat([aspp.point(x), *(b(x) for b in aspp.atrous)], 1))
    yield _close(y, first), "every branch sees x itself; their maps are stacked, the 1 x 1 first"


@_check
def reach(f, seed):
    yield f(3, 1) == 3, "a 3 x 3 kernel of rate 1 spans 3 cells"
    yield f(3, 6) == 13, "between neighboring taps lie rate - 1 cells: rate 6 spans 13"
    kernel, rate = 2 * (seed % 3) + 3, seed % 5 + 2
    taps = [rate * k for k in range(kernel)]
    yield f(kernel, rate) == taps[-1] - taps[0] + 1, f"other kernels: {kernel} taps at rate {rate}"
    yield f(1, rate) == 1, "a kernel of one tap spans one cell at any rate"


@_check
def taps_on_map(f, seed):
    for side, rate in ((8, 2), (8, 6), (32, 6), (9 + seed % 4, 3), (4, 5)):
        cells = range(side)
        row = [sum(0 <= c + k * rate < side for k in (-1, 0, 1)) for c in cells]
        mean = np.mean([a * b for a in row for b in row])
        yield (
            abs(f(side, rate) - mean) < 1e-9,
            f"map of {side} x {side}, rate {rate}: {mean:.3f} of 9 taps lie on the map on average",
        )


@_check
def written_rows(f, seed):
    yield (
        list(f(4, 3, 2, 1, 1, 8)) == list(range(8)),
        "without dilation every row is written: kernel 3, stride 2, padding 1",
    )
    yield list(f(4, 3, 2, 2, 2, 8)) == [0, 2, 4, 6], "tap k of cell i lands on 2 i + 2 k - 2"
    stride, dilation, padding = seed % 3 + 1, seed % 2 + 2, seed % 2 + 1
    layer = nn.ConvTranspose2d(1, 1, 3, stride, padding, bias=False, dilation=dilation)
    nn.init.ones_(layer.weight)
    made = layer(torch.ones(1, 1, 5, 5)).detach()[0, 0]
    wanted = torch.nonzero(made.any(1)).ravel().tolist()
    yield (
        list(f(5, 3, stride, dilation, padding, len(made))) == wanted,
        f"stride {stride}, dilation {dilation}, padding {padding}: rows {wanted}, sorted",
    )


@_check
def dense_head(f, seed):
    torch.manual_seed(seed)
    head, x = f(6, 5), torch.randn(2, 6, 8, 8)
    yield isinstance(head, nn.Module), "return a layer (an nn.Module), not a tensor"
    a, b = head(x), head(torch.randn(2, 6, 8, 8))
    yield a.shape == (2, 5, 16, 16), f"8 x 8 cells become 16 x 16 pixels, got {tuple(a.shape)}"
    constant = (a == b).all(0).all(0)
    yield not constant.any(), f"{constant.float().mean():.0%} of the pixels do not see the image"
    for p in head.parameters():
        nn.init.constant_(p, 0.0 if p.ndim == 1 else 1.0)
    inside = head(torch.ones(1, 6, 8, 8))[0, 0, 3:-3, 3:-3]
    yield (
        bool((inside == inside[0, 0]).all()),
        "some pixels get more taps than others: the stride must divide the kernel",
    )


# -- chapter 2 --------------------------------------------------------------------------------


def _masks(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction and a target (2, 3, 8, 8), of which one pair is absent."""
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(2, 3, 8, 8, generator=generator)
    target = (torch.rand(2, 3, 8, 8, generator=generator) > 0.7).float()
    target[1, 2] = 0
    return pred, target


@_check
def printed_dice(f, seed):
    pred, target = _masks(seed)
    full = target[:1]
    yield _close(f(full, full), 1.5), "a perfect class costs one half: there is no factor 2"
    one = f(pred[:1, :1], target[:1, :1])
    wanted = losses.report_dice_loss(pred[:1, :1], target[:1, :1])
    yield _close(one, wanted), "one pair: 1 - ab / (aa + bb + epsilon), sums over the pixels"
    absent = f(pred[1:, 2:], target[1:, 2:])
    yield _close(absent, 1.0), "an absent class adds exactly 1"
    wanted = losses.report_dice_loss(pred, target)
    yield not _close(6 * f(pred, target), wanted), "a sum over images and classes, not a mean"
    yield _close(f(pred, target), wanted), "sums over the pixels of each pair, not of the batch"


@_check
def dice(f, seed):
    pred, target = _masks(seed)
    perfect = f(target, target)
    yield _close(perfect, 0.0), "a perfect prediction costs nothing: the factor 2 is missing"
    pair = pred[:1, :1], target[:1, :1]
    yield _close(f(*pair), losses.dice_loss(*pair)), "a present class: 1 - 2 ab / (aa + bb)"
    two = f(torch.cat([pair[0]] * 2), torch.cat([pair[1]] * 2))
    yield _close(two, f(*pair)), "a mean, not a sum: twice the images, the same loss"
    absent = pred[1:, 2:].clone().requires_grad_(True)
    value = f(absent, target[1:, 2:])
    slope = torch.autograd.grad(value, absent)[0] if value.requires_grad else torch.zeros(1)
    yield (
        bool((slope > 0).any()),
        "the absent class has no gradient: painting it must cost",
    )
    wanted = losses.dice_loss(absent, target[1:, 2:])
    yield _close(value, wanted), "an absent class costs aa / (aa + 0.3 x pixels)"
    wanted = losses.dice_loss(pred, target)
    yield _close(f(pred, target), wanted), "sums per image and class first, then the mean of pairs"


@_check
def gradient_norm(f, seed):
    pred, target = _masks(seed)
    balance = losses.gradient_balance(pred, target)
    yield _close(f(F.mse_loss, pred, target), balance.mse), "the Euclidean norm over all values"
    found = f(losses.report_dice_loss, pred, target)
    yield _close(found, balance.dice), "any loss: differentiate it with respect to the prediction"
    absent = f(losses.report_dice_loss, pred[1:, 2:], target[1:, 2:])
    yield _close(absent, 0.0), "an absent class has no gradient under the printed Dice"
    yield not pred.requires_grad, "the caller's tensor must stay as it was: work on a copy"


@_check
def combined(f, seed):
    pred, target = _masks(seed)
    for coefficient in (0.0, 1.0, 20.0 + seed % 50):
        mse = F.mse_loss(pred, target)
        wanted = mse + coefficient * losses.dice_loss(pred, target)
        found = f(pred, target, coefficient, losses.dice_loss)
        yield _close(found, wanted), f"the coefficient {coefficient:g} weighs Dice, and Dice alone"
    found = f(pred, target, 2.0, losses.report_dice_loss)
    yield _close(found, mse + 2 * losses.report_dice_loss(pred, target)), "use the Dice handed in"
    leaf = pred.clone().requires_grad_(True)
    found = f(leaf, target, 1.0, losses.dice_loss)
    yield bool(getattr(found, "requires_grad", False)), "return a tensor that can be differentiated"
    wanted = F.mse_loss(leaf, target) + losses.dice_loss(leaf, target)
    slopes = [torch.autograd.grad(value, leaf)[0] for value in (found, wanted)]
    yield _close(*slopes), "both terms must keep their gradient: no item(), no detach()"


@_check
def dice_gradient(f, seed):
    pred, target = _masks(seed)
    pred, target = pred[0, 0], target[0, 0]
    leaf = pred.clone().requires_grad_(True)
    ab, aa, bb = (leaf * target).sum(), leaf.square().sum(), target.square().sum()
    wanted = torch.autograd.grad(1 - 2 * ab / (aa + bb), leaf)[0]
    found = torch.as_tensor(f(pred, target))
    yield found.shape == pred.shape, "one slope per pixel, in the shape of the prediction"
    yield not _close(found, -wanted), "the sign: growing where the target is makes the loss fall"
    yield _close(found, wanted), "the quotient rule has two terms: -2 t / s and + 4 ab p / s²"
    yield _close(f(target, target), torch.zeros_like(target)), "at the target the slope is 0"


# -- chapter 3 --------------------------------------------------------------------------------


@_check
def training_step(f, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).eval()
    twin = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    twin.load_state_dict(model.state_dict())
    step, other = (torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, twin))
    for turn in range(3):
        x, t = torch.randn(8, 3), torch.randn(8, 1)
        value = f(model, step, F.mse_loss, x, t)
        if turn == 0:
            yield model.training, "the model must be in training mode, for its batch norm"
        twin.train()
        other.zero_grad()
        loss = F.mse_loss(twin(x), t)
        loss.backward()
        other.step()
        yield isinstance(value, float) and _close(value, loss), "return the loss as a float"
        same = all(_close(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
        ideas = (
            "the weights move along this batch's gradient",
            "clear the old gradient first",
        )
        yield same, ideas[min(turn, 1)]


@_check
def learning_rate(f, seed):
    peak, steps = 0.001 * (seed % 7 + 1), 200
    yield _close(f(steps, steps, peak), 0.0), "the cosine ends at 0"
    yield f(5, steps, peak) < f(20, steps, peak) < peak * 1.001, "it warms up from 0, linearly"
    for step in (1, 10, 20, 21, 100, 150):
        warm, share = min(1.0, step / (0.1 * steps)), step / steps
        wanted = peak * warm * 0.5 * (1 + math.cos(math.pi * share))
        yield _close(f(step, steps, peak), wanted), f"step {step} of {steps}: warm-up times cosine"


def _runs(scores: list[list[float] | None]) -> list[dict]:
    return [
        {
            "id": f"run {k}",
            "status": "diverged" if s is None else "finished",
            "loss": 1.0 / (k + 1),
            "epochs": [{"validation_iou": v} for v in s or [0.9]],
        }
        for k, s in enumerate(scores)
    ]


@_check
def best_run(f, seed):
    yield f(_runs([[0.1, 0.5], [0.2, 0.3]]))["id"] == "run 0", "by IoU, not by the loss"
    yield f(_runs([[0.9, 0.1], [0.2, 0.3]]))["id"] == "run 1", "at the end, not at its best epoch"
    yield f(_runs([None, [0.01]]))["id"] == "run 1", "a diverged run is worse than any finished one"


@_check
def to_train(f, seed):
    wanted = ["a", "b", "c", "d"]
    records = {"a": "finished", "b": "failed", "d": "diverged", "x": "finished"}
    found = list(f(wanted, records))
    yield "a" not in found, "a finished run is never trained twice"
    yield "b" in found, "a failed run is tried again"
    yield "c" in found, "what has no record is to be trained"
    yield "d" not in found, "a diverged run is a result: it would only diverge again"
    yield found == ["b", "c"], "in the order of the sweep, and nothing that was not asked for"


@_check
def resume(f, seed):
    def fresh(k):
        torch.manual_seed(k)
        model = nn.Linear(3, 1)
        return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def advance(model, step, turns):
        for k in turns:
            torch.manual_seed(100 + k)
            x = torch.randn(8, 3)
            step.zero_grad()
            model(x).square().mean().backward()
            step.step()

    model, step = fresh(seed)
    advance(model, step, range(3))
    saved = {
        "model": {k: v.clone() for k, v in model.state_dict().items()},
        "optimizer": copy.deepcopy(step.state_dict()),
        "epoch": 2,
    }
    again, other = fresh(seed + 1)
    epoch = f(again, other, saved)
    yield epoch == 3, "epoch 2 is done: go on with the next"
    yield _close(again.weight, saved["model"]["weight"]), "the weights come from the checkpoint"
    advance(model, step, range(3, 6))
    advance(again, other, range(3, 6))
    yield _close(again.weight, model.weight), "the optimizer's state (its momentum) is part of it"


# -- chapter 4 --------------------------------------------------------------------------------


@_check
def balancing_coefficient(f, seed):
    rng = np.random.default_rng(seed)
    mse, dice_ = rng.uniform(1, 50, 31), rng.uniform(0.1, 1, 31)
    wanted = np.median(mse / dice_)
    found = f(mse, dice_)
    yield not _close(found, 1 / wanted), "the coefficient multiplies Dice: MSE over Dice"
    yield not _close(found, np.mean(mse / dice_)), "the median: a few rows would decide a mean"
    apart = np.median(mse) / np.median(dice_)
    yield not _close(found, apart), "first the ratio of each row, then the median"
    yield _close(found, wanted), "the median over the rows of MSE's norm over Dice's"


@_check
def verdict(f, seed):
    for low, high, wanted, why in (
        (0.02, 0.05, "higher", "the whole interval is above 0"),
        (-0.05, -0.02, "lower", "the whole interval is below 0"),
        (-0.005, 0.008, "no difference", "the whole interval lies within the margin"),
        (0.001, 0.009, "no difference", "above 0, but too small to matter"),
        (-0.02, 0.03, "undecided", "the interval holds 0 and is wider than the margin"),
        (0.0, 0.05, "undecided", "an interval that touches 0 does not lie above it"),
    ):
        yield f(low, high, 0.01) == wanted, f"[{low}, {high}] with margin 0.01 is {wanted}: {why}"


@_check
def paired_interval(f, seed):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 1, 6)
    a = {k: base[k] + 0.02 + 0.01 * rng.normal() for k in range(6)}
    b = {k: base[k] for k in (5, 3, 1, 0, 2)}
    low, high = f(a, b)
    d = np.array([a[k] - b[k] for k in sorted(b)])
    wanted = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
    yield high - low < 0.2, "pair by seed: the difference of one seed, not of two means"
    normal = 1.959964 * stats.sem(d)
    yield not _close(high - low, 2 * normal), "few seeds: Student's t, not 1.96"
    small = (wanted[1] - wanted[0]) * math.sqrt((len(d) - 1) / len(d))
    yield not _close(high - low, small), "the sample's deviation divides by n - 1 (ddof=1)"
    yield _close([low, high], list(wanted)), "the 95 % interval of the mean difference"


# -- chapter 5 --------------------------------------------------------------------------------


@_check
def iou_from_counts(f, seed):
    yield _close(f(6, 2, 2), 0.6), "IoU is tp / (tp + fp + fn), not accuracy or Dice"
    yield math.isnan(f(0, 0, 0)), "nothing to find and nothing found: IoU is undefined (NaN)"
    yield _close(f(0, 3, 0), 0.0), "a false alarm on an absent class scores 0"
    rng = np.random.default_rng(seed)
    tp, fp, fn = (int(v) for v in rng.integers(1, 50, 3))
    yield _close(f(tp, fp, fn), tp / (tp + fp + fn)), f"{tp} found, {fp} too many, {fn} missed"


@_check
def decode_bands(f, seed):
    bands = ((25.0, 85.0), (65.0, 135.0), (115.0, math.inf))
    output = torch.tensor([20.0, 25.0, 50.0, 75.0, 85.0, 120.0, 400.0])
    planes = output.expand(1, 3, 1, -1).clone()
    found = torch.as_tensor(f(planes, bands))
    yield found.dtype == torch.bool and found.shape == planes.shape, "a bool mask per plane"
    wanted = torch.stack([(output > low) & (output < high) for low, high in bands])[None, :, None]
    edges = found[0, 0, 0, [1, 4]]
    yield not edges.any(), "bands are open: 25 and 85 themselves are outside"
    yield bool(found[0, 1, 0, 3]), "75 lies in the bands of both planes: each plane has its own"
    yield bool((found == wanted).all()), "plane c is held against band c, and no other"


@_check
def wanted(f, seed):
    names = {1: "pizza", 2: "cat"}

    def thing(category, width, height, crowd=0):
        return {"category_id": category, "bbox": [5, 5, width, height], "iscrowd": crowd}

    yield f([thing(1, 220, 200)], names, 200), "one pizza of 220 x 200 is what the rule asks for"
    yield not f([thing(1, 220, 199)], names, 200), "both sides of the box must reach 200"
    yield not f([thing(3, 300, 300)], names, 200), "a dog is none of the wanted classes"
    yield not f([thing(1, 300, 300), thing(2, 20, 20)], names, 200), "exactly ONE wanted object"
    yield f([thing(1, 300, 300), thing(3, 90, 90)], names, 200), "other classes do not count"
    yield f([thing(1, 300, 300), thing(1, 300, 300, 1)], names, 200), "crowds do not count"
    yield not f([thing(1, 300, 300, 1)], names, 200), "a crowd is no object"
    yield not f([], names, 200), "an image without annotations is not wanted"


@_check
def polygon_mask(f, seed):
    box = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
    found = np.asarray(f([box], 8, 10))
    yield found.shape == (8, 10) and found.dtype == bool, "a bool mask of height x width"
    true = np.zeros((8, 10), dtype=bool)
    true[1:4, 2:6] = True
    yield found.sum() == 12, "4 x 3 pixels are inside"
    yield bool((found == true).all()), "a polygon is x, y, x, y, ...: x is the column"
    second = [7.0, 5.0, 9.0, 5.0, 9.0, 7.0, 7.0, 7.0]
    both = np.asarray(f([box, second], 8, 10))
    true[5:7, 7:9] = True
    yield bool((both == true).all()), "an object in two parts has two polygons: fill both"


def _blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 24, 24)), (0, 3, 3))
    return tuple(noise > 0.02)


@_check
def boundary_f(f, seed):
    a, b = _blobs(seed)
    yield _close(f(a, a, 1), 1.0), "equal masks have F = 1"
    shifted = np.zeros((12, 12), dtype=bool)
    shifted[3:8, 3:8] = True
    moved = np.roll(shifted, 1, axis=1)
    yield _close(f(shifted, moved, 1), 1.0), "an outline one pixel away is within a tolerance of 1"
    for tolerance in (1, 2):
        counts = metrics.count_boundaries(a[None, None], b[None, None], tolerance)
        score = metrics.boundary_f(counts)[0]
        area = metrics.dice(metrics.count(a[None, None], b[None, None]))[0]
        found = f(a, b, tolerance)
        yield not _close(found, area), "that is the F of the areas: compare outlines"
        yield _close(found, score), "harmonic mean of the near shares of both outlines"


@_check
def bootstrap(f, seed):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, 80)
    low, high = f(scores, np.random.default_rng(0), 4000)
    half = 1.96 * scores.std() / math.sqrt(len(scores))
    yield low < scores.mean() < high, "the interval holds the mean itself"
    yield 0.8 < (high - low) / (2 * half) < 1.25, "draw as many images, with replacement, each time"
    again = f(scores, np.random.default_rng(0), 4000)
    yield _close([low, high], list(again)), "the same generator gives the same interval"


# -- chapter 6 --------------------------------------------------------------------------------


@_check
def box_of(f, seed):
    rng = np.random.default_rng(seed)
    x0, y0 = (int(v) for v in rng.integers(3, 8, 2))
    mask = np.zeros((20, 30), dtype=bool)
    mask[y0 : y0 + 4, x0 : x0 + 9] = True
    found = [int(v) for v in f(mask)]
    yield found != [y0, x0, y0 + 3, x0 + 8], "x is the column: the box is x0, y0, x1, y1"
    yield found != [x0, y0, 9, 4], "corners, not width and height"
    yield found != [x0, y0, x0 + 9, y0 + 4], "the last pixel of the mask belongs to the box"
    yield found == [x0, y0, x0 + 8, y0 + 3], "the smallest box that holds every pixel"


@_check
def first_click(f, seed):
    mask = np.zeros((30, 40), dtype=bool)
    mask[2:9, 3 : 30 + seed % 5] = True
    mask[2:28, 3:8] = True
    x, y = (int(v) for v in f(mask))
    inside = 0 <= y < 30 and 0 <= x < 40
    yield inside, "x is the column and y the row"
    yield bool(inside and mask[y, x]), "the click lies on the object; a center of mass need not"
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    yield bool(depth[y, x] == depth.max()), "the pixel that is deepest inside, not one at the rim"
    edge = np.zeros((9, 9), dtype=bool)
    edge[:, :5] = True
    x, y = (int(v) for v in f(edge))
    yield x == 2 and 2 <= y <= 6, "beyond the image is outside: the rim of the picture is no middle"


@_check
def match(f, seed):
    objects = np.zeros((3, 10, 10), dtype=bool)
    objects[0, :4, :4] = objects[1, :4, 5:9] = objects[2, 7:, 7:] = True
    proposals = objects[[1, 0]].copy()
    yield list(f(proposals, objects)) == [1, 0, -1], "object k gets the index of its mask, or -1"
    apart = np.flip(objects[:1], axis=(1, 2))
    yield list(f(apart, objects[:1])) == [-1], "a mask that does not overlap its object is no match"
    # Both objects overlap mask 0 most; giving it to the first that asks costs the other everything.
    objects = np.zeros((2, 1, 20), dtype=bool)
    objects[0, 0, :10] = objects[1, 0, 2:12] = True
    proposals = np.zeros((2, 1, 20), dtype=bool)
    proposals[0, 0, 1:11] = proposals[1, 0, :8] = True
    iou = [[(p & o).sum() / (p | o).sum() for p in proposals] for o in objects]
    straight, crossed = iou[0][0] + iou[1][1], iou[0][1] + iou[1][0]
    best = [0, 1] if straight > crossed else [1, 0]
    found = [int(v) for v in f(proposals, objects)]
    yield len(set(found)) == len(found), "no mask serves two objects"
    yield found == best, "the assignment with the largest sum of IoU, not the first come"
