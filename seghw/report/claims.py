"""Every sentence that the report asserts, measured: one table, and the verdicts on it."""

import math
from collections.abc import Collection, Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from seghw.config import DRAWN, RECIPES
from seghw.errors import BadInput
from seghw.report import image_claims, stats  # noqa: F401  registers its claims
from seghw.report.run_claims import CLAIMS, Claim, Group
from seghw.report.stats import RATIO, Effect, scaled


def measure(records: Any, keys: Collection[str] | None = None) -> pd.DataFrame:
    unknown = set(keys or ()) - set(CLAIMS)
    if unknown:
        raise BadInput(f"no claim has the key {', '.join(sorted(unknown))}")
    groups = [Group(records, *names) for names in product(DRAWN, RECIPES)]
    rows = []
    for claim in CLAIMS.values():
        if keys is None or claim.key in keys:
            rows += [row(claim, group, e) for group in groups for e in effects(claim, group)]
    return pd.DataFrame(rows)


def effects(claim: Claim, group: Group) -> Iterator[Effect]:
    measured = False
    try:
        for effect in claim.measure(group):
            measured = True
            yield effect
    except BadInput as error:
        if not measured:
            yield Effect("not measured", "", np.empty(0), note=str(error))


def row(claim: Claim, group: Group, effect: Effect) -> dict:
    values = scaled(effect.unit, effect.values)
    values = values[~np.isnan(values)]
    if effect.exact:
        between = stats.Interval(values[-1], values.min(), values.max(), 0.0, math.inf)
    else:
        between = stats.interval(values, effect.image_error)
    back = np.exp if effect.unit == RATIO else np.asarray
    estimate, low, high = (float(back(v)) for v in between[:3])
    return {
        "sentence": claim.number,
        "claim": claim.key,
        "reading": effect.reading,
        "detail": effect.detail,
        "unit": effect.unit,
        "dataset": group.dataset,
        "recipe": group.recipe,
        "seeds": len(effect.seeds),
        "images": effect.images,
        "estimate": estimate,
        "low": low,
        "high": high,
        "image_error": effect.image_error,
        "decides": effect.decides and group.recipe == "report",
        "exact": effect.exact,
        "note": effect.note,
    }
