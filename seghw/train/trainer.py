"""One training run: its steps, its epochs, resumable, and the same weights either way."""

import io
import math
import pickle
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from tqdm.auto import tqdm

from seghw import metrics
from seghw.config import PROFILES, RUNS, Recipe, TrainConfig, dataset_of
from seghw.data.augment import augmented, flips_and_scales
from seghw.data.dataset import SegmentationSet, batches
from seghw.data.splits import digest, open_split
from seghw.errors import BadInput, reason
from seghw.evaluate import outputs
from seghw.io import atomic_write, remove_leftovers
from seghw.losses import DICE_LOSSES, GradientBalance, LossTerms, combined_loss, gradient_balance
from seghw.seeding import seeded
from seghw.threads import threads_for
from seghw.train.muon import MuonAndAdamW
from seghw.train.runs import (
    Run,
    build_network,
    load_run,
    machine,
    run_folder,
    versions,
    write_history,
    write_record,
    write_weights,
)

CHECKPOINT = "checkpoint.pt"


def best_device() -> torch.device:
    """CUDA where there is a GPU, MPS on a recent Mac, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the processor or GPU computes in bfloat16 itself, and so faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # No public function says so (torch 2.9 to 2.15).
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and asked()


def train(
    config: TrainConfig,
    data: tuple[SegmentationSet, SegmentationSet] | None = None,
    *,
    runs: str | Path = RUNS,
    device: torch.device | None = None,
    progress: bool = True,
    watch: "Watch | None" = None,
) -> Run:
    """Train one configuration, or read its record if it is there already.

    A run that was interrupted goes on after its last whole epoch, and ends with the weights and
    the history that it would have had anyway.

    Args:
        config: everything that the run depends on.
        data: training and validation set; by default those of ``config.dataset``.
        runs: where the record goes: ``runs/<profile>/<run_id>/``.
        device: default ``best_device()``.
        progress: show a bar with the loss and the time left.
        watch: called with the ``Training`` whenever the history has a new row.

    Returns:
        The run; its status is ``"diverged"`` if the loss left the finite numbers.

    Raises:
        BadInput: a record of this configuration on other data is in the way, or the data does
            not have the configuration's classes.
    """
    return train_or_read(config, data, runs=runs, device=device, progress=progress, watch=watch)[0]


def train_or_read(
    config: TrainConfig,
    data: tuple[SegmentationSet, SegmentationSet] | None = None,
    *,
    runs: str | Path = RUNS,
    device: torch.device | None = None,
    progress: bool = True,
    wait: bool = True,
    watch: "Watch | None" = None,
) -> tuple[Run, bool]:
    """As ``train``, and whether this call trained.

    Args:
        wait: wait while another process trains this configuration.

    Raises:
        filelock.Timeout: another process is training it, and ``wait`` is false.
    """
    folder = run_folder(config, runs)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=-1 if wait else 0):
        if data is None:
            data = (open_split(config, "train"), open_split(config, "validation"))
        if (folder / "run.json").is_file():
            finished = load_run(folder)
            if finished.status != "failed":
                _check_record(finished, config, data[0])
                return finished, False
        remove_leftovers(folder)
        training = Training(config, *data, folder, device or best_device())
        training.watch = watch
        return training.run(progress), True


def record_failure(config: TrainConfig, error: str, runs: str | Path = RUNS) -> None:
    """Leave a record that says why a run failed, unless it has a better one.

    The next call of ``train`` with this configuration tries again, from its checkpoint.
    """
    folder = run_folder(config, runs)
    folder.mkdir(parents=True, exist_ok=True)
    # Another process may be training it by now; its record will be the better one.
    with suppress(Timeout), FileLock(folder / ".lock", timeout=0):
        if not (folder / "run.json").is_file() or load_run(folder).status == "failed":
            record = {"run_id": config.run_id, "status": "failed", "error": error}
            write_record(folder, {**record, "config": config.to_dict(), "versions": versions()})


def _check_record(run: Run, config: TrainConfig, data: SegmentationSet) -> None:
    if run.config != config:
        raise BadInput(f"{run.folder} holds the record of {run.config}; remove it or rename it")
    if run.record["data"]["digest"] != digest(data):
        raise BadInput(
            f"{run.folder} was trained on other data ({run.record['data']['name']!r}, not "
            f"{data.name!r}); choose another folder for the records"
        )


class Training:
    """The state of a run between its start and its record."""

    def __init__(
        self,
        config: TrainConfig,
        training_set: SegmentationSet,
        validation_set: SegmentationSet,
        folder: Path,
        device: torch.device,
    ) -> None:
        names = [spec.name for spec in config.classes]
        for part in (training_set, validation_set):
            found = [spec.name for spec in part.classes]
            if found != names:
                raise BadInput(
                    f"the data has classes {found}, {config.dataset} needs {names}; "
                    f"leave --dataset out, or make it {dataset_of(found)!r}"
                )
        self.config = config
        self.recipe: Recipe = config.settings
        self.dice = DICE_LOSSES[config.recipe]
        self.training_set, self.validation_set = training_set, validation_set
        self.folder, self.device = folder, device
        self.digest = digest(training_set)
        self.batches_an_epoch = math.ceil(len(training_set) / self.recipe.batch_size)
        self.iterations = config.planned_epochs * self.batches_an_epoch
        with seeded(config.seed):
            network = build_network(config)
        # channels_last is how the convolution libraries want it, on CPUs and GPUs alike.
        self.model = network.to(device, memory_format=torch.channels_last)
        # Who watches a run wants it soon: in bfloat16 where that is faster.
        self.bfloat16 = config.profile == "live" and multiplies_bfloat16(device)
        self.optimizer = optimizer(self.recipe, config.learning_rate, self.model)
        self.history: list[tuple[float, ...]] = []
        self.epochs: list[dict[str, float]] = []
        self.seconds = 0.0
        self.watch: Watch | None = None

    def run(self, progress: bool) -> Run:
        """All epochs that are left; returns the run as recorded."""
        self._resume()
        bar = tqdm(
            total=self.iterations,
            initial=len(self.epochs) * self.batches_an_epoch,
            desc=self.config.run_id,
            unit="batch",
            disable=not progress,
        )
        with bar, threads_for(self.model, every_core=self.config.profile == "live"):
            while len(self.epochs) < self.config.planned_epochs:
                start = time.perf_counter()
                error = self._epoch(bar)
                if error:
                    return self._finish("diverged", error)
                self.seconds += time.perf_counter() - start
                self._save()
        return self._finish("finished")

    def order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, counted from 0: indices into the training set."""
        # The order follows from the seed and the epoch alone, so that nothing else need be saved.
        seed = int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0])
        return list(batches(len(self.training_set), self.recipe.batch_size, seed))

    def _epoch(self, bar: tqdm) -> str | None:
        """Train for one epoch; returns what went wrong, if the loss left the finite numbers."""
        self.model.train()
        epoch = len(self.epochs)
        log_every = PROFILES[self.config.profile].log_every
        chosen = self.order(epoch)
        window: list[LossTerms] = []
        for iteration, indices in enumerate(chosen, start=epoch * self.batches_an_epoch + 1):
            logged = iteration % log_every == 0 or iteration == (epoch + 1) * self.batches_an_epoch
            terms, norms = self.step(indices, iteration, measure_gradients=logged)
            window.append(terms)
            if logged:
                terms = torch.stack([torch.stack(terms) for terms in window]).cpu()
                window.clear()
                means = terms.mean(0).tolist()
                self.history.append((iteration, *means, norms.mse, norms.dice))
                bar.set_postfix(loss=f"{means[0]:.4g}", refresh=False)
                if self.watch:
                    self.watch(self)
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
        """One optimizer step on the images of ``indices``.

        Args:
            indices: into the training set.
            iteration: from 1 on, over all epochs; the learning rate may depend on it.
            measure_gradients: also return the gradient norms of both terms.
        """
        images, masks = self._batch(indices, iteration)
        x = self.recipe.inputs(images, self.config.dataset)
        target = self.recipe.targets(masks, self.config.classes)
        x, target = x.to(self.device, memory_format=torch.channels_last), target.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model(x).float()
        terms = self._loss(output, target)
        norms = gradient_balance(output, target, self.dice) if measure_gradients else None
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(iteration) * group.get("times", 1)
        self.optimizer.zero_grad()
        terms.total.backward()
        self.optimizer.step()
        return LossTerms(*(term.detach() for term in terms)), norms

    def _batch(self, indices: np.ndarray, iteration: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.config.augment:
            return self.training_set.images[indices], self.training_set.masks[indices]
        epoch = (iteration - 1) // self.batches_an_epoch
        seed = (self.config.seed, epoch)  # each epoch sees other versions of an image
        batch = augmented(self.training_set, indices, flips_and_scales(), seed)
        return batch.images, batch.masks

    def _loss(self, output: Tensor, target: Tensor) -> LossTerms:
        coefficient = self.config.coefficient or 0.0
        return combined_loss(
            output, target, loss=self.config.loss, coefficient=coefficient, dice=self.dice
        )

    def _learning_rate(self, iteration: int) -> float:
        """Constant, as in the course, or a linear warm-up and a cosine to zero."""
        if self.recipe.warm_up is None:
            return self.config.learning_rate
        share = iteration / self.iterations
        warm_up = min(1.0, share / self.recipe.warm_up)
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
        """IoU per class, float64 (C,), and the MSE per output value."""
        masks, squares, done = [], 0.0, 0
        for output in outputs(self.model, data.images, self.recipe, self.config.dataset):
            target = self.recipe.targets(data.masks[done : done + len(output)], data.classes)
            squares += (output - target).square().sum().item()
            masks.append(self.recipe.decode(output, data.classes).numpy())
            done += len(output)
        counts = metrics.count(np.concatenate(masks), data.masks)
        return metrics.iou(counts), squares / data.masks.size

    # -- what is on disk --------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "digest": self.digest}

    def _save(self) -> None:
        save_checkpoint(
            self.folder / CHECKPOINT,
            self.model,
            self.optimizer,
            **self._identity(),
            history=self.history,
            epochs=self.epochs,
            seconds=self.seconds,
        )

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        state = resume_checkpoint(path, self.model, self.optimizer, self.device, self._identity())
        if state:
            self.history, self.epochs = state["history"], state["epochs"]
            self.seconds = state["seconds"]

    def _finish(self, status: str, error: str | None = None) -> Run:
        write_history(self.folder, self.history)
        if status == "finished":
            write_weights(self.folder, self.model)
        record = {
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
            "machine": machine(self.device) | {"bfloat16": self.bfloat16},
        }
        write_record(self.folder, record)
        if status == "finished":  # else it holds the last good weights
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return load_run(self.folder)


Watch = Callable[[Training], None]


def optimizer(
    recipe: Recipe, learning_rate: float, model: nn.Module
) -> "torch.optim.Optimizer | MuonAndAdamW":
    """The recipe's: SGD with the course's momentum of 0.9, AdamW, or Muon."""
    if recipe.optimizer == "muon":
        return MuonAndAdamW(model, learning_rate)
    # Fused, their many small operations take half the time.
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, **state: Any
) -> None:
    """Write weights, the optimizer's state and ``state``: plain numbers, text, lists, dicts."""
    content = io.BytesIO()  # written by Python, which can say that a disk is full
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), **state}, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def resume_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    identity: dict[str, Any],
) -> dict[str, Any] | None:
    """Load what ``save_checkpoint`` wrote into the model and the optimizer.

    Args:
        identity: entries of the state that must be as they are here.

    Returns:
        The state; None if there is no checkpoint.

    Raises:
        BadInput: the checkpoint is damaged or belongs to another training.
    """
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch checks no checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} does not have its checksum")
        state = torch.load(path, map_location=device, weights_only=True)
        for name, value in identity.items():
            if state[name] != value:
                raise BadInput(
                    f"{path} was begun with {name} {state[name]!r:.80}, not {value!r:.80}; "
                    "remove it to start again"
                )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except BadInput:
        raise
    except (
        *(OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError),
        *(pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError),
    ) as error:
        raise BadInput(f"{path} is damaged ({reason(error)}); remove it to start again") from error
    return state
