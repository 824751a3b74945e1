"""Which data a run sees: real where it is, said in a line, in splits that share no image."""

import hashlib
import warnings

import numpy as np
import pytest

from seghw.config import COCO3, DATASETS, SPLITS, TrainConfig, class_specs
from seghw.data import purdue as purdue_archive
from seghw.data import shapes
from seghw.data import splits as sources
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import default_dataset, describe_data, digest, open_split, split_real
from seghw.errors import BadInput


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A ``data/`` of its own, without any real set."""
    archives = {split: tmp_path / path.name for split, path in sources.ARCHIVES.items()}
    monkeypatch.setattr(sources, "ARCHIVES", archives)
    monkeypatch.setattr(sources, "COCO_SET", tmp_path / "coco3")
    monkeypatch.setattr(sources, "CACHE", tmp_path / "cache")
    return tmp_path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive in the course's format with 40 images."""
    path = tmp_path_factory.mktemp("archive") / "40.gz"
    purdue_archive.write_archive(shapes.generate(40, seed=8), path)
    return path


@pytest.fixture
def purdue(home, archive):
    """``home`` with both of the course's archives; the test archive has other images."""
    sources.ARCHIVES["train"].write_bytes(archive.read_bytes())
    purdue_archive.write_archive(shapes.generate(10, seed=9), sources.ARCHIVES["test"])


def photographs(count, size=64, classes=COCO3):
    rng = np.random.default_rng(0)
    masks = rng.random((count, len(classes), size, size)) < 0.5
    images = rng.integers(0, 256, (count, 3, size, size), np.uint8)
    return SegmentationSet(images, masks, [[]] * count, classes, "COCO, of a kind")


def config(dataset, profile="smoke"):
    return TrainConfig(dataset, "corrected", "mse", 1e-3, profile=profile)


def contents(data):
    """A hash of each image's bytes, so that a copy under another index would be found."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in data.images]


def assert_disjoint(parts):
    found = [image for part in parts for image in contents(part)]
    assert min(len(part) for part in parts) > 0
    assert len(set(found)) == len(found)


def test_without_real_sets_the_drawn_ones_stand_in(home):
    assert default_dataset("shapes") == "shapes5"
    assert default_dataset("coco") == "scenes3"
    with pytest.raises(BadInput, match="'cars' is neither"):
        default_dataset("cars")


def test_both_archives_are_needed(home):
    sources.ARCHIVES["train"].touch()
    assert default_dataset("shapes") == "shapes5"
    assert "put PurdueShapes5MultiObject-1000-test.gz into data/" in describe_data("shapes5")
    sources.ARCHIVES["test"].touch()
    assert default_dataset("shapes") == "purdue5"


def test_a_half_built_coco_set_does_not_count(home):
    sources.COCO_SET.mkdir()
    assert default_dataset("coco") == "scenes3"
    with pytest.raises(BadInput, match=r"set\.json is missing"):
        open_split(config("coco3"), "test")
    sources.COCO_SET.rmdir()
    photographs(6).save(sources.COCO_SET)
    assert default_dataset("coco") == "coco3"


@pytest.mark.parametrize(
    ("dataset", "without", "with_it"),
    [
        (
            "shapes5",
            "drawn look-alikes of PurdueShapes5MultiObject; for the real set put "
            "PurdueShapes5MultiObject-10000-train.gz and PurdueShapes5MultiObject-1000-test.gz "
            "into data/",
            "drawn look-alikes of PurdueShapes5MultiObject; the course's archives in data/ go by "
            "the name purdue5 and are not used here",
        ),
        (
            "purdue5",
            "PurdueShapes5MultiObject, PurdueShapes5MultiObject-10000-train.gz and "
            "PurdueShapes5MultiObject-1000-test.gz missing from data/",
            "PurdueShapes5MultiObject, the course's archives in data/",
        ),
        (
            "scenes3",
            "drawn pizzas, cats and buses; `python -m seghw data coco` brings photographs of COCO",
            "drawn pizzas, cats and buses; the photographs in data/coco3 go by the name coco3 and "
            "are not used here",
        ),
        (
            "coco3",
            "photographs of COCO, missing from data/coco3",
            "photographs of COCO, in data/coco3",
        ),
    ],
)
def test_each_set_is_described_in_a_line(home, purdue, dataset, without, with_it):
    photographs(6).save(sources.COCO_SET)
    assert describe_data(dataset) == f"{dataset}: {with_it}"
    (sources.COCO_SET / "set.json").unlink()
    for path in sources.ARCHIVES.values():
        path.unlink()
    assert describe_data(dataset) == f"{dataset}: {without}"


def test_every_set_has_a_description_and_nothing_else_has(home):
    for dataset in DATASETS:
        assert describe_data(dataset).startswith(f"{dataset}: ")
        assert "\n" not in describe_data(dataset)
    with pytest.raises(BadInput, match=r"'shapes' is not one of .'shapes5', 'purdue5'"):
        describe_data("shapes")


@pytest.mark.parametrize("dataset", ["shapes5", "scenes3"])
def test_drawn_splits_share_no_image(home, dataset):
    parts = [open_split(config(dataset), split) for split in SPLITS]
    assert [len(part) for part in parts] == [64, 32, 32]
    assert {part.images.shape[1:] for part in parts} == {(3, 64, 64)}
    assert_disjoint(parts)


def test_the_seeds_of_the_shapes_share_no_image_in_hundreds():
    assert_disjoint([shapes.generate(400, seed=seed) for seed in range(len(SPLITS))])


def test_the_courses_splits_share_no_image(purdue):
    training, validation, test = (open_split(config("purdue5"), split) for split in SPLITS)
    assert [len(training), len(validation), len(test)] == [38, 2, 10]
    assert_disjoint([training, validation, test])
    whole = contents(shapes.generate(40, seed=8))
    assert sorted(contents(training) + contents(validation)) == sorted(whole)
    assert contents(test) == contents(shapes.generate(10, seed=9))


def test_an_archive_is_read_once_and_again_when_it_is_another(purdue, monkeypatch):
    first = open_split(config("purdue5"), "train")
    with monkeypatch.context() as patched:
        patched.setattr(purdue_archive, "read_archive", None)
        again = open_split(config("purdue5"), "train")
    assert digest(again) == digest(first)
    purdue_archive.write_archive(shapes.generate(30, seed=3), sources.ARCHIVES["train"])
    assert len(open_split(config("purdue5"), "train")) == 28


def test_an_archive_that_is_too_small_for_two_splits(purdue):
    purdue_archive.write_archive(shapes.generate(4, seed=3), sources.ARCHIVES["train"])
    with pytest.raises(BadInput, match="4 images are too few for a validation set"):
        open_split(config("purdue5"), "validation")


def test_cocos_splits_share_no_image(home):
    data = photographs(100)
    data.save(sources.COCO_SET)
    parts = [open_split(config("coco3"), split) for split in SPLITS]
    assert [len(part) for part in parts] == [64, 15, 15]  # as many as the profile asks for
    assert_disjoint(parts)
    everything = [split_real(data, split) for split in SPLITS]
    assert [len(part) for part in everything] == [70, 15, 15]
    assert sorted(image for part in everything for image in contents(part)) == sorted(
        contents(data)
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_set_too_small_to_be_split(count):
    data = photographs(count, 8)
    with pytest.raises(BadInput, match=rf"'COCO, of a kind': {count} images are too few for a"):
        [split_real(data, split) for split in SPLITS]


def test_another_size_than_the_profiles_is_said_and_used(home):
    photographs(8, size=32).save(sources.COCO_SET)
    for profile, side in (("laptop", 64), ("full", 256)):
        with pytest.warns(
            UserWarning,
            match=rf"coco3 holds images of 32 x 32 and they are used so; profile {profile} is "
            rf"made for {side} x {side}: build the set with --size {side} for that",
        ) as caught:
            data = open_split(config("coco3", profile), "train")
        assert len(caught) == 1
        assert data.images.shape[1:] == (3, 32, 32)


def test_the_profiles_own_size_is_not_worth_a_word(home):
    photographs(8, size=64).save(sources.COCO_SET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_split(config("coco3", "laptop"), "train")


def test_a_coco_set_of_other_classes_is_refused(home):
    photographs(8, classes=class_specs(("dog", "cat", "bus"))).save(sources.COCO_SET)
    with pytest.raises(BadInput, match="holds the classes dog, cat, bus, not pizza, cat, bus"):
        open_split(config("coco3"), "train")


@pytest.mark.parametrize("dataset", ["purdue5", "coco3"])
def test_a_real_set_that_is_missing(home, dataset):
    with pytest.raises(BadInput, match=r"is missing; (put|make)"):
        open_split(config(dataset), "train")


def test_an_unknown_split(home):
    with pytest.raises(BadInput, match="got 'val'"):
        open_split(config("shapes5"), "val")


def test_drawn_scenes_are_drawn_once(home, monkeypatch):

    first = open_split(config("scenes3"), "test")
    monkeypatch.setattr(sources, "draw_scenes", None)
    assert digest(open_split(config("scenes3"), "test")) == digest(first)
