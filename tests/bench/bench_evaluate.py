"""`bench evaluate`: from outputs to masks to a picture, against DLStudio's own test display."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from seghw.config import REPORT, SHAPES5
from seghw.data import shapes
from seghw.data.dataset import SegmentationSet
from seghw.report import plots as panels
from tests.bench.dlstudio_course import Course, dlstudio_on
from tests.bench.harness import Bench, Result, interleave, ratio

ABOUT = (
    "Both sides get the same outputs, float32 (N, 5, 64, 64), as a network under the report's",
    "value coding might give them.",
    "DLStudio: its run_code_for_testing_semantic_segmentation on this one batch, with a network",
    "  that replays the outputs and without the window: the masks by its value bands, the largest",
    "  plane, boxes, one grid of seven pictures an image.",
    "seghw, masks: Recipe.decode of the recipe report.",
    "seghw, masks and display: the same, and one grid of seven pictures an image: the image, all",
    "  masks on it, and one mask per class in the class's color.",
)

_PADDING = 2  # pixels between the pictures of DLStudio's grid


class Replay(nn.Module):
    """A network without weights that always gives the same outputs.

    Args:
        outputs: float (N, C, H, W); each call returns a copy, since DLStudio writes into it.
    """

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs.clone()


def bench_evaluate(batch_size: int = 4, rounds: int = 11) -> Bench:
    """Time decoding and display of one batch on both sides.

    Args:
        batch_size: images, each 64 x 64.
        rounds: of both sides.

    Raises:
        BadInput: DLStudio is not installed.
    """
    data = shapes.generate(batch_size, seed=0)
    outputs = plausible_outputs(data)
    with dlstudio_on(data, batch_size) as course:
        theirs = dlstudio_display(course, outputs)
        decode = partial(REPORT.decode, outputs, SHAPES5)
        differing = (masks_of_grid(theirs(), batch_size) != decode()).sum().item()
        sides = {
            "DLStudio, masks and display": theirs,
            "seghw, masks": decode,
            "seghw, masks and display": lambda: display(data.images, decode().numpy()),
        }
        their_time, masks, both = timings = interleave(sides, rounds)
    return Bench(
        f"bench evaluate: a batch of {batch_size} outputs of 5 planes, 64 x 64",
        ABOUT,
        tuple(timings),
        (
            ratio("masks and display", their_time, both, at_least=500),
            ratio("masks alone against DLStudio's masks and display", their_time, masks),
            Result("mask pixels that differ", differing, at_most=0),
        ),
    )


def plausible_outputs(data: SegmentationSet) -> Tensor:
    """Valued masks with noise, in 0..255 and on both sides of every band's limits."""
    noise = np.random.default_rng(0).normal(0, 40, data.masks.shape)
    target = REPORT.targets(data.masks, data.classes)
    return (target + torch.from_numpy(noise).float()).clamp(0, 255)


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
    """One column per image: the image, all masks on it, one mask per class.

    Args:
        images: uint8 (N, 3, H, W), 0..255.
        masks: bool (N, 5, H, W).

    Returns:
        uint8 (7 H, N W, 3), 0..255.
    """
    columns = []
    for image, planes in zip(images, masks, strict=True):
        pictures = [image.transpose(1, 2, 0), panels.overlay(image, planes, SHAPES5)]
        for k, spec in enumerate(SHAPES5):
            pictures.append(panels.color_masks(planes[k : k + 1], (spec,)))
        columns.append(np.concatenate(pictures))
    return np.concatenate(columns, axis=1)
