"""Where the runs of a sweep are computed: processes on this machine, or a Dask cluster.

Both are ``concurrent.futures.Executor``s, and ``sweep.run_sweep`` takes any other as well.
"""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import torch

from seghw.errors import BadInput


class LocalProcesses(Executor):
    """Worker processes that share the cores evenly; one that dies takes only its own call along.

    A ``ProcessPoolExecutor`` gives up all its calls when one process is killed, as by a system
    that is out of memory. Here each of ``jobs`` threads has a process of its own, and starts
    another if it is lost.

    Args:
        jobs: how many processes. On small feature maps two runs of one thread each are faster
            than one run of two.

    Raises:
        BadInput: fewer than one job.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise BadInput(f"jobs must be at least 1, got {jobs}")
        self._threads = max(1, (os.cpu_count() or 1) // jobs)
        self._callers = ThreadPoolExecutor(jobs, thread_name_prefix="seghw-caller")
        self._own = threading.local()
        self._pools: list[ProcessPoolExecutor] = []

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call ``fn`` in one of the processes; everything is sent there by pickling."""
        return self._callers.submit(self._call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._callers.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def _call(self, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self._own, "pool"):
            # "spawn" is the one way to start a process that is safe beside threads everywhere.
            self._own.pool = ProcessPoolExecutor(
                1, get_context("spawn"), initializer=_start_worker, initargs=(self._threads,)
            )
            self._pools.append(self._own.pool)
        try:
            return self._own.pool.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool as error:
            del self._own.pool
            raise RuntimeError(
                "its process was killed (is there enough memory?); the same sweep goes on with it"
            ) from error


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # Ctrl-C reaches every process of the terminal; the workers then end without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def dask_cluster(address: str) -> Executor:
    """The workers of a running Dask scheduler (https://distributed.dask.org).

    They need this package and must see the folder of the records under the same path. A worker
    that is lost in the middle of a run gives it back; another resumes it at its last epoch.

    Args:
        address: such as ``tcp://node01:8786``, or a scheduler file.

    Raises:
        BadInput: Dask is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BadInput("a scheduler needs Dask: pip install 'seghw[distributed]'") from error
    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        client = Client(**where, timeout=10)
    except (OSError, ValueError) as error:
        raise BadInput(f"no Dask scheduler answers at {address!r}: {error}") from error
    return client.get_executor(pure=False)
