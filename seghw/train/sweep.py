"""Many runs: the report's grid, trained by any executor, finished runs never twice."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from filelock import Timeout
from tqdm.auto import tqdm

from seghw.config import (
    COEFFICIENTS,
    DATASETS,
    RECIPES,
    RUNS,
    SEEDS,
    TrainConfig,
    family_of,
    settings_of,
)
from seghw.errors import BadInput, reason
from seghw.threads import available_cores, use_threads
from seghw.train.runs import Run, load_run, run_folder
from seghw.train.trainer import record_failure, train_or_read


def grid(
    dataset: str,
    recipe: str,
    *,
    profile: str = "laptop",
    seeds: Sequence[int] = SEEDS,
    variant: str = "section3",
) -> list[TrainConfig]:
    """The report's grid for one data set, seed by seed.

    Every loss at every learning rate of the recipe, the combined one with every coefficient.

    Args:
        dataset: key of ``config.DATASETS``.
        recipe: key of ``config.RECIPES``.
        profile: key of ``config.PROFILES``.
        seeds: the outermost loop, so that an interrupted sweep leaves whole grids.
        variant: which of the report's two lists of coefficients, a key of ``COEFFICIENTS``.

    Raises:
        BadInput: a name that is not known.
    """
    if dataset not in DATASETS or recipe not in RECIPES or variant not in COEFFICIENTS:
        raise BadInput(f"no grid {variant!r} for data set {dataset!r} and recipe {recipe!r}")
    coefficients = COEFFICIENTS[variant][family_of(dataset)]
    losses = [("mse", None), ("dice", None), *(("mse_dice", float(c)) for c in coefficients)]
    return [
        TrainConfig(dataset, recipe, loss, rate, coefficient, seed, profile)
        for seed, rate, (loss, coefficient) in product(
            seeds, settings_of(recipe, profile).learning_rates, losses
        )
    ]


@dataclass(frozen=True)
class Outcome:
    """What became of one configuration in a sweep."""

    run_id: str
    status: str  # "finished", "diverged", "failed", or "skipped": its record was there
    detail: str  # the score, or what went wrong


def run_sweep(
    configs: Iterable[TrainConfig],
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    runs: str | Path = RUNS,
    progress: bool = True,
) -> list[Outcome]:
    """Train every configuration that has no record yet.

    An interrupted run is resumed by the next sweep. Sweeps over the same folder share the work:
    what one is training, the others leave for the end. A run that fails is recorded with its
    error, does not stop the others, and is tried again by the next sweep.

    Args:
        configs: what to train.
        executor: any ``concurrent.futures.Executor``, which stays open; default, processes on
            this machine.
        jobs: number of those processes, default one per core.
        runs: where the records go.
        progress: show a bar with the time left.

    Returns:
        One outcome per configuration, in the order of ``configs``.

    Raises:
        BadInput: fewer than one job.
    """
    if jobs is not None and jobs < 1:
        raise BadInput(f"jobs must be at least 1, got {jobs}")
    configs = list(configs)
    done = {c: outcome for c in configs if (outcome := _recorded(c, runs))}
    waiting = [c for c in configs if c not in done]
    if waiting:
        jobs = min(jobs or available_cores(), len(waiting))
        with (
            nullcontext(executor) if executor else LocalProcesses(jobs) as pool,
            tqdm(total=len(waiting), unit="run", disable=not progress) as bar,
        ):
            for wait in (False, True):  # first what nobody trains, then what others do
                for config, outcome in _train_all(pool, waiting, runs, wait, bar):
                    done[config] = outcome
                waiting = [c for c in waiting if c not in done]
    return [done[config] for config in configs]


def _train_all(
    pool: Executor, configs: Sequence[TrainConfig], runs: str | Path, wait: bool, bar: tqdm
) -> Iterator[tuple[TrainConfig, Outcome]]:
    """What became of each configuration, as they end; nothing for those trained elsewhere."""
    futures = {pool.submit(_train_one, c, str(runs), wait): c for c in configs}
    try:
        for future in as_completed(futures):
            config = futures[future]
            try:
                outcome = future.result()
            except Exception as error:
                outcome = _failure(config, runs, error)
            if outcome:
                bar.set_postfix_str(outcome.run_id, refresh=False)
                bar.update()
                yield config, outcome
    finally:
        for future in futures:
            future.cancel()


def _train_one(config: TrainConfig, runs: str, wait: bool) -> Outcome | None:
    """Train in a worker process; None if another process is at it and ``wait`` is false."""
    try:
        run, trained_here = train_or_read(config, runs=runs, progress=False, wait=wait)
    except Timeout:
        return None
    return _outcome(run, run.status if trained_here else "skipped")


def _failure(config: TrainConfig, runs: str | Path, error: Exception) -> Outcome:
    message = f"{type(error).__name__}: {error}"
    record_failure(config, message, runs)
    return Outcome(config.run_id, "failed", message)


def _recorded(config: TrainConfig, runs: str | Path) -> Outcome | None:
    """What the record says, if there is one; a damaged one stands in the way of its run alone."""
    folder = run_folder(config, runs)
    if not (folder / "run.json").is_file():
        return None
    try:
        run = load_run(folder)
    except BadInput as error:
        return Outcome(config.run_id, "failed", str(error))
    return None if run.status == "failed" else _outcome(run, "skipped")


def _outcome(run: Run, status: str) -> Outcome:
    if run.status == "diverged":
        return Outcome(run.run_id, status, run.record["error"])
    return Outcome(run.run_id, status, f"validation mean IoU {run.score:.3f}")


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """One line per configuration and a last line with the totals, as text."""
    width = max((len(outcome.run_id) for outcome in outcomes), default=0)
    lines = [f"{o.run_id:{width}}  {o.status:8}  {o.detail}" for o in outcomes]
    totals = Counter(outcome.status for outcome in outcomes)
    return "\n".join([*lines, ", ".join(f"{n} {status}" for status, n in totals.items())])


# -- where runs are computed ----------------------------------------------------------------


class LocalProcesses(Executor):
    """Worker processes that share the cores evenly; one that dies takes only its own call along.

    The standard ``ProcessPoolExecutor`` gives up all its calls when one process is killed, as by
    a system that is out of memory. Here each of ``jobs`` threads has a pool of one process, and
    starts another if it is lost.
    """

    def __init__(self, jobs: int) -> None:
        self._threads = max(1, available_cores() // jobs)
        self._callers = ThreadPoolExecutor(jobs, thread_name_prefix="seghw-caller")
        self._own = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._workers: list[int] = []  # their process ids
        self._interrupted = False

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call ``fn`` in one of the processes; everything is sent there by pickling."""
        return self._callers.submit(self._call, fn, *args, **kwargs)

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind:  # interrupted: nobody waits for the runs, which go on from their checkpoints
            self._interrupted = True
            self._callers.shutdown(wait=False, cancel_futures=True)
            self._end_workers()
        super().__exit__(kind, *error)

    def _end_workers(self) -> None:
        for pid in self._workers:
            with suppress(OSError):  # it is gone already
                os.kill(pid, signal.SIGTERM)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._callers.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self._own, "pool"):
            # "spawn" is the one way to start a process that is safe beside threads everywhere.
            self._own.pool = ProcessPoolExecutor(
                1, get_context("spawn"), initializer=_start_worker, initargs=(self._threads,)
            )
            self._pools.append(self._own.pool)
            self._workers.append(self._own.pool.submit(os.getpid).result())
            if self._interrupted:  # while this one was starting
                self._end_workers()
        try:
            return self._own.pool.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool as error:
            del self._own.pool
            raise RuntimeError(
                "its process ended too early: killed, as for want of memory, or begun by a script "
                "without a file or an `if __name__ == '__main__'`; the same sweep goes on with it"
            ) from error


def _start_worker(threads: int) -> None:
    use_threads(threads)
    # Ctrl-C reaches every process of the terminal; the workers then end at once and in silence. A
    # bar's lock between processes would be left behind, and multiprocessing would complain.
    # A sweep in the background (nohup ... &) ignores Ctrl-C, and so do its workers.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    tqdm.set_lock(threading.RLock())


def dask_cluster(address: str) -> Executor:
    """The workers of a running Dask scheduler (https://distributed.dask.org).

    They need this package and must see the folder of the records under the same path. A worker
    that is lost in the middle of a run gives it back; another resumes it at its last epoch.

    Args:
        address: such as ``"tcp://10.0.0.1:8786"``, or a scheduler file (``.json``).

    Raises:
        BadInput: Dask is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BadInput("a scheduler needs Dask: pip install 'seghw[distributed]'") from error
    if address.endswith(".json"):
        address = _address_in(Path(address))
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, AssertionError) as error:
        raise BadInput(f"no Dask scheduler answers at {address!r}: {error}") from error
    return client.get_executor(pure=False)


def _address_in(path: Path) -> str:
    """Where the scheduler that wrote this scheduler file answers."""
    if not path.is_file():
        raise BadInput(f"there is no scheduler file '{path}'; start `dask scheduler` first")
    try:
        address = json.loads(path.read_bytes())["address"]
        if not isinstance(address, str):
            raise TypeError(f"address is {address!r:.40}")
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"'{path}' was not written by `dask scheduler`: {reason(error)}") from error
    return address
