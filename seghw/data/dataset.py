"""The container every data set ends up in: images, masks and boxes as plain arrays."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from seghw.config import ClassSpec
from seghw.errors import BadInput, of_the_machine, reason, whole_number
from seghw.io import atomic_folder

Box = tuple[int, int, int, int, int]


@dataclass(frozen=True, eq=False)
class SegmentationSet:
    """N images of one size with one mask per class.

    Attributes:
        images: uint8 (N, 3, H, W), RGB, 0..255.
        masks: bool (N, C, H, W); masks may overlap, a class may be absent from an image.
        boxes: one list per image of ``(class_index, x0, y0, x1, y1)``, inclusive pixel indices.
        classes: one ``ClassSpec`` a channel of the masks, in their order.
        name: what the set is and where it came from, in words fit for a caption.
        names: the images' file names, where they have any; else empty.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: list[list[Box]]
    classes: tuple[ClassSpec, ...]
    name: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, masks = self.images, self.masks
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise BadInput(f"images must be uint8 (N, 3, H, W), got {images.dtype} {images.shape}")
        _, channels, height, width = expected = (len(images), len(self.classes), *images.shape[2:])
        if masks.dtype != np.bool_ or masks.shape != expected:
            raise BadInput(f"masks must be bool {expected}, got {masks.dtype} {masks.shape}")
        for what, given in (("box lists", self.boxes), ("names", self.names or images)):
            if len(given) != len(images):
                raise BadInput(f"{len(images)} images need as many {what}, got {len(given)}")
        for n, box in ((n, box) for n, boxes in enumerate(self.boxes) for box in boxes):
            c, x0, y0, x1, y1 = box if len(box) == 5 else [-1] * 5
            if not (0 <= c < channels and 0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height):
                raise BadInput(f"box {box} of image {n} is not (class, x0, y0, x1, y1) inside it")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Sequence[int] | np.ndarray | slice) -> "SegmentationSet":
        """The images at ``indices``, in that order; a slice shares memory, a list copies."""
        numbers = np.arange(len(self))[indices]
        return replace(
            self,
            images=self.images[indices],
            masks=self.masks[indices],
            boxes=[self.boxes[i] for i in numbers],
            names=tuple(self.names[i] for i in numbers) if self.names else (),
        )

    def save(self, folder: str | Path) -> None:
        """Write two ``.npy`` arrays and ``set.json`` to a folder that is missing or empty."""
        about = {"name": self.name, "names": self.names, "classes": list(map(asdict, self.classes))}
        about["boxes"] = [[list(map(int, box)) for box in boxes] for boxes in self.boxes]
        with atomic_folder(folder) as temporary:
            np.save(temporary / "images.npy", self.images)
            np.save(temporary / "masks.npy", self.masks)
            (temporary / "set.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "SegmentationSet":
        """Open what ``save`` wrote; the arrays are memory-mapped, read-only."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "set.json").read_bytes())
            images, masks = (
                np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("images", "masks")
            )
            boxes = [[tuple(box) for box in boxes] for boxes in about["boxes"]]
            classes = tuple(
                ClassSpec(c["name"], c["value"], tuple(c["band"]), tuple(c["color"]))
                for c in about["classes"]
            )
            return cls(images, masks, boxes, classes, about["name"], tuple(about.get("names", ())))
        except Exception as error:  # numpy parses an array's header as Python, errors and all
            if of_the_machine(error):
                raise
            line = f"{folder} holds no intact set ({reason(error)}); make it again"
            raise BadInput(line) from error


def blank(count: int, classes: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (count, 3, size, size), and masks bool (count, classes, size, size), all False.

    ``BadInput`` if ``size`` is no positive multiple of 8, or they do not fit in 16 GiB.
    """
    if whole_number("size", size, 8) % 8:
        raise BadInput(f"size must be a multiple of 8, got {size}; try {size - size % 8}")
    if count * size * size * (3 + classes) > 16 << 30:
        raise BadInput(f"count {count} images of {size} x {size} do not fit in memory; make fewer")
    images = np.empty((count, 3, size, size), np.uint8)
    return images, np.zeros((count, classes, size, size), np.bool_)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1), inclusive pixel indices, around a non-empty bool (H, W) mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def batches(count: int, batch_size: int, seed: int | None = None) -> Iterator[np.ndarray]:
    """Index arrays of ``batch_size`` that cover ``range(count)`` once; the last may be shorter.

    ``seed`` shuffles the indices; None keeps their order.
    """
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def augment(
    images: np.ndarray, masks: np.ndarray, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Flip, scale, move and recolor each image of a batch at random, and its masks with it.

    Images are uint8 (n, 3, H, W), masks bool (n, C, H, W); what comes in from outside is black and
    of no class. ``seed`` is one number or several, such as a run's seed and the step.
    """
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    smooth = v2.InterpolationMode.BILINEAR  # of images; masks take the nearest pixel
    affine = v2.RandomAffine(0, (0.1, 0.1), (0.75, 1.25), interpolation=smooth)
    change = v2.Compose([v2.RandomHorizontalFlip(), affine, v2.ColorJitter(0.3, 0.3, 0.3, 0.05)])
    pairs = zip(map(torch.tensor, images), map(torch.tensor, masks), strict=True)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        moved = [change(tv_tensors.Image(image), tv_tensors.Mask(mask)) for image, mask in pairs]
    return np.stack([image for image, _ in moved]), np.stack([mask for _, mask in moved])
