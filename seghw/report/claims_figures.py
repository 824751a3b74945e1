"""The claims as one picture: every effect with its interval, units apart, verdicts beside."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from seghw.claims.ablation import BASES, Change, measure
from seghw.claims.kept import all_results
from seghw.claims.plan import planned
from seghw.claims.stats import (
    NO_DIFFERENCE,
    NOT_SUPPORTED,
    RATIO,
    SUPPORTED,
    UNDECIDED,
    Result,
    by_claim,
    sentence_verdict,
)
from seghw.claims.table import basis
from seghw.config import RECIPES
from seghw.report.plots import BLUE, INK, RED, SET_NAMES, Drawn, new_figure
from seghw.results import Records

#: Units in the order of their panels, and what their axes are called.
UNITS = {
    "loss": "value of the Dice loss",
    RATIO: "ratio, on a logarithmic scale",
    "IoU": "difference of IoU",
    "recall": "difference of recall",
    "F": "difference of the boundary F-score",
    "%": "difference in per cent",
    "cells": "difference in cells of the map",
}
#: Of Okabe and Ito's palette, warm and cold for the recipes; one shade a data set.
COLORS = {
    "report": ("#D55E00", "#E69F00", "#CC79A7"),
    "corrected": ("#0072B2", "#56B4E9", "#009E73"),
}
#: Marker and whether it is filled: the verdict can be read without color.
MARKERS = {
    SUPPORTED: ("o", True),
    NOT_SUPPORTED: ("X", True),
    NO_DIFFERENCE: ("s", True),
    UNDECIDED: ("D", False),
}
HOLDS = "#DDEEDD"


@dataclass(frozen=True)
class Line:
    """One line of a panel: one reading of one claim, a marker for each data set and recipe."""

    label: str
    results: list[Result]
    verdict: str  # on the claim; only at its first line


def claims(records: Records) -> tuple[Figure, str]:
    """Effects with intervals, one panel per unit, and the verdict on each sentence.

    Returns:
        The figure and its caption.
    """
    figure, caption = draw_claims(all_results(records))
    return figure, f"{caption} Runs of profile {records.profile}."


def draw_claims(results: Sequence[Result]) -> tuple[Figure, str]:
    """The figure of ``claims``, from results at hand."""
    lines = _lines(results)
    panels: dict[str, list[Line]] = {unit: [] for unit in UNITS}
    for line in lines:
        panels.setdefault(line.results[0].effect.unit, []).append(line)
    panels = {unit: found for unit, found in panels.items() if found}
    heights = [len(found) + 0.9 for found in panels.values()]
    figure, axes = new_figure(
        9, 0.36 * sum(heights) + 0.6, len(panels), 1, gridspec_kw={"height_ratios": heights}
    )
    datasets = list(dict.fromkeys(result.effect.dataset for result in results))
    for ax, (unit, found) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(ax, unit, found, datasets)
    figure.legend(handles=_legend(datasets), loc="outside upper left", ncols=4)
    return figure, (
        "What the report says, measured: each row a sentence, each marker a data set under a "
        "recipe, with its 95 % interval (over seeds, and over test images where these are "
        "scored). In the shaded range the sentence would be true. A verdict needs three seeds and "
        "an interval on one side of the dark line, or so close around it that the difference does "
        "not matter; that on the sentence rests on the recipe report. Lines that end at the frame "
        "go on."
    )


def _lines(results: Sequence[Result]) -> list[Line]:
    """One line per reading; the first of each claim has the claim's text and verdict."""
    lines = []
    for number, rows in enumerate(by_claim(results), start=1):
        readings: dict[str, list[Result]] = {}
        for row in [row for row in rows if row.effect.unit] or rows:  # what has no runs has none
            readings.setdefault(row.effect.reading, []).append(row)
        for k, (reading, found) in enumerate(readings.items()):
            # The sentence must not stand above what was measured in its place and decides nothing.
            stands = any(row.decides or not row.effect.unit for row in rows)
            text = rows[0].claim.text if not k and stands else reading
            verdict = "" if k else _verdict_text(rows)
            lines.append(Line(f"{number}. {text}", found, verdict))
    return lines


def _verdict_text(rows: Sequence[Result]) -> str:
    weakest = min((row.effect for row in rows if row.decides), key=lambda e: e.seeds, default=None)
    return sentence_verdict(rows) + (f"\n{basis(weakest)}" if weakest else "")


def _panel(ax: Axes, unit: str, lines: Sequence[Line], datasets: Sequence[str]) -> None:
    ax.set(xlabel=UNITS.get(unit, unit), ylim=(len(lines) - 0.5, -0.5))
    ax.set_xlim(*_limits([r.effect.value for ln in lines for r in ln.results], unit))
    if unit == RATIO:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))
    for y, line in enumerate(lines):
        _shade(ax, y, line.results[0].claim.holds)
        _draw_line(ax, y, line.results, datasets)
        if line.verdict:
            color = "#777777" if line.verdict.startswith(UNDECIDED) else "black"
            style = {"va": "center", "fontsize": 8, "color": color}
            ax.text(1.01, y, line.verdict, transform=ax.get_yaxis_transform(), **style)
    labels = ["\n".join(textwrap.wrap(line.label, 46, break_on_hyphens=False)) for line in lines]
    ax.set_yticks(range(len(lines)), labels, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")


def _limits(values: Sequence[float], unit: str) -> tuple[float, float]:
    """Room for every effect; an interval may run out of it."""
    known = np.array([value for value in values if np.isfinite(value)] or [1.0])
    if unit == RATIO:
        reach = 2.5 * float(np.exp(np.abs(np.log(known)).max()))
        return 1 / reach, reach
    reach = 1.25 * float(np.abs(known).max()) or 1.0
    return (0.0 if unit == "loss" else -reach), reach


def _shade(ax: Axes, y: float, holds: tuple[float, float]) -> None:
    """Where the claim would be true, and its null values."""
    left, right = ax.get_xlim()
    low, high = np.clip(holds, left, right)
    ax.fill_betweenx([y - 0.45, y + 0.45], low, high, color=HOLDS, lw=0, zorder=0)
    nulls = [end for end in holds if left <= end <= right]
    ax.vlines(nulls, y - 0.45, y + 0.45, color=INK, lw=1, zorder=1)


def _draw_line(ax: Axes, y: float, results: Sequence[Result], datasets: Sequence[str]) -> None:
    slots = [(recipe, dataset) for recipe in COLORS for dataset in datasets]
    places = y + np.linspace(-0.3, 0.3, len(slots))
    measured = [result for result in results if not np.isnan(result.effect.value)]
    for result in measured:
        effect = result.effect
        place = places[slots.index((effect.recipe, effect.dataset))]
        color = COLORS[effect.recipe][datasets.index(effect.dataset)]
        ax.hlines(place, effect.low, effect.high, color=color, lw=1.3, zorder=2)
        ax.plot(effect.value, place, ls="", zorder=3, **_marker(result.verdict, color))
    if not measured:
        style = {"ha": "center", "va": "center", "fontsize": 8, "bbox": {"fc": "white", "lw": 0}}
        ax.text(0.5, y, "not measured", transform=ax.get_yaxis_transform(), **style)


def _marker(verdict: str, color: str) -> dict:
    shape, filled = MARKERS[verdict]
    face = color if filled else "white"
    return {"marker": shape, "ms": 5, "mec": color, "mfc": face, "mew": 1}


def _legend(datasets: Sequence[str]) -> list[Line2D | Patch]:
    groups = [
        Line2D([], [], color=color, lw=3, label=f"{dataset}, recipe {recipe}")
        for recipe, colors in COLORS.items()
        for dataset, color in zip(datasets, colors, strict=False)
    ]
    verdicts = [Line2D([], [], ls="", label=name, **_marker(name, INK)) for name in MARKERS]
    return [*groups, *verdicts, Patch(color=HOLDS, label="the sentence would be true")]


def ablation_figure(records: Records) -> Drawn:
    """What the parts of the network are worth, for ``figures/beyond``."""
    measured = measure(planned(records))
    seeds = max(len(change.pairs) for change in measured)
    return draw_ablation(measured), (
        f"What the parts of the network are worth on {SET_NAMES['shapes5']}: validation mean IoU "
        f"with the change minus without it, paired by seed (dots; seeds: {seeds}), with the 95 % t "
        "interval of the mean (lines; blue is better, red is worse, by the rule of the claims). "
        "Base runs: "
        + "; ".join(f"recipe {c.recipe}, MSE + {c.coefficient:g} x Dice" for c in BASES.values())
        + f", profile {records.profile}."
    )


def draw_ablation(measured: Sequence[Change]) -> Figure:
    """Differences with their intervals, one row a change, one panel per recipe."""
    figure, axes = new_figure(9, 3.2, 1, 2)
    for ax, recipe in zip(axes[0], RECIPES, strict=True):
        rows = [change for change in measured if change.recipe == recipe and change.pairs]
        for y, change in enumerate(rows):
            color = {"better": BLUE, "worse": RED}.get(change.verdict, INK)
            ax.plot((change.effect.low, change.effect.high), (y, y), color=color, lw=1.5)
            ax.plot(change.differences, np.full(len(change.pairs), y), "o", ms=3.5, color=color)
        if not rows:
            ax.text(0.5, 0.5, "no runs: python -m seghw sweep --ablation", ha="center")
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_yticks(range(len(rows)), [change.name for change in rows])
        ax.invert_yaxis()
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set(title=f"recipe {recipe}", xlabel="change of the validation mean IoU")
    return figure
