"""The state of one training run: its steps, its epochs, and what it leaves on disk."""

import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from seghw import metrics
from seghw.dataset import SegmentationSet, batches
from seghw.errors import BadInput
from seghw.evaluate import outputs
from seghw.files import whole_file
from seghw.losses import GradientBalance, LossTerms, combined_loss, gradient_balance
from seghw.recipes import PROFILES, RECIPES, Recipe, TrainConfig
from seghw.runs import Run, load_run, versions, write_history, write_record, write_weights
from seghw.seeding import seeded
from seghw.sources import digest

CHECKPOINT = "checkpoint.pt"


class Training:
    """The state of a run between its start and its record."""

    def __init__(self, config, training_set, validation_set, folder, device) -> None:
        names = [spec.name for spec in config.classes]
        if [spec.name for spec in training_set.classes] != names:
            found = [spec.name for spec in training_set.classes]
            raise BadInput(f"the data has classes {found}, {config.dataset} needs {names}")
        self.config: TrainConfig = config
        self.recipe: Recipe = RECIPES[config.recipe]
        self.training_set: SegmentationSet = training_set
        self.validation_set: SegmentationSet = validation_set
        self.folder: Path = folder
        self.device: torch.device = device
        self.epochs_planned: int = config.planned_epochs
        self.digest: str = digest(training_set)
        self.batches_an_epoch = math.ceil(len(training_set) / self.recipe.batch_size)

        with seeded(config.seed):
            network = config.network()
        # channels_last is how the convolution libraries want it, on CPUs and GPUs alike.
        self.model = network.to(device, memory_format=torch.channels_last)
        self.optimiser = optimiser(self.recipe, config.learning_rate, self.model)
        self.history: list[tuple[float, ...]] = []
        self.epochs: list[dict[str, float]] = []
        self.seconds = 0.0

    def run(self, progress: bool) -> Run:
        self._resume()
        with tqdm(
            total=self.epochs_planned * self.batches_an_epoch,
            initial=len(self.epochs) * self.batches_an_epoch,
            desc=self.config.run_id,
            unit="batch",
            disable=not progress,
        ) as bar:
            while len(self.epochs) < self.epochs_planned:
                start = time.perf_counter()
                error = self._epoch(bar)
                if error:
                    return self._finish("diverged", error)
                self.seconds += time.perf_counter() - start
                self._save()
        return self._finish("finished")

    def _epoch(self, bar: tqdm) -> str | None:
        """Train for one epoch; returns what went wrong, if the loss left the finite numbers."""
        self.model.train()
        epoch = len(self.epochs)
        log_every = PROFILES[self.config.profile].log_every
        # The order follows from the seed and the epoch alone, so that nothing else need be saved.
        order_seed = int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0])
        chosen = batches(len(self.training_set), self.recipe.batch_size, order_seed)
        window: list[LossTerms] = []
        for iteration, indices in enumerate(chosen, start=epoch * self.batches_an_epoch + 1):
            logged = iteration % log_every == 0 or iteration == (epoch + 1) * self.batches_an_epoch
            terms, pulls = self.step(indices, iteration, measure_gradients=logged)
            window.append(terms)
            if logged:
                terms = torch.stack([torch.stack(terms) for terms in window]).cpu()
                window.clear()
                means = terms.mean(0).tolist()
                self.history.append((iteration, *means, pulls.mse, pulls.dice))
                bar.set_postfix(loss=f"{means[0]:.4g}", refresh=False)
                finite = terms[:, 0].isfinite()
                if not finite.all():
                    first = int(finite.int().argmin())  # of the window
                    return self._divergence(iteration - len(terms) + 1 + first, terms[first, 0])
            bar.update()
        self.epochs.append(self._validate())
        return None

    def step(
        self, indices: np.ndarray, iteration: int, *, measure_gradients: bool
    ) -> tuple[LossTerms, GradientBalance | None]:
        """One optimiser step on the images of ``indices``.

        Args:
            indices: into the training set.
            iteration: from 1 on, over all epochs; the learning rate may depend on it.
            measure_gradients: also return the pull of both terms.
        """
        images, masks = self._batch(indices, iteration)
        x = self.recipe.inputs(images, self.config.dataset)
        target = self.recipe.targets(masks, self.config.classes)
        x, target = x.to(self.device, memory_format=torch.channels_last), target.to(self.device)
        output = self.model(x)
        terms = self._loss(output, target)
        pulls = gradient_balance(output, target, self.recipe.dice) if measure_gradients else None
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(iteration)
        self.optimiser.zero_grad()
        terms.total.backward()
        self.optimiser.step()
        return LossTerms(*(term.detach() for term in terms)), pulls

    def _batch(self, indices: np.ndarray, iteration: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.config.augment:
            return self.training_set.images[indices], self.training_set.masks[indices]
        from seghw.augment import augmented, flips_and_scales

        epoch = (iteration - 1) // self.batches_an_epoch
        seed = (self.config.seed, epoch)  # each epoch sees other versions of an image
        batch = augmented(self.training_set, indices, flips_and_scales(), seed)
        return batch.images, batch.masks

    def _loss(self, output: Tensor, target: Tensor) -> LossTerms:
        config = self.config
        return combined_loss(
            output,
            target,
            loss=config.loss,
            coefficient=config.coefficient or 0.0,
            dice=self.recipe.dice,
        )

    def _learning_rate(self, iteration: int) -> float:
        """Constant under SGD, as in the course; else a warm-up and a cosine to nothing."""
        if self.recipe.optimiser == "sgd":
            return self.config.learning_rate
        share = iteration / (self.epochs_planned * self.batches_an_epoch)
        warm_up = min(1.0, share / 0.1)
        return self.config.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * share))

    def _divergence(self, iteration: int, loss: Tensor) -> str:
        last = "none, it was the first epoch"
        if self.epochs:
            last = f"{self.folder / CHECKPOINT}, after epoch {len(self.epochs)}"
        return (
            f"the loss became {loss.item()} at iteration {iteration} of {self.config.run_id}; "
            f"last good checkpoint: {last}"
        )

    def _validate(self) -> dict[str, float]:
        """Scores on the validation set and on as many training images, to see overfitting."""
        row: dict[str, float] = {"epoch": len(self.epochs) + 1}
        seen = self.training_set.subset(slice(0, len(self.validation_set)))
        for name, data in (("training", seen), ("validation", self.validation_set)):
            iou, mse = self._scores(data)
            row[f"{name}_iou"] = round(metrics.mean_score(iou).mean, 5)
            row[f"{name}_mse"] = float(f"{mse:.6g}")
        row["validation_iou_per_class"] = [round(v, 5) for v in iou.tolist()]
        return row

    def _scores(self, data: SegmentationSet) -> tuple[np.ndarray, float]:
        masks, squares = [], 0.0
        planes = outputs(self.model, data.images, self.recipe, self.config.dataset)
        done = 0
        for output in planes:
            target = self.recipe.targets(data.masks[done : done + len(output)], data.classes)
            squares += (output - target).square().sum().item()
            masks.append(self.recipe.decode(output, data.classes).numpy())
            done += len(output)
        return metrics.iou(
            metrics.count(np.concatenate(masks), data.masks)
        ), squares / data.masks.size

    # -- what is on disk --------------------------------------------------------------------

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "config": self.config.to_dict(),
            "digest": self.digest,
        }
        with whole_file(self.folder / CHECKPOINT) as path:
            torch.save(state, path)

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["digest"] != self.digest:
            raise BadInput(f"{path} was begun on other data; remove it to start again")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.history = state["history"]
        self.epochs = state["epochs"]
        self.seconds = state["seconds"]

    def _finish(self, status: str, error: str | None = None) -> Run:
        write_history(self.folder, self.history)
        if status == "finished":
            write_weights(self.folder, self.model)
        write_record(
            self.folder,
            {
                "run_id": self.config.run_id,
                "status": status,
                **({"error": error} if error else {}),
                "config": self.config.to_dict(),
                "epochs": self.epochs,
                "wall_time_s": round(self.seconds, 1),
                "data": {
                    "name": self.training_set.name,
                    "images": len(self.training_set),
                    "validation_images": len(self.validation_set),
                    "digest": self.digest,
                },
                "versions": versions(),
                "machine": _machine(self.device),
            },
        )
        if status == "finished":  # else it holds the last good weights
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return load_run(self.folder)


def optimiser(recipe: Recipe, learning_rate: float, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's: SGD with the course's momentum of 0.9, or AdamW."""
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=learning_rate)


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
    }
