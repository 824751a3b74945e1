"""Drawing primitives that figures and notebooks share: one style, one way to show a mask."""

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from seghw.classes import ClassSpec
from seghw.dataset import SegmentationSet

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # matplotlib ships it, so every machine draws the same letters
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "image.interpolation": "nearest",  # a dotted mask must look dotted
    "svg.hashsalt": "seghw",
}

Colour = tuple[int, int, int]  # red, green, blue, 0..255
#: Colours for curves and for whatever else is not a class.
INK, RED, BLUE, GREEN = "#333333", "#D55E00", "#0072B2", "#009E73"


def use_style() -> None:
    """Switch the project's matplotlib style on for the whole process (for notebooks)."""
    mpl.rcParams.update(STYLE)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid):
    """A figure outside pyplot's registry, with its axes as an array (rows, columns).

    Args:
        width: inches.
        height: inches.
        rows: of axes.
        columns: of axes.
        grid: passed on to ``Figure.subplots``.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def colour_masks(masks: np.ndarray, classes: Sequence[ClassSpec]) -> np.ndarray:
    """Masks as one RGB picture on black; where planes overlap, their colours average.

    Args:
        masks: bool (C, H, W).
        classes: one a plane.

    Returns:
        uint8 (H, W, 3), 0..255.
    """
    return _blend(masks, [spec.colour for spec in classes])


def _blend(masks: np.ndarray, colours: Sequence[Colour]) -> np.ndarray:
    painted = np.einsum("chw,cd->hwd", masks.astype(float), np.reshape(colours, (-1, 3)))
    return (painted / np.maximum(masks.sum(0), 1)[..., None]).astype(np.uint8)


def overlay(
    image: np.ndarray, masks: np.ndarray, classes: Sequence[ClassSpec], strength: float = 0.65
) -> np.ndarray:
    """The image, greyed, with each mask in its class's colour on it.

    Args:
        image: uint8 (3, H, W), RGB, 0..255.
        masks: bool (C, H, W).
        classes: one a plane.
        strength: share of the colour where there is a mask, 0..1.

    Returns:
        uint8 (H, W, 3), 0..255.
    """
    return paint(image, masks, [spec.colour for spec in classes], strength)


def paint(
    image: np.ndarray, masks: np.ndarray, colours: Sequence[Colour], strength: float = 0.65
) -> np.ndarray:
    """As ``overlay``, with any colours: masks bool (K, H, W), K colours (R, G, B) of 0..255."""
    # Grey keeps the colours readable on images of any colour.
    grey = np.repeat(image.mean(0)[..., None], 3, axis=2) * 0.6 + 60
    colour = _blend(masks, colours)
    share = np.where(masks.any(0), strength, 0.0)[..., None]
    return (share * colour + (1 - share) * grey).astype(np.uint8)


def show(ax: Axes, picture: np.ndarray, title: str = "", **imshow) -> None:
    """Show a picture, (H, W, 3) or (H, W), without ticks; colour-first arrays are turned."""
    if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] != 3:
        picture = picture.transpose(1, 2, 0)
    ax.imshow(picture, **imshow)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_mask(ax: Axes, mask: np.ndarray, spec: ClassSpec, title: str = "") -> None:
    """Show one class's mask, bool (H, W), in its colour on black."""
    show(ax, colour_masks(mask[None], [spec]), title or spec.name)


def class_legend(classes: Sequence[ClassSpec]) -> list[Patch]:
    """Legend handles with the colours of the classes."""
    return [Patch(color=np.array(spec.colour) / 255, label=spec.name) for spec in classes]


def evaluation_panel(data: SegmentationSet, masks: np.ndarray, i: int, title: str = "") -> Figure:
    """Image, truth, one predicted mask a class as in Listing 4, and all of them on the image.

    Args:
        data: the set.
        masks: bool (N, C, H, W), predicted for the whole set.
        i: which image to show.
        title: above the panel.
    """
    image, truth, masks, classes = data.images[i], data.masks[i], masks[i], data.classes
    count = len(classes) + 3
    columns = (count + 1) // 2
    figure, axes = new_figure(1.75 * columns, 4.3 if title else 4.1, 2, columns)
    figure.suptitle(textwrap.fill(title, 20 * columns))
    flat = axes.ravel()
    show(flat[0], image, "image")
    show(flat[1], overlay(image, truth, classes), "truth")
    show(flat[2], overlay(image, masks, classes), "all predicted")
    for ax, mask, spec in zip(flat[3:], masks, classes, strict=False):
        show_mask(ax, mask, spec)
    for ax in flat[count:]:
        ax.set_visible(False)
    return figure
