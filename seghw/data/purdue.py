"""The official archive of PurdueShapes5MultiObject, read safely and written.

It is a gzipped pickle of ``(items, label_map)``. An item is ``[R, G, B, mask, boxes]``: three
lists of S * S ints 0..255; uint8 (5, S, S) that holds 50, 100, ... 250 in its five planes; a
dict from class to ``[[x0, y0, x1, y1], ...]``. The source is the docstring of DLStudio's
``SemanticSegmentation.PurdueShapes5MultiObjectDataset``.

A pickle is a small program that may name any callable and call it. Here it may name only what
NumPy needs to bring back arrays and numbers, and even those names lead to the stand-ins below.
"""

import gzip
import io
import operator
import pickle
import re
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from seghw.config import SHAPES5
from seghw.data.dataset import Box, SegmentationSet
from seghw.errors import BadInput
from seghw.io import atomic_write

ARCHIVE_SIZE = 64
LABEL_MAP = {spec.name: spec.value for spec in SHAPES5}
_PLANE_VALUES = np.array([spec.value for spec in SHAPES5], np.uint8)[:, None, None]
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
            raise BadInput("it is not a file")
        with gzip.open(path, "rb") as unzipped, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bytes that are no pickle
            stream = _BoundedStream(unzipped)
            loaded = _PlainUnpickler(stream, encoding="latin1").load()
            if stream.read(1):  # reading on also makes gzip compare its checksum
                raise BadInput("something follows the end of its pickle")
        return _as_set(loaded, f"PurdueShapes5 from {path.name}")
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist; put the archive there or name another") from error
    # Bytes that are no pickle may make the unpickler raise nearly anything.
    except (
        *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(MemoryError, OverflowError, ImportError, RecursionError),
        *(zlib.error, pickle.UnpicklingError),
    ) as error:
        reason = " ".join(f"{error or type(error).__name__}".split())[:200]
        raise BadInput(
            f"{path} cannot be read as a PurdueShapes5MultiObject archive: {reason}; "
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
        atomic_write(path) as temporary,
        temporary.open("wb") as raw,
        # No name and no time inside: the same set gives the same bytes.
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as zipped,
    ):
        pickle.dump((items, LABEL_MAP), zipped, protocol=4)


def _as_set(loaded: Any, name: str) -> SegmentationSet:
    if not (isinstance(loaded, tuple | list) and len(loaded) == 2):
        raise BadInput("it does not hold a list of images and a label map")
    items, label_map = loaded
    if not isinstance(label_map, dict) or label_map != LABEL_MAP:
        raise BadInput(f"its label map is not {LABEL_MAP}")
    if not (isinstance(items, list) and items and all(_has_five_parts(item) for item in items)):
        raise BadInput("it does not hold a list of images of five parts each")
    size = None
    images, masks, boxes = [], [], []
    for row, item in enumerate(items):
        try:
            red, green, blue, mask, box_map = item
            if size is None:
                size = _side(mask)
                if len(items) * 8 * size**2 > MAX_ARCHIVE_BYTES:  # two bytes refer to an item again
                    raise BadInput(f"it refers to its images {len(items)} times")
            images.append([_channel(values, size) for values in (red, green, blue)])
            masks.append(_planes(mask, size))
            boxes.append(_boxes(box_map, size))
        except (TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"image {row}: {error}") from error
    return SegmentationSet(np.array(images), np.array(masks), boxes, SHAPES5, name)


def _has_five_parts(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 5


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
    planes = np.asarray(mask) == _PLANE_VALUES
    if np.count_nonzero(planes) != np.count_nonzero(mask):
        raise BadInput("its mask holds values outside the label map")
    return planes


def _boxes(box_map: Any, size: int) -> list[Box]:
    """Boxes sorted by class; DLStudio documents the values as keys but uses the indices."""
    if not isinstance(box_map, dict):
        raise BadInput(f"its boxes are a {type(box_map).__name__}, not a dict")
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


# -- the allow-list ---------------------------------------------------------------------------


class _BoundedStream(io.RawIOBase):
    """Bytes of ``source``, refused once they are more than the limit."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        super().__init__()
        self._source, self._left = source, MAX_ARCHIVE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        got = self._source.readinto(buffer)
        self._left -= got
        if self._left < 0:
            raise pickle.UnpicklingError(f"it unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
        return got

    def read(self, size: int = -1) -> bytes:
        # In steps: a few bytes may claim to be followed by gigabytes.
        parts = []
        while size and (part := super().read(min(size, 1 << 20))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class _PlainUnpickler(pickle.Unpickler):
    """Admits what the pickles of NumPy arrays and numbers name, by way of stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy.core before and numpy._core since NumPy 2
        try:
            return _ADMITTED[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to call {f'{module}.{name}'!r:.80}") from None


class _StandIn:
    """A function that a pickle may call but not change: a pickle can set attributes, too."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it tries to change a function")


class _NumberType:
    """Stands in for ``numpy.dtype``: booleans, integers and floats in either byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", code):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An empty array that takes its content, checked, from the state in the pickle."""

    def __new__(cls, *_: Any) -> "_Array":
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: tuple) -> None:
        version, shape, number_type, fortran, raw = state
        if isinstance(raw, str):  # Python 2's bytes
            raw = raw.encode("latin1")
        super().__setstate__((version, shape, number_type.dtype, fortran, raw))


def _from_buffer(raw: bytes, number_type: _NumberType, shape: tuple, order: str) -> np.ndarray:
    """Stands in for ``_frombuffer``, by which protocol 5 writes arrays."""
    return np.frombuffer(raw, number_type.dtype).reshape(shape, order=order)


def _scalar(number_type: _NumberType, raw: bytes | str) -> int | float | bool:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, number_type.dtype, count=1)[0].item()


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes written as {encoding!r:.40}")
    return text.encode("latin1")


_ADMITTED = {
    ("numpy", "dtype"): _StandIn(_NumberType),
    ("numpy", "ndarray"): None,  # named only to be handed to _reconstruct
    ("_codecs", "encode"): _StandIn(_encode_latin1),
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_Array),
    ("numpy.core.multiarray", "scalar"): _StandIn(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _StandIn(_from_buffer),
}
