"""One style for pictures and curves: what chapters, explorers and figures plot with.

Colors are Okabe and Ito's, told apart by color-blind readers; lines differ in their dashes and
markers as well.
"""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from seghw.config import LOSS_NAMES, PALETTE, REPORT_LOSSES, ClassSpec
from seghw.errors import explain_in
from seghw.runs import history

if TYPE_CHECKING:
    from seghw.data.dataset import SegmentationSet

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
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.markersize": 4,
    "image.interpolation": "nearest",  # a dotted mask must look dotted
    "svg.hashsalt": "seghw",
}

Color = tuple[int, int, int]  # red, green, blue, 0..255
Drawn = tuple[Figure, str]  # a picture and its caption
#: Colors for curves and for whatever else is not a class.
INK, RED, BLUE, GREEN = "#333333", "#D55E00", "#0072B2", "#009E73"
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
#: Lines that differ in color, dashes and marker.
LINES = [
    {"color": color, "ls": dashes, "marker": marker}
    for color, dashes, marker in zip(
        (BLUE, RED, GREEN, "#56B4E9", "#E69F00", "#CC79A7"), _DASHES, "os^Dvp", strict=True
    )
]
#: One meaning each, in figures and chapters alike; coefficients from the smallest up.
LOSS_STYLES = dict(zip(REPORT_LOSSES, LINES, strict=False))
COEFFICIENT_STYLES = LINES[3:]
#: What titles and captions call a data set.
SET_NAMES = {
    "shapes5": "PurdueShapes5 look-alike",
    "purdue5": "PurdueShapes5",
    "scenes3": "drawn scenes (in place of COCO)",
    "coco3": "COCO",
}
#: The most that a network reaches that can predict every fourth pixel only, the others empty.
CEILING = 0.25


# -- style ------------------------------------------------------------------------------------


def use_style() -> None:
    """Draw under the project's style alone, whatever the user's matplotlibrc says."""
    mpl.rcdefaults()
    mpl.rcParams.update(STYLE)


def use_notebook_style(dpi: int = 80) -> None:
    """``use_style`` for a notebook, after ``%matplotlib inline``, at so many pixels per inch.

    A picture has twice these pixels, for screens of high resolution, and ``describe``'s text. A
    cell that is interrupted says so in a line, one that lacks a name says what to run. One thread
    computes: the networks are small, and two notebooks at once must not wait for each other.
    """
    from IPython import get_ipython

    from seghw.devices import use_threads

    use_style()
    use_threads(1)
    points = STYLE["font.size"] * 96 / dpi  # on a page 96 pixels are an inch
    mpl.rcParams.update({"figure.dpi": dpi, "font.size": points, "axes.titlesize": points})
    shell = get_ipython()
    shell.display_formatter.formatters["image/png"].for_type(Figure, _notebook_png)
    explain_in(shell)


def _notebook_png(figure: Figure) -> tuple[bytes, dict[str, Any]] | None:
    from IPython.core.pylabtools import retina_figure

    # Explorers lay their figures out themselves, and are waited for.
    box = "tight" if figure.get_layout_engine() else None
    shown = retina_figure(figure, bbox_inches=box)  # None of an empty figure
    return shown and (shown[0], {**shown[1], "alt": describe(figure)})


def describe(figure: Figure) -> str:
    """A text alternative from what is drawn: each panel's title, labels, and lines with ends."""
    panels = {}  # each text once, in order
    for ax in filter(Axes.get_visible, figure.axes):
        labels = " against ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
        title = " ".join(ax.get_title().split())
        name = f"{title} ({labels})" if title and labels else title or labels
        lines = []
        for line in ax.get_lines() if labels else ():
            y, label = np.asarray(line.get_ydata(), float), str(line.get_label())
            y = y[np.isfinite(y)]
            if len(y) and not label.startswith("_"):
                lines.append(f"{label} from {y[0]:.3g} to {y[-1]:.3g}")
        if name or lines:
            kind = ["picture"] if ax.images else []
            panels[": ".join(filter(None, (*kind, name, ", ".join(lines))))] = True
    return "; ".join(panels) or "figure"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any):
    """A figure outside pyplot's registry, in inches, and its axes as an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


# -- pictures ---------------------------------------------------------------------------------


def show(ax: Axes, picture: np.ndarray, title: str = "", **imshow: Any) -> None:
    """Show a picture, (H, W, 3), (3, H, W) or (H, W), without ticks or frame."""
    if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] != 3:
        picture = picture.transpose(1, 2, 0)
    ax.imshow(picture, **imshow)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def overlay(
    image: np.ndarray | None,
    masks: np.ndarray,
    classes: Sequence[ClassSpec | Color],
    strength: float = 0.65,
) -> np.ndarray:
    """Masks in their colors on the image in gray, on which every color is readable.

    Args:
        image: uint8 (3, H, W), RGB, 0..255; None for black, with the colors at full strength.
        masks: bool (K, H, W); where several are true, their colors average.
        classes: K classes or colors.
        strength: share of the color where there is a mask, 0..1.

    Returns:
        uint8 (H, W, 3), 0..255.
    """
    colors = np.reshape([getattr(c, "color", c) for c in classes], (-1, 3))
    color = np.einsum("khw,kd->hwd", masks.astype(float), colors)
    color /= np.maximum(masks.sum(0), 1)[..., None]
    if image is None:
        return color.astype(np.uint8)
    gray = image.mean(0)[..., None] * 0.6 + 60
    share = np.where(masks.any(0), strength, 0.0)[..., None]
    return (share * color + (1 - share) * gray).astype(np.uint8)


def outline(ax: Axes, mask: np.ndarray, **style: Any) -> None:
    """Draw the boundary of a mask, bool (H, W), as a white line over what is shown."""
    if mask.any() and not mask.all():  # else there is none, of which matplotlib warns
        ax.contour(mask, levels=[0.5], **{"colors": "white", "linewidths": 0.8, **style})


def object_colors(count: int) -> list[Color]:
    """One color per object; after the last comes the first again."""
    return [PALETTE[k % len(PALETTE)] for k in range(count)]


def legend(
    where: Figure | Axes, classes: Sequence[ClassSpec] | None = None, **options: Any
) -> None:
    """A legend that lies over nothing: above a figure, or to the right of its axes.

    ``where`` has the layout ``constrained``; ``classes`` gives names and colors, None lists what
    was drawn with a label; ``options`` are those of matplotlib's ``legend``.
    """
    axes = where.axes if isinstance(where, Figure) else [where]
    if classes is None:
        handles = {}
        for ax in axes:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles[label] = handles.pop(label, handle)  # the first of a name
    else:
        handles = {c.name: Patch(fc=np.array(c.color) / 255, ec=INK, lw=0.5) for c in classes}
    place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}
    if isinstance(where, Figure):
        columns = max(1, int(where.get_figwidth() / 1.4))
        place = {"loc": "outside upper center", "ncols": min(len(handles), columns)}
    where.legend(handles.values(), handles.keys(), **(place | options))


def evaluation_panel(data: "SegmentationSet", masks: np.ndarray, i: int, title: str = "") -> Figure:
    """Image ``i`` of a set, its truth, all predicted, and each class's mask as in Listing 4.

    ``masks``, bool (N, C, H, W), are those of the whole set. The frame of a class's panel has its
    color, and the white line is the true boundary.
    """
    image, classes = data.images[i], data.classes
    columns = (len(classes) + 4) // 2
    figure, axes = new_figure(1.75 * columns, 4.3 if title else 4.1, 2, columns)
    figure.suptitle(textwrap.fill(title, 20 * columns))
    first, second, third, *others = axes.flat
    show(first, image, "image")
    show(second, overlay(image, data.masks[i], classes), "truth")
    show(third, overlay(image, masks[i], classes), "all predicted")
    for ax, mask, true, spec in zip(others, masks[i], data.masks[i], classes, strict=False):
        show(ax, overlay(None, mask[None], [spec]), spec.name)
        outline(ax, true)
        ax.spines[:].set(visible=True, color=np.array(spec.color) / 255, linewidth=3)
    for ax in others[len(classes) :]:
        ax.set_visible(False)
    return figure


# -- curves -----------------------------------------------------------------------------------


def loss_name(run: Any) -> str:
    """What a run, a row of the table of runs, minimized: ``MSE + 60 x Dice``."""
    name = LOSS_NAMES[run.loss]
    return name.replace("coefficient", f"{run.coefficient:g}") if "coefficient" in name else name


def plot_history(
    ax: Axes, run: Any, column: str, *, rows: int = 1, times: float = 1, **style: Any
) -> None:
    """A column of a run's history over the iterations; ``run`` is a row of ``runs.load_runs``.

    ``rows`` of the history are averaged around each point, against the noise of batches; ``times``
    is a factor, such as a coefficient.
    """
    table = history(run)
    values = times * table[column].rolling(rows, center=True, min_periods=1).mean()
    ax.plot(table.iteration, values, **{"markevery": max(1, len(table) // 6), **style})
    ax.set_xlabel("iteration")


def plot_score(ax: Axes, run: Any, **style: Any) -> None:
    """A run's validation mean IoU, 0..1, over its epochs."""
    scores = [epoch["validation_iou"] for epoch in run.epoch_scores]
    ax.plot(range(1, len(scores) + 1), np.array(scores, float), **style)
    ax.set(xlabel="epoch", ylabel="validation mean IoU")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def log_scale(ax: Axes, axis: str = "x") -> None:
    """A logarithmic axis with plain numbers; called after plotting, whose range it depends on."""
    ax.set(**{f"{axis}scale": "log"})
    scale = getattr(ax, f"{axis}axis")
    low, high = sorted(scale.get_view_interval())
    decades = np.log10(high / low)
    ticks = LogLocator(subs=(1,) if decades > 2 else (1, 2, 5), numticks=9)
    scale.set_major_locator(MaxNLocator(5) if decades < 0.7 else ticks)
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter("{x:g}")


def describe_run(run: Any) -> str:
    """A sentence with the run's settings, for captions."""
    rate = f"learning rate {run.learning_rate:g}"
    about = f"recipe {run.recipe}, {loss_name(run)}, {rate}, seed {run.seed}"
    return f"Run: {about}, profile {run.profile}."
