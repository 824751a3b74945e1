import os
import sys

# Read by NumPy when it loads. Its products here are small: threads that wait for each other cost
# two processes side by side more than they bring.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from seghw.cli import main

sys.exit(main())
