"""The benches: both sides compute the same, and another computation would be noticed."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seghw.data import purdue, shapes
from seghw.data.dataset import batches
from seghw.errors import BadInput
from tests.bench.bench_data import bench_data, gather_sides, largest_difference
from tests.bench.bench_evaluate import bench_evaluate
from tests.bench.bench_live import bench_live
from tests.bench.bench_train import bench_train, loss_difference
from tests.bench.dlstudio_course import dlstudio_on
from tests.bench.harness import Bench, interleave, machine


def test_sides_take_turns_and_everything_is_shown():
    calls = []
    seconds = interleave({n: partial(calls.append, n) for n in "AB"}, rounds=3, at_least=0)
    assert "".join(calls) == "ABAB" + "ABABAB"  # twice to warm up
    assert seconds.shape == (3, 2)
    seconds = pd.DataFrame({"slow": [0.003, 0.004], "fast": [2e-6, 2e-6]})
    bench = Bench("bench x", "what is compared", seconds, {"gain": (1750, "x", "goal: 5")})
    lines = ["bench x", "what is compared", "", "slow  3.50 ms  median of 2"]
    lines += ["fast  2.00 µs  median of 2", "", "gain   1750 x  goal: 5", "", machine()]
    assert str(bench).splitlines() == lines


@pytest.mark.usefixtures("dlstudio")
def test_data_and_masks_are_dlstudios():
    assert bench_data(12, rounds=1).numbers["largest difference of the batches"][0] == 0
    assert bench_evaluate(2, rounds=1).numbers["mask pixels that differ"][0] == 0
    with dlstudio_on(shapes.generate(6, seed=1)) as course:
        purdue.read_archive(course.archive).save(course.folder / "set")
        sides, indices = gather_sides(course), np.array([4, 1, 3])
        for name in [*sides][1:]:
            wrong = {**sides, name: lambda chosen, side=sides[name]: side(chosen[::-1].copy())}
            assert largest_difference(wrong, indices) > 0, name


@pytest.mark.usefixtures("dlstudio", "seeded")
def test_steps_are_dlstudios():
    bench = bench_train(depth=4, batch_size=2, rounds=2)
    assert bench.numbers["relative difference of the losses after 3 steps"][0] < 1e-4
    assert bench.seconds.shape == (2, 2)
    data, order = shapes.generate(8, seed=2), [*batches(8, 2)][:3]
    with dlstudio_on(data, batch_size=2) as course:
        theirs = course.segmenter.mUNet(skip_connections=True, depth=4)
        course.studio.momentum = 0.5
        assert loss_difference(course, theirs, data, order) > 1e-4


def test_without_dlstudio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "DLStudio", None)
    with pytest.raises(BadInput, match=r"pip install -e '\.\[bench\]'"):
        bench_data(1)


def test_the_speed_run_is_summed_up(tmp_path):
    """All runs are in the table: none is trained."""
    rows = {"seed": [0, 1], "seconds": [51.0, 66.4], "iou": [0.754, 0.78], "bfloat16": [1, 0]}
    pd.DataFrame(rows).to_csv(tmp_path / "live.csv", index=False)
    assert bench_live(2, tmp_path / "live.csv", Path("nowhere")) == (
        "2 seeds: seconds 51 to 66, median 59; mean IoU 0.754 to 0.780, median 0.767"
    )
    assert torch.get_num_threads() == 1
