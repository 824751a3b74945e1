"""Where things live: every other module takes its default folders from here."""

import os
from pathlib import Path

#: The checkout. ``SEGHW_HOME`` moves it, for a package that is installed away from its checkout.
ROOT = Path(os.environ.get("SEGHW_HOME", Path(__file__).resolve().parent.parent))
#: Data sets, drawn or brought, and the run records.
DATA = ROOT / "data"
#: Generated sets and other things that can be made again; never committed.
CACHE = DATA / "cache"
#: One folder a run, below one folder a profile.
RUNS = DATA / "runs"
#: Numbered figures: ``report/``, ``corrected/``, ``beyond/``.
FIGURES = ROOT / "figures"
