"""SAM-tiny: a promptable segmenter of SAM's own architecture, small enough for two CPU cores.

It stands in for a published checkpoint where there is none. The classes are transformers' own
``SamModel`` and ``SamProcessor``; only the configuration and the weights are ours.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from seghw.paths import DATA
from seghw.seeding import seeded

if TYPE_CHECKING:
    from transformers import SamConfig, SamModel, SamProcessor

#: Where its trained weights are shipped.
FOLDER = DATA / "sam-tiny"
TRAINED = "SAM-tiny, trained here"
UNTRAINED = "SAM-tiny, untrained: random weights"

SIDE = 64  # of the square it sees, in pixels
#: By which SAM's preprocessing normalises pixels in 0..1: ImageNet's, red, green, blue.
MEAN_AND_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PATCH = 4
_WIDTH = 96  # of the image encoder
_LAYERS = 3  # of the image encoder
_EMBEDDING = 64  # channels of the image embedding, width of the mask decoder
_HEADS = 4
_PYTORCH_INITIALISES = nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding


def config() -> "SamConfig":
    """SAM's architecture with 16 x 16 tokens an image and about half a million parameters.

    Every layer of the encoder attends to the whole image: at 16 x 16 tokens windows would save
    nothing. Position is an absolute embedding alone, without the relative one beside it, which
    would make the encoder three times slower on a CPU.
    """
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    vision = SamVisionConfig(
        image_size=SIDE,
        patch_size=_PATCH,
        hidden_size=_WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        output_channels=_EMBEDDING,
        num_pos_feats=_EMBEDDING // 2,
        window_size=0,
        global_attn_indexes=list(range(_LAYERS)),
        use_rel_pos=False,
    )
    prompts = SamPromptEncoderConfig(image_size=SIDE, patch_size=_PATCH, hidden_size=_EMBEDDING)
    decoder = SamMaskDecoderConfig(
        hidden_size=_EMBEDDING,
        mlp_dim=2 * _EMBEDDING,
        num_attention_heads=_HEADS,
        iou_head_hidden_dim=_EMBEDDING,
    )
    return SamConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=prompts.to_dict(),
        mask_decoder_config=decoder.to_dict(),
    )


def build(seed: int = 0) -> "SamModel":
    """The model with random weights, ready to be trained; the same seed gives the same weights.

    SAM encodes the position of a prompt and of an image token by the same random frequencies,
    which are never trained. A fresh ``SamModel`` draws them with a standard deviation of half
    the encoder's width, so that neighbouring pixels look unrelated, and some versions draw them
    twice, so that prompts and tokens do not speak of the same places. Here both share one
    parameter of standard normal frequencies, as in SAM's own code, and it is frozen.

    Also as there, layers start as PyTorch starts them. The library's normal draws, of standard
    deviation 1e-10 in the encoder and 0.02 elsewhere, are for weights that are loaded at once.
    """
    from transformers import SamModel

    with seeded(seed):
        model = SamModel(config())
        for module in model.modules():
            if isinstance(module, _PYTORCH_INITIALISES):
                module.reset_parameters()
        frequencies = torch.randn_like(model.shared_image_embedding.positional_embedding)
    shared = nn.Parameter(frequencies, requires_grad=False)
    model.shared_image_embedding.positional_embedding = shared
    model.prompt_encoder.shared_embedding.positional_embedding = shared
    return model.eval()


def processor() -> "SamProcessor":
    """SAM's preprocessing at SAM-tiny's side."""
    from transformers import SamImageProcessor, SamProcessor

    square = {"height": SIDE, "width": SIDE}
    mean, std = MEAN_AND_STD
    images = SamImageProcessor(
        size={"longest_edge": SIDE},
        pad_size=square,
        mask_size={"longest_edge": SIDE},
        mask_pad_size=square,
        image_mean=list(mean),
        image_std=list(std),
    )
    return SamProcessor(images)
