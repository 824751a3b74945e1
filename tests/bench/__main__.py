"""``python -m tests.bench [data|evaluate|train|live ...]``: measure, and keep.

Each bench goes to ``data/bench/<name>.txt``; default, all of them.
"""

import argparse

from seghw.config import DATA
from seghw.errors import BadInput
from seghw.io import atomic_write
from tests.bench.dlstudio import bench_data, bench_evaluate, bench_train
from tests.bench.live import bench_live

BENCHES = {
    bench.__name__.removeprefix("bench_"): bench
    for bench in (bench_data, bench_evaluate, bench_train, bench_live)
}

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
parser.add_argument("what", nargs="*", choices=[*BENCHES, []], default=[])
for name in parser.parse_args().what or BENCHES:
    try:
        text = str(BENCHES[name]())
    except BadInput as error:  # no DLStudio
        parser.exit(2, f"{error}\n")
    print(text)
    with atomic_write(DATA / "bench" / f"{name}.txt") as path:
        path.write_text(text + "\n", encoding="utf-8")
