"""The rules by which a promptable segmenter and our network are compared, and what comes out.

1. True boxes, one mask each. The segmenter is told where each object is and, in the scores by
   class, of what class it is; our network never is.
2. Clicks: one at the object's innermost pixel, then each in the middle of the largest error.
3. Automatic masks, matched one to one with the objects (``automatic``).
4. Boxes of what our network found, so that both know the image alone: one round each connected
   region of a class, gaps of two pixels bridged, boxes under 1 % of the image dropped.

Both sides see the same images, evenly spread over the test set, at the same resolution, and are
scored by the same code. Scores of objects are means over those that can be told apart; scores of
classes are ``metrics``' own, counts summed over the images. Every number has a 95 % bootstrap
interval over images, which says how much the choice of images matters, not the seed of training.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from seghw import metrics
from seghw.data.dataset import Box, SegmentationSet
from seghw.io import write_csv
from seghw.sam import automatic
from seghw.sam.predictor import Segmenter, segment_boxes, segment_everything, segment_points
from seghw.sam.prompts import (
    Objects,
    ObjectScores,
    box_masks,
    find_objects,
    first_click,
    found_boxes,
    next_click,
)

#: Images of a test set that are compared.
IMAGES = 60
CLICKS = (1, 3, 5)
#: Distance at which outlines still meet, as a share of the diagonal (Cheng et al., CVPR 2021).
TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Prompted:
    """A segmenter's masks for the true boxes of a set."""

    objects: Objects  # those that can be told apart
    masks: np.ndarray  # bool (K, H, W), one per object
    planes: np.ndarray  # bool (N, C, H, W): the masks of all boxes, united class by class

    @property
    def whole(self) -> ObjectScores:
        """IoU of each object's mask, wherever it lies."""
        return self.objects.score(self.masks, len(self.planes))

    def inside(self, planes: np.ndarray | None = None) -> ObjectScores:
        """IoU of each object inside its true box: of its mask, or of its class in ``planes``."""
        boxes = box_masks(self.objects.boxes, self.planes.shape[2:])
        masks = self.masks
        if planes is not None:
            masks = planes[self.objects.image, self.objects.class_index]
        return self.objects.score(masks & boxes, len(self.planes))


def prompt_boxes(segmenter: Segmenter, data: SegmentationSet) -> Prompted:
    """Ask a segmenter for every true box.

    Raises:
        BadInput: no object can be told apart.
    """
    objects = find_objects(data)
    masks = np.zeros_like(objects.masks)
    found = list(_masks_of(segmenter, data.images, data.boxes))
    for i, masks_here in enumerate(found):
        here = objects.image == i
        masks[here] = masks_here[objects.number[here]]
    return Prompted(objects, masks, _united(found, data.boxes, data.masks.shape))


def segment_found(segmenter: Segmenter, data: SegmentationSet, ours: np.ndarray) -> np.ndarray:
    """The segmenter's masks for the boxes of what our network found.

    Args:
        segmenter: from ``load_sam``.
        data: the images.
        ours: our network's masks, bool (N, C, H, W).

    Returns:
        bool (N, C, H, W): the masks, united class by class.
    """
    boxes = [found_boxes(masks) for masks in ours]
    return _united(_masks_of(segmenter, data.images, boxes), boxes, ours.shape)


def score_boxes(segmenter: Segmenter, data: SegmentationSet) -> ObjectScores:
    """IoU of each object's mask, wherever it lies, when the object's true box is the prompt.

    Raises:
        BadInput: no object can be told apart.
    """
    return prompt_boxes(segmenter, data).whole


def score_clicks(
    segmenter: Segmenter, data: SegmentationSet, counts: Sequence[int] = CLICKS
) -> dict[int, ObjectScores]:
    """IoU of each object's mask after so many clicks.

    The first click is the object's innermost pixel; each further one is the middle of the
    largest error of the mask that the clicks before it gave.

    Raises:
        BadInput: no object can be told apart.
    """
    objects = find_objects(data)
    masks = {count: np.zeros_like(objects.masks) for count in counts}
    for i in _each_image(segmenter, len(data)):
        (here,) = np.nonzero(objects.image == i)
        truths = objects.masks[here]
        clicks = np.array([first_click(truth) for truth in truths]).reshape(-1, 1, 3)
        for count in range(1, max(counts) + 1):
            points, labels = clicks[..., :2], clicks[..., 2]
            found = segment_points(segmenter, data.images[i], points, labels).masks
            if count in masks:
                masks[count][here] = found
            further = [next_click(*pair) for pair in zip(truths, found, strict=True)]
            clicks = np.append(clicks, np.reshape(further, (-1, 1, 3)), axis=1).astype(int)
    return {count: objects.score(found, len(data)) for count, found in masks.items()}


def score_everything(
    segmenter: Segmenter, data: SegmentationSet, **options: Any
) -> automatic.AutomaticScores:
    """All masks of every image against its objects.

    Args:
        segmenter: from ``load_sam``.
        data: images and truth.
        options: of ``segment_everything``.

    Raises:
        BadInput: no object can be told apart.
    """
    images = _each_image(segmenter, len(data))
    masks = (segment_everything(segmenter, data.images[i], **options).masks for i in images)
    return automatic.score_masks(masks, data)


def _masks_of(
    segmenter: Segmenter, images: np.ndarray, boxes: Sequence[Sequence[Box]]
) -> Iterator[np.ndarray]:
    """For each image one mask per box, bool (K, H, W)."""
    for i in _each_image(segmenter, len(images)):
        corners = np.array([box[1:] for box in boxes[i]]).reshape(-1, 4)
        yield segment_boxes(segmenter, images[i], corners).masks


def _united(
    found: Iterable[np.ndarray], boxes: Sequence[Sequence[Box]], shape: tuple[int, ...]
) -> np.ndarray:
    """The masks of boxes as one plane per class, bool (N, C, H, W)."""
    planes = np.zeros(shape, np.bool_)
    for image, masks, boxes_here in zip(planes, found, boxes, strict=True):
        for (class_index, *_), mask in zip(boxes_here, masks, strict=True):
            image[class_index] |= mask
    return planes


def _each_image(segmenter: Segmenter, count: int) -> tqdm:
    return tqdm(range(count), desc=segmenter.name, unit="image", leave=False, delay=2)


# -- the comparison ---------------------------------------------------------------------------


class Row(NamedTuple):
    """One number of the comparison, with its 95 % interval."""

    protocol: str  # "objects", "classes" or "automatic": which numbers may be held together
    who: str
    score: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Side:
    """Masks of one class per plane, held against the truth."""

    masks: np.ndarray  # bool (N, C, H, W)
    counts: metrics.Counts
    outlines: metrics.BoundaryCounts


@dataclass(frozen=True, eq=False)
class SamComparison:
    """A segmenter and our network on the same images; measured as it is asked for.

    Args:
        segmenter: from ``load_sam``.
        data: the images, from ``sample``, and the truth.
        ours: our network's masks by the name of its recipe, bool (N, C, H, W) each.
        picked: which images of the test set these are, int64 (N,).
    """

    segmenter: Segmenter
    data: SegmentationSet
    ours: Mapping[str, np.ndarray]
    picked: np.ndarray

    @property
    def tolerance(self) -> int:
        """Of the boundary F-score, in pixels."""
        return max(1, round(TOLERANCE * float(np.hypot(*self.data.images.shape[2:]))))

    @cached_property
    def prompted(self) -> Prompted:
        """The segmenter's masks for the true boxes."""
        return prompt_boxes(self.segmenter, self.data)

    @cached_property
    def objects(self) -> dict[str, ObjectScores]:
        """IoU of each object, by who segmented it and from what.

        Rows "inside the true box" are scored there alone, both sides alike: outside of it our
        network's plane may rightly hold other objects of the class.
        """
        sam = self.prompted
        clicks = score_clicks(self.segmenter, self.data)
        ours = {name: sam.inside(planes) for name, planes in self.ours.items()}
        return {
            "filling the true box": sam.inside(np.ones_like(self.data.masks)),
            "segmenter, true box": sam.whole,
            "segmenter inside the true box": sam.inside(),
            **{f"segmenter, clicks: {n}": found for n, found in clicks.items()},
            **{f"ours inside the true box, {name}": found for name, found in ours.items()},
        }

    @cached_property
    def classes(self) -> dict[str, Side]:
        """Masks of whole images, by who painted them."""
        sides = {"segmenter, true boxes": self.prompted.planes}
        for name, masks in self.ours.items():
            sides[f"ours, {name}"] = masks
            found = segment_found(self.segmenter, self.data, masks)
            sides[f"segmenter, boxes found by {name}"] = found
        return {who: self._side(masks) for who, masks in sides.items()}

    @cached_property
    def automatic(self) -> automatic.AutomaticScores:
        """All masks of every image against its objects."""
        return score_everything(self.segmenter, self.data)

    def _side(self, masks: np.ndarray) -> Side:
        truth = self.data.masks
        outlines = metrics.count_boundaries(masks, truth, self.tolerance)
        return Side(masks, metrics.count(masks, truth), outlines)

    def rows(self) -> Iterator[Row]:
        """Every number, protocol by protocol."""
        for who, found in self.objects.items():
            yield _row("objects", who, "mean IoU", lambda s: s.mean, found)
        for who, side in self.classes.items():
            for score, statistic in CLASS_SCORES.items():
                yield _row("classes", who, score, _mean(statistic), side.counts)
            score = f"boundary F at {self.tolerance} px"
            yield _row("classes", who, score, _mean(metrics.boundary_f), side.outlines)
        for score, statistic in automatic.SCORES.items():
            yield _row("automatic", "segmenter", score, statistic, self.automatic.counts)
        best = self.automatic.best_iou
        yield _row("automatic", "segmenter", "mean best IoU", lambda s: s.mean, best)


CLASS_SCORES: dict[str, Callable[..., np.ndarray]] = {
    "IoU": metrics.iou,
    "recall": metrics.recall,
    "precision": metrics.precision,
    "false positives, % of the image": lambda c: 100 * metrics.false_positive_area(c),
}


def sample(data: SegmentationSet, count: int = IMAGES) -> np.ndarray:
    """``count`` images evenly spread over a set, or all of a smaller one: int64 (n,)."""
    return np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(np.int64)


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """The rows as one markdown table per protocol."""
    found = {}
    for protocol in dict.fromkeys(row.protocol for row in rows):
        some = [row for row in rows if row.protocol == protocol]
        scores = list(dict.fromkeys(row.score for row in some))
        lines = [["who", *scores], ["---"] * (len(scores) + 1)]
        for who in dict.fromkeys(row.who for row in some):
            cells = {row.score: row for row in some if row.who == who}
            lines.append([who, *(interval_text(cells[score]) for score in scores)])
        found[protocol] = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return found


def interval_text(row: Row) -> str:
    """``0.91 [0.89, 0.93]``."""
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"


def write_rows(rows: Mapping[str, Sequence[Row]], segmenter: str, path: str | Path) -> None:
    """Write a CSV with one line per number, under the name of its data set."""
    lines = [
        [name, segmenter, *row[:3], *(f"{number:.4f}" for number in row[3:])]
        for name, some in rows.items()
        for row in some
    ]
    write_csv(path, ["data", "segmenter", *Row._fields], lines)


def _mean(score: Callable[..., np.ndarray]) -> Callable[..., float]:
    return lambda counts: metrics.mean_score(score(counts)).mean


def _row(protocol: str, who: str, score: str, statistic: Callable[..., float], table: Any) -> Row:
    interval = metrics.bootstrap_interval(statistic, table)
    return Row(protocol, who, score, statistic(table), *map(float, interval))
