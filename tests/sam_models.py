"""Models of SAM's, SAM 2's and SAM 3's architecture with random weights, large or small.

They have little width and depth, so that they are quick even at a published model's input size.
"""

from pathlib import Path
from typing import Any

import torch
import transformers as t
from torch import nn

#: Side of the square that a published model of the family sees, in pixels.
SIDES = {"sam": 1024, "sam2": 1024, "sam3_tracker": 1008}
_DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


def save_model(family: str, folder: Path, side: int) -> Path:
    """Write a model of transformers' classes and its processor; always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = {"sam": _sam, "sam2": _sam2, "sam3_tracker": _sam3}[family](side)
    spread(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _parts(vision: Any, side: int, patch: int) -> dict[str, Any]:
    prompts = {"image_size": side, "patch_size": patch, "hidden_size": 32}
    return {
        "vision_config": vision.to_dict(),
        "prompt_encoder_config": prompts,
        "mask_decoder_config": _DECODER,
    }


def _sam(side: int) -> tuple[nn.Module, Any]:
    patch, square = max(4, side // 64), {"height": side, "width": side}
    vision = t.SamVisionConfig(
        image_size=side,
        patch_size=patch,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        output_channels=32,
        num_pos_feats=16,
        window_size=3,
        global_attn_indexes=[1] if side < 1024 else [],
        initializer_range=0.2,
    )
    images = t.SamImageProcessor(size={"longest_edge": side}, pad_size=square)
    return t.SamModel(t.SamConfig(**_parts(vision, side, patch))), t.SamProcessor(images)


def _sam2(side: int) -> tuple[nn.Module, Any]:
    backbone = t.Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[side, side],
        window_positional_embedding_background_size=[4, 4],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 2, 2],
        global_attention_blocks=[3],
    )
    vision = t.Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[side // part] * 2 for part in (4, 8, 16)],
        fpn_hidden_size=32,
    )
    images = t.Sam2ImageProcessor(size={"height": side, "width": side})
    return t.Sam2Model(t.Sam2Config(**_parts(vision, side, 16))), t.Sam2Processor(images)


def _sam3(side: int) -> tuple[nn.Module, Any]:
    tokens = side // 14
    backbone = t.Sam3ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=14,
        window_size=tokens // 3,
        global_attn_indexes=[1],
        pretrain_image_size=side // 3,
    )
    vision = t.Sam3VisionConfig(
        backbone_config=backbone.to_dict(),
        fpn_hidden_size=32,
        backbone_feature_sizes=[[times * tokens] * 2 for times in (4, 2, 1)],
    )
    images = t.Sam3ImageProcessor(size={"height": side, "width": side})
    config = t.Sam3TrackerConfig(**_parts(vision, side, 14))
    return t.Sam3TrackerModel(config), t.Sam3TrackerProcessor(images)


def spread(model: nn.Module) -> nn.Module:
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
