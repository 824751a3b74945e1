"""Train SAM-tiny on drawn shapes and scenes: ``python -m seghw.sam_tiny --minutes 60``.

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
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from seghw import metrics, sam_tiny_model
from seghw.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.files import whole_file
from seghw.prompting import ObjectScores, box_masks, find_objects
from seghw.runs import versions
from seghw.sam import score_boxes, score_clicks
from seghw.sam_tiny_data import IMAGES_A_BATCH, OBJECTS_AN_IMAGE, Pool, drawn
from seghw.sam_tiny_training import CHECKPOINT, WEIGHTS, Training
from seghw.segmenter import Segmenter
from seghw.sources import digest

SECONDS_A_CHECKPOINT = 90
CLICKS = (1, 3, 5)


def train(
    folder: str | Path = sam_tiny_model.FOLDER,
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
        steps: of the optimiser.
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
    training = Training(Pool(*sets.values()), folder, **length, seed=seed, start=start)
    _run(training, drawn("validation"))
    record = _record(training, sets, drawn("test"))
    _write(training, record)
    return record


def _run(training: Training, validation: Mapping[str, SegmentationSet]) -> None:
    losses: list[float] = []
    saved = training.seconds
    layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=100, desc="SAM-tiny", bar_format=layout) as bar:
        while training.share < 1:
            losses.append(training.advance().total.item())
            bar.set_postfix_str(f"step {training.step}, loss {losses[-1]:.3f}", refresh=False)
            bar.update(100 * training.share - bar.n)
            if training.seconds - saved >= SECONDS_A_CHECKPOINT or training.share == 1:
                saved = training.seconds
                row = {"step": training.step, "minutes": round(saved / 60, 2)}
                row["loss"] = round(float(np.mean(losses)), 4)
                for name, data in validation.items():
                    mean = score_boxes(training.segmenter(), data).mean
                    row[f"{name}_box_iou"] = round(mean, 4)
                training.history.append(row)
                training.save()
                losses.clear()
                tqdm.write(json.dumps(row), file=sys.stderr)


def score(segmenter: Segmenter, data: SegmentationSet) -> dict[str, Any]:
    """Mean IoU an object, each with its 95 % bootstrap interval over images.

    ``box_filled`` is what filling the box would give, ``box`` the mask for the true box,
    ``click_1`` ... the masks for so many clicks.
    """
    objects = find_objects(data)
    filled = box_masks(objects.boxes, data.masks.shape[2:])
    found = {
        "box_filled": ObjectScores.of(filled, objects.masks, objects.image, len(data)),
        "box": score_boxes(segmenter, data),
        **{f"click_{n}": s for n, s in score_clicks(segmenter, data, CLICKS).items()},
    }
    table: dict[str, Any] = {"data": data.name, "images": len(data), "objects": len(objects)}
    for name, scores in found.items():
        low, high = metrics.bootstrap_interval(lambda s: s.mean, scores)
        interval = {"mean": scores.mean, "low": low, "high": high}
        table[name] = {end: round(float(value), 4) for end, value in interval.items()}
    return table


def _record(
    training: Training,
    sets: Mapping[str, SegmentationSet],
    test: Mapping[str, SegmentationSet],
) -> dict[str, Any]:
    return {
        "name": sam_tiny_model.TRAINED,
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
        "objects_a_step": IMAGES_A_BATCH * OBJECTS_AN_IMAGE,
        "peak_learning_rate": training.peak,
        "moved_boxes": training.moved_boxes,
        "scores": {name: score(training.segmenter(), data) for name, data in test.items()},
        "history": training.history,
        **({"refines": _earlier(training.start)} if training.start else {}),
        "versions": versions() | {"transformers": importlib.metadata.version("transformers")},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": training.device.type,
        },
    }


def _earlier(folder: str | Path) -> dict[str, Any]:
    """What the record of the weights that were refined says of their training."""
    record = json.loads((Path(folder) / "record.json").read_text(encoding="utf-8"))
    return {key: value for key, value in record.items() if key not in ("data", "objects_are")}


def _write(training: Training, record: Mapping[str, Any]) -> None:
    """Everything but the weights first: a folder with weights is a finished one."""
    folder = training.folder
    with tempfile.TemporaryDirectory() as temporary:
        training.model.save_pretrained(temporary)
        sam_tiny_model.processor().save_pretrained(temporary)
        Path(temporary, "record.json").write_text(
            json.dumps(record, indent=1) + "\n", encoding="utf-8"
        )
        names = {path.name for path in Path(temporary).iterdir()} - {WEIGHTS}
        for name in (*sorted(names), WEIGHTS):
            with whole_file(folder / name) as path:
                shutil.copyfile(Path(temporary, name), path)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m seghw.sam_tiny", description="Train SAM-tiny; go on if interrupted."
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="of training, beside drawing and scoring")
    length.add_argument("--steps", type=int, help="instead, to repeat a recorded training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="folder of a trained SAM-tiny to refine")
    parser.add_argument("--out", type=Path, default=sam_tiny_model.FOLDER)
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
