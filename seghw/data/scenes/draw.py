"""Drawn scenes of pizzas, cats and buses in COCO's format: the offline stand-in for COCO.

What varies from image to image, each independently of the others and in the same way for all
three classes, is listed in ``data/README.md``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from seghw.data.scenes.scene import Scene, draw_scene
from seghw.data.scenes.things import DISTRACTORS, WANTED
from seghw.errors import BadInput, whole_number
from seghw.io import atomic_folder

# Coverage comes in quarters; more than half of a pixel leaves no room for a second owner.
_HALF = 128
_LEAST_VISIBLE = 50  # pixels; what shows less is not annotated
_CATEGORIES = [
    {"supercategory": kind.supercategory, "id": kind.id, "name": kind.name}
    for kind in sorted(WANTED + DISTRACTORS)
]


def draw_scenes(
    folder: str | Path, count: int, seed: int, size: tuple[int, int] = (384, 320)
) -> Path:
    """Draw ``count`` scenes to a new folder: ``images/*.jpg`` and one COCO annotation file.

    About two thirds of the images hold exactly one pizza, cat or bus with both sides of its box
    at least 200 pixels long; the others hold two or three, a small one, or a crowd region.
    Masks are the visible pixels. An instance in one piece without holes is annotated by a
    polygon, any other by run lengths. Image i depends on ``seed``, ``size`` and i alone: a
    longer set begins with the shorter one.

    Args:
        folder: where to; must be missing or empty, and is there whole or not at all.
        count: number of images, at least 1.
        seed: at least 0; the same seed gives the same pixels.
        size: (width, height) in pixels of the largest image, 280 to 1024 each; the sides of an
            image are 85 to 100 % of these, and one image in four stands upright.

    Returns:
        The annotation file, ``folder/annotations/instances_scenes.json``.

    Raises:
        BadInput: ``count``, ``seed`` or ``size`` is none of these.
        FileExistsError: the folder is there already and is not empty.
    """
    count, seed = whole_number("count", count, 1), whole_number("seed", seed, 0)
    sides = size if isinstance(size, tuple) and len(size) == 2 else (0,)
    if not all(isinstance(side, int) and 280 <= side <= 1024 for side in sides):
        raise BadInput(f"size must be (width, height), each from 280 to 1024 pixels, got {size!r}")
    inside = Path("annotations") / "instances_scenes.json"
    images, annotations = [], []
    with atomic_folder(folder) as temporary:
        (temporary / "images").mkdir()
        (temporary / "annotations").mkdir()
        for i in tqdm(range(count), desc="drawing scenes", unit="image", leave=False, delay=2):
            image, instances = _draw_image(temporary / "images", i, seed, size)
            images.append(image)
            for instance in instances:
                annotations.append({"id": len(annotations) + 1, "image_id": i + 1} | instance)
        about = {
            "info": {"description": f"Drawn pizzas, cats and buses, seed {seed}"},
            "licenses": [{"id": 1, "name": "MIT", "url": "https://opensource.org/license/mit"}],
            "images": images,
            "annotations": annotations,
            "categories": _CATEGORIES,
        }
        (temporary / inside).write_text(json.dumps(about), encoding="utf-8")
    return Path(folder) / inside


def _draw_image(
    folder: Path, i: int, seed: int, size: tuple[int, int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write image ``i``; its entry of "images", and those of "annotations" without the ids."""
    rng = np.random.default_rng([seed, i])
    scene = draw_scene(rng, *size)
    picture, name = scene.picture(), f"{i + 1:012d}.jpg"
    picture.save(folder / name, quality=int(rng.integers(70, 96)))
    sides = {"width": picture.width, "height": picture.height}
    return {"id": i + 1, "license": 1, "file_name": name} | sides, _annotations(scene)


def _annotations(scene: Scene) -> list[dict[str, Any]]:
    """COCO's fields, without the ids, of all instances of a scene that can be seen.

    An instance's pixels are those that it covers by more than half; ``area`` and ``bbox`` (x, y,
    width, height) are of the mask that pycocotools makes of its segmentation.
    """
    from pycocotools import mask as coco_mask

    instances = []
    for owner, (kind, crowd) in enumerate(scene.instances, start=1):
        coverage = scene.coverage(owner)
        if np.count_nonzero(coverage > _HALF) < _LEAST_VISIBLE:
            continue
        segmentation = _polygon(coverage) if not crowd else None
        segmentation = segmentation or _run_lengths(coverage > _HALF)
        encoded = coco_mask.frPyObjects(segmentation, *coverage.shape)
        encoded = encoded[0] if isinstance(encoded, list) else encoded
        area, bbox = float(coco_mask.area(encoded)), coco_mask.toBbox(encoded).tolist()
        about = {"category_id": kind.id, "segmentation": segmentation, "area": area, "bbox": bbox}
        instances.append(about | {"iscrowd": int(crowd)})
    return instances


def _polygon(coverage: np.ndarray) -> list[list[float]]:
    """The outline of what is in one piece without holes, [[x, y, x, y, ...]]; else empty."""
    from contourpy import contour_generator

    rows, columns = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    patch = np.pad(coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    lines = contour_generator(z=patch).lines(_HALF + 32)
    if len(lines) > 1:
        return []
    # Contours join pixel centers, which COCO places at (0.5, 0.5), here of a padded patch;
    # every third vertex stays within a pixel of them.
    corners = np.add(lines[0][:-1:3], (columns[0] - 0.5, rows[0] - 0.5))
    return [np.round(corners, 1).ravel().tolist()]


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed form: alternating runs down the columns, the first one of zeros."""
    inside = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(inside, prepend=False))
    counts = np.diff(changes, prepend=0, append=inside.size).tolist()
    return {"counts": counts, "size": list(mask.shape)}
