"""From a network to masks, from masks to scores and a table with one row per image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seghw import metrics
from seghw.config import Recipe, classes_of
from seghw.data.dataset import SegmentationSet, batches
from seghw.io import write_csv
from seghw.threads import threads_for


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
        for chosen in batches(len(images), batch_size):
            x = recipe.inputs(images[chosen], dataset).to(device)
            with torch.inference_mode(), threads_for(model):
                output = model(x).float().cpu()
            yield output
    finally:
        model.train(was_training)


def predict(model: nn.Module, images: np.ndarray, recipe: Recipe, dataset: str) -> np.ndarray:
    """Masks for ``images``.

    Args:
        model: any network with one output plane per class.
        images: uint8 (N, 3, H, W).
        recipe: how images become inputs and outputs masks.
        dataset: name of a data set, which gives the classes and the input's range.

    Returns:
        bool (N, C, H, W).
    """
    found = outputs(model, images, recipe, dataset)
    return np.concatenate([recipe.decode(out, classes_of(dataset)).numpy() for out in found])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predicted masks on a set, held against the truth."""

    data: SegmentationSet
    masks: np.ndarray  # bool (N, C, H, W), predicted
    counts: metrics.Counts  # one row per image

    @property
    def iou(self) -> float:
        """Mean IoU: counts summed over the images, divided once per class, then averaged."""
        return metrics.mean_score(metrics.iou(self.counts)).mean

    @property
    def image_iou(self) -> np.ndarray:
        """float64 (N,): each image's mean IoU over the classes it or its prediction holds."""
        return metrics.mean_score(metrics.iou(self.counts, per_image=True), axis=1).mean

    def write_table(self, path: str | Path) -> None:
        """Write a CSV with one row per image: its mean IoU, and each class's IoU and pixels."""
        names = [spec.name for spec in self.data.classes]
        header = ["image", "mean_iou", *(f"iou_{n}" for n in names)]
        header += [f"{kind}_{n}" for n in names for kind in ("true", "predicted")]
        scores = np.column_stack((self.image_iou, metrics.iou(self.counts, per_image=True)))
        areas = np.stack((self.data.masks.sum((2, 3)), self.masks.sum((2, 3))), axis=2)
        rows = [
            [i, *("" if np.isnan(v) else f"{v:.4f}" for v in score), *area.ravel()]
            for i, (score, area) in enumerate(zip(scores, areas, strict=True))
        ]
        write_csv(path, header, rows)
