"""The official archive of PurdueShapes5MultiObject, read safely and written.

It is a gzipped pickle of ``(items, label_map)``. An item is ``[R, G, B, mask, boxes]``: three
lists of S * S ints 0..255; uint8 (5, S, S) that holds 50, 100, ... 250 in its five channels; a
dict from class to ``[[x0, y0, x1, y1], ...]`` (DLStudio's ``PurdueShapes5MultiObjectDataset``).

A pickle is a small program that may name any callable and call it. Here six names lead to
harmless ones that make arrays and numbers, and no others are taken.
"""

import gzip
import pickle
import re
import warnings
from collections.abc import Callable
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from seghw.config import SHAPES5
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput, reason
from seghw.io import atomic_write

LABEL_MAP = {spec.name: spec.value for spec in SHAPES5}
_VALUES = np.array([*LABEL_MAP.values()], np.uint8)[:, None, None]
# DLStudio documents the values as keys of the boxes but uses the indices.
_INDICES = {spec.value: c for c, spec in enumerate(SHAPES5)}
#: An archive may unpack to four times the course's 10,000 images.
MAX_ARCHIVE_BYTES = 2 << 30


def read_archive(path: str | Path) -> SegmentationSet:
    """Read the course's own PurdueShapes5MultiObject archive, or what ``write_archive`` wrote.

    While it is read, an image takes some 130 kB of Python objects, as in DLStudio itself.

    Returns:
        Images uint8 (N, 3, S, S), masks bool (N, 5, S, S), classes SHAPES5; the boxes of an
        image are sorted by class, since that is how the archive keeps them.

    Raises:
        BadInput: the file is missing, cut short, damaged, of another shape, unpacks to more than
            ``MAX_ARCHIVE_BYTES``, or wants to call anything: it is refused before that runs.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bytes that are no pickle
            file.seek(MAX_ARCHIVE_BYTES)  # or to the end: that also compares the checksum
            if file.read(1):
                raise ValueError(f"it unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
            file.seek(0)
            items, label_map = _Unpickler(file, encoding="latin1").load()
        return _as_set(items, label_map, f"PurdueShapes5 from {path.name}")
    except Exception as error:  # bytes that are no pickle may make the unpickler raise anything
        raise BadInput(
            f"{path} cannot be read as a PurdueShapes5MultiObject archive ({reason(error)}); "
            "get a fresh copy from the course's page"
        ) from error


def write_archive(data: SegmentationSet, path: str | Path) -> None:
    """Write ``data`` in the official format, which DLStudio's own dataset class loads.

    Raises:
        BadInput: ``data`` is empty, is not 64 x 64, or has classes other than SHAPES5.
    """
    if data.classes != SHAPES5:
        names = ", ".join(spec.name for spec in data.classes)
        raise BadInput(f"the archive holds the classes of SHAPES5, got {names}")
    if not len(data) or data.images.shape[2:] != (64, 64):
        raise BadInput(f"the archive holds 64 x 64 images, at least one, got {data.images.shape}")
    items = []
    for image, masks, boxes in zip(data.images, data.masks, data.boxes, strict=True):
        box_map = {c: [list(map(int, b)) for k, *b in boxes if k == c] for c in range(len(SHAPES5))}
        items.append([*image.reshape(3, -1).tolist(), masks * _VALUES, box_map])
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as raw,
        # No name and no time inside: the same set gives the same bytes.
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as zipped,
    ):
        pickle.dump((items, LABEL_MAP), zipped, protocol=4)


def _as_set(items: Any, label_map: Any, name: str) -> SegmentationSet:
    if label_map != LABEL_MAP:
        raise ValueError(f"its label map is not {LABEL_MAP}")
    if not isinstance(items, list) or not items:
        raise ValueError("it does not hold a list of images")
    images, masks, boxes = [], [], []
    for row, item in enumerate(items):
        try:
            *channels, values, box_map = item
            values = np.asarray(values)
            size = masks[0].shape[2] if masks else values.shape[2]
            if len(items) * 8 * size**2 > MAX_ARCHIVE_BYTES:  # two bytes refer to an item again
                raise ValueError(f"it refers to its images {len(items)} times")
            images.append(np.concatenate(list(map(_channel, channels))).reshape(3, size, size))
            masks.append(values == _VALUES)
            if values.shape != (5, size, size) or (masks[-1] != (values != 0)).any():
                raise ValueError(f"its mask {values.shape} is of another shape or has other values")
            pairs = [
                (key, corners) for key in sorted(map(index, box_map)) for corners in box_map[key]
            ]
            boxes.append([(_INDICES.get(c, c), *map(index, corners)) for c, corners in pairs])
        except Exception as error:
            raise ValueError(f"image {row}: {reason(error)}") from error
    return SegmentationSet(np.array(images), np.array(masks), boxes, SHAPES5, name)


def _channel(values: Any) -> np.ndarray:
    """uint8 (S * S,) from a list of ints or an array; bytes() refuses all but 0..255."""
    values = values if isinstance(values, list) else np.asarray(values).ravel().tolist()
    return np.frombuffer(bytes(values), np.uint8)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable:
        # Functions made anew for each archive, since a pickle may set attributes of what it names.
        calls = {
            "dtype": _Type,
            "ndarray": object,  # the argument of _reconstruct
            "_reconstruct": _Array,
            "_frombuffer": lambda raw, kind, shape, order: _array(raw, kind).reshape(
                shape, order=order
            ),
            "scalar": lambda kind, raw: _array(raw, kind)[0].item(),
            "encode": lambda text, code: text.encode("latin1"),  # how protocol 2 has bytes
        }
        if module.split(".")[0] not in ("numpy", "_codecs") or name not in calls:
            raise pickle.UnpicklingError(f"it wants to call {f'{module}.{name}'!r:.80}")
        return calls[name]


class _Type:
    """Stands for the type of a plain number."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch("[<>|=]?(b1|[iu][1248]|f[248])", code):
            raise ValueError(f"it holds dtype {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for an array, which gets its content after it has been made."""

    def __init__(self, *_: Any) -> None:
        self.array = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, raw = state
        self.array = _array(raw, kind).reshape(shape, order="CF"[fortran])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


def _array(raw: bytes | str, kind: _Type) -> np.ndarray:
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, kind.dtype)
