"""What happens on photographs: trains, scores, and has ``scores.py`` write the tables.

    python data/photographs/measure.py PHOTOGRAPHS

Used are the photographs with exactly one pizza, cat or bus whose box is at least 100 pixels on both
sides. Interrupted, the same command goes on where it was. What has a record is not trained again:
``--runs data/retrained`` trains all anew, the networks of the drawn scenes included.
"""

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from scores import HERE, write_tables
from tqdm.auto import tqdm

from seghw import metrics
from seghw.config import COCO3, PROFILES, RUNS, TrainConfig
from seghw.data import SegmentationSet, coco
from seghw.evaluate import predict
from seghw.io import atomic_write, write_csv
from seghw.sam import box_masks, first_click, load_sam, next_click, segment_boxes, segment_points
from seghw.train import load_network, train

CLASSES = [spec.name for spec in COCO3]
#: Where each part ends: a photograph's place, 0..1, is its SHA-256 read as a fraction.
PARTS = {"train": 0.6, "validation": 0.7, "test": 1.0}
#: By recipe: the networks that see drawn scenes only; their settings serve on photographs too.
DRAWN = {
    "report": [TrainConfig("scenes3", "report", "mse_dice", 1e-4, 60.0, s) for s in range(3)],
    "corrected": [TrainConfig("scenes3", "corrected", "mse_dice", 4e-3, 60.0, s) for s in range(8)],
}


def part_of(sha256: str) -> str:
    """A photograph's part, from its bytes alone: further photographs never move it to another."""
    return next(part for part, end in PARTS.items() if int(sha256[:8], 16) / 2**32 < end)


@cache
def read_photographs(folder: Path, size: int) -> SegmentationSet:
    """All usable photographs at ``size`` x ``size``, named and ordered by their files' SHA-256."""
    parts, names = [], []
    for file in sorted(folder.glob("*/annotations/instances.json")):
        annotations, images = coco.read_annotations(file), file.parents[1] / "images"
        present = {entry["name"] for entry in annotations["categories"]}
        for c in (c for c, name in enumerate(CLASSES) if name not in present):
            annotations["categories"].append({"id": -1 - c, "name": CLASSES[c]})  # as VOC's pizza
        data = coco.build(annotations, images, CLASSES, size=size, min_box=100)
        names += [hashlib.sha256((images / n).read_bytes()).hexdigest() for n in data.names]
        parts.append((data.images, data.masks, data.boxes))
    if not parts:
        raise SystemExit(f"{folder} holds no folder with annotations/instances.json and images/")
    images, masks, boxes = (list(chain(*each)) for each in zip(*parts, strict=True))
    about = (boxes, COCO3, "photographs", tuple(names))
    return SegmentationSet(np.stack(images), np.stack(masks), *about).subset(np.argsort(names))


def split(folder: Path, size: int, share: float = 1.0) -> list[SegmentationSet]:
    """The first ``share`` of the training photographs, and all for validation and test."""
    data = read_photographs(folder, size)
    parts = np.array([part_of(sha256) for sha256 in data.names])
    training, *others = (np.flatnonzero(parts == part) for part in PARTS)
    return [data.subset(i) for i in (training[: round(share * len(training))], *others)]


def plan() -> Iterator[tuple[TrainConfig, float]]:
    """What is trained, and on which share of the training photographs; seed by seed."""
    for drawn in DRAWN["corrected"]:
        scratch = replace(drawn, dataset="coco3", profile="photographs")
        after = replace(scratch, start=f"laptop/{drawn.run_id}")
        yield replace(scratch, recipe="report", learning_rate=1e-4), 1.0
        yield scratch, 1.0
        yield after, 1.0
        for share in (0.25, 0.5):  # as many iterations as on all of them
            yield replace(after, epochs=round(after.planned_epochs / share)), share
        # Changed at random, photographs take longer to learn.
        yield replace(after, augment=True, epochs=3 * after.planned_epochs), 1.0
        if drawn.seed == 0:
            yield replace(after, profile="photographs128"), 1.0


def constant_mask(masks: np.ndarray) -> np.ndarray:
    """The one mask, bool (H, W), with the highest IoU if predicted for each of bool (N, H, W)."""
    often = masks.sum(0).ravel()
    order = np.argsort(-often, kind="stable")  # the best of k pixels are those most often true
    tp = np.cumsum(often[order])
    union = np.arange(1, len(often) + 1) * len(masks) + often.sum() - tp
    constant = np.zeros(len(often), bool)
    constant[order[: (tp / union).argmax() + 1]] = True
    return constant.reshape(masks.shape[1:])


def baselines(training: SegmentationSet, test: SegmentationSet) -> dict[str, np.ndarray]:
    """Masks for the test set that no network of ours made, bool (N, C, H, W) by name."""
    masks: dict[str, np.ndarray] = defaultdict(lambda: np.zeros_like(test.masks))
    for c in range(len(CLASSES)):
        true, here = training.masks[:, c], test.masks[:, c].any((1, 2))
        masks["constant mask"][:, c] = constant_mask(true)
        masks["constant mask, true class"][here, c] = constant_mask(true[true.any((1, 2))])
    sam = load_sam()
    for i, (image, ((c, *box),)) in enumerate(zip(test.images, test.boxes, strict=True)):
        true = test.masks[i, c]
        masks["filled true box"][i, c] = box_masks([box], true.shape)[0]
        masks["SAM-tiny, true box"][i, c] = segment_boxes(sam, image, np.array([box])).masks[0]
        clicks = [first_click(true)]
        for n in range(1, 6):
            points = np.array([clicks])
            clicked = segment_points(sam, image, points[..., :2], points[..., 2]).masks[0]
            masks[f"SAM-tiny, clicks: {n}"][i, c] = clicked
            clicks.append(next_click(true, clicked))
    return masks


def score_untrained(photographs: Path, runs: Path) -> None:
    """Write ``untrained.npz``, counts int32 (seeds, N, C, 4) by method, and ``photographs.csv``."""
    training, _, test = split(photographs, 64)
    masks = {name: [masks] for name, masks in baselines(training, test).items()}
    for recipe, configs in DRAWN.items():
        networks = [load_network(runs / "laptop" / config.run_id) for config in configs]
        images, settings = test.images, configs[0].settings
        masks[f"{recipe}, drawings"] = [predict(n, images, settings, "scenes3") for n in networks]
    counts = {name: [metrics.count(m, test.masks) for m in each] for name, each in masks.items()}
    with atomic_write(runs / "photographs" / "untrained.npz") as path:
        np.savez_compressed(path, **{name: np.int32(tables) for name, tables in counts.items()})
    data = read_photographs(photographs, 64)
    classes = [CLASSES[boxes[0][0]] for boxes in data.boxes]
    rows = zip(data.names, classes, map(part_of, data.names), strict=True)
    write_csv(HERE / "photographs.csv", ("sha256", "class", "part"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", type=Path, help="*/annotations/instances.json, */images/")
    parser.add_argument("--runs", type=Path, default=RUNS, help="records, default %(default)s")
    args = parser.parse_args()
    for config in chain(*DRAWN.values()):
        if not (args.runs / "laptop" / config.run_id / "run.json").is_file():
            train(config, runs=args.runs)
    for config, share in tqdm(list(plan()), unit="run", desc="photographs"):
        data = split(args.photographs, PROFILES[config.profile].scene_size, share)
        train(config, data, runs=args.runs, progress=False)
    if not (args.runs / "photographs" / "untrained.npz").is_file():
        score_untrained(args.photographs, args.runs)
    write_tables(args.runs)


if __name__ == "__main__":
    main()
