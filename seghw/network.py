"""The networks, read from the input to the output: ASPP, the residual blocks, mUNet, a U-Net.

mUNet is DLStudio's (A. Kak, Purdue, https://pypi.org/project/dlstudio/): a U-Net (Ronneberger et
al., 2015) whose arms are chains of residual blocks, with the report's Atrous Spatial Pyramid
Pooling (Chen et al., DeepLab, 2017) at the bottom of the U. Its feature maps can be enlarged again
in several ways, the argument ``head``:

``"report"``
    as DLStudio and the report have it. The transposed 1 x 1 convolutions and the dilated output
    layer write to every fourth position only; the others hold the layer's bias, whatever the image.
``"dense"``
    transposed convolutions whose taps reach every position, as U-Net's "up-convolution"; and
    without the layers that never run.
``"resize"``
    repeat each position, then convolve (Odena et al., Distill, 2016).
``"subpixel"``
    four times the channels, then laid out as 2 x 2 positions (Shi et al., CVPR 2016).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.config import HEADS
from seghw.errors import BadInput, reason


class ASPP(nn.Module):
    """Look at one feature map at several dilation rates at once, and merge (Listing 1).

    A 1 x 1 convolution keeps the detail, a 3 x 3 convolution per rate looks ``rate`` positions
    away, a last 1 x 1 convolution merges them. ``channels`` in and out.
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


class SkipBlock(nn.Module):
    """DLStudio's ``SkipBlockDN`` and ``SkipBlockUP``: two convolutions with a shortcut.

    ``out_channels`` are ``in_channels``, twice as many (the block then has one convolution, and the
    shortcut doubles the input) or half as many (its shortcut is the input's second half).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        up: transposed convolutions, as in the right arm of the U.
        resample: halve height and width (``up``: double them).
        head: how to double, one of ``HEADS``; under "report" the block also has DLStudio's second
            convolution where it never runs. A block that resamples keeps its channels.
        skip_connections: add the input to the output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        up: bool = False,
        resample: bool = False,
        head: str = "report",
        skip_connections: bool = True,
    ) -> None:
        super().__init__()
        self.skip_connections, self.out_channels = skip_connections, out_channels
        self.same_width = in_channels == out_channels
        convolution = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv1 = convolution(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(out_channels)
        if self.same_width or head == "report":
            self.conv2 = convolution(in_channels, out_channels, 3, padding=1)
            self.norm2 = nn.BatchNorm2d(out_channels)
        self.resample = None
        if resample and up:
            self.resample = doubler(in_channels, out_channels, head)
        elif resample:
            self.resample = nn.Conv2d(in_channels, out_channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, in_channels, H, W) to (N, out_channels, H', W'); H' is H, H / 2 or 2 H."""
        out = F.relu(self.norm1(self.conv1(x)))
        if self.same_width:
            out = F.relu(self.norm2(self.conv2(out)))
        if self.resample is not None:
            out, x = self.resample(out), self.resample(x)
        if not self.skip_connections:
            return out
        if not self.same_width:
            widens = self.out_channels > x.shape[1]
            x = torch.cat((x, x), dim=1) if widens else x[:, self.out_channels :]
        return out + x


def doubler(channels: int, out_channels: int, head: str, *, output: bool = False) -> nn.Module:
    """A layer to twice the height and width; ``output``: the last one, of one channel per class."""
    transposed = partial(nn.ConvTranspose2d, channels, out_channels, stride=2)
    if head == "report" and output:
        # Stride 2 and dilation 2: tap k of position i lands on 2 i + 2 k - 2, always even.
        return transposed(kernel_size=3, dilation=2, padding=2, output_padding=1)
    if head == "report":  # one tap: three of four positions hold the bias
        return transposed(kernel_size=1, output_padding=1)
    if head == "dense" and output:  # kernel 4 at stride 2: every pixel is the sum of 2 x 2 taps
        return transposed(kernel_size=4, padding=1)
    if head == "dense":
        return transposed(kernel_size=2)
    if head == "resize":
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1)
        return nn.Sequential(nn.Upsample(scale_factor=2), convolution)
    convolution = nn.Conv2d(channels, 4 * out_channels, 3, padding=1)
    return nn.Sequential(convolution, nn.PixelShuffle(2))


class MUNet(nn.Module):
    """DLStudio's mUNet with the report's ASPP at the bottom of the U.

    Args:
        num_classes: channels of the output.
        width: channels of the outer level; the inner levels have twice as many (DLStudio: 64).
        depth: twice the number of residual blocks a level and arm (DLStudio: 16). A quarter of the
            blocks stand before the skip connection across the U. Below a depth of 8 these are
            none, and then the inner level of the right arm has no block.
        aspp_rates: dilation rates of the ASPP; None leaves it out (DLStudio's own network).
        head: ``"report"`` predicts every fourth pixel, every other of ``HEADS`` every pixel.
        skip_connections: shortcuts inside the blocks, as DLStudio's argument of that name.
        copy_across: skip connections from the left arm to the right one. DLStudio always has them:
            they overwrite the first half of the channels, where U-Net concatenates.
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
        if num_classes < 1:
            raise BadInput(f"num_classes must be at least 1, got {num_classes}")
        if min(width, depth) < 2 or width % 2 or depth % 2:
            raise BadInput(f"width and depth must be even and at least 2, got {width} and {depth}")
        if aspp_rates is not None and min(aspp_rates, default=0) < 1:
            raise BadInput(f"aspp_rates must be None or at least 1 each, got {aspp_rates!r}")
        if head not in HEADS:
            raise BadInput(f"head must be one of {HEADS}, got {head!r}")
        self.copy_across = copy_across
        wide, blocks = 2 * width, depth // 2  # blocks: a level and arm
        self.early = blocks // 4  # of them, those before the skip connection across the U
        down = partial(SkipBlock, head=head, skip_connections=skip_connections)
        up = partial(down, up=True)

        def chain(block: Callable[[int, int], nn.Module], channels: int, length: int = blocks):
            return nn.Sequential(*(block(channels, channels) for _ in range(length)))

        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down_outer = chain(down, width)
        self.halve_outer = down(width, width, resample=True)
        self.down_norm_outer = nn.BatchNorm2d(width)
        self.widen = down(width, wide)
        self.down_inner = chain(down, wide)
        self.down_norm_inner = nn.BatchNorm2d(wide)
        self.halve_inner = down(wide, wide, resample=True)

        self.aspp = nn.Identity() if aspp_rates is None else ASPP(wide, aspp_rates)

        self.double_inner = up(wide, wide, resample=True)
        # DLStudio runs its first `early` blocks twice at this level and the others never.
        self.up_inner = chain(up, wide, blocks if head == "report" else self.early)
        self.up_norm_inner = nn.BatchNorm2d(wide)
        self.narrow = up(wide, width)
        self.up_outer = chain(up, width)
        self.up_norm_outer = nn.BatchNorm2d(width)
        self.double_outer = up(width, width, resample=True)
        self.head = doubler(width, num_classes, head, output=True)

    def forward(self, x: Tensor) -> Tensor:
        """Images, float (N, 3, H, W) in the range of the recipe, H and W multiples of 8.

        Returns float (N, num_classes, H, W), unbounded: the target's values, regressed.
        """
        _check_images(x)
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        x = self.down_outer[: self.early](x)
        across_half = _first_half(x)
        x = self.down_norm_outer(self.down_outer[self.early :](self.halve_outer(x)))
        across_outer = _first_half(x)
        x = self.down_norm_inner(self.down_inner[: self.early](self.widen(x)))
        across_inner = _first_half(x)
        x = self.halve_inner(self.down_inner[self.early :](x))

        x = self.aspp(x)

        x = self.up_inner[: self.early](self.double_inner(x))
        x = self.up_norm_inner(self._paste(across_inner, x))
        x = self.narrow(self.up_inner[: self.early](x))
        x = self.up_outer[self.early :](x)
        x = self.up_norm_outer(self._paste(across_outer, x))
        x = self.up_outer[: self.early](self.double_outer(x))
        return self.head(self._paste(across_half, x))

    def _paste(self, across: Tensor, x: Tensor) -> Tensor:
        """Put what came across the U in place of the first half of the channels."""
        return torch.cat((across, x[:, across.shape[1] :]), dim=1) if self.copy_across else x


class UNet(nn.Module):
    """A plain U-Net (Ronneberger et al., 2015) with padding and batch norm: concatenating skips.

    Args:
        num_classes: channels of the output.
        width: channels of the outermost level; they double at each of three halvings. 9 gives as
            many parameters as mUNet has at width 16 and depth 4 with its dense head, within 10 %.
    """

    def __init__(self, num_classes: int, *, width: int = 9) -> None:
        super().__init__()
        pairs = list(pairwise((width, 2 * width, 4 * width, 8 * width)))
        self.stem = _two_convolutions(3, width)
        self.down = nn.ModuleList(_two_convolutions(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(_two_convolutions(2 * a, a) for a, _ in pairs)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, 3, H, W), H and W multiples of 8, to (N, num_classes, H, W), unbounded."""
        _check_images(x)
        x = self.stem(x)
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(F.max_pool2d(x, 2))
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat((skips.pop(), up(x)), dim=1))
        return self.head(x)


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _first_half(x: Tensor) -> Tensor:
    return x[:, : x.shape[1] // 2]


def _check_images(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = getattr(x, "dtype", type(x).__name__)
        raise BadInput(f"images must be a floating tensor, got {kind}; see `recipe.inputs`")
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 8 or x.shape[3] % 8 or 0 in x.shape:
        shape = tuple(x.shape)
        raise BadInput(f"images must be (N, 3, H, W), H and W multiples of 8, got {shape}")


# DLStudio's module names and ours.
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

    ``state_dict`` is of DLStudio's ``mUNet`` or of the report's Listing 1 (with ASPP at rates 2, 4,
    6); another raises ``BadInput``. ``skip_connections`` is as that network was built, which a
    state dict does not say. Returns a network with the same outputs, in training mode.
    """
    try:
        weights = {
            ".".join(_FROM_DLSTUDIO.get(part, part) for part in name.split(".")): value
            for name, value in state_dict.items()
        }
        blocks = len({name.split(".")[1] for name in weights if name.startswith("down_outer.")})
        model = MUNet(
            num_classes=weights["head.bias"].shape[0],
            width=weights["stem.weight"].shape[0],
            depth=2 * blocks,
            aspp_rates=(2, 4, 6) if "aspp.merge.weight" in weights else None,
            skip_connections=skip_connections,
        )
        model.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise BadInput(f"not a state dict of DLStudio's mUNet: {reason(error)}") from error
    return model
