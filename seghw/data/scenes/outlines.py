"""What drawn scenes are made of: colors, outlines, and things built of both.

A ``Thing`` is a list of ``Group``, from back to front: filled outlines and the details painted
on them, in coordinates of its own (about -1..1, x to the right, y down) until it is placed.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]  # RGB, 0..255
Detail = tuple[np.ndarray, Color]  # float (points, 2) and its fill

INK: Color = (38, 34, 44)  # of small dark details


class Group(NamedTuple):
    """Shapes of one color under one outline, and the details that are clipped by them."""

    shapes: list[np.ndarray]  # float (points, 2) each; their union is the silhouette
    color: Color
    details: Sequence[Detail] = ()  # from back to front


Thing = list[Group]
T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of ``options`` at random."""
    return options[int(rng.integers(len(options)))]


def any_color(rng: np.random.Generator) -> Color:
    """A color of any hue, neither gray nor dark; every thing takes its own from here."""
    hsv = rng.uniform((0, 0.25, 0.72), (1, 0.75, 1))
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*hsv))


def shade(color: Color, factor: float) -> Color:
    """Darker below 1 (0 is black), lighter above 1 (2 is white)."""
    goal = 0 if factor < 1 else 255
    return tuple(round(part + (goal - part) * abs(factor - 1)) for part in color)


def contrasting(rng: np.random.Generator, *others: Color) -> Color:
    """A random color at least 110 RGB units from each of ``others``, if eight tries find one."""
    tried: list[tuple[float, Color]] = []
    while len(tried) < 8 and (not tried or tried[-1][0] < 110):
        color = any_color(rng)
        tried.append((min(math.dist(color, other) for other in others), color))
    return max(tried, key=lambda pair: pair[0])[1]


def ellipse(x: float, y: float, rx: float, ry: float, points: int = 40) -> np.ndarray:
    """An ellipse round (x, y), float (points, 2)."""
    angle = np.arange(points) * (2 * np.pi / points)
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


_QUARTERS = ellipse(0, 0, 1, 1, 28).reshape(4, 7, 2)  # of a circle, for the corners of a box


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> np.ndarray:
    """An upright rectangle with corners of ``radius``, float (28, 2)."""
    left, top, right, bottom = x0 + radius, y0 + radius, x1 - radius, y1 - radius
    corners = np.array([(right, bottom), (left, bottom), (left, top), (right, top)])
    return (corners[:, None] + radius * _QUARTERS).reshape(-1, 2)


def smooth(points: Sequence[tuple[float, float]], rounds: int = 3) -> np.ndarray:
    """A closed polygon with its corners cut (G. Chaikin's algorithm, 1974).

    A point given twice keeps its corner sharper.
    """
    corners = np.asarray(points, dtype=float)
    for _ in range(rounds):
        after = np.roll(corners, -1, axis=0)
        cut = np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], axis=1)
        corners = cut.reshape(-1, 2)
    return corners


def ribbon(points: Sequence[tuple[float, float]], width: float) -> np.ndarray:
    """A band along the cubic Bezier curve of four points, round at its far end."""
    a, b, c, d = np.asarray(points, dtype=float)
    t = np.linspace(0, 1, 18)[:, None]
    line = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
    along = np.gradient(line, axis=0)
    along *= width / 2 / np.linalg.norm(along, axis=1, keepdims=True)
    across = along[:, ::-1] * (-1, 1)
    turn = np.linspace(np.pi / 2, -np.pi / 2, 8)[1:-1, None]
    cap = line[-1] + np.sin(turn) * across[-1] + np.cos(turn) * along[-1]
    return np.concatenate([line + across, cap, (line - across)[::-1]])


def grown(outline: np.ndarray, width: float) -> np.ndarray:
    """A closed outline, float (points, 2), with each point moved outward by ``width``."""
    before, after = np.roll(outline, 1, axis=0), np.roll(outline, -1, axis=0)
    x, y = (after - before).T
    # The sign of the area says which way round the outline runs (shoelace formula).
    turn = np.sign(np.sum(outline[:, 0] * after[:, 1] - outline[:, 1] * after[:, 0]))
    length = np.maximum(np.hypot(x, y), 1e-9)
    return outline + width * turn * np.column_stack([y / length, -x / length])


def rotation(angle: float) -> np.ndarray:
    """The matrix of a turn by ``angle``, in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def transform(thing: Thing, matrix: np.ndarray, offset: Sequence[float] = (0, 0)) -> Thing:
    """The thing with every point p moved to ``matrix @ p + offset``."""
    turned = np.asarray(matrix).T

    def moved(points: np.ndarray) -> np.ndarray:
        return points @ turned + offset

    return [
        Group([*map(moved, shapes)], color, [(moved(points), fill) for points, fill in details])
        for shapes, color, details in thing
    ]


def bounds(thing: Thing) -> tuple[np.ndarray, np.ndarray]:
    """The upper left and the lower right corner (x, y) of the box round a thing."""
    points = np.concatenate([shape for group in thing for shape in group.shapes])
    return points.min(axis=0), points.max(axis=0)


def silhouette_share(thing: Thing) -> float:
    """The share of its box that a thing fills, in (0, 1], to about 0.02."""
    low, high = bounds(thing)
    picture = Image.new("1", (64, 64))
    for shape in (shape for group in thing for shape in group.shapes):
        corners = (shape - low) / (high - low) * 64
        ImageDraw.Draw(picture).polygon(corners.ravel().tolist(), fill=1)
    return float(np.asarray(picture).mean())
