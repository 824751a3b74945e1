"""Fixtures that test files share, the order of tests, and a check that none leaves a trace."""

import os
import pickle
import random
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import hypothesis
import numpy as np
import pytest
import torch
from tqdm import tqdm

from seghw.config import TrainConfig
from seghw.train import train

with suppress(ImportError):  # transformers needs it, and loading it draws from random
    import rich.style  # noqa: F401

torch.set_num_threads(1)  # for small tensors a second one costs more than it brings
tqdm.monitor_interval = 0  # else the first bar starts a thread, also where it is not shown
# The same examples in every run, and no judgment on a busy machine's times.
unasked = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
same = {"deadline": None, "derandomize": True, "suppress_health_check": unasked}
hypothesis.settings.register_profile("seghw", **same)
hypothesis.settings.load_profile("seghw")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--order", help="shuffle files, and the tests in each, with this seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("order") is not None:
        draws = random.Random(config.getoption("order"))
        of_file = {path: draws.random() for path in dict.fromkeys(item.path for item in items)}
        # The cells of a notebook stay in their order.
        shuffled = {item: draws.random() for item in items if item.path.suffix == ".py"}
        items.sort(key=lambda item: (of_file[item.path], shuffled.get(item, 0)))


_NOT_OURS = ("PYTEST_", "TORCHINDUCTOR_")  # torch notes its folder for what it compiles


def _surroundings() -> dict[str, Any]:
    """What a test could leave changed; under a millisecond."""
    return {
        "environment": {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)},
        "current folder": Path.cwd(),
        "files there": {*os.listdir(".")} - {".hypothesis", ".pytest_cache"},  # noqa: PTH208
        # pyzmq, which talks to kernels, starts one such thread and keeps it.
        "threads": {t for t in threading.enumerate() if "GarbageCollector" not in repr(t)},
        "child processes": _children(),
        "Dask clients": _dask_clients(),
        "torch's threads": torch.get_num_threads(),
        "random's state": random.getstate(),
        "NumPy's random state": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
    }


def _children() -> set[int]:
    """Process ids on Linux; elsewhere nobody can tell them this quickly."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            pids.update(map(int, task.read_text().split()))
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    return pids - {tracker and tracker._resource_tracker._pid}  # lives as long as Python does


def _dask_clients() -> int:
    client = sys.modules.get("distributed.client")
    return sum(c.status != "closed" for c in client.Client._instances) if client else 0


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    """Fail a test that leaves anything of ``_surroundings`` other than it was."""
    before = _surroundings()
    yield
    _ = [t.join(5) for t in _surroundings()["threads"] - before["threads"]]  # that are ending
    after = _surroundings()
    _set_random_states(before)
    for what, value in before.items():
        if what in ("threads", "child processes"):  # an earlier test's may end in this one
            value &= after[what]
        assert value == after[what], what


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["random's state"])
    np.random.set_state(pickle.loads(states["NumPy's random state"]))  # noqa: NPY002
    torch.set_rng_state(torch.ByteTensor([*states["torch's random state"]]))


@pytest.fixture
def seeded() -> Iterator[None]:
    """Let a test draw from the global generators, torch's seeded; afterwards they are as before."""
    before = _surroundings()
    torch.manual_seed(0)
    yield
    _set_random_states(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium: the system's, or the one that ``SEGHW_CHROMIUM`` names."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("SEGHW_CHROMIUM") or next(filter(None, map(shutil.which, names)), "")
    if not chromium:
        pytest.skip("no Chromium here; SEGHW_CHROMIUM names one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


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
    states = _surroundings()  # it seeds every generator
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(tmp_path_factory.mktemp("dlstudio"))
        for name in ("pymsgbox", "torchmetrics", "torchmetrics.image", "torchmetrics.image.lpip"):
            patch.setitem(sys.modules, name, MagicMock())
        imported = pytest.importorskip("DLStudio", exc_type=ImportError).DLStudio
    _set_random_states(states)
    return imported


@pytest.fixture(scope="session")
def smoke_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one smoke run of each recipe on the shapes."""
    folder = tmp_path_factory.mktemp("runs")
    for recipe, rate in (("report", 1e-4), ("corrected", 3e-3)):
        config = TrainConfig("shapes5", recipe, "mse_dice", rate, 20.0, profile="smoke")
        train(config, runs=folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def smoke_run(smoke_runs: Path) -> Path:
    """The folder of the corrected one of ``smoke_runs``."""
    [folder] = (smoke_runs / "smoke").glob("*-corrected-*")
    return folder
