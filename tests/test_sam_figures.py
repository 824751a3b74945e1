"""Figures 35 to 45: masks are taken apart by objects, and objects keep their color."""

import numpy as np

from seghw.config import class_specs
from seghw.data.dataset import SegmentationSet
from seghw.report.plots import paint
from seghw.report.sam_figures import OF_NO_OBJECT, by_object, object_colors


def test_our_masks_are_split_by_the_boxes_of_their_class():
    # Two objects of the first class, one of the second, whose box lies over the first object.
    boxes = [[(0, 0, 0, 3, 3), (0, 6, 6, 9, 9), (1, 2, 0, 5, 3)]]
    truth = np.ones((1, 2, 10, 10), np.bool_)
    data = SegmentationSet(np.zeros((1, 3, 10, 10), np.uint8), truth, boxes, class_specs("ab"))
    painted = np.zeros((1, 2, 10, 10), np.bool_)
    painted[0, 0, 0, 1] = painted[0, 0, 7, 7] = True  # on the first, on the second
    painted[0, 0, 0, 5] = True  # the first class in the box of the second class alone: of none
    painted[0, 1, 3, 4] = True  # on the third
    painted[0, 1, 9, 0] = True  # far off
    found = by_object(data, painted, 0)
    assert [np.argwhere(plane).tolist() for plane in found] == [
        [[0, 1]],
        [[7, 7]],
        [[3, 4]],
        [[0, 5], [9, 0]],
    ]


def test_colors_are_distinct_and_white_is_kept_for_the_rest():
    assert len({*object_colors(7), OF_NO_OBJECT}) == 8
    assert object_colors(9)[7:] == object_colors(2)
    masks = np.zeros((2, 1, 3), np.bool_)
    masks[0, 0, :2] = masks[1, 0, 1] = True
    image = np.full((3, 1, 3), 100, np.uint8)
    found = paint(image, masks, [(200, 0, 0), (0, 100, 0)], strength=1.0)
    assert found[0].tolist() == [[200, 0, 0], [100, 50, 0], [120, 120, 120]]


def test_an_image_without_objects_is_grey():
    image = np.full((3, 2, 2), 100, np.uint8)
    assert (paint(image, np.zeros((0, 2, 2), np.bool_), []) == 120).all()
