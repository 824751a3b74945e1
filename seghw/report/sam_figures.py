"""Figures 35 to 45: the segmenter and our network on the same images, one color per object."""

import textwrap

import numpy as np

from seghw.config import PALETTE
from seghw.data.dataset import SegmentationSet
from seghw.report.plots import Color, Drawn, describe_run, new_figure, paint, set_name, show
from seghw.results import Records, RunEvaluation
from seghw.sam.prompts import box_masks

PERCENTILES = (10, 30, 50, 70, 90)
OF_NO_OBJECT = (255, 255, 255)
_COLORING = (
    "One color per object, the same for both; white is what our network painted outside of the "
    "boxes of that class, a wrong class included."
)


def sam_beside_ours(records: Records, recipe: str, k: int) -> Drawn:
    found = records.evaluation("coco", recipe, "mse_dice")
    i = records.chosen_images("coco", PERCENTILES)[k]
    return _three(records, found, i, "image", sam_first=True), (
        f"Comparison {k + 1} on {set_name(found.run)}, test image {i}: (a) the segmenter "
        f"({records.segmenter.name}), prompted with the true box; (b) our network, which sees the "
        f"image alone. {_COLORING} {describe_run(found.run)}"
    )


def sam_on_shapes(records: Records, recipe: str, k: int) -> Drawn:
    data, i = records.test_set("shapes"), records.chosen_images("shapes", PERCENTILES)[k]
    figure, axes = new_figure(5, 2.9, 1, 2)
    show(axes[0, 0], data.images[i], f"image {k + 1}")
    show(axes[0, 1], of_sam(records, data, i), textwrap.fill(records.segmenter.name, 24))
    return figure, (
        f"The segmenter's ({records.segmenter.name}) output {k + 1} on {data.name}, test image "
        f"{i}, prompted with the true boxes. One color per object."
    )


def ours_on_shapes(records: Records, recipe: str) -> Drawn:
    found = records.evaluation("shapes", recipe, "mse_dice")
    chosen = records.chosen_images("shapes", PERCENTILES)[:4]
    figure, axes = new_figure(7, 4.2, 2, 4)
    for column, i in enumerate(chosen):
        show(axes[0, column], found.data.images[i], f"image {column + 1}")
        show(axes[1, column], of_ours(found, i), "our network")
    return figure, (
        f"Our network's output for images 1 to 4 on {set_name(found.run)}, in the colors of "
        f"figures 40 to 43. {_COLORING} {describe_run(found.run)}"
    )


def ours_beside_sam(records: Records, recipe: str) -> Drawn:
    found = records.evaluation("shapes", recipe, "mse_dice")
    i = records.chosen_images("shapes", PERCENTILES)[4]
    return _three(records, found, i, "image 5", sam_first=False), (
        f"Our network's output for image 5 on {set_name(found.run)}. {_COLORING} "
        f"{describe_run(found.run)} The segmenter's output ({records.segmenter.name}), which the "
        "report leaves out, stands beside it."
    )


def _three(records: Records, found: RunEvaluation, i: int, title: str, *, sam_first: bool):
    figure, axes = new_figure(7, 2.9, 1, 3)
    pictures = [
        (of_sam(records, found.data, i), textwrap.fill(records.segmenter.name, 24)),
        (of_ours(found, i), "our network"),
    ]
    show(axes[0, 0], found.data.images[i], title)
    for ax, letter, (picture, name) in zip(
        axes[0, 1:], "ab", pictures if sam_first else pictures[::-1], strict=True
    ):
        show(ax, picture, f"({letter}) {name}")
    return figure


def of_sam(records: Records, data: SegmentationSet, i: int) -> np.ndarray:
    """Image i with the segmenter's mask for each true box: uint8 (H, W, 3)."""
    from seghw.sam.predictor import segment_boxes

    corners = np.array([box[1:] for box in data.boxes[i]]).reshape(-1, 4)
    masks = segment_boxes(records.segmenter, data.images[i], corners).masks
    return paint(data.images[i], masks, object_colors(len(masks)))


def of_ours(found: RunEvaluation, i: int) -> np.ndarray:
    """Image i with our network's masks, taken apart by the true boxes: uint8 (H, W, 3)."""
    masks = by_object(found.data, found.masks, i)
    return paint(found.data.images[i], masks, [*object_colors(len(masks) - 1), OF_NO_OBJECT])


def by_object(data: SegmentationSet, masks: np.ndarray, i: int) -> np.ndarray:
    """Our masks of image i, one plane an object and a last one for the rest.

    Args:
        data: whose boxes tell the objects.
        masks: bool (N, C, H, W), our network's for the whole set.
        i: the image.

    Returns:
        bool (K + 1, H, W): of the object's class what lies in its box; and last, of every class
        what lies in none of its boxes.
    """
    classes = [box[0] for box in data.boxes[i]]
    boxes = box_masks([box[1:] for box in data.boxes[i]], masks.shape[2:])
    rest = masks[i].copy()
    for class_index, inside in zip(classes, boxes, strict=True):
        rest[class_index] &= ~inside
    return np.concatenate((masks[i, classes] & boxes, rest.any(axis=0)[None]))


def object_colors(count: int) -> list[Color]:
    """One color per object; after the last comes the first again."""
    return [PALETTE[k % len(PALETTE)] for k in range(count)]
