"""The homework's rule, masks and boxes by hand and by pycocotools, and what is left out."""

import csv
import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
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


def square(x, y, side, height=None):
    """A polygon of which pycocotools fills [x, x + side) x [y, y + side), and its box."""
    height = height or side
    corners = [x, y, x + side, y, x + side, y + height, x, y + height]
    return {"segmentation": [corners], "bbox": [x, y, side, height]}


SQUARE = square(8, 8, 32)
SQUARE_MASK = np.pad(np.ones((32, 32), bool), ((8, 8), (8, 24)))


def run_lengths(mask):
    """COCO's uncompressed form, by hand, and the box: runs down the columns, zeros first."""
    runs = [(value, len([*run])) for value, run in groupby(mask.ravel(order="F"))]
    counts = [0] * bool(runs[0][0]) + [length for _, length in runs]
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    segmentation = {"counts": counts, "size": list(mask.shape)}
    return {"segmentation": segmentation, "bbox": [int(side) for side in box]}


def compressed(mask):
    code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    segmentation = {"counts": code["counts"].decode(), "size": code["size"]}
    return run_lengths(mask) | {"segmentation": segmentation}


class Folder:
    """A COCO-format folder in the making."""

    def __init__(self, root: Path) -> None:
        self.json, self.images = root / "instances_test.json", root / "images"
        self.images.mkdir(parents=True)
        licenses = [{"id": 4, "name": "Attribution License", "url": "http://cc/by"}]
        categories = [{"id": i, "name": name} for name, i in CATEGORIES.items()]
        self.content = {"images": [], "annotations": [], "categories": categories}
        self.content["licenses"] = licenses

    def image(self, image_id, *objects, name=None, picture="red", size=(WIDTH, HEIGHT), **fields):
        """List an image and its (category, fields) and, unless ``picture`` is None, write it."""
        name = name or f"{image_id}.png"
        entry = {"id": image_id, "file_name": name, "width": size[0], "height": size[1]}
        self.content["images"].append(entry | fields)
        for category, about in objects:
            number = 1000 + len(self.content["annotations"])
            entry = {"id": number, "image_id": image_id, "category_id": CATEGORIES[category]}
            self.content["annotations"].append(entry | about)
        if picture is not None:
            picture = Image.new("RGB", size, picture) if isinstance(picture, str) else picture
            (self.images / name).parent.mkdir(parents=True, exist_ok=True)
            picture.save(self.images / name)
        return self

    def write(self):
        self.json.write_text(json.dumps(self.content), encoding="utf-8")
        return self.json

    def build(self, size=16, min_box=32, **rule):
        return coco.build(self.write(), self.images, size=size, min_box=min_box, **rule)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def mixed(folder):
    """Listed out of order: two images that the homework's rule takes, and every kind it leaves."""
    crowd = run_lengths(SQUARE_MASK) | {"iscrowd": 1}
    folder.image(9, ("cat", SQUARE))
    folder.image(3, ("bus", SQUARE), ("cat", crowd), ("dog", SQUARE))
    folder.image(4, ("cat", SQUARE), ("pizza", square(0, 0, 3)))
    folder.image(5, ("cat", crowd))
    folder.image(6, ("cat", square(0, 0, 40, 31)))
    folder.image(7, ("dog", SQUARE))
    folder.write()
    return folder


def ids(chosen):
    return [image.record["id"] for image in chosen]


def fails(call, *words):
    """Assert that ``call`` raises one clear line that holds ``words``."""
    with pytest.raises(BadInput) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_single_takes_the_homework_rule_in_order_of_id_and_any_no_crowd(mixed):
    assert ids(coco.select(mixed.json, min_box=32)) == [3, 9]
    assert ids(coco.select(mixed.content, min_box=31)) == [3, 6, 9]
    assert ids(coco.select(mixed.json, ("pizza", "bus"), min_box=1)) == [3, 4]
    chosen = coco.select(mixed.json, instances="any", min_area=5000)
    assert ids(chosen) == [3, 4, 6, 9]
    assert [name for name, _ in chosen[1].objects] == ["cat", "pizza"]
    fails(
        lambda: coco.select(mixed.json),
        "none of 6 images",
        "3 have a box under 200 pixels",
        "1 hold more than one instance",
        "1 hold no instance of pizza, cat, bus",
        "1 hold only crowds of pizza, cat, bus",
    )


def test_sides_and_areas_count_in_the_original_s_pixels(folder):
    """200 pixels of 640 are 20 of 64, and still enough; a triangle fills half of its box."""
    for image_id, sides in enumerate([(200, 200), (199, 400), (400, 199)]):
        folder.image(image_id, ("cat", square(10, 10, *sides)), size=(640, 480))
    data = folder.build(size=64, min_box=200)
    assert data.boxes == [[(1, 1, 1, 20, 27)]]
    assert data.names == ("0.png",)
    half = square(10, 10, 200)
    half["segmentation"][0] = half["segmentation"][0][:6]
    folder.image(3, ("cat", half), size=(640, 480)).write()
    assert ids(coco.select(folder.json, min_area=19_000)) == [0, 3]
    assert ids(coco.select(folder.json, min_area=40_000)) == [0]
    fails(lambda: coco.select(folder.json, min_area=40_001), "2 have a mask under 40001 pixels")


@pytest.mark.parametrize("encode", [lambda mask: SQUARE, run_lengths, compressed])
def test_masks_and_boxes_by_hand(folder, encode):
    data = folder.image(1, ("cat", encode(SQUARE_MASK))).build()
    # 64 x 48 to 16 x 16: nearest neighbor takes the columns 4i + 2 and the rows 3i + 1.
    np.testing.assert_array_equal(data.masks[0, 1], SQUARE_MASK[1::3, 2::4])
    assert not data.masks[0, [0, 2]].any()
    assert data.boxes == [[(1, 2, 3, 9, 12)]]
    assert data.classes == COCO3


def test_any_unites_a_class_and_has_a_box_an_instance(folder):
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    right = np.zeros((HEIGHT, WIDTH), bool)
    right[12:, 8:40] = True
    objects = [("cat", compressed(noise)), ("pizza", SQUARE), ("cat", run_lengths(right))]
    data = folder.image(1, *objects).build(instances="any")
    np.testing.assert_array_equal(data.masks[0, 1], (noise | right)[1::3, 2::4])
    np.testing.assert_array_equal(data.masks[0, 0], SQUARE_MASK[1::3, 2::4])
    assert data.boxes[0][1:] == [(0, 2, 3, 9, 12), (1, 2, 4, 9, 15)]


def test_every_mode_becomes_rgb(folder):
    pictures = {
        "gray.png": (Image.new("L", (64, 48), 90), (90, 90, 90)),
        "bits.png": (Image.new("1", (64, 48), 1), (255, 255, 255)),
        "ink.jpg": (Image.new("CMYK", (64, 48), (0, 255, 255, 0)), (255, 0, 0)),
        "clear.png": (Image.new("RGBA", (64, 48), (10, 200, 30, 128)), (10, 200, 30)),
        "plain.JPG": (Image.new("RGB", (64, 48), (10, 200, 30)), (10, 200, 30)),
    }
    for image_id, (name, (picture, _)) in enumerate(pictures.items()):
        folder.image(image_id, ("cat", SQUARE), name=name, picture=picture)
    expected = np.array([rgb for _, rgb in pictures.values()])[:, :, None, None]
    assert np.abs(folder.build().images - expected).max() <= 3


def test_images_are_antialiased_and_stay_aligned_with_masks(folder):
    board = Image.fromarray((np.indices((HEIGHT, WIDTH)).sum(0) % 2 * 255).astype(np.uint8))
    folder.image(1, ("cat", SQUARE), picture=board)
    folder.image(2, ("cat", SQUARE), picture=Image.fromarray(np.uint8(255 * SQUARE_MASK)))
    data = folder.build(size=24)
    assert np.abs(data.images[0].astype(int) - 127).max() < 25
    bright, mask = data.images[1, 0] > 127, data.masks[1, 1]
    assert (bright & mask).sum() / (bright | mask).sum() > 0.95


def test_files_lie_in_subfolders_and_names_may_say_which(folder):
    places = ("0.png", "train2017/1.png", "coco/val2017/2.png", "cam1/x.png", "cam2/x.png")
    for image_id, name in enumerate(places):
        picture = Image.new("RGB", (64, 48), (image_id, 0, 0))
        folder.image(image_id, ("cat", SQUARE), name=name, picture=picture)
    for image, name in enumerate(("0.png", "1.png", "2.png", "cam1\\x.png")):
        folder.content["images"][image]["file_name"] = name
    data = folder.build(size=8)
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    (folder.images / "cam2" / "x.png").unlink()
    with pytest.warns(UserWarning, match=r"1 of 5 images left out: cam2/x\.png \(missing\)"):
        assert len(folder.build(size=8)) == 4


def test_unusable_images_are_named_and_left_out(folder):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    deep = Image.fromarray(np.full((48, 64), 30000, np.uint16))
    dot = np.zeros((HEIGHT, WIDTH), bool)
    dot[0, 0] = True  # between the pixels that nearest neighbor takes
    pictures = {"gone.png": None, "cut.jpg": noise, "small.png": Image.new("RGB", (32, 24))}
    pictures |= {"text.png": noise, "deep.png": deep, "dot.png": noise, "fine.png": noise}
    for image_id, (name, picture) in enumerate(pictures.items()):
        about = run_lengths(dot) if name == "dot.png" else SQUARE
        folder.image(image_id, ("cat", about), name=name, picture=picture)
    folder.image(7, ("bus", run_lengths(dot)), ("cat", SQUARE))
    cut = folder.images / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:1500])
    (folder.images / "text.png").write_text("not an image")
    left_out = r"^6 of 8 images left out: gone.png \(missing\)"
    with pytest.warns(UserWarning, match=left_out) as caught:
        data = folder.build(instances="any")
    (line,) = [str(warning.message) for warning in caught]
    assert "small.png (is (32, 24), annotated as (64, 48))" in line
    assert "text.png (cannot identify" in line
    assert "deep.png (has more than 8 bits per channel (mode I;16)) and 1 more" in line
    assert data.names == ("fine.png", "7.png")
    assert data.boxes == [[(1, 2, 3, 9, 12)]] * 2
    assert not data.masks[1, 2].any()


def test_the_manifest_credits_every_image(folder, tmp_path):
    about = {"license": 4, "flickr_url": "http://flickr/2", "coco_url": "http://coco/2"}
    folder.image(2, ("cat", SQUARE), ("pizza", SQUARE), ("cat", SQUARE), **about)
    folder.image(1, ("bus", SQUARE), name="1, é.png", license=99)
    coco.write_manifest(tmp_path / "manifest.csv", coco.select(folder.write(), instances="any"))
    with (tmp_path / "manifest.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first.values()) == ["1", "1, é.png", "bus", "", "", "", "", "64", "48"]
    credit = "Attribution License http://cc/by http://flickr/2 http://coco/2"
    assert " ".join(second.values()) == f"2 2.png cat+pizza {credit} 64 48"


def test_the_command_downloads_and_builds_by_one_rule(folder, tmp_path, capsys, monkeypatch):
    asked = []
    folder.image(1, ("cat", SQUARE), ("bus", SQUARE)).write()
    monkeypatch.setattr(
        "seghw.data.download.fetch_annotations", lambda *given: asked.append(given) or folder.json
    )
    monkeypatch.setattr("seghw.data.download.fetch_images", lambda *given: asked.append(given))
    root = tmp_path.resolve()
    rule = ["--classes", "cat", "bus", "--min-box", "32", "--instances", "any", "--size", "16"]
    download = ["--download", str(root), "--split", "val2017"]
    brought = ["--annotations", str(folder.json), "--images", str(folder.images)]
    for out, source in (("set", download), ("again", brought)):
        assert main(["data", "coco", *source, *rule, "--out", str(tmp_path / out)]) == 0
        assert capsys.readouterr().out.startswith("1 images of 16 x 16 (1 cat, 1 bus)")
        names = {path.name for path in (tmp_path / out).iterdir()}
        assert names == {"images.npy", "manifest.csv", "masks.npy", "set.json"}
        assert SegmentationSet.load(tmp_path / out).names == ("1.png",)
    assert asked == [(root, "val2017"), (root, "val2017", {"1.png": (64, 48)})]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "Expecting value"),
        ("\x89PNG\xff", "decode"),
        ("[" * 200_000, "recursion"),
        ('{"images": {}}', "no list of 'images'"),
        ('{"images": [3]}', "images hold 3"),
        ('{"images": [], "annotations": [{"id": 1}]}', "'image_id'"),
        ('{"images": [], "annotations": [], "categories": [], "licenses": 1}', "'licenses'"),
    ],
)
def test_a_file_that_is_not_coco(tmp_path, content, word):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="latin-1")
    fails(lambda: coco.select(path), str(path), word, "instances_*.json")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"classes": ("pizzza", "cat")}, ["'pizzza'", "use pizza"]),
        ({"classes": ("xylo",)}, ["'xylo'", "use cat, bus, pizza, dog"]),
        ({"classes": "cat"}, ["'cat'"]),
        ({"classes": ()}, ["()"]),
        ({"classes": ("cat", "cat")}, ["('cat', 'cat')"]),
        ({"instances": "many"}, ["'many'", "'single'"]),
        ({"size": 12}, ["12", "of 8"]),
        ({"size": 8 << 20}, ["do not fit in memory"]),
    ],
)
def test_other_mistakes_are_named(mixed, rule, words):
    fails(lambda: mixed.build(**rule), *words)


def test_merged_files_and_missing_images_are_named(mixed, tmp_path):
    fails(lambda: coco.build(mixed.json, tmp_path / "none", min_box=32), "none holds no image")
    for part in ("images", "annotations", "categories"):  # as in files merged without new numbers
        mixed.content[part].append(mixed.content[part][0])
        fails(mixed.build, part, "stands twice")
        mixed.content[part].pop()
    for path in mixed.images.iterdir():
        path.rename(path.with_stem(f"other{path.stem}"))
    fails(mixed.build, "images yields no image", "2 of 2", "3.png (missing)")


@pytest.mark.filterwarnings("ignore:__array__ impl")  # pycocotools 2.0.11 under NumPy 2
def test_real_coco_gives_18_images_and_pycocotools_masks(coco_mini):
    """By the rule 18; through ``build`` all 80 categories, instances united and resized by hand."""
    files = coco_mini / "annotations" / "instances_mini.json", coco_mini / "images"
    data = coco.build(*files, size=256)
    assert np.bincount([box[0] for (box,) in data.boxes]).tolist() == [5, 8, 5]
    assert data.masks.any(axis=(2, 3)).sum() == len(data) == 18
    size, reference = 64, COCO(str(files[0]))
    names = {c["id"]: c["name"] for c in reference.dataset["categories"]}
    channels = {category: c for c, category in enumerate(names)}
    data = coco.build(*files, list(names.values()), size, instances="any")
    by_name = {image["file_name"]: image for image in reference.imgs.values()}
    instances = [a for a in reference.anns.values() if not a["iscrowd"]]
    assert len(data) == len({a["image_id"] for a in instances})
    for name, masks in zip(data.names, data.masks, strict=True):
        image = by_name[name]
        # Nearest neighbor: the source pixel that holds the center of the new one.
        sides = image["height"], image["width"]
        grid = np.ix_(*((2 * np.arange(size) + 1) * side // (2 * size) for side in sides))
        expected = np.zeros_like(masks)
        for annotation in (a for a in instances if a["image_id"] == image["id"]):
            mask = reference.annToMask(annotation).astype(bool)
            expected[channels[annotation["category_id"]]] |= mask[grid]
        np.testing.assert_array_equal(masks, expected)
