"""Read a gzipped pickle of plain data that came from elsewhere, without running its code.

A pickle is a small program: it may name any callable and call it. Here it may name only what
NumPy needs to bring back arrays and numbers, and even those names lead to the stand-ins below,
never to NumPy's own functions, which trust what they are given.

The machine is the standard library's ``pickle._Unpickler``, the reference in Python, and not its
twin in C: that one lets a file of ten bytes claim gigabytes (CPython issue 115952), and cannot
hand over a part before it has read the whole.
"""

import gzip
import io
import pickle
import re
import struct
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


def read_gzip_pickle(
    path: Path, take: Callable[[Any], bool], *, bytes_an_element: int, slack: int, limit: int
) -> Any:
    """Unpickle a gzip file that may hold lists, tuples, dicts, numbers, text and arrays only.

    The uncompressed size is bounded while it streams, so that a few kilobytes cannot fill the
    memory: whatever else a file holds has to keep in proportion to the arrays it brings.

    Args:
        path: the gzip file; any pickle protocol, Python 2's as well.
        take: called with each list whenever something was appended to it. It returns True when
            it has put something short in place of the content, so that the data need not stand
            in memory twice.
        bytes_an_element: uncompressed bytes allowed for each array element met so far.
        slack: uncompressed bytes allowed beside those.
        limit: uncompressed bytes allowed at all.

    Raises:
        OSError, EOFError, zlib.error: not a readable, whole and sound gzip file.
        pickle.UnpicklingError: not a pickle, or one with too many bytes or a callable that is
            not admitted; nothing was called.
    """
    with gzip.open(path, "rb") as unzipped:
        stream = _BoundedStream(unzipped, bytes_an_element, slack, limit)
        loaded = _PlainUnpickler(stream, take).load()
        # Reading on makes gzip compare its checksum.
        if stream.buffered.read(1):
            raise pickle.UnpicklingError("something follows the end of its pickle")
        return loaded


class _BoundedStream(io.RawIOBase):
    """Bytes of ``source``, refused once they outgrow the array elements met so far."""

    def __init__(self, source: io.BufferedIOBase, bytes_an_element: int, slack: int, limit: int):
        super().__init__()
        self._source = source
        self._bytes_an_element, self._slack, self._limit = bytes_an_element, slack, limit
        self._bytes_read = 0
        self._elements = 0
        self.buffered = io.BufferedReader(self, buffer_size=1 << 14)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        got = self._source.readinto(buffer)
        self._bytes_read += got
        allowed = min(self._limit, self._slack + self._bytes_an_element * self._elements)
        if self._bytes_read > allowed:
            raise pickle.UnpicklingError(f"it unpacks to more than {allowed:,} bytes")
        return got

    def met(self, array: np.ndarray) -> None:
        """Note that this array stood in the stream."""
        self._elements += array.size


class _PlainUnpickler(pickle._Unpickler):
    """Admits what the pickles of NumPy arrays and numbers name, by way of stand-ins."""

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: _BoundedStream, take: Callable[[Any], bool]):
        # latin1 keeps the bytes of arrays that Python 2 wrote as text.
        super().__init__(stream.buffered, encoding="latin1")
        self._peek = stream.buffered.peek
        self._take = take
        self.memo = _Memo()
        self._admitted = {
            ("numpy", "dtype"): _StandIn(_NumberType),
            # Named only to be handed to _reconstruct, which here makes one kind of array.
            ("numpy", "ndarray"): None,
            ("_codecs", "encode"): _StandIn(_encode_latin1),
        }
        for core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
            self._admitted[f"{core}.multiarray", "_reconstruct"] = _StandIn(
                partial(_new_array, stream)
            )
            self._admitted[f"{core}.multiarray", "scalar"] = _StandIn(_scalar)
            self._admitted[f"{core}.numeric", "_frombuffer"] = _StandIn(
                partial(_array_from_buffer, stream)
            )

    def load(self) -> Any:
        try:
            return super().load()
        except (pickle.UnpicklingError, OSError, EOFError, zlib.error):
            raise
        except Exception as error:  # bytes that are no pickle may raise anything at all
            raise pickle.UnpicklingError(f"its pickle is damaged ({error!r:.80})") from error

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            called = f"{module}.{name}"
            raise pickle.UnpicklingError(f"it wants to call {called!r:.80}") from None

    def _appended(self) -> None:
        if self._take(self.stack[-1]):
            self.memo.age()

    def load_append(self) -> None:
        super().load_append()
        if isinstance(self.stack[-1][-1], int):
            self._load_text_ints()
        else:
            self._appended()

    def load_appends(self) -> None:
        super().load_appends()
        self._appended()

    def load_binint1(self) -> None:
        """A whole run of small ints at once; one at a time they would take minutes."""
        first = self.read(1)
        ahead = self._peek()
        opcodes = ahead[: len(ahead) // 2 * 2 : 2]
        run = len(opcodes) - len(opcodes.lstrip(pickle.BININT1))
        self.stack.extend(first + ahead[1 : 2 * run : 2])
        self.read(2 * run)

    def _load_text_ints(self) -> None:
        r"""The same for protocol 0, where a list goes on as ``I7\naI0\naI255\na``."""
        ahead = self._peek()
        run = ahead[: len(ahead) - len(ahead.lstrip(b"I0123456789\na"))]
        run = run[: run.rfind(b"\naI") + 2]
        if b"I00\n" in run or b"I01\n" in run:  # False and True
            return
        if run and not run.translate(None, b"0123456789").replace(b"I\na", b""):
            self.stack[-1].extend(map(int, run[1:-2].split(b"\naI")))
            self.read(len(run))

    def load_frame(self) -> None:
        self.read(8)  # how far to read ahead, which the stream decides by itself

    def load_bytearray8(self) -> None:
        # The original sets the claimed length aside before it reads.
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.BININT1[0]] = load_binint1
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


class _Memo(dict):
    """What a pickle may refer back to: by rule each list, array and text that it ever held.

    Hardly any of it is asked for again. What was not, while 100 more lists were taken, is let go.
    """

    _KEPT = 100
    _GONE = object()

    def __init__(self) -> None:
        super().__init__()
        self._asked_for: set[int] = set()
        self._ends: deque[int] = deque()  # the size of the memo after each list taken
        self._begin = 0

    def __getitem__(self, key: int) -> Any:
        self._asked_for.add(key)
        value = super().__getitem__(key)
        if value is self._GONE:
            raise pickle.UnpicklingError("it refers back too far")
        return value

    def age(self) -> None:
        """Note that one more list was taken."""
        self._ends.append(len(self))
        if len(self._ends) > self._KEPT:
            end = self._ends.popleft()
            for key in range(self._begin, end):
                if key not in self._asked_for:
                    self[key] = self._GONE  # the key stays, for the unpickler counts them
            self._begin = end


class _StandIn:
    """A function that a pickle may call but not change: a pickle can set attributes, too."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it tries to change a function")


class _NumberType:
    """Stands in for ``numpy.dtype``: booleans, integers and floats in either byte order."""

    def __init__(self, code: str, *_: Any):
        if not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", code):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r:.40}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An empty array that takes its content, checked, from the state in the pickle."""

    stream: _BoundedStream

    def __new__(cls) -> "_Array":
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: tuple) -> None:
        version, shape, number_type, fortran, raw = state
        if isinstance(raw, str):  # Python 2's bytes
            raw = raw.encode("latin1")
        super().__setstate__((version, shape, number_type.dtype, fortran, raw))
        self.stream.met(self)


def _new_array(stream: _BoundedStream, *_: Any) -> _Array:
    """Stands in for NumPy's ``_reconstruct``; the content comes later."""
    array = _Array()
    array.stream = stream
    return array


def _array_from_buffer(
    stream: _BoundedStream, raw: bytes, number_type: _NumberType, shape: tuple, order: str
) -> np.ndarray:
    """Stands in for ``_frombuffer``, by which protocol 5 writes arrays."""
    array = np.frombuffer(raw, number_type.dtype).reshape(shape, order=order)
    stream.met(array)
    return array


def _scalar(number_type: _NumberType, raw: bytes | str) -> int | float | bool:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, number_type.dtype, count=1)[0].item()


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes written as {encoding!r:.40}")
    return text.encode("latin1")
