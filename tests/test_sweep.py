"""Many runs: the report's grid, nothing trained twice, failures reported and survived."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from seghw.config import TrainConfig
from seghw.errors import BadInput
from seghw.train import sweep
from seghw.train import trainer as train_module
from seghw.train.runs import best, best_setting, by_setting, load_run, run_folder, worst
from seghw.train.sweep import grid, outcome_table, run_sweep

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
    in_section_2 = grid("shapes5", "report", variant="section2")
    assert {c.coefficient for c in in_section_2 if c.coefficient} == {50, 80, 100}
    assert [c.seed for c in configs] == sorted(c.seed for c in configs)


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(BadInput, match="'coco5'"):
        grid("coco5", "report")
    with pytest.raises(BadInput, match="'section4'"):
        grid("shapes5", "report", variant="section4")


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


def test_a_failed_run_is_recorded_and_does_not_stop_the_others(tmp_path, monkeypatch):
    real = sweep.train_or_read

    def train_or_read(config, **options):
        if config.recipe == "report":
            raise RuntimeError("no more memory")
        return real(config, **options)

    monkeypatch.setattr(sweep, "train_or_read", train_or_read)
    with ThreadPoolExecutor(1) as executor:
        outcomes = run_sweep(TWO, executor=executor, runs=tmp_path, progress=False)
        assert [o.status for o in outcomes] == ["failed", "finished"]
        assert outcomes[0].detail == "RuntimeError: no more memory"
        record = load_run(run_folder(TWO[0], tmp_path)).record
        assert (record["status"], record["error"]) == ("failed", "RuntimeError: no more memory")
        # The next sweep tries again, and only that one.
        monkeypatch.undo()
        again = run_sweep(TWO, executor=executor, runs=tmp_path, progress=False)
    assert [o.status for o in again] == ["finished", "skipped"]


def test_what_another_sweep_trains_is_left_for_the_end(tmp_path):
    """The first configuration is being trained elsewhere: the second comes first."""
    order = []
    elsewhere = FileLock(lock_of(TWO[0], tmp_path), thread_local=False)
    with elsewhere, ThreadPoolExecutor(1) as executor:

        def train_or_read(config, **options):
            if order:  # the other process stops, unfinished, when this one turns to what is left
                elsewhere.release()
            run, here = train_module.train_or_read(config, **options)
            order.append(run.config.recipe)
            return run, here

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sweep, "train_or_read", train_or_read)
            outcomes = run_sweep(TWO, executor=executor, runs=tmp_path, progress=False)
    assert order == ["corrected", "report"]
    assert [o.status for o in outcomes] == ["finished", "finished"]


def lock_of(config, runs):
    folder = run_folder(config, runs)
    folder.mkdir(parents=True)
    return folder / ".lock"


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


def test_the_best_setting_is_not_the_luckiest_run():
    class Seed(Scored):
        def __init__(self, rate, seed, score):
            super().__init__(score, 0.0)
            self.config = TrainConfig("shapes5", "report", "mse", rate, seed=seed)

    steady = [Seed(1e-3, 0, 0.5), Seed(1e-3, 1, 0.6)]
    lucky = [Seed(1e-4, 0, 0.9), Seed(1e-4, 1, 0.1)]
    assert by_setting([*steady, *lucky]) == {
        steady[0].config: steady,
        lucky[0].config: lucky,
    }
    assert best_setting([*lucky, *steady]) == steady
    assert best([*lucky, *steady]) is lucky[0]
