"""The report's 45 figures from saved records; nothing is trained here.

``FIGURES`` maps each number to the function that draws it, and its arguments. A function takes the
records and a recipe, and returns the figure and its caption.
"""

import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from tqdm.auto import tqdm

from seghw import notebook as nb
from seghw.config import DRAWN, RECIPES, REPORT_LOSSES
from seghw.config import FIGURES as FIGURES_FOLDER
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.report.results import Records
from seghw.runs import SETTING, by_coefficient, history

Drawn = tuple[Figure, str]

#: Of the per-image IoU of the reference run: for the panels of a loss, and beside the segmenter.
PANEL_PERCENTILES, OBJECT_PERCENTILES = (25, 50, 75), (10, 30, 50, 70, 90)
#: Rows of a history over which curves are averaged, against the noise of single batches.
SMOOTH = 10
#: Where the axis of the IoU ends, the same for all runs of a recipe; and the most that a network
#: reaches that can predict every fourth pixel only.
IOU_TOP, CEILING = {"report": 0.3, "corrected": 1.0}, 0.25


# -- curves: figures 1 to 16 ------------------------------------------------------------------


def training(records: Records, recipe: str, which: str, family: str, loss: str) -> Drawn:
    """The best or the worst run of a loss, on the scales of both."""
    ranked = records.ranked(family, recipe, loss)
    pair = [_with_siblings(ranked, run) for run in (ranked.iloc[-1], ranked.iloc[0])]
    run, *siblings = pair[which == "worst"]
    rank = {"best": "highest", "worst": "lowest"}[which]
    score = "it diverged" if run.status == "diverged" else f"{run.score:.3f}"
    thin = " Thin gray lines: the same settings with other seeds." if siblings else ""
    return training_curve(run, siblings, [*pair[0], *pair[1]]), (
        f"{which.capitalize()} training curve with {REPORT_LOSSES[loss]} on {set_name(run)}. "
        f"{describe_run(run)} Of {len(ranked)} runs over learning rates, coefficients and seeds, "
        f"the one with the {rank} validation mean IoU at the end ({score}).{thin} The losses are "
        f"means over {_smoothed(run)} iterations (of this run unsmoothed as well, pale). Best and "
        "worst run of a loss are drawn on the same scales."
    )


def training_curve(run: Any, siblings: Sequence[Any] = (), pair: Sequence[Any] = ()) -> Figure:
    """A run's loss, its terms if it has two, and its validation IoU.

    Args:
        run: a row of the table of runs, drawn boldly, as far as it went.
        siblings: the same configuration with other seeds, drawn thinly.
        pair: runs whose losses set the scale as well, such as those of a figure to compare with.
    """
    two_terms, style = run.loss == "mse_dice", {"lw": 1.8, **nb.LOSS_STYLES[run.loss]}
    figure, [axes] = nb.new_figure(10 if two_terms else 7.6, 2.9, 1, 3 if two_terms else 2)
    for other, ls in zip(siblings, ("--", ":", "-.") * len(siblings), strict=False):
        thin = {"color": nb.INK, "ls": ls, "lw": 0.8, "alpha": 0.7, "label": f"seed {other.seed}"}
        nb.plot_history(axes[0], other, "loss", rows=SMOOTH, **thin)
        nb.plot_score(axes[-1], other, **thin)
    nb.plot_history(axes[0], run, "loss", color=style["color"], lw=0.5, alpha=0.4)
    style["label"] = f"seed {run.seed}, this run"
    nb.plot_history(axes[0], run, "loss", rows=SMOOTH, **style)
    nb.plot_score(axes[-1], run, **style)
    name = f"{nb.loss_name(run)}{': diverged' * (run.status == 'diverged')}"
    axes[0].set(title=name, ylabel="loss", ylim=_limits([run, *pair], loss=1))
    axes[0].ticklabel_format(axis="y", useOffset=False)  # "+1.199e1" over the axis is not readable
    if two_terms:
        for term, times in (("mse", 1), ("dice", run.coefficient)):
            look = {"label": f"{times:g} x Dice" if term == "dice" else "MSE", "times": times}
            nb.plot_history(axes[1], run, term, rows=SMOOTH, **look, **nb.LOSS_STYLES[term])
        limits = [_limits([other], mse=1, dice=other.coefficient) for other in [run, *pair]]
        axes[1].set(
            title="terms of the loss", ylabel="value", ylim=(np.min(limits), np.max(limits))
        )
        nb.log_scale(axes[1], "y")
    _finish_score(axes[-1], run.recipe)
    nb.legend(figure, loc="outside right center", ncols=1)
    return figure


def coefficients(records: Records, recipe: str, which: str, family: str) -> Drawn:
    """The best or the worst coefficient of the Dice term beside the others."""
    tried = by_coefficient(records.grid(family, recipe, "mse_dice"))
    means = {c: runs.score.mean() for c, runs in tried.items()}
    shown = (max if which == "best" else min)(means, key=means.get)
    rank = {"best": "highest", "worst": "lowest"}[which]
    best = tried[shown].loc[tried[shown].score.idxmax()]
    seeds = "one seed" if len(tried[shown]) == 1 else f"{len(tried[shown])} seeds"
    others = ", ".join(f"{c:g}: {mean:.3f}" for c, mean in means.items() if c != shown)
    return coefficient_curves(tried, shown), (
        f"{which.capitalize()} coefficient of the Dice term on {set_name(best)}: {shown:g}, "
        f"{rank} mean validation IoU over {seeds} ({means[shown]:.3f}; {others}), each coefficient "
        "at its best learning rate. Of each coefficient its best seed, which the legend names; "
        f"faint lines: the other seeds. Losses are means over {_smoothed(best)} iterations. "
        f"{describe_run(best)}"
    )


def coefficient_curves(runs: Mapping[float, pd.DataFrame], shown: float) -> Figure:
    """The runs of one coefficient, beside those of the other coefficients.

    Totals of different coefficients cannot be compared, so the two terms are drawn apart.

    Args:
        runs: coefficient to its runs, one a seed; the best is drawn clearly, the others faintly.
        shown: the coefficient that is drawn boldly.
    """
    figure, [axes] = nb.new_figure(10, 2.9, 1, 3)
    for (coefficient, seeds), style in zip(runs.items(), nb.COEFFICIENT_STYLES, strict=False):
        bold = coefficient == shown
        clear = {"lw": 2.4 if bold else 1.2, "zorder": 3 if bold else 2.5}
        faint = {"lw": 0.7, "alpha": 0.35, "marker": ""}
        for k, (_, run) in enumerate(seeds.sort_values("score", ascending=False).iterrows()):
            look = {**style, **(faint if k else clear)}
            if not k:
                look["label"] = f"{coefficient:g}, {run.learning_rate:g}, {run.seed}"
                look["label"] += " (this figure)" if bold else ""
            nb.plot_history(axes[0], run, "mse", rows=SMOOTH, **look)
            nb.plot_history(axes[1], run, "dice", rows=SMOOTH, **look)
            nb.plot_score(axes[2], run, **look)
    axes[0].set(title="MSE term", ylabel="MSE")
    axes[1].set(title="Dice term, without its coefficient", ylabel="Dice loss")
    _finish_score(axes[2], run.recipe)
    title = "coefficient, learning rate, seed"
    nb.legend(figure, loc="outside right center", ncols=1, title=title)
    return figure


def _finish_score(ax: Axes, recipe: str) -> None:
    highest = max(np.nanmax(line.get_ydata(), initial=0) for line in ax.get_lines())
    ax.set(title="validation", ylim=(-0.02 * IOU_TOP[recipe], max(IOU_TOP[recipe], highest)))
    if recipe == "report":
        label = f"{CEILING:g}: every fourth pixel right"
        ax.axhline(CEILING, color=nb.INK, ls=(0, (1, 3)), lw=1, label=label)


def _with_siblings(runs: pd.DataFrame, run: pd.Series) -> list[pd.Series]:
    """The run, then the others of its setting."""
    same = runs[(runs[SETTING] == run[SETTING]).all(axis=1) & (runs.seed != run.seed)]
    return [run, *(row for _, row in same.sort_values("seed").iterrows())]


def _limits(runs: Sequence[Any], **times: float) -> tuple[float, float]:
    """Room for columns of the runs' histories, each so many times."""
    values = np.concatenate([history(run)[list(times)] * list(times.values()) for run in runs])
    values = values[np.isfinite(values)]
    return 0.95 * values.min(initial=np.inf), 1.05 * values.max(initial=0)


def _smoothed(run: Any) -> int:
    return int(SMOOTH * history(run).iteration.iloc[0])


# -- masks: figures 17 to 34 ------------------------------------------------------------------


def result(records: Records, recipe: str, family: str, loss: str, k: int) -> Drawn:
    """What the best run of a loss predicts on the k-th of the images that are chosen by rule."""
    evaluation = records.evaluation(family, recipe, loss)
    i, run = records.image(family, PANEL_PERCENTILES[k]), evaluation.run
    score = _number(evaluation.image_iou[i])
    title = f"{nb.loss_name(run)} ({recipe}), {set_name(run)}: IoU {score}"
    return nb.evaluation_panel(evaluation.data, evaluation.masks, i, title), (
        f"{REPORT_LOSSES[loss]}, result {k + 1} on {set_name(run)}. {describe_run(run)} Test image "
        f"{i}, IoU {score} (all {len(evaluation.data)} test images: {evaluation.iou:.3f}). A "
        "class's frame has its color; the white line is the true boundary. Chosen by rule: the "
        f"image at the {PANEL_PERCENTILES[k]}th percentile of the per-image IoU of the corrected "
        "recipe's best MSE + Dice run."
    )


# -- objects: figures 35 to 45 ----------------------------------------------------------------

OF_NO_OBJECT = (255, 255, 255)
_COLORING = (
    "One color per object, the same for both; white is what our network predicted outside of the "
    "boxes of that class, a wrong class included. {run}"
)
_COMPARISON = (
    "Comparison {n} on {set}, test image {i}: (a) the segmenter ({records.segmenter.name}), "
    "prompted with the true box; (b) our network, which sees the image alone. " + _COLORING
)
_SAM_ON_SHAPES = (
    "The segmenter's ({records.segmenter.name}) output {n} on {data.name}, test image {i}, "
    "prompted with the true boxes. One color per object. The same under both recipes: our network "
    "has no part in it."
)
_OURS_ON_SHAPES = (
    "Our network's output for images 1 to 4 on {set}, in the colors of figures 40 to 43. "
    + _COLORING
)
_OURS_BESIDE_SAM = (
    "Our network's output for image {n} on {set}. " + _COLORING + " The segmenter's output "
    "({records.segmenter.name}), which the report leaves out, stands beside it."
)


def objects(
    records: Records, recipe: str, family: str, ks: Sequence[int], sides: Sequence[str], text: str
) -> Drawn:
    """Images with their true boxes, and what ``sides``, "sam" or "ours", make of every object.

    One image stands left of its sides, several above theirs.
    """
    evaluation = records.evaluation(family, recipe, "mse_dice")
    data, run = evaluation.data, evaluation.run
    images = [records.image(family, OBJECT_PERCENTILES[k]) for k in ks]
    shape = (len(images), 1 + len(sides))[:: 1 if len(images) == 1 else -1]
    figure, axes = nb.new_figure(2.4 * shape[1], 2.5 * shape[0] + 0.5, *shape)
    for row, k, i in zip(axes if len(images) == 1 else axes.T, ks, images, strict=True):
        colors = [*nb.object_colors(len(data.boxes[i])), OF_NO_OBJECT]
        nb.show(row[0], data.images[i], f"image {k + 1} with the true boxes")
        _draw_boxes(row[0], data.boxes[i], colors)
        for ax, letter, side in zip(row[1:], "ab", sides, strict=False):
            masks = of_sam(records, data, i) if side == "sam" else of_ours(evaluation, i)
            name = records.segmenter.name if side == "sam" else "our network"
            name = f"({letter}) {name}" if len(sides) > 1 else name
            picture = nb.overlay(data.images[i], masks, colors[: len(masks)])
            nb.show(ax, picture, textwrap.fill(name, 24))
    most = max(len(data.boxes[i]) for i in images)
    names = [f"object {n}" for n in range(1, most + 1)] + ["of no object"] * ("ours" in sides)
    entries = zip(names, [*nb.object_colors(most), OF_NO_OBJECT], strict=False)
    nb.legend(figure, [SimpleNamespace(name=name, color=color) for name, color in entries])
    words = {"n": ks[0] + 1, "i": images[0], "set": set_name(run), "run": describe_run(run)}
    return figure, text.format(records=records, data=data, **words)


def _draw_boxes(ax: Axes, boxes: Sequence[Sequence[int]], colors: Sequence[nb.Color]) -> None:
    for number, ((_, x0, y0, x1, y1), color) in enumerate(zip(boxes, colors, strict=False), 1):
        color = np.array(color) / 255
        corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0 + 1, y1 - y0 + 1)
        ax.add_patch(Rectangle(corner, *size, fill=False, ec=color, lw=1.2))
        ax.text(x0, y0, number, fontsize=7, va="top", bbox={"fc": color, "lw": 0, "pad": 0.8})


def of_sam(records: Records, data: Any, i: int) -> np.ndarray:
    """The segmenter's mask for each true box of image i: bool (K, H, W)."""
    from seghw.sam import segment_boxes

    corners = np.array([box[1:] for box in data.boxes[i]]).reshape(-1, 4)
    return segment_boxes(records.segmenter, data.images[i], corners).masks


def of_ours(evaluation: Any, i: int) -> np.ndarray:
    """Our masks of image i, one channel an object and a last one for the rest: bool (K + 1, H, W).

    Of an object's class, what lies in its box; and last, of every class what lies in none of its
    boxes.
    """
    from seghw.sam import box_masks

    masks, boxes = evaluation.masks[i], evaluation.data.boxes[i]
    classes = [box[0] for box in boxes]
    inside = box_masks([box[1:] for box in boxes], masks.shape[1:])
    rest = masks.copy()
    for class_index, box in zip(classes, inside, strict=True):
        rest[class_index] &= ~box
    return np.concatenate((masks[classes] & inside, rest.any(axis=0)[None]))


# -- numbers and files ------------------------------------------------------------------------


def _registry() -> dict[int, Callable[..., Drawn]]:
    figures: dict[int, Callable[..., Drawn]] = {}
    pairs = list(product(REPORT_LOSSES, DRAWN))
    for first, which in ((1, "best"), (7, "worst")):
        for n, (loss, family) in enumerate(pairs, first):
            figures[n] = partial(training, which=which, family=family, loss=loss)
    for n, (which, family) in enumerate(product(("best", "worst"), DRAWN), 13):
        figures[n] = partial(coefficients, which=which, family=family)
    for n, ((loss, family), k) in enumerate(product(pairs, range(3)), 17):
        figures[n] = partial(result, family=family, loss=loss, k=k)
    pair, shapes = ("sam", "ours"), partial(objects, family="shapes")
    for k in range(5):
        figures[35 + k] = partial(objects, family="coco", ks=(k,), sides=pair, text=_COMPARISON)
    for k in range(4):
        figures[40 + k] = partial(shapes, ks=(k,), sides=("sam",), text=_SAM_ON_SHAPES)
    figures[44] = partial(shapes, ks=range(4), sides=("ours",), text=_OURS_ON_SHAPES)
    figures[45] = partial(shapes, ks=(4,), sides=pair[::-1], text=_OURS_BESIDE_SAM)
    return figures


#: Figure number, as the report has it, to the function that draws it for a recipe.
FIGURES = _registry()


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
            report, and writes a page of captions beside each set, and the tables that figures,
            chapters and claims rest on to ``out/*.csv``.
        out: folder, made if missing.
        records: what to draw them from; default, the committed ones.
        recipes: which of the two folders to draw.

    Returns:
        The files written. The same records give the same bytes.

    Raises:
        BadInput: a number that is not a figure's, or records that are missing.
    """
    numbers, out, records = (
        parse_numbers(only or f"1-{max(FIGURES)}"),
        Path(out),
        records or Records(),
    )
    tables = {} if only else _tables(out, recipes)
    pictures = {
        out / recipe / f"fig{number:02d}.png": (
            f"Figure {number}. ",
            partial(FIGURES[number], recipe=recipe),
        )
        for recipe in recipes
        for number in numbers
    }
    if not only:
        from seghw.report.beyond import BEYOND

        pictures |= {out / "beyond" / f"{name}.png": ("", draw) for name, draw in BEYOND.items()}
    captions = defaultdict(dict)
    with mpl.rc_context(), tqdm(total=len(tables) + len(pictures), unit="file") as bar:
        nb.use_style()
        for path, write in tables.items():
            bar.set_description(path.name)
            write(records, path)
            bar.update()
        for path, (number, draw) in pictures.items():
            bar.set_description(path.name)
            figure, caption = draw(records)
            captions[path.parent][path.name] = number + caption
            save(figure, number + caption, path)
            bar.update()
    for folder, texts in {} if only else captions.items():
        _write_captions(texts, folder)
    return [*pictures, *tables]


def parse_numbers(text: str) -> list[int]:
    """``"17-19,45"`` to ``[17, 18, 19, 45]``.

    Raises:
        BadInput: not of that form, or not figures of the report.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        if not match:
            raise BadInput(f"figures {text!r} is not a list of numbers and ranges like 17-19,45")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= max(FIGURES):
            raise BadInput(f"figures {part.strip()!r}: there are figures 1 to {max(FIGURES)} only")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def save(figure: Figure, caption: str, path: Path) -> None:
    """Write the figure with its caption below it; no date or version, so bytes repeat."""
    width = int(figure.get_figwidth() * 16)
    figure.supxlabel("\n".join(textwrap.wrap(caption, width)), x=0.01, ha="left", fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _write_captions(captions: Mapping[str, str], folder: Path) -> None:
    lines = [f"# Figures: `{folder.name}`", ""]
    for name, caption in captions.items():
        lines += [f"![{caption.split('.')[0]}]({name})", "", caption, ""]
    with atomic_write(folder / "README.md") as path:
        path.write_text("\n".join(lines), encoding="utf-8", newline="\n")


def _tables(out: Path, recipes: Sequence[str]) -> dict[Path, Callable[[Records, Path], None]]:
    """Files to what writes them: the evaluated runs' images, the segmenter's numbers, claims."""
    tables = {
        out / f"{recipe}-{family}-{loss}.csv": partial(_write_images, case=(family, recipe, loss))
        for recipe, family, loss in product(recipes, DRAWN, REPORT_LOSSES)
    }
    return tables | {out / "sam.csv": _write_sam, out / "claims.csv": _write_claims}


def _write_images(records: Records, path: Path, case: Sequence[str]) -> None:
    with atomic_write(path) as temporary:
        table = records.evaluation(*case).table()
        table.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")


def _write_sam(records: Records, path: Path) -> None:
    from seghw.report.sam_comparison import compare_records, write_rows

    write_rows([compare_records(records, family) for family in DRAWN], path)


def _write_claims(records: Records, path: Path) -> None:
    from seghw.report.claims import write_claims

    write_claims(records, path)


def evaluation_panels(evaluation: Any, folder: str | Path, count: int) -> list[Path]:
    """Write ``count`` panels to ``folder``, evenly spaced over the per-image IoU."""
    order, run = np.argsort(evaluation.image_iou, kind="stable"), evaluation.run.run_id
    count, paths = min(count, len(order)), []
    places = ((np.arange(count) + 0.5) * len(order) / count).astype(int)
    with mpl.rc_context():
        nb.use_style()
        for place, i in zip(places, order[places], strict=True):
            title = f"{run}: IoU {_number(evaluation.image_iou[i])}"
            figure = nb.evaluation_panel(evaluation.data, evaluation.masks, int(i), title)
            caption = f"Image {i} of {evaluation.data.name}, {title}, number {place + 1} of "
            paths.append(Path(folder) / f"image{i:05d}.png")
            save(figure, f"{caption}{len(order)} from below.", paths[-1])
    return paths


# -- words of captions ------------------------------------------------------------------------


def describe_run(run: Any) -> str:
    """A sentence with the run's settings, for captions."""
    return (
        f"Run: recipe {run.recipe}, {nb.loss_name(run)}, learning rate {run.learning_rate:g}, "
        f"seed {run.seed}, profile {run.profile}."
    )


def set_name(run: Any) -> str:
    """What captions call the data set that a run was trained on."""
    return nb.SET_NAMES[run.dataset]


def _number(value: float) -> str:
    return "not applicable" if np.isnan(value) else f"{value:.3f}"
