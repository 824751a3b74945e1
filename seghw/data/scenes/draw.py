"""Drawn scenes of pizzas, cats and buses in COCO's format: the offline stand-in for COCO.

Everything below varies from image to image, each independently of the others and, where it
could tell the classes apart by itself, in the same way for all three:

- the image: width, height, upright or not, JPEG quality;
- the backdrop: plain, two-part, gradient, blotches, stripes, checks or dots; its two colors;
- light: where the shadow falls, how deep, brightness across the image, noise;
- the outline: its ink, dark or pale, and its width;
- the objects: how many, which, where, how large, rotation, stretch, mirror image, body color;
- the pizza: slant, missing slice, crust, cuts, sausage or olives, leaves, all their colors;
- the cat: sitting, lying or standing, plain, striped or patched, ears, tail, legs, eyes, colors;
- the bus: side or front, one or two decks, windows, wheels, door, trim, glass, colors;
- in front: none, a bar, or one of six other COCO categories hides up to about 15 %;
- behind: blank disks, ellipses, boxes and triangles, and more of those six categories.
"""

import json
import operator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from seghw.data.scenes.layout import Scene, draw_scene
from seghw.data.scenes.things import DISTRACTORS, WANTED
from seghw.errors import BadInput, whole_number
from seghw.io import atomic_folder

# Coverage comes in quarters; more than half of a pixel leaves no room for a second owner.
_HALF = 128
_LEAST_VISIBLE = 50  # pixels; what shows less is not annotated


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
    width, height = _checked_size(size)
    inside = Path("annotations") / "instances_scenes.json"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with atomic_folder(folder) as temporary:
        (temporary / "images").mkdir()
        (temporary / "annotations").mkdir()
        for i in tqdm(range(count), desc="drawing scenes", unit="image", leave=False, delay=2):
            rng = np.random.default_rng([seed, i])
            scene = draw_scene(rng, width, height)
            picture = scene.canvas.picture(rng)
            name = f"{i + 1:012d}.jpg"
            picture.save(temporary / "images" / name, quality=int(rng.integers(70, 96)))
            images.append(
                {"id": i + 1, "license": 1, "file_name": name}
                | {"width": picture.width, "height": picture.height}
            )
            for found in _annotations(scene):
                annotations.append({"id": len(annotations) + 1, "image_id": i + 1, **found})
        about = {"info": {"description": f"Drawn pizzas, cats and buses, seed {seed}"}}
        about["licenses"] = [{"id": 1, "name": "MIT", "url": "https://opensource.org/license/mit"}]
        about |= {"images": images, "annotations": annotations, "categories": _categories()}
        (temporary / inside).write_text(json.dumps(about), encoding="utf-8")
    return Path(folder) / inside


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        width, height = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        width = height = 0
    if not (280 <= width <= 1024 and 280 <= height <= 1024):
        raise BadInput(f"size must be (width, height), each from 280 to 1024 pixels, got {size!r}")
    return width, height


def _categories() -> list[dict[str, Any]]:
    kinds = sorted((*WANTED, *DISTRACTORS), key=lambda kind: kind.id)
    return [
        {"supercategory": kind.supercategory, "id": kind.id, "name": kind.name} for kind in kinds
    ]


def _annotations(scene: Scene) -> list[dict[str, Any]]:
    """COCO's fields, without the ids, of all instances of a scene that can be seen."""
    found = []
    for owner, (kind, crowd) in enumerate(scene.instances, start=1):
        coverage = scene.canvas.coverage(owner)
        if np.count_nonzero(coverage > _HALF) >= _LEAST_VISIBLE:
            found.append({"category_id": kind.id, **_segmentation(coverage, crowd)})
    return found


def _segmentation(coverage: np.ndarray, crowd: bool) -> dict[str, Any]:
    """COCO's fields for the pixels of uint8 (H, W) ``coverage`` that are covered by more than half.

    ``area`` and ``bbox`` (x, y, width, height) are of the mask that pycocotools makes of it.
    """
    from contourpy import contour_generator
    from pycocotools import mask as coco_mask

    height, width = coverage.shape
    rows, columns = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    patch = np.pad(coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    outlines = [] if crowd else contour_generator(z=patch).lines(_HALF + 32)
    if len(outlines) == 1:
        # Contours join pixel centers, which COCO places at (0.5, 0.5), here of a padded patch;
        # every third vertex keeps the polygon within a pixel of them.
        corners = np.add(outlines[0][:-1:3], (columns[0] - 0.5, rows[0] - 0.5))
        segmentation: Any = [np.round(corners, 1).ravel().tolist()]
        encoded = coco_mask.frPyObjects(segmentation, height, width)[0]
    else:
        inside = (coverage > _HALF).ravel(order="F")
        changes = np.flatnonzero(np.diff(inside, prepend=False))
        counts = np.diff(changes, prepend=0, append=inside.size).tolist()
        segmentation = {"counts": counts, "size": [height, width]}
        encoded = coco_mask.frPyObjects(segmentation, height, width)
    return {
        "segmentation": segmentation,
        "area": float(coco_mask.area(encoded)),
        "bbox": coco_mask.toBbox(encoded).tolist(),
        "iscrowd": int(crowd),
    }
