"""One run, its record on disk, and sweeps of many."""

from seghw.train.runs import Run, build_network, load_run, load_runs
from seghw.train.sweep import grid, run_sweep
from seghw.train.trainer import best_device, train

__all__ = [
    "Run",
    "best_device",
    "build_network",
    "grid",
    "load_run",
    "load_runs",
    "run_sweep",
    "train",
]
