"""`bench train`: a training step against DLStudio's own loop at equal mathematics.

Both sides have DLStudio's mUNet (no ASPP) with the same initial weights, the same images, the
MSE, and SGD with momentum 0.9, in float32 on the CPU.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.config import REPORT, TrainConfig
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from seghw.network import from_dlstudio
from seghw.train import Run
from tests.bench.dlstudio_course import Course, dlstudio_on
from tests.bench.harness import Bench, speedup

CONFIG = TrainConfig("shapes5", "report", "mse", 1e-4, profile="full", aspp_rates=None)
_WARM_UP = 3  # steps
_CHECKED = 3  # steps after which both sides must have the same loss

ABOUT = """DLStudio: its run_code_for_training_for_semantic_segmentation, from asking its own loader
  (four workers, already started) for a batch until it asks for the next.
seghw: seghw.train's own step, which reads the batch from memory and also watches the Dice;
  steps of both take turns inside DLStudio's loop."""


def bench_train(depth: int = 16, batch_size: int = 4, rounds: int = 21) -> Bench:
    """Time whole steps of both sides in turns.

    Args:
        depth: of the network; its width is DLStudio's, 64.
        batch_size: images per step.
        rounds: steps of each side.

    Raises:
        BadInput: DLStudio is not installed.
    """
    # The loader's workers work ahead by eight batches; they must have work to the end, as they
    # have it in a long epoch.
    count = batch_size * (_WARM_UP + rounds + 10)
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            theirs = course.segmenter.mUNet(skip_connections=True, depth=depth)
        data = purdue.read_archive(course.archive)
        order = list(batches(count, batch_size, seed=0))
        difference = loss_difference(course, theirs, data, order[: _CHECKED + 1])
        seconds = in_turns(course, theirs, data, order[: _WARM_UP + rounds])
    title = f"bench train: mUNet of width 64 and depth {depth}, batches of {batch_size}, 64 x 64"
    numbers = {
        "whole step": (speedup(seconds, *seconds), "x", "goal: at least 1.3"),
        f"relative difference of the losses after {_CHECKED} steps": (
            difference,
            "",
            "goal: at most 1e-4",
        ),
    }
    return Bench(title, ABOUT, seconds, numbers)


def our_run(theirs: nn.Module, data: SegmentationSet) -> Run:
    """A run on ``data`` that begins with the weights of DLStudio's network."""
    run = Run(CONFIG, (data, data), Path("never-written"), torch.device("cpu"))
    run.model = from_dlstudio(theirs.state_dict()).to(memory_format=torch.channels_last)
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=1e-4, momentum=0.9, fused=True)
    return run


def loss_difference(
    course: Course, theirs: nn.Module, data: SegmentationSet, order: Sequence[np.ndarray]
) -> float:
    """Train both sides on all batches but the last; the relative difference of the MSE on it."""
    *seen, probe = order
    course.segmenter.train_dataloader = [course.collate(indices) for indices in seen]
    course.segmenter.run_code_for_training_for_semantic_segmentation(theirs)
    trained = from_dlstudio(torch.load(course.studio.path_saved_model, weights_only=True))
    run = our_run(theirs, data)
    for step, indices in enumerate(seen, start=1):
        run.step(indices, step, measure_gradients=False)
    x = REPORT.inputs(data.images[probe], CONFIG.dataset)
    target = REPORT.targets(data.masks[probe], CONFIG.classes)
    with torch.no_grad():
        expected, ours = (F.mse_loss(net(x), target).item() for net in (trained, run.model))
    return abs(ours - expected) / expected


def in_turns(
    course: Course, theirs: nn.Module, data: SegmentationSet, order: Sequence[np.ndarray]
) -> pd.DataFrame:
    """Seconds a step of DLStudio's loop, and of ours while it waits for its next batch."""
    run = our_run(theirs, data)
    course.segmenter.load_PurdueShapes5MultiObject_dataset(course.dataset, course.dataset)
    ready = iter(course.segmenter.train_dataloader)
    seconds: list[dict[str, float]] = []

    def loader() -> Iterator[dict[str, Tensor]]:
        for step, indices in enumerate(order, start=1):
            start = time.perf_counter()
            yield next(ready)  # DLStudio takes its step
            between = time.perf_counter()
            run.step(indices, step, measure_gradients=False)
            ours = time.perf_counter() - between
            seconds.append({"DLStudio, whole step": between - start, "seghw, whole step": ours})

    course.segmenter.train_dataloader = loader()
    course.segmenter.run_code_for_training_for_semantic_segmentation(theirs)
    return pd.DataFrame(seconds[_WARM_UP:])
