"""Fixtures that several test files share."""

import os
import sys
import warnings
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from seghw.config import TrainConfig
from seghw.train.runs import Run
from seghw.train.trainer import train


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Small tensors: a second thread costs more than it brings, most of all on a busy machine.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """A folder of real COCO images with ``annotations/instances_mini.json``."""
    folder = os.environ.get("SEGHW_COCO_MINI")
    if not folder:
        pytest.skip("SEGHW_COCO_MINI does not name a folder of real COCO images")
    return Path(folder)


@pytest.fixture(scope="session")
def dlstudio(tmp_path_factory: pytest.TempPathFactory) -> type:
    """DLStudio's class, imported in a folder where it may leave files.

    What its other lessons need takes seconds and a display to import; it is replaced.
    """
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(tmp_path_factory.mktemp("dlstudio"))
        for name in ("pymsgbox", "torchmetrics", "torchmetrics.image", "torchmetrics.image.lpip"):
            patch.setitem(sys.modules, name, MagicMock())
        return pytest.importorskip("DLStudio", exc_type=ImportError).DLStudio


@pytest.fixture(scope="session")
def smoke_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one smoke run of each recipe on the shapes."""
    folder = tmp_path_factory.mktemp("runs")
    for recipe, rate in (("report", 1e-4), ("corrected", 3e-3)):
        config = TrainConfig("shapes5", recipe, "mse_dice", rate, 20.0, profile="smoke")
        train(config, runs=folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def smoke_run(smoke_runs: Path) -> Run:
    """The corrected one of ``smoke_runs``."""
    from seghw.train.runs import load_runs

    return load_runs("smoke", smoke_runs, recipe="corrected")[0]
