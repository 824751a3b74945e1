"""Semantic segmentation with mUNet + ASPP: a homework report reproduced, diagnosed and corrected.

Data flows one way through the modules: ``data`` makes a ``SegmentationSet``; ``train`` fits a
``MUNet`` to it and leaves a run record; ``evaluate`` turns weights into masks and counts; ``runs``
reads all records as one table, from which ``report`` draws figures and judges claims.
"""

__version__ = "0.1.0"
