"""Damaged files: either the work is done, or one line says what is wrong; nothing else changes."""

import contextlib
import copy
import hashlib
import json
import shutil
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seghw.cli import main
from seghw.data import shapes
from seghw.errors import BadInput
from seghw.train.runs import load_run, load_runs
from seghw.train.sweep import dask_cluster, run_sweep
from seghw.train.trainer import CHECKPOINT, optimizer, resume_checkpoint, save_checkpoint


def laws(cases):
    return settings(
        max_examples=cases,
        derandomize=True,  # the same cases in every run
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@st.composite
def damage(draw, content: bytes) -> bytes:
    """Cut, flipped, replaced, doubled or inserted bytes."""
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "replace", "insert", "drop"]))
        if kind == "cut":
            del out[at:]
        elif kind == "flip" and out:
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "replace":
            piece = draw(st.binary(min_size=1, max_size=8))
            out[at : at + len(piece)] = piece
        elif kind == "insert":
            out[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            del out[at : at + draw(st.integers(1, 40))]
    return bytes(out)


NUMBERS = [-1, 0, 3, 1.5, 1e308, 10**30, -(2**63), float("nan"), float("inf")]
ODD = st.sampled_from(
    [None, True, "", "x", "1", "../../x", [], [[]], ["x"], [1, 2], {}, {"a": 1}, *NUMBERS]
)


@st.composite
def other_values(draw, content: bytes) -> bytes:
    """JSON in which one or two values are of another kind, missing, or doubled."""
    whole = json.loads(content)
    for _ in range(draw(st.integers(1, 2))):
        place, inner = whole, whole
        while isinstance(inner, dict | list) and inner and draw(st.integers(0, 4)):
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            place, key = inner, draw(st.sampled_from(keys))
            inner = place[key]
        if place is inner:
            continue
        kind = draw(st.sampled_from(["value", "value", "remove", "double"]))
        if kind == "value":
            place[key] = copy.deepcopy(draw(ODD))
        elif kind == "remove":
            del place[key]
        elif isinstance(place, list):
            place.append(copy.deepcopy(inner))
    return json.dumps(whole).encode()


def either(content: bytes):
    return st.one_of(damage(content), other_values(content))


def fingerprints(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}


@contextlib.contextmanager
def law(folder):
    """BadInput of one line is fine; another exception, a changed file or long work is not."""
    before, start, message = fingerprints(folder), time.monotonic(), ""
    try:
        yield
    except BadInput as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1000
    assert fingerprints(folder) == before
    assert time.monotonic() - start < 30


@pytest.fixture(scope="module")
def run_folder(smoke_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "smoke" / smoke_run.run_id
    shutil.copytree(smoke_run.folder, folder)
    (folder / ".lock").unlink(missing_ok=True)
    return folder


def test_records(run_folder):
    path = run_folder / "run.json"
    whole = path.read_bytes()

    @laws(900)
    @given(either(whole))
    def check(content):
        path.write_bytes(content)
        with law(run_folder):
            run = load_run(run_folder)
            assert run.run_id == run_folder.name
            assert all(0 <= row["validation_iou"] <= 1 for row in run.record["epochs"])
            assert len(run.record["epochs"]) == 2 or run.status != "finished"
            _ = run.rank, run.record["data"]["images"], run.history

    check()
    path.write_bytes(whole)


def test_histories(run_folder):
    path = run_folder / "history.csv"
    whole = path.read_bytes()

    @laws(300)
    @given(damage(whole))
    def check(content):
        path.write_bytes(content)
        with law(run_folder):
            history = load_run(run_folder).history
            assert np.isfinite([*history.values()]).all()
            assert (np.diff(history["iteration"]) > 0).all()

    check()
    path.write_bytes(whole)


def test_weights(run_folder):
    path = run_folder / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")  # of the numbers, after the header
    head, numbers = whole[:start], whole[start:]
    cut = st.one_of(st.just(len(numbers)), st.integers(0, len(numbers)))

    @laws(250)
    @given(damage(head), cut, st.integers(0, len(numbers) - 1))
    def check(content, left, at):
        path.write_bytes(content + numbers[:left][:at] + b"\xff" + numbers[:left][at + 1 :])
        with law(run_folder):
            load_run(run_folder).network()

    check()
    path.write_bytes(whole)


def test_checkpoints(tmp_path, smoke_run):
    path, cpu = tmp_path / CHECKPOINT, torch.device("cpu")
    model = torch.nn.Conv2d(1, 1, 1)
    adam = optimizer(smoke_run.recipe, 1e-3, model)
    save_checkpoint(path, model, adam, seconds=1.5, history=[(1, 2.0)])
    whole, weights = path.read_bytes(), copy.deepcopy(model.state_dict())

    @laws(250)
    @given(damage(whole))
    def check(content):
        path.write_bytes(content)
        with law(tmp_path):
            state = resume_checkpoint(path, model, adam, cpu, {"seconds": 1.5})
            assert state["history"] == [(1, 2.0)]
            assert all(torch.equal(value, weights[k]) for k, value in model.state_dict().items())

    check()


def test_scheduler_files(tmp_path):
    path = tmp_path / "scheduler.json"
    whole = json.dumps({"type": "Scheduler", "id": "S", "address": "tcp://127.0.0.1:9"}).encode()
    for content in [whole[:n] for n in range(0, len(whole), 8)] + [b"[]", b"{}", b"null", b"\xff"]:
        path.write_bytes(content)
        with law(tmp_path), pytest.raises(BadInput):
            dask_cluster(str(path))


def test_the_command_line(tmp_path, run_folder, capsys):
    """The same through the entry that users call: status 0, or 2 and one line."""
    shapes.generate(14, 0).save(tmp_path / "set")
    names = ("run.json", "history.csv", "model.safetensors")
    whole = {name: (run_folder / name).read_bytes() for name in names}
    arguments = [str(run_folder), "--data", str(tmp_path / "set"), "--panels", "0"]

    @laws(150)
    @given(st.sampled_from(names).flatmap(lambda n: st.tuples(st.just(n), damage(whole[n]))))
    def check(case):
        (run_folder / case[0]).write_bytes(case[1])
        with law(run_folder):
            status = main(["evaluate", *arguments, "--out", str(tmp_path / "out")])
            lines = capsys.readouterr().err.splitlines()
            assert (status, len(lines)) in {(0, 0), (2, 1)}
        (run_folder / case[0]).write_bytes(whole[case[0]])

    check()


def test_one_damaged_record_among_many_is_named_and_left_out(smoke_runs, tmp_path, capsys):
    shutil.copytree(smoke_runs, tmp_path / "runs")
    bad = next((tmp_path / "runs" / "smoke").glob("*-report-*"))
    (bad / "run.json").write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match=f"left out: .*{bad.name}.*remove the folder and train"):
        found = load_runs("smoke", tmp_path / "runs")
    assert [run.config.recipe for run in found] == ["corrected"]


def test_a_damaged_record_costs_a_sweep_its_own_run_and_the_advice_works(smoke_runs, tmp_path):
    shutil.copytree(smoke_runs, tmp_path / "runs")
    configs = [run.config for run in load_runs("smoke", tmp_path / "runs")]
    bad = tmp_path / "runs" / "smoke" / configs[0].run_id
    (bad / "run.json").write_text("{", encoding="utf-8")
    outcomes = run_sweep(configs, jobs=1, runs=tmp_path / "runs", progress=False)
    assert [outcome.status for outcome in outcomes] == ["failed", "skipped"]
    assert "remove the folder and train the run again" in outcomes[0].detail
    shutil.rmtree(bad)
    outcomes = run_sweep(configs, jobs=1, runs=tmp_path / "runs", progress=False)
    assert [outcome.status for outcome in outcomes] == ["finished", "skipped"]
