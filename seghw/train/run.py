"""One training run: its loop, resumable, with the same weights either way.

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
from torch import Tensor
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
from seghw.train.muon import MuonAndAdamW
from seghw.train.records import (
    build_network,
    load_checkpoint,
    load_weights,
    read_record,
    save_checkpoint,
    save_counts,
    save_weights,
)

HISTORY = ("iteration", "loss", "mse", "dice", "mse_gradient", "dice_gradient")


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
    """Train one configuration, unless its record is there already.

    A run that was interrupted goes on after its last whole epoch, and ends with the weights and
    the history that it would have had anyway.

    Args:
        config: everything that the run depends on.
        data: training and validation set, and a test set if there is one; by default those of
            ``config.dataset``.
        runs: where the record goes: ``runs/<profile>/<run_id>/``.
        device: default ``best_device()``.
        progress: show a bar with the loss and the time left.
        wait: wait while another process trains this run.
        watch: called with the ``Run`` whenever the history has a new row.

    Returns:
        The run's folder; its record's status is ``"diverged"`` if the loss left the finite numbers.

    Raises:
        BadInput: a record of this configuration on other data is in the way, or the data does
            not have the configuration's classes.
        filelock.Timeout: another process is training it, and ``wait`` is false.
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
            with threads_for(run.model, every_core=config.profile == "live"):
                run.train(progress, watch)
    return folder


class Run:
    """A run between its start and its record: what a checkpoint holds, and the loop.

    Attributes:
        config: the configuration.
        model: the network.
        history: rows of ``HISTORY``.
        epochs: scores after each whole epoch.
        steps: number of iterations of all epochs.
        training, validation: the sets.
    """

    def __init__(self, config, data, folder: Path, device: torch.device) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.training, self.validation, *self.test = data
        self.recipe = config.settings
        self.model = build_network(config)
        if config.start:
            load_weights(self.model, folder.parent.parent / config.start)
        # channels_last is how the convolution libraries want it, on CPUs and GPUs alike.
        self.model = self.model.to(device, memory_format=torch.channels_last)
        # Who watches a run wants it soon: in bfloat16 where that is faster.
        self.bfloat16 = config.profile == "live" and multiplies_bfloat16(device)
        self.optimizer = _optimizer(self)
        self.steps_per_epoch = _batches(len(self.training), self.recipe.batch_size)
        self.steps = config.planned_epochs * self.steps_per_epoch
        self.identity = {"config": config.to_dict(), "digest": digest(self.training)}
        self.history, self.epochs, self.seconds = [], [], 0.0
        self._resume()

    def train(self, progress: bool = True, watch: Callable[["Run"], None] | None = None) -> None:
        """All epochs that are left, and the record."""
        done = len(self.epochs) * self.steps_per_epoch
        bar = {"total": self.steps, "initial": done, "desc": self.config.run_id, "unit": "batch"}
        error = None
        with tqdm(**bar, disable=not progress) as bar:
            while len(self.epochs) < self.config.planned_epochs and not error:
                start = time.perf_counter()
                error = self._epoch(bar, watch)
                if not error:
                    self.epochs.append({"epoch": len(self.epochs) + 1, **self._scores()})
                    self.seconds += time.perf_counter() - start
                    self._save()
        self._record(error)

    def _epoch(self, bar: tqdm, watch: Callable | None) -> str | None:
        """Train for one epoch; returns what went wrong, if the loss left the finite numbers."""
        self.model.train()
        log_every, window = PROFILES[self.config.profile].log_every, []
        step = len(self.epochs) * self.steps_per_epoch
        for indices in self.order(len(self.epochs)):
            step += 1
            logged = step % log_every == 0 or step % self.steps_per_epoch == 0
            terms, norms = self.step(indices, step, measure_gradients=logged)
            window.append(torch.stack(terms).detach())
            if logged:
                terms = torch.stack(window).cpu()
                window.clear()
                means = terms.mean(0).tolist()
                self.history.append((step, *means, norms.mse, norms.dice))
                bar.set_postfix(loss=f"{means[0]:.4g}", refresh=False)
                if watch:
                    watch(self)
                if not terms[:, 0].isfinite().all():
                    first = int(terms[:, 0].isfinite().int().argmin())
                    return self._divergence(step - len(terms) + 1 + first, terms[first, 0])
            bar.update()
        return None

    def order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, counted from 0: indices into the training set."""
        # The order follows from the seed and the epoch alone, so that nothing else need be saved.
        seed = int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0])
        indices = list(batches(len(self.training), self.recipe.batch_size, seed))
        if len(indices) > self.steps_per_epoch:  # batch norm cannot train on a single image
            indices[-2:] = [np.concatenate(indices[-2:])]
        return indices

    def step(self, indices: np.ndarray, step: int, *, measure_gradients: bool):
        """One optimizer step on the images of ``indices``.

        Args:
            indices: into the training set.
            step: from 1 on, over all epochs; the learning rate depends on it.
            measure_gradients: also return the gradient norms of both terms.

        Returns:
            ``losses.LossTerms``, and ``losses.GradientBalance`` or None.
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
            masks, squares, start = [], 0.0, 0
            for output in outputs(self.model, data.images, self.recipe, self.config.dataset):
                masks.append(self.recipe.decode(output, data.classes).numpy())
                output = output.sigmoid() if self.config.logits else output
                true = self.recipe.targets(data.masks[start : start + len(output)], data.classes)
                squares += (output - true).square().sum().item()
                start += len(output)
            iou = metrics.iou(metrics.count(np.concatenate(masks), data.masks).sum(0))
            # Without any object, of a class or at all, there is no IoU: null in the record.
            mean = None if np.isnan(iou).all() else round(float(np.nanmean(iou)), 5)
            row[f"{name}_iou"] = mean
            row[f"{name}_mse"] = float(f"{squares / data.masks.size:.6g}")
        row["validation_iou_per_class"] = [None if np.isnan(v) else round(v, 5) for v in iou]
        return row

    def _divergence(self, step: int, loss: Tensor) -> str:
        last = "none, it was the first epoch"
        if self.epochs:
            last = f"{self.folder / 'checkpoint.pt'}, after epoch {len(self.epochs)}"
        return (
            f"the loss became {loss.item()} at iteration {step} of {self.config.run_id}; "
            f"last good checkpoint: {last}"
        )

    # -- what is on disk ---------------------------------------------------------------------------

    def _save(self) -> None:
        state = {"history": self.history, "epochs": self.epochs, "seconds": self.seconds}
        save_checkpoint(
            self.folder / "checkpoint.pt", self.model, self.optimizer, self.identity | state
        )

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if path.is_file():
            state = load_checkpoint(path, self.model, self.optimizer, self.identity)
            self.history, self.epochs = state["history"], state["epochs"]
            self.seconds = state["seconds"]

    def _record(self, error: str | None) -> None:
        rows = ([row[0], *(f"{value:.6g}" for value in row[1:])] for row in self.history)
        write_csv(self.folder / "history.csv", HISTORY, rows)
        if not error:
            save_weights(self.model, self.folder)
            for test in self.test:
                masks = predict(self.model, test.images, self.recipe, self.config.dataset)
                save_counts(count_tables(masks, test, self.config), self.folder)
        record = {
            "run_id": self.config.run_id,
            "status": "diverged" if error else "finished",
            **({"error": error} if error else {}),
            "config": self.config.to_dict(),
            "epochs": self.epochs,
            "wall_time_s": round(self.seconds, 1),
            "data": {
                "name": self.training.name,
                "images": len(self.training),
                "validation_images": len(self.validation),
                "digest": self.identity["digest"],
            },
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "machine": _machine(self.device) | {"bfloat16": self.bfloat16},
        }
        with atomic_write(self.folder / "run.json") as path:
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if not error:  # else it holds the last good weights
            (self.folder / "checkpoint.pt").unlink(missing_ok=True)


def learning_rate(step: int, steps: int, peak: float, warm_up: float | None) -> float:
    """The rate at ``step`` of ``steps``: constant, or a linear warm-up and a cosine to zero.

    Args:
        step: from 1 on.
        steps: of the whole run.
        peak: the configuration's rate.
        warm_up: share of the steps over which the rate rises; None keeps it constant, as in the
            course.
    """
    if warm_up is None:
        return peak
    share = step / steps
    return peak * min(1.0, share / warm_up) * 0.5 * (1 + math.cos(math.pi * share))


def _optimizer(run: Run) -> "torch.optim.Optimizer | MuonAndAdamW":
    """The recipe's: SGD with the course's momentum of 0.9, AdamW, or Muon."""
    rate, parameters = run.config.learning_rate, run.model.parameters()
    if run.recipe.optimizer == "muon":
        dtype = torch.bfloat16 if run.bfloat16 else torch.float32
        return MuonAndAdamW(run.model, rate, dtype)
    # Fused, their many small operations take half the time.
    if run.recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(parameters, lr=rate, fused=True)


def _batches(images: int, batch_size: int) -> int:
    """Batches an epoch; a last one of a single image joins the one before it."""
    return math.ceil(images / batch_size) - (images % batch_size == 1 and images > batch_size)


def _check_data(config: TrainConfig, data: Sequence[SegmentationSet], folder: Path) -> None:
    """Raise ``BadInput`` if the sets have other classes, or a record is of something else."""
    names = [spec.name for spec in config.classes]
    for part in data:
        given = [spec.name for spec in part.classes]
        if given != names:
            raise BadInput(
                f"the data has classes {given}, {config.dataset} needs {names}; "
                f"leave --dataset out, or make it {dataset_of(given)!r}"
            )
    if not (folder / "run.json").is_file():
        return
    record = read_record(folder)
    if TrainConfig.from_dict(record["config"]) != config:
        raise BadInput(f"{folder} holds the record of {record['config']}; remove it or rename it")
    if record["data"]["digest"] != digest(data[0]):
        raise BadInput(
            f"{folder} was trained on other data ({record['data']['name']!r}, not "
            f"{data[0].name!r}); choose another folder for the records"
        )


def _machine(device: torch.device) -> dict[str, Any]:
    about = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        # torch's default there: convolutions round their factors to 10 bits of mantissa.
        rounded = torch.backends.cudnn.allow_tf32
        about |= {"device": torch.cuda.get_device_name(), "tf32": rounded}
    return about
