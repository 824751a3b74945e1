"""One small interface to promptable segmenters: masks for boxes, for clicks, or of everything.

Conventions, which are SAM's own (Kirillov et al., "Segment Anything", 2023): images are uint8
(3, H, W), RGB, 0..255; coordinates are x, y in pixels of that image, pixel centers at whole
numbers; boxes are x0, y0, x1, y1, inclusive. Masks come back at the image's size.

The models are transformers' own ``SamModel`` and ``Sam2Model``. Nothing is fetched unless asked
for, and weights are taken as safetensors only, which cannot run code.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from seghw.config import CACHE, DATA
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.threads import threads_for
from seghw.train.trainer import best_device

#: Where SAM-tiny is shipped; it needs no download.
SAM_TINY = DATA / "sam-tiny"
SAM_TINY_NAME = "SAM-tiny, trained here"
# By the "model_type" of config.json. SAM 2 is published with the configuration of its video
# model, of which the image model is a part.
_CLASSES = {
    "sam": ("SamModel", "SamProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "sam2_video": ("Sam2Model", "Sam2Processor"),
}
#: Logits of masks, in bytes, that are held at once, and prompts that are decoded at once: they
#: bound the memory of a 1024 x 1024 image under the largest models to a few GB.
_LOGIT_BYTES = 1 << 28
_PROMPTS_AT_ONCE = 64
#: Bytes of embeddings that stay in memory, at least the last image's: an image takes 4 MB for
#: SAM, 16 MB for SAM 2, 64 kB for SAM-tiny.
_EMBEDDING_BYTES = 1 << 28
#: Steps from which on a bar is made. In a notebook every bar is a dozen messages, even one that is
#: never seen, and a model that takes milliseconds would send thousands.
_WORTH_A_BAR = 8


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A promptable model with its preprocessing; ``load_sam`` makes one."""

    name: str  # what captions call it
    model: nn.Module  # transformers' SamModel or Sam2Model, in evaluation mode
    processor: Any  # transformers' SamProcessor or Sam2Processor
    cache: Path | None = None  # folder in which embeddings are kept; None: in memory only
    _recent: OrderedDict[bytes, list[Tensor]] = field(default_factory=OrderedDict, repr=False)

    @property
    def side(self) -> int:
        """Of the square that the model sees, in pixels; 1024 for every published SAM and SAM 2."""
        return self.model.prompt_encoder.input_image_size


class Segments(NamedTuple):
    """Masks and what the model thinks of them."""

    masks: np.ndarray  # bool (K, H, W)
    predicted_iou: np.ndarray  # float32 (K,); the model's own estimate, about 0..1


def load_sam(
    source: str | Path | None = None,
    *,
    download: bool = False,
    device: torch.device | None = None,
    cache: str | Path | None = CACHE / "sam",
) -> Segmenter:
    """Open a promptable segmenter.

    Args:
        source: a folder that holds a SAM or SAM 2 of transformers, or the Hugging Face id of
            one, such as ``"facebook/sam-vit-base"``. None takes SAM-tiny.
        download: fetch an id that is not on this machine yet; nothing is fetched otherwise.
        device: default ``train.best_device()``.
        cache: folder for the embeddings of images, 4 to 16 MB each; None keeps them in memory
            only, as is always done for SAM-tiny.

    Raises:
        BadInput: transformers is not installed, or ``source`` holds no such model, or a damaged
            one.
    """
    if find_spec("transformers") is None:
        raise BadInput(
            "transformers is not installed, without which there is no segmenter; "
            "install it with `pip install -e .[sam]`"
        )
    folder = SAM_TINY if source is None else _local_folder(str(source), download)
    model, processor = _open_folder(folder)
    model = model.to(device or best_device()).eval()
    if folder.resolve() == SAM_TINY.resolve():
        return Segmenter(SAM_TINY_NAME, model, processor)
    name = folder.resolve().name if Path(source).is_dir() else str(source)
    return Segmenter(name, model, processor, None if cache is None else Path(cache))


def _local_folder(source: str, download: bool) -> Path:
    """The folder that ``source`` is, or the one in which Hugging Face's cache keeps that id."""
    import httpx
    from huggingface_hub import snapshot_download

    if Path(source).is_dir():
        return Path(source)
    if Path(source).is_file():
        raise BadInput(
            f"{source} is a file, such as SAM's original checkpoints; give the folder that holds "
            "config.json and model.safetensors, or an id such as 'facebook/sam-vit-base'"
        )
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


def _open_folder(folder: Path) -> tuple[Any, Any]:
    """Model (float32, in evaluation mode) and processor from a folder of transformers' format."""
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


# -- prompts ----------------------------------------------------------------------------------


def segment_boxes(segmenter: Segmenter, image: np.ndarray, boxes: np.ndarray) -> Segments:
    """One mask per box.

    Args:
        segmenter: from ``load_sam``.
        image: uint8 (3, H, W).
        boxes: (K, 4): x0, y0, x1, y1, inclusive, inside the image.

    Returns:
        K masks, in the order of the boxes.

    Raises:
        BadInput: the image or a box is none of these.
    """
    height, width = _checked_image(image)
    boxes = np.asarray(boxes)
    if not boxes.size:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BadInput(f"boxes must be (K, 4): x0, y0, x1, y1; got {boxes.shape}")
    if boxes.size and boxes.dtype.kind == "f" and boxes.max() <= 1:
        raise BadInput(f"boxes are in pixels, not in shares of the image; got {boxes[0].tolist()}")
    for x0, y0, x1, y1 in boxes.tolist():
        if not (0 <= x0 <= x1 <= width - 1 and 0 <= y0 <= y1 <= height - 1):
            raise BadInput(
                f"box {(x0, y0, x1, y1)} is none of a {width} x {height} image; "
                "give x0 <= x1 and y0 <= y1, inclusive and from 0"
            )
    return _best_masks(segmenter, image, input_boxes=boxes)


def segment_points(
    segmenter: Segmenter, image: np.ndarray, points: np.ndarray, labels: np.ndarray | None = None
) -> Segments:
    """One mask per set of clicks.

    A single click is ambiguous: the model proposes several masks for it, of which the one with
    the highest predicted IoU is returned. Several clicks ask for a single mask.

    Args:
        segmenter: from ``load_sam``.
        image: uint8 (3, H, W).
        points: (K, P, 2): for each of K masks, x, y of its P clicks, inside the image.
        labels: (K, P): 1 on the object, 0 beside it; default all 1.

    Returns:
        K masks, in the order of the sets.

    Raises:
        BadInput: the image, a point or a label is none of these.
    """
    height, width = _checked_image(image)
    points = np.asarray(points)
    if points.ndim != 3 or points.shape[1] < 1 or points.shape[2] != 2:
        raise BadInput(f"points must be (K, P, 2), with P at least 1; got {points.shape}")
    labels = np.ones(points.shape[:2]) if labels is None else np.asarray(labels)
    if labels.shape != points.shape[:2] or not np.isin(labels, (0, 1)).all():
        raise BadInput(f"labels must be {points.shape[:2]}, each 0 or 1; got {labels.tolist()}")
    outside = ~((points >= 0) & (points <= (width - 1, height - 1))).all(axis=2)
    if outside.any():
        raise BadInput(f"point {points[outside][0].tolist()} is outside of {width} x {height}")
    multimask = points.shape[1] == 1
    return _best_masks(
        segmenter, image, multimask=multimask, input_points=points, input_labels=labels
    )


def segment_everything(
    segmenter: Segmenter,
    image: np.ndarray,
    *,
    points_per_side: int | None = None,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    box_nms_thresh: float = 0.7,
) -> Segments:
    """All masks of an image: SAM's automatic mode, without its crops, under its parameter names.

    Every point of a grid is a click with several masks; a mask stays if the model trusts it, if
    it barely changes with the threshold (stability: IoU of the masks at logits above +1 and -1),
    and if no better one has nearly the same box (non-maximum suppression). The mask-generation
    pipeline of transformers would do the same, but holds every mask at full size at once.

    Args:
        segmenter: from ``load_sam``.
        image: uint8 (3, H, W).
        points_per_side: of the grid; default 32 on a GPU, as SAM has it, and 16 on a CPU, but no
            more than one point every 8 pixels that the model sees.
        pred_iou_thresh: masks at or below it are dropped.
        stability_score_thresh: likewise, 0..1.
        box_nms_thresh: of two masks whose boxes overlap by more, the lower one is dropped; boxes
            run from pixel center to pixel center, so that of a line has no area to overlap.

    Returns:
        Masks by falling predicted IoU; there may be none.

    Raises:
        BadInput: the image is not one, or the stability lies outside of 0..1.
    """
    from torchvision.ops import masks_to_boxes, nms

    height, width = _checked_image(image)
    if not 0 <= stability_score_thresh <= 1:
        raise BadInput(
            f"stability_score_thresh must lie between 0 and 1, got {stability_score_thresh}"
        )
    usual = 16 if segmenter.model.device.type == "cpu" else 32
    side = points_per_side or min(usual, max(1, segmenter.side // 8))
    steps = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 1, 2)
    labels = np.ones(grid.shape[:2])
    packed, scores, boxes = [], [], []
    outputs = _decode(segmenter, image, multimask=True, input_points=grid, input_labels=labels)
    total = -(-len(grid) // _prompts_at_once(segmenter, image, multimask=True))
    quick = total < _WORTH_A_BAR
    bar = tqdm(outputs, total=total, desc="all masks", leave=False, delay=2, disable=quick)
    for low_resolution, iou, upscale in bar:
        trusted = iou > pred_iou_thresh
        # Only what is trusted is worth the memory of the full resolution.
        logits = upscale(low_resolution[trusted][:, None])[:, 0]
        # NaN, which passes no test, where both masks are empty.
        stable = (logits > 1).sum((-1, -2)) / (logits > -1).sum((-1, -2)) > stability_score_thresh
        masks = logits[stable] > 0
        packed.extend(np.packbits(mask) for mask in masks.cpu().numpy())
        scores.append(iou[trusted][stable].cpu())
        boxes.append(masks_to_boxes(masks).cpu() if len(masks) else torch.zeros(0, 4))
    kept = nms(torch.cat(boxes), torch.cat(scores), box_nms_thresh)
    masks = np.zeros((len(kept), height, width), np.bool_)
    for mask, k in zip(masks, kept.tolist(), strict=True):
        mask[:] = np.unpackbits(packed[k], count=mask.size).reshape(mask.shape)
    return Segments(masks, torch.cat(scores)[kept].numpy())


# -- the model --------------------------------------------------------------------------------


def _best_masks(
    segmenter: Segmenter, image: np.ndarray, *, multimask: bool = False, **prompts: np.ndarray
) -> Segments:
    """For each prompt the proposal with the highest predicted IoU."""
    masks, scores = [np.zeros((0, *image.shape[1:]), np.bool_)], [np.zeros(0, np.float32)]
    for low_resolution, iou, upscale in _decode(segmenter, image, multimask=multimask, **prompts):
        best = iou.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        masks.append((upscale(low_resolution[rows, best][:, None])[:, 0] > 0).cpu().numpy())
        scores.append(iou[rows, best].cpu().numpy())
    return Segments(np.concatenate(masks), np.concatenate(scores))


@torch.inference_mode()
def _decode(
    segmenter: Segmenter, image: np.ndarray, *, multimask: bool, **prompts: np.ndarray
) -> Iterator[tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]]:
    """Decode the prompts a few at a time.

    Yields:
        Logits (k, M, h, w) at the decoder's resolution, predicted IoU (k, M), and a function
        that takes logits (any, M, h, w) to the image's resolution.
    """
    size = image.shape[1:]
    count = len(next(iter(prompts.values())))
    if not count:
        return
    *embeddings, inner = _embeddings(segmenter, image)
    inner = inner.tolist()
    # SAM keeps an image's proportions inside its square, SAM 2 stretches it.
    scale = torch.tensor([inner[1] / size[1], inner[0] / size[0]])

    def upscale(logits: Tensor) -> Tensor:
        (full,) = segmenter.processor.post_process_masks(
            [logits], [size], reshaped_input_sizes=[inner], binarize=False
        )
        return full

    at_once = _prompts_at_once(segmenter, image, multimask)
    for start in range(0, count, at_once):
        tensors = {
            name: _to_model(name, value[start : start + at_once], scale, segmenter.model)
            for name, value in prompts.items()
        }
        with threads_for(segmenter.model):
            out = segmenter.model(
                image_embeddings=embeddings if len(embeddings) > 1 else embeddings[0],
                multimask_output=multimask,
                **tensors,
            )
        yield out.pred_masks[0].float(), out.iou_scores[0].float(), upscale


def _prompts_at_once(segmenter: Segmenter, image: np.ndarray, multimask: bool) -> int:
    """How many prompts are decoded together, so that memory stays bounded."""
    # Twice, because SAM's logits pass through its own square on their way to the image's size.
    pixels = 2 * max(image[0].size, segmenter.side**2)
    a_prompt = 4 * pixels * (3 if multimask else 1)
    return min(_PROMPTS_AT_ONCE, max(1, _LOGIT_BYTES // a_prompt))


def _to_model(name: str, value: np.ndarray, scale: Tensor, model: nn.Module) -> Tensor:
    """One image's prompts as the model wants them: a leading axis, its own pixels."""
    if name == "input_labels":
        return torch.from_numpy(value.astype(np.int64))[None].to(model.device)
    tensor = torch.from_numpy(np.ascontiguousarray(value, np.float32))
    return (tensor * scale.repeat(tensor.shape[-1] // 2))[None].to(model.device)


def _embeddings(segmenter: Segmenter, image: np.ndarray) -> list[Tensor]:
    """What ``_encode`` gives, kept in memory and, where there is a folder for it, on disk."""
    recent = segmenter._recent
    key = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
    if key not in recent:
        recent[key] = _encode_or_read(segmenter, image, key)
        while len(recent) > 1 and _size(recent.values()) > _EMBEDDING_BYTES:
            recent.popitem(last=False)
    recent.move_to_end(key)
    return recent[key]


def _size(kept: Any) -> int:
    return sum(tensor.nbytes for tensors in kept for tensor in tensors)


def _encode_or_read(segmenter: Segmenter, image: np.ndarray, key: bytes) -> list[Tensor]:
    if segmenter.cache is None:
        return _encode(segmenter, image)
    # Named after the weights and the pixels: never taken for another model's or image's.
    sha = hashlib.sha256(key)
    for name, value in segmenter.model.state_dict().items():
        sha.update(name.encode() + value.detach().reshape(-1)[:4096].cpu().float().numpy().data)
    path = segmenter.cache / f"{sha.hexdigest()[:32]}.safetensors"
    try:
        kept = load_file(path, device=str(segmenter.model.device))
        return [kept[str(i)] for i in range(len(kept))]
    except (OSError, SafetensorError, KeyError):
        made = _encode(segmenter, image)
        with atomic_write(path) as temporary:
            save_file({str(i): e.contiguous().cpu() for i, e in enumerate(made)}, temporary)
        return made


def _encode(segmenter: Segmenter, image: np.ndarray) -> list[Tensor]:
    """The image's embeddings (one for SAM, three for SAM 2), then its height and width inside."""
    # A copy: images of a memory-mapped set cannot be written to, which torch warns about.
    inputs = segmenter.processor(
        images=np.array(image), input_data_format="channels_first", return_tensors="pt"
    )
    pixels = inputs["pixel_values"].to(segmenter.model.device)
    inner = inputs.get("reshaped_input_sizes", torch.tensor([pixels.shape[-2:]]))[0]
    with _progress(segmenter.model), threads_for(segmenter.model):
        embeddings = segmenter.model.get_image_embeddings(pixels)
    return [*(embeddings if isinstance(embeddings, list) else [embeddings]), inner]


@contextmanager
def _progress(model: nn.Module) -> Iterator[None]:
    """A bar over the encoder's blocks, for an encoder that takes its time."""
    encoder = model.vision_encoder
    blocks = encoder.layers if hasattr(encoder, "layers") else encoder.backbone.blocks
    quick = len(blocks) < _WORTH_A_BAR
    label = "encoding the image"
    with tqdm(total=len(blocks), desc=label, leave=False, delay=2, disable=quick) as bar:

        def advance(*_: Any) -> None:
            bar.update()

        hooks = [block.register_forward_hook(advance) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _checked_image(image: np.ndarray) -> tuple[int, int]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise BadInput(f"an image must be uint8 (3, H, W), got {image.dtype} {image.shape}")
    return image.shape[1:]
