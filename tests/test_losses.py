import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import dice as scipy_dice
from torch.nn.functional import mse_loss

from seghw.config import LOSS_NAMES
from seghw.errors import BadInput
from seghw.losses import combined_loss, dice_loss, gradient_balance, report_dice_loss

DICE_LOSS_NAMES = pytest.mark.parametrize("loss", [report_dice_loss, dice_loss])


def plane(*rows):
    """One image with one class."""
    return torch.tensor([[rows]], dtype=torch.float)


def noise(*shape, seed=0, dtype=torch.float):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradient(loss, pred, target, **options):
    pred = pred.detach().clone().requires_grad_(True)
    return torch.autograd.grad(loss(pred, target, **options), pred)[0]


TARGET = plane([1, 1], [0, 0])


# By hand: a prediction against TARGET, with ab, aa and bb beside it.
@pytest.mark.parametrize(
    ("pred", "ab", "aa", "bb"),
    [
        (plane([1, 1], [0, 0]), 2, 2, 2),  # perfect
        (plane([1, 0], [0, 0]), 1, 1, 2),  # one pixel missed
        (plane([1, 1], [1, 0]), 2, 3, 2),  # one pixel too many
        (plane([0, 0], [1, 1]), 0, 2, 2),  # all wrong
        (plane([0, 0], [0, 0]), 0, 0, 2),  # nothing
        (plane([0.5, 0.5], [0, 0]), 1, 0.5, 2),  # half as strong
        (plane([2, 2], [0, 0]), 4, 8, 2),  # twice as strong
        (plane([-1, -1], [0, 0]), -2, 2, 2),  # the wrong sign
    ],
)
def test_by_hand(pred, ab, aa, bb):
    assert report_dice_loss(pred, TARGET).item() == pytest.approx(1 - ab / (aa + bb), abs=1e-6)
    assert dice_loss(pred, TARGET).item() == pytest.approx(1 - 2 * ab / (aa + bb), abs=1e-6)


def test_the_report_sums_and_the_standard_averages():
    pred = torch.cat([plane([1, 1], [0, 0]), plane([1, 0], [0, 0])], dim=1)
    pred, target = pred.repeat(3, 1, 1, 1), TARGET.repeat(3, 2, 1, 1)
    assert report_dice_loss(pred, target).item() == pytest.approx(3 * (1 / 2 + 2 / 3))
    assert dice_loss(pred, target).item() == pytest.approx((0 + 1 / 3) / 2, abs=1e-6)


@pytest.mark.parametrize("value", [1, 50, 250])
def test_a_perfect_prediction_scores_half_a_channel_in_the_report(value):
    target = (noise(4, 5, 8, 8) > 0.5) * float(value)
    assert report_dice_loss(target, target).item() == pytest.approx(20 * 0.5)
    assert dice_loss(target, target).item() == pytest.approx(0, abs=1e-6)


# A class that is absent from an image


@pytest.mark.parametrize(
    ("loss", "options"), [(report_dice_loss, {}), (dice_loss, {"absent_area": 0})]
)
def test_false_positives_of_an_absent_class_are_free(loss, options):
    pred, nothing = noise(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    assert loss(pred, nothing, **options).item() == 1
    assert loss(100 * pred, nothing, **options).item() == 1
    assert not gradient(loss, pred, nothing, **options).any()


def test_an_absent_class_costs_the_report_exactly_one():
    pred, target = noise(2, 3, 8, 8), (noise(2, 3, 8, 8, seed=1) > 0.5).float()
    present = report_dice_loss(pred[:, :2], target[:, :2])
    target[:, 2] = 0
    assert report_dice_loss(pred, target).item() == pytest.approx(present.item() + 2)


@pytest.mark.parametrize(("pixels", "score"), [(0, 0), (1, 1 / 2), (3, 3 / 4), (100, 100 / 101)])
def test_dice_loss_of_an_absent_class_grows_with_its_false_positives(pixels, score):
    pred, nothing = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    pred.view(-1)[:pixels] = 1
    one_pixel = {"absent_area": 0.01}
    assert dice_loss(pred, nothing, **one_pixel).item() == pytest.approx(score, abs=1e-6)
    pull = gradient(dice_loss, pred, nothing, **one_pixel).view(-1)
    assert (pull[:pixels] > 0).all()
    assert not pull[pixels:].any()


def test_by_default_too_a_false_positive_of_the_absent_area_scores_one_half():
    share = inspect.signature(dice_loss).parameters["absent_area"].default
    pred, nothing = torch.zeros(1, 1, 10, 20), torch.zeros(1, 1, 10, 20)
    pred.view(-1)[: round(share * 200)] = 1
    assert dice_loss(pred, nothing).item() == pytest.approx(0.5, abs=1e-2)
    assert gradient(dice_loss, pred, nothing).any()


def test_absent_area_leaves_present_classes_alone():
    pred, target = noise(2, 3, 8, 8), (noise(2, 3, 8, 8, seed=1) > 0.5).float()
    assert dice_loss(pred, target) == dice_loss(pred, target, absent_area=0.5)


# Listing 3


def listing_3(preds, ground_truth):
    """The listing's formula in plain loops, an image and a class at a time."""
    total = 0
    for image, truth in zip(preds, ground_truth, strict=True):
        for pred, mask in zip(image, truth, strict=True):
            overlap = (pred * mask).sum()
            total = total + 1 - overlap / ((pred**2).sum() + (mask**2).sum() + 1e-6)
    return total


@pytest.mark.parametrize("scale", [1, 250])
def test_report_dice_loss_is_listing_3_in_value_and_gradient(scale):
    pred = noise(4, 5, 16, 16) * 2 * scale - scale / 2
    target = (noise(4, 5, 16, 16, seed=1) > 0.8).float() * scale
    target[0, 1] = 0
    torch.testing.assert_close(report_dice_loss(pred, target), listing_3(pred, target))
    torch.testing.assert_close(
        gradient(report_dice_loss, pred, target), gradient(listing_3, pred, target)
    )


@DICE_LOSS_NAMES
@pytest.mark.parametrize("requires_grad", [True, False])
def test_inputs_are_left_as_they_are(loss, requires_grad):
    pred, target = noise(1, 2, 4, 4), noise(1, 2, 4, 4).requires_grad_(requires_grad)
    before = target.detach().clone()
    loss(pred, target)
    assert (pred.requires_grad, target.requires_grad) == (False, requires_grad)
    assert torch.equal(target.detach(), before)


# Laws


shapes = st.tuples(*(st.integers(1, 4) for _ in range(4)))
shares = st.floats(0, 1, width=32, allow_subnormal=False)


@st.composite
def pairs(draw, values=shares):
    """Predictions and masks of one shape."""
    shape = draw(shapes)
    pred = draw(arrays(np.float32, shape, elements=values))
    target = draw(arrays(np.bool_, shape)).astype(np.float32)
    return torch.from_numpy(pred), torch.from_numpy(target)


@settings(deadline=None)
@given(pairs(), st.floats(0, 1))
def test_dice_loss_stays_between_0_and_1(pair, absent_area):
    assert -1e-6 <= dice_loss(*pair, absent_area=absent_area).item() <= 1 + 1e-6


@settings(deadline=None)
@given(pairs(st.floats(0, 300, width=16)), st.sampled_from([1, 50, 250]))
def test_the_reports_dice_stays_between_half_a_channel_and_one(pair, value):
    pred, target = pair
    channels = pred.shape[0] * pred.shape[1]
    loss = report_dice_loss(pred, value * target).item()
    assert channels / 2 - 1e-5 <= loss <= channels + 1e-5


@settings(deadline=None)
@given(pairs())
def test_a_mask_against_itself_costs_nothing(pair):
    _, mask = pair
    assert dice_loss(mask, mask).item() == pytest.approx(0, abs=2e-4)  # epsilon of one pixel


@settings(deadline=None)
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    shuffled = [part[order] for part in pair]
    for loss in (report_dice_loss, dice_loss):
        assert loss(*shuffled).item() == pytest.approx(loss(*pair).item(), rel=1e-5, abs=1e-6)


# Number formats, sizes and magnitudes


@DICE_LOSS_NAMES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 250, 1e4])
@pytest.mark.parametrize("side", [1, 64])
@pytest.mark.parametrize("mask", [0, 1])
def test_empty_and_full_masks_in_any_format(loss, dtype, scale, side, mask):
    pred = (noise(2, 3, side, side) * scale).to(dtype)
    target = torch.full((2, 3, side, side), mask * scale, dtype=dtype)
    expected = loss(pred.double(), target.double())
    assert loss(pred, target).item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    pull = gradient(loss, pred, target)
    assert pull.dtype == dtype
    wide = gradient(loss, pred.double(), target.double())
    rtol = 1e-2 if dtype == torch.bfloat16 else 1e-3
    torch.testing.assert_close(pull.double(), wide, rtol=rtol, atol=rtol * wide.abs().max().item())


@DICE_LOSS_NAMES
def test_autocast_does_not_coarsen_the_sums(loss):
    pred, target = noise(2, 3, 64, 64), (noise(2, 3, 64, 64, seed=1) > 0.5).float()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(pred, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(pred, target).item(), rel=1e-6)


@DICE_LOSS_NAMES
def test_gradients_agree_with_finite_differences(loss):
    pred = noise(2, 2, 3, 3, dtype=torch.double).requires_grad_(True)
    target = (noise(2, 2, 3, 3, seed=1, dtype=torch.double) > 0.5).double()
    target[0, 0] = 0
    assert torch.autograd.gradcheck(lambda pred: loss(pred, target), pred)


@DICE_LOSS_NAMES
@pytest.mark.parametrize("shape", [(2, 3, 8, 4), (2, 1, 8, 8), (3, 8, 8)])
def test_other_shapes_are_quoted(loss, shape):
    with pytest.raises(BadInput) as caught:
        loss(torch.zeros(2, 3, 8, 8), torch.zeros(shape))
    assert str(shape) in str(caught.value)
    with pytest.raises(BadInput):
        loss(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))


# Independent references, where the definitions meet


def hard_masks(seed=0):
    pred = noise(6, 4, 16, 16, seed=seed) > 0.6
    target = noise(6, 4, 16, 16, seed=seed + 1) > 0.7
    return pred, target


def test_dice_loss_of_hard_masks_is_scipys():
    pred, target = hard_masks()
    expected = np.mean(
        [
            scipy_dice(a.flatten().numpy(), b.flatten().numpy())
            for a, b in zip(pred.flatten(0, 1), target.flatten(0, 1), strict=True)
        ]
    )
    assert dice_loss(pred.float(), target.float()).item() == pytest.approx(expected, abs=1e-6)


def test_dice_loss_of_hard_masks_is_torchmetrics():
    segmentation = pytest.importorskip("torchmetrics.functional.segmentation")
    pred, target = hard_masks(seed=2)
    scores = segmentation.dice_score(pred, target, num_classes=4, average="macro")
    expected = 1 - scores.mean().item()
    assert dice_loss(pred.float(), target.float()).item() == pytest.approx(expected, abs=1e-6)


# Both terms together


def test_terms_add_up_by_hand():
    pred, target = plane([1, 0], [0, 0]), TARGET
    terms = combined_loss(pred, target, coefficient=60, dice=report_dice_loss)
    assert terms.mse.item() == 0.25
    assert terms.dice.item() == pytest.approx(2 / 3)
    assert terms.total.item() == pytest.approx(0.25 + 60 * 2 / 3)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_only_the_terms_in_the_total_have_a_gradient(loss):
    pred = noise(2, 2, 4, 4).requires_grad_(True)
    target = (noise(2, 2, 4, 4, seed=1) > 0.5).float()
    terms = combined_loss(pred, target, loss=loss, coefficient=3)
    assert terms.mse.requires_grad == ("mse" in loss)
    assert terms.dice.requires_grad == ("dice" in loss)
    weights = {"mse": (1, 0), "dice": (0, 1), "mse_dice": (1, 3)}[loss]
    expected = weights[0] * terms.mse + weights[1] * terms.dice
    assert terms.total.item() == pytest.approx(expected.item())
    terms.total.backward()
    pulls = (gradient(term, pred, target) for term in (mse_loss, dice_loss))
    expected = sum(weight * pull for weight, pull in zip(weights, pulls, strict=True))
    torch.testing.assert_close(pred.grad, expected)


def test_no_graph_is_built_where_none_is_wanted():
    pred = noise(1, 1, 2, 2).requires_grad_(True)
    with torch.no_grad():
        assert not combined_loss(pred, TARGET).total.requires_grad


def test_an_unknown_loss_is_quoted():
    with pytest.raises(BadInput, match=r"'mse_dice'\), got 'bce'"):
        combined_loss(TARGET, TARGET, loss="bce")


@pytest.mark.parametrize("dice", [report_dice_loss, dice_loss])
def test_gradient_balance_by_hand(dice):
    # One pixel, prediction p and target t: MSE' = 2 (p - t) and, with d = p * p + t * t,
    # (1 - p t / d)' = -t (t * t - p * p) / (d * d); the standard Dice has twice that.
    p, t = 3.0, 4.0
    balance = gradient_balance(plane([p]), plane([t]), dice)
    expected = t * (t * t - p * p) / (p * p + t * t) ** 2 * (2 if dice is dice_loss else 1)
    assert balance.mse == pytest.approx(2)
    assert balance.dice == pytest.approx(expected, rel=1e-5)
    assert balance.ratio == pytest.approx(2 / expected, rel=1e-5)


def test_gradient_balance_is_what_autograd_says():
    pred, target = noise(2, 3, 8, 8), (noise(2, 3, 8, 8, seed=1) > 0.5) * 50.0
    balance = gradient_balance(pred, target)
    mse = (2 * (pred - target) / pred.numel()).norm().item()
    dice = gradient(listing_3, pred, target).norm().item()
    assert balance == pytest.approx((mse, dice, mse / dice), rel=1e-4)


def test_gradient_balance_without_a_dice_gradient():
    pred = noise(1, 1, 4, 4).requires_grad_(True)
    with torch.no_grad():
        balance = gradient_balance(pred, torch.zeros(1, 1, 4, 4))
    assert (balance.dice, balance.ratio) == (0, math.inf)
    assert pred.grad is None
