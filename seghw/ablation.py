"""What the parts of the network are worth: the same runs without them, paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seghw.panels import BLUE, INK, RED, new_figure
from seghw.recipes import RECIPES, TrainConfig
from seghw.records import Records
from seghw.report_figures import SET_NAMES, Drawn
from seghw.runs import Run
from seghw.sweep import by_setting
from seghw.verdicts import t_interval

#: The runs that are varied: of each recipe the best MSE + Dice setting on the shapes, as seed 0
#: alone had it.
BASES = {
    "report": TrainConfig("shapes5", "report", "mse_dice", 1e-3, 40.0),
    "corrected": TrainConfig("shapes5", "corrected", "mse_dice", 4e-3, 20.0),
}
#: What is taken away or changed, under both recipes.
PARTS = {
    "no copies across the U": {"copy_across": False},
    "no shortcuts in the blocks": {"skip_connections": False},
    "no ASPP": {"aspp_rates": None},
    "ASPP at rates 1, 2, 4": {"aspp_rates": (1, 2, 4)},
}
#: Other ways to paint every pixel, under the recipe that does.
MENDS = {
    "resize-convolution": {"head": "resize"},
    "sub-pixel convolution": {"head": "subpixel"},
}


def ablation(seeds: Sequence[int] = (0, 1, 2), profile: str = "laptop") -> list[TrainConfig]:
    """All configurations of the ablation, seed by seed; those they stand beside are the grid's."""
    return [
        replace(BASES[recipe], seed=seed, profile=profile, **change)
        for seed in seeds
        for recipe in RECIPES
        for change in changes(recipe).values()
    ]


def changes(recipe: str) -> dict[str, dict]:
    """What is varied under a recipe, by name."""
    return {**PARTS, **(MENDS if recipe == "corrected" else {})}


@dataclass(frozen=True, eq=False)
class Change:
    """The effect of one change, seed by seed."""

    recipe: str
    name: str
    pairs: tuple[tuple[Run, Run], ...]  # as it was and changed, of one seed each

    @property
    def differences(self) -> np.ndarray:
        """Validation mean IoU, changed minus as it was, float64 (seeds,)."""
        return np.array([changed.score - base.score for base, changed in self.pairs])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % t interval of the mean difference; NaN for fewer than two seeds."""
        return t_interval(self.differences)

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"``, or ``"undecided"`` where the interval holds 0."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "undecided"


def ablated(
    records: Records, family: str, recipe: str, change: Mapping[str, Any]
) -> list[tuple[Run, Run]]:
    """Finished runs of the grid's MSE + Dice, each with its twin that has the network changed.

    Args:
        records: run records.
        family: ``"shapes"`` or ``"coco"``.
        recipe: key of ``RECIPES``.
        change: fields of the configuration in which the twin differs, and their values.

    Returns:
        Pairs of one seed; of several settings with twins, the one with the most pairs.

    Raises:
        BadInput: there are no such runs of the grid.
    """
    finished = {run.config: run for run in records.all_runs if run.status == "finished"}
    twins = {
        run: twin
        for run in records.runs(family, recipe, "mse_dice")
        if run.status == "finished" and (twin := finished.get(replace(run.config, **change)))
    }
    settings = by_setting(twins).values()
    return [(run, twins[run]) for run in max(settings, key=len, default=[])]


def measure(records: Records) -> list[Change]:
    """Every change, on the finished runs that are there.

    Raises:
        BadInput: the grid's runs are missing.
    """
    return [
        Change(recipe, name, tuple(ablated(records, "shapes", recipe, change)))
        for recipe in RECIPES
        for name, change in changes(recipe).items()
    ]


def ablation_figure(records: Records) -> Drawn:
    """What the parts of the network are worth, for ``figures/beyond``."""
    measured = measure(records)
    seeds = max(len(change.pairs) for change in measured)
    return draw(measured), (
        f"What the parts of the network are worth on {SET_NAMES['shapes5']}: validation mean IoU "
        f"with the change minus without it, paired by seed (dots; seeds: {seeds}), with the 95 % t "
        "interval of the mean from two seeds on (lines; blue and red where it leaves 0 out). Base "
        "runs: "
        + "; ".join(f"recipe {c.recipe}, MSE + {c.coefficient:g} x Dice" for c in BASES.values())
        + f", profile {records.profile}."
    )


def draw(measured: Sequence[Change]) -> Figure:
    """Differences with their intervals, one row a change, one panel a recipe."""
    figure, axes = new_figure(9, 3.2, 1, 2)
    for ax, recipe in zip(axes[0], RECIPES, strict=True):
        rows = [change for change in measured if change.recipe == recipe and change.pairs]
        for y, change in enumerate(rows):
            colour = {"better": BLUE, "worse": RED}.get(change.verdict, INK)
            ax.plot(change.interval, (y, y), color=colour, lw=1.5)
            ax.plot(change.differences, np.full(len(change.pairs), y), "o", ms=3.5, color=colour)
        if not rows:
            ax.text(0.5, 0.5, "no runs: python -m seghw sweep --ablation", ha="center")
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_yticks(range(len(rows)), [change.name for change in rows])
        ax.invert_yaxis()
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set(title=f"recipe {recipe}", xlabel="change of the validation mean IoU")
    return figure
