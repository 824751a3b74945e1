"""Numbers in the README are those of the records that they come from."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from seghw.config import DATA, PROFILES, RECIPES, TrainConfig
from seghw.train import load_run
from seghw.train.runs import run_folder

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
SPEED = " ".join(README.split("## Speed")[1].split("\n## ")[0].split())


def measured(bench: str, what: str) -> float:
    """The last number that a committed bench has for ``what``: times come first, then results."""
    lines = (DATA / "bench" / f"{bench}.txt").read_text(encoding="utf-8").splitlines()
    line = [line for line in lines if re.match(re.escape(what) + r"  +[\d.]", line)][-1]
    return float(line.removeprefix(what).split()[0])


TRIED = {
    "contiguous memory": "contiguous, not channels_last",
    "convolutions in place of transposed ones": "convolutions for transposed ones",
    "`torch.compile`": "torch.compile",
    "one thread": "half as many threads",
    "denormals flushed": "denormals flushed to zero",
}


@pytest.mark.parametrize(("said", "what"), TRIED.items())
def test_what_was_tried_for_speed(said, what):
    assert f"{said} {measured('train', 'tried: ' + what):.2f}" in SPEED


def test_the_table_of_speeds():
    memory, disk = (measured("data", f"as stored, from {place}") for place in ("memory", "disk"))
    assert f"| {memory:.0f} ({disk:.0f}) | 20 |" in SPEED
    memory, disk = (
        measured("data", f"as trained on, from {place}") for place in ("memory", "disk")
    )
    assert f"| {memory:.0f} ({disk:.0f}) | 20 |" in SPEED
    assert f"| {measured('evaluate', 'masks and display'):.0f} | 500 |" in SPEED
    assert f"| **{measured('train', 'whole step'):.2f}** | 1.3, missed |" in SPEED


def test_the_other_speeds():
    share = measured("train", "step only, of the higher peak")
    assert f"run at {share:.0f} % of the fastest" in SPEED
    assert f"takes {measured('train', 'reading, of a step'):.2f} % of a step" in SPEED


def test_the_laptop_s_step():
    report, corrected = (measured("laptop", f"{r}, new of old") for r in ("report", "corrected"))
    said = f"costs {report:.2f} (`report`) and {corrected:.2f} (`corrected`)"
    assert said in SPEED
    what = "a step over the fastest convolutions of its shapes"
    report, corrected = (measured("laptop", f"{r}, {what}") for r in ("report", "corrected"))
    assert f"takes {report:.1f} and {corrected:.1f} times as long" in SPEED
    assert f"training takes {measured('laptop', 'training, beside others'):.1f} times" in SPEED


def test_the_scores_of_sam_tiny():
    record = json.loads((DATA / "sam-tiny" / "record.json").read_text(encoding="utf-8"))
    columns = ("box_filled", "box", "click_1", "click_3", "click_5")
    for name, scores in record["scores"].items():
        cells = " | ".join(f"{scores[column]['mean']:.3f}" for column in columns)
        assert f"| {name} | {cells} |" in README
    assert f"SAM-tiny ({record['parameters']:,} parameters" in README
    assert f"--steps {record['refines']['steps']} --out DIR" in README
    assert f"--steps {record['steps']} --seed {record['seed']} --start DIR" in README


@pytest.mark.parametrize("name", ["SAM-tiny, 64 x 64", "ViT-B's size, 1024 x 1024"])
def test_what_the_segmenters_cost(name):
    lines = (DATA / "bench" / "sam.txt").read_text(encoding="utf-8").splitlines()

    def seconds(mode: str) -> str:
        [line] = [line for line in lines if line.startswith(f"{name}, {mode}  ")]
        return " ".join(line.removeprefix(f"{name}, {mode}").split()[:2])

    memory = measured("sam", f"{name}, encode and everything: memory")
    cells = [seconds(mode) for mode in ("encode and box", "box", "encode and everything")]
    assert f"| {name} | {' | '.join(cells)}, {memory:.2g} GB |" in README


def test_the_speed_run_is_the_bench_s():
    """Least, median and most of each column, as the README's table has them."""
    with (DATA / "bench" / "live.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    for column, digits in (("seconds", "{:.0f}"), ("iou", "{:.3f}")):
        values = np.array([float(row[column]) for row in rows])
        three = [values.min(), np.median(values), values.max()]
        assert f"| {' | '.join(digits.format(v) for v in three)} |" in README


@pytest.mark.parametrize(
    ("recipe", "profile", "rate", "seeds", "name"),
    [
        ("report", "laptop", 1e-3, (0, 1, 2), "`laptop`, best rate: 1e-3 (3 seeds)"),
        ("report", "full", 1e-4, (0, 1, 2), "`full`, 1e-4 (3 seeds)"),
        ("corrected", "full", 4e-3, (0,), "`full` (1 seed)"),
    ],
)
def test_the_scores_at_both_sizes(recipe, profile, rate, seeds, name):
    cells = []
    for loss, coefficient in zip(
        ["mse", "dice", *3 * ["mse_dice"]], (None, None, 20, 40, 60), strict=True
    ):
        rates = RECIPES[recipe].learning_rates if "best rate" in name else (rate,)
        found = {
            r: mean_score("shapes5", recipe, loss, r, coefficient, profile, seeds) for r in rates
        }
        assert max(found, key=found.get) == rate
        cells.append(f"{found[rate]:.3f}")
    assert f"| `{recipe}`, {name} | {' | '.join(cells)} |" in README


def mean_score(dataset, recipe, loss, rate, coefficient, profile, seeds):
    configs = [TrainConfig(dataset, recipe, loss, rate, coefficient, s, profile) for s in seeds]
    return np.mean([load_run(run_folder(config)).score for config in configs])


def test_what_is_said_beside_the_table_of_both_sizes():
    text = " ".join(README.split())
    alone = mean_score("shapes5", "report", "dice", 1e-3, None, "full", [0])
    assert f"({alone:.3f} at 1e-3, its best rate there, with one seed)" in text
    scenes = [
        f"{mean_score('scenes3', 'report', loss, 1e-4, coefficient, profile, seeds):.3f}"
        for profile, seeds in (("full", [0]), ("laptop", [0, 1, 2]))
        for loss, coefficient in (("mse", None), ("mse_dice", 60.0))
    ]
    assert scenes[0] == scenes[1]
    assert f"both end at {scenes[0]} at the report's size" in text
    assert f"the small network ends at {scenes[2]} and {scenes[3]}." in text


def test_the_sizes_of_the_profiles():
    card = (DATA / "README.md").read_text(encoding="utf-8")
    for name, size in PROFILES.items():
        counts = (size.train_count, size.validation_count, size.test_count)
        cells = " | ".join(f"{count:,}" for count in counts)
        side = f"{size.scene_size} x {size.scene_size}"
        assert f"| `{name}` | 64 x 64 | {side} | {cells} |" in card
