"""From measured values to an interval, and from an interval to a verdict.

The rule is the same for every claim:

- One value per seed; their mean, with a 95 % t interval over the seeds.
- Where test images are scored, also a 95 % percentile bootstrap over the images of the seeds'
  mean. The interval reported is the hull of both, so it covers either reason to be wrong.
- Each claim says between which numbers its effect would lie if it were true; the finite ends are
  its null values. With at least three seeds:
  "no difference": the claim has one null value, and the whole interval lies within ``MARGINS`` of
  it. This is equivalence, as two one-sided tests show it (Schuirmann, 1987); whatever side the
  effect is on, it is too small to matter.
  "supported": the whole interval lies inside.
  "not supported": the whole interval lies outside.
  "undecided": everything else. The interval is too wide for an answer.
- Exact facts, which are computed rather than estimated, need no seeds.
- The verdict on the report's sentence rests on the recipe ``report``, and there on the readings
  that the sentence speaks of (``Effect.decides``). A sentence that rests on several rows and falls
  by one of them falls only if that row's interval at the level divided by ``MOST_ROWS``
  (Bonferroni) says so too, for the more rows, the likelier one falls by chance.

Intervals of different claims are not joint: among twenty true null values one would be missed by
chance. Three seeds make wide t intervals, 4.3 standard errors each way.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # Student's quantiles; scipy.stats takes seconds to import

from seghw.metrics import CountTable, Interval

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
NO_DIFFERENCE = "no difference"
SEEDS_NEEDED = 3
LEVEL = 0.95
MOST_ROWS = 4  # that one sentence rests on
RESAMPLES = 1000
#: Effects of this unit are averaged, and their intervals made, on a logarithmic scale.
RATIO = "ratio"
#: Differences of mean IoU within this are of no matter, either way. On 64 x 64 pixels a shape
#: covers some 320 pixels: its IoU moves by 0.01 when three or four of them change, which no reader
#: of a figure sees, and two seeds of one setting lie 0.01 apart themselves.
MARGIN = 0.01
#: By unit. Of the image's area, 0.1 % are the same four pixels; a ratio of 1.05 is one part in 20.
MARGINS = {"IoU": MARGIN, "recall": MARGIN, "F": MARGIN, "%": 0.1, RATIO: math.log(1.05)}

RULE = (
    f"Rule: one value per seed, their mean with a {LEVEL:.0%} t interval over the seeds; where "
    f"test images are scored, its hull with a {LEVEL:.0%} bootstrap interval over the images. "
    f"No difference: at least {SEEDS_NEEDED} seeds, and the whole interval within {MARGIN:g} (IoU, "
    f"recall, F), {MARGINS['%']:g} % or a factor of {math.exp(MARGINS[RATIO]):.2f} of the null "
    "value. Otherwise supported or not supported if the interval lies wholly on one side of the "
    f"null value and there are at least {SEEDS_NEEDED} seeds; exact facts need none. A sentence of "
    "the report is judged by the rows marked *, of the recipe report: supported if all are; not "
    "supported if none is, or if one is not by its interval at the level divided by "
    f"{MOST_ROWS}."
)

#: Tables of counts to one number per row; every table has one row a resample.
Score = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Effect:
    """One measured number with its interval; the verdict on it is ``verdict``."""

    reading: str  # what was measured, in the same words for every data set and recipe
    unit: str
    value: float  # the seeds' mean; NaN if nothing could be measured
    low: float
    high: float
    seeds: int = 0
    images: int = 0  # that each value was measured on
    joint: Interval | None = None  # wider, at the level divided by MOST_ROWS; None: as exact
    exact: bool = False  # computed, not estimated; then low and high are the whole range
    decides: bool = True  # the report's sentence rests on it; else it stands beside
    detail: str = ""  # of the reading, where data sets differ: the coefficient, say
    note: str = ""  # a remark on the claim
    dataset: str = ""
    recipe: str = ""


def verdict(effect: Effect, holds: tuple[float, float], *, joint: bool = False) -> str:
    """``SUPPORTED``, ``NOT_SUPPORTED``, ``NO_DIFFERENCE`` or ``UNDECIDED``, by the rule above.

    Args:
        effect: what was measured.
        holds: the claim is true of effects between these two numbers.
        joint: judge by the wider interval ``effect.joint``.
    """
    low, high = effect.joint if joint and effect.joint else (effect.low, effect.high)
    if effect.exact:
        return SUPPORTED if holds[0] <= low and high <= holds[1] else NOT_SUPPORTED
    if effect.seeds < SEEDS_NEEDED:
        return UNDECIDED
    null = _null_value(holds, effect.unit)
    if null is not None and effect.unit in MARGINS:
        ends = (
            np.log([low / null, high / null])
            if effect.unit == RATIO
            else np.subtract((low, high), null)
        )
        if np.abs(ends).max() < MARGINS[effect.unit]:
            return NO_DIFFERENCE
    if holds[0] < low and high < holds[1]:
        return SUPPORTED
    if high < holds[0] or holds[1] < low:
        return NOT_SUPPORTED
    return UNDECIDED


def _null_value(holds: tuple[float, float], unit: str) -> np.floating | None:
    """Where an effect would make no difference; None if the claim is of a range."""
    least = 0.0 if unit == RATIO else -math.inf
    ends = [end for end in holds if least < end < math.inf]
    return np.float64(ends[0]) if len(ends) == 1 else None


@dataclass(frozen=True)
class Claim:
    """A sentence of the report and how it is put to the test."""

    key: str
    text: str  # the sentence, paraphrased
    where: str  # section of the report
    question: str  # what would show it true, and what false
    holds: tuple[float, float]  # true of effects between these; finite ends are its null values
    measure: Callable[..., Iterable[Effect]]  # takes a ``measures.Group``
    figure: str  # numbers of the report that show it too, or "" where it shows nothing of it


@dataclass(frozen=True)
class Result:
    """One measured effect and what it says about its claim."""

    claim: Claim
    effect: Effect

    @property
    def verdict(self) -> str:
        return verdict(self.effect, self.claim.holds)

    @property
    def decides(self) -> bool:
        """The verdict on the report's sentence rests on it."""
        return self.effect.decides and self.effect.recipe != "corrected"


def by_claim(results: Iterable[Result]) -> list[list[Result]]:
    """The results of each claim together, in the order in which the claims come."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.claim.key, []).append(result)
    return list(groups.values())


def sentence_verdict(results: Iterable[Result]) -> str:
    """The verdict on a claim's sentence, from the claim's results.

    A sentence that asserts a difference where all rows show none is ``NOT_SUPPORTED`` and says so.
    """
    rows = [result for result in results if result.decides]
    verdicts = {row.verdict for row in rows}
    if verdicts == {NO_DIFFERENCE}:
        return f"{NOT_SUPPORTED}: {NO_DIFFERENCE}"
    if verdicts == {SUPPORTED}:
        return SUPPORTED
    against = {NOT_SUPPORTED, NO_DIFFERENCE}
    jointly = {verdict(row.effect, row.claim.holds, joint=True) for row in rows}
    if rows and (verdicts <= against or jointly & against):
        return NOT_SUPPORTED
    return UNDECIDED


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Interval of the mean of independent values (Student's t); NaN for fewer than two."""
    if len(values) < 2:
        return Interval(np.nan, np.nan)
    n, mean = len(values), float(np.mean(values))
    half = float(stdtrit(n - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(mean - half, mean + half)


def seeds_to_decide(effect: Effect) -> int | None:
    """Seeds after which half of the t interval is below the margin, at the spread seen so far.

    Args:
        effect: of ``from_seeds``, a difference; of ``from_images`` the choice of images adds to it.

    Returns:
        From 2 up; None where the spread is not known, the unit has no margin, or 10,000 seeds
        would not do.
    """
    if effect.seeds < 2 or effect.exact or effect.unit == RATIO or effect.unit not in MARGINS:
        return None
    half = (effect.high - effect.low) / 2
    deviation = half * np.sqrt(effect.seeds) / stdtrit(effect.seeds - 1, (1 + LEVEL) / 2)
    seeds = np.arange(2, 10_000)
    halves = stdtrit(seeds - 1, (1 + LEVEL) / 2) * deviation / np.sqrt(seeds)
    enough = seeds[halves < MARGINS[effect.unit]]
    return int(enough[0]) if len(enough) else None


def hull(*intervals: Interval) -> Interval:
    """The smallest interval that holds all; ends that are NaN are left out."""
    known = [interval for interval in intervals if not np.isnan(interval).any()]
    if not known:
        return Interval(np.nan, np.nan)
    return Interval(min(i.low for i in known), max(i.high for i in known))


def from_seeds(reading: str, unit: str, values: Sequence[float], **more) -> Effect:
    """The effect of one value per seed.

    Args:
        reading: what was measured.
        unit: of the values; with ``RATIO`` they must be positive.
        values: one per seed; none gives an effect of NaN.
        more: further fields of ``Effect``.
    """
    return _effect(reading, unit, _to_scale(unit, values), np.empty(0), **more)


def from_images(
    reading: str, unit: str, score: Score, tables: Sequence[tuple[CountTable, ...]], **more
) -> Effect:
    """The effect of a score of counted images, with the bootstrap over images as well.

    Args:
        reading: what was measured.
        unit: of the score; with ``RATIO`` it must be positive.
        score: called with one seed's tables, each with one row a resample; one number per row.
        tables: for each seed the tables that the score takes; all of the same images, which are
            drawn together, so that differences of tables are paired.
        more: further fields of ``Effect``.
    """
    if not tables:
        return from_seeds(reading, unit, [], **more)
    images = len(tables[0][0])
    weights = _weights(images)
    scores = [score(*(table.weighted(weights) for table in seed)) for seed in tables]
    values = _to_scale(unit, scores)
    values = values[~np.isnan(values[:, 0])]
    # A draw to which the score does not apply, for one seed or for all, is left out.
    resampled = values[:, 1:].sum(axis=0) / (len(values) or np.nan)
    resampled = resampled[~np.isnan(resampled)]
    return _effect(reading, unit, values[:, 0], resampled, images=images, **more)


def _effect(reading: str, unit: str, values: np.ndarray, resampled: np.ndarray, **more) -> Effect:
    values = values[~np.isnan(values)]  # a seed to which the score does not apply tells nothing
    if not len(values):
        return Effect(reading, unit, np.nan, np.nan, np.nan, **more)
    numbers = [np.mean(values)]
    for level in (LEVEL, 1 - (1 - LEVEL) / MOST_ROWS):
        tails = ((1 - level) / 2, (1 + level) / 2)
        over_images = np.quantile(resampled, tails) if len(resampled) else (np.nan, np.nan)
        numbers += hull(t_interval(values, level), Interval(*over_images))
    value, low, high, *joint = map(float, np.exp(numbers) if unit == RATIO else numbers)
    joint = Interval(*joint)
    return Effect(reading, unit, value, low, high, seeds=len(values), joint=joint, **more)


def _to_scale(unit: str, values: Sequence) -> np.ndarray:
    """Values on the scale on which they are averaged; NaN where a ratio has no logarithm."""
    values = np.asarray(values, dtype=float)
    if unit != RATIO:
        return values
    return np.log(values, where=values > 0, out=np.full_like(values, np.nan))


def _weights(images: int) -> np.ndarray:
    """How often each image is drawn, int64 (1 + RESAMPLES, images); first, each image once."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(images, size=images) for _ in range(RESAMPLES)]
    counted = [np.bincount(draw, minlength=images) for draw in draws]
    return np.stack([np.ones(images, dtype=np.int64), *counted])
