"""One drawn scene: its backdrop, what stands in it, where, how large and in front of what."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from seghw.data.scenes import things as t

#: Everything is painted this many times too large and averaged down, for smooth edges.
SCALE = 2
SIZE = np.array([384, 320])  # width and height of the largest picture
# The homework asks for boxes of 200 x 200; some more, since what stands in front may cut some off.
_LARGE_BOX = 212
_MARGIN = 5  # pixels between an object and the border


class Scene:
    """A picture of 85 to 100 % of ``SIZE``, lying or upright, and who owns each of its pixels.

    Attributes:
        extent: (width, height) of the final picture in pixels, the unit of all lengths here.
        instances: one (kind, is a crowd) an instance, owned by 1, 2, ... in this order.
    """

    def __init__(self, rng: t.Rng) -> None:
        self.rng, self.instances = rng, []
        self.extent = np.round(SIZE * rng.uniform(0.85, 1.0, 2)).astype(int)
        if rng.uniform() < 0.25:
            self.extent = self.extent[::-1]
        pale = (1.15, 1.75) if rng.uniform() < 0.7 else (0.45, 0.85)
        first = t.shade(t.any_color(rng), rng.uniform(*pale))
        alike = rng.uniform() < 0.75
        second = t.shade(first, rng.uniform(0.8, 1.3)) if alike else t.any_color(rng)
        self._behind = (first, second)
        self._ink = t.shade(t.any_color(rng), 0.2 if rng.uniform() < 0.92 else 1.85)
        # Where the lit side of a thing lies, and how far its shadow reaches in from the other
        # side, as a share of its smaller extent.
        toward, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.07)
        self._light = t.polar(depth, toward)
        self._picture = _backdrop(rng, self.extent * SCALE, first, second)
        self._owners = Image.new("L", self._picture.size)
        self._stroke = rng.uniform(2.0, 4.0) * self.extent.min() / 300

    def color(self) -> t.Color:
        """A color that stands out from the backdrop."""
        return t.contrasting(self.rng, *self._behind)

    def draw(self, variant: Callable[[t.Rng, t.Color], t.Thing]) -> t.Thing:
        """One in a body color of its own, turned, stretched, and one in two mirrored."""
        thing = variant(self.rng, self.color())
        stretch, mirror = self.rng.uniform(0.9, 1.12), self.rng.choice([-1.0, 1.0])
        turn = t.rotation(self.rng.normal(0, 0.12))
        return t.transform(thing, turn @ np.diag([mirror * stretch, 1]))

    def add(self, kind: t.Kind, *parts: t.Thing, crowd: bool = False) -> None:
        """Paint the things as one instance."""
        self.instances.append((kind, crowd))
        for thing in parts:
            self.paint(thing, len(self.instances))

    def add_any(
        self, kinds: Sequence[t.Kind], shares: tuple[float, float], of: float, center: np.ndarray
    ) -> None:
        """One of ``kinds`` at ``center``; its area is a random share between two ``of`` an area."""
        kind = t.pick(self.rng, kinds)
        area = self.rng.uniform(*shares) * of
        self.add(kind, _placed(self.draw(kind.draw), area, center))

    def paint(self, thing: t.Thing, owner: int = 0) -> None:
        """Paint a thing over what is there and give its pixels to ``owner`` (0: no one)."""
        picture, owners = ImageDraw.Draw(self._picture), ImageDraw.Draw(self._owners)
        for group in t.transform(thing, np.diag([SCALE, SCALE])):
            for shape in group.shapes:
                outline = t.grown(shape, SCALE * self._stroke).ravel().tolist()
                picture.polygon(outline, self._ink)
                owners.polygon(outline, owner)
                # A sharp notch may turn the grown outline inside out, but not the shape itself.
                owners.polygon(shape.ravel().tolist(), owner)
            self._fill(group)

    def _fill(self, group: t.Group) -> None:
        """Paint a group's color, shadow and details inside its silhouette."""
        low, high = t.bounds([group])
        # Only the part that lies in the picture, which may be none.
        corner = np.maximum(np.floor(low), 0)
        part = np.maximum(np.minimum(high + 2, self._picture.size) - corner, 1)
        size = tuple(int(side) for side in part)
        # The shadow is what the silhouette, moved toward the light, leaves uncovered of itself.
        inside, fill = Image.new("L", size), Image.new("RGB", size, t.shade(group.color, 0.8))
        for shape in group.shapes:
            ImageDraw.Draw(inside).polygon((shape - corner).ravel().tolist(), 255)
        toward_light = self._light * (high - low).min()
        lit = [(shape + toward_light, group.color) for shape in group.shapes]
        for points, color in (*lit, *group.details):
            ImageDraw.Draw(fill).polygon((points - corner).ravel().tolist(), color)
        self._picture.paste(fill, (int(corner[0]), int(corner[1])), inside)

    def coverage(self, owner: int) -> np.ndarray:
        """How much of each final pixel is the owner's, uint8 (H, W), 255 for all of it."""
        of_owner = self._owners.point([255 * (value == owner) for value in range(256)])
        return np.asarray(of_owner.reduce(SCALE))

    def picture(self) -> Image.Image:
        """The final picture, RGB, under uneven light and with the noise of a sensor."""
        picture, rng = self._picture.reduce(SCALE), self.rng
        width, height = picture.size
        left, right = np.linspace(*rng.uniform(0.75, 1.1, (2, 2)), height, dtype=np.float32).T
        across = np.linspace(0, 1, width, dtype=np.float32)
        gain = left[:, None] * (1 - across) + right[:, None] * across
        gain += rng.standard_normal(gain.shape, np.float32) * np.float32(rng.uniform(0, 0.03))
        return Image.fromarray(np.minimum(picture * gain[..., None], 255).astype(np.uint8))


def draw_scene(rng: t.Rng) -> Scene:
    scene = Scene(rng)
    for _ in range(int(rng.integers(1, 5))):  # clutter
        area = (rng.uniform(0.1, 0.42) * scene.extent.min()) ** 2
        center = rng.uniform(0, 1, 2) * scene.extent
        if rng.uniform() < 0.75:
            scene.paint(_placed(scene.draw(t.blank), area, center))
        else:
            kind = t.pick(rng, t.DISTRACTORS)
            scene.add(kind, _placed(scene.draw(kind.draw), area, center))
    # Shares of the images; the homework's rule takes nearly all of the first and no other.
    compositions = (_add_large, _add_several, _add_small, _add_crowd)
    compositions[int(rng.choice(4, p=[0.67, 0.16, 0.11, 0.06]))](scene, rng)
    return scene


def _add_large(scene: Scene, rng: t.Rng) -> None:
    kind = t.pick(rng, t.WANTED)
    thing = scene.draw(kind.draw)
    area = rng.uniform(0.35, 0.53) * scene.extent.prod()
    thing = _placed_inside(scene, thing, area, least=_LARGE_BOX)
    scene.add(kind, thing)
    if rng.uniform() < 0.35:
        _occlude(scene, thing)


def _occlude(scene: Scene, thing: t.Thing) -> None:
    """Put a bar across a thing, or something at its edge."""
    rng, (low, high) = scene.rng, t.bounds(thing)
    center = low + rng.uniform(0.1, 0.9, 2) * (high - low)
    if rng.uniform() < 0.25:
        half = rng.uniform(0.02, 0.03) * scene.extent.min()
        length = scene.extent.sum()  # reaches across the image from anywhere at any angle
        bar = [t.Group([t.box(-length, -half, length, half, half)], scene.color())]
        scene.paint(t.transform(bar, t.rotation(rng.uniform(0, np.pi)), center))
    else:
        axis = int(rng.integers(2))
        center[axis] = t.pick(rng, (low, high))[axis]
        scene.add_any(t.DISTRACTORS, (0.03, 0.11), (high - low).prod(), center)


def _add_several(scene: Scene, rng: t.Rng) -> None:
    """Two or three wanted objects side by side, in any order from back to front."""
    count, longer = int(rng.integers(2, 4)), int(np.argmax(scene.extent))
    cell = scene.extent.astype(float)
    cell[longer] /= count
    for place in rng.permutation(count):
        center = cell / 2 + rng.uniform(-0.08, 0.08, 2) * scene.extent
        center[longer] += place * cell[longer]
        scene.add_any(t.WANTED, (0.35, 0.6), cell.min() ** 2, center)


def _add_small(scene: Scene, rng: t.Rng) -> None:
    kind = t.pick(rng, t.WANTED)
    area = rng.uniform(0.04, 0.16) * scene.extent.prod()
    scene.add(kind, _placed_inside(scene, scene.draw(kind.draw), area))


def _add_crowd(scene: Scene, rng: t.Rng) -> None:
    """A row of one kind, annotated as one region, as COCO does."""
    count = int(rng.integers(5, 9))
    kind, row = t.pick(rng, t.WANTED), []
    step, level = scene.extent[0] / count, rng.uniform(0.3, 0.7) * scene.extent[1]
    for place in range(count):
        center = ((place + 0.5) * step, level + rng.uniform(-0.5, 0.5) * step)
        row.append(_placed(scene.draw(kind.draw), 0.9 * step * step, center))
    scene.add(kind, *row, crowd=True)


def _placed(thing: t.Thing, area: float, center: np.ndarray | tuple[float, float]) -> t.Thing:
    """Scaled to a silhouette of ``area`` and moved to ``center``."""
    low, high = t.bounds(thing)
    scale = np.sqrt(area / (t.silhouette_share(thing) * (high - low).prod()))
    return t.transform(thing, np.diag([scale, scale]), center - scale * (low + high) / 2)


def _placed_inside(scene: Scene, thing: t.Thing, area: float, least: float = 0.0) -> t.Thing:
    """Anywhere inside the image; stretched to fit, and to a box of ``least`` on both sides."""
    thing = _placed(thing, area, (0, 0))
    low, high = t.bounds(thing)
    room = scene.extent - 2 * _MARGIN
    span = np.maximum(np.minimum(high - low, room), least)
    center = _MARGIN + span / 2 + scene.rng.uniform(0, 1, 2) * (room - span)
    return t.transform(thing, np.diag(span / (high - low)), center)


def _backdrop(rng: t.Rng, size: np.ndarray, first: t.Color, second: t.Color) -> Image.Image:
    """An RGB image of ``size`` (width, height) in two colors and one of seven patterns."""
    kind, sides = int(rng.integers(7)), tuple(size.tolist())
    if kind < 2:
        if kind == 0:  # a gradient from side to side or from top to bottom
            shares = np.array([[1, 0]] if rng.uniform() < 0.5 else [[1], [0]])[..., None]
        else:  # blotches
            shares = rng.uniform(0, 1, (*rng.integers(4, 9, 2), 1))
        small = np.multiply(first, shares) + np.multiply(second, 1 - shares)
        return Image.fromarray(np.uint8(small)).resize(sides, Image.Resampling.BILINEAR)
    image = Image.new("RGB", sides, first)
    for polygon in _pattern(rng, kind, size):
        ImageDraw.Draw(image).polygon(polygon.ravel().tolist(), second)
    return image


def _pattern(rng: t.Rng, kind: int, size: np.ndarray) -> list[np.ndarray]:
    """Polygons for the second color, most of them repeated."""
    period = rng.uniform(0.08, 0.22) * min(size)
    columns, rows = np.ceil(size / period).astype(int)
    if kind == 2:  # plain
        return []
    if kind == 3:  # a floor
        return [t.box(0, rng.uniform(0.45, 0.8) * size[1], *size)]
    if kind == 4:  # stripes
        turn, reach = t.rotation(rng.uniform(0, np.pi)), np.hypot(*size)
        starts = np.arange(-reach / 2, reach / 2, 2 * period)
        return [t.box(-reach, y, reach, y + period) @ turn.T + size / 2 for y in starts]
    if kind == 5:  # checks
        tile = t.box(0, 0, period, period)
        places = [(x, y) for y in range(rows) for x in range(y % 2, columns, 2)]
    else:  # dots
        radius = rng.uniform(0.2, 0.36) * period
        tile = t.ellipse(0, 0, radius, radius, 24)
        places = [(x + y % 2 / 2, y) for y in range(rows + 1) for x in range(columns + 1)]
    return [tile + np.multiply(place, period) for place in places]
