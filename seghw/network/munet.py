"""mUNet with ASPP, read from the input to the output.

The network is DLStudio's ``mUNet`` (A. Kak, Purdue, https://pypi.org/project/dlstudio/), a U-Net
(Ronneberger et al., 2015) whose arms are chains of residual blocks, with the report's Atrous
Spatial Pyramid Pooling (Chen et al., DeepLab, 2017) at the bottom of the U. What enlarges the
maps again can be built in several ways:

``head="report"``
    as DLStudio and the report have it. The 1 x 1 up-samplers and the dilated output layer write
    to every fourth pixel only; the others hold the layer's bias, whatever the image.
``head="dense"``
    as transposed convolutions whose taps reach every pixel, and without the layers that never
    run.
``head="resize"``, ``head="subpixel"``
    two other known ways to reach every pixel, to compare with; see ``blocks.doubler``.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.errors import BadInput
from seghw.network.blocks import ASPP, HEADS, SkipDown, SkipUp, output_layer


class MUNet(nn.Module):
    """DLStudio's mUNet with the report's ASPP at the bottom of the U.

    Args:
        num_classes: planes of the output.
        width: channels of the outer level; the inner levels have twice as many (DLStudio: 64).
        depth: twice the number of residual blocks a level and arm (DLStudio: 16).
        aspp_rates: dilation rates of the ASPP; None leaves it out (DLStudio's own network).
        head: ``"report"`` paints every fourth pixel, every other of ``HEADS`` every pixel.
        skip_connections: shortcuts inside the blocks, as DLStudio's argument of that name.
        copy_across: copy half of the channels across the U, what the report calls skip
            connections. DLStudio always does; False is for the ablation.

    Raises:
        BadInput: an argument that no such network can have.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        depth: int = 16,
        aspp_rates: Sequence[int] | None = (2, 4, 6),
        head: str = "report",
        skip_connections: bool = True,
        copy_across: bool = True,
    ) -> None:
        super().__init__()
        _check_arguments(num_classes, width, depth, aspp_rates, head)
        self.copy_across = copy_across
        blocks = depth // 2  # a level and arm
        self.early = blocks // 4  # of them, those before the copy across the U
        wide = 2 * width
        as_it_was = head == "report"
        down = {"skip_connections": skip_connections, "keep_unused": as_it_was}
        up = {**down, "head": head}

        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down_outer = nn.ModuleList(SkipDown(width, width, **down) for _ in range(blocks))
        self.halve_outer = SkipDown(width, width, halve=True, **down)
        self.down_norm_outer = nn.BatchNorm2d(width)
        self.widen = SkipDown(width, wide, **down)
        self.down_inner = nn.ModuleList(SkipDown(wide, wide, **down) for _ in range(blocks))
        self.down_norm_inner = nn.BatchNorm2d(wide)
        self.halve_inner = SkipDown(wide, wide, halve=True, **down)

        self.aspp = nn.Identity() if aspp_rates is None else ASPP(wide, aspp_rates)

        # DLStudio runs its first `early` blocks twice at this level and the others never.
        up_inner = blocks if as_it_was else self.early
        self.double_inner = SkipUp(wide, wide, double=True, **up)
        self.up_inner = nn.ModuleList(SkipUp(wide, wide, **up) for _ in range(up_inner))
        self.up_norm_inner = nn.BatchNorm2d(wide)
        self.narrow = SkipUp(wide, width, **up)
        self.up_outer = nn.ModuleList(SkipUp(width, width, **up) for _ in range(blocks))
        self.up_norm_outer = nn.BatchNorm2d(width)
        self.double_outer = SkipUp(width, width, double=True, **up)
        self.head = output_layer(width, num_classes, head)

    def forward(self, x: Tensor) -> Tensor:
        """Images to one plane per class.

        Args:
            x: float (N, 3, H, W), H and W multiples of 8, in the range of the recipe.

        Returns:
            float (N, num_classes, H, W), unbounded: the target's values, regressed.
        """
        _check_images(x)
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        x = _run(self.down_outer[: self.early], x)
        across_half = _first_half(x)
        x = _run(self.down_outer[self.early :], self.halve_outer(x))
        x = self.down_norm_outer(x)
        across_outer = _first_half(x)
        x = _run(self.down_inner[: self.early], self.widen(x))
        x = self.down_norm_inner(x)
        across_inner = _first_half(x)
        x = self.halve_inner(_run(self.down_inner[self.early :], x))

        x = self.aspp(x)

        x = _run(self.up_inner[: self.early], self.double_inner(x))
        x = self.up_norm_inner(self._paste(across_inner, x))
        x = self.narrow(_run(self.up_inner[: self.early], x))
        x = _run(self.up_outer[self.early :], x)
        x = self.up_norm_outer(self._paste(across_outer, x))
        x = _run(self.up_outer[: self.early], self.double_outer(x))
        return self.head(self._paste(across_half, x))

    def _paste(self, across: Tensor, x: Tensor) -> Tensor:
        """Put what came across the U in place of the first half of the channels."""
        if not self.copy_across:
            return x
        return torch.cat((across, x[:, across.shape[1] :]), dim=1)


def _run(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def _first_half(x: Tensor) -> Tensor:
    return x[:, : x.shape[1] // 2]


def _check_arguments(num_classes, width, depth, aspp_rates, head) -> None:
    if head not in HEADS:
        raise BadInput(f"head must be one of {HEADS}, got {head!r}")
    if num_classes < 1:
        raise BadInput(f"num_classes must be at least 1, got {num_classes}")
    if width < 2 or width % 2:
        raise BadInput(f"width must be even and at least 2, got {width}")
    if depth < 2 or depth % 2:
        raise BadInput(f"depth must be even and at least 2, got {depth}")
    if aspp_rates is not None and (not aspp_rates or min(aspp_rates) < 1):
        raise BadInput(f"aspp_rates must be None or positive integers, got {aspp_rates!r}")


def _check_images(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if hasattr(x, "dtype") else type(x).__name__
        raise BadInput(
            f"the network takes a floating torch tensor, got {kind}; `recipe.inputs` makes one of "
            "uint8 images"
        )
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 8 or x.shape[3] % 8 or 0 in x.shape:
        raise BadInput(
            f"the network takes images (N, 3, H, W) with H and W multiples of 8, "
            f"got {tuple(x.shape)}; resize them"
        )
