import itertools
import operator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from seghw.errors import BadInput
from seghw.network import ASPP, HEADS, MUNet, from_dlstudio

RATES = (2, 4, 6)
MENDED = [head for head in HEADS if head != "report"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks as small as these lose more by sharing the work than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def randomise_norms(net):
    """Give every batch norm weights and running statistics that it does not start with."""
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values, low in ((norm.weight, 0.5), (norm.bias, -0.5)):
                nn.init.uniform_(values, low, low + 1)
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 1.5)
    return net


def small(**options):
    return MUNet(options.pop("num_classes", 2), **{"width": 4, "depth": 4} | options)


def images(count=2, height=32, width=None):
    return torch.randn(count, 3, height, width or height)


def train_on_noise(net, side=16, steps=1):
    """Gradients added up over random images and targets, so that none is zero by chance."""
    for _ in range(steps):
        output = net(images(4, side))
        (output - torch.randn_like(output)).square().mean().backward()
    return net


# Parity with DLStudio


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("skip_connections", [True, False])
@pytest.mark.parametrize("depth", [4, 8, 16])
@torch.no_grad()
def test_outputs_are_those_of_dlstudio(dlstudio, depth, skip_connections, mode):
    theirs = randomise_norms(
        dlstudio.SemanticSegmentation.mUNet(skip_connections=skip_connections, depth=depth)
    )
    ours = from_dlstudio(theirs.state_dict(), skip_connections=skip_connections)
    for net in (theirs, ours):
        net.train(mode == "train")
    x = images()
    assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    # In training mode the running statistics have moved, and by the same amounts.
    assert_close(ours.state_dict(), from_dlstudio(theirs.state_dict()).state_dict())


def test_ten_steps_of_sgd_give_the_losses_of_dlstudio(dlstudio):
    theirs = dlstudio.SemanticSegmentation.mUNet(depth=8)
    ours = from_dlstudio(theirs.state_dict())
    masks = torch.rand(10, 2, 5, 32, 32) > 0.8
    targets = masks * torch.tensor([50.0, 100, 150, 200, 250])[:, None, None]
    inputs = torch.randint(0, 256, (10, 2, 3, 32, 32)).float()

    def losses(net):
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
        for x, target in zip(inputs, targets, strict=True):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), target)
            loss.backward()
            optimizer.step()
            yield loss.item()

    expected = list(losses(theirs))
    assert expected[-1] < 0.95 * expected[0]
    assert list(losses(ours)) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_listing_1_in_dlstudio_gives_our_network_with_aspp(dlstudio):
    theirs = dlstudio.SemanticSegmentation.mUNet(depth=4)
    theirs.conv_i = nn.Conv2d(128, 128, kernel_size=1)
    for name, rate in zip(("a1", "a2", "a3"), RATES, strict=True):
        setattr(theirs, name, nn.Conv2d(128, 128, kernel_size=3, padding=rate, dilation=rate))
    theirs.conv_1 = nn.Conv2d(128 * 4, 128, kernel_size=1)

    def listing_1(module, inputs, x):
        branches = [theirs.conv_i(x), theirs.a1(x), theirs.a2(x), theirs.a3(x)]
        return theirs.conv_1(torch.cat(branches, dim=1))

    theirs.skip128dsDN.register_forward_hook(listing_1)
    x = images(height=64)
    assert_close(from_dlstudio(theirs.state_dict())(x), theirs(x), rtol=0, atol=1e-5)


def test_a_foreign_state_dict_is_refused(dlstudio):
    with pytest.raises(BadInput, match="DLStudio"):
        from_dlstudio(nn.Linear(2, 2).state_dict())
    state = dlstudio.SemanticSegmentation.mUNet(depth=4).state_dict()
    del state["bn1UP.weight"]
    with pytest.raises(BadInput, match="up_norm_inner"):
        from_dlstudio(state)


# ASPP


def by_patches(x, conv):
    """A convolution as a matrix product over patches, which shares no code with nn.Conv2d."""
    patches = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding)
    out = conv.weight.flatten(1) @ patches + conv.bias[:, None]
    return out.unflatten(2, x.shape[2:])


@pytest.mark.parametrize("rates", [RATES, (1,), (3, 5)])
def test_aspp_is_its_composition_from_functional_calls(rates):
    aspp = ASPP(6, rates)
    x = torch.randn(2, 6, 8, 10)
    branches = [by_patches(x, conv) for conv in (aspp.point, *aspp.atrous)]
    assert_close(aspp(x), by_patches(torch.cat(branches, dim=1), aspp.merge))
    assert [conv.dilation for conv in aspp.atrous] == [(rate, rate) for rate in rates]


@torch.no_grad()
def test_most_taps_miss_the_map_of_a_64_pixel_image():
    aspp = ASPP(1, RATES)
    for branch in aspp.atrous:  # kernels of ones on a map of ones count their taps
        nn.init.ones_(branch.weight)
        nn.init.zeros_(branch.bias)
    small_map, large_map = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 32, 32)
    assert [branch(small_map).mean().item() for branch in aspp.atrous] == [6.25, 4.0, 2.25]
    # On a side of 32, a row of taps has 3 - 2 * rate / 32 inside on average.
    assert [branch(large_map).mean().item() for branch in aspp.atrous] == pytest.approx(
        [(3 - 2 * rate / 32) ** 2 for rate in RATES]
    )


@pytest.mark.parametrize("branch", range(3))
def test_a_branch_looks_at_nine_cells_its_rate_apart(branch):
    x = torch.randn(1, 2, 32, 32, requires_grad=True)
    ASPP(2, RATES).atrous[branch](x)[0, :, 16, 16].sum().backward()
    seen = {tuple(cell) for cell in x.grad[0].abs().sum(0).nonzero().tolist()}
    steps = [16 - RATES[branch], 16, 16 + RATES[branch]]
    assert seen == set(itertools.product(steps, steps))


# The report's head, diagnosed


@torch.no_grad()
def paintable(net, side=32):
    """Where the output depends on the image: bool (H, W)."""
    outputs = net.train()(images(8, side))
    return (outputs != outputs[:1]).flatten(0, 1).any(0)


def test_the_reports_head_leaves_three_pixels_of_four_at_its_bias():
    net = small(num_classes=3, head="report")
    grid = paintable(net)
    assert grid.float().mean().item() == 0.25
    assert grid[::2, ::2].all()
    with torch.no_grad():
        constant = net(images())[:, :, ~grid]
    assert (constant == net.head.bias[:, None]).all()


@pytest.fixture(scope="module")
def report_grid():
    return paintable(small(head="report"))


sides = st.sets(st.sampled_from(range(0, 33, 2)), min_size=2, max_size=2).map(sorted)


@settings(max_examples=25, deadline=None)
@given(rows=sides, columns=sides)
def test_a_perfect_mask_on_the_paintable_pixels_has_iou_one_quarter(report_grid, rows, columns):
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[slice(*rows), slice(*columns)] = True
    best = mask & report_grid
    assert (best & mask).sum() / (best | mask).sum() == 0.25


def without_gradient(net):
    return {name: p.numel() for name, p in net.named_parameters() if p.grad is None}


def test_27_percent_of_dlstudios_parameters_never_get_a_gradient():
    net = train_on_noise(MUNet(5, aspp_rates=None))
    dead = without_gradient(net)
    total = sum(p.numel() for p in net.parameters())
    assert (sum(dead.values()), total) == (1_922_112, 6_999_109)
    # Blocks 0 and 1 of the inner level run twice; 2 to 7 never.
    unused = {name.rsplit(".", 2)[0] for name in dead}
    assert unused == {"widen", "narrow", *(f"up_inner.{i}" for i in range(2, 8))}
    for block in ("widen", "narrow"):
        assert {name for name in dead if name.startswith(block)} == {
            f"{block}.{part}"
            for part in ("conv2.weight", "conv2.bias", "norm2.weight", "norm2.bias")
        }


# The dense head, corrected


@pytest.mark.parametrize("head", MENDED)
def test_a_mended_head_paints_every_pixel(head):
    assert paintable(small(head=head)).all()


def test_the_dense_network_keeps_the_live_parameters():
    report, dense = (train_on_noise(MUNet(5, head=head)) for head in ("report", "dense"))
    assert not without_gradient(dense)
    assert all(p.grad.any() for p in dense.parameters())
    live = sum(p.numel() for p in report.parameters() if p.grad is not None)
    assert sum(p.numel() for p in dense.parameters()) == pytest.approx(live, rel=0.05)


@pytest.mark.parametrize("head", HEADS)
def test_only_weights_behind_a_copy_across_the_u_have_a_gradient_of_zero(head):
    # A copy overwrites half of the channels that the block before it has just computed.
    # At a side of 64 every tap of the ASPP meets the map somewhere.
    net = train_on_noise(MUNet(2, width=8, depth=16, head=head), side=64, steps=2)
    zero = {
        name: (p.grad == 0).sum().item() / p.numel()
        for name, p in net.named_parameters()
        # The bias of a convolution before a batch norm cancels out: zero but for rounding.
        if p.grad is not None
        and not p.grad.all()
        and not name.endswith(("conv1.bias", "conv2.bias"))
    }
    blocks, parts = ("up_outer.1", "up_outer.7"), ("conv2.weight", "norm2.weight", "norm2.bias")
    assert zero == {f"{block}.{part}": 0.5 for block in blocks for part in parts}


def test_without_copies_every_weight_has_a_gradient():
    """What the copies overwrite is used where there are none, and the input's way is one."""
    net = train_on_noise(
        MUNet(2, width=8, depth=16, head="dense", copy_across=False), side=64, steps=2
    )
    assert all(
        p.grad.all()
        for name, p in net.named_parameters()
        if not name.endswith(("conv1.bias", "conv2.bias"))
    )


@torch.no_grad()
def test_without_copies_all_passes_the_bottom_of_the_u():
    """Silence the ASPP, and no image is left in the output."""
    for copy_across in (True, False):
        net = small(copy_across=copy_across).eval()
        nn.init.zeros_(net.aspp.merge.weight)
        one, other = net(images(2))
        assert torch.equal(one, other) is not copy_across


@torch.no_grad()
def test_the_dense_head_favors_no_pixel():
    net = small(head="dense")
    nn.init.ones_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    # Kernels of ones on a map of ones: 4 channels by 2 x 2 taps, save at the rim.
    assert (net.head(torch.ones(1, 4, 8, 8))[..., 1:-1, 1:-1] == 16).all()


# Any size, any layout, any number format


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(8, 8), (24, 40), (64, 64), (8, 256)])
@pytest.mark.parametrize("num_classes", [1, 7])
@torch.no_grad()
def test_any_multiple_of_8_and_any_number_of_classes(head, size, num_classes):
    net = small(num_classes=num_classes, head=head).eval()
    output = net(images(1, *size))
    assert output.shape == (1, num_classes, *size)
    assert output.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 3, 60, 64), (1, 3, 64, 60), (1, 1, 64, 64), (3, 64, 64)])
def test_a_wrong_size_is_quoted(shape):
    with pytest.raises(BadInput, match="multiples of 8") as caught:
        small()(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"num_classes": 0}, "0"),
        ({"width": 5}, "5"),
        ({"depth": 7}, "7"),
        ({"head": "solid"}, "'solid'"),
        ({"aspp_rates": ()}, r"\(\)"),
        ({"aspp_rates": (2, 0)}, r"\(2, 0\)"),
    ],
)
def test_a_wrong_argument_is_quoted(options, quoted):
    with pytest.raises(BadInput, match=f"{next(iter(options))} must be .* got {quoted}$"):
        small(**options)


@pytest.mark.parametrize("head", HEADS)
def test_channels_last_changes_nothing(head):
    net, x = small(head=head), images()
    expected = net(x).detach()
    output = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert_close(output, expected, rtol=1e-4, atol=1e-4)
    output.sum().backward()


@pytest.mark.parametrize("head", HEADS)
def test_bfloat16_autocast_stays_near_float32(head):
    net, x = small(head=head), images(4)
    expected = net(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        output = net(x)
    assert output.dtype == torch.bfloat16
    assert (output.float() - expected).norm() < 0.05 * expected.norm()
    output.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_the_network_compiles_without_a_break(head):
    net, x = small(head=head).eval(), images()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    assert_close(compiled(x), net(x))


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_weights_survive_safetensors(head, tmp_path):
    net, x = randomise_norms(small(head=head)).eval(), images()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    again = small(head=head).eval()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert operator.eq(*(model(x).numpy().tobytes() for model in (net, again)))
