"""The explorer of prompts: what it draws is what the segmenter answers."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from traitlets import TraitError

from seghw import widgets
from seghw.sam.predictor import Segments


@pytest.fixture
def asked(monkeypatch):
    """A segmenter that notes what it is asked and answers with the left half of the image."""
    prompts = []

    def answer(_, image, prompt):
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


def test_the_sliders_ask_for_what_they_show(asked):
    explorer = widgets.explore_prompts(None, np.zeros((3, 8, 12), np.uint8))
    kind, x, _, columns, rows = explorer.children[0].children
    assert asked.pop() == [[[6, 4]]]
    x.value = 9
    assert asked.pop() == [[[9, 4]]]
    kind.value = "box"
    assert asked.pop() == [[3, 2, 6, 4]]
    columns.value, rows.value = (0, 11), (1, 7)
    assert asked.pop() == [[0, 1, 11, 7]]


def test_each_output_has_a_slider_of_its_own_with_its_own_limits():
    """Valued outputs reach 250, those of the corrected network 1: no limit may carry over."""
    truth = np.zeros((4, 4), bool)
    truth[:2] = True
    planes = {
        "report": (np.where(truth, 50.0, 0.0), truth, (25, 85)),
        "corrected": (np.where(truth, 0.9, 0.1), truth, (0.5, np.inf)),
    }
    explorer = widgets.explore_decision(planes)
    which, before, _ = explorer.children
    assert before.value == (25, pytest.approx(50.01))
    which.value = "corrected"
    _, after, _ = explorer.children
    assert after is not before
    assert after.value == (0.5, pytest.approx(0.91))
    assert (after.min, after.max) == (0.1, pytest.approx(0.91))
    with pytest.raises(TraitError, match="lower > upper"):
        after.value = (0.8, 0.2)
