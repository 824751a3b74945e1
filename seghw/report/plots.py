"""How a mask, an evaluation and a training curve are drawn; one style for all."""

import io
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogFormatter, MaxNLocator
from PIL import Image

from seghw.config import LOSS_NAMES, ClassSpec
from seghw.data.dataset import SegmentationSet
from seghw.errors import explain_in
from seghw.threads import use_threads
from seghw.train.runs import Run

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # matplotlib ships it, so every machine draws the same letters
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "image.interpolation": "nearest",  # a dotted mask must look dotted
    "svg.hashsalt": "seghw",
}

Color = tuple[int, int, int]  # red, green, blue, 0..255
#: Colors for curves and for whatever else is not a class.
INK, RED, BLUE, GREEN = "#333333", "#D55E00", "#0072B2", "#009E73"


def use_style() -> None:
    """Draw under the project's style alone, whatever the user's matplotlibrc says."""
    mpl.rcdefaults()
    mpl.rcParams.update(STYLE)


def use_notebook_style(dpi: int = 80) -> None:
    """``use_style`` for a notebook, after ``%matplotlib inline``: sharp, with words, in few bytes.

    A picture has twice the pixels of the place that it takes, for screens of high resolution; its
    text alternative is ``describe``'s; and 256 colors keep a chapter's file small. A cell that is
    interrupted says so in a line, one that lacks a name says what to run. And one thread computes:
    the networks on the pages are small, and two notebooks at once must not wait for each other.

    Args:
        dpi: pixels per inch on the page.
    """
    from IPython import get_ipython

    use_style()
    use_threads(1)
    points = STYLE["font.size"] * 96 / dpi  # on a page 96 pixels are an inch
    mpl.rcParams.update({"figure.dpi": dpi, "font.size": points, "axes.titlesize": points})
    shell = get_ipython()
    shell.display_formatter.formatters["image/png"].for_type(Figure, _notebook_png)
    explain_in(shell)


def _notebook_png(figure: Figure) -> tuple[bytes, dict[str, int | str]]:
    drawn, content = io.BytesIO(), io.BytesIO()
    # Explorers lay their figures out themselves, and are waited for.
    box = "tight" if figure.get_layout_engine() else None
    figure.savefig(drawn, dpi=2 * figure.dpi, bbox_inches=box)
    image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(content, "png", optimize=True)
    size = {"width": image.width // 2, "height": image.height // 2}
    return content.getvalue(), {**size, "alt": describe(figure)}


def describe(figure: Figure) -> str:
    """A text alternative from what is drawn: each panel's title, labels, and lines with ends."""
    told, unnamed = [], 0
    for ax in figure.axes:
        if not ax.get_visible() or not (ax.has_data() or ax.get_title()):
            continue
        labels = " against ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
        name = " ".join(ax.get_title().split()) or labels
        ends = []
        for line in ax.get_lines():
            y = [value for value in map(float, line.get_ydata()) if value == value]
            label = str(line.get_label())
            if y and labels and (not label.startswith("_") or len(ax.get_lines()) == 1):
                label = "" if label.startswith("_") else f"{label} "
                ends.append(f"line {label}from {y[0]:.3g} to {y[-1]:.3g}")
        if ends and labels and labels != name:
            name += f" ({labels})"
        kind = "picture: " if ax.images and not ends else ""
        unnamed += bool(kind) and not name
        told.append(kind + name + (": " + ", ".join(ends) if ends else "") if name or ends else "")
    if unnamed:
        told.append(f"{unnamed} pictures without a title")
    return "; ".join(filter(None, told)) or "figure"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid):
    """A figure outside pyplot's registry, with its axes as an array (rows, columns).

    Args:
        width: inches.
        height: inches.
        rows: of axes.
        columns: of axes.
        grid: passed on to ``Figure.subplots``.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def color_masks(masks: np.ndarray, classes: Sequence[ClassSpec]) -> np.ndarray:
    """Masks as one RGB picture on black; where planes overlap, their colors average.

    Args:
        masks: bool (C, H, W).
        classes: one per plane.

    Returns:
        uint8 (H, W, 3), 0..255.
    """
    return _blend(masks, [spec.color for spec in classes])


def _blend(masks: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    painted = np.einsum("chw,cd->hwd", masks.astype(float), np.reshape(colors, (-1, 3)))
    return (painted / np.maximum(masks.sum(0), 1)[..., None]).astype(np.uint8)


def overlay(
    image: np.ndarray, masks: np.ndarray, classes: Sequence[ClassSpec], strength: float = 0.65
) -> np.ndarray:
    """The image, grayed, with each mask in its class's color on it.

    Args:
        image: uint8 (3, H, W), RGB, 0..255.
        masks: bool (C, H, W).
        classes: one per plane.
        strength: share of the color where there is a mask, 0..1.

    Returns:
        uint8 (H, W, 3), 0..255.
    """
    return paint(image, masks, [spec.color for spec in classes], strength)


def paint(
    image: np.ndarray, masks: np.ndarray, colors: Sequence[Color], strength: float = 0.65
) -> np.ndarray:
    """As ``overlay``, with any colors: masks bool (K, H, W), K colors (R, G, B) of 0..255."""
    # Gray keeps the colors readable on images of any color.
    gray = np.repeat(image.mean(0)[..., None], 3, axis=2) * 0.6 + 60
    color = _blend(masks, colors)
    share = np.where(masks.any(0), strength, 0.0)[..., None]
    return (share * color + (1 - share) * gray).astype(np.uint8)


def show(ax: Axes, picture: np.ndarray, title: str = "", **imshow) -> None:
    """Show a picture, (H, W, 3) or (H, W), without ticks; color-first arrays are turned."""
    if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] != 3:
        picture = picture.transpose(1, 2, 0)
    ax.imshow(picture, **imshow)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_mask(ax: Axes, mask: np.ndarray, spec: ClassSpec, title: str = "") -> None:
    """Show one class's mask, bool (H, W), in its color on black."""
    show(ax, color_masks(mask[None], [spec]), title or spec.name)


def class_legend(classes: Sequence[ClassSpec]) -> list[Patch]:
    """Legend handles with the colors of the classes."""
    return [Patch(color=np.array(spec.color) / 255, label=spec.name) for spec in classes]


def evaluation_panel(data: SegmentationSet, masks: np.ndarray, i: int, title: str = "") -> Figure:
    """Image, truth, one predicted mask per class as in Listing 4, and all of them on the image.

    Args:
        data: the set.
        masks: bool (N, C, H, W), predicted for the whole set.
        i: which image to show.
        title: above the panel.
    """
    image, truth, masks, classes = data.images[i], data.masks[i], masks[i], data.classes
    count = len(classes) + 3
    columns = (count + 1) // 2
    figure, axes = new_figure(1.75 * columns, 4.3 if title else 4.1, 2, columns)
    figure.suptitle(textwrap.fill(title, 20 * columns))
    flat = axes.ravel()
    show(flat[0], image, "image")
    show(flat[1], overlay(image, truth, classes), "truth")
    show(flat[2], overlay(image, masks, classes), "all predicted")
    for ax, mask, spec in zip(flat[3:], masks, classes, strict=False):
        show_mask(ax, mask, spec)
    for ax in flat[count:]:
        ax.set_visible(False)
    return figure


#: One meaning each, in figures and chapters alike.
LOSS_COLORS = {"mse": BLUE, "dice": RED, "mse_dice": GREEN}
COEFFICIENT_COLORS = ("#56B4E9", "#E69F00", "#CC79A7")  # of three, from the smallest up


def loss_name(run: Run) -> str:
    """What the run minimized, as a formula: ``MSE + 60 x Dice``."""
    if run.config.coefficient is None:
        return LOSS_NAMES[run.config.loss]
    return f"MSE + {run.config.coefficient:g} x Dice"


def training_curve(run: Run, siblings: Sequence[Run]) -> Figure:
    """A run's loss, its terms if it has two, and its validation IoU.

    Args:
        run: drawn boldly, as far as it went.
        siblings: the same configuration with other seeds, drawn thinly: the spread over seeds.
    """
    two_terms = run.config.loss == "mse_dice"
    figure, axes = new_figure(9 if two_terms else 6.5, 2.9, 1, 3 if two_terms else 2)
    _draw_loss(axes[0, 0], run, siblings)
    if two_terms:
        _draw_terms(axes[0, 1], run)
    _draw_score(axes[0, -1], run, siblings)
    return figure


def coefficient_curves(runs: Mapping[float, Sequence[Run]], shown: float) -> Figure:
    """The runs of one coefficient, beside those of the other coefficients.

    Totals of different coefficients cannot be compared, so the two terms are drawn apart.

    Args:
        runs: coefficient to its runs; the first is drawn clearly, the others, which show the
            spread over seeds, faintly.
        shown: the coefficient that is drawn boldly.
    """
    figure, axes = new_figure(9, 2.9, 1, 3)
    panels = zip(axes[0], ("mse", "dice", None), ("MSE term", "Dice term", None), strict=True)
    for ax, column, title in panels:
        for (coefficient, seeds), color in zip(
            sorted(runs.items()), COEFFICIENT_COLORS, strict=False
        ):
            bold = coefficient == shown
            label = f"{coefficient:g}, {seeds[0].config.learning_rate:g}"
            label += " (this figure)" if bold else ""
            styles = [{"lw": 2.2 if bold else 1.0, "label": label}]
            styles += [{"lw": 0.6, "alpha": 0.35}] * (len(seeds) - 1)
            for run, style in zip(seeds, styles, strict=True):
                if column is None:
                    _plot_score(ax, run, color=color, **style)
                else:
                    history = run.history
                    ax.plot(history["iteration"], history[column], color=color, **style)
        if column is not None:
            ax.set(title=title, xlabel="iteration")
    _finish_score(axes[0, 2])
    named = {"title": "coefficient, learning rate", "loc": "outside right center"}
    figure.legend(*axes[0, 0].get_legend_handles_labels(), **named)
    return figure


def _draw_loss(ax: Axes, run: Run, siblings: Sequence[Run]) -> None:
    for other in siblings:
        ax.plot(other.history["iteration"], other.history["loss"], color=INK, lw=0.6, alpha=0.4)
    color = LOSS_COLORS[run.config.loss]
    ax.plot(run.history["iteration"], run.history["loss"], color=color, lw=1.6)
    ax.set(title=loss_name(run), xlabel="iteration", ylabel="loss")
    ax.ticklabel_format(axis="y", useOffset=False)  # "+1.199e1" over the axis is not readable
    if run.status == "diverged":
        ax.set_title(f"{loss_name(run)}: diverged", color=RED)


def _draw_terms(ax: Axes, run: Run) -> None:
    history, coefficient = run.history, run.config.coefficient
    ax.plot(history["iteration"], history["mse"], color=LOSS_COLORS["mse"], label="MSE")
    weighted = coefficient * history["dice"]
    color = LOSS_COLORS["dice"]
    ax.plot(history["iteration"], weighted, color=color, label=f"{coefficient:g} x Dice")
    ax.set(xlabel="iteration", yscale="log")
    for formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # 600, not 6 x 10^2
    # In the title's place, where it hides no curve.
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.97), ncols=2, columnspacing=1)


def _draw_score(ax: Axes, run: Run, siblings: Sequence[Run]) -> None:
    for other in siblings:
        _plot_score(ax, other, color=INK, lw=0.6, alpha=0.4)
    _plot_score(ax, run, color=LOSS_COLORS[run.config.loss], lw=1.6, marker="o", ms=3)
    _finish_score(ax)


def _plot_score(ax: Axes, run: Run, **style) -> None:
    epochs = run.record["epochs"]
    scores = [epoch["validation_iou"] for epoch in epochs]
    ax.plot([epoch["epoch"] for epoch in epochs], scores, **style)


def _finish_score(ax: Axes) -> None:
    ax.set(title="validation mean IoU", xlabel="epoch")
    ax.set_ylim(0, max(0.05, 1.1 * ax.get_ylim()[1]))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


# -- words of captions -----------------------------------------------------------------------

#: What a family's data set is called in titles.
SET_NAMES = {
    "shapes5": "PurdueShapes5 look-alike",
    "purdue5": "PurdueShapes5",
    "scenes3": "drawn scenes (in place of COCO)",
    "coco3": "COCO",
}

Drawn = tuple[Figure, str]


def describe_run(run: Run) -> str:
    """A sentence with the run's settings, for captions."""
    config = run.config
    return (
        f"Run: recipe {config.recipe}, {loss_name(run)}, learning rate "
        f"{config.learning_rate:g}, seed {config.seed}, profile {config.profile}."
    )


def score_text(run: Run) -> str:
    """The run's score in brackets, for captions."""
    return f" ({run.score:.3f})" if run.status == "finished" else " (it diverged)"


def set_name(run: Run) -> str:
    """What captions call the data set that a run was trained on."""
    return SET_NAMES[run.config.dataset]


def number_text(value: float) -> str:
    return "not applicable" if np.isnan(value) else f"{value:.3f}"
