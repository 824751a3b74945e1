"""What a recipe feeds, asks for and reads back; what names a run."""

import math

import numpy as np
import pytest
import torch

from seghw.config import (
    COCO3,
    CORRECTED,
    REPORT,
    SHAPES5,
    TrainConfig,
    class_specs,
    classes_of,
    dataset_of,
    family_of,
)
from seghw.errors import BadInput


def test_values_and_bands_are_dlstudios():
    assert [c.value for c in SHAPES5] == [50, 100, 150, 200, 250]
    assert [c.band for c in SHAPES5] == [
        (25, 85), (65, 135), (115, 185), (165, 230), (210, math.inf),
    ]  # fmt: skip
    assert [c.band for c in COCO3] == [(25, 85), (65, 135), (115, 185)]
    assert len({c.color for c in class_specs("abcdefg")}) == 7


def test_inputs():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    assert REPORT.inputs(images, "shapes5").ravel().tolist() == [0, 51, 255]
    for recipe, dataset in ((REPORT, "scenes3"), (CORRECTED, "shapes5"), (CORRECTED, "coco3")):
        got = recipe.inputs(images, dataset).ravel().tolist()
        assert got == pytest.approx([-1, -0.6, 1], abs=1e-6)


def test_targets():
    masks = np.eye(5, dtype=bool)[None, :, None, :]  # class c at column c
    assert REPORT.targets(masks, SHAPES5).sum((0, 2, 3)).tolist() == [50, 100, 150, 200, 250]
    assert CORRECTED.targets(masks, SHAPES5).sum().item() == 5


def test_bands_are_open_and_each_plane_has_its_own():
    edges = torch.tensor([25.0, 26, 84, 85, 70]).expand(1, 5, 1, 5)
    found = REPORT.decode(edges, SHAPES5)[0, :, 0].int().tolist()
    assert found[0] == [0, 1, 1, 0, 1]  # 25 < x < 85
    assert found[1] == [0, 0, 1, 1, 1]  # 65 < x < 135: 70 and 84 lie in both
    assert found[4] == [0, 0, 0, 0, 0]
    assert REPORT.decode(torch.full((1, 5, 1, 1), 1e9), SHAPES5).ravel().tolist() == [False] * 4 + [
        True
    ]


def test_threshold():
    output = torch.tensor([0.49, 0.5, 0.51]).reshape(1, 3, 1, 1)
    assert CORRECTED.decode(output, COCO3).ravel().tolist() == [False, False, True]


@pytest.mark.parametrize("recipe", [REPORT, CORRECTED])
def test_decoding_a_perfect_target_gives_the_mask(recipe):
    masks = np.random.default_rng(0).random((2, 5, 8, 8)) < 0.3
    assert np.array_equal(recipe.decode(recipe.targets(masks, SHAPES5), SHAPES5).numpy(), masks)


def test_run_id_is_readable():
    config = TrainConfig("shapes5", "report", "mse_dice", 1e-4, 60)
    assert config.run_id == "shapes5-report-mse_dice-lr1e-04-lambda60-seed0"
    other = TrainConfig("scenes3", "corrected", "mse", 3e-3, seed=2, aspp_rates=None, epochs=3)
    assert other.run_id == "scenes3-corrected-mse-lr3e-03-asppnone-epochs3-seed2"


@pytest.mark.parametrize("rates", [None, (1, 2, 4)])
def test_a_configuration_survives_json(rates):
    import json

    config = TrainConfig("shapes5", "report", "mse", 1e-4, aspp_rates=rates)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "coco"}, "'coco' is not one of"),
        ({"recipe": "revised"}, "'revised'"),
        ({"loss": "bce"}, "'bce'"),
        ({"profile": "huge"}, "'huge'"),
        ({"learning_rate": -1}, "-1"),
        ({"learning_rate": math.nan}, "nan"),
        ({"coefficient": 20}, "coefficient 20"),
        ({"loss": "mse_dice"}, "coefficient None"),
        ({"epochs": 0}, "got 0"),
    ],
)
def test_what_cannot_be_run_is_quoted(change, message):
    fields = {"dataset": "shapes5", "recipe": "report", "loss": "mse", "learning_rate": 1e-4}
    with pytest.raises(BadInput, match=message):
        TrainConfig(**{**fields, **change})


@pytest.mark.parametrize("name", ["own+", "own+cat+cat", "own+a/b", "own+..\\b", "own+a:b", "mine"])
def test_names_that_are_no_set_of_one_s_own(name):
    with pytest.raises(BadInput, match="is not one of"):
        TrainConfig(name, "corrected", "mse", 4e-3)


def test_a_set_of_one_s_own_is_called_by_its_classes():
    assert dataset_of(["pizza", "cat", "bus"]) == "coco3"
    assert dataset_of(["cat", "pizza"]) == "own+cat+pizza"
    assert [spec.name for spec in classes_of("own+hot dog")] == ["hot dog"]
    assert family_of("own+hot dog") == "coco"
