"""The report's sentences that test images decide, from the counts that every run keeps of them.

The recipe ``report`` cannot predict most pixels. So that its dots do not decide every sentence,
masks are compared on the pixels that the network can predict: a mask that is right on them scores
1. Only the outline is measured as predicted as well, for to the eye the dots are its roughness. The
best MSE + Dice runs stand for "my model".
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from seghw import metrics
from seghw.config import FULL, TrainConfig
from seghw.errors import BadInput
from seghw.metrics import ratio
from seghw.report.run_claims import ABOVE_0, ABOVE_1, BELOW_0, Group, claim, effect, judges
from seghw.report.stats import RATIO, Effect, scaled
from seghw.runs import load_counts

Tables = Mapping[str, np.ndarray]  # by name, counts (..., C, k)
Score = Callable[..., np.ndarray]  # of one such mapping a table of runs: (...,)
#: Side of the report's images in pixels, and how much smaller the feature map of the ASPP is.
SIDES, DEEPEST = {"shapes": 64, "coco": FULL.scene_size}, 8
SAM_IMAGES = 60  # of a test set that SAM is asked about
#: What the smallest published SAM sees, in pixels; a model that sees less is somebody's own.
PUBLISHED_SIDE = 1008


def of_images(reading: str, unit: str, score: Score, *runs: pd.DataFrame, **more: Any) -> Effect:
    """The effect of a score of test images, for each seed that all tables have counts of.

    Args:
        reading, unit: of the effect.
        score: takes one run's counts for each table, summed over images: (draws, C, k) by name.
        runs: tables of runs, paired by seed.
        more: further fields of ``Effect``.

    Raises:
        BadInput: no seed has counts in all of the tables.
    """
    counted = [t[[(folder / "counts.npz").is_file() for folder in t.folder]] for t in runs]
    judging = judges(*counted)
    if judging[0].empty:
        raise BadInput(f"{runs[-1].run_id.iloc[0]} and its like have no counts of test images")
    pairs = zip(*(table.folder for table in judging), strict=True)
    scores = np.array([score(*(drawn(folder) for folder in pair)) for pair in pairs])
    error = image_error(unit, scores)
    more = {"image_error": error, "images": len(counts_of(judging[0].folder.iloc[0])), **more}
    return effect(reading, unit, scores[:, 0], judging, **more)


def image_error(unit: str, scores: np.ndarray) -> float:
    """Standard error of the seeds' mean from scores (seeds, draws); the first draw is no draw."""
    on_scale = scaled(unit, scores)
    on_scale = on_scale[~np.isnan(on_scale[:, 0]), 1:]
    return float(np.nanstd(on_scale.mean(0))) if len(on_scale) else math.nan


@cache
def drawn(folder: Path) -> Tables:
    """A run's counts of its test images, (1 + draws, C, k) by name: first all, then draws."""
    return draw(with_outlines(load_counts(SimpleNamespace(folder=folder, run_id=folder.name))))


def counts_of(folder: Path) -> np.ndarray:
    return load_counts(SimpleNamespace(folder=folder, run_id=folder.name))["pixels"]


def draw(tables: Tables) -> Tables:
    """Counts (N, C, k) by name, summed over all images and over bootstrap draws of them."""
    draws = metrics.resample(*tables.values())
    both = zip(tables.items(), draws, strict=True)
    return {name: np.concatenate((table.sum(0)[None], many)) for (name, table), many in both}


def with_outlines(tables: Tables) -> Tables:
    """With what must be counted image by image: outlines, and areas, where both masks have any."""
    tables = dict(tables)
    for prefix in {name.removesuffix("pixels") for name in tables if name.endswith("pixels")}:
        tp, fp, fn, _ = np.moveaxis(tables[f"{prefix}pixels"], -1, 0)
        outline, _, true_outline, _ = np.moveaxis(tables[f"{prefix}boundary"], -1, 0)
        parts = np.stack((outline, tp + fp, true_outline, tp + fn), -1)
        tables[f"{prefix}outlines"] = parts * ((tp + fp > 0) & (tp + fn > 0))[..., None]
    return tables


def on(tables: Tables, name: str) -> np.ndarray:
    """A table on the pixels that the network can predict."""
    return tables.get(f"predictable_{name}", tables[name])


def mean(values: np.ndarray) -> np.ndarray:
    """Over the classes to which a score applies, the last axis."""
    return ratio(np.nansum(values, -1), np.count_nonzero(~np.isnan(values), axis=-1))


def share(part: np.ndarray) -> np.ndarray:
    """Of the true pixels those that are predicted, from (..., 2)."""
    return ratio(part[..., 1], part[..., 0])


def mean_iou(tables: Tables) -> np.ndarray:
    return mean(metrics.iou(tables["pixels"]))


@claim("ASPP helps with objects of varied sizes", "1", ABOVE_0)
def aspp_sizes(group: Group) -> Iterator[Effect]:
    """True if the recall of small and large objects lies closer together with it."""
    if group.family != "shapes" and not (group.all.part == "aspp_rates=None").any():
        return

    def gap(c: Tables) -> np.ndarray:
        return abs(mean(share(c["small"]) - share(c["large"])))

    reading = "recall gap of the smallest and largest third, without ASPP minus with"
    pair = group.pair("aspp_rates=None")
    yield of_images(reading, "recall", lambda a, b: gap(b) - gap(a), *pair)


@claim("the larger the dilation, the larger the context", "1", ABOVE_0)
def dilation_context(group: Group) -> Iterator[Effect]:
    """True if branches of larger rate take in more, false if less."""
    if group.recipe != "report":
        return
    side = SIDES[group.family] // DEEPEST
    rates = group.all.aspp_rates.iloc[0] or (2, 4, 6)
    detail = f"a map of {side} x {side}"
    first, last = min(rates), max(rates)
    reading = f"width of the window, rate {last} minus rate {first}"
    yield Effect(reading, "cells", np.array([2.0 * (last - first)]), exact=True)
    lost = taps_inside(last, side) - taps_inside(first, side)
    reading = f"taps of 9 inside the map, rate {last} minus rate {first}"
    yield Effect(reading, "cells", np.array([lost]), exact=True, detail=detail, decides=False)


def taps_inside(rate: int, side: int) -> float:
    """How many of a 3 x 3 kernel's taps fall inside a map of that side, mean over its positions."""
    return (1 + 2 * max(0, side - rate) / side) ** 2


@claim("the network often predicts the middle of the object only", "5.3", ABOVE_0, "35 to 39")
def middle_only(group: Group) -> Iterator[Effect]:
    """True if recall inside is above recall at the boundary, false if below."""
    reading = "recall deeper than 2 px minus recall within 2 px of the outline"
    runs = group.best("mse_dice")
    yield of_images(reading, "recall", lambda c: mean(share(c["inside"]) - share(c["edge"])), runs)


@claim("the network's boundaries are not smooth", "5.3", ABOVE_1, "29 to 34")
def rough_boundaries(group: Group) -> Iterator[Effect]:
    """True if more of its masks is outline than of the true ones, false if less."""

    def length(table: np.ndarray) -> np.ndarray:
        return ratio(table[..., 0].sum(-1), table[..., 2].sum(-1))

    def density(c: Tables) -> np.ndarray:
        outline, area, true_outline, true_area = np.moveaxis(c["outlines"].sum(-2), -1, 0)
        return ratio(ratio(outline, area), ratio(true_outline, true_area))

    def areas_over_outlines(c: Tables) -> np.ndarray:
        outlines = mean(metrics.boundary_f(on(c, "boundary")))
        return ratio(mean(metrics.dice(on(c, "pixels"))), outlines)

    runs = group.best("mse_dice")
    # The share decides: a ragged or dotted mask is mostly outline, and an object that was missed
    # in part does not make it smooth. The length alone falls with every part that was missed.
    reading = "share of the predicted pixels on the outline / that of the true mask"
    yield of_images(reading, RATIO, density, runs)
    reading = "outline as predicted, length / true one"
    yield of_images(reading, RATIO, lambda c: length(c["outlines"]), runs, decides=False)
    reading = "F of areas / F of outlines at 2 px"
    yield of_images(reading, RATIO, areas_over_outlines, runs, decides=False)
    if group.recipe == "report":
        reading = "outline on the pixels it can predict, length / true one"
        yield of_images(reading, RATIO, lambda c: length(on(c, "outlines")), runs, decides=False)


@claim("the network is conservative, with few false positives", "5.3", BELOW_0, "29 to 34")
def conservative(group: Group) -> Iterator[Effect]:
    """True if it adds less than it misses, false if more."""

    def surplus(c: Tables) -> np.ndarray:
        table = on(c, "pixels")
        return mean(100 * (table[..., 1] - table[..., 2]) / table.sum(-1))

    def recall_minus_precision(c: Tables) -> np.ndarray:
        return mean(metrics.recall(on(c, "pixels")) - metrics.precision(on(c, "pixels")))

    runs = group.best("mse_dice")
    reading = "false-positive minus false-negative area, in % of the image"
    yield of_images(reading, "%", surplus, runs)
    yield of_images("recall minus precision", "recall", recall_minus_precision, runs, decides=False)


# -- SAM ------------------------------------------------------------------------------------------


@cache
def sam_masks(records: Any, family: str) -> tuple[np.ndarray, Any, np.ndarray]:
    """Which test images, as a set of their own, and the segmenter's masks for their true boxes."""
    from seghw.sam import segment_boxes  # takes torch

    data, segmenter = records.test_set(family), records.segmenter
    picked = np.linspace(0, len(data) - 1, min(SAM_IMAGES, len(data))).round().astype(np.int64)
    data = data.subset(picked)
    masks = np.zeros_like(data.masks)
    for i, boxes in enumerate(data.boxes):
        answers = segment_boxes(segmenter, data.images[i], [box[1:] for box in boxes]).masks
        for (class_index, *_), mask in zip(boxes, answers, strict=True):
            masks[i, class_index] |= mask
    return picked, data, masks


def sam_minus_network(
    group: Group, name: str, unit: str, table: str, score: Score, detail: str = ""
) -> Iterator[Effect]:
    """A score of the segmenter, which is told the true boxes, minus that of the network.

    SAM-tiny is not SAM, nor is anything else that sees less than a published SAM: such rows stand
    in the table and decide nothing.
    """
    from seghw.evaluate import count_tables

    runs = group.best("mse_dice")
    runs = runs[[(folder / "counts.npz").is_file() for folder in runs.folder]]
    if runs.empty:
        raise BadInput(f"{group.dataset}, recipe {group.recipe}: no counts of test images")
    picked, data, masks = sam_masks(group.records, group.family)
    theirs = count_tables(masks, data, runs.config.iloc[0])
    scores = []
    (runs,) = judges(runs)
    for folder in runs.folder:
        ours = load_counts(SimpleNamespace(folder=folder, run_id=folder.name))
        both = {"theirs": on(theirs, table), "ours": on(ours, table)[picked]}
        both = draw({k: v.astype(np.int64) for k, v in both.items()})
        scores.append(score(both["theirs"]) - score(both["ours"]))
    scores = np.array(scores)
    segmenter = group.records.segmenter
    published = segmenter.side >= PUBLISHED_SIDE
    yield effect(
        f"{name}: {segmenter.name.partition(',')[0]} (true boxes) minus the network",
        unit,
        scores[:, 0],
        [runs],
        image_error=image_error(unit, scores),
        images=len(picked),
        decides=published,
        detail=detail,
        note="" if published else f"{segmenter.name} is not SAM; no published SAM has been run",
    )


@claim("SAM is far more complete than the network", "5.3", ABOVE_0, "35 to 45")
def sam_complete(group: Group) -> Iterator[Effect]:
    """True if its recall is higher, false if lower."""
    yield from sam_minus_network(
        group, "recall", "recall", "pixels", lambda c: mean(metrics.recall(c))
    )


@claim(
    "SAM follows the boundaries of most objects, the network does not", "5.3", ABOVE_0, "35 to 45"
)
def sam_boundaries(group: Group) -> Iterator[Effect]:
    """True if its boundary F-score is higher, false if lower."""
    score, detail = (lambda c: mean(metrics.boundary_f(c))), "tolerance 2 px"
    yield from sam_minus_network(group, "boundary F-score", "F", "boundary", score, detail)


@claim("SAM has more false positives and over-segments", "5.3", ABOVE_0, "35 to 39")
def sam_aggressive(group: Group) -> Iterator[Effect]:
    """True if it adds more than the network does, false if less."""

    def false_positives(c: np.ndarray) -> np.ndarray:
        return mean(100 * c[..., 1] / c.sum(-1))

    name = "false positives, % of the image"
    yield from sam_minus_network(group, name, "%", "pixels", false_positives)
