"""What was measured on photographs: tables follow from records, the split from the files' bytes."""

import importlib
import sys

import numpy as np
import pandas as pd
import pytest

from seghw.config import DATA, RUNS
from seghw.runs import load_counts, load_runs

FOLDER = DATA / "photographs"


@pytest.fixture(scope="module")
def scripts():
    """Both scripts, as modules: ``measure`` imports ``scores``, which stands beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("measure"), importlib.import_module("scores")
    for name in ("measure", "scores"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def measure(scripts):
    return scripts[0]


@pytest.fixture(scope="module")
def scores(scripts):
    return scripts[1]


@pytest.fixture(scope="module")
def photographs():
    return pd.read_csv(FOLDER / "photographs.csv")


@pytest.fixture(scope="module")
def runs():
    return pd.concat([load_runs(name) for name in ("photographs", "photographs128")])


def test_the_tables_follow_from_the_records(scores):
    for name, table in scores.tables(scores.read(RUNS)).items():
        kept = pd.read_csv(FOLDER / name)
        fresh = table.reset_index()[list(kept)]
        pd.testing.assert_frame_equal(fresh, kept, check_dtype=False, atol=6e-5, rtol=0)


def test_every_planned_run_has_a_record(measure, runs):
    planned = {(config.profile, config.run_id) for config, _ in measure.plan()}
    assert set(zip(runs.profile, runs.run_id, strict=True)) == planned
    assert (runs.status == "finished").all()


def test_a_photograph_never_changes_sides(measure, photographs):
    parts = {"0000": "train", "99999999": "train", "9999999a": "validation"}  # 0.6 is 0x.99999999..
    parts |= {"b3333333": "validation", "b3333334": "test", "ffffffff": "test"}  # 0.7 0x.b3333333..
    assert {start: measure.part_of(start.ljust(64, "0")) for start in parts} == parts
    assert photographs.sha256.is_unique
    assert photographs.sha256.map(measure.part_of).tolist() == photographs.part.tolist()


def test_records_are_of_these_photographs(photographs, runs):
    """By what each test photograph shows: its class, and in every run as many pixels of it."""
    number = photographs.part.value_counts()
    assert set(runs[runs.epochs.isna()].images) == {number["train"]}
    test = photographs[photographs.part == "test"]
    for _, group in runs.groupby("profile"):
        tables = np.stack([load_counts(run)["pixels"] for run in group.itertuples()])
        true = tables[..., 0] + tables[..., 2]
        assert (true == true[0]).all()
        shown = np.array(["pizza", "cat", "bus"])[true[0].argmax(1)]
        assert shown.tolist() == test["class"].tolist()
        assert ((true[0] > 0).sum(1) == 1).all()


def test_summary_of_a_hand_made_table(scores):
    """Two seeds, thirty equal photographs of each class: nothing comes from the photographs."""
    right, half, none = (8, 0, 0, 2), (4, 0, 4, 2), (0, 0, 0, 10)
    counts = np.array([
        [[seen if c == k else none for k in range(3)] for c in range(3) for _ in range(30)]
        for seen in (right, half)
    ])  # fmt: skip
    got = scores.summarize(scores.score(counts))
    assert got.index.tolist() == ["pizza", "cat", "bus", "mean", "cat and bus", "object", "class"]
    assert got.iou.tolist() == pytest.approx([0.75] * 6 + [1])
    # t(0.975, 1) = 12.706, the standard error of 1 and 0.5 is 0.25
    assert (got.high - got.iou).tolist() == pytest.approx([12.706 * 0.25] * 6 + [0], rel=1e-3)
    less = scores.summarize(scores.score(counts), scores.score(counts[1:]))
    assert less.iou.tolist() == pytest.approx([0.25] * 6 + [0])  # 0.5 and 0 more than one half
