"""One training run: resumable, recorded, the same weights whether interrupted or not."""

from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from seghw.dataset import SegmentationSet
from seghw.errors import BadInput
from seghw.files import remove_leftovers
from seghw.paths import RUNS
from seghw.recipes import TrainConfig
from seghw.runs import Run, load_run, run_folder, versions, write_record
from seghw.sources import digest, open_split
from seghw.training import Training


def best_device() -> torch.device:
    """CUDA where there is a GPU, MPS on a recent Mac, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def train(
    config: TrainConfig,
    data: tuple[SegmentationSet, SegmentationSet] | None = None,
    *,
    runs: str | Path = RUNS,
    device: torch.device | None = None,
    progress: bool = True,
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

    Returns:
        The run; its status is ``"diverged"`` if the loss left the finite numbers.

    Raises:
        BadInput: a record of this configuration on other data is in the way, or the data does
            not have the configuration's classes.
    """
    run, _ = train_or_read(config, data, runs=runs, device=device, progress=progress)
    return run


def train_or_read(
    config: TrainConfig,
    data: tuple[SegmentationSet, SegmentationSet] | None = None,
    *,
    runs: str | Path = RUNS,
    device: torch.device | None = None,
    progress: bool = True,
    wait: bool = True,
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
            _check_same_data(finished, data)
            if finished.status != "failed":
                return finished, False
        remove_leftovers(folder)
        return Training(config, *data, folder, device or best_device()).run(progress), True


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


def _check_same_data(run: Run, data: tuple[SegmentationSet, SegmentationSet]) -> None:
    if run.status != "failed" and run.record["data"]["digest"] != digest(data[0]):
        raise BadInput(
            f"{run.folder} was trained on other data ({run.record['data']['name']!r}, not "
            f"{data[0].name!r}); choose another folder for the records"
        )
