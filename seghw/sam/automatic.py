"""A segmenter's automatic mode held against objects: matched one to one, the rest counted.

Automatic masks name no object, so each object is given at most one mask and each mask at most one
object, in the way that most objects are found (Kuhn, 1955). What lies on the background belongs to
no object and counts as unmatched. Masks on objects that cannot be told apart are left out, as COCO
leaves out its crowds: nobody knows whether they are right.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from seghw.data.dataset import SegmentationSet
from seghw.metrics import CountTable, ratio
from seghw.sam.prompts import ObjectScores, box_masks, find_objects

#: A mask lies on an object if more than this share of its pixels does, so on one at most.
ON_OBJECT = 0.5


@dataclass(frozen=True, eq=False)
class AutomaticCounts(CountTable):
    """Masks and objects, one row per image, in a single column: int64 (N, 1) each."""

    objects: np.ndarray
    found_50: np.ndarray  # of these, matched to a mask with an IoU of at least 0.5
    found_75: np.ndarray  # likewise 0.75
    masks: np.ndarray
    unmatched: np.ndarray  # of these, matched to no object with an IoU of at least 0.5
    on_objects: np.ndarray  # of the masks, lying on an object
    covered: np.ndarray  # of the objects, with at least one mask lying on it


@dataclass(frozen=True, eq=False)
class AutomaticScores:
    """What the automatic mode found in a set."""

    counts: AutomaticCounts
    best_iou: ObjectScores  # of each object with the mask that fits it best, shared or not


def recall_50(counts: AutomaticCounts) -> float:
    """Share of the objects that are matched with an IoU of at least 0.5, 0..1."""
    return _share(counts.found_50, counts.objects)


def recall_75(counts: AutomaticCounts) -> float:
    """Likewise 0.75."""
    return _share(counts.found_75, counts.objects)


def unmatched_per_image(counts: AutomaticCounts) -> float:
    """Masks that are matched to no object with an IoU of at least 0.5, from 0 up."""
    return float(counts.unmatched.sum() / len(counts))


def masks_per_object(counts: AutomaticCounts) -> float:
    """Over-segmentation: masks lying on an object for each object that has any, from 1 up."""
    return _share(counts.on_objects, counts.covered)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(ratio(part.sum(), whole.sum()))


SCORES = {
    "recall at IoU 0.5": recall_50,
    "recall at IoU 0.75": recall_75,
    "unmatched masks per image": unmatched_per_image,
    "masks on an object that has any": masks_per_object,
}


def score_masks(masks: Iterable[np.ndarray], data: SegmentationSet) -> AutomaticScores:
    """All masks of every image, bool (M, H, W) each, against its objects.

    Raises:
        BadInput: no object can be told apart.
    """
    objects = find_objects(data)
    best, rows = np.zeros(len(objects)), []
    for i, found in enumerate(masks):
        here = objects.image == i
        found = found[~_lies_on(found, _left_out(data, i, objects.number[here])).any(axis=1)]
        best[here] = pairwise_iou(found, objects.masks[here]).max(axis=0, initial=0)
        rows.append(match(found, objects.masks[here]))
    best_iou = ObjectScores.of_values(best, objects.image, len(data))
    columns = np.array(rows, np.int64).T[..., None]
    return AutomaticScores(AutomaticCounts(*columns), best_iou)


def match(masks: np.ndarray, objects: np.ndarray) -> tuple[int, ...]:
    """One image's row of ``AutomaticCounts``: masks bool (M, H, W), objects bool (K, H, W)."""
    iou = pairwise_iou(masks, objects)
    on_object = _lies_on(masks, objects)
    found = _found(iou, 0.5)
    return (
        len(objects),
        found,
        _found(iou, 0.75),
        len(masks),
        len(masks) - found,
        on_object.any(axis=1).sum(),
        on_object.any(axis=0).sum(),
    )


def _found(iou: np.ndarray, least: float) -> int:
    """Objects with a mask of their own of that IoU, in the matching that finds the most."""
    good = iou >= least
    return int(good[linear_sum_assignment(good, maximize=True)].sum())


def _lies_on(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    return _overlaps(masks, objects) > ON_OBJECT * masks.sum((1, 2))[:, None]


def _left_out(data: SegmentationSet, i: int, told_apart: np.ndarray) -> np.ndarray:
    """The pixels of image i's other objects, bool (1, H, W)."""
    rest = [box for k, box in enumerate(data.boxes[i]) if k not in told_apart]
    filled = box_masks([corners for _, *corners in rest], data.masks.shape[2:])
    return (filled & data.masks[i, [c for c, *_ in rest]]).any(axis=0)[None]


def pairwise_iou(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """IoU of every mask, bool (M, H, W), with every object, bool (K, H, W): float64 (M, K)."""
    both = _overlaps(masks, objects)
    either = masks.sum((1, 2))[:, None] + objects.sum((1, 2)) - both
    return both / np.maximum(either, 1)


def _overlaps(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Pixels that each mask shares with each object."""
    return np.tensordot(masks.astype(float), objects.astype(float), axes=((1, 2), (1, 2)))
