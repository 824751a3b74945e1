"""What made SAM-tiny: a promptable segmenter of SAM's own architecture, for two CPU cores.

    python data/sam-tiny/train.py --steps 6000 --out DIR                           # an hour, then
    python data/sam-tiny/train.py --steps 5000 --seed 1 --start DIR --out DIR2     # half of one

It stands in for a published checkpoint where there is none. The classes are transformers' own
``SamModel`` and ``SamProcessor``; only the configuration and the weights are ours. The folder then
holds ``model.safetensors``, ``config.json`` and ``processor_config.json``, as transformers reads
them, and ``record.json``: data, steps, settings, scores on unseen images, machine and versions. An
interrupted training goes on from its last checkpoint, at most a minute and a half old.

The objective is SAM's (Kirillov et al., "Segment Anything", 2023, appendix A) at a small size: an
object is asked for by its box, by a click on it, and by further clicks where the mask for the first
was wrong. The mask loss of a lone click is that of the best of its proposals, because one click
may mean several things; the predicted IoU of every mask learns the IoU it really has.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_model
from torch import Tensor, nn
from tqdm.auto import tqdm

from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import cached_scenes, digest
from seghw.devices import best_device, threads_for
from seghw.io import atomic_folder, atomic_write
from seghw.report.sam_comparison import ask_true_boxes, mean_over_objects, score_objects
from seghw.sam import SAM_TINY_NAME, Segmenter, objects_of

SIDE = 64  # of the square it sees, in pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # SAM's: ImageNet's, of pixels in 0..1

# Seeds as everywhere in the project, so that nothing the network is tested on is seen here. Of the
# scenes, those not trained on follow the homework's rule, one large object per image.
SEEDS = {"train": 0, "validation": 1, "test": 2}
SHAPES = {"train": 10_000, "validation": 40, "test": 300}
SCENES = {"train": 3_000, "validation": 60, "test": 450}

IMAGES_A_BATCH = 16
OBJECTS_AN_IMAGE = 2  # so that the encoder, the dear half, runs once for two objects
BCE_WEIGHT = 5.0  # beside Dice
FURTHER_CLICKS = 4  # at most, so that up to five clicks in all are seen
WARM_UP = 200  # steps, before the cosine has its way
LARGEST_GRADIENT = 1.0  # norm to which longer gradients are cut
SECONDS_PER_CHECKPOINT = 90
WEIGHTS = "model.safetensors"


# -- the model --------------------------------------------------------------------------------


def build(seed: int = 0) -> transformers.SamModel:
    """16 x 16 tokens an image, 568,200 parameters; the same seed gives the same weights.

    Every layer of the encoder attends to the whole image: at 16 x 16 tokens windows would save
    nothing. Position is an absolute embedding alone; the relative one beside it would make the
    encoder three times slower on a CPU.

    SAM encodes the position of a prompt and of an image token by the same random frequencies,
    which are never trained. A fresh ``SamModel`` draws them with a standard deviation of half
    the encoder's width, so that neighboring pixels look unrelated, and some versions draw them
    twice, so that prompts and tokens do not speak of the same places. Here both share one
    parameter of standard normal frequencies, as in SAM's own code, and it is frozen.

    Also as there, layers start as PyTorch starts them. The library's normal draws, of standard
    deviation 1e-10 in the encoder and 0.02 elsewhere, are for weights that are loaded at once.
    """
    grid = {"image_size": SIDE, "patch_size": 4}
    vision = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"output_channels": 64, "num_pos_feats": 32, "use_rel_pos": False}
    vision |= {"window_size": 0, "global_attn_indexes": [0, 1, 2], **grid}
    decoder = {"hidden_size": 64, "mlp_dim": 128, "num_attention_heads": 4}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = transformers.SamModel(
            transformers.SamConfig(
                vision_config=transformers.SamVisionConfig(**vision).to_dict(),
                prompt_encoder_config={"hidden_size": 64, **grid},
                mask_decoder_config={"iou_head_hidden_dim": 64, **decoder},
            )
        )
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()
        frequencies = torch.randn_like(model.shared_image_embedding.positional_embedding)
    shared = nn.Parameter(frequencies, requires_grad=False)
    model.shared_image_embedding.positional_embedding = shared
    model.prompt_encoder.shared_embedding.positional_embedding = shared
    return model.eval()


def processor() -> transformers.SamProcessor:
    """SAM's preprocessing at SAM-tiny's side."""
    square, longest = {"height": SIDE, "width": SIDE}, {"longest_edge": SIDE}
    sizes = {"size": longest, "pad_size": square, "mask_size": longest, "mask_pad_size": square}
    images = transformers.SamImageProcessor(image_mean=list(MEAN), image_std=list(STD), **sizes)
    return transformers.SamProcessor(images)


# -- batches of objects -----------------------------------------------------------------------


def drawn(split: str) -> dict[str, SegmentationSet]:
    """``{"shapes": ..., "scenes": ...}`` for a key of ``SEEDS``, at SAM-tiny's side."""
    count, seed, rule = SCENES[split], SEEDS[split], "any" if split == "train" else "single"
    name = f"scenes-seed{seed}-{count}-{rule}-{SIDE}"
    return {
        "shapes": shapes.generate(SHAPES[split], seed, size=SIDE),
        "scenes": cached_scenes(name, count, seed, SIDE, rule),
    }


class Batch(NamedTuple):
    """Objects to ask for: B images with P objects each, S x S pixels."""

    pixels: Tensor  # float (B, 3, S, S), normalized
    masks: Tensor  # float (B, P, S, S), 0 or 1
    boxes: Tensor  # float (B, P, 4), x0, y0, x1, y1, inclusive


class Pool:
    """The objects of several sets, in memory, to draw batches from."""

    def __init__(self, *sets: SegmentationSet) -> None:
        self.images, masks, boxes = [], [], []
        for data in sets:
            for i, image in enumerate(data.images):
                truth, exact = objects_of(data, i, by_color=False)
                if exact.any():
                    self.images.append(image)
                    masks.append(truth[exact])
                    boxes.append(np.array(data.boxes[i])[exact, 1:])
        self.counts = np.array([len(b) for b in boxes])
        self.first = np.cumsum(self.counts) - self.counts  # of each image's objects
        self.masks, self.boxes = np.concatenate(masks), np.concatenate(boxes).astype(np.float32)

    def draw(self, rng: np.random.Generator, device: torch.device) -> Batch:
        """A batch of random objects, half of the time mirrored left to right."""
        chosen = rng.integers(len(self.first), size=(IMAGES_A_BATCH, 1))
        place = rng.integers(self.counts[chosen], size=(IMAGES_A_BATCH, OBJECTS_AN_IMAGE))
        objects = self.first[chosen] + place
        images = np.stack([self.images[i] for i in chosen[:, 0]])
        masks, boxes = self.masks[objects], self.boxes[objects]
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
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (torch.from_numpy(images.copy()) / 255 - mean) / std


# -- the objective ----------------------------------------------------------------------------


def objective(
    model: nn.Module, batch: Batch, generator: torch.Generator, moved_boxes: float
) -> Tensor:
    """Loss on a batch, each object asked for by box, click and more clicks: a scalar.

    A share ``moved_boxes`` of the boxes is drawn as if by hand.
    """
    embeddings = model.vision_encoder(batch.pixels).last_hidden_state
    targets = batch.masks[:, :, None]

    def ask(multimask: bool, **prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = model(image_embeddings=embeddings, multimask_output=multimask, **prompts)
        masks, truth = out.pred_masks > 0, targets > 0
        true_iou = (masks & truth).sum((-1, -2)) / (masks | truth).sum((-1, -2))
        error = (out.iou_scores - true_iou).square().mean()
        return out.pred_masks, mask_loss(out.pred_masks, targets), error

    _, box_loss, box_error = ask(False, input_boxes=move(batch.boxes, moved_boxes, generator))

    # Anywhere on the object, more often away from its boundary.
    inside = batch.masks * F.avg_pool2d(batch.masks, 5, stride=1, padding=2) ** 2
    first = clicks(inside, batch.masks, 1, generator)
    proposals, click_loss, click_error = ask(True, **first)

    best = click_loss.argmin(dim=2)[:, :, None, None, None].expand(-1, -1, 1, *targets.shape[3:])
    wrong = (proposals.detach().gather(2, best)[:, :, 0] > 0) != (batch.masks > 0)
    draw = torch.rand((), generator=generator, device=generator.device).item()
    further = clicks(wrong.float(), batch.masks, 1 + int(draw * FURTHER_CLICKS), generator)
    together = {name: torch.cat((first[name], further[name]), dim=2) for name in first}
    _, further_loss, further_error = ask(False, **together)

    masks = box_loss.mean() + click_loss.amin(dim=2).mean() + further_loss.mean()
    return masks + (box_error + click_error + further_error)


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy x 5 + Dice of each of logits (..., M, H, W): (..., M)."""
    targets = targets.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((-1, -2))
    probability = logits.sigmoid()
    both = (probability * targets).sum((-1, -2))
    dice = 1 - (2 * both + 1) / (probability.sum((-1, -2)) + targets.sum((-1, -2)) + 1)
    return BCE_WEIGHT * entropy + dice


def move(boxes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the boxes with each side moved by up to a tenth of the box, as a hand draws it."""
    draws = torch.rand((*boxes.shape[:2], 5), generator=generator, device=boxes.device)
    sides = (boxes[..., 2:] - boxes[..., :2] + 1).repeat(1, 1, 2)
    moves = ((draws[..., :4] * 0.2 - 0.1) * sides).round()
    # A tenth of a side moves no corner past its opposite one.
    return torch.where(draws[..., 4:] < share, boxes + moves, boxes).clamp(0, SIDE - 1)


def clicks(
    where: Tensor, masks: Tensor, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """``count`` random pixels of each channel of ``where`` (B, P, S, S), labeled by the mask."""
    weights = where.flatten(0, 1).flatten(1) + 1e-9  # anywhere, where there is nothing to choose
    pixels = torch.multinomial(weights, count, replacement=True, generator=generator)
    labels = masks.flatten(0, 1).flatten(1).gather(1, pixels).long()
    points = torch.stack((pixels % masks.shape[-1], pixels // masks.shape[-1]), dim=-1).float()
    return {
        "input_points": points.unflatten(0, masks.shape[:2]),
        "input_labels": labels.unflatten(0, masks.shape[:2]),
    }


# -- the training -----------------------------------------------------------------------------


def train(
    pool: Pool, checkpoint: Path, args: argparse.Namespace, validation: dict[str, SegmentationSet]
) -> tuple[nn.Module, dict[str, Any]]:
    """Train, or go on from the checkpoint; the same seed gives the same weights either way.

    A training that starts from trained weights refines them: at half the learning rate, and with
    most boxes exact, for exact edges tell a hidden object from the one that hides it.

    Returns:
        The model, and its progress: seed, step, seconds, and a history of losses and scores.
    """
    device, model = best_device(), build(args.seed)
    peak, moved_boxes = (7.5e-4, 0.1) if args.start else (1.5e-3, 0.5)
    if args.start:
        load_model(model, args.start / WEIGHTS)
    model.to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=peak)
    progress = {"seed": args.seed, "step": 0, "seconds": 0.0, "history": []}
    if checkpoint.is_file():
        progress = resume(checkpoint, model, optimizer, args.seed)
    losses, saved = [], time.perf_counter()
    bar = tqdm(range(progress["step"], args.steps), "SAM-tiny", args.steps, True, unit="step")
    with threads_for(model):
        for step in bar:
            # All that is random follows from the seed and the step, so that neither need be saved.
            seeds = np.random.SeedSequence([args.seed, step])
            batch = pool.draw(np.random.default_rng(seeds), device)
            generator = torch.Generator(device).manual_seed(int(seeds.generate_state(1)[0]))
            cosine = (1 + math.cos(math.pi * step / args.steps)) / 2
            optimizer.param_groups[0]["lr"] = peak * min(1.0, (step + 1) / WARM_UP) * cosine
            loss = objective(model, batch, generator, moved_boxes)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            losses.append(loss.item())
            seconds = time.perf_counter() - saved
            if seconds >= SECONDS_PER_CHECKPOINT or step + 1 == args.steps:
                scores = {f"{n}_box_iou": score(model, d)["box"] for n, d in validation.items()}
                row = {"step": step + 1, "loss": float(np.mean(losses)), **scores}
                progress |= {"step": step + 1, "seconds": progress["seconds"] + seconds}
                progress["history"].append(row)
                save(checkpoint, model, optimizer, progress)
                losses, saved = [], time.perf_counter()
    return model, progress


def save(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict):
    """Write the checkpoint from which ``train`` goes on."""
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with atomic_write(checkpoint) as temporary:
        torch.save(states | progress, temporary)


def resume(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, seed: int
) -> dict[str, Any]:
    """Load a checkpoint into the model and the optimizer; what it says of the progress."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state["seed"] != seed:
            raise ValueError(f"begun with seed {state['seed']}, not {seed}")
        model.load_state_dict(state.pop("model"))
        optimizer.load_state_dict(state.pop("optimizer"))
        return state
    except Exception as error:  # a damaged archive raises what it likes
        sys.exit(f"{checkpoint} cannot be resumed ({error}); remove it to start again")


def score(model: nn.Module, data: SegmentationSet) -> dict[str, Any]:
    """Mean IoU over objects, each with its 95 % bootstrap interval over images.

    ``box_filled`` is what filling the box would give, ``box`` the mask for the true box,
    ``click_1`` ... the masks for so many clicks.
    """
    segmenter = Segmenter(SAM_TINY_NAME, model, processor())
    images = [
        score_objects(segmenter, data, i, ask_true_boxes(segmenter, data, i), {})
        for i in range(len(data))
    ]
    names = {"box_filled": "filling the true box", "box": "segmenter, true box"}
    names |= {f"click_{count}": f"segmenter, clicks: {count}" for count in (1, 3, 5)}
    objects = sum(len(scores[names["box"]]) for scores in images)
    table: dict[str, Any] = {"data": data.name, "images": len(data), "objects": objects}
    for name, who in names.items():
        ends = mean_over_objects([scores[who] for scores in images])
        table[name] = dict(zip(("mean", "low", "high"), np.round(ends, 4).tolist(), strict=True))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Train, score on unseen images and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="folder of a trained SAM-tiny to refine")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    args = parser.parse_args(argv)
    if args.out.exists():
        parser.error(f"{args.out} is there already; choose another folder")
    if args.start and not (args.start / WEIGHTS).is_file():
        parser.error(f"{args.start} holds no trained SAM-tiny to refine; {WEIGHTS} is missing")
    sets, checkpoint = drawn("train"), args.out.with_name(f"{args.out.name}.checkpoint")
    pool = Pool(*sets.values())
    model, progress = train(pool, checkpoint, args, drawn("validation"))
    record = {
        "name": SAM_TINY_NAME,
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": {
            name: {"name": data.name, "images": len(data), "digest": digest(data)}
            for name, data in sets.items()
        },
        "objects": len(pool.masks),
        "seed": args.seed,
        "steps": args.steps,
        "minutes": round(progress["seconds"] / 60, 1),
        "scores": {name: score(model, data) for name, data in drawn("test").items()},
        "history": progress["history"],
        "versions": {lib.__name__: lib.__version__ for lib in (torch, np, transformers)},
        "machine": f"{platform.system()}, {platform.machine()}, {model.device.type}",
    }
    if args.start:
        record["refines"] = json.loads((args.start / "record.json").read_text(encoding="utf-8"))
    with atomic_folder(args.out) as folder:
        model.save_pretrained(folder)
        processor().save_pretrained(folder)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    checkpoint.unlink()
    print(json.dumps(record["scores"], indent=1))


if __name__ == "__main__":
    main()
