"""`bench sam`: time and memory of a segmenter's modes, for SAM-tiny and for one of ViT-B's size.

The larger one has random weights, which take as long as trained ones. The automatic mode keeps
every mask that has pixels here, so that what it needs is the most that it can need.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from seghw.data import shapes
from seghw.errors import BadInput
from seghw.sam.predictor import (
    Segmenter,
    Segments,
    load_sam,
    segment_boxes,
    segment_everything,
    segment_points,
)
from tests.bench.harness import Bench, Result, Timing

#: GB that the automatic mode may need.
MEMORY_GOAL = 6
EVERYTHING = "encode and everything"
_EVERY_MASK = {"pred_iou_thresh": -math.inf, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}

ABOUT = (
    "On the CPU. encode and box: a new image, and one box on it; box, click: one prompt more on an",
    "  encoded image; encode and everything: the automatic mode on a new image, no thresholds, so",
    "  that every mask that has pixels is kept.",
    "Memory is the growth of the process (resident set) at its highest, sampled every 5 ms, beside",
    "  the weights, which are loaded before.",
    "The automatic mode is bounded by decoding at most 64 prompts or 256 MB of logits at once, and",
    "  by keeping masks as bits until it is known which remain.",
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
            seconds, peaks, answers = zip(*(_measured(call) for _ in range(rounds)), strict=True)
            what = f"{name}, {side} x {side}, {mode}"
            timings.append(Timing(what, seconds))
            goal = {"at_most": MEMORY_GOAL} if mode == EVERYTHING else {}
            results.append(Result(f"{what}: memory", max(peaks) / 1e9, "GB", **goal))
            if mode == EVERYTHING:
                results.append(Result(f"{what}: masks", len(answers[0].masks)))
    return Bench("bench sam", ABOUT, tuple(timings), tuple(results))


def modes(segmenter: Segmenter, image: np.ndarray) -> dict[str, Callable[[], Segments]]:
    """What is measured, by name, in an order in which the image is encoded first."""
    height, width = image.shape[1:]
    box = np.array([[width // 4, height // 4, width // 2, height // 2]])
    click = np.array([[[width // 2, height // 2]]])
    fresh = Segmenter(segmenter.name, segmenter.model, segmenter.processor)

    def encode_and_box() -> Segments:
        fresh._recent.clear()
        return segment_boxes(fresh, image, box)

    def encode_and_everything() -> Segments:
        fresh._recent.clear()
        return segment_everything(fresh, image, **_EVERY_MASK)

    return {
        "encode and box": encode_and_box,
        "box": lambda: segment_boxes(fresh, image, box),
        "click": lambda: segment_points(fresh, image, click),
        EVERYTHING: encode_and_everything,
    }


def of_vit_b_size() -> Segmenter:
    """SAM's base model with random weights: 94 million parameters, images of 1024 x 1024."""
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    model = SamModel(SamConfig()).eval()
    spread_logits(model, 1e4)
    processor = SamProcessor(SamImageProcessor())
    return Segmenter("SAM ViT-B, random weights", model, processor)


def spread_logits(model: nn.Module, factor: float) -> None:
    """Make a fresh model's masks stable: its logits are so near 0 that none would count."""
    with torch.no_grad():
        for head in model.mask_decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(factor)


SEGMENTERS = {
    "SAM-tiny": (lambda: load_sam(None, device=torch.device("cpu")), 64, 21),
    "ViT-B's size": (of_vit_b_size, 1024, 3),
}


def _measured(call: Callable[[], Segments]) -> tuple[float, int, Segments]:
    """Seconds, bytes by which the process grew at most, and what came back."""
    with _peak_memory() as peak:
        start = time.perf_counter()
        answer = call()
        seconds = time.perf_counter() - start
    return seconds, peak(), answer


@contextmanager
def _peak_memory(every: float = 0.005) -> Iterator[Callable[[], int]]:
    """Watch the resident set; afterward the function given says how far it grew."""
    try:
        import psutil
    except ImportError as error:
        raise BadInput(
            "psutil, which measures memory, is not installed; pip install -e '.[bench]'"
        ) from error
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
