"""The comparison's numbers: perfect where the answers are, by hand where they are not."""

import csv

import numpy as np
import pytest

from seghw.cli import main
from seghw.data import shapes
from seghw.sam import compare as sam
from seghw.sam.compare import Row, SamComparison, interval_text, sample, tables, write_rows
from seghw.sam.predictor import Segmenter, Segments
from seghw.sam.prompts import find_objects


@pytest.fixture(scope="module")
def data():
    return shapes.generate(8, 4)


@pytest.fixture
def comparison(data, monkeypatch):
    """A segmenter that knows the truth, our network that knows it, and one that paints nothing."""
    objects = find_objects(data)

    def planes(image):
        [i] = np.flatnonzero((data.images == image).all((1, 2, 3)))
        return data.masks[i].any(0), objects.masks[objects.image == i]

    def boxes(_, image, corners):
        """The object, and one column more to the right of its box."""
        masks = np.zeros((len(corners), 64, 64), np.bool_)
        for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
            window = slice(y0, y1 + 1), slice(x0, x1 + 1)
            mask[window] = planes(image)[0][window]
            mask[y0 : y1 + 1, x1 + 1 : x1 + 2] = True
        return Segments(masks, np.ones(len(masks), np.float32))

    def points(_, image, places, labels):
        hit = [
            next(mask for mask in planes(image)[1] if mask[y, x])
            for (x, y) in places[:, 0].tolist()
        ]
        return Segments(np.reshape(hit, (-1, 64, 64)), np.ones(len(hit), np.float32))

    def everything(_, image):
        masks = planes(image)[1]
        return Segments(masks, np.ones(len(masks), np.float32))

    monkeypatch.setattr(sam, "segment_boxes", boxes)
    monkeypatch.setattr(sam, "segment_points", points)
    monkeypatch.setattr(sam, "segment_everything", everything)
    ours = {"report": np.zeros_like(data.masks), "corrected": data.masks}
    oracle = Segmenter("oracle", None, None)
    return SamComparison(oracle, data, ours, sample(data))


@pytest.fixture
def found(comparison):
    return {(row.protocol, row.who, row.score): row for row in comparison.rows()}


def test_whoever_knows_the_truth_scores_1(found):
    for n in (1, 3, 5):
        assert found["objects", f"segmenter, clicks: {n}", "mean IoU"].value == 1
    assert found["objects", "ours inside the true box, corrected", "mean IoU"].value == 1
    assert found["objects", "ours inside the true box, report", "mean IoU"].value == 0
    for score in ("IoU", "recall", "precision", "boundary F at 2 px"):
        assert found["classes", "ours, corrected", score].value == 1
    assert found["classes", "ours, report", "recall"].value == 0
    for score in ("recall at IoU 0.5", "recall at IoU 0.75", "mean best IoU"):
        assert found["automatic", "segmenter", score].value == 1
    assert found["automatic", "segmenter", "unmatched masks per image"].value == 0
    assert found["automatic", "segmenter", "masks on an object that has any"].value == 1


def test_what_spills_out_of_the_box_counts_but_inside_it(found, data):
    """The segmenter paints the truth of all classes in the box, and a column beside it."""
    objects = find_objects(data)
    inside, whole = [], []
    for i, (x0, y0, x1, y1), truth in zip(objects.image, objects.boxes, objects.masks, strict=True):
        painted = data.masks[i, :, y0 : y1 + 1, x0 : x1 + 1].any(0).sum()
        spilt = (y1 - y0 + 1) * (x1 < 63)
        inside.append(truth.sum() / painted)
        whole.append(truth.sum() / (painted + spilt))
    row = found["objects", "segmenter inside the true box", "mean IoU"]
    assert row.value == pytest.approx(np.mean(inside))
    assert found["objects", "segmenter, true box", "mean IoU"].value == pytest.approx(
        np.mean(whole)
    )
    assert found["classes", "segmenter, true boxes", "recall"].value == 1
    assert found["classes", "segmenter, true boxes", "precision"].value < 1
    area = found["classes", "segmenter, true boxes", "false positives, % of the image"]
    assert 0 < area.low < area.value < area.high < 100


def test_what_our_network_misses_is_not_asked_for(found):
    assert found["classes", "segmenter, boxes found by report", "recall"].value == 0
    # All but a sliver: what shows of one hidden object fills less than 1 % of the image.
    assert 0.99 < found["classes", "segmenter, boxes found by corrected", "recall"].value < 1


def test_the_filled_box_is_the_share_of_its_pixels(found, data):
    objects = find_objects(data)
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2] + 1
    shares = objects.masks.sum((1, 2)) / sides.prod(1)
    row = found["objects", "filling the true box", "mean IoU"]
    assert row.value == pytest.approx(shares.mean())
    assert row.low < row.value < row.high


def test_a_sample_spreads_over_the_set(data):
    assert sample(data, 3).tolist() == [0, 4, 7]
    assert sample(data, 99).tolist() == list(range(8))


def test_tables_and_csv_hold_every_number(tmp_path):
    rows = [
        Row("objects", "ours", "IoU", 0.5, 0.25, 0.75),
        Row("objects", "segmenter", "IoU", 0.7, 0.6, 0.8),
        Row("automatic", "segmenter", "recall", 1, 1, 1),
    ]
    assert interval_text(rows[0]) == "0.50 [0.25, 0.75]"
    assert tables(rows)["objects"].splitlines() == [
        "| who | IoU |",
        "| --- | --- |",
        "| ours | 0.50 [0.25, 0.75] |",
        "| segmenter | 0.70 [0.60, 0.80] |",
    ]
    write_rows({"shapes": rows}, "SAM-tiny", tmp_path / "sam.csv")
    with (tmp_path / "sam.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3
    assert lines[0] == {
        "data": "shapes",
        "segmenter": "SAM-tiny",
        "protocol": "objects",
        "who": "ours",
        "score": "IoU",
        "value": "0.5000",
        "low": "0.2500",
        "high": "0.7500",
    }


def test_the_command_states_the_protocol_before_the_numbers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("seghw.sam.compare.sample", lambda data: np.arange(2))
    out = tmp_path / "sam.csv"
    assert main(["sam", "--profile", "laptop", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("1. True boxes") < printed.index("| filling the true box |")
    assert printed.count("SAM-tiny") == 2
    assert len(out.read_text(encoding="utf-8").splitlines()) > 2 * 30
