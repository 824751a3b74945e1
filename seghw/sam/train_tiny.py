"""Train SAM-tiny on drawn shapes and scenes: ``python -m seghw.sam.train_tiny --minutes 60``.

The folder given by ``--out`` then holds

``model.safetensors``, ``config.json``, ``processor_config.json``
    the model, as transformers' ``SamModel`` and ``SamProcessor`` read it.
``record.json``
    data, steps, settings, scores on unseen images, machine and versions.

An interrupted training goes on from its last checkpoint, at most a minute and a half old.
"""

import argparse
import importlib.metadata
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model
from tqdm.auto import tqdm

from seghw import metrics
from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import cached_scenes, digest
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.sam import tiny
from seghw.sam.compare import score_boxes, score_clicks
from seghw.sam.predictor import SAM_TINY, SAM_TINY_NAME, Segmenter
from seghw.sam.prompts import box_masks, find_objects
from seghw.threads import threads_for
from seghw.train.runs import machine, versions
from seghw.train.trainer import CHECKPOINT, best_device, resume_checkpoint, save_checkpoint

#: Seeds as everywhere in the project, so that nothing the network is tested on is seen here.
SEEDS = {"train": 0, "validation": 1, "test": 2}
#: Images drawn; of the scenes, those that are not to be trained on follow the homework's rule,
#: one large object per image, which about two in three do.
SHAPES = {"train": 10_000, "validation": 40, "test": 300}
SCENES = {"train": 3_000, "validation": 60, "test": 450}

PEAK_LEARNING_RATE = 1.5e-3
REFINING_LEARNING_RATE = 7.5e-4  # of a training that begins with trained weights
REFINING_MOVED_BOXES = 0.1  # exact edges tell a hidden object from the one that hides it
WARM_UP = 200  # steps, before the cosine has its way
LARGEST_GRADIENT = 1.0  # norm to which longer gradients are cut
SECONDS_PER_CHECKPOINT = 90
WEIGHTS = "model.safetensors"


def drawn(split: str) -> dict[str, SegmentationSet]:
    """``{"shapes": ..., "scenes": ...}`` for a key of ``SEEDS``, at SAM-tiny's side."""
    count, seed, rule = SCENES[split], SEEDS[split], "any" if split == "train" else "single"
    name = f"scenes-seed{seed}-{count}-{rule}-{tiny.SIDE}"
    return {
        "shapes": shapes.generate(SHAPES[split], seed, size=tiny.SIDE),
        "scenes": cached_scenes(name, count, seed, tiny.SIDE, rule),
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
        pool: tiny.Pool,
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
        self.pool, self.folder, self.start = pool, Path(folder), start
        self.minutes, self.steps, self.seed = minutes, steps, seed
        self.device = best_device()
        self.model = tiny.build(seed)
        if start is not None:
            if not (Path(start) / WEIGHTS).is_file():
                raise BadInput(f"{start} holds no trained SAM-tiny to refine; {WEIGHTS} is missing")
            load_model(self.model, Path(start) / WEIGHTS)
        self.model.to(self.device)
        self.peak = PEAK_LEARNING_RATE if start is None else REFINING_LEARNING_RATE
        self.moved_boxes = tiny.MOVED_BOXES if start is None else REFINING_MOVED_BOXES
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad], lr=self.peak
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        state = resume_checkpoint(
            self.folder / CHECKPOINT, self.model, self.optimizer, self.device, {"seed": seed}
        )
        if state:
            self.step, self.seconds, self.history = (
                state[name] for name in ("step", "seconds", "history")
            )

    @property
    def share(self) -> float:
        """How much of the training is done, 0 to 1."""
        done = self.step / self.steps if self.steps else self.seconds / (60 * self.minutes)
        return min(1.0, done)

    def advance(self) -> tiny.Terms:
        """One step of the optimizer; its terms, before it."""
        start = time.perf_counter()
        # All that is random follows from the seed and the step, so that neither need be saved.
        seeds = np.random.SeedSequence([self.seed, self.step])
        batch = self.pool.draw(np.random.default_rng(seeds), self.device)
        generator = torch.Generator(self.device).manual_seed(int(seeds.generate_state(1)[0]))
        terms = tiny.objective(self.model, batch, generator, self.moved_boxes)
        warm_up = min(1.0, (self.step + 1) / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * warm_up * (1 + math.cos(math.pi * self.share)) / 2
        self.optimizer.zero_grad()
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        self.seconds += time.perf_counter() - start
        return terms

    def save(self) -> None:
        """Write the checkpoint from which another ``Training`` of this folder goes on."""
        save_checkpoint(
            self.folder / CHECKPOINT,
            self.model,
            self.optimizer,
            step=self.step,
            seconds=self.seconds,
            seed=self.seed,
            history=self.history,
        )

    def segmenter(self) -> Segmenter:
        """The model as it is now, behind the common interface."""
        return Segmenter(SAM_TINY_NAME, self.model, tiny.processor())

    def run(self, validation: Mapping[str, SegmentationSet]) -> None:
        """All steps that are left, with a checkpoint and validation scores every 90 seconds."""
        losses: list[float] = []
        saved = self.seconds
        layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        bar = tqdm(total=100, desc="SAM-tiny", bar_format=layout)
        with bar, threads_for(self.model):
            while self.share < 1:
                losses.append(self.advance().total.item())
                bar.set_postfix_str(f"step {self.step}, loss {losses[-1]:.3f}", refresh=False)
                bar.update(100 * self.share - bar.n)
                if self.seconds - saved >= SECONDS_PER_CHECKPOINT or self.share == 1:
                    saved = self.seconds
                    row = {"step": self.step, "minutes": round(saved / 60, 2)}
                    row["loss"] = round(float(np.mean(losses)), 4)
                    for name, data in validation.items():
                        row[f"{name}_box_iou"] = round(score_boxes(self.segmenter(), data).mean, 4)
                    self.history.append(row)
                    self.save()
                    losses.clear()
                    tqdm.write(json.dumps(row), file=sys.stderr)


def train(
    folder: str | Path = SAM_TINY,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    start: str | Path | None = None,
) -> dict[str, Any]:
    """Train SAM-tiny, score it on unseen images and write all of it to ``folder``.

    Args:
        folder: where to; may hold the checkpoint of an interrupted training.
        minutes: of training proper, without drawing and scoring; or
        steps: of the optimizer.
        seed: of the initial weights, the batches and the prompts.
        start: folder of a trained SAM-tiny to refine; default, random weights.

    Returns:
        What ``record.json`` holds.

    Raises:
        BadInput: the folder holds a finished model already.
    """
    folder = Path(folder)
    if (folder / WEIGHTS).is_file():
        raise BadInput(f"{folder} holds a trained model; remove it or choose another folder")
    sets = drawn("train")
    length = {"minutes": minutes, "steps": steps}
    training = Training(tiny.Pool(*sets.values()), folder, **length, seed=seed, start=start)
    training.run(drawn("validation"))
    record = _record(training, sets, drawn("test"))
    _write(training, record)
    return record


def score(segmenter: Segmenter, data: SegmentationSet) -> dict[str, Any]:
    """Mean IoU over objects, each with its 95 % bootstrap interval over images.

    ``box_filled`` is what filling the box would give, ``box`` the mask for the true box,
    ``click_1`` ... the masks for so many clicks.
    """
    objects = find_objects(data)
    filled = box_masks(objects.boxes, data.masks.shape[2:])
    found = {
        "box_filled": objects.score(filled, len(data)),
        "box": score_boxes(segmenter, data),
        **{f"click_{n}": s for n, s in score_clicks(segmenter, data).items()},
    }
    table: dict[str, Any] = {"data": data.name, "images": len(data), "objects": len(objects)}
    for name, scores in found.items():
        low, high = metrics.bootstrap_interval(lambda s: s.mean, scores)
        interval = {"mean": scores.mean, "low": low, "high": high}
        table[name] = {end: round(float(value), 4) for end, value in interval.items()}
    return table


def _record(
    training: Training, sets: Mapping[str, SegmentationSet], test: Mapping[str, SegmentationSet]
) -> dict[str, Any]:
    return {
        "name": SAM_TINY_NAME,
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "data": {
            name: {"name": data.name, "images": len(data), "digest": digest(data)}
            for name, data in sets.items()
        },
        "objects": len(training.pool.image),
        "objects_are": "their class's mask inside their box; a box that overlaps another of its "
        "class is left out",
        "seed": training.seed,
        "steps": training.step,
        "minutes": round(training.seconds / 60, 1),
        "objects_a_step": tiny.IMAGES_A_BATCH * tiny.OBJECTS_AN_IMAGE,
        "peak_learning_rate": training.peak,
        "moved_boxes": training.moved_boxes,
        "scores": {name: score(training.segmenter(), data) for name, data in test.items()},
        "history": training.history,
        **({"refines": _earlier(training.start)} if training.start else {}),
        "versions": versions() | {"transformers": importlib.metadata.version("transformers")},
        "machine": machine(training.device),
    }


def _earlier(folder: str | Path) -> dict[str, Any]:
    """What the record of the weights that were refined says of their training."""
    record = json.loads((Path(folder) / "record.json").read_text(encoding="utf-8"))
    return {key: value for key, value in record.items() if key not in ("data", "objects_are")}


def _write(training: Training, record: Mapping[str, Any]) -> None:
    """Everything but the weights first: a folder with weights is a finished one."""
    with tempfile.TemporaryDirectory() as temporary:
        training.model.save_pretrained(temporary)
        tiny.processor().save_pretrained(temporary)
        text = json.dumps(record, indent=1) + "\n"
        Path(temporary, "record.json").write_text(text, encoding="utf-8")
        names = {path.name for path in Path(temporary).iterdir()} - {WEIGHTS}
        for name in (*sorted(names), WEIGHTS):
            with atomic_write(training.folder / name) as path:
                shutil.copyfile(Path(temporary, name), path)
    (training.folder / CHECKPOINT).unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m seghw.sam.train_tiny", description="Train SAM-tiny; go on if interrupted."
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="of training, beside drawing and scoring")
    length.add_argument("--steps", type=int, help="instead, to repeat a recorded training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="folder of a trained SAM-tiny to refine")
    parser.add_argument("--out", type=Path, default=SAM_TINY)
    args = parser.parse_args(argv)
    try:
        length = {"minutes": args.minutes, "steps": args.steps}
        record = train(args.out, **length, seed=args.seed, start=args.start)
    except BadInput as error:
        print(f"seghw: {error}", file=sys.stderr)
        return 2
    print(json.dumps(record["scores"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
