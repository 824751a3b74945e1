"""Pictures to point at: what a network puts out there, and what a segmenter makes of a prompt."""

import base64
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets
from PIL import Image

from seghw.config import ClassSpec
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.notebook import object_colors

if TYPE_CHECKING:
    from seghw.sam import Segmenter

START = "Click on an object, or drag a box around it."
BLUE = [0, 114, 178]


class Canvas(anywidget.AnyWidget):
    """A picture, uint8 (3, H, W), with masks over it; what it is used for says the subclass."""

    _esm = Path(__file__).parent / "canvas.js"
    image = traitlets.Unicode().tag(sync=True)  # as a data URI
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    buttons = traitlets.List(["larger", "smaller"]).tag(sync=True)  # of those in canvas.js
    points = traitlets.List().tag(sync=True)  # [x, y, 1 on the object or 0 beside it]
    box = traitlets.List().tag(sync=True)  # empty, or x0, y0, x1, y1, inclusive
    everything = traitlets.Bool().tag(sync=True)  # asked for the masks of all
    labels = traitlets.Bytes().tag(sync=True)  # uint8 (H, W): 0, or the number of an object
    colors = traitlets.List([BLUE]).tag(sync=True)  # of the objects, from number 1 on
    truth = traitlets.Bytes().tag(sync=True)  # bool (K, H, W), drawn as outlines
    text = traitlets.Unicode().tag(sync=True)
    coco = traitlets.Unicode("[]").tag(sync=True)  # the masks as annotations of COCO, JSON
    channels = traitlets.List().tag(sync=True)  # of a network: name, low, high, color
    values = traitlets.Bytes().tag(sync=True)  # its outputs, float32 (C, H, W)

    def __init__(self, image: np.ndarray, **state: object) -> None:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
        uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        super().__init__(image=uri, width=image.shape[2], height=image.shape[1], **state)

    def __repr__(self) -> str:  # what stands where widgets do not render
        return "To be clicked on in JupyterLab, with a running kernel. Still pictures stand above."


class OutputCanvas(Canvas):
    """What a network puts out under the pointer: each class's value, and whether it is predicted.

    Args:
        image: uint8 (3, H, W).
        output: of the network for it, float (C, H, W).
        classes: one per channel.
        threshold: above it a pixel is predicted; None decides by the classes' bands.
    """

    def __init__(
        self,
        image: np.ndarray,
        output: np.ndarray,
        classes: Sequence[ClassSpec],
        threshold: float | None = None,
    ) -> None:
        expected = (len(classes), *image.shape[1:])
        if output.shape != expected:
            raise BadInput(f"the output must be {expected}, a channel a class; got {output.shape}")
        most = float(np.finfo(np.float32).max)  # JSON has no infinity
        bands = [(threshold, most) if threshold is not None else spec.band for spec in classes]
        channels = [
            [spec.name, low, min(high, most), list(spec.color)]
            for spec, (low, high) in zip(classes, bands, strict=True)
        ]
        values = np.ascontiguousarray(output, np.float32).tobytes()
        text = "Move the pointer, or the cross with the arrow keys, over the picture."
        super().__init__(image, channels=channels, values=values, text=text)


class PromptCanvas(Canvas):
    """Clicks, a box or nothing at all; the segmenter's mask over the picture.

    A click adds a point on the object, with Shift or the right button one beside it; a drag draws a
    box, or moves a corner of it. Arrow keys move a cross, Enter clicks. A click takes the box away,
    and a box the clicks. ``coco`` holds the masks as JSON, a list of annotations of COCO.

    Args:
        segmenter: from ``sam.load_sam``.
        image: uint8 (3, H, W).
        truth: a set of this one image; the line below the picture then names the object that the
            mask overlaps most, and says how well. The object is outlined.
    """

    def __init__(
        self, segmenter: "Segmenter", image: np.ndarray, truth: SegmentationSet | None = None
    ) -> None:
        self.segmenter, self.pixels = segmenter, image
        if truth is None:
            self.objects, self.exact, self.names = np.zeros((0, *image.shape[1:]), bool), [], []
        else:
            from seghw.sam import objects_of

            (self.objects, self.exact), self.names = objects_of(truth, 0), _object_names(truth)
        buttons = ["undo", "clear", "everything", "copy", "save", "larger", "smaller"]
        super().__init__(image, text=START, buttons=buttons)
        self._answered: tuple | None = None
        self.observe(self._answer, ["points", "box", "everything"])

    def _answer(self, _) -> None:
        prompt = self.points, self.box, self.everything
        if prompt == self._answered:  # of two that changed together this is the second
            return
        self._answered = prompt
        try:
            self._segment()
        finally:  # an interrupt is an answer, too; the same words twice would be no change
            self.send("answered")

    def _segment(self) -> None:
        from seghw.sam import segment_boxes, segment_everything, segment_points

        start = time.perf_counter()
        if self.everything:
            masks = segment_everything(self.segmenter, self.pixels).masks
            return self._show(masks, f"everything: {len(masks)} masks, one color each")
        if self.points:
            clicks = np.array(self.points)[None]
            answer = segment_points(self.segmenter, self.pixels, clicks[..., :2], clicks[..., 2])
        elif self.box:
            answer = segment_boxes(self.segmenter, self.pixels, np.reshape(self.box, (1, 4)))
        else:
            return self._show(self.objects[:0], START)
        milliseconds = 1000 * (time.perf_counter() - start)
        text, nearest = self.describe(answer.masks[0], answer.predicted_iou[0])
        return self._show(answer.masks, f"{text} ({milliseconds:.0f} ms)", nearest)

    def describe(self, mask: np.ndarray, predicted_iou: float) -> tuple[str, np.ndarray]:
        """A line about a mask, bool (H, W), and the true object that it is scored against.

        The object is bool (1, H, W), or (0, H, W) if there is none.
        """
        text, none = f"predicted IoU {predicted_iou:.2f}", self.objects[:0]
        shared = (self.objects & mask).sum((1, 2))
        if not mask.any():
            return "the mask is empty: nothing is segmented there", none
        if not shared.any():
            return text + "; it meets no known object" * bool(self.names), none
        ious = shared / (self.objects | mask).sum((1, 2))
        k = int(ious.argmax())
        if self.exact[k]:
            return f"{text}; IoU with the {self.names[k]} {ious[k]:.2f}", self.objects[k : k + 1]
        why = "its own mask is not known, for another one's box overlaps its box"
        return f"{text}; not scored against the {self.names[k]}: {why}", none

    def _show(self, masks: np.ndarray, text: str, truth: np.ndarray | None = None) -> None:
        """Show masks, bool (K, H, W): the smaller lie on the larger, and 255 have a number."""
        largest_first = np.argsort(-masks.sum((1, 2)), kind="stable")
        labels = np.zeros(self.pixels.shape[1:], np.uint8)
        for number, k in enumerate(largest_first[:255], 1):
            labels[masks[k]] = number
        with self.hold_sync():
            self.labels, self.text, self.coco = labels.tobytes(), text, json.dumps(_coco(masks))
            self.colors = [*map(list, object_colors(len(masks)))] if self.everything else [BLUE]
            self.truth = b"" if truth is None else truth.tobytes()


def _object_names(truth: SegmentationSet) -> list[str]:
    """``"cat"``, or ``"cat 2 of 3 from the left"`` where there are more."""
    names = []
    for box in truth.boxes[0]:
        same = sorted(other for other in truth.boxes[0] if other[0] == box[0])
        place = f" {same.index(box) + 1} of {len(same)} from the left" if len(same) > 1 else ""
        names.append(truth.classes[box[0]].name + place)
    return names


def _coco(masks: np.ndarray) -> list[dict[str, Any]]:
    """Masks, bool (K, H, W), as annotations of COCO with run lengths."""
    from pycocotools import mask as coco

    codes = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0), np.uint8))
    return [
        {
            "id": k,
            "segmentation": {**code, "counts": code["counts"].decode()},
            **{"area": int(coco.area(code)), "bbox": coco.toBbox(code).tolist(), "iscrowd": 0},
        }
        for k, code in enumerate(codes, 1)
    ]
