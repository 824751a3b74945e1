"""The official archive of PurdueShapes5MultiObject, read and written.

It is a gzipped pickle of ``(items, label_map)``. An item is ``[R, G, B, mask, boxes]``: three
lists of S * S ints 0..255; uint8 (5, S, S) that holds 50, 100, ... 250 in its five planes; a
dict from class to ``[[x0, y0, x1, y1], ...]``. The source is the docstring of DLStudio's
``SemanticSegmentation.PurdueShapes5MultiObjectDataset``.
"""

import gzip
import operator
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from seghw.classes import SHAPES5
from seghw.dataset import Box, SegmentationSet
from seghw.errors import BadInput
from seghw.files import whole_file
from seghw.safe_pickle import read_gzip_pickle

ARCHIVE_SIZE = 64
LABEL_MAP = {spec.name: spec.value for spec in SHAPES5}
_PLANE_VALUES = np.array([spec.value for spec in SHAPES5], np.uint8)[:, None, None]

# One pixel takes 11 bytes in a binary pickle and up to 38 in a text one, and has 5 mask elements.
_BYTES_A_MASK_ELEMENT = 16
_SLACK_BYTES = 4 << 20
MAX_ARCHIVE_BYTES = 2 << 30


def read_archive(path: str | Path) -> SegmentationSet:
    """Read the course's own PurdueShapes5MultiObject archive, or what ``write_archive`` wrote.

    The file is never unpickled freely: one that wants to call anything is refused before it
    runs. Files that unpack to more than ``MAX_ARCHIVE_BYTES`` (2 GiB, four times the course's
    10,000 images) are refused, too.

    Args:
        path: e.g. ``PurdueShapes5MultiObject-10000-train.gz``.

    Returns:
        Images uint8 (N, 3, S, S), masks bool (N, 5, S, S), classes SHAPES5; the boxes of an
        image are sorted by class, since that is how the archive keeps them.

    Raises:
        BadInput: the file is missing, cut short, damaged, hostile or of another shape.
    """
    path = Path(path)
    rows = _Rows()
    try:
        loaded = read_gzip_pickle(
            path,
            rows.take,
            bytes_an_element=_BYTES_A_MASK_ELEMENT,
            slack=_SLACK_BYTES,
            limit=MAX_ARCHIVE_BYTES,
        )
        return rows.as_set(loaded, name=f"PurdueShapes5 from {path.name}")
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist; put the archive there or name another") from error
    except (OSError, EOFError, ValueError, zlib.error, pickle.UnpicklingError) as error:
        reason = " ".join(f"{error or type(error).__name__}".split())[:200]
        raise BadInput(
            f"{path} cannot be read as a PurdueShapes5MultiObject archive: {reason}; "
            "get a fresh copy from the course's page"
        ) from error


def write_archive(data: SegmentationSet, path: str | Path) -> None:
    """Write ``data`` in the official format, which DLStudio's own dataset class loads.

    The whole list of Python ints is built first, as DLStudio will: about 130 kB an image.

    Raises:
        BadInput: ``data`` is empty, is not 64 x 64, or has classes other than SHAPES5.
    """
    if data.classes != SHAPES5:
        names = ", ".join(spec.name for spec in data.classes)
        raise BadInput(f"the archive holds the classes of SHAPES5, got {names}")
    if not len(data) or data.images.shape[2:] != (ARCHIVE_SIZE, ARCHIVE_SIZE):
        raise BadInput(
            f"the archive holds 64 x 64 images, at least one, got shape {data.images.shape}"
        )
    items = []
    for image, masks, boxes in zip(data.images, data.masks, data.boxes, strict=True):
        box_map = {index: [] for index in range(len(SHAPES5))}
        for index, *corners in boxes:
            box_map[index].append([int(corner) for corner in corners])
        items.append([*image.reshape(3, -1).tolist(), masks * _PLANE_VALUES, box_map])
    with (
        whole_file(path) as temporary,
        temporary.open("wb") as raw,
        # No name and no time inside: the same set gives the same bytes.
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as zipped,
    ):
        pickle.dump((items, LABEL_MAP), zipped, protocol=4)


class _Rows:
    """Grows the arrays of a set while the archive is read, one row an item.

    Beside the arrays only one item at a time is in memory as Python ints.
    """

    _STEP_BYTES = 8 << 20  # by which the arrays grow

    def __init__(self) -> None:
        self._images = np.empty((0, 3, 0, 0), np.uint8)
        self._masks = np.empty((0, len(SHAPES5), 0, 0), np.bool_)
        self._boxes: list[list[Box]] = []
        self._size = 0

    def take(self, item: Any) -> bool:
        """Move a finished item into its row and leave ``[row]`` in its place."""
        if not (isinstance(item, list) and len(item) == 5 and isinstance(item[4], dict)):
            return False
        row = len(self._boxes)
        try:
            *channels, mask, box_map = item
            if row == 0:
                self._size = _side(mask)
            if row == len(self._images):
                self._grow(row + 1 + self._STEP_BYTES // (8 * self._size**2))
            for channel, values in zip(self._images[row], channels, strict=True):
                channel[:] = _channel(values, self._size)
            self._masks[row] = _planes(mask, self._size)
            self._boxes.append(_boxes(box_map, self._size))
        except (TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f"image {row}: {error}") from error
        item[:] = [row]
        return True

    def as_set(self, loaded: Any, name: str) -> SegmentationSet:
        """The rows as a set, once the whole archive has come out in the right order."""
        if not (isinstance(loaded, tuple | list) and len(loaded) == 2):
            raise BadInput("it does not hold a list of images and a label map")
        items, label_map = loaded
        if not isinstance(label_map, dict) or label_map != LABEL_MAP:
            raise BadInput(f"its label map is not {LABEL_MAP}")
        count = len(self._boxes)
        if not (isinstance(items, list) and items and all(self._is_row(item) for item in items)):
            raise BadInput("it does not hold a list of images of five parts each")
        if len(items) * 8 * self._size**2 > MAX_ARCHIVE_BYTES:
            raise BadInput(f"it refers to its images {len(items)} times")
        self._grow(count)
        data = SegmentationSet(self._images, self._masks, self._boxes, SHAPES5, name)
        order = [row for (row,) in items]
        # Python lets one item stand in a list twice.
        return data if order == list(range(count)) else data.subset(order)

    def _is_row(self, item: Any) -> bool:
        if not (isinstance(item, list) and len(item) == 1 and type(item[0]) is int):
            return False
        return 0 <= item[0] < len(self._boxes)

    def _grow(self, count: int) -> None:
        # In place, where the system can; a copy would need the memory twice. Nothing else
        # refers to the arrays yet.
        for array in (self._images, self._masks):
            array.resize((count, array.shape[1], self._size, self._size), refcheck=False)


def _side(mask: Any) -> int:
    if not isinstance(mask, np.ndarray) or mask.ndim != 3 or mask.size == 0:
        raise BadInput(f"its mask is a {type(mask).__name__}, not an array (5, S, S)")
    return mask.shape[-1]


def _channel(values: Any, size: int) -> np.ndarray:
    """uint8 (size, size) from a list of ints or an array."""
    if isinstance(values, np.ndarray):
        values = values.ravel().tolist()
    if not isinstance(values, list):
        raise BadInput(f"a channel is a {type(values).__name__}, not a list of ints")
    if len(values) != size * size:
        raise BadInput(f"a channel has {len(values)} pixels, the first mask {size} x {size}")
    # bytes() refuses all but whole numbers from 0 to 255.
    return np.frombuffer(bytes(values), np.uint8).reshape(size, size)


def _planes(mask: Any, size: int) -> np.ndarray:
    """bool (5, size, size) from planes that hold 0 or the value of their class."""
    expected = (len(SHAPES5), size, size)
    if not isinstance(mask, np.ndarray) or mask.shape != expected:
        raise BadInput(f"its mask has shape {getattr(mask, 'shape', None)}, not {expected}")
    planes = mask == _PLANE_VALUES
    if np.count_nonzero(planes) != np.count_nonzero(mask):
        raise BadInput("its mask holds values outside the label map")
    return planes


def _boxes(box_map: Any, size: int) -> list[Box]:
    """Boxes sorted by class; DLStudio documents the values as keys but uses the indices."""
    boxes = []
    indices = {spec.value: index for index, spec in enumerate(SHAPES5)}
    for key in sorted(box_map):
        index = indices.get(key, operator.index(key))
        if index not in range(len(SHAPES5)):
            raise BadInput(f"its boxes name the class {key!r:.40}")
        for corners in box_map[key]:
            x0, y0, x1, y1 = (operator.index(corner) for corner in corners)
            if not (0 <= x0 <= x1 < size and 0 <= y0 <= y1 < size):
                raise BadInput(f"its box {(x0, y0, x1, y1)} does not lie inside the image")
            boxes.append((index, x0, y0, x1, y1))
    return boxes
