"""`bench train`: a training step against DLStudio's own loop at equal mathematics.

Both sides have DLStudio's mUNet (no ASPP) with the same initial weights, the same images, the
MSE, and SGD with momentum 0.9, in float32 on the CPU.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seghw.config import REPORT, TrainConfig
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from seghw.errors import BadInput
from seghw.network import MUNet, from_dlstudio
from seghw.train.trainer import Training, optimizer
from tests.bench.bench_tried import TRIED, tried_steps
from tests.bench.dlstudio_course import Course, dlstudio_on
from tests.bench.harness import Bench, Result, Timing, interleave, ratio, sgd_step, training_batch

CONFIG = TrainConfig("shapes5", "report", "mse", 1e-4, profile="full", aspp_rates=None)
_WARM_UP = 3  # steps
_CHECKED = 3  # steps after which both sides must have the same loss

ABOUT = (
    "whole step, DLStudio: its run_code_for_training_for_semantic_segmentation, from asking its",
    "  own loader (four workers, already started) for a batch until it asks for the next.",
    "whole step, seghw: seghw.train.single's own step, which reads the batch from memory and also",
    "  watches the Dice; steps of both take turns inside DLStudio's loop.",
    "step only: forward, MSE, backward and SGD on a batch that is there, the same statements for",
    "  both networks; ours is channels_last, as in seghw.train.single.",
    "reading: gathering a batch, conversion to float32, the layout channels_last.",
    "peak: the fastest of some float32 matrix products and 3 x 3 convolutions, forward only.",
)


def bench_train(
    depth: int = 16,
    batch_size: int = 4,
    rounds: int = 21,
    tried: bool | Sequence[str] = False,
    largest_product: int = 2048,
) -> Bench:
    """Time whole steps of both sides in turns; then step, reading and the machine's peak apart.

    Args:
        depth: of the network; its width is DLStudio's, 64.
        batch_size: images per step.
        rounds: steps of each side.
        tried: names from ``TRIED``, or True for all; each is timed in turns with the step as it is.
        largest_product: side of the largest matrices that look for the peak.

    Raises:
        BadInput: DLStudio is not installed, or a name in ``tried`` is unknown.
    """
    tried = (tuple(TRIED) if tried else ()) if isinstance(tried, bool) else tried
    if not set(tried) <= set(TRIED):
        raise BadInput(f"tried must be among {tuple(TRIED)}, got {tuple(tried)}")
    # The loader's workers work ahead by eight batches; they must have work to the end, as they
    # have it in a long epoch.
    count = batch_size * (_WARM_UP + rounds + 10)
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        torch.manual_seed(0)
        theirs = course.segmenter.mUNet(skip_connections=True, depth=depth)
        data = purdue.read_archive(course.archive)
        order = list(batches(count, batch_size, seed=0))
        difference = loss_difference(course, theirs, data, order[: _CHECKED + 1])
        whole = whole_steps(course, theirs, data, order, rounds)

    ours = our_training(theirs, data).model
    x, target = training_batch(data, order[0], REPORT, CONFIG)
    x_last = x.to(memory_format=torch.channels_last)
    peaks = peak_sides(batch_size, largest_product)
    variants, remarks, tried_difference = tried_steps(ours, x_last, target, tried)
    sides = {
        "DLStudio, step only": sgd_step(copy.deepcopy(theirs), x, target),
        "seghw, step only": sgd_step(copy.deepcopy(ours), x_last, target),
        "seghw, reading": _in_order(data, order),
        **variants,
        **{name: call for name, (_, call) in peaks.items()},
    }
    timings = {timing.what: timing for timing in interleave(sides, rounds)}
    their_step, our_step, reading = (timings[name] for name in list(sides)[:3])
    timed_variants = [timings[name] for name in variants]
    shown_peaks, peak_results = _share_of_peak(our_step, flop(ours, x_last, target), timings, peaks)
    return Bench(
        f"bench train: mUNet of width 64 and depth {depth}, batches of {batch_size}, 64 x 64",
        (*ABOUT, *remarks),
        (*whole, their_step, our_step, reading, *timed_variants, *shown_peaks),
        (
            ratio("whole step", *whole, at_least=1.3),
            ratio("step only", their_step, our_step),
            Result("reading, of a step", 100 * reading.median / whole[1].median, "%", at_most=2),
            Result(
                f"relative difference of the losses after {_CHECKED} steps",
                difference,
                at_most=1e-4,
            ),
            *peak_results,
            *(ratio(timing.what, our_step, timing) for timing in timed_variants),
            *tried_difference,
        ),
    )


# -- whole steps ----------------------------------------------------------------------------


def our_training(theirs: nn.Module, data: SegmentationSet) -> Training:
    """A training run of ``data`` that begins with the weights of DLStudio's network."""
    training = Training(CONFIG, data, data, Path("never-written"), torch.device("cpu"))
    training.model = from_dlstudio(theirs.state_dict()).to(memory_format=torch.channels_last)
    training.optimizer = optimizer(REPORT, CONFIG.learning_rate, training.model)
    return training


def loss_difference(
    course: Course, theirs: nn.Module, data: SegmentationSet, order: Sequence[np.ndarray]
) -> float:
    """Train both sides on all batches but the last; the relative difference of the MSE on it."""
    *seen, probe = order
    course.segmenter.train_dataloader = [course.collate(indices) for indices in seen]
    course.segmenter.run_code_for_training_for_semantic_segmentation(theirs)
    trained = from_dlstudio(torch.load(course.studio.path_saved_model, weights_only=True))
    training = our_training(theirs, data)
    for iteration, indices in enumerate(seen, start=1):
        training.step(indices, iteration, measure_gradients=False)
    x, target = training_batch(data, probe, REPORT, CONFIG)
    with torch.no_grad():
        expected, found = (F.mse_loss(net(x), target).item() for net in (trained, training.model))
    return abs(found - expected) / expected


def whole_steps(
    course: Course,
    theirs: nn.Module,
    data: SegmentationSet,
    order: Sequence[np.ndarray],
    rounds: int,
) -> tuple[Timing, Timing]:
    """Steps of DLStudio's loop and of ours in turns: ours run while it waits for its batch."""
    training = our_training(theirs, data)
    course.segmenter.load_PurdueShapes5MultiObject_dataset(course.dataset, course.dataset)
    loader = course.segmenter.train_dataloader
    seconds: list[tuple[float, float]] = []

    def in_turns() -> Iterator[dict[str, Tensor]]:
        ready = iter(loader)
        for iteration in range(_WARM_UP + rounds):
            start = time.perf_counter()
            yield next(ready)  # DLStudio takes its step
            between = time.perf_counter()
            training.step(order[iteration], iteration + 1, measure_gradients=False)
            seconds.append((between - start, time.perf_counter() - between))

    course.segmenter.train_dataloader = in_turns()
    course.segmenter.run_code_for_training_for_semantic_segmentation(theirs)
    dlstudio, seghw = zip(*seconds[_WARM_UP:], strict=True)
    return Timing("DLStudio, whole step", dlstudio), Timing("seghw, whole step", seghw)


def _in_order(data: SegmentationSet, order: Sequence[np.ndarray]) -> Callable[[], object]:
    following = itertools.cycle(order).__next__

    def read() -> tuple[Tensor, Tensor]:
        x, target = training_batch(data, following(), REPORT, CONFIG)
        return x.to(memory_format=torch.channels_last), target

    return read


# -- the machine's peak ---------------------------------------------------------------------


def peak_sides(
    batch_size: int, largest_product: int
) -> dict[str, tuple[float, Callable[[], Tensor]]]:
    """Matrix products and convolutions of the network's sizes, each with its FLOP."""
    sides = {}
    for side in (largest_product // 4, largest_product // 2, largest_product):
        a, b = torch.randn(2, side, side)
        sides[f"matrix product of {side} x {side}"] = (2 * side**3, partial(torch.mm, a, b))
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    for channels, side in ((64, 32), (128, 16), (128, 32)):
        for name, layout in layouts.items():
            x = torch.randn(batch_size, channels, side, side).to(memory_format=layout)
            weight = torch.randn(channels, channels, 3, 3).to(memory_format=layout)
            work = 2 * x.numel() * channels * 9
            call = partial(F.conv2d, x, weight, padding=1)
            sides[f"convolution, {channels} channels, {side} x {side}, {name}"] = (work, call)
    return sides


def flop(net: MUNet, x: Tensor, target: Tensor) -> int:
    """Of one training step's matrix products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        F.mse_loss(net(x), target).backward()
    return counter.get_total_flops()


def _share_of_peak(
    step: Timing, work: int, timings: Mapping[str, Timing], peaks: Mapping[str, tuple]
) -> tuple[list[Timing], list[Result]]:
    """The fastest of each kind, and how near the step comes to the faster of the two."""
    rates = {name: work / timings[name].median / 1e9 for name, (work, _) in peaks.items()}
    best = [
        max((name for name in rates if name.startswith(kind)), key=rates.__getitem__)
        for kind in ("matrix product", "convolution")
    ]
    rate = work / step.median / 1e9
    return [timings[name] for name in best], [
        Result("work of a step", work / 1e9, "GFLOP"),
        Result("seghw, step only", rate, "GFLOP/s"),
        *(Result(f"peak, {name}", rates[name], "GFLOP/s") for name in best),
        Result("step only, of the higher peak", 100 * rate / max(rates.values()), "%"),
    ]
