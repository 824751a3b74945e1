"""The report's sentences that test images decide, from the counts that every run keeps of them.

The recipe ``report`` cannot predict most pixels. So that its dots do not decide every sentence,
masks are compared on the pixels that the network can predict: a mask that is right on them scores
1. Only the outline is measured as predicted as well, for to the eye the dots are its roughness. The
best MSE + Dice runs stand for "my model".
"""

from functools import lru_cache
from operator import sub, truediv

import numpy as np
import pandas as pd

from seghw import metrics
from seghw.config import FULL
from seghw.errors import BadInput
from seghw.metrics import class_mean, ratio
from seghw.report import run_claims as by
from seghw.report import stats
from seghw.report.run_claims import Group, Row, Rows, claim, of_images
from seghw.report.stats import RATIO, Score, Tables, share

#: Side of the report's images in pixels, and how much smaller the feature map of the ASPP is.
SIDES, DEEPEST = {"shapes": 64, "coco": FULL.scene_size}, 8
#: What the smallest published SAM sees, in pixels; a model that sees less is somebody's own.
PUBLISHED_SIDE = 1008


def on(tables: Tables, name: str) -> np.ndarray:
    """A table on the pixels that the network can predict."""
    return tables.get(f"predictable_{name}", tables[name])


@claim(13, "ASPP helps with objects of varied sizes", "1", by.ABOVE_0)
def aspp_sizes(group: Group) -> Rows:
    """True if the recall of small and of large objects is higher with it, false if lower.

    That the two lie closer together is not enough: it can come from finding less of the large.
    """
    part = by.PARTS["no ASPP"]
    if group.family != "shapes" and not (group.all.part == part).any():
        return
    pair = group.pair(part)
    for size, third in (("small", "smallest"), ("large", "largest")):
        reading = f"recall of the {third} third of the objects, with ASPP minus without"
        score = lambda c, size=size: class_mean(share(c[size]))  # noqa: E731
        yield of_images(reading, "recall", score, *pair, **by.ABLATED)
    reading = "recall gap of the smallest and largest third, without ASPP minus with"
    score = lambda c: abs(class_mean(share(c["small"]) - share(c["large"])))  # noqa: E731
    more = {"combine": lambda a, b: b - a, "deciding": False, **by.ABLATED}
    yield of_images(reading, "recall", score, *pair, **more)


@claim(14, "the larger the dilation, the larger the context", "1", by.ABOVE_0)
def dilation_context(group: Group) -> Rows:
    """True if every larger rate sees a wider part of the feature map, false if one does not."""
    if group.recipe != "report":
        return
    rates, side = (2, 4, 6), SIDES[group.family] // DEEPEST
    widths = [width_seen(rate, side) for rate in rates]
    detail = f"a map of {side} x {side}; rates {rates}: {', '.join(f'{w:g}' for w in widths)}"
    reading = "width seen, in positions of the map: the least gain from one rate to the next"
    yield by.effect(reading, "positions", [min(np.diff(widths))], exact=True, detail=detail)
    reading = f"width of the kernel, rate {rates[-1]} minus rate {rates[0]}"
    reach = [2.0 * (rates[-1] - rates[0])]
    yield by.effect(reading, "positions", reach, exact=True, deciding=False)


def width_seen(rate: int, side: int) -> float:
    """From the first tap of three inside a feature map to the last, mean over its positions."""
    return 2 * rate * max(0, side - rate) / side


def taps_inside(rate: int, side: int) -> float:
    """How many of a 3 x 3 kernel's taps fall inside a map of that side, mean over its positions."""
    return (1 + 2 * max(0, side - rate) / side) ** 2


def dice_floor(share: float, *, dotted: bool) -> float:
    """The least value of the report's Dice loss for a class that covers that share of an image.

    The best prediction is the truth projected onto what the network can output: all of it, or,
    under the dotted head, every fourth pixel freely and one common value (the layer's bias) on the
    others. Of the truth's square norm the projection has a quarter and 3/4 of ``share``.
    """
    projected = (1 + 3 * share) / 4 if dotted else 1.0
    return 1 - projected**0.5 / 2


@claim(
    15, "the network often predicts the middle of the object only", "5.3", by.ABOVE_0, "35 to 39"
)
def middle_only(group: Group) -> Rows:
    """True if of one mask in four or more the middle is predicted and the edge is not.

    A mask is that of a class in an image. That is: at least half of the pixels deeper inside than
    1/32 of the image's side, and less than half of the others, of those that the network can
    predict. In the figures the middle is dotted as well.
    """
    runs = group.best("mse_dice")
    reading = "share of the masks of which only the middle is predicted, minus 1/4"
    yield of_images(reading, "share", lambda c: class_mean(share(c["middles"])) - 0.25, runs)
    reading = "recall deeper inside minus recall within 1/32 of the side of the outline"
    score = lambda c: class_mean(share(c["inside"]) - share(c["edge"]))  # noqa: E731
    yield of_images(reading, "recall", score, runs, deciding=False)


def length(outlines: np.ndarray) -> np.ndarray:
    """Of all predicted outlines, relative to that of the true ones."""
    return ratio(outlines[..., 0].sum(-1), outlines[..., 2].sum(-1))


def density(c: Tables) -> np.ndarray:
    """Share of the masks that is their outline, relative to that of the true masks."""
    outline, area, true_outline, true_area = np.moveaxis(c["outlines"].sum(-2), -1, 0)
    return ratio(ratio(outline, area), ratio(true_outline, true_area))


def areas_over_outlines(c: Tables) -> np.ndarray:
    outlines = class_mean(metrics.boundary_f(on(c, "boundary")))
    return ratio(class_mean(metrics.dice(on(c, "pixels"))), outlines)


@claim(16, "the network's boundaries are not smooth", "5.3", by.ABOVE_1, "29 to 34")
def rough_boundaries(group: Group) -> Rows:
    """True if more of its masks is outline than of the true ones, false if less."""
    # The share decides: a ragged or dotted mask is mostly outline, and an object that was missed
    # in part does not make it smooth. The length alone falls with every part that was missed.
    first = "share of the predicted pixels on the outline / that of the true mask"
    scores = {
        first: density,
        "outline as predicted, length / true one": lambda c: length(c["outlines"]),
        "F of areas / F of outlines at 2 % of the diagonal": areas_over_outlines,
    }
    if group.recipe == "report":
        reading = "outline on the pixels it can predict, length / true one"
        scores[reading] = lambda c: length(on(c, "outlines"))
    for reading, score in scores.items():
        runs, deciding = group.best("mse_dice"), reading == first
        yield of_images(reading, RATIO, score, runs, deciding=deciding)


@claim(17, "the network is conservative, with few false positives", "5.3", by.BELOW_0, "29 to 34")
def conservative(group: Group) -> Rows:
    """True if it adds less than it misses, and predicts a class in fewer than one in ten of the
    images without it; false if either is not so."""

    def surplus(c: Tables) -> np.ndarray:
        table = on(c, "pixels")
        return class_mean(100 * (table[..., 1] - table[..., 2]) / table.sum(-1))

    def recall_minus_precision(c: Tables) -> np.ndarray:
        return class_mean(metrics.recall(on(c, "pixels")) - metrics.precision(on(c, "pixels")))

    runs = group.best("mse_dice")
    reading = "false-positive minus false-negative area, in % of the image"
    yield of_images(reading, "%", surplus, runs)
    reading = "image-level false positives: share of the images without the class, minus 1/10"
    yield of_images(reading, "share", lambda c: class_mean(share(c["absent"])) - 0.1, runs)
    reading, score = "recall minus precision", recall_minus_precision
    yield of_images(reading, "recall", score, runs, deciding=False)


# -- SAM ------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)  # of the groups of two calls of ``measure``; three sentences ask for each
def beside_sam(group: Group) -> tuple[pd.DataFrame, list[Tables], int]:
    """The runs that judge, of each the draws of its counts and the segmenter's, and their images.

    Tables by whose they are, "sam" or "ours", and by name, as ``on`` takes it.
    """
    from seghw.evaluate import count_tables  # takes torch

    (runs,) = by.with_counts(group.best("mse_dice"))
    if runs.empty:
        raise BadInput(f"{group.dataset}, recipe {group.recipe}: no counts of test images")
    (runs,) = by.judges(runs)
    sam, names = group.records.sam_comparison(group.family), ("pixels", "boundary")
    tables = count_tables(sam.true_boxes, sam.data, runs.config.iloc[0])
    theirs, draws = {("sam", name): on(tables, name) for name in names}, []
    for folder in runs.folder:
        of_run = stats.counts_of(folder)
        ours = {("ours", name): on(of_run, name)[sam.picked] for name in names}
        draws.append(stats.draw(theirs | ours))
    return runs, draws, len(sam.picked)


def against_sam(group: Group, reading: str, unit: str, table: str, score: Score) -> Row:
    """A score of the segmenter, which is told the true boxes, and of the network.

    SAM-tiny is not SAM, nor is anything else that sees less than a published SAM: such rows stand
    in the table and decide nothing.
    """
    runs, draws, images = beside_sam(group)
    combine, segmenter = truediv if unit == RATIO else sub, group.records.segmenter
    scores = np.array([combine(score(c["sam", table]), score(c["ours", table])) for c in draws])
    name = segmenter.name.partition(",")[0]
    note = f"{name} is not SAM; no published SAM has been run"
    note *= segmenter.side < PUBLISHED_SIDE
    more = {"images": images, "image_error": stats.image_error(unit, scores)}
    reading += f": {name} (true boxes) {'/' if unit == RATIO else 'minus'} the network"
    return by.effect(reading, unit, scores[:, 0], [runs], deciding=not note, note=note, **more)


@claim(18, "SAM is far more complete than the network", "5.3", (0.0, 0.5), "35 to 45")
def sam_complete(group: Group) -> Rows:
    """True if it misses less than half of what the network misses, false if more."""
    score = lambda table: 1 - class_mean(metrics.recall(table))  # noqa: E731
    yield against_sam(group, "share of the objects' pixels missed", RATIO, "pixels", score)


FOLLOWS = "SAM follows the boundaries of most objects, the network does not"


@claim(19, FOLLOWS, "5.3", by.ABOVE_0, "35 to 45")
def sam_boundaries(group: Group) -> Rows:
    """True if its boundary F-score is higher, false if lower."""
    score = lambda table: class_mean(metrics.boundary_f(table))  # noqa: E731
    yield against_sam(group, "boundary F-score at 2 % of the diagonal", "F", "boundary", score)


@claim(20, "SAM has more false positives and over-segments", "5.3", by.ABOVE_0, "35 to 39")
def sam_aggressive(group: Group) -> Rows:
    """True if it adds more than the network does, false if less."""
    score = lambda table: class_mean(100 * table[..., 1] / table.sum(-1))  # noqa: E731
    yield against_sam(group, "false positives, % of the image", "%", "pixels", score)
