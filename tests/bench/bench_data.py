"""`bench data`: reading an archive and gathering batches, against DLStudio's own data set."""

import itertools
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from seghw.config import REPORT, TrainConfig
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from tests.bench.dlstudio_course import dlstudio_on
from tests.bench.harness import Bench, Result, interleave, ratio, training_batch

CONFIG = TrainConfig("shapes5", "report", "mse", 1e-4)
ABOUT = (
    "Both sides read the same drawn images from the course's archive, draw the same shuffled",
    "batches, and make of them float32 inputs and targets as their training loops do.",
    "from disk: the set is memory-mapped; its pages are in the system's cache.",
    "Memory is what Python and NumPy hold after reading (tracemalloc).",
)


def bench_data(
    count: int = 400, batch_size: int = 4, rounds: int = 31, reading_rounds: int = 5
) -> Bench:
    """Time a batch on both sides, and reading an archive; weigh what each has in memory after.

    Raises:
        BadInput: DLStudio is not installed.
    """
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        purdue.read_archive(course.archive).save(course.folder / "set")

        def theirs(indices: np.ndarray) -> tuple:
            batch = course.collate(indices)
            return batch["image"], batch["mask_tensor"].type(torch.FloatTensor)

        def ours(data: SegmentationSet, indices: np.ndarray) -> tuple:
            return training_batch(data, indices, REPORT, CONFIG)

        sides = {
            "DLStudio": theirs,
            "seghw, from memory": partial(ours, purdue.read_archive(course.archive)),
            "seghw, from disk": partial(ours, SegmentationSet.load(course.folder / "set")),
        }
        order = list(batches(count, batch_size, seed=0))
        images, masks = theirs(order[0])
        difference = max(
            (a - b).abs().max().item()
            for side in sides.values()
            for a, b in zip(side(order[0]), (images, masks), strict=True)
        )
        gathering = interleave(
            {name: _in_order(side, order) for name, side in sides.items()}, rounds
        )
        readers = {
            "DLStudio, reading the archive": course.open_dataset,
            "seghw, reading the archive": partial(purdue.read_archive, course.archive),
        }
        reading = interleave(readers, reading_rounds, at_least=0)
        held = [memory(reader) / count / 1000 for reader in readers.values()]
    dlstudio, from_memory, from_disk = gathering
    results = (
        ratio("from memory", dlstudio, from_memory, at_least=20),
        ratio("from disk", dlstudio, from_disk, at_least=20),
        Result("largest difference of the batches", difference, at_most=0),
        ratio("reading the archive", *reading),
        Result("seghw, 10000 images", reading[1].median / count * 10_000, "s", at_most=15),
        Result("DLStudio, in memory a sample", held[0], "kB"),
        Result("seghw, in memory a sample", held[1], "kB"),
        Result("share of DLStudio's memory", held[1] / held[0], at_most=0.25),
    )
    title = f"bench data: batches of {batch_size} from {count} images of 64 x 64"
    return Bench(title, ABOUT, (*gathering, *reading), results)


def _in_order(side: Callable[..., tuple], order: list[np.ndarray]) -> Callable[[], tuple]:
    following = itertools.cycle(order).__next__
    return lambda: side(following())


def memory(call: Callable[[], Any]) -> int:
    """Bytes that Python and NumPy hold for the result of ``call``."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = call()
        held = tracemalloc.get_traced_memory()[0] - before
        del result
    finally:
        tracemalloc.stop()
    return held
