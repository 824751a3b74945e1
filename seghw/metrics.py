"""Scores of hard masks: count per image and class, sum over what you like, divide once.

Masks are bool (N, C, H, W): N images, one channel per class. ``count`` gives int64 (N, C, 4), the
numbers of true positive, false positive, false negative and true negative pixels. The score of
each image is ``iou(counts)``, that of the whole set ``iou(counts.sum(0))``, and that of each
bootstrap draw ``iou(resample(counts))``. A score that would divide nothing by nothing, as the IoU
of two empty masks, is NaN: average with ``class_mean``.

Masks come as NumPy arrays or torch tensors; others raise ``BadInput``. Distances are in pixels,
between centers of pixels; whatever lies beyond the image is outside of every mask.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from seghw.errors import BadInput, whole_number

# The 4 neighbors in one channel; along the first two axes (image, class) nothing touches.
_CROSS = ndimage.generate_binary_structure(2, 1)[None, None]


def count(pred: Any, true: Any) -> np.ndarray:
    """True positives, false positives, false negatives and true negatives: int64 (N, C, 4)."""
    pred, true = _masks(pred, true)
    tp = pixels(pred & true)
    fp, fn = pixels(pred) - tp, pixels(true) - tp
    return np.stack((tp, fp, fn, pred.shape[2] * pred.shape[3] - tp - fp - fn), -1)


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index), 0..1: counts (..., 4) to scores (...)."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    return ratio(tp, tp + fp + fn)


def dice(counts: np.ndarray) -> np.ndarray:
    """Dice coefficient (the pixels' F1), 0..1: counts (..., 4) to scores (...)."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    return ratio(2 * tp, 2 * tp + fp + fn)


def precision(counts: np.ndarray) -> np.ndarray:
    """Share of the predicted pixels that are true, 0..1; NaN where none is predicted."""
    return ratio(counts[..., 0], counts[..., 0] + counts[..., 1])


def recall(counts: np.ndarray) -> np.ndarray:
    """Share of the true pixels that are predicted, 0..1; NaN where none is true."""
    return ratio(counts[..., 0], counts[..., 0] + counts[..., 2])


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of all pixels that are right, 0..1; two empty masks score 1, for so is background."""
    return ratio(counts[..., 0] + counts[..., 3], counts.sum(-1))


def false_positive_images(counts: np.ndarray) -> np.ndarray:
    """Of the images without a class, the share in which it is predicted: (N, C, 4) to (C,)."""
    absent = counts[..., 0] + counts[..., 2] == 0
    return ratio((absent & (counts[..., 1] > 0)).sum(0), absent.sum(0))


def class_mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis, the classes, of the scores that apply; NaN where none does."""
    return ratio(np.nansum(scores, -1), np.count_nonzero(~np.isnan(scores), axis=-1))


def boundary(masks: np.ndarray) -> np.ndarray:
    """The mask's pixels that have one of their 4 neighbors outside it: bool (N, C, H, W)."""
    return masks & ~ndimage.binary_erosion(masks, _CROSS)


def within(masks: np.ndarray, distance: float) -> np.ndarray:
    """The pixels at most ``distance`` (Euclidean) from a pixel of the mask, bool (N, C, H, W)."""
    near = np.zeros_like(masks)
    # SciPy measures one array at a time, and to an empty channel there is no distance.
    for channel in zip(*np.nonzero(masks.any(axis=(2, 3))), strict=True):
        near[channel] = ndimage.distance_transform_edt(~masks[channel]) <= distance
    return near


def count_boundary(pred: Any, true: Any, tolerance: int) -> np.ndarray:
    """Compare outlines, for ``boundary_f``.

    ``tolerance`` says how many pixels two outlines may lie apart, at least 1; Cheng et al. (CVPR
    2021) take 2 % of the diagonal: 2 at 64 x 64, 7 at 256 x 256.

    Returns:
        int64 (N, C, 4): pixels of the predicted outline, of these within the tolerance of the true
        one; pixels of the true outline, of these within the tolerance of the predicted one.
    """
    whole_number("tolerance", tolerance, 1)
    p, t = map(boundary, _masks(pred, true))
    parts = (p, p & within(t, tolerance), t, t & within(p, tolerance))
    return np.stack([pixels(part) for part in parts], -1)


def boundary_f(counts: np.ndarray) -> np.ndarray:
    """Boundary F-score, 0..1, of what ``count_boundary`` gives; NaN where both masks are empty.

    The harmonic mean of the share of predicted boundary pixels near the true boundary and of true
    ones near the predicted boundary (Martin et al., PAMI 2004; Csurka et al., BMVC 2013).
    """
    predicted, predicted_near, true, true_near = np.moveaxis(counts, -1, 0)
    exact = ratio(predicted_near, predicted, undefined=0.0)
    complete = ratio(true_near, true, undefined=0.0)
    score = ratio(2 * exact * complete, exact + complete, undefined=0.0)
    return np.where(predicted + true > 0, score, np.nan)


def components(masks: np.ndarray) -> np.ndarray:
    """Number of connected components, 8-connected (a diagonal step joins): int64 (N, C)."""
    eight = np.ones((3, 3))
    numbers = [ndimage.label(mask, eight)[1] for mask in masks.reshape(-1, *masks.shape[2:])]
    return np.reshape(numbers, masks.shape[:2]).astype(np.int64)


def resample(*counts: np.ndarray, times: int = 1000, seed: int = 0) -> Any:
    """Sums of counts over images drawn with replacement (the bootstrap; Efron, 1979).

    It says how much a score owes to the choice of test images, not to the seed of training. With
    fewer than some 20 images its intervals are too narrow.

    Args:
        counts: tables (N, C, k) of the same N images, which are drawn together: paired.
        times: number of draws of N images.
        seed: of the draws.

    Returns:
        One table (times, C, k) for each that was given; for a single one the table itself.
    """
    lengths = {len(table) for table in counts}
    if len(lengths) != 1 or 0 in lengths:
        raise BadInput(f"a bootstrap needs tables of the same images, got {sorted(lengths)} images")
    images = lengths.pop()
    draws = np.random.default_rng(seed).integers(images, size=(times, images))
    draws += images * np.arange(times)[:, None]  # a row of weights a draw
    weights = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
    tables = [np.tensordot(weights, table, 1) for table in counts]
    return tables[0] if len(tables) == 1 else tables


def interval(values: np.ndarray) -> np.ndarray:
    """The ends of the middle 95 % of the values that are not NaN: (2, ...)."""
    return np.nanquantile(values, (0.025, 0.975), axis=0)


def ratio(numerator: Any, denominator: Any, undefined: float = np.nan) -> np.ndarray:
    """Divide; where the denominator is 0 the result is ``undefined``, without a warning."""
    out = np.full(np.shape(denominator), undefined)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)


def pixels(masks: np.ndarray) -> np.ndarray:
    """Pixels of each mask: bool (N, C, H, W) to int64 (N, C)."""
    return np.count_nonzero(masks, axis=(2, 3)).astype(np.int64)


def _masks(pred: Any, true: Any) -> list[np.ndarray]:
    """Both as NumPy arrays, from the CPU, checked."""
    masks = [np.asarray(m.cpu() if hasattr(m, "cpu") else m) for m in (pred, true)]
    if any(m.dtype != np.bool_ or m.ndim != 4 for m in masks) or masks[0].shape != masks[1].shape:
        got = " and ".join(f"{m.dtype} {m.shape}" for m in masks)
        raise BadInput(f"masks must both be bool (N, C, H, W), got {got}")
    return masks
