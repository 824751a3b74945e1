"""One function a kind of figure in the report.

Each takes the records, a recipe and what tells its figures apart, and returns the figure and its
caption. Best and worst are by validation mean IoU at the end (``sweep.best``).
"""

import numpy as np
from matplotlib.figure import Figure

from seghw.curves import LOSS_NAMES, coefficient_curves, loss_name, training_curve
from seghw.panels import evaluation_panel
from seghw.records import Records
from seghw.runs import Run
from seghw.sweep import best, best_by_coefficient, mean_rank, worst

PANEL_PERCENTILES = (25, 50, 75)
#: What a family's data set is called in titles.
SET_NAMES = {
    "shapes5": "PurdueShapes5 look-alike",
    "purdue5": "PurdueShapes5",
    "scenes3": "drawn scenes (in place of COCO)",
    "coco3": "COCO",
}

Drawn = tuple[Figure, str]

_CHOICE = {"best": (best, "highest"), "worst": (worst, "lowest")}


def training(records: Records, recipe: str, which: str, family: str, loss: str) -> Drawn:
    choose, rank = _CHOICE[which]
    runs = records.runs(family, recipe, loss)
    run = choose(runs)
    siblings = records.siblings(run, family)
    thin = " Thin lines: the same settings with other seeds." if siblings else ""
    return training_curve(run, siblings), (
        f"{which.capitalize()} training curve with {LOSS_NAMES[loss]} on {set_name(run)}. "
        f"{describe_run(run)} Of {len(runs)} runs over learning rates, coefficients and seeds, the "
        f"one with the {rank} validation mean IoU at the end"
        f"{_score_text(run)}.{thin}"
    )


def coefficients(records: Records, recipe: str, which: str, family: str) -> Drawn:
    _, rank = _CHOICE[which]
    by_coefficient = best_by_coefficient(records.runs(family, recipe, "mse_dice"))
    pick = max if which == "best" else min
    coefficient = pick(by_coefficient, key=lambda c: mean_rank(by_coefficient[c]))
    ranked = {
        c: sorted(runs, key=lambda run: run.rank, reverse=True)
        for c, runs in by_coefficient.items()
    }
    chosen = ranked[coefficient][0]
    count = len(ranked[coefficient])
    seeds = "one seed" if count == 1 else f"{count} seeds"
    faint = "" if count == 1 else " Of each coefficient its best seed; faint lines: the others."
    return coefficient_curves(ranked, coefficient), (
        f"{which.capitalize()} coefficient of the Dice term on {set_name(chosen)}: "
        f"{coefficient:g}, {rank} mean validation IoU over {seeds}, each "
        f"coefficient at its best learning rate.{faint} {describe_run(chosen)}"
    )


def result(records: Records, recipe: str, family: str, loss: str, k: int) -> Drawn:
    found = records.evaluation(family, recipe, loss)
    i = records.chosen_images(family, PANEL_PERCENTILES)[k]
    title = f"{loss_name(found.run)} ({recipe}), {set_name(found.run)}: "
    title += f"IoU {number_text(found.image_iou[i])}"
    return evaluation_panel(found.data, found.masks, i, title), (
        f"{LOSS_NAMES[loss]}, result {k + 1} on {set_name(found.run)}. {describe_run(found.run)} "
        f"Test image {i}, IoU {number_text(found.image_iou[i])} "
        f"(all {len(found.data)} test images: {found.iou:.3f}). Chosen by rule: the image at the "
        f"{PANEL_PERCENTILES[k]}th percentile of the per-image IoU of the corrected recipe's best "
        "MSE + Dice run."
    )


def describe_run(run: Run) -> str:
    """A sentence with the run's settings, for captions."""
    config = run.config
    return (
        f"Run: recipe {config.recipe}, {loss_name(run)}, learning rate "
        f"{config.learning_rate:g}, seed {config.seed}, profile {config.profile}."
    )


def _score_text(run: Run) -> str:
    return f" ({run.score:.3f})" if run.status == "finished" else " (it diverged)"


def set_name(run: Run) -> str:
    """What captions call the data set that a run was trained on."""
    return SET_NAMES[run.config.dataset]


def number_text(value: float) -> str:
    return "not applicable" if np.isnan(value) else f"{value:.3f}"
