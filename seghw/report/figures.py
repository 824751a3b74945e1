"""The report's 45 figures from saved records; nothing is trained here.

``FIGURES`` maps each number to the function that draws it, for either recipe: to
``report/fig01.png`` ... and ``corrected/fig01.png`` ... ``BEYOND`` holds what the report did not
show.
"""

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from seghw.config import DRAWN, LOSS_NAMES, RECIPES
from seghw.config import FIGURES as FIGURES_FOLDER
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.report import claims_figures as claims_figure
from seghw.report import data_figures, diagnosis_figures, sam_figures
from seghw.report.claims_figures import ablation_figure
from seghw.report.plots import (
    Drawn,
    coefficient_curves,
    describe_run,
    evaluation_panel,
    loss_name,
    number_text,
    score_text,
    set_name,
    training_curve,
    use_style,
)
from seghw.results import Records, RunEvaluation
from seghw.train.runs import best, best_by_coefficient, mean_rank, worst

Drawing = Callable[..., Drawn]


#: Of the per-image IoU of the reference run, for the three panels of a loss.
PANEL_PERCENTILES = (25, 50, 75)
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
        f"{score_text(run)}.{thin}"
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


def _registry() -> dict[int, Drawing]:
    """Figure numbers as the report has them."""
    figures: dict[int, Drawing] = {}
    losses, families = ("mse", "dice", "mse_dice"), ("shapes", "coco")
    for first, which in ((1, "best"), (7, "worst")):
        for n, (loss, family) in enumerate((x, y) for x in losses for y in families):
            figures[first + n] = partial(training, which=which, family=family, loss=loss)
    for first, which in ((13, "best"), (15, "worst")):
        for n, family in enumerate(families):
            figures[first + n] = partial(coefficients, which=which, family=family)
    for n, (loss, family, k) in enumerate(
        (x, y, k) for x in losses for y in families for k in range(3)
    ):
        figures[17 + n] = partial(result, family=family, loss=loss, k=k)
    for k in range(5):
        figures[35 + k] = partial(sam_figures.sam_beside_ours, k=k)
    for k in range(4):
        figures[40 + k] = partial(sam_figures.sam_on_shapes, k=k)
    figures[44] = sam_figures.ours_on_shapes
    figures[45] = sam_figures.ours_beside_sam
    return figures


#: Figure number to the function that draws it.
FIGURES = _registry()
#: What goes to ``beyond/``, by file name.
BEYOND: dict[str, Drawing] = {
    "dotted_beside_dense": diagnosis_figures.dotted_beside_dense,
    "dice_floors": diagnosis_figures.dice_floors,
    "class_curves": diagnosis_figures.class_curves,
    "seed_spread": diagnosis_figures.seed_spread,
    "balanced_coefficients": diagnosis_figures.balanced_coefficients,
    "full_size": diagnosis_figures.full_size,
    "speed_run": diagnosis_figures.speed_run,
    "gallery_shapes": data_figures.gallery_shapes,
    "gallery_scenes": data_figures.gallery_scenes,
    "distributions": data_figures.distributions,
    "ablation": ablation_figure,
    "claims": claims_figure.claims,
}


def make_figures(
    only: str | None = None,
    *,
    out: str | Path = FIGURES_FOLDER,
    records: Records | None = None,
    recipes: Sequence[str] = tuple(RECIPES),
) -> list[Path]:
    """Draw figures to ``out/report/figNN.png`` and ``out/corrected/figNN.png``.

    Args:
        only: numbers and ranges such as ``"17-19,45"``; None draws all 45 and those beyond the
            report, and writes beside each set a page of captions and tables of the per-image
            scores.
        out: folder, made if missing.
        records: what to draw them from; default, the committed ones.
        recipes: which of the two folders to draw.

    Returns:
        The files written. The same records give the same bytes.

    Raises:
        BadInput: a number that is not a figure's, or records that are missing.
    """
    numbers = parse_numbers(only) if only else sorted(FIGURES)
    beyond = {} if only else BEYOND
    records = records or Records()
    made = []
    bar = tqdm(total=len(numbers) * len(recipes) + len(beyond), desc="drawing", unit="figure")
    with mpl.rc_context(), bar:
        use_style()
        for recipe in recipes:
            captions = {}
            for number in numbers:
                figure, caption = FIGURES[number](records, recipe)
                captions[number] = f"Figure {number}. {caption}"
                made.append(Path(out) / recipe / f"fig{number:02d}.png")
                _save(figure, captions[number], made[-1])
                bar.update()
            if not only:
                _write_captions(captions, recipe, Path(out) / recipe)
                made += _write_tables(records, recipe, Path(out) / recipe / "tables")
        if not only:
            made.append(_write_comparison(records, Path(out) / "beyond" / "tables" / "sam.csv"))
        for name, draw in beyond.items():
            figure, caption = draw(records)
            made.append(Path(out) / "beyond" / f"{name}.png")
            _save(figure, caption, made[-1])
            bar.update()
    return made


def parse_numbers(text: str) -> list[int]:
    """``"17-19,45"`` to ``[17, 18, 19, 45]``.

    Raises:
        BadInput: not of that form, or not figures of the report.
    """
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not found:
            raise BadInput(f"figures {text!r} is not a list of numbers and ranges like 17-19,45")
        first, last = int(found[1]), int(found[2] or found[1])
        if last > 10 * max(FIGURES):  # before a range of that size fills the memory
            raise BadInput(f"figures {part.strip()!r}: there are figures 1 to {max(FIGURES)} only")
        numbers += range(first, last + 1)
    unknown = sorted(set(numbers) - set(FIGURES))
    if unknown or not numbers:
        raise BadInput(f"figures {text!r}: there are figures 1 to {max(FIGURES)} only")
    return sorted(set(numbers))


def _save(figure: Figure, caption: str, path: Path) -> None:
    """Write the figure with its caption below it; no date or version, so bytes repeat."""
    width = int(figure.get_figwidth() * 16)
    figure.supxlabel("\n".join(textwrap.wrap(caption, width)), x=0.01, ha="left", fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _write_captions(captions: dict[int, str], recipe: str, folder: Path) -> None:
    lines = [f"# The report's figures, recipe `{recipe}`", ""]
    for number, caption in captions.items():
        lines += [f"![Figure {number}](fig{number:02d}.png)", "", caption, ""]
    with atomic_write(folder / "README.md") as path:
        path.write_text("\n".join(lines), encoding="utf-8")


def _write_tables(records: Records, recipe: str, folder: Path) -> list[Path]:
    """The per-image scores of every run that the figures show."""
    paths = []
    for family, loss in product(DRAWN, LOSS_NAMES):
        found = records.evaluation(family, recipe, loss)
        paths.append(folder / f"{found.run.config.dataset}-{loss}.csv")
        found.write_table(paths[-1])
    return paths


def _write_comparison(records: Records, path: Path) -> Path:
    """Every number of the comparison with the segmenter."""
    from seghw.sam.compare import write_rows

    found = {family: records.sam_comparison(family) for family in DRAWN}
    rows = {comparison.data.name: list(comparison.rows()) for comparison in found.values()}
    write_rows(rows, records.segmenter.name, path)
    return path


def evaluation_panels(found: RunEvaluation, folder: str | Path, count: int) -> list[Path]:
    """Write ``count`` panels to ``folder``, evenly spaced over the per-image IoU."""
    order = np.argsort(found.image_iou, kind="stable")
    count = min(count, len(order))
    places = ((np.arange(count) + 0.5) * len(order) / count).astype(int)
    paths = []
    for place, i in zip(places, order[places], strict=True):
        caption = (
            f"Image {i} of {found.data.name}, {found.run.run_id}: IoU "
            f"{number_text(found.image_iou[i])}, "
            f"number {place + 1} of {len(order)} from below."
        )
        with mpl.rc_context():
            use_style()
            title = f"{found.run.run_id}: IoU {number_text(found.image_iou[i])}"
            figure = evaluation_panel(found.data, found.masks, int(i), title)
            paths.append(Path(folder) / f"image{i:05d}.png")
            _save(figure, caption, paths[-1])
    return paths
