"""The report's sentences about SAM, measured with the segmenter at hand.

The segmenter is prompted with the true boxes, as figures 35 to 43 show it; our network sees the
image alone. As in ``claim_images``, the recipe ``report`` is judged on the pixels that its network
can paint, and the segmenter beside it on the same ones. SAM-tiny is not SAM, nor is anything else
that sees less than a published SAM: such rows stand in the table and decide nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from seghw import metrics
from seghw.claims.images import class_mean, paintable
from seghw.claims.stats import Effect, from_images
from seghw.config import DRAWN, RECIPES
from seghw.errors import BadInput
from seghw.results import Records

KEYS = ("sam_complete", "sam_boundaries", "sam_aggressive")
#: What every published SAM and SAM 2 sees; a model that sees less is somebody's own.
PUBLISHED_SIDE = 1024


def sam_effects(records: Records) -> list[tuple[str, Effect]]:
    """What ``check_claims`` takes as ``sam_results``: a claim's key and an effect each.

    Data and recipes without runs, or without weights, give effects that were not measured.

    Raises:
        BadInput: there is no segmenter.
    """
    decides = records.segmenter.side == PUBLISHED_SIDE
    found = []
    for family, recipe in product(DRAWN, RECIPES):
        where = {"dataset": family, "recipe": recipe, "decides": decides}
        try:
            where["dataset"] = records.runs(family, recipe, "mse_dice")[0].config.dataset
            measured = list(_effects(records, family, recipe))
        except BadInput as error:
            nothing = Effect("not measured", "", *(np.nan,) * 3, note=str(error))
            measured = [(key, nothing) for key in KEYS]
        found += [(key, replace(effect, **where)) for key, effect in measured]
    return found


def _effects(records: Records, family: str, recipe: str) -> Iterator[tuple[str, Effect]]:
    ours = records.evaluations(family, recipe, "mse_dice")
    if not ours:
        raise BadInput(f"{family}, recipe {recipe}: the best MSE + Dice runs have no weights")
    comparison = records.sam_comparison(family)
    side = comparison.data.images.shape[-1]
    grid = paintable(ours[0].run.config, side)
    truth = grid.of(comparison.data.masks)
    sam = grid.of(comparison.classes["segmenter, true boxes"].masks)
    painted = [grid.of(evaluation.masks[comparison.picked]) for evaluation in ours]
    cells = max(1, round(comparison.tolerance * len(grid.rows) / side))  # of the grid
    tolerance = f"tolerance {cells * side / len(grid.rows):g} px"
    counts = [(metrics.count(sam, truth), metrics.count(masks, truth)) for masks in painted]
    outlines = [
        (
            metrics.count_boundaries(sam, truth, cells),
            metrics.count_boundaries(masks, truth, cells),
        )
        for masks in painted
    ]
    name, _, rest = records.segmenter.name.partition(",")
    note = ""
    if records.segmenter.side != PUBLISHED_SIDE:
        note = f"{name} ({rest.strip() or 'not a published model'}) is not SAM; "
        note += "no published SAM checkpoint has been run"
    for key, unit, what, score, tables, detail in (
        ("sam_complete", "recall", "recall", recall, counts, ""),
        ("sam_boundaries", "F", "boundary F-score", boundary_f, outlines, tolerance),
        ("sam_aggressive", "%", "false positives, % of the image", false_alarm, counts, ""),
    ):
        reading = f"{what}: {name} (true boxes) minus the network"

        def difference(of_sam, of_ours, score=score):
            return score(of_sam) - score(of_ours)

        yield key, from_images(reading, unit, difference, tables, detail=detail, note=note)


def recall(counts: metrics.Counts) -> np.ndarray:
    """Mean over the classes, one number per row, as all of these."""
    return class_mean(metrics.recall(counts, per_image=True))


def boundary_f(counts: metrics.BoundaryCounts) -> np.ndarray:
    return class_mean(metrics.boundary_f(counts, per_image=True))


def false_alarm(counts: metrics.Counts) -> np.ndarray:
    return class_mean(100 * metrics.false_positive_area(counts, per_image=True))
