"""The container: what goes in comes out, splits do not overlap, damage is named."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seghw.config import COCO3, SHAPES5
from seghw.data.dataset import SegmentationSet, batches
from seghw.errors import BadInput


def make(count: int = 6, size: int = 8) -> SegmentationSet:
    """A set whose every image is filled with its own index."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, size, size)
    ).copy()
    masks = np.zeros((count, 3, size, size), np.bool_)
    masks[:, 1, 2:4, 3:6] = True
    return SegmentationSet(images, masks, [[(1, 3, 2, 5, 3)]] * count, COCO3, "six fills")


def numbers(data: SegmentationSet) -> list[int]:
    return data.images[:, 0, 0, 0].tolist()


def test_save_and_load_give_the_same_set(tmp_path):
    data = make()
    data.save(tmp_path / "set")
    back = SegmentationSet.load(tmp_path / "set")
    assert np.array_equal(back.images, data.images)
    assert np.array_equal(back.masks, data.masks)
    assert (back.boxes, back.classes, back.name) == (data.boxes, data.classes, data.name)
    assert isinstance(back.images, np.memmap)


def test_opening_a_set_reads_no_image(tmp_path):
    """So a set larger than memory opens at once, and a slice of it is still on disk."""
    make(200, size=128).save(tmp_path / "set")
    tracemalloc.start()
    try:
        part = SegmentationSet.load(tmp_path / "set").subset(slice(50, 150))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert numbers(part) == list(range(50, 150))
    assert peak < 0.05 * (200 * 6 * 128 * 128)


def test_an_open_band_survives_the_disk(tmp_path):
    empty = SegmentationSet(
        np.zeros((1, 3, 8, 8), np.uint8), np.zeros((1, 5, 8, 8), np.bool_), [[]], SHAPES5
    )
    empty.save(tmp_path / "set")
    assert SegmentationSet.load(tmp_path / "set").classes == SHAPES5


def test_save_does_not_overwrite(tmp_path):
    make().save(tmp_path / "set")
    with pytest.raises(FileExistsError, match="already exists"):
        make(2).save(tmp_path / "set")
    assert len(SegmentationSet.load(tmp_path / "set")) == 6


@pytest.mark.parametrize("lost", ["images.npy", "masks.npy", "set.json"])
def test_a_missing_part_is_named(tmp_path, lost):
    make().save(tmp_path / "set")
    (tmp_path / "set" / lost).unlink()
    with pytest.raises(BadInput, match=lost):
        SegmentationSet.load(tmp_path / "set")


def test_a_truncated_array_is_refused(tmp_path):
    make().save(tmp_path / "set")
    path = tmp_path / "set" / "images.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadInput, match="damaged"):
        SegmentationSet.load(tmp_path / "set")


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (np.zeros((2, 3, 8, 8)), np.zeros((2, 3, 8, 8), bool), "float64"),
        (np.zeros((2, 1, 8, 8), np.uint8), np.zeros((2, 3, 8, 8), bool), "1, 8, 8"),
        (np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 3, 8, 8)), "masks must be bool"),
        (np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 5, 8, 8), bool), r"\(2, 5, 8, 8\)"),
    ],
)
def test_wrong_arrays_are_quoted(images, masks, message):
    with pytest.raises(BadInput, match=message):
        SegmentationSet(images, masks, [[], []], COCO3)


@given(count=st.integers(1, 60), first=st.floats(0, 0.6), second=st.floats(0, 0.4))
def test_a_split_is_a_partition(count, first, second):
    data = make(count)
    parts = [data.subset(part) for part in data.partition(first, second, seed=3)]
    assert len(parts) == 3
    assert sorted(n for part in parts for n in numbers(part)) == list(range(count))


@given(
    pixels=arrays(np.uint8, st.tuples(st.integers(1, 30), st.just(3), st.just(2), st.just(2))),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_the_parts_of_a_split_hold_each_image_once_with_its_own_masks(pixels, fraction, seed):
    """Proved on content: the bytes of image, masks and box, which the set cannot renumber."""
    masks = pixels[:, :1] > np.array([50, 100, 150])[:, None, None]
    boxes = [[(1, 0, 0, 1, int(image.sum()))] for image in pixels]

    def contents(data):
        rows = zip(data.images, data.masks, data.boxes, strict=True)
        return Counter((image.tobytes(), mask.tobytes(), tuple(box)) for image, mask, box in rows)

    data = SegmentationSet(pixels, masks, boxes, COCO3)
    first, second = map(data.subset, data.partition(fraction, seed=seed))
    assert contents(first) + contents(second) == contents(data)
    if max(contents(data).values()) == 1:
        assert not contents(first) & contents(second)


def test_a_split_follows_its_seed():
    data = make(40)
    once, again, other = (data.partition(0.5, seed=s)[0].tolist() for s in (1, 1, 2))
    assert sorted(once) == once == again != other


def test_fractions_beyond_one_are_refused():
    with pytest.raises(BadInput, match=r"0\.8"):
        make().partition(0.8, 0.5)


@given(count=st.integers(0, 50), size=st.integers(1, 9), seed=st.none() | st.integers(0, 9))
def test_batches_cover_everything_once(count, size, seed):
    found = list(batches(count, size, seed))
    assert sorted(np.concatenate(found).tolist() if found else []) == list(range(count))
    assert all(len(part) == size for part in found[:-1])
