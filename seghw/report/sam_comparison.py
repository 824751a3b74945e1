"""The rules by which a promptable segmenter and our network are compared, and what comes out.

1. True boxes, one mask each. The segmenter is told where each object is and, in the scores by
   class, of what class it is; our network never is.
2. Clicks: one at the object's innermost pixel, then each in the middle of the largest error.
3. Automatic masks, matched one to one with the objects so that most are matched (Kuhn, 1955).
4. Boxes of what our network predicts, so that both know the image alone: one round each connected
   region of a class, gaps of two pixels bridged, boxes under 1 % of the image dropped.

Both sides see the same images, evenly spread over the test set, at the same resolution, and are
scored by the same code. Scores of objects are means over those whose mask is known exactly; scores
of classes sum their counts over the images. Every number has a 95 % bootstrap interval over images,
which says how much the choice of images matters, not the seed of training.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from tqdm.auto import tqdm

from seghw import metrics, sam
from seghw.data.dataset import Box, SegmentationSet
from seghw.metrics import class_mean, ratio

CLICKS = (1, 3, 5)
#: Distance at which outlines still meet, as a share of the diagonal (Cheng et al., CVPR 2021).
TOLERANCE = 0.02
COLUMNS = ["data", "segmenter", "protocol", "who", "score", "value", "low", "high"]
Score = Callable[[np.ndarray], np.ndarray]  # of counts (..., C, k), a number each


@dataclass(eq=False)
class Comparison:
    """A segmenter and our network on the same images; nothing is asked before it is needed."""

    segmenter: sam.Segmenter
    data: SegmentationSet  # the images and the truth
    picked: np.ndarray  # int64 (N,), which images of the test set these are
    ours: Callable[[], Mapping[str, np.ndarray]]  # gives masks by recipe, bool (N, C, H, W) each

    def __post_init__(self) -> None:
        # An image is encoded once, whether its true boxes are asked for alone or with the rest.
        self.prompted = cache(partial(ask_true_boxes, self.segmenter, self.data))

    @cached_property
    def true_boxes(self) -> np.ndarray:
        """The segmenter's masks for the true boxes, by class, bool (N, C, H, W)."""
        masks = np.zeros_like(self.data.masks)
        for i in self._images():
            _add(masks[i], self.data.boxes[i], self.prompted(i))
        return masks

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Every number of the comparison, one row each, with the columns ``COLUMNS``."""
        data, ours, objects = self.data, self.ours(), defaultdict(list)
        best, matched, found = [], [], {name: np.zeros_like(data.masks) for name in ours}
        for i in self._images():
            here = {name: predicted[i] for name, predicted in ours.items()}
            scores = score_objects(self.segmenter, data, i, self.prompted(i), here)
            for who, values in scores.items():
                objects[who].append(values)
            for name, predicted in here.items():
                boxes = predicted_boxes(predicted)
                corners = [box[1:] for box in boxes]
                answer = sam.segment_boxes(self.segmenter, data.images[i], corners)
                _add(found[name][i], boxes, answer.masks)
            truth, exact = sam.objects_of(data, i)
            everything = sam.segment_everything(self.segmenter, data.images[i]).masks
            # Nobody knows whether a mask on an object that is not known exactly is right.
            everything = everything[~lies_on(everything, truth[~exact].any(0)[None])[:, 0]]
            matched.append([(*match(everything, truth[exact]), 1)])
            best.append(pairwise_iou(everything, truth[exact]).max(axis=0, initial=0))
        masks = {"segmenter, true boxes": self.true_boxes}
        for name in ours:
            masks |= {f"ours, {name}": ours[name], f"segmenter, boxes found by {name}": found[name]}
        numbers = [
            *(("objects", who, "mean IoU", *mean_over_objects(v)) for who, v in objects.items()),
            *(("classes", *row) for row in _class_scores(masks, data)),
            *(
                ("automatic", "segmenter", name, *with_interval(score, np.array(matched)))
                for name, score in AUTOMATIC.items()
            ),
            ("automatic", "segmenter", "mean best IoU", *mean_over_objects(best)),
        ]
        names = data.name, self.segmenter.name
        return pd.DataFrame([(*names, *row) for row in numbers], columns=COLUMNS)

    def table(self, protocol: str) -> pd.DataFrame:
        """``objects``, ``classes`` or ``automatic``: who by score, as ``0.91 [0.89, 0.93]``."""
        rows = self.rows[self.rows.protocol == protocol]
        texts = [f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in rows.itertuples()]
        table = rows.assign(text=texts).pivot(index="who", columns="score", values="text")
        return table.loc[rows.who.unique(), rows.score.unique()]

    def _images(self) -> Iterable[int]:
        # Below the bar of ``make figures``, beside which this runs.
        about = {"desc": self.segmenter.name, "unit": "image", "leave": False, "position": 1}
        return tqdm(range(len(self.data)), delay=2, **about)


def ask_true_boxes(segmenter: sam.Segmenter, data: SegmentationSet, i: int) -> np.ndarray:
    """The segmenter's masks for image i's true boxes, bool (K, H, W)."""
    corners = [box[1:] for box in data.boxes[i]]
    return sam.segment_boxes(segmenter, data.images[i], corners).masks


def _add(masks: np.ndarray, boxes: Sequence[Box], answers: np.ndarray) -> None:
    """Each box's answer to its class's mask, of one image's."""
    for (class_index, *_), answer in zip(boxes, answers, strict=True):
        masks[class_index] |= answer


# -- objects ----------------------------------------------------------------------------------


def score_objects(
    segmenter: sam.Segmenter,
    data: SegmentationSet,
    i: int,
    prompted: np.ndarray,
    ours: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Score image i's objects: ``prompted``, what the true boxes gave, and answers to clicks.

    Rows "inside the true box" are scored there alone, and not on other objects of the class, which
    our network may rightly predict; ``ours`` has its masks by recipe, bool (C, H, W) each.

    Returns:
        By who was asked for what, the IoU of each object that is known exactly, float64 (k,).
    """
    masks, exact = sam.objects_of(data, i)
    kinds, corners = [box[0] for box in data.boxes[i]], [box[1:] for box in data.boxes[i]]
    filled = sam.box_masks(corners, masks.shape[1:])
    inside = (filled & (masks | ~data.masks[i, kinds]))[exact]
    truth = masks[exact]
    answers = {
        "filling the true box": filled[exact],
        "segmenter, true box": prompted[exact],
        "segmenter inside the true box": prompted[exact] & inside,
    }
    placed = np.array([sam.first_click(mask) for mask in truth]).reshape(-1, 1, 3)
    for count in range(1, max(CLICKS) + 1):
        given = sam.segment_points(segmenter, data.images[i], placed[..., :2], placed[..., 2]).masks
        if count in CLICKS:
            answers[f"segmenter, clicks: {count}"] = given
        further = [sam.next_click(*pair) for pair in zip(truth, given, strict=True)]
        placed = np.append(placed, np.reshape(further, (-1, 1, 3)), axis=1).astype(int)
    for name, predicted in ours.items():
        answers[f"ours inside the true box, {name}"] = predicted[kinds][exact] & inside
    counts = {who: metrics.count(m[:, None], truth[:, None]) for who, m in answers.items()}
    return {who: metrics.iou(table)[:, 0] for who, table in counts.items()}


def predicted_boxes(masks: np.ndarray) -> list[Box]:
    """Boxes round what a network predicts on one image, bool (C, H, W), to prompt a segmenter with.

    Pixels with at most two others between them belong together, so that the dots of the recipe
    ``report`` make one object. Boxes of less than 1 % of the image are taken for noise.
    """
    boxes, eight = [], np.ones((3, 3))
    for class_index, mask in enumerate(masks):
        labels, _ = ndimage.label(ndimage.binary_dilation(mask, eight), eight)
        for rows, columns in ndimage.find_objects(labels * mask):
            corners = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
            if (rows.stop - rows.start) * (columns.stop - columns.start) >= 0.01 * mask.size:
                boxes.append((class_index, *corners))
    return boxes


# -- automatic masks --------------------------------------------------------------------------


def match(masks: np.ndarray, objects: np.ndarray) -> tuple[int, ...]:
    """One image's automatic masks, bool (M, H, W), against its objects, bool (K, H, W).

    Returns:
        The numbers of objects; of these matched at an IoU of at least 0.5, and at 0.75; of masks;
        of masks that lie on an object; and of objects on which any lies.
    """
    iou, on = pairwise_iou(masks, objects), lies_on(masks, objects)
    hits = []
    for least in (0.5, 0.75):
        good = iou >= least
        hits.append(int(good[linear_sum_assignment(good, maximize=True)].sum()))
    return len(objects), *hits, len(masks), int(on.any(1).sum()), int(on.any(0).sum())


def lies_on(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Whether more than half of a mask's pixels are an object's, so one's at most: (M, K)."""
    return _shared(masks, objects) > 0.5 * masks.sum((1, 2))[:, None]


def pairwise_iou(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """IoU of every mask, bool (M, H, W), with every object, bool (K, H, W): float64 (M, K)."""
    shared = _shared(masks, objects)
    return shared / np.maximum(masks.sum((1, 2))[:, None] + objects.sum((1, 2)) - shared, 1)


def _shared(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    return np.tensordot(masks.astype(float), objects.astype(float), axes=((1, 2), (1, 2)))


# -- numbers ----------------------------------------------------------------------------------

#: Scores of classes from what ``metrics.count`` gives.
SCORES: dict[str, Score] = {
    "IoU": lambda c: class_mean(metrics.iou(c)),
    "recall": lambda c: class_mean(metrics.recall(c)),
    "precision": lambda c: class_mean(metrics.precision(c)),
    "false positives, % of the image": lambda c: class_mean(100 * c[..., 1] / c.sum(-1)),
}
#: Scores of images from what ``match`` gives and a 1 for the image, int (..., 1, 7).
AUTOMATIC: dict[str, Score] = {
    "recall at IoU 0.5": lambda t: ratio(t[..., 0, 1], t[..., 0, 0]),
    "recall at IoU 0.75": lambda t: ratio(t[..., 0, 2], t[..., 0, 0]),
    "unmatched masks per image": lambda t: (t[..., 0, 3] - t[..., 0, 1]) / t[..., 0, 6],
    "masks on an object that has any": lambda t: ratio(t[..., 0, 4], t[..., 0, 5]),
}


def with_interval(score: Score, table: np.ndarray) -> tuple[float, float, float]:
    """A score of the counts (N, C, k) of all images, and the ends of its interval."""
    draws = score(metrics.resample(table))
    low, high = (np.nan, np.nan) if np.isnan(draws).all() else metrics.interval(draws)
    return float(score(table.sum(0))), float(low), float(high)


def mean_over_objects(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """The mean of scores that stand image by image, and the ends of its interval."""
    table = np.array([[(np.sum(v), len(v))] for v in values])
    return with_interval(lambda t: ratio(t[..., 0, 0], t[..., 0, 1]), table)


def _class_scores(masks: Mapping[str, np.ndarray], data: SegmentationSet) -> Iterator[tuple]:
    tolerance = max(1, round(TOLERANCE * float(np.hypot(*data.images.shape[2:]))))
    for who, predicted in masks.items():
        counts = metrics.count(predicted, data.masks)
        for name, score in SCORES.items():
            yield who, name, *with_interval(score, counts)
        outlines = metrics.count_boundary(predicted, data.masks, tolerance)
        score = lambda c: class_mean(metrics.boundary_f(c))  # noqa: E731
        yield who, f"boundary F at {tolerance} px", *with_interval(score, outlines)
