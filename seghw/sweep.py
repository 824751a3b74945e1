"""Many runs: the report's grid, trained by any executor, finished runs never twice."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm.auto import tqdm

from seghw.classes import SHAPES5
from seghw.errors import BadInput
from seghw.paths import RUNS
from seghw.recipes import DATASETS, RECIPES, TrainConfig
from seghw.runs import Run, load_run, run_folder
from seghw.train import train

#: Coefficients of the Dice term: section 3 of the report, and section 2, which says otherwise.
COEFFICIENTS = {"shapes": (20, 40, 60), "coco": (60, 80, 100)}
SECTION_2_COEFFICIENTS = (50, 80, 100)


def grid(
    dataset: str,
    recipe: str,
    *,
    profile: str = "laptop",
    seeds: Sequence[int] = (0, 1, 2),
    coefficients: Sequence[float] | None = None,
) -> list[TrainConfig]:
    """The report's grid for one data set, seed by seed.

    Every loss at every learning rate of the recipe, the combined one with every coefficient.

    Args:
        dataset: key of ``recipes.DATASETS``.
        recipe: key of ``recipes.RECIPES``.
        profile: key of ``recipes.PROFILES``.
        seeds: the outermost loop, so that an interrupted sweep leaves whole grids.
        coefficients: default, the report's section 3 for the data set's family.
    """
    if dataset not in DATASETS or recipe not in RECIPES:
        raise BadInput(f"no grid for data set {dataset!r} and recipe {recipe!r}")
    if coefficients is None:
        coefficients = COEFFICIENTS["shapes" if DATASETS[dataset] is SHAPES5 else "coco"]
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
    status: str  # "finished", "diverged", "skipped" (its record was there) or "failed"
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

    A run that fails is reported and does not stop the others; an interrupted run is resumed by
    the next sweep.

    Args:
        configs: what to train.
        executor: any ``concurrent.futures.Executor``; default, processes on this machine.
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
        owned = executor is None
        executor = executor or local_processes(min(jobs or os.cpu_count() or 1, len(waiting)))
        try:
            futures = {executor.submit(_train_one, c, str(runs)): c for c in waiting}
            finished = tqdm(
                as_completed(futures), total=len(futures), unit="run", disable=not progress
            )
            for future in finished:
                config = futures[future]
                done[config] = _result(future, config)
                finished.set_postfix_str(done[config].run_id)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            if owned:
                executor.shutdown(cancel_futures=True)
    return [done[config] for config in configs]


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """One line a configuration and a last line with the totals, as text."""
    width = max((len(outcome.run_id) for outcome in outcomes), default=0)
    lines = [f"{o.run_id:{width}}  {o.status:8}  {o.detail}" for o in outcomes]
    totals = Counter(outcome.status for outcome in outcomes)
    return "\n".join([*lines, ", ".join(f"{n} {status}" for status, n in totals.items())])


def local_processes(jobs: int) -> Executor:
    """Worker processes that share the cores evenly between them.

    On small feature maps two runs of one thread each are faster than one run of two.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return ProcessPoolExecutor(
        jobs,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(threads,),
    )


def _train_one(config: TrainConfig, runs: str) -> Outcome:
    run = train(config, runs=runs, progress=False)
    return _outcome(run, run.status)


def _recorded(config: TrainConfig, runs: str | Path) -> Run | None:
    folder = run_folder(config, runs)
    if not (folder / "run.json").is_file():
        return None
    return load_run(folder)


def _outcome(run: Run, status: str) -> Outcome:
    if run.status == "diverged":
        return Outcome(run.run_id, status, run.record["error"])
    return Outcome(run.run_id, status, f"validation mean IoU {run.score:.3f}")


def _result(future, config: TrainConfig) -> Outcome:
    try:
        return future.result()
    except Exception as error:
        return Outcome(config.run_id, "failed", f"{type(error).__name__}: {error}")


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


def _check_some(runs: Sequence[Run]) -> None:
    if not runs:
        raise BadInput("no runs to choose from; `make retrain` trains the grid")
