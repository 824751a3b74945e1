"""The automatic mode against objects: matchings counted by hand."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from seghw.data import shapes
from seghw.sam import compare
from seghw.sam.automatic import (
    AutomaticCounts,
    masks_per_object,
    match,
    pairwise_iou,
    recall_50,
    recall_75,
    unmatched_per_image,
)
from seghw.sam.compare import score_everything
from seghw.sam.predictor import Segmenter, Segments
from seghw.sam.prompts import box_masks, find_objects


def blocks(*windows: tuple[int, int, int, int], side: int = 20) -> np.ndarray:
    """Filled rectangles x0, y0, x1, y1, inclusive: bool (K, side, side)."""
    masks = np.zeros((len(windows), side, side), np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, windows, strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return masks


def test_a_matching_by_hand():
    objects = blocks((0, 0, 9, 9), (10, 10, 19, 19))
    masks = blocks(
        (0, 0, 9, 9),  # the first object: IoU 1
        (10, 10, 19, 15),  # 60 of the 100 pixels of the second: IoU 0.6
        (0, 0, 9, 4),  # half of the first, which is taken: unmatched, but lies on it
        (10, 0, 19, 9),  # background
        (0, 0, 9, 19),  # half of it on the first object, which is not enough to lie on it
    )
    assert dict(zip(AutomaticCounts.__annotations__, match(masks, objects), strict=True)) == {
        "objects": 2,
        "found_50": 2,
        "found_75": 1,
        "masks": 5,
        "unmatched": 3,
        "on_objects": 3,
        "covered": 2,
    }


def test_one_mask_cannot_find_two_objects():
    objects = blocks((0, 0, 9, 9), (10, 0, 19, 9))
    both = blocks((0, 0, 19, 9))  # IoU 0.5 with either
    assert match(both, objects)[:5] == (2, 1, 0, 1, 0)


def test_the_matching_finds_the_most_objects_at_either_threshold():
    """Of the first object's 100 pixels one mask has 90, and 10 of the second's 20; one has 74."""
    objects = blocks((0, 0, 9, 9), (10, 0, 19, 1))
    masks = np.stack(
        [
            blocks((0, 0, 9, 8), (10, 0, 19, 0)).any(0),  # IoU 90 / 110 and 10 / 110
            blocks((0, 0, 9, 6), (0, 7, 3, 7)).any(0),  # IoU 0.74 and 0
        ]
    )
    # The sum of IoUs is larger the other way round, where nothing would be found at 0.75.
    assert match(masks, objects)[1:3] == (1, 1)
    # In turn, the first mask would take the object that alone the second can have.
    objects = blocks((0, 0, 9, 9), (0, 10, 9, 19))
    masks = blocks((0, 0, 9, 19), (0, 0, 9, 9))  # half of both objects; the first one exactly
    assert match(masks, objects)[1] == 2


@pytest.mark.parametrize(("masks", "objects"), [(0, 2), (3, 0), (0, 0)])
def test_nothing_to_match(masks, objects):
    row = match(blocks(*[(0, 0, 4, 4)] * masks), blocks(*[(0, 0, 4, 4)] * objects))
    assert row == (objects, 0, 0, masks, masks, 0, 0)


def test_pairwise_iou_is_cocos():
    rng = np.random.default_rng(0)
    one, other = rng.random((4, 12, 9)) < 0.4, rng.random((3, 12, 9)) < 0.6
    coded = [
        [coco_mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
        for masks in (one, other)
    ]
    expected = coco_mask.iou(*coded, [0] * len(other))
    np.testing.assert_allclose(pairwise_iou(one, other), expected)


def test_scores_of_a_set(monkeypatch):
    """True masks of all objects; in the first image also a mask of everything and a torn one."""
    data = shapes.generate(6, 4)
    objects = find_objects(data)
    assert (objects.image == 0).any()
    assert objects.left_out > 0, "their masks must not count as unmatched"

    def everything(_, image, **options):
        assert options == {"points_per_side": 3}
        [i] = np.flatnonzero((data.images == image).all((1, 2, 3)))
        classes = [c for c, *_ in data.boxes[i]]
        corners = [corners for _, *corners in data.boxes[i]]
        masks = data.masks[i, classes] & box_masks(corners, (64, 64))
        if i == 0:
            torn = objects.masks[0] & (np.arange(64)[:, None] % 2 == 0)
            masks = np.concatenate((masks, np.ones((1, 64, 64), np.bool_), torn[None]))
        return Segments(masks, np.ones(len(masks), np.float32))

    monkeypatch.setattr(compare, "segment_everything", everything)
    oracle = Segmenter("oracle", None, None)
    found = score_everything(oracle, data, points_per_side=3)
    assert (recall_50(found.counts), recall_75(found.counts)) == (1, 1)
    assert unmatched_per_image(found.counts) == pytest.approx(2 / 6)
    assert masks_per_object(found.counts) == pytest.approx((len(objects) + 1) / len(objects))
    assert found.best_iou.mean == 1
    assert len(found.best_iou) == len(found.counts) == 6
