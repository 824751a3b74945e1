"""Pictures of what is wrong with the report's set-up, one fault each, and of the speed run."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from seghw.claims.facts import dice_floor
from seghw.config import BALANCED, COEFFICIENTS, DATA, DRAWN, PROFILES, RECIPES
from seghw.errors import BadInput
from seghw.report.plots import (
    BLUE,
    COEFFICIENT_COLORS,
    INK,
    LOSS_COLORS,
    RED,
    SET_NAMES,
    Drawn,
    color_masks,
    describe_run,
    loss_name,
    new_figure,
    show,
)
from seghw.results import Records
from seghw.train.runs import Run, best, best_by_coefficient, best_setting


def dotted_beside_dense(records: Records) -> Drawn:
    """One test image of each family, and its masks under both recipes' best MSE + Dice runs."""
    figure, axes = new_figure(6, 3.5, 2, 4)
    for row, family in zip(axes, ("coco", "shapes"), strict=True):
        data = records.test_set(family)
        [i] = records.chosen_images(family, (50,))  # the reference's median image
        show(row[0], data.images[i], "image")
        show(row[1], color_masks(data.masks[i], data.classes), "truth")
        for ax, recipe in zip(row[2:], RECIPES, strict=True):
            found = records.evaluation(family, recipe, "mse_dice")
            masks = color_masks(found.masks[i], data.classes)
            show(ax, masks, f"{recipe}: IoU {found.iou:.2f}")
    return figure, (
        "The report's network can paint every fourth pixel only; the corrected one paints all. The "
        f"best MSE + Dice runs of both recipes, profile {records.profile}, on test images of "
        "median difficulty; above each, the mean IoU on all test images."
    )


def dice_floors(records: Records) -> Drawn:
    """The least value that the report's Dice loss can take for a class that is present."""
    figure, axes = new_figure(6, 2.7, 1, 1)
    ax = axes[0, 0]
    shares = np.linspace(0, 1, 200)
    dotted = [dice_floor(share, dotted=True) for share in shares]
    ax.plot(shares, dotted, color=RED, label="as printed, every fourth pixel painted")
    dense = [dice_floor(share, dotted=False) for share in shares]
    ax.plot(shares, dense, color=INK, ls="--", label="as printed, every pixel painted")
    ax.plot(shares, 0 * shares, color=BLUE, label="with the factor 2, every pixel painted")
    data = records.test_set("shapes")
    found = data.masks.mean(axis=(2, 3))[data.masks.any(axis=(2, 3))]
    low, middle, high = np.quantile(found, (0.05, 0.5, 0.95))
    ax.axvspan(low, high, color=INK, alpha=0.12, lw=0, label="nine of ten drawn shapes")
    ax.set(xlabel="share of the image that the class covers", ylabel="least Dice loss")
    ax.set(xlim=(0, 1), ylim=(-0.03, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(loc=(0.36, 0.1), fontsize=8)
    return figure, (
        "The least value of the report's Dice loss for one class of one image. Without the factor "
        "2 of the Dice coefficient a perfect mask scores one half. A network that paints every "
        f"fourth pixel cannot get below {dice_floor(middle, dotted=True):.2f} for a shape of the "
        f"median size ({middle:.0%} of the image). An absent class adds 1 whatever is predicted."
    )


def class_curves(records: Records) -> Drawn:
    """Validation IoU of each class over the epochs, best MSE run of each recipe on the shapes."""
    figure, axes = new_figure(6, 2.5, 1, 2)
    runs = [best(records.runs("shapes", recipe, "mse")) for recipe in RECIPES]
    for ax, run in zip(axes[0], runs, strict=True):
        epochs = run.record["epochs"]
        scores = np.array([epoch["validation_iou_per_class"] for epoch in epochs])
        for spec, line in zip(run.config.classes, scores.T, strict=True):
            color = np.array(spec.color) / 255
            label = f"{spec.name} ({spec.value})"
            ax.plot(range(1, len(epochs) + 1), line, color=color, marker="o", ms=3, label=label)
        ax.set(title=f"recipe {run.config.recipe}", xlabel="epoch", ylabel="validation IoU")
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure, (
        "Each class over training with MSE. Left: the report's masks hold a value per class (in "
        "brackets), and the MSE weighs an error by its square. Right: masks of 0 and 1. "
        + " ".join(describe_run(run) for run in runs)
    )


def seed_spread(records: Records) -> Drawn:
    """Every seed of every coefficient at its best learning rate, report's recipe."""
    figure, axes = new_figure(6, 2.5, 1, 2)
    firsts = []
    for ax, family in zip(axes[0], DRAWN, strict=True):
        firsts.append(_draw_seeds(ax, records.runs(family, "report", "mse_dice")))
        ax.set(title=SET_NAMES[DRAWN[family]], xlabel="coefficient of the Dice term")
        ax.set_ylabel("validation mean IoU")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure, (
        "The same settings with other random seeds, recipe report. The report trained each setting "
        f"once. Which coefficient comes first depends on the seed: on the left {firsts[0]}; on "
        f"the right {firsts[1]}."
    )


def balanced_coefficients(records: Records) -> Drawn:
    """The report's coefficients beside the one that balances the gradients, both recipes."""
    figure, axes = new_figure(7, 4.6, 2, 2)
    firsts = []
    for ax, (recipe, family) in zip(axes.ravel(), product(RECIPES, DRAWN), strict=True):
        runs, balanced = records.runs(family, recipe, "mse_dice"), BALANCED[recipe][family]
        with suppress(BadInput):  # not trained, or not yet
            runs = runs + records.runs(family, recipe, "mse_dice", (balanced,))
        firsts.append(f"{recipe}, {DRAWN[family]}: {_draw_seeds(ax, runs, bold=balanced)}")
        ax.set(title=f"{DRAWN[family]}, {recipe}", ylabel="validation mean IoU")
    for ax in axes[-1]:
        ax.set_xlabel("coefficient of the Dice term")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure, (
        "Every coefficient at its best learning rate, seed by seed; beside the report's, where it "
        "was trained, in bold the one at which the gradients of both terms have the same norm at "
        f"the output. Which comes first: {'; '.join(firsts)}."
    )


def _draw_seeds(ax: Axes, runs: Sequence[Run], bold: float | None = None) -> str:
    """One line a seed over the coefficients; returns which coefficient is first for each seed."""
    found = best_by_coefficient(runs)
    scores = {c: {run.config.seed: run.score for run in some} for c, some in found.items()}
    seeds = sorted(set.intersection(*map(set, scores.values())))
    for seed, color in zip(seeds, (BLUE, RED, INK, *["#999999"] * len(seeds)), strict=False):
        line = [scores[c][seed] for c in scores]
        ax.plot(range(len(line)), line, color=color, marker="o", ms=4, label=f"seed {seed}")
    labels = ax.set_xticks(range(len(scores)), [f"{c:g}" for c in scores])
    for coefficient, tick in zip(scores, labels, strict=True):
        tick.label1.set_fontweight("bold" if coefficient == bold else "normal")
    winners = {seed: max(scores, key=lambda c, s=seed: scores[c][s]) for seed in seeds}
    return ", ".join(f"{c:g} (seed {seed})" for seed, c in winners.items())


def full_size(records: Records) -> Drawn:
    """Each loss at each rate on the shapes: these runs' network beside one of the report's size."""
    figure, axes = new_figure(8, 5.2, 2, 2, sharey=True)
    told = []
    for column, profile in zip(axes.T, (records.profile, "full"), strict=True):
        size = PROFILES[profile]
        column[0].set_title(f"{profile}: width {size.width}, depth {size.depth}")
        column[0].set(xlabel="learning rate", xscale="log")
        column[1].set(xlabel="epoch, at the best rate")
        for ax in column:
            ax.axhline(0.25, color=INK, ls=":", lw=1)
        try:
            told.append(f"{profile} {_draw_rates(column, Records(records.folder, profile))}")
        except BadInput:
            command = f"no runs:\npython -m seghw sweep\n--profile {profile}"
            column[0].text(0.5, 0.5, command, ha="center", transform=column[0].transAxes)
    for ax in axes[:, 0]:
        ax.set_ylabel("validation mean IoU")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure, (
        "The small network of these runs beside one of the report's own size, PurdueShapes5 "
        "look-alike, recipe report. Above: validation mean IoU at the end, by loss and learning "
        "rate (dots: seeds; lines: their mean). Below: after every epoch, one seed at its best "
        "rate. Dotted: what painting every fourth pixel can reach at most while the others stay "
        f"empty. Best rates: {'; '.join(told) or 'no runs'}."
    )


def _draw_rates(axes: Sequence[Axes], records: Records) -> str:
    """Scores by rate above and by epoch below, a line a loss; returns each loss's best rate.

    Raises:
        BadInput: a loss has no runs.
    """
    coefficients = COEFFICIENTS["section3"]["shapes"]
    settings = [("mse", None), ("dice", None), *(("mse_dice", c) for c in coefficients)]
    colors = [LOSS_COLORS["mse"], LOSS_COLORS["dice"], *COEFFICIENT_COLORS]
    best_rates: dict[float, list[str]] = {}
    for (loss, coefficient), color in zip(settings, colors, strict=True):
        runs = records.runs("shapes", "report", loss, (coefficient,))
        name, [first, *_] = loss_name(runs[0]), best_setting(runs)
        points = np.array([(run.config.learning_rate, run.score) for run in runs])
        rates = np.unique(points[:, 0])
        means = [points[points[:, 0] == rate, 1].mean() for rate in rates]
        axes[0].plot(rates, means, color=color, lw=1.4, label=name)
        axes[0].plot(*points.T, "o", color=color, ms=3)
        epochs = [row["validation_iou"] for row in first.record["epochs"]]
        axes[1].plot(range(1, len(epochs) + 1), epochs, color=color, lw=1.4, marker="o", ms=3)
        best_rates.setdefault(first.config.learning_rate, []).append(name)
    return ", ".join(f"{rate:g} ({', '.join(names)})" for rate, names in best_rates.items())


def speed_run(records: Records) -> Drawn:
    """Time against score of the profile ``live``, as ``make bench`` measured it.

    Raises:
        BadInput: it was not measured.
    """
    path = DATA / "bench" / "live.csv"
    if not path.is_file():
        raise BadInput(f"{path} is missing; `python -m tests.bench live` makes it")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seconds, iou = (np.array([float(row[name]) for row in rows]) for name in ("seconds", "iou"))
    figure, [[ax]] = new_figure(5, 2.8, 1, 1)
    ax.plot(seconds, iou, "o", color=BLUE)
    ax.axhline(0.75, color=INK, ls=":", lw=1)
    ax.axvline(60, color=INK, ls=":", lw=1)
    ax.set(xlabel="seconds, from the call of Python to its end", ylabel="mean IoU, unseen shapes")
    ax.set(xlim=(0, max(65, seconds.max() + 5)))
    return figure, (
        f"`train --profile live` with {len(rows)} seeds on two cores, drawing the images and "
        f"scoring 500 unseen ones included: {seconds.min():.0f} to {seconds.max():.0f} s, mean IoU "
        f"{iou.min():.3f} to {iou.max():.3f}. Dotted: the goals, 0.75 within 60 s."
    )
