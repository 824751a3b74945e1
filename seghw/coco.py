"""COCO annotations to class masks: which images, which pixels, and where they came from.

``select`` applies the homework's rule to an annotation file, ``rasterise`` turns what it chose
into arrays, ``build`` is both at once, and ``write_manifest`` credits every image. ``select``
and ``download`` have files of their own and are offered here too.
"""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from seghw.classes import class_specs
from seghw.coco_annotations import (
    CLASSES,
    CocoImage,
    Instances,
    describe_left_out,
    instance_mask,
    read_annotations,
    select,
)
from seghw.coco_download import Downloaded, download
from seghw.dataset import Box, SegmentationSet
from seghw.errors import BadInput
from seghw.files import whole_file

if TYPE_CHECKING:
    from pycocotools.coco import COCO

__all__ = [
    "CocoImage",
    "Downloaded",
    "Rasterised",
    "build",
    "download",
    "instance_mask",
    "manifest",
    "rasterise",
    "read_annotations",
    "select",
    "tight_box",
    "write_manifest",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})


class Rasterised(NamedTuple):
    """What became of the chosen images."""

    data: SegmentationSet
    kept: list[CocoImage]  # one an image of ``data``, in its order
    left_out: dict[str, str]  # file name to the reason


def rasterise(
    chosen: Sequence[CocoImage],
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    name: str = "COCO",
) -> Rasterised:
    """Read the chosen images and draw their masks, both stretched to ``size`` x ``size``.

    Images of any mode become RGB and are resized by PIL's bilinear filter, which averages over
    every source pixel when it shrinks (antialiasing). Masks are pycocotools' own, resized by
    nearest neighbour; several instances of a class are united in its plane. A box is the tight
    one around its resized instance. An instance without a single pixel after the resize has no
    box; an image that loses all its instances so is left out, as are images that are missing,
    damaged, or of another size than annotated: one warning counts and names them.

    Args:
        chosen: what ``select`` returned for the same ``classes``.
        images: folder with the image files, directly or in subfolders such as ``train2017``.
        classes: names of the mask planes, in order.
        size: side in pixels, a multiple of 8 because the network halves it three times.
        name: the set's name.

    Raises:
        BadInput: ``size`` or the folder cannot be used, a segmentation is malformed, or no
            image is left.
    """
    if not isinstance(size, int) or size < 8 or size % 8:
        raise BadInput(f"size must be a positive multiple of 8, got {size!r}")
    files = _find_images(Path(images))
    plane = {name: c for c, name in enumerate(classes)}
    pixels = np.empty((len(chosen), 3, size, size), np.uint8)
    masks = np.zeros((len(chosen), len(classes), size, size), np.bool_)
    boxes: list[list[Box]] = []
    kept: list[CocoImage] = []
    left_out: dict[str, str] = {}
    for image in tqdm(chosen, desc="COCO images", unit="image", leave=False, delay=2):
        n = len(kept)
        try:
            pixels[n] = _read_image(image, files, size)
        except _UnusableError as reason:
            left_out[image.file_name] = str(reason)
            continue
        found = []
        for class_name, annotation in image.objects:
            mask = _resize_mask(instance_mask(image, annotation), size)
            if mask.any():
                masks[n, plane[class_name]] |= mask
                found.append((plane[class_name], *tight_box(mask)))
        if not found:
            left_out[image.file_name] = f"nothing of it is left at {size} x {size}"
            continue
        boxes.append(found)
        kept.append(image)
    if not kept:
        raise BadInput(f"{images} yields no image: {describe_left_out(left_out, len(chosen))}")
    if left_out:
        warnings.warn(describe_left_out(left_out, len(chosen)), stacklevel=2)
    n = len(kept)
    data = SegmentationSet(pixels[:n], masks[:n], boxes, class_specs(classes), name)
    return Rasterised(data, kept, left_out)


def build(
    annotations: "str | Path | COCO",
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    min_box: float = 200,
    instances: Instances = "single",
    name: str = "COCO",
) -> SegmentationSet:
    """``select`` and ``rasterise`` in one: images uint8 (N, 3, size, size), one plane a class."""
    chosen = select(annotations, classes, min_box, instances)
    return rasterise(chosen, images, classes, size, name).data


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1), inclusive pixel indices, around a non-empty bool (H, W) mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def manifest(chosen: Sequence[CocoImage]) -> list[dict[str, Any]]:
    """One row an image: what it is, whose licence it is under, and where it came from."""
    return [
        {
            "image_id": image.record["id"],
            "file_name": image.file_name,
            "class": "+".join(dict.fromkeys(class_name for class_name, _ in image.objects)),
            "licence": image.licence.get("name", ""),
            "licence_url": image.licence.get("url", ""),
            "flickr_url": image.record.get("flickr_url", ""),
            "coco_url": image.record.get("coco_url", ""),
            "width": image.record["width"],
            "height": image.record["height"],
        }
        for image in chosen
    ]


def write_manifest(path: str | Path, chosen: Sequence[CocoImage]) -> None:
    """Write ``manifest(chosen)`` as CSV; ``chosen`` must not be empty."""
    rows = manifest(chosen)
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class _UnusableError(Exception):
    """An image that has to be left out; its text says why."""


def _find_images(folder: Path) -> dict[str, Path]:
    """Image files in ``folder`` and two levels below, by bare name and by relative path.

    Of files with one bare name the shallowest, then the alphabetically first, has it.
    """
    if not folder.is_dir():
        raise BadInput(f"the image folder {folder} is missing; give the one that holds the files")
    files: dict[str, Path] = {}
    # Level by level, because rglob does not enter a subfolder that is a link to another disk.
    for level in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(level)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                files.setdefault(path.name, path)
                files.setdefault(path.relative_to(folder).as_posix(), path)
    if not files:
        raise BadInput(f"{folder} holds no image file; give the folder that holds the images")
    return files


def _read_image(image: CocoImage, files: Mapping[str, Path], size: int) -> np.ndarray:
    """uint8 (3, size, size), RGB. EXIF rotation is not applied: COCO annotates stored pixels."""
    # PureWindowsPath takes both kinds of slash for what they are.
    path = files.get(image.file_name) or files.get(PureWindowsPath(image.file_name).name)
    if path is None:
        raise _UnusableError("missing")
    try:
        with Image.open(path) as opened:
            if opened.size != image.size:
                raise _UnusableError(f"is {opened.size}, annotated as {image.size}")
            if opened.mode.startswith(("I", "F")):  # convert() would clip it to white
                raise _UnusableError(f"has more than 8 bits a channel (mode {opened.mode})")
            rgb = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _UnusableError(f"unreadable: {error}") from error
    resized = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def _resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Bool (size, size) by nearest neighbour, so that no pixel is half an object."""
    resized = Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized) > 0
