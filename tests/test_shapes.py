"""Drawn shapes, measured with moments and counts of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.config import SHAPES5
from seghw.data.dataset import tight_box
from seghw.data.shapes import generate


@pytest.fixture(scope="module")
def drawn():
    return generate(400, seed=1)


def test_masks_are_disjoint_and_about_half_of_all_classes_absent(drawn):
    assert drawn.images.shape == (400, 3, 64, 64)
    assert drawn.classes == SHAPES5
    assert {len(boxes) for boxes in drawn.boxes} == {1, 2, 3, 4, 5}
    assert drawn.masks.sum(axis=1).max() == 1
    absent = ~drawn.masks.any(axis=(2, 3))
    assert (np.abs(absent.mean(axis=0) - 0.54) < 0.1).all()  # no class is rarer than another


def test_each_object_has_one_color_and_its_own_tight_box(drawn):
    assert drawn.images.min() == 0
    assert drawn.images.max() >= 250
    for image, masks, boxes in zip(drawn.images, drawn.masks, drawn.boxes, strict=True):
        colors = np.unique(image.reshape(3, -1), axis=1).T
        gaps = np.abs(colors[:, None].astype(int) - colors[None]).max(axis=2)
        assert gaps[~np.eye(len(colors), dtype=bool)].min() >= 48
        assert len(colors) == 1 + len(boxes)
        seen = []
        for color in colors:
            region = (image == color[:, None, None]).all(axis=0)
            classes = np.flatnonzero((masks & region).any(axis=(1, 2)))
            if len(classes) == 0:
                assert np.array_equal(region, ~masks.any(axis=0))
                assert color.max() < 25
            else:
                assert region.sum() >= 10  # large enough to be seen
                assert masks[classes[0]][region].all()
                seen.append((int(classes[0]), *tight_box(region)))
        assert sorted(seen) == sorted(boxes)


def test_areas_are_those_of_the_shapes():
    """Area over the square of the radius: pi for a disk; star, triangle and rectangle less."""
    big = generate(300, seed=5, size=256)
    shares = {c: [] for c in range(5)}
    for masks, boxes in zip(big.masks, big.boxes, strict=True):
        if len(boxes) == 1:
            c = boxes[0][0]
            rows, columns = np.nonzero(masks[c])
            reach = np.hypot(rows - rows.mean(), columns - columns.mean()).max()
            shares[c].append(len(rows) / (np.pi * reach**2))
    bounds = (
        (0.4, 0.68),  # sin(2 atan(a)) * 2 / pi for a side ratio a in 0.4..1: 0.44 to 0.64
        (0.28, 0.47),  # 3/4 sqrt(3) / pi for an equilateral one: 0.41
        (0.95, 1.05),
        (0.38, 0.66),  # a semi-axis ratio in 0.4..0.62
        (0.33, 0.48),  # 5 sin(36 deg) * r / pi for an inner radius r in 0.38..0.48
    )
    for c, (low, high) in enumerate(bounds):
        assert len(shares[c]) >= 5
        assert low < min(shares[c]) <= max(shares[c]) < high


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**40), st.sampled_from([8, 16, 64, 128]))
def test_a_seed_gives_one_set_and_a_longer_one_extends_it(count, seed, size):
    short, long = generate(count, seed, size), generate(np.int64(count + 3), seed, size)
    assert np.array_equal(long.images[:count], short.images)
    assert np.array_equal(long.masks[:count], short.masks)
    assert long.boxes[:count] == short.boxes
    assert not np.array_equal(generate(count, seed + 1, size).images, short.images)
    for masks, boxes in zip(long.masks, long.boxes, strict=True):
        assert 1 <= len(boxes) <= 5
        assert {c for c, *_ in boxes} == set(np.flatnonzero(masks.any(axis=(1, 2))))
