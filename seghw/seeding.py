"""Draws from torch's random generator that follow from a seed alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: torch has one generator for the CPU a process, and an executor of threads may train two runs.
_DRAWING = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block in which torch's CPU generator starts from ``seed``; afterward it is as before.

    Blocks of several threads wait for each other.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
