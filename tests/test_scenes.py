import contextlib
import io
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seghw.data import coco as seghw_coco
from seghw.data.dataset import tight_box
from seghw.data.scenes import layout as scene_layout
from seghw.data.scenes.canvas import SCALE, Canvas
from seghw.data.scenes.draw import draw_scenes
from seghw.data.scenes.layout import draw_scene
from seghw.data.scenes.outlines import Group, box, ellipse
from seghw.data.scenes.things import DISTRACTORS, WANTED
from seghw.errors import BadInput

COUNT, SEED = 240, 7
WANTED_IDS = {kind.id for kind in WANTED}


def masks_of(api, annotations):
    with warnings.catch_warnings():
        # pycocotools 2.0.11 still speaks an array protocol that numpy 2 calls deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return [api.annToMask(annotation).astype(bool) for annotation in annotations]


def load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def wanted(api, image_id):
    found = api.imgToAnns[image_id]
    return [a for a in found if a["category_id"] in WANTED_IDS and not a["iscrowd"]]


def qualifies(api, image_id):
    found = wanted(api, image_id)
    return len(found) == 1 and min(found[0]["bbox"][2:]) >= 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "drawn"
    path = draw_scenes(folder, COUNT, SEED)
    assert path == folder / "annotations" / "instances_scenes.json"
    return folder


@pytest.fixture(scope="module")
def api(folder):
    return load(folder / "annotations" / "instances_scenes.json")


def test_pycocotools_reads_cocos_own_fields(api, folder):
    assert set(api.dataset) == {"info", "licenses", "images", "annotations", "categories"}
    names = {c["id"]: c["name"] for c in api.dataset["categories"]}
    assert names.items() >= {6: "bus", 17: "cat", 59: "pizza", 37: "sports ball"}.items()
    assert len(names) == len(WANTED) + len(DISTRACTORS)
    fields = {"id", "image_id", "category_id", "iscrowd", "segmentation", "area", "bbox"}
    assert all(set(a) == fields and a["category_id"] in names for a in api.anns.values())
    licenses = {entry["id"] for entry in api.dataset["licenses"]}
    files = set()
    for image in api.imgs.values():
        with Image.open(folder / "images" / image["file_name"]) as opened:
            assert (opened.mode, opened.size) == ("RGB", (image["width"], image["height"]))
        assert image["license"] in licenses
        files.add(image["file_name"])
    assert files == {path.name for path in (folder / "images").iterdir()}


def test_ids_are_unique(api):
    assert len(api.imgs) == len(api.dataset["images"]) == COUNT
    assert len(api.anns) == len(api.dataset["annotations"]) > COUNT


def test_area_and_box_are_those_of_the_mask(api):
    annotations = list(api.anns.values())
    for annotation, mask in zip(annotations, masks_of(api, annotations), strict=True):
        assert mask.sum() == annotation["area"] >= 30
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x, y, width, height = annotation["bbox"]
        assert (x, y) == (columns[0], rows[0])
        assert (x + width - 1, y + height - 1) == (columns[-1], rows[-1])


def test_the_canvas_gives_each_owner_the_pixels_it_painted():
    canvas = Canvas(Image.new("RGB", (SCALE * 100, SCALE * 80), "white"), (0, 0, 0), 3.0, (0, 0))
    canvas.paint([Group([box(20, 10, 70, 50), ellipse(70, 30, 20, 10)], (60, 0, 0))], owner=1)
    canvas.paint([Group([box(40, 30, 60, 79)], (0, 60, 0))], owner=2)
    canvas.paint([Group([box(-30, 60, 130, 66)], (0, 0, 60))])
    first, second = (canvas.coverage(owner) > 128 for owner in (1, 2))
    # The outline lies round the shapes, 3 pixels wide; PIL's polygons include their last pixel.
    assert tight_box(first) == pytest.approx((17, 7, 92, 52), abs=1)
    assert tight_box(second) == pytest.approx((37, 27, 62, 79), abs=1)
    assert not (first & second).any()
    assert not second[58:68].any()
    assert second[69:].any()
    painted = np.asarray(canvas.picture(np.random.default_rng(0))).min(axis=2) < 128
    painted[55:71] = False  # the bar, which no one owns
    owned = first | second
    owned[55:71] = False
    assert not (owned & ~painted).any()
    assert not (painted & ~binary_dilation(owned)).any()


def test_polygons_and_run_lengths_are_the_painted_pixels(api):
    kinds = Counter()
    for i in range(40):
        scene = draw_scene(np.random.default_rng([SEED, i]), 384, 320)
        coverages = [scene.canvas.coverage(k + 1) > 128 for k in range(len(scene.instances))]
        painted = [mask for mask in coverages if mask.sum() >= 50]
        annotations = api.imgToAnns[i + 1]
        assert len(painted) == len(annotations)
        for annotation, mask, truth in zip(
            annotations, masks_of(api, annotations), painted, strict=True
        ):
            kind = type(annotation["segmentation"])
            kinds[kind] += 1
            missed = np.count_nonzero(mask != truth)
            # A polygon rounds the pixels of its outline, about one in four of them.
            outline = 2 * sum(annotation["bbox"][2:])
            assert missed == 0 if kind is dict else missed <= 0.6 * outline
    assert min(kinds[list], kinds[dict]) > 5


def test_masks_hold_visible_pixels_only(api):
    for image_id in list(api.imgs)[:100]:
        masks = masks_of(api, api.imgToAnns[image_id])
        overlap = np.sum(masks, axis=0) > 1
        # Polygons that share an outline may both round a pixel of it to themselves.
        assert overlap.sum() <= 0.01 * overlap.size


def test_large_objects_qualify_before_something_hides_up_to_a_sixth(monkeypatch):
    def masks_of_first_wanted():
        for i in range(40):
            scene = draw_scene(np.random.default_rng([SEED, i]), 384, 320)
            owners = [k for k, (kind, _) in enumerate(scene.instances, 1) if kind in WANTED]
            yield scene.canvas.coverage(owners[0]) > 128

    visible = list(masks_of_first_wanted())
    monkeypatch.setattr(scene_layout, "_occlude", lambda scene, thing: None)
    whole = list(masks_of_first_wanted())
    hidden = [1 - seen.sum() / mask.sum() for seen, mask in zip(visible, whole, strict=True)]
    assert 0.15 < np.mean(np.array(hidden) > 0) < 0.4
    assert 0.02 < max(hidden) < 1 / 6
    boxes = [tight_box(mask) for mask in whole if mask.mean() > 0.25]
    assert len(boxes) > 20
    assert min(min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes) > 205


def test_about_two_thirds_qualify_and_all_classes_alike(api):
    chosen = [image_id for image_id in api.imgs if qualifies(api, image_id)]
    assert 0.58 <= len(chosen) / COUNT <= 0.72
    counts = Counter(wanted(api, image_id)[0]["category_id"] for image_id in chosen)
    assert set(counts) == WANTED_IDS
    assert min(counts.values()) > 0.6 * max(counts.values())


def test_the_rest_holds_several_small_ones_or_crowds(api):
    rest = [image_id for image_id in api.imgs if not qualifies(api, image_id)]
    numbers = Counter(len(wanted(api, image_id)) for image_id in rest)
    assert set(numbers) == {0, 1, 2, 3}
    assert min(numbers.values()) >= 3
    crowds = [a for a in api.anns.values() if a["iscrowd"]]
    assert 3 <= len(crowds) <= 0.12 * COUNT
    assert all(isinstance(a["segmentation"]["counts"], list) for a in crowds)


def test_color_and_size_do_not_tell_the_classes_apart(api, folder):
    features, labels = [], []
    for image_id in (i for i in api.imgs if qualifies(api, i)):
        (annotation,) = wanted(api, image_id)
        (mask,) = masks_of(api, [annotation])
        with Image.open(folder / "images" / api.imgs[image_id]["file_name"]) as opened:
            pixels = np.asarray(opened) / 255
        features.append([*pixels[mask].mean(axis=0), *pixels.mean(axis=(0, 1)), mask.mean()])
        labels.append(annotation["category_id"])
    half = len(labels) // 2
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    linear.fit(features[:half], labels[:half])
    assert linear.score(features[half:], labels[half:]) < 0.6  # chance is 0.33


def test_our_reader_takes_them_for_coco(api, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = seghw_coco.build(
            folder / "annotations" / "instances_scenes.json", folder / "images", size=64
        )
    assert len(data) == sum(qualifies(api, image_id) for image_id in api.imgs)
    assert data.masks.any(axis=(2, 3)).sum(axis=1).tolist() == [1] * len(data)
    assert 0.25 < data.masks.any(axis=1).mean() < 0.55


def test_same_seed_same_bytes_and_a_longer_set_begins_with_the_shorter(tmp_path):
    short, again, longer, other = (
        draw_scenes(tmp_path / name, count, seed, size=(300, 280))
        for name, count, seed in [("a", 3, 5), ("b", 3, 5), ("c", 6, 5), ("d", 3, 6)]
    )
    assert short.read_bytes() == again.read_bytes()
    first = [(p.name, p.read_bytes()) for p in sorted((tmp_path / "a" / "images").iterdir())]
    for name in "bc":
        files = sorted((tmp_path / name / "images").iterdir())[:3]
        assert first == [(p.name, p.read_bytes()) for p in files]
    assert first[0][1] != (tmp_path / "d" / "images" / first[0][0]).read_bytes()
    begun, full = load(short).dataset, load(longer).dataset
    for part in ("images", "annotations"):
        assert full[part][: len(begun[part])] == begun[part]
    assert load(other).dataset["images"] != begun["images"]


@pytest.mark.parametrize("count", [0, -1, 2.5, "3", True])
def test_bad_count(tmp_path, count):
    with pytest.raises(BadInput, match=f"count must be .* got {count!r}$"):
        draw_scenes(tmp_path / "new", count, 0)
    assert not list(tmp_path.iterdir())


def test_bad_seed(tmp_path):
    with pytest.raises(BadInput, match=r"seed must be .* got -1$"):
        draw_scenes(tmp_path / "new", 1, -1)


@pytest.mark.parametrize("size", [(279, 320), (320, 1025), 320, (320,), (320.0, 320), "ab", None])
def test_bad_size(tmp_path, size):
    with pytest.raises(BadInput, match=r"size must be \(width, height\), .* got "):
        draw_scenes(tmp_path / "new", 1, 0, size=size)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="already exists; remove it or choose another"):
        draw_scenes(tmp_path, 1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
