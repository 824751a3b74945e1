"""What defines a run: a recipe (what is computed), a profile (how much), and their settings.

The recipe ``report`` is the report, faithfully; ``corrected`` is the same network, data and
losses with each diagnosed fault mended. A ``TrainConfig`` adds the data set, the loss, its
hyperparameters and the seed, and is all that a run depends on.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from seghw.classes import COCO3, SHAPES5, ClassSpec
from seghw.errors import BadInput
from seghw.losses import LOSSES, DiceLoss, dice_loss, report_dice_loss
from seghw.model import MUNet

#: Data sets by the name that begins a run's id; the first of each family needs no download.
DATASETS = {
    "shapes5": SHAPES5,  # drawn look-alike of PurdueShapes5MultiObject
    "purdue5": SHAPES5,  # the course's official archive
    "scenes3": COCO3,  # drawn pizzas, cats and buses in COCO's format
    "coco3": COCO3,  # real COCO images
}


def family_of(dataset: str) -> str:
    """``"shapes"`` or ``"coco"``: which of the report's two sets a data set is or stands for."""
    return "shapes" if DATASETS[dataset] is SHAPES5 else "coco"


@dataclass(frozen=True)
class Recipe:
    """How images become inputs, masks targets, and outputs masks again."""

    name: str
    head: str  # of the network: which pixels it can paint
    valued_masks: bool  # targets are mask x class value, not mask
    raw_shapes: bool  # shapes enter as 0..255; everything else enters as -1..1
    dice: DiceLoss
    threshold: float | None  # of the decoding; None decodes by the value bands of Listing 4
    optimiser: str  # "sgd" (momentum 0.9) or "adamw" (cosine decay after a short warm-up)
    batch_size: int
    learning_rates: tuple[float, ...]  # of the grid

    def inputs(self, images: np.ndarray, dataset: str) -> Tensor:
        """uint8 (N, 3, H, W) to what the network is fed, float32 of the same shape."""
        x = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        return x if self.raw_shapes and family_of(dataset) == "shapes" else x / 127.5 - 1

    def targets(self, masks: np.ndarray, classes: tuple[ClassSpec, ...]) -> Tensor:
        """bool (N, C, H, W) to what the network is to regress, float32 of the same shape."""
        target = torch.from_numpy(np.ascontiguousarray(masks, dtype=np.float32))
        return target * _values(classes) if self.valued_masks else target

    def decode(self, output: Tensor, classes: tuple[ClassSpec, ...]) -> Tensor:
        """The network's output, float (N, C, H, W), to bool masks of the same shape.

        Bands are open intervals, as in Listing 4; neighbouring bands overlap, but each plane is
        held against its own class's band only.
        """
        if self.threshold is not None:
            return output > self.threshold
        low, high = torch.tensor([c.band for c in classes], dtype=output.dtype).T[..., None, None]
        return (output > low.to(output.device)) & (output < high.to(output.device))


def _values(classes: tuple[ClassSpec, ...]) -> Tensor:
    return torch.tensor([float(c.value) for c in classes])[:, None, None]


REPORT = Recipe(
    name="report",
    head="report",
    valued_masks=True,
    raw_shapes=True,
    dice=report_dice_loss,
    threshold=None,
    optimiser="sgd",
    batch_size=4,
    learning_rates=(1e-3, 1e-4, 1e-5),
)
CORRECTED = Recipe(
    name="corrected",
    head="dense",
    valued_masks=False,
    raw_shapes=False,
    dice=dice_loss,
    threshold=0.5,
    optimiser="adamw",
    batch_size=8,
    learning_rates=(4e-3,),
)
RECIPES = {recipe.name: recipe for recipe in (REPORT, CORRECTED)}


@dataclass(frozen=True)
class Profile:
    """How much is computed."""

    name: str
    width: int  # of the network
    depth: int  # of the network
    scene_size: int  # side of the scenes and COCO images; the shapes are 64 always
    train_count: int  # images, likewise below; a smaller real set gives what it has
    validation_count: int
    test_count: int
    report_epochs: int  # the report trained for 6
    corrected_epochs: int  # its learning rate falls to zero over them
    log_every: int  # iterations averaged into one row of the history

    def epochs(self, recipe: str) -> int:
        """How long a run of ``recipe`` trains."""
        return self.report_epochs if recipe == "report" else self.corrected_epochs


SMOKE = Profile("smoke", 8, 4, 64, 64, 32, 32, 2, 2, 4)
LAPTOP = Profile("laptop", 16, 4, 64, 4000, 300, 500, 6, 10, 50)
FULL = Profile("full", 64, 16, 256, 10_000, 500, 1000, 6, 6, 500)
PROFILES = {profile.name: profile for profile in (SMOKE, LAPTOP, FULL)}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on."""

    dataset: str  # key of DATASETS
    recipe: str  # key of RECIPES
    loss: str  # "mse", "dice" or "mse_dice"
    learning_rate: float
    coefficient: float | None = None  # weight of the Dice term; None unless loss is "mse_dice"
    seed: int = 0  # of the initial weights and the order of the images
    profile: str = "laptop"  # key of PROFILES
    epochs: int | None = None  # None trains as long as the profile says
    aspp_rates: tuple[int, ...] | None = (2, 4, 6)
    skip_connections: bool = True
    copy_across: bool = True
    head: str | None = None  # None is the recipe's
    augment: bool = False  # flip and scale the training images at random

    def __post_init__(self) -> None:
        for field, known in (
            ("dataset", DATASETS),
            ("recipe", RECIPES),
            ("loss", LOSSES),
            ("profile", PROFILES),
        ):
            if getattr(self, field) not in known:
                raise BadInput(f"{field} {getattr(self, field)!r} is not one of {tuple(known)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadInput(f"learning_rate must be positive, got {self.learning_rate}")
        if self.epochs is not None and self.epochs < 1:
            raise BadInput(f"epochs must be at least 1, got {self.epochs}")
        if (self.coefficient is not None) != (self.loss == "mse_dice"):
            raise BadInput(
                f"loss {self.loss!r} with coefficient {self.coefficient}: "
                "give a coefficient with mse_dice, and only there"
            )

    @cached_property
    def run_id(self) -> str:
        """A readable name: two configurations of one profile differ in it."""
        parts = [self.dataset, self.recipe, self.loss, f"lr{self.learning_rate:.0e}"]
        if self.coefficient is not None:
            parts.append(f"lambda{self.coefficient:g}")
        if self.aspp_rates != (2, 4, 6):
            rates = "none" if self.aspp_rates is None else "_".join(map(str, self.aspp_rates))
            parts.append(f"aspp{rates}")
        if self.epochs is not None:
            parts.append(f"epochs{self.epochs}")
        if not self.skip_connections:
            parts.append("noskip")
        if not self.copy_across:
            parts.append("nocopies")
        if self.head is not None:
            parts.append(self.head)
        if self.augment:
            parts.append("augmented")
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        return DATASETS[self.dataset]

    @property
    def planned_epochs(self) -> int:
        return self.epochs or PROFILES[self.profile].epochs(self.recipe)

    def network(self) -> MUNet:
        """A fresh network for this run; its weights follow torch's global seed."""
        profile = PROFILES[self.profile]
        return MUNet(
            len(self.classes),
            width=profile.width,
            depth=profile.depth,
            aspp_rates=self.aspp_rates,
            head=self.head or RECIPES[self.recipe].head,
            skip_connections=self.skip_connections,
            copy_across=self.copy_across,
        )

    def with_seed(self, seed: int) -> "TrainConfig":
        return replace(self, seed=seed)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "TrainConfig":
        """The inverse of ``to_dict``, also after a round trip through JSON."""
        rates = fields.get("aspp_rates")
        return cls(**{**fields, "aspp_rates": None if rates is None else tuple(rates)})
