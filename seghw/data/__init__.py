"""Data sets: drawn, or read from the course's archive or from COCO annotations."""

from seghw.data import coco, purdue, shapes
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import default_dataset, describe_data, open_split
