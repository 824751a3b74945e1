"""Files over HTTP: several at a time, with retries, resumed where they broke off, kept whole."""

import io
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm.auto import tqdm

from seghw.files import whole_file

if TYPE_CHECKING:
    import httpx


class UnavailableError(Exception):
    """A file that cannot be had; its text says why."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final  # asking the server again would not help


@dataclass
class Fetcher:
    """GET with retries, from as many threads as one likes."""

    client: "httpx.Client"
    base_url: str
    retries: int
    backoff: float
    patience: float  # seconds for a whole image
    stop: threading.Event = field(default_factory=threading.Event)  # wakes whoever waits to retry
    # whole_file sets the umask of the whole process for a moment: one thread at a time.
    writing: threading.Lock = field(default_factory=threading.Lock)

    def retry(self, attempt: Callable[[], None]) -> None:
        for n in range(self.retries + 1):
            try:
                return attempt()
            except UnavailableError as error:
                if error.final or n == self.retries or self.stop.wait(self.backoff * 2**n):
                    raise

    @contextmanager
    def get(self, path: str, **headers: str) -> "Iterator[httpx.Response]":
        """An open response with a status of 2xx or 416."""
        import httpx

        try:
            with self.client.stream("GET", f"{self.base_url}/{path}", headers=headers) as response:
                status = response.status_code
                if not response.is_success and status != 416:
                    final = status < 500 and status not in (408, 429)
                    raise UnavailableError(f"HTTP {status}", final)
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error

    def image(self, path: Path, size: tuple[int, int]) -> None:
        """Leave ``<split>/<image>.jpg`` at ``path``, decoded once and of the annotated size."""
        try:
            check_image(path.read_bytes(), size)
        except (FileNotFoundError, UnavailableError):
            self.retry(partial(self._try_image, path, size))

    def _try_image(self, path: Path, size: tuple[int, int]) -> None:
        content = bytearray()
        deadline = time.monotonic() + self.patience
        with self.get(f"{path.parent.name}/{path.name}") as response:
            for chunk in response.iter_bytes():
                content += chunk
                if self.stop.is_set() or time.monotonic() > deadline:
                    raise UnavailableError(f"given up after {len(content)} bytes")
        check_image(bytes(content), size)
        with self.writing, whole_file(path) as temporary:
            temporary.write_bytes(content)

    def archive(self, path: Path) -> None:
        """Leave the annotation archive at ``path``; what came so far waits in ``<path>.part``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.retry(partial(self._try_archive, path, path.with_name(f"{path.name}.part")))

    def _try_archive(self, path: Path, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self.get(f"annotations/{path.name}", **headers) as response:
            if response.status_code != 416:  # 416: there is nothing after what we have
                _append(response, part, have)
        # The archive's directory is its end: without one, something is missing or foreign.
        if not zipfile.is_zipfile(part):
            part.unlink(missing_ok=True)
            raise UnavailableError("what came is not a zip archive")
        part.replace(path)


def _append(response: "httpx.Response", part: Path, have: int) -> None:
    """Stream a response into ``part``, after its first ``have`` bytes if the server resumes."""
    if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        have = 0
    total = have + int(response.headers.get("Content-Length", 0)) or None
    bar = tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True)
    with part.open("ab" if have else "wb") as file, bar:
        for chunk in response.iter_bytes():
            file.write(chunk)
            bar.update(len(chunk))


def check_image(content: bytes, size: tuple[int, int]) -> None:
    """Raise UnavailableError unless ``content`` decodes to a JPEG of ``size`` (width, height)."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            found = image.size
            if found == size:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnavailableError(f"does not decode: {error}") from error
    if found != size:
        raise UnavailableError(f"is {found}, annotated as {size}", final=True)
