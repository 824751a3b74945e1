"""The benches: both sides compute the same, and what they print can be trusted.

Timings are only held against limits that no busy machine reaches.
"""

import math
import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.utils import make_grid

from seghw.config import REPORT, SHAPES5
from seghw.data import purdue, shapes
from seghw.data.dataset import batches
from seghw.errors import BadInput
from seghw.network import MUNet
from seghw.report import plots as panels
from seghw.train.runs import load_run, run_folder
from tests.bench import bench_losses as losses_module
from tests.bench import bench_tried
from tests.bench.bench_data import bench_data, gather_sides, largest_difference, memory
from tests.bench.bench_evaluate import (
    bench_evaluate,
    display,
    dlstudio_display,
    masks_of_grid,
    plausible_outputs,
)
from tests.bench.bench_full import full_size
from tests.bench.bench_laptop import bench_laptop
from tests.bench.bench_losses import bench_losses, reference_dice_loss, reference_report_dice_loss
from tests.bench.bench_train import bench_train, flop, loss_difference, peak_sides
from tests.bench.dlstudio_course import dlstudio_on
from tests.bench.harness import Bench, Result, Timing, interleave, machine, ratio, sgd_step

# The harness


def test_sides_take_turns_after_a_warm_up():
    calls = []
    sides = {name: partial(calls.append, name) for name in "AB"}
    timings = interleave(sides, rounds=3, at_least=0)
    assert "".join(calls) == "AB" + "ABABAB"
    assert [timing.what for timing in timings] == ["A", "B"]
    assert [len(timing.seconds) for timing in timings] == [3, 3]


def test_short_calls_are_repeated_and_timed_one_by_one():
    calls = []

    def call():
        calls.append(None)
        time.sleep(0.002)

    [timing] = interleave({"short": call}, rounds=2, at_least=0.05)
    # Two to warm up, then two rounds of at most 25; a busy machine sleeps longer.
    assert 2 + 2 * 2 <= len(calls) <= 2 + 2 * 25
    assert 0.002 <= min(timing.seconds) <= timing.median


def test_a_ratio_by_hand():
    found = ratio("times", Timing("slow", (2, 4, 6)), Timing("fast", (1, 2, 2)), at_least=2)
    assert found == Result("times", 2.0, "x", at_least=2, quartiles=(2.0, 2.5))
    assert found.met is True


@pytest.mark.parametrize(
    ("result", "met", "verdict"),
    [
        (Result("", 20, at_least=20), True, "goal at least 20: met"),
        (Result("", 0.01, at_least=20), False, "goal at least 20: missed"),
        (Result("", 0, at_most=0), True, "goal at most 0: met"),
        (Result("", 1e-3, at_most=1e-4), False, "goal at most 0.0001: missed"),
        (Result("", math.nan, at_most=1), False, "goal at most 1: missed"),
        (Result("", 3), None, ""),
    ],
)
def test_a_goal_is_met_or_missed(result, met, verdict):
    assert result.met is met
    assert result.verdict == verdict


def test_the_table_shows_everything():
    slow, fast = Timing("slow", (0.003, 0.004)), Timing("fast", (2e-6, 2e-6))
    results = (ratio("gain", slow, fast, at_least=5), Result("memory", 32.98, "kB"))
    found = Bench("bench x", ("what is compared",), (slow, fast), results, "a machine")
    assert found.table() == str(found)
    assert found.result("memory").value == 32.98
    assert found.table().splitlines() == [
        "bench x",
        "what is compared",
        "",
        "slow     3.50 ms  median of 2",
        "fast     2.00 µs  median of 2",
        "",
        "gain      1750 x  half of the rounds within 1625 to 1875; goal at least 5: met",
        "memory  32.98 kB",
        "",
        "a machine",
    ]


def test_the_machine_is_named():
    line = machine()
    assert f"{os.cpu_count()} cores, {torch.get_num_threads()} threads" in line
    assert f"torch {torch.__version__}" in line
    assert "\n" not in line


def test_a_step_is_that_of_sgd():
    weight = torch.nn.Parameter(torch.tensor([[2.0]]))
    net = nn.Linear(1, 1, bias=False)
    net.weight = weight
    step = sgd_step(net, torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    assert step().item() == 36  # (2 * 3 - 0) squared
    # The slope is 2 * 6 * 3 = 36, the rate 1e-4; the second step has 0.9 of it as momentum.
    assert weight.item() == pytest.approx(2 - 0.0036)
    first = weight.item()
    step()
    assert weight.item() == pytest.approx(first - 1e-4 * (0.9 * 36 + 18 * first), abs=1e-6)


def test_without_dlstudio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "DLStudio", None)
    before = Path.cwd()
    with (
        pytest.raises(BadInput, match=r"pip install -e '\.\[bench\]'"),
        dlstudio_on(shapes.generate(1, 0)),
    ):
        pass
    assert Path.cwd() == before


# Data


@pytest.mark.usefixtures("dlstudio")
def test_bench_data():
    before = set(Path.cwd().iterdir())
    found = bench_data(count=12, rounds=3, reading_rounds=1)
    assert set(Path.cwd().iterdir()) == before
    assert found.result("largest difference of the batches").value == 0
    for form in ("as stored", "as trained on"):
        for place in ("memory", "disk"):
            assert found.result(f"{form}, from {place}").value > 5
    assert 0.2 < found.result("share of DLStudio's memory kept").value < 0.3
    assert found.result("DLStudio, kept in memory a sample").value > 3 * 32.768
    # 12 images of 3 x 64 x 64 and masks of 5 x 64 x 64 bytes, and their boxes
    assert 32.768 < found.result("seghw, kept in memory a sample").value < 36
    assert "reading the archive" in found.table()


@pytest.mark.usefixtures("dlstudio")
def test_a_wrong_batch_would_be_noticed():
    with dlstudio_on(shapes.generate(6, seed=1)) as course:
        purdue.read_archive(course.archive).save(course.folder / "set")
        sides = gather_sides(course)
        indices = np.array([4, 1, 3])
        assert largest_difference(sides, indices) == 0
        for name in list(sides)[1:]:
            right = sides[name]
            wrong = {**sides, name: lambda chosen, right=right: right(chosen[::-1].copy())}
            assert largest_difference(wrong, indices) > 0, name


def test_memory_is_what_is_kept_and_what_was_needed():
    kept, peak = memory(lambda: np.zeros(1_000_000, np.uint8))
    assert 1_000_000 <= kept < 1_010_000
    kept, peak = memory(lambda: np.zeros(4_000_000, np.uint8)[:1000].copy())
    assert kept < 20_000
    assert 4_000_000 <= peak < 4_020_000


# Evaluation


@pytest.mark.usefixtures("dlstudio")
def test_bench_evaluate():
    found = bench_evaluate(batch_size=1, rounds=1)
    assert found.result("mask pixels that differ").value == 0
    assert found.result("masks and display").value > 50
    assert found.result("masks alone against DLStudio's masks and display").value > 50


@pytest.mark.usefixtures("dlstudio")
def test_dlstudios_masks_follow_the_outputs():
    data = shapes.generate(1, seed=4)
    outputs = plausible_outputs(data)
    expected = REPORT.decode(outputs, SHAPES5)
    # The noise must take some pixels out of their class's mask, and others into it.
    truth = torch.from_numpy(data.masks)
    assert (expected & ~truth).any()
    assert (truth & ~expected).any()
    with dlstudio_on(data, batch_size=1) as course:
        found = masks_of_grid(dlstudio_display(course, outputs)(), 1)
    assert torch.equal(found, expected)


def test_masks_of_a_grid():
    masks = torch.rand(3, 5, 8, 12) > 0.7
    pictures = [torch.rand(6, 3, 8, 12) * 255]
    pictures += [(50 + 205 * masks[:, [k]].float()).expand(3, 3, 8, 12) for k in range(5)]
    pictures[0][0, 0, 0, 0] = 255
    grid = make_grid(torch.cat(pictures), nrow=3, normalize=True, padding=2, pad_value=10)
    assert torch.equal(masks_of_grid(grid, 3), masks)


def test_the_display_has_a_column_an_image():
    data = shapes.generate(2, seed=5)
    grid = display(data.images, data.masks)
    assert grid.shape == (7 * 64, 2 * 64, 3)
    assert grid.dtype == np.uint8
    second = grid[:, 64:]
    assert np.array_equal(second[:64], data.images[1].transpose(1, 2, 0))
    overlay = panels.overlay(data.images[1], data.masks[1], SHAPES5)
    assert np.array_equal(second[64:128], overlay)
    for k, spec in enumerate(SHAPES5):
        picture = second[(2 + k) * 64 : (3 + k) * 64]
        assert np.array_equal(picture, data.masks[1, k][..., None] * np.uint8(spec.color))


# Training


@pytest.mark.usefixtures("dlstudio")
def test_bench_train():
    names = ["contiguous, not channels_last", "fused optimizer"]
    found = bench_train(depth=4, batch_size=2, rounds=2, tried=names, largest_product=64)
    assert found.result("relative difference of the losses after 3 steps").met
    assert found.result("tried: relative difference of the first losses").met
    assert found.result("whole step").value > 0.2
    assert found.result("reading, of a step").value < 20
    assert 1 < found.result("step only, of the higher peak").value < 200
    assert {"tried: " + name for name in names} < {timing.what for timing in found.timings}
    assert all(len(timing.seconds) == 2 for timing in found.timings)


@pytest.mark.usefixtures("dlstudio")
def test_other_mathematics_would_be_noticed(monkeypatch):
    data = shapes.generate(8, seed=2)
    order = list(batches(8, 2))[:3]
    with dlstudio_on(data, batch_size=2) as course:
        torch.manual_seed(0)
        theirs = course.segmenter.mUNet(skip_connections=True, depth=4)
        assert loss_difference(course, theirs, data, order) < 1e-4
        course.studio.momentum = 0.5
        assert loss_difference(course, theirs, data, order) > 1e-4


def test_an_unknown_trial_is_refused():
    with pytest.raises(BadInput, match="magic"):
        bench_train(tried=["magic"])


def test_the_work_of_a_convolution_by_hand():
    net = nn.Conv2d(3, 4, 3, padding=1)
    # 2 x 4 x 8 x 8 outputs of 27 products and sums; the weights' gradient costs as much again.
    assert flop(net, torch.randn(2, 3, 8, 8), torch.zeros(2, 4, 8, 8)) == 2 * (2 * 512 * 27)


def test_the_work_of_the_peaks_by_hand():
    sides = peak_sides(4, 64)
    work, call = sides["matrix product of 32 x 32"]
    assert work == 2 * 32**3
    assert call().shape == (32, 32)
    for layout in ("contiguous", "channels_last"):
        work, call = sides[f"convolution, 64 channels, 32 x 32, {layout}"]
        assert work == 2 * 9 * 64 * call().numel()


@pytest.mark.parametrize("name", [name for name in bench_tried.TRIED if "compile" not in name])
def test_what_is_tried_computes_the_same(name, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    torch.manual_seed(0)
    net = MUNet(5, width=4, depth=4).to(memory_format=torch.channels_last)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
    steps, failures, [difference] = bench_tried.tried_steps(
        net, x, torch.randn(2, 5, 16, 16), [name]
    )
    assert list(steps) == [f"tried: {name}"]
    assert not failures
    assert difference.met
    assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert threads == ([2, 5] if name == "half as many threads" else [])


def test_what_cannot_be_tried_is_said(monkeypatch):
    def refuse(net, x, target):
        def step():
            raise RuntimeError("no\nC++ compiler")

        return step

    monkeypatch.setitem(bench_tried.TRIED, "torch.compile", refuse)
    net = MUNet(5, width=4, depth=4)
    x, target = torch.randn(2, 3, 16, 16), torch.randn(2, 5, 16, 16)
    found = bench_tried.tried_steps(net, x, target, ["torch.compile"])
    assert found == ({}, ["torch.compile: not possible here (no C++ compiler)"], [])


def test_flipped_convolutions_equal_transposed_ones():
    torch.manual_seed(0)
    for padding in (0, 1, 2):
        transposed = nn.ConvTranspose2d(3, 5, 3, padding=padding)
        flipped = bench_tried.FlippedConvolution(transposed)
        x = torch.randn(2, 3, 9, 7)
        assert_close(flipped(x), transposed(x))
    net = MUNet(5, width=4, depth=4)
    left = sum(isinstance(m, nn.ConvTranspose2d) for m in net.modules())
    bench_tried.flip_transposed(net)
    flipped = [m for m in net.modules() if isinstance(m, bench_tried.FlippedConvolution)]
    remaining = [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(flipped) + len(remaining) == left
    assert flipped
    assert all(m.stride == (2, 2) for m in remaining)


# Losses


def test_the_references_by_hand():
    pred = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]])
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]])
    # The first class has ab = 1.5, aa = 1.25, bb = 2; the second is perfect.
    first = 1.5 / 3.25
    assert reference_dice_loss(pred, target).item() == pytest.approx((1 - 2 * first) / 2, abs=1e-5)
    expected = (1 - first) + 0.5
    assert reference_report_dice_loss(pred, target).item() == pytest.approx(expected, abs=1e-5)


def test_bench_losses():
    found = bench_losses(shapes=((2, 3, 8, 8),), networks=((4, 4),), rounds=2)
    differences = [result for result in found.results if "difference" in result.what]
    assert len(differences) == 4
    assert all(result.met for result in differences)
    assert len(found.timings) == 6
    assert found.result("dice_loss at 2 x 3 x 8 x 8").value > 0.1
    assert found.result("dense head against the report's, width 4, depth 4").at_most == 1.15


def test_another_loss_would_be_noticed(monkeypatch):
    pair = (reference_dice_loss, lambda pred, target: 1.001 * reference_dice_loss(pred, target))
    monkeypatch.setattr(losses_module, "PAIRS", {"dice_loss": pair})
    found = bench_losses(shapes=((2, 3, 8, 8),), networks=(), rounds=1)
    what = "dice_loss at 2 x 3 x 8 x 8: relative difference of the "
    assert found.result(what + "values").met is False
    assert found.result(what + "gradients").met is False


def test_the_parts_of_the_laptop_s_step_are_all_of_it():
    threads = torch.get_num_threads()
    try:
        bench = bench_laptop(rounds=1)
    finally:
        torch.set_num_threads(threads)
    for recipe in ("report", "corrected"):
        shares = [r.value for r in bench.results if r.what.startswith(f"{recipe}, share")]
        assert sum(shares) == pytest.approx(100)
        assert 20 < bench.result(f"{recipe}, share of convolutions").value < 95
        what = f"{recipe}, a step over the fastest convolutions of its shapes"
        assert bench.result(what).value > 1, "a step is more than its convolutions"
    assert bench.result("training, beside others").at_most == 2.5


# The report's own size


def test_its_runs_are_recorded():
    for config in full_size():
        assert load_run(run_folder(config)).config == config
