"""Figures of the data: what is drawn are the sets' own images and counts."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

from seghw.config import COCO3
from seghw.data.dataset import SegmentationSet
from seghw.data.shapes import generate
from seghw.report.data_figures import distributions, gallery_scenes, gallery_shapes
from seghw.report.plots import STYLE, color_masks


def scenes(classes, size=32):
    """Images that each hold one square of 8 x 8 of the given class, a 16th of the image."""
    images = np.random.default_rng(0).integers(0, 256, (len(classes), 3, size, size), np.uint8)
    masks = np.zeros((len(classes), 3, size, size), bool)
    for i, c in enumerate(classes):
        masks[i, c, 4:12, 4:12] = True
    boxes = [[(c, 4, 4, 11, 11)] for c in classes]
    return SegmentationSet(images, masks, boxes, COCO3, "squares, seed 0")


def records(**sets):
    return SimpleNamespace(test_set=lambda family: sets[family])


@pytest.fixture(scope="module")
def drawn():
    sets = {"shapes": generate(120, seed=6), "coco": scenes([0, 1, 2, 1, 1, 0, 1, 1])}
    return SimpleNamespace(**sets, records=records(**sets))


def pictures(figure):
    """Rows of what is shown, as arrays."""
    rows = {}
    for ax in figure.axes:
        rows.setdefault(ax.get_subplotspec().rowspan.start, []).append(
            ax.images[0].get_array().data if ax.images else None
        )
    return [rows[row] for row in sorted(rows)]


def assert_shows(picture, data, i):
    """Image i on the left, its masks in their colors on the right, white between."""
    side = data.images.shape[-1]
    np.testing.assert_array_equal(picture[:, :side], data.images[i].transpose(1, 2, 0))
    np.testing.assert_array_equal(picture[:, -side:], color_masks(data.masks[i], data.classes))
    assert (picture[:, side:-side] == 255).all()


def test_the_shapes_are_sorted_by_the_number_of_objects(drawn):
    figure, caption = gallery_shapes(drawn.records)
    rows = pictures(figure)
    assert len(rows) == 5
    for n, row in enumerate(rows, start=1):
        indices = [i for i, boxes in enumerate(drawn.shapes.boxes) if len(boxes) == n][:4]
        assert len(row) == 4
        for picture, i in zip(row, indices, strict=True):
            assert_shows(picture, drawn.shapes, i)
    labels = [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()]
    assert labels == ["1 object", "2 objects", "3 objects", "4 objects", "5 objects"]
    assert drawn.shapes.name in caption


def test_the_scenes_are_sorted_by_class_and_need_not_fill_a_row(drawn):
    figure, caption = gallery_scenes(drawn.records)
    rows = pictures(figure)
    for row, indices in zip(rows, ([0, 5], [1, 3, 4, 6], [2]), strict=True):
        assert [picture is not None for picture in row] == [n < len(indices) for n in range(4)]
        for picture, i in zip(row, indices, strict=False):
            assert_shows(picture, drawn.coco, i)
    assert [ax.get_ylabel() for ax in figure.axes[::4]] == ["pizza", "cat", "bus"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pizza", "cat", "bus"]
    assert "at 32 x 32" in caption
    assert "squares, seed 0" in caption


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def test_the_distributions_are_those_of_the_sets(drawn):
    figure, caption = distributions(drawn.records)
    (objects, areas, classes), (few, same, present) = np.reshape(figure.axes, (2, 3))
    data = drawn.shapes
    heights = [bar.get_height() for bar in objects.patches]
    assert heights == [sum(len(boxes) == n for boxes in data.boxes) for n in range(6)]
    assert [bar.get_height() for bar in few.patches] == [0, 8]
    holds = data.masks.any(axis=(2, 3))
    # First the gray bars, over everything, then those of the classes.
    assert widths(classes) == pytest.approx([1.0] * 5 + holds.mean(axis=0).tolist())
    assert widths(present) == pytest.approx([1, 1, 1, 2 / 8, 5 / 8, 1 / 8])
    counts = [sum(c == k for boxes in data.boxes for c, *_ in boxes) for k in range(5)]
    assert [text.get_text() for text in classes.texts] == [f"{n} objects" for n in counts]
    assert f"{1 - holds.mean():.0%} of all image-class pairs absent" in caption
    assert "(8 images, 67% of all image-class pairs absent)" in caption
    for plane, box in zip(data.masks.transpose(1, 0, 2, 3), areas.patches, strict=True):
        shares = plane.mean(axis=(1, 2))
        quartiles = np.percentile(shares[shares > 0], [25, 75])
        found = box.get_path().vertices[:, 0]
        assert (found.min(), found.max()) == pytest.approx(tuple(quartiles))
    for box in same.patches:
        assert box.get_path().vertices[:, 0] == pytest.approx(1 / 16)
    assert areas.get_xlim() == same.get_xlim()
    assert areas.get_xlim()[0] == 0


def test_a_class_that_never_occurs_has_no_box(drawn):
    sets = records(shapes=drawn.shapes, coco=scenes([0, 1, 1]))
    figure, caption = distributions(sets)
    assert widths(figure.axes[5])[3:] == pytest.approx([1 / 3, 2 / 3, 0])
    assert "(3 images, 67%" in caption
    assert pictures(gallery_scenes(sets)[0])[2] == [None] * 4


def test_the_figures_can_be_saved_and_repeat(drawn, tmp_path):
    for draw in (gallery_shapes, gallery_scenes, distributions):
        with mpl.rc_context(STYLE):
            for name in ("once", "again"):
                draw(drawn.records)[0].savefig(tmp_path / name, format="png", dpi=50)
        assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()
