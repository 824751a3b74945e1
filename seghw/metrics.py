"""Hard-mask scores from counts: count per image and class, sum, divide once.

``count``, ``count_boundaries`` and ``count_components`` compare masks and return a table of
integers, one row an image and one column a class, classes in the order of the mask planes. The
rest is arithmetic on such tables, so one pass over the masks serves per-image scores, scores of
the whole set and their intervals.

A score sums its table over the images first and gives float64 (C,); with ``per_image=True`` it
gives (N, C). Where it would divide nothing by nothing, as the IoU of two empty masks does, it
does not apply and is NaN. ``mean_score`` leaves those out and says how many there were.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np

from seghw.boundary import boundary, components, inner_band, within
from seghw.errors import BadInput


@dataclass(frozen=True, eq=False)
class CountTable:
    """What the three tables share; each field is int64 (N, C), or (C,) after ``total``."""

    def __post_init__(self) -> None:
        shapes = {(array.shape, array.dtype) for array in self._arrays()}
        shape, dtype = shapes.pop()
        if shapes or dtype != np.int64 or len(shape) not in (1, 2):
            got = ", ".join(f"{array.dtype} {array.shape}" for array in self._arrays())
            raise BadInput(f"counts must be int64 arrays of one shape (N, C), got {got}")

    def __len__(self) -> int:
        """The number of images."""
        return self._per_image()[0].shape[0]

    def __add__(self, other: Self) -> Self:
        """One table of the images of both, in order: for disjoint batches of one set.

        Raises:
            BadInput: different numbers of classes, or a table without its images.
        """
        pairs = list(zip(self._per_image(), other._per_image(), strict=True))
        widths = [array.shape[1] for array in pairs[0]]
        if widths[0] != widths[1]:
            raise BadInput(f"only counts of the same classes can be joined, got {widths} classes")
        return type(self)(*map(np.concatenate, pairs))

    def subset(self, images: Sequence[int] | np.ndarray | slice) -> Self:
        """The table of the images chosen, in that order; an image may be chosen twice."""
        return type(self)(*(array[images] for array in self._per_image()))

    def total(self) -> Self:
        """The counts summed over the images, each field (C,)."""
        return type(self)(*(a.sum(axis=0) if a.ndim == 2 else a for a in self._arrays()))

    def _arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)]

    def _per_image(self) -> list[np.ndarray]:
        arrays = self._arrays()
        if arrays[0].ndim != 2:
            raise BadInput(f"counts per image needed, got {arrays[0].shape}: leave out total()")
        return arrays


@dataclass(frozen=True, eq=False)
class Counts(CountTable):
    """Pixels by what was predicted and what is true."""

    tp: np.ndarray  # predicted and true
    fp: np.ndarray  # predicted, not true
    fn: np.ndarray  # true, not predicted
    tn: np.ndarray  # neither

    @property
    def pixels(self) -> np.ndarray:
        """All pixels, H x W an image: int64, in the shape of the fields."""
        return self.tp + self.fp + self.fn + self.tn


@dataclass(frozen=True, eq=False)
class BoundaryCounts(CountTable):
    """Pixels on and along the outlines."""

    predicted: np.ndarray  # on the predicted boundary
    predicted_near: np.ndarray  # of these, within the tolerance of the true boundary
    true: np.ndarray  # on the true boundary
    true_near: np.ndarray  # of these, within the tolerance of the predicted boundary
    band_both: np.ndarray  # in the inner bands of both masks
    band_either: np.ndarray  # in the inner band of at least one


@dataclass(frozen=True, eq=False)
class ComponentCounts(CountTable):
    """Connected components; two touch where they share a pixel."""

    predicted: np.ndarray  # components of the predicted mask
    merged: np.ndarray  # of these, touching two or more true ones
    true: np.ndarray  # components of the true mask
    split: np.ndarray  # of these, touching two or more predicted ones


def count(pred: Any, target: Any) -> Counts:
    """Compare masks pixel by pixel.

    Args:
        pred: predicted masks, bool (N, C, H, W), a NumPy array or a torch tensor.
        target: true masks, likewise.

    Raises:
        BadInput: another dtype, or another shape.
    """
    pred, target = _masks(pred, target)
    tp = _pixels(pred & target)
    fp, fn = _pixels(pred) - tp, _pixels(target) - tp
    return Counts(tp, fp, fn, tn=pred.shape[2] * pred.shape[3] - tp - fp - fn)


def count_boundaries(pred: Any, target: Any, tolerance: int) -> BoundaryCounts:
    """Compare outlines, for ``boundary_f`` and ``boundary_iou``.

    Args:
        pred: predicted masks, bool (N, C, H, W), a NumPy array or a torch tensor.
        target: true masks, likewise.
        tolerance: pixels that two outlines may lie apart, and width of the inner bands; at least
            1. Cheng et al. take 2 % of the diagonal: 2 at 64 x 64, 7 at 256 x 256.

    Raises:
        BadInput: another dtype, another shape, or a tolerance that is no whole number >= 1.
    """
    if tolerance < 1 or tolerance % 1:
        raise BadInput(f"tolerance must be a whole number of pixels >= 1, got {tolerance}")
    pred, target = _masks(pred, target)
    pred_line, true_line = boundary(pred), boundary(target)
    pred_band, true_band = (inner_band(masks, int(tolerance)) for masks in (pred, target))
    return BoundaryCounts(
        predicted=_pixels(pred_line),
        predicted_near=_pixels(pred_line & within(true_line, tolerance)),
        true=_pixels(true_line),
        true_near=_pixels(true_line & within(pred_line, tolerance)),
        band_both=_pixels(pred_band & true_band),
        band_either=_pixels(pred_band | true_band),
    )


def count_components(pred: Any, target: Any) -> ComponentCounts:
    """Compare connected components, 8-connected: a diagonal step joins.

    True objects of one class that touch each other count as one.

    Args:
        pred: predicted masks, bool (N, C, H, W), a NumPy array or a torch tensor.
        target: true masks, likewise.

    Raises:
        BadInput: another dtype, or another shape.
    """
    pred, target = _masks(pred, target)
    (pred_labels, pred_planes), (true_labels, true_planes) = components(pred), components(target)
    both = pred & target
    touching = np.unique(np.stack((pred_labels[both], true_labels[both])), axis=1) - 1
    touches_of_pred = np.bincount(touching[0], minlength=len(pred_planes))
    touches_of_true = np.bincount(touching[1], minlength=len(true_planes))
    table = pred.shape[:2]
    return ComponentCounts(
        predicted=_per_plane(pred_planes, table),
        merged=_per_plane(pred_planes[touches_of_pred > 1], table),
        true=_per_plane(true_planes, table),
        split=_per_plane(true_planes[touches_of_true > 1], table),
    )


def iou(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Intersection over union (Jaccard index), 0..1; NaN where both masks are empty."""
    c = _summed(counts, per_image)
    return _ratio(c.tp, c.tp + c.fp + c.fn)


def dice(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Dice coefficient (the pixels' F1), 0..1; NaN where both masks are empty."""
    c = _summed(counts, per_image)
    return _ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def precision(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of the predicted pixels that are true, 0..1; NaN where none is predicted."""
    c = _summed(counts, per_image)
    return _ratio(c.tp, c.tp + c.fp)


def recall(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of the true pixels that are predicted, 0..1; NaN where none is true."""
    c = _summed(counts, per_image)
    return _ratio(c.tp, c.tp + c.fn)


def accuracy(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of all pixels that are right, 0..1, each class against everything else.

    Two empty masks have 1, for their background is right; that is why it flatters small objects.
    """
    c = _summed(counts, per_image)
    return _ratio(c.tp + c.tn, c.pixels)


def false_positive_area(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Wrongly predicted pixels as a share of the image, 0..1."""
    c = _summed(counts, per_image)
    return _ratio(c.fp, c.pixels)


def false_alarms(counts: Counts) -> np.ndarray:
    """Number of images in which a class is predicted though absent, int64 (C,)."""
    tp, fp, fn, _ = counts._per_image()
    return ((tp + fn == 0) & (fp > 0)).sum(axis=0)


def false_alarm_rate(counts: Counts) -> np.ndarray:
    """False alarms as a share of the images without the class, (C,); NaN if there are none."""
    return _ratio(false_alarms(counts), (counts.tp + counts.fn == 0).sum(axis=0))


def boundary_f(counts: BoundaryCounts, *, per_image: bool = False) -> np.ndarray:
    """Boundary F-score, 0..1; NaN where both masks are empty.

    The harmonic mean of the share of predicted boundary pixels near the true boundary and the
    share of true ones near the predicted boundary (Martin et al., PAMI 2004; one class at a
    time: Csurka et al., BMVC 2013).
    """
    c = _summed(counts, per_image)
    exact = _ratio(c.predicted_near, c.predicted, undefined=0.0)
    found = _ratio(c.true_near, c.true, undefined=0.0)
    score = _ratio(2 * exact * found, exact + found, undefined=0.0)
    return np.where(c.predicted + c.true > 0, score, np.nan)


def boundary_iou(counts: BoundaryCounts, *, per_image: bool = False) -> np.ndarray:
    """IoU of the inner bands (Cheng et al., CVPR 2021), 0..1; NaN where both are empty."""
    c = _summed(counts, per_image)
    return _ratio(c.band_both, c.band_either)


def components_per_object(counts: ComponentCounts, *, per_image: bool = False) -> np.ndarray:
    """Predicted components for each true one: 1 is right, more is over-, less under-segmented.

    From 0 up; NaN where there is no true one.
    """
    c = _summed(counts, per_image)
    return _ratio(c.predicted, c.true)


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
    mean = _ratio(np.nansum(values, axis=axis), applicable)
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


def _masks(pred: Any, target: Any) -> list[np.ndarray]:
    """Both as NumPy arrays, checked."""
    masks = [np.asarray(m.cpu() if hasattr(m, "cpu") else m) for m in (pred, target)]
    if any(m.dtype != np.bool_ or m.ndim != 4 for m in masks) or masks[0].shape != masks[1].shape:
        got = " and ".join(f"{m.dtype} {m.shape}" for m in masks)
        raise BadInput(f"pred and target must both be bool (N, C, H, W); got {got}")
    return masks


def _pixels(masks: np.ndarray) -> np.ndarray:
    return np.count_nonzero(masks, axis=(2, 3)).astype(np.int64)


def _per_plane(planes: np.ndarray, table: tuple[int, int]) -> np.ndarray:
    number = np.bincount(planes, minlength=table[0] * table[1])
    return number.astype(np.int64).reshape(table)


def _summed(counts: CountTable, per_image: bool) -> Any:
    if per_image:
        counts._per_image()
        return counts
    return counts.total()


def _ratio(numerator: Any, denominator: Any, undefined: float = np.nan) -> np.ndarray:
    """Divide; where the denominator is 0 the result is ``undefined``, without a warning."""
    out = np.full(np.shape(denominator), undefined)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
