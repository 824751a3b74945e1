"""Where a network computes: CPU, CUDA or MPS, on how many threads, in which precision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import nn

#: Parameters below which a second thread gains nothing on an idle machine; on a busy one, threads
#: that wait for each other at every small operation cost a hundred times what they bring.
SMALL = 1_000_000


def best_device() -> torch.device:
    """CUDA where there is a GPU that works, MPS on a recent Mac, else the CPU."""
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # too old for this torch, or full
            torch.ones(1, device="cuda").sum().item()
            return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the processor or GPU computes in bfloat16 itself, and so faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # oneDNN's own switch lets a processor be taken for one without. No public function of torch
    # says what a processor multiplies (torch 2.9 to 2.15).
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper() in ("SSE41", "AVX2", "AVX512_CORE"):
        return False
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def available_cores() -> int:
    """Cores that this process may use, which ``taskset`` or a container's cpuset may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(number: int) -> None:
    """Compute on so many threads from now on, unless ``OMP_NUM_THREADS`` is set."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(number)


@contextmanager
def threads_for(model: nn.Module, *, every_core: bool = False) -> Iterator[None]:
    """A block in which a network of fewer than ``SMALL`` parameters computes on one thread.

    ``every_core`` takes them all, for who watches and has nothing else to do. The digits of a
    sum depend on the number of threads.
    """
    before = torch.get_num_threads()
    if every_core:
        use_threads(available_cores())
    elif sum(p.numel() for p in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
