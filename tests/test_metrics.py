"""The scores against hand-made cases, scikit-learn, pycocotools, brute force and their laws."""

from math import dist, isnan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from scipy import stats
from sklearn import metrics as sklearn_metrics

from seghw import metrics
from seghw.errors import BadInput
from seghw.metrics import Counts, count, count_boundaries, count_components, iou, mean_score
from seghw.metrics.boundary import boundary, components, within

NAN = np.nan
PIXEL_SCORES = ("iou", "dice", "precision", "recall", "accuracy", "false_positive_area")
COUNTERS = {
    "pixels": count,
    "boundaries": lambda pred, target: count_boundaries(pred, target, 2),
    "components": count_components,
}

laws = settings(max_examples=60, deadline=None)


@st.composite
def mask_pairs(draw, max_side=7):
    shape = draw(st.tuples(*(st.integers(1, m) for m in (4, 3, max_side, max_side))))
    masks = arrays(bool, shape)
    return draw(masks), draw(masks)


def plane(*rows):
    """One image of one class, drawn with # for mask: bool (1, 1, H, W)."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])[None, None]


def random_masks(seed, shape=(6, 3, 16, 16)):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.4, rng.random(shape) < 0.3


# One image of four pixels, four classes: half right, nothing there, missed, invented.
FOUR_PRED = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
FOUR_TRUE = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
FOUR = count(FOUR_PRED.reshape(1, 4, 2, 2), FOUR_TRUE.reshape(1, 4, 2, 2))


class TestPixelScoresByHand:
    def test_counts(self):
        np.testing.assert_array_equal(FOUR.tp, [[1, 0, 0, 0]])
        np.testing.assert_array_equal(FOUR.fp, [[1, 0, 0, 1]])
        np.testing.assert_array_equal(FOUR.fn, [[1, 0, 2, 0]])
        np.testing.assert_array_equal(FOUR.tn, [[1, 4, 2, 3]])
        np.testing.assert_array_equal(FOUR.pixels, [[4, 4, 4, 4]])
        assert FOUR.tp.dtype == FOUR.tn.dtype == np.int64

    @pytest.mark.parametrize(
        ("score", "expected"),
        [
            ("iou", [1 / 3, NAN, 0, 0]),
            ("dice", [1 / 2, NAN, 0, 0]),
            ("precision", [1 / 2, NAN, NAN, 0]),
            ("recall", [1 / 2, NAN, 0, NAN]),
            ("accuracy", [1 / 2, 1, 1 / 2, 3 / 4]),
            ("false_positive_area", [1 / 4, 0, 0, 1 / 4]),
        ],
    )
    def test_scores(self, score, expected):
        np.testing.assert_allclose(getattr(metrics, score)(FOUR), expected)
        np.testing.assert_allclose(getattr(metrics, score)(FOUR, per_image=True), [expected])

    def test_the_set_is_summed_before_the_one_division(self):
        # IoU 1/1 on one image and 0/3 on the other: 1/4 of the set, 1/2 on average.
        counts = Counts(*(np.array(column)[:, None] for column in ([1, 0], [0, 3], [0, 0], [3, 1])))
        np.testing.assert_allclose(iou(counts), [1 / 4])
        np.testing.assert_allclose(iou(counts, per_image=True), [[1], [0]])
        np.testing.assert_allclose(mean_score(iou(counts, per_image=True), axis=0).mean, [1 / 2])

    def test_false_alarms_ask_for_an_image_without_the_class(self):
        # The first image has the class and a wrong pixel: wrong, but no false alarm.
        pred = np.array([[1, 1], [1, 1], [0, 0], [0, 1]], bool).reshape(4, 1, 1, 2)
        true = np.array([[1, 0], [0, 0], [0, 0], [0, 0]], bool).reshape(4, 1, 1, 2)
        counts = count(pred, true)
        np.testing.assert_array_equal(metrics.false_alarms(counts), [2])
        np.testing.assert_allclose(metrics.false_alarm_rate(counts), [2 / 3])
        np.testing.assert_array_equal(metrics.false_alarm_rate(counts.subset([0])), [NAN])


class TestPixelScoresAgainstOthers:
    @pytest.mark.parametrize(
        ("score", "reference"),
        [
            ("iou", sklearn_metrics.jaccard_score),
            ("dice", sklearn_metrics.f1_score),
            ("precision", sklearn_metrics.precision_score),
            ("recall", sklearn_metrics.recall_score),
            ("accuracy", sklearn_metrics.accuracy_score),
        ],
    )
    def test_scikit_learn(self, score, reference):
        pred, true = random_masks(1)
        counts = count(pred, true)
        of_set = [reference(true[:, c].ravel(), pred[:, c].ravel()) for c in range(3)]
        of_image = [
            [reference(true[n, c].ravel(), pred[n, c].ravel()) for c in range(3)] for n in range(6)
        ]
        function = getattr(metrics, score)
        np.testing.assert_allclose(function(counts), of_set)
        np.testing.assert_allclose(function(counts, per_image=True), of_image)

    def test_pycocotools(self):
        pred, true = random_masks(2)
        coded = [
            [coco_mask.encode(np.asfortranarray(m, np.uint8)) for m in masks.reshape(-1, 16, 16)]
            for masks in (pred, true)
        ]
        expected = [coco_mask.iou([p], [t], [0]).item() for p, t in zip(*coded, strict=True)]
        np.testing.assert_allclose(iou(count(pred, true), per_image=True).ravel(), expected)


class TestLaws:
    @laws
    @given(mask_pairs())
    def test_a_mask_against_itself(self, pair):
        masks, _ = pair
        empty = ~masks.any(axis=(0, 2, 3))
        expected = np.where(empty, NAN, 1.0)
        for score in ("iou", "dice", "precision", "recall"):
            np.testing.assert_array_equal(getattr(metrics, score)(count(masks, masks)), expected)
        lines = count_boundaries(masks, masks, 1)
        np.testing.assert_array_equal(metrics.boundary_f(lines), expected)
        np.testing.assert_array_equal(
            metrics.components_per_object(count_components(masks, masks)), expected
        )

    @laws
    @given(mask_pairs())
    def test_a_mask_against_its_complement(self, pair):
        masks, _ = pair
        counts = count(~masks, masks)
        for score in (iou, metrics.dice, metrics.accuracy):
            np.testing.assert_array_equal(score(counts), np.zeros(masks.shape[1]))

    @laws
    @given(mask_pairs())
    def test_dice_and_iou_say_the_same_in_other_units(self, pair):
        counts = count(*pair)
        jaccard, dice = iou(counts), metrics.dice(counts)
        np.testing.assert_array_equal(np.isnan(jaccard), np.isnan(dice))
        assert not np.any(jaccard > dice)
        np.testing.assert_allclose(dice, 2 * jaccard / (1 + jaccard))

    @pytest.mark.parametrize("kind", COUNTERS)
    @laws
    @given(pair=mask_pairs(), data=st.data())
    def test_order_of_images_does_not_matter(self, kind, pair, data):
        order = data.draw(st.permutations(range(len(pair[0]))))
        counts = COUNTERS[kind](*pair)
        shuffled = COUNTERS[kind](*(masks[order] for masks in pair))
        assert_same(shuffled.total(), counts.total())
        assert_same(shuffled, counts.subset(order))

    @laws
    @given(mask_pairs())
    def test_no_score_leaves_its_range(self, pair):
        counts, lines = count(*pair), count_boundaries(*pair, 1)
        for score in PIXEL_SCORES:
            assert_in_unit_range(getattr(metrics, score)(counts, per_image=True))
        assert_in_unit_range(metrics.boundary_f(lines, per_image=True))


def assert_same(table, other):
    for name in vars(table):
        np.testing.assert_array_equal(getattr(table, name), getattr(other, name), err_msg=name)


def assert_in_unit_range(scores):
    assert not np.any((scores < 0) | (scores > 1)), scores


def brute_boundary(mask):
    """Coordinates of the pixels with a 4-neighbor outside the mask or the image."""
    inside = {tuple(map(int, at)) for at in np.argwhere(mask)}
    return [
        (y, x) for y, x in inside if not {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} <= inside
    ]


def brute_boundary_f(pred, true, tolerance):
    predicted, wanted = brute_boundary(pred), brute_boundary(true)
    if not predicted and not wanted:
        return NAN
    if not predicted or not wanted:
        return 0.0
    exact = np.mean([min(dist(p, t) for t in wanted) <= tolerance for p in predicted])
    found = np.mean([min(dist(t, p) for p in predicted) <= tolerance for t in wanted])
    return 2 * exact * found / (exact + found) if exact + found else 0.0


class TestBoundary:
    def test_outline_of_a_square(self):
        square = plane(".....", ".###.", ".###.", ".###.", ".....")
        np.testing.assert_array_equal(
            boundary(square), plane(".....", ".###.", ".#.#.", ".###.", ".....")
        )

    def test_the_image_border_is_outside(self):
        np.testing.assert_array_equal(
            boundary(plane("###", "###", "###")), plane("###", "#.#", "###")
        )

    def test_a_corner_touched_diagonally_only_is_no_boundary(self):
        full = np.ones((1, 1, 5, 5), bool)
        full[0, 0, 0, 0] = False
        assert not boundary(full)[0, 0, 1, 1]

    def test_distance_is_euclidean(self):
        middle = plane(".....", ".....", "..#..", ".....", ".....")
        np.testing.assert_array_equal(within(middle, 0), middle)
        np.testing.assert_array_equal(
            within(middle, 2), plane("..#..", ".###.", "#####", ".###.", "..#..")
        )
        assert not within(np.zeros_like(middle), 9).any()

    def test_by_hand(self):
        # A column 2 away is forgiven at tolerance 2, and not at 1.
        pred, true = plane("#....", "#...."), plane("..#..", "..#..")
        assert metrics.boundary_f(count_boundaries(pred, true, 1)) == [0]
        assert metrics.boundary_f(count_boundaries(pred, true, 2)) == [1]
        # One of three predicted pixels is near, the one true pixel is: P 1/3, R 1, F 1/2.
        counts = count_boundaries(plane("#.#.#"), plane("#...."), 1)
        np.testing.assert_allclose(metrics.boundary_f(counts), [1 / 2])

    def test_one_empty_mask_scores_0_and_two_do_not_apply(self):
        empty, full = np.zeros((1, 1, 3, 3), bool), np.ones((1, 1, 3, 3), bool)
        for pred, true, expected in (
            (empty, full, 0),
            (full, empty, 0),
            (empty, empty, NAN),
        ):
            counts = count_boundaries(pred, true, 1)
            np.testing.assert_array_equal(metrics.boundary_f(counts), [expected])

    @laws
    @given(mask_pairs(), st.integers(1, 4))
    def test_against_brute_force(self, pair, tolerance):
        pred, true = pair
        counts = count_boundaries(pred, true, tolerance)
        f = metrics.boundary_f(counts, per_image=True)
        for at in np.ndindex(pred.shape[:2]):
            np.testing.assert_allclose(f[at], brute_boundary_f(pred[at], true[at], tolerance))

    def test_the_set_is_summed_before_the_division(self):
        pred = np.concatenate([plane("#....", "....."), plane("#####", "#####")])
        true = np.concatenate([plane("....#", "....."), plane("#####", "#####")])
        # Boundary pixels near the other outline: 0 of 1 and 10 of 10, both ways.
        counts = count_boundaries(pred, true, 1)
        np.testing.assert_allclose(metrics.boundary_f(counts), [10 / 11])
        np.testing.assert_allclose(metrics.boundary_f(counts, per_image=True), [[0], [1]])

    @pytest.mark.parametrize("tolerance", [0, -1, 1.5, NAN])
    def test_tolerance_must_be_whole_and_positive(self, tolerance):
        with pytest.raises(BadInput, match=f"tolerance .* got {tolerance}"):
            count_boundaries(*random_masks(0), tolerance)


def flood(mask):
    """Connected components as sets of coordinates, by flood fill over 8 neighbors."""
    left = {tuple(map(int, at)) for at in np.argwhere(mask)}
    found = []
    while left:
        todo, part = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            part.add((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            todo += around
        found.append(part)
    return found


class TestComponents:
    def test_a_diagonal_joins_and_a_neighboring_plane_does_not(self):
        masks = np.concatenate([plane("#..", ".#.", "..."), plane("#.#", "...", "#.#")])
        assert components(masks).tolist() == [[1], [4]]

    def test_pieces_of_one_and_one_over_several(self):
        pieces, whole = plane("#.#.#"), plane("#####")
        assert metrics.components_per_object(count_components(pieces, whole)) == [3]
        merged = metrics.components_per_object(count_components(whole, pieces))
        np.testing.assert_allclose(merged, [1 / 3])

    def test_every_fourth_pixel_of_a_square_falls_to_pieces(self):
        square = np.ones((1, 1, 8, 8), bool)
        dots = np.zeros_like(square)
        dots[..., ::2, ::2] = True
        assert metrics.components_per_object(count_components(dots, square)) == [16]
        assert iou(count(dots, square)) == [1 / 4]

    def test_not_applicable_without_true_objects(self):
        counts = count_components(plane("#."), plane(".."))
        np.testing.assert_array_equal(metrics.components_per_object(counts), [NAN])

    @laws
    @given(mask_pairs())
    def test_against_flood_fill(self, pair):
        counts = count_components(*pair)
        for at in np.ndindex(pair[0].shape[:2]):
            predicted, true = (flood(masks[at]) for masks in pair)
            assert counts.predicted[at] == len(predicted)
            assert counts.true[at] == len(true)


class TestMeanScore:
    def test_leaves_out_what_does_not_apply_and_says_so(self):
        assert mean_score(iou(FOUR)) == (pytest.approx(1 / 9), 3, 1)
        assert type(mean_score(iou(FOUR)).applicable) is int

    def test_nothing_applies(self):
        mean, applicable, not_applicable = mean_score(np.array([NAN, NAN]))
        assert isnan(mean)
        assert (applicable, not_applicable) == (0, 2)

    def test_along_an_axis(self):
        scores = np.array([[1.0, NAN, 0.2], [0.5, NAN, NAN]])
        by_class, by_image = mean_score(scores, axis=0), mean_score(scores, axis=1)
        np.testing.assert_allclose(by_class.mean, [0.75, NAN, 0.2])
        np.testing.assert_array_equal(by_class.applicable, [2, 0, 1])
        np.testing.assert_array_equal(by_class.not_applicable, [0, 2, 1])
        np.testing.assert_allclose(by_image.mean, [0.6, 0.5])


def binomial_counts(seed, images, share):
    """Images of one predicted pixel, which is true with probability ``share``."""
    true = np.random.default_rng(seed).random((images, 1, 1, 1)) < share
    return count(np.ones_like(true), true)


def mean_iou(counts):
    return mean_score(iou(counts)).mean


class TestBootstrap:
    def test_covers_the_truth_as_often_as_it_says(self):
        hits = 0
        for seed in range(200):
            counts = binomial_counts(seed, images=80, share=0.6)
            low, high = metrics.bootstrap_interval(mean_iou, counts, resamples=200, seed=seed)
            hits += low <= 0.6 <= high
        # 190 expected; by the binomial law 178..198 holds in more than 99.9 % of repetitions.
        assert 178 <= hits <= 198

    def test_agrees_with_scipy(self):
        counts = count(*random_masks(3, (40, 2, 6, 6)))
        ours = metrics.bootstrap_interval(mean_iou, counts, resamples=2000, level=0.9)
        theirs = stats.bootstrap(
            (np.arange(40),),
            lambda images: mean_iou(counts.subset(images)),
            vectorized=False,
            n_resamples=2000,
            confidence_level=0.9,
            method="percentile",
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours == pytest.approx(tuple(theirs), abs=0.1 * width)

    def test_an_array_gets_an_interval_an_element(self):
        counts = count(*random_masks(4))
        low, high = metrics.bootstrap_interval(iou, counts, resamples=300)
        assert low.shape == high.shape == (3,)
        assert np.all((low < iou(counts)) & (iou(counts) < high))
        first = metrics.bootstrap_interval(lambda c: iou(c)[0], counts, resamples=300)
        assert first == (low[0], high[0])

    def test_tables_are_drawn_together(self):
        counts = count(*random_masks(5))
        paired = metrics.bootstrap_interval(
            lambda a, b: mean_iou(a) - mean_iou(b), counts, counts, resamples=50
        )
        assert paired == (0, 0)

    def test_the_seed_decides(self):
        counts = count(*random_masks(6))
        first, again, other = (
            metrics.bootstrap_interval(mean_iou, counts, resamples=50, seed=s) for s in (1, 1, 2)
        )
        assert first == again != other

    def test_draws_that_do_not_apply_are_left_out(self):
        masks = np.zeros((3, 2, 2, 2), bool)
        masks[0, 0] = True  # class 0 is missing from many draws, class 1 from all
        low, high = metrics.bootstrap_interval(iou, count(masks, masks), resamples=100)
        np.testing.assert_array_equal(low, [1, NAN])
        np.testing.assert_array_equal(high, [1, NAN])

    def test_bad_input(self):
        counts = count(*random_masks(7))
        for tables in ((), (counts, counts.subset([0])), (counts.subset([]),)):
            with pytest.raises(BadInput, match="same images"):
                metrics.bootstrap_interval(mean_iou, *tables)
        for wrong in ({"level": 95}, {"resamples": 0}):
            with pytest.raises(BadInput, match="level"):
                metrics.bootstrap_interval(mean_iou, counts, **wrong)


class TestInput:
    def test_torch_tensors_are_taken(self):
        pred, true = random_masks(8)
        for counter in COUNTERS.values():
            assert_same(
                counter(torch.from_numpy(pred), torch.from_numpy(true)), counter(pred, true)
            )

    @pytest.mark.parametrize("kind", COUNTERS)
    def test_wrong_masks_are_quoted(self, kind):
        good = np.zeros((2, 3, 4, 4), bool)
        for bad, quoted in (
            (good.astype(np.uint8), r"uint8 \(2, 3, 4, 4\)"),
            (good[0], r"bool \(3, 4, 4\)"),
            (good[:1], r"bool \(1, 3, 4, 4\)"),
        ):
            with pytest.raises(BadInput, match=quoted):
                COUNTERS[kind](bad, good)
            with pytest.raises(BadInput, match=quoted):
                COUNTERS[kind](good, bad)
        with pytest.raises(BadInput, match=r"bool \(3, 4, 4\)"):
            COUNTERS[kind](good[0], good[0])

    def test_an_empty_set_applies_to_nothing(self):
        none = np.zeros((0, 3, 4, 4), bool)
        np.testing.assert_array_equal(iou(count(none, none)), [NAN] * 3)
        np.testing.assert_array_equal(
            metrics.boundary_f(count_boundaries(none, none, 1)), [NAN] * 3
        )
        np.testing.assert_array_equal(
            metrics.components_per_object(count_components(none, none)), [NAN] * 3
        )

    def test_malformed_tables(self):
        column = np.zeros((2, 1), np.int64)
        for wrong in (column[:1], column.astype(float), column.astype(np.int32)):
            with pytest.raises(BadInput, match="int64"):
                Counts(column, column, column, wrong)
        for wrong in (column.astype(float), column[..., None]):
            with pytest.raises(BadInput, match="int64"):
                Counts(wrong, wrong, wrong, wrong)

    def test_totals_have_no_images(self):
        total = FOUR.total()
        np.testing.assert_array_equal(iou(total), iou(FOUR))
        for needs_images in (
            lambda: len(total),
            lambda: total.subset([0]),
            lambda: iou(total, per_image=True),
            lambda: metrics.false_alarms(total),
        ):
            with pytest.raises(BadInput, match=r"per image"):
                needs_images()
