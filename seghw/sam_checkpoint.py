"""From a folder, or a Hugging Face id, to a model of transformers; or one line that says why not.

Nothing is fetched unless asked for, and nothing that could run code is read: weights are taken
as safetensors only.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from seghw.errors import BadInput

#: The published checkpoints in their original format, by SHA-256, and where transformers' is.
PUBLISHED = {
    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912": "facebook/sam-vit-base",
    "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622": "facebook/sam-vit-large",
    "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e": "facebook/sam-vit-huge",
}
# By the "model_type" of config.json. SAM 2 is published with the configuration of its video
# model, of which the image model is a part.
_CLASSES = {
    "sam": ("SamModel", "SamProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "sam2_video": ("Sam2Model", "Sam2Processor"),
}


def need_transformers() -> None:
    """Raise ``BadInput`` if the optional extra is not installed."""
    if find_spec("transformers") is None:
        raise BadInput(
            "transformers is not installed, without which there is no segmenter; "
            "install it with `pip install -e .[sam]`"
        )


def local_folder(source: str, download: bool) -> Path:
    """The folder that ``source`` is, or the one in which Hugging Face's cache keeps that id.

    Raises:
        BadInput: it is neither, or the download, if asked for, failed.
    """
    import httpx
    from huggingface_hub import snapshot_download

    if Path(source).is_dir():
        return Path(source)
    if Path(source).is_file():
        raise BadInput(_about_file(Path(source)))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise BadInput(
            f"{source!r} is neither a folder nor a Hugging Face id such as 'facebook/sam-vit-base'"
        )
    try:
        # Weights as safetensors only: the other formats of a repository are copies.
        patterns = ["*.json", "*.safetensors"]
        return Path(
            snapshot_download(source, allow_patterns=patterns, local_files_only=not download)
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        if download:
            raise BadInput(f"{source!r} could not be downloaded: {_first_line(error)}") from error
        raise BadInput(
            f"{source!r} is neither a folder nor a model that was downloaded before; "
            f"fetch it once with `hf download {source}`, or ask load_sam for download=True"
        ) from error


def _about_file(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest in PUBLISHED:
        return (
            f"{path} is a published checkpoint in SAM's original format; this program reads "
            f"transformers' format of the same weights: give {PUBLISHED[digest]!r}"
        )
    return (
        f"{path} is a file (SHA-256 {digest[:12]}..., none of the published SAM checkpoints); "
        "give the folder that holds config.json and model.safetensors"
    )


def open_folder(folder: Path) -> tuple[Any, Any]:
    """Model (float32, in evaluation mode) and processor from a folder of transformers' format.

    Raises:
        BadInput: the folder holds no SAM or SAM 2, or a damaged one.
    """
    import transformers

    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise BadInput(f"{folder} holds no SAM: {name} is missing; give another folder or id")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type") if isinstance(config, dict) else None
        if kind not in _CLASSES:
            raise BadInput(
                f"{folder} holds a model of type {kind!r}; give one of {', '.join(_CLASSES)}"
            )
        model_class, processor_class = (getattr(transformers, name) for name in _CLASSES[kind])
        with _quietly():
            model, report = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            processor = processor_class.from_pretrained(folder, local_files_only=True)
    except BadInput:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{folder} holds a damaged model: {_first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadInput(
            f"{folder} lacks {len(missing)} of the model's weights, such as {missing[0]!r}; "
            "download it again"
        )
    return model, processor


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from reporting on weights that it loads: here that ends in an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
