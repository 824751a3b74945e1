import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.config import SHAPES5
from seghw.data.shapes import generate
from seghw.errors import BadInput


@pytest.fixture(scope="module")
def drawn():
    return generate(400, seed=1)


def extent(region):
    """Inclusive x0, y0, x1, y1 of the true pixels."""
    rows, columns = np.nonzero(region)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_the_set_has_the_promised_form(drawn):
    assert drawn.images.shape == (400, 3, 64, 64)
    assert drawn.masks.shape == (400, 5, 64, 64)
    assert drawn.classes == SHAPES5
    assert drawn.name == "PurdueShapes5 look-alike, drawn from seed 1"
    assert {len(boxes) for boxes in drawn.boxes} == {1, 2, 3, 4, 5}


def test_planes_are_disjoint(drawn):
    assert drawn.masks.sum(axis=1).max() == 1


def test_about_half_of_all_image_class_pairs_are_absent(drawn):
    absent = ~drawn.masks.any(axis=(2, 3))
    assert 0.4 < absent.mean() < 0.6
    assert (np.abs(absent.mean(axis=0) - 0.54) < 0.1).all()  # no class is rarer than another


def test_boxes_are_tight_round_their_class(drawn):
    for masks, boxes in zip(drawn.masks, drawn.boxes, strict=True):
        for index, plane in enumerate(masks):
            own = np.array([corners for c, *corners in boxes if c == index])
            assert plane.any() == (len(own) > 0)
            if len(own):
                joint = (*own[:, :2].min(axis=0), *own[:, 2:].max(axis=0))
                assert joint == extent(plane)


def test_each_object_has_one_color_and_its_own_tight_box(drawn):
    for image, masks, boxes in zip(drawn.images, drawn.masks, drawn.boxes, strict=True):
        colors = np.unique(image.reshape(3, -1), axis=1).T
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
                seen.append((int(classes[0]), *map(int, extent(region))))
        assert sorted(seen) == sorted(boxes)


def test_colors_tell_objects_apart(drawn):
    for image in drawn.images:
        colors = np.unique(image.reshape(3, -1), axis=1).T.astype(int)
        gaps = np.abs(colors[:, None] - colors[None]).max(axis=2)
        assert gaps[~np.eye(len(colors), dtype=bool)].min() >= 48


def test_colors_cover_the_whole_range(drawn):
    assert drawn.images.min() == 0
    assert drawn.images.max() >= 250


def roundness(region):
    """Short axis over long axis of the ellipse with the region's second moments."""
    short, long = np.sqrt(np.linalg.eigvalsh(np.cov(np.nonzero(region))))
    return short / long


def test_later_objects_hide_earlier_ones(drawn):
    """A disk drawn last is a whole disk; among those drawn first some are cut into."""
    first, last = [], []
    for masks, boxes in zip(drawn.masks, drawn.boxes, strict=True):
        order = [index for index, *_ in boxes]
        if len(order) > 1 and order.count(2) == 1:
            if order[-1] == 2:
                last.append(roundness(masks[2]))
            elif order[0] == 2:
                first.append(roundness(masks[2]))
    assert len(last) >= 20
    assert min(last) > 0.95
    assert min(first) < 0.8


def test_a_disk_is_round_and_an_oval_is_not(drawn):
    lone = [(b[0][0], m) for b, m in zip(drawn.boxes, drawn.masks, strict=True) if len(b) == 1]
    disks = [roundness(masks[2]) for index, masks in lone if index == 2]
    ovals = [roundness(masks[3]) for index, masks in lone if index == 3]
    assert len(disks) >= 5
    assert len(ovals) >= 5
    assert min(disks) > 0.95
    assert max(ovals) < 0.75


def test_areas_are_those_of_the_shapes():
    """Area over the square of the radius: pi for a disk; star, triangle and rectangle less."""
    big = generate(300, seed=5, size=256)
    shares = {index: [] for index in range(5)}
    for masks, boxes in zip(big.masks, big.boxes, strict=True):
        if len(boxes) == 1:
            index = boxes[0][0]
            rows, columns = np.nonzero(masks[index])
            reach = np.hypot(rows - rows.mean(), columns - columns.mean()).max()
            shares[index].append(len(rows) / (np.pi * reach**2))
    mean = [np.mean(shares[index]) for index in range(5)]
    assert mean[2] == pytest.approx(1, abs=0.05)
    assert min(shares[2]) > 0.95
    # sin(2 atan(a)) * 2 / pi for a side ratio a in 0.4..1: 0.44 to 0.64
    assert 0.4 < min(shares[0]) <= max(shares[0]) < 0.68
    # a semi-axis ratio in 0.4..0.62
    assert 0.38 < min(shares[3]) <= max(shares[3]) < 0.66
    # 5 sin(36 deg) * r / pi for an inner radius r in 0.38..0.48
    assert 0.33 < min(shares[4]) <= max(shares[4]) < 0.48


def test_the_same_seed_gives_the_same_set(drawn):
    again = generate(400, seed=1)
    assert np.array_equal(drawn.images, again.images)
    assert np.array_equal(drawn.masks, again.masks)
    assert drawn.boxes == again.boxes


def test_seeds_and_images_differ(drawn):
    other = generate(20, seed=2)
    assert not (drawn.images[:20] == other.images).all(axis=(1, 2, 3)).any()
    assert len(np.unique(drawn.images.reshape(400, -1), axis=0)) == 400


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**40))
def test_a_longer_set_extends_a_shorter_one(count, seed):
    short, long = generate(count, seed), generate(count + 3, seed)
    assert np.array_equal(long.images[:count], short.images)
    assert np.array_equal(long.masks[:count], short.masks)
    assert long.boxes[:count] == short.boxes


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([8, 16, 40, 128]), st.integers(0, 1000))
def test_any_multiple_of_8_is_a_size(size, seed):
    data = generate(4, seed, size=size)
    assert data.images.shape == (4, 3, size, size)
    assert data.masks.sum(axis=1).max() == 1
    for masks, boxes in zip(data.masks, data.boxes, strict=True):
        assert 1 <= len(boxes) <= 5
        assert {index for index, *_ in boxes} == set(np.flatnonzero(masks.any(axis=(1, 2))))


def test_numpy_integers_will_do():
    assert len(generate(np.int64(2), np.uint8(3), np.int32(16))) == 2


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        ((0, 0), "count .* got 0"),
        ((-1, 0), "count .* got -1"),
        ((1.5, 0), r"count .* got 1\.5"),
        (("3", 0), "count .* got '3'"),
        ((True, 0), "count .* got True"),
        ((1, -1), "seed .* got -1"),
        ((1, None), "seed .* got None"),
        ((1, 0, 0), "size .* got 0"),
        ((1, 0, -8), "size .* got -8"),
        ((1, 0, 60), "multiple of 8, got 60; try 56"),
        ((1, 0, 64.0), r"size .* got 64\.0"),
    ],
)
def test_bad_arguments_are_named(arguments, quoted):
    with pytest.raises(BadInput, match=quoted):
        generate(*arguments)
