"""What the scores are made of: masks compared by counting, one row an image, one column a class."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

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
    tp = pixels(pred & target)
    fp, fn = pixels(pred) - tp, pixels(target) - tp
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
        predicted=pixels(pred_line),
        predicted_near=pixels(pred_line & within(true_line, tolerance)),
        true=pixels(true_line),
        true_near=pixels(true_line & within(pred_line, tolerance)),
        band_both=pixels(pred_band & true_band),
        band_either=pixels(pred_band | true_band),
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


def _masks(pred: Any, target: Any) -> list[np.ndarray]:
    """Both as NumPy arrays, checked."""
    masks = [np.asarray(m.cpu() if hasattr(m, "cpu") else m) for m in (pred, target)]
    if any(m.dtype != np.bool_ or m.ndim != 4 for m in masks) or masks[0].shape != masks[1].shape:
        got = " and ".join(f"{m.dtype} {m.shape}" for m in masks)
        raise BadInput(f"pred and target must both be bool (N, C, H, W); got {got}")
    return masks


def pixels(masks: np.ndarray) -> np.ndarray:
    """Pixels of each mask: bool (N, C, H, W) to int64 (N, C)."""
    return np.count_nonzero(masks, axis=(2, 3)).astype(np.int64)


def _per_plane(planes: np.ndarray, table: tuple[int, int]) -> np.ndarray:
    number = np.bincount(planes, minlength=table[0] * table[1])
    return number.astype(np.int64).reshape(table)
