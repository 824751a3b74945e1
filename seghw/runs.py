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
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seghw.config import RUNS, TrainConfig
from seghw.errors import BadInput, of_the_machine, reason

#: Columns that two runs of one setting share; they differ in their seed alone.
SETTING = ["dataset", "recipe", "loss", "coefficient", "learning_rate", "part"]
HISTORY = ["iteration", "loss", "mse", "dice", "mse_gradient", "dice_gradient"]
_NONE = [dict.fromkeys(("validation_iou", "validation_mse"))]  # scores of no whole epoch
# What ``part`` tells, if it is not as usual.
_USUAL = {
    f.name: f.default for f in fields(TrainConfig) if f.name not in (*SETTING, "seed", "profile")
}


def load_runs(profile: str = "laptop", folder: str | Path = RUNS) -> pd.DataFrame:
    """Every finished or diverged run below ``folder/profile``, ordered by id: ``read_run``'s rows.

    A damaged record is left out with a warning.
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
    """One run's row of the table; ``BadInput`` if the folder holds no record, or a damaged one.

    Returns:
        ``config``, a ``TrainConfig``, and its fields (``coefficient`` is 0 for a loss that has
        none); ``part``, what of the network or the training was changed, ``""`` for nothing; the
        scores after its last epoch (``validation_iou``, ...; NaN where there is no object);
        ``score``, the validation mean IoU by which runs are ranked, minus infinity for a run that
        diverged; ``status`` and ``error``; ``epoch_scores``, a list of all epochs' scores;
        ``images``, that it was trained on, and their ``digest``; ``validation_images``; ``run_id``
        and ``folder``.
    """
    path = Path(folder, "run.json")
    with reading(path, f"{path.parent} holds no finished run: run.json is missing"):
        record = json.loads(path.read_text(encoding="utf-8"))
        config, epochs = TrainConfig(**record["config"]), record["epochs"]
        if not config.run_id == record["run_id"] == path.resolve().parent.name:
            raise ValueError(f"it is the record of {config.run_id}")
        last = {k: np.nan if v is None else v for k, v in (epochs[-1:] or _NONE)[0].items()}
        finished = record["status"] == "finished"
        return {
            **last,
            "run_id": config.run_id,
            "config": config,
            **config.to_dict(),
            "coefficient": config.coefficient or 0.0,
            "part": ", ".join(
                f"{name}={getattr(config, name)}"
                for name, usual in _USUAL.items()
                if getattr(config, name) != usual
            ),
            "score": float(last["validation_iou"]) if finished else -np.inf,
            "status": record["status"],
            "error": record.get("error"),
            "images": record["data"]["images"],
            "validation_images": record["data"]["validation_images"],
            "digest": record["data"].get("digest"),
            "epoch_scores": epochs,
            "folder": path.parent,
        }


@contextmanager
def reading(path: Path, missing: str) -> Iterator[None]:
    """A block that reads a run's file; what is wrong with it is a ``BadInput`` with the way out."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(missing) from error
    except Exception as error:  # a damaged archive raises what it likes
        if of_the_machine(error):
            raise
        raise BadInput(
            f"{path} is damaged ({reason(error)}); remove its folder and train the run again"
        ) from error


def history(run: Any) -> pd.DataFrame:
    """The columns ``HISTORY`` of a run, a row of ``load_runs``; ``BadInput`` if damaged."""
    path = run.folder / "history.csv"
    with reading(path, f"{path} is missing; remove its folder and train the run again"):
        return pd.read_csv(path, dtype=dict.fromkeys(HISTORY[1:], float))[HISTORY]


def load_counts(run: Any) -> Mapping[str, np.ndarray]:
    """The tables of ``counts.npz`` by name, int64 (N, C, k); N test images, C classes.

    ``BadInput`` if the file is missing or damaged.
    """
    path = run.folder / "counts.npz"
    missing = (
        f"{run.run_id} has no counts of its test images; `python -m seghw evaluate` writes {path} "
        "for a run that has its weights"
    )
    with reading(path, missing):
        content = io.BytesIO(path.read_bytes())  # of a damaged file, NumPy leaves none open
        with np.load(content) as tables:
            return {name: tables[name].astype(np.int64) for name in tables}


def best_setting(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the setting with the highest mean score, one row per seed.

    The best of many single runs is partly the luckiest; the best setting is less so. Settings are
    compared on the seeds that all of them have; further seeds of one neither help nor hurt it.
    ``BadInput`` if there are no runs, or none has a score.
    """
    if not runs.score.notna().any():
        raise BadInput("no runs to choose from; `make retrain` trains the grid")
    scores = runs.pivot_table("score", SETTING, "seed", dropna=True)
    shared = scores.dropna(axis=1)
    winner = (scores if shared.empty else shared).mean(axis=1).idxmax()
    return runs[(runs[SETTING] == list(winner)).all(axis=1)].sort_values("seed")


def by_coefficient(runs: pd.DataFrame) -> dict[float, pd.DataFrame]:
    """Each coefficient's runs at its best learning rate, from the smallest coefficient up."""
    return {c: best_setting(group) for c, group in runs.groupby("coefficient")}
