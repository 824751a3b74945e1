"""The explorer of prompts: what it draws is what the segmenter answers."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from traitlets import TraitError

from seghw import widgets
from seghw.config import COCO3
from seghw.errors import BadInput
from seghw.sam.predictor import Segments


@pytest.fixture
def asked(monkeypatch):
    """A segmenter that notes what it is asked and answers with the left half of the image."""
    prompts = []

    def answer(_, image, prompt, labels=None):
        prompts.append(prompt.tolist())
        half = np.zeros((1, *image.shape[1:]), np.bool_)
        half[..., : image.shape[2] // 2] = True
        return Segments(half, np.array([0.75], np.float32))

    monkeypatch.setattr("seghw.sam.predictor.segment_points", answer)
    monkeypatch.setattr("seghw.sam.predictor.segment_boxes", answer)
    return prompts


def test_a_click_and_a_box_are_drawn_over_the_outline(asked):
    image = np.zeros((3, 8, 12), np.uint8)
    for prompt, wanted in (
        ({"click": (3, 2)}, [[[3, 2]]]),
        ({"box": (1, 2, 4, 6)}, [[1, 2, 4, 6]]),
    ):
        ax = Figure().subplots()
        widgets.draw_prompt(ax, None, image, **prompt)
        assert asked.pop() == wanted
        assert ax.get_title() == "predicted IoU 0.75"
        outline = np.concatenate([p.vertices for p in ax.collections[0].get_paths()])
        assert set(outline[:, 0]) == {5.5}, "halfway between the mask's last column and the next"
    [frame] = ax.patches
    assert frame.get_bbox().bounds == (0.5, 1.5, 4, 5)


def test_the_canvas_asks_for_what_is_drawn_on_it(asked):
    """Eight rows, twelve columns; the stand-in's mask is the left half: columns 0 to 5."""
    objects = np.zeros((2, 8, 12), bool)
    objects[0, :, :3], objects[1, :, 6:] = True, True
    canvas = widgets.PromptCanvas(None, np.zeros((3, 8, 12), np.uint8), objects)
    canvas.points = [[6, 4, 1]]
    assert asked.pop() == [[[6, 4]]]
    mask = np.unpackbits(np.frombuffer(canvas.mask, np.uint8)).reshape(8, 12).astype(bool)
    assert mask.sum(0).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert "predicted IoU 0.75; IoU with the nearest object 0.50" in canvas.told
    canvas.points = []
    assert not any(canvas.mask)
    assert "Click on an object" in canvas.told
    canvas.box = [3, 2, 6, 4]
    assert asked.pop() == [[3, 2, 6, 4]]


def test_outputs_of_another_size_are_refused():
    image = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(BadInput, match=r"must be \(3, 8, 8\).*got \(5, 8, 8\)"):
        widgets.OutputCanvas(image, np.zeros((5, 8, 8)), COCO3)


def test_each_output_has_a_slider_of_its_own_with_its_own_limits():
    """Valued outputs reach 250, those of the corrected network 1: no limit may carry over."""
    truth = np.zeros((4, 4), bool)
    truth[:2] = True
    planes = {
        "report": (np.where(truth, 50.0, 0.0), truth, (25, 85)),
        "corrected": (np.where(truth, 0.9, 0.1), truth, (0.5, np.inf)),
    }
    explorer = widgets.explore_decision(planes)
    which, before = explorer.children[0].children
    assert before.value == (25, pytest.approx(50.01))
    which.value = "corrected"
    _, after = explorer.children[0].children
    assert after is not before
    assert after.value == (0.5, pytest.approx(0.91))
    assert (after.min, after.max) == (0.1, pytest.approx(0.91))
    with pytest.raises(TraitError, match="lower > upper"):
        after.value = (0.8, 0.2)
