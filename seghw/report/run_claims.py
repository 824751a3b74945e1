"""What a sentence of the report is judged by: runs, chosen and paired, and effects made of them.

A claim is one function: it takes a ``Group``, the runs of one recipe on one data set, and yields
rows of the table of measurements. Here stand the claims that the records of training decide.

Seeds 0 to 2 (``config.SEEDS``) choose: a learning rate, the best other coefficient, the better of
two losses. The further seeds judge what was chosen; where there are none, the row says that the
same seeds did both. Every comparison takes all the seeds that both sides have. Their numbers were
fixed before the further runs were made, from the spread over the first three: 16 and 13 under
``report``, where the coefficients differ little, 8 elsewhere. Runs that diverged are left out.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import pos, sub
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seghw import config, metrics
from seghw.config import COEFFICIENTS, SEEDS
from seghw.errors import BadInput
from seghw.report import stats
from seghw.report.stats import RATIO, Score
from seghw.runs import SETTING, best_setting, history

Row = dict[str, Any]  # of the table of measurements
Rows = Iterator[Row]

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


class Claim(NamedTuple):
    """A sentence of the report and how it is put to the test."""

    number: int
    text: str  # the sentence, paraphrased
    section: str  # of the report
    true_range: tuple[float, float]  # true of effects in it; a finite end divides true from false
    figures: str  # numbers of the report's that show it too, or "" where none does
    measure: Callable[["Group"], Rows]  # its docstring says what would show it true, what false


#: The report's sentences by key, in the order in which it asserts them.
CLAIMS: dict[str, Claim] = {}


def claim(number: int, text: str, section: str, true_range: tuple[float, float], figures: str = ""):
    """Register a measurement of a sentence under the function's name."""

    def register(measure: Callable) -> Callable:
        CLAIMS[measure.__name__] = Claim(number, text, section, true_range, figures, measure)
        return measure

    return register


class Group:
    """The runs of one recipe on one family's data, from ``results.Records``."""

    def __init__(self, records: Any, family: str, recipe: str) -> None:
        self.records, self.family, self.recipe = records, family, recipe
        self.dataset, runs = records.dataset(family), records.runs
        self.all = runs[(runs.dataset == self.dataset) & (runs.recipe == recipe)]
        self.runs = cache(self._runs)  # every sentence asks for the same few

    def _runs(self, loss: str, *coefficients: float) -> pd.DataFrame:
        """The best setting's runs of a loss and of any of the coefficients; see ``choose``."""
        runs = self.all[(self.all.loss == loss) & (self.all.part == "")]
        runs = runs[runs.coefficient.isin(coefficients)] if coefficients else runs
        return self.choose(runs, f"of {loss} {' or '.join(f'{c:g}' for c in coefficients)}".strip())

    def best(self, loss: str) -> pd.DataFrame:
        """The best setting of a loss, with one of the report's coefficients if it has any."""
        return self.runs(loss, *(COEFFICIENTS[self.family] if loss.endswith("_dice") else ()))

    def coefficients(self) -> dict[float, pd.DataFrame]:
        """Of each of the report's coefficients the runs at its best learning rate."""
        return {c: self.runs("mse_dice", c) for c in COEFFICIENTS[self.family]}

    def pair(self, part: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Runs as the grid has them, and the same with one part changed."""
        these, usual = (self.all[self.all.part == p] for p in (part, ""))
        changed = self.choose(these, f"with {part}")
        for column in ("loss", "coefficient"):
            usual = usual[usual[column] == changed[column].iloc[0]]
        usual = usual[usual.learning_rate.isin(these.learning_rate)]
        return self.choose(usual, f"to compare with those with {part}"), changed

    def choose(self, runs: pd.DataFrame, which: str) -> pd.DataFrame:
        """The finished runs of the best setting, indexed by seed; ``SEEDS`` choose it.

        Only settings that have all these seeds are compared, where any has.
        """
        if runs.empty:
            raise BadInput(f"{self.dataset}, recipe {self.recipe}: no runs {which}")
        first = runs[runs.seed.isin(SEEDS)]
        complete = first.groupby(SETTING).seed.transform("count") == len(SEEDS)
        setting = best_setting(first[complete] if complete.any() else runs).iloc[0][SETTING]
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
    seeds = further if len(further) >= stats.SEEDS_NEEDED else shared
    return [table.loc[seeds] for table in tables]


def with_counts(*tables: pd.DataFrame) -> list[pd.DataFrame]:
    """The tables cut to the seeds of which every table has counts of the test images."""
    counted = [t[[(folder / "counts.npz").is_file() for folder in t.folder]] for t in tables]
    return judges(*counted, chosen_on=())


def ranges(seeds: Iterable[int]) -> str:
    """``"0-2, 5"`` for 0, 1, 2 and 5."""
    ordered = sorted(set(map(int, seeds)))
    starts = [seed for seed in ordered if seed - 1 not in ordered]
    ends = [seed for seed in ordered if seed + 1 not in ordered]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in pairs)


# -- effects: rows of the table -------------------------------------------------------------------


def effect(
    reading: str, unit: str, values: Any, tables: Sequence[pd.DataFrame] = (), **more: Any
) -> Row:
    """A row of the table, of one value per seed, or of the ends of an exact range.

    Args:
        reading: what was measured, in the same words for every data set and recipe.
        unit, values: of the effect.
        tables: the runs that it rests on; they share their seeds.
        more: other columns of the table, and ``chosen_on``, seeds that chose the runs' setting.
            ``image_error`` is 0 where no images are scored, NaN where it is not known.
    """
    seeds = {int(seed) for table in tables[:1] for seed in table.seed}
    if tables and not seeds:
        raise BadInput(f"{reading}: no seed was trained on both sides")
    row = {"image_error": 0.0, "images": int(tables[0].images.min()) if tables else 0}
    row |= {"exact": False, "deciding": True, "detail": "", "note": "", **more}
    row["chosen_on_same"] = not row["exact"] and bool(seeds & {*row.pop("chosen_on", SEEDS)})
    row |= {"reading": reading, "unit": unit, "judged_on": ranges(seeds)}
    row["run_ids"] = " ".join(dict.fromkeys(run for table in tables for run in table.run_id))
    row |= stats.summary(unit, values, row["image_error"], exact=row["exact"])
    return row | {"seeds": len(seeds)} if row["exact"] else row


def of_validation(
    reading: str, combine: Score, *tables: pd.DataFrame, unit: str = "IoU", **more: Any
) -> Row:
    """The effect of what ``combine`` makes of the validation IoU of each table's runs.

    Of validation images no counts are kept. Their error is that of the same runs' test images times
    the root of the ratio of their numbers, NaN where no seed has counts in all of the tables.
    ``samples``: of how many sets of images it is made, such as two of a gap between them.
    """
    judging = judges(*tables, chosen_on=more.get("chosen_on", SEEDS))
    values = combine(*(table.score.to_numpy() for table in judging))
    images, samples = int(tables[0].validation_images.min()), more.pop("samples", 1)
    tested, error = with_counts(*tables), math.nan
    if len(tested[0]):
        scores, count = stats.image_scores(mean_iou, combine, tested)
        error = stats.image_error(unit, scores) * math.sqrt(samples * count / images)
    return effect(reading, unit, values, judging, image_error=error, images=images, **more)


def of_images(reading: str, unit: str, score: Score, *tables: pd.DataFrame, **more: Any) -> Row:
    """The effect of a score of test images.

    ``score`` takes a run's counts, summed over images, (draws, C, k) by name, and gives one number
    a draw; of two tables it is the difference, unless ``combine`` is given.
    """
    tested = with_counts(*tables)
    if tested[0].empty:
        raise BadInput(f"{tables[-1].run_id.iloc[0]} and the like have no counts of test images")
    judging = judges(*tested, chosen_on=more.get("chosen_on", SEEDS))
    combine = more.pop("combine", sub if len(tables) == 2 else pos)
    scores, images = stats.image_scores(score, combine, judging)
    more |= {"image_error": stats.image_error(unit, scores), "images": images}
    return effect(reading, unit, scores[:, 0], judging, **more)


def mean_iou(tables: stats.Tables) -> np.ndarray:
    return metrics.class_mean(metrics.iou(tables["pixels"]))


# -- the loss terms -------------------------------------------------------------------------------


@claim(1, "the Dice loss lies between 0 and 1", "3", (0.0, 1.0), "3, 4")
def dice_bounded(group: Group) -> Rows:
    """True if every value lies in [0, 1], false if one lies outside."""
    import torch  # the others need no tensors

    from seghw.losses import DICE_LOSSES

    batch, classes = config.RECIPES[group.recipe].batch_size, len(config.classes_of(group.dataset))
    target = torch.zeros(batch, classes, 8, 8)
    target[..., :4] = 1
    ends = [DICE_LOSSES[group.recipe](pred, target).item() for pred in (target, 1 - target)]
    reading, detail = "range from perfect to disjoint masks", f"a batch of {batch} x {classes}"
    yield effect(reading, "loss", ends, exact=True, detail=detail)
    best = pd.concat([group.best(loss) for loss in config.REPORT_LOSSES])
    seen = pd.concat([history(run).dice for run in best.itertuples()])
    reading, ends = "range seen in training, best settings", (seen.min(), seen.max())
    yield effect(reading, "loss", ends, [best], exact=True, images=0)


def ratios(runs: pd.DataFrame, weight: float = 1.0, suffix: str = "") -> np.ndarray:
    """MSE over weight x Dice, or of their gradients at the output: median over training, a run."""
    terms = [history(run) for run in runs.itertuples()]
    # Without a gradient of Dice the ratio is infinite.
    return np.array([np.median(t["mse" + suffix] / t["dice" + suffix]) for t in terms]) / weight


def both_ratios(name: str, runs: pd.DataFrame, weight: float = 1.0, detail: str = "") -> Rows:
    """By value, as the report argues, and beside it by gradient at the network's output."""
    (runs,) = judges(runs)
    yield effect(f"{name} by value", RATIO, ratios(runs, weight), [runs], detail=detail)
    values = ratios(runs, weight, "_gradient")
    yield effect(f"{name} by gradient", RATIO, values, [runs], detail=detail, deciding=False)


@claim(2, "without a coefficient the MSE drowns the Dice term out", "3", ABOVE_1, "5, 6")
def dice_drowned(group: Group) -> Rows:
    """True if MSE / Dice is above 1 over training, false if below."""
    yield from both_ratios("MSE / Dice", group.best("mse_dice"))


@claim(3, "60 (COCO: 100) brings both terms to the same scale", "3", (0.5, 2.0), "13, 14")
def same_scale(group: Group) -> Rows:
    """True if MSE / (coefficient x Dice) lies within [0.5, 2], false if outside.

    The report argues by value, so its sentence is judged by value; what training follows are the
    gradients, which stand beside.
    """
    largest, runs = list(group.coefficients().items())[-1]
    name = "MSE / (coefficient x Dice)"
    yield from both_ratios(name, runs, largest, f"coefficient {largest:g}")


# -- the coefficients -----------------------------------------------------------------------------


def against(group: Group, reading: str, place: int, pick: Callable) -> Row:
    """One coefficient minus the best or the worst of the others, as ``pick`` has it."""
    tried = group.coefficients()
    this = list(tried)[place]
    other = pick((c for c in tried if c != this), key=lambda c: first_score(tried[c]))
    pair, detail = (tried[this], tried[other]), f"{this:g} minus {other:g}"
    return of_validation(f"validation IoU, {reading}", sub, *pair, detail=detail)


@claim(4, "the largest coefficient trains best", "3", ABOVE_0, "13, 14")
def largest_best(group: Group) -> Rows:
    """True if its IoU is above the best of the others, false if below."""
    yield against(group, "largest coefficient minus the best other", -1, max)


@claim(5, "the middle coefficient trains worst", "3", BELOW_0, "15, 16")
def middle_worst(group: Group) -> Rows:
    """True if its IoU is below the worst of the others, false if above."""
    yield against(group, "middle coefficient minus the worst other", 1, min)


@claim(6, "losses of equal magnitude train best", "3", ABOVE_0, "13 to 16")
def equal_best(group: Group) -> Rows:
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
    balanced = config.BALANCED[group.recipe][group.family]
    best = max(tried, key=lambda c: first_score(tried[c]))
    pair, detail = (group.runs("mse_dice", balanced), tried[best]), f"{balanced:g} minus {best:g}"
    reading = "coefficient that balances the gradients minus the best of the report's"
    more = {"detail": detail, "deciding": False}
    yield of_validation(f"validation IoU, {reading}", sub, *pair, **more)


# -- the losses -----------------------------------------------------------------------------------


def both_ious(reading: str, *pair: pd.DataFrame, **more: Any) -> Rows:
    """The first table's IoU minus the second's: of validation images, and beside it of the test."""
    yield of_validation(f"validation IoU, {reading}", sub, *pair, **more)
    if not with_counts(*pair)[0].empty:
        more["deciding"] = False
        yield of_images(f"test IoU, {reading}", "IoU", mean_iou, *pair, **more)


@claim(7, "MSE + Dice gives the best segmentation", "4.4", ABOVE_0, "17 to 34")
def combination_best(group: Group) -> Rows:
    """True if its IoU is above the better of MSE and Dice, false if below."""
    # The largest coefficient, which the report recommends: each side then has as many tries.
    largest, ours = list(group.coefficients().items())[-1]
    better = max(("mse", "dice"), key=lambda loss: first_score(group.best(loss)))
    reading = "MSE + largest coefficient x Dice minus the better of MSE and Dice"
    detail = f"{largest:g}, against {config.REPORT_LOSSES[better]}"
    yield from both_ious(reading, ours, group.best(better), detail=detail)
    for loss in ("bce", "bce_dice"):  # beside the report's: what is usual
        if (group.all.loss == loss).any():
            reading = f"MSE + Dice minus {config.LOSS_NAMES[loss]}"
            yield from both_ious(reading, group.best("mse_dice"), group.runs(loss), deciding=False)
    if (group.all.part == "network=unet").any():
        reading = "mUNet with ASPP minus a plain U-Net"
        yield from both_ious(reading, *group.pair("network=unet"), deciding=False)


@claim(8, "MSE alone comes second, Dice alone last", "4.4", ABOVE_0, "17 to 28")
def mse_before_dice(group: Group) -> Rows:
    """True if the IoU of MSE is above that of Dice, false if below."""
    yield from both_ious("MSE minus Dice", group.best("mse"), group.best("dice"))


@claim(9, "the combination overfits less", "4.4", ABOVE_0, "1 to 6")
def overfits_less(group: Group) -> Rows:
    """True if the other losses leave a wider gap from training to validation, false if narrower."""
    best = {loss: group.best(loss) for loss in config.REPORT_LOSSES}
    gap = {
        k: runs.assign(score=runs.training_iou - runs.validation_iou) for k, runs in best.items()
    }
    for loss in ("mse", "dice"):
        reading = f"IoU gap (training - validation), {config.REPORT_LOSSES[loss]} minus MSE + Dice"
        yield of_validation(reading, sub, gap[loss], gap["mse_dice"], samples=2)


@claim(10, "Dice is difficult and unstable to minimize", "4.4", BELOW_1, "1 to 4")
def dice_unstable(group: Group) -> Rows:
    """True if Dice falls by fewer of its own steps than MSE, false if by more.

    A step is how far the curve goes up or down from one row of the history to the next. What share
    of its start a loss loses stands beside: it is bounded by the least value that the network can
    reach, which for Dice is high.
    """
    tables = judges(group.best("dice"), group.best("mse"))
    dice, mse = (np.transpose([descent(run) for run in runs.itertuples()]) for runs in tables)
    (start, fall, step) = dice / mse
    diverged = (group.all.status != "finished") & (group.all.loss == "dice")
    note = f"{diverged.sum()} runs of Dice alone diverged ({group.dataset})" * bool(diverged.any())
    reading = "fall of the loss in its own steps, Dice / MSE"
    yield effect(reading, RATIO, fall / step, tables, note=note)
    reading = "fall as a share of the start, Dice / MSE"
    yield effect(reading, RATIO, fall / start, tables, deciding=False)


def descent(run: Any) -> tuple[float, float, float]:
    """Where a run's loss began, how far it fell (at least one step), and its step, in own units."""
    loss = history(run).loss.to_numpy()
    tenth = max(1, len(loss) // 10)
    start, end = loss[:tenth].mean(), loss[-tenth:].mean()
    # The median distance between neighboring rows of the history is large where the loss is noisy.
    step = np.median(np.abs(np.diff(loss))) or math.nan  # a loss that never moves has none
    return start, max(start - end, step), step


# -- the network's parts --------------------------------------------------------------------------


def ablated(group: Group, part: str, reading: str, combine: Score = sub, **more: Any) -> Rows:
    """The network as it is beside the one changed. The shapes carry the ablations, others may."""
    if group.family == "shapes" or (group.all.part == part).any():
        reading, pair = f"validation IoU, {reading}", group.pair(part)
        yield of_validation(reading, combine, *pair, **ABLATED, **more)


@claim(11, "skip connections are crucial", "1", (0.0, 0.5))
def skips_crucial(group: Group) -> Rows:
    """True if the network without them has less than half of the IoU, false if more.

    That it loses a little makes them helpful, not crucial.
    """
    across, blocks = list(PARTS.items())[:2]
    for (name, part), deciding in ((across, True), (blocks, False)):
        more = {"unit": RATIO, "deciding": deciding}
        yield from ablated(group, part, f"{name} / as it is", lambda a, b: b / a, **more)


@claim(12, "ASPP makes the network better at identifying objects", "1", ABOVE_0)
def aspp_helps(group: Group) -> Rows:
    """True if the IoU is higher with it, false if lower."""
    yield from ablated(group, PARTS["no ASPP"], "with ASPP minus without")
    reading = "rates 2, 4, 6 minus rates 1, 2, 4"
    yield from ablated(group, PARTS["ASPP at rates 1, 2, 4"], reading, deciding=False)
