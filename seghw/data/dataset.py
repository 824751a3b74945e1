"""The container every data set ends up in: images, masks and boxes as plain arrays."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tokenize import TokenError

import numpy as np
from pydantic import NonNegativeInt, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from seghw.config import ClassSpec
from seghw.errors import BadInput, reason
from seghw.io import atomic_folder

Box = tuple[int, int, int, int, int]


@dataclass(frozen=True, eq=False)
class SegmentationSet:
    """N images of one size with one boolean mask plane per class.

    Attributes:
        images: uint8 (N, 3, H, W), RGB, 0..255.
        masks: bool (N, C, H, W); planes may overlap, a class may be absent from an image.
        boxes: one list per image of ``(class_index, x0, y0, x1, y1)``, inclusive pixel indices.
        classes: one ``ClassSpec`` a mask plane, in the order of the planes.
        name: what the set is and where it came from, in words fit for a caption.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: list[list[Box]]
    classes: tuple[ClassSpec, ...]
    name: str = ""

    def __post_init__(self) -> None:
        images, masks = self.images, self.masks
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise BadInput(f"images must be uint8 (N, 3, H, W), got {images.dtype} {images.shape}")
        expected = (len(images), len(self.classes), *images.shape[2:])
        if masks.dtype != np.bool_ or masks.shape != expected:
            raise BadInput(f"masks must be bool {expected}, got {masks.dtype} {masks.shape}")
        if len(self.boxes) != len(images):
            raise BadInput(f"{len(images)} images need as many box lists, got {len(self.boxes)}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Sequence[int] | np.ndarray | slice) -> "SegmentationSet":
        """The images at ``indices``, in that order; a slice shares memory, a list copies."""
        if isinstance(indices, slice):
            boxes = self.boxes[indices]
        else:
            boxes = [self.boxes[i] for i in indices]
        return SegmentationSet(
            self.images[indices], self.masks[indices], boxes, self.classes, self.name
        )

    def partition(self, *fractions: float, seed: int = 0) -> tuple[np.ndarray, ...]:
        """The sorted indices of disjoint random parts: ``fractions`` of the images, and the rest.

        The same seed always gives the same parts. ``partition(0.8, 0.1)`` returns three of them.
        """
        if min(fractions, default=0) < 0 or sum(fractions) > 1:
            raise BadInput(f"fractions must be >= 0 and add up to 1 at most, got {fractions}")
        order = np.random.default_rng(seed).permutation(len(self))
        cuts = np.round(np.cumsum(fractions) * len(self)).astype(int)
        return tuple(np.sort(part) for part in np.split(order, cuts))

    def save(self, folder: str | Path) -> None:
        """Write the set to a new folder: two ``.npy`` arrays and ``set.json``.

        Raises:
            FileExistsError: the folder is there already and is not empty.
        """
        about = {
            "name": self.name,
            "classes": [asdict(spec) for spec in self.classes],
            "boxes": [[list(map(int, box)) for box in boxes] for boxes in self.boxes],
        }
        with atomic_folder(folder) as temporary:
            np.save(temporary / "images.npy", self.images)
            np.save(temporary / "masks.npy", self.masks)
            (temporary / "set.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "SegmentationSet":
        """Open what ``save`` wrote; the arrays are memory-mapped, read-only.

        Raises:
            BadInput: the folder does not hold a set, or holds a damaged one.
        """
        folder = Path(folder)
        try:
            about = _ABOUT.validate_json((folder / "set.json").read_bytes(), strict=True)
            images, masks = (
                np.load(folder / f"{part}.npy", mmap_mode="r", allow_pickle=False)
                for part in ("images", "masks")
            )
            data = cls(images, masks, about["boxes"], tuple(about["classes"]), about["name"])
            classes, (height, width) = len(data.classes), images.shape[2:]
            for box in chain(*data.boxes):
                plane, x0, y0, x1, y1 = box
                if not (plane < classes and x0 <= x1 < width and y0 <= y1 < height):
                    raise ValueError(f"the box {box} is not inside")
            return data
        except FileNotFoundError as error:
            raise BadInput(f"{folder} holds no data set: {error.filename} is missing") from error
        # numpy parses the header of an array as Python and lets its errors through.
        except (ValueError, TypeError, EOFError, SyntaxError, OverflowError, TokenError) as error:
            raise BadInput(
                f"{folder} holds a damaged data set ({reason(error)}); make it again"
            ) from error


class _About(TypedDict):
    """What ``set.json`` holds."""

    name: str
    classes: list[ClassSpec]
    boxes: list[list[tuple[NonNegativeInt, ...]]]


_ABOUT = TypeAdapter(_About)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1), inclusive pixel indices, around a non-empty bool (H, W) mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def batches(count: int, batch_size: int, seed: int | None = None) -> Iterator[np.ndarray]:
    """Index arrays that cover ``range(count)`` once; the last one may be shorter.

    Args:
        count: number of images.
        batch_size: indices per batch.
        seed: shuffle with this seed; None keeps the order.
    """
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]
