"""Image embeddings kept by content: the slow half of a promptable segmenter, run once an image."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seghw.files import whole_file

#: Bytes of embeddings that stay in memory, at least the last image's: an image takes 4 MB for
#: SAM, 16 MB for SAM 2, 64 kB for SAM-tiny.
IN_MEMORY = 1 << 28
#: Bytes on disk a folder; beyond it the files that have gone unused longest are removed.
ON_DISK = 1 << 30


class EmbeddingCache:
    """Embeddings of images under one model, in memory and, if given a folder, on disk.

    A file is named after the weights and the pixels, so that it can never be taken for another
    model's or another image's.
    """

    def __init__(self, model: nn.Module, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._model = model
        self._weights: bytes | None = None
        self._recent: OrderedDict[bytes, list[Tensor]] = OrderedDict()
        self._held = 0  # bytes

    def get(self, image: np.ndarray, encode: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The embeddings of ``image``, uint8 (3, H, W), by ``encode`` if they are not kept yet.

        Returns:
            What ``encode`` returns: float tensors on the model's device.
        """
        key = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
        if key not in self._recent:
            self._recent[key] = encode() if self.folder is None else self._from_disk(key, encode)
            self._held += _bytes(self._recent[key])
            while self._held > IN_MEMORY and len(self._recent) > 1:
                _, oldest = self._recent.popitem(last=False)
                self._held -= _bytes(oldest)
        self._recent.move_to_end(key)
        return self._recent[key]

    def clear(self) -> None:
        """Forget what is in memory; files stay."""
        self._recent.clear()
        self._held = 0

    def _from_disk(self, image_key: bytes, encode: Callable[[], list[Tensor]]) -> list[Tensor]:
        if self._weights is None:
            self._weights = _digest(self._model)
        name = hashlib.sha256(self._weights + image_key).hexdigest()[:32]
        path = self.folder / f"{name}.safetensors"
        device = next(self._model.parameters()).device
        try:
            kept = load_file(path, device=str(device))
            with suppress(OSError):  # somebody else's cache, that we may only read
                path.touch()
            return [kept[str(i)] for i in range(len(kept))]
        except (OSError, SafetensorError, KeyError):
            pass  # not there, or damaged: it can be made again
        made = encode()
        with whole_file(path) as temporary:
            save_file({str(i): e.contiguous().cpu() for i, e in enumerate(made)}, temporary)
        _remove_oldest(self.folder)
        return made


def _bytes(embeddings: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in embeddings)


def _digest(model: nn.Module) -> bytes:
    sha = hashlib.sha256()
    for name, value in model.state_dict().items():
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return sha.digest()


def _remove_oldest(folder: Path) -> None:
    files = []
    for path in folder.glob("*.safetensors"):
        with suppress(OSError):  # another process may have removed it
            about = path.stat()
            files.append((about.st_mtime, about.st_size, path))
    excess = sum(size for _, size, _ in files) - ON_DISK
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        excess -= size
        with suppress(OSError):  # Windows keeps what a process has open
            path.unlink()
