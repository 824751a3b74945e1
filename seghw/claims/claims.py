"""Every sentence that the report asserts, with the measurement that it stands or falls by.

``check_claims`` measures them on the run records, each for both data families under both recipes
where that applies. The verdict on the report's sentence rests on the recipe ``report``; the row of
``corrected`` stands beside it: what remains when the faults are fixed. How an interval becomes a
verdict is the rule of ``seghw.claims.stats``; no verdict is written here.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import product

from seghw.claims import facts, images
from seghw.claims import measures as measured
from seghw.claims.measures import Group
from seghw.claims.plan import planned
from seghw.claims.stats import Claim, Effect, Result
from seghw.claims.table import effect_text, reading_text
from seghw.config import DRAWN, RECIPES
from seghw.errors import BadInput
from seghw.results import Records

ABOVE_0, BELOW_0 = (0.0, math.inf), (-math.inf, 0.0)
ABOVE_1, BELOW_1 = (1.0, math.inf), (0.0, 1.0)


def _combination(group: Group) -> Iterator[Effect]:
    yield measured.coefficient_minus_better(group)
    yield from images.combination_minus_best(group)


def _single_losses(group: Group) -> Iterator[Effect]:
    yield measured.mse_minus_dice(group)
    yield from images.mse_minus_dice(group)


CLAIMS = (
    Claim(
        "dice_bounded",
        "the Dice loss lies between 0 and 1",
        "3",
        "true if every value lies in [0, 1], false if one lies outside",
        (0.0, 1.0),
        facts.dice_range,
        "3, 4",
    ),
    Claim(
        "dice_drowned",
        "without a coefficient the MSE drowns the Dice term out",
        "3",
        "true if MSE / Dice is above 1 over training, false if below",
        ABOVE_1,
        measured.unweighted_ratio,
        "5, 6",
    ),
    Claim(
        "same_scale",
        "60 (COCO: 100) brings both terms to the same scale",
        "3",
        "true if MSE / (coefficient x Dice) lies within [0.5, 2], false if outside",
        (0.5, 2.0),
        measured.largest_ratio,
        "13, 14",
    ),
    Claim(
        "largest_best",
        "the largest coefficient trains best",
        "3",
        "true if its IoU is above the best of the others, false if below",
        ABOVE_0,
        measured.largest_minus_best,
        "13, 14",
    ),
    Claim(
        "middle_worst",
        "the middle coefficient trains worst",
        "3",
        "true if its IoU is below the worst of the others, false if above",
        BELOW_0,
        measured.middle_minus_worst,
        "15, 16",
    ),
    Claim(
        "equal_best",
        "losses of equal magnitude train best",
        "3",
        "true if the coefficient with the most equal terms has the higher IoU, false if the lower",
        ABOVE_0,
        measured.most_equal_minus_others,
        "13 to 16",
    ),
    Claim(
        "combination_best",
        "MSE + Dice gives the best segmentation",
        "4.4",
        "true if its IoU is above the better of MSE and Dice, false if below",
        ABOVE_0,
        _combination,
        "17 to 34",
    ),
    Claim(
        "mse_before_dice",
        "MSE alone comes second, Dice alone last",
        "4.4",
        "true if the IoU of MSE is above that of Dice, false if below",
        ABOVE_0,
        _single_losses,
        "17 to 28",
    ),
    Claim(
        "overfits_less",
        "the combination overfits less",
        "4.4",
        "true if the other losses leave a wider gap from training to validation, false if narrower",
        ABOVE_0,
        measured.overfitting,
        "1 to 6",
    ),
    Claim(
        "dice_unstable",
        "Dice is difficult and unstable to minimize",
        "4.4",
        "true if Dice falls by a smaller share of its start than MSE, false if by a larger",
        BELOW_1,
        measured.descent,
        "1 to 4",
    ),
    Claim(
        "skips_crucial",
        "skip connections are crucial",
        "1",
        "true if the IoU is higher with them, false if lower",
        ABOVE_0,
        measured.without_skips,
        "",
    ),
    Claim(
        "aspp_helps",
        "ASPP makes the network better at identifying objects",
        "1",
        "true if the IoU is higher with it, false if lower",
        ABOVE_0,
        measured.without_aspp,
        "",
    ),
    Claim(
        "aspp_sizes",
        "ASPP helps with objects of varied sizes",
        "1",
        "true if the recall of small and large objects lies closer together with it, false if not",
        ABOVE_0,
        images.small_minus_large,
        "",
    ),
    Claim(
        "dilation_context",
        "the larger the dilation, the larger the context",
        "1",
        "true if branches of larger rate take in more, false if less",
        ABOVE_0,
        facts.dilation,
        "",
    ),
    Claim(
        "middle_only",
        "the network often predicts the middle of the object only",
        "5.3",
        "true if recall inside is above recall at the rim, false if below",
        ABOVE_0,
        images.middle_minus_rim,
        "35 to 39",
    ),
    Claim(
        "rough_boundaries",
        "the network's boundaries are not smooth",
        "5.3",
        "true if more of its masks is outline than of the true ones, false if less",
        ABOVE_1,
        images.roughness,
        "29 to 34",
    ),
    Claim(
        "conservative",
        "the network is conservative, with few false positives",
        "5.3",
        "true if it adds less than it misses, false if more",
        BELOW_0,
        images.conservatism,
        "29 to 34",
    ),
    Claim(
        "sam_complete",
        "SAM is far more complete than the network",
        "5.3",
        "true if its recall is higher, false if lower",
        ABOVE_0,
        facts.sam_not_run,
        "35 to 45",
    ),
    Claim(
        "sam_boundaries",
        "SAM follows the boundaries of most objects, the network does not",
        "5.3",
        "true if its boundary F-score is higher, false if lower",
        ABOVE_0,
        facts.sam_not_run,
        "35 to 45",
    ),
    Claim(
        "sam_aggressive",
        "SAM has more false positives and over-segments",
        "5.3",
        "true if it adds more than the network does, false if less",
        ABOVE_0,
        facts.sam_not_run,
        "35 to 39",
    ),
)


def check_claims(
    records: Records,
    sam_results: Sequence[tuple[str, Effect]] = (),
    *,
    keys: Collection[str] | None = None,
) -> list[Result]:
    """Measure every claim; records that are missing leave it undecided, with the reason.

    Args:
        records: run records, as for the figures.
        sam_results: effects measured elsewhere, each with the key of its claim and marked with
            data set and recipe; they take the place of the claim's own rows.
        keys: of the claims wanted; default all.

    Returns:
        One result an effect, in the order of ``CLAIMS``; of each claim, first the shapes.

    Raises:
        BadInput: a key is not a claim's.
    """
    known = {claim.key for claim in CLAIMS}
    keys = known if keys is None else set(keys)
    unknown = (keys | {key for key, _ in sam_results}) - known
    if unknown:
        raise BadInput(f"no claim has the key {', '.join(sorted(unknown))}")
    records = planned(records)
    groups = [Group(records, *names) for names in product(DRAWN, RECIPES)]
    full = Group(Records(records.folder, "full"), "shapes", "report")
    results = []
    for claim in (claim for claim in CLAIMS if claim.key in keys):
        given = [effect for key, effect in sam_results if key == claim.key]
        effects = given or [e for group in groups for e in _measure(claim, group)]
        if records.profile != "full":
            effects[0] = replace(effects[0], note=effects[0].note or _remark(claim, full))
        results += [Result(claim, effect) for effect in effects]
    return results


def _remark(claim: Claim, full: Group) -> str:
    """The same, measured on runs of the report's own size; "" where that takes what is missing."""
    try:
        first = next(iter(claim.measure(full)))
    except BadInput:
        return ""
    if first.exact or not math.isfinite(first.value):
        return ""
    basis = f"shapes, report, {first.seeds} seed" + "s" * (first.seeds > 1)
    return f"at the report's own size ({basis}): {reading_text(first)}, {effect_text(first)}"


def _measure(claim: Claim, group: Group) -> Iterator[Effect]:
    where = {"dataset": group.dataset, "recipe": group.recipe}
    try:
        for effect in claim.measure(group):
            yield replace(effect, **where)
    except BadInput as error:
        nothing = (math.nan,) * 3
        yield Effect("not measured", "", *nothing, note=str(error), **where)
