"""Objects and clicks: hand-drawn masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seghw import metrics
from seghw.config import class_specs
from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.sam.prompts import (
    Objects,
    box_masks,
    find_objects,
    first_click,
    found_boxes,
    next_click,
)


def two_class_set(boxes: list[tuple[int, ...]], size: int = 16) -> SegmentationSet:
    """One image; every box is filled in the plane of its class."""
    masks = np.zeros((1, 2, size, size), np.bool_)
    for class_index, x0, y0, x1, y1 in boxes:
        masks[0, class_index, y0 : y1 + 1, x0 : x1 + 1] = True
    images = np.zeros((1, 3, size, size), np.uint8)
    return SegmentationSet(images, masks, [list(boxes)], class_specs(("a", "b")))


def test_an_object_is_its_class_inside_its_box():
    objects = find_objects(two_class_set([(0, 1, 2, 4, 6), (0, 8, 2, 11, 6), (1, 3, 4, 9, 9)]))
    assert len(objects) == 3
    assert objects.left_out == 0
    assert objects.image.tolist() == [0, 0, 0]
    assert objects.number.tolist() == [0, 1, 2]
    assert objects.class_index.tolist() == [0, 0, 1]
    assert objects.boxes[2].tolist() == [3, 4, 9, 9]
    assert objects.masks.sum((1, 2)).tolist() == [4 * 5, 4 * 5, 7 * 6]
    assert objects.masks[0, 2:7, 1:5].all()


def test_objects_of_one_class_with_overlapping_boxes_are_left_out():
    # The first two share one pixel, (4, 6); the third belongs to another class.
    objects = find_objects(two_class_set([(0, 1, 2, 4, 6), (0, 4, 6, 9, 9), (1, 4, 6, 5, 7)]))
    assert objects.number.tolist() == [2]
    assert objects.left_out == 2
    # One pixel further right they do not.
    assert len(find_objects(two_class_set([(0, 1, 2, 4, 6), (0, 5, 6, 9, 9)]))) == 2


def test_a_set_without_objects_is_refused():
    with pytest.raises(BadInput, match="no object"):
        find_objects(two_class_set([]))


def test_filled_boxes_are_inclusive():
    masks = box_masks(np.array([[2, 1, 4, 1], [0, 0, 7, 7]]), (8, 8))
    assert masks.dtype == np.bool_
    assert np.argwhere(masks[0]).tolist() == [[1, 2], [1, 3], [1, 4]]
    assert masks[1].all()


def test_the_first_click_is_the_innermost_pixel():
    mask = np.zeros((9, 12), np.bool_)
    mask[2:7, 3:8] = True  # 5 x 5: its center is x 5, y 4
    assert first_click(mask) == (5, 4, 1)
    # An L: the thick end counts, not the center of mass.
    mask[:] = False
    mask[1:8, 1] = True
    mask[5:8, 1:4] = True
    assert first_click(mask) == (2, 6, 1)


def test_the_image_border_counts_as_outside():
    mask = np.ones((5, 5), np.bool_)
    assert first_click(mask) == (2, 2, 1)


def test_the_next_click_is_the_middle_of_the_largest_error():
    mask = np.zeros((16, 16), np.bool_)
    mask[1:8, 1:8] = True
    predicted = mask.copy()
    predicted[2:5, 2:5] = False  # 9 pixels missed
    assert next_click(mask, predicted) == (3, 3, 1)
    predicted[10:15, 9:12] = True  # 15 pixels too many
    assert next_click(mask, predicted) == (10, 11, 0)


def test_missed_and_extra_pixels_that_touch_are_separate_errors():
    mask = np.zeros((8, 12), np.bool_)
    mask[1:4, 1:5] = True
    predicted = np.zeros_like(mask)
    predicted[1:4, 5:10] = True  # 12 missed, and next to them 15 too many
    assert next_click(mask, predicted)[2] == 0


def test_without_an_error_the_first_click_comes_again():
    mask = np.zeros((8, 8), np.bool_)
    mask[1:4, 1:4] = True
    assert next_click(mask, mask) == first_click(mask) == (2, 2, 1)


@given(st.integers(0, 2**32 - 1))
def test_clicks_tell_the_truth(seed):
    rng = np.random.default_rng(seed)
    mask, predicted = rng.random((2, 9, 7)) < 0.5
    mask[0, 0] = True
    x, y, label = next_click(mask, predicted)
    assert mask[y, x] == bool(label)
    assert mask[y, x] != predicted[y, x] or (mask == predicted).all()
    x, y, label = first_click(mask)
    assert mask[y, x]
    assert label == 1


def test_scores_stand_image_by_image():
    truth = box_masks(np.array([[0, 0, 3, 3], [0, 0, 1, 1], [2, 2, 3, 3]]), (4, 4))
    masks = box_masks(np.array([[0, 0, 3, 1], [0, 0, 1, 1], [0, 0, 1, 1]]), (4, 4))
    image, none = np.array([0, 2, 2]), np.zeros(3, int)
    objects = Objects(image, none, none, np.zeros((3, 4), int), truth, left_out=0)
    scores = objects.score(masks, images=4)
    nan = np.nan
    expected = [[0.5, nan], [nan, nan], [1, 0], [nan, nan]]
    np.testing.assert_array_equal(scores.iou, expected)
    assert len(scores) == 4
    assert scores.mean == 0.5
    assert scores.per_object.tolist() == [0.5, 1, 0]
    assert scores.subset([2, 2, 1]).per_object.tolist() == [1, 0, 1, 0]


def test_the_bootstrap_draws_whole_images():
    data = shapes.generate(20, 1)
    objects = find_objects(data)
    filled = box_masks(objects.boxes, (64, 64))
    scores = objects.score(filled, len(data))
    low, high = metrics.bootstrap_interval(lambda s: s.mean, scores, resamples=50)
    assert low < scores.mean < high
    # The same on both sides: every draw differs by nothing.
    same = metrics.bootstrap_interval(lambda a, b: a.mean - b.mean, scores, scores, resamples=9)
    assert same == (0, 0)


def test_dots_of_one_object_get_one_box_and_noise_gets_none():
    masks = np.zeros((2, 20, 20), np.bool_)
    masks[0, 2:9:2, 3:12:2] = True  # the report's dots: every other row and column
    masks[0, 2:9, 15:18] = True  # three empty columns further: another object
    masks[1, 10, 10] = True  # 1 of 400 pixels
    masks[1, 15:17, 4:6] = True  # 4 of 400: just enough
    assert found_boxes(masks) == [(0, 3, 2, 11, 8), (0, 15, 2, 17, 8), (1, 4, 15, 5, 16)]
    assert found_boxes(np.zeros((2, 20, 20), np.bool_)) == []
