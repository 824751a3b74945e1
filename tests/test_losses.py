"""Losses by hand, against Listing 3, torch and finite differences, and their laws."""

import math

import pytest
import torch
import torch.nn.functional as F

from seghw.config import LOSS_NAMES
from seghw.losses import combined_loss, dice_loss, gradient_balance, mse_loss, report_dice_loss

BOTH = pytest.mark.parametrize("loss", [report_dice_loss, dice_loss])


def channel(*rows):
    """One image with one class."""
    return torch.tensor([[rows]], dtype=torch.float)


def noise(*shape, seed=0, dtype=torch.float):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mask(*shape, seed=1):
    return (noise(*shape, seed=seed) > 0.6).float()


def gradient(loss, pred, target, **options):
    pred = pred.detach().clone().requires_grad_(True)
    return torch.autograd.grad(loss(pred, target, **options), pred)[0]


TARGET = channel([1, 1], [0, 0])


@pytest.mark.parametrize(
    ("pred", "ab", "aa"),
    [
        (channel([1, 1], [0, 0]), 2, 2),  # perfect
        (channel([1, 0], [0, 0]), 1, 1),  # one pixel missed
        (channel([1, 1], [1, 0]), 2, 3),  # one pixel too many
        (channel([0, 0], [1, 1]), 0, 2),  # all wrong
        (channel([0, 0], [0, 0]), 0, 0),  # nothing
        (channel([2, 2], [0, 0]), 4, 8),  # twice as strong
        (channel([-1, -1], [0, 0]), -2, 2),  # the wrong sign
    ],
)
def test_dice_by_hand(pred, ab, aa):
    assert report_dice_loss(pred, TARGET).item() == pytest.approx(1 - ab / (aa + 2), abs=1e-6)
    assert dice_loss(pred, TARGET).item() == pytest.approx(1 - 2 * ab / (aa + 2), abs=1e-6)


def listing_3(preds, ground_truth):
    """The listing's formula in plain loops, an image and a class at a time."""
    total = 0
    for image, truth in zip(preds, ground_truth, strict=True):
        for pred, target in zip(image, truth, strict=True):
            overlap = (pred * target).sum()
            total = total + 1 - overlap / ((pred**2).sum() + (target**2).sum() + 1e-6)
    return total


@pytest.mark.parametrize("scale", [1, 250])
def test_report_dice_loss_is_listing_3_in_value_and_gradient(scale):
    pred, target = (noise(4, 5, 16, 16) * 2 - 0.5) * scale, mask(4, 5, 16, 16) * scale
    target[0, 1] = 0
    torch.testing.assert_close(report_dice_loss(pred, target), listing_3(pred, target))
    expected = gradient(listing_3, pred, target)
    torch.testing.assert_close(gradient(report_dice_loss, pred, target), expected)


@pytest.mark.parametrize(
    ("loss", "options"), [(report_dice_loss, {}), (dice_loss, {"absent_area": 0})]
)
def test_false_positives_of_an_absent_class_are_free(loss, options):
    pred, nothing = noise(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    assert loss(pred, nothing, **options).item() == loss(100 * pred, nothing, **options).item() == 1
    assert not gradient(loss, pred, nothing, **options).any()


@pytest.mark.parametrize(("pixels", "score"), [(0, 0), (1, 1 / 2), (3, 3 / 4), (100, 100 / 101)])
def test_dice_loss_of_an_absent_class_grows_with_its_false_positives(pixels, score):
    pred, nothing = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    pred.view(-1)[:pixels] = 1
    assert dice_loss(pred, nothing, absent_area=0.01).item() == pytest.approx(score, abs=1e-6)
    pull = gradient(dice_loss, pred, nothing, absent_area=0.01).view(-1)
    assert (pull[:pixels] > 0).all()
    assert not pull[pixels:].any()
    # A class that is present is scored alike whatever the area.
    assert dice_loss(pred, nothing + 1) == dice_loss(pred, nothing + 1, absent_area=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_of_images_is_safe(dtype):
    """Squares of 0..255 are more than half precision holds; the sums are not made in it."""
    pred, target = (255 * part(2, 3, 8, 8).to(dtype) for part in (noise, mask))
    for loss in (mse_loss, report_dice_loss, dice_loss):
        expected = loss(pred.double(), target.double()).item()
        assert loss(pred, target).item() == pytest.approx(expected, rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert dice_loss(pred, target).dtype == torch.float32


@BOTH
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_inference_tensors_and_tensors_without_gradient(loss, name):
    pred, target = noise(2, 3, 8, 8), mask(2, 3, 8, 8)
    with torch.inference_mode():
        of_inference = pred.clone(), target.clone()
        balance = gradient_balance(*of_inference, loss)
    expected = pytest.approx(gradient_balance(pred, target, loss))
    assert balance == gradient_balance(*of_inference, loss) == expected
    total = combined_loss(*of_inference, loss=name, dice=loss).total
    assert total.isfinite()
    assert not total.requires_grad
    pred.requires_grad_()  # what is trained on may still have an inference target
    combined_loss(pred, of_inference[1], loss=name, dice=loss).total.backward()
    assert pred.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_a_total_is_made_of_its_terms(loss):
    pred, target = (noise(2, 2, 4, 4) * 8 - 4).requires_grad_(True), mask(2, 2, 4, 4)
    terms = combined_loss(pred, target, loss=loss, coefficient=3, dice=dice_loss)
    shown = pred.sigmoid() if loss.startswith("bce") else pred
    parts = {
        "mse": F.mse_loss(shown, target),
        "dice": dice_loss(shown, target),
        "bce": F.binary_cross_entropy(pred.sigmoid(), target),
    }
    expected = sum(parts[name] for name in loss.split("_", 1)[:1])
    if loss.endswith("_dice"):
        expected = expected + 3 * parts["dice"]
    torch.testing.assert_close(terms.total, expected)
    torch.testing.assert_close((terms.mse, terms.dice), (parts["mse"], parts["dice"]))
    pull = torch.autograd.grad(terms.total, pred)[0]
    torch.testing.assert_close(pull, torch.autograd.grad(expected, pred)[0])


@BOTH
def test_gradient_balance_by_hand(loss):
    # One pixel, prediction p and target t: MSE' = 2 (p - t) and, with d = p * p + t * t,
    # (1 - p t / d)' = -t (t * t - p * p) / (d * d); the standard Dice has twice that.
    p, t = 3.0, 4.0
    expected = t * (t * t - p * p) / (p * p + t * t) ** 2 * (2 if loss is dice_loss else 1)
    balance = gradient_balance(channel([p]), channel([t]), loss)
    assert balance == pytest.approx((2, expected, 2 / expected), rel=1e-5)
    assert gradient_balance(channel([p]), channel([0]), report_dice_loss)[1:] == (0, math.inf)
