"""Kinds of bad input, over the whole field: one clear line or the right answer, nothing else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seghw.config import classes_of, dataset_of
from seghw.data import coco
from seghw.errors import BadInput

WIDTH, HEIGHT = 320, 280
BOX = [30, 40, 220, 210]
ODD = [-1, 0, 1e308, 10**400, -(2**63), float("nan"), float("inf"), None, "7", []]
numbers = st.sampled_from(ODD)


def answer(root, name="cat", **about):
    """The set built of one image with one cat, sound but for ``about``, or what refuses it."""
    corners = [30, 40, 250, 40, 250, 250, 30, 250]
    image = {"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}
    image |= {side: about.pop(side) for side in ("width", "height") if side in about}
    cat = {"id": 7, "image_id": 1, "category_id": 3, "bbox": BOX, "segmentation": [corners]}
    whole = {"images": [image], "annotations": [cat | about]}
    whole["categories"] = [{"id": 3, "name": name}]
    (root / "a.json").write_text(json.dumps(whole), encoding="utf-8")
    if not (root / "1.png").exists():
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "1.png")
    try:
        return coco.build(root / "a.json", root, [name], 32)
    except BadInput as error:
        line = str(error)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(
    "box",
    [
        *([30, 40, 250, 250], [0, 0, 320, 280], [30, 40, 220], [250, 250, -220, -210]),
        *([0.1, 0.1, 1, 1], [40, 40, 220, 210], [30, 40, 220, 200], "7777", None),
        *([30, 40, odd, 210] for odd in ODD),
    ],
)
def test_a_box_that_is_not_its_mask_s_is_refused(tmp_path, box):
    """Corners, the whole image, three numbers, from the other corner, shares of the image ..."""
    assert any(word in answer(tmp_path, bbox=box) for word in ("bbox", "a box under 200 pixels"))
    small = [[30, 40, 60, 40, 60, 70, 30, 70]]
    assert "bbox" in answer(tmp_path, bbox=BOX, segmentation=small)
    edge = [[0, 40, 220, 40, 220, 250, 0, 250]]
    assert "bbox" in answer(tmp_path, bbox=[-3, 40, 223, 210], segmentation=edge)
    # Some pixels are the annotator's: 220 of 320 and 210 of 280 pixels are 22 and 24 of 32.
    assert answer(tmp_path, bbox=[28, 43, 219, 208.5]).masks.sum() == 22 * 24


size = st.lists(st.sampled_from([HEIGHT, WIDTH, 1, 2**31, 2**63, *ODD]), max_size=3)
runs = st.lists(st.sampled_from([40, WIDTH * HEIGHT, 2**32, 2**63, *ODD]), max_size=5)
runs |= st.text(st.characters(codec="ascii"), max_size=9) | st.text(max_size=3) | numbers
outlines = st.lists(st.lists(st.integers(-50, 700) | numbers, max_size=9) | numbers, max_size=3)
outlines |= st.fixed_dictionaries({"size": size | st.just([HEIGHT, WIDTH]), "counts": runs})


@settings(max_examples=600)
@given(outlines)
def test_no_outline_ends_the_interpreter(tmp_path, outline):
    """Refused in a line, or filled."""
    built = answer(tmp_path, segmentation=outline)
    assert "outline" in built if isinstance(built, str) else built.masks.any()


@pytest.mark.parametrize(
    "about",
    [
        {"segmentation": {"size": [4, 4], "counts": "0PPPPPPPPPPPPPPPPPPPPPPPPPP"}},
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 320 * 280 - 1]}},
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 2**45]}},
        {"segmentation": [[0, 0, 639, 559] * 2000]},  # an outline of over a million pixels
        {"width": 10**9, "height": 10**9},
        {"width": 65_000, "height": 65_000},
        {"width": 0},
    ],
)
def test_what_takes_memory_is_measured_first(tmp_path, about):
    line = answer(tmp_path, **about)
    assert "instances_*.json" in line or "no usable outline" in line


@given(st.text(st.sampled_from("ab é/\\+:*?\"<>|\n\t\0'.-[](){}$~"), min_size=1, max_size=4))
def test_a_class_that_can_be_built_can_be_trained(tmp_path, name):
    """Its name reaches paths; ``classes_of`` says what a run can carry."""
    built = answer(tmp_path, name)
    if set(name) & set('/\\+:*?"<>|\n\t\0'):
        assert built.startswith(f"class {name!r} cannot be part of a run's name")
    else:
        assert classes_of(dataset_of([name])) == built.classes
