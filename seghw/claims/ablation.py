"""What the parts of the network are worth: the same runs without them, paired by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from seghw.claims.stats import NOT_SUPPORTED, SUPPORTED, Effect, from_seeds, verdict
from seghw.config import RECIPES, SEEDS, TrainConfig
from seghw.results import Records
from seghw.train.runs import Run

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
FIXES = {
    "resize-convolution": {"head": "resize"},
    "sub-pixel convolution": {"head": "subpixel"},
}


def ablation(seeds: Sequence[int] = SEEDS, profile: str = "laptop") -> list[TrainConfig]:
    """All configurations of the ablation, seed by seed; those they stand beside are the grid's."""
    return [
        replace(BASES[recipe], seed=seed, profile=profile, **change)
        for seed in seeds
        for recipe in RECIPES
        for change in changes(recipe).values()
    ]


def changes(recipe: str) -> dict[str, dict]:
    """What is varied under a recipe, by name."""
    return {**PARTS, **(FIXES if recipe == "corrected" else {})}


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
    def effect(self) -> Effect:
        """The mean difference with its interval over the seeds."""
        return from_seeds(self.name, "IoU", self.differences)

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"``, ``"no difference"`` or ``"undecided"``."""
        found = verdict(self.effect, (0.0, math.inf))
        return {SUPPORTED: "better", NOT_SUPPORTED: "worse"}.get(found, found)


def measure(records: Records) -> list[Change]:
    """Every change, on the finished runs that are there.

    Raises:
        BadInput: the grid's runs are missing.
    """
    return [
        Change(recipe, name, tuple(records.ablated("shapes", recipe, change)))
        for recipe in RECIPES
        for name, change in changes(recipe).items()
    ]
