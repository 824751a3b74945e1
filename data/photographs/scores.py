"""The tables beside this file, from the committed records: no photograph is needed.

python data/photographs/scores.py
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from seghw import metrics
from seghw.config import PROFILES, RUNS
from seghw.io import atomic_write
from seghw.report.stats import interval
from seghw.runs import load_counts, load_runs

HERE = Path(__file__).resolve().parent
#: ``mean`` is of the three classes; of pizzas there are three test photographs only. ``object`` is
#: the mean over the photographs of their one object's IoU: what is predicted of other classes is
#: free there. ``class`` is the share of photographs in which their class has most predicted pixels.
SCORES = ("pizza", "cat", "bus", "mean", "cat and bus", "object", "class")
Method = tuple[str, int, int]  # its name, photographs it was trained on, side of the images
AFTER = "corrected, drawings, then photographs"
#: What is compared on the same seeds and photographs: the first minus the second.
COMPARED: tuple[tuple[Method, Method], ...] = (
    ((AFTER, 95, 64), ("corrected, photographs", 95, 64)),
    ((AFTER, 95, 64), ("corrected, drawings", 0, 64)),
    ((AFTER, 95, 64), (AFTER, 48, 64)),
    ((AFTER, 48, 64), (AFTER, 24, 64)),
    ((f"{AFTER}, augmented", 95, 64), (AFTER, 95, 64)),
    ((f"{AFTER}, augmented", 95, 64), ("constant mask", 0, 64)),
    (("corrected, photographs", 95, 64), ("constant mask", 0, 64)),
    (("corrected, drawings", 0, 64), ("constant mask", 0, 64)),
    (("SAM-tiny, true box", 0, 64), ("filled true box", 0, 64)),
)


class Scores(NamedTuple):
    """All ``SCORES`` of a method."""

    values: np.ndarray  # float64 (seeds, 7)
    drawn: np.ndarray  # float64 (1000, 7): mean over the seeds, photographs drawn with replacement


def score(counts: np.ndarray) -> Scores:
    """Scores from counts int64 (seeds, photographs, 3, 4); the draws are the same every time."""
    seeds, images = counts.shape[:2]
    true, predicted = counts[0, ..., 0] + counts[0, ..., 2], counts[..., 0] + counts[..., 1]
    classes = true.argmax(-1)
    right = (predicted.argmax(-1) == classes) & predicted.any(-1)
    own = np.stack([metrics.iou(counts)[:, range(images), classes], right], -1)

    def join(table: np.ndarray, own: np.ndarray) -> np.ndarray:
        iou = metrics.iou(table)
        means = [np.nanmean(each, -1, keepdims=True) for each in (iou, iou[..., 1:])]
        return np.concatenate([iou, *means, own], -1)

    draws = metrics.resample(*counts, *own[:, :, None])
    drawn = join(np.stack(draws[:seeds]), np.stack(draws[seeds:])[:, :, 0] / images)
    return Scores(join(counts.sum(1), own.mean(1)), drawn.mean(0))


def summarize(scores: Scores, minus: Scores | None = None) -> pd.DataFrame:
    """The mean over the seeds, or of their differences, and its 95 % interval, a row per score.

    The interval joins the errors over seeds and, by the bootstrap, over photographs. That of a
    single value, or of the difference of two, is of the photographs alone.
    """
    values, drawn = scores if minus is None else (a - b for a, b in zip(scores, minus, strict=True))
    seeds = len(values)
    values = np.repeat(values, 2, 0) if seeds == 1 else values
    rows = map(interval, values.T, np.nanstd(drawn, 0))
    table = pd.DataFrame(rows, pd.Index(SCORES, name="score")).rename(columns={"mean": "iou"})
    return table.assign(seeds=seeds)[["seeds", "iou", "low", "high"]]


def read(runs: Path) -> dict[Method, np.ndarray]:
    """Counts int64 (seeds, photographs, 3, 4) of every method, by seed."""
    with np.load(runs / "photographs" / "untrained.npz") as file:
        counts = {(name, 0, 64): file[name].astype(np.int64) for name in file}
    trained = pd.concat([load_runs(name, runs) for name in ("photographs", "photographs128")])
    how = ["recipe", trained.start.notna(), "augment", "profile", "images"]
    for (recipe, after, augment, profile, images), group in trained.groupby(how):
        method = f"{recipe}, {'drawings, then ' * after}photographs{', augmented' * augment}"
        tables = [load_counts(run)["pixels"] for run in group.sort_values("seed").itertuples()]
        counts[method, images, PROFILES[profile].scene_size] = np.stack(tables)
    return counts


def tables(counts: Mapping[Method, np.ndarray]) -> dict[str, pd.DataFrame]:
    """By file name: every method's scores, and the differences of those ``COMPARED``."""
    scores = {method: score(each) for method, each in counts.items()}
    about = ["method", "photographs", "side"]
    pairs = [(a, b) for a, b in COMPARED if {a, b} <= set(scores)]
    differences = {(*a[:2], *b[:2]): summarize(scores[a], scores[b]) for a, b in pairs}
    names = [*about[:2], "minus", "its photographs"]
    return {
        "scores.csv": pd.concat({m: summarize(s) for m, s in scores.items()}, names=about),
        "differences.csv": pd.concat(differences, names=names).rename(
            columns={"iou": "difference"}
        ),
    }


def write_tables(runs: Path = RUNS) -> None:
    """Write both files."""
    for name, table in tables(read(runs)).items():
        with atomic_write(HERE / name) as path:
            table.to_csv(path, float_format="%.4f", lineterminator="\n")


if __name__ == "__main__":
    write_tables()
