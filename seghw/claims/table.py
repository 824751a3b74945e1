"""The claims and their verdicts as text: for a terminal, or in markdown for a notebook."""

import math
import textwrap
from collections.abc import Sequence

from seghw.claims.stats import RATIO, RULE, Effect, Result, by_claim, sentence_verdict

MARKDOWN_HEAD = (
    "claim",
    "data",
    "recipe",
    "measured",
    "effect [95 % interval]",
    "true if",
    "images",
    "seeds",
    "verdict",
)


def claims_table(results: Sequence[Result], *, markdown: bool = False) -> str:
    """Every claim with its question, its rows and its verdict, and the rule below.

    Args:
        results: what ``check_claims`` gives.
        markdown: one markdown table instead of blocks of text.
    """
    return _markdown(results) if markdown else _text(results)


def _text(results: Sequence[Result]) -> str:
    lines = []
    width = max(len(effect_text(row.effect)) for row in results)
    for number, rows in enumerate(by_claim(results), start=1):
        claim = rows[0].claim
        lines += [
            f"{number}. {claim.text} ({_where(rows[0])}): {sentence_verdict(rows).upper()}",
            f"   {claim.question}",
            *(f"   {note}" for note in _notes(rows)),
            *(_text_row(row, width) for row in rows),
            "",
        ]
    return "\n".join([*lines, *textwrap.wrap(RULE, 100)])


def _text_row(row: Result, width: int) -> str:
    effect = row.effect
    mark = "*" if row.decides else " "
    return (
        f" {mark} {effect.dataset:8} {effect.recipe:9}  {effect_text(effect):{width}}  "
        f"{row.verdict:13}  {basis(effect):21}  {reading_text(effect)}"
    )


def reading_text(effect: Effect) -> str:
    """What was measured, with what is peculiar to the data set."""
    return f"{effect.reading}: {effect.detail}" if effect.detail else effect.reading


def basis(effect: Effect) -> str:
    """On how many images and seeds the row rests."""
    seeds = f"{effect.seeds} seed{'' if effect.seeds == 1 else 's'}"
    if effect.exact:
        return f"exact, {seeds}" if effect.seeds else "exact"
    return f"{effect.images} images, {seeds}" if effect.seeds else "no runs"


def _markdown(results: Sequence[Result]) -> str:
    lines = [_cells(MARKDOWN_HEAD), _cells(["---"] * len(MARKDOWN_HEAD))]
    for number, rows in enumerate(by_claim(results), start=1):
        claim = rows[0].claim
        sentence = f"**{number}. {claim.text}** ({_where(rows[0])})"
        lines.append(
            _cells(
                [sentence, "", "", question_text(rows), *[""] * 4, f"**{sentence_verdict(rows)}**"]
            )
        )
        lines += [_cells(_markdown_row(row)) for row in rows]
    return "\n".join([*lines, "", RULE.replace("*", r"\*")])


def _markdown_row(row: Result) -> list[str]:
    effect = row.effect
    return [
        r"\*" if row.decides else "",
        effect.dataset,
        effect.recipe,
        reading_text(effect),
        effect_text(effect),
        _condition(row.claim.holds),
        "exact" if effect.exact else str(effect.images),
        str(effect.seeds),
        row.verdict,
    ]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _where(row: Result) -> str:
    figure = row.claim.figure
    return f"section {row.claim.where}" + (f", figures {figure}" if figure else "")


def question_text(rows: Sequence[Result]) -> str:
    """What a claim's rows are to show, and what they remark."""
    return "; ".join([rows[0].claim.question, *_notes(rows)])


def _notes(rows: Sequence[Result]) -> list[str]:
    """What the rows remark, each remark once."""
    return list(dict.fromkeys(row.effect.note for row in rows if row.effect.note))


def effect_text(effect: Effect) -> str:
    """``+0.012 [-0.003, +0.027] IoU``; a range without its middle for exact ones."""
    if math.isnan(effect.value):
        return "-"
    value, low, high = (
        number_text(v, effect.unit) for v in (effect.value, effect.low, effect.high)
    )
    if effect.exact:
        return f"{value} {effect.unit}" if low == high else f"{low} to {high} {effect.unit}"
    if math.isnan(effect.low):
        return f"{value} {effect.unit}"
    return f"{value} [{low}, {high}] {effect.unit}"


def number_text(value: float, unit: str) -> str:
    """Three significant digits of what cannot be negative, three decimals of a difference."""
    if unit in (RATIO, "loss"):
        return f"{value:#.3g}".removesuffix(".")
    return f"{value:+.3f}"


def _condition(holds: tuple[float, float]) -> str:
    low, high = holds
    if math.isinf(high):
        return f"> {low:g}"
    return f"< {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"
