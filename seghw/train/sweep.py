"""Many runs: the report's grid, on this machine's cores or on a Dask cluster."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

from tqdm.auto import tqdm

from seghw.config import COEFFICIENTS, ELSEWHERE, RUNS, SEEDS, TrainConfig, family_of, settings_of
from seghw.devices import available_cores
from seghw.errors import BadInput, reason


def grid(
    dataset: str, recipe: str, *, profile: str = "laptop", seeds: Sequence[int] = SEEDS
) -> list[TrainConfig]:
    """The report's grid for one data set, seed by seed.

    Every loss at every learning rate of the recipe, the combined one with every coefficient.

    Args:
        dataset: key of ``config.DATASETS``.
        recipe: key of ``config.RECIPES``.
        profile: key of ``config.PROFILES``.
        seeds: the outermost loop, so that an interrupted sweep leaves whole grids.

    Raises:
        BadInput: a name that is not known.
    """
    coefficients = COEFFICIENTS[family_of(dataset)]
    losses = [("mse", None), ("dice", None), *(("mse_dice", float(c)) for c in coefficients)]
    rates = settings_of(recipe, profile).learning_rates
    return [
        TrainConfig(dataset, recipe, loss, rate, coefficient, seed, profile)
        for seed, rate, (loss, coefficient) in product(seeds, rates, losses)
    ]


#: The runs that the ablation varies: of each recipe the best MSE + Dice setting on the shapes, as
#: seed 0 alone had it.
BASES = (
    TrainConfig("shapes5", "report", "mse_dice", 1e-3, 40.0),
    TrainConfig("shapes5", "corrected", "mse_dice", 4e-3, 20.0),
)
#: What is taken away or changed, by what it is called; the last two under ``corrected`` alone.
CHANGES = {
    "no skip connections across the U": {"copy_across": False},
    "no shortcuts in the blocks": {"skip_connections": False},
    "no ASPP": {"aspp_rates": None},
    "ASPP at rates 1, 2, 4": {"aspp_rates": (1, 2, 4)},
    "resize-convolution": {"head": "resize"},
    "sub-pixel convolution": {"head": "subpixel"},
}


def ablation(seeds: Sequence[int] = SEEDS, profile: str = "laptop") -> list[TrainConfig]:
    """Every change of the network, seed by seed; what they are compared with is in the grid."""
    return [
        replace(base, seed=seed, profile=profile, **change)
        for seed in seeds
        for base in BASES
        for change in CHANGES.values()
        if base.recipe == "corrected" or "head" not in change
    ]


def sweep(
    configs: Iterable[TrainConfig],
    *,
    runs: str | Path = RUNS,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> dict[str, str]:
    """Train every configuration that has no record yet, each in a process of its own.

    One that fails or is killed stops no other, and the next sweep resumes it from its checkpoint.
    Sweeps over the same folder, also on several machines, share the work: what one is training,
    the others leave alone.

    Args:
        configs: what to train.
        runs: where the records go.
        jobs: number of processes at a time, default one per core.
        scheduler: address of a running Dask scheduler (https://distributed.dask.org), such as
            ``"tcp://10.0.0.1:8786"``, or its scheduler file; its workers train then. They need
            this package and must see ``runs`` under the same path.
        progress: show a bar with the time left.

    Returns:
        By run id, what became of it: ``"trained"``, ``"skipped"`` (its record was there),
        ``"elsewhere"`` (another sweep is training it), or the last line of its error.

    Raises:
        BadInput: fewer than one job, no Dask, or nothing answers at the address.
    """
    if jobs is not None and jobs < 1:
        raise BadInput(f"jobs must be at least 1, got {jobs}")
    runs, configs = Path(runs).resolve(), list(dict.fromkeys(configs))
    outcome = {config.run_id: "skipped" for config in configs}
    waiting = [c for c in configs if not (runs / c.profile / c.run_id / "run.json").is_file()]
    jobs = min(jobs or available_cores(), len(waiting) or 1)
    threads = max(1, available_cores() // jobs)
    work = [(json.dumps(config.to_dict()), str(runs), threads) for config in waiting]
    with tqdm(total=len(waiting), unit="run", disable=not progress) as bar:
        for run_id, result in _on_dask(work, scheduler) if scheduler else _here(work, jobs):
            outcome[run_id] = result
            bar.set_postfix_str(run_id, refresh=False)
            bar.update()
    return outcome


def _here(work: Sequence[tuple], jobs: int) -> Iterable[tuple[str, str]]:
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_in_process, item) for item in work]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:  # interrupted: what has not begun never does, what runs ends (see _in_process)
            pool.shutdown(wait=False, cancel_futures=True)
            _end_processes()


def _on_dask(work: Sequence[tuple], scheduler: str) -> Iterable[tuple[str, str]]:
    try:
        from distributed import Client
        from distributed import as_completed as completed
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise BadInput("a scheduler needs Dask: pip install 'seghw[distributed]'") from error
    try:
        address = scheduler
        if scheduler.endswith(".json"):
            address = json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"]
        # Asked first: a client that meets nobody would leave its threads behind.
        socket.create_connection(get_address_host_port(address), timeout=10).close()
        client = Client(address, timeout=10)
    except FileNotFoundError as error:
        line = f"there is no scheduler file '{scheduler}'; start `dask scheduler` first"
        raise BadInput(line) from error
    except Exception as error:  # whatever the file or the network has in store
        raise BadInput(f"no Dask scheduler answers at {scheduler!r}: {reason(error)}") from error
    with client:
        for _, result in completed(client.map(_in_process, work, pure=False), with_results=True):
            yield result


_PROCESSES: set[subprocess.Popen] = set()


def _in_process(item: tuple[str, str, int]) -> tuple[str, str]:
    """Train in a process of its own, so that whatever ends it ends no other run."""
    text, runs, threads = item
    run_id = TrainConfig.from_dict(json.loads(text)).run_id
    command = [sys.executable, "-m", "seghw", "train", "--config", text, "--runs", runs, "--quiet"]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    _PROCESSES.add(process)
    try:
        message = process.communicate()[1].strip()
    finally:
        _PROCESSES.discard(process)
    if process.returncode == 0:
        return run_id, "trained"
    if process.returncode == ELSEWHERE:
        return run_id, "elsewhere"
    killed = f"its process ended with {process.returncode}; the same sweep resumes it"
    return run_id, message.splitlines()[-1] if message else killed


def _end_processes() -> None:
    for process in list(_PROCESSES):
        with suppress(OSError):
            process.terminate()
