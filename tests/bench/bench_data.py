"""`bench data`: reading an archive and gathering batches, against DLStudio's own data set."""

import itertools
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from seghw.config import REPORT, SHAPES5, TrainConfig
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from tests.bench.dlstudio_course import Course, dlstudio_on
from tests.bench.harness import Bench, Result, Timing, interleave, ratio, training_batch

CONFIG = TrainConfig("shapes5", "report", "mse", 1e-4)
_COURSE_SIZE = 10_000  # images in the course's archive

ABOUT = (
    "Both sides have the same drawn images, written as the course's archive and read from it,",
    "and draw the same shuffled batches.",
    "as stored: DLStudio's __getitem__ and default_collate give float32 images, uint8 masks and",
    "  boxes; SegmentationSet.subset and torch.from_numpy give uint8 images, bool masks, boxes.",
    "as trained on: float32 inputs and targets; DLStudio's batch with its masks converted as in",
    "  its training loop, ours with Recipe.inputs and Recipe.targets as in seghw.train, which then",
    "  changes their layout to channels_last (that time is counted by bench train, as reading).",
    "from disk: the set is memory-mapped; its pages are in the system's cache.",
    "Memory is what Python and NumPy hold after reading, and at most while reading (tracemalloc);",
    "  while reading, ours grows its arrays by 8 MB at a time, which weighs in a small archive.",
)


Side = Callable[[np.ndarray], tuple]


def bench_data(
    count: int = 400, batch_size: int = 4, rounds: int = 31, reading_rounds: int = 5
) -> Bench:
    """Time a batch on both sides, and reading an archive; weigh what each keeps in memory.

    Args:
        count: images, drawn.
        batch_size: images per batch.
        rounds: of gathering a batch.
        reading_rounds: of reading the archive.

    Raises:
        BadInput: DLStudio is not installed.
    """
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        purdue.read_archive(course.archive).save(course.folder / "set")
        order = list(batches(count, batch_size, seed=0))
        sides = gather_sides(course)
        difference = largest_difference(sides, order[0])
        gathering = interleave(
            {name: _in_order(side, order) for name, side in sides.items()}, rounds
        )
        reading, memory = _reading(course, count, reading_rounds)
    stored, stored_memory, stored_disk, trained, trained_memory, trained_disk = gathering
    return Bench(
        f"bench data: batches of {batch_size} from {count} images of 64 x 64",
        ABOUT,
        (*gathering, *reading),
        (
            ratio("as stored, from memory", stored, stored_memory, at_least=20),
            ratio("as stored, from disk", stored, stored_disk, at_least=20),
            ratio("as trained on, from memory", trained, trained_memory, at_least=20),
            ratio("as trained on, from disk", trained, trained_disk, at_least=20),
            Result("largest difference of the batches", difference, at_most=0),
            *memory,
        ),
    )


def gather_sides(course: Course) -> dict[str, Side]:
    """What is timed: functions from indices to a batch, which begins with images and masks."""
    in_memory = purdue.read_archive(course.archive)
    on_disk = SegmentationSet.load(course.folder / "set")

    def theirs(indices: np.ndarray) -> tuple:
        return tuple(course.collate(indices).values())

    def theirs_trained(indices: np.ndarray) -> tuple:
        batch = course.collate(indices)
        return batch["image"], batch["mask_tensor"].type(torch.FloatTensor)

    def ours(data: SegmentationSet, indices: np.ndarray) -> tuple:
        part = data.subset(indices)
        return torch.from_numpy(part.images), torch.from_numpy(part.masks), part.boxes

    def ours_trained(data: SegmentationSet, indices: np.ndarray) -> tuple:
        return training_batch(data, indices, REPORT, CONFIG)

    return {
        "DLStudio, as stored": theirs,
        "seghw, as stored, from memory": partial(ours, in_memory),
        "seghw, as stored, from disk": partial(ours, on_disk),
        "DLStudio, as trained on": theirs_trained,
        "seghw, as trained on, from memory": partial(ours_trained, in_memory),
        "seghw, as trained on, from disk": partial(ours_trained, on_disk),
    }


def largest_difference(sides: Mapping[str, Side], indices: np.ndarray) -> float:
    """Over the images and masks of a batch, between DLStudio and each of ours.

    Our stored masks are bool, DLStudio's hold the class's value; the values are multiplied in.
    """
    stored, *ours_stored, trained, memory, disk = (side(indices)[:2] for side in sides.values())
    values = torch.tensor([spec.value for spec in SHAPES5])[:, None, None]
    pairs = [(stored, (images, masks * values)) for images, masks in ours_stored]
    pairs += [(trained, memory), (trained, disk)]
    return max(
        (a.float() - b.float()).abs().max().item()
        for theirs, ours in pairs
        for a, b in zip(theirs, ours, strict=True)
    )


def _in_order(side: Side, order: list[np.ndarray]) -> Callable[[], tuple]:
    following = itertools.cycle(order).__next__
    return lambda: side(following())


def _reading(course: Course, count: int, rounds: int) -> tuple[list[Timing], list[Result]]:
    """Time and memory of reading the archive, by DLStudio and by ``read_archive``."""
    sides = {
        "DLStudio, reading the archive": course.open_dataset,
        "seghw, reading the archive": partial(purdue.read_archive, course.archive),
    }
    theirs, ours = timings = interleave(sides, rounds, at_least=0)
    (their_kept, their_peak), (our_kept, our_peak) = (memory(side) for side in sides.values())
    return timings, [
        ratio("reading the archive", theirs, ours),
        Result(
            f"seghw, {_COURSE_SIZE} images at that rate",
            ours.median / count * _COURSE_SIZE,
            "s",
            at_most=15,
        ),
        Result("DLStudio, kept in memory a sample", their_kept / count / 1000, "kB"),
        Result("seghw, kept in memory a sample", our_kept / count / 1000, "kB"),
        Result("share of DLStudio's memory kept", our_kept / their_kept, at_most=0.25),
        Result("share of DLStudio's memory at the peak", our_peak / their_peak),
    ]


def memory(call: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that Python and NumPy hold for the result of ``call``, and held at most meanwhile."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = call()
        kept, peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return kept - before, peak - before
