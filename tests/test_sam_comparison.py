"""The comparison: perfect where the answers are, by hand where they are not; the whole command."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from seghw.cli import main
from seghw.data import shapes
from seghw.report.sam_comparison import Comparison, match, predicted_boxes
from seghw.sam import Segments, box_masks, objects_of


@pytest.fixture(scope="module")
def data():
    return shapes.generate(8, 4)


@pytest.fixture(scope="module")
def truths(data):
    return [objects_of(data, i)[0] for i in range(len(data))]


@pytest.fixture(scope="module")
def comparison(data, truths):
    """A segmenter that answers a box with all of it and one column more, and all else rightly."""

    def at(image: np.ndarray) -> int:
        return int(np.flatnonzero((data.images == image).all((1, 2, 3)))[0])

    def boxes(_, image, corners):
        wider = [(x0, y0, min(x1 + 1, 63), y1) for x0, y0, x1, y1 in corners]
        return Segments(box_masks(wider, (64, 64)), np.ones(len(wider), np.float32))

    def points(_, image, places, labels):
        hit = [next(m for m in truths[at(image)] if m[y, x]) for (x, y) in places[:, 0].tolist()]
        return Segments(np.stack(hit), np.ones(len(hit), np.float32))

    def everything(_, image):
        """The first image also has a mask of all of it, and every other row of its first object."""
        masks = truths[at(image)]
        if at(image) == 0:
            torn = masks[0] & (np.arange(64)[:, None] % 2 == 0)
            masks = np.stack([*masks, np.ones_like(torn), torn])
        return Segments(masks, np.ones(len(masks), np.float32))

    ours = {"report": np.zeros_like(data.masks), "corrected": data.masks}
    made = Comparison(SimpleNamespace(name="oracle"), data, np.arange(8), lambda: ours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seghw.sam.segment_boxes", boxes)
        assert made.true_boxes.any(), "nothing else need be asked for them"
        patch.setattr("seghw.sam.segment_points", points)
        patch.setattr("seghw.sam.segment_everything", everything)
        assert len(made.rows)
    return made


@pytest.fixture
def value(comparison):
    rows = comparison.rows.set_index(["protocol", "who", "score"])
    assert (rows.low <= rows.value).all() or rows.isna().any(axis=None)
    return rows.value


def test_whoever_knows_the_truth_scores_1_and_whoever_predicts_nothing_0(value):
    for n in (1, 3, 5):
        assert value["objects", f"segmenter, clicks: {n}", "mean IoU"] == 1
    for score in ("IoU", "recall", "precision", "boundary F at 2 px"):
        assert value["classes", "ours, corrected", score] == 1
    assert value["objects", "ours inside the true box, corrected", "mean IoU"] == 1
    assert value["objects", "ours inside the true box, report", "mean IoU"] == 0
    assert value["classes", "ours, report", "recall"] == 0
    assert np.isnan(value["classes", "ours, report", "precision"])
    assert value["classes", "segmenter, boxes found by report", "recall"] == 0
    assert value["classes", "segmenter, boxes found by corrected", "recall"] > 0.99


def test_objects_by_hand(value, data, truths):
    shares, wider, alone = [], [], []
    for i, boxes in enumerate(data.boxes):
        for (kind, x0, y0, x1, y1), truth in zip(boxes, truths[i], strict=True):
            area, height = (x1 - x0 + 1) * (y1 - y0 + 1), y1 - y0 + 1
            others = (data.masks[i, kind] & ~truth)[y0 : y1 + 1, x0 : x1 + 1].sum()
            shares.append(truth.sum() / area)
            wider.append(truth.sum() / (area + height * (x1 < 63)))
            alone.append(truth.sum() / (area - others))
    for who, expected in {
        "filling the true box": shares,
        "segmenter, true box": wider,
        "segmenter inside the true box": alone,
    }.items():
        assert value["objects", who, "mean IoU"] == pytest.approx(np.mean(expected))
    assert value["classes", "segmenter, true boxes", "recall"] == 1
    assert value["classes", "segmenter, true boxes", "precision"] < 1


def test_automatic_masks_of_a_set(value, truths):
    objects = sum(map(len, truths))
    assert value["automatic", "segmenter", "recall at IoU 0.75"] == 1
    assert value["automatic", "segmenter", "mean best IoU"] == 1
    assert value["automatic", "segmenter", "unmatched masks per image"] == 2 / 8
    several = value["automatic", "segmenter", "masks on an object that has any"]
    assert several == pytest.approx((objects + 1) / objects)


def test_a_matching_by_hand():
    objects = box_masks([(0, 0, 9, 9), (10, 10, 19, 19)], (20, 20))
    masks = box_masks(
        [
            (0, 0, 9, 9),  # the first object: IoU 1
            (10, 10, 19, 15),  # 60 of the 100 pixels of the second: IoU 0.6
            (0, 0, 9, 4),  # half of the first, which is taken: unmatched, but lies on it
            (10, 0, 19, 9),  # background
            (0, 0, 9, 19),  # half of it on the first object, which is not enough to lie on it
        ],
        (20, 20),
    )
    assert match(masks, objects) == (2, 2, 1, 5, 3, 2)
    assert match(masks[:0], objects) == (2, 0, 0, 0, 0, 0)
    assert match(masks, objects[:0]) == (0, 0, 0, 5, 0, 0)
    # In turn, the first mask would take the object that alone the second can have.
    masks = box_masks([(0, 0, 9, 19), (0, 0, 9, 9)], (20, 20))
    assert match(masks, box_masks([(0, 0, 9, 9), (0, 10, 9, 19)], (20, 20)))[1] == 2


def test_dots_of_one_object_get_one_box_and_noise_gets_none():
    masks = np.zeros((2, 20, 20), np.bool_)
    masks[0, 2:9:2, 3:12:2] = True  # the report's dots: every other row and column
    masks[0, 2:9, 15:18] = True  # three empty columns further: another object
    masks[1, 10, 10] = True  # 1 of 400 pixels
    masks[1, 15:17, 4:6] = True  # 4 of 400: just enough
    assert predicted_boxes(masks) == [(0, 3, 2, 11, 8), (0, 15, 2, 17, 8), (1, 4, 15, 5, 16)]


@pytest.mark.parametrize("family", ["sam", "sam2", "sam3_tracker"])
def test_the_command_with_a_published_architecture(family, tmp_path, capsys):
    """At its real input size; random weights, so that any verdict will do."""
    from tests.sam_models import SIDES, save_model

    folder, out = save_model(family, tmp_path / family, SIDES[family][1]), tmp_path / "sam.csv"
    assert main(["sam", "--sam", str(folder), "--images", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("1. True boxes") < printed.index("filling the true box")
    rows = pd.read_csv(out)
    assert len(rows) == 76
    assert set(rows.segmenter) == {family}
    for words in ("more complete", "follows the boundaries", "more false positives"):
        assert words in printed
