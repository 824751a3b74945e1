"""The report's 45 figures from saved records; nothing is trained here.

``FIGURES`` maps each number to the function that draws it. A function takes a ``Records`` (the
runs of one recipe, the test sets, the segmenter) and returns the figure and its caption. The
same functions draw ``report/`` and ``corrected/``.
"""

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from seghw.curves import LOSS_NAMES, coefficient_curves, loss_name, training_curve
from seghw.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.evaluate import Evaluation, evaluate
from seghw.files import whole_file
from seghw.panels import (
    STYLE,
    new_figure,
    overlay,
    show,
    show_mask,
)
from seghw.paths import FIGURES as FIGURES_FOLDER
from seghw.paths import RUNS
from seghw.runs import Run, load_runs
from seghw.sources import default_dataset, open_split
from seghw.sweep import best, worst

RECIPE_NAMES = ("report", "corrected")
PANEL_PERCENTILES = (25, 50, 75)
SAM_PERCENTILES = (10, 30, 50, 70, 90)
#: What a family's data set is called in titles.
SET_NAMES = {
    "shapes5": "PurdueShapes5 look-alike",
    "purdue5": "PurdueShapes5",
    "scenes3": "drawn scenes (in place of COCO)",
    "coco3": "COCO",
}


class Records:
    """What the figures of one recipe are drawn from; opened when first needed.

    Args:
        recipe: ``"report"`` or ``"corrected"``.
        runs: folder of the run records.
        profile: of the runs; None takes ``full`` where there are such runs, else ``laptop``.
        sam: model id or folder for the segmenter; None takes the one that needs no download.
    """

    def __init__(
        self,
        recipe: str,
        runs: str | Path = RUNS,
        profile: str | None = None,
        sam: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.folder = Path(runs)
        self.profile = profile or ("full" if load_runs("full", runs) else "laptop")
        self.sam = sam

    @cache  # noqa: B019 - a Records lives as long as the process draws figures
    def runs(self, family: str, recipe: str | None = None, **wanted) -> list[Run]:
        """The runs on a family's data, ``"shapes"`` or ``"coco"``, that the figures choose from.

        Runs with another network or another length than the grid's are left aside.
        """
        drawn = {"shapes": "shapes5", "coco": "scenes3"}[family]
        for dataset in dict.fromkeys((default_dataset(family), drawn)):
            found = load_runs(
                self.profile,
                self.folder,
                dataset=dataset,
                recipe=recipe or self.recipe,
                aspp_rates=(2, 4, 6),
                skip_connections=True,
                epochs=None,
                **wanted,
            )
            if found:
                return found
        what = ", ".join(map(str, (family, recipe or self.recipe, *wanted.values())))
        raise BadInput(
            f"{self.folder / self.profile} holds no runs for {what}; `python -m seghw sweep` trains"
        )

    def siblings(self, run: Run) -> list[Run]:
        """The same configuration with other seeds."""
        family = [
            r for r in self._family_runs(run) if r.config.with_seed(run.config.seed) == run.config
        ]
        return [r for r in family if r is not run]

    def _family_runs(self, run: Run) -> list[Run]:
        return load_runs(
            self.profile, self.folder, dataset=run.config.dataset, recipe=run.config.recipe
        )

    @cache  # noqa: B019
    def test_set(self, family: str) -> SegmentationSet:
        return open_split(self.runs(family)[0].config, "test")

    @cache  # noqa: B019
    def evaluation(self, family: str, loss: str, recipe: str | None = None) -> Evaluation:
        """The best run of a loss on the test set; only runs with weights can be chosen."""
        runs = [r for r in self.runs(family, recipe, loss=loss) if r.has_weights()]
        return evaluate(best(runs), self.test_set(family))

    @cache  # noqa: B019
    def chosen_images(self, family: str, percentiles: tuple[int, ...]) -> list[int]:
        """Test images at percentiles of the per-image IoU of the best corrected MSE + Dice run.

        The same reference for both recipes, so that the same images can be laid side by side.
        """
        scores = self.evaluation(family, "mse_dice", "corrected").image_iou
        order = np.argsort(np.where(np.isnan(scores), np.inf, scores), kind="stable")
        known = np.count_nonzero(~np.isnan(scores))
        return [int(order[round(p / 100 * (known - 1))]) for p in percentiles]

    @cached_property
    def segmenter(self):
        from seghw.sam import load_sam

        return load_sam(self.sam)


Drawn = tuple[Figure, str]

_CHOICE = {"best": (best, "highest"), "worst": (worst, "lowest")}


def _draw_curve(records: Records, which: str, family: str, loss: str) -> Drawn:
    choose, rank = _CHOICE[which]
    runs = records.runs(family, loss=loss)
    run = choose(runs)
    return training_curve(run, records.siblings(run)), (
        f"{which.capitalize()} training curve with {LOSS_NAMES[loss]} on {_set_name(run)}. "
        f"{_describe(run)} Of {len(runs)} runs over learning rates, coefficients and seeds, the "
        f"one with the {rank} validation mean IoU at the end"
        f"{_score_text(run)}. Thin lines: the same settings with other seeds."
    )


def _draw_coefficient(records: Records, which: str, family: str) -> Drawn:
    _, rank = _CHOICE[which]
    by_coefficient = _best_settings(records.runs(family, loss="mse_dice"))
    pick = max if which == "best" else min
    coefficient = pick(by_coefficient, key=lambda c: _mean_score(by_coefficient[c]))
    shown = {c: best(runs) for c, runs in by_coefficient.items()}
    chosen = shown.pop(coefficient)
    seeds = len(by_coefficient[coefficient])
    return coefficient_curves(chosen, list(shown.values())), (
        f"{which.capitalize()} coefficient of the Dice term on {_set_name(chosen)}: "
        f"{coefficient:g}, {rank} mean over {seeds} seed(s) of the validation mean IoU, each "
        f"coefficient at its best learning rate. {_describe(chosen)}"
    )


def _best_settings(runs: Sequence[Run]) -> dict[float, list[Run]]:
    """For each coefficient, the runs (one a seed) of the learning rate with the best mean."""
    groups: dict[float, dict[float, list[Run]]] = {}
    for run in runs:
        rates = groups.setdefault(run.config.coefficient, {})
        rates.setdefault(run.config.learning_rate, []).append(run)
    return {c: max(rates.values(), key=_mean_score) for c, rates in groups.items()}


def _mean_score(runs: Sequence[Run]) -> tuple[float, float]:
    return tuple(np.mean([run.rank for run in runs], axis=0))


def _draw_panel(records: Records, family: str, loss: str, k: int) -> Drawn:
    found = records.evaluation(family, loss)
    i = records.chosen_images(family, PANEL_PERCENTILES)[k]
    return evaluation_panel(found, i), (
        f"{LOSS_NAMES[loss]}, result {k + 1} on {_set_name(found.run)}. {_describe(found.run)} "
        f"Test image {i}, IoU {_number(found.image_iou[i])} (all {len(found.data)} test images: "
        f"{found.iou:.3f}). Chosen by rule: the image at the {PANEL_PERCENTILES[k]}th percentile "
        f"of the per-image IoU of the corrected recipe's best MSE + Dice run."
    )


def evaluation_panel(found: Evaluation, i: int) -> Figure:
    """Image, truth, one predicted mask a class as in Listing 4, and all of them on the image."""
    image, classes = found.data.images[i], found.data.classes
    truth, masks = found.data.masks[i], found.masks[i]
    count = len(classes) + 3
    columns = (count + 1) // 2
    figure, axes = new_figure(1.75 * columns, 4.1, 2, columns)
    flat = axes.ravel()
    show(flat[0], image, "image")
    show(flat[1], overlay(image, truth, classes), "truth")
    show(flat[2], overlay(image, masks, classes), "all predicted")
    for ax, mask, spec in zip(flat[3:], masks, classes, strict=False):
        show_mask(ax, mask, spec)
    for ax in flat[count:]:
        ax.set_visible(False)
    return figure


def evaluation_panels(found: Evaluation, folder: str | Path, count: int) -> list[Path]:
    """Write ``count`` panels to ``folder``, evenly spaced over the per-image IoU."""
    order = np.argsort(found.image_iou, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order)) + 2)[1:-1].round().astype(int)
    paths = []
    for place, i in zip(places, order[places], strict=True):
        caption = (
            f"Image {i} of {found.data.name}, {found.run.run_id}: IoU "
            f"{_number(found.image_iou[i])}, number {place + 1} of {len(order)} from below."
        )
        with mpl.rc_context(STYLE):
            figure = evaluation_panel(found, int(i))
            paths.append(Path(folder) / f"image{i:05d}.png")
            _save(figure, caption, paths[-1])
    return paths


def _sam_masks(records: Records, data: SegmentationSet, i: int) -> np.ndarray:
    """The segmenter's mask for each true box, united class by class: bool (C, H, W)."""
    from seghw.sam import segment_boxes

    masks = np.zeros_like(data.masks[i])
    corners = np.array([box[1:] for box in data.boxes[i]])
    found, _ = segment_boxes(records.segmenter, data.images[i], corners)
    for (class_index, *_), mask in zip(data.boxes[i], found, strict=True):
        masks[class_index] |= mask
    return masks


def _draw_sam_pair(records: Records, k: int) -> Drawn:
    found = records.evaluation("coco", "mse_dice")
    data, i = found.data, records.chosen_images("coco", SAM_PERCENTILES)[k]
    figure, axes = new_figure(7, 2.9, 1, 3)
    show(axes[0, 0], data.images[i], "image")
    sam = overlay(data.images[i], _sam_masks(records, data, i), data.classes)
    show(axes[0, 1], sam, f"(a) {records.segmenter.name}")
    show(axes[0, 2], overlay(data.images[i], found.masks[i], data.classes), "(b) our network")
    return figure, (
        f"Comparison {k + 1} on {_set_name(found.run)}, test image {i}: (a) the segmenter, "
        f"prompted with the true box; (b) our network, which sees the image alone. "
        f"{_describe(found.run)}"
    )


def _draw_sam_shapes(records: Records, k: int) -> Drawn:
    data, i = _sam_shape(records, k)
    figure, axes = new_figure(5, 2.9, 1, 2)
    show(axes[0, 0], data.images[i], f"image {k + 1}")
    masks = _sam_masks(records, data, i)
    show(axes[0, 1], overlay(data.images[i], masks, data.classes), records.segmenter.name)
    return figure, (
        f"Segmenter's output {k + 1} on {_family_name(records, 'shapes')}, test image {i}, "
        "prompted with the true boxes."
    )


def _draw_ours_on_shapes(records: Records, first: int, last: int) -> Drawn:
    found = records.evaluation("shapes", "mse_dice")
    chosen = range(first, last + 1)
    single = len(chosen) == 1
    figure, axes = new_figure(
        5.2 if single else 7, 2.9 if single else 4.2, 1 if single else 2, 3 if single else 4
    )
    for column, k in enumerate(chosen):
        data, i = _sam_shape(records, k)
        place = (axes[0, 0], axes[0, 1]) if single else (axes[0, column], axes[1, column])
        show(place[0], data.images[i], f"image {k + 1}")
        show(place[1], overlay(data.images[i], found.masks[i], data.classes), "our network")
        if single:
            masks = _sam_masks(records, data, i)
            show(axes[0, 2], overlay(data.images[i], masks, data.classes), records.segmenter.name)
    beside = " The segmenter's output, which the report leaves out, stands beside it."
    images = f"image {first + 1}" if single else f"images {first + 1} to {last + 1}"
    return figure, (
        f"Our network's output for {images} on {_set_name(found.run)}. {_describe(found.run)}"
        f"{beside if single else ''}"
    )


def _sam_shape(records: Records, k: int) -> tuple[SegmentationSet, int]:
    return records.test_set("shapes"), records.chosen_images("shapes", SAM_PERCENTILES)[k]


def _registry() -> dict[int, Callable[[Records], Drawn]]:
    """Figure numbers as the report has them."""
    figures: dict[int, Callable[[Records], Drawn]] = {}
    losses, families = ("mse", "dice", "mse_dice"), ("shapes", "coco")
    for first, which in ((1, "best"), (7, "worst")):
        for n, (loss, family) in enumerate((x, y) for x in losses for y in families):
            figures[first + n] = partial(_draw_curve, which=which, family=family, loss=loss)
    for first, which in ((13, "best"), (15, "worst")):
        for n, family in enumerate(families):
            figures[first + n] = partial(_draw_coefficient, which=which, family=family)
    for n, (loss, family, k) in enumerate(
        (x, y, k) for x in losses for y in families for k in range(3)
    ):
        figures[17 + n] = partial(_draw_panel, family=family, loss=loss, k=k)
    for k in range(5):
        figures[35 + k] = partial(_draw_sam_pair, k=k)
    for k in range(4):
        figures[40 + k] = partial(_draw_sam_shapes, k=k)
    figures[44] = partial(_draw_ours_on_shapes, first=0, last=3)
    figures[45] = partial(_draw_ours_on_shapes, first=4, last=4)
    return figures


#: Figure number to the function that draws it.
FIGURES = _registry()


def make_figures(
    only: str | None = None,
    *,
    out: str | Path = FIGURES_FOLDER,
    runs: str | Path = RUNS,
    profile: str | None = None,
    sam: str | None = None,
    recipes: Sequence[str] = RECIPE_NAMES,
) -> list[Path]:
    """Draw figures to ``out/report/figNN.png`` and ``out/corrected/figNN.png``.

    Args:
        only: numbers and ranges such as ``"17-19,45"``; None draws all 45.
        out: folder, made if missing.
        runs: folder of the run records.
        profile: see ``Records``.
        sam: see ``Records``.
        recipes: which of the two folders to draw.

    Returns:
        The files written. The same records give the same bytes.

    Raises:
        BadInput: a number that is not a figure's, or records that are missing.
    """
    numbers = parse_numbers(only) if only else sorted(FIGURES)
    made = []
    with mpl.rc_context(STYLE), tqdm(total=len(numbers) * len(recipes), unit="figure") as bar:
        for recipe in recipes:
            records = Records(recipe, runs, profile, sam)
            captions = {}
            for number in numbers:
                figure, caption = FIGURES[number](records)
                path = Path(out) / recipe / f"fig{number:02d}.png"
                captions[number] = f"Figure {number}. {caption}"
                _save(figure, captions[number], path)
                made.append(path)
                bar.update()
            if not only:
                _write_captions(captions, recipe, Path(out) / recipe)
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
        numbers += range(first, last + 1)
    unknown = sorted(set(numbers) - set(FIGURES))
    if unknown or not numbers:
        raise BadInput(f"figures {text!r}: there are figures 1 to {max(FIGURES)} only")
    return sorted(set(numbers))


def _save(figure: Figure, caption: str, path: Path) -> None:
    """Write the figure with its caption below it; no date or version, so bytes repeat."""
    width = int(figure.get_figwidth() * 17)
    figure.supxlabel("\n".join(textwrap.wrap(caption, width)), x=0.01, ha="left", fontsize=7.5)
    with whole_file(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _write_captions(captions: dict[int, str], recipe: str, folder: Path) -> None:
    lines = [f"# The report's figures, recipe `{recipe}`", ""]
    for number, caption in captions.items():
        lines += [f"![Figure {number}](fig{number:02d}.png)", "", caption, ""]
    with whole_file(folder / "README.md") as path:
        path.write_text("\n".join(lines), encoding="utf-8")


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


def _family_name(records: Records, family: str) -> str:
    return _set_name(records.runs(family)[0])


def _number(value: float) -> str:
    return "not applicable" if np.isnan(value) else f"{value:.3f}"
