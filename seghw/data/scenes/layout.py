"""How a drawn scene is laid out: what stands in it, where, how large and in front of what."""

from dataclasses import dataclass, field

import numpy as np

from seghw.data.scenes.canvas import SCALE, Canvas, backdrop
from seghw.data.scenes.outlines import (
    Color,
    Group,
    Thing,
    any_color,
    bounds,
    box,
    contrasting,
    shade,
    silhouette_share,
    transform,
)
from seghw.data.scenes.things import DISTRACTORS, WANTED, Kind, blank

# The homework asks for boxes of 200 x 200; some more, since what stands in front may cut some off.
_LARGE_BOX = 212
_MARGIN = 5  # pixels between an object and the border


@dataclass
class Scene:
    """One image in the making; lengths and areas are in its final pixels."""

    rng: np.random.Generator
    canvas: Canvas
    extent: np.ndarray  # (width, height)
    behind: tuple[Color, Color]  # colors of the backdrop
    # One (kind, is a crowd) an instance; the canvas numbers their owners 1, 2, ... in this order.
    instances: list[tuple[Kind, bool]] = field(default_factory=list)

    def draw(self, kind: Kind) -> Thing:
        """One of its kind, in a pose and a body color of its own."""
        return _posed(self.rng, kind.draw(self.rng, contrasting(self.rng, self.behind)))

    def add(self, kind: Kind, *things: Thing, crowd: bool = False) -> None:
        """Paint the things as one instance."""
        self.instances.append((kind, crowd))
        for thing in things:
            self.canvas.paint(thing, len(self.instances))


def draw_scene(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Paint one scene at random, at most ``width`` x ``height`` pixels large (or upright)."""
    extent = np.round((width, height) * rng.uniform(0.85, 1.0, 2)).astype(int)
    if rng.uniform() < 0.25:
        extent = extent[::-1]
    pale = rng.uniform() < 0.7
    first = shade(any_color(rng), rng.uniform(1.15, 1.75) if pale else rng.uniform(0.45, 0.85))
    alike = rng.uniform() < 0.75
    second = shade(first, rng.uniform(0.8, 1.3)) if alike else any_color(rng)
    ink = shade(any_color(rng), 0.2 if rng.uniform() < 0.92 else 1.85)
    toward, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.07)
    light = (depth * np.cos(toward), depth * np.sin(toward))
    behind = backdrop(rng, tuple(int(side) * SCALE for side in extent), (first, second))
    stroke = rng.uniform(2.0, 4.0) * extent.min() / 300
    scene = Scene(rng, Canvas(behind, ink, stroke, light), extent, (first, second))
    for _ in range(int(rng.integers(1, 5))):
        _add_clutter(scene)
    # Shares of the images; the homework's rule takes nearly all of the first and no other.
    compositions = (_add_large, _add_several, _add_small, _add_crowd)
    compositions[int(rng.choice(4, p=[0.67, 0.16, 0.11, 0.06]))](scene)
    return scene


def _add_clutter(scene: Scene) -> None:
    rng = scene.rng
    side = rng.uniform(0.1, 0.42) * scene.extent.min()
    center = rng.uniform(0, 1, 2) * scene.extent
    if rng.uniform() < 0.75:
        thing = _posed(rng, blank(rng, contrasting(rng, scene.behind)))
        scene.canvas.paint(_placed(thing, side * side, center))
    else:
        kind = _any_kind(rng, DISTRACTORS)
        scene.add(kind, _placed(scene.draw(kind), side * side, center))


def _add_large(scene: Scene) -> None:
    kind = _any_kind(scene.rng, WANTED)
    thing = scene.draw(kind)
    area = scene.rng.uniform(0.35, 0.53) * scene.extent.prod()
    thing = _placed_inside(scene, thing, area, least=_LARGE_BOX)
    scene.add(kind, thing)
    if scene.rng.uniform() < 0.35:
        _occlude(scene, thing)


def _occlude(scene: Scene, thing: Thing) -> None:
    """Put a bar across a thing, or something at its edge."""
    rng = scene.rng
    low, high = bounds(thing)
    center = low + rng.uniform(0.1, 0.9, 2) * (high - low)
    if rng.uniform() < 0.25:
        half = rng.uniform(0.02, 0.03) * scene.extent.min()
        length = scene.extent.sum()  # reaches across the image from anywhere at any angle
        bar = [Group([box(-length, -half, length, half, half)], contrasting(rng, scene.behind))]
        scene.canvas.paint(transform(bar, _rotation(rng.uniform(0, np.pi)), center))
        return
    axis = int(rng.integers(2))
    center[axis] = (low, high)[int(rng.integers(2))][axis]
    kind = _any_kind(rng, DISTRACTORS)
    area = rng.uniform(0.03, 0.11) * (high - low).prod()
    scene.add(kind, _placed(scene.draw(kind), area, center))


def _add_several(scene: Scene) -> None:
    """Two or three wanted objects side by side, in any order from back to front."""
    rng, count = scene.rng, int(scene.rng.integers(2, 4))
    longer = int(np.argmax(scene.extent))
    cell = scene.extent.astype(float)
    cell[longer] /= count
    for place in rng.permutation(count):
        center = cell / 2 + rng.uniform(-0.08, 0.08, 2) * scene.extent
        center[longer] += place * cell[longer]
        kind = _any_kind(rng, WANTED)
        area = rng.uniform(0.35, 0.6) * cell.min() ** 2
        scene.add(kind, _placed(scene.draw(kind), area, center))


def _add_small(scene: Scene) -> None:
    kind = _any_kind(scene.rng, WANTED)
    area = scene.rng.uniform(0.04, 0.16) * scene.extent.prod()
    scene.add(kind, _placed_inside(scene, scene.draw(kind), area))


def _add_crowd(scene: Scene) -> None:
    """A row of one kind, annotated as one region, as COCO does."""
    rng, count = scene.rng, int(scene.rng.integers(5, 9))
    kind = _any_kind(rng, WANTED)
    step = scene.extent[0] / count
    level = rng.uniform(0.3, 0.7) * scene.extent[1]
    things = []
    for place in range(count):
        center = ((place + 0.5) * step, level + rng.uniform(-0.5, 0.5) * step)
        things.append(_placed(scene.draw(kind), 0.9 * step * step, center))
    scene.add(kind, *things, crowd=True)


def _any_kind(rng: np.random.Generator, kinds: tuple[Kind, ...]) -> Kind:
    return kinds[int(rng.integers(len(kinds)))]


def _rotation(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _posed(rng: np.random.Generator, thing: Thing) -> Thing:
    """Turned by some degrees, stretched a little, and one in two mirrored."""
    stretch, mirror = rng.uniform(0.9, 1.12), rng.choice([-1.0, 1.0])
    return transform(thing, _rotation(rng.normal(0, 0.12)) @ np.diag([mirror * stretch, 1]))


def _placed(thing: Thing, area: float, center: np.ndarray | tuple[float, float]) -> Thing:
    """Scaled to a silhouette of ``area`` and moved to ``center``."""
    low, high = bounds(thing)
    scale = np.sqrt(area / (silhouette_share(thing) * (high - low).prod()))
    return transform(thing, np.diag([scale, scale]), center - scale * (low + high) / 2)


def _placed_inside(scene: Scene, thing: Thing, area: float, least: float = 0.0) -> Thing:
    """Scaled to ``area``, anywhere inside the image.

    If it does not fit, or its box is less than ``least`` wide or high, it is stretched to that.
    """
    thing = _placed(thing, area, (0, 0))
    low, high = bounds(thing)
    room = scene.extent - 2 * _MARGIN
    span = np.maximum(np.minimum(high - low, room), least)
    center = _MARGIN + span / 2 + scene.rng.uniform(0, 1, 2) * (room - span)
    return transform(thing, np.diag(span / (high - low)), center)
