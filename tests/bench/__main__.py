"""``python -m tests.bench [data|train|evaluate|live ...]``: measure, and keep.

Each bench goes to ``data/bench/<name>.txt``; default, all of them.
"""

import argparse
from importlib import import_module

from seghw.config import DATA
from seghw.errors import BadInput
from seghw.io import atomic_write

NAMES = ("data", "train", "evaluate", "live")

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
parser.add_argument("what", nargs="*", choices=[*NAMES, []], default=[])
for name in parser.parse_args().what or NAMES:
    try:
        text = str(getattr(import_module(f"tests.bench.bench_{name}"), f"bench_{name}")())
    except BadInput as error:  # no DLStudio
        parser.exit(2, f"{error}\n")
    print(text)
    with atomic_write(DATA / "bench" / f"{name}.txt") as path:
        path.write_text(text + "\n", encoding="utf-8")
