"""The claims: intervals and verdicts by rule, and each measurement on a case worked by hand."""

import math
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seghw import metrics
from seghw.claims import facts as claim_facts
from seghw.claims import images as claim_images
from seghw.claims import measures as claim_measurements
from seghw.claims import plan
from seghw.claims.claims import CLAIMS, check_claims
from seghw.claims.images import (
    OutlineCounts,
    RecallCounts,
    count_outlines,
    count_recall,
    inside,
    paintable,
    small_and_large,
)
from seghw.claims.measures import Group
from seghw.claims.plan import planned
from seghw.claims.stats import (
    NO_DIFFERENCE,
    NOT_SUPPORTED,
    RATIO,
    RULE,
    SUPPORTED,
    UNDECIDED,
    Effect,
    Result,
    by_claim,
    from_images,
    from_seeds,
    hull,
    seeds_to_decide,
    sentence_verdict,
    t_interval,
    verdict,
)
from seghw.claims.table import basis, claims_table, effect_text
from seghw.config import COCO3, SHAPES5, TrainConfig, class_specs
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.losses import dice_loss, report_dice_loss
from seghw.report.claims_figures import COLORS, claims, draw_claims
from seghw.results import Records, RunEvaluation
from seghw.train.runs import best_setting, load_run, run_folder, write_history, write_record

ABOVE_0 = (0.0, math.inf)
BY_KEY = {claim.key: claim for claim in CLAIMS}


# -- from values to an interval and a verdict -------------------------------------------------


def test_the_t_interval_by_hand():
    # mean 2, standard error 1 / sqrt 3, and 4.302653 such errors at two degrees of freedom
    low, high = t_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6).filter(lambda v: np.std(v) > 1e-3))
def test_the_t_interval_is_scipys(values):
    wanted = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert t_interval(values) == pytest.approx(wanted)


def test_equal_values_have_an_interval_without_width_and_one_value_has_none():
    assert t_interval([0.3, 0.3, 0.3]) == pytest.approx((0.3, 0.3))
    assert np.isnan(t_interval([0.3])).all()


def test_the_hull_covers_what_is_known():
    a, b = metrics.Interval(0.1, 0.3), metrics.Interval(0.2, 0.5)
    nothing = metrics.Interval(math.nan, math.nan)
    assert hull(a, b) == (0.1, 0.5)
    assert hull(nothing, b) == b
    assert np.isnan(hull(nothing, nothing)).all()


def effect(low, high, seeds=3, **more):
    return Effect("test", "IoU", (low + high) / 2, low, high, seeds, **more)


@pytest.mark.parametrize(
    ("low", "high", "seeds", "wanted"),
    [
        (0.1, 0.3, 3, SUPPORTED),
        (-0.3, -0.1, 3, NOT_SUPPORTED),
        (-0.1, 0.1, 3, UNDECIDED),
        (0.0, 0.1, 3, UNDECIDED),  # touching the null value is not beyond it
        (-0.1, 0.0, 3, UNDECIDED),
        (0.1, 0.3, 2, UNDECIDED),  # two seeds never decide
        (-0.3, -0.1, 2, UNDECIDED),
        (math.nan, math.nan, 5, UNDECIDED),
        (-0.009, 0.009, 3, NO_DIFFERENCE),
        (0.001, 0.009, 3, NO_DIFFERENCE),  # on one side, and too small to matter
        (-0.009, 0.011, 3, UNDECIDED),
        (0.001, 0.011, 3, SUPPORTED),
        (-0.001, 0.001, 2, UNDECIDED),
    ],
)
def test_the_verdict(low, high, seeds, wanted):
    assert verdict(effect(low, high, seeds), ABOVE_0) == wanted
    mirrored = {SUPPORTED: NOT_SUPPORTED, NOT_SUPPORTED: SUPPORTED}
    assert verdict(effect(low, high, seeds), (-math.inf, 0.0)) == mirrored.get(wanted, wanted)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.96, 1.04, NO_DIFFERENCE), (0.95, 1.04, UNDECIDED), (1.01, 1.06, SUPPORTED)],
)
def test_the_margin_of_a_ratio_is_a_factor(low, high, wanted):
    assert verdict(replace(effect(low, high), unit=RATIO), (1.0, math.inf)) == wanted


def test_values_alike_make_no_difference_and_their_joint_interval_is_bonferronis():
    values = (0.001, 0.002, -0.001, 0.0)
    found = from_seeds("test", "IoU", values)
    assert verdict(found, ABOVE_0) == NO_DIFFERENCE
    wanted = stats.t.interval(1 - 0.05 / 4, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found.joint == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((0.0, 0.02), 11),  # deviation 0.01414; at 10 seeds 2.262 x 0.01414 / sqrt 10 = 0.0101
        ((0.001, 0.002, 0.003), 2),  # deviation 0.001: 12.71 x 0.001 / sqrt 2 = 0.0090
    ],
)
def test_seeds_to_decide(values, wanted):
    found = seeds_to_decide(from_seeds("test", "IoU", values))
    deviation = np.std(values, ddof=1)
    halves = {n: stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n) for n in range(2, 50)}
    assert found == wanted == min(n for n, half in halves.items() if half < 0.01)


def test_no_number_of_seeds_decides_what_has_no_margin_or_one_seed():
    assert seeds_to_decide(from_seeds("test", "cells", (1.0, 2.0))) is None
    assert seeds_to_decide(from_seeds("test", "IoU", (1.0,))) is None
    assert seeds_to_decide(from_seeds("test", "IoU", (-5.0, 5.0))) is None, (
        "half of it 0.14 at 10,000"
    )


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.6, 1.9, SUPPORTED),
        (0.4, 1.9, UNDECIDED),
        (0.4, 2.1, UNDECIDED),
        (0.1, 0.4, NOT_SUPPORTED),
        (2.1, 9.0, NOT_SUPPORTED),
    ],
)
def test_the_verdict_on_equivalence(low, high, wanted):
    assert verdict(effect(low, high), (0.5, 2.0)) == wanted


def test_an_exact_fact_needs_no_seeds_and_one_value_outside_refutes():
    for (low, high), wanted in (
        ((0.0, 1.0), SUPPORTED),
        ((0.5, 1.1), NOT_SUPPORTED),
        ((10.0, 20.0), NOT_SUPPORTED),
    ):
        assert verdict(effect(low, high, 0, exact=True), (0.0, 1.0)) == wanted


def test_ratios_are_averaged_on_a_logarithmic_scale():
    found = from_seeds("test", RATIO, [1.0, 4.0, 16.0], images=7)
    assert found.value == pytest.approx(4.0)
    assert found.low == pytest.approx(16 / found.high)
    assert (found.seeds, found.images) == (3, 7)


def test_a_value_that_does_not_apply_is_no_seed():
    assert from_seeds("test", "IoU", [0.1, math.nan, 0.3]).seeds == 2
    nothing = from_seeds("test", RATIO, [math.nan, 0.0])
    assert nothing.seeds == 0
    assert math.isnan(nothing.value)


def random_counts(seed):
    rng = np.random.default_rng(seed)
    return metrics.Counts(*rng.integers(1, 30, (4, 40, 3)))


def test_the_bootstrap_is_that_of_the_metrics():
    """With one seed there is no t interval, and what is left is the interval over images."""
    a, b = random_counts(1), random_counts(2)
    found = from_images(
        "test",
        "IoU",
        lambda x, y: claim_images.mean_iou(x) - claim_images.mean_iou(y),
        [(a, b)],
    )
    wanted = metrics.bootstrap_interval(
        lambda x, y: metrics.mean_score(metrics.iou(x)).mean - np.mean(metrics.iou(y)), a, b
    )
    assert (found.low, found.high) == pytest.approx(wanted)
    assert found.value == pytest.approx(np.mean(metrics.iou(a)) - np.mean(metrics.iou(b)))
    assert (found.seeds, found.images) == (1, 40)


def test_the_interval_covers_seeds_and_images():
    tables = [(random_counts(seed),) for seed in (1, 2, 3)]
    found = from_images("test", "IoU", claim_images.mean_iou, tables)
    values = [metrics.mean_score(metrics.iou(t)).mean for (t,) in tables]
    over_seeds = t_interval(values)
    over_images = metrics.bootstrap_interval(
        lambda *ts: np.mean([np.mean(metrics.iou(t)) for t in ts]), *(t for (t,) in tables)
    )
    assert (found.low, found.high) == pytest.approx(hull(over_seeds, over_images))


def test_the_verdict_on_a_sentence():
    claim = BY_KEY["largest_best"]

    def judged(*rows):
        return sentence_verdict([Result(claim, row) for row in rows])

    yes, no, open_ = effect(0.1, 0.2), effect(-0.2, -0.1), effect(-0.1, 0.1)
    assert judged(yes, yes) == SUPPORTED
    assert judged(yes, open_) == UNDECIDED
    assert judged(yes, open_, no) == NOT_SUPPORTED
    assert judged(yes, replace(no, recipe="corrected"), replace(no, decides=False)) == SUPPORTED
    assert judged(replace(yes, recipe="corrected")) == UNDECIDED
    same = effect(-0.001, 0.001)
    assert judged(same, same) == "not supported: no difference"
    assert judged(same, no) == judged(same, yes) == NOT_SUPPORTED
    assert judged(same, open_) == NOT_SUPPORTED
    # By one row of several only if that row says so jointly with the others.
    weak = replace(no, joint=metrics.Interval(-0.3, 0.1))
    assert judged(weak, yes) == UNDECIDED
    assert judged(weak) == judged(weak, weak) == NOT_SUPPORTED


# -- run records made by hand -----------------------------------------------------------------


def record(folder, config, iou=0.5, gap=0.0, mse=(100.0,), validation_mse=100.0, **columns):
    """Write a finished run whose last epoch and history have the given numbers."""
    n = len(mse)
    dice = columns.get("dice", (1.0,) * n)
    loss = columns.get("loss", mse)
    gradients = columns.get("gradients", ((1.0, 1.0),) * n)
    target = run_folder(config, folder)
    target.mkdir(parents=True)
    last = 2 * 64 // config.settings.batch_size
    rows = zip(
        range(last - n + 1, last + 1), loss, mse, dice, *zip(*gradients, strict=True), strict=True
    )
    write_history(target, rows)
    epoch = {
        "epoch": 1,
        "training_iou": iou + gap,
        "validation_iou": iou,
        "training_mse": columns.get("training_mse", validation_mse),
        "validation_mse": validation_mse,
        "validation_iou_per_class": [iou] * len(config.classes),
    }
    about = {"run_id": config.run_id, "status": "finished", "config": config.to_dict()}
    data = {"name": "made by hand", "images": 64, "validation_images": 32, "digest": ""}
    epochs = [{**epoch, "epoch": n + 1} for n in range(config.planned_epochs)]
    write_record(target, {**about, "epochs": epochs, "data": data, "versions": {}})
    return load_run(target)


def config(loss, coefficient=None, seed=0, rate=1e-3, **more):
    return TrainConfig("shapes5", "report", loss, rate, coefficient, seed, "smoke", **more)


def group(folder, recipe="report"):
    return Group(Records(folder, profile="smoke"), "shapes", recipe)


def coefficients(folder, scores, **histories):
    """Three seeds of each coefficient, a little apart, at two learning rates."""
    for coefficient, iou in scores.items():
        for seed, shift in enumerate((0.0, 0.01, 0.02)):
            history = histories.get(f"lambda{coefficient:g}", {})
            record(folder, config("mse_dice", coefficient, seed), iou + shift, **history)
            record(folder, config("mse_dice", coefficient, seed, rate=1e-5), 0.01)
    return group(folder)


def test_coefficients_are_compared_at_their_best_rate_and_by_seed(tmp_path):
    made = coefficients(tmp_path, {20.0: 0.30, 40.0: 0.40, 60.0: 0.55})
    [largest] = claim_measurements.largest_minus_best(made)
    assert largest.value == pytest.approx(0.15)  # 60 minus 40
    assert (largest.low, largest.high) == pytest.approx((0.15, 0.15))  # the shift is paired away
    assert (largest.seeds, largest.images, largest.detail) == (3, 32, "60 minus 40")
    [middle] = claim_measurements.middle_minus_worst(made)
    assert middle.value == pytest.approx(0.10)  # 40 minus 20
    assert middle.detail == "40 minus 20"


def test_the_other_order_gives_the_other_verdict(tmp_path):
    """No verdict is written down: turned about, the runs say the opposite."""
    found = {}
    for name, scores in {
        "as claimed": {20.0: 0.40, 40.0: 0.30, 60.0: 0.55},
        "turned": {20.0: 0.40, 40.0: 0.55, 60.0: 0.30},
    }.items():
        made = coefficients(tmp_path / name, scores)
        found[name] = [
            verdict(*(list(claim.measure(made))), claim.holds)
            for claim in (BY_KEY["largest_best"], BY_KEY["middle_worst"])
        ]
    assert found == {"as claimed": [SUPPORTED] * 2, "turned": [NOT_SUPPORTED] * 2}


def test_mse_and_dice_are_compared_at_their_best_rates(tmp_path):
    for seed, shift in enumerate((0.0, 0.01, 0.02)):
        record(tmp_path, config("mse", None, seed), 0.30 + shift)
        record(tmp_path, config("mse", None, seed, rate=1e-5), 0.90 if seed == 0 else 0.0)
        record(tmp_path, config("dice", None, seed), 0.50 + 2 * shift)
    found = claim_measurements.mse_minus_dice(group(tmp_path))
    assert found.value == pytest.approx(-0.21)  # of -0.20, -0.21 and -0.22
    assert (found.seeds, found.images, found.decides) == (3, 32, True)


def test_what_runs_of_the_report_s_size_say_stands_beside(tmp_path):
    coefficients(tmp_path, {20.0: 0.30, 40.0: 0.40, 60.0: 0.55})
    records = Records(tmp_path, "smoke")
    [alone, *_] = check_claims(records, keys=["largest_best"])
    assert alone.effect.note == ""
    for coefficient, iou in {20.0: 0.9, 40.0: 0.8, 60.0: 0.7}.items():
        record(tmp_path, replace(config("mse_dice", coefficient), profile="full"), iou)
    [beside, *_] = check_claims(records, keys=["largest_best"])
    assert beside.effect.value == alone.effect.value == pytest.approx(0.15)
    assert beside.effect.note.startswith("at the report's own size (shapes, report, 1 seed): ")
    assert beside.effect.note.endswith("60 minus 20, -0.200 IoU")


def test_the_terms_are_compared_by_value_and_by_gradient(tmp_path):
    history = {
        "mse": (30.0, 60.0, 900.0),
        "dice": (2.0, 2.0, 2.0),
        "gradients": ((8.0, 2.0), (6.0, 2.0), (4.0, 2.0)),
    }
    made = coefficients(tmp_path, {20.0: 0.2, 40.0: 0.3, 60.0: 0.5}, lambda60=history)
    value, gradient = claim_measurements.unweighted_ratio(made)
    assert value.value == pytest.approx(30.0)  # the median of 15, 30 and 450
    assert gradient.value == pytest.approx(3.0)
    assert value.decides
    assert not gradient.decides
    weighted, _ = claim_measurements.largest_ratio(made)
    assert weighted.value == pytest.approx(0.5)  # 30 / 60
    assert (weighted.detail, weighted.images) == ("coefficient 60", 64)


def test_the_most_equal_coefficient_is_held_against_the_others(tmp_path):
    histories = {
        f"lambda{c:g}": {"mse": (mse,), "dice": (1.0,)}
        for c, mse in ((20.0, 200.0), (40.0, 50.0), (60.0, 6.0))  # ratios 10, 1.25, 0.1
    }
    made = coefficients(tmp_path, {20.0: 0.3, 40.0: 0.4, 60.0: 0.6}, **histories)
    [found] = claim_measurements.most_equal_minus_others(made)
    assert found.value == pytest.approx(0.4 - 0.45)
    assert found.detail == "40, where MSE / its Dice term is 1.2"


def test_the_balancing_coefficient_is_held_against_the_best_of_the_report(tmp_path):
    made = coefficients(tmp_path, {20.0: 0.3, 40.0: 0.5, 60.0: 0.4, 120.0: 0.45})
    _, found = claim_measurements.most_equal_minus_others(made)
    assert (found.value, found.detail) == (pytest.approx(-0.05), "120 minus 40")
    assert not found.decides  # the report did not try it
    [largest] = claim_measurements.largest_minus_best(made)
    assert largest.detail == "60 minus 40", "nor is it one of the report's coefficients"


def test_a_missing_coefficient_is_not_measured(tmp_path):
    made = coefficients(tmp_path, {20.0: 0.3, 60.0: 0.4})
    with pytest.raises(BadInput, match="coefficient 40"):
        list(claim_measurements.largest_minus_best(made))


def losses(folder, gaps, **more):
    """Three seeds of each loss, with the given gap between training and validation."""
    for loss, gap in gaps.items():
        for seed in range(3):
            setting = config(loss, 20.0 if loss == "mse_dice" else None, seed)
            record(folder, setting, 0.5, gap, **more.get(loss, {}))
    return group(folder)


def test_the_gap_of_the_others_minus_that_of_the_combination(tmp_path):
    relative = {"mse": {"training_mse": 80.0}, "mse_dice": {"training_mse": 95.0}}
    made = losses(tmp_path, {"mse": 0.10, "dice": 0.02, "mse_dice": 0.04}, **relative)
    mse, dice, in_mse = claim_measurements.overfitting(made)
    assert mse.value == pytest.approx(0.06)
    assert dice.value == pytest.approx(-0.02)
    assert in_mse.value == pytest.approx(20 - 5)  # per cent of the validation MSE
    assert not in_mse.decides
    holds = BY_KEY["overfits_less"].holds
    assert [verdict(e, holds) for e in (mse, dice)] == [SUPPORTED, NOT_SUPPORTED]


def test_a_descent_is_measured_in_its_own_steps_and_by_its_share(tmp_path):
    # From 20 to 1 in steps of 1, where a tenth is two rows: from 19.5 to 1.5.
    steady = {"loss": tuple(range(20, 0, -1)), "mse": (1.0,) * 20}
    shaking = {"loss": (20.0, 15.0) * 10, "mse": (1.0,) * 20}  # does not fall: counts as one step
    made = losses(tmp_path, {"mse": 0.0, "dice": 0.0, "mse_dice": 0.0}, mse=steady, dice=shaking)
    steep, flat = (next(iter(made.best(loss).values())) for loss in ("mse", "dice"))
    assert claim_measurements.descent_of(steep) == (19.5, 18.0, 1.0)
    assert claim_measurements.descent_of(flat) == (17.5, 5.0, 5.0)
    share, steps = claim_measurements.descent(made)
    assert steps.value == pytest.approx(1 / 18)
    assert share.value == pytest.approx((5 / 17.5) / (18 / 19.5))
    holds = BY_KEY["dice_unstable"].holds
    assert [verdict(e, holds) for e in (steps, share)] == [SUPPORTED] * 2


def test_ablations_are_paired_by_seed_and_absent_ones_say_so(tmp_path):
    made = coefficients(tmp_path, {20.0: 0.2, 40.0: 0.5, 60.0: 0.3})
    for seed, iou in enumerate((0.40, 0.42, 0.44)):  # the grid's have 0.50, 0.51 and 0.52
        record(tmp_path, config("mse_dice", 40.0, seed, copy_across=False), iou)
    record(tmp_path, config("mse_dice", 20.0, copy_across=False), 0.0)  # of fewer seeds
    copies, shortcuts = claim_measurements.without_skips(made)
    assert copies.value == pytest.approx((0.10 + 0.09 + 0.08) / 3)
    assert (copies.seeds, copies.images, copies.decides) == (3, 32, True)
    assert verdict(copies, ABOVE_0) == SUPPORTED
    assert shortcuts.seeds == 0
    assert verdict(shortcuts, ABOVE_0) == UNDECIDED
    assert basis(shortcuts) == "no runs"
    record(tmp_path, replace(config("mse_dice", 60.0), dataset="scenes3"))
    other = replace(
        group(tmp_path), family="coco"
    )  # has runs, but no ablations, and says nothing of them
    assert not list(claim_measurements.without_aspp(other))


# -- exact facts ------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "wanted"), [("report", (10, 20)), ("corrected", (0, 1))])
def test_the_range_of_the_dice_loss(tmp_path, recipe, wanted):
    """The report's: batch x classes at worst, half of that for a perfect prediction."""
    found = next(claim_facts.dice_range(group(tmp_path, recipe)))
    assert (found.low, found.high) == pytest.approx(wanted, abs=1e-5)
    truth = verdict(found, BY_KEY["dice_bounded"].holds)
    assert truth == (NOT_SUPPORTED if recipe == "report" else SUPPORTED)


def test_the_range_seen_in_training(tmp_path):
    seen = {"mse": (1.0, 1.0), "dice": (19.5, 18.25)}
    made = losses(tmp_path, {"mse": 0.0, "dice": 0.0, "mse_dice": 0.0}, dice=seen)
    _, found = claim_facts.dice_range(made)
    assert (found.low, found.high) == (1.0, 19.5)  # the others' histories hold 1
    assert found.seeds == 3


@given(st.integers(0, 10_000))
def test_the_corrected_dice_lies_between_0_and_1(seed):
    rng = torch.Generator().manual_seed(seed)
    pred = torch.rand(2, 2, 4, 4, generator=rng)
    target = (torch.rand(2, 2, 4, 4, generator=rng) > torch.rand(1, generator=rng)).float()
    assert 0 <= dice_loss(pred, target).item() <= 1
    assert 2 <= report_dice_loss(pred, target).item() <= 4  # 2 x 2 masks: half of it, and it


@pytest.mark.parametrize("side", [8, 32])
def test_taps_are_counted_as_one_by_one(side):
    size, branches = claim_facts.bottom_of_the_u(8 * side)
    assert size == side
    for branch in branches:
        rate = branch.dilation[0]
        offsets = (-rate, 0, rate)
        inside_map = sum(
            0 <= y + dy < side and 0 <= x + dx < side
            for y in range(side)
            for x in range(side)
            for dy in offsets
            for dx in offsets
        )
        counted = claim_facts.taps_inside(branch, side)
        assert counted == pytest.approx(inside_map / side**2)


def test_a_larger_dilation_reaches_farther_and_sees_less(tmp_path):
    reach, taps = claim_facts.dilation(group(tmp_path))
    assert reach.value == 8  # windows of 5 and of 13 cells
    assert taps.value == pytest.approx(2.25 - 6.25)
    assert "6.75 of 9 taps at rate 6 see nothing but padding" in reach.note
    holds = BY_KEY["dilation_context"].holds
    assert [verdict(e, holds) for e in (reach, taps)] == [SUPPORTED, NOT_SUPPORTED]
    assert not list(claim_facts.dilation(group(tmp_path, "corrected")))


# -- parts of masks ---------------------------------------------------------------------------


def square(side, low, high):
    mask = np.zeros((1, 1, side, side), dtype=bool)
    mask[..., low:high, low:high] = True
    return mask


def test_rim_and_core_of_a_square():
    """Of 7 x 7 pixels, the 3 x 3 in the middle lie more than 2 pixels from the outside."""
    mask = square(13, 3, 10)
    core = inside(mask, 2)
    assert np.array_equal(core, square(13, 5, 8))
    assert (mask & ~core).sum() == 40
    assert np.array_equal(inside(square(7, 0, 7), 2), square(7, 2, 5))  # beyond the image: outside
    assert not inside(square(13, 3, 7), 2).any()


def test_recall_of_core_and_rim_by_hand():
    mask = square(13, 3, 10)
    core = inside(mask, 2)
    pred = square(13, 5, 9)  # the core, and seven pixels of the rim
    counts = count_recall(pred, core, mask & ~core)
    assert [int(a[0, 0]) for a in (counts.first, counts.first_found)] == [9, 9]
    assert [int(a[0, 0]) for a in (counts.second, counts.second_found)] == [40, 7]
    assert claim_images.recall_difference(counts) == pytest.approx([1 - 7 / 40])


def test_a_class_without_a_core_does_not_count():
    ones, none = np.array([[4, 4]]), np.array([[4, 0]])
    counts = RecallCounts(none, none, ones, ones // 2)
    assert claim_images.recall_difference(counts) == pytest.approx([1 - 0.5])


def test_the_outline_of_a_square():
    small, large = square(9, 3, 6), square(9, 2, 7)  # outlines of 8 and of 16 pixels
    counts = count_outlines(small, large)
    assert claim_images.outline_ratio(counts) == pytest.approx([0.5])
    dots = large.copy()
    dots[..., 1::2, :] = dots[..., :, 1::2] = False  # 3 x 3 dots, each its own outline
    assert claim_images.outline_ratio(count_outlines(dots, large)) == pytest.approx([9 / 16])
    # Of the dots all is outline, of the square 16 pixels of 25.
    share = claim_images.outline_share_ratio(count_outlines(dots, large))
    assert share == pytest.approx([25 / 16])
    nothing = np.zeros_like(large)
    assert count_outlines(nothing, large).true[0, 0] == 0  # where only one holds anything
    assert np.isnan(claim_images.outline_ratio(OutlineCounts(*np.zeros((4, 1, 1), dtype=int))))


def test_surplus_and_conservatism_by_hand():
    # Of 16 pixels: 2 found, 1 too many, 3 missed.
    counts = metrics.Counts(*(np.array([[n]]) for n in (2, 1, 3, 10)))
    assert claim_images.surplus(counts) == pytest.approx([100 * (1 - 3) / 16])
    assert claim_images.recall_minus_precision(counts) == pytest.approx([2 / 5 - 2 / 3])


def test_outlines_met_as_well_as_areas_give_1():
    mask = square(9, 2, 7)
    counts = metrics.count(mask, mask), metrics.count_boundaries(mask, mask, 1)
    assert claim_images.area_over_boundary(*counts) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("recipe", "wanted"), [("report", range(0, 32, 2)), ("corrected", range(32))]
)
def test_what_a_network_can_paint_is_found_by_looking(recipe, wanted):
    grid = paintable(TrainConfig("shapes5", recipe, "mse", 1e-3, profile="smoke"), 32)
    assert grid.rows.tolist() == grid.columns.tolist() == list(wanted)
    masks = np.random.default_rng(0).random((2, 3, 32, 32)) > 0.5
    assert np.array_equal(grid.of(masks)[1, 2, 3], masks[1, 2, wanted[3], list(wanted)])


def data_of(masks, boxes):
    n, c, side, _ = masks.shape
    images = np.zeros((n, 3, side, side), dtype=np.uint8)
    return SegmentationSet(images, masks, boxes, class_specs("abcdefgh"[:c]), "made by hand")


def test_small_and_large_objects():
    masks = np.zeros((3, 1, 8, 8), dtype=bool)
    boxes = []
    for i, side in enumerate((2, 4, 6)):  # areas 4, 16 and 36
        masks[i, 0, 1 : 1 + side, 1 : 1 + side] = True
        boxes.append([(0, 1, 1, side, side)])
    small, large = small_and_large(data_of(masks, boxes))
    assert small.sum(axis=(1, 2, 3)).tolist() == [4, 0, 0]
    assert large.sum(axis=(1, 2, 3)).tolist() == [0, 0, 36]


# -- measurements on masks --------------------------------------------------------------------


class MadeRecords:
    """Stands for records: the test set and the masks of three seeds are given."""

    profile = "smoke"

    def __init__(self, data, masks):
        self.data, self.masks = data, masks

    def runs(self, family, recipe, loss):
        coefficient = 20.0 if loss == "mse_dice" else None
        made = TrainConfig("shapes5", "corrected", loss, 1e-3, coefficient, profile="smoke")
        return [MadeRun(made.with_seed(seed)) for seed in range(3)]

    def test_set(self, family):
        return self.data

    def evaluations(self, family, recipe, loss):
        masks = self.masks[loss]
        counts = metrics.count(masks, self.data.masks)
        return [RunEvaluation(self.data, masks, counts, r) for r in self.runs(family, recipe, loss)]


class MadeRun:
    """Stands for a run."""

    status = "finished"

    def __init__(self, made):
        self.config = made


@pytest.fixture
def squares():
    """Twelve images of 16 pixels with a square of eight, and masks with one pixel less or more."""
    true = np.repeat(square(16, 4, 12), 12, axis=0)
    smaller = np.repeat(square(16, 5, 11), 12, axis=0)
    larger = np.repeat(square(16, 3, 13), 12, axis=0)
    data = data_of(true, [[(0, 4, 4, 11, 11)]] * 12)
    return data, smaller, larger


@pytest.mark.parametrize("turned", [False, True])
def test_masks_decide_and_turning_them_turns_the_verdicts(squares, turned):
    data, smaller, larger = squares
    one, other = (larger, smaller) if turned else (smaller, larger)
    made = Group(
        MadeRecords(data, {"mse_dice": one, "mse": other, "dice": one}), "shapes", "report"
    )
    found = {
        key: next(iter(BY_KEY[key].measure(made)))
        for key in ("conservative", "rough_boundaries", "middle_only")
    }
    found["mse_before_dice"] = next(claim_images.mse_minus_dice(made))
    judged = {key: verdict(found[key], BY_KEY[key].holds) for key in found}
    # 64 true pixels; 36 are found and none added, or 36 are added and none missed, of 256.
    assert found["conservative"].value == pytest.approx(100 * (36 if turned else -28) / 256)
    assert found["rough_boundaries"].value == pytest.approx(
        (36 / 100 if turned else 20 / 36) / (28 / 64)
    )
    # IoU 36 / 64 = 0.5625 for the smaller, 64 / 100 = 0.64 for the larger.
    assert found["mse_before_dice"].value == pytest.approx(-0.0775 if turned else 0.0775)
    # At 16 pixels the rim is half a pixel wide: there is none, and nothing to compare.
    assert found["middle_only"].seeds == 0
    right = NOT_SUPPORTED if turned else SUPPORTED
    assert judged == {
        "conservative": right,
        "rough_boundaries": right,
        "mse_before_dice": right,
        "middle_only": UNDECIDED,
    }
    assert found["conservative"].images == 12


def test_the_combination_is_held_against_the_better_part(squares):
    data, smaller, larger = squares
    made = MadeRecords(data, {"mse_dice": data.masks, "mse": smaller, "dice": larger})
    [found] = claim_images.combination_minus_best(Group(made, "shapes", "report"))
    assert found.value == pytest.approx(1 - 0.64)
    assert found.detail == "here Dice"


# -- the whole table --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    """The claims on the committed records; masks of thirty test images and one seed, for speed."""
    records = Records(profile="laptop")
    whole = records.test_set
    cut = {family: whole(family).subset(slice(0, 30)) for family in ("shapes", "coco")}
    records.test_set = cut.__getitem__
    records.evaluations = lambda *names: [records.evaluation(*names)]
    return records, check_claims(records)


def test_every_claim_is_in_the_table(committed):
    _, results = committed
    assert [rows[0].claim for rows in by_claim(results)] == list(CLAIMS)
    text, markdown = claims_table(results), claims_table(results, markdown=True)
    for claim in CLAIMS:
        assert f". {claim.text} (section {claim.where}" in text
        assert claim.question in text
        assert claim.text in markdown
    assert text.replace("\n", " ").endswith(RULE)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {10}
    assert len(table) == 2 + len(CLAIMS) + len(results)


def test_the_committed_records_refute_the_bound_on_dice(committed):
    _, results = committed
    rows = next(rows for rows in by_claim(results) if rows[0].claim.key == "dice_bounded")
    assert sentence_verdict(rows) == NOT_SUPPORTED
    assert {row.effect.recipe: row.verdict for row in rows} == {
        "report": NOT_SUPPORTED,
        "corrected": SUPPORTED,
    }
    classes = {"shapes5": len(SHAPES5), "scenes3": len(COCO3)}
    worst = {
        r.effect.dataset: r.effect.high for r in rows if r.effect.reading.startswith("range f")
    }
    assert worst.keys() == classes.keys()


def test_every_row_says_what_it_rests_on(committed):
    _, results = committed
    for result in results:
        found = result.effect
        assert found.dataset in ("shapes5", "scenes3")
        assert found.recipe in ("report", "corrected")
        if found.seeds and not found.exact:
            assert found.images > 0
            assert basis(found).startswith(f"{found.images} images, {found.seeds} seed")
        if not found.seeds and not found.exact:
            assert result.verdict == UNDECIDED
            assert (effect_text(found), basis(found)) == ("-", "no runs")


def test_keys_and_questions_are_whole():
    assert len(BY_KEY) == len(CLAIMS) >= 18
    for claim in CLAIMS:
        assert claim.question.startswith("true if ")
        assert ", false if " in claim.question
        assert any(math.isfinite(end) for end in claim.holds)


def test_without_records_only_exact_facts_are_decided(tmp_path):
    results = check_claims(Records(tmp_path, profile="smoke"))
    assert {r.claim.key for r in results} == BY_KEY.keys()
    decided = {r.claim.key for r in results if r.verdict != UNDECIDED}
    assert decided == {"dice_bounded", "dilation_context"}
    reasons = {r.effect.note for r in results if r.effect.reading == "not measured"}
    assert all("holds no runs" in reason for reason in reasons)


def test_measured_sam_results_take_the_place_of_the_open_ones(tmp_path):
    records = Records(tmp_path, profile="smoke")
    measured = replace(effect(0.1, 0.3), dataset="scenes3", recipe="report")
    results = check_claims(records, [("sam_complete", measured)])
    [row] = [r for r in results if r.claim.key == "sam_complete"]
    assert (row.effect, row.verdict) == (measured, SUPPORTED)
    [*others] = [r for r in results if r.claim.key == "sam_boundaries"]
    assert {r.verdict for r in others} == {UNDECIDED}
    assert {r.effect.note for r in others} == {"no published SAM checkpoint has been run"}
    with pytest.raises(BadInput, match="sam_fast"):
        check_claims(records, [("sam_fast", measured)])


def test_numbers_in_the_table():
    assert effect_text(effect(-0.1, 0.3)) == "+0.100 [-0.100, +0.300] IoU"
    ratio = replace(effect(2.0, 250.0), unit=RATIO, value=40.0)
    assert effect_text(ratio) == "40.0 [2.00, 250] ratio"
    exact = Effect("test", "loss", 20.0, 10.0, 20.0, exact=True)
    assert effect_text(exact) == "10.0 to 20.0 loss"
    assert effect_text(replace(exact, unit="cells", low=20.0)) == "+20.000 cells"
    assert effect_text(replace(effect(0.1, 0.3), low=math.nan)) == "+0.200 IoU"


# -- the picture ------------------------------------------------------------------------------


def test_the_picture_has_every_claim_and_every_effect(committed):
    _, results = committed
    figure, caption = draw_claims(results)
    labels = "\n".join(
        label.get_text().replace("\n", " ") for ax in figure.axes for label in ax.get_yticklabels()
    )
    for number, claim in enumerate(CLAIMS, start=1):
        assert f"{number}. {claim.text}" in labels
    points = sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines)
    assert points == sum(not math.isnan(r.effect.value) for r in results)
    assert "95 %" in caption
    figure.draw_without_rendering()


def test_the_marker_shows_the_verdict():
    claim = BY_KEY["largest_best"]
    rows = [
        Result(claim, replace(effect(*ends), dataset=name, recipe="report"))
        for name, ends in (("shapes5", (0.1, 0.2)), ("scenes3", (-0.2, 0.1)))
    ]
    [ax] = draw_claims(rows)[0].axes
    drawn = [(line.get_marker(), line.get_markerfacecolor()) for line in ax.lines]
    assert drawn == [("o", COLORS["report"][0]), ("D", "white")]


def test_the_figures_function_names_the_profile(tmp_path):
    _, caption = claims(Records(tmp_path, profile="smoke"))
    assert caption.endswith("Runs of profile smoke.")


def test_a_group_s_further_seeds_count_once_all_of_its_runs_are_there(tmp_path, monkeypatch):
    group = [config("mse_dice", c, seed) for seed in range(5) for c in (20.0, 40.0)]
    other = [config("mse", seed=seed) for seed in range(5)]
    monkeypatch.setattr(plan, "groups", lambda profile: [group, other])
    for made in (*group[:-1], *other):
        record(tmp_path, made)
    seeds = lambda: [run.config for run in planned(Records(tmp_path, "smoke")).all_runs]  # noqa: E731
    assert {c.seed for c in seeds() if c.loss == "mse_dice"} == {0, 1, 2}
    assert {c.seed for c in seeds() if c.loss == "mse"} == {0, 1, 2, 3, 4}
    record(tmp_path, group[-1])
    assert {c.seed for c in seeds() if c.loss == "mse_dice"} == {0, 1, 2, 3, 4}


def test_the_plan_is_whole():
    assert plan.plan() == list(chain(*plan.groups("laptop")))


def test_the_best_rate_is_chosen_on_the_seeds_that_all_rates_have(tmp_path):
    """Further seeds of one rate, bad ones here, do not change which is chosen."""
    made = [(1e-3, 0, 0.5), (1e-3, 1, 0.5), (1e-3, 2, 0.1), (1e-4, 0, 0.4), (1e-4, 1, 0.4)]
    runs = [record(tmp_path, config("mse", seed=s, rate=r), iou=v) for r, s, v in made]
    assert [run.score for run in best_setting(runs)] == [0.5, 0.5, 0.1]
