"""From measured values to an interval, and from an interval to a verdict.

The rule is the same for every claim:

- One value per seed; their mean, with a 95 % t interval over the seeds.
- Where test images are scored, also a 95 % percentile bootstrap over the images of the seeds'
  mean. The interval reported is the hull of both, so it covers either reason to be wrong.
- Each claim says between which numbers its effect would lie if it were true; the finite ends are
  its null values. "supported": the whole interval lies inside, and there are at least three
  seeds. "not supported": the whole interval lies outside, and there are at least three seeds.
  Everything else, an interval that touches a null value included, is "undecided".
- Exact facts, which are computed rather than estimated, need no seeds.
- The verdict on the report's sentence rests on the recipe ``report``, and there on the readings
  that the sentence speaks of (``Effect.decides``).

Intervals are made claim by claim, not jointly: among twenty true null values one would be missed
by chance. Three seeds make wide t intervals (4.3 standard errors each way), so "undecided" means
that the runs do not tell, not that there is no effect.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import stdtrit  # Student's quantiles; scipy.stats takes seconds to import

from seghw.metrics import CountTable, Interval

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
SEEDS_NEEDED = 3
LEVEL = 0.95
RESAMPLES = 1000
#: Effects of this unit are averaged, and their intervals made, on a logarithmic scale.
RATIO = "ratio"

RULE = (
    f"Rule: one value per seed, their mean with a {LEVEL:.0%} t interval over the seeds; where "
    f"test images are scored, its hull with a {LEVEL:.0%} bootstrap interval over the images. "
    "Supported or not supported only if the interval lies wholly on one side of the null value "
    f"and there are at least {SEEDS_NEEDED} seeds; exact facts need none. Intervals are made "
    "claim by claim, not jointly. A sentence of the report is judged by the rows marked *, of the "
    "recipe report: supported if all are, not supported if one is not."
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
    exact: bool = False  # computed, not estimated; then low and high are the whole range
    decides: bool = True  # the report's sentence rests on it; else it stands beside
    detail: str = ""  # of the reading, where data sets differ: the coefficient, say
    note: str = ""  # a remark on the claim
    dataset: str = ""
    recipe: str = ""


def verdict(effect: Effect, holds: tuple[float, float]) -> str:
    """``"supported"``, ``"not supported"`` or ``"undecided"``, by the rule above.

    Args:
        effect: what was measured.
        holds: the claim is true of effects between these two numbers.
    """
    low, high = holds
    if effect.exact:
        return SUPPORTED if low <= effect.low and effect.high <= high else NOT_SUPPORTED
    if effect.seeds < SEEDS_NEEDED:
        return UNDECIDED
    if low < effect.low and effect.high < high:
        return SUPPORTED
    if effect.high < low or high < effect.low:
        return NOT_SUPPORTED
    return UNDECIDED


@dataclass(frozen=True)
class Claim:
    """A sentence of the report and how it is put to the test."""

    key: str
    text: str  # the sentence, paraphrased
    where: str  # section of the report
    question: str  # what would show it true, and what false
    holds: tuple[float, float]  # true of effects between these; finite ends are its null values
    measure: Callable[..., Iterable[Effect]]  # takes a ``claim_measurements.Group``
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

    Supported if all that decide are; not supported as soon as one is not, for the report makes
    its statements of both data sets.
    """
    verdicts = {result.verdict for result in results if result.decides}
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED


def t_interval(values: Sequence[float]) -> Interval:
    """95 % interval of the mean of independent values (Student's t); NaN for fewer than two."""
    if len(values) < 2:
        return Interval(np.nan, np.nan)
    n, mean = len(values), float(np.mean(values))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(mean - half, mean + half)


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
    return _effect(reading, unit, _to_scale(unit, values), Interval(np.nan, np.nan), **more)


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
    scores = [score(*(_weighted(table, weights) for table in seed)) for seed in tables]
    values = _to_scale(unit, scores)
    values = values[~np.isnan(values[:, 0])]
    # A draw to which the score does not apply, for one seed or for all, is left out.
    resampled = values[:, 1:].sum(axis=0) / (len(values) or np.nan)
    resampled = resampled[~np.isnan(resampled)]
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    ends = np.quantile(resampled, tails) if len(resampled) else (np.nan, np.nan)
    return _effect(reading, unit, values[:, 0], Interval(*ends), images=images, **more)


def _effect(reading: str, unit: str, values: np.ndarray, over_images: Interval, **more) -> Effect:
    values = values[~np.isnan(values)]  # a seed to which the score does not apply tells nothing
    if not len(values):
        return Effect(reading, unit, np.nan, np.nan, np.nan, **more)
    interval = hull(t_interval(values), over_images)
    numbers = (np.mean(values), *interval)
    value, low, high = map(float, np.exp(numbers) if unit == RATIO else numbers)
    return Effect(reading, unit, value, low, high, seeds=len(values), **more)


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


def _weighted(table: CountTable, weights: np.ndarray) -> CountTable:
    """The table summed over each row's draw: one row a resample in place of one per image."""
    return type(table)(*(weights @ getattr(table, field.name) for field in fields(table)))
