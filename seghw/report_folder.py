"""The folder that the report's own loader (Listing 2) reads: images, and masks as ``.npy`` files.

``<split>_imgs/<image>.png`` and ``<split>_anns/<image>_<k>_.npy``. The report never says what is
in a mask file. Assumed here, from how its network, loss and Listing 4 use it: an array
(C, H, W), one plane a class in the order of ``classes``, 0 for background and the class's value
(50, 100, 150) on the object.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from seghw.classes import COCO3, ClassSpec
from seghw.coco import IMAGE_SUFFIXES, tight_box
from seghw.coco_annotations import describe_left_out
from seghw.dataset import Box, SegmentationSet
from seghw.errors import BadInput
from seghw.files import whole_folder

# Greedy up to the last underscore, so that the image "cat_1" keeps its own number.
_MASK_NAME = re.compile(r"(?P<image>.+)_(?P<k>[^_]+)_\.npy")


def read_report_folder(
    folder: str | Path,
    split: str = "train",
    classes: Sequence[ClassSpec] = COCO3,
    name: str = "COCO, as the report stores it",
) -> SegmentationSet:
    """Read ``<split>_imgs`` and ``<split>_anns``, images in natural order ("2" before "10").

    Unlike Listing 2, which keeps the last mask it meets, every mask of an image is used: the
    masks are united, and each non-empty plane of each file gives one tight box. Images of any
    mode become RGB. An image that has no mask file is left out; one warning names such images.

    Raises:
        BadInput: a folder is missing or holds no image with a mask, a file is damaged, sizes
            differ, or a mask holds other values than assumed.
    """
    folder = Path(folder)
    image_folder, mask_folder = folder / f"{split}_imgs", folder / f"{split}_anns"
    for part in (image_folder, mask_folder):
        if not part.is_dir():
            raise BadInput(f"{part} is missing; {folder} must hold {split}_imgs and {split}_anns")
    mask_files = _mask_files(mask_folder)
    image_files = sorted(
        (path for path in image_folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda path: _natural(path.name),
    )
    used = [path for path in image_files if path.stem in mask_files]
    if not used:
        raise BadInput(f"none of {len(image_files)} images in {image_folder} has a mask file")
    images, masks, boxes = [], [], []
    for path in tqdm(used, desc=f"{split} images", unit="image"):
        pixels = _read_image(path)
        planes = [_read_mask(mask, classes, pixels.shape[1:]) for mask in mask_files[path.stem]]
        if images and pixels.shape != images[0].shape:
            raise BadInput(
                f"{path} is {pixels.shape[2]} x {pixels.shape[1]}, the images before it "
                f"{images[0].shape[2]} x {images[0].shape[1]}; resize them to one size"
            )
        images.append(pixels)
        masks.append(np.logical_or.reduce(planes))
        boxes.append([box for one in planes for box in _boxes(one)])
    without = {path.name: "no mask file" for path in image_files if path.stem not in mask_files}
    if without:
        warnings.warn(describe_left_out(without, len(image_files)), stacklevel=2)
    return SegmentationSet(np.stack(images), np.stack(masks), boxes, tuple(classes), name)


def write_report_folder(data: SegmentationSet, folder: str | Path, split: str = "train") -> None:
    """Write images as ``<n>.png`` and, of each, one mask file ``<n>_0_.npy`` with all planes.

    One file an image, so that Listing 2's loader loses nothing either. Boxes are not stored:
    what ``read_report_folder`` gives back has one tight box a class.

    Raises:
        FileExistsError: ``<split>_imgs`` or ``<split>_anns`` is there already and not empty.
    """
    folder = Path(folder)
    values = np.array([spec.value for spec in data.classes])[:, None, None]
    # The smallest type that holds them: bytes up to five classes.
    kind = np.min_scalar_type(int(values.max()))
    digits = len(str(len(data)))
    with (
        whole_folder(folder / f"{split}_imgs") as images,
        whole_folder(folder / f"{split}_anns") as masks,
    ):
        for i in tqdm(range(len(data)), desc=f"{split} images", unit="image"):
            stem = f"{i:0{digits}d}"
            Image.fromarray(data.images[i].transpose(1, 2, 0)).save(images / f"{stem}.png")
            np.save(masks / f"{stem}_0_.npy", (data.masks[i] * values).astype(kind))


def _natural(text: str) -> list[str | int]:
    """A sorting key that compares runs of digits as numbers: text, number, text, ..."""
    parts: list[str | int] = re.split(r"(\d+)", text)
    parts[1::2] = map(int, parts[1::2])
    return parts


def _mask_files(folder: Path) -> dict[str, list[Path]]:
    """Image name to its mask files, in natural order."""
    files = defaultdict(list)
    for path in sorted(folder.iterdir(), key=lambda path: _natural(path.name)):
        if match := _MASK_NAME.fullmatch(path.name):
            files[match["image"]].append(path)
    return files


def _read_image(path: Path) -> np.ndarray:
    """uint8 (3, H, W), RGB."""
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{path} cannot be read as an image ({error}); replace it") from error


def _read_mask(path: Path, classes: Sequence[ClassSpec], size: tuple[int, int]) -> np.ndarray:
    """Bool (C, H, W) from one checked mask file."""
    try:
        with path.open("rb") as file:  # np.load would also open an archive of several arrays
            mask = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as a numpy array ({error}); replace it") from error
    expected = (len(classes), *size)
    if mask.shape != expected or mask.dtype.kind not in "buif":
        raise BadInput(
            f"{path} must be an array of numbers {expected}, got {mask.dtype} {mask.shape}"
        )
    for spec, plane in zip(classes, mask, strict=True):
        strange = plane[(plane != 0) & (plane != spec.value)]
        if strange.size:
            raise BadInput(
                f"{path} holds {strange[0]} in the plane of {spec.name!r}, where only 0 and "
                f"{spec.value} are expected; check the order of the classes"
            )
    return mask != 0


def _boxes(planes: np.ndarray) -> list[Box]:
    """The tight box of each non-empty plane of bool (C, H, W)."""
    return [(c, *tight_box(plane)) for c, plane in enumerate(planes) if plane.any()]
