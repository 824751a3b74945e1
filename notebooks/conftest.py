"""Settings of the kernels that nbval starts."""

import os

# Progress bars differ from run to run.
os.environ["TQDM_DISABLE"] = "1"
# The networks here are small: on a busy machine a second thread costs a hundred times its gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")
