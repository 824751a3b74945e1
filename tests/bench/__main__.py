"""``python -m tests.bench [data|train|laptop|evaluate|losses|live|full ...]``: measure, keep.

Each bench goes to ``data/bench/<name>.txt``; default, all of them but ``full``, which wants a GPU.
"""

import argparse
from importlib import import_module

from seghw.config import DATA
from seghw.errors import BadInput
from seghw.io import atomic_write

NAMES = ("data", "train", "laptop", "evaluate", "losses", "live")

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
parser.add_argument("what", nargs="*", choices=[*NAMES, "full", []], default=[])
for name in parser.parse_args().what or NAMES:
    bench = getattr(import_module(f"tests.bench.bench_{name}"), f"bench_{name}")
    try:
        text = str(bench(tried=True) if name == "train" else bench())
    except BadInput as error:  # no GPU, no DLStudio
        parser.exit(2, f"{error}\n")
    print(text)
    with atomic_write(DATA / "bench" / f"{name}.txt") as path:
        path.write_text(text + "\n", encoding="utf-8")
