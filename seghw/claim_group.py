"""The runs that claims are measured on: one recipe on one family's data, seeds paired.

Runs that diverged are left out; a setting that diverges is not the best one
(``sweep.best_setting``). The best learning rate is chosen by the same validation IoU that the
coefficients are compared by, alike for each: none is favoured, all are flattered a little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from seghw.errors import BadInput
from seghw.records import Records
from seghw.runs import Run
from seghw.sweep import COEFFICIENTS, best_by_coefficient, best_setting

Seeds = Mapping[int, Run]  # finished runs of one setting by their seed


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one recipe on one family's data."""

    records: Records
    family: str  # "shapes" or "coco"
    recipe: str  # key of RECIPES

    @cached_property
    def dataset(self) -> str:
        """Name of the data set, or of the family while it has no runs."""
        try:
            return self.records.runs(self.family, self.recipe, "mse_dice")[0].config.dataset
        except BadInput:
            return self.family

    def best(self, loss: str) -> Seeds:
        """The seeds of a loss's best setting."""
        return _finished(best_setting(self.records.runs(self.family, self.recipe, loss)))

    @cached_property
    def by_coefficient(self) -> dict[float, Seeds]:
        """The seeds of each coefficient at its best learning rate, from the smallest up.

        Raises:
            BadInput: one of the report's coefficients has no finished run.
        """
        tried = best_by_coefficient(self.records.runs(self.family, self.recipe, "mse_dice"))
        found = {c: seeds for c, runs in tried.items() if (seeds := _finished(runs))}
        missing = set(COEFFICIENTS["section3"][self.family]) - found.keys()
        if missing:
            where = f"{self.dataset}, recipe {self.recipe}"
            raise BadInput(f"{where}: no finished run of coefficient {min(missing)}")
        return found

    def ablated(self, **change) -> list[tuple[Run, Run]]:
        """Runs of one seed, as the grid has them and with the network changed."""
        return self.records.ablated(self.family, self.recipe, change)


def _finished(runs: Sequence[Run]) -> Seeds:
    return {run.config.seed: run for run in runs if run.status == "finished"}


def scores_of(seeds: Seeds) -> dict[int, float]:
    return {seed: run.score for seed, run in seeds.items()}


def last_epoch(seeds: Seeds, field: str) -> dict[int, float]:
    return {seed: run.record["epochs"][-1][field] for seed, run in seeds.items()}


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """a - b for the seeds that both have."""
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def images_of(seeds: Seeds, field: str) -> int:
    """The fewest images of that kind that a run saw."""
    return min((run.record["data"][field] for run in seeds.values()), default=0)
