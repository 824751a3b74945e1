"""The figures: numbering, selection, and the same bytes from the same records."""

import io
from types import SimpleNamespace

import IPython
import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from PIL import Image

from seghw.config import COCO3
from seghw.errors import BadInput
from seghw.report.figures import BEYOND, FIGURES, make_figures, parse_numbers
from seghw.report.plots import color_masks, overlay, use_notebook_style
from seghw.results import Records


def test_every_figure_of_the_report_has_a_function():
    assert sorted(FIGURES) == list(range(1, 46))


@pytest.mark.parametrize(
    ("number", "settings"),
    [
        (1, {"which": "best", "family": "shapes", "loss": "mse"}),
        (4, {"which": "best", "family": "coco", "loss": "dice"}),
        (11, {"which": "worst", "family": "shapes", "loss": "mse_dice"}),
        (14, {"which": "best", "family": "coco"}),
        (15, {"which": "worst", "family": "shapes"}),
        (19, {"family": "shapes", "loss": "mse", "k": 2}),
        (26, {"family": "coco", "loss": "dice", "k": 0}),
        (34, {"family": "coco", "loss": "mse_dice", "k": 2}),
        (39, {"k": 4}),
        (43, {"k": 3}),
    ],
)
def test_numbers_stand_where_the_report_has_them(number, settings):
    assert FIGURES[number].keywords == settings


def test_numbers_are_parsed():
    assert parse_numbers("17-19,45, 3") == [3, 17, 18, 19, 45]
    for bad in ("", "x", "3-", "0", "44-46", "5-4"):
        with pytest.raises(BadInput, match="figures"):
            parse_numbers(bad)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Smoke runs of every loss on the shapes, under both recipes."""
    from seghw.train.sweep import grid
    from seghw.train.trainer import train

    folder = tmp_path_factory.mktemp("sweep")
    for recipe in ("report", "corrected"):
        for config in grid("shapes5", recipe, profile="smoke", seeds=[0]):
            if config.learning_rate in (1e-4, 4e-3):
                train(config, runs=folder, progress=False)
    return folder


def test_the_same_records_give_the_same_bytes(sweep, tmp_path):
    once, again = (
        make_figures("1,13,17-18", out=tmp_path / name, records=Records(sweep, "smoke"))
        for name in ("once", "again")
    )
    assert [p.name for p in once] == ["fig01.png", "fig13.png", "fig17.png", "fig18.png"] * 2
    assert {p.parent.name for p in once} == {"report", "corrected"}
    assert [p.read_bytes() for p in once] == [p.read_bytes() for p in again]


def test_the_users_settings_of_matplotlib_do_not_matter(sweep, tmp_path):
    foreign = {"image.origin": "lower", "axes.labelcolor": "white", "font.size": 30}
    records = Records(sweep, "smoke")
    [plain] = make_figures("17", out=tmp_path / "a", records=records, recipes=["report"])
    with mpl.rc_context(foreign):
        [same] = make_figures("17", out=tmp_path / "b", records=records, recipes=["report"])
        assert mpl.rcParams["image.origin"] == "lower", "which stay as they were"
    assert plain.read_bytes() == same.read_bytes()


def test_figures_are_readable_pictures(sweep, tmp_path):
    made = make_figures("7", out=tmp_path, records=Records(sweep, "smoke"), recipes=["report"])
    picture = matplotlib.image.imread(made[0])
    assert picture.shape[1] > 800
    assert picture[..., :3].std() > 0.02


def test_missing_records_are_named(tmp_path):
    with pytest.raises(BadInput, match="no runs for shapes, report, mse"):
        make_figures("1", out=tmp_path, records=Records(tmp_path, "smoke"))
    assert list(tmp_path.iterdir()) == []


def test_both_sizes_are_drawn_as_far_as_they_were_trained(sweep, tmp_path):
    figure, caption = BEYOND["full_size"](Records(sweep, "smoke"))
    small, large = figure.axes[:2]
    assert len(small.get_legend_handles_labels()[1]) == 5  # MSE, Dice, three coefficients
    assert [text.get_text().split()[-1] for text in large.texts] == ["full"]  # how to train them
    assert "smoke 0.001 (" in caption or "smoke 0.0001 (" in caption or "smoke 1e-05 (" in caption
    assert BEYOND["full_size"](Records(tmp_path, "smoke"))[1].endswith("no runs.")


def test_overlapping_masks_average_their_colors():
    masks = np.zeros((3, 1, 3), bool)
    masks[0, 0, :2] = masks[1, 0, 1:2] = True
    first, second = (np.array(COCO3[i].color) for i in (0, 1))
    assert color_masks(masks, COCO3)[0].tolist() == [
        first.tolist(),
        ((first + second) // 2).tolist(),
        [0, 0, 0],
    ]


def test_overlay_leaves_the_unmasked_grey():
    image = np.full((3, 1, 2), 100, np.uint8)
    masks = np.zeros((3, 1, 2), bool)
    masks[2, 0, 0] = True
    found = overlay(image, masks, COCO3, strength=1.0)[0]
    assert found.tolist() == [list(COCO3[2].color), [120, 120, 120]]


def test_a_notebook_s_pictures_are_sharp_and_have_words(monkeypatch):
    formatter = DisplayFormatter()
    shell = SimpleNamespace(display_formatter=formatter, set_custom_exc=lambda *_: None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    with mpl.rc_context():
        use_notebook_style(dpi=50)
        figure = Figure(figsize=(4, 2))
        ax = figure.add_subplot(title="a title", xlabel="step", ylabel="loss")
        ax.plot([4, 2])
        data, about = formatter.format(figure)
    image = Image.open(io.BytesIO(data["image/png"]))
    about = about["image/png"]
    assert image.width == pytest.approx(2 * 50 * 4, abs=30)
    assert (about["width"], about["height"]) == (image.width // 2, image.height // 2)
    assert about["alt"] == "a title (loss against step): line from 4 to 2"


def test_an_interrupt_is_one_line_and_a_missing_name_says_what_to_run(monkeypatch, capsys):
    shell = InteractiveShell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    with mpl.rc_context():
        use_notebook_style()
    capsys.readouterr()
    shell.run_cell("raise KeyboardInterrupt")
    assert capsys.readouterr().out.strip().splitlines()[-1] == "interrupted"
    shell.run_cell("records")
    told = capsys.readouterr().out
    assert "name 'records' is not defined" in told
    assert told.rstrip().endswith("Run All Above Selected Cell.")
