"""Many runs: nothing is trained twice, and no failure, kill or lost machine costs a run."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from filelock import FileLock

from seghw.config import TrainConfig
from seghw.errors import BadInput
from seghw.runs import read_run
from seghw.train import grid, sweep, train
from seghw.train.sweeps import ablation

CONFIGS = grid("shapes5", "corrected", profile="smoke", seeds=[0])
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def wait_until(happened):
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline, "it stands still"
        time.sleep(0.02)


def records(runs):
    """Finished records, as bytes and time of writing."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(runs).glob("*/*/run.json")}


def kill_with_children(pid):
    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_the_grid_is_the_reports():
    configs = grid("shapes5", "report")
    # 3 seeds x 3 learning rates x (MSE, Dice, 3 coefficients), seed by seed
    assert len({config.run_id for config in configs}) == 45
    assert Counter(c.coefficient for c in configs) == {None: 18, 20: 9, 40: 9, 60: 9}
    assert {c.learning_rate for c in configs} == {1e-3, 1e-4, 1e-5}
    assert [c.seed for c in configs] == sorted(c.seed for c in configs)
    assert {c.coefficient for c in grid("scenes3", "report") if c.coefficient} == {60, 80, 100}
    assert len(grid("shapes5", "corrected")) == 45
    assert len({config.run_id for config in ablation()}) == 30
    with pytest.raises(BadInput, match="'coco5'"):
        grid("coco5", "report")


def test_a_sweep_trains_what_has_no_record_and_fails_alone(tmp_path):
    """One run is trained, one cannot be, one is being trained by another process."""
    good, busy = CONFIGS[:2]
    bad = TrainConfig("own+cat", "corrected", "mse", 4e-3, profile="smoke")
    (tmp_path / "smoke" / busy.run_id).mkdir(parents=True)
    with FileLock(tmp_path / "smoke" / busy.run_id / ".lock"):
        outcome = sweep([good, bad, busy, good], runs=tmp_path, jobs=1, progress=False)
    assert list(outcome) == [good, bad, busy]
    assert (outcome[good], outcome[busy]) == ("trained", "elsewhere")
    assert "give its folder with --data" in outcome[bad]
    before = records(tmp_path)
    assert len(before) == 1
    assert sweep([good], runs=tmp_path, progress=False) == {good: "skipped"}
    assert records(tmp_path) == before


def start(*command):
    """Python as the leader of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@POSIX
def test_two_sweeps_share_the_work_and_a_killed_one_costs_no_run(tmp_path):
    """Side by side; one dies by SIGKILL, with what it was training, once there is a record."""
    configs = CONFIGS[:3]
    code = (
        "import sys; from seghw.train import grid, sweep\n"
        'configs = grid("shapes5", "corrected", profile="smoke", seeds=[0])[:3]\n'
        "print(*sweep(configs, runs=sys.argv[1], jobs=1).values())"
    )
    killed, other = start("-c", code, tmp_path), start("-c", code, tmp_path)
    wait_until(lambda: records(tmp_path))
    before = records(tmp_path)
    kill_with_children(killed.pid)
    killed.communicate()
    output, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors
    assert set(output.split()) <= {"trained", "skipped", "elsewhere"}
    # The run that the killed one had begun is left, if the other had passed it by then.
    assert len(configs) - len(records(tmp_path)) <= 1
    assert set(sweep(configs, runs=tmp_path, progress=False).values()) <= {"trained", "skipped"}
    after = records(tmp_path)
    assert len(after) == len(configs)
    assert all(after[path] == content for path, content in before.items())
    assert not list(tmp_path.glob("smoke/*/*unfinished*")), "leftovers are cleared"


ON = "; the same command goes on from here"
SWEEP = ("sweep --dataset shapes5 --recipe corrected --jobs 1 --runs", "laptop/*/.lock", ON)
FIGURES = ("figures --out", "report/fig01.png", "")


@POSIX
@pytest.mark.parametrize(("send", "name"), [(os.kill, "SIGTERM"), (os.killpg, "SIGINT")])
@pytest.mark.parametrize(("command", "sign", "goes_on"), [SWEEP, FIGURES])
def test_what_is_asked_to_end_ends_with_its_workers(tmp_path, command, sign, goes_on, send, name):
    """SIGTERM, as a scheduler sends it to the first process alone, or Ctrl-C, which reaches all."""
    process = start("-m", "seghw", *command.split(), tmp_path)
    wait_until(lambda: list(tmp_path.glob(sign)))
    assert (workers := psutil.Process(process.pid).children(recursive=True))
    send(process.pid, getattr(signal, name))
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"seghw: interrupted{goes_on}"
    assert "Traceback" not in errors
    assert not psutil.wait_procs(workers, timeout=60)[1]


@POSIX
def test_a_worker_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    module, begun = sys.modules["seghw.train.sweeps"], Event()
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    deaf = start("-c", f"{code}; time.sleep(600)")

    def work(config, runs, threads, children):
        if '"loss": "dice"' in config:  # as Ctrl-C, while the other is at work
            begun.wait()
            raise KeyboardInterrupt
        children.running.add(deaf)
        deaf.stdout.readline()
        begun.set()
        deaf.wait()
        with pytest.raises(InterruptedError):  # asked for too late
            children.start([sys.executable, "-c", ""])

    monkeypatch.setattr(module, "train_in_process", work)
    monkeypatch.setattr(module.Children, "patience", 0.2)
    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIGS[:2], runs=tmp_path, jobs=2, progress=False)
    deaf.communicate()
    assert deaf.returncode == -signal.SIGKILL


def test_a_run_for_which_no_process_starts_stops_no_other(tmp_path, monkeypatch):
    """And each gets the threads that the number of jobs leaves it, however many are left."""
    module, given = sys.modules["seghw.train.sweeps"], []

    def work(config, runs, threads, children):
        given.append(threads)
        if len(given) == 1:
            raise OSError("cannot fork")
        return "trained"

    monkeypatch.setattr(module, "train_in_process", work)
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    outcome = sweep(CONFIGS[:3], runs=tmp_path, jobs=1, progress=False)
    assert list(outcome.values()) == ["cannot fork", "trained", "trained"]
    assert sweep(CONFIGS[:1], runs=tmp_path, progress=False) == {CONFIGS[0]: "trained"}
    assert given == [4, 4, 4, 1]


CLUSTER = """
from distributed import LocalCluster
with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
    print(cluster.scheduler_address, cluster.workers[0].pid, flush=True)
    input()
"""


@POSIX
def test_a_dask_cluster_that_loses_a_machine_loses_no_run(tmp_path):
    """Two workers; one is killed in the middle of a run, which ends as it would have."""
    pytest.importorskip("distributed")
    configs, unharmed = CONFIGS[:2], []
    cluster = start("-c", CLUSTER)
    try:
        address, pid = cluster.stdout.readline().split()

        def kill_a_worker():
            wait_until(lambda: list(tmp_path.glob("*/*/checkpoint.pt")))
            unharmed.extend(records(tmp_path))
            kill_with_children(int(pid))

        killer = Thread(target=kill_a_worker)
        killer.start()
        outcome = sweep(configs, runs=tmp_path, scheduler=address, progress=False)
        killer.join()
    finally:
        cluster.communicate("\n", timeout=300)
    assert not unharmed, "it was killed in the middle of its first run"
    assert set(outcome.values()) == {"trained"}
    for config in configs:
        alone = train(config, runs=tmp_path / "alone", progress=False)
        again = tmp_path / "smoke" / config.run_id
        assert read_run(again)["score"] == read_run(alone)["score"]
        for name in ("model.safetensors", "history.csv", "counts.npz"):
            assert (again / name).read_bytes() == (alone / name).read_bytes()


def test_no_scheduler_is_one_line(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(BadInput, match="nowhere:1"):
        sweep(CONFIGS, runs=tmp_path, scheduler="tcp://nowhere:1", progress=False)
    path = tmp_path / "scheduler.json"
    for content in (None, b"", b"[]", b"\xff", b'{"address": "tcp://127.0.0.1:9"}'):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadInput, match=r"no Dask scheduler answers.*start `dask scheduler`"):
            sweep(CONFIGS, runs=tmp_path, scheduler=str(path), progress=False)
