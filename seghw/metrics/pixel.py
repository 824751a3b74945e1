"""Pixels counted by what was predicted and what is true, and the scores made of the counts.

A score sums its table over the images first and gives float64 (C,); with ``per_image=True`` it
gives (N, C). Where it would divide nothing by nothing, as the IoU of two empty masks does, it
does not apply and is NaN. ``mean_score`` leaves those out and says how many there were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np

from seghw.errors import BadInput


@dataclass(frozen=True, eq=False)
class CountTable:
    """What all tables of counts share; each field is int64 (N, C), or (C,) after ``total``."""

    def __post_init__(self) -> None:
        shapes = {(array.shape, array.dtype) for array in self._arrays()}
        shape, dtype = shapes.pop()
        if shapes or dtype != np.int64 or len(shape) not in (1, 2):
            got = ", ".join(f"{array.dtype} {array.shape}" for array in self._arrays())
            raise BadInput(f"counts must be int64 arrays of one shape (N, C), got {got}")

    def __len__(self) -> int:
        """The number of images."""
        return self.per_image()._arrays()[0].shape[0]

    def subset(self, images: Sequence[int] | np.ndarray | slice) -> Self:
        """The table of the images chosen, in that order; an image may be chosen twice."""
        return type(self)(*(array[images] for array in self.per_image()._arrays()))

    def total(self) -> Self:
        """The counts summed over the images, each field (C,)."""
        return type(self)(*(a.sum(axis=0) if a.ndim == 2 else a for a in self._arrays()))

    def weighted(self, weights: np.ndarray) -> Self:
        """One row per row of ``weights``, int64 (R, N): the images summed, so often each."""
        return type(self)(*(weights @ array for array in self.per_image()._arrays()))

    def per_image(self) -> Self:
        """The table itself; raises ``BadInput`` if it was summed over its images."""
        if self._arrays()[0].ndim != 2:
            shape = self._arrays()[0].shape
            raise BadInput(f"counts per image needed, got {shape}: leave out total()")
        return self

    def _arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True, eq=False)
class Counts(CountTable):
    """Pixels by what was predicted and what is true."""

    tp: np.ndarray  # predicted and true
    fp: np.ndarray  # predicted, not true
    fn: np.ndarray  # true, not predicted
    tn: np.ndarray  # neither

    @property
    def pixels(self) -> np.ndarray:
        """All pixels, H x W per image: int64, in the shape of the fields."""
        return self.tp + self.fp + self.fn + self.tn


def count(pred: Any, target: Any) -> Counts:
    """Compare masks pixel by pixel.

    Args:
        pred: predicted masks, bool (N, C, H, W), a NumPy array or a torch tensor.
        target: true masks, likewise.

    Raises:
        BadInput: another dtype, or another shape.
    """
    pred, target = checked_masks(pred, target)
    tp = pixels(pred & target)
    fp, fn = pixels(pred) - tp, pixels(target) - tp
    return Counts(tp, fp, fn, tn=pred.shape[2] * pred.shape[3] - tp - fp - fn)


def checked_masks(pred: Any, target: Any) -> list[np.ndarray]:
    """Both as NumPy arrays; raises ``BadInput`` unless both are bool (N, C, H, W) of one shape."""
    masks = [np.asarray(m.cpu() if hasattr(m, "cpu") else m) for m in (pred, target)]
    if any(m.dtype != np.bool_ or m.ndim != 4 for m in masks) or masks[0].shape != masks[1].shape:
        got = " and ".join(f"{m.dtype} {m.shape}" for m in masks)
        raise BadInput(f"pred and target must both be bool (N, C, H, W); got {got}")
    return masks


def pixels(masks: np.ndarray) -> np.ndarray:
    """Pixels of each mask: bool (N, C, H, W) to int64 (N, C)."""
    return np.count_nonzero(masks, axis=(2, 3)).astype(np.int64)


def iou(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Intersection over union (Jaccard index), 0..1; NaN where both masks are empty."""
    c = summed(counts, per_image)
    return ratio(c.tp, c.tp + c.fp + c.fn)


def dice(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Dice coefficient (the pixels' F1), 0..1; NaN where both masks are empty."""
    c = summed(counts, per_image)
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def precision(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of the predicted pixels that are true, 0..1; NaN where none is predicted."""
    c = summed(counts, per_image)
    return ratio(c.tp, c.tp + c.fp)


def recall(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of the true pixels that are predicted, 0..1; NaN where none is true."""
    c = summed(counts, per_image)
    return ratio(c.tp, c.tp + c.fn)


def accuracy(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Share of all pixels that are right, 0..1, each class against everything else.

    Two empty masks have 1, for their background is right; that is why it flatters small objects.
    """
    c = summed(counts, per_image)
    return ratio(c.tp + c.tn, c.pixels)


def false_positive_area(counts: Counts, *, per_image: bool = False) -> np.ndarray:
    """Wrongly predicted pixels as a share of the image, 0..1."""
    c = summed(counts, per_image)
    return ratio(c.fp, c.pixels)


def false_alarms(counts: Counts) -> np.ndarray:
    """Number of images in which a class is predicted though absent, int64 (C,)."""
    c = counts.per_image()
    return ((c.tp + c.fn == 0) & (c.fp > 0)).sum(axis=0)


def false_alarm_rate(counts: Counts) -> np.ndarray:
    """False alarms as a share of the images without the class, (C,); NaN if there are none."""
    return ratio(false_alarms(counts), (counts.tp + counts.fn == 0).sum(axis=0))


class MeanScore(NamedTuple):
    """A mean of scores; floats and ints, or arrays where an axis was given."""

    mean: Any  # over the scores that apply; NaN if none does
    applicable: Any  # how many those are
    not_applicable: Any  # how many were left out


def mean_score(values: np.ndarray, axis: int | None = None) -> MeanScore:
    """The mean of the scores that apply, and how many do not (NaN).

    Args:
        values: scores, such as ``iou(counts)`` or ``iou(counts, per_image=True)``.
        axis: None for one mean of all; on scores (N, C), 0 for one per class, 1 for one per image.
    """
    missing = np.isnan(values)
    applicable = (~missing).sum(axis=axis)
    mean = ratio(np.nansum(values, axis=axis), applicable)
    found = MeanScore(mean, applicable, missing.sum(axis=axis))
    return found if axis is not None else MeanScore(*(part.item() for part in found))


def summed(counts: CountTable, per_image: bool) -> Any:
    """The counts as a score needs them: per image, or summed over the images."""
    return counts.per_image() if per_image else counts.total()


def ratio(numerator: Any, denominator: Any, undefined: float = np.nan) -> np.ndarray:
    """Divide; where the denominator is 0 the result is ``undefined``, without a warning."""
    out = np.full(np.shape(denominator), undefined)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
