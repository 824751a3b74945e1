"""Every sentence that the report asserts, measured on runs: the table of all, and the verdicts.

The table is ``figures/claims.csv``, which ``make figures`` writes. Chapters and command line read
it; figures and page measure anew.

The path of a verdict: a claim of ``run_claims`` or ``image_claims`` gets runs from a ``Group`` and
makes rows of them with ``effect``, whose intervals are those of ``stats.summary``. ``_judged`` adds
each row's verdict by ``stats.verdict``: that is the table's column ``verdict``. ``verdicts`` makes
the verdict on a sentence from its deciding rows, by ``stats.sentence``.
"""

import math
import textwrap
from collections.abc import Collection
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from seghw.config import DRAWN, FIGURES, RECIPES, SEEDS
from seghw.errors import BadInput
from seghw.report import image_claims, stats  # noqa: F401  the former registers its claims
from seghw.report.run_claims import ABLATED, ABOVE_0, CLAIMS, PARTS, Group, effect, of_validation
from seghw.report.stats import NOT_SUPPORTED, RATIO, SUPPORTED, UNDECIDED

CSV = FIGURES / "claims.csv"
COLUMNS = [
    *("sentence", "claim", "reading", "detail", "unit", "dataset", "recipe", "seeds"),
    *("judged_on", "chosen_on_same", "images", "estimate", "low", "high", "error", "freedom"),
    *("image_error", "margin", "seeds_needed", "verdict", "deciding", "exact", "note", "run_ids"),
]
RULE = (
    f"Rule: seeds {SEEDS[0]} to {SEEDS[-1]} choose, the further ones judge; where there are too "
    f"few, the row says so. {stats.ROW_RULE} Of validation images no counts are kept: their part "
    "is that of the same runs' test images, for so many fewer images; ~ where that is not known. "
    f"{stats.SENTENCE_RULE}"
)
#: Factors of the margins under which verdicts are compared: 0.005, 0.01 and 0.02 of IoU.
FACTORS = {"margin_0.005": 0.5, "margin_0.01": 1.0, "margin_0.02": 2.0}


def measure(records: Any, keys: Collection[str] | None = None) -> pd.DataFrame:
    """Measure the sentences; what is missing leaves them undecided, with the reason.

    Args:
        records: ``results.Records``.
        keys: of the sentences wanted, default all; ``BadInput`` for one that is no claim's.

    Returns:
        One row per effect, ordered by sentence, the shapes first. ``sentence`` (its number) and
        ``claim`` (its key); ``reading``, ``detail``, ``unit``; ``dataset``, ``recipe``; ``seeds``
        (how many judge), ``judged_on`` (which), ``chosen_on_same`` (these have chosen as well);
        ``images``; ``estimate``, ``low``, ``high``; ``error``, ``freedom``, of the interval, of
        logarithms for a ratio; ``image_error``, the part that is due to the choice of images;
        ``margin``; ``seeds_needed``, after which the row is sure to be decided; ``verdict``;
        ``deciding``, whether the sentence rests on it; ``exact``; ``note``; ``run_ids``.
    """
    if unknown := set(keys or ()) - set(CLAIMS):
        raise BadInput(
            f"no claim has the key {', '.join(sorted(unknown))}; try {', '.join(CLAIMS)}"
        )
    groups = [Group(records, *names) for names in product(DRAWN, RECIPES)]
    full = Group(replace(records, profile="full"), "shapes", "report")
    rows = []
    for key in CLAIMS if keys is None else [key for key in CLAIMS if key in keys]:
        measured = [row for group in groups for row in _rows(key, group)]
        if records.profile != "full" and not measured[0]["note"]:
            measured[0]["note"] = _remark(key, full)
        rows += measured
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(key: str, group: Group) -> list[dict[str, Any]]:
    """What a claim yields, until it meets what is missing; the verdict on each row."""
    claim, rows = CLAIMS[key], []
    try:
        for row in claim.measure(group):
            rows.append(row)
    except BadInput as error:
        rows = rows or [effect("not measured", "", [], note=str(error))]
    more = {"claim": key, "sentence": claim.number}
    return [_judged(row, group, claim.true_range) | more for row in rows]


def _judged(row: dict[str, Any], group: Group, true_range: tuple[float, float]) -> dict[str, Any]:
    row |= {"dataset": group.dataset, "recipe": group.recipe}
    row["deciding"] = row["deciding"] and group.recipe == "report"
    return row | {"verdict": stats.verdict(SimpleNamespace(**row), true_range)[0]}


def _remark(key: str, full: Group) -> str:
    """The same, measured on runs of the report's own size; "" without such runs."""
    row = SimpleNamespace(**_rows(key, full)[0])
    if not row.seeds or row.exact:
        return ""
    reading = f"{row.reading} ({row.detail})" if row.detail else row.reading
    size = f"at the report's own size (shapes, report, seeds {row.judged_on})"
    return f"{size}: {reading}, {effect_text(row)}"


def ablations(records: Any) -> pd.DataFrame:
    """What each change of the network does on the shapes: rows as in ``measure``, for a figure.

    The effect is the validation IoU with the change minus that without; it is true that the change
    helps if it is above 0. ``reading`` is the name of the change.
    """
    groups, helps = [Group(records, "shapes", recipe) for recipe in RECIPES], lambda a, b: b - a
    rows = [
        _judged(of_validation(name, helps, *group.pair(part), **ABLATED), group, ABOVE_0)
        for group in groups
        for name, part in PARTS.items()
        if (group.all.part == part).any()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each sentence of a table.

    Returns:
        One row per sentence: ``sentence``, ``claim``, ``text``, ``section``, ``figures``,
        ``question``; ``verdict``; ``p``, its error probability; ``exact``, that it rests on facts,
        or ``tested``, on estimates; ``holm``, ``p`` adjusted for all that are tested (0 for exact
        facts, 1 where no row decides); ``after_holm``, the verdict that then remains; the verdicts
        under half the margin, the margin and twice that, as ``FACTORS`` names them; ``row``, the
        label in ``table`` of the row that turned it, if any.
    """
    out = []
    for key, rows in table.groupby("claim", sort=False):
        claim, rows = CLAIMS[key], rows[rows.deciding]
        under = {
            name: [stats.verdict(row, claim.true_range, factor) for row in rows.itertuples()]
            for name, factor in FACTORS.items()
        }
        judged = under["margin_0.01"]
        verdict, p = stats.sentence(judged)
        question = " ".join(claim.measure.__doc__.split())
        about = {"sentence": claim.number, "claim": key, "question": question}
        about |= {name: getattr(claim, name) for name in ("text", "section", "figures")}
        about |= {"verdict": verdict, "p": p, "exact": bool(len(rows) and rows.exact.all())}
        about |= {name: stats.sentence(answers)[0] for name, answers in under.items()}
        out.append(about | {"row": _turning(rows.index, judged, verdict)})
    sentences = pd.DataFrame(out)
    sentences["tested"] = ~sentences.exact & sentences.row.notna()
    sentences["holm"] = np.where(sentences.exact, 0.0, 1.0)
    sentences.loc[sentences.tested, "holm"] = stats.holm(sentences.p[sentences.tested])
    stands = sentences.holm <= 1 - stats.LEVEL
    sentences["after_holm"] = sentences.verdict.where(stands, UNDECIDED)
    return sentences


def _turning(labels: pd.Index, judged: list[tuple[str, float]], verdict: str) -> float:
    """Of the rows the weakest that is for it, the strongest that is against it, or an open one."""
    levels = pd.Series([p for _, p in judged], labels, dtype=float)
    if verdict.startswith(NOT_SUPPORTED):
        return levels[[answer != SUPPORTED for answer, _ in judged]].idxmin()
    return levels.idxmax() if len(levels) else math.nan


def read_claims(path: str | Path = CSV) -> pd.DataFrame:
    """The table that ``make figures`` wrote; ``BadInput`` if it is missing or damaged."""
    texts = ("reading", "detail", "unit", "dataset", "judged_on", "note", "run_ids")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(texts, str))[COLUMNS]
        if table.empty or not set(table.claim) <= set(CLAIMS):
            raise ValueError("its claims are those of another version")
        return table.fillna(dict.fromkeys(texts, ""))
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
    seeds = f"{seeds_text(row.seeds)} ({row.judged_on})"
    chose = ", which chose too" if row.chosen_on_same else ""
    return f"{row.images} images{'~' * math.isnan(row.image_error)}, {seeds}{chose}"


def seeds_text(*counts: int) -> str:
    """``1 seed``, ``13 seeds``; of both sides of a difference ``1 and 13 seeds``."""
    return f"{' and '.join(map(str, counts))} seed{'' if counts[-1] == 1 else 's'}"


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
    tested = sentences.tested.sum()
    lines = [
        f"{tested} sentences are tested by estimates; on average at most "
        f"{tested * (1 - stats.LEVEL):.2f} verdicts are wrong by chance. Judged together (Holm, "
        f"1979), these become undecided: {', '.join(map(str, fallen)) or 'none'}.",
    ]
    for _, s in moved.iterrows():
        under = ", ".join(f"{s[name]} at {name.removeprefix('margin_')}" for name in FACTORS)
        lines.append(f"Sentence {s.sentence} depends on the margin: {under}.")
    return "\n".join(line for text in lines for line in textwrap.wrap(text, 100))
