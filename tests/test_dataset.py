"""The container: what goes in comes out; augmenting moves masks and images alike."""

import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.config import COCO3, SHAPES5, class_specs
from seghw.data.dataset import SegmentationSet, augment, batches
from seghw.errors import BadInput


def make(count=6, size=8, classes=COCO3):
    """A set whose every image is filled with its own index."""
    images = np.repeat(np.arange(count, dtype=np.uint8), 3 * size * size)
    masks = np.zeros((count, len(classes), size, size), np.bool_)
    masks[:, -1, 2:4, 3:6] = True
    boxes = [[(len(classes) - 1, 3, 2, 5, 3)]] * count
    names = tuple(f"{i}.jpg" for i in range(count))
    return SegmentationSet(images.reshape(-1, 3, size, size), masks, boxes, classes, "fills", names)


@pytest.mark.parametrize("classes", [COCO3[:1], SHAPES5, class_specs("abcdefghi")])
@pytest.mark.parametrize("empty", [False, True])
def test_save_and_load_give_the_same_set(tmp_path, classes, empty):
    """The last band of five is open, and nine classes have repeating colors."""
    data = make(classes=classes)
    data = replace(data, masks=data.masks & False, boxes=[[]] * len(data)) if empty else data
    data.save(tmp_path / "set")
    again = SegmentationSet.load(tmp_path / "set")
    assert np.array_equal(again.images, data.images)
    assert np.array_equal(again.masks, data.masks)
    assert (again.boxes, again.classes) == (data.boxes, data.classes)
    assert (again.name, again.names) == (data.name, data.names)
    assert isinstance(again.images, np.memmap)  # a set larger than memory opens at once
    part = again.subset(slice(1, 3))
    assert np.shares_memory(part.images, again.images)
    assert part.names == again.subset([1, 2]).names == ("1.jpg", "2.jpg")
    with pytest.raises(FileExistsError, match="already exists"):
        make(2).save(tmp_path / "set")


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.sampled_from(["images.npy", "masks.npy", "set.json"]), st.floats(0, 0.999), st.binary())
def test_a_damaged_part_is_refused_or_harmless(tmp_path_factory, part, place, piece):
    folder = tmp_path_factory.mktemp("damaged") / "set"
    make().save(folder)
    content = bytearray((folder / part).read_bytes())
    at = int(place * min(len(content), 128 if part.endswith("npy") else 9999))  # else a pixel
    content[at : at + len(piece)] = piece
    (folder / part).write_bytes(content)
    with suppress(BadInput), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Reading `.npy`")  # numpy, of Python 2's headers
        data = SegmentationSet.load(folder)
        assert len(data) == len(data.boxes) == len(data.masks)
        for c, x0, y0, x1, y1 in (box for boxes in data.boxes for box in boxes):
            assert 0 <= c < 3
            assert 0 <= x0 <= x1 < data.images.shape[3]
            assert 0 <= y0 <= y1 < data.images.shape[2]


def test_wrong_arrays_are_quoted():
    images, masks = np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 3, 8, 8), bool)
    for given_images, given_masks, message in (
        (images / 1.0, masks, "float64"),
        (images[:, :1], masks, "1, 8, 8"),
        (images, masks / 1.0, "masks must be bool"),
        (images, masks[:, [0, 0, 0, 0, 0]], r"\(2, 5, 8, 8\)"),
        (images[:1], masks[:1], "1 images .*got 2"),
    ):
        with pytest.raises(BadInput, match=message):
            SegmentationSet(given_images, given_masks, [[], []], COCO3)
    for box in ((0, 1, 2, 3), (0, 1, 2, 3, 8), (3, 1, 2, 3, 4)):
        with pytest.raises(BadInput, match=rf"box \({str(box)[1:-1]}\) of image 1"):
            SegmentationSet(images, masks, [[], [box]], COCO3)


@given(count=st.integers(0, 50), size=st.integers(1, 9), seed=st.none() | st.integers(0, 9))
def test_batches_cover_everything_once(count, size, seed):
    given_out = list(batches(count, size, seed))
    assert sorted(np.concatenate([[], *given_out]).tolist()) == list(range(count))
    assert all(len(part) == size for part in given_out[:-1])


def test_augmented_images_and_masks_move_together_and_by_the_seed_alone():
    """The image is its own mask, so that it can be read back from the moved pixels."""
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 2, 64, 64), bool)
    for mask in masks:
        x, y = rng.integers(8, 40, 2)
        mask[0, y : y + 16, x : x + 12] = True
        mask[1] = ~mask[0]
    images = np.repeat(np.uint8(200) * masks[:, :1], 3, axis=1)
    images.setflags(write=False)  # as a loaded set is
    moved, moved_masks = augment(images, masks, seed=(3, 1))
    assert (moved.dtype, moved_masks.dtype) == (np.uint8, np.bool_)
    assert not (moved_masks[:, 0] & moved_masks[:, 1]).any()
    bright = moved.max(axis=1) > 0.5 * moved.max(axis=(1, 2, 3))[:, None, None]
    differ = (bright != moved_masks[:, 0]).sum(axis=(1, 2))
    assert differ.max() <= 0.1 * moved_masks[:, 0].sum(axis=(1, 2)).mean()
    areas = moved_masks[:, 0].sum(axis=(1, 2)) / (12 * 16)
    assert 0.5 < areas.min() < 0.75  # a scale of 0.75 is 0.56 of the area
    assert 1.3 < areas.max() < 1.65
    assert len({image[image > 0].max() for image in moved}) > 10  # brightness varies
    again = augment(images, masks, seed=(3, 1))
    assert all(np.array_equal(a, b) for a, b in zip(again, (moved, moved_masks), strict=True))
    assert not np.array_equal(augment(images, masks, seed=(3, 2))[1], moved_masks)
    flipped = Counter(bool(mask[0, :, :32].sum() > mask[0, :, 32:].sum()) for mask in moved_masks)
    assert min(flipped.values()) > 5
