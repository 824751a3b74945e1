"""What the report's page can be asked without a kernel: curves, a threshold, clicks.

An argument ``records`` is ``report.results.Records``.
"""

import base64
from itertools import product
from typing import Any

import numpy as np

from seghw.config import DRAWN, RECIPES, REPORT_LOSSES
from seghw.errors import BadInput
from seghw.evaluate import outputs
from seghw.notebook import loss_name
from seghw.runs import history
from seghw.sam import segment_points
from seghw.train import load_network
from seghw.widgets.canvas import Canvas, OutputCanvas, PromptCanvas

_POINTS = 150  # of a curve; more cannot be told apart at the width of the page
_CLICKS = 16  # along each side of the picture


def live_parts(records: Any) -> dict[str, Any]:
    """State of the page's live parts, as JSON can hold it; what lacks records is left out."""
    parts = {}
    for name, make in {"curves": _curves, "threshold": _threshold, "clicks": _clicks}.items():
        try:
            parts[name] = make(records)
        except BadInput:
            continue
    return parts


def _curves(records: Any) -> list[dict[str, Any]]:
    """Terms of the loss and the score of the best run of each loss, data set and recipe."""
    curves = []
    for case in product(DRAWN, RECIPES, REPORT_LOSSES):
        run = records.ranked(*case).iloc[-1]
        table, epochs = history(run), run.epoch_scores
        table = table.iloc[np.unique(np.linspace(0, len(table) - 1, _POINTS).round().astype(int))]
        curve = {"name": f"{run.dataset}, {run.recipe}: {loss_name(run)}, seed {run.seed}"}
        for term in ("mse", "dice"):
            known = table[np.isfinite(table[term])]  # JSON has no other numbers
            values = [float(f"{value:.4g}") for value in known[term]]
            curve[term] = [known.iteration.tolist(), values]
        scores = {
            e["epoch"]: e["validation_iou"] for e in epochs if e["validation_iou"] is not None
        }
        curve["iou"] = [[*scores], [*scores.values()]]
        curves.append(curve)
    return curves


def _threshold(records: Any) -> dict[str, Any]:
    """The corrected network's output for one test image of the shapes."""
    evaluation = records.evaluation("shapes", "corrected", "mse_dice")
    run, data, i = evaluation.run, evaluation.data, records.image("shapes", 50)
    network, images = load_network(run.folder), data.images[i : i + 1]
    [output] = outputs(network, images, run.config.settings, run.dataset)
    canvas = OutputCanvas(images[0], output[0].numpy(), data.classes, run.config.settings.threshold)
    canvas.truth = data.masks[i].tobytes()
    return {"canvas": _state(canvas), "image": i}


def _clicks(records: Any) -> dict[str, Any]:
    """The segmenter's mask for a click on each point of a grid, one test image of the scenes."""
    data, i = records.test_set("coco"), records.image("coco", 70)
    image = data.images[i]
    places = ((np.arange(_CLICKS) + 0.5) * image.shape[-1] / _CLICKS).astype(int)
    points = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
    canvas = PromptCanvas(records.segmenter, image, data.subset([i]))
    answers = []
    for mask, trust in zip(*segment_points(records.segmenter, image, points), strict=True):
        text, truth = canvas.describe(mask, trust)
        answers.append({"text": text, "mask": _text(mask), "truth": _text(truth)})
    canvas.buttons = ["larger", "smaller"]
    name = records.segmenter.name
    return {"canvas": _state(canvas), "image": i, "name": name, "side": _CLICKS, "answers": answers}


def _state(canvas: Canvas) -> dict[str, Any]:
    return {
        name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name in Canvas.class_own_traits(sync=True)
        for value in [getattr(canvas, name)]
    }


def _text(mask: np.ndarray) -> str:
    return base64.b64encode(np.packbits(mask).tobytes()).decode()
