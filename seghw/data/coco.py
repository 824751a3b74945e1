"""COCO annotations to class masks: which images, which pixels, and where they came from.

``select`` applies the homework's rule to an annotation file, ``rasterize`` turns what it chose
into arrays, ``build`` is both at once, and ``write_manifest`` credits every image.
"""

import difflib
import io
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from seghw.config import class_specs
from seghw.data.dataset import Box, SegmentationSet, tight_box
from seghw.errors import BadInput
from seghw.io import write_csv

if TYPE_CHECKING:
    from pycocotools.coco import COCO

CLASSES = ("pizza", "cat", "bus")
Instances = Literal["single", "any"]
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

# What this module reads of COCO's format (https://cocodataset.org/#format-data).
_FIELDS: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
    "licenses": {"id": int},
}
_MAY_BE_MISSING: dict[str, dict[str, type]] = {
    "images": {"license": int, "flickr_url": str, "coco_url": str},
    "annotations": {"iscrowd": int},
    "licenses": {"name": str, "url": str},
}


@dataclass(frozen=True)
class CocoImage:
    """An image that ``select`` chose, with the annotations that count."""

    record: Mapping[str, Any]  # its entry of "images": id, file_name, width, height, URLs
    objects: tuple[tuple[str, Mapping[str, Any]], ...]  # (class name, its entry of "annotations")
    license: Mapping[str, Any]  # its entry of "licenses", empty where the file names none

    @property
    def file_name(self) -> str:
        return self.record["file_name"]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as annotated."""
        return self.record["width"], self.record["height"]


def read_annotations(path: str | Path) -> "COCO":
    """Read and check an instance annotation file, with pycocotools' printing silenced.

    Raises:
        BadInput: the file is missing, not JSON, or not COCO's instance format.
    """
    from pycocotools.coco import COCO

    try:
        dataset = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise BadInput(f"cannot read the annotation file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON ({error}); give COCO's instances_*.json") from error
    _check_format(dataset, path)
    coco = COCO()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def select(
    annotations: "str | Path | COCO",
    classes: Sequence[str] = CLASSES,
    min_box: float = 200,
    instances: Instances = "single",
    min_area: float = 0,
) -> list[CocoImage]:
    """Choose images by their annotations, in order of image id.

    Crowd regions are never a target and never count as an instance.

    Args:
        annotations: path of an ``instances_*.json``, or what ``read_annotations`` made of it.
        classes: category names.
        min_box: smallest side of the bounding box in pixels of the original image.
            It selects under "single" only.
        instances: "single" is the homework's rule: exactly one instance over all ``classes``,
            its box at least ``min_box`` on both sides. "any": at least one instance.
        min_area: smallest area of the instance's mask in pixels of the original image, which others
            who did this homework chose by; beside ``min_box``, and like it under "single" only.

    Raises:
        BadInput: the annotations cannot be used, a class is not in them, or no image is chosen.
    """
    if instances not in ("single", "any"):
        raise BadInput(f"instances must be 'single' or 'any', got {instances!r}")
    coco = read_annotations(annotations) if isinstance(annotations, str | Path) else annotations
    names = _category_names(coco, classes)
    licenses = {license["id"]: license for license in coco.dataset["licenses"]}
    chosen, removed = [], Counter()
    for image_id, record in sorted(coco.imgs.items()):
        objects = tuple(
            (names[annotation["category_id"]], annotation)
            for annotation in coco.imgToAnns.get(image_id, ())
            if annotation["category_id"] in names and not annotation.get("iscrowd")
        )
        if not objects:
            removed[f"hold no instance of {', '.join(classes)}"] += 1
        elif instances == "single" and len(objects) > 1:
            removed["hold more than one instance"] += 1
        elif instances == "single" and min(objects[0][1]["bbox"][2:]) < min_box:
            removed[f"have a box under {min_box} pixels on a side"] += 1
        else:
            image = CocoImage(record, objects, licenses.get(record.get("license"), {}))
            # Decoding a mask takes a while, so it comes last, and only if it is asked for.
            small = min_area and instances == "single"
            if small and instance_mask(image, objects[0][1]).sum() < min_area:
                removed[f"have a mask under {min_area} pixels"] += 1
            else:
                chosen.append(image)
    if not chosen:
        reasons = "; ".join(f"{count} {reason}" for reason, count in removed.items())
        raise BadInput(
            f"none of {len(coco.imgs)} images selected ({reasons or 'the file lists no image'}); "
            "try other classes, a smaller min_box or min_area, or instances='any'"
        )
    return chosen


def instance_mask(image: CocoImage, annotation: Mapping[str, Any]) -> np.ndarray:
    """One instance as bool (H, W) at the annotated size, by pycocotools' ``annToMask``.

    Raises:
        BadInput: the annotation's polygons or run lengths are malformed.
    """
    from pycocotools.coco import COCO

    coco = COCO()
    coco.imgs[annotation["image_id"]] = image.record
    try:
        _check_polygons(annotation.get("segmentation"), image.size)
        with warnings.catch_warnings():
            # pycocotools 2.0.11 still speaks an array protocol that numpy 2 calls deprecated.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            mask = coco.annToMask(annotation)
            if mask.shape != image.size[::-1]:
                raise ValueError(f"run lengths are for {mask.shape[::-1]}, not {image.size}")
            if not _covers_all_pixels(coco.annToRLE(annotation)):
                raise ValueError("run lengths end before the last pixel")
    except Exception as error:  # pycocotools raises bare Exception for what it cannot read
        raise BadInput(
            f"annotation {annotation['id']} of {image.file_name} has no usable segmentation "
            f"({error!r}); fix it or take it out"
        ) from error
    return mask.astype(np.bool_)


def _check_polygons(segmentation: Any, size: tuple[int, int]) -> None:
    """Raise ValueError for polygons on which pycocotools would end the interpreter, or guess."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"{polygon!r:.40} is no polygon: x, y of three corners or more")
            # Annotators overshoot the image a little, never by its whole size.
            for value in polygon:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise ValueError(f"{value!r:.20} is no coordinate")
                if not abs(value) <= 2 * max(size):
                    raise ValueError(f"coordinate {value!r:.20} lies far outside of {size}")


def _covers_all_pixels(code: Mapping[str, Any]) -> bool:
    """Whether run lengths that are not too long for their size are not too short either.

    pycocotools (2.0.11) refuses too long ones, but leaves what too short ones do not reach as it
    was in memory: so they are exactly right if they are too long for one pixel less.
    """
    from pycocotools import mask as mask_utils

    height, width = code["size"]
    try:
        mask_utils.decode({"size": [1, height * width - 1], "counts": code["counts"]})
    except ValueError:
        return True
    return False


def describe_left_out(left_out: Mapping[str, str], total: int) -> str:
    """One line that counts what is missing and names the first five."""
    named = [f"{file_name} ({reason})" for file_name, reason in list(left_out.items())[:5]]
    rest = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    return f"{len(left_out)} of {total} images left out: {', '.join(named)}{rest}"


def _check_format(dataset: Any, path: str | Path) -> None:
    """Raise BadInput unless ``dataset`` is shaped as COCO's instance files are."""
    fix = "give COCO's instances_*.json"
    if not isinstance(dataset, dict):
        raise BadInput(f"{path} holds a {type(dataset).__name__}, not COCO annotations; {fix}")
    dataset.setdefault("licenses", [])
    for part, fields in _FIELDS.items():
        records = dataset.get(part)
        if not isinstance(records, list):
            raise BadInput(f"{path} has no list of '{part}' and is not COCO's format; {fix}")
        for i, record in enumerate(records):
            if not isinstance(record, dict):
                raise BadInput(f"{path}: {part}[{i}] is {record!r:.60}, not a record; {fix}")
            optional = _MAY_BE_MISSING.get(part, {}).items()
            given = {field: kind for field, kind in optional if record.get(field) is not None}
            for field, kind in (fields | given).items():
                if not isinstance(record.get(field), kind):
                    raise BadInput(
                        f"{path}: {part}[{i}] needs a {field!r} of type {kind.__name__}, "
                        f"got {record.get(field)!r:.60}; {fix}"
                    )
        twice = [i for i, count in Counter(record["id"] for record in records).items() if count > 1]
        if twice:
            raise BadInput(
                f"{path}: {len(twice)} ids stand twice in {part}, such as {twice[0]}; "
                "number merged files anew"
            )
    for image in dataset["images"]:
        if not PureWindowsPath(image["file_name"]).name:
            raise BadInput(f"{path}: image {image['id']} has no file's name; fix its file_name")
        if min(image["width"], image["height"]) < 1:
            raise BadInput(f"{path}: image {image['id']} has no pixels; fix its width and height")
    for annotation in dataset["annotations"]:
        bbox = annotation["bbox"]
        if len(bbox) != 4 or not all(isinstance(number, int | float) for number in bbox):
            raise BadInput(
                f"{path}: annotation {annotation['id']} has the bbox {bbox!r:.60}; "
                "it must be [x, y, width, height]"
            )


def _category_names(coco: "COCO", classes: Sequence[str]) -> dict[int, str]:
    """Category id to class name, for the wanted ``classes`` only."""
    if isinstance(classes, str) or not classes or len(set(classes)) < len(classes):
        raise BadInput(f"classes must be one or more different names, got {classes!r}")
    categories = coco.dataset["categories"]
    available = [category["name"] for category in categories]
    for name in classes:
        if name not in available:
            close = difflib.get_close_matches(name, available)
            hint = f"did you mean {' or '.join(close)}?" if close else f"use {', '.join(available)}"
            raise BadInput(f"class {name!r} is not among the {len(available)} categories; {hint}")
    return {c["id"]: c["name"] for c in categories if c["name"] in classes}


class Rasterized(NamedTuple):
    """What became of the chosen images."""

    data: SegmentationSet
    kept: list[CocoImage]  # one per image of ``data``, in its order
    left_out: dict[str, str]  # file name to the reason


def rasterize(
    chosen: Sequence[CocoImage],
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    name: str = "COCO",
) -> Rasterized:
    """Read the chosen images and draw their masks, both stretched to ``size`` x ``size``.

    Images of any mode become RGB and are resized by PIL's bilinear filter, which averages over
    every source pixel when it shrinks (antialiasing). Masks are pycocotools' own, resized by
    nearest neighbor; several instances of a class are united in its plane. A box is the tight
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
    return Rasterized(data, kept, left_out)


def build(
    annotations: "str | Path | COCO",
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    min_box: float = 200,
    instances: Instances = "single",
    name: str = "COCO",
) -> SegmentationSet:
    """``select`` and ``rasterize`` in one: images uint8 (N, 3, size, size), one plane per class."""
    chosen = select(annotations, classes, min_box, instances)
    return rasterize(chosen, images, classes, size, name).data


def manifest(chosen: Sequence[CocoImage]) -> list[dict[str, Any]]:
    """One row per image: what it is, whose license it is under, and where it came from."""
    return [
        {
            "image_id": image.record["id"],
            "file_name": image.file_name,
            "class": "+".join(dict.fromkeys(class_name for class_name, _ in image.objects)),
            "license": image.license.get("name", ""),
            "license_url": image.license.get("url", ""),
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
    write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


class _UnusableError(Exception):
    """An image that has to be left out; its text says why."""


def _find_images(folder: Path) -> dict[str, list[Path]]:
    """Image files in ``folder`` and two levels below, by bare name."""
    if not folder.is_dir():
        raise BadInput(f"the image folder {folder} is missing; give the one that holds the files")
    files: dict[str, list[Path]] = {}
    # Level by level, because rglob does not enter a subfolder that is a link to another disk.
    for level in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(level)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                files.setdefault(path.name, []).append(path)
    if not files:
        raise BadInput(f"{folder} holds no image file; give the folder that holds the images")
    return files


def _locate(file_name: str, files: Mapping[str, list[Path]]) -> Path:
    """The one file of that name, in the folder that the name may carry."""
    # PureWindowsPath takes both kinds of slash for what they are.
    parts = PureWindowsPath(file_name).parts
    found = files.get(parts[-1], [])
    if len(parts) > 1 or len(found) > 1:
        found = [path for path in found if path.absolute().parts[-len(parts) :] == parts]
    if len(found) != 1:
        raise _UnusableError(f"{len(found)} files have this name" if found else "missing")
    return found[0]


def _read_image(image: CocoImage, files: Mapping[str, list[Path]], size: int) -> np.ndarray:
    """uint8 (3, size, size), RGB. EXIF rotation is not applied: COCO annotates stored pixels."""
    path = _locate(image.file_name, files)
    try:
        with Image.open(path) as opened:
            if opened.size != image.size:
                raise _UnusableError(f"is {opened.size}, annotated as {image.size}")
            if opened.mode.startswith(("I", "F")):  # convert() would clip it to white
                raise _UnusableError(f"has more than 8 bits per channel (mode {opened.mode})")
            rgb = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _UnusableError(f"unreadable: {error}") from error
    resized = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def _resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Bool (size, size) by nearest neighbor, so that no pixel is half an object."""
    resized = Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized) > 0
