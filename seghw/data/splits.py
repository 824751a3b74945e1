"""Which data a run sees: the real set where it has been brought, the drawn one otherwise.

Drawn sets are made on first use. What takes long to make or to read is kept in ``data/cache``.
"""

import hashlib
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from filelock import FileLock

from seghw.config import CACHE, COCO3, DATA, PROFILES, SPLITS, TrainConfig, classes_of
from seghw.data import coco, purdue, shapes
from seghw.data.dataset import SegmentationSet
from seghw.data.scenes import draw_scenes
from seghw.errors import BadInput

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
        return "shapes5" if _missing_archives() else "purdue5"
    if family == "coco":
        return "coco3" if (COCO_SET / "set.json").is_file() else "scenes3"
    raise BadInput(f"data family {family!r} is neither 'shapes' nor 'coco'")


def describe_data(dataset: str) -> str:
    """One line about a data set: real or drawn, and where the real one is."""
    missing, photographs = _missing_archives(), default_dataset("coco") == "coco3"
    archives = f"{missing} missing from data/" if missing else "the course's archives in data/"
    real_shapes = f"for the real set put {missing} into data/"
    real_photographs = "`python -m seghw data coco` brings photographs of COCO"
    if not missing:
        real_shapes = f"{archives} go by the name purdue5 and are not used here"
    if photographs:
        real_photographs = "those in data/coco3 go by the name coco3 and are not used here"
    about = {
        "purdue5": f"PurdueShapes5MultiObject, {archives}",
        "shapes5": f"drawn look-alikes of PurdueShapes5MultiObject; {real_shapes}",
        "coco3": f"photographs of COCO, {'in' if photographs else 'missing from'} data/coco3",
        "scenes3": f"drawn pizzas, cats and buses; {real_photographs}",
    }
    classes_of(dataset)  # refuses what is no name of a set
    return f"{dataset}: {about.get(dataset, 'a set of your own, given with --data')}"


def open_split(config: TrainConfig, split: str) -> SegmentationSet:
    """One split, of ``config.SPLITS``, of a run's data set: at most its profile's number of images.

    The splits share no image. A real COCO set keeps the size at which it was built; a warning says
    so where the profile is made for another one. ``BadInput`` if a real set is asked for and not
    there, or has too few images or other classes.
    """
    if split not in SPLITS:
        raise BadInput(f"split must be one of {SPLITS}, got {split!r}")
    profile, seed = PROFILES[config.profile], SPLITS.index(split)
    count, size = getattr(profile, f"{split}_count"), profile.scene_size
    match config.dataset:
        case "shapes5":
            return shapes.generate(count, seed)
        case "scenes3":
            name = f"scenes3-seed{seed}-{count}-{size}"
            return cached_scenes(name, math.ceil(1.8 * count), seed, size).subset(slice(count))
        case "purdue5" if split == "test":
            return _purdue("test").subset(slice(count))
        case "purdue5":
            return split_real(_purdue("train"), split, count, (0.95,))
        case "coco3":
            return split_real(_coco(size), split, count)
    raise BadInput(f"{config.dataset} is a set of your own; give its folder with --data")


def split_real(
    data: SegmentationSet,
    split: str,
    count: int | None = None,
    parts: Sequence[float] = (0.7, 0.15),
) -> SegmentationSet:
    """A random part of a set of six images or more, always the same; only its images are read.

    Args:
        data: the set.
        split: one of ``config.SPLITS``; ``BadInput`` if it would be empty.
        count: keep the first so many images of the split at most; None keeps all.
        parts: shares of the set that the first splits take; the last one takes the rest.
    """
    order = np.random.default_rng(0).permutation(len(data))
    ends = np.round(np.cumsum(parts) * len(data)).astype(int)
    indices = np.sort(np.split(order, ends)[SPLITS.index(split)])[:count]
    if not len(indices):
        raise BadInput(f"{data.name!r}: {len(data)} images are too few for a {split} set as well")
    return data.subset(indices)


def digest(data: SegmentationSet) -> str:
    """A short fingerprint of a set's pixels and masks, whatever it is called."""
    sha = hashlib.sha256()
    for array in (data.images, data.masks):
        sha.update(str(array.shape).encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()[:16]


def cached_scenes(
    name: str, drawn: int, seed: int, size: int, instances: str = "single"
) -> SegmentationSet:
    """Of ``drawn`` scenes those that ``coco.build`` takes, kept as ``data/cache/name``."""

    def make() -> SegmentationSet:
        folder = CACHE / f"scenes-seed{seed}-{drawn}"
        annotations = folder / "annotations" / "instances_scenes.json"
        with FileLock(CACHE / f".{folder.name}.lock"):  # sets of other sizes take these as well
            if not annotations.is_file():
                draw_scenes(folder, drawn, seed)
        about = f"drawn scenes, seed {seed}"
        return coco.build(annotations, folder, size=size, instances=instances, name=about)

    return _cached(name, make)


def _missing_archives() -> str:
    return " and ".join(path.name for path in ARCHIVES.values() if not path.is_file())


def _purdue(part: str) -> SegmentationSet:
    archive = ARCHIVES[part]
    if not archive.is_file():
        raise BadInput(f"{archive} is missing; put the course's archive there")
    with archive.open("rb") as file:  # another archive may come under the same name
        sha = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return _cached(f"purdue5-{archive.stem}-{sha}", lambda: purdue.read_archive(archive))


def _coco(size: int) -> SegmentationSet:
    if not COCO_SET.is_dir():
        raise BadInput(f"{COCO_SET} is missing; make it with `python -m seghw data coco`")
    data = SegmentationSet.load(COCO_SET)
    if data.classes != COCO3:
        names = ", ".join(spec.name for spec in data.classes)
        raise BadInput(f"{COCO_SET} holds the classes {names}; build others elsewhere, with --out")
    height, width = data.images.shape[2:]
    if (height, width) != (size, size):
        warnings.warn(
            f"{COCO_SET} holds images of {height} x {width} and they are used so; the profile is "
            f"made for {size} x {size}: build the set with --size {size} for that",
            stacklevel=3,
        )
    return data


def _cached(name: str, make: Callable[[], SegmentationSet]) -> SegmentationSet:
    """The set of that name below ``data/cache``, made first if it is not there or damaged."""
    folder = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f".{name}.lock"):
        with suppress(BadInput):
            return SegmentationSet.load(folder)
        shutil.rmtree(folder, ignore_errors=True)
        make().save(folder)
    return SegmentationSet.load(folder)
