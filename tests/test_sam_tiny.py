"""What made SAM-tiny, ``data/sam-tiny/train.py``: its model, its objective and its training."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seghw.data import shapes
from seghw.sam import SAM_TINY, load_sam, segment_boxes


@pytest.fixture
def script(monkeypatch):
    """The script as a module, with steps that take a moment."""
    spec = importlib.util.spec_from_file_location("train_sam_tiny", SAM_TINY / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "IMAGES_A_BATCH", 2)
    monkeypatch.setattr(module, "best_device", lambda: torch.device("cpu"))
    return module


def test_the_model_is_that_which_is_shipped(script):
    """With SAM's shared, frozen frequencies."""
    state = torch.random.get_rng_state()
    model, shipped = script.build(1), load_sam().model
    assert torch.equal(torch.random.get_rng_state(), state)
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        ours, theirs = (getattr(m.config, part).to_dict() for m in (model, shipped))
        assert ours | {"dtype": "float32"} == theirs
    frequencies = model.shared_image_embedding.positional_embedding
    assert model.prompt_encoder.shared_embedding.positional_embedding is frequencies
    assert not frequencies.requires_grad


def test_the_objective_by_hand(script):
    """Best proposal for a click, the first token for a box and several clicks, the true IoU."""
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., 10:20, 30:40] = 1
    batch = script.Batch(torch.zeros(1, 3, 64, 64), masks, torch.tensor([[[30.0, 10, 39, 19]]]))
    right = 40 * masks - 20
    half = right.clone()
    half[..., 10:15, :] = -20  # IoU 0.5

    def loss(first: torch.Tensor, iou: list[float]) -> float:
        proposals = torch.stack((first, -right, half, right), dim=2)

        def model(image_embeddings, multimask_output, **_):
            chosen = slice(1, None) if multimask_output else slice(0, 1)
            scores = torch.tensor([[iou]])[..., chosen]
            return SimpleNamespace(pred_masks=proposals[:, :, chosen], iou_scores=scores)

        model.vision_encoder = lambda pixels: SimpleNamespace(last_hidden_state=pixels)
        return script.objective(model, batch, torch.Generator().manual_seed(0), 0.5).item()

    assert loss(right, [1.0, 0.0, 0.5, 1.0]) == pytest.approx(0, abs=1e-4)
    # One of three proposals that trusts itself 0.3 too much: 0.3 ** 2 / 3.
    assert loss(right, [1.0, 0.0, 0.8, 1.0]) == pytest.approx(0.03, abs=1e-4)
    wrong = script.mask_loss(half[:, :, None], masks[:, :, None]).item()
    assert loss(half, [0.5, 0.0, 0.5, 1.0]) == pytest.approx(2 * wrong, abs=1e-4)
    # Entropy log 2 a pixel, five times; Dice (2 * 1 + 1) / (2 + 2 + 1).
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    unsure = script.mask_loss(torch.zeros(1, 1, 2, 2), target).item()
    assert unsure == pytest.approx(5 * np.log(2) + 1 - 3 / 5)


def test_the_command_writes_what_load_sam_reads(script, tmp_path, monkeypatch, capsys):
    data = shapes.generate(6, seed=0)
    drawn = {"shapes": data.subset(slice(0, 3)), "scenes": data.subset(slice(3, 6))}
    monkeypatch.setattr(script, "drawn", lambda split: drawn)
    out, refined = tmp_path / "out", tmp_path / "refined"
    script.main(["--steps", "2", "--out", str(out)])
    assert {path.name for path in tmp_path.iterdir()} == {"out"}, "no checkpoint is left"
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert record["steps"] == record["history"][-1]["step"] == 2
    assert record["scores"].keys() == drawn.keys()
    masks = segment_boxes(load_sam(out), data.images[0], [[0, 0, 9, 9]]).masks
    assert masks.shape == (1, 64, 64)
    script.main(["--steps", "1", "--seed", "1", "--start", str(out), "--out", str(refined)])
    later = json.loads((refined / "record.json").read_text(encoding="utf-8"))
    assert later["refines"]["scores"] == record["scores"]
    for start, complaint in ((out, "is there already"), (tmp_path / "x", "no trained SAM-tiny")):
        with pytest.raises(SystemExit):
            script.main(["--steps", "1", "--start", str(start), "--out", str(start)])
        assert complaint in capsys.readouterr().err
