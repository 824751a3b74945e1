"""The speed run: from nothing to a mean IoU of 0.75 on unseen drawn shapes in about a minute.

    python data/bench/live.py

draws the images, trains the next seed as `train --dataset shapes5 --profile live` does, scores it,
and adds a row to ``live.csv``, which lists all runs.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from tqdm import tqdm

from seghw.config import CORRECTED_LIVE, TrainConfig
from seghw.data import shapes
from seghw.data.dataset import batches
from seghw.devices import available_cores, multiplies_bfloat16, use_threads
from seghw.evaluate import predict
from seghw.losses import combined_loss
from seghw.metrics import count, iou
from seghw.train import build_network, learning_rate
from seghw.train.muon import MuonAndAdamW


def speed_run(seed: int, images: int = 15_500, bfloat16: bool = False) -> tuple:
    """Train on every image once; the network, and its mean IoU on 500 others."""
    training, unseen, recipe = shapes.generate(images, 0), shapes.generate(500, 1), CORRECTED_LIVE
    net = build_network(TrainConfig("shapes5", "corrected", "mse", 2e-2, seed=seed, profile="live"))
    net = net.train().to(memory_format=torch.channels_last)
    optimizer = MuonAndAdamW(net, 2e-2, torch.bfloat16 if bfloat16 else torch.float32)
    shuffle = np.random.SeedSequence([seed, 0]).generate_state(1)[0]
    order = list(batches(images, recipe.batch_size, shuffle))
    for step, indices in enumerate(tqdm(order), start=1):
        x = recipe.inputs(training.images[indices], "shapes5").to(memory_format=torch.channels_last)
        target = recipe.targets(training.masks[indices], training.classes)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output = net(x).float()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(order), 2e-2, 0.2) * group.get("times", 1)
        optimizer.zero_grad()
        combined_loss(output, target, coefficient=0.1).total.backward()
        optimizer.step()
    counts = count(predict(net, unseen.images, recipe, "shapes5"), unseen.masks)
    return net, float(iou(counts.sum(0)).mean())


if __name__ == "__main__":
    table, bfloat16 = Path(__file__).with_suffix(".csv"), multiplies_bfloat16(torch.device("cpu"))
    use_threads(available_cores())
    seed = len(pd.read_csv(table))
    _, score = speed_run(seed, bfloat16=bfloat16)
    seconds = time.time() - psutil.Process().create_time()  # since Python was called
    with table.open("a", encoding="utf-8", newline="") as file:
        file.write(f"{seed},{seconds:.1f},{score:.4f},{int(bfloat16)}\n")
    print(f"seed {seed}: mean IoU {score:.3f} in {seconds:.0f} s")
