"""The speed run: how long the command takes to a mean IoU of 0.75 on unseen shapes."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from seghw.config import DATA, RUNS, TrainConfig
from seghw.io import write_csv
from seghw.train import load_run
from seghw.train.runs import run_folder

COLUMNS = ("seed", "seconds", "iou", "bfloat16")
COMMAND = "train --dataset shapes5 --recipe corrected --profile live --seed"


def bench_live(
    seeds: int = 20, table: Path = DATA / "bench" / "live.csv", runs: Path = RUNS
) -> str:
    """Train every seed that the table lacks, in a process of its own; the table grows row by row.

    A second counts from the call of Python to its end: imports, drawing the images, training and
    scoring 500 unseen images are in it.
    """
    rows = []
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row.values()) for row in csv.DictReader(file)]
    for seed in range(len(rows), seeds):
        start = time.perf_counter()
        command = [sys.executable, "-m", "seghw", *COMMAND.split(), str(seed), "--runs", str(runs)]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        config = TrainConfig("shapes5", "corrected", "mse_dice", 2e-2, 0.1, seed, "live")
        run = load_run(run_folder(config, runs))
        bfloat16 = run.record["machine"]["bfloat16"]
        rows.append((seed, f"{seconds:.1f}", f"{run.score:.4f}", int(bfloat16)))
        write_csv(table, COLUMNS, rows)
    seconds, iou = np.array([row[1:3] for row in rows], float).T
    return (
        f"{len(rows)} seeds: seconds {seconds.min():.0f} to {seconds.max():.0f}, median "
        f"{np.median(seconds):.0f}; mean IoU {iou.min():.3f} to {iou.max():.3f}, median "
        f"{np.median(iou):.3f}"
    )
