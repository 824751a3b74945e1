"""What the benches share: sides timed in turns, and the results as a table.

Timings of one side after the other drift with the machine's clock and its other work; here every
round times each side once, so that both see the same machine, and medians are compared.
"""

import os
import platform
import re
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch


def interleave(sides: Mapping[str, Callable[[], Any]], rounds: int) -> pd.DataFrame:
    """Seconds a call of every side, a row a round, taken in turns after a warm-up.

    Short calls are repeated until a measurement lasts 10 ms.
    """
    timers = {name: timeit.Timer(call) for name, call in sides.items()}
    for timer in timers.values():
        timer.timeit(1)  # caches, threads and memory pools fill up
    repeats = {name: max(1, round(0.01 / timer.timeit(1))) for name, timer in timers.items()}
    return pd.DataFrame(
        {name: timer.timeit(repeats[name]) / repeats[name] for name, timer in timers.items()}
        for _ in range(rounds)
    )


def summary(about: str, seconds: pd.DataFrame, numbers: Mapping[str, float]) -> str:
    """What was compared, each side's median in milliseconds, the numbers, and the machine."""
    rows = {f"{name}, ms": 1000 * value for name, value in seconds.median().items()}
    table = pd.Series({**rows, f"medians of {len(seconds)}": float("nan"), **numbers})
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = re.findall("^model name.*: (.*)", text, re.MULTILINE) or [platform.machine()]
    machine = f"{names[0]}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    shown = table.to_string(float_format="{:.4g}".format, na_rep="")
    return f"{about}\n\n{shown}\n\n{machine}; {platform.system()}; torch {torch.__version__}"
