"""SAM-tiny: a promptable segmenter of SAM's own architecture, small enough for two CPU cores.

It stands in for a published checkpoint where there is none. The classes are transformers' own
``SamModel`` and ``SamProcessor``; only the configuration and the weights are ours.

The objective is SAM's (Kirillov et al., "Segment Anything", 2023, appendix A) at a small size: an
object is asked for by its box, by a click on it, and by further clicks where the mask for the
first was wrong. The mask loss of a lone click is that of the best of its proposals, because one
click may mean several things; the predicted IoU of every mask learns the IoU it really has.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.data.dataset import SegmentationSet
from seghw.sam.prompts import find_objects
from seghw.seeding import seeded

if TYPE_CHECKING:
    from transformers import SamConfig, SamModel, SamProcessor

SIDE = 64  # of the square it sees, in pixels
#: By which SAM's preprocessing normalizes pixels in 0..1: ImageNet's, red, green, blue.
MEAN_AND_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PATCH = 4
_WIDTH = 96  # of the image encoder
_LAYERS = 3  # of the image encoder
_EMBEDDING = 64  # channels of the image embedding, width of the mask decoder
_HEADS = 4
_PYTORCH_INITIALIZES = nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding


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
    the encoder's width, so that neighboring pixels look unrelated, and some versions draw them
    twice, so that prompts and tokens do not speak of the same places. Here both share one
    parameter of standard normal frequencies, as in SAM's own code, and it is frozen.

    Also as there, layers start as PyTorch starts them. The library's normal draws, of standard
    deviation 1e-10 in the encoder and 0.02 elsewhere, are for weights that are loaded at once.
    """
    from transformers import SamModel

    with seeded(seed):
        model = SamModel(config())
        for module in model.modules():
            if isinstance(module, _PYTORCH_INITIALIZES):
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


# -- batches of objects ----------------------------------------------------------------------

IMAGES_A_BATCH = 16
OBJECTS_AN_IMAGE = 2  # so that the encoder, the dear half, runs once for two objects


class Batch(NamedTuple):
    """Objects to ask for: B images with P objects each, S x S pixels."""

    pixels: Tensor  # float (B, 3, S, S), normalized
    masks: Tensor  # float (B, P, S, S), 0 or 1
    boxes: Tensor  # float (B, P, 4), x0, y0, x1, y1, inclusive


class Pool:
    """The objects of several sets, in memory, to draw batches from."""

    def __init__(self, *sets: SegmentationSet) -> None:
        found = [find_objects(data) for data in sets]
        starts = np.cumsum([0, *(len(data) for data in sets)])
        self.images = np.concatenate([data.images for data in sets])
        self.image = np.concatenate([f.image + s for f, s in zip(found, starts, strict=False)])
        self.boxes = np.concatenate([f.boxes for f in found])
        self.masks = np.concatenate([f.masks for f in found])
        self._images_with_objects, self._first = np.unique(self.image, return_index=True)
        self._count = np.diff(self._first, append=len(self.image))

    def draw(self, rng: np.random.Generator, device: torch.device) -> Batch:
        """A batch of random objects, half of the time mirrored left to right."""
        chosen = rng.integers(len(self._first), size=(IMAGES_A_BATCH, 1))
        place = rng.integers(self._count[chosen], size=(IMAGES_A_BATCH, OBJECTS_AN_IMAGE))
        objects = self._first[chosen] + place
        images = self.images[self._images_with_objects[chosen[:, 0]]]
        masks, boxes = self.masks[objects], self.boxes[objects].astype(np.float32)
        if rng.random() < 0.5:
            images, masks = images[..., ::-1], masks[..., ::-1]
            boxes[..., [0, 2]] = masks.shape[-1] - 1 - boxes[..., [2, 0]]
        return Batch(
            normalize(images).to(device),
            torch.from_numpy(masks.astype(np.float32)).to(device),
            torch.from_numpy(boxes).to(device),
        )


def normalize(images: np.ndarray) -> Tensor:
    """uint8 (B, 3, S, S) to what SAM's preprocessing makes of it, float of the same shape."""
    mean, std = (torch.tensor(v)[:, None, None] for v in MEAN_AND_STD)
    return (torch.from_numpy(images.copy()) / 255 - mean) / std


# -- the objective ---------------------------------------------------------------------------

BCE_WEIGHT = 5.0  # beside Dice
MOVED_BOXES = 0.5  # share of the boxes that are drawn as if by hand
FURTHER_CLICKS = 4  # at most, so that up to five clicks in all are seen


class Terms(NamedTuple):
    """The objective and what it is made of, scalars; the objective is the sum of the rest."""

    total: Tensor
    box: Tensor  # mask loss for boxes
    click: Tensor  # mask loss for one click, of the best proposal
    further: Tensor  # mask loss for several clicks
    iou: Tensor  # squared error of the predicted IoU, over all masks


def objective(
    model: nn.Module, batch: Batch, generator: torch.Generator, moved_boxes: float = MOVED_BOXES
) -> Terms:
    """Loss of a ``SamModel`` on a batch, each object asked for by box, click and more clicks."""
    embeddings = model.vision_encoder(batch.pixels).last_hidden_state
    targets = batch.masks[:, :, None]

    def ask(multimask: bool, **prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = model(image_embeddings=embeddings, multimask_output=multimask, **prompts)
        error = (out.iou_scores - _true_iou(out.pred_masks, targets)).square().mean()
        return out.pred_masks, mask_loss(out.pred_masks, targets), error

    _, box_loss, box_error = ask(False, input_boxes=_moved(batch.boxes, moved_boxes, generator))

    first = _clicks(_well_inside(batch.masks), batch.masks, 1, generator)
    proposals, click_loss, click_error = ask(True, **first)

    best = click_loss.argmin(dim=2)[:, :, None, None, None].expand(-1, -1, 1, *targets.shape[3:])
    wrong = (proposals.detach().gather(2, best)[:, :, 0] > 0) != (batch.masks > 0)
    draw = torch.rand((), generator=generator, device=generator.device).item()
    count = 1 + int(draw * FURTHER_CLICKS)
    further = _clicks(wrong.float(), batch.masks, count, generator)
    together = {name: torch.cat((first[name], further[name]), dim=2) for name in first}
    _, further_loss, further_error = ask(False, **together)

    terms = (
        box_loss.mean(),
        click_loss.amin(dim=2).mean(),
        further_loss.mean(),
        box_error + click_error + further_error,
    )
    return Terms(sum(terms), *terms)


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy x 5 + Dice of each mask.

    Args:
        logits: (..., M, H, W).
        targets: (..., 1, H, W), 0 or 1.

    Returns:
        (..., M).
    """
    targets = targets.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((-1, -2))
    probability = logits.sigmoid()
    both = (probability * targets).sum((-1, -2))
    dice = 1 - (2 * both + 1) / (probability.sum((-1, -2)) + targets.sum((-1, -2)) + 1)
    return BCE_WEIGHT * entropy + dice


def _true_iou(logits: Tensor, targets: Tensor) -> Tensor:
    masks, truth = logits > 0, targets > 0
    return (masks & truth).sum((-1, -2)) / (masks | truth).sum((-1, -2))


def _moved(boxes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the boxes with each side moved by up to a tenth of the box, as a hand draws it."""
    draws = torch.rand((*boxes.shape[:2], 5), generator=generator, device=boxes.device)
    sides = (boxes[..., 2:] - boxes[..., :2] + 1).repeat(1, 1, 2)
    moves = ((draws[..., :4] * 0.2 - 0.1) * sides).round()
    # A tenth of a side moves no corner past its opposite one.
    moved = torch.where(draws[..., 4:] < share, boxes + moves, boxes)
    return moved.clamp(0, SIDE - 1)


def _well_inside(masks: Tensor) -> Tensor:
    """Where a click on the object falls: anywhere on it, more often away from its rim."""
    return masks * F.avg_pool2d(masks, 5, stride=1, padding=2) ** 2


def _clicks(
    where: Tensor, masks: Tensor, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """``count`` random pixels of each plane of ``where`` (B, P, S, S), labeled by the mask."""
    planes = where.flatten(0, 1).flatten(1) + 1e-9  # anywhere, where there is nothing to choose
    pixels = torch.multinomial(planes, count, replacement=True, generator=generator)
    labels = masks.flatten(0, 1).flatten(1).gather(1, pixels).long()
    points = torch.stack((pixels % masks.shape[-1], pixels // masks.shape[-1]), dim=-1).float()
    return {
        "input_points": points.unflatten(0, masks.shape[:2]),
        "input_labels": labels.unflatten(0, masks.shape[:2]),
    }
