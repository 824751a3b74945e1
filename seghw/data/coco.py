"""COCO annotations to class masks: which images, which pixels, and where they came from.

``select`` applies the homework's rule to an annotation file, ``rasterize`` turns what it chose
into arrays, ``build`` is both at once, and ``write_manifest`` credits every image.
"""

import difflib
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from seghw.config import class_specs, classes_of, dataset_of
from seghw.data.annotations import Record, instance_mask, read_annotations
from seghw.data.dataset import SegmentationSet, blank, tight_box
from seghw.errors import BadInput, reason
from seghw.io import write_csv

CLASSES = ("pizza", "cat", "bus")
Instances = Literal["single", "any"]
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


class Chosen(NamedTuple):
    """An image that ``select`` chose, with the annotations that count."""

    record: Record  # its entry of "images": id, file_name, width, height, URLs
    objects: list[tuple[str, Record]]  # (class name, its entry of "annotations")
    license: Record  # its entry of "licenses", empty where the file names none


def select(
    annotations: str | Path | Record,
    classes: Sequence[str] = CLASSES,
    min_box: float = 200,
    instances: Instances = "single",
    min_area: float = 0,
) -> list[Chosen]:
    """Choose images by their annotations, in order of image id.

    Crowd regions are never a target and never count as an instance.

    Args:
        annotations: path of an ``instances_*.json``, or what ``read_annotations`` takes else.
        classes: category names.
        min_box: smallest side of the bounding box in pixels of the original image.
            It selects under "single" only.
        instances: "single" is the homework's rule: exactly one instance over all ``classes``,
            its box at least ``min_box`` on both sides. "any": at least one instance.
        min_area: smallest area of the instance's mask in pixels of the original image, which others
            who did this homework chose by; beside ``min_box``, and like it under "single" only.

    Raises:
        BadInput: the annotations cannot be used, a class is not in them or cannot be part of a
            run's name, the outline or the box that decides is malformed, or no image is chosen.
    """
    if instances not in get_args(Instances):
        raise BadInput(f"instances must be 'single' or 'any', got {instances!r}")
    data = read_annotations(annotations)
    names = _category_names(data["categories"], classes)
    licenses = {entry["id"]: entry for entry in data["licenses"]}
    here: dict[int, list[tuple[str, Record]]] = defaultdict(list)
    for annotation in data["annotations"]:
        if annotation["category_id"] in names:
            here[annotation["image_id"]].append((names[annotation["category_id"]], annotation))
    chosen, removed = [], Counter()
    for record in sorted(data["images"], key=lambda record: record["id"]):
        objects = [(name, one) for name, one in here[record["id"]] if not one.get("iscrowd")]
        against = ""
        if not objects:
            what = "only crowds" if here[record["id"]] else "no instance"
            against = f"hold {what} of {', '.join(classes)}"
        elif instances == "single":
            against = _against(record, objects, min_box, min_area)
        if against:
            removed[against] += 1
        else:
            chosen.append(Chosen(record, objects, licenses.get(record.get("license"), {})))
    if not chosen:
        reasons = "; ".join(f"{count} {reason}" for reason, count in removed.items())
        raise BadInput(
            f"none of {len(data['images'])} images selected ({reasons or 'the file lists none'}); "
            "try other classes, a smaller min_box or min_area, or instances='any'"
        )
    return chosen


def _against(
    record: Record, objects: list[tuple[str, Record]], min_box: float, min_area: float
) -> str:
    """What the homework's rule has against an image; "" if nothing."""
    if len(objects) > 1:
        return "hold more than one instance"
    if min(objects[0][1]["bbox"][2:]) < min_box:
        return f"have a box under {min_box} pixels on a side"
    # The mask proves the box, too. It takes a while, so it comes last.
    mask = instance_mask(record, objects[0][1])
    return f"have a mask under {min_area} pixels" if mask.sum() < min_area else ""


def _category_names(categories: Sequence[Record], classes: Sequence[str]) -> dict[int, str]:
    """Category id to class name, for the wanted ``classes`` only."""
    if isinstance(classes, str) or not classes or len(set(classes)) < len(classes):
        raise BadInput(f"classes must be one or more different names, got {classes!r}")
    available = [category["name"] for category in categories]
    for name in classes:
        if name not in available:
            close = difflib.get_close_matches(name, available)
            hint = f"did you mean {' or '.join(close)}?" if close else f"use {', '.join(available)}"
            raise BadInput(f"class {name!r} is not among the {len(available)} categories; {hint}")
        with suppress(BadInput):
            if classes_of(dataset_of([name])) == class_specs([name]):
                continue
        raise BadInput(f"class {name!r} cannot be part of a run's name; rename it in the file")
    return {c["id"]: c["name"] for c in categories if c["name"] in classes}


def rasterize(
    chosen: Sequence[Chosen],
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    name: str = "COCO",
) -> SegmentationSet:
    """Read the chosen images and draw their masks, both stretched to ``size`` x ``size``.

    Images of any mode become RGB and are resized by PIL's bilinear filter, which averages over
    every source pixel when it shrinks (antialiasing). Masks are pycocotools' own, resized by
    nearest neighbor; several instances of a class are united in its mask. A box is the tight
    one around its resized instance. An instance without a single pixel after the resize has no
    box; an image that loses all its instances so is left out, as are images that are missing,
    damaged, or of another size than annotated: one warning counts and names them.

    Args:
        chosen: what ``select`` returned for the same ``classes``.
        images: folder with the image files, directly or in subfolders such as ``train2017``.
        classes: names of the masks, in order.
        size: side in pixels, a multiple of 8 because the network halves it three times.
        name: the set's name.

    Raises:
        BadInput: ``size`` or the folder cannot be used, an outline or a box is malformed, or no
            image is left.
    """
    files, channel = _image_files(Path(images)), {name: c for c, name in enumerate(classes)}
    pixels, masks = blank(len(chosen), len(classes), size)
    boxes, names, left_out = [], [], {}
    for image in tqdm(chosen, desc="COCO images", unit="image", leave=False, delay=2):
        n, file_name = len(names), image.record["file_name"]
        try:
            pixels[n] = _read_image(image.record, files, size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            left_out[file_name] = reason(error)
            continue
        seen = []
        for class_name, annotation in image.objects:
            mask = _resized(instance_mask(image.record, annotation), size)
            if mask.any():
                masks[n, channel[class_name]] |= mask
                seen.append((channel[class_name], *tight_box(mask)))
        if seen:
            boxes.append(seen)
            names.append(file_name)
        else:
            left_out[file_name] = f"nothing of it is left at {size} x {size}"
    if left_out:
        line = _describe(left_out, len(chosen))
        if not names:
            raise BadInput(f"{images} yields no image: {line}")
        warnings.warn(line, stacklevel=2)
    n = len(names)
    return SegmentationSet(pixels[:n], masks[:n], boxes, class_specs(classes), name, tuple(names))


def build(
    annotations: str | Path | Record,
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    min_box: float = 200,
    instances: Instances = "single",
    min_area: float = 0,
    name: str = "COCO",
) -> SegmentationSet:
    """``select`` and ``rasterize`` in one: images uint8 (N, 3, size, size), a mask per class."""
    chosen = select(annotations, classes, min_box, instances, min_area)
    return rasterize(chosen, images, classes, size, name)


def write_manifest(path: str | Path, chosen: Sequence[Chosen]) -> None:
    """Write a CSV row per image: what it is, its license, and where it came from."""
    own = ("flickr_url", "coco_url", "width", "height")
    header = ["image_id", "file_name", "class", "license", "license_url", *own]
    rows = [
        [image.record["id"], image.record["file_name"]]
        + ["+".join(dict.fromkeys(class_name for class_name, _ in image.objects))]
        + [image.license.get("name", ""), image.license.get("url", "")]
        + [image.record.get(field, "") for field in own]
        for image in chosen
    ]
    write_csv(path, header, rows)


def _describe(left_out: Mapping[str, str], total: int) -> str:
    """One line that counts what is missing and names the first five."""
    named = [f"{file_name} ({why})" for file_name, why in list(left_out.items())[:5]]
    rest = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    return f"{len(left_out)} of {total} images left out: {', '.join(named)}{rest}"


def _image_files(folder: Path) -> dict[str, list[Path]]:
    """Image files in ``folder`` and two levels below, by bare name."""
    files: dict[str, list[Path]] = defaultdict(list)
    # Level by level, because rglob does not enter a subfolder that is a link to another disk.
    for level in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(level)):
            if path.suffix.lower() in _SUFFIXES:
                files[path.name].append(path)
    if not files:
        raise BadInput(f"{folder} holds no image file; give the folder that holds the images")
    return files


def _read_image(record: Record, files: Mapping[str, list[Path]], size: int) -> np.ndarray:
    """uint8 (3, size, size), RGB. EXIF rotation is not applied: COCO annotates stored pixels.

    The file is the one of the record's name, in the folder that the name may carry.
    """
    # PureWindowsPath takes both kinds of slash for what they are.
    parts = PureWindowsPath(record["file_name"]).parts
    paths = files.get(parts[-1], [])
    if len(parts) > 1 or len(paths) > 1:
        paths = [path for path in paths if path.absolute().parts[-len(parts) :] == parts]
    if len(paths) != 1:
        raise ValueError(f"{len(paths)} files have this name" if paths else "missing")
    with Image.open(paths[0]) as opened:
        annotated = record["width"], record["height"]
        if opened.size != annotated:
            raise ValueError(f"is {opened.size}, annotated as {annotated}")
        if opened.mode.startswith(("I", "F")):  # convert() would clip it to white
            raise ValueError(f"has more than 8 bits per channel (mode {opened.mode})")
        rgb = opened.convert("RGB")
    return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def _resized(mask: np.ndarray, size: int) -> np.ndarray:
    """Bool (size, size) by nearest neighbor, so that no pixel is half an object."""
    resized = Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized) > 0
