"""What the claims measure on run records: one recipe on one family's data, seeds paired.

Runs that diverged are left out; a setting that diverges is not the best one
(``runs.best_setting``). The best learning rate is chosen by the same validation IoU that the
coefficients are compared by, alike for each: none is favored, all are flattered a little.

A measurement takes a ``Group`` and yields effects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from seghw.claims.stats import RATIO, Effect, from_seeds
from seghw.config import BALANCED, COEFFICIENTS, LOSS_NAMES
from seghw.errors import BadInput
from seghw.results import Records
from seghw.train.runs import Run, best_by_coefficient, best_setting

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


IOU = "IoU"


# -- the loss terms -------------------------------------------------------------------------


def term_ratios(seeds: Seeds, weight: float = 1.0) -> Iterator[Effect]:
    """MSE over weight x Dice, median over training: by value, and by gradient at the output."""
    dice, detail = "Dice", ""
    if weight != 1:
        dice, detail = "(coefficient x Dice)", f"coefficient {weight:g}"
    histories = [run.history for run in seeds.values()]
    for kind, suffix in (("value", ""), ("gradient", "_gradient")):
        with np.errstate(divide="ignore"):  # without a gradient of Dice the ratio is infinite
            ratios = [np.median(h["mse" + suffix] / h["dice" + suffix]) for h in histories]
        yield from_seeds(
            f"MSE / {dice} by {kind}",
            RATIO,
            np.array(ratios) / weight,
            images=images_of(seeds, "images"),
            detail=detail,
            decides=kind == "value",  # the report argues by value
        )


def unweighted_ratio(group: Group) -> Iterator[Effect]:
    """The terms without a coefficient, in the best MSE + Dice runs."""
    yield from term_ratios(group.best("mse_dice"))


def largest_ratio(group: Group) -> Iterator[Effect]:
    """The terms at the largest coefficient, in runs trained with it."""
    coefficient = max(group.by_coefficient)
    yield from term_ratios(group.by_coefficient[coefficient], coefficient)


# -- the coefficients -----------------------------------------------------------------------


def _validation(reading: str, values: Sequence[float], seeds: Seeds, **more) -> Effect:
    images = images_of(seeds, "validation_images")
    return from_seeds(f"validation IoU, {reading}", IOU, values, images=images, **more)


def _against_extreme(group: Group, reading: str, place: int, pick) -> Iterator[Effect]:
    """The IoU of one coefficient minus that of the best or worst (``pick``) of the others."""
    scores = {c: scores_of(seeds) for c, seeds in group.by_coefficient.items()}
    chosen = list(scores)[place]
    other = pick(set(scores) - {chosen}, key=lambda c: np.mean(list(scores[c].values())))
    values = paired(scores[chosen], scores[other])
    detail = f"{chosen:g} minus {other:g}"
    yield _validation(reading, values, group.by_coefficient[chosen], detail=detail)


def largest_minus_best(group: Group) -> Iterator[Effect]:
    """The largest coefficient minus the best of the others."""
    yield from _against_extreme(group, "largest coefficient minus the best other", -1, max)


def middle_minus_worst(group: Group) -> Iterator[Effect]:
    """The middle coefficient minus the worst of the others."""
    place, reading = len(group.by_coefficient) // 2, "middle coefficient minus the worst other"
    yield from _against_extreme(group, reading, place, min)


def most_equal_minus_others(group: Group) -> Iterator[Effect]:
    """The coefficient with the most nearly equal terms, by value, minus the mean of the others."""
    scores = {c: scores_of(seeds) for c, seeds in group.by_coefficient.items()}
    ratios = {c: next(term_ratios(group.by_coefficient[c], c)).value for c in scores}
    equal = min(ratios, key=lambda c: abs(np.log(ratios[c])))
    others = [scores[c] for c in scores if c != equal]
    common = set.intersection(*map(set, others))
    mean = {seed: float(np.mean([other[seed] for other in others])) for seed in common}
    yield _validation(
        "coefficient with the most equal terms minus the mean of the others",
        paired(scores[equal], mean),
        group.by_coefficient[equal],
        detail=f"{equal:g}, where MSE / its Dice term is {ratios[equal]:.2g}",
    )
    yield from _balanced_minus_best(group, scores)


def _balanced_minus_best(group: Group, scores: Mapping[float, Mapping]) -> Iterator[Effect]:
    """The coefficient that balances the gradients, which the report did not try, where it ran."""
    coefficient = BALANCED[group.recipe][group.family]
    try:
        tried = group.records.runs(group.family, group.recipe, "mse_dice", (coefficient,))
    except BadInput:
        return
    ours = _finished(best_setting(tried))
    best = max(scores, key=lambda c: np.mean(list(scores[c].values())))
    yield _validation(
        "coefficient that balances the gradients minus the best of the report's",
        paired(scores_of(ours), scores[best]),
        ours,
        detail=f"{coefficient:g} minus {best:g}",
        decides=False,
    )


def coefficient_minus_better(group: Group) -> Effect:
    """The largest coefficient, which the report recommends, minus the better of MSE and Dice.

    The coefficient is held fixed, so that each side is the best of three learning rates.
    """
    coefficient = max(COEFFICIENTS["section3"][group.family])
    ours = group.by_coefficient[coefficient]
    alone = {loss: scores_of(group.best(loss)) for loss in ("mse", "dice")}
    better = max(alone, key=lambda loss: np.mean(list(alone[loss].values()) or -1))
    reading = "MSE + largest coefficient x Dice minus the better of MSE and Dice"
    detail = f"{coefficient:g}, against {LOSS_NAMES[better]}"
    return _validation(reading, paired(scores_of(ours), alone[better]), ours, detail=detail)


def mse_minus_dice(group: Group) -> Effect:
    """MSE alone against Dice alone, each the best of three learning rates."""
    mse, dice = group.best("mse"), group.best("dice")
    return _validation("MSE minus Dice", paired(scores_of(mse), scores_of(dice)), mse)


# -- how training went ----------------------------------------------------------------------


def overfitting(group: Group) -> Iterator[Effect]:
    """Other losses' gap between training and validation minus that of MSE + Dice."""
    chosen = {loss: group.best(loss) for loss in ("mse", "dice", "mse_dice")}
    images = images_of(chosen["mse_dice"], "validation_images")

    def gaps(loss: str) -> dict[int, float]:
        training, validation = (
            last_epoch(chosen[loss], f"{part}_iou") for part in ("training", "validation")
        )
        return {seed: training[seed] - validation[seed] for seed in training}

    for loss, name in (("mse", "MSE"), ("dice", "Dice")):
        values = paired(gaps(loss), gaps("mse_dice"))
        reading = f"IoU gap (training - validation), {name} minus MSE + Dice"
        yield from_seeds(reading, IOU, values, images=images)
    if group.recipe == "report":  # where the IoU is so low that its gap says little
        values = paired(_mse_gaps(chosen["mse"]), _mse_gaps(chosen["mse_dice"]))
        reading = "MSE gap in % of the validation MSE, MSE minus MSE + Dice"
        yield from_seeds(reading, "%", values, images=images, decides=False)


def _mse_gaps(seeds: Seeds) -> dict[int, float]:
    training, validation = last_epoch(seeds, "training_mse"), last_epoch(seeds, "validation_mse")
    return {seed: 100 * (1 - training[seed] / validation[seed]) for seed in training}


class Descent(NamedTuple):
    """How a run's loss fell; all three in the loss's own units, so only ratios compare runs."""

    start: float  # mean of the first tenth of the history
    fall: float  # from there to the mean of the last tenth; at least one step
    step: float  # median distance between neighboring rows: large where the loss is noisy


def descent_of(run: Run) -> Descent:
    """The descent of the loss that the run minimized."""
    loss = run.history["loss"]
    tenth = max(1, len(loss) // 10)
    start, end = float(loss[:tenth].mean()), float(loss[-tenth:].mean())
    step = float(np.median(np.abs(np.diff(loss)))) or np.nan  # a loss that never moves has none
    return Descent(start, max(start - end, step), step)


def descent(group: Group) -> Iterator[Effect]:
    """How far, and how steadily, the loss of Dice-only runs falls against MSE-only runs.

    How far decides, as a share of where it began: that is what a reader of the curves sees.
    """
    dice, mse = group.best("dice"), group.best("mse")
    pairs = [
        (descent_of(dice[seed]), descent_of(mse[seed])) for seed in sorted(dice.keys() & mse.keys())
    ]
    runs = group.records.runs(group.family, group.recipe, "dice")
    diverged = sum(run.status == "diverged" for run in runs)
    more = {
        "images": images_of(dice, "images"),
        "note": f"{diverged} Dice-only runs diverged ({group.dataset})" if diverged else "",
    }
    shares = [(d.fall / d.start) / (m.fall / m.start) for d, m in pairs]
    yield from_seeds("fall as a share of the start, Dice / MSE", RATIO, shares, **more)
    steps = [(d.fall / d.step) / (m.fall / m.step) for d, m in pairs]
    yield from_seeds(
        "fall of the loss in its own steps, Dice / MSE", RATIO, steps, decides=False, **more
    )


# -- the network's parts --------------------------------------------------------------------


def _without(group: Group, reading: str, decides: bool = True, **changed) -> Iterator[Effect]:
    """Validation IoU of the grid's run minus that of the same run with the network changed.

    The shapes carry the ablations; other data are reported where there are runs.
    """
    pairs = group.ablated(**changed)
    if pairs or group.family == "shapes":
        values = [whole.score - ablated.score for whole, ablated in pairs]
        seeds = {whole.config.seed: whole for whole, _ in pairs}
        yield _validation(reading, values, seeds, decides=decides)


def without_skips(group: Group) -> Iterator[Effect]:
    """The copies across the U, which the report means, and the shortcuts inside the blocks."""
    yield from _without(group, "whole minus no copies across the U", copy_across=False)
    reading = "whole minus no shortcuts in the blocks"
    yield from _without(group, reading, decides=False, skip_connections=False)


def without_aspp(group: Group) -> Iterator[Effect]:
    """ASPP against none, and the report's rates against smaller ones."""
    yield from _without(group, "with ASPP minus without", aspp_rates=None)
    reading = "rates 2, 4, 6 minus rates 1, 2, 4"
    yield from _without(group, reading, decides=False, aspp_rates=(1, 2, 4))
