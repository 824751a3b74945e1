"""Run records: what a training run leaves on disk, and how it is read again.

``data/runs/<profile>/<run_id>/`` holds

``run.json``
    the configuration, how the run ended, the data's name and digest, versions, machine, wall
    time, scores after each epoch. Written last: a folder without it is unfinished.
``history.csv``
    one row per logging step: iteration; loss, mse and dice, averaged over the step; mse_gradient
    and dice_gradient, the norms of the two terms' gradients at the network's output, measured on
    the step's last batch.
``model.safetensors``
    the final weights, parameters in half precision.
"""

import csv
import json
import math
import os
import platform
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
import torch
from pydantic import Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from seghw.config import PROFILES, RUNS, Recipe, TrainConfig
from seghw.errors import BadInput, reason
from seghw.io import atomic_write, write_csv
from seghw.network import MUNet

HISTORY_COLUMNS = ("iteration", "loss", "mse", "dice", "mse_gradient", "dice_gradient")

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class Epoch(TypedDict):
    """Scores after one epoch."""

    epoch: _Count
    training_iou: _Share
    training_mse: _Positive  # per output value, likewise below
    validation_iou: _Share
    validation_mse: _Positive
    validation_iou_per_class: list[float]  # NaN for a class that no validation image shows


class DataRecord(TypedDict):
    """What a run was trained on."""

    name: str
    images: _Count
    validation_images: _Count
    digest: str


class Record(TypedDict):
    """What ``run.json`` holds."""

    run_id: str
    status: Literal["finished", "diverged", "failed"]
    error: NotRequired[str]
    config: TrainConfig
    epochs: NotRequired[list[Epoch]]  # a failed run has none of these
    data: NotRequired[DataRecord]
    wall_time_s: NotRequired[_Positive]
    versions: dict[str, str]
    machine: NotRequired[dict[str, Any]]


_RECORD = TypeAdapter(Record)


def build_network(config: TrainConfig) -> MUNet:
    """A fresh network for this run; its weights follow torch's global seed."""
    profile = PROFILES[config.profile]
    return MUNet(
        len(config.classes),
        width=profile.width,
        depth=profile.depth,
        aspp_rates=config.aspp_rates,
        head=config.head or config.settings.head,
        skip_connections=config.skip_connections,
        copy_across=config.copy_across,
    )


@dataclass(frozen=True, eq=False)
class Run:
    """One finished, diverged or failed run, read from its folder."""

    folder: Path
    config: TrainConfig
    record: Record

    @property
    def run_id(self) -> str:
        return self.config.run_id

    @property
    def recipe(self) -> Recipe:
        return self.config.settings

    @property
    def status(self) -> str:
        """``"finished"``, ``"diverged"`` (the loss left the finite numbers) or ``"failed"``."""
        return self.record["status"]

    @property
    def score(self) -> float:
        """Validation mean IoU at the end, the one measure by which runs are ranked.

        A diverged or failed run scores minus infinity, so that it is the worst of any group.
        """
        if self.status != "finished":
            return float("-inf")
        return self.record["epochs"][-1]["validation_iou"]

    @property
    def rank(self) -> tuple[float, float]:
        """What ``best`` and ``worst`` compare: the score, then the validation MSE.

        Runs that paint nothing share a score of 0; the MSE still tells how far each came.
        """
        if self.status != "finished":
            return self.score, float("-inf")
        return self.score, -self.record["epochs"][-1]["validation_mse"]

    @cached_property
    def history(self) -> dict[str, np.ndarray]:
        """Columns of ``history.csv`` as float64 arrays of equal length.

        Raises:
            BadInput: the file is missing, or is not the history of this run.
        """
        path = self.folder / "history.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                names, *rows = csv.reader(file)
            table = np.array(rows, dtype=float).reshape(-1, len(names))
            if tuple(names) != HISTORY_COLUMNS:
                raise ValueError(f"its columns are {names}")
            steps, expected = table[:, 0], self._iterations()
            if not len(table) or (np.diff(steps, prepend=0) <= 0).any():
                raise ValueError("its iterations do not rise from row to row")
            if self.status == "finished" and (
                steps[-1] != expected or not np.isfinite(table).all()
            ):
                raise ValueError(f"it does not lead to iteration {expected} in finite numbers")
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{path} is damaged ({reason(error)}); remove its folder and train it again"
            ) from error
        return dict(zip(names, table.T, strict=True))

    def _iterations(self) -> int:
        an_epoch = math.ceil(self.record["data"]["images"] / self.recipe.batch_size)
        return self.config.planned_epochs * an_epoch

    def has_weights(self) -> bool:
        return (self.folder / "model.safetensors").is_file()

    def network(self) -> MUNet:
        """The trained network on the CPU, in float32 and evaluation mode.

        Raises:
            BadInput: the weights are missing or are not this configuration's.
        """
        path = self.folder / "model.safetensors"
        if not path.is_file():
            raise BadInput(
                f"{self.run_id} has no weights at {path}; "
                "only the best runs' are kept with the records, `make retrain` makes the others"
            )
        model = build_network(self.config)
        try:
            weights = {name: value.float() for name, value in load_file(path).items()}
            model.load_state_dict(weights, strict=True)
            if not all(value.isfinite().all() for value in weights.values()):
                raise ValueError("a weight is not finite")
        except (RuntimeError, OSError, ValueError, SafetensorError) as error:
            raise BadInput(
                f"{path} does not fit {self.run_id} ({reason(error)}); "
                "remove its folder and train it again"
            ) from error
        return model.eval()


def write_history(folder: Path, rows: Iterable[tuple[float, ...]]) -> None:
    """Write ``history.csv``; six significant digits keep it small and lose nothing visible."""
    digits = ([int(step), *(f"{value:.6g}" for value in values)] for step, *values in rows)
    write_csv(folder / "history.csv", HISTORY_COLUMNS, digits)


def write_weights(folder: Path, model: MUNet) -> None:
    """Write ``model.safetensors``: parameters in half precision, everything else as it is.

    The running variances stay in float32: under the report's inputs of 0..255 they outgrow half
    precision's 65,504, and a network with an infinite variance paints nothing.
    """
    parameters = dict(model.named_parameters())
    weights = {
        name: (value.half() if name in parameters else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    with atomic_write(folder / "model.safetensors") as path:
        path.write_bytes(save(weights))


def write_record(folder: Path, record: Mapping) -> None:
    """Write ``run.json``, which marks the run as over."""
    with atomic_write(folder / "run.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def load_run(folder: str | Path) -> Run:
    """Read one run's folder.

    Raises:
        BadInput: the folder holds no record, a damaged one, or that of another configuration.
    """
    folder = Path(folder)
    path = folder / "run.json"
    try:
        record = _RECORD.validate_json(path.read_bytes(), strict=True)
        _check_whole(record)
    except FileNotFoundError as error:
        raise BadInput(f"{folder} holds no finished run: run.json is missing") from error
    except ValueError as error:
        raise BadInput(
            f"{path} is damaged ({reason(error)}); remove the folder and train the run again"
        ) from error
    names = {record["config"].run_id, record["run_id"], folder.resolve().name}
    if len(names) > 1:
        raise BadInput(
            f"{path} is the record of {record['config'].run_id}; the folder and the record's "
            "run_id must be called so too"
        )
    return Run(folder, record["config"], record)


def _check_whole(record: Record) -> None:
    epochs, planned = len(record.get("epochs", ())), record["config"].planned_epochs
    if record["status"] == "finished" and epochs != planned:
        raise ValueError(f"{epochs} of {planned} epochs, yet finished")
    if record["status"] != "finished" and "error" not in record:
        raise ValueError(f"{record['status']} without an error")
    if record["status"] != "failed" and not {"epochs", "data"} <= record.keys():
        raise ValueError("epochs or data are missing")
    classes = len(record["config"].classes)
    if any(len(row["validation_iou_per_class"]) != classes for row in record.get("epochs", ())):
        raise ValueError(f"validation_iou_per_class needs {classes} values")


def load_runs(profile: str = "laptop", folder: str | Path = RUNS, **wanted) -> list[Run]:
    """All runs of a profile whose configuration has the ``wanted`` values, ordered by id.

    ``load_runs(recipe="report", loss="mse")`` returns the MSE runs of the recipe ``report``.
    A damaged record is left out with a warning.
    """
    found = []
    for path in sorted(Path(folder, profile).glob("*/run.json")):
        try:
            run = load_run(path.parent)
            if run.config.profile != profile:
                raise BadInput(f"{path} is a run of the profile {run.config.profile!r}; move it")
            found.append(run)
        except BadInput as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    return select(found, **wanted)


def select(runs: Iterable[Run], **wanted) -> list[Run]:
    """Those runs whose configuration has the ``wanted`` values, in their order."""
    return [
        run
        for run in runs
        if all(getattr(run.config, field) == value for field, value in wanted.items())
    ]


def run_folder(config: TrainConfig, folder: str | Path = RUNS) -> Path:
    """Where the record of ``config`` belongs."""
    return Path(folder, config.profile, config.run_id)


def versions() -> dict[str, str]:
    """What a run's numbers may depend on."""
    return {"torch": torch.__version__, "numpy": np.__version__}


def machine(device: torch.device) -> dict[str, Any]:
    """What made a record, for the record."""
    found = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        # torch's default there: convolutions round their factors to 10 bits of mantissa.
        rounded = torch.backends.cudnn.allow_tf32
        found |= {"device": torch.cuda.get_device_name(), "tf32": rounded}
    return found


# -- choosing among runs --------------------------------------------------------------------


def best(runs: Sequence[Run]) -> Run:
    """The run with the highest validation mean IoU at the end.

    Losses with different coefficients cannot be compared by value; IoU can.
    """
    _check_some(runs)
    return max(runs, key=lambda run: run.rank)


def worst(runs: Sequence[Run]) -> Run:
    """The run with the lowest validation mean IoU at the end; a diverged one is below all."""
    _check_some(runs)
    return min(runs, key=lambda run: run.rank)


def by_setting(runs: Iterable[Run]) -> dict[TrainConfig, list[Run]]:
    """Runs that differ in their seed alone, under their configuration with seed 0."""
    groups: dict[TrainConfig, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.with_seed(0), []).append(run)
    return groups


def mean_rank(runs: Sequence[Run]) -> tuple[float, float]:
    """The seeds' mean of what ``best`` compares."""
    return tuple(np.mean([run.rank for run in runs], axis=0))


def best_setting(runs: Sequence[Run]) -> list[Run]:
    """The seeds of the setting with the highest mean validation IoU.

    The best of many single runs is partly the luckiest; the best setting is less so. Settings are
    compared on the seeds that all of them have; further seeds of one neither help nor hurt it.
    """
    _check_some(runs)
    settings = by_setting(runs).values()
    shared = set.intersection(*({run.config.seed for run in some} for some in settings))
    return max(
        settings,
        key=lambda some: mean_rank([r for r in some if r.config.seed in shared or not shared]),
    )


def best_by_coefficient(runs: Sequence[Run]) -> dict[float, list[Run]]:
    """Each coefficient's seeds at its best learning rate, from the smallest coefficient up."""
    coefficients = sorted({run.config.coefficient for run in runs})
    return {c: best_setting(select(runs, coefficient=c)) for c in coefficients}


def _check_some(runs: Sequence[Run]) -> None:
    if not runs:
        raise BadInput("no runs to choose from; `make retrain` trains the grid")
