"""Differentiable objectives as pure functions of a prediction and a target.

Everywhere: ``pred`` and ``target`` are floating tensors (N, C, H, W), N images by C classes; the
prediction is the network's raw output, the target a mask per class (0 or 1; under the report's
coding 0 or the class's value). Another type or shape raises ``BadInput``. Sums run in float32 at
least, so that half precision is safe.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seghw.config import LOSS_NAMES
from seghw.errors import BadInput

DiceLoss = Callable[[Tensor, Tensor], Tensor]
EPSILON = 1e-6  # keeps 0 / 0 away


def mse_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all images, classes and pixels, a scalar."""
    return F.mse_loss(*_pair(pred, target))


def report_dice_loss(pred: Tensor, target: Tensor) -> Tensor:
    """The report's Dice loss, Listing 3: no factor 2, summed over images and classes, a scalar.

    For a pair (image, class), 1 - ab / (aa + bb + 1e-6), where ab, aa and bb are the sums
    over pixels of pred * target, pred ** 2 and target ** 2. Since ab is at most (aa + bb) / 2, a
    perfect pair scores 0.5; a class absent from the target scores 1 with no gradient.
    """
    ab, aa, bb = _overlaps(pred, target)
    return (1 - ab / (aa + bb + EPSILON)).sum()


def dice_loss(pred: Tensor, target: Tensor, *, absent_area: float = 0.3) -> Tensor:
    """The Dice loss of V-Net (Milletari et al., 2016): factor 2, mean over images and classes.

    For a pair (image, class), 1 - 2 ab / (aa + bb + 1e-6), with the sums of
    ``report_dice_loss``: a scalar in [0, 1] for both in [0, 1], and 0 when pred equals target, up
    to rounding.

    A class absent from the target would score 1 whatever is predicted, so that false positives
    would cost nothing. Here such a pair scores aa / (aa + s) instead, s being ``absent_area``
    times the pixels of an image: 0 for an empty prediction, 0.5 for a false positive of s
    pixels, and with a gradient that removes it. ``absent_area=0`` is the plain formula.
    """
    ab, aa, bb = _overlaps(pred, target)
    smooth = torch.where(bb > 0, 0.0, absent_area * pred.shape[-2] * pred.shape[-1])
    # What has no gradient is added up first, so that autograd has fewer steps to go back.
    return (1 - torch.add(smooth, ab, alpha=2) / (aa + (bb + smooth + EPSILON))).mean()


#: The Dice loss of each recipe, by its name.
DICE_LOSSES: dict[str, DiceLoss] = {"report": report_dice_loss, "corrected": dice_loss}


class LossTerms(NamedTuple):
    """An objective and the two terms that the report makes it of, each a scalar tensor."""

    total: Tensor
    mse: Tensor
    dice: Tensor


def combined_loss(
    pred: Tensor,
    target: Tensor,
    *,
    loss: str = "mse_dice",
    coefficient: float = 1.0,
    dice: DiceLoss = dice_loss,
) -> LossTerms:
    """The objective of a run, with the MSE and the Dice term always measured.

    Args:
        pred: (N, C, H, W); logits for ``"bce"`` and ``"bce_dice"``, whose other terms are measured
            on their sigmoid.
        target: (N, C, H, W).
        loss: a key of ``config.LOSS_NAMES``: the MSE, the Dice loss, the binary cross-entropy, or
            one of the others plus ``coefficient`` times the Dice loss.
        coefficient: weight of the Dice term.
        dice: ``dice_loss`` or ``report_dice_loss``.
    """
    if loss not in LOSS_NAMES:
        raise BadInput(f"loss must be one of {tuple(LOSS_NAMES)}, got {loss!r}")
    pred, target = _pair(pred, target)
    entropy = 0.0
    if loss.startswith("bce"):
        entropy = F.binary_cross_entropy_with_logits(pred, target)
        pred = pred.sigmoid()
    # A term that is only watched needs no graph.
    with torch.set_grad_enabled(torch.is_grad_enabled() and loss.startswith("mse")):
        mse = F.mse_loss(pred, target)
    with torch.set_grad_enabled(torch.is_grad_enabled() and loss.endswith("dice")):
        dice_term = dice(pred, target)
    first = {"mse": mse, "bce": entropy}.get(loss.split("_")[0])
    if first is None:
        return LossTerms(dice_term, mse, dice_term)
    total = first + coefficient * dice_term if loss.endswith("dice") else first
    return LossTerms(total, mse, dice_term)


class GradientBalance(NamedTuple):
    """The norms of both terms' gradients at the network's output."""

    mse: float  # Euclidean norm of the MSE's gradient with respect to pred
    dice: float  # the same for the Dice term
    ratio: float  # mse / dice: the coefficient at which both norms are equal; inf without a Dice


def gradient_balance(
    pred: Tensor, target: Tensor, dice: DiceLoss = report_dice_loss
) -> GradientBalance:
    """Norms of the MSE's and a Dice loss's gradients at ``pred``, which need not require grad."""
    with torch.inference_mode(False), torch.enable_grad():
        # What was computed in inference mode can only be differentiated as a copy.
        pred, target = (t.clone() if t.is_inference() else t for t in _pair(pred, target))
        pred = pred.detach().requires_grad_(True)
        gradients = [torch.autograd.grad(term(pred, target), pred)[0] for term in (mse_loss, dice)]
    mse, norm = torch.stack([gradient.float().norm() for gradient in gradients]).tolist()
    return GradientBalance(mse, norm, mse / norm if norm else float("inf"))


def _pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both checked, and in float32 at least."""
    for name, value in (("pred", pred), ("target", target)):
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = getattr(value, "dtype", type(value).__name__)
            raise BadInput(f"{name} must be a floating torch tensor, got {kind}; use .float()")
    if pred.shape != target.shape or pred.ndim != 4:
        raise BadInput(
            f"pred and target must both be (N, C, H, W), "
            f"got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if target.is_inference() and pred.requires_grad:
        target = target.clone()  # else autograd may not keep it
    wide = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    return pred.to(wide), target.to(wide)


def _overlaps(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over pixels of pred * target, pred ** 2 and target ** 2, each (N, C)."""
    pred, target = _pair(pred, target)
    # Not einsum: its matrix product adds up one by one, which is coarser and slower, and autocast
    # would run it in half precision.
    return tuple((a * b).sum((2, 3)) for a, b in ((pred, target), (pred, pred), (target, target)))
