"""What was measured on photographs: tables follow from records, the split from the files' bytes."""

import importlib.util
from itertools import product

import numpy as np
import pandas as pd
import pytest

from seghw.config import DATA, RUNS
from seghw.runs import load_counts, load_runs

FOLDER = DATA / "photographs"


@pytest.fixture(scope="module")
def measure():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("measure_photographs", FOLDER / "measure.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photographs():
    return pd.read_csv(FOLDER / "photographs.csv")


@pytest.fixture(scope="module")
def runs():
    return pd.concat([load_runs(name) for name in ("photographs", "photographs128")])


def test_the_scores_follow_from_the_records(measure):
    fresh = measure.table_of(RUNS).reset_index()
    kept = pd.read_csv(FOLDER / "scores.csv")
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


def test_the_best_constant_mask(measure):
    """Against all 63 masks of 2 x 3 pixels."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        true = rng.random((7, 2, 3)) < rng.random((2, 3))
        masks = np.array(list(product((False, True), repeat=6))[1:]).reshape(-1, 1, 2, 3)
        overlap, union = (
            (op(masks, true)).sum((1, 2, 3)) for op in (np.logical_and, np.logical_or)
        )
        mine = measure.constant_mask(true)
        assert (mine & true).sum() / (mine | true).sum() == pytest.approx((overlap / union).max())


def test_summary_of_a_hand_made_table(measure):
    """Two seeds, three equal photographs of each class: nothing comes from the photographs."""
    right, half, none = (8, 0, 0, 2), (4, 0, 4, 2), (0, 0, 0, 10)
    counts = np.array([
        [[score if c == k else none for k in range(3)] for c in range(3) for _ in range(30)]
        for score in (right, half)
    ])  # fmt: skip
    got = measure.summarize(counts)
    assert got.index.tolist() == ["pizza", "cat", "bus", "mean", "cat and bus", "object"]
    assert got.iou.tolist() == pytest.approx([0.75] * 6)
    # t(0.975, 1) = 12.706, the standard error of 1 and 0.5 is 0.25
    assert (got.high - got.iou).tolist() == pytest.approx([12.706 * 0.25] * 6, rel=1e-3)
    one = measure.summarize(counts[:1])
    assert one.low.tolist() == pytest.approx([1.0] * 6, abs=1e-6)
    assert one.seeds.tolist() == [1] * 6
