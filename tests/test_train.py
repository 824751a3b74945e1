"""One run: what it leaves behind, and that interruptions leave no trace."""

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from seghw.config import COCO3, CORRECTED, RECIPES, SMOKE, TrainConfig
from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.losses import dice_loss
from seghw.train import build_network
from seghw.train.muon import MuonAndAdamW
from seghw.train.runs import load_run, load_runs, write_weights
from seghw.train.trainer import Training, record_failure, train

CONFIG = TrainConfig("shapes5", "corrected", "mse_dice", 3e-3, 20.0, profile="smoke")


def test_a_run_leaves_its_record(smoke_run):
    assert sorted(p.name for p in smoke_run.folder.iterdir() if p.name != ".lock") == [
        "history.csv",
        "model.safetensors",
        "run.json",
    ]
    record = json.loads((smoke_run.folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["config"]["dataset"] == "shapes5"
    assert [row["epoch"] for row in record["epochs"]] == [1, 2]
    assert smoke_run.score == record["epochs"][-1]["validation_iou"]


def test_history_has_a_row_a_step_and_its_terms_add_up(smoke_run):
    history = smoke_run.history
    # 64 images in batches of 8 for 2 epochs, logged every 4 iterations
    assert history["iteration"].tolist() == [4, 8, 12, 16]
    total = history["mse"] + 20 * history["dice"]
    assert np.allclose(history["loss"], total, rtol=1e-4)


def test_history_has_the_gradients_of_both_terms(smoke_run, tmp_path, monkeypatch):
    """Norms of the gradients at the output, by hand for the MSE: 2 |output - target| / size."""
    monkeypatch.setattr("seghw.train.trainer.PROFILES", {"smoke": replace(SMOKE, log_every=1)})
    run = train(replace(CONFIG, epochs=1), runs=tmp_path, progress=False)
    size = 8 * 5 * 64 * 64
    assert run.history["mse_gradient"] == pytest.approx(
        2 * np.sqrt(run.history["mse"] / size), rel=1e-4
    )
    assert (smoke_run.history["dice_gradient"] > 0).all()


def test_training_lowers_the_loss(smoke_run):
    assert smoke_run.history["loss"][-1] < 0.9 * smoke_run.history["loss"][0]


def test_the_first_iteration_by_hand(tmp_path, monkeypatch):
    """The first logged loss is that of a fresh network on the first batch."""
    monkeypatch.setattr("seghw.train.trainer.PROFILES", {"smoke": replace(SMOKE, log_every=1)})
    run = train(CONFIG, runs=tmp_path, progress=False)
    data = shapes.generate(64, 0)
    order = np.random.SeedSequence([0, 0]).generate_state(1)[0]
    first = np.random.default_rng(int(order)).permutation(64)[:8]
    torch.manual_seed(0)
    output = build_network(CONFIG)(torch.from_numpy(data.images[first]).float() / 127.5 - 1)
    target = torch.from_numpy(data.masks[first]).float()
    expected = (output - target).square().mean() + 20 * dice_loss(output, target)
    assert run.history["loss"][0] == pytest.approx(expected.item(), rel=1e-4)


def test_a_finished_run_is_not_trained_again(smoke_run, monkeypatch):
    monkeypatch.setattr("seghw.train.trainer.Training.run", pytest.fail)
    assert train(smoke_run.config, runs=smoke_run.folder.parents[1]).record == smoke_run.record


def test_the_saved_weights_score_as_recorded(smoke_run):
    """Half precision on disk moves no score by more than 0.005."""
    from seghw.data.splits import open_split
    from seghw.results import evaluate_run

    found = evaluate_run(smoke_run, open_split(smoke_run.config, "validation"))
    assert found.iou == pytest.approx(smoke_run.score, abs=0.005)


def test_other_data_is_not_taken_for_the_same(smoke_run):
    other = shapes.generate(64, 9)
    with pytest.raises(BadInput, match="other data"):
        train(smoke_run.config, (other, other), runs=smoke_run.folder.parents[1])


def test_other_classes_are_refused(tmp_path):
    data = shapes.generate(8, 0)
    three = SegmentationSet(data.images, data.masks[:, :3], [[]] * 8, COCO3)
    with pytest.raises(BadInput, match="pizza"):
        train(CONFIG, (three, three), runs=tmp_path, progress=False)


def test_a_diverging_run_says_where(tmp_path, monkeypatch):
    # A learning rate that no optimizer survives.
    monkeypatch.setitem(RECIPES, "corrected", replace(CORRECTED, optimizer="sgd"))
    config = TrainConfig("shapes5", "corrected", "mse", 1e30, profile="smoke")
    run = train(config, runs=tmp_path, progress=False)
    assert run.status == "diverged"
    # The first loss is finite; its gradient throws the weights out of the finite numbers.
    assert "at iteration 2 of" in run.record["error"]
    assert config.run_id in run.record["error"]
    assert "last good checkpoint: none" in run.record["error"]
    assert run.score == float("-inf")
    assert run.history["iteration"].tolist() == [4]
    assert not run.has_weights()


def test_a_late_divergence_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    real = Training._loss

    def spoiled(training, output, target):
        terms = real(training, output, target)
        return terms._replace(total=terms.total * (math.nan if training.epochs else 1))

    monkeypatch.setattr(Training, "_loss", spoiled)
    run = train(CONFIG, runs=tmp_path, progress=False)
    assert "at iteration 9 of" in run.record["error"]  # the second epoch's first
    assert f"{run.folder / 'checkpoint.pt'}, after epoch 1" in run.record["error"]
    assert (run.folder / "checkpoint.pt").is_file()


def test_what_a_killed_process_left_is_cleared(tmp_path):
    leftover = tmp_path / "smoke" / CONFIG.run_id / ".checkpoint-unfinished-x1.pt"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    train(replace(CONFIG), runs=tmp_path, progress=False)
    assert not leftover.exists()


def test_a_failure_is_recorded_and_the_run_tried_again(tmp_path):
    record_failure(CONFIG, "RuntimeError: no more memory", tmp_path)
    failed = load_run(tmp_path / "smoke" / CONFIG.run_id)
    assert (failed.status, failed.score) == ("failed", float("-inf"))
    assert failed.record["error"] == "RuntimeError: no more memory"
    assert train(CONFIG, runs=tmp_path, progress=False).status == "finished"
    record_failure(CONFIG, "too late", tmp_path)
    assert load_run(failed.folder).status == "finished", "a good record is never lost"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path):
    """SIGKILL after the first epoch, start again: the same history and weights, bit for bit."""
    config = replace(CONFIG, epochs=3)
    whole = train(config, runs=tmp_path / "whole", progress=False)

    folder = tmp_path / "killed" / "smoke" / config.run_id
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from seghw.config import TrainConfig; from seghw.train import train\n"
        f"train(TrainConfig(**{config.to_dict()!r}), runs={str(tmp_path / 'killed')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder / "checkpoint.pt").is_file()
    assert not (folder / "run.json").exists()

    resumed = train(config, runs=tmp_path / "killed", progress=False)
    assert (resumed.folder / "history.csv").read_bytes() == (
        whole.folder / "history.csv"
    ).read_bytes()
    ours, theirs = (load_file(run.folder / "model.safetensors") for run in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not (resumed.folder / "checkpoint.pt").exists()


def test_runs_are_found_by_what_they_are(smoke_runs):
    assert [run.config.recipe for run in load_runs("smoke", smoke_runs)] == ["corrected", "report"]
    assert load_runs("smoke", smoke_runs, recipe="report", loss="mse") == []
    assert load_runs("laptop", smoke_runs) == []


def test_a_damaged_record_is_named(smoke_run, tmp_path):
    (tmp_path / "run.json").write_text('{"config": ')
    with pytest.raises(BadInput, match="damaged"):
        load_run(tmp_path)
    with pytest.raises(BadInput, match=r"run\.json is missing"):
        load_run(tmp_path / "nowhere")


def test_missing_weights_are_named(smoke_run, tmp_path):
    folder = tmp_path / smoke_run.run_id
    shutil.copytree(smoke_run.folder, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="no weights"):
        load_run(folder).network()


def test_a_record_under_another_name_is_refused(smoke_run, tmp_path):
    shutil.copytree(smoke_run.folder, tmp_path / "renamed")
    with pytest.raises(BadInput, match="is the record of shapes5-corrected-mse_dice"):
        load_run(tmp_path / "renamed")


def test_weights_on_disk_keep_what_half_precision_cannot_hold(tmp_path):
    """Fed with 0..255, a network's running variances pass half precision's 65,504."""
    torch.manual_seed(0)
    model = build_network(CONFIG)
    model.down_norm_outer.running_var.fill_(1e6)
    write_weights(tmp_path, model)
    on_disk = load_file(tmp_path / "model.safetensors")
    assert on_disk["down_norm_outer.running_var"].tolist() == [1e6] * 8
    assert on_disk["stem.weight"].dtype == torch.float16


@pytest.mark.parametrize(("profile", "warm_up"), [("laptop", 0.1), ("live", 0.2)])
def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(profile, warm_up):
    config = TrainConfig("shapes5", "corrected", "dice", 8.0, profile=profile)
    training = SimpleNamespace(config=config, recipe=config.settings, iterations=1000)
    rate = lambda share: Training._learning_rate(training, 1000 * share)  # noqa: E731
    cosine = lambda share: 4 * (1 + math.cos(math.pi * share))  # noqa: E731
    assert rate(warm_up / 4) == pytest.approx(cosine(warm_up / 4) / 4)
    assert rate(warm_up) == pytest.approx(cosine(warm_up))
    assert rate(0.5) == pytest.approx(4.0)
    assert rate(1.0) == pytest.approx(0.0, abs=1e-9)


def test_muon_moves_a_kernel_equally_far_in_every_direction():
    """Whatever the gradient's singular values, those of the first move are alike."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3))
    before = [layer.weight.detach().clone() for layer in model]
    for p in model.parameters():
        p.grad = torch.randn_like(p) * torch.logspace(0, 2, len(p)).view(-1, *[1] * (p.ndim - 1))
    pulled = torch.linalg.svdvals(model[1].weight.grad.flatten(1))
    MuonAndAdamW(model, 1e-2).step()
    moved = torch.linalg.svdvals((model[1].weight.detach() - before[1]).flatten(1))
    assert pulled.max() > 50 * pulled.min()
    assert moved.max() < 4 * moved.min()
    # The first layer has three channels and is AdamW's: its first step is the rate, by sign.
    step = (model[0].weight.detach() - before[0]).abs()
    assert torch.allclose(step, torch.full_like(step, 1e-2), rtol=0.05)


def test_muon_goes_on_from_its_state_as_if_never_stopped():
    def trained(steps, stop=None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
        x, optimizer = torch.randn(2, 16, 8, 8), MuonAndAdamW(model, 1e-2)
        for k in range(steps):
            if k == stop:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = MuonAndAdamW(model, 1e-2)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        return model[0].weight.detach()

    assert torch.equal(trained(4), trained(4, stop=2))


def test_a_run_in_the_profile_live_can_be_watched(tmp_path):
    config = TrainConfig("shapes5", "corrected", "mse_dice", 2e-2, 0.1, profile="live")
    sets, seen = (shapes.generate(640, 0), shapes.generate(8, 1)), []

    def watch(training):
        seen.append((len(training.history), training.model.training))

    run = train(config, sets, runs=tmp_path, progress=False, watch=watch)
    assert seen == [(1, True), (2, True)]  # every ten of 20 batches
    assert isinstance(run.record["machine"]["bfloat16"], bool)
    assert run.history["iteration"].tolist() == [10, 20]
