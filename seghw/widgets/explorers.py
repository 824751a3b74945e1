"""ipywidgets explorers for the notebooks, and the still pictures that they move.

Each explorer ties controls to a drawing function, which a notebook also calls by itself, so that
nothing is lost where widgets do not render.
"""

from collections.abc import Callable, Mapping
from functools import partial

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from seghw import notebook as nb
from seghw.losses import GradientBalance, combined_loss, gradient_balance, report_dice_loss
from seghw.metrics import count, iou

#: Image pixels per side that one position of the feature map at the bottom of the U stands for.
POSITION = 8


class Explorer(widgets.Box):
    """Controls, by the names of their values, and the picture that they move.

    ``draw`` is called with a row of ``columns`` axes and the values; ``size`` is in inches.
    """

    def __init__(
        self, draw: Callable[..., object], size: tuple, columns: int, **controls: widgets.Widget
    ) -> None:
        word = widgets.HTML("&nbsp;")
        # A layout engine would find better margins in as much time as drawing takes.
        margins = {"left": 0.09, "right": 0.98, "bottom": 0.2, "top": 0.88, "wspace": 0.25}

        def redraw(**values: object) -> None:
            word.value = "<em>drawing ...</em>"
            figure, axes = plt.subplots(1, columns, figsize=size, gridspec_kw=margins)
            try:
                draw(axes, **values)
                plt.show()
            finally:
                plt.close(figure)  # which a drawing that fails would leave open
                word.value = "&nbsp;"

        picture = widgets.VBox([word, widgets.interactive_output(redraw, controls)])
        super().__init__([widgets.VBox([*controls.values()]), picture])
        self.layout.flex_flow = "row wrap"

    def __repr__(self) -> str:  # what stands where widgets do not render
        return "To be moved in JupyterLab, with a running kernel. A still picture stands above."


def draw_taps(ax: Axes, picture: np.ndarray, rate: int, row: int, column: int) -> None:
    """Lay the nine taps of a dilated 3 x 3 kernel over a picture.

    Those outside of the map, which read zeros, are hollow.

    Args:
        ax: where to draw.
        picture: an image, uint8 (3, H, W), ruled in positions of 8 x 8 pixels, on which ASPP works;
            or a feature map (H / 8, W / 8) itself.
        rate: dilation, in positions.
        row, column: of the position that the kernel is centered on.
    """
    height, width = (side // (POSITION if picture.ndim == 3 else 1) for side in picture.shape[-2:])
    nb.show(ax, picture, extent=(0, width, height, 0), cmap="gray")
    ax.hlines(range(height + 1), 0, width, color="white", lw=0.4, alpha=0.4)
    ax.vlines(range(width + 1), 0, height, color="white", lw=0.4, alpha=0.4)
    inside = 0
    for y in (row - rate, row, row + rate):
        for x in (column - rate, column, column + rate):
            on_map = 0 <= y < height and 0 <= x < width
            inside += on_map
            style = {"fc": nb.BLUE, "ec": "white"} if on_map else {"ec": nb.RED}
            ax.add_patch(Rectangle((x, y), 1, 1, fill=on_map, lw=1.2, **style))
    # Room for the taps of any rate, so that the picture keeps its scale under a slider.
    margin = 7
    ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
    ax.set_title(f"rate {rate}, map {height} x {width}:\n{inside} of 9 taps inside")


def explore_dilation(images: Mapping[int, np.ndarray]) -> Explorer:
    """Sliders for ``draw_taps`` over one of several images, uint8 (3, side, side) by their side."""

    def draw(ax: Axes, side: int, rate: int, down: int, right: int) -> None:
        row, column = (round((side // POSITION - 1) * share / 100) for share in (down, right))
        draw_taps(ax, images[side], rate, row, column)

    places = {d: widgets.IntSlider(50, 0, 100, description=f"{d} (%)") for d in ("down", "right")}
    side = widgets.Dropdown(options=list(images), description="image side")
    rate = widgets.IntSlider(6, 1, 7, description="rate")
    return Explorer(draw, (4.5, 4.7), 1, side=side, rate=rate, **places)


def draw_balance(
    axes: np.ndarray, target: torch.Tensor, coefficient: float, strength: float
) -> GradientBalance:
    """How the MSE and coefficient x the report's Dice compare for a prediction strength x target.

    Args:
        axes: two axes: the terms over the strength, and both terms' values and gradients at one.
        target: (N, C, H, W) in the report's coding.
        coefficient: weight of the Dice term.
        strength: 0 is an empty prediction, 1 a perfect one.
    """

    def terms(share: float) -> np.ndarray:
        at = combined_loss(share * target, target, dice=report_dice_loss)
        return np.array([at.mse.item(), coefficient * at.dice.item()])

    shares = np.linspace(0, 2, 41)
    curves = np.array([terms(share) for share in shares])
    axes[0].plot(shares, curves[:, 0], color=nb.BLUE, label="MSE")
    axes[0].plot(shares, curves[:, 1], color=nb.RED, label="coefficient x Dice")
    axes[0].plot(shares, curves.sum(1), "--", color=nb.INK, label="their sum")
    axes[0].axvline(strength, color=nb.INK, lw=0.8)
    axes[0].set(xlabel="strength of the prediction (1: perfect)", ylabel="loss", ylim=(0, None))
    axes[0].set_title(f"terms at coefficient {coefficient:g}")
    axes[0].legend()

    balance = gradient_balance(strength * target, target)
    pairs = np.array([terms(strength), (balance.mse, coefficient * balance.dice)])
    mse, dice = (pairs / np.maximum(pairs.sum(1, keepdims=True), 1e-12)).T
    axes[1].barh(["value", "gradient"], mse, color=nb.BLUE)
    axes[1].barh(["value", "gradient"], dice, left=mse, color=nb.RED)
    axes[1].set(xlim=(0, 1), xlabel="share of the sum")
    axes[1].set_title(
        f"at strength {strength:g}: MSE {mse[0]:.0%} of the value, {mse[1]:.0%} of the gradient"
    )
    return balance


def explore_balance(target: torch.Tensor) -> Explorer:
    """Sliders for the coefficient and the strength of ``draw_balance``, whose target it takes."""
    coefficient = widgets.IntSlider(60, 0, 300, step=10, description="coefficient")
    strength = widgets.FloatSlider(0.1, min=0, max=2, step=0.05, description="strength")
    draw = partial(draw_balance, target=target)
    return Explorer(draw, (9, 3.2), 2, coefficient=coefficient, strength=strength)


def draw_decision(
    axes: np.ndarray, output: np.ndarray, truth: np.ndarray, low: float, high: float = np.inf
) -> None:
    """One class's raw output, and what a band makes of it: right, wrong and missed pixels.

    Args:
        axes: two.
        output: of the network for one class, float (H, W).
        truth: that class's mask, bool (H, W).
        low, high: a pixel is predicted between them; infinity makes the band a threshold.
    """
    predicted = (output > low) & (output < high)
    nb.show(axes[0], output, "raw output", cmap="cividis")
    nb.outline(axes[0], truth)
    outcomes = np.stack([predicted & truth, predicted & ~truth, truth & ~predicted])
    named = {"true positive": nb.GREEN, "false positive": nb.RED, "false negative": nb.BLUE}
    colors = [tuple(round(255 * share) for share in to_rgb(color)) for color in named.values()]
    score = float(iou(count(predicted[None, None], truth[None, None]))[0, 0])
    band = f"output > {low:g}" if high == np.inf else f"{low:g} < output < {high:g}"
    nb.show(axes[1], nb.overlay(None, outcomes, colors), f"{band}: IoU {score:.2f}")
    for name, color in named.items():
        axes[1].scatter([], [], marker="s", color=color, label=name)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, columnspacing=1)


def explore_decision(
    outputs: Mapping[str, tuple[np.ndarray, np.ndarray, tuple[float, float]]],
) -> widgets.Widget:
    """A slider for both ends of the band; with its upper end at the right it is open above.

    ``outputs``: by name, one class's output float (H, W), its true mask bool (H, W), and the band
    to begin with.
    """

    def explorer(output: np.ndarray, truth: np.ndarray, band: tuple[float, float]) -> Explorer:
        ends = [output.min(), output.max(), *(end for end in band if np.isfinite(end))]
        step = 1.0 if np.ptp(ends) > 10 else 0.01  # the ends of the band lie on steps
        least, most = np.floor(min(ends) / step) * step, (np.ceil(max(ends) / step) + 1) * step
        limits = {"min": least, "max": most, "step": step, "value": (band[0], min(band[1], most))}
        style = {"readout_format": ".2f" if step < 1 else ".0f", "layout": {"width": "26rem"}}
        slider = widgets.FloatRangeSlider(**limits, **style, description="predicted")

        def draw(axes: np.ndarray, band: tuple[float, float]) -> None:
            low, high = np.round(band, 2)
            draw_decision(axes, output, truth, low, high if high < round(most, 2) else np.inf)

        return Explorer(draw, (6.5, 3.6), 2, band=slider)

    # A slider per output: new limits of an old one race with what the browser sends back.
    which = widgets.Dropdown(options=list(outputs), description="output")
    stack = widgets.Stack([explorer(*case) for case in outputs.values()], selected_index=0)
    widgets.link((which, "index"), (stack, "selected_index"))
    return widgets.VBox([which, stack])


def draw_runs(axes: np.ndarray, runs: pd.DataFrame) -> None:
    """Lay MSE, Dice term and validation IoU of up to three runs over one another, on three axes.

    ``runs``: rows of the table of runs; the same one may come twice.
    """
    looks = ((nb.BLUE, "-"), (nb.RED, "--"), (nb.GREEN, ":"))
    for (_, run), (color, dashes) in zip(runs.iterrows(), looks, strict=False):
        style = {"color": color, "ls": dashes}
        label = f"{run.recipe}, {run.learning_rate:g}:\n{nb.loss_name(run)}, seed {run.seed}"
        nb.plot_history(axes[0], run, "mse", label=label, **style)
        nb.plot_history(axes[1], run, "dice", **style)
        nb.plot_score(axes[2], run, **style)
    axes[0].set(title="MSE term", xlabel="iteration", yscale="log")
    axes[1].set(title="Dice term", xlabel="iteration", yscale="log")
    axes[2].set(title="validation mean IoU", xlabel="epoch", ylim=(0, 1))
    axes[0].legend()


def explore_runs(runs: pd.DataFrame) -> Explorer:
    """Two lists to pick a run and another to compare it with, from the table of runs."""
    rows = [(run_id, place) for place, run_id in enumerate(runs.run_id)]
    wide = {"options": rows, "layout": {"width": "420px"}}
    one = widgets.Dropdown(**wide, index=0, description="this run")
    other = widgets.Dropdown(**wide, index=len(rows) - 1, description="beside")

    def draw(axes: np.ndarray, one: int, other: int) -> None:
        draw_runs(axes, runs.iloc[[one, other]])

    return Explorer(draw, (10, 3), 3, one=one, other=other)
