"""COCO annotations to class masks: which images, which pixels, and where they came from.

``select`` applies the homework's rule to an annotation file, ``rasterize`` turns what it chose
into arrays, ``build`` is both at once. What cannot be used raises ``BadInput``. Whatever reaches
pycocotools' C is checked first: endless coordinates, or run lengths of another image, would end
the interpreter there.
"""

import difflib
import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from seghw.config import can_name, class_specs
from seghw.data.dataset import Box, SegmentationSet, blank, tight_box
from seghw.errors import BadInput, reason
from seghw.io import write_csv

CLASSES = ("pizza", "cat", "bus")
Record = Mapping[str, Any]  # an entry of one of the file's lists
#: What is read of each list (https://cocodataset.org/#format-data).
_FORMAT = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
    "licenses": {"id": int},
}
_MOST_PIXELS = 178_956_970  # of an image; Pillow refuses more
_LONGEST_OUTLINE = 1e6  # of a polygon, in pixels
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
    instances: str = "single",
    min_area: float = 0,
) -> list[Chosen]:
    """Choose images by their annotations, in order of image id.

    Args:
        annotations: what ``read_annotations`` takes.
        classes: category names. Crowd regions never count.
        min_box: smallest side of the bounding box, in pixels of the original image.
        instances: "single" is the homework's rule: exactly one instance over all ``classes``,
            its box at least ``min_box`` on both sides. "any": at least one instance, of any size.
        min_area: smallest area of the instance's mask, likewise under "single" only.
    """
    if instances not in ("single", "any"):
        raise BadInput(f"instances must be 'single' or 'any', got {instances!r}")
    data = read_annotations(annotations)
    of_image = _of_classes(data, classes)
    licenses = {str(one["id"]): one for one in data["licenses"]}
    chosen, removed = [], Counter()
    for record in sorted(data["images"], key=itemgetter("id")):
        annotated = of_image[record["id"]]
        objects = [(name, one) for name, one in annotated if not one.get("iscrowd")]
        if not objects:
            why = f"hold {'only crowds' if annotated else 'no instance'} of {', '.join(classes)}"
        elif instances == "any":
            why = ""
        elif len(objects) > 1:
            why = "hold more than one instance"
        elif min(objects[0][1]["bbox"][2:]) < min_box:
            why = f"have a box under {min_box} pixels on a side"
        else:  # the mask also proves the box; it takes a while, so it comes last
            area = instance_mask(record, objects[0][1]).sum()
            why = f"have a mask under {min_area} pixels" if area < min_area else ""
        if why:
            removed[why] += 1
        else:
            chosen.append(Chosen(record, objects, licenses.get(str(record.get("license")), {})))
    if not chosen:
        reasons = "; ".join(f"{count} {why}" for why, count in removed.items())
        raise BadInput(
            f"none of {len(data['images'])} images selected ({reasons or 'the file lists none'}); "
            "try other classes, a smaller min_box or min_area, or instances='any'"
        )
    return chosen


def rasterize(
    chosen: Sequence[Chosen],
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    name: str = "COCO",
) -> SegmentationSet:
    """Read the chosen images and draw their masks, both stretched to ``size`` x ``size``.

    Images become RGB and are resized with antialiasing (PIL's bilinear filter), masks by nearest
    neighbor; several instances of a class are united in its mask. A box is the tight one around
    its resized instance. Images that are missing, damaged, of another size than annotated, or
    without a pixel of any instance after the resize are left out; one warning counts them.

    Args:
        chosen: what ``select`` returned for the same ``classes``.
        images: folder with the image files, directly or in subfolders such as ``train2017``.
        classes: names of the masks, in order.
        size: side in pixels, a multiple of 8.
        name: the set's.
    """
    files = _image_files(Path(images))
    pixels, masks = blank(len(chosen), len(classes), size)
    boxes, names, left_out = [], [], {}
    for image in tqdm(chosen, desc="COCO images", unit="image", leave=False, delay=2):
        n, file_name = len(names), image.record["file_name"]
        try:
            pixels[n] = _read_image(image.record, files, size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            left_out[file_name] = reason(error)
            continue
        seen: list[Box] = []
        for name_of_class, annotation in image.objects:
            mask = Image.fromarray(instance_mask(image.record, annotation).astype(np.uint8))
            mask = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST)) > 0
            if mask.any():
                c = classes.index(name_of_class)
                masks[n, c] |= mask
                seen.append((c, *tight_box(mask)))
        if seen:
            boxes.append(seen)
            names.append(file_name)
        else:
            left_out[file_name] = f"nothing of it is left at {size} x {size}"
    line, n = list_left_out(left_out, len(chosen)), len(names)
    if not names:
        raise BadInput(f"{images} yields no image: {line}")
    if left_out:
        warnings.warn(line, stacklevel=2)
    return SegmentationSet(pixels[:n], masks[:n], boxes, class_specs(classes), name, tuple(names))


def build(
    annotations: str | Path | Record,
    images: str | Path,
    classes: Sequence[str] = CLASSES,
    size: int = 256,
    min_box: float = 200,
    instances: str = "single",
    name: str = "COCO",
) -> SegmentationSet:
    """``select`` and ``rasterize`` in one: images uint8 (N, 3, size, size), a mask per class."""
    chosen = select(annotations, classes, min_box, instances)
    return rasterize(chosen, images, classes, size, name)


def write_manifest(path: str | Path, chosen: Sequence[Chosen]) -> None:
    """Write a CSV row per image: what it is, its license, and where it came from."""
    own = ("flickr_url", "coco_url", "width", "height")
    rows = [
        [record["id"], record["file_name"], "+".join(dict.fromkeys(name for name, _ in objects))]
        + [license.get("name", ""), license.get("url", "")]
        + [record.get(field, "") for field in own]
        for record, objects, license in chosen
    ]
    write_csv(path, ["image_id", "file_name", "class", "license", "license_url", *own], rows)


def list_left_out(reasons: Mapping[str, str], total: int) -> str:
    """One line that counts the images that are missing of ``total`` and names the first five."""
    named = [f"{file_name} ({why})" for file_name, why in list(reasons.items())[:5]]
    rest = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    return f"{len(reasons)} of {total} images left out: {', '.join(named)}{rest}"


# -- what people bring, checked -------------------------------------------------------------------


def read_annotations(source: str | Path | Record) -> Mapping[str, list[Record]]:
    """COCO's lists "images", "annotations", "categories" and "licenses", checked.

    ``source`` is the path of an ``instances_*.json``, or what ``json`` read from one. ``BadInput``
    if it is missing, not JSON, or not COCO's instance format.
    """
    name = source if isinstance(source, str | Path) else "what was given"
    try:
        return _checked(json.loads(Path(source).read_bytes()) if name is source else source)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{name} is not COCO's instance format ({reason(error)}); give its instances_*.json"
        ) from error


def _checked(data: Any) -> dict[str, list[Record]]:
    data = {"licenses": []} | (data if isinstance(data, dict) else {})
    for part, fields in _FORMAT.items():
        if not isinstance(data.get(part), list):
            raise ValueError(f"it has no list of {part!r}")
        for record in data[part]:
            for name, kind in fields.items():
                if not (isinstance(record, dict) and isinstance(record.get(name), kind)):
                    raise ValueError(f"{part} hold {record!r:.60}, without a proper {name!r}")
        for number, count in Counter(map(itemgetter("id"), data[part])).most_common(1):
            if count > 1:
                raise ValueError(f"id {number} stands twice in {part}; number merged files anew")
    for image in data["images"]:
        width, height = image["width"], image["height"]
        if not (0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS // width):
            raise ValueError(f"image {image['id']} is said to have {width} x {height} pixels")
    for number, box in map(itemgetter("id", "bbox"), data["annotations"]):
        if len(box) != 4 or not all(isinstance(v, int | float) and abs(v) < 1e9 for v in box):
            raise ValueError(
                f"bbox {box!r:.60} of annotation {number} is not [x, y, width, height]"
            )
    return data


def _of_classes(
    data: Mapping[str, list[Record]], classes: Sequence[str]
) -> dict[int, list[tuple[str, Record]]]:
    """Image id to the (class name, annotation) of all that is of the wanted ``classes``."""
    if isinstance(classes, str) or not classes or len(set(classes)) < len(classes):
        raise BadInput(f"classes must be one or more different names, got {classes!r}")
    names = {category["id"]: category["name"] for category in data["categories"]}
    for name in classes:
        if name not in names.values():
            near = difflib.get_close_matches(name, names.values()) or names.values()
            raise BadInput(f"class {name!r} is no category of the file; use {', '.join(near)}")
        if not can_name(name):
            raise BadInput(f"class {name!r} cannot be part of a run's name; rename it in the file")
    of_image: dict[int, list[tuple[str, Record]]] = defaultdict(list)
    for one in data["annotations"]:
        if (name := names.get(one["category_id"])) in classes:
            of_image[one["image_id"]].append((name, one))
    return of_image


def instance_mask(image: Record, annotation: Record) -> np.ndarray:
    """One instance as bool (H, W) at the annotated size: pycocotools' ``annToMask``.

    ``BadInput`` if its polygons or run lengths are malformed, or its bbox is not the mask's own box
    to about 2 % of a side. (COCO's differ by some pixels where an outline has thin tips.)
    """
    segmentation, size = annotation.get("segmentation"), (image["height"], image["width"])
    try:
        fill = _fill_runs if isinstance(segmentation, dict) else _fill_polygons
        mask = fill(segmentation, size)
        if mask.any():
            _check_box(annotation["bbox"], mask)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise BadInput(
            f"annotation {annotation['id']} of {image['file_name']} has no usable outline or box "
            f"({reason(error)}); fix it or take it out"
        ) from error
    return mask


def _check_box(bbox: Sequence[float], mask: np.ndarray) -> None:
    x0, y0, x1, y1 = tight_box(mask)
    x, y, right, bottom = bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]
    gap = np.abs([x - x0, y - y0, right - x1 - 1, bottom - y1 - 1]).max()
    outside = max(-x, -y, right - mask.shape[1], bottom - mask.shape[0])
    if gap > 5 + 0.02 * max(x1 - x0, y1 - y0) or outside > 1:
        raise ValueError(f"the bbox {bbox} is not its mask's {[x0, y0, x1 - x0 + 1, y1 - y0 + 1]}")


def _fill_polygons(polygons: Any, size: tuple[int, int]) -> np.ndarray:
    """Bool ``size`` (H, W) from lists of x, y that pycocotools' C can fill."""
    from pycocotools import mask as mask_utils

    outlines = [np.asarray(points, float).reshape(-1, 2) for points in polygons or [[]]]
    for corners in outlines:
        # Annotators overshoot the image a little, never by its size.
        if len(corners) < 3 or not (np.abs(corners) <= 2 * max(size)).all():
            raise ValueError(
                f"no polygon near {size[1]} x {size[0]} pixels: {corners.tolist()!r:.40}"
            )
        if np.abs(np.diff(corners, axis=0)).sum() > _LONGEST_OUTLINE:
            raise ValueError(f"a polygon of {len(corners)} corners is too long for memory")
    with warnings.catch_warnings():
        # pycocotools 2.0.11 still speaks an array protocol that numpy 2 calls deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        codes = mask_utils.frPyObjects([corners.ravel().tolist() for corners in outlines], *size)
        return mask_utils.decode(mask_utils.merge(codes)) > 0


def _fill_runs(segmentation: Record, size: tuple[int, int]) -> np.ndarray:
    """Bool ``size`` (H, W) from the lengths of runs down the columns, plain or compressed."""
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        counts = _decompressed(counts if isinstance(counts, bytes) else counts.encode())
    if list(segmentation["size"]) != list(size) or sum(counts) != size[0] * size[1]:
        about = f"{segmentation['size']!r:.40} and {sum(counts)} pixels"
        raise ValueError(f"run lengths of {about}, not {size[0]} x {size[1]}")
    return np.repeat(np.arange(len(counts)) % 2 > 0, counts).reshape(size[::-1]).T


def _decompressed(letters: bytes) -> list[int]:
    """Run lengths from letters of six bits, each but the first three a difference (maskApi.c)."""
    words = re.findall(rb"[P-o]{0,7}[0-O]", letters)  # of a number each, which ends below 48 + 32
    if b"".join(words) != letters:
        raise ValueError(f"run lengths {letters!r:.40} are not of COCO's letters")
    counts: list[int] = []
    for word in words:
        number = sum((letter - 48 & 31) << 5 * i for i, letter in enumerate(word))
        number -= (word[-1] - 48 >> 4) << 5 * len(word)  # the sign
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
    return counts


def _image_files(folder: Path) -> dict[str, list[Path]]:
    """Image files in ``folder`` and two levels below, by name with up to three folders before."""
    files: dict[str, list[Path]] = defaultdict(list)
    for level in ("*", "*/*", "*/*/*"):  # rglob does not enter links to another disk
        for path in sorted(folder.absolute().glob(level)):
            if path.suffix.lower() in _SUFFIXES:
                for parts in range(1, 5):
                    files["/".join(path.parts[-parts:])].append(path)
    if not files:
        raise BadInput(f"{folder} holds no image file; give the folder that holds the images")
    return files


def _read_image(record: Record, files: Mapping[str, list[Path]], size: int) -> np.ndarray:
    """uint8 (3, size, size) of the file of that name, which may carry folders."""
    # PureWindowsPath takes both kinds of slash for what they are.
    paths = files.get(PureWindowsPath(record["file_name"]).as_posix(), [])
    if len(paths) != 1:
        raise ValueError(f"{len(paths)} files have this name" if paths else "missing")
    with Image.open(paths[0]) as opened:
        annotated = record["width"], record["height"]
        if opened.size != annotated:
            raise ValueError(f"is {opened.size}, annotated as {annotated}")
        if opened.mode.startswith(("I", "F")):  # convert() would clip it to white
            raise ValueError(f"has more than 8 bits per channel (mode {opened.mode})")
        # EXIF rotation is not applied: COCO annotates stored pixels.
        rgb = opened.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)
