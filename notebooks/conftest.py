"""Progress bars differ from run to run, so notebooks under nbval show none."""

import os

os.environ["TQDM_DISABLE"] = "1"
