"""The runs that claims are measured on: one recipe on one family's data, seeds paired.

Runs that diverged are left out; a setting that diverges is not the best one
(``sweep.best_setting``). The best learning rate is chosen by the same validation IoU that the
coefficients are compared by, alike for each: none is favoured, all are flattered a little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from seghw.errors import BadInput
from seghw.records import Records
from seghw.runs import Run, load_runs
from seghw.sweep import COEFFICIENTS, best_setting, by_setting

#: Settings that an ablation changes, as the grid has them.
WHOLE = {"aspp_rates": (2, 4, 6), "skip_connections": True, "copy_across": True}

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
        runs = self.records.runs(self.family, self.recipe, "mse_dice")
        found = {}
        for coefficient in sorted(COEFFICIENTS["section3"][self.family]):
            tried = [run for run in runs if run.config.coefficient == coefficient]
            found[coefficient] = _finished(best_setting(tried)) if tried else {}
            if not found[coefficient]:
                where = f"{self.dataset}, recipe {self.recipe}"
                raise BadInput(f"{where}: no finished run of coefficient {coefficient}")
        return found

    def ablation(self, **changed) -> list[tuple[Run, Run]]:
        """Pairs of one seed: a run of the grid, and the same with the network ``changed``.

        Of several settings that were tried so, the one with the most pairs.
        """
        grid = self.records.runs(self.family, self.recipe, "mse_dice")
        whole = {run.config: run for run in grid if run.status == "finished"}
        changed = load_runs(
            self.records.profile,
            self.records.folder,
            dataset=self.dataset,
            recipe=self.recipe,
            head=None,
            epochs=None,
            **{**WHOLE, **changed},
        )
        pairs = [
            [(whole[twin], run) for run in runs if (twin := replace(run.config, **WHOLE)) in whole]
            for runs in by_setting(run for run in changed if run.status == "finished").values()
        ]
        return max(pairs, key=len, default=[])


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
