"""Look-alikes of PurdueShapes5MultiObject, drawn."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from seghw.config import SHAPES5
from seghw.data.dataset import Box, SegmentationSet, blank, tight_box
from seghw.errors import whole_number

_RADIUS = (0.095, 0.28)  # of the circle round a shape, in image sides: 6 to 18 pixels of 64
_LEAST_VISIBLE = 0.25  # share of an object
_LEAST_CONTRAST = 48  # of two colors, in the channel where they differ most
_PLACES_TRIED = 30


def generate(count: int, seed: int, size: int = 64) -> SegmentationSet:
    """Draw a look-alike of PurdueShapes5MultiObject: one to five shapes on near-black.

    Each object has one random color, lies inside the image whole, and hides what was drawn before
    it; a quarter of each at least stays visible. Masks and boxes hold visible pixels only. Image i
    depends on ``seed``, ``size`` and i alone: a longer set begins with the shorter one.

    Args:
        count: number of images, at least 1.
        seed: at least 0; the same seed gives the same pixels.
        size: side of the square images in pixels, a positive multiple of 8.

    Returns:
        Images uint8 (count, 3, size, size), masks bool (count, 5, size, size), classes SHAPES5;
        the boxes of an image stand in the order in which its objects were drawn.
    """
    count, seed = whole_number("count", count, least=1), whole_number("seed", seed, least=0)
    images, masks = blank(count, len(SHAPES5), size)
    boxes = []
    for i in tqdm(range(count), desc="drawing shapes", unit="image", leave=False, delay=2):
        boxes.append(_draw_image(np.random.default_rng([seed, i]), images[i], masks[i]))
    name = f"PurdueShapes5 look-alike, drawn from seed {seed}"
    return SegmentationSet(images, masks, boxes, SHAPES5, name)


def _draw_image(rng: np.random.Generator, image: np.ndarray, masks: np.ndarray) -> list[Box]:
    """Fill ``image`` (3, S, S) and ``masks`` (5, S, S), given all False; return the boxes."""
    owner = np.zeros(image.shape[1:], np.uint8)  # 0: background, k: the k-th object
    colors = [rng.integers(0, 25, 3)]
    kinds, areas = [], [0]  # the background may vanish
    for _ in range(rng.integers(1, 6)):
        kind = int(rng.integers(len(SHAPES5)))
        outline = _OUTLINES[SHAPES5[kind].name](rng)
        for _ in range(_PLACES_TRIED):
            region = _place(outline, rng, len(owner))
            trial = np.where(region, np.uint8(len(areas)), owner)
            visible = np.bincount(trial.ravel(), minlength=len(areas) + 1)
            if (visible[1:] >= _LEAST_VISIBLE * np.array([*areas[1:], region.sum()])).all():
                owner = trial
                areas.append(region.sum())
                kinds.append(kind)
                colors.append(_color_unlike(colors, rng))
                break
    image[:] = np.array(colors, np.uint8)[owner].transpose(2, 0, 1)
    boxes = []
    for k, kind in enumerate(kinds, start=1):
        masks[kind] |= owner == k
        boxes.append((kind, *tight_box(owner == k)))
    return boxes


def _place(outline: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Scale, turn and move ``outline`` at random; bool (size, size), true inside it."""
    radius = rng.uniform(*_RADIUS) * size
    center = complex(*rng.uniform(radius, size - 1 - radius, 2))
    points = center + outline * radius * np.exp(2j * np.pi * rng.random())
    canvas = Image.new("L", (size, size))
    ImageDraw.Draw(canvas).polygon(points.view(float).tolist(), fill=1)
    return np.asarray(canvas, np.bool_)


def _color_unlike(others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    while True:  # five colors rule out less than a third of the cube
        color = rng.integers(0, 256, 3)
        if np.abs(color - np.array(others)).max(axis=1).min() >= _LEAST_CONTRAST:
            return color


def _rectangle(rng: np.random.Generator) -> np.ndarray:
    corner = 1 + 1j * rng.uniform(0.4, 1)
    corner /= abs(corner)
    return np.array([corner, -corner.conjugate(), -corner, corner.conjugate()])


_CIRCLE = np.exp(1j * np.linspace(0, 2 * np.pi, 48, endpoint=False))
#: Corners x + iy round 0, the farthest at distance 1.
_OUTLINES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "rectangle": _rectangle,
    # 0.4 rad of play keeps every angle between 37 and 83 degrees.
    "triangle": lambda rng: np.exp(1j * (np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.4, 0.4, 3))),
    "disk": lambda rng: _CIRCLE,
    "oval": lambda rng: _CIRCLE.real + 1j * rng.uniform(0.4, 0.62) * _CIRCLE.imag,
    "star": lambda rng: (
        np.exp(1j * np.arange(10) * np.pi / 5) * np.tile([1, rng.uniform(0.38, 0.48)], 5)
    ),
}
