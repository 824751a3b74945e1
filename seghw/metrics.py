"""Hard-mask scores from counts: count per image and class, sum, divide once.

``count``, ``count_boundaries`` and ``count_components`` compare masks and return a table of
integers, one row an image and one column a class, classes in the order of the mask planes. The
rest is arithmetic on such tables, so one pass over the masks serves per-image scores, scores of
the whole set and their intervals.

A score sums its table over the images first and gives float64 (C,); with ``per_image=True`` it
gives (N, C). Where it would divide nothing by nothing, as the IoU of two empty masks does, it
does not apply and is NaN. ``mean_score`` leaves those out and says how many there were.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from seghw.counts import (
    BoundaryCounts,
    ComponentCounts,
    Counts,
    CountTable,
)
from seghw.counts import count as count  # the door to all of this
from seghw.counts import count_boundaries as count_boundaries
from seghw.counts import count_components as count_components
from seghw.errors import BadInput


def iou(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Intersection over union (Jaccard index), 0..1; NaN where both masks are empty."""
    c = _summed(counts, per_image)
    return ratio(c.tp, c.tp + c.fp + c.fn)


def dice(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Dice coefficient (the pixels' F1), 0..1; NaN where both masks are empty."""
    c = _summed(counts, per_image)
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def precision(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of the predicted pixels that are true, 0..1; NaN where none is predicted."""
    c = _summed(counts, per_image)
    return ratio(c.tp, c.tp + c.fp)


def recall(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of the true pixels that are predicted, 0..1; NaN where none is true."""
    c = _summed(counts, per_image)
    return ratio(c.tp, c.tp + c.fn)


def accuracy(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of all pixels that are right, 0..1, each class against everything else.

    Two empty masks have 1, for their background is right; that is why it flatters small objects.
    """
    c = _summed(counts, per_image)
    return ratio(c.tp + c.tn, c.pixels)


def false_positive_area(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Wrongly predicted pixels as a share of the image, 0..1."""
    c = _summed(counts, per_image)
    return ratio(c.fp, c.pixels)


def false_alarms(counts: Counts) -> np.ndarray:
    """Number of images in which a class is predicted though absent, int64 (C,)."""
    tp, fp, fn, _ = counts._per_image()
    return ((tp + fn == 0) & (fp > 0)).sum(axis=0)


def false_alarm_rate(counts: Counts) -> np.ndarray:
    """False alarms as a share of the images without the class, (C,); NaN if there are none."""
    return ratio(false_alarms(counts), (counts.tp + counts.fn == 0).sum(axis=0))


def boundary_f(counts: BoundaryCounts, *, per_image: bool = False) -> np.ndarray:
    """Boundary F-score, 0..1; NaN where both masks are empty.

    The harmonic mean of the share of predicted boundary pixels near the true boundary and the
    share of true ones near the predicted boundary (Martin et al., PAMI 2004; one class at a
    time: Csurka et al., BMVC 2013).
    """
    c = _summed(counts, per_image)
    exact = ratio(c.predicted_near, c.predicted, undefined=0.0)
    found = ratio(c.true_near, c.true, undefined=0.0)
    score = ratio(2 * exact * found, exact + found, undefined=0.0)
    return np.where(c.predicted + c.true > 0, score, np.nan)


def boundary_iou(counts: BoundaryCounts, *, per_image: bool = False) -> np.ndarray:
    """IoU of the inner bands (Cheng et al., CVPR 2021), 0..1; NaN where both are empty."""
    c = _summed(counts, per_image)
    return ratio(c.band_both, c.band_either)


def components_per_object(counts: ComponentCounts, *, per_image: bool = False) -> np.ndarray:
    """Predicted components for each true one: 1 is right, more is over-, less under-segmented.

    From 0 up; NaN where there is no true one.
    """
    c = _summed(counts, per_image)
    return ratio(c.predicted, c.true)


class MeanScore(NamedTuple):
    """A mean of scores; floats and ints, or arrays where an axis was given."""

    mean: Any  # over the scores that apply; NaN if none does
    applicable: Any  # how many those are
    not_applicable: Any  # how many were left out


def mean_score(values: np.ndarray, axis: int | None = None) -> MeanScore:
    """The mean of the scores that apply, and how many do not (NaN).

    Args:
        values: scores, such as ``iou(counts)`` or ``iou(counts, per_image=True)``.
        axis: None for one mean of all; on scores (N, C), 0 for one a class, 1 for one an image.
    """
    missing = np.isnan(values)
    applicable = (~missing).sum(axis=axis)
    mean = ratio(np.nansum(values, axis=axis), applicable)
    found = MeanScore(mean, applicable, missing.sum(axis=axis))
    return found if axis is not None else MeanScore(*(part.item() for part in found))


class Interval(NamedTuple):
    """A confidence interval: two floats, or two arrays where the statistic is one."""

    low: Any
    high: Any


def bootstrap_interval(
    statistic: Callable[..., Any],
    *counts: CountTable,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over images (Efron and Tibshirani, 1993, chapter 13).

    It says how much a score owes to the choice of test images, not to the seed of training.
    With fewer than some 20 images it is too narrow.

    Args:
        statistic: tables to a float or an array, such as ``lambda c: mean_score(iou(c)).mean``,
            or ``iou`` itself for one interval a class.
        counts: one table, or several of the same images, which are drawn together: then
            ``lambda a, b: iou(a) - iou(b)`` is a paired comparison.
        level: confidence level, between 0 and 1.
        resamples: how often as many images as there are are drawn with replacement.
        seed: of the draws.

    Returns:
        Both ends. Draws to which the statistic does not apply (NaN) are left out; if it applies
        to none, the ends are NaN.

    Raises:
        BadInput: no images, tables of different lengths, or a number out of its range.
    """
    lengths = [len(table) for table in counts]
    if len(set(lengths)) != 1 or 0 in lengths:
        raise BadInput(f"a bootstrap needs tables of the same images, got {lengths} images")
    if not 0 < level < 1 or resamples < 1:
        raise BadInput(f"level must lie in (0, 1), resamples >= 1; got {level} and {resamples}")
    rng = np.random.default_rng(seed)
    draws = (rng.integers(lengths[0], size=lengths[0]) for _ in range(resamples))
    values = [statistic(*(table.subset(draw) for table in counts)) for draw in draws]
    tails = ((1 - level) / 2, (1 + level) / 2)

    def ends(column: np.ndarray) -> np.ndarray:
        column = column[~np.isnan(column)]
        return np.quantile(column, tails) if len(column) else np.full(2, np.nan)

    return Interval(*np.apply_along_axis(ends, 0, np.asarray(values, dtype=float)))


def _summed(counts: CountTable, per_image: bool) -> Any:
    if per_image:
        counts._per_image()
        return counts
    return counts.total()


def ratio(numerator: Any, denominator: Any, undefined: float = np.nan) -> np.ndarray:
    """Divide; where the denominator is 0 the result is ``undefined``, without a warning."""
    out = np.full(np.shape(denominator), undefined)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
