"""COCO's annotation files: checked before anything of them reaches pycocotools' C.

The format is https://cocodataset.org/#format-data. A polygon of endless or huge coordinates, or
run lengths of another image, would end the interpreter there.
"""

import json
import warnings
from collections import Counter
from collections.abc import Mapping
from operator import index
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from seghw.data.dataset import tight_box
from seghw.errors import BadInput, reason

Record = Mapping[str, Any]
_FORMAT: dict[str, dict[str, Any]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int}
    | {"license": int | None, "flickr_url": str | None, "coco_url": str | None},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list}
    | {"iscrowd": int | None},
    "categories": {"id": int, "name": str},
    "licenses": {"id": int, "name": str | None, "url": str | None},
}
# Of an image (Pillow refuses more), and the length of a polygon.
_MOST_PIXELS, _LONGEST_OUTLINE = 178_956_970, 1e6


def read_annotations(source: str | Path | Record) -> Mapping[str, list[Record]]:
    """COCO's lists "images", "annotations", "categories" and "licenses", checked.

    Args:
        source: path of an ``instances_*.json``, or what ``json`` or pycocotools read from one.

    Raises:
        BadInput: the file is missing, not JSON, or not COCO's instance format.
    """
    dataset = getattr(source, "dataset", source)
    try:
        if isinstance(source, str | Path):
            dataset = json.loads(Path(source).read_bytes())
        _check_format(dataset)
    except (OSError, ValueError, RecursionError) as error:
        name = source if isinstance(source, str | Path) else "what was given"
        raise BadInput(
            f"{name} is not COCO's instance format ({reason(error)}); give its instances_*.json"
        ) from error
    return dataset


def _check_format(dataset: Any) -> None:
    if not isinstance(dataset, dict):
        raise ValueError(f"it holds a {type(dataset).__name__}")
    dataset.setdefault("licenses", [])
    for part, fields in _FORMAT.items():
        records = dataset.get(part)
        if not isinstance(records, list):
            raise ValueError(f"it has no list of {part!r}")
        for record in records:
            values = record if isinstance(record, dict) else {}
            for field, kind in fields.items():
                if not isinstance(values.get(field), kind):
                    raise ValueError(f"{part} hold {record!r:.60}, without a proper {field!r}")
        for number, count in Counter(record["id"] for record in records).most_common(1):
            if count > 1:
                raise ValueError(
                    f"the id {number} stands twice in {part}; number merged files anew"
                )
    for image in dataset["images"]:
        width, height = image["width"], image["height"]
        if not (0 < width < 1 << 16 and 0 < height < 1 << 16 and width * height <= _MOST_PIXELS):
            raise ValueError(f"image {image['id']} is said to have {width} x {height} pixels")
        if not PureWindowsPath(image["file_name"]).name:
            raise ValueError(f"image {image['id']} has no file's name")
    for annotation in dataset["annotations"]:
        box = annotation["bbox"]
        if len(box) != 4 or not all(isinstance(v, int | float) and abs(v) < 1e9 for v in box):
            raise ValueError(
                f"annotation {annotation['id']} has the bbox {box!r:.60}, not [x, y, width, height]"
            )


def instance_mask(image: Record, annotation: Record) -> np.ndarray:
    """One instance as bool (H, W) at the annotated size: pycocotools' ``annToMask``.

    Raises:
        BadInput: its polygons or run lengths are malformed, or its bbox is not the mask's own box
            to about 2 % of a side. (COCO's differ by some pixels where an outline has thin tips.)
    """
    from pycocotools import mask as mask_utils

    segmentation, size = annotation.get("segmentation"), (image["height"], image["width"])
    try:
        if not segmentation:
            raise ValueError("it has no segmentation")
        if isinstance(segmentation, dict):
            code: Any = {"counts": _run_lengths(segmentation, size), "size": size}
        else:
            code = [_polygon(points, size) for points in segmentation]
        with warnings.catch_warnings():
            # pycocotools 2.0.11 still speaks an array protocol that numpy 2 calls deprecated.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            code = mask_utils.frPyObjects(code, *size)
            code = mask_utils.merge(code) if isinstance(code, list) else code
            mask = mask_utils.decode(code).astype(np.bool_)
        if mask.any():
            _check_box(annotation["bbox"], mask)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise BadInput(
            f"annotation {annotation['id']} of {image['file_name']} has no usable outline or box "
            f"({reason(error)}); fix it or take it out"
        ) from error
    return mask


def _polygon(points: list[float], size: tuple[int, int]) -> list[float]:
    """``points`` if pycocotools can fill them: x, y of three corners or more."""
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        raise ValueError(f"{points!r:.40} is no polygon: x, y of three corners or more")
    for value in points:
        # Annotators overshoot the image a little, never by its size.
        if isinstance(value, bool | str) or not abs(value) <= 2 * max(size):
            raise ValueError(f"{value!r:.20} is no coordinate of {size[1]} x {size[0]} pixels")
    if np.abs(np.diff(np.reshape(points, (-1, 2)), axis=0)).sum() > _LONGEST_OUTLINE:
        raise ValueError(f"a polygon of {len(points) // 2} corners is too long for memory")
    return points


def _run_lengths(segmentation: Record, size: tuple[int, int]) -> list[int]:
    """The run lengths of ``segmentation``, plain or compressed, if they fill the image exactly."""
    if list(segmentation["size"]) != list(size):
        raise ValueError(f"run lengths of {segmentation['size']!r:.40}, not {list(size)}")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        counts = _decompressed(counts if isinstance(counts, bytes) else counts.encode())
    counts = list(map(index, counts))
    if min(counts) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(counts)} pixels, not {size[0]} x {size[1]}")
    return counts


def _decompressed(letters: bytes) -> list[int]:
    """Run lengths from letters of six bits, each but the first three a difference (maskApi.c)."""
    counts, number, shift = [], 0, 0
    for letter in letters:
        bits = letter - 48
        number |= (bits & 31) << shift
        shift += 5
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError(f"run lengths {letters!r:.40} are not of COCO's letters")
        if not bits & 32:
            number -= (bits >> 4) << shift  # the sign
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise ValueError("run lengths end within a number")
    return counts


def _check_box(bbox: list[float], mask: np.ndarray) -> None:
    x0, y0, x1, y1 = tight_box(mask)
    x, y, width, height = bbox
    gaps = np.abs([x - x0, y - y0, x + width - x1 - 1, y + height - y1 - 1])
    outside = max(-x, -y, x + width - mask.shape[1], y + height - mask.shape[0])
    if gaps.max() > 5 + 0.02 * max(x1 - x0, y1 - y0) or outside > 1:
        raise ValueError(f"the bbox {bbox} is not its mask's {[x0, y0, x1 - x0 + 1, y1 - y0 + 1]}")
