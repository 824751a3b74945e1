"""Many runs: the report's grid, trained by any executor, finished runs never twice."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from filelock import Timeout
from tqdm.auto import tqdm

from seghw.errors import BadInput
from seghw.executors import LocalProcesses
from seghw.paths import RUNS
from seghw.recipes import DATASETS, RECIPES, TrainConfig, family_of
from seghw.runs import Run, load_run, run_folder, select
from seghw.train import record_failure, train_or_read

#: Coefficients of the Dice term by variant and family: the report's section 3, which its figures
#: show, and its section 2, which says otherwise.
COEFFICIENTS = {
    "section3": {"shapes": (20, 40, 60), "coco": (60, 80, 100)},
    "section2": {"shapes": (50, 80, 100), "coco": (50, 80, 100)},
}


def grid(
    dataset: str,
    recipe: str,
    *,
    profile: str = "laptop",
    seeds: Sequence[int] = (0, 1, 2),
    variant: str = "section3",
) -> list[TrainConfig]:
    """The report's grid for one data set, seed by seed.

    Every loss at every learning rate of the recipe, the combined one with every coefficient.

    Args:
        dataset: key of ``recipes.DATASETS``.
        recipe: key of ``recipes.RECIPES``.
        profile: key of ``recipes.PROFILES``.
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
            seeds, RECIPES[recipe].learning_rates, losses
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
        jobs: number of those processes, default one a core.
        runs: where the records go.
        progress: show a bar with the time left.

    Returns:
        One outcome a configuration, in the order of ``configs``.
    """
    configs = list(configs)
    done = {c: _outcome(run, "skipped") for c in configs if (run := _recorded(c, runs))}
    waiting = [c for c in configs if c not in done]
    if waiting:
        jobs = min(jobs or os.cpu_count() or 1, len(waiting))
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


def _recorded(config: TrainConfig, runs: str | Path) -> Run | None:
    folder = run_folder(config, runs)
    if not (folder / "run.json").is_file():
        return None
    run = load_run(folder)
    return None if run.status == "failed" else run


def _outcome(run: Run, status: str) -> Outcome:
    if run.status == "diverged":
        return Outcome(run.run_id, status, run.record["error"])
    return Outcome(run.run_id, status, f"validation mean IoU {run.score:.3f}")


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """One line a configuration and a last line with the totals, as text."""
    width = max((len(outcome.run_id) for outcome in outcomes), default=0)
    lines = [f"{o.run_id:{width}}  {o.status:8}  {o.detail}" for o in outcomes]
    totals = Counter(outcome.status for outcome in outcomes)
    return "\n".join([*lines, ", ".join(f"{n} {status}" for status, n in totals.items())])


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

    The best of many single runs is partly the luckiest; the best setting is less so.
    """
    _check_some(runs)
    return max(by_setting(runs).values(), key=mean_rank)


def best_by_coefficient(runs: Sequence[Run]) -> dict[float, list[Run]]:
    """Each coefficient's seeds at its best learning rate, from the smallest coefficient up."""
    coefficients = sorted({run.config.coefficient for run in runs})
    return {c: best_setting(select(runs, coefficient=c)) for c in coefficients}


def _check_some(runs: Sequence[Run]) -> None:
    if not runs:
        raise BadInput("no runs to choose from; `make retrain` trains the grid")
