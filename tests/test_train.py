"""One run: what it leaves behind, that interruptions leave no trace, and the optimizers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import nn

from seghw.config import CORRECTED, PROFILES, SMOKE, TrainConfig, class_specs, dataset_of
from seghw.data import SegmentationSet, shapes
from seghw.data.splits import open_split
from seghw.errors import BadInput
from seghw.evaluate import Evaluation, count_tables, predict
from seghw.losses import dice_loss
from seghw.runs import history, load_counts, load_runs, read_run
from seghw.train import Run, build_network, learning_rate, load_network, train
from seghw.train.muon import MuonAndAdamW
from seghw.train.records import load_weights

CONFIG = TrainConfig("shapes5", "corrected", "mse_dice", 3e-3, 20.0, profile="smoke")
REPORT = TrainConfig("shapes5", "report", "mse_dice", 1e-4, 20.0, profile="smoke")
LIVE = replace(CONFIG, profile="live", learning_rate=2e-2, epochs=2)
SETS = [shapes.generate(count, seed, 32) for seed, count in enumerate((40, 8, 6))]
WEIGHTS = "model.safetensors"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_a_run_leaves_its_record(smoke_runs, smoke_run):
    assert files(smoke_run).keys() == {"counts.npz", "history.csv", WEIGHTS, "run.json"}
    run = read_run(smoke_run)
    about = [run[name] for name in ("status", "images", "part", "run_id")]
    assert about == ["finished", 64, "", smoke_run.name]
    assert TrainConfig(**{k: run[k] for k in CONFIG.to_dict()}) == run["config"] == CONFIG
    assert [row["epoch"] for row in run["epoch_scores"]] == [1, 2]
    assert run["score"] == run["validation_iou"] == run["epoch_scores"][-1]["validation_iou"]
    table = load_runs("smoke", smoke_runs)
    assert table.recipe.tolist() == ["corrected", "report"]
    assert load_runs("laptop", smoke_runs).empty
    rows = history(table.iloc[0])
    # 64 images in batches of 8 for 2 epochs, logged every 4 iterations
    assert rows.iteration.tolist() == [4, 8, 12, 16]
    assert np.allclose(rows.loss, rows.mse + 20 * rows.dice, rtol=1e-4)
    assert rows.loss.iloc[-1] < 0.9 * rows.loss.iloc[0]
    assert (rows.dice_gradient > 0).all()


def test_weights_and_counts_are_those_of_the_scores(smoke_runs, smoke_run):
    """Half precision on disk moves no score by more than 0.005."""
    run, network = load_runs("smoke", smoke_runs).iloc[0], load_network(smoke_run)
    validation, test = (open_split(CONFIG, split) for split in ("validation", "test"))
    masks = predict(network, validation.images, CORRECTED, "shapes5")
    assert Evaluation(run, validation, masks).iou == pytest.approx(run.score, abs=0.005)
    saved = load_counts(run)
    again = count_tables(predict(network, test.images, CORRECTED, "shapes5"), test, CONFIG)
    assert saved.keys() == again.keys() >= {"pixels", "boundary"}
    moved = np.abs(saved["pixels"] - again["pixels"]).sum() / saved["pixels"].sum()
    assert moved < 0.01


def test_the_first_iteration_by_hand(tmp_path, monkeypatch):
    """The first logged loss is that of a fresh network on the first batch."""
    monkeypatch.setitem(PROFILES, "smoke", replace(SMOKE, log_every=1))
    train(replace(CONFIG, epochs=1), SETS, runs=tmp_path, progress=False)
    rows = history(load_runs("smoke", tmp_path).iloc[0])
    order = np.random.SeedSequence([0, 0]).generate_state(1)[0]
    first = np.random.default_rng(int(order)).permutation(40)[:8]
    output = build_network(CONFIG)(torch.from_numpy(SETS[0].images[first]).float() / 127.5 - 1)
    target = torch.from_numpy(SETS[0].masks[first]).float()
    expected = (output - target).square().mean() + 20 * dice_loss(output, target)
    assert rows.loss[0] == pytest.approx(expected.item(), rel=1e-4)
    # The MSE's gradient at the output is 2 (output - target) / size.
    assert rows.mse_gradient.to_numpy() == pytest.approx(
        2 * np.sqrt(rows.mse / output.numel()), rel=1e-4
    )


def test_a_record_is_not_trained_again_nor_taken_for_another(smoke_run, tmp_path):
    runs, before = smoke_run.parents[1], files(smoke_run)
    assert train(CONFIG, runs=runs) == smoke_run
    with pytest.raises(BadInput, match="other data"):
        train(CONFIG, SETS, runs=runs)
    assert files(smoke_run) == before
    boxes = [[box for box in boxes if box[0] < 3] for boxes in SETS[0].boxes]
    other = SegmentationSet(SETS[0].images, SETS[0].masks[:, :3], boxes, class_specs("abc"))
    with pytest.raises(BadInput, match=r"\['a', 'b', 'c'\].*'own\+a\+b\+c'"):
        train(CONFIG, (other, other), runs=tmp_path)
    with FileLock(tmp_path / "smoke" / CONFIG.run_id / ".lock"), pytest.raises(Timeout):
        train(CONFIG, SETS, runs=tmp_path, wait=False)


@pytest.mark.parametrize(("recipe", "loss"), [("report", "mse"), ("corrected", "bce")])
@pytest.mark.parametrize(("classes", "images", "dense"), [(1, 1, 0), (7, 9, 1 / 3), (2, 8, 0)])
def test_the_smallest_sets_end_in_a_record_that_can_be_read(
    tmp_path, classes, images, dense, recipe, loss
):
    """Of any number of classes, without any object, with a last batch of a single image."""
    rng, specs = np.random.default_rng(0), class_specs("abcdefg"[:classes])
    data = []
    for count in (images, 1, 1):
        masks = rng.random((count, classes, 16, 16)) < dense
        pixels = rng.integers(0, 256, (count, 3, 16, 16), np.uint8)
        data.append(SegmentationSet(pixels, masks, [[]] * count, specs))
    dataset = dataset_of([spec.name for spec in specs])
    config = TrainConfig(dataset, recipe, loss, 1e-4, profile="smoke", epochs=1)
    train(config, data, runs=tmp_path, progress=False)
    [run] = load_runs("smoke", tmp_path).itertuples()
    assert (run.status, run.images) == ("finished", images)
    assert not dense or not math.isnan(run.validation_iou)
    assert len(run.validation_iou_per_class) == load_counts(run)["pixels"].shape[1] == classes
    assert np.isfinite(history(run)).all(axis=None)
    load_network(run.folder)


def test_late_trouble(tmp_path, monkeypatch):
    """Variances beyond half precision's 65,504 are kept; what diverges, then or last, says so."""
    real = Run.step

    def step(run, indices, step, **options):
        run.model.down_norm_outer.running_var.fill_(1e6)
        if run.config == CONFIG and step == 6:  # the second epoch's first
            nn.init.constant_(run.model.head.bias, math.inf)
        terms = real(run, indices, step, **options)
        if run.config.epochs == 1 and step == run.steps:  # then only the scores see it
            nn.init.constant_(run.model.head.bias, math.inf)
        return terms

    monkeypatch.setattr(Run, "step", step)
    last = read_run(train(replace(CONFIG, epochs=1), SETS, runs=tmp_path / "1", progress=False))
    assert (last["status"], last["score"]) == ("diverged", -math.inf)
    folder = train(CONFIG, SETS, runs=tmp_path, progress=False)
    [run] = load_runs("smoke", tmp_path).itertuples()
    assert f"at iteration 6 of {CONFIG.run_id}; whole epochs in its checkpoint: 1" in run.error
    assert (run.status, run.score) == ("diverged", -math.inf)
    assert files(folder).keys() == {"checkpoint.pt", "history.csv", "run.json"}
    assert history(run).iteration.tolist() == [4, 5, 8]
    folder = train(REPORT, SETS, runs=tmp_path, progress=False)
    weights = load_file(folder / WEIGHTS)
    assert (weights["down_norm_outer.running_var"] > 65_504).all()
    assert weights["stem.weight"].dtype == torch.float16
    with pytest.raises(BadInput, match="is of another network"):
        load_weights(build_network(replace(REPORT, aspp_rates=None)), folder)


@pytest.mark.parametrize(
    ("config", "images"), [(CONFIG, 33), (CONFIG, 40), (REPORT, 33), (LIVE, 40)]
)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_byte(config, images, tmp_path):
    """Of 33 images the last is trained with the batch before it: batch norm needs two."""
    data = [SETS[0].subset(range(images)), *SETS[1:]]

    leftover = tmp_path / "stopped" / config.profile / config.run_id / ".x-unfinished-1.pt"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"of a killed process")
    expected = files(train(config, data, runs=tmp_path, progress=False))
    stopped = {"runs": tmp_path / "stopped", "progress": False}
    with pytest.raises(ZeroDivisionError):
        train(config, data, **stopped, watch=lambda run: run.epochs and 1 / 0)
    assert (leftover.parent / "checkpoint.pt").is_file()
    resumed = files(train(config, data, **stopped))
    del expected["run.json"], resumed["run.json"]  # they say how long it took
    assert resumed == expected


@pytest.mark.parametrize("warm_up", [0.1, 0.2])
def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(warm_up):
    def cosine(share):
        return 4 * (1 + math.cos(math.pi * share))

    rates = [learning_rate(step, 1000, 8.0, warm_up) for step in range(1, 1001)]
    assert rates[249 * int(warm_up * 10) // 10] == pytest.approx(cosine(warm_up / 4) / 4, rel=0.05)
    assert rates[int(1000 * warm_up) - 1] == pytest.approx(cosine(warm_up))
    assert rates[499] == pytest.approx(4.0)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert learning_rate(7, 1000, 8.0, None) == 8.0


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (32, 16, 1, 1), (16, 32, 2, 2)])
def test_muon_is_torchs(shape):
    """On the same gradients, kernels as matrices: in bfloat16 to the bit."""
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=draws)
    gradients = [torch.randn(shape, generator=draws) for _ in range(5)]
    first, inner, last = (nn.Conv2d(1, 1, 1) for _ in range(3))
    inner.weight, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    ours = MuonAndAdamW(nn.Sequential(first, inner, last), 1e-2, torch.bfloat16)
    theirs = torch.optim.Muon([matrix], lr=0.15, weight_decay=0, momentum=0.9)
    for gradient in gradients:
        inner.weight.grad, matrix.grad = gradient.clone(), gradient.flatten(1).clone()
        ours.step()
        theirs.step()
    assert torch.equal(inner.weight.flatten(1), matrix)
    assert len(ours.param_groups[1]["params"]) == 1, "the first and the last are AdamW's"
