"""Figures beyond the report: its sets, its faults, its claims, and the speed run.

``BEYOND`` maps a file's name to the function that draws it from the records, and its arguments.
"""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from seghw import notebook as nb
from seghw.config import BALANCED, COEFFICIENTS, DATA, DRAWN, PROFILES, RECIPES, REPORT_LOSSES
from seghw.errors import BadInput
from seghw.notebook import CEILING, Drawn, describe_run
from seghw.report import claims as measured
from seghw.report import stats
from seghw.report.image_claims import dice_floor
from seghw.report.results import Records
from seghw.runs import best_setting, by_coefficient

# -- the sets ---------------------------------------------------------------------------------

_PAIRS = 4  # images per row of a gallery, each beside its masks


def gallery(records: Records, family: str) -> Drawn:
    """A row of test images for each number of objects, or for each class, beside their masks."""
    data = records.test_set(family)
    present, objects = data.masks.any(axis=(2, 3)), np.array([len(boxes) for boxes in data.boxes])
    rows = {spec.name: present[:, c] for c, spec in enumerate(data.classes)}
    height, width = data.images.shape[2:]
    about = f"of each class, each beside its masks, at {height} x {width} as the network sees them"
    if family == "shapes":
        rows = {f"{n} object{'s' * (n > 1)}": objects == n for n in range(1, 6)}
        about = "with one to five objects, each beside its masks, which hold visible pixels only"
    figure, axes = nb.new_figure(8, 1.05 * len(rows) + 0.6, len(rows), _PAIRS)
    for line, (label, chosen) in zip(axes, rows.items(), strict=True):
        indices = np.flatnonzero(chosen)[:_PAIRS]
        for ax, i in zip(line, indices, strict=False):
            masks = nb.overlay(None, data.masks[i], data.classes)
            gap = np.full((len(masks), max(1, len(masks) // 32), 3), 255, np.uint8)
            nb.show(ax, np.hstack([data.images[i].transpose(1, 2, 0), gap, masks]))
        for ax in line[len(indices) :]:
            ax.set_axis_off()
        line[0].set_ylabel(label)
    for ax in axes[0]:
        ax.set_title("image | masks")
    nb.legend(figure, data.classes)
    return figure, f"The first {_PAIRS} test images {about} ({data.name})."


def distributions(records: Records) -> Drawn:
    """Objects an image, visible area and frequency of each class, of both test sets."""
    figure, axes = nb.new_figure(8.4, 4.2, 2, 3, width_ratios=(3, 4, 4), sharex="col")
    sets = []
    for row, family in zip(axes, DRAWN, strict=True):
        data = records.test_set(family)
        _draw_distributions(row, data)
        absent = 1 - data.masks.any(axis=(2, 3)).mean()
        sets.append(
            f"{data.name} ({len(data):,} images, {absent:.0%} of all image-class pairs absent)"
        )
    titles = ("objects per image", "visible area of a class", "presence of a class")
    units = ("objects", "share of the image", "share of the images")
    for (above, below), title, unit in zip(axes.T, titles, units, strict=True):
        above.set_title(title)
        below.set_xlabel(unit)
    axes[1, 1].set_xlim(left=0)  # last, because it ends the fitting to what is drawn
    return figure, (
        f"What the test sets hold. Above: {sets[0]}; below: {sets[1]}. Left: images by the number "
        "of their objects. Middle: share of the image that a class covers where it is present "
        "(box: quartiles; whiskers: 5th and 95th percentile). Right: share of the images that "
        "hold a class, and the number of its objects in all."
    )


def _draw_distributions(axes: Sequence[Axes], data: Any) -> None:
    """Images by number of objects; areas and presence, classes from top to bottom."""
    counts = np.bincount([len(boxes) for boxes in data.boxes], minlength=6)
    bars = axes[0].bar(range(len(counts)), counts, color=nb.INK, width=0.7)
    axes[0].bar_label(bars, [f"{n:,}" if n else "" for n in counts], padding=1, fontsize=8)
    axes[0].set(xticks=range(len(counts)), ylabel="images")
    axes[0].margins(y=0.12)
    axes[0].grid(axis="x", visible=False)
    places, shares = range(len(data.classes)), data.masks.mean(axis=(2, 3)).T
    colors = [np.array(spec.color) / 255 for spec in data.classes]
    look = {"whis": (5, 95), "showfliers": False, "patch_artist": True, "widths": 0.6}
    look |= {"medianprops": {"color": "black"}, "orientation": "horizontal"}
    boxes = axes[1].boxplot([share[share > 0] for share in shares], positions=places, **look)
    for box, color in zip(boxes["boxes"], colors, strict=True):
        box.set_facecolor(color)
    present = (shares > 0).mean(axis=1)
    objects = np.bincount([c for boxes in data.boxes for c, *_ in boxes], minlength=len(present))
    axes[2].barh(places, 1.0, color="0.92", height=0.6)
    bars = axes[2].barh(places, present, color=colors, height=0.6)
    axes[2].bar_label(bars, [f"{n:,} objects" for n in objects], padding=3, fontsize=8)
    axes[2].set_xlim(0, 1)
    for ax in axes[1:]:
        ax.set_yticks(places, [spec.name for spec in data.classes])
        ax.set_ylim(len(places) - 0.4, -0.6)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.grid(axis="y", visible=False)


# -- what is wrong with the report's set-up ---------------------------------------------------


def dotted_beside_dense(records: Records) -> Drawn:
    """One test image of each family, and its masks under both recipes' best MSE + Dice runs."""
    figure, axes = nb.new_figure(7, 3.5, 2, 4)
    for row, family in zip(axes, reversed(DRAWN), strict=True):
        data, i = records.test_set(family), records.image(family, 50)
        nb.show(row[0], data.images[i], "image")
        nb.show(row[1], nb.overlay(None, data.masks[i], data.classes), "truth")
        for ax, recipe in zip(row[2:], RECIPES, strict=True):
            evaluation = records.evaluation(family, recipe, "mse_dice")
            masks = nb.overlay(None, evaluation.masks[i], data.classes)
            nb.show(ax, masks, f"{recipe}: IoU {evaluation.iou:.2f}")
        nb.legend(row[3], data.classes)
    return figure, (
        "The report's network can predict every fourth pixel only; the corrected one predicts all. "
        f"The best MSE + Dice runs of both recipes, profile {records.profile}, on test images of "
        "median difficulty; above each, the mean IoU on all test images."
    )


def dice_floors(records: Records) -> Drawn:
    """The least value that the report's Dice loss can take for a class that is present."""
    figure, [[ax]] = nb.new_figure(6.5, 3.1)
    shares = np.linspace(0, 1, 201)
    floors = {
        "with the factor 2, every pixel predicted": 0 * shares,
        "as printed, every fourth pixel predicted": dice_floor(shares, dotted=True),
        "as printed, every pixel predicted": 0 * shares + dice_floor(1, dotted=False),
    }
    for (label, floor), style in zip(floors.items(), nb.LINES, strict=False):
        ax.plot(shares, floor, label=label, markevery=25, **style)
    masks = records.test_set("shapes").masks
    covered = masks.mean(axis=(2, 3))[masks.any(axis=(2, 3))]
    low, middle, high = np.quantile(covered, (0.05, 0.5, 0.95))
    ax.axvspan(low, high, color=nb.INK, alpha=0.12, lw=0, label="nine of ten masks of the shapes")
    ax.set(xlabel="share of the image that the class covers", ylabel="least Dice loss")
    ax.set(xlim=(0, 1), ylim=(-0.04, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    nb.legend(figure, ncols=2)
    return figure, (
        "The least value of the report's Dice loss for one class of one image. Without the factor "
        "2 of the Dice coefficient a perfect mask scores one half. A network that predicts every "
        f"fourth pixel cannot get below {dice_floor(middle, dotted=True):.2f} for a shape of the "
        f"median size ({middle:.0%} of the image). An absent class adds 1 whatever is predicted."
    )


def class_curves(records: Records) -> Drawn:
    """Validation IoU of each class over the epochs, best MSE run of each recipe on the shapes."""
    figure, [axes] = nb.new_figure(7, 3.6, 1, 2, sharey=True)
    runs = [records.ranked("shapes", recipe, "mse").iloc[-1] for recipe in RECIPES]
    for ax, run in zip(axes, runs, strict=True):
        scores = np.array([row["validation_iou_per_class"] for row in run.epoch_scores], float)
        for spec, line, style in zip(run.config.classes, scores.T, nb.LINES, strict=False):
            style = {**style, "color": np.array(spec.color) / 255}
            ax.plot(range(1, len(line) + 1), line, label=f"{spec.name} ({spec.value})", **style)
        ax.set(title=f"recipe {run.recipe}", xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(ylabel="validation IoU", ylim=(-0.02, 1))
    nb.legend(axes[1])
    return figure, (
        "Each class over training with MSE. Left: the report's masks hold a value per class (in "
        "brackets), and the MSE weighs an error by its square. Right: masks of 0 and 1. "
        + " ".join(describe_run(run) for run in runs)
    )


# -- coefficients and sizes -------------------------------------------------------------------


def balanced_coefficients(records: Records) -> Drawn:
    """Every seed of every coefficient at its best learning rate, a row a recipe."""
    figure, axes = nb.new_figure(8, 6.2, 2, 2)
    firsts, runs = [], records.runs[(records.runs.part == "") & (records.runs.loss == "mse_dice")]
    for ax, (recipe, family) in zip(axes.flat, product(RECIPES, DRAWN), strict=True):
        dataset = records.grid(family, recipe, "mse_dice").dataset.iloc[0]  # or there are no runs
        extra = BALANCED[recipe][family]
        chosen = runs.coefficient.isin((*COEFFICIENTS[family], extra)) & (runs.recipe == recipe)
        chosen = runs[chosen & (runs.dataset == dataset)]
        firsts.append(f"{recipe}, {dataset}, {_draw_seeds(ax, chosen, extra)}")
        ax.set_title(f"{recipe}, {dataset}")
    # Equally long scales, wherever they begin: spreads over seeds can be compared.
    half = max(np.ptp(ax.get_ylim()) for ax in axes.flat) / 2
    for ax in axes.flat:
        ax.set_ylim(np.mean(ax.get_ylim()) + np.array((-half, half)))
    nb.legend(figure)
    return (
        figure,
        "The report's coefficients at their best learning rate, seed by seed; beside them, bold, "
        "the one at which the gradients of both terms have the same norm at the output, tried at "
        "one learning rate or two. All vertical axes span the same. How often each is first: "
        f"{'; '.join(firsts)}.",
    )


def _draw_seeds(ax: Axes, runs: pd.DataFrame, bold: float) -> str:
    """A line a seed over the coefficients, and their mean; returns how often each is first."""
    tried = by_coefficient(runs)
    scores = pd.DataFrame({c: same.set_index("seed").score for c, same in tried.items()}).dropna()
    for k, (_, line) in enumerate(scores.iterrows()):
        label = "_" if k else "a seed"
        ax.plot(line.index, line, ".-", color=nb.INK, lw=0.6, alpha=0.35, label=label)
    mean, low, high = np.transpose([stats.interval(scores[c])[:3] for c in scores])
    style = {"lw": 2, "capsize": 3, "label": "mean of the seeds with its 95 % interval"}
    ax.errorbar(scores.columns, mean, (mean - low, high - mean), **style, **nb.LINES[0])
    ax.set(xscale="log", xlabel="coefficient of the Dice term", ylabel="validation mean IoU")
    ticks = ax.set_xticks(scores.columns, [f"{c:g}" for c in scores], rotation=90)
    ax.xaxis.set_minor_locator(NullLocator())
    for coefficient, tick in zip(scores, ticks, strict=True):
        tick.label1.set_fontweight("bold" if coefficient == bold else "normal")
    firsts = scores.idxmax(axis=1).value_counts()
    counts = ", ".join(f"{c:g} in {count}" for c, count in firsts.items())
    return f"of {len(scores)} seeds: {counts}"


def full_size(records: Records) -> Drawn:
    """Each loss at each rate on the shapes: these runs' network beside one of the report's size."""
    (figure, axes), best = nb.new_figure(8, 5.2, 2, 2, sharey=True), []
    for column, profile in zip(axes.T, (records.profile, "full"), strict=True):
        size = PROFILES[profile]
        for ax, label in zip(column, ("learning rate", "epoch, at the best rate"), strict=True):
            ax.axhline(CEILING, color=nb.INK, ls=(0, (1, 3)), lw=1, label="every fourth pixel")
            ax.set_xlabel(label)
        try:
            best.append(f"{profile} {_draw_rates(column, Records(records.folder, profile))}")
        except BadInput:
            command = f"no runs:\npython -m seghw sweep\n--profile {profile}"
            column[0].text(0.5, 0.5, command, ha="center", transform=column[0].transAxes)
        column[0].set(title=f"{profile}: width {size.width}, depth {size.depth}")
    for ax in axes[:, 0]:
        ax.set_ylabel("validation mean IoU")
    nb.legend(figure, loc="outside right center", ncols=1)
    return figure, (
        "The small network of these runs beside one of the report's own size, "
        f"{nb.SET_NAMES[records.dataset('shapes')]}, recipe report. Above: validation mean IoU at "
        "the end, by loss and learning rate (pale: seeds; lines: their mean). Below: after every "
        "epoch, one seed at its best rate. Dotted: what predicting every fourth pixel can reach at "
        f"most while the others stay empty. Best rates: {'; '.join(best) or 'no runs'}."
    )


def _draw_rates(axes: Sequence[Axes], records: Records) -> str:
    """Scores by rate above and by epoch below, a line a loss; returns each loss's best rate."""
    grid = pd.concat([records.grid("shapes", "report", loss) for loss in REPORT_LOSSES])
    best: dict[float, list[str]] = {}
    settings = grid.groupby(["loss", "coefficient"], sort=False)
    for (_, runs), style in zip(settings, [*nb.LINES[:2], *nb.COEFFICIENT_STYLES], strict=False):
        first, means = best_setting(runs).iloc[0], runs.groupby("learning_rate").score.mean()
        name = nb.loss_name(first)
        axes[0].plot(means.index, means, lw=1.4, label=name, **style)
        axes[0].plot(runs.learning_rate, runs.score, **{**style, "ls": "", "alpha": 0.35})
        nb.plot_score(axes[1], first, lw=1.4, **style)
        best.setdefault(first.learning_rate, []).append(name)
    nb.log_scale(axes[0])
    axes[1].set(xlabel="epoch, at the best rate", ylabel="")
    return ", ".join(f"{rate:g} ({', '.join(names)})" for rate, names in best.items())


def speed_run(records: Records) -> Drawn:
    """Time against score of the profile ``live``, as data/bench/live.py measured it."""
    path = DATA / "bench" / "live.csv"
    if not path.is_file():
        raise BadInput(f"{path} is missing; `python data/bench/live.py` makes it")
    table = pd.read_csv(path)
    (figure, [[ax]]), said = nb.new_figure(5.5, 3), []
    for flag, runs in table.groupby("bfloat16"):
        kind, color, marker = (("float32", nb.RED, "s"), ("bfloat16", nb.BLUE, "o"))[flag]
        seconds, iou = runs.seconds, runs.iou
        ax.plot(seconds, iou, marker, color=color, label=f"seeds in {kind}")
        said.append(
            f"{len(runs)} seeds in {kind}, {seconds.min():.0f} to {seconds.max():.0f} s, mean IoU "
            f"{iou.min():.3f} to {iou.max():.3f}"
        )
    ax.axhline(0.75, color=nb.INK, ls=":", lw=1, label="goals")
    for goal in (60, 75):
        ax.axvline(goal, color=nb.INK, ls=":", lw=1)
    ax.set(xlabel="seconds, from the call of Python to its end", ylabel="mean IoU, unseen shapes")
    ax.set_xlim(0, table.seconds.max() + 5)
    nb.legend(figure)
    return figure, (
        "The command train --profile live on two cores, drawing the images and scoring 500 unseen "
        f"ones included: {'; '.join(said)}. Dotted: the goals, 0.75 "
        "within 60 s, in float32 75 s. The two were measured on different processors."
    )


# -- what was measured ------------------------------------------------------------------------

#: Marker and whether it is filled: a verdict can be read without color.
VERDICTS = {
    stats.SUPPORTED: ("o", True),
    stats.NOT_SUPPORTED: ("X", True),
    stats.NO_DIFFERENCE: ("s", True),
    stats.UNDECIDED: ("D", False),
}


def _marker(verdict: str, color: str) -> dict[str, Any]:
    shape, filled = VERDICTS[verdict]
    return {"marker": shape, "ls": "", "ms": 5, "mec": color, "mfc": color if filled else "white"}


def ablation(records: Records) -> Drawn:
    """What the parts of the network are worth."""
    table, runs = measured.ablations(records), records.runs.set_index("run_id")
    if table.empty:
        raise BadInput("no runs with a part changed; `seghw sweep --ablation` trains them")
    bases = {row.recipe: runs.loc[row.run_ids.split()[0]] for row in table.itertuples()}
    bases = "; ".join(f"recipe {recipe}, {nb.loss_name(run)}" for recipe, run in bases.items())
    return draw_ablation(table, records.runs), (
        f"What the parts of the network are worth on {nb.SET_NAMES[records.dataset('shapes')]}: "
        "validation mean IoU with the change minus without it, paired by seed (dots; seeds: "
        f"{table.seeds.max()}), with the mean (large marker) and its 95 % t interval (lines; blue "
        "is better, red is worse, by the rule of the claims). In the gray band a difference is of "
        f"no matter. Base runs: {bases}, profile {records.profile}."
    )


def draw_ablation(table: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """``claims.ablations`` with their intervals and the seeds of the runs, one panel a recipe."""
    figure, [axes] = nb.new_figure(9, 3.6, 1, 2, sharex=True)
    names = {stats.SUPPORTED: "better", stats.NOT_SUPPORTED: "worse"}
    colors = dict.fromkeys(VERDICTS, nb.INK)
    colors |= {stats.SUPPORTED: nb.BLUE, stats.NOT_SUPPORTED: nb.RED}
    for ax, recipe in zip(axes, RECIPES, strict=True):
        rows = table[table.recipe == recipe]
        for y, row in enumerate(rows.itertuples()):
            color = colors[row.verdict]
            of_row = runs[runs.run_id.isin(row.run_ids.split())].set_index("seed")
            base, changed = (of_row[(of_row.part != "") == part].score for part in (False, True))
            seeds = (changed - base).dropna()
            ax.plot(seeds, np.full(len(seeds), y + 0.22), ".", color=color, alpha=0.5)
            ax.plot((row.low, row.high), (y, y), color=color, lw=1.5)
            ax.plot(row.estimate, y, **_marker(row.verdict, color))
        ax.axvspan(-stats.MARGIN, stats.MARGIN, color=nb.INK, alpha=0.1, lw=0)
        ax.axvline(0, color=nb.INK, lw=0.8)
        ax.set_yticks(range(len(rows)), rows.reading)
        ax.set(title=f"recipe {recipe}", xlabel="change of the validation mean IoU")
        ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    handles = [Line2D([], [], label=names.get(v, v), **_marker(v, colors[v])) for v in VERDICTS]
    handles.append(Line2D([], [], ls="", marker=".", color=nb.INK, alpha=0.5, label="a seed"))
    handles.append(Patch(color=nb.INK, alpha=0.1, label="of no matter"))
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


#: Units in the order of their panels, and what their axes are called.
UNITS = {
    "loss": "value of the Dice loss",
    stats.RATIO: "ratio, on a logarithmic scale",
    "IoU": "difference of IoU",
    "recall": "difference of recall",
    "F": "difference of the boundary F-score",
    "%": "difference in per cent",
    "share": "difference of shares",
    "positions": "positions of the feature map",
}
#: Warm and cold for the recipes; one shade a data set.
COLORS = {
    "report": ("#D55E00", "#E69F00", "#CC79A7"),
    "corrected": ("#0072B2", "#56B4E9", "#009E73"),
}
_TRUE = "#DDEEDD"


def claims(records: Records) -> Drawn:
    """Effects with intervals, one panel per unit, and the verdict on each sentence."""
    table = records.measurements
    open_ones = sorted(set(table.sentence) - set(table.dropna(subset="estimate").sentence))
    missing = f" Not measured: {', '.join(map(str, open_ones))}." if open_ones else ""
    return draw_claims(table), (
        "What the report says, measured: each row a sentence, each marker a data set under a "
        "recipe, with its 95 % interval (over seeds, and over test images where these are "
        "scored). In the shaded range the sentence would be true. A verdict needs three seeds and "
        "an interval on one side of the dark line, or so close around it that the difference does "
        "not matter; that on the sentence rests on the recipe report. Lines that end at the frame "
        "go on. A ~ marks images whose part of the error is not known."
        f"{missing} Runs of profile {records.profile}."
    )


def draw_claims(table: pd.DataFrame) -> Figure:
    sentences = measured.verdicts(table).set_index("sentence")
    table = table.dropna(subset="estimate")
    firsts = table.drop_duplicates("sentence").index
    styles = {
        (recipe, dataset): (colors[k], nb.LINES[k]["ls"])
        for recipe, colors in COLORS.items()
        for k, dataset in enumerate(dict.fromkeys(table.dataset))
    }
    panels = [(unit, table[table.unit == unit]) for unit in UNITS if (table.unit == unit).any()]
    panels = [
        (unit, list(rows.groupby(["sentence", "reading"], sort=False))) for unit, rows in panels
    ]
    heights = [len(lines) + 0.9 for _, lines in panels]
    size = (9, 0.36 * sum(heights) + 0.6)
    figure, axes = nb.new_figure(*size, len(panels), 1, height_ratios=heights)
    for ax, (unit, lines) in zip(axes[:, 0], panels, strict=True):
        _scale(ax, unit, np.concatenate([rows.estimate for _, rows in lines]))
        labels = []
        for y, ((number, reading), rows) in enumerate(lines):
            _draw_line(ax, y, rows, styles)
            if rows.index[0] in firsts:  # beside a sentence's first line the verdict on it
                about = sentences.loc[number]
                verdict = about.verdict
                # It must not stand above what was measured in its place and decides nothing.
                if about.row in table.index:
                    reading = about.text
                    verdict += f"\n{measured.basis(table.loc[about.row])}"
                look = {"va": "center", "fontsize": 8, "transform": ax.get_yaxis_transform()}
                ax.text(1.01, y, verdict, **look)
            text = textwrap.wrap(f"{number}. {reading}", 46, break_on_hyphens=False)
            labels.append("\n".join(text))
        ax.set_yticks(range(len(lines)), labels, fontsize=8)
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(False, axis="y")
    handles = [
        Line2D([], [], ls=ls, color=color, lw=2, label=f"{dataset}, recipe {recipe}")
        for (recipe, dataset), (color, ls) in styles.items()
    ]
    handles += [Line2D([], [], label=verdict, **_marker(verdict, nb.INK)) for verdict in VERDICTS]
    handles.append(Patch(color=_TRUE, label="the sentence would be true"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def _scale(ax: Axes, unit: str, values: np.ndarray) -> None:
    """Room for every effect; an interval may run out of it."""
    if unit == stats.RATIO:
        right = 2.5 * float(np.exp(np.abs(np.log(values)).max()))
        left = 1 / right
    else:
        right = 1.25 * float(np.abs(values).max()) or 1.0
        left = 0.0 if unit == "loss" else -right
    ax.set(xlabel=UNITS[unit], xlim=(left, right))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    if unit == stats.RATIO:
        nb.log_scale(ax)


def _draw_line(ax: Axes, y: float, rows: pd.DataFrame, styles: dict) -> None:
    """Where the sentence would be true, and a marker for each data set and recipe."""
    holds, (left, right) = measured.CLAIMS[rows.claim.iloc[0]].true_range, ax.get_xlim()
    low, high = np.clip(holds, left, right)
    ax.fill_betweenx([y - 0.45, y + 0.45], low, high, color=_TRUE, lw=0, zorder=0)
    dividing = [end for end in holds if left <= end <= right]
    ax.vlines(dividing, y - 0.45, y + 0.45, color=nb.INK, lw=1, zorder=1)
    places = dict(zip(styles, y + np.linspace(-0.3, 0.3, len(styles)), strict=True))
    for row in rows.itertuples():
        color, ls = styles[row.recipe, row.dataset]
        place = places[row.recipe, row.dataset]
        ax.hlines(place, row.low, row.high, color=color, ls=ls, lw=1.4, zorder=2)
        ax.plot(row.estimate, place, zorder=3, **_marker(row.verdict, color))


#: What goes to ``beyond/``, by file name.
BEYOND: dict[str, Callable[[Records], Drawn]] = {
    **{draw.__name__: draw for draw in (dotted_beside_dense, dice_floors, class_curves)},
    **{draw.__name__: draw for draw in (balanced_coefficients, full_size, speed_run)},
    "gallery_shapes": partial(gallery, family="shapes"),
    "gallery_scenes": partial(gallery, family="coco"),
    **{draw.__name__: draw for draw in (distributions, ablation, claims)},
}
