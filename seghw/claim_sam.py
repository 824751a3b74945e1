"""The report's sentences about SAM, measured with the segmenter at hand.

The segmenter is prompted with the true boxes, as figures 35 to 43 show it; our network sees the
image alone. As in ``claim_images``, the recipe ``report`` is judged on the pixels that its network
can paint, and the segmenter beside it on the same ones. SAM-tiny is not SAM: its rows stand in the
table and decide nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from seghw import metrics
from seghw.claim_images import class_mean
from seghw.claim_parts import paintable
from seghw.errors import BadInput
from seghw.recipes import RECIPES
from seghw.records import DRAWN, Records
from seghw.sam_protocol import sample
from seghw.sam_tiny_model import TRAINED, UNTRAINED
from seghw.verdicts import Effect, from_images


def sam_effects(records: Records) -> list[tuple[str, Effect]]:
    """What ``check_claims`` takes as ``sam_results``: a claim's key and an effect each.

    Data and recipes without runs are left out.

    Raises:
        BadInput: there is no segmenter.
    """
    found = []
    for family, recipe in product(DRAWN, RECIPES):
        try:
            dataset = records.runs(family, recipe, "mse_dice")[0].config.dataset
        except BadInput:
            continue
        where = {"dataset": dataset, "recipe": recipe}
        found += [(key, replace(e, **where)) for key, e in _effects(records, family, recipe)]
    return found


def _effects(records: Records, family: str, recipe: str) -> Iterator[tuple[str, Effect]]:
    comparison = records.sam_comparison(family)
    data, name = comparison.data, records.segmenter.name
    ours = records.evaluations(family, recipe, "mse_dice")
    grid = paintable(ours[0].run.config, data.images.shape[-1])
    truth = grid.of(data.masks)
    sam = grid.of(comparison.classes["segmenter, true boxes"].masks)
    picked = sample(records.test_set(family))
    painted = [grid.of(evaluation.masks[picked]) for evaluation in ours]
    # In cells of the grid; a cell of the report's grid is two pixels wide.
    tolerance = max(1, round(comparison.tolerance * len(grid.rows) / data.images.shape[-1]))
    counts = [(metrics.count(sam, truth), metrics.count(masks, truth)) for masks in painted]
    outlines = [
        tuple(metrics.count_boundaries(masks, truth, tolerance) for masks in (sam, ours_here))
        for ours_here in painted
    ]
    published = name not in (TRAINED, UNTRAINED)
    more = {
        "decides": published,
        "note": "" if published else f"{name}, is not SAM; no published checkpoint has been run",
    }
    for key, unit, what, score, tables in (
        ("sam_complete", "recall", "recall", recall, counts),
        ("sam_boundaries", "F", "boundary F-score", boundary_f, outlines),
        ("sam_aggressive", "%", "false-positive area in % of the image", surplus, counts),
    ):
        reading = f"{name}, true boxes, minus the network: {what}"

        def difference(sam_table, our_table, score=score):
            return score(sam_table) - score(our_table)

        yield key, from_images(reading, unit, difference, tables, **more)


def recall(counts: metrics.Counts) -> np.ndarray:
    """Mean over the classes, one number a row, as all of these."""
    return class_mean(metrics.recall(counts, per_image=True))


def boundary_f(counts: metrics.BoundaryCounts) -> np.ndarray:
    return class_mean(metrics.boundary_f(counts, per_image=True))


def surplus(counts: metrics.Counts) -> np.ndarray:
    return class_mean(100 * metrics.false_positive_area(counts, per_image=True))
