"""ipywidgets explorers for the notebooks, and the still pictures that they move.

Each explorer is a thin function that ties sliders to a drawing function, which a notebook also
calls by itself, so that nothing is lost where widgets do not render.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from seghw.losses import combined_loss, gradient_balance, report_dice_loss
from seghw.metrics import count, iou
from seghw.report.plots import BLUE, GREEN, INK, RED, loss_name, show

if TYPE_CHECKING:
    from seghw.sam.predictor import Segmenter
    from seghw.train.runs import Run

#: Image pixels per side that one cell of the map at the bottom of the U stands for.
CELL = 8
#: Of an explorer's axes. A layout engine would find better ones in as much time as drawing takes.
MARGINS = {"left": 0.09, "right": 0.98, "bottom": 0.2, "top": 0.88, "wspace": 0.25}


class Explorer(widgets.Box):
    """Controls and the picture that they move, beside each other where there is room."""

    def __init__(self, *children: widgets.Widget) -> None:
        super().__init__(children, layout={"flex_flow": "row wrap"})

    def __repr__(self) -> str:  # what stands where widgets do not render
        return "To be moved in JupyterLab, with a running kernel. A still picture stands above."


def _picture(
    draw: Callable[..., None], size: tuple[float, float], columns: int, **controls: widgets.Widget
) -> widgets.Widget:
    """What ``draw`` paints on so many axes for the controls' values, and a word while it does."""
    word = widgets.HTML("&nbsp;")

    def redraw(**values) -> None:
        word.value = "<em>drawing ...</em>"
        try:
            _, axes = plt.subplots(1, columns, figsize=size, squeeze=False, gridspec_kw=MARGINS)
            draw(axes[0], **values)
            plt.show()
        finally:
            word.value = "&nbsp;"

    return widgets.VBox([word, widgets.interactive_output(redraw, controls)])


def draw_taps(ax: Axes, picture: np.ndarray, rate: int, row: int, column: int) -> int:
    """Lay the nine taps of a dilated 3 x 3 kernel over a picture.

    Taps on the map are filled; those outside it, which read zeros, are hollow.

    Args:
        ax: where to draw.
        picture: an image, uint8 (3, H, W), ruled in cells of 8 x 8 pixels, on which ASPP works;
            or a feature map (H / 8, W / 8) itself.
        rate: dilation, in cells.
        row: of the cell that the kernel is centerd on.
        column: likewise.

    Returns:
        How many taps are on the map.
    """
    height, width = (side // (CELL if picture.ndim == 3 else 1) for side in picture.shape[-2:])
    show(ax, picture, extent=(0, width, height, 0), cmap="gray")
    ax.hlines(range(height + 1), 0, width, color="white", lw=0.4, alpha=0.4)
    ax.vlines(range(width + 1), 0, height, color="white", lw=0.4, alpha=0.4)
    inside = 0
    for y in (row - rate, row, row + rate):
        for x in (column - rate, column, column + rate):
            hit = 0 <= y < height and 0 <= x < width
            inside += hit
            style = {"facecolor": BLUE, "edgecolor": "white"} if hit else {"edgecolor": RED}
            ax.add_patch(Rectangle((x, y), 1, 1, fill=hit, lw=1.2, **style))
    # Room for the taps of any rate, so that the picture keeps its scale under a slider.
    margin = 7
    ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
    ax.set_title(f"rate {rate}, map {height} x {width}:\n{inside} of 9 taps inside")
    return inside


def explore_dilation(images: Mapping[int, np.ndarray]) -> widgets.Widget:
    """Sliders for the rate and the place of a kernel over one of several images.

    Args:
        images: by their side in pixels, each uint8 (3, side, side).
    """
    side = widgets.Dropdown(options=list(images), description="image side")
    rate = widgets.IntSlider(6, 1, 7, description="rate")
    row, column = (widgets.IntSlider(50, 0, 100, description=f"{d} (%)") for d in ("down", "right"))

    def draw(axes: np.ndarray, side: int, rate: int, row: int, column: int) -> None:
        last = side // CELL - 1
        draw_taps(axes[0], images[side], rate, round(last * row / 100), round(last * column / 100))

    moved = {"side": side, "rate": rate, "row": row, "column": column}
    return Explorer(widgets.VBox(list(moved.values())), _picture(draw, (4.5, 4.7), 1, **moved))


def draw_prompt(
    ax: Axes,
    segmenter: "Segmenter",
    image: np.ndarray,
    *,
    click: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
) -> None:
    """A prompt, and the outline of the mask that a segmenter gives for it.

    Args:
        ax: where to draw.
        segmenter: from ``sam.load_sam``.
        image: uint8 (3, H, W).
        click: x, y in pixels; or
        box: x0, y0, x1, y1, inclusive.
    """
    from seghw.sam.predictor import segment_boxes, segment_points

    if box is None:
        found = segment_points(segmenter, image, np.reshape(click, (1, 1, 2)))
    else:
        found = segment_boxes(segmenter, image, np.reshape(box, (1, 4)))
    show(ax, image, f"predicted IoU {found.predicted_iou[0]:.2f}")
    if found.masks[0].any() and not found.masks[0].all():  # else there is no outline to draw
        ax.contour(found.masks[0], [0.5], colors="white", linewidths=1.5)
    if box is None:
        ax.plot(*click, marker="+", color=RED, ms=12, mew=2.5)
    else:
        x0, y0, x1, y1 = box
        frame = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, color=RED)
        ax.add_patch(frame)


@lru_cache(maxsize=1)  # a slider asks for the same target again and again
def _terms(target: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths from 0 to 2, and MSE and the report's Dice of strength x target at each."""
    shares = np.linspace(0, 2, 41)
    both = [combined_loss(share * target, target, dice=report_dice_loss) for share in shares]
    mse, dice = np.array([(terms.mse.item(), terms.dice.item()) for terms in both]).T
    return shares, mse, dice


def draw_balance(axes: np.ndarray, target: torch.Tensor, coefficient: float, strength: float):
    """How the MSE and coefficient x the report's Dice compare for a prediction strength x target.

    Args:
        axes: two axes: the terms over the strength, and both terms' values and gradients at one.
        target: (N, C, H, W) in the report's coding.
        coefficient: weight of the Dice term.
        strength: 0 is an empty prediction, 1 a perfect one.

    Returns:
        The ``GradientBalance`` at that strength.
    """

    shares, mse, dice = _terms(target)
    curves = np.stack([mse, coefficient * dice], axis=1)
    for curve, color, label in zip(
        curves.T, (BLUE, RED), ("MSE", "coefficient x Dice"), strict=True
    ):
        axes[0].plot(shares, curve, color=color, label=label)
    axes[0].plot(shares, curves.sum(1), "--", color=INK, label="their sum")
    axes[0].axvline(strength, color=INK, lw=0.8)
    axes[0].set(xlabel="strength of the prediction (1: perfect)", ylabel="loss", ylim=(0, None))
    axes[0].set_title(f"terms at coefficient {coefficient:g}")
    axes[0].legend()

    balance = gradient_balance(strength * target, target)
    norms = (balance.mse, coefficient * balance.dice)
    now = combined_loss(strength * target, target, dice=report_dice_loss)
    values = (now.mse.item(), coefficient * now.dice.item())
    shares_of = [np.array(pair) / max(sum(pair), 1e-12) for pair in (values, norms)]
    mse, dice = np.array(shares_of).T
    axes[1].barh(["value", "gradient"], mse, color=BLUE)
    axes[1].barh(["value", "gradient"], dice, left=mse, color=RED)
    axes[1].set(xlim=(0, 1), xlabel="share of the sum")
    axes[1].set_title(
        f"at strength {strength:g}: MSE {mse[0]:.0%} of the value, {mse[1]:.0%} of the gradient"
    )
    return balance


def explore_balance(target: torch.Tensor) -> widgets.Widget:
    """Sliders for the coefficient and the strength of ``draw_balance``.

    Args:
        target: (N, C, H, W) in the report's coding.
    """
    coefficient = widgets.IntSlider(60, 0, 300, step=10, description="coefficient")
    strength = widgets.FloatSlider(0.1, min=0, max=2, step=0.05, description="strength")

    def draw(axes: np.ndarray, coefficient: int, strength: float) -> None:
        draw_balance(axes, target, coefficient, strength)

    moved = {"coefficient": coefficient, "strength": strength}
    return Explorer(widgets.VBox(list(moved.values())), _picture(draw, (9, 3.2), 2, **moved))


def draw_decision(
    axes: np.ndarray, output: np.ndarray, truth: np.ndarray, low: float, high: float = np.inf
) -> float:
    """One class's raw output, and what a band makes of it: hits, false alarms, misses.

    Args:
        axes: two.
        output: of the network for one class, float (H, W).
        truth: that class's mask, bool (H, W).
        low: a pixel is painted where the output lies above this ...
        high: ... and below this; infinity makes the band a threshold.

    Returns:
        The IoU of the painted mask, 0..1; NaN if neither mask has a pixel.
    """
    painted = (output > low) & (output < high)
    show(axes[0], output, "raw output", cmap="cividis")
    axes[0].contour(truth, levels=[0.5], colors="white", linewidths=0.8)
    picture = np.full((*truth.shape, 3), 235, dtype=np.uint8)
    outcomes = ((GREEN, painted & truth), (RED, painted & ~truth), (BLUE, truth & ~painted))
    for color, where in outcomes:
        picture[where] = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    score = float(iou(count(painted[None, None], truth[None, None]))[0])
    show(axes[1], picture, f"{low:.2f} < output < {high:.2f}: IoU {score:.2f}")
    names = ("hit", "false alarm", "missed")
    handles = [Patch(color=c, label=n) for (c, _), n in zip(outcomes, names, strict=True)]
    axes[1].legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=3,
        handlelength=1,
        columnspacing=1,
    )
    return score


def explore_decision(
    planes: Mapping[str, tuple[np.ndarray, np.ndarray, tuple[float, float]]],
) -> widgets.Widget:
    """A slider for both ends of the band, over one of several outputs.

    Args:
        planes: by name, one class's output float (H, W), its true mask bool (H, W), and the band
            to begin with. With its upper end at the right the band is open above.
    """
    which = widgets.Dropdown(options=list(planes), description="output")
    explorer = Explorer()

    def show_output(_=None) -> None:
        output, truth, (low, high) = planes[which.value]
        least, most = float(min(output.min(), low)), float(max(output.max(), low)) + 0.01
        # A new slider per output: new limits of an old one race with what the browser sends back.
        band = widgets.FloatRangeSlider(
            value=(low, min(high, most)),
            min=least,
            max=most,
            step=(most - least) / 100,
            description="painted",
        )

        def draw(axes: np.ndarray, band: tuple[float, float]) -> None:
            draw_decision(axes, output, truth, band[0], band[1] if band[1] < most else np.inf)

        picture = _picture(draw, (6.5, 3.6), 2, band=band)
        explorer.children = (widgets.VBox([which, band]), picture)

    show_output()
    which.observe(show_output, names="value")
    return explorer


def draw_runs(axes: Sequence[Axes], runs: Sequence["Run"]) -> None:
    """Lay the two terms and the scores of up to three runs over one another.

    Args:
        axes: three, for the MSE, the Dice term, and the validation mean IoU.
        runs: the same run may come twice.
    """
    for run, color, style in zip(runs, (BLUE, RED, GREEN), ("-", "--", ":"), strict=False):
        label = f"{run.config.recipe}, {run.config.learning_rate:g}:\n{loss_name(run)}"
        for ax, column in zip(axes[:2], ("mse", "dice"), strict=True):
            ax.plot(run.history["iteration"], run.history[column], style, color=color, label=label)
        epochs = run.record["epochs"]
        scores = [epoch["validation_iou"] for epoch in epochs]
        axes[2].plot([e["epoch"] for e in epochs], scores, style, color=color, marker="o", ms=3)
    axes[0].set(title="MSE term", xlabel="iteration", yscale="log")
    axes[1].set(title="Dice term", xlabel="iteration", yscale="log")
    axes[2].set(title="validation mean IoU", xlabel="epoch", ylim=(0, 1))
    axes[0].legend()


def explore_runs(runs: Sequence["Run"]) -> widgets.Widget:
    """Two lists to pick a run and another to compare it with."""
    by_id = {run.run_id: run for run in runs}
    wide = widgets.Layout(width="420px")
    one, other = (
        widgets.Dropdown(options=by_id, index=i, description=name, layout=wide)
        for i, name in ((0, "this run"), (len(by_id) - 1, "beside"))
    )

    def draw(axes: np.ndarray, one: "Run", other: "Run") -> None:
        draw_runs(axes, [one, other])

    return Explorer(one, other, _picture(draw, (10, 3), 3, one=one, other=other))
