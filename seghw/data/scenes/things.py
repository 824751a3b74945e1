"""The things in drawn scenes: pizzas, cats, buses, what stands in front of them, and clutter.

Each function draws one variant at random, in the body color it is given. What tells the classes
apart is outline and texture; the clutter shares the outlines (disks, boxes) without the texture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seghw.data.scenes.cats import cat
from seghw.data.scenes.outlines import (
    INK,
    Color,
    Detail,
    Group,
    Thing,
    box,
    contrasting,
    ellipse,
    ribbon,
    shade,
    smooth,
    transform,
)

TIRE = (62, 60, 68)


def pizza(rng: np.random.Generator, color: Color) -> Thing:
    """A disk with a crust and toppings, seen from above or aslant; it may lack a slice."""
    missing = rng.uniform(0.5, 1.1) if rng.uniform() < 0.4 else 0.0
    start, sweep = rng.uniform(0, 2 * np.pi) + missing, 2 * np.pi - missing
    lobes, bulge = int(rng.integers(5, 12)), rng.uniform(0.0, 0.012)

    def disk(radius: float, inset: float) -> np.ndarray:
        angle = np.linspace(start + inset, start + sweep - inset, 72)
        r = radius * (1 + bulge * np.cos(lobes * angle))
        rim = np.column_stack([r * np.cos(angle), r * np.sin(angle)])
        return np.vstack([rim, (0, 0)]) if missing else rim

    rim, cheese = rng.uniform(0.8, 0.88), shade(color, 1.25)
    details = [(disk(rim + 0.035, 0.0), contrasting(rng, [color])), (disk(rim, 0.02), cheese)]
    slices = 2 * int(rng.integers(0, 4))
    for angle in start + sweep * np.arange(slices) / max(slices, 1):
        end = rim * np.array([np.cos(angle), np.sin(angle)])
        side = 0.013 * np.array([-np.sin(angle), np.cos(angle)])
        details.append((np.array([side, end + side, end - side, -side]), shade(cheese, 0.75)))
    details += _toppings(rng, cheese, rim, start, sweep)
    thing = [Group([disk(1.0, 0.0)], shade(color, rng.uniform(0.7, 0.9)), details)]
    return transform(thing, np.diag([1.0, rng.uniform(0.75, 1.0)]))


def _toppings(
    rng: np.random.Generator, cheese: Color, rim: float, start: float, sweep: float
) -> list[Detail]:
    """Slices of sausage, or rings of olive, that keep clear of each other, and some leaves."""
    color, size, rings = contrasting(rng, [cheese]), rng.uniform(0.1, 0.17), rng.uniform() < 0.3
    details: list[Detail] = []
    taken: list[np.ndarray] = []
    wanted = int(rng.integers(7, 15))
    for _ in range(60):
        radius, angle = (rim - size) * np.sqrt(rng.uniform()), start + rng.uniform() * sweep
        at = radius * np.array([np.cos(angle), np.sin(angle)])
        to_cut = min(angle - start, start + sweep - angle, np.pi / 2)
        on_cut = sweep < 6.28 and radius * np.sin(to_cut) < size
        if on_cut or any(np.hypot(*(at - other)) < 2.1 * size for other in taken):
            continue
        taken.append(at)
        inner = 0.45 if rings else 0.8
        details.append((ellipse(*at, size, size, 24), color if rings else shade(color, 0.72)))
        details.append((ellipse(*at, inner * size, inner * size, 20), cheese if rings else color))
        if len(taken) == wanted:
            break
    leaf_color = contrasting(rng, [cheese])
    for _ in range(int(rng.integers(3, 9))):
        angle, turn = start + sweep * rng.uniform(0.1, 0.9), rng.uniform(0, np.pi)
        at = rng.uniform(0.25, 0.7) * np.array([np.cos(angle), np.sin(angle)])
        along, across = ellipse(0, 0, 0.095, 0.045, 16).T
        leaf = np.outer(along, [np.cos(turn), np.sin(turn)])
        leaf += np.outer(across, [-np.sin(turn), np.cos(turn)])
        details.append((leaf + at, leaf_color))
    return details


def bus(rng: np.random.Generator, color: Color) -> Thing:
    """A bus from the side, with one or two decks, or from the front."""
    glass, trim = contrasting(rng, [color]), contrasting(rng, [color])
    view = _bus_front if rng.uniform() < 0.35 else _bus_side
    return view(rng, color, shade(glass, rng.uniform(0.7, 1.5)), trim)


def _bus_side(rng: np.random.Generator, color: Color, glass: Color, trim: Color) -> Thing:
    double = rng.uniform() < 0.5
    rows = [(-0.72, -0.37), (-0.2, 0.13)] if double else [(-0.47, 0.1)]
    count, frame = int(rng.integers(3, 6)), shade(glass, 0.65)
    details = [(box(-1.1, 0.22, 1.1, rng.uniform(0.3, 0.45)), trim)]
    for top, bottom in rows:
        right = 0.9 if double and top < -0.5 else 0.55
        edges = np.linspace(-0.93, right, count + 1)
        for x0, x1 in zip(edges[:-1] + 0.03, edges[1:] - 0.03, strict=True):
            details.append((box(x0, top, x1, bottom, 0.05), frame))
            details.append((box(x0 + 0.02, top + 0.03, x1, bottom, 0.05), glass))
    for x in (0.61, 0.78):
        details.append((box(x, rows[-1][0], x + 0.15, 0.54, 0.03), frame))
        details.append((box(x + 0.02, rows[-1][0] + 0.03, x + 0.15, 0.52, 0.03), shade(glass, 1.2)))
    details.append((box(0.92, 0.58, 1.1, 0.66), (255, 240, 190)))
    details.append((box(-1.1, 0.45, -0.93, 0.55), (200, 60, 60)))
    body = Group([box(-1, -0.85 if double else -0.62, 1, 0.7, 0.14)], color, details)
    radius, hub = rng.uniform(0.18, 0.23), shade(trim, 1.2)
    wheels = [
        Group(
            [ellipse(x, 0.69, radius, radius)],
            TIRE,
            [(ellipse(x, 0.69, 0.55 * radius, 0.55 * radius, 24), hub)],
        )
        for x in (-0.55, 0.5)
    ]
    return [body, *wheels]


def _bus_front(rng: np.random.Generator, color: Color, glass: Color, trim: Color) -> Thing:
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
        *((ellipse(side * 0.58, 0.53, 0.14, 0.12, 24), lamp) for side in (-1, 1)),
        (box(-0.9, 0.72, 0.9, 0.9), shade(color, 0.7)),
    ]
    sides = (-1, 1)
    wheels = [box(side * 0.58 - 0.14, 0.6, side * 0.58 + 0.14, 0.98, 0.08) for side in sides]
    mirrors = [box(side * 0.92 - 0.09, -0.5, side * 0.92 + 0.09, -0.1, 0.06) for side in sides]
    body = Group([box(-0.8, -0.95, 0.8, 0.82, 0.16)], color, details)
    return [Group(wheels, TIRE), Group(mirrors, shade(color, 0.7)), body]


def _ball(rng: np.random.Generator, color: Color) -> Thing:
    band = ribbon([(-1.1, -0.3), (-0.3, 0.3), (0.3, 0.3), (1.1, -0.3)], 0.3)
    return [Group([ellipse(0, 0, 1, 1)], color, [(band, contrasting(rng, [color]))])]


def _bottle(rng: np.random.Generator, color: Color) -> Thing:
    right = [(0.14, -1), (0.14, -1), (0.14, -0.4), (0.4, -0.1), (0.4, 1), (0.4, 1)]
    label = (box(-0.5, 0.2, 0.5, 0.7), contrasting(rng, [color]))
    cap = (box(-0.3, -1, 0.3, -0.8), shade(color, 0.5))
    outline = smooth([*right, *((-x, y) for x, y in reversed(right))], 2)
    return [Group([outline], color, [label, cap])]


def _book(rng: np.random.Generator, color: Color) -> Thing:
    back = (box(-0.7, -1, -0.5, 1), shade(color, 0.6))
    title = (box(-0.25, -0.6, 0.45, -0.3), contrasting(rng, [color]))
    return [Group([box(-0.7, -1, 0.7, 1, 0.06)], color, [back, title])]


def _suitcase(rng: np.random.Generator, color: Color) -> Thing:
    strap = contrasting(rng, [color])
    straps = [(box(x - 0.09, -1, x + 0.09, 1), strap) for x in (-0.5, 0.5)]
    handle = Group([box(-0.3, -0.9, 0.3, -0.5, 0.1)], shade(strap, 0.6))
    return [handle, Group([box(-1, -0.7, 1, 0.75, 0.15)], color, straps)]


def _clock(rng: np.random.Generator, color: Color) -> Thing:
    details = [(ellipse(0, 0, 0.82, 0.82), shade(color, 1.7))]
    for length in (0.5, 0.75):
        angle = rng.uniform(0, 2 * np.pi)
        hand = np.outer((0, 0.3, 0.6, 1), (length * np.cos(angle), length * np.sin(angle)))
        details.append((ribbon(hand, 0.1), INK))
    return [Group([ellipse(0, 0, 1, 1)], color, details)]


def _frisbee(rng: np.random.Generator, color: Color) -> Thing:
    return [Group([ellipse(0, 0, 1, rng.uniform(0.8, 1.0))], color)]


def blank(rng: np.random.Generator, color: Color) -> Thing:
    """Clutter: a disk, an ellipse, a rounded box or a triangle, without any detail."""
    peak = rng.uniform(-0.5, 0.5)
    triangle = [(-1, 0.8), (-1, 0.8), (1, 0.8), (1, 0.8), (peak, -1), (peak, -1)]
    outlines = (
        ellipse(0, 0, 1, 1),
        ellipse(0, 0, 1, rng.uniform(0.5, 0.8)),
        box(-1, -rng.uniform(0.5, 1), 1, 0.7, 0.2),
        smooth(triangle),
    )
    return [Group([outlines[int(rng.integers(len(outlines)))]], color)]


@dataclass(frozen=True)
class Kind:
    """One of COCO's categories, and how to draw it."""

    id: int
    name: str
    supercategory: str
    draw: Callable[[np.random.Generator, Color], Thing]


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
