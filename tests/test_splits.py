"""Which data a run sees: real where it is, said in a line, in splits that share no image."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from seghw.config import COCO3, SPLITS, TrainConfig, class_specs
from seghw.data import purdue, shapes, splits
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import default_dataset, describe_data, digest, open_split, split_real
from seghw.errors import BadInput


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A ``data/`` of its own, without any real set."""
    archives = {split: tmp_path / path.name for split, path in splits.ARCHIVES.items()}
    monkeypatch.setattr(splits, "ARCHIVES", archives)
    monkeypatch.setattr(splits, "COCO_SET", tmp_path / "coco3")
    monkeypatch.setattr(splits, "CACHE", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def archives(home):
    """``home`` with both of the course's archives; the test archive has other images."""
    purdue.write_archive(shapes.generate(40, seed=8), splits.ARCHIVES["train"])
    purdue.write_archive(shapes.generate(10, seed=9), splits.ARCHIVES["test"])


def photographs(count, size=64, classes=COCO3):
    rng = np.random.default_rng(0)
    masks = rng.random((count, len(classes), size, size)) < 0.5
    images = rng.integers(0, 256, (count, 3, size, size), np.uint8)
    names = tuple(f"{i:012d}.jpg" for i in range(count))
    return SegmentationSet(images, masks, [[]] * count, classes, "COCO, of a kind", names)


def open_it(dataset, split, profile="smoke"):
    return open_split(TrainConfig(dataset, "corrected", "mse", 1e-3, profile=profile), split)


def contents(*parts):
    """A hash of each image's bytes, so that a copy under another index would be noticed."""
    return sorted(hashlib.sha256(image).hexdigest() for part in parts for image in part.images)


def test_a_real_set_stands_in_once_it_is_there_in_full(home):
    assert [default_dataset("shapes"), default_dataset("coco")] == ["shapes5", "scenes3"]
    splits.ARCHIVES["train"].touch()
    splits.COCO_SET.mkdir()
    assert [default_dataset("shapes"), default_dataset("coco")] == ["shapes5", "scenes3"]
    with pytest.raises(BadInput, match=r"set\.json"):
        open_it("coco3", "test")
    splits.ARCHIVES["test"].touch()
    splits.COCO_SET.rmdir()
    photographs(6).save(splits.COCO_SET)
    assert [default_dataset("shapes"), default_dataset("coco")] == ["purdue5", "coco3"]
    with pytest.raises(BadInput, match="'cars' is neither"):
        default_dataset("cars")


def test_each_set_is_described_in_a_line(home):
    """What each line says while nothing real is there, and then."""
    first, second = (path.name for path in splits.ARCHIVES.values())
    words = {
        "shapes5": (f"put {first} and {second} into data/", "by the name purdue5 and are not used"),
        "purdue5": (f"{first} and {second} missing from", "the course's archives in data/"),
        "scenes3": ("`python -m seghw data coco` brings", "by the name coco3 and are not used"),
        "coco3": ("missing from data/coco3", "photographs of COCO, in data/coco3"),
    }
    before = [*map(describe_data, words)]
    photographs(6).save(splits.COCO_SET)
    for path in splits.ARCHIVES.values():
        path.touch()
    for lines, there in ((before, 0), ([*map(describe_data, words)], 1)):
        for line, either in zip(lines, words.values(), strict=True):
            assert either[there] in line
    assert describe_data("own+cake") == "own+cake: a set of your own, given with --data"


@pytest.mark.parametrize("dataset", ["shapes5", "scenes3"])
def test_drawn_splits_share_no_image_and_scenes_are_drawn_once(home, monkeypatch, dataset):
    parts = [open_it(dataset, split) for split in SPLITS]
    assert [part.images.shape for part in parts] == [(n, 3, 64, 64) for n in (64, 32, 32)]
    assert len(set(contents(*parts))) == 128
    monkeypatch.setattr(splits, "draw_scenes", None)
    assert digest(open_it(dataset, "test")) == digest(parts[2])


def test_the_courses_splits_share_no_image_and_the_archive_is_read_once(archives, monkeypatch):
    training, validation, test = parts = [open_it("purdue5", s) for s in SPLITS]
    assert [len(part) for part in parts] == [38, 2, 10]
    assert contents(training, validation) == contents(shapes.generate(40, seed=8))
    assert contents(test) == contents(shapes.generate(10, seed=9))
    with monkeypatch.context() as patched:
        patched.setattr(purdue, "read_archive", None)
        assert digest(open_it("purdue5", "train")) == digest(training)
    purdue.write_archive(shapes.generate(4, seed=3), splits.ARCHIVES["train"])
    assert len(open_it("purdue5", "train")) == 4
    with pytest.raises(BadInput, match="4 images are too few for a validation set"):
        open_it("purdue5", "validation")


def test_cocos_splits_share_no_image(home):
    data = photographs(100)
    data.save(splits.COCO_SET)
    parts = [open_it("coco3", split) for split in SPLITS]
    assert [len(part) for part in parts] == [64, 15, 15]  # as many as the profile asks for
    everything = [split_real(data, split) for split in SPLITS]
    assert [len(part) for part in everything] == [70, 15, 15]
    assert contents(*everything) == contents(data)
    assert contents(parts[0]) == contents(everything[0].subset(slice(0, 64)))


def test_a_set_too_small_to_be_split():
    for count in (1, 5):
        with pytest.raises(BadInput, match=rf"'COCO, of a kind': {count} images are too few for a"):
            [split_real(photographs(count, 8), split) for split in SPLITS]
    assert [len(split_real(photographs(6, 8), split)) for split in SPLITS] == [4, 1, 1]


def test_another_size_than_the_profiles_is_said_and_used(home):
    photographs(8, size=32).save(splits.COCO_SET)
    with pytest.warns(UserWarning, match="holds images of 32 x 32 .* made for 256 x 256.*--size"):
        data = open_it("coco3", "train", "full")
    assert data.images.shape[1:] == (3, 32, 32)


def test_a_damaged_cache_is_made_again(home):
    first = splits.cached_scenes("some", 6, seed=1, size=16, instances="any")
    (home / "cache" / "some" / "set.json").write_text("{", encoding="utf-8")
    again = splits.cached_scenes("some", 6, seed=1, size=16, instances="any")
    assert (digest(again), again.names) == (digest(first), first.names)
    assert digest(replace(first, masks=~first.masks)) != digest(first)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("dataset", "split", "words"),
    [
        ("coco3", "train", "holds the classes dog, cat, bus; build"),
        ("purdue5", "train", "is missing; put"),
        ("shapes5", "val", "got 'val'"),
        ("own+cake", "train", "--data"),
    ],
)
def test_what_cannot_be_opened_is_named(home, dataset, split, words):
    photographs(8, classes=class_specs(("dog", "cat", "bus"))).save(splits.COCO_SET)
    with pytest.raises(BadInput, match=words):
        open_it(dataset, split)
