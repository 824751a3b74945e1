"""Claims that are kept are those that would be computed; whatever they depend on counts."""

import shutil

import pytest

from seghw.claims import all_results, kept
from seghw.config import RUNS
from seghw.results import Records

RUN = "shapes5-report-mse_dice-lr1e-03-lambda60-seed1"


@pytest.fixture
def records(tmp_path, monkeypatch):
    shutil.copytree(RUNS / "laptop" / RUN, tmp_path / "runs/laptop" / RUN)
    monkeypatch.setattr(kept, "CACHE", tmp_path / "cache")
    return lambda: Records(tmp_path / "runs", "laptop")


def test_the_second_answer_is_the_first_without_measuring(records, monkeypatch):
    first = all_results(records())
    monkeypatch.setattr(kept, "check_claims", None)  # would fail if it were called
    assert repr(all_results(records())) == repr(first)  # repr: NaN is not equal to itself


def test_a_changed_record_or_a_damaged_file_is_measured_anew(records, tmp_path):
    first = all_results(records())
    [path] = (tmp_path / "cache/claims").iterdir()
    path.write_text("[[")
    assert repr(all_results(records())) == repr(first)
    history = tmp_path / "runs/laptop" / RUN / "history.csv"
    history.write_text(history.read_text().replace("\n50,", "\n51,", 1))
    all_results(records())
    assert len(list((tmp_path / "cache/claims").iterdir())) == 2
