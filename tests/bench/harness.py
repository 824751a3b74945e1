"""What the benches share: sides timed in turns, and the results as a table.

Timings of one side after the other drift with the machine's clock and its other work; here every
round times each side once, so that both see the same machine, and medians are compared.
"""

import os
import platform
import re
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.ticker import EngFormatter
from tqdm.auto import tqdm


@dataclass(frozen=True)
class Bench:
    """What one bench measured.

    Attributes:
        title, about: what was compared, and what each side includes.
        seconds: a row per round, a column per side.
        numbers: by what they are: value, unit, and the goal in words, if any.
    """

    title: str
    about: str
    seconds: pd.DataFrame
    numbers: Mapping[str, tuple[float, str, str]]

    def __str__(self) -> str:
        seconds = EngFormatter("s", places=2)
        rows = [
            (side, seconds(column.median()), f"median of {column.count()}")
            for side, column in self.seconds.items()
        ]
        rows += [(what, f"{v:.4g} {unit}", goal) for what, (v, unit, goal) in self.numbers.items()]
        wide, narrow = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = [f"{what:{wide}}  {value:>{narrow}}  {more}".rstrip() for what, value, more in rows]
        lines.insert(self.seconds.shape[1], "")
        return "\n".join([self.title, self.about, "", *lines, "", machine()])


def interleave(
    sides: Mapping[str, Callable[[], Any]], rounds: int, at_least: float = 0.01
) -> pd.DataFrame:
    """Seconds a call of every side, a row a round, taken in turns after a warm-up.

    Args:
        sides: what is timed, by its name.
        rounds: at least 1.
        at_least: seconds that one measurement should last; short calls are repeated for it.
    """
    timers = {name: timeit.Timer(call) for name, call in sides.items()}
    for timer in timers.values():
        timer.timeit(1)  # caches, threads and memory pools fill up
    repeats = {n: max(1, round(at_least / timer.timeit(1))) for n, timer in timers.items()}
    return pd.DataFrame(
        {name: timer.timeit(repeats[name]) / repeats[name] for name, timer in timers.items()}
        for _ in tqdm(range(rounds), desc="measuring", unit="round", leave=False, delay=2)
    )


def machine() -> str:
    """Processor, cores, threads and versions, on one line."""
    about = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows no more than the architecture
    text = about.read_text(encoding="utf-8") if about.is_file() else ""
    names = re.findall("^model name.*: (.*)", text, re.MULTILINE) or [platform.machine()]
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{names[0]}, {capability}, {cores}; {platform.system()}; torch {torch.__version__}"
