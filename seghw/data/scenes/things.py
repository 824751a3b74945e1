"""Pizzas, cats, buses and clutter: what tells the classes apart is outline and texture.

A ``Thing`` is a list of ``Group``, from back to front: filled outlines and the details painted
on them, in coordinates of its own (about -1..1, x to the right, y down) until it is placed.
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.Generator
Color = tuple[int, int, int]  # RGB, 0..255
Detail = tuple[np.ndarray, Color]  # float (points, 2) and its fill

INK: Color = (38, 34, 44)  # of small dark details
TIRE: Color = (62, 60, 68)
SIDES = (-1, 1)


class Group(NamedTuple):
    """Shapes of one color under one outline, and the details that are clipped by them."""

    shapes: list[np.ndarray]  # float (points, 2) each; their union is the silhouette
    color: Color
    details: Sequence[Detail] = ()  # from back to front


Thing = list[Group]


def pick(rng: Rng, options: Sequence) -> Any:
    return options[int(rng.integers(len(options)))]


def any_color(rng: Rng) -> Color:
    """A color of any hue, neither gray nor dark; every thing takes its own from here."""
    hsv = rng.uniform((0, 0.25, 0.72), (1, 0.75, 1))
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*hsv))


def shade(color: Color, factor: float) -> Color:
    """Darker below 1 (0 is black), lighter above 1 (2 is white)."""
    goal = 0 if factor < 1 else 255
    return tuple(round(part + (goal - part) * abs(factor - 1)) for part in color)


def contrasting(rng: Rng, *others: Color) -> Color:
    """A random color at least 110 RGB units from each of ``others``, if eight tries find one."""
    tried: list[tuple[float, Color]] = []
    while len(tried) < 8 and (not tried or tried[-1][0] < 110):
        color = any_color(rng)
        tried.append((min(math.dist(color, other) for other in others), color))
    return max(tried, key=lambda pair: pair[0])[1]


def polar(radius: Any, angle: Any) -> np.ndarray:
    """x, y, float (2,) or (points, 2)."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def ellipse(x: float, y: float, rx: float, ry: float, points: int = 40) -> np.ndarray:
    """An ellipse round (x, y), float (points, 2)."""
    angle = np.arange(points) * (2 * np.pi / points)
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


DISK = ellipse(0, 0, 1, 1)
_QUARTERS = ellipse(0, 0, 1, 1, 28).reshape(4, 7, 2)  # of a circle, for the corners of a box


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> np.ndarray:
    """An upright rectangle with corners of ``radius``, float (28, 2)."""
    left, top, right, bottom = x0 + radius, y0 + radius, x1 - radius, y1 - radius
    corners = np.array([(right, bottom), (left, bottom), (left, top), (right, top)])
    return (corners[:, None] + radius * _QUARTERS).reshape(-1, 2)


def smooth(points: Sequence[tuple[float, float]], rounds: int = 3) -> np.ndarray:
    """A closed polygon with its corners cut (G. Chaikin, 1974); one given twice stays sharper."""
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
    return [
        Group(
            [shape @ turned + offset for shape in shapes],
            color,
            [(points @ turned + offset, fill) for points, fill in details],
        )
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


def pizza(rng: Rng, color: Color) -> Thing:
    """A disk with a crust and toppings, seen from above or aslant; it may lack a slice."""
    missing = rng.uniform(0.5, 1.1) if rng.uniform() < 0.4 else 0.0
    start, sweep = rng.uniform(0, 2 * np.pi) + missing, 2 * np.pi - missing
    lobes, bulge = int(rng.integers(5, 12)), rng.uniform(0.0, 0.012)

    def disk(radius: float, inset: float) -> np.ndarray:
        angle = np.linspace(start + inset, start + sweep - inset, 72)
        edge = polar(radius * (1 + bulge * np.cos(lobes * angle)), angle)
        return np.vstack([edge, (0, 0)]) if missing else edge

    rim, cheese = rng.uniform(0.8, 0.88), shade(color, 1.25)
    details = [(disk(rim + 0.035, 0.0), contrasting(rng, color)), (disk(rim, 0.02), cheese)]
    slices = 2 * int(rng.integers(0, 4))
    for angle in start + sweep * np.arange(slices) / max(slices, 1):
        end = polar(rim, angle)
        side = 0.013 * np.array([-np.sin(angle), np.cos(angle)])
        details.append((np.array([side, end + side, end - side, -side]), shade(cheese, 0.75)))
    details += _toppings(rng, cheese, rim, start, sweep)
    leaf_color = contrasting(rng, cheese)
    for _ in range(int(rng.integers(3, 9))):
        angle, turn = start + sweep * rng.uniform(0.1, 0.9), rng.uniform(0, np.pi)
        at = rng.uniform(0.25, 0.7) * polar(1, angle)
        details.append((ellipse(0, 0, 0.095, 0.045, 16) @ rotation(turn).T + at, leaf_color))
    thing = [Group([disk(1.0, 0.0)], shade(color, rng.uniform(0.7, 0.9)), details)]
    return transform(thing, np.diag([1.0, rng.uniform(0.75, 1.0)]))


def _toppings(rng: Rng, cheese: Color, rim: float, start: float, sweep: float) -> list[Detail]:
    """Sausage or olives that keep clear of each other and of the missing slice."""
    color = contrasting(rng, cheese)
    size, rings = rng.uniform(0.1, 0.17), rng.uniform() < 0.3
    outer, middle = (color, cheese) if rings else (shade(color, 0.72), color)
    inner = (0.45 if rings else 0.8) * size
    taken: list[np.ndarray] = []
    wanted, tries = int(rng.integers(7, 15)), 60
    while len(taken) < wanted and tries:
        tries -= 1
        radius, angle = (rim - size) * np.sqrt(rng.uniform()), start + rng.uniform() * sweep
        at = polar(radius, angle)
        to_cut = min(angle - start, start + sweep - angle, np.pi / 2)
        on_cut = sweep < 6.28 and radius * np.sin(to_cut) < size
        if not on_cut and all(np.hypot(*(at - other)) >= 2.1 * size for other in taken):
            taken.append(at)
    disks = ((size, 24, outer), (inner, 20, middle))
    return [(ellipse(*at, r, r, points), fill) for at in taken for r, points, fill in disks]


class Coat(NamedTuple):
    color: Color
    mark: Color  # of stripes and patches
    pale: Color  # of paws, chest and muzzle
    pattern: str

    def marks(self, rng: Rng, x0: float, y0: float, x1: float, y1: float) -> list[Detail]:
        """Stripes or patches over a box; the body clips them."""
        if self.pattern == "stripes":
            xs = np.linspace(x0, x1, int(rng.integers(6, 9)))[1:-1]
            half, low = 0.3 * (xs[1] - xs[0]), y0 + rng.uniform(0.4, 0.6) * (y1 - y0)
            top = y0 - 0.2
            return [(np.array([(x - half, top), (x + half, top), (x, low)]), self.mark) for x in xs]
        if self.pattern == "patches":
            centers, radii = rng.uniform((x0, y0), (x1, y1), (3, 2)), rng.uniform(0.15, 0.3, (3, 2))
            radii *= (x1 - x0, y1 - y0)
            return [(ellipse(*each), self.mark) for each in np.hstack([centers, radii])]
        return []


def cat(rng: Rng, color: Color) -> Thing:
    mark = contrasting(rng, color) if rng.uniform() < 0.5 else shade(color, 0.62)
    pale = shade(color, rng.uniform(1.4, 1.7))
    coat = Coat(color, mark, pale, pick(rng, ("plain", "stripes", "patches")))
    return pick(rng, (_sitting, _lying, _standing))(rng, coat)


def _sitting(rng: Rng, coat: Coat) -> Thing:
    wide, up = rng.uniform(0.62, 0.75), rng.uniform(0.0, 0.45)
    body = _mirrored((0.3, -0.4), (wide, 0.4), (wide, 1.05))
    tail = ribbon([(0.35, 0.9), (1.2, 1.05), (0.8, 0.6), (rng.uniform(0.82, 0.98), up)], 0.21)
    details = [*coat.marks(rng, -wide, 0.0, wide, 1.0), (ellipse(0, 0.35, 0.27, 0.4), coat.pale)]
    paws = Group([ellipse(side * 0.22, 0.92, 0.19, 0.12) for side in SIDES], coat.pale)
    head = _head(rng, coat, (rng.uniform(-0.1, 0.1), -0.38), 0.5)
    return [Group([tail, smooth(body)], coat.color, details), paws, head]


def _lying(rng: Rng, coat: Coat) -> Thing:
    corners = [(-1, 0.0), (-0.6, -0.35), (0.4, -0.3), (0.95, 0.1), (0.95, 0.72), (-1, 0.72)]
    up = rng.uniform(-0.6, -0.1)
    tail = ribbon([(-0.8, 0.5), (-1.5, 0.6), (-0.9, 0.0), (rng.uniform(-1.4, -1.1), up)], 0.22)
    torso = Group([tail, smooth(corners)], coat.color, coat.marks(rng, -0.9, -0.25, 0.5, 0.7))
    paws = Group([ellipse(x, 0.66, 0.22, 0.12) for x in (0.35, 0.85)], coat.pale)
    return [torso, paws, _head(rng, coat, (0.5, rng.uniform(-0.3, -0.1)), 0.5)]


def _standing(rng: Rng, coat: Coat) -> Thing:
    corners = [(-0.85, -0.15), (-0.5, -0.3), (0.5, -0.3), (0.75, 0.0), (0.72, 0.64), (-0.85, 0.64)]
    step, swing = rng.uniform(-0.08, 0.08), rng.uniform(-0.2, 0.2)
    feet = (-0.72, -0.4 + step, 0.25 - step, 0.55)
    legs = [box(x - 0.17, 0.1, x + 0.17, 0.95, 0.16) for x in feet]
    tail = ribbon([(-0.65, 0.0), (-1.15, 0.0), (-0.8 + swing, -0.45), (-1.0 + swing, -0.72)], 0.22)
    details = coat.marks(rng, -0.7, -0.3, 0.5, 0.5)
    details += [(box(x - 0.2, 0.8, x + 0.2, 1.0), coat.pale) for x in feet]
    near = Group([tail, legs[0], legs[3], smooth(corners)], coat.color, details)
    head = _head(rng, coat, (0.62, rng.uniform(-0.5, -0.35)), 0.47)
    return [Group(legs[1:3], shade(coat.color, 0.8)), near, head]


def _head(rng: Rng, coat: Coat, center: tuple[float, float], r: float) -> Group:
    tip_x, tip_y = 0.72 + rng.uniform(0.0, 0.25), -0.62 - rng.uniform(0.55, 0.85)

    def ear(side: int, size: float) -> np.ndarray:
        tip = (side * tip_x, tip_y)
        corners = np.array([(side * 0.98, -0.2), tip, tip, (side * 0.12, -0.8)])
        middle = corners.mean(axis=0)
        return smooth(middle + (corners - middle) * size)

    details = [(ear(side, 0.6), coat.pale) for side in SIDES]
    details += coat.marks(rng, -0.8, -0.9, 0.8, 0.4)
    details.append((ellipse(0, 0.48, 0.52, 0.36), coat.pale))
    awake, iris = rng.uniform() < 0.75, shade(contrasting(rng, coat.color), 1.3)
    for side in SIDES:
        eye = side * 0.45
        lid = [(eye - 0.2, -0.1), (eye - 0.1, 0.1), (eye + 0.1, 0.1), (eye + 0.2, -0.1)]
        smile = [(0, 0.4), (0, 0.6), (side * 0.2, 0.65), (side * 0.3, 0.5)]
        if awake:
            details += [
                (ellipse(eye, -0.05, 0.24, 0.26, 24), iris),
                (ellipse(eye, -0.05, 0.11, 0.24, 20), INK),
                (ellipse(eye + 0.07, -0.14, 0.06, 0.06, 12), (255, 255, 255)),
            ]
        else:
            details.append((ribbon(lid, 0.07), INK))
        details.append((ribbon(smile, 0.05), INK))
        for rise in (0.35, 0.52):
            whisker = [(0.45, rise), (0.6, rise), (0.8, rise - 0.03), (1.0, rise - 0.07)]
            details.append((ribbon([(side * a, b) for a, b in whisker], 0.035), INK))
    details.append((smooth([(-0.14, 0.27), (0.14, 0.27), (0, 0.45)], 2), INK))
    head = Group([ear(-1, 1), ear(1, 1), ellipse(0, 0, 1.08, 0.92)], coat.color, details)
    return transform([head], np.diag([r, r]), center)[0]


def _mirrored(*right: tuple[float, float]) -> list[tuple[float, float]]:
    """Corners on the right side, and the same on the left."""
    return [*right, *((-x, y) for x, y in reversed(right))]


def bus(rng: Rng, color: Color) -> Thing:
    glass, trim = contrasting(rng, color), contrasting(rng, color)
    view = _bus_front if rng.uniform() < 0.35 else _bus_side
    return view(rng, color, shade(glass, rng.uniform(0.7, 1.5)), trim)


def _bus_side(rng: Rng, color: Color, glass: Color, trim: Color) -> Thing:
    double = rng.uniform() < 0.5
    rows = [(-0.72, -0.37), (-0.2, 0.13)] if double else [(-0.47, 0.1)]
    count, frame = int(rng.integers(3, 6)), shade(glass, 0.65)
    details = [(box(-1.1, 0.22, 1.1, rng.uniform(0.3, 0.45)), trim)]
    for top, bottom in rows:
        edges = np.linspace(-0.93, 0.9 if double and top < -0.5 else 0.55, count + 1)
        for x0, x1 in zip(edges[:-1] + 0.03, edges[1:] - 0.03, strict=True):
            details.append((box(x0, top, x1, bottom, 0.05), frame))
            details.append((box(x0 + 0.02, top + 0.03, x1, bottom, 0.05), glass))
    top = rows[-1][0]
    for x in (0.61, 0.78):  # the door
        details.append((box(x, top, x + 0.15, 0.54, 0.03), frame))
        details.append((box(x + 0.02, top + 0.03, x + 0.15, 0.52, 0.03), shade(glass, 1.2)))
    details.append((box(0.92, 0.58, 1.1, 0.66), (255, 240, 190)))
    details.append((box(-1.1, 0.45, -0.93, 0.55), (200, 60, 60)))
    body = Group([box(-1, -0.85 if double else -0.62, 1, 0.7, 0.14)], color, details)
    radius, hub = rng.uniform(0.18, 0.23), shade(trim, 1.2)
    wheel, cap = (ellipse(0, 0.69, r, r, n) for r, n in ((radius, 40), (0.55 * radius, 24)))
    shift = np.array([(-0.55, 0), (0.5, 0)])
    return [body, *(Group([wheel + at], TIRE, [(cap + at, hub)]) for at in shift)]


def _bus_front(rng: Rng, color: Color, glass: Color, trim: Color) -> Thing:
    gleam, lamp = shade(glass, 1.35), shade(trim, 1.6)
    details = [
        (box(-0.45, -0.86, 0.45, -0.68, 0.05), shade(trim, 0.4)),
        (box(-0.34, -0.81, 0.34, -0.73, 0.03), (255, 225, 140)),
        (box(-0.7, -0.6, 0.7, 0.14, 0.1), shade(glass, 0.65)),
        (box(-0.68, -0.58, -0.02, 0.12, 0.08), glass),
        (box(0.02, -0.58, 0.68, 0.12, 0.08), glass),
        (np.array([(-0.5, 0.1), (-0.25, -0.55), (-0.1, -0.55), (-0.35, 0.1)]), gleam),
        (np.array([(0.2, 0.1), (0.45, -0.55), (0.6, -0.55), (0.35, 0.1)]), gleam),
        (box(-0.9, 0.22, 0.9, rng.uniform(0.28, 0.36)), trim),
        (box(-0.3, 0.46, 0.3, 0.62, 0.05), shade(color, 0.6)),
        *((ellipse(side * 0.58, 0.53, 0.14, 0.12, 24), lamp) for side in SIDES),
        (box(-0.9, 0.72, 0.9, 0.9), shade(color, 0.7)),
    ]
    wheels = [box(side * 0.58 - 0.14, 0.6, side * 0.58 + 0.14, 0.98, 0.08) for side in SIDES]
    mirrors = [box(side * 0.92 - 0.09, -0.5, side * 0.92 + 0.09, -0.1, 0.06) for side in SIDES]
    body = Group([box(-0.8, -0.95, 0.8, 0.82, 0.16)], color, details)
    return [Group(wheels, TIRE), Group(mirrors, shade(color, 0.7)), body]


def _suitcase(rng: Rng, color: Color) -> Thing:
    strap = contrasting(rng, color)
    straps = [(box(x - 0.09, -1, x + 0.09, 1), strap) for x in (-0.5, 0.5)]
    handle = Group([box(-0.3, -0.9, 0.3, -0.5, 0.1)], shade(strap, 0.6))
    return [handle, Group([box(-1, -0.7, 1, 0.75, 0.15)], color, straps)]


def _frisbee(rng: Rng, color: Color) -> Thing:
    return [Group([ellipse(0, 0, 1, rng.uniform(0.8, 1.0))], color)]


def _ball(rng: Rng, color: Color) -> Thing:
    band = ribbon([(-1.1, -0.3), (-0.3, 0.3), (0.3, 0.3), (1.1, -0.3)], 0.3)
    return [Group([DISK], color, [(band, contrasting(rng, color))])]


def _bottle(rng: Rng, color: Color) -> Thing:
    body = _mirrored((0.14, -1), (0.14, -1), (0.14, -0.4), (0.4, -0.1), (0.4, 1), (0.4, 1))
    label = (box(-0.5, 0.2, 0.5, 0.7), contrasting(rng, color))
    return [Group([smooth(body, 2)], color, [label, (box(-0.3, -1, 0.3, -0.8), shade(color, 0.5))])]


def _book(rng: Rng, color: Color) -> Thing:
    title = (box(-0.25, -0.6, 0.45, -0.3), contrasting(rng, color))
    back = (box(-0.7, -1, -0.5, 1), shade(color, 0.6))
    return [Group([box(-0.7, -1, 0.7, 1, 0.06)], color, [back, title])]


def _clock(rng: Rng, color: Color) -> Thing:
    ends = [polar(length, rng.uniform(0, 2 * np.pi)) for length in (0.5, 0.75)]
    hands = [(ribbon(np.outer((0, 0.3, 0.6, 1), end), 0.1), INK) for end in ends]
    return [Group([DISK], color, [(ellipse(0, 0, 0.82, 0.82), shade(color, 1.7)), *hands])]


def blank(rng: Rng, color: Color) -> Thing:
    """A disk, an ellipse, a rounded box or a triangle, without any detail."""
    peak = rng.uniform(-0.5, 0.5)
    flat, tall = ellipse(0, 0, 1, rng.uniform(0.5, 0.8)), box(-1, -rng.uniform(0.5, 1), 1, 0.7, 0.2)
    triangle = smooth([(-1, 0.8), (-1, 0.8), (1, 0.8), (1, 0.8), (peak, -1), (peak, -1)])
    return [Group([pick(rng, (DISK, flat, tall, triangle))], color)]


class Kind(NamedTuple):
    """One of COCO's categories, and how to draw it."""

    id: int
    name: str
    supercategory: str
    draw: Callable[[Rng, Color], Thing]


#: The three classes of the homework.
WANTED = (
    Kind(6, "bus", "vehicle", bus),
    Kind(17, "cat", "animal", cat),
    Kind(59, "pizza", "food", pizza),
)
#: What else stands about, also in front of them.
DISTRACTORS = (
    Kind(33, "suitcase", "accessory", _suitcase),
    Kind(34, "frisbee", "sports", _frisbee),
    Kind(37, "sports ball", "sports", _ball),
    Kind(44, "bottle", "kitchen", _bottle),
    Kind(84, "book", "indoor", _book),
    Kind(85, "clock", "indoor", _clock),
)
