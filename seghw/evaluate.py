"""From a network to masks, from masks to scores and a table with one row an image."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seghw import metrics
from seghw.classes import ClassSpec
from seghw.dataset import SegmentationSet, batches
from seghw.files import whole_file
from seghw.model import MUNet
from seghw.recipes import DATASETS, Recipe
from seghw.runs import Run


def decode(output: Tensor, classes: tuple[ClassSpec, ...], recipe: Recipe) -> Tensor:
    """The network's output, float (N, C, H, W), to bool masks of the same shape."""
    return recipe.decode(output, classes)


def outputs(
    model: MUNet, images: np.ndarray, recipe: Recipe, dataset: str, batch_size: int = 32
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
            with torch.inference_mode():
                yield model(x).float().cpu()
    finally:
        model.train(was_training)


def predict(model: MUNet, images: np.ndarray, recipe: Recipe, dataset: str) -> np.ndarray:
    """Masks for ``images``, uint8 (N, 3, H, W).

    Args:
        model: any network with one output plane a class.
        images: uint8 (N, 3, H, W).
        recipe: how images become inputs and outputs masks.
        dataset: key of ``recipes.DATASETS``, which gives the classes and the input's range.

    Returns:
        bool (N, C, H, W).
    """
    classes = DATASETS[dataset]
    masks = [
        decode(out, classes, recipe).numpy() for out in outputs(model, images, recipe, dataset)
    ]
    return np.concatenate(masks)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A run's masks on a set, held against the truth."""

    run: Run
    data: SegmentationSet
    masks: np.ndarray  # bool (N, C, H, W), predicted
    counts: metrics.Counts  # one row an image

    @property
    def iou(self) -> float:
        """Mean IoU: counts summed over the images, divided once a class, then averaged."""
        return metrics.mean_score(metrics.iou(self.counts)).mean

    @property
    def image_iou(self) -> np.ndarray:
        """float64 (N,): each image's mean IoU over the classes it or its prediction holds."""
        return np.array(
            [metrics.mean_score(row).mean for row in metrics.iou(self.counts, per_image=True)]
        )

    def write_table(self, path: str | Path) -> None:
        """Write a CSV with one row an image: its mean IoU, and each class's IoU and pixels."""
        names = [spec.name for spec in self.data.classes]
        header = ["image", "mean_iou", *(f"iou_{n}" for n in names)]
        header += [f"{kind}_{n}" for n in names for kind in ("true", "predicted")]
        per_class = metrics.iou(self.counts, per_image=True)
        true = self.data.masks.sum((2, 3))
        predicted = self.masks.sum((2, 3))
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
            writer = csv.writer(f, lineterminator="\n")
            writer.writerow(header)
            for i, mean in enumerate(self.image_iou):
                areas = np.stack((true[i], predicted[i]), axis=1).ravel()
                scores = ["" if np.isnan(v) else f"{v:.4f}" for v in (mean, *per_class[i])]
                writer.writerow([i, *scores, *areas])


def evaluate(run: Run, data: SegmentationSet) -> Evaluation:
    """Hold a run's masks on ``data`` against the truth.

    Raises:
        BadInput: the run's weights are missing.
    """
    masks = predict(run.network(), data.images, run.recipe, run.config.dataset)
    return Evaluation(run, data, masks, metrics.count(masks, data.masks))
