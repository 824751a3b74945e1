"""Many runs: the report's grid, nothing trained twice, failures reported and survived."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from seghw.errors import BadInput
from seghw.recipes import TrainConfig
from seghw.sweep import best, grid, outcome_table, run_sweep, worst

TWO = [
    TrainConfig("shapes5", r, "mse", 1e-3, profile="smoke", epochs=1)
    for r in ("report", "corrected")
]


def test_the_grid_is_the_reports():
    configs = grid("shapes5", "report")
    assert len(configs) == 45  # 3 seeds x 3 learning rates x (MSE, Dice, 3 coefficients)
    assert len({config.run_id for config in configs}) == 45
    assert Counter(c.coefficient for c in configs) == {None: 18, 20: 9, 40: 9, 60: 9}
    assert {c.learning_rate for c in configs} == {1e-3, 1e-4, 1e-5}
    assert {c.coefficient for c in grid("scenes3", "report") if c.coefficient} == {60, 80, 100}
    assert len(grid("shapes5", "corrected")) == 15
    assert [c.seed for c in configs] == sorted(c.seed for c in configs)


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(BadInput, match="'coco5'"):
        grid("coco5", "report")


def test_a_sweep_trains_once_and_then_skips(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        first = run_sweep(TWO, executor=executor, runs=tmp_path, progress=False)
        times = [p.stat().st_mtime_ns for p in sorted(tmp_path.glob("*/*/run.json"))]
        second = run_sweep(TWO, executor=executor, runs=tmp_path, progress=False)
    assert [o.status for o in first] == ["finished"] * 2
    assert [o.status for o in second] == ["skipped"] * 2
    assert [o.run_id for o in first] == [c.run_id for c in TWO]
    assert [p.stat().st_mtime_ns for p in sorted(tmp_path.glob("*/*/run.json"))] == times
    table = outcome_table(second)
    assert TWO[0].run_id in table
    assert table.endswith("2 skipped")


def test_a_failed_run_does_not_stop_the_others(tmp_path, monkeypatch):
    from seghw import sweep

    def train(config, **_):
        if config.recipe == "report":
            raise RuntimeError("no more memory")
        return real(config, runs=tmp_path, progress=False)

    real = sweep.train
    monkeypatch.setattr(sweep, "train", train)
    with ThreadPoolExecutor(1) as executor:
        outcomes = run_sweep(TWO, executor=executor, runs=tmp_path, progress=False)
    assert [o.status for o in outcomes] == ["failed", "finished"]
    assert "no more memory" in outcomes[0].detail


def test_local_processes_train_too(tmp_path):
    [outcome] = run_sweep(TWO[:1], jobs=1, runs=tmp_path, progress=False)
    assert outcome.status == "finished"


class Scored:
    """Stands for a run: only its rank matters here."""

    def __init__(self, *rank: float) -> None:
        self.rank = rank


def test_best_and_worst():
    runs = [Scored(0.0, -5.0), Scored(0.3, -9.0), Scored(0.0, -7.0), Scored(0.1, -1.0)]
    assert best(runs) is runs[1]
    assert worst(runs) is runs[2]  # a score of 0 twice: the larger MSE is worse
    diverged = Scored(float("-inf"), float("-inf"))
    assert worst([*runs, diverged]) is diverged
    with pytest.raises(BadInput, match="make retrain"):
        best([])
