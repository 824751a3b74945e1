"""DLStudio's data set, test display and training loop against ours: the same results, timed.

Both sides work on drawn images, written as the course's archive and read from it. Every bench
returns what ``summary`` shows: what was compared, the seconds, numbers. Timings of one side after
the other drift with the machine's clock and its other work; here every round times each side once,
so that both see the same machine, and medians are compared.
"""

import itertools
import os
import platform
import re
import tempfile
import time
import timeit
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from seghw.config import REPORT, SHAPES5, TrainConfig
from seghw.data import purdue, shapes
from seghw.data.dataset import SegmentationSet, batches
from seghw.errors import BadInput
from seghw.network import from_dlstudio
from seghw.notebook import overlay
from seghw.train import Run

Measured = tuple[str, pd.DataFrame, dict[str, float]]
# Without ASPP, as DLStudio's own mUNet.
CONFIG = TrainConfig("shapes5", "report", "mse", 1e-4, profile="full", aspp_rates=None)
_PADDING = 2  # pixels between the pictures of DLStudio's grid
_WARM_UP = 3  # steps


class Course(NamedTuple):
    """DLStudio set up as in the course, on an archive in a temporary current folder."""

    archive: Path
    studio: Any  # DLStudio
    segmenter: Any  # its SemanticSegmentation
    dataset: Any  # its PurdueShapes5MultiObjectDataset

    def collate(self, indices: np.ndarray) -> dict[str, Tensor]:
        """A batch as DLStudio's loader makes it: float32 images, uint8 masks, float32 boxes."""
        return default_collate([self.dataset[i] for i in indices])


@contextmanager
def dlstudio_on(data: SegmentationSet, batch_size: int = 4) -> Iterator[Course]:
    """DLStudio on the CPU with ``data`` as its archive; ``BadInput`` if it is not installed."""
    temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with temporary as folder, chdir(folder), redirect_stdout(StringIO()), warnings.catch_warnings():
        # Of what it imports for other lessons, of a file left open, of more workers than cores.
        warnings.simplefilter("ignore")
        try:
            from DLStudio import DLStudio
        except ImportError as error:
            line = f"DLStudio cannot be imported ({error}): pip install -e '.[bench]'"
            raise BadInput(line) from error
        archive = Path(folder, "shapes.gz")  # the course's own name would be cached beside it
        purdue.write_archive(data, archive)
        paths = {"dataroot": f"{folder}/", "path_saved_model": str(Path(folder, "net.pt"))}
        about = {"classes": [c.name for c in data.classes], "image_size": [*data.images.shape[2:]]}
        steps = {"momentum": 0.9, "learning_rate": 1e-4, "epochs": 1, "batch_size": batch_size}
        studio = DLStudio(**paths, **about, **steps)
        segmenter = DLStudio.SemanticSegmentation(studio, max_num_objects=len(data.classes))
        kind = segmenter.PurdueShapes5MultiObjectDataset
        yield Course(archive, studio, segmenter, kind(studio, segmenter, "train", archive.name))


def bench_data(count: int = 400, batch_size: int = 4, rounds: int = 31) -> Measured:
    """DLStudio's __getitem__ and default_collate, and ours as in seghw.train."""
    with dlstudio_on(shapes.generate(count, seed=0), batch_size) as course:
        data = purdue.read_archive(course.archive)

        def theirs(indices: np.ndarray) -> tuple[Tensor, Tensor]:
            batch = course.collate(indices)
            return batch["image"], batch["mask_tensor"].type(torch.FloatTensor)

        def ours(indices: np.ndarray) -> tuple[Tensor, Tensor]:
            x = REPORT.inputs(data.images[indices], "shapes5")
            return x, REPORT.targets(data.masks[indices], SHAPES5)

        order = list(batches(count, batch_size, seed=0))
        pairs = zip(theirs(order[0]), ours(order[0]), strict=True)
        difference = max((a.float() - b).abs().max().item() for a, b in pairs)
        following = itertools.cycle(order).__next__
        sides = {"DLStudio": lambda: theirs(following()), "seghw": lambda: ours(following())}
        seconds = interleave(sides, rounds)
    numbers = {"a batch, x": np.divide(*seconds.median())}
    about = f"Shuffled batches of {batch_size} images of 64 x 64 as float32 inputs and targets."
    return about, seconds, {**numbers, "largest difference of the batches": difference}


def bench_evaluate(batch_size: int = 4, rounds: int = 11) -> Measured:
    """Decoding and display of one batch: masks by the value bands, a grid of seven pictures each.

    DLStudio: its run_code_for_testing_semantic_segmentation, without the window.
    """
    data = shapes.generate(batch_size, seed=0)
    # Valued masks with noise, in 0..255 and on both sides of every band's limits.
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 40, data.masks.shape)).float()
    outputs = (REPORT.targets(data.masks, data.classes) + noise).clamp(0, 255)
    with dlstudio_on(data, batch_size) as course:
        theirs = dlstudio_display(course, outputs)
        # Below two rows of pictures, a row per class: 1 where its mask is, a fifth elsewhere.
        pictures = theirs()[0, _PADDING:, _PADDING:].unflatten(0, (2 + len(SHAPES5), -1))
        pictures = pictures.unflatten(2, (batch_size, -1))[2:, :-_PADDING, :, :-_PADDING]
        differing = (pictures.permute(2, 0, 1, 3) > 0.5) != REPORT.decode(outputs, SHAPES5)
        ours = partial(_display, data.images, outputs)
        seconds = interleave({"DLStudio": theirs, "seghw": ours}, rounds)
    numbers = {"masks and display, x": np.divide(*seconds.median())}
    numbers["mask pixels that differ"] = differing.sum().item()
    return f"Masks and display of {batch_size} outputs of 5 channels, 64 x 64.", seconds, numbers


def dlstudio_display(course: Course, outputs: Tensor) -> Callable[[], Tensor]:
    """DLStudio's test of the archive's images; returns the grid that it would have shown."""
    shown: list[Tensor] = []
    network = nn.Identity()  # which always gives the same outputs; DLStudio writes into them
    network.forward = lambda x: outputs.clone()
    torch.save(network.state_dict(), course.studio.path_saved_model)
    course.studio.display_tensor_as_image = shown.append
    batch = course.collate(np.arange(len(outputs)))

    def call() -> Tensor:
        # DLStudio draws boxes into the images.
        course.segmenter.test_dataloader = [{**batch, "image": batch["image"].clone()}]
        course.segmenter.run_code_for_testing_semantic_segmentation(network)
        return shown.pop()

    return call


def _display(images: np.ndarray, outputs: Tensor) -> np.ndarray:
    columns = []
    for image, channels in zip(images, REPORT.decode(outputs, SHAPES5).numpy(), strict=True):
        pairs = [(image, channels, SHAPES5)]
        pairs += [(None, channels[[k]], [SHAPES5[k]]) for k in range(5)]
        columns.append(np.concatenate([image.transpose(1, 2, 0), *(overlay(*p) for p in pairs)]))
    return np.concatenate(columns, axis=1)


def bench_train(depth: int = 16, batch_size: int = 4, rounds: int = 21) -> Measured:
    """Whole steps in turns inside DLStudio's loop, from the same weights, at its width of 64.

    DLStudio's is from asking its own loader (four workers, already started) for a batch until it
    asks for the next; ours reads from memory and also watches the Dice.
    """
    # The loader's workers work ahead by eight batches; they have work to the end, as in an epoch.
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
                seconds.append({"DLStudio": between - start, "seghw": ours})

        course.segmenter.train_dataloader = loader()
        course.segmenter.run_code_for_training_for_semantic_segmentation(theirs)
    table = pd.DataFrame(seconds[_WARM_UP:])
    about = f"Steps of mUNet, width 64 and depth {depth}, on batches of {batch_size}, 64 x 64."
    return about, table, {"a step, x": np.divide(*table.median())}


def interleave(sides: Mapping[str, Callable[[], Any]], rounds: int) -> pd.DataFrame:
    """Seconds a call of every side, a row a round, taken in turns after a warm-up.

    Short calls are repeated until a measurement lasts 10 ms.
    """
    timers = {name: timeit.Timer(call) for name, call in sides.items()}
    for timer in timers.values():
        timer.timeit(1)  # caches, threads and memory pools fill up
    repeats = {name: max(1, round(0.01 / timer.timeit(1))) for name, timer in timers.items()}
    return pd.DataFrame(
        {name: timer.timeit(repeats[name]) / repeats[name] for name, timer in timers.items()}
        for _ in range(rounds)
    )


def summary(about: str, seconds: pd.DataFrame, numbers: Mapping[str, float]) -> str:
    """What was compared, each side's median in milliseconds, the numbers, and the machine."""
    rows = {f"{name}, ms": 1000 * value for name, value in seconds.median().items()}
    table = pd.Series({**rows, f"medians of {len(seconds)}": float("nan"), **numbers})
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = re.findall("^model name.*: (.*)", text, re.MULTILINE) or [platform.machine()]
    machine = f"{names[0]}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    shown = table.to_string(float_format="{:.4g}".format, na_rep="")
    return f"{about}\n\n{shown}\n\n{machine}; {platform.system()}; torch {torch.__version__}"
