"""From one value per seed to an interval, from intervals to verdicts.

A measured value can be wrong for two reasons: another seed of training would have given another
value, and so would other test images. Both errors are standard errors of the mean over the seeds;
they are independent, so they add in quadrature, and the interval is Student's t with the degrees
of freedom of Satterthwaite (Biometrics Bulletin, 1946) and Welch (Biometrika, 1947). That seeds
and images are two sources to be told apart: Bouthillier et al., "Accounting for variance in
machine learning benchmarks" (MLSys 2021).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # of Student's t; scipy.stats takes seconds to import

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

RULE = (
    f"Rule: one value per seed. The interval of their mean, at {LEVEL:.0%}, is Student's t with "
    "the standard errors over seeds and over images added in quadrature (degrees of freedom of "
    f"Welch and Satterthwaite). A row with fewer than {SEEDS_NEEDED} seeds is undecided, unless it "
    f"is exact. No difference: the whole interval lies within {MARGIN:g} (IoU, recall, F, share), "
    f"{MARGINS['%']:g} % or a factor of {math.exp(MARGINS[RATIO]):.2f} of the value that divides "
    "true from false. Otherwise supported if the whole interval lies where the sentence is true, "
    "not supported if it lies where it is false, else undecided. A sentence is judged by the rows "
    "marked *, all of the recipe report. Supported if every one is. Not supported if, of k rows, "
    "one is against it (not supported or no difference) at k times its error probability, or two "
    "at k/2 times, and so on up to all k at their own (Simes, 1986); if every row shows no "
    "difference, it says so. Else undecided."
)


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
    exact: bool = False  # computed, not estimated
    decides: bool = True  # the report's sentence rests on it; else it stands beside
    detail: str = ""  # of the reading, where data sets differ: the coefficient, say
    note: str = ""  # a remark on the claim


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
    n = np.arange(2, 10_000)
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


def verdict(
    mean: float, error: float, freedom: float, ends: Sequence[float], margin: float | None
) -> tuple[str, float]:
    """The verdict on one row, and the probability of an error at which it would change.

    Args:
        mean, error, freedom: of ``interval``, on the scale of the unit.
        ends: the sentence is true of effects between these two, on that scale.
        margin: within which a difference does not matter; None for a unit without one.
    """
    low, high = ends
    inside = min(mean - low, high - mean)
    answers = [(SUPPORTED, inside), (NOT_SUPPORTED, -inside)]
    dividing = [end for end in ends if math.isfinite(end)]
    if margin and len(dividing) == 1:  # what is true of a range has no value of no difference
        answers.insert(0, (NO_DIFFERENCE, margin - abs(mean - dividing[0])))
    for answer, distance in answers:
        if distance > 0:
            # An error of 0 is that of seeds which all gave the same.
            p = 2 * float(stdtr(freedom, -distance / error)) if error else 0.0
            if p <= 1 - LEVEL:
                return answer, p
    return UNDECIDED, 1.0


def sentence(rows: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The verdict on a sentence from those on its rows, and its probability of an error.

    Args:
        rows: the verdict on each row that the sentence rests on, with its probability.
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
