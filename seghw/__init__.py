"""Semantic segmentation with mUNet + ASPP: a homework report reproduced, diagnosed and corrected.

Data flows one way through the modules: ``shapes``, ``scenes`` and ``coco`` make a
``SegmentationSet``; ``train`` fits a ``MUNet`` to it and leaves a run record; ``evaluate``
turns the record's weights into masks and scores; ``figures`` and ``claims`` read the records.
"""

__version__ = "0.1.0"
