"""Exact facts that claims rest on: bounds of the Dice loss, and what the ASPP's taps can see."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from seghw.claims.measures import Group
from seghw.claims.stats import Effect, from_seeds
from seghw.config import DATASETS, DRAWN, FULL, LOSS_NAMES, RECIPES
from seghw.losses import DICE_LOSSES
from seghw.network import MUNet

#: Side of the report's images in pixels.
SIDES = {"shapes": 64, "coco": FULL.scene_size}


def dice_range(group: Group) -> Iterator[Effect]:
    """Smallest and largest value of the recipe's Dice loss: of a made batch, and in training."""
    recipe, classes = RECIPES[group.recipe], DATASETS[DRAWN[group.family]]
    target = torch.zeros(recipe.batch_size, len(classes), 8, 8)
    target[..., :4] = 1
    perfect, disjoint = (
        DICE_LOSSES[recipe.name](pred, target).item() for pred in (target, 1 - target)
    )
    reading = "range from perfect to disjoint masks"
    detail = f"a batch of {recipe.batch_size} x {len(classes)}"
    yield Effect(reading, "loss", disjoint, perfect, disjoint, exact=True, detail=detail)
    runs = [run for loss in LOSS_NAMES for run in group.best(loss).values()]
    seen = np.concatenate([run.history["dice"] for run in runs])
    low, high = float(seen.min()), float(seen.max())
    seeds = len({run.config.seed for run in runs})
    reading = "range seen in training, best settings"
    yield Effect(reading, "loss", high, low, high, seeds=seeds, exact=True)


def dice_floor(share: float, *, dotted: bool) -> float:
    """The least value of the report's Dice loss for one class of one image.

    The best prediction is the truth projected onto what the network can output: all of it, or,
    under the dotted head, every fourth pixel freely and one common value (the layer's bias) on the
    others. Of the truth's square norm the projection keeps a quarter and 3/4 of ``share``.

    Args:
        share: of the image that the class covers, 0..1; not 0.
        dotted: the head paints every fourth pixel only.
    """
    kept = (1 + 3 * share) / 4 if dotted else 1.0
    return 1 - kept**0.5 / 2


def dilation(group: Group) -> Iterator[Effect]:
    """Reach of the ASPP's branches, and how many of their taps see the map; once a family."""
    if group.recipe != "report":
        return
    size, branches = bottom_of_the_u(SIDES[group.family])
    rates = [branch.dilation[0] for branch in branches]
    reach = [
        1 + rate * (branch.kernel_size[0] - 1) for rate, branch in zip(rates, branches, strict=True)
    ]
    inside = [taps_inside(branch, size) for branch in branches]
    taps = branches[-1].kernel_size[0] ** 2
    note = (
        f"holds for the reach; on a map of {size} x {size}, {taps - inside[-1]:.2f} of {taps} "
        f"taps at rate {rates[-1]} see nothing but padding"
    )
    span = f"rate {rates[-1]} minus rate {rates[0]}"
    grown, lost = float(reach[-1] - reach[0]), inside[-1] - inside[0]
    reading = f"width of the window, {span}"
    yield Effect(reading, "cells", grown, grown, grown, exact=True, note=note)
    reading, detail = f"taps of {taps} inside the map, {span}", f"a map of {size} x {size}"
    yield Effect(reading, "cells", lost, lost, lost, exact=True, decides=False, detail=detail)


def bottom_of_the_u(side: int) -> tuple[int, list[nn.Conv2d]]:
    """Side of the map that the ASPP sees in an image of ``side`` pixels, and its branches."""
    seen = []
    model = MUNet(1, width=2, depth=2).eval()
    model.aspp.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    with torch.inference_mode():
        model(torch.zeros(1, 3, side, side))
    return seen[0], list(model.aspp.atrous)


def taps_inside(branch: nn.Conv2d, side: int) -> float:
    """How many of the kernel's taps fall inside a map of that side, mean over its positions."""
    ones = torch.ones(1, 1, side, side)
    kernel = torch.ones(1, 1, *branch.kernel_size)
    inside = nn.functional.conv2d(ones, kernel, padding=branch.padding, dilation=branch.dilation)
    return inside.mean().item()


def sam_not_run(group: Group) -> Iterator[Effect]:
    """Stands for a comparison with SAM until one is handed to ``check_claims``."""
    if group.recipe == "report":
        note = "no published SAM checkpoint has been run"
        yield from_seeds("SAM minus the network", "recall", [], note=note)
