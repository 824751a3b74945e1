"""What SAM-tiny learns from: drawn shapes and scenes, and batches of their objects."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from seghw import coco, sam_tiny_model, scenes, shapes
from seghw.dataset import SegmentationSet
from seghw.paths import CACHE
from seghw.prompting import find_objects

#: Seeds as everywhere in the project, so that nothing the network is tested on is seen here.
SEEDS = {"train": 0, "validation": 1, "test": 2}
#: Images drawn; of the scenes, those that are not to be trained on follow the homework's rule,
#: one large object an image, which about two in three do.
SHAPES = {"train": 10_000, "validation": 40, "test": 300}
SCENES = {"train": 3_000, "validation": 60, "test": 450}

IMAGES_A_BATCH = 16
OBJECTS_AN_IMAGE = 2  # so that the encoder, the dear half, runs once for two objects


def drawn(split: str) -> dict[str, SegmentationSet]:
    """``{"shapes": ..., "scenes": ...}`` for a key of ``SEEDS``, at SAM-tiny's side."""
    return {
        "shapes": shapes.generate(SHAPES[split], SEEDS[split], size=sam_tiny_model.SIDE),
        "scenes": _scenes(SCENES[split], SEEDS[split], "any" if split == "train" else "single"),
    }


def _scenes(count: int, seed: int, instances: coco.Instances) -> SegmentationSet:
    """Drawn scenes with these instances, kept below ``data/cache``: they take long to draw."""
    name = f"scenes-seed{seed}-{count}-{instances}-{sam_tiny_model.SIDE}"
    folder = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f".{name}.lock"):
        if not (folder / "set.json").is_file():
            with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
                annotations = scenes.draw_scenes(Path(temporary, "scenes"), count, seed)
                coco.build(
                    annotations,
                    Path(temporary, "scenes"),
                    size=sam_tiny_model.SIDE,
                    instances=instances,
                    name=f"drawn scenes, seed {seed}",
                ).save(folder)
    return SegmentationSet.load(folder)


class Batch(NamedTuple):
    """Objects to ask for: B images with P objects each, S x S pixels."""

    pixels: Tensor  # float (B, 3, S, S), normalised
    masks: Tensor  # float (B, P, S, S), 0 or 1
    boxes: Tensor  # float (B, P, 4), x0, y0, x1, y1, inclusive


class Pool:
    """The objects of several sets, in memory, to draw batches from."""

    def __init__(self, *sets: SegmentationSet) -> None:
        found = [find_objects(data) for data in sets]
        starts = np.cumsum([0, *(len(data) for data in sets)])
        self.images = np.concatenate([data.images for data in sets])
        self.image = np.concatenate([f.image + s for f, s in zip(found, starts, strict=False)])
        self.boxes = np.concatenate([f.boxes for f in found])
        self.masks = np.concatenate([f.masks for f in found])
        self._images_with_objects, self._first = np.unique(self.image, return_index=True)
        self._count = np.diff(self._first, append=len(self.image))

    def draw(self, rng: np.random.Generator, device: torch.device) -> Batch:
        """A batch of random objects, half of the time mirrored left to right."""
        chosen = rng.integers(len(self._first), size=(IMAGES_A_BATCH, 1))
        place = rng.integers(self._count[chosen], size=(IMAGES_A_BATCH, OBJECTS_AN_IMAGE))
        objects = self._first[chosen] + place
        images = self.images[self._images_with_objects[chosen[:, 0]]]
        masks, boxes = self.masks[objects], self.boxes[objects].astype(np.float32)
        if rng.random() < 0.5:
            images, masks = images[..., ::-1], masks[..., ::-1]
            boxes[..., [0, 2]] = masks.shape[-1] - 1 - boxes[..., [2, 0]]
        return Batch(
            normalise(images).to(device),
            torch.from_numpy(masks.astype(np.float32)).to(device),
            torch.from_numpy(boxes).to(device),
        )


def normalise(images: np.ndarray) -> Tensor:
    """uint8 (B, 3, S, S) to what SAM's preprocessing makes of it, float of the same shape."""
    mean, std = (torch.tensor(v)[:, None, None] for v in sam_tiny_model.MEAN_AND_STD)
    return (torch.from_numpy(images.copy()) / 255 - mean) / std
