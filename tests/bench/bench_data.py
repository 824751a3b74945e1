"""`bench data`: reading an archive and gathering batches, against DLStudio's own data set."""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from seghw.config import REPORT, SHAPES5
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from tests.bench.dlstudio_course import Course, dlstudio_on
from tests.bench.harness import Bench, interleave, speedup

ABOUT = """Both sides have the same drawn images, written as the course's archive and read from it,
and draw the same shuffled batches, as float32 inputs and targets: DLStudio's __getitem__ and
  default_collate, its masks converted as in its training loop; ours as in seghw.train.
from disk: the set is memory-mapped; its pages are in the system's cache."""

Side = Callable[[np.ndarray], tuple]


def bench_data(count: int = 400, batch_size: int = 4, rounds: int = 31) -> Bench:
    """Time a batch on both sides, and reading an archive of so many images.

    Raises:
        BadInput: DLStudio is not installed.
    """
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        purdue.read_archive(course.archive).save(course.folder / "set")
        order = list(batches(count, batch_size, seed=0))
        sides = gather_sides(course)
        difference = largest_difference(sides, order[0])
        calls = {name: _in_order(side, order) for name, side in sides.items()}
        seconds = interleave(calls, rounds)
        reading = {"DLStudio": course.open_dataset}
        reading["seghw"] = partial(purdue.read_archive, course.archive)
        read = interleave(reading, 3, at_least=0).median()
    theirs, memory, disk = sides
    numbers = {
        "a batch, from memory": (speedup(seconds, theirs, memory), "x", "goal: at least 20"),
        "a batch, from disk": (speedup(seconds, theirs, disk), "x", "goal: at least 20"),
        "largest difference of the batches": (difference, "", "goal: none"),
        "reading the archive": (read.DLStudio / read.seghw, "x", ""),
    }
    title = f"bench data: batches of {batch_size} from {count} images of 64 x 64"
    return Bench(title, ABOUT, seconds, numbers)


def gather_sides(course: Course) -> dict[str, Side]:
    """What is timed: functions from indices to inputs and targets, DLStudio's first."""

    def theirs(indices: np.ndarray) -> tuple:
        batch = course.collate(indices)
        return batch["image"], batch["mask_tensor"].type(torch.FloatTensor)

    def ours(data: SegmentationSet, indices: np.ndarray) -> tuple:
        x = REPORT.inputs(data.images[indices], "shapes5")
        return x, REPORT.targets(data.masks[indices], SHAPES5)

    return {
        "DLStudio, a batch": theirs,
        "seghw, a batch, from memory": partial(ours, purdue.read_archive(course.archive)),
        "seghw, a batch, from disk": partial(ours, SegmentationSet.load(course.folder / "set")),
    }


def largest_difference(sides: dict[str, Side], indices: np.ndarray) -> float:
    """Over the images and masks of a batch, between DLStudio and each of ours."""
    theirs, *ours = (side(indices) for side in sides.values())
    pairs = [pair for batch in ours for pair in zip(theirs, batch, strict=True)]
    return max((a.float() - b).abs().max().item() for a, b in pairs)


def _in_order(side: Side, order: list[np.ndarray]) -> Callable[[], tuple]:
    following = itertools.cycle(order).__next__
    return lambda: side(following())
