"""What a run leaves on disk beside its history: record, weights, counts, checkpoints."""

import io
import json
import zipfile
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
from seghw.runs import reading


def read_record(folder: str | Path) -> dict[str, Any]:
    """What ``run.json`` of a run's folder says.

    Raises:
        BadInput: it is missing or damaged.
    """
    path = Path(folder, "run.json")
    with reading(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        TrainConfig.from_dict(record["config"])
        record["data"]["digest"]  # as every record of a run that began has
        return record


def build_network(config: TrainConfig) -> nn.Module:
    """A fresh network; its weights follow from the run's seed alone."""
    profile = PROFILES[config.profile]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if config.network == "unet":  # as many parameters, within 10 %
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
    parameters = dict(model.named_parameters())
    weights = {
        name: (value.half() if name in parameters else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    with atomic_write(folder / "model.safetensors") as path:
        path.write_bytes(save(weights))


def load_network(folder: str | Path) -> nn.Module:
    """The trained network of a run, on the CPU, in float32 and evaluation mode.

    Raises:
        BadInput: the record or the weights are missing, damaged, or do not fit each other.
    """
    model = build_network(TrainConfig.from_dict(read_record(folder)["config"]))
    load_weights(model, Path(folder))
    return model.eval()


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put a run's trained weights into the model; ``BadInput`` as in ``load_network``."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise BadInput(
            f"{folder.name} has no weights at {path}; "
            "only the best runs' are in the repository, `make retrain` makes the others"
        )
    try:
        weights = {name: value.float() for name, value in load_file(path).items()}
        model.load_state_dict(weights, strict=True)
        if not all(value.isfinite().all() for value in weights.values()):
            raise ValueError("a weight is not finite")
    except Exception as error:  # safetensors has an exception of its own, torch others
        raise BadInput(
            f"{path} does not fit {folder.name} ({reason(error)}); "
            "remove its folder and train it again"
        ) from error


def save_counts(tables: dict[str, np.ndarray], folder: Path) -> None:
    """Write ``counts.npz``, which ``runs.load_counts`` reads."""
    content = io.BytesIO()
    np.savez_compressed(content, **tables)
    with atomic_write(folder / "counts.npz") as path:
        path.write_bytes(content.getbuffer())


def save_checkpoint(path: Path, model: nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
    """Write weights, the optimizer's state and ``state``: plain numbers, text, lists, dicts."""
    content = io.BytesIO()  # written by Python, which can say that a disk is full
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), **state}, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: Any, identity: dict[str, Any]
) -> dict[str, Any]:
    """Load what ``save_checkpoint`` wrote into the model and the optimizer; returns the state.

    Args:
        path: of the checkpoint.
        model, optimizer: as they were when it was written.
        identity: entries of the state that must be as they are here.

    Raises:
        BadInput: the checkpoint is damaged or belongs to another training.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch checks no checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} does not have its checksum")
        device = next(model.parameters()).device
        state = torch.load(path, map_location=device, weights_only=True)
        other = {name: state[name] for name, value in identity.items() if state[name] != value}
        if not other:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
    except Exception as error:  # a damaged archive raises what it likes
        raise BadInput(f"{path} is damaged ({reason(error)}); remove it to start again") from error
    for name, value in other.items():
        raise BadInput(
            f"{path} was begun with {name} {value!r:.80}, not {identity[name]!r:.80}; "
            "remove it to start again"
        )
    return state
