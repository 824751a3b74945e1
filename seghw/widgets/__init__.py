"""Explorers for the notebooks, and the still pictures that they move."""

from seghw.widgets.explorers import (
    draw_balance,
    draw_decision,
    draw_prompt,
    draw_runs,
    draw_taps,
    explore_balance,
    explore_decision,
    explore_dilation,
    explore_prompts,
    explore_runs,
)

__all__ = [
    "draw_balance",
    "draw_decision",
    "draw_prompt",
    "draw_runs",
    "draw_taps",
    "explore_balance",
    "explore_decision",
    "explore_dilation",
    "explore_prompts",
    "explore_runs",
]
