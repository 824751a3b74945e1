"""Which data a run sees: the real set where it has been brought, the drawn one otherwise.

Drawn sets are made on first use. Those that take long to make are cached below
``data/cache``, as are real sets once they have been read.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
from filelock import FileLock

from seghw import shapes
from seghw.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.paths import CACHE, DATA
from seghw.recipes import PROFILES, TrainConfig

SPLITS = ("train", "validation", "test")

#: The course's archives, as it names them.
ARCHIVES = {
    "train": DATA / "PurdueShapes5MultiObject-10000-train.gz",
    "test": DATA / "PurdueShapes5MultiObject-1000-test.gz",
}
#: Where ``python -m seghw data coco`` puts the real pizza/cat/bus set by default.
COCO_SET = DATA / "coco3"


def default_dataset(family: str) -> str:
    """The data set that stands for ``"shapes"`` or ``"coco"`` here: real if present, else drawn."""
    if family == "shapes":
        return "purdue5" if all(path.is_file() for path in ARCHIVES.values()) else "shapes5"
    if family == "coco":
        return "coco3" if (COCO_SET / "set.json").is_file() else "scenes3"
    raise BadInput(f"data family {family!r} is neither 'shapes' nor 'coco'")


def open_split(config: TrainConfig, split: str) -> SegmentationSet:
    """One split of a run's data set, with as many images as its profile asks for at most.

    Args:
        config: gives the data set and the profile.
        split: one of ``SPLITS``; their images never overlap.

    Raises:
        BadInput: a real set is asked for and not there.
    """
    if split not in SPLITS:
        raise BadInput(f"split must be one of {SPLITS}, got {split!r}")
    profile = PROFILES[config.profile]
    count = getattr(profile, f"{split}_count")
    if config.dataset == "shapes5":
        return shapes.generate(count, seed=SPLITS.index(split))
    if config.dataset == "scenes3":
        return _scenes(count, SPLITS.index(split), profile.scene_size)
    real = _purdue(split) if config.dataset == "purdue5" else split_real(_coco(), split)
    return real.subset(slice(0, count))


def split_real(data: SegmentationSet, split: str) -> SegmentationSet:
    """Seven tenths of a set for training, the rest in halves for validation and test."""
    return dict(zip(SPLITS, data.split(0.7, 0.15, seed=0), strict=True))[split]


def digest(data: SegmentationSet) -> str:
    """A short fingerprint of a set's pixels and masks, whatever it is called."""
    sha = hashlib.sha256()
    for array in (data.images, data.masks):
        sha.update(str(array.shape).encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()[:16]


def _scenes(count: int, seed: int, size: int) -> SegmentationSet:
    from seghw import coco, scenes

    def make() -> SegmentationSet:
        folder = CACHE / f"scenes-seed{seed}-{drawn}"
        annotations = folder / "annotations" / "instances_scenes.json"
        if not annotations.is_file():
            annotations = scenes.draw_scenes(folder, drawn, seed)
        name = f"drawn scenes, seed {seed}"
        found = coco.build(annotations, folder, size=size, name=name)
        if len(found) < count:
            raise BadInput(f"only {len(found)} of {drawn} scenes hold one large object")
        return found.subset(slice(0, count))

    # About two scenes in three hold exactly one large object, as the homework's rule wants.
    drawn = math.ceil(1.8 * count)
    return _cached(f"scenes3-seed{seed}-{count}-{size}", make)


def _purdue(split: str) -> SegmentationSet:
    archive = ARCHIVES["test" if split == "test" else "train"]
    if not archive.is_file():
        raise BadInput(f"{archive} is missing; put the course's archive there")
    data = _cached(f"purdue5-{archive.stem}", lambda: shapes.read_archive(archive))
    if split == "test":
        return data
    training, validation = data.split(0.95, seed=0)
    return training if split == "train" else validation


def _coco() -> SegmentationSet:
    if not COCO_SET.is_dir():
        raise BadInput(f"{COCO_SET} is missing; make it with `python -m seghw data coco`")
    return SegmentationSet.load(COCO_SET)


def _cached(name: str, make) -> SegmentationSet:
    """The set of that name below ``data/cache``, made first if it is not there."""
    folder = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f".{name}.lock"):
        if not Path(folder, "set.json").is_file():
            make().save(folder)
    return SegmentationSet.load(folder)
