"""SAM-tiny: its model, its data, its objective and its training."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.sam import tiny as sam_tiny_model
from seghw.sam import train_tiny as sam_tiny_data
from seghw.sam import train_tiny as sam_tiny_training
from seghw.sam.predictor import load_sam, segment_boxes
from seghw.sam.prompts import find_objects
from seghw.sam.tiny import Batch, Pool, mask_loss, normalize, objective
from seghw.sam.train_tiny import Training


@pytest.fixture(scope="module")
def data() -> SegmentationSet:
    return shapes.generate(30, seed=0)


@pytest.fixture(scope="module")
def pool(data) -> Pool:
    return Pool(data, shapes.generate(5, seed=7))


@pytest.fixture
def few(monkeypatch) -> None:
    """Steps that take a moment."""
    monkeypatch.setattr(sam_tiny_model, "IMAGES_A_BATCH", 2)
    monkeypatch.setattr(sam_tiny_training, "best_device", lambda: torch.device("cpu"))


# -- the model ----------------------------------------------------------------------------------


def test_prompts_and_image_share_standard_normal_frequencies_that_are_frozen():
    model = sam_tiny_model.build()
    shared = model.shared_image_embedding.positional_embedding
    assert model.prompt_encoder.shared_embedding.positional_embedding is shared
    assert not shared.requires_grad
    assert shared.shape == (2, 32)
    assert 0.7 < shared.std() < 1.3
    # A click on the middle of a token is encoded as the token itself.
    tokens = model.get_image_wide_positional_embeddings()[0, :, 3, 5]
    click = model.shared_image_embedding(torch.tensor([5 * 4 + 2.0, 3 * 4 + 2.0]) / 64)
    torch.testing.assert_close(click, tokens)


def test_the_seed_decides_the_weights_and_leaves_the_global_one_alone():
    state = torch.random.get_rng_state()
    one, same, other = (sam_tiny_model.build(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(one[name], other[name])


def test_it_is_small():
    model = sam_tiny_model.build()
    assert sum(weight.numel() for weight in model.parameters()) < 2_000_000


# -- the data -----------------------------------------------------------------------------------


def test_pixels_are_normalized_as_the_processor_does(data):
    inputs = sam_tiny_model.processor()(
        images=list(data.images[:3]), input_data_format="channels_first", return_tensors="pt"
    )
    torch.testing.assert_close(normalize(data.images[:3]), inputs["pixel_values"])


def test_a_batch_holds_objects_of_its_images(data, pool):
    batch = pool.draw(np.random.default_rng(3), torch.device("cpu"))
    assert batch.pixels.shape == (16, 3, 64, 64)
    assert batch.masks.shape == (16, 2, 64, 64)
    assert batch.boxes.shape == (16, 2, 4)
    objects = find_objects(data)
    for n in range(16):
        for mask, box in zip(batch.masks[n], batch.boxes[n], strict=True):
            rows, columns = np.nonzero(mask.numpy())
            assert box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    assert len(objects) <= len(pool.image)


def test_half_of_the_batches_are_mirrored(pool):
    known = {row.tobytes() for row in normalize(pool.images).numpy()}
    mirrored = []
    for seed in range(20):
        batch = pool.draw(np.random.default_rng(seed), torch.device("cpu"))
        mirrored.append(batch.pixels[0].numpy().tobytes() not in known)
        if mirrored[-1]:
            assert batch.pixels[0].flip(-1).numpy().tobytes() in known
    assert 3 <= sum(mirrored) <= 17


def test_the_seeds_are_those_of_the_network():
    from seghw.config import SPLITS

    assert {split: i for i, split in enumerate(SPLITS)} == sam_tiny_data.SEEDS


# -- the objective ------------------------------------------------------------------------------


def test_the_mask_loss_by_hand():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    unsure = mask_loss(torch.zeros(1, 3, 2, 2), target)
    # Entropy log 2 a pixel; Dice (2 * 1 + 1) / (2 + 2 + 1).
    expected = torch.full((1, 3), 5 * np.log(2) + 1 - 3 / 5)
    torch.testing.assert_close(unsure, expected)
    torch.testing.assert_close(mask_loss(100 * (2 * target - 1), target), torch.zeros(1, 1))


class _Answers(torch.nn.Module):
    """Stands for the model: writes down what it is asked and gives what it is told."""

    def __init__(self, proposals: torch.Tensor, iou: torch.Tensor) -> None:
        super().__init__()
        self.proposals, self.iou, self.asked = proposals, iou, []

    def vision_encoder(self, pixels):
        return SimpleNamespace(last_hidden_state=pixels)

    def forward(self, image_embeddings, multimask_output, **prompts):
        self.asked.append(prompts)
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return SimpleNamespace(
            pred_masks=self.proposals[:, :, chosen], iou_scores=self.iou[:, :, chosen]
        )


@pytest.fixture
def square() -> Batch:
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., 10:20, 30:40] = 1
    return Batch(torch.zeros(1, 3, 64, 64), masks, torch.tensor([[[30.0, 10, 39, 19]]]))


def test_the_objective_takes_the_best_proposal_and_the_true_iou(square):
    right = 40 * square.masks - 20  # (1, 1, 64, 64), logits of the truth
    half = right.clone()
    half[..., 10:15, :] = -20  # IoU 0.5
    proposals = torch.stack((right, -right, half, right), dim=2)
    iou = torch.tensor([[[1.0, 0.0, 0.5, 1.0]]])
    terms = objective(_Answers(proposals, iou), square, torch.Generator().manual_seed(0))
    assert terms.total == pytest.approx(0, abs=1e-4)
    # One of three proposals that trusts itself 0.3 too much: 0.3 ** 2 / 3.
    iou[0, 0, 2] = 0.8
    terms = objective(_Answers(proposals, iou), square, torch.Generator().manual_seed(0))
    assert terms.iou == pytest.approx(0.03, abs=1e-4)
    assert terms.total == pytest.approx(0.03, abs=1e-4)
    # The token for several clicks and boxes is the first, the proposals are the other three.
    proposals = torch.stack((half, -right, half, right), dim=2)
    terms = objective(_Answers(proposals, iou), square, torch.Generator().manual_seed(0))
    wrong = mask_loss(half[:, :, None], square.masks[:, :, None]).item()
    assert terms.box == pytest.approx(wrong)
    assert terms.further == pytest.approx(wrong)
    assert terms.click == pytest.approx(0, abs=1e-4)


def test_further_clicks_fall_where_the_first_mask_was_wrong(square):
    half = 40 * square.masks - 20
    half[..., 10:15, :] = -20
    half[..., 50, 50:60] = 20
    answers = _Answers(half[:, :, None].expand(-1, -1, 4, -1, -1), torch.zeros(1, 1, 4))
    counts = set()
    for seed in range(12):
        objective(answers, square, torch.Generator().manual_seed(seed))
        boxes, first, further = answers.asked[-3:]
        box = boxes["input_boxes"]
        assert (box - square.boxes).abs().max() <= 1
        x, y = first["input_points"][0, 0, 0].tolist()
        assert square.masks[0, 0, int(y), int(x)] == first["input_labels"].item() == 1
        points, labels = further["input_points"][0, 0], further["input_labels"][0, 0]
        assert points[0].tolist() == [x, y]
        counts.add(len(points))
        for (x, y), label in zip(points[1:].int().tolist(), labels[1:].tolist(), strict=True):
            assert label == square.masks[0, 0, y, x]
            assert (half[0, 0, y, x] > 0) != bool(label)
    assert counts == {2, 3, 4, 5}
    boxes = torch.cat([prompts["input_boxes"] for prompts in answers.asked[::3]])
    untouched = (boxes == square.boxes).all(-1).float().mean()
    assert 0.2 < untouched < 0.9


def test_a_step_reduces_the_loss_on_one_batch(pool):
    model = sam_tiny_model.build()
    batch = pool.draw(np.random.default_rng(0), torch.device("cpu"))
    batch = Batch(*(part[:2] for part in batch))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(6):
        terms = objective(model, batch, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        losses.append(terms.total.item())
        torch.testing.assert_close(sum(terms[1:]), terms.total)
    assert losses[-1] < 0.9 * losses[0]


# -- the training -------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_an_interrupted_training_ends_with_the_same_weights(pool, tmp_path):
    whole = Training(pool, tmp_path / "whole", steps=4)
    while whole.share < 1:
        whole.advance()
    begun = Training(pool, tmp_path / "parts", steps=4)
    for _ in range(2):
        begun.advance()
    begun.save()
    rest = Training(pool, tmp_path / "parts", steps=4)
    assert rest.step == 2
    assert rest.share == 0.5
    while rest.share < 1:
        rest.advance()
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(rest.model.state_dict()[name], weight, rtol=0, atol=0)
    frequencies = rest.model.shared_image_embedding.positional_embedding
    assert rest.model.prompt_encoder.shared_embedding.positional_embedding is frequencies
    with pytest.raises(BadInput, match="begun with seed 0"):
        Training(pool, tmp_path / "parts", steps=4, seed=1)


@pytest.mark.usefixtures("few")
def test_the_learning_rate_warms_up_and_falls_to_nothing(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(sam_tiny_training, "WARM_UP", 2)
    training = Training(pool, tmp_path, steps=4)
    rates = []
    for _ in range(4):
        training.advance()
        rates.append(training.optimizer.param_groups[0]["lr"] / 1.5e-3)
    half_cosine = [(1 + np.cos(np.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)]
    np.testing.assert_allclose(rates, np.multiply([0.5, 1, 1, 1], half_cosine))


@pytest.mark.parametrize("length", [{}, {"minutes": 1, "steps": 1}, {"minutes": 0}, {"steps": -1}])
def test_a_training_needs_one_length(pool, tmp_path, length):
    with pytest.raises(BadInput, match="either minutes or steps"):
        Training(pool, tmp_path, **length)


@pytest.mark.usefixtures("few")
def test_the_command_writes_what_load_sam_reads(tmp_path, monkeypatch, capsys, data):
    def drawn(split: str) -> dict[str, SegmentationSet]:
        return {"shapes": data.subset(slice(0, 3)), "scenes": data.subset(slice(3, 6))}

    monkeypatch.setattr(sam_tiny_training, "drawn", drawn)
    out = tmp_path / "sam-tiny"
    assert sam_tiny_training.main(["--steps", "2", "--out", str(out)]) == 0
    files = {path.name for path in out.iterdir()}
    assert files == {"model.safetensors", "config.json", "processor_config.json", "record.json"}
    record = json.loads((out / "record.json").read_text())
    assert record["steps"] == record["history"][-1]["step"] == 2
    assert record["scores"]["shapes"]["objects"] == len(find_objects(drawn("")["shapes"]))
    for table in record["scores"].values():
        for name in ("box_filled", "box", "click_1", "click_3", "click_5"):
            assert 0 <= table[name]["low"] <= table[name]["mean"] <= table[name]["high"] <= 1
    assert json.loads(capsys.readouterr().out) == record["scores"]

    opened = load_sam(out, device=torch.device("cpu"))
    assert record["name"] == "SAM-tiny, trained here"
    assert segment_boxes(opened, data.images[0], [[0, 0, 9, 9]]).masks.shape == (1, 64, 64)

    assert sam_tiny_training.main(["--steps", "2", "--out", str(out)]) == 2
    assert "holds a trained model" in capsys.readouterr().err

    refined = ["--steps", "1", "--seed", "1", "--out", str(tmp_path / "refined")]
    assert sam_tiny_training.main([*refined, "--start", str(tmp_path / "nowhere")]) == 2
    assert "nowhere holds no trained SAM-tiny" in capsys.readouterr().err
    assert sam_tiny_training.main([*refined, "--start", str(out)]) == 0
    later = json.loads((tmp_path / "refined" / "record.json").read_text())
    assert (later["steps"], later["refines"]["steps"]) == (1, 2)
    assert later["peak_learning_rate"] == record["peak_learning_rate"] / 2
    assert later["refines"]["scores"] == record["scores"]


def test_refining_begins_with_the_trained_weights(pool, tmp_path):
    trained = sam_tiny_model.build(seed=5)
    trained.save_pretrained(tmp_path / "trained")
    refining = Training(pool, tmp_path / "new", steps=1, seed=6, start=tmp_path / "trained")
    for name, weight in trained.state_dict().items():
        torch.testing.assert_close(refining.model.state_dict()[name], weight, rtol=0, atol=0)
    frequencies = refining.model.shared_image_embedding.positional_embedding
    assert refining.model.prompt_encoder.shared_embedding.positional_embedding is frequencies


def test_a_share_of_the_boxes_is_moved(pool):
    boxes = pool.draw(np.random.default_rng(0), torch.device("cpu")).boxes.repeat(40, 1, 1)
    for share in (0.0, 0.1, 0.5):
        moved = sam_tiny_model._moved(boxes, share, torch.Generator().manual_seed(0))
        # A small box may be moved by less than half a pixel, which leaves it where it is.
        found = (moved != boxes).any(dim=-1).float().mean().item()
        assert 0.7 * share <= found <= 1.2 * share
