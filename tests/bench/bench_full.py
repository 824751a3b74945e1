"""Many runs side by side on one GPU, each step of a run one CUDA graph.

A step of four small images is over a thousand small operations, and a GPU waits for Python before
each of them. Recorded as a graph the step is one call, and the graphs of several runs, each on its
own stream, fill the GPU together. Everything else is the trainer's.
"""

import copy
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seghw.claims.plan import plan
from seghw.config import RECIPES, RUNS, TrainConfig
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import open_split
from seghw.errors import BadInput
from seghw.losses import GradientBalance, LossTerms, gradient_norms
from seghw.train.runs import Run, run_folder
from seghw.train.sweep import grid
from seghw.train.trainer import Training


class GraphedTraining(Training):
    """A run from its beginning whose usual step is a CUDA graph.

    Args:
        config: of a recipe that trains by SGD or AdamW, without augmentation.
        inputs: the training set's inputs on the GPU, float32 (N, 3, H, W).
        targets: its targets there, float32 (N, C, H, W).
    """

    def __init__(
        self,
        config: TrainConfig,
        training_set: SegmentationSet,
        validation_set: SegmentationSet,
        folder: Path,
        inputs: Tensor,
        targets: Tensor,
    ) -> None:
        super().__init__(config, training_set, validation_set, folder, torch.device("cuda"))
        self.inputs, self.targets = inputs, targets
        self.index = torch.zeros(self.recipe.batch_size, dtype=torch.long, device="cuda")
        self.rate = torch.tensor(config.learning_rate, device="cuda")
        if self.recipe.optimizer == "adamw":  # its rate changes from step to step
            self.optimizer = torch.optim.AdamW(
                self.model.parameters(), lr=self.rate, fused=True, capturable=True
            )
        self.stream = torch.cuda.Stream()
        self._record()

    def _record(self) -> None:
        untrained = copy.deepcopy(self.model.state_dict())
        self.model.train()
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            for _ in range(3):  # what is set up on first use must not be in the graph
                self._one_step()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.terms, self.norms = self._one_step()
        self.model.load_state_dict(untrained)
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        torch.cuda.synchronize()

    def _one_step(self) -> tuple[Tensor, Tensor]:
        x = self.inputs[self.index].contiguous(memory_format=torch.channels_last)
        target = self.targets[self.index]
        output = self.model(x)
        terms = self._loss(output, target)
        norms = gradient_norms(output, target, self.dice)
        self.optimizer.zero_grad()
        terms.total.backward()
        self.optimizer.step()
        return torch.stack(terms).detach(), norms

    def step(
        self, indices: np.ndarray, iteration: int, *, measure_gradients: bool
    ) -> tuple[LossTerms, GradientBalance | None]:
        """As the trainer's; a step with fewer images is its own."""
        if len(indices) < len(self.index):
            return super().step(indices, iteration, measure_gradients=measure_gradients)
        self.rate.fill_(self._learning_rate(iteration))
        self.index.copy_(torch.from_numpy(indices), non_blocking=True)
        self.graph.replay()
        norms = GradientBalance.of(self.norms) if measure_gradients else None
        return LossTerms(*self.terms.clone()), norms

    def train(self) -> Run:
        """The whole run, on a stream of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with torch.cuda.stream(self.stream):
            return self.run(progress=False)


def side_by_side(configs: Sequence[TrainConfig], runs: Path) -> int:
    """Train those configurations that have no record yet; returns how many."""
    missing = [c for c in configs if not (run_folder(c, runs) / "run.json").is_file()]
    trainings: list[GraphedTraining] = []
    alike = attrgetter("dataset", "recipe", "profile")
    for _, some in groupby(sorted(missing, key=alike), alike):
        some = list(some)
        parts = [open_split(some[0], split) for split in ("train", "validation")]
        recipe = some[0].settings
        inputs = recipe.inputs(parts[0].images, some[0].dataset).cuda()
        targets = recipe.targets(parts[0].masks, parts[0].classes).cuda()
        trainings += [
            GraphedTraining(c, *parts, run_folder(c, runs), inputs, targets) for c in some
        ]
    if trainings:
        with ThreadPoolExecutor(len(trainings)) as pool:
            list(pool.map(GraphedTraining.train, trainings))
    return len(trainings)


def full_size() -> list[TrainConfig]:
    """The grids on the shapes, the best rate of ``report`` with three seeds; two runs on scenes."""
    grids = [c for recipe in RECIPES for c in grid("shapes5", recipe, profile="full")]
    return [
        *(c for c in grids if c.seed == 0 or (c.recipe, c.learning_rate) == ("report", 1e-4)),
        TrainConfig("scenes3", "report", "mse", 1e-4, profile="full"),
        TrainConfig("scenes3", "report", "mse_dice", 1e-4, 60.0, profile="full"),
    ]


def bench_full(runs: Path = RUNS) -> str:
    """Train what has no record yet: the plan's runs, and those at the report's own size.

    Raises:
        BadInput: there is no CUDA GPU.
    """
    if not torch.cuda.is_available():
        raise BadInput("the report's own size wants a CUDA GPU")
    start = time.perf_counter()
    torch.backends.cudnn.allow_tf32 = False  # the plan's other runs were computed on CPUs
    trained = side_by_side(plan(), runs)
    torch.backends.cudnn.allow_tf32 = True
    trained += side_by_side(full_size(), runs)
    minutes = (time.perf_counter() - start) / 60
    name = torch.cuda.get_device_name()
    return f"{trained} runs side by side in {minutes:.1f} minutes on {name}"
