"""Explorers for the notebooks, and the still pictures that they move."""

from seghw.widgets.canvas import OutputCanvas, PromptCanvas
from seghw.widgets.explorers import (
    draw_balance,
    draw_decision,
    draw_runs,
    draw_taps,
    explore_balance,
    explore_decision,
    explore_dilation,
    explore_runs,
)
