"""The speed run: how long the command takes to a mean IoU of 0.75 on unseen shapes.

Everything that it takes is the package's own and is called by one command; ``data/bench/live.csv``
lists all runs.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from seghw.config import DATA, RUNS, TrainConfig
from seghw.io import atomic_write
from seghw.runs import read_run

COMMAND = "train --dataset shapes5 --recipe corrected --profile live --seed"


def bench_live(
    seeds: int = 20, table: Path = DATA / "bench" / "live.csv", runs: Path = RUNS
) -> str:
    """Train every seed that the table lacks, in a process of its own; the table grows row by row.

    A second counts from the call of Python to its end: imports, drawing the images, training and
    scoring 500 unseen images are in it.
    """
    rows = pd.read_csv(table).to_dict("records") if table.is_file() else []
    for seed in range(len(rows), seeds):
        start = time.perf_counter()
        command = [sys.executable, "-m", "seghw", *COMMAND.split(), str(seed), "--runs", str(runs)]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        config = TrainConfig("shapes5", "corrected", "mse_dice", 2e-2, 0.1, seed, "live")
        folder = Path(runs, "live", config.run_id)
        bfloat16 = int(json.loads((folder / "run.json").read_text())["machine"]["bfloat16"])
        score = round(read_run(folder)["score"], 4)
        row = {"seed": seed, "seconds": round(seconds, 1), "iou": score, "bfloat16": bfloat16}
        rows.append(row)
        with atomic_write(table) as path:
            pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")
    seconds, iou = np.array([(row["seconds"], row["iou"]) for row in rows]).T
    return (
        f"{len(rows)} seeds: seconds {seconds.min():.0f} to {seconds.max():.0f}, median "
        f"{np.median(seconds):.0f}; mean IoU {iou.min():.3f} to {iou.max():.3f}, median "
        f"{np.median(iou):.3f}"
    )
