"""Outlines and connected components: their geometry, their counts and their scores.

Every function of the geometry takes masks bool (N, C, H, W), treats each plane alone and counts
everything beyond the image as outside the mask. Distances are in pixels, between the centers of
pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from seghw.errors import BadInput
from seghw.metrics.pixel import CountTable, checked_masks, pixels, ratio, summed

# The 4 neighbors in one plane; along the first two axes (image, class) nothing touches.
_FOUR = ndimage.generate_binary_structure(2, connectivity=1)[None, None]


def boundary(masks: np.ndarray) -> np.ndarray:
    """The mask's pixels that have one of their 4 neighbors outside it: bool (N, C, H, W)."""
    return masks & ~ndimage.binary_erosion(masks, _FOUR)


def within(masks: np.ndarray, distance: float) -> np.ndarray:
    """The pixels at most ``distance`` (Euclidean) from a pixel of the mask, bool (N, C, H, W)."""
    near = np.zeros_like(masks)
    # SciPy measures one array at a time, and to an empty plane there is no distance.
    for plane in zip(*np.nonzero(masks.any(axis=(2, 3))), strict=True):
        near[plane] = ndimage.distance_transform_edt(~masks[plane]) <= distance
    return near


def components(masks: np.ndarray) -> np.ndarray:
    """Number of connected components, 8-connected (a diagonal step joins): int64 (N, C)."""
    structure = np.zeros((3, 3, 3, 3), dtype=bool)
    structure[1, 1] = True
    labels, number = ndimage.label(masks, structure)
    inside = np.flatnonzero(labels)
    planes = np.zeros(number, dtype=np.int64)
    planes[labels.ravel()[inside] - 1] = inside // (masks.shape[2] * masks.shape[3])
    return np.bincount(planes, minlength=masks[:, :, 0, 0].size).reshape(masks.shape[:2])


@dataclass(frozen=True, eq=False)
class BoundaryCounts(CountTable):
    """Pixels on and along the outlines."""

    predicted: np.ndarray  # on the predicted boundary
    predicted_near: np.ndarray  # of these, within the tolerance of the true boundary
    true: np.ndarray  # on the true boundary
    true_near: np.ndarray  # of these, within the tolerance of the predicted boundary


def count_boundaries(pred: Any, target: Any, tolerance: int) -> BoundaryCounts:
    """Compare outlines, for ``boundary_f``.

    Args:
        pred: predicted masks, bool (N, C, H, W), a NumPy array or a torch tensor.
        target: true masks, likewise.
        tolerance: pixels that two outlines may lie apart, at least 1. Cheng et al. (CVPR 2021) take
            2 % of the diagonal: 2 at 64 x 64, 7 at 256 x 256.

    Raises:
        BadInput: another dtype, another shape, or a tolerance that is no whole number >= 1.
    """
    if tolerance < 1 or tolerance % 1:
        raise BadInput(f"tolerance must be a whole number of pixels >= 1, got {tolerance}")
    pred, target = checked_masks(pred, target)
    pred_line, true_line = boundary(pred), boundary(target)
    return BoundaryCounts(
        predicted=pixels(pred_line),
        predicted_near=pixels(pred_line & within(true_line, tolerance)),
        true=pixels(true_line),
        true_near=pixels(true_line & within(pred_line, tolerance)),
    )


def boundary_f(counts: BoundaryCounts, *, per_image: bool = False) -> np.ndarray:
    """Boundary F-score, 0..1; NaN where both masks are empty.

    The harmonic mean of the share of predicted boundary pixels near the true boundary and the
    share of true ones near the predicted boundary (Martin et al., PAMI 2004; one class at a
    time: Csurka et al., BMVC 2013).
    """
    c = summed(counts, per_image)
    exact = ratio(c.predicted_near, c.predicted, undefined=0.0)
    found = ratio(c.true_near, c.true, undefined=0.0)
    score = ratio(2 * exact * found, exact + found, undefined=0.0)
    return np.where(c.predicted + c.true > 0, score, np.nan)


@dataclass(frozen=True, eq=False)
class ComponentCounts(CountTable):
    """Connected components."""

    predicted: np.ndarray  # of the predicted mask
    true: np.ndarray  # of the true mask


def count_components(pred: Any, target: Any) -> ComponentCounts:
    """Count connected components, 8-connected; true objects of one class that touch are one.

    Args:
        pred: predicted masks, bool (N, C, H, W), a NumPy array or a torch tensor.
        target: true masks, likewise.

    Raises:
        BadInput: another dtype, or another shape.
    """
    return ComponentCounts(*map(components, checked_masks(pred, target)))


def components_per_object(counts: ComponentCounts, *, per_image: bool = False) -> np.ndarray:
    """Predicted components for each true one: 1 is right, more is over-, less under-segmented.

    From 0 up; NaN where there is no true one.
    """
    c = summed(counts, per_image)
    return ratio(c.predicted, c.true)
