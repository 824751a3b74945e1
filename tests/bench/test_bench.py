"""The benches: both sides compute the same, and another computation would be noticed."""

import runpy

import torch

from seghw.config import DATA, TrainConfig
from seghw.data import shapes
from seghw.train import train
from tests.bench import dlstudio as benches


def test_data_masks_and_steps_are_timed_at_equal_results(dlstudio, seeded):
    assert benches.bench_data(12, rounds=1)[2]["largest difference of the batches"] == 0
    assert benches.bench_evaluate(2, rounds=1)[2]["mask pixels that differ"] == 0
    assert benches.bench_train(depth=4, batch_size=2, rounds=2)[1].shape == (2, 2)


def test_the_speed_run_is_what_the_profile_live_trains(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else `train` takes every core
    monkeypatch.setattr("seghw.train.run.multiplies_bfloat16", lambda device: False)
    net, _ = runpy.run_path(DATA / "bench" / "live.py")["speed_run"](3, images=128)
    config, seen = TrainConfig("shapes5", "corrected", "mse_dice", 2e-2, 0.1, 3, "live"), []
    cpu, watch = torch.device("cpu"), lambda run: seen.append(run.model)
    sets = shapes.generate(128, 0), shapes.generate(2, 1)
    train(config, sets, runs=tmp_path, progress=False, device=cpu, watch=watch)
    ours = seen[-1].state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in net.state_dict().items())
