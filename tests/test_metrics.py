"""Scores against hand-made cases, SciPy, brute force, and their laws."""

from math import dist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from seghw import metrics
from seghw.metrics import boundary_f, components, count, count_boundary, iou

NAN = np.nan


@st.composite
def mask_pairs(draw):
    masks = arrays(bool, draw(st.tuples(*(st.integers(1, m) for m in (4, 3, 7, 7)))))
    return draw(masks), draw(masks)


def random_masks(seed, shape=(6, 3, 16, 16)):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.4, rng.random(shape) < 0.3


# One image of four pixels, four classes: half right, nothing there, missed, invented.
PRED = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
TRUE = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
FOUR = count(PRED.reshape(1, 4, 2, 2), TRUE.reshape(1, 4, 2, 2))


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("iou", [1 / 3, NAN, 0, 0]),
        ("dice", [1 / 2, NAN, 0, 0]),
        ("precision", [1 / 2, NAN, NAN, 0]),
        ("recall", [1 / 2, NAN, 0, NAN]),
        ("accuracy", [1 / 2, 1, 1 / 2, 3 / 4]),
    ],
)
def test_scores_by_hand(score, expected):
    np.testing.assert_allclose(getattr(metrics, score)(FOUR), [expected])


def test_a_set_is_summed_before_the_one_division():
    # IoU 1/1 on one image and 0/3 on the other: 1/4 of the set, 1/2 on average.
    counts = np.array([[[1, 0, 0, 3]], [[0, 3, 0, 1]]])
    assert iou(counts).tolist() == [[1], [0]]
    assert iou(counts.sum(0)).tolist() == [1 / 4]


def test_false_positive_images_lack_the_class():
    # The first image has the class and a wrong pixel; of the three others, two have wrong pixels.
    pred = np.array([[1, 1], [1, 1], [0, 0], [0, 1]], bool).reshape(4, 1, 1, 2)
    true = np.array([[1, 0], [0, 0], [0, 0], [0, 0]], bool).reshape(4, 1, 1, 2)
    counts = count(pred, true)
    np.testing.assert_allclose(metrics.false_positive_images(counts), [2 / 3])
    np.testing.assert_array_equal(metrics.false_positive_images(counts[:1]), [NAN])


def brute_outline(mask):
    inside = {tuple(map(int, at)) for at in np.argwhere(mask)}
    return [
        (y, x) for y, x in inside if not {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} <= inside
    ]


@given(mask_pairs(), st.integers(1, 4))
def test_boundary_f_is_that_of_brute_force(pair, tolerance):
    scores = boundary_f(count_boundary(*pair, tolerance))
    for at in np.ndindex(scores.shape):
        p, t = (brute_outline(masks[at]) for masks in pair)
        if not p or not t:
            expected = 0.0 if p or t else NAN
        else:
            exact = np.mean([min(dist(a, b) for b in t) <= tolerance for a in p])
            complete = np.mean([min(dist(a, b) for b in p) <= tolerance for a in t])
            expected = 2 * exact * complete / (exact + complete) if exact + complete else 0.0
        np.testing.assert_allclose(scores[at], expected)


def test_a_diagonal_step_joins_components():
    masks = np.array([[[[1, 0, 0, 1], [0, 1, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]]], bool)
    assert components(masks).tolist() == [[2, 0]]


def test_the_bootstrap_agrees_with_scipys():
    assert metrics.interval(np.arange(101.0)).tolist() == pytest.approx([2.5, 97.5])
    counts = count(*random_masks(3, (40, 2, 6, 6)))
    ours = metrics.interval(iou(metrics.resample(counts, times=2000)).mean(1))
    theirs = stats.bootstrap(
        (np.arange(40),),
        lambda images: iou(counts[images].sum(0)).mean(),
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert tuple(ours) == pytest.approx(tuple(theirs), abs=0.15 * (theirs.high - theirs.low))


def test_tables_are_drawn_together_and_the_seed_decides():
    counts = count(*random_masks(5))
    one, other = metrics.resample(counts, 2 * counts, times=50)
    assert one.shape == (50, 3, 4)
    assert np.array_equal(2 * one, other)
    assert (one.sum(-1) == counts[0, 0].sum() * 6).all()
    assert np.array_equal(one, metrics.resample(counts, times=50))
    assert not np.array_equal(one, metrics.resample(counts, times=50, seed=1))


@pytest.mark.parametrize("counter", [count, lambda pred, true: count_boundary(pred, true, 1)])
def test_tensors_are_counted_and_no_images_have_no_score(counter):
    pred, true = random_masks(8)
    with torch.inference_mode():
        as_tensors = counter(torch.from_numpy(pred), torch.from_numpy(true))
    assert np.array_equal(as_tensors, counter(pred, true))
    assert np.isnan(iou(counter(pred[:0], true[:0]).sum(0))).all()
