import csv
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from seghw.cli import main
from seghw.config import COCO3
from seghw.data import coco
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput

WIDTH, HEIGHT = 64, 48
CATEGORIES = {"cat": 17, "bus": 6, "pizza": 59, "dog": 18}
# Pixels 8..39 in x and y: as a polygon, because pycocotools fills [8, 40) from these corners.
SQUARE = [8, 8, 40, 8, 40, 40, 8, 40]
SQUARE_BBOX = [8.0, 8.0, 32.0, 32.0]


def square_mask():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[8:40, 8:40] = True
    return mask


def run_lengths(mask):
    """COCO's uncompressed form: alternating runs down the columns, the first one of zeros."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [1 - mask[-1, -1]]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    if sum(counts) < mask.size:
        counts.append(mask.size - sum(counts))
    return {"counts": counts, "size": list(mask.shape)}


def compressed(mask):
    code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"counts": code["counts"].decode(), "size": code["size"]}


class Folder:
    """A COCO-format folder in the making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.json = root / "instances_test.json"
        self.images = root / "images"
        self.images.mkdir(parents=True)
        self.content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": name} for name, i in CATEGORIES.items()],
            "licenses": [{"id": 4, "name": "Attribution License", "url": "http://cc/by"}],
        }

    def image(self, image_id, name, picture=None, size=(WIDTH, HEIGHT), **fields):
        """List an image and, unless ``picture`` is None, write it."""
        self.content["images"].append(
            {"id": image_id, "file_name": Path(name).name, "width": size[0], "height": size[1]}
            | fields
        )
        if picture is not None:
            path = self.images / name
            path.parent.mkdir(exist_ok=True)
            picture.save(path)

    def annotation(self, image_id, category, segmentation=(SQUARE,), bbox=SQUARE_BBOX, crowd=0):
        self.content["annotations"].append(
            {
                "id": 1000 + len(self.content["annotations"]),
                "image_id": image_id,
                "category_id": CATEGORIES[category],
                "segmentation": segmentation if isinstance(segmentation, dict) else [*segmentation],
                "bbox": bbox,
                "iscrowd": crowd,
            }
        )

    def write(self):
        self.json.write_text(json.dumps(self.content), encoding="utf-8")
        return self.json


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def plain(mode="RGB", color="red", size=(WIDTH, HEIGHT)):
    return Image.new(mode, size, color)


@pytest.fixture
def mixed(folder):
    """Listed out of order: two images that the homework's rule takes, and every kind it leaves."""
    folder.image(9, "9.png", plain())
    folder.annotation(9, "cat")
    folder.image(3, "3.png", plain())
    folder.annotation(3, "bus")
    folder.annotation(3, "cat", run_lengths(square_mask()), crowd=1)
    folder.annotation(3, "dog")
    folder.image(4, "4.png", plain())
    folder.annotation(4, "cat")
    folder.annotation(4, "pizza", bbox=[0, 0, 3, 3])
    folder.image(5, "5.png", plain())
    folder.annotation(5, "cat", run_lengths(square_mask()), crowd=1)
    folder.image(6, "6.png", plain())
    folder.annotation(6, "cat", bbox=[0, 0, 40, 31.99])
    folder.image(7, "7.png", plain())
    folder.annotation(7, "dog")
    folder.write()
    return folder


def ids(chosen):
    return [image.record["id"] for image in chosen]


def test_single_takes_the_homework_rule_in_order_of_id(mixed):
    assert ids(coco.select(mixed.json, min_box=32)) == [3, 9]


def test_the_box_is_measured_before_the_resize(folder):
    """200 pixels of 640 are 20 of 64, and still enough."""
    folder.image(1, "1.png", plain(size=(640, 480)), size=(640, 480))
    corners = [10, 10, 210, 10, 210, 210, 10, 210]
    folder.annotation(1, "cat", [corners], bbox=[10, 10, 200, 200])
    data = coco.build(folder.write(), folder.images, size=64)
    assert data.boxes == [[(1, 1, 1, 20, 27)]]


def test_the_box_must_reach_min_box_on_both_sides(folder):
    for image_id, bbox in enumerate([[0, 0, 200, 200], [0, 0, 199.9, 400], [0, 0, 400, 199.9]]):
        folder.image(image_id, f"{image_id}.png", size=(500, 500))
        folder.annotation(image_id, "cat", bbox=bbox)
    assert ids(coco.select(folder.write())) == [0]


def test_images_can_be_chosen_by_the_area_of_the_mask(folder):
    """A square of 200 x 200 pixels and its half, a triangle, in the same box."""
    square = [10, 10, 210, 10, 210, 210, 10, 210]
    for image_id, corners in enumerate([square, square[:6]]):
        folder.image(image_id, f"{image_id}.png", size=(500, 500))
        folder.annotation(image_id, "cat", [corners], bbox=[10, 10, 200, 200])
    annotations = folder.write()
    assert ids(coco.select(annotations)) == [0, 1]
    assert ids(coco.select(annotations, min_area=40_000)) == [0]
    assert ids(coco.select(annotations, min_area=19_000)) == [0, 1]
    assert ids(coco.select(annotations, min_area=40_000, instances="any")) == [0, 1]
    fails(lambda: coco.select(annotations, min_area=40_001), "2 have a mask under 40001 pixels")


def test_any_ignores_min_box_and_still_no_crowd(mixed):
    chosen = coco.select(mixed.json, instances="any")
    assert ids(chosen) == [3, 4, 6, 9]
    assert [name for name, _ in chosen[1].objects] == ["cat", "pizza"]


def test_fewer_classes_change_what_counts_as_the_only_instance(mixed):
    assert ids(coco.select(mixed.json, ("pizza", "bus"), min_box=1)) == [3, 4]


def test_annotations_can_be_read_once_and_used_often(mixed):
    annotations = coco.read_annotations(mixed.json)
    assert ids(coco.select(annotations, min_box=32)) == [3, 9]
    assert coco.build(annotations, mixed.images, size=16, min_box=32).classes == COCO3


def test_nothing_is_printed(mixed, capsys):
    """No bar either, because the work is short."""
    coco.build(mixed.json, mixed.images, min_box=32)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "COCO images" not in captured.err


@pytest.mark.parametrize("encode", [lambda mask: [SQUARE], run_lengths, compressed])
def test_masks_and_boxes_by_hand(folder, encode):
    folder.image(1, "1.png", plain())
    folder.annotation(1, "cat", encode(square_mask()))
    chosen = coco.select(folder.write(), min_box=32)
    np.testing.assert_array_equal(
        coco.instance_mask(chosen[0], chosen[0].objects[0][1]), square_mask()
    )
    data = coco.build(folder.json, folder.images, size=16, min_box=32)
    # 64 x 48 to 16 x 16: nearest neighbor takes the columns 4i + 2 and the rows 3i + 1.
    np.testing.assert_array_equal(data.masks[0, 1], square_mask()[1::3, 2::4])
    assert not data.masks[0, [0, 2]].any()
    assert data.boxes == [[(1, 2, 3, 9, 12)]]
    assert data.images.shape == (1, 3, 16, 16)


def test_masks_are_resized_by_nearest_neighbor(folder):
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    folder.image(1, "1.png", plain())
    folder.annotation(1, "bus", run_lengths(noise))
    data = coco.build(folder.write(), folder.images, size=16, min_box=32)
    np.testing.assert_array_equal(data.masks[0, 2], noise[1::3, 2::4])


def test_any_unites_a_class_and_keeps_a_box_an_instance(folder):
    left, right = np.zeros((2, HEIGHT, WIDTH), bool)
    left[:24, :16] = True
    right[12:, 8:40] = True
    folder.image(1, "1.png", plain())
    folder.annotation(1, "cat", run_lengths(left))
    folder.annotation(1, "pizza")
    folder.annotation(1, "cat", run_lengths(right))
    data = coco.build(folder.write(), folder.images, size=16, instances="any")
    np.testing.assert_array_equal(data.masks[0, 1], (left | right)[1::3, 2::4])
    assert data.boxes == [[(1, 0, 0, 3, 7), (0, 2, 3, 9, 12), (1, 2, 4, 9, 15)]]


@pytest.mark.parametrize(
    ("name", "picture", "rgb"),
    [
        ("1.png", plain("L", 90), (90, 90, 90)),
        ("1.png", plain("1", 1), (255, 255, 255)),
        ("1.jpg", plain("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        ("1.png", plain("RGB", (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), None),
        ("1.png", plain("RGBA", (10, 200, 30, 128)), (10, 200, 30)),
        ("1.JPG", plain("RGB", (10, 200, 30)), (10, 200, 30)),
    ],
)
def test_every_mode_becomes_rgb(folder, name, picture, rgb):
    folder.image(1, name, picture)
    folder.annotation(1, "cat")
    data = coco.build(folder.write(), folder.images, size=16, min_box=32)
    expected = np.array(rgb or (10, 200, 30))[:, None, None]
    assert np.abs(data.images[0].astype(int) - expected).max() <= 3


def test_images_are_antialiased(folder):
    rows, columns = np.indices((HEIGHT, WIDTH))
    board = Image.fromarray(((rows + columns) % 2 * 255).astype(np.uint8))
    folder.image(1, "1.png", board)
    folder.annotation(1, "cat")
    data = coco.build(folder.write(), folder.images, size=16, min_box=32)
    assert np.abs(data.images.astype(int) - 127).max() < 25


def test_image_and_mask_stay_aligned(folder):
    folder.image(1, "1.png", Image.fromarray(square_mask().astype(np.uint8) * 255))
    folder.annotation(1, "cat")
    data = coco.build(folder.write(), folder.images, size=24, min_box=32)
    bright = data.images[0, 0] > 127
    assert (bright & data.masks[0, 1]).sum() / (bright | data.masks[0, 1]).sum() > 0.95


def test_subfolders_are_searched(folder):
    for image_id, place in enumerate(["", "train2017/", "coco/val2017/"]):
        (folder.images / place).mkdir(parents=True, exist_ok=True)
        folder.image(image_id, f"{place}{image_id}.png", plain(color=(image_id, 0, 0)))
        folder.annotation(image_id, "cat")
    data = coco.build(folder.write(), folder.images, size=8, min_box=32)
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["train2017/1.png", "train2017\\1.png"])
def test_a_file_name_may_carry_its_folder(folder, name):
    folder.image(1, "train2017/1.png", plain(color=(7, 0, 0)))
    folder.image(2, "another/1.png", plain(color=(9, 0, 0)))
    folder.content["images"][0]["file_name"] = name
    del folder.content["images"][1]
    folder.annotation(1, "cat")
    if "\\" in name:  # only the bare name is left to go by
        (folder.images / "another" / "1.png").unlink()
    data = coco.build(folder.write(), folder.images, size=8, min_box=32)
    assert data.images[0, 0, 0, 0] == 7


def test_unusable_images_are_named_and_left_out(folder):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    folder.image(1, "gone.png")
    folder.image(2, "cut.jpg", noise)
    folder.image(3, "small.png", plain(size=(32, 24)))
    folder.image(4, "text.png", plain())
    folder.image(5, "deep.png", Image.fromarray(np.full((48, 64), 30000, np.uint16)))
    folder.image(6, "fine.png", plain())
    cut = folder.images / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:1500])
    (folder.images / "text.png").write_text("not an image")
    for image_id in range(1, 7):
        folder.annotation(image_id, "cat")
    chosen = coco.select(folder.write(), min_box=32)
    with pytest.warns(
        UserWarning, match=r"^5 of 6 images left out: gone.png \(missing\)"
    ) as caught:
        data, kept, left_out = coco.rasterize(chosen, folder.images, size=16)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert list(left_out) == ["gone.png", "cut.jpg", "small.png", "text.png", "deep.png"]
    assert "(32, 24)" in left_out["small.png"]
    assert "unreadable" in left_out["cut.jpg"]
    assert "unreadable" in left_out["text.png"]
    assert "I;16" in left_out["deep.png"]
    assert [image.file_name for image in kept] == ["fine.png"]
    assert (len(data), data.masks.sum(), len(data.boxes)) == (1, 80, 1)


def test_a_long_list_of_missing_images_is_cut_short():
    left_out = {f"{i}.jpg": "missing" for i in range(7)}
    line = coco.describe_left_out(left_out, 9)
    assert line.startswith("7 of 9 images left out: 0.jpg (missing), ")
    assert line.endswith("4.jpg (missing) and 2 more")


def test_an_instance_that_vanishes_has_no_box(folder):
    dot = np.zeros((HEIGHT, WIDTH), bool)
    dot[0, 0] = True  # between the pixels that nearest neighbor takes
    for image_id in (1, 2):
        folder.image(image_id, f"{image_id}.png", plain())
        folder.annotation(image_id, "bus", run_lengths(dot))
    folder.annotation(2, "cat")
    chosen = coco.select(folder.write(), instances="any")
    with pytest.warns(UserWarning, match=r"1 of 2 images left out: 1.png \(nothing of it is left"):
        data, kept, _ = coco.rasterize(chosen, folder.images, size=16)
    assert ids(kept) == [2]
    assert data.boxes == [[(1, 2, 3, 9, 12)]]
    assert not data.masks[0, 2].any()


def test_the_set_survives_saving(mixed, tmp_path):
    data = coco.build(mixed.json, mixed.images, size=16, min_box=32, name="a test")
    data.save(tmp_path / "set")
    again = SegmentationSet.load(tmp_path / "set")
    np.testing.assert_array_equal(again.masks, data.masks)
    assert (again.boxes, again.classes, again.name) == (data.boxes, COCO3, "a test")


def test_the_manifest_credits_every_image(folder, tmp_path):
    folder.image(2, "2.png", license=4, flickr_url="http://flickr/2", coco_url="http://coco/2")
    folder.annotation(2, "cat")
    folder.annotation(2, "pizza")
    folder.annotation(2, "cat")
    folder.image(1, "1, é.png", license=99)
    folder.annotation(1, "bus")
    chosen = coco.select(folder.write(), instances="any")
    coco.write_manifest(tmp_path / "manifest.csv", chosen)
    with (tmp_path / "manifest.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first.values()) == ["1", "1, é.png", "bus", "", "", "", "", "64", "48"]
    assert second == {
        "image_id": "2",
        "file_name": "2.png",
        "class": "cat+pizza",
        "license": "Attribution License",
        "license_url": "http://cc/by",
        "flickr_url": "http://flickr/2",
        "coco_url": "http://coco/2",
        "width": "64",
        "height": "48",
    }


def test_the_command_downloads_and_builds_by_one_rule(folder, tmp_path, capsys, monkeypatch):
    asked = []

    def fetch_annotations(out, split):
        asked.append((out, split))
        return folder.json

    def fetch_images(out, split, sizes):
        asked.append((out, split, sizes))

    folder.image(1, "1.png", plain())
    folder.annotation(1, "cat")
    folder.annotation(1, "bus")
    folder.write()
    monkeypatch.setattr("seghw.data.download.fetch_annotations", fetch_annotations)
    monkeypatch.setattr("seghw.data.download.fetch_images", fetch_images)
    arguments = ["--download", str(folder.root), "--split", "val2017", "--classes", "cat", "bus"]
    arguments += ["--min-box", "32", "--instances", "any", "--size", "16"]
    assert main(["data", "coco", *arguments, "--out", str(tmp_path / "set")]) == 0
    assert asked == [
        (folder.root, "val2017"),
        (folder.root, "val2017", {"1.png": (64, 48)}),
    ]
    assert capsys.readouterr().out.startswith("1 images of 16 x 16 (1 cat, 1 bus)")
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "images.npy",
        "manifest.csv",
        "masks.npy",
        "set.json",
    ]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_a_tight_box_holds_the_mask_and_touches_it_on_every_side(mask):
    x0, y0, x1, y1 = coco.tight_box(mask)
    inside = mask[y0 : y1 + 1, x0 : x1 + 1]
    assert inside.sum() == mask.sum()
    assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def fails(call, *words):
    """Assert that ``call`` raises one clear line that holds ``words``."""
    with pytest.raises(BadInput) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\x89PNG\xff", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ("[]", "a list"),
        ("{}", "'images'"),
        ('{"images": []}', "'annotations'"),
        ('{"images": [], "annotations": []}', "'categories'"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images'"),
        ('{"images": [3], "annotations": [], "categories": []}', "images[0] is 3"),
        ('{"images": [], "annotations": [{"id": 1}], "categories": []}', "'image_id'"),
        ('{"images": [], "annotations": [], "categories": [{"id": "a"}]}', "'id'"),
        ('{"images": [], "annotations": [], "categories": [], "licenses": 1}', "'licenses'"),
    ],
)
def test_a_file_that_is_not_coco(tmp_path, content, word):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="latin-1")
    fails(lambda: coco.select(path), str(path), word, "instances_*.json")


def test_a_missing_annotation_file(tmp_path):
    fails(lambda: coco.select(tmp_path / "none.json"), "none.json", "No such file")


@pytest.mark.parametrize("bbox", [[1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, None]])
def test_a_wrong_bbox(folder, bbox):
    folder.image(1, "1.png")
    folder.annotation(1, "cat", bbox=bbox)
    fails(lambda: coco.select(folder.write()), "annotation 1000", "[x, y, width, height]")


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_an_id_that_stands_twice(folder, part):
    """As in two files merged without new numbers."""
    folder.image(1, "1.png", plain())
    folder.annotation(1, "cat")
    folder.content[part].append(folder.content[part][0])
    folder.write()
    fails(lambda: coco.build(folder.json, folder.images, min_box=1), part, "stand twice")


def test_images_of_two_cameras_are_not_mixed_up(folder):
    for image_id, place in ((1, "cam1/1.png"), (2, "cam2/1.png")):
        folder.image(image_id, place, plain(color=(image_id, 0, 0)))
        folder.content["images"][-1]["file_name"] = place
        folder.annotation(image_id, "cat")
    data = coco.build(folder.write(), folder.images, size=8, min_box=32)
    assert data.images[:, 0, 0, 0].tolist() == [1, 2]
    (folder.images / "cam2" / "1.png").unlink()
    with pytest.warns(UserWarning, match=r"cam2/1\.png \(missing\)"):
        data = coco.build(folder.json, folder.images, size=8, min_box=32)
    assert data.images[:, 0, 0, 0].tolist() == [1]


def test_an_image_without_pixels(folder):
    folder.image(1, "1.png", size=(0, 4))
    fails(lambda: coco.select(folder.write()), "image 1 ")


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[]],
        [[1, 2]],
        {},
        {"counts": [9], "size": [4, 4]},
        {"counts": [9], "size": [HEIGHT, WIDTH]},
        {"counts": [0, WIDTH * HEIGHT - 1], "size": [HEIGHT, WIDTH]},
        {"counts": [0, WIDTH * HEIGHT + 1], "size": [HEIGHT, WIDTH]},
        {"counts": "zz", "size": [HEIGHT, WIDTH]},
        # Each of these ends the interpreter inside pycocotools.
        [[8, 8, 40, 8, float("nan"), 40]],
        [[8, 8, 40, 8, float("inf"), 40]],
        [[8, 8, 40, 8, 1e7, 40]],
        [[8, 8, 40, 8, None, 40]],
        [[8, 8, 40, 8, 40, 40, 8]],
        [[8, 8, 40, 8, "40", 40]],
    ],
)
def test_a_malformed_segmentation(folder, segmentation):
    folder.image(1, "1.png", plain())
    folder.annotation(1, "cat", segmentation)
    folder.write()
    fails(lambda: coco.build(folder.json, folder.images, min_box=1), "annotation 1000", "1.png")


def test_an_unknown_class(mixed):
    fails(lambda: coco.select(mixed.json, ("pizzza", "cat")), "'pizzza'", "mean pizza?")
    fails(
        lambda: coco.select(mixed.json, ("xylophone",)), "'xylophone'", "use cat, bus, pizza, dog"
    )


@pytest.mark.parametrize("classes", ["cat", (), ("cat", "cat")])
def test_classes_must_be_different_names(mixed, classes):
    fails(lambda: coco.select(mixed.json, classes), repr(classes))


def test_an_unknown_rule(mixed):
    fails(lambda: coco.select(mixed.json, instances="many"), "'many'", "'single'")


def test_nothing_selected_says_what_removed_the_images(mixed):
    fails(
        lambda: coco.select(mixed.json),
        "none of 6 images",
        "3 have a box under 200 pixels",
        "1 hold more than one instance",
        "2 hold no instance of pizza, cat, bus",
    )


@pytest.mark.parametrize("size", [0, -8, 12, 64.0])
def test_size_must_be_a_multiple_of_8(mixed, size):
    fails(lambda: coco.build(mixed.json, mixed.images, size=size, min_box=32), repr(size), "of 8")


def test_the_image_folder(mixed, tmp_path):
    def build(images):
        return lambda: coco.build(mixed.json, images, min_box=32)

    fails(build(tmp_path / "none"), "none is missing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    fails(build(tmp_path / "empty"), "empty holds no image file")
    (tmp_path / "other").mkdir()
    plain().save(tmp_path / "other" / "holiday.png")
    fails(build(tmp_path / "other"), "other yields no image", "2 of 2", "3.png (missing)")


@pytest.fixture(scope="module")
def coco_mini():
    if "SEGHW_COCO_MINI" not in os.environ:
        pytest.skip("SEGHW_COCO_MINI does not name a folder with real COCO images")
    root = Path(os.environ["SEGHW_COCO_MINI"])
    return root / "annotations" / "instances_mini.json", root / "images"


def test_real_coco_gives_18_images(coco_mini):
    data = coco.build(*coco_mini, size=64)
    assert data.images.shape == (18, 3, 64, 64)
    assert np.bincount([box[0] for (box,) in data.boxes]).tolist() == [5, 8, 5]
    assert data.masks.any(axis=(2, 3)).sum() == 18


def test_real_coco_masks_are_those_of_pycocotools(coco_mini, capsys):
    reference = COCO(str(coco_mini[0]))
    names = [category["name"] for category in reference.loadCats(reference.getCatIds())]
    chosen = coco.select(coco_mini[0], names, instances="any")
    seen = 0
    for image in chosen:
        for name, annotation in image.objects:
            mask = coco.instance_mask(image, annotation)
            with warnings.catch_warnings():  # pycocotools 2.0.11 under numpy 2
                warnings.simplefilter("ignore", DeprecationWarning)
                expected = reference.annToMask(reference.anns[annotation["id"]])
            np.testing.assert_array_equal(mask, expected)
            assert reference.loadCats(annotation["category_id"])[0]["name"] == name
            seen += 1
    assert seen == len(reference.getAnnIds(iscrowd=False)) == 371


def test_real_coco_sets_hold_pycocotools_masks_on_every_image(coco_mini, capsys):
    """Through ``build``: all 80 categories, each instance united and resized by hand."""
    size = 64
    reference = COCO(str(coco_mini[0]))
    names = {c["id"]: c["name"] for c in reference.dataset["categories"]}
    planes = {category: plane for plane, category in enumerate(names)}
    data, kept, left_out = coco.rasterize(
        coco.select(coco_mini[0], list(names.values()), instances="any"),
        coco_mini[1],
        list(names.values()),
        size,
    )
    assert left_out == {}
    assert len(kept) == sum(
        any(not a["iscrowd"] for a in reference.imgToAnns[i]) for i in reference.imgs
    )
    for image, masks in zip(kept, data.masks, strict=True):
        width, height = image.size
        # Nearest neighbor: the source pixel that holds the center of the new one.
        grid = np.ix_(*((2 * np.arange(size) + 1) * side // (2 * size) for side in (height, width)))
        expected = np.zeros_like(masks)
        for annotation in reference.imgToAnns[image.record["id"]]:
            if not annotation["iscrowd"]:
                with warnings.catch_warnings():  # pycocotools 2.0.11 under numpy 2
                    warnings.simplefilter("ignore", DeprecationWarning)
                    mask = reference.annToMask(annotation)
                expected[planes[annotation["category_id"]]] |= mask[grid].astype(bool)
        np.testing.assert_array_equal(masks, expected)


def test_the_command_builds_any_instances_with_their_credits(coco_mini, tmp_path, capsys):
    out = tmp_path / "any"
    arguments = ["--annotations", str(coco_mini[0]), "--images", str(coco_mini[1])]
    arguments += ["--instances", "any", "--size", "32", "--out", str(out)]
    assert main(["data", "coco", *arguments]) == 0
    data = SegmentationSet.load(out)
    assert len(data) == 41
    assert max(len(boxes) for boxes in data.boxes) > 1
    assert capsys.readouterr().out.startswith("41 images of 32 x 32 (")
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    annotated = {str(i["id"]): i for i in json.loads(coco_mini[0].read_bytes())["images"]}
    assert len({row["image_id"] for row in rows}) == len(rows) == 41
    for row in rows:
        source = annotated[row["image_id"]]
        assert row["flickr_url"] == (source["flickr_url"] or "")
        assert row["coco_url"] == (source["coco_url"] or "")
        assert bool(row["license"]) == bool(source["license"])  # one image comes without


def test_real_coco_boxes_lie_where_coco_says(coco_mini):
    chosen = coco.select(coco_mini[0])
    data = coco.rasterize(chosen, coco_mini[1], size=256).data
    for image, boxes in zip(chosen, data.boxes, strict=True):
        x, y, width, height = image.objects[0][1]["bbox"]
        scale = np.array([256 / image.size[0], 256 / image.size[1]] * 2)
        annotated = np.array([x, y, x + width - 1, y + height - 1]) * scale
        assert np.abs(np.array(boxes[0][1:]) - annotated).max() < 2.5
