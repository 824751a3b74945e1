"""`bench losses`: the Dice losses against a plain reference, the corrected network timed."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from seghw.losses import DiceLoss, dice_loss, report_dice_loss
from seghw.network import MUNet
from tests.bench.harness import Bench, Result, Timing, interleave, ratio, sgd_step

SHAPES = ((4, 5, 64, 64), (4, 3, 256, 256))
NETWORKS = ((16, 4), (64, 16))  # width and depth: profile laptop, and the report's own

ABOUT = (
    "losses: forward and backward, float32, every class present in every image, where the two",
    "  definitions meet. The reference is the plain composition of torch operations that MONAI's",
    "  DiceLoss(squared_pred=True) computes, without its options.",
    "heads: one training step (forward, MSE, backward, SGD) with ASPP at rates 2, 4, 6,",
    "  channels_last, a batch of four images of 64 x 64 that is there.",
)


def reference_dice_loss(pred: Tensor, target: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Soft Dice with squared denominator, mean over images and classes.

    The formula of MONAI's ``DiceLoss(squared_pred=True)`` (https://docs.monai.io), written anew.
    """
    over = (2, 3)
    intersection = torch.sum(pred * target, over)
    denominator = torch.sum(pred**2, over) + torch.sum(target**2, over)
    return torch.mean(1 - 2 * intersection / (denominator + epsilon))


def reference_report_dice_loss(pred: Tensor, target: Tensor, epsilon: float = 1e-6) -> Tensor:
    """The same without the factor 2, summed: the report's Listing 3."""
    over = (2, 3)
    intersection = torch.sum(pred * target, over)
    denominator = torch.sum(pred**2, over) + torch.sum(target**2, over)
    return torch.sum(1 - intersection / (denominator + epsilon))


PAIRS: dict[str, tuple[DiceLoss, DiceLoss]] = {
    "report_dice_loss": (reference_report_dice_loss, report_dice_loss),
    "dice_loss": (reference_dice_loss, dice_loss),
}


def bench_losses(
    shapes: Sequence[tuple[int, int, int, int]] = SHAPES,
    networks: Sequence[tuple[int, int]] = NETWORKS,
    rounds: int = 31,
) -> Bench:
    """Time both losses and their references, and a step with each head.

    Args:
        shapes: of predictions and targets, (N, C, H, W).
        networks: width and depth of each network.
        rounds: of each comparison.
    """
    timings: list[Timing] = []
    results: list[Result] = []
    for compared in (
        *(partial(_compare_losses, name, shape) for shape in shapes for name in PAIRS),
        *(partial(_compare_heads, *network) for network in networks),
    ):
        some_timings, some_results = compared(rounds)
        timings += some_timings
        results += some_results
    return Bench("bench losses", ABOUT, tuple(timings), tuple(results))


def _compare_losses(
    name: str, shape: tuple[int, int, int, int], rounds: int
) -> tuple[list[Timing], list[Result]]:
    sides = [backward_of(loss, *prediction_and_target(shape)) for loss in PAIRS[name]]
    (expected, gradient), (found, our_gradient) = (side() for side in sides)
    difference = abs(found - expected) / expected
    pull = (our_gradient - gradient).norm() / gradient.norm()
    what = f"{name} at {' x '.join(map(str, shape))}"
    timings = interleave({f"reference, {what}": sides[0], f"seghw, {what}": sides[1]}, rounds)
    return timings, [
        ratio(what, *timings, at_least=1),
        Result(f"{what}: relative difference of the values", difference.item(), at_most=1e-4),
        Result(f"{what}: relative difference of the gradients", pull.item(), at_most=1e-4),
    ]


def prediction_and_target(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Noise in 0..1 and masks of 0 and 1 that hold every class, float32 of that shape."""
    generator = torch.Generator().manual_seed(0)
    pred, threshold = torch.rand(2, *shape, generator=generator)
    return pred, (threshold > 0.8).float()


def backward_of(loss: DiceLoss, pred: Tensor, target: Tensor) -> Callable[[], tuple]:
    """A function that gives the loss and its gradient with respect to ``pred``."""
    pred = pred.clone().requires_grad_(True)

    def forward_and_backward() -> tuple[Tensor, Tensor]:
        value = loss(pred, target)
        return value.detach(), torch.autograd.grad(value, pred)[0]

    return forward_and_backward


def _compare_heads(width: int, depth: int, rounds: int) -> tuple[list[Timing], list[Result]]:
    what = f"width {width}, depth {depth}"
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x = x.to(memory_format=torch.channels_last)
    target = torch.zeros(4, 5, 64, 64)
    sides = {}
    for head in ("dense", "report"):
        net = MUNet(5, width=width, depth=depth, head=head)
        net = net.to(memory_format=torch.channels_last)
        sides[f"step with head {head!r}, {what}"] = sgd_step(net, x, target)
    timings = interleave(sides, rounds)
    return timings, [ratio(f"dense head against the report's, {what}", *timings, at_most=1.15)]
