"""Kinds of bad input, over the whole field: one clear line, or the right answer; nothing else.

Each test is of a kind, not of a case: hypothesis draws what is wrong.
"""

import json
import os
import re
import socket
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seghw.cli import main
from seghw.config import TrainConfig, class_specs, classes_of, dataset_of
from seghw.data import SegmentationSet, coco, shapes
from seghw.data.splits import split_real
from seghw.errors import BadInput
from seghw.io import atomic_folder, atomic_write

laws = settings(
    max_examples=120,
    derandomize=True,  # the same cases in every run
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
WIDTH, HEIGHT = 320, 280
NUMBERS = [-1, 0, 1.5, 1e308, 10**400, -(2**63), float("nan"), float("inf"), None, True, "7", []]
