"""mUNet with ASPP, read from the input to the output.

The network is DLStudio's ``mUNet`` (A. Kak, Purdue, https://pypi.org/project/dlstudio/), a U-Net
(Ronneberger et al., 2015) whose arms are chains of residual blocks, with the report's Atrous
Spatial Pyramid Pooling (Chen et al., DeepLab, 2017) at the bottom of the U. Two of its layers can
be built in two ways:

``head="report"``
    as DLStudio and the report have them. The 1 x 1 up-samplers and the dilated output layer
    write to every fourth pixel only; the others hold the layer's bias, whatever the image.
``head="dense"``
    as transposed convolutions whose taps reach every pixel, and without the layers that never
    run.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.errors import BadInput

HEADS = ("report", "dense")


class ASPP(nn.Module):
    """Look at one feature map through several dilation rates at once, and merge.

    One 1 x 1 convolution keeps the detail; one 3 x 3 convolution a rate looks ``rate`` cells
    away; a last 1 x 1 convolution merges their concatenation (Listing 1).

    Args:
        channels: channels in and out.
        rates: dilation of each 3 x 3 branch, in cells of the feature map.
    """

    def __init__(self, channels: int, rates: Sequence[int] = (2, 4, 6)) -> None:
        super().__init__()
        self.point = nn.Conv2d(channels, channels, 1)
        self.atrous = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate) for rate in rates
        )
        self.merge = nn.Conv2d(channels * (1 + len(rates)), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, channels, H, W) to the same shape."""
        branches = [self.point(x), *(branch(x) for branch in self.atrous)]
        return self.merge(torch.cat(branches, dim=1))


class SkipDown(nn.Module):
    """DLStudio's ``SkipBlockDN``: two convolutions with a shortcut; may halve or widen.

    Args:
        in_channels: channels of the input.
        out_channels: ``in_channels``, or twice as many (then one convolution, not two).
        halve: halve height and width by a 1 x 1 convolution of stride 2.
        skip_connections: add the input to the output.
        keep_unused: create DLStudio's second convolution also where it never runs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        halve: bool = False,
        skip_connections: bool = True,
        keep_unused: bool = True,
    ) -> None:
        super().__init__()
        self.skip_connections = skip_connections
        self.same_width = in_channels == out_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(out_channels)
        if self.same_width or keep_unused:
            self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            self.norm2 = nn.BatchNorm2d(out_channels)
        self.resample = nn.Conv2d(in_channels, out_channels, 1, stride=2) if halve else None

    def forward(self, x: Tensor) -> Tensor:
        """float (N, in_channels, H, W) to (N, out_channels, H or H / 2, W or W / 2)."""
        out = F.relu(self.norm1(self.conv1(x)))
        if self.same_width:
            out = F.relu(self.norm2(self.conv2(out)))
        if self.resample is not None:
            out, x = self.resample(out), self.resample(x)
        if not self.skip_connections:
            return out
        return out + (x if self.same_width else torch.cat((x, x), dim=1))


class SkipUp(nn.Module):
    """DLStudio's ``SkipBlockUP``: transposed convolutions with a shortcut; may double or narrow.

    Args:
        in_channels: channels of the input.
        out_channels: ``in_channels``, or half as many (then one convolution, not two).
        double: double height and width.
        dense: how to double. False is DLStudio's transposed 1 x 1 convolution of stride 2,
            which leaves three of four cells at its bias; True is U-Net's transposed 2 x 2
            convolution, which writes to all four.
        skip_connections: add the input (narrowed: its second half) to the output.
        keep_unused: create DLStudio's second convolution also where it never runs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        double: bool = False,
        dense: bool = False,
        skip_connections: bool = True,
        keep_unused: bool = True,
    ) -> None:
        super().__init__()
        self.skip_connections = skip_connections
        self.same_width = in_channels == out_channels
        self.out_channels = out_channels
        self.conv1 = nn.ConvTranspose2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(out_channels)
        if self.same_width or keep_unused:
            self.conv2 = nn.ConvTranspose2d(in_channels, out_channels, 3, padding=1)
            self.norm2 = nn.BatchNorm2d(out_channels)
        self.resample = _doubler(in_channels, dense) if double else None

    def forward(self, x: Tensor) -> Tensor:
        """float (N, in_channels, H, W) to (N, out_channels, H or 2 H, W or 2 W)."""
        out = F.relu(self.norm1(self.conv1(x)))
        if self.same_width:
            out = F.relu(self.norm2(self.conv2(out)))
        if self.resample is not None:
            out, x = self.resample(out), self.resample(x)
        if not self.skip_connections:
            return out
        return out + (x if self.same_width else x[:, self.out_channels :])


def _doubler(channels: int, dense: bool) -> nn.ConvTranspose2d:
    """Twice the height and width, with the same number of channels."""
    if dense:  # U-Net's own "up-convolution": each of the four new cells has a tap of its own
        return nn.ConvTranspose2d(channels, channels, 2, stride=2)
    # DLStudio's: one tap, so three of the four new cells hold the bias.
    return nn.ConvTranspose2d(channels, channels, 1, stride=2, output_padding=1)


def _output_layer(channels: int, num_classes: int, dense: bool) -> nn.ConvTranspose2d:
    """From the outer level to the image's size, one plane a class."""
    if dense:  # kernel 4 at stride 2: every pixel is the sum of 2 x 2 taps, none is favoured
        return nn.ConvTranspose2d(channels, num_classes, 4, stride=2, padding=1)
    # Stride 2 and dilation 2: tap k of input cell i lands on 2 i + 2 k - 2, always even.
    return nn.ConvTranspose2d(
        channels, num_classes, 3, stride=2, dilation=2, padding=2, output_padding=1
    )


class MUNet(nn.Module):
    """DLStudio's mUNet with the report's ASPP at the bottom of the U.

    Args:
        num_classes: planes of the output.
        width: channels of the outer level; the inner levels have twice as many (DLStudio: 64).
        depth: twice the number of residual blocks a level and arm (DLStudio: 16).
        aspp_rates: dilation rates of the ASPP; None leaves it out (DLStudio's own network).
        head: ``"report"`` paints every fourth pixel, ``"dense"`` every pixel.
        skip_connections: shortcuts inside the blocks. The copies across the U are always there.

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
    ) -> None:
        super().__init__()
        _check_arguments(num_classes, width, depth, aspp_rates, head)
        dense = head == "dense"
        blocks = depth // 2  # a level and arm
        self.early = blocks // 4  # of them, those before the copy across the U
        wide = 2 * width
        down = {"skip_connections": skip_connections, "keep_unused": not dense}
        up = {**down, "dense": dense}

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
        up_inner = self.early if dense else blocks
        self.double_inner = SkipUp(wide, wide, double=True, **up)
        self.up_inner = nn.ModuleList(SkipUp(wide, wide, **up) for _ in range(up_inner))
        self.up_norm_inner = nn.BatchNorm2d(wide)
        self.narrow = SkipUp(wide, width, **up)
        self.up_outer = nn.ModuleList(SkipUp(width, width, **up) for _ in range(blocks))
        self.up_norm_outer = nn.BatchNorm2d(width)
        self.double_outer = SkipUp(width, width, double=True, **up)
        self.head = _output_layer(width, num_classes, dense)

    def forward(self, x: Tensor) -> Tensor:
        """Images to one plane a class.

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
        x = self.up_norm_inner(_paste(across_inner, x))
        x = self.narrow(_run(self.up_inner[: self.early], x))
        x = _run(self.up_outer[self.early :], x)
        x = self.up_norm_outer(_paste(across_outer, x))
        x = _run(self.up_outer[: self.early], self.double_outer(x))
        return self.head(_paste(across_half, x))


def _run(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def _first_half(x: Tensor) -> Tensor:
    return x[:, : x.shape[1] // 2]


def _paste(across: Tensor, x: Tensor) -> Tensor:
    """Put what came across the U in place of the first half of the channels."""
    return torch.cat((across, x[:, across.shape[1] :]), dim=1)


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
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 8 or x.shape[3] % 8 or 0 in x.shape:
        raise BadInput(
            f"the network takes images (N, 3, H, W) with H and W multiples of 8, "
            f"got {tuple(x.shape)}; resize them"
        )


# DLStudio's module names, longest first, and ours.
_FROM_DLSTUDIO = {
    "conv_in": "stem",
    "skip64DN_arr": "down_outer",
    "skip64dsDN": "halve_outer",
    "bn1DN": "down_norm_outer",
    "skip64to128DN": "widen",
    "skip128DN_arr": "down_inner",
    "bn2DN": "down_norm_inner",
    "skip128dsDN": "halve_inner",
    "skip128usUP": "double_inner",
    "skip128UP_arr": "up_inner",
    "bn1UP": "up_norm_inner",
    "skip128to64UP": "narrow",
    "skip64UP_arr": "up_outer",
    "bn2UP": "up_norm_outer",
    "skip64usUP": "double_outer",
    "conv_out": "head",
    # inside a block
    "convo1": "conv1",
    "convo2": "conv2",
    "convoT1": "conv1",
    "convoT2": "conv2",
    "bn1": "norm1",
    "bn2": "norm2",
    "downsampler": "resample",
    "upsampler": "resample",
    # the report's additions (Listing 1)
    "conv_i": "aspp.point",
    "a1": "aspp.atrous.0",
    "a2": "aspp.atrous.1",
    "a3": "aspp.atrous.2",
    "conv_1": "aspp.merge",
}


def from_dlstudio(state_dict: Mapping[str, Tensor], *, skip_connections: bool = True) -> MUNet:
    """Build the network that a DLStudio ``mUNet`` state dict describes, with its weights.

    Args:
        state_dict: of DLStudio's ``mUNet``, or of the report's Listing 1 (with ASPP at rates
            2, 4, 6).
        skip_connections: as DLStudio's network was built; a state dict does not say it.

    Returns:
        A network with the same outputs, in training mode.

    Raises:
        BadInput: the state dict is of another network.
    """
    try:
        wide = {
            ".".join(_FROM_DLSTUDIO.get(part, part) for part in name.split(".")): value
            for name, value in state_dict.items()
        }
        blocks = len({name.split(".")[1] for name in wide if name.startswith("down_outer.")})
        model = MUNet(
            num_classes=wide["head.bias"].shape[0],
            width=wide["stem.weight"].shape[0],
            depth=2 * blocks,
            aspp_rates=(2, 4, 6) if "aspp.merge.weight" in wide else None,
            skip_connections=skip_connections,
        )
        model.load_state_dict(wide)
    except (KeyError, RuntimeError) as error:
        raise BadInput(f"not a state dict of DLStudio's mUNet: {error}") from error
    return model
