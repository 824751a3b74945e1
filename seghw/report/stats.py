"""From one value per seed to an interval, from intervals to verdicts.

A measured value can be wrong for two reasons: another seed of training would have given another
value, and so would other test images. Both errors are standard errors of the mean over the seeds;
they are independent, so they add in quadrature, and the interval is Student's t with the degrees
of freedom of Satterthwaite (Biometrics Bulletin, 1946) and Welch (Biometrika, 1947). That seeds
and images are two sources to be told apart: Bouthillier et al., "Accounting for variance in
machine learning benchmarks" (MLSys 2021).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # of Student's t; scipy.stats takes seconds to import

from seghw import metrics
from seghw.metrics import ratio
from seghw.runs import load_counts

Tables = Mapping[str, np.ndarray]  # counts by name
Score = Callable[..., Any]

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
NO_DIFFERENCE = "no difference"
SEEDS_NEEDED = 3
LEVEL = 0.95
#: Effects of this unit are averaged, and their intervals made, on a logarithmic scale.
RATIO = "ratio"
#: Differences of mean IoU within this are of no matter, either way. On 64 x 64 pixels a shape
#: covers some 320 pixels: its IoU moves by 0.01 when three or four of them change, which no reader
#: of a figure sees.
MARGIN = 0.01
#: By unit. Of the image's area, 0.1 % are the same four pixels; a ratio of 1.05 is one part in 20.
MARGINS = dict.fromkeys(("IoU", "recall", "F", "share"), MARGIN)
MARGINS |= {"%": 10 * MARGIN, RATIO: math.log(1.05)}


class Effect(NamedTuple):
    """One measurement: a value per seed, and what it owes to the choice of images."""

    reading: str  # what was measured, in the same words for every data set and recipe
    unit: str
    values: np.ndarray  # float (seeds,); of an exact effect the ends of its range
    #: Standard error, due to the choice of images, of the mean over the seeds (of its logarithm
    #: for a ratio): 0 where no images are scored, NaN where it is not known.
    image_error: float = 0.0
    images: int = 0  # that each value was measured on
    runs: tuple[str, ...] = ()  # ids of the runs that it rests on
    seeds: tuple[int, ...] = ()  # of these runs
    chosen_on: Sequence[int] = ()  # seeds by which the runs' setting was chosen
    exact: bool = False  # computed, not estimated
    deciding: bool = True  # the report's sentence rests on it; else it stands beside
    detail: str = ""  # of the reading, where data sets differ: the coefficient, say
    note: str = ""  # a remark on the claim


class Claim(NamedTuple):
    """A sentence of the report and how it is put to the test."""

    number: int
    key: str
    text: str  # the sentence, paraphrased
    section: str  # of the report
    figures: str  # numbers of the report's that show it too, or "" where none does
    true_range: tuple[float, float]  # true of effects in it; a finite end divides true from false
    measure: Callable[[Any], Iterator[Effect]]  # takes a ``run_claims.Group``

    @property
    def question(self) -> str:
        """What would show it true, and what false."""
        return " ".join((self.measure.__doc__ or "").split())


#: The report's sentences by key, in the order in which it asserts them.
CLAIMS: dict[str, Claim] = {}


def claim(
    number: int, text: str, section: str, true_range: tuple[float, float], figures: str = ""
) -> Callable:
    """Register a measurement of a sentence, in the order of the report, under its name."""

    def register(measure: Callable) -> Callable:
        key = measure.__name__
        CLAIMS[key] = Claim(number, key, text, section, figures, true_range, measure)
        return measure

    return register


class Interval(NamedTuple):
    """A mean with its confidence interval, and what the interval is made of."""

    mean: float
    low: float
    high: float
    error: float = math.nan  # standard error of the mean
    freedom: float = math.nan  # degrees of freedom


def interval(values: Any, image_error: float = 0.0, level: float = LEVEL) -> Interval:
    """The mean of independent values and its interval; ends of NaN for fewer than two.

    Args:
        values: one per seed.
        image_error: standard error of their mean due to the choice of images; NaN counts as 0.
        level: of confidence.
    """
    values = np.asarray(values, float)
    error, freedom = standard_error(values, np.nan_to_num(image_error))
    mean = float(values.mean()) if len(values) else math.nan
    half = float(stdtrit(freedom, (1 + level) / 2) * error) if error else 0.0 * error
    return Interval(mean, mean - half, mean + half, float(error), float(freedom))


def standard_error(values: np.ndarray, image_error: Any = 0.0) -> tuple[Any, Any]:
    """Standard error of the mean over the last axis, and its degrees of freedom.

    Args:
        values: float (..., seeds).
        image_error: standard error due to the choice of images, float (...); from some hundred
            images it is known so well that its own degrees of freedom do not matter.
    """
    n = values.shape[-1]
    if n < 2:
        return math.nan, math.nan
    over_seeds = values.var(axis=-1, ddof=1) / n
    variance = over_seeds + np.square(image_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (n - 1) * np.square(variance / over_seeds)
    return np.sqrt(variance), np.where(over_seeds > 0, freedom, np.inf)


def seeds_needed(deviation: float, image_error: float, margin: float) -> float:
    """Seeds after which a row is sure to be decided; NaN if 10,000 would not do.

    That is where half of the interval is at most half of the margin: wherever its middle lies, it
    then lies within the margin or on one side. Half an interval within the margin is not enough.

    Args:
        deviation: standard deviation over the seeds.
        image_error, margin: as above, on the same scale.
    """
    n = np.arange(SEEDS_NEEDED, 10_000)
    variance = deviation**2 / n + np.nan_to_num(image_error) ** 2
    with np.errstate(divide="ignore"):
        freedom = (n - 1) * np.square(variance * n / np.maximum(deviation**2, 1e-30))
    enough = n[stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(variance) <= margin / 2]
    return float(enough[0]) if len(enough) else math.nan


def scaled(unit: str, values: Any) -> np.ndarray:
    """Values on the scale on which they are averaged; NaN where a ratio has no logarithm."""
    values = np.asarray(values, float)
    if unit != RATIO:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values >= 0, np.log(values), np.nan)


ROW_RULE = (
    f"One value per seed; the {LEVEL:.0%} interval of their mean is Student's t with the standard "
    "errors over seeds and over images added in quadrature (degrees of freedom of Welch and "
    f"Satterthwaite). A row with fewer than {SEEDS_NEEDED} seeds is undecided, unless it is exact. "
    f"{NO_DIFFERENCE.capitalize()}: the whole interval lies within {MARGIN:g} (IoU, recall, F, "
    f"share), {MARGINS['%']:g} % or a factor of {math.exp(MARGINS[RATIO]):.2f} of the value that "
    f"divides true from false. Otherwise {SUPPORTED} if the whole interval lies where the sentence "
    f"is true, {NOT_SUPPORTED} if it lies where it is false, else {UNDECIDED}."
)


def verdict(
    mean: float, error: float, freedom: float, ends: Sequence[float], margin: float
) -> tuple[str, float]:
    """The verdict on one row by ``ROW_RULE``, and the level at which it would just change.

    Args:
        mean, error, freedom: of ``interval``, on the scale of the unit.
        ends: the sentence is true of effects between these two, on that scale.
        margin: within which a difference does not matter; 0 for a unit without one.
    """
    inside = min(mean - ends[0], ends[1] - mean)
    answers = [(SUPPORTED, inside), (NOT_SUPPORTED, -inside)]
    dividing = [end for end in ends if math.isfinite(end)]
    if len(dividing) == 1:  # what is true of a range has no value of no difference
        # Equivalence by two one-sided tests (Schuirmann, 1987).
        answers.insert(0, (NO_DIFFERENCE, margin - abs(mean - dividing[0])))
    for answer, distance in answers:
        if distance > 0:
            p = 2 * float(stdtr(freedom, -distance / error)) if error else 0.0  # all seeds alike
            if p <= 1 - LEVEL:
                return answer, p
    return UNDECIDED, 1.0


SENTENCE_RULE = (
    "A sentence is judged by the rows marked *, all of the recipe report. "
    f"{SUPPORTED.capitalize()}: every row is. {NOT_SUPPORTED.capitalize()}: rows are against it "
    f"({NOT_SUPPORTED}, or {NO_DIFFERENCE}), of k rows one at the level {1 - LEVEL:g}/k, or two at "
    f"twice that, and so on up to all k at {1 - LEVEL:g} (Simes, 1986); if every row shows "
    f"{NO_DIFFERENCE}, the verdict says so. Else {UNDECIDED}."
)


def sentence(rows: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The verdict on a sentence by ``SENTENCE_RULE``, and the level at which it would just change.

    Args:
        rows: what ``verdict`` says of each row that the sentence rests on.
    """
    verdicts = {answer for answer, _ in rows}
    if verdicts == {SUPPORTED}:
        return SUPPORTED, max(p for _, p in rows)
    against = sorted(p for answer, p in rows if answer in (NOT_SUPPORTED, NO_DIFFERENCE))
    p = min((len(rows) / i * p for i, p in enumerate(against, start=1)), default=1.0)
    if p > 1 - LEVEL:
        return UNDECIDED, 1.0
    nothing = f": {NO_DIFFERENCE}" if verdicts == {NO_DIFFERENCE} else ""
    return NOT_SUPPORTED + nothing, p


def holm(probabilities: Sequence[float]) -> np.ndarray:
    """Adjusted for being one of many (Holm, 1979): what stays at most 0.05 stands among all."""
    p = np.asarray(probabilities, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(1, adjusted)[np.argsort(order)]


# -- scores of images, and of bootstrap draws of them ----------------------------------------------


def image_scores(score: Score, folders: Iterable[Sequence[Path]]) -> np.ndarray:
    """A score of all images and of bootstrap draws of them: float (seeds, 1 + draws).

    Args:
        score: takes ``drawn`` of each of the folders.
        folders: for each seed the runs that are compared.
    """
    return np.array([score(*map(drawn, row)) for row in folders])


def image_error(unit: str, scores: np.ndarray) -> float:
    """Standard error of the seeds' mean due to the choice of images, from ``image_scores``."""
    scores = scaled(unit, scores)
    scores[np.isinf(scores)] = np.nan  # a ratio to nothing
    scores = scores[~np.isnan(scores[:, 0]), 1:]
    return float(np.nanstd(scores.mean(0))) if len(scores) else math.nan


@cache
def counts_of(folder: Path) -> Tables:
    """A run's counts, and what must be put together image by image.

    ``outlines``, ``predictable_outlines`` (N, C, 4): outline and area of the predicted and of the
    true mask, where both have any. ``absent`` (N, C, 2): whether the class is absent, and whether
    it is predicted all the same. ``middles`` (N, C, 2): whether the class is present, and whether
    at least half of its pixels inside are predicted, but less than half of those at its edge.
    """
    tables = dict(load_counts(SimpleNamespace(folder=folder, run_id=folder.name)))
    for prefix in {name.removesuffix("pixels") for name in tables if name.endswith("pixels")}:
        tp, fp, fn, _ = np.moveaxis(tables[f"{prefix}pixels"], -1, 0)
        outline, _, true_outline, _ = np.moveaxis(tables[f"{prefix}boundary"], -1, 0)
        parts = np.stack((outline, tp + fp, true_outline, tp + fn), -1)
        tables[f"{prefix}outlines"] = parts * ((tp + fp > 0) & (tp + fn > 0))[..., None]
    inside, edge = share(tables["inside"]), share(tables["edge"])
    present, absent = ~np.isnan(inside + edge), tables["pixels"][..., [0, 2]].sum(-1) == 0
    middle = present & (inside >= 0.5) & (edge < 0.5)
    tables["middles"] = np.stack((present, middle), -1)
    tables["absent"] = np.stack((absent, absent & (tables["pixels"][..., 1] > 0)), -1)
    return tables


@cache
def drawn(folder: Path) -> Tables:
    """A run's counts summed over its test images and over bootstrap draws, as ``draw`` has it."""
    return draw(counts_of(folder))


def draw(tables: Tables) -> Tables:
    """Counts (N, C, k) by name to (1 + draws, C, k): of all images, then of each draw."""
    tables = {name: table.astype(np.float64) for name, table in tables.items()}
    draws = zip(tables.items(), metrics.resample(*tables.values()), strict=True)
    return {name: np.concatenate((table.sum(0)[None], many)) for (name, table), many in draws}


def share(part: np.ndarray) -> np.ndarray:
    """Of the first of two counts the second, from (..., 2)."""
    return ratio(part[..., 1], part[..., 0])
