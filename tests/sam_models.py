"""Models of SAM's, SAM 2's and SAM 3's architecture with random weights, large or small.

They have little width and depth, so that they are quick even at a published model's input size.
"""

from pathlib import Path
from typing import Any

import torch
import transformers as t
from torch import nn

#: Sides of the square that a small and that a published model of the family sees, in pixels.
SIDES = {"sam": (32, 1024), "sam2": (64, 1024), "sam3_tracker": (84, 1008)}
_DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
_LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_model(family: str, folder: Path, side: int) -> Path:
    """Write a model of transformers' classes and its processor; always the same weights."""
    vision = {"sam": _sam, "sam2": _sam2, "sam3_tracker": _sam3}[family](side)
    patch = vision.patch_size if family == "sam" else {"sam2": 16, "sam3_tracker": 14}[family]
    name = {"sam": "Sam", "sam2": "Sam2", "sam3_tracker": "Sam3Tracker"}[family]
    config = getattr(t, f"{name}Config")(
        vision_config=vision.to_dict(),
        prompt_encoder_config={"image_size": side, "patch_size": patch, "hidden_size": 32},
        mask_decoder_config=_DECODER,
    )
    square = {"height": side, "width": side}
    sizes = {"size": square}
    if family == "sam":
        sizes = {"size": {"longest_edge": side}, "pad_size": square}
    images = getattr(t, f"{name.removesuffix('Tracker')}ImageProcessor")(**sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spread(getattr(t, f"{name}Model")(config)).save_pretrained(folder)
    getattr(t, f"{name}Processor")(images).save_pretrained(folder)
    return folder


def _sam(side: int) -> Any:
    everywhere = [1] if side < 1024 else []  # 4096 tokens, each with each, would take seconds
    sizes = {"image_size": side, "patch_size": max(4, side // 64), "window_size": 3}
    channels = {"output_channels": 32, "num_pos_feats": 16, "initializer_range": 0.2}
    return t.SamVisionConfig(global_attn_indexes=everywhere, **_LAYERS, **sizes, **channels)


def _sam2(side: int) -> Any:
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
    channels = {"backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32}
    sizes = [[side // part] * 2 for part in (4, 8, 16)]
    backbone = {"backbone_config": backbone.to_dict(), "backbone_feature_sizes": sizes}
    return t.Sam2VisionConfig(**backbone, **channels)


def _sam3(side: int) -> Any:
    tokens = side // 14
    sizes = {"image_size": side, "patch_size": 14, "pretrain_image_size": side // 3}
    windows = {"window_size": tokens // 3, "global_attn_indexes": [1], "intermediate_size": 32}
    backbone = t.Sam3ViTConfig(**_LAYERS, **sizes, **windows)
    sizes = [[times * tokens] * 2 for times in (4, 2, 1)]
    backbone = {"backbone_config": backbone.to_dict(), "backbone_feature_sizes": sizes}
    return t.Sam3VisionConfig(**backbone, fpn_hidden_size=32)


def spread(model: nn.Module) -> nn.Module:
    """Random weights whose masks are neither empty nor full and depend on the prompt."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            amount = 1.0 if "mask_decoder.transformer" in name else 0.1
            amount = 0.5 if "embed" in name or "token" in name else amount
            if "positional" not in name and "norm" not in name:
                weight += amount * torch.randn(weight.shape, generator=generator)
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(300)  # logits far from 0, so that masks are stable
    return model.eval()
