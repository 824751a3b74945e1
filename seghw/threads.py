"""How many threads a network computes on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

#: Below it a second thread gains nothing when the machine is idle, and when it is not, threads
#: that wait for each other at every small operation cost a hundred times what they bring.
SMALL = 1_000_000  # parameters


@contextmanager
def threads_for(model: nn.Module) -> Iterator[None]:
    """A block in which a small network computes on one thread; afterwards it is as before.

    Who sets ``OMP_NUM_THREADS`` has decided already, and is left alone.
    """
    before = torch.get_num_threads()
    small = sum(p.numel() for p in model.parameters()) < SMALL
    if small and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
