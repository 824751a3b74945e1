"""What a sentence of the report is judged by: runs, chosen and paired, and effects made of them.

A claim is one function: it takes a ``Group``, the runs of one recipe on one data set, and yields
effects. Its decorator has the sentence, the section of the report, and the range of effects for
which the sentence is true; its docstring says what would show it true and what false.

Seeds 0 to 2 (``config.SEEDS``) choose: a learning rate, the best other coefficient, the better of
two losses. The further seeds judge what was chosen; where there are none, the row says that the
same seeds did both. Every comparison takes all the seeds that both sides have. Their numbers were
fixed before the further runs were made, from the spread over the first three: 16 and 13 under
``report``, where the coefficients differ little, 8 elsewhere. Runs that diverged are left out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seghw import metrics
from seghw.config import (
    BALANCED,
    COEFFICIENTS,
    LOSS_NAMES,
    PROFILES,
    RECIPES,
    REPORT_LOSSES,
    SEEDS,
    classes_of,
)
from seghw.errors import BadInput
from seghw.metrics import class_mean
from seghw.report.stats import (
    RATIO,
    SEEDS_NEEDED,
    Effect,
    Score,
    Tables,
    claim,
    counts_of,
    image_error,
    image_scores,
)
from seghw.runs import SETTING, best_setting, history

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
#: The setting whose parts are changed was chosen by seed 0 alone, before the others were trained.
ABLATED = {"chosen_on": (0,)}


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
        self.runs = cache(self._runs)  # every sentence asks for the same few

    def _runs(self, loss: str, *coefficients: float) -> pd.DataFrame:
        """The best setting's finished runs, one a seed, of a loss and of any of the coefficients.

        Raises:
            BadInput: there are none.
        """
        runs = self.all[(self.all.loss == loss) & (self.all.part == "")]
        if coefficients:
            runs = runs[runs.coefficient.isin(coefficients)]
        if runs.empty:
            which = f"{loss} {' or '.join(f'{c:g}' for c in coefficients)}".strip()
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
        rates = self.all[self.all.part == part].learning_rate
        usual = usual[usual.coefficient.isin(changed.coefficient) & usual.learning_rate.isin(rates)]
        return choose(usual), changed


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


def first_score(runs: pd.DataFrame) -> float:
    """The mean validation IoU, over the seeds that choose, of a setting that may be chosen."""
    first = runs[runs.seed.isin(SEEDS)]
    return (runs if first.empty else first).score.mean()


def judges(*tables: pd.DataFrame, chosen_on: Sequence[int] = SEEDS) -> list[pd.DataFrame]:
    """The tables cut to the seeds that judge: those that all have beyond the ones that chose.

    Where fewer than ``stats.SEEDS_NEEDED`` are left, all that they share judge.
    """
    shared = sorted(set.intersection(*(set(table.seed) for table in tables)))
    further = [seed for seed in shared if seed not in chosen_on]
    seeds = further if len(further) >= SEEDS_NEEDED else shared
    return [table.loc[seeds] for table in tables]


def effect(
    reading: str, unit: str, values: Any, tables: Sequence[pd.DataFrame], **more: Any
) -> Effect:
    """The effect of one value per row of the tables, which share their seeds.

    Raises:
        BadInput: the tables are empty.
    """
    if tables[0].empty:
        raise BadInput(f"{reading}: no seed was trained on both sides")
    runs = tuple(dict.fromkeys(run for table in tables for run in table.run_id))
    seeds = tuple(sorted(set(map(int, tables[0].seed))))
    more = {"images": int(tables[0].images.min()), "chosen_on": SEEDS, **more}
    return Effect(reading, unit, np.asarray(values, float), runs=runs, seeds=seeds, **more)


# -- scores of images -----------------------------------------------------------------------------


def of_validation(
    reading: str,
    combine: Score,
    *tables: pd.DataFrame,
    unit: str = "IoU",
    chosen_on: Sequence[int] = SEEDS,
    **more: Any,
) -> Effect:
    """The effect of what ``combine`` makes of the validation IoU of each table's runs.

    The error due to the choice of the validation images, of which no counts are kept, is that of
    the same runs' test images times the root of the ratio of their numbers; it is NaN where no
    seed has counts in all of the tables.

    Args:
        reading, unit: of the effect.
        combine: takes one score, or an array of scores, for each table.
        tables: runs indexed by seed, with their scores.
        chosen_on: the seeds by which their settings were chosen.
        more: further fields of ``Effect``.
    """
    images, tested, error = PROFILES[tables[0].profile.iloc[0]].validation_count, [], math.nan
    judging = judges(*tables, chosen_on=chosen_on)
    values = combine(*(table.score.to_numpy() for table in judging))
    tested = with_counts(tables)
    if len(tested[0]):
        scores = image_scores(lambda *c: combine(*map(mean_iou, c)), folders(tested))
        error = image_error(unit, scores) * math.sqrt(test_images(tested) / images)
    more |= {"image_error": error, "images": images, "chosen_on": chosen_on}
    return effect(reading, unit, values, judging, **more)


def of_images(
    reading: str,
    unit: str,
    score: Score,
    *tables: pd.DataFrame,
    chosen_on: Sequence[int] = SEEDS,
    **more: Any,
) -> Effect:
    """The effect of a score of test images.

    Args:
        reading, unit: of the effect.
        score: takes the counts of one run of each table, summed over images: (draws, C, k) by
            name. Gives one number a draw.
        tables, chosen_on, more: as for ``of_validation``.

    Raises:
        BadInput: no seed has counts in all of the tables.
    """
    tested = with_counts(tables)
    if tested[0].empty:
        raise BadInput(f"{tables[-1].run_id.iloc[0]} and the like have no counts of test images")
    judging = judges(*tested, chosen_on=chosen_on)
    scores = image_scores(score, folders(judging))
    more |= {"image_error": image_error(unit, scores), "images": test_images(judging)}
    return effect(reading, unit, scores[:, 0], judging, chosen_on=chosen_on, **more)


def with_counts(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The tables cut to the seeds of which every table has counts of the test images."""
    counted = [t[[(folder / "counts.npz").is_file() for folder in t.folder]] for t in tables]
    return judges(*counted, chosen_on=())


def test_images(tables: Sequence[pd.DataFrame]) -> int:
    """How many test images the runs have counts of."""
    return len(counts_of(tables[0].folder.iloc[0])["pixels"])


def folders(tables: Sequence[pd.DataFrame]) -> Iterator[tuple[Path, ...]]:
    """Seed by seed the folders of the runs that are compared."""
    return zip(*(table.folder for table in tables), strict=True)


def mean_iou(tables: Tables) -> np.ndarray:
    return class_mean(metrics.iou(tables["pixels"]))


def iou_difference(a: Tables, b: Tables) -> np.ndarray:
    return mean_iou(a) - mean_iou(b)


def minus(a: Any, b: Any) -> Any:
    return a - b


# -- the loss terms -------------------------------------------------------------------------------


@claim(1, "the Dice loss lies between 0 and 1", "3", (0.0, 1.0), "3, 4")
def dice_bounded(group: Group) -> Iterator[Effect]:
    """True if every value lies in [0, 1], false if one lies outside."""
    import torch  # the others need no tensors

    from seghw.losses import DICE_LOSSES

    batch, classes = RECIPES[group.recipe].batch_size, len(classes_of(group.dataset))
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
    yield effect(f"{name} by gradient", RATIO, values, [runs], detail=detail, deciding=False)


@claim(2, "without a coefficient the MSE drowns the Dice term out", "3", ABOVE_1, "5, 6")
def dice_drowned(group: Group) -> Iterator[Effect]:
    """True if MSE / Dice is above 1 over training, false if below."""
    yield from both_ratios("MSE / Dice", group.best("mse_dice"))


@claim(3, "60 (COCO: 100) brings both terms to the same scale", "3", (0.5, 2.0), "13, 14")
def same_scale(group: Group) -> Iterator[Effect]:
    """True if MSE / (coefficient x Dice) lies within [0.5, 2], false if outside.

    The report argues by value, so its sentence is judged by value; what training follows are the
    gradients, which stand beside.
    """
    largest, runs = list(group.coefficients().items())[-1]
    name = "MSE / (coefficient x Dice)"
    yield from both_ratios(name, runs, largest, f"coefficient {largest:g}")


# -- the coefficients -----------------------------------------------------------------------------


def against(group: Group, reading: str, place: int, pick: Callable) -> Iterator[Effect]:
    """One coefficient minus the best or the worst of the others, as ``pick`` has it."""
    tried = group.coefficients()
    this = list(tried)[place]
    other = pick((c for c in tried if c != this), key=lambda c: first_score(tried[c]))
    detail = f"{this:g} minus {other:g}"
    reading = f"validation IoU, {reading}"
    yield of_validation(reading, minus, tried[this], tried[other], detail=detail)


@claim(4, "the largest coefficient trains best", "3", ABOVE_0, "13, 14")
def largest_best(group: Group) -> Iterator[Effect]:
    """True if its IoU is above the best of the others, false if below."""
    yield from against(group, "largest coefficient minus the best other", -1, max)


@claim(5, "the middle coefficient trains worst", "3", BELOW_0, "15, 16")
def middle_worst(group: Group) -> Iterator[Effect]:
    """True if its IoU is below the worst of the others, false if above."""
    yield from against(group, "middle coefficient minus the worst other", 1, min)


@claim(6, "losses of equal magnitude train best", "3", ABOVE_0, "13 to 16")
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
    best = max(tried, key=lambda c: first_score(tried[c]))
    yield of_validation(
        "validation IoU, coefficient that balances the gradients minus the best of the report's",
        minus,
        group.runs("mse_dice", balanced),
        tried[best],
        detail=f"{balanced:g} minus {best:g}",
        deciding=False,
    )


# -- the losses -----------------------------------------------------------------------------------


def both_ious(reading: str, *tables: pd.DataFrame, detail: str = "") -> Iterator[Effect]:
    """The first table's IoU minus the second's: of validation images, and beside it of the test.

    The latter has the seeds that have counts of their test images.
    """
    yield of_validation(f"validation IoU, {reading}", minus, *tables, detail=detail)
    if not with_counts(tables)[0].empty:
        more = {"detail": detail, "deciding": False}
        yield of_images(f"test IoU, {reading}", "IoU", iou_difference, *tables, **more)


@claim(7, "MSE + Dice gives the best segmentation", "4.4", ABOVE_0, "17 to 34")
def combination_best(group: Group) -> Iterator[Effect]:
    """True if its IoU is above the better of MSE and Dice, false if below."""
    # The largest coefficient, which the report recommends: each side then has as many tries.
    largest, ours = list(group.coefficients().items())[-1]
    better = max(("mse", "dice"), key=lambda loss: first_score(group.best(loss)))
    reading = "MSE + largest coefficient x Dice minus the better of MSE and Dice"
    detail = f"{largest:g}, against {REPORT_LOSSES[better]}"
    yield from both_ious(reading, ours, group.best(better), detail=detail)
    for loss in ("bce", "bce_dice"):  # beside the report's: what is usual
        if (group.all.loss == loss).any():
            reading = f"test IoU, MSE + Dice minus {LOSS_NAMES[loss]}"
            pair = group.best("mse_dice"), group.runs(loss)
            yield of_images(reading, "IoU", iou_difference, *pair, deciding=False)


@claim(8, "MSE alone comes second, Dice alone last", "4.4", ABOVE_0, "17 to 28")
def mse_before_dice(group: Group) -> Iterator[Effect]:
    """True if the IoU of MSE is above that of Dice, false if below."""
    yield from both_ious("MSE minus Dice", group.best("mse"), group.best("dice"))


@claim(9, "the combination overfits less", "4.4", ABOVE_0, "1 to 6")
def overfits_less(group: Group) -> Iterator[Effect]:
    """True if the other losses leave a wider gap from training to validation, false if narrower."""
    best = {loss: group.best(loss) for loss in REPORT_LOSSES}
    gap = {
        k: runs.assign(score=runs.training_iou - runs.validation_iou) for k, runs in best.items()
    }
    for loss in ("mse", "dice"):
        reading = f"IoU gap (training - validation), {REPORT_LOSSES[loss]} minus MSE + Dice"
        yield of_validation(reading, minus, gap[loss], gap["mse_dice"])


@claim(10, "Dice is difficult and unstable to minimize", "4.4", BELOW_1, "1 to 4")
def dice_unstable(group: Group) -> Iterator[Effect]:
    """True if Dice falls by fewer of its own steps than MSE, false if by more.

    A step is how far the curve goes up or down from one row of the history to the next. What share
    of its start a loss loses stands beside: it is bounded by the least value that the network can
    reach, which for Dice is high.
    """
    tables = judges(group.best("dice"), group.best("mse"))
    dice, mse = (np.transpose(descents(runs)) for runs in tables)
    (start, fall, step) = dice / mse
    diverged = (group.all.status != "finished") & (group.all.loss == "dice")
    note = f"{diverged.sum()} runs of Dice alone diverged ({group.dataset})" * bool(diverged.any())
    reading = "fall of the loss in its own steps, Dice / MSE"
    yield effect(reading, RATIO, fall / step, tables, note=note)
    reading = "fall as a share of the start, Dice / MSE"
    yield effect(reading, RATIO, fall / start, tables, deciding=False)


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


def ablated(
    group: Group, part: str, reading: str, combine: Score = minus, **more: Any
) -> Iterator[Effect]:
    """The network as it is beside the one changed. The shapes carry the ablations, others may."""
    if group.family == "shapes" or (group.all.part == part).any():
        reading, pair = f"validation IoU, {reading}", group.pair(part)
        yield of_validation(reading, combine, *pair, **ABLATED, **more)


@claim(11, "skip connections are crucial", "1", (0.0, 0.5))
def skips_crucial(group: Group) -> Iterator[Effect]:
    """True if the network without them has less than half of the IoU, false if more.

    That it loses a little makes them helpful, not crucial.
    """
    across, blocks = list(PARTS.items())[:2]
    for (name, part), deciding in ((across, True), (blocks, False)):
        more = {"unit": RATIO, "deciding": deciding}
        yield from ablated(group, part, f"{name} / as it is", lambda a, b: b / a, **more)


@claim(12, "ASPP makes the network better at identifying objects", "1", ABOVE_0)
def aspp_helps(group: Group) -> Iterator[Effect]:
    """True if the IoU is higher with it, false if lower."""
    yield from ablated(group, PARTS["no ASPP"], "with ASPP minus without")
    reading = "rates 2, 4, 6 minus rates 1, 2, 4"
    yield from ablated(group, PARTS["ASPP at rates 1, 2, 4"], reading, deciding=False)
    if (group.all.part == "network=unet").any():  # beside the report's: what is usual
        pair = group.pair("network=unet")
        reading = "test IoU, mUNet with ASPP minus a plain U-Net"
        yield of_images(reading, "IoU", iou_difference, *pair, deciding=False)
