"""`bench laptop`: a step of the small network, where its time goes, and what other work costs it.

Both recipes' own step (``seghw.train``) on one thread. "Old" is the same step as it was: torch's
default optimizers in place of the fused ones. Processor time: a sweep has a run on every core.
"""

import subprocess
import sys
import time
import timeit
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seghw.config import TrainConfig
from seghw.data import shapes
from seghw.evaluate import predict
from seghw.seeding import seeded
from seghw.train.trainer import Training
from tests.bench.harness import Bench, Result, Timing, interleave, ratio

CONFIGS = {
    "report": TrainConfig("shapes5", "report", "mse_dice", 1e-3, 60.0),
    "corrected": TrainConfig("shapes5", "corrected", "mse_dice", 4e-3, 20.0),
}
#: Parts of a step by the operators that do them.
PARTS = {
    "convolutions": ("convolution",),
    "batch normalization": ("batch_norm",),
    "ReLU": ("relu", "threshold"),
    "optimizer": ("_fused_adamw", "_fused_sgd"),
}
_BUSY = 2  # processes beside
_EVALUATED = 200  # images

ABOUT = (
    "processor time of the process, an image; width 16, depth 4, 64 x 64, one thread.",
    "old: SGD and AdamW as torch has them by default; new: fused.",
    "fastest convolution: each layer's shape, forward, in the faster of both memory layouts, as a",
    "  plain convolution too where it is a transposed one; thrice, for backward does it twice.",
    f"beside others: wall time with {_BUSY} busy processes on this machine, over that without.",
)


def bench_laptop(rounds: int = 31) -> Bench:
    """Time the laptop's step; its parts; and the step and the evaluation beside busy processes."""
    torch.set_num_threads(1)
    timings, results = [], []
    for recipe, config in CONFIGS.items():
        new, old = _training(config), _training(config)
        kind = type(new.optimizer)
        more = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        old.optimizer = kind(old.model.parameters(), lr=config.learning_rate, **more)
        sides = {f"{recipe}, old": old, f"{recipe}, new": new}
        found = _processor_time({name: partial(_step, t) for name, t in sides.items()}, rounds)
        batch = config.settings.batch_size
        timings += [Timing(t.what, tuple(s / batch for s in t.seconds)) for t in found]
        results.append(ratio(f"{recipe}, new of old", found[1], found[0], at_most=0.6))
        results += _parts(recipe, new)
        results.append(_against_fastest(recipe, new, found[1].median))
    results += _beside_others(rounds)
    title = "bench laptop: a step of mUNet with ASPP as the laptop's grid trains it"
    return Bench(title, ABOUT, tuple(timings), tuple(results))


def _training(config: TrainConfig) -> Training:
    data = shapes.generate(64, seed=0)
    training = Training(config, data, data, Path(), torch.device("cpu"))
    training.model.train()
    return training


def _step(training: Training) -> None:
    for iteration, indices in enumerate(training.order(0)[:8], start=1):
        training.step(indices, iteration, measure_gradients=False)


def _processor_time(sides: dict[str, Callable[[], None]], rounds: int) -> list[Timing]:
    """Processor seconds a step of each side, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):  # the first warms up
        for name, call in sides.items():
            start = time.process_time()
            call()
            seconds[name].append((time.process_time() - start) / 8)
    return [Timing(name, tuple(values[1:])) for name, values in seconds.items()]


def _parts(recipe: str, training: Training) -> list[Result]:
    """Shares of a step by torch's profiler, in per cent."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        _step(training)
    spent: Counter[str] = Counter()
    for row in profile.key_averages():
        part = next((p for p, names in PARTS.items() if any(n in row.key for n in names)), "rest")
        spent[part] += row.self_cpu_time_total
    whole = sum(spent.values())
    return [
        Result(f"{recipe}, share of {p}", 100 * spent[p] / whole, "%") for p in [*PARTS, "rest"]
    ]


def _against_fastest(recipe: str, training: Training, step: float) -> Result:
    """The step's time over three times the forward passes of its convolutions at their fastest."""
    layers: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda m, x, _: layers.append((m, x[0].detach())))
        for module in training.model.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ]
    images = training.training_set.images[: training.recipe.batch_size]
    x = training.recipe.inputs(images, "shapes5").to(memory_format=torch.channels_last)
    with torch.inference_mode(), seeded(0):
        training.model(x)
        for hook in hooks:
            hook.remove()
        fastest = sum(min(map(_seconds, _ways(*layer))) for layer in layers)
    what = f"{recipe}, a step over the fastest convolutions of its shapes"
    return Result(what, step / (3 * fastest), "x")


def _ways(layer: nn.Module, x: Tensor) -> list[Callable[[], Tensor]]:
    """The layer's own operation in both layouts, and the plain convolution of the same work."""
    ways = []
    for layout in (torch.channels_last, torch.contiguous_format):
        moved, weight = x.contiguous(memory_format=layout), layer.weight.to(memory_format=layout)
        more = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        if isinstance(layer, nn.Conv2d):
            ways.append(partial(F.conv2d, moved, weight, layer.bias, **more))
            continue
        more["output_padding"] = layer.output_padding
        ways.append(partial(F.conv_transpose2d, moved, weight, layer.bias, **more))
        if layer.stride == (1, 1):
            turned = weight.transpose(0, 1).contiguous(memory_format=layout)
            ways.append(partial(F.conv2d, moved, turned, layer.bias, padding=layer.padding))
    return ways


def _seconds(call: Callable[[], Tensor]) -> float:
    call()
    return float(np.median(timeit.repeat(call, timer=time.process_time, number=10, repeat=14))) / 10


def _beside_others(rounds: int) -> list[Result]:
    """Wall time of a step and of an evaluation beside busy processes, over that alone."""
    training = _training(CONFIGS["report"])
    data = shapes.generate(_EVALUATED, seed=1)
    sides = {
        "training": partial(_step, training),
        "evaluation": partial(predict, training.model, data.images, training.recipe, "shapes5"),
    }
    alone = interleave(sides, rounds, at_least=0)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(_BUSY)]
    try:
        beside = interleave(sides, rounds, at_least=0)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return [
        Result(f"{a.what}, beside others", b.median / a.median, "x", at_most=2.5)
        for a, b in zip(alone, beside, strict=True)
    ]
