"""Training: one run that checkpoints every epoch and leaves a record, and sweeps of many."""

from seghw.train.records import build_network, load_network
from seghw.train.run import Run, learning_rate, train
from seghw.train.sweeps import grid, sweep
