"""The parts that the network is built from: ASPP, the blocks of both arms, what enlarges a map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = ("report", "dense", "resize", "subpixel")


class ASPP(nn.Module):
    """Look at one feature map through several dilation rates at once, and merge.

    One 1 x 1 convolution keeps the detail; one 3 x 3 convolution per rate looks ``rate`` cells
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
        head: how to double, one of ``HEADS``; see ``doubler``.
        skip_connections: add the input (narrowed: its second half) to the output.
        keep_unused: create DLStudio's second convolution also where it never runs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        double: bool = False,
        head: str = "report",
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
        self.resample = doubler(in_channels, head) if double else None

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


def doubler(channels: int, head: str) -> nn.Module:
    """Twice the height and width, with the same number of channels.

    ``"report"``
        DLStudio's transposed 1 x 1 convolution: one tap, so three of four cells hold the bias.
    ``"dense"``
        U-Net's "up-convolution": each of the four new cells has a tap of its own.
    ``"resize"``
        repeat each cell, then convolve (Odena et al., Distill, 2016).
    ``"subpixel"``
        four times the channels, then laid out as 2 x 2 cells (Shi et al., CVPR 2016).
    """
    if head == "report":
        return nn.ConvTranspose2d(channels, channels, 1, stride=2, output_padding=1)
    if head == "dense":
        return nn.ConvTranspose2d(channels, channels, 2, stride=2)
    return _resized(channels, channels) if head == "resize" else _shuffled(channels, channels)


def output_layer(channels: int, num_classes: int, head: str) -> nn.Module:
    """From the outer level to the image's size, one plane per class; ``head`` as in ``doubler``."""
    if head == "report":
        # Stride 2 and dilation 2: tap k of input cell i lands on 2 i + 2 k - 2, always even.
        return nn.ConvTranspose2d(
            channels, num_classes, 3, stride=2, dilation=2, padding=2, output_padding=1
        )
    if head == "dense":  # kernel 4 at stride 2: every pixel is the sum of 2 x 2 taps
        return nn.ConvTranspose2d(channels, num_classes, 4, stride=2, padding=1)
    return _resized(channels, num_classes) if head == "resize" else _shuffled(channels, num_classes)


def _resized(channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(channels, out_channels, 3, padding=1)
    )


def _shuffled(channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4 * out_channels, 3, padding=1), nn.PixelShuffle(2))
