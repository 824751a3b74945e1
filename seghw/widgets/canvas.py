"""Pictures to point at: what a network puts out there, and what a segmenter makes of a prompt."""

import base64
import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import numpy as np
import traitlets
from PIL import Image

from seghw.config import ClassSpec
from seghw.errors import BadInput

if TYPE_CHECKING:
    from seghw.sam.predictor import Segmenter


START = "Click on an object, or drag a box around it."


class Canvas(anywidget.AnyWidget):
    """A picture with masks over it; what it is used for says the subclass.

    Args:
        image: uint8 (3, H, W).
    """

    _esm = Path(__file__).parent / "canvas.js"
    image = traitlets.Unicode().tag(sync=True)  # as a data URI
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    points = traitlets.List().tag(sync=True)  # [x, y, 1 on the object or 0 beside it]
    box = traitlets.List().tag(sync=True)  # empty, or x0, y0, x1, y1, inclusive
    everything = traitlets.Bool().tag(sync=True)  # asked for the masks of all
    mask = traitlets.Bytes().tag(sync=True)  # bits of (H, W), row by row
    told = traitlets.Unicode().tag(sync=True)
    planes = traitlets.List().tag(sync=True)  # of a network: name, low, high, color
    values = traitlets.Bytes().tag(sync=True)  # its outputs, float32 (C, H, W)

    def __init__(self, image: np.ndarray, **state) -> None:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
        uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        super().__init__(image=uri, width=image.shape[2], height=image.shape[1], **state)

    def __repr__(self) -> str:  # what stands where widgets do not render
        return "To be clicked on in JupyterLab, with a running kernel. Still pictures stand above."


class OutputCanvas(Canvas):
    """What a network puts out under the pointer: each class's value, and whether it is painted.

    Args:
        image: uint8 (3, H, W).
        output: of the network for it, float (C, H, W).
        classes: one per plane.
        threshold: above it a pixel is painted; None decides by the classes' bands.

    Raises:
        BadInput: the output does not fit the image and the classes.
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
            raise BadInput(f"the output must be {expected}, a plane per class; got {output.shape}")
        bands = [spec.band if threshold is None else (threshold, math.inf) for spec in classes]
        most = float(np.finfo(np.float32).max)  # JSON has no infinity
        planes = [
            [spec.name, low, min(high, most), list(spec.color)]
            for spec, (low, high) in zip(classes, bands, strict=True)
        ]
        values = np.ascontiguousarray(output, np.float32).tobytes()
        told = "Move the pointer, or the cross with the arrow keys, over the picture."
        super().__init__(image, planes=planes, values=values, told=told)


class PromptCanvas(Canvas):
    """Clicks, a box or nothing at all; the segmenter's mask over the picture.

    A click adds a point on the object, with Shift or the right button one beside it; a drag draws a
    box, or moves a corner of it. Arrow keys move a cross, Enter clicks. A click takes the box away,
    and a box the clicks.

    Args:
        segmenter: from ``sam.load_sam``.
        image: uint8 (3, H, W).
        objects: bool (K, H, W), true masks; the caption then says how well the mask meets the
            object that it overlaps most.
    """

    def __init__(
        self, segmenter: "Segmenter", image: np.ndarray, objects: np.ndarray | None = None
    ) -> None:
        self.segmenter, self.pixels = segmenter, image
        self.objects = np.zeros((0, *image.shape[1:]), bool) if objects is None else objects
        super().__init__(image, told=START)
        self.observe(self._prompted, ["points", "box", "everything"])

    def _prompted(self, _) -> None:
        from seghw.sam.predictor import segment_boxes, segment_everything, segment_points

        start = time.perf_counter()
        if self.everything:
            found = segment_everything(self.segmenter, self.pixels)
            return self._show(found.masks.any(0), f"asked for everything: {len(found.masks)} masks")
        if self.points:
            clicks = np.array(self.points)[None]
            found = segment_points(self.segmenter, self.pixels, clicks[..., :2], clicks[..., 2])
        elif self.box:
            found = segment_boxes(self.segmenter, self.pixels, np.reshape(self.box, (1, 4)))
        else:
            nothing = np.zeros(self.pixels.shape[1:], bool)
            return self._show(nothing, START)
        mask, milliseconds = found.masks[0], 1000 * (time.perf_counter() - start)
        words = f"predicted IoU {found.predicted_iou[0]:.2f}"
        if len(self.objects):
            shared, joined = (self.objects & mask).sum((1, 2)), (self.objects | mask).sum((1, 2))
            words += f"; IoU with the nearest object {(shared / np.maximum(joined, 1)).max():.2f}"
        if not mask.any():
            words = "the mask is empty: nothing is found there"
        return self._show(mask, f"{words} ({milliseconds:.0f} ms)")

    def _show(self, mask: np.ndarray, told: str) -> None:
        with self.hold_sync():
            self.mask, self.told = np.packbits(mask).tobytes(), told
        self.send("answered")  # the same words twice would be no change
