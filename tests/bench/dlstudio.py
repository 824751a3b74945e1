"""DLStudio's data set, test display and training loop against ours: the same results, timed."""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from seghw.config import REPORT, SHAPES5, TrainConfig
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from seghw.network import from_dlstudio
from seghw.notebook import overlay
from seghw.train import Run
from tests.bench.course import Course, dlstudio_on
from tests.bench.harness import Bench, interleave

# Without ASPP, as DLStudio's own mUNet.
CONFIG = TrainConfig("shapes5", "report", "mse", 1e-4, profile="full", aspp_rates=None)
_PADDING = 2  # pixels between the pictures of DLStudio's grid
_WARM_UP = 3  # steps
Side = Callable[[np.ndarray], tuple]

DATA = """Both sides have the same drawn images, written as the course's archive and read from it,
and draw the same shuffled batches, as float32 inputs and targets: DLStudio's __getitem__ and
  default_collate, its masks converted as in its training loop; ours as in seghw.train.
from disk: the set is memory-mapped; its pages are in the system's cache."""

EVALUATE = """Both sides get the same outputs, float32 (N, 5, 64, 64), as under the report's coding.
DLStudio: its run_code_for_testing_semantic_segmentation on this one batch, without the window:
  masks by its value bands, the largest channel, boxes, one grid of seven pictures an image.
seghw: Recipe.decode, and one grid of seven pictures an image: the image, all masks on it, and
  one mask per class in the class's color."""

TRAIN = """DLStudio: its run_code_for_training_for_semantic_segmentation, from asking its own loader
  (four workers, already started) for a batch until it asks for the next.
seghw: seghw.train's own step, which reads the batch from memory and also watches the Dice;
  steps of both take turns inside DLStudio's loop. Both begin with the same weights; that they
  compute the same is tested (tests/test_network.py)."""


# -- data ------------------------------------------------------------------------------------------


def bench_data(count: int = 400, batch_size: int = 4, rounds: int = 31) -> Bench:
    """Time a batch on both sides; ``BadInput`` here and below if DLStudio is not installed."""
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        order = list(batches(count, batch_size, seed=0))
        sides = gather_sides(course)
        difference = largest_difference(sides, order[0])
        following = itertools.cycle(order).__next__
        calls = {n: lambda side=side: side(following()) for n, side in sides.items()}
        seconds = interleave(calls, rounds)
    theirs, memory, disk = seconds.median()
    numbers = {
        "a batch, from memory": (theirs / memory, "x", "goal: at least 20"),
        "a batch, from disk": (theirs / disk, "x", "goal: at least 20"),
        "largest difference of the batches": (difference, "", "goal: none"),
    }
    title = f"bench data: batches of {batch_size} from {count} images of 64 x 64"
    return Bench(title, DATA, seconds, numbers)


def gather_sides(course: Course) -> dict[str, Side]:
    """What is timed: functions from indices to inputs and targets, DLStudio's first."""
    in_memory, folder = purdue.read_archive(course.archive), course.archive.with_name("set")
    in_memory.save(folder)

    def theirs(indices: np.ndarray) -> tuple:
        batch = course.collate(indices)
        return batch["image"], batch["mask_tensor"].type(torch.FloatTensor)

    def ours(data: SegmentationSet, indices: np.ndarray) -> tuple:
        x = REPORT.inputs(data.images[indices], "shapes5")
        return x, REPORT.targets(data.masks[indices], SHAPES5)

    return {
        "DLStudio, a batch": theirs,
        "seghw, a batch, from memory": partial(ours, in_memory),
        "seghw, a batch, from disk": partial(ours, SegmentationSet.load(folder)),
    }


def largest_difference(sides: dict[str, Side], indices: np.ndarray) -> float:
    """Over the images and masks of a batch, between DLStudio and each of ours."""
    theirs, *ours = (side(indices) for side in sides.values())
    pairs = [pair for batch in ours for pair in zip(theirs, batch, strict=True)]
    return max((a.float() - b).abs().max().item() for a, b in pairs)


# -- evaluation ------------------------------------------------------------------------------------


class Replay(nn.Module):
    """A network without weights that always gives the same outputs, float (N, C, H, W)."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs.clone()  # DLStudio writes into it


def bench_evaluate(batch_size: int = 4, rounds: int = 11) -> Bench:
    """Time decoding and display of one batch on both sides."""
    data = shapes.generate(batch_size, seed=0)
    # Valued masks with noise, in 0..255 and on both sides of every band's limits.
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 40, data.masks.shape)).float()
    outputs = (REPORT.targets(data.masks, data.classes) + noise).clamp(0, 255)
    decode = partial(REPORT.decode, outputs, SHAPES5)
    with dlstudio_on(data, batch_size) as course:
        theirs = dlstudio_display(course, outputs)
        # Below two rows of pictures, a row per class: 1 where its mask is, a fifth elsewhere.
        pictures = theirs()[0, _PADDING:, _PADDING:].unflatten(0, (2 + len(SHAPES5), -1))
        pictures = pictures.unflatten(2, (batch_size, -1))[2:, :-_PADDING, :, :-_PADDING]
        differing = (pictures.permute(2, 0, 1, 3) > 0.5) != decode()
        ours = partial(_display, data.images, decode)
        sides = {"DLStudio, masks and display": theirs, "seghw, masks and display": ours}
        seconds = interleave(sides, rounds)
    title = f"bench evaluate: a batch of {batch_size} outputs of 5 channels, 64 x 64"
    numbers = {
        "masks and display": (np.divide(*seconds.median()), "x", "goal: at least 500"),
        "mask pixels that differ": (differing.sum().item(), "", "goal: none"),
    }
    return Bench(title, EVALUATE, seconds, numbers)


def dlstudio_display(course: Course, outputs: Tensor) -> Callable[[], Tensor]:
    """DLStudio's test of the archive's images; returns the grid that it would have shown."""
    shown: list[Tensor] = []
    network = Replay(outputs)
    torch.save(network.state_dict(), course.studio.path_saved_model)
    course.studio.display_tensor_as_image = shown.append
    batch = course.collate(np.arange(len(outputs)))

    def call() -> Tensor:
        # DLStudio draws boxes into the images.
        course.segmenter.test_dataloader = [{**batch, "image": batch["image"].clone()}]
        course.segmenter.run_code_for_testing_semantic_segmentation(network)
        return shown.pop()

    return call


def _display(images: np.ndarray, decode: Callable[[], Tensor]) -> np.ndarray:
    columns = []
    for image, channels in zip(images, decode().numpy(), strict=True):
        pictures = [image.transpose(1, 2, 0), overlay(image, channels, SHAPES5)]
        pictures += [overlay(None, channels[[k]], SHAPES5[k : k + 1]) for k in range(len(SHAPES5))]
        columns.append(np.concatenate(pictures))
    return np.concatenate(columns, axis=1)


# -- training --------------------------------------------------------------------------------------


def bench_train(depth: int = 16, batch_size: int = 4, rounds: int = 21) -> Bench:
    """Time whole steps of both sides in turns, at DLStudio's width of 64."""
    # The loader's workers work ahead by eight batches; they must have work to the end, as they
    # have it in a long epoch.
    steps = _WARM_UP + rounds
    seconds: list[dict[str, float]] = []
    with dlstudio_on(shapes.generate(batch_size * (steps + 10), seed=0), batch_size) as course:
        with torch.random.fork_rng(devices=[]):
            theirs = course.segmenter.mUNet(skip_connections=True, depth=depth)
        data = purdue.read_archive(course.archive)
        run = Run(CONFIG, (data, data), Path("never-written"), torch.device("cpu"))
        run.model = from_dlstudio(theirs.state_dict()).to(memory_format=torch.channels_last)
        parameters = run.model.parameters()
        run.optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, fused=True)
        course.segmenter.load_PurdueShapes5MultiObject_dataset(course.dataset, course.dataset)
        ready = iter(course.segmenter.train_dataloader)

        def loader() -> Iterator[dict[str, Tensor]]:
            for step, indices in enumerate(itertools.islice(batches(len(data), batch_size), steps)):
                start = time.perf_counter()
                yield next(ready)  # DLStudio takes its step
                between = time.perf_counter()
                run.step(indices, step + 1, measure_gradients=False)
                ours = time.perf_counter() - between
                seconds.append({"DLStudio, a step": between - start, "seghw, a step": ours})

        course.segmenter.train_dataloader = loader()
        course.segmenter.run_code_for_training_for_semantic_segmentation(theirs)
    table = pd.DataFrame(seconds[_WARM_UP:])
    title = f"bench train: mUNet of width 64 and depth {depth}, batches of {batch_size}, 64 x 64"
    return Bench(title, TRAIN, table, {"a step": (np.divide(*table.median()), "x", "")})
