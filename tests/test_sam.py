"""The segmenter, held against direct calls of transformers on randomly initialized weights."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seghw.data import shapes
from seghw.errors import BadInput
from seghw.sam import compare as sam
from seghw.sam import predictor as segmenter
from seghw.sam import tiny as sam_tiny_model
from seghw.sam.compare import score_boxes, score_clicks
from seghw.sam.predictor import load_sam, segment_boxes, segment_everything, segment_points
from seghw.sam.prompts import find_objects

BOXES = np.array([[2, 3, 30, 28], [0, 0, 55, 39], [10, 10, 11, 12]])
_NO_LIMIT = {"points_per_side": 6, "pred_iou_thresh": -9, "stability_score_thresh": 0}
POINTS = np.array([[[20, 10]], [[0, 39]], [[55, 0]], [[7, 31]]])


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """56 wide, 40 high: neither the model's side nor a square."""
    return np.random.default_rng(0).integers(0, 256, (3, 40, 56), np.uint8)


def _spread(model: torch.nn.Module) -> torch.nn.Module:
    """Random weights whose masks are neither empty nor full and depend on the prompt."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "positional" in name or "norm" in name:
                continue
            amount = 1.0 if "mask_decoder.transformer" in name else 0.1
            amount = 0.5 if "embed" in name or "token" in name else amount
            weight += amount * torch.randn(weight.shape, generator=generator)
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(300)  # logits far from 0, so that masks are stable
            head.proj_out.bias.mul_(300)
        model.mask_decoder.iou_prediction_head.proj_out.weight.mul_(3)
    return model.eval()


def _small_sam(folder: Path) -> None:
    """SAM with windows, relative positions and an embedding width unlike SAM-tiny's."""
    from transformers import (
        SamConfig,
        SamImageProcessor,
        SamMaskDecoderConfig,
        SamModel,
        SamProcessor,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(0)
    vision = SamVisionConfig(
        image_size=32,
        patch_size=4,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        output_channels=32,
        num_pos_feats=16,
        window_size=3,
        global_attn_indexes=[1],
        initializer_range=0.2,
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
    )
    prompts = SamPromptEncoderConfig(image_size=32, patch_size=4, hidden_size=32)
    config = SamConfig(
        vision_config=vision.to_dict(),
        mask_decoder_config=decoder.to_dict(),
        prompt_encoder_config=prompts.to_dict(),
    )
    _spread(SamModel(config)).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    images = SamImageProcessor(size={"longest_edge": 32}, pad_size=square)
    SamProcessor(images).save_pretrained(folder)


def _small_sam2(folder: Path) -> None:
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2Processor,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    torch.manual_seed(0)
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        window_positional_embedding_background_size=[4, 4],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 2, 2],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    decoder = Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
    )
    prompts = Sam2PromptEncoderConfig(image_size=64, patch_size=16, hidden_size=32)
    config = Sam2Config(
        vision_config=vision.to_dict(),
        mask_decoder_config=decoder.to_dict(),
        prompt_encoder_config=prompts.to_dict(),
    )
    _spread(Sam2Model(config)).save_pretrained(folder)
    images = Sam2ImageProcessor(size={"height": 64, "width": 64})
    Sam2Processor(images).save_pretrained(folder)


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small-sam")
    _small_sam(folder)
    return folder


@pytest.fixture(scope="module")
def blobs_folder(sam_folder, tmp_path_factory) -> Path:
    """The same with small masks here and there, of which an image holds many."""
    model = load_sam(sam_folder, cache=None).model
    with torch.no_grad():
        # One channel becomes a constant, by which the logits sink about 1.5 standard deviations.
        model.mask_decoder.upscale_conv2.weight[:, 0] = 0
        model.mask_decoder.upscale_conv2.bias[0] = 1
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(10)
            head.proj_out.weight[0] = 0
            head.proj_out.bias[0] = -160
        model.mask_decoder.iou_prediction_head.proj_out.bias.add_(1)  # above 0, mostly
    folder = tmp_path_factory.mktemp("blobs")
    model.save_pretrained(folder)
    shutil.copy(sam_folder / "processor_config.json", folder)
    return folder


@pytest.fixture(scope="module", params=["sam", "sam2"])
def folder(request, sam_folder, tmp_path_factory) -> Path:
    if request.param == "sam":
        return sam_folder
    folder = tmp_path_factory.mktemp("small-sam2")
    _small_sam2(folder)
    return folder


@pytest.fixture(scope="module")
def opened(folder):
    return load_sam(folder, cache=None)


@pytest.fixture(scope="module")
def tiny():
    """SAM-tiny with random weights, whether or not trained ones are shipped."""
    model = sam_tiny_model.build()
    return segmenter.Segmenter("tiny", model, sam_tiny_model.processor())


# -- the same as transformers -------------------------------------------------------------------


def _direct(folder: Path, image: np.ndarray, multimask: bool, **prompts):
    """The library called as its documentation shows; all proposals, (K, M, H, W) and (K, M)."""
    import transformers

    names = ("SamModel", "SamProcessor")
    if json.loads((folder / "config.json").read_text())["model_type"] == "sam2":
        names = ("Sam2Model", "Sam2Processor")
    model, processor = (getattr(transformers, n).from_pretrained(folder) for n in names)
    inputs = processor(
        images=image, input_data_format="channels_first", return_tensors="pt", **prompts
    )
    sizes = [inputs.pop("original_sizes")]
    if "reshaped_input_sizes" in inputs:
        sizes.append(inputs.pop("reshaped_input_sizes"))
    with torch.no_grad():
        out = model(**inputs, multimask_output=multimask)
    masks = processor.post_process_masks(out.pred_masks, *sizes)[0]
    return masks.numpy(), out.iou_scores[0].numpy()


def test_boxes_are_those_of_transformers(folder, opened, image):
    masks, scores = _direct(folder, image, False, input_boxes=[BOXES.tolist()])
    found = segment_boxes(opened, image, BOXES)
    assert 0.02 < masks.mean() < 0.98, "trivial masks would prove nothing"
    np.testing.assert_array_equal(found.masks, masks[:, 0])
    np.testing.assert_allclose(found.predicted_iou, scores[:, 0], rtol=1e-4, atol=1e-5)


def test_a_lone_click_takes_the_proposal_that_the_model_trusts_most(folder, opened, image):
    labels = np.ones(POINTS.shape[:2], int).tolist()
    masks, scores = _direct(
        folder, image, True, input_points=[POINTS.tolist()], input_labels=[labels]
    )
    assert masks.shape[:2] == (4, 3)
    found = segment_points(opened, image, POINTS)
    best = scores.argmax(1)
    np.testing.assert_array_equal(found.masks, masks[np.arange(4), best])
    np.testing.assert_allclose(found.predicted_iou, scores.max(1), rtol=1e-4, atol=1e-5)


def test_several_clicks_ask_for_one_mask(folder, opened, image):
    points, labels = np.concatenate([POINTS, POINTS[::-1]], axis=1), [[1, 0]] * 4
    masks, scores = _direct(
        folder, image, False, input_points=[points.tolist()], input_labels=[labels]
    )
    found = segment_points(opened, image, points, labels)
    np.testing.assert_array_equal(found.masks, masks[:, 0])
    np.testing.assert_allclose(found.predicted_iou, scores[:, 0], rtol=1e-4, atol=1e-5)


def test_everything_is_what_the_pipeline_of_transformers_finds(blobs_folder, image):
    from PIL import Image
    from transformers import pipeline

    opened = load_sam(blobs_folder, cache=None)
    # Half of what there is must fall to the limit on the predicted IoU.
    limit = np.median(segment_everything(opened, image, **_NO_LIMIT).predicted_iou).item()
    found = segment_everything(
        opened,
        image,
        points_per_side=6,
        pred_iou_thresh=limit,
        stability_score_thresh=0.9,
        box_nms_thresh=0.6,
    )
    generator = pipeline("mask-generation", model=str(blobs_folder), device="cpu")
    theirs = generator(
        Image.fromarray(image.transpose(1, 2, 0)),
        points_per_crop=6,
        pred_iou_thresh=limit,
        stability_score_thresh=0.9,
        crops_nms_thresh=0.6,
    )
    assert len(found.masks) >= 3
    np.testing.assert_allclose(found.predicted_iou, theirs["scores"].numpy(), rtol=1e-4)
    np.testing.assert_array_equal(found.masks, np.stack(theirs["masks"]))


# -- the interface ------------------------------------------------------------------------------


def test_shapes_and_dtypes(tiny, image):
    for found in (segment_boxes(tiny, image, BOXES), segment_points(tiny, image, POINTS[:3])):
        assert found.masks.shape == (3, 40, 56)
        assert found.masks.dtype == np.bool_
        assert found.predicted_iou.shape == (3,)
        assert found.predicted_iou.dtype == np.float32


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4))])
def test_no_boxes_no_masks(tiny, image, boxes):
    found = segment_boxes(tiny, image, boxes)
    assert found.masks.shape == (0, 40, 56)
    assert found.predicted_iou.shape == (0,)


def test_the_same_call_gives_the_same_masks(sam_folder, image):
    one, other = (load_sam(sam_folder, cache=None) for _ in range(2))
    again = [segment_boxes(s, image, BOXES) for s in (one, one, other)]
    for found in again[1:]:
        np.testing.assert_array_equal(found.masks, again[0].masks)
        np.testing.assert_array_equal(found.predicted_iou, again[0].predicted_iou)


def test_prompts_decoded_in_parts_are_prompts_decoded_at_once(tiny, image, monkeypatch):
    at_once = segment_points(tiny, image, POINTS)
    everything = segment_everything(tiny, image, points_per_side=4, pred_iou_thresh=-1)
    monkeypatch.setattr(segmenter, "_PROMPTS_AT_ONCE", 3)
    np.testing.assert_array_equal(segment_points(tiny, image, POINTS).masks, at_once.masks)
    in_parts = segment_everything(tiny, image, points_per_side=4, pred_iou_thresh=-1)
    np.testing.assert_array_equal(in_parts.masks, everything.masks)


def test_memory_bounds_the_prompts_decoded_at_once(tiny, image):
    # A megapixel: one float32 mask on its way to the image's size takes 8 MiB.
    large = np.zeros((3, 1024, 1024), np.uint8)
    assert segmenter._prompts_at_once(tiny, large, multimask=False) == (1 << 28) // (8 << 20)
    assert segmenter._prompts_at_once(tiny, image, multimask=True) == 64


def test_everything_is_distinct_and_sorted(blobs_folder, image):
    from torchvision.ops import box_iou, masks_to_boxes

    opened = load_sam(blobs_folder, cache=None)
    found = segment_everything(opened, image, **_NO_LIMIT)
    assert len(found.masks) >= 3
    assert (np.diff(found.predicted_iou) <= 0).all()
    boxes = masks_to_boxes(torch.from_numpy(found.masks))
    # Of two masks one pixel wide, whose boxes have no area, the IoU is 0 / 0.
    assert (box_iou(boxes, boxes).fill_diagonal_(0).nan_to_num_() <= 0.7).all()
    # No predicted IoU is above its highest, no stability above 1.
    for limit in (
        {"pred_iou_thresh": found.predicted_iou[0].item()},
        {"stability_score_thresh": 1.0},
    ):
        none = segment_everything(opened, image, **(_NO_LIMIT | limit))
        assert none.masks.shape == (0, 40, 56)


@pytest.mark.parametrize(
    ("boxes", "complaint"),
    [
        ([[0, 0, 56, 39]], r"\(0, 0, 56, 39\).*56 x 40"),
        ([[-1, 0, 5, 5]], "-1"),
        ([[8, 0, 5, 5]], "x0 <= x1"),
        ([[float("nan"), 0, 5, 5]], "nan"),
        ([[0, 0, 5]], r"\(1, 3\)"),
        ([0, 0, 5, 5], r"\(4,\)"),
    ],
)
def test_bad_boxes_are_refused(tiny, image, boxes, complaint):
    with pytest.raises(BadInput, match=complaint):
        segment_boxes(tiny, image, boxes)


@pytest.mark.parametrize(
    ("points", "labels", "complaint"),
    [
        ([[[56, 0]]], None, r"\[56, 0\] is outside of 56 x 40"),
        ([[[0, -1]]], None, "-1"),
        ([[[float("nan"), 0]]], None, "nan"),
        ([[0, 1]], None, r"\(1, 2\)"),
        ([[[3, 3]]], [[2]], "each 0 or 1"),
        ([[[3, 3]]], [1], r"must be \(1, 1\)"),
    ],
)
def test_bad_points_are_refused(tiny, image, points, labels, complaint):
    with pytest.raises(BadInput, match=complaint):
        segment_points(tiny, image, points, labels)


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 8, 8)), np.zeros((8, 8, 3), np.uint8), np.zeros((3, 0, 8), np.uint8)]
)
def test_bad_images_are_refused(tiny, bad):
    with pytest.raises(BadInput, match=r"uint8 \(3, H, W\)"):
        segment_everything(tiny, bad)


# -- embeddings ---------------------------------------------------------------------------------


def test_an_image_is_encoded_once(sam_folder, image, monkeypatch):
    opened = load_sam(sam_folder, cache=None)
    encoded = []
    encode = type(opened.model).get_image_embeddings

    def counting(self, pixels):
        encoded.append(pixels)
        return encode(self, pixels)

    monkeypatch.setattr(type(opened.model), "get_image_embeddings", counting)
    segment_boxes(opened, image, BOXES)
    segment_boxes(opened, image.copy(), BOXES[:1])
    segment_points(opened, image, POINTS)
    assert len(encoded) == 1
    segment_boxes(opened, 255 - image, BOXES)
    assert len(encoded) == 2


def test_embeddings_survive_on_disk(folder, opened, image, tmp_path, monkeypatch):
    expected = segment_boxes(opened, image, BOXES)
    segment_boxes(load_sam(folder, cache=tmp_path), image, BOXES)
    (kept,) = tmp_path.iterdir()

    again = load_sam(folder, cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.delattr(type(again.model), "get_image_embeddings")
        found = segment_boxes(again, image, BOXES)
    np.testing.assert_array_equal(found.masks, expected.masks)
    np.testing.assert_array_equal(found.predicted_iou, expected.predicted_iou)

    kept.write_bytes(b"damaged")
    corrected = segment_boxes(load_sam(folder, cache=tmp_path), image, BOXES)
    np.testing.assert_array_equal(corrected.masks, expected.masks)
    assert kept.stat().st_size > 1000


def test_other_weights_never_meet_the_same_file(sam_folder, image, tmp_path):
    opened = load_sam(sam_folder, cache=tmp_path)
    segment_boxes(opened, image, BOXES)
    changed = load_sam(sam_folder, cache=tmp_path)
    with torch.no_grad():
        changed.model.vision_encoder.neck.conv1.weight.add_(0.1)
    segment_boxes(changed, image, BOXES)
    assert len(list(tmp_path.iterdir())) == 2


def test_embeddings_in_memory_stay_few(sam_folder, monkeypatch):
    opened = load_sam(sam_folder, cache=None)
    rng = np.random.default_rng(0)
    for _ in range(4):
        segment_boxes(opened, rng.integers(0, 256, (3, 8, 8), np.uint8), [[0, 0, 7, 7]])
        [*_, kept] = opened._recent.values()
        two_images = 2 * sum(tensor.nbytes for tensor in kept)
        monkeypatch.setattr(segmenter, "_EMBEDDING_BYTES", two_images)
    assert len(opened._recent) == 2


# -- opening ------------------------------------------------------------------------------------


def test_a_folder_is_called_by_its_name(opened, folder):
    assert opened.name == folder.name
    assert not opened.model.training


def test_without_a_source_sam_tiny_is_opened():
    opened = load_sam()
    assert opened.name == load_sam(segmenter.SAM_TINY).name == "SAM-tiny, trained here"
    assert opened.cache is None


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(segmenter, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install -e \.\[sam\]"):
        load_sam()


def test_transformers_is_imported_only_when_used():
    import subprocess

    code = "import sys, seghw.sam; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def no_network(monkeypatch):
    import socket

    def refuse(*_):
        pytest.fail("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("facebook/no-such-sam", r"hf download facebook/no-such-sam.*download=True"),
        ("sam", "neither a folder nor a Hugging Face id such as"),
        ("/no/such/folder", "neither a folder"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_missing_checkpoint_is_one_line_and_no_download(source, complaint):
    with pytest.raises(BadInput, match=complaint) as caught:
        load_sam(source)
    assert "\n" not in str(caught.value)


def test_a_failed_download_is_one_line(monkeypatch):
    import huggingface_hub

    def fail(source, *, local_files_only, **_):
        assert not local_files_only
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(
        BadInput, match=r"'facebook/sam-vit-base' could not be downloaded: no route$"
    ):
        load_sam("facebook/sam-vit-base", download=True)


def test_a_file_is_not_a_folder(tmp_path):
    path = tmp_path / "sam_vit_b.pth"
    path.write_bytes(b"weights")
    with pytest.raises(BadInput, match=r"original checkpoints.*'facebook/sam-vit-base'"):
        load_sam(path)


def _damaged(sam_folder: Path, folder: Path) -> Path:
    shutil.copytree(sam_folder, folder)
    return folder


@pytest.mark.usefixtures("no_network")
def test_wrong_folders_are_refused(sam_folder, tmp_path):
    with pytest.raises(BadInput, match=r"config\.json is missing"):
        load_sam(tmp_path)

    folder = _damaged(sam_folder, tmp_path / "weights")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model\.safetensors is missing"):
        load_sam(folder)

    folder = _damaged(sam_folder, tmp_path / "other")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BadInput, match="type 'bert'; give one of sam, sam2"):
        load_sam(folder)

    for text in ("{", "[]", '{"model_type": []}'):
        (folder / "config.json").write_text(text)
        with pytest.raises(BadInput, match="other holds"):
            load_sam(folder)


@pytest.mark.usefixtures("no_network")
def test_damaged_weights_are_refused(sam_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = _damaged(sam_folder, tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="damaged") as caught:
        load_sam(folder)
    assert "\n" not in str(caught.value)

    weights = load_file(sam_folder / "model.safetensors")
    lacking = {name: w for name, w in weights.items() if name != "mask_decoder.iou_token.weight"}
    save_file(lacking, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 1 .*'mask_decoder\.iou_token\.weight'"):
        load_sam(folder)

    odd = weights | {"mask_decoder.iou_token.weight": torch.zeros(1, 5)}
    save_file(odd, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="damaged"):
        load_sam(folder)


@pytest.mark.usefixtures("no_network")
def test_a_folder_without_its_preprocessing_is_refused(sam_folder, tmp_path):
    folder = _damaged(sam_folder, tmp_path / "bare")
    (folder / "processor_config.json").unlink()
    with pytest.raises(BadInput, match="bare"):
        load_sam(folder)


# -- the comparison -----------------------------------------------------------------------------


@pytest.fixture
def oracle(monkeypatch):
    """A segmenter that fills its boxes, and around each click a square of 5 x 5 pixels."""

    def boxes(_, image, corners):
        masks = np.zeros((len(corners), *image.shape[1:]), np.bool_)
        for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        return segmenter.Segments(masks, np.ones(len(corners), np.float32))

    def points(_, image, places, labels):
        rows, columns = np.indices(image.shape[1:])
        masks = np.zeros((len(places), *image.shape[1:]), np.bool_)
        for mask, clicks, kinds in zip(masks, places, labels, strict=True):
            for (x, y), kind in zip(clicks, kinds, strict=True):
                mask[(abs(columns - x) <= 2) & (abs(rows - y) <= 2)] = kind
        return segmenter.Segments(masks, np.ones(len(places), np.float32))

    monkeypatch.setattr(sam, "segment_boxes", boxes)
    monkeypatch.setattr(sam, "segment_points", points)
    return segmenter.Segmenter("oracle", None, None)


def test_prompted_boxes_are_scored_object_by_object(oracle):
    data = shapes.generate(12, 4)
    found = sam.prompt_boxes(oracle, data)
    assert found.inside(data.masks).mean == 1
    areas = found.objects.masks.sum((1, 2))
    sides = found.objects.boxes[:, 2:] - found.objects.boxes[:, :2] + 1
    np.testing.assert_allclose(found.inside().per_object, areas / sides.prod(1))
    assert len(found.inside()) == 12
    # All boxes, also of objects that cannot be told apart, are in the united planes.
    for i, boxes in enumerate(data.boxes):
        for c, x0, y0, x1, y1 in boxes:
            assert found.planes[i, c, y0 : y1 + 1, x0 : x1 + 1].all()
    assert found.planes[data.masks].all()


def test_what_lies_outside_the_box_counts_for_neither(oracle):
    data = shapes.generate(6, 4)
    everywhere = np.ones_like(data.masks)
    found = sam.prompt_boxes(oracle, data)
    np.testing.assert_array_equal(found.inside(everywhere).iou, found.inside().iou)
    assert found.inside(~everywhere).mean == 0


def test_boxes_are_scored_with_a_real_segmenter(tiny):
    data = shapes.generate(3, 4)
    scores = score_boxes(tiny, data)
    assert 0 <= scores.mean <= 1
    assert len(scores.per_object) == len(find_objects(data))


def test_score_boxes_counts_every_pixel(oracle):
    data = shapes.generate(12, 4)
    # The oracle paints nothing outside of the box, so both measures agree.
    inside = sam.prompt_boxes(oracle, data).inside()
    np.testing.assert_array_equal(score_boxes(oracle, data).iou, inside.iou)


def test_more_clicks_correct_the_mask(oracle):
    data = shapes.generate(12, 4)
    scores = score_clicks(oracle, data, (1, 3, 5))
    assert list(scores) == [1, 3, 5]
    assert scores[1].mean < scores[3].mean < scores[5].mean
    first = score_clicks(oracle, data, (1,))[1]
    np.testing.assert_array_equal(first.iou, scores[1].iou)
