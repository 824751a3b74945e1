"""From a network to masks, counts and scores; on how many threads."""

import numpy as np
import pytest
import torch

from seghw import metrics
from seghw.config import CORRECTED, REPORT, SHAPES5, TrainConfig
from seghw.data import shapes
from seghw.devices import available_cores, threads_for
from seghw.evaluate import Evaluation, count_tables, outputs, predict
from seghw.train import build_network

DATA = shapes.generate(10, seed=5)


def test_batches_do_not_matter_and_the_network_is_left_as_it_came():
    network = build_network(TrainConfig("shapes5", "corrected", "mse", 1e-3, profile="smoke"))
    before = {name: value.clone() for name, value in network.train().state_dict().items()}
    at_once, in_parts = (
        torch.cat(list(outputs(network, DATA.images, CORRECTED, "shapes5", size)))
        for size in (10, 3)
    )
    assert torch.allclose(at_once, in_parts, atol=1e-5)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("recipe", [REPORT, CORRECTED])
def test_a_perfect_network_scores_one_and_every_fourth_pixel_a_quarter(recipe):
    target, oracle = recipe.targets(DATA.masks, SHAPES5), torch.nn.BatchNorm2d(1)
    oracle.forward = lambda x: target[: len(x)]
    masks = predict(oracle, DATA.images, recipe, "shapes5")
    assert np.array_equal(masks, DATA.masks)
    assert Evaluation(None, DATA, masks).iou == 1
    # The report's ceiling, from the decoding's side: right everywhere that can be predicted.
    quarter = np.zeros_like(masks)
    quarter[:, :, ::2, ::2] = masks[:, :, ::2, ::2]
    assert Evaluation(None, DATA, quarter).iou == pytest.approx(0.25, abs=0.02)


def test_scores_of_an_evaluation_by_hand():
    masks = DATA.masks.copy()
    masks[0], masks[1, 0] = False, True
    evaluation = Evaluation(None, DATA, masks)
    assert evaluation.image_iou[0] == 0
    # A class that the second image may lack is predicted all over it; the others are right.
    share = DATA.masks[1, 0].mean()
    present = DATA.masks[1, 1:].any((1, 2)).sum()
    assert evaluation.image_iou[1] == pytest.approx((share + present) / (1 + present))
    assert evaluation.image_iou[2:].tolist() == [1] * 8
    assert evaluation.table().mean_iou.tolist() == evaluation.image_iou.tolist()
    assert evaluation.table().true_disk[3] == DATA.masks[3, 2].sum()


@pytest.mark.parametrize("recipe", ["report", "corrected"])
def test_counts_on_disk_are_those_of_the_metrics(recipe):
    masks = np.random.default_rng(0).random(DATA.masks.shape) < 0.5
    tables = count_tables(masks, DATA, TrainConfig("shapes5", recipe, "mse", 1e-3))
    assert np.array_equal(tables["pixels"], metrics.count(masks, DATA.masks))
    assert np.array_equal(tables["boundary"], metrics.count_boundary(masks, DATA.masks, 2))
    step = 2 if recipe == "report" else 1
    predicted, true = masks[:, :, ::step, ::step], DATA.masks[:, :, ::step, ::step]
    assert ("predictable_pixels" in tables) == (step == 2)
    if step == 2:
        assert np.array_equal(tables["predictable_pixels"], metrics.count(predicted, true))
    # Every true pixel that can be predicted lies inside or at the edge.
    parts = tables["inside"].astype(int) + tables["edge"]
    assert np.array_equal(parts[..., 0], metrics.pixels(true))
    assert np.array_equal(parts[..., 1], metrics.pixels(true & predicted))


def test_small_networks_compute_on_one_thread_and_watched_ones_on_all(monkeypatch):
    """As many as the user says, if watched; afterwards it is as before."""
    small, seen, every = torch.nn.Identity(), [], {"every_core": True}
    torch.set_num_threads(3)
    for users, options in ((None, {}), (None, every), ("3", {}), ("3", every)):
        with monkeypatch.context() as patch:
            patch.delenv("OMP_NUM_THREADS", raising=False)
            if users:
                patch.setenv("OMP_NUM_THREADS", users)
            with threads_for(small, **options):
                seen.append(torch.get_num_threads())
    seen.append(torch.get_num_threads())
    torch.set_num_threads(1)
    assert seen == [1, available_cores(), 1, 3, 3]
