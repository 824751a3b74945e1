"""The figures: numbering, what they choose and show, and the same bytes from the same records."""

import io
import json
import re
from types import SimpleNamespace

import IPython
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from PIL import Image
from traitlets.config import Config

from seghw import notebook as nb
from seghw.config import COCO3, RUNS, class_specs
from seghw.data.dataset import SegmentationSet
from seghw.data.shapes import generate
from seghw.errors import BadInput
from seghw.report import beyond, figures, stats
from seghw.report.figures import FIGURES, make_figures, of_ours, parse_numbers
from seghw.report.results import Records


@pytest.fixture(scope="module")
def records():
    return Records()


def test_numbers_stand_where_the_report_has_them():
    assert sorted(FIGURES) == list(range(1, 46))
    for number, settings in {
        11: {"which": "worst", "family": "shapes", "loss": "mse_dice"},
        34: {"family": "coco", "loss": "mse_dice", "k": 2},
        39: {"family": "coco", "ks": (4,), "sides": ("sam", "ours")},
    }.items():
        assert settings.items() <= FIGURES[number].keywords.items(), number


def test_numbers_are_parsed():
    assert parse_numbers("17-19,45, 3") == [3, 17, 18, 19, 45]
    for bad in ("", "x", "3-", "0", "44-46", "5-4", "1-999999999999"):
        with pytest.raises(BadInput, match="figures"):
            parse_numbers(bad)


def test_the_same_records_give_the_same_bytes_whatever_the_users_settings(tmp_path):
    first = make_figures("1,13", out=tmp_path / "a")
    assert [path.name for path in first] == ["fig01.png", "fig13.png"] * 2
    with mpl.rc_context({"image.origin": "lower", "axes.labelcolor": "white", "font.size": 30}):
        again = make_figures("1,13", out=tmp_path / "b")
        assert mpl.rcParams["image.origin"] == "lower", "which stay as they were"
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    with Image.open(first[0]) as picture:
        assert picture.mode in ("RGB", "RGBA"), "true color"


def test_every_picture_has_words_of_its_own(records, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {1: FIGURES[1]})
    monkeypatch.setattr(figures, "_tables", lambda *_: {})
    monkeypatch.setattr(beyond, "BEYOND", {})
    make_figures(out=tmp_path, records=records)
    text = (tmp_path / "corrected/README.md").read_text(encoding="utf-8")
    assert "![MSE (value against iteration): seed " in text
    assert "Of 9 runs (3 learning rates, 3 seeds), the one with the highest" in text


def test_missing_records_are_named(tmp_path):
    with pytest.raises(BadInput, match="no runs for shapes, report, mse"):
        make_figures("1", out=tmp_path, records=Records(tmp_path, "smoke"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("best", "worst", "runs"), [(1, 7, "mse-*"), (5, 11, "mse_dice-*-lambda[246]0")]
)
def test_a_pair_shows_the_best_and_the_worst_run_on_the_same_scales(records, best, worst, runs):
    files = RUNS.glob(f"laptop/shapes5-report-{runs}-seed[012]/run.json")
    scores = [json.loads(path.read_bytes())["epochs"][-1]["validation_iou"] for path in files]
    (one, caption), (other, below) = (FIGURES[n](records, "report") for n in (best, worst))
    assert (
        f"Of {len(scores)} runs (3 learning rates, {'3 coefficients, ' * (best > 4)}3 seeds"
        in caption
    )
    assert f"at the end ({max(scores):.3f})" in caption
    assert f"at the end ({min(scores):.3f})" in below
    for ax, same in zip(one.axes, other.axes, strict=True):
        assert ax.get_ylim() == pytest.approx(same.get_ylim())
        assert all((ax.get_xlabel(), ax.get_ylabel()))
    names = {text.get_text() for text in one.legends[0].get_texts()}
    assert sum(bool(re.match(r"seed \d", name)) for name in names) == 3, "no seed without its name"


def test_every_seed_stands_at_its_coefficient(records):
    figure, caption = beyond.BEYOND["balanced_coefficients"](records)
    shapes = figure.axes[0]
    assert shapes.get_xscale() == "log"
    seeds = [line for line in shapes.get_lines() if line.get_color() == nb.INK]
    assert [list(line.get_xdata()) for line in seeds] == [[20, 40, 60, 120]] * 16
    winners = np.argmax([line.get_ydata() for line in seeds], axis=1)
    counts = dict(zip((20, 40, 60, 120), np.bincount(winners, minlength=4), strict=True))
    text = caption.split("report, shapes5, of 16 seeds: ")[1].split(";")[0]
    assert dict(pair.split(" in ") for pair in text.split(", ")) == {
        str(c): str(n) for c, n in counts.items() if n
    }
    assert len({round(np.ptp(ax.get_ylim()), 9) for ax in figure.axes}) == 1


def test_both_sizes_are_drawn_as_far_as_they_were_trained(records, tmp_path):
    figure, caption = beyond.BEYOND["full_size"](records)
    assert "laptop 0.001 (MSE, " in caption
    assert len(figure.axes[0].get_legend_handles_labels()[1]) == 6  # five settings, the ceiling
    figure, caption = beyond.BEYOND["full_size"](Records(tmp_path, "smoke"))
    assert [ax.texts[0].get_text().split()[-1] for ax in figure.axes[:2]] == ["smoke", "full"]
    assert caption.endswith("no runs.")


def test_the_ablation_has_every_seed_the_mean_and_the_margin():
    base = pd.DataFrame({"run_id": ["0", "1", "2"], "part": "", "seed": range(3)})
    runs = pd.concat([base.assign(score=0.3), base.assign(part="x", score=0.32)])
    runs["run_id"] += runs.part
    row = {"recipe": "report", "reading": "no x", "verdict": stats.SUPPORTED, "seeds": 3}
    row |= {"estimate": 0.02, "low": 0.01, "high": 0.03, "run_ids": " ".join(runs.run_id)}
    ax = beyond.draw_ablation(pd.DataFrame([row]), runs).axes[0]
    seeds, interval, mean, *_ = ax.get_lines()
    assert list(seeds.get_xdata()) == pytest.approx([0.02] * 3)
    assert list(interval.get_xdata()) == [0.01, 0.03]
    assert list(mean.get_xdata()) == [0.02]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((-stats.MARGIN, stats.MARGIN))


def test_a_logarithmic_axis_has_plain_numbers_only():
    for values in ([620, 910], [1e-3, 20], [1, 30]):
        ax = Figure().subplots()
        ax.plot(values)
        nb.log_scale(ax, "y")
        low, high = ax.get_ylim()
        labels = [float(x.get_text()) for x in ax.get_yticklabels() if x.get_text()]
        assert len([x for x in labels if low <= x <= high]) >= 3
        assert len(ax.get_yticks(minor=True)) == 0


def test_overlapping_masks_average_their_colors_and_the_rest_is_gray():
    masks = np.zeros((3, 1, 3), bool)
    masks[0, 0, :2] = masks[1, 0, 1] = True
    first, second = (np.array(COCO3[i].color) for i in (0, 1))
    mixed = ((first + second) // 2).tolist()
    assert nb.overlay(None, masks, COCO3)[0].tolist() == [first.tolist(), mixed, [0, 0, 0]]
    image = np.full((3, 1, 3), 100, np.uint8)
    over = nb.overlay(image, masks, COCO3, strength=1.0)[0].tolist()
    assert over == [first.tolist(), mixed, [120, 120, 120]]
    assert (nb.overlay(image, masks[:0], []) == 120).all()


def test_a_class_s_frame_has_its_color_and_its_panel_the_true_outline():
    data = generate(1, seed=3)
    figure = nb.evaluation_panel(data, np.zeros_like(data.masks), 0)
    for ax, spec, mask in zip(figure.axes[3:], data.classes, data.masks[0], strict=True):
        assert ax.get_title() == spec.name
        assert ax.spines["left"].get_edgecolor()[:3] == pytest.approx(np.array(spec.color) / 255)
        assert len(ax.collections) == mask.any()


def test_our_masks_are_split_by_the_boxes_of_their_class():
    # Two objects of the first class, one of the second, whose box lies over the first object.
    boxes = [[(0, 0, 0, 3, 3), (0, 6, 6, 9, 9), (1, 2, 0, 5, 3)]]
    truth, black = np.ones((1, 2, 10, 10), np.bool_), np.zeros((1, 3, 10, 10), np.uint8)
    data = SegmentationSet(black, truth, boxes, class_specs("ab"))
    masks = np.zeros((1, 2, 10, 10), np.bool_)
    masks[0, 0, 0, 1] = masks[0, 0, 7, 7] = True  # on the first, on the second
    masks[0, 0, 0, 5] = True  # the first class in the box of the second class alone: of none
    masks[0, 1, 3, 4] = masks[0, 1, 9, 0] = True  # on the third; far off
    channels = of_ours(SimpleNamespace(data=data, masks=masks), 0)
    places = [np.argwhere(channel).tolist() for channel in channels]
    assert places == [[[0, 1]], [[7, 7]], [[3, 4]], [[0, 5], [9, 0]]]


def test_galleries_and_distributions_are_those_of_the_sets():
    data = generate(120, seed=6)
    sets = SimpleNamespace(test_set=lambda family: data)
    figure, _ = beyond.BEYOND["gallery_shapes"](sets)
    pairs = [i for i, boxes in enumerate(data.boxes) if len(boxes) == 2]
    for ax, i in zip(figure.axes[4:8], pairs, strict=False):
        picture, masks = ax.images[0].get_array().data, data.masks[i]
        np.testing.assert_array_equal(picture[:, :64], data.images[i].transpose(1, 2, 0))
        np.testing.assert_array_equal(picture[:, -64:], nb.overlay(None, masks, data.classes))
    figure, caption = beyond.BEYOND["distributions"](sets)
    objects, areas, presence = figure.axes[:3]
    counts = np.bincount([len(boxes) for boxes in data.boxes], minlength=6)
    assert [bar.get_height() for bar in objects.patches] == counts.tolist()
    shares = data.masks.mean(axis=(2, 3))
    present = (shares > 0).mean(axis=0)
    assert [bar.get_width() for bar in presence.patches][5:] == pytest.approx(present.tolist())
    assert f"{1 - present.mean():.0%} of all image-class pairs absent" in caption
    box = areas.patches[0].get_path().vertices[:, 0]
    quartiles = np.percentile(shares[shares[:, 0] > 0, 0], [25, 75])
    assert (box.min(), box.max()) == pytest.approx(tuple(quartiles))


def test_a_notebook_s_pictures_are_sharp_and_have_words(monkeypatch):
    formatter = DisplayFormatter()
    shell = SimpleNamespace(display_formatter=formatter, set_custom_exc=lambda *_: None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    with mpl.rc_context():
        nb.use_notebook_style(dpi=50)
        figure = Figure(figsize=(4, 2))
        figure.add_subplot(title="a title", xlabel="step", ylabel="loss").plot([4, 2], label="MSE")
        data, about = formatter.format(figure)
    image, about = Image.open(io.BytesIO(data["image/png"])), about["image/png"]
    assert image.width == pytest.approx(2 * 50 * 4, abs=30)
    assert (about["width"], about["height"]) == (image.width // 2, image.height // 2)
    assert about["alt"] == "a title (loss against step): MSE from 4 to 2"


def test_an_interrupt_is_one_line_and_a_missing_name_says_what_to_run(monkeypatch, capsys):
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))  # has a thread
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    with mpl.rc_context():
        nb.use_notebook_style()
    capsys.readouterr()
    shell.run_cell("raise KeyboardInterrupt")
    assert capsys.readouterr().out.strip().splitlines()[-1] == "interrupted"
    shell.run_cell("records")
    lines = capsys.readouterr().out
    assert "name 'records' is not defined" in lines
    assert lines.rstrip().endswith("Run All Above Selected Cell.")
