"""The benches: both sides compute the same, and another computation would be noticed."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from seghw.data import shapes
from tests.bench import dlstudio as benches
from tests.bench.course import dlstudio_on
from tests.bench.harness import Bench, interleave, machine
from tests.bench.live import bench_live


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


@pytest.mark.usefixtures("dlstudio", "seeded")
def test_data_masks_and_steps_are_timed_at_equal_results():
    numbers = benches.bench_data(12, rounds=1).numbers
    assert numbers["largest difference of the batches"][0] == 0
    assert benches.bench_evaluate(2, rounds=1).numbers["mask pixels that differ"][0] == 0
    assert benches.bench_train(depth=4, batch_size=2, rounds=2).seconds.shape == (2, 2)
    with dlstudio_on(shapes.generate(6, seed=1)) as course:
        sides, indices = benches.gather_sides(course), np.array([4, 1, 3])
        for name in [*sides][1:]:
            wrong = {**sides, name: lambda chosen, side=sides[name]: side(chosen[::-1].copy())}
            assert benches.largest_difference(wrong, indices) > 0, name


def test_the_speed_run_is_summed_up(tmp_path):
    """All runs are in the table: none is trained."""
    rows = {"seed": [0, 1], "seconds": [51.0, 66.4], "iou": [0.754, 0.78], "bfloat16": [1, 0]}
    pd.DataFrame(rows).to_csv(tmp_path / "live.csv", index=False)
    assert bench_live(2, tmp_path / "live.csv") == (
        "2 seeds: seconds 51 to 66, median 59; mean IoU 0.754 to 0.780, median 0.767"
    )
