"""Numbers in the READMEs are those of the records that they come from."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from seghw.config import DATA, PROFILES, RECIPES
from seghw.runs import load_runs

ROOT = Path(__file__).resolve().parent.parent
README, CARD, START = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "data/README.md", "notebooks/README.md")
)


def test_the_number_of_runs():
    runs = load_runs()
    machines = [json.loads((f / "run.json").read_text())["machine"] for f in runs.folder]
    on_gpu = [machine["tf32"] for machine in machines if "NVIDIA" in machine["device"]]
    assert f"are {len(runs)} runs" in README
    said = "{} of them, all under `corrected`, were computed on a GPU, {} of these with TF32;"
    assert said.format(len(on_gpu), sum(on_gpu)) in README


def test_the_scores_of_sam_tiny():
    record = json.loads((DATA / "sam-tiny" / "record.json").read_text(encoding="utf-8"))
    columns = ("box_filled", "box", "click_1", "click_3", "click_5")
    for name, scores in record["scores"].items():
        cells = " | ".join(f"{scores[column]['mean']:.3f}" for column in columns)
        assert f"| {name} | {cells} |" in CARD
    assert f"SAM-tiny ({record['parameters']:,} parameters" in CARD


def test_the_speed_run_is_the_bench_s():
    """Least, median and most of each column, as the table has them."""
    rows = [*csv.DictReader((DATA / "bench/live.csv").read_text().splitlines())]
    for kind, name in enumerate(("float32", "bfloat16")):
        for column, unit, digits in (("seconds", "seconds", ".0f"), ("iou", "mean IoU", ".3f")):
            values = [float(row[column]) for row in rows if row["bfloat16"] == str(kind)]
            three = [format(f(values), digits) for f in (min, np.median, max)]
            assert f"| {unit} in {name} | {' | '.join(three)} |" in START


@pytest.mark.parametrize(
    ("recipe", "profile", "rate", "seeds", "name"),
    [
        ("report", "laptop", 1e-3, (0, 1, 2), "`laptop`, best rate: 1e-3 (3 seeds)"),
        ("report", "full", 1e-4, (0, 1, 2), "`full`, 1e-4 (3 seeds)"),
        ("corrected", "full", 4e-3, (0,), "`full` (1 seed)"),
    ],
)
def test_the_scores_at_both_sizes(recipe, profile, rate, seeds, name):
    runs = load_runs(profile)
    runs = runs[(runs.part == "") & (runs.dataset == "shapes5") & (runs.recipe == recipe)]
    cells = []
    for loss, coefficient in zip(
        ["mse", "dice", *3 * ["mse_dice"]], (0, 0, 20, 40, 60), strict=True
    ):
        same = runs[(runs.loss == loss) & (runs.coefficient == coefficient) & runs.seed.isin(seeds)]
        means = same.groupby("learning_rate").score.mean()
        if "best rate" in name:
            assert means.idxmax() == rate
            assert set(means.index) == set(RECIPES[recipe].learning_rates)
        cells.append(f"{means[rate]:.3f}")
    assert f"| `{recipe}`, {name} | {' | '.join(cells)} |" in README


def test_the_sizes_of_the_profiles():
    for name, size in PROFILES.items():
        counts = (size.train_count, size.validation_count, size.test_count)
        cells = " | ".join(f"{count:,}" for count in counts)
        side = f"{size.scene_size} x {size.scene_size}"
        assert f"| `{name}` | 64 x 64 | {side} | {cells} |" in CARD
