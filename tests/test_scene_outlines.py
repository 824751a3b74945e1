import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.data.scenes.outlines import (
    Group,
    any_color,
    bounds,
    box,
    contrasting,
    ellipse,
    grown,
    ribbon,
    shade,
    silhouette_share,
    smooth,
    transform,
)
from seghw.data.scenes.things import DISTRACTORS, WANTED, blank

RED = (200, 40, 60)


def area(polygon):
    """By the shoelace formula."""
    x, y = polygon.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_outlines_have_the_areas_of_their_formulas():
    assert area(box(-1, 2, 3, 5)) == pytest.approx(12)
    assert area(box(-1, 2, 3, 5, 1.0)) == pytest.approx(12 - (4 - math.pi), rel=0.01)
    assert area(ellipse(3, 4, 2, 5)) == pytest.approx(10 * math.pi, rel=0.01)
    # One round of corner cutting takes an eighth off a square, each further one a quarter of that.
    square = [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert area(smooth(square, 1)) == pytest.approx(1 - 1 / 8)
    assert area(smooth(square, 2)) == pytest.approx(1 - 1 / 8 - 1 / 32)
    # A straight band of length 4 and width 1 with half a disk at its end.
    band = ribbon([(0, 0), (1, 0), (3, 0), (4, 0)], 1.0)
    assert area(band) == pytest.approx(4 + math.pi / 8, rel=0.02)
    assert band[:, 0].max() == pytest.approx(4.5, abs=0.02)


@pytest.mark.parametrize("step", [1, -1])  # either way round
def test_grown_outlines_keep_their_distance(step):
    disk = grown(ellipse(3, 4, 2, 2, 200)[::step], 0.5)
    assert np.hypot(*(disk - (3, 4)).T) == pytest.approx(np.full(200, 2.5), abs=1e-3)
    twice = np.repeat(ellipse(0, 0, 1, 1, 20), 4, axis=0)  # points on top of each other
    assert np.isfinite(grown(twice[::step], 0.1)).all()


def test_shade_goes_to_black_and_white():
    assert shade(RED, 0) == (0, 0, 0)
    assert shade(RED, 1) == RED
    assert shade(RED, 2) == (255, 255, 255)
    assert shade(RED, 0.5) == (100, 20, 30)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_contrasting_colors_are_seldom_alike(seed):
    rng = np.random.default_rng(seed)
    others = [any_color(rng), any_color(rng)]
    color = contrasting(rng, others)
    assert all(0 <= part <= 255 for part in color)
    # All eight tries fall short of 110 rarely, and hardly ever by half.
    assert min(math.dist(color, other) for other in others) > 40


def test_transform_moves_shapes_and_details_alike():
    thing = [Group([np.array([[1.0, 0.0], [0.0, 2.0]])], RED, [(np.array([[1.0, 1.0]]), RED)])]
    (group,) = transform(thing, [[0, -1], [1, 0]], (10, 20))  # a quarter turn
    assert group.shapes[0].tolist() == [[10, 21], [8, 20]]
    assert group.details[0][0].tolist() == [[9, 21]]
    assert group.color == RED
    low, high = bounds([group])
    assert (low.tolist(), high.tolist()) == ([8, 20], [10, 21])


def test_silhouette_share_counts_overlaps_once():
    assert silhouette_share([Group([box(0, 0, 1, 1)], RED)]) == pytest.approx(1, abs=0.03)
    disk = [Group([ellipse(0, 0, 1, 1)], RED)]
    assert silhouette_share(disk) == pytest.approx(math.pi / 4, abs=0.03)
    assert silhouette_share(disk * 2) == silhouette_share(disk)
    corners = [Group([box(0, 0, 1, 1)], RED), Group([box(1, 1, 2, 2)], RED)]
    assert silhouette_share(corners) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("draw", [kind.draw for kind in (*WANTED, *DISTRACTORS)] + [blank])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_things_are_closed_outlines_near_the_unit_square(draw, seed):
    thing = draw(np.random.default_rng(seed), RED)
    low, high = bounds(thing)
    assert -2 < low.min() < high.max() < 2
    assert (high - low).min() > 0.7
    assert 0.3 < silhouette_share(thing) <= 1
    for group in thing:
        for points in [*group.shapes, *(points for points, _ in group.details)]:
            assert points.ndim == 2
            assert points.shape[1] == 2
            assert len(points) >= 3
            assert np.isfinite(points).all()
