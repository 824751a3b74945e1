"""Promptable segmenters: masks for boxes, for clicks, or of everything; and what to prompt with.

Conventions are SAM's own (Kirillov et al., "Segment Anything", 2023): images are uint8 (3, H, W),
RGB; coordinates are x, y in pixels, pixel centers at whole numbers; boxes are x0, y0, x1, y1,
inclusive. The models are transformers' own: SAM, SAM 2, and of SAM 3 the part that takes boxes and
clicks; nothing is fetched unless asked for. What cannot be used raises ``BadInput``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from seghw.config import DATA
from seghw.data.dataset import SegmentationSet
from seghw.devices import best_device, threads_for
from seghw.errors import BadInput, reason

SAM_TINY = DATA / "sam-tiny"  # comes with the project
SAM_TINY_NAME = "SAM-tiny, trained here"
#: transformers' names by the "model_type" of config.json; SAM 2 and 3 are published with that of
#: their video model, of which the image model is a part.
_FAMILIES = {
    "sam": "Sam",
    "sam2": "Sam2",
    "sam2_video": "Sam2",
    "sam3_tracker": "Sam3Tracker",
    "sam3_video": "Sam3Tracker",
}
_AT_ONCE = 16  # prompts that are decoded together: at most 0.4 GB on 1024 x 1024 pixels


@dataclass(eq=False)
class Segmenter:
    """A promptable model with its preprocessing; ``load_sam`` makes one."""

    name: str  # what captions call it
    model: nn.Module  # of transformers, in evaluation mode
    processor: Any  # of transformers
    #: The last image and its embedding: a further prompt on it takes no time to speak of.
    _last: tuple[np.ndarray, Any] | None = field(default=None, init=False, repr=False)

    @property
    def side(self) -> int:
        """Of the square that the model sees, in pixels: 1024 for SAM and SAM 2, 1008 for SAM 3."""
        return self.model.prompt_encoder.input_image_size


class Segments(NamedTuple):
    """Masks and what the model thinks of them."""

    masks: np.ndarray  # bool (K, H, W)
    predicted_iou: np.ndarray  # float32 (K,); the model's own estimate, about 0..1


def load_sam(source: str | Path | None = None, *, download: bool = False) -> Segmenter:
    """Open a promptable segmenter.

    Args:
        source: a folder with a SAM, SAM 2 or SAM 3 in transformers' format, or the Hugging Face
            id of one, such as ``"facebook/sam-vit-base"``. None takes SAM-tiny.
        download: fetch an id that is not on this machine yet.
    """
    try:
        import transformers
        from huggingface_hub import snapshot_download  # which transformers brings
    except ImportError as error:
        raise BadInput("no segmenter without transformers; `pip install -e .[sam]`") from error
    folder = Path(SAM_TINY if source is None else source)
    name = SAM_TINY_NAME if folder.resolve() == SAM_TINY.resolve() else folder.resolve().name
    try:
        if not folder.is_dir():
            name, files = folder.as_posix(), ["*.json", "*.safetensors"]  # others are copies
            here = {"local_files_only": not download}
            folder = Path(snapshot_download(name, allow_patterns=files, **here))
        transformers.utils.logging.set_verbosity_error()  # what matters ends in an error here
        transformers.utils.logging.disable_progress_bar()
        kind = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
        if kind not in _FAMILIES:
            raise ValueError(f"a model of type {kind!r} is none of {', '.join(_FAMILIES)}")
        processor = getattr(transformers, f"{_FAMILIES[kind]}Processor").from_pretrained(folder)
        model, report = getattr(transformers, f"{_FAMILIES[kind]}Model").from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]!r}")
    except Exception as error:  # transformers, its hub and safetensors raise what they like
        raise BadInput(
            f"{source or SAM_TINY} is no SAM that can be opened; give a folder with config.json "
            "and model.safetensors, or an id such as 'facebook/sam-vit-base', fetched before with "
            f"`hf download` ({reason(error)})"
        ) from error
    return Segmenter(name, model.to(best_device()).eval(), processor)


def segment_boxes(segmenter: Segmenter, image: np.ndarray, boxes: np.ndarray) -> Segments:
    """One mask per box, in their order.

    ``image`` is uint8 (3, H, W); ``boxes`` are (K, 4): x0, y0, x1, y1, inclusive, inside it.
    """
    boxes = np.asarray(boxes, float) if np.size(boxes) else np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BadInput(f"boxes must be (K, 4): x0, y0, x1, y1; got {boxes.shape}")
    _check(image, boxes.reshape(-1, 2))
    if (turned := (boxes[:, :2] > boxes[:, 2:]).any(1)).any():
        raise BadInput(f"a box needs x0 <= x1 and y0 <= y1, got {boxes[turned][0].tolist()}")
    if boxes.size and boxes.max() <= 1 and (boxes % 1).any():
        raise BadInput(f"boxes must be in pixels, got {boxes[0].tolist()}; multiply by the sides")
    return _best_masks(segmenter, image, multimask=False, input_boxes=boxes)


def segment_points(
    segmenter: Segmenter, image: np.ndarray, points: np.ndarray, labels: np.ndarray | None = None
) -> Segments:
    """One mask per set of clicks, in their order.

    A single click is ambiguous: of the several masks that the model proposes, the one with the
    highest predicted IoU is returned. Several clicks ask for a single mask.

    Args:
        segmenter: from ``load_sam``.
        image: uint8 (3, H, W).
        points: (K, P, 2): for each of K masks, x, y of its P clicks, inside the image.
        labels: (K, P): 1 on the object, 0 beside it; default all 1.
    """
    points = np.asarray(points, float)
    if points.ndim != 3 or points.shape[1] < 1 or points.shape[2] != 2:
        raise BadInput(f"points must be (K, P, 2), with P at least 1; got {points.shape}")
    labels = np.ones(points.shape[:2], int) if labels is None else np.asarray(labels)
    if labels.shape != points.shape[:2] or not np.isin(labels, (0, 1)).all():
        raise BadInput(f"labels must be {points.shape[:2]}, each 0 or 1; got {labels.tolist()}")
    _check(image, points.reshape(-1, 2))
    prompts = {"input_points": points, "input_labels": labels.astype(int)}
    return _best_masks(segmenter, image, multimask=points.shape[1] == 1, **prompts)


def segment_everything(segmenter: Segmenter, image: np.ndarray) -> Segments:
    """All masks of ``image``, uint8 (3, H, W), by falling predicted IoU: SAM's automatic mode.

    Every point of a grid (32 a side on a GPU, as SAM has it, 16 on a CPU, but no more than one
    every 8 pixels that the model sees) is a click with several masks. A mask stays if the model
    trusts it, if it barely changes with the threshold (stability: IoU of the masks at logits above
    +1 and -1), and if no better one has nearly the same box (non-maximum suppression). Filters and
    their limits are those of transformers' pipeline, which would encode a known image again.
    """
    _check(image)
    size = height, width = image.shape[1:]
    on_cpu = segmenter.model.device.type == "cpu"
    side = min(16 if on_cpu else 32, max(1, segmenter.side // 8))
    steps = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 1, 2)
    prompts = {"input_points": grid, "input_labels": np.ones(grid.shape[:2], int)}
    filters, parts = segmenter.processor.image_processor, []
    for logits, iou, enlarge in _decode(segmenter, image, multimask=True, **prompts):
        trusted = iou > 0.88  # first, for most masks are not worth the enlarging
        logits, iou = enlarge(logits[trusted][:, None]), iou[trusted][:, None]
        parts.append(filters.filter_masks(logits, iou, size, [0, 0, width, height], 0.88, 0.95))
    coded, scores, boxes = zip(*parts, strict=True)
    masks, scores, *_ = filters.post_process_for_mask_generation(
        list(chain(*coded)), torch.cat(scores).cpu(), torch.cat(boxes).cpu(), 0.7
    )
    return Segments(np.array(masks, bool).reshape(-1, *size), scores.numpy())


def _check(image: np.ndarray, places: Sequence = ()) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise BadInput(f"an image must be uint8 (3, H, W), got {image.dtype} {image.shape}")
    for x, y in places:
        if not (0 <= x <= image.shape[2] - 1 and 0 <= y <= image.shape[1] - 1):
            raise BadInput(f"({x:g}, {y:g}) is outside of {image.shape[2]} x {image.shape[1]}")


def _best_masks(segmenter: Segmenter, image: np.ndarray, **prompts: Any) -> Segments:
    """For each prompt the proposal with the highest predicted IoU."""
    masks, scores = [np.zeros((0, *image.shape[1:]), np.bool_)], [np.zeros(0, np.float32)]
    for logits, iou, enlarge in _decode(segmenter, image, **prompts):
        best = iou.max(dim=1)
        rows = torch.arange(len(iou), device=iou.device)
        chosen = enlarge(logits[rows, best.indices][:, None])[:, 0]
        masks.append((chosen > 0).cpu().numpy())
        scores.append(best.values.cpu().numpy())
    return Segments(np.concatenate(masks), np.concatenate(scores))


@torch.inference_mode()
def _decode(
    segmenter: Segmenter, image: np.ndarray, *, multimask: bool, **prompts: np.ndarray
) -> Iterator[tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]]:
    """Decode prompts (K, ...), ``_AT_ONCE`` at a time.

    Yields:
        Logits (k, M, h, w) at the decoder's resolution, predicted IoU (k, M), and what takes
        logits (any, M, h, w) to the image's resolution.
    """
    model, processor = segmenter.model, segmenter.processor
    for k in range(0, len(next(iter(prompts.values()))), _AT_ONCE):
        part = {name: [value[k : k + _AT_ONCE].tolist()] for name, value in prompts.items()}
        # A copy: images of a memory-mapped set cannot be written to, which torch warns about.
        inputs = processor(
            np.array(image), input_data_format="channels_first", return_tensors="pt", **part
        ).to(model.device, torch.float32)
        pixels, sizes = inputs.pop("pixel_values"), [inputs.pop("original_sizes")]
        if "reshaped_input_sizes" in inputs:  # SAM alone keeps an image's proportions
            sizes.append(inputs.pop("reshaped_input_sizes"))
        with threads_for(model):
            if segmenter._last is None or not np.array_equal(image, segmenter._last[0]):
                segmenter._last = image.copy(), model.get_image_embeddings(pixels)
            embedding = segmenter._last[1]
            out = model(image_embeddings=embedding, multimask_output=multimask, **inputs)

        def enlarge(logits: Tensor, sizes: list[Tensor] = sizes) -> Tensor:
            return processor.post_process_masks([logits], *sizes, binarize=False)[0]

        yield out.pred_masks[0], out.iou_scores[0], enlarge


def box_masks(boxes: Sequence[Sequence[int]], shape: tuple[int, int]) -> np.ndarray:
    """Boxes (K, 4), filled: bool (K, H, W). What a segmenter must do better than."""
    masks = np.zeros((len(boxes), *shape), np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return masks


def objects_of(
    data: SegmentationSet, i: int, by_color: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of image i's objects, in the order of its boxes, and which of them are exact.

    An object's mask is what its class's mask has inside its box, which is exact unless another box
    of the class overlaps that box. ``by_color`` then takes the pixels of one color whose box is the
    object's: a drawn shape has a color of its own; of photographs none qualify.

    Returns:
        bool (K, H, W), and bool (K,). A mask that is not exact must not be scored against.
    """
    boxes = np.reshape(data.boxes[i], (-1, 5)).astype(int)
    kinds, filled = boxes[:, 0], box_masks(boxes[:, 1:], data.masks.shape[2:])
    masks = filled & data.masks[i, kinds]
    shared = np.einsum("khw,lhw->kl", filled, filled, dtype=int) > 0
    alone = (shared & (kinds[:, None] == kinds)).sum(1) == 1  # each box overlaps itself
    exact = masks.any((1, 2)) & alone
    for kind in set(kinds[~exact]) if by_color else ():
        where = data.masks[i, kind]
        colors = np.zeros(where.shape, int)
        _, colors[where] = np.unique(data.images[i][:, where], axis=1, return_inverse=True)
        for color, (rows, columns) in enumerate(ndimage.find_objects(colors + where), start=1):
            box = (kind, columns.start, rows.start, columns.stop - 1, rows.stop - 1)
            for k in np.flatnonzero(~exact):
                if tuple(data.boxes[i][k]) == box:
                    masks[k], exact[k] = colors + where == color, True
    return masks, exact


def first_click(mask: np.ndarray) -> tuple[int, int, int]:
    """The click that says most about an object: its pixel farthest from its boundary.

    ``mask`` is bool (H, W), not empty. Returns x, y and the label 1; of several pixels equally far
    inside, the first row by row.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x), int(y), 1


def next_click(mask: np.ndarray, predicted: np.ndarray) -> tuple[int, int, int]:
    """The click that corrects most: the middle of the largest error.

    The errors are the 8-connected regions of missed and, apart from them, of wrongly included
    pixels (Sofiiuk et al., "Reviving iterative training with mask guidance", 2022). ``mask``, the
    truth, and ``predicted`` are bool (H, W), the truth not empty.

    Returns:
        x, y and the label: 1 on the object, 0 beside it. The first click again if all is right.
    """
    largest, size = mask, 0
    for error in (mask & ~predicted, predicted & ~mask):
        labels, _ = ndimage.label(error, np.ones((3, 3)))  # diagonal steps join
        areas = np.bincount(labels.ravel())[1:]
        if areas.max(initial=0) > size:
            largest, size = labels == areas.argmax() + 1, areas.max()
    x, y, _ = first_click(largest)
    return x, y, int(mask[y, x])
