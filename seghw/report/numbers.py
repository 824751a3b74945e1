"""The numbers in the report's text: a function each, computed from the runs.

A number's docstring says what it is; ``{0}``, ``{1}``, ... in it stand for the arguments that the
text gives, ``{words}`` for all of them. A function takes ``Records`` and returns the number as
text, and the runs that it comes from.
"""

from collections.abc import Iterable
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from seghw import metrics
from seghw.config import DATASETS, DRAWN, FULL, RECIPES, TrainConfig
from seghw.config import REPORT_LOSSES as LOSSES
from seghw.errors import BadInput
from seghw.evaluate import predictable_step
from seghw.network import MUNet
from seghw.notebook import SET_NAMES
from seghw.report import claims, stats
from seghw.report.claims import seeds_text
from seghw.report.image_claims import DEEPEST, dice_floor, taps_inside
from seghw.report.results import Records
from seghw.report.run_claims import Group, with_counts
from seghw.runs import history

Computed = tuple[str, Iterable[str]]  # as text, and ids of the runs
#: The report's network predicts one row and one column of so many, whatever it was trained on.
STEP = predictable_step(TrainConfig("shapes5", "report", "mse", 1e-3))


def shapes(records: Records) -> Group:
    return Group(records, "shapes", "report")


def ids(*tables: pd.DataFrame) -> list[str]:
    """Of every run ``profile/run_id``, its place below the folder of the records."""
    return [f"{run.profile}/{run.run_id}" for table in tables for run in table.itertuples()]


def ids_of(records: Records, row: Any) -> list[str]:
    """The same of a row of the table of measurements."""
    return [f"{records.profile}/{run}" for run in row.run_ids.split()]


def runs(records: Records, which: str) -> Computed:
    """Runs of the profile, {0}: the grid has the report's losses and coefficients and first seeds;
    further are other seeds, coefficients and rates; changed those of another network or training.
    """
    table, of_grid = records.runs, set()
    for case in product(DRAWN, RECIPES, LOSSES):
        with suppress(BadInput):  # there are none
            of_grid |= set(records.grid(*case).run_id)
    usual, grid = table.part == "", table.run_id.isin(of_grid)
    chosen = {"all": table, "grid": table[grid], "further": table[usual & ~grid]}
    return str(len({**chosen, "changed": table[~usual]}[which])), ()


def profile(records: Records) -> Computed:
    """Profile of the runs: the size of the network and of the sets."""
    return records.profile, ()


def data(records: Records) -> Computed:
    """What the runs were trained on."""
    present = set(records.runs.dataset)
    return " and ".join(SET_NAMES[name] for name in DATASETS if name in present), ()


def segmenter(records: Records) -> Computed:
    """What stands in for SAM, or SAM itself: the name of its folder or of its model."""
    return records.segmenter.name, ()


def test_images(records: Records) -> Computed:
    """Images of the shapes' test set."""
    return str(len(records.test_set("shapes"))), ()


def verdicts(records: Records, *words: str) -> Computed:
    """The report's sentences with the verdict {words}."""
    sentences = claims.verdicts(records.measurements)
    return str(sentences.verdict.str.startswith(" ".join(words)).sum()), ()


def comparisons(records: Records, which: str) -> Computed:
    """Measurements over seeds that decide a verdict ({0}; open: undecided, or no difference)."""
    table = records.measurements
    rows = table[table.deciding & ~table.exact & (table.seeds > 0)]
    is_open = rows.verdict.isin([stats.UNDECIDED, stats.NO_DIFFERENCE])
    return str(is_open.sum() if which == "open" else len(rows)), ()


def never_predicted(_: Records) -> Computed:
    """Share of the pixels that hold the output layer's bias whatever the image is."""
    return f"{1 - 1 / STEP**2:.0%}", ()


def ceiling(records: Records, family: str) -> Computed:
    """Mean IoU of the true test masks ({0}), cut to the pixels that can be predicted."""
    masks = records.test_set(family).masks
    most = np.zeros_like(masks)
    most[:, :, ::STEP, ::STEP] = masks[:, :, ::STEP, ::STEP]
    return f"{np.nanmean(metrics.iou(metrics.count(most, masks).sum(0))):.2f}", ()


def parameters(_: Records, which: str) -> Computed:
    """Parameters of the network at the report's size ({0}; idle: that no gradient ever reaches)."""
    with torch.device("meta"):  # shapes alone: nothing is drawn, nothing computed
        network = MUNet(len(DATASETS["shapes5"]), width=FULL.width, depth=FULL.depth)
        network(torch.zeros(1, 3, 64, 64)).sum().backward()
    parts = list(network.parameters())
    total = sum(part.numel() for part in parts)
    idle = sum(part.numel() for part in parts if part.grad is None)
    return f"{total:,}" if which == "all" else f"{idle / total:.0%}", ()


def bottom(records: Records) -> Computed:
    """Side of the feature map under the ASPP, on images of the shapes' size."""
    return str(records.test_set("shapes").images.shape[-1] // DEEPEST), ()


def taps(records: Records) -> Computed:
    """Taps of nine on the feature map at the largest rate, mean over its positions."""
    return f"{taps_inside(TrainConfig.aspp_rates[-1], int(bottom(records)[0])):.1f}", ()


def floor(records: Records) -> Computed:
    """Least value of the report's Dice loss over a batch with the dotted head, mean of the test
    images of the shapes."""
    shares = records.test_set("shapes").masks.mean(axis=(2, 3))
    floors = np.where(shares > 0, dice_floor(shares, dotted=True), 1.0)
    return f"{np.mean(floors) * RECIPES['report'].batch_size * shares.shape[1]:.1f}", ()


def most(_: Records) -> Computed:
    """The report's Dice loss over a batch of the shapes, for masks that nowhere meet the true."""
    return str(RECIPES["report"].batch_size * len(DATASETS["shapes5"])), ()


def absent(records: Records) -> Computed:
    """Share of the pairs of test image and class of the shapes where the class is absent."""
    return f"{1 - records.test_set('shapes').masks.any(axis=(2, 3)).mean():.0%}", ()


def value_weight(_: Records) -> Computed:
    """Weight of an error on the star over one on the rectangle: the mask values' ratio, squared."""
    values = [spec.value for spec in DATASETS["shapes5"]]
    return f"{(max(values) / min(values)) ** 2:g}", ()


def dice_stays(records: Records) -> Computed:
    """Dice loss at the end of the best setting with Dice alone, shapes, report."""
    best = shapes(records).best("dice")
    ends = [history(run).dice.iloc[-1] for _, run in best.iterrows()]
    return f"{np.mean(ends):.1f} (mean of {seeds_text(len(best))})", ids(best)


def iou(records: Records, family: str, recipe: str, loss: str) -> Computed:
    """Mean IoU on the test images ({0}), recipe {1}, {2}: mean over the seeds of the best setting
    that have counts of their test images."""
    (runs,) = with_counts(Group(records, family, recipe).best(loss))
    if runs.empty:
        raise BadInput("No run of it has counts of its test images.")
    counts = np.array([stats.counts_of(folder)["pixels"].sum(0) for folder in runs.folder])
    score = np.nanmean(metrics.iou(counts), axis=1).mean()
    return f"{score:.3f} (mean of {seeds_text(len(runs))})", ids(runs)


def effect(records: Records, key: str, row: str = "0") -> Computed:
    """Row of the claim {words} (counted from 0; without a number the first), recipe report, shapes,
    with its 95 % interval."""
    dataset, table = records.dataset("shapes"), records.measurements
    rows = table[(table.claim == key) & (table.recipe == "report") & (table.dataset == dataset)]
    if len(rows) <= int(row):
        raise BadInput("It was not measured.")
    chosen = list(rows.itertuples())[int(row)]
    text = claims.effect_text(chosen).removesuffix(f" {stats.RATIO}")
    return f"{text} ({seeds_text(chosen.seeds)})", ids_of(records, chosen)


def spread(records: Records) -> Computed:
    """Largest difference of validation IoU between two seeds of one coefficient at its best
    learning rate, shapes, report."""
    tried = shapes(records).coefficients()
    widths = {c: table.score.max() - table.score.min() for c, table in tried.items()}
    widest = max(widths, key=widths.get)
    text = f"{widths[widest]:.3f} ({seeds_text(len(tried[widest]))} of coefficient {widest:g})"
    return text, ids(tried[widest])


def between(records: Records, what: str) -> Computed:
    """Difference of mean validation IoU between the best and the worst of the {0}, each at its best
    setting, shapes, report."""
    group = shapes(records)
    tried = group.coefficients().values() if what == "coefficients" else map(group.best, LOSSES)
    worst, *_, best = sorted(tried, key=lambda table: table.score.mean())
    return _difference(best, worst, "")


def gain(records: Records, family: str, profile: str | None = None) -> Computed:
    """Validation IoU of the best setting of MSE + Dice minus that of the best of MSE
    ({words}), report."""
    records = Records(records.folder, profile) if profile else records
    group = Group(records, family, "report")
    return _difference(group.best("mse_dice"), group.best("mse"), "+")


def _difference(more: pd.DataFrame, less: pd.DataFrame, sign: str) -> Computed:
    seeds = f"means of {seeds_text(len(more), len(less))}"
    return f"{more.score.mean() - less.score.mean():{sign}.3f} ({seeds})", ids(more, less)
