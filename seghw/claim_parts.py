"""Parts of masks that claims look at apart: the rim, the outline, small objects, paintable pixels.

Counts of them are tables like those of ``metrics``: one row an image, one column a class.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from seghw.boundary import boundary, within
from seghw.counts import CountTable, pixels
from seghw.dataset import SegmentationSet
from seghw.recipes import TrainConfig
from seghw.seeding import seeded


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
        first, second = config.network().eval()(torch.rand(2, 3, side, side))
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
    """Pixels on the outlines, where both masks of an image and class hold anything."""

    predicted: np.ndarray
    true: np.ndarray


def inside(masks: np.ndarray, depth: float) -> np.ndarray:
    """The mask's pixels more than ``depth`` pixels away from whatever is outside it.

    Args:
        masks: bool (N, C, H, W); beyond the image is outside.
        depth: Euclidean, between the centres of pixels.
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
    return OutlineCounts(*(pixels(boundary(masks)) * both for masks in (pred, true)))


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
