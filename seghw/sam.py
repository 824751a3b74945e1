"""The extra credit: a promptable segmenter, opened, prompted and compared with our network.

``load_sam`` opens Segment Anything (SAM, SAM 2) or, without a checkpoint, SAM-tiny. Prompting
has a file of its own and is offered here too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from seghw import sam_tiny_model
from seghw.dataset import Box, SegmentationSet
from seghw.errors import BadInput
from seghw.paths import CACHE
from seghw.prompting import (
    Objects,
    ObjectScores,
    box_masks,
    find_objects,
    first_click,
    found_boxes,
    next_click,
)
from seghw.sam_checkpoint import local_folder, need_transformers, open_folder
from seghw.sam_embeddings import EmbeddingCache
from seghw.segmenter import (
    Segmenter,
    Segments,
    segment_boxes,
    segment_everything,
    segment_points,
)
from seghw.train import best_device

__all__ = [
    "Comparison",
    "Segmenter",
    "Segments",
    "compare",
    "load_sam",
    "score_boxes",
    "score_clicks",
    "segment_boxes",
    "segment_everything",
    "segment_found",
    "segment_points",
]


def load_sam(
    source: str | Path | None = None,
    *,
    download: bool = False,
    device: torch.device | None = None,
    cache: str | Path | None = CACHE / "sam",
) -> Segmenter:
    """Open a promptable segmenter.

    Args:
        source: a folder that holds a SAM or SAM 2 of transformers, or the Hugging Face id of
            one, such as ``"facebook/sam-vit-base"``. None takes SAM-tiny, which needs no
            download: trained if its weights are shipped, else with random weights, and
            ``Segmenter.name`` says which.
        download: fetch an id that is not on this machine yet; nothing is fetched otherwise.
        device: default ``train.best_device()``.
        cache: folder for the embeddings of images, about 4 to 16 MB each, 1 GB at most; None
            keeps them in memory only, as is always done for SAM-tiny.

    Raises:
        BadInput: transformers is not installed, or ``source`` holds no such model, or a damaged
            one.
    """
    shipped = sam_tiny_model.FOLDER
    need_transformers()
    device = device or best_device()
    if source is None and not (shipped / "model.safetensors").is_file():
        model = sam_tiny_model.build().to(device)
        name, processor = sam_tiny_model.UNTRAINED, sam_tiny_model.processor()
        return Segmenter(name, model, processor, EmbeddingCache(model))
    folder = shipped if source is None else local_folder(str(source), download)
    model, processor = open_folder(folder)
    model = model.to(device).eval()
    if folder.resolve() == shipped.resolve():
        return Segmenter(sam_tiny_model.TRAINED, model, processor, EmbeddingCache(model))
    name = folder.resolve().name if Path(source).is_dir() else str(source)
    return Segmenter(name, model, processor, EmbeddingCache(model, cache))


@dataclass(frozen=True, eq=False)
class Prompted:
    """A segmenter's masks for the true boxes of a set."""

    objects: Objects  # those that can be told apart
    masks: np.ndarray  # bool (K, H, W), one an object
    planes: np.ndarray  # bool (N, C, H, W): the masks of all boxes, united class by class

    @property
    def whole(self) -> ObjectScores:
        """IoU of each object's mask, wherever it lies."""
        return _scores(self.masks, self.objects, len(self.planes))

    def inside(self, planes: np.ndarray | None = None) -> ObjectScores:
        """IoU of each object inside its true box: of its mask, or of its class in ``planes``."""
        boxes = box_masks(self.objects.boxes, self.planes.shape[2:])
        masks = self.masks
        if planes is not None:
            masks = planes[self.objects.image, self.objects.class_index]
        return _scores(masks & boxes, self.objects, len(self.planes))


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


@dataclass(frozen=True, eq=False)
class Comparison:
    """SAM and our network on the same objects, SAM prompted with the true boxes.

    Both are scored on the pixels inside the true box: outside of it our network's plane may
    rightly hold other objects of the class. SAM is told the box and our network is not, so this
    flatters SAM.
    """

    objects: Objects
    sam: ObjectScores  # IoU of SAM's mask for each object
    ours: ObjectScores  # IoU of our network's class plane
    sam_masks: np.ndarray  # bool (N, C, H, W): SAM's masks of all boxes, united class by class


def compare(segmenter: Segmenter, data: SegmentationSet, ours: np.ndarray) -> Comparison:
    """Hold a segmenter, prompted with true boxes, and our network's masks against the truth.

    Args:
        segmenter: from ``load_sam``.
        data: the images and the truth.
        ours: our network's masks, bool (N, C, H, W), as ``evaluate.predict`` returns them.

    Raises:
        BadInput: ``ours`` does not fit ``data``, or no object can be told apart.
    """
    if ours.dtype != np.bool_ or ours.shape != data.masks.shape:
        raise BadInput(f"our masks must be bool {data.masks.shape}, got {ours.dtype} {ours.shape}")
    sam = prompt_boxes(segmenter, data)
    return Comparison(sam.objects, sam.inside(), sam.inside(ours), sam.planes)


def segment_found(segmenter: Segmenter, data: SegmentationSet, ours: np.ndarray) -> np.ndarray:
    """The segmenter's masks for the boxes of what our network found.

    Both then know the image alone: what our network misses, the segmenter is not asked for.

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
    segmenter: Segmenter, data: SegmentationSet, counts: Sequence[int] = (1, 3, 5)
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
    return {count: _scores(found, objects, len(data)) for count, found in masks.items()}


def _scores(masks: np.ndarray, objects: Objects, images: int) -> ObjectScores:
    return ObjectScores.of(masks, objects.masks, objects.image, images)


def _masks_of(
    segmenter: Segmenter, images: np.ndarray, boxes: Sequence[Sequence[Box]]
) -> Iterator[np.ndarray]:
    """For each image one mask a box, bool (K, H, W)."""
    for i in _each_image(segmenter, len(images)):
        corners = np.array([box[1:] for box in boxes[i]]).reshape(-1, 4)
        yield segment_boxes(segmenter, images[i], corners).masks


def _united(
    found: Iterable[np.ndarray], boxes: Sequence[Sequence[Box]], shape: tuple[int, ...]
) -> np.ndarray:
    """The masks of boxes as one plane a class, bool (N, C, H, W)."""
    planes = np.zeros(shape, np.bool_)
    for image, masks, boxes_here in zip(planes, found, boxes, strict=True):
        for (class_index, *_), mask in zip(boxes_here, masks, strict=True):
            image[class_index] |= mask
    return planes


def _each_image(segmenter: Segmenter, count: int) -> tqdm:
    return tqdm(range(count), desc=segmenter.name, unit="image", leave=False, delay=2)
