"""Drawn scenes of pizzas, cats and buses in COCO's format: the offline stand-in for COCO.

What varies from image to image, independently and in the same way for all three classes, is
listed in ``data/README.md``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from seghw.data.scenes.scene import Scene, draw_scene
from seghw.data.scenes.things import DISTRACTORS, WANTED
from seghw.errors import whole_number
from seghw.io import atomic_folder

__all__ = ["draw_scenes"]
# Coverage comes in quarters; more than half of a pixel leaves no room for a second owner.
_HALF = 128
_LEAST_VISIBLE = 50  # pixels; what shows less is not annotated


def draw_scenes(folder: str | Path, count: int, seed: int) -> Path:
    """Draw ``count`` scenes to a new folder: ``images/*.jpg`` and one COCO annotation file.

    About two thirds of the images hold exactly one pizza, cat or bus with both sides of its box
    at least 200 pixels long; the others hold two or three, a small one, or a crowd region. Masks
    are the visible pixels. Image i depends on ``seed`` and i alone: a longer set begins with the
    shorter one.

    Args:
        folder: where to; must be missing or empty, and is there whole or not at all.
        count: number of images, at least 1.
        seed: at least 0; the same seed gives the same pixels.

    Returns:
        The annotation file, ``folder/annotations/instances_scenes.json``.

    Raises:
        BadInput: ``count`` or ``seed`` is none of these.
        FileExistsError: the folder is there already and is not empty.
    """
    count, seed = whole_number("count", count, 1), whole_number("seed", seed, 0)
    inside = Path("annotations") / "instances_scenes.json"
    images, annotations = [], []
    with atomic_folder(folder) as temporary:
        (temporary / "images").mkdir()
        (temporary / "annotations").mkdir()
        for i in tqdm(range(count), desc="drawing scenes", unit="image", leave=False, delay=2):
            rng, name = np.random.default_rng([seed, i]), f"{i + 1:012d}.jpg"
            scene = draw_scene(rng)
            picture = scene.picture()
            picture.save(temporary / "images" / name, quality=int(rng.integers(70, 96)))
            about = {"width": picture.width, "height": picture.height}
            images.append({"id": i + 1, "license": 1, "file_name": name} | about)
            for instance in _annotations(scene):
                annotations.append({"id": len(annotations) + 1, "image_id": i + 1} | instance)
        about = {
            "info": {"description": f"Drawn pizzas, cats and buses, seed {seed}"},
            "licenses": [{"id": 1, "name": "MIT", "url": "https://opensource.org/license/mit"}],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"supercategory": kind.supercategory, "id": kind.id, "name": kind.name}
                for kind in sorted(WANTED + DISTRACTORS)
            ],
        }
        (temporary / inside).write_text(json.dumps(about), encoding="utf-8")
    return Path(folder) / inside


def _annotations(scene: Scene) -> list[dict[str, Any]]:
    """COCO's fields, without the ids, of the instances that can be seen.

    An instance has the pixels that it covers by more than half; ``area`` and ``bbox`` are of the
    mask that pycocotools makes of its segmentation.
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

    lines = contour_generator(z=np.pad(coverage, 1)).lines(_HALF + 32)
    if len(lines) > 1:
        return []
    # Contours join pixel centers, which COCO places at (0.5, 0.5), here of a padded image; every
    # third vertex stays within a pixel of them.
    return [np.round(lines[0][:-1:3] - 0.5, 1).ravel().tolist()]


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed form: alternating runs down the columns, the first one of zeros."""
    inside = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(inside, prepend=False))
    counts = np.diff(changes, prepend=0, append=inside.size).tolist()
    return {"counts": counts, "size": list(mask.shape)}
