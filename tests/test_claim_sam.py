"""The report's sentences about SAM: differences by hand, and that SAM-tiny decides none of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from seghw.claims.claims import CLAIMS, check_claims
from seghw.claims.sam import KEYS, sam_effects
from seghw.claims.stats import SUPPORTED, UNDECIDED, by_claim, sentence_verdict
from seghw.config import TrainConfig, class_specs
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.report.claims_figures import draw_claims
from seghw.results import Records
from seghw.sam.compare import IMAGES, sample
from seghw.sam.predictor import SAM_TINY_NAME as TRAINED

IMAGES_IN_ALL = IMAGES + 10


def squares(low: int, high: int) -> np.ndarray:
    masks = np.zeros((IMAGES_IN_ALL, 1, 16, 16), np.bool_)
    masks[..., low:high, low:high] = True
    return masks


class MadeRecords:
    """Shapes only: squares of 8 x 8, to which SAM adds a rim; our seeds' masks are given.

    On images outside of the sample our masks are full, which nothing may notice.
    """

    def __init__(self, name="facebook/sam-vit-base", side=1024, **ours):
        images = np.zeros((IMAGES_IN_ALL, 3, 16, 16), np.uint8)
        boxes = [[(0, 4, 4, 11, 11)]] * IMAGES_IN_ALL
        self.data = SegmentationSet(images, squares(4, 12), boxes, class_specs("a"), "made")
        self.picked = sample(self.data)
        self.segmenter = SimpleNamespace(name=name, side=side)
        self.made = {
            recipe: [
                SimpleNamespace(run=self._run(recipe, seed), masks=self._elsewhere_full(masks))
                for seed, masks in enumerate(seeds)
            ]
            for recipe, seeds in ours.items()
        }

    def _run(self, recipe, seed):
        config = TrainConfig("shapes5", recipe, "mse_dice", 1e-3, 20.0, seed)
        return SimpleNamespace(config=config)

    def _elsewhere_full(self, masks):
        full = np.ones_like(masks)
        full[self.picked] = masks[self.picked]
        return full

    def runs(self, family, recipe, loss):
        if family != "shapes" or recipe not in self.made:
            raise BadInput(f"no runs for {family}, {recipe}")
        return [made.run for made in self.made[recipe]] or [self._run(recipe, 0)]

    def evaluations(self, family, recipe, loss):
        return self.made[recipe]

    def test_set(self, family):
        return self.data

    def sam_comparison(self, family):
        side = SimpleNamespace(masks=squares(3, 13)[self.picked])
        return SimpleNamespace(
            data=self.data.subset(self.picked),
            picked=self.picked,
            tolerance=2,
            classes={"segmenter, true boxes": side},
        )


def measured(records):
    """Effects of shapes by claim and recipe."""
    return {
        (key, e.recipe): e for key, e in sam_effects(records) if e.dataset == "shapes5" and e.unit
    }


def test_differences_by_hand():
    """Of three seeds one is right, one finds 6 x 6 of the 8 x 8 pixels, one 4 x 4."""
    found = measured(MadeRecords(corrected=[squares(4, 12), squares(5, 11), squares(6, 10)]))
    assert {key for key, _ in found} == set(KEYS)
    complete = found["sam_complete", "corrected"]
    assert complete.value == pytest.approx(1 - (1 + 36 / 64 + 16 / 64) / 3)
    # SAM adds 100 - 64 of 256 pixels, none of ours adds any.
    assert found["sam_aggressive", "corrected"].value == pytest.approx(100 * 36 / 256)
    # Within 2 pixels everything meets, but of the smallest only what lies straight beside it.
    outline = found["sam_boundaries", "corrected"]
    assert outline.value == pytest.approx(1 - (1 + 1 + 2 * (16 / 28) / (1 + 16 / 28)) / 3)
    assert outline.detail == "tolerance 2 px"
    for effect in found.values():
        assert (effect.seeds, effect.images) == (3, IMAGES)
        assert effect.decides
        assert "facebook/sam-vit-base (true boxes) minus the network" in effect.reading
        assert not effect.note


def test_the_report_is_judged_on_the_pixels_that_it_can_paint():
    dots = np.zeros_like(squares(4, 12))
    dots[..., ::2, ::2] = squares(4, 12)[..., ::2, ::2]
    found = measured(MadeRecords(report=[dots] * 3))
    assert found["sam_complete", "report"].value == 0
    # On the 8 x 8 such pixels SAM's square of 10 has 5 x 5, the true one 4 x 4.
    assert found["sam_aggressive", "report"].value == pytest.approx(100 * 9 / 64)
    assert found["sam_boundaries", "report"].detail == "tolerance 2 px"  # one cell of the grid


def test_what_is_missing_is_told_and_leaves_the_sentence_open(tmp_path):
    records = MadeRecords(corrected=[squares(5, 11)] * 3, report=[])
    effects = sam_effects(records)
    notes = {(e.dataset, e.recipe): e.note for _, e in effects if not e.unit}
    assert notes == {
        ("shapes5", "report"): "shapes, recipe report: the best MSE + Dice runs have no weights",
        ("coco", "report"): "no runs for coco, report",
        ("coco", "corrected"): "no runs for coco, corrected",
    }
    results = check_claims(Records(tmp_path, profile="smoke"), effects, keys=KEYS)
    assert {sentence_verdict(rows) for rows in by_claim(results)} == {UNDECIDED}


def test_sam_tiny_decides_nothing_wherever_it_lies(tmp_path):
    for name in (TRAINED, "mine"):
        records = MadeRecords(name, side=64, report=[squares(5, 11)] * 3)
        results = check_claims(Records(tmp_path, "smoke"), sam_effects(records), keys=KEYS)
        complete = next(r for r in results if r.effect.unit == "recall")
        assert complete.verdict == SUPPORTED, "of this segmenter"
        assert "is not SAM; no published SAM checkpoint has been run" in complete.effect.note
        assert {sentence_verdict(rows) for rows in by_claim(results)} == {UNDECIDED}, "of SAM"


def test_the_picture_names_sam_tiny_where_it_stands_for_sam(tmp_path):
    records = MadeRecords(TRAINED, side=64, report=[squares(5, 11)] * 3)
    results = check_claims(Records(tmp_path, profile="smoke"), sam_effects(records), keys=KEYS)
    measured_ones = [result for result in results if result.effect.unit]
    figure, _ = draw_claims(measured_ones)
    labels = [text.get_text() for ax in figure.axes for text in ax.get_yticklabels()]
    assert len(labels) == 3
    assert all("SAM-tiny" in label.replace("\n", " ") for label in labels)
    sentences = {claim.text for claim in CLAIMS if claim.key in KEYS}
    assert not any(text in label for text in sentences for label in labels)
