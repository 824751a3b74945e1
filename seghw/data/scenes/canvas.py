"""The canvas of a drawn scene: backdrops, painting, and whose every pixel is."""

import numpy as np
from PIL import Image, ImageDraw

from seghw.data.scenes.outlines import Color, Group, Thing, box, ellipse, grown, shade

#: Everything is painted this many times too large and averaged down, for smooth edges.
SCALE = 2


class Canvas:
    """A picture, and beside it who owns each of its pixels; things hide what was painted before.

    Args:
        backdrop: RGB image, ``SCALE`` times too large; it is painted on.
        ink: color of the outlines.
        stroke: width of the outlines in pixels of the final picture.
        light: (x, y), where the lit side of a thing lies and how far its shadow reaches in from
            the other side, as a share of its smaller extent.
    """

    def __init__(
        self, backdrop: Image.Image, ink: Color, stroke: float, light: tuple[float, float]
    ) -> None:
        self._picture = backdrop
        self._owners = Image.new("L", backdrop.size)
        self._ink, self._stroke, self._light = ink, stroke, np.array(light)

    def paint(self, thing: Thing, owner: int = 0) -> None:
        """Paint a thing, in final pixels, and give its pixels to ``owner`` (1..255; 0: no one)."""
        for group in thing:
            self._paint_group(group, owner)

    def _paint_group(self, group: Group, owner: int) -> None:
        shapes = [shape * SCALE for shape in group.shapes]
        picture, owners = ImageDraw.Draw(self._picture), ImageDraw.Draw(self._owners)
        for shape in shapes:
            outline = grown(shape, SCALE * self._stroke).ravel().tolist()
            picture.polygon(outline, self._ink)
            owners.polygon(outline, owner)
            # A sharp notch may turn the grown outline inside out, but not the shape itself.
            owners.polygon(shape.ravel().tolist(), owner)
        points = np.concatenate(shapes)
        low, high = points.min(axis=0), points.max(axis=0)
        toward_light = self._light * (high - low).min()
        # Only the part that lies in the picture, which may be none.
        corner = np.maximum(np.floor(low), 0)
        part = np.maximum(np.minimum(high + 2, self._picture.size) - corner, 1)
        width, height = (int(side) for side in part)
        # The shadow is what the silhouette, moved toward the light, leaves uncovered of itself.
        inside = Image.new("L", (width, height))
        fill = Image.new("RGB", (width, height), shade(group.color, 0.8))
        draw_inside, draw_fill = ImageDraw.Draw(inside), ImageDraw.Draw(fill)
        for shape in shapes:
            draw_inside.polygon((shape - corner).ravel().tolist(), 255)
            draw_fill.polygon((shape - corner + toward_light).ravel().tolist(), group.color)
        for detail, color in group.details:
            draw_fill.polygon((detail * SCALE - corner).ravel().tolist(), color)
        self._picture.paste(fill, (int(corner[0]), int(corner[1])), inside)

    def coverage(self, owner: int) -> np.ndarray:
        """How much of each final pixel is the owner's, uint8 (H, W), 255 for all of it."""
        of_owner = self._owners.point([255 * (value == owner) for value in range(256)])
        return np.asarray(of_owner.reduce(SCALE))

    def picture(self, rng: np.random.Generator) -> Image.Image:
        """The final picture, RGB, under uneven light and with the noise of a sensor."""
        picture = self._picture.reduce(SCALE)
        width, height = picture.size
        left, right = np.linspace(*rng.uniform(0.75, 1.1, (2, 2)), height, dtype=np.float32).T
        across = np.linspace(0, 1, width, dtype=np.float32)
        gain = left[:, None] * (1 - across) + right[:, None] * across
        gain += rng.standard_normal(gain.shape, np.float32) * np.float32(rng.uniform(0, 0.03))
        pixels = np.asarray(picture) * gain[..., None]
        return Image.fromarray(np.minimum(pixels, 255, out=pixels).astype(np.uint8))


def backdrop(
    rng: np.random.Generator, size: tuple[int, int], colors: tuple[Color, Color]
) -> Image.Image:
    """An RGB image of ``size`` (width, height) in two colors and one of seven patterns."""
    kind = int(rng.integers(2 + len(_PATTERNS)))
    if kind == 0:  # a gradient from side to side or from top to bottom
        ends = np.array([colors], np.uint8)
        return _stretched(ends if rng.uniform() < 0.5 else ends.transpose(1, 0, 2), size)
    if kind == 1:  # blotches
        share = rng.uniform(0, 1, (*rng.integers(4, 9, 2), 1))
        return _stretched(np.uint8(colors[0] * share + colors[1] * (1 - share)), size)
    image = Image.new("RGB", size, colors[0])
    draw = ImageDraw.Draw(image)
    period = rng.uniform(0.08, 0.22) * min(size)
    for polygon in _PATTERNS[kind - 2](rng, np.array(size), period):
        draw.polygon(polygon.ravel().tolist(), colors[1])
    return image


def _stretched(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    small = Image.fromarray(np.ascontiguousarray(pixels))
    return small.resize(size, Image.Resampling.BILINEAR)


# Patterns: polygons to be filled with the second color. ``size`` is (width, height), ``period``
# the distance at which they repeat, all in pixels.
def _plain(rng: np.random.Generator, size: np.ndarray, period: float) -> list[np.ndarray]:
    return []


def _floor(rng: np.random.Generator, size: np.ndarray, period: float) -> list[np.ndarray]:
    return [box(0, rng.uniform(0.45, 0.8) * size[1], *size)]


def _stripes(rng: np.random.Generator, size: np.ndarray, period: float) -> list[np.ndarray]:
    angle, reach = rng.uniform(0, np.pi), np.hypot(*size)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    starts = np.arange(-reach / 2, reach / 2, 2 * period)
    return [box(-reach, y, reach, y + period) @ turn.T + size / 2 for y in starts]


def _checks(rng: np.random.Generator, size: np.ndarray, period: float) -> list[np.ndarray]:
    columns, rows = np.ceil(size / period).astype(int)
    places = [(x, y) for y in range(rows) for x in range(y % 2, columns, 2)]
    return [box(0, 0, period, period) + np.multiply(place, period) for place in places]


def _dots(rng: np.random.Generator, size: np.ndarray, period: float) -> list[np.ndarray]:
    columns, rows = np.ceil(size / period).astype(int)
    radius = rng.uniform(0.2, 0.36) * period
    dot = ellipse(0, 0, radius, radius, 24)
    places = [(x + y % 2 / 2, y) for y in range(rows + 1) for x in range(columns + 1)]
    return [dot + np.multiply(place, period) for place in places]


_PATTERNS = (_plain, _floor, _stripes, _checks, _dots)
