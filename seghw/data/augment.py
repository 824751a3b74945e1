"""Joint augmentation of images, masks and boxes; off by default, since the report has none.

The transforms are torchvision's own: ``transforms.v2`` over ``tv_tensors``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from seghw.data.dataset import Box, SegmentationSet
from seghw.errors import BadInput
from seghw.seeding import seeded

if TYPE_CHECKING:
    from torchvision.transforms.v2 import Transform


def flips_and_scales(
    scale: tuple[float, float] = (0.75, 1.25),
    shift: float = 0.1,
    horizontal: float = 0.5,
    vertical: float = 0.0,
) -> "Transform":
    """Random flips, and a random scale about a center that moves a little.

    Scaling is ``RandomAffine``, bilinear on images and nearest on masks, both about the same
    pixel centers. (``ScaleJitter`` resizes masks by a nearest neighbor that is rounded down, and
    so moves them against the image by up to half a pixel.) What comes in from outside is black
    and belongs to no class.

    Args:
        scale: smallest and largest factor.
        shift: largest move in either direction, as a share of the side.
        horizontal: probability of a left-right flip.
        vertical: probability of an upside-down flip.
    """
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomHorizontalFlip(horizontal),
            v2.RandomVerticalFlip(vertical),
            v2.RandomAffine(
                degrees=0,
                translate=(shift, shift),
                scale=scale,
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
        ]
    )


def augmented(
    data: SegmentationSet,
    indices: Sequence[int] | np.ndarray,
    transforms: "Transform",
    seed: int | Sequence[int],
) -> SegmentationSet:
    """The images at ``indices``, each with its masks and boxes under one random transform.

    Args:
        data: any set; it stays as it is.
        indices: which images, in which order.
        transforms: any of ``torchvision.transforms.v2`` that keeps the image's size and type.
        seed: one number or several, such as a run's seed and the epoch. Image i depends on it
            and on i alone, not on the rest of the batch or on torch's global state.

    Returns:
        Images uint8 and masks bool of the shapes in ``data``. A box is tight round those pixels
        of its class that lie in the transformed box; an object that left the image has none.

    Raises:
        BadInput: the transforms change the image's size or type.
    """
    images = np.empty((len(indices), *data.images.shape[1:]), np.uint8)
    masks = np.empty((len(indices), *data.masks.shape[1:]), np.bool_)
    boxes = []
    entropy = np.atleast_1d(seed).tolist()
    for n, i in enumerate(indices):
        state = np.random.SeedSequence([*entropy, int(i)]).generate_state(1)
        with seeded(int(state[0])):
            image, mask, corners = transforms(*_as_tv_tensors(data, i))
        if image.shape != data.images.shape[1:] or image.dtype != torch.uint8:
            raise BadInput(
                f"transforms must keep images uint8 {data.images.shape[1:]}, "
                f"got {image.dtype} {tuple(image.shape)}"
            )
        images[n], masks[n] = image.numpy(), mask.numpy()
        boxes.append(_boxes(corners.numpy(), [c for c, *_ in data.boxes[i]], masks[n]))
    return SegmentationSet(images, masks, boxes, data.classes, data.name)


def _as_tv_tensors(data: SegmentationSet, i: int) -> tuple:
    """Image, Mask and BoundingBoxes of one image; tv_tensors put a box's end behind its pixels."""
    from torchvision import tv_tensors

    corners = np.array([box[1:] for box in data.boxes[i]], np.float32).reshape(-1, 4)
    corners[:, 2:] += 1
    return (
        # Copies, because torch wants to be able to write and a loaded set is read-only.
        tv_tensors.Image(torch.from_numpy(np.array(data.images[i]))),
        tv_tensors.Mask(torch.from_numpy(np.array(data.masks[i]))),
        tv_tensors.BoundingBoxes(
            torch.from_numpy(corners), format="XYXY", canvas_size=data.images.shape[2:]
        ),
    )


def _boxes(corners: np.ndarray, classes: Sequence[int], masks: np.ndarray) -> list[Box]:
    """Inclusive boxes round the pixels of ``masks`` (C, H, W) inside ``corners`` (N, 4)."""
    height, width = masks.shape[1:]
    # Outward to whole pixels: what shows of an object lies inside.
    starts = np.floor(corners[:, :2]).clip(0, (width, height)).astype(int)
    ends = np.ceil(corners[:, 2:]).clip(0, (width, height)).astype(int)
    boxes = []
    for c, (x0, y0), (x1, y1) in zip(classes, starts, ends, strict=True):
        rows, columns = np.nonzero(masks[c, y0:y1, x0:x1])
        if len(rows):
            left, right = x0 + columns.min(), x0 + columns.max()
            top, bottom = y0 + rows.min(), y0 + rows.max()
            boxes.append((c, int(left), int(top), int(right), int(bottom)))
    return boxes
