"""The report's 45 figures from saved records; nothing is trained here.

``FIGURES`` maps each number to the function that draws it, and its arguments. A function takes the
records and a recipe, and returns the figure and its caption.

From ``make figures`` to a picture: ``python -m seghw figures`` calls ``make_figures``. It has each
function of ``FIGURES`` draw for each recipe, and those of ``beyond.BEYOND`` once. ``save`` writes
the caption below and the file, such as ``figures/report/fig01.png``.
"""

import re
import signal
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from functools import partial
from itertools import product
from multiprocessing import active_children, get_context
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
from seghw.notebook import CEILING, SET_NAMES, Drawn, describe_run
from seghw.report.results import Records, write_table
from seghw.runs import SETTING, by_coefficient, history

#: Of the per-image IoU of the reference run: for the panels of a loss, and beside the segmenter.
PANEL_PERCENTILES, OBJECT_PERCENTILES = (25, 50, 75), (10, 30, 50, 70, 90)
#: Rows of a history over which curves are averaged, against the noise of single batches.
SMOOTH = 10
#: Where the axis of the IoU ends, the same for all runs of a recipe.
IOU_TOP = {"report": 0.3, "corrected": 1.0}


# -- curves: figures 1 to 16 ------------------------------------------------------------------

RANKS = {"best": "highest", "worst": "lowest"}


def training(records: Records, recipe: str, which: str, family: str, loss: str) -> Drawn:
    """The best or the worst run of a loss, its seeds and terms, on the scales of both."""
    ranked = records.ranked(family, recipe, loss)
    pair = [_with_siblings(ranked, ranked.iloc[k]) for k in (-1, 0)]
    [run, *siblings], [other_run, *_] = pair if which == "best" else pair[::-1]
    bold = {"lw": 1.8, "label": f"seed {run.seed}, this run", **nb.LOSS_STYLES[loss]}
    lines = [
        (other, {"color": nb.INK, "ls": ls, "lw": 0.8, "label": f"seed {other.seed}"})
        for other, ls in zip(siblings, ("--", ":", "-.") * len(siblings), strict=False)
    ]
    two_terms = loss == "mse_dice"
    figure, axes = curves(("loss", *["terms"] * two_terms, "score"), [*lines, (run, bold)])
    nb.plot_history(axes[0], run, "loss", color=bold["color"], lw=0.5, alpha=0.4)
    for other in (*pair[0], *pair[1]):
        nb.plot_history(axes[0], other, "loss", visible=False)  # for the scale
    axes[0].set_title(nb.loss_name(run))
    axes[0].ticklabel_format(axis="y", useOffset=False)  # "+1.199e1" over the axis is not readable
    for shown in (run, other_run) if two_terms else ():
        for term, times in (("mse", 1), ("dice", shown.coefficient)):
            label = f"{times:g} x Dice" if term == "dice" else "MSE"
            look = {"visible": shown is run, "label": label * (shown is run), "rows": SMOOTH}
            nb.plot_history(axes[1], shown, term, times=times, **look, **nb.LOSS_STYLES[term])
    if two_terms:
        axes[1].set(title="terms of the loss", ylabel="value")
        nb.log_scale(axes[1], "y")
    score = "it diverged" if run.status == "diverged" else f"{run.score:.3f}"
    nb.legend(figure, loc="outside right center", ncols=1)
    thin = " Thin gray lines: the same settings with other seeds." if siblings else ""
    counts = ranked[["learning_rate", "coefficient", "seed"]].nunique()
    varied = ", ".join(f"{n} {name.replace('_', ' ')}s" for name, n in counts.items() if n > 1)
    runs = f"{len(ranked)} runs ({varied})" if varied else "one run"
    return figure, (
        f"{which.capitalize()} training curve with {REPORT_LOSSES[loss]} on "
        f"{SET_NAMES[run.dataset]}. {describe_run(run)} Of {runs}, the one with the "
        f"{RANKS[which]} validation mean IoU at the end ({score}).{thin} Losses are means over "
        f"{_smoothed(run)} iterations (pale: this run's, unsmoothed). The best and the worst run "
        "of a loss are drawn on the same scales."
    )


def coefficients(records: Records, recipe: str, which: str, family: str) -> Drawn:
    """The best or the worst coefficient of the Dice term beside the others.

    Totals of different coefficients cannot be compared, so the two terms are drawn apart.
    """
    tried = by_coefficient(records.grid(family, recipe, "mse_dice"))
    means = {c: runs.score.mean() for c, runs in tried.items()}
    shown = (max if which == "best" else min)(means, key=means.get)
    lines = []
    for (coefficient, seeds), style in zip(tried.items(), nb.COEFFICIENT_STYLES, strict=False):
        first, *others = (run for _, run in seeds.sort_values("score", ascending=False).iterrows())
        bold = coefficient == shown
        name = f"{coefficient:g}, {first.learning_rate:g}, {first.seed}{' (this figure)' * bold}"
        lines.append((first, {**style, "lw": 2.4 if bold else 1.2, "label": name}))
        lines += [(run, {**style, "lw": 0.7, "alpha": 0.35, "marker": ""}) for run in others]
    figure, _ = curves(("mse", "dice", "score"), lines)
    title = "coefficient, learning rate, seed"
    nb.legend(figure, loc="outside right center", ncols=1, title=title)
    best = tried[shown].loc[tried[shown].score.idxmax()]
    seeds = "one seed" if len(tried[shown]) == 1 else f"{len(tried[shown])} seeds"
    others = ", ".join(f"{c:g}: {mean:.3f}" for c, mean in means.items() if c != shown)
    return figure, (
        f"{which.capitalize()} coefficient of the Dice term on {SET_NAMES[best.dataset]}: "
        f"{shown:g}, {RANKS[which]} mean validation IoU over {seeds} ({means[shown]:.3f}; "
        f"{others}), each coefficient at its best learning rate. Of each coefficient its best "
        "seed, which the legend names; faint lines: the other seeds. Losses are means over "
        f"{_smoothed(best)} iterations. {describe_run(best)}"
    )


def curves(panels: Sequence[str], lines: Sequence[tuple[Any, dict]]) -> tuple[Figure, Any]:
    """Runs, each with its style, over iterations and epochs; the figure and its axes, one a panel.

    A panel is a column of the histories or ``"score"``, the validation mean IoU; any other name
    leaves its axes empty.
    """
    figure, [axes] = nb.new_figure(2.6 * len(panels) + 2.2, 2.9, 1, len(panels))
    titles = {"loss": "loss", "mse": "MSE term", "dice": "Dice term, without its coefficient"}
    for ax, panel in zip(axes, panels, strict=True):
        for run, style in lines:
            if panel == "score":
                nb.plot_score(ax, run, **style)
            elif panel in titles:
                nb.plot_history(ax, run, panel, rows=SMOOTH, **style)
        if panel in titles:
            ax.set(title=titles[panel], ylabel="value")
        elif panel == "score":
            ax.set_title("validation")
            highest = max(np.nanmax(line.get_ydata(), initial=0) for line in ax.get_lines())
            top = IOU_TOP[run.recipe]
            ax.set_ylim(-0.02 * top, max(top, highest))
            if run.recipe == "report":
                look = {"ls": (0, (1, 3)), "label": f"{CEILING:g}: every fourth pixel right"}
                ax.axhline(CEILING, color=nb.INK, lw=1, **look)
    return figure, axes


def _with_siblings(runs: pd.DataFrame, run: pd.Series) -> list[pd.Series]:
    """The run, then the others of its setting."""
    same = runs[(runs[SETTING] == run[SETTING]).all(axis=1) & (runs.seed != run.seed)]
    return [run, *(row for _, row in same.sort_values("seed").iterrows())]


def _smoothed(run: Any) -> int:
    return int(SMOOTH * history(run).iteration.iloc[0])


# -- masks: figures 17 to 34 ------------------------------------------------------------------


def result(records: Records, recipe: str, family: str, loss: str, k: int) -> Drawn:
    """What the best run of a loss predicts on the k-th of the images that are chosen by rule."""
    evaluation = records.evaluation(family, recipe, loss)
    i, run = records.image(family, PANEL_PERCENTILES[k]), evaluation.run
    score = _number(evaluation.image_iou[i])
    title = f"{nb.loss_name(run)} ({recipe}), {SET_NAMES[run.dataset]}: IoU {score}"
    return nb.evaluation_panel(evaluation.data, evaluation.masks, i, title), (
        f"{REPORT_LOSSES[loss]}, result {k + 1} on {SET_NAMES[run.dataset]}. {describe_run(run)} "
        f"Test image {i}, IoU {score} (all {len(evaluation.data)} test images: "
        f"{evaluation.iou:.3f}). A class's frame has its color; the white line is the true "
        f"boundary. Chosen by rule: the image at the {PANEL_PERCENTILES[k]}th percentile of the "
        "per-image IoU of the corrected recipe's best MSE + Dice run."
    )


def _number(value: float) -> str:
    return "not applicable" if np.isnan(value) else f"{value:.3f}"


# -- objects: figures 35 to 45 ----------------------------------------------------------------

OF_NO_OBJECT = (255, 255, 255)
_WHITE = (
    "white is what our network predicted outside of the boxes of that class, a wrong class "
    "included. {run}"
)
_COLORING = f"One color per object, the same for both; {_WHITE}"
#: What is said of a picture by what stands beside the image.
TEXTS = {
    ("sam", "ours"): "Comparison {n} on {set}, test image {i}: (a) the segmenter ({sam}), "
    f"prompted with the true box; (b) our network, which sees the image alone. {_COLORING}",
    ("sam",): "The segmenter's ({sam}) output {n} on {data}, test image {i}, prompted with the "
    "true boxes. One color per object. The same under both recipes: our network has no part in it.",
    ("ours",): "Our network's output for images 1 to 4 on {set}, one color per object as in "
    f"figures 40 to 43; {_WHITE}",
    ("ours", "sam"): f"Our network's output for image {{n}} on {{set}}. {_COLORING} The "
    "segmenter's output ({sam}), which the report leaves out, stands beside it.",
}


def objects(
    records: Records, recipe: str, family: str, ks: Sequence[int], sides: Sequence[str]
) -> Drawn:
    """Images with their true boxes, and what ``sides``, "sam" or "ours", make of every object.

    One image stands left of its sides, several above theirs.
    """
    from seghw.sam import segment_boxes

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
            if side == "sam":
                corners = [box[1:] for box in data.boxes[i]]
                masks = segment_boxes(records.segmenter, data.images[i], corners).masks
            else:
                masks = of_ours(evaluation, i)
            name = records.segmenter.name if side == "sam" else "our network"
            name = f"({letter}) {name}" if len(sides) > 1 else name
            picture = nb.overlay(data.images[i], masks, colors[: len(masks)])
            nb.show(ax, picture, textwrap.fill(name, 30))
    most = max(len(data.boxes[i]) for i in images)
    names = [f"object {n}" for n in range(1, most + 1)] + ["of no object"] * ("ours" in sides)
    entries = zip(names, [*nb.object_colors(most), OF_NO_OBJECT], strict=False)
    nb.legend(figure, [SimpleNamespace(name=name, color=color) for name, color in entries])
    words = {
        "n": ks[0] + 1,
        "i": images[0],
        "set": SET_NAMES[run.dataset],
        "run": describe_run(run),
    }
    words |= {"sam": records.segmenter.name if "sam" in sides else "", "data": data.name}
    return figure, TEXTS[tuple(sides)].format(**words)


def _draw_boxes(ax: Axes, boxes: Sequence[Sequence[int]], colors: Sequence[nb.Color]) -> None:
    for number, ((_, x0, y0, x1, y1), color) in enumerate(zip(boxes, colors, strict=False), 1):
        color = np.array(color) / 255
        corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0 + 1, y1 - y0 + 1)
        ax.add_patch(Rectangle(corner, *size, fill=False, ec=color, lw=0.9))
        ax.text(x0, y0, number, fontsize=7, va="top", bbox={"fc": color, "lw": 0, "pad": 0.8})


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


_CASES = list(product(REPORT_LOSSES, DRAWN))
_DRAWINGS = (
    # 1 to 6, 7 to 12
    *(partial(training, which=w, family=f, loss=s) for w in RANKS for s, f in _CASES),
    # 13 to 16
    *(partial(coefficients, which=w, family=f) for w in RANKS for f in DRAWN),
    # 17 to 34
    *(partial(result, family=f, loss=s, k=k) for s, f in _CASES for k in range(3)),
    # 35 to 39
    *(partial(objects, family="coco", ks=(k,), sides=("sam", "ours")) for k in range(5)),
    # 40 to 43
    *(partial(objects, family="shapes", ks=(k,), sides=("sam",)) for k in range(4)),
    partial(objects, family="shapes", ks=range(4), sides=("ours",)),  # 44
    partial(objects, family="shapes", ks=(4,), sides=("ours", "sam")),  # 45
)
#: Figure number, as the report has it, to the function that draws it for a recipe.
FIGURES = dict(enumerate(_DRAWINGS, start=1))


def make_figures(
    only: str | None = None, *, out: str | Path = FIGURES_FOLDER, records: Records | None = None
) -> list[Path]:
    """Draw figures to ``out/report/figNN.png`` and ``out/corrected/figNN.png``.

    Args:
        only: numbers and ranges such as ``"17-19,45"``; None draws all 45 and those beyond the
            report, and writes a page of captions beside each set, and the tables that figures,
            chapters and claims rest on to ``out/*.csv``.
        out: folder, made if missing.
        records: what to draw them from; default, the committed ones.

    Returns:
        The files written. The same records give the same bytes; ``BadInput`` for a number that is
        not a figure's, or for records that are missing.
    """
    numbers = parse_numbers(only) if only else sorted(FIGURES)
    out, records = Path(out), records or Records()
    made: dict[Path, Callable[[], Any]] = {
        out / recipe / f"fig{number:02d}.png": partial(FIGURES[number], records, recipe)
        for recipe, number in product(RECIPES, numbers)
    }
    captions, before = defaultdict(list), set(active_children())
    # It is deaf to Ctrl-C, for it is ended below, and ends after its task in any case.
    deaf = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with (
        mpl.rc_context(),
        ProcessPoolExecutor(1, get_context("spawn"), **deaf, max_tasks_per_child=1) as beside,
        tqdm(total=len(made), unit="file", delay=1) as bar,
    ):
        nb.use_style()
        if not only:
            from seghw.report.beyond import BEYOND

            made |= {out / name: make for name, make in _tables(records, beside).items()}
            made |= {out / f"beyond/{k}.png": partial(draw, records) for k, draw in BEYOND.items()}
            bar.total = len(made)
        try:
            for path, make in made.items():
                bar.set_description(path.name, refresh=False)
                if path.suffix == ".csv":
                    write_table(make(), path)
                else:
                    captions[path.parent].append(_draw(make, path))
                bar.update()
        except BaseException:  # an interrupt as well
            for process in {*active_children()} - before:
                process.terminate()
            raise
    for folder, texts in {} if only else captions.items():
        with atomic_write(folder / "README.md") as path:
            text = "\n".join([f"# Figures: `{folder.name}`\n", *texts])
            path.write_text(text, encoding="utf-8", newline="\n")
    return [*made]


def _draw(make: Callable[[], Drawn], path: Path) -> str:
    """Draw and save a figure; returns what the page of captions says of it."""
    figure, caption = make()
    number = f"Figure {int(path.stem[3:])}. " if path.stem.startswith("fig") else ""
    described = f"![{nb.describe(figure)}]({path.name})"
    save(figure, number + caption, path)
    return f"{described}\n\n{number}{caption}\n"


def _tables(records: Records, beside: Executor) -> dict[str, Callable[[], pd.DataFrame]]:
    """By file: the evaluated runs' images, and what is measured in a process beside this one."""

    def images(recipe: str, family: str, loss: str) -> pd.DataFrame:
        return records.evaluation(family, recipe, loss).table()

    def sam() -> pd.DataFrame:
        while wait([measured], timeout=0.5).not_done:  # Windows cannot interrupt a longer wait
            pass
        try:
            rows, records.measurements = measured.result()
        except BrokenProcessPool:  # killed for memory, or begun by a script that is not guarded
            rows, _ = _measure(records)
        return rows

    measured = beside.submit(_beside, *(getattr(records, f.name) for f in fields(records)))
    cases = product(RECIPES, DRAWN, REPORT_LOSSES)
    tables = {f"{'-'.join(case)}.csv": partial(images, *case) for case in cases}
    return tables | {"sam.csv": sam, "claims.csv": lambda: records.measurements}


def _measure(records: Records) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The segmenter's numbers and the claims, which take as long as all the pictures."""
    rows = [records.sam_comparison(family).rows for family in DRAWN]
    return pd.concat(rows), records.measurements


def _beside(*settings: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    from seghw.devices import available_cores, use_threads

    warnings.simplefilter("ignore")  # the process that draws has told them
    use_threads(max(1, available_cores() - 1))
    return _measure(Records(*settings))


def parse_numbers(text: str) -> list[int]:
    """``"17-19,45"`` to ``[17, 18, 19, 45]``; ``BadInput`` for others than the report's figures."""
    numbers: set[int] = set()
    for part in text.split(","):
        if not re.fullmatch(r"\s*\d{1,9}\s*(-\s*\d{1,9}\s*)?", part):
            raise BadInput(f"figures {text!r} is not a list of numbers and ranges like 17-19,45")
        ends = [int(end) for end in part.split("-")]
        first, last = ends[0], ends[-1]
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


def evaluation_panels(evaluation: Any, folder: Path, count: int) -> None:
    """Write ``count`` panels to ``folder``, evenly spaced over the per-image IoU."""
    order, run = np.argsort(evaluation.image_iou, kind="stable"), evaluation.run.run_id
    count = min(count, len(order))
    places = ((np.arange(count) + 0.5) * len(order) / count).astype(int)
    with mpl.rc_context():
        nb.use_style()
        for place, i in zip(places, order[places], strict=True):
            title = f"{run}: IoU {_number(evaluation.image_iou[i])}"
            figure = nb.evaluation_panel(evaluation.data, evaluation.masks, int(i), title)
            caption = f"Image {i} of {evaluation.data.name}, {title}, number {place + 1} of "
            save(figure, f"{caption}{len(order)} from below.", folder / f"image{i:05d}.png")
