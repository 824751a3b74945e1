"""The cats in drawn scenes: three poses, three coats, ears and tail that move."""

from dataclasses import dataclass

import numpy as np

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


def cat(rng: np.random.Generator, color: Color) -> Thing:
    """A cat that sits, lies or stands, with a plain, striped or patched coat."""
    coat = _Coat(
        color,
        mark=contrasting(rng, [color]) if rng.uniform() < 0.5 else shade(color, 0.62),
        pale=shade(color, rng.uniform(1.4, 1.7)),
        pattern=("plain", "stripes", "patches")[int(rng.integers(3))],
    )
    return (_sitting, _lying, _standing)[int(rng.integers(3))](rng, coat)


@dataclass(frozen=True)
class _Coat:
    color: Color
    mark: Color  # of stripes and patches
    pale: Color  # of paws, chest and muzzle
    pattern: str

    def marks(
        self, rng: np.random.Generator, x0: float, y0: float, x1: float, y1: float
    ) -> list[Detail]:
        """Stripes or patches over a box; the body clips them."""
        if self.pattern == "stripes":
            xs = np.linspace(x0, x1, int(rng.integers(6, 9)))[1:-1]
            half, low = 0.3 * (xs[1] - xs[0]), y0 + rng.uniform(0.4, 0.6) * (y1 - y0)
            top = y0 - 0.2
            return [(np.array([(x - half, top), (x + half, top), (x, low)]), self.mark) for x in xs]
        if self.pattern == "patches":
            span = np.array([x1 - x0, y1 - y0])
            centers, radii = rng.uniform((x0, y0), (x1, y1), (3, 2)), rng.uniform(0.15, 0.3, (3, 2))
            pairs = zip(centers, radii * span, strict=True)
            return [(ellipse(*center, *radius), self.mark) for center, radius in pairs]
        return []


def _head(rng: np.random.Generator, coat: _Coat, x: float, y: float, r: float) -> Group:
    """A wide head with two ears and a face, its center at (x, y)."""
    tip_x, tip_y = 0.72 + rng.uniform(0.0, 0.25), -0.62 - rng.uniform(0.55, 0.85)

    def ear(side: int, size: float) -> np.ndarray:
        tip = (side * tip_x, tip_y)
        corners = np.array([(side * 0.98, -0.2), tip, tip, (side * 0.12, -0.8)])
        middle = corners.mean(axis=0)
        return smooth(middle + (corners - middle) * size)

    details = [(ear(side, 0.6), coat.pale) for side in (-1, 1)]
    details += coat.marks(rng, -0.8, -0.9, 0.8, 0.4)
    details.append((ellipse(0, 0.48, 0.52, 0.36), coat.pale))
    awake, iris = rng.uniform() < 0.75, shade(contrasting(rng, [coat.color]), 1.3)
    for side in (-1, 1):
        eye = side * 0.45
        if awake:
            details.append((ellipse(eye, -0.05, 0.24, 0.26, 24), iris))
            details.append((ellipse(eye, -0.05, 0.11, 0.24, 20), INK))
            details.append((ellipse(eye + 0.07, -0.14, 0.06, 0.06, 12), (255, 255, 255)))
        else:
            lid = [(eye - 0.2, -0.1), (eye - 0.1, 0.1), (eye + 0.1, 0.1), (eye + 0.2, -0.1)]
            details.append((ribbon(lid, 0.07), INK))
        smile = [(0, 0.4), (0, 0.6), (side * 0.2, 0.65), (side * 0.3, 0.5)]
        details.append((ribbon(smile, 0.05), INK))
        for rise in (0.35, 0.52):
            whisker = [(0.45, rise), (0.6, rise), (0.8, rise - 0.03), (1.0, rise - 0.07)]
            details.append((ribbon([(side * a, b) for a, b in whisker], 0.035), INK))
    details.append((smooth([(-0.14, 0.27), (0.14, 0.27), (0, 0.45)], 2), INK))
    head = Group([ear(-1, 1), ear(1, 1), ellipse(0, 0, 1.08, 0.92)], coat.color, details)
    return transform([head], np.diag([r, r]), (x, y))[0]


def _sitting(rng: np.random.Generator, coat: _Coat) -> Thing:
    wide, up = rng.uniform(0.62, 0.75), rng.uniform(0.0, 0.45)
    right = [(0.3, -0.4), (wide, 0.4), (wide, 1.05)]
    body = smooth([*right, *((-x, y) for x, y in reversed(right))])
    tail = ribbon([(0.35, 0.9), (1.2, 1.05), (0.8, 0.6), (rng.uniform(0.82, 0.98), up)], 0.21)
    details = [*coat.marks(rng, -wide, 0.0, wide, 1.0), (ellipse(0, 0.35, 0.27, 0.4), coat.pale)]
    paws = Group([ellipse(side * 0.22, 0.92, 0.19, 0.12) for side in (-1, 1)], coat.pale)
    head = _head(rng, coat, rng.uniform(-0.1, 0.1), -0.38, 0.5)
    return [Group([tail, body], coat.color, details), paws, head]


def _lying(rng: np.random.Generator, coat: _Coat) -> Thing:
    corners = [(-1, 0.0), (-0.6, -0.35), (0.4, -0.3), (0.95, 0.1), (0.95, 0.72), (-1, 0.72)]
    up = rng.uniform(-0.6, -0.1)
    tail = ribbon([(-0.8, 0.5), (-1.5, 0.6), (-0.9, 0.0), (rng.uniform(-1.4, -1.1), up)], 0.22)
    torso = Group([tail, smooth(corners)], coat.color, coat.marks(rng, -0.9, -0.25, 0.5, 0.7))
    paws = Group([ellipse(x, 0.66, 0.22, 0.12) for x in (0.35, 0.85)], coat.pale)
    return [torso, paws, _head(rng, coat, 0.5, rng.uniform(-0.3, -0.1), 0.5)]


def _standing(rng: np.random.Generator, coat: _Coat) -> Thing:
    corners = [(-0.85, -0.15), (-0.5, -0.3), (0.5, -0.3), (0.75, 0.0), (0.72, 0.64), (-0.85, 0.64)]
    step, swing = rng.uniform(-0.08, 0.08), rng.uniform(-0.2, 0.2)
    feet = (-0.72, -0.4 + step, 0.25 - step, 0.55)
    legs = [box(x - 0.17, 0.1, x + 0.17, 0.95, 0.16) for x in feet]
    tail = ribbon([(-0.65, 0.0), (-1.15, 0.0), (-0.8 + swing, -0.45), (-1.0 + swing, -0.72)], 0.22)
    far = Group(legs[1:3], shade(coat.color, 0.8))
    socks = [(box(x - 0.2, 0.8, x + 0.2, 1.0), coat.pale) for x in feet]
    details = coat.marks(rng, -0.7, -0.3, 0.5, 0.5) + socks
    near = Group([tail, legs[0], legs[3], smooth(corners)], coat.color, details)
    return [far, near, _head(rng, coat, 0.62, rng.uniform(-0.5, -0.35), 0.47)]
