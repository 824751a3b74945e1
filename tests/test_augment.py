"""Augmentation: image, masks and boxes move together, and a seed says how."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from seghw.config import COCO3
from seghw.data.augment import augmented, flips_and_scales
from seghw.data.dataset import SegmentationSet
from seghw.data.shapes import generate
from seghw.errors import BadInput


@pytest.fixture(scope="module")
def drawn():
    return generate(40, seed=4)


def squares(*corners, size=8, value=255):
    """One image whose cats are white squares, each with its inclusive ``(x0, y0, x1, y1)``."""
    images = np.zeros((1, 3, size, size), np.uint8)
    masks = np.zeros((1, 3, size, size), bool)
    for x0, y0, x1, y1 in corners:
        images[0, :, y0 : y1 + 1, x0 : x1 + 1] = value
        masks[0, 1, y0 : y1 + 1, x0 : x1 + 1] = True
    return SegmentationSet(images, masks, [[(1, *box) for box in corners]], COCO3)


def extent(plane):
    """Inclusive x0, y0, x1, y1 of the true pixels."""
    rows, columns = np.nonzero(plane)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_a_left_right_flip_is_numpys(drawn):
    flipped = augmented(drawn, range(40), v2.RandomHorizontalFlip(1), seed=0)
    assert np.array_equal(flipped.images, drawn.images[..., ::-1])
    assert np.array_equal(flipped.masks, drawn.masks[..., ::-1])
    assert flipped.boxes == [
        [(c, 63 - x1, y0, 63 - x0, y1) for c, x0, y0, x1, y1 in boxes] for boxes in drawn.boxes
    ]
    assert (flipped.classes, flipped.name) == (drawn.classes, drawn.name)


def test_an_upside_down_flip_is_numpys(drawn):
    flips = flips_and_scales(scale=(1, 1), shift=0, horizontal=0, vertical=1)
    flipped = augmented(drawn, range(40), flips, seed=0)
    assert np.array_equal(flipped.images, drawn.images[..., ::-1, :])
    assert np.array_equal(flipped.masks, drawn.masks[..., ::-1, :])
    assert flipped.boxes == [
        [(c, x0, 63 - y1, x1, 63 - y0) for c, x0, y0, x1, y1 in boxes] for boxes in drawn.boxes
    ]


def test_half_of_the_images_are_flipped(drawn):
    flips = augmented(drawn, range(40), flips_and_scales((1, 1), shift=0), seed=0)
    same = (flips.images == drawn.images).all(axis=(1, 2, 3))
    mirrored = (flips.images == drawn.images[..., ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 10 <= mirrored.sum() <= 30


def test_doubled_by_hand():
    """About the center of 8 x 8, pixels 3 and 4 become 2 to 5; what is farther out leaves."""
    data = squares((3, 3, 4, 4), (0, 0, 1, 1), size=8)
    doubled = augmented(data, [0], flips_and_scales((2, 2), 0, horizontal=0), seed=0)
    expected = np.zeros((8, 8), bool)
    expected[2:6, 2:6] = True
    assert np.array_equal(doubled.masks[0, 1], expected)
    assert doubled.masks[0].sum() == 16
    assert doubled.boxes == [[(1, 2, 2, 5, 5)]]
    assert (doubled.images[0, :, 3:5, 3:5] == 255).all()
    assert doubled.images[0, :, [0, 7]].max() < 32  # bilinear: a sixteenth of white at most


def test_halved_by_hand():
    """Pixels 4 to 11 of 16 become 6 to 9; what comes in from outside is black and no one's."""
    data = squares((4, 4, 11, 11), size=16)
    halved = augmented(data, [0], flips_and_scales((0.5, 0.5), 0, horizontal=0), seed=0)
    assert extent(halved.masks[0, 1]) == (6, 6, 9, 9)
    assert halved.masks[0].sum() == 16
    assert halved.boxes == [[(1, 6, 6, 9, 9)]]
    full = SegmentationSet(np.full_like(data.images, 200), ~data.masks, [[]], COCO3)
    halved = augmented(full, [0], flips_and_scales((0.5, 0.5), 0), seed=0)
    assert not halved.images[:, :, :3].any()
    assert not halved.masks[:, :, :3].any()


def test_two_objects_of_a_class_keep_a_box_each():
    data = squares((0, 0, 3, 3), (8, 4, 15, 15), size=16)
    flipped = augmented(data, [0], v2.RandomHorizontalFlip(1), seed=0)
    assert flipped.boxes == [[(1, 12, 0, 15, 3), (1, 0, 4, 7, 15)]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**40), scale=st.tuples(st.floats(0.4, 1), st.floats(1, 2.5)))
def test_boxes_are_those_of_the_masks(drawn, seed, scale):
    moved = augmented(drawn, range(0, 40, 4), flips_and_scales(scale, vertical=0.5), seed)
    assert moved.masks.dtype == np.bool_
    assert moved.masks.sum(axis=1).max() == 1  # planes stay disjoint: no mask was blended
    for masks, boxes in zip(moved.masks, moved.boxes, strict=True):
        for c, plane in enumerate(masks):
            own = [box[1:] for box in boxes if box[0] == c]
            assert plane.any() == bool(own)
            if len(own) == 1:
                assert own[0] == extent(plane)
            covered = np.zeros_like(plane)
            for x0, y0, x1, y1 in own:
                covered[y0 : y1 + 1, x0 : x1 + 1] = True
                assert extent(plane[y0 : y1 + 1, x0 : x1 + 1]) == (0, 0, x1 - x0, y1 - y0)
            assert not (plane & ~covered).any()


def test_images_and_masks_stay_aligned(drawn):
    foreground = drawn.masks.any(axis=1, keepdims=True)
    white = SegmentationSet(
        foreground.repeat(3, axis=1) * np.uint8(255), drawn.masks, drawn.boxes, drawn.classes
    )
    moved = augmented(white, range(40), flips_and_scales(), seed=1)
    bright, masked = moved.images[:, 0] > 127, moved.masks.any(axis=1)
    assert (bright != masked).sum() < 0.03 * masked.sum()


def test_the_seed_decides_and_nothing_else_does(drawn):
    def moved(indices, seed):
        return augmented(drawn, indices, flips_and_scales(), seed)

    once, again, epoch = (
        moved([3, 1, 2], (0, 7)),
        moved([3, 1, 2], (0, 7)),
        moved([3, 1, 2], (0, 8)),
    )
    assert np.array_equal(once.images, again.images)
    assert np.array_equal(once.masks, again.masks)
    assert once.boxes == again.boxes
    assert not (once.images == epoch.images).all(axis=(1, 2, 3)).any()
    alone = moved([2], (0, 7))  # whatever else is in the batch
    assert np.array_equal(alone.images[0], once.images[2])
    assert np.array_equal(moved([5], 9).images, moved(np.array([5]), np.int64(9)).images)


def test_torchs_own_random_numbers_are_left_alone(drawn):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    augmented(drawn, [0, 1], flips_and_scales(), seed=2)
    assert torch.equal(torch.rand(3), expected)


def test_a_set_on_disk_is_taken_and_left_as_it_is(drawn, tmp_path):
    drawn.save(tmp_path / "set")
    loaded = SegmentationSet.load(tmp_path / "set")
    moved = augmented(loaded, [0, 1, 2], flips_and_scales(), seed=0)
    assert np.array_equal(moved.images, augmented(drawn, [0, 1, 2], flips_and_scales(), 0).images)
    assert np.array_equal(loaded.images, drawn.images)


def test_an_image_without_objects():
    moved = augmented(squares(), [0, 0], flips_and_scales(), seed=0)
    assert moved.boxes == [[], []]
    assert not moved.masks.any()


@pytest.mark.parametrize(
    ("transforms", "found"),
    [
        (v2.Resize((32, 32)), r"torch.uint8 \(3, 32, 32\)"),
        (v2.Grayscale(), r"torch.uint8 \(1, 64, 64\)"),
        (v2.ToDtype(torch.float32), r"torch.float32 \(3, 64, 64\)"),
    ],
)
def test_transforms_must_keep_size_and_type(drawn, transforms, found):
    with pytest.raises(BadInput, match=rf"uint8 \(3, 64, 64\), got {found}"):
        augmented(drawn, [0], transforms, seed=0)
