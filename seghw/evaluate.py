"""From a network to masks, from masks to counts and scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from seghw import metrics
from seghw.config import Recipe, classes_of
from seghw.data.dataset import SegmentationSet, batches
from seghw.devices import threads_for


def outputs(
    model: nn.Module, images: np.ndarray, recipe: Recipe, dataset: str, batch_size: int = 32
) -> Iterator[Tensor]:
    """The raw outputs for ``images``, uint8 (N, 3, H, W), batch by batch and in order.

    Yields:
        float (n, C, H, W) on the CPU. The network is left in the mode in which it came.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for indices in batches(len(images), batch_size):
            x = recipe.inputs(images[indices], dataset).to(device)
            with torch.inference_mode(), threads_for(model):
                output = model(x).float().cpu()
            yield output
    finally:
        model.train(was_training)


def predict(model: nn.Module, images: np.ndarray, recipe: Recipe, dataset: str) -> np.ndarray:
    """Masks for ``images``.

    Args:
        model: any network with one output channel per class.
        images: uint8 (N, 3, H, W).
        recipe: how images become inputs and outputs masks.
        dataset: name of a data set, which gives the classes and the input's range.

    Returns:
        bool (N, C, H, W).
    """
    classes = classes_of(dataset)
    decoded = [
        recipe.decode(output, classes).numpy() for output in outputs(model, images, recipe, dataset)
    ]
    return np.concatenate(decoded)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predicted masks on a set, compared with the true ones.

    Attributes:
        run: a row of ``runs.load_runs``.
        data: the set.
        masks: predicted, bool (N, C, H, W).
    """

    run: Any
    data: SegmentationSet
    masks: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """What ``metrics.count`` gives, int64 (N, C, 4)."""
        return metrics.count(self.masks, self.data.masks)

    @property
    def iou(self) -> float:
        """Mean IoU: counts summed over the images, divided once per class, then averaged."""
        return float(np.nanmean(metrics.iou(self.counts.sum(0))))

    @property
    def image_iou(self) -> np.ndarray:
        """float64 (N,): each image's mean IoU over the classes it or its prediction holds."""
        scores = metrics.iou(self.counts)
        return metrics.ratio(np.nansum(scores, 1), (~np.isnan(scores)).sum(1))

    def table(self) -> pd.DataFrame:
        """One row per image: its mean IoU, and each class's IoU, true and predicted pixels."""
        names = [spec.name for spec in self.data.classes]
        tp, fp, fn, _ = np.moveaxis(self.counts, -1, 0)
        columns = {"image": np.arange(len(self.data)), "mean_iou": self.image_iou}
        columns |= {f"iou_{n}": v for n, v in zip(names, metrics.iou(self.counts).T, strict=True)}
        for kind, areas in (("true", tp + fn), ("predicted", tp + fp)):
            columns |= {f"{kind}_{n}": v for n, v in zip(names, areas.T, strict=True)}
        return pd.DataFrame(columns)


def count_tables(masks: np.ndarray, data: SegmentationSet) -> dict[str, np.ndarray]:
    """What a run keeps of its test images, in ``counts.npz``.

    Args:
        masks: predicted, bool (N, C, H, W).
        data: the test set.

    Returns:
        int32 (N, C, 4) by name: ``pixels`` of ``metrics.count`` and ``boundary`` of
        ``metrics.count_boundary`` at 2 % of the diagonal.
    """
    tolerance = max(1, round(0.02 * float(np.hypot(*data.images.shape[2:]))))
    tables = {
        "pixels": metrics.count(masks, data.masks),
        "boundary": metrics.count_boundary(masks, data.masks, tolerance),
    }
    return {name: table.astype(np.int32) for name, table in tables.items()}
