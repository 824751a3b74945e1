"""Mistakes that students make with the public functions, and the line that answers each."""

import math

import numpy as np
import pytest
import torch

from seghw import metrics
from seghw.config import COCO3
from seghw.data import SegmentationSet, purdue, shapes
from seghw.data.scenes import draw_scenes
from seghw.errors import BadInput
from seghw.losses import combined_loss, dice_loss, gradient_balance, mse_loss, report_dice_loss
from seghw.network import ASPP, MUNet, UNet
from seghw.sam import segment_boxes, segment_everything, segment_points
from seghw.widgets import OutputCanvas

IMAGE = np.zeros((3, 16, 16), np.uint8)
PRED, MASK = torch.rand(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
BOOLS = np.zeros((2, 3, 8, 8), bool)
NET, PLAIN = MUNet(3, width=4, depth=2), UNet(2)
TABLE = {
    "uint8 images into the network": (lambda: NET(torch.zeros(1, 3, 16, 16, dtype=torch.uint8)),
                                      r"torch\.uint8.*recipe\.inputs"),
    "an array into the network": (lambda: NET(np.zeros((1, 3, 16, 16))), "float64.*recipe"),
    "channels last": (lambda: NET(torch.zeros(1, 16, 16, 3)), r"\(1, 16, 16, 3\)"),
    "one image without a batch": (lambda: NET(torch.zeros(3, 16, 16)), r"\(3, 16, 16\)"),
    "a side that is no multiple of 8": (lambda: NET(torch.zeros(1, 3, 20, 16)), "multiples of 8"),
    "nor the other": (lambda: PLAIN(torch.zeros(1, 3, 16, 60)), r"\(1, 3, 16, 60\)"),
    "no classes": (lambda: MUNet(0), "at least 1, got 0"),
    "an odd width": (lambda: MUNet(3, width=5), "even.*got 5"),
    "an odd depth": (lambda: MUNet(3, depth=7), "even.*and 7$"),
    "no rates": (lambda: MUNet(3, aspp_rates=()), r"got \(\)$"),
    "a head that is none": (lambda: MUNet(3, head="full"), "'full'"),
    "rates of zero": (lambda: MUNet(3, aspp_rates=(0, 2)), r"\(0, 2\)"),
    "shapes swapped in Dice": (lambda: dice_loss(PRED, MASK.transpose(0, 1)), r"\(3, 2, 8, 8\)"),
    "bool masks as a target": (lambda: dice_loss(PRED, MASK.bool()), r"target.*torch\.bool.*float"),
    "an array as a prediction": (lambda: report_dice_loss(PRED.numpy(), MASK), "pred.*float32"),
    "swapped in the MSE": (lambda: mse_loss(PRED, MASK.transpose(0, 1)), r"\(3, 2, 8, 8\)"),
    "a plane for a batch": (lambda: dice_loss(PRED[0, 0], MASK[0, 0]), r"\(8, 8\)"),
    "shapes that would broadcast": (lambda: combined_loss(PRED, MASK[:1]), r"\(1, 3, 8, 8\)"),
    "a loss that is none": (lambda: combined_loss(PRED, MASK, loss="focal"), "'focal'"),
    "integers in the balance": (lambda: gradient_balance(PRED, MASK.long()), "int64"),
    "probabilities for masks": (lambda: metrics.count(PRED, MASK), "bool"),
    "0 and 1 for masks": (lambda: metrics.count(BOOLS.astype(np.uint8), BOOLS), "uint8"),
    "another number of images": (lambda: metrics.count(BOOLS[:1], BOOLS), r"bool \(1, 3, 8, 8\)"),
    "a list for masks": (lambda: metrics.count([[True]], [[True]]), "bool"),
    "a tolerance of 0": (lambda: metrics.count_boundary(BOOLS, BOOLS, 0), "got 0"),
    "half a pixel of tolerance": (lambda: metrics.count_boundary(BOOLS, BOOLS, 1.5), "got 1.5"),
    "a bootstrap of nothing": (lambda: metrics.resample(np.zeros((0, 3, 4))), "same images"),
    "of other images": (lambda: metrics.resample(*np.ones((2, 1, 3, 4)), np.ones((2, 3, 4))),
                        "same images"),
    "a box without a corner": (lambda: segment_boxes(None, IMAGE, [[math.nan, 0, 5, 5]]), "nan"),
    "a box outside": (lambda: segment_boxes(None, IMAGE, [[0, 0, 16, 5]]), "outside of 16 x 16"),
    "xywh for xyxy": (lambda: segment_boxes(None, IMAGE, np.array([[8, 8, 4, 4]])), "x0 <= x1"),
    "boxes in 0..1": (lambda: segment_boxes(None, IMAGE, np.array([[0.1, 0.1, 0.5, 0.5]])),
                      "in pixels"),
    "one box without brackets": (lambda: segment_boxes(None, IMAGE, np.array([1, 1, 4, 4])),
                                 r"\(4,\)"),
    "a click outside": (lambda: segment_points(None, IMAGE, np.array([[[16, 3]]])), "16, 3"),
    "a click without brackets": (lambda: segment_points(None, IMAGE, np.array([3, 3])), r"\(2,\)"),
    "a label of 2": (lambda: segment_points(None, IMAGE, np.ones((1, 1, 2)), np.array([[2]])), "2"),
    "labels without brackets": (lambda: segment_points(None, IMAGE, [[[3, 3]]], [1]), r"\(1, 1\)"),
    "a float image": (lambda: segment_boxes(None, IMAGE / 255, np.array([[1, 1, 4, 4]])), "uint8"),
    "an image with colors last": (lambda: segment_everything(None, IMAGE.transpose(1, 2, 0)),
                                  r"16, 16, 3"),
    "no shapes": (lambda: shapes.generate(0, 0), "got 0"),
    "a yes of shapes": (lambda: shapes.generate(True, 0), "got True"),
    "no seed": (lambda: shapes.generate(1, None), "seed .* got None"),
    "a size that is no integer": (lambda: shapes.generate(1, 0, 64.0), "size .* got 64.0"),
    "too many shapes": (lambda: shapes.generate(10**9, 0), "do not fit in memory"),
    "a negative seed of scenes": (lambda: draw_scenes("nowhere", 1, -1), "seed must be .* got -1"),
    "outputs of another size": (lambda: OutputCanvas(IMAGE, np.zeros((5, 8, 8)), COCO3),
                                r"must be \(3, 16, 16\).*got \(5, 8, 8\)"),
    "a size of 100": (lambda: shapes.generate(1, 0, 100), "try 96"),
    "an archive that is missing": (lambda: purdue.read_archive("nowhere.gz"), "nowhere.gz"),
    "a set that is missing": (lambda: SegmentationSet.load("nowhere"), "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TABLE)
def test_a_mistake_is_answered_with_what_was_given_and_what_is_wanted(mistake):
    call, told = TABLE[mistake]
    with pytest.raises((BadInput, OSError), match=told) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("seeded")
def test_what_is_right_is_not_refused():
    assert NET(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert ASPP(4)(torch.zeros(1, 4, 5, 5)).shape == (1, 4, 5, 5)
    assert dice_loss(PRED.half(), MASK.half()).isfinite()
    assert dice_loss(PRED, MASK.double()).isfinite()
