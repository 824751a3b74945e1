"""The runs as one pandas table, a row per run, and how runs are chosen from it.

``data/runs/<profile>/<run_id>/`` holds

``run.json``
    the configuration, how the run ended, the data's name and digest, versions, machine, wall
    time, scores after each epoch. Written last: a folder without it is unfinished.
``history.csv``
    one row per logging step: iteration; loss, mse and dice, averaged over the step; mse_gradient
    and dice_gradient, the norms of the two terms' gradients at the network's output, measured on
    the step's last batch.
``counts.npz``
    for some: counts per test image and class, as ``evaluate.count_tables`` gives them.
``model.safetensors``
    for some: the final weights, parameters in half precision.
"""

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seghw.config import RUNS, TrainConfig
from seghw.errors import BadInput, reason

#: Columns that two runs of one setting share; they differ in their seed alone.
SETTING = ["dataset", "recipe", "loss", "coefficient", "learning_rate", "part"]

# What ``part`` says nothing about, with its usual value.
_USUAL = {
    "network": "munet",
    "aspp_rates": (2, 4, 6),
    "skip_connections": True,
    "copy_across": True,
    "head": None,
    "epochs": None,
    "augment": False,
    "start": None,
}


def load_runs(profile: str = "laptop", folder: str | Path = RUNS) -> pd.DataFrame:
    """Every finished or diverged run of a profile, ordered by id.

    Args:
        profile: name of a folder below ``folder``.
        folder: of the records.

    Returns:
        One row per run: ``config``, a ``TrainConfig``, and its fields as columns (``coefficient``
        is 0 for a loss that has none); ``part``, what of the network or the training was changed,
        ``""`` for nothing;
        the scores after its last epoch (``validation_iou``, ...); ``score``, the validation mean
        IoU by which runs are ranked, minus infinity for a run that diverged; ``status``;
        ``epoch_scores``, a list of all epochs' scores; ``images``, that it was trained on;
        ``run_id`` and ``folder``. A damaged record is left out with a warning.
    """
    rows = []
    for path in sorted(Path(folder, profile).glob("*/run.json")):
        try:
            rows.append(read_run(path.parent))
        except BadInput as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    columns = ["run_id", "folder", "profile", "seed", "status", "score", *SETTING]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def read_run(folder: str | Path) -> dict[str, Any]:
    """One run's row of the table.

    Raises:
        BadInput: the folder holds no record, or a damaged one.
    """
    path = Path(folder, "run.json")
    with reading(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        config = TrainConfig.from_dict(record["config"])
        fields = config.to_dict() | {"coefficient": config.coefficient or 0.0}
        finished, epochs = record["status"] == "finished", record["epochs"]
        if finished and len(epochs) != config.planned_epochs:
            raise ValueError(f"{len(epochs)} of {config.planned_epochs} epochs, yet finished")
        if not config.run_id == record["run_id"] == path.resolve().parent.name:
            raise ValueError(f"it is the record of {config.run_id}")
        last = epochs[-1] if epochs else {}
        return {
            **{name: _number(value) for name, value in last.items() if not isinstance(value, list)},
            "validation_iou_per_class": last.get("validation_iou_per_class"),
            "run_id": config.run_id,
            "config": config,
            **fields,
            "part": _part(fields),
            "score": _number(last["validation_iou"]) if finished else -np.inf,
            "status": record["status"],
            "error": record.get("error"),
            "images": record["data"]["images"],
            "epoch_scores": epochs,
            "folder": path.parent,
        }


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that reads a run's record; what goes wrong is a ``BadInput`` with the way out."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"{path.parent} holds no finished run: run.json is missing") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise BadInput(
            f"{path} is damaged ({reason(error)}); remove its folder and train the run again"
        ) from error


def history(run: Any) -> pd.DataFrame:
    """Losses and gradient norms over the iterations of a run, a row of ``load_runs``.

    Returns:
        Columns iteration, loss, mse, dice, mse_gradient, dice_gradient.

    Raises:
        BadInput: the file is missing or damaged.
    """
    path = run.folder / "history.csv"
    try:
        table = pd.read_csv(path)
        table[["iteration", "loss", "mse", "dice", "mse_gradient", "dice_gradient"]].astype(float)
        return table
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{path} is damaged ({reason(error)}); remove its folder and train the run again"
        ) from error


def load_counts(run: Any) -> Mapping[str, np.ndarray]:
    """The tables of ``counts.npz`` by name, int64 (N, C, k); N test images, C classes.

    Raises:
        BadInput: the file is missing or damaged.
    """
    path = run.folder / "counts.npz"
    try:
        content = io.BytesIO(path.read_bytes())  # of a damaged file, NumPy leaves none open
        with np.load(content, allow_pickle=False) as tables:
            return {name: tables[name].astype(np.int64) for name in tables}
    except FileNotFoundError as error:
        raise BadInput(
            f"{run.run_id} has no counts of its test images; `python -m seghw evaluate` writes "
            f"{path} for a run that has its weights"
        ) from error
    except Exception as error:  # a damaged archive raises what it likes
        raise BadInput(f"{path} is damaged ({reason(error)}); remove it") from error


def best_setting(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the setting with the highest mean score, one row per seed.

    The best of many single runs is partly the luckiest; the best setting is less so. Settings are
    compared on the seeds that all of them have; further seeds of one neither help nor hurt it.

    Raises:
        BadInput: there are no runs.
    """
    if runs.empty:
        raise BadInput("no runs to choose from; `make retrain` trains the grid")
    scores = runs.pivot_table("score", SETTING, "seed", dropna=True)
    shared = scores.dropna(axis=1)
    winner = (scores if shared.empty else shared).mean(axis=1).idxmax()
    return runs[(runs[SETTING] == list(winner)).all(axis=1)].sort_values("seed")


def by_coefficient(runs: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Each coefficient's runs at its best learning rate, from the smallest coefficient up."""
    return {c: best_setting(group) for c, group in runs.groupby("coefficient")}


def _number(value: float | None) -> float:
    """NaN for a score that does not apply, such as that of a set without any object."""
    return np.nan if value is None else float(value)


def _part(fields: Mapping[str, Any]) -> str:
    changed = (name for name, usual in _USUAL.items() if fields.get(name, usual) != usual)
    return ", ".join(f"{name}={fields[name]}" for name in changed)
