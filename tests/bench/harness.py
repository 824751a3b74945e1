"""What the benches share: sides timed in turns, and the results as a table.

Timings of one side after the other drift with the machine's clock and its other work; here every
round times each side once, so that both see the same machine, and medians are compared.
"""

import os
import platform
import statistics
import timeit
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ticker import EngFormatter
from torch import Tensor, nn
from tqdm.auto import tqdm

from seghw.config import Recipe, TrainConfig
from seghw.data.dataset import SegmentationSet
from seghw.train.runs import versions


@dataclass(frozen=True)
class Timing:
    """How long one thing took, once a round."""

    what: str
    seconds: tuple[float, ...]  # a call

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Result:
    """One number that a bench arrives at, with the goal it is held against, if any."""

    what: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    quartiles: tuple[float, float] | None = None  # over the rounds

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal, False for a value that is NaN."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def verdict(self) -> str:
        if self.met is None:
            return ""
        word, goal = (
            ("at least", self.at_least) if self.at_most is None else ("at most", self.at_most)
        )
        return f"goal {word} {goal:g}: {'met' if self.met else 'missed'}"


def ratio(what: str, base: Timing, other: Timing, **goal: float) -> Result:
    """How many times as long ``base`` takes as ``other``: the ratio of their medians.

    The quartiles are those of the rounds' own ratios, since a round times both side by side.
    """
    rounds = [a / b for a, b in zip(base.seconds, other.seconds, strict=True)]
    low, high = np.percentile(rounds, (25, 75)).tolist()
    return Result(what, base.median / other.median, "x", quartiles=(low, high), **goal)


@dataclass(frozen=True)
class Bench:
    """What one bench measured."""

    title: str
    about: tuple[str, ...]  # what each side includes
    timings: tuple[Timing, ...]
    results: tuple[Result, ...]
    machine: str = field(default_factory=lambda: machine())

    def result(self, what: str) -> Result:
        return next(result for result in self.results if result.what == what)

    def table(self) -> str:
        """Everything as text: what was compared, times, results with their goals, the machine."""
        seconds = EngFormatter("s", places=2)
        rows = [
            (timing.what, seconds(timing.median), f"median of {len(timing.seconds)}")
            for timing in self.timings
        ]
        rows += [
            (result.what, f"{result.value:.4g} {result.unit}".strip(), _remark(result))
            for result in self.results
        ]
        wide, narrow = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = [f"{a:{wide}}  {b:>{narrow}}  {c}".rstrip() for a, b, c in rows]
        lines.insert(len(self.timings), "")
        return "\n".join([self.title, *self.about, "", *lines, "", self.machine])

    __str__ = table


def _remark(result: Result) -> str:
    spread = result.quartiles
    parts = [f"half of the rounds within {spread[0]:.4g} to {spread[1]:.4g}"] if spread else []
    return "; ".join([*parts, result.verdict] if result.verdict else parts)


def machine() -> str:
    """Processor, cores, threads and versions, on one line."""
    packages = {"python": platform.python_version(), **versions()}
    with suppress(PackageNotFoundError):
        packages["dlstudio"] = version("dlstudio")
    found = ", ".join(f"{name} {number}" for name, number in packages.items())
    return (
        f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads; {platform.system()}; {found}"
    )


def _processor() -> str:
    about = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows more than the architecture
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def interleave(
    sides: Mapping[str, Callable[[], Any]], rounds: int, at_least: float = 0.01
) -> list[Timing]:
    """Time every side once a round, in turns, after a warm-up.

    Args:
        sides: what is timed, by its name.
        rounds: at least 1.
        at_least: seconds that one measurement should last; short calls are repeated for it.
    """
    timers = {name: timeit.Timer(call) for name, call in sides.items()}
    repeats = {}
    for name, timer in timers.items():
        timer.timeit(1)  # caches, threads and memory pools fill up
        repeats[name] = max(1, round(at_least / timer.timeit(1))) if at_least else 1
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in tqdm(range(rounds), desc="measuring", unit="round", leave=False, delay=2):
        for name, timer in timers.items():
            seconds[name].append(timer.timeit(repeats[name]) / repeats[name])
    return [Timing(name, tuple(values)) for name, values in seconds.items()]


# -- what several benches time --------------------------------------------------------------


def training_batch(
    data: SegmentationSet, indices: np.ndarray, recipe: Recipe, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """Inputs and targets, float32 and contiguous, gathered and converted as ``train`` does it."""
    x = recipe.inputs(data.images[indices], config.dataset)
    return x, recipe.targets(data.masks[indices], config.classes)


def sgd_step(net: nn.Module, x: Tensor, target: Tensor, **options: bool) -> Callable[[], Tensor]:
    """A function that takes one training step on a batch: MSE, backward, SGD; returns the loss.

    Args:
        net: trained in place.
        x: inputs.
        target: of the MSE.
        options: of ``torch.optim.SGD``.
    """
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, **options)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
