"""How SAM-tiny learns: the objective, and a training that can be interrupted.

The recipe is SAM's (Kirillov et al., "Segment Anything", 2023, appendix A) at a small size: an
object is asked for by its box, by a click on it, and by further clicks where the mask for the
first was wrong. The mask loss of a lone click is that of the best of its proposals, because one
click may mean several things; the predicted IoU of every mask learns the IoU it really has.
"""

import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_model
from torch import Tensor, nn

from seghw import sam_tiny_model
from seghw.errors import BadInput
from seghw.files import whole_file
from seghw.sam_embeddings import EmbeddingCache
from seghw.sam_tiny_data import Batch, Pool
from seghw.segmenter import Segmenter
from seghw.train import best_device

BCE_WEIGHT = 5.0  # beside Dice
FURTHER_CLICKS = 4  # at most, so that up to five clicks in all are seen
PEAK_LEARNING_RATE = 1.5e-3
REFINING_LEARNING_RATE = 7.5e-4  # of a training that begins with trained weights
MOVED_BOXES = 0.5  # share of the boxes that are drawn as if by hand
REFINING_MOVED_BOXES = 0.1  # exact edges tell a hidden object from the one that hides it
WARM_UP = 200  # steps, before the cosine has its way
LARGEST_GRADIENT = 1.0  # norm to which longer gradients are cut
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"


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
    return moved.clamp(0, sam_tiny_model.SIDE - 1)


def _well_inside(masks: Tensor) -> Tensor:
    """Where a click on the object falls: anywhere on it, more often away from its rim."""
    return masks * F.avg_pool2d(masks, 5, stride=1, padding=2) ** 2


def _clicks(
    where: Tensor, masks: Tensor, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """``count`` random pixels of each plane of ``where`` (B, P, S, S), labelled by the mask."""
    planes = where.flatten(0, 1).flatten(1) + 1e-9  # anywhere, where there is nothing to choose
    pixels = torch.multinomial(planes, count, replacement=True, generator=generator)
    labels = masks.flatten(0, 1).flatten(1).gather(1, pixels).long()
    points = torch.stack((pixels % masks.shape[-1], pixels // masks.shape[-1]), dim=-1).float()
    return {
        "input_points": points.unflatten(0, masks.shape[:2]),
        "input_labels": labels.unflatten(0, masks.shape[:2]),
    }


class Training:
    """A training between its start and its record.

    With ``start``, the folder of a trained SAM-tiny, it begins with those weights and refines them:
    at half the learning rate, and with most boxes exact.

    Its length is a time or a number of steps, over which the learning rate falls to zero. By
    steps, the same seed gives the same weights on the same machine, interrupted or not.
    """

    def __init__(
        self,
        pool: Pool,
        folder: str | Path,
        *,
        minutes: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        start: str | Path | None = None,
    ) -> None:
        lengths = [length for length in (minutes, steps) if length is not None]
        if len(lengths) != 1 or not lengths[0] > 0:
            raise BadInput(f"give either minutes or steps, above 0; got {minutes} and {steps}")
        self.pool = pool
        self.folder = Path(folder)
        self.minutes, self.steps, self.seed = minutes, steps, seed
        self.device = best_device()
        self.start = start
        self.model = sam_tiny_model.build(seed)
        if start is not None:
            if not (Path(start) / WEIGHTS).is_file():
                raise BadInput(f"{start} holds no trained SAM-tiny to refine; {WEIGHTS} is missing")
            load_model(self.model, Path(start) / WEIGHTS)
        self.model.to(self.device)
        self.peak = PEAK_LEARNING_RATE if start is None else REFINING_LEARNING_RATE
        self.moved_boxes = MOVED_BOXES if start is None else REFINING_MOVED_BOXES
        self.optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad], lr=self.peak
        )
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self._resume()

    @property
    def share(self) -> float:
        """How much of the training is done, 0 to 1."""
        done = self.step / self.steps if self.steps else self.seconds / (60 * self.minutes)
        return min(1.0, done)

    def advance(self) -> Terms:
        """One step of the optimiser; its terms, before it."""
        start = time.perf_counter()
        # All that is random follows from the seed and the step, so that neither need be saved.
        seeds = np.random.SeedSequence([self.seed, self.step])
        batch = self.pool.draw(np.random.default_rng(seeds), self.device)
        generator = torch.Generator(self.device).manual_seed(int(seeds.generate_state(1)[0]))
        terms = objective(self.model, batch, generator, self.moved_boxes)
        warm_up = min(1.0, (self.step + 1) / WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = self.peak * warm_up * (1 + math.cos(math.pi * self.share)) / 2
        self.optimiser.zero_grad()
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.step += 1
        self.seconds += time.perf_counter() - start
        return terms

    def save(self) -> None:
        """Write the checkpoint from which another ``Training`` of this folder goes on."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "seed": self.seed,
            "history": self.history,
        }
        with whole_file(self.folder / CHECKPOINT) as path:
            torch.save(state, path)

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["seed"] != self.seed:
            raise BadInput(f"{path} was begun with seed {state['seed']}; give that, or remove it")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = state["history"]

    def segmenter(self) -> Segmenter:
        """The model as it is now, behind the common interface."""
        processor = sam_tiny_model.processor()
        return Segmenter(sam_tiny_model.TRAINED, self.model, processor, EmbeddingCache(self.model))
