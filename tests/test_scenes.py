"""Drawn scenes: outlines by formula, masks by what was painted, the format by pycocotools."""

import contextlib
import io
import warnings
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seghw.data import coco as seghw_coco
from seghw.data.dataset import tight_box
from seghw.data.scenes import draw_scenes, scene
from seghw.data.scenes.things import WANTED, Group, box, ellipse

# Of pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl")
COUNT, SEED = 240, 7
WANTED_IDS = {kind.id for kind in WANTED}
RED = (200, 40, 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "drawn"
    assert draw_scenes(folder, COUNT, SEED) == folder / "annotations" / "instances_scenes.json"
    return folder


@pytest.fixture(scope="module")
def api(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(folder / "annotations" / "instances_scenes.json")


def masks_of(api, annotations):
    return [api.annToMask(annotation).astype(bool) for annotation in annotations]


def wanted(api, image_id):
    of_image = api.imgToAnns[image_id]
    return [a for a in of_image if a["category_id"] in WANTED_IDS and not a["iscrowd"]]


def test_files_fields_areas_and_boxes_are_coco_s(api, folder):
    names = {c["id"]: c["name"] for c in api.dataset["categories"]}
    assert names.items() >= {6: "bus", 17: "cat", 59: "pizza", 37: "sports ball"}.items()
    assert len(api.imgs) == len(api.dataset["images"]) == COUNT
    for image in api.imgs.values():
        with Image.open(folder / "images" / image["file_name"]) as opened:
            assert (opened.mode, opened.size) == ("RGB", (image["width"], image["height"]))
    annotations = list(api.anns.values())
    assert len(annotations) == len(api.dataset["annotations"])
    for annotation, mask in zip(annotations, masks_of(api, annotations), strict=True):
        assert annotation["category_id"] in names
        assert mask.sum() == annotation["area"] >= 30
        x0, y0, x1, y1 = tight_box(mask)
        assert annotation["bbox"] == [x0, y0, x1 - x0 + 1, y1 - y0 + 1]


def test_each_owner_has_the_pixels_that_it_painted():
    drawn = scene.Scene(np.random.default_rng(0))
    drawn.add(WANTED[0], [Group([box(20, 10, 120, 90), ellipse(120, 50, 40, 20)], RED)])
    drawn.add(WANTED[1], [Group([box(60, 60, 100, 160)], RED)])
    drawn.paint([Group([box(-30, 120, 430, 132)], RED)])  # a bar that no one owns
    first, second = (drawn.coverage(owner) > 128 for owner in (1, 2))
    # The outline lies round the shapes, 2 to 5 pixels wide.
    assert tight_box(first) == pytest.approx((16.5, 6.5, 163.5, 93.5), abs=2.5)
    assert tight_box(second) == pytest.approx((56.5, 56.5, 103.5, 163.5), abs=2.5)
    assert not (first & second).any()
    assert not second[118:134].any()
    assert second[141:].any()


def test_polygons_and_run_lengths_are_the_painted_pixels(api):
    kinds = Counter()
    for i in range(40):
        drawn = scene.draw_scene(np.random.default_rng([SEED, i]))
        masks = [drawn.coverage(k + 1) > 128 for k in range(len(drawn.instances))]
        painted = [mask for mask in masks if mask.sum() >= 50]
        annotations = api.imgToAnns[i + 1]
        annotated = masks_of(api, annotations)
        for annotation, mask, truth in zip(annotations, annotated, painted, strict=True):
            kind = type(annotation["segmentation"])
            kinds[kind] += 1
            missed = np.count_nonzero(mask != truth)
            # A polygon rounds the pixels of its outline, about one in four of them.
            assert missed == 0 if kind is dict else missed <= 1.2 * sum(annotation["bbox"][2:])
        # Masks are of visible pixels: polygons that share an outline may both round one to them.
        assert (np.sum(annotated, axis=0) > 1).mean() <= 0.01
    assert min(kinds[list], kinds[dict]) > 5


def test_two_thirds_pass_the_rule_and_no_color_or_size_gives_a_class_away(api, folder):
    numbers = Counter(len(wanted(api, image_id)) for image_id in api.imgs)
    assert set(numbers) == {0, 1, 2, 3}
    crowds = [a for a in api.anns.values() if a["iscrowd"]]
    assert 3 <= len(crowds) <= 0.12 * COUNT
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = seghw_coco.build(folder / "annotations" / "instances_scenes.json", folder, size=64)
    single = [wanted(api, i) for i in api.imgs if len(wanted(api, i)) == 1]
    assert len(data) == sum(min(a["bbox"][2:]) >= 200 for (a,) in single)
    assert 0.58 <= len(data) / COUNT <= 0.72
    labels = data.masks.any(axis=(2, 3)).argmax(axis=1)
    assert min(np.bincount(labels)) > 0.6 * max(np.bincount(labels))
    masks = data.masks.any(axis=1)
    inside = [image[:, mask].mean(axis=1) for image, mask in zip(data.images, masks, strict=True)]
    features = np.column_stack([inside, data.images.mean(axis=(2, 3)), masks.mean(axis=(1, 2))])
    half = len(labels) // 2
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    linear.fit(features[:half], labels[:half])
    assert linear.score(features[half:], labels[half:]) < 0.6  # chance is 0.33


def test_same_seed_same_bytes_and_a_longer_set_begins_with_the_shorter(tmp_path):
    drawn = {}
    for name, count, seed in [("a", 3, 5), ("b", 3, 5), ("c", 6, 5), ("d", 3, 6)]:
        path = draw_scenes(tmp_path / name, count, seed)
        images = sorted((tmp_path / name / "images").iterdir())
        drawn[name] = [path.read_bytes(), *(image.read_bytes() for image in images)]
    assert drawn["a"] == drawn["b"]
    assert drawn["a"][1:] == drawn["c"][1:4]
    assert not {*drawn["a"]} & {*drawn["d"]}
