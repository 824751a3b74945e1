"""From one value per seed to an interval, from intervals to verdicts.

A measured value can be wrong for two reasons: another seed of training would have given another
value, and so would other test images. Both errors are standard errors of the mean over the seeds;
they are independent, so they add in quadrature, and the interval is Student's t with the degrees
of freedom of Satterthwaite (Biometrics Bulletin, 1946) and Welch (Biometrika, 1947). That seeds
and images are two sources to be told apart: Bouthillier et al., "Accounting for variance in
machine learning benchmarks" (MLSys 2021).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
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


class Interval(NamedTuple):
    """A mean with its confidence interval, and what the interval is made of."""

    mean: float
    low: float
    high: float
    error: float  # standard error of the mean
    freedom: float  # degrees of freedom


def interval(values: Any, image_error: Any = 0.0) -> Interval:
    """The mean over the last axis and its interval, all but the mean NaN for fewer than two values.

    Args:
        values: float (..., seeds), independent.
        image_error: standard error of the mean due to the choice of images, float (...); NaN counts
            as 0. From some hundred images it is known so well that its own degrees of freedom do
            not matter.
    """
    values = np.asarray(values, float)
    n = values.shape[-1]
    if n < 2:
        return Interval(values[0] if n else math.nan, *[math.nan] * 4)
    mean, over_seeds = values.mean(-1), values.var(-1, ddof=1) / n
    variance = over_seeds + np.square(np.nan_to_num(image_error))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (n - 1) * np.square(variance / over_seeds)
    error, freedom = np.sqrt(variance), np.where(over_seeds > 0, freedom, np.inf)[()]
    half = stdtrit(freedom, (1 + LEVEL) / 2) * error
    return Interval(mean, mean - half, mean + half, error, freedom)


def seeds_needed(deviation: float, image_error: float, margin: float) -> float:
    """Seeds after which a row is sure to be decided; NaN if 10,000 would not do.

    That is where half of the interval is at most half of the margin: wherever its middle lies, it
    then lies within the margin or on one side. ``deviation`` is that over the seeds.
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


def summary(unit: str, values: Any, image_error: float, *, exact: bool) -> dict[str, float]:
    """What a row of the table has of its values; ``image_error`` is of logarithms for a ratio."""
    values, margin = scaled(unit, values), MARGINS.get(unit, math.nan)
    values = values[np.isfinite(values)]  # a seed to which the score does not apply says nothing
    mean, low, high, error, freedom = interval(values, image_error)
    if exact:
        mean, low, high, error, freedom = values[-1], values.min(), values.max(), 0.0, math.inf
    back, needed = np.exp if unit == RATIO else np.asarray, math.nan
    if len(values) > 1 and not exact:
        needed = seeds_needed(values.std(ddof=1), image_error, margin)
    numbers = {"estimate": mean, "low": low, "high": high, "margin": margin}
    numbers = {name: float(back(value)) for name, value in numbers.items()}
    more = {"seeds": len(values), "error": float(error), "freedom": float(freedom)}
    return numbers | more | {"image_error": image_error, "seeds_needed": needed}


ROW_RULE = (
    f"One value per seed; the {LEVEL:.0%} interval of their mean is Student's t with the standard "
    "errors over seeds and over images added in quadrature (degrees of freedom of Welch and "
    f"Satterthwaite). A row with fewer than {SEEDS_NEEDED} seeds is undecided, unless it is exact. "
    f"{NO_DIFFERENCE.capitalize()}: the whole interval lies within {MARGIN:g} (IoU, recall, F, "
    f"share), {MARGINS['%']:g} % or a factor of {math.exp(MARGINS[RATIO]):.2f} of the value that "
    f"divides true from false. Otherwise {SUPPORTED} if the whole interval lies where the sentence "
    f"is true, {NOT_SUPPORTED} if it lies where it is false, else {UNDECIDED}."
)


def verdict(row: Any, ends: Sequence[float], factor: float = 1.0) -> tuple[str, float]:
    """The verdict on a row of the table by ``ROW_RULE``, and the level at which it would change.

    The sentence is true of effects between ``ends``; ``factor`` multiplies the margin.
    """
    if row.exact:  # there is no margin: it lies between the ends, or it does not
        return (SUPPORTED if ends[0] <= row.low and row.high <= ends[1] else NOT_SUPPORTED), 0.0
    if row.seeds < SEEDS_NEEDED or math.isnan(row.error):
        return UNDECIDED, 1.0
    mean, ends = float(scaled(row.unit, row.estimate)), scaled(row.unit, ends)
    inside = min(mean - ends[0], ends[1] - mean)
    answers = [(SUPPORTED, inside), (NOT_SUPPORTED, -inside)]
    dividing = ends[np.isfinite(ends)]
    if len(dividing) == 1:  # what is true of a range has no value of no difference
        # Equivalence by two one-sided tests (Schuirmann, 1987).
        margin = MARGINS.get(row.unit, 0.0) * factor
        answers.insert(0, (NO_DIFFERENCE, margin - abs(mean - dividing[0])))
    for answer, distance in answers:
        if distance > 0:
            p = 2 * float(stdtr(row.freedom, -distance / row.error)) if row.error else 0.0
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
    """``SENTENCE_RULE`` on what ``verdict`` says of rows; the level at which that would change."""
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


# -- scores of test images, and of bootstrap draws of them ----------------------------------------


def image_scores(
    score: Score, combine: Score, tables: Sequence[pd.DataFrame]
) -> tuple[np.ndarray, int]:
    """What ``combine`` makes of the scores of one run of each table, which have the same seeds.

    Returns:
        Scores of all test images, then of bootstrap draws of them, float (seeds, 1 + draws); and
        the number of images.
    """
    rows = list(zip(*(table.folder for table in tables), strict=True))
    scores = [combine(*(score(drawn(folder)) for folder in row)) for row in rows]
    return np.array(scores), len(counts_of(rows[0][0])["pixels"])


def image_error(unit: str, scores: np.ndarray) -> float:
    """Standard error of the seeds' mean due to the choice of images, from ``image_scores``."""
    scores = scaled(unit, scores)
    scores = np.where(np.isinf(scores), np.nan, scores)  # a ratio to nothing
    scores = scores[~np.isnan(scores[:, 0]), 1:]
    return float(np.nanstd(scores.mean(0))) if len(scores) else math.nan


def _until_changed(read: Callable[[Path], Tables]) -> Callable[[Path], Tables]:
    """What a function makes of a run's counts is remembered until they are written anew."""
    remembered = cache(lambda folder, _: read(folder))

    @wraps(read)
    def of_run(folder: Path) -> Tables:
        path = folder / "counts.npz"
        return remembered(folder, path.stat().st_mtime_ns if path.is_file() else None)

    return of_run


@_until_changed
def counts_of(folder: Path) -> Tables:
    """A run's counts, and what must be put together image by image.

    ``outlines``, ``predictable_outlines`` (N, C, 4): outline and area of the predicted and of the
    true mask, where both have any. ``absent`` (N, C, 2): whether the class is absent, and whether
    it is predicted all the same. ``middles`` (N, C, 2): whether the class is present, and whether
    at least half of its pixels inside are predicted, but less than half of those at its edge.
    """
    tables = dict(load_counts(SimpleNamespace(folder=folder, run_id=folder.name)))
    for name in [name for name in tables if name.endswith("pixels")]:
        tp, fp, fn, _ = np.moveaxis(tables[name], -1, 0)
        outline, _, true_outline, _ = np.moveaxis(tables[name.replace("pixels", "boundary")], -1, 0)
        parts = np.stack((outline, tp + fp, true_outline, tp + fn), -1)
        both = (tp + fp > 0) & (tp + fn > 0)
        tables[name.replace("pixels", "outlines")] = parts * both[..., None]
    inside, edge = share(tables["inside"]), share(tables["edge"])
    present, absent = ~np.isnan(inside + edge), tables["pixels"][..., [0, 2]].sum(-1) == 0
    tables["middles"] = np.stack((present, present & (inside >= 0.5) & (edge < 0.5)), -1)
    tables["absent"] = np.stack((absent, absent & (tables["pixels"][..., 1] > 0)), -1)
    return tables


@_until_changed
def drawn(folder: Path) -> Tables:
    return draw(counts_of(folder))


def draw(tables: Tables) -> Tables:
    """Counts (N, C, k) by name to (1 + draws, C, k): of all images, then of each draw."""
    tables = {name: table.astype(np.float64) for name, table in tables.items()}
    draws = zip(tables.items(), metrics.resample(*tables.values()), strict=True)
    return {name: np.concatenate((table.sum(0)[None], many)) for (name, table), many in draws}


def share(part: np.ndarray) -> np.ndarray:
    """Of the first of two counts the second, from (..., 2)."""
    return ratio(part[..., 1], part[..., 0])
