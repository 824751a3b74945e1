"""Figures 1 to 16: training curves of single runs, and of the coefficients side by side."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from seghw.losses import LOSS_NAMES
from seghw.panels import BLUE, GREEN, INK, RED, new_figure
from seghw.runs import Run

_COLOURS = (BLUE, GREEN, RED)


def loss_name(run: Run) -> str:
    """What the run minimised, as a formula: ``MSE + 60 x Dice``."""
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
        for (coefficient, seeds), colour in zip(sorted(runs.items()), _COLOURS, strict=False):
            bold = coefficient == shown
            label = f"{coefficient:g}, {seeds[0].config.learning_rate:g}"
            label += " (this figure)" if bold else ""
            styles = [{"lw": 2.2 if bold else 1.0, "label": label}]
            styles += [{"lw": 0.6, "alpha": 0.35}] * (len(seeds) - 1)
            for run, style in zip(seeds, styles, strict=True):
                if column is None:
                    _plot_score(ax, run, color=colour, **style)
                else:
                    history = run.history
                    ax.plot(history["iteration"], history[column], color=colour, **style)
        if column is not None:
            ax.set(title=title, xlabel="iteration")
    _finish_score(axes[0, 2])
    axes[0, 0].legend(title="coefficient, learning rate")
    return figure


def _draw_loss(ax: Axes, run: Run, siblings: Sequence[Run]) -> None:
    for other in siblings:
        ax.plot(other.history["iteration"], other.history["loss"], color=INK, lw=0.6, alpha=0.4)
    ax.plot(run.history["iteration"], run.history["loss"], color=BLUE, lw=1.6)
    ax.set(title=loss_name(run), xlabel="iteration", ylabel="loss")
    ax.ticklabel_format(axis="y", useOffset=False)  # "+1.199e1" over the axis is not readable
    if run.status == "diverged":
        ax.set_title(f"{loss_name(run)}: diverged", color=RED)


def _draw_terms(ax: Axes, run: Run) -> None:
    history, coefficient = run.history, run.config.coefficient
    ax.plot(history["iteration"], history["mse"], color=RED, label="MSE")
    weighted = coefficient * history["dice"]
    ax.plot(history["iteration"], weighted, color=GREEN, label=f"{coefficient:g} x Dice")
    ax.set(title="its two terms", xlabel="iteration", yscale="log")
    for formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # 600, not 6 x 10^2
    ax.legend()


def _draw_score(ax: Axes, run: Run, siblings: Sequence[Run]) -> None:
    for other in siblings:
        _plot_score(ax, other, color=INK, lw=0.6, alpha=0.4)
    _plot_score(ax, run, color=BLUE, lw=1.6, marker="o", ms=3)
    _finish_score(ax)


def _plot_score(ax: Axes, run: Run, **style) -> None:
    epochs = run.record["epochs"]
    scores = [epoch["validation_iou"] for epoch in epochs]
    ax.plot([epoch["epoch"] for epoch in epochs], scores, **style)


def _finish_score(ax: Axes) -> None:
    ax.set(title="validation mean IoU", xlabel="epoch")
    ax.set_ylim(0, max(0.05, 1.1 * ax.get_ylim()[1]))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
