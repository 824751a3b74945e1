"""The report's own size on one GPU: all runs side by side, each step of a run one CUDA graph.

A step of four small images is over a thousand small operations, and a GPU waits for Python before
each of them. Recorded as a graph the step is one call, and the graphs of several runs, each on its
own stream, fill the GPU together. Everything else is the trainer's.
"""

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seghw.config import RECIPES, RUNS, TrainConfig
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import open_split
from seghw.errors import BadInput
from seghw.losses import LossTerms
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
            self.terms = self._one_step()
        self.model.load_state_dict(untrained)
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        torch.cuda.synchronize()

    def _one_step(self) -> Tensor:
        x = self.inputs[self.index].contiguous(memory_format=torch.channels_last)
        terms = self._loss(self.model(x), self.targets[self.index])
        self.optimizer.zero_grad()
        terms.total.backward()
        self.optimizer.step()
        return torch.stack(terms).detach()

    def step(
        self, indices: np.ndarray, iteration: int, *, measure_gradients: bool
    ) -> tuple[LossTerms, object]:
        """As the trainer's; steps that are logged or short are its own."""
        if measure_gradients or len(indices) < len(self.index):
            return super().step(indices, iteration, measure_gradients=measure_gradients)
        self.rate.fill_(self._learning_rate(iteration))
        self.index.copy_(torch.from_numpy(indices), non_blocking=True)
        self.graph.replay()
        return LossTerms(*self.terms.clone()), None

    def train(self) -> Run:
        """The whole run, on a stream of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with torch.cuda.stream(self.stream):
            return self.run(progress=False)


def bench_full(runs: Path = RUNS) -> str:
    """Train those runs of the grid on the shapes that have no record yet, seed 0.

    Raises:
        BadInput: there is no CUDA GPU.
    """
    if not torch.cuda.is_available():
        raise BadInput("the report's own size wants a CUDA GPU")
    start = time.perf_counter()
    trainings = []
    for recipe in RECIPES.values():
        configs = grid("shapes5", recipe.name, profile="full", seeds=(0,))
        parts = [open_split(configs[0], split) for split in ("train", "validation")]
        inputs = recipe.inputs(parts[0].images, "shapes5").cuda()
        targets = recipe.targets(parts[0].masks, parts[0].classes).cuda()
        trainings += [
            GraphedTraining(config, *parts, run_folder(config, runs), inputs, targets)
            for config in configs
            if not (run_folder(config, runs) / "run.json").is_file()
        ]
    if trainings:
        with ThreadPoolExecutor(len(trainings)) as pool:
            list(pool.map(GraphedTraining.train, trainings))
    minutes = (time.perf_counter() - start) / 60
    name = torch.cuda.get_device_name()
    return f"{len(trainings)} runs side by side in {minutes:.1f} minutes on {name}"
