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

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seghw import automatic, metrics
from seghw.dataset import SegmentationSet
from seghw.files import whole_file
from seghw.prompting import ObjectScores
from seghw.sam import Prompted, prompt_boxes, score_clicks, segment_found
from seghw.segmenter import Segmenter

#: Images of a test set that are compared; `bench sam` says how long each takes.
IMAGES = 60
CLICKS = (1, 3, 5)
#: Distance at which outlines still meet, as a share of the diagonal (Cheng et al., CVPR 2021).
TOLERANCE = 0.02


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
    """Masks of one class a plane, held against the truth."""

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
        clicks = score_clicks(self.segmenter, self.data, CLICKS)
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
        return automatic.score_everything(self.segmenter, self.data)

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
        for score, statistic in AUTOMATIC_SCORES.items():
            yield _row("automatic", "segmenter", score, statistic, self.automatic.counts)
        best = self.automatic.best_iou
        yield _row("automatic", "segmenter", "mean best IoU", lambda s: s.mean, best)


CLASS_SCORES: dict[str, Callable[..., np.ndarray]] = {
    "IoU": metrics.iou,
    "recall": metrics.recall,
    "precision": metrics.precision,
    "false positives, % of the image": lambda c: 100 * metrics.false_positive_area(c),
}
AUTOMATIC_SCORES = {
    "recall at IoU 0.5": automatic.recall_50,
    "recall at IoU 0.75": automatic.recall_75,
    "unmatched masks an image": automatic.unmatched_per_image,
    "masks on an object that has any": automatic.masks_per_object,
}


def sample(data: SegmentationSet, count: int = IMAGES) -> np.ndarray:
    """``count`` images evenly spread over a set, or all of a smaller one: int64 (n,)."""
    return np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(np.int64)


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """The rows as one markdown table a protocol."""
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
    """Write a CSV with one line a number, under the name of its data set."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["data", "segmenter", *Row._fields])
        for name, some in rows.items():
            for *words, value, low, high in some:
                numbers = (f"{number:.4f}" for number in (value, low, high))
                writer.writerow([name, segmenter, *words, *numbers])


def _mean(score: Callable[..., np.ndarray]) -> Callable[..., float]:
    return lambda counts: metrics.mean_score(score(counts)).mean


def _row(protocol: str, who: str, score: str, statistic: Callable[..., float], table: Any) -> Row:
    interval = metrics.bootstrap_interval(statistic, table)
    return Row(protocol, who, score, statistic(table), *map(float, interval))
