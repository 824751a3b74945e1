"""Many runs: the report's grid, on this machine's cores or on a Dask cluster."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

from tqdm.auto import tqdm

from seghw.config import COEFFICIENTS, ELSEWHERE, RUNS, SEEDS, TrainConfig, family_of, settings_of
from seghw.devices import available_cores
from seghw.errors import BadInput, reason


def grid(
    dataset: str, recipe: str, *, profile: str = "laptop", seeds: Sequence[int] = SEEDS
) -> list[TrainConfig]:
    """The report's grid for one data set: every loss at every learning rate of the recipe.

    ``dataset``, ``recipe`` and ``profile`` are names of ``config``. Seeds are the outermost loop,
    so that an interrupted sweep leaves whole grids.
    """
    coefficients = COEFFICIENTS[family_of(dataset)]
    losses = [("mse", None), ("dice", None), *(("mse_dice", float(c)) for c in coefficients)]
    rates = settings_of(recipe, profile).learning_rates
    return [
        TrainConfig(dataset, recipe, loss, rate, coefficient, seed, profile)
        for seed, rate, (loss, coefficient) in product(seeds, rates, losses)
    ]


def ablation(seeds: Sequence[int] = SEEDS, profile: str = "laptop") -> list[TrainConfig]:
    """The network without each of its parts, seed by seed; what they are compared with is the grid.

    Varied is of each recipe the best MSE + Dice setting on the shapes, as seed 0 alone had it.
    """
    report = TrainConfig("shapes5", "report", "mse_dice", 1e-3, 40.0, profile=profile)
    corrected = TrainConfig("shapes5", "corrected", "mse_dice", 4e-3, 20.0, profile=profile)
    changes = [{"copy_across": False}, {"skip_connections": False}]  # of the U, of its blocks
    changes += [{"aspp_rates": None}, {"aspp_rates": (1, 2, 4)}]
    heads = [{"head": "resize"}, {"head": "subpixel"}]
    plan = [*product([report], changes), *product([corrected], changes + heads)]
    return [replace(base, seed=seed, **change) for seed in seeds for base, change in plan]


def sweep(
    configs: Iterable[TrainConfig],
    *,
    runs: str | Path = RUNS,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> dict[TrainConfig, str]:
    """Train every configuration that has no record yet, each in a process of its own.

    One that fails or is killed stops no other, and the next sweep resumes it from its checkpoint.
    Sweeps over the same folder, also on several machines, share the work.

    Args:
        configs: what to train.
        runs: where the records go.
        jobs: number of processes at a time, default one per core; a Dask cluster decides itself.
        scheduler: address of a running Dask scheduler (https://distributed.dask.org), such as
            ``"tcp://10.0.0.1:8786"``, or its scheduler file; its workers train then. They need
            this package and must see ``runs`` under the same path.
        progress: show a bar with the time left.

    Returns:
        By configuration: ``"trained"``, ``"skipped"`` (its record was there), ``"elsewhere"``
        (another sweep is training it), or the last line of its error.

    Raises:
        BadInput: fewer than one job, no Dask, or nothing answers at the address.
    """
    if jobs is not None and jobs < 1:
        raise BadInput(f"jobs must be at least 1, got {jobs}")
    runs, configs = Path(runs).resolve(), list(dict.fromkeys(configs))
    outcome = dict.fromkeys(configs, "skipped")
    waiting = [c for c in configs if not (runs / c.profile / c.run_id / "run.json").is_file()]
    # However many are left: on another number of threads a resumed run ends with other digits.
    jobs = jobs or available_cores()
    threads, children = max(1, available_cores() // jobs), Children()
    with ExitStack() as stack:
        client = scheduler and stack.enter_context(_client(scheduler))
        pool = client.get_executor(pure=False) if client else ThreadPoolExecutor(jobs)
        bar = stack.enter_context(tqdm(total=len(waiting), unit="run", disable=not progress))
        futures = {}
        try:
            for config in waiting:
                work = json.dumps(config.to_dict()), str(runs), threads
                ours = () if client else (children,)  # Dask's are its own workers'
                futures[pool.submit(train_in_process, *work, *ours)] = config
            for future in as_completed(futures):
                config = futures[future]
                try:
                    outcome[config] = future.result()
                except Exception as error:  # no process could be started, or a worker is gone
                    outcome[config] = reason(error)
                bar.set_postfix_str(config.run_id, refresh=False)
                bar.update()
        finally:  # interrupted: what has not begun never does, and what runs ends
            for future in futures:
                future.cancel()
            children.end()
            pool.shutdown(wait=not client)  # Dask cancels instead
    return outcome


def _client(scheduler: str) -> Any:
    """A client of the Dask cluster; ``BadInput`` if there is none."""
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise BadInput("a scheduler needs Dask: pip install 'seghw[distributed]'") from error
    try:
        address = scheduler
        if scheduler.endswith(".json"):
            address = json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"]
        # Asked first: a client that meets nobody would leave its threads behind.
        socket.create_connection(get_address_host_port(address), timeout=10).close()
        return Client(address, timeout=10)
    except Exception as error:  # whatever the file or the network has in store
        raise BadInput(
            f"no Dask scheduler answers at {scheduler!r} ({reason(error)}); start `dask scheduler`"
        ) from error


class Children:
    """The processes of one sweep: all of them end with it, and none begins after that."""

    patience = 10.0  # seconds that a process has to end

    def __init__(self) -> None:
        self.running: set[subprocess.Popen] = set()
        self.over, self.lock = False, Lock()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen:
        with self.lock:
            if self.over:
                raise InterruptedError("the sweep has ended")
            process = subprocess.Popen(command, **options)
            self.running.add(process)
        return process

    def end(self) -> None:
        with self.lock:
            self.over = True
        for process in self.running:
            process.terminate()
        for process in self.running:  # one that is deaf loses what came after its checkpoint
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.patience)
            process.kill()


def train_in_process(config: str, runs: str, threads: int, children: Children | None = None) -> str:
    """Train ``config``, JSON, in a process of its own; returns what came of it."""
    command = [sys.executable, "-m", "seghw", "train", "--config", config, "--runs", runs]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "errors": "replace"}
    process = (children or Children()).start([*command, "--quiet"], env=environment, **pipes)
    message = process.communicate()[1].strip()
    if process.returncode in (0, ELSEWHERE):
        return "elsewhere" if process.returncode else "trained"
    killed = f"its process ended with {process.returncode}; the same sweep resumes it"
    return message.splitlines()[-1] if message else killed
