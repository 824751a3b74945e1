"""The canvas asks for what is drawn on it; explorers move within limits of their own."""

import json
import os
import runpy

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ipywidgets import IntSlider
from matplotlib.figure import Figure
from pycocotools import mask as coco

from seghw import widgets
from seghw.config import COCO3, ROOT
from seghw.data import SegmentationSet
from seghw.runs import load_runs
from seghw.sam import Segments
from seghw.widgets.explorers import Explorer


@pytest.fixture
def asked(monkeypatch):
    """A segmenter that notes what it is asked and answers with the left half of the image."""
    prompts = []

    def answer(_, image, prompt, labels=None):
        prompts.append(prompt.tolist())
        half = np.zeros((1, *image.shape[1:]), np.bool_)
        half[..., : image.shape[2] // 2] = True
        return Segments(half, np.array([0.75], np.float32))

    monkeypatch.setattr("seghw.sam.segment_points", answer)
    monkeypatch.setattr("seghw.sam.segment_boxes", answer)
    return prompts


def two_cats(second):
    """Eight rows, twelve columns: a cat at columns 0 to 2 and another at the columns given."""
    masks = np.zeros((1, 3, 8, 12), bool)
    masks[0, 1, :, :3] = masks[0, 1, :, slice(*second)] = True
    boxes = [[(1, 0, 0, 2, 7), (1, second[0], 0, second[1] - 1, 7)]]
    return SegmentationSet(np.zeros((1, 3, 8, 12), np.uint8), masks, boxes, COCO3, "cats")


@pytest.mark.filterwarnings("ignore:__array__ impl")  # pycocotools and NumPy 2
def test_the_canvas_asks_for_what_is_drawn_on_it(asked):
    """The stand-in's mask is the left half, columns 0 to 5: of it the first cat is half."""
    data = two_cats((8, 12))
    canvas = widgets.PromptCanvas(None, data.images[0], data)
    canvas.points = [[6, 4, 1]]
    assert asked.pop() == [[[6, 4]]]
    labels = np.frombuffer(canvas.labels, np.uint8).reshape(8, 12)
    assert labels.sum(0).tolist() == [8] * 6 + [0] * 6
    assert "predicted IoU 0.75; IoU with the cat 1 of 2 from the left 0.50" in canvas.text
    truth = np.frombuffer(canvas.truth, bool).reshape(8, 12)
    assert truth.any(0).nonzero()[0].tolist() == [0, 1, 2]
    [annotation] = json.loads(canvas.coco)
    assert (coco.decode(annotation["segmentation"]) == labels).all()
    assert (annotation["bbox"], annotation["area"]) == ([0, 0, 6, 8], 48)
    canvas.points = []
    assert not any(canvas.labels)
    assert "Click on an object" in canvas.text
    canvas.set_state({"points": [], "box": [3, 2, 6, 4]})
    assert asked.pop() == [[3, 2, 6, 4]]
    canvas.set_state({"points": [[6, 4, 1]], "box": []})
    assert asked == [[[[6, 4]]]], "asked once"


def test_an_object_whose_own_mask_is_not_known_is_not_scored(asked):
    """The cats' boxes share a column, so which pixels are whose nobody knows."""
    data = two_cats((2, 6))
    canvas = widgets.PromptCanvas(None, data.images[0], data)
    canvas.points = [[1, 1, 1]]
    assert "not scored against the cat 2 of 2" in canvas.text
    assert canvas.truth == b""


def test_a_question_that_fails_is_answered_and_a_drawing_that_fails_is_closed(monkeypatch):
    canvas, sent = widgets.PromptCanvas(None, np.zeros((3, 8, 12), np.uint8)), []
    monkeypatch.setattr(canvas, "send", sent.append)
    with pytest.raises(AttributeError):
        canvas.points = [[1, 1, 1]]  # there is no segmenter
    assert sent == ["answered"]
    with pytest.raises(TypeError):
        Explorer(lambda axes: None, (1, 1), 1, unknown=IntSlider())
    assert plt.get_fignums() == []


def test_everything_has_a_color_an_object_and_the_small_lie_on_the_large(monkeypatch):
    masks = np.zeros((2, 8, 12), bool)
    masks[0, 2:4, 2:4], masks[1] = True, True
    answer = Segments(masks, np.ones(2, np.float32))
    monkeypatch.setattr("seghw.sam.segment_everything", lambda *_: answer)
    canvas = widgets.PromptCanvas(None, np.zeros((3, 8, 12), np.uint8))
    canvas.everything = True
    labels = np.frombuffer(canvas.labels, np.uint8).reshape(8, 12)
    assert np.unique(labels, return_counts=True)[1].tolist() == [92, 4]
    assert len({tuple(color) for color in canvas.colors}) == 2
    assert len(json.loads(canvas.coco)) == 2


def test_the_band_lies_on_steps_of_limits_of_its_own():
    """Valued outputs reach 250, those of the corrected network 1: no limit may carry over."""
    truth = np.zeros((4, 4), bool)
    truth[:2] = True
    outputs = {
        "report": (np.where(truth, 50.3, 0.0), truth, (25, 85)),
        "corrected": (np.where(truth, 0.9, 0.1), truth, (0.5, np.inf)),
    }
    which, stack = widgets.explore_decision(outputs).children
    first, second = (explorer.children[0].children[0] for explorer in stack.children)
    assert (first.value, first.step) == ((25, 85), 1)
    found = (*second.value, second.min, second.max)
    assert found == pytest.approx((0.5, 0.91, 0.1, 0.91))
    which.value = "corrected"
    assert stack.selected_index == 1


def test_a_picture_of_runs_and_its_two_lists():
    runs = load_runs().iloc[:3]
    axes = Figure().subplots(1, 3)
    widgets.draw_runs(axes, runs.iloc[[0, 2]])
    assert [len(ax.get_lines()) for ax in axes] == [2, 2, 2]
    one, other = widgets.explore_runs(runs).children[0].children
    assert (one.value, other.value) == (0, 2)


def test_the_lab_works_in_copies_that_stay(tmp_path):
    copy_chapters = runpy.run_path(ROOT / "notebooks/.lab/start.py")["copy_chapters"]
    assert copy_chapters(copies=tmp_path) == []
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "(02_losses.ipynb)" in page
    assert "(../assignment/notebooks/02_losses.ipynb)" in page
    copy = tmp_path / "02_losses.ipynb"
    copy.write_text("worked in", encoding="utf-8")
    os.utime(copy, (0, 0))
    assert copy_chapters(copies=tmp_path) == ["02_losses.ipynb"], "told, not replaced"
    assert copy.read_text(encoding="utf-8") == "worked in"
