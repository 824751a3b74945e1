"""What a run writes and reads with torch: weights, counts, checkpoints."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from seghw.config import PROFILES, TrainConfig
from seghw.errors import BadInput, reason
from seghw.io import atomic_write
from seghw.network import MUNet, UNet
from seghw.runs import read_run, reading


def build_network(config: TrainConfig) -> nn.Module:
    """A fresh network; its weights follow from the run's seed alone."""
    profile = PROFILES[config.profile]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if config.network == "unet":  # as many parameters, at the laptop's size
            return UNet(len(config.classes), width=max(2, 9 * profile.width // 16))
        return MUNet(
            len(config.classes),
            width=profile.width,
            depth=profile.depth,
            aspp_rates=config.aspp_rates,
            head=config.head or config.settings.head,
            skip_connections=config.skip_connections,
            copy_across=config.copy_across,
        )


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write ``model.safetensors``: parameters in half precision, everything else as it is.

    The running variances stay in float32: under the report's inputs of 0..255 they outgrow half
    precision's 65,504, and a network with an infinite variance predicts nothing.
    """
    weights = {name: value.half() for name, value in model.named_parameters()}
    weights = {n: weights.get(n, v).contiguous().cpu() for n, v in model.state_dict().items()}
    with atomic_write(folder / "model.safetensors") as path:
        path.write_bytes(save(weights))


def load_network(folder: str | Path) -> nn.Module:
    """The trained network of a run, on the CPU, in float32 and evaluation mode.

    Raises:
        BadInput: the record or the weights are missing, damaged, or do not fit each other.
    """
    model = build_network(read_run(folder)["config"])
    load_weights(model, Path(folder))
    return model.eval()


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put a run's trained weights into the model; ``BadInput`` as in ``load_network``."""
    path = folder / "model.safetensors"
    missing = (
        f"{folder.name} has no weights at {path}; only the best runs' are in the repository, "
        "`make retrain` makes the others"
    )
    with reading(path, missing):
        weights = {name: value.float() for name, value in load_file(path).items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadInput(f"{path} is of another network ({reason(error)})") from error


def save_counts(tables: dict[str, np.ndarray], folder: Path) -> None:
    """Write ``counts.npz``, which ``runs.load_counts`` reads."""
    with atomic_write(folder / "counts.npz") as path:
        np.savez_compressed(path, **tables)


_PROGRESS = ("history", "epochs", "seconds")  # of a ``Run``, beside its model and optimizer


def save_checkpoint(run: Any) -> None:
    """Write ``checkpoint.pt``: all that ``load_checkpoint`` needs to go on with the ``Run``."""
    state = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    state |= {name: getattr(run, name) for name in ("digest", *_PROGRESS)}
    content = io.BytesIO()  # written by Python, which can say that a disk is full
    torch.save(state, content)
    with atomic_write(run.folder / "checkpoint.pt") as path:
        path.write_bytes(content.getbuffer())


def load_checkpoint(run: Any) -> None:
    """Bring a ``Run`` to where its checkpoint was written, if there is one.

    Raises:
        BadInput: the checkpoint is damaged, or was begun on other data.
    """
    path = run.folder / "checkpoint.pt"
    if path.is_file():
        with reading(path, ""):
            state = torch.load(path, map_location=run.device, weights_only=True)
            if state["digest"] != run.digest:
                raise ValueError("it was begun on other data")
            run.model.load_state_dict(state["model"])
            run.optimizer.load_state_dict(state["optimizer"])
            for name in _PROGRESS:
                setattr(run, name, state[name])
