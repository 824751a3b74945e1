import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seghw.classes import COCO3, SHAPES5, class_specs
from seghw.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.report_folder import _natural, read_report_folder, write_report_folder

SIDE = 8


def planes(**where):
    """(3, 8, 8) in the report's coding: ``planes(cat=(x0, y0, x1, y1))``, ends included."""
    mask = np.zeros((3, SIDE, SIDE), np.uint8)
    for c, spec in enumerate(COCO3):
        if spec.name in where:
            x0, y0, x1, y1 = where[spec.name]
            mask[c, y0 : y1 + 1, x0 : x1 + 1] = spec.value
    return mask


class Folder:
    def __init__(self, root):
        self.root = root
        self.images, self.masks = root / "train_imgs", root / "train_anns"
        self.images.mkdir()
        self.masks.mkdir()

    def image(self, name, red=0, size=(SIDE, SIDE), mode="RGB"):
        Image.new("RGB", size, (red, 0, 0)).convert(mode).save(self.images / name)

    def mask(self, name, array):
        np.save(self.masks / name, array)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def random_set(classes, count=12):
    rng = np.random.default_rng(0)
    return SegmentationSet(
        rng.integers(0, 255, (count, 3, SIDE, SIDE), np.uint8),
        rng.random((count, len(classes), SIDE, SIDE)) < 0.3,
        [[]] * count,
        classes,
    )


@pytest.mark.parametrize("classes", [COCO3, SHAPES5, class_specs("abcdefg")])
def test_what_is_written_is_read_back(tmp_path, classes):
    data = random_set(classes)
    write_report_folder(data, tmp_path, "test")
    again = read_report_folder(tmp_path, "test", classes)
    np.testing.assert_array_equal(again.images, data.images)
    np.testing.assert_array_equal(again.masks, data.masks)
    assert again.classes == classes


def test_an_image_without_an_object_survives(tmp_path):
    empty = np.zeros((1, 3, SIDE, SIDE), np.uint8)
    write_report_folder(SegmentationSet(empty, empty.astype(bool), [[]], COCO3), tmp_path)
    data = read_report_folder(tmp_path)
    assert not data.masks.any()
    assert data.boxes == [[]]


def test_listing_2_finds_the_masks_that_are_written(tmp_path):
    data = random_set(COCO3)
    write_report_folder(data, tmp_path)
    for i, path in enumerate(sorted((tmp_path / "train_imgs").iterdir())):
        # Listing 2: the image's name up to its first dot, then "_*_.npy"; the last file wins.
        (mask,) = (tmp_path / "train_anns").glob(path.name.split(".")[0] + "_*_.npy")
        array = np.load(mask)
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array[1], data.masks[i, 1] * 100)


def test_nothing_is_overwritten(tmp_path):
    data = random_set(COCO3)
    write_report_folder(data, tmp_path)
    with pytest.raises(FileExistsError, match="train_imgs"):
        write_report_folder(data, tmp_path)
    write_report_folder(data, tmp_path, "test")


def test_every_mask_of_an_image_is_used(folder):
    folder.image("dog_1.png")
    folder.mask("dog_1_10_.npy", planes(bus=(0, 0, 1, 0)))
    folder.mask("dog_1_2_.npy", planes(cat=(2, 3, 4, 5)))
    folder.mask("dog_1_0_.npy", planes(cat=(6, 6, 7, 7)))
    data = read_report_folder(folder.root)
    assert data.boxes == [[(1, 6, 6, 7, 7), (1, 2, 3, 4, 5), (2, 0, 0, 1, 0)]]
    assert data.masks.sum(axis=(0, 2, 3)).tolist() == [0, 4 + 9, 2]


def test_masks_are_not_mixed_up_between_similar_names(folder):
    for name in ("a", "a_1", "aa"):
        folder.image(f"{name}.png")
    folder.mask("a_0_.npy", planes(pizza=(0, 0, 0, 0)))
    folder.mask("a_1_0_.npy", planes(cat=(0, 0, 0, 0)))
    folder.mask("aa_0_.npy", planes(bus=(0, 0, 0, 0)))
    data = read_report_folder(folder.root)
    assert [box[0] for (box,) in data.boxes] == [0, 1, 2]


def test_images_come_in_natural_order(folder):
    for i in (10, 9, 1, 100):
        folder.image(f"img{i}.png", red=i)
        folder.mask(f"img{i}_0_.npy", planes())
    assert read_report_folder(folder.root).images[:, 0, 0, 0].tolist() == [1, 9, 10, 100]


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_order_is_that_of_the_numbers(numbers):
    names = [f"img{number}_0_.npy" for number in numbers]
    assert sorted(names, key=_natural) == [f"img{n}_0_.npy" for n in sorted(numbers)]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_natural_order_takes_any_names(names):
    assert len(sorted(names, key=_natural)) == len(names)


def test_any_mode_and_any_number_type(folder):
    folder.image("1.png", mode="L")
    folder.mask("1_0_.npy", planes(cat=(0, 0, 3, 3)).astype(np.float64))
    data = read_report_folder(folder.root)
    assert data.images.shape == (1, 3, SIDE, SIDE)
    assert data.masks.sum() == 16


def test_other_files_do_no_harm_and_images_without_a_mask_are_named(folder):
    folder.image("1.png")
    folder.image("2.png")
    folder.mask("1_0_.npy", planes(cat=(0, 0, 3, 3)))
    (folder.images / "Thumbs.db").touch()
    (folder.masks / ".DS_Store").touch()
    with pytest.warns(UserWarning, match=r"1 of 2 images left out: 2.png \(no mask file\)"):
        assert len(read_report_folder(folder.root)) == 1


def fails(folder, *words):
    with pytest.raises(BadInput) as caught:
        read_report_folder(folder.root)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (planes()[0], "(8, 8)"),
        (planes()[:2], "(2, 8, 8)"),
        (planes()[:, :4], "(3, 4, 8)"),
        (planes().astype("U3"), "<U3"),
        (planes(cat=(0, 0, 1, 1))[::-1] + planes(cat=(0, 0, 1, 1)), None),
        (planes(cat=(0, 0, 1, 1))[[1, 0, 2]], "holds 100 in the plane of 'pizza'"),
        (planes(cat=(0, 0, 1, 1)) / 50, "holds 2.0 in the plane of 'cat'"),
        (planes() + np.nan, "holds nan"),
    ],
)
def test_a_mask_that_is_not_in_the_reports_coding(folder, array, word):
    folder.image("1.png")
    folder.mask("1_0_.npy", array)
    fails(folder, "1_0_.npy", word or "holds 200 in the plane of 'cat'")


def test_a_mask_file_is_never_unpickled(folder):
    folder.image("1.png")
    np.save(folder.masks / "1_0_.npy", np.array([os.getcwd]), allow_pickle=True)
    fails(folder, "1_0_.npy", "allow_pickle=False")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00"])
def test_a_damaged_mask_file(folder, content):
    folder.image("1.png")
    (folder.masks / "1_0_.npy").write_bytes(content)
    fails(folder, "1_0_.npy", "replace it")


def test_a_mask_file_with_several_arrays(folder):
    folder.image("1.png")
    with (folder.masks / "1_0_.npy").open("wb") as file:
        np.savez(file, planes())
    fails(folder, "1_0_.npy", "magic string")


def test_a_damaged_image(folder):
    (folder.images / "1.png").write_text("not an image")
    folder.mask("1_0_.npy", planes())
    fails(folder, "1.png", "replace it")


def test_images_of_two_sizes(folder):
    folder.image("1.png")
    folder.mask("1_0_.npy", planes())
    folder.image("2.png", size=(4, 2))
    folder.mask("2_0_.npy", planes()[:, :2, :4])
    fails(folder, "2.png is 4 x 2", "8 x 8")


def test_nothing_to_read(folder):
    fails(folder, "none of 0 images")
    folder.image("1.png")
    fails(folder, "none of 1 images")
    folder.masks.rmdir()
    fails(folder, "train_anns is missing")
