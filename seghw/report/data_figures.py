"""Figures of the data itself: a gallery of each set, and what the sets are made of."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from seghw.data.dataset import SegmentationSet
from seghw.report.plots import INK, Drawn, class_legend, color_masks, new_figure, show
from seghw.results import Records

_PAIRS = 4  # images per row of a gallery, each beside its masks


def gallery_shapes(records: Records) -> Drawn:
    """The first test images with one object, with two, and so on to five, beside their masks."""
    data = records.test_set("shapes")
    objects = np.array([len(boxes) for boxes in data.boxes])
    rows = {f"{n} object{'s' * (n > 1)}": np.flatnonzero(objects == n) for n in range(1, 6)}
    return _gallery(data, rows), (
        f"The first {_PAIRS} test images with one to five objects, each beside its masks, which "
        f"hold visible pixels only ({data.name})."
    )


def gallery_scenes(records: Records) -> Drawn:
    """The first test images that hold each class, beside their masks."""
    data = records.test_set("coco")
    present = data.masks.any(axis=(2, 3))
    rows = {spec.name: np.flatnonzero(present[:, c]) for c, spec in enumerate(data.classes)}
    height, width = data.images.shape[2:]
    return _gallery(data, rows), (
        f"The first {_PAIRS} test images of each class, each beside its masks, at {height} x "
        f"{width} as the network sees them ({data.name})."
    )


def distributions(records: Records) -> Drawn:
    """Objects an image, visible area and frequency of each class, of both test sets."""
    figure, axes = new_figure(8.4, 4.2, 2, 3, width_ratios=(3, 4, 4), sharex="col")
    sets = []
    for row, family in zip(axes, ("shapes", "coco"), strict=True):
        data = records.test_set(family)
        _objects(row[0], data)
        _areas(row[1], data)
        _frequencies(row[2], data)
        absent = 1 - data.masks.any(axis=(2, 3)).mean()
        sets.append(
            f"{data.name} ({len(data):,} images, {absent:.0%} of all image-class pairs absent)"
        )
    titles = ("objects per image", "visible area of a class", "presence of a class")
    units = ("objects", "share of the image", "share of the images")
    for above, below, title, unit in zip(*axes, titles, units, strict=True):
        above.set_title(title)
        below.set_xlabel(unit)
    axes[1, 1].set_xlim(left=0)  # last, because it ends the fitting to what is drawn
    return figure, (
        f"What the test sets hold. Above: {sets[0]}; below: {sets[1]}. Left: images by the number "
        "of their objects. Middle: share of the image that a class covers where it is present "
        "(box: quartiles; whiskers: 5th and 95th percentile). Right: share of the images that "
        "hold a class, and the number of its objects in all."
    )


def _gallery(data: SegmentationSet, rows: Mapping[str, np.ndarray]) -> Figure:
    """A row a label with the first ``_PAIRS`` of its images, or as many as there are."""
    figure, axes = new_figure(8, 1.05 * len(rows) + 0.4, len(rows), _PAIRS)
    for line, (label, indices) in zip(axes, rows.items(), strict=True):
        for ax, i in zip(line, indices, strict=False):
            show(ax, _beside_masks(data, i))
        for ax in line[len(indices) :]:
            ax.set_axis_off()
        line[0].set_ylabel(label)
    figure.legend(
        handles=class_legend(data.classes), loc="outside upper center", ncols=len(data.classes)
    )
    return figure


def _beside_masks(data: SegmentationSet, i: int) -> np.ndarray:
    """Image, a white line, and its masks in their colors, as one uint8 (H, W, 3)."""
    masks = color_masks(data.masks[i], data.classes)
    line = np.full((len(masks), max(1, len(masks) // 32), 3), 255, np.uint8)
    return np.hstack([data.images[i].transpose(1, 2, 0), line, masks])


def _objects(ax: Axes, data: SegmentationSet) -> None:
    """How many images hold how many objects."""
    counts = np.bincount([len(boxes) for boxes in data.boxes])
    most = max(5, len(counts) - 1)
    bars = ax.bar(range(len(counts)), counts, color=INK, width=0.7)
    ax.bar_label(bars, [f"{n:,}" if n else "" for n in counts], padding=1, fontsize=8)
    ax.set(xlim=(-0.6, most + 0.6), xticks=range(most + 1), ylabel="images")
    ax.margins(y=0.12)
    ax.grid(axis="x", visible=False)
    ax.set_axisbelow(True)


def _areas(ax: Axes, data: SegmentationSet) -> None:
    """One box per class, of its visible pixels in the images that hold it."""
    shares = data.masks.mean(axis=(2, 3)).T
    boxes = ax.boxplot(
        [of_class[of_class > 0] for of_class in shares],
        orientation="horizontal",
        positions=range(len(shares)),
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        widths=0.6,
        medianprops={"color": "black"},
    )
    for box, spec in zip(boxes["boxes"], data.classes, strict=True):
        box.set_facecolor(np.array(spec.color) / 255)
    _class_axis(ax, data)


def _frequencies(ax: Axes, data: SegmentationSet) -> None:
    """One bar per class, in its color as far as it is present."""
    present = data.masks.any(axis=(2, 3)).mean(axis=0)
    objects = np.bincount([c for boxes in data.boxes for c, *_ in boxes], minlength=len(present))
    colors = [np.array(spec.color) / 255 for spec in data.classes]
    ax.barh(range(len(present)), 1.0, color="0.92", height=0.6)
    bars = ax.barh(range(len(present)), present, color=colors, height=0.6)
    ax.bar_label(bars, [f"{n:,} objects" for n in objects], padding=3, fontsize=8)
    ax.set_xlim(0, 1)
    _class_axis(ax, data)


def _class_axis(ax: Axes, data: SegmentationSet) -> None:
    """Classes from top to bottom, shares from left to right."""
    ax.set_yticks(range(len(data.classes)), [spec.name for spec in data.classes])
    ax.set_ylim(len(data.classes) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="y", visible=False)
    ax.set_axisbelow(True)
