"""Every sentence that the report asserts, measured on runs; the table of all, and the verdicts.

Here stand the sentences that the records of training decide; those that test images decide are in
``image_claims``. The table is ``figures/claims.csv``, which ``make figures`` writes and everything
else reads: chapters, page, figures and command line.
"""

import math
import textwrap
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seghw.config import COEFFICIENTS, DRAWN, FIGURES, RECIPES, REPORT_LOSSES, SEEDS, TrainConfig
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.report import image_claims, stats  # noqa: F401  the former registers its claims
from seghw.report.run_claims import (
    ABLATED,
    ABOVE_0,
    PARTS,
    Group,
    ablated,
    choose,
    of_validation,
)
from seghw.report.stats import (
    CLAIMS,
    MARGINS,
    NOT_SUPPORTED,
    RATIO,
    ROW_RULE,
    SEEDS_NEEDED,
    SENTENCE_RULE,
    SUPPORTED,
    UNDECIDED,
    Claim,
    Effect,
    scaled,
)

#: What ``make figures`` writes and everything else reads.
CSV = FIGURES / "claims.csv"
RULE = (
    f"Rule: seeds {SEEDS[0]} to {SEEDS[-1]} choose, the further ones judge; where there are too "
    f"few, the row says so. {ROW_RULE} Of validation images no counts are kept: their part is that "
    f"of the same runs' test images, for so many fewer images; ~ where that is not known. "
    f"{SENTENCE_RULE}"
)
#: Factors of the margins under which verdicts are compared: 0.005, 0.01 and 0.02 of IoU.
FACTORS = {"margin_0.005": 0.5, "margin_0.01": 1.0, "margin_0.02": 2.0}


def measure(records: Any, keys: Collection[str] | None = None) -> pd.DataFrame:
    """Measure the sentences; what is missing leaves them undecided, with the reason.

    Args:
        records: ``results.Records``.
        keys: of the sentences wanted; default all.

    Returns:
        One row per effect, ordered by sentence, the shapes first. ``sentence`` (its number) and
        ``claim`` (its key); ``reading``, ``detail``, ``unit``; ``dataset``, ``recipe``; ``seeds``
        (how many judge), ``judged_on`` (which), ``chosen_on_same`` (these have chosen as well);
        ``images``; ``estimate``, ``low``, ``high``; ``error``, ``freedom``, of the interval, of
        logarithms for a ratio; ``image_error``, the part that is due to the choice of images;
        ``margin``; ``seeds_needed``, after which the row is sure to be decided; ``verdict``;
        ``deciding``, whether the sentence rests on it; ``exact``; ``note``; ``run_ids``.

    Raises:
        BadInput: a key is not a claim's.
    """
    if unknown := set(keys or ()) - set(CLAIMS):
        raise BadInput(
            f"no claim has the key {', '.join(sorted(unknown))}; try {', '.join(CLAIMS)}"
        )
    groups = [Group(records, *names) for names in product(DRAWN, RECIPES)]
    full = Group(type(records)(records.folder, "full"), "shapes", "report")
    rows = []
    for claim in (c for c in CLAIMS.values() if keys is None or c.key in keys):
        measured = [_row(claim, g, e) for g in groups for e in _effects(claim, g)]
        if records.profile != "full" and not measured[0]["note"]:
            measured[0]["note"] = _remark(claim, full)
        rows += measured
    return pd.DataFrame(rows)


def ablations(records: Any) -> pd.DataFrame:
    """What each change of the network does on the shapes: rows as in ``measure``, for a figure.

    The effect is the validation IoU with the change minus that without; it is true that the change
    helps if it is above 0. ``claim`` is empty, ``reading`` the name of the change.
    """
    change = Claim(0, "", "the change helps", "", "", ABOVE_0, ablated)
    groups = [Group(records, "shapes", recipe) for recipe in RECIPES]
    return pd.DataFrame(
        _row(change, group, of_validation(name, lambda a, b: b - a, *group.pair(part), **ABLATED))
        for group in groups
        for name, part in PARTS.items()
        if (group.all.part == part).any()
    )


def _effects(claim: Claim, group: Group) -> Iterator[Effect]:
    """What a claim yields, until it meets what is missing."""
    measured = False
    try:
        for effect in claim.measure(group):
            yield effect
            measured = True
    except BadInput as error:
        if not measured:
            yield Effect("not measured", "", np.empty(0), note=str(error))


def _remark(claim: Claim, full: Group) -> str:
    """The same, measured on runs of the report's own size; "" without such runs."""
    for effect in _effects(claim, full):
        row = pd.Series(_row(claim, full, effect))
        if row.seeds and not row.exact:
            text = (
                f"at the report's own size (shapes, report, seeds {row.judged_on}): {row.reading}"
            )
            return f"{text}{row.detail and f' ({row.detail})'}, {effect_text(row)}"
        break
    return ""


def _row(claim: Claim, group: Group, effect: Effect) -> dict[str, Any]:
    values = scaled(effect.unit, effect.values)
    values = values[np.isfinite(values)]  # a seed to which the score does not apply says nothing
    if effect.exact:
        between = stats.Interval(values[-1], values.min(), values.max(), 0.0, math.inf)
    else:
        between = stats.interval(values, effect.image_error)
    margin = MARGINS.get(effect.unit, math.nan)
    needed = math.nan
    if len(values) > 1 and not effect.exact:
        needed = stats.seeds_needed(values.std(ddof=1), effect.image_error, margin)
    back = np.exp if effect.unit == RATIO else np.asarray
    estimate, low, high = (float(back(value)) for value in between[:3])
    same = not effect.exact and not set(effect.seeds).isdisjoint(effect.chosen_on)
    row = {
        "sentence": claim.number,
        "claim": claim.key,
        "reading": effect.reading,
        "detail": effect.detail,
        "unit": effect.unit,
        "dataset": group.dataset,
        "recipe": group.recipe,
        "seeds": len(effect.seeds) if effect.exact else len(values),
        "judged_on": _ranges(effect.seeds),
        "chosen_on_same": same,
        "images": effect.images,
        "estimate": estimate,
        "low": low,
        "high": high,
        "error": between.error,
        "freedom": between.freedom,
        "image_error": effect.image_error,
        "margin": float(back(margin)),
        "seeds_needed": needed,
        "verdict": "",
        "deciding": effect.deciding and group.recipe == "report",
        "exact": effect.exact,
        "note": effect.note,
        "run_ids": " ".join(effect.runs),
    }
    return row | {"verdict": judge(pd.Series(row), claim.true_range)[0]}


def _ranges(seeds: tuple[int, ...]) -> str:
    """``3-7`` for five seeds in a row."""
    in_a_row = seeds and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}-{seeds[-1]}" if in_a_row and len(seeds) > 1 else " ".join(map(str, seeds))


def judge(row: Any, ends: tuple[float, float], factor: float = 1.0) -> tuple[str, float]:
    """What ``stats.verdict`` says of a row of the table, with the margin times a factor.

    Exact rows have no margin: they lie between the ends, or they do not.
    """
    low, high = ends
    if row.exact:
        return (SUPPORTED if low <= row.low and row.high <= high else NOT_SUPPORTED), 0.0
    if row.seeds < SEEDS_NEEDED or math.isnan(row.error):
        return UNDECIDED, 1.0
    margin = MARGINS.get(row.unit, 0.0) * factor
    mean, ends = float(scaled(row.unit, row.estimate)), scaled(row.unit, ends)
    return stats.verdict(mean, row.error, row.freedom, ends, margin)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each sentence of a table.

    Returns:
        One row per sentence: ``sentence``, ``claim``, ``text``, ``section``, ``figures``,
        ``question``; ``verdict``; ``p``, its error probability; ``exact``, that it rests on facts;
        ``holm``, ``p`` adjusted for all sentences that are judged by estimates (0 for exact facts,
        1 where no row decides); ``after_holm``, the verdict that then remains; the verdicts under
        half the margin, the margin and twice that, as ``FACTORS`` names them; ``row``, the label in
        ``table`` of the row that turned it, if any.
    """
    out = []
    for key, rows in table.groupby("claim", sort=False):
        claim, rows = CLAIMS[key], rows[rows.deciding]
        judged = [judge(row, claim.true_range) for row in rows.itertuples()]
        verdict, p = stats.sentence(judged)
        shown = {"sentence": claim.number, "claim": key, "text": claim.text}
        shown |= {"section": claim.section, "figures": claim.figures, "question": claim.question}
        shown |= {"verdict": verdict, "p": p, "exact": bool(len(rows) and rows.exact.all())}
        for name, factor in FACTORS.items():
            under = [judge(row, claim.true_range, factor) for row in rows.itertuples()]
            shown[name] = stats.sentence(under)[0]
        out.append(shown | {"row": _turning(rows.index, judged, verdict)})
    sentences = pd.DataFrame(out)
    estimated = ~sentences.exact & sentences.row.notna()
    sentences["holm"] = np.where(sentences.exact, 0.0, 1.0)
    sentences.loc[estimated, "holm"] = stats.holm(sentences.p[estimated])
    stands = sentences.holm <= 1 - stats.LEVEL
    sentences["after_holm"] = sentences.verdict.where(stands, UNDECIDED)
    return sentences


def _turning(labels: pd.Index, judged: list[tuple[str, float]], verdict: str) -> float:
    """Of the rows the weakest that is for it, the strongest that is against it, or an open one."""
    if verdict.startswith(NOT_SUPPORTED):
        choices = [
            (p, label) for (v, p), label in zip(judged, labels, strict=True) if v != SUPPORTED
        ]
        return min(choices)[1]
    pairs = [(p, -label) for (_, p), label in zip(judged, labels, strict=True)]
    return -max(pairs)[1] if pairs else math.nan


#: Learning rates that each loss gets, and how many seeds its best setting gets; 8 where not named.
#: The numbers of seeds follow from the spread over the first three: under ``report`` the
#: coefficients differ by less than their seeds do.
RATES = {"report": (1e-3, 1e-4, 1e-5), "corrected": (1e-3, 4e-3, 1.6e-2)}
SEEDS_PLANNED = {("shapes", "report"): 16, ("coco", "report"): 13}


def planned_runs(records: Any) -> list[TrainConfig]:
    """The runs that the sentences still need, fixed before any of them was looked at.

    1. Every loss and coefficient at three learning rates, seeds 0 to 2 (equal tuning). Under
       ``corrected`` also what is usual beside the report's: cross-entropy per class, alone and with
       Dice (coefficient 1), and a plain U-Net with the loss of the ablation.
    2. The best setting of each, by the validation IoU of these seeds, with counts of its test
       images: all of its seeds where test images are scored, else the first three, for the part of
       the error that is due to the images. The further seeds judge it, by ``RULE``; what is usual
       stands beside sentences 7 and 12, on test images, and has no vote.
    """
    first, best = [], []
    for family, recipe in product(DRAWN, RECIPES):
        group, coefficients = Group(records, family, recipe), map(float, COEFFICIENTS[family])
        settings = [("mse", None), ("dice", None), *(("mse_dice", c) for c in coefficients)]
        settings = [(*setting, "munet") for setting in settings]
        if recipe == "corrected":
            settings += [("bce", None, "munet"), ("bce_dice", 1.0, "munet")]
            settings += [("mse_dice", float(COEFFICIENTS[family][0]), "unet")]
        first += [
            TrainConfig(
                group.dataset, recipe, loss, rate, c, seed, records.profile, network=network
            )
            for seed, rate, (loss, c, network) in product(SEEDS, RATES[recipe], settings)
        ]
        scored = []
        with suppress(BadInput):  # what has no runs yet has no best setting either
            scored += map(group.best, REPORT_LOSSES)
            scored.append(group.coefficients()[COEFFICIENTS[family][-1]])
            scored += group.pair(PARTS["no ASPP"])
        scored = {replace(runs.config.iloc[0], seed=0) for runs in scored}
        for (loss, _, part), runs in group.all.groupby(["loss", "coefficient", "part"]):
            setting = replace(choose(runs).config.iloc[0], seed=0)
            usual = loss not in REPORT_LOSSES or setting.network == "unet"
            seeds = 8 if part or usual else SEEDS_PLANNED.get((family, recipe), 8)
            seeds = seeds if usual or setting in scored else len(SEEDS)
            best += [replace(setting, seed=seed) for seed in range(seeds)]
    folder = Path(records.folder, records.profile)
    planned = [c for c in first if not (folder / c.run_id / "run.json").is_file()]
    planned += [c for c in best if not (folder / c.run_id / "counts.npz").is_file()]
    return list(dict.fromkeys(planned))


def write_claims(records: Any, path: str | Path = CSV) -> pd.DataFrame:
    """Measure every sentence and write the table, whole."""
    table = measure(records)
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    return table


def read_claims(path: str | Path = CSV) -> pd.DataFrame:
    """The table that ``write_claims`` wrote.

    Raises:
        BadInput: it is missing or damaged.
    """
    texts = ("reading", "detail", "unit", "dataset", "judged_on", "note", "run_ids")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(texts, str))
        table[list(texts)] = table[list(texts)].fillna("")
        table[["claim", "deciding", "exact", "estimate", "low", "high", "error"]]
        return table
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} is missing or damaged; `make figures` writes it") from error


# -- as text --------------------------------------------------------------------------------------


def effect_text(row: Any) -> str:
    """``+0.012 [-0.003, +0.027] IoU``; a range without its middle for exact ones."""
    if math.isnan(row.estimate):
        return "-"
    plain = row.unit in (RATIO, "loss")  # three significant digits of what cannot be negative
    value, low, high = (
        f"{v:#.3g}".removesuffix(".") if plain else f"{v:+.3f}"
        for v in (row.estimate, row.low, row.high)
    )
    if row.exact:
        return f"{value} {row.unit}" if low == high else f"{low} to {high} {row.unit}"
    return f"{value} {row.unit}" if math.isnan(row.low) else f"{value} [{low}, {high}] {row.unit}"


def basis(row: Any) -> str:
    """On what a row rests: ``500 images, 13 seeds (3-15)``.

    A ``~`` says that the images' part of the error is not known.
    """
    if row.exact or not row.seeds:
        return "exact" if row.exact else "no runs"
    seeds = f"{row.seeds} seed{'' if row.seeds == 1 else 's'} ({row.judged_on})"
    chose = ", which chose too" if row.chosen_on_same else ""
    return f"{row.images} images{'~' * math.isnan(row.image_error)}, {seeds}{chose}"


def power(row: Any) -> str:
    """How many seeds would surely decide a row, or that more seeds cannot; "" without a margin."""
    if row.exact or math.isnan(row.margin) or row.seeds < 2:
        return ""
    never = math.isnan(row.seeds_needed)
    return "sure only with more images" if never else f"sure from {row.seeds_needed:.0f} seeds"


def as_text(table: pd.DataFrame) -> str:
    """Every sentence with its question, its rows and its verdict, and the rule below."""
    lines, width = [], max(len(effect_text(row)) for row in table.itertuples())
    sentences = verdicts(table)
    for s in sentences.itertuples():
        rows = table[table.claim == s.claim]
        figures = s.figures and f", figures {s.figures}"
        lines += [f"{s.sentence}. {s.text} (section {s.section}{figures}): {s.verdict.upper()}"]
        for text in (s.question, *dict.fromkeys(note for note in rows.note if note)):
            lines += textwrap.wrap(text, 97, initial_indent="   ", subsequent_indent="   ")
        lines += [
            f" {'*' if r.deciding else ' '} {r.dataset:8} {r.recipe:9}  {effect_text(r):{width}}  "
            f"{r.verdict:13}  {r.reading}{r.detail and f': {r.detail}'}; {basis(r)}"
            f"{power(r) and f'; {power(r)}'}"
            for r in rows.itertuples()
        ]
        lines += [""]
    return "\n".join([*lines, *textwrap.wrap(RULE, 100), "", _many_text(sentences)])


def _many_text(sentences: pd.DataFrame) -> str:
    """What is left when all sentences are judged at once, and what depends on the margin."""
    fallen = sentences[sentences.verdict != sentences.after_holm].sentence.tolist()
    moved = sentences[sentences[list(FACTORS)].nunique(axis=1) > 1]
    judged = (~sentences.exact & (sentences.verdict != UNDECIDED)).sum()
    lines = [
        f"{judged} verdicts rest on estimates; up to {judged * (1 - stats.LEVEL):.1f} of them "
        "would be wrong by chance. Judged together (Holm, 1979), these become undecided: "
        f"{', '.join(map(str, fallen)) or 'none'}.",
    ]
    for _, s in moved.iterrows():
        under = ", ".join(f"{s[name]} at {name.removeprefix('margin_')}" for name in FACTORS)
        lines.append(f"Sentence {s.sentence} depends on the margin: {under}.")
    return "\n".join(line for text in lines for line in textwrap.wrap(text, 100))
