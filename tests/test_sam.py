"""The segmenter against direct calls of transformers on random weights; objects and clicks."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from seghw.config import class_specs
from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.sam import (
    SAM_TINY,
    first_click,
    load_sam,
    next_click,
    objects_of,
    segment_boxes,
    segment_everything,
    segment_points,
)

BOXES = np.array([[2, 3, 30, 28], [0, 0, 55, 39], [10, 10, 11, 12]])
POINTS = np.array([[[20, 10]], [[0, 39]], [[55, 0]], [[7, 31]]])


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """56 wide, 40 high: neither the model's side nor a square."""
    return np.random.default_rng(0).integers(0, 256, (3, 40, 56), np.uint8)


@pytest.fixture(scope="module", params=["sam", "sam2", "sam3_tracker"])
def folder(request, tmp_path_factory) -> Path:
    from tests.sam_models import SIDES, save_model

    family = request.param
    return save_model(family, tmp_path_factory.mktemp(family), SIDES[family][0])


@pytest.fixture(scope="module")
def opened(folder):
    return load_sam(folder)


@pytest.fixture(scope="module")
def tiny():
    return load_sam()


def direct(folder: Path, image: np.ndarray, multimask: bool, **prompts):
    """The library called as its documentation shows; all proposals, (K, M, H, W) and (K, M)."""
    import transformers

    model = transformers.AutoModelForMaskGeneration.from_pretrained(folder)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    inputs = processor(
        images=image, input_data_format="channels_first", return_tensors="pt", **prompts
    )
    sizes = [inputs.pop("original_sizes")]
    if "reshaped_input_sizes" in inputs:
        sizes.append(inputs.pop("reshaped_input_sizes"))
    with torch.no_grad():
        out = model(**inputs, multimask_output=multimask)
    masks = processor.post_process_masks(out.pred_masks, *sizes)[0]
    return masks.numpy(), out.iou_scores[0].numpy()


def same(segments, masks, scores):
    assert 0.02 < masks.mean() < 0.98, "trivial masks would prove nothing"
    np.testing.assert_array_equal(segments.masks, masks)
    np.testing.assert_allclose(segments.predicted_iou, scores, rtol=1e-4, atol=1e-5)
    assert (segments.masks.dtype, segments.predicted_iou.dtype) == (np.bool_, np.float32)


def test_prompts_give_the_masks_of_transformers(folder, opened, image, monkeypatch):
    """A box or several clicks ask for one mask; of a lone click the most trusted one counts."""
    monkeypatch.setattr("seghw.sam._AT_ONCE", 3)  # of four
    masks, scores = direct(folder, image, False, input_boxes=[BOXES.tolist()])
    same(segment_boxes(opened, image, BOXES), masks[:, 0], scores[:, 0])
    assert segment_boxes(opened, image, []).masks.shape == (0, 40, 56)
    prompts = {"input_points": [POINTS.tolist()], "input_labels": [[[1]] * 4]}
    masks, scores = direct(folder, image, True, **prompts)
    best = scores.argmax(1)
    same(segment_points(opened, image, POINTS), masks[np.arange(4), best], scores.max(1))
    points, labels = np.concatenate([POINTS, POINTS[::-1]], axis=1), [[1, 0]] * 4
    prompts = {"input_points": [points.tolist()], "input_labels": [labels]}
    masks, scores = direct(folder, image, False, **prompts)
    same(segment_points(opened, image, points, labels), masks[:, 0], scores[:, 0])


def test_everything_is_what_the_pipeline_of_transformers_finds(tiny, monkeypatch):
    from PIL import Image
    from transformers import pipeline

    picture = shapes.generate(3, 2).images[2]
    segments = segment_everything(tiny, picture)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # which the pipeline would leave behind
    with torch.random.fork_rng(devices=[]):  # the pipeline and its loader draw
        generate = pipeline("mask-generation", model=str(SAM_TINY), device="cpu")
        theirs = generate(Image.fromarray(picture.transpose(1, 2, 0)), points_per_crop=8)
    assert len(segments.masks) >= 3
    np.testing.assert_allclose(segments.predicted_iou, theirs["scores"].numpy(), rtol=1e-4)
    np.testing.assert_array_equal(segments.masks, np.stack(theirs["masks"]))
    none = segment_everything(tiny, np.zeros((3, 64, 64), np.uint8))
    assert none.masks.shape == (0, 64, 64)


def test_an_image_is_encoded_once_and_another_in_the_same_array_anew(opened, image, monkeypatch):
    picture = image.copy()
    first = segment_boxes(opened, picture, BOXES)
    with monkeypatch.context() as patch:
        patch.setattr(type(opened.model), "get_image_embeddings", None)
        segment_points(opened, image, POINTS)
    picture[:] = 255 - picture
    assert (segment_boxes(opened, picture, BOXES).masks != first.masks).any()


def test_sam_tiny_is_named_wherever_it_is_asked_for(tiny, opened, folder):
    assert tiny.name == load_sam(SAM_TINY).name == "SAM-tiny, trained here"
    assert opened.name == folder.name
    assert not opened.model.training


def test_transformers_is_imported_only_when_used():
    code = "import sys, seghw.sam; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput, match=r"pip install -e \.\[sam\]"):
        load_sam()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("config.json", b'{"model_type": "bert"}', "'bert' is none of sam, sam2"),
        ("config.json", b"{", "valid JSON"),
        ("config.json", None, "model_type"),
        ("model.safetensors", None, "no file named model.safetensors"),
        ("model.safetensors", b"cut", "header"),
        ("model.safetensors", save({}, {"format": "pt"}), r"weights are missing, such as 'mask_"),
        ("processor_config.json", None, "processor"),
    ],
)
def test_damaged_folders_are_told_in_one_line(tmp_path, name, content, complaint):
    folder = shutil.copytree(SAM_TINY, tmp_path / "model")
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    told = rf"^\S+ is no SAM that can be opened.*{complaint}"
    # transformers draws the weights that are missing.
    with torch.random.fork_rng(devices=[]), pytest.raises(BadInput, match=told) as caught:
        load_sam(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["facebook/no-such-sam", "sam", "/no/such/folder"])
def test_what_is_not_here_is_not_fetched(source, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("the network"))
    with pytest.raises(BadInput, match=r"'facebook/sam-vit-base', fetched .*`hf download`"):
        load_sam(source)


def two_class_set(*boxes: tuple[int, ...], size: int = 16) -> SegmentationSet:
    """One gray image; every box is filled in the channel of its class."""
    masks = np.zeros((1, 2, size, size), np.bool_)
    for class_index, x0, y0, x1, y1 in boxes:
        masks[0, class_index, y0 : y1 + 1, x0 : x1 + 1] = True
    images = np.zeros((1, 3, size, size), np.uint8)
    return SegmentationSet(images, masks, [list(boxes)], class_specs(("a", "b")))


def test_an_object_is_its_class_inside_its_box_unless_another_overlaps():
    # The first two share one pixel, (4, 6); the third belongs to another class.
    masks, exact = objects_of(two_class_set((0, 1, 2, 4, 6), (0, 4, 6, 9, 9), (1, 4, 6, 5, 7)), 0)
    assert exact.tolist() == [False, False, True]
    assert masks[2].sum() == 4
    # One pixel further right they do not.
    masks, exact = objects_of(two_class_set((0, 1, 2, 4, 6), (0, 5, 6, 9, 9)), 0)
    assert exact.tolist() == [True, True]
    assert masks.sum((1, 2)).tolist() == [4 * 5, 5 * 4]
    assert objects_of(two_class_set(), 0)[0].shape == (0, 16, 16)


def test_drawn_objects_that_overlap_are_told_apart_by_their_color():
    data = two_class_set((0, 1, 2, 4, 6), (0, 3, 4, 9, 9))
    data.images[0, :, 2:7, 1:5] = 100
    data.images[0, :, 4:10, 3:10] = 200  # over the first, of which 4 x 5 - 2 x 3 pixels show
    masks, exact = objects_of(data, 0)
    assert exact.all()
    assert masks.sum((1, 2)).tolist() == [14, 42]
    assert not (masks[0] & masks[1]).any()
    assert not objects_of(data, 0, by_color=False)[1].any()
    data.images[0, 0, 4, 3:10] = 99  # a row of another color: nobody has its box, or the rest's
    assert objects_of(data, 0)[1].tolist() == [True, False]


def test_the_first_click_is_the_innermost_pixel():
    mask = np.zeros((9, 12), np.bool_)
    mask[1:8, 1] = True
    mask[5:8, 1:4] = True  # an L: the thick end counts, not the center of mass
    assert first_click(mask) == (2, 6, 1)
    assert first_click(np.ones((5, 5), np.bool_)) == (2, 2, 1), "beyond the image is outside"


def test_the_next_click_is_the_middle_of_the_largest_error():
    mask = np.zeros((16, 16), np.bool_)
    mask[1:8, 1:8] = True
    predicted = mask.copy()
    assert next_click(mask, predicted) == first_click(mask) == (4, 4, 1)
    predicted[2:5, 2:5] = False  # 9 pixels missed
    assert next_click(mask, predicted) == (3, 3, 1)
    predicted[10:15, 9:12] = True  # 15 pixels too many
    assert next_click(mask, predicted) == (10, 11, 0)
    predicted[0] = True  # 16 pixels, a line, which is not as deep
    assert next_click(mask, predicted) == (0, 0, 0) != first_click(predicted & ~mask)
