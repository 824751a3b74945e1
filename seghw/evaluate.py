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
from seghw.config import Recipe, TrainConfig, classes_of
from seghw.data.dataset import SegmentationSet, batches
from seghw.devices import threads_for


def outputs(
    model: nn.Module, images: np.ndarray, recipe: Recipe, dataset: str, batch_size: int = 32
) -> Iterator[Tensor]:
    """The raw outputs, float (n, C, H, W) on the CPU, for ``images``, uint8 (N, 3, H, W), in order.

    Batch by batch; the network is left in the mode in which it came.
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
    """Masks, bool (N, C, H, W), for ``images``, uint8 (N, 3, H, W).

    Args:
        model: any network with one output channel per class.
        images: the images.
        recipe: how images become inputs and outputs masks.
        dataset: name of a data set, which gives the classes and the input's range.
    """
    classes, batched = classes_of(dataset), outputs(model, images, recipe, dataset)
    return np.concatenate([recipe.decode(output, classes).numpy() for output in batched])


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
        return float(metrics.class_mean(metrics.iou(self.counts.sum(0))))

    @property
    def image_iou(self) -> np.ndarray:
        """float64 (N,): each image's mean IoU over the classes it or its prediction holds."""
        return metrics.class_mean(metrics.iou(self.counts))

    def table(self) -> pd.DataFrame:
        """One row per image: its mean IoU, and each class's IoU, true and predicted pixels."""
        tp, fp, fn, _ = np.moveaxis(self.counts, -1, 0)
        columns = {"image": np.arange(len(self.data)), "mean_iou": self.image_iou}
        values = {"iou": metrics.iou(self.counts), "true": tp + fn, "predicted": tp + fp}
        for kind, table in values.items():
            for spec, column in zip(self.data.classes, table.T, strict=True):
                columns[f"{kind}_{spec.name}"] = column
        return pd.DataFrame(columns)


def predictable_step(config: TrainConfig) -> int:
    """2 if a run's network can predict every second row and column only, else 1."""
    dotted = (config.head or config.settings.head) == "report" and config.network == "munet"
    return 2 if dotted else 1


def count_tables(
    masks: np.ndarray, data: SegmentationSet, config: TrainConfig
) -> dict[str, np.ndarray]:
    """What a run keeps of its test images, in ``counts.npz``: all that the claims need of them.

    ``masks`` are those predicted on the test set ``data``, bool (N, C, H, W).

    Returns:
        Unsigned integers of the smallest type that takes them, (N, C, k), by name:

        ``pixels``, ``boundary``
            ``metrics.count``, and ``metrics.count_boundary`` at 2 % of the diagonal.
        ``predictable_pixels``, ``predictable_boundary``
            the same two on the pixels that the network can predict, where these are not all.
        ``inside``, ``edge``, ``small``, ``large``
            true pixels of a part that the network can predict, and how many of these it does.
            ``edge`` is within 2/64 of the image's side of whatever is outside of the mask,
            ``inside`` the rest; ``small`` and ``large`` are the smallest and largest third of all
            objects.
    """
    step, true = predictable_step(config), data.masks
    every = (..., slice(None, None, step), slice(None, None, step))
    tolerance = max(1, round(0.02 * float(np.hypot(*true.shape[2:]))))
    tables = {
        "pixels": metrics.count(masks, true),
        "boundary": metrics.count_boundary(masks, true, tolerance),
    }
    if step > 1:
        tables["predictable_pixels"] = metrics.count(masks[every], true[every])
        near = max(1, round(tolerance / step))
        tables["predictable_boundary"] = metrics.count_boundary(masks[every], true[every], near)
    core, (small, large) = inside(true, 2 / 64 * true.shape[-1]), small_and_large(data)
    parts = {"inside": core, "edge": true & ~core, "small": small, "large": large}
    for name, part in parts.items():
        both = (metrics.pixels(part[every]), metrics.pixels((part & masks)[every]))
        tables[name] = np.stack(both, -1)
    return {name: table.astype(np.min_scalar_type(table.max())) for name, table in tables.items()}


def inside(masks: np.ndarray, depth: float) -> np.ndarray:
    """The masks' pixels more than ``depth`` pixels away from whatever is outside of them.

    Masks are bool (N, C, H, W); beyond the image is outside.
    """
    outside = np.pad(~masks, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=True)
    return masks & ~metrics.within(outside, depth)[..., 1:-1, 1:-1]


def small_and_large(data: SegmentationSet) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the smallest third of all objects, and of the largest: bool (N, C, H, W) each.

    An object is what its class's mask has inside its box.
    """
    places = [
        (i, c, slice(y0, y1 + 1), slice(x0, x1 + 1))
        for i, boxes in enumerate(data.boxes)
        for c, x0, y0, x1, y1 in boxes
    ]
    areas = np.array([np.count_nonzero(data.masks[place]) for place in places])
    third, two_thirds = np.quantile(areas, (1 / 3, 2 / 3)) if places else (0, 0)
    small, large = np.zeros_like(data.masks), np.zeros_like(data.masks)
    for place, area in zip(places, areas, strict=True):
        small[place] |= data.masks[place] & (area <= third)
        large[place] |= data.masks[place] & (area >= two_thirds)
    return small & ~large, large
