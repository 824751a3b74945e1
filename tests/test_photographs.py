"""What was measured on photographs: tables follow from records, the split from the files' bytes."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from seghw.config import DATA, RUNS
from seghw.runs import load_runs

FOLDER = DATA / "photographs"


@pytest.fixture(scope="module")
def scripts():
    """Both scripts, as modules: ``measure`` imports ``scores``, which stands beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        names = ("measure", "scores")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        del sys.modules[name]


def test_the_tables_follow_from_the_records(scripts):
    for name, table in scripts.scores.tables(scripts.scores.read(RUNS)).items():
        kept = pd.read_csv(FOLDER / name)
        fresh = table.reset_index()[list(kept)]
        pd.testing.assert_frame_equal(fresh, kept, check_dtype=False, atol=6e-5, rtol=0)


def test_every_planned_run_has_a_record(scripts):
    runs = pd.concat([load_runs(name) for name in ("photographs", "photographs128")])
    planned = {(config.profile, config.run_id) for config, _ in scripts.measure.plan()}
    assert set(zip(runs.profile, runs.run_id, strict=True)) == planned
    assert (runs.status == "finished").all()


def test_a_photograph_never_changes_sides(scripts):
    part_of, photographs = scripts.measure.part_of, pd.read_csv(FOLDER / "photographs.csv")
    parts = {"0000": "train", "99999999": "train", "9999999a": "validation"}  # 0.6 is 0x.99999999..
    parts |= {"b3333333": "validation", "b3333334": "test", "ffffffff": "test"}  # 0.7 0x.b3333333..
    assert {start: part_of(start.ljust(64, "0")) for start in parts} == parts
    assert photographs.sha256.is_unique
    assert photographs.sha256.map(part_of).tolist() == photographs.part.tolist()


def test_summary_of_a_hand_made_table(scripts):
    """Two seeds, thirty equal photographs of each class: nothing comes from the photographs."""
    right, half, none = (8, 0, 0, 2), (4, 0, 4, 2), (0, 0, 0, 10)
    counts = np.array([
        [[seen if c == k else none for k in range(3)] for c in range(3) for _ in range(30)]
        for seen in (right, half)
    ])  # fmt: skip
    score, summarize = scripts.scores.score, scripts.scores.summarize
    got = summarize(score(counts))
    assert got.index.tolist() == ["pizza", "cat", "bus", "mean", "cat and bus", "object", "class"]
    assert got.iou.tolist() == pytest.approx([0.75] * 6 + [1])
    # t(0.975, 1) = 12.706, the standard error of 1 and 0.5 is 0.25
    assert (got.high - got.iou).tolist() == pytest.approx([12.706 * 0.25] * 6 + [0], rel=1e-3)
    less = summarize(score(counts), score(counts[1:]))
    assert less.iou.tolist() == pytest.approx([0.25] * 6 + [0])  # 0.5 and 0 more than one half
