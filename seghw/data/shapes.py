"""Look-alikes of PurdueShapes5MultiObject, drawn."""

import numpy as np
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from seghw.config import SHAPES5
from seghw.data.dataset import Box, SegmentationSet, tight_box
from seghw.errors import BadInput, whole_number

MAX_OBJECTS = 5

# Radius of the circle round a shape, in image sides: 6 to 18 pixels of 64.
_RADIUS = (0.095, 0.28)
# An object that shows less than this share of itself cannot be told by eye.
_MIN_VISIBLE = 0.25
# Two colors that differ by less than this in every channel look alike.
_MIN_CONTRAST = 48
_BACKGROUND_BELOW = 25
_PLACES_TRIED = 30


#: Of a drawn set in memory: images and masks take 8 bytes a pixel.
_MOST_BYTES = 16 << 30


def generate(count: int, seed: int, size: int = 64) -> SegmentationSet:
    """Draw a look-alike of PurdueShapes5MultiObject: one to five shapes on near-black.

    Each object has one random color, scale, rotation and place, lies inside the image whole,
    and hides what was drawn before it; at least a quarter of each stays visible. Masks and
    boxes hold visible pixels only, so the planes of an image are disjoint. Image i depends on
    ``seed``, ``size`` and i alone: a longer set begins with the shorter one.

    Args:
        count: number of images, at least 1.
        seed: at least 0; the same seed gives the same pixels.
        size: side of the square images in pixels, a positive multiple of 8.

    Returns:
        Images uint8 (count, 3, size, size), masks bool (count, 5, size, size), classes SHAPES5;
        the boxes of an image stand in the order in which its objects were drawn.

    Raises:
        BadInput: ``count``, ``seed`` or ``size`` is none of these.
    """
    count = whole_number("count", count, least=1)
    seed = whole_number("seed", seed, least=0)
    size = whole_number("size", size, least=8)
    if count * size * size * 8 > _MOST_BYTES:
        raise BadInput(f"count {count} images of {size} x {size} do not fit in memory; draw fewer")
    if size % 8:
        raise BadInput(f"size must be a multiple of 8, got {size}; try {size - size % 8}")
    images = np.empty((count, 3, size, size), np.uint8)
    masks = np.zeros((count, len(SHAPES5), size, size), np.bool_)
    boxes = []
    for i in tqdm(range(count), desc="drawing shapes", unit="image", leave=False, delay=2):
        boxes.append(_draw_image(np.random.default_rng([seed, i]), images[i], masks[i]))
    name = f"PurdueShapes5 look-alike, drawn from seed {seed}"
    return SegmentationSet(images, masks, boxes, SHAPES5, name)


def _draw_image(rng: np.random.Generator, image: np.ndarray, masks: np.ndarray) -> list[Box]:
    """Fill ``image`` (3, S, S) and ``masks`` (5, S, S), given all False; return the boxes."""
    owner = np.zeros(image.shape[1:], np.uint8)  # 0: background, k: the k-th object
    colors = [rng.integers(0, _BACKGROUND_BELOW, 3)]
    kinds, areas = [], [0]  # the background may vanish
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        kind = int(rng.integers(len(SHAPES5)))
        outline = _OUTLINES[SHAPES5[kind].name](rng)
        for _ in range(_PLACES_TRIED):
            region = _place(outline, rng, len(owner))
            trial = np.where(region, np.uint8(len(areas)), owner)
            visible = np.bincount(trial.ravel(), minlength=len(areas) + 1)
            if (visible[1:] >= _MIN_VISIBLE * np.array([*areas[1:], region.sum()])).all():
                owner = trial
                areas.append(region.sum())
                kinds.append(kind)
                colors.append(_color_unlike(colors, rng))
                break
    image[:] = np.array(colors, np.uint8)[owner].transpose(2, 0, 1)
    boxes = []
    for k, kind in enumerate(kinds, start=1):
        region = owner == k
        masks[kind] |= region
        boxes.append((kind, *tight_box(region)))
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
        if np.abs(color - np.array(others)).max(axis=1).min() >= _MIN_CONTRAST:
            return color


# Outlines are corners x + iy round 0, the farthest at distance 1.


def _rectangle(rng: np.random.Generator) -> np.ndarray:
    corner = 1 + 1j * rng.uniform(0.4, 1)
    corner /= abs(corner)
    return np.array([corner, -corner.conjugate(), -corner, corner.conjugate()])


def _triangle(rng: np.random.Generator) -> np.ndarray:
    # 0.4 rad of play keeps every angle of the triangle between 37 and 83 degrees.
    return np.exp(1j * (np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.4, 0.4, 3)))


def _disk(rng: np.random.Generator) -> np.ndarray:
    return np.exp(1j * np.linspace(0, 2 * np.pi, 48, endpoint=False))


def _oval(rng: np.random.Generator) -> np.ndarray:
    circle = _disk(rng)
    return circle.real + 1j * rng.uniform(0.4, 0.62) * circle.imag


def _star(rng: np.random.Generator) -> np.ndarray:
    return np.exp(1j * np.arange(10) * np.pi / 5) * np.tile([1, rng.uniform(0.38, 0.48)], 5)


_OUTLINES = {
    "rectangle": _rectangle,
    "triangle": _triangle,
    "disk": _disk,
    "oval": _oval,
    "star": _star,
}
