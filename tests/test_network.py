"""The networks: DLStudio's own as the reference, what its head cannot predict, and U-Net's size."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from seghw.config import TrainConfig
from seghw.errors import BadInput
from seghw.network import HEADS, MUNet, UNet, from_dlstudio
from seghw.train import build_network

pytestmark = pytest.mark.usefixtures("seeded")


def images(count=2, side=32):
    return torch.randn(count, 3, side, side)


def train_on_noise(net, side=16, steps=1):
    """Gradients added up over random images and targets, so that none is zero by chance."""
    for _ in range(steps):
        output = net(images(4, side))
        (output - torch.randn_like(output)).square().mean().backward()
    return net


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(("depth", "skips"), [(4, True), (8, False), (16, True)])
@torch.no_grad()
def test_outputs_are_those_of_dlstudio(dlstudio, depth, skips, mode):
    theirs = dlstudio.SemanticSegmentation.mUNet(skip_connections=skips, depth=depth)
    for norm in (module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)):
        for values, low in ((norm.weight, 0.5), (norm.bias, -0.5), (norm.running_mean, -0.5)):
            nn.init.uniform_(values, low, low + 1)
        norm.running_var.uniform_(0.5, 1.5)
    ours = from_dlstudio(theirs.state_dict(), skip_connections=skips)
    for net in (theirs, ours):
        net.train(mode == "train")
    x = images()
    assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    # In training mode the running statistics have moved, and by the same amounts.
    assert_close(ours.state_dict(), from_dlstudio(theirs.state_dict()).state_dict())


@torch.no_grad()
def test_listing_1_in_dlstudio_gives_our_network_with_aspp(dlstudio):
    theirs = dlstudio.SemanticSegmentation.mUNet(depth=4)
    theirs.conv_i = nn.Conv2d(128, 128, kernel_size=1)
    for name, rate in zip(("a1", "a2", "a3"), (2, 4, 6), strict=True):
        setattr(theirs, name, nn.Conv2d(128, 128, kernel_size=3, padding=rate, dilation=rate))
    theirs.conv_1 = nn.Conv2d(128 * 4, 128, kernel_size=1)

    def listing_1(module, inputs, x):
        branches = [theirs.conv_i(x), theirs.a1(x), theirs.a2(x), theirs.a3(x)]
        return theirs.conv_1(torch.cat(branches, dim=1))

    theirs.skip128dsDN.register_forward_hook(listing_1)
    x = images(side=64)
    assert_close(from_dlstudio(theirs.state_dict())(x), theirs(x), rtol=0, atol=1e-5)
    state = theirs.state_dict()
    del state["bn1UP.weight"]
    with pytest.raises(BadInput, match="up_norm_inner"):
        from_dlstudio(state)
    with pytest.raises(BadInput, match="DLStudio"):
        from_dlstudio(nn.Linear(2, 2).state_dict())


def test_27_percent_of_dlstudios_parameters_never_get_a_gradient():
    net = train_on_noise(MUNet(5, aspp_rates=None))
    dead = {name: p.numel() for name, p in net.named_parameters() if p.grad is None}
    assert (sum(dead.values()), sum(p.numel() for p in net.parameters())) == (1_922_112, 6_999_109)
    # Blocks 0 and 1 of the inner level run twice; 2 to 7 never.
    unused = {name.rsplit(".", 2)[0] for name in dead}
    assert unused == {"widen", "narrow", *(f"up_inner.{i}" for i in range(2, 8))}
    dense = train_on_noise(MUNet(5, aspp_rates=None, head="dense"))
    assert all(p.grad is not None and p.grad.any() for p in dense.parameters())
    live = 6_999_109 - 1_922_112
    assert sum(p.numel() for p in dense.parameters()) == pytest.approx(live, rel=0.05)


@pytest.mark.parametrize("copy_across", [True, False])
def test_a_skip_connection_across_the_u_overwrites_half_of_the_channels(copy_across):
    """Their weights have a gradient of zero. At a side of 64 the ASPP's every tap meets the map."""
    net = MUNet(2, width=8, depth=16, head="dense", copy_across=copy_across)
    train_on_noise(net, side=64, steps=2)
    zero = {
        name: (p.grad == 0).float().mean().item()
        for name, p in net.named_parameters()
        # The bias of a convolution before a batch norm cancels out: zero but for rounding.
        if not p.grad.all() and not name.endswith(("conv1.bias", "conv2.bias"))
    }
    parts = itertools.product((1, 7), ("conv2.weight", "norm2.weight", "norm2.bias"))
    assert zero == {f"up_outer.{i}.{part}": 0.5 for i, part in parts if copy_across}
    # Silence the ASPP, and without skip connections no image is left in the output.
    nn.init.zeros_(net.aspp.merge.weight)
    one, other = net.eval()(images(2)).detach()
    assert torch.equal(one, other) is not copy_across


MAKERS = [UNet, *(partial(MUNet, width=4, depth=4, head=head) for head in HEADS)]


@pytest.mark.parametrize("make", MAKERS, ids=["unet", *HEADS])
@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7))
def test_any_multiple_of_8_and_any_number_of_classes(make, rows, columns, num_classes):
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = make(num_classes).eval()(torch.randn(1, 3, 8 * rows, 8 * columns))
    assert output.shape == (1, num_classes, 8 * rows, 8 * columns)
    assert output.isfinite().all()


def test_the_plain_unet_is_as_large_as_the_dense_munet():
    make = partial(TrainConfig, "shapes5", "corrected", "mse", 4e-3)
    nets = (build_network(make(network=name)) for name in ("munet", "unet"))
    sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
