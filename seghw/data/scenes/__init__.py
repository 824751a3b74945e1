"""Drawn scenes of pizzas, cats and buses in COCO's format: the offline stand-in for COCO."""

from seghw.data.scenes.draw import draw_scenes

__all__ = ["draw_scenes"]
