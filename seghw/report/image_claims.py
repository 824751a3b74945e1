"""The report's sentences that test images decide, from the counts that every run keeps of them.

The recipe ``report`` cannot predict most pixels. So that its dots do not decide every sentence,
masks are compared on the pixels that the network can predict: a mask that is right on them scores
1. Only the outline is measured as predicted as well, for to the eye the dots are its roughness. The
best MSE + Dice runs stand for "my model".
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

from seghw import metrics
from seghw.config import FULL
from seghw.errors import BadInput
from seghw.metrics import class_mean, ratio
from seghw.report.run_claims import (
    ABLATED,
    ABOVE_0,
    ABOVE_1,
    BELOW_0,
    Group,
    effect,
    judges,
    of_images,
    with_counts,
)
from seghw.report.stats import (
    RATIO,
    Effect,
    Score,
    Tables,
    claim,
    counts_of,
    draw,
    image_error,
    share,
)

#: Side of the report's images in pixels, and how much smaller the feature map of the ASPP is.
SIDES, DEEPEST = {"shapes": 64, "coco": FULL.scene_size}, 8
#: What the smallest published SAM sees, in pixels; a model that sees less is somebody's own.
PUBLISHED_SIDE = 1008


def on(tables: Tables, name: str) -> np.ndarray:
    """A table on the pixels that the network can predict."""
    return tables.get(f"predictable_{name}", tables[name])


@claim(13, "ASPP helps with objects of varied sizes", "1", ABOVE_0)
def aspp_sizes(group: Group) -> Iterator[Effect]:
    """True if the recall of small and of large objects is higher with it, false if lower.

    That the two lie closer together is not enough: it can come from finding less of the large.
    """
    part = "aspp_rates=None"
    if group.family != "shapes" and not (group.all.part == part).any():
        return
    pair = group.pair(part)

    def recall(c: Tables, size: str) -> np.ndarray:
        return class_mean(share(c[size]))

    for size, third in (("small", "smallest"), ("large", "largest")):
        reading = f"recall of the {third} third of the objects, with ASPP minus without"
        score = lambda a, b, size=size: recall(a, size) - recall(b, size)  # noqa: E731
        yield of_images(reading, "recall", score, *pair, **ABLATED)

    def gap(c: Tables) -> np.ndarray:
        return abs(class_mean(share(c["small"]) - share(c["large"])))

    reading = "recall gap of the smallest and largest third, without ASPP minus with"
    score = lambda a, b: gap(b) - gap(a)  # noqa: E731
    yield of_images(reading, "recall", score, *pair, deciding=False, **ABLATED)


@claim(14, "the larger the dilation, the larger the context", "1", ABOVE_0)
def dilation_context(group: Group) -> Iterator[Effect]:
    """True if every larger rate sees a wider part of the feature map, false if one does not."""
    if group.recipe != "report":
        return
    rates, side = (2, 4, 6), SIDES[group.family] // DEEPEST
    widths = [width_seen(rate, side) for rate in rates]
    detail = f"a map of {side} x {side}; rates {rates}: {', '.join(f'{w:g}' for w in widths)}"
    gained = np.array([min(np.diff(widths))])
    reading = "width seen, in positions of the map: the least gain from one rate to the next"
    yield Effect(reading, "positions", gained, exact=True, detail=detail)
    reading = f"width of the kernel, rate {rates[-1]} minus rate {rates[0]}"
    reach = np.array([2.0 * (rates[-1] - rates[0])])
    yield Effect(reading, "positions", reach, exact=True, deciding=False)


def width_seen(rate: int, side: int) -> float:
    """From the first tap of three inside a feature map to the last, mean over its positions."""
    return 2 * rate * max(0, side - rate) / side


def taps_inside(rate: int, side: int) -> float:
    """How many of a 3 x 3 kernel's taps fall inside a map of that side, mean over its positions."""
    return (1 + 2 * max(0, side - rate) / side) ** 2


def dice_floor(share: float, *, dotted: bool) -> float:
    """The least value of the report's Dice loss for one class of one image.

    The best prediction is the truth projected onto what the network can output: all of it, or,
    under the dotted head, every fourth pixel freely and one common value (the layer's bias) on the
    others. Of the truth's square norm the projection has a quarter and 3/4 of ``share``.

    Args:
        share: of the image that the class covers, 0..1; not 0.
        dotted: the head predicts every fourth pixel only.
    """
    projected = (1 + 3 * share) / 4 if dotted else 1.0
    return 1 - projected**0.5 / 2


@claim(15, "the network often predicts the middle of the object only", "5.3", ABOVE_0, "35 to 39")
def middle_only(group: Group) -> Iterator[Effect]:
    """True if of one object in four or more the middle is predicted and the edge is not.

    That is: at least half of the pixels more than 2 pixels inside, and less than half of the
    others, of those that the network can predict. In the figures the middle is dotted as well.
    """
    runs = group.best("mse_dice")
    reading = "share of objects of which only the middle is predicted, minus 1/4"
    yield of_images(reading, "share", lambda c: class_mean(share(c["middles"])) - 0.25, runs)
    reading = "recall deeper than 2 px minus recall within 2 px of the outline"
    score = lambda c: class_mean(share(c["inside"]) - share(c["edge"]))  # noqa: E731
    yield of_images(reading, "recall", score, runs, deciding=False)


@claim(16, "the network's boundaries are not smooth", "5.3", ABOVE_1, "29 to 34")
def rough_boundaries(group: Group) -> Iterator[Effect]:
    """True if more of its masks is outline than of the true ones, false if less."""

    def length(table: np.ndarray) -> np.ndarray:
        return ratio(table[..., 0].sum(-1), table[..., 2].sum(-1))

    def density(c: Tables) -> np.ndarray:
        outline, area, true_outline, true_area = np.moveaxis(c["outlines"].sum(-2), -1, 0)
        return ratio(ratio(outline, area), ratio(true_outline, true_area))

    def areas_over_outlines(c: Tables) -> np.ndarray:
        outlines = class_mean(metrics.boundary_f(on(c, "boundary")))
        return ratio(class_mean(metrics.dice(on(c, "pixels"))), outlines)

    runs = group.best("mse_dice")
    # The share decides: a ragged or dotted mask is mostly outline, and an object that was missed
    # in part does not make it smooth. The length alone falls with every part that was missed.
    reading = "share of the predicted pixels on the outline / that of the true mask"
    yield of_images(reading, RATIO, density, runs)
    reading = "outline as predicted, length / true one"
    yield of_images(reading, RATIO, lambda c: length(c["outlines"]), runs, deciding=False)
    reading = "F of areas / F of outlines at 2 px"
    yield of_images(reading, RATIO, areas_over_outlines, runs, deciding=False)
    if group.recipe == "report":
        reading = "outline on the pixels it can predict, length / true one"
        yield of_images(reading, RATIO, lambda c: length(on(c, "outlines")), runs, deciding=False)


@claim(17, "the network is conservative, with few false positives", "5.3", BELOW_0, "29 to 34")
def conservative(group: Group) -> Iterator[Effect]:
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
    yield of_images(
        "recall minus precision", "recall", recall_minus_precision, runs, deciding=False
    )


# -- SAM ------------------------------------------------------------------------------------------


@cache
def against_sam(group: Group, reading: str, unit: str, table: str, score: Score) -> Effect:
    """A score of the segmenter, which is told the true boxes, and of the network.

    SAM-tiny is not SAM, nor is anything else that sees less than a published SAM: such rows stand
    in the table and decide nothing.

    Args:
        group, reading, unit: of the effect.
        table: of the counts, on the pixels that the network can predict.
        score: takes that table of the segmenter and of a run.
    """
    from seghw.evaluate import count_tables  # takes torch

    (runs,) = with_counts([group.best("mse_dice")])
    if runs.empty:
        raise BadInput(f"{group.dataset}, recipe {group.recipe}: no counts of test images")
    (runs,) = judges(runs)
    sam = group.records.sam_comparison(group.family)
    masks, picked = sam.masks["segmenter, true boxes"], sam.picked
    theirs = on(count_tables(masks, sam.data, runs.config.iloc[0]), table)
    both = [draw({"sam": theirs, "ours": on(counts_of(f), table)[picked]}) for f in runs.folder]
    scores = np.array([score(c["sam"], c["ours"]) for c in both])
    name, side = group.records.segmenter.name, group.records.segmenter.side
    name = name.partition(",")[0]
    note = f"{name} is not SAM; no published SAM has been run" * (side < PUBLISHED_SIDE)
    more = {"images": len(picked), "deciding": not note, "note": note}
    error = image_error(unit, scores)
    minus = "/" if unit == RATIO else "minus"
    reading = f"{reading}: {name} (true boxes) {minus} the network"
    return effect(reading, unit, scores[:, 0], [runs], image_error=error, **more)


@claim(18, "SAM is far more complete than the network", "5.3", (0.0, 0.5), "35 to 45")
def sam_complete(group: Group) -> Iterator[Effect]:
    """True if it misses less than half of what the network misses, false if more."""

    def missed(sam: np.ndarray, ours: np.ndarray) -> np.ndarray:
        return (1 - class_mean(metrics.recall(sam))) / (1 - class_mean(metrics.recall(ours)))

    yield against_sam(group, "share of the objects missed", RATIO, "pixels", missed)


@claim(
    19,
    "SAM follows the boundaries of most objects, the network does not",
    "5.3",
    ABOVE_0,
    "35 to 45",
)
def sam_boundaries(group: Group) -> Iterator[Effect]:
    """True if its boundary F-score is higher, false if lower."""

    def difference(sam: np.ndarray, ours: np.ndarray) -> np.ndarray:
        return class_mean(metrics.boundary_f(sam)) - class_mean(metrics.boundary_f(ours))

    yield against_sam(group, "boundary F-score at 2 px", "F", "boundary", difference)


@claim(20, "SAM has more false positives and over-segments", "5.3", ABOVE_0, "35 to 39")
def sam_aggressive(group: Group) -> Iterator[Effect]:
    """True if it adds more than the network does, false if less."""

    def difference(sam: np.ndarray, ours: np.ndarray) -> np.ndarray:
        return class_mean(100 * (sam[..., 1] / sam.sum(-1) - ours[..., 1] / ours.sum(-1)))

    yield against_sam(group, "false positives, % of the image", "%", "pixels", difference)
