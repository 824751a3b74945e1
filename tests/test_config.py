"""What a recipe feeds, asks for and reads back; what names a run."""

import json
import math
from dataclasses import fields, replace
from itertools import combinations

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
    bands = [(25, 85), (65, 135), (115, 185), (165, 230), (210, math.inf)]
    assert [c.band for c in SHAPES5] == bands
    assert [c.band for c in COCO3] == bands[:3]
    assert len({c.color for c in class_specs("abcdefg")}) == 7


def test_inputs_and_targets():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    assert REPORT.inputs(images, "shapes5").ravel().tolist() == [0, 51, 255]
    for recipe, dataset in ((REPORT, "scenes3"), (CORRECTED, "shapes5"), (CORRECTED, "coco3")):
        inputs = recipe.inputs(images, dataset).ravel().tolist()
        assert inputs == pytest.approx([-1, -0.6, 1], abs=1e-6)
    masks = np.eye(5, dtype=bool)[None, :, None, :]  # class c at column c
    assert REPORT.targets(masks, SHAPES5).sum((0, 2, 3)).tolist() == [50, 100, 150, 200, 250]
    assert CORRECTED.targets(masks, SHAPES5).sum().item() == 5


def test_masks_are_read_back_from_outputs():
    edges = torch.tensor([25.0, 26, 84, 85, 70]).expand(1, 5, 1, 5)
    decoded = REPORT.decode(edges, SHAPES5)[0, :, 0].int().tolist()
    assert decoded[0] == [0, 1, 1, 0, 1]  # 25 < x < 85
    assert decoded[1] == [0, 0, 1, 1, 1]  # 65 < x < 135: 70 and 84 lie in both bands
    assert REPORT.decode(torch.full((1, 5, 1, 1), 1e9), SHAPES5).sum() == 1  # the last is open
    output = torch.tensor([0.49, 0.5, 0.51]).reshape(1, 3, 1, 1)
    assert CORRECTED.decode(output, COCO3).ravel().tolist() == [False, False, True]
    # Of logits, those above 0 mean a probability above one half.
    logits = TrainConfig("coco3", "corrected", "bce", 4e-3).settings
    assert logits.decode(output - 0.5, COCO3).ravel().tolist() == [False, False, True]
    masks = np.random.default_rng(0).random((2, 5, 8, 8)) < 0.3
    for recipe in (REPORT, CORRECTED):
        assert np.array_equal(recipe.decode(recipe.targets(masks, SHAPES5), SHAPES5), masks)


def test_run_id_is_readable():
    config = TrainConfig("shapes5", "report", "mse_dice", 1e-4, 60)
    assert config.run_id == "shapes5-report-mse_dice-lr1e-04-lambda60-seed0"
    other = TrainConfig("scenes3", "corrected", "mse", 3e-3, seed=2, aspp_rates=None, epochs=3)
    assert other.run_id == "scenes3-corrected-mse-lr3e-03-asppnone-epochs3-seed2"


OTHERS = {
    "dataset": ["coco3", "own+cat", "own+hot dog+cat"],
    "learning_rate": [0.00401, 1e-30, np.float32(1 / 3)],
    "coefficient": [0.0, 0.1, 1 / 3],
    "seed": [1, np.int64(2)],
    "epochs": [1, 2],
    "aspp_rates": [None, [1], (np.int64(2), 46)],
    "skip_connections": [False],
    "copy_across": [False],
    "head": ["report", "resize"],
    "augment": [True],
    "network": ["unet"],
    "start": ["laptop/a", "laptop/b"],
}


def test_a_configuration_survives_json_and_no_two_share_a_name():
    usual = TrainConfig("shapes5", "corrected", "mse_dice", 4e-3, 20.0)
    changes = [{name: value} for name, values in OTHERS.items() for value in values]
    of_munet = {"aspp_rates", "skip_connections", "copy_across", "head"}  # a U-Net has none
    pairs = [one | other for one, other in combinations(changes, 2) if {*one} != {*other}]
    pairs = [pair for pair in pairs if not ("network" in pair and of_munet & {*pair})]
    configs = [usual, *(replace(usual, **change) for change in [*changes, *pairs])]
    configs += [replace(c, loss="bce_dice") for c in configs]
    configs += [replace(usual, loss=loss, coefficient=None) for loss in ("mse", "dice", "bce")]
    assert len({c.run_id for c in configs}) == len(configs)
    for c in configs:
        assert {field.name for field in fields(c)} == c.to_dict().keys()
        assert TrainConfig(**json.loads(json.dumps(c.to_dict()))) == c


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "revised"}, "'revised'"),
        ({"loss": "focal"}, "'focal'"),
        ({"loss": "bce"}, "--recipe corrected"),
        ({"profile": "huge"}, "'huge'"),
        ({"network": "vgg"}, "'vgg'"),
        ({"head": "foo"}, "'foo'"),
        ({"network": "unet", "head": "resize"}, "'resize'"),
        ({"aspp_rates": ()}, r"got \(\)"),
        ({"start": 5}, "a text, got 5"),
        ({"learning_rate": math.nan}, "nan"),
        ({"coefficient": 20}, "coefficient 20"),
        ({"loss": "mse_dice"}, "coefficient None"),
        ({"loss": "mse_dice", "coefficient": math.inf}, "inf"),
        ({"epochs": 0}, "got 0"),
        ({"seed": 1.5}, "got 1.5"),
        ({"seed": 2**63}, "below 2"),
        *(
            ({"dataset": f"{name}"}, "is not one of")
            for name in ("coco", "own+", "own+cat+cat", "own+a/b", "own+a:b", "own+a\nb")
        ),
    ],
)
def test_what_cannot_be_run_is_quoted(change, message):
    usual = {"dataset": "shapes5", "recipe": "report", "loss": "mse", "learning_rate": 1e-4}
    with pytest.raises(BadInput, match=message):
        TrainConfig(**{**usual, **change})


def test_a_set_of_ones_own_is_called_by_its_classes():
    assert dataset_of(["pizza", "cat", "bus"]) == "coco3"
    assert dataset_of(["cat", "pizza"]) == "own+cat+pizza"
    assert [spec.name for spec in classes_of("own+hot dog")] == ["hot dog"]
    assert family_of("own+hot dog") == "coco"
