"""One function a kind of figure in the report.

Each takes the records, a recipe and what tells its figures apart, and returns the figure and its
caption. Best and worst are by validation mean IoU at the end (``sweep.best``).
"""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seghw.curves import LOSS_NAMES, coefficient_curves, loss_name, training_curve
from seghw.dataset import SegmentationSet
from seghw.panels import evaluation_panel, new_figure, overlay, show
from seghw.records import Records
from seghw.runs import Run
from seghw.sweep import best, best_by_coefficient, mean_rank, worst

PANEL_PERCENTILES = (25, 50, 75)
SAM_PERCENTILES = (10, 30, 50, 70, 90)
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
        f"{which.capitalize()} training curve with {LOSS_NAMES[loss]} on {_set_name(run)}. "
        f"{_describe(run)} Of {len(runs)} runs over learning rates, coefficients and seeds, the "
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
        f"{which.capitalize()} coefficient of the Dice term on {_set_name(chosen)}: "
        f"{coefficient:g}, {rank} mean validation IoU over {seeds}, each "
        f"coefficient at its best learning rate.{faint} {_describe(chosen)}"
    )


def result(records: Records, recipe: str, family: str, loss: str, k: int) -> Drawn:
    found = records.evaluation(family, recipe, loss)
    i = records.chosen_images(family, PANEL_PERCENTILES)[k]
    title = f"{loss_name(found.run)} ({recipe}), {_set_name(found.run)}: "
    title += f"IoU {number_text(found.image_iou[i])}"
    return evaluation_panel(found.data, found.masks, i, title), (
        f"{LOSS_NAMES[loss]}, result {k + 1} on {_set_name(found.run)}. {_describe(found.run)} "
        f"Test image {i}, IoU {number_text(found.image_iou[i])} "
        f"(all {len(found.data)} test images: {found.iou:.3f}). Chosen by rule: the image at the "
        f"{PANEL_PERCENTILES[k]}th percentile of the per-image IoU of the corrected recipe's best "
        "MSE + Dice run."
    )


def sam_beside_ours(records: Records, recipe: str, k: int) -> Drawn:
    found = records.evaluation("coco", recipe, "mse_dice")
    data, i = found.data, records.chosen_images("coco", SAM_PERCENTILES)[k]
    figure, axes = new_figure(7, 2.9, 1, 3)
    show(axes[0, 0], data.images[i], "image")
    _show_sam(axes[0, 1], records, data, i, "(a) ")
    show(axes[0, 2], overlay(data.images[i], found.masks[i], data.classes), "(b) our network")
    return figure, (
        f"Comparison {k + 1} on {_set_name(found.run)}, test image {i}: (a) the segmenter "
        f"({records.segmenter.name}), prompted with the true box; (b) our network, which sees the "
        f"image alone. {_describe(found.run)}"
    )


def sam_on_shapes(records: Records, recipe: str, k: int) -> Drawn:
    data, i = records.test_set("shapes"), records.chosen_images("shapes", SAM_PERCENTILES)[k]
    figure, axes = new_figure(5, 2.9, 1, 2)
    show(axes[0, 0], data.images[i], f"image {k + 1}")
    _show_sam(axes[0, 1], records, data, i)
    return figure, (
        f"The segmenter's ({records.segmenter.name}) output {k + 1} on {data.name}, test image "
        f"{i}, prompted with the true boxes."
    )


def ours_on_shapes(records: Records, recipe: str) -> Drawn:
    found = records.evaluation("shapes", recipe, "mse_dice")
    data, chosen = found.data, records.chosen_images("shapes", SAM_PERCENTILES)[:4]
    figure, axes = new_figure(7, 4.2, 2, 4)
    for column, i in enumerate(chosen):
        show(axes[0, column], data.images[i], f"image {column + 1}")
        ours = overlay(data.images[i], found.masks[i], data.classes)
        show(axes[1, column], ours, "our network")
    return figure, (
        f"Our network's output for images 1 to 4 on {_set_name(found.run)}. {_describe(found.run)}"
    )


def ours_beside_sam(records: Records, recipe: str) -> Drawn:
    found = records.evaluation("shapes", recipe, "mse_dice")
    data, i = found.data, records.chosen_images("shapes", SAM_PERCENTILES)[4]
    figure, axes = new_figure(7, 2.9, 1, 3)
    show(axes[0, 0], data.images[i], "image 5")
    show(axes[0, 1], overlay(data.images[i], found.masks[i], data.classes), "our network")
    _show_sam(axes[0, 2], records, data, i)
    return figure, (
        f"Our network's output for image 5 on {_set_name(found.run)}. {_describe(found.run)} The "
        f"segmenter's output ({records.segmenter.name}), which the report leaves out, stands "
        "beside it."
    )


def _show_sam(ax: Axes, records: Records, data: SegmentationSet, i: int, before: str = "") -> None:
    """The segmenter's mask for each true box of image i, in its class's colour."""
    from seghw.sam import segment_boxes

    masks = np.zeros_like(data.masks[i])
    corners = np.array([box[1:] for box in data.boxes[i]])
    found = segment_boxes(records.segmenter, data.images[i], corners).masks
    for (class_index, *_), mask in zip(data.boxes[i], found, strict=True):
        masks[class_index] |= mask
    title = textwrap.fill(before + records.segmenter.name, 24)
    show(ax, overlay(data.images[i], masks, data.classes), title)


def _describe(run: Run) -> str:
    config = run.config
    return (
        f"Run: recipe {config.recipe}, {loss_name(run)}, learning rate "
        f"{config.learning_rate:g}, seed {config.seed}, profile {config.profile}."
    )


def _score_text(run: Run) -> str:
    return f" ({run.score:.3f})" if run.status == "finished" else " (it diverged)"


def _set_name(run: Run) -> str:
    return SET_NAMES[run.config.dataset]


def number_text(value: float) -> str:
    return "not applicable" if np.isnan(value) else f"{value:.3f}"
