"""What the page can be asked without a kernel: curves, a threshold, clicks for the segmenter."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from seghw.config import DRAWN, LOSS_NAMES, RECIPES
from seghw.errors import BadInput
from seghw.evaluate import outputs
from seghw.report.plots import loss_name
from seghw.results import Records
from seghw.sam import segment_points
from seghw.train.runs import best

_POINTS = 200  # of a curve; more cannot be told apart at the width of the page
_CLICKS = 16  # along each side of the picture


def live_data(records: Records) -> dict[str, Any]:
    """Numbers and text for the page's script, as JSON can hold them; arrays in base64.

    Parts whose records are missing are left out.
    """
    parts = {"curves": _curves, "threshold": _threshold, "clicks": _clicks}
    found = {}
    for name, make in parts.items():
        try:
            found[name] = make(records)
        except BadInput:
            continue
    return found


def _curves(records: Records) -> list[dict]:
    """Loss and score of the best run of each loss, data set and recipe."""
    curves = []
    for family in DRAWN:
        for recipe in RECIPES:
            for loss in LOSS_NAMES:
                run = best(records.runs(family, recipe, loss))
                history, epochs = run.history, run.record["epochs"]
                chosen = np.linspace(0, len(history["loss"]) - 1, _POINTS).round().astype(int)
                chosen = np.unique(chosen)
                curves.append(
                    {
                        "name": f"{run.config.dataset}, {recipe}, {loss_name(run)}",
                        "run": run.run_id,
                        "iteration": history["iteration"][chosen].tolist(),
                        "loss": [float(f"{v:.5g}") for v in history["loss"][chosen]],
                        "epoch": [epoch["epoch"] for epoch in epochs],
                        "iou": [epoch["validation_iou"] for epoch in epochs],
                    }
                )
    return curves


def _threshold(records: Records) -> dict:
    """The corrected network's output for one test image of the shapes, 0..255 for -0.25..1.25."""
    found = records.evaluation("shapes", "corrected", "mse_dice")
    [i] = records.chosen_images("shapes", (50,))
    run, data = found.run, found.data
    [output] = outputs(run.network(), data.images[i : i + 1], run.recipe, run.config.dataset)
    planes = np.clip((output[0].numpy() + 0.25) / 1.5 * 255, 0, 255).round().astype(np.uint8)
    return {
        **_picture(data, i),
        "planes": _text(planes),
        "truth": _text(np.packbits(data.masks[i])),
        "classes": [{"name": c.name, "color": c.color} for c in data.classes],
    }


def _clicks(records: Records) -> dict:
    """The segmenter's mask for a click on each point of a grid, one test image of the scenes."""
    data = records.test_set("coco")
    [i] = records.chosen_images("coco", (70,))
    side = data.images.shape[-1]
    places = ((np.arange(_CLICKS) + 0.5) * side / _CLICKS).astype(int)
    points = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
    found = segment_points(records.segmenter, data.images[i], points)
    return {
        **_picture(data, i),
        "segmenter": records.segmenter.name,
        "grid": _CLICKS,
        "masks": [_text(np.packbits(mask)) for mask in found.masks],
        "scores": [round(float(score), 2) for score in found.predicted_iou],
        "truth": _text(np.packbits(data.masks[i].any(0))),
    }


def _picture(data, i: int) -> dict:
    file = io.BytesIO()
    Image.fromarray(data.images[i].transpose(1, 2, 0)).save(file, "PNG")
    return {"side": data.images.shape[-1], "number": i, "image": _text(file.getvalue())}


def _text(raw) -> str:
    return base64.b64encode(bytes(raw)).decode()
