"""`bench sam`: time and memory of a segmenter's modes, for SAM-tiny and for one of ViT-B's size.

The larger one has random weights, which take as long as trained ones. So that none of its masks
are dropped, the automatic mode keeps all of them: what it needs here is the most that it can need.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from seghw import shapes
from seghw.bench import Bench, Result, Timing
from seghw.sam import load_sam
from seghw.sam_embeddings import EmbeddingCache
from seghw.segmenter import Segmenter, segment_boxes, segment_everything, segment_points
from seghw.train import best_device

#: Bytes that the automatic mode of the larger model may need.
MEMORY_GOAL = 6 << 30
_EVERY_MASK = {"min_predicted_iou": -math.inf, "min_stability": 0.0, "max_box_iou": 1.0}

ABOUT = (
    "encode: an image to its embedding, once an image; box, click: one prompt each on an encoded",
    "  image; everything: the automatic mode with its grid of points, every mask kept.",
    "Memory is the growth of the process (resident set) at its highest, sampled every 5 ms.",
    "Logits are decoded at most 64 prompts or 256 MB at once, and masks are kept as bits, which",
    "  is what bounds the automatic mode.",
)


def bench_sam(
    segmenters: Mapping[str, tuple[Callable[[], Segmenter], int, int]] | None = None,
) -> Bench:
    """Measure every mode of every segmenter.

    Args:
        segmenters: by name, a function that makes one, the side of its image in pixels, and the
            number of rounds.
    """
    timings: list[Timing] = []
    results: list[Result] = []
    for name, (make, side, rounds) in (segmenters or SEGMENTERS).items():
        segmenter = make()
        millions = sum(p.numel() for p in segmenter.model.parameters()) / 1e6
        results.append(Result(f"{name}, parameters", millions, "million"))
        for mode, call in modes(segmenter, shapes.generate(1, seed=0, size=side).images[0]).items():
            seconds, peak = zip(*(_measured(call) for _ in range(rounds)), strict=True)
            what = f"{name}, {side} x {side}, {mode}"
            timings.append(Timing(what, seconds))
            goal = {"at_most": MEMORY_GOAL / 1e9} if mode == "everything" else {}
            results.append(Result(f"{what}: memory", max(peak) / 1e9, "GB", **goal))
    return Bench("bench sam", ABOUT, tuple(timings), tuple(results))


def modes(segmenter: Segmenter, image: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What is measured, by name, in an order in which the image is encoded first."""
    height, width = image.shape[1:]
    box = np.array([[width // 4, height // 4, width // 2, height // 2]])
    click = np.array([[[width // 2, height // 2]]])
    fresh = Segmenter(
        segmenter.name, segmenter.model, segmenter.processor, EmbeddingCache(segmenter.model)
    )

    def encode() -> None:
        fresh.embeddings.clear()
        segment_boxes(fresh, image, box)

    return {
        "encode and box": encode,
        "box": lambda: segment_boxes(fresh, image, box),
        "click": lambda: segment_points(fresh, image, click),
        "everything": lambda: segment_everything(fresh, image, **_EVERY_MASK),
    }


def of_vit_b_size() -> Segmenter:
    """SAM's base model with random weights: 94 million parameters, images of 1024 x 1024."""
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    model = SamModel(SamConfig()).to(best_device()).eval()
    processor = SamProcessor(SamImageProcessor())
    return Segmenter("SAM ViT-B, random weights", model, processor, EmbeddingCache(model))


SEGMENTERS = {
    "SAM-tiny": (lambda: load_sam(None), 64, 21),
    "ViT-B's size": (of_vit_b_size, 1024, 3),
}


def _measured(call: Callable[[], Any]) -> tuple[float, int]:
    """Seconds, and bytes by which the process grew at most."""
    with _peak_memory() as peak:
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    return seconds, peak()


@contextmanager
def _peak_memory(every: float = 0.005) -> Iterator[Callable[[], int]]:
    """Watch the resident set; afterwards the function given says how far it grew."""
    import psutil

    process = psutil.Process()
    before = highest = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(every):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: highest - before
    finally:
        highest = max(highest, process.memory_info().rss)
        done.set()
        watcher.join()
