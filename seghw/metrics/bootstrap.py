"""The percentile bootstrap over images (Efron and Tibshirani, 1993, chapter 13).

It says how much a score owes to the choice of test images, not to the seed of training. With
fewer than some 20 images its intervals are too narrow.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from seghw.errors import BadInput

LEVEL = 0.95
RESAMPLES = 1000


class Interval(NamedTuple):
    """A confidence interval: two floats, or two arrays where the statistic is one."""

    low: Any
    high: Any


def bootstrap_interval(
    statistic: Callable[..., Any],
    *counts: Any,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over images.

    Args:
        statistic: tables to a float or an array, such as ``lambda c: mean_score(iou(c)).mean``,
            or ``iou`` itself for one interval per class.
        counts: one table with ``len`` and ``subset``, such as ``Counts``, or several of the same
            images, which are drawn together: then ``lambda a, b: iou(a) - iou(b)`` is a paired
            comparison.
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
    draws = draw_images(lengths[0], resamples, seed)
    values = [statistic(*(table.subset(draw) for table in counts)) for draw in draws]
    values = np.asarray(values, dtype=float)
    return Interval(*np.apply_along_axis(percentile_ends, 0, values, level))


def draw_images(images: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """For each resample the images drawn with replacement, int64 (images,)."""
    rng = np.random.default_rng(seed)
    return (rng.integers(images, size=images) for _ in range(resamples))


def percentile_ends(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Low and high end of the middle share ``level`` of the values; NaN ones are left out."""
    values = values[~np.isnan(values)]
    tails = ((1 - level) / 2, (1 + level) / 2)
    return np.quantile(values, tails) if len(values) else np.full(2, np.nan)
