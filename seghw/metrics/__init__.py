"""Hard-mask scores from counts: count per image and class, sum, divide once.

``count``, ``count_boundaries`` and ``count_components`` compare masks and return a table of
integers, one row per image and one column per class, classes in the order of the mask planes. The
rest is arithmetic on such tables, so one pass over the masks serves per-image scores, scores of
the whole set and their intervals.
"""

from seghw.metrics.bootstrap import Interval, bootstrap_interval
from seghw.metrics.boundary import (
    BoundaryCounts,
    ComponentCounts,
    boundary_f,
    components_per_object,
    count_boundaries,
    count_components,
)
from seghw.metrics.pixel import (
    Counts,
    CountTable,
    accuracy,
    count,
    dice,
    false_alarm_rate,
    false_alarms,
    false_positive_area,
    iou,
    mean_score,
    precision,
    ratio,
    recall,
)

__all__ = [
    "BoundaryCounts",
    "ComponentCounts",
    "CountTable",
    "Counts",
    "Interval",
    "accuracy",
    "bootstrap_interval",
    "boundary_f",
    "components_per_object",
    "count",
    "count_boundaries",
    "count_components",
    "dice",
    "false_alarm_rate",
    "false_alarms",
    "false_positive_area",
    "iou",
    "mean_score",
    "precision",
    "ratio",
    "recall",
]
