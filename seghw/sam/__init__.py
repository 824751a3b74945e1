"""The extra credit: a promptable segmenter, opened, prompted and compared with our network."""

from seghw.sam.compare import SamComparison, score_boxes, score_clicks, score_everything
from seghw.sam.predictor import (
    Segmenter,
    Segments,
    load_sam,
    segment_boxes,
    segment_everything,
    segment_points,
)
from seghw.sam.prompts import find_objects, first_click, next_click

__all__ = [
    "SamComparison",
    "Segmenter",
    "Segments",
    "find_objects",
    "first_click",
    "load_sam",
    "next_click",
    "score_boxes",
    "score_clicks",
    "score_everything",
    "segment_boxes",
    "segment_everything",
    "segment_points",
]
