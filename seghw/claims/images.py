"""What the claims measure on test images: the rim, the outline, the errors, small and large.

The recipe ``report`` cannot paint most pixels. So that its dots do not decide every claim, masks
are compared on the pixels that the network can paint: a mask that is right on them scores 1.
Distances stay those of the whole image. Only the outline is measured as painted as well, for to
the eye the dots are its roughness. The best MSE + Dice runs stand for "my model".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from seghw import metrics
from seghw.claims.measures import IOU, Group
from seghw.claims.stats import RATIO, Effect, from_images
from seghw.config import LOSS_NAMES, TrainConfig
from seghw.data.dataset import SegmentationSet
from seghw.metrics import CountTable
from seghw.metrics.boundary import boundary, within
from seghw.metrics.pixel import pixels
from seghw.results import RunEvaluation
from seghw.seeding import seeded
from seghw.train.runs import build_network


class Grid(NamedTuple):
    """The rows and the columns that a network can paint, int64 (h,) and (w,)."""

    rows: np.ndarray
    columns: np.ndarray

    def of(self, masks: np.ndarray) -> np.ndarray:
        """bool (N, C, H, W) to (N, C, h, w)."""
        return np.ascontiguousarray(masks[:, :, self.rows][:, :, :, self.columns])


@cache  # several claims ask, and it takes a network
def paintable(config: TrainConfig, side: int) -> Grid:
    """Where the output of the configuration's network depends on the image at all.

    Two images of noise through fresh weights: where both give the same, nothing was painted.
    """
    with seeded(0), torch.inference_mode():
        first, second = build_network(config).eval()(torch.rand(2, 3, side, side))
    differs = (first != second).any(0).numpy()
    return Grid(np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0)))


@dataclass(frozen=True, eq=False)
class RecallCounts(CountTable):
    """True pixels of two kinds, and how many of each were found."""

    first: np.ndarray
    first_found: np.ndarray
    second: np.ndarray
    second_found: np.ndarray


@dataclass(frozen=True, eq=False)
class OutlineCounts(CountTable):
    """Pixels on the outlines and of the areas, where both masks of an image and class hold any."""

    predicted: np.ndarray
    true: np.ndarray
    predicted_area: np.ndarray
    true_area: np.ndarray


def inside(masks: np.ndarray, depth: float) -> np.ndarray:
    """The mask's pixels more than ``depth`` pixels away from whatever is outside it.

    Args:
        masks: bool (N, C, H, W); beyond the image is outside.
        depth: Euclidean, between the centers of pixels.
    """
    core = np.zeros_like(masks)
    planes = masks.any(axis=(2, 3))
    padded = np.pad(masks[planes][None], ((0, 0), (0, 0), (1, 1), (1, 1)))
    core[planes] = (padded & ~within(~padded, depth))[0, :, 1:-1, 1:-1]
    return core


def count_recall(pred: np.ndarray, first: np.ndarray, second: np.ndarray) -> RecallCounts:
    """How much of two disjoint parts of the truth was found; all bool (N, C, H, W)."""
    parts = (first, pred & first, second, pred & second)
    return RecallCounts(*(pixels(part) for part in parts))


def count_outlines(pred: np.ndarray, true: np.ndarray) -> OutlineCounts:
    """Lengths of the outlines in pixels; pred and true are bool (N, C, H, W)."""
    both = pred.any(axis=(2, 3)) & true.any(axis=(2, 3))
    outlines = (boundary(pred), boundary(true))
    return OutlineCounts(*(pixels(masks) * both for masks in (*outlines, pred, true)))


def small_and_large(data: SegmentationSet) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the smallest third of all objects, and of the largest: bool (N, C, H, W) each.

    An object is what its class's mask holds inside its box.
    """
    places = [
        (i, c, slice(y0, y1 + 1), slice(x0, x1 + 1))
        for i, boxes in enumerate(data.boxes)
        for c, x0, y0, x1, y1 in boxes
    ]
    areas = np.array([np.count_nonzero(data.masks[place]) for place in places])
    third, two_thirds = np.quantile(areas, (1 / 3, 2 / 3))
    parts = []
    for chosen in (areas <= third, areas >= two_thirds):
        part = np.zeros_like(data.masks)
        for k in np.flatnonzero(chosen):
            part[places[k]] = data.masks[places[k]]
        parts.append(part)
    small, large = parts
    return small & ~large, large


#: Width of the rim, and tolerance of an outline, as a share of the image: 2 pixels of 64.
RIM = 2 / 64


# -- scores: one number per row of the tables ---------------------------------------------------


def class_mean(values: np.ndarray) -> np.ndarray:
    return metrics.mean_score(values, axis=1).mean


def mean_iou(counts: metrics.Counts) -> np.ndarray:
    return class_mean(metrics.iou(counts, per_image=True))


def recall_difference(c: RecallCounts) -> np.ndarray:
    """Recall of the first part minus that of the second, mean over classes."""
    first, second = ((c.first_found, c.first), (c.second_found, c.second))
    return class_mean(metrics.ratio(*first) - metrics.ratio(*second))


def outline_ratio(c: OutlineCounts) -> np.ndarray:
    """Length of the predicted outlines over that of the true ones, all classes together."""
    return metrics.ratio(c.predicted.sum(axis=1), c.true.sum(axis=1))


def outline_share_ratio(c: OutlineCounts) -> np.ndarray:
    """Share of a mask's pixels that lie on its outline, predicted over true, classes together."""
    predicted, true = (c.predicted, c.predicted_area), (c.true, c.true_area)
    shares = [metrics.ratio(*(part.sum(axis=1) for part in parts)) for parts in (predicted, true)]
    return metrics.ratio(*shares)


def area_over_boundary(c: metrics.Counts, b: metrics.BoundaryCounts) -> np.ndarray:
    """F-score of the pixels (Dice) over that of the outlines, each the mean over classes."""
    return metrics.ratio(
        class_mean(metrics.dice(c, per_image=True)),
        class_mean(metrics.boundary_f(b, per_image=True)),
    )


def surplus(c: metrics.Counts) -> np.ndarray:
    """False-positive minus false-negative area in % of the image, mean over classes."""
    return class_mean(100 * (c.fp - c.fn) / c.pixels)


def recall_minus_precision(c: metrics.Counts) -> np.ndarray:
    values = metrics.recall(c, per_image=True) - metrics.precision(c, per_image=True)
    return class_mean(values)


# -- measurements -----------------------------------------------------------------------------


def _best(group: Group, loss: str) -> dict[int, RunEvaluation]:
    """The seeds of a loss's best setting, held against the test set."""
    found = group.records.evaluations(group.family, group.recipe, loss)
    return {e.run.config.seed: e for e in found if e.run.status == "finished"}


def _iou_difference(group: Group, reading: str, a: str, b: str, **more) -> Effect:
    first, second = _best(group, a), _best(group, b)
    return from_images(
        f"test IoU, {reading}",
        IOU,
        lambda one, other: mean_iou(one) - mean_iou(other),
        [(first[s].counts, second[s].counts) for s in sorted(first.keys() & second.keys())],
        **more,
    )


def combination_minus_best(group: Group) -> Iterator[Effect]:
    """The best MSE + Dice, of nine settings, against the better of MSE and Dice, of three each.

    Having more tries favors the first; ``measures.coefficient_minus_better`` has as many.
    """
    scores = {loss: [e.iou for e in _best(group, loss).values()] for loss in ("mse", "dice")}
    better = max(scores, key=lambda loss: np.mean(scores[loss] or -1))
    reading, detail = (
        "MSE + Dice, the best of nine, minus the better of both",
        f"here {LOSS_NAMES[better]}",
    )
    yield _iou_difference(group, reading, "mse_dice", better, detail=detail, decides=False)


def mse_minus_dice(group: Group) -> Iterator[Effect]:
    """MSE alone against Dice alone, on the test images; ``measures`` has more seeds."""
    yield _iou_difference(group, "MSE minus Dice", "mse", "dice", decides=False)


def _grid(group: Group) -> Grid:
    data = group.records.test_set(group.family)
    config = group.records.runs(group.family, group.recipe, "mse_dice")[0].config
    return paintable(config, data.images.shape[-1])


def middle_minus_rim(group: Group) -> Iterator[Effect]:
    """Recall of the pixels inside the objects minus that of their rims."""
    data, grid = group.records.test_set(group.family), _grid(group)
    width = RIM * data.images.shape[-1]
    core = inside(data.masks, width)
    parts = grid.of(core), grid.of(data.masks & ~core)
    tables = [(count_recall(grid.of(e.masks), *parts),) for e in _best(group, "mse_dice").values()]
    reading = f"recall deeper than {width:g} px minus recall within {width:g} px of the outline"
    yield from_images(reading, "recall", recall_difference, tables)


def small_minus_large(group: Group) -> Iterator[Effect]:
    """How much nearer ASPP brings the recall of small objects to that of large ones."""
    pairs = group.ablated(aspp_rates=None)
    if not pairs and group.family != "shapes":
        return
    data, grid = group.records.test_set(group.family), _grid(group)
    parts = [grid.of(part) for part in small_and_large(data)]
    tables = [
        tuple(count_recall(grid.of(group.records.evaluate(run).masks), *parts) for run in pair)
        for pair in pairs
        if all(run.has_weights() for run in pair)
    ]
    note = "the runs without ASPP have no weights" if pairs and not tables else ""
    reading = "recall gap of the smallest and largest third, without ASPP minus with"
    yield from_images(
        reading,
        "recall",
        lambda whole, without: abs(recall_difference(without)) - abs(recall_difference(whole)),
        tables,
        note=note,
    )


def roughness(group: Group) -> Iterator[Effect]:
    """How much of a mask is outline; its length; how much worse outlines are met than areas.

    The share decides: a ragged or dotted mask is mostly outline, and an object that was missed in
    part does not make it smooth. The length alone falls with every part that was missed.
    """
    data, grid = group.records.test_set(group.family), _grid(group)
    true, side = grid.of(data.masks), data.images.shape[-1]
    painted = [e.masks for e in _best(group, "mse_dice").values()]
    masks = [grid.of(each) for each in painted]
    tables = [(count_outlines(pred, data.masks),) for pred in painted]
    reading = "share of the painted pixels on the outline / that of the true mask"
    yield from_images(reading, RATIO, outline_share_ratio, tables)
    reading = "outline as painted, length / true one"
    yield from_images(reading, RATIO, outline_ratio, tables, decides=False)
    tolerance = max(1, round(RIM * len(grid.rows)))
    tables = [
        (metrics.count(pred, true), metrics.count_boundaries(pred, true, tolerance))
        for pred in masks
    ]
    reading = f"F of areas / F of outlines at {tolerance * side / len(grid.rows):g} px"
    yield from_images(reading, RATIO, area_over_boundary, tables, decides=False)
    if len(grid.rows) < side:
        tables = [(count_outlines(pred, true),) for pred in masks]
        reading = "outline on the pixels it can paint, length / true one"
        yield from_images(reading, RATIO, outline_ratio, tables, decides=False)


def conservatism(group: Group) -> Iterator[Effect]:
    """False positives against false negatives, by area and by rate."""
    data, grid = group.records.test_set(group.family), _grid(group)
    true = grid.of(data.masks)
    found = _best(group, "mse_dice").values()
    tables = [(metrics.count(grid.of(e.masks), true),) for e in found]
    reading = "false-positive minus false-negative area, in % of the image"
    yield from_images(reading, "%", surplus, tables)
    reading = "recall minus precision"
    yield from_images(reading, "recall", recall_minus_precision, tables, decides=False)
