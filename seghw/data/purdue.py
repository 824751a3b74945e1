"""The official archive of PurdueShapes5MultiObject, read safely and written.

It is a gzipped pickle of ``(items, label_map)``. An item is ``[R, G, B, mask, boxes]``: three
lists of S * S ints 0..255; uint8 (5, S, S) that holds 50, 100, ... 250 in its five channels; a
dict from class to ``[[x0, y0, x1, y1], ...]``. The source is the docstring of DLStudio's
``SemanticSegmentation.PurdueShapes5MultiObjectDataset``.

A pickle is a small program that may name any callable and call it. Here six names lead to an
inert record of the call, from which arrays and numbers are made once the program has ended.
"""

import gzip
import pickle
import re
import warnings
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from seghw.config import SHAPES5
from seghw.data.dataset import SegmentationSet
from seghw.errors import BadInput, reason
from seghw.io import atomic_write

LABEL_MAP = {spec.name: spec.value for spec in SHAPES5}
_VALUES = np.array([spec.value for spec in SHAPES5], np.uint8)[:, None, None]
# DLStudio documents the values as keys of the boxes but uses the indices.
_INDICES = {spec.value: c for c, spec in enumerate(SHAPES5)}
#: An archive may unpack to four times the course's 10,000 images.
MAX_ARCHIVE_BYTES = 2 << 30


def read_archive(path: str | Path) -> SegmentationSet:
    """Read the course's own PurdueShapes5MultiObject archive, or what ``write_archive`` wrote.

    The file is never unpickled freely: one that wants to call anything is refused before it
    runs, and so is one that unpacks to more than ``MAX_ARCHIVE_BYTES``. While it is read, an
    image takes some 130 kB of Python objects, as in DLStudio itself.

    Args:
        path: e.g. ``PurdueShapes5MultiObject-10000-train.gz``.

    Returns:
        Images uint8 (N, 3, S, S), masks bool (N, 5, S, S), classes SHAPES5; the boxes of an
        image are sorted by class, since that is how the archive keeps them.

    Raises:
        BadInput: the file is missing, cut short, damaged, hostile or of another shape.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        with gzip.open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bytes that are no pickle
            file.seek(MAX_ARCHIVE_BYTES)  # or to the end: that also compares the checksum
            if file.read(1):
                raise ValueError(f"it unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
            file.seek(0)
            loaded = _Unpickler(file, encoding="latin1").load()
            if file.read(1):
                raise ValueError("something follows the end of its pickle")
        return _as_set(loaded, f"PurdueShapes5 from {path.name}")
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


def _as_set(loaded: Any, name: str) -> SegmentationSet:
    items, label_map = loaded
    if {key: index(value) for key, value in label_map.items()} != LABEL_MAP:
        raise ValueError(f"its label map is not {LABEL_MAP}")
    if not isinstance(items, list) or not items:
        raise ValueError("it does not hold a list of images")
    images, masks, boxes = [], [], []
    for row, item in enumerate(items):
        try:
            *channels, mask, box_map = item
            mask = _made(mask)
            size = masks[0].shape[2] if masks else mask.shape[2]
            if len(items) * 8 * size**2 > MAX_ARCHIVE_BYTES:  # two bytes refer to an item again
                raise ValueError(f"it refers to its images {len(items)} times")
            images.append(np.concatenate(list(map(_channel, channels))).reshape(3, size, size))
            masks.append(mask == _VALUES)
            if mask.shape != (5, size, size) or masks[-1].sum() != np.count_nonzero(mask):
                raise ValueError(f"its mask {mask.shape} is of another shape or holds other values")
            by_class = {index(key): box_map[key] for key in sorted(box_map, key=index)}
            pairs = [(_INDICES.get(c, c), b) for c, of_class in by_class.items() for b in of_class]
            boxes.append([(c, *map(index, corners)) for c, corners in pairs])
        except Exception as error:
            raise ValueError(f"image {row}: {reason(error)}") from error
    return SegmentationSet(np.array(images), np.array(masks), boxes, SHAPES5, name)


def _channel(values: Any) -> np.ndarray:
    """uint8 (S * S,) from a list of ints or an array; bytes() refuses all but 0..255."""
    values = _made(values)
    values = values.ravel().tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, list):
        raise ValueError(f"a channel is a {type(values).__name__}, not a list of ints")
    return np.frombuffer(bytes(values), np.uint8)


class _Call:
    """What a pickle wanted to call, with the arguments, and the state that it then set."""

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.state = arguments, ()

    def __setstate__(self, state: Any) -> None:  # of a class itself this fails, as it should
        self.state = state

    def __index__(self) -> int:
        return _made(self)


_NAMES = ("dtype", "ndarray", "_reconstruct", "scalar", "_frombuffer", "encode")
_CALLS = {name: type(name, (_Call,), {"__slots__": ()}) for name in _NAMES}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Call]:
        if module.split(".")[0] not in ("numpy", "_codecs") or name not in _CALLS:
            raise pickle.UnpicklingError(f"it wants to call {f'{module}.{name}'!r:.80}")
        return _CALLS[name]


def _made(value: Any) -> Any:
    """The array, number, type or bytes that a recorded call stands for; others unchanged."""
    match type(value).__name__, getattr(value, "arguments", None):
        case "str", _:  # Python 2's bytes
            return value.encode("latin1")
        case "encode", (text, "latin1"):
            return text.encode("latin1")
        case "dtype", (code, *_) if re.fullmatch("[<>|=]?(b1|[iu][1248]|f[248])", code):
            order = value.state[1] if value.state else ""
            return np.dtype(order + code if order in ("<", ">") else code)
        case "scalar", (kind, raw):
            return np.frombuffer(_made(raw), _made(kind), count=1)[0].item()
        case "_frombuffer", (raw, kind, shape, order):
            return np.frombuffer(raw, _made(kind)).reshape(shape, order=order)
        case "_reconstruct", _:
            _, shape, kind, fortran, raw = value.state
            return np.frombuffer(_made(raw), _made(kind)).reshape(shape, order="CF"[fortran])
    if isinstance(value, _Call):
        raise ValueError(f"it holds {type(value).__name__}{value.arguments!r:.80}")
    return value
