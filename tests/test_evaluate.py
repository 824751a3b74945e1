"""From a network to masks, scores and a table."""

import csv

import numpy as np
import pytest
import torch

from seghw import metrics
from seghw.config import CORRECTED, REPORT, SHAPES5, TrainConfig
from seghw.data import shapes
from seghw.evaluate import outputs, predict
from seghw.results import evaluate_run
from seghw.threads import available_cores, threads_for
from seghw.train import build_network


@pytest.fixture(scope="module")
def data():
    return shapes.generate(10, seed=5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(TrainConfig("shapes5", "corrected", "mse", 1e-3, profile="smoke"))


def test_batches_do_not_matter(network, data):
    whole, parts = (
        torch.cat(list(outputs(network, data.images, CORRECTED, "shapes5", size)))
        for size in (10, 3)
    )
    assert torch.allclose(whole, parts, atol=1e-5)


def test_the_network_is_left_as_it_came(network, data):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict(network, data.images, CORRECTED, "shapes5")
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


class Oracle(torch.nn.Module):
    """A network that answers with a fixed target."""

    def __init__(self, target: torch.Tensor) -> None:
        super().__init__()
        self.target = torch.nn.Parameter(target)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.target[: len(x)]


@pytest.mark.parametrize("recipe", [REPORT, CORRECTED])
def test_a_perfect_network_scores_one(recipe, data):
    oracle = Oracle(recipe.targets(data.masks, SHAPES5))
    masks = predict(oracle, data.images, recipe, "shapes5")
    assert masks.dtype == np.bool_
    assert np.array_equal(masks, data.masks)


def test_every_fourth_pixel_of_the_truth_scores_a_quarter(data):
    """The report's ceiling, from the decoding's side: right everywhere that can be painted."""
    paintable = np.zeros_like(data.masks)
    paintable[:, :, ::2, ::2] = data.masks[:, :, ::2, ::2]
    found = metrics.iou(metrics.count(paintable, data.masks))
    assert found == pytest.approx(0.25, abs=0.02)


def test_the_table_has_a_row_an_image(smoke_run, data, tmp_path):
    found = evaluate_run(smoke_run, data)
    found.write_table(tmp_path / "images.csv")
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["image"]) for row in rows] == list(range(10))
    assert int(rows[3]["true_disk"]) == data.masks[3, 2].sum()
    for row, score in zip(rows, found.image_iou, strict=True):
        assert row["mean_iou"] == ("" if np.isnan(score) else f"{score:.4f}")


class Watched(torch.nn.Module):
    """Notes on how many threads it computes."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(parameters))
        self.seen = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(torch.get_num_threads())
        return x


@pytest.mark.parametrize(
    ("parameters", "users", "expected"), [(10, None, 1), (10, "3", 3), (1_000_000, None, 3)]
)
def test_a_small_network_computes_on_one_thread(parameters, users, expected, data, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    model, before = Watched(parameters), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        list(outputs(model, data.images[:2], CORRECTED, "shapes5"))
        assert model.seen == [expected]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("users", "expected"), [(None, available_cores()), ("3", 3)])
def test_who_watches_gets_every_core_unless_the_user_has_decided(users, expected, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threads_for(torch.nn.Linear(2, 2), every_core=True):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
