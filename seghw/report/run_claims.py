"""The report's sentences that the records of training decide, and how any sentence is registered.

A claim is one function: it takes a ``Group``, the runs of one recipe on one data set, and yields
effects. Its decorator has the sentence, the section of the report, and the range of effects for
which the sentence is true; its docstring says what would show it true and what false.

Runs that diverged are left out; a setting that diverges is not the best one. What is chosen (a
learning rate, the best other coefficient, the better of two losses) is chosen by the validation
IoU of ``config.SEEDS`` alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seghw import metrics
from seghw.config import BALANCED, COEFFICIENTS, PROFILES, RECIPES, REPORT_LOSSES, SEEDS
from seghw.errors import BadInput
from seghw.report.stats import RATIO, Effect, scaled
from seghw.runs import SETTING, best_setting, history, load_counts

ABOVE_0, BELOW_0 = (0.0, math.inf), (-math.inf, 0.0)
ABOVE_1, BELOW_1 = (1.0, math.inf), (0.0, 1.0)
#: What an ablation takes away or changes, by its name and by ``part`` of the runs' table.
PARTS = {
    "no skip connections across the U": "copy_across=False",
    "no shortcuts in the blocks": "skip_connections=False",
    "no ASPP": "aspp_rates=None",
    "ASPP at rates 1, 2, 4": "aspp_rates=(1, 2, 4)",
    "resize-convolution": "head=resize",
    "sub-pixel convolution": "head=subpixel",
}


class Claim(NamedTuple):
    """A sentence of the report and how it is put to the test."""

    number: int
    key: str
    text: str  # the sentence, paraphrased
    section: str  # of the report
    figures: str  # numbers of the report's that show it too, or "" where none does
    holds: tuple[float, float]  # true of effects between these; finite ends divide true from false
    measure: Callable[["Group"], Iterator[Effect]]

    @property
    def question(self) -> str:
        """What would show it true, and what false."""
        return " ".join((self.measure.__doc__ or "").split())


CLAIMS: dict[str, Claim] = {}


def claim(text: str, section: str, holds: tuple[float, float], figures: str = "") -> Callable:
    """Register a measurement as the next of ``CLAIMS``, under its name."""

    def register(measure: Callable) -> Callable:
        key = measure.__name__
        CLAIMS[key] = Claim(len(CLAIMS) + 1, key, text, section, figures, holds, measure)
        return measure

    return register


class Group:
    """The runs of one recipe on one family's data.

    Args:
        records: ``results.Records``.
        family: ``"shapes"`` or ``"coco"``.
        recipe: key of ``RECIPES``.
    """

    def __init__(self, records: Any, family: str, recipe: str) -> None:
        self.records, self.family, self.recipe = records, family, recipe
        self.dataset, runs = records.dataset(family), records.runs
        self.all = runs[(runs.dataset == self.dataset) & (runs.recipe == recipe)]

    def runs(self, loss: str, *coefficients: float, part: str = "") -> pd.DataFrame:
        """The best setting's finished runs, one a seed, of a loss and of any of the coefficients.

        Raises:
            BadInput: there are none.
        """
        runs = self.all[(self.all.loss == loss) & (self.all.part == part)]
        if coefficients:
            runs = runs[runs.coefficient.isin(coefficients)]
        if runs.empty:
            which = " or ".join(f"{c:g}" for c in coefficients)
            which = f"{loss}{which and f' with coefficient {which}'}{part and f', {part}'}"
            raise BadInput(f"{self.dataset}, recipe {self.recipe}: no runs of {which}")
        return choose(runs)

    def best(self, loss: str) -> pd.DataFrame:
        """The best setting of a loss, with one of the report's coefficients if it has any."""
        return self.runs(loss, *(COEFFICIENTS[self.family] if loss.endswith("_dice") else ()))

    def coefficients(self) -> dict[float, pd.DataFrame]:
        """Of each of the report's coefficients the runs at its best learning rate."""
        return {c: self.runs("mse_dice", c) for c in COEFFICIENTS[self.family]}

    def pair(self, part: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Runs as the grid has them and the same with one part changed.

        Raises:
            BadInput: there are none.
        """
        changed = self.all[self.all.part == part]
        if changed.empty:
            raise BadInput(f"{self.dataset}, recipe {self.recipe}: no runs with {part}")
        changed = choose(changed)
        usual = self.all[(self.all.part == "") & (self.all.loss == changed.loss.iloc[0])]
        same = ["coefficient", "learning_rate"]
        return choose(usual[(usual[same] == changed.iloc[0][same]).all(axis=1)]), changed


def choose(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the best setting, indexed by seed; ``SEEDS`` choose it.

    Only settings that have all these seeds are compared, where any has.
    """
    first = runs[runs.seed.isin(SEEDS)]
    complete = first.groupby(SETTING).seed.transform("count") == len(SEEDS)
    first = first[complete] if complete.any() else runs
    setting = best_setting(first).iloc[0][SETTING]
    same = runs[(runs[SETTING] == setting).all(axis=1) & (runs.status == "finished")]
    return same.set_index("seed", drop=False).sort_index()


def score(runs: pd.DataFrame) -> float:
    """The mean validation IoU by which one setting is chosen before another."""
    return runs.score.mean()


def judges(*tables: pd.DataFrame) -> list[pd.DataFrame]:
    """The tables cut to the seeds that all of them have."""
    shared = sorted(set.intersection(*(set(table.seed) for table in tables)))
    return [table.loc[shared] for table in tables]


def effect(
    reading: str, unit: str, values: Any, tables: Sequence[pd.DataFrame], **more: Any
) -> Effect:
    """The effect of one value per row of the tables, which share their seeds."""
    runs = tuple(dict.fromkeys(run for table in tables for run in table.run_id))
    seeds = tuple(sorted(set(map(int, tables[0].seed))))
    more = {"images": int(tables[0].images.min()) if seeds else 0, **more}
    return Effect(reading, unit, np.asarray(values, float), runs=runs, seeds=seeds, **more)


def of_validation(
    reading: str, combine: Callable, *tables: pd.DataFrame, column: str = "score", **more: Any
) -> Effect:
    """The effect of what ``combine`` makes of a score of each table's runs on validation images."""
    judging = judges(*tables)
    images = PROFILES[tables[0].profile.iloc[0]].validation_count
    more = {"unit": "IoU", "images": images, **more}
    error = validation_error(combine, tables, more["unit"], images)
    values = combine(*(table[column].to_numpy() for table in judging))
    return effect(reading, values=values, tables=judging, image_error=error, **more)


def validation_error(
    combine: Callable, tables: Sequence[pd.DataFrame], unit: str, images: int
) -> float:
    """Standard error of a mean over seeds due to the choice of the validation images.

    Of these no counts are kept, so it is that of the same runs' test images, times the root of
    the ratio of their numbers. NaN where no seed has counts in all of the tables.
    """
    draws, tested = [], 0
    for row in zip(*(table.folder for table in judges(*tables)), strict=True):
        if all((folder / "counts.npz").is_file() for folder in row):
            scores = [iou_draws(folder) for folder in row]
            draws.append(scaled(unit, combine(*(values for _, values in scores))))
            tested = scores[0][0]
    return float(np.std(np.mean(draws, 0)) * math.sqrt(tested / images)) if draws else math.nan


@cache
def iou_draws(folder: Path) -> tuple[int, np.ndarray]:
    """How many test images a run has counts of, and the mean IoU of bootstrap draws of them."""
    counts = load_counts(SimpleNamespace(folder=folder, run_id=folder.name))["pixels"]
    return len(counts), np.nanmean(metrics.iou(metrics.resample(counts)), -1)


def minus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a - b


# -- the loss terms -------------------------------------------------------------------------------


@claim("the Dice loss lies between 0 and 1", "3", (0.0, 1.0), "3, 4")
def dice_bounded(group: Group) -> Iterator[Effect]:
    """True if every value lies in [0, 1], false if one lies outside."""
    import torch  # the others need no tensors

    from seghw.losses import DICE_LOSSES

    batch, classes = RECIPES[group.recipe].batch_size, len(group.all.config.iloc[0].classes)
    target = torch.zeros(batch, classes, 8, 8)
    target[..., :4] = 1
    ends = [DICE_LOSSES[group.recipe](pred, target).item() for pred in (target, 1 - target)]
    reading, detail = "range from perfect to disjoint masks", f"a batch of {batch} x {classes}"
    yield Effect(reading, "loss", np.array(ends), exact=True, detail=detail)
    best = pd.concat([group.best(loss) for loss in REPORT_LOSSES])
    seen = pd.concat([history(run).dice for run in best.itertuples()])
    reading, ends = "range seen in training, best settings", (seen.min(), seen.max())
    best = best.assign(images=0)
    yield effect(reading, "loss", ends, [best], exact=True)


def dice_floor(share: float, *, dotted: bool) -> float:
    """The least value of the report's Dice loss for one class of one image.

    The best prediction is the truth projected onto what the network can output: all of it, or,
    under the dotted head, every fourth pixel freely and one common value (the layer's bias) on the
    others. Of the truth's square norm the projection has a quarter and 3/4 of ``share``.

    Args:
        share: of the image that the class covers, 0..1; not 0.
        dotted: the head predicts every fourth pixel only.
    """
    projected = (1 + 3 * share) / 4 if dotted else 1.0
    return 1 - projected**0.5 / 2


def ratios(runs: pd.DataFrame, weight: float = 1.0, suffix: str = "") -> np.ndarray:
    """MSE over weight x Dice, or of their gradients at the output: median over training, a run."""
    medians = []
    with np.errstate(divide="ignore"):  # without a gradient of Dice the ratio is infinite
        for run in runs.itertuples():
            terms = history(run)
            medians.append(np.median(terms["mse" + suffix] / terms["dice" + suffix]) / weight)
    return np.array(medians)


def both_ratios(name: str, runs: pd.DataFrame, weight: float = 1.0, detail: str = "") -> Iterator:
    """By value, as the report argues, and beside it by gradient at the network's output."""
    (runs,) = judges(runs)
    yield effect(f"{name} by value", RATIO, ratios(runs, weight), [runs], detail=detail)
    values = ratios(runs, weight, "_gradient")
    yield effect(f"{name} by gradient", RATIO, values, [runs], detail=detail, decides=False)


@claim("without a coefficient the MSE drowns the Dice term out", "3", ABOVE_1, "5, 6")
def dice_drowned(group: Group) -> Iterator[Effect]:
    """True if MSE / Dice is above 1 over training, false if below."""
    yield from both_ratios("MSE / Dice", group.best("mse_dice"))


@claim("60 (COCO: 100) brings both terms to the same scale", "3", (0.5, 2.0), "13, 14")
def same_scale(group: Group) -> Iterator[Effect]:
    """True if MSE / (coefficient x Dice) lies within [0.5, 2], false if outside."""
    largest, runs = list(group.coefficients().items())[-1]
    name = "MSE / (coefficient x Dice)"
    yield from both_ratios(name, runs, largest, f"coefficient {largest:g}")


# -- the coefficients -----------------------------------------------------------------------------


def against(group: Group, reading: str, place: int, pick: Callable) -> Iterator[Effect]:
    """One coefficient minus the best or the worst of the others, as ``pick`` has it."""
    tried = group.coefficients()
    this = list(tried)[place]
    other = pick((c for c in tried if c != this), key=lambda c: score(tried[c]))
    detail = f"{this:g} minus {other:g}"
    reading = f"validation IoU, {reading}"
    yield of_validation(reading, minus, tried[this], tried[other], detail=detail)


@claim("the largest coefficient trains best", "3", ABOVE_0, "13, 14")
def largest_best(group: Group) -> Iterator[Effect]:
    """True if its IoU is above the best of the others, false if below."""
    yield from against(group, "largest coefficient minus the best other", -1, max)


@claim("the middle coefficient trains worst", "3", BELOW_0, "15, 16")
def middle_worst(group: Group) -> Iterator[Effect]:
    """True if its IoU is below the worst of the others, false if above."""
    yield from against(group, "middle coefficient minus the worst other", 1, min)


@claim("losses of equal magnitude train best", "3", ABOVE_0, "13 to 16")
def equal_best(group: Group) -> Iterator[Effect]:
    """True if the coefficient with the most equal terms has the higher IoU, false if the lower."""
    tried = group.coefficients()
    balance = {c: np.exp(np.log(ratios(runs, c)).mean()) for c, runs in tried.items()}
    equal = min(balance, key=lambda c: abs(np.log(balance[c])))
    yield of_validation(
        "validation IoU, coefficient with the most equal terms minus the mean of the others",
        lambda this, *others: this - np.mean(others, axis=0),
        tried[equal],
        *(runs for c, runs in tried.items() if c != equal),
        detail=f"{equal:g}, where MSE / its Dice term is {balance[equal]:.2g}",
    )
    balanced = BALANCED[group.recipe][group.family]
    best = max(tried, key=lambda c: score(tried[c]))
    yield of_validation(
        "validation IoU, coefficient that balances the gradients minus the best of the report's",
        minus,
        group.runs("mse_dice", balanced),
        tried[best],
        detail=f"{balanced:g} minus {best:g}",
        decides=False,
    )


# -- the losses -----------------------------------------------------------------------------------


def better_alone(group: Group) -> str:
    """The better of MSE and Dice."""
    return max(("mse", "dice"), key=lambda loss: score(group.best(loss)))


@claim("MSE + Dice gives the best segmentation", "4.4", ABOVE_0, "17 to 34")
def combination_best(group: Group) -> Iterator[Effect]:
    """True if its IoU is above the better of MSE and Dice, false if below."""
    largest, ours = list(group.coefficients().items())[-1]
    better = better_alone(group)
    yield of_validation(
        "validation IoU, MSE + largest coefficient x Dice minus the better of MSE and Dice",
        minus,
        ours,
        group.best(better),
        detail=f"{largest:g}, against {REPORT_LOSSES[better]}",
    )


@claim("MSE alone comes second, Dice alone last", "4.4", ABOVE_0, "17 to 28")
def mse_before_dice(group: Group) -> Iterator[Effect]:
    """True if the IoU of MSE is above that of Dice, false if below."""
    alone = group.best("mse"), group.best("dice")
    yield of_validation("validation IoU, MSE minus Dice", minus, *alone)


@claim("the combination overfits less", "4.4", ABOVE_0, "1 to 6")
def overfits_less(group: Group) -> Iterator[Effect]:
    """True if the other losses leave a wider gap from training to validation, false if narrower."""
    best = {loss: group.best(loss) for loss in REPORT_LOSSES}
    for table in best.values():
        table["gap"] = table.training_iou - table.validation_iou
        table["mse_gap"] = 100 * (1 - table.training_mse / table.validation_mse)
    for loss in ("mse", "dice"):
        name = f"IoU gap (training - validation), {REPORT_LOSSES[loss]} minus MSE + Dice"
        yield of_validation(name, minus, best[loss], best["mse_dice"], column="gap")
    if group.recipe == "report":  # where the IoU is so low that its gap says little
        tables = judges(best["mse"], best["mse_dice"])
        reading = "MSE gap in % of the validation MSE, MSE minus MSE + Dice"
        values = tables[0].mse_gap - tables[1].mse_gap
        images = PROFILES[tables[0].profile.iloc[0]].validation_count
        more = {"image_error": math.nan, "images": images, "decides": False}
        yield effect(reading, "%", values, tables, **more)


@claim("Dice is difficult and unstable to minimize", "4.4", BELOW_1, "1 to 4")
def dice_unstable(group: Group) -> Iterator[Effect]:
    """True if Dice falls by a smaller share of its start than MSE, false if by a larger."""
    tables = judges(group.best("dice"), group.best("mse"))
    starts, falls, steps = (
        np.divide(*parts) for parts in np.moveaxis([descents(table) for table in tables], -1, 0)
    )
    yield effect("fall as a share of the start, Dice / MSE", RATIO, falls / starts, tables)
    reading = "fall of the loss in its own steps, Dice / MSE"
    yield effect(reading, RATIO, falls / steps, tables, decides=False)


def descents(runs: pd.DataFrame) -> np.ndarray:
    """How each run's loss fell, float (runs, 3), all in the loss's own units.

    Where it began (the mean of the first tenth of the history), how far it fell from there to the
    mean of the last tenth (at least one step), and its step: the median distance between
    neighboring rows of the history, large where the loss is noisy.
    """
    rows = []
    for run in runs.itertuples():
        loss = history(run).loss.to_numpy()
        tenth = max(1, len(loss) // 10)
        start, end = loss[:tenth].mean(), loss[-tenth:].mean()
        step = np.median(np.abs(np.diff(loss))) or math.nan  # a loss that never moves has none
        rows.append((start, max(start - end, step), step))
    return np.array(rows)


# -- the network's parts --------------------------------------------------------------------------


def ablated(group: Group, reading: str, part: str, decides: bool = True) -> Iterator[Effect]:
    """As it is minus with one part changed. The shapes carry the ablations, other data may."""
    if group.family == "shapes" or (group.all.part == part).any():
        yield of_validation(f"validation IoU, {reading}", minus, *group.pair(part), decides=decides)


@claim("skip connections are crucial", "1", ABOVE_0)
def skips_crucial(group: Group) -> Iterator[Effect]:
    """True if the IoU is higher with them, false if lower."""
    yield from ablated(group, "whole minus no copies across the U", "copy_across=False")
    reading = "whole minus no shortcuts in the blocks"
    yield from ablated(group, reading, "skip_connections=False", False)


@claim("ASPP makes the network better at identifying objects", "1", ABOVE_0)
def aspp_helps(group: Group) -> Iterator[Effect]:
    """True if the IoU is higher with it, false if lower."""
    yield from ablated(group, "with ASPP minus without", "aspp_rates=None")
    reading = "rates 2, 4, 6 minus rates 1, 2, 4"
    yield from ablated(group, reading, "aspp_rates=(1, 2, 4)", False)
