"""The committed run records: whole, on one set, as good as claimed, and repeatable."""

from itertools import islice

import pytest
import torch

from seghw import metrics
from seghw.config import COEFFICIENTS, DRAWN, RUNS, SEEDS, TrainConfig
from seghw.data.splits import open_split
from seghw.report.stats import counts_of
from seghw.runs import history, load_runs
from seghw.train import Run


@pytest.fixture(scope="module")
def runs():
    return load_runs("laptop")


def test_every_record_is_whole_and_runs_on_one_set_saw_the_same_images(runs):
    assert len(runs) == len(list((RUNS / "laptop").iterdir()))
    assert all(len(history(run)) for run in runs.itertuples())
    assert runs.groupby("dataset").digest.nunique().to_dict() == {"shapes5": 1, "scenes3": 1}


@pytest.mark.parametrize("family", DRAWN)
@pytest.mark.parametrize("recipe", ["report", "corrected"])
@pytest.mark.parametrize("loss", ["mse", "dice", "mse_dice"])
def test_the_best_of_each_group_has_weights_and_scores_as_claimed(runs, family, recipe, loss):
    """Corrected, MSE + Dice predicts 500 unseen images; the report's stays below its ceiling."""
    group = runs[(runs.dataset == DRAWN[family]) & (runs.recipe == recipe) & (runs.loss == loss)]
    group = group[(group.part == "") & group.coefficient.isin((0, *COEFFICIENTS[family]))]
    best = group[group.seed.isin(SEEDS)].sort_values("score").iloc[-1]
    assert (best.folder / "model.safetensors").is_file()
    counts = counts_of(best.folder)["pixels"]
    assert len(counts) == 500
    iou = metrics.iou(counts.sum(0)).mean()
    assert iou <= 0.25 if recipe == "report" else iou >= 0.7


def test_a_committed_run_can_be_repeated(runs, tmp_path):
    """Its first 50 iterations, trained here, against the first row of its history.

    Another processor sums in another order, and training amplifies that; over the first logging
    step the mean losses still agree within 2 %, and the last batch's gradients within 10 %.
    """
    config = TrainConfig("shapes5", "corrected", "mse_dice", 4e-3, 20.0, seed=1)
    committed = history(runs[runs.run_id == config.run_id].iloc[0]).iloc[0]
    data = open_split(config, "train")
    run = Run(config, (data, data), tmp_path, torch.device("cpu"))
    steps = [
        run.step(batch, n, measure_gradients=n == 50)
        for n, batch in enumerate(islice(run.order(0), 50), start=1)
    ]
    assert committed.iteration == len(steps)
    means = torch.stack([torch.stack(terms) for terms, _ in steps]).mean(0).tolist()
    assert means == pytest.approx(committed[["loss", "mse", "dice"]].tolist(), rel=0.02)
    norms = steps[-1][1]
    assert norms.mse == pytest.approx(committed.mse_gradient, rel=0.1)
    assert norms.dice == pytest.approx(committed.dice_gradient, rel=0.1)
