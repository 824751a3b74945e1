"""Run records: what a training run leaves on disk, and how it is read again.

``data/runs/<profile>/<run_id>/`` holds

``run.json``
    the configuration, how the run ended, the data's name and digest, versions, machine, wall
    time, scores after each epoch. Written last: a folder without it is unfinished.
``history.csv``
    one row a logging step: iteration; loss, mse and dice, averaged over the step; mse_gradient
    and dice_gradient, the norms of the two terms' gradients at the network's output, measured on
    the step's last batch.
``model.safetensors``
    the final weights, parameters in half precision.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from seghw.errors import BadInput
from seghw.files import whole_file
from seghw.model import MUNet
from seghw.paths import RUNS
from seghw.recipes import RECIPES, Recipe, TrainConfig

HISTORY_COLUMNS = ("iteration", "loss", "mse", "dice", "mse_gradient", "dice_gradient")


@dataclass(frozen=True, eq=False)
class Run:
    """One finished, diverged or failed run, read from its folder."""

    folder: Path
    config: TrainConfig
    record: Mapping  # all of run.json

    @property
    def run_id(self) -> str:
        return self.config.run_id

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.config.recipe]

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
        """What ``sweep.best`` and ``sweep.worst`` compare: the score, then the validation MSE.

        Runs that paint nothing share a score of 0; the MSE still tells how far each came.
        """
        if self.status != "finished":
            return self.score, float("-inf")
        return self.score, -self.record["epochs"][-1]["validation_mse"]

    @cached_property
    def history(self) -> dict[str, np.ndarray]:
        """Columns of ``history.csv`` as float64 arrays of equal length."""
        with (self.folder / "history.csv").open(encoding="utf-8", newline="") as file:
            names, *rows = csv.reader(file)
        return dict(zip(names, np.array(rows, dtype=float).reshape(-1, len(names)).T, strict=True))

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
        model = self.config.network()
        try:
            model.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=True)
        except (RuntimeError, OSError, ValueError) as error:
            raise BadInput(f"{path} does not fit {self.run_id}: {error}") from error
        return model.eval()


def write_history(folder: Path, rows: Iterable[tuple[float, ...]]) -> None:
    """Write ``history.csv``; six significant digits keep it small and lose nothing visible."""
    with (
        whole_file(folder / "history.csv") as path,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HISTORY_COLUMNS)
        for iteration, *values in rows:
            writer.writerow([int(iteration), *(f"{value:.6g}" for value in values)])


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
    with whole_file(folder / "model.safetensors") as path:
        save_file(weights, path)


def write_record(folder: Path, record: Mapping) -> None:
    """Write ``run.json``, which marks the run as over."""
    with whole_file(folder / "run.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def load_run(folder: str | Path) -> Run:
    """Read one run's folder.

    Raises:
        BadInput: the folder holds no readable record.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return Run(folder, TrainConfig.from_dict(record["config"]), record)
    except FileNotFoundError as error:
        raise BadInput(f"{folder} holds no finished run: run.json is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder}/run.json is damaged ({error}); train the run again") from error


def load_runs(profile: str = "laptop", folder: str | Path = RUNS, **wanted) -> list[Run]:
    """All runs of a profile whose configuration has the ``wanted`` values, ordered by id.

    ``load_runs(recipe="report", loss="mse")`` returns the MSE runs of the recipe ``report``.
    """
    found = [load_run(path.parent) for path in sorted(Path(folder, profile).glob("*/run.json"))]
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
