"""`bench evaluate`: from outputs to masks to a picture, against DLStudio's own test display."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from seghw.config import REPORT, SHAPES5
from seghw.data import shapes
from seghw.notebook import overlay
from tests.bench.dlstudio_course import Course, dlstudio_on
from tests.bench.harness import Bench, interleave, speedup

ABOUT = """Both sides get the same outputs, float32 (N, 5, 64, 64), under the report's coding.
DLStudio: its run_code_for_testing_semantic_segmentation on this one batch, without the window:
  masks by its value bands, the largest channel, boxes, one grid of seven pictures an image.
seghw: Recipe.decode, and one grid of seven pictures an image: the image, all masks on it, and
  one mask per class in the class's color."""
_PADDING = 2  # pixels between the pictures of DLStudio's grid


class Replay(nn.Module):
    """A network without weights that always gives the same outputs, float (N, C, H, W)."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs.clone()  # DLStudio writes into it


def bench_evaluate(batch_size: int = 4, rounds: int = 11) -> Bench:
    """Time decoding and display of one batch on both sides.

    Raises:
        BadInput: DLStudio is not installed.
    """
    data = shapes.generate(batch_size, seed=0)
    # Valued masks with noise, in 0..255 and on both sides of every band's limits.
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 40, data.masks.shape)).float()
    outputs = (REPORT.targets(data.masks, data.classes) + noise).clamp(0, 255)
    decode = partial(REPORT.decode, outputs, SHAPES5)
    with dlstudio_on(data, batch_size) as course:
        theirs = dlstudio_display(course, outputs)
        differing = (masks_of_grid(theirs(), batch_size) != decode()).sum().item()
        sides = {
            "DLStudio, masks and display": theirs,
            "seghw, masks and display": lambda: display(data.images, decode().numpy()),
        }
        seconds = interleave(sides, rounds)
    title = f"bench evaluate: a batch of {batch_size} outputs of 5 channels, 64 x 64"
    numbers = {
        "masks and display": (speedup(seconds, *sides), "x", "goal: at least 500"),
        "mask pixels that differ": (differing, "", "goal: none"),
    }
    return Bench(title, ABOUT, seconds, numbers)


def dlstudio_display(course: Course, outputs: Tensor) -> Callable[[], Tensor]:
    """DLStudio's test of the archive's images; returns the grid that it would have shown."""
    shown: list[Tensor] = []
    network = Replay(outputs)
    torch.save(network.state_dict(), course.studio.path_saved_model)
    course.studio.display_tensor_as_image = shown.append
    batch = course.collate(np.arange(len(outputs)))

    def call() -> Tensor:
        # DLStudio draws boxes into the images.
        course.segmenter.test_dataloader = [{**batch, "image": batch["image"].clone()}]
        course.segmenter.run_code_for_testing_semantic_segmentation(network)
        return shown.pop()

    return call


def masks_of_grid(grid: Tensor, batch_size: int) -> Tensor:
    """The masks that DLStudio's grid shows: bool (N, 5, H, W).

    Args:
        grid: float (3, height, width), 0..1; below two rows of pictures follows one row per class,
            with 1 where the mask is and a fifth of it elsewhere.
        batch_size: pictures a row.
    """
    pictures = grid[0, _PADDING:, _PADDING:].unflatten(0, (2 + len(SHAPES5), -1))
    pictures = pictures.unflatten(2, (batch_size, -1))[:, :-_PADDING, :, :-_PADDING]
    return pictures[2:].permute(2, 0, 1, 3) > 0.5


def display(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """One column per image, uint8 (7 H, N W, 3): the image, all masks on it, one per class."""
    columns = []
    for image, channels in zip(images, masks, strict=True):
        pictures = [image.transpose(1, 2, 0), overlay(image, channels, SHAPES5)]
        pictures += [overlay(None, channels[[k]], SHAPES5[k : k + 1]) for k in range(len(SHAPES5))]
        columns.append(np.concatenate(pictures))
    return np.concatenate(columns, axis=1)
