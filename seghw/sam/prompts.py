"""What to prompt a segmenter with, and what to hold its masks against: objects and clicks."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from seghw import metrics
from seghw.data.dataset import Box, SegmentationSet
from seghw.errors import BadInput

_EIGHT = np.ones((3, 3))  # neighbors, diagonal ones included
#: Of a box that a network found, as a share of the image.
_LEAST_AREA = 0.01


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a set that can be told apart, in the order of its images and boxes.

    A ``SegmentationSet`` has a mask per class, not a mask per object. An object's mask is therefore
    taken to be what its class's plane holds inside its box. That is exact as long as no other
    box of the class overlaps it; objects of which this is not true are left out.
    """

    image: np.ndarray  # int64 (K,), index of the object's image
    number: np.ndarray  # int64 (K,), index of its box among those of the image
    class_index: np.ndarray  # int64 (K,), index of its class
    boxes: np.ndarray  # int64 (K, 4), x0, y0, x1, y1, inclusive pixel indices
    masks: np.ndarray  # bool (K, H, W)
    left_out: int  # objects that share pixels of their box with another of their class

    def __len__(self) -> int:
        return len(self.image)

    def score(self, masks: np.ndarray, images: int) -> "ObjectScores":
        """IoU of one predicted mask per object, bool (K, H, W), in a set of so many images."""
        counts = metrics.count(masks[:, None], self.masks[:, None])
        return ObjectScores.of_values(metrics.iou(counts, per_image=True)[:, 0], self.image, images)


def find_objects(data: SegmentationSet) -> Objects:
    """The objects of ``data`` that can be told apart.

    Raises:
        BadInput: there are none.
    """
    rows, masks, total = [], [], 0
    for i, boxes in enumerate(data.boxes):
        total += len(boxes)
        for k, box in enumerate(boxes):
            if any(_overlap(box, other) for other in boxes[:k] + boxes[k + 1 :]):
                continue
            mask = np.zeros(data.masks.shape[2:], np.bool_)
            class_index, *corners = box
            inside = _window(corners)
            mask[inside] = data.masks[(i, class_index, *inside)]
            if mask.any():
                rows.append((i, k, *box))
                masks.append(mask)
    if not rows:
        raise BadInput(f"{data.name or 'the set'} holds no object that can be told apart")
    table = np.array(rows, np.int64)
    left_out = total - len(rows)
    return Objects(*table[:, :3].T, table[:, 3:], np.stack(masks), left_out)


def box_masks(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boxes (K, 4), filled: bool (K, H, W). What a segmenter must do better than."""
    masks = np.zeros((len(boxes), *shape), np.bool_)
    for mask, box in zip(masks, boxes, strict=True):
        mask[_window(box)] = True
    return masks


def first_click(mask: np.ndarray) -> tuple[int, int, int]:
    """The click that says most about an object: its pixel farthest from its boundary.

    Args:
        mask: bool (H, W), not empty; what lies beyond the image counts as outside.

    Returns:
        x, y and the label 1. Of several pixels equally far inside, the first row by row.
    """
    x, y = _innermost(mask)
    return x, y, 1


def next_click(mask: np.ndarray, predicted: np.ndarray) -> tuple[int, int, int]:
    """The click that corrects most: the middle of the largest error.

    The errors are the 8-connected regions of missed and, apart from them, of wrongly included
    pixels, as in interactive segmentation (Sofiiuk et al., "Reviving iterative training with
    mask guidance", 2022).

    Args:
        mask: the truth, bool (H, W), not empty.
        predicted: bool (H, W).

    Returns:
        x, y and the label: 1 on the object, 0 beside it. The first click again if all is right.
    """
    largest, size = mask, 0
    for error in (mask & ~predicted, predicted & ~mask):
        labels, _ = ndimage.label(error, _EIGHT)
        areas = np.bincount(labels.ravel())[1:]
        if areas.max(initial=0) > size:
            size = areas.max()
            largest = labels == areas.argmax() + 1
    x, y = _innermost(largest)
    return x, y, int(mask[y, x])


def found_boxes(masks: np.ndarray) -> list[Box]:
    """Boxes round what a network painted on one image, to prompt a segmenter with.

    Pixels with at most two others between them belong together, so that the dots of the recipe
    ``report`` make one object. Boxes of less than 1 % of the image are taken for noise.

    Args:
        masks: bool (C, H, W), the network's.

    Returns:
        Class and inclusive corners of each, class by class.
    """
    boxes = []
    for class_index, mask in enumerate(masks):
        labels, _ = ndimage.label(ndimage.binary_dilation(mask, _EIGHT), _EIGHT)
        for rows, columns in ndimage.find_objects(labels * mask):
            corners = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
            area = (columns.stop - columns.start) * (rows.stop - rows.start)
            if area >= _LEAST_AREA * mask.size:
                boxes.append((class_index, *corners))
    return boxes


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """IoU of every object, kept image by image so that images can be drawn with replacement.

    ``metrics.bootstrap_interval(lambda s: s.mean, scores)`` gives the interval of the mean;
    given two scores of the same objects and a difference, a paired comparison.
    """

    iou: np.ndarray  # float64 (N, M): a row per image, NaN where it has fewer than M objects

    @classmethod
    def of_values(cls, iou: np.ndarray, image: np.ndarray, images: int) -> "ObjectScores":
        """Scores at hand, float (K,), of objects in ``image``, ascending, of so many ``images``."""
        starts = np.searchsorted(image, np.arange(images))
        column = np.arange(len(image)) - starts[image]
        table = np.full((images, column.max(initial=0) + 1), np.nan)
        table[image, column] = iou
        return cls(table)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.iou)

    def subset(self, images: np.ndarray) -> "ObjectScores":
        """The scores of the images chosen; an image may be chosen twice."""
        return ObjectScores(self.iou[images])

    @property
    def mean(self) -> float:
        """The mean over objects, NaN if there are none."""
        return metrics.mean_score(self.iou).mean

    @property
    def per_object(self) -> np.ndarray:
        """float64 (K,), in the order of the objects."""
        return self.iou[~np.isnan(self.iou)]


def _overlap(one: Box, other: Box) -> bool:
    """Whether two boxes are of one class and share a pixel."""
    class_index, x0, y0, x1, y1 = one
    same, left, top, right, bottom = other
    return class_index == same and x0 <= right and left <= x1 and y0 <= bottom and top <= y1


def _window(corners: np.ndarray | list[int]) -> tuple[slice, slice]:
    x0, y0, x1, y1 = corners
    return slice(y0, y1 + 1), slice(x0, x1 + 1)


def _innermost(region: np.ndarray) -> tuple[int, int]:
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x), int(y)
