"""One training run, to be read from top to bottom; interrupted and resumed, it ends the same.

A run's folder is ``runs/<profile>/<run_id>/``; ``seghw.runs`` says what is in it.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from tqdm.auto import tqdm

from seghw import metrics
from seghw.config import PROFILES, RUNS, TrainConfig, dataset_of
from seghw.data.dataset import SegmentationSet, augment, batches
from seghw.data.splits import digest, open_split
from seghw.devices import best_device, multiplies_bfloat16, threads_for
from seghw.errors import BadInput
from seghw.evaluate import count_tables, outputs, predict
from seghw.io import atomic_write, remove_leftovers, write_csv
from seghw.losses import DICE_LOSSES, combined_loss, gradient_balance
from seghw.runs import HISTORY, read_run
from seghw.train.muon import MuonAndAdamW
from seghw.train.records import (
    build_network,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_counts,
    save_weights,
)


def train(
    config: TrainConfig,
    data: Sequence[SegmentationSet] | None = None,
    *,
    runs: str | Path = RUNS,
    device: torch.device | None = None,
    progress: bool = True,
    wait: bool = True,
    watch: Callable[["Run"], None] | None = None,
) -> Path:
    """Train one configuration, unless its record is there; returns the run's folder.

    A run that was interrupted goes on after its last whole epoch, and ends with the weights and
    the history that it would have had anyway. If the loss left the finite numbers, the record's
    status is ``"diverged"``.

    Args:
        config: everything that the run depends on.
        data: training and validation set, and a test set if there is one; by default those of
            ``config.dataset``.
        runs: where the record goes: ``runs/<profile>/<run_id>/``.
        device: default ``best_device()``.
        progress: show a bar with the loss and the time left.
        wait: wait while another process trains this run; else ``filelock.Timeout`` is raised.
        watch: called with the ``Run`` whenever the history has a new row.

    Raises:
        BadInput: the data has other classes, or the record or checkpoint is of other data.
    """
    folder = Path(runs, config.profile, config.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=-1 if wait else 0):
        if data is None:
            data = [open_split(config, split) for split in ("train", "validation", "test")]
        _check_data(config, data, folder)
        if not (folder / "run.json").is_file():
            remove_leftovers(folder)
            run = Run(config, data, folder, device or best_device())
            load_checkpoint(run)
            with threads_for(run.model, every_core=config.profile == "live"):
                run.record(run.train(progress, watch))
    return folder


class Run:
    """A run between its start and its record.

    Attributes:
        config: the configuration; ``recipe``: its settings.
        training, validation: the sets.
        model: the network.
        history: rows of ``runs.HISTORY``.
        epochs: scores after each whole epoch.
        steps: number of iterations of all epochs.
    """

    def __init__(self, config, data, folder: Path, device: torch.device) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.training, self.validation, *self.test = data
        self.digest, self.recipe = digest(self.training), config.settings
        self.steps_per_epoch = len(self.order(0))
        self.steps = config.planned_epochs * self.steps_per_epoch
        self.history, self.epochs, self.seconds = [], [], 0.0

        model = build_network(config)
        if config.start:
            load_weights(model, folder.parent.parent / config.start)
        # channels_last is how the convolution libraries want it, on CPUs and GPUs alike.
        self.model = model.to(device, memory_format=torch.channels_last)
        # Who watches a run wants it soon: in bfloat16 where that is faster.
        self.bfloat16 = config.profile == "live" and multiplies_bfloat16(device)
        rate, parameters = config.learning_rate, self.model.parameters()
        if self.recipe.optimizer == "muon":
            dtype = torch.bfloat16 if self.bfloat16 else torch.float32
            self.optimizer = MuonAndAdamW(self.model, rate, dtype)
        elif self.recipe.optimizer == "adamw":  # fused, the small operations take half the time
            self.optimizer = torch.optim.AdamW(parameters, lr=rate, fused=True)
        else:  # as the course has it
            self.optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, fused=True)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, counted from 0: indices into the training set."""
        # The order follows from the seed and the epoch alone, so that nothing else need be saved.
        seed = int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0])
        indices = list(batches(len(self.training), self.recipe.batch_size, seed))
        if len(indices) > 1 and len(indices[-1]) == 1:  # on one image batch norm cannot train
            indices[-2:] = [np.concatenate(indices[-2:])]
        return indices

    def train(self, progress: bool, watch: Callable[["Run"], None] | None) -> str | None:
        """All epochs that are left; returns what went wrong if the loss left the finite numbers."""
        done = len(self.epochs) * self.steps_per_epoch
        bar = {"total": self.steps, "initial": done, "desc": self.config.run_id, "unit": "batch"}
        with tqdm(**bar, disable=not progress) as bar:
            for epoch in range(len(self.epochs), self.config.planned_epochs):
                start = time.perf_counter()
                if error := self._epoch(epoch, bar, watch):
                    return (
                        f"{error} of {self.config.run_id}; whole epochs in its checkpoint: {epoch}"
                    )
                scores = self._scores()
                if not math.isfinite(scores["validation_mse"]):  # by the epoch's last step
                    return f"outputs of {self.config.run_id} are infinite; whole epochs: {epoch}"
                self.epochs.append({"epoch": epoch + 1, **scores})
                self.seconds += time.perf_counter() - start
                save_checkpoint(self)
        return None

    def _epoch(self, epoch: int, bar: tqdm, watch: Callable | None) -> str | None:
        """Every training image once; returns what went wrong, if anything."""
        self.model.train()
        log_every, window = PROFILES[self.config.profile].log_every, []
        for step, indices in enumerate(self.order(epoch), epoch * self.steps_per_epoch + 1):
            logged = step % log_every == 0 or step % self.steps_per_epoch == 0
            terms, norms = self.step(indices, step, measure_gradients=logged)
            window.append(torch.stack(terms).detach())
            bar.update()
            if not logged:
                continue
            losses = torch.stack(window).cpu()
            means = losses.mean(0).tolist()
            self.history.append((step, *means, norms.mse, norms.dice))
            bar.set_postfix(loss=f"{means[0]:.4g}", refresh=False)
            if watch:
                watch(self)
            for back, loss in enumerate(losses[:, 0].tolist(), 1 - len(window)):
                if not math.isfinite(loss):
                    return f"the loss became {loss} at iteration {step + back}"
            window.clear()
        return None

    def step(self, indices: np.ndarray, step: int, *, measure_gradients: bool):
        """One optimizer step on the images of ``indices``: ``losses.LossTerms``, and None or norms.

        ``step`` counts from 1 on, over all epochs; the learning rate depends on it. The norms of
        both terms' gradients are a ``losses.GradientBalance``.
        """
        config, recipe, dice = self.config, self.recipe, DICE_LOSSES[self.config.recipe]
        images, masks = self.training.images[indices], self.training.masks[indices]
        if config.augment:
            images, masks = augment(images, masks, seed=(config.seed, step))
        x = recipe.inputs(images, config.dataset)
        x = x.to(self.device, memory_format=torch.channels_last)
        target = recipe.targets(masks, config.classes).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model(x).float()
        coefficient = config.coefficient or 0.0
        terms = combined_loss(output, target, loss=config.loss, coefficient=coefficient, dice=dice)
        norms = None
        if measure_gradients:
            shown = output.sigmoid() if config.logits else output
            norms = gradient_balance(shown, target, dice)
        for group in self.optimizer.param_groups:
            rate = learning_rate(step, self.steps, config.learning_rate, recipe.warm_up)
            group["lr"] = rate * group.get("times", 1)
        self.optimizer.zero_grad()
        terms.total.backward()
        self.optimizer.step()
        return terms, norms

    def _scores(self) -> dict[str, Any]:
        """Scores on the validation set and on as many training images, to see overfitting."""
        row: dict[str, Any] = {}
        part = self.training.subset(slice(0, len(self.validation)))
        for name, data in (("training", part), ("validation", self.validation)):
            masks, squares = [], 0.0
            raw = outputs(self.model, data.images, self.recipe, self.config.dataset, batch_size=32)
            truth = self.recipe.targets(data.masks, data.classes).split(32)
            for output, true in zip(raw, truth, strict=True):
                masks.append(self.recipe.decode(output, data.classes).numpy())
                output = output.sigmoid() if self.config.logits else output
                squares += (output - true).square().sum().item()
            iou = metrics.iou(metrics.count(np.concatenate(masks), data.masks).sum(0))
            # Without any object, of a class or at all, there is no IoU: null in the record.
            mean, *per_class = (
                None if np.isnan(v) else round(float(v), 5) for v in (metrics.class_mean(iou), *iou)
            )
            row |= {f"{name}_iou": mean, f"{name}_mse": float(f"{squares / data.masks.size:.6g}")}
        return {**row, "validation_iou_per_class": per_class}

    def record(self, error: str | None) -> None:
        """Write all that ``seghw.runs`` describes; of a diverged run no weights and no counts."""
        rows = ([row[0], *(f"{value:.6g}" for value in row[1:])] for row in self.history)
        write_csv(self.folder / "history.csv", HISTORY, rows)
        if not error:
            save_weights(self.model, self.folder)
            for test in self.test:
                masks = predict(self.model, test.images, self.recipe, self.config.dataset)
                save_counts(count_tables(masks, test, self.config), self.folder)
        on_cuda = self.device.type == "cuda"
        record = {
            "run_id": self.config.run_id,
            "status": "diverged" if error else "finished",
            "error": error,
            "config": self.config.to_dict(),
            "epochs": self.epochs,
            "wall_time_s": round(self.seconds, 1),
            "data": {
                "name": self.training.name,
                "images": len(self.training),
                "validation_images": len(self.validation),
                "digest": self.digest,
            },
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "machine": {
                "system": platform.system(),
                "processor": platform.machine(),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "device": torch.cuda.get_device_name() if on_cuda else self.device.type,
                # Convolutions on a GPU may round their factors to 10 bits of mantissa.
                "tf32": on_cuda and torch.backends.cudnn.allow_tf32,
                "bfloat16": self.bfloat16,
            },
        }
        with atomic_write(self.folder / "run.json") as path:
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if not error:  # else it holds the last good weights
            (self.folder / "checkpoint.pt").unlink(missing_ok=True)


def learning_rate(step: int, steps: int, peak: float, warm_up: float | None) -> float:
    """The rate at ``step`` of ``steps``, from 1 on: a linear warm-up times a cosine to zero.

    ``warm_up`` is the share of the steps over which the first factor rises to 1. The product stays
    below ``peak``: with a warm-up of 0.1 it reaches 0.98 of it. None keeps the rate constant, as
    in the course.
    """
    if warm_up is None:
        return peak
    share = step / steps
    return peak * min(1.0, share / warm_up) * 0.5 * (1 + math.cos(math.pi * share))


def _check_data(config: TrainConfig, data: Sequence[SegmentationSet], folder: Path) -> None:
    """Raise ``BadInput`` if the sets have other classes, or a record is of something else."""
    names = [spec.name for spec in config.classes]
    for given in ([spec.name for spec in part.classes] for part in data):
        if given != names:
            raise BadInput(
                f"the data has classes {given}, {config.dataset} needs {names}; "
                f"leave --dataset out, or make it {dataset_of(given)!r}"
            )
    if (folder / "run.json").is_file() and read_run(folder)["digest"] != digest(data[0]):
        raise BadInput(f"{folder} was trained on other data; choose another folder for the records")
