"""Where runs are computed: processes that may die, and a real Dask cluster that loses a worker."""

import os
import signal
import sys
import time
from threading import Thread

import pytest

from seghw.cli import main
from seghw.errors import BadInput
from seghw.train.runs import load_run, run_folder
from seghw.train.sweep import LocalProcesses, dask_cluster, grid, run_sweep
from seghw.train.trainer import train

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def test_processes_compute_and_share_the_cores():
    with LocalProcesses(2) as pool:
        assert [f.result() for f in [pool.submit(pow, 2, n) for n in range(4)]] == [1, 2, 4, 8]
        assert pool.submit(os.getpid).result() != os.getpid()


def test_an_error_comes_back_as_it_was():
    with LocalProcesses(1) as pool, pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result()


def test_no_jobs_are_refused(tmp_path):
    with pytest.raises(BadInput, match="got 0"):
        run_sweep([], jobs=0, runs=tmp_path)


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


@POSIX
def test_a_killed_process_takes_only_its_own_call_along():
    with LocalProcesses(1) as pool:
        killed, after = pool.submit(kill_oneself), pool.submit(pow, 2, 3)
        with pytest.raises(RuntimeError, match="killed"):
            killed.result()
        assert after.result() == 8


def test_a_wrong_address_is_quoted():
    pytest.importorskip("distributed")
    with pytest.raises(BadInput, match="nowhere:1"):
        dask_cluster("tcp://nowhere:1")


@POSIX
@pytest.mark.filterwarnings("ignore")  # Dask warns of the very loss that is brought about here
def test_a_lost_worker_costs_no_run(tmp_path, capsys):
    """Two Dask workers, one killed in the middle of a run: its run is resumed and ends alike."""
    distributed = pytest.importorskip("distributed")
    configs = grid("shapes5", "corrected", profile="smoke", seeds=[0])
    finished = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:

        def kill_the_first_worker():
            while not list(tmp_path.glob("*/*/checkpoint.pt")):
                time.sleep(0.01)
            finished.extend(tmp_path.glob("*/*/run.json"))
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

        killer = Thread(target=kill_the_first_worker)
        killer.start()
        arguments = [
            "sweep",
            "--dataset",
            "shapes5",
            "--recipe",
            "corrected",
            "--profile",
            "smoke",
            "--seeds",
            "1",
        ]
        where = ["--scheduler", cluster.scheduler_address, "--runs", str(tmp_path)]
        assert main([*arguments, *where]) == 0
        killer.join()
    assert not finished, "the worker was killed in the middle of its first run"
    assert f"{len(configs)} finished" in capsys.readouterr().out
    # Whichever of the first two runs was lost, both are what they would have been.
    for config in configs[:2]:
        alone = train(config, runs=tmp_path / "alone", progress=False)
        assert load_run(run_folder(config, tmp_path)).score == alone.score


def test_an_interrupt_waits_for_no_call_that_has_not_begun():
    """Ctrl-C between two results: the loop over them cannot cancel what is still in the queue."""
    calls = []

    def interrupted():
        with LocalProcesses(1) as pool:
            pool.submit(os.getpid).result()
            calls.extend(pool.submit(time.sleep, 20) for _ in range(4))
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 20
    assert all(call.done() for call in calls)
