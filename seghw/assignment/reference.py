"""Each task's function as the package has it: what later cells use while a task is unsolved."""

import math

import numpy as np
import torch
from scipy import optimize
from torch.nn import functional as F

from seghw import losses, metrics
from seghw.claims.stats import t_interval
from seghw.network import blocks
from seghw.sam import prompts
from seghw.sam.automatic import pairwise_iou


def residual(x, conv1, norm1, conv2, norm2):
    return x + F.relu(norm2(conv2(F.relu(norm1(conv1(x))))))


def aspp_forward(x, point, atrous, merge):
    return merge(torch.cat([point(x), *(branch(x) for branch in atrous)], dim=1))


def reach(kernel, rate):
    return rate * (kernel - 1) + 1


def taps_on_map(side, rate):
    return (1 + 2 * max(side - rate, 0) / side) ** 2


def written_rows(cells, kernel, stride, dilation, padding, rows):
    taps = {stride * i + dilation * k - padding for i in range(cells) for k in range(kernel)}
    return sorted(taps & set(range(rows)))


def dense_head(channels, classes):
    return blocks.output_layer(channels, classes, "dense")


printed_dice, dice = losses.report_dice_loss, losses.dice_loss


def gradient_norm(loss, pred, target):
    leaf = pred.detach().requires_grad_(True)
    return torch.autograd.grad(loss(leaf, target), leaf)[0].norm().item()


def combined(pred, target, coefficient, dice):
    return losses.combined_loss(pred, target, coefficient=coefficient, dice=dice).total


def dice_gradient(pred, target):
    ab, size = (pred * target).sum(), (pred * pred).sum() + (target * target).sum()
    return 4 * ab * pred / size**2 - 2 * target / size


def training_step(model, optimizer, loss, x, target):
    model.train()
    optimizer.zero_grad()
    value = loss(model(x), target)
    value.backward()
    optimizer.step()
    return value.item()


def learning_rate(step, steps, peak):
    share = step / steps
    return peak * min(1.0, share / 0.1) * 0.5 * (1 + math.cos(math.pi * share))


def best_run(runs):
    finished = [run for run in runs if run["status"] == "finished"]
    return max(finished, key=lambda run: run["epochs"][-1]["validation_iou"])


def to_train(wanted, records):
    return [name for name in wanted if records.get(name, "failed") == "failed"]


def resume(model, optimizer, checkpoint):
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return checkpoint["epoch"] + 1


def balancing_coefficient(mse_norms, dice_norms):
    return float(np.median(np.divide(mse_norms, dice_norms)))


def verdict(low, high, margin):
    if -margin < low and high < margin:
        return "no difference"
    return "higher" if low > 0 else "lower" if high < 0 else "undecided"


def paired_interval(a, b):
    return tuple(t_interval([a[seed] - b[seed] for seed in a.keys() & b.keys()]))


def iou_from_counts(tp, fp, fn):
    return float(metrics.iou(metrics.Counts(*(np.array([[n]]) for n in (tp, fp, fn, 0))))[0])


def decode_bands(output, bands):
    low, high = torch.tensor(bands).T[:, :, None, None]
    return (output > low) & (output < high)


def wanted(annotations, names, least):
    things = [a for a in annotations if a["category_id"] in names and not a["iscrowd"]]
    return len(things) == 1 and min(things[0]["bbox"][2:]) >= least


def polygon_mask(parts, height, width):
    from pycocotools import mask

    return mask.decode(mask.merge(mask.frPyObjects(parts, height, width))).astype(bool)


def boundary_f(pred, true, tolerance):
    counts = metrics.count_boundaries(pred[None, None], true[None, None], tolerance)
    return float(metrics.boundary_f(counts)[0])


def bootstrap(scores, rng, resamples):
    means = [rng.choice(scores, len(scores)).mean() for _ in range(resamples)]
    return tuple(np.quantile(means, [0.025, 0.975]))


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max(), rows.max()


def first_click(mask):
    return prompts.first_click(mask)[:2]


def match(masks, objects):
    iou = pairwise_iou(masks, objects).T
    found = np.full(len(objects), -1)
    rows, columns = optimize.linear_sum_assignment(-iou)
    hit = iou[rows, columns] > 0
    found[rows[hit]] = columns[hit]
    return found
