"""``python -m tests.bench [data|evaluate|train ...]``: measure, and keep in ``data/bench/``."""

import sys

from seghw.config import DATA
from seghw.errors import BadInput
from tests.bench import dlstudio

for name in sys.argv[1:] or ("data", "evaluate", "train"):
    try:
        text = dlstudio.summary(*getattr(dlstudio, f"bench_{name}")())
    except (BadInput, AttributeError) as error:  # no DLStudio; another name
        sys.exit(str(error))
    print(text)
    (DATA / "bench" / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
