"""Settings of the kernels that nbval starts, and ``tests/execute_notebooks.py``."""

import os
from pathlib import Path

# Progress bars differ from run to run.
STARTUP = Path(__file__).resolve().parent.parent / "tests" / "kernel_startup.py"
os.environ["PYTHONSTARTUP"] = str(STARTUP)
# The networks here are small: on a busy machine a second thread costs a hundred times its gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")
