"""A sweep on the command line that is killed again and again, and two side by side.

``SEGHW_KILLS=30`` kills more often than the suite has time for.
"""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from seghw.train.runs import load_runs
from seghw.train.sweep import grid

KILLS = int(os.environ.get("SEGHW_KILLS", "3"))
SEEDS = 1 + KILLS // 2  # work enough to be killed in
CONFIGS = grid("shapes5", "corrected", profile="smoke", seeds=range(SEEDS))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def start_sweep(runs, jobs=2):
    """``python -m seghw sweep`` as the leader of a process group of its own."""
    command = [sys.executable, "-m", "seghw", "sweep", "--dataset", "shapes5"]
    command += ["--recipe", "corrected", "--profile", "smoke", "--seeds", str(SEEDS)]
    return subprocess.Popen(
        [*command, "--jobs", str(jobs), "--runs", str(runs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def records(runs):
    """Finished records, as bytes and time of writing."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in runs.glob("smoke/*/run.json")}


def steps_on_disk(runs):
    """What a sweep leaves as it goes on: checkpoints, and records in their place."""
    return {(p, p.stat().st_mtime_ns) for p in runs.glob("smoke/*/[!.]*")}


def test_killed_sweeps_lose_no_finished_run(tmp_path):
    """SIGKILL to all its processes at random moments; whatever was finished stays as it was.

    The first kill waits for a finished record, so that there is something to lose.
    """
    moments, seen = random.Random(0), {}
    for kill in range(KILLS):
        before, sweep = steps_on_disk(tmp_path), start_sweep(tmp_path)
        deadline = time.monotonic() + 120
        while steps_on_disk(tmp_path) == before or not records(tmp_path):
            assert time.monotonic() < deadline, "the sweep stands still"
            assert sweep.poll() is None, f"nothing was left to do after {kill} kills"
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 1.5))
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()
        found = records(tmp_path)
        assert all(found.get(path) == content for path, content in seen.items())
        seen = found
        assert all(run.status == "finished" for run in load_runs("smoke", tmp_path))
    output = finish(start_sweep(tmp_path))
    found = records(tmp_path)
    assert all(found[path] == content for path, content in seen.items())
    assert len(load_runs("smoke", tmp_path)) == len(CONFIGS)
    assert f"{len(seen)} skipped" in output
    assert not list(tmp_path.glob("smoke/*/*unfinished*")), "leftovers are cleared"


def test_two_sweeps_side_by_side_share_the_work(tmp_path):
    one, other = start_sweep(tmp_path, jobs=1), start_sweep(tmp_path, jobs=1)
    outputs = [finish(one), finish(other)]
    finished = [
        {line.split()[0] for line in output.splitlines() if line.split()[1:2] == ["finished"]}
        for output in outputs
    ]
    assert finished[0] | finished[1] == {config.run_id for config in CONFIGS}
    assert not finished[0] & finished[1], "no run was trained twice"
    assert min(map(len, finished)) > 0, "both trained"


@pytest.mark.parametrize("ctrl_c", [False, True])
def test_a_sweep_that_is_asked_to_end_does_so_with_its_workers(tmp_path, ctrl_c):
    """SIGTERM, as a scheduler sends it to the first process alone, or Ctrl-C, which reaches all.

    One line, status 130, and nobody goes on writing.
    """
    command = [sys.executable, "-m", "seghw", "sweep", "--dataset", "shapes5", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--seeds", "1", "--runs", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("laptop/*/.lock"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        if ctrl_c:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.rstrip().splitlines()[-1] == (
        "seghw: interrupted; the same command goes on from here"
    )
    assert "Traceback" not in errors
    assert not psutil.wait_procs(workers, timeout=10)[1]
