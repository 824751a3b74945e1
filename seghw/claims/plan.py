"""How many seeds each comparison gets, fixed before the runs beyond seed 2 were made.

A comparison takes all the seeds of its group once every run of the group is there; until then it
rests on ``config.SEEDS`` alone, so that none stops at a moment that suits it. Figures that show the
best or the worst single run choose it among ``config.SEEDS``, the same number of tries each.

The number of seeds follows from the spread over seeds 0, 1 and 2: half of a 95 % t interval is
0.84 standard deviations of the paired differences at 8 seeds and 0.53 at 16. Under ``report`` that
deviation is 0.010 to 0.013 for the coefficients on the shapes, so that 16 seeds bring the half
interval below ``stats.MARGIN``; it is at most 0.008 elsewhere, so that 8 do. After these 8, the
deviation for the coefficients under ``report`` on the scenes turned out to be up to 0.016
(``stats.seeds_to_decide`` says 13): that group got five more, their number fixed in advance.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from seghw.claims.ablation import ablation
from seghw.config import BALANCED, RECIPES, SEEDS, TrainConfig
from seghw.results import Records

#: Each group: data set, recipe, seeds, and its settings (loss, coefficient, learning rate, the best
#: of its loss and coefficient over seeds 0 to 2). Beside
#: the report's coefficients, those of ``config.BALANCED``.
GROUPS: tuple[tuple[str, str, int, tuple[tuple[str, float | None, float], ...]], ...] = (
    (
        "shapes5",
        "report",
        16,
        (
            ("mse_dice", 40.0, 1e-3),
            ("mse_dice", 60.0, 1e-3),
            ("mse_dice", 20.0, 1e-3),
            ("mse_dice", BALANCED["report"]["shapes"], 1e-3),
            ("mse", None, 1e-3),
            ("dice", None, 1e-3),
        ),
    ),
    (
        "scenes3",
        "report",
        13,
        (
            # The two rates are about equally good. Which is the better one changed when seed 0 was
            # trained again, to record its gradients; until then 1e-4 was not in the plan.
            ("mse_dice", 60.0, 1e-3),
            ("mse_dice", 60.0, 1e-4),
            ("mse_dice", 80.0, 1e-4),
            ("mse_dice", 100.0, 1e-3),
            ("mse_dice", BALANCED["report"]["coco"], 1e-3),
            ("mse_dice", BALANCED["report"]["coco"], 1e-4),
            ("mse", None, 1e-4),
            ("dice", None, 1e-3),
        ),
    ),
    (
        "shapes5",
        "corrected",
        8,
        (
            *(("mse_dice", c, 4e-3) for c in (BALANCED["corrected"]["shapes"], 20.0, 40.0, 60.0)),
            ("mse", None, 4e-3),
            ("dice", None, 4e-3),
        ),
    ),
    (
        "scenes3",
        "corrected",
        8,
        (
            *(("mse_dice", c, 4e-3) for c in (BALANCED["corrected"]["coco"], 60.0, 80.0, 100.0)),
            ("mse", None, 4e-3),
            ("dice", None, 4e-3),
        ),
    ),
)
#: Runs of ``report`` that see as many images as those of ``corrected``, beside the latter.
EQUAL_BUDGET = (
    TrainConfig("shapes5", "report", "mse_dice", 1e-3, 60.0, epochs=10),
    TrainConfig("scenes3", "report", "mse_dice", 1e-3, 60.0, epochs=10),
)
ABLATION_SEEDS = 8


def groups(profile: str = "laptop") -> list[list[TrainConfig]]:
    """The runs of the plan, those together that are compared, in the order of what decides most."""
    found = [
        [
            TrainConfig(dataset, recipe, loss, rate, coefficient, seed, profile)
            for seed in range(seeds)
            for loss, coefficient, rate in settings
        ]
        for dataset, recipe, seeds, settings in GROUPS
    ]
    changed = ablation(range(ABLATION_SEEDS), profile)
    found += [[config for config in changed if config.recipe == recipe] for recipe in RECIPES]
    return [*found, _seeded(EQUAL_BUDGET, range(ABLATION_SEEDS), profile)]


def plan(profile: str = "laptop") -> list[TrainConfig]:
    """Every run of the plan, group by group and within them seed by seed."""
    return list(chain(*groups(profile)))


def planned(records: Records) -> Records:
    """The records with all seeds of those groups of the plan that are complete."""
    done = {run.config for run in records.recorded if run.status != "failed"}
    complete = set(chain(*(group for group in groups(records.profile) if done.issuperset(group))))
    return records.with_runs(
        [run for run in records.recorded if run.config.seed in SEEDS or run.config in complete]
    )


def _seeded(
    configs: Sequence[TrainConfig], seeds: Sequence[int], profile: str
) -> list[TrainConfig]:
    return [replace(config, seed=seed, profile=profile) for seed in seeds for config in configs]
